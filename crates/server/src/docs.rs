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
    let rollouts = stats::ROLLOUTS.iter().map(|it| (it.0, it.1, it.2, it.3));
    let experiments = stats::EXPERIMENTS.iter();
    let experiments = experiments.map(|it| (it.0, it.1, it.2, it.3));
    let parted = stats::PARTED.iter().map(|it| (it.0, it.1, it.2, it.3));
    let doc = |(name, kind, labels, about)| MetricDoc {
        name,
        kind,
        labels,
        about,
    };
    let process = stats::PROCESS
        .iter()
        .map(|(name, kind, about, _)| MetricDoc {
            name,
            kind,
            labels: "",
            about,
        });
    let trials = rollouts.chain(experiments).map(doc);
    let all = versions.chain(trials).chain(process);
    all.chain(parted.map(doc)).collect()
}
