//! How many different units there were, in bounded memory.
//!
//! Units with a key may come again, so their hashes are kept: all of them while they are few, and then of those whose hash
//! ends in so many zeros, which says how many there are in all (Bar-Yossef and others, RANDOM 2002, algorithm 2: with 2,048
//! kept to within 2 % or so). Those that are kept are counted exactly, whichever they are.
//!
//! They are added as they end, and may be counted by when they came: see [`Distinct::number`].

use std::collections::BTreeMap;

use ::ledger::Unit;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Hashes that are kept at most.
const KEPT_MAX: usize = 4096;
/// The bits of a hash that are kept: as many as it takes not to confuse so few.
const BITS: u32 = 40;
/// Their digits, written down.
const DIGITS: usize = BITS as usize / 4;
/// Where units are put together that nobody tells by their windows any more.
const SETTLED: i64 = i64::MIN;

/// Different units by the window in which each came first, as far as that is not settled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Distinct {
    /// Units that cannot come again.
    once: BTreeMap<i64, u64>,
    /// Hashes end in so many zeros.
    level: u32,
    #[serde(serialize_with = "write", deserialize_with = "read")]
    kept: BTreeMap<u64, i64>,
}

impl Distinct {
    /// Adds a unit that came in a window.
    pub(super) fn add(&mut self, unit: &Unit, window: i64) {
        if !unit.is_key {
            *self.once.entry(window).or_default() += 1;
            return;
        }
        let hash = unit.hash >> (u64::BITS - BITS);
        if hash.trailing_zeros() >= self.level {
            let first = self.kept.entry(hash).or_insert(window);
            *first = window.min(*first);
        }
        while self.kept.len() > KEPT_MAX {
            self.thin(self.level + 1);
        }
    }

    fn thin(&mut self, level: u32) {
        self.level = level;
        self.kept.retain(|it, _| it.trailing_zeros() >= level);
    }

    /// Nobody asks again for fewer windows than these.
    pub(super) fn settle(&mut self, before: i64) {
        let rest = self.once.split_off(&before);
        let settled: u64 = self.once.values().sum();
        self.once = rest;
        if settled > 0 {
            self.once.insert(SETTLED, settled);
        }
        for first in self.kept.values_mut().filter(|it| **it < before) {
            *first = SETTLED;
        }
    }

    /// About how many there were that came first before a window.
    pub(super) fn number(&self, before: i64) -> u64 {
        self.of_once(before) + (self.of_kept(before) << self.level)
    }

    /// How many of them are told apart exactly.
    pub(super) fn counted(&self, before: i64) -> u64 {
        self.of_once(before) + self.of_kept(before)
    }

    fn of_once(&self, before: i64) -> u64 {
        self.once.range(..before).map(|it| it.1).sum()
    }

    fn of_kept(&self, before: i64) -> u64 {
        self.kept.values().filter(|it| **it < before).count() as u64
    }
}

/// Has both kept at the same level, so that what is counted of each can be compared.
pub(super) fn together(both: &mut [Distinct; 2]) {
    let level = both[0].level.max(both[1].level);
    for it in both {
        if it.level < level {
            it.thin(level);
        }
    }
}

/// The hashes of each window, one behind the other.
fn write<S: Serializer>(kept: &BTreeMap<u64, i64>, to: S) -> Result<S::Ok, S::Error> {
    let mut windows: BTreeMap<i64, String> = BTreeMap::new();
    for (hash, first) in kept {
        let text = windows.entry(*first).or_default();
        text.push_str(&format!("{hash:0DIGITS$x}"));
    }
    windows.serialize(to)
}

fn read<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u64, i64>, D::Error> {
    let windows = BTreeMap::<i64, String>::deserialize(from)?;
    let hashes = windows.iter().flat_map(|(first, text)| {
        text.as_bytes().chunks(DIGITS).map(|it| {
            let digits = std::str::from_utf8(it).unwrap_or_default();
            let hash = u64::from_str_radix(digits, 16).map_err(D::Error::custom);
            Ok((hash?, *first))
        })
    });
    hashes.collect()
}

#[cfg(test)]
mod tests {
    use domain::rollout::assign::Place;

    use super::*;

    fn unit(number: u32, is_key: bool) -> Unit {
        Unit {
            hash: Place::of("", number.to_string()).0,
            is_key,
            came_us: 0,
        }
    }

    #[test]
    fn few_are_counted_exactly_and_many_nearly() {
        let mut few = Distinct::default();
        for number in 0..3_000 {
            few.add(&unit(number, true), 7);
            few.add(&unit(number / 2, true), 7);
        }
        few.add(&unit(1, false), 7);
        few.add(&unit(1, false), 8);
        assert_eq!((few.number(9), few.counted(9)), (3_002, 3_002));
        let mut many = few.clone();
        (0..200_000).for_each(|number| many.add(&unit(number, true), 9));
        let got = many.number(10) as f64;
        assert!((190_000.0..210_000.0).contains(&got), "{got}");
        assert!(many.kept.len() <= KEPT_MAX);
        let text = serde_json::to_string(&many).expect("it can be written");
        assert!(text.len() < 50_000);
        assert_eq!(serde_json::from_str::<Distinct>(&text).expect("read"), many);
        let mut both = [few, many];
        together(&mut both);
        assert_eq!(both[0].level, both[1].level);
        assert!((2_000..4_000).contains(&both[0].number(9)));
    }

    #[test]
    fn a_unit_counts_from_the_window_in_which_it_came_first() {
        let mut all = Distinct::default();
        // Those of the fourth window ended before one of the third.
        for (number, is_key, window) in [
            (1, true, 4),
            (2, true, 4),
            (1, true, 3),
            (1, true, 5),
            (3, false, 3),
            (4, false, 5),
        ] {
            all.add(&unit(number, is_key), window);
        }
        let numbers = |of: &Distinct| [3, 4, 5, 6].map(|it| of.number(it));
        assert_eq!(numbers(&all), [0, 2, 3, 4]);
        all.settle(4);
        assert_eq!(numbers(&all), [2, 2, 3, 4]);
        all.add(&unit(1, true), 6);
        let text = serde_json::to_string(&all).expect("it can be written");
        assert_eq!(serde_json::from_str::<Distinct>(&text).expect("read"), all);
        all.settle(6);
        assert_eq!(numbers(&all), [4; 4]);
    }
}
