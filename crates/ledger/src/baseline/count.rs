//! The second pass, and every later one: rows counted in cells.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use domain::Refusal;
use stats::drift::bins::Counted;
use stats::drift::column::Cells;

use super::Baseline;
use super::summary::{numbers, texts};

/// Rows counted in a baseline's cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// Rows.
    pub rows: u64,
    /// As the baseline's columns.
    pub columns: Vec<Counted>,
}

impl Counter {
    /// No rows.
    pub fn new(baseline: &Baseline) -> Self {
        Self {
            rows: 0,
            columns: baseline.columns.iter().map(|it| it.cells.empty()).collect(),
        }
    }

    /// Counts rows. A column that they do not have is missing in all of them; a value of another type is missing
    /// where it cannot be read as the baseline's.
    pub fn add(&mut self, baseline: &Baseline, batch: &RecordBatch) -> Result<(), Refusal> {
        for (column, counted) in baseline.columns.iter().zip(&mut self.columns) {
            let Some(values) = batch.column_by_name(&column.name) else {
                counted.missing += batch.num_rows() as u64;
                continue;
            };
            match &column.cells {
                Cells::Numbers(bins) => {
                    let values = numbers(values)?;
                    let values = values.as_primitive::<Float64Type>();
                    let mut count = |value: f64| match bins.cell(value) {
                        Some(cell) => counted.cells[cell] += 1,
                        None => counted.missing += 1,
                    };
                    if values.null_count() == 0 {
                        values.values().iter().copied().for_each(count);
                    } else {
                        values.iter().flatten().for_each(&mut count);
                        counted.missing += values.null_count() as u64;
                    }
                }
                Cells::Levels(levels) => texts(values, |text| match text {
                    Some(text) => counted.cells[levels.cell(text)] += 1,
                    None => counted.missing += 1,
                })?,
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Adds what another counted of other rows in the same cells.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for (here, there) in self.columns.iter_mut().zip(&other.columns) {
            here.add(there);
        }
    }
}

impl Baseline {
    /// The same cells with these rows in them.
    pub fn counted(mut self, counter: Counter) -> Self {
        self.rows = counter.rows;
        for (column, counted) in self.columns.iter_mut().zip(counter.columns) {
            column.counted = counted;
        }
        self
    }
}
