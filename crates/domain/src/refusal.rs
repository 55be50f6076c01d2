//! Every way in which Windlass says no. `wire` gives each its code and statuses, in one table.

use std::fmt;

/// A refusal: what was wanted, what was got. Somebody branches on the variant; the sentence is `Display`,
/// what to do about it is [`Refusal::hint`].
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "a variant's sentence in `Display` says what its fields are"
)]
pub enum Refusal {
    // What the caller asked for is not there.
    UnknownModel {
        model: String,
    },
    UnknownVersion {
        reference: String,
    },
    UnknownAlias {
        reference: String,
    },
    NoBaseline {
        reference: String,
    },
    UnknownPath {
        path: String,
    },
    UnknownBlob {
        digest: String,
    },
    UnknownRegion {
        region: String,
    },
    UnknownAlert {
        id: String,
    },
    UnknownSilence {
        id: String,
    },
    UnknownDelivery {
        id: String,
    },
    UnknownAction {
        id: String,
    },
    UnknownRollout {
        id: String,
    },
    UnknownExperiment {
        id: String,
    },
    MethodNotAllowed {
        method: String,
        path: String,
    },

    // The request cannot be read.
    Malformed {
        what: &'static str,
        why: String,
    },
    TooLarge {
        what: &'static str,
        limit: u64,
        got: Option<u64>,
    },
    Unsupported {
        what: String,
        hint: String,
    },
    UnsupportedEncoding {
        encoding: String,
    },
    UnsupportedMediaType {
        got: String,
        want: &'static str,
    },
    InvalidName {
        what: &'static str,
        name: String,
        why: &'static str,
    },

    // The request does not fit the model.
    UnknownInput {
        input: String,
        known: String,
    },
    MissingInput {
        input: String,
    },
    DuplicateInput {
        input: String,
    },
    UnknownOutput {
        output: String,
        known: String,
    },
    DuplicateOutput {
        output: String,
    },
    WrongDatatype {
        input: String,
        want: String,
        got: String,
    },
    WrongShape {
        input: String,
        want: String,
        got: String,
    },
    WrongCount {
        input: String,
        shape: String,
        want: u64,
        got: u64,
    },
    WrongValue {
        input: String,
        index: usize,
        want: String,
        got: String,
    },
    DifferentRows {
        input: String,
        want: usize,
        got: usize,
    },
    NoRows {
        input: String,
    },
    TooManyRows {
        limit: u64,
        got: u64,
    },
    DifferentSizes {
        input: String,
        axis: String,
        want: usize,
        got: usize,
    },
    MissingColumn {
        column: String,
    },
    UnknownColumn {
        column: String,
        known: String,
    },
    UnexpectedValue {
        column: String,
        row: usize,
        got: String,
        want: String,
    },
    UnexpectedRow {
        row: usize,
        got: String,
    },

    // A question to the ledger.
    UnknownPrediction {
        id: String,
    },
    InvalidQuery {
        why: String,
    },
    QueryTooLarge {
        why: String,
    },
    QueryTimeout {
        after_ms: u64,
    },

    // Not now.
    LedgerFull {
        why: String,
    },
    OverBudget {
        model: String,
        spent: String,
    },
    NotReady {
        reference: String,
        state: String,
    },
    QueueFull {
        model: String,
        limit: u64,
    },
    DeadlinePassed {
        model: String,
        after_ms: u64,
    },
    BodyTimeout,
    Cancelled,
    Draining,
    Overloaded {
        what: &'static str,
        limit: u64,
    },

    // What was pushed or declared is not acceptable.
    InvalidManifest {
        field: String,
        why: String,
    },
    UnsupportedFormat {
        found: String,
        hint: String,
    },
    InvalidModel {
        why: String,
    },
    ExamplesFailed {
        why: String,
    },
    ExternalDataOutside {
        location: String,
    },
    DigestMismatch {
        what: String,
        want: String,
        got: String,
    },
    Conflict {
        why: String,
    },
    Forbidden {
        why: String,
    },

