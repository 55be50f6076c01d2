//! Candidates that are told from their scores alone.

use ::ledger::Scored;
use stats::estimate::compared::Labelled as Row;

use super::*;
use crate::rollouts::learned::Learned;

const ESTIMATED: &str = r#"{"alpha":0.05,"guardrails":[
    {"metric":"estimated.accuracy","worse_by":"5pp"},
    {"metric":"estimated.precision","worse_by":"10pp"},
    {"metric":"estimated.log_loss","worse_by":"30%"},
    {"metric":"estimated.brier","worse_by":"0.1"}
  ],"signals":[]}"#;

/// Rows of the incumbent's past as both answer them; for `drift` of those that check, scores mean the opposite.
fn learned(count: u64, candidate: Truth, drift: f64) -> Learned {
    let mut random = Random::new(21);
    let mut row = |is_held: bool| {
        let score = random.uniform();
        let is_bad = random.uniform() < score;
        let is_blind = random.uniform() < 0.5 && random.uniform() < candidate.blind;
        let positive = match is_held && random.uniform() < drift {
            true => !is_bad,
            false => is_bad,
        };
        [score, if is_blind { 1.0 - score } else { score }].map(|score| Row {
            answer: answer_of(&Scored {
                hash: 0,
                score,
                predicted_positive: score >= 0.5,
                positive: None,
            }),
            positive,
        })
    };
    let taught: Vec<[Row; 2]> = (0..count).map(|_| row(false)).collect();
    let held = (0..count).map(|_| row(true)).collect();
    let of = |version: usize| -> Vec<Row> { taught.iter().map(|it| it[version]).collect() };
    Learned {
        scores: [Scores::fit(&of(0)), Scores::fit(&of(1))],
        taught: count,
        held,
        versions: [1, 2].map(|it| domain::Version::new(it).expect("not zero")),
    }
}

const BLIND: Truth = Truth {
    blind: 1.0,
    ..SOUND
};

#[tokio::test]
async fn scores_tell_a_worse_candidate_from_a_sound_one_without_any_label() {
    let plan = plan(ESTIMATED);
    for (truth, want) in [(SOUND, Verdict::Pass), (BLIND, Verdict::Fail)] {
        let mut world = World::new(17, truth);
        let (mut often, mut late) = (Watch::new(&plan), Watch::new(&plan));
        for watch in [&mut often, &mut late] {
            assert!(watch.waits_for_scores());
            let nothing = world.look(watch, &plan, 1).await;
            assert!(nothing.tests.iter().all(|it| it.verdict == Verdict::NoData));
            watch.learn(&plan, Ok(learned(2_000, truth, 0.0)));
            assert!(!watch.waits_for_scores());
        }
        for second in 0..60 {
            world.second(second, 50);
            if second % 12 == 11 {
                world.look(&mut often, &plan, second).await;
                let text = serde_json::to_string(&often).expect("it can be written");
                assert!(text.len() < 100_000, "{}", text.len());
                often = serde_json::from_str(&text).expect("it can be read");
            }
        }
        let evidence = world.look(&mut late, &plan, 70).await;
        let often = world.look(&mut often, &plan, 70).await;
        let json = |it: &Evidence| serde_json::to_value(it).expect("it can be written");
        assert!(
            near(&json(&often), &json(&evidence)),
            "{often:?}\n{evidence:?}"
        );
        for test in &evidence.tests {
            assert_eq!(test.verdict, want, "{test:?}");
        }
        let accuracy = &evidence.tests[0];
        let control = accuracy.control.and_then(|it| it.value).expect("a share");
        let candidate = accuracy.candidate.value.expect("a share");
        assert!((0.72..0.78).contains(&control), "{accuracy:?}");
        // In half of the rows it is as often right as the incumbent is wrong.
        let half = if want == Verdict::Pass { 0.75 } else { 0.5 };
        assert!((candidate - half).abs() < 0.04, "{accuracy:?}");
        let interval = accuracy.interval.expect("an interval");
        let difference = half - 0.75;
        assert!(interval.low < difference && interval.high > difference);
    }
}

#[tokio::test]
async fn an_estimate_that_labels_refute_says_so_and_nothing_else() {
    let plan = plan(ESTIMATED);
    let mut world = World::new(18, SOUND);
    (0..20).for_each(|it| world.second(it, 50));
    let mut watch = Watch::new(&plan);
    watch.learn(&plan, Ok(learned(2_000, SOUND, 0.2)));
    let evidence = world.look(&mut watch, &plan, 30).await;
    let Verdict::Error { why, looks: 1 } = &evidence.tests[0].verdict else {
        panic!("{evidence:?}");
    };
    let said = "it is not believed: of version 1 it was 0.7";
    assert!(
        why.starts_with(said) && why.contains("labels say 0.6"),
        "{why}"
    );
    // What was not learned is not known, and is said in the same way; what was learned stays.
    let mut unlearned = Watch::new(&plan);
    unlearned.learn(&plan, Err(Refusal::Cancelled));
    unlearned.learn(&plan, Ok(learned(2_000, SOUND, 0.0)));
    let evidence = world.look(&mut unlearned, &plan, 30).await;
    assert!(!unlearned.waits_for_scores());
    assert_eq!(evidence.tests.len(), 4);
    for test in &evidence.tests {
        assert!(
            matches!(&test.verdict, Verdict::Error { why, .. } if why.contains("not known what the scores mean")),
            "{test:?}"
        );
    }
}

#[tokio::test]
async fn few_labels_leave_room_for_what_they_cannot_tell() {
    // Worse by a little more than the margin: many labels tell that, few do not.
    let plan =
        plan(r#"{"guardrails":[{"metric":"estimated.accuracy","worse_by":"5pp"}],"signals":[]}"#);
    let truth = Truth {
        blind: 0.5,
        ..SOUND
    };
    let verdict = async |labels: u64| {
        let mut world = World::new(19, truth);
        let mut watch = Watch::new(&plan);
        watch.learn(&plan, Ok(learned(labels, truth, 0.0)));
        (0..100).for_each(|it| world.second(it, 50));
        let evidence = world.look(&mut watch, &plan, 120).await;
        evidence.tests[0].verdict.clone()
    };
    assert_eq!(verdict(200).await, Verdict::Inconclusive);
    assert_eq!(verdict(5_000).await, Verdict::Fail);
}
