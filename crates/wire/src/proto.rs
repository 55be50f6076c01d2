//! The Open Inference Protocol V2 over gRPC: generated messages and stubs, and their conversions.
//!
//! R1. Tensors come in `raw_input_contents` or in `contents`, never both ways in one request. Raw entries
//!     are in the order of the inputs that are not in shared memory.
//! R2. Answers use `raw_output_contents`, which every client reads; outputs in shared memory have an empty entry.
//! R3. Parameters mean what they mean over HTTP ([`crate::oip`]); `binary_data_size` and `binary_data`,
//!     which KServe's client sends here too, mean nothing.
//!
//! `inference.rs` and `inference.bin` are written by `wire-codegen`; see there.

// Generated: its style and its docs are prost's.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    rustdoc::all
)]
#[rustfmt::skip]
pub mod inference;

mod describe;
mod request;
mod response;

pub use request::decode_infer;
pub use response::{encode_infer, stream_error, stream_response};

/// The descriptors of the protocol, as gRPC reflection wants them.
pub const DESCRIPTORS: &[u8] = include_bytes!("proto/inference.bin");

#[cfg(test)]
mod tests;
