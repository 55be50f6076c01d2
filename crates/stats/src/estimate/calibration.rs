//! From scores to probabilities, where that brings them closer to the truth.
//!
//! NannyML 0.13.1, `needs_calibration`: scores stay as they are where the reference has one class alone, or
//! ranks almost without fault (ROC AUC above 0.999); else isotonic regression is tried on rows that it was
//! not fitted to, and kept where it lowers the expected calibration error over ten bins of equally many rows.
//! Two things differ, so that equal rows give equal answers: the rows set aside are those of a ten-fold
//! cross-validation (the n-th row of each class is in fold n modulo 10) rather than of ten random draws, and
//! rows of one probability count with the mean of their truths, rather than in an order left to the sort.

use serde::{Deserialize, Serialize};

use super::error::roc_auc;
use super::isotonic::{Isotonic, Point};

/// One prediction of the reference and its truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The score as the model gave it.
    pub score: f64,
    /// What is true.
    pub positive: bool,
}

/// How a score becomes a probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// The score is the probability.
    Unchanged,
    /// By isotonic regression on the reference.
    Isotonic(Isotonic),
}

const FOLDS: usize = 10;
const BINS: usize = 10;
/// A better ranking has no mistakes left to learn from.
const ROC_AUC_MAX: f64 = 0.999;

impl Calibration {
    /// Learns from a reference. Rows with a score that is not finite take no part. Fewer than four rows
    /// calibrate nothing. Sorts the rows eleven times: work for a worker thread.
    pub fn fit(rows: &[Row]) -> Self {
        let finite = |it: &&Row| it.score.is_finite();
        let rows: Vec<Row> = rows.iter().filter(finite).copied().collect();
        if !lowers_the_error(&rows) {
            return Self::Unchanged;
        }
        isotonic(rows.iter()).map_or(Self::Unchanged, Self::Isotonic)
    }

    /// The probability of a finite score.
    pub fn probability(&self, score: f64) -> f64 {
        match self {
            Self::Unchanged => score,
            Self::Isotonic(isotonic) => isotonic.predict(score),
        }
    }
}

fn isotonic<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<Isotonic> {
    let point = |it: &Row| Point {
        x: it.score,
        y: truth(it),
    };
    Isotonic::fit(rows.map(point).collect())
}

fn truth(row: &Row) -> f64 {
    f64::from(u8::from(row.positive))
}

fn lowers_the_error(rows: &[Row]) -> bool {
    // Without one of the classes there is no area.
    if rows.len() < 4 || roc_auc(rows).is_none_or(|it| it > ROC_AUC_MAX) {
        return false;
    }
    let mut seen = [0; 2];
    let folds = rows.iter().map(|row| {
        let seen = &mut seen[usize::from(row.positive)];
        *seen += 1;
        (*seen - 1) % FOLDS
    });
    let folds: Vec<usize> = folds.collect();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for fold in 0..FOLDS {
        let rows = || rows.iter().zip(&folds);
        let learned = rows().filter(|(_, it)| **it != fold);
        let Some(isotonic) = isotonic(learned.map(|(row, _)| row)) else {
            continue;
        };
        for (row, _) in rows().filter(|(_, it)| **it == fold) {
            before.push((row.score, truth(row)));
            after.push((isotonic.predict(row.score), truth(row)));
        }
    }
    before.len() >= 4 && calibration_error(before) > calibration_error(after)
}

/// The share of rows times |mean probability - mean truth|, over bins of equally many rows by rising
/// probability. The bins are NannyML's: of at least two rows, and what is left over by the division makes
/// further ones. Takes four rows or more.
fn calibration_error(mut rows: Vec<(f64, f64)>) -> f64 {
    rows.sort_by(|one, other| one.0.total_cmp(&other.0));
    for ties in rows.chunk_by_mut(|one, other| one.0 == other.0) {
        let mean = ties.iter().map(|it| it.1).sum::<f64>() / ties.len() as f64;
        ties.iter_mut().for_each(|it| it.1 = mean);
    }
    let bins = if rows.len() <= 2 * BINS {
        rows.len() / 2
    } else {
        BINS
    };
    let width = rows.len() / bins;
    let count = rows.len() / width;
    let gaps = (0..count).map(|index| {
        // The last bin also takes the rows that fill no bin.
        let last = if index + 1 == count {
            rows.len()
        } else {
            (index + 1) * width
        };
        let gap = rows[index * width..last].iter().map(|it| it.0 - it.1);
        gap.sum::<f64>().abs()
    });
    gaps.sum::<f64>() / rows.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of ten scores, `rows` each, of which `share(score)` are positive.
    fn rows(rows: usize, share: impl Fn(f64) -> f64) -> Vec<Row> {
        let mut all = Vec::new();
        for index in 0..rows {
            for step in 0..10 {
                let score = 0.05 + step as f64 / 10.0;
                let place = (index as f64 + 0.5) / rows as f64;
                all.push(Row {
                    score,
                    positive: place < share(score),
                });
            }
        }
        all
    }

    #[test]
    fn scores_that_say_too_much_are_calibrated() {
        let calibration = Calibration::fit(&rows(200, |score| 0.4 + score / 5.0));
        assert!(matches!(calibration, Calibration::Isotonic(_)));
        for score in [0.05, 0.45, 0.95] {
            let got = calibration.probability(score);
            assert!((got - (0.4 + score / 5.0)).abs() < 1e-12, "{score}: {got}");
        }
        assert!((calibration.probability(7.0) - 0.59).abs() < 1e-12);
    }

    #[test]
    fn scores_that_are_probabilities_stay() {
        assert_eq!(
            Calibration::fit(&rows(200, |score| score)),
            Calibration::Unchanged
        );
        assert_eq!(Calibration::Unchanged.probability(0.3), 0.3);
    }

    #[test]
    fn where_nothing_can_be_learned_scores_stay() {
        for share in [0.0, 1.0] {
            assert_eq!(
                Calibration::fit(&rows(20, |_| share)),
                Calibration::Unchanged
            );
        }
        let perfect = rows(20, |score| f64::from(u8::from(score > 0.5)));
        assert_eq!(Calibration::fit(&perfect), Calibration::Unchanged);
        let broken = [Row {
            score: f64::NAN,
            positive: true,
        }; 9];
        assert_eq!(Calibration::fit(&broken), Calibration::Unchanged);
        assert_eq!(Calibration::fit(&[]), Calibration::Unchanged);
    }

    #[test]
    fn calibration_errors_by_hand() {
        // Five rows in bins of two and three: |0.5 - 1| and |2.1 - 1|.
        let five = vec![(0.2, 1.0), (0.3, 0.0), (0.6, 1.0), (0.7, 0.0), (0.8, 0.0)];
        assert!((calibration_error(five) - 1.6 / 5.0).abs() < 1e-15);
        // Rows of one probability count half each, in whichever bin they are.
        let ties = vec![(0.5, 1.0), (0.5, 1.0), (0.5, 0.0), (0.5, 0.0)];
        assert_eq!(calibration_error(ties), 0.0);
    }
}
