//! The prediction ledger's words: ids of predictions, how surely a row is kept, where its key comes from,
//! how long it is kept.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attributes::check_names;
use crate::manifest::Span;
use crate::refusal::Refusal;

/// What rows without a value of a column are called where rows are told by it.
pub const NO_VALUE: &str = "(none)";

/// What all values together are called that are too many to be told apart.
pub const OTHER_VALUES: &str = "(others)";

/// One answered row: the request's id and the row's number in it, from 0.
///
/// As text it is the request's UUID, a dot and the row: `01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f.0`. Without
/// the dot row 0 is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PredictionId {
    /// A UUID of version 7: its first 48 bits are the milliseconds since 1970 at which it was made.
    pub request: [u8; 16],
    /// The row.
    pub row: u32,
}

impl PredictionId {
    /// Milliseconds since 1970 at which the request came. Source: RFC 9562, section 5.7.
    pub fn time_ms(&self) -> i64 {
        time_ms(&self.request)
    }
}

/// Milliseconds since 1970 at which a request's id was made.
pub fn time_ms(request: &[u8; 16]) -> i64 {
    request[..6]
        .iter()
        .fold(0, |ms, byte| (ms << 8) | i64::from(*byte))
}

/// A request's id as text, hyphenated and in lower case.
pub fn show_request(request: &[u8; 16]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (index, byte) in request.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

impl fmt::Display for PredictionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", show_request(&self.request), self.row)
    }
}

impl FromStr for PredictionId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = |why| Refusal::InvalidName {
            what: "prediction id",
            name: text.chars().take(80).collect(),
            why,
        };
        let (uuid, row) = match text.split_once('.') {
            Some((uuid, row)) => (uuid, row.parse().map_err(|_| wrong(ROW))?),
            None => (text, 0),
        };
        let bytes = uuid.as_bytes();
        let hyphens =
            |it: &[u8]| it.len() == 36 && [8, 13, 18, 23].iter().all(|at| it[*at] == b'-');
        if !hyphens(bytes) && bytes.len() != 32 {
            return Err(wrong(SHAPE));
        }
        let mut digits = bytes.iter().filter(|it| **it != b'-');
        let mut request = [0; 16];
        for byte in &mut request {
            let mut nibble = || {
                let digit = char::from(*digits.next()?).to_digit(16)?;
                u8::try_from(digit).ok()
            };
            let (high, low) = (nibble(), nibble());
            let (Some(high), Some(low)) = (high, low) else {
                return Err(wrong(SHAPE));
            };
            *byte = high << 4 | low;
        }
        if digits.next().is_some() {
            return Err(wrong(SHAPE));
        }
        Ok(Self { request, row })
    }
}

const SHAPE: &str = "it is a UUID, and where the request had several rows a dot and the row";
const ROW: &str = "after the dot stands the number of a row, from 0";

/// How surely an answered row is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The answer leaves when its row is on disk: nothing answered is lost, even when the power fails.
    Commit,
    /// The answer leaves when its row is in the system's hands: it survives the end of the process, however
    /// sudden; a loss of power may take what was answered within the last second.
    #[default]
    Buffered,
    /// Nothing is recorded.
    Off,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Commit, Self::Buffered, Self::Off];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Buffered => "buffered",
            Self::Off => "off",
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| format!("`{text}` is not `commit`, `buffered` or `off`"))
    }
}

/// What becomes of a request whose row the ledger cannot take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// It is answered, and its rows are counted as lost.
    #[default]
    Lose,
    /// It is refused with 503 and a time to come back.
    Shed,
}

