//! The story of one prediction: what was asked, what was answered, what turned out to be true.

use domain::PredictionId;
use serde_json::{Map, Value};
use wire::api::ledger::{PredictionRecord, StoryLabelRecord};

use crate::client::Client;
use crate::output::{count, moment_us, number, table};

/// What the ledger has of a prediction.
pub(super) async fn story(client: &Client, id: &PredictionId) -> anyhow::Result<PredictionRecord> {
    client.get(&format!("/api/v1/predictions/{id}")).await
}

/// Columns that are told in the story's own words; the others are inputs and answers.
const TOLD: [&str; 22] = [
    "prediction_id",
    "row",
    "time",
    "model",
    "version",
    "digest",
    "arm",
    "key",
    "caller",
    "request_id",
    "code",
    "inputs_recorded",
    "batch_rows",
    "queue_us",
    "compute_us",
    "total_us",
    "cpu_us",
    "accelerator_us",
    "memory_mib_s",
    "cost",
    "class",
    "value",
];
/// Columns of the label, which `labels` tells better.
const LABEL: [&str; 3] = ["label", "labelled_at", "labels"];

/// It for people.
pub(super) fn show(record: &PredictionRecord) -> String {
    let PredictionRecord {
        prediction_id,
        row,
        rows_of_request,
        labels,
        sealed,
    } = record;
    let mut lines = vec![("prediction", prediction_id.clone())];
    lines.extend(row.get("time").map(|it| ("time", time(it))));
    if let Some(model) = text(row, "model") {
        let version = text(row, "version").map_or_else(String::new, |it| format!(":{it}"));
        let arm = text(row, "arm").map_or_else(String::new, |it| format!("  {it}"));
        lines.push(("model", format!("{model}{version}{arm}")));
    }
    for name in ["key", "caller", "request_id"] {
        lines.extend(text(row, name).map(|it| (name, it)));
    }
    lines.extend(text(row, "code").map(|it| ("failed", it)));
    lines.extend(answer(row).map(|it| ("answer", it)));
    lines.extend(took(row).map(|it| ("took", it)));
    lines.extend(used(row).map(|it| ("used", it)));
    let kept = if *sealed { "in a file" } else { "in the log" };
    let rows = count(*rows_of_request, "row");
    lines.push(("kept", format!("{kept}, of a request of {rows}")));
    let head: Vec<String> = lines
        .iter()
        .map(|(name, value)| format!("{name:<12}{value}"))
        .collect();
    let mut parts = vec![head.join("\n")];
    let mut others = row
        .iter()
        .filter(|(name, _)| !TOLD.contains(&&***name) && !LABEL.contains(&&***name))
        .peekable();
    if others.peek().is_some() {
        let rows = others.map(|(name, value)| vec![name.clone(), shown(value)]);
        parts.push(table(&["COLUMN", "VALUE"], rows));
    }
    if row.get("inputs_recorded") == Some(&Value::Bool(false)) {
        parts.push("the inputs were not recorded whole".to_owned());
    }
    parts.push(labels_table(labels));
    parts.join("\n\n")
}

/// The first is the one that holds.
fn labels_table(labels: &[StoryLabelRecord]) -> String {
    if labels.is_empty() {
        return "no label yet".to_owned();
    }
    let rows = labels.iter().enumerate().map(|(index, it)| {
        let StoryLabelRecord {
            label,
            labelled_at_us,
            by,
        } = it;
        let holds = if index == 0 { "holds" } else { "before" };
        vec![
            label.clone(),
            moment_us(*labelled_at_us),
            by.clone(),
            holds.to_owned(),
        ]
    });
    table(&["LABEL", "KNOWN SINCE", "FOUND BY", ""], rows)
}

