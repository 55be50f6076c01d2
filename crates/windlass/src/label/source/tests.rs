use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;

use super::*;

const QUIET: Output = Output {
    json: false,
    quiet: true,
};

/// What is sent of a file, batch by batch, each row as it goes or with the reason why not.
fn sent(file: &[u8], flags: &[(&str, &'static str)], batch: usize) -> anyhow::Result<String> {
    let flags = flags
        .iter()
        .map(|(column, part)| ((*column).to_owned(), *part));
    let names = Names::new(wire::labels::Of::Labels, flags.collect())?;
    let input = Box::new(Cursor::new(file.to_vec()));
    let mut source = Source::of(input, None, names, batch, (QUIET, "f".to_owned()))?;
    let mut lines = Vec::new();
    loop {
        let rows = source.next(batch)?;
        if rows.is_empty() {
            break;
        }
        for Row { place, label, line } in rows {
            lines.push(match label {
                Ok(label) => format!("{place} {}", String::from_utf8_lossy(&label).trim_end()),
                Err(why) => format!("{place} no: {why}: {}", line.unwrap_or_default()),
            });
        }
        lines.push("--".to_owned());
    }
    let dropped: Vec<&str> = source.dropped.iter().map(String::as_str).collect();
    if !dropped.is_empty() {
        lines.push(format!("dropped {}", dropped.join(" ")));
    }
    Ok(lines.join("\n"))
}

#[track_caller]
fn check(file: impl AsRef<[u8]>, flags: &[(&str, &'static str)], want: &str) {
    let got = sent(file.as_ref(), flags, 2).unwrap_or_else(|error| format!("{error:#}"));
    let want: Vec<&str> = want.trim().lines().map(str::trim).collect();
    assert_eq!(got, want.join("\n"));
}

#[test]
fn csv_is_sent_in_batches_of_whole_rows() {
    check(
        "\u{feff}key,label,x\r\na,\"1,\n2\",y\n\nb,1.0,\n007,bad,z\n",
        &[],
        r#"1 {"key":"a","label":"1,\n2"}
        2 {"key":"b","label":"1.0"}
        --
        3 {"key":"007","label":"bad"}
        --
        dropped x"#,
    );
}

#[test]
fn a_row_that_cannot_be_sent_keeps_its_place_and_its_text() {
    check(
        b"key,label\na\nb,1,\"x, y\"\nc,\xff\n,\n",
        &[],
        "1 no: it has 1 fields, the header has 2: a
        2 no: it has 3 fields, the header has 2: b,1,\"x, y\"
        --
        3 no: `label` is not UTF-8: c,\u{fffd}
        4 {}
        --",
    );
    check(
        "{\"key\":1,\"label\":2}\n{\"key\":\n[]\n\n{\"key\":1,\"label\":NaN}",
        &[],
        "1 {\"key\":1,\"label\":2}
        2 no: it is not JSON: EOF while parsing a value at line 1 column 7: {\"key\":
        --
        3 no: it is not a JSON object: []
        4 no: it is not JSON: expected value at line 1 column 18: {\"key\":1,\"label\":NaN}
        --",
    );
}

#[test]
fn lines_of_json_are_sent_as_they_are_written() {
    check(
        "\u{feff}{\"truth\":1.10,\"key\":\"\\u00e4\",\"key\":12345678901234567890123,\"z\":[1]}\n{}\n",
        &[("truth", "label")],
        "1 {\"label\":1.10,\"key\":\"\\u00e4\",\"key\":12345678901234567890123}
        2 {}
        --
        dropped z",
    );
}

#[test]
fn parquet_is_sent_by_the_types_of_its_columns() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "pid",
            std::sync::Arc::new(StringArray::from(vec!["a.0", "b.1", "c.0"])),
        ),
        (
            "label",
            std::sync::Arc::new(Float64Array::from(vec![Some(1.0), None, Some(0.1)])),
        ),
        (
            "at",
            std::sync::Arc::new(TimestampMicrosecondArray::from(vec![0, 1_500_000, 0])),
        ),
        (
            "x",
            std::sync::Arc::new(StringArray::from(vec!["", "", ""])),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("a table");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a file");
    writer.write(&batch).expect("written");
    writer.close().expect("written");
    check(
        &bytes,
        &[("pid", "prediction_id")],
        r#"1 {"prediction_id":"a.0","label":1.0,"at":"1970-01-01T00:00:00"}
        2 {"prediction_id":"b.1","at":"1970-01-01T00:00:01.500"}
        --
        3 {"prediction_id":"c.0","label":0.1,"at":"1970-01-01T00:00:00"}
        --
        dropped x"#,
    );
    check(
        &bytes,
        &[],
        "no column of `f` says which predictions its labels are for",
    );
}

#[test]
fn a_file_of_no_labels_is_refused_before_anything_is_sent() {
    check("", &[], "`f` cannot be read as CSV: it is empty");
    check("key,label\n", &[], "");
    check(
        "a,b\n1,2\n",
        &[],
        "no column of `f` says which predictions its labels are for",
    );
    let wrong = "`f` has no column `label`";
    check("{\"key\":1}\n{\"key\":2}\n", &[], wrong);
    check(
        "[{\"key\":1}]",
        &[],
        "`f` cannot be read as JSON lines: it is one JSON array, want an object a line \
         (`jq -c '.[]'` makes them)",
    );
    check(
        "PAR1",
        &[],
        "`f` cannot be read as Parquet: EOF: Parquet file too small. Size is 4 but need 8",
    );
}

#[test]
fn a_row_without_an_end_is_not_read_to_the_end() {
    let huge = "x".repeat(ROW_BYTES_MAX + 10_000);
    let csv = format!("key,label\na,1\nb,\"{huge}");
    let got = sent(csv.as_bytes(), &[], 1).expect_err("it is too long");
    assert_eq!(
        format!("{got:#}"),
        "reading `f` after row 1: it is longer than 16 MiB"
    );
    let lines = format!("{{\"key\":1,\"label\":1}}\n{{\"key\":\"{huge}");
    let got = sent(lines.as_bytes(), &[], 1).expect_err("it is too long");
    assert_eq!(
        format!("{got:#}"),
        "reading `f` after row 1: it is longer than 16 MiB"
    );
}
