//! Rows with their features one by one, to learn from.

use std::sync::Arc;

use arrow::array::RecordBatch;
use domain::Refusal;
use stats::drift::column::Cells;

use crate::baseline::{Baseline, each_number, told_texts};

/// Which rows are told with their features, of a model of numbers.
#[derive(Clone, Debug)]
pub struct Examples {
    /// The columns that are its features: those that the baseline watches, but for the value itself. A text is the
    /// place of its level, a text without one is the next place.
    pub baseline: Arc<Baseline>,
    /// The most that are kept of a group: of more a sample is.
    pub kept_max: usize,
    /// The most rows that are read, about; as of [`Losses`](super::Losses).
    pub read_max: u64,
}

impl Examples {
    /// The features, in their order.
    pub fn features(&self) -> impl Iterator<Item = &str> {
        let columns = self.baseline.columns.iter().map(|it| it.name.as_str());
        columns.filter(|it| *it != VALUE)
    }
}

/// The column that is no feature of itself.
const VALUE: &str = "value";

/// A row with its features.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Has nothing to do with what is in the row.
    pub hash: u64,
    /// NaN where one is missing.
    pub features: Vec<f64>,
    /// What the model said.
    pub value: f64,
    /// What is true, where its label has come.
    pub truth: Option<f64>,
}

/// The features of a batch, column by column.
pub(super) struct Features(Vec<Vec<f64>>);

impl Features {
    pub(super) fn of(examples: &Examples, batch: &RecordBatch) -> Result<Self, Refusal> {
        let watched = examples.baseline.columns.iter();
        let column = |it: &crate::baseline::Column| -> Result<Vec<f64>, Refusal> {
            let rows = batch.num_rows();
            let Some(found) = batch.column_by_name(&it.name) else {
                return Ok(vec![f64::NAN; rows]);
            };
            match &it.cells {
                Cells::Numbers(_) => {
                    let mut all = Vec::with_capacity(rows);
                    each_number(found, |it| all.push(it.unwrap_or(f64::NAN)))?;
                    Ok(all)
                }
                Cells::Levels(levels) => {
                    let mut all = Vec::with_capacity(rows);
                    let cell = |it: &str| levels.cell(it) as f64;
                    told_texts(found, cell, |it| all.push(it.unwrap_or(f64::NAN)))?;
                    Ok(all)
                }
            }
        };
        let features = watched.filter(|it| it.name != VALUE).map(column);
        Ok(Self(features.collect::<Result<_, _>>()?))
    }

    pub(super) fn row(&self, row: usize) -> Vec<f64> {
        self.0.iter().map(|it| it[row]).collect()
    }
}
