//! Numbers, times and links as a page shows them. Templates hand in values or references to them.

use std::borrow::Borrow;

use askama::filters::Safe;
use domain::alert::Fact;
use domain::time::show_moment;
use serde_json::Value;

use crate::ask::Address;

/// Three significant digits, no more.
pub(crate) fn number(value: impl Borrow<f64>) -> String {
    let value = *value.borrow();
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if size >= 1e9 => format!("{value:.2e}"),
        _ if size >= 1e6 => format!("{:.2}M", value / 1e6),
        _ if size >= 1e4 => format!("{:.1}k", value / 1e3),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 1.0 => format!("{value:.2}"),
        _ if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

/// The same of what may not be there.
pub(crate) fn some(value: &Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}

/// A piece of evidence: whole numbers whole, others short.
pub(crate) fn fact(fact: &Fact) -> String {
    match fact {
        Fact::Text(text) => text.clone(),
        Fact::Number(value) if value.fract() == 0.0 && (0.0..1e15).contains(value) => {
            count(*value as u64)
        }
        Fact::Number(value) => number(value),
    }
}

/// A whole number with its thousands apart.
pub(crate) fn count(value: impl Borrow<u64>) -> String {
    let digits = value.borrow().to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A share of 1 as a percentage.
pub(crate) fn percent(share: impl Borrow<f64>) -> String {
    let share = *share.borrow();
    percentage(share * 100.0)
}

/// The same of what may not be there.
pub(crate) fn some_percent(share: &Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), percent)
}

/// A percentage.
pub(crate) fn percentage(value: impl Borrow<f64>) -> String {
    let value = *value.borrow();
    match value.abs() {
        0.0 => "0 %".to_owned(),
        size if size >= 99.95 || (9.95..90.0).contains(&size) => format!("{value:.0} %"),
        size if size >= 0.095 => format!("{value:.1} %"),
        _ => format!("{value:.2} %"),
    }
}

/// Milliseconds.
pub(crate) fn ms(value: impl Borrow<f64>) -> String {
    let value = *value.borrow();
    match value {
        value if value >= 10_000.0 => format!("{:.0} s", value / 1000.0),
        value if value >= 1000.0 => format!("{:.1} s", value / 1000.0),
        value if value >= 100.0 => format!("{value:.0} ms"),
        value if value >= 10.0 => format!("{value:.1} ms"),
        value if value >= 1.0 => format!("{value:.2} ms"),
        value => format!("{:.0} µs", value * 1000.0),
    }
}

/// The same of what may not be there.
pub(crate) fn some_ms(value: &Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), ms)
}

/// Microseconds.
pub(crate) fn us(value: impl Borrow<f64>) -> String {
    ms(*value.borrow() / 1000.0)
}

/// How long something took or lasts, in its two largest units: `2 d 3 h`.
pub(crate) fn span_us(length: impl Borrow<i64>) -> String {
    let seconds = length.borrow() / 1_000_000;
    match seconds {
        ..1 => us(*length.borrow() as f64),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A value of JSON: text without quotes, numbers as they came.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// So many a second.
pub(crate) fn rate(value: impl Borrow<f64>) -> String {
    let value = *value.borrow();
    format!("{}/s", number(value))
}

/// Bytes.
pub(crate) fn bytes(value: impl Borrow<u64>) -> String {
    let value = *value.borrow();
    let value = value as f64;
    match value {
        value if value >= 1024.0 * 1024.0 * 1024.0 => {
            format!("{:.1} GiB", value / 1024.0 / 1024.0 / 1024.0)
        }
        value if value >= 1024.0 * 1024.0 => format!("{:.1} MiB", value / 1024.0 / 1024.0),
        value if value >= 1024.0 => format!("{:.1} KiB", value / 1024.0),
        value => format!("{value:.0} B"),
    }
}

/// The first digits of a digest: enough to tell them apart.
pub(crate) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// A moment of milliseconds: UTC in the markup, which a script turns into the viewer's own zone.
pub(crate) fn time(at_ms: impl Borrow<i64>) -> Safe<String> {
    let at_ms = *at_ms.borrow();
    time_us(at_ms.saturating_mul(1000))
}

/// The same of microseconds. Digits and punctuation, so there is nothing to escape.
pub(crate) fn time_us(at_us: impl Borrow<i64>) -> Safe<String> {
    let at_us = *at_us.borrow();
    let shown = show_moment(at_us);
    let iso = shown.replace(' ', "T");
    Safe(format!(
        "<time datetime=\"{iso}Z\" title=\"{shown} UTC\">{shown} UTC</time>"
    ))
}

/// The same of seconds.
pub(crate) fn time_s(at_s: &f64) -> Safe<String> {
    time_us((at_s * 1e6) as i64)
}

/// A moment as parameters and commands take it.
pub(crate) fn moment(at_us: impl Borrow<i64>) -> String {
    let at_us = *at_us.borrow();
    format!("{}Z", show_moment(at_us).replace(' ', "T"))
}

/// Where a page of the console is.
pub(crate) fn page(segments: &[&str]) -> String {
    Address::of("/console", segments).as_str().to_owned()
}

/// Where a model's page is, or a page below it.
pub(crate) fn model(name: &str, below: &str) -> String {
    match below {
        "" => page(&["models", name]),
        below => page(&["models", name, below]),
    }
}

/// A text as an argument of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_not_wrong() {
        let shown = [0.0, 1234.5, 12_345.0, 0.9271, 1e-7, -2.5, 1_500_000.0].map(number);
        assert_eq!(
            shown,
            ["0", "1234", "12.3k", "0.9271", "1.0e-7", "-2.50", "1.50M"]
        );
        let shown = [0.0, 0.004, 0.051, 0.12, 0.999, 1.0].map(percent);
        assert_eq!(shown, ["0 %", "0.4 %", "5.1 %", "12 %", "99.9 %", "100 %"]);
        assert_eq!(
            [0.31, 1.94, 250.0, 2300.0].map(ms),
            ["310 µs", "1.94 ms", "250 ms", "2.3 s"]
        );
        assert_eq!(count(1_234_567_u64), "1,234,567");
        assert_eq!(
            [1500, 61_000_000, 7_260_000_000, 90_000_000_000_i64].map(span_us),
            ["1.50 ms", "1 min 1 s", "2 h 1 min", "1 d 1 h"]
        );
    }

    #[test]
    fn an_argument_of_a_shell_stays_one() {
        assert_eq!(quoted("credit:2"), "credit:2");
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
    }
}
