//! How right one answer was, by every measure that is a mean over rows. They are those of `stats::quality`.

use arrow::array::{Array, Float64Array, RecordBatch};
use domain::Refusal;

use super::{Answers, Rows, class_at};
use crate::layout::Layout;
use crate::quality::Scored;

/// How right an answer was. What the task does not have is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judged {
    /// Whether its class is the true one.
    pub right: Option<bool>,
    /// Whether it was called positive.
    pub called_positive: Option<bool>,
    /// Whether it is positive.
    pub positive: Option<bool>,
    /// The logarithmic loss.
    pub log_loss: Option<f64>,
    /// Brier's score.
    pub brier: Option<f64>,
    /// By how much a number is off.
    pub off: Option<f64>,
    /// The same as a part of the true number.
    pub off_part: Option<f64>,
}

/// The answers of a batch, to be judged one by one, or told with their scores.
pub(crate) struct Judging<'a>(Rows<'a>);

impl<'a> Judging<'a> {
    pub(crate) fn of(layout: &Layout, batch: &'a RecordBatch) -> Result<Self, Refusal> {
        Rows::of(layout, batch).map(Self)
    }

    /// A row whose label says `truth`: the place of a class, or a number. None where the label or the answer is neither.
    pub(crate) fn row(&self, row: usize, truth: f64) -> Option<Judged> {
        match truth.is_nan() {
            true => None,
            false => self.0.judged(row, truth),
        }
    }

    /// A row of a task of classes with its score; `truth` is the place of a class.
    pub(crate) fn scored(&self, row: usize, truth: Option<f64>) -> Option<Scored> {
        self.0.scored(row, self.0.id(row), truth)
    }
}

impl Rows<'_> {
    fn judged(&self, row: usize, truth: f64) -> Option<Judged> {
        let at = |column: &Float64Array| column.is_valid(row).then(|| column.value(row));
        let (keys, places, scores, positive) = match &self.answers {
            Answers::Values(values) => {
                let off = (at(values)? - truth).abs();
                return off.is_finite().then(|| Judged {
                    off: Some(off),
                    off_part: Some(off / truth.abs().max(f64::EPSILON)),
                    ..Judged::default()
                });
            }
            Answers::Classes {
                keys,
                places,
                scores,
                positive,
            } => (keys, places, scores, positive),
        };
        let called = class_at(keys, places, row)?;
        let truth = truth as usize;
        let is = |class: usize| Some(class == truth);
        let loss = |share: f64| -share.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
        let probability = |it: &f64| (0.0..=1.0).contains(it);
        let mut judged = Judged {
            right: is(called),
            ..Judged::default()
        };
        if let Some(positive) = *positive {
            judged.called_positive = Some(called == positive);
            judged.positive = is(positive);
            if let Some(score) = scores.first().and_then(at).filter(probability) {
                let target = f64::from(u8::from(truth == positive));
                judged.brier = Some((score - target).powi(2));
                judged.log_loss = Some(loss(if truth == positive {
                    score
                } else {
                    1.0 - score
                }));
            }
        } else {
            let all: Option<Vec<f64>> =
                scores.iter().map(|it| at(it).filter(probability)).collect();
            let all = all.filter(|it| truth < it.len());
            judged.log_loss = all.as_ref().map(|it| loss(it[truth]));
            judged.brier = all.map(|it| {
                let each = it.iter().enumerate();
                let terms =
                    each.map(|(class, it)| (it - f64::from(u8::from(class == truth))).powi(2));
                terms.sum()
            });
        }
        Some(judged)
    }
}
