"""Export and load, side by side with Python, each as a whole process.

`cargo xtask bench` runs it. The two sides take turns, so that a slow moment of the machine meets
both; the figure is the median. Peak memory is what the system counted for the process.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXPORT = """
import sys, torch
from transformers import BertModel
model = BertModel.from_pretrained(sys.argv[1], attn_implementation="sdpa", dtype=torch.float32, return_dict=False).eval()
ids = torch.ones(2, 64, dtype=torch.long)
with torch.no_grad():
    torch.jit.trace(model, (ids, torch.ones_like(ids), torch.zeros_like(ids)), check_trace={check}).save(sys.argv[2])
"""

LOAD = """
import sys, torch
from safetensors.torch import load_file, save_file
program = torch.jit.load(sys.argv[1])
with torch.inference_mode():
    outputs = program(**load_file(sys.argv[2]))
save_file(dict(zip(["last_hidden_state", "pooler_output"], (t.contiguous() for t in outputs))), sys.argv[3])
"""

PREPARE = """
import json, sys, torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel
BertModel(BertConfig(**json.loads(sys.argv[1]))).save_pretrained(sys.argv[2])
ids = torch.arange(16).view(2, 8)
save_file(dict(input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=torch.zeros_like(ids)), sys.argv[3])
"""

SHAPES = {
    "bert-base": {},
    "bert-large": dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096),
}


def measure(command):
    """Seconds and peak megabytes of a process.

    A child is first a copy of its parent, whose memory the system counts too: this process must
    stay small, and so imports nothing large.
    """
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(message.decode())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 100_000
    return time.perf_counter() - start, usage.ru_maxrss / 1000


def side_by_side(title, commands, runs):
    for command in commands.values():
        measure(command)  # warms the page cache, and is not counted
    figures = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            figures[name].append(measure(command))
    medians = {name: tuple(map(statistics.median, zip(*runs))) for name, runs in figures.items()}
    first = next(iter(medians.values()))
    for name, (seconds, megabytes) in medians.items():
        ratio = f"{seconds / first[0]:.1f} x, {megabytes / first[1]:.1f} x"
        spread = [f"{value:.1f}" for value, _ in sorted(figures[name])]
        print(
            f"| {title} | {name} | {seconds:.1f} ({spread[0]} to {spread[-1]}) | {megabytes:.0f} | {ratio} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bertscript")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()

    print("| work | by | seconds, median (spread) | peak MB | against bertscript: time, memory |")
    print("|---|---|---|---|---|")
    for shape, options in SHAPES.items():
        with tempfile.TemporaryDirectory() as directory:
            directory = Path(directory)
            checkpoint, ours, theirs = directory / "checkpoint", directory / "ours.pt", directory / "theirs.pt"
            inputs, outputs = directory / "in.safetensors", directory / "out.safetensors"
            python = [sys.executable, "-W", "ignore", "-c"]
            measure([*python, PREPARE, json.dumps(options), checkpoint, inputs])
            side_by_side(
                f"export {shape}",
                {
                    "bertscript export": [arguments.bertscript, "export", checkpoint, "-o", ours],
                    "Python: from_pretrained, trace, save": [*python, EXPORT.format(check=True), checkpoint, theirs],
                    "the same, unchecked": [*python, EXPORT.format(check=False), checkpoint, theirs],
                },
                arguments.runs,
            )
            side_by_side(
                f"load {shape}, run 2x8",
                {
                    "bertscript run": [arguments.bertscript, "run", ours, "--inputs", inputs, "--outputs", outputs],
                    "Python: torch.jit.load": [*python, LOAD, ours, inputs, outputs],
                },
                arguments.runs,
            )


if __name__ == "__main__":
    main()
