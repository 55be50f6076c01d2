use ::ledger::Level;

use super::*;

impl Watch {
    /// The rows that are known of a model.
    pub(crate) fn rows(&self, model: &ModelName) -> u64 {
        let spans = self.histories.get(model).map(|it| it.spans.values());
        spans.into_iter().flatten().map(|it| it.rows).sum()
    }
}

fn served(rows: u64, failed: u64, p99_us: f64) -> Served {
    Served {
        span: 0,
        rows,
        requests: rows,
        failed,
        p99_us,
        cost: None,
        level: None,
    }
}

/// The same with answers around a mean.
fn answers(mean: f64) -> Served {
    Served {
        level: Some(Level {
            rows: 1000,
            mean,
            deviation: 0.3,
        }),
        ..served(1000, 2, 20_000.0)
    }
}

/// Two days of hours of 1000 rows in 20 ms, and then some others.
fn found(then: &[Option<Served>]) -> Vec<String> {
    found_after(&served(1000, 2, 20_000.0), then)
}

fn found_after(usual: &Served, then: &[Option<Served>]) -> Vec<String> {
    let setting = Anomaly {
        span: "1h".parse().expect("a span"),
        ..Anomaly::default()
    };
    let mut spans = vec![Some(*usual); 48];
    spans.extend(then.iter().cloned());
    let judged = Judged {
        model: "m".parse().expect("a name"),
        setting,
        day: 24,
        since: 0,
        spans,
    };
    let show = |it: Finding| format!("{:?} {}", it.verdict, it.summary);
    judged.findings().into_iter().map(show).collect()
}

#[test]
fn what_is_found_is_said_with_its_numbers() {
    let then = vec![Some(served(1000, 60, 50_000.0)); 3];
    assert_eq!(
        found(&then),
        [
            "Bad latency of m is not as usual: 50.0 ms (99 of 100 requests) where 20.0 ms \
             (99 of 100 requests) was to be expected of the day before",
            "Bad errors of m is not as usual: 6.00 % of rows where 0.20 % of rows was to be \
             expected of the day before",
            "Fine traffic of m is as usual",
        ]
    );
    // Two are not enough.
    assert!(found(&then[1..]).iter().all(|it| it.starts_with("Fine")));
    // Without requests nothing is known of how they were answered.
    let silence = found(&[None, None, None, None, None]);
    assert!(
        silence[0].starts_with("Unknown latency of m: too little"),
        "{silence:?}"
    );
    assert!(
        silence[2].starts_with("Bad traffic of m is not as usual: 0 rows in 1h where 1000"),
        "{silence:?}"
    );
}

#[test]
fn a_model_that_is_seldom_asked_is_not_judged() {
    let few = vec![Some(served(99, 99, 900_000.0)); 5];
    let found = found(&few);
    assert!(found[0].starts_with("Unknown") && found[1].starts_with("Unknown"));
    assert!(found[2].starts_with("Bad traffic"), "{found:?}");
}

#[test]
fn answers_that_leave_their_level_are_found_either_way() {
    let of = |mean: f64| {
        let then = vec![Some(answers(mean)); 3];
        found_after(&answers(0.4), &then).pop().expect("a series")
    };
    // A fifth of a standard deviation, 0.06, is the smallest move that matters.
    assert_eq!(of(0.45), "Fine score of m is as usual");
    assert_eq!(
        of(0.5),
        "Bad score of m is not as usual: 0.5000 on average where 0.4000 on average was to be expected of the day before"
    );
    assert!(of(0.3).starts_with("Bad score"));
    let seldom = Served {
        level: Some(Level {
            rows: 99,
            mean: 0.9,
            deviation: 0.3,
        }),
        ..served(1000, 2, 20_000.0)
    };
    let found = found_after(&answers(0.4), &[Some(seldom), Some(seldom), Some(seldom)]);
    assert!(found[3].starts_with("Unknown score"), "{found:?}");
}
