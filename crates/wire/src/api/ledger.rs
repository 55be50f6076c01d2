//! Records of the prediction ledger.
//!
//! Moments in queries are text in any form that `domain::time::read_moment` reads: `2026-11-24T10:00:00Z`,
//! `2026-11-24`, `10:00` (today, UTC), or how long ago: `7d`. Times in answers are microseconds since 1970.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What became of labels that were sent, or of metrics: `POST /api/v1/labels?model=MODEL`, `/api/v1/metrics?model=MODEL`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsRecord {
    /// Labels that are kept, on disk.
    pub accepted: u64,
    /// Those that are not, in the order in which they were sent.
    pub rejected: Vec<RejectedRecord>,
}

/// A label that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRecord {
    /// Its place among those sent, from 1.
    pub place: u64,
    /// What is wrong with it.
    pub why: String,
}

/// A metric's value and, where one can be given, its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// The value.
    pub value: f64,
    /// The interval's lower end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// The interval's upper end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

/// How right a model was: `GET /api/v1/models/MODEL/quality?from=&to=&by=COLUMN,COLUMN&every=1d&level=0.95`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityRecord {
    /// The model.
    pub model: String,
    /// Predictions from this time on.
    pub from_us: Option<i64>,
    /// Predictions before this time.
    pub to_us: Option<i64>,
    /// `binary`, `multiclass`, `regression`.
    pub task: String,
    /// The class that the question is about, of a binary task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// The level of the intervals.
    pub level: f64,
    /// One for each version, slice and span of time asked for; sorted by them.
    pub groups: Vec<QualityGroupRecord>,
    /// What the labels themselves tell.
    pub labels: LabelCountsRecord,
}

/// One version's rows, or a part of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityGroupRecord {
    /// The version.
    pub version: u32,
    /// The value of each column that was asked for by `by`; numbers as a range `[a, b)`.
    pub by: BTreeMap<String, String>,
    /// The beginning of the span of time that it is of, where `every` was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_us: Option<i64>,
    /// Rows answered.
    pub predictions: u64,
    /// Rows that were refused or failed.
    pub failed: u64,
    /// Rows answered that have a label.
    pub labelled: u64,
    /// `labelled` of `predictions`; nothing where there are none.
    pub coverage: Option<f64>,
    /// Whether more labels are to be expected, so that the metrics may change.
    pub provisional: bool,
    /// Rows whose score or value, or whose label, is not a number that can be compared.
    pub skipped: u64,
    /// Whether a metric that needs all rows sorted was told from a histogram of them, for want of memory.
    pub approximate: bool,
    /// By name: `accuracy`, `precision`, `recall`, `f1`, `roc_auc`, `average_precision`, `log_loss`, `brier`,
    /// `calibration_error`; of several classes `macro_precision` and so on; `mae`, `rmse`, `mape`, `r2`, `bias`.
    pub metrics: BTreeMap<String, MetricRecord>,
    /// Rows by true class and answered class: `{"bad": {"bad": 10, "good": 2}, ...}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub confusion: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Labels of a question's range of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCountsRecord {
    /// Predictions that labels name by id, each counted once.
    pub named: u64,
    /// Those of them that the ledger has.
    pub matched: u64,
    /// Those that it does not have: ids that nobody knows, or not yet.
    pub unknown: u64,
    /// Labels by the caller's own id or by key, each counted once.
    pub by_text: u64,
    /// Predictions that those found.
    pub by_text_matched: u64,
}

/// How a model did and what it cost: `GET /api/v1/models/MODEL/kpi?from=&to=&by=version|caller&every=1h`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KpiRecord {
    /// The model.
    pub model: String,
    /// Rows from this time on.
    pub from_us: i64,
    /// Rows before this time.
    pub to_us: i64,
    /// The currency of the costs; nothing where the server has no prices.
    pub currency: Option<String>,
    /// One for each version, caller or span of time asked for.
    pub groups: Vec<KpiGroupRecord>,
    /// The model's budget and what was spent of it, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetRecord>,
}

