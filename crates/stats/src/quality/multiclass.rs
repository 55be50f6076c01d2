//! Quality of a model that tells several classes apart.

use super::losses::{Loss, Losses};
use super::margins::{Margin, average, weighted_f1};
use super::scores::Scores;
use super::{EXACT_ROWS_MAX, GROUPS, finite, group};
use crate::interval::{Estimate, jackknife, logit, wilson};

/// The most classes.
pub const CLASSES_MAX: usize = 1_000;

/// One prediction beside the truth; classes count from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MulticlassRow<'a> {
    /// The probability of every class, in order. `None` where the model gives none.
    pub scores: Option<&'a [f64]>,
    /// What the model said.
    pub predicted: usize,
    /// What is true.
    pub truth: usize,
    /// What puts rows that belong together into one [group](super::GROUPS).
    pub hash: u64,
}

/// Counts and scores so far. At most about 8 bytes a scored row and class, up to [`EXACT_ROWS_MAX`] of
/// them; from there on bins, 1 MB a class at most where there are more than 32 (80 KB where scores are
/// probabilities above 1e-10), else 16.
#[derive(Clone, Debug)]
pub struct Multiclass {
    classes: usize,
    /// Truth by prediction, row after row.
    confusion: Vec<u64>,
    /// Class after class for group after group.
    margins: Vec<Margin>,
    scored_rows: u64,
    skipped: u64,
    scores: Vec<Scores>,
    losses: Losses,
}

/// What the rows say of one class against the rest. A share of nothing is 0 without an interval, as
/// `zero_division=0` has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassReport {
    /// `precision_score`; Wilson's interval.
    pub precision: Estimate,
    /// `recall_score`; Wilson's interval.
    pub recall: Estimate,
    /// `f1_score`; the interval of [`BinaryReport::f1`](super::binary::BinaryReport::f1).
    pub f1: Estimate,
    /// Rows of which this class is the truth.
    pub support: u64,
}

/// What the rows say of the model, each metric with its interval.
///
/// Macro and weighted averages are over the classes that occur among truths or predictions, and have
/// intervals by the delete-a-group jackknife (Kott, J. Off. Stat. 17, 2001), the same classes in each
/// replicate.
#[derive(Clone, Debug, PartialEq)]
pub struct MulticlassReport {
    /// All rows.
    pub rows: u64,
    /// Rows with finite scores, from which `roc_auc_ovr` and what follows it are computed.
    pub scored_rows: u64,
    /// Rows with a score that is not finite: in `rows` and the counts, not in `scored_rows`.
    pub skipped: u64,
    /// Scored rows with a score outside 0..=1. With one or more, `log_loss`, `brier` and
    /// `calibration_error` are `None`.
    pub outside: u64,
    /// Counts: `confusion[truth][predicted]`.
    pub confusion: Vec<Vec<u64>>,
    /// `accuracy_score`; Wilson's interval.
    pub accuracy: Option<Estimate>,
    /// `precision_score(average="macro")`.
    pub macro_precision: Option<Estimate>,
    /// `recall_score(average="macro")`.
    pub macro_recall: Option<Estimate>,
    /// `f1_score(average="macro")`.
    pub macro_f1: Option<Estimate>,
    /// `f1_score(average="weighted")`: weighted by support.
    pub weighted_f1: Option<Estimate>,
    /// Every class, in order.
    pub per_class: Vec<ClassReport>,
    /// `roc_auc_score(multi_class="ovr", average="macro")`: the mean over classes of the class's area
    /// against the rest. That scores sum to 1 is not asked. `None` unless every class occurs among the
    /// truths of scored rows. The interval is wide rather than short: the standard error is the mean of the
    /// classes' (DeLong), which that of a mean never exceeds; on the logit scale.
    pub roc_auc_ovr: Option<Estimate>,
    /// `log_loss`, probabilities clipped to the epsilon of `f64` and not scaled to sum to 1; the normal
    /// interval of a mean.
    pub log_loss: Option<Estimate>,
    /// The mean over rows of the sum over classes of (score - 1 if true else 0) squared, 0 to 2 where
    /// scores sum to 1: `brier_score_loss(scale_by_half=False)`; the normal interval of a mean.
    pub brier: Option<Estimate>,
    /// Expected calibration error of the highest score (the first, of equals): in bins as
    /// [`BinaryReport::calibration_error`](super::binary::BinaryReport::calibration_error), |mean score -
    /// share of rows whose truth is that class|. Interval by the delete-a-group jackknife.
    pub calibration_error: Option<Estimate>,
    /// Above [`EXACT_ROWS_MAX`] scores, rows times classes, `roc_auc_ovr` comes from bins as in
    /// [`BinaryReport::approximate`](super::binary::BinaryReport::approximate); with more than 32 classes
    /// from bins of 16 bits, each 1/128 of its score wide.
    pub approximate: bool,
}

