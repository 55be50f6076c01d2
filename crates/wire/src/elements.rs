//! The elements of a tensor as JSON: nested lists or one flat list of numbers, truth values or strings.
//!
//! R1. As many elements as the shape's product. A nested list follows the shape: as deep as it has axes or
//!     less, each list as long as its axis says.
//! R2. A number is the nearest of the type; one that no such type holds is refused, and so is a fraction
//!     for an integer. `3.0` is an integer, 0 and 1 are truth values.
//! R3. What JSON has no number for: `null`, `NaN` and `"NaN"` are NaN; `Infinity` and `"Infinity"`, and both
//!     with a minus, are infinite; all for floating-point types alone. Written as `null`, `"Infinity"` and
//!     `"-Infinity"`, so that every JSON parser reads our answers.
//! R4. FP16 and BF16 are read and written as numbers; Triton refuses them here.

use domain::tensor::{AlignedBytes, FixedElements, element_count};
use domain::{DataType, Elements, Refusal, Tensor};
use half::{bf16, f16};

use crate::json::{Reader, Token};
use crate::number::Decimal;

/// A type of element of a fixed width, as JSON spells it.
trait Scalar: bytemuck::Pod {
    /// The number, if the type holds it.
    fn from_decimal(decimal: Decimal<'_>) -> Option<Self>;

    /// What is not written as a number, if the type holds it.
    fn from_token(token: &Token<'_>) -> Option<Self>;

    /// Writes it.
    fn write(self, out: &mut Vec<u8>);
}

macro_rules! floats {
    ($($type:ty: $read:expr, $from:expr, $to:expr;)*) => {
        $(impl Scalar for $type {
            #[inline(always)]
            fn from_decimal(decimal: Decimal<'_>) -> Option<Self> {
                let number: Self = $read(decimal);
                number.is_finite().then_some(number)
            }

            fn from_token(token: &Token<'_>) -> Option<Self> {
                float_word(token).map($from)
            }

            #[inline]
            fn write(self, out: &mut Vec<u8>) {
                if self.is_finite() {
                    out.extend_from_slice(zmij::Buffer::new().format_finite($to(self)).as_bytes());
                } else {
                    write_word(f64::from(self), out);
                }
            }
        })*
    };
}

floats! {
    f64: Decimal::to_f64, |it| it, |it| it;
    f32: Decimal::to_f32, |it| it as f32, |it| it;
    f16: |it: Decimal<'_>| f16::from_f64(it.to_f64()), f16::from_f64, f16::to_f32;
    bf16: |it: Decimal<'_>| bf16::from_f64(it.to_f64()), bf16::from_f64, bf16::to_f32;
}

macro_rules! integers {
    ($($type:ty),*) => {
        $(impl Scalar for $type {
            #[inline(always)]
            fn from_decimal(decimal: Decimal<'_>) -> Option<Self> {
                Self::try_from(decimal.to_integer()?).ok()
            }

            fn from_token(_: &Token<'_>) -> Option<Self> {
                None
            }

            #[inline]
            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(itoa::Buffer::new().format(self).as_bytes());
            }
        })*
    };
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);

/// A `BOOL`: one byte, 0 or 1.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(transparent)]
struct Truth(u8);

impl Scalar for Truth {
    fn from_decimal(decimal: Decimal<'_>) -> Option<Self> {
        match decimal.to_integer()? {
            0 => Some(Self(0)),
            1 => Some(Self(1)),
            _ => None,
        }
    }

