"""Windlass and its peers, each asked which columns of a file have drifted."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import install

FILES_ALPHA, SERVED_ALPHA = 0.05, 1 / 720
"""`windlass drift` for files; a served model that is looked at hourly with a false alarm in 30 days."""


@dataclass
class Answer:
    drifted: set
    unsure: set = field(default_factory=set)
    """Of too few rows to tell."""
    questions: set = field(default_factory=set)
    """Which questions said drift, of which column."""


class Windlass:
    def __init__(self, program):
        self.program = str(program)
        # No server or data folder of whoever runs this has a say.
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("WINDLASS_")}

    def ask(self, reference, current, alpha):
        command = [self.program, "drift", "--reference", reference, "--current", current]
        command += ["--alpha", repr(alpha), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")
        columns = json.loads(done.stdout)["columns"]

        def of(verdict):
            return {it["name"] for it in columns if it["verdict"] == verdict}

        asked = ((it["name"], effect) for it in columns for effect in it["effects"])
        questions = {(name, it["question"]) for name, it in asked if it["verdict"] == "drift"}
        return Answer(of("drift"), of("not enough data"), questions)


class Peer:
    """A peer in its own environment, for as long as there are questions."""

    def __init__(self, name):
        python = install.peer(name)
        self.version = install.version(python, name)
        script = install.BENCH / "peers" / name / "drift.py"
        quiet = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore", "DO_NOT_TRACK": "1"}
        self.process = subprocess.Popen(
            [str(python), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **quiet},
        )

    def ask(self, reference, current, columns=None):
        question = {"reference": reference, "current": current, "columns": columns}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended with {self.process.wait()}")
        return Answer(set(json.loads(line)["drifted"]))

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def beside(*works):
    """What each of these functions returns, all at work at once."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [it.result() for it in [pool.submit(work) for work in works]]
