//! The level of a model's answers.

use super::*;

#[test]
fn answers_have_a_mean_by_span_and_failed_rows_have_none() {
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
    let levels = snapshot.levels("credit", "score_bad", Range::ALL, hour_us, limits);
    let levels = runtime.block_on(levels).expect("levels");
    let hour = NOW_MS * 1000 / hour_us;
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    let [(first, before), (second, after)] = levels[..] else {
        panic!("{levels:?}");
    };
    assert_eq!((first, second), (hour, hour + 24));
    assert_eq!((before.rows, after.rows), (10, 1));
    assert!(
        near(before.mean, 0.2) && near(before.deviation, 0.1),
        "{before:?}"
    );
    assert!(
        near(after.mean, 0.5) && near(after.deviation, 0.0),
        "{after:?}"
    );
}
