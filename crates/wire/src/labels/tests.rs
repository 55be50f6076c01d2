use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::*;

fn show(decoded: Result<Vec<Result<LabelRow, String>>, Refusal>) -> String {
    let rows = match decoded {
        Err(refusal) => return format!("refused: {refusal}"),
        Ok(rows) => rows,
    };
    let lines = rows.into_iter().map(|row| match row {
        Err(why) => format!("no: {why}"),
        Ok(row) => {
            let LabelRow {
                prediction_id,
                request_id,
                row,
                key,
                from,
                to,
                name,
                label,
                at,
            } = row;
            let values = [
                ("id", prediction_id),
                ("request", request_id),
                ("row", row.map(|it| it.to_string())),
                ("key", key),
                ("from", from),
                ("to", to),
                ("name", name),
                ("label", label),
                ("at", at),
            ];
            let shown = values
                .into_iter()
                .filter_map(|(name, it)| Some(format!("{name}={}", it?)));
            shown.collect::<Vec<_>>().join(" ")
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(kind: Kind, body: impl AsRef<[u8]>, want: &str) {
    let lines: Vec<&str> = want.trim().lines().map(str::trim).collect();
    assert_eq!(
        show(decode(Of::Labels, kind, body.as_ref(), &Limits::default())),
        lines.join("\n")
    );
}

#[test]
fn content_types_are_told_whatever_their_parameters() {
    for (text, want) in [
        ("application/json; charset=utf-8", Some(Kind::Json)),
        ("Application/JSONL", Some(Kind::Jsonl)),
        ("application/x-ndjson", Some(Kind::Jsonl)),
        ("application/json-lines", Some(Kind::Jsonl)),
        ("text/csv;header=present", Some(Kind::Csv)),
        ("application/vnd.apache.parquet", Some(Kind::Parquet)),
        ("text/plain", None),
        ("", None),
    ] {
        assert_eq!(Kind::of_content_type(text), want, "{text}");
    }
}

#[test]
fn a_json_document_is_one_label_a_list_or_an_object_with_the_list() {
    let one = r#"{"prediction_id":"a.0","label":"bad","at":"2026-11-24"}"#;
    check(Kind::Json, one, "id=a.0 label=bad at=2026-11-24");
    let two =
        r#"[{"request_id":"r","row":1,"label":true}, {"key":7,"label":2.50,"from":"a","to":"b"}]"#;
    let want = "
        request=r row=1 label=true
        key=7 from=a to=b label=2.5";
    check(Kind::Json, two, want);
    check(Kind::Json, format!("{{\"labels\": {two}}}"), want);
    check(Kind::Json, "[]", "");
    check(Kind::Json, r#"{"labels":[]}"#, "");
}

#[test]
fn numbers_become_their_shortest_text() {
    for (number, want) in [
        ("1", "1"),
        ("1.0", "1"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ("0.10", "0.1"),
        ("1e300", "1e+300"),
        ("123456789012345678901", "123456789012345678901"),
        ("\"1.0\"", "1.0"),
        ("false", "false"),
    ] {
        let body = format!("{{\"key\":\"k\",\"label\":{number}}}");
        check(Kind::Json, body, &format!("key=k label={want}"));
    }
}

#[test]
fn an_odd_row_of_json_is_refused_by_itself() {
    let body = r#"[
        {"key":"k","label":[1]}, 7, {"kye":"k","label":1}, {"key":"k","label":NaN},
        {"key":"k","key":"l","label":1}, {"key":1.5,"label":1}, {"request_id":"r","row":-1,"label":1},
        {"prediction_id":5,"label":1}, {}, {"key":"k","label":null}, {"key":"","label":1}]"#;
    check(
        Kind::Json,
        body,
        "no: `label` is a list or an object, want text, a number or a truth value
         no: it is not an object
         no: there is no column `kye`; the columns are prediction_id, request_id, row, key, from, to, label, at
         no: `label` is `NaN`, want text, a number or a truth value
         no: `key` is given twice
         no: `key` is `1.5e0`, want text or a whole number
         no: `row` is `-1`, want the number of a row, from 0
         no: `prediction_id` is `5`, want text

         key=k
         label=1
         ",
    );
}

#[test]
fn metrics_are_read_as_labels_are_with_a_name_and_a_number() {
    let of = |kind, body: &str| {
        let limits = Limits::default();
        show(decode(Of::Metrics, kind, body.as_bytes(), &limits))
    };
    let list =
        r#"[{"prediction_id":"a.0","name":"revenue","value":12.50},{"key":7,"value":"1e3"}]"#;
    let want = "id=a.0 name=revenue label=12.5\nkey=7 label=1000";
    assert_eq!(of(Kind::Json, list), want);
    assert_eq!(of(Kind::Json, &format!("{{\"metrics\": {list}}}")), want);
    let table = "request_id,value,name\nr,-0.5,margin\nr,inf,margin\nr,,margin\nr,free,\n";
    assert_eq!(
        of(Kind::Csv, table),
        "request=r name=margin label=-0.5\n\
         no: `value` is `inf`, want a number\n\
         request=r name=margin\n\
         no: `value` is `free`, want a number"
    );
    for (wrong, want) in [
        ("true", "no: `value` is `true`, want a number"),
        ("1e999", "no: `value` is `inf`, want a number"),
        ("NaN", "no: `value` is `NaN`, want a number"),
        ("[1]", "no: `value` is a list or an object, want a number"),
    ] {
        let line = format!("{{\"key\":\"k\",\"value\":{wrong}}}");
        assert_eq!(of(Kind::Jsonl, &line), want);
    }
    assert_eq!(
        of(Kind::Jsonl, r#"{"key":"k","label":1}"#),
        "no: there is no column `label`; the columns are prediction_id, request_id, row, key, from, to, name, \
         value, at"
    );
    assert_eq!(
        of(Kind::Csv, "key,name\n"),
        "refused: column `value` is missing"
    );
    assert_eq!(
        of(Kind::Json, r#"{"metrics":[],"labels":[]}"#),
        "refused: the metrics cannot be read: beside `metrics` there is `labels`"
    );
}

#[test]
fn what_is_no_json_refuses_the_document_and_only_the_line() {
    check(
        Kind::Json,
        "[{\"key\":\"k\",\"label\":1},{]",
        "refused: the labels cannot be read: at byte 24: expected a string",
    );
    check(
        Kind::Json,
        "",
        "refused: the labels cannot be read: at byte 0: it is neither a label nor a list of labels",
    );
    check(
        Kind::Json,
        r#"{"labels":[],"model":"m"}"#,
        "refused: the labels cannot be read: beside `labels` there is `model`",
    );
    check(
        Kind::Jsonl,
        "\u{feff}{\"key\":\"a\",\"label\":1}\r\n\r\n{\"key\":\n[]\n{\"key\":\"b\",\"label\":2} 3\n\
         {\"key\":\"c\",\"label\":3}",
        "key=a label=1
         no: the line cannot be read: at byte 7: expected a value
         no: it is not an object
         no: the line cannot be read: at byte 22: the JSON has ended, yet more follows
         key=c label=3",
    );
    check(Kind::Jsonl, "", "");
    check(
        Kind::Jsonl,
        "\0\0\0\n",
        "no: the line cannot be read: at byte 0: expected a value",
    );
    let deep = "[".repeat(100_000);
    let wrong = "the line cannot be read: at byte 65: it is nested deeper than 64 levels";
    check(Kind::Jsonl, &deep, &format!("no: {wrong}"));
    check(
        Kind::Jsonl,
        format!("{{\"label\":{deep}"),
        "no: the line cannot be read: at byte 73: it is nested deeper than 64 levels",
    );
    let wrong = "the labels cannot be read: at byte 65: it is nested deeper than 64 levels";
    check(Kind::Json, &deep, &format!("refused: {wrong}"));
}

#[test]
fn a_table_of_csv_is_read_by_its_header() {
    check(
        Kind::Csv,
        "\u{feff}label,key,at\r\nbad,\"a \"\"b\"\"\nc\",2026-11-24\r\n\r\n1.0,7,\r\n",
        "key=a \"b\"\nc label=bad at=2026-11-24
         key=7 label=1.0",
    );
}

#[test]
fn an_odd_line_of_csv_is_refused_by_itself() {
    let mut body = b"prediction_id,row,label\na.0,1,x\na.0,1\na.0,1,x,y\na.0,one,x\n".to_vec();
    body.extend_from_slice(b"a.0,1,\xff\n,,\na\0,1,\0\n");
    check(
        Kind::Csv,
        body,
        "id=a.0 row=1 label=x
         no: it has 2 fields, the header has 3
         no: it has 4 fields, the header has 3
         no: `row` is `one`, want the number of a row, from 0
         no: `label` is not UTF-8

         id=a\0 row=1 label=\0",
    );
    let huge = "x".repeat(1_000_000);
    let wrong = format!(
        "no: `row` is `{}...`, want the number of a row, from 0",
        "x".repeat(40)
    );
    check(Kind::Csv, format!("key,row,label\nk,{huge},1\n"), &wrong);
    let open = format!("key,label\nk,\"{huge}");
    check(Kind::Csv, open, &format!("key=k label={huge}"));
}

#[test]
fn columns_that_make_no_label_are_refused_by_name() {
    let none = "refused: column `prediction_id`, `request_id` or `key` is missing";
    check(Kind::Csv, "", none);
    check(Kind::Csv, "label\n", none);
    check(Kind::Csv, "key\n1\n", "refused: column `label` is missing");
    check(Kind::Csv, "key,label\n", "");
    check(
        Kind::Csv,
        "key,label,from_\n",
        "refused: the labels cannot be read: there is no column `from_`; the columns are \
         prediction_id, request_id, row, key, from, to, label, at",
    );
    check(
        Kind::Csv,
        "key,label,key\n",
        "refused: the labels cannot be read: column `key` is there twice",
    );
    check(
        Kind::Csv,
        "k\0e\0y\0,\0l\0\n",
        "refused: the labels cannot be read: there is no column `k\0e\0y\0`; the columns are \
         prediction_id, request_id, row, key, from, to, label, at",
    );
}

#[test]
fn more_labels_than_a_body_may_have_are_refused() {
    let limits = Limits {
        labels_max: 2,
        ..Limits::default()
    };
    let lines = |count| "{\"key\":1,\"label\":1}\n".repeat(count);
    let table = |count| format!("key,label\n{}", "1,1\n".repeat(count));
    let list = |count| format!("[{}]", vec!["{}"; count].join(","));
    let parquet = file("required int64 key; required boolean label;");
    let decoded =
        |kind, body: &[u8], limits| decode(Of::Labels, kind, body, limits).map(|it| it.len());
    let over = Refusal::TooLarge {
        what: "the number of labels",
        limit: 2,
        got: None,
    };
    for (kind, make) in [
        (Kind::Jsonl, &lines as &dyn Fn(usize) -> String),
        (Kind::Csv, &table),
        (Kind::Json, &list),
    ] {
        assert_eq!(
            decoded(kind, make(2).as_bytes(), &limits),
            Ok(2),
            "{kind:?}"
        );
        assert_eq!(
            decoded(kind, make(3).as_bytes(), &limits),
            Err(over.clone()),
            "{kind:?}"
        );
    }
    assert_eq!(decoded(Kind::Parquet, &parquet, &limits), Ok(2));
    let less = Limits {
        labels_max: 1,
        ..limits
    };
    assert!(decoded(Kind::Parquet, &parquet, &less).is_err());
}

/// A table of two rows.
fn file(schema: &str) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(&format!("message m {{ {schema} }}")).expect("one"));
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build())).expect("one");
    let mut group = writer.next_row_group().expect("one");
    while let Some(mut column) = group.next_column().expect("one") {
        let written = match column.untyped() {
            ColumnWriter::ByteArrayColumnWriter(it) => {
                it.write_batch(&[ByteArray::from("a"), ByteArray::from("")], None, None)
            }
            ColumnWriter::Int64ColumnWriter(it) => it.write_batch(&[7, i64::MAX], None, None),
            ColumnWriter::DoubleColumnWriter(it) => it.write_batch(&[1.0], Some(&[0, 1]), None),
            ColumnWriter::BoolColumnWriter(it) => it.write_batch(&[true, false], None, None),
            _ => panic!("no such column here"),
        };
        written.expect("the values");
        column.close().expect("the column");
    }
    group.close().expect("the group");
    writer.close().expect("the file");
    bytes
}

#[test]
fn a_table_of_parquet_is_read_by_its_columns() {
    check(
        Kind::Parquet,
        file("required binary prediction_id (UTF8); optional double label;"),
        "id=a
         label=1",
    );
    check(
        Kind::Parquet,
        file("required int64 key; required boolean label;"),
        "key=7 label=true
         key=9223372036854775807 label=false",
    );
    check(
        Kind::Parquet,
        file("required int64 key; required int64 row; required binary label (UTF8);"),
        "row=7 key=7 label=a
         no: `row` is `9223372036854775807`, want the number of a row, from 0",
    );
    check(
        Kind::Parquet,
        file("required int64 key; required boolean lable;"),
        "refused: the labels cannot be read: there is no column `lable`; the columns are \
         prediction_id, request_id, row, key, from, to, label, at",
    );
    check(
        Kind::Parquet,
        "PAR1",
        "refused: the Parquet body cannot be read: it does not begin and end with `PAR1`",
    );
}
