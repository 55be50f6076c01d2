//! Evidence of rollouts whose truth is known, from rows in a ledger.

use ::ledger::{Label, Layout, Rows, Settings, Spent, Target, Version, Writer, posted_as};
use domain::rollout::command::Person;
use domain::rollout::plan::Ask;
use domain::rollout::recorded::Recorded;
use domain::{DataType, Dimension, Elements, PredictionId, Signature, Tensor, TensorSpec};
use serde_json::Value;
use stats::random::Random;

use super::*;

mod estimated;

const START: Moment = Moment(1_795_521_600_000);
const LONGEST: Duration = Duration::from_secs(5);

fn signature() -> Signature {
    let spec = |name: &str, width| TensorSpec {
        name: name.to_owned(),
        datatype: DataType::Fp32,
        shape: vec![Dimension::Variable(None), Dimension::Fixed(width)],
        features: Vec::new(),
    };
    let task = r#"{"type":"binary","positive":"bad","classes":["good","bad"],"scores":"p","threshold":0.5}"#;
    Signature {
        inputs: vec![spec("x", 1)],
        outputs: vec![spec("p", 2)],
        rows: domain::signature::Rows::Outermost,
        task: serde_json::from_str(task).expect("a task"),
    }
}

/// A plan of `m:2` in place of `m:1` with these tests.
fn plan(tests: &str) -> Plan {
    let signature = signature();
    let ask = Ask {
        id: "r-1".parse().expect("an id"),
        model: "m".parse().expect("a name"),
        incumbent: domain::Version::new(1),
        candidate: domain::Version::new(2).expect("not zero"),
        signatures: (&signature, &signature),
        spec: serde_json::from_str(tests).expect("a spec"),
        recorded: Recorded {
            ledger: true,
            prices: true,
            task: signature.task.as_ref(),
            columns: None,
            posted: &["revenue".to_owned(), "hours".to_owned()],
            latency: Some(Duration::from_millis(20)),
            labelled: 400,
        },
        person: Person {
            who: "ann".to_owned(),
            why: String::new(),
        },
        now: START,
    };
    Plan::new(ask, None).expect("it can be done")
}

/// All tests that need no labels.
const ALL: &str = r#"{"alpha":0.05,"guardrails":[
    {"metric":"error_rate","worse_by":"1pp"},
    {"metric":"latency","over":"20ms","worse_by":"1pp"},
    {"metric":"latency","over":"50ms","allow":"10%"},
    {"metric":"cost_per_1k","worse_by":"10%"}
  ],"signals":[
    {"metric":"prediction_drift","js_below":0.2},
    {"metric":"disagreement","below":"10%"}
  ]}"#;

/// What a version does.
#[derive(Clone, Copy)]
struct Truth {
    fails: f64,
    /// The share of answers that take 30 ms, and not 10.
    slow: f64,
    cost: f32,
    /// What is added to scores.
    raised: f32,
    /// Scores say nothing of the truth for this part of the second group.
    blind: f64,
    /// What a request brings, on average.
    brings: f64,
}

const SOUND: Truth = Truth {
    fails: 0.02,
    slow: 0.05,
    cost: 0.001,
    raised: 0.0,
    blind: 0.0,
    brings: 10.0,
};

struct World {
    folder: tempfile::TempDir,
    ledger: Arc<Ledger>,
    writers: [Writer; 3],
    random: Random,
    requests: u64,
    candidate: Truth,
    /// Rows whose label is to come.
    unlabelled: Vec<(Target, bool)>,
    /// What rows brought that is not posted yet.
    unposted: Vec<(Target, f64)>,
}

fn open(folder: &std::path::Path) -> (Arc<Ledger>, [Writer; 3]) {
    let settings = Settings {
        segment_bytes: 16 << 20,
        ..Settings::default()
    };
    let ledger = Ledger::open(folder, settings).expect("a ledger");
    ledger.make_room();
    let signature = signature();
    let layout = |version| {
        let layout = Layout::new(&Version {
            model: "m",
            version,
            digest: format!("{version:064x}"),
            signature: &signature,
            key: None,
            caller: None,
        });
        layout.expect("a layout")
    };
    let layouts = [layout(1), layout(2), layout(2).unheard()];
    let writers = layouts.map(|it| ledger.writer(it));
    (Arc::new(ledger), writers)
}

