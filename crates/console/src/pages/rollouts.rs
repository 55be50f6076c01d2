//! Rollouts: where each is, what its tests say, and what a person may do.

use askama::Template;
use axum::extract::{Form, Path, Query};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use wire::api::PageRecord;
use wire::api::alerts::ByChange;
use wire::api::rollouts::{RolloutDetailRecord, RolloutRecord, TestRecord};
use wire::api::shadow::ShadowRecord;

use super::{Frame, done, part, rollouts, shown};
use crate::ask::{Address, Ask};
use crate::chart::{Chart, Line};
use crate::show;

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    model: Option<String>,
    before: Option<String>,
}

#[derive(Template)]
#[template(path = "rollouts.html")]
struct RolloutsPage {
    frame: Frame,
    model: Option<String>,
    rollouts: PageRecord<RolloutRecord>,
}

pub(crate) async fn list(ask: Ask, Query(query): Query<ListQuery>) -> Response {
    let address = Address::api(&["rollouts"])
        .with_some("model", query.model.as_ref())
        .with_some("before", query.before.as_ref())
        .with("limit", 50);
    let page = ask.get(address).await.map(|rollouts| RolloutsPage {
        frame: Frame::new("rollouts", "Rollouts"),
        model: query.model,
        rollouts,
    });
    shown(page)
}

#[derive(Template)]
#[template(path = "rollout.html")]
struct RolloutPage {
    frame: Frame,
    rollout: RolloutDetailRecord,
}

#[derive(Template)]
#[template(path = "rollout_now.html")]
struct RolloutNow {
    rollout: RolloutDetailRecord,
}

pub(crate) async fn page(ask: Ask, Path(id): Path<String>) -> Response {
    let rollout = ask
        .get::<RolloutDetailRecord>(Address::api(&["rollouts", &id]))
        .await;
    shown(rollout.map(|rollout| RolloutPage {
        frame: Frame::new(
            "rollouts",
            format!(
                "{}:{} rollout",
                rollout.rollout.model, rollout.rollout.candidate
            ),
        ),
        rollout,
    }))
}

/// What of it moves.
pub(crate) async fn now(ask: Ask, Path(id): Path<String>) -> Response {
    let rollout = ask.get(Address::api(&["rollouts", &id])).await;
    part(rollout.map(|rollout| RolloutNow { rollout }))
}

#[derive(Template)]
#[template(path = "shadow.html")]
struct Shadow {
    shadow: ShadowRecord,
}

/// What the candidate said that nobody heard.
pub(crate) async fn shadow(ask: Ask, Path(id): Path<String>) -> Response {
    let shadow = ask.get(Address::api(&["rollouts", &id, "shadow"])).await;
    part(shadow.map(|shadow| Shadow { shadow }))
}

/// Who does something, and why.
#[derive(Deserialize)]
pub(crate) struct Act {
    why: String,
    #[serde(default)]
    who: String,
}

impl Act {
    pub(crate) fn record(self) -> ByChange {
        let who = self.who.trim();
        ByChange {
            who: (!who.is_empty()).then(|| who.to_owned()),
            why: self.why,
        }
    }
}

pub(crate) async fn act(
    ask: Ask,
    Path((id, deed)): Path<(String, String)>,
    Form(act): Form<Act>,
) -> Response {
    let address = Address::api(&["rollouts", &id, &deed]);
    let result = ask.post::<Value>(address, &act.record()).await;
    done(result.map(|_| ()), &show::page(&["rollouts", &id]))
}

/// A stage of the line.
pub(super) struct Stage {
    name: String,
    /// `done`, `now`, `next`, `left`: passed, where it is, to come, not to be reached any more.
    standing: &'static str,
    /// What it is doing there.
    said: String,
}

/// Its stages as a line: those passed, the one where it is, those to come.
pub(super) fn stages(rollout: &RolloutDetailRecord) -> Vec<Stage> {
    let record = &rollout.rollout;
    let steps = match &rollout.spec["steps"] {
        Value::Array(steps) => steps.iter().map(step_name).collect(),
        _ => Vec::new(),
    };
    let mut names = vec!["validating".to_owned()];
    if record.shadow_percent.is_some() {
        names.push("shadow".to_owned());
    }
    names.extend(steps);
    names.extend(["promoting", "baking", "succeeded"].map(str::to_owned));
    let first_step = names.len() - 3 - steps_of(rollout);
    let at = |state: &str, status: &str| match state {
        "pending" => None,
        "step" => {
            let number = status.split("step ").nth(1)?.split(' ').next()?;
            Some(first_step + number.parse::<usize>().ok()?.checked_sub(1)?)
        }
        other => names.iter().position(|it| it == other),
    };
    let here = at(&record.state, &record.status);
    // How far it had come when it went another way.
    let went = rollout.events.iter().filter_map(|it| {
        let state = it.to.split(' ').next().unwrap_or_default();
        at(state, &it.said)
    });
    let stopped = ["rolling_back", "rolled_back", "aborted", "superseded"];
    let stopped = stopped.contains(&record.state.as_str());
    let reached = if stopped { went.max() } else { here };
    let mut stages: Vec<Stage> = names
        .iter()
        .enumerate()
        .map(|(place, name)| Stage {
            name: name.clone(),
            standing: match reached {
                Some(reached)
                    if place < reached || (place == reached && (stopped || record.over)) =>
                {
                    "done"
                }
                Some(reached) if place == reached => "now",
                _ if stopped => "left",
                _ => "next",
            },
            said: match (Some(place) == here, &record.phase) {
                (true, Some(phase)) => phase.replace('_', " "),
                _ => String::new(),
            },
        })
        .collect();
    if stopped {
        let place = reached.map_or(0, |it| it + 1);
        let stage = Stage {
            name: record.state.replace('_', " "),
            standing: "stopped",
            said: String::new(),
        };
        stages.insert(place, stage);
    }
    stages
}

