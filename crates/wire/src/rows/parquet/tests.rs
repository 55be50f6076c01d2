//! Files as the `parquet` crate writes them. Those of other writers are read in `tests/clients`.

use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::*;

/// A file with the columns of `schema`, each of `rows` values that `column` writes.
fn file(schema: &str, properties: WriterProperties, groups: usize) -> Bytes {
    let schema = parse_message_type(&format!("message rows {{ {schema} }}")).expect("a schema");
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties)).expect("w");
    for _ in 0..groups {
        let mut group = writer.next_row_group().expect("a row group");
        while let Some(mut column) = group.next_column().expect("a column") {
            use parquet::column::writer::ColumnWriter;
            let levels = Some(&[1, 0, 1, 1][..]);
            let written = match column.untyped() {
                ColumnWriter::BoolColumnWriter(it) => {
                    it.write_batch(&[true, false, true, true], None, None)
                }
                ColumnWriter::Int32ColumnWriter(it) => {
                    it.write_batch(&[1, -2, i32::MAX, i32::MIN], None, None)
                }
                ColumnWriter::Int64ColumnWriter(it) => it.write_batch(&[1, -2, 3], levels, None),
                ColumnWriter::FloatColumnWriter(it) => {
                    it.write_batch(&[0.5, 0.25, f32::NAN], levels, None)
                }
                ColumnWriter::DoubleColumnWriter(it) => {
                    it.write_batch(&[0.1, 1e300, -0.0, f64::INFINITY], None, None)
                }
                ColumnWriter::ByteArrayColumnWriter(it) => {
                    it.write_batch(&["a".into(), "ä".into(), "a".into()], levels, None)
                }
                ColumnWriter::FixedLenByteArrayColumnWriter(it) => {
                    let half = |it: f32| {
                        let bytes = half::f16::from_f32(it).to_le_bytes();
                        parquet::data_type::ByteArray::from(bytes.to_vec()).into()
                    };
                    it.write_batch(&[half(0.5), half(2.0), half(0.0), half(1.0)], None, None)
                }
                ColumnWriter::Int96ColumnWriter(it) => {
                    it.write_batch(&[Default::default(); 4], None, None)
                }
            };
            written.expect("the values");
            column.close().expect("the column");
        }
        group.close().expect("the group");
    }
    writer.close().expect("the file");
    bytes.into()
}

const ALL: &str = "required boolean t; required int32 i; required int32 u (INTEGER(32, false)); \
    optional int64 n; optional float f; required double d; optional binary s (STRING); \
    required fixed_len_byte_array(2) h (FLOAT16);";

