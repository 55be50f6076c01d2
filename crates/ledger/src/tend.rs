//! What happens to rows after they were answered: segments are sealed, small files merged, old ones removed.
//!
//! One step at a time. Each step writes new files, replaces the catalog, and only then takes the old ones
//! away: ended at any moment, it has happened or it has not.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use domain::Refusal;
use domain::retention::{self, Action, Keep};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::files::{Catalog, Entry, Kind, QUARANTINE};
use crate::layout::Layout;
use crate::log::Readable;
use crate::seal::{self, Sealed};
use crate::{Ledger, baseline, failure, lock};

/// For how long a model's rows are kept.
pub type Retain = Keep;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tended {
    /// A segment became files.
    Sealed,
    /// Files became one.
    Merged,
    /// A file was removed.
    Expired,
    /// There was nothing to do.
    Idle,
}

/// What `tend_files` was asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// So often it was asked to look now.
    times: u64,
    stopping: bool,
}

/// How often it is looked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long is waited after a failure, of a full disk for example.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

impl Ledger {
    /// Seals, merges and removes until told to stop. `now_ms` says what time it is.
    pub fn tend_files(&self, now_ms: impl Fn() -> i64) {
        // The last time that it was asked for which the segment in use was closed.
        let mut closed = 0;
        loop {
            let times = lock(&self.asked).times;
            let pause = match self.tend_once(now_ms()) {
                Ok(Tended::Idle) if closed < times => {
                    // Only now is there sure to be room for the next.
                    self.log.close_segment();
                    closed = times;
                    Duration::ZERO
                }
                Ok(Tended::Idle) => {
                    self.tended.send_replace(times);
                    LOOK_EVERY
                }
                Ok(done) => {
                    tracing::debug!(?done, "the ledger was tended");
                    Duration::ZERO
                }
                Err(refusal) => {
                    tracing::error!(%refusal, "the ledger could not be tended; it is tried again");
                    AFTER_FAILURE
                }
            };
            let asked = lock(&self.asked);
            if asked.stopping {
                return;
            }
            if pause > Duration::ZERO && asked.times == times {
                drop(
                    self.asked_changed
                        .wait_timeout(asked, pause)
                        .unwrap_or_else(std::sync::PoisonError::into_inner),
                );
            }
        }
    }

    /// Lets `tend_log` and `tend_files` end soon.
    pub fn stop(&self) {
        lock(&self.asked).stopping = true;
        self.asked_changed.notify_all();
        self.log.stop();
    }

    /// Has everything that was recorded sealed, what is small merged and what is old removed. Resolves when
    /// there is nothing left to do; `tend_files` must be running.
    pub async fn settle(&self) {
        let times = {
            let mut asked = lock(&self.asked);
            asked.times += 1;
            asked.times
        };
        self.asked_changed.notify_all();
        // It fails when the ledger is closed, and then nothing is left to do either.
        let _ = self.tended.subscribe().wait_for(|it| *it >= times).await;
    }

    /// Says what the rows of a model will look like, so that it has a table before its first, and for how long
    /// they are kept. Both are written down: rows go in time also when their model is served no more. Where that
    /// fails now, tending does it later.
    pub fn expect(&self, layout: &Layout, keep: Retain, now_ms: i64) -> Result<(), Refusal> {
        let noted = self.note(layout, keep, now_ms);
        let mut unnoted = lock(&self.unnoted);
        unnoted.retain(|(it, _)| it != layout);
        if noted.is_err() {
            unnoted.push((layout.clone(), keep));
        }
        noted
    }

    fn note(&self, layout: &Layout, keep: Retain, now_ms: i64) -> Result<(), Refusal> {
        let catalog = self.files.catalog();
        let model = &layout.model;
        let same = catalog.keep.get(model).copied().unwrap_or_default() == keep;
        if same && catalog.layouts.iter().any(|it| **it == *layout) {
            return Ok(());
        }
        let change = |catalog: &mut Catalog| {
            catalog.place_of(&Arc::new(layout.clone()));
            catalog.keep.insert(model.clone(), keep);
        };
        self.files.change(now_ms, change, || {})
    }

