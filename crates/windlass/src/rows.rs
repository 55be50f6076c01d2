//! Rows of a file: CSV, JSON lines or Parquet, told apart by their content.
//!
//! CSV has no types: its columns stay text until a model, or another format, asks for something else. So
//! what is written back as CSV is what was read.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema_from_seekable;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::failure::Failure;

/// How rows are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Csv,
    Jsonl,
    Parquet,
}

/// The rows of a file.
pub(crate) struct Rows {
    pub(crate) kind: Kind,
    pub(crate) batch: RecordBatch,
}

/// The byte-order mark that Excel puts in front of what it calls UTF-8.
pub(crate) const MARK: &[u8] = b"\xef\xbb\xbf";

/// What stands for a missing value in CSV, beside nothing at all.
const MISSING: &[&str] = &["NA", "N/A", "NaN", "nan", "null", "NULL", "None"];

/// Whether this text of a CSV field stands for a missing number.
pub(crate) fn is_missing(text: &str) -> bool {
    text.is_empty() || MISSING.contains(&text)
}

/// Reads the rows. `name` is the file's, for sentences.
pub(crate) fn read(bytes: Bytes, name: &str) -> anyhow::Result<Rows> {
    let kind = Kind::of(&bytes);
    let unreadable = |why: String| {
        let message = format!("`{name}` cannot be read as {}: {why}", kind.name());
        Failure::refused(message, "give CSV with a header, JSON lines, or Parquet")
    };
    let batch = match kind {
        Kind::Csv => read_csv(&bytes),
        Kind::Jsonl => read_jsonl(&bytes),
        Kind::Parquet => read_parquet(bytes).map_err(|error| error.to_string()),
    };
    let batch = batch.map_err(unreadable)?;
    if batch.num_rows() == 0 {
        return Err(unreadable("it has no rows".to_owned()).into());
    }
    Ok(Rows { kind, batch })
}

impl Kind {
    /// What the first bytes of a file look like.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let text = bytes.strip_prefix(MARK).unwrap_or(bytes);
        let first = text.iter().find(|it| !it.is_ascii_whitespace());
        match first {
            _ if bytes.starts_with(b"PAR1") => Self::Parquet,
            Some(b'{' | b'[') => Self::Jsonl,
            _ => Self::Csv,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Jsonl => "JSON lines",
            Self::Parquet => "Parquet",
        }
    }
}

fn read_csv(bytes: &[u8]) -> Result<RecordBatch, String> {
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
    let names = reader.headers().map_err(|error| error.to_string())?.clone();
    if names.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut columns: Vec<StringBuilder> = names.iter().map(|_| StringBuilder::new()).collect();
    let mut record = csv::StringRecord::new();
    while reader
        .read_record(&mut record)
        .map_err(|error| error.to_string())?
    {
        for (column, field) in columns.iter_mut().zip(&record) {
            column.append_value(field);
        }
    }
    let columns = columns
        .iter_mut()
        .map(|it| Arc::new(it.finish()) as ArrayRef);
    let fields: Vec<Field> = names
        .iter()
        .map(|name| Field::new(name, DataType::Utf8, true))
        .collect();
    unique(&fields)?;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect())
        .map_err(|error| error.to_string())
}

fn unique(fields: &[Field]) -> Result<(), String> {
    for (index, field) in fields.iter().enumerate() {
        if fields[..index].iter().any(|it| it.name() == field.name()) {
            return Err(format!("column `{}` is there twice", field.name()));
        }
    }
    Ok(())
}

fn read_jsonl(bytes: &[u8]) -> Result<RecordBatch, String> {
    let start = bytes
        .iter()
        .position(|it| !it.is_ascii_whitespace())
        .unwrap_or(0);
    if bytes.get(start) == Some(&b'[') {
        let why = "it is one JSON array, want an object a line (`jq -c '.[]'` makes them)";
        return Err(why.to_owned());
    }
    let failed = |error: arrow::error::ArrowError| error.to_string();
    // Over all lines: a column may hold whole numbers for a thousand rows and then a fraction.
    let (schema, _) = infer_json_schema_from_seekable(Cursor::new(bytes), None).map_err(failed)?;
    let schema = Arc::new(schema);
    let reader = ReaderBuilder::new(Arc::clone(&schema))
        .build(bytes)
        .map_err(failed)?;
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().map_err(failed)?;
    compute::concat_batches(&schema, &batches).map_err(failed)
}

