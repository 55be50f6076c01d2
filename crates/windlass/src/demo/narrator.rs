//! Who tells the demo's story: a chapter is a heading, and below it sentences, each with the command that shows the
//! same.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::output::{Live, Output};

/// Where everything is, for programs.
#[derive(Serialize)]
pub(super) struct Place<'a> {
    pub(super) url: &'a str,
    /// The data folder.
    pub(super) data_dir: &'a str,
}

/// A sentence, for programs.
#[derive(Serialize)]
struct Sentence<'a> {
    chapter: u32,
    title: &'a str,
    after_ms: u64,
    said: &'a str,
    command: &'a str,
    /// The numbers that prove it.
    proof: Map<String, Value>,
}

/// Tells the story as it happens.
pub(super) struct Narrator {
    output: Output,
    live: Live,
    began: Instant,
    chapter: Cell<(u32, &'static str)>,
    /// The last command: one that shows several sentences is told once.
    command: RefCell<String>,
}

/// How many chapters there are.
const CHAPTERS: u32 = 6;

impl Narrator {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            live: Live::new(output),
            began: Instant::now(),
            chapter: Cell::new((0, "")),
            command: RefCell::default(),
        }
    }

    /// Where to look.
    pub(super) fn place(&self, place: &Place<'_>) -> anyhow::Result<()> {
        self.live.line(place, |Place { url, data_dir }| {
            format!(
                "Will a car loan be paid back? A model that answers, while the applicants change.\n\n\
                 Console   {url}/\n\
                 Terminal  export WINDLASS_SERVER={url}     # then the commands below work in another one\n\
                 Data      {data_dir}"
            )
        })
    }

    /// A chapter begins.
    pub(super) fn chapter(&self, title: &'static str) -> anyhow::Result<()> {
        let number = self.chapter.get().0 + 1;
        self.chapter.set((number, title));
        if self.output.json {
            return Ok(());
        }
        let heading = format!("\n{number}/{CHAPTERS}  {title}");
        self.live.line(&(), |()| heading)
    }

    /// A sentence, the command that shows the same, and the numbers that prove it.
    pub(super) fn say(&self, said: &str, command: &str, proof: Value) -> anyhow::Result<()> {
        let (chapter, title) = self.chapter.get();
        let after = self.began.elapsed();
        let proof = match proof {
            Value::Object(proof) => proof,
            _ => Map::new(),
        };
        let sentence = Sentence {
            chapter,
            title,
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            said,
            command,
            proof,
        };
        let same = self.command.replace(command.to_owned()) == command;
        self.live.line(&sentence, |it| {
            let text = format!("{}  {}", clock(after), wrapped(it.said));
            match same {
                true => text,
                false => format!("{text}\n{INDENT}$ {}", it.command),
            }
        })
    }

    /// What is waited for, and how far it is.
    pub(super) fn now(&self, text: impl FnOnce() -> String) {
        let after = clock(self.began.elapsed());
        self.live.now(|| format!("{after}  {}", text()));
    }

    /// How long it has taken.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The last words, for people.
    pub(super) fn end(self, text: &str) -> anyhow::Result<()> {
        self.live.end();
        match self.output.json {
            true => Ok(()),
            false => self.output.line(text),
        }
    }
}

/// What stands before the second line of a sentence, and its longest line.
const INDENT: &str = "      ";
const WIDTH: usize = 100;

/// A text in lines that a terminal is wide enough for.
fn wrapped(text: &str) -> String {
    let (mut out, mut width) = (String::new(), INDENT.len());
    for word in text.split(' ') {
        let length = word.chars().count() + 1;
        if width + length > WIDTH && width > INDENT.len() {
            out.push('\n');
            out.push_str(INDENT);
            width = INDENT.len();
        } else if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        width += length;
    }
    out
}

/// Minutes and seconds: `0:07`.
fn clock(after: Duration) -> String {
    let seconds = after.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_has_lines_of_its_own() {
        assert_eq!(wrapped("it is so"), "it is so");
        let long = "word ".repeat(40);
        let lines = wrapped(long.trim_end());
        assert_eq!(lines.lines().count(), 3);
        assert!(lines.lines().all(|it| it.len() <= WIDTH), "{lines}");
        assert_eq!(lines.split_whitespace().count(), 40);
    }

    #[test]
    fn a_clock_has_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_secs(7)), "0:07");
        assert_eq!(clock(Duration::from_millis(127_900)), "2:07");
    }
}
