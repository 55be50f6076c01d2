"""tritonclient.http.aio and grpc.aio: all the cases, and many requests of one event loop."""

import asyncio

import pytest
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException

from callers import Caller, Grpc, Http, caller, same_bits
from cases import ROWS, Cases, add_sub, check_sum


class TestTritonHttpAio(Cases):
    @pytest.fixture
    def triton(self, server):
        triton = caller("http", server.address, aio=True)
        yield triton
        triton.close()


class TestTritonGrpcAio(Cases):
    @pytest.fixture
    def triton(self, server):
        triton = caller("grpc", server.address, aio=True)
        yield triton
        triton.close()


KINDS = pytest.mark.parametrize(
    "protocol, module", [(Http, http_aio), (Grpc, grpc_aio)], ids=["http", "grpc"]
)


def inputs(protocol, arrays):
    tensors = []
    for name, array in arrays.items():
        tensors.append(Caller.input(Unconnected(protocol), name, array))
    return tensors


class Unconnected:
    """As much of a caller as it takes to make an input."""

    def __init__(self, protocol):
        self.protocol = protocol


@KINDS
def test_many_requests_at_once(server, protocol, module):
    async def ask():
        async with module.InferenceServerClient(server.address) as client:
            sizes = [*range(1, 21)] * 5
            answers = [client.infer("add_sub", inputs(protocol, add_sub(rows))) for rows in sizes]
            for rows, result in zip(sizes, await asyncio.gather(*answers)):
                check_sum(result, rows)

    asyncio.run(ask())


@KINDS
def test_a_failure_among_many(server, protocol, module):
    async def ask():
        async with module.InferenceServerClient(server.address) as client:
            answers = [
                client.infer(model, inputs(protocol, {"x": ROWS}))
                for model in ("identity_fp32", "identity_fp64", "no_such", "identity_fp32")
            ]
            first, wrong, absent, last = await asyncio.gather(*answers, return_exceptions=True)
            for result in (first, last):
                same_bits(result.as_numpy("y"), ROWS)
            assert isinstance(wrong, InferenceServerException) and "FP64" in wrong.message()
            assert isinstance(absent, InferenceServerException) and "no_such" in absent.message()

    asyncio.run(ask())


@KINDS
def test_a_request_that_is_called_off(server, protocol, module):
    async def ask():
        async with module.InferenceServerClient(server.address) as client:
            slow = asyncio.ensure_future(client.infer("slow", inputs(protocol, {"x": ROWS})))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(slow, 0.05)
            result = await client.infer("slow", inputs(protocol, {"x": ROWS}))
            same_bits(result.as_numpy("y"), ROWS)

    asyncio.run(ask())


def test_a_stream(server):
    async def requests():
        for rows in range(1, 51):
            yield {
                "model_name": "add_sub",
                "inputs": inputs(Grpc, add_sub(rows)),
                "request_id": str(rows),
            }
        yield {"model_name": "no_such", "inputs": inputs(Grpc, {"x": ROWS})}

    async def ask():
        answers, errors = 0, []
        async with grpc_aio.InferenceServerClient(server.address) as client:
            async for result, error in client.stream_infer(requests()):
                if error:
                    errors.append(error.message())
                else:
                    answers += 1
                    check_sum(result, int(result.get_response().id))
        assert answers == 50
        assert len(errors) == 1 and "no_such" in errors[0]

    asyncio.run(ask())
