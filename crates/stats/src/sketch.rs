//! One column in bounded memory: its numbers or its texts, as sketches that merge and are kept as bytes.
//!
//! R1. The same calls give the same sketch: hashes have fixed seeds, and the coin that thins out quantiles is thrown
//!     by the data. Quantiles are our own for that reason: the coin of the crate `datasketches` cannot be seeded.
//! R2. What is told as exact is exact: rows, missing ones, range and moments. All else has a bound on its error.
//! R3. Bytes begin with a format number and end with a checksum that is verified before anything else is read. The
//!     checksum finds damage, not malice, so everything behind it is checked as well: no bytes make reading or later
//!     use panic, or allocate more than a few times their length.
//! R4. Zero has no sign, and NaN is a missing value.

mod bytes;
mod distinct;
mod frequent;
mod numbers;
mod quantiles;
mod words;

use std::fmt;

pub use numbers::Numbers;
pub use words::{TEXT_BYTES_MAX, Words};

/// Bytes with more rows than this are refused, so that sums of what was read do not overflow.
const ROWS_MAX: u64 = 1 << 48;

/// Why bytes are not a sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// They begin with the number of another format.
    Format(u8),
    /// They are cut off, changed, or of another kind of sketch.
    Damaged,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(got) => write!(
                f,
                "the sketch has format `{got}`, this version reads `{}`",
                bytes::FORMAT
            ),
            Self::Damaged => f.write_str("the sketch is damaged or of another kind"),
        }
    }
}

impl std::error::Error for Unreadable {}
