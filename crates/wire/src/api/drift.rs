//! Records of baselines and drift.

use serde::{Deserialize, Serialize};

use super::ledger::MetricRecord;

/// How far rows are from a reference: `GET /api/v1/models/MODEL/drift?version=&from=&to=&margin=&alpha=`. With
/// `against=7d` the reference is what was answered in so much time before, and `multivariate=true` then asks about
/// all columns together. `POST` with a baseline as its body, and `?source=`, takes that one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftRecord {
    /// The model; none where files were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// `skew` where a version's predictions are compared with rows from elsewhere, such as those that it was trained
    /// with; else `drift`.
    #[serde(default = "drift")]
    pub question: String,
    /// What the reference is made from.
    pub reference: ReferenceRecord,
    /// Rows from this time on, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_us: Option<i64>,
    /// Rows before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_us: Option<i64>,
    /// Rows compared with it.
    pub rows: u64,
    /// `drift`, `no material drift` or `not enough data`: of all columns of all rows; `drift` too where a column of a
    /// segment has drifted.
    pub verdict: String,
    /// The smallest move that matters, in standard deviations.
    pub margin: f64,
    /// The probability of any drift at all where nothing changed, at most; that of segments is a part of it.
    pub alpha: f64,
    /// The level of the intervals.
    pub level: f64,
    /// Every column that is watched; the farthest from its margin first.
    pub columns: Vec<ColumnDriftRecord>,
    /// Columns that are not watched.
    pub left_out: Vec<LeftOutRecord>,
    /// Declared segments of the rows, those of one column together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentDriftRecord>,
    /// Columns that were declared to be segmented and are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsegmented: Vec<LeftOutRecord>,
    /// All columns together, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multivariate: Option<MultivariateRecord>,
}

/// One segment of the rows, compared with the same one of the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentDriftRecord {
    /// The column.
    pub by: String,
    /// Its value, or the range of its numbers.
    pub value: String,
    /// `drift`, `no material drift` or `not enough data`: of all columns of these rows.
    pub verdict: String,
    /// Its rows in the reference.
    pub reference_rows: u64,
    /// Its rows that are compared with them.
    pub rows: u64,
    /// Columns that have drifted in it and not in all rows; the farthest from its margin first.
    pub columns: Vec<ColumnDriftRecord>,
    /// Columns that have drifted in it as in all rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub as_all: Vec<String>,
    /// How many columns have too few rows to tell.
    pub unsure: u64,
}

/// One segment of a reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// The column.
    pub by: String,
    /// Its value, or the range of its numbers.
    pub value: String,
    /// Its rows.
    pub rows: u64,
}

fn drift() -> String {
    "drift".to_owned()
}

/// How well current rows can be told from the reference's, by all columns together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MultivariateRecord {
    /// `drift`, `no material drift` or `not enough data`.
    pub verdict: String,
    /// Why nothing could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The probability that a current row looks more current than one of the reference, to a classifier that has
    /// not seen them: 0.5 where nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<MetricRecord>,
    /// What the area less a half has to be beyond.
    pub margin: f64,
    /// The smallest of it that would have been found, with probability 0.8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detectable: Option<f64>,
    /// The least `alpha` at which it is drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// By which columns they are told from each other, the most first; all shares together are 1.
    pub columns: Vec<ShareRecord>,
    /// Rows of the reference that took part, each once.
    pub reference_rows: u64,
    /// Current rows that took part, each once.
    pub current_rows: u64,
    /// The maximum mean discrepancy of the columns of numbers, taken as one vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mmd: Option<MmdRecord>,
}

/// How much of what tells sides from each other is in one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareRecord {
    /// The column.
    pub name: String,
    /// Its share.
    pub share: f64,
}

/// The maximum mean discrepancy of rows as vectors, each column in its standard deviations. No verdict rests on it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MmdRecord {
    /// Its square: about 0 where nothing changed, and then also below.
    pub squared: f64,
    /// The share of permutations with at least so much.
    pub p: f64,
    /// Columns of the vectors.
    pub columns: u64,
    /// Rows of both sides that took part: those without missing values.
    pub rows: u64,
}

/// What a reference is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceRecord {
    /// `train.parquet`, `predictions from … to …`.
    pub source: String,
    /// Its rows.
    pub rows: u64,
    /// When it was made, where it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_ms: Option<i64>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnDriftRecord {
    /// Its name.
    pub name: String,
    /// `drift`, `no material drift` or `not enough data`.
    pub verdict: String,
    /// Each question that could be asked; the farthest from its margin first.
    pub effects: Vec<EffectRecord>,
    /// How many times its margins are those of all columns, because alerts about it were not useful.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widened: Option<f64>,
    /// Distances between the shares of cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distances: Option<DistancesRecord>,
    /// The cells.
    pub cells: CellsRecord,
    /// The share of the rows in each cell, on both sides; of levels the most frequent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<Vec<CellShareRecord>>,
}

/// How much of the rows is in a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellShareRecord {
    /// The range of numbers `[a, b)`, the number or the text that it is for; `(missing)`, `(others)`.
    pub cell: String,
    /// Of the reference's rows.
    pub reference: f64,
    /// Of the current ones.
    pub current: f64,
}

/// How far a column has moved, in the unit of the question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EffectRecord {
    /// `location`, `shape`, `missing`, `unseen`.
    pub question: String,
    /// `drift`, `no material drift` or `not enough data`.
    pub verdict: String,
    /// The effect.
    #[serde(flatten)]
    pub effect: MetricRecord,
    /// What it has to be beyond.
    pub margin: f64,
    /// The smallest that would have been found, with probability 0.8.
    pub detectable: f64,
    /// The least `alpha` at which it is drift, all other questions considered.
    pub p: f64,
}

/// Distances of two sets of shares, each with what chance alone makes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DistancesRecord {
    /// Population stability index, with half a row added to each cell.
    pub psi: DistanceRecord,
    /// Jensen-Shannon distance, base 2.
    pub jensen_shannon: DistanceRecord,
    /// Hellinger distance.
    pub hellinger: DistanceRecord,
    /// Total variation distance.
    pub total_variation: DistanceRecord,
    /// Of numbers: the greatest difference of the distribution functions at the cells' ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kolmogorov_smirnov: Option<f64>,
}

/// A distance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DistanceRecord {
    /// As it is.
    pub value: f64,
    /// What it would be, on average, had nothing changed.
    pub by_chance: f64,
}

/// What a column is counted in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum CellsRecord {
    /// Ranges between these edges, and values with cells of their own. Infinite ends are left out.
    Numbers {
        /// Ascending.
        edges: Vec<f64>,
        /// Ascending.
        atoms: Vec<f64>,
        /// The reference's least and greatest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        range: Option<(f64, f64)>,
    },
    /// Texts; all others have a cell together.
    Levels {
        /// How many have one of their own.
        count: u64,
    },
}

/// A column that is not watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutRecord {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// The baseline that a version has: `GET`, `PUT` and `POST /api/v1/models/MODEL/versions/VERSION/baseline`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineRecord {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// What it is made from.
    pub reference: ReferenceRecord,
    /// Columns that are watched.
    pub columns: Vec<String>,
    /// Columns that are not.
    pub left_out: Vec<LeftOutRecord>,
    /// Columns of the version's predictions of which the reference has nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// The segments of its rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentRecord>,
    /// Columns that were declared to be segmented and are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsegmented: Vec<LeftOutRecord>,
}

/// Predictions that a baseline is to be made from. (`PUT` with `?source=` sends one that was made elsewhere.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBaselineRecord {
    /// From this moment on; without it from the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Before this moment; without it up to now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The first so many of them; without it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
}
