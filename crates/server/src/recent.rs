//! What models did lately: every two seconds what was counted of each loaded version is read, and what came to it is
//! added up in points of ten seconds by model, for half an hour. In memory, and nothing from before the server started.
//!
//! Quantiles are what the buckets of a histogram tell: within the bucket that holds the quantile, answers are taken to be
//! spread evenly, so that it is right to the width of a bucket (`stats::BUCKETS_S`); what took longer than the last bound
//! is told as that bound.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use domain::{ModelName, Version};
use wire::api::overview::{PointRecord, RecentRecord};

use crate::app::App;
use crate::running::Running;
use crate::stats::BUCKETS_S;
use crate::task::{Tasks, Ticks};

/// How often what was counted is read.
pub(crate) const LOOK: Duration = Duration::from_secs(2);
/// How long a point is.
const STEP_MS: i64 = 10_000;
/// The points of a model: half an hour.
const POINTS_MAX: usize = 180;
/// What is lately: the last minute.
const LATELY: usize = 6;
/// For how many minutes it is kept what rows cost.
const MINUTES_MAX: usize = 60;
const MINUTE_MS: i64 = 60_000;
/// The models that are followed; of more the first by name are.
pub(crate) const MODELS_MAX: usize = 1000;
/// The parts of a unit of money in which costs are counted.
pub(crate) const PARTS: f64 = 1e15;

/// What a version has done since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Requests answered.
    pub(crate) answered: u64,
    /// Requests refused or failed.
    pub(crate) failed: u64,
    /// How long those answered took, by bucket; the last has what took longer than every bound.
    pub(crate) buckets: [u64; BUCKETS_S.len() + 1],
    /// Rows that have a cost, and what they cost in [`PARTS`]. It may begin again from 0.
    pub(crate) rows: u64,
    pub(crate) cost: u64,
}

impl Counted {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            answered: self.answered.saturating_sub(earlier.answered),
            failed: self.failed.saturating_sub(earlier.failed),
            buckets: std::array::from_fn(|it| self.buckets[it].saturating_sub(earlier.buckets[it])),
            rows: self.rows.saturating_sub(earlier.rows),
            cost: self.cost.wrapping_sub(earlier.cost),
        }
    }

    fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.failed += other.failed;
        for (sum, it) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += it;
        }
        self.rows += other.rows;
        self.cost = self.cost.saturating_add(other.cost);
    }

    /// How long a share of the answers took at most, in milliseconds; none without answers.
    fn quantile_ms(&self, share: f64) -> Option<f64> {
        let count: u64 = self.buckets.iter().sum();
        if count == 0 {
            return None;
        }
        let rank = share * count as f64;
        let (mut below, mut low) = (0.0, 0.0);
        for (bound, in_it) in BUCKETS_S.iter().zip(self.buckets) {
            let in_it = in_it as f64;
            if in_it > 0.0 && below + in_it >= rank {
                return Some((low + (bound - low) * (rank - below) / in_it) * 1000.0);
            }
            below += in_it;
            low = *bound;
        }
        Some(low * 1000.0)
    }
}

/// A point that has ended.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    /// For how much of it was counted.
    counted_ms: i64,
    answered: u64,
    failed: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Point {
    fn of(counted: &Counted, counted_ms: i64) -> Self {
        Self {
            counted_ms,
            answered: counted.answered,
            failed: counted.failed,
            p50_ms: counted.quantile_ms(0.5),
            p99_ms: counted.quantile_ms(0.99),
        }
    }

    fn record(&self) -> PointRecord {
        let round = |value: f64, parts: f64| (value * parts).round() / parts;
        let requests = (self.answered + self.failed) as f64;
        let seconds = self.counted_ms.max(1) as f64 / 1000.0;
        PointRecord {
            requests_per_s: round(requests / seconds, 1e3),
            error_rate: (requests > 0.0).then(|| round(self.failed as f64 / requests, 1e5)),
            p50_ms: self.p50_ms.map(|it| round(it, 1e3)),
            p99_ms: self.p99_ms.map(|it| round(it, 1e3)),
        }
    }
}

/// What a model did lately.
#[derive(Debug)]
pub(crate) struct Course {
    /// Those that have ended, oldest first.
    ended: VecDeque<Point>,
    /// The one that goes on: its number since 1970, what was counted in it and for how long.
    number: i64,
    counted: Counted,
    counted_ms: i64,
    /// Rows and what they cost by the minute since 1970.
    costs: VecDeque<(i64, u64, f64)>,
}

impl Course {
    fn new(from_ms: i64) -> Self {
        Self {
            ended: VecDeque::new(),
            number: from_ms.div_euclid(STEP_MS),
            counted: Counted::default(),
            counted_ms: 0,
            costs: VecDeque::new(),
        }
    }

