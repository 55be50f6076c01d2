"""A server that is killed at any moment has what it acknowledged, answers and labels, once.

A failing run is repeated with its seed: `WINDLASS_TEST_SEED=N`.
"""

import http.client
import io
import os
import random
import threading
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as parquet
import pytest

import expected
from credit import PROTOCOLS, Shed, applicants, ask, copy

KILLS = int(os.environ.get("WINDLASS_TEST_KILLS", "200"))
SEED = int(os.environ.get("WINDLASS_TEST_SEED", "20261124"))
PARQUET = "application/vnd.apache.parquet"
# The whole contents are compared after so many kills.
CHECK_EVERY = 10
PREDICTORS = 2
# Most seconds from a restart to the kill.
DELAY_MAX = 0.15
# A label's own time tells the attempts to send it apart.
FIRST_ATTEMPT = datetime(2026, 1, 1, tzinfo=UTC)


def moment(at):
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Book:
    """What callers were told: kept beside the server, which does not know of it."""

    def __init__(self):
        self.changed = threading.Condition()
        self.rows, self.truths = applicants()
        # By id: class, score, truth.
        self.answers = {}
        # Rows of requests that were sent and not answered: the server may have them, or not.
        self.unanswered = 0
        # Labels sent, by their attempt's number: id, label. And those that were acknowledged.
        self.sent, self.acknowledged = {}, set()
        # What is to be labelled: id, and whether wrongly at first.
        self.waiting = []
        # The label of each id that was acknowledged last.
        self.told = {}
        # Settling that began, and that came to its end.
        self.settling, self.settled = 0, 0
        # Requests refused because there was no room: a few of their rows may be there all the same.
        self.shed = 0
        # Rows that were answered and are not there: no more than the ledger says that it lost.
        self.lost = 0

    def count(self):
        return len(self.answers) + len(self.acknowledged)

    def forget(self, ids):
        """What the ledger could not record; its labels are those of unknown rows."""
        for id in ids:
            del self.answers[id]
            self.told.pop(id, None)
        self.waiting = [it for it in self.waiting if it[0] not in ids]


class Callers:
    """Threads that ask, label and settle until the server is gone."""

    def __init__(self, server, book, seed):
        self.server, self.book, self.errors = server, book, []
        work = [*[self.predict] * PREDICTORS, self.label, self.settle]
        self.threads = [
            threading.Thread(target=self.until_gone, args=(it, random.Random(f"{seed} {number}")))
            for number, it in enumerate(work)
        ]
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()
        assert not self.errors, self.errors

    def until_gone(self, work, dice):
        connection = self.server.connect(timeout=30)
        try:
            while True:
                work(connection, dice)
        except (OSError, http.client.HTTPException):
            # As when a server is killed; when it was not, the test sees that.
            pass
        except BaseException as error:  # noqa: BLE001 -- told by `join`.
            self.errors.append(error)
        finally:
            connection.close()

    def predict(self, connection, dice):
        book, count = self.book, dice.choice([1, 1, 2, 5])
        at = dice.randrange(len(book.rows) - count)
        with book.changed:
            book.unanswered += count
        try:
            answer = dice.choice(PROTOCOLS)(connection, book.rows[at : at + count])
        except Shed:
            with book.changed:
                book.shed += 1
            return
        with book.changed:
            book.unanswered -= count
            for row, (id, name, score) in enumerate(answer.rows()):
                assert id not in book.answers
                book.answers[id] = (name, score, book.truths[at + row])
                book.waiting.append((id, dice.random() < 0.2))
            book.changed.notify_all()

    def label(self, connection, dice):
        """Some at once; what was not acknowledged is sent again by whoever labels next."""
        book = self.book
        with book.changed:
            book.changed.wait_for(lambda: book.waiting, timeout=0.2)
            taken = book.waiting[: dice.randrange(1, 20)]
            labels, attempts = [], []
            for id, wrong in taken:
                truth = book.answers[id][2]
                label = {"bad": "good", "good": "bad"}[truth] if wrong else truth
                attempt = len(book.sent)
                book.sent[attempt] = (id, label)
                attempts.append(attempt)
                at = FIRST_ATTEMPT + timedelta(microseconds=attempt)
                labels.append({"prediction_id": id, "label": label, "at": moment(at)})
        status, _, answer = ask(connection, "/api/v1/labels?model=credit", labels)
        assert (status, answer) == (200, {"accepted": len(labels), "rejected": []}), answer
        with book.changed:
            book.acknowledged.update(attempts)
            book.told.update(book.sent[it] for it in attempts)
            del book.waiting[: len(taken)]
            # Corrected later.
            book.waiting.extend((id, False) for id, wrong in taken if wrong)
            book.changed.notify_all()

    def settle(self, connection, dice):
        book = self.book
        with book.changed:
            more = book.count() + dice.randrange(1, 10)
            book.changed.wait_for(lambda: book.count() >= more, timeout=0.2)
            book.settling += 1
            book.changed.notify_all()
        status, _, answer = ask(connection, "/api/v1/ledger/settle", "")
        assert status == 200, answer
        with book.changed:
            book.settled += 1
            book.changed.notify_all()


