//! Records of how a model treats groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ledger::MetricRecord;

/// Whether groups are treated alike: `GET /api/v1/models/MODEL/fairness?by=&version=&from=&to=&level=&support=`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FairnessRecord {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// Predictions from this time on, in microseconds since 1970.
    pub from_us: Option<i64>,
    /// Predictions before this time.
    pub to_us: Option<i64>,
    /// The class that the rates are about; none without predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// The level of the intervals.
    pub level: f64,
    /// The fewest rows under a rate with which its group takes part in a gap.
    pub support: u64,
    /// The columns whose values are the groups.
    pub by: Vec<String>,
    /// Whether more labels are to be expected, so that all but `selection` may change.
    pub provisional: bool,
    /// The groups.
    pub groups: Vec<FairnessGroupRecord>,
    /// By rate, and `equalised_odds`: the larger gap of `true_positive` and `false_positive`.
    pub gaps: BTreeMap<String, GapRecord>,
    /// Theil's index of the benefits of all labelled rows: 0 where all have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theil_index: Option<f64>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FairnessGroupRecord {
    /// The value of each column.
    pub by: BTreeMap<String, String>,
    /// Rows answered.
    pub predictions: u64,
    /// Those that have a label.
    pub labelled: u64,
    /// `selection` (called positive, of all, labelled or not), `true_positive`, `false_positive`, `accuracy`.
    pub rates: BTreeMap<String, RateRecord>,
}

/// A rate of a group.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateRecord {
    /// Rows that it is a share of.
    pub support: u64,
    /// The rate; none without rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<MetricRecord>,
}

/// How far groups are apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapRecord {
    /// The largest rate less the smallest, of groups with enough rows; none with fewer than two such groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<MetricRecord>,
    /// The smallest rate over the largest: of `selection` the disparate impact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The group with the smallest rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<String>,
    /// The group with the largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<String>,
    /// Groups that have too few rows to take part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}
