//! How the process ends: one table, printed by `--help` and `docs/cli.md`.

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done,
    /// We, the model or the machine failed.
    Failed,
    /// The command line cannot be read. (clap's own number.)
    Usage,
    /// What was asked cannot be done as it stands: asking again is of no use.
    Refused,
    /// What was asked for is not there.
    NotFound,
    /// Not now: asking later, or after what the hint says, may do.
    NotNow,
    /// A second Ctrl-C or SIGTERM cut the shutdown short, or the first one the demo's story. (128 + SIGINT, as a
    /// shell counts.)
    Interrupted,
}

/// All of them with what they mean, in the order of the documentation.
pub(crate) const ALL: &[(Exit, &str)] = &[
    (Exit::Done, "done"),
    (
        Exit::Failed,
        "we, the model or the machine failed; the message says which",
    ),
    (Exit::Usage, "the command line cannot be read"),
    (
        Exit::Refused,
        "refused: the model, the data or the name is not acceptable as it is",
    ),
    (Exit::NotFound, "no such model, version, alias or file"),
    (
        Exit::NotNow,
        "not now: nothing is loaded, the server is busy or out of reach, or ONNX Runtime is missing",
    ),
    (
        Exit::Interrupted,
        "a second signal cut the shutdown short, or the first one the story of `demo`",
    ),
];

impl Exit {
    /// Its number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::NotFound => 4,
            Self::NotNow => 5,
            Self::Interrupted => 130,
        }
    }

    /// What a refusal with this HTTP status ends the process with, so that a refusal means the same
    /// whether a server gave it or we did.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            404 => Self::NotFound,
            408 | 429 | 503 | 504 | 507 => Self::NotNow,
            400..=499 | 501 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// The table as it stands under `--help`.
pub(crate) fn help() -> String {
    let lines = ALL
        .iter()
        .map(|(exit, about)| format!("  {:<4} {about}", exit.number()));
    format!("Exit status:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_a_refusal_has_an_exit_status() {
        for code in wire::code::ALL {
            let exit = Exit::of_status(code.http);
            assert_ne!(exit, Exit::Done, "{}", code.name);
            assert_eq!(exit == Exit::NotFound, code.http == 404, "{}", code.name);
        }
    }
}
