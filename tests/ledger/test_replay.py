"""What another version would have answered, as a report and as a test."""

import json
import os
import subprocess

from credit import applicants, copy
from server import until

ROWS, TRUTHS = applicants()


def second_version(server, tmp_path, ids):
    """The same scores, `bad` from 0.3 on. Gives the ids whose class is another there."""
    changes = {"threshold: 0.5": "threshold: 0.3", ", label: label": ""}
    server.command("push", copy(tmp_path / "second" / "credit", **changes))
    server.command("load", "credit:2")
    scores = dict(server.query("select prediction_id, score_bad from credit"))
    return {id for id in ids if 0.3 <= scores[id] < 0.5}


def replay(server, *arguments, status=0):
    arguments = ["credit", "--against", "credit:2", "--json", *arguments]
    return server.command("replay", *arguments, status=status)


def test_a_replay_tells_what_another_version_answers(server, tmp_path):
    ids = server.predict_many(ROWS[:300])
    truths = dict(zip(ids, TRUTHS, strict=False))
    server.label([{"prediction_id": id, "label": it} for id, it in truths.items()])
    changed = second_version(server, tmp_path, ids)
    assert len(changed) > 10
    classes = dict(server.query("select prediction_id, class from credit"))

    def new(id):
        return "bad" if id in changed else classes[id]

    right_before = sum(truths[id] == classes[id] for id in ids)
    right_after = sum(truths[id] == new(id) for id in ids)
    for _ in range(2):
        got = json.loads(replay(server, "--by", "Home", "--rows", "70"))
        assert (got["total"], got["replayed"], got["failed"]) == (300, 300, 0), got
        assert (got["changed"], got["labelled"]) == (len(changed), 300)
        assert (got["right_before"], got["right_after"]) == (right_before, right_after)
        assert sum(it["rows"] for it in got["slices"]) == 300
        assert sum(it["changed"] for it in got["slices"]) == len(changed)
        homes = {it["value"]: it["rows"] for it in got["slices"]}
        # An empty text is a missing one.
        told = [row["Home"] or "(none)" for row in ROWS[:300]]
        assert homes == {it: told.count(it) for it in homes}
        server.settle()
    share, drop = len(changed) / 300, (right_before - right_after) / 300
    replay(server, "--fail-over", f"changed={share + 0.001}", "--fail-over", "failed=0")
    replay(server, "--fail-over", f"changed={share - 0.001}", status=3)
    replay(server, "--fail-over", f"accuracy_drop={drop + 0.001}")
    replay(server, "--fail-over", f"accuracy_drop={drop - 0.001}", status=3)
    replay(server, "--fail-over", "nothing=1", status=2)
    # Nobody got those answers, and none of them is recorded.
    assert server.query("select count(*) from credit") == [[300]]


def test_a_replay_goes_on_where_it_was_killed(server, tmp_path):
    ids, state = server.predict_many(ROWS[:300]), tmp_path / "replay.json"
    changed = second_version(server, tmp_path, ids)
    arguments = ["--state", state, "--rows", "2"]
    command = [os.environ["WINDLASS_TEST_BINARY"], "--server", server.url, "replay", "credit"]
    command += ["--against", "credit:2", *arguments]
    going = subprocess.Popen(
        [str(it) for it in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(state.exists, "it is on its way", 30)
    going.kill()
    going.wait()
    assert json.loads(state.read_text())["sum"]["replayed"] < 300
    # What is predicted meanwhile is no part of it.
    server.predict_many(ROWS[:20])
    got = json.loads(replay(server, *arguments))
    assert (got["total"], got["replayed"], got["changed"]) == (300, 300, len(changed))
    assert not state.exists()
    assert json.loads(replay(server))["replayed"] == 320
