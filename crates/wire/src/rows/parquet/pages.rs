//! The pages of a column: checked, decompressed and taken apart into values.

use bytes::Bytes;
use domain::Refusal;

use super::hybrid::Hybrid;
use super::thrift::{self, Fields};
use super::{Physical, malformed};

/// Bytes that a body may still take in memory.
pub(super) struct Budget {
    left: u64,
    limit: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        let left = limit;
        Self { left, limit }
    }

    pub(super) fn take(&mut self, bytes: u64) -> Result<(), Refusal> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or(Refusal::TooLarge {
            what: "the decoded Parquet body",
            limit: self.limit,
            got: None,
        })?;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Plain,
    Snappy,
    Zstandard,
}

/// The bytes of a column in a row group.
pub(super) struct Chunk {
    bytes: Bytes,
    codec: Codec,
    physical: Physical,
}

impl Chunk {
    /// Finds them as the column's entry in the footer says.
    pub(super) fn find(
        entry: &Fields<'_>,
        body: &Bytes,
        physical: Physical,
    ) -> Result<Self, Refusal> {
        if entry.has(1) {
            return Err(malformed("a column stands in another file"));
        }
        let Some(entry) = entry.structure(3) else {
            return Err(malformed(
                "a column has no description, or an encrypted one",
            ));
        };
        let codec = match entry.whole(4) {
            Some(0) => Codec::Plain,
            Some(1) => Codec::Snappy,
            Some(6) => Codec::Zstandard,
            other => {
                let name = match other {
                    Some(2) => "GZIP",
                    Some(3) => "LZO",
                    Some(4) => "BROTLI",
                    Some(5 | 7) => "LZ4",
                    _ => "unknown",
                };
                return Err(Refusal::Unsupported {
                    what: format!("Parquet with {name} compression"),
                    hint: "write it with Snappy, Zstandard or no compression".to_owned(),
                });
            }
        };
        let start = match entry.whole(11) {
            // Some writers give 0 where there is no dictionary; the file's mark stands there.
            Some(offset) if offset > 0 => entry.size(11, "the offset of a dictionary"),
            _ => entry.size(9, "the offset of a column"),
        };
        let start = start.map_err(malformed)?;
        let length = entry.size(7, "the size of a column").map_err(malformed)?;
        let end = start.saturating_add(length);
        if end > body.len() as u64 {
            let got = body.len();
            let why = format!("a column ends at byte {end} of {got}");
            return Err(malformed(why));
        }
        Ok(Self {
            bytes: body.slice(start as usize..end as usize),
            codec,
            physical,
        })
    }
}

/// How the values of a page are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Plain,
    Dictionary,
    /// Truth values only.
    RunLength,
}

/// A page of values: rows of a flat column.
struct Page {
    rows: usize,
    /// Which rows have a value, in the hybrid encoding; none where all do.
    levels: Option<Bytes>,
    encoding: Encoding,
    values: Bytes,
}

/// The most bytes of a page's header. They are few, but for statistics of long texts.
const HEADER_MAX: usize = 1024 * 1024;

/// What a page takes of the budget beside its own bytes. These count although nothing holds them twice:
/// thousands of columns may claim the same ones, and each would be worked through again.
const PAGE_BYTES: u64 = 256;

/// Hands over the values of a chunk of `rows` rows as the bytes of the plain encoding, a truth value as
/// one byte; none where one is missing.
pub(super) fn read(
    chunk: Chunk,
    rows: usize,
    optional: bool,
    budget: &mut Budget,
    mut each: impl FnMut(Option<&[u8]>, &mut Budget) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut pages = Pages {
        chunk,
        optional,
        at: 0,
        dictionary: None,
        budget,
    };
    let mut left = rows;
    while left > 0 {
        let Some(page) = pages.next()? else {
            return Err(malformed(format!("a column has {left} rows too few")));
        };
        let Some(after) = left.checked_sub(page.rows) else {
            return Err(malformed("a column has rows too many"));
        };
        left = after;
        let mut values = Values::new(&page, pages.chunk.physical, pages.dictionary.as_deref())?;
        let mut levels = match &page.levels {
            None => None,
            Some(levels) => Some(Hybrid::new(levels, 1)?),
        };
        for _ in 0..page.rows {
            let present = match &mut levels {
                None => true,
                Some(levels) => levels.next()? != 0,
            };
            let value = if present { Some(values.next()?) } else { None };
            each(value, pages.budget)?;
        }
    }
    Ok(())
}

/// Reads the pages of a chunk one by one.
struct Pages<'a> {
    chunk: Chunk,
    optional: bool,
    at: usize,
    dictionary: Option<Vec<Bytes>>,
    budget: &'a mut Budget,
}

