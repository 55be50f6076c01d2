//! What pairs of answers add up to.

use std::collections::HashMap;

use domain::{PredictionId, Refusal};
use stats::Estimate;
use stats::sequential::bounded::Bounded;
use stats::slices::Settings;

use super::{Change, Difference, Latency, Moved, Pair, PairedLoss, Truth, hash};
use crate::arms::chance;
use crate::replay::Said;
use crate::why::{Columns, Searched};

/// The largest changes that are told.
const LARGEST: usize = 10;
/// The fewest units of a slice in each half, and of the others.
const SUPPORT: usize = 30;
/// Slices that are tested, and the most conditions of one.
const SLICES: usize = 10;
const DEPTH: usize = 2;

/// Whether each pair is the one that tells of its unit (R1).
pub(super) fn units(pairs: &[Pair]) -> Vec<bool> {
    let mut chosen: HashMap<(i64, u64), (u64, usize)> = HashMap::new();
    for (place, pair) in pairs.iter().enumerate() {
        let new = (chance(pair.id, pair.row), place);
        let old = chosen.entry((pair.window, pair.unit)).or_insert(new);
        *old = new.min(*old);
    }
    let mut units = vec![false; pairs.len()];
    for (_, place) in chosen.into_values() {
        units[place] = true;
    }
    units
}

/// Whether a number may be a score from 0 to 1: in single precision they add up to a little more.
fn is_share(number: f64) -> bool {
    (-1e-6..=1.0 + 1e-6).contains(&number)
}

/// The mean of differences, as they come. With bounds if all of them are of numbers from 0 to 1.
fn mean_of(pairs: &[(f64, f64)], have_bounds: bool, alpha: f64) -> Estimate {
    let have_bounds = have_bounds && pairs.iter().all(|it| is_share(it.0) && is_share(it.1));
    if !have_bounds {
        let sum: f64 = pairs.iter().map(|it| it.1 - it.0).sum();
        return Estimate::bare(sum / pairs.len().max(1) as f64);
    }
    let mut bounded = Bounded::new(alpha);
    for (one, other) in pairs {
        bounded.add_difference((other - one).clamp(-1.0, 1.0));
    }
    bounded.difference()
}

pub(super) fn difference(by_time: &[&Pair], is_score: bool, alpha: f64) -> Option<Difference> {
    let numbers: Vec<(f64, f64)> = by_time.iter().filter_map(|it| it.numbers).collect();
    let mean = mean_of(&numbers, is_score, alpha);
    let finite = mean.value.is_finite();
    (!numbers.is_empty() && finite).then_some(Difference {
        is_score,
        units: numbers.len() as u64,
        mean,
    })
}

pub(super) fn largest(pairs: Vec<Pair>) -> Vec<Change> {
    let change = |pair: Pair| {
        let difference = pair.numbers.map(|(one, other)| other - one);
        Some(Change {
            id: PredictionId {
                request: pair.id.to_be_bytes(),
                row: pair.row,
            },
            key: pair.key,
            incumbent: pair.incumbent,
            candidate: pair.candidate?,
            changed: pair.changed,
            difference: difference.filter(|it| it.is_finite()),
        })
    };
    let far = |it: &Change| it.difference.map_or(0.0, f64::abs);
    let mut changes: Vec<Change> = pairs.into_iter().filter_map(change).collect();
    changes.retain(|it| it.changed || far(it) > 0.0);
    changes.sort_by(|a, b| {
        let by_far = b.changed.cmp(&a.changed).then(far(b).total_cmp(&far(a)));
        by_far.then(a.id.cmp(&b.id))
    });
    changes.truncate(LARGEST);
    changes
}

pub(super) fn latency(pairs: &[Pair]) -> Option<[Latency; 2]> {
    let answered = pairs
        .iter()
        .filter(|it| it.row == 0 && it.candidate.is_some());
    let both: Vec<[u32; 2]> = answered.map(|it| it.took_us).collect();
    let of = |place: usize| {
        let mut took: Vec<u32> = both.iter().map(|it| it[place]).collect();
        took.sort_unstable();
        // The least that so many are at most.
        let at = |share: usize| took[(took.len() * share).div_ceil(100).max(1) - 1];
        Latency {
            p50_us: at(50),
            p99_us: at(99),
        }
    };
    (!both.is_empty()).then(|| [of(0), of(1)])
}

