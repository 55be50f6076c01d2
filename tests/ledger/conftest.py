"""The servers that tests talk to: each test has its own, with flags of its own."""

import os
import sys
from pathlib import Path

import pytest

# Starting and stopping servers is the clients' tests' affair.
sys.path.append(str(Path(__file__).resolve().parent.parent / "clients"))

from credit import PIPELINE, Credit  # noqa: E402
from server import Started  # noqa: E402


class Ledger(Started, Credit):
    """A server of our own, with the words for its ledger."""


@pytest.fixture
def start(tmp_path):
    """Starts a server: `with start("--flag", paths=[...])`. All of a test have one data folder."""

    def start(*flags, paths=(), binary=None):
        binary = binary or os.environ["WINDLASS_TEST_BINARY"]
        return Ledger(binary, [*flags, *paths], tmp_path)

    return start


@pytest.fixture
def server(start):
    """One that serves the example, as it comes."""
    with start(paths=[PIPELINE]) as server:
        yield server
