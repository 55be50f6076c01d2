"""Measures what watching costs, and writes the table of docs/benchmarks.md.

Serving with and without monitors, the ledger on in both, in windows that take turns; then a thousand models of fifty
features in one process.
"""

import argparse
import json
import os
import statistics
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True

import install  # noqa: E402
from turns import BY_PAIR, ONE_CORE, Compared, Served, conditions_of, median, rows_lost  # noqa: E402

FEATURES, ROWS = 50, 2_000
PAIRS = 60
"""Of windows of the small model, which differ by a tenth whatever is on: so many know their median to about four in a hundred."""
EVERY_S = 4
"""How often the watched servers are looked at while they are asked: by default it is once an hour."""
MIXED_EVERY_S = 60
UNWATCHED = """monitor:
  drift: {first_rows: 0}
  inputs: {range: "off", missing: "off", unseen: "off", constant: "off", duplicate: "off"}
  anomaly: {"off": true}
"""
WATCHED = f"monitor: {{every: {EVERY_S}s, window: 1h}}\n"
MANY = f"monitor: {{every: {MIXED_EVERY_S}s, window: 1h, drift: {{first_rows: {ROWS // 2}}}}}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windlass", type=Path, help="a built windlass, instead of building one")
    parser.add_argument("--models", type=int, default=1_000, help="how many models there are at last")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one pair of short windows and fifty models; prints, writes no file unless --out is given",
    )
    parser.add_argument(
        "--out", type=Path, help="the file with the markers, instead of docs/benchmarks.md"
    )
    parser.add_argument(
        "--results", type=Path, help="what was kept of a measurement, instead of measuring"
    )
    arguments = parser.parse_args()
    install.within(install.client())
    install.until_stopped(show if arguments.results else measure, arguments)


def show(arguments):
    kept = json.loads(arguments.results.read_text())
    write(arguments, [Compared(**it) for it in kept["serving"]], kept["many"], kept["conditions"])


def measure(arguments):
    import bodies
    import machine
    import servers

    quick = arguments.quick
    server_core, client_core = machine.cores()
    install.wrk()
    client = install.client()
    tools = servers.Tools.of_windlass(arguments.windlass, client)
    models = install.models(client)
    works = {it.name: it for it in bodies.WORKS}
    os.sched_setaffinity(0, {int(client_core)})
    watch = machine.Watch([])
    found = []
    for name, connections, pairs in (("tabular", 64, PAIRS), ("minilm", 16, 3)):
        work = works[name]
        compared = Compared(name, ONE_CORE, connections, "watched", 2 if quick else EVERY_S)
        variants = {"unwatched": UNWATCHED, "watched": WATCHED}
        with Served(tools, work, models / work.folder, variants, server_core) as served:
            # The look that counts what a window left is charged to it.
            served.behind_s = EVERY_S + 1.1

            def window(is_on):
                variant = "watched" if is_on else "unwatched"
                install.say(f"  {name}, {connections} connections, {variant}")
                return served.window(variant, client_core, connections, compared.seconds)

            compared.take_turns(1 if quick else pairs, window)
        found.append(compared)
    print(serving_table(found), flush=True)
    os.sched_setaffinity(0, {int(server_core), int(client_core)})
    many = with_models(tools, servers, machine, 50 if quick else arguments.models)
    # Everything that was measured is a child of this process: what is left is somebody else's.
    stray = watch.stop([]).stray
    note = "The many models ran on both."
    conditions = conditions_of(tools, server_core, client_core, stray, note)
    kept = {"serving": [vars(it) for it in found], "many": many, "conditions": conditions}
    install.keep("monitors", kept)
    write(arguments, found, many, conditions)


def write(arguments, found, many, conditions):
    import tables

    content = "\n\n".join([aims(found), serving_table(found), many_table(many), conditions])
    print(content)
    out = arguments.out or (None if arguments.quick else install.ROOT / "docs" / "benchmarks.md")
    if out:
        tables.write(out, {"monitors": content}, {"monitors": "What watching costs"})


# Many models.


def with_models(tools, servers, machine, count):
    """A process with so many models: its memory, and what a round of looks at all of them takes."""
    with servers.scratch_folder() as scratch:
        scratch = Path(scratch)
        folders = [wide_model(scratch / f"m{it:04}") for it in range(count)]
        port = servers.port_free()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WINDLASS_")}
        environment |= {
            "WINDLASS_ONNXRUNTIME": str(tools.runtime_library),
            "TMPDIR": str(scratch),
        }
        data = scratch / "data"
        command = [tools.windlass, "serve", *folders, "--port", port, "--data-dir", data]
        install.say(f"  {count} models of {FEATURES} features")
        cores = ",".join(str(it) for it in sorted(os.sched_getaffinity(0)))
        with servers.Running(command, environment, cores, scratch / "server") as running:
            started = time.monotonic()
            until_ready(port, seconds_max=300)
            found = {"models": count, "start_s": time.monotonic() - started}
            running.settle(seconds_max=120)
            found["idle_mib"] = running.memory()[0]
            found["idle_core"] = share_of_a_core(machine, running, 20)
            ask_all(port, range(count), seed=1)
            # Their first rows become their baselines in this round.
            time.sleep(MIXED_EVERY_S)
            found["asked_again"] = baselines(port, count, rounds_max=10)
            ask_all(port, range(count), seed=2)
            running.settle(seconds_max=120)
            found["watched_core"] = share_of_a_core(machine, running, 2 * MIXED_EVERY_S)
            found["watched_mib"] = running.memory()[0]
            found["lost"] = rows_lost(port)
            found["judged"], found["question_s"] = questions(port, count)
            found["registry_mib"] = sum(
                it.stat().st_size for it in data.glob("registry.db*")
            ) / 2**20
        return found


