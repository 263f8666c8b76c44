"""What the benchmark found: a table, and every figure as JSON."""

import datetime
import importlib.metadata
import json
import os
import statistics

from bench_sides import OURS
from peer import cpu

FLAGS = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"]
DTYPES = ["f32", "bf16", "int8"]
# What restricts a library to less than the instruction set of the CPU.
MASKS = ["BERTSCRIPT_MAX_ISA", "ONEDNN_MAX_CPU_ISA", "CT2_FORCE_CPU_ISA", "ATEN_CPU_CAPABILITY"]


def throughput(sides, work):
    """Texts and tokens a second, the fastest first."""
    tokens = sum(work.lengths) / work.count
    heading(
        "texts per second, median (spread)",
        "without tokenizing",
        "tokens a second",
        "bertscript / it, median (spread)",
        "minimum cosine",
        "peak MB",
        "batch",
    )
    for side in ranked(sides, lambda side: -speed(side)):
        speeds = [1 / seconds(found) for found in side.rounds]
        inside = [1 / rest for rest in map(without_tokenizing, side.rounds) if rest]
        ratios = paired(side, sides, seconds)
        row(
            side,
            f"{figure(speed(side))} ({figure(min(speeds))} to {figure(max(speeds))})",
            figure(statistics.median(inside)) if inside else "–",
            f"{tokens * speed(side):.0f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "–",
            f"{side.quality['min_cosine']:.6f}",
            f"{side.peak:.0f}",
            side.batch or "its own",
        )


def quality(sides, work):
    """What a dtype of fewer bits costs, beside what it gains: as `bertscript bench --text` states it."""
    sides = [side for side in sides if side.dtype != "f32" and not side.failure]
    if not sides:
        return
    print(f"\nThe same embeddings beside those of transformers in float32, {len(work.reference)} texts:")
    heading("texts per second", "minimum cosine", "median cosine", "nearest kept", "top 10 kept")
    for side in ranked(sides, lambda side: -speed(side)):
        found = side.quality
        row(
            side,
            figure(speed(side)),
            *(f"{found[name]:.5f}" for name in ["min_cosine", "median_cosine"]),
            *(f"{found[name] * 100:.1f} %" for name in ["nearest_kept", "top10_kept"]),
        )


def latency(sides, work):
    """Milliseconds a call and how much longer than ours, the fastest at the first length first."""
    lengths = list(work.rows)
    heading(*(f"{length} tokens: ms, median (p90); it / bertscript" for length in lengths), "minimum cosine", "peak MB")
    for side in ranked(sides, lambda side: statistics.median(times(side, lengths[0]))):
        cells = []
        for length in lengths:
            found = sorted(times(side, length))
            ratios = paired(side, sides, lambda found: statistics.median(found[length]))
            ratio = f"{statistics.median(ratios):.2f}" if ratios else "–"
            cells.append(f"{statistics.median(found):.2f} ({found[len(found) * 9 // 10]:.2f}); {ratio}")
        row(side, *cells, f"{side.quality['min_cosine']:.6f}", f"{side.peak:.0f}")


def seconds(found):
    """Of a text."""
    return found["seconds"] / found["texts"]


def speed(side):
    """Texts per second, the median of the rounds."""
    return statistics.median(1 / seconds(found) for found in side.rounds)


def without_tokenizing(found):
    return None if found["tokenizing"] is None else (found["seconds"] - found["tokenizing"]) / found["texts"]


def times(side, length):
    return [milliseconds for found in side.rounds for milliseconds in found[length]]


def figure(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ranked(sides, cost):
    """By dtype, then by cost. Those that failed come last, as rows of a reason."""
    order = DTYPES.index
    done = sorted((side for side in sides if not side.failure), key=lambda side: (order(side.dtype), cost(side)))
    yield from done
    for side in sides:
        if side.failure:
            print(f"| {side} | {side.dtype} | failed: {side.failure.replace('|', '/')} |")


def paired(side, sides, cost):
    """In each round, its cost by ours of the same dtype; in int8, if ours has none, by ours in f32."""
    ours = {rival.dtype: rival for rival in sides if rival.name == OURS and not rival.failure}
    rival = ours.get(side.dtype) or (ours.get("f32") if side.dtype == "int8" else None)
    return [cost(theirs) / cost(our) for theirs, our in zip(side.rounds, rival.rounds)] if rival else []


def heading(*columns):
    columns = ["side", "dtype", *columns]
    print("\n" + "".join(f"| {column} " for column in columns) + "|")
    print("|---" * len(columns) + "|")


def row(side, *cells):
    print("".join(f"| {cell} " for cell in [side, side.dtype, *cells]) + "|", flush=True)


def title(machine):
    # One side alone makes a load of about its threads; more is somebody else's.
    cores = f"{machine['threads']} of {machine['cores']} cores, load {machine['load']:.1f}"
    masks = "".join(f", {name}={value}" for name, value in machine["masks"].items())
    print(f"\n{machine['model']}, on {machine['cpu']}, {cores}, {', '.join(machine['flags'])}{masks}")


def summary(sides):
    failed = sum(side.failure is not None for side in sides)
    print(f"\n{len(sides) - failed} sides were measured, {failed} failed.")


def machine(settings):
    name, flags = cpu()
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "threads": settings["threads"],
        "flags": [flag for flag in FLAGS if flag in flags],
        "masks": {mask: os.environ[mask] for mask in MASKS if mask in os.environ},
        "model": settings["model"],
        "load": os.getloadavg()[0],
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def everything(sides, work, machine):
    """Every figure, as JSON."""
    packages = {name for side in sides if side.peer for name in side.peer.packages}
    return {
        "machine": machine,
        "versions": {name: importlib.metadata.version(name) for name in sorted(packages)},
        "texts": work.count,
        "tokens": sum(work.lengths),
        "sides": [described(side) for side in sides],
    }


def described(side):
    tried = [dict(variant=variant, batch=batch, seconds=spent) for (variant, batch), spent in side.tried.items()]
    names = ["name", "dtype", "variant", "batch", "failure", "load", "peak", "quality", "rounds"]
    return {name: getattr(side, name) for name in names} | {"tried": tried, "left_out": side.left_out}


def write(file, found):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")
