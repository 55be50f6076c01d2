//! The first pass: what cells a column should have.

use std::collections::BTreeMap;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Int32Array, PrimitiveArray, RecordBatch,
    StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type};
use domain::Refusal;
use domain::monitor::segments::Segments;
use stats::drift::bins::Bins;
use stats::drift::column::{Cells, Levels};
use stats::sketch::{Numbers, Words};

use super::segments;
use super::{Baseline, COLUMNS_MAX, Column, LEVELS_MAX, LeftOut, NAME_BYTES_MAX};
use crate::failure;

/// Cells of a column of numbers, besides its atoms.
const PARTS: usize = 20;
/// The share of different values from which on a column of texts or whole numbers is taken for ids.
const IDS_SHARE: f64 = 0.9;
/// Rows below which nothing is taken for ids.
const IDS_ROWS_MIN: u64 = 100;

/// Columns in bounded memory: sketches of [`stats::sketch`], whatever the number of rows.
#[derive(Default)]
pub struct Summary {
    rows: u64,
    columns: BTreeMap<String, Found>,
    segments: Vec<segments::Found>,
}

enum Found {
    Numbers { sketch: Box<Numbers>, whole: bool },
    Words(Box<Words>),
    LeftOut(String),
}

/// What a column is watched as.
pub(crate) enum Watched {
    Numbers,
    Words,
}

/// What values of a type are watched as, or why they are not.
pub(crate) fn watched(datatype: &DataType) -> Result<Watched, String> {
    match datatype {
        DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Ok(Watched::Words)
        }
        DataType::Dictionary(_, values) => watched(values),
        it if it.is_numeric() => Ok(Watched::Numbers),
        DataType::Null => Err("it has no values".to_owned()),
        it if it.is_temporal() => Err("it is a time, which always moves".to_owned()),
        it => Err(format!("values of type {it} are not compared")),
    }
}

/// Numbers of a column; what is not one is null.
pub(crate) fn numbers(column: &ArrayRef) -> Result<ArrayRef, Refusal> {
    cast(column, &DataType::Float64).map_err(|error| failure::of_library("reading numbers", error))
}

/// Calls `each` with every number of a column; none is what is not one.
pub(crate) fn each_number(column: &ArrayRef, each: impl FnMut(Option<f64>)) -> Result<(), Refusal> {
    // What most models take is read where it is.
    if let Some(singles) = column.as_primitive_opt::<Float32Type>() {
        each_of(singles, each);
    } else {
        each_of(numbers(column)?.as_primitive::<Float64Type>(), each);
    }
    Ok(())
}

fn each_of<T>(values: &PrimitiveArray<T>, mut each: impl FnMut(Option<f64>))
where
    T: ArrowPrimitiveType<Native: Into<f64>>,
{
    if values.null_count() == 0 {
        let all = values.values().iter();
        all.for_each(|it| each(Some((*it).into())));
    } else {
        values.iter().for_each(|it| each(it.map(Into::into)));
    }
}

/// Calls `each` with every text of a column.
pub(crate) fn texts(column: &ArrayRef, mut each: impl FnMut(Option<&str>)) -> Result<(), Refusal> {
    if let Some((keys, words)) = dictionary(column) {
        // A key that is there points at a word.
        keys.iter()
            .for_each(|key| each(key.map(|it| words.value(it as usize))));
        return Ok(());
    }
    let text = cast(column, &DataType::Utf8)
        .map_err(|error| failure::of_library("reading texts", error))?;
    text.as_string::<i32>().iter().for_each(each);
    Ok(())
}

/// Calls `each` with what `tell` makes of every text of a column. A word of a dictionary is told once.
pub(crate) fn told_texts<T: Copy>(
    column: &ArrayRef,
    tell: impl Fn(&str) -> T,
    mut each: impl FnMut(Option<T>),
) -> Result<(), Refusal> {
    let Some((keys, words)) = dictionary(column) else {
        return texts(column, |it| each(it.map(&tell)));
    };
    // Of a batch that was cut out of a large one most words may be in no row.
    let mut told: Vec<Option<T>> = vec![None; words.len()];
    for key in keys {
        each(key.map(|it| {
            let word = it as usize;
            *told[word].get_or_insert_with(|| tell(words.value(word)))
        }));
    }
    Ok(())
}

fn dictionary(column: &ArrayRef) -> Option<(&Int32Array, &StringArray)> {
    let dictionary = column.as_dictionary_opt::<Int32Type>()?;
    Some((dictionary.keys(), dictionary.values().as_string_opt()?))
}

impl Summary {
    /// Of no rows; of those to come some columns are segmented too.
    pub fn of(segments: &[Segments]) -> Self {
        Self {
            segments: segments.iter().map(segments::Found::new).collect(),
            ..Self::default()
        }
    }

