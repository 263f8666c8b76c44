"""The live check of the tokenizer, line by line against transformers' `BertTokenizer`, and where it differs from the
tokenizer of 2018 that was written in Python."""

import json
import os
import random
import subprocess
import unicodedata
from functools import cache
from itertools import accumulate, islice

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertTokenizer
from transformers.models.bert.tokenization_bert import load_vocab
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from corpus import SPECIAL, corpus
from live import MINILM

LIMIT = 48


@pytest.fixture(scope="session")
def lines():
    lines = corpus()
    assert len(lines) >= 22_000
    return lines


@cache
def vocabulary():
    """MiniLM's, and every letter in both cases with and without accents, so that what becomes of them can be seen."""
    letters = [letter for letter in map(chr, range(0x21, 0x3000)) if letter.isprintable()]
    tokens = (MINILM / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    return list(dict.fromkeys([*tokens, *letters, *("##" + letter for letter in letters)]))


def checkpoint(directory, vocab_txt=None, **settings):
    """What `tokenize` needs of a checkpoint; without `vocab_txt`, tokenizer.json as transformers writes it."""
    if vocab_txt is None:
        ids = {token: number for number, token in enumerate(vocabulary())}
        BertTokenizer(vocab=ids, model_max_length=LIMIT, **settings).save_pretrained(directory)
    else:
        (directory / "vocab.txt").write_text(vocab_txt, encoding="utf-8", newline="")
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    config = dict(model_type="bert", architectures=["BertModel"], vocab_size=len(vocabulary()))
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def as_lines(tokens):
    return "".join(token + "\n" for token in tokens)


def paired(texts, pairs):
    return texts if pairs is None else [dict(text=text, text_pair=pair) for text, pair in zip(texts, pairs)]


def arguments(options):
    """The command's words for those of Python."""
    options = dict(options)
    words = [] if options.pop("add_special_tokens", True) else ["--no-special-tokens"]
    for name, value in options.items():
        if value is not None and value is not False:
            words += ["--" + name.replace("_", "-")] + [str(value)] * (value is not True)
    return words


def tokenize(source, texts, pairs=None, **options):
    return subprocess.run(
        [os.environ["BERTSCRIPT"], "tokenize", str(source), "--json", "--jsonl", *arguments(options)],
        input=as_lines(map(json.dumps, paired(texts, pairs))),
        capture_output=True,
        encoding="utf-8",
    )


def found(source, texts, pairs=None, **options):
    done = tokenize(source, texts, pairs, **options)
    assert done.returncode == 0, done.stderr
    return map(json.loads, done.stdout.split("\n")[:-1])


def expected(tokenizer, texts, pairs=None, **options):
    batch = tokenizer(texts, pairs, return_offsets_mapping=True, return_special_tokens_mask=True, **options)
    # A model that is given none takes zeros.
    batch.setdefault("token_type_ids", [[0] * len(ids) for ids in batch["input_ids"]])
    samples = batch.get("overflow_to_sample_mapping", range(len(texts)))
    for row, (sample, encoding) in enumerate(zip(samples, batch.encodings, strict=True)):
        yield dict(
            sample=sample,
            input_ids=batch["input_ids"][row],
            token_type_ids=batch["token_type_ids"][row],
            attention_mask=batch["attention_mask"][row],
            special_tokens_mask=batch["special_tokens_mask"][row],
            char_offsets=list(map(list, batch["offset_mapping"][row])),
            tokens=encoding.tokens,
            word_ids=encoding.word_ids,
            sequence_ids=encoding.sequence_ids,
        )


def in_bytes(row, sources):
    """The offsets in bytes, from those in characters."""
    before = [list(accumulate((len(letter.encode()) for letter in source), initial=0)) for source in sources]
    places = zip(row["sequence_ids"], row["char_offsets"], strict=True)
    return [[before[sequence or 0][end] for end in ends] for sequence, ends in places]


def assert_rows_equal(rows, references, texts, pairs=None):
    for row, reference in zip(rows, references, strict=True):
        sources = [texts[row["sample"]], *(pairs or [])[row["sample"] : row["sample"] + 1]]
        assert {key: row[key] for key in reference} == reference, sources
        assert row["offsets"] == in_bytes(row, sources), sources


def assert_refused(done):
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "panicked" not in done.stderr


def outcome(tokenizer, texts, pairs=None, **options):
    """transformers' rows; none if it raises."""
    try:
        return list(expected(tokenizer, texts, pairs, **options))
    except Exception:
        return None
    except BaseException as error:
        # A panic of the tokenizers crate, whose class Python can import from nowhere.
        if type(error).__name__ != "PanicException":
            raise
        return None


CASES = [(lower, strip, True) for lower in (True, False) for strip in (None, True, False)] + [(True, None, False)]


@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize("lower, strip, chinese", CASES)
def test_every_line_of_the_corpus(tmp_path, lines, file, lower, strip, chinese):
    settings = dict(do_lower_case=lower, strip_accents=strip, tokenize_chinese_chars=chinese)
    checkpoint(tmp_path, as_lines(vocabulary()) if file == "vocab.txt" else None, **settings)
    assert [name for name in ("vocab.txt", "tokenizer.json") if (tmp_path / name).exists()] == [file]
    tokenizer = BertTokenizer.from_pretrained(tmp_path)
    assert_rows_equal(found(tmp_path, lines), expected(tokenizer, lines), lines)


def test_tokenizer_config_has_the_last_word(tmp_path, lines):
    checkpoint(tmp_path, do_lower_case=False, strip_accents=False)
    file = tmp_path / "tokenizer_config.json"
    settings = dict(do_lower_case=True, strip_accents=True, tokenize_chinese_chars=False)
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    texts = lines[::10]
    assert_rows_equal(found(tmp_path, texts), expected(BertTokenizer.from_pretrained(tmp_path), texts), texts)


def test_length_and_padding_of_tokenizer_json_do_not_count(lines):
    tokenizer = BertTokenizer.from_pretrained(MINILM)
    stored = tokenizer.backend_tokenizer
    assert stored.truncation["max_length"] == stored.padding["length"] == 128
    references = list(expected(tokenizer, lines, truncation=False, padding=False))
    assert {len(row["input_ids"]) > 128 for row in references} == {True, False}
    assert_rows_equal(found(MINILM, lines), references, lines)


def test_the_limit_is_the_models_in_a_directory_and_in_an_exported_file(minilm, lines):
    texts = sorted(lines, key=len)[-80::2]
    tokenizer = BertTokenizer.from_pretrained(MINILM)
    options = dict(truncation="longest_first", padding="max_length")
    references = list(expected(tokenizer, texts, max_length=256, **options))
    for source in (MINILM, minilm):
        assert_rows_equal(found(source, texts, **options), references, texts)


def test_special_tokens_in_the_text_can_be_plain_text(lines):
    texts = [line for line in lines if any(token in line for token in SPECIAL)]
    options = dict(split_special_tokens=True)
    references = list(expected(BertTokenizer.from_pretrained(MINILM), texts, **options))
    assert not any(set(row["input_ids"][1:-1]) & {101, 102, 103} for row in references)
    assert_rows_equal(found(MINILM, texts, **options), references, texts)


def random_cases(tokenizer, lines):
    """Batches of texts or of pairs, options, and what transformers makes of them."""
    chance = random.Random(torch.initial_seed())
    pick = chance.choice
    lines = [line for line in lines if len(line) < 90]
    while True:
        case = dict(
            texts=chance.sample(lines, 14),
            pairs=pick([None, chance.sample(lines, 14)]),
            truncation=pick(["do_not_truncate", "longest_first", "longest_first", "only_first", "only_second"]),
            max_length=pick([None, 3, 4, 5, 8, 12, 16, 16, 24, 24, 32, 40]),
            stride=pick([0, 0, 0, 1, 2, 5]),
            return_overflowing_tokens=pick([True, True, False]),
            padding=pick(["do_not_pad", "longest", "max_length"]),
            pad_to_multiple_of=pick([None, None, None, 4, 8]),
            add_special_tokens=pick([True, True, True, False]),
        )
        yield case, outcome(tokenizer, **case)


def test_random_options_equal_transformers(tmp_path, lines):
    checkpoint(tmp_path)
    cases = random_cases(BertTokenizer.from_pretrained(tmp_path), lines)
    for case, references in islice((one for one in cases if one[1] is not None), 25):
        assert_rows_equal(found(tmp_path, **case), references, case["texts"], case["pairs"])


def test_random_options_that_transformers_refuses_are_refused(tmp_path, lines):
    checkpoint(tmp_path)
    cases = random_cases(BertTokenizer.from_pretrained(tmp_path), lines)
    for case, _ in islice((one for one in cases if one[1] is None), 8):
        assert_refused(tokenize(tmp_path, **case))


@pytest.mark.parametrize("truncation", ["longest_first", "only_first", "only_second"])
@pytest.mark.parametrize("pairs, max_length", [(None, 2), (["x y", "z"], 3)])
def test_special_tokens_alone_fit(tmp_path, truncation, pairs, max_length):
    """Then all that is cut makes one further window, whichever text was to be cut."""
    checkpoint(tmp_path)
    case = dict(texts=["a b c", "d"], pairs=pairs, truncation=truncation, max_length=max_length)
    case["return_overflowing_tokens"] = True
    references = outcome(BertTokenizer.from_pretrained(tmp_path), **case)
    assert_rows_equal(found(tmp_path, **case), references, case["texts"], pairs)


REFUSED = {
    "stride above the window": dict(truncation="longest_first", max_length=7, stride=6),
    "stride as long as the window": dict(truncation="longest_first", max_length=7, stride=5),
    "stride too long although nothing is cut": dict(truncation="longest_first", max_length=12, stride=11),
    "no second text": dict(truncation="only_second", max_length=6),
    "multiple of another number": dict(truncation="only_first", max_length=6, padding="longest", pad_to_multiple_of=4),
    "second text too short": dict(pairs=["x"], truncation="only_second", max_length=6),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_like_by_transformers(tmp_path, name):
    checkpoint(tmp_path)
    case = dict(texts=["a b c d e f"], **REFUSED[name])
    assert outcome(BertTokenizer.from_pretrained(tmp_path), **case) is None
    assert_refused(tokenize(tmp_path, **case))


def test_no_room_for_special_tokens_is_refused(tmp_path):
    """There the length wraps around, and nothing is cut."""
    checkpoint(tmp_path)
    case = dict(texts=["a b c d e f"], truncation="longest_first", max_length=1)
    (row,) = outcome(BertTokenizer.from_pretrained(tmp_path), **case)
    assert len(row["input_ids"]) == 8
    assert_refused(tokenize(tmp_path, **case))


TOKENS = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c ##a ##b é ##é".split()
VOCABULARIES = {
    "line ends of Windows": "\r\n".join([*TOKENS, ""]),
    "no last line end": "\n".join(TOKENS),
    "a blank last line": as_lines([*TOKENS, ""]),
    "a blank line between": as_lines([*TOKENS, "", "d"]),
    "duplicates, of which the last counts": as_lines([*TOKENS, "a", "##b", "[CLS]", "a"]),
    "spaces that are part of a token": as_lines([*TOKENS, "d\u00a0", "e\u2028", "a "]),
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocab_txt_is_read_as_python_reads_it(tmp_path, name):
    checkpoint(tmp_path, VOCABULARIES[name], do_lower_case=False)
    tokenizer = BertTokenizer(vocab=dict(load_vocab(tmp_path / "vocab.txt")), do_lower_case=False)
    texts = ["a b c", "ab bab caé", "é [MASK] d d\u00a0 e\u2028e", "[CLS] aa [SEP] z", ""]
    assert_rows_equal(found(tmp_path, texts), expected(tokenizer, texts), texts)


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


VOCAB_TXT = {"vocab.txt": as_lines(WORDS)}
LEFT = dict(
    padding=dict(strategy="BatchLongest", direction="Left", pad_to_multiple_of=None, pad_id=0, pad_type_id=0)
    | dict(pad_token="[PAD]"),
    truncation=dict(direction="Left", max_length=7, strategy="LongestFirst", stride=0),
)
NEW = [added("<x>", 19, special=False), added("<y>", 20)]
CLS_A = special_tokens_map(cls_token="a")
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
    "sides of tokenizer.json": tokenizer_json(**LEFT),
    "sides of tokenizer_config.json": tokenizer_json(**LEFT) | settings(padding_side="right", truncation_side="right"),
    "special tokens as plain text": VOCAB_TXT | settings(split_special_tokens=True),
}
MIXED = ["A b [SEP] é <x><y> [MASK]", "ab [CLS]  a <X> <y >", "", "<s> a A bb </s> <mask>b"]


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
    cases = [{}, dict(split_special_tokens=True), dict(split_special_tokens=False)]
    if tokenizer.pad_token:
        cases.append(dict(padding="longest", truncation="longest_first", max_length=6))
    for options in cases:
        for pairs in (None, MIXED[::-1]):
            references = list(expected(tokenizer, MIXED, pairs, **options))
            words = dict(options)
            if options.get("split_special_tokens") is False:
                words = {"split_special_tokens=false": True}
            assert_rows_equal(found(source, MIXED, pairs, **words), references, MIXED, pairs)


UNREAD = {
    "BertJapaneseTokenizer": VOCAB_TXT | settings(tokenizer_class="BertJapaneseTokenizer"),
    "MyTokenizer": tokenizer_json() | settings(tokenizer_class="MyTokenizer"),
    "RobertaTokenizer": tokenizer_json() | {"config.json": dict(model_type="bert", tokenizer_class="RobertaTokenizer")},
    "vocab.txt": VOCAB_TXT | settings(tokenizer_class=FAST),
    "cls_token": VOCAB_TXT | settings(cls_token=None),
    "BPE": tokenizer_json(model=dict(type="BPE", vocab={"[UNK]": 0, "a": 1}, merges=[])),
    "extra_special_tokens": VOCAB_TXT | settings(extra_special_tokens=dict(y="<y>", x="<x>")),
    "split_special_tokens": VOCAB_TXT | settings(split_special_tokens="true"),
    "padding_side": VOCAB_TXT | settings(padding_side="up"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_no_such_tokenizer_is_refused_by_name(tmp_path, name):
    done = tokenize(directory(tmp_path, UNREAD[name]), ["a"])
    assert_refused(done)
    assert name in done.stderr


def without(forgotten):
    return lambda line: "".join(letter for letter in line if not forgotten(letter))


def is_newer(letter):
    then, now = unicodedata.ucd_3_2_0.category(letter), unicodedata.category(letter)
    return then != now and (now[0] in "CMP" or then[0] in "MP")


def is_dropped(letter):
    return letter not in "\t\r" and unicodedata.category(letter)[0] == "C"


# Every cause of a difference to the tokenizer of 2018: a text that shows it, whether it does so in lower case and as it
# is, and what to do to a text so that it no longer matters. The crate's tables are of Unicode 8 and Python's as new as
# Python; older than both are those of Unicode 3.2, which Python keeps.
DIFFERENCES = {
    "code points without a character are dropped there and part of a word here": (
        "a\u0378b",
        {True, False},
        without(lambda letter: unicodedata.category(letter) == "Cn"),
    ),
    "punctuation, accents and format characters younger than the crate's tables are part of a word here": (
        "a\u2e43b",
        {True, False},
        without(is_newer),
    ),
    "the first 256 characters of CJK extension E stand alone there": (
        "a\U0002b820b",
        {True, False},
        without(lambda letter: 0x2B820 <= ord(letter) < 0x2B920),
    ),
    "a capital sigma at the end of a word becomes a final one there": (
        "ΑΣ",
        {True},
        lambda text: text.replace("Σ", "σ"),
    ),
    "what cleaning leaves is composed (NFC) there, which stripping accents undoes": (
        "e\u0301 \u2126",
        {False},
        lambda text: unicodedata.normalize("NFC", without(is_dropped)(text)),
    ),
}


@pytest.mark.parametrize("lower", [True, False])
def test_every_difference_to_the_tokenizer_of_2018_has_a_known_cause(tmp_path, lines, lower):
    checkpoint(tmp_path, as_lines(vocabulary()), do_lower_case=lower)
    legacy = BertTokenizerLegacy(str(tmp_path / "vocab.txt"), do_lower_case=lower)
    neutral = lines
    for _, _, neutralise in DIFFERENCES.values():
        neutral = list(map(neutralise, neutral))
    examples = [example for example, _, _ in DIFFERENCES.values()]
    neutralised = [neutralise(example) for example, _, neutralise in DIFFERENCES.values()]
    texts = [*lines, *neutral, *examples, *neutralised]
    rows = zip(texts, found(tmp_path, texts), strict=True)
    different = {text for text, row in rows if row["input_ids"] != legacy(text)["input_ids"]}

    # Whatever is different holds a cause, and without the causes nothing is.
    assert not different.intersection(neutral) and not different.intersection(neutralised)
    assert [example in different for example in examples] == [lower in seen for _, seen, _ in DIFFERENCES.values()]
