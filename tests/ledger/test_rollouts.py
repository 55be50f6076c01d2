"""A model's traffic moves to another version: who answers whom, what is tested, and the way back."""

import itertools
import threading
from collections import Counter

import pytest
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

    def __init__(self, server, rows, threads=2):
        self.server, self.rows = server, rows
        self.keys, self.stop = itertools.count(), threading.Event()
        self.counts, self.lock = Counter(), threading.Lock()
        self.threads = [threading.Thread(target=self.work) for _ in range(threads)]

    def work(self):
        connection = self.server.connect()
        while not self.stop.is_set():
            key = next(self.keys)
            row = self.rows[key % len(self.rows)]
            headers = {"x-customer": f"customer-{key}"}
            status, _, answer = ask(
                connection, "/v2/models/credit/infer", infer_body([row]), headers.items()
            )
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


def over(server, id):
    def seen():
        found = told(server, id)
        return found if found["over"] else None

    return until(seen, "the rollout is over", 120)


def test_a_key_goes_where_its_hash_says_and_stays_there(start, tmp_path):
    rows, _ = applicants()
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        server.command("push", copy(tmp_path / "two", KEY, **{"0.5": "0.4"}))
        begun = rollout(server, 2, steps=["50%"], hold={"min": "10m"}, deadline="1d")
        until(lambda: told(server, begun["id"])["state"] == "step", "the first step", 60)
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
