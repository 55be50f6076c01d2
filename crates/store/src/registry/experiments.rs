//! Experiments: what was asked for, how far each is, and what happened to it.
//!
//! R1. An event, where the experiment is since, and the traffic that follows from that are one transaction.
//! R2. A model has one rollout or one experiment that is not over, at most.
//! R3. While an experiment is not over, the model's traffic is its own, and its versions stay.

use domain::alert::Moment;
use domain::event::EventKind;
use domain::experiment::course::{Event, Experiment, Progress};
use domain::experiment::plan::{ExperimentId, Parts, Plan};
use domain::rollout::command::Person;
use domain::rollout::traffic::{Arms, Split};
use domain::{ModelName, Refusal, Version};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::alerts::{get, parsed, stored, text};
use super::outbox::{Telling, tell_receivers};
use super::traffic::give_traffic;
use super::write::{tell, version_id};
use super::{Change, Registry, UnixMillis, limited};
use crate::failure;

/// The format of the records in JSON.
const FORMAT: i64 = 1;
/// Who changes traffic where the rules of an experiment do.
const RULES: &str = "experiment";

/// An experiment's place in the order of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExperimentNumber(pub i64);

/// An experiment as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its place in the order of all.
    pub number: ExperimentNumber,
    /// What was asked for, and how far it is.
    pub experiment: Experiment,
}

impl Registry {
    /// Begins an experiment. Where the model has another or a rollout that is not over it is a conflict (R2).
    pub async fn begin_experiment(&self, plan: &Plan) -> Result<Kept, Refusal> {
        let experiment = Experiment::new(plan.clone());
        let Parts {
            id,
            model,
            arms,
            spec,
            started,
            person,
        } = plan.parts();
        let mut db = self.begin().await?;
        let why = "nothing else can share its traffic meanwhile";
        super::rollouts::refuse_while_live(&mut db, model, why).await?;
        for version in plan.versions() {
            version_id(&mut db, model, version).await?;
        }
        let done = sqlx::query(
            "INSERT INTO experiments
             (id, model, started, who, why, format, arms, spec, progress, over)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        )
        .bind(id.as_str())
        .bind(model.as_str())
        .bind(started.0)
        .bind(&person.who)
        .bind(&person.why)
        .bind(FORMAT)
        .bind(text(arms)?)
        .bind(text(spec)?)
        .bind(text(&experiment.progress)?)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        let change = Change {
            at: UnixMillis(started.0),
            who: person.who.clone(),
            why: person.why.clone(),
        };
        let versions: Vec<u32> = plan.versions().iter().map(|it| it.number()).collect();
        let detail = json!({
            "experiment": id.as_str(), "state": experiment.progress.state.name(), "versions": versions,
            "said": format!("an experiment of `{model}` for `{}` is to begin", spec.name()),
        });
        tell(&mut db, model, EventKind::Experiment, detail, &change).await?;
        db.commit().await.map_err(failure::of_sql)?;
        Ok(Kept {
            number: ExperimentNumber(done.last_insert_rowid()),
            experiment,
        })
    }

    /// Follows an event: it, where the experiment is since, the model's traffic and what receivers are told are kept at once
    /// (R1). Refused where the event is not the next one, also where somebody else was faster.
    pub async fn append_experiment_event(
        &self,
        kept: &mut Kept,
        event: &Event,
        tellings: impl FnOnce(&Experiment) -> Vec<Telling>,
    ) -> Result<(), Refusal> {
        let mut after = kept.experiment.clone();
        after.apply(event)?;
        let plan = &after.plan;
        let said = event.sentence(plan);
        let mut db = self.begin().await?;
        sqlx::query(
            "INSERT INTO experiment_events (experiment, number, at, event) VALUES (?, ?, ?, ?)",
        )
        .bind(kept.number.0)
        .bind(i64::try_from(event.number).unwrap_or(i64::MAX))
        .bind(event.at.0)
        .bind(text(event)?)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        sqlx::query("UPDATE experiments SET progress = ?, over = ? WHERE number = ?")
            .bind(text(&after.progress)?)
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
        let split = after.traffic().split;
        if let Split::All(version) = split {
            give_traffic(&mut db, plan.model(), version, &change).await?;
        }
        let shares: Vec<_> = split
            .shares()
            .iter()
            .map(|(arm, version, share)| {
                json!({
                    "arm": arm.to_string(), "version": version.number(),
                    "propensity": f64::from(*share) / f64::from(domain::rollout::traffic::WHOLE),
                })
            })
            .collect();
        let detail = json!({
            "experiment": plan.id().as_str(), "number": event.number, "state": event.to.name(),
            "shares": shares, "said": said,
        });
        tell(
            &mut db,
            plan.model(),
            EventKind::Experiment,
            detail,
            &change,
        )
        .await?;
        let about = (plan.model(), "experiment", plan.id().as_str());
        tell_receivers(&mut db, tellings(&after), about, Moment(event.at.0)).await?;
        db.commit().await.map_err(failure::of_sql)?;
        kept.experiment = after;
        Ok(())
    }

