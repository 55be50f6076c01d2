//! Rollouts: what was asked for, how far each is, and what happened to it.
//!
//! R1. An event, where the rollout is since, and the traffic that follows from that are one transaction: whatever ends
//!     the process, what is read next is one state, and its traffic is the model's.
//! R2. A model has one rollout or one experiment that is not over, at most.
//! R3. While a rollout is not over, the model's traffic is its own, and its versions stay.
//! R4. Of a rollout so many looks are kept, of the newest rollouts of each model; they go with the model.

use std::collections::BTreeMap;

use domain::alert::Moment;
use domain::event::EventKind;
use domain::rollout::command::Person;
use domain::rollout::plan::{Parts, Progress};
use domain::rollout::traffic::Split;
use domain::rollout::{Event, Plan, Rollout, RolloutId};
use domain::{ModelName, Refusal, Version};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::alerts::{get, parsed, stored, text};
use super::outbox::{Telling, tell_receivers};
use super::traffic::give_traffic;
use super::write::tell;
use super::{Change, Registry, UnixMillis, limited, version_of};
use crate::failure;

/// The format of the records in JSON.
const FORMAT: i64 = 1;
/// Who changes traffic where the rules of a rollout do.
const RULES: &str = "rollout";

/// A rollout's place in the order of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RolloutNumber(pub i64);

/// The looks of a rollout that are kept; when there are more every other one is forgotten.
pub const LOOKS_MAX: usize = 512;
/// The rollouts of a model whose looks are kept.
const ROLLOUTS_MAX: i64 = 10;

/// What the evidence against a candidate was at a look.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// When.
    pub at: Moment,
    /// By guardrail; each is finite.
    pub e_values: BTreeMap<String, f64>,
}

/// A rollout as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its place in the order of all.
    pub number: RolloutNumber,
    /// What was asked for, and how far it is.
    pub rollout: Rollout,
    /// What goes on from look to look, as its maker wrote it.
    pub measured: Option<String>,
}

impl Registry {
    /// Begins a rollout. A second one that is not over is a conflict (R2).
    pub async fn begin_rollout(&self, plan: &Plan) -> Result<Kept, Refusal> {
        let rollout = Rollout::new(plan.clone());
        let Parts {
            id,
            model,
            incumbent,
            candidate,
            spec,
            tests,
            started,
            person,
        } = plan.parts();
        let mut db = self.begin().await?;
        refuse_while_live(&mut db, model, "it has one at a time").await?;
        for version in [incumbent, candidate] {
            super::write::version_id(&mut db, model, *version).await?;
        }
        let done = sqlx::query(
            "INSERT INTO rollouts
             (id, model, incumbent, candidate, started, who, why, format, spec, tests, progress, over)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        )
        .bind(id.as_str())
        .bind(model.as_str())
        .bind(incumbent.number())
        .bind(candidate.number())
        .bind(started.0)
        .bind(&person.who)
        .bind(&person.why)
        .bind(FORMAT)
        .bind(text(spec)?)
        .bind(text(tests)?)
        .bind(text(&rollout.progress)?)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        sqlx::query(
            "DELETE FROM rollout_looks WHERE rollout IN
             (SELECT number FROM rollouts WHERE model = ? ORDER BY number DESC LIMIT -1 OFFSET ?)",
        )
        .bind(model.as_str())
        .bind(ROLLOUTS_MAX)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        let change = Change {
            at: UnixMillis(started.0),
            who: person.who.clone(),
            why: person.why.clone(),
        };
        let detail = json!({
            "rollout": id.as_str(), "state": rollout.progress.state.name(),
            "from": incumbent.number(), "to": candidate.number(),
            "said": format!("`{model}:{candidate}` is to be rolled out, from `{model}:{incumbent}`"),
        });
        tell(&mut db, model, EventKind::Rollout, detail, &change).await?;
        db.commit().await.map_err(failure::of_sql)?;
        Ok(Kept {
            number: RolloutNumber(done.last_insert_rowid()),
            rollout,
            measured: None,
        })
    }

