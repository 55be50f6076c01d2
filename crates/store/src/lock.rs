//! One server to a folder. The lock is the operating system's, on the open file, so it goes with the
//! process however that ends; what the file says only helps people find the server that holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use domain::Refusal;

use crate::failure;

const NAME: &str = "lock";
/// An address longer than this was not written by us.
const URL_BYTES_MAX: u64 = 4096;
/// [`running`] holds the lock itself for a moment; a server that starts just then tries again.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

pub(crate) struct Lock {
    file: File,
}

impl Lock {
    pub(crate) async fn take(folder: &Path) -> Result<Self, Refusal> {
        let path = folder.join(NAME);
        let failed = |error: &std::io::Error| {
            failure::of_io(format!("locking folder `{}`", folder.display()), error)
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed(&error))?;
        for left in (0..TRIES).rev() {
            match file.try_lock() {
                Ok(()) => {
                    file.set_len(0).map_err(|error| failed(&error))?;
                    return Ok(Self { file });
                }
                Err(TryLockError::WouldBlock) if left > 0 => {
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
            }
        }
        let holder = match announced(&file) {
            Some(url) => format!("the server at `{url}`"),
            None => "another server".to_owned(),
        };
        Err(Refusal::Conflict {
            why: format!(
                "data folder `{}` is in use by {holder}; stop it or give this one another folder",
                folder.display()
            ),
        })
    }

    pub(crate) fn release(&self) {
        // What goes wrong here is mended when the file is closed, at the latest by the process's end.
        let _ = self.file.unlock();
    }

    pub(crate) fn announce(&self, url: &str) -> Result<(), Refusal> {
        // In one write and with the line's end last: who reads it half written sees no line.
        let line = format!("{url}\n");
        self.file
            .set_len(0)
            .and_then(|()| self.file.write_all_at(line.as_bytes(), 0))
            .map_err(|error| failure::of_io("writing the server's address", &error))
    }
}

pub(crate) fn running(folder: &Path) -> Option<String> {
    let file = File::open(folder.join(NAME)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => announced(&file),
        // Nobody holds it: what is written there is of a server that has ended.
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn announced(file: &File) -> Option<String> {
    let mut text = String::new();
    file.take(URL_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.strip_suffix('\n').map(str::to_owned)
}
