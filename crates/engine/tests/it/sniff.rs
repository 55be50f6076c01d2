//! Formats are recognised by what is in the file, whatever it is called.

use domain::Refusal;
use engine::sniff::{Found, sniff};
use prost::Message;

use crate::build;

#[test]
fn files_are_what_they_contain() {
    let zip = |name: &str| [b"PK\x03\x04 and so on ", name.as_bytes(), b" and so on"].concat();
    let check = |bytes: &[u8], want: &str| {
        for name in ["model", "model.onnx", "model.pkl"] {
            match sniff(bytes, name) {
                Err(Refusal::UnsupportedFormat { found, hint }) => {
                    assert_eq!(found, want, "{name}");
                    assert!(!hint.is_empty());
                }
                got => panic!("{want} is {got:?}"),
            }
        }
    };
    check(b"\x80\x04\x95\x0b\0\0\0\0\0\0\0}\x94.", "a Python pickle");
    check(b"\x80\x02}q\0.", "a Python pickle");
    check(b"(dp0\nVa\np1\nI1\ns.", "a Python pickle");
    check(b"ccopy_reg\n_reconstructor\np0\n(tR.", "a Python pickle");
    check(b"cos\nsystem\n(S'id'\ntR.", "a Python pickle");
    check(b"}q\0X\x01\0\0\0aq\x01K\x01s.", "a Python pickle");
    check(
        b"\x80\x04\x95\0\0\0\0\0\0\0\0\x8c\x14joblib.numpy_pickle\x94.",
        "a joblib file",
    );
    check(
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
        "a PyTorch file",
    );
    check(&zip("archive/data.pkl"), "a PyTorch file");
    check(&zip("m/constants.pkl m/data.pkl"), "a TorchScript archive");
    check(&zip("MAR-INF/MANIFEST.json"), "a TorchServe archive");
    check(&zip("model.weights.h5"), "a Keras model");
    check(&zip("x.npy"), "a set of NumPy arrays");
    check(&zip("x.txt"), "a zip archive");
    check(b"\x89HDF\r\n\x1a\n....", "a Keras or HDF5 file");
    check(b"\x93NUMPY\x01\0v\0{'descr'", "a NumPy array");
    check(b"\x1c\0\0\0TFL3....", "a TensorFlow Lite model");
    check(
        b"\x1c\0\0\0ORTM....",
        "a model in ONNX Runtime's own format",
    );
    check(b"GGUF\x03\0\0\0", "a GGUF file");
    check(b"CBM1....", "a CatBoost model");
    check(b"\x10\0\0\0\0\0\0\0{\"a\":{}}", "a safetensors file");
    check(
        b"{\"learner\":{\"attributes\":{}},\"version\":[2,1,0]}",
        "an XGBoost model",
    );
    check(b"{L\0\0\0\0\0\0\0\x07learner{", "an XGBoost model");
    check(b"tree\nversion=v4\nnum_class=1\n", "a LightGBM model");
    check(b"\x1f\x8b\x08\0", "a compressed file or an archive");
    check(b"\x78\x9c\xed\xbd", "a compressed file or an archive");
    check(
        &[0x08, 0x01, 0x12, 0x02, 0x0a, 0x00],
        "a TensorFlow SavedModel",
    );
}

#[test]
fn onnx_is_taken_and_told_from_what_is_not_known() {
    let onnx = build::add().encode_to_vec();
    assert_eq!(sniff(&onnx, "weights"), Ok(Found::Onnx));
    // Cut short it is still ONNX, so that the refusal can say so.
    assert_eq!(sniff(&onnx[..onnx.len() - 9], "weights"), Ok(Found::Onnx));
    for (bytes, name) in [(b"".as_slice(), "m.onnx"), (b"hello", "m.onnx")] {
        assert_eq!(sniff(bytes, name), Ok(Found::Onnx), "it is called so");
        assert!(matches!(
            sniff(bytes, "m"),
            Err(Refusal::UnsupportedFormat { .. })
        ));
    }
}
