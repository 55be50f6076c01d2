//! Metrics that are posted with predictions' ids: kept as labels are, told beside them.

use arrow::array::{Float64Array, StringArray};

use super::*;

impl Site {
    pub(super) fn post(&self, metric: &str, values: &[(Target, &str)]) {
        let values: Vec<Label> = values
            .iter()
            .map(|(target, value)| Label {
                target: target.clone(),
                value: (*value).to_owned(),
                at_us: NOW_MS * 1000,
            })
            .collect();
        let table = posted_as("credit", metric);
        let added = self.ledger.add_labels(&table, &values, NOW_MS);
        added.expect("room for metrics");
    }

    /// `NUMBER NAME VALUE TIMES` of every value that holds, by the number in the prediction's id.
    fn values(&self) -> Vec<String> {
        let sql = "select prediction_id, name, value, posted from \"credit~metrics\" order by prediction_id, name";
        let mut all = Vec::new();
        for batch in self.ask(sql).expect("an answer") {
            let text = |column: usize| {
                let column = cast_text(batch.column(column));
                column.as_string::<i32>().clone()
            };
            let (ids, names): (StringArray, StringArray) = (text(0), text(1));
            let values: &Float64Array = batch.column(2).as_primitive();
            let times = batch.column(3).as_primitive::<Int64Type>();
            all.extend((0..batch.num_rows()).map(|row| {
                let id: PredictionId = ids.value(row).parse().expect("an id");
                let number = u64::from_be_bytes(id.request[8..].try_into().expect("eight bytes"));
                let (name, value) = (names.value(row), values.value(row));
                format!("{number} {name} {value} {}", times.value(row))
            }));
        }
        all
    }

    fn posted(&self) -> Vec<String> {
        let snapshot = self.ledger.snapshot(NOW_MS).expect("a snapshot");
        snapshot.posted("credit").expect("names")
    }
}

fn cast_text(column: &arrow::array::ArrayRef) -> arrow::array::ArrayRef {
    arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).expect("text")
}

#[test]
fn the_last_value_holds_however_it_comes() {
    let site = Site::new();
    assert_eq!(site.posted(), Vec::<String>::new());
    // Before its prediction.
    site.post("revenue", &[(by_id(1, 0, 0), "5")]);
    for number in 0..40 {
        let (key, request) = (
            format!("customer {}", number % 10),
            format!("request {number}"),
        );
        site.record_with(number, 0, 1, Some(&key), Some(&request));
    }
    site.label(&[(by_id(1, 0, 0), "bad")]);
    // Of nobody's prediction, and of a row that there is not.
    site.post(
        "revenue",
        &[
            (by_id(2, 0, 0), "12.5"),
            (by_id(99, 0, 0), "1"),
            (by_id(2, 0, 7), "2"),
        ],
    );
    // Twice, corrected, and under another name.
    site.post("revenue", &[(by_id(2, 0, 0), "12.5")]);
    site.post("revenue", &[(by_id(2, 0, 0), "-3")]);
    site.post("clicks", &[(by_id(2, 0, 0), "4")]);
    let by_request = Target::Request {
        id: "request 3".to_owned(),
        row: 0,
    };
    let by_key = Target::Key {
        key: "customer 4".to_owned(),
        from_us: NOW_MS * 1000,
        to_us: NOW_MS * 1000 + 20,
    };
    site.post("revenue", &[(by_request, "30"), (by_key, "1e3")]);
    let check = |site: &Site| {
        assert_eq!(
            site.values(),
            [
                "1 revenue 5 1",
                "2 clicks 4 1",
                "2 revenue -3 3",
                "2 revenue 2 1",
                "3 revenue 30 1",
                "4 revenue 1000 1",
                "14 revenue 1000 1",
                "99 revenue 1 1",
            ]
        );
        assert_eq!(site.posted(), ["clicks", "revenue"]);
        let unknown = "select count(*) from \"credit~metrics\" m left join credit p \
                       on p.prediction_id = m.prediction_id where p.model is null";
        assert_eq!(site.number(unknown), 2);
        let joined = "select cast(sum(m.value) as bigint) from credit p join \"credit~metrics\" m \
                      on p.prediction_id = m.prediction_id and m.name = 'revenue'";
        assert_eq!(site.number(joined), 5 - 3 + 30 + 2000);
        // They are no labels, and no model's.
        assert_eq!(site.number("select count(*) from labels"), 1);
        assert_eq!(
            site.number("select count(*) from credit where label is not null"),
            1
        );
        let quality = site.quality(&[]);
        assert_eq!((quality.labels.named, quality.labels.matched), (1, 1));
        let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
        assert_eq!(snapshot.models().expect("models"), ["credit"]);
    };
    check(&site);
    site.settle(NOW_MS);
    check(&site);
    let site = site.killed();
    check(&site);
    // Numbers go on growing: a value that comes now holds.
    site.post("revenue", &[(by_id(2, 0, 0), "7")]);
    let values = site.values();
    assert!(values.contains(&"2 revenue 7 4".to_owned()), "{values:?}");
}

#[test]
fn nothing_posted_is_an_empty_table_and_of_an_unknown_model_there_is_none() {
    let site = Site::new();
    site.record(1, 0, 1);
    assert_eq!(site.number("select count(*) from \"credit~metrics\""), 0);
    let refused = site.ask("select count(*) from \"debit~metrics\"");
    assert!(refused.is_err());
}

#[test]
fn values_that_were_being_written_are_cut_and_counted() {
    let site = Site::new();
    site.record(1, 0, 1);
    site.post("revenue", &[(by_id(1, 0, 0), "5")]);
    site.post("revenue", &[(by_id(1, 0, 0), "6")]);
    let log = site.files("log").remove(0);
    let Site { folder, ledger, .. } = site;
    let end = ledger.log.open_rows().expect("rows").1 as u64;
    drop(ledger);
    let file = OpenOptions::new().write(true).open(&log).expect("a file");
    file.write_all_at(&[0; 24], end - 24).expect("written");
    let site = Site::at(folder);
    assert_eq!(site.values(), ["1 revenue 5 1"]);
    site.settle(NOW_MS);
    assert_eq!(site.values(), ["1 revenue 5 1"]);
    let damage = site.ledger.status().damage;
    assert!(damage.torn_bytes > 0 && damage.records == 0, "{damage:?}");
}

#[test]
fn values_go_with_the_rows_of_their_model() {
    let site = Site::new();
    for day in -3..=0 {
        site.record(1, day, 1);
        site.post("revenue", &[(by_id(1, day, 0), "5")]);
        site.settle(NOW_MS);
    }
    let keep = Retain {
        age_us: Some(86_400_000_000 * 3 / 2),
        bytes: None,
    };
    let layout = layout(&credit(&["age", "income"]), 1);
    site.ledger.expect(&layout, keep, NOW_MS).expect("noted");
    site.settle(NOW_MS);
    // A day's values are as old as the day's end.
    let values = site.values();
    assert!((2..=3).contains(&values.len()), "{values:?}");
    let long = NOW_MS + 10 * 86_400_000;
    site.settle(long);
    assert_eq!(site.posted(), Vec::<String>::new());
}
