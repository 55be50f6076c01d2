"""Questions read, are bounded, and answer the same in every form; every protocol names its ids."""

import csv
import http.client
import io
import json
import os
import threading

import pyarrow
import pyarrow.parquet as parquet
import pytest

from credit import NOBODYS, PIPELINE, PROTOCOLS, applicants, by_infer
from server import until

ROWS, TRUTHS = applicants()
CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
# Joined with itself three times: nobody waits for its end.
ENDLESS = """
select count(*) from credit a, credit b, credit c, credit d where a.row + b.row > c.row + d.row
"""
RECURSIVE = """
with recursive r as (select 1 as n union all select n + 1 from r) select count(*) from r
"""
# None of these fits into a few megabytes.
LARGE = [
    """select a.Age, b.Age, c.Age from credit a, credit b, credit c
    order by a.score_bad * b.score_bad * c.score_bad""",
    """select array_agg(a.Home || b.Home || c.Home || repeat('x', 100))
    from credit a, credit b, credit c""",
    "select count(distinct a.prediction_id || b.prediction_id) from credit a, credit b",
]
# Forms of one answer: names, numbers, classes, and values that are not there.
ROWS_SQL = """
select prediction_id, row, class, score_bad, "Age", "Home", "Income", label from credit
order by 1, 2
"""


def refused(server, sql, **more):
    """How a question is refused: status, code, why."""
    status, answer = server.ask_json("POST", "/api/v1/query", {"sql": sql, **more})
    assert status != 200, (sql, answer)
    return status, answer["error"]["code"], answer["error"]["message"]


FORBIDDEN = [
    "insert into credit values (1)",
    "insert into labels select * from labels",
    "update credit set label = 'good'",
    "delete from predictions",
    "truncate table predictions",
    "create table t as select 1",
    "create view v as select * from credit",
    "create schema s",
    "create function f(a int) returns int return a",
    "create external table t stored as csv location '/etc/passwd'",
    "create external table t stored as parquet location '/tmp/'",
    "drop table credit",
    "drop view if exists credit",
    "alter table credit rename to other",
    "copy credit to '/tmp/windlass-copy.csv'",
    "copy (select 1) to '/tmp/windlass-copy.parquet' stored as parquet",
    "set datafusion.execution.batch_size = 1",
    "set datafusion.runtime.memory_limit = '100G'",
    "reset datafusion.execution.batch_size",
    "show all",
    "show tables",
    "begin",
    "commit",
    "prepare p as select 1",
    "execute p",
    "deallocate p",
    "select * from '/etc/passwd'",
    'select * from "/etc/passwd"',
    "select * from '/etc/hosts.csv'",
    "select * from read_csv('/etc/passwd')",
    "select * from read_parquet('/etc/passwd')",
    "select * from parquet_metadata('/etc/passwd')",
    "select * from information_schema.tables",
    "select * from credit; select 1",
    "select 1; drop table credit",
    "",
    "select",
    "select * from nobody",
    "select nothing from credit",
    "\x00",
    "select 'é" * 50,
    "(" * 5000 + "1",
    "select " + "(" * 2000 + "1" + ")" * 2000,
    "select " + "not " * 5000 + "true",
    "select 1 /* " + "x" * 70_000 + " */",
]


def test_what_is_not_reading_is_refused(server):
    ids = server.predict_many(ROWS[:40])
    for sql in FORBIDDEN:
        status, code, why = refused(server, sql)
        want = (413, "too_large") if len(sql) > 65_536 else (400, "invalid_query")
        assert (status, code) == want, (sql[:80], why)
        assert len(why) < 1000, sql
    assert not os.path.exists("/tmp/windlass-copy.csv")
    assert not os.path.exists("/tmp/windlass-copy.parquet")
    # Nothing of it left a trace.
    assert server.query("select count(*) from credit") == [[len(ids)]]
    assert refused(server, "select * from t")[1] == "invalid_query"
    status, answer = server.ask_json("POST", "/api/v1/query", {"sql": "select 1", "rows": 3})
    assert (status, answer["error"]["code"]) == (400, "malformed")


def test_an_endless_question_is_stopped_and_disturbs_nobody(start):
    with start("--limit", "query_ms_max=500", paths=[PIPELINE]) as server:
        server.predict_many(ROWS[:300])
        done, asked = threading.Event(), []

        def endless():
            try:
                asked.append(server.ask_json("POST", "/api/v1/query", {"sql": ENDLESS}))
                asked.append(server.ask_json("POST", "/api/v1/query", {"sql": RECURSIVE}))
            finally:
                done.set()

        thread, answered, connection = threading.Thread(target=endless), 0, server.connect(10)
        thread.start()
        while not done.is_set():
            by_infer(connection, ROWS[:1])
            answered += 1
        thread.join(60)
        connection.close()
        assert answered > 5
        for status, answer in asked:
            assert (status, answer["error"]["code"]) == (504, "query_timeout"), answer
        # A file breaks off, where it began in time, and is not taken for a whole one.
        headers = {"Content-Type": "application/json", "Accept": CSV}
        for _ in range(3):
            try:
                status, _, answer = server.ask(
                    "POST", "/api/v1/query", json.dumps({"sql": ENDLESS}), headers
                )
            except http.client.IncompleteRead:
                continue
            assert status == 504, answer
        # The threads are free again.
        until(
            lambda: server.ask_json("POST", "/api/v1/query", {"sql": "select 1"})[0] == 200,
            "it answers",
            5,
        )