impl Multiclass {
    /// No rows; 2 to [`CLASSES_MAX`] classes.
    pub fn new(classes: usize) -> Self {
        assert!((2..=CLASSES_MAX).contains(&classes), "2 to 1000 classes");
        let bin_bits = if classes > 32 { 16 } else { 20 };
        Self {
            classes,
            confusion: vec![0; classes * classes],
            margins: vec![Margin::default(); classes * GROUPS],
            scored_rows: 0,
            skipped: 0,
            // Each class has the same number of rows, so all turn to bins at one row.
            scores: vec![Scores::new(EXACT_ROWS_MAX / classes, bin_bits); classes],
            losses: Losses::new(),
        }
    }

    /// Scores that are not all finite take no part, but are counted in [`Multiclass::skipped`]. Classes
    /// beyond the number given to `new`, and more or fewer scores than that, are the caller's mistake: a
    /// panic.
    pub fn add(&mut self, row: MulticlassRow<'_>) {
        let MulticlassRow {
            scores,
            predicted,
            truth,
            hash,
        } = row;
        assert!(
            predicted < self.classes && truth < self.classes,
            "no such class"
        );
        let group = group(hash);
        self.confusion[truth * self.classes + predicted] += 1;
        let margins = &mut self.margins[group * self.classes..][..self.classes];
        margins[truth].support += 1;
        margins[predicted].predicted += 1;
        margins[truth].right += u64::from(truth == predicted);
        let Some(scores) = scores else { return };
        assert_eq!(scores.len(), self.classes, "one score a class");
        if !scores.iter().all(|score| score.is_finite()) {
            self.skipped += 1;
            return;
        }
        self.scored_rows += 1;
        for (class, (store, score)) in self.scores.iter_mut().zip(scores).enumerate() {
            store.add(*score, class == truth);
        }
        match loss(scores, truth) {
            Some(loss) => self.losses.add(loss, group),
            None => self.losses.add_outside(),
        }
    }

    /// Takes the rows of another in; both have the same number of classes.
    pub fn merge(&mut self, other: Self) {
        let Self {
            classes,
            confusion,
            margins,
            scored_rows,
            skipped,
            scores,
            losses,
        } = other;
        assert_eq!(self.classes, classes, "the same classes");
        for (mine, other) in self.confusion.iter_mut().zip(confusion) {
            *mine += other;
        }
        for (mine, other) in self.margins.iter_mut().zip(margins) {
            *mine = mine.plus(other);
        }
        self.scored_rows += scored_rows;
        self.skipped += skipped;
        for (mine, other) in self.scores.iter_mut().zip(scores) {
            mine.merge(other);
        }
        self.losses.merge(&losses);
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.confusion.iter().sum()
    }

