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
    limit: &'static str,
}

impl Bound {
    fn share(&self) -> f64 {
        self.value / (self.most as f64).max(1.0)
    }

    fn is_near(&self) -> bool {
        self.share() >= NEAR
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
        bounds: bounds(&limits, &metrics),
        status,
        ledger,
        limits,
        metrics,
    }
}

/// What is counted and has a bound, the nearest first.
fn bounds(limits: &[LimitRecord], metrics: &Metrics) -> Vec<Bound> {
    let most = |name: &str| limits.iter().find(|it| it.name == name).map(|it| it.value);
    let mut bounds = Vec::new();
    if let Some(most) = most("requests_max") {
        bounds.push(Bound {
            name: "requests being worked on".to_owned(),
            value: metrics.one("windlass_requests"),
            most,
            limit: "requests_max",
        });
    }
    if let Some(most) = most("rows_waiting_max") {
        let waiting = metrics.of("windlass_rows_waiting");
        bounds.extend(waiting.map(|it| Bound {
            name: format!(
                "rows waiting for {}:{}",
                label(it, "model"),
                label(it, "version")
            ),
            value: it.value,
            most,
            limit: "rows_waiting_max",
        }));
    }
    bounds.sort_by(|a, b| b.share().total_cmp(&a.share()));
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
        windlass_alert_dead_letters 0\n";

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
            "mode": "buffered", "recorded": 1, "labelled": 0, "lost": 2, "shed": 0, "log_bytes": 1, "segments_waiting": 0,
            "models": [{"model": "<m>", "predictions": 1, "labels": 0, "files": 1, "bytes": 5, "first_day": null, "last_day": "<u>"}],
            "torn_bytes": 0, "damaged_records": 0, "damaged_rows": 0, "damaged_files": 0, "damaged_file_rows": 0,
            "expired_rows": 0,
        }))
        .expect("a ledger");
        let limits = vec![limit("requests_max", 100), limit("rows_waiting_max", 100)];
        let page = made(status, ledger, limits, Metrics::read(TEXT));
        assert_eq!(page.bounds[0].name, "rows waiting for credit:2");
        assert!(page.bounds[0].is_near() && !page.bounds[1].is_near());
        assert_eq!(page.headline(), ("1 near the bound".to_owned(), true));
        let text = page.render().expect("HTML");
        for tag in ["<script>x", "<b>", "<i>", "<m>", "<u>"] {
            assert!(!text.contains(tag), "{tag} in {text}");
        }
    }
}
