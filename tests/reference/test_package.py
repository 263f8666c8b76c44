"""The installed tree, as a stranger finds it: moved, with a blank in its path, and nothing set in the environment."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from installed import CMAKE, FIXTURE, ROOT, TORCH_RPATH, alone, builds_and_runs, configure, dist, find, install, ok, run


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    built = tmp_path_factory.mktemp("built") / "prefix"
    install("--prefix", built)
    return shutil.move(built, tmp_path_factory.mktemp("moved") / "a prefix")


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
    with alone():
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


def names_what_is_inside(bill, crates, others):
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    found = {(component["name"], component["version"]) for component in bill["components"]}
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    assert found - {(package["name"], package["version"]) for package in locked} == others
    names = {name for name, _ in found}
    for crate in crates:
        manifest = tomllib.loads((ROOT / "crates" / crate / "Cargo.toml").read_text())
        needed = {value.get("package", name) for name, value in manifest.get("dependencies", {}).items()}
        assert names >= needed, crate
    # What runs in the compiler is not inside.
    assert not names & {"cc", "serde_derive", "criterion", "clap"}
    refs = {component["bom-ref"] for component in bill["components"]}
    assert refs == {ref for edge in bill["dependencies"] for ref in edge["dependsOn"]}
    return names


def unpacked(archive, folder):
    ok("sh", "-c", f"cd '{archive.parent}' && sha256sum -c {archive.name}.sha256")
    ok("tar", "-xf", archive, "-C", folder)
    return folder / archive.name.removesuffix(".tar.gz")


def test_the_release_names_nothing_of_the_machine_that_made_it(release, tmp_path, file):
    runtime, plugin = (release / f"bertscript{part}-0.1.0-x86_64-linux.tar.gz" for part in ("", "-torch"))
    tree, torch = (unpacked(archive, tmp_path) for archive in (runtime, plugin))
    bills = "share/doc/bertscript"
    bill = json.loads((tree / bills / "libbertscript.cdx.json").read_text())
    crates = ("bertscript-runtime", "bertscript-ffi", "kernels", "libbertscript")
    assert not names_what_is_inside(bill, crates, set()) & {"tch", "torch-sys", "torchscript"}
    assert "clap" in (tree / bills / "bertscript-cli.cdx.json").read_text()
    bill = json.loads((torch / bills / "libbertscript_torch.cdx.json").read_text())
    crates = ("bertscript", "torchscript", "libbertscript_torch")
    names_what_is_inside(bill, crates, {("libtorch", "2.11.0")})
    for built in ("lib/libbertscript.so", "bin/bertscript"):
        dynamic = ok("readelf", "-d", tree / built)
        assert "RUNPATH" not in dynamic
        needed = set(re.findall(r"NEEDED.*\[(.*)\]", dynamic))
        assert needed <= {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"}
    dynamic = ok("readelf", "-d", torch / "lib/libbertscript_torch.so")
    assert f"[$ORIGIN:{TORCH_RPATH}]" in dynamic and str(ROOT) not in dynamic
    # Without the plug-in, and with it unpacked over the tree.
    command, texts = tree / "bin/bertscript", tmp_path / "texts.txt"
    texts.write_text("the cat sat\n")
    embedding = ok(command, "embed", file, "--input", texts)
    done = run(command, "export", FIXTURE, "-o", tmp_path / "exported.pt")
    assert done.returncode == 1 and "requires libtorch: libbertscript_torch.so is not beside" in done.stderr
    shutil.copy(torch / "lib/libbertscript_torch.so", tree / "lib")
    environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(Path(os.environ["LIBTORCH"]) / "lib")}
    subprocess.run([command, "export", FIXTURE, "-o", tmp_path / "exported.pt"], env=environment, check=True)
    assert ok(command, "embed", tmp_path / "exported.pt", "--input", texts) == embedding
    assert (tree / "share/man/man1/bertscript-embed.1").is_file()
    assert "complete" in (tree / "share/bash-completion/completions/bertscript").read_text()


def test_the_same_sources_give_the_same_release(release, tmp_path):
    def packages(folder):
        return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    first = packages(release)
    kinds = sorted(name.rpartition(".")[2] for name in first)
    assert kinds == ["deb", "gz", "gz"] + 5 * ["sha256"] + ["whl", "whl"]
    for name in first:
        if name.endswith(".sha256"):
            ok("sh", "-c", f"cd '{release}' && sha256sum -c {name}")
    again = packages(dist(tmp_path))
    assert again.keys() == first.keys()
    assert [name for name in first if first[name] != again[name]] == []
    # What is built next is for this machine again.
    with alone():
        build = ["cargo", "build", "--quiet", "--locked", "--package", "libbertscript_torch"]
        subprocess.run(build, cwd=ROOT, check=True)
        assert TORCH_RPATH not in ok("readelf", "-d", ROOT / "target/debug/libbertscript_torch.so")


def test_the_runtime_alone_maps_no_libtorch(tmp_path, file):
    install("--prefix", tmp_path / "prefix", "--without-torch")
    lib = tmp_path / "prefix/lib"
    assert not list(lib.glob("*torch*")) and not list(lib.glob("*cuda*"))
    done, build = find(tmp_path, tmp_path / "prefix")
    assert done.returncode == 0, done.stderr
    builds_and_runs(build, file)
    loaded = ok("sh", "-c", f"LD_DEBUG=files '{build}/embed' '{file}' 'the cat sat' 2>&1")
    assert "libbertscript.so.0.1" in loaded and "/libtorch" not in loaded and "libgomp" not in loaded


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
