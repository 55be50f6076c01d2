"""MLServer: the Open Inference Protocol in Python, the model in the server's own process, adaptive batching."""

import asyncio
import socket

import numpy
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.types import InferenceResponse, ResponseOutput

from model import MODEL, PORT, ROWS_MAX, WAIT_MS, Model

OIP = {numpy.dtype("float32"): "FP32", numpy.dtype("int64"): "INT64"}


class Predict(MLModel):
    async def load(self):
        self.model = Model()
        return True

    async def predict(self, payload):
        row = {
            it.name: numpy.array(it.data.root, self.model.types[it.name]).reshape(it.shape)
            for it in payload.inputs
        }
        outputs = [
            ResponseOutput(
                name=name, shape=list(it.shape), datatype=OIP[it.dtype], data=it.ravel().tolist()
            )
            for name, it in self.model.run(row).items()
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


def port_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def main():
    settings = Settings(
        host="127.0.0.1",
        http_port=PORT,
        grpc_port=port_free(),
        metrics_endpoint=None,
        metrics_port=port_free(),
        parallel_workers=0,
        debug=False,
    )
    # 0 turns batching off.
    rows_max = ROWS_MAX if ROWS_MAX > 1 else 0
    model = ModelSettings(
        name="model",
        implementation=Predict,
        max_batch_size=rows_max,
        max_batch_time=WAIT_MS / 1000 if rows_max else 0,
        parameters={"uri": MODEL},
    )
    await MLServer(settings).start([model])


asyncio.run(main())
