//! The server: whether it is well, what it does, and what is near its bound.

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;
use futures::future::join_all;
use wire::api::ledger::LedgerRecord;
use wire::api::{LimitRecord, ServingRecord, StatusRecord, VersionDetailRecord};

use super::{Frame, part, shown};
use crate::ask::{Address, Ask, Problem};
use crate::show;

/// Versions whose sessions are shown.
const VERSIONS_MAX: usize = 500;
/// From this share of a bound on, it is near.
const NEAR: f64 = 0.8;

#[derive(Template)]
#[template(path = "system.html")]
struct SystemPage {
    frame: Frame,
    status: StatusRecord,
    ledger: LedgerRecord,
    limits: Vec<LimitRecord>,
    metrics: Metrics,
    bounds: Vec<Bound>,
}

/// Something that is counted, and the most that it may be.
struct Bound {
    name: String,
    value: f64,
    most: u64,
    unit: Unit,
    /// The setting that bounds it; empty where that is none.
    limit: &'static str,
    full: Full,
}

/// What is counted.
#[derive(Clone, Copy)]
enum Unit {
    Things,
    Bytes,
}

impl Unit {
    fn shown(self, value: u64) -> String {
        match self {
            Self::Things => show::count(value),
            Self::Bytes => show::bytes(value),
        }
    }
}

/// What becomes of what comes at the bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Full {
    /// It is refused or lost.
    Refused,
    /// The oldest gives way to it, as somebody wanted: to be there is usual.
    OldestGoes,
}

impl Bound {
    fn of(name: impl Into<String>, value: f64, most: u64) -> Self {
        Self {
            name: name.into(),
            value,
            most,
            unit: Unit::Things,
            limit: "",
            full: Full::Refused,
        }
    }

    fn now(&self) -> String {
        self.unit.shown(self.value as u64)
    }

    fn at_most(&self) -> String {
        self.unit.shown(self.most)
    }

    fn share(&self) -> f64 {
        self.value / (self.most as f64).max(1.0)
    }

    fn is_near(&self) -> bool {
        self.full == Full::Refused && self.share() >= NEAR
    }

    /// How long its bar is, of 100.
    fn width(&self) -> String {
        format!("{:.1}", (self.share() * 100.0).clamp(0.0, 100.0))
    }
}

/// What `/metrics` says.
struct Metrics(Vec<Sample>);

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads Prometheus' text format, as the server writes it: labels hold nothing that is escaped.
    fn read(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|it| !it.starts_with('#'))
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let labels = labels.trim_end_matches('}').split(',').filter_map(|it| {
                    let (name, value) = it.split_once('=')?;
                    Some((name.to_owned(), value.trim_matches('"').to_owned()))
                });
                Some(Sample {
                    name: name.to_owned(),
                    labels: labels.collect(),
                    value: value.parse().ok()?,
                })
            });
        Self(samples.collect())
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |it| it.name == name)
    }

    fn one(&self, name: &str) -> f64 {
        self.of(name).map(|it| it.value).sum()
    }

    fn count(&self, name: &str) -> u64 {
        self.one(name) as u64
    }
}

pub(crate) async fn page(ask: Ask) -> Response {
    let page = async {
        let (status, ledger, limits, metrics) = futures::join!(
            ask.get::<StatusRecord>(Address::api(&["status"])),
            ask.get::<LedgerRecord>(Address::api(&["ledger"])),
            ask.get::<Vec<LimitRecord>>(Address::api(&["limits"])),
            ask.text(Address::of("/metrics", &[])),
        );
        Ok(made(status?, ledger?, limits?, Metrics::read(&metrics?)))
    };
    shown(page.await)
}

fn made(
    status: StatusRecord,
    ledger: LedgerRecord,
    limits: Vec<LimitRecord>,
    metrics: Metrics,
) -> SystemPage {
    SystemPage {
        frame: Frame::new("system", "System"),
        bounds: bounds(&limits, &metrics, &ledger),
        status,
        ledger,
        limits,
        metrics,
    }
}

