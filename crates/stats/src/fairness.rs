//! Whether a model treats groups of people alike, from counts of its predictions and the truth.
//!
//! R1. A gap is fairlearn's on the same rows and a signed comparison AIF360's, but for R2.
//! R2. A rate of no rows is no rate: it is `None`, and its group takes no part in the rate's gaps. Fairlearn
//! takes the true positive rate of a group without positives to be 0, and reports a gap from nothing.
//! R3. What has no value (no rows, a denominator of 0) is `None`; no result is ever NaN.
//! R4. Small groups make large gaps by chance, so a gap that may raise an alarm is a [`gap::Bound`]: over
//! groups with enough support alone, with an interval, and with the groups left out named.

pub mod counts;
pub mod gap;
pub mod optimiser;
pub mod signed;
pub mod thresholds;

use counts::{Counts, Rates, Share};
use gap::Gap;

/// One prediction beside the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The group's place among all groups, from 0.
    pub group: usize,
    /// What the model said.
    pub predicted_positive: bool,
    /// What is true.
    pub positive: bool,
}

/// Counts of a fixed number of groups so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fairness {
    groups: Vec<Counts>,
}

/// What a report needs to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// The probability that an interval covers the truth, strictly between 0 and 1.
    pub level: f64,
    /// The fewest rows under a rate with which its group takes part in the [`gap::Bound`]; 0 counts as 1.
    pub support_min: u64,
}

/// How the groups compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The rates of each group, by its place.
    pub groups: Vec<Rates>,
    /// The rates of all rows.
    pub overall: Rates,
    /// `demographic_parity_difference` and `_ratio`.
    pub selection: Gap,
    /// `equal_opportunity_difference` and `_ratio`.
    pub true_positive: Gap,
    /// The gap of the false positive rate.
    pub false_positive: Gap,
    /// The gap of the accuracy.
    pub accuracy: Gap,
    /// `equalized_odds_difference`: the larger one of the gaps of true and false positive rate, or the one
    /// that exists.
    pub equalised_odds_difference: Option<f64>,
    /// The same with `agg="mean"`: the mean of the two, or the one that exists.
    pub equalised_odds_difference_mean: Option<f64>,
    /// `equalized_odds_ratio`: the smaller one of the two ratios, or the one that exists.
    pub equalised_odds_ratio: Option<f64>,
}

/// What a row of a group counts for so that group and truth become independent; `None` where the group has
/// no such row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Of a row that is positive.
    pub positive: Option<f64>,
    /// Of a row that is not.
    pub negative: Option<f64>,
}

impl Fairness {
    /// No rows, of so many groups.
    pub fn new(groups: usize) -> Self {
        Self {
            groups: vec![Counts::default(); groups],
        }
    }

    /// What was counted elsewhere: one element a group.
    pub fn of(groups: Vec<Counts>) -> Self {
        Self { groups }
    }

    /// The row's group must be one of the groups.
    pub fn add(&mut self, row: Row) {
        let Row {
            group,
            predicted_positive,
            positive,
        } = row;
        self.groups[group].add(predicted_positive, positive);
    }

    /// Takes the rows of another over the same groups in.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.groups.len(), other.groups.len(), "the same groups");
        let pairs = self.groups.iter_mut().zip(&other.groups);
        pairs.for_each(|(mine, other)| mine.merge(*other));
    }

    /// The counts of each group, by its place.
    pub fn groups(&self) -> &[Counts] {
        &self.groups
    }

    /// The counts of all rows.
    pub fn overall(&self) -> Counts {
        let mut overall = Counts::default();
        self.groups.iter().for_each(|it| overall.merge(*it));
        overall
    }

    /// Rates and gaps, in time quadratic in the number of groups: a bound looks at every pair.
    pub fn report(&self, terms: Terms) -> Report {
        let gap = |of: fn(Counts) -> Share| {
            let shares: Vec<Share> = self.groups.iter().map(|it| of(*it)).collect();
            Gap::new(&shares, of(self.overall()), terms)
        };
        let true_positive = gap(Counts::true_positives);
        let false_positive = gap(Counts::false_positives);
        let (hits, alarms) = (true_positive.difference, false_positive.difference);
        Report {
            groups: self.groups.iter().map(|it| it.rates(terms.level)).collect(),
            overall: self.overall().rates(terms.level),
            selection: gap(Counts::selection),
            accuracy: gap(Counts::accuracy),
            equalised_odds_difference: both(hits, alarms, f64::max),
            equalised_odds_difference_mean: both(hits, alarms, f64::midpoint),
            equalised_odds_ratio: both(true_positive.ratio, false_positive.ratio, f64::min),
            true_positive,
            false_positive,
        }
    }

    /// Reweighing: w(g, y) = P(g) P(y) / P(g, y), with the shares of the rows seen. Kamiran & Calders,
    /// Knowl. Inf. Syst. 33 (2012), section 5.2; AIF360's `Reweighing`. One element a group.
    pub fn reweighing(&self) -> Vec<Weights> {
        let all = self.overall();
        let weight = |group: u64, truth: u64, both: u64| {
            let expected = group as f64 / all.rows() as f64 * truth as f64;
            (both > 0).then(|| expected / both as f64)
        };
        let of = |it: &Counts| Weights {
            positive: weight(it.rows(), all.positives(), it.positives()),
            negative: weight(it.rows(), all.negatives(), it.negatives()),
        };
        self.groups.iter().map(of).collect()
    }
}

