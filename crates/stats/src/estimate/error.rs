//! How far the quality measured on a chunk lies from the model's by chance alone.
//!
//! NannyML 0.13.1, `sampling_error`: a metric is a mean over the rows that count for it, so its standard error
//! on a chunk is the standard deviation of that row's value in the reference, over the square root of the
//! rows expected to count. NannyML draws its band three standard errors to either side. That of the average
//! precision has no formula there (a bootstrap of 50 draws), and is left out.

use super::calibration;

/// One prediction of the reference and its truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The score as the model gave it. Where it is not finite the row takes no part in `roc_auc`.
    pub score: f64,
    /// What the model said.
    pub predicted_positive: bool,
    /// What is true.
    pub positive: bool,
}

/// Standard deviation of a row's value, and the share of rows that have one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    deviation: f64,
    share: f64,
}

/// What the reference says of the errors; `None` where no row counts for the metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingError {
    accuracy: Option<Spread>,
    precision: Option<Spread>,
    recall: Option<Spread>,
    specificity: Option<Spread>,
    f1: Option<Spread>,
    roc_auc: Option<Spread>,
}

/// Standard errors on a chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StandardErrors {
    /// Of the accuracy.
    pub accuracy: Option<f64>,
    /// Of the precision.
    pub precision: Option<f64>,
    /// Of the recall.
    pub recall: Option<f64>,
    /// Of the specificity.
    pub specificity: Option<f64>,
    /// Of F1.
    pub f1: Option<f64>,
    /// Of the area under the ROC curve.
    pub roc_auc: Option<f64>,
}

impl SamplingError {
    /// Learns from a reference. Sorts the rows: work for a worker thread.
    pub fn fit(rows: &[Row]) -> Self {
        let count = |predicted_positive: bool, positive: bool| {
            let same =
                |it: &&Row| it.predicted_positive == predicted_positive && it.positive == positive;
            rows.iter().filter(same).count() as f64
        };
        let (hits, alarms) = (count(true, true), count(true, false));
        let (misses, rest) = (count(false, true), count(false, false));
        let all = rows.len() as f64;
        let share = |part: f64, of: f64| {
            (of > 0.0).then(|| Spread {
                deviation: (part / of * (1.0 - part / of)).sqrt(),
                share: of / all,
            })
        };
        let named = hits + alarms + misses;
        let f1 = share(hits, named).map(|spread| Spread {
            // F1 as a mean over the rows named: a true positive counts for this much, all others for 0.
            deviation: spread.deviation * named / (hits + (alarms + misses) / 2.0),
            ..spread
        });
        Self {
            accuracy: share(hits + rest, all),
            precision: share(hits, hits + alarms),
            recall: share(hits, hits + misses),
            specificity: share(rest, rest + alarms),
            f1,
            roc_auc: ranks(rows),
        }
    }

    /// On a chunk of so many rows; `None` without rows.
    pub fn of_chunk(&self, rows: u64) -> StandardErrors {
        let error = |spread: Option<Spread>| {
            let Spread { deviation, share } = spread?;
            (rows > 0).then(|| deviation / (rows as f64 * share).sqrt())
        };
        StandardErrors {
            accuracy: error(self.accuracy),
            precision: error(self.precision),
            recall: error(self.recall),
            specificity: error(self.specificity),
            f1: error(self.f1),
            roc_auc: error(self.roc_auc),
        }
    }
}

/// The area under the ROC curve, ties for half. `None` unless both classes occur.
pub(super) fn roc_auc(rows: &[calibration::Row]) -> Option<f64> {
    let rows = rows.iter().map(|it| (it.score, it.positive));
    let below = Below::of(rows.collect());
    let sum: f64 = below.runs.iter().map(|run| run.share * run.count).sum();
    (below.positives > 0.0).then(|| sum / below.positives)
}

