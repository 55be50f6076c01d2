"""Measures how soon the console's pages begin, and what it costs that many people look, and writes the tables of
docs/benchmarks.md.

A server with many models and millions of rows is asked for each page. Then a server answers in windows that take turns, with
open consoles and without.
"""

import argparse
import contextlib
import dataclasses
import http.client
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True

import install  # noqa: E402
from turns import BY_PAIR, ONE_CORE, Compared, Served, conditions_of, median  # noqa: E402

FIRST_BYTE_MS = 50
WATCHED_COST = 0.03
CONSOLES = 50
SECONDS = 12


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windlass", type=Path, help="a built windlass, instead of building one")
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--rows", type=float, default=10, help="millions of rows in the ledger")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="10 models, 100,000 rows, short windows; prints, writes no file unless --out is given",
    )
    parser.add_argument(
        "--out", type=Path, help="the file with the markers, instead of docs/benchmarks.md"
    )
    arguments = parser.parse_args()
    install.within(install.client())
    install.until_stopped(measure, arguments)


def measure(arguments):
    import bodies
    import machine
    import servers
    import tables

    quick = arguments.quick
    models = 10 if quick else arguments.models
    rows = 100_000 if quick else round(arguments.rows * 1e6)
    server_core, client_core = machine.cores()
    install.wrk()
    client = install.client()
    tools = servers.Tools.of_windlass(arguments.windlass, client)
    work = next(it for it in bodies.WORKS if it.name == "tabular")
    model = install.models(client) / work.folder
    os.sched_setaffinity(0, {int(client_core)})
    watch = machine.Watch([])
    with tempfile.TemporaryDirectory(prefix="wconsole") as folder:
        began = first_bytes(tools, work, model, Path(folder), server_core, models, rows)
    with Served(tools, work, model, {"served": ""}, server_core) as served:
        watched = compared(served, client_core, quick)
    stray = watch.stop([]).stray
    note = f"{models} models, {rows:,} rows in the ledger, {CONSOLES} open consoles."
    conditions = conditions_of(tools, server_core, client_core, stray, note)
    content = "\n\n".join(
        [aims(tables, began, watched), pages_table(tables, began), watched_table(tables, watched), conditions]
    )
    print(content)
    install.keep("console", {"pages": began, "watched": vars(watched)})
    out = arguments.out or (None if quick else install.ROOT / "docs" / "benchmarks.md")
    if out:
        tables.write(out, {"console": content}, {"console": "What the console costs"})


def first_bytes(tools, work, model, folder, server_core, models, rows):
    """Milliseconds to the first byte of each page, again and again, by page."""
    paths, lines = [], "serve: {instances: 1, batch: {rows_max: 64}}"
    for number in range(models):
        path = folder / f"model-{number:03}"
        shutil.copytree(model, path)
        (path / "windlass.yaml").write_text(f"model: {path.name}\n{lines}\n")
        paths.append(path)
    install.say(f"  starting {models} models")
    first, *others = paths
    named = dataclasses.replace(work, folder=first.name)
    with Served(tools, named, first, {"pages": lines}, server_core, others) as served:
        port = served.port
        install.say(f"  filling the ledger with {rows:,} rows")
        fill(port, work, models, rows)
        settle(port)
        found = {}
        for name, path in pages(port).items():
            timed(port, path)
            found[name] = [timed(port, path) for _ in range(21)]
            install.say(f"  {name}: {statistics.median(found[name]):.1f} ms")
    return found


