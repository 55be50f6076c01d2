//! What rules did about alerts.
//!
//! R1. An action is written down before it is tried: after a crash it is known to have been begun, and is not
//!     begun again.

use std::time::Duration;

use domain::alert::act::{Deed, Outcome, Plan, Step, Tried};
use domain::alert::{Acknowledgement, Event, Evidence, Fingerprint, Incident, Moment};
use domain::event::EventKind;
use domain::monitor::inputs::Strictness;
use domain::{ModelName, Refusal, Version};
use serde_json::json;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::alerts::{append_alert_event, get, parsed, stored, text};
use super::events::{self, NewEvent};
use super::{Change, Registry, UnixMillis, limited, version_of};
use crate::failure;

/// For how long actions and ended silences are kept.
pub const ACTIONS_KEPT: Duration = Duration::from_secs(365 * 86_400);

/// Something that a rule did, or tried, or would have done.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Its number.
    pub id: i64,
    /// What was tried, when, by which rule, for which alert.
    pub tried: Tried,
    /// What became of it.
    pub outcome: Outcome,
    /// The alert's sentence.
    pub evidence: Evidence,
    /// The version that had the traffic before.
    pub from: Option<Version>,
    /// The version that has it since.
    pub to: Option<Version>,
    /// How strict it made the rules about inputs, at least.
    pub inputs: Option<Strictness>,
    /// How many sessions it gave each version.
    pub instances: Option<u16>,
    /// When and by whom it was taken back.
    pub reversed: Option<Acknowledgement>,
}

/// Of the actions those that still hold for whatever is loaded of their models.
macro_rules! stands {
    () => {
        "deed IN ('stricter_inputs', 'scale') AND outcome = 'done'"
    };
}
pub(super) use stands;

impl Registry {
    /// Writes down that an action is begun.
    pub async fn begin_action(&self, plan: &Plan, now: Moment) -> Result<i64, Refusal> {
        let (inputs, instances) = match &plan.step {
            Step::StricterInputs(inputs) => (Some(text(inputs)?), None),
            Step::Scale(instances) => (None, Some(*instances)),
            Step::Rollback(_) | Step::Shift(_) | Step::Retrain => (None, None),
        };
        let done = sqlx::query(
            "INSERT INTO alert_actions
             (at, model, rule, fingerprint, incident, deed, outcome, why, evidence, inputs, instances)
             VALUES (?, ?, ?, ?, ?, ?, 'trying', '', ?, ?, ?)",
        )
        .bind(now.0)
        .bind(plan.model.as_str())
        .bind(&plan.rule)
        .bind(plan.fingerprint.to_string())
        .bind(plan.incident.0)
        .bind(plan.step.deed().name())
        .bind(text(&plan.evidence)?)
        .bind(inputs)
        .bind(instances)
        .execute(&self.writer)
        .await
        .map_err(failure::of_sql)?;
        Ok(done.last_insert_rowid())
    }

