//! What is watched of a model: how often, over how much time, and how seldom a false alarm may be.

pub mod anomaly;
pub mod concept_drift;
pub mod estimated_quality;
pub mod fairness;
pub mod inputs;
pub mod limit;
pub mod quality;
pub mod segments;
pub mod slo;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::Span;
use crate::refusal::Refusal;
use crate::task::Task;

pub use anomaly::Anomaly;

/// What is watched of a model. Everything may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Setting {
    /// How often it is looked at.
    pub every: Span,
    /// The predictions that are looked at: those of so much time before.
    pub window: Span,
    /// In how much time there may be one false alarm of each monitor, at most and on average.
    pub false_alarm_in: Span,
    /// Whether inputs and predictions are as they were.
    pub drift: Drift,
    /// What requests may hold.
    pub inputs: inputs::Inputs,
    /// How right it should be, by the labels that have come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quality: Vec<quality::Demand>,
    /// Whether it is wrong more often than it was, by the labels that have come.
    #[serde(skip_serializing_if = "concept_drift::Setting::is_default")]
    pub concept_drift: concept_drift::Setting,
    /// Parts of the rows whose drift and quality are looked at by themselves too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<segments::Segments>,
    /// Whether it treats groups alike.
    #[serde(skip_serializing_if = "fairness::Setting::is_default")]
    pub fairness: fairness::Setting,
    /// Whether latency, errors, traffic and cost are as usual. These are looked at when each of their spans ends,
    /// not `every` so often.
    pub anomaly: Anomaly,
    /// Shares of rows and requests that must be good. These are looked at every minute.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objectives: Vec<slo::Objective>,
}

/// Whether inputs and predictions are as they were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drift {
    /// The smallest move that matters, in standard deviations of a column.
    #[schemars(range(min = 0.001, max = 3.0))]
    pub margin: f64,
    /// How much columns matter; those that are not named have 1. A column of twice the weight has twice the share
    /// of false alarms, and is found sooner.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
    /// Columns that are not watched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<String>,
    /// Rows of which a baseline is made where a version has none: its first predictions. 0: none is made.
    pub first_rows: u64,
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Setting {
    fn default() -> Self {
        Self {
            every: Span(HOUR),
            window: Span(DAY),
            false_alarm_in: Span(30 * DAY),
            drift: Drift::default(),
            inputs: inputs::Inputs::default(),
            quality: Vec::new(),
            concept_drift: concept_drift::Setting::default(),
            segments: Vec::new(),
            fairness: fairness::Setting::default(),
            anomaly: Anomaly::default(),
            objectives: Vec::new(),
        }
    }
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            margin: 0.1,
            weights: BTreeMap::new(),
            leave_out: Vec::new(),
            first_rows: 10_000,
        }
    }
}

/// The shortest time between two looks.
const EVERY_MIN: Duration = Duration::from_secs(1);
/// The longest time that is looked at.
const WINDOW_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

impl Setting {
    /// Whether nothing was said.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.every.0 < EVERY_MIN {
            return wrong("every", format!("`{}` is less than 1s", self.every));
        }
        if self.window.0 < self.every.0 || self.window.0 > WINDOW_MAX {
            let (window, every) = (self.window, self.every);
            return wrong(
                "window",
                format!("`{window}` is not from `every`, which is {every}, to 400d"),
            );
        }
        if self.false_alarm_in.0 <= self.every.0 {
            let (span, every) = (self.false_alarm_in, self.every);
            return wrong(
                "false_alarm_in",
                format!("`{span}` is not longer than `every`, which is {every}"),
            );
        }
        if let Err((field, why)) = self.inputs.check() {
            return wrong(&field, why);
        }
        let margin = self.drift.margin;
        if !(0.001..=3.0).contains(&margin) {
            return wrong("drift.margin", format!("`{margin}` is not from 0.001 to 3"));
        }
        for (column, weight) in &self.drift.weights {
            if !(0.001..=1000.0).contains(weight) {
                return wrong(
                    "drift.weights",
                    format!("`{weight}` of `{column}` is not from 0.001 to 1000"),
                );
            }
        }
        let checked = quality::check(&self.quality)
            .and_then(|()| self.concept_drift.check())
            .and_then(|()| segments::check(&self.segments))
            .and_then(|()| self.fairness.check());
        checked.or_else(|(field, why)| wrong(&field, why))?;
        self.anomaly.check()?;
        slo::check(&self.objectives)
    }

    /// Refuses what a model that answers this question does not have.
    pub fn check_task(&self, task: Option<&Task>) -> Result<(), Refusal> {
        let checked = quality::check_task(&self.quality, task)
            .and_then(|()| self.fairness.check_task(task))
            .and_then(|()| slo::check_task(&self.objectives, task));
        checked.or_else(|(field, why)| wrong(&field, why))
    }

    /// How often one look may be wrong. At each look the probability of a false alarm is at most this, so in
    /// `false_alarm_in` there is at most one on average, however much looks depend on each other.
    pub fn alpha(&self) -> f64 {
        (self.every.0.as_secs_f64() / self.false_alarm_in.0.as_secs_f64()).min(0.5)
    }

    /// The level of two-sided intervals of which one end alone may raise an alarm, where so many questions share
    /// what may be wrong: Bonferroni's inequality.
    pub fn level(&self, questions: usize) -> f64 {
        1.0 - (2.0 * self.alpha() / questions.max(1) as f64).min(0.5)
    }
}

