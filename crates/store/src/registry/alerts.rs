//! Alerts, their history, silences and feedback.
//!
//! R1. A change of an alert's state and the event that tells of it are one transaction.
//! R2. Histories end: [`Registry::trim_alerts`] removes what is too old, and the oldest of what is too much.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::alert::margin::Said;
use domain::alert::notify::Silence;
use domain::alert::{
    Acknowledgement, Alert, Event, Evidence, Fingerprint, Incident, Labels, Matcher, Moment,
    Patience, State, label,
};
use domain::{ModelName, Refusal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::actions::stands;
use super::{LIST_MAX, Registry, limited};
use crate::failure;

/// The format of the JSON in these tables.
const FORMAT: i64 = 1;

/// For how long the history of alerts is kept.
pub const HISTORY_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// The most events of alerts that are kept.
pub const EVENTS_MAX: i64 = 100_000;
/// The most silences that have not ended.
pub const SILENCES_MAX: i64 = 1000;

/// An event of an alert, as it was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertEvent {
    /// Its place in the order.
    pub id: i64,
    /// When.
    pub at: Moment,
    /// In which incident.
    pub incident: Incident,
    /// What: `firing`, `resolved`.
    pub kind: String,
    /// Why, and by whom where it was somebody.
    pub why: String,
    /// What it rests on.
    pub evidence: Evidence,
}

/// Whether an incident's alert was of use to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// Which incident.
    pub incident: Incident,
    /// Whether it was.
    pub useful: bool,
    /// When that was said.
    pub at: Moment,
    /// By whom.
    pub who: String,
    /// Why; may be empty.
    pub why: String,
}

impl Registry {
    /// Every alert.
    pub async fn alerts(&self) -> Result<Vec<Alert>, Refusal> {
        let rows = sqlx::query("SELECT * FROM alerts")
            .fetch_all(&self.readers)
            .await
            .map_err(failure::of_sql)?;
        rows.iter().map(read_alert).collect()
    }

