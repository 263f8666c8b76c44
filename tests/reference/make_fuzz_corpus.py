"""Makes the first inputs of fuzzing: a small file of each format, in `fuzz/corpus`.

Run by `cargo xtask fixtures`. What fuzzing found stands beside them, under other names.
"""

import base64
import io
import json
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save

import spm

# Between files, where an input is several.
END_OF_FILE = b"\x0c"


class Twice(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def tensors() -> OrderedDict:
    """Shared, transposed, empty, of several dtypes."""
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]).half())
    return OrderedDict(
        a=base, b=base[1:], c=base.t(), d=torch.zeros(0, 4), e=parameter, f=torch.tensor([True, False])
    )


def torch_save(value: object, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def metadata() -> bytes:
    shape, output = ["B", "S"], ["B", "S", "32"]
    return json.dumps({
        "format_version": 1, "bertscript_version": "0.1.0", "torch_version": "2.11.0",
        "architecture": "BertModel", "attention": "sdpa", "dtype": "float32",
        "inputs": [{"name": "input_ids", "dtypes": ["int64"], "shape": shape, "required": True}],
        "outputs": [{"name": "last_hidden_state", "dtype": "float32", "shape": output}],
        "limits": {"vocab_size": 128, "type_vocab_size": 2, "max_position_embeddings": 512},
        "fixed_shapes": [[1, 8]], "labels": ["x"], "problem_type": None,
        "tied_groups": [["a", "b"]], "untied_groups": [], "tie_bytes": 8,
        "parameter_count": 2, "parameter_bytes": 8, "weights_sha256": "00",
        "files": ["config.json", "vocab.txt"],
    }).encode()


def archive(fixtures: Path) -> bytes:
    file = io.BytesIO()
    extra = {
        "bertscript.json": metadata(),
        "config.json": (fixtures / "model/config.json").read_bytes(),
        "vocab.txt": b"[UNK]\nthe\n",
    }
    torch.jit.save(torch.jit.script(Twice()), file, _extra_files=extra)
    return file.getvalue()


def endless() -> bytes:
    """An archive whose only record claims the greatest size there is."""
    name, wide = b"a/constants.pkl", struct.pack("<HHQ", 1, 8, 2**64 - 1)
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 45, 45, 0, 0, 0, 0, 0, 0, 2**32 - 1, len(name), len(wide), 0, 0, 0, 0, 0
    ) + name + wide
    return local + entry + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(local), 0)


def boundless() -> bytes:
    """A safetensors header of tensors that only together exceed all sizes."""
    size = 2**61 - 1
    header = {str(i): {"dtype": "U8", "shape": [size], "data_offsets": [i * size, (i + 1) * size]} for i in range(8)}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def tokenizer(special: dict, decoder: object = None) -> bytes:
    piece = lambda kind, name: {kind: {"id": name, "type_id": 0}}
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "special_tokens": special,
            "single": [piece("SpecialToken", "[X]"), piece("Sequence", "A")],
            "pair": [piece("SpecialToken", "[X]"), piece("Sequence", "A"), piece("Sequence", "B")],
        },
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "[X]": 1, "the": 2},
        },
        "decoder": decoder,
    }).encode()


def unigram(pieces: list[str], normalizer: object, config: dict, **model: object) -> bytes:
    """A `tokenizer.json` of such a model, with the settings beside it."""
    normalizers = [
        {"type": "Replace", "pattern": {"String": "``"}, "content": "\""}, {"type": "NFKD"}, {"type": "StripAccents"},
        *([normalizer] if normalizer else []),
    ]
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    file = json.dumps({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {
                "id": pieces.index("<mask>"), "content": "<mask>", "single_word": False, "lstrip": True,
                "rstrip": False, "normalized": False, "special": True,
            },
        ] if "<mask>" in pieces else [],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": None, "decoder": metaspace,
        "model": {"type": "Unigram", "vocab": [[piece, -float(id)] for id, piece in enumerate(pieces)], **model},
    })
    return END_OF_FILE.join([file.encode(), json.dumps(config).encode()])


