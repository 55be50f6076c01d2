//! Rows of an answer as JSON, as CSV and as Parquet.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use domain::Refusal;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value};

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum File {
    /// With a header.
    Csv,
    /// Zstandard.
    Parquet,
}

impl File {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal::Internal {
        what: format!("writing an answer: {error}"),
    }
}

/// Times as people and programs read them; nothing for what is missing.
fn options() -> FormatOptions<'static> {
    FormatOptions::new()
        .with_null("")
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.6fZ"))
}

fn formatters<'a>(
    batch: &'a RecordBatch,
    options: &'a FormatOptions<'a>,
) -> Result<Vec<ArrayFormatter<'a>>, Refusal> {
    let columns = batch.columns().iter();
    let formatters: Result<Vec<_>, _> = columns
        .map(|it| ArrayFormatter::try_new(it.as_ref(), options))
        .collect();
    formatters.map_err(failed)
}

/// The rows as lists of values. Numbers that JSON does not have are text.
pub(crate) fn rows(batch: &RecordBatch) -> Result<Vec<Vec<Value>>, Refusal> {
    let options = options();
    let formatters = formatters(batch, &options)?;
    let rows = (0..batch.num_rows()).map(|row| {
        let cells = batch.columns().iter().zip(&formatters);
        cells
            .map(|(column, formatter)| value(column.as_ref(), formatter, row))
            .collect()
    });
    Ok(rows.collect())
}

fn value(column: &dyn Array, formatter: &ArrayFormatter<'_>, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    let text = formatter.value(row).to_string();
    let as_is = match column.data_type() {
        DataType::Boolean => true,
        it => it.is_numeric(),
    };
    if as_is && let Ok(value) = serde_json::from_str::<Value>(&text) {
        return value;
    }
    Value::String(text)
}

/// The first row as an object; what is missing is left out.
pub(crate) fn record(batch: &RecordBatch) -> Result<Map<String, Value>, Refusal> {
    let first = rows(&batch.slice(0, 1.min(batch.num_rows())))?
        .into_iter()
        .next()
        .unwrap_or_default();
    let schema = batch.schema();
    let names = schema.fields().iter().map(|it| it.name().clone());
    Ok(names
        .zip(first)
        .filter(|(name, value)| !value.is_null() && name != "prediction_id")
        .collect())
}

/// Writes a file piece by piece.
pub(crate) enum Writer {
    Csv(Box<csv::Writer<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

/// Rows of a group in a Parquet file, which is what lies in memory of it.
const GROUP_ROWS: usize = 64 * 1024;

impl Writer {
    pub(crate) fn new(file: File, schema: &std::sync::Arc<Schema>) -> Result<Self, Refusal> {
        match file {
            File::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                let names = schema.fields().iter().map(|it| it.name());
                writer.write_record(names).map_err(failed)?;
                Ok(Self::Csv(Box::new(writer)))
            }
            File::Parquet => {
                let level = ZstdLevel::try_new(1).map_err(failed)?;
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(level))
                    .set_max_row_group_row_count(Some(GROUP_ROWS))
                    .set_created_by("windlass".to_owned())
                    .build();
                let schema = std::sync::Arc::clone(schema);
                let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties));
                Ok(Self::Parquet(Box::new(writer.map_err(failed)?)))
            }
        }
    }

    /// Adds rows; gives what can be sent already.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Refusal> {
        match self {
            Self::Csv(writer) => {
                let options = options();
                let formatters = formatters(batch, &options)?;
                for row in 0..batch.num_rows() {
                    let cells = formatters.iter().map(|it| it.value(row).to_string());
                    writer.write_record(cells).map_err(failed)?;
                }
                writer.flush().map_err(failed)?;
                let full = std::mem::replace(writer.as_mut(), csv::Writer::from_writer(Vec::new()));
                full.into_inner().map(Bytes::from).map_err(failed)
            }
            Self::Parquet(writer) => {
                writer.write(batch).map_err(failed)?;
                Ok(std::mem::take(writer.inner_mut()).into())
            }
        }
    }

    /// The rest of the file.
    pub(crate) fn finish(self) -> Result<Bytes, Refusal> {
        match self {
            Self::Csv(writer) => writer.into_inner().map(Bytes::from).map_err(failed),
            Self::Parquet(writer) => writer.into_inner().map(Bytes::from).map_err(failed),
        }
    }
}