    /// Writes alerts as they are now, what happened to them, and forgets others.
    pub async fn write_alerts(
        &self,
        alerts: &[&Alert],
        events: &[Event],
        forgotten: &[Fingerprint],
    ) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        for alert in alerts {
            write_alert(&mut db, alert).await?;
        }
        for event in events {
            append_alert_event(&mut db, event).await?;
        }
        for fingerprint in forgotten {
            sqlx::query("DELETE FROM alerts WHERE fingerprint = ?")
                .bind(fingerprint.to_string())
                .execute(&mut *db)
                .await
                .map_err(failure::of_sql)?;
        }
        db.commit().await.map_err(failure::of_sql)
    }

    /// What happened to an alert, newest first, from the newest or before an event.
    pub async fn alert_events(
        &self,
        fingerprint: Fingerprint,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AlertEvent>, Refusal> {
        let rows = sqlx::query(
            "SELECT id, at, incident, kind, why, evidence FROM alert_events
             WHERE fingerprint = ? AND id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(fingerprint.to_string())
        .bind(before.unwrap_or(i64::MAX))
        .bind(limited(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        let read = |row: &SqliteRow| {
            Ok(AlertEvent {
                id: get(row, "id")?,
                at: Moment(get(row, "at")?),
                incident: Incident(get(row, "incident")?),
                kind: get(row, "kind")?,
                why: get(row, "why")?,
                evidence: stored(row, "evidence")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Notes whether an incident's alert was of use, which has these labels; what was said before gives way.
    pub async fn set_feedback(
        &self,
        feedback: &Feedback,
        labels: &Labels,
        event: &Event,
    ) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        sqlx::query(
            "INSERT OR REPLACE INTO alert_feedback
             (fingerprint, incident, useful, at, who, why, model, monitor, subject)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(event.fingerprint.to_string())
        .bind(feedback.incident.0)
        .bind(feedback.useful)
        .bind(feedback.at.0)
        .bind(&feedback.who)
        .bind(&feedback.why)
        .bind(labels.get(label::MODEL))
        .bind(labels.get(label::MONITOR))
        .bind(labels.get(label::SUBJECT))
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        append_alert_event(&mut db, event).await?;
        db.commit().await.map_err(failure::of_sql)
    }

    /// What was said of an alert's incidents, the newest first.
    pub async fn feedback(
        &self,
        fingerprint: Fingerprint,
        limit: u32,
    ) -> Result<Vec<Feedback>, Refusal> {
        let rows = sqlx::query(
            "SELECT incident, useful, at, who, why FROM alert_feedback
             WHERE fingerprint = ? ORDER BY incident DESC LIMIT ?",
        )
        .bind(fingerprint.to_string())
        .bind(limited(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        let read = |row: &SqliteRow| {
            Ok(Feedback {
                incident: Incident(get(row, "incident")?),
                useful: get(row, "useful")?,
                at: Moment(get(row, "at")?),
                who: get(row, "who")?,
                why: get(row, "why")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// What was said of the alerts of a model's monitor, by subject: the newest thousand.
    pub async fn said(
        &self,
        model: &ModelName,
        monitor: &str,
    ) -> Result<BTreeMap<String, Vec<Said>>, Refusal> {
        let rows = sqlx::query(
            "SELECT subject, useful, at FROM alert_feedback
             WHERE model = ? AND monitor = ? ORDER BY at DESC LIMIT ?",
        )
        .bind(model.as_str())
        .bind(monitor)
        .bind(limited(LIST_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        let mut said: BTreeMap<String, Vec<Said>> = BTreeMap::new();
        for row in &rows {
            let subject: String = get(row, "subject")?;
            said.entry(subject).or_default().push(Said {
                useful: get(row, "useful")?,
                at: Moment(get(row, "at")?),
            });
        }
        Ok(said)
    }

    /// Adds a silence and gives it its number; the one it has is not looked at.
    pub async fn add_silence(&self, silence: Silence) -> Result<Silence, Refusal> {
        let mut db = self.begin().await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM silences WHERE until > ?")
            .bind(silence.from.0)
            .fetch_one(&mut *db)
            .await
            .map_err(failure::of_sql)?;
        if count >= SILENCES_MAX {
            return Err(Refusal::Overloaded {
                what: "places for silences",
                limit: SILENCES_MAX.unsigned_abs(),
            });
        }
        let done = sqlx::query(
            "INSERT INTO silences (matchers, from_at, until, who, why) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(text(&silence.matchers)?)
        .bind(silence.from.0)
        .bind(silence.until.0)
        .bind(&silence.who)
        .bind(&silence.why)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        db.commit().await.map_err(failure::of_sql)?;
        Ok(Silence {
            id: done.last_insert_rowid(),
            ..silence
        })
    }

    /// Ends a silence now, where it holds or has yet to begin.
    pub async fn end_silence(&self, id: i64, now: Moment) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        let done = sqlx::query("UPDATE silences SET until = ? WHERE id = ? AND until > ?")
            .bind(now.0)
            .bind(id)
            .bind(now.0)
            .execute(&mut *db)
            .await
            .map_err(failure::of_sql)?;
        if done.rows_affected() == 0 {
            let known: i64 = sqlx::query_scalar("SELECT count(*) FROM silences WHERE id = ?")
                .bind(id)
                .fetch_one(&mut *db)
                .await
                .map_err(failure::of_sql)?;
            return Err(match known {
                0 => Refusal::UnknownSilence { id: id.to_string() },
                _ => Refusal::Conflict {
                    why: format!("silence `{id}` has ended already"),
                },
            });
        }
        db.commit().await.map_err(failure::of_sql)
    }

    /// The silences that end after a moment, the newest first.
    pub async fn silences(&self, after: Moment, limit: u32) -> Result<Vec<Silence>, Refusal> {
        let rows = sqlx::query(
            "SELECT id, matchers, from_at, until, who, why FROM silences
             WHERE until > ? ORDER BY id DESC LIMIT ?",
        )
        .bind(after.0)
        .bind(limited(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        let read = |row: &SqliteRow| {
            Ok(Silence {
                id: get(row, "id")?,
                matchers: stored::<Vec<Matcher>>(row, "matchers")?,
                from: Moment(get(row, "from_at")?),
                until: Moment(get(row, "until")?),
                who: get(row, "who")?,
                why: get(row, "why")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Removes what is too old, and the oldest of what is too much.
    pub async fn trim_alerts(&self, now: Moment) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        let old = now.before(HISTORY_KEPT).0;
        let older = now.before(super::actions::ACTIONS_KEPT).0;
        let dead = now.before(super::outbox::DEAD_KEPT).0;
        for (statement, bound) in [
            ("DELETE FROM alert_events WHERE at < ?", old),
            (
                "DELETE FROM alert_events WHERE id <= (SELECT max(id) FROM alert_events) - ?",
                EVENTS_MAX,
            ),
            ("DELETE FROM alert_feedback WHERE at < ?", older),
            ("DELETE FROM silences WHERE until < ?", older),
            (
                // What still holds for a model is not forgotten.
                concat!(
                    "DELETE FROM alert_actions WHERE at < ? AND NOT (",
                    stands!(),
                    ")"
                ),
                older,
            ),
            (
                "DELETE FROM deliveries WHERE state = 'dead' AND at < ?",
                dead,
            ),
        ] {
            sqlx::query(statement)
                .bind(bound)
                .execute(&mut *db)
                .await
                .map_err(failure::of_sql)?;
        }
        db.commit().await.map_err(failure::of_sql)
    }
}

async fn write_alert(db: &mut SqliteConnection, alert: &Alert) -> Result<(), Refusal> {
    let Alert {
        labels,
        state,
        incident,
        summary,
        evidence,
        annotations,
        patience,
        known_at,
        fired_at,
        ended_at,
        acknowledged,
    } = alert;
    let (fine_since, why) = match state {
        State::Firing { fine_since, .. } => (*fine_since, ""),
        State::Resolved { why, .. } => (None, why.as_str()),
        State::Inactive { .. } | State::Pending { .. } => (None, ""),
    };
    let ms = |it: Duration| i64::try_from(it.as_millis()).unwrap_or(i64::MAX);
    let pairs: BTreeMap<&str, &str> = labels.iter().collect();
    sqlx::query(
        "INSERT OR REPLACE INTO alerts VALUES
         (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(alert.fingerprint().to_string())
    .bind(labels.get(domain::alert::label::MODEL))
    .bind(text(&pairs)?)
    .bind(FORMAT)
    .bind(state.name())
    .bind(state.since().0)
    .bind(fine_since.map(|it| it.0))
    .bind(why)
    .bind(incident.0)
    .bind(summary)
    .bind(text(evidence)?)
    .bind(text(annotations)?)
    .bind(ms(patience.before_firing))
    .bind(ms(patience.before_resolving))
    .bind(ms(patience.without_data))
    .bind(known_at.0)
    .bind(fired_at.map(|it| it.0))
    .bind(ended_at.map(|it| it.0))
    .bind(acknowledged.as_ref().map(|it| it.who.as_str()))
    .bind(acknowledged.as_ref().map(|it| it.at.0))
    .execute(db)
    .await
    .map_err(failure::of_sql)?;
    Ok(())
}

fn read_alert(row: &SqliteRow) -> Result<Alert, Refusal> {
    let format: i64 = get(row, "format")?;
    if format != FORMAT {
        let why = format!("its format is {format}, this program knows {FORMAT}");
        return Err(failure::of_record("alert", why));
    }
    let since = Moment(get(row, "since")?);
    let state: String = get(row, "state")?;
    let state = match state.as_str() {
        "pending" => State::Pending { since },
        "firing" => State::Firing {
            since,
            fine_since: get::<Option<i64>>(row, "fine_since")?.map(Moment),
        },
        "resolved" => State::Resolved {
            at: since,
            why: get(row, "why")?,
        },
        _ => State::Inactive { since },
    };
    let span = |name| -> Result<Duration, Refusal> {
        let ms: i64 = get(row, name)?;
        Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    };
    let moment = |name| -> Result<Option<Moment>, Refusal> {
        Ok(get::<Option<i64>>(row, name)?.map(Moment))
    };
    let who: Option<String> = get(row, "acknowledged_by")?;
    let seen = who.zip(moment("acknowledged_at")?);
    Ok(Alert {
        labels: Labels::new(stored(row, "labels")?),
        state,
        incident: Incident(get(row, "incident")?),
        summary: get(row, "summary")?,
        evidence: stored(row, "evidence")?,
        annotations: stored(row, "annotations")?,
        patience: Patience {
            before_firing: span("before_firing_ms")?,
            before_resolving: span("before_resolving_ms")?,
            without_data: span("without_data_ms")?,
        },
        known_at: Moment(get(row, "known_at")?),
        fired_at: moment("fired_at")?,
        ended_at: moment("ended_at")?,
        acknowledged: seen.map(|(who, at)| Acknowledgement { who, at }),
    })
}

pub(super) async fn append_alert_event(
    db: &mut SqliteConnection,
    event: &Event,
) -> Result<(), Refusal> {
    let Event {
        at,
        fingerprint,
        incident,
        kind,
        why,
        evidence,
    } = event;
    sqlx::query(
        "INSERT INTO alert_events (at, fingerprint, incident, kind, why, evidence)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(at.0)
    .bind(fingerprint.to_string())
    .bind(incident.0)
    .bind(kind.name())
    .bind(why)
    .bind(text(evidence)?)
    .execute(db)
    .await
    .map_err(failure::of_sql)?;
    Ok(())
}

pub(super) fn get<'r, T>(row: &'r SqliteRow, name: &'static str) -> Result<T, Refusal>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(failure::of_sql)
}

pub(super) fn parsed<T: std::str::FromStr<Err = Refusal>>(
    row: &SqliteRow,
    name: &'static str,
) -> Result<T, Refusal> {
    let text: String = get(row, name)?;
    text.parse()
        .map_err(|refusal| failure::of_record(name, refusal))
}

pub(super) fn stored<T: DeserializeOwned>(
    row: &SqliteRow,
    name: &'static str,
) -> Result<T, Refusal> {
    let text: String = get(row, name)?;
    serde_json::from_str(&text).map_err(|error| failure::of_record(name, error))
}

pub(super) fn text(value: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string(value).map_err(|error| Refusal::Internal {
        what: format!("writing a record: {error}"),
    })
}
