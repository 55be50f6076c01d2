//! The table of errors: for every refusal its code, its statuses and whether to come back.
//!
//! Codes are API: a client may branch on them, so a code is never renamed and never given another meaning.
//!
//! R1. 400 what cannot be read or does not fit the model, 422 a pushed model or its manifest that is not
//!     acceptable, 404 what is not there, 501 an extension of a protocol that we do not offer, 503 not now,
//!     500 our failure or the model's.
//! R2. What is worth the same request again carries a time to wait. A request that would be refused the
//!     same way does not.
//! R3. An unknown content encoding is 415 with `Accept-Encoding` (RFC 9110, 15.5.16), where Triton says
//!     501: no client tells them apart, proxies do.

use domain::Refusal;

/// How a refusal is told to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its stable name.
    pub name: &'static str,
    /// The status over HTTP.
    pub http: u16,
    /// The status over gRPC.
    pub grpc: Grpc,
    /// After how many seconds the same request may fare better; none when it will not.
    pub retry_after_s: Option<u32>,
}

/// The statuses of gRPC that we use, with their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Grpc {
    /// The caller went away.
    Cancelled = 1,
    /// The request is wrong, whatever the state of the server.
    InvalidArgument = 3,
    /// Too late.
    DeadlineExceeded = 4,
    /// Not there.
    NotFound = 5,
    /// The caller may not.
    PermissionDenied = 7,
    /// Too large, or no room.
    ResourceExhausted = 8,
    /// The server is not in a state to do it.
    FailedPrecondition = 9,
    /// Somebody else was faster.
    Aborted = 10,
    /// Not offered.
    Unimplemented = 12,
    /// We failed.
    Internal = 13,
    /// Not now.
    Unavailable = 14,
}

impl Grpc {
    /// Its number on the wire.
    pub fn number(self) -> i32 {
        i32::from(self as u8)
    }
}

const fn final_code(name: &'static str, http: u16, grpc: Grpc) -> Code {
    Code {
        name,
        http,
        grpc,
        retry_after_s: None,
    }
}

const fn passing(name: &'static str, http: u16, grpc: Grpc, seconds: u32) -> Code {
    Code {
        name,
        http,
        grpc,
        retry_after_s: Some(seconds),
    }
}

const UNKNOWN_MODEL: Code = final_code("unknown_model", 404, Grpc::NotFound);
const UNKNOWN_VERSION: Code = final_code("unknown_version", 404, Grpc::NotFound);
const UNKNOWN_ALIAS: Code = final_code("unknown_alias", 404, Grpc::NotFound);
const NO_BASELINE: Code = final_code("no_baseline", 404, Grpc::NotFound);
const UNKNOWN_PATH: Code = final_code("unknown_path", 404, Grpc::Unimplemented);
const UNKNOWN_REGION: Code = final_code("unknown_region", 404, Grpc::NotFound);
const UNKNOWN_BLOB: Code = final_code("unknown_blob", 404, Grpc::NotFound);
const UNKNOWN_ALERT: Code = final_code("unknown_alert", 404, Grpc::NotFound);
const UNKNOWN_SILENCE: Code = final_code("unknown_silence", 404, Grpc::NotFound);
const UNKNOWN_DELIVERY: Code = final_code("unknown_delivery", 404, Grpc::NotFound);
const UNKNOWN_ACTION: Code = final_code("unknown_action", 404, Grpc::NotFound);
const UNKNOWN_ROLLOUT: Code = final_code("unknown_rollout", 404, Grpc::NotFound);
const UNKNOWN_EXPERIMENT: Code = final_code("unknown_experiment", 404, Grpc::NotFound);
const METHOD_NOT_ALLOWED: Code = final_code("method_not_allowed", 405, Grpc::Unimplemented);
const MALFORMED: Code = final_code("malformed", 400, Grpc::InvalidArgument);
const TOO_LARGE: Code = final_code("too_large", 413, Grpc::ResourceExhausted);
const UNSUPPORTED: Code = final_code("unsupported", 501, Grpc::Unimplemented);
const UNSUPPORTED_ENCODING: Code = final_code("unsupported_encoding", 415, Grpc::Unimplemented);
const UNSUPPORTED_MEDIA_TYPE: Code =
    final_code("unsupported_media_type", 415, Grpc::InvalidArgument);
