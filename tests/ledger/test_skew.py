"""Rows are compared with others than the baseline's, and all columns together."""

import csv
import json
import random
from datetime import UTC, datetime

from credit import EXAMPLE, applicants

CREDIT = EXAMPLE / "data" / "credit.csv"


def halves(seed):
    with open(CREDIT, newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(seed).shuffle(rows)
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def mixed(rows, column):
    """The same values of the column, of other rows: no column shows it by itself."""
    values = [it[column] for it in rows]
    random.Random(3).shuffle(values)
    return [{**it, column: value} for it, value in zip(rows, values, strict=True)]


def written(path, rows):
    with open(path, "w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return path


def told(server, *arguments, status=0):
    return json.loads(server.command("--json", "drift", *arguments, status=status))


def test_files_are_compared_by_all_columns_together(server, tmp_path):
    first, second = halves(5)
    reference = written(tmp_path / "reference.csv", first)
    same = written(tmp_path / "same.csv", second)
    other = written(tmp_path / "mixed.csv", mixed(second, "Amount"))

    unchanged = told(server, "--reference", reference, "--current", same, "--multivariate")
    together = unchanged["multivariate"]
    assert together["verdict"] != "drift", together
    assert together["auc"]["low"] < 0.5 < together["auc"]["high"], together
    assert together["mmd"]["p"] > 0.01, together

    flags = ["--reference", reference, "--current", other, "--multivariate"]
    found = told(server, *flags)
    assert found["verdict"] != "drift", found
    together = found["multivariate"]
    assert together["verdict"] == "drift" and together["auc"]["low"] > 0.55, together
    assert {"Amount", "Price"} == {it["name"] for it in together["columns"][:2]}, together
    shown = server.command("drift", *flags)
    assert "all columns together: drift" in shown and "most by `" in shown, shown
    server.command("drift", *flags, "--fail-on", "drift", status=3)
    plain = told(server, "--reference", reference, "--current", other)
    assert "multivariate" not in plain


def test_predictions_are_compared_with_those_before_them(server):
    rows, _ = applicants()
    draw = random.Random(17)

    def ask(rows):
        server.predict_many(draw.choices(rows, k=3000), each=100)
        return datetime.now(UTC).isoformat()

    first = ask(rows)
    same = ["credit", "--against-last", "1h", "--multivariate", "--alpha", "0.05"]
    second = ask(rows)
    unchanged = told(server, *same, "--from", first)
    assert unchanged["rows"] == 3000 and unchanged["reference"]["rows"] == 3000, unchanged
    assert unchanged["question"] == "drift", unchanged
    assert unchanged["verdict"] != "drift", unchanged
    assert unchanged["multivariate"]["verdict"] != "drift", unchanged["multivariate"]
    # Both are drawn with replacement; each row counts once.
    assert unchanged["multivariate"]["reference_rows"] < 2600, unchanged["multivariate"]

    ask(mixed(rows, "Amount"))
    changed = told(server, *same, "--from", second)
    together = changed["multivariate"]
    assert together["verdict"] == "drift", together
    assert "Amount" in {it["name"] for it in together["columns"][:3]}, together
    # A baseline has no rows.
    server.command("drift", "credit", "--multivariate", status=2)
    status, answer = server.ask_json("GET", "/api/v1/models/credit/drift?multivariate=true")
    assert status == 400 and "has no rows" in answer["error"]["message"], answer
    status, answer = server.ask_json("GET", "/api/v1/models/credit/drift?against=0s")
    assert status == 400 and "`against`" in answer["error"]["message"], answer


def test_predictions_are_compared_with_what_a_model_was_trained_with(server, tmp_path):
    rows, _ = applicants()
    draw = random.Random(23)
    server.predict_many(draw.choices(rows, k=3000), each=100)
    skew = told(server, "credit", "--reference", CREDIT)
    assert skew["question"] == "skew" and skew["verdict"] != "drift", skew
    assert skew["reference"] == {"source": "credit.csv", "rows": len(rows)}, skew["reference"]
    assert (skew["model"], skew["rows"]) == ("credit", 3000), skew
    assert "Status" not in {it["name"] for it in skew["columns"]}, skew
    # Whatever the rows are called.
    named = tmp_path / "predictions of may.csv"
    named.write_bytes(CREDIT.read_bytes())
    assert told(server, "credit", "--reference", named)["question"] == "skew"
    # No baseline was made of it.
    status, _ = server.ask_json("GET", "/api/v1/models/credit/versions/1/baseline")
    assert status == 404

    with open(CREDIT, newline="") as file:
        trained = [{**it, "Age": str(int(it["Age"]) + 8)} for it in csv.DictReader(file)]
    trained = written(tmp_path / "trained.csv", trained)
    skew = told(server, "credit", "--reference", trained)
    drifted = {it["name"] for it in skew["columns"] if it["verdict"] == "drift"}
    assert drifted == {"Age"}, skew
    shown = server.command("drift", "credit", "--reference", trained)
    assert "skew between training and serving: drift" in shown, shown
    server.command("drift", "credit", "--reference", trained, "--multivariate", status=2)

    # A baseline that was given is asked about in the same words, and one of predictions is not.
    server.command("baseline", "credit:1", CREDIT)
    assert told(server, "credit")["question"] == "skew"
    server.command("baseline", "credit:1", "--first", "2000")
    assert told(server, "credit")["question"] == "drift"
