"""The live check of each tokenizer class, from each of its files, against `AutoTokenizer`.

A sample of the corpus of `corpus.py` runs; with BERTSCRIPT_EVERYTHING=1 all of it does.
"""

import json
import os
from functools import cache

import pytest
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer, Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.trainers import UnigramTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerFast, convert_slow_tokenizer

import spm
from corpus import corpus
from texts import PARTS
from tokens import as_lines, assert_refused, assert_rows_equal, expected, found, tokenize

BERT_TOKENS = "[PAD] [UNK] [CLS] [SEP] [MASK]".split()
MPNET_TOKENS = "<s> <pad> </s> [UNK] <mask>".split()
ROBERTA_TOKENS = "<s> <pad> </s> <unk> <mask>".split()
HARD = [
    "a\x00b \x01 \x7f",
    "▁a ▁▁ b▁ a▁b",
    "``quoted'' it''s `a` 1,2,3, 4,",
    "a  \n\t b   ",
    "  x",
    " ",
    "The committee [MASK] on <mask> Tuesday </s></s> x[SEP]y <s> [CLS] <unk>[UNK] [PAD]<pad>",
    "[mask] <MASK> <Mask> </S> [unk]",
    "<s>NOTUSED </s>NOTUSED <unk>NOTUSED (x) and then the harbour, of course",
    "\ufdfa \ufb01ne Ａ é e\u0301 か\u3099",
]


@pytest.fixture(scope="session")
def lines():
    lines = corpus()
    return HARD + (lines if os.environ.get("BERTSCRIPT_EVERYTHING") == "1" else lines[::100])


@cache
def pieces(first):
    """Unigram trained on the texts, its first pieces those of a class."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = Metaspace()
    trainer = UnigramTrainer(vocab_size=400, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(PARTS * 2, trainer)
    trained = json.loads(tokenizer.to_str())["model"]["vocab"][1:]
    symbols = [("(", 0.0, spm.USER_DEFINED), ("theo", 0.0, spm.USER_DEFINED), ("[MASK]", 0.0, spm.CONTROL)]
    return [*first, *symbols, *((text, score, 1) for text, score in trained)]


def of_controls(text, unknown):
    return tuple((token, 0.0, spm.UNKNOWN if token == unknown else spm.CONTROL) for token in text.split())


FAIRSEQ = of_controls("<unk> <s> </s>", "<unk>")
ALBERT = of_controls("<pad> <unk> [CLS] [SEP]", "<unk>")
DEBERTA = of_controls("[PAD] [CLS] [SEP] [UNK]", "[UNK]")
MODELS = {
    "XLMRobertaTokenizer": ("sentencepiece.bpe.model", FAIRSEQ, 0),
    "CamembertTokenizer": ("sentencepiece.bpe.model", FAIRSEQ, 0),
    "AlbertTokenizer": ("spiece.model", ALBERT, 1),
    "DebertaV2Tokenizer": ("spm.model", DEBERTA, 3),
}
NAMES = ["BertTokenizer", "DistilBertTokenizer", "MPNetTokenizer", "RobertaTokenizer", *MODELS]


@cache
def word_pieces():
    trained = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    trained.train_from_iterator(PARTS, vocab_size=600, min_frequency=1, special_tokens=[], show_progress=False)
    return sorted(trained.get_vocab(), key=trained.get_vocab().get)


def vocabulary_files(directory, name):
    if name in MODELS:
        file, first, unk_id = MODELS[name]
        (directory / file).write_bytes(spm.model_file(pieces(first), spm.charsmap(), unk_id))
    elif name == "RobertaTokenizer":
        trained = ByteLevelBPETokenizer()
        tokens = dict(special_tokens=ROBERTA_TOKENS, show_progress=False)
        trained.train_from_iterator(PARTS, vocab_size=600, min_frequency=1, **tokens)
        trained.save_model(str(directory))
    else:
        first = MPNET_TOKENS if name == "MPNetTokenizer" else BERT_TOKENS
        (directory / "vocab.txt").write_text(as_lines([*first, *word_pieces()]), encoding="utf-8")


def load(directory, name):
    """transformers' tokenizer. What protobuf would read of a model is put in its place."""

    def read(self, model):
        _, first, unk_id = MODELS[name]
        self.proto = spm.proto(pieces(first), spm.charsmap(), unk_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert_slow_tokenizer.SentencePieceExtractor, "__init__", read)
        tokenizer = AutoTokenizer.from_pretrained(directory)
    assert type(tokenizer).__name__ == name.replace("DistilBert", "Bert") or name == type(tokenizer).__name__
    return tokenizer


def checkpoint(directory, name, form="files", **settings):
    """A directory with the files of a class, or with the tokenizer.json that transformers makes of them."""
    (directory / "config.json").write_text(json.dumps(dict(model_type="bert")))
    (directory / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class=name, **settings)))
    vocabulary_files(directory, name)
    if form != "files":
        names = {path for path in directory.iterdir() if path.suffix in (".model", ".txt") or path.stem == "vocab"}
        load(directory, name).backend_tokenizer.save(str(directory / "tokenizer.json"))
        for path in names:
            path.unlink()
    return directory


