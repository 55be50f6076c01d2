"""What people type: curl with V1 rows, MLflow's /invocations, metrics, the OpenAPI document."""

import csv
import io
import json
import math
import subprocess
from pathlib import Path

import duckdb
import pandas
import polars
import prometheus_client.parser
import pyarrow
import pyarrow.parquet
import pytest
from openapi_spec_validator import validate

from conftest import EXAMPLES, MODELS

HOUSES = {
    "area (m2)": [80.0, 120.0],
    "rooms": [3.0, 5.0],
    "age": [20.0, 2.0],
    "distance (km)": [1.5, 12.0],
}
# 50 + 2 area + 10 rooms - age - 5 distance
PRICES = [212.5, 278.0]
COLUMNS, ROWS = list(HOUSES), [list(it) for it in zip(*HOUSES.values())]
PARQUET = "application/vnd.apache.parquet"
RECORDS = [dict(zip(COLUMNS, row)) for row in ROWS]


def curl(url, *flags, body=None):
    """Status, content type and body, as curl shows them."""
    more = ["--data-binary", "@-"] if body is not None else []
    shown = ["--write-out", "\n%{http_code} %{content_type}"]
    ended = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "60", *shown, *flags, *more, url],
        input=body if body is None or isinstance(body, bytes) else body.encode(),
        capture_output=True,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    answer, _, last = ended.stdout.rpartition(b"\n")
    status, _, content_type = last.decode().partition(" ")
    return int(status), content_type, answer


def answers(server, path):
    """The status; of what never ends no more is read than that."""
    connection = server.connect()
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def post(url, body, content_type="application/json"):
    body = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return curl(url, "--header", f"Content-Type: {content_type}", body=body)


def of_pandas(rows, path):
    # An index that is no mere count is written as a column.
    rows.set_index(rows.index * 2 + 1).to_parquet(path)


def of_polars(rows, path):
    polars.from_pandas(rows).write_parquet(path)


def of_duckdb(rows, path):
    duckdb.sql(f"COPY (FROM rows) TO '{path}' (FORMAT parquet)")


def paste(line):
    """Runs it as a shell does; the status it got and the body."""
    ended = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert ended.returncode == 0, f"{line}\n{ended.stderr}"
    return ended.stdout


def printed_lines(text):
    """The curl commands in what `serve` printed, each with its continuation lines."""
    lines, found = iter(text.splitlines()), []
    for line in lines:
        if line.strip().startswith("curl "):
            command = line.strip()
            while command.endswith("|"):
                command += "\n" + next(lines)
            found.append(command)
    return found


class TestPrinted:
    def test_the_curl_lines_work_when_pasted(self, server):
        commands = printed_lines(server.printed)
        assert commands, server.printed
        for command in commands:
            answer = json.loads(paste(command))
            assert answer["model_name"] in command and answer["outputs"], answer

    @pytest.mark.parametrize("path", ["credit/pipeline", "credit/lightgbm"])
    def test_the_values_are_real_ones(self, start, path):
        with start(paths=[EXAMPLES / path]) as server:
            (command, *_) = printed_lines(server.printed)
            answer = paste(command)
            assert "good" in answer or "bad" in answer or "label" in answer

    def test_a_program_reads_the_address_as_json(self, start):
        with start("--json", paths=[MODELS / "add_sub"]) as server:
            assert json.loads(server.printed)["url"] == server.url


