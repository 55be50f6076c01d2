"""Labels as people have them: what can be taken is, and the rest is told with its reason."""

import csv
import io
import json

import pyarrow
import pyarrow.parquet as parquet
import pytest

from credit import EXAMPLE, NOBODYS, PIPELINE, applicants

PATH = "/api/v1/labels?model=credit"
ROWS, _ = applicants()
# What is wrong with it, and a word that the reason has.
WRONG = [
    ({"prediction_id": f"{NOBODYS}.0", "label": "excellent"}, "`excellent` is not a class"),
    ({"prediction_id": f"{NOBODYS}.0", "label": "BAD"}, "is not a class"),
    ({"prediction_id": f"{NOBODYS}.0", "label": 1}, "`1` is not a class"),
    ({"prediction_id": f"{NOBODYS}.0", "label": True}, "`true` is not a class"),
    ({"prediction_id": f"{NOBODYS}.0", "label": None}, "`label` is missing"),
    ({"prediction_id": f"{NOBODYS}.0", "label": ""}, "`label` is missing"),
    ({"prediction_id": f"{NOBODYS}.0", "label": ["bad"]}, "`label` is a list"),
    ({"prediction_id": f"{NOBODYS}.0", "label": {"a": 1}}, "`label` is a list or an object"),
    ({"prediction_id": f"{NOBODYS}.0"}, "`label` is missing"),
    ({"prediction_id": f"{NOBODYS}.0", "label": "x" * 5000}, "is not a class"),
    ({"prediction_id": f"{NOBODYS}.x", "label": "bad"}, "row"),
    ({"prediction_id": f"{NOBODYS}.-1", "label": "bad"}, "row"),
    ({"prediction_id": f"{NOBODYS}.4294967296", "label": "bad"}, "row"),
    ({"prediction_id": "' or 1=1 --", "label": "bad"}, "UUID"),
    ({"prediction_id": "é" * 36, "label": "bad"}, "UUID"),
    ({"prediction_id": 7, "label": "bad"}, "`prediction_id` is `7`, want text"),
    ({"label": "bad"}, "none of"),
    ({}, "`label` is missing"),
    ({"prediction_id": NOBODYS, "key": "x", "label": "bad"}, "give one of"),
    ({"prediction_id": NOBODYS, "request_id": "x", "label": "bad"}, "give one of"),
    ({"request_id": "x", "row": -1, "label": "bad"}, "`row` is `-1`"),
    ({"request_id": "x", "row": 1.5, "label": "bad"}, "`row` is"),
    ({"request_id": "x" * 5000, "label": "bad"}, "`request_id` has over"),
    ({"request_id": "x", "from": "7d", "label": "bad"}, "go with `key`"),
    ({"key": "x", "from": "2026-11-02", "to": "2026-11-01", "label": "bad"}, "ends before"),
    ({"key": "x", "from": "yesterday", "label": "bad"}, "`from`"),
    ({"key": "x" * 5000, "label": "bad"}, "`key` has over"),
    ({"prediction_id": NOBODYS, "at": "soon", "label": "bad"}, "`at`"),
    ({"prediction_id": NOBODYS, "labe": "bad"}, "no column `labe`"),
    ({"prediction_id": NOBODYS, "label": "bad", "amount": 3}, "no column `amount`"),
    ("bad", "not an object"),
    ([NOBODYS, "bad"], "not an object"),
    (None, "not an object"),
    (17, "not an object"),
]
GOOD = {"prediction_id": f"{NOBODYS}.3", "label": "good"}


@pytest.fixture
def server(server):
    """Whatever is sent, the next is served."""
    yield server
    answer = server.predict(ROWS[:1])
    server.label([{"prediction_id": answer.id, "label": "bad"}])
    story = server.ask_json("GET", f"/api/v1/predictions/{answer.id}")[1]
    assert story["labels"][0]["label"] == "bad"


def send(server, body, kind="application/json"):
    status, headers, answer = server.ask("POST", PATH, body, {"Content-Type": kind})
    return status, headers.get("windlass-code"), json.loads(answer)


