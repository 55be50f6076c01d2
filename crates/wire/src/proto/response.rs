//! Answers to protobuf.

use std::collections::HashMap;

use bytes::Bytes;
use domain::{DataType, Refusal, Tensor};

use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_response::InferOutputTensor;
use super::inference::{InferParameter, ModelInferResponse, ModelStreamInferResponse};
use crate::code;
use crate::oip::{Content, ResponseRecord, encode_binary};

/// The message of an answer. Whether an output was wanted as JSON or in binary makes no difference here.
pub fn encode_infer(response: &ResponseRecord<'_>) -> Result<ModelInferResponse, Refusal> {
    let mut outputs = Vec::with_capacity(response.outputs.len());
    let mut raw_output_contents = Vec::with_capacity(response.outputs.len());
    for output in response.outputs {
        let (datatype, shape) = match &output.content {
            Content::Json(tensor) | Content::Binary(tensor) => {
                raw_output_contents.push(raw(tensor)?);
                (tensor.datatype(), tensor.shape())
            }
            // Clients look for an output's raw contents at its own place, whether they need them or not.
            Content::SharedMemory { datatype, shape } => {
                raw_output_contents.push(Bytes::new());
                (*datatype, *shape)
            }
        };
        outputs.push(output_tensor(output.name, datatype, shape));
    }
    Ok(ModelInferResponse {
        model_name: response.model_name.to_owned(),
        model_version: response.model_version.to_owned(),
        id: response.id.unwrap_or_default().to_owned(),
        parameters: response
            .parameters
            .iter()
            .map(|(name, value)| {
                (
                    (*name).to_owned(),
                    parameter(ParameterChoice::StringParam((*value).to_owned())),
                )
            })
            .collect(),
        outputs,
        raw_output_contents,
    })
}

fn raw(tensor: &Tensor) -> Result<Bytes, Refusal> {
    let mut bytes = Vec::with_capacity(crate::oip::binary_size(tensor));
    encode_binary(tensor, &mut bytes)?;
    Ok(Bytes::from(bytes))
}

fn output_tensor(name: &str, datatype: DataType, shape: &[usize]) -> InferOutputTensor {
    InferOutputTensor {
        name: name.to_owned(),
        datatype: datatype.name().to_owned(),
        shape: shape
            .iter()
            .map(|it| i64::try_from(*it).unwrap_or(i64::MAX))
            .collect(),
        parameters: HashMap::new(),
        contents: None,
    }
}

fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter {
        parameter_choice: Some(choice),
    }
}

/// An answer on a stream; with `mark_final` it says that it is the last for its request.
pub fn stream_response(
    mut response: ModelInferResponse,
    mark_final: bool,
) -> ModelStreamInferResponse {
    if mark_final {
        let last = parameter(ParameterChoice::BoolParam(true));
        response
            .parameters
            .insert("triton_final_response".to_owned(), last);
    }
    ModelStreamInferResponse {
        error_message: String::new(),
        infer_response: Some(response),
    }
}

/// A refusal on a stream, which goes on after it. The caller's id tells it which request is meant.
pub fn stream_error(refusal: &Refusal, id: &str) -> ModelStreamInferResponse {
    ModelStreamInferResponse {
        error_message: code::message(refusal),
        infer_response: Some(ModelInferResponse {
            id: id.to_owned(),
            ..ModelInferResponse::default()
        }),
    }
}
