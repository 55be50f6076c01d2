//! What is measured of an experiment: from the ledger's rows to what is known of each version.
//!
//! R1. Everything is read anew at each look, from what came until all of it has ended: so a look says the same before and
//!     after a restart, and late labels are in the next one.
//! R2. A key is one unit with the mean of its rows, however many they are. Of more units than are kept a sample is, chosen by
//!     their hashes.
//! R3. The split is checked by where each key came first: it stays there, so that its later requests tell nothing new.
//! R4. Where shares have moved, versions are compared within each time of constant shares.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::ledger::{Judged, Ledger, Range, UnitRow, UnitValue, UnitsAsked};
use domain::Refusal;
use domain::experiment::course::{Event, Experiment, State};
use domain::experiment::{self, Answer, Before, Compared, Look, Spec, Told};
use domain::manifest::Span;
use domain::monitor::quality::Metric;
use domain::rollout::evidence::{Figure, Interval};
use domain::rollout::test::Measure;
use domain::rollout::traffic::{Arms, WHOLE};
use stats::Estimate;
use stats::sequential::cuped::{self, Pairs};
use stats::sequential::means::{self, Values};
use stats::sequential::proportion::Tally;
use stats::sequential::{assignment, rates, strata};

use crate::clock::wall_ms;
use bandits::bandits;

mod bandits;

/// Units of both arms at which the interval of a mean is narrowest.
const PLANNED: u64 = 5_000;
/// Units that are kept in memory.
const UNITS_MAX: usize = 1 << 19;
/// What was known before is of use where of each version so many keys have it.
const KNOWN_MIN: u64 = 100;
/// An answer that takes so many times the units that came is not foretold.
const AHEAD_MAX: f64 = 10_000.0;

/// A time of constant shares.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Period {
    /// Since when, in microseconds since 1970.
    pub(super) from_us: i64,
    /// Who had how much.
    pub(super) arms: Arms,
}

/// The times of constant shares that events tell of.
pub(super) fn periods(events: &[Event]) -> Vec<Period> {
    let changes = events.iter().filter(|it| it.known.is_empty());
    let running = changes.filter_map(|event| match &event.to {
        State::Running { arms } => Some(Period {
            from_us: event.at.0.saturating_mul(1000),
            arms: arms.clone(),
        }),
        State::Pending | State::Over { .. } => None,
    });
    running.collect()
}

/// What keys had before the experiment began: the sum of their rows and how many those were.
pub(super) type History = HashMap<u64, (f64, u32)>;

/// A look and the shares that a bandit would give after it.
pub(super) struct Measured {
    pub(super) look: Look,
    pub(super) shares: Option<Vec<f64>>,
}

/// Reads what keys had as the metric before the experiment. Blocks for as long as it takes.
pub(super) fn history(ledger: &Ledger, experiment: &Experiment) -> Result<History, Refusal> {
    let plan = &experiment.plan;
    let mut known = Units::default();
    let to_us = plan.started().0.saturating_mul(1000);
    let before = plan.spec().before.0;
    if !before.is_zero() {
        let came = Range {
            from_us: to_us.saturating_sub(us(before)),
            to_us,
        };
        read(ledger, experiment, came, &[], |row| known.add(row, 0))?;
    }
    let seen = known.seen.into_iter();
    let told = seen.filter(|(_, it)| it.count > 0);
    Ok(told
        .map(|(place, it)| (place.0, (it.sum, it.count)))
        .collect())
}

