//! Which threshold of a model of two classes holds for which row, and the class that follows.
//!
//! R1. A row is positive where its score is at least the threshold of its group; where its group has none, at least
//!     that of the task.
//! R2. An answer's class is replaced; its scores never are.
//! R3. Group, threshold and class follow from a row's inputs and scores alone, so that whoever has these knows them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::NAME_BYTES_MAX;
use crate::refusal::Refusal;
use crate::signature::{Rows, Signature, names};
use crate::task::Task;
use crate::tensor::{Elements, Tensor};
use crate::{DataType, TensorSpec};

/// The most groups that have a threshold of their own.
pub const GROUPS_MAX: usize = 64;
/// The score from which the positive class is answered where nobody says.
pub const THRESHOLD: f64 = 0.5;
/// Groups of a request that its answer tells of.
const TOLD_MAX: usize = 16;

/// Thresholds of groups: the class of a row follows that of its group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByGroup {
    /// The input column whose value is the group.
    pub column: String,
    /// The score from which the positive class is answered, 0 to 1, by group; the others have the task's `threshold`.
    pub thresholds: BTreeMap<String, f64>,
}

/// Groups and their thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    /// Sorted.
    names: Vec<String>,
    /// What the names stand for, in a column that is not of texts.
    numbers: Vec<f64>,
    thresholds: Vec<f64>,
    otherwise: f64,
}

impl Groups {
    /// In a column of this type; none where a name is no value of it.
    pub fn new(
        thresholds: &BTreeMap<String, f64>,
        otherwise: Option<f64>,
        datatype: DataType,
    ) -> Option<Self> {
        let number = |name: &String| match (datatype, name.as_str()) {
            (DataType::Bool, "true") => Some(1.0),
            (DataType::Bool, "false") => Some(0.0),
            (DataType::Bool, _) => None,
            (_, text) => text.parse().ok().filter(|it: &f64| it.is_finite()),
        };
        let numbers: Option<Vec<f64>> = match datatype {
            DataType::Bytes => Some(Vec::new()),
            _ => thresholds.keys().map(number).collect(),
        };
        Some(Self {
            names: thresholds.keys().cloned().collect(),
            numbers: numbers?,
            thresholds: thresholds.values().copied().collect(),
            otherwise: otherwise.unwrap_or(THRESHOLD),
        })
    }

    /// The place of the group that a text is.
    pub fn of_text(&self, text: &[u8]) -> Option<usize> {
        let found = self.names.binary_search_by(|it| it.as_bytes().cmp(text));
        found.ok()
    }

    /// The place of the group that a number is.
    pub fn of_number(&self, number: f64) -> Option<usize> {
        self.numbers.iter().position(|it| *it == number)
    }

    /// The threshold of a group, or of those that are none.
    pub fn threshold(&self, group: Option<usize>) -> f64 {
        group.map_or(self.otherwise, |it| self.thresholds[it])
    }

    /// A group's name.
    pub fn name(&self, group: usize) -> &str {
        &self.names[group]
    }
}

/// How the rows of a version are decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    column: String,
    groups: Groups,
    /// The input that holds the group, and the group's place in a row of it.
    input: usize,
    at: usize,
    /// The output that holds the scores, and the positive class's place in a row of it.
    scores: usize,
    score: usize,
    /// The output that holds the class.
    label: Option<usize>,
    /// What it holds for the negative class, and for the positive one.
    classes: [Class; 2],
}

/// A class as a label says it.
#[derive(Clone, Debug, PartialEq)]
struct Class {
    name: String,
    number: f64,
}

