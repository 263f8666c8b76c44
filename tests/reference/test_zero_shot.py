"""The live check of labels that are given: `bertscript predict --candidate-labels` and C against transformers."""

import json
from ctypes import byref, c_size_t, c_void_p

import pytest
from transformers import BertForSequenceClassification, pipeline

from c_library import C, call, load, strings
from live import export
from predictions import LIMIT, TEXTS
from texts import answers, checkpoint, refused

LABELS = ["politics", "public health", "café and crème brûlée", "economics"]
# The names of the labels: where entailment is, and with it contradiction.
NAMES = {
    "first": ["entailment", "neutral", "contradiction"],
    "last": ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"],
    "middle": ["contradiction", "Entails", "neutral"],
    "two": ["not_entailment", "entailment"],
}
QUESTIONS = [text for text in TEXTS if text.strip()]


def model(directory, names):
    ids = {name: index for index, name in enumerate(names)}
    options = dict(id2label=dict(enumerate(names)), label2id=ids)
    return checkpoint(directory, BertForSequenceClassification, LIMIT, "classifier.weight", 10, **options)


def predict(file, texts, *arguments):
    return answers("predict", file, "--json", "--candidate-labels", ",".join(LABELS), *arguments, texts=texts)


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        scores = dict(zip(other["labels"], other["scores"]))
        assert [item["score"] for item in one["labels"]] == sorted((item["score"] for item in one["labels"]), reverse=True)
        assert {item["label"] for item in one["labels"]} == set(scores)
        assert all(abs(item["score"] - scores[item["label"]]) <= 1e-5 for item in one["labels"])


@pytest.mark.parametrize("names", NAMES)
def test_labels_equal_those_of_transformers(tmp_path, names):
    directory = model(tmp_path, NAMES[names])
    oracle, file = pipeline("zero-shot-classification", str(directory), device="cpu"), export(directory)
    assert_equal(predict(file, QUESTIONS), oracle(QUESTIONS, LABELS))
    assert_equal(predict(file, QUESTIONS, "--multi-label"), oracle(QUESTIONS, LABELS, multi_label=True))
    template = "in this text, {} matters"
    found = predict(file, QUESTIONS, "--hypothesis-template", template, "--batch-tokens", 300)
    assert_equal(found, oracle(QUESTIONS, LABELS, hypothesis_template=template))
    one = answers("predict", file, "--json", "--candidate-labels", LABELS[0], texts=QUESTIONS)
    assert_equal(one, oracle(QUESTIONS, LABELS[:1]))
    assert all(len(one["labels"]) == 2 for one in predict(file, QUESTIONS, "--top-k", 2))
    cut = [one["truncated"] for one in found]
    assert any(cut) and not all(cut)


def test_c_scores_as_transformers(tmp_path):
    directory = model(tmp_path, NAMES["last"])
    oracle, module, found = pipeline("zero-shot-classification", str(directory), device="cpu"), load(export(directory)), c_void_p()
    C.bertscript_task_options_new.restype = c_void_p
    for multi_label in [0, 1]:
        options = c_void_p(C.bertscript_task_options_new())
        call("task_options_set_multi_label", options, multi_label)
        call("task_options_set_hypothesis_template", options, b"about {}")
        texts, labels = strings(QUESTIONS), strings(LABELS)
        counts = [c_size_t(len(QUESTIONS)), c_size_t(len(LABELS))]
        call("module_zero_shot", module, texts, None, counts[0], labels, counts[1], options, byref(found))
        expected = oracle(QUESTIONS, LABELS, hypothesis_template="about {}", multi_label=bool(multi_label))
        assert_equal(json.loads(C.bertscript_classifications_json(found)), expected)
        C.bertscript_classifications_free(found)
        C.bertscript_task_options_free(options)
    C.bertscript_module_free(module)


def test_what_cannot_score_is_refused(tmp_path):
    file = export(model(tmp_path, ["bad", "fair", "good"]))
    assert "begins with entail" in refused("predict", file, "--candidate-labels", "a,b", texts=["c"])
    assert "--candidate-labels" in refused("predict", file, "--task", "zero-shot", texts=["c"])
    assert "zero-shot" in refused("predict", file, "--multi-label", texts=["c"])
    (tmp_path / "nli").mkdir()
    file = export(model(tmp_path / "nli", NAMES["first"]))
    assert "found none" in refused("predict", file, "--candidate-labels", ",", texts=["c"])
    said = refused("predict", file, "--candidate-labels", "a", "--hypothesis-template", "it is", texts=["c"])
    assert "{} once" in said
