//! What rules do about alerts: it is done once, written down, outlives the server and can be taken back.

use super::*;

/// A manifest with one rule.
fn manifest(act: &str) -> String {
    format!(
        "serve: {{batch: {{rows_max: 4}}}}\nalerts: [{{name: bad, monitor: quality, act: [{act}]}}]"
    )
}

impl Site {
    /// Two versions of `m`, of which the second has the traffic and the rule.
    async fn two_versions(act: &str) -> Self {
        let site = Self::telling(&json!([])).await;
        site.serve("m", COPY).await;
        let pushed = site.push_with("m", ADD, &manifest(act)).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.body);
        assert_eq!(site.traffic("m", 2).await.status, StatusCode::OK);
        site
    }

    async fn acted(&self) -> Value {
        self.acted_after(&Value::Null).await
    }

    /// What was done after an action.
    async fn acted_after(&self, before: &Value) -> Value {
        let ended = |it: &Value| {
            let newest = &it["items"][0];
            let outcome = newest["outcome"].as_str();
            newest["id"] != *before && outcome.is_some_and(|it| it != "trying")
        };
        let actions = self.until("/api/v1/actions?model=m", ended).await;
        actions["items"][0].clone()
    }

    /// Waits until so many runs are held at once.
    async fn held(&self, runs: usize) {
        let fake = self.fake.clone();
        let waited = tokio::task::spawn_blocking(move || fake.wait_until_held(runs));
        waited.await.expect("held");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_rolls_back_once_and_it_can_be_taken_back() {
    let site = Site::two_versions("{do: rollback}").await;
    assert_eq!(show(&site.ask("m").await), "2 [2.0,3.0]");
    site.found(Verdict::Bad, 2).await;
    let action = site.acted().await;
    assert_eq!(
        (&action["outcome"], &action["from"], &action["to"]),
        (&json!("done"), &json!(2), &json!(1)),
        "{action}"
    );
    assert_eq!(action["evidence"], json!({"accuracy": 0.5}));
    assert_eq!(show(&site.ask("m").await), "1 [1.0,2.0]");
    let events = site.get("/api/v1/events?limit=1000").await;
    let last = |kind: &str| {
        let events = events["items"].as_array().expect("a list").iter();
        let found = events.rev().find(|it| it["kind"] == kind);
        found.expect("an event")["detail"].clone()
    };
    assert_eq!(
        last("traffic"),
        json!({"from": 2, "to": 1, "who": "alert bad", "why": "accuracy fell to 0.5"})
    );
    assert_eq!(last("alert_action")["evidence"], json!({"accuracy": 0.5}));
    let path = format!("/api/v1/actions/{}/reverse", action["id"]);
    let back = site.post(&path, json!({"who": "ann"})).await;
    assert_eq!(
        (&back["outcome"], &back["reversed"]["who"]),
        (&json!("reversed"), &json!("ann"))
    );
    assert_eq!(show(&site.ask("m").await), "2 [2.0,3.0]");
    let again = site.call(Method::POST, &path, "").await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    // Another incident on the same day is written down and not acted on.
    site.found(Verdict::Fine, 2).await;
    site.found(Verdict::Bad, 2).await;
    let path = format!("/api/v1/alerts/{}", site.alert().await);
    let not_done = |it: &Value| {
        let why = it["history"][0]["why"].as_str();
        why == Some("`rollback` is not done: it is done at most 1 per 1d")
    };
    let shown = site.until(&path, not_done).await;
    let kinds: Vec<&str> = shown["history"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|it| it["kind"].as_str())
        .collect();
    assert_eq!(
        kinds,
        ["action", "firing", "resolved", "action", "action", "firing"]
    );
    let folder = site.end().await;
    // It is all there after a restart, and nothing is done again.
    let site = Site::alerting(folder, receivers(&json!([]))).await;
    let listed = site.get("/api/v1/alerts").await;
    assert_eq!(listed["items"][0]["state"], "firing");
    assert_eq!(show(&site.ask("m").await), "2 [2.0,3.0]");
    assert_eq!(
        site.get("/api/v1/actions").await["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let site = Site::two_versions("{do: shift, to: '1', dry_run: true}").await;
    site.found(Verdict::Bad, 2).await;
    let action = site.acted().await;
    assert_eq!(
        (&action["outcome"], &action["from"], &action["to"]),
        (&json!("dry_run"), &json!(2), &json!(1)),
        "{action}"
    );
    assert_eq!(show(&site.ask("m").await), "2 [2.0,3.0]");
    site.end().await;
}

/// A model of which column `a` is from 0 to 10, and what a rule does about it.
fn ranged(act: &str) -> String {
    let inputs = "signature: {features: {x: [a, b]}}\nmonitor: {inputs: {columns: {a: {least: 0, greatest: 10}}}}";
    format!("{inputs}\n{}", manifest(act))
}

impl Site {
    async fn ranged(act: &str) -> Self {
        let site = Self::telling(&json!([])).await;
        site.serve_with("m", COPY, &ranged(act)).await;
        site
    }

    /// The status of a request with an `a` that is out of range.
    async fn out_of_range(&self) -> u16 {
        let body = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [11, 1]}]});
        let reply = self
            .call(Method::POST, "/v2/models/m/infer", body.to_string())
            .await;
        reply.status.as_u16()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_checked_more_strictly_until_that_is_taken_back() {
    let act = "{do: stricter_inputs, inputs: {range: refuse}, at_most: 2 per 1d}";
    let site = Site::ranged(act).await;
    assert_eq!(site.out_of_range().await, 200);
    site.found(Verdict::Bad, 1).await;
    let action = site.acted().await;
    assert_eq!(
        (&action["outcome"], &action["inputs"], &action["evidence"]),
        (
            &json!("done"),
            &json!({"range": "refuse"}),
            &json!({"accuracy": 0.5})
        ),
        "{action}"
    );
    // It is written down before it holds.
    let by = |it: &Value| it["stricter_by"] == json!([action["id"]]);
    let inputs = site.until("/api/v1/models/m/inputs", by).await;
    assert_eq!(inputs["rules"][0]["action"], "refuse", "{inputs}");
    assert_eq!(site.out_of_range().await, 400);
    // It is the model's and not the version's, and it outlives the server.
    let other = ranged(act).replace("rows_max: 4", "rows_max: 8");
    let pushed = site.push_with("m", COPY, &other).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.body);
    assert_eq!(site.traffic("m", 2).await.status, StatusCode::OK);
    assert_eq!(site.out_of_range().await, 400);
    let folder = site.end().await;
    let site = Site::alerting(folder, receivers(&json!([]))).await;
    assert_eq!(site.out_of_range().await, 400);
    // Done again it would change nothing, and says so.
    site.found(Verdict::Bad, 2).await;
    let again = site.acted_after(&action["id"]).await;
    assert_eq!(
        (&again["outcome"], &again["why"]),
        (
            &json!("failed"),
            &json!(
                "nothing about the inputs of m:2 would be stricter: they are checked as strictly already"
            )
        )
    );
    let path = format!("/api/v1/actions/{}/reverse", action["id"]);
    let back = site.post(&path, json!({"who": "ann"})).await;
    assert_eq!(back["outcome"], "reversed");
    assert_eq!(site.out_of_range().await, 200);
    let history = site.get("/api/v1/events?limit=1000").await;
    let last = history["items"].as_array().and_then(|it| it.last());
    assert_eq!(
        last.map(|it| &it["detail"]["why"]),
        Some(&json!(
            "`stricter_inputs` taken back by ann: no longer at least range refuse"
        ))
    );
    assert_eq!(site.call(Method::POST, &path, "").await.status, 409);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_makes_nothing_stricter() {
    let site = Site::ranged("{do: stricter_inputs, dry_run: true}").await;
    site.found(Verdict::Bad, 1).await;
    let action = site.acted().await;
    assert_eq!(
        (&action["outcome"], &action["inputs"]),
        (
            &json!("dry_run"),
            &json!({"range": "refuse", "missing": "refuse", "unseen": "refuse"})
        ),
        "{action}"
    );
    assert_eq!(site.out_of_range().await, 200);
    site.end().await;
}

impl Site {
    /// How many sessions a version has, and by which action.
    async fn sessions(&self, version: u32) -> (Value, Value) {
        let path = format!("/api/v1/models/m/versions/{version}");
        let mut serving = self.get(&path).await["serving"].take();
        (serving["instances"].take(), serving["scaled_by"].take())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_as_many_sessions_as_an_action_says_until_it_is_taken_back() {
    let site = Site::two_versions("{do: scale, instances: 3, at_most: 2 per 1d}").await;
    assert_eq!(site.sessions(2).await, (json!(1), Value::Null));
    site.found(Verdict::Bad, 2).await;
    let action = site.acted().await;
    assert_eq!(
        (&action["outcome"], &action["instances"]),
        (&json!("done"), &json!(3)),
        "{action}"
    );
    let scaled = (json!(3), action["id"].clone());
    assert_eq!(site.sessions(2).await, scaled);
    assert_eq!(show(&site.ask("m").await), "2 [2.0,3.0]");
    // It is the model's and not the version's, and it outlives the server.
    let alias = json!({"version": 1, "why": "test"}).to_string();
    let path = "/api/v1/models/m/aliases/other";
    let other = site.call(Method::PUT, path, alias).await;
    assert_eq!(other.status, StatusCode::OK, "{}", other.body);
    assert_eq!(site.sessions(1).await, scaled);
    let folder = site.end().await;
    let site = Site::alerting(folder, receivers(&json!([]))).await;
    assert_eq!(site.sessions(2).await, scaled);
    // Done again it would change nothing, and says so.
    site.found(Verdict::Bad, 1).await;
    let again = site.acted_after(&action["id"]).await;
    assert_eq!(
        (&again["outcome"], &again["why"]),
        (&json!("failed"), &json!("m:2 has 3 sessions already"))
    );
    let path = format!("/api/v1/actions/{}/reverse", action["id"]);
    let back = site.post(&path, json!({"who": "ann"})).await;
    assert_eq!(back["outcome"], "reversed");
    for version in [1, 2] {
        assert_eq!(site.sessions(version).await, (json!(1), Value::Null));
    }
    assert_eq!(show(&site.ask("m").await), "2 [2.0,3.0]");
    let history = site.get("/api/v1/events?limit=1000").await;
    let last = history["items"].as_array().and_then(|it| it.last());
    assert_eq!(
        last.map(|it| &it["detail"]["why"]),
        Some(&json!("`scale` taken back by ann: no longer 3 sessions"))
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_runs_does_not_notice_that_sessions_come_and_go() {
    let site = Site::telling(&json!([])).await;
    site.serve_with("m", HELD, &manifest("{do: scale, instances: 2}"))
        .await;
    let asked = async {
        let (first, ()) = tokio::join!(site.ask("m"), async {
            site.held(1).await;
            site.found(Verdict::Bad, 1).await;
            let action = site.acted().await;
            assert_eq!(action["outcome"], "done", "{action}");
            let (second, ()) = tokio::join!(site.ask("m"), async {
                // Beside the first, which has not ended.
                site.held(2).await;
                let path = format!("/api/v1/actions/{}/reverse", action["id"]);
                let back = site.post(&path, json!({"who": "ann"})).await;
                assert_eq!(back["outcome"], "reversed");
                site.fake.release(2);
            });
            assert_eq!(show(&second), "1 [1.0,2.0]");
        });
        assert_eq!(show(&first), "1 [1.0,2.0]");
    };
    asked.await;
    assert_eq!(site.sessions(1).await, (json!(1), Value::Null));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_being_loaded_follows_when_it_is_ready() {
    let act = "{do: scale, instances: 3}";
    let site = Site::two_versions(act).await;
    let pushed = site.push_with("m", HELD, &manifest(act)).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.body);
    let alias = json!({"version": 3, "why": "test"}).to_string();
    let path = "/api/v1/models/m/aliases/other";
    let (loaded, ()) = tokio::join!(site.call(Method::PUT, path, alias), async {
        site.held(1).await;
        // It has asked how many it is to have, and the action does not wait for it.
        site.found(Verdict::Bad, 2).await;
        let action = site.acted().await;
        assert_eq!(action["outcome"], "done", "{action}");
        site.fake.release(1);
    });
    assert_eq!(loaded.status, StatusCode::OK, "{}", loaded.body);
    let three = |it: &Value| it["serving"]["instances"] == 3;
    site.until("/api/v1/models/m/versions/3", three).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_have_so_many_sessions_is_loaded_with_its_own() {
    let act = "{do: scale, instances: 3}";
    let site = Site::two_versions(act).await;
    site.found(Verdict::Bad, 2).await;
    let action = site.acted().await;
    assert_eq!(action["outcome"], "done", "{action}");
    let few = format!("{COPY}\nsessions: 2");
    let pushed = site.push_with("m", &few, &manifest(act)).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.body);
    assert_eq!(site.traffic("m", 3).await.status, StatusCode::OK);
    assert_eq!(site.sessions(3).await.0, json!(1));
    assert_eq!(show(&site.ask("m").await), "3 [1.0,2.0]");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_makes_no_sessions() {
    let site = Site::two_versions("{do: scale, instances: 2, dry_run: true}").await;
    site.found(Verdict::Bad, 2).await;
    let action = site.acted().await;
    assert_eq!(
        (&action["outcome"], &action["instances"]),
        (&json!("dry_run"), &json!(2)),
        "{action}"
    );
    assert_eq!(site.sessions(2).await, (json!(1), Value::Null));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_written_down() {
    for (act, outcome, why) in [
        (
            "{do: scale, instances: 1}",
            "failed",
            "m:2 has 1 sessions already",
        ),
        (
            "{do: retrain}",
            "unavailable",
            "this server starts no training runs yet",
        ),
        (
            "{do: stricter_inputs}",
            "failed",
            "nothing about the inputs of m:2 would be stricter: neither a baseline nor `monitor.inputs` says what \
             they may hold",
        ),
        ("{do: shift, to: safe}", "failed", "no alias `m@safe`"),
        (
            "{do: shift, to: '2'}",
            "failed",
            "version 2 has the traffic already",
        ),
    ] {
        let site = Site::two_versions(act).await;
        site.found(Verdict::Bad, 2).await;
        let action = site.acted().await;
        assert_eq!(
            (&action["outcome"], &action["why"]),
            (&json!(outcome), &json!(why)),
            "{act}"
        );
        site.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_cannot_be_kept_is_refused_with_its_version() {
    let site = Site::telling(&json!([])).await;
    let refused = site.push_with("m", COPY, &manifest("{do: shift}")).await;
    assert_eq!(
        show(&refused),
        "422 \"`alerts[0].act[0].to`: `shift` needs a version or an alias\""
    );
    site.end().await;
}
