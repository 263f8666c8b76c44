"""The live check of the modules that sentence-transformers puts behind a model."""

import json

import pytest
import torch
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling
from torch import nn

from embeddings import TEXTS, WIDTH, assert_close, embed, oracle, save
from live import export
from texts import refused

TOKENS = dict(module_input_name="token_embeddings")
# Classes of torch.nn with their default arguments.
ACTIVATIONS = {
    name: getattr(nn, name)()
    for name in """CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid LogSoftmax Mish
    RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmin Softplus Softshrink Softsign Tanh Tanhshrink""".split()
}
PIPELINES = {
    "layer norm": lambda: [Pooling(WIDTH, "mean"), perturbed(LayerNorm(WIDTH)), Normalize()],
    "dense on tokens": lambda: [Dense(WIDTH, 24, **TOKENS), Pooling(24, ("max", "cls"))],
    "dense on tokens, with a residual": lambda: [
        Dense(WIDTH, 24, use_residual=True, activation_function=nn.Mish(), **TOKENS),
        Pooling(24, "weightedmean"),
    ],
    "dense on tokens, only the first pooled": lambda: [Dense(WIDTH, 24, **TOKENS), Pooling(24, "cls")],
    "dense on tokens, after pooling": lambda: [Pooling(WIDTH, "mean"), Dense(WIDTH, 24, **TOKENS)],
    "normalize before pooling": lambda: [Normalize(), Pooling(WIDTH, "mean")],
    "normalize tokens": lambda: [Normalize(**TOKENS), Pooling(WIDTH, "mean"), Normalize()],
    "dropout": lambda: [Pooling(WIDTH, "mean"), Dropout(0.5), Normalize()],
    "two poolings": lambda: [Pooling(WIDTH, "max"), Pooling(WIDTH, "lasttoken")],
    "two poolings, dense between": lambda: [
        Pooling(WIDTH, "max"),
        Dense(WIDTH, 16),
        Dense(WIDTH, 24, **TOKENS),
        Pooling(24, ("mean", "cls")),
        perturbed(LayerNorm(48)),
    ],
    "a residual of the same width": lambda: [Pooling(WIDTH, "mean"), Dense(WIDTH, WIDTH, use_residual=True)],
    "a residual of another width": lambda: [Pooling(WIDTH, "mean"), Dense(WIDTH, 16, use_residual=True)],
} | {
    f"activation {name}": lambda activation=activation: [
        Pooling(WIDTH, "mean"),
        Dense(WIDTH, 24, activation_function=activation),
    ]
    for name, activation in ACTIVATIONS.items()
}


def perturbed(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return module


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_modules_of_tokens_and_texts(tmp_path, plain, pipeline):
    reference = save(tmp_path, plain, *PIPELINES[pipeline]())
    file, expected = export(tmp_path), reference.encode(TEXTS)
    for engine in ["native", "torchscript"]:
        assert_close(embed(file, TEXTS, "--engine", engine), expected)


POOLED, DENSE, NORMED = "1_Pooling", "2_Dense", "2_LayerNorm"
MALFORMED = {
    "an unknown key of Pooling": (POOLED, dict(pooling_mode_median_tokens=True)),
    "a Pooling without a width": (POOLED, dict(embedding_dimension=...)),
    "a Pooling of width null": (POOLED, dict(embedding_dimension=None)),
    "a mode that is null": (POOLED, dict(pooling_mode=None)),
    "modes with a null": (POOLED, dict(pooling_mode=["mean", None])),
    "no modes": (POOLED, dict(pooling_mode=[])),
    "a bias that is said to be absent": (DENSE, dict(bias=False)),
    "a bias that is null": (DENSE, dict(bias=None)),
    "a residual that is said to be absent": (DENSE, dict(use_residual=False)),
    "a Dense without a width": (DENSE, dict(in_features=...)),
    "a Dense of width null": (DENSE, dict(out_features=None)),
    "a Dense of another width": (DENSE, dict(out_features=8)),
    "a Dense of an input that is null": (DENSE, dict(module_input_name=None)),
    "a Dense of an unknown input": (DENSE, dict(module_input_name="nonesuch")),
    "an activation that is null": (DENSE, dict(activation_function=None)),
    "an activation that is no class": (DENSE, dict(activation_function="torch.tanh")),
    "an activation that takes arguments": (DENSE, dict(activation_function="torch.nn.Threshold")),
    "a LayerNorm without a width": (NORMED, dict(dimension=...)),
    "a LayerNorm of another width": (NORMED, dict(dimension=8)),
    "an unknown key of LayerNorm": (NORMED, dict(eps=1e-3)),
    "an unknown key of Dropout": ("2_Dropout", dict(p=0.1)),
    "a rate of Dropout that is null": ("2_Dropout", dict(dropout=None)),
    "a rate of Dropout above 1": ("2_Dropout", dict(dropout=2)),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_modules_are_refused(tmp_path, plain, case):
    folder, changes = MALFORMED[case]
    last = {
        POOLED: lambda: Normalize(),
        DENSE: lambda: Dense(WIDTH, 16, use_residual=True),
        NORMED: lambda: LayerNorm(WIDTH),
        "2_Dropout": lambda: Dropout(),
    }[folder]
    save(tmp_path, plain, Pooling(WIDTH, "mean"), last())
    path = tmp_path / folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))
    with pytest.raises(Exception):
        oracle(tmp_path).encode(TEXTS[:2])
    message = refused("embed", export(tmp_path), texts=TEXTS[:2])
    assert folder in message, message


def test_modules_out_of_place_are_refused(tmp_path, plain):
    for number, modules in enumerate([
        [Dense(WIDTH, WIDTH), Pooling(WIDTH, "mean")],
        [LayerNorm(WIDTH), Pooling(WIDTH, "mean")],
        [Dropout(), Pooling(WIDTH, "mean")],
        [Pooling(WIDTH, "mean"), Dense(16, 16), Pooling(WIDTH, "mean")],
        [Normalize()],
    ]):
        directory = tmp_path / str(number)
        reference = save(directory, plain, *modules)
        with pytest.raises(Exception):
            reference.encode(TEXTS[:2])
        assert "modules.json" in refused("embed", export(directory), texts=TEXTS[:2])
