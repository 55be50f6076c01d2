//! Requests from protobuf.

use std::collections::HashMap;

use domain::limits::Limits;
use domain::tensor::element_count;
use domain::{DataType, Elements, Refusal, Tensor};

use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::InferInputTensor;
use super::inference::{InferParameter, InferTensorContents, ModelInferRequest};
use crate::oip::{
    InferenceRequest, InputRecord, Parameter, Parameters, Placement, RequestedOutput, Source,
    check_shape, decode_binary, push_axis,
};

fn malformed(why: String) -> Refusal {
    Refusal::Malformed {
        what: "the request",
        why,
    }
}

/// The request that a message stands for; the model and version that it names are left to the caller.
/// Never panics, whatever the message holds.
pub fn decode_infer(
    message: ModelInferRequest,
    limits: &Limits,
) -> Result<InferenceRequest, Refusal> {
    let ModelInferRequest {
        model_name: _,
        model_version: _,
        id,
        parameters,
        inputs,
        outputs,
        raw_input_contents,
    } = message;
    let raw = !raw_input_contents.is_empty();
    let mut raw_contents = raw_input_contents.iter();
    let mut request = InferenceRequest {
        // The protocol cannot tell an empty id from none.
        id: (!id.is_empty()).then_some(id),
        inputs: Vec::with_capacity(inputs.len()),
        outputs: Vec::with_capacity(outputs.len()),
        parameters: request_parameters(parameters)?,
    };
    for input in inputs {
        let InferInputTensor {
            name,
            datatype,
            shape: axes,
            parameters,
            contents,
        } = input;
        let Some(datatype) = DataType::from_name(&datatype) else {
            let shown: String = datatype.chars().take(40).collect();
            return Err(malformed(format!(
                "`{name}` has datatype `{shown}`, which is not one"
            )));
        };
        let mut shape = Vec::with_capacity(axes.len().min(8));
        for length in axes {
            push_axis(&mut shape, length, limits)?;
        }
        check_shape(&shape, limits)?;
        let region = placement(parameters)?.region(&name)?;
        let source = match (region, contents) {
            (Some(region), None) => Source::SharedMemory {
                datatype,
                shape,
                region,
            },
            (Some(_), Some(_)) => {
                return Err(malformed(format!(
                    "`{name}` has both contents and shared memory"
                )));
            }
            (None, Some(_)) if raw => {
                return Err(malformed(format!(
                    "`{name}` has `contents` and the request has `raw_input_contents`"
                )));
            }
            (None, _) if raw => {
                let Some(bytes) = raw_contents.next() else {
                    return Err(malformed(format!(
                        "`raw_input_contents` has no entry for `{name}`"
                    )));
                };
                Source::Tensor(decode_binary(&name, datatype, shape, bytes)?)
            }
            (None, contents) => {
                let contents = contents.unwrap_or_default();
                Source::Tensor(typed(&name, datatype, shape, contents)?)
            }
        };
        request.inputs.push(InputRecord { name, source });
    }
    let left = raw_contents.len();
    if left > 0 {
        return Err(malformed(format!(
            "`raw_input_contents` has {left} entries too many"
        )));
    }
    for output in outputs {
        let mut placement = placement(output.parameters)?;
        placement.binary = None;
        request
            .outputs
            .push(RequestedOutput::new(output.name, placement)?);
    }
    request.check_names()?;
    Ok(request)
}

fn request_parameters(parameters: HashMap<String, InferParameter>) -> Result<Parameters, Refusal> {
    let mut set = Parameters::default();
    let mut given: Vec<(String, InferParameter)> = parameters.into_iter().collect();
    // A map has no order; the caller's own are told in one all the same.
    given.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    for (name, value) in given {
        if let Some(value) = parameter(value) {
            set.set(&name, value)?;
        }
    }
    Ok(set)
}

