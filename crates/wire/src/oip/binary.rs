//! Tensors as bytes: the binary tensor extension, gRPC's raw contents and shared memory.
//!
//! Little-endian, no gaps; of `BYTES` each string after its length as four bytes.

use domain::signature::{Rows, show_dimensions};
use domain::tensor::{AlignedBytes, FixedElements, element_count};
use domain::{DataType, Dimension, Elements, Refusal, Signature, Tensor};

use super::{InferenceRequest, InputRecord, Parameters, Source};

/// The bytes after the JSON, taken from the front.
pub(super) struct Blobs<'a> {
    rest: &'a [u8],
}

impl<'a> Blobs<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn take(&mut self, input: &str, size: u64) -> Result<&'a [u8], Refusal> {
        let parts = usize::try_from(size)
            .ok()
            .and_then(|size| self.rest.split_at_checked(size));
        let Some((blob, rest)) = parts else {
            let left = self.rest.len();
            return Err(malformed(format!(
                "`{input}` claims {size} bytes after the JSON, {left} are left"
            )));
        };
        self.rest = rest;
        Ok(blob)
    }

    pub(super) fn end(&self) -> Result<(), Refusal> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(malformed(format!(
                "unexpected additional input data: {left} bytes after the last input"
            ))),
        }
    }
}

fn malformed(why: String) -> Refusal {
    Refusal::Malformed {
        what: "the request",
        why,
    }
}

/// Reads the elements of a tensor of this type and shape; `input` names it in refusals. The shape's
/// product must be within the limits already. Never panics, whatever the bytes are.
pub fn decode_binary(
    input: &str,
    datatype: DataType,
    shape: Vec<usize>,
    bytes: &[u8],
) -> Result<Tensor, Refusal> {
    let count = element_count(&shape).unwrap_or(usize::MAX);
    let elements = match datatype.width() {
        None => Elements::Bytes(strings(input, &shape, count, bytes)?),
        Some(width) => {
            if count.checked_mul(width) != Some(bytes.len()) {
                return Err(malformed(format!(
                    "`{input}` with shape {shape:?} and datatype {datatype} has {count} elements of \
                     {width} bytes, got {} bytes",
                    bytes.len()
                )));
            }
            let Some(fixed) = FixedElements::new(datatype, AlignedBytes::from(bytes)) else {
                let index = bytes.iter().position(|it| *it > 1).unwrap_or(0);
                return Err(Refusal::WrongValue {
                    input: input.to_owned(),
                    index,
                    want: "0 or 1".to_owned(),
                    got: bytes.get(index).copied().unwrap_or(0).to_string(),
                });
            };
            Elements::Fixed(fixed)
        }
    };
    Tensor::new(shape, elements).ok_or_else(|| Refusal::Internal {
        what: format!("the elements of `{input}` do not fill its shape"),
    })
}

fn strings(
    input: &str,
    shape: &[usize],
    count: usize,
    mut bytes: &[u8],
) -> Result<Vec<Vec<u8>>, Refusal> {
    // Each string takes four bytes at least, so no claim reserves more than was sent.
    let mut strings = Vec::with_capacity(count.min(bytes.len() / 4));
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_le_bytes(*length);
        let parts = usize::try_from(length)
            .ok()
            .and_then(|length| rest.split_at_checked(length));
        let Some((string, rest)) = parts else {
            return Err(malformed(format!(
                "`{input}`, element {}, claims {length} bytes, {} are left",
                strings.len(),
                rest.len()
            )));
        };
        strings.push(string.to_vec());
        bytes = rest;
    }
    if !bytes.is_empty() {
        return Err(malformed(format!(
            "`{input}` ends with {} bytes that are not the length of a string",
            bytes.len()
        )));
    }
    if strings.len() != count {
        return Err(Refusal::WrongCount {
            input: input.to_owned(),
            shape: format!("{shape:?}"),
            want: count as u64,
            got: strings.len() as u64,
        });
    }
    Ok(strings)
}

/// How many bytes [`encode_binary`] adds.
pub(crate) fn binary_size(tensor: &Tensor) -> usize {
    match tensor.elements() {
        Elements::Fixed(fixed) => fixed.as_bytes().len(),
        Elements::Bytes(strings) => strings.iter().map(|it| 4 + it.len()).sum(),
    }
}

/// Adds the elements of a tensor. A string over 4 GiB, whose length has no spelling, is refused.
pub fn encode_binary(tensor: &Tensor, out: &mut Vec<u8>) -> Result<(), Refusal> {
    match tensor.elements() {
        Elements::Fixed(fixed) => out.extend_from_slice(fixed.as_bytes()),
        Elements::Bytes(strings) => {
            for string in strings {
                let length = u32::try_from(string.len()).map_err(|_| Refusal::TooLarge {
                    what: "a string of a tensor in bytes",
                    limit: u64::from(u32::MAX),
                    got: Some(string.len() as u64),
                })?;
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(string);
            }
        }
    }
    Ok(())
}

/// The request that a body without JSON stands for: the whole body is the model's only input, one row of
/// it; of its other axes at most one is variable; a `BYTES` input is one string, without a length before
/// it. All outputs are wanted in binary.
pub fn raw_request(body: &[u8], signature: &Signature) -> Result<InferenceRequest, Refusal> {
    let unsupported = |what: String| Refusal::Unsupported {
        what,
        hint: "send a JSON header before the tensors".to_owned(),
    };
    let [input] = &signature.inputs[..] else {
        let count = signature.inputs.len();
        return Err(unsupported(format!(
            "a raw binary request for a model with {count} inputs"
        )));
    };
    let name = input.name.clone();
    let mut shape: Vec<Option<usize>> = Vec::new();
    for (axis, dimension) in input.shape.iter().enumerate() {
        shape.push(match dimension {
            Dimension::Fixed(size) => Some(*size),
            Dimension::Variable(_) if axis == 0 && signature.rows == Rows::Outermost => Some(1),
            Dimension::Variable(_) => None,
        });
    }
    let variable = shape.iter().filter(|it| it.is_none()).count();
    if variable > 1 {
        let shown = show_dimensions(&input.shape);
        return Err(unsupported(format!(
            "a raw binary request for input `{name}` of shape {shown}"
        )));
    }
    let known: Vec<usize> = shape.iter().copied().flatten().collect();
    let known = element_count(&known).unwrap_or(usize::MAX);
    let tensor = if let Some(width) = input.datatype.width() {
        let row = known.saturating_mul(width).max(1);
        let shape = shape.into_iter().map(|it| it.unwrap_or(body.len() / row));
        decode_binary(&name, input.datatype, shape.collect(), body)?
    } else {
        let shape: Vec<usize> = shape.into_iter().map(|it| it.unwrap_or(1)).collect();
        if element_count(&shape) != Some(1) {
            return Err(unsupported(format!(
                "a raw binary request for more than one string in `{name}`"
            )));
        }
        Tensor::new(shape, Elements::Bytes(vec![body.to_vec()])).ok_or_else(|| {
            Refusal::Internal {
                what: format!("one string does not fill `{name}`"),
            }
        })?
    };
    Ok(InferenceRequest {
        id: None,
        inputs: vec![InputRecord {
            name,
            source: Source::Tensor(tensor),
        }],
        outputs: Vec::new(),
        parameters: Parameters {
            binary_output: true,
            ..Parameters::default()
        },
    })
}