    /// Writes down what became of an action, and tells it in the alert's history.
    pub async fn finish_action(
        &self,
        id: i64,
        outcome: &Outcome,
        moved: Option<(Version, Version)>,
        event: &Event,
    ) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        sqlx::query(
            "UPDATE alert_actions SET outcome = ?, why = ?, from_number = ?, to_number = ?
             WHERE id = ?",
        )
        .bind(outcome.name())
        .bind(outcome.why())
        .bind(moved.map(|(from, _)| from.number()))
        .bind(moved.map(|(_, to)| to.number()))
        .bind(id)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        append_alert_event(&mut db, event).await?;
        tell_model(&mut db, id, event).await?;
        db.commit().await.map_err(failure::of_sql)
    }

    /// Says of the actions that the last process left half done that nobody knows what became of them.
    pub async fn fail_begun_actions(&self) -> Result<(), Refusal> {
        sqlx::query(
            "UPDATE alert_actions SET outcome = 'failed', why = 'the server ended meanwhile'
             WHERE outcome = 'trying'",
        )
        .execute(&self.writer)
        .await
        .map_err(failure::of_sql)?;
        Ok(())
    }

    /// Writes down that an action was taken back; it must have been done.
    pub async fn reverse_action(&self, id: i64, who: &str, event: &Event) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        let done = sqlx::query(
            "UPDATE alert_actions SET outcome = 'reversed', reversed_at = ?, reversed_by = ?
             WHERE id = ? AND outcome = 'done'",
        )
        .bind(event.at.0)
        .bind(who)
        .bind(id)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        if done.rows_affected() == 0 {
            let why = format!("action `{id}` is not one that was done and stands");
            return Err(Refusal::Conflict { why });
        }
        append_alert_event(&mut db, event).await?;
        tell_model(&mut db, id, event).await?;
        db.commit().await.map_err(failure::of_sql)
    }

    /// An action.
    pub async fn action(&self, id: i64) -> Result<Action, Refusal> {
        let row = sqlx::query("SELECT * FROM alert_actions WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .map_err(failure::of_sql)?;
        let row = row.ok_or_else(|| Refusal::UnknownAction { id: id.to_string() })?;
        read_action(&row)
    }

    /// The actions of one model or of all, newest first, from the newest or before one.
    pub async fn actions(
        &self,
        model: Option<&ModelName>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Action>, Refusal> {
        let rows = sqlx::query(
            "SELECT * FROM alert_actions WHERE (?1 IS NULL OR model = ?1) AND id < ?2
             ORDER BY id DESC LIMIT ?3",
        )
        .bind(model.map(ModelName::as_str))
        .bind(before.unwrap_or(i64::MAX))
        .bind(limited(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        rows.iter().map(read_action).collect()
    }

    /// The actions that still hold for whatever is loaded of a model: those that were done and not taken back, the last
    /// one last.
    pub async fn standing_actions(&self, model: &ModelName) -> Result<Vec<Action>, Refusal> {
        let rows = sqlx::query(concat!(
            "SELECT * FROM alert_actions WHERE model = ? AND ",
            stands!(),
            " ORDER BY id DESC LIMIT ?"
        ))
        .bind(model.as_str())
        .bind(limited(super::LIST_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        rows.iter().rev().map(read_action).collect()
    }

    /// What a model's rule tried since a moment, and whatever it tried in an incident.
    pub async fn tried(
        &self,
        plan_for: (&ModelName, &str),
        incident: (Fingerprint, Incident),
        since: Moment,
    ) -> Result<Vec<Tried>, Refusal> {
        let (model, rule) = plan_for;
        let rows = sqlx::query(
            "SELECT * FROM alert_actions WHERE model = ? AND rule = ? AND at > ?
             UNION SELECT * FROM alert_actions WHERE fingerprint = ? AND incident = ?",
        )
        .bind(model.as_str())
        .bind(rule)
        .bind(since.0)
        .bind(incident.0.to_string())
        .bind(incident.1.0)
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        let read = |row: &SqliteRow| read_action(row).map(|it| it.tried);
        rows.iter().map(read).collect()
    }
}

/// Tells it among the model's events too, which are kept for ever.
async fn tell_model(db: &mut SqliteConnection, id: i64, event: &Event) -> Result<(), Refusal> {
    let row = sqlx::query("SELECT * FROM alert_actions WHERE id = ?")
        .bind(id)
        .fetch_one(&mut *db)
        .await
        .map_err(failure::of_sql)?;
    let action = read_action(&row)?;
    let detail = json!({
        "action": id,
        "rule": action.tried.rule,
        "alert": action.tried.fingerprint.to_string(),
        "deed": action.tried.deed.name(),
        "outcome": action.outcome.name(),
        "from": action.from.map(Version::number),
        "to": action.to.map(Version::number),
        "inputs": action.inputs,
        "instances": action.instances,
        "why": event.why,
        "evidence": action.evidence,
    });
    let event = NewEvent {
        at: UnixMillis(event.at.0),
        model: action.tried.model,
        kind: EventKind::AlertAction,
        detail,
    };
    events::append(db, event).await?;
    Ok(())
}

/// Ends the actions that still hold for a model that is being removed: what is pushed under its name later is another
/// model.
pub(super) async fn end_standing_actions(
    db: &mut SqliteConnection,
    model: &ModelName,
    change: &Change,
) -> Result<(), Refusal> {
    sqlx::query(concat!(
        "UPDATE alert_actions SET outcome = 'reversed', reversed_at = ?, reversed_by = ?
         WHERE model = ? AND ",
        stands!()
    ))
    .bind(change.at.0)
    .bind(&change.who)
    .bind(model.as_str())
    .execute(db)
    .await
    .map_err(failure::of_sql)?;
    Ok(())
}

fn read_action(row: &SqliteRow) -> Result<Action, Refusal> {
    let wrong = |why: String| failure::of_record("action", why);
    let number = |name| -> Result<Option<Version>, Refusal> {
        get::<Option<i64>>(row, name)?.map(version_of).transpose()
    };
    let outcome: String = get(row, "outcome")?;
    let reversed_by: Option<String> = get(row, "reversed_by")?;
    let reversed_at: Option<i64> = get(row, "reversed_at")?;
    let reversed = reversed_by.zip(reversed_at);
    Ok(Action {
        id: get(row, "id")?,
        tried: Tried {
            at: Moment(get(row, "at")?),
            model: parsed(row, "model")?,
            rule: get(row, "rule")?,
            fingerprint: parsed(row, "fingerprint")?,
            incident: Incident(get(row, "incident")?),
            deed: get::<String>(row, "deed")?.parse::<Deed>().map_err(wrong)?,
        },
        outcome: Outcome::from_name(&outcome, get(row, "why")?)
            .ok_or_else(|| wrong(format!("its outcome is `{outcome}`")))?,
        evidence: stored(row, "evidence")?,
        from: number("from_number")?,
        to: number("to_number")?,
        inputs: match get::<Option<String>>(row, "inputs")? {
            None => None,
            Some(text) => Some(serde_json::from_str(&text).map_err(|it| wrong(it.to_string()))?),
        },
        instances: get(row, "instances")?,
        reversed: reversed.map(|(who, at)| Acknowledgement {
            who,
            at: Moment(at),
        }),
    })
}