const INVALID_NAME: Code = final_code("invalid_name", 400, Grpc::InvalidArgument);
const UNKNOWN_INPUT: Code = final_code("unknown_input", 400, Grpc::InvalidArgument);
const MISSING_INPUT: Code = final_code("missing_input", 400, Grpc::InvalidArgument);
const DUPLICATE_INPUT: Code = final_code("duplicate_input", 400, Grpc::InvalidArgument);
const UNKNOWN_OUTPUT: Code = final_code("unknown_output", 400, Grpc::InvalidArgument);
const DUPLICATE_OUTPUT: Code = final_code("duplicate_output", 400, Grpc::InvalidArgument);
const WRONG_DATATYPE: Code = final_code("wrong_datatype", 400, Grpc::InvalidArgument);
const WRONG_SHAPE: Code = final_code("wrong_shape", 400, Grpc::InvalidArgument);
const WRONG_COUNT: Code = final_code("wrong_count", 400, Grpc::InvalidArgument);
const WRONG_VALUE: Code = final_code("wrong_value", 400, Grpc::InvalidArgument);
const DIFFERENT_ROWS: Code = final_code("different_rows", 400, Grpc::InvalidArgument);
const TOO_MANY_ROWS: Code = final_code("too_many_rows", 400, Grpc::InvalidArgument);
const DIFFERENT_SIZES: Code = final_code("different_sizes", 400, Grpc::InvalidArgument);
const NO_ROWS: Code = final_code("no_rows", 400, Grpc::InvalidArgument);
const MISSING_COLUMN: Code = final_code("missing_column", 400, Grpc::InvalidArgument);
const UNKNOWN_COLUMN: Code = final_code("unknown_column", 400, Grpc::InvalidArgument);
const UNEXPECTED_VALUE: Code = final_code("unexpected_value", 400, Grpc::InvalidArgument);
const UNEXPECTED_ROW: Code = final_code("unexpected_row", 400, Grpc::InvalidArgument);
const UNKNOWN_PREDICTION: Code = final_code("unknown_prediction", 404, Grpc::NotFound);
const INVALID_QUERY: Code = final_code("invalid_query", 400, Grpc::InvalidArgument);
const QUERY_TOO_LARGE: Code = final_code("query_too_large", 422, Grpc::ResourceExhausted);
const QUERY_TIMEOUT: Code = final_code("query_timeout", 504, Grpc::DeadlineExceeded);
const LEDGER_FULL: Code = passing("ledger_full", 503, Grpc::Unavailable, 5);
const OVER_BUDGET: Code = passing("over_budget", 429, Grpc::ResourceExhausted, 60);
const NOT_READY: Code = passing("not_ready", 503, Grpc::Unavailable, 1);
const QUEUE_FULL: Code = passing("queue_full", 503, Grpc::Unavailable, 1);
const DEADLINE_PASSED: Code = final_code("deadline_passed", 504, Grpc::DeadlineExceeded);
const CANCELLED: Code = final_code("cancelled", 499, Grpc::Cancelled);
const BODY_TIMEOUT: Code = final_code("body_timeout", 408, Grpc::DeadlineExceeded);
const DRAINING: Code = passing("draining", 503, Grpc::Unavailable, 1);
const OVERLOADED: Code = passing("overloaded", 503, Grpc::Unavailable, 1);
const INVALID_MANIFEST: Code = final_code("invalid_manifest", 422, Grpc::InvalidArgument);
const UNSUPPORTED_FORMAT: Code = final_code("unsupported_format", 422, Grpc::InvalidArgument);
const INVALID_MODEL: Code = final_code("invalid_model", 422, Grpc::InvalidArgument);
const EXAMPLES_FAILED: Code = final_code("examples_failed", 422, Grpc::FailedPrecondition);
const EXTERNAL_DATA_OUTSIDE: Code = final_code("external_data_outside", 422, Grpc::InvalidArgument);
const DIGEST_MISMATCH: Code = final_code("digest_mismatch", 422, Grpc::InvalidArgument);
const CONFLICT: Code = final_code("conflict", 409, Grpc::Aborted);
const FORBIDDEN: Code = final_code("forbidden", 403, Grpc::PermissionDenied);
const RUNTIME_MISSING: Code = final_code("runtime_missing", 503, Grpc::FailedPrecondition);
const DEVICE_MISSING: Code = final_code("device_missing", 503, Grpc::FailedPrecondition);
const MODEL_FAILED: Code = final_code("model_failed", 500, Grpc::Internal);
const STORAGE_FULL: Code = passing("storage_full", 507, Grpc::ResourceExhausted, 30);
const STORAGE_FAILED: Code = final_code("storage_failed", 500, Grpc::Internal);
const INTERNAL: Code = final_code("internal", 500, Grpc::Internal);

