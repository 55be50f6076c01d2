"""How much, how fast, by whom and at what cost; and a budget that holds."""

import json

import pytest

from credit import applicants, ask, by_infer, copy
from server import until

ROWS, _ = applicants()


PRICES = "currency: USD\ncpu_hour: 3600000\nmemory_gib_hour: 0.01\n"


def test_throughput_errors_callers_and_costs(start, tmp_path):
    model = copy(tmp_path / "credit", "ledger: {caller: header:x-client}")
    (tmp_path / "prices.yaml").write_text(PRICES)
    with start("--prices", tmp_path / "prices.yaml", paths=[model]) as server:
        connection = server.connect()
        for caller, requests, rows in [("branch", 6, 10), ("web", 4, 1)]:
            for _ in range(requests):
                by_infer(connection, ROWS[:rows], {"x-client": caller})
        for _ in range(3):
            status, _, answer = ask(
                connection, "/v2/models/credit/infer", {"inputs": []}, {"x-client": "web"}
            )
            assert status == 400, answer
        connection.close()

        def kpi(**query):
            query = "&".join(f"{name}={value}" for name, value in query.items())
            status, answer = server.ask_json("GET", f"/api/v1/models/credit/kpi?{query}")
            assert status == 200, answer
            assert answer["currency"] == "USD"
            return answer["groups"]

        for _ in range(2):
            (all,) = kpi()
            assert (all["rows"], all["requests"]) == (67, 13)
            assert all["error_rate"] == pytest.approx(3 / 67)
            groups = {it["caller"]: it for it in kpi(by="caller")}
            assert {name: (it["rows"], it["requests"]) for name, it in groups.items()} == {
                "branch": (60, 6),
                "web": (7, 7),
            }
            assert groups["web"]["error_rate"] == pytest.approx(3 / 7)
            assert sum(it["cost"] for it in groups.values()) == pytest.approx(all["cost"])
            # A core's second costs 1000; memory next to nothing.
            assert all["cost"] == pytest.approx(1000 * all["cpu_s"], rel=0.01)
            assert all["cost"] > 0
            ((cost,),) = server.query("select sum(cost) from credit")
            assert cost == pytest.approx(all["cost"], rel=1e-4)
            assert sum(it["rows"] for it in kpi(every="1m")) == 67
            (version,) = kpi(by="version")
            assert (version["version"], version["rows"]) == (1, 67)
            total = all["total_us"]
            assert 0 < total["p50"] <= total["p90"] <= total["p99"]
            server.settle()
        printed = json.loads(
            server.command("kpi", "credit", "--last", "1h", "--by", "caller", "--json")
        )
        assert {it["caller"] for it in printed["groups"]} == {"branch", "web"}


def test_a_budget_refuses_what_it_has_no_room_for(start, tmp_path):
    model = copy(tmp_path / "credit", "budget: {cost: 1, per: 1h, over: 0%}")
    (tmp_path / "prices.yaml").write_text(PRICES)
    flags = ["--prices", tmp_path / "prices.yaml"]

    def over(server):
        connection = server.connect()
        status, headers, answer = ask(connection, "/invocations", {"dataframe_records": ROWS[:50]})
        connection.close()
        assert status in (200, 429), answer
        if status == 429:
            assert headers["windlass-code"] == "over_budget"
            assert int(headers["Retry-After"]) > 0
        return status == 429

    with start(*flags, paths=[model]) as server:
        assert not over(server), "the first request is answered"
        until(lambda: over(server), "the budget is spent", 30)
        assert over(server)
        status, answer = server.ask_json("GET", "/api/v1/models/credit/kpi")
        assert (answer["budget"]["verdict"], answer["budget"]["cost"]) == ("shed", 1.0), answer
        assert answer["budget"]["spent"] >= 1
    # What was spent is in the ledger: a restart does not make it new.
    with start(*flags, paths=[model]) as server:
        assert over(server)
