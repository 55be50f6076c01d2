//! The records of our own control API, `/api/v1`: what the command line and the console read and send.
//!
//! R1. A reader passes over keys that it does not know, so that an older client can read a newer server; a
//!     server refuses keys that it does not know in what is sent to it, so that nothing asked is ignored.
//! R2. Names, digests and states are text here; whoever reads them parses them into the types of `domain`.
//! R3. Times are milliseconds since the start of 1970, UTC.

pub mod alerts;
pub mod attributes;
pub mod drift;
pub mod experiments;
pub mod fairness;
pub mod inputs;
pub mod ledger;
pub mod overview;
pub mod rollouts;
pub mod shadow;
pub mod why;

use domain::signature::Rows;
use domain::task::Task;
use domain::{DataType, Dimension, Refusal, Signature, TensorSpec};
use serde::{Deserialize, Serialize};

use crate::code;

/// A model in a list, and the head of a model by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Its name.
    pub name: String,
    /// When its first version was pushed.
    pub created_ms: i64,
    /// How many versions it has.
    pub versions: u32,
    /// The last one of them.
    pub latest: Option<u32>,
    /// Where its traffic goes.
    pub traffic: TrafficRecord,
    /// What it is doing: `ready`, `loading`, `failed`, `unloading`, `unloaded`.
    pub state: String,
    /// Why it does not answer, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A model by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelDetailRecord {
    /// What a list tells of it.
    #[serde(flatten)]
    pub model: ModelRecord,
    /// Its aliases by name.
    pub aliases: Vec<AliasRecord>,
    /// Its versions, the newest first; the newest alone when there are very many.
    pub recent: Vec<VersionRecord>,
    /// What the version that has the traffic takes and gives.
    pub signature: Option<SignatureRecord>,
    /// A request that this version answers, as the body of `POST /v2/models/MODEL/infer`: the first row of
    /// its examples, or zeros and empty strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<serde_json::Value>,
}

/// A version in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// Its number.
    pub version: u32,
    /// The digest of the package.
    pub digest: String,
    /// What it is doing: `pushed`, `verified`, `loading`, `ready`, `failed`, `unloading`.
    pub state: String,
    /// Why it does not answer, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Where it came from, for people.
    pub source: String,
    /// When it was pushed.
    pub created_ms: i64,
}

/// A version by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionDetailRecord {
    /// What a list tells of it.
    #[serde(flatten)]
    pub version: VersionRecord,
    /// The model that it is a version of.
    pub model: String,
    /// Its aliases.
    pub aliases: Vec<String>,
    /// Its files, sorted by path.
    pub files: Vec<FileRecord>,
    /// Which of them is the model.
    pub main: String,
    /// What its owner says about it: `windlass.yaml`.
    pub manifest: String,
    /// What it takes and gives.
    pub signature: SignatureRecord,
    /// How it did on its examples; none before they ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<serde_json::Value>,
    /// How it is run, while it is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingRecord>,
}

/// How a version is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingRecord {
    /// Sessions that run at the same time.
    pub instances: u32,
    /// The action of a rule of alerts that says how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_by: Option<i64>,
    /// The most rows that share a run: set, or measured when it was loaded.
    pub rows_max: u32,
    /// The longest that a request is passed over, in microseconds.
    pub delay_max_us: u64,
    /// Whether requests of similar length are padded to share a run.
    pub padded: bool,
}

/// A file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Where it lies in the package.
    pub path: String,
    /// The SHA-256 of its content, in lower-case hexadecimal.
    pub digest: String,
    /// How many bytes it has.
    pub size: u64,
}

/// A push: every file's content must have been sent already, by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRecord {
    /// The files.
    pub files: Vec<FileRecord>,
    /// Which of them is the model.
    pub main: String,
    /// What its owner says about it: `windlass.yaml`.
    pub manifest: String,
    /// Where it came from, for people: `ONNX file`, `Triton model repository`.
    pub source: String,
    /// What its inputs should turn out to be; empty when nothing is said.
    #[serde(default)]
    pub declared_inputs: Vec<DeclaredRecord>,
    /// What its outputs should turn out to be; empty when nothing is said.
    #[serde(default)]
    pub declared_outputs: Vec<DeclaredRecord>,
    /// Names of columns that are not said to belong to an input: the features of the only one.
    #[serde(default)]
    pub columns: Vec<String>,
    /// What for; may be empty.
    #[serde(default)]
    pub why: String,
}

