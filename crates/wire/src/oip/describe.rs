//! What the server and its models say about themselves: metadata, configuration, health, the index,
//! statistics and errors, as their JSON is on the wire.

use domain::signature::Rows;
use domain::{DataType, Dimension, Refusal, Signature, TensorSpec};
use serde::{Deserialize, Serialize};

use crate::code;

/// `GET /v2`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerMetadata {
    /// The server's name.
    pub name: String,
    /// The server's version.
    pub version: String,
    /// The extensions that work.
    pub extensions: Vec<String>,
}

/// `GET /v2/health/live`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Whether the process answers.
    pub live: bool,
}

/// `GET /v2/health/ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether predictions can be answered.
    pub ready: bool,
}

/// `GET /v2/models/{model}/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReady {
    /// The model.
    pub name: String,
    /// Whether it can answer.
    pub ready: bool,
}

/// The body of every error of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What was wrong and what to do about it.
    pub error: String,
}

impl From<&Refusal> for ErrorBody {
    fn from(refusal: &Refusal) -> Self {
        Self {
            error: code::message(refusal),
        }
    }
}

/// `GET /v2/models/{model}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The model.
    pub name: String,
    /// The versions that can be asked.
    pub versions: Vec<String>,
    /// What runs it.
    pub platform: String,
    /// What it takes.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    pub outputs: Vec<TensorMetadata>,
}

/// One input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// The protocol's name of its datatype.
    pub datatype: String,
    /// Its axes, the one that counts rows included; -1 for a variable one.
    pub shape: Vec<i64>,
}

/// What a model takes and gives.
pub fn metadata(
    name: &str,
    versions: Vec<String>,
    platform: &str,
    signature: &Signature,
) -> Metadata {
    let tensors = |specs: &[TensorSpec]| specs.iter().map(TensorMetadata::from).collect();
    Metadata {
        name: name.to_owned(),
        versions,
        platform: platform.to_owned(),
        inputs: tensors(&signature.inputs),
        outputs: tensors(&signature.outputs),
    }
}

impl From<&TensorSpec> for TensorMetadata {
    fn from(spec: &TensorSpec) -> Self {
        Self {
            name: spec.name.clone(),
            datatype: spec.datatype.name().to_owned(),
            shape: lengths(&spec.shape),
        }
    }
}

fn lengths(shape: &[Dimension]) -> Vec<i64> {
    shape
        .iter()
        .map(|dimension| match dimension {
            Dimension::Fixed(length) => i64::try_from(*length).unwrap_or(i64::MAX),
            Dimension::Variable(_) => -1,
        })
        .collect()
}

/// `GET /v2/models/{model}/config`: of Triton's model configuration what clients read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The model.
    pub name: String,
    /// What runs it.
    pub platform: String,
    /// What runs it, by the newer name.
    pub backend: String,
    /// The most rows of a request; 0 when rows are not joined.
    pub max_batch_size: i32,
    /// What it takes.
    pub input: Vec<ConfigTensor>,
    /// What it gives.
    pub output: Vec<ConfigTensor>,
    /// How requests share runs; absent when each runs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dynamic_batching: Option<DynamicBatching>,
}

/// How requests share runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicBatching {
    /// The longest that a request is passed over for others.
    pub max_queue_delay_microseconds: u64,
}

/// One input or output in a model's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigTensor {
    /// Its name.
    pub name: String,
    /// The configuration's own name of its datatype: `TYPE_FP32`.
    pub data_type: String,
    /// Its axes, without the one that counts rows where requests are joined.
    pub dims: Vec<i64>,
}

/// How a model is run. `rows_max` is the most rows of a request, where rows are joined.
pub fn config(
    name: &str,
    platform: &str,
    backend: &str,
    signature: &Signature,
    rows_max: u32,
    dynamic_batching: Option<DynamicBatching>,
) -> Config {
    let skipped = match signature.rows {
        Rows::Outermost => 1,
        Rows::Whole => 0,
    };
    let tensors = |specs: &[TensorSpec]| -> Vec<ConfigTensor> {
        specs
            .iter()
            .map(|spec| ConfigTensor {
                name: spec.name.clone(),
                data_type: config_type(spec.datatype).to_owned(),
                dims: lengths(spec.shape.get(skipped..).unwrap_or_default()),
            })
            .collect()
    };
    Config {
        name: name.to_owned(),
        platform: platform.to_owned(),
        backend: backend.to_owned(),
        max_batch_size: match signature.rows {
            Rows::Outermost => i32::try_from(rows_max).unwrap_or(i32::MAX),
            Rows::Whole => 0,
        },
        input: tensors(&signature.inputs),
        output: tensors(&signature.outputs),
        dynamic_batching,
    }
}

fn config_type(datatype: DataType) -> &'static str {
    match datatype {
        DataType::Bool => "TYPE_BOOL",
        DataType::Uint8 => "TYPE_UINT8",
        DataType::Uint16 => "TYPE_UINT16",
        DataType::Uint32 => "TYPE_UINT32",
        DataType::Uint64 => "TYPE_UINT64",
        DataType::Int8 => "TYPE_INT8",
        DataType::Int16 => "TYPE_INT16",
        DataType::Int32 => "TYPE_INT32",
        DataType::Int64 => "TYPE_INT64",
        DataType::Fp16 => "TYPE_FP16",
        DataType::Bf16 => "TYPE_BF16",
        DataType::Fp32 => "TYPE_FP32",
        DataType::Fp64 => "TYPE_FP64",
        DataType::Bytes => "TYPE_STRING",
    }
}

/// One member of the answer to `POST /v2/repository/index`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// `READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`.
    pub state: String,
    /// Why it is not ready; empty when it is.
    pub reason: String,
}

/// `GET /v2/models/stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// One for each version.
    pub model_stats: Vec<ModelStatistics>,
}

/// What a version has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatistics {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// When the last answer was given, in ms since 1970.
    pub last_inference: u64,
    /// Rows answered.
    pub inference_count: u64,
    /// Runs of the model.
    pub execution_count: u64,
    /// Times, summed over requests.
    pub inference_stats: InferStatistics,
    /// By kind of answer; we have none such.
    #[serde(default)]
    pub response_stats: std::collections::BTreeMap<String, serde_json::Value>,
    /// Times by the number of rows of a run.
    #[serde(default)]
    pub batch_stats: Vec<BatchStatistics>,
    /// Memory by kind; we have none such.
    #[serde(default)]
    pub memory_usage: Vec<serde_json::Value>,
}

/// How often something happened and how long that took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationStatistics {
    /// Times.
    pub count: u64,
    /// Nanoseconds.
    pub ns: u64,
}

/// Times of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InferStatistics {
    /// Requests answered.
    pub success: DurationStatistics,
    /// Requests refused or failed.
    pub fail: DurationStatistics,
    /// Waiting.
    pub queue: DurationStatistics,
    /// Joining the inputs.
    pub compute_input: DurationStatistics,
    /// Running the model.
    pub compute_infer: DurationStatistics,
    /// Taking the outputs apart.
    pub compute_output: DurationStatistics,
    /// Answers from a cache.
    #[serde(default)]
    pub cache_hit: DurationStatistics,
    /// Answers not from a cache.
    #[serde(default)]
    pub cache_miss: DurationStatistics,
}

/// Times of the runs with one number of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStatistics {
    /// Rows of a run.
    pub batch_size: u64,
    /// Joining the inputs.
    pub compute_input: DurationStatistics,
    /// Running the model.
    pub compute_infer: DurationStatistics,
    /// Taking the outputs apart.
    pub compute_output: DurationStatistics,
}