/// What is counted and has a bound, the nearest first.
fn bounds(limits: &[LimitRecord], metrics: &Metrics, ledger: &LedgerRecord) -> Vec<Bound> {
    let limited = |name: String, value: f64, limit: &'static str| {
        let found = limits.iter().find(|it| it.name == limit)?;
        Some(Bound {
            limit,
            ..Bound::of(name, value, found.value)
        })
    };
    let in_bytes = |name: &str, value: u64, most: u64| Bound {
        unit: Unit::Bytes,
        ..Bound::of(name, value as f64, most)
    };
    let mut bounds: Vec<Bound> = Vec::new();
    let counted = [
        (
            "requests being worked on",
            "windlass_requests",
            "requests_max",
        ),
        ("those who listen", "windlass_listeners", "listeners_max"),
    ];
    bounds.extend(
        counted.into_iter().filter_map(|(name, metric, limit)| {
            limited(name.to_owned(), metrics.one(metric), limit)
        }),
    );
    let waiting = metrics.of("windlass_rows_waiting");
    bounds.extend(waiting.filter_map(|it| {
        let (model, version) = (label(it, "model"), label(it, "version"));
        let name = format!("rows waiting for {model}:{version}");
        limited(name, it.value, "rows_waiting_max")
    }));
    bounds.push(Bound::of(
        "notifications of alerts waiting",
        metrics.one("windlass_alert_deliveries_waiting"),
        metrics.count("windlass_alert_deliveries_waiting_max"),
    ));
    let memory = metrics.count("process_resident_memory_bytes");
    let available = metrics.of("windlass_memory_available_bytes").next();
    bounds.extend(available.map(|it| {
        let most = memory.saturating_add(it.value as u64);
        in_bytes("memory of the process, of what it could have", memory, most)
    }));
    bounds.push(Bound::of(
        "segments of the ledger's log that wait to be put into files",
        ledger.segments_waiting as f64,
        ledger.segments_max,
    ));
    let files: u64 = ledger.models.iter().map(|it| it.bytes).sum();
    let disk = files.saturating_add(ledger.log_bytes);
    bounds.extend(ledger.free_bytes.map(|free| {
        let most = disk.saturating_add(free);
        in_bytes("the ledger, of what its volume has room for", disk, most)
    }));
    bounds.extend(ledger.models.iter().filter_map(|it| {
        let name = format!("files of {}, of which the oldest go", it.model);
        Some(Bound {
            limit: "ledger.retain_bytes",
            full: Full::OldestGoes,
            ..in_bytes(&name, it.bytes, it.bytes_max?)
        })
    }));
    // What an older server does not tell has no bound.
    bounds.retain(|it| it.most > 0);
    bounds.sort_by(|a, b| {
        let near = b.is_near().cmp(&a.is_near());
        near.then_with(|| b.share().total_cmp(&a.share()))
    });
    bounds
}

fn label<'a>(sample: &'a Sample, name: &str) -> &'a str {
    sample.labels.get(name).map_or("", String::as_str)
}

impl SystemPage {
    /// What the page says first, and whether that is bad.
    fn headline(&self) -> (String, bool) {
        let near = self.bounds.iter().filter(|it| it.is_near()).count();
        let dead = self.metrics.count("windlass_alert_dead_letters");
        if let Some(trouble) = &self.ledger.trouble {
            return (format!("Nothing can be recorded: {trouble}"), true);
        }
        if !self.status.ready {
            return ("It does not answer every model now".to_owned(), true);
        }
        match (near, dead) {
            (0, 0) => ("All is well".to_owned(), false),
            (0, dead) => (
                format!("{dead} notifications of alerts were given up"),
                true,
            ),
            (near, _) => (format!("{near} near the bound"), true),
        }
    }
}

#[derive(Template)]
#[template(path = "system_work.html")]
struct Work {
    rows: Vec<WorkRow>,
}

/// What a version that is loaded does.
struct WorkRow {
    model: String,
    version: String,
    waiting: u64,
    pending: u64,
    answered: u64,
    failed: u64,
    runs: u64,
    serving: Option<ServingRecord>,
}

impl WorkRow {
    /// Rows that shared a run, on average.
    fn shared(&self, rows: &u64) -> String {
        match self.runs {
            0 => "–".to_owned(),
            runs => show::number(*rows as f64 / runs as f64),
        }
    }
}

/// Queues and sessions by version: a question for each, so it comes after the page.
pub(crate) async fn work(ask: Ask) -> Response {
    let work = async {
        let metrics = Metrics::read(&ask.text(Address::of("/metrics", &[])).await?);
        let mut rows = loaded(&metrics);
        let details = rows.iter().map(|it| {
            let address = Address::api(&["models", &it.model, "versions", &it.version]);
            ask.get::<VersionDetailRecord>(address)
        });
        let details: Vec<Result<VersionDetailRecord, Problem>> = join_all(details).await;
        for (row, detail) in rows.iter_mut().zip(details) {
            row.serving = detail.ok().and_then(|it| it.serving);
        }
        Ok(Work { rows })
    };
    part(work.await)
}

