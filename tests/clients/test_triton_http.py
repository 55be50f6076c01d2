"""tritonclient.http: all the cases, and what HTTP alone has: JSON data, mixtures, raw requests."""

import gzip
import json
import zlib

import numpy
import pytest
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

from callers import caller, same_bits
from cases import KINDS, ROWS, WORDS, Cases, add_sub, check_sum, random_bits
from conftest import MODELS
from server import until


@pytest.fixture
def triton(server):
    triton = caller("http", server.address, concurrency=8)
    yield triton
    triton.close()


def json_input(name, array):
    tensor = http.InferInput(name, list(array.shape), http.np_to_triton_dtype(array.dtype))
    return tensor.set_data_from_numpy(array, binary_data=False)


class TestTritonHttp(Cases):
    # The client refuses BF16 here by itself; NaN payloads have no JSON.
    @pytest.mark.parametrize("kind", [it for it in KINDS if it != "bf16"])
    def test_every_datatype_as_json(self, triton, kind):
        bits = random_bits(KINDS[kind])
        if numpy.issubdtype(bits.dtype, numpy.floating):
            bits = numpy.where(numpy.isfinite(bits), bits, numpy.asarray(1, bits.dtype))
        outputs = [http.InferRequestedOutput("y", binary_data=False)]
        result = triton.infer(f"identity_{kind}", [json_input("x", bits)], outputs=outputs)
        assert "data" in result.get_output("y")
        same_bits(result.as_numpy("y"), bits)

    def test_strings_as_json(self, triton):
        outputs = [http.InferRequestedOutput("y", binary_data=False)]
        result = triton.infer("identity_string", [json_input("x", WORDS)], outputs=outputs)
        assert result.get_output("y")["data"] == [it.decode() for it in WORDS.flatten()]

    def test_json_in_and_binary_out(self, triton):
        inputs = [json_input(name, array) for name, array in add_sub().items()]
        check_sum(triton.infer("add_sub", inputs))

    def test_mixed_inputs_and_outputs(self, triton):
        arrays = add_sub()
        for json_name, binary_name in [("INPUT0", "INPUT1"), ("INPUT1", "INPUT0")]:
            inputs = [
                json_input(json_name, arrays[json_name]),
                triton.input(binary_name, arrays[binary_name]),
            ]
            outputs = [
                http.InferRequestedOutput("OUTPUT0", binary_data=False),
                http.InferRequestedOutput("OUTPUT1", binary_data=True),
            ]
            result = triton.infer("add_sub", inputs, outputs=outputs)
            check_sum(result)
            assert "data" in result.get_output("OUTPUT0")
            assert result.get_output("OUTPUT1")["parameters"]["binary_data_size"] == 128

    def test_many_requests_at_once(self, triton):
        sizes = [*range(1, 21)] * 5
        requests = [
            triton.client.async_infer(
                "add_sub",
                [triton.input(name, array) for name, array in add_sub(rows).items()],
                request_id=str(rows),
            )
            for rows in sizes
        ]
        for rows, request in zip(sizes, requests):
            result = request.get_result()
            assert result.get_response()["id"] == str(rows)
            check_sum(result, rows)

    def test_an_error_of_one_request_among_many(self, triton):
        good, bad = [
            triton.client.async_infer(model, [triton.input("x", ROWS)])
            for model in ("identity_fp32", "identity_fp64")
        ]
        same_bits(good.get_result().as_numpy("y"), ROWS)
        with pytest.raises(InferenceServerException) as error:
            bad.get_result()
        triton.refused(error, "wrong", "`x`", "FP32", "FP64")

    def test_a_client_that_does_not_wait(self, server):
        impatient = caller("http", server.address, network_timeout=0.05)
        with pytest.raises(Exception, match="timed out"):
            impatient.infer("slow", {"x": ROWS})
        impatient.close()
        patient = caller("http", server.address)
        same_bits(patient.infer("slow", {"x": ROWS}).as_numpy("y"), ROWS)
        patient.close()

    def test_bodies_that_the_client_makes_for_others_to_send(self, server, triton):
        inputs = [triton.input(name, array) for name, array in add_sub().items()]
        body, length = http.InferenceServerClient.generate_request_body(inputs)
        headers = {"Inference-Header-Content-Length": str(length)}
        status, headers, answer = server.ask("POST", "/v2/models/add_sub/infer", body, headers)
        assert status == 200
        assert headers["Content-Type"] == "application/octet-stream"
        length = int(headers["Inference-Header-Content-Length"])
        parse = http.InferenceServerClient.parse_response_body
        check_sum(parse(answer, header_length=length))


def infer(server, body, headers=None, model="identity_fp32"):
    return server.ask("POST", f"/v2/models/{model}/infer", body, headers or {})


def request(**more):
    x = {"name": "x", "shape": [2, 4], "datatype": "FP32", "data": ROWS.tolist()}
    return json.dumps({"inputs": [x], **more}).encode()


