//! One prediction's whole story.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde_json::{Map, Value};
use wire::api::ledger::PredictionRecord;
use wire::api::{SignatureRecord, TensorRecord, VersionDetailRecord};

use super::{Frame, shown};
use crate::ask::{Address, Ask};
use crate::show;

/// Rows of the same request that are linked to.
const SIBLINGS_MAX: u64 = 50;
/// So far around a prediction its model is looked at.
const AROUND_US: i64 = 15 * 60_000_000;

#[derive(Template)]
#[template(path = "story.html")]
struct StoryPage {
    frame: Frame,
    story: PredictionRecord,
    told: Told,
}

/// What a row's columns tell, by what they are about.
#[derive(Default)]
struct Told {
    headline: String,
    model: String,
    version: String,
    digest: String,
    at_us: Option<i64>,
    code: Option<String>,
    outputs: Vec<Field>,
    inputs: Vec<Field>,
    about: Vec<Field>,
    times: Option<Times>,
    siblings: Vec<(String, String, bool)>,
}

struct Field {
    name: String,
    value: String,
}

/// Where the time went, in microseconds and as parts of a bar that is 100 long.
struct Times {
    parts: Vec<TimePart>,
    total: f64,
}

struct TimePart {
    name: &'static str,
    us: f64,
    from: String,
    length: String,
}

pub(crate) async fn page(ask: Ask, Path(id): Path<String>) -> Response {
    let page = async {
        let story: PredictionRecord = ask.get(Address::api(&["predictions", &id])).await?;
        let text = |name: &str| story.row.get(name).map(show::value).unwrap_or_default();
        let (model, version) = (text("model"), text("version"));
        // A version that was removed has a story all the same.
        let version = Address::api(&["models", &model, "versions", &version]);
        let version = ask.get::<VersionDetailRecord>(version).await.ok();
        let told = told(&story, version.as_ref().map(|it| &it.signature));
        Ok(StoryPage {
            frame: Frame::new("predictions", &told.headline),
            told,
            story,
        })
    };
    shown(page.await)
}

/// Columns that every row has, with what they are called; the rest are inputs and outputs.
const SYSTEM: [(&str, &str); 20] = [
    ("prediction_id", ""),
    ("row", ""),
    ("time", ""),
    ("model", ""),
    ("version", ""),
    ("digest", ""),
    ("arm", "arm"),
    ("key", "key"),
    ("caller", "caller"),
    ("request_id", "caller's own id"),
    ("code", ""),
    ("inputs_recorded", "inputs kept whole"),
    ("batch_rows", "rows in its run"),
    ("queue_us", ""),
    ("compute_us", ""),
    ("total_us", ""),
    ("cpu_us", "core time, µs"),
    ("accelerator_us", "accelerator time, µs"),
    ("memory_mib_s", "memory, MiB·s"),
    ("cost", "cost"),
];

fn told(story: &PredictionRecord, signature: Option<&SignatureRecord>) -> Told {
    let row = &story.row;
    let text = |name: &str| row.get(name).map(show::value).unwrap_or_default();
    let at_us = domain::time::read_moment(&text("time"), 0);
    let code = row.get("code").map(show::value);
    let mut told = Told {
        headline: headline(row),
        model: text("model"),
        version: text("version"),
        digest: text("digest"),
        at_us,
        code,
        times: times(row),
        siblings: siblings(story),
        ..Told::default()
    };
    for (name, value) in row {
        let system = SYSTEM.iter().find(|(system, _)| system == name);
        let (list, name) = match system {
            Some((_, "")) => continue,
            Some((_, called)) => (&mut told.about, *called),
            None if is_output(name, signature) => (&mut told.outputs, name.as_str()),
            None => (&mut told.inputs, name.as_str()),
        };
        list.push(Field {
            name: name.to_owned(),
            value: show::value(value),
        });
    }
    told
}

/// What a prediction is, in a few words.
pub(super) fn headline(row: &Map<String, Value>) -> String {
    let text = |name: &str| row.get(name).map(show::value);
    let number = |name: &str| row.get(name).and_then(Value::as_f64);
    if let Some(code) = text("code") {
        return format!("Not answered: {code}");
    }
    if let Some(class) = text("class") {
        return match number(&format!("score_{class}")) {
            Some(score) => format!("Answered {class}, score {}", show::number(score)),
            None => format!("Answered {class}"),
        };
    }
    match number("value") {
        Some(value) => format!("Answered {}", show::number(value)),
        None => "Answered".to_owned(),
    }
}

/// Whether a column is of what was answered. The ledger calls columns by the task, or by the output's name, a number or a
/// word behind it, `out_` before it where the name is an input's too.
fn is_output(column: &str, signature: Option<&SignatureRecord>) -> bool {
    let by_task = ["class", "value", "threshold", "threshold_group"];
    if by_task.contains(&column) || column.starts_with("score_") {
        return true;
    }
    let Some(signature) = signature else {
        return column.starts_with("out_");
    };
    let of = |tensors: &[TensorRecord], column: &str| {
        tensors.iter().any(|tensor| {
            let behind = column.strip_prefix(tensor.name.as_str());
            let behind = behind.map(|it| it.strip_prefix('_').unwrap_or(it));
            let is_part = |it: &str| {
                let words = ["", "shape", "digest", "min", "max", "mean"];
                words.contains(&it) || it.bytes().all(|b| b.is_ascii_digit())
            };
            behind.is_some_and(is_part) || tensor.features.iter().any(|it| it == column)
        })
    };
    match column.strip_prefix("out_") {
        Some(name) if of(&signature.outputs, name) => true,
        _ => of(&signature.outputs, column) && !of(&signature.inputs, column),
    }
}

