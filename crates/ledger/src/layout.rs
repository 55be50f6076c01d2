//! What the rows of one version look like: which columns its inputs and answers have.
//!
//! R1. A tensor of at most [`VALUES_MAX`] values a row is a column for each of them: named by its features,
//!     else by its own name, with a number behind it where it has several.
//! R2. A larger tensor, or one whose size differs from row to row, is a digest, a shape and a summary; its
//!     values are kept where they are few, or where the row is in the sample.
//! R3. What the task names has the same column in every model: `class`, `score_CLASS`, `value`.
//! R4. A name that is taken gets `in_` or `out_` in front.
//! R5. A layout is written down with the rows and never changed. A version that is loaded with other settings
//!     has another one; readers put them side by side.

mod meaning;

use std::collections::BTreeSet;

use arrow::datatypes::{DataType as Arrow, Field, Schema, TimeUnit};
use domain::ledger::Source;
use domain::signature::Rows;
use domain::{DataType, Refusal, Signature, TensorSpec};
use serde::{Deserialize, Serialize};

pub(crate) use meaning::Meaning;

/// The most values a row that become columns.
pub const VALUES_MAX: usize = 256;

/// The format of this record.
const FORMAT: u32 = 1;

/// A column's name and type.
type SystemColumn = (&'static str, fn() -> Arrow);

/// Columns that every prediction has, in the order in which they are shown.
pub(crate) const SYSTEM: &[SystemColumn] = &[
    ("prediction_id", || Arrow::FixedSizeBinary(16)),
    ("row", || Arrow::UInt32),
    ("time", || {
        Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    }),
    ("model", words),
    ("version", || Arrow::UInt32),
    ("digest", words),
    ("arm", words),
    ("key", || Arrow::Utf8),
    ("caller", words),
    ("request_id", || Arrow::Utf8),
    ("code", words),
    ("inputs_recorded", || Arrow::Boolean),
    ("batch_rows", || Arrow::UInt32),
    ("queue_us", || Arrow::UInt32),
    ("compute_us", || Arrow::UInt32),
    ("total_us", || Arrow::UInt32),
    ("cpu_us", || Arrow::Float32),
    ("accelerator_us", || Arrow::Float32),
    ("memory_mib_s", || Arrow::Float32),
    ("cost", || Arrow::Float32),
];

/// Text of which there is little different.
pub(crate) fn words() -> Arrow {
    Arrow::Dictionary(Box::new(Arrow::Int32), Box::new(Arrow::Utf8))
}

/// Columns that a label adds where predictions and labels are joined.
pub(crate) const LABEL: &[&str] = &["label", "labelled_at", "labels"];

/// What a tensor becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kept {
    /// One column for each value of a row (R1).
    Columns(Vec<String>),
    /// Columns that begin with this name (R2).
    Summary(String),
}

/// A tensor and its columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) tensor: String,
    /// As the Open Inference Protocol names it.
    pub(crate) datatype: String,
    pub(crate) kept: Kept,
}

impl Slot {
    pub(crate) fn datatype(&self) -> DataType {
        // It was written from one.
        DataType::from_name(&self.datatype).unwrap_or(DataType::Bytes)
    }
}

/// What was applied to each row where groups have thresholds of their own.
const APPLIED: [SystemColumn; 2] = [("threshold_group", words), ("threshold", || Arrow::Float64)];

/// The columns of one version's rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    format: u32,
    pub(crate) model: String,
    pub(crate) version: u32,
    /// Of the version, in hexadecimal digits.
    pub(crate) digest: String,
    pub(crate) inputs: Vec<Slot>,
    pub(crate) outputs: Vec<Slot>,
    /// The input column whose value is the row's key.
    pub(crate) key: Option<String>,
    /// The input column whose value is the caller.
    pub(crate) caller: Option<String>,
    pub(crate) meaning: Meaning,
}

