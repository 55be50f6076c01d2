//! HDDM: a change is where a mean has left its most favourable past by more than chance allows, whatever the
//! distribution of the values.
//!
//! Frías-Blanco, del Campo-Ávila, Ramos-Jiménez, Morales-Bueno, Ortiz-Díaz & Caballero-Mota, Online and
//! non-parametric drift detection methods based on Hoeffding's bounds, IEEE Transactions on Knowledge and
//! Data Engineering 27 (2015), 810-823: the A-test has plain means and Hoeffding's bound, and is for jumps;
//! the W-test has weighted means and McDiarmid's bound, and is for slow changes.
//!
//! R1. The bounds hold for values from 0 to 1, such as 1 for an error and 0 for none. A value outside, or
//!     NaN, is not counted.
//! R2. Where one side says drift and the other warning, the verdict is drift.

use super::{Mean, Verdict};

/// How sure [`HddmA`] and [`HddmW`] must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HddmSettings {
    /// The chance of a false alarm that a drift may have; strictly between 0 and 1.
    pub drift: f64,
    /// The chance that a warning may have; at least `drift`, below 1.
    pub warning: f64,
    /// Looks for a lower mean as well as for a higher one.
    pub two_sided: bool,
}

impl HddmSettings {
    /// River's: for a higher mean alone.
    pub const USUAL: Self = Self {
        drift: 0.001,
        warning: 0.005,
        two_sided: false,
    };

    fn check(self) {
        let Self {
            drift,
            warning,
            two_sided: _,
        } = self;
        assert!(
            drift > 0.0 && warning >= drift && warning < 1.0,
            "drift is above 0, warning at least drift and below 1"
        );
    }

    /// `rose` and `fell` say whether the mean has, but for a chance.
    fn verdict(self, rose: impl Fn(f64) -> bool, fell: impl Fn(f64) -> bool) -> Verdict {
        let changed = |chance| rose(chance) || (self.two_sided && fell(chance));
        if changed(self.drift) {
            Verdict::Drift
        } else if changed(self.warning) {
            Verdict::Warning
        } else {
            Verdict::Quiet
        }
    }
}

/// The A-test; of fixed size.
#[derive(Clone, Debug, PartialEq)]
pub struct HddmA {
    settings: HddmSettings,
    all: Mean,
    /// The values up to where the mean's upper bound was least.
    low: Mean,
    /// The values up to where the mean's lower bound was greatest.
    high: Mean,
}

impl HddmA {
    /// No values yet. Settings outside their bounds are a mistake of the caller's.
    pub fn new(settings: HddmSettings) -> Self {
        settings.check();
        Self {
            settings,
            all: Mean::default(),
            low: Mean::default(),
            high: Mean::default(),
        }
    }

    /// A value outside 0 to 1, infinite or NaN is not counted.
    pub fn add(&mut self, value: f64) -> Verdict {
        if !bounded(value) {
            return Verdict::Quiet;
        }
        self.all.add(value);
        let (all, chance) = (self.all, self.settings.drift);
        let above = |mean: Mean| mean.value + hoeffding(mean, chance);
        let below = |mean: Mean| mean.value - hoeffding(mean, chance);
        if self.low.count == 0 || above(self.low) >= above(all) {
            self.low = all;
        }
        if self.high.count == 0 || below(self.high) <= below(all) {
            self.high = all;
        }
        let verdict = self.settings.verdict(
            |chance| all.value - self.low.value >= apart(self.low, all, chance),
            |chance| self.high.value - all.value >= apart(self.high, all, chance),
        );
        if verdict == Verdict::Drift {
            *self = Self::new(self.settings);
        }
        verdict
    }
}

/// How far a mean may lie from the truth, but for a chance.
fn hoeffding(mean: Mean, chance: f64) -> f64 {
    (1.0 / (2.0 * mean.count as f64) * (1.0 / chance).ln()).sqrt()
}

