"""The credit example: its applicants, three protocols to ask about them, the ledger's API."""

import csv
import json
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "credit"
PIPELINE = EXAMPLE / "pipeline"
NUMBERS = ["Seniority", "Time", "Age", "Expenses", "Income", "Assets", "Debt", "Amount", "Price"]
WORDS = ["Home", "Marital", "Records", "Job"]
JSON = {"Content-Type": "application/json"}
# A UUID of version 7 of 2024 that no server made.
NOBODYS = "01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f"


def applicants():
    """The features of every applicant, and how each turned out."""
    rows, truths = [], []
    with open(EXAMPLE / "data" / "credit.csv", newline="") as file:
        for line in csv.DictReader(file):
            row = {it: float(line[it]) if line[it] else None for it in NUMBERS}
            rows.append({**row, **{it: line[it] for it in WORDS}})
            truths.append(line["Status"])
    return rows, truths


def copy(folder, *more, source=PIPELINE, **changes):
    """A copy of the example with further lines in its manifest, and text of it replaced."""
    shutil.copytree(source, folder)
    manifest = folder / "windlass.yaml"
    text = manifest.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    manifest.write_text("\n".join([text, *more, ""]))
    return folder


def single(number):
    """The double that the single-precision number nearest to this one is."""
    return struct.unpack("f", struct.pack("f", number))[0]


class Shed(Exception):
    """The server would rather not answer than lose the row."""


@dataclass
class Answer:
    """What a caller got for a request."""

    id: str
    classes: list
    scores: list

    def rows(self):
        """The id, the class and the score of each row."""
        for row, (name, score) in enumerate(zip(self.classes, self.scores, strict=True)):
            yield f"{self.id}.{row}", name, score


def infer_body(rows):
    def tensor(name, datatype):
        data = [it[name] for it in rows]
        return {"name": name, "shape": [len(rows), 1], "datatype": datatype, "data": data}

    inputs = [tensor(it, "FP32") for it in NUMBERS] + [tensor(it, "BYTES") for it in WORDS]
    return {"inputs": inputs}


def ask(connection, path, body, headers=()):
    """One request on a connection that stays open: status, headers, the answer."""
    body = body if isinstance(body, (str, bytes)) else json.dumps(body)
    connection.request("POST", path, body, {**JSON, **dict(headers)})
    response = connection.getresponse()
    return response.status, response.headers, json.loads(response.read())


def answered(connection, path, body, headers):
    status, got, answer = ask(connection, path, body, headers)
    if status == 503 and got["windlass-code"] == "ledger_full":
        assert int(got["Retry-After"]) > 0
        raise Shed(answer)
    assert status == 200, answer
    return got, answer


def by_infer(connection, rows, headers=(), model="credit"):
    path = f"/v2/models/{model}/infer"
    got, answer = answered(connection, path, infer_body(rows), headers)
    outputs = {it["name"]: it["data"] for it in answer["outputs"]}
    assert answer["parameters"]["prediction_id"] == got["windlass-prediction-id"]
    scores = [single(it) for it in outputs["probabilities"][::2]]
    return Answer(got["windlass-prediction-id"], outputs["label"], scores)


def by_v1(connection, rows, headers=(), model="credit"):
    path = f"/v1/models/{model}:predict"
    got, answer = answered(connection, path, {"instances": rows}, headers)
    rows = answer["predictions"]
    scores = [single(it["probabilities"][0]) for it in rows]
    return Answer(got["windlass-prediction-id"], [it["label"] for it in rows], scores)


def by_invocations(connection, rows, headers=()):
    body = {"dataframe_records": rows}
    got, answer = answered(connection, "/invocations", body, headers)
    outputs = answer["predictions"]
    scores = [single(it[0]) for it in outputs["probabilities"]]
    return Answer(got["windlass-prediction-id"], outputs["label"], scores)


PROTOCOLS = [by_infer, by_v1, by_invocations]


class Credit:
    """The ledger's API, mixed into a server."""

    def label(self, labels, model="credit"):
        """Sends labels that are all to be taken."""
        status, answer = self.ask_json("POST", f"/api/v1/labels?model={model}", labels)
        assert status == 200, answer
        assert answer == {"accepted": len(labels), "rejected": []}, answer

    def quality(self, model="credit", **query):
        query = "&".join(f"{name}={value}" for name, value in query.items())
        status, answer = self.ask_json("GET", f"/api/v1/models/{model}/quality?{query}")
        assert status == 200, answer
        return answer

    def query(self, sql, **more):
        """The rows of an answer, all of them."""
        status, answer = self.ask_json("POST", "/api/v1/query", {"sql": sql, **more})
        assert status == 200, answer
        assert not answer["more"]
        return answer["rows"]

    def file(self, sql, kind):
        """The bytes of an answer of this content type."""
        body = json.dumps({"sql": sql})
        status, headers, answer = self.ask("POST", "/api/v1/query", body, {**JSON, "Accept": kind})
        assert status == 200, answer
        assert headers["Content-Type"] == kind
        return answer

    def settle(self):
        status, answer = self.ask_json("POST", "/api/v1/ledger/settle")
        assert status == 200, answer
        return answer

    def ledger(self):
        status, answer = self.ask_json("GET", "/api/v1/ledger")
        assert status == 200, answer
        return answer

    def predict(self, rows, protocol=by_infer, headers=(), **more):
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            return protocol(connection, rows, headers, **more)
        finally:
            connection.close()

    def predict_many(self, rows, each=20):
        """The id of each row, asked in requests of so many."""
        connection, ids = self.connect(), []
        for at in range(0, len(rows), each):
            ids += [id for id, _, _ in by_infer(connection, rows[at : at + each]).rows()]
        connection.close()
        return ids

    def kill(self):
        """As a power switch ends it, and the memory of its files stays."""
        self.process.kill()
        self.process.wait()
        assert "panicked" not in self.log, self.log[-4000:]

    def command(self, *arguments, status=0, **more):
        """What the command line prints when it talks to this server."""
        command = [os.environ["WINDLASS_TEST_BINARY"], "--server", self.url, *arguments]
        more = {"stdin": subprocess.DEVNULL} if "input" not in more else more
        ended = subprocess.run(
            [str(it) for it in command], capture_output=True, timeout=120, **more
        )
        assert ended.returncode == status, (command, ended)
        return ended.stdout.decode()
