"""tritonclient.utils.shared_memory with a server that was told to offer it."""

import os
import uuid

import numpy
import pytest
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from callers import caller, same_bits
from cases import add_sub

SIZE = 2 * 16 * 4


@pytest.fixture(params=["http", "grpc", "http aio", "grpc aio"])
def triton(request, sharing):
    kind, _, aio = request.param.partition(" ")
    triton = caller(kind, sharing.address, aio=bool(aio))
    yield triton
    triton.client.unregister_system_shared_memory()
    triton.close()


@pytest.fixture
def region():
    """Makes regions with names nobody else has: `region(bytes)`."""
    made = []

    def make(size, name=None):
        key = f"/windlass-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        handle = shm.create_shared_memory_region(name or key[1:], key, size, create_only=True)
        made.append(handle)
        return key, handle

    yield make
    for handle in made:
        shm.destroy_shared_memory_region(handle)


def shared(triton, name, region, datatype="INT32", shape=(2, 16), size=SIZE, offset=0):
    tensor = triton.protocol.module.InferInput(name, list(shape), datatype)
    tensor.set_shared_memory(region, size, offset)
    return tensor


def test_it_is_advertised(triton):
    assert "system_shared_memory" in triton.record("get_server_metadata")["extensions"]


def test_inputs_and_outputs(triton, region):
    key, handle = region(4 * SIZE)
    arrays = add_sub()
    shm.set_shared_memory_region(handle, [arrays["INPUT0"], arrays["INPUT1"]])
    triton.client.register_system_shared_memory("all", key, 4 * SIZE)
    inputs = [
        shared(triton, "INPUT0", "all"),
        shared(triton, "INPUT1", "all", offset=SIZE),
    ]
    outputs = [triton.output("OUTPUT0"), triton.output("OUTPUT1")]
    for place, output in enumerate(outputs, start=2):
        output.set_shared_memory("all", SIZE, place * SIZE)
    result = triton.infer("add_sub", inputs, outputs=outputs)
    # The answer says where they lie and carries none of them.
    assert result.get_output("OUTPUT0") is not None
    for name, place, want in [("OUTPUT0", 2, 1), ("OUTPUT1", 3, -1)]:
        got = shm.get_contents_as_numpy(handle, numpy.int32, [2, 16], place * SIZE)
        same_bits(got, arrays["INPUT0"] + want)


def test_shared_and_sent_inputs_mix(triton, region):
    key, handle = region(SIZE)
    arrays = add_sub()
    shm.set_shared_memory_region(handle, [arrays["INPUT0"]])
    triton.client.register_system_shared_memory("one", key, SIZE)
    inputs = [shared(triton, "INPUT0", "one"), triton.input("INPUT1", arrays["INPUT1"])]
    output = triton.output("OUTPUT0")
    output.set_shared_memory("one", SIZE)
    result = triton.infer("add_sub", inputs, outputs=[output, triton.output("OUTPUT1")])
    same_bits(result.as_numpy("OUTPUT1"), arrays["INPUT0"] - 1)
    got = shm.get_contents_as_numpy(handle, numpy.int32, [2, 16])
    same_bits(got, arrays["INPUT0"] + 1)


def test_strings(triton, region):
    words = numpy.array([[b"a", b"", "é".encode(), b"long " * 9]], numpy.object_)
    data = b"".join(len(it).to_bytes(4, "little") + it for it in words.flatten())
    key, handle = region(len(data))
    shm.set_shared_memory_region(handle, [serialize_byte_tensor(words)])
    triton.client.register_system_shared_memory("words", key, len(data))
    inputs = [shared(triton, "x", "words", "BYTES", (1, 4), len(data))]
    same_bits(triton.infer("identity_string", inputs).as_numpy("y"), words)