/// How far the mean of the first values may lie from the mean of all, but for a chance. Infinite where all
/// are the first.
fn apart(first: Mean, all: Mean, chance: f64) -> f64 {
    if first.count == all.count {
        return f64::INFINITY;
    }
    let (few, many) = (first.count as f64, all.count as f64);
    let m = (many - few) / few * (1.0 / many);
    (m / 2.0 * (2.0 / chance).ln()).sqrt()
}

/// The W-test; of fixed size.
#[derive(Clone, Debug, PartialEq)]
pub struct HddmW {
    settings: HddmSettings,
    lambda: f64,
    all: Weighted,
    /// Cut where the mean's upper bound was least.
    low: Cut,
    /// Cut where the mean's lower bound was greatest.
    high: Cut,
}

/// A stream in two parts.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    bound: f64,
    before: Weighted,
    after: Weighted,
}

/// An exponentially weighted mean.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Weighted {
    /// Of no value there is none.
    mean: Option<f64>,
    /// The sum of the squared weights, of which the start is one.
    squares: f64,
}

impl HddmW {
    /// River's.
    pub const LAMBDA_USUAL: f64 = 0.05;

    /// No values yet. `lambda` is the weight of the newest value: the greater, the sooner the old are
    /// forgotten. It is strictly between 0 and 1; anything else, or settings outside their bounds, is a
    /// mistake of the caller's.
    pub fn new(settings: HddmSettings, lambda: f64) -> Self {
        settings.check();
        assert!(
            lambda > 0.0 && lambda < 1.0,
            "lambda is strictly between 0 and 1"
        );
        Self {
            settings,
            lambda,
            all: Weighted::NONE,
            low: Cut::at(f64::INFINITY, Weighted::NONE),
            high: Cut::at(f64::NEG_INFINITY, Weighted::NONE),
        }
    }

    /// A value outside 0 to 1, infinite or NaN is not counted.
    pub fn add(&mut self, value: f64) -> Verdict {
        if !bounded(value) {
            return Verdict::Quiet;
        }
        let mean = self.all.add(value, self.lambda);
        let bound = mcdiarmid(self.all.squares, self.settings.drift);
        if mean + bound < self.low.bound {
            self.low = Cut::at(mean + bound, self.all);
        } else {
            self.low.after.add(value, self.lambda);
        }
        if mean - bound > self.high.bound {
            self.high = Cut::at(mean - bound, self.all);
        } else {
            self.high.after.add(value, self.lambda);
        }
        let verdict = self.settings.verdict(
            |chance| self.low.after.exceeds(self.low.before, chance),
            |chance| self.high.before.exceeds(self.high.after, chance),
        );
        if verdict == Verdict::Drift {
            *self = Self::new(self.settings, self.lambda);
        }
        verdict
    }
}

impl Cut {
    fn at(bound: f64, before: Weighted) -> Self {
        Self {
            bound,
            before,
            after: Weighted::NONE,
        }
    }
}

impl Weighted {
    const NONE: Self = Self {
        mean: None,
        squares: 1.0,
    };

    /// Gives the new mean.
    fn add(&mut self, value: f64, lambda: f64) -> f64 {
        let rest = 1.0 - lambda;
        let mean = self.mean.map_or(value, |mean| lambda * value + rest * mean);
        self.mean = Some(mean);
        self.squares = lambda * lambda + rest * rest * self.squares;
        mean
    }

    fn exceeds(self, other: Self, chance: f64) -> bool {
        let (Some(mine), Some(other_mean)) = (self.mean, other.mean) else {
            return false;
        };
        mine - other_mean > mcdiarmid(self.squares + other.squares, chance)
    }
}

fn mcdiarmid(squares: f64, chance: f64) -> f64 {
    (squares * (1.0 / chance).ln() / 2.0).sqrt()
}

