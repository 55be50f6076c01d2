//! The Open Inference Protocol V2 over HTTP: JSON, its binary tensor extension, and its records.
//!
//! R1. Keys may come in any order. Keys of ours given twice are refused, unknown ones are passed over:
//!     clients add their own (`model_name`).
//! R2. `data` is nested as the shape is, or flat. NaN and infinities come as `null` (NaN), `"NaN"`,
//!     `"Infinity"`, `"-Infinity"` or Python's bare words, and are written as `null`, `"Infinity"` and
//!     `"-Infinity"`, so that every JSON parser reads our answers. FP16 and BF16 are numbers here as well,
//!     which Triton refuses.
//! R3. Parameters that the protocol names are honoured or refused. Others are the caller's own and free in
//!     form; they are kept in [`Parameters::custom`] and mean nothing to us.
//! R4. An output is binary when it says so, or else when the request says so of all; JSON otherwise.

use domain::{Refusal, Tensor};

mod binary;
mod classification;
mod client;
mod decode;
mod describe;
mod encode;

pub use binary::{decode_binary, encode_binary, raw_request};
pub use classification::classify;
pub use client::{Response, decode_response, encode_request};
pub use decode::decode_request;
pub use describe::{
    BatchStatistics, Config, ConfigTensor, DurationStatistics, DynamicBatching, ErrorBody,
    IndexEntry, InferStatistics, Live, Metadata, ModelReady, ModelStatistics, Ready,
    ServerMetadata, Statistics, TensorMetadata, config, metadata,
};
pub use encode::{Encoded, encode_response};

pub(crate) use binary::binary_size;
pub(crate) use decode::{check_shape, push_axis};

/// The header that says how many bytes of a body are JSON; the rest are tensors.
pub const JSON_LENGTH_HEADER: &str = "inference-header-content-length";

/// The parameter of an answer that carries the id of its rows: a row has this id, a dot and its number from 0.
pub const PREDICTION_ID_PARAMETER: &str = "prediction_id";

/// What a body turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Body<'a> {
    /// A request, with JSON.
    Request(InferenceRequest),
    /// One tensor and nothing else; [`raw_request`] reads it with the model's signature.
    Raw(&'a [u8]),
}

/// A request for an answer, before anybody looked at the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferenceRequest {
    /// The caller's own id, to be given back; may be empty.
    pub id: Option<String>,
    /// The inputs in the caller's order, no name twice.
    pub inputs: Vec<InputRecord>,
    /// The outputs asked for, no name twice; empty for all.
    pub outputs: Vec<RequestedOutput>,
    /// What the caller asks beside that.
    pub parameters: Parameters,
}

/// One input.
#[derive(Clone, Debug, PartialEq)]
pub struct InputRecord {
    /// Its name.
    pub name: String,
    /// Where its elements are.
    pub source: Source,
}

/// Where the elements of an input are.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// In the request.
    Tensor(Tensor),
    /// In memory that the caller shares with us.
    SharedMemory {
        /// What the elements are.
        datatype: domain::DataType,
        /// The shape, its product within the limit.
        shape: Vec<usize>,
        /// Where they lie.
        region: Region,
    },
}

/// A piece of a shared memory region that was registered under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The name it was registered under.
    pub name: String,
    /// Bytes from the region's start.
    pub offset: u64,
    /// Bytes.
    pub byte_size: u64,
}

/// An output that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Whether it is wanted in binary; the request's own word counts where this says nothing.
    pub binary: Option<bool>,
    /// How many classes of the highest value are wanted in place of the tensor.
    pub classification: Option<u32>,
    /// Where it shall be written in place of the answer.
    pub shared_memory: Option<Region>,
}

/// What a request asks beside inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// How long the caller will wait.
    pub timeout_us: Option<u64>,
    /// Whether outputs that do not say otherwise are wanted in binary.
    pub binary_output: bool,
    /// Whether the last answer of a stream shall say that it is the last.
    pub mark_final: bool,
    /// The caller's own, in its order.
    pub custom: Vec<(String, Parameter)>,
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number over the largest signed one.
    Unsigned(u64),
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
}

/// An answer to be encoded.
#[derive(Clone, Debug)]
pub struct ResponseRecord<'a> {
    /// The model that answered.
    pub model_name: &'a str,
    /// Its version.
    pub model_version: &'a str,
    /// The caller's id, where it gave one.
    pub id: Option<&'a str>,
    /// What we say beside the outputs.
    pub parameters: &'a [(&'a str, &'a str)],
    /// The outputs in the caller's order.
    pub outputs: &'a [OutputRecord<'a>],
}

/// One output of an answer.
#[derive(Clone, Debug)]
pub struct OutputRecord<'a> {
    /// Its name.
    pub name: &'a str,
    /// What becomes of its elements.
    pub content: Content<'a>,
}

