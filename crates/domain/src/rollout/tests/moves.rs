//! Every transition, by tables of what happens and what is done.

use super::*;

#[test]
fn a_good_candidate_gets_all_of_the_traffic_by_itself() {
    check(
        "{}",
        "
        0s     look                             => serve 3:100%, validating, load 4, shadow, serve 3:100% shadow 4 10%
        5m     shadowed 1000                    =>
        10m    look                             => step 1, serve 4:1% 3:98% 3:1%
        20m    guardrail error_rate inconclusive =>
        20m    guardrail latency over 20ms inconclusive   =>
        20m    signal prediction_drift pass     =>
        40m    look                             =>
        41m    keys 200                         => step 2, serve 4:5% 3:90% 3:5%
        60m    keys 5000                        =>
        71m    look                             => step 3, serve 4:25% 3:50% 3:25%
        80m    keys 5000                        =>
        101m   look                             => step 4, serve 4:50% 3:0% 3:50%
        110m   keys 5000                        =>
        131m   look                             =>
        132m   guardrail error_rate pass        =>
        140m   guardrail latency over 20ms pass           => promoting, serve 4:100%, baking
        1499m  look                             =>
        26h    look                             =>
        1580m  look                             => succeeded
        2000m  look                             =>
        ",
    );
}

#[test]
fn a_candidate_answers_nobody_before_it_is_learned_what_its_scores_mean() {
    let spec = r#"{"shadow":"off","steps":["10%"],"signals":[],"deadline":"1d","hold":{"min":"1m","min_keys":1},
        "guardrails":[{"metric":"estimated.accuracy","worse_by":"1pp"}]}"#;
    let waits = "
        0s  look    => serve 3:100%, validating, load 4
        5m  look    =>
    ";
    let world = check(spec, waits);
    let missing = world.rollout.missing(&world.facts.evidence, world.now);
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        missing,
        ["what scores mean, which is learned from rows with labels"]
    );
    check(
        spec,
        &format!(
            "{waits}
            6m  learned => step 1, serve 4:10% 3:80% 3:10%
            6m  guardrail estimated.accuracy fail => rolling_back, serve 3:100%, rolled_back
            "
        ),
    );
    // It cannot be told: nobody is asked to believe it.
    check(
        spec,
        &format!(
            "{waits}
            6m  learned => step 1, serve 4:10% 3:80% 3:10%
            6m  guardrail estimated.accuracy error5 => step 1 holds: errors estimated.accuracy
            24h look => rolling_back, serve 3:100%, rolled_back
            "
        ),
    );
    check(
        spec,
        &format!("{waits} 24h look => rolling_back, rolled_back"),
    );
    check(
        spec,
        &format!("{waits} 6m ann aborts => rolling_back, aborted"),
    );
}

#[test]
fn a_guardrail_that_fails_rolls_back_from_wherever_it_is() {
    begun("2m guardrail error_rate fail => rolling_back, serve 3:100%, rolled_back");
    // Also while it holds, and while it bakes.
    begun(
        "
        2m ben pauses                 => step 1 holds: paused by ben
        3m guardrail error_rate fail  => rolling_back, serve 3:100%, rolled_back
        ",
    );
    let world = begun(
        "
        2m  ben promotes               => promoting, serve 4:100%, baking
        20h guardrail error_rate fail  => rolling_back, serve 3:100%, rolled_back
        21h guardrail error_rate pass  =>
        21h ben promotes               => refused: cannot promote `credit:4`, which is rolled back (guardrail): it is over; `windlass rollout start` begins another
        ",
    );
    // What nobody asked about changes nothing.
    assert_eq!(world.rollout.traffic(), Traffic::all(version(3)));
    begun("2m guardrail other fail =>");
    begun("2m signal error_rate fail =>");
}

