"""Checkpoints of sentence-transformers, their oracle, and what the command makes of them."""

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer

from texts import BLANK, answers, corpus

TEXTS = corpus(40, 120) + BLANK
WIDTH = 32


def embed(file, texts, *arguments):
    return np.array([line["embedding"] for line in answers("embed", file, *arguments, texts=texts)], np.float32)


def assert_close(found, reference):
    assert found.shape == reference.shape and np.isfinite(found).all()
    assert np.abs(found - reference).max() <= 1e-5 * max(1.0, np.abs(reference).max())


def oracle(directory, **options):
    return SentenceTransformer(str(directory), device="cpu", **options)


def save(directory, plain, *modules, **options):
    """A checkpoint of sentence-transformers, and the oracle that reads it back."""
    options.setdefault("prompts", {"query": "query: ", "passage": "passage: "})
    model = SentenceTransformer(modules=[Transformer(str(plain)), *modules], device="cpu", **options)
    model.save_pretrained(str(directory), create_model_card=False)
    return oracle(directory)
