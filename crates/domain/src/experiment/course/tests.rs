use std::time::Duration;

use super::*;
use crate::experiment::plan::Ask;
use crate::experiment::{Compared, Spec};
use crate::manifest::Span;
use crate::rollout::evidence::Figure;
use crate::rollout::recorded::Recorded;
use crate::signature::{Rows, Signature, TensorSpec};
use crate::tensor::DataType;

fn version(number: u32) -> Version {
    Version::new(number).expect("not zero")
}

fn ann() -> Person {
    Person {
        who: "ann".to_owned(),
        why: "enough".to_owned(),
    }
}

const RECORDED: Recorded = Recorded {
    ledger: true,
    prices: false,
    task: None,
    columns: None,
    posted: &[],
    latency: None,
    labelled: 0,
};

fn asked(
    spec: &str,
    traffic: Option<u32>,
    versions: &[u32],
    shares: &[&str],
) -> Result<Plan, Refusal> {
    let signature = Signature {
        inputs: Vec::new(),
        outputs: Vec::new(),
        rows: Rows::Outermost,
        task: None,
    };
    let versions = versions.iter().map(|it| (version(*it), &signature));
    ask(spec, traffic, versions.collect(), shares)
}

fn ask(
    spec: &str,
    traffic: Option<u32>,
    versions: Vec<(Version, &Signature)>,
    shares: &[&str],
) -> Result<Plan, Refusal> {
    Plan::new(Ask {
        id: "e-1".parse().expect("an id"),
        model: "credit".parse().expect("a name"),
        traffic: traffic.map(version),
        versions,
        shares: shares
            .iter()
            .map(|it| it.parse().expect("a share"))
            .collect(),
        spec: serde_json::from_str::<Spec>(spec).expect("a spec"),
        recorded: RECORDED,
        retain: Some(Span(Duration::from_secs(30 * 86_400))),
        person: ann(),
        now: Moment(1_000),
    })
}

const ERRORS: &str = r#"{"metric":"error_rate","equivalent_within":"1pp","deadline":"1h"}"#;
const BANDIT: &str = r#"{"metric":"error_rate","equivalent_within":"1pp","deadline":"1h",
    "allocation":{"thompson":{"floor":"5%","every":"1m"}}}"#;

#[test]
fn what_cannot_be_done_is_refused() {
    let of = |spec: &str, traffic: Option<u32>, versions: &[u32], shares: &[&str], want: &str| {
        let got = match asked(spec, traffic, versions, shares) {
            Ok(_) => "fine".to_owned(),
            Err(refusal) => refusal.to_string(),
        };
        assert!(got.contains(want), "{got}");
    };
    of(ERRORS, Some(1), &[1, 2], &[], "fine");
    of(ERRORS, Some(1), &[1, 2, 3], &["50%", "25%", "25%"], "fine");
    of(
        ERRORS,
        Some(1),
        &[1],
        &[],
        "`experiment.versions`: there are 1",
    );
    of(ERRORS, Some(1), &[1, 1], &[], "version 1 is there twice");
    of(
        ERRORS,
        Some(1),
        &[1, 2],
        &["50%"],
        "`experiment.shares`: there are 1, want 2",
    );
    of(
        ERRORS,
        Some(1),
        &[1, 2],
        &["50%", "40%"],
        "they are 90% together",
    );
    of(ERRORS, Some(2), &[1, 2], &[], "name that one first");
    of(ERRORS, None, &[1, 2], &[], "no version has the traffic");
    let plain = Signature {
        inputs: Vec::new(),
        outputs: Vec::new(),
        rows: Rows::Outermost,
        task: None,
    };
    let mut more = plain.clone();
    more.inputs.push(TensorSpec {
        name: "age".to_owned(),
        datatype: DataType::Fp32,
        shape: Vec::new(),
        features: Vec::new(),
    });
    let unlike = ask(
        ERRORS,
        Some(1),
        vec![(version(1), &plain), (version(2), &more)],
        &[],
    );
    let why = unlike.expect_err("it takes something else").to_string();
    assert!(
        why.contains(
            "`credit:2` cannot answer what `credit:1` is asked: it needs an input `age` more"
        ),
        "{why}"
    );
    let accuracy = r#"{"metric":"accuracy","equivalent_within":"1pp"}"#;
    of(
        accuracy,
        Some(1),
        &[1, 2],
        &[],
        "`experiment.metric`: `accuracy` needs a `task`",
    );
    let cost = r#"{"metric":"cost_per_1k","equivalent_within":"1%"}"#;
    of(cost, Some(1), &[1, 2], &[], "`--prices`");
    let long = r#"{"metric":"error_rate","equivalent_within":"1pp","deadline":"31d"}"#;
    of(
        long,
        Some(1),
        &[1, 2],
        &[],
        "`experiment.deadline`: `31d` is longer than the ledger keeps rows, `ledger.retain: 30d`",
    );
    let posted = r#"{"metric":"posted.revenue","better":"higher","equivalent_within":"1%"}"#;
    of(posted, Some(1), &[1, 2], &[], "nobody has posted `revenue`");
}

