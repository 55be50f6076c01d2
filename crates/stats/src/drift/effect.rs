//! How far a column has moved, and whether that can be chance.
//!
//! R1. What is asked is never whether anything changed, but whether it changed by more than a margin: with enough
//!     rows everything has changed.
//! R2. There is one margin, in standard deviations; every question has it in its own unit, so that a normal
//!     variable that moves by the margin is just at it.
//! R3. `p` is the probability of an effect at least so far beyond the margin, were the true one just at it. Where
//!     nothing changed it is larger than a uniform variable, so a verdict that rests on it cries wolf less often
//!     than it says.

use crate::gamma::{
    noncentral_above, noncentral_quantile, noncentrality_at, normal_above, normal_below,
};
use crate::interval::{Estimate, normal_quantile, two_sided};
use crate::quality::curve::Curve;

/// Cells in which fewer rows than this are expected are counted together: Cochran, Biometrics 10 (1954), 417-451.
const EXPECTED_MIN: f64 = 5.0;
/// The probability with which [`Effect::detectable`] is found.
pub const POWER: f64 = 0.8;

/// What is asked about a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// Whether numbers are greater or less than they were: the probability that a current value is greater than a
    /// reference one, a tie counting half, less a half. From -0.5 to 0.5.
    Location,
    /// Whether shares of cells changed: Cramér's V of cell by sample, as it were if both samples were of one size
    /// (the root of half the sum of `(p - q)^2 / (p + q)`), without what chance alone makes of it. From 0 to 1.
    Shape,
    /// Whether more or fewer are missing: Cohen's h, the difference of `2 asin(sqrt(share))`; Cohen, Statistical
    /// Power Analysis (1988), chapter 6. From -pi to pi.
    Missing,
    /// Whether more values are such as the reference has none of: Cohen's h.
    Unseen,
}

/// Of how far one is to be sure of what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// The smallest change that matters, in standard deviations; greater than 0.
    pub margin: f64,
    /// How often one test may be wrong, strictly between 0 and 1: what [`Effect::detectable`] is told for.
    pub alpha: f64,
    /// The level of the intervals.
    pub level: f64,
}

/// How far a column has moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// What was asked.
    pub question: Question,
    /// In the question's unit.
    pub estimate: Estimate,
    /// The margin in the same unit.
    pub margin: f64,
    /// R3.
    pub p: f64,
    /// The smallest true effect that would be found with probability [`POWER`] at `alpha`, in the same unit.
    pub detectable: f64,
}

/// Cells in which at least [`EXPECTED_MIN`] rows of the smaller sample are expected, which is a `share` of all; others
/// are counted together, and with the smallest of these where even so there are too few.
fn large_enough(cells: &[Pair], share: f64) -> Vec<Pair> {
    let is_small = |it: &Pair| ((it.reference + it.current) as f64) * share < EXPECTED_MIN;
    let (small, mut kept): (Vec<Pair>, Vec<Pair>) = cells.iter().partition(|it| is_small(it));
    let rest = total(&small);
    if !is_small(&rest) {
        kept.push(rest);
    } else if let Some(smallest) = kept.iter_mut().min_by_key(|it| it.reference + it.current) {
        *smallest = smallest.plus(rest);
    }
    kept
}

/// Rows of the reference and of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Rows of the reference.
    pub reference: u64,
    /// Current rows.
    pub current: u64,
}

impl Pair {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            reference: self.reference + other.reference,
            current: self.current + other.current,
        }
    }
}

fn total(cells: &[Pair]) -> Pair {
    cells.iter().fold(Pair::default(), |sum, it| sum.plus(*it))
}

impl Effect {
    /// Where numbers lie. `cells` are in ascending order of their values; what is in one is taken for equal.
    /// None where one sample has no rows or all rows are in one cell.
    pub fn location(cells: &[Pair], terms: Terms) -> Option<Self> {
        let rows = total(cells);
        if cells.iter().filter(|it| **it != Pair::default()).count() < 2 {
            return None;
        }
        let mut curve = Curve::new(rows.current, rows.reference);
        for cell in cells.iter().rev() {
            curve.push(cell.current, cell.reference);
        }
        let area = curve.area()?;
        let (n, m) = (rows.reference as f64, rows.current as f64);
        // DeLong's error is too small where the samples hardly overlap, so never less than that of equal samples
        // with the same ties: Lehmann, Nonparametrics (1975), section 1.4.
        let all = n + m;
        let ties = cells.iter().map(|it| {
            let tied = (it.reference + it.current) as f64 / all;
            tied.powi(3)
        });
        let equal = (1.0 - ties.sum::<f64>()).max(0.0) * (1.0 / n + 1.0 / m) / 12.0;
        let error = equal.sqrt().max(area.error.unwrap_or(0.0));
        let value = area.value - 0.5;
        let margin = normal_below(terms.margin / std::f64::consts::SQRT_2) - 0.5;
        Some(Self::normal(
            Question::Location,
            value,
            error,
            margin,
            0.5,
            terms,
        ))
    }

