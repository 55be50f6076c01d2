//! What the arms of a rollout did.

use super::*;

const SECOND: i64 = 1_000_000;
const START: i64 = NOW_MS * 1000;
const BLAMELESS: &[&str] = &["malformed", "cancelled"];
const BUDGETS: &[u64] = &[50_000, 200_000];

/// A request of a version and an arm.
struct Request<'a> {
    number: u64,
    version: u32,
    arm: &'a str,
    key: Option<&'a str>,
    request_id: Option<&'a str>,
    /// When it came, in milliseconds since the start, and how long it took.
    came_ms: i64,
    took_ms: u32,
    code: Option<&'a str>,
    /// The score of each row.
    scores: &'a [f32],
}

/// One that was answered at once.
fn request(number: u64, arm: &str, came_ms: i64) -> Request<'_> {
    Request {
        number,
        version: match arm {
            "control" | "incumbent" => 1,
            _ => 2,
        },
        arm,
        key: None,
        request_id: None,
        came_ms,
        took_ms: 10,
        code: None,
        scores: &[0.25],
    }
}

struct Arena {
    site: Site,
    /// Of the incumbent, of the candidate, and of what that answers unheard.
    writers: [Writer; 3],
}

impl Arena {
    fn new() -> Self {
        let site = Site::new();
        Self::of(site, &credit(&["age", "income"]))
    }

    fn of(site: Site, signature: &Signature) -> Self {
        let layouts = [1, 2].map(|it| layout(signature, it));
        let unheard = layouts[1].unheard();
        let [one, two] = layouts;
        let writers = [one, two, unheard].map(|it| site.ledger.writer(it));
        Self { site, writers }
    }

    fn put(&self, request: &Request<'_>) {
        let count = request.scores.len();
        let p: Vec<f32> = request
            .scores
            .iter()
            .flat_map(|bad| [1.0 - bad, *bad])
            .collect();
        let p = Tensor::new(vec![count, 2], Elements::from_slice(&p)).expect("fits");
        let outputs = [(0, &p)];
        let rows = Rows {
            id: id(request.number, 0),
            time_us: START + request.came_ms * 1000,
            rows: count as u32,
            arm: request.arm,
            key: request.key,
            caller: None,
            request_id: request.request_id,
            code: request.code,
            spent: Spent {
                total_us: request.took_ms * 1000,
                cost: 0.5,
                ..Spent::default()
            },
            inputs: None,
            outputs: if request.code.is_some() {
                &[]
            } else {
                &outputs
            },
            sample: Share::default(),
        };
        let writer = match request.arm {
            "shadow" => &self.writers[2],
            _ => &self.writers[request.version as usize - 1],
        };
        let put = self.site.ledger.record(writer, &rows, 0, NOW_MS);
        put.expect("there is room");
    }

    /// Labels that came so many milliseconds after the start.
    fn label(&self, came_ms: i64, labels: &[(Target, &str)]) {
        let labels: Vec<Label> = labels
            .iter()
            .map(|(target, value)| Label {
                target: target.clone(),
                value: (*value).to_owned(),
                at_us: START,
            })
            .collect();
        let ledger = &self.site.ledger;
        let added = ledger.add_labels("credit", &labels, NOW_MS + came_ms);
        added.expect("room for labels");
    }

    fn ask(&self, windows: std::ops::Range<i64>) -> Vec<ArmsWindow> {
        self.answer(&Self::asked(windows))
    }

    fn answer(&self, asked: &ArmsAsked<'_>) -> Vec<ArmsWindow> {
        let snapshot = self.site.ledger.snapshot(NOW_MS).expect("a snapshot");
        snapshot.arms(asked).expect("an answer")
    }

    fn labelled(&self, windows: std::ops::Range<i64>) -> Vec<Labelled> {
        let snapshot = self.site.ledger.snapshot(NOW_MS).expect("a snapshot");
        let labelled = snapshot.arms_labelled(&Self::asked(windows));
        labelled.expect("an answer")
    }

