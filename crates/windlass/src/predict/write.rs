//! Writes rows: as CSV, JSON lines, Parquet, or a table for people.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use arrow::array::RecordBatch;
use arrow::datatypes::DataType as Arrow;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::ValueEnum;
use parquet::arrow::ArrowWriter;

use crate::failure::Failure;
use crate::output;
use crate::rows::Kind;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated, with a header
    Csv,
    /// A JSON object a line
    Jsonl,
    /// Apache Parquet
    Parquet,
    /// For people
    Table,
}

impl From<Kind> for Format {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Csv => Self::Csv,
            Kind::Jsonl => Self::Jsonl,
            Kind::Parquet => Self::Parquet,
        }
    }
}

impl Format {
    /// The format that a file's name asks for.
    pub(crate) fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "parquet" | "pq" => Some(Self::Parquet),
            "txt" => Some(Self::Table),
            _ => None,
        }
    }

    /// Whether columns have types in it.
    pub(crate) fn has_types(self) -> bool {
        match self {
            Self::Csv | Self::Table => false,
            Self::Jsonl | Self::Parquet => true,
        }
    }
}

/// The rows as bytes.
pub(crate) fn encode(batch: &RecordBatch, format: Format) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match format {
        Format::Csv => csv_rows(batch, &mut bytes)?,
        Format::Jsonl => {
            let builder = WriterBuilder::new().with_explicit_nulls(true);
            let mut writer = builder.build::<_, LineDelimited>(&mut bytes);
            writer.write(batch).context("writing JSON lines")?;
            writer.finish()?;
        }
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None)?;
            writer.write(batch).context("writing Parquet")?;
            writer.close()?;
        }
        Format::Table => writeln!(bytes, "{}", table(batch)?)?,
    }
    Ok(bytes)
}

const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(true);

fn formatters(batch: &RecordBatch) -> anyhow::Result<Vec<ArrayFormatter<'_>>> {
    let all = batch
        .columns()
        .iter()
        .map(|it| ArrayFormatter::try_new(it.as_ref(), &OPTIONS));
    Ok(all.collect::<Result<_, _>>()?)
}

fn csv_rows(batch: &RecordBatch, bytes: &mut Vec<u8>) -> anyhow::Result<()> {
    let schema = batch.schema();
    for field in schema.fields() {
        if matches!(
            field.data_type(),
            Arrow::List(_) | Arrow::Struct(_) | Arrow::Binary
        ) {
            let message = format!(
                "column `{}` holds {}, CSV cannot",
                field.name(),
                field.data_type()
            );
            let hint = "use `--format jsonl` or `--format parquet`";
            return Err(Failure::refused(message, hint).into());
        }
    }
    let formatters = formatters(batch)?;
    let mut writer = csv::Writer::from_writer(bytes);
    writer.write_record(schema.fields().iter().map(|it| it.name()))?;
    let mut record: Vec<String> = Vec::new();
    for row in 0..batch.num_rows() {
        record.clear();
        record.extend(formatters.iter().map(|it| it.value(row).to_string()));
        writer.write_record(&record)?;
    }
    writer.flush()?;
    Ok(())
}

fn table(batch: &RecordBatch) -> anyhow::Result<String> {
    let schema = batch.schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|it| it.name().as_str())
        .collect();
    let formatters = formatters(batch)?;
    let rows = (0..batch.num_rows()).map(|row| {
        formatters
            .iter()
            .map(|it| short(it.value(row).to_string()))
            .collect()
    });
    Ok(output::table(&names, rows))
}

/// Text of many lines or of great length would tear a table apart.
pub(crate) fn short(text: String) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN && !text.contains('\n') {
        return text;
    }
    let line: String = text
        .lines()
        .next()
        .unwrap_or("")
        .chars()
        .take(SHOWN)
        .collect();
    format!("{line}...")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float32Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    use bytes::Bytes;

    use super::*;
    use crate::rows;

    fn batch() -> RecordBatch {
        let fields = vec![
            Field::new("a", Arrow::Utf8, true),
            Field::new("p", Arrow::Float32, true),
        ];
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("x, \"y\""), None]));
        let numbers: ArrayRef = Arc::new(Float32Array::from(vec![0.1, f32::NAN]));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![text, numbers]).expect("a batch")
    }

    fn text(format: Format) -> String {
        String::from_utf8(encode(&batch(), format).expect("it is written")).expect("it is text")
    }

    #[test]
    fn each_format_says_the_same() {
        assert_eq!(text(Format::Csv), "a,p\n\"x, \"\"y\"\"\",0.1\n,NaN\n");
        assert_eq!(
            text(Format::Jsonl),
            "{\"a\":\"x, \\\"y\\\"\",\"p\":0.1}\n{\"a\":null,\"p\":null}\n"
        );
        assert_eq!(
            text(Format::Table),
            "a       p\nx, \"y\"  0.1\n        NaN\n"
        );
    }

    #[test]
    fn parquet_is_read_as_it_was_written() {
        let bytes = encode(&batch(), Format::Parquet).expect("it is written");
        let rows = rows::read(Bytes::from(bytes), "f").expect("it is read");
        assert_eq!(rows.kind, rows::Kind::Parquet);
        assert_eq!(
            format!("{:?}", rows.batch.columns()),
            format!("{:?}", batch().columns())
        );
    }
}
