//! Two means, and whether the candidate's is greater by more than a margin: for losses, costs and any other numbers.
//!
//! The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, arXiv 2103.06476, theorem 2.2
//! and, for one side, its appendix B.
//!
//! R1. It holds in the limit, and is far off for rare events: looked at after every request, one of rate 1 % is called
//!     different in 30 % of all cases when a hundred units are taken to be enough. So nothing is said before
//!     the tails are known: [`EFFECTIVE_MIN`].
//! R2. A value that no sum can hold (see [`VALUE_MAX`]) is not counted.

use serde::{Deserialize, Serialize};

use super::{Reading, Risks, Seen, Verdict, check_risk};
use crate::interval::Estimate;

/// The largest size of a value that is counted: its fourth power still has room for as many as will ever come.
pub const VALUE_MAX: f64 = 1e70;

/// Values of one arm, in five numbers: Pébay, Sandia report SAND2008-6212, equations 2.1 and 3.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// How many.
    pub units: u64,
    /// Their mean.
    pub mean: f64,
    /// The sum of squared distances from it.
    pub second: f64,
    /// Of cubed ones.
    pub third: f64,
    /// Of their fourth powers.
    pub fourth: f64,
}

/// Units each arm must have, and how many of even spread they must be worth: `units / kurtosis`. Of a rare event that is
/// the number of events, so it asks for 20 of them and 20 others.
pub const UNITS_MIN: u64 = 40;

/// See [`UNITS_MIN`].
pub const EFFECTIVE_MIN: f64 = 20.0;

impl Values {
    /// One more. NaN and what is past [`VALUE_MAX`] is not counted.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() || value.abs() > VALUE_MAX {
            return;
        }
        let before = self.units as f64;
        self.units += 1;
        let count = self.units as f64;
        let distance = value - self.mean;
        let part = distance / count;
        let square = part * part;
        let term = distance * part * before;
        self.mean += part;
        self.fourth += term * square * (count * count - 3.0 * count + 3.0)
            + 6.0 * square * self.second
            - 4.0 * part * self.third;
        self.third += term * part * (count - 2.0) - 3.0 * part * self.second;
        self.second += term;
    }

    /// The unbiased variance of one value; `None` for fewer than two.
    pub fn variance(&self) -> Option<f64> {
        (self.units > 1).then(|| self.second / (self.units - 1) as f64)
    }

    /// How many values of even spread they are worth; 0 where all are alike.
    pub fn effective(&self) -> f64 {
        if self.fourth > 0.0 {
            self.second / self.fourth * self.second
        } else {
            0.0
        }
    }

    /// Whether their mean may be taken to be normal (R1).
    pub fn enough(&self) -> bool {
        self.units >= UNITS_MIN && self.effective() >= EFFECTIVE_MIN
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            units: self.units,
            events: None,
            mean: self.mean,
        }
    }
}

/// The comparison so far. Greater is worse: below the margin the candidate is not. A margin that is a share of the
/// control's mean, as of costs, is asked with the control's values times 1.1, say, and a margin of 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// What is not yet worse, in the unit of the values.
    pub margin: f64,
    /// Units of both arms together at which the interval is to be narrowest; it is valid at all.
    pub planned: u64,
    /// The candidate's values.
    pub candidate: Values,
    /// The control's.
    pub control: Values,
}

impl Means {
    /// Nothing seen yet. Where nobody knows what to plan for, 5000.
    pub fn new(margin: f64, planned: u64) -> Self {
        assert!(margin.is_finite(), "a margin is a number");
        assert!(planned >= 1, "at least one unit is planned for");
        Self {
            margin,
            planned,
            candidate: Values::default(),
            control: Values::default(),
        }
    }

    /// What can be said now; inconclusive where there is too little for the limit (R1). Its interval is two-sided, at the
    /// risk of failing.
    pub fn read(&self, risks: Risks) -> Reading {
        let risks = risks.checked();
        let value = self.candidate.mean - self.control.mean;
        let units = self.candidate.units + self.control.units;
        let empty = self.candidate.units == 0 || self.control.units == 0;
        let enough = self.candidate.enough() && self.control.enough();
        let error = if enough { self.error() } else { None };
        let (verdict, ln_worse, difference) = match error {
            _ if empty => (Verdict::NoData, 0.0, Estimate::bare(0.0)),
            None => (Verdict::Inconclusive, 0.0, Estimate::bare(value)),
            Some(error) => {
                let beyond = value - self.margin;
                let ln_worse = ln_evidence(beyond, error, units, risks.fail, self.planned);
                let ln_sound = ln_evidence(-beyond, error, units, risks.pass, self.planned);
                let half = half_width(error, units, risks.fail, self.planned);
                (
                    risks.verdict(ln_worse, ln_sound),
                    ln_worse,
                    Estimate::around(value, half),
                )
            }
        };
        Reading {
            verdict,
            candidate: self.candidate.seen(),
            control: Some(self.control.seen()),
            ln_evidence: ln_worse,
            difference,
        }
    }