    /// Follows an event: it, where the rollout is since, what was measured, the model's traffic and what receivers are told
    /// are kept at once (R1). Refused where the event is not the next one, also where somebody else was faster.
    pub async fn append_rollout_event(
        &self,
        kept: &mut Kept,
        event: &Event,
        measured: Option<String>,
        tellings: impl FnOnce(&Rollout) -> Vec<Telling>,
    ) -> Result<(), Refusal> {
        let mut after = kept.rollout.clone();
        after.apply(event)?;
        let plan = &after.plan;
        let said = event.sentence(plan);
        let mut db = self.begin().await?;
        sqlx::query("INSERT INTO rollout_events (rollout, number, at, event) VALUES (?, ?, ?, ?)")
            .bind(kept.number.0)
            .bind(i64::try_from(event.number).unwrap_or(i64::MAX))
            .bind(event.at.0)
            .bind(text(event)?)
            .execute(&mut *db)
            .await
            .map_err(failure::of_sql)?;
        sqlx::query(
            "UPDATE rollouts SET progress = ?1, measured = coalesce(?2, measured), over = ?3
             WHERE number = ?4",
        )
        .bind(text(&after.progress)?)
        .bind(&measured)
        .bind(after.progress.state.is_over())
        .bind(kept.number.0)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        let change = Change {
            at: UnixMillis(event.at.0),
            who: event.person().map_or(RULES, |it| &it.who).to_owned(),
            why: event.person().map_or(&said, |it| &it.why).clone(),
        };
        if let Split::All(version) = after.traffic().split {
            give_traffic(&mut db, plan.model(), version, &change).await?;
        }
        let detail = json!({
            "rollout": plan.id().as_str(), "number": event.number, "state": event.to.name(),
            "from": plan.incumbent().number(), "to": plan.candidate().number(), "said": said,
        });
        tell(&mut db, plan.model(), EventKind::Rollout, detail, &change).await?;
        let about = (plan.model(), "rollout", plan.id().as_str());
        tell_receivers(&mut db, tellings(&after), about, Moment(event.at.0)).await?;
        db.commit().await.map_err(failure::of_sql)?;
        kept.rollout = after;
        kept.measured = measured.or(kept.measured.take());
        Ok(())
    }

    /// Keeps what goes on from look to look.
    pub async fn keep_measured(
        &self,
        number: RolloutNumber,
        measured: &str,
    ) -> Result<(), Refusal> {
        sqlx::query("UPDATE rollouts SET measured = ? WHERE number = ?")
            .bind(measured)
            .bind(number.0)
            .execute(&self.writer)
            .await
            .map_err(failure::of_sql)?;
        Ok(())
    }

