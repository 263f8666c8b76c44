"""What the sides of the benchmark are asked: to embed all texts, or to run one text at a time."""

import math
import statistics

import numpy

from bench_quality import quality
from bench_report import figure
from bench_rows import write
from bench_sides import Failed, Side

BATCHES = [1, 2, 4, 8, 16, 32, 64]
# Texts on which batch sizes are tried, and on which accuracy is measured.
TRIED, MEASURED = 128, 512
# A batch size this much slower than the best ends the search: greater ones are slower still.
WORSE = 1.15
# Of texts that are all filled up to one length, each costs the same: few are enough.
OF_ONE_LENGTH = 32
# Calls for each length, and those before them that do not count.
CALLS, UNCOUNTED = 30, 3


class Work:
    """One kind of question. `choose` finds a side's best settings and starts it with them."""

    def __init__(self, texts, settings, rounds):
        self.folder, self.rounds = settings["folder"], rounds
        self.texts = self.write("texts", texts)
        self.count = len(texts)
        self.reference, self.lengths = self.embed_one_by_one(settings)

    def write(self, name, texts):
        return write(f"{self.folder}/{name}.txt", texts)

    def embed_one_by_one(self, settings):
        side = Side("transformers", "f32", settings)
        side.start()
        file = f"{self.folder}/reference.npy"
        found = side.ask("reference", texts=self.texts, count=self.count, most=MEASURED, file=file)
        side.stop()
        return numpy.load(file), found["lengths"]

    def choose(self, side):
        """Tries every variant in a process of its own: what it leaves behind burdens nobody."""
        for side.variant in side.peer.variants if side.peer else [""]:
            try:
                side.start()
                for batch, seconds in self.trials(side):
                    side.tried[side.variant, batch] = seconds
            except Failed as error:
                side.left_out[side.variant] = str(error)
            finally:
                side.stop()
        if not side.tried:
            raise Failed("; ".join(side.left_out.values()))
        best = {}
        for (variant, batch), spent in side.tried.items():
            if variant not in best or spent < side.tried[variant, best[variant]]:
                best[variant] = batch
        finals = {choice: self.final(side, *choice) for choice in best.items()} if len(best) > 1 else {}
        side.variant, side.batch = min(finals or side.tried, key=(finals or side.tried).get)
        print(f"{side} ({side.dtype}): {self.chosen(side)}", flush=True)
        for variant, reason in side.left_out.items():
            print(f"  {variant} failed: {reason}", flush=True)
        side.start()

    def final(self, side, variant, batch):
        """What a variant costs at its best: one sample is too few to choose between variants."""
        side.variant, side.batch = variant, batch
        side.start()
        spent = self.cost(side)
        side.stop()
        return spent

    def accuracy(self, side):
        """How near the embeddings found last are to the reference."""
        file = f"{self.folder}/found.npy"
        side.ask("save", file=file)
        found = numpy.load(file)[:MEASURED]
        side.quality = quality(found, self.reference[: len(found)])
        if not math.isfinite(side.quality["mean_cosine"]):
            raise Failed("an embedding is not a number")

    def finish(self, side):
        side.peak = side.peak_megabytes()


class Throughput(Work):
    def __init__(self, texts, settings, rounds):
        super().__init__(texts, settings, rounds)
        self.sample = self.write("sample", [texts[row] for row in self.spread()])
        self.sampled = len(self.spread())

    def spread(self):
        """Blocks of neighbours in length: batches of any size are as even in them as in all texts."""
        order = sorted(range(self.count), key=lambda row: -self.lengths[row])
        block = BATCHES[-1]
        blocks = [order[at : at + block] for at in range(0, self.count, block)]
        wanted = min(len(blocks), TRIED // block)
        return [row for at in range(wanted) for row in blocks[(2 * at + 1) * len(blocks) // (2 * wanted)]]

    def trials(self, side):
        if side.peer is None:
            yield None, 0.0
            return
        best = math.inf
        count = min(self.sampled, self.share(side))
        for batch in BATCHES:
            request = dict(texts=self.sample, count=count, batch=batch)
            # The first time has in it what is done once for a shape.
            spent = min(side.ask("embed", **request)["seconds"] for _ in range(2))
            yield batch, spent
            if spent > WORSE * best or batch >= count:
                return
            best = min(best, spent)

    def share(self, side):
        """How many of the texts a side gets."""
        return min(OF_ONE_LENGTH, self.count) if side.peer and side.peer.length else self.count

    def chosen(self, side):
        if side.peer is None:
            return "cuts batches itself"
        count = min(self.sampled, self.share(side))
        tried = ((f"{variant} {batch}".strip(), count / spent) for (variant, batch), spent in side.tried.items())
        return f"batches of {side.batch} (texts per second: {', '.join(f'{name}: {figure(speed)}' for name, speed in tried)})"

    def cost(self, side):
        return min(self.embed(side)["seconds"] for _ in range(3))

    def embed(self, side):
        count = self.share(side)
        return side.ask("embed", texts=self.texts, count=count, batch=side.batch) | {"texts": count}

    def warm_up(self, side):
        self.embed(side)
        self.accuracy(side)

    def round(self, side):
        side.rounds.append(self.embed(side))


class Latency(Work):
    def __init__(self, texts, settings, rounds, lengths, vocabulary):
        super().__init__(texts, settings, rounds)
        self.rows = {length: [(1000 + 37 * at) % vocabulary for at in range(length)] for length in lengths}

    def calls(self, side, count):
        """Milliseconds of each call, by length."""
        found = {}
        for length, ids in self.rows.items():
            times = side.ask("latency", ids=ids, calls=UNCOUNTED + count)["milliseconds"]
            found[length] = times[UNCOUNTED:]
        return found

    def trials(self, side):
        if side.peer is None or len(side.peer.variants) == 1:
            yield None, 0.0
            return
        found = self.calls(side, CALLS // 3)
        yield None, math.prod(map(statistics.median, found.values()))

    def cost(self, side):
        self.calls(side, UNCOUNTED)
        return math.prod(map(statistics.median, self.calls(side, CALLS).values()))

    def chosen(self, side):
        return "one text a call"

    def warm_up(self, side):
        side.ask("embed", texts=self.texts, count=self.count, batch=BATCHES[0])
        self.accuracy(side)
        self.calls(side, UNCOUNTED)

    def round(self, side):
        side.rounds.append(self.calls(side, math.ceil(CALLS / self.rounds)))
