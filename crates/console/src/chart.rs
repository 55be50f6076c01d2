//! Charts: their numbers, which a script draws and a table tells.

use serde::Serialize;

/// One chart over time.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Chart {
    /// What it shows.
    pub(crate) title: String,
    /// The unit of its numbers: `ms`, `%`, `/s`; may be empty.
    pub(crate) unit: &'static str,
    /// When each point is, in seconds since 1970.
    pub(crate) times: Vec<f64>,
    /// Its lines.
    pub(crate) lines: Vec<Line>,
    /// A line that has a meaning: a bound, a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bound: Option<f64>,
    /// Whether its numbers are shown by their logarithms.
    pub(crate) log: bool,
    /// What prints the same numbers in a terminal.
    #[serde(skip)]
    pub(crate) command: String,
}

/// One line of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) values: Vec<Option<f64>>,
    /// Its interval, where it has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) low: Vec<Option<f64>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) high: Vec<Option<f64>>,
    /// Whether it is drawn with gaps in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dashed: bool,
}

/// How each of several things went over time, by colour.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Heat {
    pub(crate) title: String,
    /// When each look was, in seconds since 1970.
    pub(crate) times: Vec<f64>,
    pub(crate) rows: Vec<HeatRow>,
    #[serde(skip)]
    pub(crate) command: String,
}

/// One of the things.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct HeatRow {
    pub(crate) name: String,
    /// How many times what matters it was: from 1 on it is too far.
    pub(crate) values: Vec<Option<f64>>,
    /// `bad`, `fine`, `unknown`.
    pub(crate) verdicts: Vec<&'static str>,
}

/// Something that happened, marked on every chart of a page.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Mark {
    /// In seconds since 1970.
    pub(crate) at: f64,
    /// `version`, `rollout`, `alert`, `action`, `event`; `labels`, which are marked below the lines.
    pub(crate) kind: &'static str,
    /// What happened; of labels how many came.
    pub(crate) said: String,
}

impl Chart {
    /// For an attribute, which a template escapes.
    pub(crate) fn json(&self) -> String {
        json(self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        let some = |line: &Line| line.values.iter().any(Option::is_some);
        !self.lines.iter().any(some)
    }
}

impl HeatRow {
    pub(crate) fn is_bad(&self, place: &usize) -> bool {
        self.verdicts.get(*place) == Some(&"bad")
    }
}

impl Heat {
    pub(crate) fn json(&self) -> String {
        json(self)
    }
}

/// Numbers and texts cannot fail to serialise.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
