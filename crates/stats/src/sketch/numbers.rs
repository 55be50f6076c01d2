//! Numbers of one column.

use std::borrow::Cow;

use super::bytes::{Kind, Reader, Writer, checked};
use super::distinct::Distinct;
use super::frequent::Frequent;
use super::quantiles::Quantiles;
use super::{ROWS_MAX, Unreadable};
use crate::sum::{Moments, Sum};

/// Values that are sorted together: all that follows from a value is worked out from its sorted batch.
const BATCH: usize = 4096;

/// Numbers of one column in bounded memory, at most about 100 KiB; as bytes at most about 35.
///
/// Infinities are numbers, NaN is a missing value, -0.0 is 0.0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Not yet in what follows, but for those missing.
    waiting: Vec<f64>,
    missing: u64,
    range: Option<(f64, f64)>,
    /// Of the finite ones.
    moments: Moments,
    quantiles: Quantiles,
    frequent: Frequent,
    distinct: Distinct,
}

impl Numbers {
    /// Of no rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one row.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            self.missing += 1;
            return;
        }
        // Takes the sign of zero off.
        self.waiting.push(value + 0.0);
        if self.waiting.len() >= BATCH {
            self.settle();
        }
    }

    /// Adds a row for each value, as [`Self::add`] would.
    pub fn extend(&mut self, values: &[f64]) {
        for value in values {
            self.add(*value);
        }
    }

    /// Adds rows without a value.
    pub fn add_missing(&mut self, count: u64) {
        self.missing += count;
    }

    /// Adds the rows of another column, or of another part of this one.
    pub fn merge(&mut self, other: &Self) {
        let other = other.settled();
        self.settle();
        self.missing += other.missing;
        self.range = match (self.range, other.range) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        self.moments = self.moments.plus(other.moments);
        self.quantiles.merge(&other.quantiles);
        self.frequent.merge(&other.frequent);
        self.distinct.merge(&other.distinct);
    }

    /// How many there are, with missing ones.
    pub fn rows(&self) -> u64 {
        self.missing + self.present()
    }

    /// How many have no value.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// The least and the greatest value, exact.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.settled().range
    }

    /// Of the finite ones; none without any, or where their sum overflows.
    pub fn mean(&self) -> Option<f64> {
        Some(self.settled().moments.mean()).filter(|it| it.is_finite())
    }

    /// The standard deviation of the finite ones (n in the denominator); none without any, or where a square
    /// overflows.
    pub fn deviation(&self) -> Option<f64> {
        let moments = self.settled().moments;
        let variance = moments.spread() / moments.count as f64;
        Some(variance.sqrt()).filter(|it| it.is_finite())
    }

    /// The least value that at least this share of the values is not above; see [`Self::rank_error`]. The ends of
    /// the range at 0 and 1, none without values.
    ///
    /// # Panics
    ///
    /// Where the rank is not between 0 and 1.
    pub fn quantile(&self, rank: f64) -> Option<f64> {
        assert!((0.0..=1.0).contains(&rank), "a rank is a share");
        let settled = self.settled();
        let (least, greatest) = settled.range?;
        if rank == 0.0 || rank == 1.0 {
            return Some(if rank == 0.0 { least } else { greatest });
        }
        let place = rank * settled.present() as f64;
        let mut below = 0;
        let points = settled.quantiles.points().into_iter();
        let mut reached = points.skip_while(|it| {
            below += it.1;
            (below as f64) < place
        });
        reached.next().map(|it| it.0)
    }

    /// Values kept, ascending, each once, with how many rows each stands for; together as many as have a value. Their
    /// distribution function is nowhere further off than [`Self::rank_error`].
    pub fn points(&self) -> Vec<(f64, u64)> {
        self.settled().quantiles.points()
    }

    /// The greatest error of any rank, as a share of the values, that 99 of 100 sketches stay below: 0.27 %. Up to
    /// 1 024 values there is none.
    pub fn rank_error(&self) -> f64 {
        Quantiles::rank_error()
    }

    /// Values that at least this share of the values may be, ascending, with the most rows that each may have. From
    /// 0.4 % on none that has the share is left out; one that is told may have 0.4 % of all less than is told, and
    /// has exactly as many where there are at most 256 different ones.
    pub fn atoms(&self, share: f64) -> Vec<(f64, u64)> {
        let settled = self.settled();
        settled.frequent.at_least(share * settled.present() as f64)
    }

    /// How many different values there are: exact up to 256, with a standard error of 1.6 % from there on.
    pub fn distinct(&self) -> f64 {
        let settled = self.settled();
        match settled.frequent.distinct() {
            Some(exactly) => exactly as f64,
            None => settled.distinct.estimate(),
        }
    }

    /// See [`Self::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let settled = self.settled();
        let mut writer = Writer::new(Kind::Numbers);
        writer.count(settled.missing);
        // Without values these are never looked at.
        let (least, greatest) = settled.range.unwrap_or_default();
        let Moments {
            count,
            sum,
            squares,
        } = settled.moments;
        writer.count(count);
        let (sum, squares) = (sum.parts(), squares.parts());
        for number in [least, greatest, sum.0, sum.1, squares.0, squares.1] {
            writer.number(number);
        }
        settled.quantiles.write(&mut writer);
        settled.frequent.write(&mut writer);
        writer.block(&settled.distinct.to_bytes());
        writer.finish()
    }

    /// What [`Self::to_bytes`] wrote; it tells the same.
    ///
    /// # Errors
    ///
    /// Where the bytes are not those of numbers.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes, Kind::Numbers)?;
        let missing = reader.count_to(ROWS_MAX)?;
        let count = reader.count_to(ROWS_MAX)?;
        let (least, greatest) = (reader.value()?, reader.value()?);
        let mut sum = || Ok(Sum::from_parts(reader.number()?, reader.number()?));
        let moments = Moments {
            count,
            sum: sum()?,
            squares: sum()?,
        };
        let quantiles = Quantiles::read(&mut reader)?;
        let frequent = Frequent::read(&mut reader, quantiles.count())?;
        let distinct = Distinct::read(reader.block()?)?;
        reader.finish()?;
        let present = quantiles.count();
        let within = quantiles.within(least, greatest) && frequent.within(least, greatest);
        checked((), within && least <= greatest && count <= present)?;
        Ok(Self {
            waiting: Vec::new(),
            missing,
            range: (present > 0).then_some((least, greatest)),
            moments,
            quantiles,
            frequent,
            distinct,
        })
    }

    fn present(&self) -> u64 {
        self.quantiles.count() + self.waiting.len() as u64
    }

    /// This with nothing waiting, so that what is told does not depend on whether it was kept as bytes before.
    fn settled(&self) -> Cow<'_, Self> {
        if self.waiting.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut settled = self.clone();
        settled.settle();
        Cow::Owned(settled)
    }

    fn settle(&mut self) {
        let mut batch = std::mem::take(&mut self.waiting);
        sort(&mut batch);
        if let (Some(first), Some(last)) = (batch.first(), batch.last()) {
            let (least, greatest) = self.range.unwrap_or((*first, *last));
            self.range = Some((least.min(*first), greatest.max(*last)));
        }
        self.moments = self.moments.plus(moments(&batch));
        self.quantiles.add(&batch);
        self.frequent.add(&batch);
        for same in batch.chunk_by(|a, b| a == b) {
            self.distinct.add(same[0].to_bits());
        }
        batch.clear();
        self.waiting = batch;
    }
}