/// The one that exists, or what `pick` makes of both.
fn both(one: Option<f64>, other: Option<f64>, pick: fn(f64, f64) -> f64) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(pick(one, other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::counts::tests::counts;
    use super::*;
    use crate::interval::wilson;

    const TERMS: Terms = Terms {
        level: 0.95,
        support_min: 1,
    };

    fn fairness(groups: &[[u64; 4]]) -> Fairness {
        Fairness {
            groups: groups.iter().map(|it| counts(*it)).collect(),
        }
    }

    fn near(got: Option<f64>, want: f64) {
        let got = got.expect("defined");
        assert!((got - want).abs() < 1e-15, "{got}, not {want}");
    }

    #[test]
    fn two_groups_by_hand() {
        // Selected 5 of 10 and 2 of 10; found 4 of 5 and 1 of 4; wrongly called 1 of 5 and 1 of 6.
        let report = fairness(&[[4, 1, 4, 1], [1, 1, 5, 3]]).report(TERMS);
        near(report.selection.difference, 0.3);
        near(report.selection.ratio, 0.4);
        near(report.selection.difference_to_overall, 0.15);
        near(report.selection.ratio_to_overall, 0.2 / 0.35);
        near(report.true_positive.difference, 0.55);
        near(report.true_positive.ratio, 0.3125);
        near(report.false_positive.difference, 0.2 - 1.0 / 6.0);
        near(report.accuracy.difference, 0.2);
        near(report.equalised_odds_difference, 0.55);
        let mean = (0.55 + 0.2 - 1.0 / 6.0) / 2.0;
        near(report.equalised_odds_difference_mean, mean);
        near(report.equalised_odds_ratio, 0.3125);
        let rate = report.groups[1].true_positive;
        assert_eq!(rate.support, 4);
        assert_eq!(rate.estimate, Some(wilson(1, 4, 0.95)));
        assert_eq!(report.overall.accuracy.estimate, Some(wilson(14, 20, 0.95)));
    }

    #[test]
    fn a_group_without_positives_has_no_true_positive_rate() {
        let report =
            fairness(&[[1, 1, 1, 1], [0, 1, 2, 0], [0, 0, 0, 0], [3, 1, 0, 1]]).report(TERMS);
        assert_eq!(report.groups[1].true_positive.estimate, None);
        assert_eq!(report.groups[2].selection.estimate, None);
        near(report.true_positive.difference, 0.25);
        near(report.false_positive.difference, 1.0 - 1.0 / 3.0);
        near(report.selection.difference, 0.8 - 1.0 / 3.0);
    }

    #[test]
    fn what_has_no_value_is_none() {
        for nothing in [fairness(&[]), fairness(&[[0; 4], [0; 4]])] {
            let report = nothing.report(TERMS);
            assert_eq!(report.selection.difference, None);
            assert_eq!(report.selection.ratio_to_overall, None);
            assert_eq!(report.equalised_odds_difference, None);
            assert_eq!(report.equalised_odds_difference_mean, None);
            assert_eq!(report.equalised_odds_ratio, None);
        }
        // Nobody is ever called positive: no difference, and a ratio of 0 to 0.
        let never = fairness(&[[0, 0, 2, 1], [0, 0, 1, 2]]).report(TERMS);
        near(never.selection.difference, 0.0);
        assert_eq!(never.selection.ratio, None);
        assert_eq!(never.selection.ratio_to_overall, None);
        assert_eq!(never.equalised_odds_ratio, None);
        // A perfect model has no false positives: the ratio is that of the true ones.
        let perfect = fairness(&[[2, 0, 2, 0], [1, 0, 2, 0]]).report(TERMS);
        near(perfect.equalised_odds_ratio, 1.0);
    }

    #[test]
    fn reweighing_makes_group_and_truth_independent() {
        // Positives: 3 of 4 and 1 of 4.
        let weights = fairness(&[[2, 0, 1, 1], [1, 1, 2, 0]]).reweighing();
        near(weights[0].positive, 4.0 * 4.0 / 8.0 / 3.0);
        near(weights[0].negative, 2.0);
        near(weights[1].positive, 2.0);
        near(weights[1].negative, 4.0 * 4.0 / 8.0 / 3.0);
        let weights = fairness(&[[1, 0, 0, 0], [0, 0, 1, 0]]).reweighing();
        assert_eq!((weights[0].negative, weights[1].positive), (None, None));
        assert_eq!(weights[0].positive, Some(0.5));
        assert_eq!(fairness(&[[0; 4]]).reweighing()[0].positive, None);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let (mut whole, mut merged) = (Fairness::new(3), Fairness::new(3));
        for part in 0..7 {
            let mut fairness = Fairness::new(3);
            for index in 0..50usize {
                let row = Row {
                    group: (index * part) % 3,
                    predicted_positive: index % 5 < 2,
                    positive: (index + part) % 4 == 0,
                };
                fairness.add(row);
                whole.add(row);
            }
            merged.merge(&fairness);
        }
        assert_eq!(merged, whole);
        assert_eq!(whole.overall().rows(), 350);
        assert_eq!(merged.report(TERMS), whole.report(TERMS));
    }
}
