"""`windlass top` on a terminal, while its server goes away and comes back."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

from conftest import Console
from credit import copy
from server import until

BINARY = os.environ["WINDLASS_TEST_BINARY"]


class Screen:
    """A program on a terminal of its own, and what it shows there."""

    def __init__(self, *command):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            try:
                os.environ["TERM"] = "xterm-256color"
                os.execv(command[0], [str(it) for it in command])
            finally:
                os._exit(127)
        self.width = 160
        self.status = None

    def read(self, seconds=0.3):
        """What comes until nothing does for so long, or it has ended."""
        told, end = b"", time.monotonic() + 10
        while select.select([self.terminal], [], [], seconds)[0] and time.monotonic() < end:
            try:
                piece = os.read(self.terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            told += piece
        return told.decode(errors="replace")

    def shown(self):
        """All of the screen in words: another width has it drawn anew, whole."""
        self.read(0)
        self.width = 320 - self.width + 1
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, self.width, 0, 0))
        text = re.sub(r"\x1b\[\d+;\d+H", " ", self.read())
        return " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).split())

    def press(self, keys):
        os.write(self.terminal, keys.encode())

    def ended(self):
        """Its exit status, once it has one."""
        if self.status is None:
            self.read(0)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.ended() is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)


def told_at(screen, pattern):
    """The time that stands behind the pattern, where a whole screen was drawn with it."""
    found = re.search(pattern + r" ?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", screen.shown())
    return found and found[1]


def test_a_server_that_is_away_is_said_to_be_and_followed_again(tmp_path):
    model = copy(tmp_path / "model")
    with Console(BINARY, [], tmp_path / "server") as server:
        server.command("push", model)
        server.command("load", "credit")
        port, screen = server.port, Screen(BINARY, "top", "--server", server.url)
        with screen:
            first = until(lambda: told_at(screen, "1 of 1 ready by attention"), "the list", 60)
            # It goes on by itself.
            until(lambda: (told_at(screen, "by attention") or first) > first, "a newer list", 60)
            # It hangs, and goes on.
            os.kill(server.pid, signal.SIGSTOP)
            try:
                hung = until(lambda: told_at(screen, "stale since"), "it is said to hang", 60)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            first = until(lambda: told_at(screen, "by attention"), "it is heard again", 60)
            assert first >= hung
            # It ends.
            assert server.stop() == 0
            since = until(lambda: told_at(screen, "stale since"), "it is said to be stale", 60)
            assert since >= first
            # What was known is still there, and keys are heard.
            until(lambda: "credit" in screen.shown(), "what was known", 60)
            screen.press("s")
            until(lambda: told_at(screen, "by requests/s stale since"), "another order", 60)
            assert screen.ended() is None
            with Console(BINARY, [], tmp_path / "server", port):
                back = until(lambda: told_at(screen, "1 of 1 ready by requests/s"), "it is heard again", 120)
                assert back > since, (back, since)
                screen.press("q")
                until(lambda: screen.ended() is not None, "it ends", 30)
                assert screen.ended() == 0