/// What the table of a model's unheard answers is called. No model can have that name.
pub fn unheard_of(model: &str) -> String {
    format!("{model}~shadow")
}

/// What the table of the values of a model's metric is called. They are kept as labels are. No model can have that name.
pub fn posted_as(model: &str, metric: &str) -> String {
    format!("{model}{POSTED}{metric}")
}

const POSTED: &str = "~posted.";

/// The model and the metric whose values a table has.
pub(crate) fn posted_of(table: &str) -> Option<(&str, &str)> {
    table.split_once(POSTED)
}

/// The model that a table belongs to.
pub(crate) fn heard_of(table: &str) -> &str {
    table.split_once('~').map_or(table, |(model, _)| model)
}

/// What a layout is made of.
pub struct Version<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The version's number.
    pub version: u32,
    /// The version's digest in hexadecimal digits.
    pub digest: String,
    /// What goes in and comes out.
    pub signature: &'a Signature,
    /// Where the key comes from.
    pub key: Option<&'a Source>,
    /// Where the caller comes from.
    pub caller: Option<&'a Source>,
}

impl Layout {
    /// The columns of a version's rows. A key or a caller that names an input which is not there is refused.
    pub fn new(version: &Version<'_>) -> Result<Self, Refusal> {
        let signature = version.signature;
        let mut names = Names::new();
        let mut meaning_of = Meaning::of(signature);
        if meaning_of.by_group().is_some() {
            let applied = APPLIED.iter().map(|(name, _)| (*name).to_owned());
            names.taken.extend(applied);
        }
        let named = meaning_of.outputs(signature);
        for (_, columns) in &named {
            names.taken.extend(columns.iter().cloned());
        }
        let inputs: Vec<Slot> = signature
            .inputs
            .iter()
            .map(|spec| slot(spec, signature.rows, &mut names, "in_"))
            .collect();
        let outputs = signature.outputs.iter().map(|spec| {
            match named.iter().find(|(name, _)| *name == spec.name) {
                Some((_, columns)) => Slot {
                    tensor: spec.name.clone(),
                    datatype: spec.datatype.name().to_owned(),
                    kept: Kept::Columns(columns.clone()),
                },
                None => slot(spec, signature.rows, &mut names, "out_"),
            }
        });
        let outputs = outputs.collect();
        if let Meaning::Classes {
            by_group: Some(by_group),
            ..
        } = &mut meaning_of
        {
            let source = Source::Input(by_group.column.clone());
            let column = input_column("task.by_group.column", Some(&source), signature, &inputs)?;
            by_group.column = column.unwrap_or_default();
        }
        let key = input_column("ledger.key", version.key, signature, &inputs)?;
        let caller = input_column("ledger.caller", version.caller, signature, &inputs)?;
        Ok(Self {
            format: FORMAT,
            model: version.model.to_owned(),
            version: version.version,
            digest: version.digest.clone(),
            inputs,
            outputs,
            key,
            caller,
            meaning: meaning_of,
        })
    }

    /// The same of answers that nobody heard, which are a table of their own beside the model's.
    pub fn unheard(&self) -> Self {
        Self {
            model: unheard_of(&self.model),
            ..self.clone()
        }
    }

    /// Whether there are tensors that are too large for columns.
    pub fn has_summaries(&self) -> bool {
        let summary = |it: &Slot| matches!(it.kept, Kept::Summary(_));
        self.inputs.iter().chain(&self.outputs).any(summary)
    }

