"""What the fixtures and the live check share."""

import json

import torch
from safetensors.torch import save_file
from transformers.activations import ACT2FN

# Those without parameters of their own.
ACTIVATIONS = sorted(set(ACT2FN) - {"prelu", "xielu"})


def perturb(model):
    """Gives every parameter a part in the result, so that no mistake hides.

    Fresh biases are zero and LayerNorm weights one: a loader could swap or skip
    them unnoticed. Embeddings stay small, so that layer_norm_eps shows; where no norm
    follows them, they would be lost beside what layers add.
    """
    norms = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    has_embeddings_norm = any("embeddings" in name for name in norms)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or name in norms:
                parameter += 0.1 * torch.randn_like(parameter)
            elif "embeddings" in name and not has_embeddings_norm:
                parameter *= 50
            elif "embeddings" not in name and "decoder" not in name:
                parameter *= 5


def old_names(state):
    """TensorFlow's words for a LayerNorm's parameters, as in files of 2018 and 2019."""
    return {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in state.items()
    }


def without_decoder(state):
    return {name: tensor for name, tensor in state.items() if ".decoder." not in name}


def flatten(outputs):
    """A model's outputs by name; of those that are tuples, each by its number."""
    flat = {}
    for name, value in outputs.items():
        if isinstance(value, tuple):
            flat.update({f"{name}.{i}": tensor.contiguous() for i, tensor in enumerate(value)})
        else:
            flat[name] = value.contiguous()
    return flat


def save_safetensors(state, directory):
    # Cloned: safetensors refuses tensors that share storage.
    state = {name: state[name].clone().contiguous() for name in sorted(state)}
    save_file(state, directory / "model.safetensors", metadata={"format": "pt"})


def save_zip(state, directory):
    torch.save(state, directory / "pytorch_model.bin")


def save_legacy(state, directory):
    """The form of torch before 1.6, which bert-base-uncased still has."""
    torch.save(state, directory / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def save_sharded(save, pattern, index):
    """Three files, and an index that says what is where."""

    def save_shards(state, directory):
        names, weight_map = sorted(state), {}
        for i in range(3):
            shard = {name: state[name].clone().contiguous() for name in names[i::3]}
            file = pattern.format(i + 1, 3)
            save(shard, directory / file)
            weight_map.update(dict.fromkeys(shard, file))
        text = json.dumps(dict(metadata={}, weight_map=weight_map), indent=2)
        (directory / f"{index}.index.json").write_text(text + "\n")

    return save_shards


# Every form of weight file.
FORMS = {
    "safetensors": save_safetensors,
    "safetensors-sharded": save_sharded(save_file, "model-{}-of-{}.safetensors", "model.safetensors"),
    "zip": save_zip,
    "zip-sharded": save_sharded(torch.save, "pytorch_model-{}-of-{}.bin", "pytorch_model.bin"),
    "legacy": save_legacy,
}
