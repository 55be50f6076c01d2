//! Objectives of quality: the share of labelled rows that were answered rightly.
//!
//! Labels come late, so the windows are counted back from the newest row that has one, and not from now. They are looked
//! at as often as the other monitors of quality.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::ledger::{Loss, Losses, Question, Range, Snapshot};
use domain::alert::Finding;
use domain::monitor::slo::{Count, Kind, Objective, windows};
use domain::{ModelName, Refusal};

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
/// How long before now the newest labelled row is looked for, and then how long behind what was found: of more rows than
/// are read it is the ends of 60 parts of the time.
const STEPS_US: [i64; 3] = [30 * DAY_US, 30 * DAY_US / 60, 30 * DAY_US / 3600];
const DAY_US: i64 = 86_400_000_000;

/// Looks at the model's objectives of quality.
pub(crate) async fn look(app: &Arc<App>, running: &Running) -> Result<Vec<Finding>, Refusal> {
    let objectives = running.monitor.objectives.iter();
    let objectives: Vec<&Objective> = objectives.filter(|it| it.kind == Kind::Quality).collect();
    if objectives.is_empty() {
        return Ok(Vec::new());
    }
    let (ledger, model) = (Arc::clone(&app.keeper.ledger), running.model.clone());
    let (now_us, threads) = (wall_ms() * 1000, app.questions.threads);
    let looking = move || {
        let snapshot = ledger.snapshot(now_us / 1000)?;
        let losses = |range: Range| losses(&snapshot, &model, range, now_us, threads);
        let latest = |range: Range| Ok(losses(range)?.iter().map(|it| it.made_us).max());
        let Some(newest_us) = newest(now_us, latest)? else {
            return Ok(BTreeMap::new());
        };
        // Ids tell milliseconds.
        let to_us = newest_us + 1000;
        let of = |window: Duration| {
            let window_us = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
            let from_us = to_us.saturating_sub(window_us);
            Ok((window, losses(Range { from_us, to_us })?))
        };
        windows().into_iter().map(of).collect()
    };
    let found: BTreeMap<Duration, Vec<Loss>> = app.questions.compute(LOOK_MAX, looking).await?;
    let looked = objectives.into_iter().map(|objective| {
        let count = |window| {
            let losses = found.get(&window);
            losses.map_or(Count::default(), |it| count(objective, it))
        };
        finding(running, objective, objective.look(count))
    });
    Ok(looked.collect())
}

/// When the newest labelled row was asked about; `latest` says the same of a range of time, of which it may not have read
/// all.
fn newest(
    now_us: i64,
    latest: impl Fn(Range) -> Result<Option<i64>, Refusal>,
) -> Result<Option<i64>, Refusal> {
    let mut newest_us = None;
    for step_us in STEPS_US {
        let from_us = newest_us.unwrap_or(now_us - step_us);
        let to_us = from_us.saturating_add(step_us).min(now_us);
        newest_us = latest(Range { from_us, to_us })?.max(newest_us);
        if newest_us.is_none() {
            break;
        }
    }
    Ok(newest_us)
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
fn losses(
    snapshot: &Snapshot<'_>,
    model: &ModelName,
    range: Range,
    now_us: i64,
    threads: usize,
) -> Result<Vec<Loss>, Refusal> {
    let question = Question {
        losses: Some(LOSSES),
        threads,
        ..Question::of(model.as_str(), range, now_us)
    };
    let groups = or_nothing(snapshot.quality(&question))?.groups;
    Ok(groups.into_iter().flat_map(|it| it.losses).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_label_is_found_where_not_all_rows_are_read() {
        let now_us = 100 * DAY_US;
        // A row each second, labelled up to some time; of every 60th part of a range its last hundredth is read.
        let found = |labelled_us: i64| {
            let latest = |Range { from_us, to_us }: Range| {
                let part = (to_us - from_us) / 60;
                let ends = (1..=60).map(|it| from_us + it * part);
                let seen = ends.filter_map(|end| {
                    let last = end.min(labelled_us) / 1_000_000 * 1_000_000;
                    (last >= end - part / 100 && last >= from_us).then_some(last)
                });
                Ok(seen.max())
            };
            newest(now_us, latest).expect("an answer")
        };
        for labelled_us in [
            now_us,
            now_us - DAY_US / 24 * 7,
            now_us - 9 * DAY_US - 12_345_678,
        ] {
            let off_us = labelled_us - found(labelled_us).expect("one");
            assert!((0..20_000_000).contains(&off_us), "{off_us}");
        }
        assert_eq!(found(now_us - 31 * DAY_US), None);
    }
}
