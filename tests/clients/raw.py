"""Bytes on a socket, for what no client library would send."""

import contextlib
import http.client
import select
import socket
import struct
import time
from pathlib import Path


def open_socket(server, receive_buffer=None):
    made = socket.socket()
    if receive_buffer:
        # Before connecting: it bounds the window that is offered.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.settimeout(60)
    made.connect((server.host, server.port))
    return made


def until_closed(made, seconds):
    """What comes until the server closes; still open after `seconds` is a failure."""
    received, end = b"", time.monotonic() + seconds
    while True:
        made.settimeout(max(0.001, end - time.monotonic()))
        try:
            piece = made.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            return received
        except TimeoutError:
            raise AssertionError(f"still open after {seconds} s; got {received[:200]!r}") from None
        if not piece:
            return received
        received += piece


def drip(made, piece, seconds, every=0.05):
    """Sends `piece` again and again until the server closes; gives what it said."""
    received, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        readable, _, _ = select.select([made], [], [], every)
        try:
            if readable:
                answer = made.recv(1 << 16)
                if not answer:
                    return received
                received += answer
            else:
                made.sendall(piece)
        except (ConnectionResetError, BrokenPipeError):
            return received
    raise AssertionError(f"still open after {seconds} s")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


def read_answer(made, method="POST"):
    """One answer; none when the server closed without."""
    response = http.client.HTTPResponse(made, method=method)
    try:
        response.begin()
        return Answer(response.status, response.headers, response.read())
    except (http.client.BadStatusLine, ConnectionResetError):
        return None
    finally:
        response.close()


def exchange(server, data):
    """Sends bytes as they are; the answer, or none."""
    with open_socket(server) as made:
        # Refused before all was sent, the answer may be there.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            made.sendall(data)
        return read_answer(made)


def post(path, body=b"", *headers, length=True):
    """A request's bytes; `headers` are lines as they are."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost"]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    lines.extend(headers)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def is_closed(made):
    """Whether the server closed a connection that has something to read."""
    try:
        return made.recv(1, socket.MSG_PEEK) == b""
    except ConnectionResetError:
        return True


def is_held(server, made):
    """Whether the server's process still has its end of a connection, as the kernel lists it."""
    client = f":{made.getsockname()[1]:04X}"
    local = f":{server.port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(local) and fields[2].endswith(client):
            return fields[9] != "0"
    return False


# HTTP/2, as far as it takes to misuse it.

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def request_headers(path):
    """HPACK: POST, http, the path and the authority as literals."""
    return b"\x83\x86\x04" + bytes([len(path)]) + path + b"\x01\x09localhost"
