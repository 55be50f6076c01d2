use domain::alert::Moment;
use domain::experiment::Look;
use domain::experiment::course::{Experiment, Facts, Next};
use domain::experiment::plan::{Ask, Plan};
use domain::rollout::command::Person;
use domain::rollout::decide::Loaded;
use domain::rollout::recorded::Recorded;

use super::experiments::Kept;
use super::outbox::Telling;
use super::rollouts_tests::{change, model, plan as rollout, registry};
use super::*;

async fn plan(registry: &Registry, id: &str) -> Plan {
    let record = registry
        .version(&model(), Version::FIRST)
        .await
        .expect("there");
    let versions = [1, 2].map(|it| (Version::new(it).expect("not zero"), &record.signature));
    Plan::new(Ask {
        id: id.parse().expect("an id"),
        model: model(),
        traffic: Some(Version::FIRST),
        versions: versions.into(),
        shares: Vec::new(),
        spec: serde_json::from_str(r#"{"metric":"error_rate","equivalent_within":"1pp"}"#)
            .expect("a spec"),
        recorded: Recorded {
            ledger: true,
            prices: false,
            task: None,
            columns: None,
            posted: &[],
            latency: None,
            labelled: 0,
        },
        retain: None,
        person: Person {
            who: "ann".to_owned(),
            why: "to know".to_owned(),
        },
        now: Moment(10),
    })
    .expect("it can be done")
}

fn nobody(_: &Experiment) -> Vec<Telling> {
    Vec::new()
}

/// Where it is since.
fn ops(experiment: &Experiment) -> Vec<Telling> {
    vec![Telling {
        receiver: "ops".to_owned(),
        body: format!("{:?}", experiment.progress.state.name()),
    }]
}

fn stop(kept: &Kept, promote: Option<Version>) -> domain::experiment::course::Event {
    let person = Person {
        who: "bob".to_owned(),
        why: String::new(),
    };
    let stopped = kept
        .experiment
        .stop(person, promote, &Look::default(), Moment(30));
    stopped.expect("it can be stopped")
}

#[tokio::test]
async fn an_experiment_is_kept_with_its_traffic_and_nothing_comes_between() {
    let (_folder, registry) = registry().await;
    let begun = plan(&registry, "e-1").await;
    let mut kept = registry.begin_experiment(&begun).await.expect("it begins");
    let facts = Facts {
        loaded: vec![Loaded::Ready, Loaded::Ready],
        serving: Some(kept.experiment.traffic()),
        look: Look::default(),
        shares: None,
    };
    let Next::Append(event) = kept.experiment.next(&facts, Moment(20)) else {
        panic!("it runs");
    };
    let mut other = kept.clone();
    registry
        .append_experiment_event(&mut kept, &event, nobody)
        .await
        .expect("the next one");
    // Whoever decided the same at the same time is not followed.
    assert!(
        registry
            .append_experiment_event(&mut other, &event, nobody)
            .await
            .is_err()
    );
    let found = registry.live_experiments(None).await.expect("one");
    assert_eq!(found, [kept.clone()]);
    assert_eq!(
        registry
            .live_experiments(Some(&model()))
            .await
            .expect("one")
            .pop(),
        Some(kept.clone())
    );
    let id = kept.experiment.plan.id().clone();
    assert_eq!(registry.experiment(&id).await.expect("one"), kept);
    assert_eq!(
        registry
            .experiment_events(kept.number, 0, 10)
            .await
            .expect("one"),
        [event]
    );
    // Neither another one, nor a rollout, nor a change of the traffic, nor the removal of what it needs.
    let two = Version::new(2).expect("not zero");
    let again = plan(&registry, "e-2").await;
    let refused = [
        registry.begin_experiment(&again).await.map(drop),
        registry.begin_rollout(&rollout("r-1")).await.map(drop),
        registry
            .set_traffic(&model(), two, &change())
            .await
            .map(drop),
        registry.remove_version(&model(), two, &change()).await,
        registry.remove_model(&model(), &change()).await,
    ];
    for refused in refused {
        let why = refused.expect_err("not meanwhile").to_string();
        assert!(why.contains("an experiment of `m` is not over"), "{why}");
    }
    let last = stop(&kept, Some(two));
    registry
        .append_experiment_event(&mut kept, &last, ops)
        .await
        .expect("it ends");
    assert_eq!(registry.traffic(&model()).await.expect("known"), Some(two));
    let waiting = registry.deliveries(false, 100).await.expect("deliveries");
    let waiting = waiting.iter().map(|it| it.body.as_str());
    assert_eq!(waiting.collect::<Vec<_>>(), ["\"stopped\""]);
    assert!(
        registry
            .live_experiments(None)
            .await
            .expect("none")
            .is_empty()
    );
    let all = registry
        .experiments(Some(&model()), None, 10)
        .await
        .expect("one");
    assert_eq!(all, [kept]);
    let unknown = registry.experiment(&"e-9".parse().expect("an id")).await;
    assert!(matches!(
        unknown,
        Err(domain::Refusal::UnknownExperiment { .. })
    ));
}

#[tokio::test]
async fn a_rollout_is_in_an_experiments_way() {
    let (_folder, registry) = registry().await;
    registry
        .begin_rollout(&rollout("r-1"))
        .await
        .expect("it begins");
    let begun = plan(&registry, "e-1").await;
    let why = registry
        .begin_experiment(&begun)
        .await
        .expect_err("not meanwhile");
    assert!(why.to_string().contains("is being rolled out"), "{why}");
}
