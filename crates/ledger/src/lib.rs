//! The prediction ledger: what was asked and answered, what turned out to be true, and questions about both.
//!
//! A folder holds `log/` (segments of rows as they came), `predictions/` and `labels/` (Parquet files of
//! sealed segments), `catalog.json` (which files count) and `quarantine/` (what was found damaged).
//!
//! ```text
//! answer -> log (memory that is a file) -> sealed: sorted Parquet, by model and day -> merged -> expired
//! label  -> log, on disk before it is acknowledged  ^
//! questions read a snapshot: the files that the catalog names and the segments that are not sealed
//! ```
//!
//! R1. One process works on a folder; `store` holds its lock.
//! R2. What `record` took survives the end of the process. What `until_on_disk` resolved for survives a loss of
//!     power.
//! R3. Rows that could not be taken, or were found damaged, are counted (`Status`).
//! R4. Nothing here reads a clock or starts a thread that outlives its call; the caller hands in the time and
//!     runs `tend_log` and `tend_files`.

mod arms;
mod attributes;
pub mod baseline;
mod codes;
mod columns;
mod events;
mod failure;
mod files;
mod find;
mod index;
mod kpi;
mod label;
mod layout;
mod log;
mod quality;
mod read;
mod record;
mod replay;
mod requests;
mod seal;
mod served;
mod sheet;
mod sql;
mod tend;
mod units;
mod why;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use domain::Refusal;
use tokio::sync::watch;

pub use arms::shadow::{Change, Difference, Latency, Moved, PairedLoss, ShadowAsked, ShadowReport};
pub use arms::{Answer, ArmsAsked, ArmsWindow, Did, Labelled, LabelledRow, Posted, Side, Unit};
pub use attributes::Attributes;
pub use codes::CodeRows;
pub use events::{Events, EventsAsked};
pub use files::{Damage, Entry, Kind};
pub use find::{Story, Told};
pub use kpi::{Kpi, KpiBy};
pub use label::{LABEL_BYTES_MAX, Label, Target};
pub use layout::{Layout, VALUES_MAX, Version, posted_as, unheard_of};
pub use quality::{
    Called, Example, Examples, Group, Judged, LabelCounts, Loss, Losses, Quality, Question, Report,
    Scored, Spans,
};
pub use read::{Range, Snapshot};
pub use record::{Rows, Spent};
pub use replay::{LabelledAsked, LabelledRows, Page, Recorded, Said, Telling, Wanted, answers};
pub use seal::show_day;
pub use served::{Level, Served};
pub use sql::{SQL_BYTES_MAX, SqlLimits, refused};
pub use tend::{Retain, Tended};
pub use units::{UnitRow, UnitValue, UnitsAsked};
pub use why::{LossKind, Worst, WorstAsked, WorstSlice};

use files::Files;
use label::LABELS_A_RECORD;
use log::{LayoutRecord, Log, NoRoom, Readable};

/// How a ledger is kept.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of a segment of the log.
    pub segment_bytes: usize,
    /// Segments that may wait to be sealed.
    pub segments_max: usize,
    /// The longest that a row is not on disk, where nobody waits for that.
    pub sync_every: Duration,
    /// The longest that a row is in the log before it is sealed.
    pub seal_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            segments_max: 32,
            sync_every: Duration::from_secs(1),
            seal_after: Duration::from_secs(600),
        }
    }
}

/// A ledger, open.
pub struct Ledger {
    settings: Settings,
    log: Log,
    /// Segments of earlier processes that are not sealed yet.
    old: Mutex<Vec<(Readable, PathBuf)>>,
    files: Files,
    layouts: AtomicU32,
    label_number: AtomicI64,
    recorded: AtomicU64,
    labelled: AtomicU64,
    /// Tells `tend_files` that there is something to do.
    asked: Mutex<tend::Asked>,
    asked_changed: Condvar,
    tended: watch::Sender<u64>,
    /// What was to be noted by `expect` when the disk had no room for it.
    unnoted: Mutex<Vec<(Layout, Retain)>>,
    /// The segment that is sealed; its memory is kept as long as others wait.
    segment: Mutex<Vec<u8>>,
    /// What rows are counted for when they become files.
    counts: OnceLock<Arc<baseline::Kept>>,
}

