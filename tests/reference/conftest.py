"""Fixtures of the live check, and the seed of its random models, so that a failure can be repeated."""

import hashlib
import os

import pytest
import torch
from transformers import BertModel

from installed import FIXTURE, alone, dist
from live import MINILM, cli
from texts import checkpoint

# Two of these run at once, and their models are small.
torch.set_num_threads(1)

SEED = int(os.environ.get("BERTSCRIPT_SEED") or int.from_bytes(os.urandom(4), "big"))
# The processes that share the tests have one.
os.environ["BERTSCRIPT_SEED"] = str(SEED)


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"random models of BERTSCRIPT_SEED={SEED}")


@pytest.fixture(autouse=True)
def reproducible(request):
    torch.manual_seed(SEED ^ (int(hashlib.sha256(request.node.name.encode()).hexdigest(), 16) % 2**32))
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def minilm(tmp_path_factory):
    file = tmp_path_factory.mktemp("minilm") / "minilm.pt"
    cli("export", MINILM, "-o", file)
    return file


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A checkpoint of transformers, without a recipe."""
    torch.manual_seed(SEED)
    return checkpoint(tmp_path_factory.mktemp("plain"), BertModel)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An archive that embeds."""
    file = tmp_path_factory.mktemp("file") / "sentence.pt"
    cli("export", FIXTURE, "-o", file)
    return file


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    """The packages of the release, made once for all processes that share the tests."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with alone(shared / "release.lock"):
        release = shared / "release"
        return release if release.is_dir() else dist(shared / "unfinished").rename(release)
