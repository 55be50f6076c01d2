//! Reading rows back, those that are sealed and those that are not, as one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{Float32Type, Schema, TimestampMicrosecondType};
use domain::Refusal;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;

use crate::columns::{Collector, Head};
use crate::files::{Catalog, Entry, Files, Kind};
use crate::index::{About, Times};
use crate::label::Kept;
use crate::layout::{Layout, posted_of};
use crate::log::Readable;
use crate::{Ledger, failure, lock, seal};

/// Rows of a batch that is read from a file: a column of it stays in a core's cache, and its memory is used again.
const BATCH_ROWS: usize = 8 * 1024;

/// From a time up to another, which is not in it; in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub from_us: i64,
    /// The first that is not in it.
    pub to_us: i64,
}

impl Range {
    /// All of time.
    pub const ALL: Self = Self {
        from_us: i64::MIN,
        to_us: i64::MAX,
    };

    pub(crate) fn has(&self, time_us: i64) -> bool {
        (self.from_us..self.to_us).contains(&time_us)
    }

    pub(crate) fn meets(&self, (first, last): (i64, i64)) -> bool {
        first < self.to_us && last >= self.from_us
    }
}

/// Ids from one up to another, which is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) from: u128,
    /// None: to the end.
    pub(crate) to: Option<u128>,
}

impl Ids {
    pub(crate) const ALL: Self = Self { from: 0, to: None };

    pub(crate) fn has(&self, id: u128) -> bool {
        id >= self.from && self.to.is_none_or(|to| id < to)
    }

    /// From the least of some to the greatest; all where there are none.
    pub(crate) fn spanned_by(ids: &BTreeSet<u128>) -> Self {
        let ends = ids.first().zip(ids.last());
        ends.map_or(Self::ALL, |(first, last)| Self {
            from: *first,
            to: last.checked_add(1),
        })
    }

    fn meets(&self, first: u128, last: u128) -> bool {
        last >= self.from && self.to.is_none_or(|to| first < to)
    }
}

pub(crate) fn number_of(id: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(id);
    u128::from_be_bytes(bytes)
}

pub(crate) fn parse_id(digits: &str) -> Option<u128> {
    u128::from_str_radix(digits, 16).ok()
}

/// Everything that the ledger has at one moment.
pub struct Snapshot<'a> {
    files: &'a Files,
    pub(crate) catalog: Arc<Catalog>,
    segments: Vec<Readable>,
    now_ms: i64,
}

impl Ledger {
    /// What the ledger has now.
    pub fn snapshot(&self, now_ms: i64) -> Result<Snapshot<'_>, Refusal> {
        let (catalog, segments) = self.files.catalog_and(|| {
            let old = lock(&self.old);
            let mut all: Vec<Readable> = old.iter().map(|(it, _)| it.clone()).collect();
            all.extend(self.log.readable()?);
            Ok(all)
        });
        Ok(Snapshot {
            files: &self.files,
            catalog,
            segments: segments?,
            now_ms,
        })
    }
}

/// Rows of one layout that lie in memory.
pub(crate) struct Unsealed {
    pub(crate) layout: Arc<Layout>,
    pub(crate) batch: RecordBatch,
}

impl Unsealed {
    fn of(collector: Collector) -> Result<Self, Refusal> {
        let layout = Arc::clone(collector.layout());
        let batch = collector
            .finish()
            .map_err(|_| failure::of_library("reading the log", "rows of different lengths"))?;
        Ok(Self { layout, batch })
    }
}

/// What the log has of one model.
pub(crate) struct OfLog {
    pub(crate) rows: Vec<Unsealed>,
    pub(crate) labels: Vec<Kept>,
}

/// What the log has of several.
#[derive(Default)]
pub(crate) struct OfLogs {
    pub(crate) rows: Vec<Unsealed>,
    /// By model.
    pub(crate) labels: BTreeMap<String, Vec<Kept>>,
}

impl Entry {
    /// Whether an id lies between the first and the last of the file.
    pub(crate) fn may_have(&self, id: u128) -> bool {
        let ends = parse_id(&self.ids.0).zip(parse_id(&self.ids.1));
        ends.is_none_or(|(first, last)| (first..=last).contains(&id))
    }
}

