"""The live check of families: every class of every model_type that is described, against transformers.

Names, shapes and ties of parameters; outputs of the traced program at other shapes than its own, and of
the native engine; configurations that state every key, and those that leave out what has its default
value. (The varlen engine is compared with the traced model for each class by a test beside it.)
"""

import inspect
import json
import os

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from live import as_tuple, assert_equal, at_tokens, cli, export

# Whether to check what CI leaves out for time.
EVERYTHING = os.environ.get("BERTSCRIPT_EVERYTHING") == "1"

SIZES = dict(
    vocab_size=99,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=200,
)
DISTILBERT = dict(vocab_size=99, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=200)
# A window of 8 to either side, which ends within a panel of keys and within longer texts.
MODERNBERT = {**SIZES, "local_attention": 16, "pad_token_id": 3}
# Distances up to 8 have a row each; texts are longer than the last row that others share.
DEBERTA = dict(
    SIZES,
    relative_attention=True,
    share_att_key=True,
    position_biased_input=False,
    pos_att_type=["p2c", "c2p"],
    position_buckets=16,
    max_relative_positions=64,
    norm_rel_ebd="layer_norm",
)
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
# The beginning of the class names, the configuration, and what makes it another model.
VARIANTS = [
    ("Bert", SIZES, {}),
    ("Ernie", SIZES, {}),
    ("Ernie", SIZES, dict(use_task_id=True)),
    ("Roberta", SIZES, {}),
    ("XLMRoberta", SIZES, dict(type_vocab_size=1)),
    ("Camembert", SIZES, dict(pad_token_id=3)),
    ("Data2VecText", SIZES, dict(hidden_act="relu")),
    ("DistilBert", DISTILBERT, {}),
    ("Electra", SIZES, dict(embedding_size=16)),
    ("Electra", SIZES, dict(embedding_size=32, summary_activation="tanh")),
    ("Albert", SIZES, dict(embedding_size=16)),
    ("Albert", {**SIZES, "num_hidden_layers": 4}, dict(embedding_size=32, num_hidden_groups=2, hidden_act="gelu")),
    ("MPNet", SIZES, {}),
    ("DebertaV2", DEBERTA, {}),
    ("DebertaV2", DEBERTA, dict(type_vocab_size=2, norm_rel_ebd="none", max_relative_positions=-1, pooler_hidden_act="tanh")),
    ("ModernBert", MODERNBERT, {}),
    ("ModernBert", MODERNBERT, dict(classifier_pooling="mean", layer_types=MIXED, hidden_activation="silu")),
    ("ModernBert", MODERNBERT, dict(norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True, decoder_bias=False)),
    ("NomicBert", SIZES, {}),
    ("Gte", SIZES, {}),
    ("Gte", SIZES, dict(type_vocab_size=0, hidden_act="relu")),
    ("JinaEmbeddingsV3", SIZES, {}),
    ("MegatronBert", SIZES, {}),
    ("XLMRobertaXL", SIZES, {}),
]
TASKS = [
    "Model",
    "ForPreTraining",
    "ForMaskedLM",
    "ForNextSentencePrediction",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
]


