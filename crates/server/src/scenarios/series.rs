//! The monitors of series read what a real ledger has counted.

use domain::alert::Verdict;

use super::*;
use crate::monitors::{anomaly, slo};
use crate::running::Running;

impl Site {
    fn running(&self, name: &str) -> Arc<Running> {
        let models = self.app.catalog.models();
        let mut found = models.iter().filter(|(model, _)| model.as_str() == name);
        let (_, model) = found.next().expect("a model");
        Arc::clone(model.traffic.as_ref().expect("traffic"))
    }
}

/// A minute after now, in microseconds.
fn soon_us() -> i64 {
    crate::clock::wall_ms() * 1000 + 60_000_000
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_looked_at_span_by_span() {
    let site = Site::open().await;
    let manifest = "monitor: {anomaly: {span: 1m, rows_min: 1}}";
    site.serve_with("m", COPY, manifest).await;
    let running = site.running("m");
    for _ in 0..3 {
        assert_eq!(site.ask("m").await.status, StatusCode::OK);
    }
    let mut watch = anomaly::Watch::new(0);
    let now_us = soon_us();
    // The weeks before are read a day at a look.
    for _ in 0..35 {
        let found = watch.look(&site.app, &running, now_us).await;
        assert_eq!(found.expect("a look"), []);
    }
    let found = watch.look(&site.app, &running, now_us).await;
    assert_eq!(found.expect("a look"), [], "no span has ended since");
    let next = watch.look(&site.app, &running, now_us + 60_000_000).await;
    let next = next.expect("a look");
    let subjects: Vec<&str> = next.iter().map(|it| it.subject.as_str()).collect();
    // Nothing has a price.
    assert_eq!(subjects, ["latency", "errors", "traffic"]);
    assert!(next.iter().all(|it| it.verdict == Verdict::Unknown));
    // What was answered is there, and so is that nothing was.
    assert_eq!(watch.rows(&running.model), 3);
    // A server does not end before who holds a version lets it go.
    drop(running);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_objective_burns_where_answers_are_slow() {
    let site = Site::open().await;
    // Nothing is answered in a microsecond.
    let manifest = "monitor: {objectives: [\
        {name: fast, kind: latency, target: 99, under: 1us}, \
        {name: works, kind: errors, target: 99}]}";
    site.serve_with("m", COPY, manifest).await;
    let running = site.running("m");
    for _ in 0..100 {
        assert_eq!(site.ask("m").await.status, StatusCode::OK);
    }
    let mistake = site.call(Method::POST, "/v2/models/m/infer", "{}").await;
    assert_eq!(mistake.status, StatusCode::BAD_REQUEST);
    let mut watch = slo::Watch::default();
    let now_us = crate::clock::wall_ms() * 1000;
    let found = watch
        .look(&site.app, &running, now_us)
        .await
        .expect("a look");
    let all: Vec<String> = found
        .iter()
        .map(|it| {
            format!(
                "{} {:?} {:?} {}",
                it.subject, it.verdict, it.severity, it.summary
            )
        })
        .collect();
    assert_eq!(
        all,
        [
            "fast Bad Page objective `fast` of m burns: 100.0 times what 99 % allows in 1h and \
             100.0 times in 5m, where 14.4 times is too fast",
            "works Fine Page objective `works` of m is kept",
        ]
    );
    let again = watch.look(&site.app, &running, now_us).await;
    assert_eq!(again.expect("a look"), [], "a minute has not passed");
    let later = watch.look(&site.app, &running, now_us + 60_000_000).await;
    let later = later.expect("a look");
    assert_eq!(later[0].verdict, Verdict::Bad, "what was read is kept");
    drop(running);
    site.end().await;
}