#[test]
fn a_signal_holds_until_it_passes_or_a_person_answers_for_it() {
    let spec = r#"{"shadow":"off","steps":["1%","2%"],"hold":{"min":"1m","min_keys":1}}"#;
    let begun = "
        0s look                                 => serve 3:100%, validating, load 4, step 1, serve 4:1% 3:98% 3:1%
        0s guardrail error_rate inconclusive    =>
        0s guardrail latency over 20ms inconclusive       =>
        0s signal prediction_drift fail         => step 1 holds: signal prediction_drift
        1m keys 100                             =>
    ";
    check(
        spec,
        &format!(
            "{begun} 2m signal prediction_drift pass => step 1, step 2, serve 4:2% 3:96% 3:2%"
        ),
    );
    check(
        spec,
        &format!(
            "{begun}
            2m ann resumes             => step 1, step 2, serve 4:2% 3:96% 3:2%
            4m guardrail latency over 20ms fail  => rolling_back, serve 3:100%, rolled_back
            "
        ),
    );
    check(
        spec,
        &format!("{begun} 7d look => rolling_back, serve 3:100%, rolled_back"),
    );
}

#[test]
fn a_split_that_is_not_the_intended_one_holds_and_voids_what_was_compared() {
    begun(
        "
        2m split 999                     =>
        3m split 1000                    => step 1 holds: mismatch
        4m guardrail error_rate fail     =>
        5m guardrail error_rate pass     =>
        6m counted anew                  => step 1
        7m split 5000                    => step 1 holds: mismatch
        8m ben resumes                   => step 1, step 1 holds: mismatch
        7d look                          => rolling_back, serve 3:100%, rolled_back
        ",
    );
    // What is not compared with the control still counts.
    let spec = r#"{"shadow":"off","steps":["10%"],"signals":[],
        "guardrails":[{"metric":"latency","over":"50ms","allow":"1%"}]}"#;
    let mut world = check(
        spec,
        "
        0s look       => serve 3:100%, validating, load 4, step 1, serve 4:10% 3:80% 3:10%
        1m split 2000 => step 1 holds: mismatch
        ",
    );
    let tested = tested(Role::Guardrail, "latency over 50ms", "fail");
    world.facts.evidence.tests.push(tested);
    let done = ["rolling_back", "serve 3:100%", "rolled_back"];
    assert_eq!(world.look(), done);
}

#[test]
fn what_must_have_data_and_has_none_holds() {
    check(
        PLAIN,
        "
        0s  look                             => serve 3:100%, validating, load 4, step 1, serve 4:10% 3:80% 3:10%
        29m look                             =>
        30m look                             => step 1 holds: no data error_rate
        31m guardrail error_rate nodata      =>
        32m guardrail error_rate pass        => step 1
        33m keys 200                         => promoting, serve 4:100%, baking
        ",
    );
}

#[test]
fn what_has_no_data_stands_in_the_way_no_longer_once_a_person_answers_for_it() {
    check(
        PLAIN,
        "
        0s  look        => serve 3:100%, validating, load 4, step 1, serve 4:10% 3:80% 3:10%
        30m keys 200    => step 1 holds: no data error_rate
        31m ben resumes => step 1, promoting, serve 4:100%, baking
        ",
    );
}

