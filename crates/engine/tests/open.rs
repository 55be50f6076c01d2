//! Loading ONNX Runtime, in a process of its own: what was loaded once stays.

#[path = "it/runtime.rs"]
mod runtime;

use std::path::Path;

use domain::Refusal;
use engine::onnx::OnnxRuntime;

#[test]
fn after_files_that_are_not_it_the_right_one_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let check = |library: &Path, why: &str| {
        let looked = format!("`{}`{why}", library.display());
        let refused = OnnxRuntime::open(library).err();
        assert_eq!(refused, Some(Refusal::RuntimeMissing { looked }));
    };
    std::fs::write(path("text.so"), "not a library").expect("writes");
    check(&path("gone.so"), "");
    check(&path("text.so"), ", which is no library for this machine");
    check(folder.path(), ", which is no library for this machine");
    // This very program's C library, wherever it lies.
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    let libc = maps
        .split_whitespace()
        .find(|it| it.contains("/libc.so") || it.contains("/libc-"));
    check(
        Path::new(libc.expect("is loaded")),
        ", which is not ONNX Runtime",
    );

    let runtime = runtime::runtime();
    assert!(runtime.version().starts_with("1."), "{}", runtime.version());
    assert_eq!(runtime::runtime().version(), runtime.version());
    let copy = path("copy.so");
    std::fs::copy(runtime::library(), &copy).expect("copies");
    assert!(matches!(
        OnnxRuntime::open(&copy),
        Err(Refusal::Conflict { .. })
    ));
}
