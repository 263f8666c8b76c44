"""Embedding texts on the CPU, side by side: bertscript and its peers, on the same real texts.

    python bench_peers.py --side target/release/examples/throughput --checkpoint DIR
    python bench_peers.py --side .. --checkpoint DIR --latency 16,64,128,384

Every side is a process of its own, which loads its model once. Sides take turns, so that a slow moment of the machine
meets all; one runs at a time, and the others are frozen. All cut texts at the same length, pool by the mean of the
tokens and normalise. Peers get texts sorted by length, and the batch size that was best on a sample; bertscript cuts
batches as it does by itself. Beside every speed stands the minimum cosine to what transformers computes in float32, one
text at a time, and in a table of its own what bfloat16 and int8 cost: median cosine and neighbours kept. Peers that
calibrate do so with texts that follow those of the measurement in the file. A peer that fills all texts up to one
length gets few of them, as each costs the same. A side that fails is a row with its reason. With `--random` the model
has the shape of a published one, and random weights.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import bench_models
import bench_report
import bench_texts
from bench_rows import read, write
from bench_sides import OURS, Side, attempt
from bench_work import Latency, Throughput
from peers import PEERS

NAMES = [OURS, *PEERS]
# Texts that a measurement of latency looks at, for accuracy alone.
FEW = 64
# Texts after those, with which peers may calibrate: as many as NNCF asks for.
CALIBRATION = 300


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=Path, required=True, help="the example `throughput`, built for release")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a BERT directory with tokenizer.json")
    parser.add_argument("--random", choices=bench_models.MODELS, help="a model with random weights, made from its vocabulary")
    parser.add_argument("--archive", type=Path, help="the exported checkpoint; exported if not given")
    parser.add_argument("--texts", type=Path, default=Path("target/texts.txt"), help="one a line; fetched if not there")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--join", type=int, default=1, metavar="N", help="make each text of N texts of the file")
    parser.add_argument("--limit", type=int, default=256, help="how many tokens of a text are read")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtypes", default=",".join(bench_report.DTYPES))
    parser.add_argument("--only", default=",".join(NAMES), help=f"some of {','.join(NAMES)}")
    parser.add_argument("--latency", metavar="LENGTHS", help="one text of each length a call, instead of all texts")
    parser.add_argument("--json", type=Path, help="where every figure goes")
    arguments = parser.parse_args()
    for option, known in [("dtypes", bench_report.DTYPES), ("only", NAMES)]:
        chosen = getattr(arguments, option).split(",")
        if not {*chosen} <= {*known}:
            parser.error(f"--{option}: found {','.join(chosen)}, expected some of {','.join(known)}")
        setattr(arguments, option, chosen)
    return arguments


def prepare(arguments, folder):
    """What all sides are told."""
    checkpoint, archive = arguments.checkpoint, arguments.archive
    if arguments.random:
        checkpoint, archive = folder / arguments.random, None
        made_of = [arguments.checkpoint, arguments.texts, checkpoint, arguments.limit]
        command = [sys.executable, "-W", "ignore", bench_models.__file__, arguments.random, *map(str, made_of)]
        subprocess.run(command, check=True)
    if archive is None:
        archive = folder / "ours.pt"
        subprocess.run([arguments.side, "--export", checkpoint, archive], check=True)
    calibration = folder / "calibration.txt"
    paths = dict(side=arguments.side, checkpoint=checkpoint, archive=archive, folder=folder, calibration=calibration)
    others = dict(threads=arguments.threads, limit=arguments.limit, model=described(arguments))
    return {name: str(path.resolve()) for name, path in paths.items()} | others


def described(arguments):
    return f"{arguments.random} with random weights" if arguments.random else str(arguments.checkpoint)


def work(arguments, settings):
    lines = read(arguments.texts)
    texts = [" ".join(lines[at : at + arguments.join]) for at in range(0, len(lines), arguments.join)]
    count = FEW if arguments.latency else arguments.count
    write(settings["calibration"], texts[count:][:CALIBRATION])
    if arguments.latency is None:
        return Throughput(texts[:count], settings, arguments.rounds)
    vocabulary = json.loads(Path(settings["checkpoint"], "config.json").read_text())["vocab_size"]
    lengths = [int(length) for length in arguments.latency.split(",")]
    return Latency(texts[:count], settings, arguments.rounds, lengths, vocabulary)


def takes_part(name, dtype, arguments):
    if name == OURS:
        return True
    peer = PEERS[name]
    takes_texts = peer.length is None or peer.length >= arguments.limit
    return dtype in peer.dtypes and takes_texts and (peer.latency or not arguments.latency)


def run(sides, work, rounds):
    for side in sides:
        attempt(side, Side.prepare)
        attempt(side, work.choose)
    for side in sides:
        attempt(side, work.warm_up)
    for _ in range(rounds):
        for side in sides:
            attempt(side, work.round)
    for side in sides:
        attempt(side, work.finish)
        side.stop()


def main():
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and so removes its folder
    if not arguments.texts.exists():
        bench_texts.fetch(arguments.texts)
    with tempfile.TemporaryDirectory() as folder:
        settings = prepare(arguments, Path(folder))
        asked = work(arguments, settings)
        pairs = [(name, dtype) for dtype in arguments.dtypes for name in arguments.only]
        sides = [Side(*pair, settings) for pair in pairs if takes_part(*pair, arguments)]
        run(sides, asked, arguments.rounds)
        machine = bench_report.machine(settings)
    bench_report.title(machine)
    table = bench_report.latency if arguments.latency else bench_report.throughput
    table(sides, asked)
    if not arguments.latency:
        if arguments.random:
            print("\nRandom weights are rounded more kindly than trained ones: no neighbours are compared.")
        else:
            bench_report.quality(sides, asked)
    bench_report.summary(sides)
    if arguments.json:
        bench_report.write(arguments.json, bench_report.everything(sides, asked, machine))


if __name__ == "__main__":
    main()
