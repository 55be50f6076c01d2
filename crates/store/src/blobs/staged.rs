//! A file that is being written: hashed and counted on the way, gone unless it is kept. Blocking.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use domain::{Digest, Refusal};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use sha2::{Digest as _, Sha256};

use super::Blob;
use crate::failure;
use crate::registry::UnixMillis;

pub(super) struct Staged {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    size: u64,
    bytes_max: u64,
    kept: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is removed when the data folder is opened next.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Staged {
    pub(super) fn create(path: PathBuf, bytes_max: u64) -> Result<Self, Refusal> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failure::of_io("making a file", &error))?;
        Ok(Self {
            file,
            path,
            hasher: Sha256::new(),
            size: 0,
            bytes_max,
            kept: false,
        })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        self.size += piece.len() as u64;
        if self.size > self.bytes_max {
            return Err(Refusal::TooLarge {
                what: "a file of a model",
                limit: self.bytes_max,
                got: None,
            });
        }
        self.hasher.update(piece);
        self.file
            .write_all(piece)
            .map_err(|error| failure::of_io("writing a blob", &error))
    }

    pub(super) fn written(mut self, pieces: &[Bytes]) -> Result<Self, Refusal> {
        for piece in pieces {
            self.write(piece)?;
        }
        Ok(self)
    }

    /// What was written. The hasher is spent: nothing may be written after this.
    pub(super) fn finished(mut self) -> (Self, Blob) {
        let hasher = std::mem::take(&mut self.hasher);
        let blob = Blob {
            digest: Digest::new(hasher.finalize().into()),
            size: self.size,
        };
        (self, blob)
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    /// Syncs the file, renames it to where its digest belongs and syncs the folders, in this order: a
    /// name must never be on the disk before the bytes that it stands for.
    pub(super) fn place(
        mut self,
        folder: &Path,
        turn: &Mutex<()>,
        blob: Blob,
    ) -> Result<Blob, Refusal> {
        let failed = |error: std::io::Error| failure::of_io("storing a blob", &error);
        self.file.sync_all().map_err(failed)?;
        let place = place_of(folder, blob.digest);
        let shard = place.parent().unwrap_or(folder);
        match std::fs::create_dir(shard) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            std::fs::rename(&self.path, &place).map_err(failed)?;
        }
        self.kept = true;
        sync_folder(shard).map_err(failed)?;
        // Every time: who found the shard there cannot know whether its maker has synced it yet.
        sync_folder(folder).map_err(failed)?;
        Ok(blob)
    }
}

/// Where the content with this digest is.
pub(super) fn place_of(folder: &Path, digest: Digest) -> PathBuf {
    let name = digest.to_string();
    folder.join(&name[..2]).join(name)
}

/// Sets the time of the file's last change to the file system's now; whether there is such a file.
pub(super) fn renew(path: &Path, turn: &Mutex<()>) -> Result<bool, Refusal> {
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |error: std::io::Error| failure::of_io("looking for a blob", &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps {
        last_access: at(UTIME_OMIT),
        last_modification: at(UTIME_NOW),
    };
    rustix::fs::futimens(&file, &times).map_err(|error| failed(error.into()))?;
    Ok(true)
}

/// Removes the file when it was last changed before `before`; whether it did.
pub(super) fn remove_older(
    path: &Path,
    turn: &Mutex<()>,
    before: UnixMillis,
) -> Result<bool, Refusal> {
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let removed = std::fs::symlink_metadata(path)
        .and_then(|metadata| metadata.modified())
        .and_then(|modified| {
            // A time before 1970 is older than any that a caller names.
            let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            if since.as_millis() as i128 >= i128::from(before.0) {
                return Ok(false);
            }
            std::fs::remove_file(path).map(|()| true)
        });
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        removed => removed.map_err(|error| failure::of_io("removing a blob", &error)),
    }
}

pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
