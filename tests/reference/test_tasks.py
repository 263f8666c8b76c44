"""The live check of `bertscript predict` against the pipelines of transformers."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    pipeline,
)

from conftest import SEED
from live import export
from predictions import FIRST, LIMIT, OBJECTS, PAIRS, TEXTS, assert_labels, by_label, lines, predict
from texts import answers, checkpoint, corpus, refused, send


def assert_ranked(found, expected):
    """The same items with the same scores, and in the same order but where scores tie."""
    assert len(found) == len(expected)
    scores = [item["score"] for item in expected]
    for one, score in zip(found, scores):
        assert abs(one["score"] - score) <= 1e-5 * max(1, abs(score))
    tied = {i for i, (score, following) in enumerate(pairwise(scores)) if abs(score - following) <= 1e-6}
    for i, (one, other) in enumerate(zip(found, expected)):
        if not {i - 1, i} & tied:
            assert {**one, "score": 0} == {**other, "score": 0}


def assert_same(found, expected):
    """The same items in the same order."""
    assert [{**item, "score": 0} for item in found] == [{**item, "score": 0} for item in expected]
    assert all(abs(one["score"] - other["score"]) <= 1e-5 for one, other in zip(found, expected))


def cut(pipe, texts):
    return [len(ids) > LIMIT for ids in pipe.tokenizer(texts)["input_ids"]]


def in_characters(item, text):
    """An item in the pipeline's words, once its bytes are seen to be its characters."""
    item = dict(item)
    start, end = item.pop("char_start"), item.pop("char_end")
    assert text[:start].encode() == text.encode()[: item["start"]]
    assert text[:end].encode() == text.encode()[: item["end"]]
    return {**item, "start": start, "end": end}


CLASSIFIERS = {
    "one of many": dict(id2label={0: "négative", 1: "neutral", 2: "positive", 3: "n/a"}),
    "many of many": dict(problem_type="multi_label_classification", num_labels=3),
    "a number": dict(problem_type="regression", num_labels=1),
    "numbers": dict(problem_type="regression", num_labels=2),
    "one": dict(num_labels=1),
}


@pytest.fixture(scope="module", params=CLASSIFIERS)
def classifier(request, tmp_path_factory):
    torch.manual_seed(SEED)
    config = CLASSIFIERS[request.param]
    directory = tmp_path_factory.mktemp("classifier")
    checkpoint(directory, BertForSequenceClassification, LIMIT, "classifier.weight", 10, **config)
    return export(directory), pipeline("text-classification", model=str(directory), device="cpu")


@pytest.mark.parametrize("function", [None, "sigmoid", "softmax", "none"])
def test_classify(classifier, function):
    file, pipe = classifier
    arguments = [] if function is None else ["--function-to-apply", function]
    expected = pipe(TEXTS, top_k=None, truncation=True, function_to_apply=function)
    found = predict(file, TEXTS, *arguments)
    assert len(found) == len(TEXTS)
    for one, reference in zip(found, expected):
        assert_ranked(one["labels"], reference)
    assert [one["truncated"] for one in found] == cut(pipe, TEXTS)
    for one, reference in zip(predict(file, TEXTS, "--top-k", "2", *arguments), expected):
        assert_ranked(one["labels"], reference[:2])


def test_classify_pairs(classifier):
    file, pipe = classifier
    for found, expected in zip(predict(file, lines(OBJECTS), "--jsonl"), pipe(OBJECTS, top_k=None, truncation=True)):
        assert_ranked(found["labels"], expected)
    pair = "which is exactly what the doctor had ordered"
    expected = pipe([{"text": text, "text_pair": pair} for text in FIRST], top_k=None, truncation=True)
    for found, reference in zip(predict(file, FIRST, "--text-pair", pair), expected):
        assert_ranked(found["labels"], reference)
    found = answers("predict", file, "--json", FIRST[0], FIRST[1], "--text-pair", pair)
    for one, reference in zip(found, expected):
        assert_ranked(one["labels"], reference)


