//! One share: how sure one can be of it at all times, and whether it is over a budget.
//!
//! The mixture of likelihood ratios by a uniform prior, which is a martingale that starts at 1: Robbins, Ann. Math.
//! Stat. 41 (1970), 1397-1409; Howard, Ramdas, McAuliffe & Sekhon, Ann. Stat. 49 (2021), 1055-1080, section 3.

use serde::{Deserialize, Serialize};

use super::{Reading, Risks, Seen, Verdict, check_risk};
use crate::gamma::{bisect, ln_gamma};
use crate::interval::Estimate;

/// Units, and how many of them had the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All of them.
    pub units: u64,
    /// Those with the event; at most `units`.
    pub events: u64,
}

impl Tally {
    /// More events than units are a mistake of the caller's.
    pub fn new(units: u64, events: u64) -> Self {
        assert!(events <= units, "more events than units");
        Self { units, events }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            units: self.units + other.units,
            events: self.events + other.events,
        }
    }

    /// The share of events; 0 without units.
    pub fn share(self) -> f64 {
        self.events as f64 / self.units.max(1) as f64
    }

    pub(super) fn seen(self) -> Seen {
        Seen {
            units: self.units,
            events: Some(self.events),
            mean: self.share(),
        }
    }

    fn counts(self) -> (f64, f64) {
        (self.events as f64, (self.units - self.events) as f64)
    }
}

/// The logarithm of the e-value against the share being exactly this; finite where `share` is strictly between 0 and 1.
pub fn ln_evidence(tally: Tally, share: f64) -> f64 {
    ln_mixture(tally) - ln_likelihood(tally, share)
}

/// The share with the interval that covers it at all times at once with probability `1 - alpha`. Exact for any number
/// of units. Without units the value is 0, without an interval.
pub fn share(tally: Tally, alpha: f64) -> Estimate {
    check_risk(alpha);
    if tally.units == 0 {
        return Estimate::bare(0.0);
    }
    // The evidence is convex in the share, and below 0 at its value.
    let (value, least) = (tally.share(), ln_mixture(tally) + alpha.ln());
    let is_outside = |it: f64| ln_likelihood(tally, it) <= least;
    let low = match tally.events {
        0 => 0.0,
        _ => bisect(0.0, value, is_outside),
    };
    let high = match tally.units - tally.events {
        0 => 1.0,
        _ => bisect(value, 1.0, |it| !is_outside(it)),
    };
    Estimate::between(value, low, high)
}

/// The logarithm of the likelihood, averaged over all shares.
fn ln_mixture(tally: Tally) -> f64 {
    let (events, others) = tally.counts();
    ln_gamma(1.0 + events) + ln_gamma(1.0 + others) - ln_gamma(2.0 + events + others)
}

fn ln_likelihood(tally: Tally, share: f64) -> f64 {
    let (events, others) = tally.counts();
    let ln_other = if others > 0.0 {
        others * (-share).ln_1p()
    } else {
        0.0
    };
    times_ln(events, share) + ln_other
}

/// Whether the share of events is over what is allowed, a number strictly between 0 and 1: latency is over its budget at
/// the 99th percentile where more than 1 % of answers are slower. It passes once the share is shown to be less. The
/// difference is the share, with its interval at the risk of failing.
pub fn over(tally: Tally, allowed: f64, risks: Risks) -> Reading {
    let evidence = ln_over(tally, allowed);
    read_as(tally, risks, evidence)
}

/// The same where the logarithms of the e-values against "not over" and "over" are these.
pub(super) fn read_as(tally: Tally, risks: Risks, (ln_worse, ln_sound): (f64, f64)) -> Reading {
    let risks = risks.checked();
    Reading {
        verdict: match tally.units {
            0 => Verdict::NoData,
            _ => risks.verdict(ln_worse, ln_sound),
        },
        candidate: tally.seen(),
        control: None,
        ln_evidence: ln_worse,
        difference: share(tally, risks.fail),
    }
}