def test_an_answer_in_json_has_no_header_of_the_extension(server):
    status, headers, body = infer(server, request())
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert headers["Inference-Header-Content-Length"] is None
    answer = json.loads(body)
    assert answer["model_name"] == "identity_fp32"
    assert answer["model_version"] == "1"
    assert answer["outputs"] == [
        {"name": "y", "shape": [2, 4], "datatype": "FP32", "data": ROWS.flatten().tolist()}
    ]


def test_the_binary_header_over_json_alone(server):
    """perf_analyzer sends it with `--input-tensor-format json`."""
    body = request()
    status, _, answer = infer(server, body, {"Inference-Header-Content-Length": str(len(body))})
    assert status == 200
    assert json.loads(answer)["outputs"][0]["data"] == ROWS.flatten().tolist()


def test_binary_output_for_all_but_one(server):
    arrays = {name: it.tolist() for name, it in add_sub().items()}
    inputs = [
        {"name": name, "shape": [2, 16], "datatype": "INT32", "data": data}
        for name, data in arrays.items()
    ]
    outputs = [{"name": "OUTPUT0", "parameters": {"binary_data": False}}, {"name": "OUTPUT1"}]
    body = {"inputs": inputs, "outputs": outputs, "parameters": {"binary_data_output": True}}
    status, headers, answer = infer(server, json.dumps(body), model="add_sub")
    assert status == 200
    length = int(headers["Inference-Header-Content-Length"])
    first, second = json.loads(answer[:length])["outputs"]
    assert numpy.array(first["data"]).tolist() == (add_sub()["INPUT0"] + 1).flatten().tolist()
    assert second["parameters"] == {"binary_data_size": 128}
    assert answer[length:] == (add_sub()["INPUT0"] - 1).tobytes()


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_the_content_type_does_not_matter(server, content_type):
    """tritonclient sends none with JSON, perf_analyzer that of a form."""
    headers = {"Content-Type": content_type} if content_type else {}
    assert infer(server, request(), headers)[0] == 200


def test_what_a_client_adds_is_passed_over(server):
    """kserve's client adds `model_name`."""
    assert infer(server, request(model_name="other", extra={"deep": [1, {}]}))[0] == 200


@pytest.mark.parametrize("given", [{}, {"id": ""}, {"id": "seven"}])
def test_the_id_is_there_when_it_was_given(server, given):
    answer = json.loads(infer(server, request(**given))[2])
    assert answer.get("id") == given.get("id")


def test_nested_and_flat_data(server):
    for data in (ROWS.tolist(), ROWS.flatten().tolist(), ROWS.reshape(8).tolist()):
        body = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": data}]}
        status, _, answer = infer(server, json.dumps(body))
        assert status == 200, answer
        assert json.loads(answer)["outputs"][0]["data"] == ROWS.flatten().tolist()


@pytest.mark.parametrize("name, want", [("fp16", [1.5, -2, 0, 65504]), ("bf16", [1.5, -2, 0, 3.0])])
def test_half_floats_as_json_numbers(server, name, want):
    """Triton refuses them; every JSON number that fits is one."""
    x = {"name": "x", "shape": [1, 4], "datatype": name.upper(), "data": want}
    status, _, answer = infer(server, json.dumps({"inputs": [x]}), model=f"identity_{name}")
    assert status == 200, answer
    assert json.loads(answer)["outputs"][0]["data"] == want


def test_what_json_has_no_number_for(server):
    """NaN and infinities go in by any of their names and come out as standard JSON."""
    x = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": "?"}
    body = json.dumps({"inputs": [x]}).replace('"?"', '[null, NaN, "Infinity", -Infinity]')
    status, _, answer = infer(server, body)
    assert status == 200, answer

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    data = json.loads(answer, parse_constant=refuse)["outputs"][0]["data"]
    assert data == [None, None, "Infinity", "-Infinity"]


class TestRawRequests:
    """`Inference-Header-Content-Length: 0`: the body is the one input."""

    HEADERS = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}

    def test_numbers(self, server):
        status, headers, answer = infer(server, ROWS[0].tobytes(), self.HEADERS)
        assert status == 200, answer
        length = int(headers["Inference-Header-Content-Length"])
        (output,) = json.loads(answer[:length])["outputs"]
        assert output["shape"] == [1, 4]
        assert answer[length:] == ROWS[0].tobytes()

    def test_too_few_bytes(self, server):
        status, _, answer = infer(server, ROWS[0].tobytes()[:-1], self.HEADERS)
        assert status == 400
        assert "`x`" in json.loads(answer)["error"] and "15" in json.loads(answer)["error"]

    def test_two_inputs(self, server):
        status, _, answer = infer(server, bytes(128), self.HEADERS, "add_sub")
        assert status in (400, 501)
        assert "2 inputs" in json.loads(answer)["error"]


