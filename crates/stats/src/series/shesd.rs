//! The generalised test for several extreme values, plain and after a season is taken out.
//!
//! The rules R1 to R5 are those of [`super`].

use super::robust::{self, Centre};
use crate::student;
use crate::sum::Moments;

/// What a test may find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The most anomalies looked for. A result that reaches it says "at least so many".
    pub anomalies_max: usize,
    /// The probability of finding any where there is none and the values are normal; strictly between 0 and
    /// 1.
    pub alpha: f64,
}

/// One removal of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The position of the value furthest from the centre of those left; the first of several.
    pub index: usize,
    /// Its distance from the centre, in scales.
    pub statistic: f64,
    /// What the statistic must exceed.
    pub critical: f64,
}

/// The steps of a test, the furthest value first.
#[derive(Clone, Debug, PartialEq)]
pub struct Esd {
    /// At most as many as anomalies were looked for; fewer where the values left give no scale (R3).
    pub steps: Vec<Step>,
    /// The values removed in the first so many steps are anomalies: up to the last step whose statistic
    /// exceeds its critical value.
    pub anomalies: usize,
}

impl Esd {
    /// The positions of the anomalies, ascending.
    pub fn positions(&self) -> Vec<usize> {
        let found = self.steps[..self.anomalies].iter();
        let mut positions: Vec<usize> = found.map(|it| it.index).collect();
        positions.sort_unstable();
        positions
    }
}

/// The generalised extreme studentised deviate test on mean and standard deviation: Rosner, Technometrics 25
/// (1983), 165-172; its critical values are good from about 25 values on. The time is that of the number of
/// values times `anomalies_max`.
pub fn generalised_esd(values: &[f64], limits: Limits) -> Esd {
    esd(values, limits, mean_scores)
}

/// The seasonal hybrid test: that of Rosner with median and median absolute deviation in place of mean and
/// standard deviation, on the values less their seasonal component and their median: Hochenbaum, Vallis &
/// Kejariwal, arXiv 1704.07706 (2017). The scale is the deviation over
/// [`robust::NORMAL_QUARTILE`], as the critical values are those for a standard deviation.
///
/// `season` holds the seasonal component of each value, from [`super::seasonal::phase_medians`] or from any
/// decomposition; the authors use STL.
pub fn seasonal_hybrid_esd(values: &[f64], season: &[f64], limits: Limits) -> Esd {
    assert_eq!(values.len(), season.len(), "a component for each value");
    let median = robust::median(values.iter().copied()).unwrap_or(0.0);
    let pairs = values.iter().zip(season);
    let rest: Vec<f64> = pairs
        .map(|(value, season)| value - season - median)
        .collect();
    esd(&rest, limits, |left| {
        let centre = Centre::of(left.iter().map(|it| it.1));
        let score = |it: &(usize, f64)| centre.and_then(|centre| centre.score(it.1));
        left.iter().map(score).collect()
    })
}

/// A value and its position.
type Left = [(usize, f64)];

fn esd(values: &[f64], limits: Limits, scores: impl Fn(&Left) -> Option<Vec<f64>>) -> Esd {
    assert!(
        limits.alpha > 0.0 && limits.alpha < 1.0,
        "a probability strictly between 0 and 1"
    );
    let indexed = values.iter().copied().enumerate();
    let mut left: Vec<(usize, f64)> = indexed.filter(|it| !it.1.is_nan()).collect();
    let (mut steps, mut anomalies) = (Vec::new(), 0);
    // From two values nothing stands out.
    while left.len() > 2 && steps.len() < limits.anomalies_max {
        let Some(scores) = scores(&left) else { break };
        let (mut furthest, mut statistic) = (0, 0.0);
        for (place, score) in scores.iter().enumerate() {
            if score.abs() > statistic {
                (furthest, statistic) = (place, score.abs());
            }
        }
        let critical = critical(left.len(), limits.alpha);
        let (index, _) = left.remove(furthest);
        steps.push(Step {
            index,
            statistic,
            critical,
        });
        if statistic > critical {
            anomalies = steps.len();
        }
    }
    Esd { steps, anomalies }
}

fn mean_scores(left: &Left) -> Option<Vec<f64>> {
    let mut moments = Moments::default();
    let finite = left.iter().map(|it| it.1).filter(|it| it.is_finite());
    let (least, most) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), it| {
        moments.add(it);
        (least.min(it), most.max(it))
    });
    let (mean, deviation) = (moments.mean(), moments.variance()?.sqrt());
    // What is not finite or, by rounding alone, above zero is no scale (R3).
    let scaled = least < most && deviation > 0.0 && deviation.is_finite() && mean.is_finite();
    scaled.then(|| left.iter().map(|it| (it.1 - mean) / deviation).collect())
}

