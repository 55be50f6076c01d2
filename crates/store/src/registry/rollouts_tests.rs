use domain::alert::Moment;
use domain::rollout::command::{Deed, Person};
use domain::rollout::decide::{Facts, Loaded, Next};
use domain::rollout::evidence::Evidence;
use domain::rollout::plan::Parts;
use domain::rollout::recorded::Recorded;
use domain::rollout::traffic::Traffic;
use domain::rollout::{Event, Plan, Rollout, Spec};

use super::outbox::Telling;
use super::rollouts::{Kept, LOOKS_MAX, Looked};
use super::tests::new_version;
use super::*;

fn person() -> Person {
    Person {
        who: "ann".to_owned(),
        why: "a better one".to_owned(),
    }
}

/// A registry in which `m` has two versions, the first with the traffic.
pub(super) async fn registry() -> (tempfile::TempDir, Registry) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(&folder.path().join("registry.db"))
        .await
        .expect("a new registry");
    for content in ["a", "b"] {
        let new = new_version("m", content, change());
        let version = registry.create_version(new).await.expect("new").version();
        let report = serde_json::json!({});
        registry
            .set_state(&model(), version, State::Verified, &report, &change())
            .await
            .expect("verified");
    }
    registry
        .set_traffic(&model(), Version::FIRST, &change())
        .await
        .expect("traffic");
    (folder, registry)
}

/// One receiver is told of every event.
fn told(rollout: &Rollout) -> Vec<Telling> {
    vec![Telling {
        receiver: "hook".to_owned(),
        body: rollout.progress.events.to_string(),
    }]
}

pub(super) fn change() -> Change {
    Change {
        at: UnixMillis(1),
        who: "ann".to_owned(),
        why: String::new(),
    }
}

pub(super) fn model() -> domain::ModelName {
    "m".parse().expect("a name")
}

/// The event that is next where everything is as wanted; none where there is nothing but to wait.
fn next(rollout: &Rollout, now: Moment) -> Option<Event> {
    let facts = Facts {
        incumbent: Loaded::Ready,
        candidate: Loaded::Ready,
        serving: Some(rollout.traffic()),
        learned: true,
        evidence: Evidence::default(),
    };
    match rollout.next(&facts, now) {
        Next::Append(event) => Some(event),
        _ => None,
    }
}

/// What a process that begins now finds.
async fn found(registry: &Registry, kept: &Kept) {
    let read = registry
        .rollout(kept.rollout.plan.id())
        .await
        .expect("it is kept");
    assert_eq!(read, *kept);
    let events = registry
        .rollout_events(kept.number, 0, 100)
        .await
        .expect("events");
    let replayed = Rollout::replay(kept.rollout.plan.clone(), &events).expect("its own events");
    assert_eq!(replayed, kept.rollout);
    let Traffic { split, .. } = kept.rollout.traffic();
    let traffic = registry.traffic(&model()).await.expect("a model");
    match split {
        domain::rollout::traffic::Split::All(version) => assert_eq!(traffic, Some(version)),
        _ => assert_eq!(traffic, Some(kept.rollout.plan.incumbent())),
    }
}

