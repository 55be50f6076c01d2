//! Which part of a model's predictions a row belongs to: its version, the values of some columns, its time.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType as Arrow, Float64Type, Int32Type};
use domain::Refusal;
use domain::ledger::{NO_VALUE, OTHER_VALUES};

use crate::failure;

/// Values of a column that are told apart; the others are one.
const VALUES_MAX: usize = 200;
/// A column of numbers with more different values is cut into ranges.
const NUMBERS_MAX: usize = 12;
/// Ranges of equal shares of the rows.
const RANGES: usize = 4;

/// How the values of a column are told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Slicer {
    /// As they are.
    Values,
    /// By the range between these edges that they lie in.
    Ranges(Vec<f64>),
}

impl Slicer {
    /// A way to tell the values of a column, from some of its rows.
    pub(crate) fn of(column: &dyn Array) -> Result<Self, Refusal> {
        if !column.data_type().is_numeric() {
            return Ok(Self::Values);
        }
        let numbers = numbers(column)?;
        let mut sorted: Vec<f64> = numbers
            .iter()
            .flatten()
            .filter(|it| it.is_finite())
            .collect();
        sorted.sort_by(f64::total_cmp);
        let mut distinct = sorted.clone();
        distinct.dedup();
        if distinct.len() <= NUMBERS_MAX {
            return Ok(Self::Values);
        }
        let mut edges: Vec<f64> = (1..RANGES)
            .map(|it| sorted[sorted.len() * it / RANGES])
            .collect();
        // Where many have the least value nothing is below it: it is a range of its own, up to the next.
        if let [least, next, ..] = distinct[..] {
            for edge in &mut edges {
                *edge = if *edge == least { next } else { *edge };
            }
        }
        edges.dedup();
        Ok(Self::Ranges(edges))
    }

    /// The values of a column as text. What is no number is missing, and so is an empty text: a request has no other way
    /// to say that a text is.
    pub(crate) fn show(&self, column: &dyn Array) -> Result<Vec<String>, Refusal> {
        let none = || NO_VALUE.to_owned();
        match self {
            Self::Values => {
                let text = cast(column, &Arrow::Utf8)
                    .map_err(|error| failure::of_library("slicing by a column", error))?;
                let text = text.as_string::<i32>().iter();
                let is_number = column.data_type().is_floating();
                let is_there = |it: &&str| !it.is_empty() && (!is_number || *it != "NaN");
                let text = text.map(|it| it.filter(is_there));
                Ok(text.map(|it| it.map_or_else(none, str::to_owned)).collect())
            }
            Self::Ranges(edges) => {
                let numbers = numbers(column)?;
                let show = |number: Option<f64>| match number {
                    None => none(),
                    Some(number) if number.is_nan() => none(),
                    Some(number) => range(edges, number),
                };
                Ok(numbers.iter().map(show).collect())
            }
        }
    }
}

fn numbers(column: &dyn Array) -> Result<arrow::array::Float64Array, Refusal> {
    let numbers = cast(column, &Arrow::Float64)
        .map_err(|error| failure::of_library("slicing by a column", error))?;
    Ok(numbers.as_primitive::<Float64Type>().clone())
}

fn place_of(edges: &[f64], number: f64) -> usize {
    edges.partition_point(|edge| *edge <= number)
}

fn range(edges: &[f64], number: f64) -> String {
    let place = place_of(edges, number);
    let low = place.checked_sub(1).and_then(|it| edges.get(it));
    match (low, edges.get(place)) {
        (None, Some(high)) => format!("below {high}"),
        (Some(low), Some(high)) => format!("[{low}, {high})"),
        (Some(low), None) => format!("{low} and over"),
        (None, None) => "all".to_owned(),
    }
}

/// Texts and their numbers, so that a row's slices can be compared as numbers.
#[derive(Default)]
pub(crate) struct Interner {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Interner {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let text = if self.texts.len() >= VALUES_MAX {
            OTHER_VALUES.to_owned()
        } else {
            text.to_owned()
        };
        let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(text.clone()).or_insert(next);
        if number == next {
            self.texts.push(text);
        }
        number
    }

    pub(crate) fn text(&self, number: u32) -> &str {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        self.texts.get(place).map_or("", String::as_str)
    }
}