def test_the_status_lists_what_is_registered(triton, region):
    key, _ = region(4096)
    triton.client.register_system_shared_memory("listed", key, 1024, offset=64)

    def status(*name):
        status = triton.record("get_system_shared_memory_status", *name)
        if isinstance(status, list):
            return status
        return list(status.get("regions", {}).values())

    for regions in (status(), status("listed")):
        (entry,) = regions
        assert (entry["name"], entry["key"]) == ("listed", key)
        assert (int(entry["offset"]), int(entry["byte_size"])) == (64, 1024)
    with pytest.raises(InferenceServerException) as error:
        triton.client.get_system_shared_memory_status("no_such")
    triton.refused(error, "absent", "no_such")
    triton.client.unregister_system_shared_memory("listed")
    assert status() == []


def test_the_same_name_twice(triton, region):
    key, _ = region(64)
    triton.client.register_system_shared_memory("twice", key, 64)
    with pytest.raises(InferenceServerException) as error:
        triton.client.register_system_shared_memory("twice", key, 64)
    assert "twice" in error.value.message()


@pytest.mark.parametrize(
    "size, offset", [(1 << 20, 0), (64, 4096), (2**63, 2**63), (64, 2**64 - 8)]
)
def test_more_than_there_is(triton, region, size, offset):
    key, _ = region(64)
    with pytest.raises(InferenceServerException) as error:
        triton.client.register_system_shared_memory("large", key, size, offset)
    triton.refused(error, "wrong", "region")


@pytest.mark.parametrize("key", ["/no-such-region", "/../etc/passwd", "/a/b", "", "/" + "n" * 300])
def test_keys_that_are_no_region(triton, key):
    with pytest.raises(InferenceServerException) as error:
        triton.client.register_system_shared_memory("bad", key, 64)
    assert error.value.status() is not None
    assert "/dev/shm" not in error.value.message()


def test_an_unknown_region(triton):
    with pytest.raises(InferenceServerException) as error:
        triton.infer("identity_fp32", [shared(triton, "x", "no_such", "FP32", (2, 4), 32)])
    assert "no_such" in error.value.message()


@pytest.mark.parametrize("size, offset", [(32, 40), (1 << 20, 0), (32, 2**62), (31, 0)])
def test_a_piece_that_does_not_fit(triton, region, size, offset):
    key, _ = region(64)
    triton.client.register_system_shared_memory("small", key, 64)
    with pytest.raises(InferenceServerException) as error:
        tensor = shared(triton, "x", "small", "FP32", (2, 4), size, offset)
        triton.infer("identity_fp32", [tensor])
    triton.refused(error, "wrong")


def test_an_output_that_does_not_fit(triton, region):
    key, _ = region(64)
    triton.client.register_system_shared_memory("small", key, 64)
    output = triton.output("y")
    output.set_shared_memory("small", 16)
    rows = numpy.ones((2, 4), numpy.float32)
    with pytest.raises(InferenceServerException) as error:
        triton.infer("identity_fp32", {"x": rows}, outputs=[output])
    triton.refused(error, "wrong", "`y`", "32", "16")


def test_a_region_that_shrank(triton, region):
    """Reading past the end of a file that was cut off would kill the server."""
    key, _ = region(1 << 16)
    triton.client.register_system_shared_memory("shrunk", key, 1 << 16)
    os.truncate(f"/dev/shm{key}", 0)
    rows = numpy.ones((2, 4), numpy.float32)
    with pytest.raises(InferenceServerException):
        tensor = shared(triton, "x", "shrunk", "FP32", (4096, 4), 1 << 16)
        triton.infer("identity_fp32", [tensor])
    same_bits(triton.infer("identity_fp32", {"x": rows}).as_numpy("y"), rows)
    os.truncate(f"/dev/shm{key}", 1 << 16)


def test_memory_of_cuda_is_not_offered(triton):
    with pytest.raises(InferenceServerException) as error:
        triton.client.register_cuda_shared_memory("region", b"aGFuZGxl", 0, 64)
    triton.refused(error, "unsupported")
    # perf_analyzer unregisters it always.
    triton.client.unregister_cuda_shared_memory()
