"""Versions share a model's traffic: who answers whom, what is known of each, and how it ends."""

import json
import time

import pytest
from credit import applicants, ask, by_infer, copy, infer_body
from server import until
from test_metrics import Buyers, post
from test_rollouts import KEY, Callers, Hook

SPEC = {"metric": "error_rate", "equivalent_within": "1pp", "before": "0s"}


def begin(server, versions=(1, 2), shares=(), **spec):
    body = {"versions": versions, "shares": shares, "spec": {**SPEC, **spec}, "who": "ann"}
    return server.ask_json("POST", "/api/v1/models/credit/experiments", body)


def begun(server, **more):
    status, told = begin(server, **more)
    assert status == 201, told
    return told


def told(server, id):
    status, told = server.ask_json("GET", f"/api/v1/experiments/{id}")
    assert status == 200, told
    return told


def running(server, id):
    until(lambda: told(server, id)["state"] == "running", "it runs", 60)


def counted(server, id, keys):
    """The answer about the second version, once it rests on so many keys of both."""

    def seen():
        [known] = told(server, id)["answers"] or [{}]
        n = sum(known.get(it, {}).get("n", 0) for it in ("figure", "control"))
        return known if n == keys else None

    return until(seen, "all are counted", 60)


def answer(server, id, *wanted):
    """What is known once that is one of these."""

    def seen():
        found = told(server, id)
        assert "failed" not in found, found
        [known] = found["answers"] or [{"answer": None}]
        return known if known["answer"] in wanted else None

    return until(seen, f"it is known: {wanted}", 120)


def went(server, row, keys):
    """The version that answers each key."""
    connection, found = server.connect(), {}
    for key in keys:
        headers = {"x-customer": key}.items()
        status, _, answer = ask(connection, "/v2/models/credit/infer", infer_body([row]), headers)
        assert status == 200, answer
        found[key] = answer["model_version"]
    connection.close()
    return found


@pytest.fixture
def two(start, tmp_path):
    """A server with a second version whose threshold is another; what is pushed first fails at nothing."""

    def two(*flags, **changes):
        paths = [copy(tmp_path / "one", KEY)]
        server = start(*flags, paths=paths)
        server.command("push", copy(tmp_path / "two", KEY, **(changes or {"0.5": "0.4"})))
        return server

    return two


def test_a_key_stays_where_it_is_through_a_kill(two, start, tmp_path):
    rows, _ = applicants()
    keys = [f"c{key}" for key in range(300)]
    server = two()
    it = begun(server, shares=["80%", "20%"])
    running(server, it["id"])
    before = went(server, rows[0], keys)
    assert 30 < list(before.values()).count("2") < 90, before
    server.kill()
    with start(paths=[tmp_path / "one"]) as server:
        running(server, it["id"])

        def shared():
            return went(server, rows[0], keys) == before

        until(shared, "the same keys have the same versions", 60)
        after = told(server, it["id"])
        assert [it["arm"] for it in after["traffic"]] == ["arm 0", "arm 1"], after
        arms = server.query(
            "select distinct key, version, arm from credit where arm like 'arm %' order by key"
        )
        assert len(arms) == 300
        for key, version, arm in arms:
            assert before[key] == str(version) and arm == f"arm {version - 1}"
        shown = server.command("experiment", "stop", "credit", "--who", "bob", "--why", "enough")
        assert "was stopped by bob; `credit:1` has the traffic" in shown, shown
        assert set(went(server, rows[0], keys[:40]).values()) == {"1"}
        _, traffic = server.ask_json("GET", "/api/v1/models/credit/traffic")
        assert traffic == {"version": 1}


def test_what_fails_is_worse_and_what_does_not_is_as_good(two):
    rows, _ = applicants()
    with two() as server:
        it = begun(server, equivalent_within="20pp")
        with Callers(server, rows) as callers:
            known = answer(server, it["id"], "equivalent")
        assert {status for status, _ in callers.counts} == {200}
        assert known["said"].startswith(
            "`credit:2` is as good as `credit:1`, within 20pp: error_rate 0.00% (0 of "
        ), known
        shown = server.command("experiment", "show", "credit")
        assert known["said"].split(":")[0] in shown, shown
        # It goes to the better one, whose traffic is the model's then.
        shown = server.command("experiment", "stop", "credit", "--promote", "credit:2")
        assert "`credit:2` has the traffic" in shown, shown
        _, traffic = server.ask_json("GET", "/api/v1/models/credit/traffic")
        assert traffic == {"version": 2}
        assert set(went(server, rows[0], ["a", "b", "c"]).values()) == {"2"}
        ended = told(server, it["id"])
        assert ended["over"] and ended["state"] == "stopped"
        assert "is as good as `credit:1`" in ended["events"][-1]["said"], ended