ENTITY_TEXTS = [
    *FIRST,
    "",
    "  ",
    "Zoë Müller-Lüdenscheidt née Ångström (b. 1950) lives in São Paulo, Łódź & Ærøskøbing.",
    "😀👍🏽 Jim Henson’s Kermit 🐸 — not Łukasz — sang “It’s not easy being green”…",
    "unbelievably, Wolfeschlegelsteinhausenbergerdorff's ☃☃ and ﷽ were n't unknown",
    "e\u0301te\u0301 A\u030angstro\u0308m İstanbul straße ﬁnance ½ ǅ",
    "北京大学 is in 北京, 東京 isn't",
    "a [SEP] b [UNK] c [MASK] d [CLS] e",
    " \u200b\u00a0leading\u00a0spaces\u3000and\u00adhyphens\u0000\ufffd ",
    "##ing ## ing#hash playing ##playing",
]
LABELS = dict(id2label=dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC", "I-X-Y", "WORK-OF-ART"])))
STRATEGIES = ["none", "simple", "first", "average", "max"]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    torch.manual_seed(SEED)
    directory = tmp_path_factory.mktemp("tagger")
    checkpoint(directory, BertForTokenClassification, LIMIT, "classifier.weight", 5, **LABELS)
    return export(directory), pipeline("token-classification", model=str(directory), device="cpu")


def assert_entities(file, pipe, texts, *arguments, **options):
    expected = pipe(texts, **options)
    found = predict(file, texts, "--aggregation-strategy", options["aggregation_strategy"], *arguments)
    assert len(found) == len(texts)
    for one, reference, text in zip(found, expected, texts):
        for item in reference:
            item["entity"] = item.pop("entity_group", None) or item["entity"]
        assert_same([in_characters(item, text) for item in one["entities"]], reference)
    return found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_entities(tagger, strategy):
    texts = TEXTS + ENTITY_TEXTS
    found = assert_entities(*tagger, texts, aggregation_strategy=strategy)
    assert sum(len(one["entities"]) for one in found) > 100
    assert [one["truncated"] for one in found] == cut(tagger[1], texts)
    if strategy == "simple":
        assert found == predict(tagger[0], texts)


@pytest.mark.parametrize("ignored", [["O", "PER"], ["O", "B-PER", "LOC", "X-Y"], [], ["MISC"]])
@pytest.mark.parametrize("strategy", ["none", "max"])
def test_ignored_labels(tagger, strategy, ignored):
    arguments = ["--ignore-labels", ",".join(ignored)]
    assert_entities(*tagger, ENTITY_TEXTS, *arguments, aggregation_strategy=strategy, ignore_labels=ignored)


@pytest.mark.parametrize("stride", [0, 8, 31])
@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_entities_in_windows(tagger, strategy, stride):
    long = [text for text in corpus(40, 300) if len(text.split()) > 60][:6]
    arguments = ["--stride", str(stride)]
    assert_entities(*tagger, [*long, *ENTITY_TEXTS], *arguments, aggregation_strategy=strategy, stride=stride)


CONTEXT = " ".join(corpus(6, 150)[:3])
SHORT = "Zoë’s frog 🐸 Kermit was born in Łódź in 1955 and sings “It’s not easy”."
QUESTIONS = {
    "short": (SHORT, {}),
    "several answers": (SHORT, dict(top_k=4)),
    "long answers": (SHORT, dict(top_k=3, max_answer_len=40)),
    "answers of one token": (SHORT, dict(top_k=3, max_answer_len=1)),
    "parts of words": (SHORT, dict(top_k=5, align_to_words=False)),
    "perhaps no answer": (SHORT, dict(top_k=30, handle_impossible_answer=True)),
    "a context of special tokens": ("Kermit [CLS] the [SEP] frog [CLS] sings", dict(top_k=2)),
    "windows": (CONTEXT, dict(top_k=5)),
    "one answer of windows": (CONTEXT, {}),
    "small windows": (CONTEXT, dict(top_k=5, max_seq_len=32, doc_stride=7)),
    "small windows, perhaps no answer": (
        CONTEXT,
        dict(top_k=20, max_seq_len=32, doc_stride=7, handle_impossible_answer=True),
    ),
    "windows that only meet": (CONTEXT, dict(top_k=3, max_seq_len=40, doc_stride=0)),
    "parts of words in windows": (CONTEXT, dict(top_k=5, max_seq_len=32, doc_stride=7, align_to_words=False)),
    "answers that repeat": ("The frog. the Frog! THE FROG? the frog " * 4, dict(top_k=6)),
}
QUESTION = "Where was Kermit born?"
# The pipeline masks with -10000: a model too sure of itself would leave nothing but zeros.
SURE = {"sure": 4, "very sure": 20}


def ask_legacy(directory, questions):
    """What transformers 4 says to every case."""
    legacy = os.environ.get("BERTSCRIPT_LEGACY_TRANSFORMERS")
    if not legacy:
        pytest.skip("BERTSCRIPT_LEGACY_TRANSFORMERS names no directory of transformers 4.57.3")
    cases = [
        dict(model=str(directory), question=QUESTION, context=context, options=options)
        for context, options in questions.values()
    ]
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "answers_oracle.py"],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": legacy},
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(questions, json.loads(done.stdout)))


