//! Inputs made from a signature alone.

use domain::signature::{Dimension, Rows};
use domain::tensor::{AlignedBytes, FixedElements, element_count};
use domain::{DataType, Elements, Signature, Tensor, TensorSpec};

/// All inputs together. A model may claim sizes that no memory holds.
const ELEMENTS_MAX: usize = 1 << 28;

/// Inputs of zeros and empty strings. The axis that counts rows has `rows` elements when rows are joined,
/// every other variable axis has `length`. None when they would have more than 2^28 elements in all.
pub fn sample_inputs(signature: &Signature, rows: usize, length: usize) -> Option<Vec<Tensor>> {
    let joined = signature.rows == Rows::Outermost;
    let size = |(axis, dimension): (usize, &Dimension)| match dimension {
        Dimension::Fixed(size) => *size,
        Dimension::Variable(_) if axis == 0 && joined => rows,
        Dimension::Variable(_) => length,
    };
    let shape = |spec: &TensorSpec| spec.shape.iter().enumerate().map(size).collect::<Vec<_>>();
    let shapes: Vec<Vec<usize>> = signature.inputs.iter().map(shape).collect();
    let mut total = 0usize;
    for shape in &shapes {
        total = total.checked_add(element_count(shape)?)?;
    }
    if total > ELEMENTS_MAX {
        return None;
    }
    let specs = signature.inputs.iter().zip(shapes);
    specs
        .map(|(spec, shape)| zeros(spec.datatype, shape))
        .collect()
}

fn zeros(datatype: DataType, shape: Vec<usize>) -> Option<Tensor> {
    let count = element_count(&shape)?;
    let elements = match datatype.width() {
        None => Elements::Bytes(vec![Vec::new(); count]),
        Some(width) => {
            let zeros = AlignedBytes::zeroed(count.checked_mul(width)?);
            Elements::Fixed(FixedElements::new(datatype, zeros)?)
        }
    };
    Tensor::new(shape, elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_axes_get_rows_and_length() {
        let spec = |datatype, shape: &[i64]| TensorSpec {
            name: "x".to_owned(),
            datatype,
            shape: shape
                .iter()
                .map(|size| match usize::try_from(*size) {
                    Ok(size) => Dimension::Fixed(size),
                    Err(_) => Dimension::Variable(None),
                })
                .collect(),
            features: Vec::new(),
        };
        let check = |rows, shapes: &[&[i64]], want: Option<&[&[usize]]>| {
            let mut signature = Signature {
                inputs: vec![spec(DataType::Bytes, shapes[0])],
                outputs: Vec::new(),
                rows,
                task: None,
            };
            let fixed = shapes[1..].iter().map(|it| spec(DataType::Fp16, it));
            signature.inputs.extend(fixed);
            let got = sample_inputs(&signature, 3, 7);
            let got: Option<Vec<&[usize]>> = got
                .as_ref()
                .map(|it| it.iter().map(Tensor::shape).collect());
            assert_eq!(got.as_deref(), want);
        };
        check(
            Rows::Outermost,
            &[&[-1], &[-1, -1, 2]],
            Some(&[&[3], &[3, 7, 2]]),
        );
        check(
            Rows::Whole,
            &[&[1], &[-1, -1, 2]],
            Some(&[&[1], &[7, 7, 2]]),
        );
        check(Rows::Whole, &[&[], &[i64::MAX, i64::MAX]], None);
        check(Rows::Whole, &[&[1 << 27], &[1 << 28]], None);
    }
}