@pytest.mark.parametrize("form", ["files", "tokenizer.json"])
@pytest.mark.parametrize("name", NAMES)
def test_every_line(tmp_path, lines, name, form):
    checkpoint(tmp_path, name, form)
    tokenizer = load(tmp_path, name)
    assert_rows_equal(found(tmp_path, lines), expected(tokenizer, lines), lines)
    short = [line for line in lines if len(line) < 90]
    texts, pairs = short[:100], short[:-101:-1]
    for truncation in ("longest_first", "only_first" if form == "files" else "only_second"):
        options = dict(truncation=truncation, padding="longest", max_length=32)
        few = [number for number in range(100) if fits(tokenizer, texts[number], pairs[number], options)]
        some, others = [texts[number] for number in few], [pairs[number] for number in few]
        assert len(few) > 10
        assert_rows_equal(found(tmp_path, some, others, **options), expected(tokenizer, some, others, **options), some, others)
    windows = dict(truncation="longest_first", max_length=12, stride=2, return_overflowing_tokens=True)
    for options in (dict(split_special_tokens=True), dict(add_special_tokens=False) | windows):
        assert_rows_equal(found(tmp_path, texts, **options), expected(tokenizer, texts, **options), texts)


def fits(tokenizer, text, pair, options):
    """Whether what may be cut is longer than what has to be."""
    if options["truncation"] == "longest_first":
        return True
    kept = pair if options["truncation"] == "only_first" else text
    return len(tokenizer.tokenize(kept)) < 27


NAMED = dict(bos_token="A", eos_token="M", cls_token="a", sep_token="n", pad_token="s", mask_token="e")
SETTINGS = {
    "BertTokenizer": [dict(do_lower_case=False), NAMED],
    "MPNetTokenizer": [dict(do_lower_case=False, strip_accents=True), dict(tokenize_chinese_chars=False), NAMED],
    "RobertaTokenizer": [dict(add_prefix_space=True), NAMED],
    "XLMRobertaTokenizer": [dict(add_prefix_space=False), dict(add_prefix_space=None), NAMED],
    "CamembertTokenizer": [dict(add_prefix_space=False), dict(extra_special_tokens=[]), NAMED],
    "AlbertTokenizer": [
        dict(do_lower_case=False),
        dict(keep_accents=True),
        dict(do_lower_case=None, keep_accents=None),
        dict(trim_offsets=False),
        NAMED,
    ],
    "DebertaV2Tokenizer": [
        dict(do_lower_case=True),
        dict(split_by_punct=True),
        dict(add_prefix_space=False),
        dict(unk_token="Y", unk_id=7),
        NAMED,
    ],
}
OF_ANY = [
    dict(
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        additional_special_tokens=["the", "(x)"],
        padding_side="left",
        truncation_side="left",
    ),
    dict(
        extra_special_tokens=dict(x_token="harbour"),
        added_tokens_decoder={"5": dict(content="and", lstrip=True, rstrip=False, single_word=True, special=True)},
    ),
]


def assert_equal(directory, name):
    tokenizer = load(directory, name)
    texts = [*HARD, *PARTS]
    for pairs, options in (None, {}), (texts[::-1], dict(truncation="longest_first", max_length=24, padding="longest")):
        assert_rows_equal(found(directory, texts, pairs, **options), expected(tokenizer, texts, pairs, **options), texts, pairs)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_each_class(tmp_path, name):
    # What belongs to every class is tried on those that differ in it.
    of_any = OF_ANY if name in ("MPNetTokenizer", "CamembertTokenizer") else []
    for number, settings in enumerate(SETTINGS[name] + of_any):
        directory = tmp_path / str(number)
        directory.mkdir()
        # The file knows nothing of them: they say what is built of its vocabulary.
        checkpoint(directory, name, ["files", "tokenizer.json"][number % 2])
        (directory / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class=name, **settings)))
        assert_equal(directory, name)


LOWER, SPLIT = dict(type="Lowercase"), dict(type="WhitespaceSplit")
SPECIAL = dict(id="x", ids=[9], tokens=["x"])
ALONE = [dict(SpecialToken=dict(id="x", type_id=0)), dict(Sequence=dict(id="A", type_id=1))]
LEFT = dict(
    padding=dict(strategy="BatchLongest", direction="Left", pad_to_multiple_of=None, pad_id=0, pad_type_id=0)
    | dict(pad_token="a"),
    truncation=dict(direction="Left", max_length=7, strategy="LongestFirst", stride=0),
)
TEMPLATE = dict(
    type="TemplateProcessing",
    single=ALONE,
    pair=[*ALONE, dict(Sequence=dict(id="B", type_id=0))],
    special_tokens=dict(x=SPECIAL),
)
OTHERS = [
    dict(normalizer=None, pre_tokenizer=SPLIT, decoder=None, post_processor=None),
    dict(normalizer=lambda own: dict(type="Sequence", normalizers=[LOWER, *precompiled(own)]), post_processor=TEMPLATE),
    dict(normalizer=lambda own: dict(type="Sequence", normalizers=[dict(type="Sequence", normalizers=precompiled(own))]))
    | LEFT
    | dict(added_tokens=[]),
]


