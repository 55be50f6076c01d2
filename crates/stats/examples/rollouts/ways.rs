//! The ways in which a rollout is judged, each shown one minute after the other.

use std::collections::VecDeque;

use stats::sequential::clustered::{ClusteredRates, Waves};
use stats::sequential::means::{Means, Values};
use stats::sequential::proportion::Tally;
use stats::sequential::{Risks, Verdict};

/// The parts of a minute in which units are counted. A server counts by the second; tests of events that come alone say
/// nearly the same, and it takes a tenth of the time.
pub(crate) const PARTS: usize = 6;

/// In parts of a minute, as the server has it for errors: batches of 20 seconds.
pub(crate) const WAVES: Waves = Waves {
    usual: 1,
    longest: 2,
};

/// What came in one minute.
pub(crate) struct Minute {
    pub(crate) candidate: Arm,
    /// The concurrent control, of the candidate's size.
    pub(crate) control: Arm,
    /// What the incumbent served besides.
    pub(crate) rest: Arm,
}

#[derive(Default)]
pub(crate) struct Arm {
    pub(crate) errors: [Tally; PARTS],
    pub(crate) slow: [Tally; PARTS],
    /// Losses of the answers whose labels have come.
    pub(crate) losses: Vec<f64>,
}

/// All of a minute.
pub(crate) fn sum(parts: [Tally; PARTS]) -> Tally {
    parts.iter().fold(Tally::default(), |sum, it| sum.plus(*it))
}

/// Says whether to roll back.
pub(crate) type Way = Box<dyn FnMut(&Minute) -> bool>;

pub(crate) const GUARDRAILS: f64 = 3.0;

/// Each of the guardrails gets its part of `alpha`.
pub(crate) fn all() -> Vec<(&'static str, Way)> {
    vec![
        ("windlass 1 %", windlass(0.01, Control::Concurrent)),
        ("windlass 5 %", windlass(0.05, Control::Concurrent)),
        ("windlass 1 %, all as control", windlass(0.01, Control::All)),
        ("peeked z", peeked(0.01, Control::Concurrent)),
        ("peeked z, all as control", peeked(0.01, Control::All)),
        ("argo", threshold(0.05, 5, 4)),
        ("argo, tuned", threshold(0.02, 5, 4)),
        ("flagger", threshold(0.01, 1, 5)),
    ]
}

/// Whom the candidate is compared with.
#[derive(Clone, Copy)]
pub(crate) enum Control {
    Concurrent,
    /// All that the incumbent served.
    All,
}

impl Control {
    fn tally(self, minute: &Minute, of: impl Fn(&Arm) -> [Tally; PARTS]) -> [Tally; PARTS] {
        let (control, rest) = (of(&minute.control), of(&minute.rest));
        match self {
            Self::Concurrent => control,
            Self::All => std::array::from_fn(|it| control[it].plus(rest[it])),
        }
    }
}

/// Errors and slow answers by their rates, losses by their means; no margin.
fn windlass(alpha: f64, control: Control) -> Way {
    let risks = Risks {
        fail: alpha / GUARDRAILS,
        pass: alpha,
    };
    let mut errors = ClusteredRates::new(0.0, WAVES);
    let mut slow = ClusteredRates::new(0.0, WAVES);
    let mut losses = Means::new(0.0, 5_000);
    let mut number = 0;
    Box::new(move |minute| {
        let (of_errors, of_slow) = (
            control.tally(minute, |it| it.errors),
            control.tally(minute, |it| it.slow),
        );
        for part in 0..PARTS {
            errors.add(number, minute.candidate.errors[part], of_errors[part]);
            slow.add(number, minute.candidate.slow[part], of_slow[part]);
            number += 1;
        }
        add(&mut losses.candidate, &minute.candidate.losses);
        add(&mut losses.control, &minute.control.losses);
        let read = [errors.read(risks), slow.read(risks), losses.read(risks)];
        read.iter().any(|it| it.verdict == Verdict::Fail)
    })
}

fn add(values: &mut Values, losses: &[f64]) {
    losses.iter().for_each(|it| values.add(*it));
}

/// One-sided tests of all that has come so far, as if each look were the only one.
fn peeked(alpha: f64, control: Control) -> Way {
    let z = stats::interval::normal_quantile(1.0 - alpha / GUARDRAILS);
    let mut tallies = [(Tally::default(), Tally::default()); 2];
    let mut losses = (Values::default(), Values::default());
    Box::new(move |minute| {
        let of: [fn(&Arm) -> [Tally; PARTS]; 2] = [|it| it.errors, |it| it.slow];
        let rates = tallies.iter_mut().zip(of).any(|(tally, of)| {
            tally.0 = tally.0.plus(sum(of(&minute.candidate)));
            tally.1 = tally.1.plus(sum(control.tally(minute, of)));
            of_rates(tally.0, tally.1) > z
        });
        add(&mut losses.0, &minute.candidate.losses);
        add(&mut losses.1, &minute.control.losses);
        rates || of_means(&losses.0, &losses.1) > z
    })
}

/// The usual statistic of two shares, pooled; 0 where it has no value.
fn of_rates(one: Tally, other: Tally) -> f64 {
    let both = one.plus(other).share();
    let (units, units_other) = (one.units as f64, other.units as f64);
    let error = (both * (1.0 - both) * (1.0 / units + 1.0 / units_other)).sqrt();
    let z = (one.share() - other.share()) / error;
    if z.is_finite() { z } else { 0.0 }
}

pub(crate) fn of_means(one: &Values, other: &Values) -> f64 {
    let error = |it: &Values| it.variance().map(|variance| variance / it.units as f64);
    let Some((error, error_other)) = error(one).zip(error(other)) else {
        return 0.0;
    };
    let z = (one.mean - other.mean) / (error + error_other).sqrt();
    if z.is_finite() { z } else { 0.0 }
}

/// The candidate's error rate over the last `minutes`, looked at that often, against a number; rolls back with the
/// `failures`-th look that is above it. A window without requests is not looked at.
fn threshold(most: f64, minutes: usize, failures: usize) -> Way {
    let mut window = VecDeque::new();
    let (mut seen, mut failed) = (0, 0);
    Box::new(move |minute| {
        window.push_back(sum(minute.candidate.errors));
        seen += 1;
        if window.len() > minutes {
            window.pop_front();
        }
        if seen % minutes == 0 {
            let all = window
                .iter()
                .fold(Tally::default(), |sum, it| sum.plus(*it));
            failed += usize::from(all.units > 0 && all.share() > most);
        }
        failed >= failures
    })
}
