//! The numerics of Windlass: how good a model is, and how sure one can be of it.
//!
//! Pure, and on the standard library alone: nothing here reads a clock, rolls dice, touches a disk or a
//! socket, waits or logs. Accumulators take one row at a time, merge, and turn into a report.

pub mod drift;
mod gamma;
pub mod interval;
pub mod quality;
mod sum;

pub use interval::Estimate;
pub use quality::binary::{Binary, BinaryReport, BinaryRow};
pub use quality::multiclass::{ClassReport, Multiclass, MulticlassReport, MulticlassRow};
pub use quality::regression::{Regression, RegressionReport, RegressionRow};
