//! The monitors of series read what a real ledger has counted.

use domain::alert::Verdict;

use super::*;
use crate::monitors::anomaly;
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
    let pushed = site.push_with("m", COPY, manifest).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.body);
    let loaded = site.call(Method::POST, "/api/v1/models/m/load", "").await;
    assert_eq!(loaded.status, StatusCode::OK, "{}", loaded.body);
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
    site.end().await;
}
