//! From answers and their labels to what the monitors say of them.

use super::*;

/// Answers what it is given: the probabilities of both classes. The group takes no part.
pub(super) const SAID: &str =
    "input: x FP32 -1,2\ninput: g FP32 -1,1\noutput: y FP32 -1,2\ndoes: copy";
pub(super) const TASK: &str = "serve: {batch: {rows_max: 1000}}\n\
                    task: {type: binary, classes: [good, bad], positive: bad, scores: y}\n\
                    signature: {features: {g: [Sex]}}";

/// One row: the probability of `bad`, its group, and whether it turned out to be.
#[derive(Clone, Copy)]
pub(super) struct Row(f32, u8, bool);

impl Site {
    pub(super) async fn judged(manifest: &str) -> Self {
        let site = Self::open().await;
        site.serve_with("credit", SAID, manifest).await;
        site
    }

    /// Asks about rows, and tells what became of the first so many.
    pub(super) async fn answers(&self, request: &str, rows: &[Row], labelled: usize) {
        let scores: Vec<f32> = rows.iter().flat_map(|it| [1.0 - it.0, it.0]).collect();
        let groups: Vec<u8> = rows.iter().map(|it| it.1).collect();
        let count = rows.len();
        let record = json!({"id": request, "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [count, 2], "data": scores},
            {"name": "g", "datatype": "FP32", "shape": [count, 1], "data": groups},
        ]});
        let path = "/v2/models/credit/infer";
        let reply = self.call(Method::POST, path, record.to_string()).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        let label = |(row, it): (usize, &Row)| {
            let truth = if it.2 { "bad" } else { "good" };
            json!({"request_id": request, "row": row, "label": truth})
        };
        let labels: Vec<Value> = rows.iter().enumerate().take(labelled).map(label).collect();
        let path = "/api/v1/labels?model=credit";
        let body = json!(labels).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .expect("valid");
        let response = self.client.request(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
    }

    async fn refused(manifest: &str) -> String {
        let site = Self::open().await;
        let pushed = site.push_with("credit", SAID, manifest).await;
        site.end().await;
        show(&pushed)
    }

    /// The first alert that is there.
    async fn alarm(&self) -> Value {
        let there = |it: &Value| it["items"][0].is_object();
        self.until("/api/v1/alerts", there).await["items"][0].take()
    }
}

