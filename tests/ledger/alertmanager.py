"""A real Alertmanager, out of Debian's package, on a free port."""

import json
import re
import ssl
import subprocess
import urllib.request
from pathlib import Path

from server import until

# It tells nobody: what arrives is looked at through its API.
CONFIGURATION = "route: {receiver: none}\nreceivers: [{name: none}]\n"


class Alertmanager:
    """With a certificate, by an authority of `trustme`, it speaks TLS."""

    def __init__(self, program, folder, certificate=None, authority=None):
        folder = Path(folder)
        folder.mkdir()
        (folder / "alertmanager.yml").write_text(CONFIGURATION)
        self.scheme, self.context, more = "http", None, []
        if certificate:
            self.scheme, self.context = "https", ssl.create_default_context()
            authority.configure_trust(self.context)
            certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
            server = "{cert_file: server.pem, key_file: server.pem}"
            (folder / "web.yml").write_text(f"tls_server_config: {server}\n")
            more = ["--web.config.file", folder / "web.yml"]
        command = [program, "--config.file", folder / "alertmanager.yml", "--storage.path", folder]
        command += ["--web.listen-address", "127.0.0.1:0", "--cluster.listen-address=", *more]
        self.log = folder / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(it) for it in command],
                cwd=Path(program).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self):
        def listening():
            assert self.process.poll() is None, self.log.read_text()
            return re.search(r"address=(127\.0\.0\.1:\d+)", self.log.read_text())

        try:
            self.url = f"{self.scheme}://" + until(listening, "Alertmanager says where it listens")[1]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def alerts(self):
        """What it was told of and is not over."""
        url = f"{self.url}/api/v2/alerts"
        with urllib.request.urlopen(url, timeout=30, context=self.context) as answer:
            return json.load(answer)
