//! A rollout: what was asked for, which never changes, and how far it is.

use serde::{Deserialize, Serialize};

use super::command::Person;
use super::event::Event;
use super::recorded::{Recorded, Tests};
use super::spec::Spec;
use super::state::State;
use super::traffic::Step;
use crate::alert::Moment;
use crate::name::{ModelName, Version};
use crate::refusal::Refusal;
use crate::signature::{Signature, TensorSpec, show_dimensions};

super::assign::salt!(
    /// What a rollout is called; also the salt by which keys get their places, so that no two rollouts may share one.
    RolloutId,
    "rollout id"
);

/// What was asked for, which cannot be wrong and never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan(Parts);

/// What a plan is made of, as it is stored. Its tests are those of its start: what is recorded of the model may be
/// another thing when it is read again.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// The rollout's id.
    pub id: RolloutId,
    /// The model.
    pub model: ModelName,
    /// The version that had the traffic.
    pub incumbent: Version,
    /// The version that may get it.
    pub candidate: Version,
    /// What its owner said.
    pub spec: Spec,
    /// What is tested.
    pub tests: Tests,
    /// When it started.
    pub started: Moment,
    /// Who started it, and why.
    pub person: Person,
}

/// What somebody asks for.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The new rollout's id.
    pub id: RolloutId,
    /// The model.
    pub model: ModelName,
    /// The version that has its traffic, where one has.
    pub incumbent: Option<Version>,
    /// The version that should get it.
    pub candidate: Version,
    /// What the incumbent takes and gives, and the candidate.
    pub signatures: (&'a Signature, &'a Signature),
    /// How.
    pub spec: Spec,
    /// What is recorded of the model.
    pub recorded: Recorded<'a>,
    /// Who asks, and why.
    pub person: Person,
    /// When.
    pub now: Moment,
}

impl Plan {
    /// What is asked for, where it can be done. `live` is the model's rollout that is not over.
    pub fn new(ask: Ask, live: Option<&Rollout>) -> Result<Self, Refusal> {
        let Ask {
            id,
            model,
            incumbent,
            candidate,
            signatures,
            spec,
            recorded,
            person,
            now,
        } = ask;
        if let Some(live) = live {
            let (live, status) = (live.plan.candidate(), live.status());
            return Err(Refusal::Conflict {
                why: format!(
                    "a rollout of `{model}` is not over: `{model}:{live}` {status}; `windlass rollout abort {model}` \
                     ends it"
                ),
            });
        }
        let Some(incumbent) = incumbent else {
            return Err(Refusal::Conflict {
                why: format!(
                    "no version has the traffic of `{model}`, so that there is nothing to roll out from; \
                     `windlass traffic {model}:{candidate}` gives this one all of it"
                ),
            });
        };
        let differences = differences(signatures.0, signatures.1);
        if !differences.is_empty() {
            return Err(Refusal::Conflict {
                why: format!(
                    "`{model}:{candidate}` cannot answer what `{model}:{incumbent}` is asked: {}",
                    differences.join("; ")
                ),
            });
        }
        person.check()?;
        spec.check()?;
        let tests = spec.tests(&recorded)?;
        Self::restored(Parts {
            id,
            model,
            incumbent,
            candidate,
            spec,
            tests,
            started: now,
            person,
        })
    }

    /// A plan that was stored. Refused where no such one can have been.
    pub fn restored(parts: Parts) -> Result<Self, Refusal> {
        let Parts {
            model,
            incumbent,
            candidate,
            spec,
            tests,
            ..
        } = &parts;
        if incumbent == candidate {
            return Err(Refusal::Conflict {
                why: format!("`{model}:{candidate}` has all of the traffic already"),
            });
        }
        spec.check()?;
        tests.check()?;
        Ok(Self(parts))
    }

    /// What it is made of, to be stored.
    pub fn parts(&self) -> &Parts {
        &self.0
    }

    /// Its id.
    pub fn id(&self) -> &RolloutId {
        &self.0.id
    }

