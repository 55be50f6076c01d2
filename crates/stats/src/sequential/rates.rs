//! Two rates of events, and whether the candidate's is greater by more than a margin.
//!
//! Fed window by window. Each window is a bet against "not worse", laid with the rates of the windows before: the
//! likelihood under those over the likelihood under the nearest pair of rates that is not worse. The product is an
//! e-process: Turner, Ly & Grünwald, J. Stat. Plan. Inference 230 (2024), 106116, with the margin of Turner & Grünwald,
//! arXiv 2203.09785. Its expectation under any pair on the margin is at most 1, as its logarithm is concave
//! along the margin, with value and slope 0 at that nearest pair.
//!
//! R1. The rates may change from window to window in any way, as long as what makes them change meets both arms.
//! R2. How many units an arm has in a window must not depend on their outcomes. Assignment by key or by chance
//!     is so; counting what was answered until a deadline is not. Where shares change, a new window begins.
//!     A window that lacks units of an arm waits for the next ones, so that no unit of little traffic is lost: when it
//!     ends depends on numbers of units alone.
//! R3. Arms may differ in size, and a larger control finds harm with fewer of the candidate's requests, if the rates do not
//!     change much while the shares do: bets are laid on the plain rates of all windows before. But where
//!     outcomes come late, and some later than others, a window of what has come mixes times of different shares: there the
//!     control must be as large as the candidate, as both then rise together. So it must for [`difference`], the interval
//!     for people, which is of all units at once.
//! R4. The margin is part of the state: another margin is another question, asked from the start.

use serde::{Deserialize, Serialize};

use super::proportion::{Tally, share, times_ln};
use super::{Reading, Risks, Verdict, means};
use crate::gamma::bisect;
use crate::interval::Estimate;

/// The comparison so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// What is not yet worse, as a difference of rates; strictly between -1 and 1, and 0 or more where it is asked
    /// whether a candidate is sound.
    pub margin: f64,
    /// Units and events of the candidate in all windows that have ended.
    pub candidate: Tally,
    /// The same of the control.
    pub control: Tally,
    /// The logarithm of the e-value against "the candidate's rate is not greater by more than the margin".
    pub ln_worse: f64,
    /// The greatest that it ever was. A failure is one for good.
    pub ln_worse_max: f64,
    /// The logarithm of the e-value against "the candidate's rate is greater by the margin or more". What passes is asked
    /// of the newest, not of the greatest: a candidate that turned bad has not passed.
    pub ln_sound: f64,
    /// The candidate and the control in the window that has not ended.
    pub waiting: [Tally; 2],
}

impl Rates {
    /// No windows yet.
    pub fn new(margin: f64) -> Self {
        assert!(
            margin > -1.0 && margin < 1.0,
            "a margin is strictly between -1 and 1"
        );
        Self {
            margin,
            candidate: Tally::default(),
            control: Tally::default(),
            ln_worse: 0.0,
            ln_worse_max: 0.0,
            ln_sound: 0.0,
            waiting: [Tally::default(); 2],
        }
    }

    /// Counts what came to both arms in one stretch of time. Gives the window that ended with it (R2): the candidate and the
    /// control.
    pub fn add(&mut self, candidate: Tally, control: Tally) -> Option<[Tally; 2]> {
        let [before, before_control] = std::mem::take(&mut self.waiting);
        let window = [before.plus(candidate), before_control.plus(control)];
        let [candidate, control] = window;
        if candidate.units == 0 || control.units == 0 {
            self.waiting = window;
            return None;
        }
        let rates = (rate_before(self.candidate), rate_before(self.control));
        // The first rates are made up, and no bet is laid on them.
        if self.candidate.units > 0 && self.control.units > 0 {
            self.ln_worse += ln_factor(candidate, control, rates, self.margin);
            let turned = (rates.1, rates.0);
            self.ln_sound += ln_factor(control, candidate, turned, -self.margin);
        }
        self.ln_worse_max = self.ln_worse_max.max(self.ln_worse);
        self.candidate = self.candidate.plus(candidate);
        self.control = self.control.plus(control);
        Some(window)
    }

    /// What can be said now. Its interval is at the risk of failing.
    pub fn read(&self, risks: Risks) -> Reading {
        self.read_as(risks, self.ln_worse_max, self.ln_sound)
    }

    /// The same where the evidence is this.
    pub(super) fn read_as(&self, risks: Risks, ln_worse: f64, ln_sound: f64) -> Reading {
        let risks = risks.checked();
        let [candidate, control] = self.seen();
        let empty = candidate.units == 0 || control.units == 0;
        Reading {
            verdict: if empty {
                Verdict::NoData
            } else {
                risks.verdict(ln_worse, ln_sound)
            },
            candidate: candidate.seen(),
            control: Some(control.seen()),
            ln_evidence: ln_worse,
            difference: difference(candidate, control, risks.fail),
        }
    }