    /// Takes rows in. `wanted` says which columns.
    pub fn add(
        &mut self,
        batch: &RecordBatch,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), Refusal> {
        let schema = batch.schema();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            if wanted(field.name()) {
                self.add_column(field.name(), column)?;
            }
        }
        for it in &mut self.segments {
            it.add(batch)?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn add_column(&mut self, name: &str, column: &ArrayRef) -> Result<(), Refusal> {
        if !self.columns.contains_key(name) {
            let full = self.columns.len() >= COLUMNS_MAX || name.len() > NAME_BYTES_MAX;
            let found = match watched(column.data_type()) {
                _ if full => return Err(too_much(name)),
                Err(why) => Found::LeftOut(why),
                Ok(Watched::Words) => Found::Words(Box::default()),
                Ok(Watched::Numbers) => Found::Numbers {
                    sketch: Box::default(),
                    whole: column.data_type().is_integer(),
                },
            };
            self.columns.insert(name.to_owned(), found);
        }
        match self.columns.get_mut(name) {
            Some(Found::Numbers { sketch, whole }) => {
                *whole &= column.data_type().is_integer();
                let values = numbers(column)?;
                let values = values.as_primitive::<Float64Type>();
                if values.null_count() == 0 {
                    sketch.extend(values.values());
                } else {
                    let present: Vec<f64> = values.iter().flatten().collect();
                    sketch.extend(&present);
                    sketch.add_missing(values.null_count() as u64);
                }
            }
            Some(Found::Words(sketch)) => texts(column, |text| match text {
                Some(text) => sketch.add(text),
                None => sketch.add_missing(1),
            })?,
            Some(Found::LeftOut(_)) | None => {}
        }
        Ok(())
    }

    /// Takes in what another has seen of other rows, with the same columns segmented.
    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        for (here, there) in self.segments.iter_mut().zip(other.segments) {
            here.merge(there);
        }
        for (name, found) in other.columns {
            match (self.columns.get_mut(&name), found) {
                (None, found) => {
                    self.columns.insert(name, found);
                }
                (
                    Some(Found::Numbers { sketch, whole }),
                    Found::Numbers {
                        sketch: other,
                        whole: also,
                    },
                ) => {
                    sketch.merge(&other);
                    *whole &= also;
                }
                (Some(Found::Words(sketch)), Found::Words(other)) => sketch.merge(&other),
                (Some(Found::LeftOut(_)), _) => {}
                (Some(found), _) => {
                    *found = Found::LeftOut("its type differs from row to row".to_owned());
                }
            }
        }
    }

    /// A baseline with no rows in its cells yet.
    pub fn cells(&self) -> Baseline {
        let mut baseline = Baseline {
            rows: 0,
            columns: Vec::new(),
            left_out: Vec::new(),
            segmented: Vec::new(),
            segments: Vec::new(),
            unsegmented: Vec::new(),
        };
        for (name, found) in &self.columns {
            match found.cells() {
                Ok((cells, distinct)) => baseline.columns.push(Column {
                    name: name.clone(),
                    counted: cells.empty(),
                    cells,
                    distinct,
                }),
                Err(why) => baseline.left_out.push(LeftOut {
                    name: name.clone(),
                    why,
                }),
            }
        }
        baseline.take_segments(&self.segments);
        baseline
    }
}

/// Whether so many different values of so many rows are taken for ids.
pub(super) fn is_of_ids(rows: u64, distinct: f64) -> bool {
    rows >= IDS_ROWS_MIN && distinct >= IDS_SHARE * rows as f64
}

impl Found {
    fn cells(&self) -> Result<(Cells, f64), String> {
        let (rows, missing, distinct, ids) = match self {
            Self::Numbers { sketch, whole } => {
                (sketch.rows(), sketch.missing(), sketch.distinct(), *whole)
            }
            Self::Words(sketch) => (sketch.rows(), sketch.missing(), sketch.distinct(), true),
            Self::LeftOut(why) => return Err(why.clone()),
        };
        let present = rows - missing;
        if present == 0 {
            return Err("it has no values".to_owned());
        }
        if ids && is_of_ids(present, distinct) {
            return Err("nearly every row has another value, as ids have".to_owned());
        }
        let cells = match self {
            Self::Numbers { sketch, .. } => Cells::Numbers(Bins::of_sketch(sketch, PARTS)),
            Self::Words(sketch) => {
                let frequent = sketch.frequent(LEVELS_MAX);
                Cells::Levels(Levels::new(frequent.into_iter().map(|it| it.0).collect()))
            }
            Self::LeftOut(why) => return Err(why.clone()),
        };
        Ok((cells, distinct))
    }
}

fn too_much(name: &str) -> Refusal {
    let shown: String = name.chars().take(80).collect();
    Refusal::InvalidQuery {
        why: format!(
            "column `{shown}` is too much: a baseline has at most {COLUMNS_MAX} columns, with names of at most \
             {NAME_BYTES_MAX} bytes"
        ),
    }
}
