//! How right a model should be, and whether it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limit::{Figure, Limit};
use crate::alert::Verdict;
use crate::task::Task;

/// What is demanded of a metric: `{metric: accuracy, under: 0.7}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// The metric.
    pub metric: Metric,
    /// It is bad under this; of metrics that are better the higher they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<f64>,
    /// It is bad over this; of metrics that are better the lower they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<f64>,
    /// It is bad where it is worse than in earlier windows by more than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worse_by: Option<f64>,
    /// Labelled predictions of a window with which it is looked at, at least.
    #[serde(default = "support")]
    pub support: u64,
}

fn support() -> u64 {
    100
}

/// A metric with a better and a worse side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of right answers.
    Accuracy,
    /// Of two classes: the positive among those called so.
    Precision,
    /// Of two classes: those called positive among the positive.
    Recall,
    /// Of two classes: the harmonic mean of both.
    F1,
    /// The mean precision of several classes.
    MacroPrecision,
    /// The mean recall of several classes.
    MacroRecall,
    /// The mean F1 of several classes.
    MacroF1,
    /// The same, by how frequent the classes are.
    WeightedF1,
    /// Of two classes: the area under the ROC curve.
    RocAuc,
    /// Of several classes: each against the rest.
    RocAucOvr,
    /// Of two classes: the area under the precision-recall curve.
    AveragePrecision,
    /// The logarithmic loss of the scores.
    LogLoss,
    /// The squared loss of the scores.
    Brier,
    /// How far scores are from the shares that they should be.
    CalibrationError,
    /// The mean absolute error.
    Mae,
    /// The root of the mean squared error.
    Rmse,
    /// The mean absolute error as a share of the truth.
    Mape,
    /// The share of the variance that is explained.
    R2,
}

/// For which tasks a metric is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Binary,
    Multiclass,
    Classes,
    Numbers,
}

impl Metric {
    /// How right answers to this question are is told by it first; an embedding is neither right nor wrong.
    pub fn headline(task: &Task) -> Option<Self> {
        match task {
            Task::Binary { .. } | Task::Multiclass { .. } => Some(Self::Accuracy),
            Task::Regression { .. } => Some(Self::Mae),
            Task::Embedding { .. } => None,
        }
    }

    /// Its name, as reports have it.
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// Whether it is better the lower it is.
    pub fn is_error(self) -> bool {
        self.entry().1
    }

    /// Whether it can be told of answers to this question.
    pub fn fits(self, task: &Task) -> bool {
        let of = self.entry().2;
        match task {
            Task::Binary { .. } => matches!(of, Of::Binary | Of::Classes),
            Task::Multiclass { .. } => matches!(of, Of::Multiclass | Of::Classes),
            Task::Regression { .. } => of == Of::Numbers,
            Task::Embedding { .. } => false,
        }
    }

    fn entry(self) -> (&'static str, bool, Of) {
        match self {
            Self::Accuracy => ("accuracy", false, Of::Classes),
            Self::Precision => ("precision", false, Of::Binary),
            Self::Recall => ("recall", false, Of::Binary),
            Self::F1 => ("f1", false, Of::Binary),
            Self::MacroPrecision => ("macro_precision", false, Of::Multiclass),
            Self::MacroRecall => ("macro_recall", false, Of::Multiclass),
            Self::MacroF1 => ("macro_f1", false, Of::Multiclass),
            Self::WeightedF1 => ("weighted_f1", false, Of::Multiclass),
            Self::RocAuc => ("roc_auc", false, Of::Binary),
            Self::RocAucOvr => ("roc_auc_ovr", false, Of::Multiclass),
            Self::AveragePrecision => ("average_precision", false, Of::Binary),
            Self::LogLoss => ("log_loss", true, Of::Classes),
            Self::Brier => ("brier", true, Of::Classes),
            Self::CalibrationError => ("calibration_error", true, Of::Classes),
            Self::Mae => ("mae", true, Of::Numbers),
            Self::Rmse => ("rmse", true, Of::Numbers),
            Self::Mape => ("mape", true, Of::Numbers),
            Self::R2 => ("r2", false, Of::Numbers),
        }
    }
}

/// What was measured of a metric in the newest window whose labels have come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Labelled predictions.
    pub labelled: u64,
    /// The metric.
    pub metric: Figure,
    /// The metric less that of the windows before; none without such windows.
    pub change: Option<Figure>,
}

