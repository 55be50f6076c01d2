//! Who gets what: a key's place is a hash of it and of the rollout, and the arms are parts of the line of places.
//!
//! `u = xxh3_64(salt ‖ 0x1F ‖ key) / 2^64`, where `salt` is the rollout's id and XXH3 has seed 0 (Collet,
//! <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>). A key with `u < w` is the candidate's, one
//! with `u >= 1 - w` the control's, and between them the incumbent answers. So whoever knows the id can tell
//! everybody's arm:
//!
//! | salt | key | xxh3_64 | slot |
//! |---|---|---|---|
//! | `r-1` | (empty) | `59dd3462769676ab` | 3510 |
//! | `r-1` | `a` | `5d082641da8c4299` | 3634 |
//! | `r-1` | `customer-42` | `453f6a9881919266` | 2704 |
//! | `r-2` | `customer-42` | `4be1ab83b641e9bc` | 2964 |
//! | `01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f` | `customer-42` | `2ab79db80057458b` | 1668 |
//! | `r-1` | `Grüße` | `f47c2b381ca8be70` | 9550 |
//! | `r-1` | 300 times `x` | `414bebe80a548fe9` | 2550 |
//!
//! The slot is `u` in whole ten-thousandths. The figures are those of the package `xxhash` 3 for Python.

use std::str::FromStr;

use twox_hash::XxHash3_64;

use super::traffic::WHOLE;
use crate::refusal::Refusal;

/// Between salt and key, so that no two pairs are the same bytes: neither ids nor headers can hold it.
const SEPARATOR: u8 = 0x1F;
/// Bytes of salt and key that need no allocation.
const SHORT: usize = 256;

/// A point of the line from 0 to 1, in parts of 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

impl Place {
    /// Where a key, as text, is in the rollout with this id.
    pub fn of(salt: &str, key: impl AsRef<[u8]>) -> Self {
        let (salt, key) = (salt.as_bytes(), key.as_ref());
        let length = salt.len() + 1 + key.len();
        let mut short = [0; SHORT];
        let Some(bytes) = short.get_mut(..length) else {
            let mut long = Vec::with_capacity(length);
            long.extend_from_slice(salt);
            long.push(SEPARATOR);
            long.extend_from_slice(key);
            return Self(XxHash3_64::oneshot(&long));
        };
        bytes[..salt.len()].copy_from_slice(salt);
        bytes[salt.len()] = SEPARATOR;
        bytes[salt.len() + 1..].copy_from_slice(key);
        Self(XxHash3_64::oneshot(bytes))
    }

    /// The place in whole ten-thousandths. `slot < w` is exactly `u < w / 10 000`.
    pub fn slot(self) -> u16 {
        ((u128::from(self.0) * u128::from(WHOLE)) >> 64) as u16
    }
}

