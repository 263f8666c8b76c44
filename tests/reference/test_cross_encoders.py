"""The live check of cross-encoders: `bertscript predict` against `CrossEncoder.predict`."""

import json

import pytest
from sentence_transformers import CrossEncoder
from torch import nn
from transformers import BertForSequenceClassification

from live import export
from predictions import LIMIT, OBJECTS, PAIRS, assert_labels, by_label, lines, predict
from texts import checkpoint, refused


def cross_encoder(directory, version, activation, labels):
    """A cross-encoder in the words of a version of sentence-transformers."""
    checkpoint(directory, BertForSequenceClassification, LIMIT, "classifier.weight", 10, num_labels=labels)
    if version == 6:
        saved = directory / "saved"
        CrossEncoder(str(directory), activation_fn=activation(), device="cpu").save_pretrained(str(saved))
        return saved
    config = json.loads((directory / "config.json").read_text())
    name = f"{activation.__module__}.{activation.__name__}"
    if version == 3:
        config["sbert_ce_default_activation_function"] = name
    else:
        config["sentence_transformers"] = {"activation_fn": name, "version": "5.1.0"}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("activation", [nn.Identity, nn.Sigmoid, nn.Softmax, nn.Tanh, nn.ReLU, nn.Softplus])
@pytest.mark.parametrize("version", [3, 5, 6])
def test_cross_encoders(tmp_path, version, activation, labels):
    directory = cross_encoder(tmp_path, version, activation, labels)
    expected = CrossEncoder(str(directory), device="cpu").predict(PAIRS).reshape(-1, labels)
    found = predict(export(directory), lines(OBJECTS), "--jsonl")
    assert len(found) == len(PAIRS)
    for one, scores in zip(found, expected.tolist()):
        assert_labels(by_label(one), {f"LABEL_{i}": score for i, score in enumerate(scores)})


# Of a checkpoint with modules.json or without: changes to config.json and to config_sentence_transformers.json.
TANH, OLD = "torch.nn.modules.activation.Tanh", "sbert_ce_default_activation_function"
CROSS_ENCODERS = {
    "no activation": (False, dict(sentence_transformers={"version": "5.1.0"}), None),
    "an activation that is null": (False, {"sentence_transformers": {"activation_fn": None}, OLD: TANH}, None),
    "an activation under its old name": (False, {"sentence_transformers": {}, OLD: TANH}, None),
    "an old activation that is null": (False, {OLD: None}, None),
    "a problem type": (False, dict(sentence_transformers={}, problem_type="multi_label_classification"), None),
    "settings without modules": (False, {}, dict(activation_fn=TANH, model_type="CrossEncoder")),
    "settings without modules, and an activation": (
        False,
        dict(sentence_transformers={"activation_fn": "torch.nn.ReLU"}),
        dict(activation_fn=TANH, model_type="CrossEncoder"),
    ),
    "settings with modules": (True, {}, dict(activation_fn=TANH)),
    "settings that are null": (True, {}, dict(activation_fn=None)),
    "settings that are null, and an activation": (
        True,
        dict(sentence_transformers={"activation_fn": TANH}),
        dict(activation_fn=None),
    ),
    "a default prompt": (True, {}, dict(prompts={"rank": "a dog: "}, default_prompt_name="rank")),
    "a default prompt without modules": (
        False,
        {},
        dict(prompts={"rank": "a dog: "}, default_prompt_name="rank", model_type="CrossEncoder"),
    ),
    "settings of another type": (True, {}, dict(activation_fn=TANH, model_type="SentenceTransformer")),
}


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("case", CROSS_ENCODERS)
def test_where_a_cross_encoder_says_its_activation(tmp_path, case, labels):
    modules, config, settings = CROSS_ENCODERS[case]
    directory = checkpoint(tmp_path, BertForSequenceClassification, LIMIT, "classifier.weight", 10, num_labels=labels)
    if modules:
        directory = directory / "saved"
        CrossEncoder(str(tmp_path), device="cpu").save_pretrained(str(directory))
    for name, changes in [("config.json", config), ("config_sentence_transformers.json", settings)]:
        if changes is not None:
            path = directory / name
            old = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps({**old, **changes}))
    expected = CrossEncoder(str(directory), device="cpu").predict(PAIRS).reshape(-1, labels)
    found = predict(export(directory), lines(OBJECTS), "--jsonl")
    for one, scores in zip(found, expected.tolist()):
        assert_labels(by_label(one), {f"LABEL_{i}": score for i, score in enumerate(scores)})


@pytest.mark.parametrize("version", [3, 5, 6])
def test_a_cross_encoder_that_is_not_understood(tmp_path, version):
    directory = cross_encoder(tmp_path, version, nn.Tanh, 1)
    for name in ["config.json", "config_sentence_transformers.json"]:
        if (directory / name).exists():
            text = (directory / name).read_text()
            (directory / name).write_text(text.replace("torch.nn.modules.activation.Tanh", "somebodys.Tanh"))
    file = export(directory)
    assert "somebodys.Tanh" in refused("predict", file, "--jsonl", texts=lines(OBJECTS))
    logits = predict(file, lines(OBJECTS), "--jsonl", "--function-to-apply", "none")
    expected = CrossEncoder(str(tmp_path), device="cpu").predict(PAIRS, activation_fn=nn.Identity())
    for one, score in zip(logits, expected.tolist()):
        assert_labels(by_label(one), {"LABEL_0": score})
