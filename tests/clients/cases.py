"""What every client of tritonclient must get from the server, whatever the protocol.

A class of tests that a file for one client inherits from; it needs a fixture `triton`, a `Caller`.
"""

import json

import ml_dtypes
import numpy
import pytest
from tritonclient.utils import InferenceServerException

from callers import same_bits
from server import until

ROWS = numpy.array([[1, 2, 3, 4], [-5, 6, 0, 0.5]], numpy.float32)

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
    "bf16": ml_dtypes.bfloat16,
    "fp32": numpy.float32,
    "fp64": numpy.float64,
}

WORDS = numpy.array(
    [[b"", b"a", "é日本".encode(), b"long " * 1000], [b'"\\\n', b" ", b"0", "\U0001f600".encode()]],
    numpy.object_,
)


def random_bits(kind, rows=64):
    """Every bit pattern is as likely as any other, so NaNs with payloads are among them."""
    random = numpy.random.default_rng(7)
    if kind == numpy.bool_:
        return random.integers(0, 2, (rows, 4)).astype(kind)
    size = numpy.dtype(kind).itemsize
    return numpy.frombuffer(random.bytes(rows * 4 * size), kind).reshape(rows, 4).copy()


def add_sub(rows=2):
    a = numpy.arange(16 * rows, dtype=numpy.int32).reshape(rows, 16)
    return {"INPUT0": a, "INPUT1": numpy.ones_like(a)}


def check_sum(result, rows=2):
    want = add_sub(rows)
    same_bits(result.as_numpy("OUTPUT0"), want["INPUT0"] + 1)
    same_bits(result.as_numpy("OUTPUT1"), want["INPUT0"] - 1)


def listed(record, key):
    """gRPC's JSON leaves out what is empty."""
    return record.get(key, [])


