"""The live check of the options that every task has."""

import json

import numpy as np
import pytest
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    pipeline,
)

from live import export
from test_embed import WIDTH, assert_close, embed, oracle, save
from test_tasks import LIMIT, MASKED, TEXTS, assert_entities, assert_ranked, predict
from texts import checkpoint, refused, send


SPLIT = ["a [SEP] b", "[CLS] [MASK]ed [UNK] text[PAD]", "no special token at all"]


@pytest.mark.parametrize("configured", [None, False, True])
@pytest.mark.parametrize("asked", [None, False, True])
def test_embeddings_of_special_tokens_as_plain_text(tmp_path, configured, asked):
    options = {} if configured is None else dict(split_special_tokens=configured)
    (tmp_path / "plain").mkdir()
    source = checkpoint(tmp_path / "plain", BertModel)
    file = source / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | options))
    model = save(tmp_path / "saved", source, Pooling(WIDTH, "mean"))
    arguments = [] if asked is None else [f"--split-special-tokens={str(asked).lower()}"]
    if asked is not None:
        model.tokenizer.split_special_tokens = asked
    for prompt in ["", "query [SEP]: "]:
        found = embed(export(tmp_path / "saved"), SPLIT, "--prompt", prompt, *arguments)
        assert_close(found, model.encode(SPLIT, prompt=prompt))
    default = oracle(tmp_path / "saved", processor_kwargs=dict(split_special_tokens=False)).encode(SPLIT, prompt=prompt)
    is_split = configured if asked is None else asked
    assert (np.abs(found - default).max() > 1e-3) == bool(is_split)


@pytest.mark.parametrize("length", [3, 17, 40])
def test_max_length_of_embeddings(tmp_path, length):
    (tmp_path / "plain").mkdir()
    model = save(tmp_path, checkpoint(tmp_path / "plain", BertModel), Pooling(WIDTH, "mean"))
    file = export(tmp_path)
    model.max_seq_length = length
    done = send("embed", file, "--max-length", length, texts=TEXTS)
    found = np.array([json.loads(line)["embedding"] for line in done.stdout.split("\n")[:-1]], np.float32)
    assert_close(found, model.encode(TEXTS))
    assert f"longer than {length} tokens" in done.stderr
    for wrong in [0, 65]:
        assert f"max_length: found {wrong}, expected 1 to 64" in refused("embed", file, "--max-length", wrong, texts=["a"])


@pytest.mark.parametrize("cls", [BertForSequenceClassification, BertForTokenClassification])
def test_special_tokens_as_plain_text_and_max_length(tmp_path, cls):
    checkpoint(tmp_path, cls, LIMIT, "classifier.weight", 10, num_labels=3)
    file = export(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, split_special_tokens=True, model_max_length=20)
    task = "text-classification" if cls is BertForSequenceClassification else "token-classification"
    pipe = pipeline(task, model=str(tmp_path), tokenizer=tokenizer, device="cpu")
    texts = [text for text in TEXTS + ["a [SEP] b", "[CLS] [MASK]ed [UNK] text[PAD]"] if text.strip()]
    arguments = ["--split-special-tokens", "--max-length", "20"]
    if cls is BertForSequenceClassification:
        for one, reference in zip(predict(file, texts, *arguments), pipe(texts, top_k=None, truncation=True)):
            assert_ranked(one["labels"], reference)
    else:
        assert_entities(file, pipe, texts, *arguments, aggregation_strategy="simple")
    plain = predict(file, ["a [ SEP ] b"])
    assert predict(file, ["a [SEP] b"], "--split-special-tokens") != predict(file, ["a [SEP] b"])
    if cls is BertForSequenceClassification:
        assert predict(file, ["a [SEP] b"], "--split-special-tokens") == plain


def test_fill_mask_reads_no_mask_as_plain_text(tmp_path):
    """There the pipeline finds no mask, and raises."""
    file = export(checkpoint(tmp_path, BertForMaskedLM, LIMIT))
    assert "split_special_tokens" in refused("predict", file, "--json", "--split-special-tokens", texts=MASKED)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, split_special_tokens=True)
    with pytest.raises(Exception, match="No mask_token"):
        pipeline("fill-mask", model=str(tmp_path), tokenizer=tokenizer, device="cpu")(MASKED[0])
