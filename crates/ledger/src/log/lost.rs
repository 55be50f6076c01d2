//! How many rows were answered that could not be recorded, since the folder was made.
//!
//! The count lies in a file that is memory, as the log does, so that it is there whenever the process ends. It
//! has two places of which the one is written that is older: whatever is half written, the other is whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::frame::{Found, Frames, HEAD_BYTES, head};
use super::map::Map;

/// Bytes of a place: a record of eight bytes.
const PLACE_BYTES: usize = HEAD_BYTES + 8;
const PLACES: usize = 2;
const FILE: &str = "lost";

/// The count, and the file that it is kept in as soon as the disk has room for it.
pub(crate) struct Lost {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rows: u64,
    /// The place that is written next.
    next: usize,
    kept: Option<(File, Map)>,
    /// It was counted since the file was last brought to the disk.
    changed: bool,
}

impl State {
    fn store(&mut self) {
        let Some((_, map)) = &self.kept else { return };
        let count = self.rows.to_le_bytes();
        let at = self.next * PLACE_BYTES;
        map.store(at, &head(&count, 0));
        map.store(at + HEAD_BYTES, &count);
        self.next = (self.next + 1) % PLACES;
        self.changed = true;
    }
}

impl Lost {
    /// Reads what an earlier process counted.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let mut state = State::default();
        for (place, bytes) in bytes.chunks_exact(PLACE_BYTES).take(PLACES).enumerate() {
            if let Some(rows) = count_in(bytes)
                && rows >= state.rows
            {
                state.rows = rows;
                state.next = (place + 1) % PLACES;
            }
        }
        if state.rows == 0 && bytes.iter().any(|it| *it != 0) {
            tracing::error!("the count of rows that were not recorded is damaged; it begins anew");
        }
        Ok(Self {
            path,
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the file that the count is kept in, where there is none.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.kept.is_some() {
            return Ok(());
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)?;
        file.set_len((PLACES * PLACE_BYTES) as u64)?;
        let map = Map::create(&file, PLACES * PLACE_BYTES)?;
        file.sync_all()?;
        state.kept = Some((file, map));
        if state.rows > 0 {
            state.store();
        }
        Ok(())
    }

    pub(crate) fn add(&self, rows: u64) {
        let mut state = self.lock();
        state.rows = state.rows.saturating_add(rows);
        state.store();
    }

    pub(crate) fn rows(&self) -> u64 {
        self.lock().rows
    }

    /// Brings the count to the disk, where it changed.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut state = self.lock();
        let changed = std::mem::take(&mut state.changed);
        let file = match &state.kept {
            Some((file, _)) if changed => file.try_clone()?,
            _ => return Ok(()),
        };
        // Who counts does not wait for the disk.
        drop(state);
        file.sync_data()
    }
}

fn count_in(place: &[u8]) -> Option<u64> {
    match Frames::new(place).next() {
        Some(Found::Record { record, .. }) => Some(u64::from_le_bytes(record.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_goes_on_where_a_process_ended_without_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Lost::open(folder.path()).unwrap();
        let lost = open();
        lost.add(2);
        assert!(
            !folder.path().join(FILE).exists(),
            "who only looks leaves nothing"
        );
        lost.prepare().unwrap();
        assert_eq!(open().rows(), 2, "what was counted before there was room");
        lost.add(3);
        lost.add(1);
        let again = open();
        assert_eq!(again.rows(), 6);
        again.prepare().unwrap();
        again.add(1);
        assert_eq!(open().rows(), 7);
        again.sync().unwrap();
    }

    #[test]
    fn whatever_one_place_holds_the_other_counts() {
        let folder = tempfile::tempdir().unwrap();
        let lost = Lost::open(folder.path()).unwrap();
        lost.prepare().unwrap();
        lost.add(5);
        lost.add(4);
        drop(lost);
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        // The second place is the newer one: while it was written, 5 still held.
        for at in PLACE_BYTES..2 * PLACE_BYTES {
            let mut torn = whole.clone();
            torn[at..].fill(0);
            std::fs::write(&path, &torn).unwrap();
            let rows = Lost::open(folder.path()).unwrap().rows();
            // The greatest bytes of a small count are zeros anyhow.
            assert!(rows == 5 || torn == whole, "{rows} at {at}");
        }
    }
}
