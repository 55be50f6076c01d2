//! A gRPC inference request.
#![no_main]

use domain::limits::Limits;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use wire::proto::decode_infer;
use wire::proto::inference::ModelInferRequest;

fuzz_target!(|data: &[u8]| {
    let Ok(message) = ModelInferRequest::decode(data) else { return };
    // Either outcome is fine; a panic or an endless loop is not.
    let _ = decode_infer(message, &Limits::default());
});
