"""The live check of what the files of a tokenizer say, against `AutoTokenizer`."""

import base64
import json

import pytest
from transformers import AutoTokenizer, BertConfig

import spm
from tokens import as_lines, assert_refused, assert_rows_equal, expected, found, tokenize

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a b ##b A é e [ ] sep mask < x y >".split()
FAST, BACKEND = "PreTrainedTokenizerFast", "TokenizersBackend"
NAMES = ["input_ids", "token_type_ids", "attention_mask"]


def tokenizer_json(lowercase=False, post_processor=None, **parts):
    normalizer = dict(
        type="BertNormalizer", clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase
    )
    vocab = {token: number for number, token in enumerate(WORDS)}
    model = dict(type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100)
    file = dict(version="1.0", truncation=None, padding=None, added_tokens=[], normalizer=normalizer)
    file |= dict(pre_tokenizer=dict(type="BertPreTokenizer"), decoder=None, model=model | dict(vocab=vocab))
    return {"tokenizer.json": file | dict(post_processor=post_processor) | parts}


def without_sep(types=(0, 1)):
    """A post-processor that adds [CLS] alone."""
    cls = dict(SpecialToken=dict(id="[CLS]", type_id=0))
    first, second = (dict(Sequence=dict(id=name, type_id=number)) for name, number in zip("AB", types))
    tokens = {"[CLS]": dict(id="[CLS]", ids=[2], tokens=["[CLS]"])}
    return dict(type="TemplateProcessing", single=[cls, first], pair=[cls, first, second], special_tokens=tokens)


def added(token, number, **flags):
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True) | flags
    return dict(id=number, content=token, **flags)


def unigram():
    """tokenizer.json of XLM-RoBERTa."""
    vocab = [["<s>", 0], ["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["▁", -2], ["▁a", -3], ["b", -3], ["A", -4]]
    special = {token: dict(id=token, ids=[number], tokens=[token]) for token, number in [("<s>", 0), ("</s>", 2)]}
    start, end = (dict(SpecialToken=dict(id=token, type_id=0)) for token in ("<s>", "</s>"))
    first, second = (dict(Sequence=dict(id=name, type_id=0)) for name in "AB")
    metaspace = dict(type="Metaspace", replacement="▁", prepend_scheme="always", split=True)
    return tokenizer_json(
        post_processor=dict(
            type="TemplateProcessing",
            single=[start, first, end],
            pair=[start, first, end, end, second, end],
            special_tokens=special,
        ),
        normalizer=None,
        pre_tokenizer=dict(type="Sequence", pretokenizers=[dict(type="WhitespaceSplit"), metaspace]),
        decoder=metaspace,
        model=dict(type="Unigram", unk_id=3, vocab=vocab, byte_fallback=False),
        added_tokens=[added(token, number) for number, (token, _) in enumerate(vocab[:4])] + [added("<mask>", 8)],
    )


def settings(**values):
    return {"tokenizer_config.json": values}


def special_tokens_map(**values):
    return {"special_tokens_map.json": values}


def byte_level(**model):
    """tokenizer.json of RoBERTa, whose pre-tokenizer and post-processor do not count."""
    tokens = "<s> <pad> </s> <unk> a b \u0120 A \u00c3 \u00a9 < > x y [ ] / s ab \u0120a \u0120ab <mask>".split()
    file = tokenizer_json(
        normalizer=dict(type="Lowercase"),
        pre_tokenizer=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=False, use_regex=False),
        decoder=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True),
        model=dict(
            type="BPE",
            vocab={token: number for number, token in enumerate(tokens)},
            merges=["a b", "\u0120 a", "\u0120a b"],
            **model,
        ),
        added_tokens=[added(token, number) for number, token in enumerate(tokens[:4])]
        + [added("<mask>", tokens.index("<mask>"), lstrip=True)],
    )
    return file


def vocabulary_and_merges():
    model = byte_level()["tokenizer.json"]["model"]
    return {"vocab.json": model["vocab"], "merges.txt": as_lines(["#version: 0.2", *model["merges"]])}


def of_type(model_type):
    return {"config.json": dict(model_type=model_type)}


