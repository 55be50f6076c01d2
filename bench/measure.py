"""One run: every server on every model, the bare limits beside them."""

import concurrent.futures
import dataclasses
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bodies
import install
import machine
import servers
import tables
import wrk

CLIENTS = 16
"""Threads that ask at the same time when answers are compared: some servers go wrong only then."""


@dataclasses.dataclass
class Plan:
    """What one run measures and how."""

    works: list
    servers: list
    seconds: float
    rounds: int
    starts: int
    """How often a server that is quick to start is started, for the median."""
    server_core: str
    client_core: str


def main(arguments):
    plan = plan_of(arguments)
    os.sched_setaffinity(0, {int(plan.client_core)})
    tools, folder = prepare(arguments, plan)
    results = {}
    for work in plan.works:
        results[work.name] = measure_work(plan, tools, work, folder / work.folder)
    sections, titles = render(plan, tools, results)
    install.keep("run", {name: dataclasses.asdict(it) for name, it in results.items()})
    out = arguments.out or (None if arguments.quick else install.ROOT / "docs" / "benchmarks.md")
    for content in sections.values():
        print(content, end="\n\n")
    if len(results) < len(bodies.WORKS):
        # Half a table of aims would replace a whole one.
        del sections["aims"]
    if out:
        tables.write(out, sections, titles)
        install.say(f"wrote {out}")


def plan_of(arguments):
    names = (
        []
        if arguments.peers == "none"
        else servers.PEERS
        if arguments.peers == "all"
        else arguments.peers.split(",")
    )
    if unknown := set(names) - set(servers.PEERS):
        raise SystemExit(
            f"unknown peers: {', '.join(sorted(unknown))}; there are {', '.join(servers.PEERS)}"
        )
    wanted = arguments.models.split(",")
    if unknown := set(wanted) - {it.name for it in bodies.WORKS}:
        raise SystemExit(f"unknown models: {', '.join(sorted(unknown))}")
    server_core, client_core = machine.cores()
    return Plan(
        works=[it for it in bodies.WORKS if it.name in wanted],
        servers=[it for it in servers.SERVERS if it.peer in ("limit", "windlass", *names)],
        seconds=1 if arguments.quick else arguments.seconds,
        rounds=1 if arguments.quick else arguments.rounds,
        starts=1 if arguments.quick else 3,
        server_core=server_core,
        client_core=client_core,
    )


def prepare(arguments, plan):
    """Everything that is started later, and the folder of the models."""
    install.wrk()
    client = install.client()
    windlass = (arguments.windlass or install.binary("windlass")).resolve()
    tools = servers.Tools(
        windlass=windlass,
        limit=install.binary("limit"),
        runtime_library=install.runtime_library(client),
        pythons={
            it: install.peer(it)
            for it in servers.PEERS
            if any(server.peer == it for server in plan.servers)
        },
    )
    return tools, install.models(client)


def measure_work(plan, tools, work, folder):
    measured = tables.Measured(work)
    rows = bodies.rows(work)
    engine = bodies.session(folder, threads=1)
    wants = [bodies.run(engine, row) for row in rows]
    del engine
    install.say(f"{work.name}: the engine alone")
    measured.engine = engine_alone(plan, work, folder)
    for server in plan.servers:
        if work.name not in server.works:
            continue
        install.say(f"{work.name}: {server.name}")
        try:
            measured.rows.append(measure_server(plan, tools, server, work, folder, rows, wants))
        except (servers.Failed, RuntimeError, subprocess.TimeoutExpired) as error:
            install.say(f"  {error}")
            measured.failed[server.name] = " ".join(str(error).split())[:300]
    return measured


def engine_alone(plan, work, folder):
    seconds = max(1.0, plan.seconds / 2)
    command = ["taskset", "-c", plan.server_core, sys.executable, install.BENCH / "engine.py"]
    command += [work.name, folder, seconds, plan.rounds]
    result = subprocess.run(
        [str(it) for it in command], capture_output=True, text=True, timeout=600
    )
    if result.returncode != 0:
        raise SystemExit(f"the engine alone failed: {result.stderr[-2000:]}")
    return json.loads(result.stdout)


