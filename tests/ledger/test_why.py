"""Where the credit example is worst, and why it changed, is named; and nothing else is."""

import random

from credit import applicants, by_infer


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
    worst = get(server, "/api/v1/models/credit/why")
    assert slices(worst) == [{"Home": "rent"}], worst
    assert worst["verdict"] == "found" and worst["loss"] == "misclassification"
    assert worst["rows"] == worst["labelled"] == 4000
    (slice,) = [it for it in worst["slices"] if it["confirmed"]]
    assert slice["difference"]["low"] > 0.3, slice
    assert 0.4 < slice["held_out"]["loss"]["value"] < 0.6, slice
    # Asking again, sealed now, gives the same answer.
    server.settle()
    again = get(server, "/api/v1/models/credit/why")
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
    worst = get(server, "/api/v1/models/credit/why")
    assert slices(worst) == [{"Home": "owner", "Records": "yes"}], worst


def test_errors_that_are_anywhere_are_nowhere(server):
    labelled(server, 3000, lambda row, draw: draw.random() < 0.2)
    worst = get(server, "/api/v1/models/credit/why")
    assert (worst["verdict"], slices(worst)) == ("nothing found", []), worst