impl Decision {
    /// What the task of a signature says of groups; none where it says nothing. What cannot be kept is refused.
    pub fn of(signature: &Signature) -> Result<Option<Self>, Refusal> {
        let Some(Task::Binary {
            positive,
            threshold,
            classes,
            scores,
            label,
            by_group: Some(by_group),
        }) = &signature.task
        else {
            return Ok(None);
        };
        let wrong = |field: &str, why: String| Refusal::InvalidManifest {
            field: format!("task.by_group{field}"),
            why,
        };
        let ByGroup { column, thresholds } = by_group;
        check(thresholds).map_err(|(name, why)| wrong(&format!(".thresholds{name}"), why))?;
        let (input, at) = signature.column(column).ok_or_else(|| {
            let why = format!(
                "the model has no input of one value a row, and no feature, named `{column}`"
            );
            wrong(".column", why)
        })?;
        let datatype = signature.inputs[input].datatype;
        let groups = Groups::new(thresholds, *threshold, datatype).ok_or_else(|| {
            let why =
                format!("input column `{column}` is {datatype}; want its values, as they are");
            wrong(".thresholds", why)
        })?;
        let place = |name: &String| signature.outputs.iter().position(|it| it.name == *name);
        let width = |it: usize| signature.outputs[it].width(signature.rows);
        let scores = scores.as_ref().and_then(place).ok_or_else(|| {
            let known = names(signature.outputs.iter());
            wrong(
                "",
                format!("it needs `task.scores`, the output with the scores: one of {known}"),
            )
        })?;
        let place_of = |name: &String| classes.iter().position(|it| it == name);
        let positive = positive.as_ref().and_then(place_of).unwrap_or(1);
        let score = match width(scores) {
            Some(1) => 0,
            Some(2) => positive,
            _ => {
                let name = &signature.outputs[scores].name;
                let why =
                    format!("it needs one or two scores a row, and output `{name}` has others");
                return Err(wrong("", why));
            }
        };
        if !signature.outputs[scores].datatype.is_float() {
            let name = &signature.outputs[scores].name;
            return Err(wrong(
                "",
                format!("output `{name}` holds no scores from 0 to 1"),
            ));
        }
        let label = label.as_ref().and_then(place);
        if let Some(label) = label
            && (width(label) != Some(1) || !can_say(signature.outputs[label].datatype))
        {
            let TensorSpec { name, datatype, .. } = &signature.outputs[label];
            let why = format!(
                "output `{name}` is {datatype}; it must hold one class a row, as a text or a number"
            );
            return Err(wrong("", why));
        }
        Ok(Some(Self {
            column: column.clone(),
            groups,
            input,
            at,
            scores,
            score,
            label,
            classes: [1 - positive, positive].map(|it| class(classes, it)),
        }))
    }

    /// The output that is needed beside those that are wanted.
    pub fn also(&self, wanted: &[usize]) -> Option<usize> {
        let label = self.label.is_some_and(|it| wanted.contains(&it));
        (label && !wanted.contains(&self.scores)).then_some(self.scores)
    }

    /// Replaces the class of each row in an answer's outputs, which lie at these places of the signature. Gives back
    /// which thresholds held, for people: `Marital: married from 0.45, others from 0.5`.
    pub fn apply(
        &self,
        inputs: &[Tensor],
        rows: usize,
        outputs: &[usize],
        tensors: &mut [Tensor],
    ) -> Result<String, Refusal> {
        let groups = self.groups_of(inputs.get(self.input), rows);
        let label = outputs.iter().position(|it| Some(*it) == self.label);
        let scores = outputs.iter().position(|it| *it == self.scores);
        if let (Some(label), Some(scores)) = (label, scores) {
            let decided = self.decided(&groups, &tensors[scores]);
            let decided = decided.and_then(|it| self.said(&tensors[label], &it));
            tensors[label] = decided.ok_or_else(|| Refusal::Internal {
                what: "an answer's scores are not those of its rows".to_owned(),
            })?;
        }
        Ok(self.told(&groups))
    }

    fn groups_of(&self, input: Option<&Tensor>, rows: usize) -> Vec<Option<usize>> {
        let Some(input) = input else {
            return vec![None; rows];
        };
        let width = input.elements().count() / rows.max(1);
        let places = (0..rows).map(|row| row * width + self.at);
        match input.elements() {
            Elements::Bytes(texts) => {
                let group = |it: usize| self.groups.of_text(texts.get(it)?);
                places.map(group).collect()
            }
            Elements::Fixed(numbers) => {
                let group = |it: usize| self.groups.of_number(numbers.number(it)?);
                places.map(group).collect()
            }
        }
    }

