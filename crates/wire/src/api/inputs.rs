//! Records of what requests may hold.

use serde::{Deserialize, Serialize};

/// What requests to a version may hold, and how many rows did not: `GET /api/v1/models/MODEL/inputs?version=`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputsRecord {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// Rows looked at since it was loaded.
    pub rows: u64,
    /// When the baseline was made that ranges and levels are taken from; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_ms: Option<i64>,
    /// The actions of rules of alerts that make them stricter than the version's owner says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stricter_by: Vec<i64>,
    /// Every rule that holds, by column; those about whole rows last.
    pub rules: Vec<InputRuleRecord>,
}

/// A rule about a column, or about whole rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputRuleRecord {
    /// The column; none where it is about whole rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// `range`, `missing`, `unseen`, `constant` or `duplicate`.
    pub rule: String,
    /// What becomes of a row against it: `count`, `warn` or `refuse`.
    pub action: String,
    /// What is expected.
    pub want: String,
    /// Rows against it since the version was loaded.
    pub rows: u64,
    /// Whether it is only counted, because the reference has it too.
    pub tolerated: bool,
    /// The share of the reference's rows that are against it; none where the owner, and not the reference, says what is
    /// expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<f64>,
}
