"""A model's traffic moves to another version: who answers whom, what is tested, and the way back."""

import http.server
import itertools
import json
import os
import random
import re
import sqlite3
import threading
import time
from collections import Counter

import numpy
import onnx
import pytest
from onnx import helper, numpy_helper
from credit import applicants, ask, by_infer, copy, infer_body
from server import until

KEY = "ledger: {key: header:x-customer}"
# Whatever lasts hours in life lasts a second here.
QUICK = {
    "shadow": "off",
    "steps": ["5%", "50%"],
    "hold": {"min": "1s", "min_keys": 20},
    "bake": "1s",
    "deadline": "10m",
    "signals": [],
}


def rollout(server, version, **spec):
    """Begins one, with these settings in place of the quick ones."""
    body = {"version": version, "spec": {**QUICK, **spec}, "who": "ann"}
    status, told = server.ask_json("POST", "/api/v1/models/credit/rollouts", body)
    assert status == 201, told
    return told


def told(server, id):
    status, told = server.ask_json("GET", f"/api/v1/rollouts/{id}")
    assert status == 200, told
    return told


class Callers:
    """People who ask all the time, each with a key of its own, until the block is left."""

    def __init__(self, server, rows, threads=2, more=()):
        """`more` is in the body of each request besides; it may change meanwhile."""
        self.server, self.rows, self.more = server, rows, more
        self.keys, self.stop = itertools.count(), threading.Event()
        self.counts, self.lock = Counter(), threading.Lock()
        self.threads = [threading.Thread(target=self.work) for _ in range(threads)]

    def work(self):
        connection = self.server.connect()
        while not self.stop.is_set():
            key = next(self.keys)
            row = self.rows[key % len(self.rows)]
            headers = {"x-customer": f"customer-{key}"}
            body = {**infer_body([row]), **dict(self.more)}
            status, _, answer = ask(connection, "/v2/models/credit/infer", body, headers.items())
            with self.lock:
                self.counts[status, answer.get("model_version")] += 1
        connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def metric(server, name):
    """What `/metrics` says of one by its labels: `{'state="step"': 1.0}`, without the model's and the version's."""
    _, _, text = server.ask("GET", "/metrics")
    found = re.findall(rf"^{name}{{(?:model=\"credit\",)?(.*)}} (.*)$", text.decode(), re.M)
    return {labels: float(value) for labels, value in found}


def states_of(server):
    states = metric(server, "windlass_rollout_state")
    assert len(states) % 7 == 0, states
    return {labels for labels, value in states.items() if value}


def over(server, id):
    def seen():
        found = told(server, id)
        return found if found["over"] else None

    return until(seen, "the rollout is over", 300)


def ended_by(ended, want, guardrail):
    """It is rolled back by this guardrail, or it succeeds and names it among those that are no worse."""
    assert ended["state"] == want, ended
    if want == "rolled_back":
        back = next(it for it in ended["events"] if it["to"] == "rolling_back")
        assert f"guardrail `{guardrail}` fails: " in back["said"], back
    else:
        promoted = next(it for it in ended["events"] if it["to"] == "promoting")
        assert f"`{guardrail}`" in promoted["said"], promoted


