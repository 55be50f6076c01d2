//! What a model served, by span.

use super::*;

const HOUR_US: i64 = 3_600_000_000;

impl Site {
    fn served(&self, model: &str, column: Option<&str>, range: Range) -> Vec<Served> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let limits = SqlLimits {
            memory_bytes: 64 << 20,
            spill_bytes: 0,
            threads: 1,
        };
        let snapshot = self.ledger.snapshot(NOW_MS).expect("a snapshot");
        let served = snapshot.served(model, column, (range, HOUR_US), limits);
        runtime.block_on(served).expect("an answer")
    }
}

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
    let served = |column, range| site.served("credit", column, range);
    let all = served(Some("score_bad"), Range::ALL);
    let hour = NOW_MS * 1000 / HOUR_US;
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
        from_us: (hour + 1) * HOUR_US,
        to_us: i64::MAX,
    };
    let later = served(None, day);
    assert_eq!(later.len(), 1);
    assert_eq!((later[0].rows, later[0].level), (1, None));
}

#[test]
fn a_model_may_be_called_what_a_table_of_all_models_is() {
    for model in ["predictions", "labels"] {
        let mut site = Site::new();
        let layout = Layout::new(&Version {
            model,
            version: 1,
            digest: format!("{:064x}", 1),
            signature: &credit(&["age", "income"]),
            key: None,
            caller: None,
        });
        site.writer = site.ledger.writer(layout.expect("a layout"));
        site.record(30, 0, 5);
        let served = site.served(model, Some("score_bad"), Range::ALL);
        let rows = served[0].level.map(|it| it.rows);
        assert_eq!((served.len(), rows), (1, Some(5)), "{model}");
        let sql =
            format!("select count(*) from \"model:{model}\" where age >= 0 and label is null");
        assert_eq!(site.number(&sql), 5, "{model}");
    }
}
