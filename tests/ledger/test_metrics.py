"""Numbers that predictions brought: posted with their ids, told beside them, and what a rollout makes of them."""

import json
import random

import pytest
from credit import NOBODYS, applicants, ask, by_infer, copy, infer_body
from test_rollouts import KEY, Callers, ended_by, over, rollout

PATH = "/api/v1/metrics?model=credit"
ROWS, _ = applicants()
# What is wrong with it, and a word that the reason has.
WRONG = [
    ({"prediction_id": NOBODYS, "name": "revenue"}, "`value` is missing"),
    ({"prediction_id": NOBODYS, "name": "revenue", "value": None}, "`value` is missing"),
    ({"prediction_id": NOBODYS, "name": "revenue", "value": "much"}, "`value` is `much`"),
    ({"prediction_id": NOBODYS, "name": "revenue", "value": True}, "`value` is `true`"),
    ({"prediction_id": NOBODYS, "name": "revenue", "value": [1]}, "`value` is a list"),
    ({"prediction_id": NOBODYS, "name": "revenue", "value": 1e300}, "is no number from"),
    ({"prediction_id": NOBODYS, "name": "revenue", "value": "inf"}, "`value` is `inf`"),
    ({"prediction_id": NOBODYS, "value": 1}, "`name` is missing"),
    ({"prediction_id": NOBODYS, "name": "~", "value": 1}, "`~`"),
    ({"prediction_id": NOBODYS, "name": "x" * 65, "value": 1}, "longer than 64 bytes"),
    ({"prediction_id": NOBODYS, "name": "revenue", "label": 1}, "no column `label`"),
    ({"prediction_id": "7", "name": "revenue", "value": 1}, "UUID"),
    ({"name": "revenue", "value": 1}, "none of"),
    ({"key": "x", "from": "2026-11-02", "to": "2026-11-01", "name": "revenue", "value": 1},
     "ends before"),
    (17, "not an object"),
]  # fmt: skip
GOOD = {"prediction_id": f"{NOBODYS}.3", "name": "revenue", "value": 1.5}


def post(server, metrics, path=PATH):
    """Sends metrics that are all to be taken."""
    status, answer = server.ask_json("POST", path, metrics)
    assert status == 200, answer
    assert answer == {"accepted": len(metrics), "rejected": []}, answer


def test_metrics_are_told_beside_predictions_and_the_last_one_holds(server, tmp_path):
    answer = server.predict(ROWS[:3])
    ids = [id for id, _, _ in answer.rows()]
    post(server, [{"prediction_id": it, "name": "revenue", "value": 7} for it in ids])
    post(server, [{"prediction_id": ids[1], "name": "revenue", "value": -2.5}])
    post(server, [{"prediction_id": ids[1], "value": 3}], f"{PATH}&name=clicks")
    post(server, [GOOD])
    told = (
        'select p.row, m.name, m.value, m.posted from credit p join "credit~metrics" m '
        "on p.prediction_id = m.prediction_id order by p.row, m.name"
    )
    want = [[0, "revenue", 7, 1], [1, "clicks", 3, 1], [1, "revenue", -2.5, 2], [2, "revenue", 7, 1]]
    assert server.query(told) == want
    server.ask_json("POST", "/api/v1/ledger/settle", {})
    assert server.query(told) == want
    unknown = 'select name, value from "credit~metrics" where prediction_id = '
    assert server.query(f"{unknown}'{NOBODYS}.3'") == [["revenue", 1.5]]
    # From a file, with columns of other names.
    file = tmp_path / "paid.csv"
    file.write_text(f"pid,euros,shop\n{ids[0]},70,a\n{ids[2]},-,b\n{ids[2]},80,c\n")
    command = ["metric", "credit", file, "--name", "paid", "--id", "pid", "--value", "euros"]
    said = server.command(*command, status=3)
    assert "3 rows read, 2 metrics of credit kept, 1 not taken" in said, said
    assert "`value` is `-`, want a number" in (tmp_path / "paid.csv.rejects.jsonl").read_text()
    paid = "select value from \"credit~metrics\" where name = 'paid' order by value"
    assert server.query(paid) == [[70], [80]]


