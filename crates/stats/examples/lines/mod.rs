//! Lines of JSON as the examples read them.

#![allow(dead_code, reason = "each example takes what it needs")]

use std::collections::HashMap;
use std::error::Error;
use std::str::FromStr;

use serde_json::value::RawValue;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// A line's fields as they are written: `serde_json` may read a number's last bit wrong, the standard
/// library does not. A number that JSON has no word for is a string: `"nan"`.
pub(crate) struct Fields<'a>(HashMap<&'a str, &'a RawValue>);

impl<'a> Fields<'a> {
    pub(crate) fn read(line: &'a str) -> Outcome<Self> {
        Ok(Self(serde_json::from_str(line)?))
    }

    /// Whether there is such a field, and it is not `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|raw| raw.get() != "null")
    }

    pub(crate) fn text(&self, name: &str) -> Outcome<&'a str> {
        let raw = self.0.get(name).ok_or_else(|| format!("no `{name}`"))?;
        Ok(plain(raw))
    }

    pub(crate) fn number(&self, name: &str) -> Outcome<f64> {
        Ok(self.text(name)?.parse()?)
    }

    pub(crate) fn count(&self, name: &str) -> Outcome<usize> {
        Ok(self.text(name)?.parse()?)
    }

    /// The usual one where there is no such field.
    pub(crate) fn or<T: FromStr>(&self, name: &str, usual: T) -> Outcome<T>
    where
        T::Err: Error + 'static,
    {
        let given = self.0.get(name).map(|raw| plain(raw).parse());
        Ok(given.transpose()?.unwrap_or(usual))
    }

    pub(crate) fn numbers<T: FromStr>(&self, name: &str) -> Outcome<Vec<T>>
    where
        T::Err: Error + 'static,
    {
        let raw: Vec<&RawValue> = serde_json::from_str(self.text(name)?)?;
        let numbers = raw.into_iter().map(|it| plain(it).parse());
        Ok(numbers.collect::<Result<_, _>>()?)
    }

    /// Lists of numbers.
    pub(crate) fn columns(&self, name: &str) -> Outcome<Vec<Vec<f64>>> {
        let raw: Vec<Vec<&RawValue>> = serde_json::from_str(self.text(name)?)?;
        let column = |it: Vec<&RawValue>| it.into_iter().map(|it| plain(it).parse()).collect();
        Ok(raw.into_iter().map(column).collect::<Result<_, _>>()?)
    }

    /// Lines within the line.
    pub(crate) fn parts(&self, name: &str) -> Outcome<Vec<Self>> {
        Ok(serde_json::from_str::<Vec<_>>(self.text(name)?)?
            .into_iter()
            .map(Self)
            .collect())
    }
}

fn plain(raw: &RawValue) -> &str {
    raw.get().trim_matches('"')
}
