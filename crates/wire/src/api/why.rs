//! Records of why a model is as it is.

use std::collections::BTreeMap;

use domain::alert::Evidence;
use serde::{Deserialize, Serialize};

use super::drift::LeftOutRecord;
use super::ledger::MetricRecord;

/// Where a version is worst: `GET /api/v1/models/MODEL/why?version=&from=&to=&support=&depth=&alpha=&level=`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorstRecord {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// Predictions from this time on, in microseconds since 1970.
    pub from_us: Option<i64>,
    /// Predictions before this time.
    pub to_us: Option<i64>,
    /// What is meant by loss: `misclassification` or `absolute_error`; none without rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
    /// Rows that have a label.
    pub labelled: u64,
    /// Those of them that were looked at: a sample where they are fewer.
    pub rows: u64,
    /// The fewest rows of a slice in each half.
    pub support: u64,
    /// The most conditions of a slice.
    pub depth: u64,
    /// The probability that any slice is confirmed where none is worse, at most.
    pub alpha: f64,
    /// The level of the intervals.
    pub level: f64,
    /// `found`, `nothing found` or `not enough data`.
    pub verdict: String,
    /// All rows of the half that searched.
    pub searched: SideRecord,
    /// All rows of the half that confirmed.
    pub held_out: SideRecord,
    /// Slices that were tested, in the order in which they were found. The rows of each are taken out before the next
    /// is searched.
    pub slices: Vec<SliceRecord>,
    /// How many slices were looked at.
    pub considered: u64,
    /// Whether none is missing that could be worse than those found.
    pub complete: bool,
    /// The columns that were searched.
    pub features: Vec<String>,
    /// Those that were not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutRecord>,
}

/// Some rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideRecord {
    /// How many.
    pub rows: u64,
    /// Their mean loss.
    pub loss: MetricRecord,
}

/// A slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceRecord {
    /// The value, or the range of values, of each column that has to do with it.
    pub by: BTreeMap<String, String>,
    /// Whether its loss is greater than that of the others in the half that did not search too.
    pub confirmed: bool,
    /// Its rows in the half that searched; they look worse than they are, as they were chosen.
    pub searched: SideRecord,
    /// Its rows in the half that confirms.
    pub held_out: SideRecord,
    /// The others there that are in no slice before it.
    pub others: SideRecord,
    /// How much greater its loss is there.
    pub difference: MetricRecord,
    /// The probability of as great a difference by chance.
    pub p: f64,
    /// The same with all slices tested considered.
    pub adjusted_p: f64,
}

/// What changed around a moment: `GET /api/v1/models/MODEL/why/moment?at=&window=&before=`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MomentRecord {
    /// The model.
    pub model: String,
    /// The moment, in microseconds since 1970.
    pub at_us: i64,
    /// What is compared begins here, and ends at `to_us`.
    pub from_us: i64,
    /// Where it ends: so long behind the moment as it began before it, or now.
    pub to_us: i64,
    /// What it is compared with begins here, and ends at `from_us`.
    pub before_from_us: i64,
    /// What surely changed, the likeliest cause first.
    pub causes: Vec<CauseRecord>,
    /// What was looked at and did not surely change.
    pub unchanged: Vec<String>,
    /// What could not be judged, and why.
    pub unjudged: Vec<LeftOutRecord>,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CauseRecord {
    /// What part it may have: `deed`, `input`, `load`, `symptom`, `reaction`.
    pub role: String,
    /// What it is: `traffic`, `version`, `drift`, `errors`, `latency`, `alert`, …
    pub kind: String,
    /// What it is about: a column, a code; may be empty.
    pub subject: String,
    /// When it happened or began, in microseconds since 1970.
    pub at_us: i64,
    /// How likely it is the cause, beside the others.
    pub score: f64,
    /// A sentence.
    pub summary: String,
    /// The numbers.
    pub evidence: Evidence,
}
