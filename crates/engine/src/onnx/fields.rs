//! A protobuf message as what it is on disk: numbered fields one after another. Nothing is built or copied.

use domain::Refusal;
use prost::encoding::{WireType, decode_key, decode_varint};

/// The fields of a protobuf message, in the file's order.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

/// A field's value as far as it matters here.
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A float or a double.
    Float,
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Value<'a>), Refusal> {
        let (number, wire) =
            decode_key(&mut self.0).map_err(|_| invalid("the file is not an ONNX model"))?;
        let value = match wire {
            WireType::Varint => Value::Number(decode_varint(&mut self.0).map_err(|_| cut_short())?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.0).map_err(|_| cut_short())?;
                Value::Bytes(self.take(length)?)
            }
            WireType::ThirtyTwoBit => {
                self.take(4)?;
                Value::Float
            }
            WireType::SixtyFourBit => {
                self.take(8)?;
                Value::Float
            }
            WireType::StartGroup | WireType::EndGroup => {
                return Err(invalid("the file is not an ONNX model"));
            }
        };
        Ok((number, value))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Refusal> {
        let left = self.0.len();
        let taken = usize::try_from(length)
            .ok()
            .and_then(|it| self.0.split_at_checked(it));
        let Some((taken, rest)) = taken else {
            let why = format!("the file is cut short: a part of {length} bytes has {left} left");
            return Err(invalid(why));
        };
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

pub(super) fn cut_short() -> Refusal {
    invalid("the file is cut short or is not an ONNX model")
}

pub(super) fn invalid(why: impl Into<String>) -> Refusal {
    Refusal::InvalidModel { why: why.into() }
}
