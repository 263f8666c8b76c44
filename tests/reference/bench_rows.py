"""Texts as rows of token ids, and rows as batches, the same for every peer of the benchmark."""

import json
from pathlib import Path

import numpy


class Rows:
    """The tokenizer of a checkpoint, which truncates at the limit of the benchmark."""

    def __init__(self, spec):
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(Path(spec["checkpoint"], "tokenizer.json")))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(spec["limit"])
        self.pad = json.loads(Path(spec["checkpoint"], "config.json").read_text())["pad_token_id"]

    def of(self, texts):
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts)]

    def padded(self, rows, length=None):
        """Ids and mask, padded to `length`, or to the longest row."""
        ids = numpy.full((len(rows), length or max(map(len, rows))), self.pad, numpy.int64)
        mask = numpy.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        return ids, mask


def read(file, count=None):
    """The first texts of a file, one per line. Not splitlines: it breaks at U+2028 too."""
    return Path(file).read_text(encoding="utf-8").rstrip("\n").split("\n")[:count]


def write(file, texts):
    Path(file).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return file


def calibration(spec):
    """Batches of one text each, of texts that are not measured: what a quantizer may look at."""
    texts = read(spec["calibration"])
    if texts == [""]:
        raise RuntimeError("no text is left to calibrate with: --texts has no more than are measured")
    rows = Rows(spec)
    for row in rows.of(texts):
        ids, mask = rows.padded([row])
        yield {"input_ids": ids, "attention_mask": mask}
