//! What may be tested of a candidate, and what is demanded of it. A test is a guardrail or a signal by where it
//! stands.
//!
//! R1. A figure is a mean over rows, or the share of rows that something holds of: of those there are tests that stay
//!     right however often somebody looks. A latency is one too: the share of answers that took longer than a budget.
//! R2. A margin of a share is in percentage points; `10%` of one could be read both ways and is refused.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;
use serde::{Deserialize, Serialize};

use crate::ledger::Share;
use crate::manifest::Span;
use crate::monitor::{fairness, quality};
use crate::name::MetricName;
use crate::refusal::Refusal;

/// One test: `{metric: error_rate, worse_by: 0.2pp}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What is measured: `error_rate`, `latency`, `cost_per_1k`, `loss`, a metric of quality such as `accuracy`, the
    /// same before labels come as `estimated.accuracy`, `fairness.true_positive`, `prediction_drift`,
    /// `disagreement`, or what callers post with a prediction's id as `posted.NAME`.
    pub metric: Measure,
    /// How much worse than the control it may be: `0.2pp`, `0.01`, or of means `10%` of the control's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worse_by: Option<Margin>,
    /// For `latency`: the budget of an answer. Without it, with `worse_by`, the incumbent's 99th percentile when the
    /// rollout starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Span>,
    /// For `latency`: the share of answers that may be over the budget. With `1%` the 99th percentile is within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Share>,
    /// For `disagreement`: the share of answers that may be other ones than the incumbent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Share>,
    /// For `prediction_drift`: the Jensen-Shannon distance from the control's predictions that is tolerated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub js_below: Option<f64>,
    /// For `fairness`: the column or attribute whose values are the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// For `posted`: which way is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better: Option<Better>,
    /// Whether the rollout holds while there is nothing to tell it of, once its stage has lasted as long as it must and
    /// labels were waited for. Without it yes, unless it needs labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub must_have_data: Option<bool>,
}

/// Which way a number is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The share of requests that the version did not answer.
    ErrorRate,
    /// The share of answers that took longer than a budget.
    Latency,
    /// What a thousand predictions cost.
    CostPer1k,
    /// The loss of the model's task: logarithmic, or the absolute error.
    Loss,
    /// How right it is.
    Quality(quality::Metric),
    /// How right it is taken to be before labels come.
    Estimated(quality::Metric),
    /// The gap between groups.
    Fairness(fairness::Metric),
    /// How far its predictions are from the control's.
    PredictionDrift,
    /// The share of its answers that are other ones than the incumbent's to the same requests, in the shadow.
    Disagreement,
    /// A number that callers post with a prediction's id.
    Posted(String),
}

/// Metrics of quality that are means over rows or shares of them (R1).
const OF_ROWS: [quality::Metric; 7] = [
    quality::Metric::Accuracy,
    quality::Metric::Precision,
    quality::Metric::Recall,
    quality::Metric::LogLoss,
    quality::Metric::Brier,
    quality::Metric::Mae,
    quality::Metric::Mape,
];

/// What there is, for who named what there is not.
const KNOWN: &str = "error_rate, latency, cost_per_1k, loss, accuracy, precision, recall, log_loss, brier, mae, mape, \
                     accuracy, precision, log_loss and brier as estimated.NAME too, fairness.NAME, prediction_drift, \
                     disagreement and posted.NAME";