/// The area is the mean over the rarer class of the share of the other class on the far side of the row.
/// NannyML loses the lowest row where that is of the rarer class, and counts ties by chance; here ties
/// count for half.
fn ranks(rows: &[Row]) -> Option<Spread> {
    let finite = rows.iter().filter(|it| it.score.is_finite());
    let mut scored: Vec<(f64, bool)> = finite.map(|it| (it.score, it.positive)).collect();
    let positives = scored.iter().filter(|it| it.1).count();
    if 2 * positives > scored.len() {
        for (score, positive) in &mut scored {
            *score = -*score;
            *positive = !*positive;
        }
    }
    let all = scored.len() as f64;
    let below = Below::of(scored);
    if below.positives == 0.0 {
        return None;
    }
    let mean = |of: &dyn Fn(f64) -> f64| {
        let terms = below.runs.iter().map(|run| run.count * of(run.share));
        terms.sum::<f64>() / below.positives
    };
    let centre = mean(&|share| share);
    Some(Spread {
        deviation: mean(&|share| (share - centre).powi(2)).sqrt(),
        share: below.positives / all,
    })
}

/// For the positives of each score the share of negatives below them.
struct Below {
    /// 0 unless both classes occur.
    positives: f64,
    runs: Vec<Run>,
}

struct Run {
    share: f64,
    /// Positives of one score.
    count: f64,
}

impl Below {
    fn of(mut rows: Vec<(f64, bool)>) -> Self {
        rows.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        let negatives = rows.iter().filter(|it| !it.1).count();
        let positives = rows.len() - negatives;
        if negatives == 0 || positives == 0 {
            return Self {
                positives: 0.0,
                runs: Vec::new(),
            };
        }
        let mut passed = 0;
        let runs = rows.chunk_by(|one, other| one.0 == other.0).map(|ties| {
            let count = ties.iter().filter(|it| it.1).count();
            let tied = ties.len() - count;
            let share = (passed as f64 + tied as f64 / 2.0) / negatives as f64;
            passed += tied;
            Run {
                share,
                count: count as f64,
            }
        });
        Self {
            runs: runs.collect(),
            positives: positives as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(score: f64, predicted_positive: bool, positive: bool) -> Row {
        Row {
            score,
            predicted_positive,
            positive,
        }
    }

    fn near(got: Option<f64>, want: f64) {
        let got = got.expect("defined");
        assert!((got - want).abs() < 1e-15, "{got}, not {want}");
    }

    #[test]
    fn five_rows_by_hand() {
        let rows = [
            row(0.9, true, true),
            row(0.7, true, false),
            row(0.6, false, true),
            row(0.3, false, false),
            row(0.2, false, false),
        ];
        let errors = SamplingError::fit(&rows).of_chunk(100);
        near(errors.accuracy, (0.6f64 * 0.4 / 100.0).sqrt());
        near(errors.precision, (0.25f64 / 40.0).sqrt());
        near(errors.recall, (0.25f64 / 40.0).sqrt());
        near(errors.specificity, (2.0f64 / 9.0 / 60.0).sqrt());
        // A hit counts 3 / 2 of the three rows named.
        near(errors.f1, 1.5 * (2.0f64 / 9.0 / 60.0).sqrt());
        // The positives have all and two thirds of the negatives below them.
        near(errors.roc_auc, 1.0 / 6.0 / 40f64.sqrt());
    }

    #[test]
    fn the_rarer_class_ranks_and_ties_count_half() {
        let rows = [
            row(0.5, true, false),
            row(0.5, true, true),
            row(0.4, true, false),
            row(0.7, true, true),
            row(0.2, true, true),
            row(0.9, true, true),
            row(f64::NAN, true, true),
        ];
        // Negatives: at 0.5 half a tie and two of four above, at 0.4 three of four.
        let errors = SamplingError::fit(&rows).of_chunk(3);
        near(errors.roc_auc, 0.0625);
        let of = |it: &Row| calibration::Row {
            score: it.score,
            positive: it.positive,
        };
        let finite: Vec<_> = rows[..6].iter().map(of).collect();
        near(roc_auc(&finite), (0.625 + 0.75) / 2.0);
    }

    #[test]
    fn what_has_no_value_is_none() {
        let errors = SamplingError::fit(&[]).of_chunk(10);
        assert_eq!(
            (errors.accuracy, errors.f1, errors.roc_auc),
            (None, None, None)
        );
        let negative = SamplingError::fit(&[row(0.1, false, false)]);
        assert_eq!(negative.of_chunk(10).accuracy, Some(0.0));
        assert_eq!(negative.of_chunk(10).precision, None);
        assert_eq!(negative.of_chunk(10).roc_auc, None);
        assert_eq!(negative.of_chunk(0).accuracy, None);
    }
}
