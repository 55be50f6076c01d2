//! Records of alerts, silences, deliveries and actions. Times are milliseconds since 1970.

use std::collections::BTreeMap;

use domain::alert::act::Outcome;
use domain::alert::notify::{Muted, Silence};
use domain::alert::{Alert, Evidence, Labels, State, label};
use serde::{Deserialize, Serialize};

/// An alert in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRecord {
    /// Its fingerprint: the same for the same labels, for ever.
    pub id: String,
    /// What it is called: its rule's name, or its monitor's.
    pub name: String,
    /// The model.
    pub model: String,
    /// What it is doing: `pending`, `firing`, `resolved`, `inactive`.
    pub state: String,
    /// Since when.
    pub since_ms: i64,
    /// `page`, `ticket`, `info`.
    pub severity: String,
    /// What was found, in a sentence.
    pub summary: String,
    /// What that rests on.
    pub evidence: Evidence,
    /// What it is.
    pub labels: BTreeMap<String, String>,
    /// What its rule says to people.
    pub annotations: BTreeMap<String, String>,
    /// When its monitor last knew.
    pub known_ms: i64,
    /// Which incident this is, or was.
    pub incident: i64,
    /// How it is known to be over, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<ByRecord>,
    /// Why nobody is told of it, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted: Option<String>,
}

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByRecord {
    /// Who.
    pub who: String,
    /// When.
    pub at_ms: i64,
}

/// An alert by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertDetailRecord {
    /// What a list tells of it.
    #[serde(flatten)]
    pub alert: AlertRecord,
    /// What happened to it, the newest first.
    pub history: Vec<AlertEventRecord>,
    /// What was said of its incidents, the newest first.
    pub feedback: Vec<FeedbackRecord>,
}

/// Something that happened to an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertEventRecord {
    /// Its place in the order; to be sent as `before` to read on.
    pub id: i64,
    /// When.
    pub at_ms: i64,
    /// In which incident.
    pub incident: i64,
    /// What: `pending`, `firing`, `resolved`, `inactive`, `acknowledged`, `feedback`, `action`.
    pub kind: String,
    /// Why, and by whom.
    pub why: String,
    /// What it rests on.
    pub evidence: Evidence,
}

/// Whether an incident's alert was of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackRecord {
    /// Which incident.
    pub incident: i64,
    /// Whether it was.
    pub useful: bool,
    /// By whom, and when.
    #[serde(flatten)]
    pub by: ByRecord,
    /// Why; may be empty.
    pub why: String,
}

/// Somebody does something about an alert, or takes an action back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByChange {
    /// Who; without it `anonymous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What for; may be empty.
    #[serde(default)]
    pub why: String,
}

/// Somebody says whether an alert was of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackChange {
    /// Whether it was.
    pub useful: bool,
    /// Who; without it `anonymous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Why; may be empty.
    #[serde(default)]
    pub why: String,
}

/// A silence that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceChange {
    /// Which alerts: those that all of these pick: `model=credit`, `subject!=age`.
    pub matchers: Vec<String>,
    /// For how long: `2h`.
    #[serde(rename = "for")]
    pub length: String,
    /// Who; without it `anonymous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What for; may be empty.
    #[serde(default)]
    pub why: String,
}

/// A silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceRecord {
    /// Its number.
    pub id: i64,
    /// Which alerts: those that all of these pick.
    pub matchers: Vec<String>,
    /// Since when.
    pub from_ms: i64,
    /// Until when.
    pub until_ms: i64,
    /// Who wanted it.
    pub who: String,
    /// What for.
    pub why: String,
}

/// A delivery that waits, or a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// Its number.
    pub id: i64,
    /// To whom.
    pub receiver: String,
    /// The labels that its alerts share.
    pub group: BTreeMap<String, String>,
    /// When it was written.
    pub at_ms: i64,
    /// How many alerts it tells of.
    pub alerts: u32,
    /// Whether it was given up.
    pub dead: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<i64>,
    /// Why it failed last.
    pub why: String,
}

/// Something that a rule did, or tried, or would have done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionRecord {
    /// Its number.
    pub id: i64,
    /// When.
    pub at_ms: i64,
    /// The model.
    pub model: String,
    /// The rule.
    pub rule: String,
    /// The alert.
    pub alert: String,
    /// What: `rollback`, `shift`, `stricter_inputs`, `retrain`, `scale`.
    pub deed: String,
    /// What became of it: `done`, `dry_run`, `failed`, `unavailable`, `reversed`, `trying`.
    pub outcome: String,
    /// Why it came to nothing, where it did.
    pub why: String,
    /// What it rests on.
    pub evidence: Evidence,
    /// The version that had the traffic before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// The version that has it since, or would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    /// For `stricter_inputs`: what each rule about inputs is since, or would be, at least.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// For `scale`: how many sessions each version has since, or would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u16>,
    /// Who took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reversed: Option<ByRecord>,
}

impl AlertRecord {
    /// The record of an alert and of why nobody is told of it.
    pub fn new(alert: &Alert, muted: Option<&Muted>) -> Self {
        let label = |name| alert.labels.get(name).to_owned();
        Self {
            id: alert.fingerprint().to_string(),
            name: label(label::ALERTNAME),
            model: label(label::MODEL),
            state: alert.state.name().to_owned(),
            since_ms: alert.state.since().0,
            severity: alert.severity().name().to_owned(),
            summary: alert.summary.clone(),
            evidence: alert.evidence.clone(),
            labels: map(&alert.labels),
            annotations: alert.annotations.clone(),
            known_ms: alert.known_at.0,
            incident: alert.incident.0,
            why: match &alert.state {
                State::Resolved { why, .. } => Some(why.clone()),
                State::Inactive { .. } | State::Pending { .. } | State::Firing { .. } => None,
            },
            acknowledged: alert.acknowledged.as_ref().map(|it| ByRecord {
                who: it.who.clone(),
                at_ms: it.at.0,
            }),
            muted: muted.map(|it| match it {
                Muted::Silenced(id) => format!("silence {id}"),
                Muted::Inhibited(source) => format!("alert {source}"),
            }),
        }
    }
}

impl From<&Silence> for SilenceRecord {
    fn from(silence: &Silence) -> Self {
        Self {
            id: silence.id,
            matchers: silence.matchers.iter().map(ToString::to_string).collect(),
            from_ms: silence.from.0,
            until_ms: silence.until.0,
            who: silence.who.clone(),
            why: silence.why.clone(),
        }
    }
}

/// Labels by name.
pub fn map(labels: &Labels) -> BTreeMap<String, String> {
    let pairs = labels.iter();
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// An outcome's name and reason.
pub fn outcome(outcome: &Outcome) -> (String, String) {
    (outcome.name().to_owned(), outcome.why().to_owned())
}
