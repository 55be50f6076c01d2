//! Metrics of a report by their names, and figures as they are judged, answered and said.

#[cfg(test)]
use ::ledger::Group;
use ::ledger::Report;
use domain::monitor::limit::Figure;
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

/// An estimate as `domain` judges it.
pub(crate) fn figure(estimate: Estimate) -> Figure {
    Figure {
        value: estimate.value,
        low: estimate.low,
        high: estimate.high,
    }
}

/// `0.620 [0.580, 0.660]`.
pub(crate) fn shown(figure: Figure) -> String {
    let value = rounded(figure.value);
    match (figure.low, figure.high) {
        (Some(low), Some(high)) => format!("{value} [{}, {}]", rounded(low), rounded(high)),
        _ => value,
    }
}

/// With so many digits as people compare.
pub(crate) fn rounded(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A group of no rows, whose tests fill in what they are about.
#[cfg(test)]
pub(crate) fn group_of(report: Report) -> Group {
    Group {
        version: 1,
        by: std::collections::BTreeMap::new(),
        from_us: None,
        predictions: 0,
        failed: 0,
        labelled: 0,
        provisional: false,
        unread: 0,
        called: ::ledger::Called::default(),
        scored: Vec::new(),
        losses: Vec::new(),
        examples: Vec::new(),
        report,
    }
}

/// The report of these rows, which are `bad` or `good`.
#[cfg(test)]
pub(crate) fn report_of(rows: stats::Binary) -> Report {
    Report::Binary {
        positive: "bad".to_owned(),
        negative: "good".to_owned(),
        report: rows.report(0.95),
    }
}