/// One group of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KpiGroupRecord {
    /// The version, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The caller, where it was asked for; empty where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The beginning of the span of time, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_us: Option<i64>,
    /// Rows, those that failed among them.
    pub rows: u64,
    /// Requests, those that failed among them.
    pub requests: u64,
    /// Rows a second, on average over the range or the span.
    pub rows_per_s: f64,
    /// Rows that were refused or failed, of all.
    pub error_rate: f64,
    /// Quantiles of requests answered, in microseconds.
    pub total_us: QuantilesRecord,
    /// Waiting for a run.
    pub queue_us: QuantilesRecord,
    /// In the run.
    pub compute_us: QuantilesRecord,
    /// Rows in a run, on average over rows.
    pub batch_rows: f64,
    /// Core seconds of all rows.
    pub cpu_s: f64,
    /// Accelerator seconds of all rows.
    pub accelerator_s: f64,
    /// Mebibytes times seconds of all rows.
    pub memory_mib_s: f64,
    /// What all rows cost; nothing where the server has no prices.
    pub cost: Option<f64>,
    /// What a thousand rows cost.
    pub cost_per_1000: Option<f64>,
}

/// Quantiles; zeros where no request was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantilesRecord {
    /// The median.
    pub p50: f64,
    /// Nine of ten are below.
    pub p90: f64,
    /// 99 of 100 are below.
    pub p99: f64,
}

/// A budget and what was spent of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetRecord {
    /// In the currency of the prices.
    pub cost: f64,
    /// The span that it is for: `1d`.
    pub per: String,
    /// Spent within the span that ends now.
    pub spent: f64,
    /// `within`, `warn`, `throttle` or `shed`.
    pub verdict: String,
}

/// A question in SQL: `POST /api/v1/query`.
///
/// The answer is JSON ([`RowsRecord`]), or, with `accept: text/csv` or `accept:
/// application/vnd.apache.parquet`, a file of all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRecord {
    /// One `select`.
    pub sql: String,
    /// The most rows of the answer; more are cut off, and it is said that they are. Of a file there is no
    /// such bound unless it is given.
    #[serde(default)]
    pub rows_max: Option<u64>,
}

/// Rows of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowsRecord {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A list for each row, with a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// Whether there are more rows than were asked for.
    pub more: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// The whole story of one answer: `GET /api/v1/predictions/ID`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictionRecord {
    /// The prediction's id: the request's, a dot, the row.
    pub prediction_id: String,
    /// Every column that has a value, in the ledger's order.
    pub row: serde_json::Map<String, Value>,
    /// Rows of the same request that the ledger has.
    pub rows_of_request: u64,
    /// Its labels, the one that holds first.
    pub labels: Vec<StoryLabelRecord>,
    /// Whether it lies in a file already, or still in the log.
    pub sealed: bool,
}

/// A label in a story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoryLabelRecord {
    /// A class's name, or a number as text.
    pub label: String,
    /// When it became known.
    pub labelled_at_us: i64,
    /// `id`, `request_id` or `key`: by what it was found.
    pub by: String,
}

/// How the ledger is doing: `GET /api/v1/ledger`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerRecord {
    /// What models have whose manifest does not say: `commit`, `buffered` or `off`.
    pub mode: String,
    /// Rows recorded since the server started.
    pub recorded: u64,
    /// Labels taken since the server started, and values of metrics.
    pub labelled: u64,
    /// Rows that were answered and could not be recorded, since the folder was made.
    pub lost: u64,
    /// Requests refused because their rows could not be recorded, since the server started.
    pub shed: u64,
    /// Why nothing can be recorded now, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Segments of the log that wait to be sealed.
    pub segments_waiting: u64,
    /// The most that may: with more nothing is recorded.
    #[serde(default)]
    pub segments_max: u64,
    /// Bytes that the volume on which it lies has room for; nothing where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Rows and files by model.
    pub models: Vec<LedgerModelRecord>,
    /// Bytes of records that were being written when a process ended, since the folder was made.
    pub torn_bytes: u64,
    /// Records and rows in the log whose checksum was wrong.
    pub damaged_records: u64,
    /// Rows in those.
    pub damaged_rows: u64,
    /// Files whose checksum was wrong.
    pub damaged_files: u64,
    /// Rows in those.
    pub damaged_file_rows: u64,
    /// Rows removed because they were old or too many.
    pub expired_rows: u64,
}

