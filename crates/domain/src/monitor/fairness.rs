//! Whether groups should be treated alike, and whether they are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limit::{Figure, Limit};
use crate::alert::Verdict;
use crate::task::Task;

/// Whether a model of two classes treats groups alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Setting {
    /// The columns whose values are the groups, each by itself.
    pub by: Vec<String>,
    /// The rates that should be alike.
    pub metrics: Vec<Metric>,
    /// The largest gap between two groups that is tolerated.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gap_max: f64,
    /// The fewest rows under a rate with which its group takes part.
    pub support: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            by: Vec::new(),
            metrics: vec![Metric::Selection, Metric::TruePositive],
            gap_max: 0.1,
            support: 50,
        }
    }
}

/// A rate that should be alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Called positive, of all: demographic parity. It needs no labels.
    Selection,
    /// Called positive, of the positive: equal opportunity.
    TruePositive,
    /// Called positive, of the negative.
    FalsePositive,
    /// The larger gap of the last two: equalised odds.
    EqualisedOdds,
    /// Called what they are.
    Accuracy,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Selection,
        Self::TruePositive,
        Self::FalsePositive,
        Self::EqualisedOdds,
        Self::Accuracy,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Selection => "selection",
            Self::TruePositive => "true_positive",
            Self::FalsePositive => "false_positive",
            Self::EqualisedOdds => "equalised_odds",
            Self::Accuracy => "accuracy",
        }
    }
}

/// The most columns, as each is counted by itself.
const BY_MAX: usize = 8;

impl Setting {
    /// Whether nothing was said.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How many questions it asks, each of which may be answered wrongly.
    pub fn questions(&self) -> usize {
        self.by.len() * self.metrics.len()
    }

    /// What is said of a gap; none where there are not two groups with enough rows.
    pub fn judge(&self, gap: Option<Figure>) -> Verdict {
        gap.map_or(Verdict::Unknown, |it| Limit::Over(self.gap_max).judge(it))
    }

    /// Refuses what makes no sense: the field below `monitor`, and why.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |field: &str, why| Err((format!("fairness.{field}"), why));
        if self.by.is_empty() && !self.is_default() {
            return wrong(
                "by",
                "it names no column, so there are no groups".to_owned(),
            );
        }
        if self.by.len() > BY_MAX {
            let got = self.by.len();
            return wrong(
                "by",
                format!("it names {got} columns, at most are {BY_MAX}"),
            );
        }
        let twice = |place: &usize| self.by[..*place].contains(&self.by[*place]);
        if let Some(place) = (0..self.by.len()).find(twice) {
            return wrong("by", format!("`{}` is there twice", self.by[place]));
        }
        if self.metrics.is_empty() {
            return wrong("metrics", "it names no rate".to_owned());
        }
        let gap = self.gap_max;
        if !(0.0..=1.0).contains(&gap) {
            return wrong("gap_max", format!("`{gap}` is not from 0 to 1"));
        }
        if self.support == 0 {
            return wrong("support", "`0` is less than 1".to_owned());
        }
        Ok(())
    }

    /// Refuses it for a model of another task: the field below `monitor`, and why.
    pub(super) fn check_task(&self, task: Option<&Task>) -> Result<(), (String, String)> {
        let is_binary = matches!(task, Some(Task::Binary { .. }));
        if self.by.is_empty() || is_binary {
            return Ok(());
        }
        let why = "only a model whose `task` is binary has rates to compare".to_owned();
        Err(("fairness".to_owned(), why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_bad_where_its_lower_bound_is_over_what_is_tolerated() {
        let setting = Setting::default();
        let of = |value, low, high| {
            setting.judge(Some(Figure {
                value,
                low: Some(low),
                high: Some(high),
            }))
        };
        assert_eq!(of(0.3, 0.15, 0.4), Verdict::Bad);
        assert_eq!(of(0.3, 0.05, 0.5), Verdict::Unknown);
        assert_eq!(of(0.05, 0.0, 0.2), Verdict::Fine);
        assert_eq!(setting.judge(None), Verdict::Unknown);
    }

    #[test]
    fn rates_have_the_names_that_settings_have() {
        for metric in Metric::ALL {
            let read: Metric = serde_json::from_value(metric.name().into()).expect("a rate");
            assert_eq!(read, metric);
        }
    }
}