class TestV1:
    def test_rows(self, server):
        status, kind, answer = post(
            f"{server.url}/v1/models/identity_fp32:predict", {"instances": [[1, 2, 3, 4]]}
        )
        assert (status, kind) == (200, "application/json")
        assert json.loads(answer) == {"predictions": [[1, 2, 3, 4]]}

    def test_rows_with_the_names_of_inputs(self, server):
        body = {"instances": [{"INPUT0": [5] * 16, "INPUT1": [2] * 16}] * 2}
        status, _, answer = post(f"{server.url}/v1/models/add_sub:predict", body)
        assert status == 200, answer
        want = {"OUTPUT0": [7] * 16, "OUTPUT1": [3] * 16}
        assert json.loads(answer) == {"predictions": [want, want]}

    def test_rows_with_the_names_of_columns(self, server):
        status, _, answer = post(
            f"{server.url}/v1/models/mlflow_model:predict", {"instances": RECORDS}
        )
        assert status == 200, answer
        assert json.loads(answer) == {"predictions": [[it] for it in PRICES]}

    def test_inputs_by_column(self, server):
        body = {"inputs": {"INPUT0": [[5] * 16], "INPUT1": [[2] * 16]}}
        status, _, answer = post(f"{server.url}/v1/models/add_sub:predict", body)
        assert status == 200, answer

    def test_untyped_columns_as_an_applicant_has_them(self, server):
        """Numbers, words and gaps."""
        lines = (EXAMPLES / "credit/pipeline/rows.jsonl").read_text().splitlines()[:20]
        body = {"instances": [json.loads(it) for it in lines]}
        status, _, answer = post(f"{server.url}/v1/models/credit:predict", body)
        assert status == 200, answer
        check_credit([it["label"] for it in json.loads(answer)["predictions"]])

    @pytest.mark.parametrize(
        "body, word",
        [
            ({"instances": []}, "rows"),
            ({"instances": [[1, 2, 3]]}, "x"),
            ({"instances": [[1, 2, 3, "four"]]}, "four"),
            ({"instances": [[1, 2, 3, 4], [1]]}, "ragged"),
            ({"instances": 7}, "instances"),
            ({"rows": [[1, 2, 3, 4]]}, "instances"),
            ([[1, 2, 3, 4]], ""),
            ("{", ""),
            ("", ""),
        ],
    )
    def test_bad_bodies(self, server, body, word):
        status, _, answer = post(f"{server.url}/v1/models/identity_fp32:predict", body)
        assert status == 400, answer
        assert word in json.loads(answer)["error"]

    def test_models(self, server):
        status, _, answer = curl(f"{server.url}/v1/models")
        assert status == 200
        assert {"add_sub", "credit"} <= set(json.loads(answer)["models"])
        status, _, answer = curl(f"{server.url}/v1/models/add_sub")
        assert (status, json.loads(answer)) == (200, {"name": "add_sub", "ready": True})
        assert curl(f"{server.url}/v1/models/no_such")[0] == 404
        assert post(f"{server.url}/v1/models/no_such:predict", {"instances": [[1]]})[0] == 404

    def test_liveness(self, server):
        status, _, answer = curl(f"{server.url}/", "--header", "Accept: application/json")
        assert (status, json.loads(answer)["status"]) == (200, "alive")


def check_credit(labels):
    """The answers stored beside the example."""
    stored = json.loads((EXAMPLES / "credit/pipeline/examples.json").read_text())
    (want,) = [it for it in stored["outputs"] if it["name"] == "label"]
    assert labels == want["data"]


@pytest.fixture(scope="module")
def houses(start):
    """A server with one model, as a container has: /invocations names none."""
    with start(paths=[MODELS / "mlflow_model"]) as server:
        yield server


@pytest.fixture(scope="module")
def credit(start):
    with start(paths=[EXAMPLES / "credit/pipeline"]) as server:
        yield server


def numbers(predictions):
    """All the numbers in an answer, in its order."""
    if isinstance(predictions, dict):
        predictions = list(predictions.values())
    if isinstance(predictions, list):
        return [number for it in predictions for number in numbers(it)]
    return [predictions]


