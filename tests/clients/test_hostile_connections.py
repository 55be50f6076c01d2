"""Bad framing, slow callers, too many of them: each is cut off, nobody else waits, nothing panics.

The kinds are what brought servers down before; where one has a number, its test names it.
"""

import contextlib
import http.client
import json
import select
import socket

import pytest

import raw
from conftest import MODELS
from hostile import (
    CLOSED_SECONDS_MAX,
    GOOD,
    INFER,
    MIB,
    RETURN_BYTES_MAX,
    SAID,
    bounded_growth,
    check_good,
    with_blob,
    x,
)
from server import until

# The framing of HTTP/1.1

SECOND = raw.post("/v2/smuggled", b"")


def closed_after_one(server, data, statuses):
    """One answer, with one of these statuses, and then the connection is closed."""
    with raw.open_socket(server) as made:
        made.sendall(data)
        received = raw.until_closed(made, CLOSED_SECONDS_MAX)
    SAID.append(received)
    assert received.count(b"HTTP/1.1 ") == 1, received
    assert b"smuggled" not in received
    assert int(received.split(b" ", 2)[1]) in statuses, received


class TestFraming:
    @pytest.mark.parametrize(
        "lines",
        [
            ["Content-Length: {n}", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: chunked", "Content-Length: {n}"],
            ["Content-Length: +{n}"],
            ["Content-Length: -{n}"],
            ["Content-Length: {n}, {n}1"],
            ["Content-Length: {n}", "Content-Length: {n}1"],
            ["Content-Length: 0x{n}"],
            ["Content-Length: 18446744073709551616"],
            ["Content-Length: 9999999999999999999999999"],
            ["Content-Length : {n}"],
            ["Content-Length: {n}", " folded"],
            ["Content-Length: {n}", "X-Nul: a\0b"],
            ["Content-Length: {n}", "X-Return: a\rb"],
            ["Content-Length: {n}", ": nameless"],
            ["Content-Length: {n}", "no colon"],
            ["Content-Length: {n}", "Näme: a"],
            ["Transfer-Encoding: xchunked"],
            ["Transfer-Encoding: chunked, identity"],
            ["Transfer-Encoding: identity"],
            ["Transfer-Encoding: gzip, chunked"],
            ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
            ["Transfer-Encoding : chunked"],
            ["Transfer-Encoding:\x0bchunked"],
        ],
    )
    def test_a_length_that_two_readers_read_differently(self, bounded, lines):
        lines = [it.format(n=len(GOOD)) for it in lines]
        data = raw.post(INFER, GOOD, *lines, length=False) + SECOND
        closed_after_one(bounded, data, (400, 413, 431, 501))

    @pytest.mark.parametrize("turned", [False, True])
    def test_both_lengths_with_a_body_that_is_right_for_one(self, bounded, turned):
        """RFC 9112, 6.1: chunks win, and the connection is closed whatever the answer."""
        lines = ["Content-Length: 5", "Transfer-Encoding: chunked"]
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
        lines = lines[::-1] if turned else lines
        closed_after_one(
            bounded, raw.post(INFER, chunks, *lines, length=False) + SECOND, (200, 400)
        )

    @pytest.mark.parametrize(
        "chunks",
        [
            b"zz\r\n",
            b"-1\r\n",
            b"FFFFFFFFFFFFFFFFF\r\n",
            b"10000000000000000\r\n",
            b"5;" + b"a" * 100_000 + b"\r\nabcde\r\n",
            b"5\r\nabcdefgh\r\n",
            b"5\nabcde\r\n0\r\n\r\n",
            b"\r\n\r\n",
            b"0x5\r\nabcde\r\n",
            b"0\r\nContent-Length: 5 \0\r\n\r\n",
        ],
    )
    def test_chunks_that_are_none(self, bounded, chunks):
        data = raw.post(INFER, b"", "Transfer-Encoding: chunked", length=False) + chunks + SECOND
        closed_after_one(bounded, data, (400, 413, 431))

    @pytest.mark.parametrize(
        "data",
        [
            b"\x00" * 1000,
            b"\xff" * 1000,
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: \0\r\n\r\n",
            b"G\xc3\x89T / HTTP/1.1\r\n\r\n",
            b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)),
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"\x80\x00\x00\x01\x00\x02",
            raw.PREFACE[:-1] + b"X" + bytes(100),
            raw.PREFACE + b"\xff" * 100,
            b"a" * 200_000,
        ],
    )
    def test_what_is_no_http(self, bounded, data):
        with raw.open_socket(bounded) as made:
            # It may be closed before all is sent.
            with contextlib.suppress(OSError):
                made.sendall(data)
                made.shutdown(socket.SHUT_WR)
            SAID.append(raw.until_closed(made, CLOSED_SECONDS_MAX))

    @pytest.mark.parametrize("sent", [0, 1, len(GOOD) - 1])
    def test_a_caller_that_hangs_up(self, bounded, sent):
        line = f"Content-Length: {len(GOOD)}"
        with raw.open_socket(bounded) as made:
            made.sendall(raw.post(INFER, GOOD[:sent], line, length=False))
            made.shutdown(socket.SHUT_WR)
            raw.until_closed(made, CLOSED_SECONDS_MAX)

    @pytest.mark.parametrize("more", [b"\r\n", b"POST /v2", SECOND[:-2]])
    def test_an_answer_does_not_wait_for_the_next_request(self, bounded, more):
        """Old clients send an empty line after a body; others begin their next request early."""
        with raw.open_socket(bounded) as made:
            made.settimeout(CLOSED_SECONDS_MAX)
            made.sendall(raw.post(INFER, GOOD) + more)
            assert raw.read_answer(made).status == 200

    def test_many_requests_in_a_row_without_waiting(self, bounded):
        """Answered in their order."""
        data = b"".join(
            raw.post(INFER, json.dumps({"id": str(index), "inputs": [x()]}).encode())
            for index in range(200)
        )
        with raw.open_socket(bounded) as made:
            made.sendall(data)
            stream = made.makefile("rb")
            for index in range(200):
                assert stream.readline().startswith(b"HTTP/1.1 200 ")
                headers = http.client.parse_headers(stream)
                body = json.loads(stream.read(int(headers["Content-Length"])))
                assert body["id"] == str(index)