/// All of them, in the order of the documentation.
pub const ALL: &[Code] = &[
    UNKNOWN_MODEL,
    UNKNOWN_VERSION,
    UNKNOWN_ALIAS,
    NO_BASELINE,
    UNKNOWN_PATH,
    UNKNOWN_BLOB,
    UNKNOWN_REGION,
    UNKNOWN_ALERT,
    UNKNOWN_SILENCE,
    UNKNOWN_DELIVERY,
    UNKNOWN_ACTION,
    UNKNOWN_ROLLOUT,
    UNKNOWN_EXPERIMENT,
    METHOD_NOT_ALLOWED,
    MALFORMED,
    TOO_LARGE,
    UNSUPPORTED,
    UNSUPPORTED_ENCODING,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID_NAME,
    UNKNOWN_INPUT,
    MISSING_INPUT,
    DUPLICATE_INPUT,
    UNKNOWN_OUTPUT,
    DUPLICATE_OUTPUT,
    WRONG_DATATYPE,
    WRONG_SHAPE,
    WRONG_COUNT,
    WRONG_VALUE,
    DIFFERENT_ROWS,
    NO_ROWS,
    TOO_MANY_ROWS,
    DIFFERENT_SIZES,
    MISSING_COLUMN,
    UNKNOWN_COLUMN,
    UNEXPECTED_VALUE,
    UNEXPECTED_ROW,
    UNKNOWN_PREDICTION,
    INVALID_QUERY,
    QUERY_TOO_LARGE,
    QUERY_TIMEOUT,
    LEDGER_FULL,
    OVER_BUDGET,
    NOT_READY,
    QUEUE_FULL,
    DEADLINE_PASSED,
    CANCELLED,
    BODY_TIMEOUT,
    DRAINING,
    OVERLOADED,
    INVALID_MANIFEST,
    UNSUPPORTED_FORMAT,
    INVALID_MODEL,
    EXAMPLES_FAILED,
    EXTERNAL_DATA_OUTSIDE,
    DIGEST_MISMATCH,
    CONFLICT,
    FORBIDDEN,
    RUNTIME_MISSING,
    DEVICE_MISSING,
    MODEL_FAILED,
    STORAGE_FULL,
    STORAGE_FAILED,
    INTERNAL,
];

/// The names of those that are the caller's own mistake, or that it went away: neither the model nor the server failed.
/// Being over a budget is not one.
pub fn callers_own() -> impl Iterator<Item = &'static str> {
    let mistakes = ALL
        .iter()
        .filter(|it| (400..500).contains(&it.http) && it.http != 429);
    mistakes.map(|it| it.name)
}

