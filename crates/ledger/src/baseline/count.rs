//! The second pass, and every later one: rows counted in cells.

use arrow::array::RecordBatch;
use domain::Refusal;
use stats::drift::bins::Counted;
use stats::drift::column::Cells;
use stats::drift::lookup::Lookup;

use super::summary::{each_number, texts};
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
        for (at, (column, counted)) in baseline.columns.iter().zip(columns).enumerate() {
            let mut row = 0;
            let mut count = |cell: Option<usize>| {
                put(counted, cell);
                for place in &places {
                    if let Some(segment) = segments.get_mut(place[row]) {
                        put(&mut segment.columns[at], cell);
                    }
                }
                row += 1;
            };
            let Some(values) = batch.column_by_name(&column.name) else {
                (0..batch.num_rows()).for_each(|_| count(None));
                continue;
            };
            match &column.cells {
                Cells::Numbers(bins) => {
                    let lookup = Lookup::new(bins);
                    each_number(values, |value| {
                        count(value.and_then(|it| lookup.cell(it)));
                    })?;
                }
                Cells::Levels(levels) => {
                    texts(values, |text| count(text.map(|it| levels.cell(it))))?;
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

fn put(counted: &mut Counted, cell: Option<usize>) {
    match cell {
        Some(cell) => counted.cells[cell] += 1,
        None => counted.missing += 1,
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
