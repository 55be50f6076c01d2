"""Bad requests of every kind: each gets its status and a sentence, memory returns.

The kinds are what brought model servers down before. Statuses are those of crates/wire/src/code.rs.
"""

import contextlib
import gzip
import io
import json
import struct
import zlib

import grpc
import pytest

import raw
from hostile import GOOD, INFER, MIB, ROWS, SAID, SIZE_MAX, bounded_growth, refused, with_blob, x

# The JSON of a request


class TestJson:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"7",
            b"[]",
            b"{}",
            b'"inputs"',
            GOOD[:-1],
            GOOD[: len(GOOD) // 2],
            GOOD + b"x",
            GOOD + GOOD,
            b"\xef\xbb\xbf" + GOOD,
            b"\x00" + GOOD,
            b"{'inputs': []}",
            b'{"inputs": null}',
            b'{"inputs": {}}',
            b'{"inputs": [7]}',
            b'{"inputs": [{}]}',
            b'{"inputs": [], }',
            b'{"inputs": [], "id": 7}',
            b'{"inputs": [], "id": "\xff"}',
            b'{"inputs": [], "id": "a\nb"}',
            b'{"inputs": [], "parameters": []}',
            b'{"inputs": [], "outputs": [{}]}',
            b'{"inputs": [], "outputs": ["y"]}',
        ],
    )
    def test_what_is_no_request(self, bounded, body):
        assert refused(bounded, body)

    @pytest.mark.parametrize(
        "text",
        [
            "[" * 100_000,
            '{"a":' * 100_000,
            "[" * 100_000 + "]" * 100_000,
            '{"inputs":' + "[" * 100_000 + "]" * 100_000 + "}",
            '{"extra":' + "[" * 100_000 + "]" * 100_000 + ',"inputs":[]}',
            '{"parameters":{"p":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + '},"inputs":[]}',
            '{"inputs":[{"name":"x","shape":[2,4],"datatype":"FP32","data":' + "[" * 100_000,
        ],
        ids=["lists", "objects", "closed", "inputs", "unknown key", "parameters", "data"],
    )
    def test_deep_nesting(self, bounded, text):
        with bounded_growth(bounded):
            assert refused(bounded, text)

    def test_ten_megabytes_of_nesting(self, bounded):
        with bounded_growth(bounded):
            refused(bounded, "[" * 10_000_000)

    @pytest.mark.parametrize(
        "number",
        ["1e999", "-1e999", "3.5e38", "0x10", "01", "1.", ".5", "+1", "1_0", '"1"', "true"],
    )
    def test_numbers_that_are_none(self, bounded, number):
        text = json.dumps({"inputs": [x(shape=[1, 4], data=[1, 2, 3, "?"])]})
        refused(bounded, text.replace('"?"', number), words=["x"] if "e" in number else [])

    @pytest.mark.parametrize("number", ["2147483648", "1.5", "1e99", "null", "NaN", '"1"', "true"])
    def test_numbers_that_an_integer_does_not_hold(self, bounded, number):
        ones = {"shape": [1, 16], "datatype": "INT32"}
        inputs = [
            {"name": "INPUT0", **ones, "data": [1] * 15 + ["?"]},
            {"name": "INPUT1", **ones, "data": [1] * 16},
        ]
        text = json.dumps({"inputs": inputs}).replace('"?"', number)
        words = ["`INPUT0`", "15", number.strip('"')]
        refused(bounded, text, path="/v2/models/add_sub/infer", words=words)

    @pytest.mark.parametrize(
        "text",
        [
            '{"inputs":[],"inputs":[]}',
            '{"id":"a","id":"b","inputs":[]}',
            GOOD.decode().replace('"name"', '"name": "y", "name"'),
            GOOD.decode().replace('"shape"', '"shape": [1, 4], "shape"'),
            GOOD.decode().replace('"data"', '"data": [1, 2, 3, 4, 5, 6, 7, 8], "data"'),
        ],
    )
    def test_keys_given_twice(self, bounded, text):
        """Two readers of such a text would not agree."""
        refused(bounded, text, words=["twice"])

    @pytest.mark.parametrize(
        "text", [r"\ud800", r"\udc00", r"a\ud800b", r"\ud800A", r"\u12", r"\x"]
    )
    @pytest.mark.parametrize("place", ["data", "name", "id", "key"])
    def test_strings_that_are_none(self, bounded, text, place):
        tensor = x(datatype="BYTES", shape=[1, 1], data=["?" if place == "data" else "a"])
        tensor["name"] = "?" if place == "name" else "x"
        request = {"inputs": [tensor]}
        if place == "id":
            request["id"] = "?"
        if place == "key":
            request["?"] = 1
        body = json.dumps(request).replace("?", text)
        refused(bounded, body, path="/v2/models/identity_string/infer")

    @pytest.mark.parametrize(
        "shape",
        [
            [-1, 4],
            [2**64, 4],
            [1.5, 4],
            ["2", 4],
            [None],
            "[2, 4]",
            7,
            {},
            [[2, 4]],
            [1] * 1000,
            [1e300],
        ],
    )
    def test_shapes_that_are_none(self, bounded, shape):
        refused(bounded, json.dumps({"inputs": [x(shape=shape)]}))

    @pytest.mark.parametrize(
        "shape",
        [[2**32, 2**32], [2**63 - 1, 2], [2**62, 4], [2**31, 2**31, 4], [0, 2**63 - 1, 2**63 - 1]],
    )
    def test_shapes_whose_product_wraps(self, bounded, shape):
        for data in ([], [0.0]):
            with bounded_growth(bounded):
                body = json.dumps({"inputs": [x(shape=shape, data=data)]})
                got, _, answer = bounded.ask("POST", INFER, body)
                SAID.append(answer)
                assert got in (400, 413), answer
                assert json.loads(answer)["error"]

    def test_a_shape_of_ten_million_axes(self, bounded):
        body = json.dumps({"inputs": [x(shape="?")]}).replace('"?"', "[" + "1," * 9_999_999 + "1]")
        with bounded_growth(bounded):
            refused(bounded, body)

    def test_a_claim_reserves_no_memory(self, bounded):
        """A shape of a gibibyte and four elements."""
        body = json.dumps({"inputs": [x(shape=[1 << 26, 4], data=[1, 2, 3, 4])]})
        with bounded_growth(bounded, 32 * MIB):
            refused(bounded, body, words=["x"])

    @pytest.mark.parametrize(
        "data",
        [
            [1, 2, 3],
            [1] * 9,
            [],
            [[1, 2, 3, 4]],
            [[1, 2, 3, 4], [5, 6, 7]],
            [[1, 2, 3], [4, 5, 6, 7, 8]],
            [[[1, 2, 3, 4], [5, 6, 7, 8]]],
            [1, 2, 3, 4, [5, 6, 7, 8]],
            [[1, 2, 3, 4], 5, 6, 7, 8],
            [[[1], [2], [3], [4]], [[5], [6], [7], [8]]],
            7,
            "12345678",
            {"0": 1},
            None,
        ],
    )
    def test_data_that_do_not_fill_the_shape(self, bounded, data):
        refused(bounded, json.dumps({"inputs": [x(data=data)]}), words=["x"])

    def test_a_long_string(self, bounded):
        """50 MB where 32 MiB are taken; the answer comes before all of it was sent."""
        answer = raw.exchange(bounded, raw.post(INFER, b'{"id": "' + b"a" * 50_000_000 + b'"'))
        assert answer.status == 413

    def test_many_names(self, bounded):
        inputs = [x(name=f"x{index}", shape=[1, 4], data=[1, 2, 3, 4]) for index in range(100_000)]
        with bounded_growth(bounded):
            refused(bounded, json.dumps({"inputs": inputs}), words=["x0"])

    def test_a_sentence_does_not_repeat_a_novel(self, bounded):
        message = refused(bounded, json.dumps({"inputs": [x(name="n" * 1_000_000)]}))
        assert len(message) < 10_000