/// `bad, score_bad 0.783, score_good 0.217`, or the value.
fn answer(row: &Map<String, Value>) -> Option<String> {
    let class = text(row, "class").or_else(|| text(row, "value"));
    let scores = row
        .iter()
        .filter(|(name, _)| name.starts_with("score_"))
        .map(|(name, value)| format!("{name} {}", shown(value)));
    let all: Vec<String> = class.into_iter().chain(scores).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn took(row: &Map<String, Value>) -> Option<String> {
    let ms = |name: &str| Some(number(row.get(name)?.as_f64()? / 1000.0));
    let mut text = format!("{} ms", ms("total_us")?);
    if let Some(queue) = ms("queue_us") {
        text.push_str(&format!(", {queue} waiting"));
    }
    if let Some(compute) = ms("compute_us") {
        text.push_str(&format!(", {compute} in the run"));
    }
    if let Some(rows) = row.get("batch_rows").and_then(Value::as_u64) {
        text.push_str(&format!(" of {}", count(rows, "row")));
    }
    Some(text)
}

fn used(row: &Map<String, Value>) -> Option<String> {
    let of = |name: &str| row.get(name).and_then(Value::as_f64);
    let mut parts = Vec::new();
    parts.extend(of("cpu_us").map(|it| format!("{} ms of a core", number(it / 1000.0))));
    let accelerator = of("accelerator_us").filter(|it| *it > 0.0);
    parts.extend(accelerator.map(|it| format!("{} ms of an accelerator", number(it / 1000.0))));
    parts.extend(of("memory_mib_s").map(|it| format!("{} MiB s of memory", number(it))));
    parts.extend(of("cost").map(|it| format!("cost {}", number(it))));
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn time(value: &Value) -> String {
    match value.as_i64() {
        Some(us) => moment_us(us),
        None => shown(value),
    }
}

/// The column's value as text; none where it is empty, too.
fn text(row: &Map<String, Value>, name: &str) -> Option<String> {
    let text = shown(row.get(name)?);
    (!text.is_empty()).then_some(text)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(row: Value, labels: Vec<StoryLabelRecord>, want: &str) {
        let Value::Object(row) = row else {
            panic!("a row is an object")
        };
        let record = PredictionRecord {
            prediction_id: "01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f.0".to_owned(),
            row,
            rows_of_request: 2,
            labels,
            sealed: true,
        };
        assert_eq!(show(&record), want);
    }

    #[test]
    fn a_story_goes_from_the_question_to_its_labels() {
        let label = |label: &str, labelled_at_us, by: &str| StoryLabelRecord {
            label: label.to_owned(),
            labelled_at_us,
            by: by.to_owned(),
        };
        check(
            json!({
                "prediction_id": "01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f.0", "row": 0,
                "time": 1_795_345_503_000_000_i64, "model": "credit", "version": 3, "digest": "ab",
                "arm": "champion", "key": "42", "caller": "shop", "request_id": "r-1",
                "inputs_recorded": true, "batch_rows": 4, "queue_us": 120, "compute_us": 600,
                "total_us": 812, "cpu_us": 150.0, "memory_mib_s": 0.5, "cost": 0.000002,
                "Age": 48.0, "Home": "rent", "class": "bad", "score_bad": 0.783, "label": "good",
            }),
            vec![
                label("good", 1_795_345_600_000_000, "id"),
                label("bad", 1_795_345_550_000_000, "key"),
            ],
            "\
prediction  01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f.0
time        2026-11-22 11:05:03
model       credit:3  champion
key         42
caller      shop
request_id  r-1
answer      bad, score_bad 0.783
took        0.812 ms, 0.120 waiting, 0.600 in the run of 4 rows
used        0.150 ms of a core, 0.500 MiB s of memory, cost 2.00e-6
kept        in a file, of a request of 2 rows

COLUMN     VALUE
Age        48.0
Home       rent
score_bad  0.783

LABEL  KNOWN SINCE          FOUND BY
good   2026-11-22 11:06:40  id        holds
bad    2026-11-22 11:05:50  key       before",
        );
    }

    #[test]
    fn a_story_of_little_is_short() {
        check(
            json!({ "time": "2026-11-22T11:05:03Z", "model": "price", "version": 1, "value": 12.5,
                    "code": null, "inputs_recorded": false }),
            vec![],
            "\
prediction  01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f.0
time        2026-11-22T11:05:03Z
model       price:1
answer      12.5
kept        in a file, of a request of 2 rows

the inputs were not recorded whole

no label yet",
        );
    }
}
