"""mosec: a Rust front that groups requests, one Python worker process that runs them."""

import sys

import orjson
from mosec import Server, Worker

from model import PORT, ROWS_MAX, WAIT_MS, Model


class Predict(Worker):
    def __init__(self):
        super().__init__()
        self.model = Model()

    def deserialize(self, data):
        return self.model.row(orjson.loads(data))

    def forward(self, data):
        # mosec gives a list only where batching is on.
        return self.model.run(data) if ROWS_MAX == 1 else self.model.run_batch(data)

    def serialize(self, data):
        return orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)


if __name__ == "__main__":
    # Its settings come from the command line alone.
    sys.argv[1:] = [
        "--address",
        "127.0.0.1",
        "--port",
        str(PORT),
        "--timeout",
        "60000",
        "--log-level",
        "warning",
    ]
    server = Server()
    server.append_worker(Predict, num=1, max_batch_size=ROWS_MAX, max_wait_time=int(WAIT_MS))
    server.run()
