//! Rows of files, which are read twice and never held whole.

use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use domain::Refusal;
use domain::monitor::segments::Segments;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};

use super::{Baseline, Counter, Drawn, Summary};
use crate::failure;

/// Rows read at a time.
const BATCH_ROWS: usize = 16 * 1024;

/// Where rows come from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A Parquet file.
    Parquet(&'a Path),
    /// Rows in memory.
    Batch(&'a RecordBatch),
}

impl Source<'_> {
    /// The baseline that its rows make: of the columns that are `wanted`, and of these segments.
    pub fn baseline(
        self,
        threads: usize,
        segments: &[Segments],
        wanted: impl Fn(&str) -> bool + Sync,
    ) -> Result<Baseline, Refusal> {
        let empty = || Summary::of(segments);
        let parts = self.each(threads, empty, |summary, batch| summary.add(batch, &wanted))?;
        let mut summary = empty();
        parts.into_iter().for_each(|it| summary.merge(it));
        let cells = summary.cells();
        let counter = self.count(threads, &cells)?;
        Ok(cells.counted(counter))
    }

    /// Its rows in a baseline's cells.
    pub fn count(self, threads: usize, baseline: &Baseline) -> Result<Counter, Refusal> {
        let empty = || Counter::new(baseline);
        let parts = self.each(threads, empty, |counter, batch| {
            counter.add(baseline, batch)
        })?;
        let mut counter = empty();
        parts.iter().for_each(|it| counter.merge(it));
        Ok(counter)
    }

    /// Some of its rows, of the columns that a baseline watches.
    pub fn drawn(self, baseline: &Baseline) -> Result<Drawn, Refusal> {
        let empty = || Drawn::new(baseline);
        // On one thread: which rows are drawn is to depend on nothing else.
        let mut parts = self.each(1, empty, |drawn, batch| drawn.add(baseline, batch))?;
        Ok(parts.pop().unwrap_or_else(empty))
    }

    /// Shows every row to one of some states, each on a thread of its own. Which rows a state sees depends on the
    /// number of threads alone.
    fn each<T: Send>(
        self,
        threads: usize,
        empty: impl Fn() -> T + Sync,
        take: impl Fn(&mut T, &RecordBatch) -> Result<(), Refusal> + Sync,
    ) -> Result<Vec<T>, Refusal> {
        let path = match self {
            Self::Batch(batch) => {
                let mut state = empty();
                take(&mut state, batch)?;
                return Ok(vec![state]);
            }
            Self::Parquet(path) => path,
        };
        let failed = |error: parquet::errors::ParquetError| unreadable(path, error.to_string());
        let file = File::open(path).map_err(|error| failure::of_io(reading(path), &error))?;
        let metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(failed)?;
        let groups = metadata.metadata().num_row_groups();
        let threads = threads.clamp(1, groups.max(1));
        let part = |part: usize| -> Result<T, Refusal> {
            // A file of its own: where it reads is the file's own affair.
            let file = File::open(path).map_err(|error| failure::of_io(reading(path), &error))?;
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
                .with_row_groups((part..groups).step_by(threads).collect())
                .with_batch_size(BATCH_ROWS)
                .build()
                .map_err(failed)?;
            let mut state = empty();
            for batch in reader {
                let batch = batch.map_err(|error| unreadable(path, error.to_string()))?;
                take(&mut state, &batch)?;
            }
            Ok(state)
        };
        std::thread::scope(|scope| {
            let part = &part;
            let others: Vec<_> = (1..threads)
                .map(|it| scope.spawn(move || part(it)))
                .collect();
            let mut all = vec![part(0)];
            all.extend(others.into_iter().map(|it| {
                let panicked = |_| Err(unreadable(path, "a thread panicked".to_owned()));
                it.join().unwrap_or_else(panicked)
            }));
            all.into_iter().collect()
        })
    }
}

fn reading(path: &Path) -> String {
    format!("reading `{}`", path.display())
}

fn unreadable(path: &Path, why: String) -> Refusal {
    Refusal::Malformed {
        what: "a Parquet file",
        why: format!("`{}`: {why}", path.display()),
    }
}
