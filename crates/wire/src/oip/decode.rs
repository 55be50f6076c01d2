//! Requests from JSON, with or without tensors after it.

use std::borrow::Cow;

use domain::limits::Limits;
use domain::tensor::element_count;
use domain::{DataType, Refusal, Tensor};

use super::binary::{Blobs, decode_binary};
use super::{
    Body, InferenceRequest, InputRecord, Parameter, Placement, Region, RequestedOutput, Source,
};
use crate::elements;
use crate::json::{Kind, Reader, Token};

const WHAT: &str = "the request";

/// Reads a request. `json_length` is the text of [`super::JSON_LENGTH_HEADER`], where it was sent.
/// Never panics, whatever the bytes are; takes time and memory in proportion to them.
pub fn decode_request<'a>(
    body: &'a [u8],
    json_length: Option<&str>,
    limits: &Limits,
) -> Result<Body<'a>, Refusal> {
    let (json, blobs) = match json_length {
        None => (body, &[][..]),
        Some(text) => match split(body, text)? {
            ([], raw) => return Ok(Body::Raw(raw)),
            parts => parts,
        },
    };
    request(json, blobs, limits).map(Body::Request)
}

/// The JSON and what follows it.
pub(super) fn split<'a>(
    body: &'a [u8],
    json_length: &str,
) -> Result<(&'a [u8], &'a [u8]), Refusal> {
    let refuse = |why: &str| {
        let shown: String = json_length.chars().take(40).collect();
        Refusal::Malformed {
            what: "`Inference-Header-Content-Length`",
            why: format!("`{shown}` {why}"),
        }
    };
    let text = json_length.trim();
    let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let length = digits.then(|| text.parse::<usize>().ok()).flatten();
    let length = length.ok_or_else(|| refuse("is not a number of bytes"))?;
    body.split_at_checked(length)
        .ok_or_else(|| refuse(&format!("is more than the body's {} bytes", body.len())))
}

fn request(json: &[u8], blobs: &[u8], limits: &Limits) -> Result<InferenceRequest, Refusal> {
    let mut request = InferenceRequest::default();
    let mut blobs = Blobs::new(blobs);
    let mut reader = Reader::new(json, limits.json_depth_max, WHAT);
    let mut seen = Seen::default();
    let mut inputs: Vec<Pending> = Vec::new();
    reader.object(|reader, key| match &*key {
        "id" => {
            seen.once(reader, &key, 1)?;
            request.id = optional_text(reader)?;
            Ok(())
        }
        "parameters" => {
            seen.once(reader, &key, 2)?;
            parameters(reader, |name, value| request.parameters.set(name, value))
        }
        "inputs" => {
            seen.once(reader, &key, 4)?;
            reader.array(|reader| {
                inputs.push(tensor(reader, limits, "input")?);
                Ok(())
            })
        }
        "outputs" => {
            seen.once(reader, &key, 8)?;
            reader.array(|reader| {
                request.outputs.push(output(reader)?);
                Ok(())
            })
        }
        _ => reader.skip(),
    })?;
    reader.end()?;
    if seen.0 & 4 == 0 {
        return Err(missing("the request", "inputs"));
    }
    for input in inputs {
        request.inputs.push(input.settle(&mut blobs)?);
    }
    blobs.end()?;
    request.check_names()?;
    Ok(request)
}

/// Which keys of an object were there already, one bit each.
#[derive(Default)]
pub(super) struct Seen(u8);

impl Seen {
    pub(super) fn once(&mut self, reader: &Reader<'_>, key: &str, bit: u8) -> Result<(), Refusal> {
        if self.0 & bit != 0 {
            return Err(reader.malformed(&format!("`{key}` is given twice")));
        }
        self.0 |= bit;
        Ok(())
    }
}

fn missing(of: &str, key: &str) -> Refusal {
    Refusal::Malformed {
        what: WHAT,
        why: format!("{of} has no `{key}`"),
    }
}

