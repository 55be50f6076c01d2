//! Where a rollout is, and the traffic that this means.

use serde::{Deserialize, Serialize};

use super::command::Person;
use super::plan::Plan;
use super::spec::ShadowSetting;
use super::traffic::{Shadow, Split, Traffic};
use crate::name::Version;

/// Where a rollout is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The incumbent does not answer yet.
    Pending,
    /// The candidate is loaded, and reproduces its examples.
    Validating,
    /// The candidate answers unheard.
    Shadow(Phase),
    /// The candidate answers a share of the keys.
    Step {
        /// Which of the steps, from 0.
        index: usize,
        /// What it is doing there.
        phase: Phase,
    },
    /// The candidate gets all of the traffic.
    Promoting,
    /// The candidate has all of the traffic; the incumbent stays loaded.
    Baking,
    /// The candidate has proved itself.
    Succeeded,
    /// The incumbent gets all of the traffic again.
    RollingBack {
        /// Why.
        reason: Reason,
    },
    /// The incumbent has all of the traffic again.
    RolledBack {
        /// Why.
        reason: Reason,
    },
    /// Another candidate came.
    Superseded {
        /// Which.
        by: Version,
    },
    /// A person ended it.
    Aborted {
        /// Who, and why.
        person: Person,
    },
}

/// What a rollout is doing at a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It goes on as soon as it may.
    Progressing,
    /// It stays until what holds it is gone.
    Holding(Hold),
    /// It goes on when somebody agrees.
    AwaitingApproval,
}

/// What holds a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// A signal fails.
    Signal {
        /// Which.
        test: String,
    },
    /// Keys are not split as intended, so that no comparison holds.
    Mismatch,
    /// There is nothing to tell a test of which must have data.
    NoData {
        /// Which.
        test: String,
    },
    /// A test could not be told, several looks in a row.
    Errors {
        /// Which.
        test: String,
    },
    /// The incumbent, to which it would go back, cannot be loaded.
    Incumbent,
    /// A person paused it.
    Paused {
        /// Who, and why.
        person: Person,
    },
    /// Its deadline is over.
    Deadline,
}

/// Why a rollout goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A guardrail fails.
    Guardrail {
        /// Which.
        test: String,
    },
    /// The candidate cannot be loaded, or cannot answer any longer.
    Candidate {
        /// The reason.
        why: String,
    },
    /// Its deadline is over.
    Deadline,
    /// Another candidate came.
    Superseded {
        /// Which.
        by: Version,
        /// Who brought it.
        person: Person,
    },
    /// A person ended it.
    Aborted {
        /// Who, and why.
        person: Person,
    },
}

impl Phase {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Progressing => "progressing",
            Self::Holding(_) => "holding",
            Self::AwaitingApproval => "awaiting_approval",
        }
    }
}

impl Hold {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Signal { .. } => "signal",
            Self::Mismatch => "mismatch",
            Self::NoData { .. } => "no_data",
            Self::Errors { .. } => "errors",
            Self::Incumbent => "incumbent",
            Self::Paused { .. } => "paused",
            Self::Deadline => "deadline",
        }
    }
}

impl Reason {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Guardrail { .. } => "guardrail",
            Self::Candidate { .. } => "candidate",
            Self::Deadline => "deadline",
            Self::Superseded { .. } => "superseded",
            Self::Aborted { .. } => "aborted",
        }
    }
}

impl State {
    /// The names of those in which something still happens, in their usual order.
    pub const UNDER_WAY: [&'static str; 7] = [
        "pending",
        "validating",
        "shadow",
        "step",
        "promoting",
        "baking",
        "rolling_back",
    ];
    /// The names of those in which it is over.
    pub const OVER: [&'static str; 4] = ["succeeded", "rolled_back", "superseded", "aborted"];

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Validating => "validating",
            Self::Shadow(_) => "shadow",
            Self::Step { .. } => "step",
            Self::Promoting => "promoting",
            Self::Baking => "baking",
            Self::Succeeded => "succeeded",
            Self::RollingBack { .. } => "rolling_back",
            Self::RolledBack { .. } => "rolled_back",
            Self::Superseded { .. } => "superseded",
            Self::Aborted { .. } => "aborted",
        }
    }

    /// Whether nothing happens any more.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Succeeded
            | Self::RolledBack { .. }
            | Self::Superseded { .. }
            | Self::Aborted { .. } => true,
            Self::Pending
            | Self::Validating
            | Self::Shadow(_)
            | Self::Step { .. }
            | Self::Promoting
            | Self::Baking
            | Self::RollingBack { .. } => false,
        }
    }

    /// What it is doing at its stage, where that has more than one way.
    pub fn phase(&self) -> Option<&Phase> {
        match self {
            Self::Shadow(phase) | Self::Step { phase, .. } => Some(phase),
            _ => None,
        }
    }

    /// Whether it stays where it is until something else is so, or somebody agrees.
    pub fn is_held(&self) -> bool {
        matches!(
            self.phase(),
            Some(Phase::Holding(_) | Phase::AwaitingApproval)
        )
    }

    /// The same stage in another phase; the same state where a stage has no phases.
    pub(super) fn in_phase(&self, phase: Phase) -> Self {
        match self {
            Self::Shadow(_) => Self::Shadow(phase),
            Self::Step { index, .. } => Self::Step {
                index: *index,
                phase,
            },
            other => other.clone(),
        }
    }

    /// Whether both are the same stage, whatever their phases.
    pub(super) fn is_stage_of(&self, other: &Self) -> bool {
        match other.phase() {
            Some(phase) if self.phase().is_some() => self.in_phase(phase.clone()) == *other,
            _ => self == other,
        }
    }

    /// The traffic that is served in it, and nothing else (R1 of the parent module).
    pub fn traffic(&self, plan: &Plan) -> Traffic {
        let (incumbent, candidate) = (plan.incumbent(), plan.candidate());
        match self {
            Self::Pending
            | Self::Validating
            | Self::RollingBack { .. }
            | Self::RolledBack { .. }
            | Self::Superseded { .. }
            | Self::Aborted { .. } => Traffic::all(incumbent),
            Self::Shadow(_) => Traffic {
                split: Split::All(incumbent),
                shadow: match &plan.spec().shadow {
                    ShadowSetting::Off(_) => None,
                    ShadowSetting::Sample(shadow) => Some(Shadow {
                        version: candidate,
                        sample: shadow.sample,
                    }),
                },
            },
            Self::Step { index, .. } => Traffic {
                split: Split::Compared {
                    incumbent,
                    candidate,
                    step: plan.step(*index),
                },
                shadow: None,
            },
            Self::Promoting | Self::Baking | Self::Succeeded => Traffic::all(candidate),
        }
    }

    /// The versions that must be loaded in it, the one that answers most first. The incumbent is one of them until
    /// the candidate has proved itself, so that going back is a change of the routing table alone.
    pub fn versions(&self, plan: &Plan) -> Vec<Version> {
        let (incumbent, candidate) = (plan.incumbent(), plan.candidate());
        match self {
            Self::Pending
            | Self::RollingBack { .. }
            | Self::RolledBack { .. }
            | Self::Superseded { .. }
            | Self::Aborted { .. } => vec![incumbent],
            Self::Validating | Self::Shadow(_) | Self::Step { .. } => vec![incumbent, candidate],
            Self::Promoting | Self::Baking => vec![candidate, incumbent],
            Self::Succeeded => vec![candidate],
        }
    }
}