/// Records the rows of one version.
pub struct Writer {
    layout: Arc<Layout>,
    record: LayoutRecord,
}

impl Writer {
    /// What the rows look like.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

impl Place {
    /// Bytes of the log before it, since the ledger was opened.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// The log had no room for all rows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Rows that were taken.
    pub taken: u32,
}

/// How a ledger is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Rows taken by this process.
    pub recorded: u64,
    /// Labels taken by this process, and values of metrics.
    pub labelled: u64,
    /// Rows that could not be taken and were answered all the same, since the folder was made.
    pub lost: u64,
    /// What was found wrong since the folder was made.
    pub damage: Damage,
    /// Rows removed because they were old or too many.
    pub expired_rows: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Segments that wait to be sealed.
    pub segments_waiting: usize,
    /// The most that may: with more nothing is recorded.
    pub segments_max: usize,
    /// Parquet files.
    pub files: Vec<Arc<Entry>>,
    /// For how long the rows of each model are kept, by what they are called in `files`.
    pub keep: BTreeMap<String, Retain>,
    /// Bytes that its volume has room for; none where the system does not tell.
    pub free_bytes: Option<u64>,
    /// Why nothing can be recorded, where that is so.
    pub trouble: Option<String>,
}

impl Ledger {
    /// Opens a folder, and makes it where it is not there yet.
    pub fn open(folder: &Path, settings: Settings) -> Result<Self, Refusal> {
        let log_folder = folder.join("log");
        let made = std::fs::create_dir_all(&log_folder);
        made.map_err(|error| failure::of_io("making the ledger's folder", &error))?;
        // What questions of an earlier process had no memory for. The folder is made here: questions
        // that come at once, each of which finds none, would make it twice, and all but one fail.
        let temporary = folder.join(sql::TEMPORARY);
        let emptied = match std::fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => std::fs::create_dir(&temporary),
        };
        emptied.map_err(|error| failure::of_io("tidying the ledger's folder", &error))?;
        let files = Files::open(folder)?;
        let catalog = files.catalog();
        let mut old = Vec::new();
        let mut newest = catalog.sealed;
        let segments = log::segments_in(&log_folder)
            .map_err(|error| failure::of_io("reading the ledger's folder", &error))?;
        let mut label_number = catalog.label_number;
        for (number, path) in segments {
            newest = newest.max(number);
            let segment = log::open_old(&path, number)?;
            let bytes = if number <= catalog.sealed {
                Vec::new()
            } else {
                segment.bytes()?
            };
            // It is sealed, or nothing was ever written to it.
            if bytes.iter().all(|it| *it == 0) {
                std::fs::remove_file(&path)
                    .map_err(|error| failure::of_io("tidying the ledger's log", &error))?;
                continue;
            }
            // Labels that are not sealed have numbers that must not be given again.
            label_number = label_number.max(seal::newest_label(&bytes));
            old.push((segment, path));
        }
        let log_settings = log::Settings {
            segment_bytes: settings.segment_bytes,
            segments_max: settings.segments_max,
            sync_every: settings.sync_every,
        };
        let log = Log::open(&log_folder, log_settings, newest + 1)
            .map_err(|error| failure::of_io("opening the ledger's log", &error))?;
        Ok(Self {
            settings,
            log,
            old: Mutex::new(old),
            files,
            layouts: AtomicU32::new(0),
            label_number: AtomicI64::new(label_number),
            recorded: AtomicU64::new(0),
            labelled: AtomicU64::new(0),
            asked: Mutex::default(),
            asked_changed: Condvar::new(),
            tended: watch::Sender::default(),
            unnoted: Mutex::default(),
            segment: Mutex::default(),
            counts: OnceLock::new(),
        })
    }

    /// What records the rows of a version.
    pub fn writer(&self, layout: Layout) -> Writer {
        let number = self.layouts.fetch_add(1, Relaxed);
        let bytes = record::layout(number, &layout);
        Writer {
            layout: Arc::new(layout),
            record: LayoutRecord { number, bytes },
        }
    }

    /// Adds the rows of a request, from row `first` on. Does not wait for the disk.
    pub fn record(
        &self,
        writer: &Writer,
        rows: &Rows<'_>,
        first: u32,
        now_ms: i64,
    ) -> Result<Place, Full> {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let mut taken = first;
        let mut place = 0;
        let put = |record: &[u8], count: u32| {
            place = self
                .log
                .append(Some(&writer.record), count, record, now_ms)?;
            taken += count;
            Ok(())
        };
        let result: Result<(), NoRoom> = BUFFER.with_borrow_mut(|buffer| {
            let encoded = record::encode(
                writer.record.number,
                &writer.layout,
                rows,
                first,
                buffer,
                put,
            );
            // One large request should not keep its room for ever.
            buffer.shrink_to(1 << 20);
            encoded
        });
        self.recorded.fetch_add(u64::from(taken - first), Relaxed);
        result
            .map(|()| Place(place))
            .map_err(|NoRoom| Full { taken })
    }

    /// Told when there is room again, after `record` found none.
    pub fn room(&self) -> watch::Receiver<()> {
        self.log.room()
    }

    /// Resolves when everything up to `place` is on disk, or with why it never will be.
    pub async fn until_on_disk(&self, place: Place) -> Result<(), String> {
        self.log.until_synced(place.0).await
    }

    /// Rows were answered that the ledger could not take. The count survives the end of the process.
    pub fn count_lost(&self, rows: u64) {
        self.log.lost.add(rows);
    }

    /// Adds labels of one model, or values of one metric ([`posted_as`]). What was taken is not acknowledged before `until_on_disk` has resolved for
    /// the place given. Where there is no room for all, it says how many were taken.
    pub fn add_labels(
        &self,
        model: &str,
        labels: &[Label],
        now_ms: i64,
    ) -> Result<Place, (usize, Option<Place>)> {
        let mut place = None;
        let mut buffer = Vec::new();
        let mut taken = 0;
        for part in labels.chunks(LABELS_A_RECORD) {
            let count = i64::try_from(part.len()).unwrap_or(i64::MAX);
            // Numbers are times as long as labels come slower than one a microsecond, so that they go on
            // growing where a folder lost some.
            let previous = self.label_number.fetch_update(Relaxed, Relaxed, |last| {
                Some((now_ms * 1000).max(last + 1) + count)
            });
            let last = previous.unwrap_or_else(|last| last);
            let first = (now_ms * 1000).max(last + 1);
            buffer.clear();
            label::encode(model, first, part, &mut buffer);
            let rows = u32::try_from(part.len()).unwrap_or(u32::MAX);
            match self.log.append(None, rows, &buffer, now_ms) {
                Ok(behind) => place = Some(Place(behind)),
                Err(NoRoom) => return Err((taken, place)),
            }
            taken += part.len();
            self.labelled.fetch_add(part.len() as u64, Relaxed);
        }
        Ok(place.unwrap_or(Place(0)))
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        let (catalog, (log_bytes, segments_waiting)) = self.files.catalog_and(|| {
            let old = lock(&self.old).len();
            (self.log.bytes(), self.log.closed().len() + old)
        });
        let models = catalog.models().into_iter();
        let keep = models.map(|it| (it.to_owned(), catalog.keep_of(it)));
        Status {
            recorded: self.recorded.load(Relaxed),
            labelled: self.labelled.load(Relaxed),
            lost: self.log.lost.rows(),
            damage: catalog.damage,
            expired_rows: catalog.expired_rows,
            log_bytes,
            segments_waiting,
            segments_max: self.settings.segments_max,
            files: catalog.files.clone(),
            keep: keep.collect(),
            free_bytes: self.files.free_bytes(),
            trouble: self.log.trouble(),
        }
    }

    /// Why nothing can be recorded, where that is so.
    pub fn status_trouble(&self) -> Option<String> {
        self.log.trouble()
    }

    /// Numbers that cost nothing to ask for: rows recorded by this process, rows lost since the folder was made,
    /// labels and values of metrics taken by this process.
    pub fn counts(&self) -> (u64, u64, u64) {
        (
            self.recorded.load(Relaxed),
            self.log.lost.rows(),
            self.labelled.load(Relaxed),
        )
    }

    /// Makes room for rows, as `tend_log` does all the time.
    pub fn make_room(&self) {
        self.log.make_room();
    }

    /// Makes room in the log and brings it to the disk until told to stop.
    pub fn tend_log(&self) {
        self.log.tend();
    }
}

#[cfg(test)]
mod tests;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
