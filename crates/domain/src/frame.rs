//! Named columns and how they become a model's inputs.
//!
//! R1. An input whose columns are named (`signature.features`) is filled by those names, in their order.
//! R2. An input of one value a row is the column with its own name.
//! R3. A single input of unnamed columns takes as many columns as it is wide, in the order given.
//! R4. A missing number is NaN where the input is a floating-point one and refused elsewhere; a missing
//!     string is the empty string.

use std::collections::HashSet;

use half::{bf16, f16};

use crate::refusal::Refusal;
use crate::request::NamedTensor;
use crate::signature::{Dimension, Signature, TensorSpec};
use crate::tensor::{DataType, Elements, Tensor};

/// The values of one column, one a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Numbers; NaN where one is missing.
    Numbers(Vec<f64>),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Truth values.
    Booleans(Vec<bool>),
    /// Text; none where it is missing.
    Strings(Vec<Option<String>>),
}

/// Columns of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Names and values, in the caller's order.
    pub columns: Vec<(String, Column)>,
    /// How many rows.
    pub rows: usize,
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Integers(values) => values.len(),
            Self::Booleans(values) => values.len(),
            Self::Strings(values) => values.len(),
        }
    }
}

impl Frame {
    /// A frame; refused when a name stands twice or a column's length differs from the first's.
    pub fn new(columns: Vec<(String, Column)>) -> Result<Self, Refusal> {
        let rows = columns.first().map_or(0, |(_, column)| column.len());
        let mut seen = HashSet::with_capacity(columns.len());
        for (name, column) in &columns {
            if !seen.insert(name) {
                return Err(Refusal::DuplicateInput {
                    input: name.clone(),
                });
            }
            if column.len() != rows {
                let (want, got) = (rows, column.len());
                return Err(Refusal::DifferentRows {
                    input: name.clone(),
                    want,
                    got,
                });
            }
        }
        Ok(Self { columns, rows })
    }

    fn column(&self, name: &str) -> Result<&Column, Refusal> {
        let found = self.columns.iter().find(|(it, _)| it == name);
        found
            .map(|(_, column)| column)
            .ok_or_else(|| Refusal::MissingColumn {
                column: name.to_owned(),
            })
    }
}

/// The names of the columns that a model takes; none when its inputs are not made of columns.
pub fn column_names(signature: &Signature) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for input in &signature.inputs {
        if !input.features.is_empty() {
            names.extend(input.features.iter().map(String::as_str));
        } else if is_one_value(input) {
            names.push(input.name.as_str());
        } else {
            return None;
        }
    }
    Some(names)
}

/// The model's inputs from columns. A column that no input takes is refused.
pub fn inputs(frame: &Frame, signature: &Signature) -> Result<Vec<NamedTensor>, Refusal> {
    if let [input] = &signature.inputs[..]
        && input.features.is_empty()
        && !is_one_value(input)
    {
        let columns: Vec<&(String, Column)> = frame.columns.iter().collect();
        let tensor = matrix(input, &columns, frame.rows)?;
        return Ok(vec![NamedTensor {
            name: input.name.clone(),
            tensor,
        }]);
    }
    let Some(names) = column_names(signature) else {
        let input = signature
            .inputs
            .iter()
            .find(|it| it.features.is_empty() && !is_one_value(it));
        let name = input.map_or("", |it| &it.name);
        return Err(Refusal::Unsupported {
            what: format!("making input `{name}` out of columns"),
            hint: "name its columns in `signature.features`, or send tensors".to_owned(),
        });
    };
    if let Some((unknown, _)) = frame
        .columns
        .iter()
        .find(|(name, _)| !names.contains(&name.as_str()))
    {
        let known: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        return Err(Refusal::UnknownColumn {
            column: unknown.clone(),
            known: known.join(", "),
        });
    }
    signature
        .inputs
        .iter()
        .map(|input| {
            let tensor = if input.features.is_empty() {
                let elements =
                    convert(input.datatype, &[(&input.name, frame.column(&input.name)?)])?;
                let mut shape = vec![frame.rows];
                shape.resize(input.shape.len(), 1);
                Tensor::new(shape, elements).ok_or_else(|| different_rows(&input.name))?
            } else {
                let columns: Result<Vec<(&str, &Column)>, Refusal> = input
                    .features
                    .iter()
                    .map(|name| Ok((name.as_str(), frame.column(name)?)))
                    .collect();
                let columns = columns?;
                let elements = convert(input.datatype, &columns)?;
                Tensor::new(vec![frame.rows, columns.len()], elements)
                    .ok_or_else(|| different_rows(&input.name))?
            };
            Ok(NamedTensor {
                name: input.name.clone(),
                tensor,
            })
        })
        .collect()
}