pub(super) fn plan(id: &str) -> Plan {
    let spec: Spec = serde_json::from_str(r#"{"shadow": "off"}"#).expect("a spec");
    let recorded = Recorded {
        ledger: true,
        prices: false,
        task: None,
        columns: None,
        posted: &[],
        latency: None,
        labelled: 0,
    };
    Plan::restored(Parts {
        id: id.parse().expect("an id"),
        model: "m".parse().expect("a name"),
        incumbent: Version::FIRST,
        candidate: Version::new(2).expect("a version"),
        tests: spec.tests(&recorded).expect("tests"),
        spec,
        started: Moment(1000),
        person: person(),
    })
    .expect("a plan")
}

#[tokio::test]
async fn after_every_event_what_is_read_is_one_state_and_its_traffic_is_the_models() {
    let (_folder, registry) = registry().await;
    let mut kept = registry.begin_rollout(&plan("r-1")).await.expect("begun");
    found(&registry, &kept).await;
    let measured = Some("{}".to_owned());
    while let Some(event) = next(&kept.rollout, Moment(2000)) {
        let number = event.number;
        registry
            .append_rollout_event(&mut kept, &event, measured.clone(), told)
            .await
            .expect("appended");
        found(&registry, &kept).await;
        // Who decided at the same time comes too late.
        let late = registry
            .append_rollout_event(&mut kept, &event, None, told)
            .await;
        assert!(late.is_err(), "event {number} twice");
        found(&registry, &kept).await;
    }
    assert_eq!(kept.rollout.progress.state.name(), "step");
    for deed in [Deed::Promote, Deed::Abort] {
        let evidence = Evidence::default();
        let event = kept
            .rollout
            .command(deed, person(), &evidence, Moment(3000))
            .expect("it can be done");
        registry
            .append_rollout_event(&mut kept, &event, None, told)
            .await
            .expect("appended");
        found(&registry, &kept).await;
    }
    while let Some(event) = next(&kept.rollout, Moment(4000)) {
        registry
            .append_rollout_event(&mut kept, &event, None, told)
            .await
            .expect("appended");
        found(&registry, &kept).await;
    }
    assert!(kept.rollout.progress.state.is_over());
    let moves = registry.traffic_moves(&model()).await.expect("moves");
    let waiting = registry.deliveries(false, 100).await.expect("deliveries");
    let bodies: Vec<String> = waiting.into_iter().map(|it| it.body).collect();
    let events = kept.rollout.progress.events;
    let wanted: Vec<String> = (1..=events).map(|it| it.to_string()).collect();
    assert_eq!(bodies, wanted);
    let numbers: Vec<u32> = moves.iter().map(|it| it.number()).collect();
    assert_eq!(numbers, [1, 2, 1]);
    registry.close().await;
}

#[tokio::test]
async fn what_is_rolled_out_stays_and_its_traffic_is_the_rollouts() {
    let (_folder, registry) = registry().await;
    let mut kept = registry.begin_rollout(&plan("r-1")).await.expect("begun");
    let second = Version::new(2).expect("a version");
    let refused = [
        registry.begin_rollout(&plan("r-2")).await.map(drop),
        registry
            .set_traffic(&model(), second, &change())
            .await
            .map(drop),
        registry.remove_version(&model(), second, &change()).await,
        registry.remove_model(&model(), &change()).await,
    ];
    for refused in refused {
        let refusal = refused.expect_err("it is in the way").to_string();
        assert!(refusal.contains("windlass rollout abort m"), "{refusal}");
    }
    assert_eq!(registry.live_rollouts(None).await, Ok(vec![kept.clone()]));
    let event = kept
        .rollout
        .command(Deed::Abort, person(), &Evidence::default(), Moment(3000))
        .expect("it can be done");
    registry
        .append_rollout_event(&mut kept, &event, None, told)
        .await
        .expect("appended");
    while let Some(event) = next(&kept.rollout, Moment(4000)) {
        registry
            .append_rollout_event(&mut kept, &event, None, told)
            .await
            .expect("appended");
    }
    assert_eq!(registry.live_rollouts(None).await, Ok(vec![]));
    registry.begin_rollout(&plan("r-2")).await.expect("another");
    let listed = registry
        .rollouts(Some(&model()), None, 10)
        .await
        .expect("both");
    let ids: Vec<&str> = listed
        .iter()
        .map(|it| it.rollout.plan.id().as_str())
        .collect();
    assert_eq!(ids, ["r-2", "r-1"]);
    let unknown = registry.rollout(&"r-3".parse().expect("an id")).await;
    assert!(matches!(unknown, Err(Refusal::UnknownRollout { .. })));
    registry.close().await;
}

/// Ends a rollout.
async fn end(registry: &Registry, kept: &mut Kept) {
    let event = kept
        .rollout
        .command(Deed::Abort, person(), &Evidence::default(), Moment(3000))
        .expect("it can be done");
    registry
        .append_rollout_event(kept, &event, None, told)
        .await
        .expect("appended");
    while let Some(event) = next(&kept.rollout, Moment(4000)) {
        registry
            .append_rollout_event(kept, &event, None, told)
            .await
            .expect("appended");
    }
}

#[tokio::test]
async fn looks_at_a_rollout_are_kept_within_bounds_and_go_with_the_model() {
    let (_folder, registry) = registry().await;
    let mut kept = registry.begin_rollout(&plan("r-1")).await.expect("begun");
    let looked = |at| Looked {
        at: Moment(at),
        e_values: [
            ("errors".to_owned(), at as f64),
            ("p99".to_owned(), f64::MAX),
        ]
        .into(),
    };
    let keep = async |number, at| {
        let kept = registry.keep_rollout_look(number, &looked(at)).await;
        kept.expect("kept");
    };
    let read = async |number| registry.rollout_looks(number).await.expect("looks");
    for at in [7, 5, 5] {
        keep(kept.number, at).await;
    }
    assert_eq!(read(kept.number).await, [looked(5), looked(7)]);
    let most = i64::try_from(LOOKS_MAX).expect("small");
    sqlx::query(
        "WITH RECURSIVE places (place) AS (SELECT 8 UNION ALL SELECT place + 1 FROM places WHERE place < ?)
         INSERT INTO rollout_looks SELECT ?, place, '{}' FROM places",
    )
    .bind(most + 5)
    .bind(kept.number.0)
    .execute(&registry.writer)
    .await
    .expect("filled");
    assert_eq!(read(kept.number).await.len(), LOOKS_MAX);
    keep(kept.number, most + 6).await;
    let at: Vec<i64> = read(kept.number).await.iter().map(|it| it.at.0).collect();
    assert_eq!(at.len(), LOOKS_MAX / 2 + 1);
    assert_eq!((&at[..3], at.last()), (&[7, 9, 11][..], Some(&(most + 6))));

    // Those of the newest rollouts stay.
    let first = kept.number;
    for number in 2..=11 {
        end(&registry, &mut kept).await;
        assert!(!read(first).await.is_empty(), "before rollout {number}");
        let next = plan(&format!("r-{number}"));
        kept = registry.begin_rollout(&next).await.expect("begun");
        keep(kept.number, 1).await;
    }
    assert_eq!(read(first).await, []);
    assert_eq!(read(kept.number).await, [looked(1)]);
    end(&registry, &mut kept).await;
    registry
        .remove_model(&model(), &change())
        .await
        .expect("removed");
    assert_eq!(read(kept.number).await, []);
    registry.close().await;
}
