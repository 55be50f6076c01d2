//! The classification extension: in place of a tensor, the classes of the highest value as strings.

use std::cmp::Ordering;

use domain::signature::Rows;
use domain::tensor::element_count;
use domain::{Elements, Refusal, Tensor};

use crate::elements;

/// The `count` classes of the highest value, highest first, each as `value:index` or `value:index:label`;
/// of equal ones the one with the lower index first, NaN last. With joined rows for every row of the
/// outermost axis: shape `[rows, count]`; otherwise `[count]`. As many as there are, if they are fewer.
pub fn classify(
    output: &str,
    tensor: &Tensor,
    rows: Rows,
    count: u32,
    labels: &[String],
) -> Result<Tensor, Refusal> {
    let Elements::Fixed(numbers) = tensor.elements() else {
        return Err(Refusal::Unsupported {
            what: format!("classification of output `{output}`, which holds strings,"),
            hint: "ask for the tensor".to_owned(),
        });
    };
    let (row_count, inner) = match (rows, tensor.shape()) {
        (Rows::Outermost, [outer, inner @ ..]) => (*outer, inner),
        (Rows::Outermost, []) | (Rows::Whole, _) => (1, tensor.shape()),
    };
    let classes = element_count(inner).unwrap_or(0);
    let count = usize::try_from(count).unwrap_or(classes).min(classes);
    let mut strings = Vec::with_capacity(row_count * count);
    let mut order: Vec<usize> = Vec::with_capacity(classes);
    for row in 0..row_count {
        let start = row * classes;
        let value = |class: &usize| numbers.number(start + class).unwrap_or(f64::NAN);
        order.clear();
        order.extend(0..classes);
        // Stable, so equal values keep the order of their indexes.
        order.sort_by(|a, b| highest_first(value(a), value(b)));
        for class in order.iter().take(count) {
            let mut string = Vec::new();
            elements::write_one(tensor.elements(), start + class, output, &mut string)?;
            string.extend_from_slice(format!(":{class}").as_bytes());
            if let Some(label) = labels.get(*class) {
                string.push(b':');
                string.extend_from_slice(label.as_bytes());
            }
            strings.push(string);
        }
    }
    let shape = match rows {
        Rows::Outermost => vec![row_count, count],
        Rows::Whole => vec![count],
    };
    Tensor::new(shape, Elements::Bytes(strings)).ok_or_else(|| Refusal::Internal {
        what: format!("the classes of `{output}` do not fill their shape"),
    })
}

fn highest_first(a: f64, b: f64) -> Ordering {
    let known = b.partial_cmp(&a);
    known.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: &[usize], numbers: &[f32], rows: Rows, count: u32, want: &str) {
        let tensor = Tensor::new(shape.to_vec(), Elements::from_slice(numbers)).expect("fits");
        let labels = ["cat".to_owned(), "dog".to_owned()];
        let got = classify("y", &tensor, rows, count, &labels).expect("numbers");
        let Elements::Bytes(strings) = got.elements() else {
            panic!("strings");
        };
        let strings: Vec<_> = strings
            .iter()
            .map(|it| String::from_utf8_lossy(it))
            .collect();
        assert_eq!(format!("{:?} {}", got.shape(), strings.join(" ")), want);
    }

    #[test]
    fn the_highest_come_first_in_every_row() {
        let numbers = [0.1, 0.7, 0.2, 0.5, f32::NAN, 0.5];
        check(
            &[2, 3],
            &numbers,
            Rows::Outermost,
            2,
            "[2, 2] 0.7:1:dog 0.2:2 0.5:0:cat 0.5:2",
        );
        check(
            &[6],
            &numbers,
            Rows::Whole,
            9,
            "[6] 0.7:1:dog 0.5:3 0.5:5 0.2:2 0.1:0:cat null:4",
        );
        check(&[0, 3], &[], Rows::Outermost, 2, "[0, 2] ");
    }
}