    /// The columns of each input, in the order of the signature; none where it is too large for columns.
    pub fn input_columns(&self) -> impl Iterator<Item = (DataType, &[String])> {
        self.inputs.iter().map(|slot| {
            let columns = match &slot.kept {
                Kept::Columns(names) => &names[..],
                Kept::Summary(_) => &[],
            };
            (slot.datatype(), columns)
        })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let layout: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if layout.format != FORMAT {
            return Err(format!(
                "its format is {}, this Windlass reads {FORMAT}",
                layout.format
            ));
        }
        Ok(layout)
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Records of strings and numbers cannot fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Refuses a column that the rows do not have.
    pub fn check_columns(&self, names: &[String]) -> Result<(), Refusal> {
        let schema = self.schema();
        let Some(name) = names.iter().find(|it| schema.index_of(it).is_err()) else {
            return Ok(());
        };
        let known = schema.fields().iter();
        let known: Vec<String> = known.map(|it| format!("`{}`", it.name())).collect();
        Err(Refusal::UnknownColumn {
            column: name.clone(),
            known: known.join(", "),
        })
    }

    /// The columns of the rows, in order.
    pub(crate) fn schema(&self) -> Schema {
        let mut fields: Vec<Field> = SYSTEM
            .iter()
            .map(|(name, datatype)| Field::new(*name, datatype(), true))
            .collect();
        if matches!(self.meaning, Meaning::Classes { .. }) {
            fields.push(Field::new("class", words(), true));
        }
        if self.meaning.by_group().is_some() {
            let applied = APPLIED.iter();
            fields.extend(applied.map(|(name, datatype)| Field::new(*name, datatype(), true)));
        }
        for slot in self.outputs.iter().chain(&self.inputs) {
            fields.extend(self.fields(slot));
        }
        Schema::new(fields)
    }

    fn fields(&self, slot: &Slot) -> Vec<Field> {
        let value = arrow_type(slot.datatype());
        match &slot.kept {
            Kept::Columns(names) => names
                .iter()
                // The class is text, whatever the model answers, and stands in front already.
                .filter(|name| *name != "class" || !matches!(self.meaning, Meaning::Classes { .. }))
                .map(|name| Field::new(name, value.clone(), true))
                .collect(),
            Kept::Summary(name) => {
                let list = Arrow::List(Field::new("item", value, true).into());
                let mut fields = vec![
                    Field::new(name, list, true),
                    Field::new(format!("{name}_shape"), Arrow::Utf8, true),
                    Field::new(format!("{name}_digest"), Arrow::Utf8, true),
                ];
                if slot.datatype() != DataType::Bytes {
                    for of in ["min", "max", "mean"] {
                        fields.push(Field::new(format!("{name}_{of}"), Arrow::Float64, true));
                    }
                }
                fields
            }
        }
    }
}

/// How values of a tensor are held in a column. Half-precision numbers become single ones, which hold them
/// exactly and which more programs read.
pub(crate) fn arrow_type(datatype: DataType) -> Arrow {
    match datatype {
        DataType::Bool => Arrow::Boolean,
        DataType::Uint8 => Arrow::UInt8,
        DataType::Uint16 => Arrow::UInt16,
        DataType::Uint32 => Arrow::UInt32,
        DataType::Uint64 => Arrow::UInt64,
        DataType::Int8 => Arrow::Int8,
        DataType::Int16 => Arrow::Int16,
        DataType::Int32 => Arrow::Int32,
        DataType::Int64 => Arrow::Int64,
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 => Arrow::Float32,
        DataType::Fp64 => Arrow::Float64,
        DataType::Bytes => Arrow::Utf8,
    }
}

/// Names of columns that are given already (R4).
struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    fn new() -> Self {
        let system = SYSTEM.iter().map(|(name, _)| *name);
        let all = system
            .chain(LABEL.iter().copied())
            .chain(["class", "value"]);
        Self {
            taken: all.map(str::to_owned).collect(),
        }
    }

    fn give(&mut self, wanted: &str, prefix: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.taken.insert(name.clone()) {
            name = format!("{prefix}{name}");
        }
        name
    }
}