impl Snapshot<'_> {
    /// The rows and labels of a model that are not sealed.
    pub(crate) fn of_log(&self, model: &str) -> Result<OfLog, Refusal> {
        let OfLogs { rows, labels } = self.of_logs(|it| it == model)?;
        let labels = labels.into_values().flatten().collect();
        Ok(OfLog { rows, labels })
    }

    /// The same of several models.
    pub(crate) fn of_logs(&self, wanted: impl Fn(&str) -> bool) -> Result<OfLogs, Refusal> {
        let mut found = OfLogs::default();
        for segment in &self.segments {
            let pieces = segment.pieces_of(&wanted, |_| true)?;
            let contents = seal::read(&pieces.all(), &wanted);
            for collector in contents.predictions {
                found.rows.push(Unsealed::of(collector)?);
            }
            for (model, labels) in contents.labels {
                found.labels.entry(model).or_default().extend(labels);
            }
        }
        Ok(found)
    }

    /// The rows of a model that are not sealed, of those requests within a range of time that `counts` wants by what
    /// stands before their tensors. The others cost little, and nothing where they lie in pieces that `may` not have any.
    pub(crate) fn of_log_some(
        &self,
        model: &str,
        range: Range,
        may: impl Fn(&About) -> bool,
        counts: impl Fn(&Layout, &Head<'_>) -> bool,
    ) -> Result<Vec<Unsealed>, Refusal> {
        let mut found = Vec::new();
        for segment in &self.segments {
            if !segment.has(model, range)? {
                continue;
            }
            let pieces =
                segment.pieces_of(|it| it == model, |it| range.meets(it.times.came) && may(it))?;
            let contents = seal::read_some(&pieces.all(), |it| it == model, &counts, None);
            for collector in contents.predictions {
                found.push(Unsealed::of(collector)?);
            }
        }
        Ok(found)
    }

    /// The labels of a model that are not sealed.
    pub(crate) fn labels_of_log(&self, model: &str) -> Result<Vec<Kept>, Refusal> {
        let mut labels = BTreeMap::new();
        for segment in &self.segments {
            // No piece of predictions has labels.
            let pieces = segment.pieces_of(|it| it == model, |_| false)?;
            let labels = Some(&mut labels);
            seal::read_some(&pieces.all(), |it| it == model, &|_, _| false, labels);
        }
        Ok(labels.into_values().flatten().collect())
    }

    /// The models that the ledger has rows of, or expects some of.
    pub fn models(&self) -> Result<Vec<String>, Refusal> {
        let tables = self.tables()?.into_iter();
        Ok(tables.filter(|it| posted_of(it).is_none()).collect())
    }

    /// The metrics that values were posted of for a model, ascending.
    pub fn posted(&self, model: &str) -> Result<Vec<String>, Refusal> {
        let tables = self.tables()?;
        let names = tables.iter().filter_map(|it| posted_of(it));
        let names = names.filter(|it| it.0 == model).map(|it| it.1.to_owned());
        Ok(names.collect())
    }

    fn tables(&self) -> Result<BTreeSet<String>, Refusal> {
        let known = self.catalog.layouts.iter().map(|it| it.model.as_str());
        let known = known.chain(self.catalog.models());
        let mut tables: BTreeSet<String> = known.map(str::to_owned).collect();
        for segment in &self.segments {
            tables.extend(segment.models()?);
        }
        Ok(tables)
    }

    /// The files of a kind that may have rows of a model within a range of time.
    pub(crate) fn files(&self, kind: Kind, model: &str, range: Range) -> Vec<Arc<Entry>> {
        let fits = |it: &&Arc<Entry>| {
            it.kind == kind
                && it.model == model
                && (kind != Kind::Predictions || range.meets(it.times_us))
        };
        self.catalog.files.iter().filter(fits).cloned().collect()
    }

    /// Whether there may be predictions of a model within a range of time: in files, whose times are known, or in the
    /// log.
    pub(crate) fn may_have(&self, model: &str, range: Range) -> Result<bool, Refusal> {
        if !self.files(Kind::Predictions, model, range).is_empty() {
            return Ok(true);
        }
        for segment in &self.segments {
            if segment.has(model, range)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Calls `take` with the time and the cost of every row of a model that has one.
    pub fn costs(
        &self,
        model: &str,
        range: Range,
        mut take: impl FnMut(i64, f64),
    ) -> Result<(), Refusal> {
        let mut each = |batch: &RecordBatch| {
            let times = batch.column_by_name("time");
            let costs = batch.column_by_name("cost");
            if let (Some(times), Some(costs)) = (times, costs) {
                let times = times.as_primitive::<TimestampMicrosecondType>();
                let costs = costs.as_primitive::<Float32Type>();
                for (time, cost) in times.iter().zip(costs).filter_map(|(a, b)| a.zip(b)) {
                    take(time, f64::from(cost));
                }
            }
        };
        for entry in self.files(Kind::Predictions, model, range) {
            self.read(&entry, &["time", "cost"], Ids::ALL, range, |batch| {
                each(&batch);
                Ok(())
            })?;
        }
        for unsealed in self.of_log(model)?.rows {
            each(&within(&unsealed.batch, Ids::ALL, range)?);
        }
        Ok(())
    }

    /// Checks a file, once, and gives its path.
    pub(crate) fn checked(&self, entry: &Entry) -> Result<std::path::PathBuf, Refusal> {
        self.files.check(entry, self.now_ms)?;
        Ok(self.files.folder.join(&entry.name))
    }

    /// The ledger's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.files.folder
    }

    /// The layout of a file of predictions.
    pub(crate) fn layout(&self, entry: &Entry) -> Arc<Layout> {
        Arc::clone(&self.catalog.layouts[entry.layout])
    }

    /// The layouts of files and of rows in the log, each once.
    pub(crate) fn layouts_of<'a>(
        &self,
        files: &[Arc<Entry>],
        rows: impl IntoIterator<Item = &'a Unsealed>,
    ) -> Vec<Arc<Layout>> {
        let of_files = files.iter().map(|it| self.layout(it));
        let of_log = rows.into_iter().map(|it| Arc::clone(&it.layout));
        let mut layouts: Vec<Arc<Layout>> = Vec::new();
        for layout in of_files.chain(of_log) {
            if !layouts.contains(&layout) {
                layouts.push(layout);
            }
        }
        layouts
    }

    /// All layouts of a model: which columns there are does not depend on the time. Where it has no rows they are those
    /// that were noted.
    pub(crate) fn layouts_of_model(&self, model: &str, rows: &[Unsealed]) -> Vec<Arc<Layout>> {
        let files = self.files(Kind::Predictions, model, Range::ALL);
        let mut layouts = self.layouts_of(&files, rows);
        if layouts.is_empty() {
            layouts.extend(self.expected(model));
        }
        layouts
    }

    /// The layouts that were noted for a model, whether there are rows of them or not.
    pub(crate) fn expected(&self, model: &str) -> impl Iterator<Item = Arc<Layout>> {
        let of_model = move |it: &&Arc<Layout>| it.model == model;
        self.catalog.layouts.iter().filter(of_model).cloned()
    }

    /// Calls `take` with the rows of a file whose ids and times are wanted, in their order.
    pub(crate) fn read(
        &self,
        entry: &Entry,
        columns: &[&str],
        ids: Ids,
        range: Range,
        mut take: impl FnMut(RecordBatch) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.read_while(entry, columns, ids, range, |batch| {
            take(batch).map(|()| true)
        })
    }

    /// The same, until `take` says that it wants no more.
    pub(crate) fn read_while(
        &self,
        entry: &Entry,
        columns: &[&str],
        ids: Ids,
        range: Range,
        mut take: impl FnMut(RecordBatch) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        if let (Some(first), Some(last)) = (parse_id(&entry.ids.0), parse_id(&entry.ids.1))
            && !ids.meets(first, last)
        {
            return Ok(());
        }
        self.read_groups_while(
            entry,
            columns,
            |group| may_have(group, ids, range),
            |batch| {
                let batch = within(&batch, ids, range)?;
                Ok(batch.num_rows() == 0 || take(batch)?)
            },
        )
    }

    /// Calls `take` with all rows of those groups of a file that are wanted.
    pub(crate) fn read_groups(
        &self,
        entry: &Entry,
        columns: &[&str],
        wanted: impl Fn(&RowGroupMetaData) -> bool,
        mut take: impl FnMut(RecordBatch) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.read_groups_while(entry, columns, wanted, |batch| take(batch).map(|()| true))
    }

    fn read_groups_while(
        &self,
        entry: &Entry,
        columns: &[&str],
        wanted: impl Fn(&RowGroupMetaData) -> bool,
        mut take: impl FnMut(RecordBatch) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let Some(groups) = self.groups(entry, wanted)? else {
            return Ok(());
        };
        for batch in groups.batches(columns, None)? {
            if !take(batch?)? {
                break;
            }
        }
        Ok(())
    }

    /// Calls `take` with some columns of those rows of a file that are `wanted` by the columns `by`, of those groups that
    /// `may` have some. Of the other rows no more than these is read.
    pub(crate) fn read_some(
        &self,
        entry: &Entry,
        (by, columns): (&[&str], &[&str]),
        may: impl Fn(&RowGroupMetaData) -> bool,
        wanted: impl Fn(&RecordBatch) -> Result<BooleanArray, Refusal>,
        mut take: impl FnMut(RecordBatch) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let Some(groups) = self.groups(entry, may)? else {
            return Ok(());
        };
        let batches = groups.batches(by, None)?;
        let picked = batches.map(|batch| wanted(&batch?));
        let picked: Vec<BooleanArray> = picked.collect::<Result<_, _>>()?;
        if picked.iter().all(|it| it.true_count() == 0) {
            return Ok(());
        }
        let rows = RowSelection::from_filters(&picked);
        for batch in groups.batches(columns, Some(rows))? {
            take(batch?)?;
        }
        Ok(())
    }

    /// The row groups of a file that are wanted; none where no group is.
    pub(crate) fn groups<'a>(
        &self,
        entry: &'a Entry,
        wanted: impl Fn(&RowGroupMetaData) -> bool,
    ) -> Result<Option<Groups<'a>>, Refusal> {
        let path = self.checked(entry)?;
        let open = || -> Result<_, ParquetError> {
            let file = File::open(path)?;
            let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())?;
            Ok((file, metadata))
        };
        let (file, metadata) = open().map_err(|it| unreadable(entry, it))?;
        let groups = metadata.metadata().row_groups().iter().enumerate();
        let wanted = groups.filter(|(_, group)| wanted(group));
        let wanted: Vec<usize> = wanted.map(|(index, _)| index).collect();
        Ok((!wanted.is_empty()).then_some(Groups {
            entry,
            file,
            metadata,
            wanted,
        }))
    }
}

