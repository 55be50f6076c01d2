//! Predictions counted by the hour. A file never changes, so what was counted of it is kept; memory for that is
//! bounded, and what had to go is counted again.
//!
//! R1. Once a model was asked about, its rows are counted when they become files: then they are in memory, and need not be
//!     read for it. What files are merged of was counted before.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, max, min, not};
use arrow::datatypes::TimestampMicrosecondType;
use domain::Refusal;

use super::predictions::{Asked, answered, read};
use super::{Baseline, Counter};
use crate::files::{Entry, Kind};
use crate::layout::Layout;
use crate::read::{Ids, Range, Snapshot};
use crate::{failure, lock};

/// Rows in files from which on those that are not sealed yet are not looked at: they would be counted again at each
/// look, and once more when they are sealed, and could not change what so many tell.
const SEALED_ENOUGH: u64 = 1_000_000;
/// Microseconds of an hour.
pub const HOUR_US: i64 = 3_600_000_000;

/// Counts by hour since 1970.
type Hours = BTreeMap<i64, Counter>;

/// What was counted of files.
pub struct Kept {
    bytes_max: usize,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    bytes: usize,
    /// Counts up with every use.
    clock: u64,
    /// By the file's name and the baseline.
    hours: HashMap<(String, i64), (u64, Arc<Hours>)>,
    /// What each model was last asked about in.
    measures: HashMap<String, Measure>,
}

/// What rows of a version are counted in.
#[derive(Clone)]
struct Measure {
    version: u32,
    baseline: i64,
    cells: Arc<Baseline>,
}

impl Kept {
    /// With at most about so much memory.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            files: Mutex::default(),
        }
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        lock(&self.files).bytes
    }

    fn get(&self, key: &(String, i64)) -> Option<Arc<Hours>> {
        let files = &mut *lock(&self.files);
        files.clock += 1;
        let (used, hours) = files.hours.get_mut(key)?;
        *used = files.clock;
        Some(Arc::clone(hours))
    }

    /// From now on rows that become files are counted for this question.
    fn measure(&self, watched: &Watched<'_>, cells: &Arc<Baseline>) {
        let measure = Measure {
            version: watched.version,
            baseline: watched.baseline,
            cells: Arc::clone(cells),
        };
        let files = &mut *lock(&self.files);
        files.measures.insert(watched.model.to_owned(), measure);
    }

    fn measure_of(&self, layout: &Layout) -> Option<Measure> {
        let measure = lock(&self.files).measures.get(&layout.model).cloned();
        measure.filter(|it| it.version == layout.version)
    }

    /// Counts rows that became a file (R1).
    pub(crate) fn sealed(
        &self,
        name: &str,
        layout: &Layout,
        rows: &RecordBatch,
    ) -> Result<(), Refusal> {
        let Some(Measure {
            baseline, cells, ..
        }) = self.measure_of(layout)
        else {
            return Ok(());
        };
        let schema = rows.schema();
        let columns = columns_of(layout, &cells);
        let wanted = read(columns.iter().map(String::as_str), &cells.segmented);
        let places: Vec<usize> = wanted
            .iter()
            .filter_map(|it| schema.index_of(it).ok())
            .collect();
        let rows = rows
            .project(&places)
            .map_err(|error| failure::of_library("counting rows", error))?;
        let mut hours = Hours::new();
        count(&mut hours, layout, &rows, &cells)?;
        self.put((name.to_owned(), baseline), Arc::new(hours));
        Ok(())
    }

    /// Files became one: what was counted of them was counted of it (R1).
    pub(crate) fn merged<'a>(
        &self,
        layout: &Layout,
        from: impl Iterator<Item = &'a str>,
        into: &str,
    ) {
        let Some(Measure {
            baseline, cells, ..
        }) = self.measure_of(layout)
        else {
            return;
        };
        let mut sum = Hours::new();
        let names: Vec<(String, i64)> = from.map(|it| (it.to_owned(), baseline)).collect();
        for name in &names {
            let Some(hours) = self.get(name) else {
                return;
            };
            for (hour, counter) in hours.iter() {
                let here = sum.entry(*hour);
                here.or_insert_with(|| Counter::new(&cells)).merge(counter);
            }
        }
        let mut files = lock(&self.files);
        names.iter().for_each(|it| files.remove(it));
        drop(files);
        self.put((into.to_owned(), baseline), Arc::new(sum));
    }

    fn put(&self, key: (String, i64), hours: Arc<Hours>) {
        let files = &mut *lock(&self.files);
        let size = bytes_of(&hours);
        if size > self.bytes_max {
            return;
        }
        files.clock += 1;
        files.bytes += size;
        if let Some((_, old)) = files.hours.insert(key, (files.clock, hours)) {
            files.bytes -= bytes_of(&old);
        }
        // The longest unused go first.
        while files.bytes > self.bytes_max {
            let oldest = files.hours.iter().min_by_key(|(_, (used, _))| *used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            files.remove(&key);
        }
    }
}

impl Files {
    fn remove(&mut self, key: &(String, i64)) {
        if let Some((_, hours)) = self.hours.remove(key) {
            self.bytes -= bytes_of(&hours);
        }
    }
}

fn bytes_of(hours: &Hours) -> usize {
    hours.values().map(bytes_of_counter).sum()
}

fn bytes_of_counter(counter: &Counter) -> usize {
    // A column's cells, and what a vector and a count take beside them.
    let columns = counter.columns.iter().map(|it| it.cells.len() * 8 + 32);
    let segments = counter.segments.iter().map(bytes_of_counter);
    64 + columns.chain(segments).sum::<usize>()
}

