"""What the fixtures and the live check share."""

import torch
from transformers.activations import ACT2FN

# Those without parameters of their own.
ACTIVATIONS = sorted(set(ACT2FN) - {"prelu", "xielu"})


def perturb(model):
    """Gives every parameter a part in the result, so that no mistake hides.

    Fresh biases are zero and LayerNorm weights one: a loader could swap or skip
    them unnoticed. Embeddings stay small, so that layer_norm_eps shows.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                parameter += 0.1 * torch.randn_like(parameter)
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
