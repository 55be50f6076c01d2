//! Objectives of quality: the share of labelled rows that were answered rightly.
//!
//! Labels come late, so the windows are counted back from the newest row that has one, and not from now. They are looked
//! at as often as the other monitors of quality.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::ledger::{Loss, Losses, Question, Range};
use domain::Refusal;
use domain::alert::Finding;
use domain::monitor::slo::{Count, Kind, Objective, PAIRS};

use super::{LOOK_MAX, finding};
use crate::app::App;
use crate::clock::wall_ms;
use crate::fairness::or_nothing;
use crate::running::Running;

/// Of a window; a sample tells a share as well as more would.
const LOSSES: Losses = Losses {
    kept_max: 20_000,
    read_max: 1_000_000,
};
/// How long before now the newest labelled row is looked for.
const NEWEST_WITHIN_US: i64 = 30 * 86_400 * 1_000_000;

/// Looks at the model's objectives of quality.
pub(crate) async fn look(app: &Arc<App>, running: &Running) -> Result<Vec<Finding>, Refusal> {
    let objectives = running.monitor.objectives.iter();
    let objectives: Vec<&Objective> = objectives.filter(|it| it.kind == Kind::Quality).collect();
    if objectives.is_empty() {
        return Ok(Vec::new());
    }
    let now_us = wall_ms() * 1000;
    let recent = losses(app, running, now_us - NEWEST_WITHIN_US, now_us).await?;
    let newest_us = recent.iter().map(|it| it.made_us).max().unwrap_or(0);
    let mut windows: BTreeMap<Duration, Vec<Loss>> = BTreeMap::new();
    for window in PAIRS.iter().flat_map(|it| [it.short, it.long]) {
        if !recent.is_empty() && !windows.contains_key(&window) {
            let window_us = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
            // Ids tell milliseconds.
            let to_us = newest_us + 1000;
            let found = losses(app, running, to_us - window_us, to_us).await?;
            windows.insert(window, found);
        }
    }
    let looked = objectives.into_iter().map(|objective| {
        let count = |window| {
            windows
                .get(&window)
                .map_or(Count::default(), |it| count(objective, it))
        };
        finding(running, objective, objective.look(count))
    });
    Ok(looked.collect())
}

/// Classes are wrong by 1 or not at all.
fn count(objective: &Objective, losses: &[Loss]) -> Count {
    let within = objective.within.unwrap_or(0.0);
    let bad = losses.iter().filter(|it| it.loss > within).count();
    Count {
        bad: bad as u64,
        all: losses.len() as u64,
    }
}

/// The losses of labelled rows of all versions, or of a sample of them.
async fn losses(
    app: &Arc<App>,
    running: &Running,
    from_us: i64,
    to_us: i64,
) -> Result<Vec<Loss>, Refusal> {
    let question = Question {
        losses: Some(LOSSES),
        threads: app.questions.threads,
        ..Question::of(
            running.model.as_str(),
            Range { from_us, to_us },
            wall_ms() * 1000,
        )
    };
    let ledger = Arc::clone(&app.keeper.ledger);
    let counting = move || ledger.snapshot(wall_ms())?.quality(&question);
    let quality = or_nothing(app.questions.compute(LOOK_MAX, counting).await)?;
    let groups = quality.groups.into_iter();
    Ok(groups.flat_map(|it| it.losses).collect())
}
