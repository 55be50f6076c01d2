//! What is read of an ONNX file before ONNX Runtime sees it.
#![no_main]

use engine::onnx::inspect;
use engine::sniff::sniff;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Either outcome is fine; a panic or an endless loop is not.
    let _ = sniff(data, "model.onnx");
    if let Ok(facts) = inspect::inspect(data) {
        for location in &facts.external_files {
            if let Ok(name) = inspect::check_external(location) {
                assert!(!name.contains('/') && name != "..");
            }
        }
    }
});
