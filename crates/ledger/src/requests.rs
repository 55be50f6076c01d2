//! The columns of predictions that say of each row whose it is, when its request came and what became of that.

use std::ops::Deref;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Int32Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::datatypes::{Float32Type, Int32Type, TimestampMicrosecondType, UInt32Type};
use domain::Refusal;
use domain::rollout::assign::Place;
use stats::random::mixed;

use crate::arms::Unit;
use crate::failure;
use crate::read::number_of;

/// The columns that say which request it was, who answered it, when it came and when it ended.
pub(crate) struct Ends<'a> {
    ids: &'a [u8],
    pub(crate) times: &'a [i64],
    pub(crate) arms: Words<'a>,
    pub(crate) took: &'a UInt32Array,
}

impl<'a> Ends<'a> {
    /// Their names.
    pub(crate) const COLUMNS: [&'static str; 4] = ["prediction_id", "time", "arm", "total_us"];

    pub(crate) fn of(batch: &'a RecordBatch) -> Result<Self, Refusal> {
        Ok(Self {
            ids: column(batch, "prediction_id")?
                .as_fixed_size_binary()
                .value_data(),
            times: column(batch, "time")?
                .as_primitive::<TimestampMicrosecondType>()
                .values(),
            arms: Words::of(column(batch, "arm")?),
            took: column(batch, "total_us")?.as_primitive::<UInt32Type>(),
        })
    }

    pub(crate) fn id(&self, row: usize) -> u128 {
        number_of(&self.ids[row * 16..row * 16 + 16])
    }

    pub(crate) fn total_us(&self, row: usize) -> u64 {
        u64::from(self.took.value(row))
    }

    pub(crate) fn end_us(&self, row: usize) -> i64 {
        self.times[row].saturating_add(i64::from(self.took.value(row)))
    }

    /// When the last of them ended.
    pub(crate) fn last_us(&self) -> Option<i64> {
        (0..self.times.len()).map(|it| self.end_us(it)).max()
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Refusal> {
    let missing = || format!("no column `{name}`");
    let found = batch.column_by_name(name);
    found.ok_or_else(|| failure::of_library("reading predictions", missing()))
}

/// The columns of a batch.
pub(crate) struct Requests<'a> {
    ends: Ends<'a>,
    keys: &'a StringArray,
    pub(crate) codes: Words<'a>,
    costs: &'a Float32Array,
}

impl<'a> Deref for Requests<'a> {
    type Target = Ends<'a>;

    fn deref(&self) -> &Ends<'a> {
        &self.ends
    }
}

impl<'a> Requests<'a> {
    pub(crate) fn of(batch: &'a RecordBatch) -> Result<Self, Refusal> {
        Ok(Self {
            ends: Ends::of(batch)?,
            keys: column(batch, "key")?.as_string::<i32>(),
            codes: Words::of(column(batch, "code")?),
            costs: column(batch, "cost")?.as_primitive::<Float32Type>(),
        })
    }

    pub(crate) fn cost(&self, row: usize) -> Option<f64> {
        let cost = self.costs.is_valid(row).then(|| self.costs.value(row))?;
        cost.is_finite().then(|| f64::from(cost))
    }

    pub(crate) fn key(&self, row: usize) -> Option<&str> {
        self.keys.is_valid(row).then(|| self.keys.value(row))
    }

    pub(crate) fn unit(&self, row: usize) -> Unit {
        let key = self.key(row);
        let id = self.id(row);
        Unit {
            // No rollout and no experiment has an empty name, so that this has nothing to do with who was assigned where.
            hash: key.map_or(mixed(id as u64 ^ (id >> 64) as u64), |it| {
                Place::of("", it).0
            }),
            is_key: key.is_some(),
            came_us: self.times[row],
        }
    }
}

/// Whose rows are, of one after another: the key of the first of a request's rows is that of all.
#[derive(Default)]
pub(crate) struct UnitOf(Option<(u128, Unit)>);

impl UnitOf {
    pub(crate) fn row(&mut self, requests: &Requests<'_>, row: usize) -> Unit {
        let id = requests.id(row);
        let unit = match self.0 {
            Some((of, unit)) if of == id => unit,
            _ => requests.unit(row),
        };
        self.0 = Some((id, unit));
        unit
    }
}

/// A column of words.
pub(crate) struct Words<'a> {
    keys: &'a Int32Array,
    words: &'a StringArray,
}

impl<'a> Words<'a> {
    pub(crate) fn of(column: &'a ArrayRef) -> Self {
        let column = column.as_dictionary::<Int32Type>();
        Self {
            keys: column.keys(),
            words: column.values().as_string::<i32>(),
        }
    }

    /// Each word, in the order of their places.
    pub(crate) fn each(&self) -> impl Iterator<Item = &'a str> {
        self.words.iter().map(Option::unwrap_or_default)
    }

    /// The place of a row's word.
    pub(crate) fn place(&self, row: usize) -> Option<usize> {
        let key = self.keys.is_valid(row).then(|| self.keys.value(row))?;
        usize::try_from(key).ok()
    }

    pub(crate) fn at(&self, row: usize) -> Option<&'a str> {
        Some(self.words.value(self.place(row)?))
    }
}
