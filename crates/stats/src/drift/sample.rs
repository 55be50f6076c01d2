//! Numbers as they are, sorted: distances of two samples without bins.

use crate::interval::Estimate;
use crate::quality::curve::{Area, Curve};
use crate::sum::{Moments, Sum};

/// Pairs of rows up to which the probability of a Kolmogorov-Smirnov statistic is exact.
const EXACT_PAIRS_MAX: usize = 4_000_000;

/// Numbers, sorted; infinities are numbers, NaN counts as missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    sorted: Vec<f64>,
    missing: usize,
}

/// The two-sample Kolmogorov-Smirnov test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ks {
    /// The greatest difference of the two distribution functions.
    pub statistic: f64,
    /// The probability of at least so much, had nothing changed, were there no ties.
    pub p: f64,
}

impl Sample {
    /// Sorts them.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut missing = 0;
        let mut sorted: Vec<f64> = values
            .into_iter()
            .inspect(|it| missing += usize::from(it.is_nan()))
            .filter(|it| !it.is_nan())
            .collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { sorted, missing }
    }

    /// From the least to the greatest.
    pub fn sorted(&self) -> &[f64] {
        &self.sorted
    }

    /// Values that were NaN.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// The standard deviation, of the sample itself (n in the denominator); none where it is not finite.
    pub fn deviation(&self) -> Option<f64> {
        let mut moments = Moments::default();
        for value in &self.sorted {
            if !value.is_finite() {
                return None;
            }
            moments.add(*value);
        }
        (moments.count > 0).then(|| (moments.spread() / moments.count as f64).max(0.0).sqrt())
    }

    /// Calls `each` with every distinct value of both, ascending, and how often each of the two has it.
    fn merge(&self, other: &Self, mut each: impl FnMut(f64, usize, usize)) {
        let (mut a, mut b) = (&self.sorted[..], &other.sorted[..]);
        while let Some(value) = match (a.first(), b.first()) {
            (Some(x), Some(y)) => Some(x.min(*y)),
            (Some(x), None) | (None, Some(x)) => Some(*x),
            (None, None) => None,
        } {
            let of = |sorted: &[f64]| sorted.iter().take_while(|it| **it == value).count();
            let (here, there) = (of(a), of(b));
            each(value, here, there);
            a = &a[here..];
            b = &b[there..];
        }
    }

    /// This as the reference, and what is current; none where one is empty.
    pub fn ks(&self, current: &Self) -> Option<Ks> {
        let (n, m) = (self.sorted.len(), current.sorted.len());
        if n == 0 || m == 0 {
            return None;
        }
        let (mut here, mut there) = (0_u128, 0_u128);
        // Whole numbers, so that equal steps are equal: the difference times n m.
        let mut most = 0_u128;
        self.merge(current, |_, a, b| {
            here += a as u128;
            there += b as u128;
            most = most.max((here * m as u128).abs_diff(there * n as u128));
        });
        let statistic = most as f64 / (n as f64 * m as f64);
        let exact = n.saturating_mul(m) <= EXACT_PAIRS_MAX;
        let p = if exact {
            exact_p(n, m, most)
        } else {
            let rows = n as f64 * m as f64 / (n as f64 + m as f64);
            kolmogorov_above(statistic, rows)
        };
        Some(Ks { statistic, p })
    }

    /// The first Wasserstein distance: how far the average row would have to move. None where one is empty or has
    /// infinite values.
    pub fn wasserstein(&self, current: &Self) -> Option<f64> {
        let ends = [&self.sorted, &current.sorted].map(|it| Some((*it.first()?, *it.last()?)));
        let finite = |it: &Option<(f64, f64)>| it.is_some_and(|(a, b)| (b - a).is_finite());
        if !ends.iter().all(finite) {
            return None;
        }
        let (n, m) = (self.sorted.len() as f64, current.sorted.len() as f64);
        let (mut here, mut there, mut last) = (0.0, 0.0, None);
        let mut sum = Sum::default();
        self.merge(current, |value, a, b| {
            if let Some(last) = last {
                let difference: f64 = here / n - there / m;
                sum.add(difference.abs() * (value - last));
            }
            here += a as f64;
            there += b as f64;
            last = Some(value);
        });
        Some(sum.value())
    }

    /// The probability that a current value is greater than a reference one, a tie counting half: 0.5 where nothing
    /// changed. Its interval is DeLong's. None where one is empty.
    pub fn auc_effect(&self, current: &Self, level: f64) -> Option<Estimate> {
        Some(self.area(current)?.estimate(level))
    }

    /// The same with its standard error.
    pub(super) fn area(&self, current: &Self) -> Option<Area> {
        let (n, m) = (self.sorted.len() as u64, current.sorted.len() as u64);
        if n == 0 || m == 0 {
            return None;
        }
        let mut ties = Vec::new();
        self.merge(current, |_, a, b| ties.push((b as u64, a as u64)));
        let mut curve = Curve::new(m, n);
        for (positives, negatives) in ties.into_iter().rev() {
            curve.push(positives, negatives);
        }
        curve.area()
    }
}