fn facts(loaded: [Loaded; 2], serving: Traffic) -> Facts {
    Facts {
        loaded: loaded.into(),
        serving: Some(serving),
        look: Look::default(),
        shares: None,
    }
}

/// What a look says of the second version.
fn known(answer: Answer) -> Look {
    let figure = Figure {
        n: 100,
        events: Some(90),
        value: Some(0.9),
    };
    let compared = Compared {
        version: version(2),
        against: version(1),
        figure,
        control: figure,
        difference: None,
    };
    Look {
        others: vec![Told {
            compared,
            answer,
            remaining: None,
            before: None,
        }],
        ..Look::default()
    }
}

fn follow(experiment: &mut Experiment, next: Next) -> Event {
    let Next::Append(event) = next else {
        panic!("{next:?}");
    };
    experiment.apply(&event).expect("the next one");
    event
}

#[test]
fn it_loads_shares_and_ends_with_the_control() {
    let mut it = Experiment::new(asked(ERRORS, Some(1), &[1, 2], &[]).expect("a plan"));
    let alone = Traffic::all(version(1));
    let now = Moment(2_000);
    let waiting = facts([Loaded::Ready, Loaded::Absent], alone.clone());
    assert_eq!(it.next(&waiting, now), Next::Load(version(2)));
    let both = facts([Loaded::Ready, Loaded::Ready], alone.clone());
    let next = it.next(&both, now);
    let event = follow(&mut it, next);
    let plan = it.plan.clone();
    assert_eq!(
        event.sentence(&plan),
        "the keys of `credit` are shared: `credit:1` 50%, `credit:2` 50%"
    );
    let shared = it.traffic();
    assert_eq!(it.next(&both, now), Next::Route(shared.clone()));
    let served = facts([Loaded::Ready, Loaded::Ready], shared.clone());
    assert_eq!(it.next(&served, now), Next::Wait);
    // A version that is being loaded again after a restart is waited for.
    let again = facts([Loaded::Ready, Loaded::Loading], alone.clone());
    assert_eq!(it.next(&again, now), Next::Wait);
    let stored = serde_json::to_string(&it.progress).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Progress>(&stored).expect("read"),
        it.progress
    );
    let mut failed = it.clone();
    let why = "no memory".to_owned();
    let next = failed.next(
        &facts([Loaded::Ready, Loaded::Failed { why }], shared.clone()),
        now,
    );
    let event = follow(&mut failed, next);
    assert_eq!(
        event.sentence(&plan),
        "`credit:1` has all of the traffic again: `credit:2` did not answer: no memory"
    );
    assert_eq!(
        (failed.traffic(), failed.progress.state.name()),
        (alone.clone(), "version")
    );
    let next = it.next(&served, Moment(1_000).after(Duration::from_secs(3600)));
    follow(&mut it, next);
    assert_eq!(
        (it.traffic(), it.progress.state.name()),
        (alone, "deadline")
    );
    assert_eq!(it.next(&served, now), Next::Over);
    let late = it
        .stop(ann(), None, &Look::default(), now)
        .expect_err("over");
    assert!(late.to_string().contains("is over"), "{late}");
}