impl World {
    fn new(seed: u64, candidate: Truth) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (ledger, writers) = open(folder.path());
        Self {
            folder,
            ledger,
            writers,
            random: Random::new(seed),
            requests: 0,
            candidate,
            unlabelled: Vec::new(),
            unposted: Vec::new(),
        }
    }

    /// Records a request of that second, and gives its id and score.
    fn request(&mut self, second: i64, (version, arm): (usize, &str), of: Option<([u8; 16], f32)>) {
        let truth = [SOUND, self.candidate][version - 1];
        self.requests += 1;
        let ms = self.random.below(1_000) as i64;
        let came_ms = START.0 + second * 1_000 + ms;
        let score = of.map_or_else(|| self.random.uniform() as f32, |it| it.1);
        let mut id = [0; 16];
        id[..6].copy_from_slice(&came_ms.to_be_bytes()[2..]);
        id[8..].copy_from_slice(&self.requests.to_be_bytes());
        let fails = self.random.uniform() < truth.fails;
        let is_slow = self.random.uniform() < truth.slow;
        let key = format!("k{}", self.random.below(5_000));
        // Whether it is bad is as probable as the score says, unless the version is blind for it.
        let is_bad = self.random.uniform() < f64::from(score);
        let group = self.random.below(2) as f32;
        let is_blind = group > 0.5 && self.random.uniform() < truth.blind;
        let said = if is_blind { 1.0 - score } else { score };
        let bad = (said + truth.raised).min(1.0);
        let x = Tensor::new(vec![1, 1], Elements::from_slice(&[group])).expect("fits");
        let inputs = [x];
        let p = Tensor::new(vec![1, 2], Elements::from_slice(&[1.0 - bad, bad])).expect("fits");
        let outputs = [(0, &p)];
        let rows = Rows {
            id: of.map_or(id, |it| it.0),
            time_us: came_ms * 1_000,
            rows: 1,
            arm,
            key: (!self.requests.is_multiple_of(3)).then_some(&key),
            caller: None,
            request_id: None,
            code: fails.then_some("model_failed"),
            spent: Spent {
                total_us: if is_slow { 30_000 } else { 10_000 },
                cost: truth.cost * (0.5 + self.random.uniform() as f32),
                ..Spent::default()
            },
            inputs: Some(&inputs),
            outputs: if fails { &[] } else { &outputs },
            sample: domain::ledger::Share::default(),
        };
        let writer = match arm {
            "shadow" => &self.writers[2],
            _ => &self.writers[version - 1],
        };
        while self.ledger.record(writer, &rows, 0, START.0).is_err() {
            self.ledger.make_room();
        }
        if of.is_none() {
            let target = Target::Id(PredictionId {
                request: id,
                row: 0,
            });
            let brings = truth.brings * 2.0 * self.random.uniform();
            self.unposted.push((target.clone(), brings));
            self.unlabelled.push((target, is_bad));
        }
        if arm == "traffic" {
            self.request(second, (2, "shadow"), Some((id, score)));
        }
    }

    /// A second with this many requests of each arm, and of the shadow.
    fn second(&mut self, second: i64, count: usize) {
        for _ in 0..count {
            self.request(second, (2, "candidate"), None);
            self.request(second, (1, "control"), None);
            self.request(second, (1, "traffic"), None);
        }
    }

    /// The labels of all rows so far come in that second.
    fn label(&mut self, second: i64) {
        let labels = self.unlabelled.drain(..).map(|(target, is_bad)| Label {
            target,
            value: if is_bad { "bad" } else { "good" }.to_owned(),
            at_us: 0,
        });
        let labels: Vec<Label> = labels.collect();
        self.ledger.make_room();
        let now_ms = START.0 + second * 1_000;
        let added = self.ledger.add_labels("m", &labels, now_ms);
        added.expect("room for labels");
    }

    /// What all rows so far brought is posted in that second.
    fn post(&mut self, metric: &str, second: i64) {
        let values = self.unposted.drain(..).map(|(target, value)| Label {
            target,
            value: value.to_string(),
            at_us: 0,
        });
        let values: Vec<Label> = values.collect();
        self.ledger.make_room();
        let (table, now_ms) = (posted_as("m", metric), START.0 + second * 1_000);
        let added = self.ledger.add_labels(&table, &values, now_ms);
        added.expect("room for values");
    }

    async fn look(&self, watch: &mut Watch, plan: &Plan, second: i64) -> Evidence {
        let now = Moment(START.0 + second * 1_000);
        watch.look_in(self.source(), plan, (LONGEST, 7, now)).await
    }

    fn source(&self) -> Result<Source, Refusal> {
        Ok(Source {
            ledger: Arc::clone(&self.ledger),
            attributes: Attributes::default(),
        })
    }
}

