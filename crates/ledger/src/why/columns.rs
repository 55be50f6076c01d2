//! The features of some rows: read batch by batch, and then told as cells.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use domain::Refusal;
use domain::ledger::NO_VALUE;
use stats::slices::{Feature, Found, NO_CELL, Rows, Settings, Slice, search};

use super::WorstSlice;
use crate::baseline::{LeftOut, NAME_BYTES_MAX, WatchedAs, numbers, only, texts, watched};
use crate::failure;
use crate::layout::Layout;
use crate::quality::{Interner, Slicer, numbered};

/// Features that are searched.
const FEATURES_MAX: usize = 64;
/// Texts of a feature that are cells of their own.
const LEVELS_MAX: usize = 20;
/// Different texts of a feature that are told apart while rows are read.
const WORDS_MAX: usize = 10_000;
/// The key of a text that is missing, and of one that is not told apart.
const MISSING: u32 = u32::MAX;
const OTHER: u32 = u32::MAX - 1;

/// The features of rows, each in the order in which the rows were added.
#[derive(Default)]
pub(crate) struct Columns {
    columns: BTreeMap<String, Column>,
    left_out: Vec<LeftOut>,
}

/// What a search found, and in what.
pub(crate) struct Searched {
    /// All that is not told by names.
    pub(crate) found: Found,
    pub(crate) slices: Vec<WorstSlice>,
    /// The features that were searched, and those that were not.
    pub(crate) features: Vec<String>,
    pub(crate) left_out: Vec<LeftOut>,
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

impl Columns {
    /// Makes room for the features of a layout.
    pub(crate) fn expect(&mut self, layout: &Layout) {
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

    /// The features that are read.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &String> {
        self.columns.keys()
    }

    /// Takes rows of a batch, by their ascending places in it.
    pub(crate) fn add(&mut self, batch: &RecordBatch, taken: &[usize]) -> Result<(), Refusal> {
        let mut unlike = Vec::new();
        for (name, column) in &mut self.columns {
            if let Err(why) = column.add(batch, name, taken)? {
                unlike.push((name.clone(), why));
            }
        }
        for (name, why) in unlike {
            self.leave_out(name, why);
        }
        Ok(())
    }

    /// Leaves only these of the rows.
    pub(crate) fn keep(&mut self, keep: &[bool]) {
        for column in self.columns.values_mut() {
            match column {
                Column::Unknown => {}
                Column::Numbers { values, .. } => only(values, keep),
                Column::Words { keys, .. } => only(keys, keep),
            }
        }
    }

    /// Searches for the slices of the rows with the greatest loss.
    pub(crate) fn search(
        mut self,
        losses: &[f64],
        held_out: &[bool],
        settings: Settings,
    ) -> Result<Searched, Refusal> {
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
                None if losses.is_empty() => {}
                None => self.leave_out(name, "it has the same value in all rows".to_owned()),
            }
        }
        let rows = Rows {
            features: &features,
            losses,
            held_out,
        };
        let mut found = search(rows, settings);
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
        let slices = std::mem::take(&mut found.slices);
        Ok(Searched {
            slices: slices.into_iter().map(named).collect(),
            found,
            features: names,
            left_out: self.left_out,
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
}
