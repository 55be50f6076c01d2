//! Whether the candidate treats groups more differently than the control does: the gap of a rate between groups.
//!
//! The gap is the greatest rate less the least, for the definitions of [`fairness`](crate::fairness): of decisions, of
//! true positives, whatever is counted. Every rate of every group, of both arms, has its interval by
//! [`proportion`](super::proportion::share), which together cover all of them (Bonferroni's inequality); so they bound
//! both gaps, for any number of units. It is careful: small groups keep it from any verdict.

use serde::{Deserialize, Serialize};

use super::proportion::{Tally, share};
use super::{Reading, Risks, Seen, Verdict};
use crate::gamma::bisect;
use crate::interval::Estimate;

/// One group, in both arms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its units and events with the candidate.
    pub candidate: Tally,
    /// The same with the control.
    pub control: Tally,
}

/// What can be said now of "the candidate's gap is not greater than the control's by more than `margin`". A group without
/// units in one of the arms is not compared; with fewer than two others there is no gap.
pub fn read(groups: &[Group], margin: f64, risks: Risks) -> Reading {
    let risks = risks.checked();
    assert!((0.0..1.0).contains(&margin), "a margin is from 0 to 1");
    let compared: Vec<Group> = groups
        .iter()
        .filter(|it| it.candidate.units > 0 && it.control.units > 0)
        .copied()
        .collect();
    let seen = |of: fn(&Group) -> Tally| Seen {
        units: compared.iter().map(|it| of(it).units).sum(),
        events: Some(compared.iter().map(|it| of(it).events).sum()),
        mean: gap(compared.iter().map(|it| of(it).share())),
    };
    let (candidate, control) = (seen(|it| it.candidate), seen(|it| it.control));
    let value = candidate.mean - control.mean;
    if compared.len() < 2 {
        return Reading {
            verdict: Verdict::NoData,
            candidate,
            control: Some(control),
            ln_evidence: 0.0,
            difference: Estimate::bare(0.0),
        };
    }
    let ends = |alpha: f64| bounds(&compared, alpha);
    let (low, high) = ends(risks.fail);
    // The ends widen with the evidence asked for.
    let ln_evidence = bisect(0.0, super::LN_MOST, |it| ends((-it).exp()).0 > margin);
    Reading {
        verdict: if low > margin {
            Verdict::Fail
        } else if ends(risks.pass).1 <= margin {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        },
        candidate,
        control: Some(control),
        ln_evidence,
        difference: Estimate::between(value, low, high),
    }
}

/// The ends of the candidate's gap less the control's, both held at once.
fn bounds(groups: &[Group], alpha: f64) -> (f64, f64) {
    // No risk is 1: an interval has ends.
    let each = (alpha / (2 * groups.len()) as f64).min(0.5);
    let of = |tally: fn(&Group) -> Tally| {
        let ends = groups.iter().map(|it| {
            let it = share(tally(it), each);
            (it.low.unwrap_or(0.0), it.high.unwrap_or(1.0))
        });
        let ends: Vec<_> = ends.collect();
        // The gap is at least what is between two intervals that do not meet, and at most what spans all of them.
        let low_most = ends.iter().map(|it| it.0).fold(0.0, f64::max);
        let high_least = ends.iter().map(|it| it.1).fold(1.0, f64::min);
        let low_least = ends.iter().map(|it| it.0).fold(1.0, f64::min);
        let high_most = ends.iter().map(|it| it.1).fold(0.0, f64::max);
        ((low_most - high_least).max(0.0), high_most - low_least)
    };
    let (candidate, control) = (of(|it| it.candidate), of(|it| it.control));
    (candidate.0 - control.1, candidate.1 - control.0)
}

fn gap(rates: impl Iterator<Item = f64>) -> f64 {
    let (least, most) = rates.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), it| {
        (least.min(it), most.max(it))
    });
    (most - least).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const RISKS: Risks = Risks {
        fail: 0.05,
        pass: 0.05,
    };

    fn group(units: u64, candidate: u64, control: u64) -> Group {
        Group {
            candidate: Tally::new(units, candidate),
            control: Tally::new(units, control),
        }
    }

    #[test]
    fn a_gap_that_grew_fails_and_one_that_did_not_passes() {
        let grew = [group(20_000, 10_000, 10_000), group(20_000, 8_000, 9_900)];
        let got = read(&grew, 0.02, RISKS);
        assert_eq!(got.verdict, Verdict::Fail);
        assert!((got.difference.value - 0.095).abs() < 1e-12 && got.evidence() > 20.0);
        assert_eq!(read(&grew, 0.095, RISKS).verdict, Verdict::Inconclusive);
        assert_eq!(read(&grew, 0.2, RISKS).verdict, Verdict::Pass);
        // It turned around: as great a gap, the other way.
        let turned = [group(20_000, 10_000, 8_000), group(20_000, 8_000, 10_000)];
        assert_eq!(read(&turned, 0.1, RISKS).verdict, Verdict::Pass);
        let few = [group(50, 25, 25), group(50, 15, 25)];
        assert_eq!(read(&few, 0.02, RISKS).verdict, Verdict::Inconclusive);
        assert_eq!(read(&grew[..1], 0.02, RISKS).verdict, Verdict::NoData);
        assert_eq!(
            read(&[grew[0], group(0, 0, 0)], 0.02, RISKS).verdict,
            Verdict::NoData
        );
        assert_eq!(read(&[], 0.02, RISKS).candidate.mean, 0.0);
    }

    /// The evidence reaches what the risk asks for where it fails.
    #[test]
    fn the_evidence_is_that_of_the_verdict() {
        for events in (8_000..9_900).step_by(100) {
            let got = read(
                &[group(20_000, 10_000, 10_000), group(20_000, events, 9_900)],
                0.02,
                RISKS,
            );
            let fails = got.verdict == Verdict::Fail;
            assert_eq!(fails, got.ln_evidence >= 20f64.ln(), "{got:?}");
        }
    }

    #[test]
    fn the_same_gap_is_never_called_greater() {
        let mut random = Random::new(8);
        let failed = (0..100).filter(|_| {
            let mut groups = [group(0, 0, 0); 3];
            (0..100).any(|_| {
                for (group, rate) in groups.iter_mut().zip([0.3, 0.4, 0.45]) {
                    for tally in [&mut group.candidate, &mut group.control] {
                        let events = (0..50).filter(|_| random.uniform() < rate).count();
                        *tally = tally.plus(Tally::new(50, events as u64));
                    }
                }
                bounds(&groups, 0.05).0 > 0.0
            })
        });
        assert!(failed.count() <= 5);
    }
}
