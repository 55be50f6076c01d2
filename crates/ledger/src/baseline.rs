//! What a model's columns looked like at a time that is taken for the measure, and what they look like now.
//!
//! R1. A baseline is cells and how many rows are in each: no row of the reference is needed afterwards.
//! R2. It is made in two passes: the first finds the cells, from sketches, the second counts in them, exactly. So no
//!     sketch's error is in a verdict.
//! R3. A column is left out only with a reason.

mod count;
mod drawn;
mod drift;
mod hours;
mod predictions;
mod record;
mod segments;
mod source;
mod summary;

use domain::monitor::segments::Segments;
use stats::drift::bins::{Bins, Counted};
use stats::drift::column::Cells;

pub use count::Counter;
pub(crate) use drawn::only;
pub use drawn::{Drawn, Together};
pub use drift::{Attention, ColumnDrift, Drift, SegmentDrift};
pub use hours::{HOUR_US, Kept, Watched};
pub use predictions::Asked;
pub(crate) use predictions::answered;
pub use segments::Segment;
pub use source::Source;
pub use summary::Summary;
pub(crate) use summary::{Watched as WatchedAs, each_number, numbers, texts, told_texts, watched};

/// Columns of a baseline.
pub const COLUMNS_MAX: usize = 4096;
/// Texts of a column that have cells of their own.
pub const LEVELS_MAX: usize = 200;
/// Bytes of a column's name, and of a text with a cell of its own.
pub const NAME_BYTES_MAX: usize = 1024;

/// A reference, counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// Its rows.
    pub rows: u64,
    /// Its columns, by name.
    pub columns: Vec<Column>,
    /// Columns that are not watched, and why.
    pub left_out: Vec<LeftOut>,
    /// Columns whose values are segments.
    pub segmented: Vec<Segments>,
    /// The segments, those of one column together and the largest first.
    pub segments: Vec<Segment>,
    /// Columns that were to be segmented and are not, and why.
    pub unsegmented: Vec<LeftOut>,
}

/// A column of a reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its values are counted in.
    pub cells: Cells,
    /// The reference's rows.
    pub counted: Counted,
    /// About how many different values it has.
    pub distinct: f64,
}

/// A column that is not watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

impl Baseline {
    /// The same, for values that are kept in single precision: else a value with a cell of its own, such as 0.1,
    /// would never come again. None where cells fall together by it.
    pub fn in_single_precision(mut self, is_single: impl Fn(&str) -> bool) -> Option<Self> {
        let round = |it: f64| f64::from(it as f32);
        for column in &mut self.columns {
            if !is_single(&column.name) {
                continue;
            }
            if let Cells::Numbers(bins) = &column.cells {
                let all = |values: &[f64]| values.iter().map(|it| round(*it)).collect();
                let range = bins
                    .range()
                    .map(|(least, most)| (round(least), round(most)));
                let rounded = Bins::from_parts(all(bins.atoms()), all(bins.edges()), range)?;
                column.cells = Cells::Numbers(rounded);
            }
        }
        Some(self)
    }

    /// Leaves out columns.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let kept: Vec<bool> = self.columns.iter().map(|it| keep(&it.name)).collect();
        only(&mut self.columns, &kept);
        for segment in &mut self.segments {
            only(&mut segment.columns, &kept);
        }
        self.left_out.retain(|it| keep(&it.name));
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        let found = self
            .columns
            .binary_search_by(|it| it.name.as_str().cmp(name));
        self.columns.get(found.ok()?)
    }
}