/// Looks at what came until then. Blocks for as long as it takes.
pub(super) fn look(
    ledger: &Arc<Ledger>,
    experiment: &Experiment,
    periods: &[Period],
    history: &History,
    until_us: i64,
) -> Result<Measured, Refusal> {
    let plan = &experiment.plan;
    let versions: Vec<u32> = plan.versions().iter().map(|it| it.number()).collect();
    let mut units = Units::default();
    let from_us = periods.first().map_or(until_us, |it| it.from_us);
    let came = Range {
        from_us,
        to_us: until_us.max(from_us),
    };
    if !periods.is_empty() {
        read(ledger, experiment, came, &versions, |row| {
            let after = periods.partition_point(|it| it.from_us <= row.unit.came_us);
            units.add(row, after.saturating_sub(1));
        })?;
    }
    let elapsed = Duration::from_micros(u64::try_from(came.to_us - from_us).unwrap_or(0));
    Ok(units.measured(experiment, periods, history, elapsed))
}

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn read(
    ledger: &Ledger,
    experiment: &Experiment,
    came: Range,
    versions: &[u32],
    take: impl FnMut(UnitRow),
) -> Result<(), Refusal> {
    let blameless: Vec<&str> = wire::code::callers_own().collect();
    let spec = experiment.plan.spec();
    let asked = UnitsAsked {
        model: experiment.plan.model().as_str(),
        came,
        versions,
        of: value(spec, &blameless)?,
    };
    ledger.snapshot(wall_ms())?.units(&asked, take)
}

/// What is read of each row.
fn value<'a>(spec: &'a Spec, blameless: &'a [&'a str]) -> Result<UnitValue<'a>, Refusal> {
    let judged: fn(&Judged) -> Option<f64> = match &spec.metric {
        Measure::ErrorRate => return Ok(UnitValue::Failed { blameless }),
        Measure::Latency => {
            let over = spec.over.map_or(Duration::MAX, |it| it.0);
            return Ok(UnitValue::Over {
                us: u64::try_from(over.as_micros()).unwrap_or(u64::MAX),
                blameless,
                gave_up: wire::code::code(&Refusal::Cancelled).name,
            });
        }
        Measure::CostPer1k => return Ok(UnitValue::Cost),
        Measure::Posted(name) => return Ok(UnitValue::Posted(name)),
        Measure::Loss => |it| it.log_loss.or(it.off),
        Measure::Quality(metric) => match metric {
            Metric::Accuracy => |it| it.right.map(share),
            Metric::Precision => |it| it.called_positive?.then_some(share(it.positive?)),
            Metric::Recall => |it| it.positive?.then_some(share(it.called_positive?)),
            Metric::LogLoss => |it| it.log_loss,
            Metric::Brier => |it| it.brier,
            Metric::Mae => |it| it.off,
            Metric::Mape => |it| it.off_part,
            _ => return Err(unmeasured(spec)),
        },
        Measure::Estimated(_)
        | Measure::Fairness(_)
        | Measure::PredictionDrift
        | Measure::Disagreement => return Err(unmeasured(spec)),
    };
    Ok(UnitValue::Judged(judged))
}