/// What the ledger has of a model in files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerModelRecord {
    /// The model.
    pub model: String,
    /// Rows of predictions in files.
    pub predictions: u64,
    /// Labels in files.
    pub labels: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The most that they may be, of more the oldest go: the manifest's `ledger.retain_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// The first day with predictions: `2026-11-24`.
    pub first_day: Option<String>,
    /// The last.
    pub last_day: Option<String>,
}

/// What `POST /api/v1/ledger/verify` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedRecord {
    /// Files that were checked.
    pub files: u64,
    /// Those that were damaged, and are set aside now.
    pub damaged: u64,
}

/// A page of a replay: `POST /api/v1/models/MODEL/replay`. The client asks for page after page and puts them
/// together, so that it can go on where it was cut off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// Predictions from this moment on.
    #[serde(default)]
    pub from: Option<String>,
    /// Predictions before this moment.
    #[serde(default)]
    pub to: Option<String>,
    /// The version that answers again: `credit:8` or `credit@next`.
    pub against: String,
    /// Only what this version answered.
    #[serde(default)]
    pub version: Option<u32>,
    /// Columns whose values the changes are told by.
    #[serde(default)]
    pub by: Vec<String>,
    /// How far a number may be from the recorded one without being another: as a share of it, and at least.
    #[serde(default)]
    pub tolerance: Option<f64>,
    /// The id behind which the page begins; nothing for the first.
    #[serde(default)]
    pub after: Option<String>,
    /// The most rows of the page.
    #[serde(default)]
    pub rows: Option<u64>,
}

/// What a page of a replay found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplayRecord {
    /// Rows in the range of time, over all pages; told with the first page only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Rows answered again.
    pub replayed: u64,
    /// Rows whose inputs were not recorded whole.
    pub not_recorded: u64,
    /// Rows that the other version refused or failed on, and why the first of them.
    pub failed: u64,
    /// Why the first of them failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Rows whose class is another, or whose numbers are farther away than the tolerance.
    pub changed: u64,
    /// Sums over rows: of the differences of the score or value, new less old, and of their squares.
    pub difference_sum: f64,
    /// See `difference_sum`.
    pub difference_squares: f64,
    /// Rows that have a score or value on both sides.
    pub compared: u64,
    /// Whether the answers are numbers, so that errors and not right answers are counted.
    #[serde(default)]
    pub numbers: bool,
    /// Rows with a label that the recorded answer met.
    pub right_before: u64,
    /// Rows with a label that the new answer meets.
    pub right_after: u64,
    /// Rows with a label.
    pub labelled: u64,
    /// Sums of squared errors of values, where the task is a number.
    pub squared_error_before: f64,
    /// See `squared_error_before`.
    pub squared_error_after: f64,
    /// The largest changes, the largest first.
    pub largest: Vec<ReplayChangeRecord>,
    /// By the columns that were asked for: what moved there.
    pub slices: Vec<ReplaySliceRecord>,
    /// The id of the last row; nothing when there are no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An answer that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayChangeRecord {
    /// The prediction.
    pub prediction_id: String,
    /// What was answered: the class, where there is one, and the score or value.
    pub before: String,
    /// What is answered now.
    pub after: String,
    /// The score or value now less the one before.
    pub difference: f64,
}

/// Rows with the same value of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplaySliceRecord {
    /// The column.
    pub column: String,
    /// The value, or for numbers a range `[a, b)`.
    pub value: String,
    /// Rows.
    pub rows: u64,
    /// Rows whose answer changed.
    pub changed: u64,
    /// The sum of the differences.
    pub difference_sum: f64,
}
