//! Records of what a rollout's candidate answered unheard.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::drift::LeftOutRecord;
use super::ledger::MetricRecord;
use super::why::{SideRecord, SliceRecord};

/// What the candidate of a rollout answered unheard beside what callers were answered:
/// `GET /api/v1/rollouts/ID/shadow`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowRecord {
    /// The rollout.
    pub rollout: String,
    /// The model.
    pub model: String,
    /// The version that callers heard.
    pub incumbent: u32,
    /// The version that nobody heard.
    pub candidate: u32,
    /// The share of the requests that it is to answer, in percent.
    pub percent: f64,
    /// From when on, in milliseconds since 1970.
    pub from_ms: i64,
    /// Until when; none while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
    /// The risk that an interval misses, and that a slice is named where none moved.
    pub alpha: f64,
    /// Requests that the candidate was asked.
    pub requests: u64,
    /// Their rows.
    pub rows: u64,
    /// Those of the rows that were looked at: a sample where they are fewer.
    pub looked_at: u64,
    /// Requests that it failed, by code.
    pub failed: BTreeMap<String, u64>,
    /// Rows that the caller was answered and that the candidate answered, or failed by no mistake of the caller's.
    pub pairs: u64,
    /// Pairs with another answer; those that the candidate failed are among them.
    pub changed: u64,
    /// Pairs that it failed.
    pub unanswered: u64,
    /// Keys, and requests without one, each told by one pair a second. Intervals are of these.
    pub units: u64,
    /// The share of units with another answer; without pairs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<MetricRecord>,
    /// How much greater the candidate's score or value is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<ShadowDifferenceRecord>,
    /// The largest changes, at most ten, those with another answer first.
    pub largest: Vec<ShadowChangeRecord>,
    /// Where answers moved more than elsewhere.
    pub moved: ShadowMovedRecord,
    /// The incumbent and then the candidate, on requests that both answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<[ShadowLatencyRecord; 2]>,
    /// The same of what 1,000 rows that both answered cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_per_1k: Option<[f64; 2]>,
    /// How wrong the two are on the same units, where labels have come.
    pub losses: Vec<ShadowLossRecord>,
}

/// How much greater one number is than the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowDifferenceRecord {
    /// `score`, of the positive class, or `value`.
    pub of: String,
    /// Units with both numbers.
    pub units: u64,
    /// The mean. It has an interval where all numbers are scores from 0 to 1.
    pub mean: MetricRecord,
}

/// A pair of answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowChangeRecord {
    /// The prediction.
    pub prediction_id: String,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What its caller heard.
    pub incumbent: String,
    /// What the candidate said.
    pub candidate: String,
    /// Whether it counts as another answer.
    pub changed: bool,
    /// How much greater the number is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
}

/// Slices of units. Their loss is how much they moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowMovedRecord {
    /// What a unit's move is: `changed`, 1 for another answer and else 0; `distance`, how far its number went.
    pub by: String,
    /// `found`, `nothing found` or `not enough data`.
    pub verdict: String,
    /// Units that were looked at.
    pub units: u64,
    /// The fewest of a slice in each half, and of the others.
    pub support: u64,
    /// All of the half that confirms.
    pub held_out: SideRecord,
    /// Slices that were tested, in the order in which they were found.
    pub slices: Vec<SliceRecord>,
    /// How many slices were looked at.
    pub considered: u64,
    /// The columns that were searched.
    pub features: Vec<String>,
    /// Those that were not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutRecord>,
}

/// How long requests took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowLatencyRecord {
    /// Half of them at most.
    pub p50_ms: f64,
    /// 99 of 100 at most.
    pub p99_ms: f64,
}

/// How wrong two versions are on the same units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowLossRecord {
    /// `misclassification`, `squared_error` of a score from the label as 0 or 1, `absolute_error`.
    pub loss: String,
    /// Units with a label that both answered.
    pub units: u64,
    /// The incumbent's mean loss.
    pub incumbent: f64,
    /// The candidate's.
    pub candidate: f64,
    /// The candidate's less the incumbent's; without an interval where losses have no bound.
    pub difference: MetricRecord,
}
