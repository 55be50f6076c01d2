//! What the reference pages print of this crate.

use crate::stats;

/// A metric in `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDoc {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static str,
    /// What it counts.
    pub about: &'static str,
}

/// Every metric, in the order printed.
pub fn metrics() -> Vec<MetricDoc> {
    let versions = stats::METRICS
        .iter()
        .map(|(name, kind, about, _)| MetricDoc {
            name,
            kind,
            labels: "model, version",
            about,
        });
    let experiments = stats::EXPERIMENTS
        .iter()
        .map(|(name, kind, labels, about, _)| MetricDoc {
            name,
            kind,
            labels,
            about,
        });
    let process = stats::PROCESS
        .iter()
        .map(|(name, kind, about, _)| MetricDoc {
            name,
            kind,
            labels: "",
            about,
        });
    let (name, kind, about) = stats::ALERTS_FIRING;
    let alerts = MetricDoc {
        name,
        kind,
        labels: "severity",
        about,
    };
    let all = versions.chain(experiments).chain(process);
    all.chain([alerts]).collect()
}