class TestInvocations:
    @pytest.mark.parametrize(
        "body",
        [
            {"dataframe_split": {"columns": COLUMNS, "data": ROWS}},
            {"dataframe_split": {"columns": COLUMNS, "index": [0, 1], "data": ROWS}},
            {
                "dataframe_split": {
                    "columns": COLUMNS[::-1],
                    "data": [row[::-1] for row in ROWS],
                }
            },
            {"dataframe_records": RECORDS},
            {"instances": ROWS},
            {"instances": RECORDS},
            {"inputs": HOUSES},
            {"inputs": ROWS},
            {"inputs": {"X": ROWS}},
            {"instances": [{"X": row} for row in ROWS]},
            {"dataframe_records": RECORDS, "params": {}},
        ],
        ids=[
            "split",
            "split with index",
            "split in another order",
            "records",
            "instances",
            "instances by column",
            "columns",
            "inputs",
            "inputs by name",
            "instances by name",
            "params",
        ],
    )
    def test_json(self, houses, body):
        status, kind, answer = post(f"{houses.url}/invocations", body)
        assert (status, kind) == (200, "application/json"), answer
        assert list(json.loads(answer)) == ["predictions"]
        assert numbers(json.loads(answer)["predictions"]) == PRICES

    @pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=utf-8"])
    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_csv(self, houses, content_type, newline):
        text = io.StringIO()
        csv.writer(text, lineterminator=newline).writerows([COLUMNS, *ROWS])
        status, _, answer = post(f"{houses.url}/invocations", text.getvalue(), content_type)
        assert status == 200, answer
        assert numbers(json.loads(answer)["predictions"]) == PRICES

    @pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
    @pytest.mark.parametrize("version", ["1.0", "2.0"])
    @pytest.mark.parametrize("dictionary", [True, False])
    def test_parquet(self, houses, compression, version, dictionary):
        file = io.BytesIO()
        pyarrow.parquet.write_table(
            pyarrow.table(HOUSES),
            file,
            compression=compression,
            data_page_version=version,
            use_dictionary=dictionary,
        )
        status, _, answer = post(f"{houses.url}/invocations", file.getvalue(), PARQUET)
        assert status == 200, answer
        assert numbers(json.loads(answer)["predictions"]) == PRICES

    @pytest.mark.parametrize("writer", [of_pandas, of_polars, of_duckdb])
    def test_parquet_of_other_writers(self, credit, writer, tmp_path):
        """Words, numbers and gaps, as each of them writes them unless told otherwise."""
        rows = pandas.read_csv(EXAMPLES / "credit/pipeline/rows.csv").head(20)
        file = tmp_path / "rows.parquet"
        writer(rows, file)
        status, _, answer = post(f"{credit.url}/invocations", file.read_bytes(), PARQUET)
        assert status == 200, answer
        check_credit(json.loads(answer)["predictions"]["label"])

    @pytest.mark.parametrize(
        "table, options, status, words",
        [
            (HOUSES, {"compression": "gzip"}, 501, ["GZIP", "Snappy"]),
            ({**HOUSES, "rooms": [[1.0], [2.0]]}, {}, 400, ["rooms", "a list or a structure"]),
            ({**HOUSES, "rooms": ["a", "b"]}, {}, 400, ["rooms", "FP32"]),
            ({**HOUSES, "doors": [1, 2]}, {}, 400, ["doors"]),
            ({"rooms": [1.0, 2.0]}, {}, 400, ["area (m2)"]),
            ({it: [] for it in HOUSES}, {}, 400, []),
            (HOUSES, {"use_dictionary": False, "column_encoding": "DELTA_BINARY_PACKED"}, 501, []),
        ],
    )
    def test_parquet_that_will_not_do(self, houses, table, options, status, words):
        if "column_encoding" in options:
            table = {name: pyarrow.array(map(int, it), "int64") for name, it in table.items()}
        file = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(table), file, **options)
        got, _, answer = post(f"{houses.url}/invocations", file.getvalue(), PARQUET)
        assert got == status, answer
        for word in words:
            assert word in json.loads(answer)["message"], answer

    @pytest.mark.parametrize(
        "content_type", ["application/json; charset=utf-8", "application/JSON"]
    )
    def test_content_types_with_trimmings(self, houses, content_type):
        body = {"instances": ROWS}
        status, _, answer = post(f"{houses.url}/invocations", body, content_type)
        assert status == 200, answer

    def test_words_numbers_and_gaps(self, credit):
        rows = (EXAMPLES / "credit/pipeline/rows.csv").read_text().splitlines()
        bodies = [("\n".join(rows[:21]), "text/csv")]
        records = (EXAMPLES / "credit/pipeline/rows.jsonl").read_text().splitlines()[:20]
        bodies.append((json.dumps({"dataframe_records": [json.loads(it) for it in records]}), ""))
        for body, kind in bodies:
            answer = post(f"{credit.url}/invocations", body, kind or "application/json")
            assert answer[0] == 200, answer
            predictions = json.loads(answer[2])["predictions"]
            if isinstance(predictions, dict):
                check_credit(predictions["label"])
            else:
                check_credit([it["label"] for it in predictions])

    @pytest.mark.parametrize(
        "body, words",
        [
            (ROWS, []),
            ({}, ["dataframe_split"]),
            ({"instances": ROWS, "inputs": ROWS}, []),
            ({"columns": COLUMNS, "data": ROWS}, []),
            ({"dataframe_split": {"columns": COLUMNS[1:], "data": ROWS}}, []),
            (
                {"dataframe_split": {"columns": COLUMNS[1:], "data": [it[1:] for it in ROWS]}},
                ["area (m2)"],
            ),
            ({"dataframe_records": [{**RECORDS[0], "rooms": "three"}]}, ["rooms", "three"]),
            ({"dataframe_records": [{"rooms": 3}, {"rooms": 4}]}, ["area (m2)"]),
            ({"dataframe_records": []}, []),
            ({"instances": [[1, 2, 3]]}, []),
            ("{", []),
            ("", []),
            ("[" * 100_000, []),
        ],
        ids=[
            "a bare list",
            "no key",
            "two keys",
            "old split",
            "rows wider than columns",
            "a missing column",
            "a word for a number",
            "a missing key",
            "no rows",
            "a short row",
            "half of it",
            "nothing",
            "a deep list",
        ],
    )
    def test_bad_bodies(self, houses, body, words):
        status, kind, answer = post(f"{houses.url}/invocations", body)
        assert (status, kind) == (400, "application/json"), answer
        answer = json.loads(answer)
        assert answer["error_code"] == "BAD_REQUEST"
        assert answer["message"]
        assert all(word in answer["message"] for word in words), answer

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-npy", "application/vnd.bentoml+pickle"]
    )
    def test_wrong_content_types(self, houses, kind):
        status, _, answer = post(f"{houses.url}/invocations", b"x", kind)
        assert status == 415
        assert kind in json.loads(answer)["message"]

    @pytest.mark.parametrize(
        "body", ["", "rooms\n", "rooms,age\n1\n", 'area (m2),rooms,age,distance (km)\n1,2,"3,4\n']
    )
    def test_bad_csv(self, houses, body):
        status, _, answer = post(f"{houses.url}/invocations", body, "text/csv")
        assert status == 400, answer

    def test_the_model_is_named_where_there_are_several(self, server):
        body = {"instances": ROWS}
        status, _, answer = post(f"{server.url}/invocations", body)
        assert status == 501
        assert "model" in json.loads(answer)["message"]


