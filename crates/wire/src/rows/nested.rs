//! Tensors from lists that say their shape by how they are nested.

use domain::limits::Limits;
use domain::request::NamedTensor;
use domain::{Dimension, Refusal, Tensor, TensorSpec};

use super::malformed;
use crate::elements;
use crate::json::{Kind, Reader};
use crate::oip::{check_shape, push_axis};

/// The list that comes next as the whole of an input.
pub(super) fn read_tensor(
    reader: &mut Reader<'_>,
    spec: &TensorSpec,
    limits: &Limits,
) -> Result<NamedTensor, Refusal> {
    if reader.kind() != Kind::Array {
        return Err(reader.malformed(&format!("`{}` is not a list", spec.name)));
    }
    let mut shape = shape_of(&mut reader.clone(), limits)?;
    let nested = shape.len();
    complete(&mut shape, spec);
    check_shape(&shape, limits)?;
    let mut tensor = elements::read(reader, &spec.name, spec.datatype, shape[..nested].to_vec())?;
    if nested != shape.len() {
        tensor = reshape(tensor, shape, &spec.name)?;
    }
    Ok(NamedTensor {
        name: spec.name.clone(),
        tensor,
    })
}

/// The value or list that comes next as one row of an input.
pub(super) fn read_row(
    reader: &mut Reader<'_>,
    spec: &TensorSpec,
    limits: &Limits,
) -> Result<Tensor, Refusal> {
    let (tensor, mut shape) = if reader.kind() == Kind::Array {
        let inner = shape_of(&mut reader.clone(), limits)?;
        check_shape(&inner, limits)?;
        let mut shape = vec![1];
        shape.extend_from_slice(&inner);
        (
            elements::read(reader, &spec.name, spec.datatype, inner)?,
            shape,
        )
    } else {
        (
            elements::read_one(reader, &spec.name, spec.datatype)?,
            vec![1],
        )
    };
    complete(&mut shape, spec);
    reshape(tensor, shape, &spec.name)
}

/// R2: the last axis that single values leave out; all that no rows leave out.
fn complete(shape: &mut Vec<usize>, spec: &TensorSpec) {
    if shape[..] == [0] {
        let inner = spec.shape.iter().skip(1);
        shape.extend(inner.map(|it| match it {
            Dimension::Fixed(length) => *length,
            Dimension::Variable(_) => 1,
        }));
        return;
    }
    let one = match spec.shape.last() {
        Some(Dimension::Fixed(1) | Dimension::Variable(_)) => true,
        Some(Dimension::Fixed(_)) | None => false,
    };
    if one && shape.len() + 1 == spec.shape.len() {
        shape.push(1);
    }
}

fn reshape(tensor: Tensor, shape: Vec<usize>, input: &str) -> Result<Tensor, Refusal> {
    let (_, elements) = tensor.into_parts();
    Tensor::new(shape, elements).ok_or_else(|| Refusal::Internal {
        what: format!("an added axis changed the size of `{input}`"),
    })
}

/// The shape of the nested lists that come next; refused when they are ragged.
fn shape_of(reader: &mut Reader<'_>, limits: &Limits) -> Result<Vec<usize>, Refusal> {
    // The length of the lists on each level, known when the first of them has ended.
    let mut lengths: Vec<Option<usize>> = Vec::new();
    // How many members each open list has so far.
    let mut open: Vec<usize> = Vec::new();
    // How deep single values lie, known from the first.
    let mut leaf = None;
    let ragged = |reader: &Reader<'_>| Err(reader.malformed("the lists are ragged"));
    loop {
        if reader.next() == b'[' {
            reader.advance();
            reader.enter()?;
            if open.len() == lengths.len() {
                if lengths.len() as u64 == limits.rank_max {
                    let most = limits.rank_max;
                    return Err(reader.malformed(&format!("lists nested deeper than {most} axes")));
                }
                lengths.push(None);
            }
            open.push(0);
            if reader.next() != b']' {
                continue;
            }
        } else {
            reader.token()?;
            if *leaf.get_or_insert(open.len()) != open.len() {
                return ragged(reader);
            }
            if let Some(count) = open.last_mut() {
                *count += 1;
            }
        }
        loop {
            match reader.next() {
                b',' => {
                    reader.advance();
                    break;
                }
                b']' => {
                    reader.advance();
                    reader.leave();
                    let Some(count) = open.pop() else {
                        return ragged(reader);
                    };
                    if *lengths[open.len()].get_or_insert(count) != count {
                        return ragged(reader);
                    }
                    match open.last_mut() {
                        Some(outer) => *outer += 1,
                        None => return finish(lengths, limits),
                    }
                }
                _ => return Err(reader.malformed("expected `,` or `]`")),
            }
        }
    }
}

fn finish(lengths: Vec<Option<usize>>, limits: &Limits) -> Result<Vec<usize>, Refusal> {
    let mut shape = Vec::with_capacity(lengths.len());
    for length in lengths.into_iter().flatten() {
        let length =
            i64::try_from(length).map_err(|_| malformed("a list is too long".to_owned()))?;
        push_axis(&mut shape, length, limits)?;
    }
    Ok(shape)
}