def test_a_key_goes_where_its_hash_says_and_stays_there(start, tmp_path):
    rows, _ = applicants()
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        server.command("push", copy(tmp_path / "two", KEY, **{"0.5": "0.4"}))
        begun = rollout(server, 2, steps=["50%"], hold={"min": "10m"}, deadline="1d")
        until(lambda: told(server, begun["id"])["state"] == "step", "the first step", 60)
        assert metric(server, "windlass_traffic_share") == {'version="1"': 0.5, 'version="2"': 0.5}
        at_step = {'version="2",state="step"'}
        until(lambda: states_of(server) == at_step, "the metric says at which state it is", 60)
        connection = server.connect()
        went = {}
        for key in range(200):
            headers = {"x-customer": f"c{key}"}.items()
            path = "/v2/models/credit/infer"
            status, got, answer = ask(connection, path, infer_body(rows[:1]), headers)
            assert status == 200, answer
            assert "windlass-route-token" not in got
            went[f"c{key}"] = int(answer["model_version"])
        assert 60 < sum(it == 2 for it in went.values()) < 140, went
        # Without a key the answer has a token that holds the caller.
        tokens = {}
        for _ in range(40):
            status, got, answer = ask(connection, "/v2/models/credit/infer", infer_body(rows[:1]))
            tokens[got["windlass-route-token"]] = answer["model_version"]
            assert answer["parameters"]["route_token"] == got["windlass-route-token"]
        assert set(tokens.values()) == {"1", "2"}, tokens
        for token, version in tokens.items():
            headers = {"windlass-route-token": token}.items()
            for path in ["/v2/models/credit/infer"] * 2:
                _, _, answer = ask(connection, path, infer_body(rows[:1]), headers)
                assert answer["model_version"] == version
        status, _, answer = ask(
            connection, path, infer_body(rows[:1]), {"windlass-route-token": "x"}.items()
        )
        assert status == 400 and "16 digits" in answer["error"], answer
        connection.close()
        arms = server.query(
            "select key, version, arm from credit where key is not null order by time"
        )
        assert len(arms) == 200
        for key, version, arm in arms:
            assert went[key] == version and arm == {1: "control", 2: "candidate"}[version]


def test_a_candidate_answers_a_sample_unheard_beside_the_models_rows(start, tmp_path):
    rows, _ = applicants()
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        server.command("push", copy(tmp_path / "two", KEY, **{"0.5": "0.4"}))
        shadow = {"sample": "25%", "for": "10m"}
        begun = rollout(server, 2, shadow=shadow, deadline="1d")
        until(lambda: told(server, begun["id"])["state"] == "shadow", "the shadow", 60)
        connection = server.connect()
        for row in rows[:200]:
            by_infer(connection, [row], {"x-customer": "c"}.items())
        connection.close()

        def unheard():
            return server.query('select count(*) from "credit~shadow"') == [[50]]

        until(unheard, "every fourth request was answered by the candidate")
        pairs = server.query(
            'select a.version, a.arm, b.version, b.arm, a.key = b.key, a."Age" = b."Age" '
            'from credit a join "credit~shadow" b on a.prediction_id = b.prediction_id'
        )
        assert pairs == [[1, "traffic", 2, "shadow", True, True]] * 50
        # What nobody heard counts nowhere else.
        assert server.query("select count(*) from credit") == [[200]]
        status, kpi = server.ask_json("GET", "/api/v1/models/credit/kpi?by=version")
        assert status == 200 and [it["rows"] for it in kpi["groups"]] == [200], kpi
        _, _, metrics = server.ask("GET", "/metrics")
        assert b"windlass_shadow_answered_total 50" in metrics


def test_a_good_candidate_gets_all_of_the_traffic_by_itself(start, tmp_path):
    rows, _ = applicants()
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        server.command("push", copy(tmp_path / "two", KEY, **{"0.5": "0.4"}))
        begun = rollout(server, 2)
        with Callers(server, rows) as callers:
            ended = over(server, begun["id"])
        assert ended["state"] == "succeeded", ended
        assert {status for status, _ in callers.counts} == {200}, callers.counts
        # It may have held in between, for want of data at the beginning of a step.
        stages = [it["to"].split()[0] for it in ended["events"]]
        assert list(dict.fromkeys(stages)) == [
            "validating", "step", "promoting", "baking", "succeeded",
        ]  # fmt: skip
        promoted = next(it for it in ended["events"] if it["to"] == "promoting")
        assert "no guardrail is worse: `error_rate` 0.00% (0 of " in promoted["said"], promoted
        status, traffic = server.ask_json("GET", "/api/v1/models/credit/traffic")
        assert traffic == {"version": 2}
        # The ledger and the command line tell it in the same words.
        shown = server.command("rollout", "show", "credit")
        assert "is rolled out" in shown and promoted["said"] in shown, shown
        arms = dict(server.query("select arm, count(*) from credit group by arm"))
        assert {"candidate", "control", "incumbent", "traffic"} == set(arms), arms
        status, events = server.ask_json("GET", "/api/v1/events?limit=1000")
        assert promoted["said"] in [it["detail"].get("said") for it in events["items"]]