def test_wrong_metrics_are_refused_one_by_one(server):
    mixed = [it for wrong, _ in WRONG for it in (wrong, GOOD)]
    lines = "\n".join(json.dumps(it) for it in mixed)
    wrapped = json.dumps({"metrics": mixed})
    for body, kind in [(wrapped, "application/json"), (lines, "application/jsonl")]:
        status, _, answer = server.ask("POST", PATH, body, {"Content-Type": kind})
        answer = json.loads(answer)
        assert status == 200 and answer["accepted"] == len(WRONG), answer
        assert [it["place"] for it in answer["rejected"]] == list(range(1, 2 * len(WRONG), 2))
        for (wrong, why), rejected in zip(WRONG, answer["rejected"], strict=True):
            assert why in rejected["why"], (wrong, rejected)
    for body, kind, want in [
        ("prediction_id,value,amount\n", "text/csv", 400),
        ("prediction_id,name\n", "text/csv", 400),
        ("value\n", "text/csv", 400),
        ("{", "application/json", 400),
        ("<x/>", "text/xml", 415),
    ]:
        status, _, answer = server.ask("POST", PATH, body, {"Content-Type": kind})
        assert status == want, answer
    for path, want in [("/api/v1/metrics", 400), (PATH.replace("credit", "debit"), 404),
                       (f"{PATH}&name=~", 400)]:  # fmt: skip
        status, answer = server.ask_json("POST", path, [GOOD])
        assert status == want, answer


def test_a_model_has_32_metrics_and_they_outlive_the_server(start, tmp_path):
    server = start(paths=[copy(tmp_path / "one", KEY)])
    try:
        post(server, [{**GOOD, "name": f"m{it}"} for it in range(31)])
    finally:
        server.kill()
    with start() as server:
        status, answer = server.ask_json(
            "POST", PATH, [{**GOOD, "name": it} for it in ["a", "b", "m7"]]
        )
        assert status == 200 and answer["accepted"] == 2, answer
        [rejected] = answer["rejected"]
        assert rejected["place"] == 2, answer
        assert "`b` would be more than 32 metrics of `credit`; it has `a`, `m0`" in rejected["why"]
        counted = 'select count(*), count(distinct name) from "credit~metrics"'
        assert server.query(counted) == [[32, 32]]


class Buyers(Callers):
    """Those who buy something afterwards; it is posted what they paid."""

    def __init__(self, server, rows, prices):
        super().__init__(server, rows)
        self.prices = prices

    def work(self):
        connection, metrics = self.server.connect(), []
        while not self.stop.is_set():
            key = next(self.keys)
            row, headers = self.rows[key % len(self.rows)], {"x-customer": f"customer-{key}"}
            status, got, answer = ask(
                connection, "/v2/models/credit/infer", infer_body([row]), headers.items()
            )
            assert status == 200, answer
            paid = self.prices[answer["model_version"]] * random.Random(key).uniform(0.5, 1.5)
            metrics.append({"prediction_id": got["windlass-prediction-id"], "value": paid})
            if len(metrics) == 50:
                status, _, told = ask(connection, f"{PATH}&name=revenue", metrics)
                assert status == 200 and not told["rejected"], told
                metrics.clear()
        connection.close()


@pytest.mark.parametrize(("prices", "want"), [((100, 80), "rolled_back"), ((100, 100), "succeeded")])
def test_a_candidate_that_brings_less_is_rolled_back_and_another_is_not(
    start, tmp_path, prices, want
):
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        server.command("push", copy(tmp_path / "two", KEY, **{"0.5": "0.4"}))
        guardrails = [
            {"metric": "error_rate", "worse_by": "5pp"},
            {"metric": "posted.revenue", "worse_by": "10%", "better": "higher"},
        ]
        # What nobody has posted is refused by name.
        body = {"version": 2, "spec": {"guardrails": guardrails}}
        status, answer = server.ask_json("POST", "/api/v1/models/credit/rollouts", body)
        assert status in (400, 422), answer
        assert "nobody has posted `revenue`" in answer["error"]["message"], answer
        connection = server.connect()
        first = by_infer(connection, ROWS[:1])
        connection.close()
        post(server, [{"prediction_id": first.id, "name": "revenue", "value": 100}])
        begun = rollout(server, 2, steps=["50%"], guardrails=guardrails, alpha=0.05)
        with Buyers(server, ROWS, {"1": prices[0], "2": prices[1]}):
            ended = over(server, begun["id"])
        ended_by(ended, want, "posted.revenue")
