//! Labels that callers send, what turned out to be true of predictions that were made; and metrics, numbers such as a
//! revenue that they brought.
//!
//! R1. A row that cannot be read is refused by itself, and the others are taken: of a million labels from
//!     somebody's warehouse a few are always odd. Only what is wrong with all of them (the syntax of a JSON
//!     document, the columns of a table) refuses the body.
//! R2. A column that is not known is refused, not passed over: it may be a misspelled `from`.
//! R3. Nothing, `null` and text without a character are the same: no value.
//! R4. Numbers are text from here on, in the shortest form that reads as the same number: `1`, `0.5`.

use bytes::Bytes;
use domain::Refusal;
use domain::frame::Column;
use domain::limits::Limits;

use crate::json::{Kind as Next, Reader, Token};
use crate::number::Decimal;
use crate::rows;

/// A label as it was told, or a metric. Whether it names a prediction, and one only, is for others to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelRow {
    /// The prediction's id.
    pub prediction_id: Option<String>,
    /// The id that the caller gave the request.
    pub request_id: Option<String>,
    /// The row of that request.
    pub row: Option<u32>,
    /// The key of predictions, such as a customer's number.
    pub key: Option<String>,
    /// The beginning of the time in which predictions of that key are meant.
    pub from: Option<String>,
    /// Its end.
    pub to: Option<String>,
    /// The metric's name; of a label none.
    pub name: Option<String>,
    /// What turned out to be true: a class's name, or a number. Of a metric its value.
    pub label: Option<String>,
    /// When it became known.
    pub at: Option<String>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Labels.
    Labels,
    /// Metrics.
    Metrics,
}

/// How labels are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One label, a list of them, or an object with the list `labels`.
    Json,
    /// A label a line.
    Jsonl,
    /// A table with a header.
    Csv,
    /// A table.
    Parquet,
}

/// The columns that say which predictions are meant. A table needs one of them.
pub const TARGETS: [&str; 3] = ["prediction_id", "request_id", "key"];

/// The most characters of a value that a reason repeats.
const SHOWN: usize = 40;

impl Of {
    /// The columns, as they are named in a table and in JSON.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Labels => &[
                "prediction_id",
                "request_id",
                "row",
                "key",
                "from",
                "to",
                "label",
                "at",
            ],
            Self::Metrics => &[
                "prediction_id",
                "request_id",
                "row",
                "key",
                "from",
                "to",
                "name",
                "value",
                "at",
            ],
        }
    }

    /// The one of them that a table needs.
    pub fn needed(self) -> &'static str {
        match self {
            Self::Labels => "label",
            Self::Metrics => "value",
        }
    }

    /// What they are together: `labels`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Metrics => "metrics",
        }
    }

    fn one(self) -> &'static str {
        match self {
            Self::Labels => "label",
            Self::Metrics => "metric",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Labels => "the labels",
            Self::Metrics => "the metrics",
        }
    }
}

impl Kind {
    /// The kind that a content type names, whatever its parameters.
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is = |it: &&str| essence.eq_ignore_ascii_case(it);
        let kinds: [(Self, &[&str]); 4] = [
            (Self::Json, &["application/json"]),
            (
                Self::Jsonl,
                &[
                    "application/jsonl",
                    "application/x-ndjson",
                    "application/json-lines",
                ],
            ),
            (Self::Csv, &["text/csv"]),
            (Self::Parquet, &["application/vnd.apache.parquet"]),
        ];
        let found = kinds.into_iter().find(|(_, names)| names.iter().any(is));
        found.map(|(kind, _)| kind)
    }
}

