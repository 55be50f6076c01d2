//! The registry: models, their versions, what serves, and everything that happened.
//!
//! R1. One connection writes, in `BEGIN IMMEDIATE` transactions; a few others read. A change and the
//!     event that tells of it are one transaction.
//! R2. Versions do not change and their numbers are never used twice, not even after the model was
//!     removed: an answer from last year still names what gave it.
//! R3. Only a verified version takes traffic; one that has traffic or an alias cannot be removed.
//! R4. No call's time grows with the number of versions: every look-up has its index, every list goes
//!     on from a key. (`benches/registry.rs` compares. What must touch every version of a model, its
//!     removal and the sweep's list of digests, is the exception.)
//! R5. A call that is dropped before it returns has changed everything it was to change, or nothing.
//! R6. Times are the caller's.

use std::path::Path;
use std::time::Duration;

use domain::{Refusal, Version};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool};

use crate::failure;

pub mod actions;
pub mod alerts;
mod attributes;
mod baseline;
mod events;
pub mod experiments;
pub mod looks;
pub mod outbox;
mod package;
mod read;
mod record;
pub mod rollouts;
mod traffic;
mod write;

pub use attributes::AttributeSummary;
pub use baseline::{BASELINE_BYTES_MAX, BaselineRecord};
pub use events::{Event, EventId, EventsAsked, NewEvent, Order};
pub use package::{File, NewVersion, Pushed, digest_of_package};
pub use read::{ModelSummary, VersionRecord, VersionSummary};
pub use traffic::{AliasChange, AliasChangeId};

/// Milliseconds since the start of 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

/// Who changes something, when and why: what the history tells later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: UnixMillis,
    /// Who asked for it.
    pub who: String,
    /// What for; may be empty.
    pub why: String,
}

/// Whether a version may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is stored; it has not reproduced its examples yet, or could not.
    Pushed,
    /// It reproduced its examples: it may serve.
    Verified,
}

impl State {
    /// Its name: `pushed`, `verified`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pushed => "pushed",
            Self::Verified => "verified",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Pushed, Self::Verified]
            .into_iter()
            .find(|it| it.name() == name)
    }
}

/// The most entries that one call lists; a larger `limit` is this one.
pub const LIST_MAX: u32 = 1000;

const READERS: u32 = 4;
const BUSY: Duration = Duration::from_secs(5);

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The registry of a data folder.
pub struct Registry {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Registry {
    /// Opens the file, makes it where it is not there, and brings an older format up to this one's. A
    /// newer format is refused.
    pub(crate) async fn open(path: &Path) -> Result<Self, Refusal> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON")
            // A stored incident shows memory-mapped reading turn a fault in the log into corruption.
            .pragma("mmap_size", "0")
            .disable_statement_logging();
        let writer = pool(1)
            .connect_with(options.clone())
            .await
            .map_err(failure::of_sql)?;
        migrate(&writer).await?;
        let readers = pool(READERS)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(failure::of_sql)?;
        Ok(Self { writer, readers })
    }

    /// Waits for what is running and closes the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, Refusal> {
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failure::of_sql)
    }

    async fn reader(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, Refusal> {
        self.readers.acquire().await.map_err(failure::of_sql)
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    // Connections to a file do not go stale: without these two the pool needs no task to look after it.
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(BUSY)
}

async fn migrate(pool: &SqlitePool) -> Result<(), Refusal> {
    let failed = |what: String| Refusal::StorageFailed { what };
    MIGRATIONS.run(pool).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => {
            let known = MIGRATIONS.iter().map(|it| it.version).max().unwrap_or(0);
            failed(format!(
                "the registry has format {found}, this program knows formats up to {known}: it was \
                 written by a newer Windlass"
            ))
        }
        MigrateError::VersionMismatch(found) => failed(format!(
            "format {found} of the registry differs from this program's: it was written by an \
             unreleased Windlass"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            failure::of_sql(error)
        }
        error => failed(format!("bringing the registry up to date: {error}")),
    })
}

/// The number of a version in a column.
fn version_of(number: i64) -> Result<Version, Refusal> {
    u32::try_from(number)
        .ok()
        .and_then(Version::new)
        .ok_or_else(|| failure::of_record("version", format!("its number is `{number}`")))
}

fn limited(limit: u32) -> i64 {
    i64::from(limit.min(LIST_MAX))
}

/// The row of a model that is not removed.
async fn model_id(db: &mut SqliteConnection, model: &domain::ModelName) -> Result<i64, Refusal> {
    sqlx::query_scalar("SELECT id FROM models WHERE name = ? AND removed_at IS NULL")
        .bind(model.as_str())
        .fetch_optional(db)
        .await
        .map_err(failure::of_sql)?
        .ok_or_else(|| Refusal::UnknownModel {
            model: model.to_string(),
        })
}

#[cfg(test)]
mod alerts_tests;
#[cfg(test)]
mod experiments_tests;
#[cfg(test)]
mod looks_tests;
#[cfg(test)]
mod rollouts_tests;
#[cfg(test)]
mod tests;
