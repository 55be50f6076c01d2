//! A version's predictions by the window in which they were made, counted back from now, with the labels that have
//! come since.

use std::sync::Arc;

use ::ledger::{Group, Quality, Question, Range, Spans};
use domain::Refusal;
use domain::monitor::limit::Figure;
use stats::Estimate;

use super::LOOK_MAX;
use crate::app::App;
use crate::clock::wall_ms;
use crate::fairness::or_nothing;
use crate::running::Running;

/// So many windows are looked at; what is older is not.
pub(super) const WINDOWS: i64 = 30;

/// The windows, each told by the columns `by`, at a level of their intervals.
pub(super) async fn ask(
    app: &Arc<App>,
    running: &Running,
    by: Vec<String>,
    level: f64,
) -> Result<Quality, Refusal> {
    answer(app, running, by, (level, 0)).await
}

/// The windows, each with as many scored rows one by one, or a sample of so many.
pub(super) async fn ask_scored(
    app: &Arc<App>,
    running: &Running,
    level: f64,
    scored_max: usize,
) -> Result<Quality, Refusal> {
    answer(app, running, Vec::new(), (level, scored_max)).await
}

async fn answer(
    app: &Arc<App>,
    running: &Running,
    by: Vec<String>,
    (level, scored_max): (f64, usize),
) -> Result<Quality, Refusal> {
    let now_us = wall_ms() * 1000;
    let window = running.monitor.window.0.as_micros();
    // A window is at most 400 days.
    let every_us = i64::try_from(window).unwrap_or(i64::MAX / WINDOWS);
    let question = Question {
        model: running.model.to_string(),
        range: Range {
            from_us: now_us.saturating_sub(WINDOWS * every_us),
            to_us: now_us,
        },
        version: Some(running.version.number()),
        by,
        spans: Some(Spans {
            from_us: now_us,
            every_us,
        }),
        scored_max,
        level,
        threads: app.questions.threads,
        now_us,
    };
    let ledger = Arc::clone(&app.keeper.ledger);
    let counting = move || ledger.snapshot(now_us / 1000)?.quality(&question);
    or_nothing(app.questions.compute(LOOK_MAX, counting).await)
}

/// Whether a window's labels are as many as they will be, and enough.
pub(super) fn is_mature(group: &Group, support: u64) -> bool {
    !group.provisional && group.labelled >= support
}

/// An estimate as `domain` judges it.
pub(super) fn figure(estimate: Estimate) -> Figure {
    Figure {
        value: estimate.value,
        low: estimate.low,
        high: estimate.high,
    }
}
