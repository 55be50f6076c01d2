//! Names: of models, versions, aliases and content, and references to them.
//!
//! A name is checked once, where it enters; what holds one may put it in a path, a URL or a label.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// The longest model name or alias, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// A name under which versions serve: a letter or digit, then letters, digits, `.`, `_` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(String);

/// A movable name for a version. Never only digits, so that it cannot be taken for a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias(String);

/// The longest name of a metric, in bytes: a folder is named after the model and it.
pub const METRIC_BYTES_MAX: usize = 64;

/// The name of numbers that callers post with predictions' ids, `revenue`: letters and digits as in a model's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricName(String);

/// The number of an immutable package under a model's name: 1, 2, 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(NonZeroU32);

/// The SHA-256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Which version of a model is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// Whatever the model's traffic says.
    Traffic,
    /// That version, whatever the traffic says.
    Version(Version),
    /// The version that the alias names now.
    Alias(Alias),
}

/// `credit`, `credit:3` or `credit@champion`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The model.
    pub model: ModelName,
    /// Which of its versions.
    pub selector: Selector,
}

pub(crate) fn check_name(what: &'static str, text: &str) -> Result<(), Refusal> {
    let refuse = |why: &'static str| {
        let shown: String = text.chars().take(80).collect();
        Err(Refusal::InvalidName {
            what,
            name: shown,
            why,
        })
    };
    if text.is_empty() {
        return refuse("it is empty");
    }
    if text.len() > NAME_BYTES_MAX {
        return refuse("it is longer than 128 bytes");
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse("it must start with a letter or a digit");
    }
    if !text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    {
        return refuse("it may hold letters, digits, `.`, `_` and `-` only");
    }
    if text.ends_with('.') {
        return refuse("it must not end with a dot");
    }
    Ok(())
}

impl ModelName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        check_name("model name", text)?;
        Ok(Self(text.to_owned()))
    }
}

impl MetricName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MetricName {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        check_name("metric", text)?;
        if text.len() > METRIC_BYTES_MAX {
            return Err(Refusal::InvalidName {
                what: "metric",
                name: text.chars().take(80).collect(),
                why: "it is longer than 64 bytes",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl Alias {
    /// The alias as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Alias {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        check_name("alias", text)?;
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Refusal::InvalidName {
                what: "alias",
                name: text.to_owned(),
                why: "only digits would be taken for a version",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl Version {
    /// The first version of any model.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The version with this number; none for zero.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Its number, 1 and up.
    pub fn number(self) -> u32 {
        self.0.get()
    }
}

impl FromStr for Version {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = if digits { text.parse().ok() } else { None };
        number
            .and_then(Self::new)
            .ok_or_else(|| Refusal::InvalidName {
                what: "version",
                name: text.chars().take(80).collect(),
                why: "it must be a whole number from 1 to 4294967295",
            })
    }
}

impl Digest {
    /// The digest with these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = Refusal;

    /// Reads 64 lower-case hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refusal = || Refusal::InvalidName {
            what: "digest",
            name: text.chars().take(80).collect(),
            why: "it must be 64 lower-case hexadecimal digits",
        };
        if text.len() != 64 {
            return Err(refusal());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else {
                return Err(refusal());
            };
            let digit = |c: &u8| match c {
                b'0'..=b'9' => Some(c - b'0'),
                b'a'..=b'f' => Some(c - b'a' + 10),
                _ => None,
            };
            let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                return Err(refusal());
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Reference {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if let Some((model, alias)) = text.split_once('@') {
            return Ok(Self {
                model: model.parse()?,
                selector: Selector::Alias(alias.parse()?),
            });
        }
        if let Some((model, version)) = text.split_once(':') {
            let selector = Selector::Version(version.parse()?);
            return Ok(Self {
                model: model.parse()?,
                selector,
            });
        }
        Ok(Self {
            model: text.parse()?,
            selector: Selector::Traffic,
        })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Traffic => write!(f, "{}", self.model),
            Selector::Version(version) => write!(f, "{}:{version}", self.model),
            Selector::Alias(alias) => write!(f, "{}@{alias}", self.model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let got = match text.parse::<Reference>() {
            Ok(reference) => reference.to_string(),
            Err(refusal) => refusal.to_string(),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn references_are_read_as_they_are_written() {
        check("credit", "credit");
        check("credit:3", "credit:3");
        check("credit@champion", "credit@champion");
        check("all-MiniLM_L6.v2", "all-MiniLM_L6.v2");
    }

    #[test]
    fn names_that_could_be_paths_are_refused() {
        for name in [
            "..", ".", "a/b", "../x", "a\\b", "a b", "a%2fb", "-x", "x.", "é", "a\0",
        ] {
            assert!(name.parse::<ModelName>().is_err(), "{name}");
        }
        check("", "model name `` is not one: it is empty");
        check(
            "credit:0",
            "version `0` is not one: it must be a whole number from 1 to 4294967295",
        );
        check(
            "credit:+1",
            "version `+1` is not one: it must be a whole number from 1 to 4294967295",
        );
        check(
            "credit@7",
            "alias `7` is not one: only digits would be taken for a version",
        );
    }

    #[test]
    fn a_digest_prints_what_it_was_read_from() {
        let text = "00ff".repeat(16);
        assert_eq!(text.parse::<Digest>().expect("64 digits").to_string(), text);
        assert!("00FF".repeat(16).parse::<Digest>().is_err());
        assert!("00".parse::<Digest>().is_err());
    }
}
