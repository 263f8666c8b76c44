"""The live check of results: fresh random models and a real one, against transformers."""

import copy
import json
import os
import subprocess
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertModel

from live import (
    CLASSES,
    MINILM,
    SHAPES,
    TINY,
    as_tuple,
    assert_equal,
    assert_shapes_equal,
    at_tokens,
    cli,
    example,
    export,
    pretrained,
    random_model,
    write,
)
from oracle import ACTIVATIONS, FORMS, flatten, old_names, without_decoder


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("cls", CLASSES)
def test_every_architecture_and_activation(tmp_path, cls, activation):
    # Neither depends on the other: each class and each activation meets both values of eps, and
    # every form, of which the next test shows that they give the same bits.
    turn = ACTIVATIONS.index(activation) + CLASSES.index(cls)
    form = list(FORMS)[turn % len(FORMS)]
    model = random_model(cls, hidden_act=activation, layer_norm_eps=[1e-12, 1e-5][turn % 2])
    program = torch.jit.load(export(write(tmp_path, model, form=form)))
    assert_shapes_equal(program, model, SHAPES)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_form_of_weights_gives_the_same_bits(tmp_path, cls):
    model = random_model(cls)
    digests = set()
    for form in FORMS:
        (tmp_path / form).mkdir()
        file = export(write(tmp_path / form, model, form=form))
        program = torch.jit.load(file)
        assert all(torch.equal(program.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
        digests.add(json.loads(cli("inspect", file, "--json"))["metadata"]["weights_sha256"])
    assert len(digests) == 1


@pytest.mark.parametrize("cls", CLASSES)
def test_every_shape_and_way_of_calling(tmp_path, cls):
    model = random_model(cls, hidden_size=48, num_hidden_layers=3, num_attention_heads=3, max_position_embeddings=512)
    file = export(write(tmp_path, model))
    program = torch.jit.load(file)
    assert_shapes_equal(program, model, SHAPES + [(1, 512), (5, 512)])

    inputs = example(3, 9, model.config)
    ids, mask, types = inputs.values()
    assert_equal(program(ids, mask, types), model(**inputs))
    assert_equal(program(ids), model(ids))
    assert_equal(program(ids, mask), model(ids, mask))
    # The call of 2019 that transformers 2.0 broke: segments second, here by name.
    assert_equal(program(ids, token_type_ids=types), model(ids, token_type_ids=types))
    assert_equal(program(ids.int(), mask.bool(), types.int()), model(**inputs))

    save_file(inputs, tmp_path / "in.safetensors")
    cli("run", file, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    reference = model(**inputs)
    assert set(found) == set(reference.keys())
    # Without padding, masked tokens are not computed: their outputs are zeros.
    unmasked = {name: at_tokens(values, mask) for name, values in reference.items()}
    assert_equal(tuple(found[name] for name in reference.keys()), unmasked)
    save_file({k: v.contiguous() for k, v in reference.items()}, tmp_path / "ref.safetensors")
    cli("verify", file, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "ref.safetensors")


@pytest.mark.parametrize("cls", CLASSES)
def test_eager_attention_returns_everything(tmp_path, cls):
    model = random_model(cls, attention="eager")
    file = export(write(tmp_path, model), "--output-hidden-states", "--output-attentions")
    program = torch.jit.load(file)
    for batch, length in SHAPES:
        inputs = example(batch, length, model.config)
        reference = model(**inputs, output_hidden_states=True, output_attentions=True)
        assert_equal(program(**inputs), reference)
    names = [output["name"] for output in json.loads(cli("inspect", file, "--json"))["metadata"]["outputs"]]
    assert names == list(flatten(reference))
    with zipfile.ZipFile(file) as archive:
        code = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith(".py"))
    assert "scaled_dot_product_attention" not in code


def test_minilm_equals_transformers(minilm):
    model = pretrained(BertModel, MINILM)
    assert_shapes_equal(torch.jit.load(minilm), model, SHAPES + [(1, 512), (5, 512)])
    cli("verify", minilm, "--checkpoint", MINILM)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path, minilm, dtype):
    tiny = random_model(BertForPreTraining)
    for model, directory, full in [
        (pretrained(BertModel, MINILM), MINILM, minilm),
        (tiny, write(tmp_path, tiny), export(tmp_path)),
    ]:
        short = {torch.float16: "f16", torch.bfloat16: "bf16"}[dtype]
        half, own = tmp_path / "half.pt", copy.deepcopy(model).to(dtype)
        cli("export", directory, "-o", half, "--dtype", short)
        assert all(p.dtype == dtype for p in torch.jit.load(half).parameters())
        for batch, length in [(1, 7), (5, 64)]:
            inputs = example(batch, length, model.config)
            bounds = dict(reference=model(**inputs), dtype=dtype, own=own(**inputs))
            assert_equal(torch.jit.load(half)(**inputs), **bounds)
            # Cast by Python after loading: no dtype is baked into the code.
            assert_equal(torch.jit.load(full).to(dtype)(**inputs), **bounds)


def test_the_walk_through_of_2019(tmp_path):
    """The example of the old TorchScript page: a random model from a configuration alone."""
    config = dict(
        vocab_size_or_config_json_file=32000,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        torchscript=True,
    )
    (tmp_path / "config.json").write_text(json.dumps(config))
    vocabulary = (MINILM / "vocab.txt").read_text().split("\n")
    text = "[CLS] who was jim henson ? [SEP] jim henson was a puppet ##eer [SEP]".split()
    text[8] = "[MASK]"
    ids = torch.tensor([[vocabulary.index(token) for token in text]])
    segments = torch.tensor([[0] * 7 + [1] * 7])
    assert ids.shape == segments.shape == (1, 14)

    def exported(name, seed):
        file = tmp_path / name
        cli("export", tmp_path, "-o", file, "--architecture", "BertModel", "--random-init", seed)
        return file, json.loads(cli("inspect", file, "--json"))["metadata"]["weights_sha256"]

    file, digest = exported("one.pt", 7)
    program = torch.jit.load(file)
    model = BertModel._from_config(BertConfig(vocab_size=32000), attn_implementation="sdpa").eval()
    model.load_state_dict(program.state_dict(), strict=True)
    reference = model(ids, token_type_ids=segments)
    assert_equal(program(ids, token_type_ids=segments), reference)
    save_file(dict(input_ids=ids, token_type_ids=segments), tmp_path / "in.safetensors")
    cli("run", file, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "out.safetensors")
    found = load_file(tmp_path / "out.safetensors")
    assert_equal((found["last_hidden_state"], found["pooler_output"]), reference)

    for name, parameter in program.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif "LayerNorm" in name:
            assert (parameter == 1).all()
        else:
            assert abs(parameter.std().item() / 0.02 - 1) < 0.05, name
    assert not program.embeddings.word_embeddings.weight[0].any()

    assert exported("two.pt", 7)[1] == digest
    assert exported("two.pt", 8)[1] != digest


def test_masked_lm_without_decoder_and_with_old_names(tmp_path):
    model = random_model(BertForMaskedLM)
    state = without_decoder(old_names(model.state_dict()))
    program = torch.jit.load(export(write(tmp_path, model, state)))
    assert set(program.state_dict()) == set(model.state_dict())
    assert_shapes_equal(program, model, SHAPES)
    embedding = program.bert.embeddings.word_embeddings.weight
    decoder = program.cls.predictions.decoder.weight
    assert embedding.untyped_storage().data_ptr() != decoder.untyped_storage().data_ptr()
    before = embedding.clone()
    decoder.zero_()
    assert torch.equal(embedding, before)


@pytest.mark.parametrize("cls", CLASSES)
def test_padding_changes_nothing(tmp_path, cls):
    model = random_model(cls)
    program = torch.jit.load(export(write(tmp_path, model)))
    inputs = example(4, 13, model.config, padded=True)
    batch = as_tuple(program(**inputs))
    for row in range(4):
        length = int(inputs["attention_mask"][row].sum(-1).max())
        cut = {name: tensor[row : row + 1, ..., :length] for name, tensor in inputs.items()}
        for alone, among, expected in zip(as_tuple(program(**cut)), batch, model(**cut).values()):
            assert_equal(alone, {"": expected})
            # Of outputs for each token, those of padding are not the row's.
            per_token = among.dim() > 1 and among.shape[1] == 13
            assert_equal(alone, {"": among[row : row + 1, :length] if per_token else among[row : row + 1]})


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_native_equals_transformers_and_leaves_zeros_at_padding(tmp_path, cls, dtype):
    model = random_model(cls, hidden_size=48, num_hidden_layers=3, num_attention_heads=3, max_position_embeddings=512)
    file = export(write(tmp_path, model))
    precision = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    in_precision = copy.deepcopy(model).to(precision)
    for batch, length in [(1, 1), (5, 7), (3, 64), (1, 512), (5, 512)]:
        inputs = example(batch, length, model.config, padded=True)
        save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, tmp_path / "in.safetensors")
        out = tmp_path / "out.safetensors"
        options = ["--engine", "native", "--precision", dtype]
        cli("run", file, "--inputs", tmp_path / "in.safetensors", "--outputs", out, *options)
        found, mask = load_file(out), inputs["attention_mask"].flatten(0, -2)
        own = flatten(in_precision(**inputs))
        for name, expected in flatten(model(**inputs)).items():
            rounded = own[name]
            if expected.shape[:2] == mask.shape:
                hole = (mask == 0).reshape(*mask.shape, *[1] * (expected.dim() - 2))
                expected, rounded = expected.masked_fill(hole, 0), rounded.masked_fill(hole, 0)
                assert not found[name].masked_select(hole).any()
            assert_equal(found[name], {name: expected}, precision, {name: rounded})


