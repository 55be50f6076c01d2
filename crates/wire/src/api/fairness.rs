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

/// Thresholds of groups that make a rate alike, and what they would do:
/// `GET /api/v1/models/MODEL/fairness/thresholds?by=&criterion=&version=&from=&to=&level=&support=`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdsRecord {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// The class that the threshold is about.
    pub positive: String,
    /// The column whose values are the groups.
    pub by: String,
    /// The rate that they make alike: `selection`, `true_positive` or `false_positive`.
    pub criterion: String,
    /// The level of the intervals.
    pub level: f64,
    /// The fewest rows under the rate with which a group gets a threshold.
    pub support: u64,
    /// Labelled rows of which the thresholds were learned.
    pub learned: u64,
    /// Labelled rows that they were tried on.
    pub held_out: u64,
    /// Labelled rows whose score is not from 0 to 1.
    pub skipped: u64,
    /// The threshold of rows whose group has none.
    pub otherwise: f64,
    /// By group; none where it has too few rows.
    pub thresholds: BTreeMap<String, Option<f64>>,
    /// Rows that were held out, as they were called.
    pub before: OutcomeRecord,
    /// The same rows, as they would be called.
    pub after: OutcomeRecord,
    /// `task` of the version's manifest with these thresholds.
    pub task: serde_json::Value,
}

/// How rows were called, or would be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// How far groups are apart in the rate.
    pub gap: GapRecord,
    /// Rows called what they are, of all; none without rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<MetricRecord>,
}

/// Weights for training that make group and label independent:
/// `GET /api/v1/models/MODEL/fairness/weights?by=&version=&from=&to=`. `POST` of it there answers with a file: the weight
/// of each labelled row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightsRecord {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// Predictions from this time on, in microseconds since 1970.
    pub from_us: Option<i64>,
    /// Predictions before this time.
    pub to_us: Option<i64>,
    /// The columns whose values are the groups.
    pub by: Vec<String>,
    /// Whether more labels are to be expected.
    pub provisional: bool,
    /// One for each group and label that there are rows of.
    pub weights: Vec<WeightRecord>,
}

/// What rows of a group with a label count for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightRecord {
    /// The value of each column.
    pub by: BTreeMap<String, String>,
    /// The label.
    pub label: String,
    /// Rows that have it.
    pub rows: u64,
    /// What each of them counts for.
    pub weight: f64,
}
