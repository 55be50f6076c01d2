"""A running `windlass serve`: started on a free port, found by what it prints, stopped by pid."""

import http.client
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

# Long, because a debug build on a busy machine measures and proves every model while it loads.
START_SECONDS, STOP_SECONDS = 300, 60


def until(attempt, what, seconds=30):
    """The first answer of `attempt` that is true; asked again until the deadline."""
    end = time.monotonic() + seconds
    while True:
        answer = attempt()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds} s still not: {what}")
        time.sleep(0.02)


class Server:
    """What a test may know about a server, whoever started it."""

    def __init__(self, url, pid, folder):
        self.url, self.pid, self.folder = url, pid, Path(folder)
        self.address = url.removeprefix("http://")
        self.host, port = self.address.split(":")
        self.port = int(port)

    @property
    def printed(self):
        """What it wrote for its user."""
        return (self.folder / "stdout").read_text(errors="replace")

    @property
    def log(self):
        return (self.folder / "stderr").read_text(errors="replace")

    def connect(self, timeout=60):
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None):
        """One request on a connection of its own: status, headers, body."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def ask_json(self, method, path, body=None, headers=None):
        """The same with JSON both ways: status and the answer."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        body = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        status, _, answer = self.ask(method, path, body, headers)
        return status, json.loads(answer)

    def memory(self, field):
        """`VmRSS` or `VmHWM` in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.M)[1]) * 1024

    def forget_peak(self):
        """Lets `VmHWM` begin again at what is used now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def environment(self):
        """How the tests in another process find it: `from_environment` reads this."""
        return {
            "WINDLASS_TEST_URL": self.url,
            "WINDLASS_TEST_PID": str(self.pid),
            "WINDLASS_TEST_FOLDER": str(self.folder),
        }


def from_environment():
    names = ["WINDLASS_TEST_URL", "WINDLASS_TEST_PID", "WINDLASS_TEST_FOLDER"]
    return Server(*[os.environ[name] for name in names])


class Started(Server):
    """A server of our own; leaving the block stops it and expects that it ends well."""

    def __init__(self, binary, arguments, folder, port=0):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        command = [binary, "serve", "--port", port, "--data-dir", folder / "data", *arguments]
        with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
            self.process = subprocess.Popen(
                [str(it) for it in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self.folder = folder
        try:
            url = until(self.listening, "the server prints its address", START_SECONDS)
            super().__init__(url, self.process.pid, folder)
            until(self.ready, "the server is ready", START_SECONDS)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def check_alive(self):
        if self.process.poll() is not None:
            raise AssertionError(f"it ended with {self.process.returncode}:\n{self.log[-4000:]}")

    def listening(self):
        self.check_alive()
        found = re.search(r"http://127\.0\.0\.1:\d+", self.printed)
        return found and found[0]

    def ready(self):
        self.check_alive()
        try:
            return self.ask("GET", "/v2/health/ready")[0] == 200
        except OSError:
            return False

    def stop(self):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it still runs {STOP_SECONDS} s after SIGTERM") from None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        # A test may have ended it already, and well.
        status = self.process.poll()
        status = self.stop() if status is None else status
        if kind is None:
            assert status == 0, f"after SIGTERM it ended with {status}:\n{self.log[-4000:]}"
            assert "panicked" not in self.log, self.log[-4000:]
