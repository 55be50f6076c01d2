//! How sure one can be, at all times, of every quantile at once: for a plotted p99. A verdict on latency is better
//! asked of the share that is over its budget, by [`proportion::over`](super::proportion::over), which needs no quantile.
//!
//! Howard & Ramdas, Bernoulli 28 (2022), 1704-1728, equation 2: it bounds how far the share of values seen below any point
//! is from its probability. Of two arms it bounds how far apart their distributions are, and so says whether a candidate's
//! answers have drifted from the control's.

use super::{Reading, Risks, Seen, Verdict, check_risk};
use crate::gamma::bisect;
use crate::interval::Estimate;

/// Half of the band around the distribution seen, of at least `from` values; `None` before there are so many. Narrowest
/// near `from`, in relation to what would be possible; strictly valid at all.
pub fn half_width(units: u64, from: u64, alpha: f64) -> Option<f64> {
    check_risk(alpha);
    if units < from.max(1) {
        return None;
    }
    let (count, from) = (units as f64, from.max(1) as f64);
    let looks = (std::f64::consts::E * count / from).ln().ln() + 0.8 * (1_612.0 / alpha).ln();
    Some(0.85 * (looks / count).sqrt())
}

/// Between which quantiles of the values seen the true `quantile` lies: an end is `None` where it is beyond all of
/// them. `None` for both before there are `from` values.
pub fn quantiles(quantile: f64, units: u64, from: u64, alpha: f64) -> (Option<f64>, Option<f64>) {
    assert!((0.0..=1.0).contains(&quantile), "a quantile is from 0 to 1");
    let Some(half) = half_width(units, from, alpha) else {
        return (None, None);
    };
    let (low, high) = (quantile - half, quantile + half);
    ((low > 0.0).then_some(low), (high < 1.0).then_some(high))
}

/// What was seen of two arms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    /// Kolmogorov and Smirnov's distance: the most by which the shares of both arms below any point differ, from 0 to 1.
    pub distance: f64,
    /// The candidate's values.
    pub candidate: u64,
    /// The control's.
    pub control: u64,
}

/// Whether the distributions are further apart than `margin`, by that distance; each arm has its band from `from` values
/// on, and there is no verdict before. The means of what is read are not known here, and 0.
pub fn read(apart: Apart, margin: f64, from: u64, risks: Risks) -> Reading {
    let risks = risks.checked();
    let Apart {
        distance,
        candidate,
        control,
    } = apart;
    assert!((0.0..=1.0).contains(&distance), "a distance is from 0 to 1");
    // Both bands hold at once.
    let around = |alpha: f64| {
        Some(half_width(candidate, from, alpha / 2.0)? + half_width(control, from, alpha / 2.0)?)
    };
    let seen = |units| Seen {
        units,
        events: None,
        mean: 0.0,
    };
    let empty = candidate == 0 || control == 0;
    let known = around(risks.fail).zip(around(risks.pass));
    let (verdict, ln_evidence, difference) = match known {
        _ if empty => (Verdict::NoData, 0.0, Estimate::bare(0.0)),
        None => (Verdict::Inconclusive, 0.0, Estimate::bare(distance)),
        Some((half, half_pass)) => {
            let verdict = if distance - half > margin {
                Verdict::Fail
            } else if distance + half_pass <= margin {
                Verdict::Pass
            } else {
                Verdict::Inconclusive
            };
            let beyond = |it: f64| around((-it).exp()).is_some_and(|half| distance - half > margin);
            (
                verdict,
                bisect(0.0, super::LN_MOST, beyond),
                Estimate::around(distance, half).within(0.0, 1.0),
            )
        }
    };
    Reading {
        verdict,
        candidate: seen(candidate),
        control: Some(seen(control)),
        ln_evidence,
        difference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// At `units = from = 100` the first term is ln ln e = 0: 0.85 sqrt(0.8 ln(32240) / 100) = 0.24497.
    #[test]
    fn the_band_by_hand() {
        let got = half_width(100, 100, 0.05).unwrap();
        let want = 0.85 * (0.8 * 32_240f64.ln() / 100.0).sqrt();
        assert!(
            (got - want).abs() < 1e-12 && (got - 0.24497).abs() < 1e-4,
            "{got}"
        );
        assert_eq!(half_width(99, 100, 0.05), None);
        assert_eq!(quantiles(0.5, 99, 100, 0.05), (None, None));
        assert_eq!(quantiles(0.99, 100, 100, 0.05).1, None);
        let (low, high) = quantiles(0.99, 1_000_000, 100, 0.05);
        assert!(low.unwrap() > 0.985 && high.unwrap() < 0.995);
    }

    #[test]
    fn distributions_that_are_apart_are_told() {
        let risks = Risks {
            fail: 0.05,
            pass: 0.05,
        };
        let told = |distance, units| {
            let apart = Apart {
                distance,
                candidate: units,
                control: units,
            };
            read(apart, 0.1, 500, risks)
        };
        assert_eq!(told(0.0, 0).verdict, Verdict::NoData);
        assert_eq!(told(0.3, 400).verdict, Verdict::Inconclusive);
        assert_eq!(told(0.12, 1_000).verdict, Verdict::Inconclusive);
        assert_eq!(told(0.3, 10_000).verdict, Verdict::Fail);
        assert_eq!(told(0.02, 10_000).verdict, Verdict::Pass);
        let failed = told(0.3, 10_000);
        assert!(failed.evidence() >= 20.0 && failed.difference.low.unwrap() > 0.1);
        assert!(told(0.12, 1_000).evidence() < 20.0);
    }

    /// The distance of even values from their distribution, by bins: at every look, of all looks.
    #[test]
    fn it_covers_at_all_times() {
        let mut random = Random::new(5);
        let missed = (0..200).filter(|_| {
            let mut counts = [0u32; 20];
            (1..=2_000u32).any(|units| {
                counts[random.below(20)] += 1;
                let half = half_width(u64::from(units), 50, 0.2);
                let mut below = 0;
                counts.iter().zip(1u32..).any(|(count, place)| {
                    below += count;
                    let apart = f64::from(below) / f64::from(units) - f64::from(place) / 20.0;
                    half.is_some_and(|half| apart.abs() > half)
                })
            })
        });
        assert!(missed.count() <= 40);
    }
}
