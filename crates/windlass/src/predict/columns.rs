//! From the columns of a file to the columns that a model takes.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType as Arrow, Float64Type, Int64Type};
use domain::frame::{self, Column, Frame};
use domain::request::NamedTensor;
use domain::signature::show_dimensions;
use domain::{DataType, Refusal, Signature, TensorSpec};

use crate::failure::Failure;
use crate::rows::{is_missing, truth};

/// Which of a file's columns a model takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Their places in the file and what the model takes there.
    columns: Vec<(usize, DataType)>,
    /// The names of the others.
    pub(crate) unused: Vec<String>,
}

/// Finds the model's columns in the file. Those that are missing are refused, all of them at once.
pub(crate) fn choose(names: &[String], signature: &Signature) -> Result<Chosen, Failure> {
    let Some(wanted) = wanted(signature) else {
        // A single matrix without names takes what there is (R3 of `domain::frame`).
        let [input] = &signature.inputs[..] else {
            return Err(no_columns(signature));
        };
        if input.shape.len() != 2 {
            return Err(no_columns(signature));
        }
        return Ok(Chosen {
            columns: (0..names.len())
                .map(|index| (index, input.datatype))
                .collect(),
            unused: Vec::new(),
        });
    };
    let place = |name: &str| names.iter().position(|it| it == name);
    let missing: Vec<&str> = wanted
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| place(name).is_none())
        .collect();
    if !missing.is_empty() {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        let message = format!(
            "{} {verb} missing; the file has {}",
            list(&missing),
            list(names)
        );
        let hint = match names {
            [one] if one.contains([';', '\t']) => {
                "the columns seem to be separated by something else than commas"
            }
            _ => "name the columns as the model does: `windlass show MODEL` lists them",
        };
        let mut failure = Failure::refused(message, hint);
        failure.code = "missing_column".to_owned();
        return Err(failure);
    }
    let columns: Vec<(usize, DataType)> = wanted
        .iter()
        .filter_map(|(name, datatype)| Some((place(name)?, *datatype)))
        .collect();
    let used = |index: &usize| columns.iter().any(|(it, _)| it == index);
    let unused = (0..names.len())
        .filter(|it| !used(it))
        .map(|it| names[it].clone())
        .collect();
    Ok(Chosen { columns, unused })
}

fn no_columns(signature: &Signature) -> Failure {
    let input = |it: &TensorSpec| format!("`{}` {}", it.name, show_dimensions(&it.shape));
    let inputs: Vec<String> = signature.inputs.iter().map(input).collect();
    let message = format!(
        "the model takes tensors and not columns: {}",
        inputs.join(", ")
    );
    let hint = "ask it over HTTP or gRPC; or, where they are columns, name them in \
                `signature.features` of its `windlass.yaml`";
    Failure::refused(message, hint)
}

/// The names and types of the columns that a model takes; none where they have no names.
fn wanted(signature: &Signature) -> Option<Vec<(&str, DataType)>> {
    frame::column_names(signature)?;
    let mut wanted: Vec<(&str, DataType)> = Vec::new();
    for input in &signature.inputs {
        if input.features.is_empty() {
            wanted.push((&input.name, input.datatype));
        } else {
            wanted.extend(
                input
                    .features
                    .iter()
                    .map(|it| (it.as_str(), input.datatype)),
            );
        }
    }
    Some(wanted)
}

/// `` `a`, `b` ``
pub(crate) fn list(names: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .map(|it| format!("`{}`", it.as_ref()))
        .collect();
    quoted.join(", ")
}

/// The model's inputs for these rows of a file, the first of which is row `first` (counted from 0).
pub(crate) fn inputs(
    batch: &RecordBatch,
    chosen: &Chosen,
    signature: &Signature,
    first: usize,
) -> anyhow::Result<Vec<NamedTensor>> {
    let schema = batch.schema();
    let mut columns = Vec::with_capacity(chosen.columns.len());
    for (index, datatype) in &chosen.columns {
        let name = schema.field(*index).name().clone();
        let place = Place {
            name: &name,
            first,
            datatype: *datatype,
        };
        let column = place.column(batch.column(*index))?;
        columns.push((name, column));
    }
    let inputs = Frame::new(columns).and_then(|frame| frame::inputs(&frame, signature));
    inputs.map_err(|refusal| match refusal {
        // The frame counts from the start of the batch, people from the first row of the file.
        Refusal::WrongValue {
            input,
            index,
            want,
            got,
        } => wrong(&input, first + index, &want, &got).into(),
        refusal => refusal.into(),
    })
}

/// Where values stand and what they are to become: what a sentence about them says.
struct Place<'a> {
    name: &'a str,
    first: usize,
    datatype: DataType,
}

fn wrong(column: &str, row: usize, want: &str, got: &str) -> Failure {
    let message = format!("column `{column}`, row {}: `{got}` is not {want}", row + 1);
    let mut failure = Failure::refused(message, "mend the file; rows are counted from 1");
    failure.code = "wrong_value".to_owned();
    failure
}