/// The labels of a body in their order, or its metrics, each with its reason where it cannot be read. Lines without
/// anything on them are no labels and are not counted.
pub fn decode(
    of: Of,
    kind: Kind,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Vec<Result<LabelRow, String>>, Refusal> {
    match kind {
        Kind::Json => json(of, bytes, limits),
        Kind::Jsonl => json_lines(of, bytes, limits),
        Kind::Csv => csv(of, bytes, limits),
        Kind::Parquet => parquet(of, bytes, limits),
    }
}

/// What has been read so far, and how much it may become.
struct Labels {
    of: Of,
    rows: Vec<Result<LabelRow, String>>,
    rows_max: u64,
}

impl Labels {
    fn new(of: Of, limits: &Limits) -> Self {
        Self {
            of,
            rows: Vec::new(),
            rows_max: limits.labels_max,
        }
    }

    /// Refuses the row over the limit before it is read.
    fn check_room(&self) -> Result<(), Refusal> {
        if (self.rows.len() as u64) < self.rows_max {
            return Ok(());
        }
        Err(Refusal::TooLarge {
            what: match self.of {
                Of::Labels => "the number of labels",
                Of::Metrics => "the number of metrics",
            },
            limit: self.rows_max,
            got: None,
        })
    }
}

fn malformed(of: Of, why: String) -> Refusal {
    let what = of.what();
    Refusal::Malformed { what, why }
}

/// Windows puts a byte-order mark in front of what it calls UTF-8.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn json(of: Of, bytes: &[u8], limits: &Limits) -> Result<Vec<Result<LabelRow, String>>, Refusal> {
    let mut reader = Reader::new(without_mark(bytes), limits.json_depth_max, of.what());
    let mut labels = Labels::new(of, limits);
    match reader.kind() {
        Next::Array => list(&mut reader, &mut labels)?,
        Next::Object if wraps_a_list(of, &reader) => reader.object(|reader, key| {
            let list_of = of.plural();
            if key != list_of {
                let key = excerpt(&key);
                return Err(malformed(
                    of,
                    format!("beside `{list_of}` there is `{key}`"),
                ));
            }
            list(reader, &mut labels)
        })?,
        Next::Object => labels.rows.push(object(of, &mut reader)?),
        Next::Scalar => {
            let (one, all) = (of.one(), of.plural());
            let why = format!("it is neither a {one} nor a list of {all}");
            return Err(reader.malformed(&why));
        }
    }
    reader.end()?;
    Ok(labels.rows)
}

/// Whether the object's first key is the one of the list.
fn wraps_a_list(of: Of, reader: &Reader<'_>) -> bool {
    let mut reader = reader.clone();
    reader.take(b'{') && reader.next() == b'"' && reader.text().is_ok_and(|it| it == of.plural())
}

fn list(reader: &mut Reader<'_>, labels: &mut Labels) -> Result<(), Refusal> {
    reader.array(|reader| {
        labels.check_room()?;
        labels.rows.push(object(labels.of, reader)?);
        Ok(())
    })
}