/// Rows of which so many in ten are right.
pub(super) fn rows(count: usize, right: usize) -> Vec<Row> {
    let row = |index: usize| {
        let bad = index.is_multiple_of(2);
        let said = if index % 10 < right { bad } else { !bad };
        Row(if said { 0.9 } else { 0.1 }, 0, bad)
    };
    (0..count).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_wrong_too_often_is_an_alert() {
    let demands = "monitor: {every: 1s, window: 1h, quality: [{metric: accuracy, under: 0.7}, \
                   {metric: log_loss, over: 5}]}";
    let site = Site::judged(&format!("{TASK}\n{demands}")).await;
    site.answers("a", &rows(200, 4), 200).await;
    let alarm = site.alarm().await;
    let labels = &alarm["labels"];
    assert_eq!(
        (&labels["monitor"], &labels["subject"], &labels["severity"]),
        (&json!("quality"), &json!("accuracy"), &json!("page"))
    );
    assert_eq!(alarm["evidence"]["value"], 0.4, "{alarm}");
    assert_eq!(alarm["evidence"]["labelled"], 200.0, "{alarm}");
    let summary = alarm["summary"].as_str().expect("a sentence");
    assert!(
        summary.starts_with("`accuracy` of credit:1 is 0.400 ["),
        "{summary}"
    );
    assert!(summary.contains(", under 0.7 (200 labelled of 1h from "));
    site.end().await;
}

/// What the overview tells of how right a model is, once it does.
async fn quality_now(site: &Site, model: &str) -> Value {
    let known = |it: &Value| it["models"][0]["quality"].is_object();
    let path = format!("/api/v1/overview?model={model}");
    site.until(&path, known).await["models"][0].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_demands_is_measured_and_not_judged() {
    let site = Site::judged(&format!("{TASK}\nmonitor: {{every: 1s, window: 1h}}")).await;
    // 4 in 10 are right, and half of them have a label: more may come.
    site.answers("a", &rows(400, 4), 200).await;
    let model = quality_now(&site, "credit").await;
    let quality = &model["quality"];
    assert_eq!(
        (&quality["metric"], &quality["value"], &quality["estimated"]),
        (&json!("accuracy"), &json!(0.4), &json!(false)),
        "{quality}"
    );
    assert_eq!(quality["coverage"], 0.5, "{quality}");
    let end = |name: &str| quality[name].as_f64().expect("an end");
    assert!((0.3..0.4).contains(&end("low")) && (0.4..0.5).contains(&end("high")));
    assert!(quality["verdict"].is_null(), "{quality}");
    assert_eq!(
        (&model["attention"], &model["because"]),
        (&json!(0), &json!(""))
    );
    let looks = site
        .get("/api/v1/models/credit/findings?monitor=quality&limit=1")
        .await;
    let found = &looks["items"][0]["findings"][0];
    assert_eq!(found["verdict"], "unknown", "{found}");
    let summary = found["summary"].as_str().expect("a sentence");
    assert!(
        summary.contains("; nothing is demanded of it (200 labelled of 1h from ")
            && summary.ends_with(", more are to come)"),
        "{summary}"
    );
    let alerts = site.get("/api/v1/alerts?all=true").await;
    assert_eq!(alerts["items"], json!([]));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_numbers_is_measured_and_nothing_without_labels() {
    let said = "input: x FP32 -1,1\noutput: y FP32 -1,1\ndoes: copy";
    let manifest = "serve: {batch: {rows_max: 1000}}\ntask: {type: regression, value: y}\n\
                    monitor: {every: 1s, window: 1h, concept_drift: {off: true}}";
    let site = Site::open().await;
    site.serve_with("mute", said, manifest).await;
    site.serve_with("credit", said, manifest).await;
    for number in 0..20 {
        ask_about_numbers(&site, number).await;
    }
    // It is looked at meanwhile, too, when not all have their labels.
    let all = |it: &Value| it["models"][0]["quality"]["coverage"] == 1.0;
    let model = site.until("/api/v1/overview?model=credit", all).await["models"][0].take();
    let quality = &model["quality"];
    assert_eq!(quality["metric"], "mae", "{quality}");
    // Half of them are off by 0.1 and half by 1, about.
    assert!((0.4..0.7).contains(&quality["value"].as_f64().expect("a number")));
    let of_mute = site.get("/api/v1/overview?model=mute").await;
    assert!(of_mute["models"][0]["quality"].is_null(), "{of_mute}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_objective_of_quality_burns_where_too_many_answers_are_wrong() {
    let objective = "monitor: {every: 1s, objectives: [{name: right, kind: quality, target: 95}]}";
    let site = Site::judged(&format!("{TASK}\n{objective}")).await;
    site.answers("a", &rows(200, 4), 200).await;
    let alarm = site.alarm().await;
    let labels = &alarm["labels"];
    assert_eq!(
        (&labels["monitor"], &labels["subject"], &labels["severity"]),
        (&json!("slo"), &json!("right"), &json!("page"))
    );
    // 6 of 10 are wrong where 1 of 20 may be; 14.4 times that cannot be told from it for certain.
    assert_eq!(
        alarm["summary"],
        "objective `right` of credit burns: 12.0 times what 95 % allows in 6h and 12.0 times in 30m, \
         where 6.0 times is too fast"
    );
    let said = "input: x FP32 -1,2\noutput: y FP32 -1,2\ndoes: copy";
    for (task, objective, want) in [
        (
            "task: {type: binary, positive: bad, classes: [good, bad], scores: y}",
            "target: 95, within: 1",
            "monitor.objectives.within",
        ),
        ("", "target: 95", "monitor.objectives.kind"),
        (
            "task: {type: regression, value: y}",
            "target: 95",
            "monitor.objectives.within",
        ),
    ] {
        let manifest =
            format!("{task}\nmonitor: {{objectives: [{{name: a, kind: quality, {objective}}}]}}");
        let refused = show(&site.push_with("other", said, &manifest).await);
        assert!(refused.contains(want), "{refused}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_wrong_too_often_is_named() {
    let demands = "monitor: {every: 1s, window: 1h, segments: [{by: Sex}], quality: [{metric: accuracy, under: 0.7}]}";
    let site = Site::judged(&format!("{TASK}\n{demands}")).await;
    let mut all = rows(800, 9);
    all.extend(rows(200, 3).into_iter().map(|it| Row(it.0, 1, it.2)));
    site.answers("a", &all, 1000).await;
    let alarm = site.alarm().await;
    let labels = &alarm["labels"];
    assert_eq!(
        (&labels["monitor"], &labels["subject"], &labels["segment"]),
        (&json!("quality"), &json!("accuracy"), &json!("Sex=1.0"))
    );
    assert_eq!(alarm["evidence"]["value"], 0.3, "{alarm}");
    let summary = alarm["summary"].as_str().expect("a sentence");
    assert!(
        summary.contains("of credit:1 where Sex=1.0 is 0.300"),
        "{summary}"
    );
    let alerts = site.call(Method::GET, "/api/v1/alerts", "").await;
    assert_eq!(
        alerts.body["items"].as_array().map(Vec::len),
        Some(1),
        "{}",
        alerts.body
    );
    site.end().await;
    let refused = Site::refused(&format!("{TASK}\nmonitor: {{segments: [{{by: Age}}]}}")).await;
    assert!(refused.contains("monitor.segments"), "{refused}");
}

/// Rows whose scores go evenly from 0.1 to 0.6; every tenth is of the other group, whose scores are greater within the
/// same range the smaller the power is.
fn ramp(count: usize, power: f32) -> Vec<Row> {
    let row = |index: usize| {
        let part = index as f32 / count as f32;
        match index.is_multiple_of(10) {
            true => Row(0.1 + 0.5 * part.powf(power), 1, false),
            false => Row(0.1 + 0.5 * part, 0, false),
        }
    };
    (0..count).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_drifts_is_named_where_all_rows_have_not() {
    let monitor = "monitor: {every: 1s, window: 1h, false_alarm_in: 50m, segments: [{by: Sex}]}";
    let site = Site::judged(&format!("{TASK}\n{monitor}")).await;
    site.answers("a", &ramp(1000, 1.0), 0).await;
    let path = "/api/v1/models/credit/versions/1/baseline";
    let made = site.call(Method::POST, path, r#"{"first":1000}"#).await;
    let segments = json!([
        {"by": "Sex", "value": "0.0", "rows": 900},
        {"by": "Sex", "value": "1.0", "rows": 100},
    ]);
    assert_eq!(made.body["segments"], segments, "{}", made.body);
    for request in 0..10 {
        site.answers(&format!("b{request}"), &ramp(1000, 0.25), 0)
            .await;
    }
    let alarm = site.alarm().await;
    let labels = &alarm["labels"];
    assert_eq!(
        (&labels["monitor"], &labels["segment"]),
        (&json!("drift"), &json!("Sex=1.0")),
        "{alarm}"
    );
    assert_eq!(alarm["evidence"]["reference_rows"], 100.0, "{alarm}");
    let summary = alarm["summary"].as_str().expect("a sentence");
    assert!(
        summary.contains("of credit:1 where Sex=1.0 has drifted: its values are"),
        "{summary}"
    );
    let drift = "/api/v1/models/credit/drift";
    let told = site.call(Method::GET, drift, "").await.body;
    assert_eq!(told["verdict"], "drift");
    let columns = told["columns"].as_array().expect("columns");
    assert!(columns.iter().all(|it| it["verdict"] != "drift"), "{told}");
    let moved = |segment: &Value| {
        let columns = segment["columns"].as_array().cloned();
        let names = columns.into_iter().flatten().map(|it| it["name"].clone());
        json!(names.collect::<Vec<_>>())
    };
    assert_eq!(moved(&told["segments"][0]), json!([]), "{told}");
    assert_ne!(moved(&told["segments"][1]), json!([]), "{told}");
    assert_eq!(told["segments"][1]["rows"], 1100);
    let alerts = site.call(Method::GET, "/api/v1/alerts", "").await.body;
    let alerts = alerts["items"].as_array().expect("alerts");
    let is_of_it = |it: &Value| it["labels"]["segment"] == "Sex=1.0";
    assert!(alerts.iter().all(is_of_it), "{alerts:?}");

    // A baseline of somebody who does not know of segments has none, and it is said what to do.
    let body = json!({"format": 1, "rows": 1000, "left_out": [], "columns": [
        {"name": "Sex", "levels": [], "counts": [1000], "missing": 0, "distinct": 1},
    ]});
    let set = site.call(Method::PUT, path, body.to_string()).await;
    assert_eq!(set.body["unsegmented"][0]["name"], "Sex", "{}", set.body);
    let told = site.call(Method::GET, drift, "").await.body;
    let why = told["unsegmented"][0]["why"].as_str().expect("a reason");
    assert!(why.contains("`windlass baseline credit:1 FILE`"), "{why}");
    assert!(told["segments"].is_null(), "{told}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_rows_have_is_no_alert_about_a_segment() {
    let monitor = "monitor: {every: 1s, window: 1h, false_alarm_in: 50m, segments: [{by: Sex}]}";
    let site = Site::judged(&format!("{TASK}\n{monitor}")).await;
    site.answers("a", &ramp(1000, 1.0), 0).await;
    let path = "/api/v1/models/credit/versions/1/baseline";
    let made = site.call(Method::POST, path, r#"{"first":1000}"#).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    let mut moved = ramp(1000, 1.0);
    for it in &mut moved {
        it.0 = 0.1 + 0.5 * ((it.0 - 0.1) / 0.5).powf(0.25);
    }
    for request in 0..10 {
        site.answers(&format!("b{request}"), &moved, 0).await;
    }
    site.alarm().await;
    let drift = "/api/v1/models/credit/drift";
    let told = site.call(Method::GET, drift, "").await.body;
    for segment in told["segments"].as_array().expect("segments") {
        assert_eq!(segment["columns"], json!([]), "{segment}");
        assert_eq!(segment["verdict"], "drift", "{segment}");
        let as_all = segment["as_all"].as_array().expect("columns");
        assert!(as_all.contains(&json!("score_bad")), "{segment}");
    }
    // Every finding of a look is there at once.
    let alerts = site.call(Method::GET, "/api/v1/alerts", "").await.body;
    let alerts = alerts["items"].as_array().expect("alerts");
    let of_all = |it: &Value| it["labels"]["segment"].is_null();
    assert!(
        !alerts.is_empty() && alerts.iter().all(of_all),
        "{alerts:?}"
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_demanded_must_be_a_metric_of_the_task() {
    let demand = |metric: &str| format!("{TASK}\nmonitor: {{quality: [{metric}]}}");
    let refused = Site::refused(&demand("{metric: mae, over: 1}")).await;
    assert!(
        refused.contains("`mae` is not a metric of the model's task"),
        "{refused}"
    );
    let refused = Site::refused(&demand("{metric: brier, under: 1}")).await;
    assert!(refused.contains("set `over`"), "{refused}");
}

/// Two groups of 200 rows: of the first 8 in 10 are called bad, of the other 2 in 10, and 5 in 10 are.
fn groups() -> Vec<Row> {
    let row = |index: usize| {
        let group = u8::from(index >= 200);
        let called = if group == 0 { 8 } else { 2 };
        let said = if index % 10 < called { 0.9 } else { 0.1 };
        Row(said, group, (index / 10).is_multiple_of(2))
    };
    (0..400).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_are_treated_otherwise_are_an_alert_without_labels() {
    let fair = "monitor: {every: 1s, window: 1h, fairness: {by: [Sex]}}";
    let site = Site::judged(&format!("{TASK}\n{fair}")).await;
    site.answers("a", &groups(), 100).await;
    let alarm = site.alarm().await;
    assert_eq!(alarm["labels"]["monitor"], "fairness", "{alarm}");
    assert_eq!(alarm["labels"]["subject"], "selection by Sex", "{alarm}");
    assert_eq!(alarm["labels"]["severity"], "ticket");
    let path = "/api/v1/models/credit/fairness?by=Sex";
    let told = site.call(Method::GET, path, "").await.body;
    let gap = &told["gaps"]["selection"];
    assert!((gap["gap"]["value"].as_f64().expect("a gap") - 0.6).abs() < 1e-9);
    assert_eq!(
        (&gap["least"], &gap["most"]),
        (&json!("Sex=1.0"), &json!("Sex=0.0"))
    );
    assert_eq!(gap["ratio"], 0.25);
    // One group has labels: there is nothing to compare with.
    assert_eq!(
        told["gaps"]["true_positive"]["left_out"],
        json!(["Sex=1.0"])
    );
    assert_eq!(told["provisional"], true);
    assert_eq!(told["groups"][1]["predictions"], 200);
    let path = "/api/v1/models/credit/fairness?by=Age";
    let refused = site.call(Method::GET, path, "").await;
    assert!(
        show(&refused).contains("no column `Age`"),
        "{}",
        refused.body
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_by_a_column_that_is_not_there_are_refused_with_the_version() {
    let refused = Site::refused(&format!("{TASK}\nmonitor: {{fairness: {{by: [Age]}}}}")).await;
    assert!(refused.contains("no column `Age`"), "{refused}");
    assert!(refused.contains("monitor.fairness.by"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_called_what_the_threshold_of_its_group_says() {
    let by_group =
        "scores: y, threshold: 0.5, by_group: {column: Sex, thresholds: {'0': 0.7, '1': 0.3}}}";
    let manifest = TASK.replace("scores: y}", by_group);
    let site = Site::judged(&manifest).await;
    let ask = async |path: &str, body: Value| {
        let reply = site.call(Method::POST, path, body.to_string()).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply
    };
    let rows = json!({"inputs": [
        {"name": "x", "datatype": "FP32", "shape": [3, 2], "data": [0.4, 0.6, 0.6, 0.4, 0.6, 0.4]},
        {"name": "g", "datatype": "FP32", "shape": [3, 1], "data": [0, 1, 2]},
    ]});
    let said = "Sex: 0 from 0.7, 1 from 0.3, others from 0.5";
    let told = ask("/v2/models/credit/infer", rows).await;
    assert_eq!(told.body["parameters"]["decision"], said);
    assert_eq!(told.headers["windlass-decision"], said);
    assert_eq!(told.body["outputs"][0]["data"][1], 0.6, "scores are left");
    let rows = json!({"instances": [{"x": [0.4, 0.6], "g": [1]}]});
    let told = ask("/v1/models/credit:predict", rows).await;
    assert_eq!(told.headers["windlass-decision"], "Sex: 1 from 0.3");
    let sql = "select class, threshold_group, threshold from credit order by time, row";
    let kept = ask("/api/v1/query", json!({"sql": sql})).await;
    assert_eq!(
        kept.body["rows"],
        json!([
            ["good", "0", 0.7],
            ["bad", "1", 0.3],
            ["good", null, 0.5],
            ["bad", "1", 0.3]
        ])
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_and_weights_are_found_from_labelled_rows() {
    let site = Site::judged(TASK).await;
    // Four in five are bad whatever was said: whichever rows are learned from, to call all of them so is right most often.
    let mut rows = groups();
    for (index, Row(_, _, bad)) in rows.iter_mut().enumerate() {
        *bad = !(index / 10).is_multiple_of(5);
    }
    site.answers("a", &rows, 400).await;
    let path = "/api/v1/models/credit/fairness/weights?by=Sex";
    let weights = site.call(Method::GET, path, "").await.body;
    // As many of each group are bad: nothing is to be weighed.
    assert_eq!(
        weights["weights"].as_array().map(Vec::len),
        Some(4),
        "{weights}"
    );
    assert_eq!(weights["weights"][0]["weight"], 1.0);
    let path = "/api/v1/models/credit/fairness/thresholds?by=Sex&criterion=selection";
    let found = site.call(Method::GET, path, "").await.body;
    assert_eq!(found["criterion"], "selection", "{found}");
    let rows = |name: &str| found[name].as_u64().expect("a number");
    assert_eq!(rows("learned") + rows("held_out"), 400);
    let gap = |name: &str| found[name]["gap"]["gap"]["value"].as_f64().expect("a gap");
    assert!(gap("before") > 0.4 && gap("after") < 0.1, "{found}");
    assert_eq!(found["task"]["by_group"]["column"], "Sex");
    for (query, want) in [
        (
            "by=Sex&criterion=equalised_odds",
            "`equalised_odds` are two",
        ),
        ("by=Sex,score_bad", "2 columns"),
        (
            "by=score_bad",
            "no input of one value a row, and no feature, named `score_bad`",
        ),
        ("by=Sex&support=300", "of no two values of `Sex`"),
    ] {
        let path = format!("/api/v1/models/credit/fairness/thresholds?{query}");
        let refused = show(&site.call(Method::GET, &path, "").await);
        assert!(refused.contains(want), "{refused}");
    }
    site.end().await;
}

/// Asks about ten numbers that the model says are true. Those from 1 on are off by about 1, others by a tenth.
async fn ask_about_numbers(site: &Site, number: usize) {
    let at = |row: usize| (number * 10 + row) * 617 % 1000;
    let values: Vec<f64> = (0..10).map(|row| at(row) as f64 / 500.0).collect();
    let count = values.len();
    let request = format!("r{number}");
    let record = json!({"id": request, "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [count, 1], "data": values},
    ]});
    let path = "/v2/models/credit/infer";
    let reply = site.call(Method::POST, path, record.to_string()).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    let label = |(row, value): (usize, &f64)| {
        let off = if *value < 1.0 { 0.1 } else { 1.0 };
        let about = 0.5 + (at(row) * 7 % 100) as f64 / 100.0;
        json!({"request_id": request, "row": row, "label": (value + off * about).to_string()})
    };
    let labels: Vec<Value> = values.iter().enumerate().map(label).collect();
    let path = "/api/v1/labels?model=credit";
    let reply = site
        .call(Method::POST, path, json!(labels).to_string())
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_numbers_that_is_estimated_to_be_far_off_is_an_alert() {
    let said = "input: x FP32 -1,1\noutput: y FP32 -1,1\ndoes: copy";
    let manifest = "serve: {batch: {rows_max: 1000}}\n\
                    task: {type: regression, value: y}\n\
                    monitor: {every: 1s, window: 1s, drift: {first_rows: 100}, \
                    quality: [{metric: mae, over: 0.3, support: 20}, {metric: rmse, over: 0.3, support: 20}]}";
    let site = Site::open().await;
    site.serve_with("credit", said, manifest).await;
    let mut number = 0;
    let end = tokio::time::Instant::now() + PATIENCE;
    let alarm = loop {
        ask_about_numbers(&site, number).await;
        number += 1;
        let listed = site.get("/api/v1/alerts").await;
        let items = listed["items"].as_array().expect("alerts").clone();
        let of = |it: &&Value| it["labels"]["monitor"] == "estimated_quality";
        if let Some(found) = items.iter().find(of) {
            break found.clone();
        }
        assert!(tokio::time::Instant::now() < end, "{listed}");
    };
    let subject = alarm["labels"]["subject"].as_str().expect("a metric");
    assert!(["mae", "rmse"].contains(&subject), "{alarm}");
    let evidence = &alarm["evidence"];
    // Half of them are off by 0.1 and half by 1; the root of the mean square is greater.
    let value = evidence["value"].as_f64().expect("a number");
    assert!((0.4..0.9).contains(&value), "{alarm}");
    assert_eq!(evidence["over"], 0.3, "{alarm}");
    assert!(evidence["tested_windows"].as_f64().expect("a number") >= 3.0);
    let summary = alarm["summary"].as_str().expect("a sentence");
    assert!(summary.contains("is estimated to be ") && summary.contains(", over 0.3 ("));
    site.end().await;
}