/// Whether two values are the same but for the last digits of numbers.
fn near(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(1.0));
            (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| near(a, b)))
        }
        (one, other) => one == other,
    }
}

fn verdicts(evidence: &Evidence) -> Vec<(String, Verdict)> {
    let all = evidence.tests.iter();
    all.map(|it| (it.name.clone(), it.verdict.clone()))
        .collect()
}

#[tokio::test]
async fn however_one_looks_the_evidence_is_the_same() {
    let plan = plan(ALL);
    let mut world = World::new(1, SOUND);
    let (mut often, mut restarted) = (Watch::new(&plan), Watch::new(&plan));
    for second in 0..60 {
        world.second(second, 20);
        if second % 3 == 0 {
            world.look(&mut often, &plan, second).await;
        }
        if second % 7 == 0 {
            world.look(&mut restarted, &plan, second).await;
            let text = serde_json::to_string(&restarted).expect("it can be written");
            restarted = serde_json::from_str(&text).expect("it can be read");
        }
    }
    let mut late = Watch::new(&plan);
    let evidence = world.look(&mut late, &plan, 70).await;
    assert_eq!(world.look(&mut often, &plan, 70).await, evidence);
    assert_eq!(often, late);
    let restarted = world.look(&mut restarted, &plan, 70).await;
    let json = |it: &Evidence| serde_json::to_value(it).expect("it can be written");
    assert!(near(&json(&restarted), &json(&evidence)), "{restarted:?}");
    // A look at nothing new changes nothing.
    assert_eq!(world.look(&mut late, &plan, 70).await, evidence);
    assert_eq!(evidence.shadowed, 1_200);
    assert!(
        (1_000..=1_200).contains(&evidence.keys),
        "{}",
        evidence.keys
    );
    let split = evidence.split.expect("a split");
    assert!((1_000..=1_200).contains(&split.control) && split.e_value < 1_000.0);
    let errors = &evidence.tests[0];
    assert!((1_150..=1_200).contains(&errors.candidate.n));
    let cost = &evidence.tests[3];
    let value = cost.control.and_then(|it| it.value).expect("a cost");
    assert!((0.9..1.1).contains(&value), "{cost:?}");
}

