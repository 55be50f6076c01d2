//! The newest rows of a version whose labels have come, to be answered again by another.
//!
//! R1. From the newest source to the oldest, and no further than there are enough, or as far as one cares to look. What is
//!     kept of a source meanwhile is about as much as is wanted in all.
//! R2. A row has what a replay needs: it was answered, its inputs were kept whole, and its label can be read.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use domain::{PredictionId, Refusal};

use super::{Recorded, failed};
use crate::files::Kind;
use crate::label::Kept as KeptLabel;
use crate::layout::{Layout, Meaning};
use crate::quality::{Judging, Scored, Truths};
use crate::read::{Ids, Range, Snapshot, names, number_of, within};

/// Which rows are wanted.
#[derive(Clone, Debug)]
pub struct LabelledAsked<'a> {
    /// The model.
    pub model: &'a str,
    /// The version that answered.
    pub version: u32,
    /// When they were answered.
    pub range: Range,
    /// How many at the most.
    pub rows_max: usize,
    /// How many are looked at, about.
    pub read_max: usize,
    /// The memory that they may take, about.
    pub bytes_max: usize,
}

/// Rows of one layout, each with what turned out to be true.
pub struct LabelledRows {
    /// The rows.
    pub rows: Recorded,
    /// The place of each one's true class, or its true number.
    pub truths: Vec<f64>,
}

/// The rows of a source that are kept, batch by batch, ascending.
struct Source {
    layout: Arc<Layout>,
    batches: Vec<(RecordBatch, Vec<f64>)>,
}

impl Snapshot<'_> {
    /// Reads the newest rows that have labels; those of each part are ascending. Blocks for as long as it takes.
    pub fn labelled(&self, asked: &LabelledAsked<'_>) -> Result<Vec<LabelledRows>, Refusal> {
        let log = self.of_log(asked.model)?;
        let (mut looked_at, mut kept, mut bytes) = (0, 0, 0);
        let mut sources = Vec::new();
        // Labels that name no prediction's id are read once, however many sources there are.
        let mut truths = Truths::none(self, asked.model, &Meaning::None, &log.labels)?;
        for unsealed in &log.rows {
            if unsealed.layout.version != asked.version {
                continue;
            }
            let batch = within(&unsealed.batch, Ids::ALL, asked.range)?;
            let mut source = Source::of(&unsealed.layout);
            truths.read_as(&source.layout.meaning);
            looked_at += batch.num_rows();
            source.take(self, asked, &batch, (&mut truths, &log.labels))?;
            kept += source.rows();
            bytes += source.bytes();
            sources.push(source);
        }
        let mut files = self.files(Kind::Predictions, asked.model, asked.range);
        files.sort_by_key(|it| std::cmp::Reverse(it.times_us));
        for entry in files {
            let layout = self.layout(&entry);
            if layout.version != asked.version {
                continue;
            }
            let is_enough = kept >= asked.rows_max || bytes >= asked.bytes_max;
            if is_enough || looked_at >= asked.read_max {
                break;
            }
            let schema = layout.schema();
            let columns = names(&schema);
            let mut source = Source::of(&layout);
            truths.read_as(&layout.meaning);
            self.read(&entry, &columns, Ids::ALL, asked.range, |batch| {
                looked_at += batch.num_rows();
                source.take(self, asked, &batch, (&mut truths, &log.labels))
            })?;
            kept += source.rows();
            bytes += source.bytes();
            sources.push(source);
        }
        newest(sources, asked.rows_max)
    }
}

impl Source {
    fn of(layout: &Arc<Layout>) -> Self {
        Self {
            layout: Arc::clone(layout),
            batches: Vec::new(),
        }
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(|it| it.1.len()).sum()
    }

    fn bytes(&self) -> usize {
        let batches = self.batches.iter();
        batches.map(|it| it.0.get_array_memory_size()).sum()
    }