/// An input or an output as files beside the model describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredRecord {
    /// Its name; without one its place counts.
    #[serde(default)]
    pub name: Option<String>,
    /// The protocol's name of its datatype: `FP32`.
    pub datatype: String,
    /// Its axes, the one of the rows included; -1 for a variable one.
    pub shape: Vec<i64>,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedRecord {
    /// The model.
    pub model: String,
    /// The version that the package is now.
    pub version: u32,
    /// Whether it is new; else the same package was this version already, and nothing was changed.
    pub new: bool,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// The alias.
    pub alias: String,
    /// The version that it names.
    pub version: u32,
}

/// A move of an alias in the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasMoveRecord {
    /// The alias.
    pub alias: String,
    /// The version that it named before.
    pub from: Option<u32>,
    /// The version that it named after; none when it was removed.
    pub to: Option<u32>,
    /// When.
    pub at_ms: i64,
    /// Who asked for it.
    pub who: String,
    /// What for.
    pub why: String,
}

/// Which version an alias shall name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasChange {
    /// The version.
    pub version: u32,
    /// What for; may be empty.
    #[serde(default)]
    pub why: String,
}

/// Which version a model's traffic shall go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficChange {
    /// The version.
    pub version: u32,
    /// What for; may be empty.
    #[serde(default)]
    pub why: String,
}

/// Which version shall be loaded beside what has the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadChange {
    /// The version; none to serve the model.
    #[serde(default)]
    pub version: Option<u32>,
}

/// Where a model's traffic goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficRecord {
    /// The version that answers the model's name.
    pub version: Option<u32>,
}

/// What a load or an unload left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRecord {
    /// The model.
    pub model: String,
    /// The versions that can be asked now.
    pub ready: Vec<u32>,
}

/// What the server is and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRecord {
    /// The server's version.
    pub version: String,
    /// Since when it runs.
    pub started_ms: i64,
    /// Whether it answers predictions; not while it drains.
    pub ready: bool,
    /// What runs the models, where it is there.
    pub runtime: Option<String>,
    /// Models that answer.
    pub models_ready: u32,
    /// Models in all.
    pub models: u32,
}

/// One of the server's bounds and its value: `GET /api/v1/limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRecord {
    /// Its name, as `windlass serve --limit NAME=VALUE` takes it.
    pub name: String,
    /// The value in force.
    pub value: u64,
    /// What it counts.
    pub unit: String,
    /// What it bounds and what happens over it.
    pub about: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its place in the order; to be sent as `after` to read on.
    pub id: i64,
    /// When.
    pub at_ms: i64,
    /// To which model.
    pub model: String,
    /// What: `version_created`, `traffic`.
    pub kind: String,
    /// The evidence.
    pub detail: serde_json::Value,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageRecord<T> {
    /// The entries.
    pub items: Vec<T>,
    /// What to send as `after` for the next page; none on the last.
    pub next: Option<String>,
}

/// The body of every error of our own API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// The error.
    pub error: ErrorDetailRecord,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetailRecord {
    /// Its stable name; one of [`code::ALL`].
    pub code: String,
    /// What was wrong.
    pub message: String,
    /// What to do about it, where there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Refusal> for ErrorRecord {
    fn from(refusal: &Refusal) -> Self {
        Self {
            error: ErrorDetailRecord {
                code: code::code(refusal).name.to_owned(),
                message: code::sentence(refusal),
                hint: refusal.hint(),
            },
        }
    }
}

/// What a version takes and gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignatureRecord {
    /// The format of this record: 1.
    pub format: u32,
    /// What it takes.
    pub inputs: Vec<TensorRecord>,
    /// What it gives.
    pub outputs: Vec<TensorRecord>,
    /// Whether the rows of several requests may share a run.
    pub rows: RowsRecord,
    /// What the answers mean, in the words of the manifest, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
}

/// One input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorRecord {
    /// Its name.
    pub name: String,
    /// The protocol's name of its datatype: `FP32`.
    pub datatype: String,
    /// Its axes, outermost first.
    pub shape: Vec<LengthRecord>,
    /// The names of the columns along its last axis.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// The length of an axis: a number; -1 or a name where it is variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LengthRecord {
    /// Zero or more, or -1.
    Number(i64),
    /// Axes with the same name have the same length in one request.
    Name(String),
}

/// Whether the rows of several requests may share a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowsRecord {
    /// Along the first axis.
    Outermost,
    /// They may not.
    Whole,
}

impl From<&Signature> for SignatureRecord {
    fn from(signature: &Signature) -> Self {
        let Signature {
            inputs,
            outputs,
            rows,
            task,
        } = signature;
        Self {
            format: 1,
            inputs: inputs.iter().map(TensorRecord::from).collect(),
            outputs: outputs.iter().map(TensorRecord::from).collect(),
            rows: match rows {
                Rows::Outermost => RowsRecord::Outermost,
                Rows::Whole => RowsRecord::Whole,
            },
            task: task.clone(),
        }
    }
}

