"""Measures what recording predictions costs and how long questions take, and writes the ledger's tables of
docs/benchmarks.md.

Serving with and without the ledger, in windows that take turns; then the ledger alone, by
crates/ledger/examples/ledger.rs.
"""

import argparse
import dataclasses
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True

import install  # noqa: E402
from turns import BY_PAIR, ONE_CORE, Compared, Served, conditions_of, median, rows_lost  # noqa: E402

ALL_ROWS = (1_000_000, 10_000_000, 100_000_000)
LABELS = 1_000_000
ELSEWHERE = "writer on the client's core; off: no neighbour"
BESIDE = "writer on the client's core; off: a neighbour there"
FEATURES_AT = {100_000_000: 10}
"""Instead of 30: a hundred million rows should fit most disks, and the time of a coffee."""


def main():
    arguments = parse()
    install.within(install.client())
    install.until_stopped(measure, arguments)


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one pair of short windows, no hundred million rows; prints, writes no file unless --out is given",
    )
    parser.add_argument("--windlass", type=Path, help="a built windlass, instead of building one")
    parser.add_argument("--ledger", type=Path, help="the built example `ledger`, the same")
    parser.add_argument(
        "--rows", help="rows of the growing ledger, in millions; without it 1,10,100"
    )
    parser.add_argument("--note", default="", help="a sentence to put under every table")
    parser.add_argument(
        "--out", type=Path, help="the file with the markers, instead of docs/benchmarks.md"
    )
    return parser.parse_args()


