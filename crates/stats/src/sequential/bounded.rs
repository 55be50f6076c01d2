//! The mean of values with known bounds, at all times and for any number of them: for the paired differences of a shadow,
//! which scores the very rows that the incumbent answered, and for losses and costs with a limit.
//!
//! The predictable plug-in empirical-Bernstein confidence sequence: Waudby-Smith & Ramdas, J. R. Stat. Soc. B 86 (2024),
//! 1-27, theorem 2. What is covered is the mean of the values to be expected, weighted as the values are, so the truth
//! may drift; the narrower running intersection of all intervals so far is only for one that does not, and is not taken.

use serde::{Deserialize, Serialize};

use super::{Reading, Risks, Seen, Verdict, check_risk};
use crate::interval::Estimate;

/// The mean so far, in seven numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounded {
    /// The risk that the interval ever misses the mean. Bets are laid for it; readings at other risks are as valid.
    pub alpha: f64,
    /// Values counted.
    pub units: u64,
    /// Their sum.
    pub sum: f64,
    /// The sum of squared distances, each from the mean known with it.
    pub spread: f64,
    /// The sum of the weights.
    pub weight: f64,
    /// The sum of the values, weighted.
    pub weighted: f64,
    /// What the spread costs.
    pub penalty: f64,
}

impl Bounded {
    /// Nothing seen. `alpha` is strictly between 0 and 1.
    pub fn new(alpha: f64) -> Self {
        check_risk(alpha);
        Self {
            alpha,
            units: 0,
            sum: 0.0,
            spread: 0.0,
            weight: 0.0,
            weighted: 0.0,
            penalty: 0.0,
        }
    }

    /// One more value from 0 to 1. Others, and NaN, are not counted.
    pub fn add(&mut self, value: f64) {
        if !(0.0..=1.0).contains(&value) {
            return;
        }
        let before = self.units as f64;
        let mean_before = (0.5 + self.sum) / (before + 1.0);
        let variance_before = (0.25 + self.spread) / (before + 1.0);
        let count = before + 1.0;
        let bet = 2.0 * (2.0 / self.alpha).ln() / (variance_before * count * count.ln_1p());
        let bet = bet.sqrt().min(0.5);
        self.units += 1;
        self.sum += value;
        let mean = (0.5 + self.sum) / (count + 1.0);
        self.spread += (value - mean).powi(2);
        self.weight += bet;
        self.weighted += bet * value;
        self.penalty += (value - mean_before).powi(2) * (-(-bet).ln_1p() - bet);
    }

    /// One more difference from -1 to 1, as of two losses from 0 to 1; read it with [`Bounded::difference`].
    pub fn add_difference(&mut self, difference: f64) {
        self.add((difference + 1.0) / 2.0);
    }

    /// The weighted mean with its interval. Without values 0, without an interval.
    pub fn mean(&self) -> Estimate {
        if self.units == 0 {
            return Estimate::bare(0.0);
        }
        let value = self.weighted / self.weight;
        let half = ((2.0 / self.alpha).ln() + self.penalty) / self.weight;
        Estimate::around(value, half).within(0.0, 1.0)
    }

    /// The mean of differences, with its interval.
    pub fn difference(&self) -> Estimate {
        if self.units == 0 {
            return Estimate::bare(0.0);
        }
        let back = |it: f64| 2.0 * it - 1.0;
        let mean = self.mean();
        Estimate {
            value: back(mean.value),
            low: mean.low.map(back),
            high: mean.high.map(back),
        }
    }

    /// Whether the mean is above `most`, from 0 to 1: it fails once that is shown, and passes once it is shown to be
    /// below. The interval is that of [`Bounded::mean`].
    pub fn read(&self, most: f64, risks: Risks) -> Reading {
        let risks = risks.checked();
        // Each is an e-process for as long as the mean is on its side of `most`: that of the interval's proof.
        let apart = self.weighted - most * self.weight;
        let (ln_worse, ln_sound) = (apart - self.penalty, -apart - self.penalty);
        Reading {
            verdict: match self.units {
                0 => Verdict::NoData,
                _ => risks.verdict(ln_worse, ln_sound),
            },
            candidate: Seen {
                units: self.units,
                events: None,
                mean: self.sum / self.units.max(1) as f64,
            },
            control: None,
            ln_evidence: ln_worse,
            difference: self.mean(),
        }
    }