    /// Whether two shares differ: of hits among all rows. None where one sample has no rows.
    pub fn share(question: Question, hits: Pair, rows: Pair, terms: Terms) -> Option<Self> {
        if rows.reference == 0 || rows.current == 0 {
            return None;
        }
        let angle = |hits: u64, rows: u64| 2.0 * (hits as f64 / rows as f64).sqrt().min(1.0).asin();
        let value = angle(hits.current, rows.current) - angle(hits.reference, rows.reference);
        let error = (1.0 / rows.reference as f64 + 1.0 / rows.current as f64).sqrt();
        let most = std::f64::consts::PI;
        Some(Self::normal(
            question,
            value,
            error,
            terms.margin,
            most,
            terms,
        ))
    }

    fn normal(
        question: Question,
        value: f64,
        error: f64,
        margin: f64,
        most: f64,
        terms: Terms,
    ) -> Self {
        let half = two_sided(terms.level) * error;
        let sure = normal_quantile(1.0 - terms.alpha) + normal_quantile(POWER);
        Self {
            question,
            estimate: Estimate {
                value,
                low: Some((value - half).max(-most)),
                high: Some((value + half).min(most)),
            },
            margin,
            p: normal_above((value.abs() - margin) / error),
            detectable: sure.mul_add(error, margin).min(most),
        }
    }

    /// Whether the shares of cells changed. None where one sample has no rows or all rows are in one cell.
    pub fn shape(cells: &[Pair], terms: Terms) -> Option<Self> {
        let rows = total(cells);
        if rows.reference == 0 || rows.current == 0 {
            return None;
        }
        let (n, m) = (rows.reference as f64, rows.current as f64);
        let kept = large_enough(cells, n.min(m) / (n + m));
        let degrees = (kept.len() as f64) - 1.0;
        if degrees < 1.0 {
            return None;
        }
        // Pearson's statistic with cells weighted by the mean of both shares, and not by the share among all rows: else
        // the same change had another V for each window's size.
        let terms_of = |it: &Pair| {
            let (p, q) = (it.reference as f64 / n, it.current as f64 / m);
            (p - q).powi(2) / ((p + q) / 2.0)
        };
        let statistic = kept.iter().map(terms_of).sum::<f64>() * n * m / (n + m);
        // The noncentrality of a V of 1 between samples of these sizes.
        let scale = 4.0 * n * m / (n + m);
        let root = |noncentrality: f64| (noncentrality.max(0.0) / scale).sqrt().min(1.0);
        // By R2: a share of a half that moves by `h / 2` is at a V of `h / 2`.
        let margin = terms.margin / 2.0;
        let at_margin = margin * margin * scale;
        let tail = (1.0 - terms.level) / 2.0;
        let value = root(statistic - degrees);
        let found = noncentral_quantile(1.0 - terms.alpha, degrees, at_margin);
        Some(Self {
            question: Question::Shape,
            estimate: Estimate {
                value,
                low: Some(root(noncentrality_at(statistic, degrees, 1.0 - tail)).min(value)),
                high: Some(root(noncentrality_at(statistic, degrees, tail)).max(value)),
            },
            margin,
            p: noncentral_above(statistic, degrees, at_margin),
            detectable: root(noncentrality_at(found, degrees, 1.0 - POWER)),
        })
    }

    /// The effect as a multiple of its margin.
    pub fn in_margins(&self) -> f64 {
        self.estimate.value.abs() / self.margin
    }

    /// Whether that nothing was found says something: an effect of twice the margin would have been, and this one is
    /// within it.
    pub fn is_enough(&self) -> bool {
        self.detectable <= 2.0 * self.margin && self.in_margins() <= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        margin: 0.1,
        alpha: 0.001,
        level: 0.95,
    };

    fn pairs(counts: &[(u64, u64)]) -> Vec<Pair> {
        let pair = |(reference, current): &(u64, u64)| Pair {
            reference: *reference,
            current: *current,
        };
        counts.iter().map(pair).collect()
    }

    /// Shares of a normal variable in tenths of the unmoved one, when it moved by so many standard deviations.
    fn moved(by: f64, rows: u64) -> Vec<Pair> {
        let edge = |part: u64| match part {
            0 => f64::NEG_INFINITY,
            10 => f64::INFINITY,
            _ => normal_quantile(part as f64 / 10.0),
        };
        let share = |part: u64| normal_below(edge(part + 1) - by) - normal_below(edge(part) - by);
        let cells = (0..10).map(|part| Pair {
            reference: rows / 10,
            current: (share(part) * rows as f64).round() as u64,
        });
        cells.collect()
    }

