"""How fast texts are embedded on a CUDA device, beside PyTorch in the same process order, in turns.

A BERT-base of random weights, real texts, tokenization included on both sides, each peer at its best batch size:
transformers (SDPA, padded), torch.compile with CUDA graphs, and torch.jit.trace. It needs torch and transformers, and the
folder that `cargo xtask gpu-check` makes.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
LIMIT = 256
LATENCIES = (16, 64, 128)
CALLS = 100


class Ours:
    """The `throughput` program, asked by lines of JSON."""

    batches = (0,)

    def __init__(self, program, file, dtype, device):
        command = [program, file, dtype, "2", str(LIMIT), device]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the program ended; its message is above")
        return json.loads(line)

    def ask(self, **question):
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return self.answer()

    def embed(self, texts, batch, folder):
        seconds = self.ask(kind="embed", texts=str(folder / "texts.txt"), count=len(texts))["seconds"]
        self.ask(kind="save", file=str(folder / "ours.npy"))
        return seconds, numpy.load(folder / "ours.npy")

    def latency(self, ids):
        return statistics.median(self.ask(kind="latency", ids=ids, calls=CALLS)["milliseconds"])


class Transformers:
    """Texts sorted by length, padded to the longest of a batch."""

    batches = (32, 64, 128, 256)

    def __init__(self, model, tokenizer, device):
        self.model, self.tokenizer, self.device = self.prepare(model), tokenizer, device

    def prepare(self, model):
        return model

    def width(self, longest):
        return longest

    def embed(self, texts, batch, folder):
        started = time.perf_counter()
        encoded = self.tokenizer(texts, truncation=True, max_length=LIMIT)["input_ids"]
        order = sorted(range(len(texts)), key=lambda text: -len(encoded[text]))
        found, places = [], []
        with torch.inference_mode():
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                width = self.width(len(encoded[rows[0]]))
                ids = torch.zeros(len(rows), width, dtype=torch.long)
                mask = torch.zeros(len(rows), width, dtype=torch.long)
                for row, text in enumerate(rows):
                    ids[row, : len(encoded[text])] = torch.tensor(encoded[text])
                    mask[row, : len(encoded[text])] = 1
                mask = mask.to(self.device)
                hidden = self.model(ids.to(self.device), mask)[0].float()
                weights = mask.float()
                mean = (weights[:, None] @ hidden)[:, 0] / weights.sum(1, keepdim=True)
                found.append(torch.nn.functional.normalize(mean))
                places.extend(rows)
            found = torch.cat(found).cpu().numpy()
        embeddings = numpy.empty_like(found)
        embeddings[places] = found
        return time.perf_counter() - started, embeddings

    def latency(self, ids):
        times = []
        with torch.inference_mode():
            for _ in range(CALLS):
                started = time.perf_counter()
                row = torch.tensor([ids]).to(self.device)
                self.model(row, torch.ones_like(row))[0].float().cpu().numpy()
                times.append((time.perf_counter() - started) * 1e3)
        return statistics.median(times)


class Compiled(Transformers):
    """torch.compile with CUDA graphs; lengths are rounded up, since each shape is compiled."""

    def prepare(self, model):
        return torch.compile(model, mode="reduce-overhead")

    def width(self, longest):
        return min(LIMIT, -(-longest // 64) * 64)


class Traced(Transformers):
    """torch.jit.trace."""

    def prepare(self, model):
        ids = torch.ones(2, 16, dtype=torch.long, device=model.device)
        with torch.no_grad():
            return torch.jit.freeze(torch.jit.trace(model, (ids, torch.ones_like(ids)), check_trace=False).eval())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of `cargo xtask gpu-check`")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--dtype", default="f16", choices=DTYPES)
    parser.add_argument("--texts", type=Path, help="one a line; otherwise those in the folder")
    parser.add_argument("--count", type=int, default=4000, help="texts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=12)
    arguments = parser.parse_args()
    bin = arguments.folder / "bin"
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, bin, Path(folder))


def measure(arguments, bin, folder):
    torch.manual_seed(0)
    vocab = arguments.folder / "data/vocab.txt"
    checkpoint = folder / "bert"
    config = BertConfig(num_hidden_layers=arguments.layers, initializer_range=0.05)
    BertModel(config).save_pretrained(checkpoint)
    BertTokenizerFast(vocab=str(vocab), model_max_length=LIMIT).save_pretrained(checkpoint)
    file = folder / "bert.pt"
    subprocess.run([bin / "bertscript", "export", checkpoint, "-o", file], check=True, stdout=subprocess.DEVNULL)
    texts = (arguments.texts or arguments.folder / "data/texts.txt").read_text().splitlines()[: arguments.count]
    (folder / "texts.txt").write_text("\n".join(texts) + "\n")

    options = dict(return_dict=False, add_pooling_layer=False, attn_implementation="sdpa")
    dtype = DTYPES[arguments.dtype]
    model = lambda kind: BertModel.from_pretrained(checkpoint, dtype=kind, **options).eval().to(arguments.device)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    few = texts[:: max(1, len(texts) // 200)]
    exact = Transformers(model(torch.float32), tokenizer, arguments.device).embed(few, 16, folder)[1]
    sides = {"bertscript": Ours(bin / "throughput", file, arguments.dtype, arguments.device)}
    for name, kind in [("transformers", Transformers), ("torch.compile", Compiled), ("torch.jit.trace", Traced)]:
        sides[name] = kind(model(dtype), tokenizer, arguments.device)

    best, times, cosine = {}, {name: [] for name in sides}, {}
    for name, side in sides.items():
        # Each batch size twice: what is compiled at first is not what is measured.
        tried = {size: [side.embed(texts, size, folder)[0] for _ in range(2)][1] for size in side.batches}
        best[name] = min(tried, key=tried.get)
        found = side.embed(texts, best[name], folder)[1][:: max(1, len(texts) // 200)]
        cosine[name] = float((found * exact).sum(1).min())
    for _ in range(arguments.rounds):
        for name, side in sides.items():
            times[name].append(side.embed(texts, best[name], folder)[0])
    latency = {name: [side.latency(list(range(1000, 1000 + length))) for length in LATENCIES] for name, side in sides.items()}

    name = torch.cuda.get_device_name(arguments.device) if arguments.device.startswith("cuda") else "the CPU"
    print(f"{name}, torch {torch.__version__}, {len(texts)} texts, {arguments.dtype}, {arguments.layers} layers, medians of {arguments.rounds}")
    print("| | texts/s | ours / it | minimum cosine | " + " | ".join(f"{length} tokens, ms" for length in LATENCIES) + " |")
    print("|---|---|---|---|" + "---|" * len(LATENCIES))
    ours = statistics.median(times["bertscript"])
    for side in sides:
        seconds = statistics.median(times[side])
        lines = [f"{len(texts) / seconds:.0f}", f"{seconds / ours:.2f}", f"{cosine[side]:.6f}"]
        print(f"| {side} | " + " | ".join(lines + [f"{value:.2f}" for value in latency[side]]) + " |")


if __name__ == "__main__":
    main()