@pytest.fixture(scope="module", params=SURE)
def reader(request, tmp_path_factory):
    """The file of a model, and what transformers 4 says to every case."""
    torch.manual_seed(SEED)
    directory = tmp_path_factory.mktemp("reader")
    checkpoint(directory, BertForQuestionAnswering, LIMIT, "qa_outputs.weight", SURE[request.param])
    return export(directory), ask_legacy(directory, QUESTIONS)


@pytest.mark.parametrize("case", QUESTIONS)
def test_answer(reader, case):
    file, expected = reader
    assert_answers(file, *QUESTIONS[case], expected[case])


def assert_answers(file, context, options, expected):
    arguments = ["--question", QUESTION]
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if name == "align_to_words":
            arguments.append("--no-align-to-words")
        else:
            arguments += [option] if value is True else [option, str(value)]
    (found,) = predict(file, [context], *arguments)
    items = [in_characters(item, context) for item in found["answers"]]
    # With fewer spans than it looks for, the pipeline fills up with spans of no probability, in any order.
    likely = sum(item["score"] > 1e-6 for item in expected)
    assert_ranked(items[:likely], expected[:likely])
    assert all(item["score"] < 2e-6 for item in items[likely:])


def test_answer_needs_a_question(reader):
    assert "--question" in refused("predict", reader[0], "--json", texts=[SHORT])


MASKED = [
    "The capital of France is [MASK].",
    "[MASK] and [MASK] don't mix, he said ; it isn't \"true\" .",
    "[MASK]",
    "Zoë naïvely sang 🐸 [MASK]ing with [UNK] [SEP] and [MASK] !",
    "Once [MASK] upon " + "a long, long time " * 40,
]


@pytest.fixture(scope="module", params=[BertForMaskedLM, BertForPreTraining])
def filler(request, tmp_path_factory):
    torch.manual_seed(SEED)
    directory = tmp_path_factory.mktemp("filler")
    checkpoint(directory, request.param, LIMIT, "bert.embeddings.word_embeddings", 20)
    return export(directory), pipeline("fill-mask", model=str(directory), device="cpu")


@pytest.mark.parametrize("chosen", ["nothing", "how many", "which"])
def test_fill_mask(filler, chosen):
    file, pipe = filler
    # Targets that are likely: of others, all scores would be within the tolerance.
    likely = [item["token_str"] for item in pipe(MASKED[0], top_k=20) if item["token_str"] != ","][1:10:3]
    arguments, options = {
        "nothing": ([], {}),
        "how many": (["--top-k", "3"], dict(top_k=3)),
        "which": (["--targets", ",".join(likely)], dict(targets=likely)),
    }[chosen]
    found = predict(file, MASKED, *arguments)
    assert len(found) == len(MASKED)
    for one, text in zip(found, MASKED):
        expected = pipe(text, tokenizer_kwargs={"truncation": True}, **options)
        # One mask comes without a list around it.
        expected = [expected] if isinstance(expected[0], dict) else expected
        assert len(one["masks"]) == len(expected) == text.count("[MASK]")
        for proposals, reference in zip(one["masks"], expected):
            assert_ranked(proposals, reference)


def test_next_sentence(tmp_path):
    checkpoint(tmp_path, BertForNextSentencePrediction, LIMIT, "cls.seq_relationship.weight", 10)
    model = BertForNextSentencePrediction.from_pretrained(tmp_path).eval()
    inputs = AutoTokenizer.from_pretrained(tmp_path)(
        *map(list, zip(*PAIRS)), padding=True, truncation=True, return_tensors="pt"
    )
    expected = model(**inputs).logits.softmax(-1).tolist()
    file = export(tmp_path)
    found = predict(file, lines(OBJECTS), "--jsonl")
    assert len(found) == len(PAIRS)
    for one, scores in zip(found, expected):
        assert_labels(by_label(one), dict(zip(["is_next", "not_next"], scores)))
    pair = "which is exactly what the doctor had ordered"
    (alone,) = answers("predict", file, "--json", FIRST[0], "--text-pair", pair)
    (listed,) = predict(file, lines([{"text": FIRST[0], "text_pair": pair}]), "--jsonl")
    assert alone == listed
    assert re.search("pair", refused("predict", file, "--json", texts=FIRST))


@pytest.mark.parametrize(
    "cls, arguments",
    [
        (BertForSequenceClassification, []),
        (BertForTokenClassification, []),
        (BertForQuestionAnswering, ["--question", QUESTION]),
        (BertForMaskedLM, []),
        (BertForNextSentencePrediction, ["--text-pair", "and then"]),
    ],
)
def test_no_texts(tmp_path, cls, arguments):
    file = export(checkpoint(tmp_path, cls))
    for form in [[], ["--json"], ["--json", "--jsonl"]]:
        done = send("predict", file, *arguments, *form)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
