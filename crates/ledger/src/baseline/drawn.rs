//! Some rows of a reference and some current ones, for questions about all columns together.
//!
//! R1. Of each side a bounded number is drawn, by a hash of the row's place: every row is as likely.
//! R2. A text is the number of texts that are more frequent, of both sides together; what is missing is NaN.
//! R3. A row that is there again on the same side counts once: else the part of a side that was learned by heart
//!     would look like drift.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::array::RecordBatch;
use domain::Refusal;
use stats::drift::classifier;
use stats::drift::column::Cells;

use super::Baseline;
use super::summary::{each_number, told_texts};

/// Values of one side, about: with more columns there are fewer rows.
const VALUES_MAX: usize = 1_000_000;
/// Rows of a side, however many columns there are.
const ROWS_MIN: usize = 1_000;

/// The rows of one side.
pub struct Drawn {
    /// Rows that were seen.
    pub seen: u64,
    rows_max: usize,
    /// Rows whose hash begins with so many zeros take part.
    zeros: u32,
    hashes: Vec<u64>,
    columns: Vec<Values>,
}

enum Values {
    Numbers(Vec<f64>),
    /// Hashes of them.
    Texts(Vec<Option<u64>>),
}

fn hash_of(it: impl Hash) -> u64 {
    // Its keys are fixed: equal rows are drawn alike.
    let mut hasher = DefaultHasher::new();
    it.hash(&mut hasher);
    hasher.finish()
}

/// Takes the values out that are not to be kept.
pub(crate) fn only<T>(values: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    values.retain(|_| keep.next().copied().unwrap_or(false));
}

impl Drawn {
    /// No rows yet, of the columns that a baseline watches.
    pub fn new(baseline: &Baseline) -> Self {
        let columns = baseline.columns.iter().map(|it| match it.cells {
            Cells::Numbers(_) => Values::Numbers(Vec::new()),
            Cells::Levels(_) => Values::Texts(Vec::new()),
        });
        let columns: Vec<Values> = columns.collect();
        let rows_max = VALUES_MAX / columns.len().max(1);
        Self {
            seen: 0,
            rows_max: rows_max.clamp(ROWS_MIN, classifier::ROWS_MAX),
            zeros: 0,
            hashes: Vec::new(),
            columns,
        }
    }

    /// Takes rows in. A column that they do not have is missing in all of them.
    pub fn add(&mut self, baseline: &Baseline, batch: &RecordBatch) -> Result<(), Refusal> {
        let rows = batch.num_rows();
        let hashes = (self.seen..).take(rows).map(hash_of);
        let keep: Vec<bool> = hashes
            .map(|it| {
                let drawn = it.leading_zeros() >= self.zeros;
                self.hashes.extend(drawn.then_some(it));
                drawn
            })
            .collect();
        for (column, values) in baseline.columns.iter().zip(&mut self.columns) {
            let found = batch.column_by_name(&column.name);
            let mut kept = keep.iter().copied();
            let mut next = || kept.next().unwrap_or(false);
            match (values, found) {
                (Values::Numbers(all), Some(found)) => {
                    each_number(found, |it| {
                        if next() {
                            // Two zeros are one value.
                            all.push(it.unwrap_or(f64::NAN) + 0.0);
                        }
                    })?;
                }
                (Values::Texts(all), Some(found)) => told_texts(
                    found,
                    |it| hash_of(it),
                    |it| {
                        if next() {
                            all.push(it);
                        }
                    },
                )?,
                (Values::Numbers(all), None) => all.resize(self.hashes.len(), f64::NAN),
                (Values::Texts(all), None) => all.resize(self.hashes.len(), None),
            }
        }
        self.seen += rows as u64;
        while self.hashes.len() > 2 * self.rows_max {
            self.zeros += 1;
            let zeros = self.zeros;
            self.retain(|it| it.leading_zeros() >= zeros);
        }
        Ok(())
    }

    /// Takes the rows whose hash is wanted, of each the first.
    fn retain(&mut self, mut wanted: impl FnMut(u64) -> bool) {
        let keep: Vec<bool> = self.hashes.iter().map(|it| wanted(*it)).collect();
        self.keep(&keep);
    }

    fn keep(&mut self, keep: &[bool]) {
        only(&mut self.hashes, keep);
        for values in &mut self.columns {
            match values {
                Values::Numbers(all) => only(all, keep),
                Values::Texts(all) => only(all, keep),
            }
        }
    }

    /// R1 and R3.
    fn settle(&mut self) {
        let mut known = HashSet::new();
        let keep: Vec<bool> = (0..self.hashes.len())
            .map(|row| {
                let mut hasher = DefaultHasher::new();
                for values in &self.columns {
                    match values {
                        Values::Numbers(all) => all[row].to_bits().hash(&mut hasher),
                        Values::Texts(all) => all[row].hash(&mut hasher),
                    }
                }
                known.insert(hasher.finish())
            })
            .collect();
        self.keep(&keep);
        if self.hashes.len() > self.rows_max {
            let mut sorted = self.hashes.clone();
            let (_, end, _) = sorted.select_nth_unstable(self.rows_max);
            let end = *end;
            self.retain(|it| it < end);
        }
    }
}

