//! Which version answers: the model's traffic, and aliases with their history.

use std::collections::BTreeMap;

use domain::event::EventKind;
use domain::{Alias, ModelName, Reference, Refusal, Selector, Version};
use serde_json::json;
use sqlx::SqliteConnection;

use super::write::{tell, version_id};
use super::{Change, Registry, State, UnixMillis, limited, model_id, version_of};
use crate::failure;

/// The place of an entry in an alias's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AliasChangeId(pub i64);

/// An alias was given to a version, or taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasChange {
    /// Its place in the history.
    pub id: AliasChangeId,
    /// Which version the alias named before; none when it is new.
    pub from: Option<Version>,
    /// Which version it names since; none when it was removed.
    pub to: Option<Version>,
    /// By whom, when and why.
    pub change: Change,
}

type ChangeRow = (i64, Option<i64>, Option<i64>, i64, String, String);

impl Registry {
    /// Gives a model's traffic to a version, which must be verified. Gives back the version that had it.
    pub async fn set_traffic(
        &self,
        model: &ModelName,
        version: Version,
        change: &Change,
    ) -> Result<Option<Version>, Refusal> {
        let mut db = self.begin().await?;
        super::rollouts::refuse_while_live(&mut db, model, "its traffic is not to be moved")
            .await?;
        let before = give_traffic(&mut db, model, version, change).await?;
        db.commit().await.map_err(failure::of_sql)?;
        Ok(before)
    }

    /// Which version takes the model's traffic; none before the first one was given it.
    pub async fn traffic(&self, model: &ModelName) -> Result<Option<Version>, Refusal> {
        traffic_of(&mut *self.reader().await?, model).await
    }