/// Of those that are finite, in four sums at a time: each addition to one waits for the one before.
fn moments(sorted: &[f64]) -> Moments {
    let start = sorted.partition_point(|it| *it == f64::NEG_INFINITY);
    let end = sorted.partition_point(|it| *it < f64::INFINITY);
    let (fours, rest) = sorted[start..end].as_chunks::<4>();
    let mut sums = [Moments::default(); 4];
    for four in fours {
        for (sum, value) in sums.iter_mut().zip(four) {
            sum.add(*value);
        }
    }
    for value in rest {
        sums[0].add(*value);
    }
    let [a, b, c, d] = sums;
    a.plus(b).plus(c.plus(d))
}

/// As whole numbers of the same order, which compare faster.
fn sort(values: &mut [f64]) {
    let turned = |bits: i64| bits ^ ((bits >> 63) as u64 >> 1) as i64;
    let mut keys: Vec<i64> = values
        .iter()
        .map(|it| turned(it.to_bits() as i64))
        .collect();
    keys.sort_unstable();
    for (value, key) in values.iter_mut().zip(keys) {
        *value = f64::from_bits(turned(key) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bytes::tests::spoil;
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> Numbers {
        let mut numbers = Numbers::new();
        values.into_iter().for_each(|it| numbers.add(it));
        numbers
    }

    /// Whole numbers below 1000, each as often, in no order.
    fn many() -> Numbers {
        of((0..100_000_u32).map(|it| f64::from(it.wrapping_mul(7919) % 1000)))
    }

    #[test]
    fn without_rows_there_is_nothing() {
        for numbers in [Numbers::new(), of([f64::NAN])] {
            assert_eq!(
                (numbers.range(), numbers.mean(), numbers.deviation()),
                (None, None, None)
            );
            assert_eq!((numbers.quantile(0.5), numbers.distinct()), (None, 0.0));
            assert!(numbers.atoms(0.05).is_empty() && numbers.points().is_empty());
            assert_eq!(Numbers::from_bytes(&numbers.to_bytes()), Ok(numbers));
        }
    }

    #[test]
    fn few_are_exact() {
        let mut numbers = of([3.0, -0.0, f64::NAN, 0.0, 1.0]);
        numbers.add_missing(2);
        assert_eq!((numbers.rows(), numbers.missing()), (7, 3));
        assert_eq!(
            (numbers.range(), numbers.mean()),
            (Some((0.0, 3.0)), Some(1.0))
        );
        assert_eq!(numbers.deviation(), Some(1.5_f64.sqrt()));
        assert_eq!(numbers.points(), [(0.0, 2), (1.0, 1), (3.0, 1)]);
        assert_eq!(
            [0.0, 0.5, 0.51, 1.0].map(|it| numbers.quantile(it)),
            [0.0, 0.0, 1.0, 3.0].map(Some)
        );
        assert_eq!(numbers.atoms(0.5), [(0.0, 2)]);
        assert_eq!(numbers.distinct(), 3.0);
    }

    #[test]
    fn infinities_are_numbers_but_have_no_mean() {
        let numbers = of([f64::NEG_INFINITY, 1.0, 3.0, f64::INFINITY]);
        assert_eq!(numbers.range(), Some((f64::NEG_INFINITY, f64::INFINITY)));
        assert_eq!(
            (numbers.mean(), numbers.deviation()),
            (Some(2.0), Some(1.0))
        );
        assert_eq!(of([f64::INFINITY]).mean(), None);
        // Sums that overflow are not told.
        let large = of([1e200, -1e200]);
        assert_eq!((large.mean(), large.deviation()), (Some(0.0), None));
    }

    #[test]
    fn many_are_nearly_so() {
        let numbers = many();
        assert_eq!(
            (numbers.rows(), numbers.range()),
            (100_000, Some((0.0, 999.0)))
        );
        assert_eq!(numbers.mean(), Some(499.5));
        for percent in 1..100 {
            let rank = f64::from(percent) / 100.0;
            let quantile = numbers.quantile(rank).unwrap();
            assert!((quantile - 1000.0 * rank).abs() <= 1.0 + 1000.0 * numbers.rank_error());
        }
        assert!((numbers.distinct() / 1000.0 - 1.0).abs() < 0.05);
        assert!(numbers.atoms(0.02).is_empty());
        let weight: u64 = numbers.points().iter().map(|it| it.1).sum();
        assert_eq!(weight, 100_000);
    }

    #[test]
    fn parts_merge() {
        let mut merged = Numbers::new();
        for part in 0..10 {
            merged.merge(&of((0..10_001).map(|it| f64::from(part * 10_001 + it))));
        }
        assert_eq!(
            (merged.rows(), merged.range()),
            (100_010, Some((0.0, 100_009.0)))
        );
        assert_eq!(merged.mean(), Some(50_004.5));
        let median = merged.quantile(0.5).unwrap();
        assert!((median - 50_004.5).abs() < 100_010.0 * merged.rank_error());
        assert!((merged.distinct() / 100_010.0 - 1.0).abs() < 0.05);
        // Estimates of distinct values depend on the rows alone.
        assert_eq!(
            merged.distinct(),
            of((0..100_010).map(f64::from)).distinct()
        );
    }

    #[test]
    fn the_same_rows_give_the_same_sketch() {
        let mut extended = Numbers::new();
        let values: Vec<f64> = (0..100_000_u32)
            .map(|it| f64::from(it.wrapping_mul(7919) % 1000))
            .collect();
        values.chunks(999).for_each(|it| extended.extend(it));
        assert_eq!(extended, many());
        let bytes = extended.to_bytes();
        assert_eq!(many().to_bytes(), bytes);
        assert_eq!(Numbers::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn no_bytes_do_harm() {
        let many = many();
        let using = |mut it: Numbers| {
            it.merge(&it.clone());
            it.extend(&[1.0, 2.0, 1e300]);
            let ranks = [0.0, 0.3, 1.0].map(|rank| it.quantile(rank));
            let _ = (
                it.rows(),
                it.mean(),
                it.deviation(),
                it.atoms(0.02),
                it.distinct(),
                ranks,
            );
            it.merge(&many);
        };
        let none = Numbers::new().to_bytes();
        spoil(&none, 1, Numbers::from_bytes, using);
        let few = of((0..40).map(|it| f64::from(it % 30))).to_bytes();
        spoil(&few, 1, Numbers::from_bytes, using);
        spoil(&many.to_bytes(), 499, Numbers::from_bytes, using);
        let mut other = none.clone();
        other[0] = 2;
        assert_eq!(Numbers::from_bytes(&other), Err(Unreadable::Format(2)));
        let words = crate::sketch::Words::new().to_bytes();
        assert_eq!(Numbers::from_bytes(&words), Err(Unreadable::Damaged));
    }
}