class Cases:
    # Server and models

    def test_the_server_is_live_and_ready(self, triton):
        assert triton.client.is_server_live()
        assert triton.client.is_server_ready()

    def test_readiness_of_a_model(self, triton):
        assert triton.client.is_model_ready("add_sub")
        assert triton.client.is_model_ready("add_sub", "1")

    def test_the_server_says_what_it_speaks(self, triton):
        metadata = triton.record("get_server_metadata")
        assert metadata["name"] == "windlass"
        assert metadata["version"]
        wanted = {
            "classification",
            "model_repository",
            "model_configuration",
            "binary_tensor_data",
            "statistics",
        }
        assert wanted <= set(metadata["extensions"])
        # Only what works may be advertised.
        unfounded = {"sequence", "cuda_shared_memory", "trace", "logging", "schedule_policy"}
        assert not unfounded & set(metadata["extensions"])
        assert "system_shared_memory" not in metadata["extensions"]

    @pytest.mark.parametrize("version", ["", "1"])
    def test_metadata_of_a_model(self, triton, version):
        metadata = triton.record("get_model_metadata", "add_sub", version)
        assert metadata["name"] == "add_sub"
        assert metadata["versions"] == ["1"]
        assert metadata["platform"]
        for side, names in [
            ("inputs", ["INPUT0", "INPUT1"]),
            ("outputs", ["OUTPUT0", "OUTPUT1"]),
        ]:
            tensors = metadata[side]
            assert [it["name"] for it in tensors] == names
            assert {it["datatype"] for it in tensors} == {"INT32"}
            # gRPC's JSON has 64-bit integers as text.
            assert all([int(n) for n in it["shape"]] == [-1, 16] for it in tensors)

    @pytest.mark.parametrize("kind", [*KINDS, "string"])
    def test_metadata_names_every_datatype(self, triton, kind):
        metadata = triton.record("get_model_metadata", f"identity_{kind}")
        want = "BYTES" if kind == "string" else kind.upper()
        assert metadata["inputs"][0]["datatype"] == want
        assert metadata["outputs"][0]["datatype"] == want

    def test_configuration_of_a_model(self, triton):
        config = triton.record("get_model_config", "simple")
        config = config.get("config", config)
        assert config["name"] == "simple"
        assert config["max_batch_size"] == 8
        inputs = {it["name"]: it for it in config["input"]}
        assert inputs["INPUT0"]["data_type"] == "TYPE_INT32"
        # Without the batch axis.
        assert [int(it) for it in inputs["INPUT0"]["dims"]] == [16]
        assert [it["name"] for it in config["output"]] == ["OUTPUT0", "OUTPUT1"]
        assert "dynamic_batching" in config
        # perf_analyzer takes their presence for a yes.
        assert "sequence_batching" not in config
        assert "response_cache" not in config
        assert "model_transaction_policy" not in config

    def test_a_model_with_rows_says_so_in_its_configuration(self, triton):
        config = triton.record("get_model_config", "add_sub")
        config = config.get("config", config)
        assert config["max_batch_size"] >= 4
        assert [int(it) for it in config["input"][0]["dims"]] == [16]

    def test_a_model_without_rows_says_so_in_its_configuration(self, triton):
        config = triton.record("get_model_config", "fixed")
        config = config.get("config", config)
        assert config.get("max_batch_size", 0) == 0
        assert [int(it) for it in config["input"][0]["dims"]] == [1, 3]

    def test_statistics_count_requests_and_rows(self, triton):
        def totals():
            (model,) = triton.record("get_inference_statistics", "external")["model_stats"]
            assert (model["name"], model["version"]) == ("external", "1")
            success = model["inference_stats"]["success"]
            # What is zero is left out of gRPC's JSON.
            return (
                int(success.get("count", 0)),
                int(success.get("ns", 0)),
                int(model.get("inference_count", 0)),
                int(model.get("execution_count", 0)),
                int(model["inference_stats"]["fail"].get("count", 0)),
            )

        before = totals()
        triton.infer("external", {"x": ROWS})
        with pytest.raises(InferenceServerException):
            triton.infer("external", {"x": ROWS[:, :3].copy()})
        after = totals()
        assert after[0] == before[0] + 1
        assert after[1] > before[1]
        assert after[2] == before[2] + 2
        assert after[3] == before[3] + 1
        assert after[4] == before[4] + 1

    def test_statistics_of_all_models(self, triton):
        models = triton.record("get_inference_statistics")["model_stats"]
        assert {"add_sub", "simple", "slow"} <= {it["name"] for it in models}

    def test_statistics_of_batches(self, triton):
        triton.infer("external", {"x": ROWS})
        (model,) = triton.record("get_inference_statistics", "external")["model_stats"]
        sizes = {int(it["batch_size"]): it["compute_infer"] for it in model["batch_stats"]}
        assert int(sizes[2]["count"]) >= 1
        assert int(sizes[2]["ns"]) > 0

    def test_the_index_lists_what_is_served(self, triton):
        index = triton.record("get_model_repository_index")
        models = {it["name"]: it for it in (index if isinstance(index, list) else index["models"])}
        for name in ("add_sub", "simple", "mlflow_model", "credit", "credit-lightgbm"):
            assert (models[name]["version"], models[name]["state"]) == ("1", "READY")

    def test_unloading_and_loading(self, triton):
        def state():
            index = triton.record("get_model_repository_index")
            models = index if isinstance(index, list) else index["models"]
            return {it["name"]: it.get("state") for it in models}["identity_uint8"]

        rows = {"x": random_bits(numpy.uint8)}
        triton.client.unload_model("identity_uint8")
        try:
            until(lambda: state() == "UNAVAILABLE", "it is unloaded")
            assert not triton.client.is_model_ready("identity_uint8")
            with pytest.raises(InferenceServerException) as error:
                triton.infer("identity_uint8", rows)
            triton.refused(error, "not now", "identity_uint8", "not ready")
        finally:
            triton.client.load_model("identity_uint8")
        assert triton.client.is_model_ready("identity_uint8")
        same_bits(triton.infer("identity_uint8", rows).as_numpy("y"), rows["x"])

    def test_loading_what_is_not_there(self, triton):
        for method in (triton.client.load_model, triton.client.unload_model):
            with pytest.raises(InferenceServerException) as error:
                method("no_such")
            triton.refused(error, "absent", "no_such")

    def test_a_model_cannot_be_brought_along(self, triton):
        """Anybody who reaches the port could otherwise run a model of his own."""
        with pytest.raises(InferenceServerException) as error:
            triton.client.load_model(
                "add_sub",
                config=json.dumps({"max_batch_size": 2}),
                files={"file:1/model.onnx": b"x"},
            )
        triton.refused(error, "unsupported")
        assert triton.client.is_model_ready("add_sub")

    @pytest.mark.parametrize(
        "method, args",
        [
            ("get_trace_settings", ()),
            ("update_trace_settings", (None, {"trace_rate": "1"})),
            ("get_log_settings", ()),
            ("update_log_settings", ({"log_verbose_level": 1},)),
            ("register_system_shared_memory", ("region", "/region", 64)),
            ("register_cuda_shared_memory", ("region", b"aGFuZGxl", 0, 64)),
        ],
    )
    def test_what_is_not_offered_is_a_clean_error(self, triton, method, args):
        with pytest.raises(InferenceServerException) as error:
            getattr(triton.client, method)(*args)
        triton.refused(error, "unsupported", "not supported")

    # Answers

    def test_an_answer_with_the_defaults(self, triton):
        check_sum(triton.infer("add_sub", add_sub()))
        check_sum(triton.infer("simple", add_sub()))

    def test_an_answer_of_a_stated_version(self, triton):
        result = triton.infer("add_sub", add_sub(), model_version="1")
        response = result.get_response()
        if not isinstance(response, dict):
            response = {"model_name": response.model_name, "model_version": response.model_version}
        assert (response["model_name"], response["model_version"]) == ("add_sub", "1")
        check_sum(result)

    @pytest.mark.parametrize("rows", [1, 3, 64])
    def test_any_number_of_rows(self, triton, rows):
        check_sum(triton.infer("add_sub", add_sub(rows)), rows)

    def test_only_the_outputs_asked_for(self, triton):
        result = triton.infer("add_sub", add_sub(), outputs=[triton.output("OUTPUT1")])
        assert result.as_numpy("OUTPUT0") is None
        same_bits(result.as_numpy("OUTPUT1"), add_sub()["INPUT0"] - 1)

    def test_inputs_in_any_order(self, triton):
        check_sum(triton.infer("add_sub", dict(reversed(add_sub().items()))))

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_datatype_there_and_back_bit_for_bit(self, triton, kind):
        bits = random_bits(KINDS[kind])
        same_bits(triton.infer(f"identity_{kind}", {"x": bits}).as_numpy("y"), bits)

    @pytest.mark.parametrize("kind", ["fp16", "bf16", "fp32", "fp64"])
    def test_special_numbers_are_data(self, triton, kind):
        numbers = numpy.array([[numpy.nan, numpy.inf, -numpy.inf, -0.0]]).astype(KINDS[kind])
        same_bits(triton.infer(f"identity_{kind}", {"x": numbers}).as_numpy("y"), numbers)

    def test_strings_there_and_back(self, triton):
        same_bits(triton.infer("identity_string", {"x": WORDS}).as_numpy("y"), WORDS)

    def test_strings_that_are_no_text(self, triton):
        odd = WORDS.copy()
        odd[0, 1] = b"\xff\x00\xfe"
        same_bits(triton.infer("identity_string", {"x": odd}).as_numpy("y"), odd)

    def test_a_model_without_rows(self, triton):
        x = numpy.array([[1, 2, 3]], numpy.float32)
        same_bits(triton.infer("fixed", {"x": x}).as_numpy("y"), 2 * x)

    def test_variable_lengths(self, triton):
        for length in (1, 7, 100):
            x = numpy.arange(1, length + 1, dtype=numpy.float32).reshape(1, -1)
            mask = numpy.ones((1, length), numpy.int64)
            result = triton.infer("variable", {"x": x, "attention_mask": mask})
            numpy.testing.assert_allclose(result.as_numpy("y"), [[x.mean()]], rtol=1e-6)

    def test_an_output_that_has_more_rows_than_its_model_declares(self, triton):
        label = triton.infer("one_label", {"x": ROWS}).as_numpy("label")
        same_bits(label, numpy.array([3, 1], numpy.int64))

    def test_sixteen_megabytes(self, triton):
        rows = random_bits(numpy.float32, rows=1 << 20)
        assert rows.nbytes == 16 << 20
        same_bits(triton.infer("identity_fp32", {"x": rows}).as_numpy("y"), rows)

    @pytest.mark.parametrize("request_algorithm", [None, "gzip", "deflate"])
    @pytest.mark.parametrize("response_algorithm", [None, "gzip", "deflate"])
    def test_compression(self, triton, request_algorithm, response_algorithm):
        flags = triton.protocol.compressed(request_algorithm, response_algorithm)
        rows = numpy.zeros((4096, 4), numpy.float32)
        same_bits(triton.infer("identity_fp32", {"x": rows}, **flags).as_numpy("y"), rows)
        same_bits(triton.infer("identity_string", {"x": WORDS}, **flags).as_numpy("y"), WORDS)

    def test_classification(self, triton):
        result = triton.infer("identity_fp32", {"x": ROWS}, outputs=[triton.output("y", classes=2)])
        classes = result.as_numpy("y")
        assert classes.shape == (2, 2)
        pairs = [[it.decode().split(":")[:2] for it in row] for row in classes]
        assert [[int(index) for _, index in row] for row in pairs] == [[3, 2], [1, 3]]
        assert [[float(value) for value, _ in row] for row in pairs] == [[4, 3], [6, 0.5]]

    def test_more_classes_than_there_are(self, triton):
        result = triton.infer("identity_fp32", {"x": ROWS}, outputs=[triton.output("y", classes=9)])
        assert result.as_numpy("y").shape == (2, 4)

    def test_classes_have_their_labels(self, triton):
        x = numpy.zeros((1, 13), numpy.float32)
        output = triton.output("probabilities", classes=2)
        classes = triton.infer("credit-lightgbm", {"features": x}, outputs=[output])
        labels = {it.decode().split(":")[2] for it in classes.as_numpy("probabilities")[0]}
        assert labels == {"good", "bad"}

    def test_the_id_comes_back(self, triton):
        for request_id in ("", "7", 'a "quoted" id'):
            result = triton.infer("add_sub", add_sub(), request_id=request_id)
            response = result.get_response()
            got = response.get("id", "") if isinstance(response, dict) else response.id
            assert got == request_id

    def test_parameters_of_the_callers_own(self, triton):
        check_sum(triton.infer("add_sub", add_sub(), parameters={"mine": 3, "b": True, "c": "d"}))

    def test_time_enough(self, triton):
        check_sum(triton.infer("add_sub", add_sub(), timeout=60_000_000))

    def test_too_little_time(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("slow", {"x": ROWS}, timeout=20_000)
        triton.refused(error, "too late", "slow", "20 ms")

    def test_a_priority_is_refused(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", add_sub(), priority=1)
        triton.refused(error, "unsupported", "priority")

    @pytest.mark.parametrize("sequence", [7, "seven"])
    def test_sequences_are_refused(self, triton, sequence):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", add_sub(), sequence_id=sequence, sequence_start=True)
        triton.refused(error, "unsupported", "sequence_")

    # Refusals: the status, and a sentence with the names and values

    def test_an_unknown_model(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("no_such", add_sub())
        triton.refused(error, "absent", "no_such")
        assert not is_ready(triton, "no_such")

    def test_a_name_that_no_model_can_have(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("no such model", add_sub())
        triton.refused(error, "wrong", "no such model")

    def test_an_unknown_version(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", add_sub(), model_version="2")
        triton.refused(error, "absent", "add_sub", "2")

    @pytest.mark.parametrize("version", ["0", "-1", "one", "99999999999999999999"])
    def test_a_version_that_is_none(self, triton, version):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", add_sub(), model_version=version)
        kind = "absent" if triton.refused_as(error, "absent") else "wrong"
        triton.refused(error, kind, version)

    @pytest.mark.parametrize(
        "method", ["get_model_metadata", "get_model_config", "get_inference_statistics"]
    )
    def test_asking_about_an_unknown_model(self, triton, method):
        with pytest.raises(InferenceServerException) as error:
            getattr(triton.client, method)("no_such")
        triton.refused(error, "absent", "no_such")
        with pytest.raises(InferenceServerException) as error:
            getattr(triton.client, method)("add_sub", "7")
        triton.refused(error, "absent", "7")

    def test_an_unknown_input(self, triton):
        extra = {**add_sub(), "INPUT2": add_sub()["INPUT0"]}
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", extra)
        triton.refused(error, "wrong", "`INPUT2`", "`INPUT0`", "`INPUT1`")

    def test_a_missing_input(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", {"INPUT0": add_sub()["INPUT0"]})
        triton.refused(error, "wrong", "`INPUT1`", "missing")

    def test_no_inputs(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", {})
        triton.refused(error, "wrong", "INPUT0")

    def test_an_input_given_twice(self, triton):
        twice = [triton.input("INPUT0", add_sub()["INPUT0"]) for _ in range(2)]
        inputs = [*twice, triton.input("INPUT1", add_sub()["INPUT1"])]
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", inputs)
        triton.refused(error, "wrong", "`INPUT0`", "twice")

    def test_an_unknown_output(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", add_sub(), outputs=[triton.output("OUTPUT9")])
        triton.refused(error, "wrong", "`OUTPUT9`", "`OUTPUT0`", "`OUTPUT1`")

    def test_an_output_asked_for_twice(self, triton):
        outputs = [triton.output("OUTPUT0"), triton.output("OUTPUT0")]
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", add_sub(), outputs=outputs)
        triton.refused(error, "wrong", "`OUTPUT0`", "twice")

    def test_a_wrong_datatype(self, triton):
        wrong = {name: array.astype(numpy.int64) for name, array in add_sub().items()}
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", wrong)
        triton.refused(error, "wrong", "`INPUT0`", "INT64", "INT32")

    def test_a_datatype_that_is_none(self, triton):
        inputs = [triton.input("x", ROWS, datatype="FP31")]
        with pytest.raises(InferenceServerException) as error:
            triton.infer("identity_fp32", inputs)
        triton.refused(error, "wrong", "FP31")

    @pytest.mark.parametrize("shape", [(2, 5), (2, 4, 1), (4,), (1, 1)])
    def test_a_wrong_shape(self, triton, shape):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("identity_fp32", {"x": numpy.zeros(shape, numpy.float32)})
        shown = "[" + ", ".join(map(str, shape)) + "]"
        triton.refused(error, "wrong", "`x`", shown, "[-1, 4]")

    def test_a_wrong_shape_for_a_model_without_rows(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("fixed", {"x": numpy.zeros((2, 3), numpy.float32)})
        triton.refused(error, "wrong", "`x`", "[2, 3]", "[1, 3]")

    def test_a_shape_that_the_data_do_not_fill(self, triton):
        for shape in ([3, 4], [1, 4]):
            with pytest.raises(InferenceServerException) as error:
                triton.infer("identity_fp32", [triton.input("x", ROWS, shape=shape)])
            triton.refused(error, "wrong", "x", str(shape), "32")

    def test_inputs_with_different_numbers_of_rows(self, triton):
        inputs = {"INPUT0": add_sub(2)["INPUT0"], "INPUT1": add_sub(3)["INPUT1"]}
        with pytest.raises(InferenceServerException) as error:
            triton.infer("add_sub", inputs)
        triton.refused(error, "wrong", "`INPUT1`", "2", "3")

    def test_lengths_that_must_be_equal(self, triton):
        x, mask = numpy.ones((1, 3), numpy.float32), numpy.ones((1, 4), numpy.int64)
        with pytest.raises(InferenceServerException) as error:
            triton.infer("variable", {"x": x, "attention_mask": mask})
        triton.refused(error, "wrong", "attention_mask")

    def test_no_rows(self, triton):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("identity_fp32", {"x": numpy.zeros((0, 4), numpy.float32)})
        triton.refused(error, "wrong", "`x`", "no rows")

    def test_more_rows_than_a_repository_allows(self, triton):
        """`max_batch_size` of config.pbtxt is a promise about the model."""
        with pytest.raises(InferenceServerException) as error:
            triton.infer("simple", add_sub(9))
        triton.refused(error, "wrong", "8", "9")


def is_ready(triton, model):
    """HTTP's client says no, gRPC's raises."""
    try:
        return triton.client.is_model_ready(model)
    except InferenceServerException as error:
        assert error.status() == "StatusCode.NOT_FOUND"
        return False