const ALL_READ: &str = "t Booleans([true, false, true, true])
i Integers([1, -2, 2147483647, -2147483648])
u Integers([1, 4294967294, 2147483647, 2147483648])
n Numbers([1.0, NaN, -2.0, 3.0])
f Numbers([0.5, NaN, 0.25, NaN])
d Numbers([0.1, 1e300, -0.0, inf])
s Strings([Some(\"a\"), None, Some(\"ä\"), Some(\"a\")])
h Numbers([0.5, 2.0, 0.0, 1.0])";

fn show(read: Result<Frame, Refusal>) -> String {
    match read {
        Err(refusal) => refusal.to_string(),
        Ok(frame) => {
            let lines = frame
                .columns
                .iter()
                .map(|(name, it)| format!("{name} {it:?}"));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

fn check(schema: &str, properties: WriterProperties, want: &str) {
    assert_eq!(
        show(read(&file(schema, properties, 1), &Limits::default())),
        want
    );
}

#[test]
fn every_type_comes_back_under_every_compression_version_and_encoding() {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for dictionary in [true, false] {
                // Without a dictionary, the second version's default is a delta encoding.
                let encoding = parquet::basic::Encoding::PLAIN;
                let properties = WriterProperties::builder()
                    .set_compression(compression)
                    .set_writer_version(version)
                    .set_encoding(encoding)
                    .set_dictionary_enabled(dictionary);
                check(ALL, properties.build(), ALL_READ);
            }
        }
    }
}

#[test]
fn row_groups_and_pages_are_joined() {
    let small = WriterProperties::builder().set_data_page_row_count_limit(1);
    let small = small.set_write_batch_size(1).build();
    let body = file("required int32 i; optional binary s (UTF8);", small, 2);
    let want = "i Integers([1, -2, 2147483647, -2147483648, 1, -2, 2147483647, -2147483648])\n\
                s Strings([Some(\"a\"), None, Some(\"ä\"), Some(\"a\"), Some(\"a\"), None, \
                Some(\"ä\"), Some(\"a\")])";
    assert_eq!(show(read(&body, &Limits::default())), want);
}

#[test]
fn an_index_of_pandas_is_no_column() {
    let schema = "required boolean t; optional int64 __index_level_0__;";
    let want = "t Booleans([true, false, true, true])";
    check(schema, WriterProperties::default(), want);
}

#[test]
fn what_is_no_number_truth_or_text_is_refused_by_name() {
    for (schema, got) in [
        ("required int32 x (DATE);", "dates"),
        (
            "optional int64 x (TIMESTAMP(MICROS, true));",
            "points in time",
        ),
        ("required int96 x;", "points in time"),
        ("required int32 x (DECIMAL(9, 2));", "decimals"),
        (
            "required fixed_len_byte_array(2) x;",
            "bytes of a fixed length",
        ),
    ] {
        let want = format!(
            "input `x` has datatype `{got}`, the model takes `numbers, truth values or text`"
        );
        check(schema, WriterProperties::default(), &want);
    }
    let nested = "required group x { required int32 y; }";
    let want = "input `x` has datatype `a list or a structure`, the model takes `numbers, truth \
                values or text`";
    check(nested, WriterProperties::default(), want);
}

#[test]
fn what_cannot_be_read_within_bounds_is_refused_by_name() {
    let delta = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_encoding(parquet::basic::Encoding::DELTA_BINARY_PACKED)
        .build();
    let want = "Parquet with the encoding DELTA_BINARY_PACKED is not supported";
    check("required int32 x;", delta, want);
    let body = file("optional binary s (UTF8);", WriterProperties::default(), 1);
    let read = |body: &Bytes, limit| {
        let limits = Limits {
            decoded_bytes_max: limit,
            ..Limits::default()
        };
        show(read(body, &limits))
    };
    let over = |limit| format!("the decoded Parquet body is over the limit of {limit}");
    assert_eq!(read(&body, 63), over(63), "the cells alone are over it");
    assert_eq!(read(&body, 300), over(300), "with a page they are");
    assert_eq!(read(&body, 700), over(700), "with pages and texts they are");
    assert!(read(&body, 1000).starts_with("s Strings"));
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let whole = file(ALL, WriterProperties::default(), 1);
    for length in 0..whole.len() {
        let refusal = read(&whole.slice(..length), &Limits::default()).expect_err("it is cut off");
        let sentence = refusal.to_string();
        assert!(
            sentence.starts_with("the Parquet body cannot be read: "),
            "{sentence}"
        );
    }
}

/// A changed byte may be a changed value. Whatever it is, nothing panics and no bound is passed.
#[test]
fn a_file_with_a_wrong_byte_is_read_or_refused() {
    let snappy = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let limits = Limits {
        decoded_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let mut read_all_the_same = 0;
    let whole = file(ALL, snappy.build(), 1);
    for index in 0..whole.len() {
        for change in [0x01, 0x10, 0x80, 0xff] {
            let mut bytes = whole.to_vec();
            bytes[index] ^= change;
            if let Ok(frame) = read(&bytes.into(), &limits) {
                read_all_the_same += 1;
                assert!(frame.rows <= 1 << 16);
            }
        }
    }
    assert!(
        read_all_the_same > 0,
        "changed statistics alone change nothing"
    );
}

/// A whole file around this footer.
fn refused(footer: &[u8], want: &str) {
    let length = (footer.len() as u32).to_le_bytes();
    let body = [b"PAR1", footer, &length, b"PAR1"].concat();
    let want = format!("the Parquet body cannot be read: {want}");
    assert_eq!(show(read(&body.into(), &Limits::default())), want);
}

#[test]
fn a_footer_that_claims_two_thousand_million_row_groups_is_refused() {
    // Field 4, a list; of structures, their count as a number; and nothing of them.
    let footer = [0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07];
    refused(&footer, "a list of 2147483647 elements has 0 bytes");
}

#[test]
fn a_footer_of_thousands_of_fields_is_refused() {
    // Each the next field, a truth value: searching among them would take the square of their number.
    refused(&[0x11; 30_000], "a structure has over 64 fields");
}

/// Each is small enough; what they share is worked through for every one.
#[test]
fn columns_that_claim_the_same_bytes_each_pay_for_them() {
    let body = file("required double d;", WriterProperties::default(), 1);
    let took = |limit| {
        let limits = Limits {
            decoded_bytes_max: limit,
            ..Limits::default()
        };
        read(&body, &limits).is_ok()
    };
    let (cells, pages) = (4 * CELL_BYTES, 2 * 256);
    assert!(
        !took(cells + pages + 64),
        "the bytes of the pages count too"
    );
    assert!(took(cells + pages + 512));
}
