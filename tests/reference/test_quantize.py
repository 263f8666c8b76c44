"""Embeddings as they are stored, to the bit: `quantize_embeddings` of sentence-transformers against C and the command."""

import ctypes
import json
from ctypes import POINTER, byref, c_float, c_int32, c_size_t, c_void_p

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentence_transformers.util import quantize_embeddings

from c_library import C, call, load, strings
from embeddings import TEXTS, embed
from texts import answers, refused

PRECISIONS = ["float32", "float16", "int8", "uint8", "binary", "ubinary"]
TYPES = dict(float32="f4", float16="f2", int8="i1", uint8="u1", binary="i1", ubinary="u1")
SCALED = ["int8", "uint8"]


def oracle(embeddings, precision, ranges=None):
    if precision == "float16":
        # What sentence-transformers leaves to NumPy.
        with np.errstate(over="ignore"):
            return embeddings.astype(np.float16)
    with np.errstate(all="ignore"):
        return quantize_embeddings(embeddings, precision, ranges=ranges)


def floats(array):
    assert array.dtype == np.float32 and array.flags.c_contiguous
    return array.ctypes.data_as(POINTER(c_float))


def ranges_of(embeddings):
    count, dim = embeddings.shape
    ranges = np.empty((2, dim), np.float32)
    call("embedding_ranges", floats(embeddings), c_size_t(count), c_size_t(dim), floats(ranges), c_size_t(2 * dim))
    return ranges


def rows(room, count, width, stride, precision):
    """The rows, and what stands between them."""
    item = np.dtype(TYPES[precision]).itemsize
    padded = np.concatenate([room, np.full(stride - width * item, 0xA5, np.uint8)]) if count else room
    table = padded.reshape(count, stride)
    assert (table[:, width * item :] == 0xA5).all(), "bytes between rows were written"
    return np.ascontiguousarray(table[:, : width * item]).view(TYPES[precision])


