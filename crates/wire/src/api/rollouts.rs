//! Records of rollouts. Times are milliseconds since 1970.

use std::collections::BTreeMap;

use domain::Version;
use domain::manifest::Off;
use domain::rollout::command::Person;
use domain::rollout::evidence::{Evidence, Figure, Role, Tested, Verdict};
use domain::rollout::spec::ShadowSetting;
use domain::rollout::state::State;
use domain::rollout::traffic::Traffic;
use domain::rollout::{Event, Plan, Rollout};
use serde::{Deserialize, Serialize};

/// A rollout in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// Its id, with which keys are assigned, too.
    pub id: String,
    /// The model.
    pub model: String,
    /// The version that had the traffic.
    pub incumbent: u32,
    /// The version that may get it.
    pub candidate: u32,
    /// Where it is: `pending`, `validating`, `shadow`, `step`, `promoting`, `baking`, `succeeded`, `rolling_back`,
    /// `rolled_back`, `superseded`, `aborted`.
    pub state: String,
    /// What it is doing there: `progressing`, `holding`, `awaiting_approval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The same in words, to follow the version: `is at step 2 of 4 (5%)`.
    pub status: String,
    /// Whether nothing happens any more.
    pub over: bool,
    /// When it was begun.
    pub started_ms: i64,
    /// When its stage began.
    pub since_ms: i64,
    /// When it is given up.
    pub until_ms: i64,
    /// Who began it.
    pub who: String,
    /// What for.
    pub why: String,
    /// Who answers, and how much.
    pub traffic: Vec<ShareRecord>,
    /// How much the candidate answers unheard first, in percent; none where its shadow is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_percent: Option<f64>,
}

/// An arm's share of the keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareRecord {
    /// `traffic`, `incumbent`, `control`, `candidate`, `shadow`, as the ledger's rows have it.
    pub arm: String,
    /// The version that answers.
    pub version: u32,
    /// How much, in percent.
    pub percent: f64,
}

/// A rollout by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutDetailRecord {
    /// What a list tells of it.
    #[serde(flatten)]
    pub rollout: RolloutRecord,
    /// What was asked for, as in the `rollout` of a manifest.
    pub spec: serde_json::Value,
    /// Keys that the candidate answered at this stage.
    pub keys: u64,
    /// Requests that it answered unheard.
    pub shadowed: u64,
    /// What is tested, and how that goes.
    pub tests: Vec<TestRecord>,
    /// What must come before it goes on.
    pub missing: Vec<String>,
    /// What happened last, at most 100 events, the oldest first.
    pub events: Vec<RolloutEventRecord>,
    /// How the evidence went, the oldest first: at what happened last, and at looks in between, of which at most 512 are
    /// told, the newest closest to each other.
    #[serde(default)]
    pub history: Vec<EvidencePointRecord>,
}

/// What the evidence was at a look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidencePointRecord {
    /// When.
    pub at_ms: i64,
    /// By guardrail: how much stronger the evidence is that it fails than that it does not.
    pub e_values: BTreeMap<String, f64>,
}

/// A test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestRecord {
    /// `guardrail`, `signal`.
    pub role: String,
    /// What is tested.
    pub name: String,
    /// `pass`, `fail`, `inconclusive`, `error`, `no_data`.
    pub verdict: String,
    /// The candidate.
    pub candidate: Figure,
    /// The control, where it is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Figure>,
    /// How much stronger the evidence is that it fails than that it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e_value: Option<f64>,
    /// From which on a guardrail fails.
    pub e_value_limit: f64,
    /// The interval of the difference, or of the candidate's figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Its upper end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// The same in words.
    pub said: String,
}

/// What happened to a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutEventRecord {
    /// Which of its events, from 0.
    pub number: u64,
    /// When.
    pub at_ms: i64,
    /// Where it was.
    pub from: String,
    /// Where it is.
    pub to: String,
    /// Who did it, where a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What happened, in a sentence.
    pub said: String,
    /// What it rests on.
    pub evidence: Evidence,
}

/// What begins a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutStart {
    /// The version that may get the traffic.
    pub version: u32,
    /// What differs from the `rollout` of its manifest: a JSON merge patch (RFC 7396).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<serde_json::Value>,
    /// Who begins it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What for.
    #[serde(default)]
    pub why: String,
    /// Whether one of the model that is not over is ended for it.
    #[serde(default)]
    pub supersede: bool,
}