    fn from_token(token: &Token<'_>) -> Option<Self> {
        match token {
            Token::Bool(truth) => Some(Self(u8::from(*truth))),
            Token::Null | Token::Number(_) | Token::Word(..) | Token::Text(_) => None,
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.0 == 0 { b"false" } else { b"true" });
    }
}

fn float_word(token: &Token<'_>) -> Option<f64> {
    match token {
        Token::Null => Some(f64::NAN),
        Token::Word(_, number) => Some(*number),
        Token::Text(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        Token::Bool(_) | Token::Number(_) => None,
    }
}

#[cold]
fn write_word(number: f64, out: &mut Vec<u8>) {
    let word: &[u8] = if number.is_nan() {
        b"null"
    } else if number > 0.0 {
        b"\"Infinity\""
    } else {
        b"\"-Infinity\""
    };
    out.extend_from_slice(word);
}

/// Calls `$body` with `$type` standing for the Rust type of a fixed-width datatype.
macro_rules! with_scalar {
    ($datatype:expr, $type:ident => $body:expr, bytes => $bytes:expr) => {
        match $datatype {
            DataType::Bool => {
                type $type = Truth;
                $body
            }
            DataType::Uint8 => {
                type $type = u8;
                $body
            }
            DataType::Uint16 => {
                type $type = u16;
                $body
            }
            DataType::Uint32 => {
                type $type = u32;
                $body
            }
            DataType::Uint64 => {
                type $type = u64;
                $body
            }
            DataType::Int8 => {
                type $type = i8;
                $body
            }
            DataType::Int16 => {
                type $type = i16;
                $body
            }
            DataType::Int32 => {
                type $type = i32;
                $body
            }
            DataType::Int64 => {
                type $type = i64;
                $body
            }
            DataType::Fp16 => {
                type $type = f16;
                $body
            }
            DataType::Bf16 => {
                type $type = bf16;
                $body
            }
            DataType::Fp32 => {
                type $type = f32;
                $body
            }
            DataType::Fp64 => {
                type $type = f64;
                $body
            }
            DataType::Bytes => $bytes,
        }
    };
}

/// What is being read, for refusals.
#[derive(Clone, Copy)]
struct Target<'a> {
    input: &'a str,
    datatype: DataType,
    shape: &'a [usize],
}

/// Reads the list that comes next as a tensor of this type and shape; `input` names it in refusals.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    input: &str,
    datatype: DataType,
    shape: Vec<usize>,
) -> Result<Tensor, Refusal> {
    // No element is shorter than a digit and a comma, so no claim reserves more than its text can fill.
    let most = reader.remaining() / 2 + 1;
    let want = element_count(&shape).unwrap_or(usize::MAX);
    let target = Target {
        input,
        datatype,
        shape: &shape,
    };
    let elements = with_scalar!(datatype, T => {
        let mut bytes = AlignedBytes::zeroed(want.min(most) * size_of::<T>());
        let out: &mut [T] = bytemuck::cast_slice_mut(bytes.as_mut_slice());
        let got = walk(reader, target, |reader, index| {
            let value = read_scalar::<T>(reader, target, index)?;
            if let Some(slot) = out.get_mut(index) {
                *slot = value;
            }
            Ok(())
        })?;
        check_count(target, want, got)?;
        FixedElements::new(datatype, bytes).map(Elements::Fixed)
    }, bytes => {
        let mut strings = Vec::with_capacity(want.min(most));
        let got = walk(reader, target, |reader, index| {
            let string = read_string(reader, target, index)?;
            if index < want {
                strings.push(string);
            }
            Ok(())
        })?;
        check_count(target, want, got)?;
        Some(Elements::Bytes(strings))
    });
    let tensor = elements.and_then(|it| Tensor::new(shape, it));
    tensor.ok_or_else(|| Refusal::Internal {
        what: format!("the elements of `{input}` do not fill its shape"),
    })
}

/// Reads the single value that comes next as a scalar.
pub(crate) fn read_one(
    reader: &mut Reader<'_>,
    input: &str,
    datatype: DataType,
) -> Result<Tensor, Refusal> {
    let target = Target {
        input,
        datatype,
        shape: &[],
    };
    let elements = with_scalar!(datatype, T => {
        let value = read_token::<T>(reader, target, 0)?;
        let bytes = AlignedBytes::from(bytemuck::bytes_of(&value));
        FixedElements::new(datatype, bytes).map(Elements::Fixed)
    }, bytes => Some(Elements::Bytes(vec![read_string(reader, target, 0)?])));
    let tensor = elements.and_then(|it| Tensor::new(Vec::new(), it));
    tensor.ok_or_else(|| Refusal::Internal {
        what: format!("one element does not fill `{input}`"),
    })
}

