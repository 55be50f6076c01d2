//! What a model served, by span.

use super::*;

#[test]
fn rows_are_counted_by_span_and_answers_have_a_mean() {
    let site = Site::new();
    // An hour each: scores 0.1 and 0.3 of five rows each, then 0.5 once.
    site.record(10, 0, 5);
    site.record(30, 0, 5);
    site.settle(NOW_MS);
    site.record(50, 1, 1);
    let layout = layout(&credit(&["age", "income"]), 1);
    assert_eq!(layout.level_column(), Some("score_bad"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let limits = SqlLimits {
        memory_bytes: 64 << 20,
        spill_bytes: 0,
        threads: 1,
    };
    let hour_us = 3_600_000_000;
    let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
    let served = |column, range| {
        let served = snapshot.served("credit", column, (range, hour_us), limits);
        runtime.block_on(served).expect("an answer")
    };
    let all = served(Some("score_bad"), Range::ALL);
    let hour = NOW_MS * 1000 / hour_us;
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    let [first, second] = all[..] else {
        panic!("{all:?}");
    };
    assert_eq!((first.span, second.span), (hour, hour + 24));
    assert_eq!((first.rows, first.requests, first.failed), (10, 2, 0));
    assert_eq!((first.p99_us, first.cost), (0.0, Some(0.0)));
    let (before, after) = (
        first.level.expect("answers"),
        second.level.expect("an answer"),
    );
    assert_eq!((before.rows, after.rows), (10, 1));
    assert!(
        near(before.mean, 0.2) && near(before.deviation, 0.1),
        "{before:?}"
    );
    assert!(
        near(after.mean, 0.5) && near(after.deviation, 0.0),
        "{after:?}"
    );
    // Without a column there is no level, and a range is one of times.
    let day = Range {
        from_us: (hour + 1) * hour_us,
        to_us: i64::MAX,
    };
    let later = served(None, day);
    assert_eq!(later.len(), 1);
    assert_eq!((later[0].rows, later[0].level), (1, None));
}
