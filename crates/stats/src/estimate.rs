//! How well a model of two classes does while the truth is not known yet; [`dle`] is for a model of numbers.
//!
//! Confidence-based performance estimation (CBPE), as NannyML 0.13.1 has it: where scores are calibrated,
//! they say how many of the predictions made with them are right. It holds as long as the positives of a
//! score stay as many as in the reference; it cannot see that this changed (concept drift).
//!
//! R1. An estimate is NannyML's on the same rows, but for R2 and for its rounding of running sums to five
//! decimals, which moves `roc_auc` and `average_precision` by less than 1e-7 on a thousand rows or more.
//! R2. A share of nothing is `None`, where NannyML has 0 or NaN; no result is ever NaN.
//! R3. No row is dropped silently: what takes no part is counted.

pub mod calibration;
pub mod compared;
pub mod dle;
pub mod error;
pub mod isotonic;

use crate::sum::Sum;

/// One prediction without the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The probability of the positive class, [calibrated](calibration), in 0..=1.
    pub calibrated: f64,
    /// The score as the model gave it. Equal scores should have equal probabilities: where they do not, the
    /// order of the rows matters.
    pub score: f64,
    /// What the model said.
    pub predicted_positive: bool,
}

/// What the quality of the predictions is expected to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimated {
    /// Rows that took part.
    pub rows: u64,
    /// Rows whose score is not finite, or whose probability is none.
    pub skipped: u64,
    /// Expected number of rows called positive, and positive.
    pub true_positive: f64,
    /// Expected number of rows called positive, and not.
    pub false_positive: f64,
    /// Expected number of rows not called positive, but positive.
    pub false_negative: f64,
    /// Expected number of rows not called positive, and not.
    pub true_negative: f64,
    /// `None` without rows.
    pub accuracy: Option<f64>,
    /// `None` where no row is called positive.
    pub precision: Option<f64>,
    /// `None` where no positive is expected.
    pub recall: Option<f64>,
    /// `None` where no negative is expected.
    pub specificity: Option<f64>,
    /// `None` where no positive is called or expected.
    pub f1: Option<f64>,
    /// Rows by falling score, each counting for a positive with its probability and for a negative with the
    /// rest; the trapezoidal rule. `None` unless both are expected.
    pub roc_auc: Option<f64>,
    /// The mean over the expected positives of the expected share of positives down to their score, row by
    /// row, ties too. `None` where no positive is expected.
    pub average_precision: Option<f64>,
}

/// Estimates the quality of a chunk of predictions. Sorts them: work for a worker thread.
pub fn estimate(rows: &[Row]) -> Estimated {
    let takes_part = |it: &&Row| it.score.is_finite() && (0.0..=1.0).contains(&it.calibrated);
    let mut kept: Vec<Row> = rows.iter().filter(takes_part).copied().collect();
    let skipped = (rows.len() - kept.len()) as u64;
    kept.sort_by(|one, other| other.score.total_cmp(&one.score));

    let (mut called, mut uncalled) = (Expected::default(), Expected::default());
    for row in &kept {
        let side = if row.predicted_positive {
            &mut called
        } else {
            &mut uncalled
        };
        side.add(row.calibrated);
    }
    let (true_positive, false_positive) = called.values();
    let (false_negative, true_negative) = uncalled.values();
    let right = true_positive + true_negative;
    let wrong = false_positive + false_negative;
    let curve = Curve::of(&kept);
    Estimated {
        rows: kept.len() as u64,
        skipped,
        true_positive,
        false_positive,
        false_negative,
        true_negative,
        accuracy: share(right, kept.len() as f64),
        precision: share(true_positive, true_positive + false_positive),
        recall: share(true_positive, true_positive + false_negative),
        specificity: share(true_negative, true_negative + false_positive),
        f1: share(true_positive, true_positive + wrong / 2.0),
        roc_auc: curve.roc_auc,
        average_precision: curve.average_precision,
    }
}

/// `None` of nothing. A rounding must not carry a share past 1.
fn share(part: f64, all: f64) -> Option<f64> {
    (all > 0.0).then(|| (part / all).min(1.0))
}

/// Expected positives and negatives so far.
#[derive(Clone, Copy, Default)]
struct Expected {
    positive: Sum,
    negative: Sum,
}

impl Expected {
    fn add(&mut self, calibrated: f64) {
        self.positive.add(calibrated);
        self.negative.add(1.0 - calibrated);
    }

