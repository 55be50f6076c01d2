"""FastAPI at its best: no validation, orjson both ways, the model run on the event loop's own thread.

`/raw` takes the only input's bytes as they are (float32) and answers the same JSON.
"""

import numpy
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

from model import PORT, Model

model = Model()
app = FastAPI()


def answer(row):
    body = orjson.dumps(model.run(row), option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


@app.post("/predict")
async def predict(request: Request):
    return answer(model.row(orjson.loads(await request.body())))


@app.post("/raw")
async def raw(request: Request):
    shape = [1, *model.session.get_inputs()[0].shape[1:]]
    array = numpy.frombuffer(await request.body(), dtype=numpy.float32)
    return answer({model.session.get_inputs()[0].name: array.reshape(shape)})


uvicorn.run(
    app,
    host="127.0.0.1",
    port=PORT,
    loop="uvloop",
    http="httptools",
    access_log=False,
    log_level="warning",
)
