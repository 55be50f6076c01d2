//! Reads a record from its front.

use crate::record::PREDICTIONS;

/// A record cannot be read although its checksum is right: it was written by another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

pub(crate) type Read<T> = Result<T, Unreadable>;

/// What of a record was not read yet.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(record: &'a [u8]) -> Self {
        Self { rest: record }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Unreadable)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Unreadable)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn number(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn size(&mut self) -> Read<usize> {
        usize::try_from(self.number()?).map_err(|_| Unreadable)
    }

    pub(super) fn double(&mut self) -> Read<f64> {
        self.array().map(f64::from_le_bytes)
    }

    pub(crate) fn text(&mut self) -> Read<Option<&'a str>> {
        let len = u16::from_le_bytes(self.array()?);
        if len == u16::MAX {
            return Ok(None);
        }
        let bytes = self.take(usize::from(len))?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| Unreadable)
    }

    /// The bytes of a string of a tensor.
    pub(super) fn string(&mut self) -> Read<&'a [u8]> {
        let len = self.size()?;
        self.take(len)
    }
}

/// What stands in front of a record of predictions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) place: Place,
    pub(super) count: u32,
    pub(super) numbers: [u32; 4],
    pub(super) used: [f32; 4],
    pub(super) texts: [Option<&'a str>; 5],
}

/// Where a record's rows stand among all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) layout: u32,
    pub(crate) id: [u8; 16],
    /// When the request came.
    pub(crate) time_us: i64,
    /// The number of its first row in the request.
    pub(crate) first: u32,
}

impl Place {
    /// Without reading more of the record than that.
    pub(crate) fn read(record: &[u8]) -> Read<Self> {
        let mut reader = Reader::new(record);
        if reader.byte()? != PREDICTIONS {
            return Err(Unreadable);
        }
        let layout = reader.number()?;
        let id = reader.array()?;
        let time_us = i64::from_le_bytes(reader.array()?);
        let first = reader.number()?;
        Ok(Self {
            layout,
            id,
            time_us,
            first,
        })
    }
}

/// Where a record says how long its request took: behind its kind, layout, id, time, first row, how many rows, in the
/// queue, in the run.
const TOTAL_AT: usize = 1 + 4 + 16 + 8 + 4 * 4;
/// Where its texts begin, of which the arm is the first: behind that, the rows of its batch, and four more numbers.
pub(crate) const TEXTS_AT: usize = TOTAL_AT + 4 * 6;

/// How long a record's request took, in microseconds; 0 where it is too short to say.
pub(crate) fn total_us(record: &[u8]) -> u32 {
    let bytes = record.get(TOTAL_AT..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |it| u32::from_le_bytes(*it))
}

/// How its version was chosen; nothing where it is too short to say.
pub(crate) fn arm(record: &[u8]) -> &[u8] {
    let said = record.get(TEXTS_AT..).and_then(<[u8]>::split_first_chunk);
    let arm = said.and_then(|(len, rest)| rest.get(..usize::from(u16::from_le_bytes(*len))));
    arm.unwrap_or_default()
}

impl<'a> Head<'a> {
    /// Without reading the tensors behind it.
    pub(crate) fn of(record: &'a [u8]) -> Read<Self> {
        Self::read(&mut Reader::new(record))
    }

    /// How long the request took, in microseconds.
    pub(crate) fn total_us(&self) -> u32 {
        self.numbers[2]
    }

    /// How the version was chosen.
    pub(crate) fn arm(&self) -> &'a str {
        self.texts[0].unwrap_or_default()
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Read<Self> {
        let place = Place::read(reader.rest)?;
        reader.take(1 + 4 + 16 + 8 + 4)?;
        let count = reader.number()?;
        let word = |words: &[u8; 16], at: usize| -> [u8; 4] {
            [words[at], words[at + 1], words[at + 2], words[at + 3]]
        };
        let numbers = reader.array::<16>()?;
        let used = reader.array::<16>()?;
        let mut texts = [None; 5];
        for text in &mut texts {
            *text = reader.text()?;
        }
        Ok(Self {
            place,
            count,
            numbers: [0, 4, 8, 12].map(|at| u32::from_le_bytes(word(&numbers, at))),
            used: [0, 4, 8, 12].map(|at| f32::from_le_bytes(word(&used, at))),
            texts,
        })
    }
}
