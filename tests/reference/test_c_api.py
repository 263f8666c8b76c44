"""The C library inside a Python process that has torch already: one libtorch, the same numbers, the same memory."""

import ctypes
import os
from ctypes import CFUNCTYPE, byref, c_char_p, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path

import pytest
import torch
from transformers import BertForMaskedLM, BertModel

from c_library import C, call
from live import CLASSES, random_model

Capsule = ctypes.pythonapi.PyCapsule_New
Capsule.restype, Capsule.argtypes = ctypes.py_object, [c_void_p, c_char_p, c_void_p]
Pointer = ctypes.pythonapi.PyCapsule_GetPointer
Pointer.restype, Pointer.argtypes = c_void_p, [ctypes.py_object, c_char_p]
Rename = ctypes.pythonapi.PyCapsule_SetName
Rename.argtypes = [ctypes.py_object, c_char_p]


def into_c(tensor):
    capsule = tensor.__dlpack__(max_version=(1, 0))
    handle = c_void_p()
    call("tensor_from_dlpack", c_void_p(Pointer(capsule, b"dltensor_versioned")), byref(handle))
    # Consumed: the capsule must not call the deleter a second time.
    Rename(capsule, b"used_dltensor_versioned")
    return handle


def out_of_c(handle):
    managed = c_void_p()
    call("tensor_to_dlpack", handle, byref(managed))
    C.bertscript_tensor_free(handle)
    return torch.from_dlpack(Capsule(managed, b"dltensor_versioned", None))


def address(handle):
    data = c_void_p()
    call("tensor_data", handle, byref(data), None)
    return data.value


def export(checkpoint, file):
    model = c_void_p()
    call("model_from_pretrained", os.fsencode(checkpoint), None, byref(model))
    call("model_export", model, None, os.fsencode(file))
    C.bertscript_model_free(model)


@pytest.fixture(scope="module")
def load():
    modules = []

    def load(file):
        module = c_void_p()
        call("module_load", os.fsencode(file), b"cpu", byref(module))
        modules.append(module)
        return module

    yield load
    for module in modules:
        C.bertscript_module_free(module)


def run(module, named):
    names = (c_char_p * len(named))(*[name.encode() for name in named])
    handles = [into_c(tensor) for tensor in named.values()]
    inputs = (c_void_p * len(named))(*[handle.value for handle in handles])
    outputs, count = (c_void_p * 64)(), c_size_t()
    call("module_run", module, names, inputs, c_size_t(len(named)), None, outputs, c_size_t(64), byref(count))
    for handle in handles:
        C.bertscript_tensor_free(handle)
    return [out_of_c(c_void_p(handle)) for handle in outputs[: count.value]]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_outputs_equal_torch_jit_load_to_the_bit(cls, tmp_path, load):
    random_model(cls).save_pretrained(tmp_path / "checkpoint")
    export(tmp_path / "checkpoint", tmp_path / "model.pt")
    script, module = torch.jit.load(tmp_path / "model.pt"), c_void_p()
    call("module_with_plan", load(tmp_path / "model.pt"), b"scripted", byref(module))
    for batch, length in [(1, 3), (3, 17), (2, 64)]:
        shape = (batch, 2, length) if "MultipleChoice" in cls.__name__ else (batch, length)
        mask = torch.ones(shape, dtype=torch.int64)
        mask[0, ..., length // 2 :] = 0
        named = {"input_ids": torch.randint(99, shape), "attention_mask": mask}
        expected = script(**named)
        expected = [expected] if torch.is_tensor(expected) else expected
        found = run(module, named)
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            assert torch.equal(a, b)
    C.bertscript_module_free(module)


def test_dlpack_shares_memory_both_ways():
    tensor = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    handle = into_c(tensor)
    assert address(handle) == tensor.data_ptr()
    back = out_of_c(handle)
    assert back.data_ptr() == tensor.data_ptr() and torch.equal(back, tensor)
    # Another order is copied, a part of a tensor is not.
    handle = into_c(tensor.T)
    assert address(handle) != tensor.data_ptr()
    assert torch.equal(out_of_c(handle), tensor.T)
    handle = into_c(tensor[1:])
    assert address(handle) == tensor[1:].data_ptr()
    C.bertscript_tensor_free(handle)
    # What is refused stays the caller's, who frees it.
    with pytest.raises(RuntimeError, match="INVALID_ARGUMENT managed: dtype: found complex64, expected float32"):
        into_c(tensor.to(torch.complex64))


def test_a_file_saved_from_c_opens_in_python_with_separate_weights(tmp_path):
    random_model(BertForMaskedLM).save_pretrained(tmp_path / "checkpoint")
    model, module = c_void_p(), c_void_p()
    call("model_from_pretrained", os.fsencode(tmp_path / "checkpoint"), None, byref(model))
    call("model_trace", model, None, byref(module))
    call("module_save", module, os.fsencode(tmp_path / "saved.pt"))
    C.bertscript_model_free(model)
    C.bertscript_module_free(module)
    state = torch.jit.load(tmp_path / "saved.pt").state_dict()
    decoder, words = (state[f"{name}.weight"] for name in ("cls.predictions.decoder", "bert.embeddings.word_embeddings"))
    assert torch.equal(decoder, words) and decoder.data_ptr() != words.data_ptr()


def test_python_keeps_its_torch_as_it_was(tmp_path, load):
    random_model(BertModel).save_pretrained(tmp_path / "checkpoint")

    def state():
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.random.get_rng_state().tolist(),
            torch.is_autocast_enabled("cpu"),
            torch._C._jit_set_profiling_executor(torch._C._jit_set_profiling_executor(True)),
        )

    with torch.enable_grad():
        before = state()
        export(tmp_path / "checkpoint", tmp_path / "model.pt")
        run(load(tmp_path / "model.pt"), {"input_ids": torch.ones(1, 3, dtype=torch.int64)})
        with pytest.raises(RuntimeError, match="NOT_FOUND nowhere.pt: cannot open the archive"):
            load("nowhere.pt")
        with pytest.raises(RuntimeError, match="INVALID_ARGUMENT input_ids: found 99 at .*, expected 0 to 98"):
            run(load(tmp_path / "model.pt"), {"input_ids": torch.full((1, 1), 99)})
        assert state() == before


