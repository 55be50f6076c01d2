//! What a file is, by its content; its name decides nothing that the content says.
//!
//! Formats that hold code (pickle and all that wrap it) are refused, never opened.

use domain::Refusal;

use crate::onnx::fields::{Fields, Value};

/// A format that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A model in ONNX's own protobuf.
    Onnx,
}

/// How much of each end of a file is looked at for names of an archive's members.
const WINDOW: usize = 64 * 1024;

const SKLEARN: &str =
    "convert it with skl2onnx: `to_onnx(model, X[:1], options={'zipmap': False})`";
const TORCH: &str = "convert it with PyTorch: `torch.onnx.export(model, args, \"model.onnx\")`";
const KERAS: &str = "convert it with Keras: `model.export(\"model.onnx\", format=\"onnx\")`";
const TENSORFLOW: &str =
    "convert it with tf2onnx: `python -m tf2onnx.convert --saved-model DIR --output model.onnx`";
const TFLITE: &str = "convert it with tf2onnx: `python -m tf2onnx.convert --tflite model.tflite --output model.onnx`";
const XGBOOST: &str = "convert it with onnxmltools: `convert_xgboost(model, initial_types=[(\"input\", FloatTensorType([None, N]))])`";
const LIGHTGBM: &str = "convert it with onnxmltools: `convert_lightgbm(model, initial_types=[(\"input\", FloatTensorType([None, N]))], zipmap=False)`";
const CATBOOST: &str =
    "convert it with CatBoost: `model.save_model(\"model.onnx\", format=\"onnx\")`";
const WEIGHTS: &str = "it holds weights without the computation: load them in PyTorch and convert with `torch.onnx.export`";
const GGUF: &str = "it is for llama.cpp: convert the original model with `optimum-cli export onnx --model NAME DIR`";
const ARRAY: &str = "it holds numbers and no model: push the model itself as ONNX";
const ARCHIVE: &str =
    "unpack it and push the ONNX file that is in it; a joblib file is converted with skl2onnx";
const ORT: &str = "push the ONNX file that it was made from";
const UNKNOWN: &str =
    "convert the model to ONNX: skl2onnx, torch.onnx.export, tf2onnx, onnxmltools or optimum-cli";

/// What the file is. The refusal of a format that is not taken says how to convert it.
pub fn sniff(bytes: &[u8], file_name: &str) -> Result<Found, Refusal> {
    if let Some((found, hint)) = foreign(bytes) {
        return Err(Refusal::UnsupportedFormat {
            found: found.to_owned(),
            hint: hint.to_owned(),
        });
    }
    match protobuf(bytes) {
        Some(Protobuf::Onnx) => Ok(Found::Onnx),
        Some(Protobuf::SavedModel) => Err(Refusal::UnsupportedFormat {
            found: "a TensorFlow SavedModel".to_owned(),
            hint: TENSORFLOW.to_owned(),
        }),
        // Whoever calls it ONNX is told what is wrong with it.
        None if file_name.ends_with(".onnx") => Ok(Found::Onnx),
        None => Err(Refusal::UnsupportedFormat {
            found: "a file of a kind that is not known".to_owned(),
            hint: UNKNOWN.to_owned(),
        }),
    }
}

type Foreign = (&'static str, &'static str);

fn foreign(bytes: &[u8]) -> Option<Foreign> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let at =
        |start: usize, magic: &[u8]| bytes.get(start..).is_some_and(|it| it.starts_with(magic));
    if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
        return Some(zip(bytes));
    }
    if let Some(found) = pickle(bytes) {
        return Some(found);
    }
    let found = if starts(b"\x89HDF\r\n\x1a\n") {
        ("a Keras or HDF5 file", KERAS)
    } else if at(4, b"TFL3") {
        ("a TensorFlow Lite model", TFLITE)
    } else if at(4, b"ORTM") {
        ("a model in ONNX Runtime's own format", ORT)
    } else if starts(b"\x93NUMPY") {
        ("a NumPy array", ARRAY)
    } else if starts(b"GGUF") {
        ("a GGUF file", GGUF)
    } else if starts(b"CBM1") {
        ("a CatBoost model", CATBOOST)
    } else if safetensors(bytes) {
        ("a safetensors file", WEIGHTS)
    } else if xgboost(bytes) {
        ("an XGBoost model", XGBOOST)
    } else if starts(b"tree\nversion=") || starts(b"tree\r\nversion=") {
        ("a LightGBM model", LIGHTGBM)
    } else if [
        b"\x1f\x8b".as_slice(),
        b"BZh",
        b"\xfd7zXZ\0",
        b"\x5d\0\0",
        b"\x04\x22\x4d\x18",
        b"\x28\xb5\x2f\xfd",
    ]
    .iter()
    .any(|it| starts(it))
        || zlib(bytes)
        || at(257, b"ustar")
    {
        ("a compressed file or an archive", ARCHIVE)
    } else {
        return None;
    };
    Some(found)
}

