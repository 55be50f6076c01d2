//! Where the tests find ONNX Runtime.

use std::path::PathBuf;

use engine::onnx::OnnxRuntime;

/// The library that `WINDLASS_ONNXRUNTIME` names, or the one in the cache.
pub(crate) fn library() -> PathBuf {
    let named = std::env::var_os("WINDLASS_ONNXRUNTIME").map(PathBuf::from);
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    named.unwrap_or_else(|| home.join(".cache/windlass/runtime/libonnxruntime.so"))
}

pub(crate) fn runtime() -> OnnxRuntime {
    match OnnxRuntime::open(&library()) {
        Ok(runtime) => runtime,
        Err(refusal) => panic!(
            "{refusal}. Run `windlass runtime install`, or put `libonnxruntime.so` of the wheel \
             `onnxruntime` there, or name it in WINDLASS_ONNXRUNTIME"
        ),
    }
}