impl Place<'_> {
    fn column(&self, array: &ArrayRef) -> anyhow::Result<Column> {
        match array.data_type() {
            Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View | Arrow::Null => self.text(array),
            Arrow::Dictionary(_, values) => self.column(&cast(array, values)?),
            Arrow::Boolean => self.booleans(array),
            from if from.is_integer() => self.integers(array),
            from if from.is_floating() || matches!(from, Arrow::Decimal128(..)) => {
                self.numbers(array)
            }
            other => {
                let message = format!(
                    "column `{}` holds {other}, the model takes {} there",
                    self.name, self.datatype
                );
                let hint = "give numbers, truth values or text";
                Err(Failure::refused(message, hint).into())
            }
        }
    }

    fn text(&self, array: &ArrayRef) -> anyhow::Result<Column> {
        let array = cast(array, &Arrow::Utf8)?;
        let values = array.as_string::<i32>();
        if self.datatype == DataType::Bytes {
            return Ok(Column::Strings(
                values.iter().map(|it| it.map(str::to_owned)).collect(),
            ));
        }
        if self.datatype.is_float() {
            let number = |(row, text): (usize, Option<&str>)| match text.map(str::trim) {
                None => Ok(f64::NAN),
                Some(text) if is_missing(text) => Ok(f64::NAN),
                Some(text) => text.parse::<f64>().map_err(|_| self.wrong(row, text)),
            };
            let numbers: Result<_, Failure> = values.iter().enumerate().map(number).collect();
            return Ok(Column::Numbers(numbers?));
        }
        let whole = |(row, text): (usize, Option<&str>)| {
            let text = text.map_or("", str::trim);
            if is_missing(text) {
                return Err(self.missing(row));
            }
            if self.datatype == DataType::Bool
                && let Some(truth) = truth(text)
            {
                return Ok(i64::from(truth));
            }
            // `3.0` is what a column of whole numbers becomes where one of them is missing.
            let plain = text.strip_suffix(".0").unwrap_or(text);
            plain.parse::<i64>().map_err(|_| self.wrong(row, text))
        };
        let numbers: Result<_, Failure> = values.iter().enumerate().map(whole).collect();
        Ok(Column::Integers(numbers?))
    }

    fn integers(&self, array: &ArrayRef) -> anyhow::Result<Column> {
        if self.datatype.is_float() {
            return self.numbers(array);
        }
        if self.datatype == DataType::Bytes {
            return self.text(&cast(array, &Arrow::Utf8)?);
        }
        self.no_nulls(array)?;
        let array = cast(array, &Arrow::Int64)?;
        // A cast leaves empty what does not fit.
        if let Some(row) = (0..array.len()).find(|row| array.is_null(*row)) {
            return Err(self.wrong(row, "a number over 9223372036854775807").into());
        }
        Ok(Column::Integers(
            array.as_primitive::<Int64Type>().values().to_vec(),
        ))
    }

    fn numbers(&self, array: &ArrayRef) -> anyhow::Result<Column> {
        if self.datatype == DataType::Bytes {
            return self.text(&cast(array, &Arrow::Utf8)?);
        }
        if !self.datatype.is_float() {
            self.no_nulls(array)?;
        }
        let array = cast(array, &Arrow::Float64)?;
        let values = array.as_primitive::<Float64Type>().iter();
        Ok(Column::Numbers(
            values.map(|it| it.unwrap_or(f64::NAN)).collect(),
        ))
    }

    fn booleans(&self, array: &ArrayRef) -> anyhow::Result<Column> {
        if self.datatype.is_float() && array.null_count() > 0 {
            return self.numbers(&cast(array, &Arrow::Float64)?);
        }
        if self.datatype == DataType::Bytes {
            return self.text(&cast(array, &Arrow::Utf8)?);
        }
        self.no_nulls(array)?;
        Ok(Column::Booleans(
            array.as_boolean().values().iter().collect(),
        ))
    }

    fn no_nulls(&self, array: &ArrayRef) -> Result<(), Failure> {
        match (0..array.len()).find(|row| array.is_null(*row)) {
            Some(row) => Err(self.missing(row)),
            None => Ok(()),
        }
    }

    fn missing(&self, row: usize) -> Failure {
        let row = self.first + row + 1;
        let message = format!(
            "column `{}`, row {row} is empty, and the model takes {} there",
            self.name, self.datatype
        );
        let hint = "only floating-point columns and text may have missing values";
        let mut failure = Failure::refused(message, hint);
        failure.code = "wrong_value".to_owned();
        failure
    }

    fn wrong(&self, row: usize, got: &str) -> Failure {
        let want = format!("a {}", self.datatype);
        let got: String = got.chars().take(80).collect();
        wrong(self.name, self.first + row, &want, &got)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::signature::Rows;
    use domain::{Dimension, Elements};

    use super::*;
    use crate::rows;

    fn input(name: &str, datatype: DataType) -> TensorSpec {
        TensorSpec {
            name: name.to_owned(),
            datatype,
            shape: vec![Dimension::Variable(None), Dimension::Fixed(1)],
            features: Vec::new(),
        }
    }

    /// What a model with these inputs is sent for this text.
    fn check(columns: &[(&str, DataType)], text: &str, want: &str) {
        let signature = Signature {
            inputs: columns
                .iter()
                .map(|(name, datatype)| input(name, *datatype))
                .collect(),
            outputs: Vec::new(),
            rows: Rows::Outermost,
            task: None,
        };
        let send = || -> anyhow::Result<String> {
            let rows = rows::read(Bytes::copy_from_slice(text.as_bytes()), "f")?;
            let schema = rows.batch.schema();
            let names: Vec<String> = schema.fields().iter().map(|it| it.name().clone()).collect();
            let chosen = choose(&names, &signature)?;
            let tensors = inputs(&rows.batch, &chosen, &signature, 0)?;
            let mut lines: Vec<String> = tensors.iter().map(show).collect();
            if !chosen.unused.is_empty() {
                lines.push(format!("unused {}", chosen.unused.join(" ")));
            }
            Ok(lines.join("; "))
        };
        assert_eq!(send().unwrap_or_else(|error| error.to_string()), want);
    }

    fn show(input: &NamedTensor) -> String {
        let values = match input.tensor.elements() {
            Elements::Bytes(texts) => {
                let texts: Vec<_> = texts.iter().map(|it| String::from_utf8_lossy(it)).collect();
                format!("{texts:?}")
            }
            Elements::Fixed(fixed) => {
                let count = input.tensor.elements().count();
                let numbers: Vec<f64> = (0..count).filter_map(|it| fixed.number(it)).collect();
                format!("{numbers:?}")
            }
        };
        format!("{} {values}", input.name)
    }

    const AGE: (&str, DataType) = ("age", DataType::Fp32);
    const JOB: (&str, DataType) = ("job", DataType::Bytes);
    const HOME: (&str, DataType) = ("home", DataType::Int64);
    const OWNS: (&str, DataType) = ("owns", DataType::Bool);

    #[test]
    fn csv_becomes_what_the_model_takes() {
        check(
            &[AGE, JOB, HOME, OWNS],
            "id,job,age,home,owns\n7,\"a, b\",30,1,true\n8,,,2.0,0\n9,007,1e2,-3,False\n",
            "age [30.0, NaN, 100.0]; job [\"a, b\", \"\", \"007\"]; home [1.0, 2.0, -3.0]; \
             owns [1.0, 0.0, 0.0]; unused id",
        );
    }

    #[test]
    fn json_lines_become_what_the_model_takes() {
        check(
            &[AGE, JOB, HOME, OWNS],
            "{\"age\":null,\"job\":5,\"home\":1,\"owns\":true}\n{\"age\":2,\"job\":6,\"home\":2,\"owns\":false}\n",
            "age [NaN, 2.0]; job [\"5\", \"6\"]; home [1.0, 2.0]; owns [1.0, 0.0]",
        );
        check(&[HOME], "{\"home\":1.0}\n{\"home\":2.0}", "home [1.0, 2.0]");
        let want = "column `home`, row 1: `1.5` is not a INT64";
        check(&[HOME], "{\"home\":1.5}", want);
    }

    #[test]
    fn what_does_not_fit_is_named_by_column_and_row() {
        check(
            &[AGE],
            "age\n1\nold\n",
            "column `age`, row 2: `old` is not a FP32",
        );
        check(
            &[HOME],
            "home,x\n1,\n,\n",
            "column `home`, row 2 is empty, and the model takes INT64 there",
        );
        check(
            &[OWNS],
            "owns\n2\n",
            "column `owns`, row 1: `2` is not a BOOL",
        );
        check(
            &[AGE],
            "{\"age\":[1]}",
            "column `age` holds List(Int64), the model takes FP32 there",
        );
    }

    #[test]
    fn a_model_of_tensors_is_no_model_of_columns() {
        let axis = || Dimension::Variable(None);
        let ids = TensorSpec {
            shape: vec![axis(), axis()],
            ..input("ids", DataType::Int64)
        };
        let image = TensorSpec {
            shape: vec![axis(), axis(), axis()],
            ..ids.clone()
        };
        for inputs in [vec![ids.clone(), ids], vec![image]] {
            let rows = Rows::Outermost;
            let signature = Signature {
                inputs,
                outputs: Vec::new(),
                rows,
                task: None,
            };
            let failure = choose(&["a".to_owned()], &signature).expect_err("it takes none");
            assert!(
                failure
                    .message
                    .starts_with("the model takes tensors and not columns: `ids` [-1")
            );
        }
    }

    #[test]
    fn missing_columns_are_named_all_at_once() {
        check(
            &[AGE, JOB],
            "a;b\n1;2\n",
            "`age`, `job` are missing; the file has `a;b`",
        );
        check(
            &[AGE, JOB],
            "age\n1\n",
            "`job` is missing; the file has `age`",
        );
    }
}
