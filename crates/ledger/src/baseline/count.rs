//! The second pass, and every later one: rows counted in cells.

use arrow::array::{ArrayRef, RecordBatch};
use domain::Refusal;
use stats::drift::bins::Counted;
use stats::drift::column::Cells;
use stats::drift::lookup::Lookup;

use super::summary::{each_number, told_texts};
use super::{Baseline, segments};

/// Rows counted in a baseline's cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// Rows.
    pub rows: u64,
    /// As the baseline's columns.
    pub columns: Vec<Counted>,
    /// As the baseline's segments; these have none.
    pub segments: Vec<Counter>,
}

impl Counter {
    /// No rows.
    pub fn new(baseline: &Baseline) -> Self {
        let of_none = || Self {
            rows: 0,
            columns: baseline.columns.iter().map(|it| it.cells.empty()).collect(),
            segments: Vec::new(),
        };
        Self {
            segments: baseline.segments.iter().map(|_| of_none()).collect(),
            ..of_none()
        }
    }

    /// Counts rows. A column that they do not have is missing in all of them; a value of another type is missing
    /// where it cannot be read as the baseline's.
    pub fn add(&mut self, baseline: &Baseline, batch: &RecordBatch) -> Result<(), Refusal> {
        let places = segments::places(baseline, batch)?;
        let Self {
            rows,
            columns,
            segments,
        } = self;
        *rows += batch.num_rows() as u64;
        for place in places.iter().flatten() {
            if let Some(segment) = segments.get_mut(*place) {
                segment.rows += 1;
            }
        }
        let mut cells = Vec::with_capacity(batch.num_rows());
        for (at, (column, counted)) in baseline.columns.iter().zip(columns).enumerate() {
            cells.clear();
            match batch.column_by_name(&column.name) {
                Some(values) => find(&column.cells, values, &mut cells)?,
                None => cells.resize(batch.num_rows(), MISSING),
            }
            cells.iter().for_each(|cell| put(counted, *cell));
            for place in &places {
                for (cell, place) in cells.iter().zip(place) {
                    if let Some(segment) = segments.get_mut(*place) {
                        put(&mut segment.columns[at], *cell);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds what another counted of other rows in the same cells.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for (here, there) in self.columns.iter_mut().zip(&other.columns) {
            here.add(there);
        }
        for (here, there) in self.segments.iter_mut().zip(&other.segments) {
            here.merge(there);
        }
    }
}

/// The cell of what has none.
const MISSING: usize = usize::MAX;

fn put(counted: &mut Counted, cell: usize) {
    match counted.cells.get_mut(cell) {
        Some(count) => *count += 1,
        None => counted.missing += 1,
    }
}

/// Appends the cell of each value of a column.
fn find(cells: &Cells, values: &ArrayRef, found: &mut Vec<usize>) -> Result<(), Refusal> {
    match cells {
        Cells::Numbers(bins) => {
            let lookup = Lookup::new(bins);
            let cell = |it: Option<f64>| it.and_then(|it| lookup.cell(it));
            each_number(values, |it| found.push(cell(it).unwrap_or(MISSING)))
        }
        Cells::Levels(levels) => told_texts(
            values,
            |it| levels.cell(it),
            |it| found.push(it.unwrap_or(MISSING)),
        ),
    }
}

impl Baseline {
    /// The same cells with these rows in them.
    pub fn counted(mut self, counter: Counter) -> Self {
        self.rows = counter.rows;
        for (column, counted) in self.columns.iter_mut().zip(counter.columns) {
            column.counted = counted;
        }
        for (segment, counter) in self.segments.iter_mut().zip(counter.segments) {
            segment.rows = counter.rows;
            segment.columns = counter.columns;
        }
        self
    }
}