def test_a_version_that_fails_is_found_worse(two):
    rows, _ = applicants()
    with two(**{"timeout: 1s": "timeout: 1us"}) as server:
        it = begun(server, equivalent_within="1pp")
        with Callers(server, rows):
            known = answer(server, it["id"], "worse")
        assert known["low"] > 0.5 and known["figure"]["value"] > 0.9, known
        # Who watches sees what happened and the answer, and is done.
        watched = server.command("experiment", "watch", "credit")
        assert "the keys of `credit` are shared" in watched and "is worse than" in watched, watched
        lines = server.command("--json", "experiment", "watch", "credit").splitlines()
        told = [json.loads(line).get("answers", []) for line in lines]
        assert [[it["answer"] for it in each] for each in told] == [[], ["worse"]], lines


def metrics_of(server, name):
    """What `/metrics` has of it, by its labels."""
    _, _, metrics = server.ask("GET", "/metrics")
    lines = [it for it in metrics.decode().splitlines() if it.startswith(name + "{")]
    return {line[len(name) : line.rindex(" ")]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_everybody_hears_of_what_becomes_known(two, tmp_path):
    rows, _ = applicants()
    with Hook() as hook:
        receivers = tmp_path / "receivers.yaml"
        receivers.write_text(
            "receivers:\n"
            f"  - {{name: hook, kind: webhook, url: 'http://127.0.0.1:{hook.server_port}/', "
            "allow_private: true, experiments: true}\n"
        )
        with two("--alerts", receivers, **{"timeout: 1s": "timeout: 1us"}) as server:
            listener = server.connect()
            listener.request("GET", "/api/v1/events/stream?model=credit")
            stream = listener.getresponse()
            it = begun(server)
            with Callers(server, rows):
                known = answer(server, it["id"], "worse")
                until(lambda: len(hook.told) == 2, "the webhook was told of the answer", 60)

                def shown():
                    answers = metrics_of(server, "windlass_experiment_answer")
                    return answers.get('{model="credit",version="2",answer="worse"}') == 1

                until(shown, "so is Prometheus")
            keys = metrics_of(server, "windlass_experiment_keys")
            assert min(keys.values()) > 20 and len(keys) == 2, keys
            answers = metrics_of(server, "windlass_experiment_answer")
            # One answer of the two versions, as the control is compared with nothing.
            assert len(answers) == 5 and sum(answers.values()) == 1, answers
            server.command("experiment", "stop", "credit", "--who", "bob", "--why", "enough")
            until(lambda: len(hook.told) == 3, "the webhook was told of the end")
            assert [it["kind"] for it in hook.told] == ["experiment"] * 3
            ended = told(server, it["id"])
            said = [it["said"] for it in ended["events"]]
            assert [it["event"]["said"] for it in hook.told] == said
            first, second, last = [it["event"] for it in hook.told]
            assert "the keys of `credit` are shared" in first["said"] and "answers" not in first
            [told_of] = second["answers"]
            assert (told_of["version"], told_of["answer"]) == (2, "worse"), second
            assert second["said"] == told_of["said"] and second["to"] == "running", second
            assert known["said"].split(":")[1] == told_of["said"].split(":")[1], known
            assert (last["to"], last["who"]) == ("stopped", "bob"), last
            assert [it["experiment"]["over"] for it in hook.told] == [False, False, True]
            assert hook.told[1]["experiment"]["id"] == it["id"]
            heard, end = [], time.monotonic() + 60
            while len(heard) < 4:
                line = stream.readline().decode()
                assert line and time.monotonic() < end, heard
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    heard += [event["detail"]["said"]] if event["kind"] == "experiment" else []
            assert heard[1:] == said
            listener.close()
            # What is over is not told of any longer.
            until(lambda: not metrics_of(server, "windlass_experiment_keys"), "no metrics of it")


def test_labels_tell_which_one_is_right(two):
    rows, _ = applicants()
    with two() as server:
        command = ["experiment", "start", "credit:1", "credit:2", "--metric", "accuracy"]
        shown = server.command(*command, "--margin", "1pp", "--before", "0s", "--why", "to know")
        assert "begun by anonymous: to know" in shown, shown
        [it] = json.loads(server.command("--json", "experiment", "list", "--live"))
        running(server, it["id"])
        connection, labels = server.connect(), []
        for number in range(400):
            row = rows[number]
            answered = by_infer(connection, [row], {"x-customer": f"c{number}"}.items())
            [(id, name, _)] = answered.rows()
            labels.append((id, name))
        connection.close()
        versions = dict(server.query("select prediction_id, version from credit"))
        # Of the second version every fourth answer is wrong.
        wrong = {"good": "bad", "bad": "good"}
        sent = []
        for place, (id, name) in enumerate(labels):
            is_wrong = versions[id] == 2 and place % 4 == 0
            sent.append({"prediction_id": id, "label": wrong[name] if is_wrong else name})
        server.label(sent)
        known = answer(server, it["id"], "worse")
        assert known["control"]["value"] == 1.0 and 0.6 < known["figure"]["value"] < 0.9, known
        assert "accuracy" in known["said"], known


def test_what_keys_did_before_is_used(two):
    """Whoever was hard to tell before is hard to tell in the experiment."""
    rows, _ = applicants()
    with two() as server:
        connection = server.connect()

        def all_keys(every):
            for key in range(500):
                headers = {"x-customer": f"c{key}"}.items()
                [(id, name, _)] = by_infer(connection, rows[key : key + 1], headers).rows()
                # Every third key is called wrongly, and of every so many it changes.
                is_wrong = (key % 3 == 0) != (key % every == 0)
                label = {"good": "bad", "bad": "good"}[name] if is_wrong else name
                yield {"prediction_id": id, "label": label}

        server.label(list(all_keys(every=1_000)))
        it = begun(server, metric="brier", equivalent_within="0.2", before="1h")
        running(server, it["id"])
        server.label(list(all_keys(every=50)))
        connection.close()

        known = counted(server, it["id"], 500)
        assert known.get("before_keys") == 500 and known["variance_saved"] > 0.5, known
        assert "(what 500 keys did before took " in known["said"], known


def test_a_wrong_split_says_that_and_nothing_else(two):
    """Something on the way keeps the token of the first answer, and sends it with everybody's requests."""
    rows, _ = applicants()
    with two() as server:
        it = begun(server, equivalent_within="20pp")
        running(server, it["id"])
        connection, path = server.connect(), "/v2/models/credit/infer"
        _, first, _ = ask(connection, path, infer_body(rows[:1]))
        same = {"windlass-route-token": first["windlass-route-token"]}.items()
        arms = set()
        for row in rows[:200]:
            status, _, answered = ask(connection, path, infer_body([row]), same)
            assert status == 200, answered
            arms.add(answered["model_version"])
        connection.close()
        assert len(arms) == 1, arms
        known = answer(server, it["id"], "void")
        assert known["said"] == (
            "`credit:2` cannot be told from `credit:1`: keys are not split as intended"
        )
        nothing = {"low", "high", "expected_in_s", "before_keys", "variance_saved"}
        assert not nothing & known.keys(), known
        for figure in (known["figure"], known["control"]):
            assert figure.keys() == {"n"}, known

        def counted():
            found = told(server, it["id"])
            return found if sum(found["keys"]) == 201 else None

        found = until(counted, "all are counted", 60)
        assert found["void"] and found["split_e_value"] > 1_000, found
        shown = server.command("experiment", "show", "credit")
        assert "void: keys are not split as intended (" in shown, shown
        assert "error_rate 0" not in shown and "as good as" not in shown, shown
        until(
            lambda: told(server, it["id"])["events"][-1]["said"] == known["said"],
            "it is an event",
        )
        answers = metrics_of(server, "windlass_experiment_answer")
        assert answers['{model="credit",version="2",answer="void"}'] == 1, answers
        # Also its end says nothing else.
        server.command("experiment", "stop", "credit", "--who", "bob")
        last = told(server, it["id"])["events"][-1]["said"]
        assert last == (
            "`credit:1` has all of the traffic again: stopped by bob; " + known["said"]
        ), last


REVENUE = ["--metric", "posted.revenue", "--better", "higher", "--before", "0s"]


@pytest.mark.parametrize(
    ("prices", "margin", "want"),
    [((100, 80), "1%", "worse"), ((80, 100), "1%", "better"), ((100, 100), "15%", "equivalent")],
)
def test_what_versions_bring_is_compared(two, prices, margin, want):
    rows, _ = applicants()
    with two() as server:
        command = ["experiment", "start", "credit:1", "credit:2", *REVENUE, "--margin", margin]
        # What nobody has posted is refused by name.
        status, refused = begin(server, metric="posted.revenue", better="higher")
        assert status == 422 and "nobody has posted `revenue`" in refused["error"]["message"], refused
        connection = server.connect()
        first = by_infer(connection, rows[:1])
        connection.close()
        post(server, [{"prediction_id": first.id, "name": "revenue", "value": 100}])
        shown = server.command(*command)
        assert "by posted.revenue " in shown, shown
        [it] = json.loads(server.command("--json", "experiment", "list", "--live"))
        running(server, it["id"])
        with Buyers(server, rows, {"1": prices[0], "2": prices[1]}):
            known = answer(server, it["id"], want)
        assert known["control"]["n"] > 20 and "expected_in_s" not in known, known
        for figure, price in [(known["control"], prices[0]), (known["figure"], prices[1])]:
            assert abs(figure["value"] - price) < 0.25 * price, known
        shown = server.command("experiment", "show", "credit")
        words = {
            "worse": "`credit:2` is worse than `credit:1`: posted.revenue ",
            "better": "`credit:2` is better than `credit:1`: posted.revenue ",
            "equivalent": f"`credit:2` is as good as `credit:1`, within {margin}: posted.revenue ",
        }[want]
        assert known["said"].startswith(words) and words in shown, (known, shown)


def test_what_a_key_brought_before_is_used_and_what_is_not_known_is_expected(two):
    rows, _ = applicants()
    with two() as server:
        connection = server.connect()

        def bought(factor):
            metrics = []
            for key in range(500):
                headers = {"x-customer": f"c{key}"}.items()
                answered = by_infer(connection, rows[:1], headers)
                # Some spend a lot, and nobody changes much.
                value = (100 + 90 * (key % 7)) * (1 + factor * (key % 3))
                metrics.append({"prediction_id": answered.id, "name": "revenue", "value": value})
            post(server, metrics)

        bought(0)
        it = begun(
            server,
            metric="posted.revenue",
            better="higher",
            equivalent_within="0.2%",
            before="1h",
            alpha=0.001,
        )
        running(server, it["id"])
        bought(0.02)
        connection.close()

        known = counted(server, it["id"], 500)
        assert known["answer"] == "not yet" and known["expected_in_s"] > 0, known
        assert known["before_keys"] == 500 and known["variance_saved"] > 0.9, known
        assert " is not yet told from `credit:1`, expected in " in known["said"], known


def test_a_version_that_nobody_records_is_not_compared(two, tmp_path):
    with two() as server:
        off = "ledger: {key: header:x-customer, mode: off}"
        server.command("push", copy(tmp_path / "three", off, **{"0.5": "0.3"}))
        status, answer = begin(server, versions=[1, 3])
        assert status == 409, answer
        why = answer["error"]["message"]
        assert "`credit:3` cannot be compared: its `ledger.mode` is `off`" in why, why


def test_it_ends_by_itself_and_a_key_may_be_an_input(two):
    rows, _ = applicants()
    with two() as server:
        it = begun(server, deadline="6s", key="input:Job")
        running(server, it["id"])
        server.predict_many(rows[:40], each=1)
        until(lambda: told(server, it["id"])["over"], "its time is over", 30)
        ended = told(server, it["id"])
        assert ended["state"] == "deadline", ended
        assert "`credit:1` has all of the traffic again: its 6s are over" in ended["events"][-1]["said"]
        listed = server.command("experiment", "list", "credit")
        assert "has ended, as its time is over; `credit:1` has the traffic" in listed, listed
        arms = server.query(
            'select distinct key, "Job", version from credit where arm like \'arm %\' order by key'
        )
        # All of a job have one version.
        assert len(arms) == len({key for key, _, _ in arms}) > 1, arms
        assert all(key == job for key, job, _ in arms), arms


def test_a_bandit_moves_the_shares_and_says_so(two):
    rows, _ = applicants()
    with two(**{"timeout: 1s": "timeout: 1us"}) as server:
        allocation = {"thompson": {"floor": "5%", "every": "1s"}}
        it = begun(server, allocation=allocation, deadline="10m")
        with Callers(server, rows):
            running(server, it["id"])
            until(
                lambda: told(server, it["id"])["traffic"][1]["percent"] == 5.0,
                "the one that fails has as little as it may",
                120,
            )
            known = answer(server, it["id"], "worse")
        assert known["low"] > 0.3, known
        events = told(server, it["id"])["events"]
        moves = [it["said"] for it in events if not it.get("answers")]
        assert len(moves) >= 2 and "shares move to `credit:1` " in moves[-1], events
        _, all = server.ask_json("GET", "/api/v1/events?limit=1000")
        shares = [
            it["detail"]["shares"] for it in all["items"] if it["detail"].get("shares")
        ]
        assert all_are_whole(shares) and shares[-1] != shares[0], shares


def all_are_whole(shares):
    return all(abs(sum(arm["propensity"] for arm in of) - 1) < 1e-9 for of in shares)


def test_what_cannot_be_is_refused_and_nothing_comes_between(two):
    with two() as server:
        for more, code, why in [
            ({"versions": [1]}, 422, "there are 1, want 2 to 16"),
            ({"versions": [1, 1]}, 400, "version 1 is there twice"),
            ({"versions": [1, 9]}, 404, "9"),
            ({"versions": [2, 1]}, 409, "name that one first"),
            ({"shares": ["50%", "40%"]}, 422, "they are 90% together"),
            ({"shares": ["50%", "x"]}, 422, "`x` is not a share"),
            ({"metric": "roc_auc"}, 400, "not a mean over rows"),
            ({"metric": "posted.x", "better": "higher"}, 422, "nobody has posted `x`"),
            ({"metric": "cost_per_1k", "equivalent_within": "1%"}, 422, "--prices"),
            ({"metric": "mae"}, 422, "has no `mae`"),
            ({"metric": "latency"}, 422, "needs the budget"),
            ({"equivalent_within": "0pp"}, 400, "is not over 0"),
            ({"deadline": "0s"}, 422, "deadline"),
            ({"unknown": 1}, 400, "unknown field"),
            ({"allocation": {"thompson": {"floor": "60%"}}}, 422, "floor"),
        ]:
            status, told = begin(server, **more)
            assert status == code and why in told["error"]["message"], (more, status, told)
        it = begun(server)
        status, told = begin(server)
        assert status == 409 and "an experiment of `credit` is not over" in told["error"]["message"], told
        status, told = server.ask_json("POST", "/api/v1/models/credit/rollouts", {"version": 2})
        assert status == 409 and "windlass experiment stop credit" in told["error"]["message"], told
        status, told = server.ask_json("PUT", "/api/v1/models/credit/traffic", {"version": 2})
        assert status == 409 and "windlass experiment stop credit" in told["error"]["message"], told
        path = f"/api/v1/experiments/{it['id']}/stop"
        status, told = server.ask_json("POST", path, {"promote": 7})
        assert status == 409 and "`credit:7` is not in the experiment" in told["error"]["message"], told
        status, told = server.ask_json("POST", path, {"who": "x" * 500})
        assert status == 400 and "`who`" in told["error"]["message"], told
        status, told = server.ask_json("POST", path, {})
        assert status == 200, told
        status, told = server.ask_json("POST", path, {})
        assert status == 409 and "is over" in told["error"]["message"], told
        status, told = server.ask_json("GET", "/api/v1/experiments/nothing")
        assert status == 404 and "no experiment `nothing`" in told["error"]["message"], told
        spec = {"version": 2, "spec": {"shadow": "off"}}
        status, told = server.ask_json("POST", "/api/v1/models/credit/rollouts", spec)
        assert status == 201, told
        status, told = begin(server)
        assert status == 409 and "windlass rollout abort credit" in told["error"]["message"], told
