//! Where an experiment is and what is next: what is wanted and what is actual go in, one next action comes out.
//!
//! R1. The split that is served is the one of the stored state: a state is appended before it is routed.
//! R2. Every change is an [`Event`] with what was measured; the events in their order are the experiment, and say who had
//!     which share when.
//! R3. An experiment ends by its deadline, by a person, or when a version cannot answer. Then one version has all of the
//!     traffic: the control, unless a person says which.
//! R4. Only a bandit moves shares, no more often than it was asked to.
//! R5. What becomes known of a version is an event, each answer once: the intervals hold at all times at once, so that a
//!     later look which knows less takes nothing back.

use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::{Answer, Look, Told};
use crate::alert::Moment;
use crate::name::Version;
use crate::refusal::Refusal;
use crate::rollout::command::Person;
use crate::rollout::decide::Loaded;
use crate::rollout::traffic::{Arms, Split, Traffic};

/// The most of a text that an event keeps.
const TEXT_CHARS_MAX: usize = 500;

/// Where an experiment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its versions are being loaded; the control answers everything.
    Pending,
    /// They share the traffic.
    Running {
        /// Who has how much.
        arms: Arms,
    },
    /// One version has all of the traffic.
    Over {
        /// Why.
        reason: Reason,
        /// Which.
        version: Version,
    },
}

/// Why an experiment is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A person ended it.
    Stopped {
        /// Who, and why.
        person: Person,
    },
    /// Its time is over.
    Deadline,
    /// A version cannot be loaded, or cannot answer any longer.
    Version {
        /// Which.
        version: Version,
        /// The reason.
        why: String,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Which of its experiment's events, from 0. A second one of a number is refused.
    pub number: u64,
    /// When.
    pub at: Moment,
    /// Where it is since.
    pub to: State,
    /// What was measured.
    pub look: Look,
    /// The versions of which that says what nobody knew before (R5). Where there are any, nothing else happened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Version>,
}

/// How far an experiment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Where it is.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// How many events there were.
    pub events: u64,
    /// What became known of which version, in the order in which it did (R5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<(Version, Answer)>,
}

/// An experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// What was asked for.
    pub plan: Plan,
    /// How far it is.
    pub progress: Progress,
}

/// What is so now.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// What each version is doing, the control first.
    pub loaded: Vec<Loaded>,
    /// What is served.
    pub serving: Option<Traffic>,
    /// What was measured.
    pub look: Look,
    /// The shares that a bandit would give after that.
    pub shares: Option<Vec<f64>>,
}

/// What is next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Append this event and follow it. Nothing is done before it is on the disk.
    Append(Event),
    /// Serve this.
    Route(Traffic),
    /// Load this version. After a failure the caller takes its time.
    Load(Version),
    /// Nothing until something is so that is not.
    Wait,
    /// Nothing any more.
    Over,
}

impl State {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running { .. } => "running",
            Self::Over { reason, .. } => reason.name(),
        }
    }

    /// Whether nothing happens any more.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Over { .. } => true,
            Self::Pending | Self::Running { .. } => false,
        }
    }

    /// The traffic that is served in it, and nothing else.
    pub fn traffic(&self, plan: &Plan) -> Traffic {
        match self {
            Self::Pending => Traffic::all(plan.control()),
            Self::Running { arms } => Traffic {
                split: Split::Arms(arms.clone()),
                shadow: None,
            },
            Self::Over { version, .. } => Traffic::all(*version),
        }
    }

    /// The versions that must be loaded in it.
    pub fn versions(&self, plan: &Plan) -> Vec<Version> {
        match self {
            Self::Pending | Self::Running { .. } => plan.versions(),
            Self::Over { version, .. } => vec![*version],
        }
    }
}

impl Reason {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stopped { .. } => "stopped",
            Self::Deadline => "deadline",
            Self::Version { .. } => "version",
        }
    }
}

impl Experiment {
    /// One that begins.
    pub fn new(plan: Plan) -> Self {
        let progress = Progress {
            state: State::Pending,
            since: plan.started(),
            events: 0,
            known: Vec::new(),
        };
        Self { plan, progress }
    }

    /// The traffic that is served now.
    pub fn traffic(&self) -> Traffic {
        self.progress.state.traffic(&self.plan)
    }