/// The hours that are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    /// The model.
    pub model: &'a str,
    /// The version.
    pub version: u32,
    /// The first hour since 1970.
    pub from: i64,
    /// The last one.
    pub to: i64,
    /// Rows that are not in files yet count from this moment on; in files an hour counts as a whole.
    pub since_us: i64,
    /// Tells baselines of one version apart: when this one was made.
    pub baseline: i64,
}

impl Snapshot<'_> {
    /// Answered rows of some hours in a baseline's cells, from what is kept and what is new. Blocks for as long as it
    /// takes.
    pub fn counted_by_hour(
        &self,
        watched: &Watched<'_>,
        baseline: &Arc<Baseline>,
        kept: &Kept,
    ) -> Result<Counter, Refusal> {
        kept.measure(watched, baseline);
        let mut sum = Counter::new(baseline);
        let add = |sum: &mut Counter, hours: &Hours| {
            for counter in hours.range(watched.from..=watched.to).map(|it| it.1) {
                sum.merge(counter);
            }
        };
        let range = Range {
            from_us: watched.from * HOUR_US,
            to_us: (watched.to + 1) * HOUR_US,
        };
        for entry in self.files(Kind::Predictions, watched.model, range) {
            if self.layout(&entry).version != watched.version {
                continue;
            }
            let key = (entry.name.clone(), watched.baseline);
            let hours = match kept.get(&key) {
                Some(hours) => hours,
                None => {
                    let hours = Arc::new(self.hours_of(&entry, baseline)?);
                    kept.put(key, Arc::clone(&hours));
                    hours
                }
            };
            add(&mut sum, &hours);
        }
        if sum.rows >= SEALED_ENOUGH {
            return Ok(sum);
        }
        for unsealed in self.of_log(watched.model)?.rows {
            if unsealed.layout.version == watched.version {
                let mut hours = Hours::new();
                let rows = since(&unsealed.batch, watched.since_us)?;
                count(&mut hours, &unsealed.layout, &rows, baseline)?;
                add(&mut sum, &hours);
            }
        }
        Ok(sum)
    }

    /// Rows of a version in files, answered or not.
    pub fn sealed_rows(&self, model: &str, version: u32) -> u64 {
        let files = self.files(Kind::Predictions, model, Range::ALL);
        let of = files.iter().filter(|it| self.layout(it).version == version);
        of.map(|it| it.rows).sum()
    }

    fn hours_of(&self, entry: &Entry, baseline: &Baseline) -> Result<Hours, Refusal> {
        let layout = self.layout(entry);
        let columns = columns_of(&layout, baseline);
        let read = read(columns.iter().map(String::as_str), &baseline.segmented);
        let mut hours = Hours::new();
        self.read(entry, &read, Ids::ALL, Range::ALL, |batch| {
            count(&mut hours, &layout, &batch, baseline)
        })?;
        Ok(hours)
    }

    /// Answered rows in a baseline's cells, by the number of the span that they are in: its beginning over `every_us`.
    /// Blocks for as long as it takes.
    pub fn counted_by_span(
        &self,
        asked: &Asked<'_>,
        baseline: &Baseline,
        every_us: i64,
    ) -> Result<BTreeMap<i64, Counter>, Refusal> {
        let mut spans = BTreeMap::new();
        self.answered(asked, &baseline.segmented, |batch, _| {
            count_spans(&mut spans, every_us, batch.clone(), baseline)
        })?;
        Ok(spans)
    }
}

/// What is counted of a version's rows.
fn columns_of(layout: &Layout, baseline: &Baseline) -> Vec<String> {
    let mut columns = layout.watched();
    columns.retain(|it| baseline.column(it).is_some());
    columns
}

/// A batch's rows from a moment on.
fn since(batch: &RecordBatch, since_us: i64) -> Result<RecordBatch, Refusal> {
    let Some(times) = batch.column_by_name("time") else {
        return Ok(batch.clone());
    };
    let times = times.as_primitive::<TimestampMicrosecondType>();
    if min(times).is_none_or(|it| it >= since_us) {
        return Ok(batch.clone());
    }
    let times = times.values().iter();
    let here: BooleanArray = times.map(|it| Some(*it >= since_us)).collect();
    filter_record_batch(batch, &here)
        .map_err(|error| failure::of_library("reading the ledger", error))
}

/// Counts a batch's answered rows by their hour.
fn count(
    hours: &mut Hours,
    layout: &Layout,
    batch: &RecordBatch,
    baseline: &Baseline,
) -> Result<(), Refusal> {
    count_spans(hours, HOUR_US, answered(layout, batch)?, baseline)
}

fn count_spans(
    spans: &mut BTreeMap<i64, Counter>,
    every_us: i64,
    mut rows: RecordBatch,
    baseline: &Baseline,
) -> Result<(), Refusal> {
    let failed = |error| failure::of_library("reading the ledger", error);
    while rows.num_rows() > 0 {
        let times = rows.column_by_name("time");
        let times = times.map(|it| it.as_primitive::<TimestampMicrosecondType>());
        let span_of = |time_us: Option<i64>| time_us.unwrap_or(0).div_euclid(every_us);
        let span = span_of(times.and_then(min));
        let counter = spans.entry(span).or_insert_with(|| Counter::new(baseline));
        let times = match times {
            Some(times) if span_of(max(times)) > span => times,
            _ => return counter.add(baseline, &rows),
        };
        let here: BooleanArray = times.iter().map(|it| Some(span_of(it) == span)).collect();
        let others = not(&here).map_err(failed)?;
        counter.add(
            baseline,
            &filter_record_batch(&rows, &here).map_err(failed)?,
        )?;
        rows = filter_record_batch(&rows, &others).map_err(failed)?;
    }
    Ok(())
}