def test_wrong_labels_are_refused_one_by_one(server):
    """Between good ones, as a list and as lines: the same answer."""
    mixed = [it for wrong, _ in WRONG for it in (wrong, GOOD)]
    lines = "\n".join(json.dumps(it) for it in mixed)
    wrapped = json.dumps({"labels": mixed})
    kinds = [
        (json.dumps(mixed), "application/json"),
        (wrapped, "application/json"),
        (lines, "application/jsonl"),
    ]
    for body, kind in kinds:
        status, _, answer = send(server, body, kind)
        assert status == 200, answer
        assert answer["accepted"] == len(WRONG), answer
        assert [it["place"] for it in answer["rejected"]] == list(range(1, 2 * len(WRONG), 2))
        for (wrong, why), rejected in zip(WRONG, answer["rejected"], strict=True):
            assert why in rejected["why"], (wrong, rejected)
            assert len(rejected["why"]) < 400
    assert server.query("select count(*) from labels") == [[len(kinds) * len(WRONG)]]
    assert server.query("select distinct label from labels") == [["good"]]


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        ("", "application/json", 400, "malformed"),
        ("{", "application/json", 400, "malformed"),
        ('[{"prediction_id":', "application/json", 400, "malformed"),
        ("[" * 100_000, "application/json", 400, "malformed"),
        ('{"labels": [], "more": 1}', "application/json", 400, "malformed"),
        ('"bad"', "application/json", 400, "malformed"),
        ("prediction_id,label,amount\n1,bad,2\n", "text/csv", 400, "malformed"),
        ("prediction_id,label,label\n1,bad,2\n", "text/csv", 400, "malformed"),
        ("label\nbad\n", "text/csv", 400, "missing_column"),
        ("prediction_id\n1\n", "text/csv", 400, "missing_column"),
        ("", "text/csv", 400, "missing_column"),
        ("PAR1PAR1", "application/vnd.apache.parquet", 400, "malformed"),
        ("PAR1" + "x" * 500 + "PAR1", "application/vnd.apache.parquet", 413, "too_large"),
        ("<labels/>", "text/xml", 415, "unsupported_media_type"),
    ],
)
def test_what_is_wrong_with_all_is_refused_at_once(server, body, kind, status, code):
    got = send(server, body, kind)
    assert got[:2] == (status, code), got
    assert server.query("select count(*) from predictions") == [[0]]


def test_lines_that_are_no_lines(server):
    good = json.dumps(GOOD).encode()
    lines = [b"{", good, b"\xff\xfe", b'{"prediction_id": "\x00"}', b"", good, b"[1", good[:-1]]
    status, _, answer = send(server, b"\r\n".join(lines), "application/jsonl")
    # The empty line is none.
    assert (status, answer["accepted"]) == (200, 2), answer
    assert [it["place"] for it in answer["rejected"]] == [1, 3, 4, 6, 7]
    status, _, answer = send(server, b"", "application/jsonl")
    assert (status, answer) == (200, {"accepted": 0, "rejected": []})


def test_tables_are_read_by_their_columns(server):
    text = "label,prediction_id,at\n" + f"bad,{NOBODYS}.0,2026-11-01\n" + f"good,{NOBODYS}.1\n"
    text += f'"good",{NOBODYS}.2,\n' + f"bad,{NOBODYS}.3,never\n"
    status, _, answer = send(server, text, "text/csv; charset=utf-8")
    assert (status, answer["accepted"]) == (200, 2), answer
    assert [it["place"] for it in answer["rejected"]] == [2, 4]
    assert server.query("select row, label, labelled_at from labels where row = 0") == [
        [0, "bad", "2026-11-01T00:00:00.000000Z"]
    ]

    table = pyarrow.table(
        {
            "prediction_id": [f"{NOBODYS}.{row}" for row in range(10, 15)],
            "label": ["bad", None, "good", "odd", "good"],
            "at": pyarrow.array([None, None, None, None, None], pyarrow.string()),
        }
    )
    status, _, answer = send(server, parquet_bytes(table), "application/vnd.apache.parquet")
    assert (status, answer["accepted"]) == (200, 3), answer
    assert [it["place"] for it in answer["rejected"]] == [2, 4]


def parquet_bytes(table):
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def test_a_model_that_is_not_there_and_too_many_labels(start):
    with start(
        "--limit", "labels_max=100", "--limit", "body_bytes_max=100000", paths=[PIPELINE]
    ) as server:
        for path, status, code in [
            ("/api/v1/labels?model=nobody", 404, "unknown_model"),
            ("/api/v1/labels", 400, "malformed"),
            ("/api/v1/labels?model=../credit", 400, "invalid_name"),
        ]:
            got, answer = server.ask_json("POST", path, [GOOD])
            assert (got, answer["error"]["code"]) == (status, code), answer
        status, code, answer = send(server, json.dumps([GOOD] * 101))
        assert (status, code) == (413, "too_large"), answer
        status, code, answer = send(server, " " * 100_001)
        assert (status, code) == (413, "too_large"), answer
        assert server.ledger()["labelled"] == 0
        server.label([GOOD] * 100)