    /// The versions that were given a model's traffic, in order, as far as they are there and verified; the
    /// last [`super::LIST_MAX`] moves of it.
    pub async fn traffic_moves(&self, model: &ModelName) -> Result<Vec<Version>, Refusal> {
        let numbers: Vec<i64> = sqlx::query_scalar(
            "SELECT json_extract(events.detail, '$.to') FROM events
             JOIN models ON models.name = events.model
             JOIN versions ON versions.model_id = models.id
              AND versions.number = json_extract(events.detail, '$.to')
             WHERE events.model = ? AND events.kind = 'traffic' AND versions.state = 'verified'
             ORDER BY events.id DESC LIMIT ?",
        )
        .bind(model.as_str())
        .bind(limited(super::LIST_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        numbers.into_iter().rev().map(version_of).collect()
    }

    /// Lets an alias name a version. Gives back the version it named before.
    pub async fn set_alias(
        &self,
        model: &ModelName,
        alias: &Alias,
        version: Version,
        change: &Change,
    ) -> Result<Option<Version>, Refusal> {
        let mut db = self.begin().await?;
        version_id(&mut db, model, version).await?;
        let id = model_id(&mut db, model).await?;
        let before = alias_of(&mut db, id, alias).await?;
        if before == Some(version) {
            return Ok(before);
        }
        sqlx::query(
            "INSERT INTO aliases (model_id, name, number) VALUES (?, ?, ?)
             ON CONFLICT (model_id, name) DO UPDATE SET number = excluded.number",
        )
        .bind(id)
        .bind(alias.as_str())
        .bind(version.number())
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        remember(&mut db, (model, id), alias, (before, Some(version)), change).await?;
        db.commit().await.map_err(failure::of_sql)?;
        Ok(before)
    }

    /// Takes an alias away. Gives back the version it named.
    pub async fn remove_alias(
        &self,
        model: &ModelName,
        alias: &Alias,
        change: &Change,
    ) -> Result<Version, Refusal> {
        let mut db = self.begin().await?;
        let id = model_id(&mut db, model).await?;
        let before = alias_of(&mut db, id, alias)
            .await?
            .ok_or_else(|| unknown_alias(model, alias))?;
        sqlx::query("DELETE FROM aliases WHERE model_id = ? AND name = ?")
            .bind(id)
            .bind(alias.as_str())
            .execute(&mut *db)
            .await
            .map_err(failure::of_sql)?;
        remember(&mut db, (model, id), alias, (Some(before), None), change).await?;
        db.commit().await.map_err(failure::of_sql)?;
        Ok(before)
    }

    /// Aliases of a model by name, from the first or after one.
    pub async fn aliases(
        &self,
        model: &ModelName,
        after: Option<&Alias>,
        limit: u32,
    ) -> Result<Vec<(Alias, Version)>, Refusal> {
        let mut db = self.reader().await?;
        let id = model_id(&mut db, model).await?;
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT name, number FROM aliases WHERE model_id = ? AND name > ?
             ORDER BY name LIMIT ?",
        )
        .bind(id)
        .bind(after.map_or("", Alias::as_str))
        .bind(limited(limit))
        .fetch_all(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        let read = |(name, number): (String, i64)| {
            let alias = name
                .parse()
                .map_err(|refusal| failure::of_record("alias", refusal))?;
            Ok((alias, version_of(number)?))
        };
        rows.into_iter().map(read).collect()
    }

    /// The aliases of every model by name, at most [`super::LIST_MAX`] for each of as many models.
    pub async fn all_aliases(&self) -> Result<BTreeMap<ModelName, Vec<(Alias, Version)>>, Refusal> {
        let most = i64::from(super::LIST_MAX) * i64::from(super::LIST_MAX);
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT models.name, aliases.name, number FROM aliases JOIN models ON model_id = models.id
             ORDER BY model_id, aliases.name LIMIT ?",
        )
        .bind(most)
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        let mut all: BTreeMap<ModelName, Vec<(Alias, Version)>> = BTreeMap::new();
        for (model, name, number) in rows {
            let wrong = |refusal| failure::of_record("alias", refusal);
            let alias = name.parse().map_err(wrong)?;
            let of = all.entry(model.parse().map_err(wrong)?).or_default();
            of.push((alias, version_of(number)?));
        }
        Ok(all)
    }

    /// What an alias named, newest first, from the newest or before an entry. One that never was has
    /// no history.
    pub async fn alias_history(
        &self,
        model: &ModelName,
        alias: &Alias,
        before: Option<AliasChangeId>,
        limit: u32,
    ) -> Result<Vec<AliasChange>, Refusal> {
        let mut db = self.reader().await?;
        let id = model_id(&mut db, model).await?;
        let rows: Vec<ChangeRow> = sqlx::query_as(
            "SELECT id, from_number, to_number, at, who, why FROM alias_history
             WHERE model_id = ? AND alias = ? AND id < ? ORDER BY id DESC LIMIT ?",
        )
        .bind(id)
        .bind(alias.as_str())
        .bind(before.map_or(i64::MAX, |it| it.0))
        .bind(limited(limit))
        .fetch_all(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        rows.into_iter().map(read_change).collect()
    }

    /// The version that a reference means now.
    pub async fn resolve(&self, reference: &Reference) -> Result<Version, Refusal> {
        let mut db = self.reader().await?;
        let Reference { model, selector } = reference;
        match selector {
            Selector::Version(version) => {
                version_id(&mut db, model, *version).await?;
                Ok(*version)
            }
            Selector::Alias(alias) => {
                let id = model_id(&mut db, model).await?;
                alias_of(&mut db, id, alias)
                    .await?
                    .ok_or_else(|| unknown_alias(model, alias))
            }
            Selector::Traffic => {
                traffic_of(&mut db, model)
                    .await?
                    .ok_or_else(|| Refusal::NotReady {
                        reference: reference.to_string(),
                        state: "none of its versions has its traffic".to_owned(),
                    })
            }
        }
    }
}

fn read_change((id, from, to, at, who, why): ChangeRow) -> Result<AliasChange, Refusal> {
    Ok(AliasChange {
        id: AliasChangeId(id),
        from: from.map(version_of).transpose()?,
        to: to.map(version_of).transpose()?,
        change: Change {
            at: UnixMillis(at),
            who,
            why,
        },
    })
}

/// Gives a model's traffic to a version in the transaction of what brings it about. Gives back the version that had it.
pub(super) async fn give_traffic(
    db: &mut SqliteConnection,
    model: &ModelName,
    version: Version,
    change: &Change,
) -> Result<Option<Version>, Refusal> {
    let version_id = version_id(db, model, version).await?;
    let state: String = sqlx::query_scalar("SELECT state FROM versions WHERE id = ?")
        .bind(version_id)
        .fetch_one(&mut *db)
        .await
        .map_err(failure::of_sql)?;
    if State::from_name(&state) != Some(State::Verified) {
        return Err(Refusal::Conflict {
            why: format!(
                "`{model}:{version}` cannot take traffic: it has not reproduced its examples"
            ),
        });
    }
    let before = traffic_of(db, model).await?;
    if before == Some(version) {
        return Ok(before);
    }
    sqlx::query("UPDATE models SET traffic = ? WHERE name = ?")
        .bind(version.number())
        .bind(model.as_str())
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
    let detail = json!({ "from": before.map(Version::number), "to": version.number() });
    tell(db, model, EventKind::Traffic, detail, change).await?;
    Ok(before)
}

async fn traffic_of(
    db: &mut SqliteConnection,
    model: &ModelName,
) -> Result<Option<Version>, Refusal> {
    let traffic: Option<Option<i64>> =
        sqlx::query_scalar("SELECT traffic FROM models WHERE name = ? AND removed_at IS NULL")
            .bind(model.as_str())
            .fetch_optional(db)
            .await
            .map_err(failure::of_sql)?;
    let Some(number) = traffic else {
        return Err(Refusal::UnknownModel {
            model: model.to_string(),
        });
    };
    number.map(version_of).transpose()
}

async fn alias_of(
    db: &mut SqliteConnection,
    model_id: i64,
    alias: &Alias,
) -> Result<Option<Version>, Refusal> {
    let number: Option<i64> =
        sqlx::query_scalar("SELECT number FROM aliases WHERE model_id = ? AND name = ?")
            .bind(model_id)
            .bind(alias.as_str())
            .fetch_optional(db)
            .await
            .map_err(failure::of_sql)?;
    number.map(version_of).transpose()
}

/// Writes an alias's move into its history and among the events.
async fn remember(
    db: &mut SqliteConnection,
    (model, id): (&ModelName, i64),
    alias: &Alias,
    (from, to): (Option<Version>, Option<Version>),
    change: &Change,
) -> Result<(), Refusal> {
    let (from, to) = (from.map(Version::number), to.map(Version::number));
    sqlx::query(
        "INSERT INTO alias_history (model_id, alias, from_number, to_number, at, who, why)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id)
    .bind(alias.as_str())
    .bind(from)
    .bind(to)
    .bind(change.at.0)
    .bind(&change.who)
    .bind(&change.why)
    .execute(&mut *db)
    .await
    .map_err(failure::of_sql)?;
    let detail = json!({ "alias": alias.as_str(), "from": from, "to": to });
    tell(db, model, EventKind::Alias, detail, change).await
}

fn unknown_alias(model: &ModelName, alias: &Alias) -> Refusal {
    let reference = Reference {
        model: model.clone(),
        selector: Selector::Alias(alias.clone()),
    };
    Refusal::UnknownAlias {
        reference: reference.to_string(),
    }
}