    fn error(&self) -> Option<f64> {
        standard_error(
            (self.candidate.variance()?, self.candidate.units),
            (self.control.variance()?, self.control.units),
        )
    }
}

/// Of a difference of means, from the variance and the units of each; `None` where it is 0 or no number.
pub(super) fn standard_error(one: (f64, u64), other: (f64, u64)) -> Option<f64> {
    let error = (one.0 / one.1 as f64 + other.0 / other.1 as f64).sqrt();
    (error > 0.0 && error.is_finite()).then_some(error)
}

/// Half of the two-sided interval that covers a mean, or a difference of means, at all times: from its standard error, the
/// units behind it, of both arms, and the units planned.
pub fn half_width(standard_error: f64, units: u64, alpha: f64, planned: u64) -> f64 {
    let (count, rho) = (units as f64, rho_squared(alpha, planned));
    let scaled = count * rho + 1.0;
    standard_error * (2.0 * scaled / (count * rho) * (scaled.sqrt() / alpha).ln()).sqrt()
}

/// The same of the interval that has one end only, which is nearer.
pub fn half_width_one_sided(standard_error: f64, units: u64, alpha: f64, planned: u64) -> f64 {
    let (count, rho) = (units as f64, rho_squared(2.0 * alpha, planned));
    let scaled = count * rho + 1.0;
    let ln = (scaled.sqrt() / (2.0 * alpha)).ln_1p();
    standard_error * (2.0 * scaled / (count * rho) * ln).sqrt()
}

/// The logarithm of the e-value against "the mean is not above 0", where `value` was seen: it is `1 / alpha` where
/// [`half_width_one_sided`] is as long as `value`. Finite, and not above that of a half where the value is 0 or less.
pub fn ln_evidence(value: f64, standard_error: f64, units: u64, alpha: f64, planned: u64) -> f64 {
    let (count, rho) = (units as f64, rho_squared(2.0 * alpha, planned));
    let scaled = count * rho + 1.0;
    // Twice the normal mixture over the positive half, less what the other half would add.
    let least = f64::MIN_POSITIVE.ln();
    if value <= 0.0 {
        return least;
    }
    let power = (value / standard_error).powi(2) * count * rho / (2.0 * scaled);
    // exp_m1, but for powers that it has no number for.
    let ln = if power > 30.0 {
        power
    } else {
        power.exp_m1().ln()
    };
    (2f64.ln() + ln - scaled.ln() / 2.0).clamp(least, f64::MAX)
}