fn read_parquet(bytes: Bytes) -> anyhow::Result<RecordBatch> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let schema = Arc::clone(builder.schema());
    let batches: Vec<RecordBatch> = builder.build()?.collect::<Result<_, _>>()?;
    Ok(compute::concat_batches(&schema, &batches)?)
}

/// CSV's text as what it looks like, column by column: whole numbers, numbers, truth values, or text. For
/// formats that have types.
pub(crate) fn typed(batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let columns: Vec<ArrayRef> = batch.columns().iter().map(guess).collect();
    let names = batch.schema();
    let fields = names.fields().iter().zip(&columns);
    let fields: Vec<Field> = fields
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
        .collect();
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

fn guess(column: &ArrayRef) -> ArrayRef {
    let Some(text) = column.as_string_opt::<i32>() else {
        return Arc::clone(column);
    };
    let present = || text.iter().flatten().filter(|it| !is_missing(it));
    let some = |it: &str| {
        if is_missing(it) {
            None
        } else {
            Some(it.to_owned())
        }
    };
    // A code such as `007` would lose its zeros as a number.
    let plain = |it: &str| !(it.len() > 1 && it.starts_with('0') && !it.contains('.'));
    if present().next().is_none() {
        return Arc::clone(column);
    }
    let parsed: ArrayRef = if present().all(|it| plain(it) && it.parse::<i64>().is_ok()) {
        let values = text.iter().map(|it| some(it?)?.parse::<i64>().ok());
        Arc::new(values.collect::<arrow::array::PrimitiveArray<Int64Type>>())
    } else if present().all(|it| plain(it) && it.parse::<f64>().is_ok()) {
        let values = text.iter().map(|it| some(it?)?.parse::<f64>().ok());
        Arc::new(values.collect::<arrow::array::PrimitiveArray<Float64Type>>())
    } else if present().all(|it| truth(it).is_some()) {
        let values = text.iter().map(|it| truth(&some(it?)?));
        Arc::new(values.collect::<arrow::array::BooleanArray>())
    } else {
        Arc::new(text.iter().collect::<StringArray>())
    };
    parsed
}

/// A truth value as people write it.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let rows = read(Bytes::copy_from_slice(text.as_bytes()), "f");
        let got = match rows.and_then(|it| Ok((typed(&it.batch)?, it.kind))) {
            Err(error) => error.to_string(),
            Ok((batch, kind)) => {
                let schema = batch.schema();
                let columns = schema.fields().iter().zip(batch.columns());
                let show = columns.map(|(field, column)| {
                    let missing = column.null_count();
                    format!("{} {} missing {missing}", field.name(), field.data_type())
                });
                format!(
                    "{kind:?} {}: {}",
                    batch.num_rows(),
                    show.collect::<Vec<_>>().join("; ")
                )
            }
        };
        assert_eq!(got, want);
    }

    #[test]
    fn csv_is_read_with_quotes_missing_values_and_types() {
        check(
            "a,b,c,d,e\n1,0.5,x,true,007\n,NA,\"y, \"\"z\"\"\nw\",False,008\n",
            "Csv 2: a Int64 missing 1; b Float64 missing 1; c Utf8 missing 0; \
             d Boolean missing 0; e Utf8 missing 0",
        );
        check("\u{feff}a\n1\n", "Csv 1: a Int64 missing 0");
        check(
            "a,a\n1,2\n",
            "`f` cannot be read as CSV: column `a` is there twice",
        );
        check("a,b\n", "`f` cannot be read as CSV: it has no rows");
        check("", "`f` cannot be read as CSV: it is empty");
        check(
            "a,b\n1,2\n3\n",
            "`f` cannot be read as CSV: CSV error: record 2 (line: 3, byte: 8): found record with 1 \
             fields, but the previous record has 2 fields",
        );
    }

    #[test]
    fn json_lines_take_the_type_that_holds_for_all() {
        check(
            "{\"a\":1,\"b\":\"x\"}\n{\"a\":1.5,\"b\":null}\n",
            "Jsonl 2: a Float64 missing 0; b Utf8 missing 1",
        );
        check(
            "[{\"a\":1}]",
            "`f` cannot be read as JSON lines: it is one JSON array, want an object a line \
             (`jq -c '.[]'` makes them)",
        );
    }
}
