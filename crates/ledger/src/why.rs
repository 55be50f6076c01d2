//! Where a version is worst: its labelled rows with their losses, in cells of their features, and the slices of them
//! that `stats` finds.
//!
//! R1. Rows, features and levels are bounded: of more rows a sample by their ids' hash is taken, of more features the
//!     first, of more levels the most frequent.
//! R2. A number is told as `quality` tells it: its values where they are few, else by quarters.
//! R3. Which half a row belongs to is told by its id's hash too, so that asking again gives the same answer.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use domain::Refusal;
use domain::ledger::NO_VALUE;
use stats::random::mixed;
use stats::slices::{Feature, Found, NO_CELL, Rows, Settings, Side, Slice, search};

use crate::baseline::{
    LeftOut, NAME_BYTES_MAX, WatchedAs, answered, numbers, only, texts, watched,
};
use crate::failure;
use crate::files::{Entry, Kind};
use crate::layout::{Layout, Meaning};
use crate::quality::{
    self, Interner, Slicer, Truths, answer_columns, losses, numbered, why_uncounted,
};
use crate::read::{Ids, Range, Snapshot, within};

/// Rows of the sample.
const ROWS_MAX: usize = 200_000;
/// Values of the sample: with many features it has fewer rows.
const VALUES_MAX: usize = 4_000_000;
/// Features that are searched.
const FEATURES_MAX: usize = 64;
/// Texts of a feature that are cells of their own.
const LEVELS_MAX: usize = 20;
/// Different texts of a feature that are told apart while rows are read.
const WORDS_MAX: usize = 10_000;
/// The share of a half's rows below which a slice is too small to be looked at, where nobody says otherwise.
const SUPPORT_SHARE: f64 = 0.01;
/// And the fewest.
const SUPPORT_MIN: usize = 30;
/// The key of a text that is missing, and of one that is not told apart.
const MISSING: u32 = u32::MAX;
const OTHER: u32 = u32::MAX - 1;

/// What is asked.
#[derive(Clone, Debug)]
pub struct WorstAsked {
    /// The model.
    pub model: String,
    /// The version.
    pub version: u32,
    /// The predictions' times.
    pub range: Range,
    /// The fewest rows of a slice in each half; without it a hundredth of them, and 30 at least.
    pub support: Option<usize>,
    /// The most conditions of a slice.
    pub depth: usize,
    /// Slices that are tested.
    pub slices: usize,
    /// How often anything may be confirmed where there is nothing.
    pub alpha: f64,
    /// The level of the intervals.
    pub level: f64,
}

/// What the loss of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// 1 for another class than the true one, else 0.
    Misclassification,
    /// How far a number is from the true one.
    AbsoluteError,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Worst {
    /// What is counted; none where there are no rows.
    pub loss: Option<LossKind>,
    /// Labelled rows.
    pub labelled: u64,
    /// Those of them that were looked at: a sample where they are fewer.
    pub rows: u64,
    /// The fewest rows of a slice in each half.
    pub support: usize,
    /// Features that were searched.
    pub features: Vec<String>,
    /// Features that were not, and why.
    pub left_out: Vec<LeftOut>,
    /// Slices that were looked at.
    pub considered: u64,
    /// Whether none is missing that could be worse than those found.
    pub complete: bool,
    /// The half that searched.
    pub searched: Side,
    /// The half that confirmed.
    pub held_out: Side,
    /// Slices that were tested, in the order in which they were found.
    pub slices: Vec<WorstSlice>,
}

/// A slice by the names of its conditions.
#[derive(Clone, Debug, PartialEq)]
pub struct WorstSlice {
    /// The value, or the range of values, of each column that has to do with it.
    pub by: BTreeMap<String, String>,
    /// What was found of it.
    pub slice: Slice,
}