fn share(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn unmeasured(spec: &Spec) -> Refusal {
    Refusal::InvalidQuery {
        why: format!("`{}` cannot be measured of an experiment", spec.metric),
    }
}

/// What a unit had in one time of constant shares by one arm.
#[derive(Clone, Copy)]
struct Seen {
    /// When it came first.
    came_us: i64,
    sum: f64,
    count: u32,
}

/// Units by hash, time and arm.
#[derive(Default)]
struct Units {
    seen: HashMap<(u64, u32, u8), Seen>,
    /// Those are kept whose hashes end in so many zeros.
    level: u32,
}

impl Units {
    fn add(&mut self, row: UnitRow, period: usize) {
        let hash = row.unit.hash;
        if hash.trailing_zeros() < self.level {
            return;
        }
        let period = u32::try_from(period).unwrap_or(u32::MAX);
        let new = Seen {
            came_us: row.unit.came_us,
            sum: 0.0,
            count: 0,
        };
        let seen = self.seen.entry((hash, period, row.arm)).or_insert(new);
        seen.came_us = seen.came_us.min(row.unit.came_us);
        if let Some(value) = row.value.filter(|it| it.is_finite()) {
            seen.sum += value;
            seen.count += 1;
        }
        while self.seen.len() > UNITS_MAX {
            self.level += 1;
            self.seen
                .retain(|place, _| place.0.trailing_zeros() >= self.level);
        }
    }

    fn measured(
        self,
        experiment: &Experiment,
        periods: &[Period],
        history: &History,
        elapsed: Duration,
    ) -> Measured {
        let plan = &experiment.plan;
        let (spec, versions) = (plan.spec(), plan.versions());
        let scale = match spec.metric {
            Measure::CostPer1k => 1000.0,
            _ => 1.0,
        };
        let mut all: Vec<_> = self.seen.into_iter().collect();
        all.sort_unstable_by_key(|it| it.0);
        let (keys, split) = split(&all, periods, versions.len());
        let mut known: (f64, u64) = (0.0, 0);
        let mut arms = vec![Arm::default(); versions.len()];
        for ((hash, period, arm), seen) in &all {
            let (Some(arm), true) = (arms.get_mut(usize::from(*arm)), seen.count > 0) else {
                continue;
            };
            let value = scale * seen.sum / f64::from(seen.count);
            let before = history.get(hash);
            let before = before.map(|(sum, count)| scale * sum / f64::from(*count));
            if let Some(before) = before {
                known = (known.0 + before, known.1 + 1);
                arm.known += 1;
            }
            arm.add(*hash, *period, value, before);
        }
        // Of whom nothing is known the usual is; that was so before anybody was assigned.
        let usual = if known.1 > 0 {
            known.0 / known.1 as f64
        } else {
            0.0
        };
        let weighs = Weighing {
            spec,
            alpha: spec.alpha_each(versions.len()),
            usual,
            split,
            elapsed,
        };
        let control = &arms[0];
        let others: Vec<(Told, u64)> = (1..versions.len())
            .map(|place| weighs.told((versions[place], &arms[place]), (versions[0], control)))
            .collect();
        let look = Look {
            keys: keys.iter().map(|it| it << self.level).collect(),
            split,
            periods: others.iter().map(|it| it.1).max().unwrap_or(0),
            others: others.into_iter().map(|it| it.0).collect(),
            failed: None,
        };
        Measured {
            shares: bandits(experiment, &arms),
            look: look.storable(),
        }
    }
}

/// How many units each version was given, and how much more probable another split makes them (R3). Units are sorted.
fn split(all: &[((u64, u32, u8), Seen)], periods: &[Period], versions: usize) -> (Vec<u64>, f64) {
    let mut counts = vec![vec![0u64; versions]; periods.len()];
    for of_unit in all.chunk_by(|one, other| one.0.0 == other.0.0) {
        let first = of_unit.iter().min_by_key(|it| it.1.came_us);
        let place = first.and_then(|it| {
            counts
                .get_mut(it.0.1 as usize)?
                .get_mut(usize::from(it.0.2))
        });
        if let Some(count) = place {
            *count += 1;
        }
    }
    let ln: f64 = periods
        .iter()
        .zip(&counts)
        .map(|(period, counts)| {
            let shares = period.arms.shares();
            let shares: Vec<f64> = shares
                .iter()
                .map(|it| f64::from(it.1) / f64::from(WHOLE))
                .collect();
            assignment::ln_mismatch(counts, &shares)
        })
        .sum();
    let keys = (0..versions).map(|arm| counts.iter().map(|it| it[arm]).sum());
    (keys.collect(), ln.exp().min(f64::MAX))
}

/// What the units of a version had.
#[derive(Clone, Default)]
struct Arm {
    /// By unit, each with its time, value, and what it had before.
    units: Vec<(u64, u32, f64, Option<f64>)>,
    values: Values,
    /// Those with the value 1, as long as all have 0 or 1.
    ones: u64,
    others: u64,
    /// Units of which something was known before.
    known: u64,
}

impl Arm {
    fn add(&mut self, hash: u64, period: u32, value: f64, before: Option<f64>) {
        self.units.push((hash, period, value, before));
        self.values.add(value);
        match value {
            1.0 => self.ones += 1,
            0.0 => {}
            _ => self.others += 1,
        }
    }

    /// Where all values are 0 or 1, how many are 1.
    fn tally(&self, is_share: bool) -> Option<Tally> {
        (is_share && self.others == 0).then(|| Tally::new(self.units.len() as u64, self.ones))
    }

    fn figure(&self, is_share: bool) -> Figure {
        Figure {
            n: self.units.len() as u64,
            events: self.tally(is_share).map(|it| it.events),
            value: (self.values.units > 0).then_some(self.values.mean),
        }
    }

    fn pairs(&self, before: impl Fn(Option<f64>) -> f64) -> Pairs {
        let mut pairs = Pairs::default();
        for (_, _, value, known) in &self.units {
            pairs.add(*value, before(*known));
        }
        pairs
    }
}

/// How versions are compared.
struct Weighing<'a> {
    spec: &'a Spec,
    alpha: f64,
    /// What is known of whom nothing is known.
    usual: f64,
    split: f64,
    elapsed: Duration,
}

