//! ADWIN, adaptive windowing: a change is where the mean of a window's older part is not that of the newer.
//!
//! Bifet & Gavaldà, Learning from time-changing data with adaptive windowing, SIAM International Conference
//! on Data Mining (2007), 443-448, in the form with buckets (ADWIN2). It finds a change in either direction,
//! so one for the better too. Its bound takes the values to range over about one: where they differ by far
//! less, as in the millionths, it sees no change.
//!
//! R1. Row `r` holds sums of `2^r` values each, the oldest first, and lower rows hold newer values. A row
//!     that is over full gives its two oldest sums, made one, to the next.
//! R2. The paper keeps the newer part after a change. Here, as in river, the whole window goes, so that no
//!     sum is ever taken out and the variance is that of all values since the last change.

use super::{Verdict, counts};

/// When [`Adwin`] looks, and how sure it must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdwinSettings {
    /// The chance of a false alarm at one look; strictly between 0 and 1.
    pub delta: f64,
    /// Looks at every `clock`-th value only; at least 1.
    pub clock: u64,
    /// Sums in a row; at least 2. More of them try more places to cut.
    pub buckets_max: usize,
    /// Values that each part must have; at least 1.
    pub window_min: u64,
    /// Does not look before there are more values than this.
    pub grace: u64,
}

impl AdwinSettings {
    /// River's.
    pub const USUAL: Self = Self {
        delta: 0.002,
        clock: 32,
        buckets_max: 5,
        window_min: 5,
        grace: 10,
    };
}

/// The detector. Its memory grows with the logarithm of the values since the last change: `buckets_max` sums
/// for each doubling.
#[derive(Clone, Debug, PartialEq)]
pub struct Adwin {
    settings: AdwinSettings,
    width: u64,
    total: f64,
    /// The sum of squared distances from the mean.
    spread: f64,
    rows: Vec<Vec<f64>>,
}

impl Adwin {
    /// No values yet. Settings outside their bounds are a mistake of the caller's.
    pub fn new(settings: AdwinSettings) -> Self {
        let AdwinSettings {
            delta,
            clock,
            buckets_max,
            window_min,
            grace: _,
        } = settings;
        assert!(
            delta > 0.0 && delta < 1.0,
            "delta is strictly between 0 and 1"
        );
        assert!(clock >= 1 && window_min >= 1, "at least one value");
        assert!(buckets_max >= 2, "at least two sums in a row");
        Self {
            settings,
            width: 0,
            total: 0.0,
            spread: 0.0,
            rows: vec![Vec::new()],
        }
    }

    /// A value past [`VALUE_MAX`](super::VALUE_MAX), infinite or NaN is not counted.
    pub fn add(&mut self, value: f64) -> Verdict {
        if !counts(value) {
            return Verdict::Quiet;
        }
        self.insert(value);
        let due =
            self.width.is_multiple_of(self.settings.clock) && self.width > self.settings.grace;
        if due && self.changed() {
            *self = Self::new(self.settings);
            return Verdict::Drift;
        }
        Verdict::Quiet
    }

    fn insert(&mut self, value: f64) {
        let before = self.width as f64;
        if self.width > 0 {
            let distance = value - self.total / before;
            self.spread += before * distance * distance / (before + 1.0);
        }
        self.width += 1;
        self.total += value;
        self.rows[0].push(value);
        let mut row = 0;
        while self.rows[row].len() > self.settings.buckets_max {
            let oldest: f64 = self.rows[row].drain(..2).sum();
            row += 1;
            if row == self.rows.len() {
                self.rows.push(Vec::new());
            }
            self.rows[row].push(oldest);
        }
    }

    /// Tries every place between two sums. As in river, a part's length is less `window_min - 1`.
    fn changed(&self) -> bool {
        let (width, least) = (self.width as f64, self.settings.window_min);
        let variance = self.spread / width;
        let log = log_of(width, self.settings.delta);
        let (mut older, mut older_total) = (0u64, 0.0);
        let (mut newer, mut newer_total) = (self.width, self.total);
        for (row, sums) in self.rows.iter().enumerate().rev() {
            for sum in sums {
                older += 1 << row;
                newer -= 1 << row;
                older_total += sum;
                newer_total -= sum;
                if older < least || newer < least {
                    continue;
                }
                let m = 1.0 / ((older - least) as f64 + 1.0) + 1.0 / ((newer - least) as f64 + 1.0);
                let apart = older_total / older as f64 - newer_total / newer as f64;
                if apart.abs() > bound(m, variance, log) {
                    return true;
                }
            }
        }
        false
    }
}

