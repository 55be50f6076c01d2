//! What happened to a rollout.

use serde::{Deserialize, Serialize};

use super::command::{Deed, Person};
use super::evidence::Evidence;
use super::plan::Rollout;
use super::state::{Hold, Phase, State};
use crate::alert::Moment;
use crate::refusal::Refusal;

/// The most of a text that an event keeps: what went wrong may be told at any length.
const TEXT_CHARS_MAX: usize = 500;

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Which of its rollout's events, from 0. A second one of a number is refused, so that two who decide at the same
    /// time cannot both be followed.
    pub number: u64,
    /// When.
    pub at: Moment,
    /// Where it was.
    pub from: State,
    /// Where it is.
    pub to: State,
    /// Why.
    pub why: Why,
    /// What that rests on.
    pub evidence: Evidence,
}

/// Why something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The rules say so.
    Rules,
    /// A person wanted it.
    Person {
        /// What.
        deed: Deed,
        /// Who, and why.
        person: Person,
    },
    /// The clock was set back; all times of the rollout are with it, so that nothing is longer ago than it was.
    ClockSetBack {
        /// By how much.
        ms: i64,
    },
}

impl Event {
    /// Who wanted it, where a person did.
    pub fn person(&self) -> Option<&Person> {
        match &self.why {
            Why::Person { person, .. } => Some(person),
            Why::Rules | Why::ClockSetBack { .. } => None,
        }
    }
}

impl Rollout {
    /// An event that brings it there. Never before what happened last (R6).
    pub(super) fn event(&self, to: State, why: Why, evidence: &Evidence, now: Moment) -> Event {
        let at = match why {
            Why::ClockSetBack { .. } => now,
            Why::Rules | Why::Person { .. } => now.max(self.progress.since),
        };
        Event {
            number: self.progress.events,
            at,
            from: self.progress.state.clone(),
            to,
            why,
            evidence: evidence.clone().storable(),
        }
    }

    /// Follows an event. Refused where it is not the next one.
    pub fn apply(&mut self, event: &Event) -> Result<(), Refusal> {
        let Self { plan, progress } = self;
        if event.number != progress.events || event.from != progress.state {
            return Err(Refusal::Conflict {
                why: format!(
                    "rollout `{}` is {} after {} events, and event {} is about one that is {}",
                    plan.id(),
                    progress.state.name(),
                    progress.events,
                    event.number,
                    event.from.name()
                ),
            });
        }
        progress.events += 1;
        match &event.why {
            Why::ClockSetBack { ms } => {
                progress.since = Moment(progress.since.0.saturating_sub(*ms));
                progress.until = Moment(progress.until.0.saturating_sub(*ms));
            }
            Why::Person {
                deed: Deed::Resume, ..
            } => match progress.state.phase() {
                Some(Phase::Holding(
                    Hold::Signal { test } | Hold::NoData { test } | Hold::Errors { test },
                )) => progress.waived.push(test.clone()),
                Some(Phase::Holding(Hold::Deadline)) => {
                    progress.until = event.at.after(plan.spec().deadline.0);
                }
                _ => {}
            },
            Why::Rules | Why::Person { .. } => {}
        }
        let resumed = matches!(
            event.why,
            Why::Person {
                deed: Deed::Resume,
                ..
            }
        );
        let is_stage_new = !event.to.is_stage_of(&progress.state);
        if is_stage_new {
            progress.since = event.at;
        }
        if is_stage_new || resumed {
            progress.counted = progress.events;
        }
        progress.state = event.to.clone();
        Ok(())
    }
}

/// As much of a text as an event keeps.
pub(super) fn bounded(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