/// What is said of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It is as it should be.
    Fine,
    /// It is beyond its limit.
    Beyond,
    /// It is worse than it was, by more than it may be.
    Worse,
    /// No window has enough labels.
    TooFew,
    /// Chance may be what makes it look bad.
    Unsure,
}

impl Ruling {
    /// The verdict.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Fine => Verdict::Fine,
            Self::Beyond | Self::Worse => Verdict::Bad,
            Self::TooFew | Self::Unsure => Verdict::Unknown,
        }
    }
}

impl Demand {
    /// What is measured although nobody demands anything of it: no manifest says so, and nothing is judged by it.
    pub fn of_nothing(metric: Metric) -> Self {
        Self {
            metric,
            under: None,
            over: None,
            worse_by: None,
            support: support(),
        }
    }

    /// The limit of the metric itself.
    pub fn limit(&self) -> Option<Limit> {
        let under = self.under.map(Limit::Under);
        under.or_else(|| self.over.map(Limit::Over))
    }

    /// The limit of its change.
    pub fn change_limit(&self) -> Option<Limit> {
        let by = self.worse_by?;
        Some(match self.metric.is_error() {
            true => Limit::Over(by),
            false => Limit::Under(-by),
        })
    }

    /// How many questions it asks, each of which may be answered wrongly.
    pub fn questions(&self) -> usize {
        usize::from(self.limit().is_some()) + usize::from(self.worse_by.is_some())
    }

    /// What is said of what was measured. What cannot be asked yet, for want of earlier windows, is not asked.
    pub fn judge(&self, measured: Option<&Measured>) -> Ruling {
        let Some(measured) = measured.filter(|it| it.labelled >= self.support) else {
            return Ruling::TooFew;
        };
        let limit = self.limit().map(|it| it.judge(measured.metric));
        let change = self
            .change_limit()
            .zip(measured.change)
            .map(|(limit, change)| limit.judge(change));
        match (limit, change) {
            (Some(Verdict::Bad), _) => Ruling::Beyond,
            (_, Some(Verdict::Bad)) => Ruling::Worse,
            (Some(Verdict::Unknown), _) | (_, Some(Verdict::Unknown)) => Ruling::Unsure,
            (None, None) => Ruling::TooFew,
            (_, _) => Ruling::Fine,
        }
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let name = self.metric.name();
        let wrong = |field, why| Err((field, why));
        if self.metric.is_error() && self.under.is_some() {
            let why = format!("`{name}` is better the lower it is; set `over`");
            return wrong("under", why);
        }
        if !self.metric.is_error() && self.over.is_some() {
            let why = format!("`{name}` is better the higher it is; set `under`");
            return wrong("over", why);
        }
        for (field, value) in [("under", self.under), ("over", self.over)] {
            if let Some(value) = value.filter(|it| !it.is_finite()) {
                return wrong(field, format!("`{value}` is no number"));
            }
        }
        if let Some(by) = self.worse_by.filter(|it| !(it.is_finite() && *it >= 0.0)) {
            return wrong("worse_by", format!("`{by}` is not 0 or more"));
        }
        if self.questions() == 0 {
            let side = if self.metric.is_error() {
                "over"
            } else {
                "under"
            };
            let why = format!("nothing is demanded of `{name}`; set `{side}` or `worse_by`");
            return wrong("metric", why);
        }
        if self.support == 0 {
            return wrong("support", "`0` is less than 1".to_owned());
        }
        Ok(())
    }
}

/// Refuses what makes no sense: the field below `monitor`, and why.
pub(super) fn check(demands: &[Demand]) -> Result<(), (String, String)> {
    for (place, demand) in demands.iter().enumerate() {
        demand
            .check()
            .map_err(|(field, why)| (format!("quality[{place}].{field}"), why))?;
        if demands[..place].iter().any(|it| it.metric == demand.metric) {
            let why = format!("`{}` is there twice", demand.metric.name());
            return Err((format!("quality[{place}].metric"), why));
        }
    }
    Ok(())
}

