"""BentoML: one service, one worker, adaptive batching; started by `bentoml serve server:Predict`.

A batchable method takes one parameter, so its body is {"rows": [{input: [..]}]} with rows that lack the leading axis.
"""

import bentoml
import numpy

from model import ROWS_MAX, Model


# BentoML learns how long to wait; `max_latency_ms` is when it gives a request up, so it is not the others' wait.
batching = {"batchable": True, "max_batch_size": ROWS_MAX, "max_latency_ms": 60_000}


@bentoml.service(workers=1, threads=1, traffic={"timeout": 60})
class Predict:
    def __init__(self):
        self.model = Model()

    @bentoml.api(**(batching if ROWS_MAX > 1 else {}))
    def predict(self, rows: list[dict]) -> list[dict]:
        types = self.model.types.items()
        found = [{name: numpy.array([row[name]], it) for name, it in types} for row in rows]
        answers = self.model.run_batch(found)
        return [{name: it[0].tolist() for name, it in answer.items()} for answer in answers]