impl Pages<'_> {
    fn next(&mut self) -> Result<Option<Page>, Refusal> {
        while self.at < self.chunk.bytes.len() {
            let rest = self.chunk.bytes.slice(self.at..);
            self.budget.take(PAGE_BYTES)?;
            let head = &rest[..rest.len().min(HEADER_MAX)];
            let (header, length) = thrift::read(head).map_err(malformed)?;
            let packed = count(&header, 3)?;
            let full = count(&header, 2)?;
            let Some(end) = length.checked_add(packed).filter(|end| *end <= rest.len()) else {
                return Err(malformed("a page is longer than its column"));
            };
            self.budget.take(end as u64)?;
            self.at += end;
            let page = rest.slice(length..end);
            let no_header = || malformed("a page has no header");
            match header.whole(1) {
                Some(0) => {
                    let header = header.structure(5).ok_or_else(no_header)?;
                    return self.data(header, &page, full).map(Some);
                }
                Some(2) => {
                    let header = header.structure(7).ok_or_else(no_header)?;
                    self.read_dictionary(header, &page, full)?;
                }
                Some(3) => {
                    let header = header.structure(8).ok_or_else(no_header)?;
                    return self.data_v2(header, &page, full).map(Some);
                }
                // An index, or what later versions add.
                _ => {}
            }
        }
        Ok(None)
    }

    fn read_dictionary(
        &mut self,
        header: &Fields<'_>,
        page: &Bytes,
        full: usize,
    ) -> Result<(), Refusal> {
        if self.dictionary.is_some() {
            return Err(malformed("a column has two dictionaries"));
        }
        if !matches!(header.whole(2), Some(0 | 2)) {
            return Err(malformed("a dictionary is not plain"));
        }
        let rows = count(header, 1)?;
        self.budget.take(rows as u64 * size_of::<Bytes>() as u64)?;
        let bytes = self.unpack(page, full)?;
        let page = Page {
            rows,
            levels: None,
            encoding: Encoding::Plain,
            values: bytes.clone(),
        };
        if self.chunk.physical == Physical::Boolean {
            return Err(malformed("truth values have a dictionary"));
        }
        let mut values = Values::new(&page, self.chunk.physical, None)?;
        let values = (0..rows).map(|_| Ok(bytes.slice_ref(values.next()?)));
        self.dictionary = Some(values.collect::<Result<_, Refusal>>()?);
        Ok(())
    }

    fn data(&mut self, header: &Fields<'_>, page: &Bytes, full: usize) -> Result<Page, Refusal> {
        let encoding = self.encoding(header.whole(2))?;
        let mut values = self.unpack(page, full)?;
        let mut levels = None;
        if self.optional {
            if header.whole(3) != Some(RLE) {
                return Err(malformed("a page's levels are not run-length encoded"));
            }
            levels = Some(prefixed(&mut values)?);
        }
        Ok(Page {
            rows: count(header, 1)?,
            levels,
            encoding,
            values,
        })
    }

    fn data_v2(&mut self, header: &Fields<'_>, page: &Bytes, full: usize) -> Result<Page, Refusal> {
        let (definition, repetition) = (count(header, 5)?, count(header, 6)?);
        let levels = definition.saturating_add(repetition);
        if levels > page.len() || levels > full {
            return Err(malformed("a page is shorter than its levels"));
        }
        // The levels stand in front of what is compressed.
        let values = page.slice(levels..);
        let values = match header.whole(7) {
            Some(0) => values,
            _ => self.unpack(&values, full - levels)?,
        };
        Ok(Page {
            rows: count(header, 1)?,
            levels: self.optional.then(|| page.slice(repetition..levels)),
            encoding: self.encoding(header.whole(4))?,
            values,
        })
    }

    fn encoding(&self, number: Option<i64>) -> Result<Encoding, Refusal> {
        let name = match number {
            Some(0) => return Ok(Encoding::Plain),
            Some(2 | 8) => return Ok(Encoding::Dictionary),
            Some(RLE) if self.chunk.physical == Physical::Boolean => {
                return Ok(Encoding::RunLength);
            }
            Some(5) => "DELTA_BINARY_PACKED",
            Some(6) => "DELTA_LENGTH_BYTE_ARRAY",
            Some(7) => "DELTA_BYTE_ARRAY",
            Some(9) => "BYTE_STREAM_SPLIT",
            _ => return Err(malformed("a page's encoding is not one of its type")),
        };
        Err(Refusal::Unsupported {
            what: format!("Parquet with the encoding {name}"),
            hint: "write it with plain or dictionary encoding".to_owned(),
        })
    }

    /// A page as it was before it was compressed, which took `full` bytes.
    fn unpack(&mut self, page: &Bytes, full: usize) -> Result<Bytes, Refusal> {
        let wrong = |why: String| malformed(format!("a page cannot be decompressed: {why}"));
        if self.chunk.codec == Codec::Plain || full == 0 {
            return Ok(page.slice(..page.len().min(full)));
        }
        self.budget.take(full as u64)?;
        let unpacked = match self.chunk.codec {
            Codec::Zstandard => {
                zstd::bulk::decompress(page, full).map_err(|error| wrong(error.to_string()))?
            }
            Codec::Plain | Codec::Snappy => {
                let failed = |error: snap::Error| wrong(error.to_string());
                let length = snap::raw::decompress_len(page).map_err(failed)?;
                if length > full {
                    return Err(wrong(format!("it has {length} bytes")));
                }
                let mut decoder = snap::raw::Decoder::new();
                decoder.decompress_vec(page).map_err(failed)?
            }
        };
        if unpacked.len() != full {
            let got = unpacked.len();
            return Err(wrong(format!("it has {got} bytes, its header says {full}")));
        }
        Ok(unpacked.into())
    }
}

