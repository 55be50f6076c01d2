//! JSON bodies: which form they have, and the tensors of each.

use std::collections::HashMap;

use domain::frame::{self, Frame, column_names};
use domain::limits::Limits;
use domain::request::NamedTensor;
use domain::signature::names;
use domain::{Refusal, Signature, Tensor, TensorSpec};

use super::nested::{read_row, read_tensor};
use super::table::{Cells, read_cell};
use super::{WHAT, check_columns, malformed};
use crate::json::{Kind, Reader, Token};

/// Values that rows may leave out in any case; more must be matched by bytes that were sent. Without such a
/// bound `{}` would be a row of any width.
const LEFT_OUT_MAX: usize = 1 << 20;

/// Where each form begins in a body.
#[derive(Default)]
struct Forms<'a> {
    instances: Option<Reader<'a>>,
    inputs: Option<Reader<'a>>,
    split: Option<Reader<'a>>,
    records: Option<Reader<'a>>,
}

/// The inputs in a body of KServe V1, TensorFlow Serving or Vertex AI.
pub fn decode_v1(
    body: &[u8],
    signature: &Signature,
    limits: &Limits,
) -> Result<Vec<NamedTensor>, Refusal> {
    let forms = forms(body, limits, "the request needs `instances` or `inputs`")?;
    match forms {
        Forms {
            instances: Some(reader),
            inputs: None,
            ..
        } => instances(reader, signature, limits),
        Forms {
            instances: None,
            inputs: Some(reader),
            ..
        } => inputs(reader, signature, limits),
        _ => Err(malformed(
            "it needs exactly one of `instances` and `inputs`".to_owned(),
        )),
    }
}

/// The inputs in a body for MLflow's scoring server.
pub fn decode_mlflow(
    body: &[u8],
    signature: &Signature,
    limits: &Limits,
) -> Result<Vec<NamedTensor>, Refusal> {
    let one_of = "it needs exactly one of `dataframe_split`, `dataframe_records`, `instances` and \
                  `inputs`";
    let Forms {
        instances: rows,
        inputs: tensors,
        split,
        records,
    } = forms(body, limits, one_of)?;
    match (rows, tensors, split, records) {
        (Some(reader), None, None, None) => instances(reader, signature, limits),
        (None, Some(reader), None, None) => inputs(reader, signature, limits),
        (None, None, Some(reader), None) => dataframe_split(reader, signature, limits),
        (None, None, None, Some(reader)) => dataframe_records(reader, signature),
        _ => Err(malformed(one_of.to_owned())),
    }
}

fn forms<'a>(body: &'a [u8], limits: &Limits, want: &str) -> Result<Forms<'a>, Refusal> {
    let mut reader = Reader::new(body, limits.json_depth_max, WHAT);
    if reader.kind() != Kind::Object {
        return Err(malformed(want.to_owned()));
    }
    let mut forms = Forms::default();
    reader.object(|reader, key| {
        let slot = match &*key {
            "instances" => &mut forms.instances,
            "inputs" => &mut forms.inputs,
            "dataframe_split" => &mut forms.split,
            "dataframe_records" => &mut forms.records,
            "params" | "parameters" => return no_parameters(reader, &key),
            _ => return reader.skip(),
        };
        if slot.is_some() {
            return Err(reader.malformed(&format!("`{key}` is given twice")));
        }
        reader.next();
        *slot = Some(reader.clone());
        reader.skip()
    })?;
    reader.end()?;
    Ok(forms)
}

fn no_parameters(reader: &mut Reader<'_>, key: &str) -> Result<(), Refusal> {
    if reader.kind() != Kind::Object {
        return match reader.token()? {
            Token::Null => Ok(()),
            _ => Err(reader.malformed(&format!("`{key}` is not an object"))),
        };
    }
    reader.object(|_, name| {
        let name: String = name.chars().take(40).collect();
        Err(Refusal::Unsupported {
            what: format!("parameter `{name}` in `{key}`"),
            hint: "leave it out: the model's answer depends on its inputs alone".to_owned(),
        })
    })
}

fn only_input(signature: &Signature) -> Result<&TensorSpec, Refusal> {
    match &signature.inputs[..] {
        [input] => Ok(input),
        inputs => Err(Refusal::Unsupported {
            what: format!(
                "a list without names for a model with {} inputs",
                inputs.len()
            ),
            hint: format!("send objects with the names {}", names(inputs.iter())),
        }),
    }
}

