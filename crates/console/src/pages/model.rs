//! One model: everything over one axis of time, and what happened on it.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use domain::manifest::Span;
use serde::Deserialize;
use serde_json::Value;
use wire::api::alerts::AlertRecord;
use wire::api::overview::{ModelNowRecord, OverviewRecord};
use wire::api::why::MomentRecord;
use wire::api::{EventRecord, ModelDetailRecord, PageRecord};

use super::{Frame, models, part, shown};
use crate::ask::{Address, Ask, Problem};
use crate::chart::{Mark, json};
use crate::show;

pub(crate) mod charts;

/// Which part of a model's past is looked at.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct RangeQuery {
    /// So long until now.
    last: Option<String>,
    /// Or from here.
    from: Option<String>,
    /// To here.
    to: Option<String>,
}

/// What a range is called, and by what spans its points are told.
const RANGES: [(&str, &str); 6] = [
    ("15m", "10s"),
    ("1h", "1m"),
    ("6h", "5m"),
    ("1d", "15m"),
    ("7d", "2h"),
    ("30d", "6h"),
];
/// The one that is shown when none is asked for.
const USUAL: usize = 1;
/// The shortest that is shown of a young model.
const SPAN_MIN_S: f64 = 60.0;

impl RangeQuery {
    /// The span by which points are told; about a hundred of them.
    fn every(&self) -> &'static str {
        let (from, to) = (self.us(&self.from), self.us(&self.to));
        if let (Some(from), Some(to)) = (from, to) {
            let minutes = (to - from) / 60_000_000;
            let lengths = [15, 60, 360, 1440, 10_080];
            let place = lengths.iter().position(|it| minutes <= *it);
            return RANGES[place.unwrap_or(RANGES.len() - 1)].1;
        }
        RANGES[self.place()].1
    }

    fn us(&self, text: &Option<String>) -> Option<i64> {
        domain::time::read_moment(text.as_deref()?, 0)
    }

    fn place(&self) -> usize {
        let last = self.last.as_deref();
        let place = RANGES.iter().position(|it| Some(it.0) == last);
        place.unwrap_or(USUAL)
    }

    /// Where it begins, as the API reads it.
    fn from(&self) -> &str {
        self.from.as_deref().unwrap_or(RANGES[self.place()].0)
    }

    /// In seconds since 1970.
    fn ends(&self, now_ms: i64) -> (f64, f64) {
        let now_us = now_ms * 1000;
        let read = |text: &str| domain::time::read_moment(text, now_us);
        let from = read(self.from()).unwrap_or(now_us - 3_600_000_000);
        let to = self.to.as_deref().and_then(read).unwrap_or(now_us);
        (seconds(from), seconds(to))
    }

    /// The same of a model's page: what is said as a length of time begins no earlier than the span in which the model
    /// did, so that what there is of a young one is not at the edge.
    fn ends_of(&self, created_ms: i64, now_ms: i64) -> (f64, f64) {
        let (from, to) = self.ends(now_ms);
        let every: Result<Span, _> = self.every().parse();
        let every_ms = every.map_or(1, |it| it.0.as_millis().max(1) as i64);
        let created = (created_ms - created_ms.rem_euclid(every_ms)) as f64 / 1000.0;
        match self.from {
            Some(_) => (from, to),
            None => (from.max(created.min(to - SPAN_MIN_S)), to),
        }
    }

    fn on(&self, address: Address) -> Address {
        address
            .with("from", self.from())
            .with_some("to", self.to.as_ref())
    }

    /// The same for a page's own address.
    fn query(&self) -> String {
        match &self.from {
            Some(from) => Address::of("", &[])
                .with("from", from)
                .with_some("to", self.to.as_ref())
                .as_str()
                .to_owned(),
            None => format!("?last={}", RANGES[self.place()].0),
        }
    }

    /// The same for a command.
    fn flags(&self) -> String {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => {
                format!("--from {} --to {}", show::quoted(from), show::quoted(to))
            }
            (Some(from), None) => format!("--from {}", show::quoted(from)),
            _ => format!("--last {}", RANGES[self.place()].0),
        }
    }
}