/// The number of the hybrid encoding.
const RLE: i64 = 3;

fn count(header: &Fields<'_>, id: i16) -> Result<usize, Refusal> {
    let count = header
        .size(id, "a count in a page's header")
        .map_err(malformed)?;
    // They have 32 bits.
    u32::try_from(count)
        .map(|it| it as usize)
        .map_err(|_| malformed(format!("a page's header counts {count}")))
}

/// What comes first in these bytes, behind its length; it is taken out of them.
fn prefixed(bytes: &mut Bytes) -> Result<Bytes, Refusal> {
    let ended = || malformed("a page ends too early");
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(ended)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > rest.len() {
        return Err(ended());
    }
    let mut rest = bytes.split_off(4);
    let first = rest.split_to(length);
    *bytes = rest;
    Ok(first)
}

/// The values of a page one by one.
enum Values<'a> {
    /// Each of so many bytes.
    Fixed(&'a [u8], usize),
    /// Each behind its length.
    Prefixed(&'a [u8]),
    /// A bit each.
    Bits(&'a [u8], usize),
    Runs(Hybrid<'a>),
    Places(Hybrid<'a>, &'a [Bytes]),
}

impl<'a> Values<'a> {
    fn new(
        page: &'a Page,
        physical: Physical,
        dictionary: Option<&'a [Bytes]>,
    ) -> Result<Self, Refusal> {
        let values = &page.values[..];
        Ok(match (page.encoding, physical) {
            (Encoding::Dictionary, _) => {
                let dictionary = dictionary.ok_or_else(|| malformed("a dictionary is missing"))?;
                // A page without a value has no width either.
                let (width, places) = values.split_first().unwrap_or((&0, &[]));
                Self::Places(Hybrid::new(places, *width)?, dictionary)
            }
            (Encoding::RunLength, _) => {
                let runs = values
                    .get(4..)
                    .ok_or_else(|| malformed("a page ends too early"))?;
                Self::Runs(Hybrid::new(runs, 1)?)
            }
            (Encoding::Plain, Physical::Boolean) => Self::Bits(values, 0),
            (Encoding::Plain, Physical::Bytes) => Self::Prefixed(values),
            (Encoding::Plain, Physical::Fixed(width)) => Self::Fixed(values, width),
        })
    }

    fn next(&mut self) -> Result<&'a [u8], Refusal> {
        const TRUTHS: [&[u8]; 2] = [&[0], &[1]];
        let ended = || malformed("a page has too few values");
        match self {
            Self::Fixed(bytes, width) => {
                let (value, rest) = bytes.split_at_checked(*width).ok_or_else(ended)?;
                *bytes = rest;
                Ok(value)
            }
            Self::Prefixed(bytes) => {
                let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(ended)?;
                let length = u32::from_le_bytes(*length) as usize;
                let (value, rest) = rest.split_at_checked(length).ok_or_else(ended)?;
                *bytes = rest;
                Ok(value)
            }
            Self::Bits(bytes, at) => {
                let byte = bytes.get(*at / 8).ok_or_else(ended)?;
                let bit = (byte >> (*at % 8)) & 1;
                *at += 1;
                Ok(TRUTHS[usize::from(bit)])
            }
            Self::Runs(runs) => Ok(TRUTHS[usize::from(runs.next()? != 0)]),
            Self::Places(places, dictionary) => {
                let place = places.next()? as usize;
                let value = dictionary.get(place);
                let value = value.ok_or_else(|| malformed("a value is not in its dictionary"))?;
                Ok(value)
            }
        }
    }
}