fn loaded(metrics: &Metrics) -> Vec<WorkRow> {
    let waiting = metrics.of("windlass_rows_waiting").take(VERSIONS_MAX);
    let rows = waiting.map(|it| {
        let of = |name: &str| -> u64 {
            let same = |other: &&Sample| {
                ["model", "version"]
                    .iter()
                    .all(|name| label(other, name) == label(it, name))
            };
            metrics
                .of(name)
                .filter(same)
                .map(|it| it.value)
                .sum::<f64>() as u64
        };
        WorkRow {
            model: label(it, "model").to_owned(),
            version: label(it, "version").to_owned(),
            waiting: it.value as u64,
            pending: of("nv_inference_pending_request_count"),
            answered: of("nv_inference_count"),
            failed: of("nv_inference_request_failure"),
            runs: of("nv_inference_exec_count"),
            serving: None,
        }
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "# HELP windlass_requests Requests being worked on\n# TYPE windlass_requests gauge\n\
        windlass_requests 3\n\
        windlass_rows_waiting{model=\"credit\",version=\"2\"} 90\n\
        nv_inference_count{model=\"credit\",version=\"2\"} 40\n\
        nv_inference_exec_count{model=\"credit\",version=\"2\"} 16\n\
        nv_inference_request_failure{model=\"credit\",version=\"2\",reason=\"OTHER\"} 1\n\
        nv_inference_request_failure{model=\"credit\",version=\"2\",reason=\"BACKEND\"} 2\n\
        windlass_alert_dead_letters 0\n\
        windlass_listeners 128\n\
        process_resident_memory_bytes 1073741824\n\
        windlass_memory_available_bytes 1073741824\n\
        windlass_alert_deliveries_waiting 1\n\
        windlass_alert_deliveries_waiting_max 1000\n";

    fn limit(name: &str, value: u64) -> LimitRecord {
        LimitRecord {
            name: name.to_owned(),
            value,
            unit: "rows".to_owned(),
            about: "<script>x".to_owned(),
        }
    }

    #[test]
    fn metrics_are_read_as_they_are_written() {
        let rows = loaded(&Metrics::read(TEXT));
        let [row] = &rows[..] else { panic!("one row") };
        assert_eq!((row.model.as_str(), row.version.as_str()), ("credit", "2"));
        assert_eq!(
            (row.waiting, row.answered, row.failed, row.runs),
            (90, 40, 3, 16)
        );
        assert_eq!(row.shared(&row.answered), "2.50");
    }

    #[test]
    fn what_is_near_its_bound_is_said_first() {
        let status = StatusRecord {
            version: "<b>1".to_owned(),
            started_ms: 1,
            ready: true,
            runtime: Some("<i>".to_owned()),
            models_ready: 1,
            models: 1,
        };
        let ledger: LedgerRecord = serde_json::from_value(json!({
            "mode": "buffered", "recorded": 1, "labelled": 0, "lost": 2, "shed": 0, "log_bytes": 1, "segments_waiting": 8, "segments_max": 32, "free_bytes": 94,
            "models": [{"model": "<m>", "predictions": 1, "labels": 0, "files": 1, "bytes": 5, "bytes_max": 5, "first_day": null, "last_day": "<u>"}],
            "torn_bytes": 0, "damaged_records": 0, "damaged_rows": 0, "damaged_files": 0, "damaged_file_rows": 0,
            "expired_rows": 0,
        }))
        .expect("a ledger");
        let limits = vec![
            limit("requests_max", 100),
            limit("rows_waiting_max", 100),
            limit("listeners_max", 256),
        ];
        let page = made(status, ledger, limits, Metrics::read(TEXT));
        let told = page.bounds.iter().map(|it| {
            let near = if it.is_near() { " near" } else { "" };
            format!("{}: {} of {}{near}", it.name, it.now(), it.at_most())
        });
        // What only lets the oldest go is never near its bound.
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "rows waiting for credit:2: 90 of 100 near",
                "files of <m>, of which the oldest go: 5 B of 5 B",
                "those who listen: 128 of 256",
                "memory of the process, of what it could have: 1.0 GiB of 2.0 GiB",
                "segments of the ledger's log that wait to be put into files: 8 of 32",
                "the ledger, of what its volume has room for: 6 B of 100 B",
                "requests being worked on: 3 of 100",
                "notifications of alerts waiting: 1 of 1,000",
            ]
        );
        assert_eq!(page.headline(), ("1 near the bound".to_owned(), true));
        let text = page.render().expect("HTML");
        for tag in ["<script>x", "<b>", "<i>", "<m>", "<u>"] {
            assert!(!text.contains(tag), "{tag} in {text}");
        }
    }
}
