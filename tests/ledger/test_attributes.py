"""Groups that the model is not told of: attributes are joined to predictions by the key of their rows."""

import csv
import os
import subprocess

from credit import PROTOCOLS, applicants, copy
from server import until

MANIFEST = (
    "ledger: {key: header:x-customer-id, attributes: [Sex]}",
    "monitor: {every: 1s, window: 1h, "
    "fairness: {by: [Sex], metrics: [selection], gap_max: 0.01, support: 50}}",
)


def told_apart(answers):
    """All that are called bad are women, and every other one of the others: the groups differ."""
    return ["f" if called == "bad" or at % 2 else "m" for at, called in enumerate(answers)]


def fairness(server, by):
    return server.ask_json("GET", f"/api/v1/models/credit/fairness?by={by}")


def test_groups_are_told_by_what_rows_do_not_have(start, tmp_path):
    rows, truths = applicants()
    rows = rows[:400]
    folder = copy(tmp_path / "credit", *MANIFEST)
    with start(paths=[folder]) as server:
        connection = server.connect()
        answers, labels = [], []
        for at, row in enumerate(rows):
            answer = PROTOCOLS[0](connection, [row], {"x-customer-id": f"c{at}"})
            ((name, called, _),) = answer.rows()
            answers.append(called)
            labels.append({"prediction_id": name, "label": truths[at]})
        server.label(labels)
        # Nobody has told yet.
        status, answer = fairness(server, "Sex")
        assert (status, "no column `Sex`" in answer["error"]["message"]) == (400, True), answer

        sexes = told_apart(answers)
        people = tmp_path / "people.csv"
        with people.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["customer", "Sex", "Town"])
            for at, sex in enumerate(sexes):
                # Of the last ten nothing is known.
                if at < 390:
                    writer.writerow([f"c{at}", sex, "x, y" if at % 2 else ""])
        shown = server.command("attributes", "credit", people, "--key", "customer")
        assert "Sex" in shown and "390 keys" in shown and "195 keys" in shown, shown

        for _ in range(2):
            status, answer = fairness(server, "Sex")
            assert status == 200, answer
            groups = {it["by"]["Sex"]: it for it in answer["groups"]}
            assert groups.keys() == {"f", "m", "(none)"}, answer
            assert groups["(none)"]["predictions"] == 10
            for sex in "fm":
                mine = [at for at in range(390) if sexes[at] == sex]
                assert groups[sex]["predictions"] == len(mine)
                bad = sum(answers[at] == "bad" for at in mine) / len(mine)
                assert abs(groups[sex]["rates"]["selection"]["rate"]["value"] - bad) < 1e-9, groups[sex]
            assert {it["by"]["Town"] for it in server.quality(by="Town")["groups"]} == {"x, y", "(none)"}
            # From the files as from the log.
            server.settle()
        # A column of the rows and an attribute together.
        status, answer = fairness(server, "Home,Sex")
        assert status == 200 and {"Home", "Sex"} == answer["groups"][0]["by"].keys(), answer

        # Labelled rows are weighed by it, each one once.
        each = tmp_path / "rows.csv"
        flags = ["--by", "Sex,Marital", "--fix", "weights", "--rows", each]
        server.command("fairness", "credit", *flags)
        query = "by=Sex,Marital"
        status, weights = server.ask_json("GET", f"/api/v1/models/credit/fairness/weights?{query}")
        assert status == 200, weights
        assert {it["by"]["Sex"] for it in weights["weights"]} == {"f", "m", "(none)"}, weights
        with each.open(newline="") as file:
            weighed = [float(it["weight"]) for it in csv.DictReader(file)]
        want = sum(it["rows"] * it["weight"] for it in weights["weights"])
        assert len(weighed) == 400 and abs(sum(weighed) - want) < 1e-6, (len(weighed), want)
        path = "/api/v1/models/credit/fairness/weights"
        status, answer = server.ask_json("POST", path, {**weights, "model": "debit"})
        assert (status, "weights of `debit`" in answer["error"]["message"]) == (400, True), answer

        # It is watched.
        found = until(
            lambda: [
                it
                for it in server.ask_json("GET", "/api/v1/alerts")[1]["items"]
                if it["labels"]["monitor"] == "fairness"
            ],
            "an alert of fairness",
        )
        assert found[0]["labels"]["subject"] == "selection by Sex", found

        # What is told later holds, and what is forgotten is not there.
        people.write_text("key,Sex\nc0,x\nc1,\n")
        server.command("attributes", "credit", people)
        groups = {it["by"]["Sex"]: it for it in fairness(server, "Sex")[1]["groups"]}
        assert groups["x"]["predictions"] == 1 and groups["(none)"]["predictions"] == 11, groups
        shown = server.command("attributes", "credit", "--remove")
        assert "no attributes of credit" in shown, shown
        assert fairness(server, "Sex")[0] == 400


def test_what_are_no_attributes_is_refused(start, tmp_path):
    with start(paths=[copy(tmp_path / "credit")]) as server:
        path = "/api/v1/models/credit/attributes"
        for body, status, want in [
            ("Sex\nf\n", 400, "`key`"),
            ("key,Sex\n,f\n", 400, "row 1 has no `key`"),
            ("key\nc1\n", 400, "want a column beside `key`"),
            ("key,Sex\nc1," + "f" * 300 + "\n", 400, "`Sex` of row 1 has 300 bytes, at most are 256"),
        ]:
            got, answer = server.ask_json("POST", path, body.encode(), {"Content-Type": "text/csv"})
            assert got == status and want in answer["error"]["message"], answer
        got, answer = server.ask_json("POST", path, b"{}")
        assert got == 415, answer
        kind = {"Content-Type": "Text/CSV; charset=utf-8"}
        got, answer = server.ask_json("POST", path, b"key,Sex\nc1,f\n", kind)
        assert (got, answer["attributes"]) == (200, [{"name": "Sex", "keys": 1}]), answer
        got, answer = server.ask_json("GET", "/api/v1/models/nobody/attributes")
        assert got == 404, answer
        for number, (more, want) in enumerate([
            ("ledger: {attributes: [Sex]}", "joined by `ledger.key`"),
            ("ledger: {key: header:x, attributes: [Sex, Sex]}", "`Sex` is there twice"),
            ("monitor: {fairness: {by: [Sex]}}", "no column `Sex`"),
        ]):
            folder = copy(tmp_path / f"bad{number}", more)
            command = [os.environ["WINDLASS_TEST_BINARY"], "--server", server.url, "push", folder]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert ended.returncode != 0 and want in ended.stderr, ended