fn is_one_value(input: &TensorSpec) -> bool {
    match &input.shape[..] {
        [_] => true,
        [_, inner @ ..] => inner.iter().all(|it| *it == Dimension::Fixed(1)),
        [] => false,
    }
}

fn different_rows(input: &str) -> Refusal {
    Refusal::Internal {
        what: format!("columns of `{input}` differ in length"),
    }
}

fn matrix(
    input: &TensorSpec,
    columns: &[&(String, Column)],
    rows: usize,
) -> Result<Tensor, Refusal> {
    let shape = vec![rows, columns.len()];
    if !input.accepts_shape(&shape) {
        return Err(Refusal::WrongShape {
            input: input.name.clone(),
            want: crate::signature::show_dimensions(&input.shape),
            got: format!("{shape:?}"),
        });
    }
    let columns: Vec<(&str, &Column)> = columns
        .iter()
        .map(|(name, column)| (name.as_str(), column))
        .collect();
    Tensor::new(shape, convert(input.datatype, &columns)?)
        .ok_or_else(|| different_rows(&input.name))
}

/// The columns' values row by row as elements of one type.
fn convert(datatype: DataType, columns: &[(&str, &Column)]) -> Result<Elements, Refusal> {
    let rows = columns.first().map_or(0, |(_, column)| column.len());
    macro_rules! numbers {
        ($type:ty, $read:expr) => {{
            let mut values: Vec<$type> = Vec::with_capacity(rows * columns.len());
            for row in 0..rows {
                for (name, column) in columns {
                    values.push($read(datatype, name, column, row)?);
                }
            }
            Ok(Elements::from_slice(&values))
        }};
    }
    macro_rules! integers {
        ($type:ty) => {
            numbers!($type, |datatype, name, column, row| {
                let number = integer(datatype, name, column, row)?;
                <$type>::try_from(number)
                    .map_err(|_| wrong(name, row, datatype, number.to_string()))
            })
        };
    }
    match datatype {
        DataType::Fp64 => numbers!(f64, float),
        DataType::Fp32 => numbers!(f32, |d, n, c, r| float(d, n, c, r).map(|it| it as f32)),
        DataType::Fp16 => numbers!(f16, |d, n, c, r| float(d, n, c, r).map(f16::from_f64)),
        DataType::Bf16 => numbers!(bf16, |d, n, c, r| float(d, n, c, r).map(bf16::from_f64)),
        DataType::Uint8 => integers!(u8),
        DataType::Uint16 => integers!(u16),
        DataType::Uint32 => integers!(u32),
        DataType::Uint64 => integers!(u64),
        DataType::Int8 => integers!(i8),
        DataType::Int16 => integers!(i16),
        DataType::Int32 => integers!(i32),
        DataType::Int64 => integers!(i64),
        DataType::Bool => {
            let mut values = Vec::with_capacity(rows * columns.len());
            for row in 0..rows {
                for (name, column) in columns {
                    values.push(match column {
                        Column::Booleans(values) => values[row],
                        other => match integer(datatype, name, other, row)? {
                            0 => false,
                            1 => true,
                            number => return Err(wrong(name, row, datatype, number.to_string())),
                        },
                    });
                }
            }
            Ok(Elements::from_bools(&values))
        }
        DataType::Bytes => {
            let mut values = Vec::with_capacity(rows * columns.len());
            for row in 0..rows {
                values.extend(
                    columns
                        .iter()
                        .map(|(_, column)| text(column, row).into_bytes()),
                );
            }
            Ok(Elements::Bytes(values))
        }
    }
}

fn wrong(column: &str, row: usize, datatype: DataType, got: String) -> Refusal {
    Refusal::WrongValue {
        input: column.to_owned(),
        index: row,
        want: format!("a {datatype}"),
        got,
    }
}

fn float(datatype: DataType, name: &str, column: &Column, row: usize) -> Result<f64, Refusal> {
    match column {
        Column::Numbers(values) => Ok(values[row]),
        Column::Integers(values) => Ok(values[row] as f64),
        Column::Booleans(values) => Ok(f64::from(u8::from(values[row]))),
        Column::Strings(values) => match &values[row] {
            None => Ok(f64::NAN),
            Some(text) => Err(wrong(name, row, datatype, text.clone())),
        },
    }
}