/// R1.
fn bounded(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{errors, indices};
    use super::*;

    const BOTH: HddmSettings = HddmSettings {
        two_sided: true,
        ..HddmSettings::USUAL
    };

    fn bits(values: &[bool]) -> Vec<f64> {
        values.iter().map(|it| f64::from(*it)).collect()
    }

    /// Drifts of the A-test and of the W-test.
    fn drifts(settings: HddmSettings, values: &[f64]) -> (Vec<usize>, Vec<usize>) {
        let (mut a, mut w) = (HddmA::new(settings), weighted(settings));
        let plain = indices(values, |it| a.add(it)).1;
        (plain, indices(values, |it| w.add(it)).1)
    }

    fn weighted(settings: HddmSettings) -> HddmW {
        HddmW::new(settings, HddmW::LAMBDA_USUAL)
    }

    #[test]
    fn more_errors_are_found_and_fewer_only_where_asked_for() {
        let found = |drifts: &[usize]| (1_001..1_200).contains(&drifts[0]);
        for (before, after, settings) in [
            (0.1, 0.5, HddmSettings::USUAL),
            (0.1, 0.5, BOTH),
            (0.6, 0.1, BOTH),
        ] {
            let (a, w) = drifts(settings, &bits(&errors(1_000, before, after)));
            assert!(found(&a) && found(&w), "{before} to {after}: {a:?}, {w:?}");
        }
        let fewer = bits(&errors(1_000, 0.6, 0.1));
        assert_eq!(drifts(HddmSettings::USUAL, &fewer), (vec![], vec![]));
    }

    #[test]
    fn a_constant_and_a_steady_rate_are_quiet() {
        for value in [0.0, 0.5, 1.0] {
            assert_eq!(drifts(BOTH, &[value; 5_000]), (vec![], vec![]));
        }
        let steady = bits(&errors(500, 0.2, 0.2));
        assert_eq!(drifts(HddmSettings::USUAL, &steady), (vec![], vec![]));
    }

    #[test]
    fn the_plain_test_by_hand() {
        // After twenty zeros k ones make the mean k / (20 + k), and by chance it may lie
        // sqrt(m / 2 ln(2 / chance)) above zero with m = k / (20 (20 + k)).
        let k = |chance: f64| {
            let reached = |k: f64| {
                let m = k / (20.0 * (20.0 + k));
                k / (20.0 + k) >= (m / 2.0 * (2.0 / chance).ln()).sqrt()
            };
            (1..100).find(|k| reached(f64::from(*k))).expect("reached")
        };
        assert_eq!((k(0.001), k(0.005)), (5, 4));
        let values = [vec![0.0; 20], vec![1.0; 5]].concat();
        let mut detector = HddmA::new(HddmSettings::USUAL);
        let found = indices(&values, |it| detector.add(it));
        assert_eq!(found, (vec![23], vec![24]));
        assert_eq!(detector, HddmA::new(HddmSettings::USUAL));
    }

    #[test]
    fn the_weighted_test_forgets_and_is_as_new_after_a_drift() {
        let values = [vec![0.0; 1_000], vec![1.0; 30]].concat();
        let mut detector = weighted(HddmSettings::USUAL);
        let (warnings, drifts) = indices(&values, |it| detector.add(it));
        assert_eq!(drifts.len(), 1);
        assert!(warnings[0] > 1_000 && warnings[0] < drifts[0]);
        let mut detector = weighted(HddmSettings::USUAL);
        indices(&values[..=drifts[0]], |it| detector.add(it));
        assert_eq!(detector, weighted(HddmSettings::USUAL));
    }

    #[test]
    fn what_is_outside_the_bounds_or_no_number_is_not_counted() {
        let (mut a, mut w) = (HddmA::new(BOTH), weighted(BOTH));
        a.add(0.5);
        w.add(0.5);
        let before = (a.clone(), w.clone());
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1.1] {
            assert_eq!(a.add(value), Verdict::Quiet);
            assert_eq!(w.add(value), Verdict::Quiet);
        }
        assert_eq!((a, w), before);
    }

    #[test]
    #[should_panic(expected = "warning at least drift")]
    fn a_warning_rarer_than_its_drift_is_no_setting() {
        HddmA::new(HddmSettings {
            warning: 0.0005,
            ..HddmSettings::USUAL
        });
    }

    #[test]
    #[should_panic(expected = "lambda")]
    fn a_weight_of_one_is_no_setting() {
        HddmW::new(BOTH, 1.0);
    }
}