fn input<'a>(signature: &'a Signature, name: &str) -> Result<&'a TensorSpec, Refusal> {
    signature.input(name).ok_or_else(|| Refusal::UnknownInput {
        input: name.to_owned(),
        known: names(signature.inputs.iter()),
    })
}

/// `instances`: a list of rows.
fn instances(
    mut reader: Reader<'_>,
    signature: &Signature,
    limits: &Limits,
) -> Result<Vec<NamedTensor>, Refusal> {
    let mut first = reader.clone();
    if !first.take(b'[') {
        return Err(reader.malformed("`instances` is not a list"));
    }
    if first.kind() != Kind::Object {
        let spec = only_input(signature)?;
        return Ok(vec![read_tensor(&mut reader, spec, limits)?]);
    }
    let mut by_input = true;
    let mut any_list = false;
    first.object(|reader, key| {
        by_input &= signature.input(&key).is_some();
        any_list |= reader.kind() == Kind::Array;
        reader.skip()
    })?;
    // Single values under the names of inputs are columns as well; the table fills in what is missing.
    if by_input && (any_list || column_names(signature).is_none()) {
        return instances_by_input(reader, signature, limits);
    }
    dataframe_records(reader, signature)
}

fn instances_by_input(
    mut reader: Reader<'_>,
    signature: &Signature,
    limits: &Limits,
) -> Result<Vec<NamedTensor>, Refusal> {
    let mut rows: Vec<(&TensorSpec, Vec<Tensor>)> = Vec::new();
    let mut count = 0;
    reader.array(|reader| {
        reader.object(|reader, key| {
            let spec = input(signature, &key)?;
            let tensor = read_row(reader, spec, limits)?;
            let index = rows.iter().position(|(it, _)| it.name == spec.name);
            let index = index.unwrap_or_else(|| {
                rows.push((spec, Vec::new()));
                rows.len() - 1
            });
            let own = &mut rows[index].1;
            own.push(tensor);
            match own.len() == count + 1 {
                true => Ok(()),
                false => {
                    Err(reader
                        .malformed(&format!("`{}` is not exactly once in every row", spec.name)))
                }
            }
        })?;
        count += 1;
        Ok(())
    })?;
    rows.into_iter()
        .map(|(spec, tensors)| {
            if tensors.len() != count {
                return Err(malformed(format!("`{}` is not in every row", spec.name)));
            }
            let all: Vec<&Tensor> = tensors.iter().collect();
            let tensor = Tensor::join(&all).ok_or_else(|| {
                malformed(format!("the rows of `{}` have different shapes", spec.name))
            })?;
            Ok(NamedTensor {
                name: spec.name.clone(),
                tensor,
            })
        })
        .collect()
}

/// `inputs`: a list for the only input, or lists by the names of inputs or of columns.
fn inputs(
    mut reader: Reader<'_>,
    signature: &Signature,
    limits: &Limits,
) -> Result<Vec<NamedTensor>, Refusal> {
    if reader.kind() != Kind::Object {
        let spec = only_input(signature)?;
        return Ok(vec![read_tensor(&mut reader, spec, limits)?]);
    }
    let mut by_column = true;
    reader.clone().object(|reader, key| {
        by_column &= signature.input(&key).is_none();
        reader.skip()
    })?;
    let known = column_names(signature).is_some();
    if by_column && known {
        let mut columns = Vec::new();
        reader.object(|reader, key| {
            let mut cells = Cells::default();
            reader.array(|reader| {
                cells.push(read_cell(reader)?);
                Ok(())
            })?;
            check_columns(columns.len() + 1)?;
            columns.push((key.into_owned(), cells));
            Ok(())
        })?;
        return table(columns, signature);
    }
    let mut tensors: Vec<NamedTensor> = Vec::new();
    reader.object(|reader, key| {
        let spec = input(signature, &key)?;
        if tensors.iter().any(|it| it.name == spec.name) {
            return Err(Refusal::DuplicateInput {
                input: spec.name.clone(),
            });
        }
        tensors.push(read_tensor(reader, spec, limits)?);
        Ok(())
    })?;
    Ok(tensors)
}

