//! Thresholds that select every group at one rate, and lose as little accuracy as that allows.
//!
//! Hardt, Price & Srebro, NeurIPS 2016, section 4, for demographic parity; fairlearn's
//! `ThresholdOptimizer(constraints="demographic_parity", objective="accuracy_score", grid_size=1000)`.
//! Each group's accuracy is made concave in its selection rate (the upper hull over all its thresholds;
//! between two of them a row's threshold is drawn at random), and the rate on a grid with the greatest
//! accuracy over all rows is taken, the smallest of several.

/// One scored row and the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredRow {
    /// The group's place among all groups, from 0.
    pub group: usize,
    /// Higher for likelier positives.
    pub score: f64,
    /// What is true.
    pub positive: bool,
}

/// What a row of the group is called: positive where its score is above a threshold, which is drawn anew for
/// each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// The upper threshold; infinity calls no row positive.
    pub upper: f64,
    /// The lower threshold; minus infinity calls every row positive.
    pub lower: f64,
    /// The probability with which the upper threshold is the one; else it is the lower.
    pub upper_share: f64,
}

impl Mix {
    /// The probability that a row with this score is called positive.
    pub fn positive_share(&self, score: f64) -> f64 {
        let upper = if score > self.upper {
            self.upper_share
        } else {
            0.0
        };
        let lower = if score > self.lower {
            1.0 - self.upper_share
        } else {
            0.0
        };
        upper + lower
    }
}

/// Thresholds for all groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// By the group's place; `None` where it has no rows to learn from.
    pub groups: Vec<Option<Mix>>,
    /// The selection rate of every group, on the rows given.
    pub selection: f64,
    /// The expected accuracy over all rows given.
    pub accuracy: f64,
    /// Rows with a score that is not finite; they took no part.
    pub skipped: u64,
}

/// Selection rates tried besides 0.
const GRID: usize = 1_000;

/// The best thresholds for `groups` groups. `None` without rows that have a finite score. Unlike fairlearn
/// it takes groups without positives or without negatives. Sorts the rows: work for a worker thread.
pub fn demographic_parity(groups: usize, rows: &[ScoredRow]) -> Option<Thresholds> {
    let mut scored = vec![Vec::new(); groups];
    let mut skipped = 0;
    for row in rows {
        if row.score.is_finite() {
            scored[row.group].push((row.score, row.positive));
        } else {
            skipped += 1;
        }
    }
    let count = rows.len() as u64 - skipped;
    if count == 0 {
        return None;
    }
    let hulls = scored.into_iter().map(|group| {
        let share = group.len() as f64 / count as f64;
        (share, hull(points(group)))
    });
    let hulls: Vec<(f64, Vec<Point>)> = hulls.collect();
    let (mut selection, mut accuracy) = (0.0, f64::NEG_INFINITY);
    for index in 0..=GRID {
        let tried = rate(index);
        let groups = hulls
            .iter()
            .filter_map(|(share, hull)| Some((share, meet(hull, tried)?)));
        let sum = groups.map(|(share, met)| share * met.accuracy).sum();
        if sum > accuracy {
            (selection, accuracy) = (tried, sum);
        }
    }
    let mixes = hulls
        .iter()
        .map(|(_, hull)| Some(meet(hull, selection)?.mix));
    Some(Thresholds {
        groups: mixes.collect(),
        selection,
        accuracy,
        skipped,
    })
}

/// The selection rate at this place of the grid, rounded as `numpy.linspace` does.
fn rate(index: usize) -> f64 {
    if index == GRID {
        return 1.0;
    }
    index as f64 * (1.0 / GRID as f64)
}

/// What a threshold does to a group.
#[derive(Clone, Copy, Debug)]
struct Point {
    selection: f64,
    accuracy: f64,
    threshold: f64,
}

/// A group at a selection rate.
struct Met {
    accuracy: f64,
    mix: Mix,
}

/// All thresholds that make a difference, from the one that calls no row positive to the one that calls all.
fn points(mut group: Vec<(f64, bool)>) -> Vec<Point> {
    group.sort_unstable_by(|one, other| other.0.total_cmp(&one.0));
    let rows = group.len() as f64;
    let negatives = group.iter().filter(|it| !it.1).count();
    let (mut selected, mut hits) = (0, 0);
    let mut points = Vec::new();
    let mut push = |selected: usize, hits: usize, threshold| {
        let right = hits + negatives - (selected - hits);
        points.push(Point {
            selection: selected as f64 / rows,
            accuracy: right as f64 / rows,
            threshold,
        });
    };
    if !group.is_empty() {
        push(0, 0, f64::INFINITY);
    }
    for ties in group.chunk_by(|one, other| one.0 == other.0) {
        selected += ties.len();
        hits += ties.iter().filter(|it| it.1).count();
        let score = ties[0].0;
        let next = group.get(selected).map_or(f64::NEG_INFINITY, |it| it.0);
        let middle = f64::midpoint(score, next);
        // Between neighbours there is no middle, and the row itself must stay above the threshold.
        push(selected, hits, if middle < score { middle } else { next });
    }
    points
}

