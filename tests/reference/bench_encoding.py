"""Encoding beside Python: the same texts, the same tokenizer, both sides in turns.

`cargo xtask bench` runs it. Each figure is the median of the rounds, in texts per second, with the same limit of 256 tokens.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from transformers import BertTokenizer

from texts import corpus

ROUNDS = 5


def main():
    encode, directory = sys.argv[1:]
    texts = corpus(20_000, longest=120)
    tokenizer = BertTokenizer.from_pretrained(directory)
    backend = tokenizer.backend_tokenizer
    options = dict(truncation="longest_first", max_length=256)
    sides = {
        "bertscript, ids": lambda: ours("ids"),
        "bertscript, ids, tokens, offsets, words": lambda: ours("all"),
        "tokenizers (Python), encode_batch_fast": lambda: timed(lambda: backend.encode_batch_fast(texts)),
        "tokenizers (Python), encode_batch": lambda: timed(lambda: backend.encode_batch(texts)),
        "transformers, __call__": lambda: timed(lambda: tokenizer(texts, **options)),
    }

    def timed(work):
        start = time.perf_counter()
        work()
        return len(texts) / (time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts"
        file.write_text("".join(f"{text}\n" for text in texts))

        def ours(what):
            done = subprocess.run([encode, directory, file, what], capture_output=True, text=True, check=True)
            return float(done.stdout)

        tokenizer(texts[:10], **options)  # sets the backend's truncation
        figures = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, side in sides.items():
                figures[name].append(side())
    first = statistics.median(figures["bertscript, ids"])
    print("| encoding of 20,000 texts | texts per second, median (spread) | against bertscript, ids |")
    print("|---|---|---|")
    for name, speeds in figures.items():
        median = statistics.median(speeds)
        print(f"| {name} | {median:.0f} ({min(speeds):.0f} to {max(speeds):.0f}) | {median / first:.2f} x |")


if __name__ == "__main__":
    main()