/// `{"columns": [..], "index": [..], "data": [[..], ..]}`, as pandas writes a table.
fn dataframe_split(
    mut reader: Reader<'_>,
    signature: &Signature,
    limits: &Limits,
) -> Result<Vec<NamedTensor>, Refusal> {
    let mut columns: Option<Vec<String>> = None;
    let mut data: Option<Reader<'_>> = None;
    reader.object(|reader, key| match &*key {
        "columns" => {
            let mut names = Vec::new();
            reader.array(|reader| {
                names.push(match reader.token()? {
                    Token::Text(text) => text.into_owned(),
                    Token::Number(decimal) => decimal.text().to_owned(),
                    Token::Null | Token::Bool(_) | Token::Word(..) => {
                        return Err(reader.malformed("expected a column's name"));
                    }
                });
                Ok(())
            })?;
            columns = Some(names);
            Ok(())
        }
        "data" => {
            reader.next();
            data = Some(reader.clone());
            reader.skip()
        }
        _ => reader.skip(),
    })?;
    let mut data = data.ok_or_else(|| malformed("`dataframe_split` has no `data`".to_owned()))?;
    let Some(columns) = columns else {
        let spec = only_input(signature)?;
        return Ok(vec![read_tensor(&mut data, spec, limits)?]);
    };
    check_columns(columns.len())?;
    let mut cells: Vec<Cells> = columns.iter().map(|_| Cells::default()).collect();
    let mut row = 0;
    data.array(|reader| {
        let mut filled = 0;
        reader.array(|reader| {
            let cell = read_cell(reader)?;
            if let Some(cells) = cells.get_mut(filled) {
                cells.push(cell);
            }
            filled += 1;
            Ok(())
        })?;
        if filled != cells.len() {
            let want = cells.len();
            return Err(malformed(format!(
                "row {row} has {filled} values for {want} columns"
            )));
        }
        row += 1;
        Ok(())
    })?;
    table(columns.into_iter().zip(cells).collect(), signature)
}

/// A list of objects by the names of columns.
fn dataframe_records(
    mut reader: Reader<'_>,
    signature: &Signature,
) -> Result<Vec<NamedTensor>, Refusal> {
    let known = column_names(signature);
    let cells_max = reader.remaining() + LEFT_OUT_MAX;
    let mut columns: Vec<(String, Cells)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut row = 0;
    reader.array(|reader| {
        let mut place = 0;
        reader.object(|reader, key| {
            // Rows mostly name their columns in the same order.
            let expected = columns.get(place).is_some_and(|(name, _)| *name == key);
            let index = match expected {
                true => Some(place),
                false => places.get(&*key).copied(),
            };
            let index = match index {
                Some(index) => index,
                None => {
                    check_column(known.as_deref(), &key)?;
                    check_columns(columns.len() + 1)?;
                    places.insert(key.clone().into_owned(), columns.len());
                    columns.push((key.clone().into_owned(), Cells::missing(row)));
                    columns.len() - 1
                }
            };
            place = index + 1;
            let cells = &mut columns[index].1;
            if cells.len() > row {
                return Err(reader.malformed(&format!("`{key}` is given twice in row {row}")));
            }
            cells.push(read_cell(reader)?);
            Ok(())
        })?;
        row += 1;
        if columns.len().saturating_mul(row) > cells_max {
            return Err(Refusal::TooLarge {
                what: "the number of values that the rows leave out",
                limit: LEFT_OUT_MAX as u64,
                got: None,
            });
        }
        for (_, cells) in &mut columns {
            cells.fill(row);
        }
        Ok(())
    })?;
    table(columns, signature)
}

fn table(
    columns: Vec<(String, Cells)>,
    signature: &Signature,
) -> Result<Vec<NamedTensor>, Refusal> {
    let columns: Result<Vec<_>, Refusal> = columns
        .into_iter()
        .map(|(name, cells)| {
            let column = cells.column(&name)?;
            Ok((name, column))
        })
        .collect();
    frame::inputs(&Frame::new(columns?)?, signature)
}

/// Refuses a column that the model does not have as soon as it is seen, so that rows with ever new names
/// cost nothing.
fn check_column(known: Option<&[&str]>, name: &str) -> Result<(), Refusal> {
    let Some(known) = known.filter(|known| !known.contains(&name)) else {
        return Ok(());
    };
    let known: Vec<String> = known.iter().map(|it| format!("`{it}`")).collect();
    Err(Refusal::UnknownColumn {
        column: name.chars().take(80).collect(),
        known: known.join(", "),
    })
}
