//! One model: everything over one axis of time, and what happened on it.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use wire::api::alerts::AlertRecord;
use wire::api::ledger::{KpiGroupRecord, KpiRecord, QualityRecord};
use wire::api::overview::{FindingRecord, LookRecord, ModelNowRecord, OverviewRecord};
use wire::api::why::MomentRecord;
use wire::api::{EventRecord, ModelDetailRecord, PageRecord};

use super::{Frame, models, part, shown};
use crate::ask::{Address, Ask, Problem};
use crate::chart::{Chart, Heat, HeatRow, Line, Mark, json};
use crate::show;

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
            .with("limit", 500);
        let alerts = Address::api(&["alerts"])
            .with("model", &name)
            .with("ended", true);
        let (model, detail, events, alerts) = futures::join!(
            head_and_time(&ask, &name),
            ask.get::<ModelDetailRecord>(Address::api(&["models", &name])),
            ask.get::<PageRecord<EventRecord>>(events),
            ask.get::<PageRecord<AlertRecord>>(alerts),
        );
        let ((model, at_ms), detail) = (model?, detail?);
        let happened = happened(&events?.items, &alerts?.items);
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
            ends: range.ends(at_ms),
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
    let of_alerts = alerts.iter().map(|it| Happened {
        at_ms: it.since_ms,
        kind: "alert",
        said: format!("{} {}: {}", it.name, it.state, it.summary),
        href: show::page(&["alerts", &it.id]),
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

#[derive(Template)]
#[template(path = "charts.html")]
struct Charts {
    charts: Vec<Chart>,
    heat: Option<Heat>,
    said: String,
}

/// Traffic, latency, errors and cost, of one question to the ledger.
pub(crate) async fn traffic(
    ask: Ask,
    Path(name): Path<String>,
    Query(range): Query<RangeQuery>,
) -> Response {
    let charts = async {
        let kpi = Address::api(&["models", &name, "kpi"]).with("every", range.every());
        let kpi = range.on(kpi);
        let (all, versions) = futures::join!(
            ask.get::<KpiRecord>(kpi.clone()),
            ask.get::<KpiRecord>(kpi.with("by", "version")),
        );
        let (all, versions) = (all?, versions?);
        let command = format!(
            "windlass kpi {} {} --every {}",
            show::quoted(&name),
            range.flags(),
            range.every()
        );
        Ok(Charts {
            charts: of_kpi(&all, &versions, &command),
            heat: None,
            said: String::new(),
        })
    };
    part(charts.await)
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

fn of_kpi(all: &KpiRecord, versions: &KpiRecord, command: &str) -> Vec<Chart> {
    let at = |it: &KpiGroupRecord| it.at_us.unwrap_or(all.from_us);
    let times: Vec<i64> = all
        .groups
        .iter()
        .map(at)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let in_seconds: Vec<f64> = times.iter().map(|it| seconds(*it)).collect();
    let line = |name: &str, of: &dyn Fn(&KpiGroupRecord) -> Option<f64>| Line {
        name: name.to_owned(),
        values: all.groups.iter().map(of).collect(),
        ..Line::default()
    };
    let chart = |title: &str, unit, lines, log| Chart {
        title: title.to_owned(),
        unit,
        times: in_seconds.clone(),
        lines,
        bound: None,
        log,
        command: command.to_owned(),
    };
    let mut by_version: BTreeMap<u32, BTreeMap<i64, f64>> = BTreeMap::new();
    for group in &versions.groups {
        let version = by_version.entry(group.version.unwrap_or(0)).or_default();
        version.insert(at(group), group.rows_per_s);
    }
    let by_version = by_version.into_iter().map(|(version, rates)| Line {
        name: format!("version {version}"),
        values: times
            .iter()
            .map(|it| Some(rates.get(it).copied().unwrap_or(0.0)))
            .collect(),
        ..Line::default()
    });
    let answered = |us: f64| (us > 0.0).then_some(us / 1000.0);
    let mut charts = vec![
        Chart {
            command: format!("{command} --by version"),
            ..chart(
                "Traffic by version",
                "rows a second",
                by_version.collect(),
                false,
            )
        },
        chart(
            "Latency",
            "ms",
            vec![
                line("p50", &|it| answered(it.total_us.p50)),
                line("p90", &|it| answered(it.total_us.p90)),
                line("p99", &|it| answered(it.total_us.p99)),
            ],
            true,
        ),
        chart(
            "Errors",
            "% of rows",
            vec![line("errors", &|it| Some(it.error_rate * 100.0))],
            false,
        ),
    ];
    let cost = match &all.currency {
        Some(_) => line("cost", &|it| it.cost_per_1000),
        None => line("core seconds", &|it| {
            Some(it.cpu_s / it.rows.max(1) as f64 * 1000.0)
        }),
    };
    let title = match &all.currency {
        Some(currency) => format!("Cost of 1,000 rows, in {currency}"),
        None => "Core seconds of 1,000 rows".to_owned(),
    };
    charts.push(chart(&title, "", vec![cost], false));
    charts
}

/// Realised quality.
pub(crate) async fn quality(
    ask: Ask,
    Path(name): Path<String>,
    Query(range): Query<RangeQuery>,
) -> Response {
    let charts = async {
        let quality = Address::api(&["models", &name, "quality"]).with("every", range.every());
        let looks = Address::api(&["models", &name, "findings"])
            .with("monitor", "estimated_quality")
            .with("limit", LOOKS);
        let (quality, looks) = futures::join!(
            ask.get::<QualityRecord>(range.on(quality)),
            ask.get::<PageRecord<LookRecord>>(range.on(looks)),
        );
        let (quality, looks) = (quality?, looks?);
        let command = format!(
            "windlass quality {} {} --every {}",
            show::quoted(&name),
            range.flags(),
            range.every()
        );
        let said = coverage(&quality);
        Ok(Charts {
            charts: vec![of_quality(&quality, &looks.items, &command)],
            heat: None,
            said,
        })
    };
    part(charts.await)
}

/// Looks of monitors that a chart shows.
const LOOKS: u32 = 500;

fn coverage(quality: &QualityRecord) -> String {
    let sum = |of: fn(&wire::api::ledger::QualityGroupRecord) -> u64| -> u64 {
        quality.groups.iter().map(of).sum()
    };
    let (predictions, labelled) = (sum(|it| it.predictions), sum(|it| it.labelled));
    match (predictions, labelled) {
        (0, _) => "No predictions in this range of time.".to_owned(),
        (predictions, 0) => format!(
            "None of {} predictions has a label yet: what is shown is estimated.",
            show::count(predictions)
        ),
        (predictions, labelled) => format!(
            "{} of {} predictions have a label ({}).",
            show::count(labelled),
            show::count(predictions),
            show::percent(labelled as f64 / predictions as f64)
        ),
    }
}

/// The metric by which a task is told first.
fn headline(task: &str) -> &'static str {
    match task {
        "regression" => "mae",
        _ => "accuracy",
    }
}

fn of_quality(quality: &QualityRecord, looks: &[LookRecord], command: &str) -> Chart {
    let estimated = looks.iter().rev().flat_map(|look| {
        let found = look.findings.iter().map(move |it| (look.at_ms * 1000, it));
        found.filter(|(_, it)| it.segment.is_none() && number(it, "value").is_some())
    });
    let estimated: Vec<(i64, &FindingRecord)> = estimated.collect();
    let metric = estimated
        .first()
        .map_or(headline(&quality.task), |(_, it)| it.subject.as_str());
    let measured: Vec<_> = quality
        .groups
        .iter()
        .filter_map(|it| Some((it.from_us?, it.version, it.metrics.get(metric)?)))
        .collect();
    let times: BTreeSet<i64> = measured
        .iter()
        .map(|it| it.0)
        .chain(estimated.iter().map(|it| it.0))
        .collect();
    let mut lines = Vec::new();
    let versions: BTreeSet<u32> = measured.iter().map(|it| it.1).collect();
    for version in versions {
        let of = |time: &i64| {
            let mut all = measured.iter();
            all.find(|it| it.0 == *time && it.1 == version)
                .map(|it| it.2)
        };
        lines.push(Line {
            name: format!("version {version}, realised"),
            values: times.iter().map(|it| of(it).map(|it| it.value)).collect(),
            low: times.iter().map(|it| of(it)?.low).collect(),
            high: times.iter().map(|it| of(it)?.high).collect(),
            dashed: false,
        });
    }
    let of = |time: &i64, name: &str| {
        let mut all = estimated.iter().filter(|it| it.1.subject == metric);
        all.find(|it| it.0 == *time)
            .and_then(|it| number(it.1, name))
    };
    if !estimated.is_empty() {
        lines.push(Line {
            name: "estimated".to_owned(),
            values: times.iter().map(|it| of(it, "value")).collect(),
            low: times.iter().map(|it| of(it, "low")).collect(),
            high: times.iter().map(|it| of(it, "high")).collect(),
            dashed: true,
        });
    }
    let bound = estimated
        .last()
        .and_then(|(_, it)| number(it, "under").or(number(it, "over")));
    Chart {
        title: format!("Quality: {}", metric.replace('_', " ")),
        unit: "",
        times: times.iter().map(|it| seconds(*it)).collect(),
        lines,
        bound,
        log: false,
        command: command.to_owned(),
    }
}

pub(crate) fn number(finding: &FindingRecord, name: &str) -> Option<f64> {
    match finding.evidence.get(name)? {
        domain::alert::Fact::Number(number) => Some(*number),
        domain::alert::Fact::Text(_) => None,
    }
}

/// How each column drifted over time.
pub(crate) async fn findings(
    ask: Ask,
    Path(name): Path<String>,
    Query(range): Query<RangeQuery>,
) -> Response {
    let charts = async {
        let looks = Address::api(&["models", &name, "findings"])
            .with("monitor", "drift")
            .with("limit", LOOKS);
        let looks: PageRecord<LookRecord> = ask.get(range.on(looks)).await?;
        let command = format!("windlass drift {}", show::quoted(&name));
        Ok(Charts {
            charts: Vec::new(),
            said: String::new(),
            heat: Some(of_drift(&looks.items, command)),
        })
    };
    part(charts.await)
}

/// Columns of a heat map at most: those that moved most.
const HEAT_ROWS: usize = 40;

fn of_drift(looks: &[LookRecord], command: String) -> Heat {
    let looks: Vec<&LookRecord> = looks.iter().rev().collect();
    let mut rows: BTreeMap<&str, HeatRow> = BTreeMap::new();
    for (place, look) in looks.iter().enumerate() {
        for finding in look.findings.iter().filter(|it| it.segment.is_none()) {
            let row = rows.entry(&finding.subject).or_insert_with(|| HeatRow {
                name: finding.subject.clone(),
                values: vec![None; looks.len()],
                verdicts: vec!["unknown"; looks.len()],
            });
            let effect = number(finding, "effect").zip(number(finding, "margin"));
            row.values[place] = effect.map(|(effect, margin)| effect.abs() / margin);
            row.verdicts[place] = match finding.verdict.as_str() {
                "bad" => "bad",
                "fine" => "fine",
                _ => "unknown",
            };
        }
    }
    let most = |row: &HeatRow| row.values.iter().flatten().copied().fold(0.0, f64::max);
    let mut rows: Vec<HeatRow> = rows.into_values().collect();
    rows.sort_by(|a, b| {
        most(b)
            .total_cmp(&most(a))
            .then_with(|| a.name.cmp(&b.name))
    });
    rows.truncate(HEAT_ROWS);
    Heat {
        title: "Drift by column, in times of what matters".to_owned(),
        times: looks.iter().map(|it| it.at_ms as f64 / 1000.0).collect(),
        rows,
        command,
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
