//! How many different units there were, in bounded memory.
//!
//! Units with a key may come again, so their hashes are kept: all of them while they are few, and then of those whose hash
//! ends in so many zeros, which says how many there are in all (Bar-Yossef and others, RANDOM 2002, algorithm 2: with 2,048
//! kept to within 2 % or so). Those that are kept are counted exactly, whichever they are.

use std::collections::BTreeSet;

use ::ledger::Unit;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Hashes that are kept at most.
const KEPT_MAX: usize = 4096;
/// The bits of a hash that are kept: as many as it takes not to confuse so few.
const BITS: u32 = 40;
/// Their digits, written down.
const DIGITS: usize = BITS as usize / 4;

/// Different units.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Distinct {
    /// Units that cannot come again.
    once: u64,
    /// Hashes end in so many zeros.
    level: u32,
    #[serde(serialize_with = "write", deserialize_with = "read")]
    kept: BTreeSet<u64>,
}

impl Distinct {
    pub(super) fn add(&mut self, unit: &Unit) {
        if !unit.is_key {
            self.once += 1;
            return;
        }
        let hash = unit.hash >> (u64::BITS - BITS);
        if hash.trailing_zeros() >= self.level {
            self.kept.insert(hash);
        }
        while self.kept.len() > KEPT_MAX {
            self.thin(self.level + 1);
        }
    }

    fn thin(&mut self, level: u32) {
        self.level = level;
        self.kept.retain(|it| it.trailing_zeros() >= level);
    }

    /// About how many there were.
    pub(super) fn number(&self) -> u64 {
        self.once + ((self.kept.len() as u64) << self.level)
    }

    /// How many of them are told apart exactly.
    pub(super) fn counted(&self) -> u64 {
        self.once + self.kept.len() as u64
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

fn write<S: Serializer>(kept: &BTreeSet<u64>, to: S) -> Result<S::Ok, S::Error> {
    let text: String = kept.iter().map(|it| format!("{it:0DIGITS$x}")).collect();
    to.serialize_str(&text)
}

fn read<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<u64>, D::Error> {
    let text = String::deserialize(from)?;
    let hashes = text.as_bytes().chunks(DIGITS).map(|it| {
        let digits = std::str::from_utf8(it).unwrap_or_default();
        u64::from_str_radix(digits, 16).map_err(D::Error::custom)
    });
    hashes.collect()
}

#[cfg(test)]
mod tests {
    use domain::rollout::assign::Place;

    use super::*;

    fn unit(number: u32, is_key: bool) -> Unit {
        Unit {
            hash: Place::of("", &number.to_string()).0,
            is_key,
            came_us: 0,
        }
    }

    #[test]
    fn few_are_counted_exactly_and_many_nearly() {
        let mut few = Distinct::default();
        for number in 0..3_000 {
            few.add(&unit(number, true));
            few.add(&unit(number / 2, true));
        }
        few.add(&unit(1, false));
        few.add(&unit(1, false));
        assert_eq!((few.number(), few.counted()), (3_002, 3_002));
        let mut many = few.clone();
        (0..200_000).for_each(|number| many.add(&unit(number, true)));
        let got = many.number() as f64;
        assert!((190_000.0..210_000.0).contains(&got), "{got}");
        assert!(many.kept.len() <= KEPT_MAX);
        let text = serde_json::to_string(&many).expect("it can be written");
        assert!(text.len() < 50_000);
        assert_eq!(serde_json::from_str::<Distinct>(&text).expect("read"), many);
        let mut both = [few, many];
        together(&mut both);
        assert_eq!(both[0].level, both[1].level);
        assert!((2_000..4_000).contains(&both[0].number()));
    }
}
