//! The JSON body of an inference request: whatever the bytes are, a request or a refusal. What is read and
//! can be written again must read as the same.
#![no_main]

use domain::limits::Limits;
use domain::request::NamedTensor;
use libfuzzer_sys::fuzz_target;
use wire::oip::{Body, Source, decode_request, encode_request};

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    let Ok(Body::Request(request)) = decode_request(data, None, &limits) else { return };
    let inputs: Vec<NamedTensor> = request
        .inputs
        .into_iter()
        .filter_map(|input| match input.source {
            Source::Tensor(tensor) => Some(NamedTensor { name: input.name, tensor }),
            Source::SharedMemory { .. } => None,
        })
        .collect();
    let Ok(written) = encode_request(None, &inputs, &[], &[]) else { return };
    let again = decode_request(&written, None, &limits).expect("what we write we read");
    let Body::Request(again) = again else { panic!("a request became raw") };
    assert_eq!(again.inputs.len(), inputs.len());
});