impl FromStr for Measure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(80).collect();
        let unknown = || format!("`{shown}` cannot be tested; what can is {KNOWN}");
        match text {
            "error_rate" => return Ok(Self::ErrorRate),
            "latency" => return Ok(Self::Latency),
            "cost_per_1k" => return Ok(Self::CostPer1k),
            "loss" => return Ok(Self::Loss),
            "prediction_drift" => return Ok(Self::PredictionDrift),
            "disagreement" => return Ok(Self::Disagreement),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("fairness.") {
            let known = fairness::Metric::ALL.into_iter();
            let metric = known.clone().find(|it| it.name() == name);
            let names: Vec<&str> = known.map(fairness::Metric::name).collect();
            return metric.map(Self::Fairness).ok_or_else(|| {
                let names = names.join(", ");
                format!("`{shown}` is no rate of groups; those are {names}")
            });
        }
        if let Some(name) = text.strip_prefix("posted.") {
            let name: MetricName = name.parse().map_err(|it: Refusal| it.to_string())?;
            return Ok(Self::Posted(name.as_str().to_owned()));
        }
        let (name, kind): (_, fn(quality::Metric) -> Self) = match text.strip_prefix("estimated.") {
            Some(name) => (name, Self::Estimated),
            None => (text, Self::Quality),
        };
        let read = quality::Metric::deserialize(name.into_deserializer());
        let metric = read.map_err(|_: ValueError| unknown())?;
        if !OF_ROWS.contains(&metric) {
            return Err(format!(
                "`{shown}` is not a mean over rows, and only of those there are tests that stay right while people \
                 look; `loss` is one"
            ));
        }
        Ok(kind(metric))
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorRate => f.write_str("error_rate"),
            Self::Latency => f.write_str("latency"),
            Self::CostPer1k => f.write_str("cost_per_1k"),
            Self::Loss => f.write_str("loss"),
            Self::Quality(metric) => f.write_str(metric.name()),
            Self::Estimated(metric) => write!(f, "estimated.{}", metric.name()),
            Self::Fairness(metric) => write!(f, "fairness.{}", metric.name()),
            Self::PredictionDrift => f.write_str("prediction_drift"),
            Self::Disagreement => f.write_str("disagreement"),
            Self::Posted(name) => write!(f, "posted.{name}"),
        }
    }
}

crate::manifest::text_setting!(
    Measure,
    "What is measured: `error_rate`, `latency`, `accuracy`, `fairness.true_positive`, `posted.revenue`.",
    "^[a-z_0-9]+([.].+)?$"
);

impl Measure {
    /// Whether it is known only when labels have come.
    pub fn needs_labels(&self) -> bool {
        match self {
            Self::Loss | Self::Quality(_) => true,
            Self::Fairness(metric) => *metric != fairness::Metric::Selection,
            Self::ErrorRate
            | Self::Latency
            | Self::CostPer1k
            | Self::Estimated(_)
            | Self::PredictionDrift
            | Self::Disagreement
            | Self::Posted(_) => false,
        }
    }

    /// Which way it is better; none where only who posts it can say, or where neither way is.
    pub fn better(&self) -> Option<Better> {
        match self {
            Self::ErrorRate | Self::Latency | Self::CostPer1k | Self::Loss | Self::Fairness(_) => {
                Some(Better::Lower)
            }
            Self::Quality(metric) | Self::Estimated(metric) => Some(match metric.is_error() {
                true => Better::Lower,
                false => Better::Higher,
            }),
            Self::PredictionDrift | Self::Disagreement | Self::Posted(_) => None,
        }
    }

    /// Whether it is a share, from 0 to 1.
    pub fn is_share(&self) -> bool {
        use quality::Metric::{Accuracy, Precision, Recall};
        match self {
            Self::ErrorRate | Self::Latency | Self::Disagreement | Self::Fairness(_) => true,
            Self::Quality(metric) | Self::Estimated(metric) => {
                matches!(metric, Accuracy | Precision | Recall)
            }
            Self::CostPer1k | Self::Loss | Self::PredictionDrift | Self::Posted(_) => false,
        }
    }

    /// Why so much of it is no margin, where it is none.
    pub(crate) fn check_margin(&self, margin: Margin) -> Result<(), String> {
        match margin {
            Margin::Relative(_) if self.is_share() => Err(format!(
                "`{margin}` of a share can be read both ways; say percentage points, such as `0.5pp`"
            )),
            Margin::Absolute(size) if self.is_share() && size >= 1.0 => Err(format!(
                "`{size}` is more than a share can move; `1pp` is `0.01`"
            )),
            Margin::Absolute(_) | Margin::Relative(_) => Ok(()),
        }
    }
}

