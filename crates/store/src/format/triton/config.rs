//! What a `config.pbtxt` asks for, in the words of `windlass.yaml`. A key that is not honoured is
//! refused by its name: Triton would do something for it, and we would not.

use std::collections::HashSet;
use std::time::Duration;

use domain::manifest::{BatchLimits, BatchSetting, Off, Serve, Span};
use domain::{DataType, Refusal, Version};

use super::super::DeclaredTensor;
use super::super::pbtxt::{self, Field, Value};
use crate::PackagePath;

pub(super) use super::super::pbtxt::invalid;

#[derive(Default)]
pub(super) struct Config {
    pub(super) name: Option<(usize, String)>,
    pub(super) file: Option<PackagePath>,
    pub(super) policy: Policy,
    pub(super) serve: Serve,
    pub(super) inputs: Vec<DeclaredTensor>,
    pub(super) outputs: Vec<DeclaredTensor>,
    pub(super) notes: Vec<String>,
}

pub(super) enum Policy {
    Latest(usize),
    /// The line, and the versions.
    Specific(usize, Vec<Version>),
    All,
}

impl Default for Policy {
    fn default() -> Self {
        Self::Latest(1)
    }
}

const TYPES: [(&str, DataType); 14] = [
    ("TYPE_BOOL", DataType::Bool),
    ("TYPE_UINT8", DataType::Uint8),
    ("TYPE_UINT16", DataType::Uint16),
    ("TYPE_UINT32", DataType::Uint32),
    ("TYPE_UINT64", DataType::Uint64),
    ("TYPE_INT8", DataType::Int8),
    ("TYPE_INT16", DataType::Int16),
    ("TYPE_INT32", DataType::Int32),
    ("TYPE_INT64", DataType::Int64),
    ("TYPE_FP16", DataType::Fp16),
    ("TYPE_BF16", DataType::Bf16),
    ("TYPE_FP32", DataType::Fp32),
    ("TYPE_FP64", DataType::Fp64),
    ("TYPE_STRING", DataType::Bytes),
];

pub(super) fn read(text: &str) -> Result<Config, Refusal> {
    let fields = pbtxt::parse(text)?;
    refuse_twice(&fields, &["input", "output", "instance_group"])?;
    let mut config = Config::default();
    let mut rows_max = None;
    let mut delay_max = None;
    let mut preferred = Vec::new();
    let mut instances = 0;
    for field in &fields {
        match field.name.as_str() {
            "name" => config.name = Some((field.line, text_of(field)?.to_owned())),
            "platform" => one_of(field, &["onnxruntime_onnx"])?,
            "backend" => one_of(field, &["onnxruntime"])?,
            "max_batch_size" => rows_max = Some(number(field, 0, 65_536)?),
            "input" => config.inputs.push(tensor(field)?),
            "output" => config.outputs.push(tensor(field)?),
            "default_model_filename" => config.file = Some(file_name(field)?),
            "version_policy" => config.policy = policy(field)?,
            "instance_group" => instances += instance_count(field)?,
            "dynamic_batching" => (delay_max, preferred) = dynamic_batching(field)?,
            _ => return Err(unsupported("", field)),
        }
    }
    let described = !config.inputs.is_empty() || !config.outputs.is_empty();
    let batched = rows_max.unwrap_or(0) > 0;
    if batched {
        // Triton leaves the rows' axis out of the dimensions.
        for tensor in config.inputs.iter_mut().chain(&mut config.outputs) {
            tensor.shape.insert(0, None);
        }
    }
    config.serve.batch = match rows_max {
        Some(0) => BatchSetting::Off(Off::Off),
        // What is not said in a full description is 0; in one without tensors, Triton finds it out.
        None if described => BatchSetting::Off(Off::Off),
        rows_max => BatchSetting::Limits(BatchLimits {
            rows_max,
            // Triton's bound is one of requests too: a model may be unable to take more.
            request_rows_max: rows_max,
            delay_max,
        }),
    };
    if instances > 0 {
        config.serve.instances = Some(u16::try_from(instances).unwrap_or(u16::MAX));
    }
    if !preferred.is_empty() {
        check_preferred(&fields, &preferred, rows_max)?;
        let shown: Vec<String> = preferred.iter().map(u32::to_string).collect();
        config.notes.push(format!(
            "`preferred_batch_size` [{}] is advice that is not needed here: the best size is measured \
             when the version is loaded",
            shown.join(", ")
        ));
    }
    Ok(config)
}

