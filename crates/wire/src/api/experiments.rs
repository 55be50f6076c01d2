//! Records of experiments. Times are milliseconds since 1970.

use domain::experiment::course::{Event, Experiment};
use domain::experiment::plan::Plan;
use domain::experiment::{Look, Told};
use domain::rollout::command::Person;
use domain::rollout::evidence::Figure;
use domain::rollout::traffic::Traffic;
use serde::{Deserialize, Serialize};

use super::rollouts::ShareRecord;

/// An experiment in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentRecord {
    /// Its id, with which keys are assigned, too.
    pub id: String,
    /// The model.
    pub model: String,
    /// The versions that are compared, the control first.
    pub versions: Vec<u32>,
    /// By what.
    pub metric: String,
    /// Where it is: `pending`, `running`, and when it is over why: `stopped`, `deadline`, `version`.
    pub state: String,
    /// The same in words, to follow `the experiment`: `is running`.
    pub status: String,
    /// Whether nothing happens any more.
    pub over: bool,
    /// When it was begun.
    pub started_ms: i64,
    /// Since when it is where it is, with the shares that it has.
    pub since_ms: i64,
    /// When it ends.
    pub until_ms: i64,
    /// Who began it.
    pub who: String,
    /// What for.
    pub why: String,
    /// Who answers, and how much.
    pub traffic: Vec<ShareRecord>,
}

/// An experiment by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentDetailRecord {
    /// What a list tells of it.
    #[serde(flatten)]
    pub experiment: ExperimentRecord,
    /// What was asked for.
    pub spec: serde_json::Value,
    /// Keys that each version was given, the control's first.
    pub keys: Vec<u64>,
    /// How much more probable another split makes them than the intended one.
    pub split_e_value: f64,
    /// Whether keys are not split as intended, so that nothing can be said.
    pub void: bool,
    /// Times of constant shares that are compared, each by itself.
    pub periods: u64,
    /// What is known of each version beside the control.
    pub answers: Vec<AnswerRecord>,
    /// Why the last look failed, where it did; the rest is of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// What happened last, at most 100 events, the oldest first.
    pub events: Vec<ExperimentEventRecord>,
}

/// What is known of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerRecord {
    /// The version.
    pub version: u32,
    /// The control.
    pub against: u32,
    /// `better`, `worse`, `equivalent`, `not yet`, `void`.
    pub answer: String,
    /// What the version has.
    pub figure: Figure,
    /// What the control has.
    pub control: Figure,
    /// The interval of the difference, which holds at all times at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Its upper end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// How long it takes until there is an answer, where keys come as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_in_s: Option<f64>,
    /// Keys of which something was known before the experiment, where that was of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_keys: Option<u64>,
    /// The part of the variance that this took away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variance_saved: Option<f64>,
    /// The same in a sentence.
    pub said: String,
}

/// What happened to an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentEventRecord {
    /// Which of its events, from 0.
    pub number: u64,
    /// When.
    pub at_ms: i64,
    /// Where it is since.
    pub to: String,
    /// Who answers since, and with which probability a key comes to it.
    pub traffic: Vec<ShareRecord>,
    /// Who did it, where a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What became known with it, each answer of a version once. Where there is any, nothing else happened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<AnswerRecord>,
    /// What happened, in a sentence.
    pub said: String,
    /// What was measured then.
    pub look: Look,
}

/// What begins an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentStart {
    /// The versions, the control first: that which has the traffic.
    pub versions: Vec<u32>,
    /// Their shares, such as `50%`. Without any all have the same.
    #[serde(default)]
    pub shares: Vec<String>,
    /// What is measured and how: `metric`, `equivalent_within` and so on.
    pub spec: serde_json::Value,
    /// Who begins it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What for.
    #[serde(default)]
    pub why: String,
}

/// What ends an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentStop {
    /// The version that gets all of the traffic. Without it the control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote: Option<u32>,
    /// Who ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What for.
    #[serde(default)]
    pub why: String,
}

fn shares(traffic: &Traffic) -> Vec<ShareRecord> {
    let shares = traffic.split.shares().into_iter();
    let record = |(arm, version, parts): (domain::rollout::traffic::Arm, domain::Version, u16)| {
        ShareRecord {
            arm: arm.to_string(),
            version: version.number(),
            percent: f64::from(parts) / 100.0,
        }
    };
    shares.map(record).collect()
}

impl ExperimentRecord {
    /// Of an experiment.
    pub fn of(experiment: &Experiment) -> Self {
        let Experiment { plan, progress } = experiment;
        let Person { who, why } = plan.person();
        Self {
            id: plan.id().to_string(),
            model: plan.model().to_string(),
            versions: plan.versions().iter().map(|it| it.number()).collect(),
            metric: plan.spec().name(),
            state: progress.state.name().to_owned(),
            status: experiment.status(),
            over: progress.state.is_over(),
            started_ms: plan.started().0,
            since_ms: progress.since.0,
            until_ms: experiment.until().0,
            who: who.clone(),
            why: why.clone(),
            traffic: shares(&experiment.traffic()),
        }
    }
}

impl ExperimentDetailRecord {
    /// Of an experiment, what was measured, and its last events.
    pub fn of(experiment: &Experiment, look: &Look, events: &[Event]) -> Self {
        let plan = &experiment.plan;
        Self {
            experiment: ExperimentRecord::of(experiment),
            spec: serde_json::to_value(plan.spec()).unwrap_or_default(),
            keys: look.keys.clone(),
            split_e_value: look.split,
            void: look.is_void(),
            periods: look.periods,
            answers: look
                .others
                .iter()
                .map(|it| AnswerRecord::of(it, plan))
                .collect(),
            failed: look.failed.clone(),
            events: events
                .iter()
                .map(|it| ExperimentEventRecord::of(it, plan))
                .collect(),
        }
    }
}

impl AnswerRecord {
    fn of(told: &Told, plan: &Plan) -> Self {
        let compared = &told.compared;
        Self {
            version: compared.version.number(),
            against: compared.against.number(),
            answer: told.answer.to_string(),
            figure: compared.figure,
            control: compared.control,
            low: compared.difference.map(|it| it.low),
            high: compared.difference.map(|it| it.high),
            expected_in_s: told.remaining.map(|it| it.0.as_secs_f64()),
            before_keys: told.before.map(|it| it.keys),
            variance_saved: told.before.map(|it| it.saved),
            said: told.sentence(plan.model(), plan.spec()),
        }
    }
}

impl ExperimentEventRecord {
    /// Of an event of an experiment.
    pub fn of(event: &Event, plan: &Plan) -> Self {
        let person = event.person();
        Self {
            number: event.number,
            at_ms: event.at.0,
            to: event.to.name().to_owned(),
            traffic: shares(&event.to.traffic(plan)),
            who: person.map(|it| it.who.clone()),
            why: person.map(|it| it.why.clone()),
            answers: event
                .answers()
                .map(|it| AnswerRecord::of(it, plan))
                .collect(),
            said: event.sentence(plan),
            look: event.look.clone(),
        }
    }
}
