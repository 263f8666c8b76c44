"""Real short texts for the benchmark: the jokes, quotes and notes of Debian's package `fortunes`.

    python bench_texts.py FILE

One text a line, white space made single, overstruck characters taken out, no text twice. They are ordered by a
hash: the first few are as fair a sample as all.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OVERSTRUCK = re.compile("_+\b+|.\b")


def fetch(file):
    """Writes the texts. The package is downloaded and unpacked, not installed."""
    for program in ["apt-get", "dpkg-deb"]:
        if not shutil.which(program):
            sys.exit(f"{program} was not found; give texts of your own, one a line, with --texts")
    with tempfile.TemporaryDirectory() as folder:
        run("apt-get", "download", "fortunes", cwd=folder)
        (package,) = Path(folder).glob("fortunes_*.deb")
        run("dpkg-deb", "-x", package, folder)
        texts = paragraphs(Path(folder, "usr/share/games/fortunes"))
    texts = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def paragraphs(folder):
    # Beside each file stand its index and a link to it.
    files = [path for path in folder.iterdir() if path.suffix == "" and not path.is_symlink()]
    found = {" ".join(OVERSTRUCK.sub("", text).split()) for path in files for text in cookies(path)}
    return found - {""}


def cookies(path):
    return re.split("^%$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        sys.exit(f"{command[0]}: {lines[-1]}")


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
