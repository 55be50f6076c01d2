//! Answers to JSON, with or without tensors after it.

use domain::{DataType, Refusal};

use super::binary::{binary_size, encode_binary};
use super::{Content, Parameter, ResponseRecord};
use crate::elements;
use crate::json::write_text;

/// A body and how it must be announced.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The body.
    pub body: Vec<u8>,
    /// How many of its bytes are JSON where tensors follow: to be sent in [`super::JSON_LENGTH_HEADER`]
    /// with `application/octet-stream`. None for pure JSON: no such header, `application/json`.
    pub json_length: Option<usize>,
}

/// Writes an answer. Refused when a string that is not UTF-8 is wanted as JSON.
pub fn encode_response(response: &ResponseRecord<'_>) -> Result<Encoded, Refusal> {
    let mut out = Vec::with_capacity(capacity(response));
    out.extend_from_slice(b"{\"model_name\":");
    write_text(response.model_name, &mut out);
    out.extend_from_slice(b",\"model_version\":");
    write_text(response.model_version, &mut out);
    if let Some(id) = response.id {
        out.extend_from_slice(b",\"id\":");
        write_text(id, &mut out);
    }
    if !response.parameters.is_empty() {
        out.extend_from_slice(b",\"parameters\":{");
        for (index, (name, value)) in response.parameters.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_text(name, &mut out);
            out.push(b':');
            write_text(value, &mut out);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b",\"outputs\":[");
    for (index, output) in response.outputs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match &output.content {
            Content::Json(tensor) => {
                write_head(output.name, tensor.datatype(), tensor.shape(), &mut out);
                out.extend_from_slice(b",\"data\":");
                elements::write_flat(tensor.elements(), output.name, &mut out)?;
            }
            Content::Binary(tensor) => {
                write_head(output.name, tensor.datatype(), tensor.shape(), &mut out);
                out.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
                write_number(binary_size(tensor) as u64, &mut out);
                out.push(b'}');
            }
            // No parameters: perf_analyzer reads a `binary_data_size` in whatever parameters there are.
            Content::SharedMemory { datatype, shape } => {
                write_head(output.name, *datatype, shape, &mut out);
            }
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    let json = out.len();
    let mut binary = false;
    for output in response.outputs {
        if let Content::Binary(tensor) = &output.content {
            encode_binary(tensor, &mut out)?;
            binary = true;
        }
    }
    Ok(Encoded {
        body: out,
        json_length: binary.then_some(json),
    })
}

/// What the answer will take, about: a number has twelve characters, seldom more.
fn capacity(response: &ResponseRecord<'_>) -> usize {
    let outputs = response.outputs.iter().map(|it| match &it.content {
        Content::Json(tensor) => match tensor.datatype() {
            DataType::Bytes => binary_size(tensor) + 128,
            _ => tensor.elements().count() * 12 + 128,
        },
        Content::Binary(tensor) => binary_size(tensor) + 128,
        Content::SharedMemory { .. } => 256,
    });
    outputs.sum::<usize>() + 128 + response.parameters.len() * 64
}

/// `{"name":..,"datatype":..,"shape":[..]`, left open.
pub(super) fn write_head(name: &str, datatype: DataType, shape: &[usize], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"name\":");
    write_text(name, out);
    out.extend_from_slice(b",\"datatype\":\"");
    out.extend_from_slice(datatype.name().as_bytes());
    out.extend_from_slice(b"\",\"shape\":[");
    for (axis, length) in shape.iter().enumerate() {
        if axis > 0 {
            out.push(b',');
        }
        write_number(*length as u64, out);
    }
    out.push(b']');
}

pub(super) fn write_parameter(parameter: &Parameter, out: &mut Vec<u8>) {
    match parameter {
        Parameter::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Parameter::Integer(number) => {
            out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
        }
        Parameter::Unsigned(number) => write_number(*number, out),
        Parameter::Number(number) if number.is_finite() => {
            out.extend_from_slice(zmij::Buffer::new().format_finite(*number).as_bytes());
        }
        Parameter::Number(_) => out.extend_from_slice(b"null"),
        Parameter::Text(text) => write_text(text, out),
    }
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