fn json_lines(
    of: Of,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Vec<Result<LabelRow, String>>, Refusal> {
    let mut labels = Labels::new(of, limits);
    for line in without_mark(bytes).split(|it| *it == b'\n') {
        if line.trim_ascii().is_empty() {
            continue;
        }
        labels.check_room()?;
        let mut reader = Reader::new(line, limits.json_depth_max, "the line");
        let read = object(of, &mut reader).and_then(|row| {
            reader.end()?;
            Ok(row)
        });
        labels
            .rows
            .push(read.unwrap_or_else(|refusal| Err(refusal.to_string())));
    }
    Ok(labels.rows)
}

/// The label that comes next, or what is wrong with it. Only what is no JSON is a refusal.
fn object(of: Of, reader: &mut Reader<'_>) -> Result<Result<LabelRow, String>, Refusal> {
    if reader.kind() != Next::Object {
        reader.skip()?;
        return Ok(Err("it is not an object".to_owned()));
    }
    let mut row = LabelRow::default();
    let mut wrong: Option<String> = None;
    let columns = of.columns();
    let mut given = vec![false; columns.len()];
    reader.object(|reader, key| {
        let Some(column) = columns.iter().position(|it| *it == key) else {
            wrong.get_or_insert_with(|| unknown(of, &key));
            return reader.skip();
        };
        if std::mem::replace(&mut given[column], true) {
            wrong.get_or_insert_with(|| format!("`{key}` is given twice"));
            return reader.skip();
        }
        let value = value(reader)?;
        if let Err(why) = row.set(columns[column], value) {
            wrong.get_or_insert(why);
        }
        Ok(())
    })?;
    Ok(wrong.map_or(Ok(row), Err))
}

/// A value of a label, before it is known whether it fits.
enum Value {
    Nothing,
    Bool(bool),
    /// A whole number.
    Whole(String),
    /// Another one.
    Number(f64),
    Text(String),
    /// Something else, in words.
    Other(String),
}

fn value(reader: &mut Reader<'_>) -> Result<Value, Refusal> {
    if reader.kind() != Next::Scalar {
        reader.skip()?;
        return Ok(Value::Other("a list or an object".to_owned()));
    }
    Ok(match reader.token()? {
        Token::Null => Value::Nothing,
        Token::Bool(truth) => Value::Bool(truth),
        Token::Text(text) => Value::Text(text.into_owned()),
        Token::Number(decimal) => number(decimal),
        Token::Word(word, _) => Value::Other(format!("`{word}`")),
    })
}

fn number(decimal: Decimal<'_>) -> Value {
    match decimal.to_integer() {
        Some(whole) => Value::Whole(whole.to_string()),
        None => of_double(decimal.to_f64()),
    }
}

fn of_double(number: f64) -> Value {
    /// Up to here every whole number is a double, so none of them stands for a neighbour.
    const EXACT_MAX: f64 = (1u64 << 53) as f64;
    if number.fract() == 0.0 && number.abs() < EXACT_MAX {
        return Value::Whole((number as i64).to_string());
    }
    Value::Number(number)
}

impl LabelRow {
    /// Sets what the column of this name, one of [`Of::columns`], says.
    fn set(&mut self, column: &str, value: Value) -> Result<(), String> {
        let value = match value {
            Value::Nothing => return Ok(()),
            Value::Text(text) if text.is_empty() => return Ok(()),
            value => value,
        };
        match column {
            "prediction_id" => self.prediction_id = Some(value.text(column)?),
            "request_id" => self.request_id = Some(value.name(column)?),
            "row" => self.row = Some(value.row(column)?),
            "key" => self.key = Some(value.name(column)?),
            "from" => self.from = Some(value.text(column)?),
            "to" => self.to = Some(value.text(column)?),
            "name" => self.name = Some(value.text(column)?),
            "label" => self.label = Some(value.label(column)?),
            "value" => self.label = Some(value.number(column)?),
            _ => self.at = Some(value.text(column)?),
        }
        Ok(())
    }
}

impl Value {
    fn text(self, column: &str) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(other.wrong(column, "text")),
        }
    }

    /// Ids are often numbers in the tables that they come from.
    fn name(self, column: &str) -> Result<String, String> {
        match self {
            Self::Text(text) | Self::Whole(text) => Ok(text),
            other => Err(other.wrong(column, "text or a whole number")),
        }
    }

    fn label(self, column: &str) -> Result<String, String> {
        match self {
            Self::Text(text) | Self::Whole(text) => Ok(text),
            Self::Bool(truth) => Ok(truth.to_string()),
            Self::Number(number) if number.is_finite() => Ok(shortest(number)),
            other => Err(other.wrong(column, "text, a number or a truth value")),
        }
    }

    fn number(self, column: &str) -> Result<String, String> {
        match self {
            Self::Whole(text) => Ok(text),
            Self::Number(number) if number.is_finite() => Ok(shortest(number)),
            Self::Text(text) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(shortest(number)),
                _ => Err(Self::Text(text).wrong(column, "a number")),
            },
            other => Err(other.wrong(column, "a number")),
        }
    }

    fn row(self, column: &str) -> Result<u32, String> {
        let row = match &self {
            Self::Text(text) | Self::Whole(text) => text.parse().ok(),
            Self::Nothing | Self::Bool(_) | Self::Number(_) | Self::Other(_) => None,
        };
        row.ok_or_else(|| self.wrong(column, "the number of a row, from 0"))
    }

    fn wrong(&self, column: &str, want: &str) -> String {
        let got = match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Bool(truth) => format!("`{truth}`"),
            Self::Number(number) => format!("`{number:e}`"),
            Self::Whole(text) | Self::Text(text) => format!("`{}`", excerpt(text)),
            Self::Other(words) => words.clone(),
        };
        format!("`{column}` is {got}, want {want}")
    }
}