def corpora(fixtures: Path) -> dict[str, dict[str, bytes]]:
    text, sentence = fixtures / "text", fixtures / "text/sentence"
    def of(*paths: Path) -> bytes:
        return END_OF_FILE.join(path.read_bytes() for path in paths)
    zipped, legacy = torch_save(tensors(), True), torch_save(tensors(), False)
    twice = archive(fixtures)
    def pickle(file: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(file)) as records:
            return records.read(next(name for name in records.namelist() if name.endswith("/data.pkl")))
    old = {"vocab_size_or_config_json_file": 30522, "hidden_act": "gelu", "num_labels": 3, "pad_token_id": None}
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", "\u2581the", "c", "at", "\u2581sat", "fi", "<mask>"]
    rules = spm.compiled({"\ufb01".encode(): b"fi", b"\t": b" "})
    charsmap = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(rules).decode()}
    special = {"mask_token": {"content": "[MASK]"}, "additional_special_tokens": ["[X]"]}
    return {
        "config": {
            "labels": (text / "entities/config.json").read_bytes(),
            "old": json.dumps(old).encode(),
        },
        "safetensors": {
            "dtypes": save({
                "a": torch.ones(2, 3), "b": torch.zeros(0, 2), "c": torch.ones(3).bool(), "d": torch.ones(1).half(),
            }),
            "boundless": boundless(),
        },
        "shard_index": {
            "two": b'{"metadata": {"total_size": 8}, "weight_map": {"a": "shard", "b": "shard"}}',
        },
        "torch_zip": {"tensors": zipped, "wrapped": torch_save({"state_dict": {"a": torch.ones(2)}}, True)},
        "torch_legacy": {"tensors": legacy, "wrapped": torch_save({"model": {"a": torch.ones(2)}}, False)},
        "pickle": {"tensors": pickle(zipped), "module": pickle(twice)},
        "archive": {"twice": twice, "endless": endless()},
        "metadata": {"model": metadata()},
        "tokenizer_json": {
            "sentence": of(sentence / "tokenizer.json", sentence / "tokenizer_config.json"),
            "without-special-token": tokenizer({}),
            "more-ids-than-tokens": tokenizer({"[X]": {"id": "[X]", "ids": [1, 1], "tokens": ["[X]"]}}),
            "cut-decoder": tokenizer({}, {"type": "WordPiece"})[:-4],
            "empty-charsmap": tokenizer({}).replace(
                b'"normalizer": null', b'"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}'
            ),
            # As it is, with a character map; of a class, which has pieces of its own; with bytes for what is unknown.
            "unigram": unigram(pieces, charsmap, {"mask_token": "<mask>", "pad_token": "<pad>"}, unk_id=3),
            "unigram-class": unigram(pieces, charsmap, {"tokenizer_class": "XLMRobertaTokenizer"}, unk_id=None),
            "unigram-bytes": unigram(
                ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581the"], None,
                {"tokenizer_class": "PreTrainedTokenizerFast"}, unk_id=0, byte_fallback=True,
            ),
        },
        "vocab": {
            "masked": END_OF_FILE.join([
                of(text / "masked/vocab.txt", text / "masked/tokenizer_config.json"),
                json.dumps(special).encode(), b'{"new": 200}', b'{"do_lower_case": true, "max_seq_length": 16}',
            ]),
        },
        "sentencepiece": {
            "controls": spm.model_file(
                [(text, 0.0, spm.CONTROL) for text in ["<pad>", "[CLS]", "[SEP]", "<s>", "</s>"]]
                + [("[UNK]", 0.0, spm.UNKNOWN), ("(", 0.0, spm.USER_DEFINED), ("\u2581the", -2.5, 1), ("c", -3.0, 1)],
                spm.compiled({"\ufb01".encode(): b"fi", b"\t": b" "}),
                5,
            ),
            "no-number": spm.model_file([("<unk>", 0.0, spm.UNKNOWN)] * 4 + [("the", float("nan"), 1), ("c", -1.0, 1)]),
            "boundless-map": spm.model_file([("<unk>", 0.0, spm.UNKNOWN)] * 4, b"\xff\xff\xff\x7f"),
            "empty-trie": spm.model_file([("<unk>", 0.0, spm.UNKNOWN)] * 4, bytes(4)),
        },
        "modules": {
            "sentence": of(*(sentence / name for name in [
                "modules.json", "config_sentence_transformers.json", "1_Pooling/config.json", "2_Dense/config.json",
                "2_Dense/model.safetensors",
            ])),
            "wide": END_OF_FILE.join([
                json.dumps([
                    {"path": path, "type": kind}
                    for path, kind in [("", ""), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("1_Pooling", "Pooling")]
                ]).encode(),
                b"{}", b'{"embedding_dimension": 32, "pooling_mode": ["mean", "cls", "max"]}',
                b'{"in_features": 96, "out_features": 4611686018427387904, "bias": false}',
                save({"linear.weight": torch.ones(2**62, 0)}),
            ]),
            "layer-norm": END_OF_FILE.join([
                json.dumps([
                    {"path": path, "type": kind}
                    for path, kind in [("", ""), ("1_Pooling", "Pooling"), ("2_Dense", "LayerNorm")]
                ]).encode(),
                b"{}", b'{"embedding_dimension": 32}', b'{"dimension": 32}',
                save({"norm.weight": torch.ones(32), "norm.bias": torch.ones(32)}),
            ]),
        },
    }


def main() -> None:
    fixtures = Path(sys.argv[1])
    folder = fixtures.parent.parent / "fuzz/corpus"
    for target, entries in corpora(fixtures).items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, contents in entries.items():
            (folder / target / name).write_bytes(contents)


if __name__ == "__main__":
    main()
