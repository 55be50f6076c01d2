//! Sketches as bytes: format, kind, little-endian fields, CRC-32 of all before it.

use super::Unreadable;

/// The number of the one format there is.
pub(super) const FORMAT: u8 = 1;

const CHECKSUM_BYTES: usize = 4;

/// What the bytes are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Numbers = 1,
    Words = 2,
}

/// Fields put one after the other.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(kind: Kind) -> Self {
        Self(vec![FORMAT, kind as u8])
    }

    pub(super) fn count(&mut self, count: u64) {
        self.0.extend(count.to_le_bytes());
    }

    pub(super) fn number(&mut self, number: f64) {
        self.count(number.to_bits());
    }

    pub(super) fn block(&mut self, bytes: &[u8]) {
        self.count(bytes.len() as u64);
        self.0.extend(bytes);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.extend(checksum(&self.0).to_le_bytes());
        self.0
    }
}

/// Fields taken in the order they were put.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], kind: Kind) -> Result<Self, Unreadable> {
        match bytes.first() {
            None => return Err(Unreadable::Damaged),
            Some(format) if *format != FORMAT => return Err(Unreadable::Format(*format)),
            Some(_) => {}
        }
        let (body, end) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(Unreadable::Damaged)?;
        match body {
            [_, of, fields @ ..]
                if *of == kind as u8 && checksum(body) == u32::from_le_bytes(*end) =>
            {
                Ok(Self(fields))
            }
            _ => Err(Unreadable::Damaged),
        }
    }

    pub(super) fn count(&mut self) -> Result<u64, Unreadable> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Unreadable::Damaged)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*field))
    }

    /// At most `most`.
    pub(super) fn count_to(&mut self, most: u64) -> Result<u64, Unreadable> {
        self.count().and_then(|it| checked(it, it <= most))
    }

    /// How many fields of eight bytes follow; never more than there are bytes for.
    pub(super) fn length(&mut self) -> Result<usize, Unreadable> {
        let length = self.count()?;
        checked(length as usize, length <= self.0.len() as u64 / 8)
    }

    pub(super) fn number(&mut self) -> Result<f64, Unreadable> {
        self.count().map(f64::from_bits)
    }

    /// A number that is one, and whose zero has no sign.
    pub(super) fn value(&mut self) -> Result<f64, Unreadable> {
        self.number().and_then(|it| checked(it + 0.0, !it.is_nan()))
    }

    pub(super) fn block(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = self.count()?;
        let length = checked(length as usize, length <= self.0.len() as u64)?;
        let (block, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(block)
    }

    pub(super) fn finish(self) -> Result<(), Unreadable> {
        checked((), self.0.is_empty())
    }
}

/// The value, where what is known of it holds.
pub(super) fn checked<T>(value: T, holds: bool) -> Result<T, Unreadable> {
    if holds {
        Ok(value)
    } else {
        Err(Unreadable::Damaged)
    }
}

/// CRC-32 as of IEEE 802.3: the polynomial reflected, all bits inverted before and after.
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let mut entry = at as u32;
            let mut bit = 0;
            while bit < 8 {
                entry = (entry >> 1) ^ if entry & 1 == 1 { 0xedb8_8320 } else { 0 };
                bit += 1;
            }
            table[at] = entry;
            at += 1;
        }
        table
    };
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    /// The bytes with their checksum made right again, as someone who means harm would.
    pub(in crate::sketch) fn sealed(bytes: &[u8]) -> Vec<u8> {
        Writer(bytes[..bytes.len() - CHECKSUM_BYTES].to_vec()).finish()
    }

    /// Reads beginnings of the bytes and the bytes with one changed, with the old checksum and with a right one; every
    /// `step`th of them.
    pub(in crate::sketch) fn spoil<T>(
        bytes: &[u8],
        step: usize,
        read: impl Fn(&[u8]) -> Result<T, Unreadable>,
        using: impl Fn(T),
    ) {
        assert!(read(bytes).is_ok());
        for place in (0..bytes.len()).step_by(step) {
            let mut spoilt = vec![bytes[..place].to_vec()];
            for change in [0x01, 0x80, 0xff] {
                let mut other = bytes.to_vec();
                other[place] ^= change;
                spoilt.push(other);
            }
            for it in spoilt {
                assert!(read(&it).is_err());
                if it.len() > CHECKSUM_BYTES
                    && let Ok(sketch) = read(&sealed(&it))
                {
                    using(sketch);
                }
            }
        }
    }
}
