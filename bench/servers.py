"""The servers: how each is started and asked, and a running one that is always stopped.

R1. A server's processes run on its core only, listen on 127.0.0.1 only, on a free port.
R2. Every process it started, also one that left its group, is stopped by its own id.
"""

import ctypes
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import install
import machine

PEERS = ["fastapi", "mosec", "litserve", "bentoml", "mlserver", "ray"]
ALL_MODELS = ("tabular", "minilm", "image")


@dataclass(frozen=True)
class Server:
    """One row of a table."""

    name: str
    peer: str
    """Its folder below `peers/`, or `windlass`, or `limit`."""
    body: str
    """The form of its bodies, in `bodies.body`."""
    path: str
    """Where it is asked; `{model}` is the model's name."""
    script: str = "server.py"
    rows_max: int | None = None
    """Instead of the model's own; 1 is no batching."""
    works: tuple = ALL_MODELS
    note: str = ""


V2 = "/v2/models/{model}/infer"
SERVERS = [
    Server("L1", "limit", "v2", V2, note="bare HTTP server, same bytes in and out"),
    Server(
        "L1 binary",
        "limit",
        "v2bin",
        V2,
        works=("tabular", "image"),
        note="the same with binary tensors",
    ),
    Server("Windlass", "windlass", "v2", V2, note="defaults"),
    Server(
        "Windlass binary",
        "windlass",
        "v2bin",
        V2,
        works=("tabular", "image"),
        note="binary tensors in and out",
    ),
    Server(
        "FastAPI", "fastapi", "plain", "/predict", note="orjson, no validation, uvloop, 1 worker"
    ),
    Server(
        "FastAPI raw", "fastapi", "raw", "/raw", works=("tabular", "image"), note="raw float32 body"
    ),
    Server(
        "FastAPI pydantic",
        "fastapi",
        "plain",
        "/predict",
        script="typed.py",
        note="typed in and out",
    ),
    Server("mosec", "mosec", "plain", "/inference", note="batching"),
    Server(
        "mosec b16",
        "mosec",
        "plain",
        "/inference",
        rows_max=16,
        works=("tabular",),
        note="batches of 16",
    ),
    Server("mosec b1", "mosec", "plain", "/inference", rows_max=1, note="no batching"),
    Server("LitServe", "litserve", "plain", "/predict", note="batching"),
    Server("BentoML", "bentoml", "rows", "/predict", note="adaptive batching"),
    Server("BentoML b1", "bentoml", "rows", "/predict", rows_max=1, note="no batching"),
    Server(
        "MLServer", "mlserver", "v2", "/v2/models/model/infer", note="adaptive batching, in process"
    ),
    Server(
        "MLServer b1",
        "mlserver",
        "v2",
        "/v2/models/model/infer",
        rows_max=1,
        note="no batching, in process",
    ),
    Server("Ray Serve", "ray", "plain", "/", note="batching, 1 replica, all on one core"),
]


def port_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Tools:
    """What starts a server: the installed programs."""

    windlass: Path
    limit: Path
    runtime_library: Path
    pythons: dict

    @classmethod
    def of_windlass(cls, built, client):
        """Of a benchmark that starts no peer: a built windlass, or one that is built for it."""
        return cls(
            windlass=(built or install.binary("windlass")).resolve(),
            limit=None,
            runtime_library=install.runtime_library(client),
            pythons={},
        )


