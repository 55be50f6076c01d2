//! `windlass.yaml`: what a model's owner says about it. Unknown keys are refused.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::alert::Rule;
use crate::budget::Budget;
use crate::ledger;
use crate::monitor;
use crate::rollout;
use crate::task::Task;

/// The whole file. Everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The model's name; without it the file's or folder's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's file or folder, relative to this file; without it the folder that this file is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What the answers mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// What the model itself does not say about its inputs.
    #[serde(default, skip_serializing_if = "Declared::is_empty")]
    pub signature: Declared,
    /// How it is run.
    #[serde(default, skip_serializing_if = "Serve::is_default")]
    pub serve: Serve,
    /// Rows with known answers, which a version must reproduce before it may serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<Examples>,
    /// What is kept of its predictions.
    #[serde(default, skip_serializing_if = "ledger::Setting::is_default")]
    pub ledger: ledger::Setting,
    /// What its predictions may cost. It needs a server that was given prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What is watched of it.
    #[serde(default, skip_serializing_if = "monitor::Setting::is_default")]
    pub monitor: monitor::Setting,
    /// What becomes of what its monitors find. What no rule is about alerts under its monitor's name, and
    /// nothing is done about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Rule>,
    /// How a version gets the traffic when it is rolled out.
    #[serde(default, skip_serializing_if = "rollout::Spec::is_default")]
    pub rollout: rollout::Spec,
}

/// What a model's file does not say about its inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// For an input that is a matrix: the names of its columns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, Vec<String>>,
}

impl Declared {
    fn is_empty(&self) -> bool {
        self.features.is_empty()
    }
}

/// How a version is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// How requests are grouped.
    #[serde(default, skip_serializing_if = "BatchSetting::is_default")]
    pub batch: BatchSetting,
    /// The longest that a request may take, queueing included: `1s`, `500ms`. Without it 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Sessions that run at the same time; without it one for each core that the server may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub instances: Option<u16>,
    /// Threads of each session; without it 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub threads: Option<u16>,
    /// Where it runs: `cpu`, or an accelerator that the installed runtime offers. Without it `cpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// An axis along which a request may be lengthened with zeros without changing its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad: Option<PadSetting>,
}

