//! What Windlass keeps on disk: the registry of models and the bytes they are made of.
//!
//! A data folder holds `registry.db` (SQLite), `blobs/` (files by the digest of their content), `tmp/`
//! (writes that are not finished; emptied when the folder is opened) and `lock`.
//!
//! R1. One server at a time works on a folder: `lock` is held for as long as the [`Store`] lives.
//! R2. What was acknowledged survives `kill -9` and power loss: files and folders are synced first.
//! R3. Bytes are checked against their digest when they come in and again when they go out.
//! R4. Nothing here reads a clock or starts a task; the caller hands in the time. Slow work runs on
//!     the blocking threads of the caller's tokio runtime and is awaited.

pub mod blobs;
mod failure;

pub mod format;
mod lock;
mod path;
pub mod registry;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use domain::Refusal;
use domain::limits::Limits;

pub use blobs::Blobs;
pub use path::PackagePath;
pub use registry::{Registry, UnixMillis};

/// A data folder, open and locked.
pub struct Store {
    /// Models, versions, aliases, events.
    pub registry: Registry,
    /// The files of versions.
    pub blobs: Blobs,
    folder: PathBuf,
    // Last: the lock goes when everything it guards is gone.
    lock: lock::Lock,
}

impl Store {
    /// Opens the folder, and makes it where it is not there yet. A folder that another server works
    /// on is a `Conflict`; one that was written by a newer Windlass is `StorageFailed` with a sentence.
    pub async fn open(folder: &Path, limits: &Limits) -> Result<Self, Refusal> {
        make_folder(folder)?;
        let lock = lock::Lock::take(folder).await?;
        let blobs = Blobs::open(folder, limits.blob_bytes_max)?;
        let registry = Registry::open(&folder.join("registry.db")).await?;
        let folder = folder.to_owned();
        Ok(Self {
            registry,
            blobs,
            folder,
            lock,
        })
    }

    /// The address of the server that works on this folder now; none where none does, or where it
    /// has not announced one.
    pub fn running(folder: &Path) -> Option<String> {
        lock::running(folder)
    }

    /// Writes down where this server listens, for [`Store::running`].
    pub fn announce(&self, url: &str) -> Result<(), Refusal> {
        self.lock.announce(url)
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Finishes what is being written and gives the folder back. The last thing to be asked of a
    /// store: another server may work on the folder from now on.
    pub async fn close(&self) {
        self.registry.close().await;
        self.lock.release();
    }
}

/// Made for its owner alone: what models were trained on can be read out of them.
fn make_folder(folder: &Path) -> Result<(), Refusal> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| failure::of_io(format!("making folder `{}`", folder.display()), &error))
}

#[cfg(test)]
mod tests;
