//! How far current values are from reference ones, and how sure one can be of it.
//!
//! R1. A distance is told with what it would be, on average, had nothing changed: between finite samples of one
//!     distribution no distance is zero.
//! R2. A reference is never taken for the truth: every test is of two samples.
//! R3. No result is NaN or infinite: where there is nothing to tell, there is none.

pub mod bins;
pub mod classifier;
pub mod column;
pub mod effect;
pub mod embedding;
pub mod lookup;
pub mod sample;
pub mod table;
pub mod verdict;
