//! Records of what is served now, and of what monitors found.

use domain::alert::{Evidence, Finding};
use serde::{Deserialize, Serialize};

use super::AliasRecord;
use super::alerts::AlertRecord;
use super::ledger::MetricRecord;
use super::rollouts::ShareRecord;

/// Every model as it is now: `GET /api/v1/overview?model=NAME`. `GET /api/v1/overview/stream` tells the same again and
/// again as events `overview`, whose models have a [`RecentRecord`] with the newest point only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverviewRecord {
    /// When.
    pub at_ms: i64,
    /// Changes when there is something new besides numbers: an event, an alert, a finding. Nothing follows from how.
    pub revision: u64,
    /// The currency of the costs; nothing where the server has no prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The models, those first that need attention most.
    pub models: Vec<ModelNowRecord>,
}

/// A model as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelNowRecord {
    /// Its name.
    pub name: String,
    /// `ready`, `loading`, `failed`, `unloading`, `unloaded`.
    pub state: String,
    /// Why it does not answer, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who answers, and how much.
    pub traffic: Vec<ShareRecord>,
    /// Its aliases by name.
    pub aliases: Vec<AliasRecord>,
    /// Its rollout, where one is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutNowRecord>,
    /// What it did lately.
    pub recent: RecentRecord,
    /// What 1,000 rows cost in the last hour, where the server has prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_per_1k: Option<f64>,
    /// How right it is, as its monitor found last: realised where labels came, else estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityNowRecord>,
    /// Whether its columns have drifted, as its monitor found last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftNowRecord>,
    /// Its alerts that are pending or firing, the worst first.
    pub alerts: Vec<AlertRecord>,
    /// How much it needs attention: 0 not at all, 1 there is something to know, 2 something to look after, 3 now.
    pub attention: u8,
    /// Why, in a sentence; empty where it needs none.
    pub because: String,
}

/// A rollout that is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutNowRecord {
    /// Its id.
    pub id: String,
    /// The version that may get the traffic.
    pub candidate: u32,
    /// Where it is, in words that follow the version: `is at step 2 of 4 (5%)`.
    pub status: String,
    /// Whether it waits for a person.
    pub awaits_approval: bool,
}

/// What a model did in the last half hour at most, counted in memory: nothing from before the server started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecentRecord {
    /// When the first of the points begins.
    pub from_ms: i64,
    /// How long each is.
    pub step_ms: i64,
    /// The points, oldest first.
    pub points: Vec<PointRecord>,
}

/// What a model did in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PointRecord {
    /// Requests a second, those that failed among them.
    pub requests_per_s: f64,
    /// The share of them that were refused or failed; none without requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Half of those answered took at most so long, as the buckets of a histogram tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 99 of 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

/// How right a model is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityNowRecord {
    /// `accuracy`, `roc_auc`, `mae`, …
    pub metric: String,
    /// Its value and interval.
    #[serde(flatten)]
    pub value: MetricRecord,
    /// Whether it is estimated, for want of labels.
    pub estimated: bool,
    /// The share of the rows that have a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// `bad`, `fine`, `unknown`; none where nothing is demanded of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// When its monitor looked.
    pub at_ms: i64,
}

/// Whether a model's columns have drifted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftNowRecord {
    /// `drift`, `no material drift`, `not enough data`.
    pub verdict: String,
    /// Columns that have.
    pub drifted: Vec<String>,
    /// Columns that were looked at.
    pub columns: u64,
    /// When its monitor looked.
    pub at_ms: i64,
}

/// What the monitors of a model found at one look:
/// `GET /api/v1/models/MODEL/findings?monitor=&subject=&from=&to=&before=&limit=`, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LookRecord {
    /// Its place in the order; to be sent as `before` to read on.
    pub id: i64,
    /// When.
    pub at_ms: i64,
    /// The version that was looked at.
    pub version: u32,
    /// What was found, by monitor and subject.
    pub findings: Vec<FindingRecord>,
}

/// What a monitor found of one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingRecord {
    /// Which monitor: `drift`, `quality`, `estimated_quality`, …
    pub monitor: String,
    /// What it is about: a feature, a metric; may be empty.
    pub subject: String,
    /// The part of the rows that it is about; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// `bad`, `fine`, `unknown`.
    pub verdict: String,
    /// A sentence.
    pub summary: String,
    /// The numbers.
    pub evidence: Evidence,
}

impl From<&Finding> for FindingRecord {
    fn from(finding: &Finding) -> Self {
        Self {
            monitor: finding.monitor.clone(),
            subject: finding.subject.clone(),
            segment: finding.segment.clone(),
            verdict: finding.verdict.name().to_owned(),
            summary: finding.summary.clone(),
            evidence: finding.storable_evidence(),
        }
    }
}
