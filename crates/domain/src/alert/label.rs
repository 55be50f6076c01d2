//! Labels, their fingerprint, and matchers that pick alerts by them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::name::{ModelName, Version};

/// The rule's name, or the monitor's where no rule names it.
pub const ALERTNAME: &str = "alertname";
/// The model.
pub const MODEL: &str = "model";
/// Its version, where the alert is about one.
pub const MODEL_VERSION: &str = "model_version";
/// The monitor.
pub const MONITOR: &str = "monitor";
/// A feature, a metric.
pub const SUBJECT: &str = "subject";
/// A part of the rows.
pub const SEGMENT: &str = "segment";
/// `page`, `ticket`, `info`.
pub const SEVERITY: &str = "severity";

/// The labels that every alert may have; a rule's own labels are called otherwise.
pub const RESERVED: [&str; 7] = [
    ALERTNAME,
    MODEL,
    MODEL_VERSION,
    MONITOR,
    SUBJECT,
    SEGMENT,
    SEVERITY,
];

/// What an alert is, by name. One that is empty is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// The labels without those that are empty.
    pub fn new(labels: BTreeMap<String, String>) -> Self {
        Self(labels.into_iter().filter(|it| !it.1.is_empty()).collect())
    }

    /// A label; empty where it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The same labels with another value of one.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut labels = self.0.clone();
        labels.insert(name.to_owned(), value.to_owned());
        Self::new(labels)
    }

    /// Those with these names.
    pub fn only(&self, names: &[String]) -> Self {
        let wanted = |name: &&String| !self.get(name).is_empty();
        let pick = |name: &String| (name.clone(), self.get(name).to_owned());
        Self(names.iter().filter(wanted).map(pick).collect())
    }

    /// The model that it is about.
    pub fn model(&self) -> Option<ModelName> {
        self.get(MODEL).parse().ok()
    }

    /// The version that it is about.
    pub fn version(&self) -> Option<Version> {
        self.get(MODEL_VERSION).parse().ok()
    }

    /// The same number for the same labels, now and in another process.
    ///
    /// Source: `LabelSet.Fingerprint` of Prometheus' `common/model`: FNV-1a in 64 bits over names and values
    /// in the order of the names, each followed by the byte 255. So a receiver that knows Alertmanager's
    /// fingerprints finds the ones it expects.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Fnv::default();
        for (name, value) in &self.0 {
            hash.add(name.as_bytes());
            hash.add(&[255]);
            hash.add(value.as_bytes());
            hash.add(&[255]);
        }
        Fingerprint(hash.0)
    }
}

/// FNV-1a in 64 bits. Source: <http://www.isthe.com/chongo/tech/comp/fnv/>.
pub(super) struct Fnv(pub(super) u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Display for Labels {
    /// `model=credit, monitor=drift`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

/// An alert's identity: a number made of its labels, as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = crate::Refusal;

    fn from_str(text: &str) -> Result<Self, crate::Refusal> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let valid = text.len() == 16 && text.bytes().all(digit);
        let number = u64::from_str_radix(text, 16).ok().filter(|_| valid);
        number.map(Self).ok_or_else(|| crate::Refusal::InvalidName {
            what: "alert id",
            name: text.chars().take(80).collect(),
            why: "it is 16 lower-case hexadecimal digits",
        })
    }
}

/// Picks alerts by one label: `monitor=drift`, `subject!=age|income`. A label that is not there is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    label: String,
    wants: bool,
    values: Vec<String>,
}

impl Matcher {
    /// Whether it picks an alert with these labels.
    pub fn picks(&self, labels: &Labels) -> bool {
        let got = labels.get(&self.label);
        self.values.iter().any(|it| it == got) == self.wants
    }
}

/// Whether all of them do.
pub(super) fn all_pick(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|it| it.picks(labels))
}

impl FromStr for Matcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a matcher such as `model=credit` or `subject!=age`");
        let (name, values) = text.split_once('=').ok_or_else(wrong)?;
        let (label, wants) = match name.strip_suffix('!') {
            Some(label) => (label, false),
            None => (name, true),
        };
        if !is_label_name(label) {
            return Err(wrong());
        }
        Ok(Self {
            label: label.to_owned(),
            wants,
            values: values.split('|').map(str::to_owned).collect(),
        })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.wants { "=" } else { "!=" };
        write!(f, "{}{sign}{}", self.label, self.values.join("|"))
    }
}

crate::manifest::text_setting!(
    Matcher,
    "`label=value`, `label!=value`; several values are parted by `|`.",
    "^[a-zA-Z_][a-zA-Z0-9_]*!?=.*$"
);

/// Whether Prometheus takes it as a label's name.
pub(super) fn is_label_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}