    /// When it ends at the latest.
    pub fn until(&self) -> Moment {
        self.plan.started().after(self.plan.spec().deadline.0)
    }

    /// What is next.
    pub fn next(&self, facts: &Facts, now: Moment) -> Next {
        let Self { plan, progress } = self;
        let state = &progress.state;
        if state.is_over() {
            return Next::Over;
        }
        let append = |to| Next::Append(self.event(to, &facts.look, now));
        let end = |reason| {
            append(State::Over {
                reason,
                version: plan.control(),
            })
        };
        if now >= self.until() {
            return end(Reason::Deadline);
        }
        let versions = plan.versions();
        for (version, loaded) in versions.iter().zip(&facts.loaded).skip(1) {
            if let Loaded::Failed { why } = loaded {
                return end(Reason::Version {
                    version: *version,
                    why: why.chars().take(TEXT_CHARS_MAX).collect(),
                });
            }
        }
        let wanted = state.traffic(plan);
        let ready = |version: Version| {
            let place = versions.iter().position(|it| *it == version);
            place.and_then(|it| facts.loaded.get(it)) == Some(&Loaded::Ready)
        };
        let routable = wanted.versions().into_iter().all(ready);
        if routable && facts.serving.as_ref() != Some(&wanted) {
            return Next::Route(wanted);
        }
        let mut all = versions.iter().zip(&facts.loaded);
        let missing = all.find(|it| matches!(it.1, Loaded::Absent | Loaded::Failed { .. }));
        if let Some((version, _)) = missing {
            return Next::Load(*version);
        }
        match state {
            State::Pending if versions.iter().all(|it| ready(*it)) => append(State::Running {
                arms: plan.arms().clone(),
            }),
            State::Running { arms } => match self.knows(&facts.look, now) {
                Some(event) => Next::Append(event),
                None => match self.moved(arms, facts, now) {
                    Some(arms) => append(State::Running { arms }),
                    None => Next::Wait,
                },
            },
            State::Pending | State::Over { .. } => Next::Wait,
        }
    }

    /// What a look knows that was not known before (R5).
    fn knows(&self, look: &Look, now: Moment) -> Option<Event> {
        let is_new = |it: &&Told| {
            let known = (it.compared.version, it.answer);
            it.answer != Answer::NotYet && !self.progress.known.contains(&known)
        };
        let new = look.others.iter().filter(is_new);
        let known: Vec<Version> = new.map(|it| it.compared.version).collect();
        (!known.is_empty()).then(|| Event {
            known,
            ..self.event(self.progress.state.clone(), look, now)
        })
    }

    /// The shares that a bandit gives now, where they are others (R4).
    fn moved(&self, arms: &Arms, facts: &Facts, now: Moment) -> Option<Arms> {
        let every = self.plan.spec().allocation.every()?;
        let shares = facts.shares.as_ref()?;
        // Where keys are not split as intended nothing is known by which to move.
        if now < self.progress.since.after(every) || facts.look.is_void() {
            return None;
        }
        let moved = Arms::near(&self.plan.versions(), shares).ok()?;
        (moved != *arms).then_some(moved)
    }

    /// Ends it: a person wants one version to have all of the traffic, or else the control.
    pub fn stop(
        &self,
        person: Person,
        promote: Option<Version>,
        look: &Look,
        now: Moment,
    ) -> Result<Event, Refusal> {
        person.check()?;
        let model = self.plan.model();
        if self.progress.state.is_over() {
            let id = self.plan.id();
            let status = self.status();
            return Err(Refusal::Conflict {
                why: format!("experiment `{id}` of `{model}` is over: it {status}"),
            });
        }
        let versions = self.plan.versions();
        if let Some(version) = promote
            && !versions.contains(&version)
        {
            let known: Vec<String> = versions
                .iter()
                .map(|it| format!("`{model}:{it}`"))
                .collect();
            return Err(Refusal::Conflict {
                why: format!(
                    "`{model}:{version}` is not in the experiment, which compares {}",
                    known.join(", ")
                ),
            });
        }
        let to = State::Over {
            reason: Reason::Stopped { person },
            version: promote.unwrap_or(self.plan.control()),
        };
        Ok(self.event(to, look, now))
    }

    fn event(&self, to: State, look: &Look, now: Moment) -> Event {
        Event {
            number: self.progress.events,
            // A clock that was set back never makes an event older than the one before.
            at: now.max(self.progress.since),
            to,
            look: look.clone().storable(),
            known: Vec::new(),
        }
    }