    /// Whether the mean of differences is above `margin`, from -1 to 1.
    pub fn read_difference(&self, margin: f64, risks: Risks) -> Reading {
        let read = self.read((margin + 1.0) / 2.0, risks);
        let mean = match self.units {
            0 => 0.0,
            _ => 2.0 * read.candidate.mean - 1.0,
        };
        Reading {
            candidate: Seen {
                mean,
                ..read.candidate
            },
            difference: self.difference(),
            ..read
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// One value of 0.7 at alpha 0.05: the bet is cut to one half, and psi(1/2) = ln 2 - 1/2.
    #[test]
    fn one_value_by_hand() {
        let mut bounded = Bounded::new(0.05);
        bounded.add(0.7);
        let want = 0.04 * (2f64.ln() - 0.5);
        assert!((bounded.penalty - want).abs() < 1e-15, "{bounded:?}");
        assert!((bounded.spread - 0.01).abs() < 1e-15);
        let got = bounded.mean();
        assert!((got.value - 0.7).abs() < 1e-15);
        assert_eq!((got.low, got.high), (Some(0.0), Some(1.0)));
        for value in [f64::NAN, -0.1, 1.1] {
            let before = bounded;
            bounded.add(value);
            assert_eq!(bounded, before);
        }
    }

    /// Of 5000 pairs of which 5 % differ, by 1 in either direction, the reference has a width of 0.023 for what
    /// is the width of `y = (d + 1) / 2` here.
    #[test]
    fn paired_differences_are_known_closely_and_always_covered() {
        let mut random = Random::new(11);
        let (mut missed, mut width) = (0, 0.0);
        for _ in 0..100 {
            let mut bounded = Bounded::new(0.05);
            let mut ever = false;
            for _ in 0..5_000 {
                let chance = random.uniform();
                let difference = f64::from(chance < 0.035) - f64::from(chance > 0.985);
                bounded.add_difference(difference);
                let got = bounded.difference();
                ever |= got.low.unwrap() > 0.02 || got.high.unwrap() < 0.02;
            }
            missed += u32::from(ever);
            width +=
                (bounded.difference().high.unwrap() - bounded.difference().low.unwrap()) / 100.0;
        }
        assert_eq!(missed, 0);
        assert!((0.018..0.05).contains(&width), "{width}");
    }

    /// At the interval's lower end the evidence is `2 / alpha`, as the interval has two.
    #[test]
    fn verdicts_and_evidence() {
        let risks = Risks {
            fail: 0.05,
            pass: 0.05,
        };
        let mut random = Random::new(12);
        let mut bounded = Bounded::new(0.05);
        assert_eq!(bounded.read_difference(0.0, risks).verdict, Verdict::NoData);
        for _ in 0..5_000 {
            bounded.add_difference(f64::from(random.uniform() < 0.05));
        }
        let low = bounded.mean().low.unwrap();
        let at_low = bounded.read(low, risks);
        assert!((at_low.ln_evidence - 40f64.ln()).abs() < 1e-6, "{at_low:?}");
        let verdict = |margin| bounded.read_difference(margin, risks).verdict;
        assert_eq!(verdict(0.0), Verdict::Fail);
        assert_eq!(verdict(0.05), Verdict::Inconclusive);
        assert_eq!(verdict(0.1), Verdict::Pass);
        assert!((bounded.read_difference(0.0, risks).candidate.mean - 0.05).abs() < 0.01);
    }

    #[test]
    fn nothing_and_all_alike() {
        assert_eq!(Bounded::new(0.1).difference(), Estimate::bare(0.0));
        let mut bounded = Bounded::new(0.05);
        (0..10_000).for_each(|_| bounded.add_difference(0.0));
        let got = bounded.difference();
        assert!(
            (got.value).abs() < 1e-12 && got.high.unwrap() < 0.01,
            "{got:?}"
        );
    }
}
