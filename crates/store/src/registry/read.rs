//! Looking things up.

use std::collections::HashSet;

use domain::{Digest, ModelName, Refusal, Signature, Version};
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::package::File;
use super::write::unknown_version;
use super::{Registry, State, UnixMillis, limited, model_id, record, version_of};
use crate::{PackagePath, failure};

/// A model in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSummary {
    /// Its name.
    pub name: ModelName,
    /// When its first version was pushed.
    pub created_at: UnixMillis,
    /// How many versions it has.
    pub versions: u32,
    /// The last one of them.
    pub latest: Option<Version>,
    /// Which one takes its traffic.
    pub traffic: Option<Version>,
}

/// A version in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionSummary {
    /// Its number.
    pub version: Version,
    /// The digest of the package.
    pub digest: Digest,
    /// Whether it may serve.
    pub state: State,
    /// Where it came from.
    pub source: String,
    /// When it was pushed.
    pub created_at: UnixMillis,
}

/// All that is known of a version.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionRecord {
    /// What a list tells of it.
    pub summary: VersionSummary,
    /// Its files, sorted by path.
    pub files: Vec<File>,
    /// Which of them is the model.
    pub main: PackagePath,
    /// What its owner says about it.
    pub manifest: String,
    /// What it takes and gives.
    pub signature: Signature,
    /// How it did on its examples; none before they ran.
    pub report: Option<Value>,
}

impl Registry {
    /// Models by name, from the first or after one.
    pub async fn models(
        &self,
        after: Option<&ModelName>,
        limit: u32,
    ) -> Result<Vec<ModelSummary>, Refusal> {
        // No name is empty: the first page begins after the empty one.
        let rows = sqlx::query(
            "SELECT name, created_at, version_count, traffic,
                    (SELECT max(number) FROM versions WHERE model_id = models.id) AS latest
             FROM models WHERE removed_at IS NULL AND name > ? ORDER BY name LIMIT ?",
        )
        .bind(after.map_or("", ModelName::as_str))
        .bind(limited(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(failure::of_sql)?;
        rows.iter().map(read_model).collect()
    }

    /// One model.
    pub async fn model(&self, model: &ModelName) -> Result<ModelSummary, Refusal> {
        let row = sqlx::query(
            "SELECT name, created_at, version_count, traffic,
                    (SELECT max(number) FROM versions WHERE model_id = models.id) AS latest
             FROM models WHERE removed_at IS NULL AND name = ?",
        )
        .bind(model.as_str())
        .fetch_optional(&self.readers)
        .await
        .map_err(failure::of_sql)?
        .ok_or_else(|| Refusal::UnknownModel {
            model: model.to_string(),
        })?;
        read_model(&row)
    }

    /// Versions of a model by number, from the first or after one.
    pub async fn versions(
        &self,
        model: &ModelName,
        after: Option<Version>,
        limit: u32,
    ) -> Result<Vec<VersionSummary>, Refusal> {
        let mut db = self.reader().await?;
        let id = model_id(&mut db, model).await?;
        let rows = sqlx::query(
            "SELECT number, digest, state, source, created_at FROM versions
             WHERE model_id = ? AND number > ? ORDER BY number LIMIT ?",
        )
        .bind(id)
        .bind(after.map_or(0, Version::number))
        .bind(limited(limit))
        .fetch_all(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        rows.iter().map(read_summary).collect()
    }

    /// One version, with its files.
    pub async fn version(
        &self,
        model: &ModelName,
        version: Version,
    ) -> Result<VersionRecord, Refusal> {
        // One transaction: the version must not go while its files are read.
        let mut db = self.readers.begin().await.map_err(failure::of_sql)?;
        let row = sqlx::query(
            "SELECT versions.* FROM models JOIN versions ON model_id = models.id
             WHERE name = ? AND removed_at IS NULL AND number = ?",
        )
        .bind(model.as_str())
        .bind(version.number())
        .fetch_optional(&mut *db)
        .await
        .map_err(failure::of_sql)?;
        let Some(row) = row else {
            model_id(&mut db, model).await?;
            return Err(unknown_version(model, version));
        };
        let id: i64 = column(&row, "id")?;
        let files =
            sqlx::query("SELECT path, digest, size FROM files WHERE version_id = ? ORDER BY path")
                .bind(id)
                .fetch_all(&mut *db)
                .await
                .map_err(failure::of_sql)?;
        let report: Option<String> = column(&row, "report")?;
        Ok(VersionRecord {
            summary: read_summary(&row)?,
            files: files.iter().map(read_file).collect::<Result<_, _>>()?,
            main: read_path(column(&row, "main")?)?,
            manifest: column(&row, "manifest")?,
            signature: record::read_signature(column(&row, "signature")?)?,
            report: report
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|error| failure::of_record("report", error))?,
        })
    }

    /// The digests of every file of every version: what a sweep of the blobs must leave.
    pub async fn referenced(&self) -> Result<HashSet<Digest>, Refusal> {
        let digests: Vec<Vec<u8>> = sqlx::query_scalar("SELECT DISTINCT digest FROM files")
            .fetch_all(&self.readers)
            .await
            .map_err(failure::of_sql)?;
        digests.into_iter().map(read_digest).collect()
    }
}

fn column<'r, T>(row: &'r SqliteRow, name: &'static str) -> Result<T, Refusal>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(failure::of_sql)
}

fn read_model(row: &SqliteRow) -> Result<ModelSummary, Refusal> {
    let name: &str = column(row, "name")?;
    let latest: Option<i64> = column(row, "latest")?;
    let traffic: Option<i64> = column(row, "traffic")?;
    Ok(ModelSummary {
        name: name
            .parse()
            .map_err(|refusal| failure::of_record("model name", refusal))?,
        created_at: UnixMillis(column(row, "created_at")?),
        versions: column(row, "version_count")?,
        latest: latest.map(version_of).transpose()?,
        traffic: traffic.map(version_of).transpose()?,
    })
}

fn read_summary(row: &SqliteRow) -> Result<VersionSummary, Refusal> {
    let state: &str = column(row, "state")?;
    Ok(VersionSummary {
        version: version_of(column(row, "number")?)?,
        digest: read_digest(column(row, "digest")?)?,
        state: State::from_name(state)
            .ok_or_else(|| failure::of_record("version", format!("its state is `{state}`")))?,
        source: column(row, "source")?,
        created_at: UnixMillis(column(row, "created_at")?),
    })
}

fn read_file(row: &SqliteRow) -> Result<File, Refusal> {
    Ok(File {
        path: read_path(column(row, "path")?)?,
        digest: read_digest(column(row, "digest")?)?,
        size: column(row, "size")?,
    })
}

fn read_path(text: &str) -> Result<PackagePath, Refusal> {
    text.parse()
        .map_err(|refusal| failure::of_record("file path", refusal))
}

fn read_digest(bytes: Vec<u8>) -> Result<Digest, Refusal> {
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|_| failure::of_record("digest", "it has not 32 bytes"))?;
    Ok(Digest::new(bytes))
}