def command(server, tools, work, folder, port, answer_bytes, scratch):
    """The command line and environment of a server."""
    kept = ("PATH", "HOME", "LANG", "USER", "XDG_CACHE_HOME")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment["TMPDIR"] = str(scratch)
    if server.peer == "limit":
        return [tools.limit, "http", "--port", port, "--answer-bytes", answer_bytes], environment
    if server.peer == "windlass":
        # The library inside the Python package: the very engine of the peers.
        environment["WINDLASS_ONNXRUNTIME"] = str(tools.runtime_library)
        data = scratch / "data"
        arguments = ["serve", folder, "--port", port, "--data-dir", data]
        return [tools.windlass, *arguments], environment
    peers = install.BENCH / "peers"
    python = tools.pythons[server.peer]
    environment |= {
        "BENCH_MODEL": str(folder / "model.onnx"),
        "BENCH_PORT": str(port),
        "BENCH_ROWS_MAX": str(server.rows_max or work.rows_max),
        "BENCH_WAIT_MS": str(work.wait_ms),
        "PATH": f"{python.parent}:{environment.get('PATH', '')}",
        "PYTHONPATH": str(peers / "model"),
        "PYTHONDONTWRITEBYTECODE": "1",
        # BentoML and Ray would report their use otherwise.
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(scratch / "bentoml"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    script = peers / server.peer / server.script
    if server.peer == "bentoml":
        arguments = ["serve", "server:Predict", "--working-dir", script.parent]
        arguments += ["--host", "127.0.0.1", "--port", port]
        return [python, "-m", "bentoml", *arguments], environment
    return [python, script], environment


class Failed(Exception):
    """A server that cannot be measured, with the end of what it printed."""


@dataclass
class Running:
    """A started server. `with` stops it."""

    command: list
    environment: dict
    core: str
    scratch: Path
    known: dict = field(default_factory=dict)
    """Process id -> its start time, of every process ever seen to belong to it: ids are used again."""

    def __enter__(self):
        adopt_orphans()
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.log = open(self.scratch / "log", "wb")
        self.spawned = time.perf_counter()
        self.process = subprocess.Popen(
            ["taskset", "-c", self.core, *(str(it) for it in self.command)],
            env=self.environment,
            cwd=self.scratch,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not keep the first from being carried out; this takes 15 s at most.
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.stop()
        signal.signal(signal.SIGINT, interrupt)

    def stop(self):
        self.pids()
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(timeout=10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        # What is left, and what has become our child because its parent went first.
        for _ in range(50):
            left = self.pids()
            if not left:
                break
            for pid in left:
                kill(pid)
            reap()
            time.sleep(0.1)
        self.process.poll()
        self.log.close()

    def pids(self):
        """The living processes of this server."""
        table = processes()
        # Only a server's processes and the client are ours, and no client runs while this is asked.
        ours = {self.process.pid, *(pid for pid, it in table.items() if it.parent == os.getpid())}
        ours |= {
            pid
            for pid, started in self.known.items()
            if pid in table and table[pid].started == started
        }
        while True:
            more = {
                pid
                for pid, it in table.items()
                if it.parent in ours or it.session == self.process.pid
            } - ours
            if not more:
                break
            ours |= more
        living = {pid for pid in ours if pid in table and table[pid].state not in "ZX"}
        self.known |= {pid: table[pid].started for pid in living}
        return living

    def first_answer(self, port, path, body, seconds_max):
        """Seconds from its start to its first answer with status 200, and that answer."""
        while True:
            waited = time.perf_counter() - self.spawned
            try:
                status, headers, content = ask(
                    port, path, body, timeout=max(1.0, seconds_max - waited)
                )
                if status == 200:
                    return time.perf_counter() - self.spawned, headers, content
                last = f"status {status}: {content[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                last = repr(error)
            if self.process.poll() is not None:
                raise Failed(f"it ended with {self.process.returncode}: {self.log_end()}")
            if waited > seconds_max:
                raise Failed(f"no answer in {seconds_max} s, the last: {last}; {self.log_end()}")
            time.sleep(0.001 if waited < 1 else 0.02)

    def settle(self, seconds_max):
        """Waits until it is idle: what a client asked and left behind would be paid for by the next one."""
        deadline, pause_s, quiet = time.monotonic() + seconds_max, 0.1, 0
        before = machine.seconds_of(self.pids())
        # Idle is less than a fifth of a core: some servers have chores of their own.
        while quiet < 2 and time.monotonic() < deadline:
            time.sleep(pause_s)
            now = machine.seconds_of(self.pids())
            quiet = quiet + 1 if now - before < 0.2 * pause_s else 0
            before = now

    def log_end(self):
        return " / ".join(
            (self.scratch / "log").read_text(errors="replace").strip().splitlines()[-3:]
        )[-400:]

    def memory(self):
        """Resident MiB of all its processes, shared pages counted in each, and how many there are."""
        pids, total = self.pids(), 0
        for pid in pids:
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf(
                    "SC_PAGESIZE"
                )
            except OSError:
                continue
        return total / 2**20, len(pids)


def ask(port, path, body, timeout):
    """One request on its own connection: status, headers, content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", path, body.content, body.headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@dataclass(frozen=True)
class Process:
    """A line of the process table."""

    parent: int
    session: int
    started: int
    state: str


def processes():
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        table[int(entry)] = Process(int(fields[1]), int(fields[3]), int(fields[19]), fields[0])
    return table


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def adopt_orphans():
    """Makes a daemon that a server started our child once its parent ends, so that it is found (R2)."""
    set_child_subreaper = 36
    ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0)


def reap():
    """Clears ended children, adopted ones too."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def scratch_folder():
    """A folder for one run's files, short enough for the sockets that servers put there."""
    return tempfile.TemporaryDirectory(prefix="wb", ignore_cleanup_errors=True)
