//! From segments of the log to sorted Parquet files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, Int64Array, RecordBatch, StringBuilder,
    StringDictionaryBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::compute::{SortColumn, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{
    DataType as Arrow, Field, Int32Type, Schema, TimeUnit, TimestampMicrosecondType,
};
use domain::Refusal;
use domain::time::{DAY_US, date};

use crate::columns::{Collector, Head, Place};
use crate::failure;
use crate::files::{Checked, Damage, Entry, Files, Kind};
use crate::label::{self, Kept, Target};
use crate::layout::{Layout, words};
use crate::log::{Found, Frames};
use crate::requests::Ends;
use crate::{record, sheet};

/// What a segment holds, in the order of ids.
#[derive(Default)]
pub(crate) struct Contents {
    /// Rows of each layout.
    pub(crate) predictions: Vec<Collector>,
    /// Labels of each model.
    pub(crate) labels: BTreeMap<String, Vec<Kept>>,
    pub(crate) damage: Damage,
}

/// A record of predictions and where it stands in the order.
struct Placed<'a> {
    /// The id as a number, which is in the same order, and the first row's number.
    place: (u128, u32),
    rows: u32,
    record: &'a [u8],
}

/// Reads a segment, or pieces of it that begin and end with a record. `wanted` says which models' rows.
pub(crate) fn read(pieces: &[&[u8]], wanted: impl Fn(&str) -> bool) -> Contents {
    let mut labels = BTreeMap::new();
    let mut contents = read_some(pieces, &wanted, &|_, _| true, Some(&mut labels));
    contents.labels = labels;
    contents
}

