//! An MLflow model: a folder with an `MLmodel`, served where it has the ONNX flavour.
//!
//! `MLmodel` is written by MLflow and tells much that is for others (run, environment, Python
//! version); keys that are not read here are not settings, so they are left alone. Settings of the
//! ONNX flavour itself that would change how the model runs are refused.

use std::collections::BTreeMap;

use domain::{DataType, Refusal};
use serde::Deserialize;
use serde_json::Value;

use super::folder::{Folder, Kind};
use super::{DeclaredTensor, Layout, Package, manifest, onnx};
use crate::PackagePath;

pub(super) const NAME: &str = "MLmodel";

#[derive(Deserialize)]
struct MlModel {
    flavors: BTreeMap<String, Value>,
    #[serde(default)]
    signature: Option<Signature>,
}

/// Both are JSON in a string.
#[derive(Deserialize)]
struct Signature {
    #[serde(default)]
    inputs: Option<String>,
    #[serde(default)]
    outputs: Option<String>,
}

/// The part of the ONNX flavour that says how to run it.
#[derive(Deserialize)]
struct OnnxFlavour {
    data: String,
    #[serde(default)]
    onnx_session_options: Option<BTreeMap<String, Value>>,
}

/// A column (`type`), or a tensor (`tensor-spec`).
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "tensor-spec")]
    tensor: Option<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<i64>,
}

pub(super) fn read(folder: &Folder) -> Result<Package, Refusal> {
    let text = folder.text(&folder.path(NAME)?)?;
    let model: MlModel = manifest::yaml(&text, NAME)?;
    let Some(flavour) = model.flavors.get("onnx") else {
        return Err(other_flavours(&model));
    };
    let flavour: OnnxFlavour = serde_json::from_value(flavour.clone())
        .map_err(|error| invalid("flavors.onnx", error.to_string()))?;
    let options = flavour.onnx_session_options.unwrap_or_default();
    if let Some(option) = options.keys().next() {
        return Err(Refusal::Unsupported {
            what: format!("session option `{option}` in `{NAME}`"),
            hint: "log the model without `onnx_session_options`; `serve.threads` and \
                   `serve.instances` in `windlass.yaml` set its threads"
                .to_owned(),
        });
    }
    let data: PackagePath = flavour
        .data
        .parse()
        .map_err(|refusal: Refusal| invalid("flavors.onnx.data", refusal.to_string()))?;
    let mut package = match folder.kind(&data)? {
        Kind::File => onnx::read_file(folder, &data)?,
        Kind::Folder => onnx::read_folder(&folder.below(&data)?)?,
        Kind::Missing => {
            let why = format!("nothing at `{data}` in the folder");
            return Err(invalid("flavors.onnx.data", why));
        }
    };
    package.name = folder.model_name();
    package.layout = Layout::Mlflow;
    if let Some(Signature { inputs, outputs }) = model.signature {
        let inputs = entries("signature.inputs", inputs.as_deref())?;
        let outputs = entries("signature.outputs", outputs.as_deref())?;
        // Columns have names each or not at all; MLflow writes it so.
        package.columns = inputs
            .iter()
            .filter(|it| it.tensor.is_none())
            .filter_map(|it| it.name.clone())
            .collect();
        package.declared_inputs = tensors("signature.inputs", inputs)?;
        package.declared_outputs = tensors("signature.outputs", outputs)?;
    }
    Ok(package)
}

fn other_flavours(model: &MlModel) -> Refusal {
    let flavours: Vec<&str> = model.flavors.keys().map(String::as_str).collect();
    let convert = |flavour: &str| match flavour {
        "sklearn" => Some("skl2onnx"),
        "lightgbm" | "xgboost" | "catboost" => Some("onnxmltools"),
        "pytorch" => Some("torch.onnx.export"),
        "tensorflow" | "keras" => Some("tf2onnx"),
        "transformers" | "sentence_transformers" => Some("optimum-cli export onnx"),
        _ => None,
    };
    let with = flavours
        .iter()
        .find_map(|it| convert(it))
        .map_or(String::new(), |it| format!(" with `{it}`"));
    Refusal::UnsupportedFormat {
        found: format!("an MLflow model of flavour `{}`", flavours.join("`, `")),
        hint: format!("convert it to ONNX{with} and log it with `mlflow.onnx.log_model`"),
    }
}

fn entries(field: &str, text: Option<&str>) -> Result<Vec<Entry>, Refusal> {
    match text {
        Some(text) => serde_json::from_str(text).map_err(|error| invalid(field, error.to_string())),
        None => Ok(Vec::new()),
    }
}

fn tensors(field: &str, entries: Vec<Entry>) -> Result<Vec<DeclaredTensor>, Refusal> {
    let declared = |entry: Entry| {
        let tensor = entry.tensor?;
        let shape = tensor.shape.iter().map(|size| match size {
            -1 => Ok(None),
            size => usize::try_from(*size)
                .map(Some)
                .map_err(|_| invalid(field, format!("`{size}` is not a size"))),
        });
        let datatype = datatype(&tensor.dtype)
            .ok_or_else(|| invalid(field, format!("no datatype `{}`", tensor.dtype)));
        Some(datatype.and_then(|datatype| {
            Ok(DeclaredTensor {
                name: entry.name,
                datatype,
                shape: shape.collect::<Result<_, _>>()?,
            })
        }))
    };
    entries.into_iter().filter_map(declared).collect()
}

/// NumPy's names.
fn datatype(name: &str) -> Option<DataType> {
    let datatype = match name {
        "bool" => DataType::Bool,
        "uint8" => DataType::Uint8,
        "uint16" => DataType::Uint16,
        "uint32" => DataType::Uint32,
        "uint64" => DataType::Uint64,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "float16" => DataType::Fp16,
        "float32" => DataType::Fp32,
        "float64" => DataType::Fp64,
        "str" | "object" | "bytes" => DataType::Bytes,
        _ => return None,
    };
    Some(datatype)
}

fn invalid(field: &str, why: String) -> Refusal {
    Refusal::InvalidManifest {
        field: format!("{NAME}: {field}"),
        why,
    }
}