    fn values(self) -> (f64, f64) {
        (self.positive.value(), self.negative.value())
    }
}

struct Curve {
    roc_auc: Option<f64>,
    average_precision: Option<f64>,
}

impl Curve {
    /// Of rows by falling score.
    fn of(rows: &[Row]) -> Self {
        let mut seen = Expected::default();
        let (mut area, mut precision) = (Sum::default(), Sum::default());
        for (index, row) in rows.iter().enumerate() {
            let before = seen.positive.value();
            seen.add(row.calibrated);
            let after = seen.positive.value();
            area.add((1.0 - row.calibrated) * f64::midpoint(before, after));
            precision.add(row.calibrated * after / (index + 1) as f64);
        }
        let (positives, negatives) = seen.values();
        Self {
            roc_auc: share(area.value(), positives * negatives),
            average_precision: share(precision.value(), positives),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(calibrated: f64, score: f64, predicted_positive: bool) -> Row {
        Row {
            calibrated,
            score,
            predicted_positive,
        }
    }

    fn near(got: Option<f64>, want: f64) {
        let got = got.expect("defined");
        assert!((got - want).abs() < 1e-15, "{got}, not {want}");
    }

    #[test]
    fn three_rows_by_hand() {
        let got = estimate(&[
            row(0.25, 0.4, false),
            row(0.75, 0.9, true),
            row(0.5, 0.6, true),
        ]);
        assert_eq!((got.true_positive, got.false_positive), (1.25, 0.75));
        assert_eq!((got.false_negative, got.true_negative), (0.25, 0.75));
        near(got.accuracy, 2.0 / 3.0);
        near(got.precision, 0.625);
        near(got.recall, 1.25 / 1.5);
        near(got.specificity, 0.5);
        near(got.f1, 1.25 / (1.25 + 0.5));
        // Corners of the curve, negatives and positives: (0.25, 0.75), (0.75, 1.25), (1.5, 1.5).
        let area = 0.25 * 0.375 + 0.5 * 1.0 + 0.75 * 1.375;
        near(got.roc_auc, area / (1.5 * 1.5));
        let steps = 0.75 * 0.75 + 0.5 * 1.25 / 2.0 + 0.25 * 1.5 / 3.0;
        near(got.average_precision, steps / 1.5);
    }

    #[test]
    fn certain_probabilities_give_what_the_truth_would() {
        let rows = [
            row(1.0, 0.9, true),
            row(0.0, 0.6, true),
            row(1.0, 0.4, false),
            row(0.0, 0.1, false),
        ];
        let got = estimate(&rows);
        for half in [
            got.accuracy,
            got.precision,
            got.recall,
            got.specificity,
            got.f1,
        ] {
            near(half, 0.5);
        }
        near(got.roc_auc, 0.75);
        near(got.average_precision, (1.0 + 2.0 / 3.0) / 2.0);
    }

    #[test]
    fn the_order_of_rows_and_of_ties_does_not_matter() {
        let of = |index: usize| {
            let score = (index * 37 % 100 / 7) as f64 / 14.0;
            row(score * score, score, score > 0.5)
        };
        let rows: Vec<Row> = (0..100).map(of).collect();
        let turned: Vec<Row> = rows.iter().rev().copied().collect();
        let (got, other) = (estimate(&rows), estimate(&turned));
        near(got.roc_auc, other.roc_auc.expect("defined"));
        near(
            got.average_precision,
            other.average_precision.expect("defined"),
        );
        // One score for all ranks nothing.
        near(estimate(&[row(0.25, 0.5, true); 8]).roc_auc, 0.5);
    }

    #[test]
    fn what_has_no_value_is_none_and_what_takes_no_part_is_counted() {
        let nothing = estimate(&[
            row(0.5, f64::NAN, true),
            row(f64::NAN, 0.5, true),
            row(1.5, 0.5, true),
        ]);
        assert_eq!((nothing.rows, nothing.skipped), (0, 3));
        assert_eq!((nothing.accuracy, nothing.f1), (None, None));
        assert_eq!((nothing.roc_auc, nothing.average_precision), (None, None));
        let negative = estimate(&[row(0.0, 0.5, false), row(0.0, 0.25, false)]);
        assert_eq!(negative.accuracy, Some(1.0));
        assert_eq!((negative.precision, negative.recall), (None, None));
        assert_eq!((negative.specificity, negative.f1), (Some(1.0), None));
        assert_eq!((negative.roc_auc, negative.average_precision), (None, None));
    }
}