#[tokio::test]
async fn a_sound_candidate_is_never_failed_and_a_harmful_one_is() {
    let plan = plan(ALL);
    for seed in 0..4 {
        let mut world = World::new(seed, SOUND);
        let mut watch = Watch::new(&plan);
        for minute in 0..4 {
            (0..15).for_each(|it| world.second(minute * 15 + it, 50));
            // All that ended in these seconds; the rest is of the next look.
            let evidence = world.look(&mut watch, &plan, minute * 15 + 16).await;
            assert!(!evidence.is_mismatch());
            let failed = verdicts(&evidence);
            let failed = failed.iter().find(|it| it.1 == Verdict::Fail);
            assert_eq!(failed, None, "seed {seed}: {evidence:?}");
            if minute == 3 {
                let passed = |name: &str| {
                    let mut all = evidence.tests.iter();
                    all.any(|it| it.name == name && it.verdict == Verdict::Pass)
                };
                assert!(passed("latency over 50ms") && passed("disagreement"));
                assert!(passed("cost_per_1k"), "{evidence:?}");
            }
        }
    }
    let harm = |change: fn(&mut Truth)| {
        let mut truth = SOUND;
        change(&mut truth);
        truth
    };
    for (name, truth) in [
        ("error_rate", harm(|it| it.fails = 0.10)),
        ("latency over 20ms", harm(|it| it.slow = 0.20)),
        ("latency over 50ms", harm(|it| it.fails = 0.20)),
        ("cost_per_1k", harm(|it| it.cost = 0.0015)),
        ("prediction_drift", harm(|it| it.raised = 0.4)),
        ("disagreement", harm(|it| it.raised = 0.2)),
    ] {
        let mut world = World::new(3, truth);
        let mut watch = Watch::new(&plan);
        (0..40).for_each(|it| world.second(it, 50));
        let evidence = world.look(&mut watch, &plan, 50).await;
        let failed = evidence.tests.iter().find(|it| it.name == name);
        let failed = failed.expect("a test");
        assert_eq!(failed.verdict, Verdict::Fail, "{failed:?}");
        let least = if failed.role == Role::Guardrail {
            80.0
        } else {
            20.0
        };
        assert!(failed.e_value.is_some_and(|it| it >= least), "{failed:?}");
        assert!(failed.interval.is_some());
    }
}

#[tokio::test]
async fn a_look_that_fails_loses_nothing() {
    let plan = plan(r#"{"guardrails":[{"metric":"error_rate","worse_by":"1pp"}]}"#);
    let mut world = World::new(5, SOUND);
    (0..5).for_each(|it| world.second(it, 10));
    let mut whole = Watch::new(&plan);
    let want = world.look(&mut whole, &plan, 10).await;
    // The log of a process that ended, cut and mended.
    let World { folder, ledger, .. } = world;
    drop(ledger);
    let (ledger, writers) = open(folder.path());
    let log = std::fs::read_dir(folder.path().join("log")).expect("a folder");
    let log = log
        .map(|it| it.expect("a file").path())
        .min()
        .expect("a file");
    let bytes = std::fs::read(&log).expect("bytes");
    let cut = |len: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(&log);
        file.and_then(|it| it.set_len(len)).expect("it can be cut");
    };
    cut(1);
    let world = World {
        folder,
        ledger,
        writers,
        random: Random::new(1),
        requests: 0,
        candidate: SOUND,
        unlabelled: Vec::new(),
        unposted: Vec::new(),
    };
    let mut watch = Watch::new(&plan);
    for count in 1..=2 {
        let failed = world.look(&mut watch, &plan, 10).await;
        let Verdict::Error { why, looks } = &failed.tests[0].verdict else {
            panic!("{failed:?}");
        };
        assert!(*looks == count && why.contains("log"), "{why}");
    }
    std::fs::write(&log, bytes).expect("mended");
    assert_eq!(world.look(&mut watch, &plan, 10).await, want);
    assert_eq!(watch, whole);
}