def quantize(embeddings, precision, ranges=None, gap=0):
    count, dim = embeddings.shape
    width = -(-dim // 8) if precision.endswith("binary") else dim
    stride = width * np.dtype(TYPES[precision]).itemsize + gap
    room = np.full(max(count * stride - gap, 0), 0xA5, np.uint8)
    written = c_size_t()
    call(
        "quantize_embeddings",
        floats(embeddings),
        c_size_t(count),
        c_size_t(dim),
        precision.encode(),
        None if ranges is None else floats(np.ascontiguousarray(ranges, np.float32)),
        room.ctypes.data_as(c_void_p),
        c_size_t(stride if gap else 0),
        c_size_t(len(room)),
        byref(written),
    )
    assert written.value == len(room)
    return rows(room, count, width, stride, precision)


def assert_bits(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert np.array_equal(found.view(np.uint8), np.ascontiguousarray(expected).view(np.uint8))


def on_the_edges(generator, dim):
    """Values at the ends of the parts of a range, and beside them."""
    low, high = np.sort(generator.normal(size=(2, dim)).astype(np.float32), axis=0)
    step = (high - low) / 255
    edges = low + np.arange(256, dtype=np.float32)[:, None] * step
    beside = [np.nextafter(edges, side, dtype=np.float32) for side in (np.float32(-9), np.float32(9))]
    return np.concatenate([edges, *beside, [low, high]]).astype(np.float32)


KINDS = {
    "normal": lambda random, dim: random.normal(size=(300, dim)),
    "unit length": lambda random, dim: (x := random.normal(size=(40, dim))) / np.linalg.norm(x, axis=1, keepdims=True),
    "constant columns": lambda random, dim: np.repeat(random.normal(size=(1, dim)), 5, 0),
    "integers and zeros": lambda random, dim: random.integers(-2, 3, size=(50, dim)) * random.choice([0.0, -0.0, 1.0], dim),
    "subnormal": lambda random, dim: random.normal(size=(20, dim)) * 1e-41,
    "around the limits of float16": lambda random, dim: random.choice([1e-8, 6e-8, 65504, 65519.9, 65520], (30, dim)),
    "huge": lambda random, dim: random.normal(size=(20, dim)) * 2e38,
    "on the edges": on_the_edges,
    "two rows": lambda random, dim: random.normal(size=(2, dim)),
}


@pytest.mark.parametrize("dim", [1, 7, 8, 9, 31, 384])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_arrays_equal_quantize_embeddings_to_the_bit(precision, kind, dim):
    random = np.random.default_rng(dim)
    with np.errstate(over="ignore"):
        embeddings = np.clip(np.ascontiguousarray(KINDS[kind](random, dim), np.float32), -3e38, 3e38)
    ranges = ranges_of(embeddings) if precision in SCALED else None
    if ranges is not None:
        assert np.array_equal(ranges, [embeddings.min(0), embeddings.max(0)])
    found = quantize(embeddings, precision, ranges)
    # Without ranges, upstream takes those of the embeddings.
    assert_bits(found, oracle(embeddings, precision))
    assert_bits(quantize(embeddings, precision, ranges, gap=5), found)


@pytest.mark.parametrize("precision", SCALED)
def test_values_outside_of_the_ranges_are_clipped(precision):
    random = np.random.default_rng(5)
    embeddings = random.normal(size=(500, 24)).astype(np.float32)
    embeddings[:3, 0] = [np.inf, -np.inf, 3e38]
    ranges = np.sort(random.normal(size=(2, 24)).astype(np.float32) / 2, axis=0)
    ranges[:, 3] = 0.25
    found = quantize(embeddings, precision, ranges)
    assert_bits(found, oracle(embeddings, precision, ranges))
    assert {found.min(), found.max()} == {np.iinfo(TYPES[precision]).min, np.iinfo(TYPES[precision]).max}


def test_nan_and_infinities():
    embeddings = np.array([[np.nan, 1, np.inf, -np.inf, -0.0, 0, 1e-45, -1, np.nan]], np.float32)
    for precision in ["float32", "float16", "binary", "ubinary"]:
        assert_bits(quantize(embeddings, precision), oracle(embeddings, precision))
    # Upstream converts NaN to an integer, which C leaves undefined; here it is 0, as there on x86-64.
    ranges = np.array([[-1] * 9, [1] * 9], np.float32)
    for precision in SCALED:
        found = quantize(embeddings, precision, ranges)
        assert found[0, 0] == found[0, -1] == 0
        assert_bits(found[:, 1:-1], oracle(embeddings, precision, ranges)[:, 1:-1])
        with pytest.raises(RuntimeError, match="embeddings: found NaN at"):
            ranges_of(embeddings)


def test_what_does_not_fit_is_refused():
    embeddings = np.ones((2, 4), np.float32)
    good = np.array([[0] * 4, [1] * 4], np.float32)
    for precision in PRECISIONS:
        with pytest.raises(RuntimeError, match=" ranges: found"):
            quantize(embeddings, precision, None if precision in SCALED else good)
    for bad in [good[::-1], good + np.nan, good + np.inf]:
        with pytest.raises(RuntimeError, match="INVALID_ARGUMENT ranges: found"):
            quantize(embeddings, "int8", bad)
    with pytest.raises(RuntimeError, match="unknown precision"):
        quantize_as_named(embeddings, b"int4")


def quantize_as_named(embeddings, name):
    room = (ctypes.c_uint8 * 64)()
    call("quantize_embeddings", floats(embeddings), c_size_t(2), c_size_t(4), name, None, room, c_size_t(0), c_size_t(64), None)


class Options:
    """Options of C."""

    def __init__(self, precision, ranges=None, truncate_dim=None):
        C.bertscript_task_options_new.restype = c_void_p
        self.handle = c_void_p(C.bertscript_task_options_new())
        call("task_options_set_embedding_precision", self.handle, precision.encode())
        if ranges is not None:
            ranges = np.ascontiguousarray(ranges, np.float32)
            call("task_options_set_ranges", self.handle, floats(ranges), c_size_t(ranges.size))
        if truncate_dim is not None:
            call("task_options_set_truncate_dim", self.handle, c_size_t(truncate_dim))

    def __del__(self):
        C.bertscript_task_options_free(self.handle)


@pytest.mark.parametrize("dim", [16, 11])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_c_embeds_texts_to_rows_of_bytes(file, precision, dim):
    module = load(file)
    expected = embed(file, TEXTS, "--truncate-dim", dim)
    ranges = np.array([expected.min(0), expected.max(0)]) if precision in SCALED else None
    options, size = Options(precision, ranges, dim), c_size_t()
    call("module_embedding_bytes", module, options.handle, byref(size))
    width = size.value // np.dtype(TYPES[precision]).itemsize
    for gap in [0, 3]:
        stride = size.value + gap
        room = np.full(len(TEXTS) * stride - gap, 0xA5, np.uint8)
        written, cut = c_size_t(), (c_int32 * len(TEXTS))()
        arguments = [module, strings(TEXTS), None, c_size_t(len(TEXTS)), options.handle, room.ctypes.data_as(c_void_p)]
        call("module_embed_quantized", *arguments, c_size_t(stride), c_size_t(len(room)), byref(written), cut)
        assert written.value == len(room) and 0 < sum(cut) < len(TEXTS)
        assert_bits(rows(room, len(TEXTS), width, stride, precision), oracle(expected, precision, ranges))
    C.bertscript_module_free(module)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_command_stores_embeddings(tmp_path, file, precision):
    source, ranges = tmp_path / "in.txt", []
    source.write_text("".join(f"{text}\n" for text in TEXTS))
    expected = embed(file, TEXTS)
    if precision in SCALED:
        for ending in ["npy", "safetensors"]:
            path = tmp_path / f"ranges.{ending}"
            assert answers("embed", file, "--input", source, "--write-ranges", path) == []
            found = np.load(path) if ending == "npy" else load_file(path)["embeddings"]
            assert found.dtype == np.float32 and np.array_equal(found, [expected.min(0), expected.max(0)])
            ranges.append(["--ranges", path])
    expected = oracle(expected, precision)
    for arguments in ranges or [[]]:
        arguments = ["--input", source, "--embedding-precision", precision, *arguments]
        written = [tmp_path / name for name in ("out.jsonl", "out.npy", "out.safetensors")]
        for path in written:
            assert answers("embed", file, *arguments, "--output", path) == []
        assert_bits(np.load(written[1]), expected)
        assert_bits(load_file(written[2])["embeddings"], expected)
        lines = [json.loads(line)["embedding"] for line in written[0].read_text().split("\n")[:-1]]
        assert all(isinstance(value, int) for value in lines[0]) == (precision not in ["float32", "float16"])
        assert_bits(np.array(lines).astype(expected.dtype), expected)
        assert embed(file, TEXTS, *arguments[2:]).astype(expected.dtype).tolist() == expected.tolist()


def test_ranges_that_do_not_fit_are_refused(tmp_path, file):
    path = tmp_path / "ranges.npy"
    asked = ["embed", file, "--embedding-precision", "int8"]
    assert "--write-ranges" in refused(*asked, texts=TEXTS)
    for array, expected in [
        (np.zeros((2, 15), np.float32), "found ranges of 15, expected 16 dimensions"),
        (np.zeros((3, 16), np.float32), "found shape [3, 16], expected [2, D]"),
        (np.zeros(32, np.float32), "found shape [32], expected [2, D]"),
        (np.zeros((2, 16)), "found dtype <f8"),
        (np.asfortranarray(np.zeros((2, 16), np.float32)), "found Fortran order"),
        (np.array([[1] * 16, [0] * 16], np.float32), "found 1 to 0 in dimension 0"),
    ]:
        np.save(path, array)
        assert expected in refused(*asked, "--ranges", path, texts=TEXTS)
    np.save(path, np.zeros((2, 16), np.float32))
    for precision in set(PRECISIONS) - set(SCALED):
        said = refused("embed", file, "--embedding-precision", precision, "--ranges", path, texts=TEXTS)
        assert f"ranges: found some, expected none for {precision}" in said
    save_file({"a": np.zeros((2, 16), np.float32), "b": np.zeros(1, np.float32)}, tmp_path / "two.safetensors")
    assert "found 2 tensors" in refused(*asked, "--ranges", tmp_path / "two.safetensors", texts=TEXTS)
    assert "unknown ending" in refused("embed", file, "--write-ranges", tmp_path / "ranges.jsonl", texts=TEXTS)
    few = tmp_path / "few.npy"
    assert "found no texts" in refused("embed", file, "--write-ranges", few, texts=[]) and not few.exists()
