//! The baseline of a version. What is in it is its maker's affair: here it is bytes.

use domain::event::EventKind;
use domain::{ModelName, Refusal, Version};
use serde_json::json;
use sqlx::Row;

use super::write::{tell, version_id};
use super::{Change, Registry, UnixMillis};
use crate::failure;

/// The most bytes of a baseline.
pub const BASELINE_BYTES_MAX: usize = 32 << 20;

/// A baseline as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineRecord {
    /// When it was made.
    pub made_at: UnixMillis,
    /// What it was made from: `train.parquet`, `the ledger from … to …`.
    pub source: String,
    /// Rows of the reference.
    pub rows: u64,
    /// What is in it.
    pub body: Vec<u8>,
}

impl Registry {
    /// Gives a version its baseline, in place of the one that it may have had.
    pub async fn set_baseline(
        &self,
        model: &ModelName,
        version: Version,
        baseline: &BaselineRecord,
        change: &Change,
    ) -> Result<(), Refusal> {
        if baseline.body.len() > BASELINE_BYTES_MAX {
            return Err(Refusal::TooLarge {
                what: "a baseline",
                limit: BASELINE_BYTES_MAX as u64,
                got: Some(baseline.body.len() as u64),
            });
        }
        let rows = i64::try_from(baseline.rows).unwrap_or(i64::MAX);
        let mut db = self.begin().await?;
        let id = version_id(&mut db, model, version).await?;
        sqlx::query(
            "INSERT INTO baselines (version_id, made_at, source, rows, body) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (version_id) DO UPDATE
             SET made_at = excluded.made_at, source = excluded.source, rows = excluded.rows,
                 body = excluded.body",
        )
        .bind(id)
        .bind(baseline.made_at.0)
        .bind(&baseline.source)
        .bind(rows)
        .bind(&baseline.body)
        .execute(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        let detail = json!({
            "version": version.number(), "source": baseline.source, "rows": baseline.rows,
        });
        tell(&mut db, model, EventKind::BaselineSet, detail, change).await?;
        db.commit().await.map_err(failure::of_sql)
    }

    /// The baseline of a version, where it has one.
    pub async fn baseline(
        &self,
        model: &ModelName,
        version: Version,
    ) -> Result<Option<BaselineRecord>, Refusal> {
        let row = sqlx::query(
            "SELECT made_at, baselines.source, rows, body FROM models
             JOIN versions ON model_id = models.id
             JOIN baselines ON version_id = versions.id
             WHERE name = ? AND removed_at IS NULL AND number = ?",
        )
        .bind(model.as_str())
        .bind(version.number())
        .fetch_optional(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        let Some(row) = row else { return Ok(None) };
        let rows: i64 = row.try_get("rows").map_err(failure::of_sql)?;
        Ok(Some(BaselineRecord {
            made_at: UnixMillis(row.try_get("made_at").map_err(failure::of_sql)?),
            source: row.try_get("source").map_err(failure::of_sql)?,
            rows: rows.unsigned_abs(),
            body: row.try_get("body").map_err(failure::of_sql)?,
        }))
    }
}
