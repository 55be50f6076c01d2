"""A real Alertmanager, out of Debian's package, on a free port."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path

from server import until

# It tells nobody: what arrives is looked at through its API.
CONFIGURATION = "route: {receiver: none}\nreceivers: [{name: none}]\n"


class Alertmanager:
    def __init__(self, program, folder):
        folder = Path(folder)
        folder.mkdir()
        (folder / "alertmanager.yml").write_text(CONFIGURATION)
        command = [program, "--config.file", folder / "alertmanager.yml", "--storage.path", folder]
        command += ["--web.listen-address", "127.0.0.1:0", "--cluster.listen-address="]
        self.log = folder / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(it) for it in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self):
        def listening():
            assert self.process.poll() is None, self.log.read_text()
            return re.search(r"address=(127\.0\.0\.1:\d+)", self.log.read_text())

        try:
            self.url = "http://" + until(listening, "Alertmanager says where it listens")[1]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def alerts(self):
        """What it was told of and is not over."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=30) as answer:
            return json.load(answer)