impl Snapshot<'_> {
    /// Searches for the slices in which a version is worst. Blocks for as long as it takes.
    pub fn worst(&self, asked: &WorstAsked) -> Result<Worst, Refusal> {
        let log = self.of_log(&asked.model)?;
        let of_version = |it: &Layout| it.version == asked.version;
        let mut files = self.files(Kind::Predictions, &asked.model, asked.range);
        files.retain(|it| of_version(&self.layout(it)));
        let windows = quality::windows(self, &asked.model, &files)?;
        let unsealed = || log.rows.iter().filter(|it| of_version(&it.layout));
        let layouts = self.layouts_of(&files, unsealed());
        let mut sample = Sample::default();
        let mut meanings: Vec<&Meaning> = Vec::new();
        for layout in &layouts {
            check(layout)?;
            sample.expect(layout);
            if !meanings.contains(&&layout.meaning) {
                meanings.push(&layout.meaning);
            }
        }
        let loss = meanings.first().map(|it| match it {
            Meaning::Classes { .. } => LossKind::Misclassification,
            Meaning::Value { .. } | Meaning::None => LossKind::AbsoluteError,
        });
        for meaning in meanings {
            let mut truths = Truths::none(self, &asked.model, meaning, &log.labels)?;
            for window in &windows {
                truths.turn_to(self, &asked.model, *window, &log.labels)?;
                for entry in &files {
                    let layout = self.layout(entry);
                    if layout.meaning == *meaning {
                        self.sampled(entry, &layout, (*window, asked.range), &truths, &mut sample)?;
                    }
                }
                for unsealed in unsealed().filter(|it| it.layout.meaning == *meaning) {
                    let batch = within(&unsealed.batch, *window, asked.range)?;
                    sample.add(&unsealed.layout, &batch, &truths)?;
                }
            }
        }
        sample.worst(asked, loss)
    }

    fn sampled(
        &self,
        entry: &Entry,
        layout: &Layout,
        (window, range): (Ids, Range),
        truths: &Truths,
        sample: &mut Sample,
    ) -> Result<(), Refusal> {
        let mut columns = [
            "prediction_id",
            "row",
            "code",
            "time",
            "request_id",
            "key",
            "inputs_recorded",
        ]
        .map(str::to_owned)
        .to_vec();
        columns.extend(answer_columns(&layout.meaning));
        columns.extend(sample.columns.keys().cloned());
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        self.read(entry, &columns, window, range, |batch| {
            sample.add(layout, &batch, truths)
        })
    }
}

/// Refuses what has no loss.
fn check(layout: &Layout) -> Result<(), Refusal> {
    let Some(why) = why_uncounted(&layout.meaning) else {
        return Ok(());
    };
    Err(Refusal::InvalidQuery {
        why: format!(
            "where `{}:{}` is worst: {why}",
            layout.model, layout.version
        ),
    })
}

/// Labelled rows in memory.
#[derive(Default)]
struct Sample {
    labelled: u64,
    /// Rows with a hash of at least this are not taken.
    below: Option<u64>,
    hashes: Vec<u64>,
    losses: Vec<f64>,
    columns: BTreeMap<String, Column>,
    left_out: Vec<LeftOut>,
}

/// The values of a feature.
enum Column {
    /// Nothing is known of its type yet.
    Unknown,
    /// NaN where one is missing.
    Numbers {
        values: Vec<f64>,
        datatype: DataType,
    },
    Words {
        keys: Vec<u32>,
        words: HashMap<String, u32>,
    },
}

impl Sample {
    /// Makes room for the features of a layout.
    fn expect(&mut self, layout: &Layout) {
        for name in layout.features() {
            if self.columns.contains_key(&name) || self.left_out.iter().any(|it| it.name == name) {
                continue;
            }
            if self.columns.len() < FEATURES_MAX {
                self.columns.insert(name, Column::Unknown);
            } else {
                self.leave_out(name, format!("only {FEATURES_MAX} features are searched"));
            }
        }
    }

    fn leave_out(&mut self, name: String, why: String) {
        self.columns.remove(&name);
        self.left_out.push(LeftOut { name, why });
    }

    fn rows_max(&self) -> usize {
        ROWS_MAX.min(VALUES_MAX / self.columns.len().max(1))
    }

    fn add(
        &mut self,
        layout: &Layout,
        batch: &RecordBatch,
        truths: &Truths,
    ) -> Result<(), Refusal> {
        let batch = &answered(layout, batch)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut taken = Vec::new();
        for (row, loss) in losses(layout, batch, truths)?.into_iter().enumerate() {
            let Some(quality::Loss { hash, loss, .. }) = loss else {
                continue;
            };
            self.labelled += 1;
            let hash = mixed(hash);
            if self.below.is_none_or(|below| hash < below) {
                taken.push(row);
                self.hashes.push(hash);
                self.losses.push(loss);
            }
        }
        let mut unlike = Vec::new();
        for (name, column) in &mut self.columns {
            if let Err(why) = column.add(batch, name, &taken)? {
                unlike.push((name.clone(), why));
            }
        }
        for (name, why) in unlike {
            self.leave_out(name, why);
        }
        while self.hashes.len() > self.rows_max() {
            self.halve();
        }
        Ok(())
    }

    /// Takes half of the rows out: those with the greater hashes.
    fn halve(&mut self) {
        let below = self.below.unwrap_or(u64::MAX) / 2;
        self.below = Some(below);
        let keep: Vec<bool> = self.hashes.iter().map(|it| *it < below).collect();
        only(&mut self.hashes, &keep);
        only(&mut self.losses, &keep);
        for column in self.columns.values_mut() {
            match column {
                Column::Unknown => {}
                Column::Numbers { values, .. } => only(values, &keep),
                Column::Words { keys, .. } => only(keys, &keep),
            }
        }
    }