fn check_preferred(
    fields: &[Field],
    preferred: &[u32],
    rows_max: Option<u32>,
) -> Result<(), Refusal> {
    let largest = rows_max.unwrap_or(0);
    let line = fields
        .iter()
        .find(|it| it.name == "dynamic_batching")
        .map_or(1, |it| it.line);
    match preferred.iter().find(|it| **it > largest) {
        Some(over) => Err(invalid(
            line,
            format!("`preferred_batch_size` {over} is over `max_batch_size` {largest}"),
        )),
        None => Ok(()),
    }
}

fn tensor(field: &Field) -> Result<DeclaredTensor, Refusal> {
    let within = &field.name;
    let parts = message(field)?;
    refuse_twice(parts, &["dims"])?;
    let mut name = None;
    let mut datatype = None;
    let mut shape = Vec::new();
    for part in parts {
        match part.name.as_str() {
            "name" => name = Some(text_of(part)?.to_owned()),
            "data_type" => datatype = Some(datatype_of(part)?),
            "dims" => shape.push(size(part)?),
            // They say what the tensor is for, and the plain meaning is ours too.
            "format" => one_of(part, &["FORMAT_NONE"])?,
            "optional" | "is_shape_tensor" | "is_non_linear_format_io" | "allow_ragged_batch" => {
                one_of(part, &["false"])?
            }
            _ => return Err(unsupported(&format!("{within}."), part)),
        }
    }
    let missing = |what: &str| invalid(field.line, format!("`{within}` has no `{what}`"));
    if shape.is_empty() {
        return Err(missing("dims"));
    }
    Ok(DeclaredTensor {
        name: Some(name.ok_or_else(|| missing("name"))?),
        datatype: datatype.ok_or_else(|| missing("data_type"))?,
        shape,
    })
}

fn datatype_of(field: &Field) -> Result<DataType, Refusal> {
    let name = word(field)?;
    let found = TYPES.iter().find(|(known, _)| *known == name);
    found.map(|(_, datatype)| *datatype).ok_or_else(|| {
        let known: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        let why = format!("`{name}` is not one of {}", known.join(", "));
        invalid(field.line, why)
    })
}

fn size(field: &Field) -> Result<Option<usize>, Refusal> {
    match field.value {
        Value::Integer(-1) => Ok(None),
        Value::Integer(size) if size > 0 && size <= i128::from(i64::MAX) => {
            Ok(usize::try_from(size).ok())
        }
        _ => Err(expected(field, "-1 or a size above 0")),
    }
}

fn policy(field: &Field) -> Result<Policy, Refusal> {
    let [choice] = message(field)? else {
        return Err(expected(field, "one of `latest`, `specific` and `all`"));
    };
    let parts = message(choice)?;
    match choice.name.as_str() {
        "all" => match parts.first() {
            Some(part) => Err(unsupported("version_policy.all.", part)),
            None => Ok(Policy::All),
        },
        "latest" => {
            refuse_twice(parts, &[])?;
            let mut count = 1;
            for part in parts {
                match part.name.as_str() {
                    "num_versions" => count = number(part, 1, u32::MAX)?,
                    _ => return Err(unsupported("version_policy.latest.", part)),
                }
            }
            Ok(Policy::Latest(usize::try_from(count).unwrap_or(usize::MAX)))
        }
        "specific" => {
            let mut versions = Vec::new();
            for part in parts {
                match part.name.as_str() {
                    "versions" => versions.extend(Version::new(number(part, 1, u32::MAX)?)),
                    _ => return Err(unsupported("version_policy.specific.", part)),
                }
            }
            Ok(Policy::Specific(choice.line, versions))
        }
        _ => Err(unsupported("version_policy.", choice)),
    }
}

fn instance_count(field: &Field) -> Result<u32, Refusal> {
    let parts = message(field)?;
    refuse_twice(parts, &[])?;
    let mut count = 1;
    for part in parts {
        match part.name.as_str() {
            // No server has a use for more: `serve.instances` has the same bound.
            "count" => count = number(part, 1, 256)?,
            "kind" => {
                match word(part)? {
                    "KIND_CPU" | "KIND_AUTO" => {}
                    kind => {
                        return Err(Refusal::Unsupported {
                        what: format!("`instance_group.kind` `{kind}` (config.pbtxt:{})", part.line),
                        hint: "write KIND_CPU or KIND_AUTO; `serve.device` in `windlass.yaml` names \
                               an accelerator"
                            .to_owned(),
                    });
                    }
                }
            }
            // A name of the group shows in Triton's logs alone.
            "name" => _ = text_of(part)?,
            _ => return Err(unsupported("instance_group.", part)),
        }
    }
    Ok(count)
}