    /// Does one thing that is to be done, and says what.
    pub fn tend_once(&self, now_ms: i64) -> Result<Tended, Refusal> {
        self.files.remove_doomed(now_ms);
        let old = lock(&self.old).first().cloned();
        if let Some((segment, path)) = old {
            self.seal_segment(&segment, now_ms, || {
                lock(&self.old).retain(|(it, _)| it.number != segment.number);
                std::fs::remove_file(&path)
            })?;
            return Ok(Tended::Sealed);
        }
        if let Some((since_ms, _)) = self.log.open_rows()
            && now_ms.saturating_sub(since_ms)
                >= i64::try_from(self.settings.seal_after.as_millis()).unwrap_or(i64::MAX)
        {
            self.log.close_segment();
        }
        if let Some(closed) = self.log.closed().first() {
            let segment = closed.readable()?;
            self.seal_segment(&segment, now_ms, || self.log.remove(segment.number))?;
            return Ok(Tended::Sealed);
        }
        *lock(&self.segment) = Vec::new();
        let unnoted = lock(&self.unnoted).first().cloned();
        if let Some((layout, keep)) = unnoted {
            self.expect(&layout, keep, now_ms)?;
        }
        self.tend_sealed(now_ms)
    }

    /// `gone` takes the segment away; nobody sees both its rows and its files, or neither.
    fn seal_segment(
        &self,
        segment: &Readable,
        now_ms: i64,
        gone: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<(), Refusal> {
        let mut bytes = lock(&self.segment);
        segment.read(&mut bytes)?;
        let Sealed {
            predictions,
            labels,
            damage,
            label_number,
        } = seal::seal(&bytes, &self.files, |layout, entry, rows| {
            self.count_sealed(layout, entry, rows);
        })?;
        if damage.records > 0 {
            self.set_aside(segment, &bytes)?;
            tracing::error!(
                segment = segment.number,
                records = damage.records,
                rows = damage.rows,
                "records of the ledger's log are damaged; the segment is kept aside"
            );
        }
        if damage.torn_bytes > 0 {
            tracing::warn!(
                segment = segment.number,
                bytes = damage.torn_bytes,
                "a record of the ledger's log was being written when the process ended"
            );
        }
        self.files.change(
            now_ms,
            |catalog| {
                for (layout, mut entry) in predictions {
                    entry.layout = catalog.place_of(&layout);
                    catalog.files.push(Arc::new(entry));
                }
                catalog.files.extend(labels.into_iter().map(Arc::new));
                catalog.sealed = catalog.sealed.max(segment.number);
                catalog.label_number = catalog.label_number.max(label_number);
                let all = &mut catalog.damage;
                all.torn_bytes += damage.torn_bytes;
                all.records += damage.records;
                all.rows += damage.rows;
            },
            || {
                if let Err(error) = gone() {
                    // The catalog says that it is sealed, so it is removed at the next start.
                    tracing::warn!(%error, "a sealed segment was not removed");
                }
            },
        )
    }

    /// Has rows counted when they become files, for the questions that these counts were asked.
    pub fn count_when_sealed(&self, counts: Arc<baseline::Kept>) {
        // There is one who asks; a second one has its rows counted when it asks.
        let _ = self.counts.set(counts);
    }

    fn count_sealed(&self, layout: &Layout, entry: &Entry, rows: &RecordBatch) {
        let Some(counts) = self.counts.get() else {
            return;
        };
        if let Err(refusal) = counts.sealed(&entry.name, layout, rows) {
            tracing::warn!(%refusal, "rows were not counted; they are when somebody asks");
        }
    }

    fn set_aside(&self, segment: &Readable, bytes: &[u8]) -> Result<(), Refusal> {
        let folder = self.files.folder.join(QUARANTINE);
        let path = folder.join(format!("{:012}.log", segment.number));
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, bytes));
        written.map_err(|error| failure::of_io("setting a damaged segment aside", &error))
    }

    fn tend_sealed(&self, now_ms: i64) -> Result<Tended, Refusal> {
        let catalog = self.files.catalog();
        let models: Vec<&str> = catalog.models().into_iter().collect();
        let mut groups: BTreeMap<_, usize> = BTreeMap::new();
        let files: Vec<retention::File> = catalog
            .files
            .iter()
            .map(|it| {
                let next = groups.len();
                let key = (it.kind, &it.model, it.layout, it.day);
                retention::File {
                    group: *groups.entry(key).or_insert(next),
                    model: models.binary_search(&it.model.as_str()).unwrap_or(0),
                    // Labels that name no prediction belong to no day: they are merged when there are many.
                    day: if it.kind == Kind::TextLabels {
                        i64::MAX
                    } else {
                        it.day
                    },
                    rows: it.rows,
                    bytes: it.bytes,
                    newest_us: newest_us(it),
                }
            })
            .collect();
        let keep: Vec<Keep> = models.iter().map(|it| catalog.keep_of(it)).collect();
        match retention::next(&files, &keep, now_ms * 1000) {
            Action::Idle => Ok(Tended::Idle),
            Action::Expire(index) => {
                let entry = Arc::clone(&catalog.files[index]);
                tracing::info!(
                    name = entry.name,
                    rows = entry.rows,
                    "rows of the ledger expire"
                );
                self.files.change(
                    now_ms,
                    |catalog| {
                        catalog.files.retain(|it| it.name != entry.name);
                        catalog.expired_rows += entry.rows;
                    },
                    || {},
                )?;
                Ok(Tended::Expired)
            }
            Action::Merge(these) => {
                self.merge(&catalog, &these, now_ms)?;
                Ok(Tended::Merged)
            }
        }
    }

    fn merge(&self, catalog: &Catalog, these: &[usize], now_ms: i64) -> Result<(), Refusal> {
        let entries: Vec<&Arc<Entry>> = these.iter().map(|it| &catalog.files[*it]).collect();
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let mut batches: Vec<RecordBatch> = Vec::new();
        for entry in &entries {
            self.files.check(entry, now_ms)?;
            batches.extend(read_all(&self.files.folder.join(&entry.name), &entry.name)?);
        }
        let schema = match first.kind {
            Kind::Predictions => catalog.layouts[first.layout].schema(),
            Kind::Labels | Kind::TextLabels => seal::label_schema(),
        };
        let all = concat_batches(&Arc::new(schema), &batches)
            .map_err(|error| failure::of_library("merging files of the ledger", error))?;
        drop(batches);
        let sorted = seal::sorted(&all)?;
        drop(all);
        let mut merged = match first.kind {
            Kind::Predictions => seal::write_predictions(
                &self.files,
                &catalog.layouts[first.layout],
                first.day,
                &sorted,
            )?,
            kind => seal::write_labels(&self.files, &first.model, kind, first.day, &sorted)?,
        };
        merged.layout = first.layout;
        let wanted: u64 = entries.iter().map(|it| it.rows).sum();
        assert!(merged.rows == wanted, "a merge loses no row");
        if let (Kind::Predictions, Some(counts)) = (first.kind, self.counts.get()) {
            let names = entries.iter().map(|it| it.name.as_str());
            counts.merged(&catalog.layouts[first.layout], names, &merged.name);
        }
        self.files.change(
            now_ms,
            |catalog| {
                let gone = |it: &Arc<Entry>| entries.iter().any(|entry| entry.name == it.name);
                catalog.files.retain(|it| !gone(it));
                catalog.files.push(Arc::new(merged));
            },
            || {},
        )
    }

    /// Checks every file against its checksum, also those that were checked before. Gives how many are damaged;
    /// they are set aside.
    pub fn verify(&self, now_ms: i64) -> Result<(usize, usize), Refusal> {
        let catalog = self.files.catalog();
        let mut damaged = 0;
        for entry in &catalog.files {
            let still = self
                .files
                .catalog()
                .files
                .iter()
                .any(|it| it.name == entry.name);
            if still && self.files.check_again(entry, now_ms).is_err() {
                damaged += 1;
            }
        }
        Ok((catalog.files.len(), damaged))
    }
}

/// Labels are as old as the predictions that they are for.
fn newest_us(entry: &Entry) -> i64 {
    match entry.kind {
        Kind::Labels => (entry.day + 1) * domain::time::DAY_US,
        Kind::Predictions | Kind::TextLabels => entry.times_us.1,
    }
}

fn read_all(path: &std::path::Path, name: &str) -> Result<Vec<RecordBatch>, Refusal> {
    let doing = || format!("reading `{name}` of the ledger");
    let file = File::open(path).map_err(|error| failure::of_io(doing(), &error))?;
    let read = || {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.build()?;
        let batches: Result<Vec<RecordBatch>, _> = reader.collect();
        Ok::<_, parquet::errors::ParquetError>(batches?)
    };
    read().map_err(|error| failure::of_library(doing(), error))
}