fn unreadable(entry: &Entry, error: impl Display) -> Refusal {
    failure::of_library(format!("reading `{}`", entry.name), error)
}

/// Row groups of a file.
pub(crate) struct Groups<'a> {
    entry: &'a Entry,
    file: File,
    metadata: ArrowReaderMetadata,
    wanted: Vec<usize>,
}

impl Groups<'_> {
    /// What the file says of each.
    pub(crate) fn each(&self) -> impl Iterator<Item = &RowGroupMetaData> {
        let groups = self.wanted.iter();
        groups.map(|it| self.metadata.metadata().row_group(*it))
    }

    /// Some columns of all of their rows, or of some.
    fn batches(
        &self,
        columns: &[&str],
        rows: Option<RowSelection>,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, Refusal>>, Refusal> {
        let reader = self.reader(columns, rows);
        let reader = reader.map_err(|it| unreadable(self.entry, it))?;
        Ok(reader.map(|batch| batch.map_err(|it| unreadable(self.entry, it))))
    }

    fn reader(
        &self,
        columns: &[&str],
        rows: Option<RowSelection>,
    ) -> Result<ParquetRecordBatchReader, ParquetError> {
        let (file, metadata) = (self.file.try_clone()?, self.metadata.clone());
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        // The name of a list's values stands below its own, which is the first part of their path.
        let schema = builder.parquet_schema();
        let leaves: Vec<usize> = schema
            .columns()
            .iter()
            .enumerate()
            .filter(|(_, it)| {
                let root = it.path().parts().first().map(String::as_str);
                root.is_some_and(|root| columns.contains(&root))
            })
            .map(|(index, _)| index)
            .collect();
        let mask = ProjectionMask::leaves(schema, leaves);
        let builder = match rows {
            Some(rows) => builder.with_row_selection(rows),
            None => builder,
        };
        builder
            .with_row_groups(self.wanted.clone())
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
    }
}