    /// Units and events of the candidate and the control, all that came.
    fn seen(&self) -> [Tally; 2] {
        [
            self.candidate.plus(self.waiting[0]),
            self.control.plus(self.waiting[1]),
        ]
    }
}

/// Events and others that both arms must have before a difference of their rates is taken for a difference of means.
/// Where fewer will do, rare events are called different at 30 % instead of 5 %.
pub const EVENTS_MIN: u64 = 20;

/// Units of both arms together for which the interval is narrowest.
const PLANNED: u64 = 5_000;

/// The candidate's rate less the control's, with an interval that covers it at all times with probability
/// `1 - alpha`: that of [`means`] from [`EVENTS_MIN`] events and others in each arm, before that those of both rates,
/// which is wider and exact. Without an interval where an arm is empty.
pub fn difference(candidate: Tally, control: Tally, alpha: f64) -> Estimate {
    let value = candidate.share() - control.share();
    let enough = |it: Tally| it.events.min(it.units - it.events) >= EVENTS_MIN;
    if enough(candidate) && enough(control) {
        // The unbiased variance of a mean of zeros and ones.
        let error = |it: Tally| it.share() * (1.0 - it.share()) / (it.units - 1) as f64;
        let half = means::half_width(
            (error(candidate) + error(control)).sqrt(),
            candidate.units + control.units,
            alpha,
            PLANNED,
        );
        return Estimate::around(value, half).within(-1.0, 1.0);
    }
    let (one, other) = (share(candidate, alpha / 2.0), share(control, alpha / 2.0));
    let minus = |end: Option<f64>, other: Option<f64>| Some(end? - other?);
    Estimate {
        value,
        low: minus(one.low, other.high),
        high: minus(one.high, other.low),
    }
}

/// Never 0 or 1, at which a bet could lose all: the prior counts of the source, its section 4.
fn rate_before(tally: Tally) -> f64 {
    (tally.events as f64 + 0.18) / (tally.units as f64 + 0.36)
}

