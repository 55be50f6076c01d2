"""Declared parts of the rows are beside the same ones of the reference, whoever counts it."""

import csv
import json
import os
import random
import subprocess

from credit import EXAMPLE, applicants, copy
from server import until

CREDIT = EXAMPLE / "data" / "credit.csv"
# Looks are a second apart, and one of three thousand may be wrong.
MONITOR = (
    "monitor: {every: 1s, window: 1h, false_alarm_in: 50m, drift: {first_rows: 0}, "
    "segments: [{by: Home}, {by: Age, edges: [30, 45]}]}"
)
PATH = "/api/v1/models/credit/versions/1/baseline"


def richer(row):
    """Those who live elsewhere, 7 of 100, are richer: of all together one hardly sees it."""
    if row["Home"] == "other" and row["Income"] is not None:
        row["Income"] *= 1.8
    return row


def asked(server, count, change=lambda row: row):
    rows, _ = applicants()
    draw = random.Random(count)
    server.predict_many([change(dict(draw.choice(rows))) for _ in range(count)], each=100)


def told(server, *arguments, status=0):
    return json.loads(server.command("--json", "drift", "credit", *arguments, status=status))


def moved(drift):
    """Columns that have drifted, of all rows and then of segments alone."""
    all_rows = {it["name"] for it in drift["columns"] if it["verdict"] == "drift"}
    segments = {
        f"{column['name']} where {it['by']}={it['value']}"
        for it in drift["segments"]
        for column in it["columns"]
    }
    return all_rows, segments


def rows_of(record):
    return {f"{it['by']}={it['value']}": it["rows"] for it in record["segments"]}


def test_a_move_of_one_segment_is_found_and_told(start, tmp_path):
    with start(paths=[copy(tmp_path / "model", MONITOR)]) as server:
        server.command("baseline", "credit:1", CREDIT)
        status, baseline = server.ask_json("GET", PATH)
        assert status == 200 and "unsegmented" not in baseline, baseline
        want = {"owner": 2107, "rent": 973, "parents": 783, "other": 319, "priv": 246, "ignore": 20}
        rows = rows_of(baseline)
        assert {it: rows[f"Home={it}"] for it in want} == want, rows
        assert rows["Home=(none)"] == 6, rows
        ages = {it: count for it, count in rows.items() if it.startswith("Age")}
        assert list(ages) == ["Age=[30, 45)", "Age=below 30", "Age=45 and over"], ages
        assert sum(ages.values()) == 4454
        shown = server.command("baseline", "credit:1")
        assert "segments by `Home`: owner (2107 rows), rent (973 rows)" in shown, shown

        asked(server, 3000)
        drift = told(server, "--fail-on", "drift")
        assert moved(drift) == (set(), set()), drift
        assert sum(it["rows"] for it in drift["segments"] if it["by"] == "Home") == 3000

        asked(server, 6000, richer)
        drift = told(server)
        all_rows, segments = moved(drift)
        assert drift["verdict"] == "drift" and all_rows == set(), moved(drift)
        assert "Income where Home=other" in segments, segments
        assert all("Home=other" in it for it in segments), segments
        ended = server.command("drift", "credit", "--fail-on", "drift", status=3)
        assert "Home=other" in ended and "1 of 10 segments drifted where all rows have not" in ended

        def alerts():
            items = server.ask_json("GET", "/api/v1/alerts")[1]["items"]
            return [it["labels"] for it in items if it["labels"]["subject"] == "Income"]

        (labels,) = until(alerts, "there is an alert")
        assert (labels["monitor"], labels["segment"]) == ("drift", "Home=other"), labels


def test_what_all_rows_have_is_not_told_of_each_segment(start, tmp_path):
    with start(paths=[copy(tmp_path / "model", MONITOR)]) as server:
        asked(server, 6000)
        with open(CREDIT, newline="") as file:
            trained = [{**it, "Amount": str(int(it["Amount"]) * 2)} for it in csv.DictReader(file)]
        file = tmp_path / "trained.csv"
        with open(file, "w", newline="") as out:
            writer = csv.DictWriter(out, list(trained[0]))
            writer.writeheader()
            writer.writerows(trained)
        # Counted here, by the segments that the version declares.
        skew = told(server, "--reference", file)
        assert moved(skew) == ({"Amount"}, set()), moved(skew)
        owner = next(it for it in skew["segments"] if it["value"] == "owner")
        assert (owner["verdict"], owner["as_all"]) == ("drift", ["Amount"]), owner
        assert owner["reference_rows"] == 2107, owner


def test_baselines_of_predictions_have_segments_too(start, tmp_path):
    with start(paths=[copy(tmp_path / "model", MONITOR)]) as server:
        rows, _ = applicants()
        server.predict_many(rows[:2000], each=100)
        status, made = server.ask_json("POST", PATH, {"first": 2000})
        assert status == 200, made
        of_first = rows_of(made)
        homes = [it["Home"] for it in rows[:2000]]
        assert of_first["Home=owner"] == homes.count("owner"), of_first
        ages = [it["Age"] for it in rows[:2000]]
        assert of_first["Age=below 30"] == sum(it < 30 for it in ages), of_first
        server.settle()
        status, made = server.ask_json("POST", PATH, {})
        assert (status, rows_of(made)) == (200, of_first), made
        drift = told(server, "--last", "1h")
        assert {it["rows"] == it["reference_rows"] for it in drift["segments"]} == {True}, drift


def test_what_a_reference_has_no_segments_of_is_said_at_push(start, tmp_path):
    monitor = "monitor: {segments: [{by: class}, {by: Home}]}"
    with start() as server:
        model = copy(tmp_path / "model", monitor)
        command = [os.environ["WINDLASS_TEST_BINARY"], "--server", server.url, "push", model]
        command += ["--reference", CREDIT]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
        said = "`class` is not segmented: the reference does not have the column"
        assert ended.returncode == 0 and said in ended.stderr, ended
        status, baseline = server.ask_json("GET", PATH)
        assert status == 200 and rows_of(baseline)["Home=owner"] == 2107, baseline


def test_a_baseline_without_segments_stays_and_says_so(start, tmp_path):
    with start(paths=[copy(tmp_path / "model", MONITOR)]) as server:
        old = {
            "format": 1,
            "rows": 100,
            "columns": [
                {
                    "name": "Home",
                    "levels": ["owner", "rent"],
                    "counts": [50, 40, 10],
                    "missing": 0,
                    "distinct": 3,
                }
            ],
            "left_out": [],
        }
        status, made = server.ask_json("PUT", PATH, old)
        assert status == 200 and "segments" not in made, made
        asked(server, 300)
        drift = told(server)
        assert [it["name"] for it in drift["unsegmented"]] == ["Home", "Age"], drift
        shown = server.command("drift", "credit")
        assert "`Home` is not segmented: the reference was not counted by it" in shown, shown
        assert "`windlass baseline credit:1 FILE`" in shown, shown