/// The least and the greatest value of a column in a row group, as they are stored; none where it does not say.
fn ends<'a>(group: &'a RowGroupMetaData, name: &str) -> Option<(&'a [u8], &'a [u8])> {
    let mut columns = group.columns().iter();
    let column = columns.find(|it| it.column_path().string() == name)?;
    let statistics = column.statistics()?;
    Some((statistics.min_bytes_opt()?, statistics.max_bytes_opt()?))
}

/// The least and the greatest id of a row group.
pub(crate) fn group_ids(group: &RowGroupMetaData) -> Option<(u128, u128)> {
    let (min, max) = ends(group, "prediction_id")?;
    (min.len() == 16 && max.len() == 16).then(|| (number_of(min), number_of(max)))
}

/// When the requests of a row group came.
fn group_came(group: &RowGroupMetaData) -> Option<(i64, i64)> {
    let (min, max) = ends(group, "time")?;
    let read = |it: &[u8]| Some(i64::from_le_bytes(it.try_into().ok()?));
    Some((read(min)?, read(max)?))
}

/// When they came, and when they may have ended.
pub(crate) fn group_times(group: &RowGroupMetaData) -> Option<Times> {
    let came = group_came(group)?;
    let took = ends(group, "total_us")?.1.try_into().ok()?;
    let took = i64::from(u32::from_le_bytes(took));
    Some(Times {
        came,
        ended: (came.0, came.1.saturating_add(took)),
    })
}

