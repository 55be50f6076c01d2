"""Where the credit example is worst, and why it changed, is named; and nothing else is."""

import random
import time
from datetime import UTC, datetime
from urllib.parse import quote

from credit import applicants, by_infer, copy

# Ids are new in every run, and with them the halves: one of twenty runs might report something by chance.
SURELY = "/api/v1/models/credit/why?alpha=1e-5"


def get(server, path):
    status, answer = server.ask_json("GET", path)
    assert status == 200, answer
    return answer


def labelled(server, count, wrong):
    """Asks about applicants drawn with replacement, and labels each as it was answered, unless `wrong` says not to."""
    rows, _ = applicants()
    draw = random.Random(count)
    rows = [dict(draw.choice(rows)) for _ in range(count)]
    answers, connection = [], server.connect()
    for at in range(0, count, 100):
        answers += by_infer(connection, rows[at : at + 100]).rows()
    connection.close()
    labels = []
    for (id, said, _), row in zip(answers, rows, strict=True):
        other = {"good": "bad", "bad": "good"}[said]
        labels.append({"prediction_id": id, "label": other if wrong(row, draw) else said})
    server.label(labels)


def slices(worst):
    return [it["by"] for it in worst["slices"] if it["confirmed"]]


def test_the_slice_with_errors_is_named_and_no_other(server):
    worst = get(server, "/api/v1/models/credit/why")
    assert (worst["verdict"], worst["slices"]) == ("not enough data", [])

    def wrong(row, draw):
        return draw.random() < (0.5 if row["Home"] == "rent" else 0.1)

    labelled(server, 4000, wrong)
    worst = get(server, SURELY)
    assert slices(worst) == [{"Home": "rent"}], worst
    assert worst["verdict"] == "found" and worst["loss"] == "misclassification"
    assert worst["rows"] == worst["labelled"] == 4000
    (slice,) = [it for it in worst["slices"] if it["confirmed"]]
    assert slice["difference"]["low"] > 0.3, slice
    assert 0.4 < slice["held_out"]["loss"]["value"] < 0.6, slice
    # Asking again, sealed now, gives the same answer.
    server.settle()
    again = get(server, SURELY)
    assert again == worst
    shown = server.command("why", "credit", "--last", "1h")
    assert "Home=rent" in shown and "misclassification" in shown, shown
    shown = server.command("why", "credit", "--to", "30d")
    assert "no predictions" in shown, shown
    for wrong_query in ["support=1", "depth=4", "alpha=0.9", "from=x", "version=9"]:
        status, answer = server.ask_json("GET", f"/api/v1/models/credit/why?{wrong_query}")
        assert status in (400, 404), (wrong_query, answer)


def test_two_conditions_at_once_are_named(server):
    def wrong(row, draw):
        both = row["Records"] == "yes" and row["Home"] == "owner"
        return draw.random() < (0.6 if both else 0.1)

    labelled(server, 4000, wrong)
    worst = get(server, SURELY)
    assert slices(worst) == [{"Home": "owner", "Records": "yes"}], worst


def test_errors_that_are_anywhere_are_nowhere(server):
    labelled(server, 3000, lambda row, draw: draw.random() < 0.2)
    worst = get(server, SURELY)
    assert (worst["verdict"], slices(worst)) == ("nothing found", []), worst


def asked(server, count, change=lambda row: row):
    rows, _ = applicants()
    draw = random.Random(count)
    server.predict_many([change(dict(draw.choice(rows))) for _ in range(count)], each=50)


def around(server, began, changed):
    """What changed around a moment, with a window so short that most of what was asked before is before it."""
    window = max(int((changed - began) * 300), 100)
    at = datetime.fromtimestamp(changed, UTC).isoformat()
    return get(
        server,
        f"/api/v1/models/credit/why/moment?at={quote(at)}&window={window}ms&before={700 * window}ms",
    )


def richer(row):
    if row["Income"] is not None:
        row["Income"] *= 2
    return row


def test_a_feature_that_moved_is_the_first_cause(server):
    moment = get(server, "/api/v1/models/credit/why/moment")
    # It was pushed a moment ago, and that is all that happened.
    assert [it["kind"] for it in moment["causes"]] == ["traffic"], moment
    assert {it["name"] for it in moment["unjudged"]} >= {"drift and quality"}
    began = time.time()
    asked(server, 6000)
    quiet = around(server, began, began + (time.time() - began) * 0.7)
    assert [it for it in quiet["causes"] if it["role"] == "input"] == [], quiet
    changed = time.time()
    asked(server, 3000, richer)
    moment = around(server, began, changed)
    first = moment["causes"][0]
    assert (first["role"], first["kind"], first["subject"]) == ("input", "drift", "Income"), moment
    assert first["evidence"]["low"] > 0.05, first
    inputs = [it["subject"] for it in moment["causes"] if it["role"] == "input"]
    assert inputs == ["Income"], moment
    shown = server.command("why", "credit", "--at", "1m", "--window", "2m")
    assert "not judged" in shown, shown


def test_another_version_is_the_first_cause(start, tmp_path):
    paths = [copy(tmp_path / "first"), copy(tmp_path / "second", **{"timeout: 1s": "timeout: 2s"})]
    with start(paths=paths[:1]) as server:
        server.command("push", paths[1])
        began = time.time()
        asked(server, 3000)
        changed = time.time()
        server.command("traffic", "credit:2")
        asked(server, 2000)
        moment = around(server, began, changed)
        first = moment["causes"][0]
        assert (first["role"], first["kind"], first["subject"]) == ("deed", "traffic", "2"), moment
        assert "from version 1 to 2" in first["summary"], first
        # The same model under another number: nothing else has changed.
        assert not [it for it in moment["causes"] if it["role"] == "input"], moment
        for query in ["at=x", "at=2999-01-01", "window=0s", "window=60d", "before=1", "window=1s&before=1h"]:
            status, answer = server.ask_json("GET", f"/api/v1/models/credit/why/moment?{query}")
            assert status == 400, (query, answer)