#[test]
fn it_wants_to_be_looked_at_when_something_is_due() {
    let spec = PLAIN.replacen('{', r#"{"deadline":"40m","bake":"2h","#, 1);
    let mut world = check(&spec, "0s candidate loading => serve 3:100%, validating");
    let mut due = |minutes: u64, words: &[&str]| {
        world.now = START.after(std::time::Duration::from_secs(minutes * 60));
        world.act(words);
        world.until.map(|it| (it.0 - START.0) / 60_000)
    };
    assert_eq!(due(0, &["look"]), Some(40));
    assert_eq!(due(5, &["candidate", "ready"]), Some(35));
    // The deadline comes first.
    assert_eq!(due(6, &["restart"]), Some(35));
    assert_eq!(
        due(36, &["guardrail", "error_rate", "inconclusive"]),
        Some(40)
    );
    assert_eq!(due(37, &["ben", "promotes"]), Some(157));
    // No time brings a candidate back.
    assert_eq!(due(38, &["candidate", "loading"]), None);
}

#[test]
fn a_step_that_began_late_is_looked_at_by_the_deadline() {
    let spec = PLAIN.replacen('{', r#"{"deadline":"40m","#, 1);
    let world = check(
        &spec,
        "
        0s  candidate loading => serve 3:100%, validating
        20m candidate ready   => step 1, serve 4:10% 3:80% 3:10%
        ",
    );
    assert_eq!(world.until, Some(world.rollout.progress.until));
}

#[test]
fn it_waits_for_no_time_that_is_past() {
    let holds = PLAIN.replacen('{', r#"{"on_timeout":"hold","#, 1);
    let until = |spec: &str, script: &str| {
        let world = check(spec, &format!("{BEGUN}{script}"));
        world.until.map(|it| (it.0 - START.0) / 60_000)
    };
    let deadline = "7d look => step 1 holds: deadline";
    assert_eq!(until(&holds, deadline), None);
    // Paused, nothing but a deadline that goes back is waited for.
    let paused = "2m ben pauses => step 1 holds: paused by ben";
    assert_eq!(until(&holds, paused), None);
    assert_eq!(until(PLAIN, paused), Some(7 * 24 * 60));
    let lacks = "2m guardrail error_rate nodata =>";
    assert_eq!(until(PLAIN, lacks), Some(30));
}

#[test]
fn labels_that_must_come_are_missed_in_time() {
    let spec = r#"{"shadow":"off","steps":["5%","10%"],"signals":[],"promote_when":{"labels":{"wait":"3d"}},
        "guardrails":[{"metric":"loss","worse_by":"0.1","must_have_data":true}]}"#;
    let world = check(
        spec,
        "
        0s  look => serve 3:100%, validating, load 4, step 1, serve 4:5% 3:90% 3:5%
        31m look =>
        ",
    );
    assert_eq!(world.until, Some(Moment(START.0 + 3 * 86_400_000)));
}

#[test]
fn errors_in_a_row_hold() {
    begun(
        "
        2m guardrail error_rate error4       =>
        3m guardrail error_rate error5       => step 1 holds: errors error_rate
        4m guardrail error_rate error6       =>
        5m guardrail error_rate inconclusive => step 1
        ",
    );
}

#[test]
fn not_failing_is_not_passing() {
    begun(
        "
        1h keys 100000                       =>
        6d guardrail error_rate inconclusive =>
        6d guardrail error_rate pass         => promoting, serve 4:100%, baking
        ",
    );
    begun(
        "
        1h keys 100000                       =>
        7d look                              => rolling_back, serve 3:100%, rolled_back
        ",
    );
}

#[test]
fn labels_are_waited_for_as_long_as_is_said() {
    let of = |labels: &str, must: &str| {
        format!(
            r#"{{"shadow":"off","steps":["10%"],"signals":[],"promote_when":{{{labels}}},"guardrails":[
            {{"metric":"error_rate","worse_by":"0.5pp"}},{{"metric":"loss","worse_by":"0.1"{must}}}]}}"#
        )
    };
    let waits = r#""labels":{"wait":"3d","min":500}"#;
    let begun = "
        0s look                      => serve 3:100%, validating, load 4, step 1, serve 4:10% 3:80% 3:10%
        1m guardrail error_rate pass =>
        1h keys 1000                 =>
    ";
    let promoted = "promoting, serve 4:100%, baking";
    let run = |spec: &str, rest: &str| check(spec, &format!("{begun}{rest}"));
    // Nothing came.
    run(
        &of(waits, ""),
        &format!("71h look =>\n 3d look => {promoted}"),
    );
    run(&of("", ""), "6d look =>");
    run(
        &of(waits, r#","must_have_data":true"#),
        "71h look =>\n 3d look => step 1 holds: no data loss",
    );
    // Enough came, and says nothing yet.
    run(
        &of(waits, ""),
        &format!(
            "2h guardrail loss inconclusive =>\n 4d look =>\n 4d guardrail loss pass => {promoted}"
        ),
    );
    // Too few came to be told by.
    let few = of(r#""labels":{"wait":"3d","min":2000}"#, "");
    run(
        &few,
        &format!("2h guardrail loss pass =>\n 3d look => {promoted}"),
    );
    let few = of(
        r#""labels":{"wait":"3d","min":2000}"#,
        r#","must_have_data":true"#,
    );
    run(&few, "2h guardrail loss pass =>\n 6d look =>");
    // Late labels roll back however late.
    run(
        &of(waits, ""),
        &format!(
            "3d look => {promoted}\n 80h guardrail loss fail => rolling_back, serve 3:100%, rolled_back"
        ),
    );
}

#[test]
fn approval_is_asked_for_where_it_is_wanted() {
    let of = |approval: &str| {
        format!(
            r#"{{"shadow":"off","steps":["1%","2%"],"hold":{{"min":"0s","min_keys":1}},"signals":[],"approval":"{approval}",
            "guardrails":[{{"metric":"error_rate","worse_by":"0.5pp","must_have_data":false}}]}}"#
        )
    };
    check(
        &of("each-step"),
        "
        0s look                      => serve 3:100%, validating, load 4, step 1, serve 4:1% 3:98% 3:1%
        1m ann approves              => refused: cannot approve `credit:4`, which is at step 1 of 2 (1%): nothing awaits approval
        1m keys 1                    => step 1 awaits
        2m ann approves              => step 2, serve 4:2% 3:96% 3:2%
        3m keys 1                    =>
        4m guardrail error_rate pass => step 2 awaits
        5m guardrail error_rate fail => rolling_back, serve 3:100%, rolled_back
        ",
    );
    check(
        &of("before-promote"),
        "
        0s look                      => serve 3:100%, validating, load 4, step 1, serve 4:1% 3:98% 3:1%
        0s guardrail error_rate pass =>
        1m keys 1                    => step 2, serve 4:2% 3:96% 3:2%
        2m keys 1                    => step 2 awaits
        3m ann pauses                => step 2 holds: paused by ann
        4m ann resumes               => step 2, step 2 awaits
        5m ann approves              => promoting, serve 4:100%, baking
        ",
    );
    check(
        &of("before-promote"),
        "
        0s look                      => serve 3:100%, validating, load 4, step 1, serve 4:1% 3:98% 3:1%
        0s guardrail error_rate pass =>
        1m keys 1                    => step 2, serve 4:2% 3:96% 3:2%
        2m keys 1                    => step 2 awaits
        7d look                      => rolling_back, serve 3:100%, rolled_back
        ",
    );
}

