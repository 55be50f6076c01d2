//! Alerts: what monitors find becomes something a person is told of, or a rule acts on.
//!
//! R1. An alert is its labels: two findings with the same labels are one alert, whatever their numbers.
//! R2. `Bad` begins an alert, and `Fine` alone ends it. `Unknown` does neither; when nothing is known for
//!     `no_data_after`, it ends and says so.
//! R3. A time between a first `Bad` and an end is an incident. What a person does about it
//!     (acknowledges it) and what a rule does about it hold for that incident alone.
//! R4. Every change of state is an [`Event`] with its reason and its evidence.
//!
//! [`Book`] holds the alerts and their states, [`rule`] what a model's owner says, [`notify`] what is told to
//! whom and when, [`receiver`] who there is and [`address`] where they may be, [`act`] what a rule may do,
//! [`prometheus`] the same for who would rather have Prometheus watch.

pub mod act;
pub mod address;
mod book;
pub mod label;
pub mod margin;
pub mod notify;
pub mod prometheus;
pub mod receiver;
pub mod rule;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{ModelName, Version};

pub use book::Book;
pub use label::{Fingerprint, Labels, Matcher};
pub use rule::Rule;

/// The most alerts that a server keeps, active or ended.
pub const ALERTS_MAX: usize = 10_000;
/// For how long an alert that has ended is kept.
pub const ENDED_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Milliseconds since 1970, UTC: alerts outlive the process, so that their times are the wall clock's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub i64);

impl Moment {
    /// Later by so much.
    pub fn after(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(ms))
    }

    /// Earlier by so much.
    pub fn before(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(ms))
    }
}

impl fmt::Display for Moment {
    /// As in RFC 3339: `2026-11-24T10:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY_MS: i64 = 86_400_000;
        let (year, month, date) = crate::time::date(self.0.div_euclid(DAY_MS));
        let ms = self.0.rem_euclid(DAY_MS);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(
            f,
            "{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            ms % 1000
        )
    }
}

/// What a monitor says of one thing at one look.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The model that was looked at.
    pub model: ModelName,
    /// The version, where the finding is about one.
    pub version: Option<Version>,
    /// Which monitor says it: `drift`, `quality`, `latency`.
    pub monitor: String,
    /// What it is about: a feature, a metric; may be empty.
    pub subject: String,
    /// The part of the rows that it is about; none for all.
    pub segment: Option<String>,
    /// What was found.
    pub verdict: Verdict,
    /// How bad it would be, unless a rule says otherwise.
    pub severity: Severity,
    /// A sentence for people, with the numbers in it.
    pub summary: String,
    /// The numbers, for programs and for the record.
    pub evidence: Evidence,
}

impl Finding {
    /// Its evidence as it is kept: JSON has no word for numbers that are none.
    pub fn storable_evidence(&self) -> Evidence {
        let storable = |(name, fact): (&String, &Fact)| {
            let fact = match fact {
                Fact::Number(number) if !number.is_finite() => Fact::Text(number.to_string()),
                fact => fact.clone(),
            };
            (name.clone(), fact)
        };
        self.evidence.iter().map(storable).collect()
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not as it should be.
    Bad,
    /// It is as it should be.
    Fine,
    /// There is not enough to tell.
    Unknown,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::Bad, Self::Fine, Self::Unknown];

    /// Its name: `bad`, `fine`, `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Fine => "fine",
            Self::Unknown => "unknown",
        }
    }

    /// The verdict with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// What a finding rests on, by name.
pub type Evidence = BTreeMap<String, Fact>;

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fact {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// How soon somebody should look.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// At leisure: it is listed, and told to nobody unless a receiver asks for it.
    Info,
    /// Within days.
    Ticket,
    /// Now.
    Page,
}

impl Severity {
    /// Every severity, the mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Ticket, Self::Page];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Ticket => "ticket",
            Self::Page => "page",
        }
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| format!("`{text}` is not `page`, `ticket` or `info`"))
    }
}

/// What an alert is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It was pending and came to nothing.
    Inactive {
        /// Since when.
        since: Moment,
    },
    /// It is bad, though not yet for as long as its rule wants.
    Pending {
        /// Since when.
        since: Moment,
    },
    /// It is bad, or was until a moment ago.
    Firing {
        /// Since when.
        since: Moment,
        /// Since when it is fine again, while its rule lets it fire on.
        fine_since: Option<Moment>,
    },
    /// It is over.
    Resolved {
        /// Since when.
        at: Moment,
        /// How that is known.
        why: String,
    },
}

impl State {
    /// Its name: `inactive`, `pending`, `firing`, `resolved`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Inactive { .. } => "inactive",
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
            Self::Resolved { .. } => "resolved",
        }
    }

    /// When it began.
    pub fn since(&self) -> Moment {
        match self {
            Self::Inactive { since } | Self::Pending { since } | Self::Firing { since, .. } => {
                *since
            }
            Self::Resolved { at, .. } => *at,
        }
    }
}

/// The moment of an incident's first `Bad` finding: no two incidents of an alert have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incident(pub i64);

/// Somebody has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who.
    pub who: String,
    /// When.
    pub at: Moment,
}

/// How long its rule waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the first `Bad` until it fires.
    pub before_firing: Duration,
    /// From the first `Fine` until it is resolved.
    pub before_resolving: Duration,
    /// Without anything known until it is taken to be over.
    pub without_data: Duration,
}

/// An alert and what it is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What it is.
    pub labels: Labels,
    /// What it is doing.
    pub state: State,
    /// Which incident this is, or was.
    pub incident: Incident,
    /// The last bad finding's sentence.
    pub summary: String,
    /// The last bad finding's evidence.
    pub evidence: Evidence,
    /// What its rule says to people.
    pub annotations: BTreeMap<String, String>,
    /// How long its rule waits.
    pub patience: Patience,
    /// When its monitor last knew, one way or the other.
    pub known_at: Moment,
    /// When it last began to fire.
    pub fired_at: Option<Moment>,
    /// When it last ceased to fire.
    pub ended_at: Option<Moment>,
    /// Who has seen this incident.
    pub acknowledged: Option<Acknowledgement>,
}

impl Alert {
    /// Its identity.
    pub fn fingerprint(&self) -> Fingerprint {
        self.labels.fingerprint()
    }

    /// Its severity, out of its labels.
    pub fn severity(&self) -> Severity {
        let text = self.labels.get(label::SEVERITY);
        text.parse().unwrap_or(Severity::Info)
    }

    /// Whether it fires.
    pub fn is_firing(&self) -> bool {
        matches!(self.state, State::Firing { .. })
    }

    /// Whether it is pending or firing.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Pending { .. } | State::Firing { .. })
    }
}

/// What happened to an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// To which alert.
    pub fingerprint: Fingerprint,
    /// In which of its incidents.
    pub incident: Incident,
    /// What.
    pub kind: EventKind,
    /// Why, and by whom where it was somebody.
    pub why: String,
    /// What that rests on.
    pub evidence: Evidence,
}

/// What can happen to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It became bad, though not for long enough.
    Pending,
    /// It was not bad for long enough.
    Inactive,
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
    /// Somebody has seen it.
    Acknowledged,
    /// Somebody says whether it was of use.
    Feedback,
    /// Its rule acted, or could not.
    Action,
}

impl EventKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Inactive => "inactive",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Acknowledged => "acknowledged",
            Self::Feedback => "feedback",
            Self::Action => "action",
        }
    }
}

#[cfg(test)]
mod tests;
