"""The Debian package, unpacked somewhere, and programs that are built against it."""

import platform
import re
import shlex

import pytest

from installed import ROOT, builds_and_runs, find, needed_glibc, ok, run, runs_without_libtorch

TRIPLET = f"{platform.machine()}-linux-gnu"


@pytest.fixture(scope="module")
def deb(release):
    (deb,) = release.glob("bertscript_0.1.0_*.deb")
    return deb


@pytest.fixture(scope="module")
def tree(deb, tmp_path_factory):
    tree = tmp_path_factory.mktemp("deb") / "root"
    ok("dpkg-deb", "--raw-extract", deb, tree)
    return tree


def test_its_fields_are_true(deb, tree):
    def field(name):
        return ok("dpkg-deb", "--field", deb, name).strip()

    architecture = ok("dpkg", "--print-architecture").strip()
    assert deb.name == f"bertscript_0.1.0_{architecture}.deb"
    assert [field(name) for name in ("Package", "Version", "Architecture")] == ["bertscript", "0.1.0", architecture]
    files = [path for path in (tree / "usr").rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files) / 1024
    assert size <= int(field("Installed-Size")) <= size + len(files)
    library, command = tree / f"usr/lib/{TRIPLET}/libbertscript.so.0.1.0", tree / "usr/bin/bertscript"
    glibc = re.match(r"libc6 \(>= 2\.(\d+)\), libgcc-s1 ", field("Depends"))
    assert int(glibc[1]) == max(17, needed_glibc(library, command))
    assert "torch" not in field("Depends")
    assert (tree / "DEBIAN/triggers").read_text() == "activate-noawait ldconfig\n"
    assert (tree / "DEBIAN/shlibs").read_text() == "libbertscript 0.1 bertscript (>= 0.1.0)\n"
    sums = (tree / "DEBIAN/md5sums").read_text().splitlines()
    assert {tree / line[34:] for line in sums} == set(files)
    ok("sh", "-c", f"cd '{tree}' && md5sum --check --strict DEBIAN/md5sums")


def test_its_files_have_owners_modes_and_one_date(deb):
    for line in ok("dpkg-deb", "--contents", deb, TZ="UTC").splitlines():
        mode, owner, _, date, time, name = line.split(maxsplit=5)
        assert (owner, date, time) == ("root/root", "2000-01-01", "00:00"), line
        expected = {"d": "drwxr-xr-x", "l": "lrwxrwxrwx"}.get(mode[0], "-rw-r--r--")
        assert mode == ("-rwxr-xr-x" if name == "./usr/bin/bertscript" else expected), line


def test_the_command_runs(tree, file, tmp_path):
    command, texts = tree / "usr/bin/bertscript", tmp_path / "texts.txt"
    texts.write_text("the cat sat\n")
    assert ok(command, "--version").split() == ["bertscript", "0.1.0"]
    loaded = run(command, "embed", file, "--input", texts, LD_DEBUG="files")
    assert loaded.returncode == 0 and "libgcc_s" in loaded.stderr and "/libtorch" not in loaded.stderr
    page = ok("sh", "-c", f"gzip -dc '{tree}/usr/share/man/man1/bertscript-embed.1.gz'")
    assert ".TH" in page
    for place in ("bash-completion/completions/bertscript", "doc/bertscript/copyright"):
        assert (tree / "usr/share" / place).is_file()


def test_programs_are_built_against_it(tree, file, tmp_path):
    lib = tree / "usr/lib" / TRIPLET
    flags = ok("pkg-config", "--cflags", "--libs", "bertscript", PKG_CONFIG_LIBDIR=lib / "pkgconfig")
    program = tmp_path / "program"
    ok("cc", ROOT / "tests/c/alone.c", *shlex.split(flags), f"-Wl,-rpath,{lib}", "-o", program)
    runs_without_libtorch(program, file)
    done, build = find(tmp_path, tree / "usr", components="COMPONENTS cxx", lib=f"lib/{TRIPLET}")
    assert done.returncode == 0, done.stderr
    builds_and_runs(build, file)
