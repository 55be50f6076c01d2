use std::collections::BTreeMap;
use std::time::Duration;

use domain::ModelName;
use domain::alert::act::{Act, Outcome, plan};
use domain::alert::margin::Said;
use domain::alert::notify::{Place, Sent, Silence};
use domain::alert::{
    Alert, Book, Event, EventKind, Evidence, Fact, Finding, Labels, Moment, Rule, Severity, Verdict,
};

use super::alerts::{EVENTS_MAX, Feedback, HISTORY_KEPT};
use super::outbox::{DELIVERIES_MAX, DeliveryCounts, NewDelivery};
use super::*;

async fn registry() -> (tempfile::TempDir, Registry) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = Registry::open(&folder.path().join("registry.db"))
        .await
        .expect("a new registry");
    (folder, registry)
}

fn model() -> ModelName {
    "m".parse().expect("a name")
}

fn finding(verdict: Verdict) -> Finding {
    Finding {
        model: model(),
        version: Version::new(3),
        monitor: "drift".to_owned(),
        subject: "age".to_owned(),
        segment: Some("country=FR".to_owned()),
        verdict,
        severity: Severity::Page,
        summary: "`age` drifts".to_owned(),
        evidence: Evidence::from([
            ("score".to_owned(), Fact::Number(0.5)),
            ("test".to_owned(), Fact::Text("AUC".to_owned())),
            ("nothing".to_owned(), Fact::Number(f64::NAN)),
        ]),
    }
}

fn rule() -> Rule {
    let text = r#"{"name": "d", "monitor": "drift", "keep_firing_for": "5s",
        "annotations": {"runbook_url": "http://x"}, "act": [{"do": "rollback"}]}"#;
    serde_json::from_str(text).expect("a rule")
}

/// A book with one alert that fires since second 1, and what happened.
fn firing() -> (Book, Vec<Event>) {
    let mut book = Book::default();
    let events = book
        .hear(&finding(Verdict::Bad), &rule(), Moment(1000))
        .expect("room");
    (book, events)
}

fn only(book: &Book) -> &Alert {
    book.iter().next().expect("an alert").1
}

#[tokio::test]
async fn an_alert_is_read_as_it_was_written_in_each_of_its_states() {
    let (_folder, registry) = registry().await;
    let (mut book, events) = firing();
    let fingerprint = only(&book).fingerprint();
    let mut history = events.clone();
    registry
        .write_alerts(&[only(&book)], &events, &[])
        .await
        .expect("written");
    assert_eq!(registry.alerts().await, Ok(vec![only(&book).clone()]));
    let seen = book
        .acknowledge(fingerprint, "ann", Moment(2000))
        .expect("active");
    let fine = finding(Verdict::Fine);
    book.hear(&fine, &rule(), Moment(3000)).expect("room");
    history.push(seen.clone());
    registry
        .write_alerts(&[only(&book)], &[seen], &[])
        .await
        .expect("written");
    assert_eq!(registry.alerts().await, Ok(vec![only(&book).clone()]));
    let ended = book.tick(Moment(8000));
    history.extend(ended.clone());
    registry
        .write_alerts(&[only(&book)], &ended, &[])
        .await
        .expect("written");
    assert_eq!(registry.alerts().await, Ok(vec![only(&book).clone()]));
    let read = registry
        .alert_events(fingerprint, None, 10)
        .await
        .expect("events");
    let kinds: Vec<&str> = read.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(kinds, ["resolved", "acknowledged", "firing"]);
    assert_eq!(read[2].evidence, history[0].evidence);
    let older = registry
        .alert_events(fingerprint, Some(read[0].id), 1)
        .await;
    assert_eq!(older.expect("events"), [read[1].clone()]);
    registry
        .write_alerts(&[], &[], &[fingerprint])
        .await
        .expect("forgotten");
    assert_eq!(registry.alerts().await, Ok(vec![]));
    registry.close().await;
}

#[tokio::test]
async fn the_last_word_on_an_incident_is_kept() {
    let (_folder, registry) = registry().await;
    let (book, _) = firing();
    let alert = only(&book);
    let mut feedback = Feedback {
        incident: alert.incident,
        useful: true,
        at: Moment(5),
        who: "ann".to_owned(),
        why: String::new(),
    };
    for useful in [true, false] {
        feedback.useful = useful;
        let event = alert.event(EventKind::Feedback, "not useful".to_owned(), Moment(5));
        registry
            .set_feedback(&feedback, &alert.labels, &event)
            .await
            .expect("written");
    }
    let said = registry.feedback(alert.fingerprint(), 10).await;
    assert_eq!(said, Ok(vec![feedback]));
    let said = registry.said(&model(), "drift").await.expect("answers");
    let last = Said {
        useful: false,
        at: Moment(5),
    };
    assert_eq!(said, BTreeMap::from([("age".to_owned(), vec![last])]));
    let said = registry.said(&model(), "quality").await;
    assert_eq!(said, Ok(BTreeMap::new()));
    registry.close().await;
}

