//! What is answered to who asks why.

use domain::alert::act::{Plan, Step};
use domain::alert::{Evidence, Fingerprint, Incident, Moment};
use store::registry::LIST_MAX;

use super::*;
use crate::clock::wall_ms;

impl Site {
    async fn moment(&self, query: &str) -> Reply {
        let path = format!("/api/v1/models/m/why/moment{query}");
        self.call(Method::GET, &path, "").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_that_may_be_missing_are_said_to_be() {
    let site = Site::open().await;
    site.serve("m", COPY).await;
    let plan = Plan {
        model: "m".parse().expect("a name"),
        rule: "act".to_owned(),
        fingerprint: Fingerprint(1),
        incident: Incident(0),
        step: Step::Retrain,
        dry_run: false,
        evidence: Evidence::new(),
        why: "a test".to_owned(),
    };
    let registry = &site.app.store.registry;
    let begin = async |ms_ago: i64| {
        let at = Moment(wall_ms() - ms_ago);
        registry.begin_action(&plan, at).await.expect("begun");
    };
    let unjudged = async || {
        let reply = site.moment("").await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        let all = reply.body["unjudged"].as_array().expect("a list").clone();
        all.iter().any(|it| it["name"] == "actions")
    };
    // As long as the oldest that is listed is older than the window, none is missing.
    begin(7_200_000).await;
    for _ in 1..LIST_MAX {
        begin(60_000).await;
    }
    assert!(!unjudged().await);
    begin(60_000).await;
    assert!(unjudged().await);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_before_of_too_many_spans_is_refused() {
    let site = Site::open().await;
    site.serve("m", COPY).await;
    let most = site.moment("?before=31d").await;
    assert_eq!(most.status, StatusCode::OK, "{}", most.body);
    let refused = site.moment("?before=31d&window=1s").await;
    let said = show(&refused);
    assert!(
        said.starts_with("400 \"`before` cannot be read: `31d` has"),
        "{said}"
    );
    site.end().await;
}