/// Rosner's critical value where `count` values are left: with t the upper `alpha / (2 count)` point of
/// Student's t of `count - 2` degrees of freedom, `(count - 1) t / sqrt((count - 2 + t^2) count)`.
fn critical(count: usize, alpha: f64) -> f64 {
    let degrees = count - 2;
    let t = student::upper_quantile(alpha / (2.0 * count as f64), degrees);
    // The same with t divided out: it may be too great to be squared.
    let below = degrees as f64 / t / t + 1.0;
    (count - 1) as f64 / (below * count as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosner's own example (1983): 54 values, of which the test at 5 % finds three.
    const ROSNER: [f64; 54] = [
        -0.25, 0.68, 0.94, 1.15, 1.20, 1.26, 1.26, 1.34, 1.38, 1.43, 1.49, 1.49, 1.55, 1.56, 1.58,
        1.65, 1.69, 1.70, 1.76, 1.77, 1.81, 1.91, 1.94, 1.96, 1.99, 2.06, 2.09, 2.10, 2.14, 2.15,
        2.23, 2.24, 2.26, 2.35, 2.37, 2.40, 2.47, 2.54, 2.62, 2.64, 2.90, 2.92, 2.92, 2.93, 3.21,
        3.26, 3.30, 3.59, 3.68, 4.30, 4.64, 5.34, 5.42, 6.01,
    ];
    const TEN: Limits = Limits {
        anomalies_max: 10,
        alpha: 0.05,
    };

    #[test]
    fn rosners_example() {
        let esd = generalised_esd(&ROSNER, TEN);
        // The table of the NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.5.17.3, to its three
        // digits.
        let table = [
            (3.118, 3.158),
            (2.942, 3.151),
            (3.179, 3.143),
            (2.810, 3.136),
            (2.815, 3.128),
            (2.848, 3.120),
            (2.279, 3.111),
            (2.310, 3.103),
            (2.101, 3.094),
            (2.067, 3.085),
        ];
        assert_eq!(esd.steps.len(), table.len());
        for (step, (statistic, critical)) in esd.steps.iter().zip(table) {
            assert!((step.statistic - statistic).abs() < 1.1e-3, "{step:?}");
            assert!((step.critical - critical).abs() < 1.1e-3, "{step:?}");
        }
        assert_eq!(esd.positions(), [51, 52, 53]);
    }

    fn wave(length: usize) -> Vec<f64> {
        let phase = [0.0, 10.0, 40.0, 20.0];
        let noise = |it: usize| (it * 37 % 11) as f64 / 11.0;
        (0..length).map(|it| phase[it % 4] + noise(it)).collect()
    }

    #[test]
    fn an_outlier_inside_the_range_shows_once_the_season_is_out() {
        let mut values = wave(80);
        values[41] = 30.0;
        values[60] = -30.0;
        let season = crate::series::seasonal::phase_medians(&values, 4);
        let found = seasonal_hybrid_esd(&values, &season, TEN);
        assert_eq!(found.positions(), [41, 60]);
        assert_eq!(found.steps[0].index, 60);
        let plain = generalised_esd(&values, TEN);
        assert!(!plain.positions().contains(&41));
    }

    #[test]
    fn nothing_is_found_where_there_is_no_scale() {
        let none = Esd {
            steps: vec![],
            anomalies: 0,
        };
        for values in [&[][..], &[1.0], &[1.0, 2.0], &[0.1; 30], &[f64::NAN; 9]] {
            assert_eq!(generalised_esd(values, TEN), none);
            let season = vec![0.0; values.len()];
            assert_eq!(seasonal_hybrid_esd(values, &season, TEN), none);
        }
        // More than half are alike: no median deviation, but a standard deviation.
        let mut values = vec![0.1; 30];
        values[7] = 5.0;
        assert_eq!(seasonal_hybrid_esd(&values, &[0.0; 30], TEN), none);
        assert_eq!(generalised_esd(&values, TEN).positions(), [7]);
    }

    #[test]
    fn infinities_are_anomalies_and_what_is_no_number_is_not_there() {
        let mut values = wave(80);
        values[3] = f64::INFINITY;
        values[5] = f64::NEG_INFINITY;
        values[9] = f64::NAN;
        let season = crate::series::seasonal::phase_medians(&values, 4);
        for esd in [
            seasonal_hybrid_esd(&values, &season, TEN),
            generalised_esd(&values, TEN),
        ] {
            assert_eq!(esd.positions(), [3, 5]);
            let numbers = |it: &Step| !it.statistic.is_nan() && it.critical.is_finite();
            assert!(esd.steps.iter().all(numbers));
        }
        let huge = [f64::MAX, -f64::MAX, 1.0, 2.0, 3.0];
        assert_eq!(generalised_esd(&huge, TEN).steps, []);
    }

    #[test]
    fn of_two_equally_far_values_the_first_is_removed() {
        let values = [-9.0, -1.0, 0.0, 1.0, 9.0];
        let steps = seasonal_hybrid_esd(&values, &[0.0; 5], TEN).steps;
        assert_eq!(steps[0].index, 0);
        assert_eq!(steps.len(), 3);
    }
}
