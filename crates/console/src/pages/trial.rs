//! A model is tried: a form made from its signature, what it answers, and the same request for programs.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Form, Path};
use axum::response::Response;
use http::HeaderMap;
use http::header::HOST;
use serde_json::{Map, Value, json};
use wire::api::ledger::PredictionRecord;
use wire::api::overview::ModelNowRecord;
use wire::api::{LengthRecord, ModelDetailRecord, SignatureRecord, TensorRecord};

use super::model::head;
use super::{Frame, models, shown};
use crate::ask::{Address, Ask, Problem};
use crate::show;

/// Fields of a form; a wider input is JSON.
const FIELDS_MAX: usize = 256;
/// Bytes of an input's JSON; what is larger is no form's.
const JSON_BYTES_MAX: usize = 128 << 10;
/// Values of an output that are shown.
const VALUES_MAX: usize = 64;

#[derive(Template)]
#[template(path = "try.html")]
struct TryPage {
    frame: Frame,
    model: ModelNowRecord,
    tab: &'static str,
    inputs: Vec<InputForm>,
    /// What was answered, where something was asked.
    answer: Option<Result<Answer, Problem>>,
    snippets: Vec<(&'static str, String)>,
}

/// An input as a form asks for it.
struct InputForm {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    asked: Asked,
}

enum Asked {
    /// A value at a time.
    Fields(Vec<Field>),
    /// All values at once, as JSON.
    Json {
        id: String,
        data: String,
        shape: String,
    },
    /// Too large to be typed.
    TooLarge,
}

impl InputForm {
    /// Its only value, where it is called by its own name.
    fn single(&self) -> Option<&Field> {
        match &self.asked {
            Asked::Fields(fields) => match &fields[..] {
                [field] if field.name == self.name => Some(field),
                _ => None,
            },
            Asked::Json { .. } | Asked::TooLarge => None,
        }
    }
}

struct Field {
    id: String,
    name: String,
    value: String,
    /// Whether it is true or false.
    flag: bool,
    /// Whether it is a number.
    number: bool,
}

/// What a model answered.
struct Answer {
    headline: String,
    version: String,
    prediction: Option<String>,
    took: Option<String>,
    outputs: Vec<Output>,
}

struct Output {
    name: String,
    datatype: String,
    shape: String,
    values: Vec<(String, String)>,
    more: usize,
}

pub(crate) async fn page(ask: Ask, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let page = async {
        let (model, detail) = about(&ask, &name).await?;
        let inputs = forms(&detail);
        let request = detail.sample.clone();
        Ok(made(model, inputs, request, None, &headers))
    };
    shown(page.await)
}

/// Asks the model what was typed.
pub(crate) async fn answer(
    ask: Ask,
    Path(name): Path<String>,
    headers: HeaderMap,
    Form(typed): Form<Vec<(String, String)>>,
) -> Response {
    let page = async {
        let (model, detail) = about(&ask, &name).await?;
        let mut inputs = forms(&detail);
        fill(&mut inputs, &typed.into_iter().collect());
        let request = request(&inputs);
        let answered = match &request {
            Ok(request) => infer(&ask, &name, request, detail.signature.as_ref()).await,
            Err(problem) => Err(problem.clone()),
        };
        let request = request.ok().or_else(|| detail.sample.clone());
        Ok(made(model, inputs, request, Some(answered), &headers))
    };
    shown(page.await)
}

async fn about(ask: &Ask, name: &str) -> Result<(ModelNowRecord, ModelDetailRecord), Problem> {
    let detail = ask.get(Address::api(&["models", name]));
    let (model, detail) = futures::join!(head(ask, name), detail);
    Ok((model?, detail?))
}

fn made(
    model: ModelNowRecord,
    inputs: Vec<InputForm>,
    request: Option<Value>,
    answer: Option<Result<Answer, Problem>>,
    headers: &HeaderMap,
) -> TryPage {
    let snippets = request.map(|it| snippets(&model.name, &host(headers), &it));
    TryPage {
        frame: Frame::new("models", format!("{}: try it", model.name)),
        tab: "try",
        model,
        inputs,
        answer,
        snippets: snippets.unwrap_or_default(),
    }
}

/// The form of each input, filled with the sample.
fn forms(detail: &ModelDetailRecord) -> Vec<InputForm> {
    let Some(signature) = &detail.signature else {
        return Vec::new();
    };
    let samples = detail.sample.as_ref().map(|it| &it["inputs"]);
    let inputs = signature.inputs.iter().enumerate();
    inputs
        .map(|(place, tensor)| {
            let sample = samples
                .and_then(Value::as_array)
                .and_then(|all| all.iter().find(|it| it["name"] == tensor.name.as_str()));
            form(place, tensor, sample)
        })
        .collect()
}

fn form(place: usize, tensor: &TensorRecord, sample: Option<&Value>) -> InputForm {
    let shape: Vec<i64> = match sample.map(|it| &it["shape"]) {
        Some(Value::Array(shape)) => shape.iter().filter_map(Value::as_i64).collect(),
        _ => tensor.shape.iter().map(length).collect(),
    };
    let mut values = Vec::new();
    if let Some(sample) = sample {
        flat(&sample["data"], &mut values);
    }
    let names: Vec<String> = match shape.iter().product() {
        count if count == tensor.features.len() as i64 => tensor.features.clone(),
        1 => vec![tensor.name.clone()],
        _ => Vec::new(),
    };
    let asked = if !names.is_empty() && names.len() <= FIELDS_MAX {
        let fields = names.into_iter().enumerate().map(|(column, name)| Field {
            id: format!("{place}.{column}"),
            name,
            value: match values.get(column) {
                None | Some(Value::Null) => String::new(),
                Some(value) => show::value(value),
            },
            flag: tensor.datatype == "BOOL",
            number: !["BYTES", "BOOL"].contains(&tensor.datatype.as_str()),
        });
        Asked::Fields(fields.collect())
    } else {
        let data = Value::Array(values).to_string();
        match data.len() {
            ..=JSON_BYTES_MAX => Asked::Json {
                id: place.to_string(),
                data,
                shape: join(&shape),
            },
            _ => Asked::TooLarge,
        }
    };
    InputForm {
        name: tensor.name.clone(),
        datatype: tensor.datatype.clone(),
        shape,
        asked,
    }
}

fn length(length: &LengthRecord) -> i64 {
    match length {
        LengthRecord::Number(length) if *length >= 0 => *length,
        LengthRecord::Number(_) | LengthRecord::Name(_) => 1,
    }
}

fn flat(data: &Value, values: &mut Vec<Value>) {
    match data {
        Value::Array(inner) => inner.iter().for_each(|it| flat(it, values)),
        Value::Null if values.is_empty() => {}
        value => values.push(value.clone()),
    }
}

fn join(shape: &[i64]) -> String {
    let lengths: Vec<String> = shape.iter().map(i64::to_string).collect();
    lengths.join(", ")
}

/// Puts what was typed in place of the sample, whatever it is.
fn fill(inputs: &mut [InputForm], typed: &BTreeMap<String, String>) {
    for input in inputs {
        match &mut input.asked {
            Asked::Fields(fields) => {
                for field in fields {
                    if let Some(value) = typed.get(&field.id) {
                        field.value.clone_from(value);
                    }
                }
            }
            Asked::Json { id, data, shape } => {
                if let Some(value) = typed.get(id) {
                    data.clone_from(value);
                }
                if let Some(value) = typed.get(&format!("{id}.shape")) {
                    shape.clone_from(value);
                }
            }
            Asked::TooLarge => {}
        }
    }
}

/// The request that a form means.
fn request(inputs: &[InputForm]) -> Result<Value, Problem> {
    let mut tensors = Vec::with_capacity(inputs.len());
    for input in inputs {
        let (shape, data) = match &input.asked {
            Asked::Fields(fields) => {
                let values = fields.iter().map(|it| read(it, &input.datatype));
                let values: Result<Vec<Value>, Problem> = values.collect();
                (json!(input.shape), Value::Array(values?))
            }
            Asked::Json { data, shape, .. } => {
                let wrong = |what: &str, why: String| {
                    Problem::typed(format!(
                        "the {what} of `{}` cannot be read: {why}",
                        input.name
                    ))
                };
                let data: Value =
                    serde_json::from_str(data).map_err(|it| wrong("values", it.to_string()))?;
                let shape: Value = serde_json::from_str(&format!("[{shape}]"))
                    .map_err(|it| wrong("shape", it.to_string()))?;
                (shape, data)
            }
            Asked::TooLarge => {
                return Err(Problem::typed(format!(
                    "`{}` is too large for a form; send it with a program, as below",
                    input.name
                )));
            }
        };
        tensors.push(json!({
            "name": input.name, "shape": shape, "datatype": input.datatype, "data": data,
        }));
    }
    Ok(json!({ "inputs": tensors }))
}

/// A value of a datatype. Nothing is a missing number where there is one.
fn read(field: &Field, datatype: &str) -> Result<Value, Problem> {
    let text = field.value.trim();
    let wrong = |want: &str| Problem::typed(format!("`{}` is `{text}`, want {want}", field.name));
    match datatype {
        "BYTES" => Ok(Value::String(field.value.clone())),
        "BOOL" => text
            .parse::<bool>()
            .map(Value::Bool)
            .map_err(|_| wrong("`true` or `false`")),
        "FP16" | "BF16" | "FP32" | "FP64" => match text {
            "" | "NaN" => Ok(Value::Null),
            "Infinity" | "-Infinity" => Ok(Value::String(text.to_owned())),
            text => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(json!(number)),
                _ => Err(wrong("a number, or nothing where it is missing")),
            },
        },
        _ => match (text.parse::<i64>(), text.parse::<u64>()) {
            (Ok(number), _) => Ok(json!(number)),
            (_, Ok(number)) => Ok(json!(number)),
            _ => Err(wrong("a whole number")),
        },
    }
}

