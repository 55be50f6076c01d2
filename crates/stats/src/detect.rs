//! Change in a stream: detectors that are shown one value at a time and say when it is no longer as it was.
//!
//! R1. A detector keeps no values: its state is of fixed size, ADWIN's of the logarithm of its window.
//! R2. After [`Verdict::Drift`] a detector is as new, and nothing from before takes part.
//! R3. A value that no sum can hold (see [`VALUE_MAX`]) is not counted and gives [`Verdict::Quiet`].
//! R4. Verdicts equal those of the Python package river 0.26.1, value for value: `tests/streams_check.py`. So
//!     the arithmetic is plain `f64` in river's order, and not that of the more exact `sum`.
//!
//! Which to choose: for numbers, ADWIN or Page-Hinkley, after they have been brought to a spread of about
//! one, as both have limits in the units of the values; for whether a prediction was wrong, any.

pub mod adwin;
pub mod ddm;
pub mod eddm;
pub mod hddm;
pub mod page_hinkley;
pub mod regimes;

use adwin::{Adwin, AdwinSettings};

/// What a detector says after a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No sign of change.
    Quiet,
    /// Perhaps a change; too little to be sure. ADWIN and Page-Hinkley never say it.
    Warning,
    /// A change. The detector has begun anew (R2).
    Drift,
}

/// The largest size of a value that is counted. A larger one, an infinite one or NaN would leave sums that
/// are not finite, with which a detector is silent for ever (R3).
pub const VALUE_MAX: f64 = 1e100;

fn counts(value: f64) -> bool {
    value.abs() <= VALUE_MAX
}

/// A running mean: West, Communications of the ACM 22 (1979), 532-535.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    count: u64,
    value: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.value += 1.0 / self.count as f64 * (value - self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The indices of warnings and of drifts.
    pub(super) fn indices<T: Copy>(
        values: &[T],
        mut add: impl FnMut(T) -> Verdict,
    ) -> (Vec<usize>, Vec<usize>) {
        let verdicts: Vec<Verdict> = values.iter().map(|it| add(*it)).collect();
        let of = |wanted: Verdict| {
            let found = verdicts.iter().enumerate();
            found
                .filter(|(_, it)| **it == wanted)
                .map(|(index, _)| index)
                .collect()
        };
        (of(Verdict::Warning), of(Verdict::Drift))
    }

    /// Numbers from 0 to 1 that look random: Knuth's MMIX generator.
    pub(super) fn uniform(count: usize) -> Vec<f64> {
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        (0..count).map(|_| next()).collect()
    }

    /// Errors at one rate, then as many at another.
    pub(super) fn errors(count: usize, before: f64, after: f64) -> Vec<bool> {
        let rate = |index: usize| if index < count { before } else { after };
        let values = uniform(2 * count).into_iter().enumerate();
        values.map(|(index, it)| it < rate(index)).collect()
    }

    #[test]
    fn what_no_sum_can_hold_does_not_count() {
        for value in [0.0, -1.0, VALUE_MAX, -VALUE_MAX, f64::MIN_POSITIVE] {
            assert!(counts(value), "{value}");
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.1e100, -1e300] {
            assert!(!counts(value), "{value}");
        }
    }

    #[test]
    fn the_mean_is_the_mean() {
        let mut mean = Mean::default();
        assert_eq!(mean.value, 0.0);
        [2.0, 4.0, 9.0].iter().for_each(|it| mean.add(*it));
        assert_eq!((mean.count, mean.value), (3, 5.0));
    }
}
