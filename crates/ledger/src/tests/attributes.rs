//! What is known of those whom predictions are about, beside the columns of several versions.

use std::collections::BTreeMap;

use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::*;

/// Rows of two people, of a version with the column `income` and of one without it.
fn site() -> Site {
    let mut site = Site::new();
    for version in [1, 2] {
        let features = ["age", ["income", "debt"][usize::from(version == 2)]];
        site.writer = site.ledger.writer(layout(&credit(&features), version));
        for number in 0..4 {
            let name = ["ann", "bob"][number as usize % 2];
            let number = u64::from(version) * 10 + number;
            site.record_with(number, 0, 1, Some(name), None);
        }
    }
    site
}

fn attributes(names: &[&str]) -> Attributes {
    let mut attributes = Attributes::default();
    for name in names {
        let of = [("ann", "much"), ("bob", "little")];
        let of = of.map(|(key, value)| (key.to_owned(), value.to_owned()));
        attributes.add(name, of);
    }
    attributes
}

/// Rows of each version and value.
fn told(site: &Site, by: &str, version: Option<u32>) -> Vec<(u32, String, u64)> {
    let question = Question {
        by: vec![by.to_owned()],
        version,
        attributes: attributes(&["income", "wealth"]),
        ..Question::of("credit", Range::ALL, NOW_MS * 1000)
    };
    let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
    let quality = snapshot.quality(&question).expect("quality");
    let of = |it: &Group| (it.version, it.by[by].clone(), it.predictions);
    quality.groups.iter().map(of).collect()
}

#[test]
fn a_column_of_any_version_goes_before_an_attribute() {
    let site = site();
    for _ in 0..2 {
        let none = |rows| (2, "(none)".to_owned(), rows);
        let by_income = told(&site, "income", None);
        assert!(by_income.contains(&none(4)), "{by_income:?}");
        assert!(by_income.iter().all(|it| it.1 != "much"), "{by_income:?}");
        assert_eq!(told(&site, "income", Some(2)), [none(4)]);
        // What no version has is an attribute.
        let want = [(1, "little"), (1, "much"), (2, "little"), (2, "much")];
        let want = want.map(|(version, value)| (version, value.to_owned(), 2));
        assert_eq!(told(&site, "wealth", None), want);
        // From the files as from the log.
        site.settle(NOW_MS);
    }
}

#[test]
fn a_question_of_our_own_has_attributes_as_columns() {
    let site = site();
    site.label(&[(by_id(10, 0, 0), "bad"), (by_id(21, 0, 0), "good")]);
    let counts = |sql: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let limits = SqlLimits {
            memory_bytes: 64 << 20,
            spill_bytes: 0,
            threads: 1,
        };
        let attributes = attributes(&["income", "Wealth", "Town"]);
        let batches: Vec<RecordBatch> = runtime.block_on(async {
            let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
            let asked = snapshot.query_with(("credit", &attributes), sql, limits);
            let stream = asked.await.expect("an answer");
            stream.try_collect().await.expect("rows")
        });
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for batch in batches {
            let texts = cast(batch.column(0), &DataType::Utf8).expect("texts");
            let texts = texts.as_string::<i32>().iter();
            let numbers = batch.column(1).as_primitive::<Int64Type>().iter();
            let shown = |it: Option<&str>| it.unwrap_or("(none)").to_owned();
            counts.extend(texts.zip(numbers).map(|(a, b)| (shown(a), b.unwrap_or(0))));
        }
        counts
    };
    let map = |of: &[(&str, i64)]| {
        let of = of.iter().map(|(name, it)| ((*name).to_owned(), *it));
        of.collect::<BTreeMap<_, _>>()
    };
    for _ in 0..2 {
        let each = "select arrow_cast(\"Wealth\", 'Utf8'), count(*) from \"model:credit\"";
        let all = counts(&format!("{each} group by 1"));
        assert_eq!(all, map(&[("little", 4), ("much", 4)]));
        let labelled = format!("{each} where label is not null and Town = Wealth group by 1");
        assert_eq!(counts(&labelled), map(&[("little", 1), ("much", 1)]));
        // A column goes before.
        let income =
            "select cast(income as varchar), count(*) from credit where version = 2 group by 1";
        assert_eq!(counts(income), map(&[("(none)", 4)]));
        site.settle(NOW_MS);
    }
}
