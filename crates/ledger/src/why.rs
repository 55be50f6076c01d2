//! Where a version is worst: its labelled rows with their losses, in cells of their features, and the slices of them
//! that `stats` finds.
//!
//! R1. Rows, features and levels are bounded: of more rows a sample by their ids' hash is taken, of more features the
//!     first, of more levels the most frequent.
//! R2. A number is told as `quality` tells it: its values where they are few, else by quarters.
//! R3. Which half a row belongs to is told by its id's hash too, so that asking again gives the same answer.

mod columns;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use domain::Refusal;
use stats::random::mixed;
use stats::slices::{Settings, Side, Slice};

use crate::baseline::{LeftOut, answered, only};
use crate::files::{Entry, Kind};
use crate::layout::{Layout, Meaning};
use crate::quality::{self, Truths, answer_columns, losses, why_uncounted};
use crate::read::{Ids, Range, Snapshot, within};

pub(crate) use columns::{Columns, Searched};

/// Rows of the sample.
const ROWS_MAX: usize = 200_000;
/// Values of the sample: with many features it has fewer rows.
const VALUES_MAX: usize = 4_000_000;
/// The share of a half's rows below which a slice is too small to be looked at, where nobody says otherwise.
const SUPPORT_SHARE: f64 = 0.01;
/// And the fewest.
const SUPPORT_MIN: usize = 30;

/// What is asked.
#[derive(Clone, Debug)]
pub struct WorstAsked {
    /// The model.
    pub model: String,
    /// The version.
    pub version: u32,
    /// The predictions' times.
    pub range: Range,
    /// The fewest rows of a slice in each half; without it a hundredth of them, and 30 at least.
    pub support: Option<usize>,
    /// The most conditions of a slice.
    pub depth: usize,
    /// Slices that are tested.
    pub slices: usize,
    /// How often anything may be confirmed where there is nothing.
    pub alpha: f64,
    /// The level of the intervals.
    pub level: f64,
}

/// What the loss of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// 1 for another class than the true one, else 0.
    Misclassification,
    /// How far a number is from the true one.
    AbsoluteError,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Worst {
    /// What is counted; none where there are no rows.
    pub loss: Option<LossKind>,
    /// Labelled rows.
    pub labelled: u64,
    /// Those of them that were looked at: a sample where they are fewer.
    pub rows: u64,
    /// The fewest rows of a slice in each half.
    pub support: usize,
    /// Features that were searched.
    pub features: Vec<String>,
    /// Features that were not, and why.
    pub left_out: Vec<LeftOut>,
    /// Slices that were looked at.
    pub considered: u64,
    /// Whether none is missing that could be worse than those found.
    pub complete: bool,
    /// The half that searched.
    pub searched: Side,
    /// The half that confirmed.
    pub held_out: Side,
    /// Slices that were tested, in the order in which they were found.
    pub slices: Vec<WorstSlice>,
}

/// A slice by the names of its conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct WorstSlice {
    /// The value, or the range of values, of each column that has to do with it.
    pub by: BTreeMap<String, String>,
    /// What was found of it.
    pub slice: Slice,
}

impl Snapshot<'_> {
    /// Searches for the slices in which a version is worst. Blocks for as long as it takes.
    pub fn worst(&self, asked: &WorstAsked) -> Result<Worst, Refusal> {
        let log = self.of_log(&asked.model)?;
        let of_version = |it: &Layout| it.version == asked.version;
        let mut files = self.files(Kind::Predictions, &asked.model, asked.range);
        files.retain(|it| of_version(&self.layout(it)));
        let windows = quality::windows(self, &asked.model, &files)?;
        let unsealed = || log.rows.iter().filter(|it| of_version(&it.layout));
        let layouts = self.layouts_of(&files, unsealed());
        let mut sample = Sample::default();
        let mut meanings: Vec<&Meaning> = Vec::new();
        for layout in &layouts {
            check(layout)?;
            sample.features.expect(layout);
            if !meanings.contains(&&layout.meaning) {
                meanings.push(&layout.meaning);
            }
        }
        let loss = meanings.first().map(|it| match it {
            Meaning::Classes { .. } => LossKind::Misclassification,
            Meaning::Value { .. } | Meaning::None => LossKind::AbsoluteError,
        });
        for meaning in meanings {
            let mut truths = Truths::none(self, &asked.model, meaning, &log.labels)?;
            for window in &windows {
                truths.turn_to(self, &asked.model, *window, &log.labels)?;
                for entry in &files {
                    let layout = self.layout(entry);
                    if layout.meaning == *meaning {
                        self.sampled(entry, &layout, (*window, asked.range), &truths, &mut sample)?;
                    }
                }
                for unsealed in unsealed().filter(|it| it.layout.meaning == *meaning) {
                    let batch = within(&unsealed.batch, *window, asked.range)?;
                    sample.add(&unsealed.layout, &batch, &truths)?;
                }
            }
        }
        sample.worst(asked, loss)
    }

    fn sampled(
        &self,
        entry: &Entry,
        layout: &Layout,
        (window, range): (Ids, Range),
        truths: &Truths,
        sample: &mut Sample,
    ) -> Result<(), Refusal> {
        let mut columns = [
            "prediction_id",
            "row",
            "code",
            "time",
            "request_id",
            "key",
            "inputs_recorded",
        ]
        .map(str::to_owned)
        .to_vec();
        columns.extend(answer_columns(&layout.meaning));
        columns.extend(sample.features.names().cloned());
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        self.read(entry, &columns, window, range, |batch| {
            sample.add(layout, &batch, truths)
        })
    }
}