/// How far two means differ by chance at most, where `m` is the sum of one over each length and `log` is [`log_of`]:
/// the paper's bound with the window's variance.
pub(super) fn bound(m: f64, variance: f64, log: f64) -> f64 {
    (2.0 * m * variance * log).sqrt() + 2.0 / 3.0 * log * m
}

/// The logarithm in the [`bound`] of a window of `width` values.
pub(super) fn log_of(width: f64, delta: f64) -> f64 {
    (2.0 * width.ln() / delta).ln()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{indices, uniform};
    use super::*;

    const EVERY: AdwinSettings = AdwinSettings {
        clock: 1,
        ..AdwinSettings::USUAL
    };

    fn drifts(settings: AdwinSettings, values: &[f64]) -> Vec<usize> {
        let mut adwin = Adwin::new(settings);
        let (warnings, drifts) = indices(values, |it| adwin.add(it));
        assert_eq!(warnings, []);
        drifts
    }

    fn jump(by: f64) -> Vec<f64> {
        let values = uniform(2_000).into_iter().enumerate();
        let moved = |(index, it)| if index < 1_000 { it } else { it + by };
        values.map(moved).collect()
    }

    #[test]
    fn a_jump_either_way_is_found_at_the_next_look() {
        for by in [1.0, -1.0] {
            assert_eq!(drifts(AdwinSettings::USUAL, &jump(by)), [1_023]);
            let found = drifts(EVERY, &jump(by));
            assert!(found.len() == 1 && found[0] < 1_023, "{found:?}");
        }
    }

    #[test]
    fn no_jump_is_quiet_and_so_is_a_constant() {
        assert_eq!(drifts(EVERY, &jump(0.0)), []);
        assert_eq!(drifts(EVERY, &[7.5; 5_000]), []);
    }

    #[test]
    fn too_few_values_are_not_looked_at() {
        let values = [vec![0.0; 20], vec![100.0; 20]].concat();
        assert_eq!(drifts(EVERY, &values).len(), 1);
        // Forty values do not make two parts of 21.
        let larger_parts = AdwinSettings {
            window_min: 21,
            ..EVERY
        };
        assert_eq!(drifts(larger_parts, &values), []);
        let patient = AdwinSettings { grace: 38, ..EVERY };
        assert_eq!(drifts(patient, &values), [38]);
    }

    #[test]
    fn after_a_change_it_is_as_new() {
        let mut adwin = Adwin::new(AdwinSettings::USUAL);
        let (_, found) = indices(&jump(1.0)[..1_024], |it| adwin.add(it));
        assert_eq!(found, [1_023]);
        assert_eq!(adwin, Adwin::new(AdwinSettings::USUAL));
    }

    #[test]
    fn a_value_that_is_no_number_is_not_counted() {
        let mut adwin = Adwin::new(EVERY);
        adwin.add(1.0);
        let before = adwin.clone();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e200] {
            assert_eq!(adwin.add(value), Verdict::Quiet);
        }
        assert_eq!(adwin, before);
    }

    #[test]
    fn memory_grows_with_the_logarithm() {
        let mut adwin = Adwin::new(AdwinSettings::USUAL);
        for _ in 0..100_000 {
            adwin.add(1.0);
        }
        assert_eq!(adwin.width, 100_000);
        // Row r is first used once 5 (2^r - 1) + 2^r values have come.
        assert_eq!(adwin.rows.len(), 15);
        assert!(adwin.rows.iter().all(|it| it.len() <= 5));
        let kept: f64 = adwin.rows.iter().flatten().sum();
        assert_eq!(kept, 100_000.0);
    }

    #[test]
    #[should_panic(expected = "delta")]
    fn a_chance_of_one_is_no_setting() {
        Adwin::new(AdwinSettings {
            delta: 1.0,
            ..EVERY
        });
    }
}