    // We failed.
    RuntimeMissing {
        looked: String,
    },
    DeviceMissing {
        device: String,
        known: String,
    },
    ModelFailed {
        model: String,
        why: String,
    },
    StorageFull {
        what: String,
    },
    StorageFailed {
        what: String,
    },
    Internal {
        what: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownModel { model } => write!(f, "no model `{model}`"),
            Self::UnknownVersion { reference } => write!(f, "no version `{reference}`"),
            Self::NoBaseline { reference } => write!(f, "`{reference}` has no baseline"),
            Self::UnknownAlias { reference } => write!(f, "no alias `{reference}`"),
            Self::UnknownPath { path } => write!(f, "nothing at `{path}`"),
            Self::UnknownBlob { digest } => write!(f, "no content with digest `{digest}`"),
            Self::UnknownRegion { region } => {
                write!(f, "no shared memory region `{region}` is registered")
            }
            Self::UnknownAlert { id } => write!(f, "no alert `{id}`"),
            Self::UnknownSilence { id } => write!(f, "no silence `{id}`"),
            Self::UnknownDelivery { id } => write!(f, "no delivery `{id}`"),
            Self::UnknownAction { id } => write!(f, "no action `{id}`"),
            Self::UnknownRollout { id } => write!(f, "no rollout `{id}`"),
            Self::UnknownExperiment { id } => write!(f, "no experiment `{id}`"),
            Self::MethodNotAllowed { method, path } => {
                write!(f, "`{path}` does not take `{method}`")
            }
            Self::Malformed { what, why } => write!(f, "{what} cannot be read: {why}"),
            Self::TooLarge {
                what,
                limit,
                got: Some(got),
            } => {
                write!(f, "{what} is {got}, at most {limit} is taken")
            }
            Self::TooLarge {
                what,
                limit,
                got: None,
            } => {
                write!(f, "{what} is over the limit of {limit}")
            }
            Self::Unsupported { what, hint: _ } => write!(f, "{what} is not supported"),
            Self::UnsupportedEncoding { encoding } => {
                write!(f, "content encoding `{encoding}` is not known")
            }
            Self::UnsupportedMediaType { got, want } => {
                write!(f, "content type `{got}` is not taken here, want {want}")
            }
            Self::InvalidName { what, name, why } => {
                write!(f, "{what} `{name}` is not one: {why}")
            }
            Self::UnknownInput { input, known } => {
                write!(
                    f,
                    "the model has no input `{input}`; its inputs are {known}"
                )
            }
            Self::MissingInput { input } => write!(f, "input `{input}` is missing"),
            Self::DuplicateInput { input } => write!(f, "input `{input}` is given twice"),
            Self::UnknownOutput { output, known } => {
                write!(
                    f,
                    "the model has no output `{output}`; its outputs are {known}"
                )
            }
            Self::DuplicateOutput { output } => write!(f, "output `{output}` is asked for twice"),
            Self::WrongDatatype { input, want, got } => {
                write!(
                    f,
                    "input `{input}` has datatype `{got}`, the model takes `{want}`"
                )
            }
            Self::WrongShape { input, want, got } => {
                write!(f, "input `{input}` has shape {got}, the model takes {want}")
            }
            Self::WrongCount {
                input,
                shape,
                want,
                got,
            } => write!(
                f,
                "input `{input}` with shape {shape} has {want} elements, got {got}"
            ),
            Self::WrongValue {
                input,
                index,
                want,
                got,
            } => {
                write!(f, "input `{input}`, element {index}: `{got}` is not {want}")
            }
            Self::DifferentRows { input, want, got } => write!(
                f,
                "input `{input}` has {got} rows, the inputs before it have {want}"
            ),
            Self::NoRows { input } => write!(f, "input `{input}` has no rows"),
            Self::DifferentSizes {
                input,
                axis,
                want,
                got,
            } => write!(
                f,
                "input `{input}` has size {got} along axis `{axis}`, an input before it has {want}"
            ),
            Self::TooManyRows { limit, got } => {
                write!(
                    f,
                    "the request has {got} rows, the model takes at most {limit}"
                )
            }
            Self::MissingColumn { column } => write!(f, "column `{column}` is missing"),
            Self::UnexpectedValue {
                column,
                row,
                got,
                want,
            } => write!(f, "row {row} of `{column}` is {got}, want {want}"),
            Self::UnexpectedRow { row, got } => write!(f, "row {row} {got}"),
            Self::UnknownColumn { column, known } => {
                write!(
                    f,
                    "the model has no column `{column}`; its columns are {known}"
                )
            }
            Self::UnknownPrediction { id } => write!(f, "the ledger has no prediction `{id}`"),
            Self::InvalidQuery { why } => write!(f, "the question cannot be answered: {why}"),
            Self::QueryTooLarge { why } => {
                write!(f, "the question needs more memory than it may use: {why}")
            }
            Self::QueryTimeout { after_ms } => {
                write!(f, "the question was not answered within {after_ms} ms")
            }
            Self::LedgerFull { why } => {
                write!(f, "the ledger cannot take the answer's row: {why}")
            }
            Self::OverBudget { model, spent } => {
                write!(f, "`{model}` is over its budget: {spent}")
            }
            Self::NotReady { reference, state } => write!(f, "`{reference}` is not ready: {state}"),
            Self::QueueFull { model, limit } => {
                write!(
                    f,
                    "`{model}` has {limit} rows waiting and takes no more now"
                )
            }
            Self::DeadlinePassed { model, after_ms } => {
                write!(f, "`{model}` did not answer within {after_ms} ms")
            }
            Self::BodyTimeout => write!(f, "the body did not arrive in time"),
            Self::Cancelled => write!(f, "the caller went away"),
            Self::Draining => write!(f, "the server is shutting down"),
            Self::Overloaded { what, limit } => {
                write!(f, "all {limit} {what} are taken now")
            }
            Self::InvalidManifest { field, why } => write!(f, "`{field}`: {why}"),
            Self::UnsupportedFormat { found, hint: _ } => write!(f, "{found} is not taken"),
            Self::InvalidModel { why } => write!(f, "the model cannot run: {why}"),
            Self::ExamplesFailed { why } => {
                write!(f, "the model does not reproduce its own examples: {why}")
            }
            Self::ExternalDataOutside { location } => {
                write!(
                    f,
                    "external data `{location}` is not a plain file beside the model"
                )
            }
            Self::DigestMismatch { what, want, got } => {
                write!(f, "{what} has digest {got}, want {want}")
            }
            Self::Conflict { why } => f.write_str(why),
            Self::Forbidden { why } => f.write_str(why),
            Self::RuntimeMissing { looked } => {
                write!(f, "ONNX Runtime is not installed (looked at {looked})")
            }
            Self::DeviceMissing { device, known } => {
                write!(
                    f,
                    "device `{device}` is not there; this machine has {known}"
                )
            }
            Self::ModelFailed { model, why } => write!(f, "`{model}` failed: {why}"),
            Self::StorageFull { what } => write!(f, "the disk is full: {what}"),
            Self::StorageFailed { what } => write!(f, "storage failed: {what}"),
            Self::Internal { what } => write!(f, "internal error: {what}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// What the reader can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unsupported { hint, .. } | Self::UnsupportedFormat { hint, .. } => hint.clone(),
            Self::UnknownModel { .. } => "`windlass list` shows the models".to_owned(),
            Self::UnknownRollout { .. } => "`windlass rollout list` shows them".to_owned(),
            Self::UnknownExperiment { .. } => "`windlass experiment list` shows them".to_owned(),
            Self::NoBaseline { reference } => format!(
                "`windlass baseline {reference} train.parquet` makes one of the rows that it was trained with, \
                 `windlass baseline {reference} --last 7d` of what it answered"
            ),
            Self::UnknownVersion { .. } | Self::UnknownAlias { .. } => {
                "`windlass show MODEL` shows its versions and aliases".to_owned()
            }
            Self::UnknownAlert { .. } => "`windlass alerts --all` shows the alerts".to_owned(),
            Self::UnexpectedValue { .. } | Self::UnexpectedRow { .. } => {
                "`windlass inputs MODEL` shows what is expected; `monitor: {inputs: ...}` of its windlass.yaml says it"
                    .to_owned()
            }
            Self::UnsupportedEncoding { .. } => "send `gzip`, `deflate` or no encoding".to_owned(),
            Self::RuntimeMissing { .. } => "run `windlass runtime install`".to_owned(),
            Self::QueryTooLarge { .. } | Self::QueryTimeout { .. } => {
                "ask about fewer rows or columns: a range of `time`, a `limit`".to_owned()
            }
            Self::LedgerFull { .. } => {
                "make room on the disk; `ledger: {when_full: lose}` answers without recording"
                    .to_owned()
            }
            Self::OverBudget { .. } => {
                "wait, or raise `budget.cost` of the model's windlass.yaml".to_owned()
            }
            Self::NotReady { reference, .. } => format!("`windlass load {reference}` loads it"),
            Self::DeadlinePassed { .. } => {
                "raise `serve.timeout` of the model or the request's own timeout".to_owned()
            }
            Self::ExternalDataOutside { .. } => {
                "put the file into the model's own folder and refer to it by its bare name"
                    .to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }
}