def fill(port, work, models, rows):
    """Half of them are of the first model, the others of all."""
    import bodies
    import numpy

    each = 2000
    table = numpy.concatenate([it["X"] for it in bodies.rows(work)])
    random = numpy.random.default_rng(7)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for number in range(rows // each):
        batch = table[random.integers(0, len(table), each)].astype("<f4")
        head = (
            '{"inputs":[{"name":"X","shape":[%d,30],"datatype":"FP32","parameters":{"binary_data_size":%d}}],'
            '"parameters":{"binary_data_output":true}}' % (each, batch.nbytes)
        )
        to = 0 if number % 2 == 0 else number // 2 % models
        headers = {"Inference-Header-Content-Length": str(len(head))}
        body = head.encode() + batch.tobytes()
        connection.request("POST", f"/v2/models/model-{to:03}/infer", body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise SystemExit(f"{response.status}: {answer[:500]}")
    connection.close()


def settle(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    for _ in range(10):
        connection.request("POST", "/api/v1/ledger/settle")
        response = connection.getresponse()
        response.read()
        if response.status == 200:
            return
    raise SystemExit("the ledger does not settle")


def pages(port):
    import json

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = json.dumps({"sql": 'select prediction_id from "model-000" limit 1'})
    connection.request("POST", "/api/v1/query", body, {"Content-Type": "application/json"})
    prediction = json.loads(connection.getresponse().read())["rows"][0][0]
    return {
        "models": "/console",
        "a model": "/console/models/model-000?last=1d",
        "drift": "/console/models/model-000/drift",
        "try it": "/console/models/model-000/try",
        "versions": "/console/models/model-000/versions",
        "a version": "/console/models/model-000/versions/1",
        "rollouts": "/console/rollouts",
        "predictions": "/console/predictions?model=model-000",
        "a prediction": f"/console/predictions/{prediction}",
        "alerts": "/console/alerts",
        "events": "/console/events",
        "system": "/console/system",
    }


def timed(port, path):
    """From the request's last byte to the answer's first."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.connect()
    begun = time.perf_counter()
    connection.request("GET", path, headers={"Accept": "text/html"})
    response = connection.getresponse()
    took = time.perf_counter() - begun
    body = response.read()
    connection.close()
    if response.status != 200:
        raise SystemExit(f"{path}: {response.status} {body[:300]}")
    return took * 1000


def compared(served, client_core, quick):
    """With consoles and without."""
    seconds, pairs = (2, 1) if quick else (SECONDS, 4)
    found = Compared(served.work.name, ONE_CORE, 64, "watched", seconds)

    def window(is_watched):
        install.say(f"  {'with' if is_watched else 'without'} consoles")
        with Consoles(served.port, CONSOLES) if is_watched else contextlib.nullcontext():
            return served.window("served", client_core, 64, seconds)

    found.take_turns(pairs, window)
    return found


class Consoles:
    """So many open pages: each listens, and fetches the list of models again when it is told that something changed."""

    def __init__(self, port, count):
        self.port, self.count = port, count
        self.stop, self.heard = threading.Event(), 0

    def __enter__(self):
        self.threads = [threading.Thread(target=self.listen, daemon=True) for _ in range(self.count)]
        for thread in self.threads:
            thread.start()
        ends = time.monotonic() + 30
        while self.heard < self.count:
            if time.monotonic() > ends:
                raise SystemExit(f"only {self.heard} of {self.count} consoles hear anything")
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def listen(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/api/v1/overview/stream")
        response = connection.getresponse()
        if response.status != 200:
            return
        revision, is_first = None, True
        while not self.stop.is_set():
            line = response.readline()
            if not line:
                return
            if line.startswith(b"data:"):
                if is_first:
                    self.heard, is_first = self.heard + 1, False
                at = line.find(b'"revision":')
                now = line[at : at + 40].split(b",")[0]
                if revision not in (None, now):
                    timed(self.port, "/console/models")
                revision = now
        connection.close()


def aims(tables, began, watched):
    slowest, took = max(((name, max(it)) for name, it in began.items()), key=lambda it: it[1])
    ratio, low, high = watched.by_pair()
    cost = 1 - ratio
    noise = watched.noise()
    lines = [
        tables.aim(
            f"the first byte of every page within {FIRST_BYTE_MS} ms",
            f"{took:.1f} ms at most, of 21 tries of each ({slowest})",
            took <= FIRST_BYTE_MS,
        ),
        tables.aim(
            f"{CONSOLES} open consoles cost at most {WATCHED_COST:.0%} of the small model's throughput",
            f"{cost:.1%} ({1 - high:.1%} to {1 - low:.1%}, {BY_PAIR}); windows without them differ by {noise:.1%}",
            cost <= WATCHED_COST,
        ),
    ]
    return tables.table(["aim", "measured", ""], lines)


def pages_table(tables, began):
    rows = [
        [name, f"{statistics.median(it):.1f}", f"{max(it):.1f}"] for name, it in began.items()
    ]
    return tables.table(["page", "first byte, ms: median", "most"], rows)


def watched_table(tables, it):
    head = ["model", "connections", "req/s alone", "with consoles", f"with / alone {BY_PAIR}"]
    head += ["p99 ms alone", "with consoles"]
    ratio, low, high = it.by_pair()
    row = [
        it.model,
        str(it.connections),
        *(tables.number(median(each, "rate")) for each in (it.off, it.on)),
        f"{ratio:.3f} ({low:.3f}–{high:.3f})",
        *(tables.milliseconds(median(each, "p99_s")) for each in (it.off, it.on)),
    ]
    return tables.table(head, [row])


if __name__ == "__main__":
    main()
