"""kserve 0.21.0: InferenceRESTClient in both protocols and InferenceGRPCClient."""

import asyncio

import grpc
import httpx
import numpy
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

A = numpy.arange(32, dtype=numpy.int32).reshape(2, 16)
B = numpy.ones_like(A)


def run(ask):
    return asyncio.run(ask())


@pytest.fixture(params=["rest", "grpc"])
def client(request, server):
    """Makes a client and what it needs before a model's name."""

    def make():
        if request.param == "grpc":
            return InferenceGRPCClient(server.address), []
        return InferenceRESTClient(RESTConfig(protocol="v2")), [server.url]

    make.grpc = request.param == "grpc"
    return make


def infer(client, model, request):
    async def ask():
        made, base = client()
        async with made:
            if base:
                return await made.infer(*base, request, model_name=model)
            return await made.infer(request)

    return run(ask)


def add_sub(binary, **more):
    inputs = []
    for name, array in {"INPUT0": A, "INPUT1": B}.items():
        tensor = InferInput(name, list(array.shape), "INT32")
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    return InferRequest(model_name="add_sub", infer_inputs=inputs, **more)


def outputs(response):
    return {it.name: it.as_numpy() for it in response.outputs}


def test_health(client):
    async def ask():
        made, base = client()
        async with made:
            assert await made.is_server_live(*base) is True
            assert await made.is_server_ready(*base) is True
            assert await made.is_model_ready(*base, model_name="add_sub") is True

    run(ask)


def test_an_unknown_model_is_not_ready(client):
    async def ask():
        made, base = client()
        async with made:
            if not client.grpc:
                assert not await made.is_model_ready(*base, model_name="no_such")
                return
            with pytest.raises(grpc.RpcError) as error:
                await made.is_model_ready("no_such")
            assert error.value.code() == grpc.StatusCode.NOT_FOUND

    run(ask)


@pytest.mark.parametrize("binary", [True, False])
def test_an_answer(client, binary):
    response = infer(client, "add_sub", add_sub(binary, request_id="seven"))
    assert response.model_name == "add_sub"
    assert response.id == "seven"
    got = outputs(response)
    assert (got["OUTPUT0"] == A + B).all() and (got["OUTPUT1"] == A - B).all()


@pytest.mark.parametrize("binary", [True, False])
def test_only_the_outputs_asked_for(client, binary):
    wanted = [RequestedOutput("OUTPUT1", {"binary_data": binary})]
    got = outputs(infer(client, "add_sub", add_sub(binary, request_outputs=wanted)))
    assert got.keys() == {"OUTPUT1"}
    assert (got["OUTPUT1"] == A - B).all()


def identity(kind, datatype, array, binary=True):
    tensor = InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    more = {"parameters": {"binary_data_output": True}} if binary else {}
    return InferRequest(model_name=f"identity_{kind}", infer_inputs=[tensor], **more)


KINDS = {
    "bool": numpy.bool_,
    "uint8": numpy.uint8,
    "uint16": numpy.uint16,
    "uint32": numpy.uint32,
    "uint64": numpy.uint64,
    "int8": numpy.int8,
    "int16": numpy.int16,
    "int32": numpy.int32,
    "int64": numpy.int64,
    "fp16": numpy.float16,
    "fp32": numpy.float32,
    "fp64": numpy.float64,
}


@pytest.mark.parametrize("kind", KINDS)
def test_datatypes(client, kind):
    rows = numpy.array([[0, 1, 2, 3], [1, 0, 100, 7]]).astype(KINDS[kind])
    got = outputs(infer(client, f"identity_{kind}", identity(kind, kind.upper(), rows)))["y"]
    assert got.dtype == rows.dtype
    assert (got == rows).all()


@pytest.mark.parametrize("binary", [True, False])
def test_strings(client, binary):
    words = numpy.array([[b"a", b"", "é".encode(), b"long " * 9]], numpy.object_)
    request = identity("string", "BYTES", words, binary)
    got = outputs(infer(client, "identity_string", request))["y"]
    text = [it if isinstance(it, bytes) else it.encode() for it in got.flatten()]
    assert text == words.flatten().tolist()


@pytest.mark.parametrize(
    "model, width, status, words",
    [
        ("identity_fp32", 5, 400, ["`x`", "[2, 5]", "[-1, 4]"]),
        ("identity_fp64", 4, 400, ["`x`", "FP32", "FP64"]),
        ("no_such", 4, 404, ["no_such"]),
    ],
)
def test_refusals(client, model, width, status, words):
    rows = numpy.ones((2, width), numpy.float32)
    request = identity(model.removeprefix("identity_"), "FP32", rows)
    request.model_name = model
    with pytest.raises((httpx.HTTPStatusError, grpc.RpcError)) as error:
        infer(client, model, request)
    if client.grpc:
        codes = {400: grpc.StatusCode.INVALID_ARGUMENT, 404: grpc.StatusCode.NOT_FOUND}
        assert error.value.code() == codes[status]
        message = error.value.details()
    else:
        assert error.value.response.status_code == status
        message = str(error.value)
    assert all(word in message for word in words), message


class TestV1:
    def ask(self, server, method, *args, **more):
        async def ask():
            async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
                return await getattr(client, method)(server.url, *args, **more)

        return run(ask)

    def test_health(self, server):
        assert self.ask(server, "is_server_live") is True
        assert self.ask(server, "is_model_ready", "add_sub") is True

    def test_an_unknown_model_is_not_ready(self, server):
        with pytest.raises(httpx.HTTPStatusError) as error:
            self.ask(server, "is_model_ready", "no_such")
        assert error.value.response.status_code == 404

    def test_rows(self, server):
        body = {"instances": [[1, 2, 3, 4], [5, 6, 7, 8]]}
        answer = self.ask(server, "infer", body, model_name="identity_fp32")
        assert answer == {"predictions": [[1, 2, 3, 4], [5, 6, 7, 8]]}

    def test_rows_with_names(self, server):
        body = {"instances": [{"INPUT0": [2] * 16, "INPUT1": [1] * 16}]}
        answer = self.ask(server, "infer", body, model_name="add_sub")
        assert answer == {"predictions": [{"OUTPUT0": [3] * 16, "OUTPUT1": [1] * 16}]}

    def test_a_wrong_row(self, server):
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            self.ask(server, "infer", {"instances": [[1, 2, 3]]}, model_name="identity_fp32")
