"""The live check of text tasks for tokenizers other than BERT's, against the pipelines of transformers."""

import numpy as np
import pytest
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModel,
    AutoTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
    pipeline,
)

from embeddings import assert_close, embed
from live import export
from predictions import OBJECTS, TEXTS, lines, predict
from test_tasks import QUESTIONS, ask_legacy, assert_answers, assert_entities, assert_ranked
from test_families import DEBERTA as DISTANCES
from test_tokenizer_classes import DEBERTA, FAIRSEQ, pieces
from texts import PARTS

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
# A padding token in the middle of a text is no position.
TEXTS = [*TEXTS, "the <pad> doctor <pad><pad> ordered </s> music <mask>"]
LIMIT = 64


def byte_level(directory):
    trained = ByteLevelBPETokenizer()
    tokens = dict(special_tokens=SPECIAL, show_progress=False)
    trained.train_from_iterator(PARTS, vocab_size=600, min_frequency=1, **tokens)
    trained.save_model(str(directory))
    return RobertaTokenizer.from_pretrained(str(directory), model_max_length=LIMIT)


def unigram(directory):
    first = [(token, 0.0) for token in SPECIAL[:-1]]
    vocabulary = [*first, *((text, score) for text, score, _ in pieces(FAIRSEQ)[3:]), ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocabulary, model_max_length=LIMIT)


def deberta(directory):
    # Its pairs have two token types, and the model none.
    vocabulary = [(text, score) for text, score, _ in pieces(DEBERTA)]
    return DebertaV2Tokenizer(vocab=vocabulary, unk_id=3, model_max_length=LIMIT)


FAMILIES = {
    "Roberta": (byte_level, RobertaConfig, {}),
    "XLMRoberta": (unigram, XLMRobertaConfig, {}),
    "DebertaV2": (deberta, DebertaV2Config, DISTANCES),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A directory for each class: random weights, and a tokenizer trained on the texts."""
    train, configuration, keys = FAMILIES[request.param]

    def make(task, **labels):
        cls = getattr(transformers, request.param + task)
        directory = tmp_path_factory.mktemp(cls.__name__)
        tokenizer = train(directory)
        tokenizer.save_pretrained(directory)
        torch.manual_seed(4)
        sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
        places = dict(vocab_size=len(tokenizer), max_position_embeddings=LIMIT + 2, initializer_range=0.3)
        config = configuration(**{**keys, **places, **sizes, **labels})
        cls(config).eval().save_pretrained(directory)
        return directory

    return make


def test_classify(family):
    directory = family("ForSequenceClassification", num_labels=3)
    file, pipe = export(directory), pipeline("text-classification", model=str(directory), device="cpu")
    for found, expected in zip(predict(file, TEXTS), pipe(TEXTS, top_k=None, truncation=True), strict=True):
        assert_ranked(found["labels"], expected)
    pairs = predict(file, lines(OBJECTS), "--jsonl")
    for found, expected in zip(pairs, pipe(OBJECTS, top_k=None, truncation=True), strict=True):
        assert_ranked(found["labels"], expected)


def test_embed(family):
    directory = family("Model")
    file = export(directory)
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModel.from_pretrained(directory).eval()
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    assert_close(embed(file, TEXTS, "--pooling", "mean"), np.array(mean))


def test_fill_mask(family):
    directory = family("ForMaskedLM")
    file, pipe = export(directory), pipeline("fill-mask", model=str(directory), device="cpu")
    mask = pipe.tokenizer.mask_token
    texts = [f"The committee {mask} on Tuesday.", f"{mask}, but nobody had {mask} the report", f"Zoë’s {mask} 🎉"]
    for found, text in zip(predict(file, texts), texts, strict=True):
        expected = pipe(text)
        expected = [expected] if isinstance(expected[0], dict) else expected
        assert len(found["masks"]) == text.count(mask)
        for proposals, reference in zip(found["masks"], expected, strict=True):
            assert_ranked(proposals, reference)


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_entities(family, strategy):
    labels = dict(id2label=dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])))
    directory = family("ForTokenClassification", **labels)
    pipe = pipeline("token-classification", model=str(directory), device="cpu")
    assert_entities(export(directory), pipe, TEXTS, aggregation_strategy=strategy)


def test_answer(family):
    directory = family("ForQuestionAnswering")
    questions = {case: QUESTIONS[case] for case in ("short", "several answers", "windows", "small windows, perhaps no answer")}
    file, expected = export(directory), ask_legacy(directory, questions)
    for case, (context, options) in questions.items():
        assert_answers(file, context, options, expected[case])
