"""Full disks, flipped bytes, torn records, old rows: what is lost is said, and it is no more."""

import json
import os
import shlex
import struct
import threading
import zlib

import pytest

from credit import PIPELINE, applicants, ask, copy
from server import until

ROWS, TRUTHS = applicants()
# Text that makes the row of an applicant so long that a few of them fill a segment of the log.
LONG = "x" * 1_000_000
FULL_SECONDS = 100
RECOVER_SECONDS = 5
HEAD = struct.Struct("<4sIII")
PREDICTIONS = 2


def segments(folder):
    return sorted((folder / "data" / "ledger" / "log").glob("*.log"))


def records(path):
    """Of every record of a segment: where its head begins, its bytes, its rows, its kind."""
    data, at, found = path.read_bytes(), 0, []
    while data[at : at + 4] == b"WLOG":
        _, size, rows, crc = HEAD.unpack_from(data, at)
        record = data[at + HEAD.size : at + HEAD.size + size]
        assert zlib.crc32(data[at + 4 : at + 12] + record) == crc
        found.append((at, size, rows, record[0]))
        at += -(-(HEAD.size + size) // 8) * 8
    return found


def flip(path, at):
    """Changes one bit."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def quarantine(folder):
    return sorted(it.name for it in (folder / "data" / "ledger" / "quarantine").glob("*"))


def counted(server, *names):
    status = server.ledger()
    return tuple(status[it] for it in names)


def ids_of(server):
    return {row[0] for row in server.query("select prediction_id from credit")}


def predict(server, count, labels=True):
    """Ids of as many requests of two rows."""
    connection, ids = server.connect(), []
    for at in range(count):
        _, _, answer = ask_rows(connection, ROWS[2 * at : 2 * at + 2])
        ids += [f"{answer}.0", f"{answer}.1"]
    connection.close()
    if labels:
        server.label([{"prediction_id": it, "label": "bad"} for it in ids])
    return ids


def ask_rows(connection, rows):
    status, headers, answer = ask(connection, "/invocations", {"dataframe_records": rows})
    return status, headers, headers["windlass-prediction-id"] if status == 200 else answer


# A full disk.


@pytest.fixture
def full(start, tmp_path):
    """Starts a server whose data folder is a small disk of its own, which nobody else sees."""
    script = tmp_path / "windlass"
    mount = 'mount -t tmpfs -o size=100m tmpfs "$0"; exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", mount]
    command += [str(tmp_path / "data"), os.environ["WINDLASS_TEST_BINARY"]]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    script.chmod(0o755)
    (tmp_path / "data").mkdir()

    def full(when_full):
        model = copy(tmp_path / "credit", f"ledger: {{when_full: {when_full}}}")
        return start("--limit", "query_ms_max=4000", paths=[model], binary=script)

    return full


class Disk:
    """The small disk of a server, seen from outside."""

    def __init__(self, server):
        self.folder = f"/proc/{server.pid}/root{server.folder / 'data'}"

    def fill(self):
        """Every byte that is free."""
        with open(f"{self.folder}/filler", "ab", buffering=0) as filler:
            for piece in (1 << 20, 4096):
                try:
                    while True:
                        filler.write(bytes(piece))
                except OSError:
                    pass

    def free(self):
        os.unlink(f"{self.folder}/filler")


def long_row(at):
    return {**ROWS[at], "Job": LONG}


def test_on_a_full_disk_answers_go_on_and_what_is_lost_is_counted(full):
    with full("lose") as server:
        disk, known = Disk(server), predict(server, 10)
        disk.fill()
        connection, answered = server.connect(), []

        def lost():
            status, _, id = ask_rows(connection, [long_row(len(answered))])
            assert status == 200, id
            answered.append(f"{id}.0")
            return counted(server, "lost")[0] > 2

        until(lost, "rows are lost", FULL_SECONDS)
        status = json.loads(server.command("ledger", "--json"))
        assert "the disk is full" in status["trouble"], status
        assert "the ledger cannot record" in server.log
        assert "\nwindlass_ledger_trouble 1\n" in server.ask("GET", "/metrics")[2].decode()
        refuses_labels(server, known)
        disk.free()
        recovers(server)
        kept = ids_of(server)
        lost, recorded = counted(server, "lost", "recorded")
        everything = {*known, *answered}
        assert kept <= everything | server.later
        assert len(everything - kept) == lost - server.lost_later
        assert recorded == len(kept)
        assert not set(known) - kept
        server.settle()
        assert ids_of(server) == kept
        connection.close()


def refuses_labels(server, ids):
    """507 within the few seconds that labels wait; one that fits in what is left may be taken."""

    def refused():
        text = [{"request_id": "y" * 250, "label": "good"}] * 5000
        status, headers, answer = server.ask(
            "POST",
            "/api/v1/labels?model=credit",
            json.dumps(text),
            {"Content-Type": "application/json"},
        )
        assert status in (200, 507), answer
        if status == 507:
            assert headers["windlass-code"] == "storage_full"
            assert int(headers["Retry-After"]) > 0
        return status == 507

    until(refused, "labels are refused", 60)


def recovers(server):
    """By itself, soon: rows are recorded and labels taken."""
    server.later, server.lost_later = set(), 0
    connection = server.connect()

    def recorded():
        before = counted(server, "lost")[0]
        status, _, id = ask_rows(connection, ROWS[:1])
        if status == 200:
            server.later.add(f"{id}.0")
            server.lost_later += counted(server, "lost")[0] - before
        return status == 200 and counted(server, "lost")[0] == before

    until(recorded, "rows are recorded again", RECOVER_SECONDS)
    until(lambda: server.ledger().get("trouble") is None, "it says so", RECOVER_SECONDS)
    server.label([{"prediction_id": next(iter(server.later)), "label": "good"}])
    connection.close()


def test_on_a_full_disk_requests_are_refused_where_the_model_says_so(full):
    with full("shed") as server:
        disk, known = Disk(server), predict(server, 10)
        disk.fill()
        connection = server.connect()

        def refused():
            status, headers, answer = ask_rows(connection, [long_row(len(known))])
            if status == 200:
                known.append(f"{answer}.0")
                return False
            assert (status, headers["windlass-code"]) == (503, "ledger_full"), answer
            assert int(headers["Retry-After"]) > 0
            return True

        until(refused, "requests are refused", FULL_SECONDS)
        assert counted(server, "lost") == (0,)
        assert counted(server, "shed")[0] > 0
        disk.free()
        until(lambda: ask_rows(connection, ROWS[:1])[0] == 200, "it answers again", RECOVER_SECONDS)
        kept = ids_of(server)
        assert not set(known) - kept, "something acknowledged is missing"
        server.settle()
        assert ids_of(server) == kept
        assert counted(server, "lost", "damaged_records", "torn_bytes") == (0, 0, 0)
        connection.close()


# Bytes that are not what they were.


def sealed(folder):
    return sorted((folder / "data" / "ledger" / "predictions").rglob("*.parquet"))


def test_a_flipped_byte_in_a_file_costs_that_file_and_is_told(start, tmp_path):
    # A monitor that looks at the file first would be told in place of the question.
    model = copy(tmp_path / "model", "monitor: {anomaly: {off: true}}")
    with start(paths=[model]) as server:
        kinds = []
        for count in (5, 7, 3):
            kinds.append(predict(server, count))
            server.settle()
    first, second, third = sealed(tmp_path)
    flip(second, second.stat().st_size // 2)
    with start(paths=[model]) as server:
        status, answer = server.ask_json("POST", "/api/v1/query", {"sql": "select * from credit"})
        assert (status, answer["error"]["code"]) == (500, "storage_failed"), answer
        assert "14 rows were set aside" in answer["error"]["message"]
        # The next question is answered from the rest.
        assert ids_of(server) == {*kinds[0], *kinds[2]}
        assert counted(server, "damaged_files", "damaged_file_rows") == (1, 14)
        (aside,) = quarantine(tmp_path)
        assert aside.startswith("predictions_") and aside.endswith(second.name)
        (group,) = server.quality()["groups"]
        assert (group["predictions"], group["labelled"]) == (16, 16)
        # One that was read well before is found by looking at all.
        flip(third, third.stat().st_size // 3)
        found = json.loads(server.command("ledger", "verify", "--json", status=1))
        assert found["damaged"] == 1
        assert json.loads(server.command("ledger", "verify", "--json"))["damaged"] == 0
        assert ids_of(server) == set(kinds[0])
        assert counted(server, "damaged_files", "damaged_file_rows") == (2, 20)
        assert first.exists()
    with start(paths=[model]) as server:
        assert counted(server, "damaged_files", "damaged_file_rows") == (2, 20)
        assert ids_of(server) == set(kinds[0])


def killed(start, count):
    """Ids of the requests, of two rows each, that a server had in its log when it was killed."""
    server = start(paths=[PIPELINE])
    try:
        return predict(server, count, labels=False)
    finally:
        server.kill()


def test_a_flipped_byte_in_the_log_costs_its_record_and_is_told(start, tmp_path):
    ids = killed(start, 20)
    (path,) = [it for it in segments(tmp_path) if records(it)]
    middle = [it for it in records(path) if it[3] == PREDICTIONS][9]
    flip(path, middle[0] + HEAD.size + middle[1] // 2)
    with start(paths=[PIPELINE]) as server:
        want = set(ids) - set(ids[18:20])
        assert ids_of(server) == want
        server.settle()
        assert ids_of(server) == want
        assert counted(server, "damaged_records", "damaged_rows", "torn_bytes") == (1, 2, 0)
        assert quarantine(tmp_path) == [path.name]
        predict(server, 1)
    with start(paths=[PIPELINE]) as server:
        assert counted(server, "damaged_records", "damaged_rows") == (1, 2)
        assert ids_of(server) >= want


def test_whatever_is_flipped_no_other_record_is_lost(start, tmp_path):
    """A bit of each part of the head, and the last of the record, of several records at once."""
    ids = killed(start, 12)
    (path,) = [it for it in segments(tmp_path) if records(it)]
    rows = [it for it in records(path) if it[3] == PREDICTIONS]
    for number, offset in enumerate([0, 4, 7, 8, 12]):
        flip(path, rows[2 * number][0] + offset)
    with start(paths=[PIPELINE]) as server:
        gone = {id for number in range(5) for id in ids[4 * number : 4 * number + 2]}
        server.settle()
        assert ids_of(server) == set(ids) - gone
        assert counted(server, "damaged_records", "torn_bytes") == (5, 0)


@pytest.mark.parametrize("tear", ["zeros", "cut", "noise"])
def test_a_torn_tail_is_cut_and_told(start, tmp_path, tear):
    ids = killed(start, 8)
    (path,) = [it for it in segments(tmp_path) if records(it)]
    at, size, rows, kind = records(path)[-1]
    assert (rows, kind) == (2, PREDICTIONS)
    torn = at + HEAD.size + size // 2
    with open(path, "r+b") as file:
        if tear == "cut":
            file.truncate(torn)
        else:
            file.seek(torn)
            file.write(bytes(size) if tear == "zeros" else b"\xa5" * 3000)
    with start(paths=[PIPELINE]) as server:
        assert ids_of(server) == set(ids[:-2])
        server.settle()
        assert ids_of(server) == set(ids[:-2])
        torn_bytes, damaged = counted(server, "torn_bytes", "damaged_records")
        assert 0 < torn_bytes <= size + 3100
        assert damaged == 0
        predict(server, 1)
        assert len(ids_of(server)) == len(ids)


def test_what_is_too_old_goes_and_is_counted(start, tmp_path):
    model = copy(tmp_path / "credit", "ledger: {retain: 1s}")
    with start(paths=[model]) as server:
        predict(server, 5)

        def expired():
            server.settle()
            return counted(server, "expired_rows")[0] >= 10

        until(expired, "the rows expire", 20)
        assert server.query("select count(*) from predictions") == [[0]]
        assert server.ledger()["models"] == [] or server.ledger()["models"][0]["predictions"] == 0
        # What comes later is younger.
        answer = server.predict(ROWS[:2])
        assert f"{answer.id}.1" in ids_of(server)
    with start(paths=[model]) as server:
        assert counted(server, "expired_rows")[0] >= 10


def test_settling_again_and_again_refuses_and_loses_nothing(start, tmp_path):
    """A segment of the log ends with each time, while several callers ask."""
    model = copy(tmp_path / "credit", "ledger: {when_full: shed}")
    with start(paths=[model]) as server:
        ids, shed, stop = [], [], threading.Event()

        def callers():
            connection = server.connect()
            for _ in range(60):
                status, _, id = ask_rows(connection, ROWS[:2])
                (ids if status == 200 else shed).append(id)
            connection.close()

        def settle():
            while not stop.is_set():
                server.settle()

        threads = [threading.Thread(target=callers) for _ in range(4)]
        settler = threading.Thread(target=settle)
        for thread in [*threads, settler]:
            thread.start()
        for thread in threads:
            thread.join(120)
        stop.set()
        settler.join(60)
        assert len(ids) + len(shed) == 240
        assert {f"{it}.{row}" for it in ids for row in (0, 1)} <= ids_of(server)
        assert counted(server, "lost", "shed") == (0, len(shed))
        assert len(shed) == 0, shed[0]
