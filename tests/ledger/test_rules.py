"""Prometheus takes the rules that are made for it, and they say what is wrong."""

import json
import os
import subprocess

from credit import copy

OBJECTIVES = (
    "monitor: {objectives: [{name: up, kind: errors, target: 99}, "
    "{name: fast, kind: latency, target: 99, under: 100ms}]}"
)

# Six hours in which one of two hundred requests fails and one of two hundred is slow, then four in which a third fail
# and half are slow.
SERIES = """
  - series: 'nv_inference_request_success{model="credit",version="1"}'
    values: '0+199x360 71640+65x240'
  - series: 'nv_inference_request_failure{model="credit",version="1",reason="BACKEND"}'
    values: '0+1x360 360+35x240'
  - series: 'nv_inference_request_failure{model="credit",version="1",reason="OTHER"}'
    values: '0+100x600'
  - series: 'windlass_request_duration_seconds_bucket{model="credit",version="1",le="0.1"}'
    values: '0+198x360 71280+33x240'
  - series: 'windlass_request_duration_seconds_count{model="credit",version="1"}'
    values: '0+199x360 71640+65x240'
  - series: 'windlass_ledger_trouble'
    values: '0x480 1x120'
"""


def burns(severity, objective, share):
    return {
        "exp_labels": {"severity": severity, "model": "credit", "objective": objective},
        "exp_annotations": {
            "summary": f"objective `{objective}` of credit (99 % over 30d) is used up too fast: "
            f"{share}% are bad"
        },
    }


def test_rules_are_taken_and_fire_when_they_should(start, tmp_path):
    promtool, rules = os.environ["WINDLASS_TEST_PROMTOOL"], tmp_path / "rules.yml"
    with start(paths=[copy(tmp_path / "model", OBJECTIVES)]) as server:
        rules.write_text(server.command("rules"))
        status, metrics = server.ask("GET", "/metrics")[::2]
        assert status == 200
    # Every series that they are about is there.
    text = rules.read_text()
    for name in ("nv_inference_request_failure", "windlass_ledger_trouble", "windlass_run_cpu"):
        assert name in text and name in metrics.decode(), name
    check = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True)
    assert check.returncode == 0 and "SUCCESS" in check.stdout, check

    def asked(name, at, alerts):
        return {"alertname": name, "eval_time": at, "exp_alerts": alerts}

    # An hour of 35 % and of 49 %; in all hours that there were, a little over 4 % each.
    burning = [
        burns("page", "up", "35"),
        burns("ticket", "up", "4.295"),
        burns("page", "fast", "49.23"),
        burns("ticket", "fast", "4.143"),
    ]
    tests = [
        asked("WindlassObjectiveBurns", "5h50m", []),
        asked("WindlassLedgerCannotRecord", "5h50m", []),
        asked("WindlassObjectiveBurns", "7h30m", burning),
    ]
    file = tmp_path / "test.yml"
    file.write_text(
        f"rule_files: [{rules}]\nevaluation_interval: 1m\n"
        # Without an order groups come in any, and alerts then read what was recorded a minute before.
        "group_eval_order: [windlass-models, windlass-objectives, windlass-server]\n"
        "tests:\n- interval: 1m\n"
        f"  input_series:{SERIES}  alert_rule_test: {json.dumps(tests)}\n"
    )
    ended = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
