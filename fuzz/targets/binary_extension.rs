//! A body with tensors after its JSON: the first two bytes say where the JSON ends, honestly or not.
#![no_main]

use domain::limits::Limits;
use libfuzzer_sys::fuzz_target;
use wire::oip::decode_request;

fuzz_target!(|data: &[u8]| {
    let [high, low, body @ ..] = data else { return };
    let length = u16::from_be_bytes([*high, *low]).to_string();
    // Either outcome is fine; a panic or an endless loop is not.
    let _ = decode_request(body, Some(&length), &Limits::default());
});