    #[test]
    fn a_margin_is_the_same_move_for_every_question() {
        let cells = moved(0.1, 1_000_000);
        let location = Effect::location(&cells, TERMS).unwrap();
        // What is in a cell counts as equal, so a little is lost.
        assert!((location.in_margins() - 1.0).abs() < 0.02, "{location:?}");
        let shape = Effect::shape(&cells, TERMS).unwrap();
        assert!((shape.in_margins() - 1.0).abs() < 0.05, "{shape:?}");
        let (hits, rows) = (
            pairs(&[(500_000, 550_000)])[0],
            pairs(&[(1_000_000, 1_000_000)])[0],
        );
        let share = Effect::share(Question::Missing, hits, rows, TERMS).unwrap();
        assert!((share.in_margins() - 1.0).abs() < 0.01, "{share:?}");
        for effect in [location, shape, share] {
            assert!(effect.detectable < 0.15 && effect.p > 1e-3, "{effect:?}");
        }
    }

    #[test]
    fn what_moved_further_is_found_and_what_did_not_is_not() {
        let near = moved(0.02, 1_000_000);
        let far = moved(0.2, 1_000_000);
        for effect in [Effect::location, Effect::shape] {
            assert!(effect(&near, TERMS).unwrap().p > 0.99);
            assert!(effect(&far, TERMS).unwrap().p < 1e-6);
        }
        // A spread that grew has not moved to a side.
        let wider = pairs(&[(1000, 2000), (1000, 500), (1000, 500), (1000, 2000)]);
        assert!(Effect::location(&wider, TERMS).unwrap().p > 0.9);
        assert!(Effect::shape(&wider, TERMS).unwrap().p < 1e-6);
    }

    #[test]
    fn a_single_row_in_a_cell_of_its_own_is_no_change() {
        // Twenty ranges as expected, and one value beyond the greatest of 20 000.
        let mut cells: Vec<Pair> = (0..20)
            .map(|_| Pair {
                reference: 1000,
                current: 15,
            })
            .collect();
        cells.push(Pair {
            reference: 0,
            current: 1,
        });
        let shape = Effect::shape(&cells, TERMS).unwrap();
        assert!(shape.p > 0.5 && shape.estimate.value == 0.0, "{shape:?}");
    }

    #[test]
    fn a_change_is_as_large_in_a_window_of_any_size() {
        let new_level = |rows: u64| {
            let (reference, current) = (100_000, rows / 100);
            let cells = pairs(&[
                (reference / 2, rows / 2 - current),
                (reference / 2, rows / 2),
                (0, current),
            ]);
            Effect::shape(&cells, TERMS).unwrap().estimate.value
        };
        for rows in [10_000, 100_000, 10_000_000] {
            let value = new_level(rows);
            assert!((value - 0.071).abs() < 0.002, "{rows} rows: {value}");
        }
    }

    #[test]
    fn few_rows_say_little() {
        for cells in [pairs(&[(1, 0), (0, 1)]), pairs(&[(3, 0), (0, 3)])] {
            let location = Effect::location(&cells, TERMS).unwrap();
            assert!(location.p > 0.01 && !location.is_enough(), "{location:?}");
            // Fewer rows than a cell needs: all are in one.
            assert!(Effect::shape(&cells, TERMS).is_none());
        }
        for nothing in [pairs(&[]), pairs(&[(5, 0), (7, 0)]), pairs(&[(5, 7)])] {
            assert!(Effect::location(&nothing, TERMS).is_none());
            assert!(Effect::shape(&nothing, TERMS).is_none());
        }
        let none = Effect::share(Question::Missing, Pair::default(), Pair::default(), TERMS);
        assert!(none.is_none());
    }

    #[test]
    fn ends_contain_the_value_and_stay_in_the_unit() {
        for cells in [
            pairs(&[(50, 0), (0, 50)]),
            pairs(&[(50, 49), (50, 51)]),
            pairs(&[(1_000_000, 0), (0, 1_000_000)]),
        ] {
            for effect in [Effect::location, Effect::shape] {
                let effect = effect(&cells, TERMS).unwrap();
                let Estimate { value, low, high } = effect.estimate;
                let (low, high) = (low.unwrap(), high.unwrap());
                assert!(low <= value && value <= high, "{effect:?}");
                assert!(low >= -0.5 && high <= 1.0, "{effect:?}");
                assert!((0.0..=1.0).contains(&effect.p) && effect.detectable.is_finite());
            }
        }
    }
}
