"""Measures what it costs that two versions share a model's traffic, and how soon a bad one has none, and writes the
tables of docs/benchmarks.md.

A server answers with one version, and chooses for each request and hardly ever takes the other, and has two at a step of 50 %,
in windows that take turns; it records all the time. Callers send a key, or each is given a token. Then a candidate that fails
is rolled out again and again under load, and the ledger says when it answered last.
"""

import argparse
import contextlib
import http.client
import os
import statistics
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True

import install  # noqa: E402
from turns import BY_PAIR, ONE_CORE, Compared, Served, conditions_of, median, turns  # noqa: E402

SHARES = {"chosen": "0.01%", "shared": "50%"}
"""What the candidate has: so little that it is about choosing alone, or half."""
KEY = "x-customer"
KEYED, TOKENS = "with keys", "without keys"
"""Callers who say who they are, and callers of whom each is given a token."""
MEASURED = (
    ("tabular", 64, KEYED, ("chosen",), 40, 2),
    ("tabular", 64, TOKENS, ("chosen", "shared"), 40, 2),
    ("minilm", 16, TOKENS, ("chosen", "shared"), 3, 8),
)
"""Model, connections, callers, modes, pairs of windows and their seconds. Many short ones tell more of the small model than
a few long ones: what else the machine does changes slowly."""


AGED_S, AGED_TIMES, AGED_PAIRS, AGED_WINDOW_S = 15, 12, 2, 3
"""For how long a rollout goes on before it is measured as an aged one, how many such rollouts there are, in how many windows each
is measured, and their seconds. A look tells who came once all have ended, and a request may take ten seconds there; the longer it
goes on, the farther apart are the windows of a pair, and the more of their ratio is the machine's."""
PARTS = {
    "routing": "two versions that share traffic",
    "routing-aged": "a rollout that has gone on",
    "routing-back": "bad candidates",
}
"""What is measured, by the names of their tables' markers."""
VARIANTS = {"served": "", "other": "serve: {timeout: 59s}", "bad": "serve: {timeout: 1us}"}
HURRIED = {"served": "serve: {timeout: 10s}", "other": "serve: {timeout: 9s}"}
"""Versions of one model, which answer alike but for the bad one."""


def held(step):
    """A rollout that stays at its step, whatever is measured."""
    lenient = [{"metric": "error_rate", "worse_by": "50pp"}]
    return {
        "shadow": "off",
        "steps": [step],
        "hold": {"min": "1d"},
        "guardrails": lenient,
        "signals": [],
    }


