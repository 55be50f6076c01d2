//! The labels of a file, or its metrics, so many rows at a time, as the lines of JSON that are sent.
//!
//! R1. Of a text file no more than a batch is held, however many rows it has: of Parquet a batch and what its
//!     reader needs.
//! R2. A row that cannot be sent keeps its place and its text, and the others are sent.
//! R3. Values go as they stand: CSV's as text, JSON's as they are written, Parquet's by their types.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use anyhow::Context as _;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use bytes::Bytes;
use csv::ByteRecord;
use indicatif::ProgressBar;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::names::Names;
use crate::failure::Failure;
use crate::output::{Output, Unit};
use crate::rows::{Kind, MARK};

/// The longest row of a text file.
const ROW_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A batch is full at so many bytes, however few its rows.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// As many of a file's first bytes tell what it is.
const LOOKED_AT: u64 = 4096;
/// The most names of columns that are remembered as no part of a label.
const DROPPED_MAX: usize = 100;

/// A row of the file.
#[derive(Debug)]
pub(super) struct Row {
    /// Its place, from 1.
    pub(super) place: u64,
    /// The label as a line of JSON, or why there is none.
    pub(super) label: Result<Vec<u8>, String>,
    /// As it stands in the file, where that is text.
    pub(super) line: Option<String>,
}

/// A file that is being read.
pub(super) struct Source {
    rows: Rows,
    names: Names,
    /// The file's, for sentences.
    name: String,
    /// Rows read.
    place: u64,
    /// Columns that are no part of a label.
    pub(super) dropped: BTreeSet<String>,
    pub(super) progress: ProgressBar,
}

enum Rows {
    Csv {
        reader: csv::Reader<Guarded>,
        parts: Vec<Option<&'static str>>,
    },
    Jsonl {
        reader: BufReader<Box<dyn Read>>,
        /// Whether what was read first had the columns that make a label.
        checked: bool,
    },
    Parquet {
        reader: ParquetRecordBatchReader,
        parts: Vec<&'static str>,
    },
}