def wait_for_the_moment(book, dice):
    """After so many answers, or so long; or some time after settling began, amid its files."""
    with book.changed:
        more, chance = book.count() + dice.randrange(60), dice.random()
        if chance < 0.5:
            settling = book.settling + 1
            book.changed.wait_for(lambda: book.settling >= settling, timeout=5)
        elif chance < 0.65:
            settled = book.settled + 1
            book.changed.wait_for(lambda: book.settled >= settled, timeout=5)
        book.changed.wait_for(lambda: book.count() >= more, timeout=dice.uniform(0, DELAY_MAX))


def table(server, sql):
    return parquet.read_table(io.BytesIO(server.file(sql, PARQUET))).to_pydict()


def check(server, book):
    """Everything that is in the ledger against everything that callers know."""
    got = table(server, "select prediction_id, class, score_bad from credit")
    ids = got["prediction_id"]
    rows = dict(zip(ids, zip(got["class"], got["score_bad"], strict=True), strict=True))
    assert len(rows) == len(ids), f"{len(ids) - len(rows)} predictions are there twice"
    missing = book.answers.keys() - rows.keys()
    if missing:
        some, lost = sorted(missing)[:3], server.ledger()["lost"]
        book.lost += len(missing)
        assert book.lost <= lost, f"{book.lost} answers are missing, {lost} counted, such as {some}"
        book.forget(missing)
    extra = len(rows.keys() - book.answers.keys())
    assert extra <= book.unanswered, f"{extra} rows, {book.unanswered} were not answered"
    for id, (name, score, _) in book.answers.items():
        assert rows[id] == (name, score), id

    got = table(server, "select prediction_id, label, labelled_at from labels")
    attempts = [(it - FIRST_ATTEMPT) // timedelta(microseconds=1) for it in got["labelled_at"]]
    assert len(set(attempts)) == len(attempts), "labels are there twice"
    missing = book.acknowledged - set(attempts)
    assert not missing, f"{len(missing)} labels are missing, such as {sorted(missing)[:3]}"
    told = zip(got["prediction_id"], got["label"], strict=True)
    for attempt, label in zip(attempts, told, strict=True):
        assert book.sent[attempt] == label
    return len(ids)


def check_count(server, book):
    """What it costs little to ask."""
    ((rows, ids),) = server.query("select count(*), count(distinct prediction_id) from predictions")
    assert rows == ids, "predictions are there twice"
    least = len(book.answers)
    if rows < least:
        least -= server.ledger()["lost"] - book.lost
    assert least <= rows <= len(book.answers) + book.unanswered


def finish_labels(server, book):
    """Sends what is still to be labelled, so that it is known which labels hold."""
    callers = Callers.__new__(Callers)
    callers.book, connection = book, server.connect()
    while book.waiting:
        callers.label(connection, random.Random(0))
    connection.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("mode", "when_full", "kills"),
    [("commit", "shed", KILLS - KILLS // 4), ("buffered", "lose", KILLS // 4)],
)
def test_nothing_acknowledged_is_missing_or_twice(start, tmp_path, mode, when_full, kills):
    print(f"seed {SEED}")
    book, dice = Book(), random.Random(f"{SEED} {mode}")
    model = copy(tmp_path / "credit", f"ledger: {{when_full: {when_full}}}")
    for kill in range(kills):
        server = start("--ledger", mode, paths=[model])
        try:
            if kill % CHECK_EVERY == CHECK_EVERY - 1:
                check(server, book)
            else:
                check_count(server, book)
            callers = Callers(server, book, f"{SEED} {mode} {kill}")
            wait_for_the_moment(book, dice)
        finally:
            server.check_alive()
            server.kill()
        callers.join()
    with start("--ledger", mode, paths=[model]) as server:
        check(server, book)
        finish_labels(server, book)
        server.settle()
        rows = check(server, book)
        status = server.ledger()
        labels = len(book.acknowledged)
        print(f"{kills} kills, {rows} rows, {labels} labels, {book.shed} shed, {book.lost} lost")
        print(f"settling began {book.settling} times and ended {book.settled} times: {status}")
        for counted in ("damaged_records", "damaged_rows", "damaged_files", "expired_rows"):
            assert status[counted] == 0, status
        assert book.lost <= status["lost"] and (when_full == "lose" or status["lost"] == 0), status
        server.command("ledger", "verify")
        check_quality(server, book)


def check_quality(server, book):
    (group,) = server.quality()["groups"]
    rows = [(*book.answers[id][:2], label) for id, label in book.told.items()]
    assert group["labelled"] == len(rows) == len(book.answers)
    assert group["confusion"] == expected.confusion(rows)
    expected.check(group["metrics"], expected.binary(rows), "after the kills")
