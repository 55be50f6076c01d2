//! Metrics of a report by their names, and as they are answered.

use ::ledger::Report;
use stats::Estimate;
use wire::api::ledger::MetricRecord;

/// The metrics that the rows of a report have.
pub(crate) fn metrics(report: &Report) -> Vec<(&'static str, Estimate)> {
    let all: Vec<(&'static str, Option<Estimate>)> = match report {
        Report::Binary { report: it, .. } => vec![
            ("accuracy", it.accuracy),
            ("precision", it.precision),
            ("recall", it.recall),
            ("f1", it.f1),
            ("roc_auc", it.roc_auc),
            ("average_precision", it.average_precision),
            ("log_loss", it.log_loss),
            ("brier", it.brier),
            ("calibration_error", it.calibration_error),
        ],
        Report::Multiclass { report: it, .. } => vec![
            ("accuracy", it.accuracy),
            ("macro_precision", it.macro_precision),
            ("macro_recall", it.macro_recall),
            ("macro_f1", it.macro_f1),
            ("weighted_f1", it.weighted_f1),
            ("roc_auc_ovr", it.roc_auc_ovr),
            ("log_loss", it.log_loss),
            ("brier", it.brier),
            ("calibration_error", it.calibration_error),
        ],
        Report::Regression(it) => vec![
            ("mae", it.mae),
            ("rmse", it.rmse),
            ("mape", it.mape),
            ("r2", it.r2),
            ("bias", it.bias),
        ],
    };
    let measured = all.into_iter();
    measured
        .filter_map(|(name, estimate)| Some((name, estimate?)))
        .collect()
}

/// A figure and its interval.
pub(crate) fn metric_record(estimate: Estimate) -> MetricRecord {
    MetricRecord {
        value: estimate.value,
        low: estimate.low,
        high: estimate.high,
    }
}