/// How this refusal is told to a caller.
pub fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::UnknownModel { .. } => UNKNOWN_MODEL,
        Refusal::UnknownVersion { .. } => UNKNOWN_VERSION,
        Refusal::UnknownAlias { .. } => UNKNOWN_ALIAS,
        Refusal::NoBaseline { .. } => NO_BASELINE,
        Refusal::UnknownPath { .. } => UNKNOWN_PATH,
        Refusal::UnknownBlob { .. } => UNKNOWN_BLOB,
        Refusal::UnknownRegion { .. } => UNKNOWN_REGION,
        Refusal::UnknownAlert { .. } => UNKNOWN_ALERT,
        Refusal::UnknownSilence { .. } => UNKNOWN_SILENCE,
        Refusal::UnknownDelivery { .. } => UNKNOWN_DELIVERY,
        Refusal::UnknownAction { .. } => UNKNOWN_ACTION,
        Refusal::UnknownRollout { .. } => UNKNOWN_ROLLOUT,
        Refusal::UnknownExperiment { .. } => UNKNOWN_EXPERIMENT,
        Refusal::MethodNotAllowed { .. } => METHOD_NOT_ALLOWED,
        Refusal::Malformed { .. } => MALFORMED,
        Refusal::TooLarge { .. } => TOO_LARGE,
        Refusal::Unsupported { .. } => UNSUPPORTED,
        Refusal::UnsupportedEncoding { .. } => UNSUPPORTED_ENCODING,
        Refusal::UnsupportedMediaType { .. } => UNSUPPORTED_MEDIA_TYPE,
        Refusal::InvalidName { .. } => INVALID_NAME,
        Refusal::UnknownInput { .. } => UNKNOWN_INPUT,
        Refusal::MissingInput { .. } => MISSING_INPUT,
        Refusal::DuplicateInput { .. } => DUPLICATE_INPUT,
        Refusal::UnknownOutput { .. } => UNKNOWN_OUTPUT,
        Refusal::DuplicateOutput { .. } => DUPLICATE_OUTPUT,
        Refusal::WrongDatatype { .. } => WRONG_DATATYPE,
        Refusal::WrongShape { .. } => WRONG_SHAPE,
        Refusal::WrongCount { .. } => WRONG_COUNT,
        Refusal::WrongValue { .. } => WRONG_VALUE,
        Refusal::DifferentRows { .. } => DIFFERENT_ROWS,
        Refusal::NoRows { .. } => NO_ROWS,
        Refusal::TooManyRows { .. } => TOO_MANY_ROWS,
        Refusal::DifferentSizes { .. } => DIFFERENT_SIZES,
        Refusal::MissingColumn { .. } => MISSING_COLUMN,
        Refusal::UnknownColumn { .. } => UNKNOWN_COLUMN,
        Refusal::UnexpectedValue { .. } => UNEXPECTED_VALUE,
        Refusal::UnexpectedRow { .. } => UNEXPECTED_ROW,
        Refusal::UnknownPrediction { .. } => UNKNOWN_PREDICTION,
        Refusal::InvalidQuery { .. } => INVALID_QUERY,
        Refusal::QueryTooLarge { .. } => QUERY_TOO_LARGE,
        Refusal::QueryTimeout { .. } => QUERY_TIMEOUT,
        Refusal::LedgerFull { .. } => LEDGER_FULL,
        Refusal::OverBudget { .. } => OVER_BUDGET,
        Refusal::NotReady { .. } => NOT_READY,
        Refusal::QueueFull { .. } => QUEUE_FULL,
        Refusal::DeadlinePassed { .. } => DEADLINE_PASSED,
        Refusal::Cancelled => CANCELLED,
        Refusal::BodyTimeout => BODY_TIMEOUT,
        Refusal::Draining => DRAINING,
        Refusal::Overloaded { .. } => OVERLOADED,
        Refusal::InvalidManifest { .. } => INVALID_MANIFEST,
        Refusal::UnsupportedFormat { .. } => UNSUPPORTED_FORMAT,
        Refusal::InvalidModel { .. } => INVALID_MODEL,
        Refusal::ExamplesFailed { .. } => EXAMPLES_FAILED,
        Refusal::ExternalDataOutside { .. } => EXTERNAL_DATA_OUTSIDE,
        Refusal::DigestMismatch { .. } => DIGEST_MISMATCH,
        Refusal::Conflict { .. } => CONFLICT,
        Refusal::Forbidden { .. } => FORBIDDEN,
        Refusal::RuntimeMissing { .. } => RUNTIME_MISSING,
        Refusal::DeviceMissing { .. } => DEVICE_MISSING,
        Refusal::ModelFailed { .. } => MODEL_FAILED,
        Refusal::StorageFull { .. } => STORAGE_FULL,
        Refusal::StorageFailed { .. } => STORAGE_FAILED,
        Refusal::Internal { .. } => INTERNAL,
    }
}

/// The sentence for a caller: what is wrong and, where there is something, what to do about it.
pub fn message(refusal: &Refusal) -> String {
    match refusal.hint() {
        Some(hint) => format!("{}; {hint}", sentence(refusal)),
        None => sentence(refusal),
    }
}

/// The most bytes of a sentence. It may quote what the caller sent, which may be long; gRPC has 16 KiB for
/// it and everything beside it, percent-encoded.
const SENTENCE_BYTES_MAX: usize = 1000;

/// What is wrong, in a sentence that is no longer than it may be.
pub(crate) fn sentence(refusal: &Refusal) -> String {
    let mut sentence = refusal.to_string();
    if sentence.len() > SENTENCE_BYTES_MAX {
        let end = sentence.floor_char_boundary(SENTENCE_BYTES_MAX);
        sentence.truncate(end);
        sentence.push('\u{2026}');
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_codes_is_the_one_that_was_published() {
        let lines: Vec<String> = ALL
            .iter()
            .map(|it| {
                let retry = it
                    .retry_after_s
                    .map_or("-".to_owned(), |s| format!("{s} s"));
                let grpc = format!("{:?} ({})", it.grpc, it.grpc.number());
                format!("{} {} {grpc} {retry}", it.name, it.http)
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
        let mut names: Vec<&str> = ALL.iter().map(|it| it.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn a_message_ends_with_its_advice() {
        let refusal = Refusal::UnknownModel {
            model: "m".to_owned(),
        };
        assert_eq!(
            message(&refusal),
            "no model `m`; `windlass list` shows the models"
        );
        assert_eq!(message(&Refusal::Draining), "the server is shutting down");
        assert!(ALL.contains(&code(&Refusal::Draining)));
    }
}