def measure_server(plan, tools, server, work, folder, rows, wants):
    path = server.path.format(model=work.folder)
    asked = [bodies.body(server.body, row) for row in rows]
    answer_bytes = bodies.answer_bytes(server.body, work, wants[0])
    row = tables.Row(server.name, server.note, version(tools, server))

    with servers.scratch_folder() as scratch:
        scratch = Path(scratch)
        script = wrk.prepare(scratch / "bodies", path, asked)

        def start(name):
            port = servers.port_free()
            inner = scratch / name
            command, environment = servers.command(
                server, tools, work, folder, port, answer_bytes, inner
            )
            return port, servers.Running(command, environment, plan.server_core, inner)

        port, running = start("0")
        with running:
            started_s, headers, content = running.first_answer(port, path, asked[0], seconds_max=60)
            time.sleep(1)
            row.memory_mib, row.processes = running.memory()
            if server.peer != "limit":
                first_wrong = not bodies.right(wants[0], headers, content)
                count = min(64, 2 * len(asked))
                row.asked, row.wrong = (
                    1 + count,
                    first_wrong + wrong_answers(port, path, asked, wants, count),
                )
            watch = machine.Watch(running.pids())
            load(plan, work, running, port, script, row)
            lost = watch.stop(running.pids())
            row.stray, row.steal = lost.stray, lost.steal

        # A server that takes seconds is started once: its order of magnitude is what matters.
        starts = [started_s]
        for again in range(1, plan.starts if started_s < 2 else 1):
            port, running = start(str(again))
            with running:
                starts.append(running.first_answer(port, path, asked[0], seconds_max=60)[0])
        row.start_s = statistics.median(starts)
    return row


def load(plan, work, running, port, script, row):
    """All windows of a started server, each number of connections after a warm-up of its own."""
    seconds = plan.seconds * work.window

    def window(connections, seconds):
        running.settle(seconds_max=15)
        return wrk.measure(plan.client_core, port, script, connections, seconds)

    for connections in tables.CONNECTIONS:
        window(connections, seconds / 3)
        row.rounds[connections] = [window(connections, seconds) for _ in range(plan.rounds)]


def wrong_answers(port, path, asked, wants, count):
    """How many of `count` requests, several at a time, are not answered as the engine answers them."""

    def wrong(i):
        i %= len(asked)
        try:
            status, headers, content = servers.ask(port, path, asked[i], timeout=60)
        except OSError:
            return True
        return status != 200 or not bodies.right(wants[i], headers, content)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(wrong, range(count)))


def version(tools, server):
    if server.peer == "limit":
        return ""
    if server.peer == "windlass":
        return windlass_version(tools)
    return install.version(tools.pythons[server.peer], server.peer)


def windlass_version(tools):
    lines = printed([tools.windlass, "--version"]).splitlines()
    return lines[0].removeprefix("windlass ") if lines else ""


def render(plan, tools, results):
    """The sections of the page and their titles, by name."""
    conditions = conditions_of(plan, tools)
    sections, titles = {}, {"aims": "Aims"}
    sections["aims"] = tables.aims(results, conditions)
    for name, measured in results.items():
        steal = max((it.steal for it in measured.rows), default=0)
        stolen = f"The machine's host took at most {steal:.1%} of the cores during a row."
        sections[name] = tables.servers(measured, f"{conditions} {stolen}")
        titles[name] = measured.work.title
    return sections, titles


def conditions_of(plan, tools):
    """One line under every table: where, when and with what it was measured."""
    revision = install.commit()
    wrk_version = printed(["wrk", "-v"]).split("[")[0].strip()
    engine = install.version(install.client(), "onnxruntime")
    return (
        f"{datetime.date.today()}. {machine.description()}; server on core {plan.server_core}, "
        f"client on core {plan.client_core}. Windlass {windlass_version(tools)} at {revision}, "
        f"ONNX Runtime {engine} in all, {wrk_version}. Medians of {plan.rounds} windows of "
        f"{plan.seconds:g} s (images {plan.seconds * 8 / 3:.0f} s)."
    )


def printed(command):
    """What a program prints; `wrk -v` ends with a failure, so its status says nothing."""
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