BAD = {
    "shadow": "off",
    "steps": ["5%"],
    "hold": {"min": "1h"},
    "signals": [],
    "guardrails": [{"metric": "error_rate", "worse_by": "0.5pp"}],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windlass", type=Path, help="a built windlass, instead of building one")
    parser.add_argument("--part", choices=PARTS, help="measures and writes this alone")
    parser.add_argument("--times", type=int, default=20, help="how often a bad candidate is rolled out")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one pair of short windows, three rollouts; prints, writes no file unless --out is given",
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

    server_core, client_core = machine.cores()
    install.wrk()
    client = install.client()
    tools = servers.Tools.of_windlass(arguments.windlass, client)
    models = install.models(client)
    works = {it.name: it for it in bodies.WORKS}
    os.sched_setaffinity(0, {int(client_core)})

    def serve(name, variants, key=None):
        work = works[name]
        keyed = f"ledger: {{key: header:{KEY}}}\n" if key else ""
        variants = {it: keyed + lines for it, lines in variants.items()}
        return Served(tools, work, models / work.folder, variants, server_core, key=key)

    how = {"routing": shared, "routing-aged": aged, "routing-back": rolled_back}
    sections, kept = {}, {}
    for part in [arguments.part] if arguments.part else PARTS:
        watch = machine.Watch([])
        kept[part], found = how[part](serve, client_core, arguments)
        stray = watch.stop([]).stray
        conditions = conditions_of(tools, server_core, client_core, stray, "")
        sections[part] = "\n\n".join([*found, conditions])
        print(sections[part])
    install.keep("routing", kept)
    out = arguments.out or (None if arguments.quick else install.ROOT / "docs" / "benchmarks.md")
    if out:
        tables.write(out, sections, {it: f"What a rollout costs: {told}" for it, told in PARTS.items()})


def shared(serve, client_core, arguments):
    """One version and two, in windows that take turns."""
    found = []
    for name, connections, callers, modes, pairs, seconds in MEASURED:
        with serve(name, VARIANTS, KEY if callers == KEYED else None) as served:
            for mode in modes:
                install.say(f"  {name}, {connections} connections, callers {callers}, {mode}")
                seconds = 2 if arguments.quick else seconds
                compared = Compared(name, callers, connections, mode, seconds)

                def window(is_on):
                    with rollout(served, SHARES[mode]) if is_on else contextlib.nullcontext():
                        return served.window("served", client_core, connections, seconds)

                compared.take_turns(1 if arguments.quick else pairs, window)
                found.append(compared)
    # With half of the traffic each version groups fewer requests into a run, which no routing could help.
    lines = [costs_nothing(it, "choosing") for it in found if it.mode == "chosen"]
    return [vars(it) for it in found], [aims(lines), sharing_table(found)]


@contextlib.contextmanager
def rollout(served, step):
    """Two versions share the traffic for as long as it is entered."""
    roll_out(served, 2, held(step))
    until(lambda: live(served)["state"] == "step", "the step")
    try:
        yield
    finally:
        served.call("POST", f"/api/v1/rollouts/{live(served)['id']}/abort", {"why": "measured"})


def roll_out(served, version, spec):
    path = f"/api/v1/models/{served.work.folder}/rollouts"
    return served.call("POST", path, {"version": version, "spec": spec})


def live(served):
    return served.call("GET", "/api/v1/rollouts?limit=1")["items"][0]


def until(attempt, what, seconds=120):
    end = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() > end:
            raise SystemExit(f"after {seconds} s still not: {what}")
        time.sleep(0.02)


def aged(serve, client_core, arguments):
    """Windows in rollouts that have gone on for longer than any request may take, and as many without one, in turns."""
    import wrk

    seconds, times = (12, 1) if arguments.quick else (AGED_S, AGED_TIMES)
    compared = Compared("tabular", TOKENS, 64, f"{seconds} s", AGED_WINDOW_S)
    with serve("tabular", HURRIED) as served:
        for is_on in turns(times):
            install.say(f"  for {compared.mode}, {'a rollout' if is_on else 'none'}")
            with rollout(served, SHARES["chosen"]) if is_on else contextlib.nullcontext():
                # What it was asked before is the same of both.
                wrk.measure(client_core, served.port, served.script, compared.connections, seconds)
                windows = compared.on if is_on else compared.off
                for _ in range(AGED_PAIRS):
                    windows.append(served.window("served", client_core, compared.connections, AGED_WINDOW_S))
    line = costs_nothing(compared, f"a rollout that has gone on for {compared.mode}")
    return vars(compared), [aims([line]), aged_table(compared)]


def rolled_back(serve, client_core, arguments):
    """Bad candidates one after another."""
    times, back = 3 if arguments.quick else arguments.times, []
    with serve("tabular", VARIANTS) as served:
        for number in range(times):
            install.say(f"  a bad candidate, {number + 1} of {times}")
            back.append(roll_back(served))
    return back, [back_table(back)]


def roll_back(served):
    """A bad candidate under load until it is rolled back: how long it answered after the verdict, and how many failed."""
    stop, counts, lock = threading.Event(), {"asked": 0, "failed": 0}, threading.Lock()
    asked = served.asked

    def work(place):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        while not stop.is_set():
            place = (place + 1) % len(asked)
            connection.request("POST", served.path, asked[place].content, asked[place].headers)
            response = connection.getresponse()
            response.read()
            with lock:
                counts["asked"] += 1
                counts["failed"] += response.status != 200
        connection.close()

    callers = [threading.Thread(target=work, args=(it * 7,)) for it in range(4)]
    for caller in callers:
        caller.start()
    began = roll_out(served, 3, BAD)
    # Who answered is looked at while they still ask.
    until(lambda: live(served)["over"], "it is rolled back")
    time.sleep(0.5)
    stop.set()
    for caller in callers:
        caller.join()
    told = served.call("GET", f"/api/v1/rollouts/{began['id']}")
    if told["state"] != "rolled_back":
        raise SystemExit(f"the bad candidate is {told['status']}")
    event = next(it for it in told["events"] if it["to"] == "rolling_back")
    first = next(it for it in told["events"] if it["to"].startswith("step"))
    sql = (
        "select max(cast(time as bigint) + total_us) filter (where arm = 'candidate'), "
        "count(*) filter (where arm = 'candidate'), "
        "count(*) filter (where arm = 'candidate' and code is not null) "
        f"from \"{served.work.folder}\" where cast(time as bigint) >= {began['started_ms'] * 1000}"
    )
    [[last_us, rows, failed]] = served.call("POST", "/api/v1/query", {"sql": sql})["rows"]
    return {
        "after_verdict_ms": max(0.0, last_us / 1000 - event["at_ms"]),
        "until_verdict_s": (event["at_ms"] - first["at_ms"]) / 1000,
        "candidate": rows,
        "failed": counts["failed"],
        # As callers saw it, less what the ledger has of the candidate.
        "others_failed": counts["failed"] - failed,
    }


def costs_nothing(compared, what):
    """The line of an aim."""
    import tables

    ratio, low, high = compared.by_pair()
    text = (
        f"{compared.model}, {compared.connections} connections, {ONE_CORE}, callers {compared.setup}: "
        f"{what} costs nothing that {len(compared.on)} pairs of windows tell"
    )
    measured = f"{1 - ratio:.1%} ({1 - high:.1%} to {1 - low:.1%})"
    return tables.aim(text, measured, high >= 1)


def aims(lines):
    import tables

    return tables.table(["aim", "measured", ""], lines)


def sharing_table(found):
    import tables

    head = ["model", "connections", "callers", "the candidate has", "req/s one version", "two", f"two / one {BY_PAIR}"]
    head += ["p50 ms one version", "two", "p99 ms one version", "two"]
    head += ["µs of serving a request, one", "two", f"two / one {BY_PAIR}"]
    rows = []
    for it in found:
        rows.append(
            [
                it.model,
                str(it.connections),
                it.setup,
                SHARES[it.mode],
                *(tables.number(median(each, "rate")) for each in (it.off, it.on)),
                by_pair(it, "rate"),
                *(
                    tables.milliseconds(median(each, name))
                    for name in ("p50_s", "p99_s")
                    for each in (it.off, it.on)
                ),
                *(f"{median(each, 'serving_s') * 1e6:.1f}" for each in (it.off, it.on)),
                by_pair(it, "serving_s"),
            ]
        )
    return tables.table(head, rows)


def by_pair(compared, name):
    return "{:.3f} ({:.3f}–{:.3f})".format(*compared.by_pair(lambda it: it[name]))


def aged_table(old):
    import tables

    head = [f"tabular, {old.connections} connections", "without a rollout: median, least to most"]
    head += [f"in one at {SHARES['chosen']} for {old.mode} and more", f"in / without {BY_PAIR}"]

    def row(name, told, factor=1):
        each = [[it[name] * factor for it in windows] for windows in (old.off, old.on)]
        shown = "{:,.0f}" if factor == 1 else "{:.1f}"
        parts = [(statistics.median(it), min(it), max(it)) for it in each]
        spreads = ["{}, {} to {}".format(*(shown.format(it) for it in part)) for part in parts]
        return [told, *spreads, by_pair(old, name)]

    rows = [
        row("rate", "requests a second"),
        row("serving_s", "µs of serving a request", 1e6),
        row("p99_s", "p99 ms", 1e3),
    ]
    return tables.table(head, rows)


def back_table(back):
    import tables

    def spread(name, shown="{:.0f}"):
        found = [it[name] for it in back]
        parts = (statistics.median(found), min(found), max(found))
        return [shown.format(it) for it in parts]

    head = [f"{len(back)} bad candidates, all requests fail, at 5 %", "median", "least", "most"]
    rows = [
        ["from the step to the verdict, s", *spread("until_verdict_s", "{:.1f}")],
        ["requests that it answered", *spread("candidate")],
        ["from the verdict to its last answer, ms", *spread("after_verdict_ms")],
        ["requests that failed and were not its own", *spread("others_failed")],
    ]
    return tables.table(head, rows)


if __name__ == "__main__":
    main()