/// Walks nested lists and calls `each` at every element with its index. Gives the number of elements.
#[inline(always)]
fn walk<'a>(
    reader: &mut Reader<'a>,
    target: Target<'_>,
    mut each: impl FnMut(&mut Reader<'a>, usize) -> Result<(), Refusal>,
) -> Result<usize, Refusal> {
    if reader.next() != b'[' {
        return Err(reader.malformed(&format!("`data` of `{}` is not a list", target.input)));
    }
    let axes = target.shape.len().max(1);
    let mut count = 0;
    // The index at which each open list but the outermost began.
    let mut starts: Vec<usize> = Vec::new();
    let mut depth = 0;
    // How deep the elements lie; unknown before the first.
    let mut leaf = None;
    loop {
        // A value comes next: lists open until there is an element or a list without any.
        if reader.next() == b'[' {
            reader.advance();
            reader.enter()?;
            if depth > 0 {
                starts.push(count);
            }
            depth += 1;
            if depth > axes {
                return Err(nested(reader, target, "is nested deeper than its shape"));
            }
            if reader.next() != b']' {
                continue;
            }
        } else {
            if *leaf.get_or_insert(depth) != depth {
                return Err(nested(reader, target, "mixes elements and lists"));
            }
            loop {
                each(reader, count)?;
                count += 1;
                // The common cases first: `,` and `, `.
                if reader.byte() != b',' {
                    break;
                }
                reader.advance();
                if reader.byte() == b' ' {
                    reader.advance();
                }
                if !matches!(reader.byte(), b'0'..=b'9' | b'-') && reader.next() == b'[' {
                    return Err(nested(reader, target, "mixes elements and lists"));
                }
            }
        }
        // After a value: lists close, then a comma or the end.
        loop {
            match reader.next() {
                b',' => {
                    reader.advance();
                    break;
                }
                b']' => {
                    reader.advance();
                    reader.leave();
                    depth -= 1;
                    let Some(start) = starts.pop() else {
                        return Ok(count);
                    };
                    let length = element_count(&target.shape[depth..]);
                    if length != Some(count - start) {
                        return Err(nested(
                            reader,
                            target,
                            "has a list of another length than its shape",
                        ));
                    }
                }
                _ => return Err(reader.malformed("expected `,` or `]`")),
            }
        }
    }
}

#[cold]
fn nested(reader: &Reader<'_>, target: Target<'_>, why: &str) -> Refusal {
    let Target { input, shape, .. } = target;
    reader.malformed(&format!("`data` of `{input}` {why} {shape:?}"))
}

#[inline(always)]
fn read_scalar<T: Scalar>(
    reader: &mut Reader<'_>,
    target: Target<'_>,
    index: usize,
) -> Result<T, Refusal> {
    if reader.is_at_number() {
        let decimal = reader.number()?;
        return T::from_decimal(decimal)
            .ok_or_else(|| wrong_value(target, index, &Token::Number(decimal)));
    }
    read_token(reader, target, index)
}

fn read_token<T: Scalar>(
    reader: &mut Reader<'_>,
    target: Target<'_>,
    index: usize,
) -> Result<T, Refusal> {
    let token = reader.token()?;
    let value = match &token {
        Token::Number(decimal) => T::from_decimal(*decimal),
        other => T::from_token(other),
    };
    value.ok_or_else(|| wrong_value(target, index, &token))
}

fn read_string(
    reader: &mut Reader<'_>,
    target: Target<'_>,
    index: usize,
) -> Result<Vec<u8>, Refusal> {
    match reader.token()? {
        Token::Text(text) => Ok(text.into_owned().into_bytes()),
        token => Err(wrong_value(target, index, &token)),
    }
}