/// A name that is the salt of keys' places.
macro_rules! salt {
    ($(#[$about:meta])* $name:ident, $what:literal) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::refusal::Refusal;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::name::check_name($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use salt;

/// What stands in for the key of a request that has none: a random number that goes back to the caller, who may send
/// it again and then stays where it is. Its text is hashed as a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteToken([u8; 16]);

impl RouteToken {
    /// The one of a number.
    pub fn new(number: u64) -> Self {
        Self(std::array::from_fn(|place| {
            let digit = (number >> (60 - 4 * place)) & 0xF;
            b"0123456789abcdef"[digit as usize]
        }))
    }

    /// Its text: 16 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        // Digits are UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl AsRef<[u8]> for RouteToken {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for RouteToken {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let hex = |c: u8| c.is_ascii_digit() || matches!(c, b'a'..=b'f');
        let digits = <[u8; 16]>::try_from(text.as_bytes()).ok();
        let digits = digits.filter(|it| it.iter().copied().all(hex));
        digits.map(Self).ok_or_else(|| Refusal::InvalidName {
            what: "route token",
            name: text.chars().take(80).collect(),
            why: "it is what an earlier answer gave: 16 digits from 0 to f",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::Version;
    use crate::rollout::traffic::{Arm, Arms, Split, Step};

    #[test]
    fn places_are_those_that_are_published() {
        let uuid = "01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f";
        let long = "x".repeat(300);
        for (salt, key, hash, slot) in [
            ("r-1", "", 0x59dd_3462_7696_76ab, 3510),
            ("r-1", "a", 0x5d08_2641_da8c_4299, 3634),
            ("r-1", "customer-42", 0x453f_6a98_8191_9266, 2704),
            ("r-2", "customer-42", 0x4be1_ab83_b641_e9bc, 2964),
            (uuid, "customer-42", 0x2ab7_9db8_0057_458b, 1668),
            ("r-1", "Grüße", 0xf47c_2b38_1ca8_be70, 9550),
            ("r-1", &long, 0x414b_ebe8_0a54_8fe9, 2550),
        ] {
            let place = Place::of(salt, key);
            assert_eq!((place, place.slot()), (Place(hash), slot), "{salt} {key}");
        }
    }

    #[test]
    fn the_ends_of_the_line_are_slots_too() {
        assert_eq!(Place(0).slot(), 0);
        assert_eq!(Place(u64::MAX).slot(), WHOLE - 1);
        // The last place of the first tenth, and the first after it: 2^64 / 10 is 1844674407370955161.6.
        assert_eq!(Place(1_844_674_407_370_955_161).slot(), 999);
        assert_eq!(Place(1_844_674_407_370_955_162).slot(), 1000);
    }

    #[test]
    fn a_token_comes_back_as_it_left() {
        let token = RouteToken::new(0x00ab_cdef_0123_4567);
        assert_eq!(token.as_str(), "00abcdef01234567");
        assert_eq!(token.as_str().parse(), Ok(token));
        for wrong in ["", "0", "+0abcdef01234567", "00ABCDEF01234567", "x"] {
            assert!(wrong.parse::<RouteToken>().is_err(), "{wrong}");
        }
    }

    fn compared(step: u16) -> Split {
        let text = format!("{}%", f64::from(step) / 100.0);
        Split::Compared {
            incumbent: Version::FIRST,
            candidate: Version::new(2).expect("not zero"),
            step: text.parse::<Step>().expect("a step"),
        }
    }

    #[test]
    fn as_many_keys_get_an_arm_as_it_says() {
        let split = compared(500);
        let mut counts = std::collections::BTreeMap::new();
        for key in 0..100_000 {
            let (_, arm) = split.at(Place::of("r-1", key.to_string()));
            *counts.entry(arm).or_insert(0) += 1;
        }
        // 5000 of 100 000 with a standard deviation of 69.
        for arm in [Arm::Candidate, Arm::Control] {
            assert!((4700..5300).contains(&counts[&arm]), "{counts:?}");
        }
    }

    proptest! {
        /// Every place has one arm, and each arm as many slots as it says.
        #[test]
        fn shares_add_up_and_are_what_is_served(step in 1..=5000u16, weights in prop::collection::vec(1..2000u16, 1..6)) {
            let versions = (2..).map(|it| Version::new(it).expect("not zero"));
            let arms = versions.zip(&weights).map(|(version, weight)| {
                let text = format!("{}%", f64::from(*weight) / 100.0);
                (version, text.parse().expect("a weight"))
            });
            let arms = Arms::new(Version::FIRST, arms.collect());
            let mut all = vec![compared(step), Split::All(Version::FIRST)];
            all.extend(arms.ok().map(Split::Arms));
            for split in all {
                let shares = split.shares();
                prop_assert_eq!(shares.iter().map(|it| u32::from(it.2)).sum::<u32>(), u32::from(WHOLE));
                let mut counts = std::collections::BTreeMap::new();
                for slot in 0..u64::from(WHOLE) {
                    // The middle of the slot.
                    let place = Place((slot * 2 + 1) * (u64::MAX / (2 * u64::from(WHOLE))));
                    *counts.entry(split.at(place)).or_insert(0u16) += 1;
                }
                for (arm, version, share) in shares {
                    prop_assert_eq!(counts.get(&(version, arm)).copied().unwrap_or(0), share);
                }
            }
        }

        /// Whoever is the candidate's or the control's at a step still is at every later one.
        #[test]
        fn nobody_flips_back_between_rising_steps(key in ".{0,40}", low in 1..=5000u16, high in 1..=5000u16) {
            let (low, high) = (low.min(high), low.max(high));
            let place = Place::of("r-1", &key);
            let (before, after) = (compared(low).at(place), compared(high).at(place));
            if before.1 != Arm::Incumbent {
                prop_assert_eq!(before, after);
            }
        }
    }
}
