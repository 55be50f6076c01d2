//! What the arms of a rollout brought: values of a metric that callers post, as they come.
//!
//! R1. A value is counted as a label is (see `labelled`): of a row the first that comes, or the last of the same window.
//! R2. A unit has the mean of its rows' values in a window: who asks often weighs no more than who asks once.

use std::collections::BTreeMap;

use domain::Refusal;

use super::rows::Rows;
use super::{ArmsAsked, Side, side};
use crate::layout::posted_as;
use crate::read::Snapshot;

/// What came in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    /// The window's number.
    pub number: i64,
    /// The value of each unit; sorted by side and unit.
    pub units: Vec<(Side, f64)>,
}

/// Values so far: their mean and how many.
type Mean = (f64, u32);

impl Snapshot<'_> {
    /// Reads which values of a metric came in the windows for rows of the candidate and the control. Blocks for as long as
    /// it takes.
    pub fn arms_posted(&self, asked: &ArmsAsked<'_>, metric: &str) -> Result<Vec<Posted>, Refusal> {
        let told = self.told_rows(asked, &posted_as(asked.model, metric))?;
        let mut windows: BTreeMap<i64, BTreeMap<(Side, u64), Mean>> = BTreeMap::new();
        for (layout, batch) in told.batches() {
            let rows = Rows::of(layout, batch)?;
            for row in 0..batch.num_rows() {
                let Some((window, text)) = told.of(&rows, batch, row, asked) else {
                    continue;
                };
                let arm = rows.arms.at(row).unwrap_or_default();
                let value = text.parse::<f64>().ok().filter(|it| it.is_finite());
                let Some((side, value)) = side(asked, layout.version, arm).zip(value) else {
                    continue;
                };
                let of_window = windows.entry(window).or_default();
                let (mean, count) = of_window.entry((side, rows.unit(row).hash)).or_default();
                *count += 1;
                *mean += (value - *mean) / f64::from(*count);
            }
        }
        let windows = windows.into_iter().map(|(number, units)| Posted {
            number,
            units: units
                .into_iter()
                .map(|((side, _), it)| (side, it.0))
                .collect(),
        });
        Ok(windows.collect())
    }
}
