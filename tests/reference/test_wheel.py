"""The wheels, in environments that pip fills, with a blank in their path and nothing set in the environment."""

import base64
import hashlib
import shlex
import shutil
import sys
import sysconfig
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest

from installed import CMAKE, FIXTURE, PACKAGE, ROOT, builds_and_runs, configure, needed_glibc, ok, run
from installed import runs_without_libtorch

INFO = "bertscript-0.1.0.dist-info/"
OPTIONS = ("prefix", "includedir", "libdir", "cmakedir", "pkgconfigdir", "library")
CHECK = """\
#include <bertscript/bertscript.h>
int main(void) { return (int)bertscript_runtime_check(NULL); }
"""


def pip(environment, *arguments):
    return ok(sys.executable, "-m", "pip", "--python", environment / "bin/python", *arguments)


def installed(release, environment, *wanted):
    pip(environment, "install", "--quiet", "--no-index", "--find-links", release, *wanted)
    return environment


def empty(folder):
    environment = folder / "an environment"
    ok(sys.executable, "-m", "venv", "--without-pip", environment)
    return environment


def packages(environment):
    return next((environment / "lib").glob("python3*")) / "site-packages"


def with_torch(environment):
    """Shows torch, which pip has installed for this Python, to an environment."""
    theirs = Path(sysconfig.get_path("platlib"))
    (packages(environment) / "theirs.pth").write_text(f"{theirs}\n")
    (packages(environment) / "torch").symlink_to(theirs / "torch")
    return environment


@pytest.fixture(scope="module")
def environment(release, tmp_path_factory):
    return installed(release, empty(tmp_path_factory.mktemp("wheel")), "bertscript")


@pytest.fixture(scope="module")
def paths(environment):
    asked = ok(environment / "bin/python", "-m", "bertscript", *(f"--{option}" for option in OPTIONS))
    return dict(zip(OPTIONS, map(Path, asked.splitlines()), strict=True))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    texts = tmp_path_factory.mktemp("texts") / "texts.txt"
    texts.write_text("the cat sat\nwho was it?\n")
    return texts


def compile(source, program, paths, *options, linker="bfd"):
    lib = paths["libdir"]
    ok("cc", source, f"-I{paths['includedir']}", *options, f"-Wl,-rpath,{lib}", f"-fuse-ld={linker}", "-o", program)
    return program


def test_the_command_is_a_program_of_the_machine(environment, file, texts):
    command = environment / "bin/bertscript"
    assert command.read_bytes()[:4] == b"\x7fELF"
    assert ok(command, "--version").split() == ["bertscript", "0.1.0"]
    assert len(ok(command, "embed", file, "--input", texts).splitlines()) == 2
    loaded = run(command, "embed", file, "--input", texts, LD_DEBUG="files")
    assert loaded.returncode == 0 and "libgcc_s" in loaded.stderr and "/libtorch" not in loaded.stderr
    done = run(command, "export", FIXTURE, "-o", texts.with_name("exported.pt"))
    assert done.returncode == 1 and "requires libtorch: libbertscript_torch.so is not beside" in done.stderr
    assert (environment / "share/man/man1/bertscript-embed.1").is_file()
    assert (environment / "share/bash-completion/completions/bertscript").is_file()


def test_the_package_says_where_the_library_is(environment, paths):
    assert all(path.exists() for path in paths.values())
    assert paths["prefix"] == packages(environment).resolve() / "bertscript"
    python = environment / "bin/python"
    assert ok(python, "-m", "bertscript", "--version").strip() == "0.1.0"
    load = "import bertscript, ctypes; ctypes.CDLL(bertscript.library()).bertscript_abi_version"
    ok(python, "-c", load)
    assert run(python, "-m", "bertscript").returncode == 2
    assert run(python, "-m", "bertscript", "--cmake").returncode == 2


@pytest.mark.parametrize("how", ["bertscript_DIR", "CMAKE_PREFIX_PATH"])
def test_cmake_finds_builds_and_runs(tmp_path, paths, file, how):
    place = paths["cmakedir" if how == "bertscript_DIR" else "prefix"]
    asked = PACKAGE.format(version="0.1", components="COMPONENTS cxx")
    example = paths["prefix"] / "share/doc/bertscript/examples/embed.c"
    done, build = configure(tmp_path, asked, example, f"-D{how}={place}")
    assert done.returncode == 0, done.stderr
    builds_and_runs(build, file)