fn zip(bytes: &[u8]) -> Foreign {
    // Members' names stand uncompressed before each member and again at the end.
    let has = |name: &[u8]| contains(ends(bytes).0, name) || contains(ends(bytes).1, name);
    if has(b"constants.pkl") {
        ("a TorchScript archive", TORCH)
    } else if has(b"MAR-INF/") {
        ("a TorchServe archive", TORCH)
    } else if has(b"data.pkl") {
        ("a PyTorch file", TORCH)
    } else if has(b"model.weights.h5") {
        ("a Keras model", KERAS)
    } else if has(b".npy") {
        ("a set of NumPy arrays", ARRAY)
    } else {
        ("a zip archive", ARCHIVE)
    }
}

fn ends(bytes: &[u8]) -> (&[u8], &[u8]) {
    let window = bytes.len().min(WINDOW);
    (&bytes[..window], &bytes[bytes.len() - window..])
}

fn pickle(bytes: &[u8]) -> Option<Foreign> {
    let (head, _) = ends(bytes);
    let binary = matches!(bytes, [0x80, 1..=5, ..]);
    if !binary && !text_pickle(bytes) {
        return None;
    }
    // The number that `torch.save` wrote first until PyTorch 1.6.
    const TORCH_MAGIC: &[u8] = &[
        0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
    ];
    Some(
        if contains(head, TORCH_MAGIC) || contains(head, b"torch._utils") {
            ("a PyTorch file", TORCH)
        } else if contains(head, b"joblib.") {
            ("a joblib file", SKLEARN)
        } else {
            ("a Python pickle", SKLEARN)
        },
    )
}

/// Pickle of protocol 0 or 1 has no mark of its own: it begins with an operation that opens something and
/// ends with the one that stops.
fn text_pickle(bytes: &[u8]) -> bool {
    let ends_well = bytes.ends_with(b".") || bytes.ends_with(b".\n");
    let opens = match bytes {
        [
            b'(',
            b'd' | b'l' | b't' | b'i' | b'c' | b'(' | b'U' | b'X' | b'S' | b'V' | b'I',
            ..,
        ]
        | [b'}' | b']', b'q' | b'(' | b'.', ..] => true,
        // `c` MODULE newline NAME newline: a name to be imported.
        [b'c', rest @ ..] => {
            let mut lines = rest.split(|it| *it == b'\n');
            let name = |line: Option<&[u8]>| {
                line.is_some_and(|it| {
                    !it.is_empty()
                        && it.len() < 256
                        && it
                            .iter()
                            .all(|c| c.is_ascii_alphanumeric() || b"._".contains(c))
                })
            };
            name(lines.next()) && name(lines.next())
        }
        _ => false,
    };
    opens && ends_well
}

fn safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    (2..=100_000_000).contains(&u64::from_le_bytes(*length)) && rest.starts_with(b"{\"")
}

/// JSON, or the binary form of it in which names are preceded by their lengths.
fn xgboost(bytes: &[u8]) -> bool {
    let (head, tail) = ends(bytes);
    let has = |name: &[u8]| contains(head, name) || contains(tail, name);
    bytes.trim_ascii_start().starts_with(b"{") && has(b"learner")
        || bytes.starts_with(b"binf") && bytes.len() > 100
}

fn zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..])
}

enum Protobuf {
    Onnx,
    SavedModel,
}

/// Told apart by the numbers of the outermost fields: an ONNX model has operator sets (8) or a graph (7),
/// a SavedModel has a version (1) and graphs (2) and nothing else.
fn protobuf(bytes: &[u8]) -> Option<Protobuf> {
    let mut saved_model = false;
    for field in Fields(bytes) {
        match field {
            Ok((7 | 8 | 25, Value::Bytes(_))) => return Some(Protobuf::Onnx),
            Ok((1, Value::Number(1))) => saved_model = true,
            Ok(
                (1, Value::Number(2..=64))
                | (2..=4 | 6 | 14, Value::Bytes(_))
                | (5, Value::Number(_)),
            ) => {}
            // Cut short: the fields before said what it was.
            Err(_) if bytes.starts_with(&[0x08]) && !saved_model => return Some(Protobuf::Onnx),
            _ => return None,
        }
    }
    saved_model.then_some(Protobuf::SavedModel)
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|it| it == needle)
}
