//! Rows as a Parquet file.
//!
//! Nearly every column is numbers of which none is missing. The library's own way from Arrow looks at each of
//! their values four times before it encodes it, for nulls that are not there; here they go to its encoders as
//! they are, in columns that are declared to have none. All other columns go its own way.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType as Arrow, Field, Float32Type, Float64Type, Int32Type, Int64Type, Schema, TimeUnit,
    TimestampMicrosecondType, UInt32Type,
};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type as physical;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::ColumnPath;

use crate::layout::Layout;

/// Rows of a group in a file: what is skipped, or read, at a time.
const GROUP_ROWS: usize = 64 * 1024;

/// Writes rows that are sorted by id; `layout` is written down with them.
pub(crate) fn write<W: Write + Send>(
    sink: W,
    batch: &RecordBatch,
    layout: Option<&Layout>,
) -> Result<W> {
    let schema = Arc::new(tight(batch));
    let descriptor = ArrowSchemaConverter::new().convert(&schema)?;
    let properties = Arc::new(properties(&schema, batch.num_rows(), layout)?);
    let mut file = SerializedFileWriter::new(sink, descriptor.root_schema_ptr(), properties)?;
    let factory = ArrowRowGroupWriterFactory::new(&file, Arc::clone(&schema));
    for (index, start) in (0..batch.num_rows()).step_by(GROUP_ROWS).enumerate() {
        let part = batch.slice(start, GROUP_ROWS.min(batch.num_rows() - start));
        let others = factory.create_column_writers(index)?;
        let mut group = file.next_row_group()?;
        // Every column has one leaf: a list's is its values.
        for ((field, column), other) in schema.fields().iter().zip(part.columns()).zip(others) {
            if field.is_nullable() {
                write_any(&mut group, other, field, column)?;
            } else {
                write_numbers(&mut group, column)?;
            }
        }
        group.close()?;
    }
    file.into_inner()
}

/// The schema with those columns declared to have no nulls that `write_numbers` takes.
fn tight(batch: &RecordBatch) -> Schema {
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(batch.columns());
    let fields = fields.map(|(field, column)| {
        let numbers = matches!(
            field.data_type(),
            Arrow::Int32
                | Arrow::UInt32
                | Arrow::Int64
                | Arrow::Timestamp(TimeUnit::Microsecond, _)
                | Arrow::Float32
                | Arrow::Float64
        );
        let nullable = !numbers || column.null_count() > 0;
        field.as_ref().clone().with_nullable(nullable)
    });
    Schema::new(fields.collect::<Vec<Field>>())
}

fn write_any<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    mut writer: ArrowColumnWriter,
    field: &Field,
    column: &ArrayRef,
) -> Result<()> {
    for leaf in compute_leaves(field, column)? {
        writer.write(&leaf)?;
    }
    writer.close()?.append_to_row_group(group)
}

fn write_numbers<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: &ArrayRef,
) -> Result<()> {
    let missing = || ParquetError::General("a file has fewer columns than its rows".to_owned());
    let mut writer = group.next_column()?.ok_or_else(missing)?;
    macro_rules! put {
        ($physical:ident, $values:expr) => {
            writer
                .typed::<physical::$physical>()
                .write_batch($values, None, None)?
        };
    }
    match column.data_type() {
        Arrow::Int32 => put!(Int32Type, column.as_primitive::<Int32Type>().values()),
        // As the format has it: the bits of one are the bits of the other.
        Arrow::UInt32 => {
            let values = column.as_primitive::<UInt32Type>().values();
            put!(Int32Type, values.inner().typed_data::<i32>())
        }
        Arrow::Int64 => put!(Int64Type, column.as_primitive::<Int64Type>().values()),
        Arrow::Timestamp(..) => {
            put!(
                Int64Type,
                column.as_primitive::<TimestampMicrosecondType>().values()
            )
        }
        Arrow::Float32 => put!(FloatType, column.as_primitive::<Float32Type>().values()),
        _ => put!(DoubleType, column.as_primitive::<Float64Type>().values()),
    };
    writer.close()
}

fn properties(schema: &Schema, rows: usize, layout: Option<&Layout>) -> Result<WriterProperties> {
    let sorted = |column_idx| SortingColumn {
        column_idx,
        descending: false,
        nulls_first: true,
    };
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_sorting_columns(Some(vec![sorted(0), sorted(1)]))
        .set_created_by("windlass".to_owned());
    if let Some(layout) = layout {
        let json = String::from_utf8(layout.to_json()).unwrap_or_default();
        let pair = KeyValue::new("windlass.layout".to_owned(), json);
        builder = builder.set_key_value_metadata(Some(vec![pair]));
    }
    for field in schema.fields() {
        let name = field.name().as_str();
        let column = ColumnPath::from(name);
        // What rows are looked for by. Features are in no order, so that their ends would say nothing.
        if matches!(
            name,
            "prediction_id" | "time" | "total_us" | "labelled_at" | "request_id" | "key" | "code"
        ) {
            builder =
                builder.set_column_statistics_enabled(column.clone(), EnabledStatistics::Chunk);
        }
        match (name, field.data_type()) {
            ("prediction_id" | "request_id" | "key", _) => {
                let distinct = rows.min(GROUP_ROWS) as u64;
                builder = builder
                    .set_column_bloom_filter_enabled(column.clone(), true)
                    .set_column_bloom_filter_fpp(column.clone(), 0.01)
                    .set_column_bloom_filter_max_ndv(column, distinct);
            }
            (_, Arrow::Dictionary(..) | Arrow::Utf8) => {
                builder = builder.set_column_dictionary_enabled(column, true);
            }
            // Counts and durations are small, and times lie near each other.
            (_, Arrow::UInt32 | Arrow::Timestamp(..)) => {
                builder = builder.set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
            }
            // Bytes of like weight beside each other compress, mixed ones do not.
            (_, Arrow::Float32 | Arrow::Float64) => {
                builder = builder.set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT);
            }
            _ => {}
        }
    }
    let mut properties = builder.build();
    add_encoded_arrow_schema_to_metadata(schema, &mut properties);
    Ok(properties)
}
