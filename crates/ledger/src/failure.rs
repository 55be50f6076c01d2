//! How the failures of disks and libraries become refusals: "full" is told apart, for it can be mended.

use std::io::ErrorKind;

use domain::Refusal;

/// `doing` is what was tried: "writing `log/7.log`".
pub(crate) fn of_io(doing: impl Into<String>, error: &std::io::Error) -> Refusal {
    let doing = doing.into();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Refusal::StorageFull { what: doing },
        _ => Refusal::StorageFailed {
            what: format!("{doing}: {error}"),
        },
    }
}

/// A library failed on a file of ours.
pub(crate) fn of_library(doing: impl std::fmt::Display, error: impl std::fmt::Display) -> Refusal {
    let what = format!("{doing}: {error}");
    // Libraries wrap the system's error in their own; its words are what is left of it.
    if what.contains("No space left on device") || what.contains("Disk quota exceeded") {
        return Refusal::StorageFull { what };
    }
    Refusal::StorageFailed { what }
}
