//! What was asked for: which versions are compared, by whom and how. It cannot be wrong and never changes.

use super::{Spec, wrong};
use crate::alert::Moment;
use crate::manifest::Span;
use crate::name::{ModelName, Version};
use crate::refusal::Refusal;
use crate::rollout::command::Person;
use crate::rollout::plan::differences;
use crate::rollout::recorded::Recorded;
use crate::rollout::test::Test;
use crate::rollout::traffic::{Arms, WHOLE, Weight};
use crate::signature::Signature;

crate::rollout::assign::salt!(
    /// What an experiment is called; also the salt by which keys get their places.
    ExperimentId,
    "experiment id"
);

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan(Parts);

/// What a plan is made of, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// The experiment's id.
    pub id: ExperimentId,
    /// The model.
    pub model: ModelName,
    /// The versions with their shares at the beginning. The control had the traffic.
    pub arms: Arms,
    /// What its owner said.
    pub spec: Spec,
    /// When it started.
    pub started: Moment,
    /// Who started it, and why.
    pub person: Person,
}

/// What somebody asks for.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The new experiment's id.
    pub id: ExperimentId,
    /// The model.
    pub model: ModelName,
    /// The version that has its traffic, where one has.
    pub traffic: Option<Version>,
    /// The versions, the control first, with what each takes and gives.
    pub versions: Vec<(Version, &'a Signature)>,
    /// Their shares. Without any all have the same.
    pub shares: Vec<Weight>,
    /// How.
    pub spec: Spec,
    /// What is recorded of the model.
    pub recorded: Recorded<'a>,
    /// For how long its rows are kept; without it for ever.
    pub retain: Option<Span>,
    /// Who asks, and why.
    pub person: Person,
    /// When.
    pub now: Moment,
}

impl Plan {
    /// What is asked for, where it can be done.
    pub fn new(ask: Ask) -> Result<Self, Refusal> {
        let Ask {
            id,
            model,
            traffic,
            versions,
            shares,
            spec,
            recorded,
            retain,
            person,
            now,
        } = ask;
        spec.check(versions.len())?;
        person.check()?;
        let Some(((control, before), others)) = versions.split_first() else {
            return wrong("versions", "there are none".to_owned());
        };
        let numbers: Vec<Version> = others.iter().map(|it| it.0).collect();
        let arms = match shares.is_empty() {
            true => Arms::equal(*control, &numbers)?,
            false => shared(*control, &numbers, &shares)?,
        };
        match traffic {
            Some(traffic) if traffic == *control => {}
            Some(traffic) => {
                return Err(Refusal::Conflict {
                    why: format!(
                        "`{model}:{control}` would be the control and has not the traffic, which \
                         `{model}:{traffic}` has; name that one first"
                    ),
                });
            }
            None => {
                return Err(Refusal::Conflict {
                    why: format!(
                        "no version has the traffic of `{model}`; `windlass traffic {model}:{control}` gives the \
                         control all of it"
                    ),
                });
            }
        }
        for (version, signature) in others {
            let differences = differences(before, signature);
            if !differences.is_empty() {
                return Err(Refusal::Conflict {
                    why: format!(
                        "`{model}:{version}` cannot answer what `{model}:{control}` is asked: {}",
                        differences.join("; ")
                    ),
                });
            }
        }
        let test = Test {
            over: spec.over,
            better: spec.better,
            ..Test::of(spec.metric.clone())
        };
        recorded
            .check(&test)
            .or_else(|(part, why)| wrong(part, why))?;
        if let Some(retain) = retain
            && retain.0 < spec.deadline.0
        {
            let deadline = spec.deadline;
            let why = format!(
                "`{deadline}` is longer than the ledger keeps rows, `ledger.retain: {retain}`, and all of them are needed"
            );
            return wrong("deadline", why);
        }
        Self::restored(Parts {
            id,
            model,
            arms,
            spec,
            started: now,
            person,
        })
    }

    /// A plan that was stored. Refused where no such one can have been.
    pub fn restored(parts: Parts) -> Result<Self, Refusal> {
        parts.spec.check(parts.arms.shares().len())?;
        Ok(Self(parts))
    }

    /// What it is made of, to be stored.
    pub fn parts(&self) -> &Parts {
        &self.0
    }

    /// Its id.
    pub fn id(&self) -> &ExperimentId {
        &self.0.id
    }

    /// The model.
    pub fn model(&self) -> &ModelName {
        &self.0.model
    }

    /// The version that had the traffic when it started.
    pub fn control(&self) -> Version {
        self.versions()[0]
    }

    /// All versions, the control first. Their places are the numbers of their arms.
    pub fn versions(&self) -> Vec<Version> {
        self.0.arms.shares().iter().map(|it| it.0).collect()
    }

    /// The shares at the beginning.
    pub fn arms(&self) -> &Arms {
        &self.0.arms
    }

    /// What its owner said.
    pub fn spec(&self) -> &Spec {
        &self.0.spec
    }

    /// When it started.
    pub fn started(&self) -> Moment {
        self.0.started
    }

    /// Who started it.
    pub fn person(&self) -> &Person {
        &self.0.person
    }
}

/// Arms with shares that somebody gave.
fn shared(control: Version, others: &[Version], shares: &[Weight]) -> Result<Arms, Refusal> {
    let (got, want) = (shares.len(), others.len() + 1);
    if got != want {
        return wrong(
            "shares",
            format!("there are {got}, want {want}, one for each version"),
        );
    }
    let total: u32 = shares.iter().map(|it| u32::from(it.get())).sum();
    if total != u32::from(WHOLE) {
        let total = f64::from(total) / 100.0;
        return wrong("shares", format!("they are {total}% together, want 100%"));
    }
    let others = others.iter().copied().zip(shares[1..].iter().copied());
    Arms::new(control, others.collect())
}
