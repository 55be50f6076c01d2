"""What every peer does the same way, so that only the servers differ: the session, and rows in and out.

A row is a dict of input name -> array with a leading axis of 1. `BENCH_*` comes from `bench/servers.py`.
"""

import os

import numpy
import onnxruntime

MODEL = os.environ["BENCH_MODEL"]
PORT = int(os.environ["BENCH_PORT"])
# 1 means no batching.
ROWS_MAX = int(os.environ["BENCH_ROWS_MAX"])
WAIT_MS = float(os.environ["BENCH_WAIT_MS"])

TYPES = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64}


class Model:
    """One session of one thread: the server has one core."""

    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            MODEL, options, providers=["CPUExecutionProvider"]
        )
        self.types = {it.name: TYPES[it.type] for it in self.session.get_inputs()}
        self.outputs = [it.name for it in self.session.get_outputs()]

    def row(self, body):
        """A parsed body of nested lists as a row."""
        return {name: numpy.array(body[name], dtype=type) for name, type in self.types.items()}

    def run(self, row):
        """The answer to one row: output name -> array."""
        return dict(zip(self.outputs, self.session.run(None, row)))

    def run_batch(self, rows):
        """The answers to several rows of one row each, in their order, from one run."""
        joined = {name: join([row[name] for row in rows]) for name in self.types}
        outputs = self.session.run(None, joined)
        return [
            dict(zip(self.outputs, [it[i : i + 1] for it in outputs])) for i in range(len(rows))
        ]


def join(arrays):
    """One array of all rows; shorter rows are filled with zeros, which an attention mask then hides."""
    if len({it.shape for it in arrays}) == 1:
        return numpy.concatenate(arrays)
    joined = numpy.zeros((len(arrays), max(it.shape[1] for it in arrays)), dtype=arrays[0].dtype)
    for i, array in enumerate(arrays):
        joined[i, : array.shape[1]] = array[0]
    return joined


def lists(answer):
    """An answer for an encoder that does not know numpy."""
    return {name: array.tolist() for name, array in answer.items()}
