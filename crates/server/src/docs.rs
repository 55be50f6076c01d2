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
    let versions = stats::METRICS.iter();
    let versions = versions.map(|it| (it.0, it.1, "model, version", it.2));
    let rollouts = stats::ROLLOUTS.iter().map(|it| (it.0, it.1, it.2, it.3));
    let experiments = stats::EXPERIMENTS.iter();
    let experiments = experiments.map(|it| (it.0, it.1, it.2, it.3));
    let process = stats::PROCESS.iter().map(|it| (it.0, it.1, "", it.2));
    let parted = stats::PARTED.iter().map(|it| (it.0, it.1, it.2, it.3));
    let all = versions.chain(rollouts).chain(experiments);
    let all = all.chain(process).chain(parted);
    let doc = |(name, kind, labels, about)| MetricDoc {
        name,
        kind,
        labels,
        about,
    };
    all.map(doc).collect()
}
