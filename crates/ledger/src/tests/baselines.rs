//! Baselines of predictions, and predictions counted against them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use stats::drift::effect::Terms;

use super::*;
use crate::baseline::{Asked, Attention, Baseline, HOUR_US, Kept, Source, Watched};

const TERMS: Terms = Terms {
    margin: 0.1,
    alpha: 0.05,
    level: 0.95,
};

fn baseline(columns: Vec<(&str, ArrayRef)>) -> Baseline {
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    Source::Batch(&batch)
        .baseline(1, &[], |_| true)
        .expect("a baseline")
}

fn show(baseline: &Baseline) -> String {
    let columns = baseline.columns.iter().map(|it| {
        let (cells, missing) = (it.counted.cells.len(), it.counted.missing);
        format!("{} {cells} cells, {missing} missing", it.name)
    });
    let left_out = baseline
        .left_out
        .iter()
        .map(|it| format!("{}: {}", it.name, it.why));
    let lines: Vec<String> = columns.chain(left_out).collect();
    lines.join("\n")
}

#[test]
fn every_column_is_watched_or_left_out_with_a_reason() {
    let rows = 1000;
    let numbers =
        Float64Array::from_iter((0..rows).map(|it| (it % 10 != 0).then_some(f64::from(it) / 7.0)));
    let few = Int64Array::from_iter_values((0..rows).map(|it| i64::from(it % 3)));
    let ids = Int64Array::from_iter_values((0..rows).map(|it| i64::from(it) * 17));
    let words: DictionaryArray<Int32Type> = (0..rows)
        .map(|it| ["rent", "own"][it as usize % 2])
        .collect();
    let names = StringArray::from_iter_values((0..rows).map(|it| format!("user {it}")));
    let nothing = Float64Array::from_iter((0..rows).map(|_| None::<f64>));
    let truth = BooleanArray::from_iter((0..rows).map(|it| Some(it % 2 == 0)));
    let time = TimestampMicrosecondArray::from_iter_values((0..rows).map(i64::from));
    let infinite = Float64Array::from_iter_values((0..rows).map(|it| match it % 4 {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        it => f64::from(it),
    }));
    let made = baseline(vec![
        ("numbers", Arc::new(numbers)),
        ("few", Arc::new(few)),
        ("ids", Arc::new(ids)),
        ("words", Arc::new(words)),
        ("names", Arc::new(names)),
        ("nothing", Arc::new(nothing)),
        ("truth", Arc::new(truth)),
        ("time", Arc::new(time)),
        ("infinite", Arc::new(infinite)),
    ]);
    let want = "\
few 6 cells, 0 missing
infinite 7 cells, 0 missing
numbers 22 cells, 100 missing
truth 3 cells, 0 missing
words 3 cells, 0 missing
ids: nearly every row has another value, as ids have
names: nearly every row has another value, as ids have
nothing: it has no values
time: it is a time, which always moves";
    assert_eq!(show(&made), want);
    let read = Baseline::from_json(&made.to_json()).expect("what was written is read");
    assert_eq!(read, made);
}

#[test]
fn words_are_counted_alike_with_and_without_a_dictionary() {
    let of = |row: usize| [Some("own"), Some("rent"), None, Some("free"), Some("rent")][row % 5];
    let reference: StringArray = (0..1000)
        .map(|it| of(it).filter(|it| *it != "free"))
        .collect();
    let made = baseline(vec![("home", Arc::new(reference))]);
    let texts: StringArray = (0..1000).map(of).collect();
    let words: DictionaryArray<Int32Type> = (0..1000).map(of).collect();
    // Of what was cut out the dictionary has words that no row has.
    let arrays: [ArrayRef; 2] = [Arc::new(texts), Arc::new(words)];
    for (from, rows, cells, missing) in [(0, 1000, [200, 400, 200], 200), (1, 2, [0, 1, 0], 1)] {
        for it in &arrays {
            let batch = RecordBatch::try_from_iter([("home", it.slice(from, rows))]);
            let counted = Source::Batch(&batch.expect("a batch")).count(1, &made);
            let home = &counted.expect("counted").columns[0];
            assert_eq!((home.cells.as_slice(), home.missing), (&cells[..], missing));
        }
    }
}

#[test]
fn rows_of_another_type_are_missing_where_they_cannot_be_read() {
    let made = baseline(vec![(
        "age",
        Arc::new(Int64Array::from_iter_values((0..1000).map(|it| it % 50))),
    )]);
    let texts = StringArray::from_iter_values((0..1000).map(|it| match it % 2 {
        0 => (it % 50).to_string(),
        _ => "unknown".to_owned(),
    }));
    let batch =
        RecordBatch::try_from_iter([("age", Arc::new(texts) as ArrayRef)]).expect("a batch");
    let now = Source::Batch(&batch).count(1, &made).expect("counted");
    assert_eq!((now.rows, now.columns[0].missing), (1000, 500));
    let drift = made.drift(&now, TERMS, |_| Attention::PLAIN);
    assert_eq!(drift.verdict.name(), "drift");
    let other = RecordBatch::try_from_iter([("x", batch.column(0).clone())]).expect("a batch");
    let without = Source::Batch(&other).count(1, &made).expect("counted");
    assert_eq!(
        without.columns[0].missing, 1000,
        "a column that is not there"
    );
}

