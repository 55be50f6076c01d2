"""What the tests of bad input share: a good request, refusals, bounds of memory and time."""

import contextlib
import json

import numpy

MIB = 1 << 20
# Over what was used before: what an allocator keeps, and one request's worth of buffers.
RETURN_BYTES_MAX, GROWTH_BYTES_MAX = 64 * MIB, 128 * MIB
SIZE_MAX = 32 * MIB
# Limits of time are set to 300 ms; a busy machine may be late, but not by this much.
CLOSED_SECONDS_MAX = 15

INFER = "/v2/models/identity_fp32/infer"
ROWS = numpy.arange(8, dtype=numpy.float32).reshape(2, 4)


def x(**more):
    return {"name": "x", "shape": [2, 4], "datatype": "FP32", "data": ROWS.tolist(), **more}


GOOD = json.dumps({"inputs": [x()]}).encode()


def check_good(server):
    """A good request gets its answer, on a connection of its own."""
    status, answer = server.ask_json("POST", INFER, GOOD)
    assert status == 200, answer
    assert answer["outputs"][0]["data"] == ROWS.flatten().tolist()


def warm_up(server):
    """The largest good request, so that what it needs once is not taken for a leak."""
    rows = bytes(16 * MIB)
    body = with_blob(x(shape=[MIB, 4]), rows)
    for _ in range(3):
        assert server.ask("POST", INFER, *body)[0] == 200


def with_blob(tensor, blob, size=None, length=None):
    """Body and headers of the binary extension; `size` and `length` may lie."""
    tensor = {key: value for key, value in tensor.items() if key != "data"}
    tensor["parameters"] = {"binary_data_size": len(blob) if size is None else size}
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    text = json.dumps(request).encode()
    length = len(text) if length is None else length
    return text + blob, {"Inference-Header-Content-Length": str(length)}


# What was answered to bad requests, for the last test.
SAID = []


def refused(server, body, headers=None, path=INFER, status=400, words=()):
    """The status, and a sentence with all these words."""
    got, _, answer = server.ask("POST", path, body, headers or {})
    SAID.append(answer)
    assert got == status, (got, answer[:500])
    message = json.loads(answer)["error"]
    for word in words:
        assert word in message, message
    return message


@contextlib.contextmanager
def bounded_growth(server, most=GROWTH_BYTES_MAX):
    """The most memory that was used meanwhile over what was used before.

    Rows of earlier requests are sealed first: else the memory that it takes to seal them is counted here.
    """
    assert server.ask("POST", "/api/v1/ledger/settle")[0] == 200
    before = server.memory("VmRSS")
    server.forget_peak()
    yield
    grown = server.memory("VmHWM") - before
    assert grown <= most, f"grew by {grown / MIB:.0f} MiB"