#[test]
fn a_person_ends_it_and_may_say_who_has_the_traffic() {
    let it = Experiment::new(asked(ERRORS, Some(1), &[1, 2], &[]).expect("a plan"));
    let now = Moment(500);
    let stop = |promote: Option<u32>| it.stop(ann(), promote.map(version), &Look::default(), now);
    let event = stop(Some(2)).expect("it can be");
    assert_eq!(
        event.sentence(&it.plan),
        "`credit:2` gets all of the traffic: stopped by ann: enough"
    );
    assert_eq!(
        event.at,
        Moment(1_000),
        "no event is older than what was before"
    );
    let unknown = stop(Some(7)).expect_err("not in it");
    assert!(
        unknown
            .to_string()
            .contains("compares `credit:1`, `credit:2`"),
        "{unknown}"
    );
    let mut after = it.clone();
    after.apply(&event).expect("the next one");
    assert_eq!(after.traffic(), Traffic::all(version(2)));
    assert!(after.apply(&event).is_err());
}

#[test]
fn a_bandit_moves_shares_no_more_often_than_it_was_asked_to() {
    let mut it = Experiment::new(asked(BANDIT, Some(1), &[1, 2], &[]).expect("a plan"));
    let both = || [Loaded::Ready, Loaded::Ready];
    let next = it.next(&facts(both(), it.traffic()), Moment(2_000));
    follow(&mut it, next);
    let mut now = facts(both(), it.traffic());
    now.shares = Some(vec![0.2, 0.8]);
    assert_eq!(it.next(&now, Moment(61_999)), Next::Wait);
    let mut void = now.clone();
    void.look.split = 1e6;
    assert_eq!(it.next(&void, Moment(62_000)), Next::Wait);
    let next = it.next(&now, Moment(62_000));
    let event = follow(&mut it, next);
    assert_eq!(
        event.sentence(&it.plan),
        "shares move to `credit:1` 20%, `credit:2` 80%"
    );
    assert_eq!(it.next(&now, Moment(70_000)), Next::Route(it.traffic()));
}

#[test]
fn what_becomes_known_is_told_once_and_changes_nothing_else() {
    let mut it = Experiment::new(asked(BANDIT, Some(1), &[1, 2], &[]).expect("a plan"));
    let both = || [Loaded::Ready, Loaded::Ready];
    let next = it.next(&facts(both(), it.traffic()), Moment(2_000));
    follow(&mut it, next);
    let begun = it.progress.clone();
    let now = |it: &Experiment, answer| Facts {
        look: known(answer),
        ..facts(both(), it.traffic())
    };
    assert_eq!(
        it.next(&now(&it, Answer::NotYet), Moment(3_000)),
        Next::Wait
    );
    let next = it.next(&now(&it, Answer::Better), Moment(4_000));
    let event = follow(&mut it, next);
    assert_eq!(
        event.sentence(&it.plan),
        "`credit:2` is better than `credit:1`: error_rate 90.00% (90 of 100) against 90.00% (90 of 100)"
    );
    assert_eq!(event.answers().count(), 1);
    assert_eq!(it.progress.known, [(version(2), Answer::Better)]);
    // The shares are of the same time, so that a bandit moves them no later.
    let same = (&it.progress.state, it.progress.since);
    assert_eq!(same, (&begun.state, begun.since));
    let stored = serde_json::to_string(&it.progress).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Progress>(&stored).expect("read"),
        it.progress
    );
    // Neither the same again nor less than that.
    for answer in [Answer::Better, Answer::NotYet, Answer::Better] {
        assert_eq!(it.next(&now(&it, answer), Moment(5_000)), Next::Wait);
    }
    let next = it.next(&now(&it, Answer::Void), Moment(6_000));
    let event = follow(&mut it, next);
    assert_eq!(
        event.sentence(&it.plan),
        "`credit:2` cannot be told from `credit:1`: keys are not split as intended"
    );
    assert_eq!((event.number, it.progress.events), (2, 3));
    assert_eq!(
        it.next(&now(&it, Answer::Better), Moment(7_000)),
        Next::Wait
    );
    // What was kept before there were such events is read as it was.
    let old = r#"{"number":0,"at":1,"to":"pending","look":{"keys":[],"split":0.0,"others":[],"periods":0}}"#;
    let old: Event = serde_json::from_str(old).expect("an event");
    assert!(old.known.is_empty() && !serde_json::to_string(&old).expect("JSON").contains("known"));
}