def test_the_examples_build(tmp_path, paths):
    source = paths["prefix"] / "share/doc/bertscript/examples"
    ok(CMAKE, "-S", source, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={paths['prefix']}")
    ok(CMAKE, "--build", tmp_path)


@pytest.mark.parametrize("linker", ["bfd", "gold", "lld"])
def test_c_programs_link_and_map_no_libtorch(tmp_path, paths, file, linker):
    if shutil.which(f"ld.{linker}") is None:
        pytest.skip(f"ld.{linker} is not installed")
    library = paths["libdir"] / "libbertscript.so"
    for number, how in enumerate([[f"-L{paths['libdir']}", "-lbertscript"], [library]]):
        program = compile(ROOT / "tests/c/alone.c", tmp_path / str(number), paths, *how, linker=linker)
        assert "[libbertscript.so.0.1]" in ok("readelf", "-d", program)
        runs_without_libtorch(program, file)


def test_pkg_config_is_enough(tmp_path, paths, file):
    asked = ["pkg-config", "--cflags", "--libs", "bertscript"]
    flags = ok(*asked, PKG_CONFIG_PATH=paths["pkgconfigdir"])
    # It escapes the blank of the path.
    program = compile(ROOT / "tests/c/alone.c", tmp_path / "program", paths, *shlex.split(flags))
    runs_without_libtorch(program, file)


def test_pip_removes_everything_that_it_installed(release, tmp_path):
    environment = with_torch(empty(tmp_path))

    # pip leaves empty directories behind.
    def files():
        return {path.relative_to(environment) for path in environment.rglob("*") if not path.is_dir()}

    before = files()
    for names in (["bertscript", "bertscript-torch"], ["bertscript-torch", "bertscript"]):
        installed(release, environment, "bertscript[torch]")
        ok(environment / "bin/python", "-c", "import bertscript.__main__")
        assert len(files()) > len(before) + 20
        for name in names:
            pip(environment, "uninstall", "--quiet", "--yes", name)
        assert files() == before
    assert not (packages(environment) / "bertscript").exists()
    installed(release, environment, "bertscript[torch]")
    pip(environment, "uninstall", "--quiet", "--yes", "bertscript-torch")
    assert ok(environment / "bin/bertscript", "--version") and not list(environment.rglob("libbertscript_torch*"))


@pytest.fixture(scope="module")
def complete(release, tmp_path_factory):
    environment = with_torch(empty(tmp_path_factory.mktemp("complete")))
    return installed(release, environment, "bertscript[torch]")


def test_the_extra_brings_what_exports(complete, environment, tmp_path, texts):
    exported = tmp_path / "exported.pt"
    command = complete / "bin/bertscript"
    ok(command, "export", FIXTURE, "-o", exported)
    ok(command, "verify", exported, "--checkpoint", FIXTURE)
    embedding = ok(environment / "bin/bertscript", "embed", exported, "--input", texts)
    assert ok(command, "embed", exported, "--input", texts) == embedding
    loaded = run(command, "export", FIXTURE, "-o", tmp_path / "again.pt", LD_DEBUG="files").stderr
    assert "/bertscript/lib/../../torch/lib/libtorch_cpu.so" in loaded


def test_the_library_finds_the_plug_in(complete, tmp_path):
    (tmp_path / "check.c").write_text(CHECK)
    lib = packages(complete) / "bertscript/lib"
    paths = dict(includedir=lib.parent / "include", libdir=lib)
    program = compile(tmp_path / "check.c", tmp_path / "check", paths, f"-L{lib}", "-lbertscript")
    ok(program)
    (lib / "libbertscript_torch.so").rename(tmp_path / "moved")
    try:
        assert run(program).returncode == 22
    finally:
        (tmp_path / "moved").rename(lib / "libbertscript_torch.so")


def wheels(release):
    runtime, plugin = release.glob("bertscript-*.whl"), release.glob("bertscript_torch-*.whl")
    return next(runtime), next(plugin)


def records(wheel):
    """The lines of its RECORD, checked against the files."""
    with ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names)
        record = next(name for name in names if name.endswith(".dist-info/RECORD"))
        lines = [line.rsplit(",", 2) for line in archive.read(record).decode().splitlines()]
        assert sorted(name for name, _, _ in lines) == sorted(names)
        for name, digest, size in lines:
            content = archive.read(name)
            if name == record:
                assert (digest, size) == ("", "")
                continue
            found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert (digest, size) == (f"sha256={found}", str(len(content))), name
        for info in archive.infolist():
            mode = info.external_attr >> 16
            assert mode & 0o170000 == 0o100000 and info.date_time == (1980, 1, 1, 0, 0, 0), info
            is_program = archive.read(info)[:4] == b"\x7fELF"
            assert mode & 0o777 == (0o755 if is_program else 0o644), info
    return set(names)


def headers(wheel, name):
    with ZipFile(wheel) as archive:
        return HeaderParser().parsestr(archive.read(name).decode())


def test_the_wheels_are_what_the_specification_says(release, environment, complete):
    runtime, plugin = wheels(release)
    names, others = records(runtime), records(plugin)
    assert not names & others and "bertscript/lib/libbertscript_torch.so" in others
    assert {name for name in names if name.startswith("bertscript/lib/libbertscript")} == {
        "bertscript/lib/libbertscript.so",
        "bertscript/lib/libbertscript.so.0.1",
    }
    assert {f"{INFO}{name}" for name in ("licenses/LICENSE-MIT", "sboms/libbertscript.cdx.json")} <= names
    metadata = headers(runtime, f"{INFO}METADATA")
    assert metadata["Version"] == "0.1.0" and metadata["License-Expression"] == "MIT OR Apache-2.0"
    assert metadata["Requires-Dist"] == 'bertscript-torch==0.1.0; extra == "torch"'
    assert metadata.get_payload().startswith("# bertscript")
    metadata = headers(plugin, "bertscript_torch-0.1.0.dist-info/METADATA")
    assert metadata.get_all("Requires-Dist") == ["bertscript==0.1.0", "torch==2.11.0"]
    for wheel, files in [
        (runtime, [environment / "bin/bertscript", packages(environment) / "bertscript/lib/libbertscript.so.0.1"]),
        (plugin, [packages(complete) / "bertscript/lib/libbertscript_torch.so"]),
    ]:
        name, version, tag = wheel.stem.split("-", 2)
        stated = headers(wheel, f"{name}-{version}.dist-info/WHEEL")
        assert (stated["Tag"], stated["Root-Is-Purelib"]) == (tag, "false")
        glibc = int(tag.removeprefix("py3-none-manylinux_2_").split("_")[0])
        assert glibc >= max(17, needed_glibc(*files))
    ok(sys.executable, "-m", "pip", "--python", environment / "bin/python", "check")