pub(super) fn cost(pairs: &[Pair]) -> Option<[f64; 2]> {
    let answered = pairs.iter().filter(|it| it.candidate.is_some());
    let both: Vec<[f64; 2]> = answered.filter_map(|it| it.costs).collect();
    let mean = |place: usize| both.iter().map(|it| it[place]).sum::<f64>() / both.len() as f64;
    (!both.is_empty()).then(|| [mean(0), mean(1)])
}

pub(super) fn losses(by_time: &[&Pair], is_score: bool, alpha: f64) -> Vec<PairedLoss> {
    let (mut wrong, mut squared, mut absolute) = (Vec::new(), Vec::new(), Vec::new());
    for pair in by_time {
        let (Some(truth), Some(candidate)) = (&pair.truth, &pair.candidate) else {
            continue;
        };
        match truth {
            Truth::Class(class, is_positive) => {
                let loss = |it: &Said| f64::from(u8::from(it.class.as_ref() != Some(class)));
                wrong.push((loss(&pair.incumbent), loss(candidate)));
                if let (true, Some(is_positive), Some(numbers)) =
                    (is_score, is_positive, pair.numbers)
                    && is_share(numbers.0)
                    && is_share(numbers.1)
                {
                    let loss =
                        |it: f64| (it.clamp(0.0, 1.0) - f64::from(u8::from(*is_positive))).powi(2);
                    squared.push((loss(numbers.0), loss(numbers.1)));
                }
            }
            Truth::Number(truth) => absolute.extend(
                pair.numbers
                    .map(|(one, other)| ((one - truth).abs(), (other - truth).abs())),
            ),
        }
    }
    let all = [
        ("misclassification", wrong, true),
        ("squared_error", squared, true),
        ("absolute_error", absolute, false),
    ];
    let told = all.into_iter().filter_map(|(name, losses, have_bounds)| {
        let mean = |of: fn(&(f64, f64)) -> f64| {
            losses.iter().map(of).sum::<f64>() / losses.len().max(1) as f64
        };
        let (incumbent, candidate) = (mean(|it| it.0), mean(|it| it.1));
        let difference = mean_of(&losses, have_bounds, alpha);
        let finite = incumbent.is_finite() && candidate.is_finite() && difference.value.is_finite();
        (!losses.is_empty() && finite).then_some(PairedLoss {
            name,
            units: losses.len() as u64,
            incumbent,
            candidate,
            difference,
        })
    });
    told.collect()
}

pub(super) fn moved(
    pairs: &[Pair],
    units: &[bool],
    mut features: Columns,
    alpha: f64,
) -> Result<Moved, Refusal> {
    // Where every number differs a little, those that went far are of interest.
    let by_distance = pairs
        .iter()
        .any(|it| it.numbers.is_some() && it.incumbent.class.is_none());
    let loss = |pair: &Pair| match (by_distance, pair.numbers) {
        (false, _) => Some(f64::from(u8::from(pair.changed))),
        (true, numbers) => {
            let distance = numbers.map(|(one, other)| (other - one).abs());
            distance.filter(|it| it.is_finite())
        }
    };
    let losses: Vec<Option<f64>> = pairs
        .iter()
        .zip(units)
        .map(|(pair, is_unit)| loss(pair).filter(|_| *is_unit && pair.is_whole))
        .collect();
    let keep: Vec<bool> = losses.iter().map(Option::is_some).collect();
    features.keep(&keep);
    let kept = pairs.iter().zip(&keep).filter(|it| *it.1);
    // The upper bits choose the sample, the lowest the half.
    let held_out: Vec<bool> = kept.map(|it| hash(it.0.id) & 1 == 1).collect();
    let losses: Vec<f64> = losses.into_iter().flatten().collect();
    let settings = Settings {
        support: SUPPORT,
        depth: DEPTH,
        slices: SLICES,
        alpha,
        level: 1.0 - alpha,
    };
    let Searched {
        found,
        slices,
        features,
        left_out,
    } = features.search(&losses, &held_out, settings)?;
    Ok(Moved {
        by_distance,
        units: losses.len() as u64,
        support: SUPPORT,
        considered: found.considered,
        searched: found.searched,
        held_out: found.held_out,
        slices,
        features,
        left_out,
    })
}
