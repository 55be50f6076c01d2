"""What is done about a model that goes wrong: groups get thresholds of their own, inputs are checked more strictly."""

import csv
import random

import pytest
from credit import EXAMPLE, PROTOCOLS, applicants, ask, copy, infer_body
from server import until

BY = "Marital"


def labelled(server, rows, truths):
    """Asks about all applicants and tells how each turned out; the id of each."""
    ids = server.predict_many(rows, each=50)
    labels = [{"prediction_id": id, "label": it} for id, it in zip(ids, truths, strict=True)]
    server.label(labels)
    return ids


def fairness(server, **query):
    query = "&".join(f"{name}={value}" for name, value in query.items())
    status, answer = server.ask_json("GET", f"/api/v1/models/credit/fairness?{query}")
    assert status == 200, answer
    return answer


def test_groups_get_thresholds_that_are_served_told_and_kept(start, tmp_path):
    rows, truths = applicants()
    with start(paths=[copy(tmp_path / "first")]) as server:
        labelled(server, rows, truths)
        before = fairness(server, by=BY)["gaps"]["selection"]["gap"]
        section = tmp_path / "task.yaml"
        shown = server.command(
            "fairness", "credit", "--by", BY, "--fix", "thresholds", "--out", section
        )
        assert "THRESHOLD" in shown and "before" in shown and "after" in shown, shown
        status, found = server.ask_json(
            "GET", f"/api/v1/models/credit/fairness/thresholds?by={BY}"
        )
        assert status == 200, found
        thresholds = found["task"]["by_group"]["thresholds"]
        # Few are widowed or divorced: they keep the threshold of all.
        assert {"married", "single"} <= set(thresholds), found
        few = {group for group, it in found["thresholds"].items() if it is None}
        assert few and few.isdisjoint(thresholds), found
        assert found["after"]["gap"]["gap"]["value"] < found["before"]["gap"]["gap"]["value"]

        # The section is put into the manifest as it is.
        old = (EXAMPLE / "pipeline" / "windlass.yaml").read_text()
        (task,) = [line for line in old.splitlines() if line.startswith("task:")]
        second = copy(tmp_path / "second", **{task: section.read_text().strip()})
        server.command("push", second)
        server.command("traffic", "credit:2")

        connection = server.connect()
        status, headers, answer = ask(connection, "/v2/models/credit/infer", infer_body(rows[:40]))
        assert status == 200, answer
        told = answer["parameters"]["decision"]
        assert headers["windlass-decision"] == told
        assert told.startswith(f"{BY}: ") and f"married from {thresholds['married']}" in told, told
        # A label alone is decided by scores that nobody asked for.
        body = {**infer_body(rows[:40]), "outputs": [{"name": "label"}]}
        status, _, alone = ask(connection, "/v2/models/credit/infer", body)
        connection.close()
        assert status == 200, alone
        assert [it["name"] for it in alone["outputs"]] == ["label"]
        outputs = {it["name"]: it["data"] for it in answer["outputs"]}
        assert alone["outputs"][0]["data"] == outputs["label"]

        ids = labelled(server, rows, truths)
        wanted, changed = {}, 0
        for protocol in PROTOCOLS:
            answered = server.predict(rows[:500], protocol)
            for row, (id, name, score) in zip(rows, answered.rows()):
                threshold = thresholds.get(row[BY], 0.5)
                wanted[id] = (name, row[BY] if row[BY] in thresholds else None, threshold)
                assert name == ("bad" if score >= threshold else "good"), (row, name, score)
                changed += (score >= threshold) != (score >= 0.5)
        assert changed > 0

        server.settle()
        kept = server.query(
            "select prediction_id, class, threshold_group, threshold from credit where version = 2",
            rows_max=100_000,
        )
        kept = {id: tuple(rest) for id, *rest in kept}
        assert {id: kept[id] for id in wanted} == wanted
        assert set(ids) <= set(kept)
        # Rows of before have no threshold, and lie beside the others.
        (old,) = server.query(
            "select count(*), count(threshold) from credit where version = 1"
        )
        assert old == [len(rows), 0]

        after = fairness(server, by=BY, version=2, support=100)["gaps"]["selection"]["gap"]
        assert after["value"] < before["value"] / 2, (before, after)


