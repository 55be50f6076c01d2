//! The distance between the groups with the largest and the smallest rate, and how sure it is.

use super::Terms;
use super::counts::Share;
use crate::interval::{Estimate, difference, wilson};

/// Gaps of one rate over all groups that have it. `None` where no group has it, a ratio also where it would
/// be 0 to 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// The largest rate less the smallest.
    pub difference: Option<f64>,
    /// The smallest rate over the largest.
    pub ratio: Option<f64>,
    /// The largest distance of a group's rate from that of all rows (`method="to_overall"`).
    pub difference_to_overall: Option<f64>,
    /// The smallest ratio of a group's rate and that of all rows, turned so that it is at most 1.
    pub ratio_to_overall: Option<f64>,
    /// The difference over groups with enough support, with its interval.
    pub bound: Bound,
}

/// The largest rate less the smallest, over groups with enough support.
///
/// Each pair of groups has Newcombe's hybrid score interval of a difference of two proportions (Stat. Med. 17
/// (1998), 873-890, method 10) at the level `1 - (1 - level) / pairs`. By Bonferroni's inequality all of them
/// hold at once with probability `level`, and so whichever pair turns out the extreme one, the true gap is
/// at least the largest of the pairs' lower bounds and at most the largest of their upper bounds.
/// An alarm is due where `low` is above what is tolerated.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// `None` with fewer than two groups of enough support.
    pub difference: Option<Estimate>,
    /// The smallest of these rates over the largest; `None` also where both are 0.
    pub ratio: Option<f64>,
    /// The places of the groups with the smallest and the largest rate, where there are two.
    pub extremes: Option<Extremes>,
    /// The places of the groups with too little support, those without any among them.
    pub left_out: Vec<usize>,
}

/// Two groups, by their places; the first of those that share a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extremes {
    /// The one with the smallest rate.
    pub least: usize,
    /// The one with the largest.
    pub most: usize,
}

impl Gap {
    /// `shares`: one a group; `overall`: of all rows.
    pub(super) fn new(shares: &[Share], overall: Share, terms: Terms) -> Self {
        let rates: Vec<f64> = shares.iter().filter_map(|it| it.value()).collect();
        let least = rates.iter().copied().reduce(f64::min);
        let most = rates.iter().copied().reduce(f64::max);
        let to_overall = |of: fn(f64, f64) -> f64, pick: fn(f64, f64) -> f64| {
            let overall = overall.value()?;
            let distances = rates.iter().map(|it| of(*it, overall));
            distances.reduce(pick)
        };
        let turned = |rate: f64, overall: f64| rate.min(overall) / rate.max(overall);
        Self {
            difference: most.zip(least).map(|(most, least)| most - least),
            ratio: (most.zip(least))
                .filter(|(most, _)| *most > 0.0)
                .map(|(most, least)| least / most),
            difference_to_overall: to_overall(|rate, all| (rate - all).abs(), f64::max),
            // Without hits every group's ratio is 0 to 0; with hits none is.
            ratio_to_overall: if overall.hits == 0 {
                None
            } else {
                to_overall(turned, f64::min)
            },
            bound: Bound::new(shares, terms),
        }
    }
}

impl Bound {
    fn new(shares: &[Share], terms: Terms) -> Self {
        let enough = |it: &Share| it.support >= terms.support_min.max(1);
        let places = |wanted: bool| {
            let all = shares.iter().enumerate();
            let some = all.filter(move |(_, share)| enough(share) == wanted);
            some.map(|(place, _)| place).collect::<Vec<usize>>()
        };
        let (kept, left_out) = (places(true), places(false));
        if kept.len() < 2 {
            return Self {
                difference: None,
                ratio: None,
                extremes: None,
                left_out,
            };
        }
        let pairs = (kept.len() * (kept.len() - 1) / 2) as f64;
        let level = 1.0 - (1.0 - terms.level) / pairs;
        let rates = kept.iter().map(|place| {
            let share = shares[*place];
            wilson(share.hits, share.support, level)
        });
        let rates: Vec<Estimate> = rates.collect();
        let (mut least, mut most, mut low, mut high) = (0, 0, 0.0f64, 0.0f64);
        for (index, rate) in rates.iter().enumerate() {
            if rate.value < rates[least].value {
                least = index;
            }
            if rate.value > rates[most].value {
                most = index;
            }
            for other in &rates[..index] {
                let (down, up) = newcombe(*rate, *other);
                low = low.max(down).max(-up);
                high = high.max(up).max(-down);
            }
        }
        let difference = rates[most].value - rates[least].value;
        let ends = Estimate {
            value: difference,
            low: Some(low),
            high: Some(high),
        };
        Self {
            difference: Some(ends.within(0.0, 1.0)),
            ratio: (rates[most].value > 0.0).then(|| rates[least].value / rates[most].value),
            extremes: Some(Extremes {
                least: kept[least],
                most: kept[most],
            }),
            left_out,
        }
    }
}

