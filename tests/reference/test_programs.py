"""The live check of files: what torch.jit.load sees of ours, and what ours sees of others."""

import hashlib
import json
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, BertForPreTraining, BertForTokenClassification, BertModel

from live import (
    CLASSES,
    MINILM,
    SHAPES,
    TINY,
    as_tuple,
    assert_equal,
    assert_shapes_equal,
    cli,
    example,
    export,
    pretrained,
    random_model,
    write,
)


def test_labels_ride_along(tmp_path):
    labels = {0: "O", 1: "B-PER", 2: "I-PER"}
    model = random_model(BertForTokenClassification, id2label=labels)
    file = export(write(tmp_path, model))
    assert json.loads(cli("inspect", file, "--json"))["metadata"]["labels"] == list(labels.values())


@pytest.mark.parametrize("cls", [BertForMaskedLM, BertForPreTraining])
def test_keep_tied(tmp_path, cls):
    model = random_model(cls)
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


def test_fixed_shapes(tmp_path):
    model = random_model(BertForPreTraining)
    shapes = ["--fixed-shape", "1x8", "--fixed-shape", "2x16", "--fixed-shape", "4x32"]
    program = torch.jit.load(export(write(tmp_path, model), *shapes))
    assert_shapes_equal(program, model, [(1, 1), (1, 8), (1, 9), (2, 16), (2, 17), (3, 5), (4, 32)])
    with pytest.raises(Exception, match="shape 4x33 fits none of the traced shapes 1x8, 2x16, 4x32"):
        program(torch.zeros(4, 33, dtype=torch.long))
    assert set(program.state_dict()) == set(model.state_dict())


class Scripted(torch.nn.Module):
    """A module of somebody else, with names of its own."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 8)

    def forward(self, tokens: torch.Tensor, scale: float = 2.0) -> dict[str, torch.Tensor]:
        x = self.embedding(tokens) * scale
        return {"embedded": x, "pooled": x.mean(1)}


def test_programs_of_others(tmp_path):
    model = random_model(BertModel, attention="eager")
    inputs = example(2, 9, model.config)
    ids, mask, types = inputs.values()
    save_file(inputs, tmp_path / "in.safetensors")
    reference = model(**inputs)

    traced = torch.jit.trace(model, (ids, mask, types), strict=False)
    model.config.return_dict = False
    as_tuple = torch.jit.trace(model, (ids, mask, types))
    for name, program, names in [
        ("dict.pt", traced, ["last_hidden_state", "pooler_output"]),
        ("tuple.pt", as_tuple, ["output.0", "output.1"]),
    ]:
        file, out, ref = tmp_path / name, tmp_path / "out.safetensors", tmp_path / "ref.safetensors"
        program.save(file)
        described = json.loads(cli("inspect", file, "--json"))
        assert [argument["name"] for argument in described["inputs"]] == list(inputs)
        assert described["tensor_bytes"] == sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
        cli("run", file, "--inputs", tmp_path / "in.safetensors", "--outputs", out)
        found = load_file(out)
        assert_equal(tuple(found[name] for name in names), reference)
        save_file(dict(zip(names, (t.contiguous() for t in reference.values()))), ref)
        cli("verify", file, "--inputs", tmp_path / "in.safetensors", "--outputs", ref)

    scripted = torch.jit.script(Scripted())
    scripted.save(tmp_path / "scripted.pt")
    tokens = torch.arange(10).view(2, 5)
    save_file({"tokens": tokens}, tmp_path / "tokens.safetensors")
    cli("run", tmp_path / "scripted.pt", "--inputs", tmp_path / "tokens.safetensors", "--outputs", out)
    assert torch.equal(load_file(out)["pooled"], scripted(tokens)["pooled"])


class Sparse(torch.nn.Module):
    """Its tensors have no storage, which is what ours are shared and cast by."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.eye(4).to_sparse())

    def forward(self, x):
        return torch.mm(self.weight, x)


def test_a_program_with_sparse_tensors(tmp_path):
    file, given, out = (tmp_path / name for name in ["sparse.pt", "in.safetensors", "out.safetensors"])
    torch.jit.script(Sparse()).save(file)
    x = torch.arange(8.0).view(4, 2)
    save_file({"x": x}, given)
    cli("run", file, "--inputs", given, "--outputs", out)
    assert torch.equal(load_file(out)["output"], x)
    # Cast, it multiplies in bfloat16, which libtorch has no sparse product of.
    with pytest.raises(AssertionError, match="BFloat16"):
        cli("run", file, "--dtype", "bf16", "--inputs", given, "--outputs", out)


def test_our_program_saved_again_by_python(tmp_path):
    """With our metadata it is ours again; without, a program that runs all the same."""
    model = random_model(BertModel)
    file = export(write(tmp_path, model))
    files = {"bertscript.json": "", "config.json": ""}
    program = torch.jit.load(file, _extra_files=files)
    torch.jit.save(program, tmp_path / "with.pt", _extra_files=files)
    torch.jit.save(program, tmp_path / "without.pt")
    cli("verify", tmp_path / "with.pt")
    inputs = example(2, 9, model.config)
    save_file(inputs, tmp_path / "in.safetensors")
    cli("run", tmp_path / "without.pt", "--inputs", tmp_path / "in.safetensors", "--outputs", tmp_path / "out")
    found = load_file(tmp_path / "out")
    assert_equal((found["output.0"], found["output.1"]), model(**inputs))


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


@pytest.mark.parametrize("cls", CLASSES)
def test_the_program_is_portable(tmp_path, cls):
    model = random_model(cls)
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
