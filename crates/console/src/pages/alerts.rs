//! Alerts: what is wrong, on what that rests, who was told, and what a person may do about it.

use askama::Template;
use axum::extract::{Form, Path, Query};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use wire::api::PageRecord;
use wire::api::alerts::{
    ActionRecord, AlertDetailRecord, AlertRecord, DeliveryRecord, FeedbackChange, SilenceChange,
    SilenceRecord,
};

use super::rollouts::Act;
use super::{Frame, alerts, done, shown};
use crate::ask::{Address, Ask, Problem};
use crate::show;

/// Alerts, silences and deliveries of a page.
const PAGE: u32 = 200;
/// Actions of a model that are looked through for those of one alert.
const ACTIONS_MAX: u32 = 1000;
const STATES: [&str; 4] = ["firing", "pending", "resolved", "inactive"];
const SEVERITIES: [&str; 3] = ["page", "ticket", "info"];
/// How long a silence may be, to choose from.
const LENGTHS: [&str; 6] = ["1h", "4h", "12h", "1d", "3d", "7d"];

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    model: Option<String>,
    state: Option<String>,
    severity: Option<String>,
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct AlertsPage {
    frame: Frame,
    query: ListQuery,
    /// Whether those that are over are asked for.
    over: bool,
    alerts: Vec<AlertRecord>,
    next: Option<String>,
    silences: Vec<SilenceRecord>,
    dead: Vec<DeliveryRecord>,
    waiting: Vec<DeliveryRecord>,
    command: String,
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|it| !it.is_empty())
}

impl ListQuery {
    /// The same alerts, from there on.
    fn from(&self, after: &str) -> String {
        Address::of("/console", &["alerts"])
            .with_some("model", given(&self.model))
            .with_some("state", given(&self.state))
            .with_some("severity", given(&self.severity))
            .with("after", after)
            .as_str()
            .to_owned()
    }

    fn is(&self, of: &Option<String>, value: &str) -> bool {
        given(of) == Some(value)
    }
}

pub(crate) async fn list(ask: Ask, Query(query): Query<ListQuery>) -> Response {
    let page = async {
        let state = given(&query.state);
        let over = matches!(state, Some("resolved" | "inactive"));
        let alerts = Address::api(&["alerts"])
            .with_some("model", given(&query.model))
            .with_some("severity", given(&query.severity))
            .with_some("after", given(&query.after))
            .with("all", over)
            .with("limit", PAGE);
        let deliveries = |waiting: bool| {
            let address = Address::api(&["deliveries"]).with("waiting", waiting);
            ask.get::<Vec<DeliveryRecord>>(address.with("limit", PAGE))
        };
        let silences = Address::api(&["silences"]).with("limit", PAGE);
        let (alerts, silences, dead, waiting) = futures::join!(
            ask.get::<PageRecord<AlertRecord>>(alerts),
            ask.get::<Vec<SilenceRecord>>(silences),
            deliveries(false),
            deliveries(true),
        );
        let mut alerts = alerts?;
        alerts
            .items
            .retain(|it| state.is_none_or(|state| it.state == state));
        let mut command = "windlass alerts".to_owned();
        if let Some(model) = given(&query.model) {
            command.push_str(&format!(" {}", show::quoted(model)));
        }
        if let Some(severity) = given(&query.severity) {
            command.push_str(&format!(" --severity {}", show::quoted(severity)));
        }
        if over {
            command.push_str(" --all");
        }
        Ok(AlertsPage {
            frame: Frame::new("alerts", "Alerts"),
            over,
            next: alerts.next.map(|it| query.from(&it)),
            alerts: alerts.items,
            silences: silences?,
            dead: dead?,
            waiting: waiting?,
            command,
            query,
        })
    };
    shown(page.await)
}

impl AlertsPage {
    /// What the list says first.
    fn headline(&self) -> String {
        let firing = self.alerts.iter().filter(|it| it.state == "firing").count();
        let urgent = |it: &&AlertRecord| it.state == "firing" && it.severity == "page";
        let urgent = self.alerts.iter().filter(urgent).count();
        let of = match given(&self.query.model) {
            Some(model) => format!(" of {model}"),
            None => String::new(),
        };
        match (self.over, urgent, firing) {
            (true, _, _) => format!("Alerts{of} that are over"),
            (_, 0, 0) => format!("No alert{of} fires"),
            (_, 0, 1) => format!("1 alert{of} fires"),
            (_, 0, firing) => format!("{firing} alerts{of} fire"),
            (_, urgent, firing) => {
                format!("{firing} of the alerts{of} fire, {urgent} for somebody to look at now")
            }
        }
    }