class TestHttp2:
    def settled(self, server):
        made = raw.open_socket(server)
        made.sendall(raw.PREFACE + raw.frame(raw.SETTINGS, 0, 0))
        return made

    def flood(self, server, pieces):
        """Until it is told to go away, or all is sent; others are served meanwhile."""
        with bounded_growth(server), self.settled(server) as made:
            # A server that reads no further is in its right.
            made.settimeout(3)
            with contextlib.suppress(ConnectionResetError, BrokenPipeError, TimeoutError):
                for piece in pieces:
                    made.sendall(piece)
            check_good(server)

    def test_rapid_resets(self, bounded):
        """CVE-2023-44487"""
        headers = raw.request_headers(INFER.encode())
        self.flood(
            bounded,
            (
                raw.frame(raw.HEADERS, raw.END_HEADERS, stream, headers)
                + raw.frame(raw.RST_STREAM, 0, stream, b"\0\0\0\x08")
                for stream in range(1, 40_001, 2)
            ),
        )

    def test_headers_without_end(self, bounded):
        """The CONTINUATION flood, RUSTSEC-2024-0332"""
        first = raw.frame(raw.HEADERS, 0, 1, raw.request_headers(INFER.encode()))
        # A literal with a value of 127 + 14 + 2 * 128 bytes; forty fill a frame.
        field = b"\x00\x01x\x7f\x8e\x02" + b"a" * 397
        rest = raw.frame(raw.CONTINUATION, 0, 1, field * 40)
        self.flood(bounded, [first] + [rest] * 2000)

    def test_empty_data(self, bounded):
        """RUSTSEC-2026-0258"""
        headers = raw.request_headers(INFER.encode())
        first = raw.frame(raw.HEADERS, raw.END_HEADERS, 1, headers)
        self.flood(bounded, [first] + [raw.frame(raw.DATA, 0, 1) * 1000] * 200)

    def test_pings_whose_answers_nobody_reads(self, bounded):
        self.flood(bounded, [raw.frame(raw.PING, 0, 0, bytes(8)) * 1000] * 200)

    def test_settings_whose_answers_nobody_reads(self, bounded):
        self.flood(bounded, [raw.frame(raw.SETTINGS, 0, 0) * 1000] * 200)

    def test_a_frame_that_is_too_long(self, bounded):
        self.flood(bounded, [b"\xff\xff\xff" + raw.frame(raw.DATA, 0, 1)[3:] + bytes(MIB)])


