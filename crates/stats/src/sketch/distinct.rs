//! How many different values there are: HyperLogLog of the crate `datasketches`, with 2^12 registers.
//!
//! The estimate is the one that does not depend on the order of values, so that merging changes nothing in it.

use std::hash::Hash;

use datasketches::hll::{HllSketch, HllType, HllUnion};

use super::Unreadable;
use super::bytes::checked;

const REGISTERS_LOG2: u8 = 12;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Distinct(HllSketch);

impl Default for Distinct {
    fn default() -> Self {
        let sketch = HllSketch::new(REGISTERS_LOG2, HllType::Hll8);
        Self(sketch.expect("2^12 registers are allowed"))
    }
}

impl Distinct {
    pub(super) fn add(&mut self, value: impl Hash) {
        self.0.update(value);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let mut union = HllUnion::new(REGISTERS_LOG2).expect("2^12 registers are allowed");
        union.update(&self.0);
        union.update(&other.0);
        self.0 = union.to_sketch(HllType::Hll8);
    }

    pub(super) fn estimate(&self) -> f64 {
        self.0.composite_estimate()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.serialize()
    }

    /// The crate takes registers and the sums over them as they come, and panics later where they disagree; they are
    /// checked here, by the layout of DataSketches' HLL images.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        const HEAD: usize = 40;
        const ARRAY_OF_BYTES: u8 = 2 | 2 << 2;
        const RANK_MAX: u8 = 63;
        let sketch = HllSketch::deserialize(bytes).map_err(|_| Unreadable::Damaged)?;
        let ours = sketch.lg_config_k() == REGISTERS_LOG2 && sketch.target_type() == HllType::Hll8;
        checked((), ours)?;
        if bytes.get(7).is_some_and(|it| it & 3 == 2) {
            checked(
                (),
                bytes[7] == ARRAY_OF_BYTES && bytes.len() == HEAD + (1 << REGISTERS_LOG2),
            )?;
            let (head, registers) = bytes.split_at(HEAD);
            let field = |at: usize| {
                head[at..]
                    .first_chunk()
                    .map_or(0, |it| u64::from_le_bytes(*it))
            };
            let zeros = registers.iter().filter(|it| **it == 0).count() as u64;
            let sum: f64 = registers.iter().map(|it| (-f64::from(*it)).exp2()).sum();
            let told = f64::from_bits(field(16)) + f64::from_bits(field(24));
            let agree = registers.iter().all(|it| *it <= RANK_MAX)
                && field(32) == zeros
                && (told - sum).abs() <= 1e-9 * sum
                && f64::from_bits(field(8)).is_finite();
            checked((), agree)?;
        }
        Ok(Self(sketch))
    }
}