    fn deliveries(&self) -> [(&'static str, &Vec<DeliveryRecord>); 2] {
        [("Given up", &self.dead), ("Waiting", &self.waiting)]
    }
}

/// A state's sign and class: never by colour alone.
fn sign(alert: &AlertRecord) -> (&'static str, &'static str) {
    match (alert.state.as_str(), alert.severity.as_str()) {
        ("firing", "info") => ("i", "unknown"),
        ("firing", _) => ("✕", "bad"),
        ("pending", _) => ("…", "unknown"),
        _ => ("✓", "fine"),
    }
}

#[derive(Template)]
#[template(path = "alert.html")]
struct AlertPage {
    frame: Frame,
    alert: AlertDetailRecord,
    actions: Vec<ActionRecord>,
    silence: String,
}

pub(crate) async fn page(ask: Ask, Path(id): Path<String>) -> Response {
    let page = async {
        let alert: AlertDetailRecord = ask.get(Address::api(&["alerts", &id])).await?;
        let actions = Address::api(&["actions"])
            .with("model", &alert.alert.model)
            .with("limit", ACTIONS_MAX);
        let mut actions: PageRecord<ActionRecord> = ask.get(actions).await?;
        actions.items.retain(|it| it.alert == alert.alert.id);
        Ok(AlertPage {
            frame: Frame::new(
                "alerts",
                format!("{}: {}", alert.alert.model, alert.alert.name),
            ),
            silence: arguments(&alert.alert),
            actions: actions.items,
            alert,
        })
    };
    shown(page.await)
}

/// Which alerts a silence is of.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Of {
    /// This one.
    This,
    /// Those of the same name and model, whatever they are about.
    Name,
    /// All of the model.
    Model,
}