fn slot(spec: &TensorSpec, rows: Rows, names: &mut Names, prefix: &str) -> Slot {
    let kept = match spec.width(rows) {
        Some(width) if width <= VALUES_MAX => {
            let wanted: Vec<String> = if spec.features.len() == width {
                spec.features.clone()
            } else if width == 1 {
                vec![spec.name.clone()]
            } else {
                (0..width).map(|it| format!("{}_{it}", spec.name)).collect()
            };
            Kept::Columns(wanted.iter().map(|it| names.give(it, prefix)).collect())
        }
        _ => Kept::Summary(names.give(&spec.name, prefix)),
    };
    Slot {
        tensor: spec.name.clone(),
        datatype: spec.datatype.name().to_owned(),
        kept,
    }
}

fn input_column(
    field: &str,
    source: Option<&Source>,
    signature: &Signature,
    inputs: &[Slot],
) -> Result<Option<String>, Refusal> {
    let Some(Source::Input(name)) = source else {
        return Ok(None);
    };
    for (spec, slot) in signature.inputs.iter().zip(inputs) {
        let Kept::Columns(columns) = &slot.kept else {
            continue;
        };
        if let Some(place) = spec.features.iter().position(|it| it == name) {
            return Ok(columns.get(place).cloned());
        }
        if let [column] = &columns[..]
            && spec.name == *name
        {
            return Ok(Some(column.clone()));
        }
    }
    Err(Refusal::InvalidManifest {
        field: field.to_owned(),
        why: format!("the model has no input of one value a row, and no feature, named `{name}`"),
    })
}

#[cfg(test)]
mod tests {
    use domain::Dimension;

    use super::*;

    fn spec(name: &str, datatype: DataType, shape: &[Option<usize>]) -> TensorSpec {
        let dimension = |it: &Option<usize>| it.map_or(Dimension::Variable(None), Dimension::Fixed);
        TensorSpec {
            name: name.to_owned(),
            datatype,
            shape: shape.iter().map(dimension).collect(),
            features: Vec::new(),
        }
    }

    fn check(inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>, task: &str, want: &str) {
        let signature = Signature {
            inputs,
            outputs,
            rows: Rows::Outermost,
            task: serde_json::from_str(task).expect("a task"),
        };
        let layout = Layout::new(&Version {
            model: "m",
            version: 1,
            digest: "00".to_owned(),
            signature: &signature,
            key: None,
            caller: None,
        });
        let schema = layout.expect("a layout").schema();
        let names: Vec<&str> = schema.fields()[SYSTEM.len()..]
            .iter()
            .map(|it| it.name().as_str())
            .collect();
        assert_eq!(names.join(" "), want);
    }

    #[test]
    fn every_value_has_a_column_of_its_name() {
        use DataType::{Bytes, Fp32, Int64};
        let mut features = spec("x", Fp32, &[None, Some(3)]);
        features.features = ["age", "time", "class"].map(str::to_owned).to_vec();
        let outputs = || {
            vec![
                spec("label", Int64, &[None]),
                spec("p", Fp32, &[None, Some(2)]),
            ]
        };
        let binary = r#"{"type":"binary","positive":"bad","classes":["good","bad"],"scores":"p","label":"label"}"#;
        check(
            vec![features],
            outputs(),
            binary,
            "class score_good score_bad age in_time in_class",
        );
        let inputs = || {
            vec![
                spec("city", Bytes, &[None, Some(1)]),
                spec("v", Fp32, &[None, Some(2)]),
                spec("image", Fp32, &[None, Some(3), Some(224)]),
            ]
        };
        let image = "image image_shape image_digest image_min image_max image_mean";
        check(
            inputs(),
            outputs(),
            "null",
            &format!("out_label p_0 p_1 city v_0 v_1 {image}"),
        );
        let value = vec![spec("y", Fp32, &[None, Some(1)])];
        check(
            vec![spec("ids", Int64, &[None, None])],
            value,
            r#"{"type":"regression"}"#,
            "value ids ids_shape ids_digest ids_min ids_max ids_mean",
        );
    }
}