def wide_model(folder):
    """Two classes of fifty floats, by a matrix: as little to compute as can be, so that what watching takes is seen."""
    import numpy
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir()
    weights = numpy.random.default_rng(3).normal(0, 0.3, (FEATURES, 2)).astype(numpy.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("Softmax", ["y"], ["p"], axis=1),
        ],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "windlass.yaml").write_text(f"model: {folder.name}\nsource: ./model.onnx\n{MANY}")
    return folder


def until_ready(port, seconds_max):
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=10):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"no answer within {seconds_max} s")


def share_of_a_core(machine, running, seconds):
    before, started = machine.seconds_of(running.pids()), time.monotonic()
    time.sleep(seconds)
    used = machine.seconds_of(running.pids()) - before
    return used / (time.monotonic() - started)


def ask_all(port, which, seed):
    """Half of the rows for each of the models, in one request."""
    import bodies
    import numpy

    x = numpy.random.default_rng(seed).normal(0, 1, (ROWS // 2, FEATURES)).astype(numpy.float32)
    body = bodies.body("v2bin", {"x": x})
    for it in which:
        url = f"http://127.0.0.1:{port}/v2/models/m{it:04}/infer"
        request = urllib.request.Request(url, body.content, body.headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()


def baselines(port, count, rounds_max):
    """Waits until every model has one, and says how many had to be asked again: where the disk was too slow for so many rows
    at once, some were answered and not recorded."""
    missing, again = list(range(count)), set()
    for _ in range(rounds_max):
        deadline = time.monotonic() + MIXED_EVERY_S
        while missing and time.monotonic() < deadline:
            time.sleep(1)
            missing = [it for it in missing if not has_baseline(port, it)]
        if not missing:
            return len(again)
        again.update(missing)
        ask_all(port, missing, seed=1)
    raise SystemExit(f"{len(missing)} models had no baseline after {rounds_max} rounds of looks")


def has_baseline(port, it):
    url = f"http://127.0.0.1:{port}/api/v1/models/m{it:04}/versions/1/baseline"
    try:
        with urllib.request.urlopen(url, timeout=60):
            return True
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return False


def questions(port, count):
    """How many models get a verdict when they are asked about, and the median seconds of a question."""
    judged, took = 0, []
    for it in range(count):
        started = time.monotonic()
        url = f"http://127.0.0.1:{port}/api/v1/models/m{it:04}/drift"
        with urllib.request.urlopen(url, timeout=60) as answer:
            judged += len(json.load(answer)["columns"]) >= FEATURES
        took.append(time.monotonic() - started)
    return judged, statistics.median(took)


# Tables.


def aims(found):
    import tables

    by_name = {it.model: it for it in found}
    lines = []
    for name, most in (("tabular", 0.05), ("minilm", None)):
        ratio, low, high = by_name[name].by_pair()
        text = (
            "tabular, 64 connections, all on one core: watching costs at most 5 % of the throughput"
            if most
            else f"MiniLM: nothing that {len(by_name[name].on)} pairs of windows tell"
        )
        rates = [it["rate"] for it in by_name[name].off]
        varies = statistics.pstdev(rates) / statistics.mean(rates)
        measured = f"{1 - ratio:.1%} ({1 - high:.1%} to {1 - low:.1%}); unwatched windows vary by {varies:.0%}"
        lines.append(tables.aim(text, measured, 1 - ratio <= most if most else high >= 1))
    return tables.table(["aim", "measured", ""], lines)


def serving_table(found):
    import tables

    head = ["model", "connections", "req/s unwatched", "watched", f"watched / unwatched {BY_PAIR}"]
    head += ["p50 ms unwatched", "watched", "p99 ms unwatched", "watched"]
    head += ["µs of serving a request, unwatched", "watched"]
    head += ["the ledger's threads, of a core, unwatched", "watched", "behind a window, s", "watched"]
    rows = []
    for it in found:
        ratio, low, high = it.by_pair()
        rows.append(
            [
                it.model,
                str(it.connections),
                *(tables.number(median(each, "rate")) for each in (it.off, it.on)),
                f"{ratio:.3f} ({low:.3f}–{high:.3f})",
                *(
                    tables.milliseconds(median(each, name))
                    for name in ("p50_s", "p99_s")
                    for each in (it.off, it.on)
                ),
                *(f"{median(each, 'serving_s') * 1e6:.1f}" for each in (it.off, it.on)),
                *(f"{median(each, 'writer_share'):.1%}" for each in (it.off, it.on)),
                *(f"{median(each, 'behind_s'):.2f}" for each in (it.off, it.on)),
            ]
        )
    return tables.table(head, rows)


def many_table(many):
    import tables

    rows = [
        ["models, features of each, rows of each", f"{many['models']:,}, {FEATURES}, {ROWS:,}"],
        ["start to ready", f"{many['start_s']:.1f} s"],
        ["memory before the first row", f"{many['idle_mib']:,.0f} MiB"],
        ["memory when all are watched", f"{many['watched_mib']:,.0f} MiB"],
        ["baselines and all else of the registry", f"{many['registry_mib']:.0f} MiB"],
        ["of a core in the first 20 s, without a row", f"{many['idle_core']:.1%}"],
        [f"of a core, each looked at every {MIXED_EVERY_S} s", f"{many['watched_core']:.1%}"],
        ["rows answered and not recorded, and models asked again for it", f"{many['lost']:,}, {many['asked_again']}"],
        ["models whose columns are all judged", f"{many['judged']:,}"],
        ["`windlass drift` of one, median", f"{many['question_s'] * 1000:.1f} ms"],
    ]
    return tables.table(["many models", ""], rows)


if __name__ == "__main__":
    main()