fn times(row: &Map<String, Value>) -> Option<Times> {
    let number = |name: &str| row.get(name).and_then(Value::as_f64);
    let total = number("total_us")?;
    let (queue, compute) = (number("queue_us")?, number("compute_us")?);
    let rest = (total - queue - compute).max(0.0);
    let whole = (queue + compute + rest).max(f64::MIN_POSITIVE);
    let mut from = 0.0;
    let parts = [
        ("waiting for its run", queue),
        ("in the run", compute),
        ("reading and writing", rest),
    ];
    let parts = parts.map(|(name, us)| {
        let part = TimePart {
            name,
            us,
            from: format!("{from:.2}"),
            length: format!("{:.2}", us / whole * 100.0),
        };
        from += us / whole * 100.0;
        part
    });
    Some(Times {
        parts: parts.into(),
        total,
    })
}

/// The rows of the request: the id, the number, and whether it is this one.
fn siblings(story: &PredictionRecord) -> Vec<(String, String, bool)> {
    if story.rows_of_request < 2 {
        return Vec::new();
    }
    let id = &story.prediction_id;
    let request = id.split('.').next().unwrap_or(id);
    let rows = 0..story.rows_of_request.min(SIBLINGS_MAX);
    let ids = rows.map(|row| (format!("{request}.{row}"), row.to_string()));
    ids.map(|(other, row)| (other.clone(), row, other == *id))
        .collect()
}

impl Told {
    /// Where the model's page shows what it did then.
    fn moment(&self) -> Option<String> {
        let at = self.at_us?;
        let address = Address::of("/console", &["models", &self.model])
            .with("from", show::moment(at - AROUND_US))
            .with("to", show::moment(at + AROUND_US));
        Some(address.as_str().to_owned())
    }

    /// How long after the prediction something was known.
    fn after(&self, later_us: &i64) -> Option<String> {
        let length = later_us - self.at_us?;
        Some(match length {
            ..0 => format!("{} before", show::span_us(-length)),
            _ => format!("{} after", show::span_us(length)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wire::api::ledger::StoryLabelRecord;

    use super::*;

    fn story() -> PredictionRecord {
        let row = json!({
            "prediction_id": "a.1", "row": 1, "time": "2026-11-24T10:00:00.000000Z", "model": "<m>", "version": 2,
            "digest": "abc", "arm": "traffic", "key": "<script>alert(1)</script>", "queue_us": 10, "compute_us": 30,
            "total_us": 80, "class": "<i>bad</i>", "score_<i>bad</i>": 0.75, "Age": 31.0, "Name": "\"<img src=x>\"",
            "probabilities_0": 0.25,
        });
        let Value::Object(row) = row else {
            unreachable!("it is an object")
        };
        PredictionRecord {
            prediction_id: "a.1".to_owned(),
            row,
            rows_of_request: 3,
            labels: vec![StoryLabelRecord {
                label: "<b>good</b>".to_owned(),
                labelled_at_us: 1_795_514_400_000_000 + 90_000_000_000,
                by: "key".to_owned(),
            }],
            sealed: true,
        }
    }

    fn signature() -> SignatureRecord {
        let record = json!({
            "format": 1, "rows": "outermost",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1], "features": ["Age"]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
        });
        serde_json::from_value(record).expect("a signature")
    }

    #[test]
    fn a_row_is_told_by_what_its_columns_are_about() {
        let told = told(&story(), Some(&signature()));
        let names = |list: &[Field]| {
            let names: Vec<&str> = list.iter().map(|it| it.name.as_str()).collect();
            names.join(" ")
        };
        assert_eq!(told.headline, "Answered <i>bad</i>, score 0.7500");
        assert_eq!(names(&told.inputs), "Age Name");
        assert_eq!(
            names(&told.outputs),
            "class score_<i>bad</i> probabilities_0"
        );
        assert_eq!(names(&told.about), "arm key");
        let times = told.times.as_ref().expect("times");
        let parts = times.parts.iter().map(|it| it.length.as_str());
        assert_eq!(parts.collect::<Vec<_>>(), ["12.50", "37.50", "50.00"]);
        assert_eq!(told.siblings[2].0, "a.2");
        assert!(told.siblings[1].2 && !told.siblings[0].2);
        assert_eq!(
            told.moment().as_deref(),
            Some(
                "/console/models/%3Cm%3E?from=2026-11-24T09%3A45%3A00Z&to=2026-11-24T10%3A15%3A00Z"
            )
        );
    }

    #[test]
    fn text_from_outside_stays_text() {
        let story = story();
        let page = StoryPage {
            frame: Frame::new("predictions", "<title>"),
            told: told(&story, Some(&signature())),
            story,
        };
        let text = page.render().expect("HTML");
        for tag in ["<script>alert", "<i>", "<b>", "<img", "<title><", "<m>"] {
            assert!(!text.contains(tag), "{tag} in {text}");
        }
        assert!(text.contains("1 d 1 h after"), "{text}");
    }
}
