//! A comparison of means that takes out what was known of each unit before: its value in an earlier period, or the
//! incumbent's score of it. The less is left to chance, the sooner there is an answer.
//!
//! CUPED: Deng, Xu, Kohavi & Walker, WSDM 2013, 123-132, section 3; one slope for both arms. What was known before cannot
//! depend on the arm, so the difference stays what it was.

use serde::{Deserialize, Serialize};

use super::means::{Values, half_width, standard_error};
use crate::interval::Estimate;

/// Values of one arm, each with what was known before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pairs {
    /// The values.
    pub values: Values,
    /// What was known before of the same units.
    pub before: Values,
    /// The sum of the products of both distances from their means.
    pub product: f64,
}

impl Pairs {
    /// One more. A pair of which one cannot be counted is not.
    pub fn add(&mut self, value: f64, before: f64) {
        let counts = |it: f64| it.abs() <= super::means::VALUE_MAX;
        if !counts(value) || !counts(before) {
            return;
        }
        let distance = before - self.before.mean;
        self.values.add(value);
        self.before.add(before);
        self.product += distance * (value - self.values.mean);
    }
}

/// How much greater the candidate's mean is, adjusted, with an interval that covers it at all times with probability
/// `1 - alpha` from [`Values::enough`] on. Units are `planned` as in [`Means`](super::means::Means). Where what was known
/// before is the same of all, it is the plain difference.
pub fn difference(candidate: &Pairs, control: &Pairs, alpha: f64, planned: u64) -> Estimate {
    let spread = candidate.before.second + control.before.second;
    let slope = (candidate.product + control.product) / spread;
    let slope = if slope.is_finite() { slope } else { 0.0 };
    let value = candidate.values.mean
        - control.values.mean
        - slope * (candidate.before.mean - control.before.mean);
    if !(candidate.values.enough() && control.values.enough()) {
        return Estimate::bare(value);
    }
    let arm = |it: &Pairs| {
        let second = it.values.second - 2.0 * slope * it.product + slope * slope * it.before.second;
        (
            second.max(0.0) / (it.values.units - 1) as f64,
            it.values.units,
        )
    };
    let units = candidate.values.units + control.values.units;
    match standard_error(arm(candidate), arm(control)) {
        Some(error) => Estimate::around(value, half_width(error, units, alpha, planned)),
        None => Estimate::bare(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn what_was_known_before_narrows_the_interval_and_does_not_move_it() {
        let mut random = Random::new(2);
        let mut arm = |by: f64| {
            let mut pairs = Pairs::default();
            for _ in 0..5_000 {
                let before = random.normal();
                pairs.add(2.0 * before + random.normal() + by, before);
            }
            pairs
        };
        let (candidate, control) = (arm(0.3), arm(0.0));
        let got = difference(&candidate, &control, 0.05, 5_000);
        assert!((got.value - 0.3).abs() < 0.06, "{got:?}");
        let half = got.high.unwrap() - got.value;
        // The values have a variance of 5, of which 4 were known.
        let plain = standard_error(
            (candidate.values.variance().unwrap(), 5_000),
            (control.values.variance().unwrap(), 5_000),
        );
        let plain = half_width(plain.unwrap(), 10_000, 0.05, 5_000);
        assert!(
            (half / plain - 0.2f64.sqrt()).abs() < 0.02,
            "{half} {plain}"
        );
    }

    #[test]
    fn nothing_known_before_is_the_plain_difference() {
        let (mut one, mut other) = (Pairs::default(), Pairs::default());
        for it in 0..100 {
            one.add(f64::from(it % 7), 1.0);
            other.add(f64::from(it % 5), 1.0);
        }
        one.add(f64::NAN, 1.0);
        one.add(1.0, f64::INFINITY);
        let got = difference(&one, &other, 0.05, 5_000);
        assert!((got.value - (one.values.mean - other.values.mean)).abs() < 1e-12);
        assert!(got.low.is_some() && one.values.units == 100);
        let none = difference(&Pairs::default(), &Pairs::default(), 0.05, 5_000);
        assert_eq!(none, Estimate::bare(0.0));
    }
}