/// Rows of both sides as numbers, column by column.
#[derive(Clone, Debug, PartialEq)]
pub struct Together {
    /// The columns.
    pub names: Vec<String>,
    /// Whether each is of numbers.
    pub is_number: Vec<bool>,
    /// The reference's rows.
    pub reference: Vec<Vec<f64>>,
    /// Current rows.
    pub current: Vec<Vec<f64>>,
}

impl Together {
    /// Puts both sides of a baseline's columns together.
    pub fn new(baseline: &Baseline, mut reference: Drawn, mut current: Drawn) -> Self {
        reference.settle();
        current.settle();
        let mut together = Self {
            names: baseline.columns.iter().map(|it| it.name.clone()).collect(),
            is_number: Vec::new(),
            reference: Vec::new(),
            current: Vec::new(),
        };
        for sides in reference.columns.into_iter().zip(current.columns) {
            let (before, now, is_number) = match sides {
                (Values::Numbers(before), Values::Numbers(now)) => (before, now, true),
                (Values::Texts(before), Values::Texts(now)) => {
                    let ranks = ranks(before.iter().chain(&now));
                    let of = |it: Vec<Option<u64>>| {
                        let rank = |it: Option<u64>| {
                            it.and_then(|it| ranks.get(&it).copied())
                                .unwrap_or(f64::NAN)
                        };
                        it.into_iter().map(rank).collect()
                    };
                    (of(before), of(now), false)
                }
                // Both were made of the same baseline.
                _ => continue,
            };
            together.is_number.push(is_number);
            together.reference.push(before);
            together.current.push(now);
        }
        together
    }
}

/// R2.
fn ranks<'a>(texts: impl Iterator<Item = &'a Option<u64>>) -> HashMap<u64, f64> {
    let mut counts: HashMap<u64, u64> = HashMap::new();
    for text in texts.flatten() {
        *counts.entry(*text).or_default() += 1;
    }
    let mut sorted: Vec<(u64, u64)> = counts.into_iter().collect();
    sorted.sort_by_key(|(text, count)| (std::cmp::Reverse(*count), *text));
    let places = sorted.iter().enumerate();
    places.map(|(place, it)| (it.0, place as f64)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray};

    use super::*;
    use crate::baseline::Source;

    fn batch(numbers: Vec<Option<f64>>, words: Vec<Option<&str>>) -> RecordBatch {
        RecordBatch::try_from_iter([
            ("x", Arc::new(Float64Array::from(numbers)) as ArrayRef),
            ("word", Arc::new(StringArray::from(words)) as ArrayRef),
        ])
        .expect("columns of one length")
    }

    fn drawn(baseline: &Baseline, batches: &[RecordBatch]) -> Drawn {
        let mut drawn = Drawn::new(baseline);
        for batch in batches {
            drawn.add(baseline, batch).expect("rows");
        }
        drawn
    }

    #[test]
    fn texts_are_ranked_and_equal_rows_count_once() {
        let before = batch(
            vec![Some(1.0), Some(0.0), Some(-0.0), Some(2.0), None],
            vec![Some("a"), Some("b"), Some("b"), Some("a"), None],
        );
        let baseline = Source::Batch(&before)
            .baseline(1, &[], |_| true)
            .expect("rows");
        let now = batch(vec![Some(3.0), Some(4.0)], vec![Some("c"), Some("a")]);
        let together = Together::new(
            &baseline,
            drawn(&baseline, &[before]),
            drawn(&baseline, &[now]),
        );
        assert_eq!(together.names, ["word", "x"]);
        assert_eq!(together.is_number, [false, true]);
        let shown = |it: &[Vec<f64>]| format!("{it:?}");
        let reference = shown(&together.reference);
        // `a` three times, `b` and `c` once each, in the order of their hashes.
        assert!(reference.contains("[1.0, 0.0, 2.0, NaN]"), "{reference}");
        assert_eq!(together.reference[0][0], 0.0);
        assert_eq!(together.current[0][1], 0.0);
        assert!(together.reference[0][3].is_nan());
        assert_eq!(together.current[1], [3.0, 4.0]);
    }

    #[test]
    fn of_many_rows_a_bounded_number_is_drawn_evenly() {
        let rows = |from: usize| {
            let numbers = (from..from + 10_000).map(|it| Some(it as f64)).collect();
            batch(numbers, vec![Some("a"); 10_000])
        };
        let all: Vec<RecordBatch> = (0..10).map(|it| rows(it * 10_000)).collect();
        let baseline = Source::Batch(&all[0])
            .baseline(1, &[], |_| true)
            .expect("rows");
        let mut drawn = drawn(&baseline, &all);
        assert_eq!(drawn.seen, 100_000);
        drawn.settle();
        assert_eq!(drawn.hashes.len(), classifier::ROWS_MAX);
        let Values::Numbers(values) = &drawn.columns[1] else {
            panic!("numbers");
        };
        let half = values.iter().filter(|it| **it < 50_000.0).count();
        assert!((9_700..10_300).contains(&half), "{half}");
    }
}