/// The same of those records of predictions that `counts` wants by their heads, and of labels where they are asked for.
pub(crate) fn read_some(
    pieces: &[&[u8]],
    wanted: impl Fn(&str) -> bool,
    counts: &dyn Fn(&Layout, &Head<'_>) -> bool,
    mut labels: Option<&mut BTreeMap<String, Vec<Kept>>>,
) -> Contents {
    let mut contents = Contents::default();
    let mut layouts: BTreeMap<u32, (Arc<Layout>, Vec<Placed<'_>>)> = BTreeMap::new();
    let bytes: usize = pieces.iter().map(|it| it.len()).sum();
    for found in pieces.iter().flat_map(|it| Frames::new(it)) {
        let (rows, record) = match found {
            Found::Record { rows, record, .. } => (rows, record),
            Found::Damaged { rows, .. } => {
                contents.damage.records += 1;
                contents.damage.rows += u64::from(rows.unwrap_or(0));
                continue;
            }
            Found::Torn { bytes, .. } => {
                contents.damage.torn_bytes += bytes as u64;
                continue;
            }
        };
        let labels = labels.as_deref_mut();
        if sort((record, rows), &mut layouts, labels, &wanted, counts).is_none() {
            contents.damage.records += 1;
            contents.damage.rows += u64::from(rows);
        }
    }
    for (layout, mut placed) in layouts.into_values() {
        if placed.is_empty() {
            continue;
        }
        // Requests are answered nearly in the order in which they came: there is little to sort.
        placed.sort_by_key(|it| it.place);
        let rows: usize = placed.iter().map(|it| it.rows as usize).sum();
        let mut collector = Collector::new(layout, rows.min(bytes));
        for it in placed {
            if collector.push(it.record).is_err() {
                contents.damage.records += 1;
                contents.damage.rows += u64::from(it.rows);
            }
        }
        contents.predictions.push(collector);
    }
    contents
}

/// Puts a record where it belongs; none when it cannot be read, or its layout is not known.
fn sort<'a>(
    (record, rows): (&'a [u8], u32),
    layouts: &mut BTreeMap<u32, (Arc<Layout>, Vec<Placed<'a>>)>,
    labels: Option<&mut BTreeMap<String, Vec<Kept>>>,
    wanted: &impl Fn(&str) -> bool,
    counts: &dyn Fn(&Layout, &Head<'_>) -> bool,
) -> Option<()> {
    match *record.first()? {
        record::LAYOUT => {
            let (number, layout) = record::read_layout(record)?;
            layouts
                .entry(number)
                .or_insert_with(|| (Arc::new(layout), Vec::new()));
        }
        record::PREDICTIONS => {
            let Place {
                layout, id, first, ..
            } = Place::read(record).ok()?;
            let (layout, placed) = layouts.get_mut(&layout)?;
            if wanted(&layout.model) && counts(layout, &Head::of(record).ok()?) {
                placed.push(Placed {
                    place: (u128::from_be_bytes(id), first),
                    rows,
                    record,
                });
            }
        }
        record::LABELS => {
            let Some(labels) = labels else {
                return Some(());
            };
            let (model, kept) = label::decode(record).ok()?;
            if wanted(&model) {
                labels.entry(model).or_default().extend(kept);
            }
        }
        _ => return None,
    }
    Some(())
}

/// The greatest number of a label in a segment; 0 where there is none.
pub(crate) fn newest_label(bytes: &[u8]) -> i64 {
    Frames::new(bytes)
        .filter_map(|found| match found {
            Found::Record { record, .. } if record.first() == Some(&record::LABELS) => {
                label::decode(record).ok()
            }
            _ => None,
        })
        .filter_map(|(_, labels)| labels.last().map(|it| it.number))
        .max()
        .unwrap_or(0)
}

/// Files that were written and are not in the catalog yet.
#[derive(Default)]
pub(crate) struct Sealed {
    pub(crate) predictions: Vec<(Arc<Layout>, Entry)>,
    pub(crate) labels: Vec<Entry>,
    pub(crate) damage: Damage,
    pub(crate) label_number: i64,
}

/// Writes a segment's rows into files. `written` is told of each file of predictions and its rows.
pub(crate) fn seal(
    bytes: &[u8],
    files: &Files,
    written: impl Fn(&Layout, &Entry, &RecordBatch),
) -> Result<Sealed, Refusal> {
    let contents = read(&[bytes], |_| true);
    let mut sealed = Sealed {
        damage: contents.damage,
        ..Sealed::default()
    };
    for collector in contents.predictions {
        let layout = Arc::clone(collector.layout());
        let batch = collector
            .finish()
            .map_err(|_| failure::of_library("sealing the log", "rows of different lengths"))?;
        for (day, part) in by_day(&batch) {
            let entry = write_predictions(files, &layout, day, &part)?;
            written(&layout, &entry, &part);
            sealed.predictions.push((Arc::clone(&layout), entry));
        }
    }
    for (model, labels) in contents.labels {
        let newest = labels.iter().map(|it| it.number).max();
        sealed.label_number = sealed.label_number.max(newest.unwrap_or(0));
        let mut parts: BTreeMap<Option<i64>, Vec<Kept>> = BTreeMap::new();
        for label in labels {
            let day = match &label.label.target {
                Target::Id(id) => Some((id.time_ms() * 1000).div_euclid(DAY_US)),
                Target::Request { .. } | Target::Key { .. } => None,
            };
            parts.entry(day).or_default().push(label);
        }
        for (day, part) in parts {
            let batch = label_batch(&model, part)?;
            let kind = day.map_or(Kind::TextLabels, |_| Kind::Labels);
            sealed
                .labels
                .push(write_labels(files, &model, kind, day.unwrap_or(0), &batch)?);
        }
    }
    Ok(sealed)
}

/// The rows of each day. They are sorted by id, whose first part is a time, but an id's time and the row's
/// may lie on two sides of midnight; so days are told from the ids.
fn by_day(batch: &RecordBatch) -> Vec<(i64, RecordBatch)> {
    let ids = batch.column(0).as_fixed_size_binary();
    let day = |row: usize| id_day(ids.value(row));
    let mut parts = Vec::new();
    let mut start = 0;
    while start < batch.num_rows() {
        let this = day(start);
        let mut end = batch.num_rows();
        if day(end - 1) != this {
            // Sorted: the first row of another day.
            end = start
                + (start..end)
                    .collect::<Vec<_>>()
                    .partition_point(|it| day(*it) == this);
        }
        parts.push((this, batch.slice(start, end - start)));
        start = end;
    }
    parts
}

/// The day at which an id was made.
pub(crate) fn id_day(id: &[u8]) -> i64 {
    let mut request = [0; 16];
    request.copy_from_slice(id);
    (domain::ledger::time_ms(&request) * 1000).div_euclid(DAY_US)
}

/// A day counted from 1970-01-01 as a date: `2026-11-24`.
pub fn show_day(day: i64) -> String {
    let (year, month, date) = date(day);
    format!("{year:04}-{month:02}-{date:02}")
}

/// Writes rows of one layout and day, which are sorted.
pub(crate) fn write_predictions(
    files: &Files,
    layout: &Layout,
    day: i64,
    batch: &RecordBatch,
) -> Result<Entry, Refusal> {
    let day_name = show_day(day);
    let number = files.file_number();
    let name = format!(
        "predictions/model={}/day={day_name}/{number:012}.parquet",
        layout.model
    );
    let of = (Kind::Predictions, layout.model.as_str(), day);
    write(files, name, of, batch, "time", Some(layout))
}

/// Writes labels, which are sorted.
pub(crate) fn write_labels(
    files: &Files,
    model: &str,
    kind: Kind,
    day: i64,
    batch: &RecordBatch,
) -> Result<Entry, Refusal> {
    let part = match kind {
        Kind::TextLabels => "by=text".to_owned(),
        _ => format!("day={}", show_day(day)),
    };
    let number = files.file_number();
    let name = format!("labels/model={model}/{part}/{number:012}.parquet");
    write(files, name, (kind, model, day), batch, "labelled_at", None)
}

fn ends(ids: &ArrayRef) -> (String, String) {
    let ids = ids.as_fixed_size_binary();
    let show = |row: usize| {
        if ids.is_empty() || ids.is_null(row) {
            return String::new();
        }
        ids.value(row)
            .iter()
            .map(|it| format!("{it:02x}"))
            .collect()
    };
    (show(0), show(ids.len().saturating_sub(1)))
}

/// Writes a file and gives its entry, without the place of its layout. `time` names the column of its times.
fn write(
    files: &Files,
    name: String,
    (kind, model, day): (Kind, &str, i64),
    batch: &RecordBatch,
    time: &str,
    layout: Option<&Layout>,
) -> Result<Entry, Refusal> {
    let path: PathBuf = files.folder.join(&name);
    let doing = || format!("writing `{name}` of the ledger");
    let file = Checked::create(&path).map_err(|error| failure::of_io(doing(), &error))?;
    let file =
        sheet::write(file, batch, layout).map_err(|error| failure::of_library(doing(), error))?;
    let (bytes, crc) = file
        .finish(&path)
        .map_err(|error| failure::of_io(doing(), &error))?;
    let times = batch
        .column_by_name(time)
        .map(|it| it.as_primitive::<TimestampMicrosecondType>());
    Ok(Entry {
        name,
        kind,
        model: model.to_owned(),
        layout: 0,
        day,
        rows: batch.num_rows() as u64,
        bytes,
        crc,
        ids: ends(batch.column(0)),
        times_us: (
            times.and_then(arrow::compute::min).unwrap_or(0),
            times.and_then(arrow::compute::max).unwrap_or(0),
        ),
        // Labels have no such columns.
        ended_us: Ends::of(batch).ok().and_then(|it| it.last_us()),
    })
}

/// The columns of labels.
pub(crate) fn label_schema() -> Schema {
    let time = || Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name: &str, datatype| Field::new(name, datatype, true);
    Schema::new(vec![
        field("prediction_id", Arrow::FixedSizeBinary(16)),
        field("row", Arrow::UInt32),
        field("request_id", Arrow::Utf8),
        field("key", Arrow::Utf8),
        field("key_from", time()),
        field("key_to", time()),
        field("model", words()),
        field("label", words()),
        field("labelled_at", time()),
        field("number", Arrow::Int64),
    ])
}

/// Labels as columns, sorted by prediction and number.
pub(crate) fn label_batch(model: &str, mut labels: Vec<Kept>) -> Result<RecordBatch, Refusal> {
    labels.sort_by(|a, b| {
        let key = |it: &Kept| match &it.label.target {
            Target::Id(id) => (id.request, id.row),
            Target::Request { .. } | Target::Key { .. } => ([0; 16], 0),
        };
        (key(a), a.number).cmp(&(key(b), b.number))
    });
    let mut id = FixedSizeBinaryBuilder::new(16);
    let mut row = UInt32Builder::new();
    let mut request_id = StringBuilder::new();
    let mut key = StringBuilder::new();
    let mut times: [TimestampMicrosecondBuilder; 3] =
        std::array::from_fn(|_| TimestampMicrosecondBuilder::new().with_timezone("UTC"));
    let mut value = StringDictionaryBuilder::<Int32Type>::new();
    for kept in &labels {
        let label = &kept.label;
        let (by_id, by_row, by_request, by_key, window) = match &label.target {
            Target::Id(it) => (Some(it.request), Some(it.row), None, None, None),
            Target::Request { id, row } => (None, Some(*row), Some(id), None, None),
            Target::Key {
                key,
                from_us,
                to_us,
            } => (None, None, None, Some(key), Some((*from_us, *to_us))),
        };
        match by_id {
            Some(bytes) => id
                .append_value(bytes)
                .map_err(|error| failure::of_library("sealing labels", error))?,
            None => id.append_null(),
        }
        row.append_option(by_row);
        request_id.append_option(by_request);
        key.append_option(by_key);
        times[0].append_option(window.map(|it| it.0));
        times[1].append_option(window.map(|it| it.1));
        times[2].append_value(label.at_us);
        value.append_value(&label.value);
    }
    let [mut from, mut to, mut at] = times;
    let model = {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        builder.append_values(model, labels.len());
        builder.finish()
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(id.finish()),
        Arc::new(row.finish()),
        Arc::new(request_id.finish()),
        Arc::new(key.finish()),
        Arc::new(from.finish()),
        Arc::new(to.finish()),
        Arc::new(model),
        Arc::new(value.finish()),
        Arc::new(at.finish()),
        Arc::new(Int64Array::from_iter_values(
            labels.iter().map(|it| it.number),
        )),
    ];
    RecordBatch::try_new(Arc::new(label_schema()), columns)
        .map_err(|error| failure::of_library("sealing labels", error))
}

/// Rows sorted by id and row, and labels by their number too.
pub(crate) fn sorted(batch: &RecordBatch) -> Result<RecordBatch, Refusal> {
    let schema = batch.schema();
    let mut by = vec!["prediction_id", "row"];
    if schema.index_of("number").is_ok() {
        by.push("number");
    }
    let columns: Vec<SortColumn> = by
        .iter()
        .filter_map(|name| batch.column_by_name(name))
        .map(|column| SortColumn {
            values: Arc::clone(column),
            options: None,
        })
        .collect();
    let sorted =
        lexsort_to_indices(&columns, None).and_then(|indices| take_record_batch(batch, &indices));
    sorted.map_err(|error| failure::of_library("sorting rows of the ledger", error))
}