impl Serve {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `off`, or limits.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum BatchSetting {
    /// `off`: every request runs alone. For models whose answers depend on who shares the run.
    Off(Off),
    /// Requests are grouped within these limits.
    Limits(BatchLimits),
}

impl Default for BatchSetting {
    fn default() -> Self {
        Self::Limits(BatchLimits::default())
    }
}

impl BatchSetting {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The word `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Off {
    /// `off`.
    #[serde(rename = "off")]
    Off,
}

/// Limits of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchLimits {
    /// The most rows that share a run; without it, measured when the version is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub rows_max: Option<u32>,
    /// The most rows of one request; one with more is refused. Without it no bound but the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub request_rows_max: Option<u32>,
    /// The longest that a waiting request may be passed over in favour of others that group better, when
    /// every session is busy. An idle session never waits. Without it 2 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_max: Option<Span>,
}

/// `off`, or where padding is allowed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum PadSetting {
    /// `off`: never pad, even where it was recognised.
    Off(Off),
    /// Pad these inputs.
    Axis(PadAxis),
}

impl<'de> Deserialize<'de> for BatchSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limits = off_or(deserializer)?;
        Ok(limits.map_or(Self::Off(Off::Off), Self::Limits))
    }
}

impl<'de> Deserialize<'de> for PadSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let axis = off_or(deserializer)?;
        Ok(axis.map_or(Self::Off(Off::Off), Self::Axis))
    }
}

/// Nothing for the word `off`, else the settings of a mapping. Told apart by what it is and not by trying
/// both, so that an error names the key that is wrong: serde's untagged enums say only that nothing fits.
pub(crate) fn off_or<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct OffOr<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OffOr<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`off` or a mapping")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            match text {
                "off" => Ok(None),
                _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(OffOr(PhantomData))
}

/// Inputs that share an axis of variable length, and what shows which part of it is real.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PadAxis {
    /// The axis, counted from 0 with the rows; commonly 1.
    pub axis: usize,
    /// The inputs that are lengthened together.
    pub inputs: Vec<String>,
}

/// Rows with known answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Examples {
    /// A JSON file with `inputs` and `outputs` as in the Open Inference Protocol, relative to this file.
    pub file: String,
    /// How far an answer may be from the known one.
    #[serde(default)]
    pub tolerance: Tolerance,
}

/// An answer `a` reproduces `b` when `|a - b| <= absolute + relative * |b|`, or both are NaN; strings and
/// whole numbers must be equal. (The rule of NumPy's `isclose`.)
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// In the unit of the output.
    #[serde(default = "Tolerance::absolute_default")]
    pub absolute: f64,
    /// As a share of the known answer.
    #[serde(default = "Tolerance::relative_default")]
    pub relative: f64,
}

impl Tolerance {
    fn absolute_default() -> f64 {
        1e-5
    }

    fn relative_default() -> f64 {
        1e-4
    }

    /// Whether `got` reproduces `want`.
    pub fn accepts(&self, got: f64, want: f64) -> bool {
        got == want
            || (got.is_nan() && want.is_nan())
            || (want.is_finite()
                && (got - want).abs() <= self.absolute + self.relative * want.abs())
    }
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            absolute: Self::absolute_default(),
            relative: Self::relative_default(),
        }
    }
}

/// A length of time as text: `2ms`, `1s`, `1.5m`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

const UNITS: [(&str, f64); 7] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86400.0),
];

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a length of time such as `2ms`, `1s` or `30d`");
        let split = text
            .find(|c: char| c.is_ascii_alphabetic())
            .ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let (_, seconds) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        Duration::try_from_secs_f64(number * seconds)
            .map(Self)
            .map_err(|_| wrong())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let sizes: [(u128, &str); 7] = [
            (86_400_000_000_000, "d"),
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
            (1, "ns"),
        ];
        let whole = sizes
            .iter()
            .find(|(size, _)| nanos >= *size && nanos.is_multiple_of(*size));
        match whole {
            Some((size, unit)) => write!(f, "{}{unit}", nanos / size),
            None => write!(f, "0s"),
        }
    }
}

/// Makes a type that is read and printed as text a setting: serde and a JSON Schema.
macro_rules! text_setting {
    ($type:ident, $about:literal, $pattern:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $about,
                    "pattern": $pattern
                })
            }
        }
    };
}
pub(crate) use text_setting;

text_setting!(
    Span,
    "A length of time: `2ms`, `1s`, `30d`.",
    "^[0-9.]+ *(ns|us|ms|s|m|h|d)$"
);

/// The JSON Schema of `windlass.yaml`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Manifest).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_print() {
        for (text, millis) in [
            ("2ms", 2),
            ("1s", 1000),
            ("1.5m", 90_000),
            ("30d", 2_592_000_000),
        ] {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.0.as_millis(), millis, "{text}");
            assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }
        for text in ["", "2", "ms", "-1s", "1 year", "1e99d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_setting_that_can_be_off_names_the_key_that_is_wrong() {
        let check = |text: &str, want: &str| {
            let got = match serde_json::from_str::<Serve>(text) {
                Ok(serve) => serde_json::to_string(&serve).expect("JSON"),
                Err(error) => error.to_string(),
            };
            assert!(got.starts_with(want), "{got}");
        };
        check(
            r#"{"batch":"off","pad":"off"}"#,
            r#"{"batch":"off","pad":"off"}"#,
        );
        check(r#"{"batch":{"rows_max":8}}"#, r#"{"batch":{"rows_max":8}}"#);
        check(
            r#"{"batch":{"rows":8}}"#,
            "unknown field `rows`, expected one of `rows_max`, `request_rows_max`, `delay_max`",
        );
        check(
            r#"{"batch":"on"}"#,
            "invalid value: string \"on\", expected `off` or a mapping",
        );
        check(r#"{"pad":{"axis":1}}"#, "missing field `inputs`");
    }

    #[test]
    fn a_rollout_is_a_section_of_it() {
        let read: Manifest = serde_json::from_str("{}").expect("nothing need be said");
        assert_eq!(read.rollout, rollout::Spec::default());
        assert_eq!(serde_json::to_string(&read).expect("JSON"), "{}");
        let text = r#"{"rollout":{"shadow":"off","steps":["5%","50%"]}}"#;
        let read: Manifest = serde_json::from_str(text).expect("a manifest");
        assert_eq!(read.rollout.steps.len(), 2);
        assert_eq!(read.rollout.check(), Ok(()));
    }

    #[test]
    fn tolerance_is_that_of_isclose() {
        let tolerance = Tolerance {
            absolute: 0.1,
            relative: 0.01,
        };
        assert!(tolerance.accepts(100.9, 100.0));
        assert!(!tolerance.accepts(101.2, 100.0));
        assert!(tolerance.accepts(f64::NAN, f64::NAN));
        assert!(!tolerance.accepts(f64::NAN, 1.0));
        assert!(tolerance.accepts(f64::INFINITY, f64::INFINITY));
        assert!(!tolerance.accepts(f64::NEG_INFINITY, f64::INFINITY));
    }
}
