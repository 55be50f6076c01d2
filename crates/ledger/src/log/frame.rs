//! How records lie in a segment: each behind a head of 16 bytes, at a multiple of 8 bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `WLOG` |
//! | 4 | length of the record |
//! | 4 | rows in it |
//! | 4 | CRC-32 (IEEE) of the two numbers before and of the record |
//!
//! All numbers are little-endian. Behind the last record the file is zero.

/// Bytes before a record.
pub(crate) const HEAD_BYTES: usize = 16;
const MAGIC: [u8; 4] = *b"WLOG";
const ALIGN: usize = 8;

/// What a record takes in the file.
pub(crate) fn framed_bytes(record: usize) -> usize {
    (HEAD_BYTES + record).next_multiple_of(ALIGN)
}

/// The head of a record.
pub(crate) fn head(record: &[u8], rows: u32) -> [u8; HEAD_BYTES] {
    // Records are bounded far below 4 GiB by the log.
    let len = u32::try_from(record.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    let rows = rows.to_le_bytes();
    let crc = checksum(len, rows, record).to_le_bytes();
    let mut head = [0; HEAD_BYTES];
    for (to, from) in head.chunks_exact_mut(4).zip([MAGIC, len, rows, crc]) {
        to.copy_from_slice(&from);
    }
    head
}

fn checksum(len: [u8; 4], rows: [u8; 4], record: &[u8]) -> u32 {
    let mut numbers = [0; 8];
    numbers[..4].copy_from_slice(&len);
    numbers[4..].copy_from_slice(&rows);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&numbers);
    hasher.update(record);
    hasher.finalize()
}

/// How many of the first bytes hold whole records, as far as their heads say so.
pub(crate) fn whole_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + HEAD_BYTES)
        && head[..4] == MAGIC
    {
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let end = usize::try_from(len).map_or(usize::MAX, |it| at.saturating_add(framed_bytes(it)));
        if end > bytes.len() {
            break;
        }
        at = end;
    }
    at
}

/// What reading a segment finds, one after another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A whole record.
    Record {
        /// Where its head begins.
        at: usize,
        rows: u32,
        record: &'a [u8],
    },
    /// Bytes that are no record, with whole records behind them: the disk, or somebody, changed them.
    Damaged {
        at: usize,
        bytes: usize,
        /// As many as the damaged head says, where it can still be read.
        rows: Option<u32>,
    },
    /// Bytes behind the last whole record that are not zero: a record that was being written when the
    /// process or the machine stopped.
    Torn { at: usize, bytes: usize },
}

/// Reads the records of a segment.
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether a record is one only if its checksum says so.
    is_checked: fn(&[u8]) -> bool,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            is_checked: |_| true,
        }
    }

    /// The same for who reads the records again later: where the heads say that nothing else is there, the checksums of
    /// those alone are looked at that are to be. All of them cost more than the rest of looking where records lie.
    pub(crate) fn by_heads(bytes: &'a [u8], is_checked: fn(&[u8]) -> bool) -> Self {
        let frames = Self::new(bytes);
        match whole_bytes(bytes) == bytes.len() {
            true => Self {
                is_checked,
                ..frames
            },
            false => frames,
        }
    }

    fn word(&self, at: usize) -> Option<[u8; 4]> {
        self.bytes.get(at..at + 4)?.try_into().ok()
    }

    /// The record whose head begins at `at`.
    fn whole(&self, at: usize) -> Option<(u32, &'a [u8])> {
        if self.word(at)? != MAGIC {
            return None;
        }
        let (len, rows, crc) = (self.word(at + 4)?, self.word(at + 8)?, self.word(at + 12)?);
        let start = at + HEAD_BYTES;
        let end = start.checked_add(usize::try_from(u32::from_le_bytes(len)).ok()?)?;
        let record = self.bytes.get(start..end)?;
        let is_whole =
            !(self.is_checked)(record) || checksum(len, rows, record) == u32::from_le_bytes(crc);
        is_whole.then_some((u32::from_le_bytes(rows), record))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let at = self.at;
        if at >= self.bytes.len() {
            return None;
        }
        if let Some((rows, record)) = self.whole(at) {
            self.at = at + framed_bytes(record.len());
            return Some(Found::Record { at, rows, record });
        }
        self.at = self.bytes.len();
        let rest = &self.bytes[at..];
        let last = last_not_zero(rest)?;
        // Magic bytes may stand in a record by chance; the checksum then says that it is none.
        let next = (at + ALIGN..=at + last)
            .step_by(ALIGN)
            .find(|at| self.word(*at) == Some(MAGIC) && self.whole(*at).is_some());
        let Some(next) = next else {
            return Some(Found::Torn {
                at,
                bytes: last + 1,
            });
        };
        self.at = next;
        let rows = (self.word(at) == Some(MAGIC))
            .then(|| self.word(at + 8).map(u32::from_le_bytes))
            .flatten();
        Some(Found::Damaged {
            at,
            bytes: next - at,
            rows,
        })
    }
}