impl Source {
    /// Opens the file, `-` for standard input, and looks at its columns.
    pub(super) fn open(
        path: &Path,
        names: Names,
        batch: usize,
        output: Output,
    ) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            return Self::of(Box::new(io::stdin()), None, names, batch, (output, name));
        }
        let unreadable = |error: io::Error| {
            let message = format!("`{name}` cannot be read: {error}");
            let hint = format!(
                "name a file with {}, or `-` for standard input",
                names.of.plural()
            );
            Failure::not_found(message, hint)
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let again = file.try_clone().map_err(unreadable)?;
        Self::of(Box::new(again), Some(file), names, batch, (output, name))
    }

    /// `file` is what `input` reads from, where that is a file.
    fn of(
        mut input: Box<dyn Read>,
        file: Option<std::fs::File>,
        names: Names,
        batch: usize,
        (output, name): (Output, String),
    ) -> anyhow::Result<Self> {
        let reading = || format!("reading `{name}`");
        let mut first = Vec::new();
        let looked = (&mut input).take(LOOKED_AT).read_to_end(&mut first);
        looked.with_context(reading)?;
        let kind = Kind::of(&first);
        let unreadable = |why: &str| {
            let message = format!("`{name}` cannot be read as {}: {why}", kind.name());
            Failure::refused(message, "give CSV with a header, JSON lines, or Parquet")
        };
        let size = match &file {
            Some(file) => file.metadata().with_context(reading)?.len(),
            None => 0,
        };
        let mut dropped = BTreeSet::new();
        let mut progress = match file {
            Some(_) => output.progress("sending", size, Unit::Bytes),
            None => ProgressBar::hidden(),
        };
        let rows = match kind {
            Kind::Parquet => {
                let opened = match file {
                    Some(file) => parquet(file, &names, &name, batch, &mut dropped),
                    None => {
                        input.read_to_end(&mut first).with_context(reading)?;
                        parquet(Bytes::from(first), &names, &name, batch, &mut dropped)
                    }
                };
                let (rows, count) = opened.map_err(|error| match error.downcast::<Failure>() {
                    Ok(failure) => failure,
                    Err(error) => unreadable(&error.to_string()),
                })?;
                progress = output.progress("sending", count, Unit::Rows);
                rows
            }
            Kind::Csv => {
                let input = progress.wrap_read(Cursor::new(first).chain(input));
                let input = Guarded {
                    input: Box::new(input),
                    left: ROW_BYTES_MAX,
                };
                let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
                let header = reader.headers().map_err(|it| unreadable(&it.to_string()))?;
                let columns: Vec<String> = header.iter().map(str::to_owned).collect();
                if columns.is_empty() {
                    return Err(unreadable("it is empty").into());
                }
                names.check(&name, &columns)?;
                let parts: Vec<_> = columns.iter().map(|it| names.part(it)).collect();
                dropped.extend(columns.into_iter().filter(|it| names.part(it).is_none()));
                Rows::Csv { reader, parts }
            }
            Kind::Jsonl => {
                let mut text = &*first;
                text = text.strip_prefix(MARK).unwrap_or(text).trim_ascii_start();
                if text.starts_with(b"[") {
                    let why =
                        "it is one JSON array, want an object a line (`jq -c '.[]'` makes them)";
                    return Err(unreadable(why).into());
                }
                let skipped = first.len() - text.len();
                let first = Cursor::new(first.split_off(skipped));
                let input: Box<dyn Read> = Box::new(progress.wrap_read(first.chain(input)));
                Rows::Jsonl {
                    reader: BufReader::with_capacity(128 * 1024, input),
                    checked: false,
                }
            }
        };
        Ok(Self {
            rows,
            names,
            name,
            place: 0,
            dropped,
            progress,
        })
    }

    /// The next rows, at most so many; none at the end.
    pub(super) fn next(&mut self, rows_max: usize) -> anyhow::Result<Vec<Row>> {
        let Self {
            rows,
            names,
            name,
            place,
            dropped,
            progress,
        } = self;
        let reading = || format!("reading `{name}` after row {}", *place);
        let read = match rows {
            Rows::Csv { reader, parts } => {
                csv_rows(reader, parts, rows_max).with_context(reading)?
            }
            Rows::Jsonl { reader, checked } => {
                let mut lines = Lines {
                    names,
                    dropped,
                    columns: (!*checked).then(BTreeSet::new),
                };
                let read = lines.read(reader, rows_max).with_context(reading)?;
                // The others are refused one by one: a file whose first rows make labels is one of labels.
                if let Some(columns) = lines.columns.filter(|it| !it.is_empty()) {
                    let columns: Vec<String> = columns.into_iter().collect();
                    names.check(name, &columns)?;
                    *checked = true;
                }
                read
            }
            Rows::Parquet { reader, parts } => match reader.next() {
                None => Vec::new(),
                Some(batch) => {
                    let batch = batch.with_context(reading)?;
                    progress.inc(batch.num_rows() as u64);
                    parquet_rows(batch, parts).with_context(reading)?
                }
            },
        };
        Ok(read
            .into_iter()
            .map(|(label, line)| {
                *place += 1;
                Row {
                    place: *place,
                    label,
                    line,
                }
            })
            .collect())
    }
}

/// A row without its place: the label, and its text.
type Content = (Result<Vec<u8>, String>, Option<String>);

/// Refuses to read on in a row that does not end: a quote that nobody closed would be all of the file.
struct Guarded {
    input: Box<dyn Read>,
    left: usize,
}

impl Read for Guarded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(too_long());
        }
        let most = buffer.len().min(self.left);
        let read = self.input.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