def measure(arguments):
    import bodies
    import machine
    import servers

    quick = arguments.quick
    server_core, client_core = machine.cores()
    install.wrk()
    client = install.client()
    tools = servers.Tools.of_windlass(arguments.windlass, client)
    example = (arguments.ledger or install.example("ledger", "ledger")).resolve()
    models = install.models(client)
    works = {it.name: it for it in bodies.WORKS}
    os.sched_setaffinity(0, {int(client_core)})
    apart = machine.apart(server_core, client_core)
    watch = machine.Watch([])

    install.say("the ledger alone")
    million = 1_000_000
    parts = [
        part(example, server_core, "write", rows // (10 if quick else 1), size)
        for rows, size in ((3 * million, 64), (2 * million, 1))
    ]
    # From here on two threads of the example have both cores.
    os.sched_setaffinity(0, {int(server_core), int(client_core)})
    if arguments.rows:
        wanted = [round(float(it) * million) for it in arguments.rows.split(",")]
    else:
        wanted = [it for it in ALL_ROWS if not (quick and it > 10 * million)]
    growth = [grown(example, rows) for rows in wanted]
    os.sched_setaffinity(0, {int(client_core)})

    bench = Bench(tools, example, server_core, client_core, quick)
    serving = bench.tabular(works["tabular"], models / works["tabular"].folder)
    serving += bench.compute_bound(works["minilm"], models / works["minilm"].folder)
    # Everything that was measured is a child of this process: what is left is somebody else's.
    stray = watch.stop([]).stray

    note = f"A core does {apart:.0%} of its work while the other one computes. {arguments.note}"
    conditions = conditions_of(tools, server_core, client_core, stray, note)
    sections = {
        "ledger-aims": aims(serving, parts, growth) + "\n\n" + conditions,
        "ledger-serving": serving_table(serving) + "\n\n" + conditions,
        "ledger-parts": parts_table(parts) + "\n\n" + conditions,
        "ledger-growth": growth_table(growth) + "\n\n" + conditions,
    }
    serving_windows = [dataclasses.asdict(it) for it in serving]
    install.keep("ledger", {"serving": serving_windows, "parts": parts, "growth": growth})
    for content in sections.values():
        print(content, end="\n\n")
    out = arguments.out or (None if quick else install.ROOT / "docs" / "benchmarks.md")
    if out:
        import tables

        titles = {
            "ledger-aims": "The ledger: aims",
            "ledger-serving": "The ledger: serving",
            "ledger-parts": "The ledger: writing",
            "ledger-growth": "The ledger: growth",
        }
        tables.write(out, sections, titles)
        install.say(f"wrote {out}")


# The ledger alone.


def part(example, core, *arguments):
    """What a subcommand of the example says, run on one core or, without one, where this process may."""
    command = ["taskset", "-c", core] if core else []
    command += [example, *arguments]
    install.say("  " + " ".join(str(it) for it in arguments))
    result = subprocess.run(
        [str(it) for it in command], capture_output=True, text=True, timeout=1800
    )
    if result.returncode != 0:
        raise SystemExit(f"{arguments[0]} failed: {result.stderr[-2000:]}")
    return json.loads(result.stdout)


def grown(example, rows):
    """A ledger of so many rows with a label each, asked, then labelled again."""
    features = FEATURES_AT.get(rows, 30)
    folder = Path(tempfile.mkdtemp(prefix="wledger"))
    try:
        free = shutil.disk_usage(folder).free
        needed = rows * (60 + 4 * features)
        if free < needed:
            return {"rows": rows, "why": f"it needs {needed / 1e9:.0f} GB of disk"}
        made = part(example, None, "generate", folder, rows, "--labelled", features)
        asked = part(example, None, "quality", folder)
        labels = part(example, None, "labels", folder, min(LABELS, rows))
        return {"rows": rows, "made": made, "asked": asked, "labels": labels}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# Serving.


class Neighbour:
    """The writer's work in a process of its own, for a share of each second of a core.

    A writer beside the client takes from the client: with it on the client's core a server is asked less, and in
    other portions. A server without a ledger that is asked by a client with such a neighbour is what one with a
    ledger, whose writer has a core of its own, is to be compared with.
    """

    def __init__(self, example, core, share):
        self.command = ["taskset", "-c", str(core), str(example), "write", "1000000000", "1"]
        self.share, self.used_s = share, 0.0
        self.ended = threading.Event()

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="wneighbour")
        self.process = subprocess.Popen(
            self.command,
            env=os.environ | {"TMPDIR": self.folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.thread = threading.Thread(target=self.hold_back)
        self.thread.start()
        return self

    def hold_back(self):
        """Lets it work at the beginning of each second, as a writer does who seals a segment a second."""
        import machine

        started, works = time.monotonic(), True
        while not self.ended.wait(0.002):
            threads = machine.thread_seconds(self.process.pid).values()
            self.used_s = sum(seconds for _, seconds in threads)
            seconds = int(time.monotonic() - started) + 1
            if works != (self.used_s < self.share * seconds):
                works = not works
                self.process.send_signal(signal.SIGCONT if works else signal.SIGSTOP)

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Bench:
    """A server whose windows without the ledger and with it take turns."""

    def __init__(self, tools, example, server_core, client_core, quick):
        self.tools, self.example, self.quick = tools, example, quick
        self.server_core, self.client_core = server_core, client_core

    def tabular(self, work, model):
        # What an aim is about takes many pairs: windows of one server differ by a tenth and more.
        many, pairs, few = (1, 1, 1) if self.quick else (30, 12, 3)
        found = []
        with self.started(work, model) as served:
            found.append(self.compare(served, ONE_CORE, 64, "buffered", pairs, 4))
            found.append(self.compare(served, ONE_CORE, 1, "buffered", few, 3))
            found.append(self.compare(served, ONE_CORE, 64, "commit", few, 4))
            found.append(self.compare(served, ONE_CORE, 1, "commit", few, 3))
            move_writer(served, self.client_core)
            found.append(self.compare(served, ELSEWHERE, 64, "buffered", few, 4))
            found.append(self.compare(served, BESIDE, 64, "buffered", many, 4))
            found.append(self.compare(served, ELSEWHERE, 1, "buffered", few, 3))
        return found

    def compute_bound(self, work, model):
        pairs = 1 if self.quick else 4
        with self.started(work, model) as served:
            return [self.compare(served, ONE_CORE, 16, "buffered", pairs, 8)]

    def started(self, work, model):
        variants = {it: f'ledger: {{mode: "{it}"}}' for it in ("off", "buffered", "commit")}
        return Served(self.tools, work, model, variants, self.server_core)

    def compare(self, served, setup, connections, mode, pairs, seconds):
        install.say(f"  {served.work.name}, {setup}, {connections} connections, {mode}")
        seconds = 2 if self.quick else seconds
        compared = Compared(served.work.name, setup, connections, mode, seconds)
        shares, before = [], counts(served)

        def window(is_on):
            beside = None
            if setup == BESIDE and not is_on and shares:
                beside = Neighbour(self.example, self.client_core, statistics.median(shares))
            found = served.window(
                mode if is_on else "off", self.client_core, connections, seconds, setup, beside
            )
            if is_on:
                shares.append(found["writer_share"])
            return found

        compared.take_turns(pairs, window)
        after = counts(served)
        compared.lost = after["lost"] - before["lost"]
        compared.sealed = after["sealed"] - before["sealed"]
        return compared


def move_writer(served, core):
    """Gives the threads of the ledger another core."""
    moved = 0
    for pid in served.running.pids():
        for task in Path(f"/proc/{pid}/task").iterdir():
            if (task / "comm").read_text().startswith("ledger "):
                os.sched_setaffinity(int(task.name), {int(core)})
                moved += 1
    if moved < 2:
        raise SystemExit("the ledger's threads were not found")


def counts(served):
    """Rows that the ledger could not take, and rows in its files."""
    catalog = served.data / "ledger" / "catalog.json"
    files = json.loads(catalog.read_text())["files"] if catalog.exists() else []
    return {"lost": rows_lost(served.port), "sealed": sum(it["rows"] for it in files)}


# Tables.


def aims(serving, parts, growth):
    import tables

    def of(model, setup, connections, mode="buffered"):
        key = (model, setup, connections, mode)
        return next(
            it for it in serving if (it.model, it.setup, it.connections, it.mode) == key
        )

    def costs(text, compared, most):
        ratio, low, high = compared.by_pair()
        cost = 1 - ratio
        measured = f"{cost:.1%} ({1 - high:.1%} to {1 - low:.1%}, {len(compared.on)} pairs)"
        return tables.aim(text, measured, cost <= most)

    elsewhere = of("tabular", BESIDE, 64)
    cost, least, most = elsewhere.serving_cost()
    lines = [
        costs(
            "tabular, 64 connections, all on one core: the ledger costs at most 15 % of the throughput",
            of("tabular", ONE_CORE, 64),
            0.15,
        ),
        costs(
            "tabular, 64 connections, the writer elsewhere, clients with like neighbours: at most 3 %",
            elsewhere,
            0.03,
        ),
        tables.aim(
            "the same, of the time of the serving threads",
            f"{cost:.1%} ({least:.1%} to {most:.1%})",
            cost <= 0.03,
        ),
    ]
    minilm = of("minilm", ONE_CORE, 16)
    noise = max(minilm.noise(), 0.01)
    lines.append(
        costs(
            f"MiniLM: no more than the windows without it differ among themselves ({noise:.1%})",
            minilm,
            noise,
        )
    )
    off, on = (median(it, "p99_s") for it in (minilm.off, minilm.on))
    all_off = [it["p99_s"] for it in minilm.off]
    lines.append(
        tables.aim(
            "MiniLM: p99 within that of the windows without it, and 5 %",
            f"{on * 1000:.0f} ms; {off * 1000:.0f} without, {min(all_off) * 1000:.0f} to "
            f"{max(all_off) * 1000:.0f}",
            on <= max(all_off) * 1.05,
        )
    )
    for it in parts:
        lines.append(
            tables.aim(
                f"one core, {it['size']} rows a request: at least 500,000 rows a second recorded and sealed",
                f"{it['rows_s']:,.0f}",
                it["rows_s"] >= 500_000,
            )
        )
    ten = next((it for it in growth if it["rows"] == 10_000_000 and "asked" in it), None)
    texts = (
        "quality over 10 million rows, two cores: at most 2 s",
        "1 million labels among 10 million rows, until a question has them: at most 10 s",
    )
    if ten:
        again = next(it for it in ten["asked"] if it["name"] == "again")
        measured = f"{again['seconds']:.2f} s, {again['peak_mib']:.0f} MiB at most"
        lines.append(tables.aim(texts[0], measured, again["seconds"] <= 2))
        seconds = ten["labels"]["seconds"]
        lines.append(tables.aim(texts[1], f"{seconds:.1f} s", seconds <= 10))
    else:
        lines += tables.unmeasured(*texts)
    return tables.table(["aim", "measured", ""], lines)


def serving_table(serving):
    import tables

    head = ["model", "how", "connections", "ledger", "req/s off", "on", f"on / off {BY_PAIR}"]
    head += ["p50 ms off", "on", "p99 ms off", "on", "serving µs a request off", "on"]
    head += ["neighbour or writer, of a core: off", "on"]
    head += ["rows sealed meanwhile", "lost"]
    rows = []
    for it in serving:
        ratio, low, high = it.by_pair()
        rows.append(
            [
                it.model,
                it.setup,
                str(it.connections),
                it.mode,
                tables.number(median(it.off, "rate")),
                tables.number(median(it.on, "rate")),
                f"{ratio:.3f} ({low:.3f}–{high:.3f})",
                *(
                    tables.milliseconds(median(windows, name))
                    for name in ("p50_s", "p99_s")
                    for windows in (it.off, it.on)
                ),
                *(f"{median(windows, 'serving_s') * 1e6:.1f}" for windows in (it.off, it.on)),
                *(f"{median(windows, 'writer_share'):.0%}" for windows in (it.off, it.on)),
                f"{it.sealed:,}",
                f"{it.lost:,}",
            ]
        )
    return tables.table(head, rows)


def parts_table(parts):
    import tables

    head = ["rows a request", "rows", "recorded, rows/s", "recorded and sealed, rows/s"]
    head += ["log, bytes a row", "files, bytes a row", "the Parquet library's defaults"]
    rows = [
        [
            f"{it['size']}",
            f"{it['rows']:,.0f}",
            f"{it['appended_rows_s']:,.0f}",
            f"{it['rows_s']:,.0f}",
            f"{it['log_bytes_row']:.0f}",
            f"{it['parquet_bytes_row']:.1f}",
            f"{it['plain_parquet_bytes_row']:.1f}",
        ]
        for it in parts
    ]
    return tables.table(head, rows)


def growth_table(growth):
    import tables

    head = ["rows", "features", "made, rows/s", "bytes a row", "bytes a label"]
    head += ["quality, first s", "again", "by a feature", "peak MiB", "SQL s", "peak MiB"]
    head += ["labels", "taken s", "on disk", "sealed", "in a question", "in all"]
    rows = []
    for it in growth:
        if "why" in it:
            rows.append([f"{it['rows']:,}", it["why"], *[tables.DASH] * (len(head) - 2)])
            continue
        made, labels = it["made"], it["labels"]
        asked = {each["name"]: each for each in it["asked"]}
        rows.append(
            [
                f"{made['rows']:,}",
                f"{made['features']}",
                f"{made['rows'] / made['seconds']:,.0f}",
                f"{made['bytes'] / made['rows']:.1f}",
                f"{made['label_bytes'] / made['rows']:.1f}",
                *(f"{asked[name]['seconds']:.2f}" for name in ("first", "again", "by")),
                f"{max(asked[name]['peak_mib'] for name in ('first', 'again', 'by')):.0f}",
                f"{asked['sql']['seconds']:.2f}",
                f"{asked['sql']['peak_mib']:.0f}",
                f"{labels['labels']:,}",
                *(
                    f"{labels[name]:.2f}"
                    for name in ("taken_s", "on_disk_s", "sealed_s", "quality_s", "seconds")
                ),
            ]
        )
    return tables.table(head, rows)


if __name__ == "__main__":
    main()
