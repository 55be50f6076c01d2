"""tritonclient.grpc: all the cases, and streams, typed contents, health, reflection."""

import queue
import threading

import grpc
import numpy
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from callers import caller, same_bits
from cases import KINDS, ROWS, Cases, add_sub, check_sum, random_bits
from conftest import MODELS

SECONDS = 60


@pytest.fixture
def triton(server):
    triton = caller("grpc", server.address)
    yield triton
    triton.close()


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


class Replies:
    """Collects what a callback is given."""

    def __init__(self):
        self.queue = queue.Queue()

    def __call__(self, result, error):
        self.queue.put((result, error))

    def take(self, count):
        return [self.queue.get(timeout=SECONDS) for _ in range(count)]


class TestTritonGrpc(Cases):
    def inputs(self, triton, arrays):
        return [triton.input(name, array) for name, array in arrays.items()]

    def test_many_requests_at_once(self, triton):
        replies = Replies()
        for rows in [*range(1, 21)] * 5:
            inputs = self.inputs(triton, add_sub(rows))
            triton.client.async_infer("add_sub", inputs, replies, request_id=str(rows))
        for result, error in replies.take(100):
            assert error is None
            check_sum(result, int(result.get_response().id))

    def test_a_client_that_does_not_wait(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("slow", {"x": ROWS}, client_timeout=0.05)
        triton.refused(error, "too late")
        same_bits(triton.infer("slow", {"x": ROWS}).as_numpy("y"), ROWS)

    def test_a_request_that_is_called_off(self, triton):
        replies = Replies()
        call = triton.client.async_infer("slow", self.inputs(triton, {"x": ROWS}), replies)
        call.cancel()
        ((result, error),) = replies.take(1)
        assert result is None
        assert error.status() == "StatusCode.CANCELLED"
        same_bits(triton.infer("slow", {"x": ROWS}).as_numpy("y"), ROWS)


class TestStreams:
    @pytest.fixture
    def replies(self, triton):
        replies = Replies()
        triton.client.start_stream(replies)
        yield replies
        triton.client.stop_stream()

    def send(self, triton, model, arrays, **more):
        inputs = [triton.input(name, array) for name, array in arrays.items()]
        triton.client.async_stream_infer(model, inputs, **more)

    def test_several_requests_in_one_stream(self, triton, replies):
        for rows in [*range(1, 21)] * 10:
            self.send(triton, "add_sub", add_sub(rows), request_id=str(rows))
        seen = []
        for result, error in replies.take(200):
            assert error is None
            rows = int(result.get_response().id)
            seen.append(rows)
            check_sum(result, rows)
        assert sorted(seen) == sorted([*range(1, 21)] * 10)

    def test_an_error_is_of_one_request_and_the_stream_goes_on(self, triton, replies):
        self.send(triton, "identity_fp32", {"x": ROWS}, request_id="good")
        self.send(triton, "no_such", {"x": ROWS})
        self.send(triton, "identity_fp32", {"x": ROWS[:, :3].copy()})
        self.send(triton, "identity_fp64", {"x": ROWS})
        got = replies.take(4)
        errors = [error.message() for _, error in got if error]
        assert len(errors) == 3
        for words in (["no_such"], ["`x`", "[2, 3]", "[-1, 4]"], ["`x`", "FP32", "FP64"]):
            assert [it for it in errors if all(word in it for word in words)], errors
        (result,) = [result for result, error in got if error is None]
        assert result.get_response().id == "good"
        self.send(triton, "identity_fp32", {"x": ROWS})
        ((result, error),) = replies.take(1)
        assert error is None
        same_bits(result.as_numpy("y"), ROWS)

    def test_the_last_answer_says_so_when_asked(self, triton, replies):
        self.send(triton, "add_sub", add_sub(), enable_empty_final_response=True)
        ((result, error),) = replies.take(1)
        assert error is None
        assert result.get_response().parameters["triton_final_response"].bool_param
        check_sum(result)

    def test_a_stream_that_is_called_off(self, triton, replies):
        for _ in range(5):
            self.send(triton, "slow", {"x": ROWS})
        triton.client.stop_stream(cancel_requests=True)
        errors = [error for _, error in replies.take(1) if error]
        assert [it.status() for it in errors] in ([], ["StatusCode.CANCELLED"])
        check_sum(triton.infer("add_sub", add_sub()))

    def test_a_stream_with_compression(self, triton):
        replies = Replies()
        triton.client.start_stream(replies, compression_algorithm="gzip")
        self.send(triton, "add_sub", add_sub())
        ((result, error),) = replies.take(1)
        triton.client.stop_stream()
        assert error is None
        check_sum(result)

    def test_more_requests_than_a_stream_holds_at_a_time(self, triton, replies):
        """The server stops reading; nothing is lost."""
        for _ in range(1000):
            self.send(triton, "identity_fp32", {"x": ROWS})
        for result, error in replies.take(1000):
            assert error is None
            same_bits(result.as_numpy("y"), ROWS)


# Messages that tritonclient does not make

FIELDS = {
    "bool": "bool_contents",
    "uint8": "uint_contents",
    "uint16": "uint_contents",
    "uint32": "uint_contents",
    "uint64": "uint64_contents",
    "int8": "int_contents",
    "int16": "int_contents",
    "int32": "int_contents",
    "int64": "int64_contents",
    "fp32": "fp32_contents",
    "fp64": "fp64_contents",
}


def message(kind, rows, shape=None):
    request = pb.ModelInferRequest(model_name=f"identity_{kind}")
    datatype = "BYTES" if kind == "string" else kind.upper()
    tensor = request.inputs.add(name="x", datatype=datatype)
    tensor.shape.extend(shape or rows.shape)
    return request, tensor


def refused(stub, request, code, *words):
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelInfer(request, timeout=SECONDS)
    assert error.value.code() == code, error.value.details()
    for word in words:
        assert word in error.value.details()


@pytest.mark.parametrize("kind", FIELDS)
def test_typed_contents(stub, kind):
    rows = random_bits(KINDS[kind])
    request, tensor = message(kind, rows)
    getattr(tensor.contents, FIELDS[kind]).extend(rows.flatten().tolist())
    answer = stub.ModelInfer(request, timeout=SECONDS)
    # Clients index raw contents by output; an answer has nothing else.
    assert not answer.outputs[0].HasField("contents")
    # Python's float carries a NaN as a double, which changes what kind of NaN a single is.
    got = numpy.frombuffer(answer.raw_output_contents[0], rows.dtype).reshape(rows.shape)
    numpy.testing.assert_array_equal(got, rows)


def test_typed_strings(stub):
    words = [b"", b"a", "é".encode(), b"long " * 100]
    request, tensor = message("string", numpy.empty((1, 4)))
    tensor.contents.bytes_contents.extend(words)
    answer = stub.ModelInfer(request, timeout=SECONDS)
    want = b"".join(len(it).to_bytes(4, "little") + it for it in words)
    assert answer.raw_output_contents[0] == want


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_half_floats_have_no_typed_contents(stub, kind):
    request, tensor = message(kind, ROWS)
    tensor.contents.fp32_contents.extend(ROWS.flatten().tolist())
    refused(stub, request, grpc.StatusCode.UNIMPLEMENTED, "`x`", "raw_input_contents")


def test_a_typed_value_that_the_datatype_does_not_hold(stub):
    request, tensor = message("int8", ROWS)
    tensor.contents.int_contents.extend([0, 1, 2, 3, 4, 5, 6, 128])
    refused(stub, request, grpc.StatusCode.INVALID_ARGUMENT, "x", "128")


def test_typed_contents_of_another_type(stub):
    request, tensor = message("fp32", ROWS)
    tensor.contents.fp64_contents.extend(ROWS.flatten().tolist())
    refused(stub, request, grpc.StatusCode.INVALID_ARGUMENT, "x")


def test_raw_and_typed_contents_together(stub):
    request, tensor = message("fp32", ROWS)
    tensor.contents.fp32_contents.extend(ROWS.flatten().tolist())
    request.raw_input_contents.append(ROWS.tobytes())
    refused(stub, request, grpc.StatusCode.INVALID_ARGUMENT, "raw_input_contents")


@pytest.mark.parametrize("blobs", [[], [ROWS.tobytes()] * 2, [ROWS.tobytes()[:-1]], [b""]])
def test_raw_contents_that_do_not_fit(stub, blobs):
    request, _ = message("fp32", ROWS)
    request.raw_input_contents.extend(blobs)
    refused(stub, request, grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("shape", [[-1, 4], [2**32, 2**32], [2**63 - 1, 2], [1] * 1000, [2**62, 4]])
def test_shapes_that_are_none(stub, shape):
    request, _ = message("fp32", ROWS, shape)
    request.raw_input_contents.append(ROWS.tobytes())
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelInfer(request, timeout=SECONDS)
    too_large = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, too_large)


def test_a_binary_size_means_nothing_here(stub):
    """kserve's client sends it along."""
    request, tensor = message("fp32", ROWS)
    tensor.parameters["binary_data_size"].int64_param = ROWS.nbytes
    request.raw_input_contents.append(ROWS.tobytes())
    assert stub.ModelInfer(request, timeout=SECONDS).raw_output_contents[0] == ROWS.tobytes()


def test_final_answers_are_marked_only_in_streams_or_harmlessly(stub):
    """perf_analyzer asks for it in every request, also where there is one answer anyway."""
    request, _ = message("fp32", ROWS)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    request.raw_input_contents.append(ROWS.tobytes())
    assert stub.ModelInfer(request, timeout=SECONDS).raw_output_contents[0] == ROWS.tobytes()


# What other tools of gRPC ask


def test_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "inference.GRPCInferenceService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        health.Check(health_pb2.HealthCheckRequest(service="no.such"), timeout=SECONDS)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_who_watches_is_told_of_every_change(channel, stub):
    """Clients that balance over servers keep such a stream open."""
    status = health_pb2.HealthCheckResponse
    health = health_pb2_grpc.HealthStub(channel)

    def watch(service):
        return health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)

    assert next(watch("")).status == status.SERVING
    assert next(watch("no.such")).status == status.SERVICE_UNKNOWN
    watched = watch("identity_int8")
    assert next(watched).status == status.SERVING
    request = pb.RepositoryModelUnloadRequest(model_name="identity_int8")
    stub.RepositoryModelUnload(request, timeout=SECONDS)
    try:
        assert next(watched).status != status.SERVING
    finally:
        request = pb.RepositoryModelLoadRequest(model_name="identity_int8")
        stub.RepositoryModelLoad(request, timeout=SECONDS)
    while next(watched).status != status.SERVING:
        pass