#[test]
fn predictions_are_counted_the_same_from_log_and_files_and_by_the_hour() {
    let site = Site::new();
    for number in 0..400 {
        site.record(number * 13, i64::from(number % 2 == 1), 5);
    }
    let all = Asked {
        model: "credit",
        version: 1,
        range: Range::ALL,
        first: None,
    };
    let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
    let made = snapshot.baseline(&all, &[], &[]).expect("a baseline");
    assert_eq!(made.rows, 2000);
    let names: Vec<&str> = made.columns.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names,
        ["age", "city", "class", "income", "score_bad", "score_good"]
    );
    let first = Asked {
        first: Some(777),
        ..all.clone()
    };
    assert_eq!(
        snapshot
            .baseline(&first, &["age".to_owned()], &[])
            .expect("a baseline")
            .rows,
        777
    );
    let from_log = snapshot.counted(&all, &made).expect("counted");
    assert_eq!(made.clone().counted(from_log.clone()), made);
    let made = Arc::new(made);
    let since = |since_us| {
        let watched = Watched {
            model: "credit",
            version: 1,
            from: i64::MIN / HOUR_US,
            to: i64::MAX / HOUR_US - 1,
            since_us,
            baseline: 7,
        };
        let counted = snapshot.counted_by_hour(&watched, &made, &Kept::new(0));
        counted.expect("counted").rows
    };
    let day_us = 24 * HOUR_US;
    assert_eq!(since(0), 2000);
    assert_eq!(since(NOW_MS * 1000 + day_us / 2), 1000, "the second day's");
    assert_eq!(since(NOW_MS * 1000 + 2 * day_us), 0);
    // From here on rows are counted when they become files.
    let at_sealing = Arc::new(Kept::new(1 << 20));
    site.ledger.count_when_sealed(Arc::clone(&at_sealing));
    let asked = Watched {
        model: "credit",
        version: 1,
        from: 0,
        to: 0,
        since_us: 0,
        baseline: 7,
    };
    let nothing = snapshot.counted_by_hour(&asked, &made, &at_sealing);
    assert_eq!((nothing.expect("counted").rows, at_sealing.bytes()), (0, 0));
    drop(snapshot);

    site.settle(NOW_MS);
    let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
    assert_eq!(snapshot.sealed_rows("credit", 1), 2000);
    assert_eq!(snapshot.counted(&all, &made).expect("counted"), from_log);
    let hour = NOW_MS * 1000 / HOUR_US;
    let kept = Kept::new(1 << 20);
    let by_hour = |from, to, kept: &Kept| {
        let watched = Watched {
            model: "credit",
            version: 1,
            from,
            to,
            since_us: 0,
            baseline: 7,
        };
        let counted = snapshot.counted_by_hour(&watched, &made, kept);
        counted.expect("counted")
    };
    assert_eq!(by_hour(hour, hour + 24, &kept), from_log);
    assert_eq!(by_hour(hour, hour, &kept).rows, 1000, "the first day's");
    let held = kept.bytes();
    assert!(held > 0);
    assert_eq!(
        by_hour(hour, hour + 24, &kept),
        from_log,
        "from what is kept"
    );
    assert_eq!(kept.bytes(), held);
    assert_eq!(at_sealing.bytes(), held, "already counted");
    assert_eq!(by_hour(hour, hour + 24, &at_sealing), from_log);
    assert_eq!(at_sealing.bytes(), held, "and not again");
    let none = Kept::new(0);
    assert_eq!(by_hour(hour, hour + 24, &none), from_log, "without memory");
    assert_eq!(none.bytes(), 0);
}

#[test]
fn what_was_counted_of_files_is_counted_of_what_they_are_merged_to() {
    let site = Site::new();
    for number in 0..100 {
        site.record(number * 13, 0, 5);
    }
    let all = Asked {
        model: "credit",
        version: 1,
        range: Range::ALL,
        first: None,
    };
    let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
    let made = snapshot.baseline(&all, &[], &[]).expect("a baseline");
    let made = Arc::new(made);
    let counts = Arc::new(Kept::new(1 << 20));
    site.ledger.count_when_sealed(Arc::clone(&counts));
    let watched = Watched {
        model: "credit",
        version: 1,
        from: NOW_MS * 1000 / HOUR_US,
        to: NOW_MS * 1000 / HOUR_US,
        since_us: 0,
        baseline: 7,
    };
    let by_hour = |counts: &Kept| {
        let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
        let counted = snapshot.counted_by_hour(&watched, &made, counts);
        counted.expect("counted")
    };
    assert_eq!(by_hour(&counts).rows, 500, "from the log");
    drop(snapshot);
    for number in 100..110 {
        site.record(number * 13, 0, 5);
        site.settle(NOW_MS);
    }
    let later = NOW_MS + 2 * 86_400_000;
    let before = site.ledger.status().files.len();
    site.settle(later);
    assert!(before > 1 && site.ledger.status().files.len() == 1);
    let held = counts.bytes();
    assert!(held > 0);
    assert_eq!(by_hour(&counts), by_hour(&Kept::new(0)));
    assert_eq!(counts.bytes(), held, "nothing was counted again");
    assert_eq!(by_hour(&counts).rows, 550);
}
