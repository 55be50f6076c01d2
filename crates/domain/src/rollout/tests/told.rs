//! What people read: sentences and refusals.

use super::*;

/// The sentences of a rollout's events.
fn told(world: &World) -> Vec<String> {
    let plan = &world.rollout.plan;
    world.events.iter().map(|it| it.sentence(plan)).collect()
}

#[test]
fn a_rollout_is_told_in_sentences() {
    let world = check(
        r#"{"shadow":{"sample":"20%","for":"10m","min_requests":5},"steps":["5%","20%"],"approval":"before-promote",
        "hold":{"min":"30m","min_keys":100},"guardrails":[{"metric":"error_rate","worse_by":"0.5pp"}]}"#,
        "
        0s   look                                => serve 3:100%, validating, load 4, shadow, serve 3:100% shadow 4 20%
        11m  shadowed 10                         => step 1, serve 4:5% 3:90% 3:5%
        12m  signal prediction_drift fail        => step 1 holds: signal prediction_drift
        13m  signal prediction_drift pass        => step 1
        14m  split 2000                          => step 1 holds: mismatch
        15m  ben resumes                         => step 1, step 1 holds: mismatch
        16m  counted anew                        => step 1
        17m  guardrail error_rate inconclusive   =>
        50m  keys 100                            => step 2, serve 4:20% 3:60% 3:20%
        60m  guardrail error_rate error5         => step 2 holds: errors error_rate
        61m  guardrail error_rate pass           => step 2
        90m  keys 100                            => step 2 awaits
        91m  ann approves                        => promoting, serve 4:100%, baking
        100m guardrail error_rate fail           => rolling_back, serve 3:100%, rolled_back
        ",
    );
    let numbers = "(10 of 1000), 0.50pp worse is allowed; difference +1.20 to +4.90pp; e-value 4210, fails from 100 on";
    let want = [
        "`credit:4` is loaded and must reproduce its examples; `credit:3` answers everything",
        "`credit:4` answers 20% of the requests unheard, beside `credit:3`",
        "step 1 of 2 (5%): `credit:4` answers 5% of the keys, and as many stay with `credit:3` to be compared",
        "step 1 of 2 (5%) holds: signal `prediction_drift` fails",
        "step 1 of 2 (5%) goes on",
        "step 1 of 2 (5%) holds: keys are not split as intended, 1200 of the candidate and 900 of the control, which \
         should be as many (e-value 2000), so that no comparison holds",
        "step 1 of 2 (5%) goes on, and keys are counted anew (by ben)",
        "step 1 of 2 (5%) holds: keys are not split as intended",
        "step 1 of 2 (5%) goes on",
        "step 2 of 2 (20%): `credit:4` answers 20% of the keys, and as many stay with `credit:3` to be compared",
        "step 2 of 2 (20%) holds: `error_rate` cannot be told: the ledger did not answer (5 looks in a row)",
        "step 2 of 2 (20%) goes on",
        &format!(
            "step 2 of 2 (20%) is done and awaits approval: `error_rate` 1.00% (10 of 1000) against 1.00% {numbers}"
        ),
        "step 2 of 2 (20%) is approved; `credit:4` gets all of the traffic, as no guardrail is worse: `error_rate`",
        "`credit:4` has all of the traffic; `credit:3` stays loaded for 1d",
        &format!(
            "`credit:4` is rolled back from all of the traffic: guardrail `error_rate` fails: 4.10% (41 of 1000) against 1.00% {numbers}"
        ),
        "`credit:3` has all of the traffic again, and `credit:4` is rolled back: guardrail `error_rate` failed",
    ];
    let got = told(&world);
    for (got, want) in got.iter().zip(want) {
        assert!(got.starts_with(want), "{got}\n{want}");
    }
    assert_eq!(got.len(), want.len());
}

#[test]
fn guardrails_share_what_may_be_wrong() {
    let plan = plan("{}");
    assert_eq!(plan.tests().guardrails.len(), 2);
    assert_eq!((plan.alpha_each(), plan.e_value_limit()), (0.005, 200.0));
}