    /// Keeps what is wanted of a batch (R2), and no more batches than that takes (R1).
    fn take(
        &mut self,
        snapshot: &Snapshot<'_>,
        asked: &LabelledAsked<'_>,
        batch: &RecordBatch,
        (truths, labels): (&mut Truths, &[KeptLabel]),
    ) -> Result<(), Refusal> {
        let codes = batch.column_by_name("code");
        let whole = batch.column_by_name("inputs_recorded");
        let whole = whole.map(|it| it.as_boolean());
        let usable: BooleanArray = (0..batch.num_rows())
            .map(|row| {
                let answered = codes.is_none_or(|it| it.is_null(row));
                Some(answered && whole.is_some_and(|it| it.value(row)))
            })
            .collect();
        let batch = filter_record_batch(batch, &usable).map_err(failed)?;
        let rows = Recorded::of(&self.layout, &batch);
        let ids = rows.ids();
        let Some((first, last)) = ids.first().zip(ids.last()) else {
            return Ok(());
        };
        let window = Ids {
            from: number_of(&first.request),
            to: number_of(&last.request).checked_add(1),
        };
        truths.turn_to(snapshot, asked.model, window, labels)?;
        let found: Vec<Option<f64>> = (0..batch.num_rows())
            .map(|row| truths.of(&batch, row))
            .collect();
        let labelled: BooleanArray = found.iter().map(|it| Some(it.is_some())).collect();
        if labelled.true_count() == 0 {
            return Ok(());
        }
        let batch = filter_record_batch(&batch, &labelled).map_err(failed)?;
        self.batches
            .push((batch, found.into_iter().flatten().collect()));
        let is_enough = |it: &Self| {
            it.rows() - it.batches[0].1.len() >= asked.rows_max || it.bytes() > asked.bytes_max
        };
        while self.batches.len() > 1 && is_enough(self) {
            self.batches.remove(0);
        }
        Ok(())
    }
}

/// The newest rows of all sources together.
fn newest(sources: Vec<Source>, most: usize) -> Result<Vec<LabelledRows>, Refusal> {
    let mut parts = Vec::new();
    for Source { layout, batches } in sources {
        for (batch, truths) in batches {
            let rows = Recorded::of(&layout, &batch);
            parts.push(LabelledRows { rows, truths });
        }
    }
    let mut ids: Vec<PredictionId> = parts.iter().flat_map(|it| it.rows.ids()).collect();
    ids.sort_unstable_by(|one, other| other.cmp(one));
    if let Some(oldest) = ids.get(most.saturating_sub(1)) {
        for part in &mut parts {
            let from = part.rows.ids().partition_point(|it| it < oldest);
            let rows = part.truths.len() - from;
            part.rows.batch = part.rows.batch.slice(from, rows);
            part.truths.drain(..from);
        }
        parts.retain(|it| !it.truths.is_empty());
    }
    Ok(parts)
}

impl Recorded {
    /// The answers of a task of classes with their scores, where they have any; a truth is the place of a class.
    pub fn scored(&self, truths: &[Option<f64>]) -> Result<Vec<Option<Scored>>, Refusal> {
        let scores = Judging::of(&self.layout, &self.batch)?;
        let rows = 0..self.rows().min(truths.len());
        Ok(rows.map(|row| scores.scored(row, truths[row])).collect())
    }

    /// The place that a class of these rows has among those of others; none where they do not have it. A number is the
    /// same everywhere.
    pub fn place_in(&self, other: &Self, truth: f64) -> Option<f64> {
        fn classes(rows: &Recorded) -> Option<&[String]> {
            match &rows.layout.meaning {
                Meaning::Classes { classes, .. } => Some(classes),
                Meaning::Value { .. } | Meaning::None => None,
            }
        }
        let (Some(ours), Some(others)) = (classes(self), classes(other)) else {
            return Some(truth);
        };
        let class = ours.get(truth as usize)?;
        let place = others.iter().position(|it| it == class);
        place.map(|it| it as f64)
    }
}
