"""The engine alone in a loop (L2): ONNX Runtime, one thread, rows that are already tensors. Prints JSON.

Run by `run.py` on the server's core: `engine.py WORK FOLDER SECONDS ROUNDS`. Settings take turns, so that a slow
moment of the machine touches all of them; each gives the median of its rounds.
"""

import itertools
import json
import statistics
import sys
import time

import numpy

import bodies


def grouped(rows, size):
    """Runs of up to `size` rows each, in the order given, shorter ones filled with zeros."""
    return [joined(rows[at : at + size]) for at in range(0, len(rows), size)]


def joined(rows):
    found = {}
    for name in rows[0]:
        arrays = [it[name] for it in rows]
        longest = max(it.shape[1] for it in arrays)
        fill = [
            numpy.pad(it, ((0, 0), (0, longest - it.shape[1]))) if it.ndim == 2 else it
            for it in arrays
        ]
        found[name] = numpy.concatenate(fill)
    return found


def settings(work, rows):
    """Name of a setting -> the runs that it is made of."""
    if work.name == "tabular":
        return {f"batch {size}": grouped(rows, size) for size in (1, 16, 64, 256)}
    if work.name == "image":
        return {f"batch {size}": grouped(rows, size) for size in (1, 4, 8)}
    by_length = sorted(rows, key=lambda row: row["input_ids"].shape[1])
    return {
        "batch 1": grouped(rows, 1),
        "batch 4 by length": grouped(by_length, 4),
        "batch 8 by length": grouped(by_length, 8),
        "batch 16 as they come, padded": grouped(rows, 16),
    }


def measure(engine, runs, seconds):
    """Rows a second, and the seconds of each run."""
    rows, times = 0, []
    started = last = time.perf_counter()
    # Whole passes, so that short rows count no more than long ones; but no more than twice the time for it.
    for run in itertools.cycle(runs):
        engine.run(None, run)
        now = time.perf_counter()
        rows += len(next(iter(run.values())))
        times.append(now - last)
        last = now
        if now - started >= seconds and (
            len(times) % len(runs) == 0 or now - started >= 2 * seconds
        ):
            return rows / (now - started), times


def main():
    name, folder, seconds, rounds = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    work = next(it for it in bodies.WORKS if it.name == name)
    engine = bodies.session(folder, threads=1)
    rates, single = {}, []
    tried = settings(work, bodies.rows(work))
    for runs in tried.values():
        engine.run(None, runs[0])
    for _ in range(rounds):
        for setting, runs in tried.items():
            rate, times = measure(engine, runs, seconds)
            rates.setdefault(setting, []).append(rate)
            if setting == "batch 1":
                single += times
    single.sort()
    found = {
        "rates": {setting: statistics.median(it) for setting, it in rates.items()},
        "single_p50_s": single[len(single) // 2],
        "single_p99_s": single[len(single) * 99 // 100],
    }
    print(json.dumps(found))


main()
