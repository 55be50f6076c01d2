"""A model whose answers become wrong is found by its labels, with the moment from which on they did."""

import random
from datetime import UTC, datetime, timedelta

from credit import applicants, by_infer, copy
from server import until

# Looks are a second apart, and one of three thousand may be wrong. The other monitor tells when there was a look.
MONITOR = (
    "monitor: {every: 1s, window: 1h, false_alarm_in: 50m, drift: {first_rows: 0}, "
    "quality: [{metric: accuracy, under: 1}]}"
)


class Told:
    """Asks, and tells what became of it: wrong answers with this probability."""

    def __init__(self, server):
        self.server, self.draw, self.count = server, random.Random(11), 0

    def rows(self, count, wrong, each=50):
        rows, _ = applicants()
        connection = self.server.connect()
        for _ in range(0, count, each):
            asked = [self.draw.choice(rows) for _ in range(each)]
            answer = by_infer(connection, asked)
            labels = []
            for id, called, _ in answer.rows():
                other = "good" if called == "bad" else "bad"
                is_wrong = self.draw.random() < wrong
                labels.append({"prediction_id": id, "label": other if is_wrong else called})
            self.server.label(labels)
        connection.close()
        self.count += count

    def looked_at(self):
        """Waits for a look at all of it; what its monitors found is known with the look after it."""
        for _ in range(2):
            self.rows(50, 0.1)

            def seen():
                of = [it for it in alerts(self.server) if it["labels"]["monitor"] == "quality"]
                return of and of[0]["evidence"]["labelled"] == self.count

            until(seen, f"{self.count} labels are looked at")


def alerts(server):
    status, answer = server.ask_json("GET", "/api/v1/alerts")
    assert status == 200, answer
    return answer["items"]


def concept_drift(server):
    return [it for it in alerts(server) if it["labels"]["monitor"] == "concept_drift"]


def test_answers_that_become_wrong_are_an_alert_with_the_moment(start, tmp_path):
    with start(paths=[copy(tmp_path / "model", MONITOR)]) as server:
        told = Told(server)
        told.rows(1500, 0.1)
        told.looked_at()
        assert concept_drift(server) == []

        before, since = told.count, datetime.now(UTC)
        told.rows(600, 0.5)
        (alert,) = until(lambda: concept_drift(server), "an alert of concept drift")
        assert alert["labels"]["subject"] == "error_rate", alert
        assert alert["labels"]["severity"] == "ticket", alert
        evidence = alert["evidence"]
        assert abs(evidence["rows_before"] - before) < 60, evidence
        assert 0.05 < evidence["before"] < 0.15 and 0.3 < evidence["after"] < 0.65, evidence
        assert evidence["rise_low"] > 0.01, evidence
        moment = datetime.fromisoformat(evidence["since"]).replace(tzinfo=UTC)
        assert abs(moment - since) < timedelta(seconds=3), (evidence, since)
        shown = server.command("alerts")
        assert "concept_drift" in shown and f"at about {evidence['since']}" in shown, shown


def test_answers_as_wrong_as_ever_are_none_and_so_are_better_ones(start, tmp_path):
    with start(paths=[copy(tmp_path / "model", MONITOR)]) as server:
        told = Told(server)
        told.rows(1000, 0.4)
        told.looked_at()
        told.rows(1000, 0.4)
        told.looked_at()
        told.rows(1000, 0.1)
        told.looked_at()
        assert concept_drift(server) == []


def test_it_can_be_switched_off(start, tmp_path):
    off = MONITOR.replace("quality:", "concept_drift: {off: true}, quality:")
    with start(paths=[copy(tmp_path / "model", off)]) as server:
        told = Told(server)
        told.rows(1000, 0)
        told.rows(1000, 1)
        told.looked_at()
        assert concept_drift(server) == []