# Tensors after the JSON


class TestBinary:
    @pytest.mark.parametrize(
        "length",
        [
            "99999999999999999999",
            "18446744073709551615",
            "-1",
            "+5",
            "1e3",
            "0x10",
            "12abc",
            "",
            "1.0",
            "100000",
        ],
    )
    def test_a_length_that_lies(self, bounded, length):
        body, headers = with_blob(x(), ROWS.tobytes(), length=length)
        refused(bounded, body, headers, words=["Inference-Header-Content-Length"])

    def test_a_length_that_cuts_the_json(self, bounded):
        for length in (1, 10, 50):
            body, headers = with_blob(x(), ROWS.tobytes(), length=length)
            refused(bounded, body, headers)

    @pytest.mark.parametrize(
        "size", [0, 31, 33, 64, 2**31, 2**63, 2**64, -1, 1.5, "many", True, None]
    )
    def test_a_size_that_lies(self, bounded, size):
        body, headers = with_blob(x(), ROWS.tobytes(), size=size)
        if size is None:
            body = body.replace(
                f'"binary_data_size": {ROWS.nbytes}'.encode(), b'"a_data_size": null'
            )
        refused(bounded, body, headers)

    @pytest.mark.parametrize("cut", [1, 16, 32])
    def test_too_few_bytes(self, bounded, cut):
        body, headers = with_blob(x(), ROWS.tobytes())
        refused(bounded, body[:-cut], headers, words=["x", "32", str(32 - cut)])

    def test_too_many_bytes(self, bounded):
        body, headers = with_blob(x(), ROWS.tobytes())
        refused(bounded, body + b"more", headers, words=["4 bytes"])

    def test_data_and_bytes(self, bounded):
        tensor = {**x(), "parameters": {"binary_data_size": 32}}
        text = json.dumps({"inputs": [tensor]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        refused(bounded, text + ROWS.tobytes(), headers, words=["x"])

    def test_a_size_without_the_header(self, bounded):
        body, _ = with_blob(x(), ROWS.tobytes())
        refused(bounded, body)

    @pytest.mark.parametrize(
        "blob",
        [
            struct.pack("<I", 0xFFFFFFFF) + b"abc",
            struct.pack("<I", 0x7FFFFFFF),
            struct.pack("<I", 4) + b"abc",
            b"\x01\x00\x00",
            b"",
            struct.pack("<I", 1) + b"a" + struct.pack("<I", 1) + b"b",
            struct.pack("<I", 1) + b"a" + b"\x00",
        ],
    )
    def test_strings_whose_lengths_lie(self, bounded, blob):
        tensor = {"name": "x", "shape": [1, 1], "datatype": "BYTES"}
        body, headers = with_blob(tensor, blob)
        with bounded_growth(bounded):
            refused(bounded, body, headers, "/v2/models/identity_string/infer", words=["x"])

    def test_a_truth_value_that_is_neither(self, bounded):
        tensor = {"name": "x", "shape": [1, 4], "datatype": "BOOL"}
        body, headers = with_blob(tensor, b"\x00\x01\x02\xff")
        path = "/v2/models/identity_bool/infer"
        refused(bounded, body, headers, path, words=["`x`", "2"])

    @pytest.mark.parametrize("shape", [[2**32, 2**32], [2**62, 4], [2**61, 8]])
    def test_a_product_that_wraps_to_the_bytes_there_are(self, bounded, shape):
        body, headers = with_blob(x(shape=shape), b"")
        got, _, answer = bounded.ask("POST", INFER, body, headers)
        SAID.append(answer)
        assert got in (400, 413), answer


# Sizes


def bomb(encode, megabytes=300):
    """Zeros, encoded piece by piece."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encode == "gzip" else 15)
    pieces = [packer.compress(bytes(MIB)) for _ in range(megabytes)]
    return b"".join(pieces) + packer.flush()


class TestSizes:
    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    def test_a_bomb(self, bounded, encoding):
        body = bomb(encoding)
        assert len(body) < MIB
        with bounded_growth(bounded):
            refused(
                bounded, body, {"Content-Encoding": encoding}, status=413, words=[str(SIZE_MAX)]
            )

    def test_a_bomb_of_rows(self, bounded):
        path = "/v1/models/identity_fp32:predict"
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        with bounded_growth(bounded):
            got, _, answer = bounded.ask("POST", path, bomb("gzip"), headers)
        assert got == 413, answer

    def test_a_bomb_of_many_members(self, bounded):
        """gzip files may follow one another."""
        body = gzip.compress(bytes(MIB)) * 100
        with bounded_growth(bounded):
            got, _, answer = bounded.ask("POST", INFER, body, {"Content-Encoding": "gzip"})
        assert got in (400, 413), answer

    def test_a_bomb_in_a_bomb(self, bounded):
        body = gzip.compress(bomb("gzip", 10))
        refused(bounded, body, {"Content-Encoding": "gzip, gzip"}, status=415)

    def test_a_body_that_is_announced_too_large(self, bounded):
        """It is refused before it is sent."""
        answer = raw.exchange(
            bounded, raw.post(INFER, b"", "Content-Length: 1000000000000", length=False)
        )
        assert answer.status == 413
        assert str(SIZE_MAX) in json.loads(answer.body)["error"]

    def test_a_body_that_turns_out_too_large(self, bounded):
        """Without a length, chunk after chunk."""
        chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
        with bounded_growth(bounded), raw.open_socket(bounded) as made:
            made.sendall(raw.post(INFER, b"", "Transfer-Encoding: chunked", length=False))
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                for _ in range(64):
                    made.sendall(chunk)
            answer = raw.read_answer(made)
        # The rest of the body may have reset the connection before the answer was read.
        assert answer is None or answer.status == 413

    def test_a_hundred_thousand_chunks_of_a_byte(self, bounded):
        body = GOOD + b" " * (100_000 - len(GOOD))
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        data = raw.post(INFER, b"", "Transfer-Encoding: chunked", length=False) + chunks
        with bounded_growth(bounded, 16 * MIB):
            for _ in range(10):
                assert raw.exchange(bounded, data).status in (200, 400, 413)

    @pytest.mark.parametrize(
        "lines",
        [
            ["X-Long: " + "a" * 100_000],
            [f"X-{index}: {'a' * 1000}" for index in range(100)],
            [f"X-{index}: a" for index in range(10_000)],
        ],
        ids=["long", "large", "many"],
    )
    def test_large_headers(self, bounded, lines):
        answer = raw.exchange(bounded, raw.post(INFER, GOOD, *lines))
        assert answer is not None and answer.status == 431

    def test_a_long_path(self, bounded):
        answer = raw.exchange(bounded, raw.post("/" + "a" * 100_000, b""))
        assert answer is not None and answer.status in (414, 431)


# gRPC


@pytest.fixture(scope="module")
def channel(bounded):
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(bounded.address, options) as channel:
        yield channel


def call(channel, data, method="ModelInfer", **more):
    """Bytes in place of a message; the status."""
    call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
    with pytest.raises(grpc.RpcError) as error:
        call(data, timeout=60, **more)
    SAID.append((error.value.details() or "").encode())
    return error.value.code()


class TestGrpc:
    @pytest.mark.parametrize(
        "data",
        [
            b"\xff" * 100,
            b"\x0a\x7f",
            b"\x0a\xff\xff\xff\xff\x0f",
            b"\x0a\x02\xff\xfe",
            b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x3a\xff\xff\xff\x7f",
            b"\x0b" * 10_000,
            b"\x08\x01",
        ],
    )
    def test_what_is_no_message(self, bounded, channel, data):
        # Tonic says INTERNAL where it cannot decode; either way it is the caller's to mend.
        code = call(channel, data)
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)

    def test_deep_messages(self, bounded, channel):
        """Groups in groups of a field that is not known."""
        data = b"\xa3\x06" * 100_000 + b"\xa4\x06" * 100_000
        code = call(channel, data)
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)

    def test_a_message_that_is_too_large(self, bounded, channel):
        with bounded_growth(bounded):
            code = call(channel, b"\x3a" + varint(64 * MIB) + bytes(64 * MIB))
        assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE)

    def test_a_bomb(self, bounded, channel):
        data = b"\x3a" + varint(200 * MIB) + bytes(200 * MIB)
        with bounded_growth(bounded):
            code = call(channel, data, compression=grpc.Compression.Gzip)
        assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE)

    def test_a_sentence_reaches_the_caller(self, bounded, channel):
        """It travels in a header, which clients take up to 8 KiB of."""
        name = b"n" * 20_000
        tensor = b"\x0a" + varint(len(name)) + name + b"\x12\x04FP32\x1a\x02\x01\x04"
        data = b"\x0a\x0didentity_fp32\x2a" + varint(len(tensor)) + tensor
        code = call(channel, data + b"\x3a\x10" + bytes(16))
        assert code == grpc.StatusCode.INVALID_ARGUMENT

    def test_many_raw_contents(self, bounded, channel):
        with bounded_growth(bounded):
            code = call(channel, b"\x0a\x0didentity_fp32" + b"\x3a\x00" * 1_000_000)
        assert code == grpc.StatusCode.INVALID_ARGUMENT


def varint(number):
    out = io.BytesIO()
    while number > 0x7F:
        out.write(bytes([number & 0x7F | 0x80]))
        number >>= 7
    out.write(bytes([number]))
    return out.getvalue()
