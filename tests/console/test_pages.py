"""Every page with real data: what it says, what moves, what is done by a click, and whom it keeps out."""

import json
import os
import re
from pathlib import Path

import pytest
from conftest import SCRIPT, Console
from credit import applicants, copy, infer_body
from playwright.sync_api import expect
from server import until


def pages(world):
    """Every page there is, by a name for its picture."""
    rollout = world.rollout()["id"]
    alert = world.get("/api/v1/alerts")["items"][0]["id"]
    [[prediction]] = world.query('select prediction_id from "credit" where class is not null limit 1')
    return {
        "models": "/",
        "model": "/console/models/credit?last=15m",
        "drift": "/console/models/credit/drift",
        "try": "/console/models/credit/try",
        "versions": "/console/models/credit/versions",
        "version": "/console/models/credit/versions/2?against=1",
        "rollouts": "/console/rollouts",
        "rollout": f"/console/rollouts/{rollout}",
        "predictions": "/console/predictions?model=credit",
        "prediction": f"/console/predictions/{prediction}",
        "alerts": "/console/alerts",
        "alert": f"/console/alerts/{alert}",
        "events": "/console/events",
        "system": "/console/system",
    }


NAMES = ["models", "model", "drift", "try", "versions", "version", "rollouts", "rollout"]
NAMES += ["predictions", "prediction", "alerts", "alert", "events", "system"]


def settled(page):
    """What a page fetches by itself has come."""
    expect(page.locator(".loading")).to_have_count(0, timeout=30_000)
    return page


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440], ids=["phone", "desk"])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_can_be_used_by_everybody(world, look, name, width, dark):
    page = settled(look(pages(world)[name], width=width, dark=dark))
    assert page.status == 200
    assert page.title().endswith("· Windlass")
    # Nothing is wider than the window but what scrolls by itself.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(Path(os.environ["WINDLASS_TEST_AXE"]).read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("tags => axe.run(document, {runOnly: tags})", tags)
    broken = [
        (it["id"], it["help"], [(node["html"][:200], node["failureSummary"]) for node in it["nodes"][:3]])
        for it in found["violations"]
    ]
    assert not broken, json.dumps(broken, indent=1)
    if folder := os.environ.get("WINDLASS_TEST_SCREENS"):
        file = f"{name}-{'phone' if width < 600 else 'desk'}-{'dark' if dark else 'light'}.png"
        page.screenshot(path=Path(folder) / file, full_page=True)


def test_the_first_page_says_which_model_is_in_trouble_and_why(world, look):
    page = look("/")
    expect(page.locator("h1")).to_have_text("The model needs attention")
    row = page.locator("[data-model=credit]")
    expect(row).to_contain_text("Income")
    expect(row).to_contain_text("version 1")
    expect(row.locator(".verdicts")).to_contain_text("labelled")


def test_quality_is_shown_of_a_model_of_which_none_is_demanded(look, tmp_path):
    model = copy(tmp_path / "model", "monitor: {every: 1s, window: 1h}")
    with Console(os.environ["WINDLASS_TEST_BINARY"], [], tmp_path / "server") as server:
        server.command("push", model)
        server.command("load", "credit")
        page = look("/", server=server)
        quality = page.locator("[data-model=credit] .verdicts > div").first
        expect(quality).to_contain_text("not known yet")
        server.asked(300)
        # It comes by itself, in no colour: nobody said what is good.
        expect(quality).to_contain_text(re.compile(r"accuracy 0\.\d+ \(0\.\d+ to 0\.\d+\) +100 % labelled"), timeout=60_000)
        expect(quality.locator("[class^=verdict-]")).to_have_count(0)
        expect(page.locator("h1")).to_have_text("The model is well")
        page.close()


def test_numbers_arrive_while_the_page_is_open(world, look):
    page = look("/")
    expect(page.locator("#live")).to_have_text("live")
    rate = page.locator("[data-model=credit] [data-live=requests_per_s]")
    before = rate.text_content()
    connection = world.connect()
    rows, _ = applicants()
    body = json.dumps(infer_body(rows[:1]))
    headers = {"Content-Type": "application/json", "x-customer": "one"}

    def moved():
        for _ in range(20):
            connection.request("POST", "/v2/models/credit/infer", body, headers)
            connection.getresponse().read()
        return rate.text_content() not in (before, "0/s")

    until(moved, "the rate of requests moves", 60)


