//! The columns of a batch of predictions, as far as arms are told by them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, Int32Array, RecordBatch, StringArray,
    UInt32Array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType as Arrow, Float32Type, Float64Type, Int32Type, TimestampMicrosecondType, UInt32Type,
};
use domain::Refusal;
use domain::rollout::assign::Place;
use stats::random::mixed;

use super::{Answer, Unit};
use crate::failure;
use crate::layout::{Kept, Layout, Meaning};
use crate::read::number_of;

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

/// A column of words.
pub(super) struct Words<'a> {
    keys: &'a Int32Array,
    words: &'a StringArray,
}

impl<'a> Words<'a> {
    pub(super) fn of(column: &'a ArrayRef) -> Self {
        let column = column.as_dictionary::<Int32Type>();
        Self {
            keys: column.keys(),
            words: column.values().as_string::<i32>(),
        }
    }

    pub(super) fn at(&self, row: usize) -> Option<&'a str> {
        let key = self.keys.is_valid(row).then(|| self.keys.value(row))?;
        Some(self.words.value(usize::try_from(key).ok()?))
    }
}

/// The columns of a batch.
pub(super) struct Rows<'a> {
    ids: &'a [u8],
    pub(super) numbers: &'a [u32],
    pub(super) times: &'a [i64],
    pub(super) arms: Words<'a>,
    keys: &'a StringArray,
    pub(super) codes: Words<'a>,
    pub(super) took: &'a UInt32Array,
    costs: &'a Float32Array,
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
                let each = words.words.iter().map(|it| it.unwrap_or_default().into());
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
            ids: column("prediction_id")?.as_fixed_size_binary().value_data(),
            numbers: column("row")?.as_primitive::<UInt32Type>().values(),
            times: column("time")?
                .as_primitive::<TimestampMicrosecondType>()
                .values(),
            arms: Words::of(column("arm")?),
            keys: column("key")?.as_string::<i32>(),
            codes: Words::of(column("code")?),
            took: column("total_us")?.as_primitive::<UInt32Type>(),
            costs: column("cost")?.as_primitive::<Float32Type>(),
            level: level.map(numbers).transpose()?,
            classes,
            cells,
        })
    }

    pub(super) fn id(&self, row: usize) -> u128 {
        number_of(&self.ids[row * 16..row * 16 + 16])
    }

    pub(super) fn total_us(&self, row: usize) -> u64 {
        u64::from(self.took.value(row))
    }

    pub(super) fn cost(&self, row: usize) -> Option<f64> {
        let cost = self.costs.is_valid(row).then(|| self.costs.value(row))?;
        cost.is_finite().then(|| f64::from(cost))
    }

    pub(super) fn key(&self, row: usize) -> Option<&str> {
        self.keys.is_valid(row).then(|| self.keys.value(row))
    }

    pub(super) fn unit(&self, row: usize) -> Unit {
        let key = self.key(row);
        let id = self.id(row);
        Unit {
            // No rollout has an empty name, so that this has nothing to do with who was assigned where.
            hash: key.map_or(mixed(id as u64 ^ (id >> 64) as u64), |it| {
                Place::of("", it).0
            }),
            is_key: key.is_some(),
            came_us: self.times[row],
        }
    }

    pub(super) fn answer(&self, row: usize) -> Option<Answer> {
        if let Some(level) = &self.level {
            let number = level.is_valid(row).then(|| level.value(row))?;
            return number.is_finite().then_some(Answer::Number(number));
        }
        let (words, each) = self.classes.as_ref()?;
        let key = words.keys.is_valid(row).then(|| words.keys.value(row))?;
        let class = each.get(usize::try_from(key).ok()?)?;
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