impl From<&TensorSpec> for TensorRecord {
    fn from(spec: &TensorSpec) -> Self {
        let TensorSpec {
            name,
            datatype,
            shape,
            features,
        } = spec;
        let length = |it: &Dimension| match it {
            Dimension::Fixed(length) => {
                LengthRecord::Number(i64::try_from(*length).unwrap_or(i64::MAX))
            }
            Dimension::Variable(Some(name)) => LengthRecord::Name(name.clone()),
            Dimension::Variable(None) => LengthRecord::Number(-1),
        };
        Self {
            name: name.clone(),
            datatype: datatype.name().to_owned(),
            shape: shape.iter().map(length).collect(),
            features: features.clone(),
        }
    }
}

impl TryFrom<SignatureRecord> for Signature {
    type Error = Refusal;

    fn try_from(record: SignatureRecord) -> Result<Self, Refusal> {
        let SignatureRecord {
            format,
            inputs,
            outputs,
            rows,
            task,
        } = record;
        if format != 1 {
            return Err(malformed(format!(
                "its format is `{format}`, this program knows 1"
            )));
        }
        let specs = |records: Vec<TensorRecord>| -> Result<Vec<TensorSpec>, Refusal> {
            records.into_iter().map(TensorSpec::try_from).collect()
        };
        Ok(Self {
            inputs: specs(inputs)?,
            outputs: specs(outputs)?,
            rows: match rows {
                RowsRecord::Outermost => Rows::Outermost,
                RowsRecord::Whole => Rows::Whole,
            },
            task,
        })
    }
}

impl TryFrom<TensorRecord> for TensorSpec {
    type Error = Refusal;

    fn try_from(record: TensorRecord) -> Result<Self, Refusal> {
        let TensorRecord {
            name,
            datatype,
            shape,
            features,
        } = record;
        let Some(datatype) = DataType::from_name(&datatype) else {
            return Err(malformed(format!(
                "`{name}` has datatype `{datatype}`, which is not one"
            )));
        };
        let length = |it: LengthRecord| match it {
            LengthRecord::Name(name) => Ok(Dimension::Variable(Some(name))),
            LengthRecord::Number(-1) => Ok(Dimension::Variable(None)),
            LengthRecord::Number(length) => usize::try_from(length)
                .map(Dimension::Fixed)
                .map_err(|_| malformed(format!("`{name}` has an axis of length `{length}`"))),
        };
        let shape: Result<Vec<Dimension>, Refusal> = shape.into_iter().map(length).collect();
        Ok(Self {
            shape: shape?,
            name,
            datatype,
            features,
        })
    }
}

fn malformed(why: String) -> Refusal {
    Refusal::Malformed {
        what: "the signature",
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_read_as_it_was_written() {
        let text = r#"{"format":1,"inputs":[{"name":"x","datatype":"FP32","shape":["n",-1,30],"features":["a"]}],"outputs":[],"rows":"outermost","task":{"type":"regression"}}"#;
        let record: SignatureRecord = serde_json::from_str(text).expect("a record");
        let signature = Signature::try_from(record).expect("a signature");
        assert_eq!(
            signature.inputs[0].shape,
            [
                Dimension::Variable(Some("n".to_owned())),
                Dimension::Variable(None),
                Dimension::Fixed(30)
            ]
        );
        let again = serde_json::to_string(&SignatureRecord::from(&signature)).expect("JSON");
        assert_eq!(again, text);
    }

    #[test]
    fn what_cannot_be_a_signature_is_refused() {
        for (from, to, want) in [
            (
                "\"format\":1",
                "\"format\":2",
                "its format is `2`, this program knows 1",
            ),
            ("FP32", "FP99", "`x` has datatype `FP99`, which is not one"),
            ("-1", "-2", "`x` has an axis of length `-2`"),
        ] {
            let text = r#"{"format":1,"inputs":[{"name":"x","datatype":"FP32","shape":[-1]}],"outputs":[],"rows":"whole"}"#;
            let record: SignatureRecord =
                serde_json::from_str(&text.replace(from, to)).expect("a record");
            let refusal = Signature::try_from(record).expect_err("it cannot be one");
            assert_eq!(
                refusal.to_string(),
                format!("the signature cannot be read: {want}")
            );
        }
    }

    #[test]
    fn an_error_carries_its_code_and_advice() {
        let refusal = Refusal::UnknownModel {
            model: "m".to_owned(),
        };
        let text = serde_json::to_string(&ErrorRecord::from(&refusal)).expect("JSON");
        assert_eq!(
            text,
            r#"{"error":{"code":"unknown_model","message":"no model `m`","hint":"`windlass list` shows the models"}}"#
        );
    }
}
