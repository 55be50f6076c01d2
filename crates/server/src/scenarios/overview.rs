//! Every model as it is now.

use domain::alert::{Evidence, Fact, Finding, Severity, Verdict};
use domain::budget::Prices;
use store::registry::looks::Kind;

use super::*;
use crate::recent::Watch;

const OVERVIEW: &str = "/api/v1/overview";

fn found(monitor: &str, subject: &str, verdict: Verdict, numbers: &[(&str, f64)]) -> Finding {
    let number = |(name, it): &(&str, f64)| ((*name).to_owned(), Fact::Number(*it));
    Finding {
        model: "m".parse().expect("a name"),
        version: domain::Version::new(1),
        monitor: monitor.to_owned(),
        subject: subject.to_owned(),
        segment: None,
        verdict,
        severity: Severity::Ticket,
        summary: format!("`{subject}` is {}", verdict.name()),
        evidence: numbers.iter().map(number).collect::<Evidence>(),
    }
}

impl Site {
    async fn priced() -> Self {
        let fake = Fake::default();
        let folder = tempfile::tempdir().expect("a folder");
        let prices = Prices {
            currency: "EUR".to_owned(),
            cpu_hour: 3600.0,
            accelerator_hour: 0.0,
            memory_gib_hour: 0.0,
        };
        let config = Config {
            prices: Some(prices),
            ..config(&fake, folder.path(), Limits::default())
        };
        Self::of(fake, folder, config).await
    }

    /// Keeps findings of the model `m` as if its monitors had looked.
    async fn find(&self, findings: Vec<Finding>) {
        let name = "m".parse().expect("a name");
        let model = self.app.catalog.model(&name).expect("it is served");
        let running = model.traffic.as_ref().expect("traffic");
        crate::looks::keep(&self.app, running, Kind::Windows, findings).await;
    }

    async fn model(&self, name: &str) -> Value {
        self.get(&format!("{OVERVIEW}?model={name}")).await["models"][0].take()
    }

    async fn names(&self) -> Vec<String> {
        let all = self.get(OVERVIEW).await;
        let models = all["models"].as_array().expect("models").iter();
        let name = |it: &Value| {
            format!(
                "{} {}",
                it["name"].as_str().expect("a name"),
                it["attention"]
            )
        };
        models.map(name).collect()
    }

    async fn body(&self, path: &str) -> Body2 {
        let uri = format!("http://{}{path}", self.address);
        let request = Request::builder().uri(uri).body(Body::empty());
        let response = self.client.request(request.expect("valid")).await;
        response.expect("an answer").into_body()
    }