/// A difference with the units behind it.
struct Difference {
    estimate: Estimate,
    units: u64,
    /// Where it is one of shares: the units and events of both arms.
    tallies: Option<[Tally; 2]>,
}

impl Weighing<'_> {
    /// What is known of a version beside the control, and in how many times of constant shares they were compared.
    fn told(
        &self,
        (version, candidate): (domain::Version, &Arm),
        (against, control): (domain::Version, &Arm),
    ) -> (Told, u64) {
        let is_share = self.spec.metric.is_share();
        let is_known = candidate.known.min(control.known) >= KNOWN_MIN;
        let (plain, periods) = self.difference(candidate, control, false);
        let (difference, before) = match is_known {
            false => (plain, None),
            true => {
                let (with, _) = self.difference(candidate, control, true);
                let saved = half(&with.estimate).zip(half(&plain.estimate));
                match saved.filter(|it| it.1 > 0.0) {
                    // There is too little for a mean; what holds for shares of any number may still tell.
                    None => (plain, None),
                    Some((with_before, without)) => {
                        let before = Before {
                            keys: candidate.known + control.known,
                            saved: (1.0 - (with_before / without).powi(2)).clamp(0.0, 1.0),
                        };
                        (with, Some(before))
                    }
                }
            }
        };
        let interval = |it: &Estimate| {
            let (low, high) = it.low.zip(it.high)?;
            Some(Interval { low, high })
        };
        let compared = Compared {
            version,
            against,
            figure: candidate.figure(is_share),
            control: control.figure(is_share),
            difference: interval(&difference.estimate),
        };
        let answer = self.spec.answer(&compared, self.split);
        if answer == Answer::Void {
            return (void(&compared), periods);
        }
        let remaining = match answer {
            Answer::NotYet => self.remaining(&compared, &difference),
            Answer::Better | Answer::Worse | Answer::Equivalent | Answer::Void => None,
        };
        let told = Told {
            compared,
            answer,
            remaining: remaining.map(|it| Span(Duration::from_secs(it.as_secs() + 1))),
            before,
        };
        (told, periods)
    }

    fn difference(&self, candidate: &Arm, control: &Arm, with_before: bool) -> (Difference, u64) {
        let before = |known: Option<f64>| match with_before {
            true => known.unwrap_or(self.usual),
            false => 0.0,
        };
        let has_moved = candidate
            .units
            .iter()
            .chain(&control.units)
            .any(|it| it.1 > 0);
        if has_moved {
            let row = |is_candidate: bool| {
                move |(unit, period, value, known): &(u64, u32, f64, Option<f64>)| strata::Row {
                    period: *period,
                    is_candidate,
                    unit: *unit,
                    value: *value,
                    before: before(*known),
                }
            };
            let rows = candidate.units.iter().map(row(true));
            let mut rows: Vec<_> = rows.chain(control.units.iter().map(row(false))).collect();
            rows.sort_by_key(|it| it.unit);
            let found = strata::difference(&rows, self.alpha, PLANNED);
            let is_share = self.spec.metric.is_share();
            let are_events =
                candidate.tally(is_share).is_some() && control.tally(is_share).is_some();
            let difference = Difference {
                estimate: match found.difference.low {
                    None if are_events => strata::difference_of_events(&rows, self.alpha),
                    _ => found.difference,
                },
                units: found.units,
                tallies: None,
            };
            return (difference, found.periods);
        }
        let units = (candidate.units.len() + control.units.len()) as u64;
        let periods = u64::from(units > 0);
        let is_share = self.spec.metric.is_share();
        let tallies = candidate.tally(is_share).zip(control.tally(is_share));
        let difference = match tallies {
            Some((one, other)) if !with_before => Difference {
                estimate: rates::difference(one, other, self.alpha),
                units,
                tallies: Some([one, other]),
            },
            _ => Difference {
                estimate: cuped::difference(
                    &candidate.pairs(before),
                    &control.pairs(before),
                    self.alpha,
                    PLANNED,
                ),
                units,
                tallies: None,
            },
        };
        (difference, periods)
    }

    /// How long it takes until there is an answer, where everything stays as it looks.
    fn remaining(&self, compared: &Compared, difference: &Difference) -> Option<Duration> {
        let answers = |times: f64| {
            let estimate = difference.at(times, self.alpha);
            let interval = estimate.low.zip(estimate.high);
            let ahead = Compared {
                difference: interval.map(|(low, high)| Interval { low, high }),
                ..*compared
            };
            self.spec.answer(&ahead, self.split) != Answer::NotYet
        };
        let (mut low, mut high) = (1.0, 2.0);
        while !answers(high) {
            (low, high) = (high, 2.0 * high);
            if high > AHEAD_MAX {
                return None;
            }
        }
        while high - low > 0.01 * low {
            let middle = (low + high) / 2.0;
            match answers(middle) {
                true => high = middle,
                false => low = middle,
            }
        }
        let needed = (difference.units as f64 * high).ceil() as u64;
        experiment::remaining(needed, difference.units, self.elapsed)
    }
}

