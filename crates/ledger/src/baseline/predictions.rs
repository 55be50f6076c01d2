//! Baselines of a version's predictions, and predictions counted against them.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use domain::Refusal;
use domain::monitor::segments::Segments;

use super::{Baseline, Counter, Drawn, Summary};
use crate::failure;
use crate::files::Kind;
use crate::layout::{Kept, Layout, Meaning, Slot};
use crate::read::{Ids, Range, Snapshot, within};

/// The rows that are asked about.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The model.
    pub model: &'a str,
    /// The version.
    pub version: u32,
    /// The predictions' times.
    pub range: Range,
    /// The first so many of them.
    pub first: Option<u64>,
}

impl Layout {
    /// The columns whose values may drift: answers, inputs, and numbers that sum up what is too large for a column.
    pub fn watched(&self) -> Vec<String> {
        let mut names = columns_of(self.outputs.iter().chain(&self.inputs));
        if matches!(self.meaning, Meaning::Classes { .. }) {
            names.insert("class".to_owned());
        }
        self.known(names)
    }

    /// Those of the watched columns that are inputs.
    pub fn features(&self) -> Vec<String> {
        self.known(columns_of(&self.inputs))
    }

    /// Those of some columns that there are, in order. Whoever asked, and about whom, is no feature.
    fn known(&self, names: BTreeSet<String>) -> Vec<String> {
        let schema = self.schema();
        let all: BTreeSet<&String> = schema.fields().iter().map(|it| it.name()).collect();
        let is_who =
            |it: &String| self.key.as_ref() == Some(it) || self.caller.as_ref() == Some(it);
        let mut names: Vec<String> = names.into_iter().collect();
        names.retain(|it| all.contains(it) && !is_who(it));
        names
    }

    /// Whether a column is kept in single precision.
    pub fn is_single(&self, name: &str) -> bool {
        let schema = self.schema();
        schema
            .field_with_name(name)
            .is_ok_and(|it| *it.data_type() == DataType::Float32)
    }
}

/// The columns that may drift of what some tensors become.
fn columns_of<'a>(slots: impl IntoIterator<Item = &'a Slot>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for slot in slots {
        match &slot.kept {
            Kept::Columns(columns) => names.extend(columns.iter().cloned()),
            Kept::Summary(name) => {
                names.extend(["min", "max", "mean"].map(|of| format!("{name}_{of}")));
            }
        }
    }
    names
}

impl Snapshot<'_> {
    /// The baseline that answered rows make, of those columns that are watched and not `left_out`, and of these
    /// segments. Blocks for as long as it takes.
    pub fn baseline(
        &self,
        asked: &Asked<'_>,
        left_out: &[String],
        segments: &[Segments],
    ) -> Result<Baseline, Refusal> {
        let mut summary = Summary::of(segments);
        let is_in = |name: &str| !left_out.iter().any(|it| it == name);
        self.answered(asked, segments, |batch, columns| {
            summary.add(batch, |name| {
                columns.iter().any(|it| it == name) && is_in(name)
            })
        })?;
        let cells = summary.cells();
        let counter = self.counted(asked, &cells)?;
        Ok(cells.counted(counter))
    }

    /// Answered rows in a baseline's cells. Blocks for as long as it takes.
    pub fn counted(&self, asked: &Asked<'_>, baseline: &Baseline) -> Result<Counter, Refusal> {
        let mut counter = Counter::new(baseline);
        self.answered(asked, &baseline.segmented, |batch, _| {
            counter.add(baseline, batch)
        })?;
        Ok(counter)
    }

    /// Some answered rows, of the columns that a baseline watches. Blocks for as long as it takes.
    pub fn drawn(&self, asked: &Asked<'_>, baseline: &Baseline) -> Result<Drawn, Refusal> {
        let mut drawn = Drawn::new(baseline);
        self.answered(asked, &[], |batch, _| drawn.add(baseline, batch))?;
        Ok(drawn)
    }

    /// Calls `take` with every answered row of a version, in the order of files and then of the log, and the
    /// columns that are watched. The rows have the columns that are segmented too.
    pub(super) fn answered(
        &self,
        asked: &Asked<'_>,
        segmented: &[Segments],
        mut take: impl FnMut(&RecordBatch, &[String]) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut left = asked.first.unwrap_or(u64::MAX);
        let mut each = |layout: &Layout, batch: &RecordBatch, columns: &[String]| {
            let rows = answered(layout, batch)?;
            let rows = match usize::try_from(left) {
                Ok(most) if most < rows.num_rows() => rows.slice(0, most),
                _ => rows,
            };
            left -= rows.num_rows() as u64;
            if rows.num_rows() > 0 {
                take(&rows, columns)?;
            }
            Ok(left > 0)
        };
        let mut files = self.files(Kind::Predictions, asked.model, asked.range);
        files.sort_by_key(|it| it.times_us);
        for entry in files {
            let layout = self.layout(&entry);
            if layout.version != asked.version {
                continue;
            }
            let columns = layout.watched();
            let read = read(columns.iter().map(String::as_str), segmented);
            let mut more = true;
            self.read_while(&entry, &read, Ids::ALL, asked.range, |batch| {
                more = each(&layout, &batch, &columns)?;
                Ok(more)
            })?;
            if !more {
                return Ok(());
            }
        }
        for unsealed in self.of_log(asked.model)?.rows {
            if unsealed.layout.version == asked.version {
                let batch = within(&unsealed.batch, Ids::ALL, asked.range)?;
                if !each(&unsealed.layout, &batch, &unsealed.layout.watched())? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// What is read of a file: columns, those that are segmented, and what tells whether and when rows were answered.
pub(super) fn read<'a>(
    columns: impl Iterator<Item = &'a str>,
    segmented: &'a [Segments],
) -> Vec<&'a str> {
    let by = segmented.iter().map(|it| it.by.as_str());
    let all = columns.chain(by).chain(["code", "inputs_recorded", "time"]);
    all.collect::<BTreeSet<&str>>().into_iter().collect()
}

/// The rows that were answered, and of which there are inputs.
pub(crate) fn answered(layout: &Layout, batch: &RecordBatch) -> Result<RecordBatch, Refusal> {
    let code = batch.column_by_name("code");
    let failed = code.filter(|it| it.null_count() < it.len());
    let recorded = batch
        .column_by_name("inputs_recorded")
        .and_then(|it| it.as_boolean_opt())
        // Of large tensors only a part is kept whole; their sums are there all the same.
        .filter(|it| !layout.has_summaries() && it.false_count() > 0);
    if failed.is_none() && recorded.is_none() {
        return Ok(batch.clone());
    }
    let keep: BooleanArray = (0..batch.num_rows())
        .map(|row| {
            let failed = failed.is_some_and(|it| it.is_valid(row));
            let without = recorded.is_some_and(|it| it.is_valid(row) && !it.value(row));
            Some(!failed && !without)
        })
        .collect();
    filter_record_batch(batch, &keep)
        .map_err(|error| failure::of_library("reading the ledger", error))
}
