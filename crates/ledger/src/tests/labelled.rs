//! The newest rows with labels, and what is told of their scores.

use super::*;

fn labelled(site: &Site, version: u32, to_us: i64, rows_max: usize) -> Vec<LabelledRows> {
    let snapshot = site.ledger.snapshot(NOW_MS).expect("a snapshot");
    let asked = LabelledAsked {
        model: "credit",
        version,
        range: Range {
            from_us: i64::MIN,
            to_us,
        },
        rows_max,
        read_max: 100_000,
        bytes_max: usize::MAX,
    };
    snapshot.labelled(&asked).expect("rows")
}

/// The numbers of the requests, ascending.
fn numbers(parts: &[LabelledRows]) -> Vec<u64> {
    let ids = parts.iter().flat_map(|it| it.rows.ids());
    let number =
        |it: PredictionId| u64::from_be_bytes(it.request[8..].try_into().expect("8 bytes"));
    let mut numbers: Vec<u64> = ids.map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn the_newest_rows_with_labels_are_found_wherever_they_lie() {
    let site = Site::new();
    let bad = |number: u64| {
        if number.is_multiple_of(4) {
            "bad"
        } else {
            "good"
        }
    };
    for number in 0..100 {
        site.record(number, 0, 1);
        if number == 29 || number == 59 {
            site.settle(NOW_MS);
        }
    }
    // A label for every other row, one that cannot be read, and one that was corrected.
    let labels: Vec<(Target, &str)> = (0..100)
        .step_by(2)
        .map(|it| (by_id(it, 0, 0), bad(it)))
        .collect();
    site.label(&labels);
    site.label(&[(by_id(99, 0, 0), "nobody knows"), (by_id(98, 0, 0), "bad")]);
    for _ in 0..2 {
        let parts = labelled(&site, 1, i64::MAX, 1_000);
        let all: Vec<u64> = (0..100).step_by(2).collect();
        assert_eq!(numbers(&parts), all);
        let some = labelled(&site, 1, i64::MAX, 30);
        assert_eq!(numbers(&some), all[20..]);
        assert!(numbers(&labelled(&site, 2, i64::MAX, 30)).is_empty());
        // Number 40 came 40 us after the first.
        let before = labelled(&site, 1, NOW_MS * 1000 + 40, 5);
        assert_eq!(numbers(&before), [30, 32, 34, 36, 38]);
        for part in &parts {
            let truths: Vec<Option<f64>> = part.truths.iter().copied().map(Some).collect();
            let scored = part.rows.scored(&truths).expect("scores");
            for (id, scored) in part.rows.ids().into_iter().zip(scored) {
                let number = u64::from_be_bytes(id.request[8..].try_into().expect("8 bytes"));
                let scored = scored.expect("a score");
                assert_eq!(scored.score as f32, score(number));
                assert_eq!(scored.predicted_positive, score(number) >= 0.5);
                let is_bad = number == 98 || number.is_multiple_of(4);
                assert_eq!(scored.positive, Some(is_bad), "{number}");
                assert_eq!(part.rows.place_in(&part.rows, 1.0), Some(1.0));
            }
        }
        site.settle(NOW_MS);
    }
}
