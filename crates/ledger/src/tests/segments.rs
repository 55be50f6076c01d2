//! Declared segments: counted in every baseline and wherever rows are beside one, in one family of questions.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, StringArray};
use domain::monitor::segments::Segments;
use stats::drift::effect::Terms;
use stats::drift::verdict::Verdict;
use stats::random::Random;

use super::*;
use crate::baseline::{Asked, Attention, Baseline, Counter, HOUR_US, Kept, Source, Watched};

fn declared(text: &str) -> Vec<Segments> {
    serde_json::from_str(text).expect("segments")
}

fn show(baseline: &Baseline) -> Vec<String> {
    let each = baseline.segments.iter();
    let left_out = baseline.unsegmented.iter();
    let each = each.map(|it| format!("{}={} {}", it.by, it.value, it.rows));
    let left_out = left_out.map(|it| format!("{}: {}", it.name, it.why));
    each.chain(left_out).collect()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).expect("a batch")
}

fn baseline(rows: &RecordBatch, segments: &str) -> Baseline {
    let segments = declared(segments);
    let made = Source::Batch(rows).baseline(1, &segments, |_| true);
    made.expect("a baseline")
}

#[test]
fn segments_are_counted_the_same_from_log_and_files_and_by_the_hour() {
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
    let segments = declared(r#"[{"by":"city"},{"by":"age","edges":[500,4000]}]"#);
    let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
    // What a segment is told by need not be watched.
    let left_out = ["age".to_owned()];
    let made = snapshot.baseline(&all, &left_out, &segments);
    let made = made.expect("a baseline");
    let want = [
        "city=north 1200",
        "city=south 800",
        "age=[500, 4000) 1347",
        "age=4000 and over 460",
        "age=below 500 193",
    ];
    assert_eq!(show(&made), want);
    for segment in &made.segments {
        assert_eq!(segment.columns.len(), made.columns.len());
        assert!(segment.columns.iter().all(|it| it.rows() == segment.rows));
    }
    let read = Baseline::from_json(&made.to_json()).expect("what was written is read");
    assert_eq!(read, made);
    let from_log = snapshot.counted(&all, &made).expect("counted");
    assert_eq!(made.clone().counted(from_log.clone()), made);
    drop(snapshot);

    site.settle(NOW_MS);
    let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
    assert_eq!(snapshot.counted(&all, &made).expect("counted"), from_log);
    let again = snapshot.baseline(&all, &left_out, &segments);
    assert_eq!(again.expect("a baseline"), made, "from files");
    let hour = NOW_MS * 1000 / HOUR_US;
    let by_hour = |baseline: &Arc<Baseline>, from, to, kept: &Kept| {
        let watched = Watched {
            model: "credit",
            version: 1,
            from,
            to,
            since_us: 0,
            baseline: 7,
        };
        let counted = snapshot.counted_by_hour(&watched, baseline, kept);
        counted.expect("counted")
    };
    let (kept, made) = (Kept::new(1 << 20), Arc::new(made));
    assert_eq!(by_hour(&made, hour, hour + 24, &kept), from_log);
    assert_eq!(by_hour(&made, hour, hour + 24, &kept), from_log, "kept");
    let first = by_hour(&made, hour, hour, &kept);
    assert_eq!((first.rows, first.segments[0].rows), (1000, 600));
    // Segments are memory too.
    let (plain, mut without) = (Kept::new(1 << 20), Baseline::clone(&made));
    without.declare(&[], "");
    assert_eq!(
        by_hour(&Arc::new(without), hour, hour + 24, &plain).segments,
        []
    );
    assert!(kept.bytes() > 3 * plain.bytes(), "{}", kept.bytes());
    let asked = Asked {
        range: Range::ALL,
        ..all
    };
    let spans = snapshot.counted_by_span(&asked, &made, HOUR_US);
    let mut sum = Counter::new(&made);
    spans
        .expect("counted")
        .values()
        .for_each(|it| sum.merge(it));
    assert_eq!(sum, from_log);
}

#[test]
fn a_file_tells_values_as_the_ledger_does() {
    let ages = Int64Array::from_iter((0..1000).map(|it| (it % 10 != 0).then_some(35 + it % 3)));
    let cities = StringArray::from_iter((0..1000).map(|it| ["north", "", "south"].get(it % 4)));
    let rows = batch(vec![("age", Arc::new(ages)), ("city", Arc::new(cities))]);
    let mut made = baseline(&rows, r#"[{"by":"age"},{"by":"city"},{"by":"income"}]"#);
    let want = [
        "age=35 300",
        "age=36 300",
        "age=37 300",
        "age=(none) 100",
        // Nobody else has a way to say that a text is missing.
        "city=(none) 500",
        "city=north 250",
        "city=south 250",
        "income: the reference does not have the column",
    ];
    assert_eq!(show(&made), want);
    let of_ledger = layout(&credit(&["age", "income"]), 1);
    made.tell_segments_as(&of_ledger).expect("numbers");
    assert_eq!(
        show(&made)[..4],
        [
            "age=35.0 300",
            "age=36.0 300",
            "age=37.0 300",
            "age=(none) 100"
        ]
    );
    let served = Float32Array::from(vec![Some(35.0), Some(f32::NAN), None, Some(40.0)]);
    let served = batch(vec![("age", Arc::new(served))]);
    let now = Source::Batch(&served).count(1, &made).expect("counted");
    let rows: Vec<u64> = now.segments.iter().map(|it| it.rows).collect();
    // 40 is in no segment; what has no city at all has none.
    assert_eq!(rows, [1, 0, 0, 2, 4, 0, 0]);
}

#[test]
fn what_falls_together_in_the_precision_of_the_model_is_one_segment() {
    let near = 35.0 + 1e-9;
    let ages = (0..900).map(|it| [35.0, near, 36.0][it % 3]);
    let rows = batch(vec![
        ("age", Arc::new(Float64Array::from_iter_values(ages))),
        ("city", Arc::new(StringArray::from(vec!["north"; 900]))),
    ]);
    let mut made = baseline(&rows, r#"[{"by":"age"}]"#);
    assert_eq!(made.segments.len(), 3);
    let of_ledger = layout(&credit(&["age", "income"]), 1);
    made.tell_segments_as(&of_ledger).expect("numbers");
    assert_eq!(show(&made), ["age=35.0 600", "age=36.0 300"]);
    assert!(made.segments[0].columns.iter().all(|it| it.rows() == 600));
    assert!(Baseline::from_json(&made.to_json()).is_ok());
}

#[test]
fn segments_are_few_and_what_is_left_out_is_said() {
    let rows = 2000;
    // 40 values: of the first ones there are most.
    let many = StringArray::from_iter_values((0..rows).map(|it| format!("v{:02}", it % 63 % 40)));
    let ids = Int64Array::from_iter_values((0..rows).map(|it| it * 17));
    let long = StringArray::from_iter_values((0..rows).map(|it| match it % 2 {
        0 => "x".repeat(300),
        _ => "short".to_owned(),
    }));
    let rows = batch(vec![
        ("many", Arc::new(many)),
        ("ids", Arc::new(ids)),
        ("long", Arc::new(long)),
    ]);
    let segments = r#"[{"by":"many"},{"by":"ids"},{"by":"long"},{"by":"none"}]"#;
    let mut made = baseline(&rows, segments);
    let shown = show(&made);
    assert_eq!(made.segments.len(), 12 + 1, "{shown:?}");
    assert_eq!(shown[0], "many=v00 64");
    assert_eq!(
        shown[12..],
        [
            "long=short 1000",
            "ids: nearly every row has another value; of numbers `edges` make segments",
            "none: the reference does not have the column"
        ]
    );
    // Of what is declared later, or otherwise, it has nothing.
    made.declare(
        &declared(r#"[{"by":"long"},{"by":"ids"},{"by":"new"}]"#),
        "make a new one",
    );
    assert_eq!(
        show(&made)[..],
        [
            "long=short 1000",
            "ids: nearly every row has another value; of numbers `edges` make segments",
            "new: make a new one"
        ]
    );
    let read = Baseline::from_json(&made.to_json()).expect("read");
    assert_eq!(read, made);
}

#[test]
fn segments_with_too_many_counts_are_left_out() {
    let names: Vec<String> = (0..200).map(|it| format!("c{it:03}")).collect();
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..4000).map(|it| format!("v{}", it % 200)),
    ));
    let by: ArrayRef = Arc::new(Int64Array::from_iter_values((0..4000).map(|it| it % 12)));
    let columns = names.iter().map(|it| (it.as_str(), Arc::clone(&values)));
    let rows = batch(columns.chain([("by", by)]).collect());
    let made = baseline(&rows, r#"[{"by":"by"}]"#);
    assert_eq!(made.segments, []);
    let why = &made.unsegmented[0].why;
    assert!(
        why.contains("counts, at most are 262144: name fewer segments"),
        "{why}"
    );
}

#[test]
fn segments_that_do_not_add_up_are_refused() {
    let rows = batch(vec![
        ("x", Arc::new(Int64Array::from(vec![1, 1, 2, 2]))),
        (
            "word",
            Arc::new(StringArray::from(vec!["a", "b", "a", "b"])),
        ),
    ]);
    let made = baseline(&rows, r#"[{"by":"word"}]"#);
    let text = String::from_utf8(made.to_json()).expect("JSON");
    assert!(!text.contains("unsegmented"), "{text}");
    for (from, to, want) in [
        (
            r#""value":"b","rows":2"#,
            r#""value":"a","rows":2"#,
            "is there twice",
        ),
        (
            r#""value":"b","rows":2"#,
            r#""value":"b","rows":3"#,
            "counts 2 rows of 3",
        ),
        (
            r#""missing":[0,0]"#,
            r#""missing":[0]"#,
            "does not count 2 columns",
        ),
        (
            r#"{"by":"word""#,
            r#"{"by":"word","edges":[2,1]"#,
            "not ascending",
        ),
        (
            r#""format":1,"rows":4"#,
            r#""format":1,"rows":9"#,
            "counts 4 rows of 9",
        ),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text);
        let refused = Baseline::from_json(wrong.as_bytes()).expect_err("wrong");
        assert!(refused.to_string().contains(want), "{refused}");
    }
}

/// Rows of five columns; the income of those that rent is greater by so much.
fn rows(random: &mut Random, count: usize, richer: f64) -> RecordBatch {
    let home: Vec<&str> = (0..count)
        .map(|_| ["rent", "own", "own", "parents", "other"][random.below(5)])
        .collect();
    // The sum of four uniform numbers, nearly normal, with a standard deviation of one.
    let mut normal = || (0..4).map(|_| random.uniform() - 0.5).sum::<f64>() * 3f64.sqrt();
    let mut numbers = |add: &dyn Fn(usize) -> f64| -> ArrayRef {
        let all = (0..count).map(|it| normal() + add(it));
        Arc::new(Float64Array::from_iter_values(all))
    };
    let age = numbers(&|_| 0.0);
    let debt = numbers(&|_| 0.0);
    let income = numbers(&|it| if home[it] == "rent" { richer } else { 0.0 });
    let job = (0..count).map(|_| ["a", "b", "c"][random.below(3)]);
    batch(vec![
        ("age", age),
        ("debt", debt),
        ("income", income),
        ("job", Arc::new(StringArray::from_iter_values(job))),
        ("home", Arc::new(StringArray::from(home))),
    ])
}

const SEGMENTS: &str = r#"[{"by":"home"},{"by":"job"},{"by":"age","edges":[-0.7,0.7]}]"#;

#[test]
fn where_nothing_changed_segments_add_no_false_alarms() {
    let terms = Terms {
        // As small as it may be with a reference of 1500 rows, whose own least and greatest value `unseen` takes for
        // those of all: at the usual 0.1 there is no alarm at all.
        margin: 0.03,
        alpha: 0.1,
        level: 0.95,
    };
    let mut random = Random::new(7);
    let windows = 100;
    let alarms = (0..windows)
        .filter(|_| {
            // A reference of its own for each: else all would share its chance.
            let made = baseline(&rows(&mut random, 1500, 0.0), SEGMENTS);
            let now = rows(&mut random, 1500, 0.0);
            let now = Source::Batch(&now).count(1, &made).expect("counted");
            let drift = made.drift(&now, terms, |_| Attention::PLAIN);
            assert_eq!(drift.segments.len(), 4 + 3 + 3);
            drift.verdict == Verdict::Drift
        })
        .count();
    // Alpha allows 10 on average.
    assert!(alarms <= 10, "{alarms}");
}

#[test]
fn a_move_of_one_segment_is_found_in_it_alone() {
    let terms = Terms {
        margin: 0.1,
        alpha: 1.0 / 720.0,
        level: 0.95,
    };
    let mut random = Random::new(11);
    let made = baseline(&rows(&mut random, 20_000, 0.0), SEGMENTS);
    let drift = |richer: f64, random: &mut Random| {
        let now = rows(random, 10_000, richer);
        let now = Source::Batch(&now).count(1, &made).expect("counted");
        made.drift(&now, terms, |_| Attention::PLAIN)
    };
    let moved = |drift: &crate::baseline::Drift| {
        let mut moved = Vec::new();
        for it in drift
            .columns
            .iter()
            .filter(|it| it.verdict == Verdict::Drift)
        {
            moved.push(it.name.clone());
        }
        for of in &drift.segments {
            for it in of.columns.iter().filter(|it| it.verdict == Verdict::Drift) {
                moved.push(format!("{} where {}={}", it.name, of.by, of.value));
            }
        }
        moved
    };
    let quiet = drift(0.0, &mut random);
    assert_eq!(moved(&quiet), [""; 0]);
    let shifted = drift(0.5, &mut random);
    // A fifth of the rows moved by half of a deviation: all together by a tenth, which is just at the margin.
    assert_eq!(moved(&shifted), ["income where home=rent"]);
    assert_eq!(shifted.verdict, Verdict::Drift);
    let rent = shifted.segments.iter().find(|it| it.value == "rent");
    let rent = rent.expect("a segment");
    assert!(rent.columns.iter().all(|it| it.name != "home"), "R3");
    // Segments take half of what all rows had, and no more.
    let mut without = made.clone();
    without.declare(&[], "");
    let p = |drift: &crate::baseline::Drift| {
        let income = drift.columns.iter().find(|it| it.name == "income");
        income.and_then(|it| it.answers.first().map(|it| it.effect.detectable))
    };
    let (with, without) = (p(&quiet).expect("a number"), {
        let now = rows(&mut random, 10_000, 0.0);
        let now = Source::Batch(&now).count(1, &without).expect("counted");
        p(&without.drift(&now, terms, |_| Attention::PLAIN)).expect("a number")
    });
    assert!(with < 1.1 * without, "{with} {without}");
}
