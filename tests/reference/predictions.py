"""Texts and pairs to predict about, and what the command says of them."""

import json

from texts import BLANK, answers, corpus

LIMIT = 64
TEXTS = corpus(24, 120) + BLANK
FIRST = [text for text in TEXTS if 0 < len(text.split()) < 30]
# Without an empty second: called for one pair, a tokenizer takes that for none, called for many it does not.
PAIRS = [(text, pair) for text, pair in zip(TEXTS, reversed(TEXTS)) if pair]
OBJECTS = [{"text": text, "text_pair": pair} for text, pair in PAIRS]


def lines(objects):
    return [json.dumps(one) for one in objects]


def predict(file, texts, *arguments):
    return answers("predict", file, "--json", *arguments, texts=texts)


def by_label(found):
    return {item["label"]: item["score"] for item in found["labels"]}


def assert_labels(found, expected):
    assert set(found) == set(expected)
    assert all(abs(found[label] - score) <= 1e-5 * max(1, abs(score)) for label, score in expected.items())