#[cold]
fn wrong_value(target: Target<'_>, index: usize, got: &Token<'_>) -> Refusal {
    let got = match got {
        Token::Null => "null",
        Token::Bool(true) => "true",
        Token::Bool(false) => "false",
        Token::Number(decimal) => decimal.text(),
        Token::Word(word, _) => word,
        Token::Text(text) => text,
    };
    Refusal::WrongValue {
        input: target.input.to_owned(),
        index,
        want: match target.datatype {
            DataType::Bytes => "a string".to_owned(),
            datatype => format!("a value of {datatype}"),
        },
        got: got.chars().take(40).collect(),
    }
}

#[cold]
fn wrong_count(target: Target<'_>, want: usize, got: usize) -> Refusal {
    Refusal::WrongCount {
        input: target.input.to_owned(),
        shape: format!("{:?}", target.shape),
        want: want as u64,
        got: got as u64,
    }
}

fn check_count(target: Target<'_>, want: usize, got: usize) -> Result<(), Refusal> {
    if want == got {
        Ok(())
    } else {
        Err(wrong_count(target, want, got))
    }
}

/// Writes the elements as one flat list.
pub(crate) fn write_flat(
    elements: &Elements,
    output: &str,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    write_list(elements, 0..elements.count(), output, out)
}

/// Writes a tensor as lists nested as its shape is; a scalar as itself.
pub(crate) fn write_nested(
    tensor: &Tensor,
    output: &str,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    write_axes(tensor, tensor.shape(), 0, output, out)
}

/// Writes row `row` of the outermost axis as lists nested as the inner axes are.
pub(crate) fn write_row(
    tensor: &Tensor,
    row: usize,
    output: &str,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let inner = tensor.shape().get(1..).unwrap_or_default();
    let stride = element_count(inner).unwrap_or(0);
    write_axes(tensor, inner, row * stride, output, out)
}

// A tensor has no more axes than `rank_max`, and a model's output no more than its runtime allows.
fn write_axes(
    tensor: &Tensor,
    axes: &[usize],
    start: usize,
    output: &str,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    match axes {
        [] => write_items(tensor.elements(), start..start + 1, output, out),
        [length] => write_list(tensor.elements(), start..start + length, output, out),
        [length, inner @ ..] => {
            let stride = element_count(inner).unwrap_or(0);
            out.push(b'[');
            for index in 0..*length {
                if index > 0 {
                    out.push(b',');
                }
                write_axes(tensor, inner, start + index * stride, output, out)?;
            }
            out.push(b']');
            Ok(())
        }
    }
}

fn write_list(
    elements: &Elements,
    range: std::ops::Range<usize>,
    output: &str,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    out.push(b'[');
    write_items(elements, range, output, out)?;
    out.push(b']');
    Ok(())
}

fn write_items(
    elements: &Elements,
    range: std::ops::Range<usize>,
    output: &str,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    match elements {
        Elements::Fixed(fixed) => with_scalar!(fixed.datatype(), T => {
            let all: &[T] = bytemuck::cast_slice(fixed.as_bytes());
            for (index, element) in all.get(range).unwrap_or_default().iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                element.write(out);
            }
        }, bytes => {}),
        Elements::Bytes(strings) => {
            for (index, string) in strings.get(range).unwrap_or_default().iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                let text = str::from_utf8(string).map_err(|_| Refusal::Unsupported {
                    what: format!("output `{output}` as JSON, with a string that is not UTF-8,"),
                    hint: "ask for it in binary (`binary_data`)".to_owned(),
                })?;
                crate::json::write_text(text, out);
            }
        }
    }
    Ok(())
}

/// Writes element `index` by itself.
pub(crate) fn write_one(
    elements: &Elements,
    index: usize,
    output: &str,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    write_items(elements, index..index + 1, output, out)
}