/// A string, or none for `null`.
pub(super) fn optional_text(reader: &mut Reader<'_>) -> Result<Option<String>, Refusal> {
    match reader.token()? {
        Token::Text(text) => Ok(Some(text.into_owned())),
        Token::Null => Ok(None),
        Token::Bool(_) | Token::Number(_) | Token::Word(..) => {
            Err(reader.malformed("expected a string"))
        }
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, Refusal> {
    reader.next();
    reader.text().map(Cow::into_owned)
}

/// The members of a `parameters` object. Lists and objects are passed over: no parameter of ours has them.
pub(super) fn parameters<'a>(
    reader: &mut Reader<'a>,
    mut set: impl FnMut(&str, Parameter) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    reader.object(|reader, name| {
        if reader.kind() != Kind::Scalar {
            return reader.skip();
        }
        let value = match reader.token()? {
            Token::Null => return Ok(()),
            Token::Bool(truth) => Parameter::Bool(truth),
            Token::Text(text) => Parameter::Text(text.into_owned()),
            Token::Word(_, number) => Parameter::Number(number),
            Token::Number(decimal) => {
                let whole = decimal.to_integer();
                let signed = whole.and_then(|it| i64::try_from(it).ok());
                let unsigned = whole.and_then(|it| u64::try_from(it).ok());
                match (signed, unsigned) {
                    (Some(number), _) => Parameter::Integer(number),
                    (None, Some(number)) => Parameter::Unsigned(number),
                    (None, None) => Parameter::Number(decimal.to_f64()),
                }
            }
        };
        set(&name, value)
    })
}

fn output(reader: &mut Reader<'_>) -> Result<RequestedOutput, Refusal> {
    let mut name = None;
    let mut placement = Placement::default();
    let mut seen = Seen::default();
    reader.object(|reader, key| match &*key {
        "name" => {
            seen.once(reader, &key, 1)?;
            name = Some(text(reader)?);
            Ok(())
        }
        "parameters" => {
            seen.once(reader, &key, 2)?;
            parameters(reader, |name, value| placement.set(name, value))
        }
        _ => reader.skip(),
    })?;
    let name = name.ok_or_else(|| missing("an output", "name"))?;
    RequestedOutput::new(name, placement)
}

impl RequestedOutput {
    pub(crate) fn new(name: String, mut placement: Placement) -> Result<Self, Refusal> {
        Ok(Self {
            binary: placement.binary,
            // No classes is what a client says that wants the tensor.
            classification: placement.classification.filter(|count| *count > 0),
            shared_memory: placement.region(&name)?,
            name,
        })
    }
}

/// A tensor whose JSON was read; its elements may be elsewhere.
pub(super) struct Pending {
    name: String,
    place: Place,
}

enum Place {
    Here(Tensor),
    After {
        datatype: DataType,
        shape: Vec<usize>,
        size: u64,
    },
    Shared {
        datatype: DataType,
        shape: Vec<usize>,
        region: Region,
    },
}

/// One member of `inputs` (or of an answer's `outputs`).
pub(super) fn tensor<'a>(
    reader: &mut Reader<'a>,
    limits: &Limits,
    what: &str,
) -> Result<Pending, Refusal> {
    let mut name: Option<String> = None;
    let mut datatype = None;
    let mut shape: Option<Vec<usize>> = None;
    let mut placement = Placement::default();
    let mut here = None;
    // Where `data` begins, when it came before what it needs.
    let mut later: Option<Reader<'a>> = None;
    let mut seen = Seen::default();
    reader.object(|reader, key| match &*key {
        "name" => {
            seen.once(reader, &key, 1)?;
            name = Some(text(reader)?);
            Ok(())
        }
        "datatype" => {
            seen.once(reader, &key, 2)?;
            reader.next();
            let text = reader.text()?;
            datatype = DataType::from_name(&text);
            if datatype.is_none() {
                let text: String = text.chars().take(40).collect();
                let names = DataType::ALL.map(DataType::name).join(", ");
                return Err(reader.malformed(&format!("`{text}` is not a datatype, want {names}")));
            }
            Ok(())
        }
        "shape" => {
            seen.once(reader, &key, 4)?;
            shape = Some(read_shape(reader, limits)?);
            Ok(())
        }
        "parameters" => {
            seen.once(reader, &key, 8)?;
            parameters(reader, |name, value| placement.set(name, value))
        }
        "data" => {
            seen.once(reader, &key, 16)?;
            if let (Some(name), Some(datatype)) = (&name, datatype)
                && let Some(shape) = shape.take()
            {
                here = Some(elements::read(reader, name, datatype, shape)?);
                return Ok(());
            }
            later = Some(reader.clone());
            reader.skip()
        }
        _ => reader.skip(),
    })?;
    let name = name.ok_or_else(|| missing(&format!("an {what}"), "name"))?;
    let missing = |key| missing(&format!("{what} `{name}`"), key);
    let place = match (here, later, placement.binary_size, placement.region(&name)?) {
        (Some(tensor), None, None, None) => Place::Here(tensor),
        (None, later, size, region) => {
            let datatype = datatype.ok_or_else(|| missing("datatype"))?;
            let shape = shape.ok_or_else(|| missing("shape"))?;
            match (later, size, region) {
                (Some(mut data), None, None) => {
                    Place::Here(elements::read(&mut data, &name, datatype, shape)?)
                }
                (None, Some(size), None) => Place::After {
                    datatype,
                    shape,
                    size,
                },
                (None, None, Some(region)) => Place::Shared {
                    datatype,
                    shape,
                    region,
                },
                (None, None, None) => return Err(missing("data")),
                _ => return Err(many_places(what, &name)),
            }
        }
        _ => return Err(many_places(what, &name)),
    };
    Ok(Pending { name, place })
}

