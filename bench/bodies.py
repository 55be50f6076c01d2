"""The three models' rows, the bodies that carry them, and whether an answer is right.

Deterministic: the same bodies in every run and for every server. One row a request.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy
import onnxruntime
from sklearn.datasets import load_breast_cancer


@dataclass(frozen=True)
class Work:
    """One model and how it is measured."""

    name: str
    folder: str
    title: str
    rows_max: int
    """What every peer that batches is told, with `wait_ms`; not tuned for each."""
    wait_ms: int
    window: float
    """Its windows are this many times longer: what answers 15 a second needs more than 3 s at 64 connections."""


WORKS = [
    Work("tabular", "tabular30", "Tabular: gradient boosting over 30 floats", 64, 1, 1.0),
    Work("minilm", "minilm", "Text: MiniLM embedding, 16 to 128 tokens", 16, 2, 1.0),
    Work("image", "resnet18_random", "Image: ResNet-18, 150,528 floats", 8, 5, 8 / 3),
]


def rows(work):
    """What is asked, as dicts of input name -> array with a leading axis of 1."""
    return {"tabular": tabular_rows, "minilm": minilm_rows, "image": image_rows}[work.name]()


def tabular_rows():
    # The table that the model was trained on, 6 significant digits.
    table = load_breast_cancer().data[:256]
    return [
        {"X": numpy.array([[float(f"{it:.6g}") for it in row]], numpy.float32)} for row in table
    ]


def minilm_rows():
    generator = random.Random(7)
    # From 16 to 128 with a mean of 76.
    lengths = [round(16 + 112 * (i / 63) ** 0.867) for i in range(64)]
    generator.shuffle(lengths)
    found = []
    for length in lengths:
        ids = [101, *(generator.randrange(1000, 29_000) for _ in range(length - 2)), 102]
        found.append(
            {
                "input_ids": numpy.array([ids], numpy.int64),
                "attention_mask": numpy.ones((1, length), numpy.int64),
                "token_type_ids": numpy.zeros((1, length), numpy.int64),
            }
        )
    return found


def image_rows():
    generator = numpy.random.default_rng(7)
    values = generator.normal(0, 1, (8, 1, 3, 224, 224)).round(4)
    return [{"image": it.astype(numpy.float32)} for it in values]


# Bodies.

OIP = {numpy.dtype("float32"): "FP32", numpy.dtype("int64"): "INT64"}
NUMPY = {"FP32": numpy.float32, "INT64": numpy.int64}


@dataclass(frozen=True)
class Body:
    """A request's bytes and the headers that belong to them."""

    headers: dict
    content: bytes


def body(form, row):
    """A row as a body. `form`: `plain`, `rows`, `raw`, `v2` or `v2bin`."""
    kind = {"Content-Type": "application/json"}
    if form == "plain":
        return Body(kind, compact({name: nested(it) for name, it in row.items()}))
    if form == "rows":
        return Body(kind, compact({"rows": [{name: nested(it)[0] for name, it in row.items()}]}))
    if form == "v2":
        return Body(kind, compact({"inputs": [v2_json(name, it) for name, it in row.items()]}))
    kind = {"Content-Type": "application/octet-stream"}
    content = b"".join(it.tobytes() for it in row.values())
    if form == "raw":
        return Body(kind, content)
    assert form == "v2bin", form
    inputs = [v2_binary(name, it) for name, it in row.items()]
    header = compact({"inputs": inputs, "parameters": {"binary_data_output": True}})
    return Body({**kind, "Inference-Header-Content-Length": str(len(header))}, header + content)


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def nested(array):
    """Lists of numbers whose text is as short as their float32 allows."""
    if array.dtype != numpy.float32:
        return array.tolist()
    short = numpy.array([float(str(it)) for it in array.ravel()])
    return short.reshape(array.shape).tolist()


def v2_head(name, array):
    return {"name": name, "shape": list(array.shape), "datatype": OIP[array.dtype]}


def v2_binary(name, array):
    return {**v2_head(name, array), "parameters": {"binary_data_size": array.nbytes}}


def v2_json(name, array):
    return {**v2_head(name, array), "data": nested(array.ravel())}


# Answers.


def session(folder, threads):
    """The engine in this process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        Path(folder) / "model.onnx", options, providers=["CPUExecutionProvider"]
    )


def run(engine, row):
    """Output name -> array."""
    return dict(zip([it.name for it in engine.get_outputs()], engine.run(None, row)))


def answer_bytes(form, work, answer):
    """How many bytes the answer has in that form: what the bare HTTP server sends."""
    binary = form == "v2bin"
    describe = v2_binary if binary else v2_json
    outputs = [describe(name, it) for name, it in answer.items()]
    text = len(compact({"model_name": work.folder, "outputs": outputs}))
    return text + sum(it.nbytes for it in answer.values()) * binary


def parse(headers, content):
    """Output name -> flat array, from any server's answer; the form is seen from its shape."""
    binary = headers.get("Inference-Header-Content-Length")
    found = json.loads(content[: int(binary)] if binary else content)
    if isinstance(found, list):
        found = found[0]
    if "outputs" not in found:
        return {name: numpy.array(it).ravel() for name, it in found.items()}
    outputs, at = {}, int(binary or 0)
    for it in found["outputs"]:
        if "data" in it:
            outputs[it["name"]] = numpy.array(it["data"]).ravel()
            continue
        end = at + it["parameters"]["binary_data_size"]
        outputs[it["name"]] = numpy.frombuffer(content[at:end], NUMPY[it["datatype"]])
        at = end
    return outputs


def right(want, headers, content):
    """Whether an answer has every output, as near as another grouping of the same sums may bring it."""
    try:
        got = parse(headers, content)
        return all(
            name in got
            and got[name].shape == it.ravel().shape
            and numpy.allclose(got[name], it.ravel(), 1e-3, 1e-4)
            for name, it in want.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
