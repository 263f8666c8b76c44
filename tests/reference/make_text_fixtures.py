"""Makes the committed fixtures of text: tiny checkpoints with a vocabulary, texts, and what the oracles say of them.

Run by `cargo xtask fixtures`. The live check asks the same of fresh models, real vocabularies and far more texts; these
fixtures are for those who leave it out.
"""

import json
import string
import sys
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.modules import SpladePooling
from transformers import (
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizer,
    pipeline,
)

from make_fixtures import build

WORDS = """the a an and or not is was are of in on to from with who what where when he she it they we you his her this that
cat dog bird mat house river city man woman child book day night sat ran saw went came good bad big small red""".split()
TEXTS = [
    "The cat sat on the mat.",
    "Who saw the big red dog?",
    "She went to Łódź, and he came from the river!",
    "café naïve 日本 😀 ok",
    "",
    "   ",
    "a",
    "the day and the night " * 20,
]


def vocabulary():
    letters = string.ascii_lowercase
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,!?'-", *letters, *(f"##{c}" for c in letters)]
    tokens += [word for word in WORDS if len(word) > 1]
    assert len(set(tokens)) == len(tokens) <= 128
    return tokens


def write(directory, model, limit=32):
    """The model with vocab.txt alone, as of 2019."""
    model.save_pretrained(directory)
    (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary()))
    config = dict(do_lower_case=True, model_max_length=limit, tokenizer_class="BertTokenizer")
    (directory / "tokenizer_config.json").write_text(json.dumps(config) + "\n")


