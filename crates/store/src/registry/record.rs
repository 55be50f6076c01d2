//! The signature as it is stored: its own record, with a format number, so that renaming a field of
//! `domain` cannot break a disk.

use domain::signature::Rows;
use domain::task::Task;
use domain::{DataType, Dimension, Refusal, Signature, TensorSpec};
use serde::{Deserialize, Serialize};

use crate::failure;

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureRecord {
    format: u32,
    inputs: Vec<TensorRecord>,
    outputs: Vec<TensorRecord>,
    rows: RowsRecord,
    // The task is written in the words of the manifest, which may not change under a disk either.
    task: Option<Task>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorRecord {
    name: String,
    datatype: String,
    shape: Vec<DimensionRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    features: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DimensionRecord {
    Fixed(u64),
    Variable(Option<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RowsRecord {
    Outermost,
    Whole,
}

pub(super) fn write_signature(signature: &Signature) -> Result<String, Refusal> {
    let Signature {
        inputs,
        outputs,
        rows,
        task,
    } = signature;
    let record = SignatureRecord {
        format: FORMAT,
        inputs: inputs.iter().map(write_tensor).collect(),
        outputs: outputs.iter().map(write_tensor).collect(),
        rows: match rows {
            Rows::Outermost => RowsRecord::Outermost,
            Rows::Whole => RowsRecord::Whole,
        },
        task: task.clone(),
    };
    serde_json::to_string(&record).map_err(|error| Refusal::Internal {
        what: format!("writing a signature: {error}"),
    })
}

fn write_tensor(tensor: &TensorSpec) -> TensorRecord {
    let TensorSpec {
        name,
        datatype,
        shape,
        features,
    } = tensor;
    let dimension = |it: &Dimension| match it {
        Dimension::Fixed(size) => DimensionRecord::Fixed(*size as u64),
        Dimension::Variable(name) => DimensionRecord::Variable(name.clone()),
    };
    TensorRecord {
        name: name.clone(),
        datatype: datatype.name().to_owned(),
        shape: shape.iter().map(dimension).collect(),
        features: features.clone(),
    }
}

pub(super) fn read_signature(text: &str) -> Result<Signature, Refusal> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let unreadable = |why: &dyn std::fmt::Display| failure::of_record("signature", why);
    let Format { format } = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    if format != FORMAT {
        let why = format!("it has format {format}, this program knows {FORMAT}");
        return Err(unreadable(&why));
    }
    let SignatureRecord {
        format: _,
        inputs,
        outputs,
        rows,
        task,
    } = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    Ok(Signature {
        inputs: inputs
            .into_iter()
            .map(read_tensor)
            .collect::<Result<_, _>>()?,
        outputs: outputs
            .into_iter()
            .map(read_tensor)
            .collect::<Result<_, _>>()?,
        rows: match rows {
            RowsRecord::Outermost => Rows::Outermost,
            RowsRecord::Whole => Rows::Whole,
        },
        task,
    })
}

fn read_tensor(record: TensorRecord) -> Result<TensorSpec, Refusal> {
    let unreadable = |why: String| failure::of_record("signature", why);
    let TensorRecord {
        name,
        datatype,
        shape,
        features,
    } = record;
    let dimension = |it: DimensionRecord| match it {
        DimensionRecord::Fixed(size) => usize::try_from(size)
            .map(Dimension::Fixed)
            .map_err(|_| unreadable(format!("an axis of {size}"))),
        DimensionRecord::Variable(name) => Ok(Dimension::Variable(name)),
    };
    Ok(TensorSpec {
        name,
        datatype: DataType::from_name(&datatype)
            .ok_or_else(|| unreadable(format!("no datatype `{datatype}`")))?,
        shape: shape.into_iter().map(dimension).collect::<Result<_, _>>()?,
        features,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_read_as_it_was_written_and_looks_like_this() {
        let signature = Signature {
            inputs: vec![TensorSpec {
                name: "x".to_owned(),
                datatype: DataType::Fp32,
                shape: vec![
                    Dimension::Variable(Some("N".to_owned())),
                    Dimension::Variable(None),
                    Dimension::Fixed(2),
                ],
                features: vec!["a".to_owned(), "b".to_owned()],
            }],
            outputs: vec![],
            rows: Rows::Whole,
            task: Some(Task::Regression { value: None }),
        };
        let text = write_signature(&signature).expect("it has a record");
        assert_eq!(
            text,
            r#"{"format":1,"inputs":[{"name":"x","datatype":"FP32","shape":[{"variable":"N"},{"variable":null},{"fixed":2}],"features":["a","b"]}],"outputs":[],"rows":"whole","task":{"type":"regression"}}"#
        );
        assert_eq!(read_signature(&text), Ok(signature));
        let newer = text.replace("\"format\":1", "\"format\":2");
        assert_eq!(
            read_signature(&newer).map_err(|it| it.to_string()),
            Err(
                "storage failed: the registry holds a signature that cannot be read: it has format 2, \
                 this program knows 1"
                    .to_owned()
            )
        );
    }
}
