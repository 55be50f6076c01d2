//! Answers to bodies of rows.

use domain::{Refusal, Tensor};

use crate::elements;
use crate::json::write_text;

/// How several outputs are laid out. A single one is always its rows, without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A list with one object a row, as KServe V1 and TensorFlow Serving answer.
    Rows,
    /// An object with one list an output, as MLflow answers for ONNX models.
    Columns,
}

/// `{"predictions": ..}`. Outputs that do not have the same number of rows are laid out by columns.
pub fn encode_predictions(outputs: &[(&str, &Tensor)], layout: Layout) -> Result<Vec<u8>, Refusal> {
    let mut out = b"{\"predictions\":".to_vec();
    match (outputs, layout) {
        ([(name, tensor)], _) => elements::write_nested(tensor, name, &mut out)?,
        (_, Layout::Rows) => match same_rows(outputs) {
            Some(rows) => write_rows(outputs, rows, &mut out)?,
            None => write_columns(outputs, &mut out)?,
        },
        (_, Layout::Columns) => write_columns(outputs, &mut out)?,
    }
    out.push(b'}');
    Ok(out)
}

fn same_rows(outputs: &[(&str, &Tensor)]) -> Option<usize> {
    let mut rows = outputs
        .iter()
        .map(|(_, tensor)| tensor.shape().first().copied());
    let first = rows.next()??;
    rows.all(|it| it == Some(first)).then_some(first)
}

fn write_rows(outputs: &[(&str, &Tensor)], rows: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.push(b'[');
    for row in 0..rows {
        if row > 0 {
            out.push(b',');
        }
        write_members(outputs, out, |(name, tensor), out| {
            elements::write_row(tensor, row, name, out)
        })?;
    }
    out.push(b']');
    Ok(())
}

fn write_columns(outputs: &[(&str, &Tensor)], out: &mut Vec<u8>) -> Result<(), Refusal> {
    write_members(outputs, out, |(name, tensor), out| {
        elements::write_nested(tensor, name, out)
    })
}

fn write_members(
    outputs: &[(&str, &Tensor)],
    out: &mut Vec<u8>,
    mut write: impl FnMut(&(&str, &Tensor), &mut Vec<u8>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    out.push(b'{');
    for (index, output) in outputs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(output.0, out);
        out.push(b':');
        write(output, out)?;
    }
    out.push(b'}');
    Ok(())
}