#[test]
fn people_pause_promote_abort_and_bring_another() {
    begun(
        "
        2m ben approves => refused: cannot approve `credit:4`, which is at step 1 of 1 (10%): nothing awaits approval
        2m ben resumes  => refused: cannot resume `credit:4`, which is at step 1 of 1 (10%): it does not hold
        2m ben pauses   => step 1 holds: paused by ben
        2m ben pauses   => refused: cannot pause `credit:4`, which is at step 1 of 1 (10%), paused by ben: it is paused already
        3m guardrail error_rate pass =>
        1h keys 1000    =>
        2h ben resumes  => step 1, promoting, serve 4:100%, baking
        3h ben pauses   => refused: cannot pause `credit:4`, which has all of the traffic and bakes: only shadow and steps can be paused; `abort` goes back
        4h ben promotes => succeeded
        ",
    );
    begun(
        "
        2m ben aborts   => rolling_back, serve 3:100%, aborted
        3m ben aborts   => refused: cannot abort `credit:4`, which was aborted by ben: it is over; `windlass rollout start` begins another
        ",
    );
    begun(
        "
        2m ben brings 4 => refused: cannot supersede `credit:4`, which is at step 1 of 1 (10%): it is about this version already
        2m ben brings 5 => rolling_back, serve 3:100%, superseded
        ",
    );
    check(
        PLAIN,
        "
        0s incumbent absent => load 3, serve 3:100%, validating, load 4, step 1, serve 4:10% 3:80% 3:10%
        1m ben promotes     => promoting, serve 4:100%, baking
        2m ben aborts       => rolling_back, serve 3:100%, aborted
        ",
    );
}

