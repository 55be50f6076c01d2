"""What goes wrong with the credit example is found, told to a real Alertmanager, and acted on."""

import csv
import os
import random
import subprocess

import pytest
from alertmanager import Alertmanager
from credit import EXAMPLE, applicants, copy
from server import until

# Looks are a second apart, and one of three thousand may be wrong.
MONITOR = "monitor: {every: 1s, window: 1h, false_alarm_in: 50m}"
ACT = "alerts: [{name: moved, monitor: drift, subject: Income, severity: page, act: [{do: rollback}]}]"


@pytest.fixture
def alertmanager(tmp_path):
    program = os.environ["WINDLASS_TEST_ALERTMANAGER"]
    with Alertmanager(program, tmp_path / "alertmanager") as alertmanager:
        yield alertmanager


def asked(server, count, change=lambda row: row):
    """Asks about applicants drawn with replacement, changed; a seed of the test's own."""
    rows, _ = applicants()
    draw = random.Random(count)
    server.predict_many([change(dict(draw.choice(rows))) for _ in range(count)], each=100)


def richer(row):
    if row["Income"] is not None:
        row["Income"] *= 1.5
    return row


def get(server, path):
    status, answer = server.ask_json("GET", path)
    assert status == 200, answer
    return answer


def test_a_feature_that_moves_is_named_told_and_acted_on(start, tmp_path, alertmanager):
    receivers = tmp_path / "alerts.yaml"
    receivers.write_text(
        "group: {wait: 0s}\n"
        "receivers: [{name: am, kind: alertmanager, "
        f"url: '{alertmanager.url}', allow_private: true}}]\n"
    )
    first = copy(tmp_path / "first", MONITOR)
    second = copy(tmp_path / "second", MONITOR, ACT, **{"timeout: 1s": "timeout: 2s"})
    with start("--alerts", receivers, paths=[first]) as server:
        server.command("push", second, "--reference", EXAMPLE / "data" / "credit.csv")
        server.command("traffic", "credit:2")
        asked(server, 3000)
        drift = get(server, "/api/v1/models/credit/drift")
        assert drift["verdict"] != "drift", drift
        assert drift["reference"]["source"] == "credit.csv"
        assert drift["rows"] == 3000
        assert get(server, "/api/v1/alerts")["items"] == []

        asked(server, 6000, richer)
        drift = get(server, "/api/v1/models/credit/drift")
        moved = {it["name"] for it in drift["columns"] if it["verdict"] == "drift"}
        # The scores follow; no other feature does.
        assert "Income" in moved and moved <= {"Income", "class", "score_bad", "score_good"}, moved

        def told():
            return [it for it in alertmanager.alerts() if it["labels"]["subject"] == "Income"]

        (alert,) = until(told, "Alertmanager knows of it")
        want = {
            "alertname": "moved",
            "model": "credit",
            "model_version": "2",
            "monitor": "drift",
            "severity": "page",
            "subject": "Income",
        }
        assert alert["labels"] == want
        assert "`Income` of credit:2 has drifted" in alert["annotations"]["summary"]

        def rolled_back():
            return get(server, "/api/v1/models/credit/traffic")["version"] == 1

        until(rolled_back, "the traffic goes back to the version before")
        (action,) = get(server, "/api/v1/actions")["items"]
        assert action["deed"] == "rollback", action
        assert action["evidence"]["rows"] > 3000, action
        events = [it for it in get(server, "/api/v1/events")["items"] if "traffic" in it["kind"]]
        assert events[-1]["detail"]["who"] == "alert moved", events
        server.command("actions", "--reverse", action["id"])
        until(lambda: not rolled_back(), "the action is taken back")


