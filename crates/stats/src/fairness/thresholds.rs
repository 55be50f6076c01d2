//! One threshold a group, so that a rate of all groups is as alike as thresholds can make it, with as little accuracy
//! lost as that allows.
//!
//! Hardt, Price & Srebro, NeurIPS 2016, section 4, without their draws: what a row is called follows from its score and
//! its group alone, so that it can be explained. `optimiser` meets a rate exactly by drawing between two thresholds;
//! here each group takes the threshold whose rate is nearest, and rates are alike as nearly as a group has scores. Of
//! the rates on a grid the one with the greatest accuracy over all rows is taken, the smallest of several. A row is
//! positive where its score is at least the threshold, and scores are from 0 to 1.
//!
//! One threshold makes one rate alike: equalised odds are two, and have no solution of this kind.

use super::counts::{Counts, Share};
use super::optimiser::ScoredRow;

/// The rate that is to be alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alike {
    /// Called positive, of all: demographic parity.
    Selection,
    /// Called positive, of the positive: equal opportunity.
    TruePositive,
    /// Called positive, of the negative.
    FalsePositive,
}

impl Alike {
    fn share(self, counts: Counts) -> Share {
        match self {
            Self::Selection => counts.selection(),
            Self::TruePositive => counts.true_positives(),
            Self::FalsePositive => counts.false_positives(),
        }
    }
}

/// A threshold for each group.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// By the group's place; `None` where it has too few rows under the rate to learn from.
    pub groups: Vec<Option<f64>>,
    /// The rate that all of them are to have.
    pub rate: f64,
    /// Rows with a score that is not from 0 to 1; they took no part.
    pub skipped: u64,
}

/// Rates tried besides 0.
const GRID: usize = 1_000;
/// Digits behind the point of a threshold, where so many tell scores apart.
const DIGITS_MAX: i32 = 15;

/// What a threshold does to a group.
#[derive(Clone, Copy, Debug)]
struct Point {
    rate: f64,
    right: u64,
    threshold: f64,
}

/// The thresholds of groups with at least `support_min` rows under the rate (0 counts as 1). `None` where fewer than
/// two have so many. Sorts the rows: work for a worker thread.
pub fn alike(
    rate: Alike,
    groups: usize,
    rows: &[ScoredRow],
    support_min: u64,
) -> Option<Thresholds> {
    let mut scored = vec![Vec::new(); groups];
    let mut skipped = 0;
    for row in rows {
        match (0.0..=1.0).contains(&row.score) {
            true => scored[row.group].push((row.score, row.positive)),
            false => skipped += 1,
        }
    }
    let points = scored
        .into_iter()
        .map(|it| points(rate, it, support_min.max(1)));
    let points: Vec<Vec<Point>> = points.collect();
    if points.iter().filter(|it| !it.is_empty()).count() < 2 {
        return None;
    }
    let tried = (0..=GRID).map(|it| it as f64 / GRID as f64);
    let right = |rate: f64| -> u64 {
        points
            .iter()
            .filter_map(|it| nearest(it, rate))
            .map(|it| it.right)
            .sum()
    };
    let (best, _) = tried.fold((0.0, None), |(best, most), rate| {
        let right = Some(right(rate));
        if right > most {
            (rate, right)
        } else {
            (best, most)
        }
    });
    let threshold = |it: &Vec<Point>| nearest(it, best).map(|it| it.threshold);
    Some(Thresholds {
        groups: points.iter().map(threshold).collect(),
        rate: best,
        skipped,
    })
}

/// What every threshold that makes a difference does, by rising rate; of several with one rate the one that is right
/// most often. Empty with too little support.
fn points(rate: Alike, mut group: Vec<(f64, bool)>, support_min: u64) -> Vec<Point> {
    group.sort_unstable_by(|one, other| other.0.total_cmp(&one.0));
    let mut counts = Counts::default();
    group
        .iter()
        .for_each(|(_, positive)| counts.add(false, *positive));
    let mut points: Vec<Point> = Vec::new();
    let mut push = |counts: Counts, threshold| {
        let Share { hits, support } = rate.share(counts);
        let point = Point {
            rate: hits as f64 / support as f64,
            right: counts.true_positive + counts.true_negative,
            threshold,
        };
        match points.last_mut().filter(|it| it.rate == point.rate) {
            Some(last) if last.right >= point.right => {}
            Some(last) => *last = point,
            None => points.push(point),
        }
    };
    if rate.share(counts).support < support_min {
        return Vec::new();
    }
    // A score of 1 is positive whatever the threshold.
    if let Some((most, _)) = group.first().filter(|it| it.0 < 1.0) {
        push(counts, between(*most, 1.0));
    }
    let mut called = 0;
    for ties in group.chunk_by(|one, other| one.0 == other.0) {
        for (_, positive) in ties {
            match positive {
                true => {
                    (counts.true_positive, counts.false_negative) =
                        (counts.true_positive + 1, counts.false_negative - 1)
                }
                false => {
                    (counts.false_positive, counts.true_negative) =
                        (counts.false_positive + 1, counts.true_negative - 1)
                }
            }
        }
        called += ties.len();
        let score = ties[0].0;
        let next = group.get(called).map(|it| it.0);
        push(counts, next.map_or(0.0, |next| between(next, score)));
    }
    points
}

