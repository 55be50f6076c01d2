//! What monitors found is kept, by look.

use super::*;

const TASK: &str = "serve: {batch: {rows_max: 1000}}\n\
                    task: {type: binary, classes: [good, bad], positive: bad, scores: y}\n\
                    monitor: {every: 1s, window: 1h, quality: [{metric: accuracy, under: 0.7}], \
                    objectives: [{name: works, kind: errors, target: 99}]}";
const FINDINGS: &str = "/api/v1/models/m/findings";

fn names(page: &Value) -> Vec<String> {
    let looks = page["items"].as_array().expect("looks").iter();
    let of = |it: &Value| {
        let findings = it["findings"].as_array().expect("findings");
        let name = |it: &Value| {
            let text = |name: &str| it[name].as_str().expect("a text").to_owned();
            format!(
                "{} {} {}",
                text("monitor"),
                text("subject"),
                text("verdict")
            )
        };
        findings.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    looks.map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_monitors_found_is_kept_until_the_model_goes() {
    let site = Site::open().await;
    site.serve_with("m", COPY, TASK).await;
    let of = |monitor: &str| format!("{FINDINGS}?monitor={monitor}");
    let some = |it: &Value| it["items"][0].is_object();
    let twice = |it: &Value| it["items"][1].is_object();
    let series = site.until(&of("slo"), some).await;
    // A second goes by between looks of the others; this one says the same again each time.
    let looks = site.until(&of("quality"), twice).await;
    assert_eq!(names(&series), ["slo works unknown"]);
    assert_eq!(names(&site.get(&of("slo")).await), ["slo works unknown"]);
    let newest = &looks["items"][0];
    assert_eq!(names(&looks)[0], "quality accuracy unknown");
    assert_eq!(newest["version"], 1);
    let (found, under) = (&newest["findings"][0], json!(0.7));
    assert_eq!(found["evidence"]["under"], under, "{found}");
    let summary = found["summary"].as_str().expect("a sentence");
    assert!(
        summary.starts_with("`accuracy` of m:1: no window"),
        "{summary}"
    );
    let id = &newest["id"];
    let before = site.get(&format!("{}&before={id}", of("quality"))).await;
    assert_eq!(before["items"][0], looks["items"][1]);
    let page = site.get(&format!("{FINDINGS}?limit=1&before={id}")).await;
    assert_eq!(page["next"], page["items"][0]["id"].to_string());
    let none = "?subject=mae";
    assert_eq!(
        names(&site.get(&format!("{FINDINGS}{none}")).await),
        [""; 0]
    );
    let at = |ms: &Value| {
        let shown = domain::time::show_moment(ms.as_i64().expect("a time") * 1000);
        shown.replace(' ', "T")
    };
    let to = at(&newest["at_ms"]);
    let older = site.get(&format!("{}&to={to}", of("quality"))).await;
    assert!(older["items"][0]["id"].as_i64() < id.as_i64(), "{older}");
    let wrong = site
        .call(Method::GET, &format!("{FINDINGS}?from=x"), "")
        .await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);

    // It outlives the process, and a new one finds it there.
    let folder = site.end().await;
    let site = Site::at(folder, Limits::default()).await;
    let kept = site.get(&format!("{}&before={id}", of("quality"))).await;
    assert_eq!(kept["items"][0], looks["items"][1]);
    let name: domain::ModelName = "m".parse().expect("a name");
    let monitors: Vec<String> = site.app.looks.newest()[&name]
        .keys()
        .map(|(_, monitor)| monitor.clone())
        .collect();
    assert!(monitors.contains(&"quality".to_owned()), "{monitors:?}");
    let gone = site.call(Method::DELETE, "/api/v1/models/m", "").await;
    assert_eq!(gone.status, StatusCode::OK, "{}", gone.body);
    assert!(site.app.looks.newest().is_empty());
    let none = site.call(Method::GET, FINDINGS, "").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    site.end().await;
}
