"""Embedding texts on the CPU, side by side: bertscript and its peers, on the same real texts.

    python bench_peers.py --side target/release/examples/throughput --checkpoint DIR
    python bench_peers.py --side .. --checkpoint DIR --latency 16,64,128,384

Every side is a process of its own, which loads its model once. Sides take turns, so that a slow moment of the machine
meets all; one runs at a time, and the others are frozen. All cut texts at the same length, pool by the mean of the
tokens and normalise. Peers get texts sorted by length, and the batch size that was best on a sample; bertscript cuts
batches as it does by itself. Beside every speed stands the minimum cosine to what transformers computes in float32, one
text at a time. A peer that fills all texts up to one length gets few of them, as each costs the same. A side that fails
is a row with its reason.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import bench_report
import bench_texts
from bench_sides import OURS, Side, attempt
from bench_work import Latency, Throughput
from peers import PEERS

NAMES = [OURS, *PEERS]
# Texts that a measurement of latency looks at, for accuracy alone.
FEW = 64

RANDOM_BASE = """
import sys, torch
from transformers import BertConfig, BertModel
torch.manual_seed(0)
BertModel(BertConfig()).save_pretrained(sys.argv[1])
"""


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=Path, required=True, help="the example `throughput`, built for release")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a BERT directory with tokenizer.json")
    parser.add_argument("--random-base", action="store_true", help="a bert-base of random weights, with its tokenizer")
    parser.add_argument("--archive", type=Path, help="the exported checkpoint; exported if not given")
    parser.add_argument("--texts", type=Path, default=Path("target/texts.txt"), help="one a line; fetched if not there")
    parser.add_argument("--count", type=int, default=1000)
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


def random_base(tokenizer, folder, limit):
    subprocess.run([sys.executable, "-W", "ignore", "-c", RANDOM_BASE, folder], check=True)
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"]:
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, folder)
    # It is where bertscript learns how much of a text to read.
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit, "do_lower_case": False}))
    return folder


def prepare(arguments, folder):
    """What all sides are told."""
    checkpoint, archive = arguments.checkpoint, arguments.archive
    if arguments.random_base:
        checkpoint, archive = random_base(checkpoint, folder / "base", arguments.limit), None
    if archive is None:
        archive = folder / "ours.pt"
        subprocess.run([arguments.side, "--export", checkpoint, archive], check=True)
    paths = dict(side=arguments.side, checkpoint=checkpoint, archive=archive, folder=folder)
    numbers = dict(threads=arguments.threads, limit=arguments.limit)
    return {name: str(path.resolve()) for name, path in paths.items()} | numbers


def work(arguments, settings):
    if not arguments.texts.exists():
        bench_texts.fetch(arguments.texts)
    # Not splitlines: it breaks at U+2028 too.
    texts = arguments.texts.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if arguments.latency is None:
        return Throughput(texts[: arguments.count], settings, arguments.rounds)
    vocabulary = json.loads(Path(settings["checkpoint"], "config.json").read_text())["vocab_size"]
    lengths = [int(length) for length in arguments.latency.split(",")]
    return Latency(texts[:FEW], settings, arguments.rounds, lengths, vocabulary)


def takes_part(name, dtype, latency):
    if name == OURS:
        return True
    return dtype in PEERS[name].dtypes and (PEERS[name].latency or not latency)


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
    with tempfile.TemporaryDirectory() as folder:
        settings = prepare(arguments, Path(folder))
        asked = work(arguments, settings)
        pairs = [(name, dtype) for dtype in arguments.dtypes for name in arguments.only]
        sides = [Side(*pair, settings) for pair in pairs if takes_part(*pair, arguments.latency)]
        run(sides, asked, arguments.rounds)
        machine = bench_report.machine(settings)
    bench_report.title(machine)
    table = bench_report.latency if arguments.latency else bench_report.throughput
    table(sides, asked)
    bench_report.summary(sides)
    if arguments.json:
        bench_report.write(arguments.json, bench_report.everything(sides, asked, machine))


if __name__ == "__main__":
    main()