def decisive(model, *names):
    """Scores of a fresh head are so flat that rounding could reorder them."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(names):
                parameter *= 20
    return model


def expect(directory, **expected):
    (directory / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


def tokens(root):
    directory = root / "masked"
    tokenizer = BertTokenizer.from_pretrained(directory)
    texts = [*TEXTS, "[CLS] who [MASK] it? [SEP]", "un[MASK]ed", "x" * 100, "x" * 101]
    keys = ["input_ids", "token_type_ids", "attention_mask", "special_tokens_mask", "offset_mapping"]
    flags = dict(return_special_tokens_mask=True, return_offsets_mapping=True)
    pairs = [[first, second] for first, second in zip(texts, reversed(texts))]
    cases = []
    for name, texts, options in [
        ("plain", texts, {}),
        ("pairs", pairs, {}),
        ("longest_first", pairs, dict(truncation="longest_first", max_length=12)),
        ("windows", texts, dict(truncation="longest_first", max_length=9, stride=3, return_overflowing_tokens=True)),
        ("padded", texts, dict(padding="longest", pad_to_multiple_of=8)),
        ("split", texts, dict(split_special_tokens=True, add_special_tokens=False)),
    ]:
        first = [text if isinstance(text, str) else text[0] for text in texts]
        second = None if isinstance(texts[0], str) else [text[1] for text in texts]
        found = tokenizer(first, second, **flags, **options)
        cases.append(dict(name=name, texts=texts, **{key: found[key] for key in keys}))
    expect(directory, cases=cases)


def embeddings(root):
    directory, source = root / "sentence", root / "source"
    write(source, build(BertModel, 30, hidden_act="gelu"))
    torch.manual_seed(31)
    modules = [
        Transformer(str(source), max_seq_length=32),
        Pooling(32, ["mean", "cls"], include_prompt=False),
        Dense(64, 16),
        Normalize(),
    ]
    prompts = {"query": "who is ", "document": ""}
    model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
    model.save_pretrained(str(directory), create_model_card=False)
    for file in source.iterdir():
        file.unlink()
    source.rmdir()
    model = SentenceTransformer(str(directory), device="cpu")
    found = {name: model.encode(TEXTS, prompt_name=name).tolist() for name in prompts}
    expect(directory, texts=TEXTS, **found)


def sparse_embeddings(root):
    directory, source = root / "sparse", root / "source"
    write(source, build(BertForMaskedLM, 37, hidden_act="gelu"))
    modules = [Transformer(str(source), transformer_task="fill-mask", max_seq_length=32), SpladePooling("max")]
    prompts = {"query": "who is ", "document": ""}
    model = SparseEncoder(modules=modules, prompts=prompts, device="cpu")
    model.save_pretrained(str(directory), create_model_card=False)
    for file in source.iterdir():
        file.unlink()
    source.rmdir()
    model = SparseEncoder(str(directory), device="cpu")
    found = {}
    for name, most in [("query", None), ("document", None), ("top", 7)]:
        prompt = "document" if name == "top" else name
        rows = model.encode(TEXTS, prompt_name=prompt, max_active_dims=most, convert_to_tensor=False)
        rows = [row.coalesce() for row in rows]
        found[name] = [[row.indices()[0].tolist(), row.values().tolist()] for row in rows]
    expect(directory, texts=TEXTS, **found)


def labels(root):
    options = dict(hidden_act="gelu", id2label={0: "bad", 1: "fair", 2: "good"})
    for name, seed, problem in [("single", 32, "single_label_classification"), ("multi", 33, "multi_label_classification")]:
        directory = root / f"classify-{name}"
        write(directory, decisive(build(BertForSequenceClassification, seed, problem_type=problem, **options), "classifier"))
        oracle = pipeline("text-classification", str(directory), top_k=None, truncation=True)
        expect(directory, texts=TEXTS, labels=oracle(TEXTS))

    directory = root / "entities"
    names = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
    write(directory, decisive(build(BertForTokenClassification, 34, hidden_act="gelu", id2label=names), "classifier"))
    found = {}
    for strategy in ["none", "simple", "first", "average", "max"]:
        found[strategy] = pipeline("ner", str(directory), aggregation_strategy=strategy)(TEXTS)
    found["windows"] = pipeline("ner", str(directory), aggregation_strategy="first", stride=8)(TEXTS)
    expect(directory, texts=TEXTS, **json.loads(json.dumps(found, default=float)))

    directory = root / "next-sentence"
    model = decisive(build(BertForNextSentencePrediction, 35, hidden_act="gelu"), "cls.seq_relationship")
    write(directory, model)
    tokenizer = BertTokenizer.from_pretrained(directory)
    pairs = [[first, second] for first, second in zip(TEXTS[:7], TEXTS[1:7])]
    scores = [model(**tokenizer([pair[0]], [pair[1]], return_tensors="pt")).logits.softmax(-1)[0].tolist() for pair in pairs]
    expect(directory, pairs=pairs, scores=scores)


def rankings(root):
    directory, query = root / "reranker", "who saw the cat?"
    model = decisive(build(BertForSequenceClassification, 37, hidden_act="gelu", id2label={0: "answers"}), "classifier")
    model.config.sentence_transformers = {"version": "6.2.0"}
    write(directory, model)
    ranked = CrossEncoder(str(directory), device="cpu").rank(query, TEXTS)
    expect(directory, query=query, texts=TEXTS, ranked=json.loads(json.dumps(ranked, default=float)))


def inferences(root):
    directory = root / "inference"
    names = {0: "entailment", 1: "neutral", 2: "contradiction"}
    ids = {name: index for index, name in names.items()}
    options = dict(hidden_act="gelu", id2label=names, label2id=ids)
    write(directory, decisive(build(BertForSequenceClassification, 38, **options), "classifier"))
    oracle = pipeline("zero-shot-classification", str(directory))
    texts, labels = [text for text in TEXTS if text.strip()], ["a cat", "big city", "not good"]
    found = {
        "one": oracle(texts, labels, hypothesis_template="it is {}."),
        "many": oracle(texts, labels, hypothesis_template="it is {}.", multi_label=True),
        "alone": oracle(texts, labels[:1], hypothesis_template="it is {}."),
    }
    expect(directory, texts=texts, labels=labels, **found)


def masks(root):
    directory = root / "masked"
    write(directory, decisive(build(BertForMaskedLM, 36, hidden_act="gelu"), "cls.predictions.transform"))
    oracle = pipeline("fill-mask", str(directory))
    texts = ["the [MASK] sat on the mat.", "[MASK] saw [MASK]?"]
    one, several = oracle(texts[0]), oracle(texts[1])
    targets = oracle(texts[0], targets=["cat", "dog"])
    return dict(mask_texts=texts, masks=[[one], several], targets=targets)


def main(root):
    filled = masks(root)
    tokens(root)
    directory = root / "masked"
    expect(directory, **json.loads((directory / "expected.json").read_text()), **filled)
    embeddings(root)
    sparse_embeddings(root)
    labels(root)
    rankings(root)
    inferences(root)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    with torch.no_grad():
        main((Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "fixtures") / "text")
