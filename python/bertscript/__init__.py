"""Where the C and C++ library of bertscript is: `python -m bertscript --cmakedir` for CMake.

This package has no Python interface to models: it installs the command `bertscript`, the
library `libbertscript.so` and its headers.
"""

from pathlib import Path

__version__ = "@VERSION@"


def prefix() -> str:
    """Returns the directory with `include`, `lib` and `share`."""
    return str(Path(__file__).resolve().parent)


def include_dir() -> str:
    """Returns the directory of `bertscript/bertscript.h` and `bertscript/bertscript.hpp`."""
    return str(Path(prefix(), "include"))


def lib_dir() -> str:
    """Returns the directory of the library."""
    return str(Path(prefix(), "lib"))


def cmake_dir() -> str:
    """Returns the directory for CMake's `bertscript_DIR`."""
    return str(Path(lib_dir(), "cmake", "bertscript"))


def pkgconfig_dir() -> str:
    """Returns the directory for `PKG_CONFIG_PATH`."""
    return str(Path(lib_dir(), "pkgconfig"))


def library() -> str:
    """Returns the library, for `dlopen` and `ctypes`. (`libbertscript.so` is a script for linkers.)"""
    return str(Path(lib_dir(), "libbertscript.so.@SOVERSION@"))
