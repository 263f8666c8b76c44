"""The live check of sparse embeddings against sentence-transformers' SparseEncoder."""

import json
import shutil

import numpy as np
import pytest
import scipy.sparse
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import BertForMaskedLM, DistilBertConfig, DistilBertForMaskedLM

from live import cli, export
from texts import BLANK, answers, checkpoint, corpus, real_vocabulary, refused

TEXTS = corpus(100, 150) + BLANK
VOCABULARY = 30522
PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """A model for masked tokens, without a recipe, whose logits are apart."""
    return checkpoint(tmp_path_factory.mktemp("masked"), BertForMaskedLM, head="cls.predictions.transform", scale=8)


def save(directory, model, *modules, **options):
    """A checkpoint of a SparseEncoder, and the oracle that reads it back."""
    transformer = Transformer(str(model), transformer_task="fill-mask")
    SparseEncoder(modules=[transformer, *modules], device="cpu", **options).save_pretrained(
        str(directory), create_model_card=False
    )
    return SparseEncoder(str(directory), device="cpu")


def dense(rows):
    found = np.zeros((len(rows), VOCABULARY), np.float32)
    for row, line in zip(found, rows):
        assert list(line) == ["indices", "values"] and line["indices"] == sorted(set(line["indices"]))
        assert all(line["values"]), "a zero was written"
        row[line["indices"]] = line["values"]
    return found


def embed(file, texts, *arguments):
    return dense(answers("embed", file, *arguments, texts=texts))


def assert_close(found, reference):
    """Values are near, and indices are the same where values are not near zero."""
    assert found.shape == reference.shape and np.isfinite(found).all()
    bound = 1e-5 * max(1.0, np.abs(reference).max())
    assert np.abs(found - reference).max() <= bound
    assert (((found != 0) == (reference != 0)) | (np.maximum(found, reference) < bound)).all()


def encode(oracle, texts, **options):
    return oracle.encode(texts, convert_to_sparse_tensor=False, **options).numpy()


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
@pytest.mark.parametrize("strategy", ["max", "sum"])
def test_every_pooling_equals_sentence_transformers(tmp_path, masked, strategy, activation):
    oracle = save(tmp_path, masked, SpladePooling(strategy, activation), prompts=PROMPTS)
    file, reference = export(tmp_path), encode(oracle, TEXTS)
    assert 0.2 < (reference > 0).mean() < 0.99
    found = embed(file, TEXTS)
    assert_close(found, reference)
    # To the bit, in whatever batches.
    assert np.array_equal(found[:30], embed(file, TEXTS[:30], "--batch-tokens", "70"))
    assert_close(embed(file, TEXTS[:30], "--engine", "torchscript"), reference[:30])
    few = TEXTS[:10]
    assert_close(embed(file, few, "--prompt-name", "query"), encode(oracle, few, prompt_name="query"))
    assert_close(embed(file, few, "--prompt", "say: "), encode(oracle, few, prompt="say: "))
    assert f"SPLADE {strategy} pooling, {activation}, to {VOCABULARY} dimensions" in cli("inspect", file)


def test_the_largest_dimensions_are_kept(tmp_path, masked):
    oracle = save(tmp_path, masked, SpladePooling("max"), max_active_dims=50)
    file = export(tmp_path)
    assert oracle.max_active_dims == 50 and "at most 50 of them not zero" in cli("inspect", file)
    for most, arguments in [(50, []), (7, ["--max-active-dims", "7"]), (10**6, ["--max-active-dims", "1000000"])]:
        texts = TEXTS[:30]
        found, reference = embed(file, texts, *arguments), encode(oracle, texts, max_active_dims=most)
        assert ((found != 0).sum(1) <= most).all()
        # Of dimensions as large as the least that is kept, rounding may keep others.
        least = np.where(reference > 0, reference, np.inf).min(1, keepdims=True)
        clear = np.maximum(found, reference) > least + 1e-4
        assert_close(np.where(clear, found, 0), np.where(clear, reference, 0))
        assert np.array_equal((found != 0).sum(1), (reference != 0).sum(1)) or most > VOCABULARY