/// The logarithm of what a bet against "`one`'s rate is not greater than `other`'s by more than `margin`" wins. `rates`,
/// of `one` and of `other`, are known from before; where they say it is not, none is laid.
fn ln_factor(one: Tally, other: Tally, rates: (f64, f64), margin: f64) -> f64 {
    let (rate, rate_other) = rates;
    if rate <= rate_other + margin || one.units == 0 || other.units == 0 {
        return 0.0;
    }
    let (weight, weight_other) = (one.units as f64, other.units as f64);
    // The rate of `other` at which the pair on the margin is nearest: the root of a rising function, between the two
    // rates and inside of what both can be.
    let slope = |it: f64| {
        let raised = it + margin;
        weight_other * (it - rate_other) / (it * (1.0 - it))
            + weight * (raised - rate) / (raised * (1.0 - raised))
    };
    let low = rate_other.max(-margin);
    let high = (rate - margin).min(1.0).min(1.0 - margin);
    let nearest = bisect(low, high, |it| slope(it) < 0.0);
    let raised = nearest + margin;
    let won = |tally: Tally, rate: f64, claimed: f64| {
        let (events, others) = (tally.events as f64, (tally.units - tally.events) as f64);
        times_ln(events, rate / claimed) + times_ln(others, (1.0 - rate) / (1.0 - claimed))
    };
    let won = won(one, rate, raised) + won(other, rate_other, nearest);
    // At the very edge of what a rate can be: no bet rather than no number.
    if won.is_finite() { won } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const RISKS: Risks = Risks {
        fail: 0.05,
        pass: 0.05,
    };

    /// Without a margin the nearest pair has both rates at their weighted mean, so by hand:
    /// after (10, 5) and (10, 1) the rates are 5.18 / 10.36 = 1/2 and 1.18 / 10.36.
    #[test]
    fn a_bet_by_hand() {
        let mut rates = Rates::new(0.0);
        rates.add(Tally::new(10, 5), Tally::new(10, 1));
        assert_eq!((rates.ln_worse, rates.ln_sound), (0.0, 0.0));
        rates.add(Tally::new(4, 3), Tally::new(8, 2));
        let (one, other) = (0.5f64, 1.18f64 / 10.36);
        let both = (4.0 * one + 8.0 * other) / 12.0;
        let want = 3.0 * (one / both).ln()
            + (one / (1.0 - both)).ln()
            + 2.0 * (other / both).ln()
            + 6.0 * ((1.0 - other) / (1.0 - both)).ln();
        assert!(
            (rates.ln_worse - want).abs() < 1e-9,
            "{rates:?}, not {want}"
        );
        assert_eq!(rates.ln_sound, 0.0);
    }

    /// The logarithm of the expectation of one bet, in closed form, under any pair of rates.
    fn expected(
        one: Tally,
        other: Tally,
        rates: (f64, f64),
        margin: f64,
        truth: (f64, f64),
    ) -> f64 {
        // Of one unit the factor is one of two numbers, and units are independent.
        let factor = |events, others| {
            let one = |it| Tally::new(one.units, it);
            let other = |it| Tally::new(other.units, it);
            ln_factor(one(events), other(others), rates, margin)
        };
        let none = factor(0, 0);
        let per_event = factor(1, 0) - none;
        let per_event_other = factor(0, 1) - none;
        let mean = |truth: f64, gain: f64, units: u64| {
            units as f64 * (1.0 - truth + truth * gain.exp()).ln()
        };
        none + mean(truth.0, per_event, one.units) + mean(truth.1, per_event_other, other.units)
    }

    /// The heart of the claim, and with negative margins that of passing.
    #[test]
    fn no_bet_can_be_expected_to_win_where_the_candidate_is_not_worse() {
        let mut random = Random::new(7);
        for _ in 0..20_000 {
            let margin = match random.below(4) {
                0 => 0.0,
                1 => random.uniform() * 1.6 - 0.8,
                _ => (random.uniform() - 0.5) / 50.0,
            };
            let scale = [1.0, 0.1, 0.001][random.below(3)];
            let rates = (
                (random.uniform() * scale).clamp(1e-9, 1.0 - 1e-9),
                (random.uniform() * scale).clamp(1e-9, 1.0 - 1e-9),
            );
            let units = |random: &mut Random| Tally::new(1 + random.below(2_000) as u64, 0);
            let (one, other) = (units(&mut random), units(&mut random));
            let truth_other = random.uniform() * [1.0, scale][random.below(2)];
            let most = (truth_other + margin).min(1.0);
            if most < 0.0 {
                continue;
            }
            let truth = if random.below(2) == 0 {
                most
            } else {
                random.uniform() * most
            };
            let got = expected(one, other, rates, margin, (truth, truth_other));
            assert!(
                got <= 1e-6,
                "{got}: {one:?} {other:?} {rates:?} {margin} {truth} {truth_other}"
            );
        }
    }

    #[test]
    fn it_fails_passes_and_waits() {
        let after = |events, windows, margin| {
            let mut rates = Rates::new(margin);
            for _ in 0..windows {
                rates.add(Tally::new(100, events), Tally::new(100, 1));
            }
            rates.read(RISKS)
        };
        assert_eq!(after(1, 0, 0.0).verdict, Verdict::NoData);
        assert_eq!(after(1, 50, 0.0).verdict, Verdict::Inconclusive);
        assert_eq!(after(5, 50, 0.0).verdict, Verdict::Fail);
        assert_eq!(after(5, 50, 0.1).verdict, Verdict::Pass);
        assert_eq!(after(1, 100, 0.01).verdict, Verdict::Pass);
        let failed = after(5, 50, 0.0);
        assert_eq!(failed.candidate.events, Some(250));
        assert!((failed.difference.value - 0.04).abs() < 1e-12);
        assert!(failed.difference.low.unwrap() > 0.0 && failed.evidence() > 20.0);
    }

    #[test]
    fn a_failure_stays_and_a_pass_does_not() {
        let mut rates = Rates::new(0.01);
        for _ in 0..100 {
            rates.add(Tally::new(100, 1), Tally::new(100, 1));
        }
        assert_eq!(rates.read(RISKS).verdict, Verdict::Pass);
        for _ in 0..100 {
            rates.add(Tally::new(100, 9), Tally::new(100, 1));
        }
        assert_eq!(rates.read(RISKS).verdict, Verdict::Fail);
        for _ in 0..1_000 {
            rates.add(Tally::new(100, 0), Tally::new(100, 1));
        }
        assert_eq!(rates.read(RISKS).verdict, Verdict::Fail);
    }

    #[test]
    fn empty_windows_and_extreme_ones_leave_finite_numbers() {
        for margin in [-0.999, -0.002, 0.0, 0.002, 0.999] {
            let mut rates = Rates::new(margin);
            for (one, other) in [
                ((0, 0), (0, 0)),
                ((1_000_000, 1_000_000), (0, 0)),
                ((0, 0), (1_000_000, 0)),
                ((1_000_000_000, 1_000_000_000), (1_000_000_000, 0)),
                ((1_000_000_000, 0), (1_000_000_000, 1_000_000_000)),
                ((3, 0), (5, 5)),
            ] {
                rates.add(Tally::new(one.0, one.1), Tally::new(other.0, other.1));
                assert!(
                    rates.ln_worse.is_finite() && rates.ln_sound.is_finite(),
                    "{rates:?}"
                );
                let read = rates.read(RISKS);
                assert!(read.evidence().is_finite() && read.difference.value.is_finite());
            }
        }
    }
}