#[tokio::test]
async fn what_a_stage_has_seen_begins_anew_and_the_tests_go_on() {
    let plan = plan(r#"{"guardrails":[{"metric":"error_rate","worse_by":"1pp"}]}"#);
    let mut world = World::new(6, SOUND);
    (0..20).for_each(|it| world.second(it, 10));
    let mut watch = Watch::new(&plan);
    let first = world.look(&mut watch, &plan, 10).await;
    // Nine seconds are over, and of what came in the last five of them some may still be on its way. Some keys came twice.
    let came = first.split.as_ref().expect("a split");
    for units in [came.candidate, came.control] {
        assert!((36..=40).contains(&units), "{came:?}");
    }
    let at = |second: i64, since| (LONGEST, since, Moment(START.0 + second * 1_000));
    // What came before the new stage was seen is not of it, though it is counted by the tests.
    let second = watch.look_in(world.source(), &plan, at(12, 8)).await;
    assert_eq!((second.keys, second.shadowed, second.split), (0, 0, None));
    assert!(first.tests[0].candidate.n < second.tests[0].candidate.n);
    let third = watch.look_in(world.source(), &plan, at(30, 8)).await;
    // From the twelfth second on, ten requests each.
    assert_eq!(third.shadowed, 80);
    assert!((70..=80).contains(&third.keys), "{}", third.keys);
    assert_eq!(third.tests[0].candidate.n, 200);
}

#[tokio::test]
async fn a_slow_candidate_is_no_wrong_split_and_another_split_is() {
    let plan = plan(r#"{"guardrails":[{"metric":"error_rate","worse_by":"1pp"}]}"#);
    let mut world = World::new(7, SOUND);
    let mut watch = Watch::new(&plan);
    for second in 0..200 {
        for _ in 0..20 {
            world.request(second, (1, "control"), None);
        }
        for _ in 0..(if second < 100 { 20 } else { 14 }) {
            world.request(second, (2, "candidate"), None);
        }
        if second == 100 {
            // Of what came in the last seconds all may still be on its way, in one arm alone.
            let evidence = world.look(&mut watch, &plan, 100).await;
            let split = evidence.split.expect("a split");
            assert!(
                !evidence.is_mismatch() && split.candidate > 1_500,
                "{split:?}"
            );
        }
    }
    let evidence = world.look(&mut watch, &plan, 210).await;
    assert!(evidence.is_mismatch(), "{:?}", evidence.split);
}

/// All tests that need labels, and the one of groups that needs none.
const LABELLED: &str = r#"{"alpha":0.05,"guardrails":[
    {"metric":"loss","worse_by":"0.2"},
    {"metric":"accuracy","worse_by":"10pp"},
    {"metric":"precision","worse_by":"10pp"},
    {"metric":"recall","worse_by":"10pp"},
    {"metric":"log_loss","worse_by":"30%"},
    {"metric":"brier","worse_by":"0.1"},
    {"metric":"fairness.accuracy","by":"x","worse_by":"20pp"},
    {"metric":"fairness.equalised_odds","by":"x","worse_by":"22pp"},
    {"metric":"fairness.selection","by":"x","worse_by":"20pp"}
  ]}"#;

#[tokio::test]
async fn labels_tell_a_wrong_candidate_from_a_sound_one_however_one_looks() {
    let plan = plan(LABELLED);
    for (truth, is_sound) in [
        (SOUND, true),
        (
            Truth {
                blind: 1.0,
                ..SOUND
            },
            false,
        ),
    ] {
        let mut world = World::new(11, truth);
        let (mut often, mut late) = (Watch::new(&plan), Watch::new(&plan));
        for second in 0..100 {
            world.second(second, 50);
            if second % 4 == 3 {
                world.label(second + 1);
            }
            if second % 12 == 0 {
                world.look(&mut often, &plan, second).await;
                let text = serde_json::to_string(&often).expect("it can be written");
                often = serde_json::from_str(&text).expect("it can be read");
            }
        }
        let evidence = world.look(&mut late, &plan, 120).await;
        let often = world.look(&mut often, &plan, 120).await;
        let json = |it: &Evidence| serde_json::to_value(it).expect("it can be written");
        assert!(
            near(&json(&often), &json(&evidence)),
            "{often:?}\n{evidence:?}"
        );
        let guardrails = evidence.tests.iter();
        for test in guardrails.filter(|it| it.role == Role::Guardrail) {
            let want = match (is_sound, test.name.as_str()) {
                (true, _) | (false, "fairness.selection by x") => Verdict::Pass,
                (false, _) => Verdict::Fail,
            };
            assert_eq!(test.verdict, want, "{test:?}");
        }
        let accuracy = &evidence.tests[1];
        let value = accuracy.control.and_then(|it| it.value).expect("a share");
        assert!((0.72..0.78).contains(&value), "{accuracy:?}");
        let low = accuracy.interval.expect("an interval").low;
        assert_eq!(low < -0.1, !is_sound, "{accuracy:?}");
    }
}