fn steps_of(rollout: &RolloutDetailRecord) -> usize {
    rollout.spec["steps"].as_array().map_or(0, Vec::len)
}

fn step_name(step: &Value) -> String {
    match step {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a person may do now, and what it means.
pub(super) fn deeds(record: &RolloutRecord) -> Vec<(&'static str, &'static str, &'static str)> {
    if record.over || record.state == "rolling_back" {
        return Vec::new();
    }
    let waits = record.phase.as_deref() == Some("awaiting_approval");
    let holds = record.phase.as_deref() == Some("holding");
    let mut deeds = Vec::new();
    if waits {
        deeds.push(("approve", "Approve", "it goes on to the next step"));
    }
    if holds {
        deeds.push(("resume", "Resume", "it goes on where it holds"));
    } else {
        deeds.push(("pause", "Pause", "it stays where it is until it is resumed"));
    }
    deeds.push((
        "promote",
        "Promote",
        "the candidate gets all of the traffic now",
    ));
    deeds.push((
        "abort",
        "Abort",
        "the incumbent gets all of the traffic back now",
    ));
    deeds
}

/// What a test's verdict is called, with a sign.
pub(super) fn verdict(test: &TestRecord) -> (&'static str, &'static str, &'static str) {
    match test.verdict.as_str() {
        "pass" => ("✓", "passes", "fine"),
        "fail" => ("✕", "fails", "bad"),
        "inconclusive" => ("…", "not yet", "unknown"),
        "error" => ("?", "could not be told", "unknown"),
        _ => ("–", "no data", "unknown"),
    }
}

/// How far the evidence against a candidate has come to the boundary, on a line 100 wide by its logarithm.
pub(super) fn toward(test: &TestRecord) -> String {
    let e = test.e_value.unwrap_or(0.0).max(1.0);
    format!(
        "{:.1}",
        (e.ln() / test.e_value_limit.ln() * 100.0).clamp(0.0, 100.0)
    )
}

/// How each guardrail's evidence went, against its boundary.
pub(super) fn evidence(rollout: &RolloutDetailRecord) -> Option<Chart> {
    let history = &rollout.history;
    if history.is_empty() {
        return None;
    }
    let guardrails: Vec<&TestRecord> = rollout
        .tests
        .iter()
        .filter(|it| it.role == "guardrail")
        .collect();
    let lines = guardrails.iter().map(|test| Line {
        name: test.name.clone(),
        values: history
            .iter()
            .map(|it| it.e_values.get(&test.name).copied())
            .collect(),
        ..Line::default()
    });
    Some(Chart {
        title: "Evidence that a guardrail fails, by which it rolls back at the line".to_owned(),
        unit: "times as likely",
        times: history.iter().map(|it| it.at_ms as f64 / 1000.0).collect(),
        lines: lines.collect(),
        bound: guardrails.first().map(|it| it.e_value_limit),
        log: true,
        command: format!(
            "windlass rollout show {}",
            show::quoted(&rollout.rollout.id)
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(state: &str, status: &str, events: &[(&str, &str)]) -> RolloutDetailRecord {
        let over = ["succeeded", "rolled_back"].contains(&state);
        let event = |(number, (to, said)): (usize, &(&str, &str))| {
            json!({
                "number": number, "at_ms": 0, "from": "pending", "to": to, "said": said,
                "evidence": {"keys": 0, "shadowed": 0, "split": null, "tests": []},
            })
        };
        let events: Vec<Value> = events.iter().enumerate().map(event).collect();
        let record = json!({
            "id": "r", "model": "m", "incumbent": 1, "candidate": 2, "state": state, "status": status, "over": over,
            "started_ms": 0, "since_ms": 0, "until_ms": 0, "who": "ann", "why": "", "traffic": [],
            "shadow_percent": 20.0, "spec": {"steps": ["1%", "5%"]}, "keys": 0, "shadowed": 0, "tests": [],
            "missing": [], "events": events,
        });
        serde_json::from_value(record).expect("a rollout")
    }

    fn line(rollout: &RolloutDetailRecord) -> String {
        let stages = stages(rollout).into_iter();
        let stages = stages.map(|it| format!("{} {}", it.name, it.standing));
        stages.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_line_tells_where_it_is() {
        let it = rollout("step", "is at step 2 of 2 (5%)", &[]);
        assert_eq!(
            line(&it),
            "validating done, shadow done, 1% done, 5% now, promoting next, baking next, succeeded next"
        );
        let it = rollout("succeeded", "has all of the traffic", &[]);
        assert!(line(&it).ends_with("baking done, succeeded done"));
    }

    #[test]
    fn and_how_far_it_came_before_it_went_back() {
        let events = [
            ("validating", "it must reproduce its examples"),
            ("step (progressing)", "step 1 of 2 (1%): it answers"),
            ("rolling_back", "guardrail `error_rate` fails"),
            ("rolled_back", "the incumbent answers everything"),
        ];
        let it = rollout("rolled_back", "was rolled back", &events);
        assert_eq!(
            line(&it),
            "validating done, shadow done, 1% done, rolled back stopped, 5% left, promoting left, baking left, \
             succeeded left"
        );
    }
}