class TestCompression:
    def test_the_binary_header_counts_what_is_not_compressed(self, server):
        body = request(parameters={"binary_data_output": True})
        headers = {
            "Content-Encoding": "gzip",
            "Accept-Encoding": "gzip",
            "Inference-Header-Content-Length": str(len(body)),
        }
        status, headers, answer = infer(server, gzip.compress(body), headers)
        assert status == 200, answer
        if headers["Content-Encoding"] == "gzip":
            answer = gzip.decompress(answer)
        length = int(headers["Inference-Header-Content-Length"])
        json.loads(answer[:length])
        assert answer[length:] == ROWS.tobytes()

    @pytest.mark.parametrize(
        "accepted, want", [("gzip", "gzip"), ("deflate", "deflate"), ("br, zstd", None), ("", None)]
    )
    def test_an_answer_is_compressed_only_as_asked(self, server, accepted, want):
        rows = numpy.zeros((4096, 4), numpy.float32)
        x = {"name": "x", "shape": [4096, 4], "datatype": "FP32", "data": rows.flatten().tolist()}
        body = json.dumps({"inputs": [x]})
        status, headers, answer = infer(server, body, {"Accept-Encoding": accepted})
        assert status == 200
        assert headers["Content-Encoding"] == want
        decode = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[want]
        assert len(json.loads(decode(answer))["outputs"][0]["data"]) == 4 * 4096

    @pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "nonsense"])
    def test_an_unknown_encoding(self, server, encoding):
        status, headers, answer = infer(server, request(), {"Content-Encoding": encoding})
        assert status == 415
        assert {it.strip() for it in headers["Accept-Encoding"].split(",")} == {"gzip", "deflate"}
        assert encoding.split(",")[0] in json.loads(answer)["error"]

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    @pytest.mark.parametrize("body", [b"", b"plain", gzip.compress(b"x" * 1000)[:-12]])
    def test_what_is_not_compressed_as_it_says(self, server, encoding, body):
        status, _, answer = infer(server, body, {"Content-Encoding": encoding})
        assert status == 400
        assert json.loads(answer)["error"]


def test_the_bodies_of_health(server):
    """Triton's are empty; kserve's client reads JSON."""
    assert server.ask_json("GET", "/v2/health/live") == (200, {"live": True})
    assert server.ask_json("GET", "/v2/health/ready") == (200, {"ready": True})
    status, answer = server.ask_json("GET", "/v2/models/add_sub/ready")
    assert (status, answer["name"], answer["ready"]) == (200, "add_sub", True)
    assert server.ask("GET", "/v2/models/no_such/ready")[0] == 404


def test_a_list_of_the_models(server):
    status, answer = server.ask_json("GET", "/v2/models")
    assert status == 200
    assert {"add_sub", "simple"} <= set(answer["models"])


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/v2/models/add_sub/infer", 405),
        ("POST", "/v2/models/add_sub", 405),
        ("DELETE", "/v2/health/live", 405),
        ("GET", "/v2/nothing", 404),
        ("POST", "/nothing", 404),
        ("GET", "/v2/models/add_sub/versions/1/nothing", 404),
    ],
)
def test_an_error_is_always_json_with_a_sentence(server, method, path, status):
    got, answer = server.ask_json(method, path, b"")
    assert got == status
    assert isinstance(answer["error"], str) and answer["error"]


def test_names_are_decoded_once(server):
    status, answer = server.ask_json("GET", "/v2/models/add%5Fsub")
    assert (status, answer["name"]) == (200, "add_sub")
    for path in ("add%255Fsub", "..%2f..%2fetc%2fpasswd", "%2e%2e", "a%00b"):
        assert server.ask("GET", f"/v2/models/{path}")[0] in (400, 404)


def test_who_went_away_is_not_answered(server):
    """What waits behind a busy model is dropped when its caller hangs up."""

    def counted():
        (model,) = server.ask_json("GET", "/v2/models/slow/stats")[1]["model_stats"]
        return model["inference_count"]

    def waiting():
        metrics = server.ask("GET", "/metrics")[2].decode().splitlines()
        start = 'nv_inference_pending_request_count{model="slow"'
        return sum(float(it.rsplit(" ", 1)[1]) for it in metrics if it.startswith(start))

    before, callers = counted(), 40
    connections = [server.connect() for _ in range(callers)]
    body = request()
    for connection in connections:
        connection.request("POST", "/v2/models/slow/infer", body)
    until(waiting, "some wait")
    for connection in connections:
        connection.close()
    until(lambda: waiting() == 0, "nobody waits")
    rows = counted() - before
    assert rows < 2 * callers, "the rows of all were computed"


def test_a_traced_request_keeps_its_trace(start):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    logged = ["--log-level", "info,windlass::request=debug"]
    with start(*logged, paths=[MODELS / "identity_fp32"]) as server:
        status, headers, _ = infer(server, request(), {"traceparent": trace})
        assert status == 200 and headers["traceparent"] == trace
        seen = lambda: "0af7651916cd43dd8448eb211c80319c" in server.log  # noqa: E731
        until(seen, "the trace is in the log", 10)