fn many_places(what: &str, name: &str) -> Refusal {
    Refusal::Malformed {
        what: WHAT,
        why: format!(
            "{what} `{name}` has more than one of `data`, `binary_data_size` and \
             `shared_memory_region`"
        ),
    }
}

impl Pending {
    /// The input with its elements; those that follow the JSON are taken from `blobs`.
    pub(super) fn settle(self, blobs: &mut Blobs<'_>) -> Result<InputRecord, Refusal> {
        let Self { name, place } = self;
        let source = match place {
            Place::Here(tensor) => Source::Tensor(tensor),
            Place::After {
                datatype,
                shape,
                size,
            } => {
                let blob = blobs.take(&name, size)?;
                Source::Tensor(decode_binary(&name, datatype, shape, blob)?)
            }
            Place::Shared {
                datatype,
                shape,
                region,
            } => Source::SharedMemory {
                datatype,
                shape,
                region,
            },
        };
        Ok(InputRecord { name, source })
    }
}

fn read_shape(reader: &mut Reader<'_>, limits: &Limits) -> Result<Vec<usize>, Refusal> {
    let mut shape = Vec::with_capacity(4);
    reader.array(|reader| {
        let Token::Number(decimal) = reader.token()? else {
            return Err(reader.malformed("expected the length of an axis"));
        };
        let length = decimal.to_integer();
        let Some(length) = length.and_then(|it| i64::try_from(it).ok()) else {
            let why = format!("the length of an axis is `{:.40}`", decimal.text());
            return Err(reader.malformed(&why));
        };
        push_axis(&mut shape, length, limits)
    })?;
    check_shape(&shape, limits)?;
    Ok(shape)
}

/// Adds an axis to a shape that came over the network.
pub(crate) fn push_axis(
    shape: &mut Vec<usize>,
    length: i64,
    limits: &Limits,
) -> Result<(), Refusal> {
    let malformed = |why| Refusal::Malformed {
        what: "a shape",
        why,
    };
    if shape.len() as u64 == limits.rank_max {
        return Err(malformed(format!(
            "it has more than {} axes",
            limits.rank_max
        )));
    }
    let length = usize::try_from(length)
        .map_err(|_| malformed(format!("an axis has length `{length}`, not zero or more")))?;
    shape.push(length);
    Ok(())
}

/// Refused when the shape's product is over the limit or no number at all.
pub(crate) fn check_shape(shape: &[usize], limits: &Limits) -> Result<(), Refusal> {
    let got = element_count(shape).map(|it| it as u64);
    match got {
        Some(got) if got <= limits.elements_max => Ok(()),
        got => Err(Refusal::TooLarge {
            what: "the number of elements of a tensor",
            limit: limits.elements_max,
            got,
        }),
    }
}
