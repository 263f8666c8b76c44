"""How the command is asked for tokens, and what transformers makes of the same texts."""

import json
import os
import subprocess
from itertools import accumulate


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