async fn infer(
    ask: &Ask,
    model: &str,
    request: &Value,
    signature: Option<&SignatureRecord>,
) -> Result<Answer, Problem> {
    let address = Address::of("/v2", &["models", model, "infer"]);
    let answered: Value = ask.post(address, request).await?;
    let id = answered["parameters"]["prediction_id"].as_str();
    let id = id.map(|it| format!("{it}.0"));
    // What is not recorded has no story.
    let story = match &id {
        Some(id) => {
            let story = ask.get::<PredictionRecord>(Address::api(&["predictions", id]));
            story.await.ok()
        }
        None => None,
    };
    Ok(told(
        &answered,
        id.filter(|_| story.is_some()),
        story.map(|it| it.row),
        signature,
    ))
}

fn told(
    answered: &Value,
    prediction: Option<String>,
    row: Option<Map<String, Value>>,
    signature: Option<&SignatureRecord>,
) -> Answer {
    let outputs = answered["outputs"].as_array().map(Vec::as_slice);
    let outputs = outputs.unwrap_or_default().iter();
    let took = row.as_ref().and_then(|it| it.get("total_us")?.as_f64());
    Answer {
        headline: row
            .as_ref()
            .map_or_else(|| "Answered".to_owned(), super::story::headline),
        version: show::value(&answered["model_version"]),
        prediction,
        took: took.map(show::us),
        outputs: outputs.map(|it| output(it, signature)).collect(),
    }
}