    fn worst(mut self, asked: &WorstAsked, loss: Option<LossKind>) -> Result<Worst, Refusal> {
        let mut names = Vec::new();
        let mut features = Vec::new();
        let mut cells: Vec<Vec<String>> = Vec::new();
        for (name, column) in std::mem::take(&mut self.columns) {
            match column.cells()? {
                Some((feature, of)) => {
                    names.push(name);
                    features.push(feature);
                    cells.push(of);
                }
                None if self.hashes.is_empty() => {}
                None => self.leave_out(name, "it has the same value in all rows".to_owned()),
            }
        }
        // The upper bits choose the sample, the lowest the half.
        let held_out: Vec<bool> = self.hashes.iter().map(|it| it & 1 == 1).collect();
        let half = self.hashes.len() / 2;
        let share = (half as f64 * SUPPORT_SHARE) as usize;
        let support = asked.support.unwrap_or_else(|| share.max(SUPPORT_MIN));
        let settings = Settings {
            support,
            depth: asked.depth,
            slices: asked.slices,
            alpha: asked.alpha,
            level: asked.level,
        };
        let rows = Rows {
            features: &features,
            losses: &self.losses,
            held_out: &held_out,
        };
        let Found {
            slices,
            considered,
            complete,
            searched,
            held_out,
        } = search(rows, settings);
        let named = |slice: Slice| {
            let conditions = slice.conditions.iter();
            let by = conditions.map(|it| {
                let text = &cells[it.feature][usize::from(it.cell)];
                (names[it.feature].clone(), text.clone())
            });
            WorstSlice {
                by: by.collect(),
                slice,
            }
        };
        Ok(Worst {
            loss,
            labelled: self.labelled,
            rows: self.hashes.len() as u64,
            support,
            slices: slices.into_iter().map(named).collect(),
            features: names,
            left_out: self.left_out,
            considered,
            complete,
            searched,
            held_out,
        })
    }
}

impl Column {
    /// Takes rows of a batch; an error says why the column cannot be a feature.
    fn add(
        &mut self,
        batch: &RecordBatch,
        name: &str,
        taken: &[usize],
    ) -> Result<Result<(), String>, Refusal> {
        let Some(column) = batch.column_by_name(name) else {
            return Ok(Err("not all rows have it".to_owned()));
        };
        let kind = match watched(column.data_type()) {
            Ok(kind) => kind,
            Err(why) => return Ok(Err(why)),
        };
        if matches!(self, Self::Unknown) {
            *self = match kind {
                WatchedAs::Numbers => Self::Numbers {
                    values: Vec::new(),
                    datatype: column.data_type().clone(),
                },
                WatchedAs::Words => Self::Words {
                    keys: Vec::new(),
                    words: HashMap::new(),
                },
            };
        }
        match (self, kind) {
            (Self::Numbers { values, .. }, WatchedAs::Numbers) => {
                let numbers = numbers(column)?;
                let numbers = numbers.as_primitive::<Float64Type>();
                let mut all = numbers.iter();
                let mut at = 0;
                for row in taken {
                    let value = all.nth(row - at).flatten();
                    at = row + 1;
                    values.push(value.unwrap_or(f64::NAN));
                }
            }
            (Self::Words { keys, words }, WatchedAs::Words) => {
                let mut wanted = taken.iter().peekable();
                let mut row = 0;
                texts(column, |text| {
                    if wanted.next_if(|it| **it == row).is_some() {
                        keys.push(text.map_or(MISSING, |it| key(words, it)));
                    }
                    row += 1;
                })?;
            }
            _ => return Ok(Err("its type differs from row to row".to_owned())),
        }
        Ok(Ok(()))
    }

    /// The rows in cells, and what the cells are called; none where all are alike.
    fn cells(self) -> Result<Option<(Feature, Vec<String>)>, Refusal> {
        let (codes, names) = match self {
            Self::Unknown => return Ok(None),
            Self::Numbers { values, datatype } => {
                let present = |it: f64| (!it.is_nan()).then_some(it);
                let numbers: Float64Array = values.into_iter().map(present).collect();
                // As text it is to be what the ledger shows.
                let column = cast(&numbers, &datatype)
                    .map_err(|error| failure::of_library("reading numbers", error))?;
                let mut interner = Interner::default();
                let slicer = Slicer::of(column.as_ref())?;
                let codes = numbered(&slicer, column.as_ref(), &mut interner)?;
                let most = codes.iter().max().map_or(0, |it| it + 1);
                let names = (0..most).map(|it| interner.text(it).to_owned()).collect();
                (codes, names)
            }
            Self::Words { keys, words } => frequent(&keys, words),
        };
        if names.len() < 2 && !codes.contains(&u32::from(NO_CELL)) {
            return Ok(None);
        }
        let code = |it: u32| u16::try_from(it).unwrap_or(NO_CELL);
        let feature = Feature {
            cells: u16::try_from(names.len()).unwrap_or(0),
            codes: codes.into_iter().map(code).collect(),
        };
        Ok(Some((feature, names)))
    }
}