/// The units of both arms at which a difference that stays as it is will be told from the margin, if its spread stays as it
/// is: the expected time to an answer. `None` where that is more than `most`. `spread` is the standard error times the root
/// of the units.
pub fn units_needed(
    distance: f64,
    spread: f64,
    alpha: f64,
    planned: u64,
    most: u64,
) -> Option<u64> {
    let told = |units: u64| {
        let error = spread / (units as f64).sqrt();
        half_width_one_sided(error, units, alpha, planned) <= distance.abs()
    };
    if !(spread >= 0.0 && told(most)) {
        return None;
    }
    // The width falls with the units.
    let (mut low, mut high) = (0, most);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if told(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// Makes the interval narrowest at the units planned.
fn rho_squared(alpha: f64, planned: u64) -> f64 {
    check_risk(alpha);
    let ln = -2.0 * alpha.ln();
    (ln + ln.ln_1p()) / planned.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const RISKS: Risks = Risks {
        fail: 0.05,
        pass: 0.05,
    };

    #[test]
    fn moments_by_hand() {
        let mut values = Values::default();
        for value in [2.0, 4.0, 9.0, f64::NAN, f64::INFINITY, 1e71] {
            values.add(value);
        }
        // Distances -3, -1 and 4.
        assert_eq!((values.units, values.mean), (3, 5.0));
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a}, not {b}");
        near(values.second, 26.0);
        near(values.third, 36.0);
        near(values.fourth, 338.0);
        near(values.variance().unwrap(), 13.0);
        near(values.effective(), 2.0);
    }

    /// Of rare events the effective units are about the events.
    #[test]
    fn enough_are_twenty_events_and_twenty_others() {
        let of = |units: u64, events: u64| {
            let mut values = Values::default();
            (0..units).for_each(|it| values.add(f64::from(it < events)));
            values
        };
        assert!(of(2_000, 20).enough() && !of(2_000, 19).enough());
        assert!(of(2_000, 1_980).enough() && !of(2_000, 1_981).enough());
        assert!(of(40, 20).enough() && !of(39, 20).enough());
        assert!(!of(10_000, 0).enough() && of(10_000, 0).effective() == 0.0);
    }

    /// At `n = n* = 100`, alpha 0.05: rho^2 = (5.991465 + ln 6.991465) / 100 = 0.07936149; so
    /// sqrt(2 * 8.936149 / 7.936149 * ln(2.989339 / 0.05)) = 3.0349.
    #[test]
    fn widths_by_hand() {
        let rho = (5.991464547107982f64 + 6.991464547107982f64.ln()) / 100.0;
        let scaled = 100.0 * rho + 1.0;
        let want = (2.0 * scaled / (100.0 * rho) * (scaled.sqrt() / 0.05).ln()).sqrt();
        let got = half_width(0.5, 100, 0.05, 100);
        assert!(
            (got - want / 2.0).abs() < 1e-12 && (want - 3.0349).abs() < 1e-3,
            "{got} {want}"
        );
        // The width in standard errors is least where it was planned, but for a factor that tends to 1.
        let one = half_width_one_sided(0.5, 100, 0.05, 100);
        assert!(one < got && one > 0.5 * 1.645);
    }

    #[test]
    fn the_evidence_is_one_over_alpha_where_the_interval_ends() {
        for (units, alpha) in [(50, 0.2), (5_000, 0.05), (10_000_000, 0.001)] {
            let half = half_width_one_sided(0.3, units, alpha, 5_000);
            let got = ln_evidence(half, 0.3, units, alpha, 5_000);
            assert!((got + f64::ln(alpha)).abs() < 1e-9, "{got}");
        }
        assert!(ln_evidence(-1.0, 0.3, 100, 0.05, 100).is_finite());
        assert!(ln_evidence(1e60, 1e-60, 100, 0.05, 100).is_finite());
    }

    #[test]
    fn it_fails_passes_and_waits() {
        let after = |count: usize, by: f64, margin| {
            let (mut means, mut random) = (Means::new(margin, 5_000), Random::new(3));
            for _ in 0..count {
                means.candidate.add(random.normal() + by);
                means.control.add(random.normal());
            }
            means.read(RISKS)
        };
        assert_eq!(after(0, 0.0, 0.0).verdict, Verdict::NoData);
        assert_eq!(after(30, 9.0, 0.0).verdict, Verdict::Inconclusive);
        assert_eq!(after(3_000, 0.0, 0.0).verdict, Verdict::Inconclusive);
        let failed = after(3_000, 0.2, 0.0);
        assert_eq!(failed.verdict, Verdict::Fail);
        assert!(failed.difference.low.unwrap() > 0.0 && failed.evidence() > 20.0);
        assert_eq!(after(3_000, 0.0, 0.2).verdict, Verdict::Pass);
        // All alike: no spread to judge by.
        let mut same = Means::new(0.0, 5_000);
        (0..100).for_each(|_| {
            same.candidate.add(2.0);
            same.control.add(1.0);
        });
        assert_eq!(same.read(RISKS).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn the_time_to_an_answer_is_when_the_interval_ends_there() {
        let needed = units_needed(0.02, 2.0 * 0.45, 0.01, 5_000, 10_000_000).unwrap();
        let half =
            |units: u64| half_width_one_sided(0.9 / (units as f64).sqrt(), units, 0.01, 5_000);
        assert!(half(needed) <= 0.02 && half(needed - 1) > 0.02);
        assert_eq!(units_needed(0.0, 1.0, 0.01, 5_000, u64::MAX / 2), None);
        assert_eq!(units_needed(0.02, f64::NAN, 0.01, 5_000, 1_000), None);
    }
}
