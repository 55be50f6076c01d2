//! Texts of one column.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt::Write;

use datasketches::frequencies::{ErrorType, FrequentItemsSketch};

use super::bytes::{Kind, Reader, Writer, checked};
use super::distinct::Distinct;
use super::{ROWS_MAX, Unreadable};

/// A text of more bytes is kept as its first ones and a hash of all.
pub const TEXT_BYTES_MAX: usize = 256;

/// Slots for counters; three of four are filled at most.
const SLOTS: usize = 1024;

/// Texts of one column in bounded memory, at most about 300 KiB, where all are long.
///
/// A text of more than [`TEXT_BYTES_MAX`] bytes counts, and is told, as its beginning, `…` and sixteen digits of its
/// FNV-1a hash, [`TEXT_BYTES_MAX`] bytes at most: two long ones are mixed up where both agree, or where one was made
/// to look so.
#[derive(Clone, Debug)]
pub struct Words {
    missing: u64,
    frequent: FrequentItemsSketch<String>,
    distinct: Distinct,
}

impl Default for Words {
    fn default() -> Self {
        Self::new()
    }
}

impl Words {
    /// Of no rows.
    pub fn new() -> Self {
        let frequent = FrequentItemsSketch::new(SLOTS);
        Self {
            missing: 0,
            frequent: frequent.expect("the number of slots is a power of two"),
            distinct: Distinct::default(),
        }
    }

    /// Adds one row.
    pub fn add(&mut self, text: &str) {
        let text = shortened(text);
        self.frequent.update_ref(&*text);
        self.distinct.add(&*text);
    }

    /// Adds rows without a text.
    pub fn add_missing(&mut self, count: u64) {
        self.missing += count;
    }

    /// Adds the rows of another column, or of another part of this one.
    pub fn merge(&mut self, other: &Self) {
        self.missing += other.missing;
        self.frequent.merge(&other.frequent);
        self.distinct.merge(&other.distinct);
    }

    /// How many there are, with missing ones.
    pub fn rows(&self) -> u64 {
        self.missing + self.frequent.total_weight()
    }

    /// How many have no text.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// How many different texts there are: exact up to 768, with a standard error of 1.6 % from there on.
    pub fn distinct(&self) -> f64 {
        if self.error() == 0 {
            self.frequent.num_active_items() as f64
        } else {
            self.distinct.estimate()
        }
    }

    /// The texts that most rows may have, and the most rows that each may have: by count, the greatest first, then by
    /// text. A count may be too high by [`Self::error`].
    pub fn frequent(&self, most: usize) -> Vec<(String, u64)> {
        // Of the crate's two lists this is the one of all that have a counter.
        let rows = self.frequent.frequent_items(ErrorType::NoFalseNegatives);
        let told = |it: &datasketches::frequencies::Row<String>| (it.item().clone(), it.estimate());
        let mut texts: Vec<(String, u64)> = rows.iter().map(told).collect();
        texts.sort_unstable_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
        texts.truncate(most);
        texts
    }

    /// How much any count may be too high; a text that is not told has at most so many rows. None up to 768 different
    /// texts, usually below 0.34 % of the rows beyond.
    pub fn error(&self) -> u64 {
        self.frequent.maximum_error()
    }

    /// See [`Self::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Words);
        writer.count(self.missing);
        writer.block(&self.frequent.serialize());
        writer.block(&self.distinct.to_bytes());
        writer.finish()
    }

    /// What [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// Where the bytes are not those of texts.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes, Kind::Words)?;
        let missing = reader.count_to(ROWS_MAX)?;
        let frequent = frequent(reader.block()?)?;
        let distinct = Distinct::read(reader.block()?)?;
        reader.finish()?;
        Ok(Self {
            missing,
            frequent,
            distinct,
        })
    }
}

