//! What a rule may do when its alert fires, and whether it may now.
//!
//! R1. A rule does what it lists, and nothing else: the list is the permission.
//! R2. A deed is tried once an incident, and no more often than its `at_most`, over all incidents of its rule.
//! R3. What is silenced, inhibited or acknowledged is not acted on: somebody knows of it.
//! R4. Every try is written down with its evidence, also one that was not possible, and so is every `dry_run`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::label::ALERTNAME;
use super::{Alert, Evidence, Fingerprint, Incident, Moment};
use crate::manifest::Span;
use crate::monitor::inputs::Strictness;
use crate::name::{Alias, ModelName, Reference, Selector, Version};

/// One deed that a rule permits, with its bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// What is done.
    #[serde(rename = "do")]
    pub deed: Deed,
    /// For `shift`: the version or alias that the traffic goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// For `stricter_inputs`: what the rules of `monitor.inputs` are at least; without it `range`, `missing` and
    /// `unseen` are `refuse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Strictness>,
    /// For `scale`: how many sessions of each version run at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub instances: Option<u16>,
    /// Only writes down what would be done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// How often it is done at most; without it `1 per 1d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Rate>,
}

/// What can be done about an alert.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// The traffic goes to the version that had it before.
    Rollback,
    /// The traffic goes to a version that is named.
    Shift,
    /// Inputs are checked more strictly.
    StricterInputs,
    /// A training run is started.
    Retrain,
    /// More or fewer sessions run at the same time.
    Scale,
}

impl Deed {
    /// Every deed.
    pub const ALL: [Self; 5] = [
        Self::Rollback,
        Self::Shift,
        Self::StricterInputs,
        Self::Retrain,
        Self::Scale,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Shift => "shift",
            Self::StricterInputs => "stricter_inputs",
            Self::Retrain => "retrain",
            Self::Scale => "scale",
        }
    }
}

impl FromStr for Deed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| format!("`{text}` is not a deed"))
    }
}

/// So often in so long: `1 per 1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How often.
    pub count: u32,
    /// In how long.
    pub per: Span,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            count: 1,
            per: Span(Duration::from_secs(86_400)),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a rate such as `1 per 1d`");
        let (count, per) = text.split_once(" per ").ok_or_else(wrong)?;
        let count = count.trim().parse().map_err(|_| wrong())?;
        let per: Span = per.trim().parse().map_err(|_| wrong())?;
        if count == 0 || per.0.is_zero() {
            return Err(format!("`{text}` is never; leave the deed out"));
        }
        Ok(Self { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.count, self.per)
    }
}

crate::manifest::text_setting!(
    Rate,
    "So often in so long: `1 per 1d`.",
    "^ *[0-9]+ per +[0-9.]+ *(ns|us|ms|s|m|h|d) *$"
);

impl Act {
    /// Whether it says what its deed needs and nothing more; else the setting that is wrong and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let needs = |deed: &str| format!("only `{deed}` takes it");
        match (self.deed, &self.to) {
            (Deed::Shift, None) => {
                return Err(("to", "`shift` needs a version or an alias".to_owned()));
            }
            (Deed::Shift, Some(to)) => {
                target(to).map_err(|why| ("to", why))?;
            }
            (_, Some(_)) => return Err(("to", needs("shift"))),
            (_, None) => {}
        }
        match (self.deed, self.inputs) {
            (Deed::StricterInputs, Some(said)) => said.check().map_err(|why| ("inputs", why))?,
            (_, Some(_)) => return Err(("inputs", needs("stricter_inputs"))),
            (_, None) => {}
        }
        match (self.deed, self.instances) {
            (Deed::Scale, Some(1..=256)) => Ok(()),
            (Deed::Scale, _) => Err(("instances", "`scale` needs 1 to 256".to_owned())),
            (_, Some(_)) => Err(("instances", needs("scale"))),
            (_, None) => Ok(()),
        }
    }
}

/// A version's number or an alias.
fn target(text: &str) -> Result<Selector, String> {
    if let Ok(version) = text.parse::<Version>() {
        return Ok(Selector::Version(version));
    }
    let alias = text.parse::<Alias>();
    alias
        .map(Selector::Alias)
        .map_err(|_| format!("`{text}` is neither a version's number nor an alias"))
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is being done.
    Trying,
    /// It was done.
    Done,
    /// It would have been done.
    DryRun,
    /// It was tried and failed.
    Failed {
        /// The reason.
        why: String,
    },
    /// This server cannot do it.
    Unavailable {
        /// The reason.
        why: String,
    },
    /// It was done, and taken back since.
    Reversed,
}

impl Outcome {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Done => "done",
            Self::DryRun => "dry_run",
            Self::Failed { .. } => "failed",
            Self::Unavailable { .. } => "unavailable",
            Self::Reversed => "reversed",
        }
    }

    /// The reason, where there is one.
    pub fn why(&self) -> &str {
        match self {
            Self::Failed { why } | Self::Unavailable { why } => why,
            Self::Trying | Self::Done | Self::DryRun | Self::Reversed => "",
        }
    }

    /// The outcome with this name.
    pub fn from_name(name: &str, why: String) -> Option<Self> {
        Some(match name {
            "trying" => Self::Trying,
            "done" => Self::Done,
            "dry_run" => Self::DryRun,
            "failed" => Self::Failed { why },
            "unavailable" => Self::Unavailable { why },
            "reversed" => Self::Reversed,
            _ => return None,
        })
    }
}

