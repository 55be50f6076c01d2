//! What a command failed with, as it is told on the terminal: a code, a sentence, advice, an exit status.

use std::fmt;

use domain::Refusal;
use serde::Serialize;

use crate::exit::Exit;

/// A failure that is told to the user as it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    /// The stable name; one of `wire::code` where a refusal is behind it.
    pub(crate) code: String,
    /// What was wanted, what was got.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    #[serde(skip)]
    pub(crate) exit: Exit,
}

impl Failure {
    /// Something that will not do as it stands.
    pub(crate) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::with(Exit::Refused, "refused", message, hint)
    }

    /// A flag or argument that does not fit the others.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::with(Exit::Usage, "usage", message, hint)
    }

    /// Something that may do later, or after what the hint says.
    pub(crate) fn not_now(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::with(Exit::NotNow, "not_now", message, hint)
    }

    /// Something that is not there.
    pub(crate) fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::with(Exit::NotFound, "not_found", message, hint)
    }

    fn with(exit: Exit, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (code, message, hint) = (code.to_owned(), message.into(), Some(hint.into()));
        Self {
            code,
            message,
            hint,
            exit,
        }
    }

    /// What stands behind an error, with the context that was added on its way up in front.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let mut failure = error
            .chain()
            .find_map(|cause| {
                let refusal = cause.downcast_ref::<Refusal>().map(Self::from);
                refusal.or_else(|| cause.downcast_ref::<Self>().cloned())
            })
            .unwrap_or_else(|| Self {
                code: "failed".to_owned(),
                message: String::new(),
                hint: None,
                exit: Exit::Failed,
            });
        failure.message = format!("{error:#}");
        failure
    }
}

impl From<&Refusal> for Failure {
    fn from(refusal: &Refusal) -> Self {
        let code = wire::code::code(refusal);
        Self {
            code: code.name.to_owned(),
            message: refusal.to_string(),
            hint: refusal.hint(),
            exit: Exit::of_status(code.http),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn context_stands_before_the_sentence_and_leaves_code_and_hint() {
        let error = Err::<(), _>(Refusal::UnknownModel {
            model: "m".to_owned(),
        })
        .context("serving `m`")
        .expect_err("it is one");
        let failure = Failure::of(&error);
        assert_eq!(failure.message, "serving `m`: no model `m`");
        assert_eq!(failure.code, "unknown_model");
        assert_eq!(failure.exit, Exit::NotFound);
        assert_eq!(
            failure.hint.as_deref(),
            Some("`windlass list` shows the models")
        );
    }
}