def test_one_libtorch_is_in_the_process():
    call("runtime_check")
    places = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libtorch_cpu" in line}
    assert len(places) == 1, places


def test_devices_say_why_they_are_not_there():
    count = c_size_t(9)
    call("device_count", b"cpu", byref(count))
    assert count.value == 1
    call("device_available", b"cpu")
    call("device_count", b"cuda", byref(count))
    if count.value == 0:
        with pytest.raises(RuntimeError, match="DEVICE_UNAVAILABLE cuda:0: no CUDA device is available: "):
            call("device_available", b"cuda:0")
    with pytest.raises(RuntimeError, match="INVALID_ARGUMENT kind: found \"tpu\""):
        call("device_count", b"tpu", byref(count))
    # Its own: torch's is 1 here.
    assert 1 <= C.bertscript_get_num_threads() <= os.cpu_count()
    with pytest.raises(RuntimeError, match="INVALID_ARGUMENT count: found 0, expected 1 to 4096"):
        call("set_num_threads", c_int32(0))


class Spread(torch.nn.Module):
    """libtorch warns of the deviation of one value, every time."""

    def forward(self, x: torch.Tensor):
        return x.std()


def test_warnings_of_libtorch_reach_the_callback(tmp_path, load):
    torch.jit.script(Spread()).save(tmp_path / "spread.pt")
    module, heard, inside = load(tmp_path / "spread.pt"), [], []

    @CFUNCTYPE(None, c_void_p, c_int32, c_char_p)
    def callback(user, level, message):
        heard.append((user, level, message.decode()))
        # It may call the library, which warns anew, and what fails there is the inner call's error.
        try:
            if len(heard) < 3:
                inside.append(run(module, {"x": torch.ones(1)}))
            load("nowhere.pt")
        except RuntimeError as error:
            inside.append(str(error))

    call("set_log_callback", callback, c_void_p(7), c_int32(2))
    try:
        (outer,) = run(module, {"x": torch.ones(1)})
        (unwarned,) = run(module, {"x": torch.tensor([1.0, 3.0])})
        call("set_log_callback", callback, c_void_p(7), c_int32(1))
        run(module, {"x": torch.ones(1)})
    finally:
        call("set_log_callback", None, None, c_int32(2))
    assert outer.isnan() and unwarned == 2**0.5
    assert [entry[:2] for entry in heard] == [(7, 2)] * 3
    assert all(message.startswith("std(): degrees of freedom is <= 0") for _, _, message in heard), heard
    assert len(inside) == 5 and sum("NOT_FOUND nowhere.pt" in str(found) for found in inside) == 3, inside
    # Python's own handler is in place again.
    with pytest.warns(UserWarning, match="degrees of freedom"):
        torch.jit.load(tmp_path / "spread.pt")(torch.ones(1))


def test_types_that_the_callers_of_c_rely_on():
    assert C.bertscript_abi_version() == 1
    values = (c_int64 * 3)(2, 9, 3)
    handle = c_void_p()
    call("tensor_copy_from", c_int32(4), (c_int64 * 2)(1, 3), c_size_t(2), values, c_size_t(24), byref(handle))
    assert out_of_c(handle).tolist() == [[2, 9, 3]]
