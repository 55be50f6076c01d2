//! Versions come, are verified, and go.

use domain::event::EventKind;
use domain::{ModelName, Reference, Refusal, Selector, Version};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::package::{File, NewVersion, Pushed};
use super::{Change, NewEvent, Registry, State, events, model_id, record, version_of};
use crate::failure;

impl Registry {
    /// Makes the package the next version of its model, and the model where there is none. The same
    /// package again is the version that it already is.
    pub async fn create_version(&self, new: NewVersion) -> Result<Pushed, Refusal> {
        new.check()?;
        let digest = new.digest();
        let signature = record::write_signature(&new.signature)?;
        let mut db = self.begin().await?;
        let model = claim_name(&mut db, &new).await?;
        let existing: Option<i64> =
            sqlx::query_scalar("SELECT number FROM versions WHERE model_id = ? AND digest = ?")
                .bind(model)
                .bind(digest.bytes().as_slice())
                .fetch_optional(&mut *db)
                .await
                .map_err(failure::of_sql)?;
        if let Some(number) = existing {
            return Ok(Pushed::Existing(version_of(number)?));
        }
        let number: i64 = sqlx::query_scalar(
            "UPDATE models
             SET last_number = last_number + 1, version_count = version_count + 1,
                 removed_at = NULL
             WHERE id = ? RETURNING last_number",
        )
        .bind(model)
        .fetch_one(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        let version = u32::try_from(number)
            .ok()
            .and_then(Version::new)
            .ok_or_else(|| Refusal::Conflict {
                why: format!("`{}` has had all the versions it can have", new.model),
            })?;
        let inserted = sqlx::query(
            "INSERT INTO versions
             (model_id, number, digest, main, manifest, signature, source, state, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(model)
        .bind(number)
        .bind(digest.bytes().as_slice())
        .bind(new.main.as_str())
        .bind(&new.manifest)
        .bind(signature)
        .bind(&new.source)
        .bind(State::Pushed.name())
        .bind(new.change.at.0)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        for file in &new.files {
            insert_file(&mut db, inserted.last_insert_rowid(), file).await?;
        }
        let detail = json!({
            "version": number, "digest": digest.to_string(), "source": new.source,
        });
        tell(
            &mut db,
            &new.model,
            EventKind::VersionCreated,
            detail,
            &new.change,
        )
        .await?;
        db.commit().await.map_err(failure::of_sql)?;
        Ok(Pushed::New(version))
    }

    /// Writes down how a version did on its examples, and whether it may serve from now on. What was
    /// verified stays so: `Conflict` otherwise.
    pub async fn set_state(
        &self,
        model: &ModelName,
        version: Version,
        state: State,
        report: &Value,
        change: &Change,
    ) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        let id = version_id(&mut db, model, version).await?;
        let done = sqlx::query(
            "UPDATE versions SET state = ?1, report = ?2
             WHERE id = ?3 AND (state = 'pushed' OR ?1 = 'verified')",
        )
        .bind(state.name())
        .bind(report.to_string())
        .bind(id)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        if done.rows_affected() == 0 {
            return Err(Refusal::Conflict {
                why: format!("`{model}:{version}` is verified and stays so; push a new version"),
            });
        }
        let detail = json!({
            "version": version.number(), "state": state.name(), "report": report,
        });
        tell(&mut db, model, EventKind::VersionState, detail, change).await?;
        db.commit().await.map_err(failure::of_sql)
    }

    /// Removes a version that has neither traffic nor an alias. Its number is not used again; its
    /// blobs stay until a sweep.
    pub async fn remove_version(
        &self,
        model: &ModelName,
        version: Version,
        change: &Change,
    ) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        let id = version_id(&mut db, model, version).await?;
        let held = |by: String| {
            Err(Refusal::Conflict {
                why: format!("`{model}:{version}` cannot be removed: {by}"),
            })
        };
        let (model_id, traffic): (i64, Option<i64>) =
            sqlx::query_as("SELECT id, traffic FROM models WHERE name = ?")
                .bind(model.as_str())
                .fetch_one(&mut *db)
                .await
                .map_err(failure::of_sql)?;
        if traffic == Some(i64::from(version.number())) {
            return held("it has the model's traffic".to_owned());
        }
        let alias: Option<String> = sqlx::query_scalar(
            "SELECT name FROM aliases WHERE model_id = ? AND number = ? LIMIT 1",
        )
        .bind(model_id)
        .bind(version.number())
        .fetch_optional(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        if let Some(alias) = alias {
            return held(format!("alias `{alias}` names it"));
        }
        super::rollouts::refuse_while_needed(&mut db, model, version).await?;
        run(&mut db, "DELETE FROM versions WHERE id = ?", id).await?;
        let count = "UPDATE models SET version_count = version_count - 1 WHERE id = ?";
        run(&mut db, count, model_id).await?;
        let detail = json!({ "version": version.number() });
        tell(&mut db, model, EventKind::VersionRemoved, detail, change).await?;
        db.commit().await.map_err(failure::of_sql)
    }

    /// Removes a model with its versions and aliases, whatever they serve: the caller has stopped
    /// them. Its history stays; a later push under this name goes on with the next number.
    pub async fn remove_model(&self, model: &ModelName, change: &Change) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        let id = model_id(&mut db, model).await?;
        super::rollouts::refuse_while_live(&mut db, model, "it cannot be removed meanwhile")
            .await?;
        sqlx::query(
            "INSERT INTO alias_history (model_id, alias, from_number, to_number, at, who, why)
             SELECT model_id, name, number, NULL, ?, ?, ? FROM aliases WHERE model_id = ?",
        )
        .bind(change.at.0)
        .bind(&change.who)
        .bind(&change.why)
        .bind(id)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        run(&mut db, "DELETE FROM aliases WHERE model_id = ?", id).await?;
        sqlx::query(
            "UPDATE models SET traffic = NULL, version_count = 0, removed_at = ? WHERE id = ?",
        )
        .bind(change.at.0)
        .bind(id)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        run(&mut db, "DELETE FROM versions WHERE model_id = ?", id).await?;
        run(&mut db, super::attributes::REMOVE, id).await?;
        run(&mut db, super::looks::REMOVE, id).await?;
        run(&mut db, super::rollouts::REMOVE_LOOKS, id).await?;
        super::actions::end_standing_actions(&mut db, model, change).await?;
        tell(&mut db, model, EventKind::ModelRemoved, json!({}), change).await?;
        db.commit().await.map_err(failure::of_sql)
    }
}

/// The row of the model, new or not. A name that differs from another one's in letter case alone is
/// refused.
async fn claim_name(db: &mut SqliteConnection, new: &NewVersion) -> Result<i64, Refusal> {
    sqlx::query("INSERT INTO models (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING")
        .bind(new.model.as_str())
        .bind(new.change.at.0)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
    sqlx::query_scalar("SELECT id FROM models WHERE name = ?")
        .bind(new.model.as_str())
        .fetch_optional(db)
        .await
        .map_err(failure::of_sql)?
        .ok_or_else(|| Refusal::InvalidName {
            what: "model name",
            name: new.model.to_string(),
            why: "another model has it in other letter case",
        })
}

async fn insert_file(db: &mut SqliteConnection, version: i64, file: &File) -> Result<(), Refusal> {
    let File { path, digest, size } = file;
    let size = i64::try_from(*size).map_err(|_| Refusal::TooLarge {
        what: "a file of a model",
        limit: i64::MAX.unsigned_abs(),
        got: Some(*size),
    })?;
    sqlx::query("INSERT INTO files (version_id, path, digest, size) VALUES (?, ?, ?, ?)")
        .bind(version)
        .bind(path.as_str())
        .bind(digest.bytes().as_slice())
        .bind(size)
        .execute(db)
        .await
        .map_err(failure::of_sql)?;
    Ok(())
}

/// The row of a version; says which of model and version is not there.
pub(super) async fn version_id(
    db: &mut SqliteConnection,
    model: &ModelName,
    version: Version,
) -> Result<i64, Refusal> {
    let id = model_id(db, model).await?;
    sqlx::query_scalar("SELECT id FROM versions WHERE model_id = ? AND number = ?")
        .bind(id)
        .bind(version.number())
        .fetch_optional(db)
        .await
        .map_err(failure::of_sql)?
        .ok_or_else(|| unknown_version(model, version))
}

pub(super) fn unknown_version(model: &ModelName, version: Version) -> Refusal {
    let reference = Reference {
        model: model.clone(),
        selector: Selector::Version(version),
    };
    Refusal::UnknownVersion {
        reference: reference.to_string(),
    }
}

/// Writes a change's event, with who and why in its detail.
pub(super) async fn tell(
    db: &mut SqliteConnection,
    model: &ModelName,
    kind: EventKind,
    mut detail: Value,
    change: &Change,
) -> Result<(), Refusal> {
    detail["who"] = json!(change.who);
    detail["why"] = json!(change.why);
    let event = NewEvent {
        at: change.at,
        model: model.clone(),
        kind,
        detail,
    };
    events::append(db, event).await?;
    Ok(())
}

pub(super) async fn run(
    db: &mut SqliteConnection,
    statement: &'static str,
    id: i64,
) -> Result<(), Refusal> {
    sqlx::query(statement)
        .bind(id)
        .execute(db)
        .await
        .map_err(failure::of_sql)?;
    Ok(())
}
