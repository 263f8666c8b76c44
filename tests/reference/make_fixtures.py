"""Makes the committed fixtures: tiny checkpoints with inputs and the outputs of transformers.

Run by `cargo xtask fixtures`. The same versions give the same bytes, but for the legacy
files, whose storages are named by their addresses in memory.
"""

import inspect
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    AlbertForPreTraining,
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    DebertaV2ForMaskedLM,
    DebertaV2ForSequenceClassification,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForSequenceClassification,
    ElectraForMaskedLM,
    ElectraForMultipleChoice,
    ElectraForPreTraining,
    ErnieModel,
    GteForSequenceClassification,
    JinaEmbeddingsV3Model,
    MPNetForMaskedLM,
    MPNetModel,
    MegatronBertModel,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    NomicBertModel,
    RobertaForMaskedLM,
    RobertaModel,
    XLMRobertaForSequenceClassification,
)
from transformers.activations import ACT2FN

from oracle import ACTIVATIONS, FORMS, flatten, old_names, perturb, without_decoder

CONFIG = dict(
    vocab_size=128,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=512,
    type_vocab_size=2,
)


# What DistilBERT calls them.
DISTILBERT = dict(hidden_size="dim", num_hidden_layers="n_layers", num_attention_heads="n_heads", intermediate_size="hidden_dim")
# Distances up to 2 have a row of their own.
DEBERTA = dict(
    relative_attention=True,
    share_att_key=True,
    position_biased_input=False,
    pos_att_type=["p2c", "c2p"],
    position_buckets=4,
    max_relative_positions=8,
    norm_rel_ebd="layer_norm",
)
# Fixtures of other families: their classes, seeds, and what the configuration says beside CONFIG.
FAMILIES = {
    "ernie": (ErnieModel, 20, dict(use_task_id=True)),
    "roberta": (RobertaModel, 21, dict(layer_norm_eps=1e-5)),
    "roberta-masked-lm": (RobertaForMaskedLM, 22, dict(hidden_act="relu")),
    "xlm-roberta-classification": (XLMRobertaForSequenceClassification, 23, dict(type_vocab_size=1, num_labels=3)),
    "distilbert-masked-lm": (DistilBertForMaskedLM, 24, dict(activation="relu")),
    "distilbert-classification": (DistilBertForSequenceClassification, 25, dict(num_labels=3)),
    "electra-pretraining": (ElectraForPreTraining, 26, dict(embedding_size=16)),
    "electra-masked-lm": (ElectraForMaskedLM, 27, dict(embedding_size=16, hidden_act="relu")),
    "electra-multiple-choice": (ElectraForMultipleChoice, 28, dict(embedding_size=32)),
    "mpnet": (MPNetModel, 29, {}),
    "mpnet-masked-lm": (MPNetForMaskedLM, 30, dict(hidden_act="relu")),
    "deberta-v2": (DebertaV2Model, 38, {**DEBERTA, "type_vocab_size": 0}),
    "deberta-v2-masked-lm": (DebertaV2ForMaskedLM, 39, {**DEBERTA, "hidden_act": "relu"}),
    "deberta-v2-classification": (
        DebertaV2ForSequenceClassification,
        40,
        {**DEBERTA, "type_vocab_size": 0, "norm_rel_ebd": "none", "num_labels": 3},
    ),
    # A window of 2 to either side.
    "modernbert-masked-lm": (ModernBertForMaskedLM, 31, dict(local_attention=4, pad_token_id=3)),
    "modernbert-classification": (
        ModernBertForSequenceClassification,
        32,
        dict(local_attention=4, pad_token_id=3, classifier_pooling="mean", num_labels=3),
    ),
    "nomic-bert": (NomicBertModel, 33, {}),
    "gte-classification": (GteForSequenceClassification, 34, dict(type_vocab_size=1, num_labels=3)),
    "jina-embeddings-v3": (JinaEmbeddingsV3Model, 35, {}),
    "megatron-bert": (MegatronBertModel, 36, {}),
    "albert-pretraining": (AlbertForPreTraining, 37, dict(embedding_size=16, num_labels=2)),
}