#[tokio::test]
async fn what_is_posted_tells_a_worse_candidate_from_a_sound_one() {
    // Of the same numbers: once they are to be many, once few.
    let test = |metric: &str, margin: &str, better: &str| {
        let guardrail =
            format!(r#"{{"metric":"posted.{metric}","worse_by":"{margin}","better":"{better}"}}"#);
        plan(&format!(
            r#"{{"alpha":0.05,"guardrails":[{guardrail}],"signals":[{{"metric":"loss","worse_by":"0.2"}}]}}"#
        ))
    };
    for (brings, metric, margin, better, want) in [
        (10.0, "revenue", "10%", "higher", Verdict::Pass),
        (10.0, "revenue", "1", "higher", Verdict::Pass),
        (7.0, "revenue", "10%", "higher", Verdict::Fail),
        (7.0, "revenue", "1", "higher", Verdict::Fail),
        (13.0, "revenue", "1", "higher", Verdict::Pass),
        (13.0, "hours", "10%", "lower", Verdict::Fail),
        (7.0, "hours", "1", "lower", Verdict::Pass),
    ] {
        let plan = test(metric, margin, better);
        let mut world = World::new(13, Truth { brings, ..SOUND });
        let (mut often, mut late) = (Watch::new(&plan), Watch::new(&plan));
        let nothing = world.look(&mut often, &plan, 1).await;
        assert_eq!(nothing.tests[0].verdict, Verdict::NoData);
        for second in 0..60 {
            world.second(second, 50);
            if second % 4 == 3 {
                world.post(metric, second + 1);
            }
            if second % 12 == 0 {
                world.look(&mut often, &plan, second).await;
                let text = serde_json::to_string(&often).expect("it can be written");
                often = serde_json::from_str(&text).expect("it can be read");
            }
        }
        let evidence = world.look(&mut late, &plan, 80).await;
        let often = world.look(&mut often, &plan, 80).await;
        let json = |it: &Evidence| serde_json::to_value(it).expect("it can be written");
        assert!(
            near(&json(&often), &json(&evidence)),
            "{often:?}\n{evidence:?}"
        );
        let told = &evidence.tests[0];
        let said = format!("{brings} {metric} {margin} {better}: {told:?}");
        assert_eq!(told.verdict, want, "{said}");
        // As it was posted, whichever way is better.
        let (candidate, control) = (told.candidate, told.control.expect("a control"));
        let is_near =
            |value: Option<f64>, want: f64| value.is_some_and(|it| (it - want).abs() < 0.5);
        assert!(is_near(candidate.value, brings), "{said}");
        assert!(is_near(control.value, 10.0), "{said}");
        let interval = told.interval.expect("an interval");
        let difference = brings - 10.0;
        assert!(
            interval.low < difference + 0.5 && interval.high > difference - 0.5,
            "{said}"
        );
        // Failed requests have no answer that brought something.
        assert!((2_800..=3_000).contains(&candidate.n), "{said}");
        // Of labels none came.
        assert_eq!(evidence.tests[1].verdict, Verdict::NoData);
    }
}

#[tokio::test]
async fn what_cannot_be_measured_says_so() {
    let plan =
        plan(r#"{"guardrails":[{"metric":"fairness.selection","by":"p","worse_by":"1pp"}]}"#);
    let mut world = World::new(8, SOUND);
    let mut watch = Watch::new(&plan);
    let nothing = world.look(&mut watch, &plan, 10).await;
    assert_eq!(nothing.tests[0].verdict, Verdict::NoData);
    world.second(11, 10);
    let unknown = world.look(&mut watch, &plan, 20).await;
    assert_eq!(unknown.tests[0].verdict, Verdict::NoData);
    let plan = self::plan(
        r#"{"guardrails":[{"metric":"fairness.selection","by":"score_bad","worse_by":"1pp"}]}"#,
    );
    world.second(1, 50);
    let mut watch = Watch::new(&plan);
    for count in 1..=3 {
        let evidence = world.look(&mut watch, &plan, 20).await;
        let Verdict::Error { why, looks } = &evidence.tests[0].verdict else {
            panic!("{evidence:?}");
        };
        assert!(
            *looks == count && why.contains("more than 20 values"),
            "{why}"
        );
    }
}
