//! Quality of a model that tells one class, the positive, from the rest.

use super::losses::{Loss, Losses};
use super::scores::Scores;
use super::{EXACT_ROWS_MAX, f1, finite, group};
use crate::interval::{Estimate, wilson};

/// One prediction beside the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinaryRow {
    /// The probability of the positive class; any other score that is higher for likelier positives will do
    /// for what goes by rank. `None` where the model gives none.
    pub score: Option<f64>,
    /// What the model said.
    pub predicted_positive: bool,
    /// What is true.
    pub positive: bool,
    /// What puts rows that belong together into one [group](super::GROUPS).
    pub hash: u64,
}

/// Counts and scores so far. At most about 8 bytes a scored row.
#[derive(Clone, Debug)]
pub struct Binary {
    counts: [[u64; 2]; 2],
    scored_rows: u64,
    skipped: u64,
    scores: Scores,
    losses: Losses,
}

/// What the rows say of the model, each metric with its interval.
///
/// The first four estimates are `None` only without rows, those from `roc_auc` on without scores. A share
/// of nothing is 0 without an interval, as `zero_division=0` has it.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryReport {
    /// All rows.
    pub rows: u64,
    /// Rows with a finite score, from which `roc_auc` and what follows it are computed.
    pub scored_rows: u64,
    /// Rows with a score that is not finite: in `rows` and the counts, not in `scored_rows`.
    pub skipped: u64,
    /// Scored rows with a score outside 0..=1. With one or more, `log_loss`, `brier` and
    /// `calibration_error` are `None`.
    pub outside: u64,
    /// Called positive, and positive.
    pub true_positive: u64,
    /// Called positive, and not.
    pub false_positive: u64,
    /// Not called positive, but positive.
    pub false_negative: u64,
    /// Not called positive, and not.
    pub true_negative: u64,
    /// `accuracy_score`; Wilson's interval.
    pub accuracy: Option<Estimate>,
    /// `precision_score`; Wilson's interval.
    pub precision: Option<Estimate>,
    /// `recall_score`; Wilson's interval.
    pub recall: Option<Estimate>,
    /// `f1_score`; Wilson's interval of TP / (TP + FP + FN), carried over (Lam, Gopal & Qian, arXiv
    /// 2309.14621).
    pub f1: Option<Estimate>,
    /// `roc_auc_score`, ties for half; DeLong's interval (Biometrics 44, 1988) on the logit scale. `None`
    /// unless both classes occur.
    pub roc_auc: Option<Estimate>,
    /// `average_precision_score`, a sum of steps; the logit interval of Boyd, Eng & Page (ECML PKDD 2013).
    /// `None` without positives.
    pub average_precision: Option<Estimate>,
    /// `log_loss`, probabilities clipped to the epsilon of `f64`; the normal interval of a mean.
    pub log_loss: Option<Estimate>,
    /// `brier_score_loss`; the normal interval of a mean.
    pub brier: Option<Estimate>,
    /// Expected calibration error: the score falls into one of ten bins, `min(floor(10 score), 9)`; over
    /// the bins, the share of rows times |mean score - share of positives|. Interval by the delete-a-group
    /// jackknife (Kott, J. Off. Stat. 17, 2001). It is biased upwards where rows are few: even a perfect
    /// model shows up to about `0.4 / sqrt(rows per bin)`.
    pub calibration_error: Option<Estimate>,
    /// Above [`EXACT_ROWS_MAX`] scored rows `roc_auc` and `average_precision` come from bins of the scores'
    /// leading 20 bits, each 1/2048 of its score wide, and count as ties. The error of `roc_auc` is then at
    /// most half the share of pairs (of a positive and a negative) in one bin; that of `average_precision`
    /// at most the mean, over positives, of the rows in the positive's bin over the rows in and above it.
    /// All else stays exact.
    pub approximate: bool,
}

impl Binary {
    /// No rows.
    pub fn new() -> Self {
        Self {
            counts: [[0; 2]; 2],
            scored_rows: 0,
            skipped: 0,
            scores: Scores::new(EXACT_ROWS_MAX, 20),
            losses: Losses::new(),
        }
    }

