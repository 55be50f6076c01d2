//! Rows of a group, or a sample of them.

/// Rows, or of too many those with the least hashes, which have nothing to do with what is in the rows.
#[derive(Clone)]
pub(super) struct Sample<T> {
    hash: fn(&T) -> u64,
    rows: Vec<T>,
    /// Rows with greater hashes are in no sample any more.
    greatest: Option<u64>,
}

impl<T> Sample<T> {
    /// Of rows that have these hashes.
    pub(super) fn by(hash: fn(&T) -> u64) -> Self {
        Self {
            hash,
            rows: Vec::new(),
            greatest: None,
        }
    }

    /// Takes a row in, which is only looked up where it may be kept.
    pub(super) fn keep(&mut self, hash: u64, most: usize, row: impl FnOnce() -> Option<T>) {
        if self.greatest.is_some_and(|it| hash > it) {
            return;
        }
        self.rows.extend(row());
        if self.rows.len() >= 2 * most {
            self.cut(most);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    fn cut(&mut self, most: usize) {
        let hash = self.hash;
        if self.rows.len() > most {
            self.rows.select_nth_unstable_by_key(most, hash);
            self.rows.truncate(most);
            self.greatest = self.rows.iter().map(hash).max();
        }
    }

    /// By their hashes, so that equal rows give equal answers, whichever thread came first.
    pub(super) fn finish(mut self, most: usize) -> Vec<T> {
        self.cut(most);
        self.rows.sort_by_key(self.hash);
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_rows_those_with_the_least_hashes_are_kept() {
        let mut kept = Sample::by(|it: &u64| *it);
        let mut looked_up = 0;
        for row in 0..10_000_u64 {
            let hash = row.wrapping_mul(7_919) % 10_007;
            kept.keep(hash, 100, || {
                looked_up += 1;
                Some(hash)
            });
        }
        let mut other = Sample::by(|it: &u64| *it);
        other.keep(20_000, 100, || Some(20_000));
        kept.merge(other);
        assert!(looked_up < 2_000, "{looked_up}");
        let rows = kept.finish(100);
        assert_eq!(rows.len(), 100);
        assert!(rows.iter().all(|it| *it < 110), "{:?}", rows.last());
    }
}
