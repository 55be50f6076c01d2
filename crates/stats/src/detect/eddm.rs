//! EDDM, the early drift detection method: a change is where errors come closer together than they did.
//!
//! Baena-García, del Campo-Ávila, Fidalgo, Bifet, Gavaldà & Morales-Bueno, Early drift detection method,
//! Fourth International Workshop on Knowledge Discovery from Data Streams (2006). With `p` the
//! mean and `s` the standard deviation of how many values lie from one error to the next, the detector
//! keeps the most that `p + 2 s` has been; a drift is where it has fallen to less than 0.9 of that.
//!
//! It is the most nervous of the detectors here: on streams without a change it warns and drifts often.
//!
//! R1. Only an error changes the verdict. So a warning holds at the values after it, until an error that is
//!     farther away takes it back.
//! R2. The first distance is that from the stream's start, or from the last drift.

use super::{Mean, Verdict};

/// When [`Eddm`] speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EddmSettings {
    /// Keeps no greatest `p + 2 s` before there are more values than this, and says nothing before there
    /// are more errors.
    pub errors_min: u64,
    /// The share of the greatest `p + 2 s` below which there is a warning; at least `drift`.
    pub warning: f64,
    /// The share below which there is a drift; above 0.
    pub drift: f64,
}

impl EddmSettings {
    /// The paper's.
    pub const USUAL: Self = Self {
        errors_min: 30,
        warning: 0.95,
        drift: 0.9,
    };
}

/// The detector; of fixed size.
#[derive(Clone, Debug, PartialEq)]
pub struct Eddm {
    settings: EddmSettings,
    count: u64,
    /// The number of the value that was the last error, from 1; 0 where there was none.
    last: u64,
    distances: Mean,
    /// The sum of squared distances from the mean distance.
    spread: f64,
    most: Option<f64>,
    warned: bool,
}

impl Eddm {
    /// No values yet. Settings outside their bounds are a mistake of the caller's.
    pub fn new(settings: EddmSettings) -> Self {
        let EddmSettings {
            errors_min: _,
            warning,
            drift,
        } = settings;
        assert!(
            drift > 0.0 && warning >= drift,
            "drift is above 0, warning at least drift"
        );
        Self {
            settings,
            count: 0,
            last: 0,
            distances: Mean::default(),
            spread: 0.0,
            most: None,
            warned: false,
        }
    }

    /// `error`: whether the prediction was wrong.
    pub fn add(&mut self, error: bool) -> Verdict {
        self.count += 1;
        if error && self.close() {
            *self = Self::new(self.settings);
            return Verdict::Drift;
        }
        if self.warned {
            return Verdict::Warning;
        }
        Verdict::Quiet
    }

    /// Takes an error in; whether the errors are now so close together that it is a drift.
    fn close(&mut self) -> bool {
        let distance = (self.count - self.last) as f64;
        self.last = self.count;
        let before = self.distances.value;
        self.distances.add(distance);
        self.spread += (distance - before) * (distance - self.distances.value);
        if self.count <= self.settings.errors_min {
            return false;
        }
        let errors = self.distances.count;
        let variance = if errors > 1 {
            self.spread / (errors - 1) as f64
        } else {
            0.0
        };
        let now = self.distances.value + 2.0 * variance.sqrt();
        let most = match self.most {
            Some(most) if now <= most => most,
            Some(_) | None => {
                self.most = Some(now);
                return false;
            }
        };
        if errors <= self.settings.errors_min {
            return false;
        }
        let share = now / most;
        self.warned = share < self.settings.warning;
        share < self.settings.drift
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{errors, indices};
    use super::*;

    fn run(values: &[bool]) -> (Vec<usize>, Vec<usize>) {
        let mut eddm = Eddm::new(EddmSettings::USUAL);
        indices(values, |it| eddm.add(it))
    }

    /// An error at every `distance`-th value.
    fn every(distance: usize, errors: usize) -> Vec<bool> {
        let one = |it: usize| (it + 1).is_multiple_of(distance);
        (0..distance * errors).map(one).collect()
    }

    #[test]
    fn by_hand() {
        // Forty distances of 10, then k of 5: the mean is 10 - 5 k / (40 + k), and the variance
        // 25 k 40 / ((40 + k) (39 + k)). At first p + 2 s grows, as s does; then it falls with p.
        let values = [every(10, 40), every(5, 200)].concat();
        let (warnings, drifts) = run(&values);
        let level = |k: usize| {
            let (k, n) = (k as f64, 40.0 + k as f64);
            10.0 - 5.0 * k / n + 2.0 * (25.0 * k * 40.0 / n / (n - 1.0)).sqrt()
        };
        let peak = (0..200).find(|k| level(k + 1) < level(*k)).expect("falls");
        let first = |share: f64| {
            let low = |k: &usize| level(*k) < share * level(peak);
            399 + 5 * (peak..200).find(low).expect("reached")
        };
        assert_eq!(warnings[0], first(0.95));
        assert_eq!(drifts.first(), Some(&first(0.9)));
        // R1: every value from the warning to the drift.
        assert_eq!(warnings, (warnings[0]..drifts[0]).collect::<Vec<_>>());
    }

    #[test]
    fn errors_at_even_distances_none_and_errors_farther_apart_are_quiet() {
        assert_eq!(run(&every(7, 1_000)), (vec![], vec![]));
        assert_eq!(run(&[false; 5_000]), (vec![], vec![]));
        assert_eq!(run(&[true; 5_000]), (vec![], vec![]));
        assert_eq!(run(&[every(7, 100), every(9, 100)].concat()).1, []);
    }

    #[test]
    fn more_errors_are_found() {
        let values = errors(2_000, 0.05, 0.5);
        let (_, drifts) = run(&values);
        assert!(drifts.iter().any(|it| (2_000..2_400).contains(it)));
    }

    #[test]
    fn after_a_drift_it_is_as_new() {
        let mut eddm = Eddm::new(EddmSettings::USUAL);
        let values = [every(10, 40), every(1, 400)].concat();
        let drift = run(&values).1[0];
        indices(&values[..=drift], |it| eddm.add(it));
        assert_eq!(eddm, Eddm::new(EddmSettings::USUAL));
    }

    #[test]
    #[should_panic(expected = "warning at least drift")]
    fn a_drift_before_its_warning_is_no_setting() {
        Eddm::new(EddmSettings {
            warning: 0.8,
            ..EddmSettings::USUAL
        });
    }
}
