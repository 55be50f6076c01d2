//! How far a replay is, in a file: what it found until now, and where it goes on.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wire::api::ledger::ReplayRecord;

use crate::failure::Failure;
use crate::replacement;

/// The format of the file.
const FORMAT: u32 = 1;

/// What was asked for, as it was written on the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    pub(super) model: String,
    pub(super) against: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) version: Option<u32>,
    pub(super) by: Vec<String>,
    pub(super) tolerance: Option<f64>,
}

/// A question as it was settled when the replay began, and what was found until now. A replay that goes on
/// tomorrow asks for the same week, and the same version, as today.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u32,
    question: Question,
    /// The version of `against`, such as `credit:8`.
    pub(super) against: String,
    /// The moments of `from` and `to`.
    pub(super) from: Option<String>,
    pub(super) to: String,
    /// With the id behind which it goes on, unless it is at the beginning.
    pub(super) sum: ReplayRecord,
}

impl State {
    pub(super) fn new(
        question: Question,
        against: String,
        from: Option<String>,
        to: String,
    ) -> Self {
        Self {
            format: FORMAT,
            question,
            against,
            from,
            to,
            sum: ReplayRecord::default(),
        }
    }
}

/// Where the state is kept; nowhere unless a file is named.
pub(super) struct Place(pub(super) Option<PathBuf>);

impl Place {
    /// What was kept for this question; refused where it is for another one.
    pub(super) fn load(&self, question: &Question) -> Result<Option<State>, Failure> {
        let Some(path) = &self.0 else {
            return Ok(None);
        };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let message = format!("`{}` cannot be read: {error}", path.display());
                return Err(Failure::refused(message, HINT));
            }
        };
        let state: State = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("`{}` is no state of a replay: {error}", path.display());
            Failure::refused(message, HINT)
        })?;
        if state.format != FORMAT {
            let (path, format) = (path.display(), state.format);
            let message = format!("`{path}` has format {format}, this program knows {FORMAT}");
            return Err(Failure::refused(message, HINT));
        }
        if let Some(what) = differs(&state.question, question) {
            let message = format!(
                "`{}` is the state of another replay: {what}",
                path.display()
            );
            return Err(Failure::refused(message, HINT));
        }
        Ok(Some(state))
    }

    /// Keeps it.
    pub(super) fn save(&self, state: &State) -> anyhow::Result<()> {
        match &self.0 {
            Some(path) => replacement::write(path, &serde_json::to_vec(state)?),
            None => Ok(()),
        }
    }

    /// Removes it: the replay is at its end.
    pub(super) fn clear(&self) -> Result<(), Failure> {
        let Some(path) = &self.0 else { return Ok(()) };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(replacement::failed(path as &Path, &error))
            }
            _ => Ok(()),
        }
    }
}

const HINT: &str = "name another file with `--state`, or remove this one to begin anew";

/// What is different, in words.
fn differs(kept: &Question, asked: &Question) -> Option<String> {
    // Without `..`: a new flag is part of the question.
    let Question {
        model,
        against,
        from,
        to,
        version,
        by,
        tolerance,
    } = kept;
    let text = |it: &Option<String>| it.clone().unwrap_or_else(|| "not given".to_owned());
    let number = |it: Option<String>| text(&it);
    let version_text = |it: &Option<u32>| number(it.map(|it| it.to_string()));
    let tolerance_text = |it: &Option<f64>| number(it.map(|it| it.to_string()));
    let pairs = [
        ("the model", model.clone(), asked.model.clone()),
        ("`--against`", against.clone(), asked.against.clone()),
        ("`--from` or `--last`", text(from), text(&asked.from)),
        ("`--to`", text(to), text(&asked.to)),
        (
            "`--version`",
            version_text(version),
            version_text(&asked.version),
        ),
        ("`--by`", by.join(","), asked.by.join(",")),
        (
            "`--tolerance`",
            tolerance_text(tolerance),
            tolerance_text(&asked.tolerance),
        ),
    ];
    let other = pairs.into_iter().find(|(_, kept, asked)| kept != asked);
    other.map(|(what, kept, asked)| format!("{what} was `{kept}`, now it is `{asked}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            model: "credit".to_owned(),
            against: "credit@next".to_owned(),
            from: Some("7d".to_owned()),
            to: None,
            version: None,
            by: vec!["home".to_owned()],
            tolerance: Some(0.001),
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_goes_at_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place(Some(folder.path().join("state")));
        assert_eq!(place.load(&question()).map_err(|it| it.message), Ok(None));
        let mut state = State::new(
            question(),
            "credit:8".to_owned(),
            Some("2026-11-17T10:00:00Z".to_owned()),
            "2026-11-24T10:00:00Z".to_owned(),
        );
        state.sum.difference_sum = 0.1 + 0.2;
        state.sum.next = Some("a.0".to_owned());
        place.save(&state).expect("saved");
        place.save(&state).expect("saved again");
        let kept = place.load(&question());
        assert_eq!(kept.map_err(|it| it.message), Ok(Some(state)));
        place.clear().expect("removed");
        place.clear().expect("there is nothing to remove");
        assert_eq!(place.load(&question()).map_err(|it| it.message), Ok(None));
    }

    #[test]
    fn the_state_of_another_question_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let place = Place(Some(path.clone()));
        let state = State::new(question(), "credit:8".to_owned(), None, String::new());
        place.save(&state).expect("saved");
        let check = |change: fn(&mut Question), want: &str| {
            let mut asked = question();
            change(&mut asked);
            let failure = place.load(&asked).expect_err("it is another one");
            let said = failure.message.split_once("another replay: ");
            assert_eq!(said.map(|it| it.1), Some(want));
        };
        check(
            |it| it.from = Some("8d".to_owned()),
            "`--from` or `--last` was `7d`, now it is `8d`",
        );
        check(
            |it| it.version = Some(3),
            "`--version` was `not given`, now it is `3`",
        );
        check(
            |it| it.tolerance = None,
            "`--tolerance` was `0.001`, now it is `not given`",
        );
        check(|it| it.by.clear(), "`--by` was `home`, now it is ``");
        std::fs::write(&path, "{}").expect("written");
        let failure = place.load(&question()).expect_err("it is none");
        assert!(
            failure.message.contains("is no state of a replay"),
            "{}",
            failure.message
        );
    }
}