    /// A score that is not finite takes no part, but is counted in [`Binary::skipped`].
    pub fn add(&mut self, row: BinaryRow) {
        let BinaryRow {
            score,
            predicted_positive,
            positive,
            hash,
        } = row;
        self.counts[usize::from(positive)][usize::from(predicted_positive)] += 1;
        let Some(score) = score else { return };
        if !score.is_finite() {
            self.skipped += 1;
            return;
        }
        self.scored_rows += 1;
        self.scores.add(score, positive);
        if !(0.0..=1.0).contains(&score) {
            self.losses.add_outside();
            return;
        }
        let distance = f64::from(u8::from(positive)) - score;
        let loss = Loss {
            of_truth: if positive { score } else { 1.0 - score },
            squared: distance * distance,
            confidence: score,
            hit: positive,
        };
        self.losses.add(loss, group(hash));
    }

    /// Takes the rows of another in.
    pub fn merge(&mut self, other: Self) {
        let Self {
            counts,
            scored_rows,
            skipped,
            scores,
            losses,
        } = other;
        let pairs = self
            .counts
            .as_flattened_mut()
            .iter_mut()
            .zip(counts.as_flattened());
        pairs.for_each(|(mine, other)| *mine += other);
        self.scored_rows += scored_rows;
        self.skipped += skipped;
        self.scores.merge(scores);
        self.losses.merge(&losses);
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.counts.as_flattened().iter().sum()
    }

    /// Rows with a score that is not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// `level`: the probability that an interval covers the truth, strictly between 0 and 1. Sorts the
    /// scores: work for a worker thread.
    pub fn report(self, level: f64) -> BinaryReport {
        let rows = self.rows();
        let [
            [true_negative, false_positive],
            [false_negative, true_positive],
        ] = self.counts;
        let share = |part, all| (rows > 0).then(|| wilson(part, all, level));
        let f1 = f1(true_positive, false_positive, false_negative, level);
        let (approximate, losses) = (self.scores.is_approximate(), self.losses);
        let curve = self.scores.curve();
        BinaryReport {
            rows,
            scored_rows: self.scored_rows,
            skipped: self.skipped,
            outside: losses.outside(),
            true_positive,
            false_positive,
            false_negative,
            true_negative,
            accuracy: share(true_positive + true_negative, rows),
            precision: share(true_positive, true_positive + false_positive),
            recall: share(true_positive, true_positive + false_negative),
            f1: (rows > 0).then_some(f1),
            roc_auc: curve.roc_auc(level).and_then(finite),
            average_precision: curve.precision(level).and_then(finite),
            log_loss: losses.log_loss(level),
            brier: losses.brier(level, 1.0),
            calibration_error: losses.calibration_error(level),
            approximate,
        }
    }
}

impl Default for Binary {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(score: f64, predicted_positive: bool, positive: bool, hash: u64) -> BinaryRow {
        BinaryRow {
            score: Some(score),
            predicted_positive,
            positive,
            hash,
        }
    }

    fn report(rows: &[BinaryRow]) -> BinaryReport {
        let mut binary = Binary::new();
        rows.iter().for_each(|it| binary.add(*it));
        binary.report(0.95)
    }

    fn near(estimate: Option<Estimate>, want: f64) {
        let value = estimate.expect("defined").value;
        assert!((value - want).abs() < 1e-15, "{value}, not {want}");
    }

