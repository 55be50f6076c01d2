//! The scores of one class against the rest, kept in the least memory that still orders them exactly.
//!
//! Scores become integers of the same order: 32 bits while each is an `f32` in `f64`'s clothes (most models
//! give those), 64 bits from the first that is not, and above `rows_max` counts in bins of equal leading
//! bits. Ranks need no more than order.

use super::curve::Curve;

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct Scores {
    rows_max: usize,
    bin_bits: u32,
    keys: Keys,
}

#[derive(Clone, Debug)]
enum Keys {
    Narrow(Split<u32>),
    Wide(Split<u64>),
    Binned(Bins),
}

#[derive(Clone, Debug)]
struct Split<K> {
    positive: Vec<K>,
    negative: Vec<K>,
}

impl Scores {
    /// `bin_bits`: how many leading bits of an `f32`, sign and exponent among them, tell bins apart; above
    /// 10.
    pub(super) fn new(rows_max: usize, bin_bits: u32) -> Self {
        Self {
            rows_max,
            bin_bits,
            keys: Keys::Narrow(Split::default()),
        }
    }

    /// `score` is finite.
    pub(super) fn add(&mut self, score: f64, positive: bool) {
        let narrow = score as f32;
        match &mut self.keys {
            Keys::Narrow(split) if f64::from(narrow) == score => {
                split.of(positive).push(narrow_key(narrow));
            }
            Keys::Narrow(split) => {
                let mut wide = std::mem::take(split).map(widened);
                wide.of(positive).push(wide_key(score));
                self.keys = Keys::Wide(wide);
            }
            Keys::Wide(split) => split.of(positive).push(wide_key(score)),
            Keys::Binned(bins) => bins.add(narrow_key(narrow), positive),
        }
        self.bin_what_is_too_many();
    }

    /// Both were made with the same limits.
    pub(super) fn merge(&mut self, other: Self) {
        let mine = std::mem::replace(&mut self.keys, Keys::Narrow(Split::default()));
        self.keys = match (mine, other.keys) {
            (Keys::Narrow(mine), Keys::Narrow(other)) => Keys::Narrow(mine.plus(other)),
            (Keys::Narrow(mine), Keys::Wide(other)) => Keys::Wide(mine.map(widened).plus(other)),
            (Keys::Wide(mine), Keys::Narrow(other)) => Keys::Wide(mine.plus(other.map(widened))),
            (Keys::Wide(mine), Keys::Wide(other)) => Keys::Wide(mine.plus(other)),
            (Keys::Binned(mut bins), other) | (other, Keys::Binned(mut bins)) => {
                bins.merge(other);
                Keys::Binned(bins)
            }
        };
        self.bin_what_is_too_many();
    }

    /// Whether scores were binned, so that ranks within a bin are lost.
    pub(super) fn is_approximate(&self) -> bool {
        matches!(self.keys, Keys::Binned(_))
    }

    /// Sorts, then ranks: about 30 ms a million rows (`examples/speed.rs`).
    pub(super) fn curve(self) -> Curve {
        match self.keys {
            Keys::Narrow(split) => split.curve(),
            Keys::Wide(split) => split.curve(),
            Keys::Binned(bins) => bins.curve(),
        }
    }

    fn bin_what_is_too_many(&mut self) {
        let rows = match &self.keys {
            Keys::Narrow(split) => split.len(),
            Keys::Wide(split) => split.len(),
            Keys::Binned(_) => return,
        };
        if rows > self.rows_max {
            let mut bins = Bins::new(self.bin_bits);
            bins.merge(std::mem::replace(
                &mut self.keys,
                Keys::Narrow(Split::default()),
            ));
            self.keys = Keys::Binned(bins);
        }
    }
}

impl<K> Default for Split<K> {
    fn default() -> Self {
        Self {
            positive: Vec::new(),
            negative: Vec::new(),
        }
    }
}

impl<K> Split<K> {
    fn of(&mut self, positive: bool) -> &mut Vec<K> {
        if positive {
            &mut self.positive
        } else {
            &mut self.negative
        }
    }

