//! Quantiles of numbers: KLL (Karnin, Lang & Liberty, FOCS 2016, arXiv:1603.05346), fed with sorted batches.
//!
//! A value on level `h` stands for `2^h` of those added. A level that is full is thinned out: every other of its
//! sorted values moves up. Capacities shrink by 2/3 from level to level downwards, as in the paper and in Apache
//! DataSketches; a batch is thinned as a whole, which throws the coin less often than one value after the other.

use crate::random::Random;

use super::bytes::{Reader, Writer, checked};
use super::{ROWS_MAX, Unreadable};

/// The capacity of the topmost level.
const K: usize = 1024;
const LEVEL_MIN: usize = 8;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantiles {
    /// Each ascending, from those that stand for one.
    levels: Vec<Vec<f64>>,
    /// Changes with what is thinned out. Were it a counter, sketches of the same size would throw the same, and
    /// their errors would add up in a merge instead of cancelling.
    coin: u64,
}

impl Default for Quantiles {
    fn default() -> Self {
        Self {
            levels: vec![Vec::new()],
            coin: 0,
        }
    }
}

impl Quantiles {
    /// Numbers, ascending.
    pub(super) fn add(&mut self, sorted: &[f64]) {
        self.levels[0] = merged(&self.levels[0], sorted);
        self.compact();
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if self.levels.len() < other.levels.len() {
            self.levels.resize(other.levels.len(), Vec::new());
        }
        for (level, more) in self.levels.iter_mut().zip(&other.levels) {
            *level = merged(level, more);
        }
        self.coin ^= other.coin;
        self.compact();
    }

    /// How many were added.
    pub(super) fn count(&self) -> u64 {
        let weight = |(height, level): (usize, &Vec<f64>)| (level.len() as u64) << height;
        self.levels.iter().enumerate().map(weight).sum()
    }

    /// The values kept, ascending, each once, with how many each stands for.
    pub(super) fn points(&self) -> Vec<(f64, u64)> {
        let each = self.levels.iter().enumerate();
        let mut points: Vec<(f64, u64)> = each
            .flat_map(|(height, level)| level.iter().map(move |it| (*it, 1 << height)))
            .collect();
        points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        points
    }

    /// The greatest error of any rank, as a share of the rows, that 99 of 100 sketches stay below. The formula is
    /// Apache DataSketches' fit to its own KLL of the same capacities; a test here holds ours to it.
    pub(super) fn rank_error() -> f64 {
        2.296 / (K as f64).powf(0.9723)
    }

    /// Whether no value is outside this range.
    pub(super) fn within(&self, least: f64, greatest: f64) -> bool {
        self.levels
            .iter()
            .flatten()
            .all(|it| least <= *it && *it <= greatest)
    }

    fn compact(&mut self) {
        loop {
            let heights = self.levels.len();
            let capacity = |height: usize| capacity(heights - 1 - height);
            let kept: usize = self.levels.iter().map(Vec::len).sum();
            if kept <= (0..heights).map(capacity).sum() {
                return;
            }
            // As more is kept than all may hold, one of them is over.
            let Some(full) = (0..heights).find(|it| self.levels[*it].len() > capacity(*it)) else {
                return;
            };
            self.thin(full);
        }
    }

    fn thin(&mut self, height: usize) {
        let mut level = std::mem::take(&mut self.levels[height]);
        // An odd one stays where it is.
        let rest = if level.len() % 2 == 1 {
            level.pop()
        } else {
            None
        };
        self.coin = Random::new(self.coin ^ level[level.len() / 2].to_bits()).bits();
        let first = (self.coin >> 63) as usize;
        let half: Vec<f64> = level[first..].iter().step_by(2).copied().collect();
        self.levels[height].extend(rest);
        match self.levels.get_mut(height + 1) {
            Some(above) => *above = merged(above, &half),
            None => self.levels.push(half),
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.count(self.coin);
        writer.count(self.levels.len() as u64);
        for level in &self.levels {
            writer.count(level.len() as u64);
            level.iter().for_each(|it| writer.number(*it));
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let coin = reader.count()?;
        let heights = reader.length()?;
        checked((), (1..=ROWS_MAX.ilog2() as usize).contains(&heights))?;
        let (mut levels, mut rows) = (Vec::with_capacity(heights), 0);
        for height in 0..heights {
            let length = reader.length()?;
            // A level that can be read is far shorter than 2^64 / ROWS_MAX values.
            checked((), length < 1 << 16)?;
            rows += (length as u64) << height;
            checked((), rows <= ROWS_MAX)?;
            levels.push(
                (0..length)
                    .map(|_| reader.value())
                    .collect::<Result<_, _>>()?,
            );
        }
        let sorted = levels.iter().all(|it: &Vec<f64>| it.is_sorted());
        checked(Self { levels, coin }, sorted)
    }
}

/// Of a level so far below the topmost.
fn capacity(depth: usize) -> usize {
    // From the 12th on all are of the least capacity.
    let depth = depth.min(12) as u32;
    (K * 2_usize.pow(depth) / 3_usize.pow(depth)).max(LEVEL_MIN)
}

/// Both ascending, and so is the result.
fn merged(mut a: &[f64], mut b: &[f64]) -> Vec<f64> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        if x <= y {
            merged.push(*x);
            a = &a[1..];
        } else {
            merged.push(*y);
            b = &b[1..];
        }
    }
    merged.extend_from_slice(a);
    merged.extend_from_slice(b);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The greatest error of any rank, of a sketch in so many parts that are merged, over whole numbers from 0.
    fn error(seed: u64, rows: u64, parts: usize) -> f64 {
        let mut values: Vec<u64> = (0..rows).collect();
        values.sort_unstable_by_key(|it| Random::new(seed << 32 | *it).bits());
        let mut all = Quantiles::default();
        for part in values.chunks(rows as usize / parts) {
            let mut one = Quantiles::default();
            for batch in part.chunks(1000) {
                let mut batch: Vec<f64> = batch.iter().map(|it| *it as f64).collect();
                batch.sort_unstable_by(f64::total_cmp);
                one.add(&batch);
            }
            all.merge(&one);
        }
        assert_eq!(all.count(), rows);
        let (mut below, mut greatest) = (0, 0.0_f64);
        for (value, weight) in all.points() {
            // Just before the value and at it.
            greatest = greatest.max((value - below as f64).abs());
            below += weight;
            greatest = greatest.max((value + 1.0 - below as f64).abs());
        }
        greatest / rows as f64
    }

    #[test]
    fn ranks_are_as_near_as_is_told() {
        for parts in [1, 20] {
            let errors: Vec<f64> = (0..20).map(|seed| error(seed, 30_000, parts)).collect();
            let over = errors.iter().filter(|it| **it > Quantiles::rank_error());
            assert!(over.count() <= 1, "{parts} parts: {errors:?}");
        }
    }

    #[test]
    fn few_are_exact_and_many_stay_few() {
        assert_eq!(error(1, 1000, 1), 0.0);
        let mut quantiles = Quantiles::default();
        let batch: Vec<f64> = (0..4096).map(f64::from).collect();
        for _ in 0..300 {
            quantiles.add(&batch);
        }
        let kept: usize = quantiles.levels.iter().map(Vec::len).sum();
        assert!(
            kept < 3 * K + 100 && quantiles.count() == 300 * 4096,
            "{kept}"
        );
    }
}