/// What picks these alerts. A value with `|` in it would pick several: it is left out, and more is picked rather than less.
fn matchers(alert: &AlertRecord, of: Of) -> Vec<String> {
    let wanted = |name: &str| match of {
        Of::This => true,
        Of::Name => ["model", "alertname"].contains(&name),
        Of::Model => name == "model",
    };
    let labels = alert.labels.iter();
    let labels =
        labels.filter(|(name, value)| wanted(name) && !value.is_empty() && !value.contains('|'));
    labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// The same for a command.
fn arguments(alert: &AlertRecord) -> String {
    let quoted = |it: String| show::quoted(&it);
    let all: Vec<String> = matchers(alert, Of::This).into_iter().map(quoted).collect();
    all.join(" ")
}

/// Who wants a silence, of what, for how long, and why.
#[derive(Deserialize)]
pub(crate) struct Silencing {
    of: Of,
    length: String,
    why: String,
    #[serde(default)]
    who: String,
}

fn somebody(who: &str) -> Option<String> {
    let who = who.trim();
    (!who.is_empty()).then(|| who.to_owned())
}

fn here(id: &str) -> String {
    show::page(&["alerts", id])
}

pub(crate) async fn silence(
    ask: Ask,
    Path(id): Path<String>,
    Form(form): Form<Silencing>,
) -> Response {
    let result = async {
        let alert: AlertDetailRecord = ask.get(Address::api(&["alerts", &id])).await?;
        let change = SilenceChange {
            matchers: matchers(&alert.alert, form.of),
            length: form.length,
            who: somebody(&form.who),
            why: form.why,
        };
        ask.post::<Value>(Address::api(&["silences"]), &change)
            .await
    };
    done(result.await.map(drop), &here(&id))
}

pub(crate) async fn acknowledge(
    ask: Ask,
    Path(id): Path<String>,
    Form(act): Form<Act>,
) -> Response {
    let address = Address::api(&["alerts", &id, "ack"]);
    let result = ask.post::<Value>(address, &act.record()).await;
    done(result.map(drop), &here(&id))
}

/// Whether an alert was of use, who says so, and why.
#[derive(Deserialize)]
pub(crate) struct Opinion {
    useful: bool,
    #[serde(default)]
    why: String,
    #[serde(default)]
    who: String,
}

pub(crate) async fn feedback(
    ask: Ask,
    Path(id): Path<String>,
    Form(opinion): Form<Opinion>,
) -> Response {
    let change = FeedbackChange {
        useful: opinion.useful,
        who: somebody(&opinion.who),
        why: opinion.why,
    };
    let address = Address::api(&["alerts", &id, "feedback"]);
    let result = ask.post::<Value>(address, &change).await;
    done(result.map(drop), &here(&id))
}

/// Takes an action back.
pub(crate) async fn reverse(
    ask: Ask,
    Path((id, action)): Path<(String, String)>,
    Form(act): Form<Act>,
) -> Response {
    let address = Address::api(&["actions", &action, "reverse"]);
    let result = ask.post::<Value>(address, &act.record()).await;
    done(result.map(drop), &here(&id))
}

pub(crate) async fn end_silence(ask: Ask, Path(id): Path<String>) -> Response {
    let result: Result<(), Problem> = ask.delete(Address::api(&["silences", &id])).await;
    done(result, "/console/alerts#silences")
}

/// Has a notification that was given up tried again.
pub(crate) async fn retry(ask: Ask, Path(id): Path<String>) -> Response {
    let address = Address::api(&["deliveries", &id, "retry"]);
    let result = ask
        .post::<Value>(address, &Value::Object(Default::default()))
        .await;
    done(result.map(drop), "/console/alerts#deliveries")
}

/// Whether an action stands and can be taken back.
fn stands(action: &ActionRecord) -> bool {
    action.outcome == "done" && action.reversed.is_none()
}

/// What an action changed, in words.
fn changed(action: &ActionRecord) -> String {
    let mut said = Vec::new();
    if let (Some(from), Some(to)) = (action.from, action.to) {
        said.push(format!("version {from} → {to}"));
    }
    said.extend(
        action
            .inputs
            .iter()
            .map(|(rule, is)| format!("{rule}: {is}")),
    );
    if let Some(instances) = action.instances {
        said.push(format!("{instances} sessions"));
    }
    said.join(", ")
}

/// Where the model's page shows what it did when the alert began.
fn moment(alert: &AlertRecord) -> String {
    let around_us = 3_600_000_000;
    let at_us = alert.since_ms.saturating_mul(1000);
    let address = Address::of("/console", &["models", &alert.model])
        .with("from", show::moment(at_us - around_us))
        .with("to", show::moment(at_us + around_us));
    address.as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn alert() -> AlertDetailRecord {
        let record = json!({
            "id": "00ff", "name": "<b>drift", "model": "<m>", "state": "firing", "since_ms": 1, "severity": "page",
            "summary": "<script>alert(1)</script>", "evidence": {"<i>score": 0.5, "text": "<u>"},
            "labels": {"alertname": "<b>drift", "model": "<m>", "subject": "a|b", "severity": "page", "segment": ""},
            "annotations": {"runbook_url": "javascript:alert(1)", "<s>": "\"<em>\""}, "known_ms": 2, "incident": 1,
            "acknowledged": {"who": "<q>", "at_ms": 3}, "muted": "silence <p1>",
            "history": [{"id": 1, "at_ms": 1, "incident": 1, "kind": "firing", "why": "<tt>", "evidence": {}}],
            "feedback": [{"incident": 1, "useful": true, "who": "<q>", "at_ms": 2, "why": "<tt>"}],
        });
        serde_json::from_value(record).expect("an alert")
    }

    fn action() -> ActionRecord {
        let record = json!({
            "id": 7, "at_ms": 1, "model": "<m>", "rule": "<r>", "alert": "00ff", "deed": "rollback", "outcome": "done",
            "why": "<w>", "evidence": {}, "from": 2, "to": 1,
        });
        serde_json::from_value(record).expect("an action")
    }

    #[test]
    fn a_silence_picks_what_was_asked_for() {
        let alert = alert().alert;
        assert_eq!(
            matchers(&alert, Of::This),
            ["alertname=<b>drift", "model=<m>", "severity=page"]
        );
        assert_eq!(
            matchers(&alert, Of::Name),
            ["alertname=<b>drift", "model=<m>"]
        );
        assert_eq!(matchers(&alert, Of::Model), ["model=<m>"]);
    }

    #[test]
    fn text_from_outside_stays_text() {
        let tags = [
            "<script>alert",
            "<b>",
            "<i>",
            "<u>",
            "<s>",
            "<em>",
            "<q>",
            "<p1>",
            "<tt>",
            "<m>",
            "<r>",
            "<w>",
            "<x1>",
            "href=\"javascript",
        ];
        let check = |text: String| {
            for tag in tags {
                assert!(!text.contains(tag), "{tag} in {text}");
            }
        };
        let page = AlertPage {
            frame: Frame::new("alerts", "<m>"),
            alert: alert(),
            actions: vec![action()],
            silence: "<x1>".to_owned(),
        };
        assert!(stands(&page.actions[0]));
        check(page.render().expect("HTML"));
        let delivery: DeliveryRecord = serde_json::from_value(json!({
            "id": 1, "receiver": "<r>", "group": {"<x1>": "<w>"}, "at_ms": 1, "alerts": 2, "dead": true, "attempts": 3,
            "why": "<w>",
        }))
        .expect("a delivery");
        let page = AlertsPage {
            frame: Frame::new("alerts", "Alerts"),
            query: ListQuery {
                model: Some("<m>".to_owned()),
                state: None,
                severity: None,
                after: None,
            },
            over: false,
            alerts: vec![alert().alert],
            next: None,
            silences: vec![SilenceRecord {
                id: 1,
                matchers: vec!["model=<m>".to_owned()],
                from_ms: 1,
                until_ms: 2,
                who: "<q>".to_owned(),
                why: "<w>".to_owned(),
            }],
            dead: vec![delivery.clone()],
            waiting: vec![delivery],
            command: "windlass alerts '<m>'".to_owned(),
        };
        assert_eq!(
            page.headline(),
            "1 of the alerts of <m> fire, 1 for somebody to look at now"
        );
        check(page.render().expect("HTML"));
    }
}
