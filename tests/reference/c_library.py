"""The C library in this process."""

import ctypes
import os
from ctypes import byref, c_char_p, c_void_p
from pathlib import Path

C = ctypes.CDLL(str(Path(os.environ["BERTSCRIPT"]).with_name("libbertscript.so")))
for name in ("error_message", "status_name", "module_metadata_json", "module_output_name", "ranking_json", "classifications_json"):
    getattr(C, f"bertscript_{name}").restype = c_char_p


def call(function, *arguments):
    """Calls a function whose last argument is the place of an error."""
    error = c_void_p()
    status = getattr(C, f"bertscript_{function}")(*arguments, byref(error))
    if status:
        message = C.bertscript_error_message(error).decode()
        C.bertscript_error_free(error)
        raise RuntimeError(f"{C.bertscript_status_name(status).decode()} {message}")


def load(file):
    module = c_void_p()
    call("module_load", os.fsencode(file), b"cpu", byref(module))
    return module


def strings(texts):
    """An array of texts, NUL-terminated."""
    return (c_char_p * len(texts))(*[text.encode() for text in texts])