fn key(words: &mut HashMap<String, u32>, text: &str) -> u32 {
    if let Some(key) = words.get(text) {
        return *key;
    }
    if words.len() >= WORDS_MAX || text.len() > NAME_BYTES_MAX {
        return OTHER;
    }
    let key = u32::try_from(words.len()).unwrap_or(OTHER);
    words.insert(text.to_owned(), key);
    key
}

/// The cells of texts: the most frequent, and what is missing.
fn frequent(keys: &[u32], words: HashMap<String, u32>) -> (Vec<u32>, Vec<String>) {
    let mut counts: HashMap<u32, u64> = HashMap::new();
    for key in keys.iter().filter(|it| **it != OTHER) {
        *counts.entry(*key).or_default() += 1;
    }
    let mut texts: HashMap<u32, String> =
        words.into_iter().map(|(text, key)| (key, text)).collect();
    texts.insert(MISSING, NO_VALUE.to_owned());
    let named = counts
        .into_iter()
        .filter_map(|(key, count)| Some((count, texts.remove(&key)?, key)));
    let mut levels: Vec<(u64, String, u32)> = named.collect();
    levels.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    levels.truncate(LEVELS_MAX);
    let cells: HashMap<u32, u32> = levels.iter().map(|it| it.2).zip(0..).collect();
    let code = |key: &u32| cells.get(key).copied().unwrap_or(u32::from(NO_CELL));
    let codes = keys.iter().map(code).collect();
    (codes, levels.into_iter().map(|it| it.1).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float32Array, Int64Array, StringArray};

    use super::*;

    fn cells(column: ArrayRef, taken: &[usize]) -> Option<(Feature, Vec<String>)> {
        let batch = RecordBatch::try_from_iter([("x", column)]).expect("a batch");
        let mut column = Column::Unknown;
        for _ in 0..2 {
            let added = column.add(&batch, "x", taken).expect("read");
            added.expect("a feature");
        }
        column.cells().expect("cells")
    }

    #[test]
    fn values_are_in_the_cells_that_quality_names() {
        let numbers = Float32Array::from_iter((0..100).map(|it| (it != 7).then_some(it as f32)));
        let (feature, names) = cells(Arc::new(numbers), &[0, 7, 30, 60, 90]).expect("cells");
        // Of five rows the values are few.
        assert_eq!(names, ["0.0", "(none)", "30.0", "60.0", "90.0"]);
        assert_eq!(feature.codes, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
        let all: Vec<usize> = (0..100).collect();
        let numbers = Float32Array::from_iter_values((0..100).map(|it| it as f32));
        let (feature, names) = cells(Arc::new(numbers), &all).expect("cells");
        assert_eq!(names, ["below 25", "[25, 50)", "[50, 75)", "75 and over"]);
        assert_eq!(
            (feature.cells, feature.codes[25], feature.codes[199]),
            (4, 1, 3)
        );
        let same = Int64Array::from(vec![3; 5]);
        assert_eq!(cells(Arc::new(same), &[0, 1]), None);
    }

    #[test]
    fn of_texts_the_frequent_are_cells() {
        let mut texts: Vec<Option<String>> = (0..30).map(|it| Some(format!("t{it}"))).collect();
        texts.extend([
            Some("often".to_owned()),
            Some("often".to_owned()),
            None,
            None,
            None,
        ]);
        let rows: Vec<usize> = (0..texts.len()).collect();
        let (feature, names) = cells(Arc::new(StringArray::from(texts)), &rows).expect("cells");
        assert_eq!(
            (names.len(), &*names[0], &*names[1]),
            (20, "(none)", "often")
        );
        assert_eq!(feature.codes[30..35], [1, 1, 0, 0, 0]);
        assert_eq!(
            feature.codes.iter().filter(|it| **it == NO_CELL).count(),
            24
        );
    }

    #[test]
    fn a_sample_keeps_half_at_a_time() {
        let mut sample = Sample::default();
        for row in 0..1000u64 {
            sample.hashes.push(mixed(row));
            sample.losses.push(row as f64);
        }
        sample.halve();
        let left = sample.hashes.len();
        assert!((420..580).contains(&left), "{left}");
        for (hash, loss) in sample.hashes.iter().zip(&sample.losses) {
            assert_eq!(*hash, mixed(*loss as u64));
        }
        sample.halve();
        assert!(sample.hashes.len() < left && sample.below == Some(u64::MAX / 2 / 2));
    }
}