def build(cls, seed, attention="sdpa", **options):
    torch.manual_seed(seed)
    keys = {**CONFIG, **options}
    if cls.config_class is DistilBertConfig:
        keys = {DISTILBERT.get(key, key): value for key, value in keys.items()}
        del keys["type_vocab_size"]
    config = cls.config_class(**keys)
    if not cls._supports_sdpa:
        attention = "eager"
    model = cls._from_config(config, attn_implementation=attention, dtype=torch.float32).eval()
    perturb(model)
    return model


def inputs(model):
    """Three rows of lengths 11, 7 and 1, with segments; of multiple choice, six in pairs.

    Where positions are counted after the padding id, one is in the middle of a text.
    """
    generator = torch.Generator().manual_seed(0)
    choice = type(model).__name__.endswith("MultipleChoice")
    lengths, width = [11, 7, 1] + [3, 10, 5] * choice, 11
    mask = (torch.arange(width) < torch.tensor(lengths).unsqueeze(1)).long()
    ids = torch.randint(1, CONFIG["vocab_size"], mask.shape, generator=generator) * mask
    if pad := model.config.pad_token_id:
        ids = torch.where(mask.bool(), ids, pad)
        ids[0, 3] = pad
    types = (torch.arange(width) >= 5).long().expand_as(mask) * mask
    has_types = "token_type_ids" in inspect.signature(model.forward).parameters
    types = types.clamp(max=max(1, model.config.type_vocab_size) - 1 if has_types else 0)
    named = dict(input_ids=ids, attention_mask=mask, token_type_ids=types.contiguous())
    return {name: tensor.view(3, 2, width) if choice else tensor for name, tensor in named.items()}


def run(model, **options):
    arguments = inputs(model)
    if "token_type_ids" not in inspect.signature(model.forward).parameters:
        del arguments["token_type_ids"]
    with torch.no_grad():
        return flatten(model(**arguments, **options))


def write(directory, model, state, outputs, architecture=True, save=FORMS["safetensors"], **keys):
    directory.mkdir(parents=True, exist_ok=True)
    config = model.config
    text = dict(
        architectures=[type(model).__name__],
        model_type="bert",
        **CONFIG,
        hidden_act=config.hidden_act,
        layer_norm_eps=config.layer_norm_eps,
        pad_token_id=config.pad_token_id,
        initializer_range=config.initializer_range,
        tie_word_embeddings=config.tie_word_embeddings,
    )
    if not architecture:
        # As written in 2019: neither the class nor the kind of model is named.
        del text["architectures"], text["model_type"], text["tie_word_embeddings"]
    text.update(keys)
    (directory / "config.json").write_text(json.dumps(text, indent=2) + "\n")
    save(state, directory)
    save_file(inputs(model), directory / "inputs.safetensors")
    save_file(outputs, directory / "outputs.safetensors")


