//! What requests may hold: ranges, missing values, levels, and rows that say that something upstream is broken.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ledger::Share;

/// The most columns that are spoken of.
const COLUMNS_MAX: usize = 4096;
/// The most levels of a column that its owner may name.
const LEVELS_MAX: usize = 10_000;
/// The longest of them, in bytes.
const LEVEL_BYTES_MAX: usize = 1024;

/// What becomes of a row that is not as the model's inputs are expected to be.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing: it is not looked for.
    Off,
    /// It is counted.
    #[default]
    Count,
    /// It is counted, and the answer carries a warning.
    Warn,
    /// It is counted, and its request is refused.
    Refuse,
}

impl Action {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Count => "count",
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }
}

/// What requests may hold. What is not said here is taken from the version's baseline; without one it is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Inputs {
    /// Numbers beyond the least and the greatest of the reference.
    pub range: Action,
    /// Missing values (NaN, an empty text) of a column in which the reference has none.
    pub missing: Action,
    /// Texts that the reference has none of.
    pub unseen: Action,
    /// Rows of three numbers or more that are all the same. Without it `count` where there is a baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant: Option<Action>,
    /// Rows that are there twice in one request. Without it `count` where there is a baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Action>,
    /// How much greater the share of such rows may be than it is in the reference, before there is an alert.
    pub share_max: Share,
    /// Rows below which no share is judged.
    pub rows_min: u64,
    /// Columns of which there is more to say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, Column>,
}

/// How much becomes at least of what requests may not hold, whatever else is said of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Strictness {
    /// Of numbers out of range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Action>,
    /// Of missing values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Action>,
    /// Of texts that are none of the known ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Action>,
    /// Of rows of numbers that are all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant: Option<Action>,
    /// Of rows that are there twice in one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Action>,
}

/// What one column may hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Column {
    /// Numbers beyond `least` and `greatest`, or beyond those of the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Action>,
    /// Missing values, whatever the reference has of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Action>,
    /// Texts that are not among `levels`, or that the reference has none of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Action>,
    /// The least number, whatever the reference's is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// The greatest number, whatever the reference's is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greatest: Option<f64>,
    /// The texts, whatever those of the reference are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<Vec<String>>,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            range: Action::default(),
            missing: Action::default(),
            unseen: Action::default(),
            constant: None,
            duplicate: None,
            share_max: "1%".parse().unwrap_or_default(),
            rows_min: 1000,
            columns: BTreeMap::new(),
        }
    }
}

impl Strictness {
    /// What no value of a column may be is refused.
    pub const REFUSE: Self = Self {
        range: Some(Action::Refuse),
        missing: Some(Action::Refuse),
        unseen: Some(Action::Refuse),
        constant: None,
        duplicate: None,
    };

    /// Every rule of which something is said, by name.
    pub fn said(self) -> impl Iterator<Item = (&'static str, Action)> {
        let all = [
            ("range", self.range),
            ("missing", self.missing),
            ("unseen", self.unseen),
            ("constant", self.constant),
            ("duplicate", self.duplicate),
        ];
        all.into_iter().filter_map(|(name, it)| Some((name, it?)))
    }

    /// What satisfies both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            range: self.range.max(other.range),
            missing: self.missing.max(other.missing),
            unseen: self.unseen.max(other.unseen),
            constant: self.constant.max(other.constant),
            duplicate: self.duplicate.max(other.duplicate),
        }
    }

    /// Whether it makes anything stricter; else why not.
    pub(crate) fn check(self) -> Result<(), String> {
        if let Some((name, action)) = self.said().find(|(_, it)| *it < Action::Warn) {
            let action = action.name();
            return Err(format!(
                "`{name}: {action}` is not strict; want `warn` or `refuse`"
            ));
        }
        match self.said().next() {
            Some(_) => Ok(()),
            None => Err("it says nothing; leave it out or say `range: refuse`".to_owned()),
        }
    }
}

impl fmt::Display for Strictness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self
            .said()
            .map(|(name, it)| format!("{name} {}", it.name()));
        f.write_str(&all.collect::<Vec<_>>().join(", "))
    }
}

impl Inputs {
    /// The same, at least so strict. A column that its owner has set to `off` stays so: it was meant.
    #[must_use]
    pub fn at_least(&self, strictness: Strictness) -> Self {
        let raise =
            |action: &mut Action, to: Option<Action>| *action = to.unwrap_or(*action).max(*action);
        let column = |said: &mut Option<Action>, to: Option<Action>| {
            if let Some(action) = said.as_mut().filter(|it| **it != Action::Off) {
                raise(action, to);
            }
        };
        let mut stricter = self.clone();
        raise(&mut stricter.range, strictness.range);
        raise(&mut stricter.missing, strictness.missing);
        raise(&mut stricter.unseen, strictness.unseen);
        stricter.constant = stricter.constant.max(strictness.constant);
        stricter.duplicate = stricter.duplicate.max(strictness.duplicate);
        for it in stricter.columns.values_mut() {
            column(&mut it.range, strictness.range);
            column(&mut it.missing, strictness.missing);
            column(&mut it.unseen, strictness.unseen);
        }
        stricter
    }