fn output(output: &Value, signature: Option<&SignatureRecord>) -> Output {
    let name = show::value(&output["name"]);
    let mut values = Vec::new();
    flat(&output["data"], &mut values);
    let spec = signature.and_then(|it| it.outputs.iter().find(|it| it.name == name));
    let classes = signature
        .and_then(|it| it.task.as_ref())
        .map(|it| it.classes());
    let names = [spec.map(|it| it.features.as_slice()), classes];
    let names = names.into_iter().flatten();
    let names = names
        .filter(|it| it.len() == values.len())
        .find(|it| it.len() > 1);
    let called = |place: usize| match names {
        Some(names) => names[place].clone(),
        None if values.len() == 1 => String::new(),
        None => place.to_string(),
    };
    let shown = values.iter().take(VALUES_MAX).enumerate();
    Output {
        datatype: show::value(&output["datatype"]),
        shape: output["shape"].to_string(),
        values: shown
            .map(|(place, it)| (called(place), show::value(it)))
            .collect(),
        more: values.len().saturating_sub(VALUES_MAX),
        name,
    }
}

/// Under which name this page was asked for, where that can be a name.
pub(super) fn host(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|it| it.to_str().ok());
    let plain = |it: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        !it.is_empty() && it.chars().all(plain)
    };
    host.filter(plain).unwrap_or("127.0.0.1:8080").to_owned()
}

