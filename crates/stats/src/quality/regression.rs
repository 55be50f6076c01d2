//! Quality of a model that gives a number.

use super::{GROUPS, finite, group, mean};
use crate::interval::{Estimate, jackknife};
use crate::sum::{Moments, Sum};

/// One prediction beside the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegressionRow {
    /// What the model said.
    pub value: f64,
    /// What is true.
    pub truth: f64,
    /// What puts rows that belong together into one [group](super::GROUPS).
    pub hash: u64,
}

/// Sums so far; of fixed size.
#[derive(Clone, Debug)]
pub struct Regression {
    skipped: u64,
    /// Told apart from rounding: a variance that is zero.
    truth_least: f64,
    truth_most: f64,
    groups: Vec<Sums>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    error: Moments,
    absolute: Sum,
    relative: Moments,
    truth: Moments,
}

/// What the rows say of the model, each metric with its interval. An estimate is `None` without rows, and
/// where the sums exceed what an `f64` can hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RegressionReport {
    /// Rows in the metrics.
    pub rows: u64,
    /// Rows whose value, truth or difference is not finite: in no metric, and not in `rows`.
    pub skipped: u64,
    /// `mean_absolute_error`; the normal interval of a mean.
    pub mae: Option<Estimate>,
    /// `root_mean_squared_error`; interval by the delete-a-group jackknife (Kott, J. Off. Stat. 17, 2001).
    pub rmse: Option<Estimate>,
    /// `mean_absolute_percentage_error`, a share and not a percentage: the mean of |value - truth| /
    /// max(|truth|, epsilon), so a truth of zero makes it huge; the normal interval of a mean.
    pub mape: Option<Estimate>,
    /// `r2_score`; interval by the delete-a-group jackknife. `None` with fewer than two rows or one truth
    /// for all.
    pub r2: Option<Estimate>,
    /// The mean of value - truth; the normal interval of a mean.
    pub bias: Option<Estimate>,
}

impl Regression {
    /// No rows.
    pub fn new() -> Self {
        Self {
            skipped: 0,
            truth_least: f64::INFINITY,
            truth_most: f64::NEG_INFINITY,
            groups: vec![Sums::default(); GROUPS],
        }
    }

    /// A row that is not finite takes no part, but is counted in [`Regression::skipped`].
    pub fn add(&mut self, row: RegressionRow) {
        let RegressionRow { value, truth, hash } = row;
        let error = value - truth;
        if !error.is_finite() {
            self.skipped += 1;
            return;
        }
        self.truth_least = self.truth_least.min(truth);
        self.truth_most = self.truth_most.max(truth);
        let sums = &mut self.groups[group(hash)];
        sums.error.add(error);
        sums.absolute.add(error.abs());
        sums.relative
            .add(error.abs() / truth.abs().max(f64::EPSILON));
        sums.truth.add(truth);
    }

    /// Takes the rows of another in.
    pub fn merge(&mut self, other: Self) {
        let Self {
            skipped,
            truth_least,
            truth_most,
            groups,
        } = other;
        self.skipped += skipped;
        self.truth_least = self.truth_least.min(truth_least);
        self.truth_most = self.truth_most.max(truth_most);
        for (mine, other) in self.groups.iter_mut().zip(groups) {
            *mine = mine.plus(other);
        }
    }

    /// Rows in the metrics.
    pub fn rows(&self) -> u64 {
        self.groups.iter().map(|it| it.error.count).sum()
    }

    /// Rows whose value, truth or difference is not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// `level`: the probability that an interval covers the truth, strictly between 0 and 1.
    pub fn report(self, level: f64) -> RegressionReport {
        let all = self
            .groups
            .iter()
            .fold(Sums::default(), |all, it| all.plus(*it));
        let absolute = Moments {
            count: all.error.count,
            sum: all.absolute,
            squares: all.error.squares,
        };
        let grouped = |metric: fn(Sums) -> f64| {
            let filled = self.groups.iter().filter(|it| it.error.count > 0);
            let replicates: Vec<f64> = filled.map(|it| metric(all.minus(*it))).collect();
            finite(jackknife(metric(all), &replicates, level))
        };
        let at_least_zero = |it: Estimate| it.within(0.0, f64::INFINITY);
        let varies = self.truth_least < self.truth_most;
        RegressionReport {
            rows: self.rows(),
            skipped: self.skipped,
            mae: mean(absolute, level).map(at_least_zero),
            rmse: grouped(rmse).map(at_least_zero),
            mape: mean(all.relative, level).map(at_least_zero),
            r2: if varies { grouped(r2) } else { None }.map(|it| it.within(f64::NEG_INFINITY, 1.0)),
            bias: mean(all.error, level),
        }
    }
}