def tasks(number, name):
    """Of a variant's classes: in CI the model without a head, and two heads, others for each variant."""
    model, *heads = [task for task in TASKS if hasattr(transformers, name + task)]
    if EVERYTHING:
        return [model, *heads]
    return [model, *(heads[index % len(heads)] for index in {number, number + len(heads) // 2})]


CLASSES = [
    pytest.param(name + task, {**sizes, **options}, id=f"{name}{task}-{number}")
    for number, (name, sizes, options) in enumerate(VARIANTS)
    for task in tasks(number, name)
]


def random_model(name, keys):
    torch.manual_seed(0)
    cls = getattr(transformers, name)
    labels = 2 if name.endswith("QuestionAnswering") else 3
    config = cls.config_class(**keys, num_labels=labels, architectures=[name])
    # Which is not written for every family upstream.
    attention = "sdpa" if cls._supports_sdpa else "eager"
    model = cls._from_config(config, attn_implementation=attention, dtype=torch.float32).eval()
    with torch.no_grad():
        # Every parameter has a part in the result, the zeros and ones of a new model too.
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def write(directory, model, every_key):
    directory.mkdir()
    text = json.loads(model.config.to_json_string(use_diff=not every_key)) | dict(
        architectures=model.config.architectures, model_type=model.config.model_type
    )
    if not every_key:
        defaults = type(model.config)().to_dict()
        text = {key: value for key, value in text.items() if key == "model_type" or defaults.get(key) != value}
    (directory / "config.json").write_text(json.dumps(text))
    # A tied tensor stands in the file once, as transformers saves it.
    state = model.state_dict()
    tied = model._tied_weights_keys or {}
    save_file({name: state[name].contiguous() for name in sorted(set(state) - set(tied))}, directory / "model.safetensors")
    return directory


def example(model, batch, length, full=False):
    """Ids of the whole vocabulary, the padding's too, rows of different lengths, and token types."""
    lengths = torch.tensor([length if full or row == 0 else max(1, length - 3 * row) for row in range(batch)])
    mask = (torch.arange(length) < lengths.unsqueeze(1)).long()
    types = 1
    if "token_type_ids" in inspect.signature(model.forward).parameters:
        types = max(1, getattr(model.config, "type_vocab_size", 1))
    inputs = dict(
        input_ids=torch.randint(0, model.config.vocab_size, (batch, length)),
        attention_mask=mask,
        token_type_ids=torch.randint(0, types, (batch, length)),
    )
    if type(model).__name__.endswith("MultipleChoice"):
        inputs = {name: torch.stack([tensor, tensor.flip(0)], 1) for name, tensor in inputs.items()}
    return inputs


def expected(model, inputs):
    takes_types = "token_type_ids" in inspect.signature(model.forward).parameters
    with torch.no_grad():
        return model(**{name: tensor for name, tensor in inputs.items() if takes_types or name != "token_type_ids"})


@pytest.mark.parametrize("name,keys", CLASSES)
def test_a_class_is_that_of_transformers(tmp_path, name, keys):
    model = random_model(name, keys)
    directory = write(tmp_path / "every_key", model, every_key=True)
    survey = json.loads(cli("inspect", directory, "--json"))
    assert (survey["missing"], survey["unexpected"], survey["renamed"]) == ([], [], []), survey
    assert set(survey["tied"]) == set(model._tied_weights_keys or {})
    file = export(directory)
    program = torch.jit.load(file)
    shapes = {name: tuple(tensor.shape) for name, tensor in program.state_dict().items()}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}

    torch.manual_seed(1)
    for batch, length in [(1, 1), (3, 7), (2, 19), (2, 150)]:
        inputs = example(model, batch, length)
        assert_equal(program(**inputs), expected(model, inputs))
        del inputs["attention_mask"]
        everything = {}
        if getattr(model.config, "classifier_pooling", None) == "mean" and name.endswith("MultipleChoice"):
            # Upstream takes no mask for granted here, and fails.
            everything["attention_mask"] = torch.ones_like(inputs["input_ids"])
        assert_equal(program(**inputs), expected(model, {**inputs, **everything}))

    inputs = example(model, 5, 40)
    reference = expected(model, inputs)
    unmasked = {key: at_tokens(value, inputs["attention_mask"]) for key, value in reference.items()}
    save_file(inputs, tmp_path / "in.safetensors")
    cli("run", file, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    assert set(found) == set(reference.keys())
    assert_equal(tuple(at_tokens(found[key], inputs["attention_mask"]) for key in reference.keys()), unmasked)


@pytest.mark.parametrize("name,keys", CLASSES if EVERYTHING else CLASSES[::2])
def test_absent_keys_have_the_defaults_of_transformers(tmp_path, name, keys):
    model = random_model(name, keys)
    full, sparse = (write(tmp_path / word, model, every_key=word == "full") for word in ["full", "sparse"])
    assert len((sparse / "config.json").read_text()) < len((full / "config.json").read_text())
    digests = [json.loads(cli("inspect", export(directory), "--json"))["metadata"] for directory in (full, sparse)]
    for metadata in digests:
        metadata.pop("files", None)
    assert digests[0] == digests[1]
    inputs = example(model, 2, 9)
    found = [torch.jit.load(directory / "exported.pt")(**inputs) for directory in (full, sparse)]
    assert all(torch.equal(*pair) for pair in zip(*map(as_tuple, found)))


def with_holes(model, padding):
    """Three rows of 60 tokens, some of which are masked elsewhere than at the end."""
    inputs = example(model, 3, 60, full=True)
    mask = inputs["attention_mask"]
    if padding == "left":
        mask[1, :20] = 0
        mask[2, :59] = 0
    else:
        mask[0, ::3] = 0
        mask[1, 10:40] = 0
        mask[2, 1:50] = 0
        mask[:, 0] = padding == "holes"
    return inputs


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padding", ["left", "holes", "first"])
@pytest.mark.parametrize("name", ["MPNetModel", "DebertaV2Model", "DebertaV2ForSequenceClassification", "ModernBertForMaskedLM", "ModernBertForSequenceClassification", "NomicBertModel"])
def test_masks_with_holes(tmp_path, name, padding, attention):
    """Distances and windows are those of the padded row, for every engine."""
    keys = {**MODERNBERT, "classifier_pooling": "mean"} if name.startswith("ModernBert") else SIZES
    keys = DEBERTA if name.startswith("DebertaV2") else keys
    model = random_model(name, keys)
    if attention == "eager":
        model.set_attn_implementation("eager")
    inputs = with_holes(model, padding)
    reference = expected(model, inputs)
    # Not what the pooler reads: upstream's first token may be masked.
    keys = [key for key in reference.keys() if key != "pooler_output"]
    references = {key: at_tokens(reference[key], inputs["attention_mask"]) for key in keys}
    file = export(write(tmp_path / "model", model, every_key=True), "--attention", attention)
    save_file(inputs, tmp_path / "in.safetensors")
    for engine in ["torchscript", "native"]:
        if engine == "native" and attention == "eager" and name.startswith("ModernBert"):
            continue  # refused: its windows may show nothing
        arguments = ["--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "out.safetensors"]
        cli("run", file, *arguments, "--engine", engine)
        found = load_file(tmp_path / "out.safetensors")
        assert_equal(tuple(at_tokens(found[key], inputs["attention_mask"]) for key in keys), references)


@pytest.mark.parametrize("name", ["NomicBertModel", "NomicBertForMaskedLM", "GteForMaskedLM", "GteModel", "JinaEmbeddingsV3ForTokenClassification"])
def test_names_of_published_files_are_read(tmp_path, name):
    """What save_pretrained writes: the names that the models were first published with."""
    model = random_model(name, SIZES)
    model.save_pretrained(tmp_path)
    survey = json.loads(cli("inspect", tmp_path, "--json"))
    assert (survey["missing"], survey["unexpected"]) == ([], []), survey
    assert len({renamed["from"] for renamed in survey["renamed"]}) > 10
    inputs = example(model, 3, 11)
    assert_equal(torch.jit.load(export(tmp_path))(**inputs), expected(model, inputs))


# RoBERTa's positions begin after the padding's.
LONGEST = dict(
    RobertaModel=198,
    CamembertModel=198,
    MPNetModel=198,
    DebertaV2Model=200,
    ModernBertModel=200,
    NomicBertModel=200,
    BertModel=200,
    DistilBertModel=200,
) | ({"XLMRobertaModel": 8192} if EVERYTHING else {})


@pytest.mark.parametrize("name,longest", LONGEST.items())
def test_the_longest_sequence_runs_and_a_longer_one_is_refused(tmp_path, name, longest):
    of_name = {"DistilBertModel": DISTILBERT, "DebertaV2Model": DEBERTA, "ModernBertModel": MODERNBERT}
    sizes = {**SIZES, "max_position_embeddings": longest + 2} if longest > 200 else of_name.get(name, SIZES)
    model = random_model(name, sizes)
    file = export(write(tmp_path / "model", model, every_key=True))
    inputs = example(model, 2, longest, full=True)
    reference = expected(model, inputs)
    save_file(inputs, tmp_path / "in.safetensors")
    for engine in ["native", "torchscript"]:
        cli("run", file, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "out.safetensors", "--engine", engine)
        found = load_file(tmp_path / "out.safetensors")
        assert_equal(tuple(found[key] for key in reference.keys()), reference)
    save_file(example(model, 1, longest + 1, full=True), tmp_path / "in.safetensors")
    with pytest.raises(AssertionError, match=f"found sequence length {longest + 1}, expected 1 to {longest}"):
        cli("run", file, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "out.safetensors")
