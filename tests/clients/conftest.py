"""The servers that tests talk to: the one of run.py, and others with flags of their own."""

import os
import tempfile
from pathlib import Path

import pytest

from hostile import SIZE_MAX, check_good, warm_up
from server import Started, from_environment

MODELS = Path(os.environ.get("WINDLASS_TEST_MODELS", "."))
EXAMPLES = Path(os.environ.get("WINDLASS_TEST_EXAMPLES", "."))


@pytest.fixture(scope="session")
def server():
    return from_environment()


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Starts a server: `with start("--flag", paths=[...]) as server`."""

    def start(*flags, paths):
        folder = tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp())
        return Started(os.environ["WINDLASS_TEST_BINARY"], [*flags, *paths], folder)

    return start


@pytest.fixture(scope="session")
def sharing(start):
    """A server that was told to offer shared memory."""
    paths = [MODELS / it for it in ("add_sub", "identity_fp32", "identity_string")]
    with start("--system-shared-memory", paths=paths) as server:
        yield server


@pytest.fixture(scope="session")
def bounded(start):
    """A server that takes little: bodies and their contents up to 32 MiB, 64 connections."""
    sizes = ["body_bytes_max", "decoded_bytes_max"]
    flags = [f"--limit={name}={SIZE_MAX}" for name in sizes] + ["--limit=connections_max=64"]
    paths = [MODELS / it for it in ("identity_fp32", "identity_string", "identity_bool", "add_sub")]
    with start(*flags, paths=paths) as server:
        warm_up(server)
        server.before = server.memory("VmRSS")
        yield server


@pytest.fixture(scope="session")
def hasty(start):
    """A server that does not wait."""
    names = ["first_byte_ms_max", "headers_ms_max", "body_ms_max", "write_ms_max"]
    flags = [f"--limit={name}=300" for name in names]
    with start(*flags, paths=[MODELS / "identity_fp32"]) as server:
        warm_up(server)
        server.before = server.memory("VmRSS")
        yield server


@pytest.fixture(autouse=True)
def still_well(request):
    """Whatever a test sent, the next caller is served."""
    yield
    for name in ("bounded", "hasty"):
        if name in request.fixturenames:
            server = request.getfixturevalue(name)
            check_good(server)
            assert "panicked" not in server.log
