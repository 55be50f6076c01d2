//! Files by the digest of their content: `blobs/ab/abcd…`.
//!
//! R1. A blob is written beside its place and renamed into it when its digest is known, so a reader
//!     sees all of it or nothing.
//! R2. `object_store`'s local disk does not sync (0.13: a write is acknowledged from memory), so we
//!     write ourselves: file synced, renamed, folder synced. Reading, listing and removing go through it.
//! R3. Writing a blob that is there already replaces it: that mends one that rotted, and makes it young
//!     again, so a sweep cannot take what was just acknowledged.
//! R4. A sweep looks at a blob's age and removes it in one step that neither a write nor an answer "it is
//!     there" can come between.
//! R5. Nothing is believed to be what its name says: reading checks the digest every time.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use domain::{Digest, Refusal};
use futures::{Stream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use sha2::{Digest as _, Sha256};

use crate::failure;
use crate::registry::UnixMillis;

mod staged;

use staged::Staged;

/// What is handed to a blocking thread at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// Content that is stored, or could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
}

/// The blobs of a data folder.
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    folder: PathBuf,
    tmp: PathBuf,
    bytes_max: u64,
    next: AtomicU64,
    // Held by blocking work alone, around a rename, a renewal or a removal (R4).
    turn: Arc<Mutex<()>>,
}

/// A folder of its own in `tmp/`, gone when this is dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the data folder is opened next.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// The digest and the size of a file's content. Blocking: for a caller that has not a store.
pub fn digest_of(file: &mut impl Read) -> Result<Blob, Refusal> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    each_piece(file, |piece| {
        hasher.update(piece);
        size += piece.len() as u64;
        Ok(())
    })?;
    Ok(Blob {
        digest: Digest::new(hasher.finalize().into()),
        size,
    })
}

