//! Statistics that stay valid while people look: of a version against the one that serves, for as long as it takes.
//!
//! R1. A statement holds at all times at once: with probability `alpha` at most is it ever wrong, however often it is
//!     looked at and whenever one stops. So a controller may ask after every request.
//! R2. State is a few plain numbers, whatever the traffic. Written down and read back, it goes on as if nothing
//!     had happened, but for the last bit of a number where the reader of the text rounds.
//! R3. The two arms are compared at the same time: a candidate with a concurrent control of its size, window by window.
//!     Then a base rate that changes changes both. Compared with all that the incumbent served, a ramp alone
//!     makes a difference (Simpson's paradox).
//! R4. A unit is what was assigned, so a key: requests of one key go together, and are one unit.
//! R5. What no number can be said of is [`Verdict::NoData`] or `None`, never a guess.
//!
//! Which to choose: for events (wrong answers) [`rates`], which is exact; for those that may come together, as what
//! waits in one queue (errors, answers over a latency budget), [`clustered`]; for
//! values that are bounded and paired [`bounded`], exact as well; for other values [`means`], which holds in the limit
//! and so waits until there are enough; for what differs between groups [`gaps`]; for distributions over
//! a few cells [`divergence`], over numbers [`band`]; where shares move while it is measured [`strata`].

pub mod assignment;
pub mod band;
pub mod bandit;
pub mod bounded;
pub mod clustered;
pub mod cuped;
pub mod divergence;
pub mod gaps;
pub mod means;
pub mod proportion;
pub mod rates;
pub mod strata;

use crate::interval::Estimate;

/// What a look at one metric says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not worse by more than the margin.
    Pass,
    /// Worse by more than the margin.
    Fail,
    /// Neither is shown yet.
    Inconclusive,
    /// An arm has no units.
    NoData,
}

/// A verdict and the numbers it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// What they say.
    pub verdict: Verdict,
    /// What the candidate was seen doing.
    pub candidate: Seen,
    /// The same of the control; `None` where the candidate is held to a budget, not to a control.
    pub control: Option<Seen>,
    /// The logarithm of the e-value against "not worse by more than the margin"; finite. With a chance of `alpha` at
    /// most does an e-value ever reach `1 / alpha` where that is true.
    pub ln_evidence: f64,
    /// By how much the candidate's mean is greater than the control's, or its share where there is no control. An
    /// interval for people; the verdict does not come from it.
    pub difference: Estimate,
}

impl Reading {
    /// The e-value itself; the greatest number where it is greater than any.
    pub fn evidence(&self) -> f64 {
        self.ln_evidence.exp().min(f64::MAX)
    }
}

/// One arm in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Units counted.
    pub units: u64,
    /// How many of them had the event; `None` where the metric is a value.
    pub events: Option<u64>,
    /// The share of events, or the mean; 0 without units.
    pub mean: f64,
}

/// The risks of the two errors, each strictly between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Risks {
    /// Of failing, at any time, a candidate that is not worse. Where any of m metrics can fail it, each gets the m-th
    /// part of what they may together: Bonferroni's inequality.
    pub fail: f64,
    /// Of passing, at any time, one that is worse. Where all metrics must pass, none needs a part: Berger,
    /// Technometrics 24 (1982), 295-300.
    pub pass: f64,
}

impl Risks {
    fn checked(self) -> Self {
        let Self { fail, pass } = self;
        check_risk(fail);
        check_risk(pass);
        self
    }

    /// From the logarithms of the e-values against "not worse" and "worse".
    fn verdict(self, ln_worse: f64, ln_sound: f64) -> Verdict {
        if ln_worse >= -self.fail.ln() {
            Verdict::Fail
        } else if ln_sound >= -self.pass.ln() {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        }
    }
}

/// Another risk is a mistake of the caller's.
fn check_risk(risk: f64) {
    assert!(
        risk > 0.0 && risk < 1.0,
        "a risk is strictly between 0 and 1"
    );
}

/// Where the evidence is that of the least risk at which an interval still says so, it is looked for up to here: one of
/// `1e12` is as good as any.
const LN_MOST: f64 = 27.6;

#[cfg(test)]
mod tests;
