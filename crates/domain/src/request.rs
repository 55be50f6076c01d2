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

/// The first row's value in a column, as the ledger's rows have it as their key: an input of one value a row, or a
/// feature. None where the request does not have it.
pub fn value_of(signature: &Signature, inputs: &[NamedTensor], column: &str) -> Option<String> {
    let (input, at) = signature.column(column)?;
    let name = &signature.inputs[input].name;
    let tensor = &inputs.iter().find(|it| it.name == *name)?.tensor;
    tensor.elements().text(at)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::TensorSpec;
    use crate::tensor::{DataType, Elements};

    /// Inputs `NAME SIZES`, where a word is the name of a variable axis; tensors `NAME SIZES` of FP32, or
    /// of INT32 after `int`; outputs `y` and `z`.
    fn check(inputs: &[&str], tensors: &[&str], wanted: &[&str], want: &str) {
        let spec = |text: &&str| {
            let mut words = text.split(' ');
            let name = words.next().expect("a name").to_owned();
            let dimension = |word: &str| match word.parse() {
                Ok(size) => Dimension::Fixed(size),
                Err(_) if word == "?" => Dimension::Variable(None),
                Err(_) => Dimension::Variable(Some(word.to_owned())),
            };
            let shape = words.map(dimension).collect();
            TensorSpec {
                name,
                datatype: DataType::Fp32,
                shape,
                features: Vec::new(),
            }
        };
        let inputs: Vec<TensorSpec> = inputs.iter().map(spec).collect();
        let outputs: Vec<TensorSpec> = ["y ?", "z ?"].iter().map(spec).collect();
        let rows = Signature::rows_of(&inputs, &outputs);
        let signature = Signature {
            inputs,
            outputs,
            rows,
            task: None,
        };
        let tensor = |text: &&str| {
            let (kind, text) = text
                .strip_prefix("int ")
                .map_or(("", *text), |it| ("int", it));
            let mut words = text.split(' ');
            let name = words.next().expect("a name").to_owned();
            let shape: Vec<usize> = words.map(|it| it.parse().expect("a size")).collect();
            let count = shape.iter().product();
            let elements = match kind {
                "int" => Elements::from_slice(&vec![0i32; count]),
                _ => Elements::from_slice(&vec![0f32; count]),
            };
            NamedTensor {
                name,
                tensor: Tensor::new(shape, elements).expect("it fits"),
            }
        };
        let tensors = tensors.iter().map(tensor).collect();
        let wanted: Vec<String> = wanted.iter().map(|it| (*it).to_owned()).collect();
        let got = match fit(&signature, tensors, &wanted) {
            Ok(fitted) => format!("{} rows, outputs {:?}", fitted.rows, fitted.outputs),
            Err(refusal) => refusal.to_string(),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn what_fits_is_put_into_the_models_order() {
        check(
            &["a n 2", "b n"],
            &["b 3", "a 3 2"],
            &[],
            "3 rows, outputs [0, 1]",
        );
        check(
            &["a n 2"],
            &["a 1 2"],
            &["z", "y"],
            "1 rows, outputs [1, 0]",
        );
        check(&["a 4 2"], &["a 4 2"], &["z"], "1 rows, outputs [1]");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let two = &["a n 2", "b n"];
        check(two, &["a 1 2"], &[], "input `b` is missing");
        check(two, &["a 1 2", "a 1 2"], &[], "input `a` is given twice");
        check(
            two,
            &["c 1"],
            &[],
            "the model has no input `c`; its inputs are `a`, `b`",
        );
        check(
            two,
            &["a 1 3"],
            &[],
            "input `a` has shape [1, 3], the model takes [-1, 2]",
        );
        check(
            two,
            &["a 2"],
            &[],
            "input `a` has shape [2], the model takes [-1, 2]",
        );
        check(
            two,
            &["int a 1 2"],
            &[],
            "input `a` has datatype `INT32`, the model takes `FP32`",
        );
        check(two, &["a 0 2", "b 0"], &[], "input `a` has no rows");
        check(
            two,
            &["a 2 2", "b 3"],
            &[],
            "input `b` has 3 rows, the inputs before it have 2",
        );
        check(
            &["a n L", "b n L"],
            &["a 1 3", "b 1 4"],
            &[],
            "input `b` has size 4 along axis `L`, an input before it has 3",
        );
        check(
            &["a n ?", "b n ?"],
            &["a 1 3", "b 1 4"],
            &[],
            "1 rows, outputs [0, 1]",
        );
        check(
            two,
            &["a 1 2", "b 1"],
            &["y", "y"],
            "output `y` is asked for twice",
        );
        check(
            two,
            &["a 1 2", "b 1"],
            &["q"],
            "the model has no output `q`; its outputs are `y`, `z`",
        );
    }
}
