"""The sides of the benchmark as processes that are asked in turns, and how what they say becomes a table."""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from peers import PEERS

WORKER = Path(__file__).with_name("bench_worker.py")
OURS = "bertscript"
# Seconds until a side that says nothing has failed.
PATIENCE = 1800


class Failed(Exception):
    """What a side died of, in a line."""


class Side:
    """Ours or a peer, in one dtype; started and stopped as needed. `failure` says why it takes no further part."""

    def __init__(self, name, dtype, settings):
        self.name, self.dtype, self.settings = name, dtype, settings
        self.peer = PEERS.get(name)
        self.variant, self.batch, self.failure, self.process = "", None, None, None
        self.tried, self.left_out = {}, {}
        self.load = self.peak = self.quality = None
        self.rounds = []

    def __str__(self):
        return f"{self.name}{f', {self.variant}' if self.variant else ''}"

    def spec(self):
        return {**self.settings, "name": self.name, "dtype": self.dtype, "variant": self.variant}

    def command(self, what):
        if self.peer is None:
            limit = self.settings["limit"]
            return [self.settings["side"], self.settings["archive"], self.dtype, self.settings["threads"], limit]
        return [sys.executable, "-W", "ignore", WORKER, what, json.dumps(self.spec())]

    def launch(self, what, **options):
        with open(self.log, "w") as log:
            command = map(str, self.command(what))
            return subprocess.Popen(
                [*command], env=environment(self.settings), stderr=log, text=True, preexec_fn=die_with_parent, **options
            )

    @property
    def log(self):
        return Path(self.settings["folder"], f"{self.name}-{self.dtype}.log")

    def prepare(self):
        if self.peer is None:
            return
        self.process = self.launch("prepare")
        if self.process.wait() != 0:
            raise Failed(self.last_words())
        self.process = None

    def start(self):
        self.process = self.launch("serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.load = self.answer()["ready"]

    def ask(self, kind, **request):
        """One answer. Between answers the process is frozen: no thread of it may spin on another's time."""
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps({"kind": kind, **request}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.answer()

    def answer(self):
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise Failed(f"no answer in {PATIENCE} s")
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise Failed(self.last_words())
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def last_words(self):
        code = self.process.returncode
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines and code > 0 else f"exit code {code}"

    def peak_megabytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            for stream in filter(None, [self.process.stdin, self.process.stdout]):
                stream.close()
            self.process = None


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: one that is frozen would stay


def environment(settings):
    threads = str(settings["threads"])
    names = ["OMP", "MKL", "OPENBLAS", "RAYON"]
    return {
        **os.environ,
        **{f"{name}_NUM_THREADS": threads for name in names},
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TOKENIZERS_PARALLELISM": "true",
        "TORCHINDUCTOR_CACHE_DIR": str(Path(settings["folder"], "inductor")),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }


def attempt(side, work):
    """Does something with a side unless it has failed; a failure is noted, and the others go on."""
    if side.failure:
        return None
    try:
        return work(side)
    except Failed as error:
        side.failure = str(error)
    except Exception as error:
        side.failure = f"{type(error).__name__}: {error}"
    print(f"{side} ({side.dtype}) failed: {side.failure}", file=sys.stderr, flush=True)
    side.stop()
    return None
