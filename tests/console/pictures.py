"""Writes the pictures of docs/console.md: `windlass demo` tells its story, and pages are taken while it does.

    python tests/console/run.py --windlass target/release/windlass --pictures docs/console
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import FLAGS
from playwright.sync_api import expect, sync_playwright

AT = {
    "models": (r"^3/6.*?ALERT", "/console"),
    "drift": (r"^3/6.*?ALERT", "/console/models/car_loan/drift"),
    "rollout": (r"is rolled back from", "/console/rollouts/{rollout}"),
    "model": (r"^That was the whole loop", "/console/models/car_loan?last=15m"),
}
"""What the story must have said, and which page is taken then."""


def main():
    folder = Path(os.environ["WINDLASS_TEST_PICTURES"])
    folder.mkdir(parents=True, exist_ok=True)
    command = [os.environ["WINDLASS_TEST_BINARY"], "demo", "--port", "0", "--fast"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        with sync_playwright() as playwright:
            program = os.environ["WINDLASS_TEST_CHROMIUM"]
            browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
            take_all(browser, demo.stdout, folder)
            browser.close()
    finally:
        demo.terminate()
        demo.wait(60)


def take_all(browser, told, folder):
    left, said, url, rollout = dict(AT), "", None, None
    page = browser.new_page(viewport={"width": 1280, "height": 800}, timezone_id="UTC", locale="en-GB")
    for line in told:
        sys.stdout.write(line)
        said += line
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        url = url or (found and found[0])
        for name, (pattern, path) in list(left.items()):
            if not re.search(pattern, said, re.M | re.S):
                continue
            del left[name]
            if "{rollout}" in path:
                page.goto(f"{url}/console/rollouts?model=car_loan")
                rollout = page.locator("tbody th a").first.get_attribute("href").rsplit("/", 1)[1]
            page.goto(url + path.format(rollout=rollout))
            expect(page.locator(".loading")).to_have_count(0, timeout=60_000)
            expect(page.locator("#live")).to_have_text("live", timeout=10_000)
            page.screenshot(path=folder / f"{name}.png", full_page=name == "drift")
        if not left:
            return
    raise SystemExit(f"the demo ended before {', '.join(left)}")


main()