/// How much worse something may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// By so much, in its own unit; of a share `0.01` is one percentage point.
    Absolute(f64),
    /// By this part of what the control has.
    Relative(f64),
}

impl FromStr for Margin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a margin such as `0.2pp`, `0.01` or `10%`");
        let plain = text.trim();
        let number = |it: &str| it.trim_end().parse::<f64>().map_err(|_| wrong());
        let margin = if let Some(points) = plain.strip_suffix("pp") {
            Self::Absolute(number(points)? / 100.0)
        } else if let Some(percent) = plain.strip_suffix('%') {
            Self::Relative(number(percent)? / 100.0)
        } else {
            Self::Absolute(number(plain)?)
        };
        let (Self::Absolute(size) | Self::Relative(size)) = margin;
        if !size.is_finite() {
            return Err(wrong());
        }
        if size <= 0.0 {
            return Err(format!(
                "`{text}` is not over 0; without a margin none could be shown to be no worse"
            ));
        }
        Ok(margin)
    }
}

impl fmt::Display for Margin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(size) => size.fmt(f),
            // Without the last bits of the division by 100.
            Self::Relative(size) => write!(f, "{}%", (size * 1e12).round() / 1e10),
        }
    }
}

impl Margin {
    /// In the metric's own unit, where the control has this.
    pub fn size(self, control: f64) -> f64 {
        match self {
            Self::Absolute(size) => size,
            Self::Relative(part) => part * control.abs(),
        }
    }
}

crate::manifest::text_setting!(
    Margin,
    "How much worse: `0.2pp` for percentage points, `0.01`, or `10%` of the control's.",
    "^ *[0-9.]+(e-?[0-9]+)? *(pp|%)?$"
);

/// What a test demands, as one that was checked says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Demand {
    /// The candidate is not worse than the control by more than this.
    NoWorse(Margin),
    /// The candidate's figure is at most this.
    AtMost(f64),
}

impl Test {
    /// A test of this, which demands nothing yet.
    pub(crate) fn of(metric: Measure) -> Self {
        Self {
            metric,
            worse_by: None,
            over: None,
            allow: None,
            below: None,
            js_below: None,
            by: None,
            better: None,
            must_have_data: None,
        }
    }

    /// What it is called: its metric, and what tells it from other tests of the same one.
    pub fn name(&self) -> String {
        match (&self.over, &self.by) {
            (Some(over), _) => format!("{} over {over}", self.metric),
            (None, Some(by)) => format!("{} by {by}", self.metric),
            (None, None) => self.metric.to_string(),
        }
    }

