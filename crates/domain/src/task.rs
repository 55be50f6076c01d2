//! What a model's answers mean: which output is the score, which the class, who is positive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::ByGroup;

/// The question that a model answers. The outputs named here must be outputs of its signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Task {
    /// One of two classes.
    Binary {
        /// The class that the threshold is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        positive: Option<String>,
        /// The score from which the positive class is answered, 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        threshold: Option<f64>,
        /// The names of the classes in the order of the scores' columns.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        classes: Vec<String>,
        /// The output that holds the classes' scores.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scores: Option<String>,
        /// The output that holds the class.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        /// Thresholds of groups, in place of the one for all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by_group: Option<ByGroup>,
    },
    /// One of several classes.
    Multiclass {
        /// The names of the classes in the order of the scores' columns.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        classes: Vec<String>,
        /// The output that holds the classes' scores.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scores: Option<String>,
        /// The output that holds the class.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// A number.
    Regression {
        /// The output that holds the number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    /// A vector that stands for the input.
    Embedding {
        /// The output that holds the vector.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vector: Option<String>,
    },
}

impl Task {
    /// The names of the classes, in the order of the scores' columns; none when the task has no classes
    /// or they are not named.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Binary { classes, .. } | Self::Multiclass { classes, .. } => classes,
            Self::Regression { .. } | Self::Embedding { .. } => &[],
        }
    }

    /// The outputs that the task names, each with the setting that names it.
    pub fn outputs(&self) -> Vec<(&'static str, &str)> {
        let named = match self {
            Self::Binary { scores, label, .. } | Self::Multiclass { scores, label, .. } => {
                vec![("task.scores", scores), ("task.label", label)]
            }
            Self::Regression { value } => vec![("task.value", value)],
            Self::Embedding { vector } => vec![("task.vector", vector)],
        };
        named
            .into_iter()
            .filter_map(|(key, name)| Some((key, name.as_deref()?)))
            .collect()
    }
}