impl Blobs {
    /// Opens the blobs of a data folder that is locked by the caller, and clears what a crash left in
    /// its `tmp/`.
    pub(crate) fn open(data: &Path, bytes_max: u64) -> Result<Self, Refusal> {
        let (folder, tmp) = (data.join("blobs"), data.join("tmp"));
        let failed = |error: std::io::Error| {
            failure::of_io(format!("opening folder `{}`", folder.display()), &error)
        };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        match std::fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            Ok(()) | Err(_) => {}
        }
        std::fs::create_dir_all(&tmp).map_err(failed)?;
        staged::sync_folder(data).map_err(failed)?;
        let objects = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| failure::of_object("opening the blobs", &error))?;
        Ok(Self {
            objects: Arc::new(objects),
            folder,
            tmp,
            bytes_max,
            next: AtomicU64::new(0),
            turn: Arc::default(),
        })
    }

    /// Stores a stream of bytes that must have this digest. When it returns, they are on the disk to
    /// stay. Dropped before, it leaves nothing.
    pub async fn put(
        &self,
        expected: Digest,
        chunks: impl Stream<Item = Result<Bytes, Refusal>>,
    ) -> Result<Blob, Refusal> {
        let mut chunks = std::pin::pin!(chunks);
        let mut staged = self.stage().await?;
        let mut waiting = Vec::new();
        let mut waiting_bytes = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            waiting_bytes += chunk.len();
            waiting.push(chunk);
            if waiting_bytes >= PIECE_BYTES {
                waiting_bytes = 0;
                let pieces = std::mem::take(&mut waiting);
                staged = blocking(move || staged.written(&pieces)).await?;
            }
        }
        let (folder, turn) = (self.folder.clone(), Arc::clone(&self.turn));
        blocking(move || {
            let (staged, blob) = staged.written(&waiting)?.finished();
            if blob.digest != expected {
                return Err(Refusal::DigestMismatch {
                    what: "the content".to_owned(),
                    want: expected.to_string(),
                    got: blob.digest.to_string(),
                });
            }
            staged.place(&folder, &turn, blob)
        })
        .await
    }

    /// Stores what is left to read of a file, whatever its digest is.
    pub async fn put_file(&self, mut file: File) -> Result<Blob, Refusal> {
        let mut staged = self.stage().await?;
        let (folder, turn) = (self.folder.clone(), Arc::clone(&self.turn));
        blocking(move || {
            each_piece(&mut file, |piece| staged.write(piece))?;
            let (staged, blob) = staged.finished();
            staged.place(&folder, &turn, blob)
        })
        .await
    }

    /// Whether the content is there, unverified; if so it is made young again, so that a caller who is
    /// told "yes" and does not send it finds it still there (R3).
    pub async fn has(&self, digest: Digest) -> Result<bool, Refusal> {
        let path = staged::place_of(&self.folder, digest);
        let turn = Arc::clone(&self.turn);
        blocking(move || staged::renew(&path, &turn)).await
    }

    /// The content. `UnknownBlob` when it is not there, `DigestMismatch` when it rotted.
    pub async fn get(&self, digest: Digest) -> Result<Bytes, Refusal> {
        let found = self.find(digest).await?;
        let bytes = found
            .bytes()
            .await
            .map_err(|error| failure::of_object("reading a blob", &error))?;
        blocking(move || {
            check_digest(digest, Digest::new(Sha256::digest(&bytes).into()))?;
            Ok(bytes)
        })
        .await
    }

    /// Writes the content to a file that is not there yet, verified while copying: the bytes that were
    /// checked are the bytes in the file. Nothing is left there when it fails. Not synced: a copy can
    /// be made again.
    pub async fn copy_into(&self, digest: Digest, path: &Path) -> Result<(), Refusal> {
        let found = self.find(digest).await?;
        let path = path.to_owned();
        match found.payload {
            GetResultPayload::File(mut file, _) => {
                blocking(move || {
                    let mut staged = Staged::create(path, u64::MAX)?;
                    each_piece(&mut file, |piece| staged.write(piece))?;
                    finish_copy(staged, digest)
                })
                .await
            }
            GetResultPayload::Stream(mut chunks) => {
                let mut staged = blocking(move || Staged::create(path, u64::MAX)).await?;
                while let Some(chunk) = chunks.next().await {
                    let chunk =
                        chunk.map_err(|error| failure::of_object("reading a blob", &error))?;
                    staged = blocking(move || staged.written(&[chunk])).await?;
                }
                blocking(move || finish_copy(staged, digest)).await
            }
        }
    }

    /// Removes the blobs that are not in `referenced` and were last written or asked for before
    /// `before`, and says which. `before` must leave a push the time to name what it sent: a day, not a
    /// minute. May be cut off at any moment: what is not removed yet is found by the next one.
    pub async fn sweep(
        &self,
        referenced: &HashSet<Digest>,
        before: UnixMillis,
    ) -> Result<Vec<Blob>, Refusal> {
        let mut removed = Vec::new();
        let mut listed = self.objects.list(None);
        while let Some(object) = listed.next().await {
            let object = object.map_err(|error| failure::of_object("listing blobs", &error))?;
            // A name that is not a digest is not ours to remove.
            let Some(digest) = object.location.filename().and_then(|it| it.parse().ok()) else {
                continue;
            };
            if referenced.contains(&digest) || object.last_modified.timestamp_millis() >= before.0 {
                continue;
            }
            let path = staged::place_of(&self.folder, digest);
            let turn = Arc::clone(&self.turn);
            if blocking(move || staged::remove_older(&path, &turn, before)).await? {
                let size = object.size;
                removed.push(Blob { digest, size });
            }
        }
        Ok(removed)
    }

    /// A new folder in `tmp/`, for files that an engine must open by path.
    pub async fn scratch(&self) -> Result<Scratch, Refusal> {
        let path = self.fresh();
        blocking(move || {
            std::fs::create_dir(&path)
                .map_err(|error| failure::of_io("making a scratch folder", &error))?;
            Ok(Scratch { path })
        })
        .await
    }

    /// A name in `tmp/` that nobody has: the folder is ours alone and was emptied at the start.
    fn fresh(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.tmp.join(number.to_string())
    }

    async fn stage(&self) -> Result<Staged, Refusal> {
        let (path, bytes_max) = (self.fresh(), self.bytes_max);
        blocking(move || Staged::create(path, bytes_max)).await
    }

    async fn find(&self, digest: Digest) -> Result<object_store::GetResult, Refusal> {
        let name = digest.to_string();
        let key = Key::from_iter([&name[..2], &name]);
        self.objects.get(&key).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => Refusal::UnknownBlob { digest: name },
            error => failure::of_object("reading a blob", &error),
        })
    }
}

fn finish_copy(staged: Staged, want: Digest) -> Result<(), Refusal> {
    let (staged, blob) = staged.finished();
    check_digest(want, blob.digest)?;
    staged.keep();
    Ok(())
}

fn check_digest(want: Digest, got: Digest) -> Result<(), Refusal> {
    if want == got {
        return Ok(());
    }
    Err(Refusal::DigestMismatch {
        what: "stored content".to_owned(),
        want: want.to_string(),
        got: got.to_string(),
    })
}

fn each_piece(
    file: &mut impl Read,
    mut each: impl FnMut(&[u8]) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&buffer[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failure::of_io("reading a file", &error)),
        }
    }
}

/// Runs slow work on a blocking thread and waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Refusal::Internal {
                what: format!("work on a file did not end: {error}"),
            })
        })
}

#[cfg(test)]
mod tests;
