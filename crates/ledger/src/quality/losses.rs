//! Losses of labelled rows one by one, of a bounded number of rows.

use std::sync::Arc;

use super::{Ids, Range};
use crate::files::Entry;

/// How many losses of labelled rows are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Losses {
    /// The most that are kept of a group: of more a sample is.
    pub kept_max: usize,
    /// The most rows that are read, about: of more it is parts of the time, evenly apart. Everything else that is
    /// answered is then of these rows too.
    pub read_max: u64,
}

/// How wrong the answer about a labelled row was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Has nothing to do with what is in the row.
    pub hash: u64,
    /// When it was asked about, in microseconds since 1970, by its id.
    pub made_us: i64,
    /// Of classes 1 where it is another, else 0; of numbers how far it is off.
    pub loss: f64,
}

/// Parts into which the time is cut of which not all is read.
const PARTS: i64 = 60;

/// The ends of equal parts of the time, which together have about so many rows; none where all files have no more.
pub(super) fn parts(files: &[Arc<Entry>], range: Range, rows_max: u64) -> Option<Vec<Ids>> {
    let rows: u64 = files.iter().map(|it| it.rows).sum();
    let first = files.iter().map(|it| it.times_us.0).min()?;
    let last = files.iter().map(|it| it.times_us.1).max()?;
    let time = (first.max(range.from_us), last.min(range.to_us));
    (rows > rows_max).then(|| ends(time, rows_max as f64 / rows as f64))
}

/// The ends of equal parts of the time, each so great a share of its part.
fn ends((first, last): (i64, i64), share: f64) -> Vec<Ids> {
    let length = last.saturating_sub(first).max(0) / PARTS;
    let read = (length as f64 * share) as i64;
    let id = |time_us: i64| u128::from((time_us.max(0) / 1000).unsigned_abs()) << 80;
    let part = |part: i64| {
        let to = first + (part + 1) * length;
        Ids {
            from: id(to - read),
            // What came after the files is read too.
            to: (part + 1 < PARTS).then(|| id(to)),
        }
    };
    (0..PARTS).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_every_part_of_the_time_is_read() {
        const MINUTE: i64 = 60_000_000;
        let from = 1_000 * MINUTE;
        let parts = ends((from, from + 60 * MINUTE), 0.25);
        assert_eq!(parts.len(), 60);
        let id = |minutes: f64| ((minutes * 60_000.0) as u128) << 80;
        let of = |from: f64, to: Option<f64>| Ids {
            from: id(from),
            to: to.map(id),
        };
        assert_eq!(parts[0], of(1_000.75, Some(1_001.0)));
        assert_eq!(parts[30], of(1_030.75, Some(1_031.0)));
        assert_eq!(parts[59], of(1_059.75, None));
        // No time at all: it is all at its end.
        assert_eq!(ends((from, from), 0.5)[59], of(1_000.0, None));
        assert_eq!(ends((from, 0), 0.5)[59], of(1_000.0, None));
    }
}
