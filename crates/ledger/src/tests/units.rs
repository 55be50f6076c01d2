//! What each key did while versions shared a model's traffic.

use domain::rollout::assign::Place;

use super::*;
use crate::{Judged, UnitRow, UnitValue, UnitsAsked};

const START: i64 = NOW_MS * 1000;
const BLAMELESS: &[&str] = &["malformed", "cancelled"];

/// A request of an arm, whose version is the next number.
struct Request<'a> {
    number: u64,
    arm: &'a str,
    key: Option<&'a str>,
    took_us: u32,
    code: Option<&'a str>,
    /// The score of each row; at a half or more its class is `bad`.
    scores: &'a [f32],
}

fn put(site: &Site, writers: &[Writer; 2], request: &Request<'_>) {
    let p: Vec<f32> = request
        .scores
        .iter()
        .flat_map(|bad| [*bad, 1.0 - bad])
        .collect();
    let p = Tensor::new(vec![request.scores.len(), 2], Elements::from_slice(&p)).expect("fits");
    let outputs = [(0, &p)];
    let rows = Rows {
        id: id(request.number, 0),
        time_us: START + request.number as i64,
        rows: request.scores.len() as u32,
        arm: request.arm,
        key: request.key,
        caller: None,
        request_id: None,
        code: request.code,
        spent: Spent {
            total_us: request.took_us,
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
    let writer = &writers[usize::from(request.arm == "arm 1")];
    let put = site.ledger.record(writer, &rows, 0, NOW_MS);
    put.expect("there is room");
}

fn told(site: &Site, versions: &[u32], of: UnitValue<'_>) -> Vec<UnitRow> {
    let asked = UnitsAsked {
        model: "credit",
        came: Range {
            from_us: START,
            to_us: START + 1_000,
        },
        versions,
        of,
    };
    let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
    let mut rows = Vec::new();
    snapshot
        .units(&asked, |row| rows.push(row))
        .expect("it can be read");
    rows.sort_by_key(|it| it.unit.came_us);
    rows
}

fn values(rows: &[UnitRow]) -> Vec<(u8, Option<f64>)> {
    rows.iter().map(|it| (it.arm, it.value)).collect()
}

#[test]
fn rows_are_told_by_arm_and_key_in_the_log_and_in_files() {
    let site = Site::new();
    let writers = [1, 2].map(|version| {
        let layout = layout(&credit(&["age", "income"]), version);
        site.ledger.writer(layout)
    });
    let one = Request {
        number: 1,
        arm: "arm 0",
        key: Some("a"),
        took_us: 10,
        code: None,
        scores: &[0.25, 0.75],
    };
    for request in [
        Request { ..one },
        Request {
            number: 2,
            arm: "arm 1",
            key: Some("b"),
            took_us: 99,
            ..one
        },
        Request {
            number: 3,
            arm: "arm 1",
            key: None,
            code: Some("timeout"),
            scores: &[0.25],
            ..one
        },
        Request {
            number: 4,
            arm: "arm 0",
            code: Some("malformed"),
            scores: &[0.25],
            ..one
        },
        // Nothing of the experiment, nor of its time.
        Request {
            number: 5,
            arm: "traffic",
            ..one
        },
        Request {
            number: 2_000,
            ..one
        },
    ] {
        put(&site, &writers, &request);
    }
    site.label(&[
        (by_id(1, 0, 0), "good"),
        (by_id(2, 0, 0), "bad"),
        (by_id(2, 0, 1), "bad"),
    ]);
    let of_key = Target::Key {
        key: "b".to_owned(),
        from_us: START,
        to_us: START + 3,
    };
    site.post("revenue", &[(by_id(1, 0, 0), "9"), (of_key, "-2.5")]);
    // The last one holds; what had no answer brought nothing.
    site.post("revenue", &[(by_id(1, 0, 0), "5"), (by_id(2, 0, 1), "4")]);
    site.post("revenue", &[(by_id(3, 0, 0), "8"), (by_id(5, 0, 0), "3")]);
    let check = || {
        let versions = &[1, 2];
        let failed = UnitValue::Failed {
            blameless: BLAMELESS,
        };
        let rows = told(&site, versions, failed);
        let fine = |arm| (arm, Some(0.0));
        let want = [
            fine(0),
            fine(0),
            fine(1),
            fine(1),
            (1, Some(1.0)),
            (0, None),
        ];
        assert_eq!(values(&rows), want);
        assert_eq!(rows[0].unit.hash, Place::of("", "a").0);
        assert!(rows[0].unit.is_key && !rows[4].unit.is_key);
        let over = UnitValue::Over {
            us: 50,
            blameless: BLAMELESS,
            gave_up: "cancelled",
        };
        let slow = (1, Some(1.0));
        let want = [fine(0), fine(0), slow, slow, slow, (0, None)];
        assert_eq!(values(&told(&site, versions, over)), want);
        let cost = told(&site, versions, UnitValue::Cost);
        assert_eq!(cost[0].value, Some(0.5));
        let right = |it: &Judged| it.right.map(|it| f64::from(u8::from(it)));
        let rows = told(&site, versions, UnitValue::Judged(right));
        let [one, other, two, three, failed, mistake] = &values(&rows)[..] else {
            panic!("{rows:?}");
        };
        assert_eq!((failed.1, mistake.1), (None, None));
        let mut labelled = [one.1, other.1];
        labelled.sort_by_key(|it| it.is_some());
        // One of the first request's rows has a label, and both of the second's, of which one is right.
        assert_eq!(labelled[0], None);
        assert!(labelled[1].is_some(), "{rows:?}");
        assert_eq!(two.1.expect("a label") + three.1.expect("a label"), 1.0);
        // Each row has what was posted of it, by whichever name.
        let brought = |versions: &[u32], metric: &str| {
            let mut all = values(&told(&site, versions, UnitValue::Posted(metric)));
            all.sort_by_key(|it| (it.0, it.1.map(|it| (it * 10.0) as i64)));
            all
        };
        let want = [
            (0, None),
            (0, None),
            (0, Some(5.0)),
            (1, None),
            (1, Some(-2.5)),
            (1, Some(4.0)),
        ];
        assert_eq!(brought(versions, "revenue"), want);
        let nothing = brought(versions, "clicks");
        assert_eq!(
            (nothing.len(), nothing.iter().all(|it| it.1.is_none())),
            (6, true)
        );
        let before = brought(&[], "revenue");
        let told_of: Vec<f64> = before.iter().filter_map(|it| it.1).collect();
        assert_eq!((before.len(), told_of), (7, vec![-2.5, 3.0, 4.0, 5.0]));
        // What keys did at any version, whoever they came to.
        let rows = told(&site, &[], UnitValue::Cost);
        assert_eq!(rows.len(), 7);
        assert!(rows.iter().all(|it| it.unit.is_key && it.arm == 0));
    };
    check();
    site.settle(NOW_MS + 86_400_000 * 2);
    check();
}