#[tokio::test]
async fn a_silence_ends_once() {
    let (_folder, registry) = registry().await;
    let silence = Silence {
        id: 0,
        matchers: vec!["model=m".parse().expect("a matcher")],
        from: Moment(10),
        until: Moment(100),
        who: "ann".to_owned(),
        why: "a test".to_owned(),
    };
    let silence = registry.add_silence(silence).await.expect("added");
    let held = registry.silences(Moment(20), 10).await;
    assert_eq!(held, Ok(vec![silence.clone()]));
    registry
        .end_silence(silence.id, Moment(50))
        .await
        .expect("ended");
    assert_eq!(registry.silences(Moment(50), 10).await, Ok(vec![]));
    let again = registry.end_silence(silence.id, Moment(51)).await;
    assert_eq!(
        again.expect_err("it has ended").to_string(),
        "silence `1` has ended already"
    );
    let other = registry.end_silence(99, Moment(51)).await;
    assert_eq!(other.expect_err("none").to_string(), "no silence `99`");
    registry.close().await;
}

#[tokio::test]
async fn an_action_is_known_before_it_is_done_and_taken_back_once() {
    let (_folder, registry) = registry().await;
    let (book, _) = firing();
    let alert = only(&book);
    let act: Act = serde_json::from_str(r#"{"do": "rollback"}"#).expect("a deed");
    let todo = plan(alert, &act, &[], Moment(2000)).expect("it may");
    let id = registry
        .begin_action(&todo, Moment(2000))
        .await
        .expect("begun");
    let tried = registry
        .tried(
            (&model(), "d"),
            (alert.fingerprint(), alert.incident),
            Moment(0),
        )
        .await
        .expect("tries");
    assert!(plan(alert, &act, &tried, Moment(3000)).is_err());
    let moved = Version::new(3).zip(Version::new(2));
    let event = alert.event(EventKind::Action, "rollback".to_owned(), Moment(2001));
    registry
        .finish_action(id, &Outcome::Done, moved, &event)
        .await
        .expect("done");
    let action = registry.action(id).await.expect("an action");
    assert_eq!((action.from, action.to), (Version::new(3), Version::new(2)));
    assert_eq!(action.evidence, alert.evidence);
    registry
        .reverse_action(id, "ann", &event)
        .await
        .expect("reversed");
    assert!(registry.reverse_action(id, "ann", &event).await.is_err());
    let listed = registry
        .actions(Some(&model()), None, 10)
        .await
        .expect("a list");
    assert_eq!(listed[0].outcome, Outcome::Reversed);
    assert_eq!(
        listed[0].reversed.as_ref().map(|it| it.who.as_str()),
        Some("ann")
    );
    assert_eq!(
        registry
            .actions(Some(&"n".parse().expect("a name")), None, 10)
            .await,
        Ok(vec![])
    );
    let told = registry.events_of(&model(), EventId::START, 10).await;
    let outcomes: Vec<String> = told
        .expect("events")
        .iter()
        .map(|it| format!("{} {}", it.kind, it.detail["outcome"]))
        .collect();
    assert_eq!(
        outcomes,
        ["alert_action \"done\"", "alert_action \"reversed\""]
    );
    let begun = registry
        .begin_action(&todo, Moment(4000))
        .await
        .expect("begun");
    registry.fail_begun_actions().await.expect("failed");
    let action = registry.action(begun).await.expect("an action");
    assert_eq!(action.outcome.why(), "the server ended meanwhile");
    registry.close().await;
}

#[tokio::test]
async fn what_still_holds_for_a_model_is_listed_in_order_and_not_forgotten() {
    let (_folder, registry) = registry().await;
    let (book, _) = firing();
    let alert = only(&book);
    let event = alert.event(EventKind::Action, "done".to_owned(), Moment(2001));
    let mut ids = Vec::new();
    for act in [
        r#"{"do": "scale", "instances": 4}"#,
        r#"{"do": "stricter_inputs"}"#,
        r#"{"do": "rollback"}"#,
        r#"{"do": "scale", "instances": 2}"#,
    ] {
        let act: Act = serde_json::from_str(act).expect("a deed");
        let todo = plan(alert, &act, &[], Moment(2000)).expect("it may");
        let id = registry.begin_action(&todo, Moment(2000)).await;
        let id = id.expect("begun");
        let done = registry.finish_action(id, &Outcome::Done, None, &event);
        done.await.expect("done");
        ids.push(id);
    }
    let standing = async || {
        let actions = registry.standing_actions(&model()).await.expect("a list");
        let all = actions.into_iter();
        all.map(|it| (it.id, it.instances)).collect::<Vec<_>>()
    };
    let all = [(ids[0], Some(4)), (ids[1], None), (ids[3], Some(2))];
    assert_eq!(standing().await, all);
    let years = Duration::from_secs(10 * 365 * 86_400);
    let later = Moment(i64::try_from(years.as_millis()).expect("fits"));
    registry.trim_alerts(later).await.expect("trimmed");
    assert_eq!(standing().await, all);
    assert!(registry.action(ids[2]).await.is_err());
    let reversed = registry.reverse_action(ids[3], "ann", &event);
    reversed.await.expect("reversed");
    assert_eq!(standing().await, all[..2]);
    registry.close().await;
}

fn delivery(body: &str, at: i64) -> NewDelivery {
    let (book, _) = firing();
    let alert = only(&book);
    NewDelivery {
        place: Place {
            receiver: "ops".to_owned(),
            group: Labels::new([("model".to_owned(), "m".to_owned())].into()),
        },
        body: body.to_owned(),
        alerts: 1,
        sent: Sent {
            at: Moment(at),
            firing: [(alert.fingerprint(), alert.incident)].into(),
        },
    }
}

#[tokio::test]
async fn a_delivery_waits_dies_and_is_tried_again() {
    let (_folder, registry) = registry().await;
    let new = delivery("{}", 5);
    registry
        .enqueue(std::slice::from_ref(&new), &[], Moment(5))
        .await
        .expect("written");
    let told = registry.told().await.expect("what was told");
    assert_eq!(told.get(&new.place), Some(&new.sent));
    let waiting = registry.deliveries(false, 10).await.expect("a list");
    let id = waiting[0].id;
    registry
        .delivery_failed(id, Some(Moment(50)), "status 500")
        .await
        .expect("noted");
    let again = registry.deliveries(false, 10).await.expect("a list");
    assert_eq!((again[0].attempts, again[0].next_at), (1, Moment(50)));
    registry
        .delivery_failed(id, None, "status 404")
        .await
        .expect("noted");
    let dead = registry.deliveries(true, 10).await.expect("a list");
    assert_eq!((dead[0].attempts, dead[0].why.as_str()), (2, "status 404"));
    registry
        .retry_delivery(id, Moment(60))
        .await
        .expect("waits");
    assert!(registry.retry_delivery(id, Moment(60)).await.is_err());
    let counts = registry.delivery_counts().await;
    assert_eq!(
        counts,
        Ok(DeliveryCounts {
            waiting: 1,
            dead: 0
        })
    );
    registry.delivered(id).await.expect("forgotten");
    assert_eq!(registry.deliveries(false, 10).await, Ok(vec![]));
    registry
        .enqueue(&[], std::slice::from_ref(&new.place), Moment(70))
        .await
        .expect("forgotten");
    assert!(registry.told().await.expect("what was told").is_empty());
    registry.close().await;
}

#[tokio::test]
async fn what_is_too_much_or_too_old_goes() {
    let (_folder, registry) = registry().await;
    let many: Vec<NewDelivery> = (0..=DELIVERIES_MAX).map(|it| delivery("{}", it)).collect();
    registry
        .enqueue(&many, &[], Moment(0))
        .await
        .expect("written");
    let counts = registry.delivery_counts().await.expect("counts");
    let most = DELIVERIES_MAX.unsigned_abs();
    assert_eq!((counts.waiting, counts.dead), (most, 1));
    let (book, events) = firing();
    let fingerprint = only(&book).fingerprint();
    registry
        .write_alerts(&[], &events, &[])
        .await
        .expect("written");
    registry.trim_alerts(Moment(2000)).await.expect("trimmed");
    assert_eq!(
        registry
            .alert_events(fingerprint, None, 9)
            .await
            .expect("one")
            .len(),
        1
    );
    let later = Moment(2000).after(HISTORY_KEPT + Duration::from_secs(1));
    registry.trim_alerts(later).await.expect("trimmed");
    assert_eq!(
        registry.alert_events(fingerprint, None, 9).await,
        Ok(vec![])
    );
    assert_eq!(registry.delivery_counts().await.expect("counts").dead, 0);
    const { assert!(EVENTS_MAX > 0) };
    registry.close().await;
}
