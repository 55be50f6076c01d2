//! Which files of the ledger are merged and which are removed. One action at a time, then look again.
//!
//! R1. Small files of one group (the same kind of rows, model, layout and day) are merged: as soon as there
//!     are [`MERGE_COUNT`], and any two once their day is over.
//! R2. A merge reads no more than [`MERGED_ROWS_MAX`] rows and [`MERGED_BYTES_MAX`] bytes, and always makes
//!     fewer files, so that it ends.
//! R3. A file is removed when its newest row is older than its model's rows are kept, or when its model's
//!     files are too many bytes: then the oldest first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Files of a group from which on they are merged while their day lasts.
pub const MERGE_COUNT: usize = 8;
/// A file with fewer rows and bytes is small.
pub const SMALL_ROWS: u64 = 64 * 1024;
/// See [`SMALL_ROWS`].
pub const SMALL_BYTES: u64 = 16 << 20;
/// The most rows that a merge reads.
pub const MERGED_ROWS_MAX: u64 = 512 * 1024;
/// The most bytes that a merge reads.
pub const MERGED_BYTES_MAX: u64 = 64 << 20;

/// A file, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The same number for files that may be merged.
    pub group: usize,
    /// The same number for files of one model.
    pub model: usize,
    /// The day of its rows, counted from 1970-01-01.
    pub day: i64,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// When its newest row came, in microseconds since 1970.
    pub newest_us: i64,
}

/// How long a model's rows are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// For so many microseconds; without it for ever.
    pub age_us: Option<i64>,
    /// No more bytes of files than this; without it any number.
    pub bytes: Option<u64>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Remove this file.
    Expire(usize),
    /// Make one file of these.
    Merge(Vec<usize>),
    /// Nothing.
    Idle,
}

/// What to do next about `files`. `keep` has a place for each model.
pub fn next(files: &[File], keep: &[Keep], now_us: i64) -> Action {
    if let Some(index) = expired(files, keep, now_us) {
        return Action::Expire(index);
    }
    let today = now_us.div_euclid(crate::time::DAY_US);
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        if file.rows < SMALL_ROWS && file.bytes < SMALL_BYTES {
            groups.entry(file.group).or_default().push(index);
        }
    }
    for (_, mut small) in groups {
        let over = small.first().is_some_and(|it| files[*it].day < today);
        if small.len() < if over { 2 } else { MERGE_COUNT } {
            continue;
        }
        small.sort_by_key(|it| (files[*it].rows, *it));
        let (mut rows, mut bytes) = (0, 0);
        small.retain(|index| {
            rows += files[*index].rows;
            bytes += files[*index].bytes;
            rows <= MERGED_ROWS_MAX && bytes <= MERGED_BYTES_MAX
        });
        if small.len() >= 2 {
            small.sort_unstable();
            return Action::Merge(small);
        }
    }
    Action::Idle
}

fn expired(files: &[File], keep: &[Keep], now_us: i64) -> Option<usize> {
    let keep_of = |file: &File| keep.get(file.model).copied().unwrap_or_default();
    let old = files.iter().position(|file| {
        let age = keep_of(file).age_us;
        age.is_some_and(|age| file.newest_us < now_us.saturating_sub(age))
    });
    if old.is_some() {
        return old;
    }
    let mut bytes: BTreeMap<usize, u64> = BTreeMap::new();
    for file in files {
        *bytes.entry(file.model).or_default() += file.bytes;
    }
    let over = |file: &File| {
        keep_of(file)
            .bytes
            .is_some_and(|max| bytes[&file.model] > max)
    };
    let candidates = files.iter().enumerate().filter(|(_, file)| over(file));
    candidates
        .min_by_key(|(index, file)| (file.newest_us, *index))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DAY_US;

    const NOW: i64 = 100 * DAY_US + 5;

    /// Lines of `group day rows bytes`, and what happens one after another until nothing does.
    fn check(keep: Keep, files: &str, want: &str) {
        let number = |it: &str| it.parse::<u64>().expect("a number");
        let mut files: Vec<File> = files
            .split(';')
            .map(|line| {
                let parts: Vec<u64> = line.split_whitespace().map(number).collect();
                let [group, day, rows, bytes] = parts[..] else {
                    panic!("group, day, rows, bytes")
                };
                File {
                    group: group as usize,
                    model: 0,
                    day: day as i64,
                    rows,
                    bytes,
                    newest_us: day as i64 * DAY_US,
                }
            })
            .collect();
        let mut done = Vec::new();
        loop {
            match next(&files, &[keep], NOW) {
                Action::Idle => break,
                Action::Expire(index) => {
                    done.push(format!("expire day {}", files[index].day));
                    files.remove(index);
                }
                Action::Merge(these) => {
                    done.push(format!("merge {these:?}"));
                    let mut merged = files[these[0]].clone();
                    (merged.rows, merged.bytes) = these.iter().fold((0, 0), |(rows, bytes), it| {
                        (rows + files[*it].rows, bytes + files[*it].bytes)
                    });
                    let mut index = 0;
                    files.retain(|_| {
                        index += 1;
                        !these.contains(&(index - 1))
                    });
                    files.push(merged);
                }
            }
            assert!(done.len() < 100, "it ends");
        }
        assert_eq!(done.join(", "), want);
    }

    #[test]
    fn small_files_of_a_day_that_is_over_become_one() {
        let none = Keep::default();
        check(none, "0 99 10 10; 0 99 10 10; 1 99 10 10", "merge [0, 1]");
        check(none, "0 100 10 10; 0 100 10 10", "");
        check(none, "0 99 200000 10; 0 99 10 10", "");
        let eight = ["0 100 10 10"; 8].join(";");
        check(none, &eight, "merge [0, 1, 2, 3, 4, 5, 6, 7]");
    }

    #[test]
    fn merges_end_though_their_room_is_bounded() {
        let many = ["0 99 60000 15000000"; 12].join(";");
        check(
            Keep::default(),
            &many,
            "merge [0, 1, 2, 3], merge [0, 1, 2, 3], merge [0, 1, 2, 3]",
        );
    }

    #[test]
    fn what_is_old_or_too_much_goes_the_oldest_first() {
        let age = Keep {
            age_us: Some(2 * DAY_US),
            bytes: None,
        };
        check(
            age,
            "0 97 9 9; 1 98 9 9; 2 99 9 9",
            "expire day 97, expire day 98",
        );
        let bytes = Keep {
            age_us: None,
            bytes: Some(20),
        };
        check(bytes, "0 99 9 9; 1 97 9 9; 2 98 9 9", "expire day 97");
    }
}