impl Default for Regression {
    fn default() -> Self {
        Self::new()
    }
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        Self {
            error: self.error.plus(other.error),
            absolute: self.absolute.plus(other.absolute),
            relative: self.relative.plus(other.relative),
            truth: self.truth.plus(other.truth),
        }
    }

    fn minus(self, part: Self) -> Self {
        Self {
            error: self.error.minus(part.error),
            absolute: self.absolute.minus(part.absolute),
            relative: self.relative.minus(part.relative),
            truth: self.truth.minus(part.truth),
        }
    }
}

fn rmse(sums: Sums) -> f64 {
    (sums.error.squares.value() / sums.error.count as f64).sqrt()
}

fn r2(sums: Sums) -> f64 {
    1.0 - sums.error.squares.value() / sums.truth.spread()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rows: &[(f64, f64)]) -> RegressionReport {
        let mut regression = Regression::new();
        for (index, (value, truth)) in rows.iter().enumerate() {
            regression.add(RegressionRow {
                value: *value,
                truth: *truth,
                hash: index as u64,
            });
        }
        regression.report(0.95)
    }

    fn near(estimate: Option<Estimate>, want: f64) {
        let value = estimate.expect("defined").value;
        assert!(
            (value - want).abs() <= 1e-15 * want.abs().max(1.0),
            "{value}, not {want}"
        );
    }

    #[test]
    fn three_rows_by_hand() {
        let report = report(&[(2.0, 1.0), (2.0, 2.0), (1.0, 4.0)]);
        near(report.mae, 4.0 / 3.0);
        near(report.rmse, (10.0f64 / 3.0).sqrt());
        near(report.mape, (1.0 + 0.75) / 3.0);
        near(report.bias, -2.0 / 3.0);
        // Around their mean 7/3 the truths spread 16/9 + 1/9 + 25/9.
        near(report.r2, 1.0 - 10.0 / (42.0 / 9.0));
        // The variance of 1, 0, 3 is 7/3.
        let half = crate::interval::normal_quantile(0.975) * (7.0f64 / 9.0).sqrt();
        let high = report.mae.expect("defined").high.expect("three rows");
        assert!((high - (4.0 / 3.0 + half)).abs() < 1e-14);
        assert_eq!(report.mae.expect("defined").low, Some(0.0));
        assert_eq!(report.r2.expect("defined").low, None);
    }

    #[test]
    fn a_truth_of_zero_and_what_is_undefined() {
        near(report(&[(1.0, 0.0)]).mape, 1.0 / f64::EPSILON);
        assert_eq!(report(&[(1.0, 0.0)]).r2, None);
        assert_eq!(report(&[(0.3, 0.1), (0.2, 0.1), (0.1, 0.1)]).r2, None);
        assert_eq!(report(&[]).mae, None);
        let skipping = report(&[
            (f64::NAN, 1.0),
            (1.0, f64::INFINITY),
            (1e308, -1e308),
            (2.0, 1.0),
        ]);
        assert_eq!((skipping.rows, skipping.skipped), (1, 3));
        near(skipping.mae, 1.0);
        assert_eq!(report(&[(1e200, 0.0), (0.0, 1.0)]).rmse, None);
    }

    #[test]
    fn an_offset_of_a_billion_costs_no_digit() {
        let rows = |offset: f64| -> Vec<(f64, f64)> {
            let truth = |index: i32| f64::from(index * 37 % 101) + offset;
            let one = |index| (truth(index) + f64::from(index % 5) - 2.0, truth(index));
            (0..1_000).map(one).collect()
        };
        let (plain, moved) = (report(&rows(0.0)), report(&rows(1e9)));
        assert_eq!((plain.r2, plain.rmse), (moved.r2, moved.rmse));
        assert!(
            plain.r2.expect("defined").low.expect("20 groups") < plain.r2.expect("defined").value
        );
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let rows: Vec<RegressionRow> = (0..1_000u64)
            .map(|index| RegressionRow {
                value: (index * 7_919 % 1_009) as f64 / 1_009.0 + 1e6,
                truth: (index * 6_007 % 1_009) as f64 / 1_009.0 + 1e6,
                hash: index,
            })
            .collect();
        let sum = |rows: &[RegressionRow]| {
            let mut regression = Regression::default();
            rows.iter().for_each(|it| regression.add(*it));
            regression
        };
        let mut merged = Regression::new();
        rows.chunks(77)
            .rev()
            .for_each(|part| merged.merge(sum(part)));
        let (merged, whole) = (merged.report(0.95), sum(&rows).report(0.95));
        for (merged, whole) in [
            (merged.mae, whole.mae),
            (merged.rmse, whole.rmse),
            (merged.mape, whole.mape),
            (merged.r2, whole.r2),
            (merged.bias, whole.bias),
        ] {
            let (merged, whole) = (merged.expect("defined"), whole.expect("defined"));
            assert!((merged.value - whole.value).abs() < 1e-12);
            let (merged, whole) = (merged.low.expect("given"), whole.low.expect("given"));
            assert!((merged - whole).abs() < 1e-12);
        }
    }
}