fn dynamic_batching(field: &Field) -> Result<(Option<Span>, Vec<u32>), Refusal> {
    let parts = message(field)?;
    refuse_twice(parts, &["preferred_batch_size"])?;
    let mut delay_max = None;
    let mut preferred = Vec::new();
    for part in parts {
        match part.name.as_str() {
            "preferred_batch_size" => preferred.push(number(part, 1, 65_536)?),
            "max_queue_delay_microseconds" => {
                let delay = Duration::from_micros(u64::from(number(part, 0, u32::MAX)?));
                delay_max = Some(Span(delay));
            }
            _ => return Err(unsupported("dynamic_batching.", part)),
        }
    }
    Ok((delay_max, preferred))
}

fn file_name(field: &Field) -> Result<PackagePath, Refusal> {
    let text = text_of(field)?;
    let path: PackagePath = text
        .parse()
        .map_err(|refusal: Refusal| invalid(field.line, refusal.to_string()))?;
    if path.file_name() != path.as_str() {
        return Err(expected(field, "the name of a file, without a folder"));
    }
    Ok(path)
}

fn message(field: &Field) -> Result<&[Field], Refusal> {
    match &field.value {
        Value::Message(fields) => Ok(fields),
        _ => Err(expected(field, "a message in braces")),
    }
}

fn text_of(field: &Field) -> Result<&str, Refusal> {
    match &field.value {
        Value::Text(text) => Ok(text),
        _ => Err(expected(field, "a string")),
    }
}

fn word(field: &Field) -> Result<&str, Refusal> {
    match &field.value {
        Value::Word(word) => Ok(word),
        _ => Err(expected(field, "a name")),
    }
}

fn number(field: &Field, least: u32, most: u32) -> Result<u32, Refusal> {
    let fits = |whole: &i128| (i128::from(least)..=i128::from(most)).contains(whole);
    let number = match &field.value {
        Value::Integer(whole) if fits(whole) => u32::try_from(*whole).ok(),
        _ => None,
    };
    number.ok_or_else(|| expected(field, &format!("a whole number from {least} to {most}")))
}

/// A setting that has one meaning here.
fn one_of(field: &Field, known: &[&str]) -> Result<(), Refusal> {
    let got = match &field.value {
        // An empty string is what is not said.
        Value::Text(text) if text.is_empty() => return Ok(()),
        Value::Text(text) => text,
        Value::Word(word) => word,
        _ => return Err(expected(field, "a name or a string")),
    };
    if known.contains(&got.as_str()) {
        return Ok(());
    }
    Err(Refusal::Unsupported {
        what: format!("`{}` `{got}` (config.pbtxt:{})", field.name, field.line),
        hint: format!("`{}` is what can be served", known.join("`, `")),
    })
}

fn expected(field: &Field, what: &str) -> Refusal {
    let Field { name, line, value } = field;
    invalid(
        *line,
        format!("`{name}` is {}, expected {what}", value.shown()),
    )
}

fn refuse_twice(fields: &[Field], lists: &[&str]) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    for field in fields {
        let list = lists.contains(&field.name.as_str());
        if !list && !seen.insert(&field.name) {
            return Err(invalid(
                field.line,
                format!("`{}` is there twice", field.name),
            ));
        }
    }
    Ok(())
}

fn unsupported(within: &str, field: &Field) -> Refusal {
    let name = format!("{within}{}", field.name);
    Refusal::Unsupported {
        what: format!("`{name}` (config.pbtxt:{})", field.line),
        hint: hint(&name).to_owned(),
    }
}

fn hint(name: &str) -> &'static str {
    match name {
        "input.reshape" | "output.reshape" => {
            "write the model's own shape as `dims`, and send requests of that shape"
        }
        "dynamic_batching.default_queue_policy" | "dynamic_batching.priority_queue_policy" => {
            "take it out; `serve.timeout` in `windlass.yaml` bounds a request's time"
        }
        "sequence_batching" | "ensemble_scheduling" | "model_transaction_policy" => {
            "a model here answers each request by itself; serve this one with Triton"
        }
        "optimization" | "parameters" => {
            "take it out; `serve.threads`, `serve.instances` and `serve.device` in `windlass.yaml` \
             say how a model is run"
        }
        "model_warmup" => "take it out; the examples of `windlass.yaml` are run before it serves",
        _ => "take it out if the model can do without it",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_config_of_its_own_words_is_read_or_refused(
            text in "(name|max_batch_size|input|dims|version_policy|latest|specific|instance_group\
                     |count|dynamic_batching|[:{}\\[\\],\" -]|[0-9])*"
        ) {
            let _ = super::read(&text);
        }
    }
}
