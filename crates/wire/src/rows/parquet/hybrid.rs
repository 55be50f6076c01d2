//! Parquet's hybrid of run-length encoding and bit packing: small whole numbers, such as levels and places in
//! a dictionary.
//!
//! Source: `Encodings.md` of Apache Parquet's format, "Run Length Encoding / Bit-Packing Hybrid".

use domain::Refusal;

use super::malformed;

/// Reads numbers of `width` bits.
pub(super) struct Hybrid<'a> {
    bytes: &'a [u8],
    width: u32,
    run: Run<'a>,
}

enum Run<'a> {
    Same {
        number: u32,
        left: u64,
    },
    Packed {
        bytes: &'a [u8],
        at: u64,
        count: u64,
    },
}

impl<'a> Hybrid<'a> {
    pub(super) fn new(bytes: &'a [u8], width: u8) -> Result<Self, Refusal> {
        if width > 32 {
            return Err(malformed(format!("numbers of {width} bits")));
        }
        let (number, left) = (0, 0);
        Ok(Self {
            bytes,
            width: u32::from(width),
            run: Run::Same { number, left },
        })
    }

    pub(super) fn next(&mut self) -> Result<u32, Refusal> {
        loop {
            match &mut self.run {
                Run::Same { number, left } if *left > 0 => {
                    *left -= 1;
                    return Ok(*number);
                }
                Run::Packed { bytes, at, count } if *at < *count => {
                    let bit = *at * u64::from(self.width);
                    *at += 1;
                    return Ok(unpack(bytes, bit, self.width));
                }
                Run::Same { .. } | Run::Packed { .. } => self.run = self.next_run()?,
            }
        }
    }

    fn next_run(&mut self) -> Result<Run<'a>, Refusal> {
        let ended = || malformed("a page has too few values");
        let mut head: u64 = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or_else(ended)?;
            self.bytes = rest;
            if shift > 28 {
                return Err(malformed("a run is too long"));
            }
            head |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let length = head >> 1;
        if head & 1 == 1 {
            // Groups of eight. The last run of a page may be cut off after its last value.
            let count = length * 8;
            let whole = usize::try_from(length * u64::from(self.width)).map_err(|_| ended())?;
            let (bytes, rest) = self.bytes.split_at(whole.min(self.bytes.len()));
            self.bytes = rest;
            let there = match self.width {
                0 => count,
                width => bytes.len() as u64 * 8 / u64::from(width),
            };
            let count = count.min(there);
            return Ok(Run::Packed {
                bytes,
                at: 0,
                count,
            });
        }
        let width = self.width.div_ceil(8) as usize;
        let (bytes, rest) = self.bytes.split_at_checked(width).ok_or_else(ended)?;
        self.bytes = rest;
        let mut number = [0; 4];
        number[..width].copy_from_slice(bytes);
        Ok(Run::Same {
            number: u32::from_le_bytes(number),
            left: length,
        })
    }
}

/// `width` bits from bit `bit` on, the lowest first; the caller knows that they are there.
fn unpack(bytes: &[u8], bit: u64, width: u32) -> u32 {
    let start = (bit / 8) as usize;
    // 32 bits from anywhere in a byte touch five bytes.
    let mut window = [0; 8];
    for (to, from) in window.iter_mut().zip(bytes.iter().skip(start).take(5)) {
        *to = *from;
    }
    let mask = (1u64 << width) - 1;
    ((u64::from_le_bytes(window) >> (bit % 8)) & mask) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], width: u8, want: &[u32]) {
        let mut numbers = Hybrid::new(bytes, width).expect("a width");
        for number in want {
            assert_eq!(numbers.next().as_ref(), Ok(number));
        }
        assert!(numbers.next().is_err(), "there are no more");
    }

    #[test]
    fn runs_of_both_kinds_are_read() {
        // The format's own example: 0 to 7 in three bits each.
        let packed = [0x03, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        check(&packed, 3, &[0, 1, 2, 3, 4, 5, 6, 7]);
        check(&[0x06, 0x05], 3, &[5, 5, 5]);
        check(&[0x02, 0x01, 0x02, 0x02], 4, &[1, 2]);
        check(&[0x02, 1, 2, 3, 4], 32, &[0x0403_0201]);
        check(&[0x06], 0, &[0, 0, 0]);
    }

    #[test]
    fn nothing_is_made_up() {
        check(&[], 1, &[]);
        check(&[0x02], 1, &[]);
        check(&[0x03, 0b0000_0101], 1, &[1, 0, 1, 0, 0, 0, 0, 0]);
        check(&[0x03, 0xff], 8, &[255]);
        check(&[0x00, 0x01, 0x00, 0x01], 1, &[]);
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 1, &[]);
        assert!(Hybrid::new(&[], 33).is_err());
    }
}
