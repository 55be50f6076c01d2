//! Page-Hinkley: a change is where the values have kept to one side of their mean for too long.
//!
//! Page, Continuous inspection schemes, Biometrika 41 (1954), 100-115, in the form with a running mean for
//! a known one, and a factor by which old values fade. With `d` the distance of a value from the mean of all
//! values so far, the sum upwards is `up = alpha up + d - delta`; a change is where it lies more than
//! `threshold` above the least it has been. Downwards the same, mirrored.

use super::{Mean, Verdict, counts};

/// What counts as a change, in the units of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PageHinkleySettings {
    /// Says nothing before there are so many values.
    pub values_min: u64,
    /// A distance from the mean that is no change; at least 0.
    pub delta: f64,
    /// How far a sum may go; above 0.
    pub threshold: f64,
    /// What is left of a sum at the next value: above 0, at most 1.
    pub alpha: f64,
    /// Which change.
    pub direction: Direction,
}

/// The change that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A higher mean.
    Up,
    /// A lower mean.
    Down,
    /// Either.
    Both,
}

impl PageHinkleySettings {
    /// River's.
    pub const USUAL: Self = Self {
        values_min: 30,
        delta: 0.005,
        threshold: 50.0,
        alpha: 0.9999,
        direction: Direction::Both,
    };
}

/// The detector; of fixed size.
#[derive(Clone, Debug, PartialEq)]
pub struct PageHinkley {
    settings: PageHinkleySettings,
    mean: Mean,
    up: f64,
    up_least: f64,
    down: f64,
    down_most: f64,
}

impl PageHinkley {
    /// No values yet. Settings outside their bounds are a mistake of the caller's.
    pub fn new(settings: PageHinkleySettings) -> Self {
        let PageHinkleySettings {
            values_min: _,
            delta,
            threshold,
            alpha,
            direction: _,
        } = settings;
        assert!(delta >= 0.0, "delta is at least 0");
        assert!(threshold > 0.0, "threshold is above 0");
        assert!(alpha > 0.0 && alpha <= 1.0, "alpha is above 0, at most 1");
        Self {
            settings,
            mean: Mean::default(),
            up: 0.0,
            up_least: f64::INFINITY,
            down: 0.0,
            down_most: f64::NEG_INFINITY,
        }
    }

    /// A value past [`VALUE_MAX`](super::VALUE_MAX), infinite or NaN is not counted.
    pub fn add(&mut self, value: f64) -> Verdict {
        if !counts(value) {
            return Verdict::Quiet;
        }
        let PageHinkleySettings {
            values_min,
            delta,
            threshold,
            alpha,
            direction,
        } = self.settings;
        self.mean.add(value);
        let distance = value - self.mean.value;
        self.up = alpha * self.up + distance - delta;
        self.up_least = self.up_least.min(self.up);
        self.down = alpha * self.down + distance + delta;
        self.down_most = self.down_most.max(self.down);
        let rose = self.up - self.up_least > threshold;
        let fell = self.down_most - self.down > threshold;
        let changed = match direction {
            Direction::Up => rose,
            Direction::Down => fell,
            Direction::Both => rose || fell,
        };
        if changed && self.mean.count >= values_min {
            *self = Self::new(self.settings);
            return Verdict::Drift;
        }
        Verdict::Quiet
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{indices, uniform};
    use super::*;

    fn drifts(settings: PageHinkleySettings, values: &[f64]) -> Vec<usize> {
        let mut detector = PageHinkley::new(settings);
        let (warnings, drifts) = indices(values, |it| detector.add(it));
        assert_eq!(warnings, []);
        drifts
    }

    fn towards(direction: Direction) -> PageHinkleySettings {
        PageHinkleySettings {
            direction,
            ..PageHinkleySettings::USUAL
        }
    }

    #[test]
    fn a_jump_is_found_where_its_sum_passes_the_threshold() {
        // After a hundred zeros the distances of tens from the mean are 10 (1 - k / (100 + k)): 9.90, 9.80,
        // 9.71, 9.62, 9.52 and 9.43 for k = 1 to 6, less 0.005 each: the sixth carries the sum past 50.
        let values = [vec![0.0; 100], vec![10.0; 10]].concat();
        assert_eq!(drifts(towards(Direction::Up), &values), [105]);
        assert_eq!(drifts(towards(Direction::Both), &values), [105]);
        assert_eq!(drifts(towards(Direction::Down), &values), []);
        let mirrored: Vec<f64> = values.iter().map(|it| -it).collect();
        assert_eq!(drifts(towards(Direction::Down), &mirrored), [105]);
        assert_eq!(drifts(towards(Direction::Up), &mirrored), []);
    }

    #[test]
    fn a_constant_and_noise_are_quiet() {
        assert_eq!(drifts(PageHinkleySettings::USUAL, &[1e6; 10_000]), []);
        assert_eq!(drifts(PageHinkleySettings::USUAL, &uniform(10_000)), []);
    }

    #[test]
    fn too_few_values_say_nothing_and_the_first_that_may_does() {
        let values = [vec![0.0; 10], vec![100.0; 25]].concat();
        assert_eq!(drifts(PageHinkleySettings::USUAL, &values), [29]);
    }

    #[test]
    fn after_a_change_it_is_as_new() {
        let mut detector = PageHinkley::new(PageHinkleySettings::USUAL);
        let values = [vec![0.0; 100], vec![10.0; 6]].concat();
        let (_, found) = indices(&values, |it| detector.add(it));
        assert_eq!(found, [105]);
        assert_eq!(detector, PageHinkley::new(PageHinkleySettings::USUAL));
    }

    #[test]
    fn a_value_that_is_no_number_is_not_counted() {
        let mut detector = PageHinkley::new(PageHinkleySettings::USUAL);
        detector.add(1.0);
        let before = detector.clone();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e200] {
            assert_eq!(detector.add(value), Verdict::Quiet);
        }
        assert_eq!(detector, before);
    }

    #[test]
    #[should_panic(expected = "alpha")]
    fn a_sum_that_does_not_fade_but_grows_is_no_setting() {
        PageHinkley::new(PageHinkleySettings {
            alpha: 1.1,
            ..PageHinkleySettings::USUAL
        });
    }
}
