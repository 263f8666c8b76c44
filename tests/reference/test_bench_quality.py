"""The benchmark beside peers states the quality of embeddings as `bertscript bench --text` does."""

import json

import numpy as np
import pytest

from bench_quality import quality
from embeddings import embed
from live import cli
from texts import corpus


def test_quality_is_what_the_command_states(minilm, tmp_path):
    texts = corpus(240, 24)
    file, report = tmp_path / "texts.txt", tmp_path / "report.json"
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    few = ["--rounds", "1", "--warm-up", "0", "--batches", "1", "--lengths", "4", "--variants", "int8"]
    cli("bench", minilm, *few, "--text", file, "--json", report)
    (row,) = json.loads(report.read_text())["texts"]["rows"]
    expected = row["quality"]
    found = quality(*(embed(minilm, texts, "--precision", precision) for precision in ["int8", "f32"]))
    for name in ["min_cosine", "median_cosine"]:
        assert found[name] == pytest.approx(expected[name], abs=1e-6)
    # In float32 two similarities may be equal that are not in float64: a text more or less.
    assert found["nearest_kept"] == pytest.approx(expected["nearest_kept"], abs=1.1 / len(texts))
    assert found["top10_kept"] == pytest.approx(expected["top10_kept"], abs=2.1 / (10 * len(texts)))
    assert found["top10_kept"] < 1


def test_each_measure_is_what_it_says():
    # By their angles in degrees: the nearest of the first two, and of the third, change.
    found, reference = (
        np.stack([np.cos(angles), np.sin(angles)], axis=1) for angles in np.radians([[0, 40, 60, 170], [0, 10, 60, 170]])
    )
    expected = dict(min_cosine=np.cos(np.radians(30)), median_cosine=1, nearest_kept=0.75, top10_kept=1)
    found = quality(found, reference)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