/// The request for programs; none where it is too large to be read.
fn snippets(model: &str, host: &str, request: &Value) -> Vec<(&'static str, String)> {
    let body = request.to_string();
    if body.len() > JSON_BYTES_MAX {
        return Vec::new();
    }
    let address = Address::of("", &["v2", "models", model, "infer"]);
    let curl = format!(
        "curl http://{host}{} \\\n  -H 'content-type: application/json' \\\n  -d {}",
        address.as_str(),
        show::quoted(&body)
    );
    vec![
        ("curl", curl),
        ("Python", python("http", model, host, request)),
        ("Python, gRPC", python("grpc", model, host, request)),
    ]
}

/// For Triton's own client, of either protocol.
fn python(protocol: &str, model: &str, host: &str, request: &Value) -> String {
    let mut lines = vec![
        format!("# pip install numpy tritonclient[{protocol}]"),
        "import numpy".to_owned(),
        format!("from tritonclient.{protocol} import InferenceServerClient, InferInput"),
        String::new(),
        "def tensor(name, datatype, shape, dtype, data):".to_owned(),
        "    it = InferInput(name, shape, datatype)".to_owned(),
        "    it.set_data_from_numpy(numpy.array(data, dtype).reshape(shape))".to_owned(),
        "    return it".to_owned(),
        String::new(),
        format!("client = InferenceServerClient({})", json!(host)),
        format!("answer = client.infer({}, [", json!(model)),
    ];
    for input in request["inputs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
    {
        let datatype = input["datatype"].as_str().unwrap_or_default();
        lines.push(format!(
            "    tensor({}, {}, {}, {}, {}),",
            input["name"],
            input["datatype"],
            input["shape"],
            dtype(datatype),
            literal(&input["data"])
        ));
    }
    lines.push("])".to_owned());
    let answer = match protocol {
        "http" => "print(answer.get_response())",
        _ => "print(answer.get_response(as_json=True))",
    };
    lines.push(answer.to_owned());
    lines.join("\n")
}

fn dtype(datatype: &str) -> &'static str {
    match datatype {
        "BOOL" => "bool",
        "UINT8" => "numpy.uint8",
        "UINT16" => "numpy.uint16",
        "UINT32" => "numpy.uint32",
        "UINT64" => "numpy.uint64",
        "INT8" => "numpy.int8",
        "INT16" => "numpy.int16",
        "INT32" => "numpy.int32",
        "INT64" => "numpy.int64",
        "FP16" => "numpy.float16",
        // numpy has no BF16; the client makes it of these.
        "FP32" | "BF16" => "numpy.float32",
        "FP64" => "numpy.float64",
        _ => "object",
    }
}

