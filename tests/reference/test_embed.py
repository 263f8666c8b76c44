"""The live check of `bertscript embed` against sentence-transformers."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from embeddings import TEXTS, WIDTH, assert_close, embed, oracle, save
from live import MINILM, export
from texts import BLANK, answers, corpus, real_vocabulary, refused, send

FLAGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
MODES = list(FLAGS)


@pytest.fixture(scope="module")
def texts():
    return corpus() + BLANK


@pytest.fixture(scope="module")
def reference(texts):
    return oracle(MINILM).encode(texts)


@pytest.fixture(scope="module")
def mean(plain, tmp_path_factory):
    """The file of a tiny model that averages."""
    directory = tmp_path_factory.mktemp("mean")
    save(directory, plain, Pooling(WIDTH, "mean"))
    return export(directory)


def write_old(directory, new):
    """The same checkpoint in the words of sentence-transformers 2: flags, pickles and a folder for every module."""
    directory.mkdir()
    listed = []
    for module in json.loads((new / "modules.json").read_text()):
        kind, source = module["type"].rsplit(".", 1)[1], new / module["path"]
        path = f"{module['idx']}_{kind}"
        target = directory / path
        target.mkdir()
        listed.append({**module, "path": path, "type": f"sentence_transformers.models.{kind}"})
        if kind == "Transformer":
            for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]:
                shutil.copy(source / name, target)
            (target / "sentence_bert_config.json").write_text(json.dumps(dict(max_seq_length=48, do_lower_case=False)))
        elif kind == "Pooling":
            modes = json.loads((source / "config.json").read_text())["pooling_mode"]
            flags = {flag: mode == modes or mode in list(modes) for mode, flag in FLAGS.items()}
            (target / "config.json").write_text(json.dumps(dict(word_embedding_dimension=WIDTH, **flags)))
        elif kind == "Dense":
            shutil.copy(source / "config.json", target)
            torch.save(load_file(source / "model.safetensors"), target / "pytorch_model.bin")
    (directory / "modules.json").write_text(json.dumps(listed))


def test_minilm_equals_sentence_transformers(minilm, texts, reference):
    vocabulary = real_vocabulary(10**6)
    cut = sum(len(ids) > 256 for ids in vocabulary(texts)["input_ids"])
    assert len(texts) > 500 and cut
    for budget in ["300", "20000"]:
        done = send("embed", minilm, "--batch-tokens", budget, texts=texts)
        assert done.returncode == 0, done.stderr
        found = np.array([json.loads(line)["embedding"] for line in done.stdout.split("\n")[:-1]], np.float32)
        assert_close(found, reference)
        cosine = (found * reference).sum(-1, dtype=np.float64)
        cosine /= np.linalg.norm(found.astype(np.float64), axis=-1) * np.linalg.norm(reference, axis=-1)
        assert cosine.min() >= 1 - 1e-6
        assert re.search(rf"\b{cut}\b", done.stderr), done.stderr


def test_minilm_of_int8_is_near_sentence_transformers(minilm, texts, reference):
    found = embed(minilm, texts, "--precision", "int8")
    cosine = (found * reference).sum(-1) / np.linalg.norm(found, axis=-1)
    # Measured: 0.9939 and 0.9989 here, where phrases repeat and words are made up; of real texts, 0.9960 and 0.9993
    # (docs/performance.md).
    assert cosine.min() >= 0.99 and np.median(cosine) >= 0.998
    assert np.abs(found - reference).max() > 1e-4, "nothing was rounded"


def test_every_form_of_output_holds_the_same(tmp_path, minilm, texts):
    texts = texts[:40] + BLANK
    source = tmp_path / "in.txt"
    source.write_text("".join(f"{text}\n" for text in texts))
    written = [tmp_path / name for name in ("out.jsonl", "out.npy", "out.safetensors")]
    for file in written:
        assert answers("embed", minilm, "--input", source, "--output", file) == []
    lines, array, tensors = written[0].read_text().split("\n"), np.load(written[1]), load_file(written[2])
    assert lines.pop() == "" and list(tensors) == ["embeddings"]
    assert array.dtype == np.float32 and tensors["embeddings"].dtype == torch.float32
    found = np.array([json.loads(line)["embedding"] for line in lines], np.float32)
    assert np.array_equal(found, array) and np.array_equal(found, tensors["embeddings"].numpy())
    assert np.array_equal(found, embed(minilm, texts, "--input", "-", "--output", "-"))
    objects = [json.dumps(text) if i % 2 else json.dumps({"text": text}) for i, text in enumerate(texts)]
    assert np.array_equal(found, embed(minilm, objects, "--jsonl"))


def test_a_text_alone_equals_the_text_in_a_batch(minilm, texts, reference):
    for row in [0, 7, 250, len(texts) - 2, len(texts) - 1]:
        assert_close(embed(minilm, texts[row : row + 1]), reference[row : row + 1])


RECIPES = {mode: lambda mode=mode: [Pooling(WIDTH, mode)] for mode in MODES} | {
    "two modes": lambda: [Pooling(WIDTH, ("cls", "mean"))],
    "two modes the other way round": lambda: [Pooling(WIDTH, ("mean", "cls"))],
    "tanh": lambda: [Pooling(WIDTH, "mean"), Dense(WIDTH, 16)],
    "identity": lambda: [Pooling(WIDTH, "max"), Dense(WIDTH, 48, bias=False, activation_function=nn.Identity())],
    "normalize": lambda: [Pooling(WIDTH, "mean"), Normalize()],
    "everything": lambda: [Pooling(WIDTH, ("cls", "max")), Dense(2 * WIDTH, 24), Normalize()],
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_in_new_words_and_old(tmp_path, plain, recipe):
    new, old = tmp_path / "new", tmp_path / "old"
    reference = save(new, plain, *RECIPES[recipe]())
    assert_close(embed(export(new), TEXTS), reference.encode(TEXTS))
    if recipe.endswith("round"):
        # Flags have no order.
        return
    write_old(old, new)
    found = embed(export(old), TEXTS)
    assert_close(found, oracle(old).encode(TEXTS))
    reference.max_seq_length = 48
    assert_close(found, reference.encode(TEXTS))


SETTINGS = {
    "a limit below the tokenizer's": (dict(max_seq_length=20), {}),
    "a limit above the tokenizer's": (dict(max_seq_length=48), dict(model_max_length=32)),
    "no limit of its own": (dict(max_seq_length=None), dict(model_max_length=32)),
    "no limit but the positions": ({}, dict(model_max_length=10**30)),
    "a tokenizer that keeps case": ({}, dict(do_lower_case=False)),
    "lower case before a tokenizer that keeps it": (dict(do_lower_case=True), dict(do_lower_case=False)),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_transformer(tmp_path, plain, setting):
    save(tmp_path, plain, Pooling(WIDTH, "mean"))
    for name, changes in zip(["sentence_bert_config.json", "tokenizer_config.json"], SETTINGS[setting]):
        config = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps({**config, **changes}))
    assert_close(embed(export(tmp_path), TEXTS), oracle(tmp_path).encode(TEXTS))


OTHERS = [f"sentence_{name}_config.json" for name in "roberta distilbert camembert albert xlm-roberta xlnet".split()]


@pytest.mark.parametrize("name", OTHERS)
def test_settings_under_other_names(tmp_path, plain, name):
    save(tmp_path, plain, Pooling(WIDTH, "mean"))
    settings = json.loads((tmp_path / "sentence_bert_config.json").read_text())
    (tmp_path / name).write_text(json.dumps({**settings, "max_seq_length": 20}))
    # The first of them that says anything counts.
    for first in [{}, None, {**settings, "max_seq_length": 12}]:
        (tmp_path / "sentence_bert_config.json").unlink(missing_ok=True)
        if first is not None:
            (tmp_path / "sentence_bert_config.json").write_text(json.dumps(first))
        if name != "sentence_xlnet_config.json":
            (tmp_path / "sentence_xlnet_config.json").write_text(json.dumps({**settings, "max_seq_length": 7}))
        reference = oracle(tmp_path)
        assert reference.max_seq_length == (12 if first else 20)
        assert_close(embed(export(tmp_path), TEXTS), reference.encode(TEXTS))


@pytest.mark.parametrize("mode, include", [("mean", True), *((mode, False) for mode in MODES)])
def test_prompts(tmp_path, plain, mode, include):
    reference = save(tmp_path, plain, Pooling(WIDTH, mode, include_prompt=include), Normalize())
    file = export(tmp_path)
    assert_close(embed(file, TEXTS), reference.encode(TEXTS))
    assert_close(embed(file, TEXTS, "--prompt-name", "query"), reference.encode(TEXTS, prompt_name="query"))
    prompt = "Represent this déjà-vu for retrieval: "
    assert_close(embed(file, TEXTS, "--prompt", prompt), reference.encode(TEXTS, prompt=prompt))
    assert "query" in refused("embed", file, "--prompt-name", "nonesuch", texts=TEXTS)


@pytest.mark.parametrize("include", [True, False])
def test_default_prompt(tmp_path, plain, include):
    pooling = Pooling(WIDTH, "mean", include_prompt=include)
    reference = save(tmp_path, plain, pooling, default_prompt_name="passage")
    file = export(tmp_path)
    prompted = embed(file, TEXTS)
    assert_close(prompted, reference.encode(TEXTS))
    assert_close(embed(file, TEXTS, "--prompt-name", "query"), reference.encode(TEXTS, prompt_name="query"))
    bare = embed(file, TEXTS, "--prompt", "")
    assert_close(bare, reference.encode(TEXTS, prompt=""))
    assert np.abs(prompted - bare).max() > 1e-3


def test_truncated_dimensions(tmp_path, plain):
    reference = save(tmp_path, plain, Pooling(WIDTH, "mean"), Normalize(), truncate_dim=12)
    file = export(tmp_path)
    found = embed(file, TEXTS)
    assert found.shape[1] == 12
    assert_close(found, reference.encode(TEXTS))
    assert_close(embed(file, TEXTS, "--truncate-dim", "7"), reference.encode(TEXTS, truncate_dim=7))
    again = reference.encode(TEXTS, truncate_dim=20, normalize_embeddings=True)
    assert_close(embed(file, TEXTS, "--truncate-dim", "20", "--normalize"), again)


@pytest.mark.parametrize("modes", [*MODES, "max,cls"])
def test_pooling_of_a_file_without_recipe(plain, modes):
    file = export(plain)
    pooling = Pooling(WIDTH, tuple(modes.split(",")))
    reference = SentenceTransformer(modules=[Transformer(str(plain)), pooling], device="cpu")
    assert_close(embed(file, TEXTS, "--pooling", modes), reference.encode(TEXTS))
    normalized = reference.encode(TEXTS, normalize_embeddings=True)
    assert_close(embed(file, TEXTS, "--pooling", modes, "--normalize"), normalized)
    assert "--pooling" in refused("embed", file, texts=TEXTS)


def test_no_texts(tmp_path, mean):
    assert answers("embed", mean) == []
    for name in ["none.jsonl", "none.npy", "none.safetensors"]:
        assert answers("embed", mean, "--output", tmp_path / name) == []
    assert (tmp_path / "none.jsonl").read_bytes() == b""
    assert np.load(tmp_path / "none.npy").shape == (0, WIDTH)
    assert load_file(tmp_path / "none.safetensors")["embeddings"].shape == (0, WIDTH)


def test_what_a_line_is(mean):
    three = embed(mean, ["one", "", "three"])
    for stdin in [b"one\r\n\r\nthree\r\n", b"one\n\nthree"]:
        lines = answers("embed", mean, stdin=stdin)
        assert np.array_equal(three, np.array([line["embedding"] for line in lines], np.float32))
    assert len(answers("embed", mean, stdin=b"\n")) == 1
    odd = "one\u2028line\u0085of\x0bodd\x0cspaces"
    assert len(answers("embed", mean, texts=[odd])) == 1


def test_bytes_that_are_no_text(mean):
    message = refused("embed", mean, stdin=b"one\ntwo\nthr\xffee\nfour\n")
    assert re.search(r"line 3\b", message), message


def test_a_line_of_a_million_characters(mean):
    long, short = "word " * 200_000, "word " * 100
    done = send("embed", mean, texts=["one", long, "two", short])
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line)["embedding"] for line in done.stdout.split("\n")[:-1]]
    assert_close(np.array(rows[1]), np.array(rows[3]))
    assert re.search(r"\b2\b.*(cut|truncated)|(cut|truncated).*\b2\b", done.stderr), done.stderr
    message = refused("embed", mean, "--long-texts", "refuse", texts=["one", short, "two"])
    assert re.search(r"line 2\b", message), message


def test_a_file_needs_nothing_beside_it(tmp_path, plain):
    source, alone = tmp_path / "source", tmp_path / "alone"
    source.mkdir()
    alone.mkdir()
    save(source, plain, *RECIPES["everything"]())
    file = export(source)
    before = embed(file, TEXTS, "--prompt-name", "query")
    shutil.move(file, alone / "model.pt")
    shutil.rmtree(source)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HOME": str(alone)}
    arguments = ["embed", "model.pt", "--prompt-name", "query"]
    rows = [line["embedding"] for line in answers(*arguments, texts=TEXTS, cwd=alone, env=environment)]
    assert np.array_equal(before, np.array(rows, np.float32))
    assert os.listdir(alone) == ["model.pt"]


def start(file, directory, *arguments):
    """The command at work on a hundred thousand short lines."""
    (directory / "in.txt").write_text("".join(f"line {i} of many\n" for i in range(100_000)))
    # Small batches: it is to be busy for long.
    command = [os.environ["BERTSCRIPT"], "embed", str(file), "--batch-tokens", "16", *map(str, arguments)]
    with open(directory / "in.txt") as stdin:
        return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# Only a process that hangs takes so long, on however slow a machine.
HANGS = 600


def wait_until(condition, process):
    end = time.monotonic() + HANGS
    while not condition():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end, f"it does nothing for {HANGS} seconds"
        time.sleep(0.01)
    assert process.poll() is None, process.stderr.read().decode()


def bytes_read(process):
    """How far the process is in its standard input."""
    return int(Path(f"/proc/{process.pid}/fdinfo/0").read_text().split()[1])


def finish(process):
    try:
        _, stderr = process.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert b"panicked" not in stderr and process.returncode != 101, stderr.decode()


def test_killed_it_leaves_whole_lines(tmp_path, mean):
    output = tmp_path / "out.jsonl"
    process = start(mean, tmp_path, "--output", output)
    wait_until(lambda: output.exists() and output.stat().st_size > 20_000, process)
    process.kill()
    process.communicate()
    written = output.read_bytes()
    assert written.endswith(b"\n")
    rows = [json.loads(line)["embedding"] for line in written.splitlines()]
    expected = embed(mean, [f"line {i} of many" for i in range(20)])
    assert_close(np.array(rows[:20], np.float32), expected)
    assert {len(row) for row in rows} == {WIDTH}


@pytest.mark.parametrize("name", ["out.jsonl", "out.npy", "out.safetensors"])
def test_interrupted_it_closes_its_files(tmp_path, mean, name):
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / name
    process = start(mean, tmp_path, "--output", output)
    # It reads at most 2 chunks of 512 lines ahead, and 16 KiB: by now it has embedded some.
    wait_until(lambda: bytes_read(process) > 100_000, process)
    process.send_signal(signal.SIGINT)
    finish(process)
    if name.endswith("npy"):
        found = np.load(output)
    elif name.endswith("safetensors"):
        found = load_file(output)["embeddings"].numpy()
    else:
        assert output.read_bytes().endswith(b"\n")
        found = np.array([json.loads(line)["embedding"] for line in output.read_bytes().splitlines()], np.float32)
    assert found.shape[1] == WIDTH and 0 < len(found) < 100_000
    expected = embed(mean, [f"line {i} of many" for i in range(min(len(found), 500))])
    assert_close(found[:500], expected)
    assert os.listdir(output.parent) == [name]


def test_a_closed_pipe_ends_it(tmp_path, mean):
    process = start(mean, tmp_path)
    assert len(json.loads(process.stdout.readline())["embedding"]) == WIDTH
    process.stdout.close()
    process.stdout = None
    finish(process)
