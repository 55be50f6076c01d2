//! What became of the rows of a group, and the rates that follow.

use crate::interval::{Estimate, wilson};

/// What became of the rows of one group: called positive or not, and positive or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Called positive, and positive.
    pub true_positive: u64,
    /// Called positive, and not.
    pub false_positive: u64,
    /// Not called positive, and not.
    pub true_negative: u64,
    /// Not called positive, but positive.
    pub false_negative: u64,
}

/// Hits among the rows that count for a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many rows it holds for; at most `support`.
    pub hits: u64,
    /// How many rows it could hold for.
    pub support: u64,
}

/// A rate of one group: its value with Wilson's interval, `None` without support.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Rows that the rate is a share of.
    pub support: u64,
    /// The share.
    pub estimate: Option<Estimate>,
}

/// The rates of one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Called positive, of all.
    pub selection: Rate,
    /// Called positive, of the positives.
    pub true_positive: Rate,
    /// Called positive, of the negatives.
    pub false_positive: Rate,
    /// Called what they are, of all.
    pub accuracy: Rate,
}

impl Counts {
    /// Counts one row.
    pub fn add(&mut self, predicted_positive: bool, positive: bool) {
        let count = match (predicted_positive, positive) {
            (true, true) => &mut self.true_positive,
            (true, false) => &mut self.false_positive,
            (false, false) => &mut self.true_negative,
            (false, true) => &mut self.false_negative,
        };
        *count += 1;
    }

    /// Takes the rows of another in.
    pub fn merge(&mut self, other: Self) {
        let Self {
            true_positive,
            false_positive,
            true_negative,
            false_negative,
        } = other;
        self.true_positive += true_positive;
        self.false_positive += false_positive;
        self.true_negative += true_negative;
        self.false_negative += false_negative;
    }

    /// All rows.
    pub fn rows(self) -> u64 {
        self.positives() + self.negatives()
    }

    /// Rows that are positive.
    pub fn positives(self) -> u64 {
        self.true_positive + self.false_negative
    }

    /// Rows that are not positive.
    pub fn negatives(self) -> u64 {
        self.true_negative + self.false_positive
    }

    /// Called positive, of all.
    pub fn selection(self) -> Share {
        Share {
            hits: self.true_positive + self.false_positive,
            support: self.rows(),
        }
    }

    /// Called positive, of the positives.
    pub fn true_positives(self) -> Share {
        Share {
            hits: self.true_positive,
            support: self.positives(),
        }
    }

    /// Called positive, of the negatives.
    pub fn false_positives(self) -> Share {
        Share {
            hits: self.false_positive,
            support: self.negatives(),
        }
    }

    /// Called what they are, of all.
    pub fn accuracy(self) -> Share {
        Share {
            hits: self.true_positive + self.true_negative,
            support: self.rows(),
        }
    }

    /// The rates with Wilson's interval.
    pub fn rates(self, level: f64) -> Rates {
        let rate = |share: Share| Rate {
            support: share.support,
            estimate: (share.support > 0).then(|| wilson(share.hits, share.support, level)),
        };
        Rates {
            selection: rate(self.selection()),
            true_positive: rate(self.true_positives()),
            false_positive: rate(self.false_positives()),
            accuracy: rate(self.accuracy()),
        }
    }

    /// Theil's index of the benefits b = prediction - truth + 1: the mean of (b / mean) ln(b / mean), with
    /// 0 ln 0 = 0; AIF360's `theil_index`. Speicher et al., KDD 2018, section 3. `None` without rows, and
    /// where no row has a benefit.
    pub fn theil_index(self) -> Option<f64> {
        self.benefits(|relative| {
            if relative > 0.0 {
                relative * relative.ln()
            } else {
                0.0
            }
        })
    }

    /// The generalised entropy of the same benefits with alpha 2, half the squared coefficient of
    /// variation: the mean of ((b / mean)^2 - 1) / 2; AIF360's `generalized_entropy_index`. `None` as above.
    pub fn generalised_entropy(self) -> Option<f64> {
        self.benefits(|relative| (relative * relative - 1.0) / 2.0)
    }

    /// The mean of a function of b / mean. False negatives have b = 0, false positives 2, all others 1.
    fn benefits(self, of: impl Fn(f64) -> f64) -> Option<f64> {
        let (rows, twice) = (self.rows() as f64, self.false_positive as f64);
        let once = (self.true_positive + self.true_negative) as f64;
        let mean = (once + 2.0 * twice) / rows;
        if self.rows() == 0 || mean == 0.0 {
            return None;
        }
        let none = self.false_negative as f64;
        let sum = none * of(0.0) + once * of(1.0 / mean) + twice * of(2.0 / mean);
        // By Jensen's inequality neither index is negative; a rounding can be.
        Some((sum / rows).max(0.0))
    }
}

impl Share {
    /// `None` without support (R2).
    pub fn value(self) -> Option<f64> {
        (self.support > 0).then(|| self.hits as f64 / self.support as f64)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// True and false positives, true and false negatives.
    pub(in super::super) fn counts(of: [u64; 4]) -> Counts {
        let [true_positive, false_positive, true_negative, false_negative] = of;
        Counts {
            true_positive,
            false_positive,
            true_negative,
            false_negative,
        }
    }

    fn near(got: Option<f64>, want: f64) {
        let got = got.expect("defined");
        assert!((got - want).abs() < 1e-15, "{got}, not {want}");
    }

    #[test]
    fn rates_by_hand() {
        let mut all = Counts::default();
        for (predicted_positive, positive) in [
            (true, true),
            (true, false),
            (true, false),
            (false, true),
            (false, false),
        ] {
            all.add(predicted_positive, positive);
        }
        assert_eq!(all, counts([1, 2, 1, 1]));
        let rates = all.rates(0.95);
        for (rate, hits, support) in [
            (rates.selection, 3, 5),
            (rates.true_positive, 1, 2),
            (rates.false_positive, 2, 3),
            (rates.accuracy, 2, 5),
        ] {
            assert_eq!(rate.support, support);
            assert_eq!(rate.estimate, Some(wilson(hits, support, 0.95)));
        }
        assert_eq!(Counts::default().rates(0.95).selection.estimate, None);
    }

    #[test]
    fn inequality_of_benefits_by_hand() {
        // Benefits 1, 1, 2, 0: the mean is 1.
        let mixed = counts([1, 1, 1, 1]);
        near(mixed.theil_index(), 2.0 * 2f64.ln() / 4.0);
        near(mixed.generalised_entropy(), (3.0 - 1.0) / 2.0 / 4.0);
        near(counts([3, 0, 5, 0]).theil_index(), 0.0);
        near(counts([3, 0, 5, 0]).generalised_entropy(), 0.0);
        for nothing in [counts([0; 4]), counts([0, 0, 0, 3])] {
            assert_eq!(nothing.theil_index(), None);
            assert_eq!(nothing.generalised_entropy(), None);
        }
    }
}