    /// Keeps a look; every other one gives way where there are too many (R4).
    pub async fn keep_rollout_look(
        &self,
        number: RolloutNumber,
        looked: &Looked,
    ) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM rollout_looks WHERE rollout = ?")
            .bind(number.0)
            .fetch_one(&mut *db)
            .await
            .map_err(failure::of_sql)?;
        if usize::try_from(kept).unwrap_or(usize::MAX) >= LOOKS_MAX {
            sqlx::query(
                "DELETE FROM rollout_looks WHERE rollout = ?1 AND at IN
                 (SELECT at FROM
                  (SELECT at, row_number() OVER (ORDER BY at) AS place
                   FROM rollout_looks WHERE rollout = ?1)
                  WHERE place % 2 = 1)",
            )
            .bind(number.0)
            .execute(&mut *db)
            .await
            .map_err(failure::of_sql)?;
        }
        sqlx::query(
            "INSERT OR REPLACE INTO rollout_looks (rollout, at, e_values) VALUES (?, ?, ?)",
        )
        .bind(number.0)
        .bind(looked.at.0)
        .bind(text(&looked.e_values)?)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        db.commit().await.map_err(failure::of_sql)
    }

    /// The looks of a rollout that are kept, in order.
    pub async fn rollout_looks(&self, number: RolloutNumber) -> Result<Vec<Looked>, Refusal> {
        let rows =
            sqlx::query("SELECT at, e_values FROM rollout_looks WHERE rollout = ? ORDER BY at")
                .bind(number.0)
                .fetch_all(&self.readers)
                .await
                .map_err(failure::of_sql)?;
        let looks = rows.iter().map(|row| {
            Ok(Looked {
                at: Moment(get(row, "at")?),
                e_values: stored(row, "e_values")?,
            })
        });
        looks.collect()
    }

    /// The rollouts of a model or of all that are not over.
    pub async fn live_rollouts(&self, model: Option<&ModelName>) -> Result<Vec<Kept>, Refusal> {
        let rows = sqlx::query(
            "SELECT * FROM rollouts WHERE over = 0 AND (?1 IS NULL OR model = ?1) ORDER BY number",
        )
        .bind(model.map(ModelName::as_str))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        rows.iter().map(read).collect()
    }

    /// The rollouts of a model or of all, newest first, from the newest or before one.
    pub async fn rollouts(
        &self,
        model: Option<&ModelName>,
        before: Option<RolloutNumber>,
        limit: u32,
    ) -> Result<Vec<Kept>, Refusal> {
        let rows = sqlx::query(
            "SELECT * FROM rollouts WHERE (?1 IS NULL OR model = ?1) AND number < ?2
             ORDER BY number DESC LIMIT ?3",
        )
        .bind(model.map(ModelName::as_str))
        .bind(before.map_or(i64::MAX, |it| it.0))
        .bind(limited(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        rows.iter().map(read).collect()
    }

    /// A rollout.
    pub async fn rollout(&self, id: &RolloutId) -> Result<Kept, Refusal> {
        let row = sqlx::query("SELECT * FROM rollouts WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(failure::of_sql)?;
        let row = row.ok_or_else(|| Refusal::UnknownRollout { id: id.to_string() })?;
        read(&row)
    }

    /// What happened to a rollout, in order, from the number on.
    pub async fn rollout_events(
        &self,
        number: RolloutNumber,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Event>, Refusal> {
        let rows = sqlx::query(
            "SELECT event FROM rollout_events WHERE rollout = ? AND number >= ?
             ORDER BY number LIMIT ?",
        )
        .bind(number.0)
        .bind(i64::try_from(from).unwrap_or(i64::MAX))
        .bind(limited(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        rows.iter().map(|row| stored(row, "event")).collect()
    }
}

/// Takes the looks of a model's rollouts out.
pub(super) const REMOVE_LOOKS: &str = "DELETE FROM rollout_looks WHERE rollout IN
    (SELECT number FROM rollouts WHERE model = (SELECT name FROM models WHERE id = ?))";

/// Refuses what a model's rollout or experiment that is not over is in the way of (R2, R3).
pub(super) async fn refuse_while_live(
    db: &mut SqliteConnection,
    model: &ModelName,
    why: &str,
) -> Result<(), Refusal> {
    match live(db, model).await? {
        None => super::experiments::refuse_while_live(db, model, why).await,
        Some((_, candidate)) => Err(Refusal::Conflict {
            why: format!(
                "`{model}:{candidate}` is being rolled out, and {why}; `windlass rollout abort {model}` ends that"
            ),
        }),
    }
}

/// Refuses to let a version go that the model's rollout or experiment needs (R3).
pub(super) async fn refuse_while_needed(
    db: &mut SqliteConnection,
    model: &ModelName,
    version: Version,
) -> Result<(), Refusal> {
    match live(db, model).await? {
        Some((incumbent, candidate)) if version == incumbent || version == candidate => {
            refuse_while_live(db, model, "it needs this version").await
        }
        Some(_) => Ok(()),
        None => super::experiments::refuse_while_needed(db, model, version).await,
    }
}

/// Incumbent and candidate of the model's rollout that is not over.
async fn live(
    db: &mut SqliteConnection,
    model: &ModelName,
) -> Result<Option<(Version, Version)>, Refusal> {
    let row = sqlx::query("SELECT incumbent, candidate FROM rollouts WHERE model = ? AND over = 0")
        .bind(model.as_str())
        .fetch_optional(db)
        .await
        .map_err(failure::of_sql)?;
    let read = |row: SqliteRow| {
        Ok((
            version_of(get(&row, "incumbent")?)?,
            version_of(get(&row, "candidate")?)?,
        ))
    };
    row.map(read).transpose()
}

fn read(row: &SqliteRow) -> Result<Kept, Refusal> {
    let format: i64 = get(row, "format")?;
    if format != FORMAT {
        let why = format!("its format is {format}, this Windlass reads {FORMAT}");
        return Err(failure::of_record("rollout", why));
    }
    let plan = Plan::restored(Parts {
        id: parsed(row, "id")?,
        model: parsed(row, "model")?,
        incumbent: version_of(get(row, "incumbent")?)?,
        candidate: version_of(get(row, "candidate")?)?,
        spec: stored(row, "spec")?,
        tests: stored(row, "tests")?,
        started: Moment(get(row, "started")?),
        person: Person {
            who: get(row, "who")?,
            why: get(row, "why")?,
        },
    })?;
    let progress: Progress = stored(row, "progress")?;
    Ok(Kept {
        number: RolloutNumber(get(row, "number")?),
        rollout: Rollout { plan, progress },
        measured: row.try_get("measured").map_err(failure::of_sql)?,
    })
}
