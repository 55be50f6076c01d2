"""A candidate in the shadow: how its unheard answers differ, where, and who is right."""

import json
import re

import pytest
from credit import applicants, by_infer, copy
from server import until

KEY = "ledger: {key: header:x-customer}"
# Only those who rent are judged otherwise.
STRICT = {"label: label}": "label: label, by_group: {column: Home, thresholds: {rent: 0.2}}}"}
ROWS = 1200


def counted(server):
    """How many requests became of the shadow, whatever became of them."""
    _, _, metrics = server.ask("GET", "/metrics")
    found = re.findall(rb"^windlass_shadow_(?:answered|failed|skipped)_total (\d+)", metrics, re.M)
    assert len(found) == 3, found
    return sum(int(it) for it in found)


def test_the_report_names_the_slice_in_which_a_candidate_answers_otherwise(start, tmp_path):
    rows, truths = applicants()
    rows, truths = rows[:ROWS], truths[:ROWS]
    with start(paths=[copy(tmp_path / "one", KEY)]) as server:
        server.command("push", copy(tmp_path / "two", KEY, **STRICT))
        server.command("shadow", "credit", status=4)
        begun = server.command("shadow", "credit:2", "--sample", "100%", "--who", "ann")
        assert "`windlass rollout approve credit`" in begun, begun
        status, page = server.ask_json("GET", "/api/v1/rollouts?model=credit")
        (rollout,) = page["items"]
        assert rollout["shadow_percent"] == 100, rollout

        def told():
            status, answer = server.ask_json("GET", f"/api/v1/rollouts/{rollout['id']}")
            assert status == 200, answer
            return answer

        def report():
            status, answer = server.ask_json("GET", f"/api/v1/rollouts/{rollout['id']}/shadow")
            assert status == 200, answer
            return answer

        until(lambda: told()["state"] == "shadow", "the shadow", 60)
        assert told()["spec"]["approval"] == "each-step" and told()["who"] == "ann"
        assert report()["pairs"] == 0 and report()["moved"]["verdict"] == "not enough data"
        assert "no answers to compare yet" in server.command("rollout", "show", "credit")

        connection, ids = server.connect(), []
        for number, row in enumerate(rows):
            ids.append(by_infer(connection, [row], {"x-customer": f"c{number}"}.items()).id)
        connection.close()
        until(lambda: counted(server) == ROWS, "every request was answered unheard or skipped")

        first = report()
        pairs = server.query(
            'select a.prediction_id, a.class <> b.class, a."Home" from credit a '
            'join "credit~shadow" b on a.prediction_id = b.prediction_id and a.row = b.row'
        )
        changed = [home for _, differs, home in pairs if differs]
        assert first["pairs"] == first["units"] == len(pairs) > ROWS / 2, first
        assert first["changed"] == len(changed) > 60 and set(changed) == {"rent"}, first
        share = first["share"]
        assert share["value"] == pytest.approx(len(changed) / len(pairs))
        assert share["low"] < share["value"] < share["high"]
        slices = first["moved"]["slices"]
        # How narrow the slice is depends on the halves: those without records are judged otherwise most.
        assert slices[0]["confirmed"], slices
        assert all(it["by"].get("Home") == "rent" for it in slices if it["confirmed"]), slices
        # It is the same model with another threshold: scores are as they were.
        assert first["difference"]["mean"]["value"] == pytest.approx(0, abs=1e-6)
        assert len(first["largest"]) == 10 and all(it["changed"] for it in first["largest"])
        assert {it["prediction_id"].split(".")[0] for it in first["largest"]} <= set(ids)
        assert all(it["key"].startswith("c") for it in first["largest"])
        assert first["latency"][0]["p50_ms"] > 0 < first["latency"][1]["p99_ms"]
        assert first["losses"] == [] and first["failed"] == {}

        shown = server.command("rollout", "show", "credit")
        assert f"shadow: {len(changed)} of {len(pairs)} answers changed" in shown, shown

        server.label(
            [{"prediction_id": f"{it}.0", "label": of} for it, of in zip(ids, truths, strict=True)]
        )
        server.settle()
        second = report()
        losses = {it["loss"]: it for it in second["losses"]}
        assert set(losses) == {"misclassification", "squared_error"}, losses
        wrong = losses["misclassification"]
        turned_out = dict(zip(ids, truths, strict=True))
        answers = server.query(
            'select a.prediction_id, a.class, b.class from credit a '
            'join "credit~shadow" b on a.prediction_id = b.prediction_id and a.row = b.row'
        )
        of = [turned_out[str(id).split(".")[0]] for id, _, _ in answers]
        for version, column in [("incumbent", 1), ("candidate", 2)]:
            want = sum(it[column] != truth for it, truth in zip(answers, of, strict=True))
            assert wrong[version] == pytest.approx(want / len(answers)), wrong
        # Neither that rows lie in files nor that labels came changes anything else.
        assert {**second, "losses": []} == first

        shown = server.command("shadow", "credit:2")
        assert "Home=rent" in shown and "misclassification " in shown, shown
        printed = json.loads(server.command("shadow", "credit", "--json"))
        assert printed.keys() == second.keys() and printed["largest"] == second["largest"]
        # It has not lasted long enough.
        server.command("rollout", "approve", "credit", status=3)
        server.command("rollout", "abort", "credit", "--why", "too strict")
        until(lambda: told()["over"], "it is over", 60)
        third = report()
        assert third.pop("to_ms") >= third["from_ms"]
        assert third == second
        server.command("shadow", "credit:1", status=3)
