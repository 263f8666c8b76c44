"""The installed tree, as a stranger finds it: moved, with a blank in its path, and nothing set in the environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from live import cli

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests/fixtures/text/sentence"
CMAKE = Path(sys.executable).with_name("cmake")
LISTS = """\
cmake_minimum_required(VERSION 3.16)
project(consumer C CXX)
find_package(bertscript {version} REQUIRED {components})
find_package(bertscript REQUIRED)
add_executable(embed "{source}")
target_link_libraries(embed PRIVATE bertscript::bertscript)
add_executable(embed-cc "{source}c")
target_compile_features(embed-cc PRIVATE cxx_std_17)
target_link_libraries(embed-cc PRIVATE bertscript::bertscript)
"""


def run(*command):
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)


def ok(*command):
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    built = tmp_path_factory.mktemp("built") / "prefix"
    subprocess.run(["cargo", "xtask", "install", "--debug", "--prefix", str(built)], cwd=ROOT, check=True)
    return shutil.move(built, tmp_path_factory.mktemp("moved") / "a prefix")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("file") / "sentence.pt"
    cli("export", FIXTURE, "-o", file)
    return file


def configure(tmp_path, prefix, version="0.1", components=""):
    source = tmp_path / "source"
    source.mkdir()
    example = prefix / "share/doc/bertscript/examples/embed.c"
    lists = LISTS.format(version=version, components=components, source=example)
    (source / "CMakeLists.txt").write_text(lists)
    build = tmp_path / "build"
    return run(CMAKE, "-S", source, "-B", build, f"-Dbertscript_DIR={prefix}/lib/cmake/bertscript"), build


def test_cmake_finds_builds_and_runs(tmp_path, prefix, file):
    done, build = configure(tmp_path, prefix)
    assert done.returncode == 0, done.stderr
    ok(CMAKE, "--build", build)
    printed = ok(build / "embed", file, "the cat sat", "who was it?")
    assert ok(build / "embed-cc", file, "the cat sat", "who was it?") == printed
    rows = printed.splitlines()
    assert [row.split()[i] for i, row in enumerate(rows)] == ["1.000", "1.000"]


@pytest.mark.parametrize("wrong", [dict(version="0.2"), dict(version="99"), dict(components="torch")])
def test_cmake_refuses_what_is_not_there(tmp_path, prefix, wrong):
    done, _ = configure(tmp_path, prefix, **wrong)
    assert done.returncode != 0
    assert "bertscript" in done.stderr


def test_plain_cc_links_without_knowing_libtorch(tmp_path, prefix, file):
    example, program = prefix / "share/doc/bertscript/examples/embed.c", tmp_path / "embed"
    lib = prefix / "lib"
    ok("cc", example, f"-I{prefix}/include", f"-L{lib}", "-lbertscript", f"-Wl,-rpath,{lib}", "-o", program)
    assert ok(program, file, "the cat sat").startswith(" 1.000")
    needed = ok("readelf", "-d", program)
    assert "[libbertscript.so.0.1]" in needed and "torch" not in needed


def test_the_files_name_no_place_of_the_build(prefix):
    for path in prefix.rglob("*"):
        if path.suffix in (".cmake", ".pc", ".h"):
            assert str(ROOT) not in path.read_text(), path
    package = (prefix / "lib/pkgconfig/bertscript.pc").read_text()
    assert "prefix=${pcfiledir}/../.." in package and "Version: 0.1.0" in package
