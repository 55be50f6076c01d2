//! What a version takes and what it gives: the contract that requests are checked against.

use std::fmt;

use crate::decision::Decision;
use crate::refusal::Refusal;
use crate::task::Task;
use crate::tensor::DataType;

/// The size of one axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Always this many.
    Fixed(usize),
    /// Differs from request to request; axes with the same name have the same size in one request.
    Variable(Option<String>),
}

/// One input or output.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name, unique among the inputs or the outputs.
    pub name: String,
    /// What its elements are.
    pub datatype: DataType,
    /// Its axes, outermost first.
    pub shape: Vec<Dimension>,
    /// The names of the columns along its last axis; empty when they have none.
    pub features: Vec<String>,
}

/// Whether rows of different requests may share a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The first axis of every input and of every output counts rows: requests can be joined along it.
    Outermost,
    /// A request is one whole: it runs alone.
    Whole,
}

/// Inputs, outputs and their meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// What the model takes; every one is needed.
    pub inputs: Vec<TensorSpec>,
    /// What the model gives.
    pub outputs: Vec<TensorSpec>,
    /// Whether requests can be joined.
    pub rows: Rows,
    /// What the answers mean, where that is known.
    pub task: Option<Task>,
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => size.fmt(f),
            Self::Variable(_) => f.write_str("-1"),
        }
    }
}