    /// Follows an event. Refused where it is not the next one.
    pub fn apply(&mut self, event: &Event) -> Result<(), Refusal> {
        let Self { plan, progress } = self;
        if event.number != progress.events || progress.state.is_over() {
            return Err(Refusal::Conflict {
                why: format!(
                    "experiment `{}` is {} after {} events, and event {} is not the next",
                    plan.id(),
                    progress.state.name(),
                    progress.events,
                    event.number
                ),
            });
        }
        progress.events += 1;
        if event.known.is_empty() {
            progress.state = event.to.clone();
            progress.since = event.at;
        }
        let answers = event.answers().map(|it| (it.compared.version, it.answer));
        progress.known.extend(answers);
        Ok(())
    }

    /// Where it is, in words to follow `the experiment`.
    pub fn status(&self) -> String {
        let model = self.plan.model();
        match &self.progress.state {
            State::Pending => "waits for its versions to be loaded".to_owned(),
            State::Running { .. } => "is running".to_owned(),
            State::Over { reason, version } => {
                let why = match reason {
                    Reason::Stopped { person } => format!("was stopped by {}", person.who),
                    Reason::Deadline => "has ended, as its time is over".to_owned(),
                    Reason::Version { version, .. } => {
                        format!("has ended, as `{model}:{version}` did not answer")
                    }
                };
                format!("{why}; `{model}:{version}` has the traffic")
            }
        }
    }

    /// What is known of each version, in sentences.
    pub fn answers(&self, look: &Look) -> Vec<String> {
        let (model, spec) = (self.plan.model(), self.plan.spec());
        look.others
            .iter()
            .map(|it| it.sentence(model, spec))
            .collect()
    }
}

impl Event {
    /// Who wanted it, where a person did.
    pub fn person(&self) -> Option<&Person> {
        match &self.to {
            State::Over {
                reason: Reason::Stopped { person },
                ..
            } => Some(person),
            _ => None,
        }
    }

    /// What became known with it.
    pub fn answers(&self) -> impl Iterator<Item = &Told> {
        let others = self.look.others.iter();
        others.filter(|it| self.known.contains(&it.compared.version))
    }

    /// What happened, in a sentence: the command line, the API and the registry's events all say this one.
    pub fn sentence(&self, plan: &Plan) -> String {
        let model = plan.model();
        if !self.known.is_empty() {
            let answers = self.answers().map(|it| it.sentence(model, plan.spec()));
            return answers.collect::<Vec<_>>().join("; ");
        }
        match &self.to {
            State::Pending => format!("an experiment of `{model}` is to begin"),
            State::Running { arms } => {
                let shares = arms.shares();
                let shares = shares.iter().map(|(version, share)| {
                    format!("`{model}:{version}` {}%", f64::from(*share) / 100.0)
                });
                let shares = shares.collect::<Vec<_>>().join(", ");
                match self.number {
                    0 => format!("the keys of `{model}` are shared: {shares}"),
                    _ => format!("shares move to {shares}"),
                }
            }
            State::Over { reason, version } => {
                let mut text = match *version == plan.control() {
                    true => format!("`{model}:{version}` has all of the traffic again: "),
                    false => format!("`{model}:{version}` gets all of the traffic: "),
                };
                text.push_str(&match reason {
                    Reason::Stopped { person } if person.why.is_empty() => {
                        format!("stopped by {}", person.who)
                    }
                    Reason::Stopped { person } => {
                        format!("stopped by {}: {}", person.who, person.why)
                    }
                    Reason::Deadline => format!("its {} are over", plan.spec().deadline),
                    Reason::Version { version, why } => {
                        format!("`{model}:{version}` did not answer: {why}")
                    }
                });
                for told in &self.look.others {
                    text.push_str("; ");
                    text.push_str(&told.sentence(model, plan.spec()));
                }
                text
            }
        }
    }
}

impl Look {
    /// The answer that all versions have, where it is one; for lists.
    pub fn answer(&self) -> Option<Answer> {
        let first = self.others.first()?.answer;
        let is_same = self.others.iter().all(|it| it.answer == first);
        is_same.then_some(first)
    }
}

#[cfg(test)]
mod tests;