/// The upper hull, from left to right: Andrew, Inf. Process. Lett. 9 (1979), 216-219. The points come with
/// rising selection rate.
fn hull(points: Vec<Point>) -> Vec<Point> {
    let mut hull: Vec<Point> = Vec::new();
    for point in points {
        while let [.., first, middle] = hull[..] {
            let middle_slope =
                (middle.accuracy - first.accuracy) * (point.selection - first.selection);
            let slope = (point.accuracy - first.accuracy) * (middle.selection - first.selection);
            if middle_slope > slope {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    hull
}

/// The mix of the two points around a selection rate; at a point the left neighbour is the other. `None`
/// for a group without rows.
fn meet(hull: &[Point], selection: f64) -> Option<Met> {
    let right = hull.partition_point(|it| it.selection < selection).max(1);
    let (left, right) = (hull.get(right - 1)?, hull.get(right)?);
    let upper_share = (right.selection - selection) / (right.selection - left.selection);
    Some(Met {
        accuracy: upper_share * left.accuracy + (1.0 - upper_share) * right.accuracy,
        mix: Mix {
            upper: left.threshold,
            lower: right.threshold,
            upper_share,
        },
    })
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

    #[test]
    fn two_groups_by_hand() {
        // Alone the first would select half of its rows, the second a quarter, each without a mistake. For
        // every rate between, one gains what the other loses: the smallest is taken.
        let first: [(f64, bool); 4] = [(0.9, true), (0.8, true), (0.3, false), (0.1, false)];
        let second: [(f64, bool); 4] = [(0.7, true), (0.6, false), (0.5, false), (0.4, false)];
        let rows = rows(&[&first, &second, &[]]);
        let got = demographic_parity(3, &rows).expect("rows");
        assert_eq!((got.selection, got.accuracy, got.skipped), (0.25, 0.875, 0));
        let first = got.groups[0].expect("rows");
        assert_eq!(
            (first.upper, first.lower),
            (f64::INFINITY, f64::midpoint(0.8, 0.3))
        );
        assert_eq!(first.upper_share, 0.5);
        assert_eq!(first.positive_share(0.85), 0.5);
        assert_eq!(first.positive_share(0.2), 0.0);
        let second = got.groups[1].expect("rows");
        assert_eq!(second.upper_share, 0.0);
        assert_eq!(second.positive_share(0.7), 1.0);
        assert_eq!(second.positive_share(0.6), 0.0);
        assert_eq!(got.groups[2], None);
    }

    #[test]
    fn every_group_is_selected_at_the_rate() {
        let score = |index: usize, factor: usize| (index * factor % 97 / 4) as f64 / 24.0;
        let first: Vec<(f64, bool)> = (0..90)
            .map(|it| (score(it, 31), score(it, 31) + score(it, 7) > 0.9))
            .collect();
        let second: Vec<(f64, bool)> = (0..50)
            .map(|it| (score(it, 17), score(it, 17) + score(it, 5) > 1.2))
            .collect();
        let got = demographic_parity(2, &rows(&[&first, &second])).expect("rows");
        for (group, mix) in [(first, got.groups[0]), (second, got.groups[1])] {
            let mix = mix.expect("rows");
            let selected: f64 = group.iter().map(|it| mix.positive_share(it.0)).sum();
            assert!((selected / group.len() as f64 - got.selection).abs() < 1e-12);
        }
    }

    #[test]
    fn all_or_none_where_that_is_right() {
        let all = demographic_parity(1, &rows(&[&[(0.2, true), (0.1, true)]])).expect("rows");
        assert_eq!((all.selection, all.accuracy), (1.0, 1.0));
        let mix = all.groups[0].expect("rows");
        assert_eq!(
            (mix.lower, mix.positive_share(-5.0)),
            (f64::NEG_INFINITY, 1.0)
        );
        let none = demographic_parity(1, &rows(&[&[(0.2, false), (0.1, false)]])).expect("rows");
        assert_eq!((none.selection, none.accuracy), (0.0, 1.0));
        assert_eq!(none.groups[0].expect("rows").positive_share(9.0), 0.0);
    }

    #[test]
    fn scores_that_are_not_finite_are_skipped_and_neighbours_stay_apart() {
        assert_eq!(demographic_parity(2, &[]), None);
        let broken = rows(&[&[(f64::NAN, true), (f64::INFINITY, false)]]);
        assert_eq!(demographic_parity(1, &broken), None);
        let next = 1f64.next_up();
        let close = rows(&[&[(f64::NAN, true), (next, true), (1.0, false)]]);
        let got = demographic_parity(1, &close).expect("rows");
        assert_eq!((got.accuracy, got.skipped), (1.0, 1));
        let mix = got.groups[0].expect("rows");
        assert_eq!(
            (mix.positive_share(next), mix.positive_share(1.0)),
            (1.0, 0.0)
        );
    }
}
