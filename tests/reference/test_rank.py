"""The live check of rankings: `bertscript predict --query` and C against `CrossEncoder.rank` and a bi-encoder's embeddings."""

import json
from ctypes import byref, c_size_t, c_void_p

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import BertForSequenceClassification

from c_library import C, call, load, strings
from embeddings import WIDTH, save
from live import export
from predictions import LIMIT, TEXTS
from texts import answers, checkpoint, refused
from test_cross_encoders import cross_encoder
from torch import nn

QUERIES = ["who left the party?", "café in São Paulo", "a" + " very" * 20 + " long question"]


def rank(file, query, texts, *arguments):
    return answers("predict", file, "--json", "--query", query, *arguments, texts=texts)


def rank_in_c(file, query, texts):
    module, found = load(file), c_void_p()
    call("module_rank", module, query.encode(), strings(texts), None, c_size_t(len(texts)), None, byref(found))
    ranked = json.loads(C.bertscript_ranking_json(found))
    assert C.bertscript_ranking_count(found) == len(texts)
    C.bertscript_ranking_free(found)
    C.bertscript_module_free(module)
    return ranked


def assert_ranked(found, expected, texts):
    """The same texts in the same order, but for scores that rounding may exchange; equal texts keep their order."""
    scores = {one["corpus_id"]: one["score"] for one in expected}
    assert sorted(one["index"] for one in found) == sorted(scores)
    for one, other in zip(found, expected):
        assert abs(one["score"] - scores[one["index"]]) <= 1e-5 * max(1, abs(one["score"]))
        assert abs(one["score"] - other["score"]) <= 1e-5 * max(1, abs(one["score"]))
        assert one.get("text", texts[one["index"]]) == texts[one["index"]]
        if one["index"] != other["corpus_id"]:
            assert abs(scores[one["index"]] - other["score"]) <= 2e-6
    for text in set(texts):
        places = [one["index"] for one in found if texts[one["index"]] == text]
        assert places == sorted(places)


@pytest.mark.parametrize("activation", [nn.Identity, nn.Sigmoid, nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("version", [3, 6])
def test_cross_encoders_rank_as_sentence_transformers(tmp_path, version, activation):
    directory = cross_encoder(tmp_path, version, activation, 1)
    model, file = CrossEncoder(str(directory), device="cpu"), export(directory)
    # Some twice: equal scores, which keep their order.
    texts = [text for text in TEXTS + TEXTS[:5] if text]
    for query in QUERIES:
        expected = model.rank(query, texts)
        assert_ranked(rank(file, query, texts), expected, texts)
        assert_ranked(rank_in_c(file, query, texts), expected, texts)
    assert_ranked(rank(file, query, texts, "--batch-tokens", 200), expected, texts)
    top = rank(file, query, texts, "--top-k", 3)
    assert len(top) == 3 and [one["score"] for one in top] == [one["score"] for one in rank(file, query, texts)[:3]]


def test_a_default_prompt_is_put_before_the_query(tmp_path):
    directory = cross_encoder(tmp_path, 6, nn.Identity, 1)
    settings = directory / "config_sentence_transformers.json"
    prompt = dict(prompts={"rank": "a dog: "}, default_prompt_name="rank")
    settings.write_text(json.dumps(json.loads(settings.read_text()) | prompt))
    texts = [text for text in TEXTS if text]
    expected = CrossEncoder(str(directory), device="cpu").rank(QUERIES[0], texts)
    assert_ranked(rank(export(directory), QUERIES[0], texts), expected, texts)


def test_scores_that_are_zero_keep_their_order(tmp_path):
    directory = cross_encoder(tmp_path, 3, nn.ReLU, 1)
    texts = [text for text in TEXTS if text]
    logits = rank(export(directory), QUERIES[0], texts, "--function-to-apply", "none")
    # Half of them become negative.
    weights = load_file(directory / "model.safetensors")
    weights["classifier.bias"] -= float(np.median([one["score"] for one in logits]))
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    found = rank(export(directory), QUERIES[0], texts)
    zeros = [one["index"] for one in found if one["score"] == 0]
    assert len(zeros) > 1 and zeros == sorted(zeros)


def test_windows_of_a_long_text_score_as_the_best_of_them(tmp_path):
    directory = cross_encoder(tmp_path, 6, nn.Identity, 1)
    file = export(directory)
    oracle, tokenizer = CrossEncoder(str(directory), device="cpu"), None
    tokenizer = oracle.tokenizer
    long = max(TEXTS, key=lambda text: len(text.split()))
    pair = tokenizer(
        QUERIES[0], long, truncation="only_second", max_length=LIMIT, return_overflowing_tokens=True, padding=True, return_tensors="pt"
    )
    pair.pop("overflow_to_sample_mapping")
    assert len(pair["input_ids"]) > 1
    model = BertForSequenceClassification.from_pretrained(str(directory)).eval()
    best = model(**pair).logits.max().item()
    [found] = rank(file, QUERIES[0], [long], "--long-texts", "window")
    assert abs(found["score"] - best) <= 1e-5 * max(1, abs(best)) and not found["truncated"]
    assert rank(file, QUERIES[0], [long])[0]["truncated"]


# Names of prompts that a file has, and which is put before documents.
PROMPTS = {"document": ["query", "document", "passage"], "passage": ["query", "passage", "corpus"], "corpus": ["corpus"], "": []}


@pytest.mark.parametrize("measure", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("named", PROMPTS)
def test_bi_encoders_rank_by_similarity_with_prompts(tmp_path, plain, named, measure):
    names = PROMPTS[named]
    save(tmp_path / "model", plain, Pooling(WIDTH, "mean"), prompts={}, similarity_fn_name=measure)
    settings = tmp_path / "model" / "config_sentence_transformers.json"
    config = json.loads(settings.read_text())
    # What sentence-transformers saves has every name; older files have those of their model.
    config["prompts"] = {name: f"{name}: " for name in names}
    settings.write_text(json.dumps(config))
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    file = export(tmp_path / "model")
    texts = TEXTS + TEXTS[:3]
    for query in QUERIES:
        of_query = model.encode_query([query])
        of_texts = model.encode(texts, prompt=f"{named}: " if named else "")
        if named == "document":
            assert np.array_equal(of_texts, model.encode_document(texts))
        scores = model.similarity(of_query, of_texts)[0].tolist()
        expected = sorted(({"corpus_id": i, "score": score} for i, score in enumerate(scores)), key=lambda one: -one["score"])
        assert_ranked(rank(file, query, texts), expected, texts)
        assert_ranked(rank_in_c(file, query, texts), expected, texts)


def test_what_cannot_rank_is_refused(tmp_path):
    checkpoint(tmp_path, BertForSequenceClassification, LIMIT, num_labels=3)
    file = export(tmp_path)
    assert "one label, but the file has 3" in refused("predict", file, "--task", "rank", "--query", "a", texts=["b"])
    assert "--query" in refused("predict", file, "--task", "rank", texts=["b"])
    assert "text_pair" in refused(
        "predict", file, "--task", "rank", "--query", "a", "--jsonl", texts=['{"text": "a", "text_pair": "b"}']
    )
    # With several labels, a query is the first text of every pair, as ever.
    assert len(answers("predict", file, "--json", "--query", "a", texts=["b", "c"])) == 2
