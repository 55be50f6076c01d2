//! Thresholds that a command is told to fail at: `accuracy=0.7`, `changed=1%`.

use std::str::FromStr;

/// A figure's name, and where it stops being acceptable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    pub(crate) name: String,
    pub(crate) value: f64,
    /// As it was given.
    pub(crate) text: String,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not `NAME=VALUE`, such as `accuracy=0.7` or `changed=1%`");
        let (name, given) = text.split_once('=').ok_or_else(wrong)?;
        let value = match given.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|it| it / 100.0),
            None => given.trim().parse(),
        };
        match value {
            Ok(value) if value.is_finite() && !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                value,
                text: given.to_owned(),
            }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_names_and_numbers_or_shares() {
        let read = |text: &str| {
            let threshold = text.parse::<Threshold>();
            threshold.map(|it| (it.name, it.value, it.text))
        };
        let is = |name: &str, value, text: &str| Ok((name.to_owned(), value, text.to_owned()));
        assert_eq!(read("accuracy=0.7"), is("accuracy", 0.7, "0.7"));
        assert_eq!(read("changed=1%"), is("changed", 0.01, "1%"));
        assert_eq!(read("r2=-1"), is("r2", -1.0, "-1"));
        for wrong in [
            "accuracy",
            "=1",
            "accuracy=",
            "accuracy=x",
            "accuracy=NaN",
            "a=%",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
