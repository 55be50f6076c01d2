//! Tables as comma-separated values, their first line the columns' names (RFC 4180).

use domain::frame::{self, Column, Frame};
use domain::request::NamedTensor;
use domain::{Refusal, Signature};

use super::{check_columns, malformed};

/// What pandas takes for a missing value.
const MISSING: [&str; 9] = [
    "", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>",
];

/// The inputs in a table. A column is of the narrowest type that holds all of its values: whole numbers,
/// numbers, `true` and `false`, or text.
pub fn decode_csv(body: &[u8], signature: &Signature) -> Result<Vec<NamedTensor>, Refusal> {
    let refuse = |error: csv::Error| malformed(error.to_string().to_lowercase());
    let mut reader = csv::ReaderBuilder::new().from_reader(body);
    let names: Vec<String> = reader
        .headers()
        .map_err(refuse)?
        .iter()
        .map(str::to_owned)
        .collect();
    check_columns(names.len())?;
    let mut columns: Vec<Vec<Option<String>>> = names.iter().map(|_| Vec::new()).collect();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(refuse)? {
        // The reader refuses lines of another length than the first.
        for (column, value) in columns.iter_mut().zip(&record) {
            column.push((!MISSING.contains(&value)).then(|| value.to_owned()));
        }
    }
    let columns = names.into_iter().zip(columns.into_iter().map(column));
    frame::inputs(&Frame::new(columns.collect())?, signature)
}

fn column(values: Vec<Option<String>>) -> Column {
    let known = || values.iter().flatten().map(String::as_str);
    let complete = values.iter().all(Option::is_some);
    if known().next().is_none() {
        return Column::Strings(values);
    }
    if complete && let Some(integers) = known().map(|it| it.parse().ok()).collect() {
        return Column::Integers(integers);
    }
    if complete && let Some(truths) = known().map(truth).collect() {
        return Column::Booleans(truths);
    }
    let number = |it: &Option<String>| {
        it.as_deref()
            .map_or(Some(f64::NAN), |it| it.trim().parse().ok())
    };
    match values.iter().map(number).collect() {
        Some(numbers) => Column::Numbers(numbers),
        None => Column::Strings(values),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}
