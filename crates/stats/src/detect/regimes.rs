//! A stream of losses, cut where its mean has changed, and whether it has risen.
//!
//! R1. [`Adwin`](super::adwin) says that there was a change; where it was is where the two sides differ most for how
//!     long they are, as by least squares: the estimate of Hinkley, Biometrika 57 (1970), 1-17. The detector begins
//!     anew there, so that the rows by which it noticed count for what came after.
//! R2. `alpha` is what may go wrong with the whole stream. The detector looks at every 32nd value, and of so many
//!     looks each may be wrong by its part: Bonferroni's inequality. Its own bound is of both directions, and here
//!     one counts.
//! R3. A rise is one that still holds: the newest regime is worse than the one before it. What rose and fell
//!     again is none, and an improvement never is.

use std::ops::Range;

use super::adwin::{bound, log_of};
use super::{Adwin, AdwinSettings, Verdict};
use crate::interval::{Estimate, difference, wilson};

/// Changes after which no more are looked for.
const CHANGES_MAX: usize = 100;

/// Values between two changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Regime {
    /// Their places in the stream.
    pub places: Range<usize>,
    /// Their mean.
    pub mean: f64,
}

/// Cuts a stream of values from 0 to 1 where its mean has changed. Values outside, or NaN, are a mistake of the
/// caller's. With probability `alpha` at most it is cut where nothing changed; values are taken to be independent.
pub fn regimes(losses: &[f64], alpha: f64) -> Vec<Regime> {
    assert!(
        losses.iter().all(|it| (0.0..=1.0).contains(it)),
        "losses are from 0 to 1"
    );
    let mut found = Vec::new();
    let mut from = 0;
    while found.len() < CHANGES_MAX
        && let Some(at) = change(losses, from, alpha)
    {
        found.push(regime(losses, from..at));
        from = at;
    }
    if from < losses.len() {
        found.push(regime(losses, from..losses.len()));
    }
    found
}

fn regime(losses: &[f64], places: Range<usize>) -> Regime {
    let sum: f64 = losses[places.clone()].iter().sum();
    Regime {
        mean: sum / places.len() as f64,
        places,
    }
}

/// The place of the first change after `from`.
fn change(losses: &[f64], from: usize, alpha: f64) -> Option<usize> {
    let looks = (losses.len() as f64 / AdwinSettings::USUAL.clock as f64).max(1.0);
    let mut adwin = Adwin::new(AdwinSettings {
        delta: alpha / looks,
        ..AdwinSettings::USUAL
    });
    let mut values = losses.iter().enumerate().skip(from);
    let (noticed, _) = values.find(|(_, it)| adwin.add(**it) == Verdict::Drift)?;
    Some(from + cut(&losses[from..=noticed]))
}

/// How many values are before the place where both sides differ most, weighed by how long they are (R1).
fn cut(losses: &[f64]) -> usize {
    let count = losses.len() as f64;
    let total: f64 = losses.iter().sum();
    let (mut best, mut most, mut sum) = (1, -1.0, 0.0);
    for (place, loss) in losses.iter().enumerate().take(losses.len() - 1) {
        sum += loss;
        let before = (place + 1) as f64;
        let after = count - before;
        let apart = sum / before - (total - sum) / after;
        let weight = before * after / count * apart * apart;
        if weight > most {
            (best, most) = (place + 1, weight);
        }
    }
    best
}

/// A mean that has risen and has stayed so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rise {
    /// The place of the first value after it.
    pub at: usize,
    /// The mean before it, since the change before.
    pub before: Estimate,
    /// How many values that is of.
    pub before_rows: usize,
    /// The mean now, since the last change.
    pub after: Estimate,
    /// How many values that is of.
    pub after_rows: usize,
    /// By how much it is greater now.
    pub change: Estimate,
}

/// The earliest rise that still holds (R3), with intervals at this level. They are Wilson's for shares, which hold for
/// all values from 0 to 1, as none of them scatter more.
pub fn rise(regimes: &[Regime], level: f64) -> Option<Rise> {
    let (last, earlier) = regimes.split_last()?;
    let mean = |it: &Regime| {
        let rows = it.places.len() as f64;
        wilson((it.mean * rows).round() as u64, rows as u64, level)
    };
    let after = mean(last);
    let next = regimes.iter().skip(1);
    earlier.iter().zip(next).find_map(|(regime, next)| {
        if next.mean <= regime.mean {
            return None;
        }
        let before = mean(regime);
        let change = difference(after, before);
        change.low.is_some_and(|it| it > 0.0).then_some(Rise {
            at: next.places.start,
            before,
            before_rows: regime.places.len(),
            after,
            after_rows: last.places.len(),
            change,
        })
    })
}

