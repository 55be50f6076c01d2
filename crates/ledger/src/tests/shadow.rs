//! What a candidate answered unheard beside what callers were answered.

use super::*;

const START: i64 = NOW_MS * 1000;
const SECOND: i64 = 1_000_000;

/// Two versions' rows: the model's and those that nobody heard.
struct Stage {
    site: Site,
    heard: Writer,
    unheard: Writer,
    /// Whether the answers are numbers in place of classes.
    is_value: bool,
}

struct Asked<'a> {
    number: u64,
    came_us: i64,
    city: &'a str,
    key: Option<&'a str>,
    /// The score of each row; none where it failed.
    scores: Result<&'a [f32], &'static str>,
    took_us: u32,
    cost: f32,
}

impl Stage {
    fn new() -> Self {
        Self::of(&credit(&["age", "income"]), false)
    }

    /// With numbers for answers.
    fn of_values() -> Self {
        let signature = Signature {
            outputs: vec![spec("y", DataType::Fp32, &[Some(1)])],
            task: serde_json::from_str(r#"{"type":"regression"}"#).expect("a task"),
            ..credit(&["age", "income"])
        };
        Self::of(&signature, true)
    }

    fn of(signature: &Signature, is_value: bool) -> Self {
        let site = Site::new();
        let heard = site.ledger.writer(layout(signature, 1));
        let unheard = site.ledger.writer(layout(signature, 2).unheard());
        Self {
            site,
            heard,
            unheard,
            is_value,
        }
    }

    fn put(&self, writer: &Writer, arm: &str, asked: &Asked<'_>) {
        let (scores, code) = match asked.scores {
            Ok(scores) => (scores, None),
            Err(code) => (&[0.0][..], Some(code)),
        };
        let count = scores.len();
        let p: Vec<f32> = scores.iter().flat_map(|bad| [1.0 - bad, *bad]).collect();
        let p = match self.is_value {
            true => Tensor::new(vec![count, 1], Elements::from_slice(scores)),
            false => Tensor::new(vec![count, 2], Elements::from_slice(&p)),
        };
        let p = p.expect("fits");
        let x: Vec<f32> = (0..count)
            .flat_map(|_| [asked.number as f32, 1.0])
            .collect();
        let x = Tensor::new(vec![count, 2], Elements::from_slice(&x)).expect("fits");
        let city = vec![asked.city.as_bytes().to_vec(); count];
        let city = Tensor::new(vec![count, 1], Elements::Bytes(city)).expect("fits");
        let outputs = [(0, &p)];
        let rows = Rows {
            id: id(asked.number, 0),
            time_us: asked.came_us,
            rows: count as u32,
            arm,
            key: asked.key,
            caller: None,
            request_id: None,
            code,
            spent: Spent {
                total_us: asked.took_us,
                cost: asked.cost,
                ..Spent::default()
            },
            inputs: Some(&[x, city]),
            outputs: if code.is_some() { &[] } else { &outputs },
            sample: Share::default(),
        };
        let put = self.site.ledger.record(writer, &rows, 0, NOW_MS);
        put.expect("there is room");
    }

    /// A request that both answered: rows by their scores.
    fn both(&self, number: u64, city: &str, heard: &[f32], unheard: &[f32]) {
        let mut asked = Asked {
            number,
            came_us: START + number as i64 * SECOND,
            city,
            key: None,
            scores: Ok(heard),
            took_us: 1_000 * (number as u32 % 10 + 1),
            cost: 0.25,
        };
        self.put(&self.heard, "traffic", &asked);
        asked.scores = Ok(unheard);
        asked.came_us += 500;
        asked.took_us += 500;
        asked.cost = 0.5;
        self.put(&self.unheard, "shadow", &asked);
    }

    fn ask(&self, rows_max: usize) -> ShadowReport {
        let asked = ShadowAsked {
            model: "credit",
            incumbent: 1,
            candidate: 2,
            range: Range {
                from_us: START,
                to_us: START + 100_000 * SECOND,
            },
            every_us: SECOND,
            blameless: &["malformed"],
            rows_max,
            alpha: 0.05,
        };
        let snapshot = self.site.ledger.snapshot(NOW_MS).expect("a snapshot");
        snapshot.shadow(&asked).expect("an answer")
    }

    /// Units, and those with another answer, as the test `disagreement` counts them.
    fn by_test(&self) -> (u64, u64) {
        let asked = ArmsAsked {
            model: "credit",
            incumbent: 1,
            candidate: 2,
            from_us: START,
            every_us: SECOND,
            windows: 0..1_000,
            longest_us: 61 * SECOND,
            blameless: &["malformed"],
            gave_up: "cancelled",
            over_us: &[],
            pairs: true,
            by: &[],
            attributes: Attributes::default(),
            scores: true,
        };
        let snapshot = self.site.ledger.snapshot(NOW_MS).expect("a snapshot");
        let arms = snapshot.arms(&asked).expect("an answer");
        let units = arms.iter().flat_map(|it| &it.differs);
        let differ = units.clone().filter(|it| it.1);
        (units.count() as u64, differ.count() as u64)
    }

    /// The same from the log and from files.
    fn check(&self, check: impl Fn(ShadowReport)) {
        check(self.ask(100_000));
        self.site.settle(NOW_MS);
        check(self.ask(100_000));
    }
}

#[test]
fn pairs_are_told_with_what_failed_what_they_took_and_what_they_cost() {
    let stage = Stage::new();
    stage.both(1, "Bern", &[0.25], &[0.3]);
    // One of two rows is another class; together they are one unit.
    stage.both(2, "Bern", &[0.4, 0.2], &[0.9, 0.2]);
    for (number, code) in [(3, "model_failed"), (4, "malformed")] {
        let heard = Asked {
            number,
            came_us: START + number as i64 * SECOND,
            city: "Bern",
            key: Some("ann"),
            scores: Ok(&[0.1]),
            took_us: 1_000,
            cost: 0.25,
        };
        stage.put(&stage.heard, "traffic", &heard);
        let unheard = Asked {
            scores: Err(code),
            ..heard
        };
        stage.put(&stage.unheard, "shadow", &unheard);
    }
    // Nobody asked the candidate.
    let alone = Asked {
        number: 5,
        came_us: START + 5 * SECOND,
        city: "Bern",
        key: None,
        scores: Ok(&[0.1]),
        took_us: 90_000,
        cost: 9.0,
    };
    stage.put(&stage.heard, "traffic", &alone);
    stage.check(|told| {
        assert_eq!((told.requests, told.rows, told.looked_at), (4, 5, 5));
        let failed: Vec<(&str, u64)> = told.failed.iter().map(|it| (&**it.0, *it.1)).collect();
        assert_eq!(failed, [("malformed", 1), ("model_failed", 1)]);
        assert_eq!((told.pairs, told.changed, told.unanswered), (4, 2, 1));
        let (units, differ) = stage.by_test();
        assert_eq!((told.units, units), (3, 3));
        assert!((told.share.value - differ as f64 / units as f64).abs() < 1e-12);
        // What it failed has no other answer to show.
        let [first, second] = &told.largest[..] else {
            panic!("{:?}", told.largest);
        };
        assert_eq!(first.incumbent.to_string(), "good 0.400000");
        assert_eq!(first.candidate.to_string(), "bad 0.900000");
        assert!((first.difference.expect("scores") - 0.5).abs() < 1e-6 && first.changed);
        // The score moved and the answer did not.
        assert!(!second.changed && second.id.request == id(1, 0));
        let latency = told.latency.expect("both answered");
        assert_eq!(
            latency.map(|it| (it.p50_us, it.p99_us)),
            [(2_000, 3_000), (2_500, 3_500)]
        );
        assert_eq!(told.cost, Some([0.25, 0.5]));
        assert_eq!(told.losses, []);
        assert!(
            told.difference
                .is_some_and(|it| it.is_score && it.mean.low.is_some())
        );
    });
}

#[test]
fn the_slice_that_moved_is_named_and_labels_tell_who_is_right() {
    let stage = Stage::new();
    let cities = ["Bern", "Chur", "Genf", "Basel"];
    for number in 0..400 {
        let city = cities[number as usize % 4];
        // In Chur the candidate calls every third applicant bad, and is wrong.
        let moves = city == "Chur" && number % 3 == 0;
        let other = if moves { 0.7 } else { 0.3 };
        stage.both(number, city, &[0.3], &[other]);
    }
    let labels: Vec<(Target, &str)> = (0..400).map(|it| (by_id(it, 0, 0), "good")).collect();
    stage.site.label(&labels);
    stage.check(|told| {
        assert_eq!((told.pairs, told.units, told.changed), (400, 400, 33));
        assert_eq!(stage.by_test(), (400, 33));
        let share = told.share;
        assert!(
            share.low > Some(0.03) && share.high < Some(0.2),
            "{share:?}"
        );
        let [slice] = &told.moved.slices[..] else {
            panic!("{:?}", told.moved.slices);
        };
        assert!(slice.slice.confirmed, "{slice:?}");
        let by: Vec<(&str, &str)> = slice.by.iter().map(|it| (&**it.0, &**it.1)).collect();
        assert_eq!(by, [("city", "Chur")]);
        assert!(!told.moved.by_distance);
        let names: Vec<&str> = told.losses.iter().map(|it| it.name).collect();
        assert_eq!(names, ["misclassification", "squared_error"]);
        let wrong = told.losses[0];
        assert_eq!((wrong.units, wrong.incumbent), (400, 0.0));
        assert!((wrong.candidate - 33.0 / 400.0).abs() < 1e-12);
        assert!(wrong.difference.low.is_some());
        assert!(told.losses[1].candidate > told.losses[1].incumbent);
    });
}

#[test]
fn values_have_no_bounds_and_move_by_how_far_they_go() {
    let stage = Stage::of_values();
    for number in 0..300 {
        let city = ["Bern", "Chur", "Genf"][number as usize % 3];
        let level = 100.0 + (number % 7) as f32;
        // All answers differ a little; in Genf they go far.
        let other = level + if city == "Genf" { 20.0 } else { 0.5 } + (number % 5) as f32 / 50.0;
        stage.both(number, city, &[level], &[other]);
    }
    let labels: Vec<(Target, &str)> = (0..300).map(|it| (by_id(it, 0, 0), "103")).collect();
    stage.site.label(&labels);
    stage.check(|told| {
        assert_eq!((told.units, told.changed), (300, 300));
        let difference = told.difference.expect("numbers");
        assert!(!difference.is_score && difference.mean.low.is_none());
        assert!(
            (difference.mean.value - 7.04).abs() < 0.01,
            "{difference:?}"
        );
        assert!(told.moved.by_distance);
        let slice = &told.moved.slices[0];
        assert!(
            slice.slice.confirmed && slice.by["city"] == "Genf",
            "{slice:?}"
        );
        let [loss] = told.losses[..] else {
            panic!("{:?}", told.losses);
        };
        assert_eq!((loss.name, loss.units), ("absolute_error", 300));
        assert!(
            loss.difference.low.is_none() && loss.difference.value > 4.0,
            "{loss:?}"
        );
        assert!(told.largest[0].difference > Some(20.0));
    });
}

#[test]
fn of_many_requests_a_sample_is_looked_at_and_all_are_counted() {
    let stage = Stage::new();
    for number in 0..300 {
        stage.both(number, "Bern", &[0.3], &[0.3]);
    }
    let told = stage.ask(100);
    assert_eq!((told.requests, told.rows), (300, 300));
    assert!((20..=100).contains(&told.looked_at), "{}", told.looked_at);
    assert_eq!((told.pairs, told.changed), (told.looked_at, 0));
    assert_eq!(told.largest, []);
    let nothing = Stage::new().ask(100);
    assert_eq!((nothing.requests, nothing.units), (0, 0));
    assert_eq!((nothing.latency, nothing.cost), (None, None));
    assert_eq!(nothing.share.value, 0.0);
}