fn shortest(number: f64) -> String {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(number);
    text.strip_suffix(".0").unwrap_or(text).to_owned()
}

fn unknown(of: Of, column: &str) -> String {
    let column = excerpt(column);
    format!(
        "there is no column `{column}`; the columns are {}",
        of.columns().join(", ")
    )
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether labels can be made of a table with these columns.
fn check_columns<'a>(of: Of, names: impl Iterator<Item = &'a str> + Clone) -> Result<(), Refusal> {
    for (index, name) in names.clone().enumerate() {
        if !of.columns().contains(&name) {
            return Err(malformed(of, unknown(of, name)));
        }
        if names.clone().take(index).any(|it| it == name) {
            return Err(malformed(of, format!("column `{name}` is there twice")));
        }
    }
    let has = |name: &str| names.clone().any(|it| it == name);
    let missing = |column: &str| {
        Err(Refusal::MissingColumn {
            column: column.to_owned(),
        })
    };
    if !TARGETS.into_iter().any(has) {
        return missing("prediction_id`, `request_id` or `key");
    }
    if !has(of.needed()) {
        return missing(of.needed());
    }
    Ok(())
}

fn csv(of: Of, bytes: &[u8], limits: &Limits) -> Result<Vec<Result<LabelRow, String>>, Refusal> {
    let refuse = |error: csv::Error| malformed(of, error.to_string().to_lowercase());
    // Flexible: a line of another length than the header is refused here, by itself.
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let names: Vec<String> = {
        let header = reader.byte_headers().map_err(refuse)?;
        let names = header.iter().map(String::from_utf8_lossy);
        names.map(|it| it.into_owned()).collect()
    };
    check_columns(of, names.iter().map(String::as_str))?;
    let mut labels = Labels::new(of, limits);
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(refuse)? {
        labels.check_room()?;
        labels.rows.push(csv_row(&names, &record));
    }
    Ok(labels.rows)
}

fn csv_row(names: &[String], record: &csv::ByteRecord) -> Result<LabelRow, String> {
    if record.len() != names.len() {
        let (got, want) = (record.len(), names.len());
        return Err(format!("it has {got} fields, the header has {want}"));
    }
    let mut row = LabelRow::default();
    for (name, field) in names.iter().zip(record) {
        let text = std::str::from_utf8(field).map_err(|_| format!("`{name}` is not UTF-8"))?;
        row.set(name, Value::Text(text.to_owned()))?;
    }
    Ok(row)
}

fn parquet(
    of: Of,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Vec<Result<LabelRow, String>>, Refusal> {
    let table = rows::read_parquet(&Bytes::copy_from_slice(bytes), limits)?;
    check_columns(of, table.columns.iter().map(|(name, _)| name.as_str()))?;
    let mut labels = Labels::new(of, limits);
    for index in 0..table.rows {
        labels.check_room()?;
        let mut row = LabelRow::default();
        let set = table
            .columns
            .iter()
            .try_for_each(|(name, column)| row.set(name, cell(column, index)));
        labels.rows.push(set.map(|()| row));
    }
    Ok(labels.rows)
}

/// A column's value in a row. That there is none is told by NaN where it holds numbers.
fn cell(column: &Column, index: usize) -> Value {
    let value = match column {
        Column::Numbers(all) => all
            .get(index)
            .filter(|it| !it.is_nan())
            .map(|it| of_double(*it)),
        Column::Integers(all) => all.get(index).map(|it| Value::Whole(it.to_string())),
        Column::Booleans(all) => all.get(index).map(|it| Value::Bool(*it)),
        Column::Strings(all) => all.get(index).cloned().flatten().map(Value::Text),
    };
    value.unwrap_or(Value::Nothing)
}

#[cfg(test)]
mod tests;
