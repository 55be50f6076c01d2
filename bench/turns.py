"""One server that is asked in windows that take turns: two servers of one program differ by up to a fifth among themselves,
which is more than most of what is to be measured. What differs between the windows is the version that has the traffic, or what
goes on beside it.
"""

import contextlib
import dataclasses
import datetime
import http.client
import json
import math
import re
import shutil
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path

import install

ONE_CORE = "all on one core"
BY_PAIR = "by pair (95 %; of fewer than six all)"
"""What is told by [Compared.by_pair], in the head of a table."""
WARM_S = 1
"""For how long a version is asked that was just loaded, before it is measured."""


@dataclasses.dataclass
class Compared:
    """A model served without something (`off`) and with it (`on`), in windows that took turns."""

    model: str
    setup: str
    connections: int
    mode: str
    seconds: float
    off: list = dataclasses.field(default_factory=list)
    on: list = dataclasses.field(default_factory=list)
    lost: int = 0
    sealed: int = 0
    """Rows that became files while it was measured."""

    def take_turns(self, pairs, window):
        """Measures by `window(is_on)`. The first of each kind is not counted; who goes first takes turns too."""
        window(False), window(True)
        for is_on in turns(pairs):
            (self.on if is_on else self.off).append(window(is_on))

    def by_pair(self, value=lambda it: it["rate"]):
        """The median ratio of neighbouring windows, and its interval."""
        return interval(value(on) / value(off) for off, on in zip(self.off, self.on))

    def serving_cost(self):
        """The share of what the serving threads could answer that it takes from them, with its interval as `by_pair` has it."""
        return tuple(1 - 1 / it for it in self.by_pair(lambda it: it["serving_s"]))

    def noise(self):
        """How far the windows without it lie apart, as a share of their median."""
        rates = [it["rate"] for it in self.off]
        return (max(rates) - min(rates)) / median(self.off, "rate")


def turns(pairs):
    """Whether it is with, once without and once with for each pair; who goes first takes turns."""
    for pair in range(pairs):
        yield from ((False, True), (True, False))[pair % 2]


def interval(values):
    """The median of values, and its interval at 95 % or a little more: by the number of values on either side of it, whatever
    their distribution. Fewer than six have no such interval: then it is all of them."""
    values = sorted(values)
    count, beyond, chance = len(values), 0, 0.5 ** len(values)
    while (more := chance + math.comb(count, beyond + 1) * 0.5**count) <= 0.025:
        beyond, chance = beyond + 1, more
    return statistics.median(values), values[beyond], values[-1 - beyond]


def median(windows, name):
    return statistics.median(it[name] for it in windows)


class Served:
    """Windlass on one core with a model, whose variants are its versions in their order: version 1 is the first."""

    behind_s = 1.1
    """How long after a window what it left behind has begun: the threads of the ledger look once a second."""

    def __init__(self, tools, work, model, variants, core, more=(), key=None):
        """`variants` are lines of the manifest by name; `more` is what `serve` is told besides; `key` is the header in
        which callers say who they are, where they do."""
        self.tools, self.work, self.model, self.core = tools, work, Path(model), core
        self.variants, self.more, self.key = variants, more, key

    def __enter__(self):
        # What was entered is left again where a later step fails.
        with contextlib.ExitStack() as entered:
            self.start(entered)
            self.entered = entered.pop_all()
        return self

    def start(self, entered):
        import bodies
        import servers
        import wrk

        scratch = Path(entered.enter_context(servers.scratch_folder()))
        self.asked = [bodies.body("v2", row) for row in bodies.rows(self.work)]
        if self.key:
            for number, body in enumerate(self.asked):
                body.headers[self.key] = f"customer-{number}"
        self.path = servers.V2.format(model=self.work.folder)
        self.script = wrk.prepare(scratch / "bodies", self.path, self.asked)
        folders = []
        for name, lines in self.variants.items():
            folder = scratch / "variants" / name / self.model.name
            shutil.copytree(self.model, folder)
            (folder / "windlass.yaml").write_text(f"model: {self.model.name}\n{lines}\n")
            folders.append(folder)
        self.port, inner = servers.port_free(), scratch / "server"
        server = next(it for it in servers.SERVERS if it.name == "Windlass")
        command, environment = servers.command(
            server, self.tools, self.work, folders[0], self.port, 0, inner
        )
        self.data = inner / "data"
        running = servers.Running([*command, *self.more], environment, self.core, inner)
        self.running = entered.enter_context(running)
        self.running.first_answer(self.port, self.path, self.asked[0], seconds_max=60)
        for folder in folders[1:]:
            subprocess.run(
                [self.tools.windlass, "--server", f"http://127.0.0.1:{self.port}", "push", folder],
                check=True,
                capture_output=True,
            )
        self.serving = next(iter(self.variants))

    def __exit__(self, *more):
        return self.entered.__exit__(*more)

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        body = None if body is None else json.dumps(body)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {response.status} {answer}")
        return json.loads(answer or "null")

    def turn_to(self, variant, client_core, connections):
        """Gives it the traffic, and warms it."""
        import wrk

        if variant == self.serving:
            return
        version = 1 + list(self.variants).index(variant)
        path = f"/api/v1/models/{self.work.folder}/traffic"
        self.call("PUT", path, {"version": version, "why": "measured"})
        wrk.measure(client_core, self.port, self.script, connections, WARM_S)
        self.serving = variant

    def window(self, variant, client_core, connections, seconds, setup=ONE_CORE, beside=None):
        """One window, and the time that the server still took behind it, which is charged to it.

        `beside` is entered for as long as the client asks.
        """
        import machine
        import wrk

        running = self.running
        self.turn_to(variant, client_core, connections)
        running.settle(seconds_max=60)
        whole = max(1, round(seconds))
        threads = machine.thread_seconds(running.process.pid)
        with beside or contextlib.nullcontext() as neighbour:
            found = wrk.measure(client_core, self.port, self.script, connections, whole)
        if found.errors:
            raise SystemExit(f"{found.errors} errors with `{variant}`")
        after = machine.thread_seconds(running.process.pid)
        serving_s = machine.used_between(threads, after, serves) / (found.rate * whole)
        writer_s = neighbour.used_s if neighbour else machine.used_between(threads, after, tends)
        before = machine.seconds_of(running.pids())
        time.sleep(self.behind_s)
        running.settle(seconds_max=60)
        behind_s = machine.seconds_of(running.pids()) - before
        # With a core of its own the writer goes on beside the server, and not in its place.
        charged_s = behind_s if setup == ONE_CORE else 0
        rate = found.rate * whole / (whole + charged_s)
        return {
            "rate": rate,
            "asked_rate": found.rate,
            "behind_s": behind_s,
            "serving_s": serving_s,
            "writer_share": writer_s / whole,
            "p50_s": found.p50_s,
            "p99_s": found.p99_s,
        }


def tends(thread):
    """Whether it is one of the threads that tend the ledger."""
    return thread.startswith("ledger ")


def serves(thread):
    """Whether it is any other."""
    return not tends(thread)


def rows_lost(port):
    """Rows that a server answered and could not record."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return int(re.search(r"^windlass_ledger_rows_lost_total (\d+)", text, re.M)[1])


def conditions_of(tools, server_core, client_core, stray, note):
    """One line under every table: where, when and with what it was measured."""
    import machine
    import measure as whole

    return (
        f"{datetime.date.today()}. {machine.description()}; server on core {server_core}, client on core "
        f"{client_core}. Windlass {whole.windlass_version(tools)} at {install.commit()}. "
        f"Other programs used {stray:.0%} of both cores meanwhile. {note}".strip()
    )