impl Difference {
    /// The same of so many times the units, which look the same.
    fn at(&self, times: f64, alpha: f64) -> Estimate {
        if let Some(tallies) = self.tallies {
            let more = |it: u64| (it as f64 * times).round() as u64;
            let [one, other] = tallies.map(|it| {
                let units = more(it.units);
                Tally::new(units, more(it.events).min(units))
            });
            return rates::difference(one, other, alpha);
        }
        let Some(half) = half(&self.estimate) else {
            return self.estimate;
        };
        let width = |units: u64| means::half_width(1.0, units, alpha, PLANNED);
        let units = (self.units as f64 * times) as u64;
        let half = half * width(units) / width(self.units.max(1)) / times.sqrt();
        let value = self.estimate.value;
        Estimate {
            value,
            low: Some(value - half),
            high: Some(value + half),
        }
    }
}

/// That nothing can be told, and nothing from which somebody might conclude something all the same (R3).
fn void(compared: &Compared) -> Told {
    let count = |figure: Figure| Figure {
        n: figure.n,
        ..Figure::default()
    };
    Told {
        compared: Compared {
            figure: count(compared.figure),
            control: count(compared.control),
            difference: None,
            ..*compared
        },
        answer: Answer::Void,
        remaining: None,
        before: None,
    }
}

fn half(estimate: &Estimate) -> Option<f64> {
    Some((estimate.high? - estimate.low?) / 2.0)
}

#[cfg(test)]
mod tests;