/// A value as Python writes it. JSON's texts are Python's too.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "numpy.nan".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(literal).collect();
            format!("[{}]", values.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail() -> ModelDetailRecord {
        let record = json!({
            "name": "m", "created_ms": 0, "versions": 1, "latest": 1, "traffic": {"version": 1}, "state": "ready",
            "aliases": [], "recent": [],
            "signature": {
                "format": 1, "rows": "outermost",
                "inputs": [
                    {"name": "x", "datatype": "FP32", "shape": [-1, 2], "features": ["Age", "<i>"]},
                    {"name": "Job", "datatype": "BYTES", "shape": [-1, 1]},
                    {"name": "n", "datatype": "INT64", "shape": [-1]},
                    {"name": "image", "datatype": "UINT8", "shape": [-1, 2, 2]},
                ],
                "outputs": [{"name": "p", "datatype": "FP32", "shape": [-1, 2]}],
                "task": {"type": "binary", "positive": "bad", "classes": ["bad", "<b>good"], "scores": "p", "label": "label"},
            },
            "sample": {"inputs": [
                {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, null]},
                {"name": "Job", "datatype": "BYTES", "shape": [1, 1], "data": ["it's \"</script>"]},
                {"name": "n", "datatype": "INT64", "shape": [1], "data": [9_007_199_254_740_993_i64]},
                {"name": "image", "datatype": "UINT8", "shape": [1, 2, 2], "data": [1, 2, 3, 4]},
            ]},
        });
        serde_json::from_value(record).expect("a model")
    }

    #[test]
    fn a_form_means_the_request_that_it_is_filled_with() {
        let detail = detail();
        let inputs = forms(&detail);
        let request = request(&inputs).expect("a request");
        assert_eq!(Some(&request), detail.sample.as_ref());
    }

    #[test]
    fn what_cannot_be_is_said_by_its_field() {
        for (id, value, want) in [
            (
                "0.0",
                "abc",
                "`Age` is `abc`, want a number, or nothing where it is missing",
            ),
            ("2.0", "1.5", "`n` is `1.5`, want a whole number"),
            ("2.0", "", "`n` is ``, want a whole number"),
            (
                "3.shape",
                "1, x",
                "the shape of `image` cannot be read: expected value at line 1 column 5",
            ),
        ] {
            let mut inputs = forms(&detail());
            fill(
                &mut inputs,
                &BTreeMap::from([(id.to_owned(), value.to_owned())]),
            );
            let problem = request(&inputs).expect_err(want);
            assert_eq!(problem.error.message, want);
        }
    }

    #[test]
    fn a_snippet_is_what_the_form_says() {
        let sample = detail().sample.expect("a sample");
        let all = snippets("a b", "host:1", &sample);
        assert!(
            all[0]
                .1
                .starts_with("curl http://host:1/v2/models/a%20b/infer \\\n")
        );
        assert!(all[0].1.contains(r"it'\''s"), "{}", all[0].1);
        assert!(
            all[2]
                .1
                .contains(r#"tensor("x", "FP32", [1,2], numpy.float32, [1.5, numpy.nan]),"#),
            "{}",
            all[2].1
        );
        let mut headers = HeaderMap::new();
        headers.insert(HOST, http::HeaderValue::from_static("a'; rm -rf"));
        assert_eq!(host(&headers), "127.0.0.1:8080");
    }

    #[test]
    fn text_from_outside_stays_text() {
        let detail = detail();
        let answered = json!({"model_version": "<u>", "outputs": [
            {"name": "p", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
            {"name": "<s>", "datatype": "BYTES", "shape": [1, 1], "data": ["<script>x"]},
        ]});
        let answer = told(&answered, None, None, detail.signature.as_ref());
        assert_eq!(answer.outputs[0].values[1].0, "<b>good");
        let model: ModelNowRecord = serde_json::from_value(json!({
            "name": "<h1 class=x>", "state": "ready", "traffic": [], "aliases": [], "alerts": [], "attention": 0, "because": "",
            "recent": {"from_ms": 0, "step_ms": 1, "points": []},
        }))
        .expect("a model");
        let inputs = forms(&detail);
        let page = made(
            model,
            inputs,
            detail.sample,
            Some(Ok(answer)),
            &HeaderMap::new(),
        );
        let text = page.render().expect("HTML");
        for tag in [
            "<script>x",
            "</script>\"",
            "<i>",
            "<b>",
            "<u>",
            "<s>",
            "<h1 class=x>",
        ] {
            assert!(!text.contains(tag), "{tag} in {text}");
        }
    }
}