def test_a_candidate_that_fails_is_rolled_back_and_it_says_by_which_guardrail(start, tmp_path):
    rows, _ = applicants()
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        server.command("push", copy(tmp_path / "two", KEY, **{"timeout: 1s": "timeout: 1us"}))
        begun = rollout(server, 2)
        with Callers(server, rows) as callers:
            ended = over(server, begun["id"])
        assert ended["state"] == "rolled_back", ended
        back = next(it for it in ended["events"] if it["to"] == "rolling_back")
        assert "guardrail `error_rate` fails: " in back["said"] and "of 0" not in back["said"], back
        # No caller saw a failure that the candidate did not cause.
        failed = sum(count for (status, _), count in callers.counts.items() if status != 200)
        [[caused]] = server.query("select count(*) from credit where arm = 'candidate'")
        assert 0 < failed <= caused, callers.counts
        [[others]] = server.query(
            "select count(*) from credit where code is not null and version = 1"
        )
        assert others == 0
        shown = server.command("rollout", "list", "credit")
        assert "is rolled back (guardrail)" in shown, shown
        counts = metric(server, "windlass_rollouts_ended_total")
        assert {state for state, count in counts.items() if count} == {'state="rolled_back"'}, counts
        until(lambda: not states_of(server), "the metric says nothing of what is over", 60)


@pytest.mark.parametrize("stage", ["step", "baking"])
def test_the_way_back_waits_for_no_disk(start, tmp_path, stage):
    rows, _ = applicants()
    path, hurry = "/v2/models/credit/infer", {}
    fails = stage == "step"
    change = {"timeout: 1s": "timeout: 1us"} if fails else {"0.5": "0.4"}
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        server.command("push", copy(tmp_path / "two", KEY, **change))
        connection = server.connect()

        def who(key):
            headers = {"x-customer": f"c{key}"}.items()
            return ask(connection, path, infer_body(rows[:1]), headers)[2].get("model_version")

        def is_back():
            return all(who(key) == "1" for key in range(40))

        kept = {"metric": "latency", "over": "10s", "allow": "1%"}
        tests = {} if fails else {"guardrails": [kept]}
        begun = rollout(server, 2, steps=["50%"], bake="10m", **tests)
        registry = sqlite3.connect(tmp_path / "data" / "registry.db", isolation_level=None)
        with Callers(server, rows, more=hurry):
            until(lambda: told(server, begun["id"])["state"] == "step", "the first step", 60)
            if not fails:
                server.command("rollout", "promote", "credit", "--why", "a test")
                until(lambda: told(server, begun["id"])["state"] == stage, stage, 60)
            # Nothing can be written down from here on.
            registry.execute("BEGIN IMMEDIATE")
            if not fails:
                # No request is answered in so little time, whoever is asked.
                hurry["parameters"] = {"timeout": 1}
            until(is_back, "the incumbent answers everybody", 120)
            went_us = int(time.time() * 1e6)
            written = "SELECT count(*) FROM rollout_events WHERE event LIKE '%rolling_back%'"
            assert registry.execute(written).fetchone() == (0,)
            registry.execute("ROLLBACK")
            ended = over(server, begun["id"])
        connection.close()
        assert registry.execute(written).fetchone() > (0,)
        registry.close()
        assert ended["state"] == "rolled_back", ended
        back = next(it for it in ended["events"] if it["to"] == "rolling_back")
        assert back["from"].startswith(stage), back
        assert back["at_ms"] * 1000 <= went_us, (back, went_us)
        late = f"cast(time as bigint) > {went_us} and version = 2"
        sql = f"select count(*), count(*) filter (where {late}) from credit where version = 2"
        [[answers, after]] = server.query(sql)
        assert answers > 0 and after == 0


