//! DDM, the drift detection method: a change is where the share of errors has left the least it has been.
//!
//! Gama, Medas, Castillo & Rodrigues, Learning with drift detection, SBIA (2004), Lecture Notes in Computer
//! Science 3171, 286-295. With `p` the share of errors so far and `s = sqrt(p (1 - p) / n)`, the
//! detector keeps the `p` and `s` whose sum was least; a drift is `p + s > p_least + 3 s_least`. It sees more
//! errors, never fewer.
//!
//! Two weaknesses of the method: as `p` is over all values since the last drift, the longer a stream was
//! well, the later a change is seen; and where the first `values_min + 1` values hold no error, `s_least` is
//! zero and the first error is a drift.

use super::{Mean, Verdict};

/// When [`Ddm`] speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DdmSettings {
    /// Says nothing before there are more values than this.
    pub values_min: u64,
    /// How many `s_least` above `p_least` is a warning; at least 0.
    pub warning: f64,
    /// How many are a drift; at least `warning`.
    pub drift: f64,
}

impl DdmSettings {
    /// The paper's.
    pub const USUAL: Self = Self {
        values_min: 30,
        warning: 2.0,
        drift: 3.0,
    };
}

/// The detector; of fixed size.
#[derive(Clone, Debug, PartialEq)]
pub struct Ddm {
    settings: DdmSettings,
    errors: Mean,
    /// `p` and `s` where their sum was least.
    least: Option<(f64, f64)>,
}

impl Ddm {
    /// No values yet. Settings outside their bounds are a mistake of the caller's.
    pub fn new(settings: DdmSettings) -> Self {
        let DdmSettings {
            values_min: _,
            warning,
            drift,
        } = settings;
        assert!(
            warning >= 0.0 && drift >= warning,
            "warning is at least 0, drift at least warning"
        );
        Self {
            settings,
            errors: Mean::default(),
            least: None,
        }
    }

    /// `error`: whether the prediction was wrong.
    pub fn add(&mut self, error: bool) -> Verdict {
        self.errors.add(f64::from(error));
        if self.errors.count <= self.settings.values_min {
            return Verdict::Quiet;
        }
        let p = self.errors.value;
        let s = (p * (1.0 - p) / self.errors.count as f64).sqrt();
        let (p_least, s_least) = match self.least {
            Some((p_least, s_least)) if p + s > p_least + s_least => (p_least, s_least),
            Some(_) | None => (p, s),
        };
        self.least = Some((p_least, s_least));
        let above = |times: f64| p + s > p_least + times * s_least;
        if above(self.settings.drift) {
            *self = Self::new(self.settings);
            return Verdict::Drift;
        }
        if above(self.settings.warning) {
            return Verdict::Warning;
        }
        Verdict::Quiet
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::indices;
    use super::*;

    fn run(values: &[bool]) -> (Vec<usize>, Vec<usize>) {
        let mut ddm = Ddm::new(DdmSettings::USUAL);
        indices(values, |it| ddm.add(it))
    }

    /// An error at every `distance`-th value.
    fn every(distance: usize, count: usize) -> Vec<bool> {
        let one = |it: usize| (it + 1).is_multiple_of(distance);
        (0..count).map(one).collect()
    }

    #[test]
    fn more_errors_warn_and_then_drift() {
        let (warnings, drifts) = run(&[every(10, 1_000), every(2, 1_000)].concat());
        assert!(drifts.len() == 1 && drifts[0] < 1_200, "{drifts:?}");
        assert!(warnings[0] >= 1_000 && warnings[0] < drifts[0]);
    }

    #[test]
    fn fewer_errors_and_as_many_are_quiet() {
        for values in [
            [every(2, 1_000), every(10, 1_000)].concat(),
            every(3, 5_000),
            vec![true; 5_000],
            vec![false; 5_000],
        ] {
            assert_eq!(run(&values), (vec![], vec![]));
        }
    }

    #[test]
    fn by_hand() {
        // Every second is an error: at the 32nd value p is 1/2, and p + s is least. Then only errors: with k
        // of them p is (16 + k) / (32 + k).
        let mut values: Vec<bool> = (0..32).map(|it| it % 2 == 0).collect();
        values.extend([true; 25]);
        let limits = |times: f64| 0.5 + times * (0.25f64 / 32.0).sqrt();
        let first = |limit: f64| {
            let mut more = (1..25).map(f64::from).filter(|k| {
                let (p, n) = ((16.0 + k) / (32.0 + k), 32.0 + k);
                p + (p * (1.0 - p) / n).sqrt() > limit
            });
            31 + more.next().expect("reached") as usize
        };
        let (warnings, drifts) = run(&values);
        assert_eq!(warnings[0], first(limits(2.0)));
        assert_eq!(drifts, [first(limits(3.0))]);
        assert_eq!(
            warnings,
            (warnings[0]..drifts[0]).collect::<Vec<_>>(),
            "and nothing after the drift"
        );
    }

    #[test]
    fn the_first_error_after_none_is_a_drift() {
        let values = [vec![false; 31], vec![true]].concat();
        assert_eq!(run(&values), (vec![], vec![31]));
    }

    #[test]
    fn after_a_drift_it_is_as_new() {
        let mut ddm = Ddm::new(DdmSettings::USUAL);
        let values = [vec![false; 31], vec![true]].concat();
        assert_eq!(indices(&values, |it| ddm.add(it)).1, [31]);
        assert_eq!(ddm, Ddm::new(DdmSettings::USUAL));
    }

    #[test]
    #[should_panic(expected = "drift at least warning")]
    fn a_drift_before_its_warning_is_no_setting() {
        Ddm::new(DdmSettings {
            drift: 1.0,
            ..DdmSettings::USUAL
        });
    }
}