#[test]
fn a_candidate_that_will_not_load_or_dies_goes_back() {
    check(
        PLAIN,
        "
        0s candidate loading => serve 3:100%, validating
        1m candidate failed  => rolling_back, rolled_back
        ",
    );
    check(
        PLAIN,
        "
        0s candidate loading => serve 3:100%, validating
        1m ben promotes      => refused: cannot promote `credit:4`, which is being validated: only a candidate that answers requests can be promoted
        7d look              => rolling_back, rolled_back
        ",
    );
    begun("2m candidate failed => rolling_back, serve 3:100%, rolled_back");
}

#[test]
fn an_incumbent_that_cannot_be_loaded_holds_but_keeps_nobody_from_an_end() {
    begun(
        "
        2m incumbent failed => step 1 holds: incumbent, load 3
        3m ben resumes      => refused: cannot resume `credit:4`, which is at step 1 of 1 (10%), and holds (incumbent): it goes on when the incumbent, to which it would go back, is loaded again
        4m incumbent ready  => step 1
        ",
    );
    begun(
        "
        2m ben promotes     => promoting, serve 4:100%, baking
        3m incumbent failed =>
        2d look             => succeeded
        ",
    );
    begun(
        "
        2m ben promotes     => promoting, serve 4:100%, baking
        3m incumbent failed =>
        4m ben aborts       => rolling_back, load 3
        5m incumbent ready  => serve 3:100%, aborted
        ",
    );
    check(
        PLAIN,
        "
        0s incumbent loading =>
        7d look              => rolling_back
        8d incumbent failed  => rolled_back
        ",
    );
    begun(
        "
        2m incumbent failed => step 1 holds: incumbent, load 3
        3m ben aborts       => rolling_back, load 3
        4m restart          => aborted
        ",
    );
    // Neither answers any longer.
    begun(
        "
        2m incumbent failed => step 1 holds: incumbent, load 3
        3m ben aborts       => rolling_back, load 3
        4m candidate failed => aborted
        ",
    );
    // In the shadow nobody hears it.
    check(
        "{}",
        "
        0s look             => serve 3:100%, validating, load 4, shadow, serve 3:100% shadow 4 10%
        1m incumbent failed => shadow holds: incumbent, load 3
        2m ben aborts       => rolling_back, aborted
        ",
    );
}

#[test]
fn the_incumbent_stays_loaded_while_the_candidate_bakes() {
    begun(
        "
        2m  ben promotes     => promoting, serve 4:100%, baking
        3m  incumbent absent => load 3
        20h ben aborts       => rolling_back, serve 3:100%, aborted
        ",
    );
}

