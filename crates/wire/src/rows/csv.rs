//! Tables as comma-separated values, their first line the columns' names (RFC 4180).

use domain::frame::{self, Column, Frame};
use domain::request::NamedTensor;
use domain::{DataType, Refusal, Signature};

use super::{check_columns, malformed};

/// What pandas takes for a missing value.
const MISSING: [&str; 9] = [
    "", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>",
];

/// The inputs in a table. What goes into a `BYTES` input is taken as it stands (`007`, `NA`); any other
/// column is of the narrowest type that holds all of its values: whole numbers, truth values, numbers, text.
pub fn decode_csv(body: &[u8], signature: &Signature) -> Result<Vec<NamedTensor>, Refusal> {
    let refuse = |error: csv::Error| malformed(error.to_string().to_lowercase());
    let mut reader = csv::ReaderBuilder::new().from_reader(body);
    let headers = reader.headers().map_err(refuse)?;
    let names: Vec<String> = headers.iter().map(str::to_owned).collect();
    check_columns(names.len())?;
    let mut columns: Vec<Vec<String>> = names.iter().map(|_| Vec::new()).collect();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(refuse)? {
        // The reader refuses lines of another length than the first.
        for (column, value) in columns.iter_mut().zip(&record) {
            column.push(value.to_owned());
        }
    }
    let columns = names.into_iter().zip(columns).map(|(name, values)| {
        let column = match is_text(signature, &name) {
            true => Column::Strings(values.into_iter().map(Some).collect()),
            false => column(&values),
        };
        (name, column)
    });
    frame::inputs(&Frame::new(columns.collect())?, signature)
}

/// Whether the column goes into an input of strings.
fn is_text(signature: &Signature, column: &str) -> bool {
    let only = signature.inputs.len() == 1;
    signature.inputs.iter().any(|input| {
        let takes = match &input.features[..] {
            [] => only || input.name == column,
            features => features.iter().any(|it| it == column),
        };
        takes && input.datatype == DataType::Bytes
    })
}

fn column(values: &[String]) -> Column {
    let missing = |it: &str| MISSING.contains(&it);
    let texts = || values.iter().map(String::as_str);
    // A missing value is neither a whole number nor a truth value, so such a column is one of numbers.
    if let Some(integers) = texts().map(|it| it.parse().ok()).collect() {
        return Column::Integers(integers);
    }
    if let Some(truths) = texts().map(truth).collect() {
        return Column::Booleans(truths);
    }
    let number = |it: &str| match missing(it) {
        true => Some(f64::NAN),
        false => it.trim().parse().ok(),
    };
    if let Some(numbers) = texts().map(number).collect() {
        return Column::Numbers(numbers);
    }
    let text = |it: &str| (!missing(it)).then(|| it.to_owned());
    Column::Strings(texts().map(text).collect())
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}
