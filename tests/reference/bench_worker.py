"""One peer of the benchmark in a process of its own: `bench_worker.py prepare|serve SPEC`, SPEC in JSON.

It loads its model once, says so, and answers a request a line. `throughput.rs` is asked in the same words.

    {"kind": "embed", "texts": FILE, "count": N, "batch": B}   {"seconds": all of it, "tokenizing": that part or null}
    {"kind": "save", "file": FILE.npy}                         {}, once the embeddings found last are there
    {"kind": "latency", "ids": [..], "calls": N}               {"milliseconds": [..]}
    {"kind": "reference", "texts": FILE, "count": N, "most": M, "file": FILE.npy}   {"lengths": [..]}
"""

import json
import os
import sys
import time

import numpy

from bench_rows import Rows, read
from peers import PEERS


class Worker:
    def __init__(self, spec):
        self.peer = PEERS[spec["name"]](spec)
        self.rows = Rows(spec)

    def embed(self, request):
        texts = read(request["texts"], request["count"])
        start = time.perf_counter()
        if hasattr(self.peer, "encode"):
            self.found = self.peer.encode(texts, request["batch"])
            return {"seconds": time.perf_counter() - start, "tokenizing": None}
        rows = self.rows.of(texts)
        tokenized = time.perf_counter()
        # The longest first: rows of a batch are of about one length.
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        cuts = range(0, len(order), request["batch"])
        batches = (self.padded([rows[row] for row in order[at : at + request["batch"]]]) for at in cuts)
        pooled = numpy.concatenate(self.peer.embed(batches))
        self.found = numpy.empty_like(pooled)
        self.found[order] = pooled / numpy.linalg.norm(pooled, axis=1, keepdims=True)
        return {"seconds": time.perf_counter() - start, "tokenizing": tokenized - start}

    def padded(self, rows):
        return self.rows.padded(rows, self.peer.length)

    def save(self, request):
        numpy.save(request["file"], self.found)
        return {}

    def latency(self, request):
        ids, mask = self.padded([request["ids"]])
        times = []
        for _ in range(request["calls"]):
            start = time.perf_counter()
            self.peer.hidden(ids, mask)
            times.append((time.perf_counter() - start) * 1e3)
        return {"milliseconds": times}

    def reference(self, request):
        """Every text's length, and the embeddings of the first few, each run by itself."""
        rows = self.rows.of(read(request["texts"], request["count"]))
        pooled = numpy.concatenate(self.peer.embed(self.padded([row]) for row in rows[: request["most"]]))
        numpy.save(request["file"], pooled / numpy.linalg.norm(pooled, axis=1, keepdims=True))
        return {"lengths": list(map(len, rows))}


def serve(spec, answer):
    start = time.perf_counter()
    worker = Worker(spec)
    answer({"ready": time.perf_counter() - start})
    for line in sys.stdin:
        request = json.loads(line)
        answer(getattr(worker, request["kind"])(request))


def main():
    what, spec = sys.argv[1], json.loads(sys.argv[2])
    # Libraries print what they like; answers go where nothing else does.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(found):
        print(json.dumps(found), file=answers, flush=True)

    try:
        if what == "prepare":
            PEERS[spec["name"]].prepare(spec)
        else:
            serve(spec, answer)
    except Exception as error:
        # The last line says what it was.
        import traceback

        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        sys.exit(f"{type(error).__name__}: {lines[0]}")


if __name__ == "__main__":
    main()
