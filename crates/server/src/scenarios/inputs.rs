//! What requests may hold: refused, warned of or counted, over both protocols, and told as an alert.

use arrow::array::{ArrayRef, Float32Array, RecordBatch};

use super::*;

const THREE: &str = "input: x FP32 -1,3\noutput: y FP32 -1,3\ndoes: copy";
const SAID: &str = "signature: {features: {x: [a, b, c]}}\nserve: {batch: {rows_max: 4}}\n";

impl Site {
    async fn serve_three(&self, manifest: &str) {
        let manifest = format!("{SAID}{manifest}");
        self.serve_with("m", THREE, &manifest).await;
    }

    /// `null` is NaN.
    async fn ask_rows(&self, rows: &Value) -> Reply {
        let rows_count = rows.as_array().map_or(0, Vec::len);
        let data: Vec<Value> = rows
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|it| it.as_array().cloned().unwrap_or_default())
            .map(|it| if it.is_null() { json!("NaN") } else { it })
            .collect();
        let body = json!({"inputs": [
            {"name": "x", "datatype": "FP32", "shape": [rows_count, 3], "data": data}
        ]});
        self.call(Method::POST, "/v2/models/m/infer", body.to_string())
            .await
    }

    /// `COLUMN RULE ROWS` of all that was found, behind the rows looked at.
    async fn inputs_found(&self) -> String {
        let record = self.get("/api/v1/models/m/inputs").await;
        let rules = record["rules"].as_array().cloned().unwrap_or_default();
        let mut parts = vec![record["rows"].to_string()];
        for it in rules.iter().filter(|it| it["rows"] != 0) {
            let column = it["column"].as_str().unwrap_or("rows");
            let rule = it["rule"].as_str().unwrap_or("?");
            parts.push(format!("{column} {rule} {}", it["rows"]));
        }
        parts.join(", ")
    }

    async fn baseline(&self, columns: [(&str, Vec<f32>); 3]) {
        let arrays = columns.map(|(name, values)| {
            let values: ArrayRef = Arc::new(Float32Array::from(values));
            (name, values)
        });
        let batch = RecordBatch::try_from_iter(arrays).expect("columns");
        let body = crate::drift::Rows::Batch(&batch)
            .baseline(1, &[])
            .expect("a baseline");
        let path = "/api/v1/models/m/versions/1/baseline";
        let reply = self.call(Method::PUT, path, body).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_owner_says_of_a_column_holds_without_a_baseline() {
    let site = Site::open().await;
    let said = "monitor: {inputs: {duplicate: refuse, columns: {\
                a: {range: refuse, least: 0, greatest: 10}, b: {missing: warn}, c: {range: warn, greatest: 5}}}}";
    site.serve_three(said).await;
    let fine = site.ask_rows(&json!([[0, 1, 2], [10, 1, 2]])).await;
    assert_eq!(fine.status, StatusCode::OK, "{}", fine.body);
    assert!(!fine.headers.contains_key("windlass-warning"));
    let refused = site.ask_rows(&json!([[1, 1, 2], [11, 1, 6]])).await;
    assert_eq!(
        show(&refused),
        "400 row 1 of `a` is `11`, want a number from 0 to 10; `windlass inputs MODEL` shows what is expected; \
         `monitor: {inputs: ...}` of its windlass.yaml says it"
    );
    assert_eq!(refused.headers["windlass-code"], "unexpected_value");
    let twice = site.ask_rows(&json!([[1, 1, 2], [1, 1, 2]])).await;
    assert_eq!(twice.headers["windlass-code"], "unexpected_row");
    let warned = site.ask_rows(&json!([[1, null, 7]])).await;
    assert_eq!(warned.status, StatusCode::OK, "{}", warned.body);
    let sentence =
        "row 0 of `b` is missing, want a value; row 0 of `c` is `7`, want a number of at most 5";
    assert_eq!(warned.headers["windlass-warning"], sentence);
    assert_eq!(warned.body["parameters"]["warning"], sentence);
    let rows = json!({"instances": [[1, 1, 6]]}).to_string();
    let warned = site.call(Method::POST, "/v1/models/m:predict", rows).await;
    assert_eq!(
        warned.headers["windlass-warning"],
        "row 0 of `c` is `6`, want a number of at most 5"
    );
    assert_eq!(
        site.inputs_found().await,
        "8, a range 1, b missing 1, c range 3, rows duplicate 1"
    );
    let sql = json!({"sql": "select a, code from m where code is not null"});
    let rows = site
        .call(Method::POST, "/api/v1/query", sql.to_string())
        .await;
    let text = rows.body.to_string();
    assert!(
        text.contains("unexpected_value") && text.contains("unexpected_row") && text.contains("11"),
        "{text}"
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_the_model_does_not_have_is_refused_at_the_push() {
    let site = Site::open().await;
    for (said, want) in [
        (
            "monitor: {inputs: {columns: {Income: {least: 0}}}}",
            "`monitor.inputs.columns.Income`: the model has no such input column; it has `a`, `b`, `c`",
        ),
        (
            "monitor: {inputs: {columns: {a: {levels: [x]}}}}",
            "`monitor.inputs.columns.a`: it is FP32, which has no levels",
        ),
        (
            "monitor: {inputs: {columns: {a: {leest: 1}}}}",
            "`leest`: windlass.yaml:3: not a setting",
        ),
    ] {
        let reply = site.push_with("m", THREE, &format!("{SAID}{said}")).await;
        assert_eq!(
            reply.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{}",
            reply.body
        );
        assert!(show(&reply).contains(want), "{}", show(&reply));
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_baseline_holds_at_once_and_after_a_restart() {
    let site = Site::open().await;
    site.serve_three("monitor: {inputs: {range: refuse}}").await;
    let rows = json!([[1, 5, 9]]);
    assert_eq!(site.ask_rows(&rows).await.status, StatusCode::OK);
    let some_missing = vec![0.0, f32::NAN, 9.0, 9.0];
    site.baseline([
        ("a", vec![1.0, 1.0, 2.0, 2.0]),
        ("b", vec![0.0, 0.5, 4.0, 4.0]),
        ("c", some_missing.clone()),
    ])
    .await;
    let refused = site.ask_rows(&rows).await;
    assert!(
        show(&refused).starts_with("400 row 0 of `b` is `5`, want a number from 0 to 4;"),
        "{}",
        show(&refused)
    );
    // As the reference has some: counted, and shown to be tolerated.
    let missing = site.ask_rows(&json!([[null, 1, null]])).await;
    assert_eq!(missing.status, StatusCode::OK, "{}", missing.body);
    assert_eq!(
        site.inputs_found().await,
        "3, a missing 1, b range 1, c missing 1"
    );
    let uri = format!("http://{}/metrics", site.address);
    let metrics = site.client.get(uri.parse().expect("valid")).await;
    let metrics = metrics.expect("an answer").into_body().collect().await;
    let metrics = metrics.expect("a body").to_bytes();
    let metrics = String::from_utf8_lossy(&metrics);
    for (rule, count) in [("range", 1), ("missing", 1), ("duplicate", 0)] {
        let want = format!(
            "windlass_input_violations_total{{model=\"m\",version=\"1\",rule=\"{rule}\"}} {count}\n"
        );
        assert!(metrics.contains(&want), "{want}");
    }
    site.baseline([
        ("a", vec![1.0, 1.0, 2.0, 2.0]),
        ("b", vec![0.0, 0.5, 6.0, 6.0]),
        ("c", some_missing),
    ])
    .await;
    assert_eq!(site.ask_rows(&rows).await.status, StatusCode::OK);
    let folder = site.end().await;
    let site = Site::at(folder, Limits::default()).await;
    let refused = site.ask_rows(&json!([[1, 7, 9]])).await;
    assert_eq!(refused.headers["windlass-code"], "unexpected_value");
    assert_eq!(site.inputs_found().await, "1, b range 1");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_of_it_than_in_the_reference_is_an_alert() {
    let site = Site::open().await;
    let said =
        "monitor: {every: 1s, inputs: {rows_min: 10, columns: {a: {least: 0}, b: {least: 0}}}}";
    site.serve_three(said).await;
    let row = |it: i32| json!([if it % 2 == 0 { -1 } else { it }, 1, 2]);
    let rows: Vec<Value> = (0..40).map(row).collect();
    assert_eq!(site.ask_rows(&json!(rows)).await.status, StatusCode::OK);
    let there = |it: &Value| it.to_string().contains("data_quality");
    let alerts = site.until("/api/v1/alerts", there).await.to_string();
    assert!(
        alerts.contains(
            "50.0% of 40 rows asked of m:1 have a `a` that is not a number of at least 0"
        ),
        "{alerts}"
    );
    assert!(!alerts.contains("`b`"), "{alerts}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_it_is_the_same() {
    use wire::proto::inference as pb;
    use wire::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
    let site = Site::open().await;
    let said =
        "monitor: {inputs: {columns: {a: {range: refuse, least: 0}, b: {range: warn, least: 0}}}}";
    site.serve_three(said).await;
    let router = crate::grpc::router(&site.app).expect("a router");
    let mut client = GrpcInferenceServiceClient::new(router);
    let mut ask = async |numbers: [f32; 3]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
        let request = pb::ModelInferRequest {
            model_name: "m".to_owned(),
            inputs: vec![pb::model_infer_request::InferInputTensor {
                name: "x".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![1, 3],
                ..Default::default()
            }],
            raw_input_contents: vec![bytes.into()],
            ..Default::default()
        };
        client.model_infer(request).await
    };
    let status = ask([-1.0, 1.0, 2.0]).await.expect_err("refused");
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(
        status.metadata().get("windlass-code").expect("a code"),
        "unexpected_value"
    );
    let warned = ask([1.0, -1.0, 2.0]).await.expect("an answer");
    let sentence = "row 0 of `b` is `-1`, want a number of at least 0";
    assert_eq!(
        warned
            .metadata()
            .get("windlass-warning")
            .expect("a warning"),
        sentence
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_was_not_useful_widens_its_margin() {
    let site = Site::open().await;
    site.serve_three("monitor: {drift: {margin: 0.2}}").await;
    let ramp: Vec<f32> = (0..500).map(|it| it as f32).collect();
    site.baseline([("a", ramp.clone()), ("b", ramp.clone()), ("c", ramp)])
        .await;
    site.ask_rows(&json!([[1, 2, 3]])).await;
    let found = |subject: &str| domain::alert::Finding {
        model: "m".parse().expect("a name"),
        version: domain::Version::new(1),
        monitor: "drift".to_owned(),
        subject: subject.to_owned(),
        segment: None,
        verdict: domain::alert::Verdict::Bad,
        severity: domain::alert::Severity::Ticket,
        summary: format!("`{subject}` has drifted"),
        evidence: domain::alert::Evidence::new(),
    };
    site.app.alerts.report(vec![found("a")]).await;
    let listed = site.get("/api/v1/alerts").await;
    let id = listed["items"][0]["id"]
        .as_str()
        .expect("an alert")
        .to_owned();
    let margin = async |query: &str| {
        let path = format!("/api/v1/models/m/drift{query}");
        let drift = site.get(&path).await;
        let columns = drift["columns"].as_array().cloned().unwrap_or_default();
        let of = |name: &str| {
            let column = columns.iter().find(|it| it["name"] == name);
            let column = column.unwrap_or_else(|| panic!("{drift}"));
            let effects = column["effects"].as_array().cloned().unwrap_or_default();
            let missing = effects.iter().find(|it| it["question"] == "missing");
            // Cohen's h has the margin in its own unit.
            let margin = missing
                .and_then(|it| it["margin"].as_f64())
                .expect("a margin");
            (margin, column["widened"].as_f64())
        };
        (of("a"), of("b"))
    };
    let plain = (0.2, None);
    assert_eq!(margin("").await, (plain, plain));
    for (useful, want) in [(false, 0.25), (true, 0.2)] {
        let said = json!({"useful": useful}).to_string();
        let path = format!("/api/v1/alerts/{id}/feedback");
        let reply = site.call(Method::POST, &path, said).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        let (a, b) = margin("").await;
        assert!((a.0 - want).abs() < 1e-6, "{a:?}");
        assert_eq!((a.1.is_some(), b), (!useful, plain));
        // What is asked for is what is meant.
        assert_eq!(margin("?margin=0.2").await, (plain, plain));
    }
    site.end().await;
}
