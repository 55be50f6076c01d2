//! What changed around a moment. The window before the moment and the one behind it are each compared with the hours
//! before both, in spans of a twelfth of a window.
//!
//! R1. What may be chance is not told as a change: bounds and tests share one probability of a false one.
//! R2. What could not be judged is said, with the reason.

mod columns;
mod events;
mod series;

use std::sync::Arc;

use ::ledger::Range;
use domain::access::{Permission, Read};
use domain::alert::{Evidence, Fact};
use domain::why::{Around, Clue, rank};
use domain::{ModelName, Refusal};
use stats::Estimate;
use wire::api::drift::LeftOutRecord;
use wire::api::why as api;

use crate::app::App;
use crate::clock::wall_ms;
use crate::drift::{version_of, version_record};
use crate::http::{limit, sql_limits};

/// Spans of a window.
const SPANS: i64 = 12;
/// How often anything may be told that did not change.
const ALPHA: f64 = 0.05;

/// What is asked.
pub(crate) struct Asking {
    pub(crate) model: ModelName,
    pub(crate) at_us: i64,
    /// How long before and behind the moment is looked at.
    pub(crate) window_us: i64,
    /// How long before that it is compared with.
    pub(crate) before_us: i64,
}

/// The spans of time that are looked at, by their numbers: their beginnings over `every_us`.
#[derive(Clone, Copy)]
struct Frame {
    every_us: i64,
    /// The first of what is compared with.
    first: i64,
    /// The span of the moment.
    at: i64,
    /// The first that is not looked at any more.
    end: i64,
}

impl Frame {
    fn new(asking: &Asking, now_us: i64) -> Self {
        let every_us = (asking.window_us / SPANS).max(1);
        let at = asking.at_us.div_euclid(every_us);
        let before = (asking.before_us / every_us).max(1);
        let now = now_us.div_euclid(every_us) + 1;
        Self {
            every_us,
            first: at - SPANS - before,
            at,
            end: now.clamp(at, at + SPANS),
        }
    }

    /// The window before the moment, and the one behind it.
    fn halves(self) -> [(i64, i64); 2] {
        [(self.at - SPANS, self.at), (self.at, self.end)]
    }

    fn before(self) -> (i64, i64) {
        (self.first, self.at - SPANS)
    }

    fn range(self, (from, to): (i64, i64)) -> Range {
        Range {
            from_us: from * self.every_us,
            to_us: to * self.every_us,
        }
    }

    /// When a span begins.
    fn time(self, span: i64) -> i64 {
        span * self.every_us
    }
}

/// What is found out.
#[derive(Default)]
struct Found {
    clues: Vec<Clue>,
    unchanged: Vec<String>,
    unjudged: Vec<LeftOutRecord>,
}

impl Found {
    fn unjudged(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.unjudged.push(LeftOutRecord {
            name: name.into(),
            why: why.into(),
        });
    }
}

/// Looks for what changed around a moment.
pub(crate) async fn moment(
    app: &App,
    _: Permission<Read>,
    asking: Asking,
) -> Result<api::MomentRecord, Refusal> {
    let now_us = wall_ms() * 1000;
    let frame = Frame::new(&asking, now_us);
    let model = asking.model.clone();
    let mut found = Found::default();
    events::look(app, &asking, &mut found).await?;

    let all = frame.range((frame.first, frame.end));
    let (ledger, limits, name) = (
        Arc::clone(&app.keeper.ledger),
        sql_limits(app),
        model.to_string(),
    );
    let counting = app.questions.ask(limit(app), async move {
        let snapshot = ledger.snapshot(now_us / 1000)?;
        let codes = snapshot.codes(&name, all, frame.every_us, limits).await?;
        let by = ::ledger::KpiBy::All;
        let kpis = snapshot
            .kpi(&name, all, by, Some(frame.every_us), limits)
            .await?;
        Ok((codes, kpis))
    });
    let (codes, kpis) = counting.await?;
    // The settings are those of whatever version has the traffic; without one the defaults hold.
    let setting = match version_of(app, &model, None).await {
        Ok(version) => version_record(app, &model, version).await?.1.monitor,
        Err(_) => domain::monitor::Setting::default(),
    };
    let versions = series::look(frame, &codes, &kpis, &setting.anomaly, &mut found);
    columns::look(app, &model, frame, versions, &mut found).await?;

    let around = Around {
        at_us: asking.at_us,
        window_us: asking.window_us,
        span_us: frame.every_us,
    };
    let causes = rank(found.clues, around).into_iter().map(|(score, clue)| {
        let Clue {
            role,
            kind,
            subject,
            at_us,
            size: _,
            summary,
            evidence,
        } = clue;
        api::CauseRecord {
            role: role.name().to_owned(),
            kind: kind.to_owned(),
            subject,
            at_us,
            score,
            summary,
            evidence,
        }
    });
    let windows = frame.range((frame.at - SPANS, frame.end));
    Ok(api::MomentRecord {
        model: model.to_string(),
        at_us: asking.at_us,
        from_us: windows.from_us,
        to_us: windows.to_us.min(now_us),
        before_from_us: all.from_us,
        causes: causes.collect(),
        unchanged: found.unchanged,
        unjudged: found.unjudged,
    })
}

/// The numbers of a change.
fn evidence(before: f64, now: f64, change: Estimate) -> Evidence {
    let mut evidence = Evidence::from([
        ("before".to_owned(), Fact::Number(before)),
        ("now".to_owned(), Fact::Number(now)),
        ("change".to_owned(), Fact::Number(change.value)),
    ]);
    for (name, end) in [("low", change.low), ("high", change.high)] {
        if let Some(end) = end {
            evidence.insert(name.to_owned(), Fact::Number(end));
        }
    }
    evidence
}

/// With so many digits as people compare.
fn rounded(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn interval(it: Estimate) -> String {
    match (it.low, it.high) {
        (Some(low), Some(high)) => {
            format!(
                "{} [{}, {}]",
                rounded(it.value),
                rounded(low),
                rounded(high)
            )
        }
        _ => rounded(it.value),
    }
}
