//! What people may do with a rollout. Each is recorded with who did it and why.

use serde::{Deserialize, Serialize};

use super::event::{Event, Why};
use super::evidence::Evidence;
use super::plan::Rollout;
use super::state::{Hold, Phase, Reason, State};
use crate::alert::Moment;
use crate::name::Version;
use crate::refusal::Refusal;

/// The longest name of a person, and the longest reason, in bytes.
const WHO_BYTES_MAX: usize = 128;
const WHY_BYTES_MAX: usize = 1024;

/// Somebody, and why they did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Who.
    pub who: String,
    /// Why; may be empty.
    pub why: String,
}

impl Person {
    /// Refuses nobody, and more than is kept.
    pub fn check(&self) -> Result<(), Refusal> {
        let wrong = |what, why: String| Err(Refusal::Malformed { what, why });
        let (who, why) = (self.who.len(), self.why.len());
        if who == 0 || who > WHO_BYTES_MAX {
            return wrong(
                "`who`",
                format!("it has {who} bytes, want 1 to {WHO_BYTES_MAX}"),
            );
        }
        if why > WHY_BYTES_MAX {
            return wrong(
                "`why`",
                format!("it has {why} bytes, at most are {WHY_BYTES_MAX}"),
            );
        }
        Ok(())
    }
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// It goes on from where it awaits approval.
    Approve,
    /// It stays where it is. Guardrails still roll back, and so does the deadline where it does.
    Pause,
    /// It goes on from where it holds: a pause is over, the keys of a wrong split are counted anew, a signal or a
    /// test without data holds no longer, and a deadline begins again.
    Resume,
    /// The candidate gets all of the traffic whatever tests say, or has proved itself where it bakes.
    Promote,
    /// The incumbent gets all of the traffic. Where it goes back already, and waits for an incumbent that cannot be loaded,
    /// it is over at once.
    Abort,
    /// The same, as another candidate is to be rolled out.
    Supersede {
        /// Which.
        by: Version,
    },
}

impl Deed {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Abort => "abort",
            Self::Supersede { .. } => "supersede",
        }
    }
}

impl Rollout {
    /// What happens when a person wants this now; refused where it makes no sense.
    pub fn command(
        &self,
        deed: Deed,
        person: Person,
        evidence: &Evidence,
        now: Moment,
    ) -> Result<Event, Refusal> {
        person.check()?;
        let state = &self.progress.state;
        let refuse = |why: &str| {
            let (model, candidate) = (self.plan.model(), self.plan.candidate());
            let (deed, status) = (deed.name(), self.status());
            Err(Refusal::Conflict {
                why: format!("cannot {deed} `{model}:{candidate}`, which {status}: {why}"),
            })
        };
        if state.is_over() {
            return refuse("it is over; `windlass rollout start` begins another");
        }
        let to = match (deed, state, state.phase()) {
            (Deed::Supersede { .. }, State::RollingBack { .. }, _) => {
                return refuse("it goes back already");
            }
            // It waits for an incumbent that cannot be loaded; until that can, who answers goes on.
            (Deed::Abort, State::RollingBack { .. }, _) => State::Aborted {
                person: person.clone(),
            },
            (Deed::Abort, ..) => State::RollingBack {
                reason: Reason::Aborted {
                    person: person.clone(),
                },
            },
            (Deed::Supersede { by }, ..) if by == self.plan.candidate() => {
                return refuse("it is about this version already");
            }
            (Deed::Supersede { by }, ..) => State::RollingBack {
                reason: Reason::Superseded {
                    by,
                    person: person.clone(),
                },
            },
            (Deed::Promote, State::Shadow(_) | State::Step { .. }, _) => State::Promoting,
            (Deed::Promote, State::Baking, _) => State::Succeeded,
            (Deed::Promote, ..) => {
                return refuse("only a candidate that answers requests can be promoted");
            }
            (Deed::Approve, _, Some(Phase::AwaitingApproval)) => self.after_stage(),
            (Deed::Approve, ..) => return refuse("nothing awaits approval"),
            (Deed::Pause, _, Some(Phase::Holding(Hold::Paused { .. }))) => {
                return refuse("it is paused already");
            }
            (Deed::Pause, _, Some(_)) => state.in_phase(Phase::Holding(Hold::Paused {
                person: person.clone(),
            })),
            (Deed::Pause, ..) => {
                return refuse("only shadow and steps can be paused; `abort` goes back");
            }
            (Deed::Resume, _, Some(Phase::Holding(Hold::Incumbent))) => {
                return refuse(
                    "it goes on when the incumbent, to which it would go back, is loaded again",
                );
            }
            (Deed::Resume, _, Some(Phase::Holding(_))) => state.in_phase(Phase::Progressing),
            (Deed::Resume, ..) => return refuse("it does not hold"),
        };
        Ok(self.event(to, Why::Person { deed, person }, evidence, now))
    }
}
