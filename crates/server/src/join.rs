//! Puts the rows of several requests into one run and takes the run's outputs apart again.

use std::borrow::Cow;

use domain::batch::Kind;
use domain::{Dimension, Signature, Tensor, Time};

use crate::pool::Job;

/// Inputs that may be lengthened together along one axis, and the outputs that come out longer by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Padding {
    /// The axis, 1 and up: axis 0 counts rows.
    pub(crate) axis: usize,
    /// Indexes of the inputs that are lengthened.
    pub(crate) inputs: Vec<usize>,
    /// Indexes of the outputs that must be cut to each request's own length.
    pub(crate) outputs: Vec<usize>,
}

/// What decides which requests may share a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grouping {
    /// Input and axis of every size that may differ between requests and must not within a run.
    open: Vec<(usize, usize)>,
    /// Where lengths may differ within a run.
    pub(crate) padding: Option<Padding>,
}

impl Grouping {
    pub(crate) fn new(signature: &Signature, padding: Option<Padding>) -> Self {
        let padded = |index: usize, axis: usize| {
            padding
                .as_ref()
                .is_some_and(|it| it.axis == axis && it.inputs.contains(&index))
        };
        let mut open = Vec::new();
        for (index, input) in signature.inputs.iter().enumerate() {
            for (axis, dimension) in input.shape.iter().enumerate().skip(1) {
                if matches!(dimension, Dimension::Variable(_)) && !padded(index, axis) {
                    open.push((index, axis));
                }
            }
        }
        Self { open, padding }
    }

    /// What a request's inputs may be grouped with.
    pub(crate) fn kind(&self, inputs: &[Tensor]) -> Kind {
        let size = |(index, axis): &(usize, usize)| inputs[*index].shape()[*axis];
        let mut shape: Vec<usize> = self.open.iter().map(size).collect();
        let mut length = 0;
        if let Some(padding) = &self.padding {
            let lengths = || {
                padding
                    .inputs
                    .iter()
                    .map(|index| size(&(*index, padding.axis)))
            };
            length = lengths().max().unwrap_or(0);
            if lengths().any(|it| it != length) {
                // Inputs of different lengths cannot be restored from one: such a request shares a run
                // only with its like.
                shape.extend(lengths());
                length = 0;
            }
        }
        Kind {
            shape: shape.into_boxed_slice(),
            length,
        }
    }
}

/// Every output that one of the jobs wants, ascending.
pub(crate) fn wanted_outputs<'a>(jobs: impl Iterator<Item = &'a [usize]>) -> Vec<usize> {
    let mut wanted = Vec::new();
    for index in jobs.flatten() {
        if let Err(place) = wanted.binary_search(index) {
            wanted.insert(place, *index);
        }
    }
    wanted
}

/// The jobs' inputs, joined along the rows. None when they do not fit together.
pub(crate) fn inputs(jobs: &[&[Tensor]], padding: Option<&Padding>) -> Option<Vec<Tensor>> {
    let first = jobs.first()?;
    (0..first.len())
        .map(|index| {
            let column: Option<Vec<&Tensor>> = jobs.iter().map(|job| job.get(index)).collect();
            let column = column?;
            match padding.filter(|it| it.inputs.contains(&index)) {
                None => Tensor::join(&column),
                Some(padding) => {
                    let length = column
                        .iter()
                        .filter_map(|it| it.shape().get(padding.axis))
                        .max()?;
                    let padded: Option<Vec<Cow<'_, Tensor>>> = column
                        .iter()
                        .map(|it| {
                            if it.shape().get(padding.axis) == Some(length) {
                                Some(Cow::Borrowed(*it))
                            } else {
                                it.padded(padding.axis, *length).map(Cow::Owned)
                            }
                        })
                        .collect();
                    Tensor::join(&padded?.iter().map(AsRef::as_ref).collect::<Vec<_>>())
                }
            }
        })
        .collect()
}

/// Each job's outputs, in its own order, out of a run's `outputs`, which are those that `wanted` names.
pub(crate) fn split(
    outputs: Vec<Tensor>,
    wanted: &[usize],
    jobs: &[(Job, Time)],
    grouping: &Grouping,
) -> Result<Vec<Vec<Tensor>>, String> {
    if let [(job, _)] = jobs
        && job.outputs == wanted
    {
        return Ok(vec![outputs]);
    }
    let rows: usize = jobs.iter().map(|(job, _)| job.rows).sum();
    let mut start = 0;
    jobs.iter()
        .map(|(job, _)| {
            let range = start..start + job.rows;
            start = range.end;
            job.outputs
                .iter()
                .map(|index| {
                    let place = wanted
                        .binary_search(index)
                        .map_err(|_| "an output is missing")?;
                    let output = outputs.get(place).ok_or("an output is missing")?;
                    if jobs.len() == 1 {
                        return Ok(output.clone());
                    }
                    if output.shape().first() != Some(&rows) {
                        let shape = output.shape();
                        return Err(format!(
                            "{rows} rows went in, an output has shape {shape:?}"
                        ));
                    }
                    let part = output.rows(range.clone()).ok_or("an output is too short")?;
                    let cut = grouping
                        .padding
                        .as_ref()
                        .filter(|it| it.outputs.contains(index));
                    let Some(padding) = cut else { return Ok(part) };
                    let length = grouping.kind(&job.inputs).length;
                    Ok(part
                        .cut(padding.axis, length)
                        .ok_or("a padded output is too short")?)
                })
                .collect()
        })
        .collect()
}