    fn len(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    fn plus(mut self, other: Self) -> Self {
        self.positive.extend(other.positive);
        self.negative.extend(other.negative);
        self
    }

    fn map<T>(self, change: impl Fn(K) -> T) -> Split<T> {
        Split {
            positive: self.positive.into_iter().map(&change).collect(),
            negative: self.negative.into_iter().map(&change).collect(),
        }
    }
}

impl<K: Ord + Copy> Split<K> {
    fn curve(mut self) -> Curve {
        self.positive.sort_unstable();
        self.negative.sort_unstable();
        let (mut positive, mut negative) = (&self.positive[..], &self.negative[..]);
        let mut curve = Curve::new(positive.len() as u64, negative.len() as u64);
        // `None` is less than any key.
        while let Some(top) = positive.last().max(negative.last()).copied() {
            curve.push(take_ties(&mut positive, top), take_ties(&mut negative, top));
        }
        curve
    }
}

/// Takes what equals `top` off the end, and says how many that were.
fn take_ties<K: PartialEq>(sorted: &mut &[K], top: K) -> u64 {
    let mut count = 0;
    while let [rest @ .., last] = *sorted
        && *last == top
    {
        *sorted = rest;
        count += 1;
    }
    count
}

/// Counts of negatives and positives by the leading bits of the key; pages exist from their first row on,
/// because scores of a model lie in few of them.
#[derive(Clone, Debug)]
struct Bins {
    bits: u32,
    pages: Vec<Option<Box<[[u64; 2]; PAGE]>>>,
}

const PAGE_BITS: u32 = 10;
const PAGE: usize = 1 << PAGE_BITS;

impl Bins {
    fn new(bits: u32) -> Self {
        Self {
            bits,
            pages: vec![None; 1 << (bits - PAGE_BITS)],
        }
    }

    fn add(&mut self, key: u32, positive: bool) {
        let bin = (key >> (u32::BITS - self.bits)) as usize;
        let page = self.pages[bin >> PAGE_BITS].get_or_insert_with(|| Box::new([[0; 2]; PAGE]));
        page[bin % PAGE][usize::from(positive)] += 1;
    }

    fn merge(&mut self, other: Keys) {
        match other {
            Keys::Narrow(split) => {
                split.positive.iter().for_each(|key| self.add(*key, true));
                split.negative.iter().for_each(|key| self.add(*key, false));
            }
            Keys::Wide(split) => {
                let narrow = |key: &u64| narrow_key(wide_score(*key) as f32);
                split
                    .positive
                    .iter()
                    .for_each(|key| self.add(narrow(key), true));
                split
                    .negative
                    .iter()
                    .for_each(|key| self.add(narrow(key), false));
            }
            Keys::Binned(other) => {
                for (mine, other) in self.pages.iter_mut().zip(other.pages) {
                    match (mine, other) {
                        (_, None) => {}
                        (mine @ None, other) => *mine = other,
                        (Some(mine), Some(other)) => {
                            let pairs =
                                mine.as_flattened_mut().iter_mut().zip(other.as_flattened());
                            pairs.for_each(|(mine, other)| *mine += other);
                        }
                    }
                }
            }
        }
    }

