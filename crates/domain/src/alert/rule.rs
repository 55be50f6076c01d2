//! Rules: which findings become which alerts, and what may be done about them. They are `alerts:` in
//! `windlass.yaml`.
//!
//! R1. A finding that no rule is about alerts all the same, under its monitor's name, with its own severity
//!     and without an action: a first rule must not silence all else.
//! R2. A finding that several rules are about is an alert of each.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::act::Act;
use super::label::{self, is_label_name};
use super::{Finding, Labels, Patience, Severity};
use crate::manifest::Span;

/// The most rules of a model.
pub const RULES_MAX: usize = 100;
/// The most labels, and the most annotations, of a rule.
const TEXTS_MAX: usize = 20;
/// The longest label or annotation, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Without anything known until an alert is taken to be over, unless the rule says otherwise.
const WITHOUT_DATA: Duration = Duration::from_secs(86_400);

/// What is to become of a monitor's findings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What the alert is called.
    pub name: String,
    /// The monitor whose findings it is about: `drift`, `quality`, `anomaly`.
    pub monitor: String,
    /// The feature or metric that it is about; without it every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The segment that it is about; without it every one, and all rows together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// For how long it must be bad before it fires; without it at once.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub bad_for: Option<Span>,
    /// For how long it must be fine before it is resolved; without it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<Span>,
    /// How long nothing may be known before it is taken to be over; without it `1d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data_after: Option<Span>,
    /// How soon somebody should look; without it what the monitor says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// What is done when it fires, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub act: Vec<Act>,
    /// Further labels. They are part of what the alert is, so no numbers or times belong here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Texts for whoever is told: `runbook_url`, `description`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Rule {
    /// What holds for a monitor's findings when nobody says anything about them.
    pub fn of_monitor(monitor: &str) -> Self {
        Self {
            name: monitor.to_owned(),
            monitor: monitor.to_owned(),
            subject: None,
            segment: None,
            bad_for: None,
            keep_firing_for: None,
            no_data_after: None,
            severity: None,
            act: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Whether it is about the finding.
    pub fn is_about(&self, finding: &Finding) -> bool {
        let same = |want: &Option<String>, got: &str| want.as_deref().is_none_or(|it| it == got);
        self.monitor == finding.monitor
            && same(&self.subject, &finding.subject)
            && same(&self.segment, finding.segment.as_deref().unwrap_or(""))
    }

    /// Whether an alert with these labels is one of its own. A name alone does not tell: what no rule is about
    /// is called after its monitor, and a rule may be called so too.
    pub fn made(&self, labels: &Labels) -> bool {
        let same = |want: &Option<String>, name| {
            let got = labels.get(name);
            want.as_deref().is_none_or(|it| it == got)
        };
        labels.get(label::ALERTNAME) == self.name
            && labels.get(label::MONITOR) == self.monitor
            && same(&self.subject, label::SUBJECT)
            && same(&self.segment, label::SEGMENT)
    }

    /// How long it waits.
    pub fn patience(&self) -> Patience {
        let of = |span: Option<Span>, default| span.map_or(default, |it| it.0);
        Patience {
            before_firing: of(self.bad_for, Duration::ZERO),
            before_resolving: of(self.keep_firing_for, Duration::ZERO),
            without_data: of(self.no_data_after, WITHOUT_DATA),
        }
    }

    /// What the alert is that it makes of a finding.
    pub fn labels(&self, finding: &Finding) -> Labels {
        let version = finding.version.map(|it| it.to_string());
        let severity = self.severity.unwrap_or(finding.severity);
        let own = [
            (label::ALERTNAME, self.name.as_str()),
            (label::MODEL, finding.model.as_str()),
            (label::MODEL_VERSION, version.as_deref().unwrap_or("")),
            (label::MONITOR, &finding.monitor),
            (label::SUBJECT, &finding.subject),
            (label::SEGMENT, finding.segment.as_deref().unwrap_or("")),
            (label::SEVERITY, severity.name()),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let further = self.labels.iter().map(|(k, v)| (k.clone(), v.clone()));
        Labels::new(further.chain(own).collect())
    }
}

/// The rules that are about a finding; where none is, the one that holds when nobody says anything.
pub fn of<'a>(rules: &'a [Rule], finding: &Finding) -> Vec<std::borrow::Cow<'a, Rule>> {
    use std::borrow::Cow;
    let about: Vec<_> = rules.iter().filter(|it| it.is_about(finding)).collect();
    if about.is_empty() {
        return vec![Cow::Owned(Rule::of_monitor(&finding.monitor))];
    }
    about.into_iter().map(Cow::Borrowed).collect()
}

/// Whether a model's rules can be kept; else the setting that is wrong and why.
pub fn check(rules: &[Rule]) -> Result<(), (String, String)> {
    if rules.len() > RULES_MAX {
        let why = format!("{} rules, at most {RULES_MAX} are taken", rules.len());
        return Err(("alerts".to_owned(), why));
    }
    for (place, rule) in rules.iter().enumerate() {
        let at = |field: &str| format!("alerts[{place}].{field}");
        check_name(&rule.name).map_err(|why| (at("name"), why))?;
        if rules[..place].iter().any(|it| it.name == rule.name) {
            let why = format!("`{}` is the name of two rules", rule.name);
            return Err((at("name"), why));
        }
        check_name(&rule.monitor).map_err(|why| (at("monitor"), why))?;
        if rule.no_data_after.is_some_and(|it| it.0.is_zero()) {
            return Err((at("no_data_after"), "it is not over 0".to_owned()));
        }
        check_texts(&rule.labels).map_err(|(name, why)| (at(&format!("labels.{name}")), why))?;
        let reserved = |it: &&String| label::RESERVED.contains(&it.as_str());
        if let Some(name) = rule.labels.keys().find(reserved) {
            let why = "every alert has a label of this name already".to_owned();
            return Err((at(&format!("labels.{name}")), why));
        }
        check_texts(&rule.annotations)
            .map_err(|(name, why)| (at(&format!("annotations.{name}")), why))?;
        for (number, act) in rule.act.iter().enumerate() {
            let at = |field: &str| at(&format!("act[{number}].{field}"));
            act.check().map_err(|(field, why)| (at(field), why))?;
            if rule.act[..number].iter().any(|it| it.deed == act.deed) {
                let why = format!("`{}` is done twice", act.deed.name());
                return Err((at("do"), why));
            }
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > crate::name::NAME_BYTES_MAX || !name.chars().all(valid) {
        return Err(format!(
            "`{}` is not a name: 1 to 128 letters, digits, `.`, `_` and `-`",
            name.chars().take(80).collect::<String>()
        ));
    }
    Ok(())
}

fn check_texts(texts: &BTreeMap<String, String>) -> Result<(), (String, String)> {
    let none = String::new();
    if let Some((name, _)) = texts.iter().nth(TEXTS_MAX) {
        return Err((name.clone(), format!("at most {TEXTS_MAX} are taken")));
    }
    for (name, value) in texts {
        if !is_label_name(name) {
            let why = "its name must be letters, digits and `_`, and begin with no digit";
            return Err((name.clone(), why.to_owned()));
        }
        if value.len() > TEXT_BYTES_MAX || *value == none {
            return Err((
                name.clone(),
                format!("it has {} bytes, want 1 to {TEXT_BYTES_MAX}", value.len()),
            ));
        }
    }
    Ok(())
}