    /// What it demands; else the setting that is wrong and why.
    pub fn demand(&self) -> Result<Demand, (&'static str, String)> {
        let metric = &self.metric;
        let takes: &[&str] = match metric {
            Measure::Latency => &["worse_by", "over", "allow"],
            Measure::Fairness(_) => &["worse_by", "by"],
            Measure::PredictionDrift => &["js_below"],
            Measure::Disagreement => &["below"],
            Measure::Posted(_) => &["worse_by", "better"],
            Measure::ErrorRate
            | Measure::CostPer1k
            | Measure::Loss
            | Measure::Quality(_)
            | Measure::Estimated(_) => &["worse_by"],
        };
        let said = [
            ("worse_by", self.worse_by.is_some()),
            ("over", self.over.is_some()),
            ("allow", self.allow.is_some()),
            ("below", self.below.is_some()),
            ("js_below", self.js_below.is_some()),
            ("by", self.by.is_some()),
            ("better", self.better.is_some()),
        ];
        let stranger = said
            .iter()
            .find(|(field, is_said)| *is_said && !takes.contains(field));
        if let Some((field, _)) = stranger {
            let takes = takes.join("`, `");
            return Err((field, format!("`{metric}` does not take it, but `{takes}`")));
        }
        if self.over.is_some_and(|it| it.0.is_zero()) {
            return Err(("over", "`0s` is over before it begins".to_owned()));
        }
        if matches!(metric, Measure::Fairness(_)) && self.by.as_ref().is_none_or(String::is_empty) {
            return Err((
                "by",
                format!("`{metric}` needs the column or attribute of the groups"),
            ));
        }
        if matches!(metric, Measure::Posted(_)) && self.better.is_none() {
            let why = format!("`{metric}` needs `higher` or `lower`");
            return Err(("better", why));
        }
        let open = |field, limit: f64| match limit > 0.0 && limit < 1.0 {
            true => Ok(Demand::AtMost(limit)),
            false => Err((field, format!("`{limit}` is not over 0 and below 1"))),
        };
        match (metric, self.worse_by, self.allow) {
            (Measure::PredictionDrift, ..) => open("js_below", self.js_below.unwrap_or(0.0)),
            (Measure::Disagreement, ..) => open("below", self.below.map(Share::get).unwrap_or(0.0)),
            (Measure::Latency, Some(_), Some(_)) => {
                let why = "there is `worse_by` too; leave one of them out".to_owned();
                Err(("allow", why))
            }
            (Measure::Latency, None, Some(allow)) if self.over.is_some() => {
                open("allow", allow.get())
            }
            (Measure::Latency, None, Some(_)) => {
                Err(("over", "`allow` needs a budget such as `50ms`".to_owned()))
            }
            (_, Some(margin), _) => match metric.check_margin(margin) {
                Ok(()) => Ok(Demand::NoWorse(margin)),
                Err(why) => Err(("worse_by", why)),
            },
            (_, None, _) => {
                let why = match metric {
                    Measure::Latency => "it needs `worse_by`, or `over` with `allow`".to_owned(),
                    _ => format!("`{metric}` needs how much worse it may be, such as `0.5pp`"),
                };
                Err(("worse_by", why))
            }
        }
    }

    /// Whether it compares the candidate with the control, so that it says nothing where keys are not split as intended.
    pub fn is_comparison(&self) -> bool {
        self.worse_by.is_some() || self.metric == Measure::PredictionDrift
    }

    /// Whether its budget is the incumbent's own latency, which is not known yet.
    pub(super) fn takes_incumbents_latency(&self) -> bool {
        self.metric == Measure::Latency && self.over.is_none()
    }

    /// Whether it is told of what the candidate answers unheard.
    pub fn is_of_shadow(&self) -> bool {
        self.metric == Measure::Disagreement
    }

    /// Whether it rests on what scores mean, which is learned before the candidate answers anybody.
    pub fn is_learned(&self) -> bool {
        matches!(self.metric, Measure::Estimated(_))
    }

    /// Whether the rollout holds while there is nothing to tell it of.
    pub fn must_have_data(&self) -> bool {
        let default = !self.metric.needs_labels();
        self.must_have_data.unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let got = match serde_json::from_str::<Test>(text) {
            Err(error) => error.to_string(),
            Ok(test) => match test.demand() {
                Err((field, why)) => format!("{field}: {why}"),
                Ok(demand) => format!("{}: {demand:?}", test.name()),
            },
        };
        assert!(got.starts_with(want), "{got}");
    }