fn wrong(field: &str, why: String) -> Result<(), Refusal> {
    Err(Refusal::InvalidManifest {
        field: format!("monitor.{field}"),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let read = serde_json::from_str::<Setting>(text);
        let got = match read {
            Err(error) => error.to_string(),
            Ok(setting) => match setting.check() {
                Err(refusal) => refusal.to_string(),
                Ok(()) => format!("{:.6}", setting.alpha()),
            },
        };
        assert!(got.contains(want), "{got}");
    }

    #[test]
    fn looks_share_what_may_be_wrong() {
        check("{}", "0.001389");
        check(r#"{"every":"1d","false_alarm_in":"20d"}"#, "0.050000");
        check(r#"{"every":"0s"}"#, "`monitor.every`");
        check(r#"{"window":"1m"}"#, "`monitor.window`");
        check(r#"{"false_alarm_in":"1h"}"#, "`monitor.false_alarm_in`");
        check(r#"{"drift":{"margin":0}}"#, "`monitor.drift.margin`");
        check(
            r#"{"drift":{"weights":{"a":-1}}}"#,
            "`monitor.drift.weights`",
        );
        check(r#"{"drfit":{}}"#, "unknown field `drfit`");
    }

    #[test]
    fn what_is_demanded_of_quality_makes_sense() {
        let of = |demand: &str, want: &str| check(&format!(r#"{{"quality":[{demand}]}}"#), want);
        of(r#"{"metric":"accuracy","under":0.7}"#, "0.001389");
        of(
            r#"{"metric":"accuracy","over":0.7}"#,
            "`monitor.quality[0].over`",
        );
        of(
            r#"{"metric":"log_loss","under":1}"#,
            "`monitor.quality[0].under`",
        );
        of(
            r#"{"metric":"accuracy"}"#,
            "nothing is demanded of `accuracy`",
        );
        of(
            r#"{"metric":"mae","worse_by":-1}"#,
            "`monitor.quality[0].worse_by`",
        );
        of(
            r#"{"metric":"mae","over":1,"support":0}"#,
            "`monitor.quality[0].support`",
        );
        of(
            r#"{"metric":"mae","over":1},{"metric":"mae","worse_by":1}"#,
            "`monitor.quality[1].metric`",
        );
        of(r#"{"metric":"acuracy"}"#, "unknown variant `acuracy`");
    }

    #[test]
    fn what_is_demanded_of_fairness_makes_sense() {
        let of = |fairness: &str, want: &str| check(&format!(r#"{{"fairness":{fairness}}}"#), want);
        of(r#"{"by":["Sex"]}"#, "0.001389");
        of(r#"{"gap_max":0.2}"#, "`monitor.fairness.by`");
        of(r#"{"by":["Sex","Sex"]}"#, "`Sex` is there twice");
        of(
            r#"{"by":["Sex"],"gap_max":1.5}"#,
            "`monitor.fairness.gap_max`",
        );
        of(
            r#"{"by":["Sex"],"support":0}"#,
            "`monitor.fairness.support`",
        );
        of(
            r#"{"by":["Sex"],"metrics":[]}"#,
            "`monitor.fairness.metrics`",
        );
        of(
            r#"{"by":["Sex"],"metrics":["parity"]}"#,
            "unknown variant `parity`",
        );
    }

    #[test]
    fn what_is_said_of_concept_drift_makes_sense() {
        let of = |said: &str, want: &str| check(&format!(r#"{{"concept_drift":{said}}}"#), want);
        of(r#"{"off":true}"#, "0.001389");
        of(r#"{"margin":1.1}"#, "`monitor.concept_drift.margin`");
        of(r#"{"support":0}"#, "`monitor.concept_drift.support`");
        of(r#"{"detector":"ddm"}"#, "unknown field `detector`");
    }

    #[test]
    fn questions_share_what_may_be_wrong() {
        let setting = Setting::default();
        let alpha = setting.alpha();
        assert_eq!(setting.level(1), 1.0 - 2.0 * alpha);
        assert_eq!(setting.level(4), 1.0 - alpha / 2.0);
        assert_eq!(setting.level(0), setting.level(1));
    }
}