/// Refuses what has no loss.
fn check(layout: &Layout) -> Result<(), Refusal> {
    let Some(why) = why_uncounted(&layout.meaning) else {
        return Ok(());
    };
    Err(Refusal::InvalidQuery {
        why: format!(
            "where `{}:{}` is worst: {why}",
            layout.model, layout.version
        ),
    })
}

/// Labelled rows in memory.
#[derive(Default)]
struct Sample {
    labelled: u64,
    /// Rows with a hash of at least this are not taken.
    below: Option<u64>,
    hashes: Vec<u64>,
    losses: Vec<f64>,
    features: Columns,
}

impl Sample {
    fn rows_max(&self) -> usize {
        ROWS_MAX.min(VALUES_MAX / self.features.names().len().max(1))
    }

    fn add(
        &mut self,
        layout: &Layout,
        batch: &RecordBatch,
        truths: &Truths,
    ) -> Result<(), Refusal> {
        let batch = &answered(layout, batch)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut taken = Vec::new();
        for (row, loss) in losses(layout, batch, truths)?.into_iter().enumerate() {
            let Some(quality::Loss { hash, loss, .. }) = loss else {
                continue;
            };
            self.labelled += 1;
            let hash = mixed(hash);
            if self.below.is_none_or(|below| hash < below) {
                taken.push(row);
                self.hashes.push(hash);
                self.losses.push(loss);
            }
        }
        self.features.add(batch, &taken)?;
        while self.hashes.len() > self.rows_max() {
            self.halve();
        }
        Ok(())
    }

    /// Takes half of the rows out: those with the greater hashes.
    fn halve(&mut self) {
        let below = self.below.unwrap_or(u64::MAX) / 2;
        self.below = Some(below);
        let keep: Vec<bool> = self.hashes.iter().map(|it| *it < below).collect();
        only(&mut self.hashes, &keep);
        only(&mut self.losses, &keep);
        self.features.keep(&keep);
    }

    fn worst(self, asked: &WorstAsked, loss: Option<LossKind>) -> Result<Worst, Refusal> {
        // The upper bits choose the sample, the lowest the half.
        let held_out: Vec<bool> = self.hashes.iter().map(|it| it & 1 == 1).collect();
        let half = self.hashes.len() / 2;
        let share = (half as f64 * SUPPORT_SHARE) as usize;
        let support = asked.support.unwrap_or_else(|| share.max(SUPPORT_MIN));
        let settings = Settings {
            support,
            depth: asked.depth,
            slices: asked.slices,
            alpha: asked.alpha,
            level: asked.level,
        };
        let Searched {
            found,
            slices,
            features,
            left_out,
        } = self.features.search(&self.losses, &held_out, settings)?;
        Ok(Worst {
            loss,
            labelled: self.labelled,
            rows: self.hashes.len() as u64,
            support,
            slices,
            features,
            left_out,
            considered: found.considered,
            complete: found.complete,
            searched: found.searched,
            held_out: found.held_out,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_keeps_half_at_a_time() {
        let mut sample = Sample::default();
        for row in 0..1000u64 {
            sample.hashes.push(mixed(row));
            sample.losses.push(row as f64);
        }
        sample.halve();
        let left = sample.hashes.len();
        assert!((420..580).contains(&left), "{left}");
        for (hash, loss) in sample.hashes.iter().zip(&sample.losses) {
            assert_eq!(*hash, mixed(*loss as u64));
        }
        sample.halve();
        assert!(sample.hashes.len() < left && sample.below == Some(u64::MAX / 2 / 2));
    }
}
