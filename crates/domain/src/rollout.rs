//! The guarded move of a model's traffic from one version to another.
//!
//! R1. The split that is served is the one of the stored state: a state is appended before it is routed, so that a
//!     process which ends in between routes the same when it begins again. Only a candidate that rules send back while
//!     it is asked is asked no more before that is appended ([`Rollout::withdraws`]): the disk may be slow, or full.
//! R2. A candidate is compared with a control of its own size at the same time, never with all that the
//!     incumbent answers or has answered before.
//! R3. A guardrail that fails rolls back. A signal that fails, a split that is not the intended one and data that
//!     must be there and is not hold.
//! R4. Only a passed test promotes: not failing is not passing.
//! R5. Every live state ends: by its tests, by its deadline, or by a person, whom every live state obeys. What goes back
//!     does so when its incumbent answers, and at once where that cannot be loaded and nobody hears the candidate; where the candidate is heard, a person may end it.
//! R6. A clock that was set back never moves a rollout on.
//! R7. Every change is an [`Event`] with what it rests on; the events in their order are the rollout.
//!
//! [`spec`] is what an owner says, [`mod@test`] what may be tested, [`recorded`] what is, [`traffic`] the shares and [`assign`] who gets
//! what; [`evidence`] is what was measured, [`state`] where a rollout is, [`decide`] what is next, [`command`] what
//! people may do, [`event`] what happened, and [`words`] how all of it is told.

pub mod assign;
pub mod command;
pub mod decide;
pub mod event;
pub mod evidence;
pub mod plan;
pub mod recorded;
pub mod spec;
pub mod state;
pub mod test;
pub mod traffic;
pub mod words;

pub use event::Event;
pub use plan::{Plan, Rollout, RolloutId};
pub use spec::Spec;
pub use state::State;

#[cfg(test)]
mod tests;