    fn curve(self) -> Curve {
        let bins = || self.pages.iter().flatten().flat_map(|page| page.iter());
        let positives = bins().map(|[_, positive]| positive).sum();
        let negatives = bins().map(|[negative, _]| negative).sum();
        let mut curve = Curve::new(positives, negatives);
        for [negative, positive] in bins().rev().filter(|bin| **bin != [0, 0]) {
            curve.push(*positive, *negative);
        }
        curve
    }
}

/// An integer of the same order: the sign bit turned where positive, all bits where negative.
fn narrow_key(score: f32) -> u32 {
    // Adding zero makes the two zeros one, as they are equal.
    let bits = (score + 0.0).to_bits();
    bits ^ if bits >> 31 == 0 { 1 << 31 } else { u32::MAX }
}

fn wide_key(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    bits ^ if bits >> 63 == 0 { 1 << 63 } else { u64::MAX }
}

fn narrow_score(key: u32) -> f32 {
    f32::from_bits(key ^ if key >> 31 == 1 { 1 << 31 } else { u32::MAX })
}

fn wide_score(key: u64) -> f64 {
    f64::from_bits(key ^ if key >> 63 == 1 { 1 << 63 } else { u64::MAX })
}

fn widened(key: u32) -> u64 {
    wide_key(f64::from(narrow_score(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_scores_do_and_can_be_read_back() {
        let scores = [-1e300, -2.5, -1e-45, 0.0, 1e-45, 0.25, 1.0, 1e300];
        assert!(scores.map(wide_key).is_sorted_by(|a, b| a < b));
        assert_eq!(scores.map(|it| wide_score(wide_key(it))), scores);
        let scores = [
            f32::NEG_INFINITY,
            -2.5,
            -1e-45,
            0.0,
            1e-45,
            1.0,
            f32::INFINITY,
        ];
        assert!(scores.map(narrow_key).is_sorted_by(|a, b| a < b));
        assert_eq!(scores.map(|it| narrow_score(narrow_key(it))), scores);
        assert_eq!(wide_key(-0.0), wide_key(0.0));
        assert_eq!(narrow_key(-0.0), narrow_key(0.0));
        assert_eq!(widened(narrow_key(0.1)), wide_key(f64::from(0.1f32)));
    }

    /// Rows as `(score, positive)`, in a pattern without structure.
    fn rows(count: u32, wide: bool) -> Vec<(f64, bool)> {
        let one = |index: u32| {
            let mixed = index.wrapping_mul(2_654_435_761) >> 8;
            let score = f64::from(mixed) / f64::from(1 << 24);
            let positive = index.wrapping_mul(40_503) % 97 < 20 + mixed % 60;
            (if wide { score / 3.0 } else { score }, positive)
        };
        (0..count).map(one).collect()
    }

    fn scores(rows: &[(f64, bool)], rows_max: usize) -> Scores {
        let mut scores = Scores::new(rows_max, 20);
        rows.iter()
            .for_each(|(score, positive)| scores.add(*score, *positive));
        scores
    }

    #[test]
    fn parts_merge_to_the_whole_whatever_form_they_are_in() {
        let (narrow, wide) = (rows(400, false), rows(300, true));
        let whole = scores(&[&narrow[..], &wide].concat(), 1_000).curve();
        for (a, b) in [(&narrow, &wide), (&wide, &narrow)] {
            let mut merged = scores(a, 1_000);
            merged.merge(scores(b, 1_000));
            assert!(!merged.is_approximate());
            assert_eq!(merged.curve(), whole);
        }
        let binned = scores(&[&narrow[..], &wide].concat(), 600);
        assert!(binned.is_approximate());
        let binned = binned.curve();
        for (a, b) in [(&narrow, &wide), (&wide, &narrow)] {
            for rows_max in [600, 350, 10] {
                let mut merged = scores(a, rows_max);
                merged.merge(scores(b, rows_max));
                assert!(merged.is_approximate());
                assert_eq!(merged.curve(), binned);
            }
        }
    }

    #[test]
    fn binned_scores_stay_within_the_stated_error() {
        let rows = rows(50_000, false);
        let exact = scores(&rows, 50_000).curve();
        let binned = scores(&rows, 49_999);
        let (mut pairs, mut rows_of_positives) = (0, 0.0);
        let (mut positives, mut above) = (0, 0);
        let Keys::Binned(bins) = &binned.keys else {
            panic!("more rows than are kept");
        };
        for [negative, positive] in bins.pages.iter().flatten().flat_map(|it| it.iter()).rev() {
            positives += positive;
            above += positive + negative;
            pairs += positive * negative;
            if *positive > 0 {
                let share = (positive + negative) as f64 / above as f64;
                rows_of_positives += *positive as f64 * share;
            }
        }
        let area_error = pairs as f64 / (positives * (above - positives)) as f64 / 2.0;
        let precision_error = rows_of_positives / positives as f64;
        let binned = binned.curve();
        let area = |curve: &Curve| curve.area().expect("both classes").value;
        let precision = |curve: &Curve| curve.average_precision().expect("both classes");
        assert_ne!(area(&exact), area(&binned));
        assert!((area(&exact) - area(&binned)).abs() <= area_error);
        assert!((precision(&exact) - precision(&binned)).abs() <= precision_error);
        // The bounds are of use.
        assert!(
            area_error < 1e-3 && precision_error < 1e-2,
            "{area_error} {precision_error}"
        );
    }
}
