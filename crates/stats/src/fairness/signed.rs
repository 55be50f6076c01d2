//! One group against another, with a sign: what the unprivileged get less what the privileged get.
//!
//! AIF360 0.6.1, `ClassificationMetric`; being called positive is the favourable outcome.

use super::counts::{Counts, Share};

/// The two sides. Several groups on one side are merged first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    /// Those feared to be at a disadvantage.
    pub unprivileged: Counts,
    /// Those they are compared with.
    pub privileged: Counts,
}

/// How the sides compare; `None` where a side lacks the rows for a rate, or a ratio has nothing below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signed {
    /// The difference of the selection rates.
    pub statistical_parity: Option<f64>,
    /// The ratio of the selection rates, unprivileged over privileged. By the rule of thumb of the EEOC's
    /// Uniform Guidelines (29 CFR 1607.4 D) below 0.8 is evidence of adverse impact.
    pub disparate_impact: Option<f64>,
    /// The difference of the true positive rates.
    pub equal_opportunity: Option<f64>,
    /// The mean of the differences of true and false positive rate.
    pub average_odds: Option<f64>,
    /// The mean of their absolute values, so that one cannot make up for the other.
    pub average_absolute_odds: Option<f64>,
}

impl Sides {
    /// Compares the sides.
    pub fn compare(self) -> Signed {
        let pair = |of: fn(Counts) -> Share| {
            let unprivileged = of(self.unprivileged).value();
            unprivileged.zip(of(self.privileged).value())
        };
        let difference = |of| pair(of).map(|(unprivileged, privileged)| unprivileged - privileged);
        let selection = pair(Counts::selection).filter(|(_, privileged)| *privileged > 0.0);
        let hits = difference(Counts::true_positives);
        let odds = hits.zip(difference(Counts::false_positives));
        Signed {
            statistical_parity: difference(Counts::selection),
            disparate_impact: selection.map(|(unprivileged, privileged)| unprivileged / privileged),
            equal_opportunity: hits,
            average_odds: odds.map(|(hits, alarms)| (hits + alarms) / 2.0),
            average_absolute_odds: odds.map(|(hits, alarms)| (hits.abs() + alarms.abs()) / 2.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: Option<f64>, want: f64) {
        let got = got.expect("defined");
        assert!((got - want).abs() < 1e-15, "{got}, not {want}");
    }

    #[test]
    fn two_sides_by_hand() {
        // Selected 3 of 8 and 4 of 8; found 1 of 4 and 3 of 4; wrongly called 2 of 4 and 1 of 4.
        let unprivileged = Counts {
            true_positive: 1,
            false_positive: 2,
            true_negative: 2,
            false_negative: 3,
        };
        let privileged = Counts {
            true_positive: 3,
            false_positive: 1,
            true_negative: 3,
            false_negative: 1,
        };
        let signed = Sides {
            unprivileged,
            privileged,
        }
        .compare();
        near(signed.statistical_parity, -0.125);
        near(signed.disparate_impact, 0.75);
        near(signed.equal_opportunity, -0.5);
        near(signed.average_odds, -0.125);
        near(signed.average_absolute_odds, 0.375);
    }

    #[test]
    fn what_has_no_value_is_none() {
        let negative = Counts {
            true_negative: 3,
            ..Counts::default()
        };
        let signed = Sides {
            unprivileged: negative,
            privileged: negative,
        }
        .compare();
        near(signed.statistical_parity, 0.0);
        assert_eq!(signed.disparate_impact, None);
        assert_eq!(signed.equal_opportunity, None);
        assert_eq!(signed.average_odds, None);
        assert_eq!(signed.average_absolute_odds, None);
        let empty = Sides {
            unprivileged: Counts::default(),
            privileged: negative,
        };
        assert_eq!(empty.compare().statistical_parity, None);
    }
}