/// The probability that two samples of one distribution, without ties, differ by at least `most / (n m)` somewhere:
/// a walk over the lattice of their ranks, in which every order is as likely. The share of walks that leave the
/// band comes from the shares of their last steps, so that nothing is subtracted; Hodges, Ark. Mat. 3 (1958), 469-486.
fn exact_p(n: usize, m: usize, most: u128) -> f64 {
    if most == 0 {
        return 1.0;
    }
    let outside =
        |i: usize, j: usize| (i as u128 * m as u128).abs_diff(j as u128 * n as u128) >= most;
    let mut left: Vec<f64> = (0..=m).map(|j| f64::from(outside(0, j))).collect();
    // Once out, always out.
    for j in 1..=m {
        left[j] = left[j].max(left[j - 1]);
    }
    for i in 1..=n {
        left[0] = left[0].max(f64::from(outside(i, 0)));
        for j in 1..=m {
            let steps = (i + j) as f64;
            left[j] = if outside(i, j) {
                1.0
            } else {
                i as f64 / steps * left[j] + j as f64 / steps * left[j - 1]
            };
        }
    }
    left[m]
}

/// The same for many rows: Kolmogorov's distribution with Stephens's correction, J. R. Stat. Soc. B 32 (1970),
/// 115-122.
fn kolmogorov_above(statistic: f64, rows: f64) -> f64 {
    let root = rows.sqrt();
    let x = statistic * (root + 0.12 + 0.11 / root);
    if x < 0.2 {
        return 1.0;
    }
    if x < 1.0 {
        // The other series of the same function, which is quick where this one is not.
        let terms = (0..20).map(|k| {
            let odd = f64::from(2 * k + 1) * std::f64::consts::PI / x;
            (-odd * odd / 8.0).exp()
        });
        let below = (2.0 * std::f64::consts::PI).sqrt() / x * terms.sum::<f64>();
        return (1.0 - below).clamp(0.0, 1.0);
    }
    let terms = (1..100).map(|k| {
        let sign = if k % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * f64::from(k * k) * x * x).exp()
    });
    terms.sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values.iter().copied())
    }

    fn near(a: f64, b: f64, within: f64) {
        assert!((a - b).abs() <= within, "{a} is not {b}");
    }

    #[test]
    fn by_hand() {
        let (a, b) = (sample(&[1.0, 2.0, 3.0]), sample(&[2.0, 3.0, 4.0]));
        let ks = a.ks(&b).unwrap();
        near(ks.statistic, 1.0 / 3.0, 1e-15);
        near(ks.p, 1.0, 1e-15);
        near(a.wasserstein(&b).unwrap(), 1.0, 1e-15);
        // Of nine pairs six are greater and two tie.
        near(a.auc_effect(&b, 0.95).unwrap().value, 7.0 / 9.0, 1e-15);
        near(a.deviation().unwrap(), (2_f64 / 3.0).sqrt(), 1e-15);
    }

    #[test]
    fn apart_they_are_as_far_as_can_be() {
        let (a, b) = (
            sample(&[1.0, 2.0, 3.0, 4.0]),
            sample(&[11.0, 12.0, 13.0, 14.0]),
        );
        let ks = a.ks(&b).unwrap();
        assert_eq!(ks.statistic, 1.0);
        // Two of the 70 orders of eight values.
        near(ks.p, 2.0 / 70.0, 1e-15);
        near(a.wasserstein(&b).unwrap(), 10.0, 1e-12);
        assert_eq!(a.auc_effect(&b, 0.95).unwrap().value, 1.0);
    }

    #[test]
    fn the_two_ways_to_a_probability_meet() {
        for most in [200_u128, 300, 400, 500] {
            let most = most * 100;
            let (n, m) = (1000, 900);
            let rows = n as f64 * m as f64 / (n + m) as f64;
            let statistic = most as f64 / (n * m) as f64;
            near(exact_p(n, m, most), kolmogorov_above(statistic, rows), 0.01);
        }
        near(
            kolmogorov_above(0.999_999 / 1e3, 1e6),
            kolmogorov_above(1.000_001 / 1e3, 1e6),
            1e-4,
        );
    }

    #[test]
    fn nothing_infinite_and_missing() {
        let (none, some) = (sample(&[f64::NAN]), sample(&[1.0]));
        assert_eq!((none.missing(), none.sorted().len()), (1, 0));
        assert!(none.ks(&some).is_none() && none.wasserstein(&some).is_none());
        assert!(some.auc_effect(&none, 0.95).is_none());
        assert!(none.deviation().is_none());
        let far = sample(&[f64::NEG_INFINITY, 1.0, f64::INFINITY]);
        assert!(far.wasserstein(&some).is_none() && far.deviation().is_none());
        near(far.ks(&some).unwrap().statistic, 1.0 / 3.0, 1e-15);
        near(far.auc_effect(&some, 0.95).unwrap().value, 0.5, 1e-15);
        let zeros = sample(&[0.0, -0.0]);
        assert_eq!(zeros.ks(&sample(&[-0.0])).unwrap().statistic, 0.0);
    }
}