    /// The model.
    pub fn model(&self) -> &ModelName {
        &self.0.model
    }

    /// The version that had the traffic when it started; never the candidate.
    pub fn incumbent(&self) -> Version {
        self.0.incumbent
    }

    /// The version that may get the traffic.
    pub fn candidate(&self) -> Version {
        self.0.candidate
    }

    /// What its owner said.
    pub fn spec(&self) -> &Spec {
        &self.0.spec
    }

    /// What is tested.
    pub fn tests(&self) -> &Tests {
        &self.0.tests
    }

    /// When it started.
    pub fn started(&self) -> Moment {
        self.0.started
    }

    /// Who started it.
    pub fn person(&self) -> &Person {
        &self.0.person
    }

    /// What each guardrail may be wrong: they share `alpha`, as any one of them rolls back.
    pub fn alpha_each(&self) -> f64 {
        self.0.spec.alpha / self.0.tests.guardrails.len().max(1) as f64
    }

    /// From which e-value on a guardrail fails.
    pub fn e_value_limit(&self) -> f64 {
        1.0 / self.alpha_each()
    }

    /// The step with this number from 0; the last one where there are fewer.
    pub(super) fn step(&self, index: usize) -> Step {
        let steps = &self.0.spec.steps;
        let step = steps.get(index).or(steps.last());
        *step.expect("a checked spec has steps")
    }
}

/// Why a candidate cannot answer what an incumbent is asked.
pub(crate) fn differences(incumbent: &Signature, candidate: &Signature) -> Vec<String> {
    let show = |it: &TensorSpec| format!("{} {}", it.datatype.name(), show_dimensions(&it.shape));
    let mut all = Vec::new();
    let sides = [
        ("input", &incumbent.inputs, &candidate.inputs),
        ("output", &incumbent.outputs, &candidate.outputs),
    ];
    for (side, before, after) in sides {
        for spec in before {
            let name = &spec.name;
            match after.iter().find(|it| it.name == *name) {
                None => all.push(format!("it has no {side} `{name}`")),
                // Axes may have other names.
                Some(other) if show(other) != show(spec) => {
                    let (was, is) = (show(spec), show(other));
                    all.push(format!("{side} `{name}` is {is} and was {was}"));
                }
                Some(other) if other.features != spec.features && !spec.features.is_empty() => {
                    all.push(format!(
                        "the columns of {side} `{name}` are other ones, or in another order"
                    ));
                }
                Some(_) => {}
            }
        }
    }
    // More outputs harm nobody; an input that no caller sends does.
    for spec in &candidate.inputs {
        if incumbent.input(&spec.name).is_none() {
            all.push(format!("it needs an input `{}` more", spec.name));
        }
    }
    all
}

/// How far a rollout is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Where it is.
    pub state: State,
    /// When that stage began.
    pub since: Moment,
    /// When it is given up.
    pub until: Moment,
    /// Tests that a person takes responsibility for: they hold no longer.
    pub waived: Vec<String>,
    /// How many events there were.
    pub events: u64,
    /// How many of them there were when its keys began to be counted: since its stage began or somebody resumed.
    pub counted: u64,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// What was asked for.
    pub plan: Plan,
    /// How far it is.
    pub progress: Progress,
}

impl Rollout {
    /// One that begins.
    pub fn new(plan: Plan) -> Self {
        let progress = Progress {
            state: State::Pending,
            since: plan.started(),
            until: plan.started().after(plan.spec().deadline.0),
            waived: Vec::new(),
            events: 0,
            counted: 0,
        };
        Self { plan, progress }
    }

    /// One with its events, in their order. Refused where they are not its own.
    pub fn replay<'a>(
        plan: Plan,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Result<Self, Refusal> {
        let mut rollout = Self::new(plan);
        for event in events {
            rollout.apply(event)?;
        }
        Ok(rollout)
    }

    /// The traffic that is served now.
    pub fn traffic(&self) -> super::traffic::Traffic {
        self.progress.state.traffic(&self.plan)
    }
}