/// The rise that would be found of so many values with this mean, had it come in the middle of them: what the
/// detector's bound is there.
pub fn detectable(count: usize, mean: f64, alpha: f64) -> f64 {
    let AdwinSettings {
        clock, window_min, ..
    } = AdwinSettings::USUAL;
    let width = count as f64;
    let half = width / 2.0 - window_min as f64 + 1.0;
    if half < 1.0 {
        return 1.0;
    }
    let delta = alpha / (width / clock as f64).max(1.0);
    let variance = mean * (1.0 - mean);
    bound(2.0 / half, variance, log_of(width, delta)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// One in a thousand and a bit: an hour of thirty days.
    const ALPHA: f64 = 1.0 / 720.0;
    const LEVEL: f64 = 1.0 - 2.0 * ALPHA;

    /// So many errors, each with its rate.
    fn errors(random: &mut Random, parts: &[(usize, f64)]) -> Vec<f64> {
        let rates = parts.iter().flat_map(|it| std::iter::repeat_n(it.1, it.0));
        rates
            .map(|rate| f64::from(u8::from(random.uniform() < rate)))
            .collect()
    }

    fn found(losses: &[f64]) -> Option<Rise> {
        rise(&regimes(losses, ALPHA), LEVEL)
    }

    #[test]
    fn a_rise_is_found_with_its_place_and_its_size() {
        let mut random = Random::new(1);
        for (before, after, rows, within) in [
            (0.1, 0.3, 500, 40),
            (0.02, 0.1, 1_000, 60),
            (0.3, 0.4, 4_000, 250),
            (0.0, 0.2, 300, 20),
        ] {
            let losses = errors(&mut random, &[(2 * rows, before), (rows, after)]);
            let rise = found(&losses).expect("a rise");
            assert!(rise.at.abs_diff(2 * rows) <= within, "{before} {rise:?}");
            assert!((rise.before.value - before).abs() < 0.03, "{rise:?}");
            assert!((rise.after.value - after).abs() < 0.06, "{rise:?}");
            assert_eq!(rise.before_rows, rise.at);
            assert_eq!(rise.after_rows, 3 * rows - rise.at);
            assert!(rise.change.low.expect("an end") > 0.0);
        }
    }

    #[test]
    fn what_fell_is_no_rise_and_what_rose_and_fell_is_none_any_more() {
        let mut random = Random::new(2);
        let fell = errors(&mut random, &[(1_000, 0.4), (1_000, 0.1)]);
        assert_eq!(regimes(&fell, ALPHA).len(), 2);
        assert_eq!(found(&fell), None);
        let over = errors(&mut random, &[(1_000, 0.1), (600, 0.5), (1_000, 0.1)]);
        assert_eq!(regimes(&over, ALPHA).len(), 3);
        assert_eq!(found(&over), None);
        assert!(found(&over[..1_500]).is_some());
        // Of two steps the first one counts, and what is now.
        let steps = errors(&mut random, &[(1_000, 0.1), (800, 0.3), (800, 0.6)]);
        let rise = found(&steps).expect("a rise");
        assert!(rise.at.abs_diff(1_000) < 60, "{rise:?}");
        assert!((rise.after.value - 0.6).abs() < 0.05, "{rise:?}");
    }

    #[test]
    fn too_few_the_same_and_none_are_one_regime_or_none() {
        assert_eq!(regimes(&[], ALPHA), []);
        assert_eq!(rise(&[], LEVEL), None);
        for value in [0.0, 0.5, 1.0] {
            let all = regimes(&[value; 5_000], ALPHA);
            assert_eq!(all.len(), 1);
            assert_eq!((all[0].mean, &all[0].places), (value, &(0..5_000)));
            assert_eq!(rise(&all, LEVEL), None);
        }
        let few = [vec![0.0; 10], vec![1.0; 10]].concat();
        assert_eq!(regimes(&few, ALPHA).len(), 1);
    }

    #[test]
    fn what_can_be_found_is_found_and_grows_with_the_rows() {
        let finds: Vec<f64> = [0, 20, 300, 3_000, 30_000]
            .iter()
            .map(|it| detectable(*it, 0.1, ALPHA))
            .collect();
        assert_eq!(finds[..2], [1.0, 1.0]);
        assert!(
            (0.25..0.4).contains(&finds[2]) && (0.06..0.09).contains(&finds[3]),
            "{finds:?}"
        );
        assert!(finds[4] < 0.025, "{finds:?}");
        let mut random = Random::new(3);
        let count = (0..20)
            .filter(|_| {
                let losses = errors(&mut random, &[(1_500, 0.1), (1_500, 0.1 + 1.4 * finds[3])]);
                found(&losses).is_some()
            })
            .count();
        assert!(count >= 18, "{count} of 20");
    }

    /// R2: of streams that do not change at most `alpha` are cut. As the detector's own bound is wide, it was none of
    /// these 10 000 at 1 in 720, and none of 3 000 at 1 in 20.
    #[test]
    fn an_unchanged_stream_is_seldom_cut() {
        let mut random = Random::new(4);
        let mut wrong = |streams: usize, rows: usize, rate: f64, alpha: f64| {
            let cut =
                |random: &mut Random| regimes(&errors(random, &[(rows, rate)]), alpha).len() > 1;
            (0..streams).filter(|_| cut(&mut random)).count()
        };
        let usual: usize = [0.02, 0.1, 0.3, 0.5]
            .iter()
            .map(|rate| wrong(2_500, 1_000, *rate, ALPHA))
            .sum();
        assert!(usual <= 13, "{usual} of 10000, where 13.9 are allowed");
        let often: usize = [0.02, 0.1, 0.4]
            .iter()
            .map(|rate| wrong(800, 2_000, *rate, 0.05) + wrong(200, 10_000, *rate, 0.05))
            .sum();
        assert!(often <= 150, "{often} of 3000, where 150 are allowed");
    }

    /// The budget itself: thirty days of a look an hour, each at the newest 1 500 of 24 rows an hour. It was none in
    /// 24 times thirty days.
    #[test]
    fn in_thirty_days_there_is_at_most_one_false_alarm() {
        let mut random = Random::new(5);
        let (models, hours, each, kept) = (24, 720, 24, 1_500);
        let mut alarms = 0;
        for model in 0..models {
            let rate = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5][model % 6];
            let losses = errors(&mut random, &[(kept + hours * each, rate)]);
            let mut is_on = false;
            for hour in 0..hours {
                let from = hour * each;
                let bad = found(&losses[from..from + kept]).is_some();
                alarms += usize::from(bad && !is_on);
                is_on = bad;
            }
        }
        assert!(alarms <= models, "{alarms} in {models} times thirty days");
    }
}