    /// Values of a metric that came so many milliseconds after the start.
    fn post(&self, came_ms: i64, values: &[(Target, &str)]) {
        let values: Vec<Label> = values
            .iter()
            .map(|(target, value)| Label {
                target: target.clone(),
                value: (*value).to_owned(),
                at_us: START,
            })
            .collect();
        let ledger = &self.site.ledger;
        let table = posted_as("credit", "revenue");
        let added = ledger.add_labels(&table, &values, NOW_MS + came_ms);
        added.expect("room for values");
    }

    fn posted(&self, windows: std::ops::Range<i64>, metric: &str) -> Vec<Posted> {
        let snapshot = self.site.ledger.snapshot(NOW_MS).expect("a snapshot");
        let posted = snapshot.arms_posted(&Self::asked(windows), metric);
        posted.expect("an answer")
    }

    fn asked(windows: std::ops::Range<i64>) -> ArmsAsked<'static> {
        ArmsAsked {
            model: "credit",
            incumbent: 1,
            candidate: 2,
            from_us: START,
            every_us: SECOND,
            windows,
            longest_us: 61 * SECOND,
            blameless: BLAMELESS,
            gave_up: "cancelled",
            over_us: BUDGETS,
            pairs: true,
            by: &[],
            attributes: Attributes::default(),
            scores: true,
        }
    }
}