fn integer(datatype: DataType, name: &str, column: &Column, row: usize) -> Result<i128, Refusal> {
    match column {
        Column::Integers(values) => Ok(i128::from(values[row])),
        Column::Booleans(values) => Ok(i128::from(values[row])),
        Column::Numbers(values) => {
            let number = values[row];
            // Beyond 2^63 a double is no longer an exact count of anything a column can hold.
            if number.fract() == 0.0 && number.abs() < 9.3e18 {
                Ok(number as i128)
            } else {
                Err(wrong(name, row, datatype, number.to_string()))
            }
        }
        Column::Strings(values) => {
            let got = values[row].clone().unwrap_or_else(|| "nothing".to_owned());
            Err(wrong(name, row, datatype, got))
        }
    }
}

fn text(column: &Column, row: usize) -> String {
    match column {
        Column::Strings(values) => values[row].clone().unwrap_or_default(),
        Column::Integers(values) => values[row].to_string(),
        Column::Booleans(values) => values[row].to_string(),
        Column::Numbers(values) if values[row].is_nan() => String::new(),
        Column::Numbers(values) => values[row].to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Rows;

    fn input(
        name: &str,
        datatype: DataType,
        width: Option<usize>,
        features: &[&str],
    ) -> TensorSpec {
        let mut shape = vec![Dimension::Variable(None)];
        shape.extend(width.map(Dimension::Fixed));
        TensorSpec {
            name: name.to_owned(),
            datatype,
            shape,
            features: features.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    fn check(inputs: Vec<TensorSpec>, columns: &[(&str, Column)], want: &str) {
        let signature = Signature {
            inputs,
            outputs: Vec::new(),
            rows: Rows::Outermost,
            task: None,
        };
        let columns = columns
            .iter()
            .map(|(name, it)| ((*name).to_owned(), it.clone()))
            .collect();
        let got = Frame::new(columns).and_then(|frame| super::inputs(&frame, &signature));
        let got = match got {
            Err(refusal) => refusal.to_string(),
            Ok(tensors) => {
                let show = |it: &NamedTensor| match it.tensor.elements() {
                    Elements::Bytes(strings) => {
                        format!("{} {:?} {:?}", it.name, it.tensor.shape(), strings.len())
                    }
                    Elements::Fixed(fixed) => {
                        let numbers: Vec<f64> = (0..it.tensor.elements().count())
                            .filter_map(|index| fixed.number(index))
                            .collect();
                        format!("{} {:?} {numbers:?}", it.name, it.tensor.shape())
                    }
                };
                tensors.iter().map(show).collect::<Vec<_>>().join("; ")
            }
        };
        assert_eq!(got, want);
    }

    #[test]
    fn columns_are_found_by_name_whatever_their_order() {
        let a = || ("a", Column::Integers(vec![1, 2]));
        let b = || ("b", Column::Numbers(vec![0.5, f64::NAN]));
        let matrix = || vec![input("x", DataType::Fp32, Some(2), &["a", "b"])];
        check(matrix(), &[b(), a()], "x [2, 2] [1.0, 0.5, 2.0, NaN]");
        check(matrix(), &[a()], "column `b` is missing");
        let c = ("c", Column::Booleans(vec![true, false]));
        check(
            matrix(),
            &[a(), b(), c],
            "the model has no column `c`; its columns are `a`, `b`",
        );
        let named = vec![
            input("a", DataType::Int64, Some(1), &[]),
            input("b", DataType::Fp64, None, &[]),
        ];
        check(named, &[b(), a()], "a [2, 1] [1.0, 2.0]; b [2] [0.5, NaN]");
    }

    #[test]
    fn a_value_that_the_type_cannot_hold_is_named() {
        let one = |datatype| vec![input("a", datatype, Some(1), &[])];
        let numbers = |it: f64| [("a", Column::Numbers(vec![it]))];
        check(
            one(DataType::Int8),
            &numbers(300.0),
            "input `a`, element 0: `300` is not a INT8",
        );
        check(
            one(DataType::Int64),
            &numbers(f64::NAN),
            "input `a`, element 0: `NaN` is not a INT64",
        );
        check(
            one(DataType::Int32),
            &numbers(1.5),
            "input `a`, element 0: `1.5` is not a INT32",
        );
        let text = [("a", Column::Strings(vec![Some("x".to_owned())]))];
        check(
            one(DataType::Fp32),
            &text,
            "input `a`, element 0: `x` is not a FP32",
        );
        check(one(DataType::Bytes), &text, "a [1, 1] 1");
    }

    #[test]
    fn a_bare_matrix_takes_columns_in_order() {
        let bare = || vec![input("x", DataType::Fp32, Some(2), &[])];
        let columns = [
            ("p", Column::Numbers(vec![1.0])),
            ("q", Column::Numbers(vec![2.0])),
        ];
        check(bare(), &columns, "x [1, 2] [1.0, 2.0]");
        check(
            bare(),
            &columns[..1],
            "input `x` has shape [1, 1], the model takes [-1, 2]",
        );
    }
}
