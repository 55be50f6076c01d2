//! What follows from the ranks of scores: the area under the ROC curve with its variance, and average
//! precision.

use crate::interval::{self, Estimate};
use crate::sum::{Moments, Sum};

/// Filled from the highest score down, one group of equal scores at a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    positives: u64,
    negatives: u64,
    positives_above: u64,
    negatives_above: u64,
    /// Per pair of a positive and a negative: 2 where the positive scores higher, 1 where they tie.
    points: u128,
    /// The squares of each positive's and of each negative's points.
    positive_squares: u128,
    negative_squares: u128,
    precision: Sum,
}

/// The area under the ROC curve, and its standard error where there are two rows of each class.
pub(crate) struct Area {
    pub(crate) value: f64,
    pub(crate) error: Option<f64>,
}

impl Area {
    /// With the interval on the logit scale.
    pub(crate) fn estimate(&self, level: f64) -> Estimate {
        let Self { value, error } = *self;
        let error = error.map(|it| it / (value * (1.0 - value)));
        interval::logit(value, error, level)
    }
}

impl Curve {
    pub(crate) fn new(positives: u64, negatives: u64) -> Self {
        Self {
            positives,
            negatives,
            positives_above: 0,
            negatives_above: 0,
            points: 0,
            positive_squares: 0,
            negative_squares: 0,
            precision: Sum::default(),
        }
    }

    /// The next lower score, which so many have.
    pub(crate) fn push(&mut self, positives: u64, negatives: u64) {
        let below = self.negatives - self.negatives_above - negatives;
        let square = |it: u64| u128::from(it) * u128::from(it);
        if negatives > 0 {
            let points = 2 * self.positives_above + positives;
            self.negative_squares += u128::from(negatives) * square(points);
        }
        self.positives_above += positives;
        self.negatives_above += negatives;
        if positives > 0 {
            let points = 2 * below + negatives;
            self.points += u128::from(positives) * u128::from(points);
            self.positive_squares += u128::from(positives) * square(points);
            let ranked = self.positives_above + self.negatives_above;
            let precision = self.positives_above as f64 / ranked as f64;
            self.precision.add(positives as f64 * precision);
        }
    }

    /// The share of pairs of a positive and a negative that the scores order rightly, ties for half:
    /// `roc_auc_score`. `None` without rows of both classes.
    ///
    /// The variance is that of DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988), 837-845, from ranks
    /// as in Sun & Xu, IEEE Signal Process. Lett. 21 (2014), 1389-1393. Counts are whole numbers
    /// throughout, so only the last division rounds.
    pub(crate) fn area(&self) -> Option<Area> {
        if self.positives == 0 || self.negatives == 0 {
            return None;
        }
        let (positives, negatives) = (self.positives as f64, self.negatives as f64);
        // The variance of the shares of points of one class's rows, over their number.
        let part = |count, squares: u128, points_max: f64| {
            let sum = Sum::from(self.points);
            let squares = Sum::from(squares);
            let moments = Moments {
                count,
                sum,
                squares,
            };
            Some(moments.variance()? / (points_max * points_max) / count as f64)
        };
        let of_positives = part(self.positives, self.positive_squares, 2.0 * negatives);
        let of_negatives = part(self.negatives, self.negative_squares, 2.0 * positives);
        Some(Area {
            value: self.points as f64 / (2.0 * positives * negatives),
            error: of_positives.zip(of_negatives).map(|(a, b)| (a + b).sqrt()),
        })
    }

    /// The area with the interval on the logit scale (Pepe, The Statistical Evaluation of Medical Tests,
    /// 2003, chapter 5).
    pub(crate) fn roc_auc(&self, level: f64) -> Option<Estimate> {
        Some(self.area()?.estimate(level))
    }

    /// Precision at each positive's score, averaged: `average_precision_score`. `None` without positives.
    pub(super) fn average_precision(&self) -> Option<f64> {
        (self.positives > 0).then(|| self.precision.value() / self.positives as f64)
    }

    /// Average precision with the logit interval of Boyd, Eng & Page, ECML PKDD 2013, LNCS 8190, 451-466,
    /// section 3.2.
    pub(super) fn precision(&self, level: f64) -> Option<Estimate> {
        let value = self.average_precision()?;
        let error = (self.positives as f64 * value * (1.0 - value)).sqrt();
        Some(interval::logit(value, Some(1.0 / error), level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(groups: &[(u64, u64)]) -> Curve {
        let positives = groups.iter().map(|it| it.0).sum();
        let negatives = groups.iter().map(|it| it.1).sum();
        let mut curve = Curve::new(positives, negatives);
        groups.iter().for_each(|it| curve.push(it.0, it.1));
        curve
    }

    #[test]
    fn ranks_by_hand() {
        // Scores 4+ 3- 2+- 1-: of 2 x 3 pairs the first positive wins 3, the second 1 and a tie.
        let curve = curve(&[(1, 0), (0, 1), (1, 1), (0, 1)]);
        let area = curve.area().expect("both classes");
        assert_eq!(area.value, 4.5 / 6.0);
        // Shares of the positives 1 and 1/2: variance 1/8. Of the negatives 1/2, 3/4, 1: variance 1/16.
        let variance = 0.125 / 2.0 + 0.0625 / 3.0;
        assert!((area.error.expect("two of each") - f64::sqrt(variance)).abs() < 1e-15);
        // Precision 1 at the first positive, 2 of 4 at the second.
        assert_eq!(curve.average_precision(), Some(0.75));
    }

    #[test]
    fn what_one_class_leaves_undefined() {
        assert_eq!(curve(&[(0, 2)]).roc_auc(0.95), None);
        assert_eq!(curve(&[(0, 2)]).precision(0.95), None);
        assert_eq!(curve(&[(2, 0)]).roc_auc(0.95), None);
        assert_eq!(curve(&[(2, 0)]).precision(0.95), Some(Estimate::bare(1.0)));
        // One positive has no variance; a perfect order has no place on the logit scale.
        assert_eq!(
            curve(&[(0, 1), (1, 0), (0, 2)]).roc_auc(0.95),
            Some(Estimate::bare(2.0 / 3.0))
        );
        assert_eq!(
            curve(&[(2, 0), (0, 2)]).roc_auc(0.95),
            Some(Estimate::bare(1.0))
        );
    }

    #[test]
    fn counts_in_the_billions_do_not_overflow() {
        let huge = 4_000_000_000;
        let area = curve(&[(huge, huge), (huge, 3 * huge)]).area();
        let area = area.expect("both classes");
        // The upper half of the positives wins 3/4 and ties with 1/4; the lower ties with 3/4.
        assert_eq!(area.value, (0.875 + 0.375) / 2.0);
        assert!(area.error.expect("many") < 1e-5);
    }
}
