//! What a rollout is measured by, from answers to evidence.

use std::time::Duration;

use domain::alert::Moment;
use domain::request::NamedTensor;
use domain::rollout::command::Person;
use domain::rollout::evidence::Verdict;
use domain::rollout::plan::Ask;
use domain::rollout::recorded::Recorded;
use domain::rollout::{Plan, Rollout};
use domain::{Elements, Tensor, Version};

use super::quality::{SAID, TASK, rows};
use super::*;
use crate::clock::wall_ms;
use crate::ledger::{Asked, Asker};
use crate::rollouts::evidence::Watch;
use crate::running::Running;

/// It fails where it is asked for another number than 0.
const LOOKUP: &str = "input: i INT64 -1,1\noutput: y FP32 -1,1\ndoes: lookup 7";

async fn ask_as(running: &Running, arm: &str, number: i64) {
    let tensor = Tensor::new(vec![1, 1], Elements::from_slice(&[number])).expect("it fits");
    let inputs = vec![NamedTensor {
        name: "i".to_owned(),
        tensor,
    }];
    let asked = Asked {
        asker: Asker {
            headers: &http::HeaderMap::new(),
            request_id: None,
            timeout: None,
        },
        arm,
        key: None,
    };
    if arm == "shadow" {
        let id = uuid::Uuid::now_v7();
        let answered = running.answer_unheard(inputs, id, arm, None).await;
        return answered.expect("it can");
    }
    let answer = running.answer(inputs, &[], &asked).await;
    assert_eq!(answer.is_ok(), number == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_by_arms_is_evidence() {
    let site = Site::open().await;
    site.serve("m", LOOKUP).await;
    assert_eq!(
        site.push("m", &LOOKUP.replace("7", "8"), None).await.body["version"],
        2
    );
    site.post("/api/v1/models/m/load", json!({"version": 2}))
        .await;
    let version = |number| Version::new(number).expect("not zero");
    let running = |number| {
        let name = "m".parse().expect("a name");
        let model = site.app.catalog.model(&name).expect("a model");
        Arc::clone(&model.ready[&version(number)])
    };
    let (incumbent, candidate) = (running(1), running(2));
    let tests = r#"{"metric":"error_rate","worse_by":"1pp"},{"metric":"latency","over":"60s","allow":"50%"}"#;
    let plan = Plan::new(
        Ask {
            id: "r-1".parse().expect("an id"),
            model: "m".parse().expect("a name"),
            incumbent: Some(version(1)),
            candidate: version(2),
            signatures: (&incumbent.signature, &candidate.signature),
            spec: serde_json::from_str(&format!(r#"{{"guardrails":[{tests}]}}"#)).expect("a spec"),
            recorded: Recorded {
                ledger: true,
                prices: false,
                task: None,
                columns: None,
                posted: &[],
                latency: None,
                labelled: 0,
            },
            person: Person {
                who: "ann".to_owned(),
                why: String::new(),
            },
            now: Moment(wall_ms() - 1_000),
        },
        None,
    );
    let rollout = Rollout::new(plan.expect("it can be done"));
    let mut watch = Watch::new(&rollout.plan);
    for number in 0..40 {
        ask_as(&incumbent, "control", 0).await;
        ask_as(&candidate, "candidate", number % 2).await;
        ask_as(&candidate, "shadow", 0).await;
        ask_as(&incumbent, "traffic", 0).await;
    }
    // All of it is over by then, and has been for longer than a request may take.
    let now = Moment(wall_ms()).after(Duration::from_secs(100));
    let evidence = watch.look(&site.app, &rollout, 0, now).await;
    assert_eq!((evidence.keys, evidence.shadowed), (40, 40));
    let split = evidence.split.expect("a split");
    assert_eq!((split.candidate, split.control), (40, 40));
    let [errors, latency] = &evidence.tests[..] else {
        panic!("{evidence:?}");
    };
    let control = errors.control.expect("a control");
    assert_eq!(
        (errors.candidate.n, errors.candidate.events),
        (40, Some(20))
    );
    assert_eq!((control.n, control.events), (40, Some(0)));
    // One window or two: there are no rates yet on which to bet.
    assert_eq!(errors.verdict, Verdict::Inconclusive);
    assert_eq!(latency.candidate.events, Some(20));
    let again = watch.look(&site.app, &rollout, 0, now).await;
    assert_eq!(again, evidence);
    drop((incumbent, candidate));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_candidate_says_in_the_shadow_is_compared_with_what_callers_hear() {
    let site = Site::open().await;
    site.serve("m", COPY).await;
    assert_eq!(site.push("m", ADD, None).await.body["version"], 2);
    let third = ADD.replace("add 1", "add 3");
    assert_eq!(site.push("m", &third, None).await.body["version"], 3);
    let begin = async |version: u32, shadow: Value| {
        let start = json!({
            "version": version,
            "spec": {"shadow": shadow, "approval": "each-step"},
            "supersede": true,
        });
        let path = "/api/v1/models/m/rollouts";
        let begun = site.call(Method::POST, path, start.to_string()).await;
        assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.body);
        format!(
            "/api/v1/rollouts/{}",
            begun.body["id"].as_str().expect("an id")
        )
    };
    let path = begin(2, json!({"sample": "100%"})).await;
    site.until(&path, |it| it["state"] == "shadow").await;
    for _ in 0..20 {
        assert_eq!(show(&site.ask("m").await), "1 [1.0,2.0]");
    }
    let told = site
        .until(&format!("{path}/shadow"), |it| it["pairs"] == 20)
        .await;
    assert_eq!((&told["changed"], &told["units"]), (&json!(20), &json!(20)));
    assert_eq!(told["largest"][0]["candidate"], "2.000000");
    // Outputs that no task names are compared and not subtracted, and nothing tells slices of one input apart.
    assert_eq!(told["difference"], Value::Null);
    assert_eq!(told["moved"]["verdict"], "not enough data");
    assert_eq!(told["latency"].as_array().map(Vec::len), Some(2));
    let off = begin(3, json!("off")).await;
    let refused = site.call(Method::GET, &format!("{off}/shadow"), "").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
    let listed = site.get("/api/v1/rollouts?model=m").await;
    let percents: Vec<&Value> = (0..2)
        .map(|it| &listed["items"][it]["shadow_percent"])
        .collect();
    assert_eq!(percents, [&Value::Null, &json!(100.0)]);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_scores_mean_is_learned_before_the_first_step_or_said_to_be_unknown() {
    let site = Site::judged(TASK).await;
    // The first says the same; the second knows none of the classes that labels name, so that it is always wrong; the
    // third cannot answer.
    let others = TASK.replace("[good, bad], positive: bad", "[ok, ko], positive: ko");
    let fails = SAID.replace("does: copy", "does: fail today");
    assert_ne!(fails, SAID);
    let same = format!("{TASK}\nledger: {{retain: 9d}}");
    for (model, manifest) in [(SAID, &same), (SAID, &others), (&fails, &same)] {
        let pushed = site.push_with("credit", model, manifest).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.body);
    }
    let begin = async |version: u32| {
        let start = json!({"version": version, "supersede": true, "spec": {
            "shadow": "off", "steps": ["50%"], "signals": [],
            "guardrails": [{"metric": "estimated.accuracy", "worse_by": "1pp"}],
        }});
        let path = "/api/v1/models/credit/rollouts";
        site.call(Method::POST, path, start.to_string()).await
    };
    site.answers("a", &rows(300, 8), 300).await;
    site.answers("b", &rows(300, 8), 99).await;
    let refused = begin(2).await;
    assert!(
        show(&refused).contains("it needs 400, and there are 399"),
        "{}",
        show(&refused)
    );
    site.answers("c", &rows(300, 8), 300).await;
    let path = async |version: u32| {
        let begun = begin(version).await;
        assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.body);
        assert_eq!(begun.body["state"], "validating", "{}", begun.body);
        format!(
            "/api/v1/rollouts/{}",
            begun.body["id"].as_str().expect("an id")
        )
    };
    for version in [2, 3] {
        let learned = path(version).await;
        let told = site.until(&learned, |it| it["state"] == "step").await;
        assert_eq!(told["tests"][0]["verdict"], "no_data", "{told}");
    }
    let unknown = path(4).await;
    let holds = |it: &Value| it["phase"] == "holding";
    let told = site.until(&unknown, holds).await;
    let test = &told["tests"][0];
    assert_eq!(test["verdict"], "error", "{told}");
    let said = test["said"].as_str().expect("a sentence");
    let why = "it takes 400 rows with labels that both versions answered with scores; there are 0, and 699 that the candidate \
               did not answer: ";
    assert!(said.contains(why) && said.contains("today"), "{said}");
    site.end().await;
}