# Those who take their time: each is cut off, and nobody else waits for them


class TestSlow:
    def closes(self, server, data):
        with raw.open_socket(server) as made:
            made.sendall(data)
            return raw.until_closed(made, CLOSED_SECONDS_MAX)

    def test_says_nothing(self, hasty):
        assert self.closes(hasty, b"") == b""

    def test_half_a_preface(self, hasty):
        assert self.closes(hasty, b"PRI * HTTP") == b""

    def test_half_a_greeting_of_tls(self, hasty):
        self.closes(hasty, b"\x16\x03\x01\x02\x00\x01")

    def test_half_the_headers(self, hasty):
        received = self.closes(hasty, raw.post(INFER, GOOD)[:60])
        assert received == b"" or b" 408 " in received

    def test_headers_drop_by_drop(self, hasty):
        with raw.open_socket(hasty) as made:
            made.sendall(b"POST " + INFER.encode() + b" HTTP/1.1\r\nX-Slow: ")
            received = raw.drip(made, b"a", CLOSED_SECONDS_MAX)
        assert received == b"" or b" 408 " in received

    def test_the_first_bytes_drop_by_drop(self, hasty):
        with raw.open_socket(hasty) as made:
            made.sendall(b"P")
            raw.drip(made, b"O", CLOSED_SECONDS_MAX)

    def test_half_a_body(self, hasty):
        received = self.closes(hasty, raw.post(INFER, GOOD)[:-10])
        assert b"HTTP/1.1 408 " in received
        assert b"body" in received

    def test_a_body_drop_by_drop(self, hasty):
        head = raw.post(INFER, b"", "Content-Length: 100000", length=False)
        with raw.open_socket(hasty) as made:
            made.sendall(head)
            received = raw.drip(made, b" ", CLOSED_SECONDS_MAX)
        assert b"HTTP/1.1 408 " in received

    def test_half_a_chunk(self, hasty):
        head = raw.post(INFER, b"", "Transfer-Encoding: chunked", length=False)
        assert b"HTTP/1.1 408 " in self.closes(hasty, head + b"10\r\nabc")

    def test_an_idle_connection_after_an_answer(self, hasty):
        received = self.closes(hasty, raw.post(INFER, GOOD))
        assert received.startswith(b"HTTP/1.1 200 ")

    def test_reads_nothing(self, hasty):
        """16 MiB of answer to a caller that takes none of it."""
        body, headers = with_blob(x(shape=[MIB, 4]), bytes(16 * MIB))
        lines = [f"{name}: {value}" for name, value in headers.items()]
        with raw.open_socket(hasty, receive_buffer=4096) as made:
            made.sendall(raw.post(INFER, body, *lines))
            until(lambda: not raw.is_held(hasty, made), "it is given up", CLOSED_SECONDS_MAX)

    def test_a_request_of_http2_that_never_ends(self, hasty):
        with raw.open_socket(hasty) as made:
            headers = raw.request_headers(INFER.encode())
            made.sendall(raw.PREFACE + raw.frame(raw.SETTINGS, 0, 0))
            made.sendall(raw.frame(raw.HEADERS, raw.END_HEADERS, 1, headers))
            made.settimeout(CLOSED_SECONDS_MAX)
            received = b""
            # A frame of headers or a reset of stream 1 is enough; the status would need HPACK.
            while not any(
                kind + bytes([flags]) + b"\0\0\0\1" in received
                for kind in (b"\x01", b"\x03")
                for flags in (0, 4, 5)
            ):
                piece = made.recv(1 << 16)
                if not piece:
                    break
                received += piece

    def test_many_of_them_hinder_nobody(self, hasty):
        starts = [b"", b"PRI * HTTP", raw.post(INFER, GOOD)[:60], raw.post(INFER, GOOD)[:-10]]
        with contextlib.ExitStack() as stack:
            slow = [stack.enter_context(raw.open_socket(hasty)) for _ in range(100)]
            for index, made in enumerate(slow):
                made.sendall(starts[index % len(starts)])
            for _ in range(10):
                check_good(hasty)
            for made in slow:
                raw.until_closed(made, CLOSED_SECONDS_MAX)