    #[test]
    fn four_rows_by_hand() {
        let report = report(&[
            row(0.9, true, true, 0),
            row(0.6, true, false, 1),
            row(0.4, false, true, 2),
            row(0.1, false, false, 3),
        ]);
        assert_eq!((report.rows, report.scored_rows), (4, 4));
        assert_eq!((report.true_positive, report.false_positive), (1, 1));
        assert_eq!((report.false_negative, report.true_negative), (1, 1));
        for half in [report.accuracy, report.precision, report.recall, report.f1] {
            near(half, 0.5);
        }
        near(report.roc_auc, 0.75);
        near(report.average_precision, (1.0 + 2.0 / 3.0) / 2.0);
        near(report.log_loss, -(0.9f64 * 0.4 * 0.4 * 0.9).ln() / 4.0);
        near(report.brier, (0.01 + 0.36 + 0.36 + 0.01) / 4.0);
        near(report.calibration_error, (0.1 + 0.6 + 0.6 + 0.1) / 4.0);
        // Four groups are too few for the jackknife.
        assert_eq!(report.calibration_error.expect("defined").low, None);
        let f1 = report.f1.expect("defined");
        let jaccard = wilson(1, 3, 0.95).low.expect("trials");
        assert_eq!(f1.low, Some(2.0 * jaccard / (1.0 + jaccard)));
        assert!(!report.approximate);
    }

    #[test]
    fn what_is_undefined_is_none_and_a_share_of_nothing_is_zero() {
        let empty = Binary::default().report(0.95);
        assert_eq!(
            (empty.accuracy, empty.f1, empty.precision),
            (None, None, None)
        );
        assert_eq!(
            (empty.roc_auc, empty.log_loss, empty.brier),
            (None, None, None)
        );
        let unscored = report(&[BinaryRow {
            score: None,
            ..row(0.0, false, false, 0)
        }]);
        assert_eq!(unscored.precision, Some(Estimate::bare(0.0)));
        assert_eq!(unscored.recall, Some(Estimate::bare(0.0)));
        assert_eq!(unscored.f1, Some(Estimate::bare(0.0)));
        assert_eq!((unscored.rows, unscored.scored_rows), (1, 0));
        assert_eq!(
            (unscored.average_precision, unscored.calibration_error),
            (None, None)
        );
        let one_class = report(&[row(0.25, false, false, 0), row(0.5, true, false, 1)]);
        assert_eq!(
            (one_class.roc_auc, one_class.average_precision),
            (None, None)
        );
        near(one_class.brier, (0.0625 + 0.25) / 2.0);
    }

    #[test]
    fn scores_that_are_no_probabilities_rank_but_are_not_charged() {
        let report = report(&[
            row(3.0, true, true, 0),
            row(-2.0, false, false, 1),
            row(f64::NAN, true, true, 2),
            row(f64::INFINITY, true, false, 3),
        ]);
        assert_eq!((report.rows, report.scored_rows), (4, 2));
        assert_eq!((report.skipped, report.outside), (2, 2));
        assert_eq!((report.true_positive, report.false_positive), (2, 1));
        assert_eq!(report.roc_auc, Some(Estimate::bare(1.0)));
        assert_eq!((report.log_loss, report.brier), (None, None));
        assert_eq!(report.calibration_error, None);
    }

    #[test]
    fn log_loss_clips_as_scikit_learn_does() {
        let certain = report(&[row(0.0, false, true, 0)]);
        near(certain.log_loss, -f64::EPSILON.ln());
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let rows: Vec<BinaryRow> = (0..1_000u64)
            .map(|index| {
                let score = (index * 7_919 % 1_009) as f64 / 1_009.0;
                let positive = index * 31 % 100 < 20 + (score * 60.0) as u64;
                row(score, score > 0.5, positive, index)
            })
            .collect();
        let whole = report(&rows);
        let mut merged = Binary::new();
        for part in rows.chunks(77).rev() {
            let mut binary = Binary::new();
            part.iter().for_each(|it| binary.add(*it));
            merged.merge(binary);
        }
        assert_eq!(merged.rows(), 1_000);
        let merged = merged.report(0.95);
        assert_eq!((merged.roc_auc, merged.f1), (whole.roc_auc, whole.f1));
        for (merged, whole) in [
            (merged.average_precision, whole.average_precision),
            (merged.log_loss, whole.log_loss),
            (merged.brier, whole.brier),
            (merged.calibration_error, whole.calibration_error),
        ] {
            let (merged, whole) = (merged.expect("defined"), whole.expect("defined"));
            assert!((merged.value - whole.value).abs() < 1e-12);
            let (merged, whole) = (merged.low.expect("given"), whole.low.expect("given"));
            assert!((merged - whole).abs() < 1e-12);
        }
    }
}