/// The crate reserves as many slots as the bytes say, up to 2^30, and adds counts without a look at their size.
fn frequent(bytes: &[u8]) -> Result<FrequentItemsSketch<String>, Unreadable> {
    let slots_log2 = SLOTS.ilog2() as u8;
    let ours =
        bytes.get(3) == Some(&slots_log2) && bytes.get(4).is_some_and(|it| *it <= slots_log2);
    checked((), ours)?;
    let sketch =
        FrequentItemsSketch::<String>::deserialize(bytes).map_err(|_| Unreadable::Damaged)?;
    let fits = sketch.total_weight() <= ROWS_MAX && sketch.maximum_error() <= ROWS_MAX;
    let told = sketch.frequent_items(ErrorType::NoFalseNegatives);
    let short = told.iter().all(|it| it.item().len() <= TEXT_BYTES_MAX);
    checked(sketch, fits && short)
}

fn shortened(text: &str) -> Cow<'_, str> {
    const DIGITS: usize = 16;
    if text.len() <= TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let mut end = TEXT_BYTES_MAX - '…'.len_utf8() - DIGITS;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut kept = format!("{}…", &text[..end]);
    // Writing to a string does not fail.
    let _ = write!(kept, "{:0DIGITS$x}", fnv_1a(text.as_bytes()));
    Cow::Owned(kept)
}

/// Fowler, Noll & Vo's hash, 64 bits (RFC 9923).
fn fnv_1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::super::bytes::tests::spoil;
    use super::*;

    /// `often` in every fourth row, the others all different.
    fn texts(rows: std::ops::Range<u32>) -> Words {
        let mut words = Words::new();
        for row in rows {
            if row % 4 == 0 {
                words.add("often");
            } else {
                words.add(&format!("word {row}"));
            }
        }
        words
    }

    #[test]
    fn few_are_exact() {
        let mut words = Words::new();
        assert_eq!(
            (words.rows(), words.distinct(), words.frequent(3)),
            (0, 0.0, vec![])
        );
        ["b", "a", "", "c", "a"].iter().for_each(|it| words.add(it));
        words.add_missing(2);
        assert_eq!(
            (words.rows(), words.missing(), words.distinct()),
            (7, 2, 4.0)
        );
        let told = [("a", 2), ("", 1), ("b", 1)].map(|it| (it.0.to_owned(), it.1));
        assert_eq!((words.frequent(3), words.error()), (told.to_vec(), 0));
    }

    #[test]
    fn parts_of_many_merge() {
        let mut words = texts(0..20_000);
        words.merge(&texts(20_000..40_000));
        assert_eq!(words.rows(), 40_000);
        let (text, count) = words.frequent(1).remove(0);
        assert!(text == "often" && (10_000..=10_000 + words.error()).contains(&count));
        assert!(words.error() < 40_000 / 100);
        assert!((words.distinct() / 30_001.0 - 1.0).abs() < 0.05);
        let again = Words::from_bytes(&words.to_bytes()).unwrap();
        assert_eq!(again.frequent(usize::MAX), words.frequent(usize::MAX));
        assert_eq!(
            (again.rows(), again.distinct()),
            (words.rows(), words.distinct())
        );
        assert_eq!(texts(0..9000).to_bytes(), texts(0..9000).to_bytes());
    }

    #[test]
    fn long_ones_are_kept_short_and_apart() {
        let mut words = Words::new();
        let long = "ä".repeat(200);
        for end in ["x", "y", "y"] {
            words.add(&format!("{long}{end}"));
        }
        let told = words.frequent(9);
        assert_eq!((told.len(), told[0].1, words.distinct()), (2, 2, 2.0));
        assert!(
            told.iter()
                .all(|it| it.0.len() <= TEXT_BYTES_MAX && it.0.contains('…'))
        );
        // The offset basis and a known value of FNV-1a.
        assert_eq!(
            (fnv_1a(b""), fnv_1a(b"a")),
            (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c)
        );
        assert!(Words::from_bytes(&words.to_bytes()).is_ok());
    }

    #[test]
    fn no_bytes_do_harm() {
        let many = texts(0..4000);
        let using = |mut it: Words| {
            it.merge(&it.clone());
            it.add("word 1");
            let _ = (it.rows(), it.distinct(), it.frequent(5), it.error());
            it.merge(&many);
        };
        spoil(&Words::new().to_bytes(), 1, Words::from_bytes, using);
        spoil(&texts(0..40).to_bytes(), 1, Words::from_bytes, using);
        spoil(&many.to_bytes(), 199, Words::from_bytes, using);
    }
}