def test_a_question_whose_asker_has_gone_is_given_up(start):
    """More of them than there are places, all abandoned: the next is answered soon."""
    with start("--limit", "query_ms_max=30000", paths=[PIPELINE]) as server:
        server.predict_many(ROWS[:300])
        body, open_ones = json.dumps({"sql": ENDLESS}), []
        for _ in range(12):
            connection = server.connect(10)
            connection.request("POST", "/api/v1/query", body, {"Content-Type": "application/json"})
            open_ones.append(connection)
        for connection in open_ones:
            connection.close()

        def answers():
            return server.ask_json("POST", "/api/v1/query", {"sql": "select 1"})[0] == 200

        until(answers, "a question is answered", 10)


def test_memory_is_bounded(start):
    flags = ["query_memory_bytes_max=2000000", "query_spill_bytes_max=3000000"]
    with start(*[part for it in flags for part in ("--limit", it)], paths=[PIPELINE]) as server:
        server.predict_many(ROWS[:300])
        server.forget_peak()
        before = server.memory("VmRSS")
        for sql in LARGE:
            assert refused(server, sql)[:2] == (422, "query_too_large"), sql
        assert server.memory("VmHWM") < before + 100_000_000
        assert server.query("select count(*) from credit") == [[300]]
        # A question that was given up lets go of its files when it next looks up.
        spilled = (server.folder / "data" / "ledger" / "tmp")
        until(lambda: not [it for it in spilled.rglob("*") if it.is_file()], "its files are gone", 30)


def test_rows_are_cut_off_and_it_is_said(start):
    with start("--limit", "query_rows_max=50", paths=[PIPELINE]) as server:
        server.predict_many(ROWS[:300])
        question = "select prediction_id from credit order by prediction_id"
        for rows_max, rows, more in [
            (None, 50, True),
            (7, 7, True),
            (1000, 50, True),
            (0, 0, True),
        ]:
            body = (
                {"sql": question} if rows_max is None else {"sql": question, "rows_max": rows_max}
            )
            status, answer = server.ask_json("POST", "/api/v1/query", body)
            assert (status, len(answer["rows"]), answer["more"]) == (200, rows, more), rows_max
        status, answer = server.ask_json("POST", "/api/v1/query", {"sql": f"{question} limit 50"})
        assert (len(answer["rows"]), answer["more"]) == (50, False)
        # Files have no such bound, but one that they are given.
        assert len(server.file(question, CSV).splitlines()) == 301
        body = json.dumps({"sql": question, "rows_max": 9})
        headers = {"Content-Type": "application/json", "Accept": CSV}
        assert len(server.ask("POST", "/api/v1/query", body, headers)[2].splitlines()) == 10


def test_files_hold_what_json_says(server, tmp_path):
    ids = server.predict_many(ROWS[:300])
    server.label(
        [{"prediction_id": id, "label": it} for id, it in zip(ids[:100], TRUTHS, strict=False)]
    )
    sql = ROWS_SQL
    want = server.query(sql)
    assert len(want) == 300
    table = parquet.read_table(io.BytesIO(server.file(sql, PARQUET)))
    assert table.schema.field("score_bad").type == pyarrow.float32()

    def plain(value):
        return "NaN" if value != value else value

    def rows_of(table):
        return [[plain(it) for it in row.values()] for row in table.to_pylist()]

    # JSON has the shortest digits that read as the same single-precision number.
    near = [
        [pytest.approx(it, rel=1e-6) if isinstance(it, float) else it for it in row] for row in want
    ]
    assert rows_of(table) == near
    lines = list(csv.reader(io.StringIO(server.file(sql, CSV).decode())))
    assert lines[0] == table.column_names
    assert [line[0] for line in lines[1:]] == [row[0] for row in want]
    for line, row in zip(lines[1:], want, strict=True):
        assert float(line[3]) == pytest.approx(row[3], rel=1e-6)
        assert line[5] == row[5]
        assert line[7] == (row[7] or "")

    # The command line writes the same, by the name of its output or as it is told.
    server.command("query", sql, "--output", tmp_path / "rows.parquet")
    assert rows_of(parquet.read_table(tmp_path / "rows.parquet")) == rows_of(table)
    printed = list(csv.reader(io.StringIO(server.command("query", sql, "--format", "csv"))))
    assert printed == lines
    printed = [
        json.loads(it) for it in server.command("query", sql, "--format", "jsonl").splitlines()
    ]
    assert [it["prediction_id"] for it in printed] == [row[0] for row in want]


def test_every_protocol_names_its_predictions(server):
    connection, ids = server.connect(), set()
    for protocol in PROTOCOLS:
        answer = protocol(connection, ROWS[:3], {"x-request-id": protocol.__name__})
        for id, name, score in answer.rows():
            ids.add(id)
            status, story = server.ask_json("GET", f"/api/v1/predictions/{id}")
            assert (status, story["prediction_id"], story["rows_of_request"]) == (200, id, 3)
            assert story["row"]["class"] == name
            assert story["row"]["score_bad"] == pytest.approx(score, rel=1e-6)
            assert story["row"]["request_id"] == protocol.__name__
            assert story["row"]["Job"] == ROWS[story["row"]["row"]]["Job"]
    connection.close()
    assert len(ids) == 9
    assert {it[0] for it in server.query("select prediction_id from predictions")} == ids

    shown = json.loads(server.command("show", "prediction", answer.id, "--json"))
    assert shown["prediction_id"] == f"{answer.id}.0"
    server.command("show", "prediction", f"{answer.id}.3", status=4)
    server.command("show", "prediction", NOBODYS, status=4)
    for id, status, code in [
        (f"{answer.id}.3", 404, "unknown_prediction"),
        (NOBODYS, 404, "unknown_prediction"),
        ("7", 400, "invalid_name"),
        ("x" * 2000, 400, "invalid_name"),
        ("..%2F..%2Fetc", 400, "invalid_name"),
    ]:
        got, told = server.ask_json("GET", f"/api/v1/predictions/{id}")
        assert (got, told["error"]["code"]) == (status, code), told
