//! From a model's answers to columns beside the rows they are about.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, PrimitiveArray, RecordBatch,
    StringArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, Field, Int8Type, Int16Type, Int32Type, Int64Type, Schema, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use domain::request::NamedTensor;
use domain::tensor::{Element, FixedElements, element_count};
use domain::{DataType, Elements, Signature, Tensor};
use wire::oip::{PREDICTION_ID_PARAMETER, Parameter, Response};

use crate::failure::Failure;

/// Answers about some rows, as columns: one for an output of one value a row, and one for each value of a
/// wider one. Those are named after the classes where the task names as many, and numbered else.
pub(crate) fn columns(
    outputs: &[NamedTensor],
    signature: &Signature,
    rows: usize,
) -> Result<RecordBatch, Failure> {
    let classes = signature.task.as_ref().map_or(&[][..], |it| it.classes());
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for NamedTensor { name, tensor } in outputs {
        let width = match tensor.shape().split_first() {
            Some((outer, inner)) if *outer == rows => element_count(inner).unwrap_or(0),
            _ => {
                let shape = tensor.shape();
                let message =
                    format!("output `{name}` has shape {shape:?} for {rows} rows: not one each");
                let hint = "ask the model over HTTP: its answers do not belong to rows";
                return Err(Failure::refused(message, hint));
            }
        };
        for index in 0..width {
            let column = column(tensor, index, width);
            let name = match (width, classes.get(index)) {
                (1, _) => name.clone(),
                (_, Some(class)) if classes.len() == width => format!("{name}_{class}"),
                _ => format!("{name}_{index}"),
            };
            fields.push(Field::new(name, column.data_type().clone(), true));
            columns.push(column);
        }
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
    batch.map_err(|error| Failure::refused(error.to_string(), "this is a defect of Windlass"))
}

/// The ids of an answer's rows, as its own id makes them: one column.
pub(crate) fn ids(response: &Response, rows: usize) -> anyhow::Result<RecordBatch> {
    let id = response.parameters.iter().find_map(|it| match it {
        (name, Parameter::Text(text)) if name == PREDICTION_ID_PARAMETER => Some(text),
        _ => None,
    });
    let Some(id) = id else {
        let message =
            format!("the answer has no `{PREDICTION_ID_PARAMETER}`, so its rows have no ids");
        return Err(Failure::refused(message, "leave out `--ids`").into());
    };
    let ids = (0..rows).map(|row| Some(format!("{id}.{row}")));
    let ids: ArrayRef = Arc::new(StringArray::from_iter(ids));
    Ok(RecordBatch::try_from_iter([(
        PREDICTION_ID_PARAMETER,
        ids,
    )])?)
}

/// Every `width`th element from `index` on.
fn column(tensor: &Tensor, index: usize, width: usize) -> ArrayRef {
    match tensor.elements() {
        Elements::Bytes(texts) => {
            let values: Vec<&[u8]> = texts
                .iter()
                .skip(index)
                .step_by(width)
                .map(Vec::as_slice)
                .collect();
            let text: Result<Vec<&str>, _> =
                values.iter().map(|it| std::str::from_utf8(it)).collect();
            match text {
                Ok(text) => Arc::new(StringArray::from(text)),
                Err(_) => Arc::new(BinaryArray::from(values)),
            }
        }
        Elements::Fixed(fixed) => {
            let numbers = || {
                let indexes = (index..tensor.elements().count()).step_by(width);
                indexes.filter_map(|it| fixed.number(it))
            };
            match fixed.datatype() {
                DataType::Bool => Arc::new(
                    numbers()
                        .map(|it| Some(it != 0.0))
                        .collect::<BooleanArray>(),
                ),
                DataType::Fp64 => Arc::new(Float64Array::from_iter_values(numbers())),
                DataType::Fp16 | DataType::Bf16 | DataType::Fp32 => Arc::new(
                    Float32Array::from_iter_values(numbers().map(|it| it as f32)),
                ),
                DataType::Uint8 => whole::<UInt8Type>(fixed, index, width),
                DataType::Uint16 => whole::<UInt16Type>(fixed, index, width),
                DataType::Uint32 => whole::<UInt32Type>(fixed, index, width),
                DataType::Uint64 => whole::<UInt64Type>(fixed, index, width),
                DataType::Int8 => whole::<Int8Type>(fixed, index, width),
                DataType::Int16 => whole::<Int16Type>(fixed, index, width),
                DataType::Int32 => whole::<Int32Type>(fixed, index, width),
                // Fixed elements are never `BYTES`.
                DataType::Int64 | DataType::Bytes => whole::<Int64Type>(fixed, index, width),
            }
        }
    }
}

/// Whole numbers as they are: a double would round the large ones.
fn whole<T: ArrowPrimitiveType<Native: Element>>(
    fixed: &FixedElements,
    index: usize,
    width: usize,
) -> ArrayRef {
    let numbers = fixed.as_slice::<T::Native>().unwrap_or_default();
    let values = numbers.iter().skip(index).step_by(width).copied();
    Arc::new(PrimitiveArray::<T>::from_iter_values(values))
}

/// The rows with the answers to their right. An answer whose name a column of the file has already takes
/// the model's name in front.
pub(crate) fn beside(
    rows: &RecordBatch,
    answers: &RecordBatch,
    model: &str,
) -> anyhow::Result<(RecordBatch, Vec<String>)> {
    let (row_schema, answer_schema) = (rows.schema(), answers.schema());
    let mut fields: Vec<Field> = row_schema
        .fields()
        .iter()
        .map(|it| (**it).clone())
        .collect();
    let mut renamed = Vec::new();
    for field in answer_schema.fields() {
        let taken = |name: &str| fields.iter().any(|it| it.name() == name);
        let mut name = field.name().clone();
        while taken(&name) {
            name = format!("{model}_{name}");
        }
        if name != *field.name() {
            renamed.push(name.clone());
        }
        fields.push((**field).clone().with_name(name));
    }
    let columns = rows
        .columns()
        .iter()
        .chain(answers.columns())
        .cloned()
        .collect();
    Ok((
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?,
        renamed,
    ))
}

#[cfg(test)]
mod tests {
    use arrow::util::display::array_value_to_string;
    use domain::signature::Rows;
    use domain::task::Task;

    use super::*;

    fn output(name: &str, shape: &[usize], elements: Elements) -> NamedTensor {
        let tensor = Tensor::new(shape.to_vec(), elements).expect("the shape fits");
        NamedTensor {
            name: name.to_owned(),
            tensor,
        }
    }

    fn check(outputs: &[NamedTensor], classes: &[&str], want: &str) {
        let classes = classes.iter().map(|it| (*it).to_owned()).collect();
        let task = Task::Multiclass {
            classes,
            scores: None,
            label: None,
        };
        let (inputs, specs) = (Vec::new(), Vec::new());
        let signature = Signature {
            inputs,
            outputs: specs,
            rows: Rows::Outermost,
            task: Some(task),
        };
        let got = match columns(outputs, &signature, 2) {
            Err(failure) => failure.message,
            Ok(batch) => {
                let schema = batch.schema();
                let show = schema
                    .fields()
                    .iter()
                    .zip(batch.columns())
                    .map(|(field, column)| {
                        let values: Vec<String> = (0..batch.num_rows())
                            .map(|row| array_value_to_string(column, row).expect("a value"))
                            .collect();
                        format!("{} {}", field.name(), values.join(" "))
                    });
                show.collect::<Vec<_>>().join("; ")
            }
        };
        assert_eq!(got, want);
    }

    #[test]
    fn wide_outputs_are_named_after_classes_or_numbered() {
        let scores = output(
            "p",
            &[2, 2],
            Elements::from_slice(&[0.25f32, 0.75, 0.5, 0.5]),
        );
        let labels = Elements::Bytes(vec![b"good".to_vec(), b"bad".to_vec()]);
        let both = [output("label", &[2], labels), scores];
        let want = "label good bad; p_bad 0.25 0.5; p_good 0.75 0.5";
        check(&both, &["bad", "good"], want);
        check(&both[1..], &["only"], "p_0 0.25 0.5; p_1 0.75 0.5");
    }

    #[test]
    fn large_whole_numbers_stay_as_they_are() {
        let large = [i64::MAX, i64::MIN + 1];
        let want = "n 9223372036854775807 -9223372036854775807";
        check(
            &[output("n", &[2, 1], Elements::from_slice(&large))],
            &[],
            want,
        );
    }

    #[test]
    fn an_answer_that_is_not_one_a_row_is_refused() {
        let sum = output("sum", &[1], Elements::from_slice(&[1.0f32]));
        check(
            &[sum],
            &[],
            "output `sum` has shape [1] for 2 rows: not one each",
        );
    }
}
