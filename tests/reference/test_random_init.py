"""Random weights beside those of transformers: ModernBERT's truncated normals, DistilBERT's sines and cosines."""

import pytest
import torch
import transformers

from live import cli

MODERNBERT = dict(
    vocab_size=3000, hidden_size=128, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4,
    max_position_embeddings=64, pad_token_id=3, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    num_labels=40, attention_bias=True, mlp_bias=True, classifier_bias=True, norm_bias=True, initializer_range=0.05,
)
DISTILBERT = dict(vocab_size=500, dim=64, n_heads=4, n_layers=1, hidden_dim=128, max_position_embeddings=50)


def pair(tmp_path, name, keys):
    """The parameters of the exported model, and of transformers'."""
    family = name.partition("For")[0].removesuffix("Model")
    config = getattr(transformers, f"{family}Config")(**keys)
    torch.manual_seed(1)
    expected = dict(getattr(transformers, name)._from_config(config).named_parameters(remove_duplicate=False))
    config.architectures = [name]
    config.save_pretrained(tmp_path)
    cli("export", tmp_path, "-o", tmp_path / "random.pt", "--random-init", 1)
    found = dict(torch.jit.load(tmp_path / "random.pt").named_parameters())
    return found, expected


@pytest.mark.parametrize("name, tied", [("ForMaskedLM", True), ("ForMaskedLM", False), ("ForTokenClassification", True)])
@pytest.mark.parametrize("keys", [{}, dict(initializer_cutoff_factor=0.5), dict(initializer_cutoff_factor=3.0)])
def test_modernbert_is_truncated(tmp_path, name, keys, tied):
    found, expected = pair(tmp_path, f"ModernBert{name}", {**MODERNBERT, **keys, "tie_word_embeddings": tied})
    assert sorted(found) == sorted(expected)
    cutoff = keys.get("initializer_cutoff_factor", 2.0)
    narrow = 0.05 / (2 * MODERNBERT["num_hidden_layers"]) ** 0.5
    for parameter, values in expected.items():
        own, values = found[parameter].detach(), values.detach()
        if len(values.unique()) == 1:
            assert torch.equal(own, values), parameter
            continue
        # The estimates of 5,000 values are off by 1 %.
        assert abs(own.std() / values.std() - 1) < 0.05, parameter
        assert abs(own.mean()) < 0.05 * values.std(), parameter
        is_narrow = "Wo" in parameter or parameter == "head.dense.weight" or parameter.startswith("decoder") and not tied
        std = 128**-0.5 if parameter == "classifier.weight" else narrow if is_narrow else 0.05
        for side in (own, values):
            assert 0.8 * cutoff * std < side.abs().max() <= cutoff * std * (1 + 1e-6), parameter
        # The padding token is a token as any other.
        assert values[3].any() and own[3].any(), parameter


@pytest.mark.parametrize("name", ["DistilBertModel", "DistilBertForMaskedLM"])
@pytest.mark.parametrize("dim", [64, 36])
def test_positions_of_distilbert_are_sines_and_cosines(tmp_path, name, dim):
    found, expected = pair(tmp_path, name, {**DISTILBERT, "dim": dim, "sinusoidal_pos_embds": True})
    (table,) = (parameter for parameter in expected if parameter.endswith("position_embeddings.weight"))
    torch.testing.assert_close(found[table], expected[table], rtol=0, atol=1e-7)
    assert torch.equal(found[table][0], expected[table][0])
    for parameter, values in expected.items():
        if values.dim() == 2:
            assert abs(found[parameter].std() / values.std() - 1) < 0.05, parameter


def test_positions_of_distilbert_are_random_otherwise(tmp_path):
    found, expected = pair(tmp_path, "DistilBertModel", DISTILBERT)
    assert abs(found["embeddings.position_embeddings.weight"].std() / 0.02 - 1) < 0.05
