"""The live check: fresh random models and a real one, against transformers and torch.jit.load.

`cargo xtask test` runs it. BERTSCRIPT names the command, BERTSCRIPT_MINILM the directory of
all-MiniLM-L6-v2.
"""

import hashlib
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import SEED
from oracle import ACTIVATIONS, FORMS, flatten, old_names, perturb, without_decoder
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

MINILM = Path(os.environ["BERTSCRIPT_MINILM"])
TINY = dict(
    vocab_size=99,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=64,
)
CLASSES = [
    BertModel,
    BertForPreTraining,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertForQuestionAnswering,
    BertForMultipleChoice,
]
# The bounds of crates/bertscript/src/compare.rs.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}

torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(autouse=True)
def reproducible(request):
    torch.manual_seed(SEED ^ (int(hashlib.sha256(request.node.name.encode()).hexdigest(), 16) % 2**32))
    with torch.no_grad():
        yield


def cli(*arguments):
    done = subprocess.run([os.environ["BERTSCRIPT"], *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def oracle(cls, attention="sdpa", **config):
    config = BertConfig(**{**TINY, **config}, architectures=[cls.__name__])
    model = cls._from_config(config, attn_implementation=attention, dtype=torch.float32).eval()
    perturb(model)
    return model


def pretrained(cls, directory):
    return cls.from_pretrained(directory, attn_implementation="sdpa", dtype=torch.float32).eval()


def write(directory, model, state=None, form="safetensors"):
    """A checkpoint directory; with `state`, those tensors under those names."""
    model.config.save_pretrained(directory)
    FORMS[form](model.state_dict() if state is None else state, directory)
    return directory


def export(directory, *arguments):
    file = directory / "exported.pt"
    cli("export", directory, "-o", file, *arguments)
    return file


def example(batch, length, config):
    """Ids, a mask that leaves at least one token a row, and token types."""
    lengths = torch.randint(1, length + 1, (batch,))
    lengths[0] = length
    inputs = dict(
        input_ids=torch.randint(0, config.vocab_size, (batch, length)),
        attention_mask=(torch.arange(length) < lengths.unsqueeze(1)).long(),
        token_type_ids=torch.randint(0, config.type_vocab_size, (batch, length)),
    )
    if "BertForMultipleChoice" in (config.architectures or []):
        # Two choices: the rows, and the rows the other way round.
        inputs = {name: torch.stack([tensor, tensor.flip(0)], 1) for name, tensor in inputs.items()}
    return inputs


def as_tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def assert_equal(found, reference, dtype=torch.float32):
    found, reference = as_tuple(found), tuple(flatten(reference).values())
    assert len(found) == len(reference)
    for one, expected in zip(found, reference):
        assert one.shape == expected.shape and one.dtype == dtype
        bound = TOLERANCE[dtype] * max(1.0, expected.abs().max().item())
        assert (one.float() - expected).abs().max().item() <= bound


def assert_shapes_equal(program, model, shapes):
    for batch, length in shapes:
        inputs = example(batch, length, model.config)
        assert_equal(program(**inputs), model(**inputs))


SHAPES = [(batch, length) for batch in (1, 5) for length in (1, 3, 7, 64)]


@pytest.mark.parametrize("eps", [1e-12, 1e-5])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("cls", CLASSES)
def test_every_architecture_and_activation(tmp_path, cls, activation, eps):
    model = oracle(cls, hidden_act=activation, layer_norm_eps=eps)
    # The forms take turns; the next test shows that they give the same bits.
    form = list(FORMS)[(ACTIVATIONS.index(activation) + CLASSES.index(cls)) % len(FORMS)]
    program = torch.jit.load(export(write(tmp_path, model, form=form)))
    assert_shapes_equal(program, model, SHAPES)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_form_of_weights_gives_the_same_bits(tmp_path, cls):
    model = oracle(cls)
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
    model = oracle(cls, hidden_size=48, num_hidden_layers=3, num_attention_heads=3, max_position_embeddings=512)
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
    assert_equal(tuple(found[name] for name in reference.keys()), reference)
    save_file({k: v.contiguous() for k, v in reference.items()}, tmp_path / "ref.safetensors")
    cli("verify", file, "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "ref.safetensors")


@pytest.mark.parametrize("cls", CLASSES)
def test_eager_attention_returns_everything(tmp_path, cls):
    model = oracle(cls, attention="eager")
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


def test_labels_ride_along(tmp_path):
    labels = {0: "O", 1: "B-PER", 2: "I-PER"}
    model = oracle(BertForTokenClassification, id2label=labels)
    file = export(write(tmp_path, model))
    assert json.loads(cli("inspect", file, "--json"))["metadata"]["labels"] == list(labels.values())


@pytest.mark.parametrize("cls", [BertForMaskedLM, BertForPreTraining])
def test_keep_tied(tmp_path, cls):
    model = oracle(cls)
    write(tmp_path, model)
    untied, tied = tmp_path / "untied.pt", tmp_path / "tied.pt"
    cli("export", tmp_path, "-o", untied)
    cli("export", tmp_path, "-o", tied, "--keep-tied")
    program = torch.jit.load(tied)
    assert_shapes_equal(program, model, SHAPES)
    embedding = program.bert.embeddings.word_embeddings.weight
    assert embedding.data_ptr() == program.cls.predictions.decoder.weight.data_ptr()
    shared = 4 * (TINY["vocab_size"] * TINY["hidden_size"] + TINY["vocab_size"])
    assert abs(untied.stat().st_size - tied.stat().st_size - shared) < 1024


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    file = tmp_path_factory.mktemp("minilm") / "minilm.pt"
    cli("export", MINILM, "-o", file)
    return file


def test_minilm_equals_transformers(minilm):
    model = pretrained(BertModel, MINILM)
    assert_shapes_equal(torch.jit.load(minilm), model, SHAPES + [(1, 512), (5, 512)])
    cli("verify", minilm, "--checkpoint", MINILM)


def test_minilm_describes_itself(minilm):
    model, program = pretrained(BertModel, MINILM), torch.jit.load(minilm)
    state = program.state_dict()
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())

    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + b"\0" + state[name].numpy().tobytes())
    metadata = json.loads(cli("inspect", minilm, "--json"))["metadata"]
    assert metadata["weights_sha256"] == digest.hexdigest()
    assert metadata["parameter_count"] == sum(p.numel() for p in model.parameters())

    files = dict.fromkeys([*metadata["files"], "bertscript.json"], "")
    torch.jit.load(minilm, _extra_files=files)
    assert json.loads(files["bertscript.json"]) == metadata
    for name in metadata["files"]:
        assert files[name] == (MINILM / name).read_bytes(), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path, minilm, dtype):
    tiny = oracle(BertForPreTraining)
    for model, directory, full in [
        (pretrained(BertModel, MINILM), MINILM, minilm),
        (tiny, write(tmp_path, tiny), export(tmp_path)),
    ]:
        short = {torch.float16: "f16", torch.bfloat16: "bf16"}[dtype]
        half = tmp_path / "half.pt"
        cli("export", directory, "-o", half, "--dtype", short)
        assert all(p.dtype == dtype for p in torch.jit.load(half).parameters())
        for batch, length in [(1, 7), (5, 64)]:
            inputs = example(batch, length, model.config)
            reference = model(**inputs)
            assert_equal(torch.jit.load(half)(**inputs), reference, dtype)
            # Cast by Python after loading: no dtype is baked into the code.
            assert_equal(torch.jit.load(full).to(dtype)(**inputs), reference, dtype)


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
    model = oracle(BertForMaskedLM)
    state = without_decoder(old_names(model.state_dict()))
    program = torch.jit.load(export(write(tmp_path, model, state)))
    assert set(program.state_dict()) == set(model.state_dict())
    assert_shapes_equal(program, model, SHAPES)
    embedding = program.bert.embeddings.word_embeddings.weight
    decoder = program.cls.predictions.decoder.weight
    assert embedding.untyped_storage().data_ptr() != decoder.untyped_storage().data_ptr()
    decoder.zero_()
    assert embedding.any()