#[derive(Template)]
#[template(path = "model.html")]
struct ModelPage {
    frame: Frame,
    model: ModelNowRecord,
    tab: &'static str,
    versions: u32,
    range: RangeQuery,
    ranges: Vec<(&'static str, bool)>,
    /// Where the axis of time begins and ends, in seconds.
    ends: (f64, f64),
    marks: String,
    happened: Vec<Happened>,
    task: bool,
}

/// Something that happened to the model.
struct Happened {
    at_ms: i64,
    kind: &'static str,
    said: String,
    href: String,
}

pub(crate) async fn head(ask: &Ask, model: &str) -> Result<ModelNowRecord, Problem> {
    Ok(head_and_time(ask, model).await?.0)
}

async fn head_and_time(ask: &Ask, model: &str) -> Result<(ModelNowRecord, i64), Problem> {
    let address = Address::api(&["overview"]).with("model", model);
    let overview: OverviewRecord = ask.get(address).await?;
    let found = overview.models.into_iter().find(|it| it.name == model);
    let found = found.ok_or_else(|| Problem::unknown(&show::model(model, "")))?;
    Ok((found, overview.at_ms))
}

pub(crate) async fn page(
    ask: Ask,
    Path(name): Path<String>,
    Query(range): Query<RangeQuery>,
) -> Response {
    let page = async {
        let events = range
            .on(Address::api(&["events"]).with("model", &name))
            .with("newest", true)
            .with("limit", 500);
        let alerts = Address::api(&["alerts"])
            .with("model", &name)
            .with("all", true);
        let (model, detail, events, alerts) = futures::join!(
            head_and_time(&ask, &name),
            ask.get::<ModelDetailRecord>(Address::api(&["models", &name])),
            ask.get::<PageRecord<EventRecord>>(events),
            ask.get::<PageRecord<AlertRecord>>(alerts),
        );
        let ((model, at_ms), detail) = (model?, detail?);
        let ends = range.ends_of(detail.model.created_ms, at_ms);
        let mut happened = happened(&events?.items, &alerts?.items);
        happened.retain(|it| (ends.0..=ends.1).contains(&(it.at_ms as f64 / 1000.0)));
        let marks: Vec<Mark> = happened
            .iter()
            .map(|it| Mark {
                at: it.at_ms as f64 / 1000.0,
                kind: it.kind,
                said: it.said.clone(),
            })
            .collect();
        let ranges = RANGES.iter().enumerate();
        let chosen = |place: usize| range.from.is_none() && place == range.place();
        Ok(ModelPage {
            frame: Frame::new("models", &name),
            tab: "",
            versions: detail.model.versions,
            ranges: ranges.map(|(place, it)| (it.0, chosen(place))).collect(),
            ends,
            marks: json(&marks),
            happened,
            task: detail.signature.is_some_and(|it| it.task.is_some()),
            range,
            model,
        })
    };
    shown(page.await)
}

/// What is marked on the axis of time, newest first.
fn happened(events: &[EventRecord], alerts: &[AlertRecord]) -> Vec<Happened> {
    let of_events = events.iter().map(|it| {
        let kind = match it.kind.as_str() {
            "version_created" | "version_state" | "traffic" | "alias" => "version",
            kind if kind.starts_with("rollout") || kind.starts_with("experiment") => "rollout",
            "alert_action" => "action",
            _ => "event",
        };
        Happened {
            at_ms: it.at_ms,
            kind,
            said: told(it),
            href: show::page(&["events"]) + &format!("?before={}", it.id + 1),
        }
    });
    // Of each alert its last incident: when it began, and how it is now.
    let of_alerts = alerts.iter().flat_map(|it| {
        let happened = |at_ms, said| Happened {
            at_ms,
            kind: "alert",
            said,
            href: show::page(&["alerts", &it.id]),
        };
        let began = happened(it.incident, format!("{}: {}", it.name, it.summary));
        let ended =
            (it.state == "resolved").then(|| happened(it.since_ms, format!("{} is over", it.name)));
        [Some(began), ended].into_iter().flatten()
    });
    let mut all: Vec<Happened> = of_events.chain(of_alerts).collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.at_ms));
    all
}

/// An event in words: what kind it is, and what it tells of itself.
pub(crate) fn told(event: &EventRecord) -> String {
    let kind = event.kind.replace('_', " ");
    let text = |name: &str| match &event.detail[name] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    if let Some(said) = text("said") {
        return said;
    }
    let parts = [
        "version", "alias", "from", "to", "state", "deed", "who", "why",
    ];
    let parts = parts.into_iter().filter_map(|name| {
        let text = text(name).filter(|it| !it.is_empty())?;
        Some(format!("{name} {text}"))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        kind
    } else {
        format!("{kind}: {}", parts.join(", "))
    }
}

#[derive(Deserialize)]
pub(crate) struct WhyQuery {
    at: String,
    window: Option<String>,
}

#[derive(Template)]
#[template(path = "why.html")]
struct Why {
    moment: MomentRecord,
    command: String,
}

/// What changed around a moment.
pub(crate) async fn why(
    ask: Ask,
    Path(name): Path<String>,
    Query(query): Query<WhyQuery>,
) -> Response {
    let asked = async {
        let address = Address::api(&["models", &name, "why", "moment"])
            .with("at", &query.at)
            .with_some("window", query.window.as_ref());
        let moment = ask.get(address).await?;
        let command = format!(
            "windlass why {} --at {}",
            show::quoted(&name),
            show::quoted(&query.at)
        );
        Ok(Why { moment, command })
    };
    part(asked.await)
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_young_model_fills_its_axis_and_what_is_asked_for_is_shown() {
        let now_ms = 10 * 86_400_000;
        let to = now_ms as f64 / 1000.0;
        let of = |last: &str, age_s: i64| {
            let range = RangeQuery {
                last: Some(last.to_owned()),
                ..RangeQuery::default()
            };
            let (from, end) = range.ends_of(now_ms - age_s * 1000, now_ms);
            assert_eq!(end, to);
            to - from
        };
        assert_eq!(of("15m", 90), 90.0);
        // From the beginning of a span on, as its point stands there.
        assert_eq!(of("15m", 95), 100.0);
        assert_eq!(of("1h", 95), 120.0);
        assert_eq!(of("15m", 3), SPAN_MIN_S);
        assert_eq!(of("15m", 100_000), 900.0);
        let range = RangeQuery {
            from: Some("1h".to_owned()),
            ..RangeQuery::default()
        };
        assert_eq!(range.ends_of(now_ms - 90_000, now_ms), (to - 3600.0, to));
    }
}