ROBERTA = settings(tokenizer_class="RobertaTokenizer")
VOCAB_TXT = {"vocab.txt": as_lines(WORDS)}
LEFT = dict(
    padding=dict(strategy="BatchLongest", direction="Left", pad_to_multiple_of=None, pad_id=0, pad_type_id=0)
    | dict(pad_token="[PAD]"),
    truncation=dict(direction="Left", max_length=7, strategy="LongestFirst", stride=0),
)
NEW = [added("<x>", 19, special=False), added("<y>", 20)]
CLS_A = special_tokens_map(cls_token="a")
ROLES = {"[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
DIRECTORIES = {
    "tokenizer.json alone in upper case": tokenizer_json(False),
    "tokenizer.json alone in lower case": tokenizer_json(True),
    "no class in upper case": tokenizer_json(False) | settings(),
    "BertTokenizer in upper case": tokenizer_json(False) | settings(tokenizer_class="BertTokenizerFast"),
    "do_lower_case of BertTokenizer": tokenizer_json(True) | settings(do_lower_case=False),
    "a fast tokenizer in upper case": tokenizer_json(False) | settings(tokenizer_class=FAST, do_lower_case=True),
    "a fast tokenizer in lower case": tokenizer_json(True) | settings(tokenizer_class=BACKEND, do_lower_case=False),
    "vocab.txt alone": VOCAB_TXT,
    "vocab.txt in upper case": VOCAB_TXT | settings(do_lower_case=False),
    "the class of config.json": tokenizer_json(False)
    | {"config.json": dict(model_type="bert", tokenizer_class=FAST)},
    "DistilBertTokenizer": tokenizer_json() | settings(tokenizer_class="DistilBertTokenizer"),
    "MobileBertTokenizer": tokenizer_json() | settings(tokenizer_class="MobileBertTokenizerFast"),
    "XLMRobertaTokenizer": unigram() | settings(tokenizer_class="XLMRobertaTokenizer"),
    "RobertaTokenizer": byte_level() | ROBERTA,
    "RobertaTokenizer of other options": byte_level(dropout=0.5, unk_token="<unk>", fuse_unk=True) | ROBERTA,
    "RobertaTokenizer with add_prefix_space": byte_level()
    | settings(tokenizer_class="RobertaTokenizerFast", add_prefix_space=True),
    "RobertaTokenizer without trim_offsets": byte_level()
    | settings(tokenizer_class="RobertaTokenizer", trim_offsets=False),
    "RobertaTokenizer with flags": byte_level()
    | ROBERTA
    | special_tokens_map(mask_token=dict(content="<mask>", lstrip=True, normalized=False)),
    "RobertaTokenizer and model_input_names": byte_level()
    | settings(tokenizer_class="RobertaTokenizer", model_input_names=NAMES),
    "vocab.json and merges.txt": vocabulary_and_merges() | ROBERTA,
    "roberta without a class": byte_level() | of_type("roberta"),
    "roberta without a class, of two files": vocabulary_and_merges() | of_type("roberta"),
    "xlm-roberta without a class": unigram() | of_type("xlm-roberta"),
    "camembert without a class": unigram() | of_type("camembert"),
    "distilbert without a class": tokenizer_json() | of_type("distilbert"),
    "electra without a class": VOCAB_TXT | of_type("electra"),
    "ElectraTokenizer": VOCAB_TXT | of_type("electra") | settings(tokenizer_class="ElectraTokenizerFast"),
    "ernie without a class": VOCAB_TXT | of_type("ernie"),
    "model_input_names of BertTokenizer": VOCAB_TXT | settings(model_input_names=["input_ids", "attention_mask"]),
    "model_input_names of a fast tokenizer": tokenizer_json()
    | settings(tokenizer_class=FAST, model_input_names=NAMES),
    "no [SEP] of BertTokenizer": tokenizer_json(post_processor=without_sep()) | settings(tokenizer_class="BertTokenizer"),
    "no [SEP] of a fast tokenizer": tokenizer_json(post_processor=without_sep())
    | settings(tokenizer_class=FAST, model_input_names=NAMES, cls_token="[CLS]", sep_token="[SEP]"),
    "cls_token of the older file": VOCAB_TXT | settings(cls_token="b") | CLS_A,
    "cls_token beside added_tokens_decoder": VOCAB_TXT | settings(cls_token="b", added_tokens_decoder={}) | CLS_A,
    "cls_token with flags": VOCAB_TXT | special_tokens_map(cls_token=dict(content="a", rstrip=True)),
    "no mask token": VOCAB_TXT | settings(mask_token=None),
    "extra_special_tokens by name": VOCAB_TXT | settings(extra_special_tokens=dict(x_token="<x>")),
    "extra_special_tokens by names, with ids": VOCAB_TXT
    | settings(extra_special_tokens=dict(y_token="<y>", x_token="<x>"))
    | {"added_tokens.json": {"<y>": 19, "<x>": 20}},
    "extra_special_tokens in a list": VOCAB_TXT | settings(extra_special_tokens=["<y>", "<x>"]),
    "extra_special_tokens of both files": VOCAB_TXT
    | settings(extra_special_tokens=["<y>"])
    | special_tokens_map(extra_special_tokens=["<x>", "<y>"]),
    "additional_special_tokens": VOCAB_TXT | settings(additional_special_tokens=["<y>"], extra_special_tokens=[]),
    "bos_token and a token of the model": VOCAB_TXT | settings(image_token="<x>", bos_token="<y>"),
    "added tokens of tokenizer.json": tokenizer_json(added_tokens=NEW),
    "added tokens of tokenizer.json that do not count": tokenizer_json(added_tokens=NEW)
    | settings(added_tokens_decoder={}),
    "added tokens of a fast tokenizer": tokenizer_json(added_tokens=NEW)
    | settings(tokenizer_class=FAST, cls_token="a", added_tokens_decoder={}),
    "added_tokens.json": VOCAB_TXT | {"added_tokens.json": {"<x>": 20, "<y>": 19}},
    "special tokens in added_tokens.json": VOCAB_TXT | settings(cls_token="[CLS]") | {"added_tokens.json": ROLES},
    "sides of tokenizer.json": tokenizer_json(**LEFT),
    "sides of tokenizer_config.json": tokenizer_json(**LEFT) | settings(padding_side="right", truncation_side="right"),
    "special tokens as plain text": VOCAB_TXT | settings(split_special_tokens=True),
}
MIXED = ["A b [SEP] é <x><y> [MASK]", "[mask] [cls] a", "ab [CLS]  a <X> <y >", "", "<s> a A bb </s> <mask>b", "\ufdfa b"]


def directory(path, files):
    for name, contents in (dict([("config.json", BertConfig().to_dict())]) | files).items():
        if contents is not None:
            text = contents if isinstance(contents, str) else json.dumps(contents)
            (path / name).write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", DIRECTORIES)
def test_files_are_read_as_auto_tokenizer_reads_them(tmp_path, name):
    source = directory(tmp_path, DIRECTORIES[name])
    tokenizer = AutoTokenizer.from_pretrained(source)
    cases = [(None, {}), (MIXED[::-1], {}), (None, dict(split_special_tokens=True))]
    if tokenizer.pad_token:
        cases.append((MIXED[::-1], dict(padding="longest", truncation="longest_first", max_length=6)))
    for pairs, options in cases:
        references = expected(tokenizer, MIXED, pairs, **options)
        assert_rows_equal(found(source, MIXED, pairs, **options), references, MIXED, pairs)


def test_special_tokens_are_recognised_if_a_call_says_so(tmp_path):
    source = directory(tmp_path, DIRECTORIES["special tokens as plain text"])
    tokenizer = AutoTokenizer.from_pretrained(source)
    references = list(expected(tokenizer, MIXED, split_special_tokens=False))
    assert references != list(expected(tokenizer, MIXED))
    assert_rows_equal(found(source, MIXED, **{"split_special_tokens=false": True}), references, MIXED)


def test_padding_names_its_token_where_nothing_else_does(tmp_path):
    padding = dict(strategy="BatchLongest", direction="Right", pad_to_multiple_of=None, pad_id=1, pad_type_id=0, pad_token="<pad>")
    file = unigram()
    file["tokenizer.json"]["padding"] = padding
    source = directory(tmp_path, file | settings(tokenizer_class=FAST))
    texts = ["a", "a a b"]
    references = expected(AutoTokenizer.from_pretrained(source), texts, padding="longest")
    assert_rows_equal(found(source, texts, padding="longest"), references, texts)


def test_a_chain_as_transformers_converts_it_is_no_hostile_one(tmp_path):
    """T5's: a character map, then spaces that become one mark, then a mark before each word."""
    spaces = dict(type="Replace", pattern=dict(Regex=" {2,}"), content="\u2581")
    strip = dict(type="Strip", strip_left=False, strip_right=True)
    charsmap = dict(type="Precompiled", precompiled_charsmap=base64.b64encode(spm.compiled({b"A": b"a"})).decode())
    file = unigram()
    file["tokenizer.json"]["normalizer"] = dict(type="Sequence", normalizers=[charsmap, strip, spaces])
    source = directory(tmp_path, file | settings(tokenizer_class=FAST))
    texts = ["a  b A", "A\n a"]
    assert_rows_equal(found(source, texts), expected(AutoTokenizer.from_pretrained(source), texts), texts)


UNREAD = {
    "BertJapaneseTokenizer": VOCAB_TXT | settings(tokenizer_class="BertJapaneseTokenizer"),
    "MyTokenizer": tokenizer_json() | settings(tokenizer_class="MyTokenizer"),
    "merges.txt": vocabulary_and_merges() | {"merges.txt": None} | ROBERTA,
    "needs tokenizer.json": VOCAB_TXT | settings(tokenizer_class=FAST),
    "cls_token": VOCAB_TXT | settings(cls_token=None),
    "extra_special_tokens": VOCAB_TXT | settings(extra_special_tokens=dict(y="<y>", x="<x>")),
    "split_special_tokens": VOCAB_TXT | settings(split_special_tokens="true"),
    "padding_side": VOCAB_TXT | settings(padding_side="up"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_no_such_tokenizer_is_refused_by_name(tmp_path, name):
    done = tokenize(directory(tmp_path, UNREAD[name]), ["a"])
    assert_refused(done)
    assert name in done.stderr
