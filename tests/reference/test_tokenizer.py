"""The live check of the tokenizer, line by line against transformers' `BertTokenizer`, and where it differs from the
tokenizer of 2018 that was written in Python."""

import json
import random
import unicodedata
from functools import cache
from itertools import islice

import pytest
import torch
from transformers import BertTokenizer
from transformers.models.bert.tokenization_bert import load_vocab
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from corpus import SPECIAL, corpus
from live import MINILM
from tokens import as_lines, assert_refused, assert_rows_equal, expected, found, outcome, tokenize

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
