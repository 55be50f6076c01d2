"""A browser, and a server in which something has happened that pages can show."""

import os
import random
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

TESTS = Path(__file__).resolve().parent.parent
sys.path += [str(TESTS / "clients"), str(TESTS / "ledger")]

from credit import EXAMPLE, Credit, applicants, by_infer, copy  # noqa: E402
from server import Started, until  # noqa: E402

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
MONITOR = "monitor: {every: 1s, window: 1h, false_alarm_in: 50m, quality: [{metric: accuracy, under: 0.6}]}"
KEY = "ledger: {key: header:x-customer}"
SCRIPT = "<script>document.title = 'owned'</script>\"'><img src=x onerror=\"document.title='owned'\">"
"""What a page must show as it is."""


class Console(Started, Credit):
    """A server of our own, with what the pages are asked about."""

    def get(self, path):
        status, answer = self.ask_json("GET", path)
        assert status == 200, (path, answer)
        return answer

    def rollout(self):
        return self.get("/api/v1/rollouts?limit=1")["items"][0]

    def asked(self, count, change=lambda row: row):
        """Asks about applicants, each with a key of its own, and tells what turned out to be true."""
        rows, truths = applicants()
        draw = random.Random(count)
        chosen = [draw.randrange(len(rows)) for _ in range(count)]
        connection, ids = self.connect(), []
        for key, at in enumerate(chosen):
            row = change(dict(rows[at]))
            headers = {"x-customer": f"customer-{count}-{key}"}
            ids.append(f"{by_infer(connection, [row], headers.items()).id}.0")
        connection.close()
        pairs = zip(ids, chosen, strict=True)
        self.label([{"prediction_id": id, "label": truths[at]} for id, at in pairs])


def richer(row):
    if row["Income"] is not None:
        row["Income"] *= 1.6
    return row


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Two versions; rows that drift, some of them labelled; an alert; a rollout that waits for a person."""
    folder = tmp_path_factory.mktemp("console")
    first = copy(folder / "first", MONITOR, KEY)
    second = copy(folder / "second", MONITOR, KEY, **{"timeout: 1s": "timeout: 2s"})
    prices = folder / "prices.yaml"
    prices.write_text("currency: EUR\ncpu_hour: 0.04\naccelerator_hour: 2\nmemory_gib_hour: 0.005\n")
    with Console(os.environ["WINDLASS_TEST_BINARY"], ["--prices", prices], folder / "server") as server:
        server.command("push", first, "--reference", EXAMPLE / "data" / "credit.csv")
        server.command("load", "credit")
        server.command("push", second, "--reference", EXAMPLE / "data" / "credit.csv")
        server.asked(600)
        server.asked(1500, richer)
        until(lambda: server.get("/api/v1/alerts")["items"], "an alert", 60)
        spec = {"shadow": "off", "steps": ["50%"], "hold": {"min": "1s", "min_keys": 10}, "bake": "1s"}
        spec |= {"guardrails": [{"metric": "error_rate", "worse_by": "5pp"}]}
        spec |= {"signals": [], "approval": "before-promote", "deadline": "1h"}
        body = {"version": 2, "spec": spec, "who": "ann", "why": SCRIPT}
        status, told = server.ask_json("POST", "/api/v1/models/credit/rollouts", body)
        assert status == 201, told
        until(lambda: server.rollout()["state"] == "step", "the rollout's step", 60)

        def waits():
            server.asked(300, richer)
            return server.rollout().get("phase") == "awaiting_approval"

        until(waits, "it waits", 120)
        yield server


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        program = os.environ["WINDLASS_TEST_CHROMIUM"]
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def look(browser, world):
    """Opens pages: `look("/console")`. Whatever a page asks of another host, and every error of its scripts, fails."""
    contexts, wrong = [], []

    def open_page(path, width=1440, height=1000, dark=False, server=world, **more):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            timezone_id="Asia/Kolkata",
            locale="en-GB",
            **more,
        )
        contexts.append(context)
        context.route(
            lambda url: not url.startswith((server.url, "data:")),
            lambda route: (wrong.append(route.request.url), route.abort()),
        )
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda it: wrong.append(it.text) if it.type == "error" else None)
        response = page.goto(server.url + path)
        page.status = response.status
        return page

    open_page.wrong = wrong
    yield open_page
    for context in contexts:
        context.close()
    assert not wrong, wrong