/// Refuses metrics that answers to this question do not have: the field below `monitor`, and why.
pub(super) fn check_task(demands: &[Demand], task: Option<&Task>) -> Result<(), (String, String)> {
    for (place, demand) in demands.iter().enumerate() {
        let name = demand.metric.name();
        let why = match task {
            None => format!("`{name}` needs a `task`, which says what the answers mean"),
            Some(task) if !demand.metric.fits(task) => {
                format!("`{name}` is not a metric of the model's task")
            }
            Some(_) => continue,
        };
        return Err((format!("quality[{place}].metric"), why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(text: &str) -> Demand {
        serde_json::from_str(text).expect("a demand")
    }

    fn figure(value: f64, about: f64) -> Figure {
        Figure {
            value,
            low: Some(value - about),
            high: Some(value + about),
        }
    }

    fn check_ruling(text: &str, metric: f64, change: Option<f64>, want: Ruling) {
        let measured = Measured {
            labelled: 100,
            metric: figure(metric, 0.05),
            change: change.map(|it| figure(it, 0.05)),
        };
        assert_eq!(demand(text).judge(Some(&measured)), want, "{text} {metric}");
    }

    #[test]
    fn a_metric_is_held_to_its_limit_and_to_its_past() {
        let limit = r#"{"metric":"accuracy","under":0.7}"#;
        check_ruling(limit, 0.6, None, Ruling::Beyond);
        check_ruling(limit, 0.66, None, Ruling::Unsure);
        check_ruling(limit, 0.9, Some(-0.3), Ruling::Fine);
        let both = r#"{"metric":"accuracy","under":0.7,"worse_by":0.02}"#;
        check_ruling(both, 0.8, None, Ruling::Fine);
        check_ruling(both, 0.8, Some(-0.1), Ruling::Worse);
        check_ruling(both, 0.8, Some(-0.04), Ruling::Unsure);
        check_ruling(both, 0.6, Some(-0.1), Ruling::Beyond);
        check_ruling(both, 0.9, Some(0.3), Ruling::Fine);
        let loss = r#"{"metric":"log_loss","worse_by":0.1}"#;
        check_ruling(loss, 0.8, Some(0.2), Ruling::Worse);
        check_ruling(loss, 0.8, Some(-0.5), Ruling::Fine);
        check_ruling(loss, 0.8, None, Ruling::TooFew);
    }

    #[test]
    fn few_labels_say_nothing() {
        let demand = demand(r#"{"metric":"accuracy","under":0.7,"support":101}"#);
        let measured = Measured {
            labelled: 100,
            metric: figure(0.1, 0.05),
            change: None,
        };
        assert_eq!(demand.judge(Some(&measured)), Ruling::TooFew);
        assert_eq!(demand.judge(None), Ruling::TooFew);
    }

    #[test]
    fn what_nobody_asked_is_not_judged() {
        let measured = Measured {
            labelled: 1000,
            metric: figure(0.1, 0.05),
            change: Some(figure(-0.5, 0.05)),
        };
        let task = Task::Regression { value: None };
        let headline = Metric::headline(&task).expect("a metric");
        assert!(headline.fits(&task));
        let demand = Demand::of_nothing(headline);
        assert_eq!(demand.questions(), 0);
        assert_eq!(
            demand.judge(Some(&measured)).verdict(),
            crate::alert::Verdict::Unknown
        );
    }

    #[test]
    fn metrics_have_the_names_that_reports_have() {
        for name in ["f1", "macro_f1", "roc_auc_ovr", "calibration_error", "r2"] {
            let metric: Metric = serde_json::from_value(name.into()).expect("a metric");
            assert_eq!(metric.name(), name);
        }
    }

    #[test]
    fn a_metric_is_one_of_the_models_task() {
        let task = Task::Regression { value: None };
        let said = |text: &str, task: Option<&Task>| match check_task(&[demand(text)], task) {
            Ok(()) => "fits".to_owned(),
            Err((field, why)) => format!("{field}: {why}"),
        };
        let mae = r#"{"metric":"mae","over":1}"#;
        let accuracy = r#"{"metric":"accuracy","under":0.7}"#;
        assert_eq!(said(mae, Some(&task)), "fits");
        let want = "quality[0].metric: `accuracy` is not a metric of the model's task";
        assert_eq!(said(accuracy, Some(&task)), want);
        assert!(said(mae, None).contains("needs a `task`"));
    }
}