class Hook(http.server.ThreadingHTTPServer):
    """A webhook on a free port, and what it was told."""

    def __init__(self):
        self.told = []
        super().__init__(("127.0.0.1", 0), Heard)
        self.thread = threading.Thread(target=self.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()


class Heard(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append(json.loads(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def stages(told):
    return [it["to"].split()[0] for it in told]


def test_people_steer_and_everybody_hears_of_it(start, tmp_path):
    with Hook() as hook:
        receivers = tmp_path / "receivers.yaml"
        receivers.write_text(
            "receivers:\n"
            f"  - {{name: hook, kind: webhook, url: 'http://127.0.0.1:{hook.server_port}/', "
            "allow_private: true, rollouts: true}\n"
        )
        with start("--alerts", receivers, paths=[copy(tmp_path / "one", KEY)]) as server:
            server.command("push", copy(tmp_path / "two", KEY, **{"0.5": "0.4"}))
            listener = server.connect()
            listener.request("GET", "/api/v1/events/stream?model=credit")
            stream = listener.getresponse()
            assert stream.headers["Content-Type"] == "text/event-stream"
            begun = rollout(server, 2, hold={"min": "1h"}, deadline="1d")
            until(lambda: told(server, begun["id"])["state"] == "step", "the first step", 60)
            by = ["--who", "ann", "--why", "looking"]
            assert "paused by ann" in server.command("rollout", "pause", "credit", *by)
            said = server.command("rollout", "abort", "credit", *by, status=0)
            assert "rolled back" in said or "was aborted by ann" in said, said
            ended = over(server, begun["id"])
            assert ended["state"] == "aborted" and not ended["missing"], ended
            # Once more is refused in the words of the rollout itself.
            server.command("rollout", "abort", "credit", status=3)
            names = stages(ended["events"])
            assert names == ["validating", "step", "step", "rolling_back", "aborted"], names
            paused = ended["events"][2]
            assert (paused["who"], paused["why"]) == ("ann", "looking")
            assert paused["said"].endswith("is paused (by ann: looking)"), paused

            # The webhook was told of each, in their order, and the stream of each and of its beginning.
            until(lambda: len(hook.told) == 5, "the webhook was told")
            assert [it["event"]["said"] for it in hook.told] == [it["said"] for it in ended["events"]]
            assert hook.told[-1]["rollout"]["state"] == "aborted"
            heard = []
            while len(heard) < 6:
                line = stream.readline().decode()
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    heard += [event["detail"]["said"]] if event["kind"] == "rollout" else []
            assert heard[1:] == [it["said"] for it in ended["events"]]
            listener.close()


def test_what_cannot_be_rolled_out_is_refused_with_the_reason(start, tmp_path):
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        server.command("push", copy(tmp_path / "two", KEY, **{"0.5": "0.4"}))

        def refused(body, status=(409,)):
            got, answer = server.ask_json("POST", "/api/v1/models/credit/rollouts", body)
            assert got in status, answer
            return answer["error"]["message"]

        assert "`credit:9`" in refused({"version": 9}, (404,))
        assert "has all of the traffic already" in refused({"version": 1})
        for spec, words in [
            ({"steps": ["5%", "60%"]}, "over 50%"),
            ({"steps": ["5%", "1%"]}, "must rise"),
            ({"stesp": []}, "unknown field `stesp`"),
            ({"guardrails": [{"metric": "cost_per_1k", "worse_by": "1%"}]}, "`--prices`"),
            ({"guardrails": [{"metric": "posted.revenue", "worse_by": "1", "better": "higher"}]},
             "nobody has posted `revenue`"),
            ({"deadline": "1s"}, "not longer than shadow and steps take"),
        ]:  # fmt: skip
            assert words in refused({"version": 2, "spec": spec}, (400, 422)), words
        begun = rollout(server, 2, hold={"min": "1h"}, deadline="1d")
        assert "is not over" in refused({"version": 2})
        status, answer = server.ask_json(
            "PUT", "/api/v1/models/credit/traffic", {"version": 2, "why": ""}
        )
        assert status == 409 and "windlass rollout abort credit" in answer["error"]["message"]
        # Another candidate may take its place.
        server.command("push", copy(tmp_path / "three", KEY, **{"0.5": "0.3"}))
        shown = server.command("rollout", "start", "credit:3", "--supersede", "--shadow", "off")
        assert "credit:3 is" in shown, shown
        assert over(server, begun["id"])["state"] == "superseded"


@pytest.mark.parametrize("unrecorded", ["one", "two"])
def test_answers_that_nobody_records_are_not_compared(start, tmp_path, unrecorded):
    ledger = {"one": KEY, "two": KEY, unrecorded: 'ledger: {mode: "off"}'}
    with start(paths=[copy(tmp_path / "one", ledger["one"])]) as server:
        server.command("push", copy(tmp_path / "two", ledger["two"], **{"0.5": "0.4"}))
        status, answer = server.ask_json(
            "POST", "/api/v1/models/credit/rollouts", {"version": 2}
        )
        assert status in (400, 422), answer
        assert "`ledger.mode` of one is `off`" in answer["error"]["message"], answer


def between(told):
    """What was looked at between the rollout's events."""
    decided = {it["at_ms"] for it in told["events"]}
    return [it for it in told["history"] if it["at_ms"] not in decided]


@pytest.mark.parametrize("stage", ["shadow", "step", "baking"])
def test_whatever_ends_the_server_its_rollout_goes_on_with_the_same_split(start, tmp_path, stage):
    rows, _ = applicants()
    spec = {
        "shadow": {"shadow": {"sample": "10%", "for": "1h"}, "deadline": "1d"},
        "step": {"steps": ["50%"], "hold": {"min": "1h"}, "deadline": "1d"},
        "baking": {"bake": "1h", "steps": ["50%"], "hold": {"min": "1h"}, "deadline": "1d"},
    }[stage]

    def asked(server):
        connection, versions = server.connect(), []
        for key in range(60):
            headers = {"x-customer": f"c{key}"}.items()
            _, _, answer = ask(connection, "/v2/models/credit/infer", infer_body(rows[:1]), headers)
            versions.append(answer["model_version"])
        connection.close()
        return versions

    server = start(paths=[copy(tmp_path / "one", KEY)])
    try:
        server.command("push", copy(tmp_path / "two", KEY, **{"0.5": "0.4"}))
        begun = rollout(server, 2, **spec)
        if stage == "baking":
            until(lambda: told(server, begun["id"])["state"] == "step", "the step", 60)
            server.command("rollout", "promote", "credit", "--why", "a test")
        until(lambda: told(server, begun["id"])["state"] == stage, stage, 60)
        before = asked(server)
        looks = until(lambda: between(told(server, begun["id"])), "a look", 60) if stage == "step" else []
    finally:
        server.kill()
    # With the same command line, which gave the first version the traffic when it was new.
    with start(paths=[tmp_path / "one"]) as server:
        assert asked(server) == before
        found = told(server, begun["id"])
        assert found["state"] == stage and not found["over"], found
        if stage == "step":
            assert set(before) == {"1", "2"}
            # How the evidence went before is still there; the first look is written down before it is told.
            assert looks[0] in found["history"], (looks[0], found["history"])
        # The incumbent is warm until the end, so that going back is at once.
        server.command("rollout", "abort", "credit", "--why", "a test")
        assert asked(server) == ["1"] * 60
        ended = over(server, begun["id"])
        assert ended["state"] == "aborted"
        assert all(it in ended["history"] for it in looks[:1])


def slower(folder):
    """A candidate that answers the same, later: what it computes besides comes to nothing."""
    folder = copy(folder, KEY)
    model = onnx.load(folder / "model.onnx")
    graph = model.graph
    matrix = numpy.random.default_rng(7).standard_normal((500, 500)).astype("float32") / 500
    graph.initializer.append(numpy_helper.from_array(matrix, "slow_matrix"))
    graph.initializer.append(numpy_helper.from_array(numpy.float32(0), "slow_zero"))
    scores = next(it for it in graph.output if it.name == "probabilities")
    for node in graph.node:
        node.output[:] = ["fast" if it == scores.name else it for it in node.output]
        node.input[:] = ["fast" if it == scores.name else it for it in node.input]
    nodes = [("ReduceSum", ["Age"], "slow_sum", {"keepdims": 0}),
             ("Mul", ["slow_matrix", "slow_sum"], "slow_0", {})]  # fmt: skip
    nodes += [("MatMul", [f"slow_{it}", "slow_matrix"], f"slow_{it + 1}", {}) for it in range(12)]
    nodes += [("ReduceSum", ["slow_12"], "slow_all", {"keepdims": 0}),
              ("Mul", ["slow_all", "slow_zero"], "slow_nothing", {}),
              ("Add", ["fast", "slow_nothing"], scores.name, {})]  # fmt: skip
    for kind, inputs, output, attributes in nodes:
        graph.node.append(helper.make_node(kind, inputs, [output], **attributes))
    onnx.save(model, folder / "model.onnx")
    return folder


def test_a_candidate_that_is_slower_is_rolled_back(start, tmp_path):
    rows, _ = applicants()
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        server.command("push", slower(tmp_path / "two"))
        # From so many requests on it is known how long the incumbent takes.
        server.predict_many(rows[:150], each=1)
        begun = rollout(server, 2, shadow="off")
        names = [it["name"] for it in begun["tests"]]
        assert names[0] == "error_rate" and names[1].startswith("latency over "), names
        with Callers(server, rows) as callers:
            ended = over(server, begun["id"])
        assert ended["state"] == "rolled_back", ended
        back = next(it for it in ended["events"] if it["to"] == "rolling_back")
        assert f"guardrail `{names[1]}` fails: " in back["said"], back
        assert {status for status, _ in callers.counts} == {200}, callers.counts


class Labelled(Callers):
    """Those who tell afterwards how each turned out."""

    def __init__(self, server, rows, truths):
        super().__init__(server, rows)
        self.truths = truths

    def work(self):
        connection, labels = self.server.connect(), []
        while not self.stop.is_set():
            key = next(self.keys)
            place = key % len(self.rows)
            headers = {"x-customer": f"customer-{key}"}
            answer = by_infer(connection, [self.rows[place]], headers.items())
            labels.append({"prediction_id": f"{answer.id}.0", "label": self.truths[place]})
            if len(labels) == 50:
                status, told, _ = ask(connection, "/api/v1/labels?model=credit", labels)
                assert status == 200, told
                labels.clear()
        connection.close()


def test_a_candidate_that_is_wrong_about_a_slice_is_rolled_back_when_labels_come(start, tmp_path):
    rows, truths = applicants()
    one = copy(tmp_path / "one", KEY)
    # Whoever is married is taken to be bad: most of them, and most of those are good.
    wrong = "threshold: 0.5, by_group: {column: Marital, thresholds: {married: 0.0}}"
    two = copy(tmp_path / "two", KEY, **{"threshold: 0.5": wrong})
    with start(paths=[one]) as server:
        server.command("push", two)
        guardrails = [
            {"metric": "error_rate", "worse_by": "1pp"},
            {"metric": "accuracy", "worse_by": "2pp"},
        ]
        begun = rollout(server, 2, steps=["50%"], hold={"min": "1h"}, deadline="1d",
                        guardrails=guardrails)  # fmt: skip
        with Labelled(server, rows, truths):
            ended = over(server, begun["id"])
        assert ended["state"] == "rolled_back", ended
        back = next(it for it in ended["events"] if it["to"] == "rolling_back")
        assert "guardrail `accuracy` fails: " in back["said"], back


def test_kills_at_any_moment_let_nobody_change_sides(start, tmp_path):
    """One rollout under load, its server killed again and again: it ends as if nothing had been, and whoever heard the
    candidate once hears no other version again."""
    rows, _ = applicants()
    dice, sides = random.Random(5), {}
    # Of 300 keys, 60 or so are the candidate's at the first step: at 5% there are fewer than ten in one run of fifteen.
    spec = {**QUICK, "steps": ["20%", "50%"], "hold": {"min": "2s", "min_keys": 10}}
    spec |= {"approval": "before-promote"}
    # A version that has just been loaded again may be slower than one that has not, which is not what this is about.
    spec |= {"guardrails": [{"metric": "error_rate", "worse_by": "5pp"}]}
    body = {"version": 2, "spec": spec}
    id = None

    def ask_all(server):
        connection = server.connect()
        for key in range(300):
            headers = {"x-customer": f"c{key}"}.items()
            status, _, answer = ask(
                connection, "/v2/models/credit/infer", infer_body(rows[key : key + 1]), headers
            )
            assert status == 200, answer
            version = answer["model_version"]
            assert sides.setdefault(key, version) != "2" or version == "2", (key, version)
            sides[key] = version
        connection.close()

    kills = min(int(os.environ.get("WINDLASS_TEST_KILLS", "4")), 6)
    for kill in range(kills):
        server = start(paths=[copy(tmp_path / "one", KEY)] if kill == 0 else [])
        try:
            if id is None:
                server.command("push", copy(tmp_path / "two", KEY, **{"0.5": "0.4"}))
                status, begun = server.ask_json("POST", "/api/v1/models/credit/rollouts", body)
                assert status == 201, begun
                id = begun["id"]
            ends = time.monotonic() + dice.uniform(0, 4)
            while time.monotonic() < ends:
                ask_all(server)
        finally:
            server.kill()
    with start() as server:
        def awaits():
            ask_all(server)
            found = told(server, id)
            assert not found["over"], found
            return found.get("phase") == "awaiting_approval"

        until(awaits, "it awaits approval", 120)
        assert "2" in sides.values()
        server.command("rollout", "approve", "credit", "--who", "ann")
        ended = over(server, id)
        assert ended["state"] == "succeeded", ended
        ask_all(server)
        assert set(sides.values()) == {"2"}
        status, events = server.ask_json("GET", f"/api/v1/rollouts/{id}/events?limit=1000")
        assert [it["number"] for it in events["items"]] == list(range(len(events["items"])))


class Regulars(Callers):
    """A thousand people, each with a row of its own, who ask again and again."""

    def work(self):
        connection = self.server.connect()
        while not self.stop.is_set():
            number = next(self.keys) % len(self.rows)
            headers = {"x-customer": f"customer-{number}"}.items()
            body = infer_body([self.rows[number]])
            status, _, answer = ask(connection, "/v2/models/credit/infer", body, headers)
            assert status == 200, answer
        connection.close()


@pytest.mark.parametrize(("threshold", "want"), [("0.3", "rolled_back"), ("0.49", "succeeded")])
def test_a_candidate_is_held_to_groups_that_the_model_is_not_told_of(start, tmp_path, threshold, want):
    rows, _ = applicants()
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        # It is called by the score, and not as the model itself calls it.
        changes = {"0.5": threshold, ", label: label": ""}
        server.command("push", copy(tmp_path / "two", KEY, **changes))
        connection, scores = server.connect(), []
        for row in rows:
            [(_, called, score)] = by_infer(connection, [row]).rows()
            assert (called == "bad") == (score >= 0.5), (called, score)
            scores.append(score)
        connection.close()
        guardrails = [
            {"metric": "fairness.selection", "by": "Sex", "worse_by": "15pp"},
            {"metric": "error_rate", "worse_by": "5pp"},
        ]
        body = {"version": 2, "spec": {"guardrails": guardrails}}
        status, answer = server.ask_json("POST", "/api/v1/models/credit/rollouts", body)
        assert status == 422, answer
        assert "there is no column and no attribute `Sex`" in answer["error"]["message"], answer
        # Women are those whom a lower threshold calls bad and the higher one does not.
        people = tmp_path / "people.csv"
        sexes = ["f" if 0.3 <= score < 0.5 else "m" for score in scores]
        assert min(sexes.count("f"), sexes.count("m")) > 50, sexes
        lines = [f"customer-{at},{sex}\n" for at, sex in enumerate(sexes)]
        people.write_text("key,Sex\n" + "".join(lines))
        server.command("attributes", "credit", people)
        begun = rollout(server, 2, steps=["50%"], guardrails=guardrails, alpha=0.05)
        with Regulars(server, rows):
            ended = over(server, begun["id"])
        ended_by(ended, want, "fairness.selection by Sex")


@pytest.mark.timeout(400)
def test_a_worse_candidate_is_rolled_back_before_any_label_of_its_rows_comes(start, tmp_path):
    rows, truths = applicants()
    # Whoever is married is taken to be bad: most of them, and most of those are good.
    wrong = "threshold: 0.5, by_group: {column: Marital, thresholds: {married: 0.0}}"
    two = copy(tmp_path / "two", KEY, **{"threshold: 0.5": wrong})
    three = copy(tmp_path / "three", KEY, **{"threshold: 0.5": "threshold: 0.49"})
    guardrails = [
        {"metric": "error_rate", "worse_by": "1pp"},
        {"metric": "estimated.accuracy", "worse_by": "3pp"},
    ]
    spec = {"steps": ["50%"], "guardrails": guardrails, "alpha": 0.05}
    server = start(paths=[copy(tmp_path / "one", KEY)])
    try:
        server.command("push", two)
        server.command("push", three)
        ids = server.predict_many(rows)

        def refused(guardrail):
            body = {"version": 2, "spec": {**QUICK, "guardrails": [guardrail]}}
            got, answer = server.ask_json("POST", "/api/v1/models/credit/rollouts", body)
            assert got in (400, 409, 422), answer
            return answer["error"]["message"]

        assert "it needs 400, and there are 0" in refused(guardrails[1])
        assert "cannot be told of answers without labels" in refused(
            {"metric": "estimated.recall", "worse_by": "1pp"}
        )
        labels = zip(ids, truths, strict=True)
        server.label([{"prediction_id": id, "label": it} for id, it in labels])
        begun = rollout(server, 2, **spec, hold={"min": "1h"}, deadline="1d")
    finally:
        # Whatever was learned by then.
        server.kill()
    server = start(paths=[tmp_path / "one"])
    try:
        with Callers(server, rows):
            ended = over(server, begun["id"])
        assert ended["state"] == "rolled_back", ended
        back = next(it for it in ended["events"] if it["to"] == "rolling_back")
        assert "guardrail `estimated.accuracy` fails: " in back["said"], back
        assert back["said"] in server.command("rollout", "show", begun["id"])
        arms = "select count(*), count(label) from credit where arm in ('candidate', 'control')"
        [[answered, labelled]] = server.query(arms)
        assert answered > 100 and labelled == 0
        # What was learned goes on in the next process.
        begun = rollout(server, 3, **spec)
        until(lambda: told(server, begun["id"])["state"] == "step", "the step", 60)
    finally:
        server.kill()
    with start(paths=[tmp_path / "one"]) as server:
        with Callers(server, rows):
            ended = over(server, begun["id"])
        assert ended["state"] == "succeeded", ended
        [error_rate, accuracy] = ended["tests"]
        assert accuracy["name"] == "estimated.accuracy", ended