    #[test]
    fn each_metric_takes_what_it_needs() {
        for (text, want) in [
            (
                r#"{"metric":"error_rate","worse_by":"0.2pp"}"#,
                "error_rate: NoWorse(Absolute(0.002))",
            ),
            (
                r#"{"metric":"latency","over":"50ms","allow":"1%"}"#,
                "latency over 50ms: AtMost(0.01)",
            ),
            (
                r#"{"metric":"latency","worse_by":"2pp"}"#,
                "latency: NoWorse(Absolute(0.02))",
            ),
            (
                r#"{"metric":"cost_per_1k","worse_by":"10%"}"#,
                "cost_per_1k: NoWorse(Relative(0.1))",
            ),
            (
                r#"{"metric":"loss","worse_by":"0.01"}"#,
                "loss: NoWorse(Absolute(0.01))",
            ),
            (
                r#"{"metric":"estimated.accuracy","worse_by":"1pp"}"#,
                "estimated.accuracy: NoWorse(Absolute(0.01))",
            ),
            (
                r#"{"metric":"fairness.true_positive","by":"Sex","worse_by":"2pp"}"#,
                "fairness.true_positive by Sex: NoWorse(Absolute(0.02))",
            ),
            (
                r#"{"metric":"prediction_drift","js_below":0.1}"#,
                "prediction_drift: AtMost(0.1)",
            ),
            (
                r#"{"metric":"disagreement","below":"8%"}"#,
                "disagreement: AtMost(0.08)",
            ),
            (
                r#"{"metric":"posted.revenue","worse_by":"2%","better":"higher"}"#,
                "posted.revenue: NoWorse(Relative(0.02))",
            ),
        ] {
            check(text, want);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        for (text, want) in [
            (
                r#"{"metric":"error_rate"}"#,
                "worse_by: `error_rate` needs how much worse",
            ),
            (
                r#"{"metric":"error_rate","worse_by":"10%"}"#,
                "worse_by: `10%` of a share can be read both ways",
            ),
            (
                r#"{"metric":"error_rate","worse_by":"2"}"#,
                "worse_by: `2` is more than a share can move",
            ),
            (
                r#"{"metric":"error_rate","worse_by":"0pp"}"#,
                "`0pp` is not over 0",
            ),
            (
                r#"{"metric":"error_rate","worse_by":"NaN"}"#,
                "`NaN` is not a margin",
            ),
            (
                r#"{"metric":"error_rate","over":"1s"}"#,
                "over: `error_rate` does not take it, but `worse_by`",
            ),
            (
                r#"{"metric":"latency","allow":"1%"}"#,
                "over: `allow` needs a budget",
            ),
            (
                r#"{"metric":"latency","over":"50ms"}"#,
                "worse_by: it needs `worse_by`, or",
            ),
            (
                r#"{"metric":"latency","over":"50ms","allow":"1%","worse_by":"1pp"}"#,
                "allow: there is `worse_by` too",
            ),
            (
                r#"{"metric":"latency","over":"50ms","allow":"0%"}"#,
                "allow: `0` is not over 0",
            ),
            (
                r#"{"metric":"fairness.selection","worse_by":"2pp"}"#,
                "by: `fairness.selection` needs the column",
            ),
            (
                r#"{"metric":"fairness.parity","worse_by":"2pp"}"#,
                "`fairness.parity` is no rate of groups; those are selection,",
            ),
            (
                r#"{"metric":"prediction_drift"}"#,
                "js_below: `0` is not over 0",
            ),
            (
                r#"{"metric":"posted.x","worse_by":"1"}"#,
                "better: `posted.x` needs",
            ),
            (
                r#"{"metric":"posted. ","worse_by":"1"}"#,
                "metric ` ` is not one",
            ),
            (
                r#"{"metric":"roc_auc","worse_by":"1pp"}"#,
                "`roc_auc` is not a mean over rows",
            ),
            (
                r#"{"metric":"acuracy","worse_by":"1pp"}"#,
                "`acuracy` cannot be tested; what can is error_rate,",
            ),
            (
                r#"{"metric":"loss","worseby":"1"}"#,
                "unknown field `worseby`",
            ),
        ] {
            check(text, want);
        }
    }

    #[test]
    fn settings_are_printed_as_they_are_read() {
        for text in ["0.002", "10%", "0.7%", "33.3%"] {
            let margin: Margin = text.parse().expect(text);
            assert_eq!(margin.to_string(), text);
        }
        for text in [
            "error_rate",
            "latency",
            "cost_per_1k",
            "loss",
            "accuracy",
            "estimated.brier",
            "fairness.selection",
            "prediction_drift",
            "disagreement",
            "posted.revenue",
        ] {
            let measure: Measure = text.parse().expect(text);
            assert_eq!(measure.to_string(), text);
        }
    }
}