/// The place of the last byte that is not zero. Most of a segment may be zeros, so it looks at many at once.
fn last_not_zero(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut end = bytes.len();
    for piece in bytes.rchunks(ZEROS.len()) {
        let start = end - piece.len();
        if *piece != ZEROS[..piece.len()] {
            return piece.iter().rposition(|it| *it != 0).map(|it| start + it);
        }
        end = start;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in records {
            bytes.extend(head(record, 2));
            bytes.extend(*record);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes.resize(bytes.len() + 64, 0);
        bytes
    }

    fn shown(bytes: &[u8]) -> Vec<String> {
        Frames::new(bytes)
            .map(|found| match found {
                Found::Record { record, .. } => String::from_utf8_lossy(record).into_owned(),
                Found::Damaged { rows, .. } => format!("damaged, {rows:?} rows"),
                Found::Torn { bytes, .. } => format!("torn, {bytes} bytes"),
            })
            .collect()
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let bytes = file(&[b"one", b"second", b"", b"the last one"]);
        assert_eq!(shown(&bytes), ["one", "second", "", "the last one"]);
        assert_eq!(shown(&[]), [""; 0]);
        assert_eq!(shown(&[0; 100]), [""; 0]);
    }

    #[test]
    fn what_is_cut_is_not_whole() {
        let bytes = file(&[b"one", b"second", b"the last one"]);
        let ends = [3, 6, 12].map(framed_bytes);
        let ends = [0, ends[0], ends[0] + ends[1], ends.iter().sum()];
        for cut in 0..=bytes.len() {
            let whole = ends.iter().rev().find(|it| **it <= cut).copied();
            assert_eq!(Some(whole_bytes(&bytes[..cut])), whole, "{cut}");
        }
        let mut damaged = bytes.clone();
        damaged[ends[1]] ^= 1;
        assert_eq!(whole_bytes(&damaged), ends[1]);
        // A length that cannot be.
        let mut damaged = bytes;
        damaged[ends[1] + 4..ends[1] + 8].fill(0xff);
        assert_eq!(whole_bytes(&damaged), ends[1]);
    }

    #[test]
    fn any_flipped_bit_is_found_and_costs_its_own_record_only() {
        let bytes = file(&[b"one", b"second", b"third"]);
        let second = framed_bytes(3)..framed_bytes(3) + HEAD_BYTES + 6;
        for at in second {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let shown = shown(&flipped);
                assert_eq!((&*shown[0], &*shown[2]), ("one", "third"), "{shown:?}");
                assert!(shown[1].starts_with("damaged"), "{shown:?}");
            }
        }
    }

    #[test]
    fn by_heads_only_what_is_to_be_checked_is() {
        let by_heads = |bytes: &[u8]| {
            let records = Frames::by_heads(bytes, |it| it.len() == 6);
            records
                .filter(|it| matches!(it, Found::Record { .. }))
                .count()
        };
        let mut bytes = file(&[b"one", b"second", b"third"]);
        bytes.truncate(whole_bytes(&bytes));
        assert_eq!(by_heads(&bytes), 3);
        let (one, second) = (HEAD_BYTES, framed_bytes(3) + HEAD_BYTES);
        bytes[one] ^= 1;
        assert_eq!(by_heads(&bytes), 3);
        bytes[second] ^= 1;
        assert_eq!(by_heads(&bytes), 2);
        // Where a head is damaged all are checked.
        bytes[second - HEAD_BYTES] ^= 1;
        assert_eq!(by_heads(&bytes), 1);
    }

    #[test]
    fn a_torn_tail_is_told_wherever_it_tore() {
        let bytes = file(&[b"one", b"second"]);
        let second = framed_bytes(3);
        for cut in second + 1..second + HEAD_BYTES + 6 {
            let mut torn = bytes.clone();
            torn[cut..].fill(0);
            let shown = shown(&torn);
            assert_eq!(shown[0], "one");
            assert!(
                shown.len() == 2 && shown[1].starts_with("torn"),
                "{shown:?}"
            );
        }
    }
}