def rejects(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def label(server, *arguments, status=0, **more):
    return json.loads(
        server.command("label", "--json", "credit", *arguments, status=status, **more)
    )


def test_the_command_keeps_what_it_cannot_send(server, tmp_path):
    lines = [json.dumps({**GOOD, "prediction_id": f"{NOBODYS}.{row}"}) for row in range(40)]
    lines[3], lines[17], lines[39] = "{", json.dumps({**GOOD, "label": "odd"}), "[]"
    file, side = tmp_path / "labels.jsonl", tmp_path / "labels.jsonl.rejects.jsonl"
    file.write_text("\n".join(lines) + "\n\n")
    got = label(server, file, "--batch", 7, status=3)
    assert (got["read"], got["accepted"], got["rejected"]) == (40, 37, 3), got
    assert [it["row"] for it in rejects(side)] == [4, 18, 40]
    assert "is not a class" in rejects(side)[1]["why"]
    assert rejects(side)[0]["line"] == "{"

    # The same on standard input, with a side file of its own.
    odd = tmp_path / "odd.jsonl"
    got = label(server, "-", "--rejects", odd, status=3, input=file.read_bytes())
    assert (got["read"], got["accepted"], got["rejected"]) == (40, 37, 3), got
    assert [it["row"] for it in rejects(odd)] == [4, 18, 40]


def test_the_command_reads_tables_with_columns_of_other_names(server, tmp_path):
    answer = server.predict(ROWS[:3])
    ids = [f"{answer.id}.{row}" for row in range(3)]
    table = {"loan": ids, "defaulted": ["bad", "good", "perhaps"], "branch": [1, 2, 3]}
    parquet.write_table(pyarrow.table(table), tmp_path / "paid.parquet")
    names = ["--id", "loan", "--label", "defaulted"]
    got = label(server, tmp_path / "paid.parquet", *names, status=3)
    assert (got["read"], got["accepted"], got["rejected"]) == (3, 2, 1), got
    text = "".join(f"{','.join(map(str, it))}\n" for it in [tuple(table), *zip(*table.values())])
    (tmp_path / "paid.csv").write_text(text + "one field\n")
    got = label(server, tmp_path / "paid.csv", *names, status=3)
    assert (got["read"], got["accepted"], got["rejected"]) == (4, 2, 2), got
    story = server.ask_json("GET", f"/api/v1/predictions/{ids[1]}")[1]
    assert [it["label"] for it in story["labels"]] == ["good", "good"]


def test_a_hundred_thousand_labels(server, tmp_path):
    """In pieces; those that are odd are told with their places in the whole file."""
    file, odd = tmp_path / "many.csv", []
    with open(file, "w") as lines:
        lines.write("prediction_id,label\n")
        for row in range(100_000):
            if row % 9973 == 5:
                odd.append(row + 1)
                lines.write(f"{NOBODYS}.{row},neither\n")
            else:
                lines.write(f"{NOBODYS}.{row},{('bad', 'good')[row % 2]}\n")
    got = label(server, file, status=3)
    assert (got["read"], got["rejected"]) == (100_000, len(odd))
    assert got["accepted"] == 100_000 - len(odd)
    assert [it["row"] for it in rejects(tmp_path / "many.csv.rejects.jsonl")] == odd
    counts = [[100_000 - len(odd), 100_000 - len(odd)]]
    assert server.query("select count(*), count(distinct prediction_id) from labels") == counts
    server.settle()
    assert server.query("select count(*), count(distinct prediction_id) from labels") == counts


def test_the_command_says_what_it_was_not_given(server, tmp_path):
    empty, header = tmp_path / "empty.csv", tmp_path / "header.csv"
    empty.write_bytes(b"")
    header.write_text("prediction_id,label\n")
    server.command("label", "credit", empty, status=3)
    assert label(server, header)["read"] == 0
    server.command("label", "credit", tmp_path / "nowhere.csv", status=4)
    header.write_text(f"prediction_id,outcome\n{NOBODYS},bad\n")
    server.command("label", "credit", header, status=3)
    header.write_text(f"prediction_id,label\n{NOBODYS},bad\n")
    server.command("label", "nobody", header, status=4)
    assert server.ledger()["labelled"] == 0


def test_the_rows_that_predict_wrote_can_be_labelled(server, tmp_path):
    data, answers = EXAMPLE / "data" / "credit.csv", tmp_path / "answers.csv"
    server.command("predict", "credit", "--data", data, "--ids", "--output", answers)
    with open(answers, newline="") as file:
        rows = list(csv.DictReader(file))
    labels = tmp_path / "labels.csv"
    with open(labels, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["prediction_id", "label"])
        out.writerows([it["prediction_id"], it["Status"]] for it in rows)
    server.command("label", "credit", labels)
    wanted = sum(it["label"] == it["Status"] for it in rows) / len(rows)
    status, quality = server.ask_json("GET", "/api/v1/models/credit/quality")
    assert status == 200, quality
    (version,) = quality["groups"]
    assert version["labelled"] == len(rows)
    assert version["metrics"]["accuracy"]["value"] == pytest.approx(wanted, abs=1e-12)
