"""Writes SentencePiece models: nothing that reads them has to be installed to make them."""

import struct
import unicodedata
from functools import cache
from types import SimpleNamespace

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
UNIGRAM, BPE = 1, 2


def varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number, value):
    """A text or bytes, a whole number, or a number in 32 bits."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value % 2**64)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def model_file(pieces, charsmap=b"", unk_id=0, model_type=UNIGRAM):
    """Pieces are texts, scores and kinds."""
    parts = [field(1, field(1, text) + field(2, float(score)) + field(3, kind)) for text, score, kind in pieces]
    trainer = field(2, field(3, model_type) + field(4, len(pieces)) + field(40, unk_id))
    normalizer = field(3, field(1, "nmt_nfkc") + (field(2, charsmap) if charsmap else b"") + field(3, 1))
    return b"".join(parts) + trainer + normalizer


def proto(pieces, charsmap=b"", unk_id=0, model_type=UNIGRAM):
    """The parsed message, with the fields that transformers reads."""
    return SimpleNamespace(
        pieces=[
            SimpleNamespace(piece=text, score=struct.unpack("<f", struct.pack("<f", score))[0], type=kind)
            for text, score, kind in pieces
        ],
        trainer_spec=SimpleNamespace(unk_id=unk_id, model_type=model_type),
        normalizer_spec=SimpleNamespace(precompiled_charsmap=charsmap),
    )


def compiled(rules):
    """A character map: a double array, of which each node has 256 places of its own, and the texts."""
    blocks = {b"": 1}
    for key in rules:
        for end in range(1, len(key) + 1):
            blocks.setdefault(key[:end], len(blocks) + 1)
    units, texts = [0] * (256 * (len(blocks) + 1)), b""
    for node, block in blocks.items():
        place = blocks[node[:-1]] * 256 + node[-1] if node else 0
        units[place] = (place ^ block * 256) << 10 | (node in rules) << 8 | (node[-1] if node else 0)
        if node in rules:
            units[block * 256] = 1 << 31 | len(texts)
            texts += rules[node] + b"\0"
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts


@cache
def charsmap():
    """Some of NFKC, and of what SentencePiece does beside: spaces are one space, what is not seen vanishes."""
    letters = [*range(0xA0, 0x180), *range(0xFF01, 0xFF5F), *range(0xFB00, 0xFB07), 0xFDFA, 0x2126, 0x2460, 0x2075]
    rules = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in letters}
    composed = ["e\u0301", "A\u030a", "o\u0308", "\u304b\u3099"]
    rules |= {letters: unicodedata.normalize("NFC", letters) for letters in composed}
    rules |= dict.fromkeys("\t\r\x0b\x0c\x85\u2002\u2028\u3000", " ") | dict.fromkeys("\x01\x07\xad\u200b\ufeff", "")
    return compiled({key.encode(): text.encode() for key, text in rules.items() if key != text})