def test_all_charts_have_one_axis_of_time_and_a_moment_is_asked_why(world, look):
    page = settled(look("/console/models/credit?last=15m"))
    expect(page.locator(".charts .uplot")).to_have_count(7)
    expect(page.locator(".happened li").first).to_be_visible()
    # Each has its numbers in a table, and the command that prints them.
    for chart in page.locator("figure.chart").all():
        assert chart.locator("table tbody tr").count() > 0
        assert "windlass" in chart.locator(".command code").text_content()
    # Closer on one is closer on all: the labels of their axes are drawn, so what is asked is the scale itself.
    over = page.locator(".charts .u-over").first
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, y, steps=5)
    page.mouse.up()
    spans = page.evaluate("windlassAxes()")
    assert len(spans) == 7 and len({json.dumps(it) for it in spans}) == 1, spans
    assert spans[0][1] - spans[0][0] < 500, spans
    page.mouse.click(box["x"] + box["width"] * 0.7, y)
    expect(page.locator("#why h2")).to_contain_text("What changed around", timeout=30_000)


def test_labels_that_came_are_marked_on_every_chart(world, look):
    page = settled(look("/console/models/credit?last=6h"))
    marks = page.evaluate("windlassMarks()")
    came = [it for it in marks if it["kind"] == "labels"]
    # Each span of the chart that tells of them has its mark, and together they are all labels there are.
    chart = page.locator("figure.chart", has_text="Labels that came")
    assert came and chart.locator(".numbers tbody tr").count() == len(came), came
    [[labels]] = world.query("select count(*) from labels where model = 'credit'")
    assert sum(int(it["said"].replace(",", "")) for it in came) == labels, came
    assert {it["kind"] for it in marks} > {"labels", "version"}, marks
    at = [it["at"] for it in came]
    from_, to = page.evaluate("windlassAxes()")[0]
    assert at == sorted(at) and from_ - 10 <= at[0] and at[-1] <= to, (at, from_, to)


def test_drift_shows_both_distributions_and_says_what_it_means(world, look):
    page = look("/console/models/credit/drift?column=Income")
    expect(page.locator(".said").first).to_contain_text("Drift: its values are")
    assert page.locator("table.cells tbody tr").count() > 5


def test_text_from_outside_stays_text(world, look):
    rows, _ = applicants()
    row = {**rows[0], "Job": SCRIPT}
    id = world.predict([row]).id
    for path in [f"/console/predictions/{id}.0", f"/console/rollouts/{world.rollout()['id']}", "/console/rollouts", "/console/events"]:
        page = settled(look(path))
        expect(page.locator("main")).to_contain_text("<script>")
        assert page.title() != "owned", path
    assert page.locator("main img").count() == 0
    for path in ["/console/predictions?id=", "/console/predictions?model=credit&key=", "/console/events?kind="]:
        page = look(path + "%3Cscript%3Edocument.title='owned'%3C/script%3E")
        assert page.title() != "owned", path
        look.wrong[:] = [it for it in look.wrong if "status of 4" not in it]


def test_a_prediction_is_made_from_the_form(world, look):
    page = look("/console/models/credit/try")
    page.get_by_label(re.compile("^Age")).fill("42")
    page.get_by_role("button", name="Predict").click()
    story = page.locator("a[href^='/console/predictions/']").first
    expect(story).to_be_visible()
    expect(page.locator("main")).to_contain_text("curl")
    story.click()
    expect(page.locator("main")).to_contain_text("42")


def test_a_prediction_is_found_by_its_key(world, look):
    page = look("/console/predictions?model=credit&key=customer-600-7")
    rows = page.locator("main table tbody tr")
    expect(rows).to_have_count(1)
    rows.locator("a").first.click()
    expect(page.locator("main")).to_contain_text("customer-600-7")
    expect(page.locator("main")).to_contain_text(re.compile("good|bad"))


def test_a_rollout_is_approved_by_a_click_that_says_why(world, look):
    id = world.rollout()["id"]
    page = look(f"/console/rollouts/{id}")
    expect(page.locator("[aria-current=step]")).to_contain_text("awaiting approval")
    page.get_by_text("Approve", exact=True).first.click()
    form = page.locator("form[action$='/approve']")
    # Without a reason nothing is sent.
    form.get_by_role("button").click()
    assert world.rollout()["phase"] == "awaiting_approval"
    form.get_by_label("Reason").fill("it looks right")
    form.get_by_label("Your name").fill("ben")
    form.get_by_role("button").click()
    until(lambda: world.rollout()["state"] == "succeeded", "the candidate has all of the traffic", 60)
    page.reload()
    expect(page.locator(".log")).to_contain_text("by ben: it looks right")
    expect(page.locator(".stage-done").last).to_contain_text("succeeded")


