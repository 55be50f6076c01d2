//! Declared parts of the rows, each counted as all rows are and in the same cells.
//!
//! R1. The reference fixes which there are: of each column the values that most of its rows have. Rows of other values
//!     are counted in no segment.
//! R2. All segments together have at most [`COUNTS_MAX`] counts; what would be more is left out, with the reason.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use domain::Refusal;
use domain::ledger::NO_VALUE;
use domain::monitor::segments::Segments;
use stats::drift::bins::Counted;
use stats::sketch::Words;

use super::summary::is_of_ids;
use super::{Baseline, LeftOut};
use crate::failure;
use crate::layout::Layout;
use crate::quality::{Slicer, told};

/// Counts of all segments together: 2 MiB, for each hour that is counted.
pub(super) const COUNTS_MAX: usize = 1 << 18;
/// Bytes of a segment's value; rows with longer ones are in no segment.
pub(super) const VALUE_BYTES_MAX: usize = 200;

/// Rows of the reference with one value of a column, or with numbers of one range.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The column.
    pub by: String,
    /// The value or the range, as the ledger tells it.
    pub value: String,
    /// Its rows.
    pub rows: u64,
    /// As the baseline's columns.
    pub columns: Vec<Counted>,
}

/// The first pass: which values a column has.
pub(super) struct Found {
    of: Segments,
    /// None before any row has the column.
    values: Option<Box<Words>>,
}

impl Found {
    pub(super) fn new(of: &Segments) -> Self {
        Self {
            of: of.clone(),
            values: None,
        }
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), Refusal> {
        let Some(column) = batch.column_by_name(&self.of.by) else {
            return Ok(());
        };
        let values = self.values.get_or_insert_default();
        for text in slicer(&self.of).show(column.as_ref())? {
            if text.len() <= VALUE_BYTES_MAX {
                values.add(&text);
            } else {
                values.add_missing(1);
            }
        }
        Ok(())
    }

    pub(super) fn merge(&mut self, other: Self) {
        let Some(there) = other.values else { return };
        match &mut self.values {
            Some(here) => here.merge(&there),
            here => *here = Some(there),
        }
    }

    /// R1.
    fn values(&self) -> Result<Vec<String>, String> {
        let Some(values) = &self.values else {
            return Err("the reference does not have the column".to_owned());
        };
        if self.of.edges.is_empty() && is_of_ids(values.rows(), values.distinct()) {
            return Err(
                "nearly every row has another value; of numbers `edges` make segments".to_owned(),
            );
        }
        let frequent = values.frequent(self.of.levels());
        Ok(frequent.into_iter().map(|it| it.0).collect())
    }
}

fn slicer(of: &Segments) -> Slicer {
    match of.edges.is_empty() {
        true => Slicer::Values,
        false => Slicer::Ranges(of.edges.clone()),
    }
}

/// For each column that is segmented, the place of every row's segment; one that is beyond them has none.
pub(super) fn places(baseline: &Baseline, batch: &RecordBatch) -> Result<Vec<Vec<usize>>, Refusal> {
    let each = baseline.segmented.iter().map(|of| {
        let segments = baseline.segments.iter().enumerate();
        let own = segments.filter(|(_, it)| it.by == of.by);
        let known: HashMap<&str, usize> =
            own.map(|(place, it)| (it.value.as_str(), place)).collect();
        let place = |text: &str| known.get(text).copied().unwrap_or(usize::MAX);
        match batch.column_by_name(&of.by) {
            // Another layout has it.
            None => Ok(vec![place(NO_VALUE); batch.num_rows()]),
            Some(column) => told(&slicer(of), column.as_ref(), place),
        }
    });
    each.collect()
}

impl Baseline {
    /// Takes the segments that were found, without any row in them. The columns have their cells.
    pub(super) fn take_segments(&mut self, found: &[Found]) {
        for it in found {
            let by = it.of.by.clone();
            let values = it.values().and_then(|values| {
                let each = self.columns.iter().map(|it| it.counted.cells.len() + 1);
                let counts = (self.segments.len() + values.len()) * each.sum::<usize>();
                // R2.
                if counts <= COUNTS_MAX {
                    return Ok(values);
                }
                Err(format!(
                    "it would take {counts} counts, at most are {COUNTS_MAX}: name fewer segments, or leave columns out"
                ))
            });
            match values {
                Err(why) => self.unsegmented.push(LeftOut { name: by, why }),
                Ok(values) => {
                    let empty = |value: String| Segment {
                        by: by.clone(),
                        value,
                        rows: 0,
                        columns: self.columns.iter().map(|it| it.cells.empty()).collect(),
                    };
                    let segments: Vec<Segment> = values.into_iter().map(empty).collect();
                    self.segments.extend(segments);
                    self.segmented.push(it.of.clone());
                }
            }
        }
    }

    /// Keeps the segments of those columns that are declared. Of what is declared and not counted it says `why`.
    pub fn declare(&mut self, declared: &[Segments], why: &str) {
        self.segmented.retain(|it| declared.contains(it));
        let segmented = &self.segmented;
        self.segments
            .retain(|it| segmented.iter().any(|of| of.by == it.by));
        let mut known = std::mem::take(&mut self.unsegmented);
        for of in declared.iter().filter(|it| !segmented.contains(it)) {
            let before = known.iter().position(|it| it.name == of.by);
            self.unsegmented.push(match before {
                Some(place) => known.swap_remove(place),
                None => LeftOut {
                    name: of.by.clone(),
                    why: why.to_owned(),
                },
            });
        }
    }

    /// Has values of segments be told as the ledger tells them: `35` of a file is `35.0` where the model takes it in
    /// single precision. What is told alike by it is one segment.
    pub fn tell_segments_as(&mut self, layout: &Layout) -> Result<(), Refusal> {
        let schema = layout.schema();
        let mut all: Vec<Segment> = Vec::new();
        for mut segment in std::mem::take(&mut self.segments) {
            let of = self.segmented.iter().find(|it| it.by == segment.by);
            let field = schema.field_with_name(&segment.by).ok();
            if let Some(field) = field.filter(|_| of.is_some_and(|it| it.edges.is_empty())) {
                segment.value = told_as(&segment.value, field.data_type())?;
            }
            let same = |it: &&mut Segment| (&it.by, &it.value) == (&segment.by, &segment.value);
            match all.iter_mut().find(same) {
                None => all.push(segment),
                Some(first) => {
                    first.rows += segment.rows;
                    let columns = first.columns.iter_mut().zip(&segment.columns);
                    columns.for_each(|(here, there)| here.add(there));
                }
            }
        }
        self.segments = all;
        Ok(())
    }
}

/// A value as it is told in a column of another type; what is none of its values stays as it is.
fn told_as(value: &str, datatype: &DataType) -> Result<String, Refusal> {
    if !datatype.is_numeric() {
        return Ok(value.to_owned());
    }
    let to = |array: &ArrayRef, datatype: &DataType| {
        cast(array, datatype).map_err(|error| failure::of_library("telling a segment", error))
    };
    let text: ArrayRef = Arc::new(StringArray::from(vec![value]));
    let mut number = to(&text, datatype)?;
    if number.is_null(0) {
        // `35.0` is no text of a whole number.
        number = to(&to(&text, &DataType::Float64)?, datatype)?;
    }
    if number.is_null(0) {
        return Ok(value.to_owned());
    }
    let shown = Slicer::Values.show(number.as_ref())?;
    Ok(shown.into_iter().next().unwrap_or_default())
}
