"""The live check of text tasks for tokenizers other than BERT's, against the pipelines of transformers."""

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModel,
    AutoTokenizer,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaModel,
    RobertaTokenizer,
    pipeline,
)

from embeddings import assert_close, embed
from live import export
from predictions import OBJECTS, TEXTS, lines, predict
from test_tasks import assert_entities, assert_ranked
from texts import PARTS

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
# A padding token in the middle of a text is no position.
TEXTS = [*TEXTS, "the <pad> doctor <pad><pad> ordered </s> music <mask>"]
LIMIT = 64


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """A directory for each class: random weights, and byte-level BPE trained on the texts."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(PARTS, vocab_size=600, min_frequency=1, special_tokens=SPECIAL)

    def make(cls, **labels):
        directory = tmp_path_factory.mktemp(cls.__name__)
        trained.save_model(str(directory))
        tokenizer = RobertaTokenizer.from_pretrained(str(directory), model_max_length=LIMIT)
        tokenizer.save_pretrained(directory)
        torch.manual_seed(4)
        sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
        config = RobertaConfig(vocab_size=600, max_position_embeddings=LIMIT + 2, initializer_range=0.3, **sizes, **labels)
        cls(config).eval().save_pretrained(directory)
        return directory

    return make


def test_classify(roberta):
    directory = roberta(RobertaForSequenceClassification, num_labels=3)
    file, pipe = export(directory), pipeline("text-classification", model=str(directory), device="cpu")
    for found, expected in zip(predict(file, TEXTS), pipe(TEXTS, top_k=None, truncation=True), strict=True):
        assert_ranked(found["labels"], expected)
    pairs = predict(file, lines(OBJECTS), "--jsonl")
    for found, expected in zip(pairs, pipe(OBJECTS, top_k=None, truncation=True), strict=True):
        assert_ranked(found["labels"], expected)


def test_embed(roberta):
    directory = roberta(RobertaModel)
    file = export(directory)
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModel.from_pretrained(directory).eval()
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    assert_close(embed(file, TEXTS, "--pooling", "mean"), np.array(mean))


def test_fill_mask(roberta):
    directory = roberta(RobertaForMaskedLM)
    file, pipe = export(directory), pipeline("fill-mask", model=str(directory), device="cpu")
    texts = ["The committee <mask> on Tuesday.", "<mask>, but nobody had <mask> the report", "Zoë’s <mask> 🎉"]
    for found, text in zip(predict(file, texts), texts, strict=True):
        expected = pipe(text)
        expected = [expected] if isinstance(expected[0], dict) else expected
        assert len(found["masks"]) == text.count("<mask>")
        for proposals, reference in zip(found["masks"], expected, strict=True):
            assert_ranked(proposals, reference)


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_entities(roberta, strategy):
    labels = dict(id2label=dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])))
    directory = roberta(RobertaForTokenClassification, **labels)
    pipe = pipeline("token-classification", model=str(directory), device="cpu")
    assert_entities(export(directory), pipe, TEXTS, aggregation_strategy=strategy)