    /// Refuses what makes no sense, by the setting's name.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        if self.rows_min == 0 {
            return Err(("inputs.rows_min".to_owned(), "`0` is no row".to_owned()));
        }
        if self.columns.len() > COLUMNS_MAX {
            let why = format!("more than {COLUMNS_MAX} columns");
            return Err(("inputs.columns".to_owned(), why));
        }
        for (name, column) in &self.columns {
            let wrong =
                |field: &str, why: String| Err((format!("inputs.columns.{name}.{field}"), why));
            let ends = [("least", column.least), ("greatest", column.greatest)];
            for (field, end) in ends {
                if let Some(end) = end.filter(|it| !it.is_finite()) {
                    return wrong(field, format!("`{end}` is no number"));
                }
            }
            if let (Some(least), Some(greatest)) = (column.least, column.greatest)
                && least > greatest
            {
                let why = format!("`{greatest}` is less than `least`, which is {least}");
                return wrong("greatest", why);
            }
            let Some(levels) = &column.levels else {
                continue;
            };
            if ends.iter().any(|(_, end)| end.is_some()) {
                let why = "a column is of numbers or of texts".to_owned();
                return wrong("levels", why);
            }
            let longest = levels.iter().map(String::len).max().unwrap_or(0);
            if levels.len() > LEVELS_MAX || longest > LEVEL_BYTES_MAX {
                let why = format!(
                    "more than {LEVELS_MAX} levels, or one of more than {LEVEL_BYTES_MAX} bytes"
                );
                return wrong("levels", why);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Inputs, Strictness};
    use crate::monitor::Setting;

    fn check(text: &str, want: &str) {
        let read = serde_json::from_str::<Setting>(&format!(r#"{{"inputs":{text}}}"#));
        let got = match read {
            Err(error) => error.to_string(),
            Ok(setting) => match setting.check() {
                Err(refusal) => refusal.to_string(),
                Ok(()) => "fine".to_owned(),
            },
        };
        assert!(got.contains(want), "{got}");
    }

    #[test]
    fn rules_become_at_least_as_strict_as_is_said_and_never_less() {
        let inputs = |text: &str| -> Inputs { serde_json::from_str(text).expect("a setting") };
        let said: Strictness =
            serde_json::from_str(r#"{"range":"warn","duplicate":"refuse"}"#).expect("a setting");
        let own = inputs(
            r#"{"range":"off","missing":"refuse","constant":"off","columns":
                {"a":{"range":"refuse"},"b":{"range":"count"},"c":{"range":"off"},"d":{"unseen":"off"}}}"#,
        );
        let want = inputs(
            r#"{"range":"warn","missing":"refuse","constant":"off","duplicate":"refuse","columns":
                {"a":{"range":"refuse"},"b":{"range":"warn"},"c":{"range":"off"},"d":{"unseen":"off"}}}"#,
        );
        assert_eq!(own.at_least(said), want);
        assert_eq!(own.at_least(Strictness::default()), own);
        assert_eq!(
            said.and(Strictness::REFUSE).to_string(),
            "range refuse, missing refuse, unseen refuse, duplicate refuse"
        );
        for (said, want) in [
            ("{}", "it says nothing; leave it out or say `range: refuse`"),
            (
                r#"{"range":"refuse","unseen":"count"}"#,
                "`unseen: count` is not strict; want `warn` or `refuse`",
            ),
        ] {
            let said: Strictness = serde_json::from_str(said).expect("a setting");
            assert_eq!(said.check(), Err(want.to_owned()));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        check("{}", "fine");
        check(
            r#"{"range":"warn","share_max":"2%","columns":{"a":{"range":"refuse","least":0,"greatest":1}}}"#,
            "fine",
        );
        check(r#"{"columns":{"a":{"levels":["x","y"]}}}"#, "fine");
        check(r#"{"range":"deny"}"#, "unknown variant `deny`");
        check(r#"{"ranges":"off"}"#, "unknown field `ranges`");
        check(
            r#"{"columns":{"a":{"duplicate":"off"}}}"#,
            "unknown field `duplicate`",
        );
        check(r#"{"rows_min":0}"#, "`monitor.inputs.rows_min`");
        check(
            r#"{"columns":{"a":{"least":2,"greatest":1}}}"#,
            "`monitor.inputs.columns.a.greatest`: `1` is less than `least`, which is 2",
        );
        check(
            r#"{"columns":{"a":{"least":2,"levels":["x"]}}}"#,
            "`monitor.inputs.columns.a.levels`: a column is of numbers or of texts",
        );
        let many: Vec<String> = (0..1_000_000).map(|it| it.to_string()).collect();
        let many = serde_json::to_string(&many).expect("texts");
        check(
            &format!(r#"{{"columns":{{"a":{{"levels":{many}}}}}}}"#),
            "`monitor.inputs.columns.a.levels`: more than 10000 levels",
        );
        let long = "x".repeat(2000);
        check(
            &format!(r#"{{"columns":{{"a":{{"levels":["{long}"]}}}}}}"#),
            "one of more than 1024 bytes",
        );
    }
}
