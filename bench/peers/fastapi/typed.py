"""FastAPI as its manual teaches it: pydantic types in and out, a plain function, the default encoder."""

import uvicorn
from fastapi import FastAPI
from pydantic import create_model

from model import PORT, Model, lists


def nested(it):
    """The type of an input or output as lists of lists: `list[list[float]]` for a matrix."""
    found = int if it.type == "tensor(int64)" else float
    for _ in it.shape:
        found = list[found]
    return found


model = Model()
app = FastAPI()
Body = create_model("Body", **{it.name: (nested(it), ...) for it in model.session.get_inputs()})
Answer = create_model(
    "Answer", **{it.name: (nested(it), ...) for it in model.session.get_outputs()}
)


@app.post("/predict")
def predict(body: Body) -> Answer:
    return Answer(**lists(model.run(model.row(body.model_dump()))))


uvicorn.run(
    app,
    host="127.0.0.1",
    port=PORT,
    loop="uvloop",
    http="httptools",
    access_log=False,
    log_level="warning",
)