/// Where a text that belongs to a request comes from: `header:x-customer-id` or `input:customer_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A header of the request, over HTTP as over gRPC; its name is in lower case.
    Header(String),
    /// The value of an input of one value a row, or of a named feature.
    Input(String),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither `header:NAME` nor `input:NAME`");
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match kind {
            "header" if !name.is_empty() && name.chars().all(token) => {
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
            "input" if !name.is_empty() => Ok(Self::Input(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Input(name) => write!(f, "input:{name}"),
        }
    }
}

crate::manifest::text_setting!(
    Source,
    "`header:NAME` or `input:NAME`.",
    "^(header|input):.+$"
);

/// A part of a whole, from 0 to 1, as `5%` or `0.05`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// From 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Whether the part takes in what has this hash. The same hash is always answered the same way, and a
    /// larger share takes in all that a smaller one does.
    pub fn takes(self, hash: u64) -> bool {
        // The upper 53 bits as a number from 0 up to 1.
        ((hash >> 11) as f64) / ((1u64 << 53) as f64) < self.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a share such as `5%` or `0.05`");
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map_err(|_| wrong())? / 100.0,
            None => text.trim().parse::<f64>().map_err(|_| wrong())?,
        };
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(format!("`{text}` is not from 0% to 100%"))
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

crate::manifest::text_setting!(Share, "A share: `5%` or `0.05`.", "^[0-9.]+ *%?$");

/// What the ledger keeps of a model's predictions, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// `commit`, `buffered` or `off`; without it what the server was started with, which is `buffered`
    /// unless it was told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What becomes of a request whose row cannot be taken: `lose` answers and counts, `shed` refuses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub when_full: WhenFull,
    /// What a row is about, for labels that know nothing else: `header:x-customer-id` or `input:customer_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Source>,
    /// Attributes of what a row is about, told by `windlass attributes` and joined by `key`: `fairness.by` may name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Who asked, for costs and latencies by caller: `header:x-client`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Source>,
    /// The share of tensors too large for columns that is kept whole; of the others a digest and a summary are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sample: Share,
    /// For how long rows are kept, by the time of the prediction; without it for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<Span>,
    /// The most bytes of files that the model's predictions may take; the oldest go first. Without it no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_bytes: Option<u64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Setting {
    /// Whether nothing was said.
    pub(crate) fn is_default(&self) -> bool {
        is_default(self)
    }

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), Refusal> {
        let wrong = |why| Refusal::InvalidManifest {
            field: "ledger.attributes".to_owned(),
            why,
        };
        check_names(&self.attributes).map_err(wrong)?;
        if !self.attributes.is_empty() && self.key.is_none() {
            return Err(wrong(
                "they are joined by `ledger.key`, which is not there".to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let text = "01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f";
        let id: PredictionId = text.parse().expect("a UUID");
        assert_eq!(id.to_string(), format!("{text}.0"));
        assert_eq!(id.time_ms(), 0x0193_2f6e_3b0a);
        let third: PredictionId = format!("{text}.3").parse().expect("an id");
        assert_eq!((third.request, third.row), (id.request, 3));
        let plain: PredictionId = text.replace('-', "").parse().expect("without hyphens");
        assert_eq!(plain, id);
        for wrong in [
            "",
            "7",
            "01932f6e",
            "01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7g",
            "01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f.x",
            "01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f.-1",
            "0-1932f6e3b0a7c9e8f3d2a1b4c5d6e7f-0-",
        ] {
            assert!(wrong.parse::<PredictionId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sources_and_shares_are_read_and_checked() {
        let header: Source = "header:X-Customer-Id".parse().expect("a source");
        assert_eq!(header.to_string(), "header:x-customer-id");
        for wrong in ["", "header:", "header:a b", "column:x", "x"] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
        assert_eq!("5%".parse::<Share>().map(Share::get), Ok(0.05));
        assert_eq!("0.05".parse::<Share>().map(Share::get), Ok(0.05));
        for wrong in ["101%", "-1%", "x", "", "NaN"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        let half: Share = "50%".parse().expect("a share");
        assert!(half.takes(0) && half.takes(u64::MAX / 2 - 10_000) && !half.takes(u64::MAX));
    }
}