    async fn metrics(&self) -> String {
        let body = self.body("/metrics").await.collect().await;
        let bytes = body.expect("a body").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    /// Listens, and gives back what comes first.
    async fn hear(&self, path: &str) -> (String, Body2) {
        let mut body = self.body(path).await;
        let text = piece(&mut body).await.expect("an event");
        (text, body)
    }
}

type Body2 = hyper::body::Incoming;

/// What comes next that is an event; nothing where the stream ends.
async fn piece(body: &mut Body2) -> Option<String> {
    loop {
        let frame = body.frame().await?.ok()?;
        let bytes = frame.into_data().ok()?;
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        if text.starts_with("event:") {
            return Some(text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_told_with_all_that_is_known_of_it() {
    let site = Site::priced().await;
    site.serve("m", COPY).await;
    site.push("z", COPY, None).await;
    site.serve("a", COPY).await;
    let alias = json!({"version": 1, "why": "trial"}).to_string();
    let path = "/api/v1/models/m/aliases/next";
    assert_eq!(
        site.call(Method::PUT, path, alias).await.status,
        StatusCode::OK
    );
    for _ in 0..20 {
        assert_eq!(site.ask("m").await.status, StatusCode::OK);
    }
    // What the server's own task counts, too, at a time of its own; a point before the requests has no latency.
    let counted = |it: &Value| {
        let points = it["models"][0]["recent"]["points"].as_array()?;
        points.iter().find(|it| it["p50_ms"].is_number()).cloned()
    };
    let told = site.until(OVERVIEW, |it| counted(it).is_some()).await;
    assert_eq!(told["currency"], "EUR");
    assert!(told["at_ms"].is_number());
    let model = &told["models"][0];
    assert_eq!(model["name"], "m", "it is asked most: {told}");
    assert_eq!(model["state"], "ready");
    let all = json!([{"arm": "traffic", "version": 1, "percent": 100.0}]);
    assert_eq!(model["traffic"], all);
    assert_eq!(model["aliases"], json!([{"alias": "next", "version": 1}]));
    assert_eq!(model["recent"]["step_ms"], 10_000);
    let point = counted(&told).expect("a point");
    assert_eq!(point["error_rate"], 0.0);
    assert!(point["requests_per_s"].as_f64() > Some(0.0), "{point}");
    assert!(point["p99_ms"].as_f64() >= point["p50_ms"].as_f64());
    assert!(model["cost_per_1k"].as_f64() > Some(0.0), "{model}");
    for none in ["rollout", "quality", "drift", "why"] {
        assert!(model[none].is_null(), "{none}");
    }
    assert_eq!(
        (&model["attention"], &model["because"]),
        (&json!(0), &json!(""))
    );
    assert_eq!(site.names().await, ["m 0", "a 0", "z 0"]);
    assert_eq!(site.model("z").await["state"], "unloaded");
    let none = site.call(Method::GET, "/api/v1/overview?model=x", "").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_come_first_that_need_attention_most() {
    let site = Site::open().await;
    site.serve("m", COPY).await;
    site.serve("a", COPY).await;
    let before = site.get(OVERVIEW).await["revision"].clone();
    assert_eq!(site.names().await, ["a 0", "m 0"]);
    let numbers = [
        ("value", 0.8),
        ("low", 0.7),
        ("labelled", 50.0),
        ("predictions", 200.0),
        ("under", 0.6),
    ];
    site.find(vec![
        found("drift", "age", Verdict::Bad, &[]),
        found("drift", "sex", Verdict::Fine, &[]),
        found("quality", "roc_auc", Verdict::Unknown, &[]),
        found("quality", "accuracy", Verdict::Fine, &numbers),
        found(
            "estimated_quality",
            "roc_auc",
            Verdict::Fine,
            &[("value", 0.9), ("under", 0.8)],
        ),
    ])
    .await;
    assert_eq!(site.names().await, ["m 2", "a 0"]);
    let model = site.model("m").await;
    assert_eq!(model["because"], "`age` has drifted");
    let drift = &model["drift"];
    assert_eq!(
        (&drift["verdict"], &drift["drifted"], &drift["columns"]),
        (&json!("drift"), &json!(["age"]), &json!(2))
    );
    // The first headline that has a value, by labels or estimated.
    let quality = &model["quality"];
    assert_eq!(
        (&quality["metric"], &quality["value"], &quality["estimated"]),
        (&json!("roc_auc"), &json!(0.9), &json!(true)),
        "{quality}"
    );
    assert!(quality["coverage"].is_null(), "{quality}");
    assert_eq!(quality["verdict"], "fine", "{quality}");
    let after = site.get(OVERVIEW).await["revision"].clone();
    assert_ne!(after, before);
    assert_eq!(
        site.get(OVERVIEW).await["revision"],
        after,
        "nothing happened"
    );
    site.find(vec![
        found("quality", "accuracy", Verdict::Bad, &numbers),
        found("drift", "age", Verdict::Unknown, &[]),
    ])
    .await;
    let model = site.model("m").await;
    assert_eq!(model["because"], "`accuracy` is bad");
    assert_eq!(model["drift"]["verdict"], "not enough data");

    // What was found of another version is not told of this one.
    site.push("m", ADD, None).await;
    site.traffic("m", 2).await;
    let model = site.model("m").await;
    assert_eq!(model["attention"], 0, "{model}");
    assert!(model["quality"].is_null() && model["drift"].is_null());

    // An alert that fires, and requests that fail.
    let alert = Finding {
        severity: Severity::Page,
        ..found("latency", "", Verdict::Bad, &[])
    };
    site.app.alerts.report(vec![alert]).await;
    let fires = |it: &Value| it["models"][0]["alerts"][0].is_object();
    let told = site.until(OVERVIEW, fires).await;
    let model = &told["models"][0];
    assert_eq!(
        (
            &model["name"],
            &model["attention"],
            &model["alerts"][0]["state"]
        ),
        (&json!("m"), &json!(3), &json!("firing"))
    );
    let because = model["because"].as_str().expect("a sentence");
    assert!(because.starts_with("alert `latency` fires: "), "{because}");
    for _ in 0..30 {
        let wrong = site.call(Method::POST, "/v2/models/a/infer", "{}").await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(site.names().await[0], "m 3");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_waits_for_a_person_is_told_with_its_shares() {
    let site = Site::open().await;
    site.serve("m", COPY).await;
    site.push("m", ADD, None).await;
    let spec = json!({"shadow": "off", "steps": ["5%"], "approval": "each-step"});
    let start = json!({"version": 2, "spec": spec});
    let begun = site
        .call(Method::POST, "/api/v1/models/m/rollouts", start.to_string())
        .await;
    assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.body);
    let shared = |it: &Value| it["models"][0]["traffic"][1].is_object();
    let told = site.until(OVERVIEW, shared).await;
    let model = &told["models"][0];
    let shares: Vec<String> = model["traffic"]
        .as_array()
        .expect("shares")
        .iter()
        .map(|it| format!("{} {} {}", it["arm"], it["version"], it["percent"]))
        .collect();
    assert_eq!(
        shares,
        [
            "\"candidate\" 2 5.0",
            "\"incumbent\" 1 90.0",
            "\"control\" 1 5.0"
        ]
    );
    assert_eq!(model["rollout"]["candidate"], 2);
    assert_eq!(model["rollout"]["id"], begun.body["id"]);
    assert!(model["attention"].as_u64() >= Some(1), "{model}");
    let because = model["because"].as_str().expect("a sentence");
    assert!(because.starts_with("version 2 "), "{because}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_listen_hear_the_same_until_the_server_ends() {
    let mut site = Site::open().await;
    site.serve("m", COPY).await;
    let path = "/api/v1/overview/stream";
    let (first, mut one) = site.hear(path).await;
    let (other, mut two) = site.hear(path).await;
    // It is made once.
    let same = async { while piece(&mut one).await.expect("an event") != other {} };
    tokio::time::timeout(PATIENCE, same)
        .await
        .expect("both hear it");
    let data = first
        .strip_prefix("event: overview\ndata: ")
        .expect("an event");
    let told: Value = serde_json::from_str(data.trim()).expect("JSON");
    assert_eq!(told["models"][0]["name"], "m");
    let points = told["models"][0]["recent"]["points"].as_array();
    assert!(points.is_some_and(|it| !it.is_empty()), "{told}");
    // There is room for so many.
    let places = site.app.streams.available_permits();
    assert_eq!(places, 254, "256 is the limit");
    let counted = site.metrics().await;
    assert!(counted.contains("\nwindlass_listeners 2\n"), "{counted}");
    let rest = site
        .app
        .streams
        .try_acquire_many(places as u32)
        .expect("places");
    let full = site.call(Method::GET, path, "").await;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(rest);
    drop(site.stop.take());
    let ends =
        async { while piece(&mut one).await.is_some() || piece(&mut two).await.is_some() {} };
    tokio::time::timeout(PATIENCE, ends)
        .await
        .expect("they end with the server");
    site.ended.await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_models_are_told_of_at_once() {
    let site = Site::open().await;
    for index in 0..100 {
        site.push(&format!("m{index}"), COPY, None).await;
    }
    let mut watch = Watch::default();
    watch.look(&site.app);
    let told = site.get(OVERVIEW).await;
    assert_eq!(told["models"].as_array().map(Vec::len), Some(100));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_by_model_and_time_in_either_order() {
    let site = Site::open().await;
    site.serve("m", COPY).await;
    site.serve("n", COPY).await;
    site.push("m", ADD, None).await;
    site.traffic("m", 2).await;
    let ids = |page: &Value| -> Vec<i64> {
        let items = page["items"].as_array().expect("events").iter();
        items.map(|it| it["id"].as_i64().expect("an id")).collect()
    };
    let all = site.get("/api/v1/events").await;
    let mut every = ids(&all);
    assert!(every.is_sorted() && every.len() > 6, "{all}");
    let of_m = site.get("/api/v1/events?model=m").await;
    let items = of_m["items"].as_array().expect("events");
    assert!(items.iter().all(|it| it["model"] == "m"));
    assert_eq!(items[items.len() - 1]["kind"], "traffic");
    every.reverse();
    let newest = site.get("/api/v1/events?newest=true").await;
    assert_eq!(ids(&newest), every);
    let mut read = Vec::new();
    let mut path = "/api/v1/events?newest=true&model=m&limit=2".to_owned();
    loop {
        let page = site.get(&path).await;
        read.extend(ids(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/events?newest=true&model=m&limit=2&before={next}");
    }
    read.reverse();
    assert_eq!(read, ids(&of_m));
    // Of one kind or of several, of all models or of one: as if all had been read and the others left out.
    for (kinds, more) in [
        ("traffic", "&model=m"),
        ("traffic,version_created", ""),
        ("version_state", "&limit=2"),
        ("alias", ""),
        (
            "traffic,alias,version_created,traffic",
            "&newest=true&limit=3",
        ),
    ] {
        let some = site
            .get(&format!("/api/v1/events?kind={kinds}{more}"))
            .await;
        let items = all["items"].as_array().expect("events").iter();
        let is_asked = |it: &&Value| {
            let kind = it["kind"].as_str().expect("a kind");
            kinds.split(',').any(|asked| asked == kind)
                && (!more.contains("model=m") || it["model"] == "m")
        };
        let mut want: Vec<i64> = items
            .filter(is_asked)
            .map(|it| it["id"].as_i64().expect("an id"))
            .collect();
        if more.contains("newest") {
            want.reverse();
        }
        let limit = more.split_once("limit=").and_then(|it| it.1.parse().ok());
        want.truncate(limit.unwrap_or(usize::MAX));
        assert_eq!(ids(&some), want, "{kinds}{more}");
    }
    let wrong = site.call(Method::GET, "/api/v1/events?kind=alias,traffics", "");
    let said = show(&wrong.await);
    assert!(
        said.contains("no event is of kind `traffics`; the kinds are alert_action, alias, "),
        "{said}"
    );
    let none = site
        .get("/api/v1/events?from=2020-01-01&to=2020-01-02")
        .await;
    assert_eq!(ids(&none), [0; 0]);
    let some = site.get("/api/v1/events?from=1h&newest=true&limit=1").await;
    assert_eq!(ids(&some), every[..1]);
    for wrong in [
        "before=3",
        "newest=true&after=3",
        "newest=true&before=x",
        "from=x",
    ] {
        let path = format!("/api/v1/events?{wrong}");
        let refused = site.call(Method::GET, &path, "").await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    site.end().await;
}