/// `SIDE counts/failed/over cost` of each unit of a window, in no order of units.
fn told(window: &ArmsWindow) -> Vec<String> {
    let mut all: Vec<String> = window
        .sides
        .iter()
        .map(|(side, did)| {
            let (counts, failed) = (u8::from(did.counts), u8::from(did.failed));
            format!("{side:?} {counts} {failed} {}", did.over & 3)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn rows_are_of_the_window_in_which_they_ended_and_of_those_that_are_compared() {
    let arena = Arena::new();
    for it in [
        request(1, "candidate", 0),
        request(2, "control", 995),
        // It came in the first window and ended in the third.
        Request {
            took_ms: 1_600,
            ..request(3, "candidate", 900)
        },
        // As long as any request may take.
        Request {
            took_ms: 60_000,
            code: Some("deadline_passed"),
            ..request(4, "control", 500)
        },
        request(5, "incumbent", 300),
        request(6, "traffic", 300),
        request(7, "version", 300),
        // Another version of that arm, and one from before the start.
        Request {
            version: 1,
            ..request(8, "candidate", 300)
        },
        request(9, "control", -5),
    ] {
        arena.put(&it);
    }
    let check = || {
        let all = arena.ask(0..100);
        let told: Vec<(i64, Vec<String>)> = all.iter().map(|it| (it.number, told(it))).collect();
        let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(
            told,
            [
                (0, texts(&["After 1 0 0", "Candidate 1 0 0"])),
                (1, texts(&["Control 1 0 0"])),
                (2, texts(&["Candidate 1 0 3"])),
                (60, texts(&["Control 1 1 3"])),
            ]
        );
        // However one looks, each is there once.
        for pairs in [true, false] {
            let asked = |it| ArmsAsked {
                pairs,
                ..Arena::asked(it..it + 1)
            };
            let each = (0..100).flat_map(|it| arena.answer(&asked(it)));
            assert_eq!(each.collect::<Vec<_>>(), all);
        }
        assert_eq!(all[0].sides[0].1.cost, Some(0.5));
    };
    check();
    arena.site.settle(NOW_MS);
    check();
}

#[test]
fn a_file_is_not_opened_whose_requests_had_all_ended() {
    let arena = Arena::new();
    arena.put(&request(1, "candidate", 0));
    arena.put(&Request {
        took_ms: 3_000,
        ..request(2, "control", 100)
    });
    arena.site.settle(NOW_MS);
    let folder = arena.site.folder.path();
    let snapshot = arena.site.ledger.snapshot(NOW_MS).expect("a snapshot");
    let ends = snapshot.catalog.files.iter().map(|it| {
        std::fs::remove_file(folder.join(&it.name)).expect("it was there");
        it.ended_us.expect("noted") - START
    });
    let ends: Vec<i64> = ends.collect();
    assert_eq!(ends.into_iter().max(), Some(3_100_000));
    assert_eq!(arena.ask(4..20), []);
    let ask = |windows| snapshot.arms(&Arena::asked(windows));
    assert!(ask(0..1).is_err() && ask(3..4).is_err());
}

#[test]
fn a_unit_is_a_key_or_a_request_and_has_what_any_of_its_requests_had() {
    let arena = Arena::new();
    let keyed = |number, came_ms| Request {
        key: Some("ann"),
        ..request(number, "candidate", came_ms)
    };
    for it in [
        keyed(1, 100),
        Request {
            code: Some("model_failed"),
            ..keyed(2, 200)
        },
        Request {
            code: Some("malformed"),
            ..keyed(3, 1_100)
        },
        Request {
            code: Some("cancelled"),
            took_ms: 100,
            ..request(4, "candidate", 2_000)
        },
        Request {
            scores: &[0.25, 0.75, 0.25],
            took_ms: 51,
            ..request(5, "control", 2_100)
        },
    ] {
        arena.put(&it);
    }
    let all = arena.ask(0..5);
    let told: Vec<Vec<String>> = all.iter().map(told).collect();
    assert_eq!(
        told,
        [
            vec!["Candidate 1 1 3"],
            // The caller's mistakes are nobody's failures.
            vec!["Candidate 0 0 0"],
            // It waited longer than one budget, and then no more.
            vec!["Candidate 0 0 1", "Control 1 0 1"],
        ]
    );
    let first = &all[0].sides[0].1;
    assert!(first.unit.is_key);
    assert_eq!(first.unit.hash, all[1].sides[0].1.unit.hash);
    // When the first and the last of them came.
    let came = (first.first_us, first.unit.came_us);
    assert_eq!(came, (START + 100_000, START + 200_000));
    assert_eq!(first.answer, Some(Answer::Number(0.25)));
    // One of the answers of a request with several rows.
    let answer = &all[2].sides[1].1.answer;
    assert!(matches!(answer, Some(Answer::Number(it)) if [0.25, 0.75].contains(it)));
}

#[test]
fn what_the_candidate_answers_unheard_is_compared_with_what_the_caller_heard() {
    let arena = Arena::new();
    let heard = |number, came_ms| Request {
        version: 1,
        arm: "traffic",
        ..request(number, "traffic", came_ms)
    };
    let unheard = |number, came_ms| request(number, "shadow", came_ms);
    for it in [
        // The same class by another score.
        heard(1, 0),
        Request {
            scores: &[0.3],
            ..unheard(1, 1)
        },
        heard(2, 10),
        Request {
            scores: &[0.9],
            ..unheard(2, 11)
        },
        // The candidate has no answer: another one than its caller got.
        heard(3, 20),
        Request {
            code: Some("model_failed"),
            ..unheard(3, 20)
        },
        // The caller got none.
        Request {
            code: Some("model_failed"),
            ..heard(4, 30)
        },
        unheard(4, 30),
        // The candidate's came two seconds later.
        heard(5, 40),
        Request {
            took_ms: 2_000,
            ..unheard(5, 40)
        },
        // Nobody asked the candidate.
        heard(6, 50),
    ] {
        arena.put(&it);
    }
    let check = || {
        let all = arena.ask(0..5);
        let differs = |window: &ArmsWindow| window.differs.iter().filter(|it| it.1).count();
        let of: Vec<(i64, usize, usize, usize)> = all
            .iter()
            .map(|it| {
                (
                    it.number,
                    it.shadowed_us.len(),
                    it.differs.len(),
                    differs(it),
                )
            })
            .collect();
        assert_eq!(of, [(0, 4, 3, 2), (2, 1, 1, 0)]);
        let each = (0..5).flat_map(|it| arena.ask(it..it + 1));
        assert_eq!(each.collect::<Vec<_>>(), all);
    };
    check();
    arena.site.settle(NOW_MS);
    check();
}

#[test]
fn a_row_counts_when_its_first_label_comes_and_once() {
    let arena = Arena::new();
    let (bad, good) = (&[0.75], &[0.25]);
    for it in [
        Request {
            scores: bad,
            ..request(1, "candidate", 0)
        },
        Request {
            scores: good,
            request_id: Some("r2"),
            ..request(2, "control", 10)
        },
        Request {
            scores: bad,
            key: Some("ann"),
            ..request(3, "control", 20)
        },
        Request {
            scores: &[0.25, 0.25],
            ..request(4, "candidate", 30)
        },
        // Those that are not compared, or have no answer.
        request(5, "incumbent", 40),
        Request {
            code: Some("model_failed"),
            ..request(6, "candidate", 50)
        },
        request(7, "shadow", 60),
    ] {
        arena.put(&it);
    }
    let request_of = |id: &str| Target::Request {
        id: id.to_owned(),
        row: 0,
    };
    let key_of = |key: &str, from_ms: i64| Target::Key {
        key: key.to_owned(),
        from_us: START + from_ms * 1000,
        to_us: START + SECOND,
    };
    // Of a key, but of another time.
    arena.label(1_000, &[(key_of("ann", 30), "good")]);
    arena.label(2_100, &[(by_id(1, 0, 0), "good"), (by_id(5, 0, 0), "bad")]);
    arena.label(2_900, &[(by_id(1, 0, 0), "bad"), (request_of("r2"), "bad")]);
    arena.label(3_500, &[(by_id(4, 0, 1), "bad"), (by_id(6, 0, 0), "bad")]);
    arena.label(4_500, &[(key_of("ann", 0), "bad"), (by_id(7, 0, 0), "bad")]);
    // Again, and what is no class.
    arena.label(
        6_000,
        &[(by_id(1, 0, 0), "good"), (request_of("r2"), "good")],
    );
    arena.label(6_500, &[(by_id(4, 0, 0), "nonsense")]);
    let check = || {
        let all = arena.labelled(0..10);
        let of: Vec<(i64, Vec<String>)> = all
            .iter()
            .map(|window| {
                let row = |it: &LabelledRow| {
                    let right = it.judged.right.expect("classes");
                    let loss = it.judged.log_loss.expect("scores");
                    format!("{:?} {right} {:.4}", it.side, loss)
                };
                (window.number, window.rows.iter().map(row).collect())
            })
            .collect();
        let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        // -ln 0.75 and -ln 0.25.
        let want = [
            (2, texts(&["Candidate true 0.2877", "Control false 1.3863"])),
            (3, texts(&["Candidate false 1.3863"])),
            (4, texts(&["Control true 0.2877"])),
        ];
        assert_eq!(of, want);
        let each = (0..10).flat_map(|it| arena.labelled(it..it + 1));
        assert_eq!(each.collect::<Vec<_>>(), all);
    };
    check();
    arena.site.settle(NOW_MS);
    check();
    // Some in files, some in the log.
    arena.label(7_500, &[(by_id(4, 0, 1), "good")]);
    check();
}

#[test]
fn a_unit_has_the_mean_of_the_values_that_come_first() {
    let arena = Arena::new();
    let keyed = |number, came_ms| Request {
        key: Some("ann"),
        ..request(number, "candidate", came_ms)
    };
    for it in [
        keyed(1, 0),
        keyed(2, 10),
        Request {
            request_id: Some("r3"),
            ..request(3, "control", 20)
        },
        Request {
            scores: &[0.25, 0.25],
            ..request(4, "control", 30)
        },
        request(5, "incumbent", 40),
        Request {
            code: Some("model_failed"),
            ..request(6, "candidate", 50)
        },
    ] {
        arena.put(&it);
    }
    // What is a label of the same row is another matter.
    arena.label(1_000, &[(by_id(1, 0, 0), "bad")]);
    let by_request = Target::Request {
        id: "r3".to_owned(),
        row: 0,
    };
    let of_both = Target::Key {
        key: "ann".to_owned(),
        from_us: START,
        to_us: START + SECOND,
    };
    // Corrected at once: the last of a window.
    arena.post(2_100, &[(by_id(1, 0, 0), "99"), (by_id(5, 0, 0), "1")]);
    arena.post(2_900, &[(by_id(1, 0, 0), "10"), (by_id(2, 0, 0), "20")]);
    arena.post(3_100, &[(by_request, "-4.5"), (by_id(4, 0, 1), "1.5")]);
    arena.post(3_200, &[(by_id(6, 0, 0), "7"), (by_id(77, 0, 0), "7")]);
    // Corrected later: it was counted already.
    arena.post(5_000, &[(by_id(1, 0, 0), "1000"), (of_both, "2000")]);
    let check = || {
        let all = arena.posted(0..10, "revenue");
        let windows: Vec<(i64, Vec<String>)> = all
            .iter()
            .map(|it| {
                let mut units: Vec<String> = it
                    .units
                    .iter()
                    .map(|(side, value)| format!("{side:?} {value}"))
                    .collect();
                units.sort();
                (it.number, units)
            })
            .collect();
        let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let want = [
            (2, texts(&["Candidate 15"])),
            (3, texts(&["Control -4.5", "Control 1.5"])),
        ];
        assert_eq!(windows, want);
        let each = (0..10).flat_map(|it| arena.posted(it..it + 1, "revenue"));
        assert_eq!(each.collect::<Vec<_>>(), all);
        assert_eq!(arena.posted(0..10, "clicks"), []);
        assert_eq!(arena.labelled(0..10).len(), 1);
    };
    check();
    arena.site.settle(NOW_MS);
    check();
}

#[test]
fn without_a_task_all_that_was_answered_is_compared() {
    let site = Site::new();
    let mut signature = credit(&["age", "income"]);
    signature.task = None;
    let arena = Arena::of(site, &signature);
    for (number, score) in [(1, 0.25), (2, 0.250_000_1), (3, 0.26)] {
        arena.put(&Request {
            version: 1,
            ..request(number, "traffic", 0)
        });
        arena.put(&Request {
            scores: &[score],
            ..request(number, "shadow", 0)
        });
    }
    let windows = arena.ask(0..1);
    // The last bits of a number are no other answer.
    let differs = windows[0].differs.iter().filter(|it| it.1).count();
    assert_eq!((windows[0].differs.len(), differs), (3, 1));
    // What has no meaning has no distribution, and is not judged.
    assert!(windows[0].sides.iter().all(|it| it.1.answer.is_none()));
    arena.label(500, &[(by_id(1, 0, 0), "1")]);
    assert_eq!(arena.labelled(0..1), []);
}

#[test]
fn groups_are_told_by_columns_or_by_attributes_of_keys() {
    let arena = Arena::new();
    for (number, arm, key) in [
        (1, "candidate", Some("ann")),
        (2, "control", Some("bob")),
        (3, "control", Some("zoe")),
        (4, "candidate", None),
    ] {
        arena.put(&Request {
            key,
            ..request(number, arm, 100)
        });
    }
    let labels = [1, 2, 3, 4].map(|it| (by_id(it, 0, 0), "bad"));
    arena.label(500, &labels);
    let mut attributes = Attributes::default();
    let known = |of: [(&str, &str); 2]| of.map(|(key, it)| (key.to_owned(), it.to_owned()));
    attributes.add("Sex", known([("ann", "f"), ("bob", "m")]));
    // There is a column of that name, which goes before.
    attributes.add("class", known([("ann", "x"), ("bob", "y")]));
    let by = ["class", "Sex", "Town"].map(str::to_owned);
    let asked = ArmsAsked {
        by: &by,
        attributes,
        ..Arena::asked(0..10)
    };
    let check = || {
        let snapshot = arena.site.ledger.snapshot(NOW_MS).expect("a snapshot");
        let arms = snapshot.arms(&asked).expect("an answer");
        let [window] = &arms[..] else {
            panic!("{arms:?}");
        };
        let done = window.sides.iter().map(|(side, it)| (*side, &it.groups));
        let labelled = snapshot.arms_labelled(&asked).expect("an answer");
        let [labelled] = &labelled[..] else {
            panic!("{labelled:?}");
        };
        let judged = labelled.rows.iter().map(|it| (it.side, &it.groups));
        for all in [done.collect::<Vec<_>>(), judged.collect()] {
            let told = |(side, groups): &(Side, &Vec<Option<String>>)| {
                let groups = groups.iter().map(|it| it.as_deref().unwrap_or("-"));
                format!("{side:?} {}", groups.collect::<Vec<_>>().join(" "))
            };
            let mut all: Vec<String> = all.iter().map(told).collect();
            all.sort();
            let want = [
                "Candidate good - -",
                "Candidate good f -",
                "Control good - -",
                "Control good m -",
            ];
            assert_eq!(all, want);
        }
    };
    check();
    arena.site.settle(NOW_MS);
    check();
}