def test_weights_make_group_and_label_independent(server, tmp_path):
    rows, truths = applicants()
    labelled(server, rows, truths)
    groups, each = tmp_path / "weights.csv", tmp_path / "rows.csv"
    flags = ["--by", BY, "--fix", "weights", "--out", groups, "--rows", each]
    server.command("fairness", "credit", *flags)
    with open(groups, newline="") as file:
        weights = {(it[BY], it["label"]): float(it["weight"]) for it in csv.DictReader(file)}
    counts = {}
    for row, truth in zip(rows, truths, strict=True):
        # An empty text is a missing one.
        cell = (row[BY] or "(none)", truth)
        counts[cell] = counts.get(cell, 0) + 1
    assert set(weights) == set(counts)
    every = len(rows)
    bad = truths.count("bad") / every
    for group in {group for group, _ in counts}:
        share = {it: counts.get((group, it), 0) * weights.get((group, it), 0) for it in ("bad", "good")}
        if all(share.values()):
            assert share["bad"] / sum(share.values()) == pytest.approx(bad), group
    with open(each, newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == every
    whole = sum(count * weights[cell] for cell, count in counts.items())
    assert sum(float(it["weight"]) for it in lines) == pytest.approx(whole)
    assert {float(it["weight"]) for it in lines} == set(weights.values())


def test_rows_without_the_number_of_a_group_are_weighed_too(server, tmp_path):
    rows, truths = applicants()
    rows = [{**row, "Time": None if at % 4 == 0 else 12.0} for at, row in enumerate(rows[:400])]
    labelled(server, rows, truths[:400])
    each = tmp_path / "rows.csv"
    for _ in range(2):
        flags = ["--by", "Time", "--fix", "weights", "--rows", each]
        shown = server.command("fairness", "credit", *flags)
        assert "(none)" in shown and "12.0" in shown, shown
        with open(each, newline="") as file:
            assert len(list(csv.DictReader(file))) == 400
        # From the files as from the log.
        server.settle()


def richer(row):
    if row["Income"] is not None:
        row["Income"] *= 1.5
    return row


def test_inputs_are_checked_more_strictly_until_it_is_taken_back(start, tmp_path):
    monitor = "monitor: {every: 1s, window: 1h, false_alarm_in: 50m}"
    act = (
        "alerts: [{name: moved, monitor: drift, subject: Income, "
        "act: [{do: stricter_inputs, inputs: {range: refuse}}]}]"
    )
    rows, _ = applicants()
    draw = random.Random(3)

    def asked(server):
        """The status of a request with an income that nobody in the reference has."""
        body = infer_body([{**rows[0], "Income": 1e7}])
        return server.ask_json("POST", "/v2/models/credit/infer", body)[0]

    with start(paths=[copy(tmp_path / "model", monitor, act)]) as server:
        server.command("baseline", "credit:1", EXAMPLE / "data" / "credit.csv")
        assert asked(server) == 200
        moved = [richer(dict(draw.choice(rows))) for _ in range(6000)]
        server.predict_many(moved, each=100)
        until(lambda: asked(server) == 400, "what is out of range is refused")
        (action,) = server.ask_json("GET", "/api/v1/actions")[1]["items"]
        assert (action["deed"], action["outcome"]) == ("stricter_inputs", "done"), action
        assert action["inputs"] == {"range": "refuse"} and action["evidence"], action
        shown = server.command("inputs", "credit")
        assert f"windlass actions --reverse {action['id']}" in shown, shown
    with start(paths=[tmp_path / "model"]) as server:
        assert asked(server) == 400, "it outlives the server"
        server.command("actions", "--reverse", action["id"])
        assert asked(server) == 200
        shown = server.command("actions")
        assert "reversed" in shown and "range refuse" in shown, shown