def test_a_file_for_scipy_holds_the_same(tmp_path, masked):
    save(tmp_path / "model", masked, SpladePooling("max"))
    file, source = export(tmp_path / "model"), tmp_path / "in.txt"
    for texts in [TEXTS[:30], []]:
        source.write_text("".join(f"{text}\n" for text in texts))
        assert answers("embed", file, "--input", source, "--output", tmp_path / "out.npz") == []
        matrix = scipy.sparse.load_npz(tmp_path / "out.npz")
        assert matrix.format == "csr" and matrix.dtype == np.float32 and matrix.shape == (len(texts), VOCABULARY)
        matrix.check_format(full_check=True)
        assert matrix.has_canonical_format
        assert np.array_equal(matrix.toarray(), embed(file, texts) if texts else np.zeros((0, VOCABULARY)))
    lines = tmp_path / "out.jsonl"
    assert answers("embed", file, "--output", lines, texts=TEXTS[:3]) == []
    assert np.array_equal(dense([json.loads(line) for line in lines.read_text().splitlines()]), embed(file, TEXTS[:3]))


def test_long_texts_are_windows_if_asked_for(tmp_path, masked):
    oracle = save(tmp_path, masked, SpladePooling("max"))
    file, tokenizer = export(tmp_path), real_vocabulary(64)
    words = " ".join(["north", "south", "river", "train", "music"] * 40)
    parts = [words.split()[start : start + 62] for start in range(0, 200, 62)]
    assert len(tokenizer.tokenize(words)) == 200
    found = embed(file, [words], "--long-texts", "window")
    assert_close(found, encode(oracle, [" ".join(part) for part in parts]).max(0, keepdims=True))
    assert "line 1: found 202 tokens" in refused("embed", file, "--long-texts", "refuse", texts=[words])


def test_distilbert_equals_sentence_transformers(tmp_path):
    config = DistilBertConfig(
        vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64
    )
    plain = tmp_path / "plain"
    DistilBertForMaskedLM(config).eval().save_pretrained(plain)
    real_vocabulary(64).save_pretrained(plain)
    oracle = save(tmp_path / "model", plain, SpladePooling("max"))
    assert_close(embed(export(tmp_path / "model"), TEXTS[:30]), encode(oracle, TEXTS[:30]))


def test_the_files_of_sentence_transformers_5_are_read(tmp_path, masked):
    oracle = save(tmp_path / "new", masked, SpladePooling("max", "log1p_relu"))
    old = shutil.copytree(tmp_path / "new", tmp_path / "old")
    modules = json.loads((old / "modules.json").read_text())
    names = ["sparse_encoder.models.MLMTransformer.MLMTransformer", "sparse_encoder.models.SpladePooling.SpladePooling"]
    for module, name in zip(modules, names):
        module["type"] = f"sentence_transformers.{name}"
    (old / "modules.json").write_text(json.dumps(modules))
    (old / "sentence_bert_config.json").write_text(json.dumps(dict(max_seq_length=48, do_lower_case=False)))
    pooling = dict(pooling_strategy="max", activation_function="log1p_relu", word_embedding_dimension=VOCABULARY)
    (old / "1_SpladePooling" / "config.json").write_text(json.dumps(pooling))
    oracle.max_seq_length = 48
    assert_close(embed(export(old), TEXTS[:30]), encode(oracle, TEXTS[:30]))


def test_what_does_not_fit_is_refused(tmp_path, masked, file):
    save(tmp_path / "model", masked, SpladePooling("max"))
    sparse = export(tmp_path / "model")
    for arguments, expected in [
        ([sparse, "--output", tmp_path / "out.npy"], "the embeddings are sparse, expected .npz or .jsonl"),
        ([sparse, "--output", tmp_path / "out.safetensors"], "the embeddings are sparse, expected .npz or .jsonl"),
        ([sparse, "--normalize"], "--normalize is for dense embeddings"),
        ([sparse, "--truncate-dim", "4"], "--truncate-dim is for dense embeddings"),
        ([sparse, "--max-active-dims", "0"], "max_active_dims: found 0, expected at least 1"),
        ([sparse, "--prompt-name", "other"], "the file has no prompt"),
        ([sparse, "--pooling", "mean"], "embed needs BertModel, but the file is a BertForMaskedLM"),
        ([file, "--output", tmp_path / "out.npz"], "the embeddings are dense, expected .npy, .safetensors or .jsonl"),
        ([file, "--max-active-dims", "4"], "--max-active-dims is for sparse embeddings"),
    ]:
        assert expected in refused("embed", *arguments, texts=["a"])
    assert not list(tmp_path.glob("out.*"))
    save(tmp_path / "more", masked, SpladePooling("max"), Normalize())
    said = refused("embed", export(tmp_path / "more"), texts=["a"])
    assert "Transformer, SpladePooling, Normalize" in said, said