/// A number between two, with as few digits as tell them apart; `high` where there is none.
fn between(low: f64, high: f64) -> f64 {
    let middle = f64::midpoint(low, high);
    let rounded = (1..=DIGITS_MAX).map(|digits| {
        let scale = 10f64.powi(digits);
        (middle * scale).round() / scale
    });
    let mut fitting = rounded.filter(|it| *it > low && *it < high);
    fitting.next().unwrap_or(high)
}

/// The point with the nearest rate; of two that are as near the one that is right more often.
fn nearest(points: &[Point], rate: f64) -> Option<Point> {
    let place = points.partition_point(|it| it.rate < rate);
    let below = place.checked_sub(1).and_then(|it| points.get(it));
    match (below, points.get(place)) {
        (Some(below), Some(above)) => {
            let (down, up) = (rate - below.rate, above.rate - rate);
            let take_below = down < up || (down == up && below.right > above.right);
            Some(if take_below { *below } else { *above })
        }
        (below, above) => below.or(above).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(groups: &[&[(f64, bool)]]) -> Vec<ScoredRow> {
        let of = |(group, rows): (usize, &&[(f64, bool)])| {
            let row = move |&(score, positive)| ScoredRow {
                group,
                score,
                positive,
            };
            rows.iter().map(row).collect::<Vec<_>>()
        };
        groups.iter().enumerate().flat_map(of).collect()
    }

    const FIRST: [(f64, bool); 4] = [(0.9, true), (0.8, true), (0.3, false), (0.1, false)];
    const SECOND: [(f64, bool); 4] = [(0.7, true), (0.6, false), (0.5, false), (0.4, false)];

    #[test]
    fn two_groups_by_hand() {
        let rows = rows(&[&FIRST, &SECOND, &[(0.5, true)]]);
        // Each group is half a row away from the rate, to the side where it makes no mistake.
        let got = alike(Alike::Selection, 3, &rows, 2).expect("two groups");
        assert_eq!(got.groups, [Some(0.6), Some(0.65), None]);
        assert_eq!(got.rate, 0.375);
        // All positives of both are found, and nobody else.
        let got = alike(Alike::TruePositive, 3, &rows, 1).expect("groups");
        assert_eq!(got.groups[..2], [Some(0.6), Some(0.65)]);
        // The fewest negatives are called positive where none is.
        let got = alike(Alike::FalsePositive, 2, &rows[..8], 2).expect("two groups");
        assert_eq!(got.groups, [Some(0.6), Some(0.65)]);
        assert_eq!(got.rate, 0.0);
    }

    #[test]
    fn too_little_and_what_is_no_score() {
        assert_eq!(alike(Alike::Selection, 0, &[], 1), None);
        assert_eq!(alike(Alike::Selection, 2, &rows(&[&FIRST, &[]]), 1), None);
        assert_eq!(
            alike(Alike::Selection, 2, &rows(&[&FIRST, &SECOND]), 5),
            None
        );
        // Two positives and one.
        assert_eq!(
            alike(Alike::TruePositive, 2, &rows(&[&FIRST, &SECOND]), 2),
            None
        );
        let odd = [(f64::NAN, true), (7.0, true), (0.5, true), (1.0, false)];
        let got = alike(Alike::Selection, 2, &rows(&[&odd, &FIRST]), 1).expect("two groups");
        assert_eq!(got.skipped, 2);
    }

    #[test]
    fn a_threshold_has_as_few_digits_as_tell_scores_apart() {
        assert_eq!(between(0.3, 0.8), 0.6);
        assert_eq!(between(0.61, 0.62), 0.615);
        assert_eq!(between(1.0 / 3.0, 1.0 / 3.0 + 1e-6), 0.333334);
        let next = 0.5f64.next_up();
        assert_eq!(between(0.5, next), next);
        assert_eq!(between(0.97, 1.0), 0.99);
    }

    /// 5 000 rows of two groups whose scores mean the same and are spread otherwise: at one threshold 0.45 and 0.18 are
    /// selected, at their own as many, and the accuracy is nearly as good.
    #[test]
    fn rates_meet_where_there_are_many_scores() {
        let mut state = 7u64;
        let mut roll = || {
            // The generator of Knuth's MMIX.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut all = Vec::new();
        for index in 0..5_000 {
            let group = index % 2;
            let score = roll().powf(if group == 0 { 1.15 } else { 2.5 });
            let positive = roll() < score;
            all.push(ScoredRow {
                group,
                score,
                positive,
            });
        }
        for rate in [Alike::Selection, Alike::TruePositive, Alike::FalsePositive] {
            let got = alike(rate, 2, &all, 100).expect("two groups");
            let share = |group: usize| {
                let threshold = got.groups[group].expect("enough rows");
                let mut counts = Counts::default();
                let of = all.iter().filter(|it| it.group == group);
                of.for_each(|it| counts.add(it.score >= threshold, it.positive));
                rate.share(counts).value().expect("rows")
            };
            assert!((share(0) - share(1)).abs() < 2e-3, "{rate:?}");
            assert!((share(0) - got.rate).abs() < 2e-3, "{rate:?}");
        }
    }
}
