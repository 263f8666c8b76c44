"""Trees and packages of the library, how they are made, and programs that are built against them."""

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests/fixtures/text/sentence"
CMAKE = Path(sys.executable).with_name("cmake")
# Where libtorch will be, seen from the plug-in.
TORCH_RPATH = "$ORIGIN/../../torch/lib"
LISTS = """\
cmake_minimum_required(VERSION 3.16)
project(consumer C CXX)
{how}
if(DEFINED Torch_FOUND OR DEFINED TORCH_LIBRARIES)
  message(FATAL_ERROR "somebody looked for torch")
endif()
add_executable(embed "{source}")
target_link_libraries(embed PRIVATE bertscript::bertscript)
add_executable(embed-cc "{source}c")
target_link_libraries(embed-cc PRIVATE bertscript::cxx)
"""
PACKAGE = "find_package(bertscript {version} REQUIRED {components})\nfind_package(bertscript REQUIRED)"


def run(*command, **variables):
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    environment.update({name: str(value) for name, value in variables.items()})
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)


def ok(*command, **variables):
    done = run(*command, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def alone(lock=ROOT / "target/packages.lock"):
    """Waits for other processes that build: between building and copying, `target` must stay as it is."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def xtask(command, *arguments):
    with alone():
        made = ["cargo", "xtask", command, "--debug", *map(str, arguments)]
        subprocess.run(made, cwd=ROOT, check=True)


def install(*arguments):
    xtask("install", *arguments)


def dist(output):
    xtask("dist", "--output", output, "--torch-rpath", TORCH_RPATH)
    return output


def configure(tmp_path, how, example, *definitions):
    source = tmp_path / "source"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(LISTS.format(how=how, source=example))
    build = tmp_path / "build"
    return run(CMAKE, "-S", source, "-B", build, *definitions), build


def find(tmp_path, prefix, version="0.1", components="", lib="lib"):
    example = prefix / "share/doc/bertscript/examples/embed.c"
    how = PACKAGE.format(version=version, components=components)
    return configure(tmp_path, how, example, f"-Dbertscript_DIR={prefix}/{lib}/cmake/bertscript")


def builds_and_runs(build, file):
    ok(CMAKE, "--build", build)
    printed = ok(build / "embed", file, "the cat sat", "who was it?")
    assert ok(build / "embed-cc", file, "the cat sat", "who was it?") == printed
    rows = printed.splitlines()
    assert [row.split()[i] for i, row in enumerate(rows)] == ["1.000", "1.000"]


def runs_without_libtorch(program, file):
    """The program is `tests/c/alone.c`, which embeds, and looks at what its process has mapped."""
    assert "the engine torchscript requires libtorch" in ok(program, file, FIXTURE)


def needed_glibc(*files):
    """The minor version of glibc 2 that the symbols of these files need."""
    versions = [word for file in files for word in ok("readelf", "-V", "-W", file).split() if word.startswith("GLIBC_2.")]
    return max(int(version.split(".")[1]) for version in versions)
