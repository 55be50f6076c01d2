//! The client's side: requests to bytes, answers from bytes.

use domain::limits::Limits;
use domain::request::NamedTensor;
use domain::{Refusal, Tensor};

use super::binary::Blobs;
use super::decode::{Seen, optional_text, parameters, split, tensor};
use super::encode::{write_head, write_parameter};
use super::{Parameter, Source};
use crate::elements;
use crate::json::{Reader, write_text};

/// An answer, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// The model that answered.
    pub model_name: String,
    /// Its version.
    pub model_version: String,
    /// The id that was sent.
    pub id: Option<String>,
    /// What the server says beside the outputs.
    pub parameters: Vec<(String, Parameter)>,
    /// The outputs.
    pub outputs: Vec<NamedTensor>,
}

/// Writes a request as JSON; no wanted outputs are all outputs.
pub fn encode_request(
    id: Option<&str>,
    inputs: &[NamedTensor],
    outputs: &[String],
    custom: &[(&str, Parameter)],
) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    out.push(b'{');
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        write_text(id, &mut out);
        out.push(b',');
    }
    if !custom.is_empty() {
        out.extend_from_slice(b"\"parameters\":{");
        for (index, (name, value)) in custom.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_text(name, &mut out);
            out.push(b':');
            write_parameter(value, &mut out);
        }
        out.extend_from_slice(b"},");
    }
    out.extend_from_slice(b"\"inputs\":[");
    for (index, NamedTensor { name, tensor }) in inputs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_head(name, tensor.datatype(), tensor.shape(), &mut out);
        out.extend_from_slice(b",\"data\":");
        elements::write_flat(tensor.elements(), name, &mut out)?;
        out.push(b'}');
    }
    out.push(b']');
    if !outputs.is_empty() {
        out.extend_from_slice(b",\"outputs\":[");
        for (index, name) in outputs.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"name\":");
            write_text(name, &mut out);
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b'}');
    Ok(out)
}

/// Reads an answer. `json_length` is the text of [`super::JSON_LENGTH_HEADER`], where it came.
pub fn decode_response(
    body: &[u8],
    json_length: Option<&str>,
    limits: &Limits,
) -> Result<Response, Refusal> {
    let (json, blobs) = match json_length {
        None => (body, &[][..]),
        Some(text) => split(body, text)?,
    };
    let mut response = Response::default();
    let mut blobs = Blobs::new(blobs);
    let mut pending = Vec::new();
    let mut seen = Seen::default();
    let mut reader = Reader::new(json, limits.json_depth_max, "the answer");
    reader.object(|reader, key| match &*key {
        "model_name" => {
            response.model_name = optional_text(reader)?.unwrap_or_default();
            Ok(())
        }
        "model_version" => {
            response.model_version = optional_text(reader)?.unwrap_or_default();
            Ok(())
        }
        "id" => {
            response.id = optional_text(reader)?;
            Ok(())
        }
        "parameters" => parameters(reader, |name, value| {
            response.parameters.push((name.to_owned(), value));
            Ok(())
        }),
        "outputs" => {
            seen.once(reader, &key, 1)?;
            reader.array(|reader| {
                pending.push(tensor(reader, limits, "output")?);
                Ok(())
            })
        }
        _ => reader.skip(),
    })?;
    reader.end()?;
    for output in pending {
        let record = output.settle(&mut blobs)?;
        response.outputs.push(NamedTensor {
            tensor: in_place(&record.name, record.source)?,
            name: record.name,
        });
    }
    blobs.end()?;
    Ok(response)
}

fn in_place(output: &str, source: Source) -> Result<Tensor, Refusal> {
    match source {
        Source::Tensor(tensor) => Ok(tensor),
        Source::SharedMemory { .. } => Err(Refusal::Malformed {
            what: "the answer",
            why: format!("output `{output}` is in shared memory, which was not asked for"),
        }),
    }
}