pub(crate) fn may_have(group: &RowGroupMetaData, ids: Ids, range: Range) -> bool {
    let has_ids = group_ids(group).is_none_or(|(first, last)| ids.meets(first, last));
    has_ids && group_came(group).is_none_or(|it| range.meets(it))
}

/// The rows of a batch whose ids and times are wanted. Where it has neither column all are.
pub(crate) fn within(batch: &RecordBatch, ids: Ids, range: Range) -> Result<RecordBatch, Refusal> {
    let by_id = (ids != Ids::ALL)
        .then(|| batch.column_by_name("prediction_id"))
        .flatten();
    let by_time = (range != Range::ALL)
        .then(|| batch.column_by_name("time"))
        .flatten();
    if by_id.is_none() && by_time.is_none() {
        return Ok(batch.clone());
    }
    let ids_of = by_id.map(|it| it.as_fixed_size_binary());
    let times_of = by_time.map(|it| it.as_primitive::<TimestampMicrosecondType>());
    let keep: BooleanArray = (0..batch.num_rows())
        .map(|row| {
            let id = ids_of.is_none_or(|it| ids.has(number_of(it.value(row))));
            let time = times_of.is_none_or(|it| range.has(it.value(row)));
            Some(id && time)
        })
        .collect();
    if keep.true_count() == keep.len() {
        return Ok(batch.clone());
    }
    filter_record_batch(batch, &keep)
        .map_err(|error| failure::of_library("reading the ledger", error))
}

/// The names of a schema's columns.
pub(crate) fn names(schema: &Schema) -> Vec<&str> {
    schema
        .fields()
        .iter()
        .map(|it| it.name().as_str())
        .collect()
}

/// A batch with exactly the columns of `schema`: what it lacks is null, what it has of another type is cast.
pub(crate) fn conform(batch: &RecordBatch, schema: &Arc<Schema>) -> Result<RecordBatch, Refusal> {
    let failed = |error| failure::of_library("reading the ledger", error);
    let columns: Result<Vec<ArrayRef>, Refusal> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            None => Ok(arrow::array::new_null_array(
                field.data_type(),
                batch.num_rows(),
            )),
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast(column, field.data_type()).map_err(failed),
        })
        .collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns?, &options).map_err(failed)
}