    /// Whether each row is positive.
    fn decided(&self, groups: &[Option<usize>], scores: &Tensor) -> Option<Vec<bool>> {
        let Elements::Fixed(scores) = scores.elements() else {
            return None;
        };
        let all = scores.as_bytes().len() / scores.datatype().width()?;
        let width = all / groups.len().max(1);
        let rows = groups.iter().enumerate();
        rows.map(|(row, group)| {
            let score = scores.number(row * width + self.score)?;
            Some(score >= self.groups.threshold(*group))
        })
        .collect()
    }

    /// The label that says so, of the same type and shape as the model's own.
    fn said(&self, label: &Tensor, positive: &[bool]) -> Option<Tensor> {
        let class = |it: &bool| &self.classes[usize::from(*it)];
        macro_rules! numbers {
            ($type:ty) => {{
                let numbers = positive.iter().map(|it| class(it).number as $type);
                Elements::from_slice(&numbers.collect::<Vec<$type>>())
            }};
        }
        let elements = match label.datatype() {
            DataType::Bytes => {
                let names = positive
                    .iter()
                    .map(|it| class(it).name.clone().into_bytes());
                Elements::Bytes(names.collect())
            }
            DataType::Bool => {
                let bools: Vec<bool> = positive.iter().map(|it| class(it).number != 0.0).collect();
                Elements::from_bools(&bools)
            }
            DataType::Uint8 => numbers!(u8),
            DataType::Uint16 => numbers!(u16),
            DataType::Uint32 => numbers!(u32),
            DataType::Uint64 => numbers!(u64),
            DataType::Int8 => numbers!(i8),
            DataType::Int16 => numbers!(i16),
            DataType::Int32 => numbers!(i32),
            DataType::Int64 => numbers!(i64),
            DataType::Fp32 => numbers!(f32),
            DataType::Fp64 => numbers!(f64),
            DataType::Fp16 | DataType::Bf16 => return None,
        };
        Tensor::new(label.shape().to_vec(), elements)
    }

    fn told(&self, groups: &[Option<usize>]) -> String {
        let mut found: Vec<usize> = groups.iter().flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        let mut parts: Vec<String> = found
            .iter()
            .take(TOLD_MAX)
            .map(|it| {
                let threshold = self.groups.threshold(Some(*it));
                format!("{} from {threshold}", self.groups.name(*it))
            })
            .collect();
        if let more @ 1.. = found.len().saturating_sub(TOLD_MAX) {
            parts.push(format!("{more} more groups"));
        }
        if groups.iter().any(Option::is_none) {
            parts.push(format!("others from {}", self.groups.threshold(None)));
        }
        format!("{}: {}", self.column, parts.join(", "))
    }
}

/// A class as a label says it: by its name, or by its place where its name is no number.
fn class(classes: &[String], place: usize) -> Class {
    let name = classes.get(place).cloned();
    let name = name.unwrap_or_else(|| place.to_string());
    Class {
        number: name.parse().unwrap_or(place as f64),
        name,
    }
}

fn can_say(datatype: DataType) -> bool {
    !matches!(datatype, DataType::Fp16 | DataType::Bf16)
}

fn check(thresholds: &BTreeMap<String, f64>) -> Result<(), (String, String)> {
    if thresholds.is_empty() || thresholds.len() > GROUPS_MAX {
        let why = format!("{} groups, want 1 to {GROUPS_MAX}", thresholds.len());
        return Err((String::new(), why));
    }
    for (name, threshold) in thresholds {
        if name.len() > NAME_BYTES_MAX {
            let why = format!(
                "a group of {} bytes, at most {NAME_BYTES_MAX} are taken",
                name.len()
            );
            return Err((String::new(), why));
        }
        if !(0.0..=1.0).contains(threshold) {
            return Err((
                format!(".{name}"),
                format!("`{threshold}` is not from 0 to 1"),
            ));
        }
    }
    Ok(())
}

impl TensorSpec {
    /// Values of one row; none where that differs from row to row. Where requests are wholes, so is the tensor.
    pub fn width(&self, rows: Rows) -> Option<usize> {
        let outer = usize::from(rows == Rows::Outermost);
        let inner = self.shape.get(outer..).unwrap_or_default();
        inner.iter().try_fold(1usize, |width, it| match it {
            crate::Dimension::Fixed(size) => width.checked_mul(*size),
            crate::Dimension::Variable(_) => None,
        })
    }
}

#[cfg(test)]
mod tests;