/// `[-1, 3, 224, 224]`.
pub fn show_dimensions(shape: &[Dimension]) -> String {
    let sizes: Vec<String> = shape.iter().map(Dimension::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

impl TensorSpec {
    /// Whether a tensor of this shape is one of these.
    pub fn accepts_shape(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(want, got)| match want {
                Dimension::Fixed(size) => size == got,
                Dimension::Variable(_) => true,
            })
    }
}

impl Signature {
    /// The rows rule that the shapes imply: joined when every input and output begins with a variable
    /// axis, and those of the inputs are not known to be different ones.
    pub fn rows_of(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Rows {
        let outermost = |it: &TensorSpec| match it.shape.first() {
            Some(Dimension::Variable(name)) => Some(name.clone()),
            _ => None,
        };
        let axes: Option<Vec<Option<String>>> =
            inputs.iter().chain(outputs).map(outermost).collect();
        let Some(axes) = axes else { return Rows::Whole };
        let mut names = axes.iter().take(inputs.len()).flatten();
        let same = match names.next() {
            Some(first) => names.all(|name| name == first),
            None => true,
        };
        if same && !inputs.is_empty() {
            Rows::Outermost
        } else {
            Rows::Whole
        }
    }

    /// The input with this name.
    pub fn input(&self, name: &str) -> Option<&TensorSpec> {
        self.inputs.iter().find(|it| it.name == name)
    }

    /// The input, and the place in its rows, of a column: an input of one value a row, or a feature.
    pub fn column(&self, name: &str) -> Option<(usize, usize)> {
        let width = |it: &TensorSpec| it.width(self.rows);
        let place = |(index, spec): (usize, &TensorSpec)| {
            let feature = spec.features.iter().position(|it| it == name);
            let feature = feature.filter(|_| width(spec) == Some(spec.features.len()));
            let whole = (spec.name == name && width(spec) == Some(1)).then_some(0);
            Some((index, feature.or(whole)?))
        };
        self.inputs.iter().enumerate().find_map(place)
    }

    /// The output with this name.
    pub fn output(&self, name: &str) -> Option<&TensorSpec> {
        self.outputs.iter().find(|it| it.name == name)
    }

    /// The same signature with what its owner declared about it: the columns' names of some inputs and
    /// the task. What names an input or an output that is not there, a wrong number of columns or
    /// classes, or a threshold outside 0 to 1 is refused by the setting's name.
    pub fn completed(
        mut self,
        features: &[(String, Vec<String>)],
        task: Option<Task>,
    ) -> Result<Self, Refusal> {
        for (name, columns) in features {
            let field = format!("signature.features.{name}");
            let Some(input) = self.inputs.iter_mut().find(|it| it.name == *name) else {
                let known = names(self.inputs.iter());
                return Err(Refusal::InvalidManifest {
                    field,
                    why: format!("the model has no input `{name}`; its inputs are {known}"),
                });
            };
            if let Some(Dimension::Fixed(width)) = input.shape.last()
                && *width != columns.len()
            {
                let why = format!("input `{name}` has {width} columns, got {}", columns.len());
                return Err(Refusal::InvalidManifest { field, why });
            }
            input.features.clone_from(columns);
        }
        if let Some(task) = task {
            self.check_task(&task)?;
            self.task = Some(task);
            Decision::of(&self)?;
        }
        Ok(self)
    }

    fn check_task(&self, task: &Task) -> Result<(), Refusal> {
        let invalid = |field: &str, why: String| {
            Err(Refusal::InvalidManifest {
                field: field.to_owned(),
                why,
            })
        };
        for (key, name) in task.outputs() {
            if self.output(name).is_none() {
                let known = names(self.outputs.iter());
                return invalid(key, format!("no output `{name}`; the outputs are {known}"));
            }
        }
        if let Task::Binary {
            positive,
            threshold,
            classes,
            ..
        } = task
        {
            if let Some(threshold) = threshold
                && !(0.0..=1.0).contains(threshold)
            {
                return invalid(
                    "task.threshold",
                    format!("`{threshold}` is not from 0 to 1"),
                );
            }
            if !classes.is_empty() && classes.len() != 2 {
                let count = classes.len();
                return invalid(
                    "task.classes",
                    format!("a binary task has 2 classes, got {count}"),
                );
            }
            if let Some(positive) = positive
                && !classes.is_empty()
                && !classes.contains(positive)
            {
                return invalid(
                    "task.positive",
                    format!("`{positive}` is not among task.classes {classes:?}"),
                );
            }
        }
        if let Task::Binary {
            scores: Some(scores),
            classes,
            ..
        }
        | Task::Multiclass {
            scores: Some(scores),
            classes,
            ..
        } = task
            && let Some(output) = self.output(scores)
            && let [.., Dimension::Fixed(width)] = output.shape[..]
            && output.shape.len() > 1
            && !classes.is_empty()
            && width != classes.len()
        {
            let count = classes.len();
            let why = format!("output `{scores}` has {width} columns, got {count} classes");
            return invalid("task.classes", why);
        }
        Ok(())
    }
}

/// `` `a`, `b` ``.
pub fn names<'a>(specs: impl Iterator<Item = &'a TensorSpec>) -> String {
    let names: Vec<String> = specs.map(|it| format!("`{}`", it.name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, shape: &[i64]) -> TensorSpec {
        let dimension = |size: &i64| match usize::try_from(*size) {
            Ok(size) => Dimension::Fixed(size),
            Err(_) => Dimension::Variable(None),
        };
        TensorSpec {
            name: name.to_owned(),
            datatype: DataType::Fp32,
            shape: shape.iter().map(dimension).collect(),
            features: Vec::new(),
        }
    }

    #[test]
    fn rows_are_joined_only_where_every_tensor_counts_them() {
        let rows = |inputs: &[&[i64]], outputs: &[&[i64]]| {
            let specs = |shapes: &[&[i64]]| -> Vec<TensorSpec> {
                shapes.iter().map(|shape| spec("x", shape)).collect()
            };
            Signature::rows_of(&specs(inputs), &specs(outputs))
        };
        assert_eq!(rows(&[&[-1, 3]], &[&[-1], &[-1, 2]]), Rows::Outermost);
        assert_eq!(rows(&[&[1, 3]], &[&[-1]]), Rows::Whole);
        assert_eq!(rows(&[&[-1, 3], &[]], &[&[-1]]), Rows::Whole);
        assert_eq!(rows(&[], &[&[-1]]), Rows::Whole);
    }

    #[test]
    fn a_declaration_that_does_not_fit_names_its_field() {
        let signature = || Signature {
            inputs: vec![spec("x", &[-1, 2])],
            outputs: vec![spec("p", &[-1, 2])],
            rows: Rows::Outermost,
            task: None,
        };
        let check = |features: &[(&str, &[&str])], task: &str, want: &str| {
            let features: Vec<(String, Vec<String>)> = features
                .iter()
                .map(|(name, columns)| {
                    (
                        (*name).to_owned(),
                        columns.iter().map(|it| (*it).to_owned()).collect(),
                    )
                })
                .collect();
            let task = serde_json::from_str(task).expect("a task");
            let got = signature()
                .completed(&features, task)
                .map(|_| "ok".to_owned());
            assert_eq!(got.unwrap_or_else(|refusal| refusal.to_string()), want);
        };
        check(&[("x", &["a", "b"])], "null", "ok");
        check(
            &[("y", &["a"])],
            "null",
            "`signature.features.y`: the model has no input `y`; its inputs are `x`",
        );
        check(
            &[("x", &["a"])],
            "null",
            "`signature.features.x`: input `x` has 2 columns, got 1",
        );
        check(
            &[],
            r#"{"type":"binary","threshold":1.5}"#,
            "`task.threshold`: `1.5` is not from 0 to 1",
        );
        check(
            &[],
            r#"{"type":"multiclass","scores":"p","classes":["a","b","c"]}"#,
            "`task.classes`: output `p` has 2 columns, got 3 classes",
        );
        check(
            &[],
            r#"{"type":"regression","value":"q"}"#,
            "`task.value`: no output `q`; the outputs are `p`",
        );
    }
}