    /// Rows with a score that is not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// `level`: the probability that an interval covers the truth, strictly between 0 and 1. Sorts the
    /// scores: work for a worker thread.
    pub fn report(self, level: f64) -> MulticlassReport {
        let rows = self.rows();
        let groups = || self.margins.chunks(self.classes);
        let mut all = vec![Margin::default(); self.classes];
        for margins in groups() {
            for (all, margin) in all.iter_mut().zip(margins) {
                *all = all.plus(*margin);
            }
        }
        // For each filled group, the margins of the rows that are not in it.
        let rests: Vec<Vec<Margin>> = groups()
            .filter(|margins| margins.iter().any(|margin| margin.support > 0))
            .map(|margins| {
                all.iter()
                    .zip(margins)
                    .map(|(all, it)| all.minus(*it))
                    .collect()
            })
            .collect();
        let occurring: Vec<usize> = (0..self.classes)
            .filter(|class| all[*class].support + all[*class].predicted > 0)
            .collect();
        let over_classes = |average: fn(&[Margin], &[usize]) -> f64| {
            let replicates: Vec<f64> = rests.iter().map(|it| average(it, &occurring)).collect();
            let estimate = jackknife(average(&all, &occurring), &replicates, level);
            finite(estimate.within(0.0, 1.0))
        };
        let right = all.iter().map(|margin| margin.right).sum();
        MulticlassReport {
            rows,
            scored_rows: self.scored_rows,
            skipped: self.skipped,
            outside: self.losses.outside(),
            confusion: self
                .confusion
                .chunks(self.classes)
                .map(<[u64]>::to_vec)
                .collect(),
            accuracy: (rows > 0).then(|| wilson(right, rows, level)),
            macro_precision: over_classes(|it, classes| average(it, classes, Margin::precision)),
            macro_recall: over_classes(|it, classes| average(it, classes, Margin::recall)),
            macro_f1: over_classes(|it, classes| average(it, classes, Margin::f1)),
            weighted_f1: over_classes(weighted_f1),
            per_class: all.iter().map(|margin| margin.report(level)).collect(),
            log_loss: self.losses.log_loss(level),
            brier: self.losses.brier(level, 2.0),
            calibration_error: self.losses.calibration_error(level),
            approximate: self.scores[0].is_approximate(),
            roc_auc_ovr: roc_auc(self.scores, level),
        }
    }
}

/// `None` where a score is no probability. A Brier score above 2 is possible where scores do not sum to 1.
fn loss(scores: &[f64], truth: usize) -> Option<Loss> {
    let (mut top, mut squared) = (0, 0.0);
    for (class, score) in scores.iter().enumerate() {
        if !(0.0..=1.0).contains(score) {
            return None;
        }
        if *score > scores[top] {
            top = class;
        }
        let distance = f64::from(u8::from(class == truth)) - score;
        squared += distance * distance;
    }
    Some(Loss {
        of_truth: scores[truth],
        squared,
        confidence: scores[top],
        hit: top == truth,
    })
}

