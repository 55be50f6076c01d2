//! Model quality from pairs of prediction and truth.
//!
//! R1. A definition is scikit-learn's on the same rows, to 1e-9; where scikit-learn has none, it is stated
//! here.
//! R2. An accumulator takes rows in any order and in any parts: merged parts report what the whole reports.
//! R3. A metric that the rows leave undefined is `None`, never a number in its place.
//! R4. No row is dropped silently: what takes no part in a metric is counted in the report.
//! R5. A report's value is finite; so are the ends of its interval, which contain it.

pub mod binary;
pub(crate) mod curve;
mod losses;
mod margins;
pub mod multiclass;
pub mod regression;
mod scores;

use crate::interval::{self, Estimate};
use crate::sum::Moments;

/// Groups of the delete-a-group jackknife. A row belongs to the group `hash % GROUPS`, so the hash should
/// be spread evenly and have nothing to do with the row's content; equal hashes stay together, as rows of
/// one user should.
pub const GROUPS: usize = 20;

/// The most scores that are kept one by one, over all classes of an accumulator: 128 MB where every score
/// is an `f32`, else 256.
pub const EXACT_ROWS_MAX: usize = 32_000_000;

fn group(hash: u64) -> usize {
    (hash % GROUPS as u64) as usize
}

/// Every estimate passes here on its way into a report (R5).
fn finite(estimate: Estimate) -> Option<Estimate> {
    estimate.value.is_finite().then_some(estimate)
}

/// A mean with its normal interval, by the central limit theorem.
fn mean(moments: Moments, level: f64) -> Option<Estimate> {
    let count = moments.count as f64;
    let error = moments.variance().map(|it| (it / count).sqrt());
    finite(interval::normal(moments.mean(), error, level))
}

/// F1 is `2 J / (1 + J)` of the share J of true positives among all that is or was called positive, so
/// Wilson's interval of J carries over: "Wilson indirect" of Lam, Gopal & Qian, arXiv 2309.14621 (2023). 0
/// where nothing is or was called positive.
fn f1(true_positive: u64, false_positive: u64, false_negative: u64, level: f64) -> Estimate {
    let named = true_positive + false_positive + false_negative;
    let jaccard = interval::wilson(true_positive, named, level);
    let carried = |it: f64| 2.0 * it / (1.0 + it);
    let (twice, wrong) = (2 * true_positive, false_positive + false_negative);
    Estimate {
        // Not through J: one rounding less.
        value: if named == 0 {
            0.0
        } else {
            twice as f64 / (twice + wrong) as f64
        },
        low: jaccard.low.map(carried),
        high: jaccard.high.map(carried),
    }
}