    /// Takes in what was counted in a span of time: it belongs to the point that holds the middle of it.
    fn add(&mut self, (from_ms, to_ms): (i64, i64), counted: &Counted) {
        let middle_ms = from_ms + (to_ms - from_ms) / 2;
        let number = middle_ms.div_euclid(STEP_MS);
        if number.saturating_sub(self.number) > POINTS_MAX as i64 {
            // It was asleep for so long that nothing of what was is told any more.
            let costs = std::mem::take(&mut self.costs);
            *self = Self {
                costs,
                ..Self::new(middle_ms)
            };
        }
        while self.number < number {
            self.ended
                .push_back(Point::of(&self.counted, self.counted_ms));
            if self.ended.len() >= POINTS_MAX {
                self.ended.pop_front();
            }
            self.number += 1;
            self.counted = Counted::default();
            self.counted_ms = 0;
        }
        self.counted.add(counted);
        self.counted_ms += (to_ms - from_ms).max(0);
        let minute = middle_ms.div_euclid(MINUTE_MS);
        let cost = counted.cost as f64 / PARTS;
        match self.costs.back_mut() {
            Some(last) if last.0 >= minute => {
                last.1 += counted.rows;
                last.2 += cost;
            }
            _ => self.costs.push_back((minute, counted.rows, cost)),
        }
        let oldest = minute - MINUTES_MAX as i64;
        while self.costs.front().is_some_and(|it| it.0 <= oldest) {
            self.costs.pop_front();
        }
    }

    /// The points, that which goes on the last.
    pub(crate) fn record(&self) -> RecentRecord {
        let ended = self.ended.iter().map(Point::record);
        let current = Point::of(&self.counted, self.counted_ms);
        RecentRecord {
            from_ms: (self.number - self.ended.len() as i64) * STEP_MS,
            step_ms: STEP_MS,
            points: ended.chain([current.record()]).collect(),
        }
    }

    /// The point that goes on, alone.
    pub(crate) fn newest(&self) -> RecentRecord {
        RecentRecord {
            from_ms: self.number * STEP_MS,
            step_ms: STEP_MS,
            points: vec![Point::of(&self.counted, self.counted_ms).record()],
        }
    }

    /// Requests of the last minute and those of them that failed.
    pub(crate) fn lately(&self) -> (u64, u64) {
        let ended = self.ended.iter().rev().take(LATELY - 1);
        let first = (self.counted.answered, self.counted.failed);
        let (answered, failed) =
            ended.fold(first, |sum, it| (sum.0 + it.answered, sum.1 + it.failed));
        (answered + failed, failed)
    }

    /// Requests a second, of the last minute.
    pub(crate) fn requests_per_s(&self) -> f64 {
        let ended = self.ended.iter().rev().take(LATELY - 1);
        let counted_ms = self.counted_ms + ended.map(|it| it.counted_ms).sum::<i64>();
        self.lately().0 as f64 * 1000.0 / counted_ms.max(1) as f64
    }

    /// What 1,000 rows cost in the last hour; none without rows.
    pub(crate) fn cost_per_1k(&self) -> Option<f64> {
        let rows: u64 = self.costs.iter().map(|it| it.1).sum();
        let cost: f64 = self.costs.iter().map(|it| it.2).sum();
        (rows > 0).then(|| cost / rows as f64 * 1000.0)
    }
}

/// What every model did lately.
#[derive(Default)]
pub(crate) struct Recent {
    courses: Mutex<HashMap<String, Course>>,
}