impl RolloutRecord {
    /// Of a rollout.
    pub fn of(rollout: &Rollout) -> Self {
        let Rollout { plan, progress } = rollout;
        let Person { who, why } = plan.person();
        Self {
            id: plan.id().to_string(),
            model: plan.model().to_string(),
            incumbent: plan.incumbent().number(),
            candidate: plan.candidate().number(),
            state: progress.state.name().to_owned(),
            phase: progress.state.phase().map(|it| it.name().to_owned()),
            status: rollout.status(),
            over: progress.state.is_over(),
            started_ms: plan.started().0,
            since_ms: progress.since.0,
            until_ms: progress.until.0,
            who: who.clone(),
            why: why.clone(),
            traffic: ShareRecord::all(&rollout.traffic()),
            shadow_percent: match &plan.spec().shadow {
                ShadowSetting::Off(Off::Off) => None,
                ShadowSetting::Sample(it) => Some(it.sample.get() * 100.0),
            },
        }
    }
}

impl ShareRecord {
    /// Who has a part of the traffic, and who answers besides.
    pub fn all(traffic: &Traffic) -> Vec<Self> {
        let share = |arm: String, version: Version, percent: f64| Self {
            arm,
            version: version.number(),
            percent,
        };
        let shares = traffic.split.shares().into_iter();
        let shares = shares
            .filter(|it| it.2 > 0)
            .map(|(arm, version, parts)| share(arm.to_string(), version, f64::from(parts) / 100.0));
        let shadow = traffic
            .shadow
            .map(|it| share("shadow".to_owned(), it.version, it.sample.get() * 100.0));
        shares.chain(shadow).collect()
    }

    /// How much each version answers that callers hear, in the order of the arms.
    pub fn by_version(shares: &[Self]) -> Vec<(u32, f64)> {
        let mut by_version: Vec<(u32, f64)> = Vec::new();
        for share in shares.iter().filter(|it| !it.is_unheard()) {
            match by_version.iter_mut().find(|it| it.0 == share.version) {
                Some(found) => found.1 += share.percent,
                None => by_version.push((share.version, share.percent)),
            }
        }
        by_version
    }

    /// Whether it is that of a shadow.
    pub fn is_unheard(&self) -> bool {
        self.arm == "shadow"
    }
}

impl TestRecord {
    /// Of what was measured; of a test of which nothing was measured yet, that there is no data.
    pub fn all(plan: &Plan, evidence: &Evidence) -> Vec<Self> {
        let tests = plan.tests();
        let guardrails = tests.guardrails.iter().map(|it| (Role::Guardrail, it));
        let signals = tests.signals.iter().map(|it| (Role::Signal, it));
        let of = |(role, name): (Role, String)| {
            let measured = evidence.of(role, &name).cloned();
            let tested = measured.unwrap_or_else(|| Tested {
                role,
                name,
                verdict: Verdict::NoData,
                candidate: Figure::default(),
                control: None,
                e_value: None,
                interval: None,
            });
            Self::of(&tested, plan)
        };
        let all = guardrails.chain(signals);
        all.map(|(role, test)| of((role, test.name()))).collect()
    }

    fn of(tested: &Tested, plan: &Plan) -> Self {
        Self {
            role: match tested.role {
                Role::Guardrail => "guardrail".to_owned(),
                Role::Signal => "signal".to_owned(),
            },
            name: tested.name.clone(),
            verdict: tested.verdict.name().to_owned(),
            candidate: tested.candidate,
            control: tested.control,
            e_value: tested.e_value,
            e_value_limit: plan.e_value_limit(),
            low: tested.interval.map(|it| it.low),
            high: tested.interval.map(|it| it.high),
            said: tested.sentence(plan),
        }
    }
}

impl RolloutEventRecord {
    /// Of an event of a rollout.
    pub fn of(event: &Event, plan: &Plan) -> Self {
        let name = |state: &State| match state.phase() {
            Some(phase) => format!("{} ({})", state.name(), phase.name()),
            None => state.name().to_owned(),
        };
        let person = event.person();
        Self {
            number: event.number,
            at_ms: event.at.0,
            from: name(&event.from),
            to: name(&event.to),
            who: person.map(|it| it.who.clone()),
            why: person.map(|it| it.why.clone()),
            said: event.sentence(plan),
            evidence: event.evidence.clone(),
        }
    }
}