fn placement(parameters: HashMap<String, InferParameter>) -> Result<Placement, Refusal> {
    let mut placement = Placement::default();
    for (name, value) in parameters {
        if let Some(value) = parameter(value)
            && !matches!(&*name, "binary_data_size" | "binary_data")
        {
            placement.set(&name, value)?;
        }
    }
    Ok(placement)
}

fn parameter(parameter: InferParameter) -> Option<Parameter> {
    Some(match parameter.parameter_choice? {
        ParameterChoice::BoolParam(truth) => Parameter::Bool(truth),
        ParameterChoice::Int64Param(number) => Parameter::Integer(number),
        ParameterChoice::StringParam(text) => Parameter::Text(text),
        ParameterChoice::DoubleParam(number) => Parameter::Number(number),
        ParameterChoice::Uint64Param(number) => Parameter::Unsigned(number),
    })
}

/// A tensor from the list of its type; the other lists must be empty.
fn typed(
    input: &str,
    datatype: DataType,
    shape: Vec<usize>,
    contents: InferTensorContents,
) -> Result<Tensor, Refusal> {
    let lists = [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ];
    let (want, elements) = match datatype {
        DataType::Bool => (
            "bool_contents",
            Elements::from_bools(&contents.bool_contents),
        ),
        DataType::Int8 => (
            "int_contents",
            narrow::<i8, _>(input, datatype, &contents.int_contents)?,
        ),
        DataType::Int16 => (
            "int_contents",
            narrow::<i16, _>(input, datatype, &contents.int_contents)?,
        ),
        DataType::Int32 => ("int_contents", Elements::from_slice(&contents.int_contents)),
        DataType::Int64 => (
            "int64_contents",
            Elements::from_slice(&contents.int64_contents),
        ),
        DataType::Uint8 => (
            "uint_contents",
            narrow::<u8, _>(input, datatype, &contents.uint_contents)?,
        ),
        DataType::Uint16 => (
            "uint_contents",
            narrow::<u16, _>(input, datatype, &contents.uint_contents)?,
        ),
        DataType::Uint32 => (
            "uint_contents",
            Elements::from_slice(&contents.uint_contents),
        ),
        DataType::Uint64 => (
            "uint64_contents",
            Elements::from_slice(&contents.uint64_contents),
        ),
        DataType::Fp32 => (
            "fp32_contents",
            Elements::from_slice(&contents.fp32_contents),
        ),
        DataType::Fp64 => (
            "fp64_contents",
            Elements::from_slice(&contents.fp64_contents),
        ),
        DataType::Bytes => ("bytes_contents", Elements::Bytes(contents.bytes_contents)),
        DataType::Fp16 | DataType::Bf16 => {
            return Err(Refusal::Unsupported {
                what: format!("`{input}` of datatype {datatype} in `contents`"),
                hint: "send it in `raw_input_contents`".to_owned(),
            });
        }
    };
    if let Some((other, _)) = lists
        .iter()
        .find(|(name, length)| *name != want && *length > 0)
    {
        return Err(malformed(format!(
            "`{input}` is {datatype}, yet its elements are in `{other}`"
        )));
    }
    let got = elements.count() as u64;
    let count = element_count(&shape).unwrap_or(usize::MAX) as u64;
    let shown = format!("{shape:?}");
    Tensor::new(shape, elements).ok_or_else(|| Refusal::WrongCount {
        input: input.to_owned(),
        shape: shown,
        want: count,
        got,
    })
}

/// Elements of a type narrower than the list they came in.
fn narrow<T, W>(input: &str, datatype: DataType, wide: &[W]) -> Result<Elements, Refusal>
where
    T: domain::tensor::Element + TryFrom<W>,
    W: Copy + std::fmt::Display,
{
    let mut narrow = Vec::with_capacity(wide.len());
    for (index, number) in wide.iter().enumerate() {
        let Ok(number) = T::try_from(*number) else {
            return Err(Refusal::WrongValue {
                input: input.to_owned(),
                index,
                want: format!("a value of {datatype}"),
                got: number.to_string(),
            });
        };
        narrow.push(number);
    }
    Ok(Elements::from_slice::<T>(&narrow))
}
