//! The columns of a batch of predictions, as far as arms are told by them.

use std::ops::Deref;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType as Arrow, Float64Type, UInt32Type};
use domain::Refusal;

use super::Answer;
use crate::failure;
use crate::layout::{Kept, Layout, Meaning};
use crate::requests::{Requests, Words};

/// Numbers that differ by less than this part of themselves are the same answer: other runtimes and batches round
/// otherwise.
const SAME: f64 = 1e-6;

/// The columns by which answers are compared: the class, the number, or all that was answered.
fn compared_columns(layout: &Layout) -> Vec<String> {
    match &layout.meaning {
        Meaning::Classes { .. } => vec!["class".to_owned()],
        Meaning::Value { column } => vec![column.clone()],
        Meaning::None => {
            let columns = layout.outputs.iter().map(|it| match &it.kept {
                Kept::Columns(columns) => columns.clone(),
                Kept::Summary(name) => vec![format!("{name}_digest")],
            });
            columns.flatten().collect()
        }
    }
}

pub(super) fn answer_columns(layout: &Layout) -> Vec<String> {
    let level = layout.level_column().map(str::to_owned);
    level.into_iter().chain(compared_columns(layout)).collect()
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Nothing,
    Number(f64),
    Text(String),
}

pub(super) fn same(one: &[Cell], other: &[Cell]) -> bool {
    let near = |(one, other): (&Cell, &Cell)| match (one, other) {
        (Cell::Number(a), Cell::Number(b)) => {
            a == b || (a - b).abs() <= SAME * a.abs().max(b.abs()) || a.is_nan() && b.is_nan()
        }
        (one, other) => one == other,
    };
    one.len() == other.len() && one.iter().zip(other).all(near)
}

/// The columns of a batch.
pub(super) struct Rows<'a> {
    requests: Requests<'a>,
    pub(super) numbers: &'a [u32],
    level: Option<Float64Array>,
    /// The class of each word, where the level is none.
    classes: Option<(Words<'a>, Vec<Arc<str>>)>,
    cells: Vec<Cells<'a>>,
}

enum Cells<'a> {
    Numbers(Float64Array),
    Words(Words<'a>),
    Texts(ArrayRef),
}

/// A row is its request's, too.
impl<'a> Deref for Rows<'a> {
    type Target = Requests<'a>;

    fn deref(&self) -> &Requests<'a> {
        &self.requests
    }
}

impl<'a> Rows<'a> {
    pub(super) fn of(layout: &Layout, batch: &'a RecordBatch) -> Result<Self, Refusal> {
        let failed = |why: String| failure::of_library("reading predictions", why);
        let column = |name: &str| {
            let found = batch.column_by_name(name);
            found.ok_or_else(|| failed(format!("no column `{name}`")))
        };
        let as_type = |column: &ArrayRef, datatype: &Arrow| {
            cast(column, datatype).map_err(|error| failed(error.to_string()))
        };
        let numbers = |column: &ArrayRef| {
            let numbers = as_type(column, &Arrow::Float64)?;
            Ok::<_, Refusal>(numbers.as_primitive::<Float64Type>().clone())
        };
        let level = layout.level_column().map(column).transpose()?;
        let classes = match (&layout.meaning, level) {
            (Meaning::Classes { .. }, None) => {
                let words = Words::of(column("class")?);
                let each = words.each().map(Into::into);
                let each = each.collect();
                Some((words, each))
            }
            _ => None,
        };
        let mut cells = Vec::new();
        for name in compared_columns(layout) {
            let column = column(&name)?;
            cells.push(match column.data_type() {
                Arrow::Dictionary(..) => Cells::Words(Words::of(column)),
                Arrow::Utf8 => Cells::Texts(Arc::clone(column)),
                _ => Cells::Numbers(numbers(column)?),
            });
        }
        Ok(Self {
            requests: Requests::of(batch)?,
            numbers: column("row")?.as_primitive::<UInt32Type>().values(),
            level: level.map(numbers).transpose()?,
            classes,
            cells,
        })
    }

    pub(super) fn answer(&self, row: usize) -> Option<Answer> {
        if let Some(level) = &self.level {
            let number = level.is_valid(row).then(|| level.value(row))?;
            return number.is_finite().then_some(Answer::Number(number));
        }
        let (words, each) = self.classes.as_ref()?;
        let class = each.get(words.place(row)?)?;
        Some(Answer::Class(Arc::clone(class)))
    }

    pub(super) fn called_positive(&self, layout: &Layout, row: usize) -> Option<bool> {
        let Meaning::Classes {
            classes,
            positive: Some(positive),
            ..
        } = &layout.meaning
        else {
            return None;
        };
        match self.cells.first()? {
            Cells::Words(words) => Some(words.at(row)? == classes[*positive]),
            Cells::Numbers(_) | Cells::Texts(_) => None,
        }
    }

    pub(super) fn cells(&self, row: usize) -> Vec<Cell> {
        let text = |it: Option<&str>| it.map_or(Cell::Nothing, |it| Cell::Text(it.to_owned()));
        let cell = |cells: &Cells<'_>| match cells {
            Cells::Numbers(numbers) if numbers.is_valid(row) => Cell::Number(numbers.value(row)),
            Cells::Numbers(_) => Cell::Nothing,
            Cells::Words(words) => text(words.at(row)),
            Cells::Texts(texts) => {
                let texts = texts.as_string::<i32>();
                text(texts.is_valid(row).then(|| texts.value(row)))
            }
        };
        self.cells.iter().map(cell).collect()
    }
}