@pytest.mark.parametrize("cls", CLASSES)
def test_no_mask_equals_a_mask_of_ones(tmp_path, cls):
    model = random_model(cls)
    program = torch.jit.load(export(write(tmp_path, model)))
    inputs = example(5, 13, model.config)
    inputs["attention_mask"] = torch.ones_like(inputs["attention_mask"])
    masked = as_tuple(program(**inputs))
    del inputs["attention_mask"]
    assert_equal(program(**inputs), dict(enumerate(masked)))


LABELS = {
    "neither": {},
    "num_labels": dict(num_labels=3),
    "id2label": dict(id2label={"1": "b", "0": "a"}),
    "both": dict(id2label={"0": "a", "1": "b"}, num_labels=2),
    "num_labels that is another number": dict(id2label={"0": "a", "1": "b"}, num_labels=3),
    "id2label of nothing": dict(id2label={}, num_labels=2),
    "null id2label": dict(id2label=None, num_labels=3),
    "numbers": dict(id2label={"0": 1, "1": 0.5, "2": "x"}),
    "twelve": dict(id2label={str(number): f"x{number}" for number in range(12)}),
}
# What transformers refuses is refused; the rest it takes as they are, although labels are missing, or no text.
NO_LABELS = {
    "num_labels: found null": dict(num_labels=None),
    "num_labels: found 2.5": dict(num_labels=2.5),
    'num_labels: found "2"': dict(num_labels="2"),
    "id2label: found the id \"a\"": dict(id2label={"a": "x"}),
    "problem_type: found single_label": dict(id2label={"0": "a"}, problem_type="single_label_classification"),
    "id2label: found a list of 2": dict(id2label=["a", "b"]),
}
TAKEN_THERE = {
    "id2label: found no label of 1, expected": dict(id2label={"0": "a", "2": "b"}),
    "id2label: found no label of 0, 1, 3, 4 ..": dict(id2label={"2": "a", "9": "b"}),
    "id2label: 1: found null": dict(id2label={"0": "a", "1": None}),
    "id2label: found the id 0 twice": dict(id2label={"0": "a", "00": "b"}),
    "num_labels: found -1": dict(num_labels=-1),
}


def labelled(directory, labels):
    """A directory of a configuration alone, and what the command says to it."""
    config = TINY | dict(model_type="bert", architectures=["BertForSequenceClassification"])
    (directory / "config.json").write_text(json.dumps(config | labels))
    command = [os.environ["BERTSCRIPT"], "export", str(directory), "-o", str(directory / "out.pt"), "--json"]
    return subprocess.run([*command, "--random-init", "1"], capture_output=True, text=True)


@pytest.mark.parametrize("name", LABELS)
def test_labels(tmp_path, name):
    done = labelled(tmp_path, LABELS[name])
    assert done.returncode == 0, done.stderr
    expected = BertConfig.from_pretrained(tmp_path).id2label
    assert json.loads(done.stdout)["metadata"]["labels"] == [str(expected[number]) for number in range(len(expected))]


@pytest.mark.parametrize("message", NO_LABELS | TAKEN_THERE)
def test_labels_that_are_refused(tmp_path, message):
    done = labelled(tmp_path, (NO_LABELS | TAKEN_THERE)[message])
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    if message in NO_LABELS:
        with pytest.raises(Exception):
            BertConfig.from_pretrained(tmp_path)
    else:
        BertConfig.from_pretrained(tmp_path)
