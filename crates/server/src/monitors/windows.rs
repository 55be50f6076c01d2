//! A version's predictions by the window in which they were made, counted back from now, with the labels that have
//! come since.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::ledger::{Examples, Group, Losses, Quality, Question, Range, Spans};
use domain::Refusal;
use domain::monitor::segments::Segments;

use super::LOOK_MAX;
use crate::app::App;
use crate::attributes;
use crate::clock::wall_ms;
use crate::drift::LEVEL;
use crate::fairness::or_nothing;
use crate::running::Running;

/// So many windows are looked at; what is older is not.
pub(super) const WINDOWS: i64 = 30;

/// The answer of a question that several monitors look at; none where nobody needed one.
pub(super) type Shared = Result<Option<Arc<Quality>>, Refusal>;

/// The windows, each told by the columns `by`, at a level of their intervals.
pub(super) async fn ask(
    app: &Arc<App>,
    running: &Running,
    by: Vec<String>,
    level: f64,
) -> Result<Quality, Refusal> {
    let wanted = Wanted {
        by,
        ..Wanted::default()
    };
    answer(app, running, level, wanted).await
}

/// The windows, told by a column whose values are segments.
pub(super) async fn ask_segments(
    app: &Arc<App>,
    running: &Running,
    segments: &Segments,
    level: f64,
) -> Result<Quality, Refusal> {
    let wanted = Wanted {
        by: vec![segments.by.clone()],
        cuts: BTreeMap::from([(segments.by.clone(), segments.edges.clone())]),
        ..Wanted::default()
    };
    answer(app, running, level, wanted).await
}

/// The windows, each with as many scored rows one by one, or a sample of so many.
pub(super) async fn ask_scored(
    app: &Arc<App>,
    running: &Running,
    level: f64,
    scored_max: usize,
) -> Result<Quality, Refusal> {
    let wanted = Wanted {
        scored_max,
        ..Wanted::default()
    };
    answer(app, running, level, wanted).await
}

/// The windows, each with the losses of labelled rows, and with intervals as they are shown. None where nobody has told
/// any label.
pub(super) async fn ask_losses(
    app: &Arc<App>,
    running: &Running,
    losses: Losses,
) -> Result<Option<Quality>, Refusal> {
    let wanted = Wanted {
        losses: Some(losses),
        ..Wanted::default()
    };
    let question = question(app, running, LEVEL, wanted).await?;
    let ledger = Arc::clone(&app.keeper.ledger);
    let counting = move || {
        let snapshot = ledger.snapshot(question.now_us / 1000)?;
        match snapshot.has_labels(&question.model)? {
            true => or_nothing(snapshot.quality(&question)).map(Some),
            false => Ok(None),
        }
    };
    app.questions.compute(LOOK_MAX, counting).await
}

/// The windows, each with rows of a model of numbers and their features.
pub(super) async fn ask_examples(
    app: &Arc<App>,
    running: &Running,
    examples: Examples,
    level: f64,
) -> Result<Quality, Refusal> {
    let wanted = Wanted {
        examples: Some(examples),
        ..Wanted::default()
    };
    answer(app, running, level, wanted).await
}

/// How the windows are told, and what is kept of rows one by one.
#[derive(Default)]
struct Wanted {
    by: Vec<String>,
    cuts: BTreeMap<String, Vec<f64>>,
    scored_max: usize,
    losses: Option<Losses>,
    examples: Option<Examples>,
}

async fn answer(
    app: &Arc<App>,
    running: &Running,
    level: f64,
    wanted: Wanted,
) -> Result<Quality, Refusal> {
    let question = question(app, running, level, wanted).await?;
    let ledger = Arc::clone(&app.keeper.ledger);
    let counting = move || {
        let snapshot = ledger.snapshot(question.now_us / 1000)?;
        or_nothing(snapshot.quality(&question))
    };
    app.questions.compute(LOOK_MAX, counting).await
}

async fn question(
    app: &App,
    running: &Running,
    level: f64,
    wanted: Wanted,
) -> Result<Question, Refusal> {
    let now_us = wall_ms() * 1000;
    let window = running.monitor.window.0.as_micros();
    // A window is at most 400 days.
    let every_us = i64::try_from(window).unwrap_or(i64::MAX / WINDOWS);
    let range = Range {
        from_us: now_us.saturating_sub(WINDOWS * every_us),
        to_us: now_us,
    };
    Ok(Question {
        version: Some(running.version.number()),
        attributes: attributes::among(app, &running.model, &wanted.by).await?,
        by: wanted.by,
        spans: Some(Spans {
            from_us: now_us,
            every_us,
        }),
        cuts: wanted.cuts,
        scored_max: wanted.scored_max,
        losses: wanted.losses,
        examples: wanted.examples,
        level,
        threads: app.questions.threads,
        ..Question::of(running.model.as_str(), range, now_us)
    })
}

/// Whether a window's labels are as many as they will be, and enough.
pub(super) fn is_mature(group: &Group, support: u64) -> bool {
    !group.provisional && group.labelled >= support
}