/// What becomes of an output's elements.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// They are written into the JSON.
    Json(&'a Tensor),
    /// They follow the JSON.
    Binary(&'a Tensor),
    /// They were written into shared memory.
    SharedMemory {
        /// What they are.
        datatype: domain::DataType,
        /// Their shape.
        shape: &'a [usize],
    },
}

impl InferenceRequest {
    /// Whether an output is wanted in binary (R4); `output` is its place among those asked for, none when
    /// all are.
    pub fn is_binary(&self, output: Option<&RequestedOutput>) -> bool {
        output
            .and_then(|it| it.binary)
            .unwrap_or(self.parameters.binary_output)
    }

    /// Refused when a name stands twice among the inputs or the outputs.
    pub(crate) fn check_names(&self) -> Result<(), Refusal> {
        if let Some(input) = twice(self.inputs.iter().map(|it| &it.name)) {
            return Err(Refusal::DuplicateInput { input });
        }
        if let Some(output) = twice(self.outputs.iter().map(|it| &it.name)) {
            return Err(Refusal::DuplicateOutput { output });
        }
        Ok(())
    }
}

fn twice<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> Option<String> {
    // Few names are compared pair by pair; a list that somebody made long is sorted.
    if names.len() < 2 {
        return None;
    }
    let mut names: Vec<&String> = names.collect();
    names.sort_unstable();
    names
        .windows(2)
        .find(|pair| pair[0] == pair[1])
        .map(|pair| pair[0].clone())
}

impl Parameters {
    /// Takes one parameter of a request (R3).
    pub(crate) fn set(&mut self, name: &str, value: Parameter) -> Result<(), Refusal> {
        match name {
            "timeout" => self.timeout_us = Some(value.unsigned(name)?),
            "binary_data_output" => self.binary_output = value.truth(name)?,
            "triton_enable_empty_final_response" => self.mark_final = value.truth(name)?,
            "priority" if value.unsigned(name)? == 0 => {}
            "priority" => return Err(unsupported(name, "requests are answered as they come")),
            "sequence_start" | "sequence_end" if !value.truth(name)? => {}
            "sequence_id" if value.is_nothing() => {}
            "sequence_id" | "sequence_start" | "sequence_end" => {
                return Err(unsupported(
                    name,
                    "a model keeps nothing between two requests",
                ));
            }
            _ if name.starts_with("triton_") => {
                return Err(unsupported(
                    name,
                    "names with `triton_` are the protocol's own",
                ));
            }
            _ => self.custom.push((name.to_owned(), value)),
        }
        Ok(())
    }
}

impl Parameter {
    /// As a whole number of zero or more; also from text, as some clients write it.
    pub(crate) fn unsigned(&self, name: &str) -> Result<u64, Refusal> {
        let number = match self {
            Self::Integer(number) => u64::try_from(*number).ok(),
            Self::Unsigned(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::Bool(_) | Self::Number(_) => None,
        };
        number.ok_or_else(|| wrong(name, "a whole number of zero or more"))
    }

    /// As a truth value.
    pub(crate) fn truth(&self, name: &str) -> Result<bool, Refusal> {
        match self {
            Self::Bool(truth) => Ok(*truth),
            Self::Integer(_) | Self::Unsigned(_) | Self::Number(_) | Self::Text(_) => {
                Err(wrong(name, "`true` or `false`"))
            }
        }
    }

    /// As text.
    pub(crate) fn text(self, name: &str) -> Result<String, Refusal> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Bool(_) | Self::Integer(_) | Self::Unsigned(_) | Self::Number(_) => {
                Err(wrong(name, "a string"))
            }
        }
    }

    fn is_nothing(&self) -> bool {
        match self {
            Self::Integer(number) => *number == 0,
            Self::Unsigned(number) => *number == 0,
            Self::Text(text) => text.is_empty() || text == "0",
            Self::Bool(_) | Self::Number(_) => false,
        }
    }
}

fn unsupported(parameter: &str, hint: &str) -> Refusal {
    Refusal::Unsupported {
        what: format!("parameter `{parameter}`"),
        hint: hint.to_owned(),
    }
}

fn wrong(parameter: &str, want: &str) -> Refusal {
    Refusal::Malformed {
        what: "the request",
        why: format!("parameter `{parameter}` is not {want}"),
    }
}

/// What the parameters of an input or output say about where its elements are.
#[derive(Default)]
pub(crate) struct Placement {
    pub(crate) binary_size: Option<u64>,
    pub(crate) binary: Option<bool>,
    pub(crate) classification: Option<u32>,
    region: Option<String>,
    offset: Option<u64>,
    byte_size: Option<u64>,
}

impl Placement {
    /// Takes one parameter of an input or output; those that the protocol does not name mean nothing to us.
    pub(crate) fn set(&mut self, name: &str, value: Parameter) -> Result<(), Refusal> {
        match name {
            "binary_data_size" => self.binary_size = Some(value.unsigned(name)?),
            "binary_data" => self.binary = Some(value.truth(name)?),
            "classification" => {
                let count = u32::try_from(value.unsigned(name)?);
                self.classification = Some(count.map_err(|_| wrong(name, "a number of classes"))?);
            }
            "shared_memory_region" => self.region = Some(value.text(name)?),
            "shared_memory_offset" => self.offset = Some(value.unsigned(name)?),
            "shared_memory_byte_size" => self.byte_size = Some(value.unsigned(name)?),
            _ => {}
        }
        Ok(())
    }

    /// The region, where one is named. Its name and size belong together.
    pub(crate) fn region(&mut self, of: &str) -> Result<Option<Region>, Refusal> {
        match (self.region.take(), self.byte_size) {
            (Some(name), Some(byte_size)) => Ok(Some(Region {
                name,
                offset: self.offset.unwrap_or(0),
                byte_size,
            })),
            (None, None) if self.offset.is_none() => Ok(None),
            _ => Err(Refusal::Malformed {
                what: "the request",
                why: format!(
                    "`{of}` needs both `shared_memory_region` and `shared_memory_byte_size`"
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
