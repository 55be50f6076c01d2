//! Two means, arm against arm.

use ::ledger::Side;
use domain::rollout::test::Margin;
use serde::{Deserialize, Serialize};
use stats::sequential::means::{Means, Values};
use stats::sequential::{Reading, Risks};

/// Units of both arms at which the interval of a mean is narrowest.
const PLANNED: u64 = 5_000;

/// Two means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Compared {
    pub(super) means: Means,
    /// Where the margin is a part of what the control has: the same without it, to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plain: Option<Means>,
    /// The margin is so great a part of what the control has.
    pub(super) part: f64,
}

impl Compared {
    pub(super) fn new(margin: Margin) -> Self {
        match margin {
            Margin::Absolute(size) => Self {
                means: Means::new(size, PLANNED),
                plain: None,
                part: 0.0,
            },
            Margin::Relative(part) => Self {
                means: Means::new(0.0, PLANNED),
                plain: Some(Means::new(0.0, PLANNED)),
                part,
            },
        }
    }

    /// A number; the less the better.
    pub(super) fn add(&mut self, side: Side, value: f64) {
        let arm = |means: &mut Means, value: f64| {
            let values: &mut Values = match side {
                Side::Candidate => &mut means.candidate,
                Side::Control => &mut means.control,
                Side::After => return,
            };
            values.add(value);
        };
        let raised = match side {
            Side::Control => value + self.part * value.abs(),
            Side::Candidate | Side::After => value,
        };
        arm(&mut self.means, raised);
        if let Some(plain) = &mut self.plain {
            arm(plain, value);
        }
    }

    pub(super) fn read(&self, risks: Risks) -> Reading {
        self.shown(self.means.read(risks), risks)
    }

    /// A reading with the numbers that people are shown.
    pub(super) fn shown(&self, read: Reading, risks: Risks) -> Reading {
        let Some(plain) = &self.plain else {
            return read;
        };
        let shown = plain.read(risks);
        Reading {
            control: shown.control,
            difference: shown.difference,
            ..read
        }
    }
}