    /// The experiments of a model or of all that are not over.
    pub async fn live_experiments(&self, model: Option<&ModelName>) -> Result<Vec<Kept>, Refusal> {
        let rows = sqlx::query(
            "SELECT * FROM experiments WHERE over = 0 AND (?1 IS NULL OR model = ?1) ORDER BY number",
        )
        .bind(model.map(ModelName::as_str))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        rows.iter().map(read).collect()
    }

    /// The experiments of a model or of all, newest first, from the newest or before one.
    pub async fn experiments(
        &self,
        model: Option<&ModelName>,
        before: Option<ExperimentNumber>,
        limit: u32,
    ) -> Result<Vec<Kept>, Refusal> {
        let rows = sqlx::query(
            "SELECT * FROM experiments WHERE (?1 IS NULL OR model = ?1) AND number < ?2
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

    /// An experiment.
    pub async fn experiment(&self, id: &ExperimentId) -> Result<Kept, Refusal> {
        let row = sqlx::query("SELECT * FROM experiments WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(failure::of_sql)?;
        let row = row.ok_or_else(|| Refusal::UnknownExperiment { id: id.to_string() })?;
        read(&row)
    }

    /// What happened to an experiment, in order, from the number on.
    pub async fn experiment_events(
        &self,
        number: ExperimentNumber,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Event>, Refusal> {
        let rows = sqlx::query(
            "SELECT event FROM experiment_events WHERE experiment = ? AND number >= ?
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

/// Refuses what a model's experiment that is not over is in the way of (R2, R3).
pub(super) async fn refuse_while_live(
    db: &mut SqliteConnection,
    model: &ModelName,
    why: &str,
) -> Result<(), Refusal> {
    match live(db, model).await? {
        None => Ok(()),
        Some(_) => Err(Refusal::Conflict {
            why: format!(
                "an experiment of `{model}` is not over, and {why}; `windlass experiment stop {model}` ends that"
            ),
        }),
    }
}

/// Refuses to let a version go that the model's experiment needs (R3).
pub(super) async fn refuse_while_needed(
    db: &mut SqliteConnection,
    model: &ModelName,
    version: Version,
) -> Result<(), Refusal> {
    match live(db, model).await? {
        Some(arms) if arms.shares().iter().any(|it| it.0 == version) => {
            refuse_while_live(db, model, "it needs this version").await
        }
        Some(_) | None => Ok(()),
    }
}

async fn live(db: &mut SqliteConnection, model: &ModelName) -> Result<Option<Arms>, Refusal> {
    let row = sqlx::query("SELECT arms FROM experiments WHERE model = ? AND over = 0")
        .bind(model.as_str())
        .fetch_optional(db)
        .await
        .map_err(failure::of_sql)?;
    row.map(|row| stored(&row, "arms")).transpose()
}

fn read(row: &SqliteRow) -> Result<Kept, Refusal> {
    let format: i64 = get(row, "format")?;
    if format != FORMAT {
        let why = format!("its format is {format}, this Windlass reads {FORMAT}");
        return Err(failure::of_record("experiment", why));
    }
    let plan = Plan::restored(Parts {
        id: parsed(row, "id")?,
        model: parsed(row, "model")?,
        arms: stored(row, "arms")?,
        spec: stored(row, "spec")?,
        started: Moment(get(row, "started")?),
        person: Person {
            who: get(row, "who")?,
            why: get(row, "why")?,
        },
    })?;
    let progress: Progress = stored(row, "progress")?;
    Ok(Kept {
        number: ExperimentNumber(row.try_get("number").map_err(failure::of_sql)?),
        experiment: Experiment { plan, progress },
    })
}
