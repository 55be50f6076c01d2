"""The four clients of tritonclient behind one set of words, so that one list of cases fits all.

The clients themselves are used as they are: a caller adds no header and hides no error.
"""

import asyncio
import threading

import numpy
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import np_to_triton_dtype

# The statuses of ../../crates/wire/src/code.rs, as HTTP's client and as gRPC's shows them.
STATUSES = {
    "wrong": ("400", "StatusCode.INVALID_ARGUMENT"),
    "absent": ("404", "StatusCode.NOT_FOUND"),
    "too large": ("413", "StatusCode.RESOURCE_EXHAUSTED"),
    "unsupported": ("501", "StatusCode.UNIMPLEMENTED"),
    "not now": ("503", "StatusCode.UNAVAILABLE"),
    "too late": ("504", "StatusCode.DEADLINE_EXCEEDED"),
}


class Loop:
    """An event loop of its own thread, so that what is asynchronous can be called from a test."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Synchronous:
    """An aio client whose methods wait for their answers."""

    def __init__(self, make):
        self.loop = Loop()

        async def inside():
            return make()

        self.client = self.loop.run(inside())

    def __getattr__(self, name):
        method = getattr(self.client, name)
        return lambda *args, **more: self.loop.run(method(*args, **more))

    def close(self):
        self.loop.run(self.client.close())
        self.loop.close()


class Http:
    """tritonclient.http, or with `aio` tritonclient.http.aio."""

    module, column = tritonclient.http, 0

    def __init__(self, address, aio=False, **more):
        make = tritonclient.http.aio if aio else tritonclient.http
        self.client = (
            Synchronous(lambda: make.InferenceServerClient(address, **more))
            if aio
            else make.InferenceServerClient(address, **more)
        )

    def record(self, method, *args, **more):
        """An answer that is a record, as JSON has it."""
        return getattr(self.client, method)(*args, **more)

    def output(self, name, classes=0):
        return self.module.InferRequestedOutput(name, class_count=classes)

    def compressed(self, request, response):
        return {
            "request_compression_algorithm": request,
            "response_compression_algorithm": response,
        }


class Grpc:
    """tritonclient.grpc, or with `aio` tritonclient.grpc.aio."""

    module, column = tritonclient.grpc, 1

    def __init__(self, address, aio=False, **more):
        make = tritonclient.grpc.aio if aio else tritonclient.grpc
        self.client = (
            Synchronous(lambda: make.InferenceServerClient(address, **more))
            if aio
            else make.InferenceServerClient(address, **more)
        )

    def record(self, method, *args, **more):
        return getattr(self.client, method)(*args, as_json=True, **more)

    def output(self, name, classes=0):
        return self.module.InferRequestedOutput(name, class_count=classes)

    def compressed(self, request, response):
        return {"compression_algorithm": request}


class Caller:
    """What the cases use."""

    def __init__(self, protocol):
        self.protocol, self.client, self.record = protocol, protocol.client, protocol.record
        self.output = protocol.output

    def input(self, name, array, datatype=None, shape=None):
        """An input; `datatype` and `shape` may be other than the array's own: a lie."""
        own = np_to_triton_dtype(array.dtype)
        tensor = self.protocol.module.InferInput(name, list(array.shape), own)
        tensor.set_data_from_numpy(array)
        if datatype:
            # The client checks what it is given, so the lie is told afterwards.
            if self.protocol.column == 0:
                tensor._datatype = datatype
            else:
                tensor._input.datatype = datatype
        if shape:
            tensor.set_shape(shape)
        return tensor

    def infer(self, model, inputs, **more):
        """Outputs by name; `inputs` are arrays by name, or inputs made with `input`."""
        if isinstance(inputs, dict):
            inputs = [self.input(name, array) for name, array in inputs.items()]
        return self.client.infer(model, inputs, **more)

    def refused_as(self, error, kind):
        return error.value.status() == STATUSES[kind][self.protocol.column]

    def refused(self, error, kind, *words):
        """The client's exception carries this status and a sentence with all these words."""
        message = error.value.message()
        assert self.refused_as(error, kind), str(error.value)
        for word in words:
            assert word in message, f"`{word}` is not in: {message}"

    def close(self):
        self.client.close()


def caller(kind, address, aio=False, **more):
    return Caller({"http": Http, "grpc": Grpc}[kind](address, aio, **more))


def same_bits(got, want):
    """Equal bit for bit: NaN payloads, negative zeros and all."""
    assert got.dtype == want.dtype and got.shape == want.shape, (got.dtype, got.shape)
    if want.dtype == numpy.object_:
        assert got.tolist() == want.tolist()
    else:
        assert got.tobytes() == want.tobytes()