def precompiled(normalizer):
    """The character map of a file."""
    if normalizer is None or normalizer["type"] != "Sequence":
        return [normalizer] * (normalizer is not None)
    return [one for one in normalizer["normalizers"] if one["type"] == "Precompiled"]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_class_is_rebuilt_whatever_else_its_file_says(tmp_path, name):
    checkpoint(tmp_path, name, "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class=name)))
    own = json.loads((tmp_path / "tokenizer.json").read_text())
    for other in OTHERS:
        other = {key: value(own[key]) if callable(value) else value for key, value in other.items()}
        (tmp_path / "tokenizer.json").write_text(json.dumps(own | other))
        assert_equal(tmp_path, name)


KINDS = {
    "WordPiece": "BertTokenizer DistilBertTokenizer MPNetTokenizer".split(),
    "BPE": ["RobertaTokenizer"],
    "Unigram": list(MODELS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_another_kind_is_used_as_it_is(tmp_path, kind):
    """transformers 5 takes its pieces for words, or fails; version 4 used the file."""
    checkpoint(tmp_path, KINDS[kind][0], "tokenizer.json")
    tokens = {role: token for role, token in load(tmp_path, KINDS[kind][0]).special_tokens_map.items() if "_token" in role}
    tokens.pop("extra_special_tokens", None)
    for other in (name for names in KINDS.values() if names is not KINDS[kind] for name in names):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class=other, **tokens)))
        types = ["token_type_ids"] * (other in ("BertTokenizer", "DebertaV2Tokenizer"))
        names = ["input_ids", "attention_mask", *types]
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(tmp_path / "tokenizer.json"), model_input_names=names, **tokens
        )
        texts = [*HARD, *PARTS]
        pairs = texts[::-1]
        assert_rows_equal(found(tmp_path, texts, pairs), expected(tokenizer, texts, pairs), texts, pairs)


NOT_READ = ["BertJapaneseTokenizer", "PhobertTokenizer", "BertweetTokenizer", "HerbertTokenizer"]


@pytest.mark.parametrize("name", NOT_READ)
def test_other_classes_are_refused_by_name(tmp_path, name):
    checkpoint(tmp_path, "BertTokenizer")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class=name)))
    done = tokenize(tmp_path, ["a"])
    assert_refused(done)
    assert name in done.stderr and "pass the token ids" in done.stderr


DAMAGED = {
    "found 2 (BPE)": lambda: spm.model_file(pieces(FAIRSEQ), model_type=spm.BPE),
    "found no pieces": lambda: spm.model_file([]),
    "expected at most 256": lambda: spm.model_file([("a" * 257, 0.0, 1)]),
    "found a trie of": lambda: spm.model_file(pieces(FAIRSEQ), b"\xff\xff\xff\x7f"),
    "expected at most 48": lambda: spm.model_file(pieces(FAIRSEQ), spm.compiled({b"a": b"b" * 49})),
    "is it a SentencePiece model?": lambda: b"version https://git-lfs.github.com/spec/v1\n",
}


@pytest.mark.parametrize("words", DAMAGED)
def test_a_file_that_is_no_such_model_is_refused(tmp_path, words):
    checkpoint(tmp_path, "XLMRobertaTokenizer")
    (tmp_path / "sentencepiece.bpe.model").write_bytes(DAMAGED[words]())
    done = tokenize(tmp_path, ["a"])
    assert_refused(done)
    assert "sentencepiece.bpe.model" in done.stderr and words in done.stderr


@pytest.mark.parametrize("name", SETTINGS)
def test_a_missing_file_is_named(tmp_path, name):
    checkpoint(tmp_path, name)
    files = [path for path in tmp_path.iterdir() if not path.name.endswith("config.json")]
    for path in files:
        path.unlink()
    done = tokenize(tmp_path, ["a"])
    assert_refused(done)
    assert all(path.name in done.stderr for path in files)


UNREAD = {
    "add_bos_token": ("AlbertTokenizer", dict(add_bos_token=True)),
    "unk_id": ("DebertaV2Tokenizer", dict(unk_token="nowhere", unk_id="1")),
    "none for unknown characters": ("DebertaV2Tokenizer", dict(unk_token="nowhere", unk_id=4000)),
    "cls_token": ("AlbertTokenizer", dict(cls_token="nowhere")),
    "mask_token": ("XLMRobertaTokenizer", dict(mask_token=None)),
}


@pytest.mark.parametrize("words", UNREAD)
def test_what_no_tokenizer_can_be_made_of_is_refused(tmp_path, words):
    name, settings = UNREAD[words]
    checkpoint(tmp_path, name, "tokenizer.json" if "unk" in words else "files")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class=name, **settings)))
    done = tokenize(tmp_path, ["a"])
    assert_refused(done)
    assert words in done.stderr