#[test]
fn what_people_do_is_told_with_who_and_why() {
    let mut world = begun("");
    let mut act = |deed, why: &str| {
        let by = person("ben", why);
        let evidence = world.facts.evidence.clone();
        let event = world.rollout.command(deed, by, &evidence, world.now);
        world.follow(event.expect("it can be done"));
        world
            .events
            .last()
            .expect("an event")
            .sentence(&world.rollout.plan)
    };
    assert_eq!(act(Deed::Pause, ""), "step 1 of 1 (10%) is paused (by ben)");
    assert_eq!(
        act(Deed::Resume, "lunch is over"),
        "step 1 of 1 (10%) goes on (by ben: lunch is over)"
    );
    let promoted = act(Deed::Promote, "the old one is on fire");
    let want = "`credit:4` gets all of the traffic from step 1 of 1 (10%), whatever tests say: `error_rate` 1.50% (15 of 1000)";
    assert!(promoted.starts_with(want), "{promoted}");
    assert!(
        promoted.ends_with("(by ben: the old one is on fire)"),
        "{promoted}"
    );
    let ended = act(Deed::Supersede { by: version(5) }, "");
    assert_eq!(
        ended,
        "`credit:4` is rolled back from all of the traffic, for `credit:5` (by ben)"
    );
    world.look();
    let all = told(&world);
    assert_eq!(
        all.last().map(String::as_str),
        Some("`credit:3` has all of the traffic; `credit:5` is rolled out in place of `credit:4`")
    );

    let world = begun("7d look => rolling_back, serve 3:100%, rolled_back");
    let told = told(&world);
    let want = "`credit:4` is rolled back from step 1 of 1 (10%): its deadline of 7d is over, before it was shown to be \
                no worse: `error_rate` 1.50% (15 of 1000) against";
    assert!(told[2].starts_with(want), "{}", told[2]);
}

#[test]
fn what_cannot_be_rolled_out_is_refused_with_the_reason() {
    let of = |change: fn(&mut Ask)| match ask_alike(Spec::default(), None, change) {
        Err(refusal) => refusal.to_string(),
        Ok(_) => "it can be done".to_owned(),
    };
    assert_eq!(of(|_| ()), "it can be done");
    assert!(of(|it| it.incumbent = None).starts_with("no version has the traffic of `credit`"));
    assert!(of(|it| it.incumbent = Some(version(4))).contains("has all of the traffic already"));
    assert!(of(|it| it.person.who.clear()).contains("`who` cannot be read"));
    let live = World::new(plan("{}")).rollout;
    let refusal = ask_alike(Spec::default(), Some(&live), |_| ()).expect_err("another is live");
    let text = refusal.to_string();
    assert!(
        text.contains("a rollout of `credit` is not over: `credit:4` waits for its incumbent"),
        "{text}"
    );

    let before = signature(&[("x", DataType::Fp32, 3), ("y", DataType::Int64, 1)]);
    let after = signature(&[("x", DataType::Fp32, 4), ("z", DataType::Int64, 1)]);
    let refusal = ask((&before, &after), Spec::default(), None, |_| ());
    let text = refusal.expect_err("other inputs").to_string();
    let want = "`credit:4` cannot answer what `credit:3` is asked: input `x` is FP32 [-1, 4] and was FP32 [-1, 3]; \
                it has no input `y`; it needs an input `z` more";
    assert_eq!(text, want);
}

#[test]
fn what_is_missing_is_told() {
    let mut world = begun("2m keys 100 =>");
    let told = |world: &World| {
        let missing = world.rollout.missing(&world.facts.evidence, world.now);
        let all: Vec<String> = missing.iter().map(ToString::to_string).collect();
        all.join("; ")
    };
    let rest = "100 of 200 keys; `error_rate` has not shown that it is no worse";
    assert_eq!(
        told(&world),
        format!("until 2027-01-15T08:30:00.000Z; {rest}")
    );
    world.act(&["ben", "pauses"]);
    world.now = START.after(std::time::Duration::from_secs(3600));
    assert_eq!(told(&world), format!("what holds it: paused; {rest}"));
}

#[test]
fn a_plan_is_read_as_it_was_stored_and_never_another() {
    let plan = plan("{}");
    let again = Plan::restored(plan.parts().clone());
    assert_eq!(again.as_ref(), Ok(&plan));
    let text = serde_json::to_string(plan.tests()).expect("JSON");
    assert_eq!(
        serde_json::from_str(&text).ok().as_ref(),
        Some(plan.tests())
    );
    let mut parts = plan.parts().clone();
    parts.incumbent = parts.candidate;
    Plan::restored(parts).expect_err("there is nothing to move");
    let mut parts = plan.parts().clone();
    parts.tests.guardrails.clear();
    Plan::restored(parts).expect_err("nothing would roll back");
}

#[test]
fn where_a_rollout_is_is_told() {
    let mut world = begun("2m ben pauses => step 1 holds: paused by ben");
    let mut told = |words: &[&str]| {
        world.act(words);
        world.rollout.status()
    };
    assert_eq!(told(&["look"]), "is at step 1 of 1 (10%), paused by ben");
    assert_eq!(told(&["ben", "resumes"]), "is at step 1 of 1 (10%)");
    assert_eq!(
        told(&["split", "1000"]),
        "is at step 1 of 1 (10%), and holds (mismatch)"
    );
    assert_eq!(
        told(&["ben", "promotes"]),
        "has all of the traffic and bakes"
    );
    assert_eq!(
        told(&["guardrail", "error_rate", "fail"]),
        "is rolled back (guardrail)"
    );
}
