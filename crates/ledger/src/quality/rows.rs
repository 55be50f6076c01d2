//! The columns of a batch that are counted, and what is counted of a row.

mod judged;

use arrow::array::{Array, AsArray, Float64Array, Int32Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType as Arrow, Float64Type, Int32Type, TimestampMicrosecondType, UInt32Type,
};
use domain::Refusal;
use stats::{BinaryRow, MulticlassRow, RegressionRow};

use super::examples::Features;
use super::labels::{ByText, TextLabels};
use super::{Counter, Example, Loss, Scored, Truths};
use crate::failure;
use crate::layout::{Layout, Meaning};
use crate::read::number_of;

pub use judged::Judged;
pub(crate) use judged::Judging;

/// The columns of a batch that are counted.
pub(super) struct Rows<'a> {
    batch: &'a RecordBatch,
    ids: &'a [u8],
    rows: &'a [u32],
    /// None where every row was answered.
    codes: Option<&'a dyn Array>,
    answers: Answers<'a>,
}

enum Answers<'a> {
    Classes {
        keys: &'a Int32Array,
        /// The place of the class that each key stands for.
        places: Vec<Option<usize>>,
        scores: Vec<Float64Array>,
        positive: Option<usize>,
    },
    Values(Float64Array),
}

impl<'a> Rows<'a> {
    pub(super) fn of(layout: &Layout, batch: &'a RecordBatch) -> Result<Self, Refusal> {
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| {
                failure::of_library("reading predictions", format!("no column `{name}`"))
            })
        };
        let numbers = |name: &str| {
            let numbers = cast(column(name)?, &Arrow::Float64)
                .map_err(|error| failure::of_library("reading predictions", error))?;
            Ok(numbers.as_primitive::<Float64Type>().clone())
        };
        let codes = column("code")?;
        let answers = match &layout.meaning {
            Meaning::Classes {
                classes, positive, ..
            } => {
                let scores = counted_scores(&layout.meaning);
                let class = column("class")?.as_dictionary::<Int32Type>();
                let words = class.values().as_string::<i32>();
                let place = |it: Option<&str>| classes.iter().position(|name| Some(&**name) == it);
                let scores: Result<Vec<_>, Refusal> = scores.iter().map(|it| numbers(it)).collect();
                Answers::Classes {
                    keys: class.keys(),
                    places: words.iter().map(place).collect(),
                    scores: scores?,
                    positive: *positive,
                }
            }
            Meaning::Value { column } => Answers::Values(numbers(column)?),
            Meaning::None => Answers::Values(numbers("row")?),
        };
        Ok(Self {
            batch,
            ids: column("prediction_id")?.as_fixed_size_binary().value_data(),
            rows: column("row")?.as_primitive::<UInt32Type>().values(),
            codes: (codes.null_count() < codes.len()).then_some(codes.as_ref()),
            answers,
        })
    }

    pub(super) fn id(&self, row: usize) -> u128 {
        number_of(&self.ids[row * 16..row * 16 + 16])
    }

    pub(super) fn row(&self, row: usize) -> u32 {
        self.rows[row]
    }

    pub(super) fn failed(&self, row: usize) -> bool {
        self.codes.is_some_and(|it| it.is_valid(row))
    }

    pub(super) fn time_us(&self, row: usize) -> i64 {
        let column = self.batch.column_by_name("time");
        column.map_or(0, |it| {
            it.as_primitive::<TimestampMicrosecondType>().value(row)
        })
    }

    pub(super) fn told<'t>(&self, texts: &'t TextLabels, row: usize) -> Option<&'t ByText> {
        let text = |name: &str| {
            let column = self.batch.column_by_name(name)?.as_string::<i32>();
            column.is_valid(row).then(|| column.value(row))
        };
        texts.find(
            text("request_id"),
            self.row(row),
            text("key"),
            self.time_us(row),
        )
    }

    /// Whether a row was called the positive class, where there is one.
    pub(super) fn called_positive(&self, row: usize) -> Option<bool> {
        let Answers::Classes {
            keys,
            places,
            positive: Some(positive),
            ..
        } = &self.answers
        else {
            return None;
        };
        Some(class_at(keys, places, row)? == *positive)
    }

    /// A row of a task of classes with its score; `truth` is the place of a class.
    pub(super) fn scored(&self, row: usize, id: u128, truth: Option<f64>) -> Option<Scored> {
        let Answers::Classes {
            keys,
            places,
            scores,
            positive,
        } = &self.answers
        else {
            return None;
        };
        let called = class_at(keys, places, row)?;
        let (scores, asked) = match positive {
            Some(positive) => (scores.first()?, *positive),
            None => (scores.get(called)?, called),
        };
        Some(Scored {
            hash: self.hash(row, id),
            score: scores.is_valid(row).then(|| scores.value(row))?,
            predicted_positive: called == asked,
            positive: truth.map(|it| it as usize == asked),
        })
    }

    /// How wrong an answer is whose label says `truth`: the place of a class, or a number. None where it is neither
    /// class nor number.
    pub(super) fn loss(&self, row: usize, truth: f64, id: u128) -> Option<Loss> {
        let loss = match &self.answers {
            Answers::Classes { keys, places, .. } => {
                f64::from(u8::from(class_at(keys, places, row)? != truth as usize))
            }
            Answers::Values(values) => {
                let values = values.is_valid(row).then(|| values.value(row));
                (values? - truth).abs()
            }
        };
        loss.is_finite().then(|| Loss {
            hash: self.hash(row, id),
            made_us: super::time_us(id),
            loss,
        })
    }

    /// A row of a model of numbers with its features; `truth` is a number.
    pub(super) fn example(
        &self,
        row: usize,
        hash: u64,
        features: &Features,
        truth: Option<f64>,
    ) -> Option<Example> {
        let Answers::Values(values) = &self.answers else {
            return None;
        };
        Some(Example {
            hash,
            features: features.row(row),
            value: values.is_valid(row).then(|| values.value(row))?,
            truth,
        })
    }

    /// The lower half of an id of version 7 is random; rows of one request differ by their place.
    pub(super) fn hash(&self, row: usize, id: u128) -> u64 {
        (id as u64) ^ u64::from(self.row(row)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Counts a row whose label says `truth`: the place of a class, or a number.
    pub(super) fn count(&self, counter: &mut Counter, row: usize, truth: f64, id: u128) {
        let hash = self.hash(row, id);
        match (counter, &self.answers) {
            (Counter::Regression(counter), Answers::Values(values)) if values.is_valid(row) => {
                let value = values.value(row);
                counter.add(RegressionRow { value, truth, hash });
            }
            (
                Counter::Binary(counter),
                Answers::Classes {
                    keys,
                    places,
                    scores,
                    positive: Some(positive),
                },
            ) => {
                let Some(predicted) = class_at(keys, places, row) else {
                    return;
                };
                let column = scores.first();
                let score = column.filter(|it| it.is_valid(row)).map(|it| it.value(row));
                counter.add(BinaryRow {
                    score,
                    predicted_positive: predicted == *positive,
                    positive: truth as usize == *positive,
                    hash,
                });
            }
            (
                Counter::Multiclass(counter),
                Answers::Classes {
                    keys,
                    places,
                    scores,
                    ..
                },
            ) => {
                let Some(predicted) = class_at(keys, places, row) else {
                    return;
                };
                let all: Vec<f64> = scores
                    .iter()
                    .filter(|it| it.is_valid(row))
                    .map(|it| it.value(row))
                    .collect();
                let whole = !all.is_empty() && all.len() == scores.len();
                counter.add(MulticlassRow {
                    scores: whole.then_some(&all[..]),
                    predicted,
                    truth: truth as usize,
                    hash,
                });
            }
            _ => {}
        }
    }
}

/// The loss of each row that was answered and has a label.
pub(crate) fn losses(
    layout: &Layout,
    batch: &RecordBatch,
    truths: &Truths,
) -> Result<Vec<Option<Loss>>, Refusal> {
    let rows = Rows::of(layout, batch)?;
    let loss = |row: usize| {
        if rows.failed(row) {
            return None;
        }
        rows.loss(row, truths.of(batch, row)?, rows.id(row))
    };
    Ok((0..batch.num_rows()).map(loss).collect())
}

fn class_at(keys: &Int32Array, places: &[Option<usize>], row: usize) -> Option<usize> {
    if keys.is_null(row) {
        return None;
    }
    let key = usize::try_from(keys.value(row)).ok()?;
    places.get(key).copied().flatten()
}

/// The columns of an answer that are counted.
pub(crate) fn answer_columns(meaning: &Meaning) -> Vec<String> {
    match meaning {
        Meaning::Classes { .. } => {
            let mut columns = vec!["class".to_owned()];
            columns.extend(counted_scores(meaning).iter().cloned());
            columns
        }
        Meaning::Value { column } => vec![column.clone()],
        Meaning::None => Vec::new(),
    }
}

/// The scores that are counted: with a positive class its own alone.
fn counted_scores(meaning: &Meaning) -> &[String] {
    let Meaning::Classes {
        positive,
        scores,
        single,
        ..
    } = meaning
    else {
        return &[];
    };
    match positive {
        None => scores,
        Some(_) if *single => scores,
        Some(positive) => scores.get(*positive..=*positive).unwrap_or_default(),
    }
}