impl Recent {
    /// The courses by the names of models. Not to be held for long: who counts waits for it.
    pub(crate) fn courses(&self) -> MutexGuard<'_, HashMap<String, Course>> {
        self.courses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts until the server ends.
pub(crate) async fn watch(app: Weak<App>, tasks: Tasks) {
    let mut watch = Watch::default();
    let mut ticks = Ticks::new(app, &tasks, LOOK);
    while let Some(app) = ticks.next().await {
        watch.look(&app);
    }
}

#[derive(Default)]
pub(crate) struct Watch {
    /// What was counted of each version at the last look. A version that was loaded anew is another one.
    known: HashMap<(ModelName, Version), (Weak<Running>, Counted)>,
    last_ms: Option<i64>,
}

impl Watch {
    /// Takes in what every loaded version has done since the last look.
    pub(crate) fn look(&mut self, app: &App) {
        // A time that never jumps.
        let now_ms = app.clock.wall_ms(app.clock.now());
        let from_ms = self.last_ms.replace(now_ms).unwrap_or(app.started_ms);
        let mut models = app.catalog.models();
        models.truncate(MODELS_MAX);
        let mut known = HashMap::with_capacity(self.known.len());
        let mut courses = app.recent.courses();
        courses.retain(|name, _| models.binary_search_by(|it| it.0.cmp(name)).is_ok());
        for (name, model) in &models {
            let mut sum = Counted::default();
            for (version, running) in &model.ready {
                let counted = running.counted();
                let key = (running.model.clone(), *version);
                let before = self.known.get(&key);
                let before = before.filter(|it| Weak::ptr_eq(&it.0, &Arc::downgrade(running)));
                sum.add(&counted.since(&before.map(|it| it.1).unwrap_or_default()));
                known.insert(key, (Arc::downgrade(running), counted));
            }
            let course = courses.entry(name.clone());
            let course = course.or_insert_with(|| Course::new(from_ms));
            course.add((from_ms, now_ms), &sum);
        }
        drop(courses);
        self.known = known;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many answers in one bucket, and so many failures.
    fn counted(bucket: usize, answered: u64, failed: u64) -> Counted {
        let mut counted = Counted {
            answered,
            failed,
            ..Counted::default()
        };
        counted.buckets[bucket] = answered;
        counted
    }

    #[test]
    fn quantiles_are_taken_evenly_within_a_bucket() {
        assert_eq!(Counted::default().quantile_ms(0.5), None);
        // 1 to 2.5 ms.
        let one = counted(4, 100, 0);
        let near = |got: Option<f64>, want: f64| {
            let got = got.expect("a value");
            assert!((got - want).abs() < 1e-9, "{got} {want}");
        };
        near(one.quantile_ms(0.5), 1.75);
        near(one.quantile_ms(0.99), 1.0 + 1.5 * 0.99);
        // 90 of 100 within 0.1 ms, 10 from 50 to 100 ms.
        let mut two = counted(0, 90, 0);
        two.add(&counted(9, 10, 0));
        near(two.quantile_ms(0.5), 0.1 * 50.0 / 90.0);
        near(two.quantile_ms(0.99), 95.0);
        // Longer than the last bound.
        near(counted(16, 5, 0).quantile_ms(0.5), 10_000.0);
    }

    #[test]
    fn points_hold_what_came_in_their_time() {
        let mut course = Course::new(100_000);
        for second in [100, 102, 104, 106, 108] {
            let span = (second * 1000, second * 1000 + 2000);
            course.add(span, &counted(4, 18, 2));
        }
        assert_eq!(course.record().points.len(), 1, "it goes on");
        course.add((110_000, 112_000), &counted(4, 10, 0));
        // Nobody counted for half a minute, then a look tells of all of it.
        course.add((112_000, 152_000), &counted(4, 80, 0));
        let record = course.record();
        assert_eq!((record.from_ms, record.step_ms), (100_000, 10_000));
        let rates: Vec<f64> = record.points.iter().map(|it| it.requests_per_s).collect();
        assert_eq!(rates, [10.0, 5.0, 0.0, 2.0]);
        let errors: Vec<Option<f64>> = record.points.iter().map(|it| it.error_rate).collect();
        assert_eq!(errors, [Some(0.1), Some(0.0), None, Some(0.0)]);
        assert_eq!(record.points[0].p50_ms, Some(1.75));
        assert_eq!(record.points[2].p50_ms, None);
        assert_eq!(course.lately(), (190, 10));
        assert!((course.requests_per_s() - 190.0 / 52.0).abs() < 1e-9);
        let newest = course.newest();
        assert_eq!((newest.from_ms, newest.points.len()), (130_000, 1));
        assert_eq!(newest.points[0], record.points[3]);
    }

    #[test]
    fn half_an_hour_is_kept() {
        let mut course = Course::new(0);
        for step in 0..500 {
            let from = step * STEP_MS;
            course.add((from, from + STEP_MS), &counted(4, step as u64, 0));
        }
        let record = course.record();
        assert_eq!(record.points.len(), POINTS_MAX);
        assert_eq!(record.from_ms, 320 * STEP_MS);
        assert_eq!(record.points[0].requests_per_s, 32.0);
        // The machine slept for a day.
        course.add((86_400_000, 86_402_000), &counted(4, 4, 0));
        let record = course.record();
        assert_eq!((record.from_ms, record.points.len()), (86_400_000, 1));
    }

    #[test]
    fn costs_are_those_of_the_last_hour() {
        let mut course = Course::new(0);
        assert_eq!(course.cost_per_1k(), None);
        let of = |rows: u64, each: f64| Counted {
            rows,
            cost: (rows as f64 * each * PARTS) as u64,
            ..Counted::default()
        };
        course.add((0, 2000), &of(100, 0.002));
        course.add((60_000, 62_000), &of(300, 0.001));
        let cost = course.cost_per_1k().expect("rows");
        assert!((cost - 1.25).abs() < 1e-9, "{cost}");
        course.add((3_600_000, 3_602_000), &of(0, 0.0));
        let cost = course.cost_per_1k().expect("rows");
        assert!((cost - 1.0).abs() < 1e-9, "{cost}");
        // What is counted may begin again from 0.
        let (before, after) = (u64::MAX - 5, 4);
        let wrapped = Counted {
            cost: after,
            ..Counted::default()
        };
        let earlier = Counted {
            cost: before,
            ..Counted::default()
        };
        assert_eq!(wrapped.since(&earlier).cost, 10);
    }
}
