//! What happened: who did what, when and why, the newest first.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use domain::event::EventKind;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use wire::api::{EventRecord, PageRecord};

use super::trial::host;
use super::{Frame, events, shown};
use crate::ask::{Address, Ask};
use crate::show;

/// Events of a page.
const PAGE: u32 = 100;

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    model: Option<String>,
    kind: Option<String>,
    from: Option<String>,
    to: Option<String>,
    before: Option<String>,
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|it| !it.is_empty())
}

impl Wanted {
    fn text<'a>(&self, of: &'a Option<String>) -> &'a str {
        given(of).unwrap_or_default()
    }

    /// Whether it asks for more kinds than one, as an address may.
    fn has_several(&self) -> bool {
        self.text(&self.kind).contains(',')
    }

    fn on(&self, address: Address) -> Address {
        address
            .with_some("model", given(&self.model))
            .with_some("kind", given(&self.kind))
            .with_some("from", given(&self.from))
            .with_some("to", given(&self.to))
    }

    fn older(&self, before: &str) -> String {
        self.on(Address::of("/console", &["events"]))
            .with("before", before)
            .as_str()
            .to_owned()
    }
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    frame: Frame,
    wanted: Wanted,
    kinds: [&'static str; EventKind::ALL.len()],
    events: Vec<EventRecord>,
    older: Option<String>,
    command: String,
}

pub(crate) async fn page(ask: Ask, Query(wanted): Query<Wanted>, headers: HeaderMap) -> Response {
    let address = wanted
        .on(Address::api(&["events"]))
        .with("newest", true)
        .with_some("before", given(&wanted.before))
        .with("limit", PAGE);
    // No command lists events; this asks what the page asked.
    let asked = format!("http://{}{}", host(&headers), address.as_str());
    let command = format!("curl {}", show::quoted(&asked));
    let page = ask.get::<PageRecord<EventRecord>>(address).await;
    shown(page.map(|page| listed(wanted, page, command)))
}

fn listed(wanted: Wanted, page: PageRecord<EventRecord>, command: String) -> EventsPage {
    EventsPage {
        frame: Frame::new("events", "Events"),
        kinds: EventKind::ALL.map(EventKind::name),
        older: page.next.map(|it| wanted.older(&it)),
        events: page.items,
        command,
        wanted,
    }
}

/// What an event tells of itself, besides who and why.
fn said(event: &EventRecord) -> String {
    if let Some(said) = event.detail["said"].as_str() {
        return said.to_owned();
    }
    let Value::Object(detail) = &event.detail else {
        return show::value(&event.detail);
    };
    let parts = detail.iter().filter_map(|(name, value)| {
        let told_elsewhere = ["who", "why", "evidence", "report", "rollout", "alert"];
        let is_simple = matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
        if told_elsewhere.contains(&name.as_str()) || !is_simple {
            return None;
        }
        let text = match name.as_str() {
            "digest" => show::short(value.as_str()?).to_owned(),
            _ => show::value(value),
        };
        Some(format!("{} {text}", name.replace('_', " ")))
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn detail<'a>(event: &'a EventRecord, name: &str) -> &'a str {
    event.detail[name].as_str().unwrap_or_default()
}

/// The page of what it is about.
fn about(event: &EventRecord) -> String {
    let text = |name: &str| event.detail[name].as_str();
    let number = |name: &str| event.detail[name].as_u64();
    if let Some(id) = text("rollout") {
        return show::page(&["rollouts", id]);
    }
    if let Some(id) = text("alert") {
        return show::page(&["alerts", id]);
    }
    match number("version").or(number("to")) {
        Some(version) if event.kind != "version_removed" => {
            show::page(&["models", &event.model, "versions", &version.to_string()])
        }
        _ => show::model(&event.model, ""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, detail: Value) -> EventRecord {
        EventRecord {
            id: 9,
            at_ms: 1,
            model: "<m>".to_owned(),
            kind: kind.to_owned(),
            detail,
        }
    }

    #[test]
    fn an_event_leads_to_what_it_is_about() {
        let abouts = [
            event("rollout", json!({"rollout": "r1", "to": 2})),
            event("alert_action", json!({"alert": "00ff", "to": 1})),
            event("traffic", json!({"from": 1, "to": 2})),
            event("version_removed", json!({"version": 2})),
        ];
        assert_eq!(
            abouts.map(|it| about(&it)),
            [
                "/console/rollouts/r1",
                "/console/alerts/00ff",
                "/console/models/%3Cm%3E/versions/2",
                "/console/models/%3Cm%3E"
            ]
        );
    }

    #[test]
    fn text_from_outside_stays_text() {
        let evil = json!({"version": 2, "<i>": "<script>x", "who": "<b>ann", "why": "\"<u>\"", "nested": {"a": 1}});
        let page = PageRecord {
            items: vec![
                event("<s>", evil),
                event("traffic", json!({"from": 1, "to": 2})),
            ],
            next: Some("9".to_owned()),
        };
        let wanted = Wanted {
            model: Some("\"><q>".to_owned()),
            kind: Some("alias,traffic".to_owned()),
            ..Wanted::default()
        };
        let page = listed(wanted, page, "curl '<tt>'".to_owned());
        assert_eq!(
            page.older.as_deref(),
            Some("/console/events?model=%22%3E%3Cq%3E&kind=alias%2Ctraffic&before=9")
        );
        let text = page.render().expect("HTML");
        for tag in [
            "<script>x",
            "<i>",
            "<b>",
            "<u>",
            "<s>",
            "<q>",
            "<tt>",
            "<m>",
        ] {
            assert!(!text.contains(tag), "{tag} in {text}");
        }
        assert!(text.contains("from 1, to 2"), "{text}");
    }
}