def test_sessions_are_added_by_an_action_until_it_is_taken_back(start, tmp_path):
    scale = (
        "alerts: [{name: moved, monitor: drift, subject: Income, act: [{do: scale, instances: 3}]}]"
    )
    first = copy(tmp_path / "first", MONITOR)
    one = {"timeout: 1s": "timeout: 1s, instances: 1"}
    second = copy(tmp_path / "second", MONITOR, scale, **one)

    def serving(server):
        return get(server, "/api/v1/models/credit/versions/2")["serving"]

    with start(paths=[first]) as server:
        server.command("push", second, "--reference", EXAMPLE / "data" / "credit.csv")
        server.command("traffic", "credit:2")
        assert serving(server)["instances"] == 1
        # They come while it answers, and nothing is refused.
        asked(server, 3000, richer)
        until(lambda: "scaled_by" in serving(server), "there are more sessions")
        (action,) = get(server, "/api/v1/actions")["items"]
        assert (action["deed"], action["outcome"]) == ("scale", "done"), action
        assert (action["instances"], serving(server)["instances"]) == (3, 3), action
        back = f"windlass actions --reverse {action['id']}"
        assert back in server.command("show", "credit:2")
        asked(server, 300)
    with start() as server:
        assert serving(server)["instances"] == 3
        server.command("actions", "--reverse", action["id"])
        assert serving(server)["instances"] == 1
        asked(server, 300)


def test_a_version_without_a_baseline_gets_one_of_its_first_predictions(start, tmp_path):
    monitor = "monitor: {every: 1s, window: 1h, false_alarm_in: 50m, drift: {first_rows: 500}}"
    with start(paths=[copy(tmp_path / "model", monitor)]) as server:
        status, answer = server.ask_json("GET", "/api/v1/models/credit/drift")
        assert (status, answer["error"]["code"]) == (404, "no_baseline"), answer
        asked(server, 700)
        path = "/api/v1/models/credit/versions/1/baseline"
        until(lambda: server.ask_json("GET", path)[0] == 200, "the baseline is there")
        baseline = get(server, path)
        assert baseline["reference"]["rows"] == 500
        assert {"Income", "Home", "class", "score_bad"} <= set(baseline["columns"]), baseline
        drift = get(server, "/api/v1/models/credit/drift")
        assert drift["verdict"] == "not enough data", drift["verdict"]


def test_files_are_compared_without_a_server(server, tmp_path):
    with open(EXAMPLE / "data" / "credit.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    def written(name, rows):
        with open(tmp_path / name, "w", newline="") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows(rows)
        return tmp_path / name

    draw = random.Random(7)
    draw.shuffle(rows)
    half = len(rows) // 2
    reference, same = written("reference.csv", rows[:half]), written("same.csv", rows[half:])
    older = [{**it, "Age": str(int(it["Age"]) + 8)} for it in rows[half:]]
    moved = written("moved.csv", older)
    few = written("few.csv", rows[half : half + 20])

    def compared(current, status=0, *more):
        flags = ["--reference", reference, "--current", current]
        return server.command("drift", *flags, *more, status=status)

    compared(same, 0, "--fail-on", "drift")
    compared(few, 3, "--fail-on", "unsure")
    shown = compared(moved, 3, "--fail-on", "drift")
    assert "Age" in shown and "Income" not in shown, shown


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "the baseline"),
        (b'{"format":7,"rows":0,"columns":[],"left_out":[]}', "format"),
        (b'{"format":1,"rows":0,"columns":[],"left_out":[]}', "none of the columns"),
        (
            b'{"format":1,"rows":3,"columns":[{"name":"Income","levels":["a"],'
            b'"counts":[1,1],"missing":0,"distinct":1}],"left_out":[]}',
            "counts 2 rows",
        ),
        (
            b'{"format":1,"rows":2,"columns":[{"name":"Income","numbers":{"range":[0,1],'
            b'"edges":[3],"atoms":[]},"counts":[1,1,0,0],"missing":0,"distinct":1}],"left_out":[]}',
            "edges",
        ),
    ],
)
def test_a_baseline_that_is_none_is_refused(server, body, words):
    path = "/api/v1/models/credit/versions/1/baseline"
    status, answer = server.ask_json("PUT", path, body)
    assert status == 400, answer
    assert words in answer["error"]["message"], answer
    assert server.ask_json("GET", path)[0] == 404


@pytest.mark.parametrize(
    ("drift", "words"),
    [
        ("margin: 0", "`monitor.drift.margin`"),
        ("weights: {Incme: 2}", "`monitor.drift.weights`"),
        ("leave_out: [Incme]", "`monitor.drift.leave_out`"),
    ],
)
def test_a_manifest_that_cannot_be_honoured_is_refused(server, tmp_path, drift, words):
    wrong = copy(tmp_path / "wrong", f"monitor: {{drift: {{{drift}}}}}")
    command = [os.environ["WINDLASS_TEST_BINARY"], "--server", server.url, "push", str(wrong)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 3 and words in ended.stderr, ended