@pytest.mark.parametrize("cls", CLASSES)
def test_the_program_is_portable(tmp_path, cls):
    model = oracle(cls)
    file = export(write(tmp_path, model))
    program = torch.jit.load(file)
    schema = program.forward.schema
    assert [argument.name for argument in schema.arguments] == [
        "self",
        "input_ids",
        "attention_mask",
        "token_type_ids",
    ]
    graph = program.inlined_graph
    constants = [node for node in graph.findAllNodes("prim::Constant") if node.hasAttribute("value")]
    assert not [node for node in constants if node.kindOf("value") == "t"]
    assert not graph.findAllNodes("aten::dropout")
    with zipfile.ZipFile(file) as archive:
        code = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")]
        assert not [name for name in archive.namelist() if "/constants/" in name]
    assert code and not [text for text in code if "device(" in text]
    assert set(program.state_dict()) == {name for name, _ in program.named_parameters()}

    moved = torch.jit.load(file, map_location="meta")
    inputs = {name: tensor.to("meta") for name, tensor in example(2, 5, model.config).items()}
    assert all(parameter.is_meta for parameter in moved.parameters())
    assert all(output.is_meta for output in as_tuple(moved(**inputs)))

    inputs = example(2, 5, model.config)
    assert_equal(torch.jit.freeze(program.eval())(**inputs), model(**inputs))
    again = tmp_path / "again.pt"
    torch.jit.save(program, again)
    assert_equal(torch.jit.load(again)(**inputs), model(**inputs))


@pytest.mark.parametrize("cls", CLASSES)
def test_padding_changes_nothing(tmp_path, cls):
    model = oracle(cls)
    program = torch.jit.load(export(write(tmp_path, model)))
    inputs = example(4, 13, model.config)
    batch = as_tuple(program(**inputs))
    for row in range(4):
        length = int(inputs["attention_mask"][row].sum(-1).max())
        cut = {name: tensor[row : row + 1, ..., :length] for name, tensor in inputs.items()}
        for alone, among, expected in zip(as_tuple(program(**cut)), batch, model(**cut).values()):
            assert_equal(alone, {"": expected})
            # Of outputs for each token, those of padding are not the row's.
            per_token = among.dim() > 1 and among.shape[1] == 13
            assert_equal(alone, {"": among[row : row + 1, :length] if per_token else among[row : row + 1]})
