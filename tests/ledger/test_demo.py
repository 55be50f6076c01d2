"""`windlass demo`, as a newcomer runs it: the whole story, and what is left of it."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from server import Server, until

# As many as a slow machine may take for all of it.
STORY_SECONDS, STOP_SECONDS = 900, 60


class Demo(Server):
    """One that runs, with its own folder for temporary files."""

    def __init__(self, folder, *flags):
        binary = os.environ["WINDLASS_TEST_BINARY"]
        self.temporary = Path(folder) / "tmp"
        self.temporary.mkdir(parents=True)
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        command = [binary, "--data-dir", folder / "none", "demo", "--fast", "--json", *flags]
        self.errors = Path(folder) / "stderr"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [str(it) for it in command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        place = self.line()
        self.data = Path(place["data_dir"])
        super().__init__(place["url"], self.process.pid, folder)

    def line(self):
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()[-4000:]
        return json.loads(line)

    def chapters(self, last):
        """The sentences by chapter, up to the first of `last` that `proof` has the number of."""
        told = {}
        while True:
            sentence = self.line()
            told.setdefault(sentence["chapter"], []).append(sentence)
            if last(sentence):
                return told

    def get(self, path):
        status, answer = self.ask_json("GET", path)
        assert status == 200, answer
        return answer

    def query(self, sql):
        status, answer = self.ask_json("POST", "/api/v1/query", {"sql": sql})
        assert status == 200, answer
        return answer["rows"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self, how=signal.SIGINT):
        """The exit status; nothing of it is left."""
        self.process.send_signal(how)
        status = self.process.wait(STOP_SECONDS)
        assert list(self.temporary.iterdir()) == []
        return status


def began(demo, alert):
    """When an alert first fired."""
    history = demo.get(f"/api/v1/alerts/{alert['id']}")["history"]
    return min(it["at_ms"] for it in history if it["kind"] == "firing")


def test_the_demo_tells_the_truth_and_leaves_nothing_behind(tmp_path):
    with Demo(tmp_path) as demo:
        told = demo.chapters(lambda it: it["proof"].get("firing") == 0)
        assert sorted(told) == [1, 2, 3, 4, 5, 6]
        assert told[6][-1]["after_ms"] < 240_000, "about two minutes"
        assert demo.data.is_dir() and demo.temporary in demo.data.parents

        # Drift and the estimate were seen before there was any label of the changed applicants.
        since = next(it["proof"]["since"] for it in told[2] if "since" in it["proof"])
        [[labelled]] = demo.query(
            "select cast(min(labelled_at) as bigint) from car_loan "
            f"where label is not null and time >= '{since}'"
        )
        alerts = demo.get("/api/v1/alerts?model=car_loan&all=true")["items"]
        alerts = [it for it in alerts if it["labels"]["model_version"] == "1"]
        begun = {it["labels"]["monitor"]: began(demo, it) for it in alerts}
        for monitor in ["drift", "estimated_quality"]:
            assert begun[monitor] * 1000 < labelled, (begun, labelled)
        blind = told[2][-1]["proof"]
        assert blind["labelled"] == 0 and blind["predictions"] > 1000
        assert blind["estimated"] < 0.93 < blind["before"]

        # Labels said the same.
        assert begun["quality"] * 1000 > labelled, (begun, labelled)
        right = told[3][-1]["proof"]["accuracy"]
        assert right["high"] < 0.93 and abs(right["value"] - blind["estimated"]) < 0.03, right

        # The bad candidate was rolled back by a guardrail that is named; the good one was not.
        rollouts = demo.get("/api/v1/rollouts?model=car_loan")["items"]
        by_version = {it["candidate"]: it for it in rollouts}
        assert by_version[2]["state"] == "rolled_back", by_version[2]
        assert by_version[3]["state"] == "succeeded", by_version[3]
        bad = demo.get(f"/api/v1/rollouts/{by_version[2]['id']}")
        back = next(it for it in bad["events"] if it["to"] == "rolling_back")
        assert back["said"].startswith("`car_loan:2` is rolled back from step "), back
        assert "guardrail `accuracy` fails" in back["said"], back
        assert demo.get("/api/v1/models/car_loan/traffic") == {"version": 3}

        # Quality is back, and the ledger says so to whoever asks.
        after = told[6][0]["proof"]
        assert after["before"]["high"] < after["after"]["low"], after
        groups = demo.get(f"/api/v1/models/car_loan/quality?from={since}")["groups"]
        groups = {it["version"]: it["metrics"]["accuracy"]["value"] for it in groups}
        assert groups[2] < groups[1] < groups[3], groups
        assert demo.get("/api/v1/alerts?model=car_loan")["items"] == []

        # It goes on until it is stopped.
        before = demo.get("/api/v1/ledger")["recorded"]
        until(lambda: demo.get("/api/v1/ledger")["recorded"] > before + 600, "rows go on")
        assert demo.stop() == 0
        assert "panicked" not in demo.errors.read_text()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_stopped_in_the_middle_leaves_nothing_behind(tmp_path, how):
    with Demo(tmp_path) as demo:
        demo.chapters(lambda it: it["chapter"] == 1)
        assert demo.data.is_dir()
        assert demo.stop(how) == 130
        assert "panicked" not in demo.errors.read_text()


def test_a_demos_data_are_kept_where_that_is_wanted(start, tmp_path):
    kept = tmp_path / "data"
    with Demo(tmp_path / "demo", "--keep", kept) as demo:
        demo.chapters(lambda it: it["chapter"] == 1 and it["proof"].get("rows"))
        assert demo.data == kept
        assert demo.stop() == 130
    # A server goes on with them.
    with start() as server:
        [[rows]] = server.query("select count(*) from car_loan")
        assert rows >= 9000