/// The mean area over classes, with the mean of their standard errors: however the areas hang together, the
/// standard error of a mean is at most that (Minkowski's inequality).
fn roc_auc(scores: Vec<Scores>, level: f64) -> Option<Estimate> {
    let classes = scores.len() as f64;
    let (mut value, mut error) = (0.0, Some(0.0));
    for curve in scores.into_iter().map(Scores::curve) {
        let area = curve.area()?;
        value += area.value / classes;
        error = error.zip(area.error).map(|(sum, it)| sum + it / classes);
    }
    let error = error.map(|it| it / (value * (1.0 - value)));
    finite(logit(value, error, level))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (usize, usize, Option<[f64; 3]>);

    /// Rows as truth, prediction and scores.
    fn accumulate(rows: &[Row]) -> Multiclass {
        let mut multiclass = Multiclass::new(3);
        for (index, (truth, predicted, scores)) in rows.iter().enumerate() {
            multiclass.add(MulticlassRow {
                scores: scores.as_ref().map(|it| &it[..]),
                predicted: *predicted,
                truth: *truth,
                hash: index as u64,
            });
        }
        multiclass
    }

    fn near(estimate: Option<Estimate>, want: f64) {
        let value = estimate.expect("defined").value;
        assert!((value - want).abs() < 1e-15, "{value}, not {want}");
    }

    #[test]
    fn four_rows_by_hand() {
        let report = accumulate(&[
            (0, 0, Some([0.7, 0.2, 0.1])),
            (0, 1, Some([0.3, 0.6, 0.1])),
            (1, 1, Some([0.1, 0.8, 0.1])),
            (2, 2, Some([0.1, 0.1, 0.8])),
        ])
        .report(0.95);
        assert_eq!(report.confusion, [[1, 1, 0], [0, 1, 0], [0, 0, 1]]);
        near(report.accuracy, 0.75);
        near(report.macro_precision, (1.0 + 0.5 + 1.0) / 3.0);
        near(report.macro_recall, (0.5 + 1.0 + 1.0) / 3.0);
        let f1 = 2.0 / 3.0;
        near(report.macro_f1, (f1 + f1 + 1.0) / 3.0);
        near(report.weighted_f1, (2.0 * f1 + f1 + 1.0) / 4.0);
        near(report.roc_auc_ovr, 1.0);
        near(report.log_loss, -(0.7f64 * 0.3 * 0.8 * 0.8).ln() / 4.0);
        near(report.brier, (0.14 + 0.86 + 0.06 + 0.06) / 4.0);
        near(report.calibration_error, (0.3 + 0.6 + 0.2 + 0.2) / 4.0);
        let class = report.per_class[1];
        assert_eq!((class.support, class.precision), (1, wilson(1, 2, 0.95)));
        assert!(!report.approximate);
    }

    #[test]
    fn a_class_that_never_occurs_is_left_out_of_averages_and_leaves_no_area() {
        let report = accumulate(&[(0, 0, Some([0.7, 0.3, 0.0])), (1, 1, Some([0.2, 0.8, 0.0]))]);
        let report = report.report(0.95);
        near(report.macro_recall, 1.0);
        assert_eq!(report.roc_auc_ovr, None);
        assert_eq!(report.per_class[2].recall, Estimate::bare(0.0));
        // Predicted but never true: it counts, with 0.
        near(
            accumulate(&[(0, 0, None), (1, 2, None)])
                .report(0.95)
                .macro_f1,
            1.0 / 3.0,
        );
        let empty = Multiclass::new(3).report(0.95);
        assert_eq!(
            (empty.accuracy, empty.macro_f1, empty.weighted_f1),
            (None, None, None)
        );
        assert_eq!((empty.log_loss, empty.roc_auc_ovr), (None, None));
    }

    #[test]
    fn scores_that_are_not_finite_are_counted_and_leave_the_counts_alone() {
        let multiclass = accumulate(&[
            (0, 0, Some([f64::NAN, 0.0, 0.0])),
            (1, 0, Some([0.5, 0.5, 0.0])),
            (2, 2, Some([0.0, 0.0, 3.0])),
        ]);
        assert_eq!((multiclass.rows(), multiclass.skipped()), (3, 1));
        let report = multiclass.report(0.95);
        assert_eq!(
            (report.scored_rows, report.skipped, report.outside),
            (2, 1, 1)
        );
        assert_eq!(
            (report.log_loss, report.brier, report.calibration_error),
            (None, None, None)
        );
        near(report.accuracy, 2.0 / 3.0);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let rows: Vec<Row> = (0..900usize)
            .map(|index| {
                let first = (index * 7_919 % 1_009) as f64 / 1_009.0;
                let second = (1.0 - first) * (index * 31 % 97) as f64 / 97.0;
                let truth = index * index % 3 + index % 2;
                let scores = [first, second, 1.0 - first - second];
                (
                    truth,
                    if index % 4 == 0 { index % 3 } else { truth },
                    Some(scores),
                )
            })
            .collect();
        let whole = accumulate(&rows).report(0.95);
        let mut merged = Multiclass::new(3);
        // In parts of whole rounds of groups, so that each row keeps its hash.
        for part in rows.chunks(3 * GROUPS).rev() {
            merged.merge(accumulate(part));
        }
        let merged = merged.report(0.95);
        assert_eq!(merged.confusion, whole.confusion);
        assert_eq!(merged.per_class, whole.per_class);
        assert_eq!(merged.macro_f1, whole.macro_f1);
        assert_eq!(merged.roc_auc_ovr, whole.roc_auc_ovr);
        for (merged, whole) in [
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
