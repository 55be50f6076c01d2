//! Whether a model is wrong more often than it was.
//!
//! Where the errors changed is `stats::detect::regimes`'s to say; here is what may be set, and what is an alarm.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limit::{Figure, Limit};
use crate::alert::Verdict;

/// Whether a model is wrong more often than it was, by the labels that have come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Setting {
    /// Whether it is not watched at all.
    pub off: bool,
    /// The smallest rise that matters: of the share of wrong answers; of a model of numbers, of the mean error as a
    /// part of the error that 95 of 100 rows do not exceed.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub margin: f64,
    /// Labelled rows with which it is looked at, at least.
    pub support: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            off: false,
            margin: 0.01,
            support: 300,
        }
    }
}

impl Setting {
    /// Whether nothing was said.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is said of so many rows, and of the rise that was found among them: an alarm is only what surely rose by
    /// more than matters.
    pub fn judge(&self, rows: u64, rise: Option<Figure>) -> Verdict {
        if rows < self.support {
            return Verdict::Unknown;
        }
        rise.map_or(Verdict::Fine, |it| Limit::Over(self.margin).judge(it))
    }

    /// Refuses what makes no sense: the field below `monitor`, and why.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |field: &str, why| Err((format!("concept_drift.{field}"), why));
        let margin = self.margin;
        if !(0.0..=1.0).contains(&margin) {
            return wrong("margin", format!("`{margin}` is not from 0 to 1"));
        }
        if self.support == 0 {
            return wrong("support", "`0` is less than 1".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_a_rise_that_surely_matters() {
        let setting = Setting::default();
        let rise = |value, low| {
            let figure = Figure {
                value,
                low: Some(low),
                high: Some(value + 0.1),
            };
            setting.judge(1_000, Some(figure))
        };
        assert_eq!(rise(0.1, 0.02), Verdict::Bad);
        assert_eq!(rise(0.1, 0.009), Verdict::Unknown);
        assert_eq!(rise(0.009, 0.001), Verdict::Fine);
        assert_eq!(setting.judge(1_000, None), Verdict::Fine);
        assert_eq!(setting.judge(299, None), Verdict::Unknown);
    }
}