/// The logarithms of the e-values against "not over what is allowed" and "over it".
pub(super) fn ln_over(tally: Tally, allowed: f64) -> (f64, f64) {
    assert!(
        allowed > 0.0 && allowed < 1.0,
        "a share to hold is strictly between 0 and 1"
    );
    // The least over all shares that the claim allows: that at the share seen, where it is among them.
    let (seen, at_edge) = (tally.share(), ln_evidence(tally, allowed));
    let inside = if tally.units == 0 {
        0.0
    } else {
        ln_evidence(tally, seen)
    };
    if seen > allowed {
        (at_edge, inside)
    } else {
        (inside, at_edge)
    }
}

/// `count * ln(x)`, which is 0 where there is nothing to count.
pub(super) fn times_ln(count: f64, x: f64) -> f64 {
    if count > 0.0 { count * x.ln() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, want: f64) {
        assert!(
            (got - want).abs() <= 1e-9 * want.abs().max(1e-3),
            "{got}, not {want}"
        );
    }

    /// One event in two: `B(2, 2) = 1/6`, so at one half the e-value is `(1/6) / (1/4)`.
    #[test]
    fn evidence_by_hand() {
        near(ln_evidence(Tally::new(2, 1), 0.5), (2.0f64 / 3.0).ln());
        // None in three: `1/4` over `(1 - p)^3`.
        near(ln_evidence(Tally::new(3, 0), 0.2), (0.25f64 / 0.512).ln());
        assert_eq!(ln_evidence(Tally::default(), 0.3), 0.0);
    }

    /// Without events `1 / ((n + 1) (1 - p)^n) = 1 / alpha` at the upper end.
    #[test]
    fn the_ends_without_events_and_of_events_alone() {
        let high = 1.0 - (0.05f64 / 101.0).powf(0.01);
        let none = share(Tally::new(100, 0), 0.05);
        assert_eq!((none.value, none.low), (0.0, Some(0.0)));
        near(none.high.unwrap(), high);
        let all = share(Tally::new(100, 100), 0.05);
        assert_eq!((all.value, all.high), (1.0, Some(1.0)));
        near(all.low.unwrap(), 1.0 - high);
        assert_eq!(share(Tally::default(), 0.05), Estimate::bare(0.0));
    }

    #[test]
    fn at_each_end_the_evidence_is_one_over_alpha() {
        for (units, events) in [
            (10, 3),
            (1_000, 1),
            (1_000_000, 10_000),
            (5_000_000_000, 17),
        ] {
            let tally = Tally::new(units, events);
            let got = share(tally, 0.01);
            for end in [got.low.unwrap(), got.high.unwrap()] {
                let evidence = ln_evidence(tally, end);
                assert!(
                    (evidence - 100f64.ln()).abs() < 1e-3,
                    "{tally:?}: {evidence} at {end}"
                );
            }
        }
    }

    #[test]
    fn a_budget_is_kept_broken_or_not_yet_known() {
        let risks = Risks {
            fail: 0.01,
            pass: 0.05,
        };
        let verdict = |units, events| over(Tally::new(units, events), 0.01, risks).verdict;
        assert_eq!(verdict(0, 0), Verdict::NoData);
        assert_eq!(verdict(100, 1), Verdict::Inconclusive);
        assert_eq!(verdict(100, 20), Verdict::Fail);
        assert_eq!(verdict(5_000, 10), Verdict::Pass);
        let none = over(Tally::default(), 0.01, risks);
        assert_eq!((none.ln_evidence, none.evidence()), (0.0, 1.0));
        // All are slow, all are fast: finite.
        assert!(
            over(
                Tally::new(u64::from(u32::MAX), u64::from(u32::MAX)),
                0.01,
                risks
            )
            .evidence()
            .is_finite()
        );
        assert!(over(Tally::new(7, 0), 0.01, risks).ln_evidence.is_finite());
    }
}
