//! What the answers of a version mean.

use std::collections::BTreeMap;

use domain::task::Task;
use domain::{DataType, Signature};
use serde::{Deserialize, Serialize};

use super::VALUES_MAX;

/// What the answers mean, as far as quality needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Meaning {
    /// One of these classes; with two and a `positive` one the question is whether it is that.
    Classes {
        classes: Vec<String>,
        positive: Option<usize>,
        threshold: Option<f64>,
        /// The column of each class's score, where there are scores.
        scores: Vec<String>,
        /// The model gives the probability of the positive class alone.
        single: bool,
        /// Whether the model answers the class itself; else it is told from the scores.
        answered: bool,
        /// The thresholds of groups, where they have their own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by_group: Option<Grouped>,
    },
    /// A number, in this column.
    Value { column: String },
    /// Something else.
    None,
}

/// Groups that have thresholds of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Grouped {
    /// The column of the rows that holds the group.
    pub(crate) column: String,
    pub(crate) thresholds: BTreeMap<String, f64>,
}

impl Meaning {
    pub(crate) fn by_group(&self) -> Option<&Grouped> {
        match self {
            Self::Classes { by_group, .. } => by_group.as_ref(),
            Self::Value { .. } | Self::None => None,
        }
    }

    /// Of a version's answers.
    pub(super) fn of(signature: &Signature) -> Self {
        let task = signature.task.as_ref();
        let binary = matches!(task, Some(Task::Binary { .. }));
        let scores_width = |name: &Option<String>| {
            let spec = signature.output(name.as_deref()?)?;
            let width = spec.width(signature.rows)?;
            (spec.datatype.is_float() && width <= VALUES_MAX).then_some(width)
        };
        match task {
            Some(
                Task::Binary {
                    classes,
                    scores,
                    label,
                    ..
                }
                | Task::Multiclass {
                    classes,
                    scores,
                    label,
                },
            ) => {
                let width = scores_width(scores);
                let count = match (classes.len(), width) {
                    (0, _) if binary => 2,
                    (0, width) => width.unwrap_or(0),
                    (count, _) => count,
                };
                let classes: Vec<String> = (0..count)
                    .map(|it| classes.get(it).cloned().unwrap_or_else(|| it.to_string()))
                    .collect();
                let (positive, threshold) = match task {
                    Some(Task::Binary {
                        positive,
                        threshold,
                        ..
                    }) => {
                        let place = |name: &String| classes.iter().position(|it| it == name);
                        // Without a word about it the second class is, as scikit-learn has it.
                        (
                            Some(positive.as_ref().and_then(place).unwrap_or(1)),
                            *threshold,
                        )
                    }
                    _ => (None, None),
                };
                let single = binary && width == Some(1);
                let scores = match (width, positive) {
                    (Some(1), Some(positive)) => vec![format!("score_{}", classes[positive])],
                    (Some(width), _) if width == classes.len() => {
                        classes.iter().map(|it| format!("score_{it}")).collect()
                    }
                    _ => Vec::new(),
                };
                let answered = label
                    .as_deref()
                    .and_then(|it| signature.output(it))
                    .is_some_and(|it| it.width(signature.rows) == Some(1));
                Self::Classes {
                    classes,
                    positive,
                    threshold,
                    scores,
                    single,
                    answered,
                    by_group: match task {
                        Some(Task::Binary { by_group, .. }) => {
                            by_group.as_ref().map(|it| Grouped {
                                column: it.column.clone(),
                                thresholds: it.thresholds.clone(),
                            })
                        }
                        _ => None,
                    },
                }
            }
            Some(Task::Regression { value }) => {
                let only = || match &signature.outputs[..] {
                    [only] => Some(only),
                    _ => None,
                };
                let output = value
                    .as_deref()
                    .map_or_else(only, |name| signature.output(name));
                match output {
                    Some(it)
                        if it.width(signature.rows) == Some(1)
                            && it.datatype != DataType::Bytes =>
                    {
                        Meaning::Value {
                            column: "value".to_owned(),
                        }
                    }
                    _ => Meaning::None,
                }
            }
            Some(Task::Embedding { .. }) | None => Meaning::None,
        }
    }

    /// The outputs that the task names and the columns that they become (R3).
    pub(super) fn outputs(&self, signature: &Signature) -> Vec<(String, Vec<String>)> {
        let mut named = Vec::new();
        match (signature.task.as_ref(), self) {
            (
                Some(Task::Binary { scores, label, .. } | Task::Multiclass { scores, label, .. }),
                Meaning::Classes {
                    scores: columns,
                    answered,
                    ..
                },
            ) => {
                if let Some(name) = scores
                    && !columns.is_empty()
                {
                    named.push((name.clone(), columns.clone()));
                }
                if let Some(name) = label
                    && *answered
                {
                    named.push((name.clone(), vec!["class".to_owned()]));
                }
            }
            (Some(Task::Regression { value }), Meaning::Value { column }) => {
                let name = value
                    .clone()
                    .or_else(|| Some(signature.outputs.first()?.name.clone()));
                named.extend(name.map(|it| (it, vec![column.clone()])));
            }
            _ => {}
        }
        named
    }
}
