//! How the failures of disks and libraries become refusals: "full" is told apart, for it can be mended.

use std::error::Error;
use std::io::ErrorKind;

use domain::Refusal;

/// SQLite's primary result codes that have a sentence of their own.
const SQLITE_BUSY: u32 = 5;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOT_A_DATABASE: u32 = 26;
/// There was no room for the memory that connections share, which lies beside the registry.
const SQLITE_IOERR_SHMSIZE: u32 = 10 | (19 << 8);

/// `doing` is what was tried: "writing `blobs/ab`".
pub(crate) fn of_io(doing: impl Into<String>, error: &std::io::Error) -> Refusal {
    let doing = doing.into();
    if is_full(error) {
        return Refusal::StorageFull { what: doing };
    }
    Refusal::StorageFailed {
        what: format!("{doing}: {error}"),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

pub(crate) fn of_sql(error: sqlx::Error) -> Refusal {
    let failed = |what: String| Refusal::StorageFailed { what };
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<u32>().ok());
            // The low byte is the primary code; what is above it says more.
            let primary = code.map(|code| code & 0xff);
            if code == Some(SQLITE_IOERR_SHMSIZE) || primary == Some(SQLITE_FULL) {
                let what = "writing the registry".to_owned();
                return Refusal::StorageFull { what };
            }
            match primary {
                Some(SQLITE_BUSY) => failed("the registry is locked by another program".to_owned()),
                Some(SQLITE_CORRUPT | SQLITE_NOT_A_DATABASE) => {
                    failed(format!("the registry's file is damaged: {database}"))
                }
                _ => failed(format!("the registry: {database}")),
            }
        }
        sqlx::Error::Io(error) => of_io("the registry", error),
        sqlx::Error::PoolTimedOut => failed("the registry did not answer in time".to_owned()),
        _ => failed(format!("the registry: {error}")),
    }
}

pub(crate) fn of_object(doing: &str, error: &object_store::Error) -> Refusal {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return of_io(doing, error);
        }
        cause = error.source();
    }
    Refusal::StorageFailed {
        what: format!("{doing}: {error}"),
    }
}

/// A record that this program wrote and cannot read any more.
pub(crate) fn of_record(what: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::StorageFailed {
        what: format!("the registry holds a {what} that cannot be read: {why}"),
    }
}
