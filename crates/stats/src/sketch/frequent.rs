//! Numbers that are often there: Misra & Gries' counters (Sci. Comput. Program. 2 (1982), 143-152), fed with sorted
//! batches and merged as Agarwal et al. do (Mergeable summaries, PODS 2012).
//!
//! Where there are more values than counters, the count of the first that finds no place is taken from all. Each unit
//! so taken takes at least `COUNTERS + 1` rows out, so of `n` rows no value loses more than `n / (COUNTERS + 1)`:
//! 0.4 %, and this is certain, not likely.

use super::Unreadable;
use super::bytes::{Reader, Writer, checked};

const COUNTERS: usize = 256;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Frequent {
    /// Values, ascending, and no more than the rows that have each.
    counters: Vec<(f64, u64)>,
    /// How much each count may be too low; a value without one has at most so many rows.
    error: u64,
}

impl Frequent {
    /// Numbers, ascending. Those that are there once, of a batch of which most are, are never copied.
    pub(super) fn add(&mut self, sorted: &[f64]) {
        let counted = std::mem::take(&mut self.counters);
        let mut counted = counted.into_iter().peekable();
        let (mut often, mut once, mut dropped) = (Vec::with_capacity(2 * COUNTERS), Vec::new(), 0);
        for same in sorted.chunk_by(|a, b| a == b) {
            let (value, count) = (same[0], same.len() as u64);
            while let Some(it) = counted.next_if(|it| it.0 < value) {
                often.push(it);
            }
            match counted.next_if(|it| it.0 == value) {
                Some(it) => often.push((value, it.1 + count)),
                None if count > 1 => often.push((value, count)),
                None if once.len() <= COUNTERS => once.push((value, 1)),
                None => dropped += 1,
            }
        }
        often.extend(counted);
        // With more of them than counters, at least one is taken from all: nothing is left of these.
        if often.len() + once.len() + dropped > COUNTERS && often.len() <= COUNTERS {
            self.counters = often;
            self.take(1);
            return;
        }
        if often.len() <= COUNTERS {
            often.append(&mut once);
            often.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        }
        self.counters = often;
        self.shrink();
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.counters.extend(&other.counters);
        self.counters.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.counters.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        self.error += other.error;
        self.shrink();
    }

    /// Values that at least `rows` rows may have, ascending, with the most that each may have. None that has so many
    /// is left out while `rows` is above the error.
    pub(super) fn at_least(&self, rows: f64) -> Vec<(f64, u64)> {
        let most = self.counters.iter().map(|it| (it.0, it.1 + self.error));
        most.filter(|it| it.1 as f64 >= rows).collect()
    }

    /// How many values there are, where each has a counter.
    pub(super) fn distinct(&self) -> Option<usize> {
        (self.error == 0).then_some(self.counters.len())
    }

    /// Whether no value is outside this range.
    pub(super) fn within(&self, least: f64, greatest: f64) -> bool {
        self.counters
            .iter()
            .all(|it| least <= it.0 && it.0 <= greatest)
    }

    fn shrink(&mut self) {
        if self.counters.len() > COUNTERS {
            let mut counts: Vec<u64> = self.counters.iter().map(|it| it.1).collect();
            let (_, cut, _) = counts.select_nth_unstable_by(COUNTERS, |a, b| b.cmp(a));
            self.take(*cut);
        }
    }

    fn take(&mut self, cut: u64) {
        self.error += cut;
        self.counters.retain_mut(|it| {
            it.1 = it.1.saturating_sub(cut);
            it.1 > 0
        });
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.count(self.error);
        writer.count(self.counters.len() as u64);
        for (value, count) in &self.counters {
            writer.number(*value);
            writer.count(*count);
        }
    }

    /// Of so many rows.
    pub(super) fn read(reader: &mut Reader<'_>, rows: u64) -> Result<Self, Unreadable> {
        let error = reader.count_to(rows)?;
        let length = reader.length()?;
        checked((), length <= COUNTERS)?;
        let counters: Vec<(f64, u64)> = (0..length)
            .map(|_| Ok((reader.value()?, reader.count_to(rows)?)))
            .collect::<Result<_, _>>()?;
        let well = counters.is_sorted_by(|a, b| a.0 < b.0) && counters.iter().all(|it| it.1 > 0);
        checked(Self { counters, error }, well)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tenth row is 7, the others are all different.
    fn mostly_different(rows: std::ops::Range<u32>) -> Frequent {
        let mut frequent = Frequent::default();
        let rows: Vec<u32> = rows.collect();
        for batch in rows.chunks(1000) {
            let value = |it: &u32| {
                if it.is_multiple_of(10) {
                    7.0
                } else {
                    f64::from(*it) + 0.5
                }
            };
            let mut batch: Vec<f64> = batch.iter().map(value).collect();
            batch.sort_unstable_by(f64::total_cmp);
            frequent.add(&batch);
        }
        frequent
    }

    #[test]
    fn few_are_counted_exactly() {
        let mut frequent = Frequent::default();
        for _ in 0..10 {
            frequent.add(&[1.0, 1.0, 2.0, 3.0]);
        }
        assert_eq!(frequent.at_least(10.0), [(1.0, 20), (2.0, 10), (3.0, 10)]);
        assert_eq!(frequent.at_least(10.5), [(1.0, 20)]);
        assert_eq!(frequent.distinct(), Some(3));
    }

    #[test]
    fn what_is_often_there_is_found_among_many() {
        let mut frequent = mostly_different(0..50_000);
        frequent.merge(&mostly_different(50_000..100_000));
        assert_eq!(frequent.at_least(2000.0), [(7.0, 10_000)]);
        assert!(frequent.error <= 100_000 / (COUNTERS as u64 + 1) && frequent.distinct().is_none());
        assert!(frequent.counters.len() <= COUNTERS);
    }

    #[test]
    fn no_count_is_further_off_than_is_told() {
        // Values of all frequencies: the number k about 20 000 / k times, in many orders.
        for seed in 1..20_u64 {
            let mut rows: Vec<u64> = (1..2000)
                .flat_map(|k| vec![k; 20_000 / k as usize])
                .collect();
            let all = rows.len() as u64;
            rows.sort_by_key(|it| (it * seed * 0x9e37_79b9) % 10_007);
            let mut frequent = Frequent::default();
            for batch in rows.chunks(777) {
                let mut batch: Vec<f64> = batch.iter().map(|it| *it as f64).collect();
                batch.sort_unstable_by(f64::total_cmp);
                frequent.add(&batch);
            }
            assert!(frequent.error <= all / (COUNTERS as u64 + 1));
            let of = |value: f64| frequent.counters.iter().find(|it| it.0 == value);
            for k in 1..2000 {
                let (exact, kept) = (20_000 / k, of(k as f64).map_or(0, |it| it.1));
                assert!(kept <= exact && exact <= kept + frequent.error);
            }
        }
    }
}
