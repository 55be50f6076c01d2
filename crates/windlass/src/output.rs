//! The terminal: the one place that writes to standard output and standard error.
//!
//! Standard output holds what was asked for and nothing else (one JSON value with `--json`); everything
//! about how it went is on standard error.

use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

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
    // Days since 1970 to a date: Howard Hinnant, `civil_from_days`,
    // <https://howardhinnant.github.io/date_algorithms.html>.
    let (day, second) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1000);
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year}-{month:02}-{date:02} {hour:02}:{minute:02}")
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
    }
}