/// A try in the past, as far as it matters for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// When.
    pub at: Moment,
    /// The model.
    pub model: ModelName,
    /// The rule.
    pub rule: String,
    /// For which alert.
    pub fingerprint: Fingerprint,
    /// In which incident.
    pub incident: Incident,
    /// What.
    pub deed: Deed,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// To which model.
    pub model: ModelName,
    /// By which rule.
    pub rule: String,
    /// For which alert.
    pub fingerprint: Fingerprint,
    /// In which incident.
    pub incident: Incident,
    /// What.
    pub step: Step,
    /// Whether it is only written down.
    pub dry_run: bool,
    /// What it rests on.
    pub evidence: Evidence,
    /// The alert's sentence.
    pub why: String,
}

/// A deed with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Back from this version, or from whichever has the traffic.
    Rollback(Option<Version>),
    /// To what this names.
    Shift(Reference),
    /// Check the inputs of all versions at least so strictly, until it is taken back.
    StricterInputs(Strictness),
    /// Train.
    Retrain,
    /// Run so many sessions.
    Scale(u16),
}

impl Step {
    /// Which deed it is.
    pub fn deed(&self) -> Deed {
        match self {
            Self::Rollback(_) => Deed::Rollback,
            Self::Shift(_) => Deed::Shift,
            Self::StricterInputs(_) => Deed::StricterInputs,
            Self::Retrain => Deed::Retrain,
            Self::Scale(_) => Deed::Scale,
        }
    }
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// The alert does not fire.
    NotFiring,
    /// Somebody has seen it.
    Acknowledged,
    /// It was tried in this incident.
    Tried,
    /// It was done as often as it may be.
    TooOften {
        /// How often it may.
        rate: Rate,
    },
    /// The alert's labels name no model.
    NoModel,
}

impl fmt::Display for NotNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFiring => f.write_str("the alert does not fire"),
            Self::Acknowledged => f.write_str("somebody has seen the alert"),
            Self::Tried => f.write_str("it was tried in this incident"),
            Self::TooOften { rate } => write!(f, "it is done at most {rate}"),
            Self::NoModel => f.write_str("the alert is about no model"),
        }
    }
}

/// Whether a deed of an alert's rule is to be done now. The caller leaves out what is muted (R3).
pub fn plan(alert: &Alert, act: &Act, tried: &[Tried], now: Moment) -> Result<Plan, NotNow> {
    if !alert.is_firing() {
        return Err(NotNow::NotFiring);
    }
    if alert.acknowledged.is_some() {
        return Err(NotNow::Acknowledged);
    }
    let fingerprint = alert.fingerprint();
    let model = alert.labels.model().ok_or(NotNow::NoModel)?;
    let rule = alert.labels.get(ALERTNAME);
    let of_deed = || tried.iter().filter(|it| it.deed == act.deed);
    let incident = |it: &Tried| it.fingerprint == fingerprint && it.incident == alert.incident;
    if of_deed().any(incident) {
        return Err(NotNow::Tried);
    }
    let rate = act.at_most.unwrap_or_default();
    let from = now.before(rate.per.0);
    let lately = of_deed().filter(|it| it.model == model && it.rule == rule && it.at > from);
    if lately.count() >= usize::try_from(rate.count).unwrap_or(usize::MAX) {
        return Err(NotNow::TooOften { rate });
    }
    let step = match act.deed {
        Deed::Rollback => Step::Rollback(alert.labels.version()),
        Deed::Shift => {
            let to = act.to.as_deref().unwrap_or_default();
            Step::Shift(Reference {
                model: model.clone(),
                selector: target(to).unwrap_or(Selector::Traffic),
            })
        }
        Deed::StricterInputs => Step::StricterInputs(act.inputs.unwrap_or(Strictness::REFUSE)),
        Deed::Retrain => Step::Retrain,
        Deed::Scale => Step::Scale(act.instances.unwrap_or(1)),
    };
    Ok(Plan {
        model,
        rule: rule.to_owned(),
        fingerprint,
        incident: alert.incident,
        step,
        dry_run: act.dry_run,
        evidence: alert.evidence.clone(),
        why: alert.summary.clone(),
    })
}

/// The version to go back to: the last one that had the traffic before the present one. `moves` are the
/// versions that were given it, in order. Going back to a version undoes what came after it, so that two
/// rollbacks go back twice and not to and fro.
pub fn rollback_target(moves: &[Version], about: Option<Version>) -> Result<Version, String> {
    let mut served: Vec<Version> = Vec::new();
    for version in moves {
        if let Some(place) = served.iter().position(|it| it == version) {
            served.truncate(place);
        }
        served.push(*version);
    }
    let Some((present, before)) = served.split_last() else {
        return Err("no version has the traffic".to_owned());
    };
    if let Some(about) = about
        && about != *present
    {
        return Err(format!(
            "the alert is about version {about}, and {present} has the traffic"
        ));
    }
    before
        .last()
        .copied()
        .ok_or_else(|| format!("no version had the traffic before {present}"))
}