class TestConnections:
    def test_no_more_than_the_limit(self, bounded):
        """Those over it are closed at once, those within it stay."""
        with contextlib.ExitStack() as stack:
            made = [stack.enter_context(raw.open_socket(bounded)) for _ in range(80)]
            closed = until(
                lambda: self.closed(made, least=16), "those over it are closed", CLOSED_SECONDS_MAX
            )
            # Some places may be taken by other tests' clients.
            assert len(closed) <= 20
            within = next(it for it in made if it not in closed)
            within.sendall(raw.post(INFER, GOOD))
            assert raw.read_answer(within).status == 200
        until(lambda: self.answered(bounded), "there is room again", CLOSED_SECONDS_MAX)

    def closed(self, made, least):
        readable, _, _ = select.select(made, [], [], 0)
        closed = [it for it in readable if raw.is_closed(it)]
        return closed if len(closed) >= least else None

    def answered(self, server):
        try:
            check_good(server)
            return True
        except (OSError, http.client.HTTPException):
            return False


# More than it can do, and the end


def ask_all(server, count, path="/v2/models/slow/infer"):
    """That many at once, each on its own connection: their answers."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(raw.open_socket(server)) for _ in range(count)]
        for one in made:
            one.sendall(raw.post(path, GOOD))
        return [raw.read_answer(one) for one in made]


@pytest.mark.parametrize("limit", ["rows_waiting_max=4", "requests_max=3"])
def test_more_requests_than_there_is_room_for(start, limit):
    """Quickly refused, with a time to come back; those who got in are answered."""
    with start(f"--limit={limit}", paths=[MODELS / "slow"]) as server:
        answers = ask_all(server, 30)
        served = [it for it in answers if it.status == 200]
        refused = [it for it in answers if it.status == 503]
        assert served and refused and len(served) + len(refused) == 30
        for answer in refused:
            assert int(answer.headers["Retry-After"]) >= 1
            assert json.loads(answer.body)["error"]
        assert ask_all(server, 1)[0].status == 200


def test_requests_under_way_are_finished_at_the_end(start):
    """SIGTERM: they are answered, nobody else is let in, the exit code is 0."""
    with start(paths=[MODELS / "slow"]) as server, raw.open_socket(server) as made:
        made.sendall(raw.post("/v2/models/slow/infer", GOOD))
        pending = b'\nnv_inference_pending_request_count{model="slow",version="1"} 1\n'
        until(lambda: pending in server.ask("GET", "/metrics")[2], "it is worked on")
        server.process.terminate()
        assert raw.read_answer(made).status == 200
        assert server.process.wait(CLOSED_SECONDS_MAX) == 0
        with pytest.raises(ConnectionRefusedError):
            raw.open_socket(server)


# After all of it


class TestAfterwards:
    def test_memory_is_back(self, bounded, hasty):
        for server in (bounded, hasty):
            until(
                lambda: server.memory("VmRSS") - server.before <= RETURN_BYTES_MAX,
                f"within {RETURN_BYTES_MAX // MIB} MiB of {server.before // MIB} MiB",
            )

    def test_nothing_panicked(self, bounded, hasty):
        for server in (bounded, hasty):
            assert "panicked" not in server.log

    def test_no_answer_tells_about_the_machine(self):
        for words in (b"/dev/shm", b"/root", b"/home", b"/tmp", b".rs:", b"panicked", b"SQL"):
            assert not [it for it in SAID if words in it], words

    def test_the_server_of_the_other_tests_is_well(self, server):
        check_good(server)
        assert "panicked" not in server.log