def test_containers_of_sagemaker(houses):
    assert curl(f"{houses.url}/ping")[0] == 200
    body = {"instances": ROWS}
    status, _, answer = post(f"{houses.url}/invocations", body)
    assert (status, numbers(json.loads(answer)["predictions"])) == (200, PRICES)


def test_containers_of_vertex(start, monkeypatch):
    monkeypatch.setenv("AIP_MODE", "PREDICTION")
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/are/you/well")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/what/will/be")
    monkeypatch.setenv("AIP_STORAGE_URI", str(MODELS / "mlflow_model"))
    with start(paths=[]) as server:
        assert curl(f"{server.url}/are/you/well")[0] == 200
        status, _, answer = post(f"{server.url}/what/will/be", {"instances": ROWS})
        assert status == 200, answer
        assert numbers(json.loads(answer)["predictions"]) == PRICES


def test_ping_of_mlflow(server):
    assert curl(f"{server.url}/ping")[0] == 200
    assert curl(f"{server.url}/health")[0] == 200


def metrics(server):
    status, kind, text = curl(f"{server.url}/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    families = prometheus_client.parser.text_string_to_metric_families(text.decode())
    return {it.name: it for it in families}


def sample(server, name, **labels):
    family = metrics(server)[name]
    return sum(it.value for it in family.samples if labels.items() <= it.labels.items())


class TestMetrics:
    def test_the_names_of_triton(self, server):
        text = curl(f"{server.url}/metrics")[2].decode()
        for name in (
            "nv_inference_request_success",
            "nv_inference_request_failure",
            "nv_inference_count",
            "nv_inference_exec_count",
            "nv_inference_request_duration_us",
            "nv_inference_queue_duration_us",
            "nv_inference_compute_input_duration_us",
            "nv_inference_compute_infer_duration_us",
            "nv_inference_compute_output_duration_us",
            "nv_inference_pending_request_count",
        ):
            assert f'\n{name}{{model="add_sub",version="1"' in text, name

    def test_requests_are_counted(self, server):
        labels = {"model": "tabular30", "version": "1"}
        names = [
            "nv_inference_request_success",
            "nv_inference_count",
            "nv_inference_request_failure",
        ]
        before = [sample(server, name, **labels) for name in names]
        url = f"{server.url}/v1/models/tabular30:predict"
        assert post(url, {"instances": [[0.5] * 30] * 3})[0] == 200
        assert post(url, {"instances": [[0.5] * 29]})[0] == 400
        after = [sample(server, name, **labels) for name in names]
        assert [b - a for a, b in zip(before, after)] == [1, 3, 1]

    def test_our_own_are_histograms_in_seconds(self, server):
        families = metrics(server).values()
        ours = [it for it in families if it.type == "histogram" and it.name.endswith("_seconds")]
        assert ours
        for family in ours:
            for sample in family.samples:
                assert math.isfinite(sample.value)


class TestOpenApi:
    def test_the_document_is_valid(self, server):
        status, kind, text = curl(f"{server.url}/api/v1/openapi.json")
        assert (status, kind) == (200, "application/json")
        document = json.loads(text)
        validate(document)
        paths = document["paths"]
        assert "/v2/models/{model}/infer" in paths
        assert "/invocations" in paths
        assert any(it.startswith("/v1/models/") for it in paths)

    def test_what_it_lists_is_there(self, server):
        """Every operation without a body and without a name to fill in answers."""
        document = json.loads(curl(f"{server.url}/api/v1/openapi.json")[2])
        for path, operations in document["paths"].items():
            if "get" in operations and "{" not in path:
                assert answers(server, path) == 200, path


def test_http2_is_spoken_too(server):
    body = json.dumps(
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    )
    status, _, answer = curl(
        f"{server.url}/v2/models/identity_fp32/infer", "--http2-prior-knowledge", body=body
    )
    assert status == 200
    assert json.loads(answer)["outputs"][0]["data"] == [1, 2, 3, 4]


def test_compressed_answers(server):
    rows = [[0.0] * 4] * 1000
    url = f"{server.url}/v1/models/identity_fp32:predict"
    status, _, answer = curl(url, "--compressed", body=json.dumps({"instances": rows}))
    assert (status, json.loads(answer)) == (200, {"predictions": rows})


def test_a_large_body_is_asked_for_before_it_is_sent(server):
    """curl waits for `100 Continue` where a body is over a mebibyte."""
    rows = [[0.25] * 4] * 200_000
    url = f"{server.url}/v1/models/identity_fp32:predict"
    flags = ["--header", "Expect: 100-continue", "--expect100-timeout", "30"]
    status, _, answer = curl(url, *flags, body=json.dumps({"instances": rows}))
    assert status == 200
    assert len(json.loads(answer)["predictions"]) == 200_000


def test_it_is_only_reached_from_this_machine(server):
    """Sockets that listen, as the kernel lists them: none of this port but on loopback."""
    port = f":{server.port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A" and local.endswith(port):
                assert local in (f"0100007F{port}", f"{'0' * 24}01000000{port}"), line