#[test]
fn at_the_deadline_it_holds_where_that_is_said() {
    let spec = PLAIN.replacen('{', r#"{"on_timeout":"hold","#, 1);
    check(
        &spec,
        &format!(
            "{BEGUN}
            7d  look                         => step 1 holds: deadline
            8d  guardrail error_rate pass    =>
            8d  keys 1000                    =>
            30d ben resumes                  => step 1, promoting, serve 4:100%, baking
            "
        ),
    );
    check(
        &spec,
        &format!(
            "{BEGUN}
            7d  look        => step 1 holds: deadline
            8d  ben resumes => step 1
            15d look        => step 1 holds: deadline
            16d ben aborts  => rolling_back, serve 3:100%, aborted
            "
        ),
    );
}

#[test]
fn a_clock_that_was_set_back_moves_nothing_on() {
    let mut world = begun(
        "
        2m guardrail error_rate pass =>
        2m keys 1000                 =>
        ",
    );
    // The stage began at the start; a day before it, half an hour passes.
    let at = |minutes: i64| Moment(START.0 - 86_400_000 + minutes * 60_000);
    world.now = at(0);
    assert_eq!(world.look(), ["clock back 86400s"]);
    assert_eq!(
        world.rollout.progress.until,
        Moment(at(0).0 + 7 * 86_400_000)
    );
    world.now = at(29);
    assert!(world.look().is_empty());
    world.now = at(30);
    assert_eq!(world.look(), ["promoting", "serve 4:100%", "baking"]);
}

#[test]
fn a_restart_goes_on_where_it_was() {
    begun(
        "
        2m restart      => load 4, serve 4:10% 3:80% 3:10%
        3m ben pauses   => step 1 holds: paused by ben
        4m restart      => load 4, serve 4:10% 3:80% 3:10%
        5m ben promotes => promoting, serve 4:100%, baking
        6m restart      => load 4, serve 4:100%
        ",
    );
    // Between an event and what it brings about, whichever it is: the same things are done.
    let script = begun("2m guardrail error_rate fail => rolling_back, serve 3:100%, rolled_back");
    for cut in 0..=script.events.len() {
        let mut world = World::new(plan(PLAIN));
        world.facts.evidence = script.facts.evidence.clone();
        world.now = START.after(std::time::Duration::from_secs(120));
        world.events = script.events[..cut].to_vec();
        let plan = world.rollout.plan.clone();
        world.rollout = Rollout::replay(plan, &world.events).expect("its own events");
        world.look();
        assert_eq!(short(&world.rollout.progress.state), "rolled_back");
        // What is over routes nothing: the model's traffic is its owner's again.
        let served = (cut < script.events.len()).then(|| Traffic::all(version(3)));
        assert_eq!(world.facts.serving, served);
    }
}

#[test]
fn an_event_is_followed_once() {
    let world = begun("");
    let mut rollout = world.rollout.clone();
    let last = world.events.last().expect("an event");
    let refusal = rollout.apply(last).expect_err("it was followed");
    assert!(
        refusal.to_string().contains("after 2 events, and event 1"),
        "{refusal}"
    );
    let evidence = &world.facts.evidence;
    let (now, by) = (world.now, person("ben", ""));
    let of = |deed| {
        rollout
            .command(deed, by.clone(), evidence, now)
            .expect("it can be done")
    };
    let (one, other) = (of(Deed::Pause), of(Deed::Abort));
    rollout.apply(&one).expect("the next event");
    rollout.apply(&other).expect_err("another was first");
    // Nor when it is again where it was then.
    let resumed = rollout.command(Deed::Resume, by, evidence, now);
    rollout
        .apply(&resumed.expect("it can be done"))
        .expect("the next event");
    rollout.apply(&one).expect_err("that was long ago");
}

#[test]
fn a_candidate_is_withdrawn_where_it_is_asked_and_the_incumbent_can_answer() {
    let mut world = World::new(plan(r#"{"shadow":"off","steps":["5%"]}"#));
    world.look();
    let withdraws = |world: &World| match world.rollout.next(&world.facts, world.now) {
        Next::Append(event) => world.rollout.withdraws(&event, &world.facts),
        next => panic!("{next:?}"),
    };
    let hold = tested(Role::Signal, "prediction_drift", "fail");
    world.facts.evidence.tests.push(hold);
    assert!(!withdraws(&world), "it is held");
    let fails = tested(Role::Guardrail, "error_rate", "fail");
    world.facts.evidence.tests.push(fails);
    assert!(withdraws(&world));
    let at_step = world.facts.serving.replace(Traffic::all(version(3)));
    assert!(!withdraws(&world), "nobody asks it");
    world.facts.serving = at_step;
    world.facts.incumbent = Loaded::Loading;
    assert!(!withdraws(&world), "nobody could answer");
}
