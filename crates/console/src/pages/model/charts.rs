//! The charts of a model's page, each fetched by itself: it takes as long as its question to the ledger takes.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use domain::manifest::Span;
use wire::api::PageRecord;
use wire::api::ledger::{KpiGroupRecord, KpiRecord, QualityRecord, QueryRecord, RowsRecord};
use wire::api::overview::{FindingRecord, LookRecord};

use super::super::part;
use super::super::predictions::literal;
use super::{RangeQuery, seconds};
use crate::ask::{Address, Ask};
use crate::chart::{self, Chart, Heat, HeatRow, Line, Mark};
use crate::show;

#[derive(Default, Template)]
#[template(path = "charts.html")]
struct Charts {
    charts: Vec<Chart>,
    heat: Option<Heat>,
    said: String,
    /// What is marked on every chart of the page besides what the page knew.
    marks: Vec<Mark>,
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
            ..Charts::default()
        })
    };
    part(charts.await)
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
        let labels = arrived(&name, &quality, range.every());
        let came: RowsRecord = ask.post(Address::api(&["query"]), &labels).await?;
        let came = Came::all(&came);
        Ok(Charts {
            charts: vec![
                of_quality(&quality, &looks.items, &command),
                of_labels(&came, &labels.sql),
            ],
            marks: came.iter().map(Came::mark).collect(),
            said,
            ..Charts::default()
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

/// When labels came, counted by span.
fn arrived(name: &str, quality: &QualityRecord, every: &str) -> QueryRecord {
    let every = every
        .parse::<Span>()
        .map_or(60_000_000, |it| it.0.as_micros());
    let at = "cast(labelled_at as bigint)";
    let from = quality.from_us.map(|it| format!(" and {at} >= {it}"));
    let to = quality.to_us.map(|it| format!(" and {at} < {it}"));
    QueryRecord {
        sql: format!(
            "select {at} / {every} * {every} as at, count(*) as labels from labels where model = {}{}{} group by 1 order by 1",
            literal(name),
            from.unwrap_or_default(),
            to.unwrap_or_default()
        ),
        rows_max: Some(1000),
    }
}

/// Labels that came in one span of the axis of time.
struct Came {
    /// When it begins, in seconds since 1970.
    at: f64,
    labels: f64,
}

impl Came {
    fn all(rows: &RowsRecord) -> Vec<Self> {
        let rows = rows.rows.iter().filter_map(|it| {
            Some(Self {
                at: seconds(it.first()?.as_i64()?),
                labels: it.get(1)?.as_f64()?,
            })
        });
        rows.collect()
    }

    fn mark(&self) -> Mark {
        Mark {
            at: self.at,
            kind: "labels",
            said: show::count(self.labels as u64),
        }
    }
}

fn of_labels(came: &[Came], sql: &str) -> Chart {
    Chart {
        title: "Labels that came".to_owned(),
        unit: "in each span",
        times: came.iter().map(|it| it.at).collect(),
        lines: vec![Line {
            name: "labels".to_owned(),
            values: came.iter().map(|it| Some(it.labels)).collect(),
            ..Line::default()
        }],
        command: format!("windlass query {}", show::quoted(sql)),
        ..Chart::default()
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
        let command = format!(
            "windlass findings {} --monitor drift {}",
            show::quoted(&name),
            range.flags()
        );
        Ok(Charts {
            heat: Some(of_drift(&looks.items, command)),
            ..Charts::default()
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
