//! What is known of those whom predictions are about, by their key.
//!
//! R1. What was told last holds; an empty value takes back what was told.
//! R2. They go with their model.

use domain::attributes::{ATTRIBUTES_MAX, KEYS_MAX, Table};
use domain::event::EventKind;
use domain::{ModelName, Refusal};
use serde_json::json;
use sqlx::Row;

use super::write::{run, tell};
use super::{Change, Registry, model_id};
use crate::failure;

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeSummary {
    /// Its name.
    pub name: String,
    /// Keys of which it is known.
    pub keys: u64,
}

impl Registry {
    /// Adds attributes to those of a model, and tells which there are then.
    pub async fn set_attributes(
        &self,
        model: &ModelName,
        table: &Table,
        change: &Change,
    ) -> Result<Vec<AttributeSummary>, Refusal> {
        let mut db = self.begin().await?;
        let id = model_id(&mut db, model).await?;
        for (place, name) in table.names.iter().enumerate() {
            // One statement for all rows: of calls into the database thousands a second are possible, not millions.
            let pairs: Vec<[&str; 2]> = table
                .rows
                .iter()
                .filter_map(|(key, values)| Some([key.as_str(), values.get(place)?.as_str()]))
                .collect();
            let pairs = json!(pairs).to_string();
            let put = "INSERT INTO attributes (model_id, name, key, value)
                 SELECT ?, ?, value ->> 0, value ->> 1 FROM json_each(?) WHERE value ->> 1 <> ''
                 ON CONFLICT DO UPDATE SET value = excluded.value";
            let take = "DELETE FROM attributes WHERE model_id = ? AND name = ?
                 AND key IN (SELECT value ->> 0 FROM json_each(?) WHERE value ->> 1 = '')";
            for statement in [put, take] {
                sqlx::query(statement)
                    .bind(id)
                    .bind(name)
                    .bind(&pairs)
                    .execute(&mut *db)
                    .await
                    .map_err(failure::of_sql)?;
            }
        }
        let all = summaries(&mut *db, model).await?;
        let too_large = |what, limit, got| Refusal::TooLarge {
            what,
            limit,
            got: Some(got),
        };
        if all.len() > ATTRIBUTES_MAX {
            let (limit, got) = (ATTRIBUTES_MAX as u64, all.len() as u64);
            return Err(too_large("the number of a model's attributes", limit, got));
        }
        if let Some(it) = all.iter().find(|it| it.keys > KEYS_MAX) {
            return Err(too_large(
                "the number of an attribute's keys",
                KEYS_MAX,
                it.keys,
            ));
        }
        let detail = json!({"attributes": table.names, "keys": table.rows.len()});
        tell(&mut db, model, EventKind::AttributesSet, detail, change).await?;
        db.commit().await.map_err(failure::of_sql)?;
        Ok(all)
    }

    /// The attributes of a model, by name.
    pub async fn attributes(&self, model: &ModelName) -> Result<Vec<AttributeSummary>, Refusal> {
        summaries(&self.readers, model).await
    }

    /// What is known of an attribute: keys and values.
    pub async fn attribute(
        &self,
        model: &ModelName,
        name: &str,
    ) -> Result<Vec<(String, String)>, Refusal> {
        let rows = sqlx::query(
            "SELECT key, value FROM models JOIN attributes ON model_id = models.id
             WHERE models.name = ? AND attributes.name = ?",
        )
        .bind(model.as_str())
        .bind(name)
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        let pair = |row: &sqlx::sqlite::SqliteRow| {
            let text = |name: &str| row.try_get(name).map_err(failure::of_sql);
            Ok((text("key")?, text("value")?))
        };
        rows.iter().map(pair).collect()
    }

    /// Forgets all attributes of a model.
    pub async fn remove_attributes(
        &self,
        model: &ModelName,
        change: &Change,
    ) -> Result<(), Refusal> {
        let mut db = self.begin().await?;
        let id = model_id(&mut db, model).await?;
        run(&mut db, REMOVE, id).await?;
        tell(
            &mut db,
            model,
            EventKind::AttributesRemoved,
            json!({}),
            change,
        )
        .await?;
        db.commit().await.map_err(failure::of_sql)
    }
}

/// Takes all attributes of a model out.
pub(super) const REMOVE: &str = "DELETE FROM attributes WHERE model_id = ?";

async fn summaries<'a>(
    db: impl sqlx::SqliteExecutor<'a>,
    model: &ModelName,
) -> Result<Vec<AttributeSummary>, Refusal> {
    let rows = sqlx::query(
        "SELECT attributes.name AS name, COUNT(*) AS keys
         FROM models JOIN attributes ON model_id = models.id
         WHERE models.name = ? GROUP BY 1 ORDER BY 1",
    )
    .bind(model.as_str())
    .fetch_all(db)
    .await
    .map_err(failure::of_sql)?;
    let summary = |row: &sqlx::sqlite::SqliteRow| {
        let keys: i64 = row.try_get("keys").map_err(failure::of_sql)?;
        Ok(AttributeSummary {
            name: row.try_get("name").map_err(failure::of_sql)?,
            keys: keys.unsigned_abs(),
        })
    };
    rows.iter().map(summary).collect()
}
