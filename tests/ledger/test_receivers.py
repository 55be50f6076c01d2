"""Alerts reach a real Alertmanager and a real mail server over TLS, and nobody whose certificate is not believed."""

import asyncio
import os
import ssl
import subprocess
import threading
from email import message_from_bytes
from email.header import decode_header, make_header

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult
from alertmanager import Alertmanager
from credit import applicants, copy
from server import until

# Every applicant's income is beyond what the manifest says there can be.
MONITOR = (
    "monitor: {every: 1s, window: 1h, false_alarm_in: 50m, "
    "inputs: {rows_min: 50, columns: {Income: {greatest: 1}}}}"
)
USER, PASSWORD = "windlass", "a pass: word"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def certificate(authority):
    return authority.issue_cert("127.0.0.1")


class Mails:
    """A mail server on a free port, and what it has taken. With `starttls` it takes nothing before TLS, nor without the
    password; otherwise TLS begins with the first byte."""

    def __init__(self, certificate, starttls):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self.taken, self.wrong = [], 0
        self.loop = asyncio.new_event_loop()
        more = {}
        if starttls:
            more = {
                "tls_context": context,
                "require_starttls": True,
                "auth_required": True,
                "authenticator": self.authenticate,
            }
        listening = self.loop.create_server(
            lambda: SMTP(self, loop=self.loop, **more),
            "127.0.0.1",
            0,
            ssl=None if starttls else context,
        )
        self.server = self.loop.run_until_complete(listening)
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.server.close()
        self.loop.close()

    def authenticate(self, server, session, envelope, mechanism, data):
        good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        self.wrong += not good
        return AuthResult(success=good, handled=False)

    async def handle_DATA(self, server, session, envelope):
        assert server.transport.get_extra_info("ssl_object"), "it came without TLS"
        self.taken.append(envelope)
        return "250 OK"

    def subjects(self):
        mails = [message_from_bytes(it.content) for it in self.taken]
        return [str(make_header(decode_header(it["Subject"]))) for it in mails]


def asked(server):
    rows, _ = applicants()
    server.predict_many(rows[:100], each=100)


def test_alerts_go_over_tls_to_who_is_believed(start, tmp_path, authority, certificate):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    program = os.environ["WINDLASS_TEST_ALERTMANAGER"]
    with (
        Alertmanager(program, tmp_path / "alertmanager", certificate, authority) as alertmanager,
        Mails(certificate, starttls=True) as starttls,
        Mails(certificate, starttls=False) as implicit,
    ):
        mail = (
            "kind: smtp, host: 127.0.0.1, from: w@example.org, to: [ann@example.org], "
            "allow_private: true, ca: ca.pem"
        )
        login = f"port: {starttls.port}, user: {USER}"
        manager = f"kind: alertmanager, url: '{alertmanager.url}', allow_private: true"
        receivers = tmp_path / "alerts.yaml"
        receivers.write_text(
            "group: {wait: 0s}\n"
            "retry: {attempts: 1}\n"
            "receivers:\n"
            f"- {{name: am, {manager}, ca: ca.pem}}\n"
            f"- {{name: stranger, {manager}}}\n"
            f"- {{name: starttls, {mail}, {login}, password: '{PASSWORD}'}}\n"
            f"- {{name: wrong, {mail}, {login}, password: 'another'}}\n"
            f"- {{name: implicit, {mail}, port: {implicit.port}, tls: implicit}}\n"
        )
        rule = "alerts: [{name: odd, monitor: data_quality, severity: page}]"
        with start("--alerts", receivers, paths=[copy(tmp_path / "m", MONITOR, rule)]) as server:
            asked(server)
            until(alertmanager.alerts, "Alertmanager knows of it")
            until(lambda: starttls.taken, "the mail came after STARTTLS")
            until(lambda: implicit.taken, "the mail came over TLS")
            assert all("odd" in it or "credit" in it for it in starttls.subjects()), (
                starttls.subjects()
            )
            assert starttls.taken[0].rcpt_tos == ["ann@example.org"]

            def dead():
                status, answer = server.ask_json("GET", "/api/v1/deliveries")
                assert status == 200, answer
                found = {it["receiver"]: it for it in answer}
                return found if {"stranger", "wrong"} <= set(found) else None

            dead = until(dead, "those that cannot be told are dead letters")
            assert "certificate" in str(dead["stranger"]), dead["stranger"]
            assert "535" in str(dead["wrong"]), dead["wrong"]
            assert set(dead) == {"stranger", "wrong"}, dead
            assert starttls.wrong == 1
            # What the server printed and what it tells hold no password.
            assert PASSWORD not in str(dead) and "another" not in str(dead)


@pytest.mark.parametrize(
    ("receiver", "words"),
    [
        ("kind: webhook, url: 'https://127.0.0.1', ca: no.pem", "receivers[0].ca"),
        ("kind: webhook, url: 'https://127.0.0.1', ca: alerts.yaml", "receivers[0].ca"),
        ("kind: webhook, url: 'http://127.0.0.1', ca: alerts.yaml", "receivers[0].ca"),
        ("kind: webhook, url: 'ftp://127.0.0.1'", "receivers[0].url"),
        (
            "kind: smtp, host: h, from: a@b, to: [a@b], user: u, password: p, tls: none",
            "receivers[0].password",
        ),
        ("kind: smtp, host: h, from: a@b, to: [a@b], user: u", "receivers[0].password"),
    ],
)
def test_receivers_that_cannot_be_told_safely_are_refused(tmp_path, receiver, words):
    receivers = tmp_path / "alerts.yaml"
    receivers.write_text(f"receivers: [{{name: it, {receiver}}}]\n")
    command = [os.environ["WINDLASS_TEST_BINARY"], "serve", "--port", "0"]
    command += ["--data-dir", tmp_path / "data", "--alerts", receivers]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ended.returncode != 0 and words in ended.stderr, ended
