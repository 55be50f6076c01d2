"""perf_analyzer 2.50.0 in the modes that need no GPU: each ends well and measured something."""

import csv
import json
import os
import subprocess

import pytest

TOOLS = os.environ.get("WINDLASS_TEST_TOOLS", ".")
# Windows of 20 requests; any spread between them is stable enough, the figures are not the point.
SHORT = "--measurement-mode count_windows --measurement-request-count 20 -s 999 --max-threads 4"


@pytest.fixture
def measure(server, tmp_path):
    """Runs it; gives its report's rows and what it printed."""

    def measure(flags, model="add_sub", at=server):
        report = tmp_path / "report.csv"
        command = [f"{TOOLS}/perf_analyzer", "-m", model, "-u", at.address, "-f", str(report)]
        ended = subprocess.run(
            [*command, *SHORT.split(), *flags.split()],
            env={**os.environ, "LD_LIBRARY_PATH": TOOLS},
            capture_output=True,
            text=True,
            timeout=150,
        )
        printed = ended.stdout + ended.stderr
        assert ended.returncode == 0, printed
        rows = list(csv.DictReader(report.open()))
        assert rows, printed
        assert all(float(it["Inferences/Second"]) > 0 for it in rows)
        return rows, printed

    return measure


@pytest.mark.parametrize(
    "flags",
    [
        "-i http",
        "-i http --sync",
        "-i http --async",
        "-i http --async --concurrency-range 4",
        "-i http -b 4",
        "-i http --input-tensor-format json",
        "-i http --output-tensor-format json",
        "-i http --input-tensor-format json --output-tensor-format json",
        "-i http --request-rate-range 100",
        "-i http --request-rate-range 100 --request-distribution poisson",
        "-i http --percentile 95",
        "-i http --input-data zero",
        "-i http -x 1",
        "-i grpc",
        "-i grpc --sync",
        "-i grpc --async",
        "-i grpc --async --concurrency-range 4",
        "-i grpc --streaming",
        "-i grpc --streaming --async --concurrency-range 4",
        "-i grpc -b 4",
        "-i grpc --request-rate-range 100 --async",
        "-i grpc --grpc-compression-algorithm gzip",
        "-i grpc --grpc-compression-algorithm deflate",
    ],
)
def test_a_mode(measure, flags):
    (row,), _ = measure(flags)
    # From the statistics of the server.
    assert float(row["Server Compute Infer"]) > 0


def test_a_range_of_concurrencies(measure):
    rows, _ = measure("-i grpc --concurrency-range 1:3:1")
    # It lists them by what it measured.
    assert sorted(it["Concurrency"] for it in rows) == ["1", "2", "3"]


def test_a_repository_of_triton(measure):
    measure("-i http -b 8", model="simple")


def test_strings(measure):
    measure("-i grpc --string-length 32", model="identity_string")


def test_variable_lengths(measure):
    measure("-i http --shape x:9 --shape attention_mask:9", model="variable")


def test_rows_of_a_file(measure, tmp_path):
    file = tmp_path / "rows.json"
    row = {"INPUT0": list(range(16)), "INPUT1": [1] * 16}
    file.write_text(json.dumps({"data": [row, row]}))
    measure(f"-i http --input-data {file}")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_shared_memory(measure, sharing, protocol):
    measure(f"-i {protocol} --shared-memory system", at=sharing)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_shared_memory_that_is_not_offered(server, protocol):
    """It says so; it does not crash."""
    ended = subprocess.run(
        [f"{TOOLS}/perf_analyzer", "-m", "add_sub", "-u", server.address, "-i", protocol]
        + ["--shared-memory", "system", *SHORT.split()],
        env={**os.environ, "LD_LIBRARY_PATH": TOOLS},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert ended.returncode not in (0, -6, -11)
    assert "shared memory" in (ended.stdout + ended.stderr).lower()


def test_metrics_are_collected_as_far_as_there_are_any(measure, server):
    """It looks for GPUs; without them it warns."""
    measure(f"-i http --collect-metrics --metrics-url {server.url}/metrics --metrics-interval 200")


def test_an_unknown_model(server):
    ended = subprocess.run(
        [f"{TOOLS}/perf_analyzer", "-m", "no_such", "-u", server.address, *SHORT.split()],
        env={**os.environ, "LD_LIBRARY_PATH": TOOLS},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert ended.returncode not in (0, -6, -11)
    assert "no_such" in ended.stdout + ended.stderr