def test_who_watches_does_not_hold_up_the_end(start):
    with start(paths=[MODELS / "add_sub"]) as server:
        with grpc.insecure_channel(server.address) as channel:
            request = health_pb2.HealthCheckRequest()
            watched = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=SECONDS)
            assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
            server.process.terminate()
            assert [it.status for it in watched] == [health_pb2.HealthCheckResponse.NOT_SERVING]
            assert server.process.wait(SECONDS) == 0


def test_reflection(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services
    file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
    (service,) = [it for it in file.service if it.name == "GRPCInferenceService"]
    ours = {it.name for it in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert {"ModelInfer", "ModelStreamInfer", "ModelConfig"} <= {it.name for it in service.method}
    assert {it.name for it in service.method} <= ours


def test_an_unknown_method(channel):
    call = channel.unary_unary("/inference.GRPCInferenceService/NoSuch")
    with pytest.raises(grpc.RpcError) as error:
        call(b"", timeout=SECONDS)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_one_connection_for_many_threads(server):
    """More calls at a time than a connection has streams: they wait, none fails."""
    triton = caller("grpc", server.address)
    failed = []

    def ask():
        try:
            for _ in range(5):
                check_sum(triton.infer("add_sub", add_sub()))
        except Exception as error:  # shown below; a thread of its own would swallow it
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    triton.close()
    assert not failed, failed[:3]
