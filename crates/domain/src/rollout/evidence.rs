//! What was measured of a rollout at one look. `stats` makes the verdicts; what they lead to is decided here.

use serde::{Deserialize, Serialize};

/// At this evidence ratio keys are not split as intended: the probability of it by chance, at whatever look, is one
/// in a thousand (F6: Lindon & Malek, arXiv 2011.03567).
pub const MISMATCH: f64 = 1000.0;

/// What was measured, all of it since the present stage began where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Keys that the candidate answered.
    pub keys: u64,
    /// Requests that it answered unheard.
    pub shadowed: u64,
    /// How the keys were split, since the split was last set or somebody resumed.
    pub split: Option<SplitCheck>,
    /// The tests, since the rollout began.
    pub tests: Vec<Tested>,
}

/// How keys were split between two arms that should have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitCheck {
    /// Keys of the candidate.
    pub candidate: u64,
    /// Keys of the control.
    pub control: u64,
    /// How much more probable another split makes them than the intended one.
    pub e_value: f64,
}

/// A test's outcome so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// Whether it rolls back or holds.
    pub role: Role,
    /// The test's name.
    pub name: String,
    /// What it says.
    pub verdict: Verdict,
    /// What the candidate has.
    pub candidate: Figure,
    /// What the control has, where it is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Figure>,
    /// How much stronger the evidence is that it fails than that it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e_value: Option<f64>,
    /// The interval of the difference, or of the candidate's figure where it is not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

/// What becomes of a test that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It rolls back.
    Guardrail,
    /// It holds.
    Signal,
}

/// What a test says so far, however often it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What is demanded is shown to hold.
    Pass,
    /// What is demanded is shown not to hold.
    Fail,
    /// Neither is shown.
    Inconclusive,
    /// It could not be told.
    Error {
        /// The reason.
        why: String,
        /// For how many looks in a row.
        looks: u32,
    },
    /// There is nothing to tell it of.
    NoData,
}

/// What an arm has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Of so many keys or rows.
    pub n: u64,
    /// Of a share: those of which it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// The share or the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Verdict {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Error { .. } => "error",
            Self::NoData => "no_data",
        }
    }
}

impl Evidence {
    /// Whether keys are not split as intended.
    pub fn is_mismatch(&self) -> bool {
        self.split.is_some_and(|it| it.e_value >= MISMATCH)
    }

    /// The outcome of the test of this name and role.
    pub fn of(&self, role: Role, name: &str) -> Option<&Tested> {
        let mut tests = self.tests.iter();
        tests.find(|it| it.role == role && it.name == name)
    }

    /// The same in numbers that JSON has: the largest number for what is larger, nothing for what is none.
    pub(super) fn storable(mut self) -> Self {
        let largest = |it: f64| it.clamp(f64::MIN, f64::MAX);
        // A split that cannot be judged is not a wrong one.
        self.split = self.split.filter(|it| !it.e_value.is_nan());
        if let Some(split) = &mut self.split {
            split.e_value = largest(split.e_value);
        }
        for test in &mut self.tests {
            if let Verdict::Error { why, .. } = &mut test.verdict {
                *why = super::event::bounded(why);
            }
            let is_number = |it: &f64| !it.is_nan();
            test.e_value = test.e_value.filter(is_number).map(largest);
            let control = test.control.iter_mut();
            for figure in control.chain([&mut test.candidate]) {
                figure.value = figure.value.filter(|it| it.is_finite());
            }
            let ends = test
                .interval
                .filter(|it| !it.low.is_nan() && !it.high.is_nan());
            test.interval = ends.map(|it| Interval {
                low: largest(it.low),
                high: largest(it.high),
            });
        }
        self
    }
}