/// The numbers of a batch's values in the columns asked for, column by column.
pub(super) fn codes(
    batch: &RecordBatch,
    by: &[(String, Slicer)],
    interners: &mut [Interner],
) -> Result<Vec<Vec<u32>>, Refusal> {
    by.iter()
        .zip(interners)
        .map(|((name, slicer), interner)| {
            let Some(column) = batch.column_by_name(name) else {
                // Another layout has it.
                let none = interner.number(NO_VALUE);
                return Ok(vec![none; batch.num_rows()]);
            };
            numbered(slicer, column.as_ref(), interner)
        })
        .collect()
}

/// The number of each value of a column.
pub(crate) fn numbered(
    slicer: &Slicer,
    column: &dyn Array,
    interner: &mut Interner,
) -> Result<Vec<u32>, Refusal> {
    told(slicer, column, |text| interner.number(text))
}

/// What `tell` makes of each value of a column. What is alike, a range or a word of a dictionary, is told once.
pub(crate) fn told<T: Copy>(
    slicer: &Slicer,
    column: &dyn Array,
    mut tell: impl FnMut(&str) -> T,
) -> Result<Vec<T>, Refusal> {
    if let Slicer::Ranges(edges) = slicer {
        let numbers = numbers(column)?;
        let mut known: Vec<Option<T>> = vec![None; edges.len() + 2];
        let code = |number: Option<f64>| {
            let number = number.filter(|it| !it.is_nan());
            let place = number.map_or(edges.len() + 1, |it| place_of(edges, it));
            *known[place].get_or_insert_with(|| match number {
                None => tell(NO_VALUE),
                Some(number) => tell(&range(edges, number)),
            })
        };
        return Ok(numbers.iter().map(code).collect());
    }
    if let Some(words) = column.as_dictionary_opt::<Int32Type>() {
        let shown = slicer.show(words.values().as_ref())?;
        let mut known: Vec<Option<T>> = vec![None; shown.len()];
        let code = |row: usize| match words.key(row) {
            None => tell(NO_VALUE),
            Some(key) => *known[key].get_or_insert_with(|| tell(&shown[key])),
        };
        return Ok((0..words.len()).map(code).collect());
    }
    let shown = slicer.show(column)?;
    Ok(shown.iter().map(|it| tell(it)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float32Array, Int64Array, StringArray};

    #[test]
    fn values_are_told_as_they_are_or_by_range() {
        let numbers = Float32Array::from_iter_values((0..100).map(|it| it as f32));
        let slicer = Slicer::of(&numbers).expect("numbers");
        assert_eq!(slicer, Slicer::Ranges(vec![25.0, 50.0, 75.0]));
        let some = Float32Array::from(vec![
            Some(0.0),
            Some(25.0),
            Some(99.0),
            Some(f32::NAN),
            None,
        ]);
        let shown = slicer.show(&some).expect("numbers");
        assert_eq!(
            shown,
            ["below 25", "[25, 50)", "75 and over", "(none)", "(none)"]
        );
        let zeros = Int64Array::from_iter_values((0..100).map(|it| (it - 79).max(0)));
        let slicer = Slicer::of(&zeros).expect("numbers");
        assert_eq!(slicer, Slicer::Ranges(vec![1.0]));
        let few = Int64Array::from(vec![3, 1, 3]);
        let slicer = Slicer::of(&few).expect("numbers");
        assert_eq!(slicer.show(&few).expect("numbers"), ["3", "1", "3"]);
        let missing = Float32Array::from(vec![Some(0.5), Some(f32::NAN), None]);
        let shown = Slicer::Values.show(&missing).expect("numbers");
        assert_eq!(shown, ["0.5", "(none)", "(none)"]);
        let text = StringArray::from(vec![Some("north"), None, Some(""), Some("NaN")]);
        let slicer = Slicer::of(&text).expect("text");
        let want = ["north", "(none)", "(none)", "NaN"];
        assert_eq!(slicer.show(&text).expect("text"), want);
        let words = cast(&text, &crate::layout::words()).expect("words");
        let told = told(&slicer, words.as_ref(), str::len).expect("words");
        assert_eq!(told, want.map(str::len));
    }
}
