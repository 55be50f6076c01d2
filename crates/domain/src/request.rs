//! One request for an answer, and the check that it fits the model.

use crate::name::Reference;
use crate::refusal::Refusal;
use crate::signature::{Dimension, Rows, Signature, names, show_dimensions};
use crate::tensor::Tensor;

/// A tensor by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The input's or output's name.
    pub name: String,
    /// The tensor.
    pub tensor: Tensor,
}

/// What a caller asks, in whatever protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Which model and version.
    pub reference: Reference,
    /// The caller's own id for the request, given back as it came.
    pub id: Option<String>,
    /// The inputs in the caller's order.
    pub inputs: Vec<NamedTensor>,
    /// The outputs wanted, in the caller's order; empty for all.
    pub outputs: Vec<String>,
    /// How long the caller will wait, where it says so.
    pub timeout_us: Option<u64>,
}

/// A request that fits its model: inputs in the signature's order, and which outputs to answer with.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// One tensor per input of the signature, in its order.
    pub inputs: Vec<Tensor>,
    /// Indexes into the signature's outputs, in the caller's order.
    pub outputs: Vec<usize>,
    /// How many rows the request has; 1 when requests are not joined.
    pub rows: usize,
}

/// Checks that inputs and wanted outputs fit the signature and puts them into its order.
pub fn fit(
    signature: &Signature,
    inputs: Vec<NamedTensor>,
    wanted: &[String],
) -> Result<Fitted, Refusal> {
    let mut slots: Vec<Option<Tensor>> = signature.inputs.iter().map(|_| None).collect();
    for NamedTensor { name, tensor } in inputs {
        let Some(index) = signature.inputs.iter().position(|it| it.name == name) else {
            let known = names(signature.inputs.iter());
            return Err(Refusal::UnknownInput { input: name, known });
        };
        if slots[index].is_some() {
            return Err(Refusal::DuplicateInput { input: name });
        }
        let spec = &signature.inputs[index];
        if tensor.datatype() != spec.datatype {
            return Err(Refusal::WrongDatatype {
                input: name,
                want: spec.datatype.to_string(),
                got: tensor.datatype().to_string(),
            });
        }
        if !spec.accepts_shape(tensor.shape()) {
            return Err(Refusal::WrongShape {
                input: name,
                want: show_dimensions(&spec.shape),
                got: format!("{:?}", tensor.shape()),
            });
        }
        slots[index] = Some(tensor);
    }
    let mut fitted = Vec::with_capacity(slots.len());
    for (spec, slot) in signature.inputs.iter().zip(slots) {
        let Some(tensor) = slot else {
            return Err(Refusal::MissingInput {
                input: spec.name.clone(),
            });
        };
        fitted.push(tensor);
    }
    let rows = count_rows(signature, &fitted)?;
    check_named_sizes(signature, &fitted)?;
    Ok(Fitted {
        inputs: fitted,
        outputs: wanted_outputs(signature, wanted)?,
        rows,
    })
}

fn count_rows(signature: &Signature, inputs: &[Tensor]) -> Result<usize, Refusal> {
    if signature.rows == Rows::Whole {
        return Ok(1);
    }
    let mut rows = None;
    for (spec, tensor) in signature.inputs.iter().zip(inputs) {
        let got = tensor.shape().first().copied().unwrap_or(0);
        match rows {
            None if got == 0 => {
                return Err(Refusal::NoRows {
                    input: spec.name.clone(),
                });
            }
            None => rows = Some(got),
            Some(want) if want != got => {
                return Err(Refusal::DifferentRows {
                    input: spec.name.clone(),
                    want,
                    got,
                });
            }
            Some(_) => {}
        }
    }
    Ok(rows.unwrap_or(1))
}

/// Axes of the same name have the same size in one request.
fn check_named_sizes(signature: &Signature, inputs: &[Tensor]) -> Result<(), Refusal> {
    let skipped = usize::from(signature.rows == Rows::Outermost);
    let mut sizes: Vec<(&str, usize)> = Vec::new();
    for (spec, tensor) in signature.inputs.iter().zip(inputs) {
        for (dimension, got) in spec.shape.iter().zip(tensor.shape()).skip(skipped) {
            let Dimension::Variable(Some(axis)) = dimension else {
                continue;
            };
            match sizes.iter().find(|(name, _)| name == axis) {
                None => sizes.push((axis, *got)),
                Some((_, want)) if want == got => {}
                Some((_, want)) => {
                    return Err(Refusal::DifferentSizes {
                        input: spec.name.clone(),
                        axis: axis.clone(),
                        want: *want,
                        got: *got,
                    });
                }
            }
        }
    }
    Ok(())
}

fn wanted_outputs(signature: &Signature, wanted: &[String]) -> Result<Vec<usize>, Refusal> {
    if wanted.is_empty() {
        return Ok((0..signature.outputs.len()).collect());
    }
    let mut indexes = Vec::with_capacity(wanted.len());
    for name in wanted {
        let Some(index) = signature.outputs.iter().position(|it| it.name == *name) else {
            let known = names(signature.outputs.iter());
            return Err(Refusal::UnknownOutput {
                output: name.clone(),
                known,
            });
        };
        if indexes.contains(&index) {
            return Err(Refusal::DuplicateOutput {
                output: name.clone(),
            });
        }
        indexes.push(index);
    }
    Ok(indexes)
}
