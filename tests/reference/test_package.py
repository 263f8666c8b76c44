"""The installed tree, as a stranger finds it: moved, with a blank in its path, and nothing set in the environment."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from live import cli

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests/fixtures/text/sentence"
CMAKE = Path(sys.executable).with_name("cmake")
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


def run(*command):
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)


def ok(*command):
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(*arguments):
    subprocess.run(["cargo", "xtask", "install", "--debug", *map(str, arguments)], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    built = tmp_path_factory.mktemp("built") / "prefix"
    install("--prefix", built)
    return shutil.move(built, tmp_path_factory.mktemp("moved") / "a prefix")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("file") / "sentence.pt"
    cli("export", FIXTURE, "-o", file)
    return file


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


def test_cmake_finds_builds_and_runs(tmp_path, prefix, file):
    done, build = find(tmp_path, prefix, components="COMPONENTS cxx")
    assert done.returncode == 0, done.stderr
    builds_and_runs(build, file)


WRONG = [
    dict(version="0.2"),
    dict(version="99"),
    dict(version="0.0.1...0.0.9"),
    dict(version="0.0.1...<0.1.0"),
    dict(version="0.2...1"),
    dict(components="COMPONENTS torch"),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_cmake_refuses_what_is_not_there(tmp_path, prefix, wrong):
    done, _ = find(tmp_path, prefix, **wrong)
    assert done.returncode != 0
    assert "bertscript" in done.stderr


RIGHT = [
    dict(version="0.1...0.9"),
    dict(version="0.0.1...<1"),
    dict(components="COMPONENTS c"),
    dict(components="COMPONENTS cxx c"),
    dict(components="OPTIONAL_COMPONENTS torch"),
]


@pytest.mark.parametrize("right", RIGHT)
def test_cmake_takes_ranges_and_components(tmp_path, prefix, right):
    done, _ = find(tmp_path, prefix, **right)
    assert done.returncode == 0, done.stderr


def test_a_project_may_ask_for_it_more_than_once(tmp_path, prefix):
    sources = [f'add_subdirectory("{ROOT}/cmake" from-{place})' for place in ("here", "there")]
    package = f'find_package(bertscript REQUIRED PATHS "{prefix}" NO_DEFAULT_PATH)'
    for number, how in enumerate([sources, [package, *sources], [sources[0], package, sources[1]]]):
        folder = tmp_path / str(number)
        folder.mkdir()
        done, _ = configure(folder, "\n".join(how), ROOT / "examples-c/embed.c")
        assert done.returncode == 0, done.stderr


def test_a_tree_of_a_packager_is_found_where_it_ends_up(tmp_path, file):
    install("--prefix", "/opt/somewhere", "--destdir", tmp_path / "staged", "--libdir", "lib/x86_64-linux-gnu")
    tree = shutil.move(tmp_path / "staged/opt/somewhere", tmp_path / "unpacked")
    done, build = find(tmp_path, tree, lib="lib/x86_64-linux-gnu")
    assert done.returncode == 0, done.stderr
    builds_and_runs(build, file)
    assert not (tree / "lib/libbertscript.so").exists()
    for wrong in ("/absolute", "../beside"):
        with pytest.raises(subprocess.CalledProcessError):
            install("--prefix", tmp_path / "wrong", "--libdir", wrong)


def test_a_project_builds_it_from_its_sources(tmp_path, file):
    how = f'set(CMAKE_BUILD_TYPE Debug)\nadd_subdirectory("{ROOT}/cmake" bertscript)'
    done, build = configure(tmp_path, how, ROOT / "examples-c/embed.c")
    assert done.returncode == 0, done.stderr
    builds_and_runs(build, file)


def test_pkg_config_is_enough(tmp_path, prefix, file):
    os.environ["PKG_CONFIG_PATH"] = str(prefix / "lib/pkgconfig")
    try:
        asked = ["pkg-config", "--cflags", "--libs", "bertscript"]
        flags = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        torch = ["pkg-config", "--variable=torch_version", "bertscript"]
        assert subprocess.run(torch, capture_output=True, text=True, check=True).stdout.strip() == "2.11.0"
    finally:
        del os.environ["PKG_CONFIG_PATH"]
    example = prefix / "share/doc/bertscript/examples/embed.c"
    ok("cc", example, *shlex.split(flags), f"-Wl,-rpath,{prefix}/lib", "-o", tmp_path / "embed")
    assert ok(tmp_path / "embed", file, "the cat sat").startswith(" 1.000")


def names_what_is_inside(bill):
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    found = {(component["name"], component["version"]) for component in bill["components"]}
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    assert found - {(package["name"], package["version"]) for package in locked} == {("libtorch", "2.11.0")}
    names = {name for name, _ in found}
    for crate in ("bertscript", "bertscript-ffi", "kernels", "torchscript", "libbertscript"):
        manifest = tomllib.loads((ROOT / "crates" / crate / "Cargo.toml").read_text())
        assert names >= manifest.get("dependencies", {}).keys(), crate
    # What runs in the compiler is not inside.
    assert not names & {"cc", "serde_derive", "criterion", "clap"}
    refs = {component["bom-ref"] for component in bill["components"]}
    assert refs == {ref for edge in bill["dependencies"] for ref in edge["dependsOn"]}


def test_the_release_names_nothing_of_the_machine_that_made_it(tmp_path):
    # Where libtorch will be, seen from the library.
    rpath = "$ORIGIN/../../torch/lib"
    made = ["cargo", "xtask", "dist", "--debug", "--output", tmp_path, "--torch-rpath", rpath]
    subprocess.run(list(map(str, made)), cwd=ROOT, check=True)
    (archive,) = tmp_path.glob("bertscript-0.1.0-*.tar.gz")
    first = archive.read_bytes()
    ok("sh", "-c", f"cd '{tmp_path}' && sha256sum -c {archive.name}.sha256")
    ok("tar", "-xf", archive, "-C", tmp_path)
    tree = tmp_path / archive.name.removesuffix(".tar.gz")
    names_what_is_inside(json.loads((tree / "share/doc/bertscript/bertscript.cdx.json").read_text()))
    dynamic = ok("readelf", "-d", tree / "lib/libbertscript.so")
    assert f"[$ORIGIN:{rpath}]" in dynamic and str(ROOT) not in dynamic
    subprocess.run(list(map(str, made)), cwd=ROOT, check=True)
    assert archive.read_bytes() == first
    # What is built next is for this machine again.
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--package", "libbertscript"], cwd=ROOT, check=True)
    assert rpath not in ok("readelf", "-d", ROOT / "target/debug/libbertscript.so")


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