/// The ends of the difference `one - other`, from the Wilson intervals of both: Newcombe's method 10.
fn newcombe(one: Estimate, other: Estimate) -> (f64, f64) {
    let Estimate { value, low, high } = difference(one, other);
    (low.unwrap_or(value), high.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(hits: u64, support: u64) -> Share {
        Share { hits, support }
    }

    fn bound(shares: &[Share], support_min: u64) -> Bound {
        let terms = Terms {
            level: 0.95,
            support_min,
        };
        Gap::new(shares, share(1, 2), terms).bound
    }

    /// Table II of Newcombe (1998), method 10, to the four digits that it has.
    #[test]
    fn the_interval_of_two_proportions_is_newcombes() {
        for (one, other, want) in [
            (share(56, 70), share(48, 80), (0.0524, 0.3339)),
            (share(9, 10), share(3, 10), (0.1705, 0.8090)),
            (share(6, 7), share(2, 7), (0.0582, 0.8062)),
            (share(5, 56), share(0, 29), (-0.0381, 0.1926)),
            (share(0, 10), share(0, 10), (-0.2775, 0.2775)),
            (share(10, 10), share(0, 10), (0.6075, 1.0)),
        ] {
            let (low, high) = newcombe(
                wilson(one.hits, one.support, 0.95),
                wilson(other.hits, other.support, 0.95),
            );
            assert!((low - want.0).abs() < 6e-5, "{low}, not {}", want.0);
            assert!((high - want.1).abs() < 6e-5, "{high}, not {}", want.1);
        }
    }

    #[test]
    fn two_groups_have_newcombes_interval_whichever_comes_first() {
        let pair = [share(48, 80), share(56, 70)];
        let got = bound(&pair, 1);
        let difference = got.difference.expect("two groups");
        assert!((difference.value - 0.2).abs() < 1e-15);
        assert!((difference.low.expect("given") - 0.0524).abs() < 6e-5);
        assert!((difference.high.expect("given") - 0.3339).abs() < 6e-5);
        assert_eq!(got.extremes, Some(Extremes { least: 0, most: 1 }));
        let turned = bound(&[pair[1], pair[0]], 1);
        assert_eq!(turned.difference, got.difference);
        assert_eq!(turned.extremes, Some(Extremes { least: 1, most: 0 }));
    }

    #[test]
    fn groups_with_little_support_are_named_and_left_out() {
        let groups = [share(48, 80), share(3, 3), share(56, 70), share(0, 0)];
        let got = bound(&groups, 30);
        assert_eq!(got.left_out, [1, 3]);
        assert_eq!(got.extremes, Some(Extremes { least: 0, most: 2 }));
        assert_eq!(got.difference, bound(&[groups[0], groups[2]], 1).difference);
        assert_eq!(bound(&groups, 0).left_out, [3]);
        let lone = bound(&groups, 75);
        assert_eq!((lone.difference, lone.extremes), (None, None));
        assert_eq!(lone.left_out, [1, 2, 3]);
    }

    #[test]
    fn more_pairs_widen_the_interval_and_no_gap_stays_possible() {
        let same = [share(50, 100); 4];
        let difference = bound(&same, 1).difference.expect("four groups");
        assert_eq!((difference.value, difference.low), (0.0, Some(0.0)));
        let pair = bound(&same[..2], 1).difference.expect("two groups");
        assert!(difference.high > pair.high);
    }

    /// Three equal groups of 60 rows, a gap of 0: over 4 000 sets of rows from a fixed sequence, a lower
    /// bound above 0 is a false alarm.
    #[test]
    fn false_alarms_are_rarer_than_the_level_allows() {
        let mut state = 1u64;
        let mut roll = || {
            // The generator of Knuth's MMIX.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % 10 < 3
        };
        let mut alarms = 0;
        for _ in 0..4_000 {
            let mut group = || share((0..60).filter(|_| roll()).count() as u64, 60);
            let groups = [group(), group(), group()];
            let low = bound(&groups, 30).difference.and_then(|it| it.low);
            alarms += u32::from(low > Some(0.0));
        }
        assert!((40..=200).contains(&alarms), "{alarms}");
    }
}