def write_family(directory, model):
    """A model of another family than BERT, with the config.json that transformers writes."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.loads(model.config.to_json_string(use_diff=True)) | dict(
        architectures=[type(model).__name__], model_type=model.config.model_type
    )
    text.pop("transformers_version", None)
    (directory / "config.json").write_text(json.dumps(text, indent=2) + "\n")
    outputs = run(model)
    FORMS["safetensors"](model.state_dict(), directory)
    save_file(inputs(model), directory / "inputs.safetensors")
    save_file(outputs, directory / "outputs.safetensors")


def main(root):
    model = build(BertModel, 1, hidden_act="gelu", layer_norm_eps=1e-12)
    write(root / "model", model, model.state_dict(), run(model))

    model = build(BertModel, 2, hidden_act="relu", layer_norm_eps=1e-5)
    outputs = run(model)
    state = {"bert." + name: tensor for name, tensor in old_names(model.state_dict()).items()}
    state["bert.embeddings.position_ids"] = torch.arange(CONFIG["max_position_embeddings"]).unsqueeze(0)
    state["cls.seq_relationship.weight"] = torch.randn(2, CONFIG["hidden_size"])
    state["cls.seq_relationship.bias"] = torch.randn(2)
    write(root / "model-eps", model, state, outputs, architecture=False, torch_dtype="float32")
    check_that_eps_shows(model, outputs)

    for name, dtype, act, seed in [
        ("model-bf16", torch.bfloat16, "gelu_new", 3),
        ("model-f16", torch.float16, "silu", 4),
    ]:
        model = build(BertModel, seed, hidden_act=act)
        half = {key: tensor.to(dtype) for key, tensor in model.state_dict().items()}
        # The oracle computes in float32 from exactly the stored values.
        model.load_state_dict({key: tensor.float() for key, tensor in half.items()})
        write(root / name, model, half, run(model), dtype=str(dtype).removeprefix("torch."))

    model = build(BertForMaskedLM, 5, hidden_act="gelu_new", layer_norm_eps=1e-5)
    outputs = run(model)
    write(root / "masked-lm", model, without_decoder(old_names(model.state_dict())), outputs)
    check_that_eps_shows(model, outputs)

    model = build(BertForMaskedLM, 6, hidden_act="quick_gelu")
    state = {name.removeprefix("bert."): tensor for name, tensor in without_decoder(model.state_dict()).items()}
    write(root / "masked-lm-bare", model, state, run(model))

    # Both stand in the file and differ: the decoder is not tied, whatever the configuration says.
    model = build(BertForMaskedLM, 7, hidden_act="gelu", tie_word_embeddings=False)
    model.config.tie_word_embeddings = True
    write(root / "masked-lm-different", model, model.state_dict(), run(model))

    model = build(BertForMaskedLM, 8, hidden_act="gelu_pytorch_tanh", tie_word_embeddings=False)
    write(root / "masked-lm-untied", model, model.state_dict(), run(model))

    model = build(BertForPreTraining, 9, hidden_act="gelu")
    write(root / "pretraining", model, model.state_dict(), run(model))

    # One model in every form of file. The .bin has both names of the tie on one
    # storage, a tensor with strides of its own, and what training left beside it.
    model = build(BertForMaskedLM, 17, hidden_act="gelu")
    outputs = run(model)
    state = model.state_dict()
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    state[name] = state[name].t().contiguous().t()
    parallel = {"state_dict": {"module." + name: tensor for name, tensor in state.items()}, "epoch": 3}
    for name, save in [
        *((f"format-{form}", save) for form, save in FORMS.items()),
        ("format-legacy-wrapped", lambda state, directory: FORMS["legacy"](parallel, directory)),
    ]:
        write(root / name, model, state, outputs, save=save)

    labels = {0: "NEGATIVE", 1: "NEUTRAL", 2: "POSITIVE"}
    for name, cls, seed, options in [
        ("next-sentence", BertForNextSentencePrediction, 10, {}),
        (
            "sequence-classification",
            BertForSequenceClassification,
            11,
            dict(id2label=labels, problem_type="multi_label_classification"),
        ),
        ("sequence-regression", BertForSequenceClassification, 12, dict(num_labels=1, problem_type="regression")),
        ("token-classification", BertForTokenClassification, 13, dict(num_labels=5)),
        ("question-answering", BertForQuestionAnswering, 14, {}),
        ("multiple-choice", BertForMultipleChoice, 15, {}),
    ]:
        model = build(cls, seed, hidden_act="gelu", **options)
        keys = {"id2label": {str(i): label for i, label in model.config.id2label.items()}}
        if "problem_type" in options:
            keys["problem_type"] = options["problem_type"]
        write(root / name, model, model.state_dict(), run(model), **keys)

    model = build(BertForTokenClassification, 16, attention="eager", hidden_act="gelu")
    outputs = run(model, output_hidden_states=True, output_attentions=True)
    write(root / "eager-everything", model, model.state_dict(), outputs)

    for name, (cls, seed, options) in FAMILIES.items():
        write_family(root / name, build(cls, seed, max_position_embeddings=48, **options))

    x = torch.linspace(-12, 12, 241)
    activations = {name: ACT2FN[name](x).clone() for name in ACTIVATIONS}
    save_file({"x": x, **activations}, root / "activations.safetensors")

    provenance = dict(torch=torch.__version__, transformers=transformers.__version__, command="cargo xtask fixtures")
    (root / "PROVENANCE.json").write_text(json.dumps(provenance, indent=2) + "\n")


def check_that_eps_shows(model, outputs):
    """A reader that ignores layer_norm_eps must fail on this fixture."""
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-12
    for name, found in run(model).items():
        reference = outputs[name]
        bound = 1e-5 * max(1, reference.abs().max())
        assert (found - reference).abs().max() > 10 * bound, name


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "fixtures")