def test_an_alert_is_seen_judged_and_silenced_by_clicks(world, look):
    id = world.get("/api/v1/alerts")["items"][0]["id"]
    page = look(f"/console/alerts/{id}")

    def act(summary, button, **fields):
        page.locator("summary", has_text=summary).click()
        form = page.locator("details[open] form")
        for label, value in fields.items():
            form.get_by_label(label.replace("_", " ")).fill(value)
        form.get_by_role("button", name=button, exact=True).click()
        expect(page.locator("details.act[open]")).to_have_count(0)

    act("Acknowledge", "Acknowledge", Your_name="ben")
    assert world.get(f"/api/v1/alerts/{id}")["acknowledged"]["who"] == "ben"
    expect(page.locator("main")).to_contain_text("seen by ben")
    act("Was it of use?", "It was useful", Reason="incomes rose", Your_name="ben")
    (feedback,) = world.get(f"/api/v1/alerts/{id}")["feedback"]
    assert (feedback["useful"], feedback["why"]) == (True, "incomes rose")
    act("Silence", "Silence", Reason="known")
    (silence,) = world.get("/api/v1/silences")
    assert silence["why"] == "known"
    expect(page.locator("main")).to_contain_text("nobody is told")
    page = look("/console/alerts")
    expect(page.locator("main")).to_contain_text("known")
    page.get_by_role("button", name="End").first.click()
    until(lambda: not world.get("/api/v1/silences"), "the silence is over")


def test_events_of_one_kind_are_asked_for_by_it(world, look):
    page = look("/console/events")
    page.get_by_label("Kind").select_option("version_state")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_label("Kind")).to_have_value("version_state")
    kinds = page.locator("tbody .chip").all_text_contents()
    assert kinds and set(kinds) == {"version state"}, kinds
    assert "kind=version_state" in page.locator(".command code").text_content()
    refused = look("/console/events?kind=version_states")
    assert refused.status == 400
    expect(refused.locator("[role=alert]")).to_contain_text("no event is of kind `version_states`")
    look.wrong.clear()


def test_nobody_elses_page_changes_anything(world):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    path = f"/console/rollouts/{world.rollout()['id']}/abort"
    for headers in [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://elsewhere.example"}, {"Origin": "null"}]:
        status, _, answer = world.ask("POST", path, "why=mine", {**form, **headers})
        assert status == 403, (headers, answer)
    status, headers, _ = world.ask("GET", path)
    assert status in (404, 405)
    # A link that leads here is followed; what a foreign page fetches is not answered.
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert world.ask("GET", "/console", headers=link)[0] == 200
    assert world.ask("GET", "/console", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    status, headers, _ = world.ask("GET", "/console")
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_what_is_asked_as_a_program_is_answered_as_before(world):
    assert world.ask_json("GET", "/") == (200, {"status": "alive"})


def test_what_a_browser_loads_is_small_and_kept(world, look):
    page = look("/")
    addresses = page.evaluate("[...document.querySelectorAll('script[src], link[href]')].map(it => it.src || it.href)")
    whole = 0
    for address in addresses:
        path = address.removeprefix(world.url)
        status, headers, body = world.ask("GET", path, headers={"Accept-Encoding": "gzip"})
        assert status == 200 and headers["content-encoding"] == "gzip"
        assert "immutable" in headers["cache-control"]
        whole += len(body)
    assert whole <= 150 * 1024, whole


def test_a_page_says_what_it_does_not_have(world, look):
    page = look("/console/models/nobody")
    assert page.status == 404
    expect(page.locator("[role=alert]")).to_be_visible()
    look.wrong.clear()


def test_a_server_that_is_gone_is_told(browser, look, tmp_path):
    with Console(os.environ["WINDLASS_TEST_BINARY"], [], tmp_path) as server:
        page = look("/", server=server)
        expect(page.locator("h1")).to_have_text("No models yet")
        expect(page.locator("main")).to_contain_text("windlass push")
        expect(page.locator("#live")).to_have_text("live")
        server.stop()
    expect(page.locator("#live")).to_contain_text("stale since", timeout=30_000)
    look.wrong.clear()
