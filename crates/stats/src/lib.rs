//! The numerics of Windlass: how good a model is, and how sure one can be of it.
//!
//! Pure: nothing here reads a clock, rolls dice, touches a disk or a socket, waits or logs. On the standard library
//! alone, but for `sketch`, which builds on `datasketches`, a crate without dependencies of its own, and for what
//! `sequential` goes on with after a restart, which `serde` writes down. Accumulators
//! take one row at a time, merge, and turn into a report.

pub mod boost;
pub mod detect;
pub mod drift;
pub mod estimate;
pub mod fairness;
pub mod fdr;
mod gamma;
pub mod interval;
pub mod quality;
pub mod random;
pub mod sequential;
pub mod series;
pub mod sketch;
pub mod slices;
mod student;
mod sum;

pub use detect::Verdict;
pub use detect::adwin::{Adwin, AdwinSettings};
pub use detect::ddm::{Ddm, DdmSettings};
pub use detect::eddm::{Eddm, EddmSettings};
pub use detect::hddm::{HddmA, HddmSettings, HddmW};
pub use detect::page_hinkley::{Direction, PageHinkley, PageHinkleySettings};
pub use interval::Estimate;
pub use quality::binary::{Binary, BinaryReport, BinaryRow};
pub use quality::multiclass::{ClassReport, Multiclass, MulticlassReport, MulticlassRow};
pub use quality::regression::{Regression, RegressionReport, RegressionRow};
