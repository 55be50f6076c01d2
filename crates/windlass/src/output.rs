//! The terminal: the one place that writes to standard output and standard error.
//!
//! Standard output holds what was asked for and nothing else (one JSON value with `--json`); everything
//! about how it went is on standard error.

use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use wire::api::ledger::MetricRecord;

use crate::failure::Failure;

/// How the user wants to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON in place of text.
    pub(crate) json: bool,
    /// Nothing but answers and errors.
    pub(crate) quiet: bool,
}

impl Output {
    /// An answer: text for people, the record for programs.
    pub(crate) fn answer<T: Serialize>(
        self,
        record: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            let mut json = serde_json::to_vec_pretty(record)?;
            json.push(b'\n');
            return self.bytes(&json);
        }
        self.line(&text(record))
    }

    /// A line of an answer.
    pub(crate) fn line(self, text: &str) -> anyhow::Result<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// An answer as it is.
    pub(crate) fn bytes(self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            // `windlass list | head` has read enough: that is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => Ok(result?),
        }
    }

    /// Where an answer goes that comes in pieces.
    pub(crate) fn writer(self) -> impl Write {
        io::stdout()
    }

    /// Something that the user may like to know; not with `--quiet`.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// Why it failed.
    pub(crate) fn fail(self, failure: &Failure) {
        if self.json {
            let body = serde_json::json!({ "error": failure });
            return say(&body.to_string());
        }
        say(&format!("error: {}", failure.message));
        if let Some(hint) = &failure.hint {
            say(&format!("hint: {hint}"));
        }
    }

    /// Whether somebody looks who would like to see how far it is.
    pub(crate) fn draws(self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// A bar that fills as `total` of something are done; nothing is drawn where nobody looks.
    pub(crate) fn progress(self, what: &str, total: u64, unit: Unit) -> ProgressBar {
        let target = if self.draws() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let counts = match unit {
            Unit::Bytes => "{bytes}/{total_bytes} {bytes_per_sec}",
            Unit::Rows => "{human_pos}/{human_len} rows {per_sec}",
        };
        let style = ProgressStyle::with_template(&format!("{{msg}} {{bar:30}} {counts}"))
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::with_draw_target(Some(total), target)
            .with_style(style)
            .with_message(what.to_owned())
    }
}

/// What a progress bar counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Bytes,
    Rows,
}

/// A line on standard error. When nobody can read it there is nobody left to tell.
fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A table for people: no frame, so that it can be cut and pasted.
pub(crate) fn table(headers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    let shown = table.to_string();
    let lines: Vec<&str> = shown.lines().map(|line| line.trim_end()).collect();
    lines
        .iter()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A moment as people write it: `2026-11-22 11:05`, UTC.
pub(crate) fn moment(ms: i64) -> String {
    let mut text = moment_us(ms.saturating_mul(1000));
    text.truncate(text.len() - ":00".len());
    text
}

/// The same to the second, of microseconds: `2026-11-22 11:05:03`.
pub(crate) fn moment_us(us: i64) -> String {
    domain::time::show_moment(us)
}

/// What happened, in a line.
pub(crate) fn happened(at_ms: i64, said: &str) -> String {
    format!("{}  {said}", moment_us(at_ms.saturating_mul(1000)))
}

/// Lines as they come and, where somebody looks, a text below them that is drawn anew.
pub(crate) struct Live {
    output: Output,
    drawn: Option<ProgressBar>,
}

impl Live {
    pub(crate) fn new(output: Output) -> Self {
        let drawn = output.draws().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self { output, drawn }
    }

    /// A line: text for people, the record for programs.
    pub(crate) fn line<T: Serialize>(
        &self,
        record: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let line = match self.output.json {
            true => serde_json::to_string(record)?,
            false => text(record),
        };
        match &self.drawn {
            Some(bar) => bar.suspend(|| self.output.line(&line)),
            None => self.output.line(&line),
        }
    }

    /// What is of now.
    pub(crate) fn now(&self, text: impl FnOnce() -> String) {
        if let Some(bar) = &self.drawn {
            bar.set_message(text());
        }
    }

    /// Leaves the lines alone.
    pub(crate) fn end(self) {
        if let Some(bar) = self.drawn {
            bar.finish_and_clear();
        }
    }
}

/// A number as people compare it: three digits that matter, and all of what stands before the point.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    if size < 1e-4 {
        return format!("{value:.2e}");
    }
    decimals(value, 2.0 - size.log10().floor())
}

/// A number with its sign, of what may be more or less.
pub(crate) fn signed(value: f64) -> String {
    match value > 0.0 {
        true => format!("+{}", number(value)),
        false => number(value),
    }
}

/// A figure and, where it has one, its interval: `0.812 [0.780, 0.840]`.
pub(crate) fn interval(it: &MetricRecord) -> String {
    match (it.low, it.high) {
        (Some(low), Some(high)) => {
            format!("{} [{}, {}]", number(it.value), number(low), number(high))
        }
        _ => number(it.value),
    }
}

/// A number with so many digits behind the point, if that is some.
pub(crate) fn decimals(value: f64, count: f64) -> String {
    format!("{value:.*}", count.clamp(0.0, 9.0) as usize)
}

/// A part of a whole: `12.3%`.
pub(crate) fn share(value: f64) -> String {
    let percent = number(value * 100.0);
    format!("{percent}%")
}

/// A count and its noun: `1 row`, `2 rows`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_plain_text_without_trailing_spaces() {
        let rows = vec![
            vec!["credit".to_owned(), "3".to_owned()],
            vec!["iris".to_owned(), "12".to_owned()],
        ];
        assert_eq!(
            table(&["MODEL", "VERSION"], rows),
            "MODEL   VERSION\ncredit  3\niris    12"
        );
    }

    #[test]
    fn moments_are_dates() {
        for (ms, want) in [
            (0, "1970-01-01 00:00"),
            (951_782_400_000, "2000-02-29 00:00"),
            (1_795_345_500_000, "2026-11-22 11:05"),
            (-1, "1969-12-31 23:59"),
        ] {
            assert_eq!(moment(ms), want);
        }
        assert_eq!(moment_us(1_795_345_503_999_999), "2026-11-22 11:05:03");
        assert_eq!(moment_us(-1), "1969-12-31 23:59:59");
    }

    #[test]
    fn numbers_have_three_digits_that_matter() {
        for (value, want) in [
            (0.0, "0"),
            (0.8123, "0.812"),
            (1.0, "1.00"),
            (-12.345, "-12.3"),
            (123_456.7, "123457"),
            (0.001_234, "0.00123"),
            (0.000_012_34, "1.23e-5"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), want);
        }
        let mut figure = MetricRecord {
            value: 0.8123,
            low: Some(0.78),
            high: Some(0.84),
        };
        assert_eq!(interval(&figure), "0.812 [0.780, 0.840]");
        figure.low = None;
        assert_eq!(interval(&figure), "0.812");
        assert_eq!(share(0.0123), "1.23%");
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(0, "row"), "0 rows");
    }
}
