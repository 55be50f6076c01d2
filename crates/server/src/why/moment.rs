//! What changed around a moment. The window before the moment and the one behind it are each compared with the hours
//! before both, in spans of a twelfth of a window.
//!
//! R1. What may be chance is not told as a change: bounds and tests share one probability of a false one.
//! R2. What could not be judged is said, with the reason.

mod columns;
mod events;
mod series;

use std::sync::Arc;
use std::time::Duration;

use ::ledger::Range;
use domain::access::{Permission, Read};
use domain::alert::{Evidence, Fact};
use domain::manifest::Span;
use domain::monitor::Setting;
use domain::why::{Around, Clue, rank};
use domain::{ModelName, Refusal, Version};
use stats::Estimate;
use wire::api::drift::LeftOutRecord;
use wire::api::why as api;

use crate::app::App;
use crate::clock::wall_ms;
use crate::drift::{version_of, version_record};
use crate::questions::{limit, sql_limits};

/// Spans of a window.
const SPANS: i64 = 12;
/// Spans of the time before: it bounds what is counted and kept of one question.
const BEFORE_MAX: i64 = 9_000;
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
    fn new(asking: &Asking, now_us: i64) -> Result<Self, Refusal> {
        let every_us = (asking.window_us / SPANS).max(1);
        let at = asking.at_us.div_euclid(every_us);
        let before = (asking.before_us / every_us).max(1);
        if before > BEFORE_MAX {
            return Err(too_long(asking.before_us, every_us));
        }
        let now = now_us.div_euclid(every_us) + 1;
        Ok(Self {
            every_us,
            first: at - SPANS - before,
            at,
            end: now.clamp(at, at + SPANS),
        })
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

/// Why a time before cannot be told apart by the window, and what can be.
fn too_long(before_us: i64, every_us: i64) -> Refusal {
    let shown = |us: i64| Span(Duration::from_micros(us.unsigned_abs()));
    let second = 1_000_000;
    let window = SPANS * (before_us / BEFORE_MAX + 1);
    Refusal::Malformed {
        what: "`before`",
        why: format!(
            "`{}` has {} spans of a twelfth of `window`, over {BEFORE_MAX}; it may be `{}` with this window, or the \
             window `{}` and longer with this time before",
            shown(before_us),
            before_us / every_us,
            shown(BEFORE_MAX * every_us),
            shown((window / second + 1) * second),
        ),
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
    let frame = Frame::new(&asking, now_us)?;
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
        let spans = (all, frame.every_us);
        let served = snapshot.served(&name, None, spans, limits).await?;
        Ok((codes, served))
    });
    let (codes, served) = counting.await?;
    // The settings are those of whatever version has the traffic; without one the defaults hold.
    let setting = match if_any(version_of(app, &model, None).await)? {
        Some(version) => version_record(app, &model, version).await?.1.monitor,
        None => Setting::default(),
    };
    let judging = move || {
        let versions = series::look(frame, &codes, &served, &setting.anomaly, &mut found);
        Ok((versions, found))
    };
    let (versions, mut found) = app.questions.compute(limit(app), judging).await?;
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

/// The version that has the traffic, where one has it.
fn if_any(traffic: Result<Version, Refusal>) -> Result<Option<Version>, Refusal> {
    match traffic {
        Err(Refusal::NotReady { .. }) => Ok(None),
        traffic => traffic.map(Some),
    }
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

#[cfg(test)]
mod tests {
    use domain::why::Role;

    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3600 * SECOND;
    const DAY: i64 = 24 * HOUR;

    fn asking(at_us: i64, window_us: i64, before_us: i64) -> Asking {
        Asking {
            model: "credit".parse().expect("a name"),
            at_us,
            window_us,
            before_us,
        }
    }

    /// Everything that can be found is dated to the beginning of a span.
    #[test]
    fn what_began_with_the_window_is_told_whenever_the_moment_is() {
        for after_us in [0, 1, 181 * SECOND, 300 * SECOND - 1] {
            let asking = asking(1000 * HOUR + after_us, HOUR, 6 * HOUR);
            let frame = Frame::new(&asking, 2000 * HOUR).expect("a frame");
            let [(first, _), (_, end)] = frame.halves();
            let clue = |span| Clue {
                role: Role::Input,
                kind: "data_quality",
                subject: "Age".to_owned(),
                at_us: frame.time(span),
                size: 2.0,
                summary: String::new(),
                evidence: Evidence::new(),
            };
            let around = Around {
                at_us: asking.at_us,
                window_us: asking.window_us,
                span_us: frame.every_us,
            };
            let told = rank(vec![clue(first), clue(end - 1)], around);
            assert_eq!(told.len(), 2, "{after_us}");
        }
    }

    #[test]
    fn a_time_before_has_so_many_spans_at_most() {
        let spans = |window_us, before_us| {
            let frame = Frame::new(&asking(1000 * DAY, window_us, before_us), 1000 * DAY)?;
            Ok::<_, Refusal>(frame.end - frame.first)
        };
        assert_eq!(spans(HOUR, 31 * DAY).expect("fits"), 31 * 24 * 12 + 13);
        let why = |window_us, before_us| {
            let refusal = spans(window_us, before_us).expect_err("too many spans");
            refusal.to_string()
        };
        assert_eq!(
            why(60 * SECOND, 31 * DAY),
            "`before` cannot be read: `31d` has 535680 spans of a twelfth of `window`, over 9000; it may be `750m` \
             with this window, or the window `3572s` and longer with this time before"
        );
        // What it says fits.
        assert_eq!(spans(60 * SECOND, 750 * 60 * SECOND).expect("fits"), 9_013);
        assert!(spans(3572 * SECOND, 31 * DAY).is_ok());
        let shortest = why(SECOND / 10, 31 * DAY);
        assert!(shortest.contains("it may be `74997ms`"), "{shortest}");
        assert!(why(HOUR, 32 * DAY).contains("`before`"));
    }

    #[test]
    fn a_store_that_fails_is_not_a_model_without_traffic() {
        let version = Version::new(3).expect("a number");
        assert_eq!(if_any(Ok(version)), Ok(Some(version)));
        let reference = "credit".to_owned();
        let state = "it has no traffic".to_owned();
        assert_eq!(
            if_any(Err(Refusal::NotReady { reference, state })),
            Ok(None)
        );
        let what = "reading the registry".to_owned();
        let failed = Refusal::Internal { what };
        assert_eq!(if_any(Err(failed.clone())), Err(failed));
    }
}
