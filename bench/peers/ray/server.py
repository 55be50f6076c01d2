"""Ray Serve: one replica of one core, its own HTTP proxy, `serve.batch`. Squeezed on one core; it is made for many."""

import os
import signal
import tempfile

import orjson
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from model import PORT, ROWS_MAX, WAIT_MS, Model


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Predict:
    def __init__(self):
        self.model = Model()

    @serve.batch(max_batch_size=ROWS_MAX, batch_wait_timeout_s=WAIT_MS / 1000)
    async def predict(self, rows):
        return self.model.run_batch(rows)

    async def __call__(self, request: Request):
        answer = await self.predict(self.model.row(orjson.loads(await request.body())))
        return Response(
            orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json"
        )


# Replicas are processes of their own that import `model` too.
ray.init(
    num_cpus=2,
    include_dashboard=False,
    _node_ip_address="127.0.0.1",
    _temp_dir=tempfile.mkdtemp(prefix="ray"),
    object_store_memory=256 * 1024 * 1024,
    runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}},
    logging_level="warning",
)
serve.start(http_options={"host": "127.0.0.1", "port": PORT})
serve.run(Predict.bind(), route_prefix="/")
signal.pause()