fn too_long() -> io::Error {
    let why = format!("it is longer than {} MiB", ROW_BYTES_MAX >> 20);
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn csv_rows(
    reader: &mut csv::Reader<Guarded>,
    parts: &[Option<&'static str>],
    rows_max: usize,
) -> anyhow::Result<Vec<Content>> {
    let mut rows = Vec::new();
    let mut record = ByteRecord::new();
    let mut bytes = 0;
    while rows.len() < rows_max && bytes < BATCH_BYTES_MAX {
        reader.get_mut().left = ROW_BYTES_MAX;
        if !reader.read_byte_record(&mut record)? {
            break;
        }
        bytes += record.as_slice().len();
        rows.push((csv_label(parts, &record), Some(csv_line(&record)?)));
    }
    Ok(rows)
}

fn csv_label(parts: &[Option<&'static str>], record: &ByteRecord) -> Result<Vec<u8>, String> {
    if record.len() != parts.len() {
        let (got, want) = (record.len(), parts.len());
        return Err(format!("it has {got} fields, the header has {want}"));
    }
    let mut line = Line::default();
    for (part, field) in parts.iter().zip(record) {
        let Some(part) = part else { continue };
        let text = std::str::from_utf8(field).map_err(|_| format!("`{part}` is not UTF-8"))?;
        if !text.is_empty() {
            line.member(
                part,
                &serde_json::to_string(text).map_err(|it| it.to_string())?,
            );
        }
    }
    Ok(line.end())
}

/// The row as CSV; quotes stand where they are needed, which may not be where they stood.
fn csv_line(record: &ByteRecord) -> anyhow::Result<String> {
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .from_writer(Vec::new());
    writer.write_byte_record(record)?;
    let bytes = writer.into_inner()?;
    Ok(String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned())
}

/// A line of JSON in the making.
#[derive(Default)]
struct Line(Vec<u8>);

impl Line {
    fn member(&mut self, name: &str, json: &str) {
        let separator = if self.0.is_empty() { '{' } else { ',' };
        self.0
            .extend_from_slice(format!("{separator}\"{name}\":{json}").as_bytes());
    }

    fn end(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

/// What is asked of lines of JSON, and found in them.
struct Lines<'a> {
    names: &'a Names,
    dropped: &'a mut BTreeSet<String>,
    /// All keys, where they are not known to make labels.
    columns: Option<BTreeSet<String>>,
}

impl Lines<'_> {
    fn read(&mut self, reader: &mut impl BufRead, rows_max: usize) -> anyhow::Result<Vec<Content>> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut line = Vec::new();
        while rows.len() < rows_max && bytes < BATCH_BYTES_MAX {
            line.clear();
            let most = ROW_BYTES_MAX as u64 + 1;
            if reader.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.len() > ROW_BYTES_MAX {
                return Err(too_long().into());
            }
            bytes += line.len();
            let text = line.trim_ascii();
            if !text.is_empty() {
                let shown = String::from_utf8_lossy(text).into_owned();
                rows.push((self.label(text), Some(shown)));
            }
        }
        Ok(rows)
    }

    fn label(&mut self, text: &[u8]) -> Result<Vec<u8>, String> {
        if !text.starts_with(b"{") {
            return Err("it is not a JSON object".to_owned());
        }
        let Members(members) =
            serde_json::from_slice(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let mut line = Line::default();
        for (key, value) in members {
            match self.names.part(&key) {
                // A number of a thousand digits is one line still: raw values have no line breaks of ours.
                Some(part) => line.member(part, &value.get().replace(['\n', '\r'], " ")),
                None if self.dropped.len() < DROPPED_MAX => {
                    self.dropped.insert(key.clone());
                }
                None => {}
            }
            if let Some(columns) = &mut self.columns
                && columns.len() < DROPPED_MAX
            {
                columns.insert(key);
            }
        }
        Ok(line.end())
    }
}

/// The members of an object as they are written, a name that is given twice among them.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Also says how many rows there are.
fn parquet(
    file: impl ChunkReader + 'static,
    names: &Names,
    name: &str,
    batch: usize,
    dropped: &mut BTreeSet<String>,
) -> anyhow::Result<(Rows, u64)> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let fields = builder.schema().fields().iter();
    let columns: Vec<String> = fields.map(|it| it.name().clone()).collect();
    names.check(name, &columns)?;
    let (mut roots, mut parts) = (Vec::new(), Vec::new());
    for (index, column) in columns.into_iter().enumerate() {
        match names.part(&column) {
            Some(part) => {
                roots.push(index);
                parts.push(part);
            }
            None => {
                dropped.insert(column);
            }
        }
    }
    let count = builder.metadata().file_metadata().num_rows();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let reader = builder
        .with_projection(mask)
        .with_batch_size(batch)
        .build()?;
    Ok((Rows::Parquet { reader, parts }, u64::try_from(count)?))
}

fn parquet_rows(batch: RecordBatch, parts: &[&str]) -> anyhow::Result<Vec<Content>> {
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(parts);
    let fields: Vec<Field> = fields
        .map(|(field, part)| Field::new(*part, field.data_type().clone(), true))
        .collect();
    let batch = RecordBatch::try_new(Schema::new(fields).into(), batch.columns().to_vec())?;
    let mut bytes = Vec::new();
    let mut writer = WriterBuilder::new().build::<_, LineDelimited>(&mut bytes);
    writer.write(&batch)?;
    writer.finish()?;
    let lines = bytes.split_inclusive(|it| *it == b'\n');
    let rows: Vec<Content> = lines.map(|it| (Ok(it.to_vec()), None)).collect();
    anyhow::ensure!(
        rows.len() == batch.num_rows(),
        "a row is not one line of JSON"
    );
    Ok(rows)
}

#[cfg(test)]
mod tests;
