//! Values against the same phase of the seasons before.
//!
//! The rules R1 to R5 are those of [`super`].

use super::robust;

/// How a series repeats itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Season {
    /// Values in one season; at least 1.
    pub period: usize,
    /// How many past seasons a value is compared with; at least 1.
    pub seasons: usize,
}

/// The limit for [`scores`]: wider than [`robust::SCORE_LIMIT`], since the residuals of a real series have
/// heavier tails than normal values.
pub const SCORE_LIMIT: f64 = 4.0;

/// Each value less the median of the values at the same phase in the last `seasons` seasons: the residual of
/// the seasonal naive forecast (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, third
/// edition, section 5.2), of several seasons and not of one, so that an outlier is not repeated a season
/// later. `None` before there are that many seasons, and where less than half of the values compared with
/// are finite.
pub fn residuals(values: &[f64], season: Season) -> Vec<Option<f64>> {
    let Season { period, seasons } = season;
    assert!(period > 0 && seasons > 0, "a season without values");
    let residual = |index: usize| {
        let residual = values[index] - usual(values, index, season)?;
        (!residual.is_nan()).then_some(residual)
    };
    (0..values.len()).map(residual).collect()
}

/// The median of the values at the same phase in the last seasons; `None` before there are that many, and where less
/// than half of those values are finite.
pub(super) fn usual(values: &[f64], index: usize, season: Season) -> Option<f64> {
    let Season { period, seasons } = season;
    index.checked_sub(period.checked_mul(seasons)?)?;
    let before: Vec<f64> = (1..=seasons)
        .map(|it| values[index - it * period])
        .collect();
    robust::half_finite(&before)?;
    robust::median(before)
}

/// The robust score of each of the [`residuals`] among all of them. They are taken around their median, so
/// that a steady trend, by which every value lies above its past seasons, is not an anomaly.
pub fn scores(values: &[f64], season: Season) -> Vec<Option<f64>> {
    let residuals = residuals(values, season);
    let present: Vec<f64> = residuals.iter().map(|it| it.unwrap_or(f64::NAN)).collect();
    robust::scores(&present)
}

/// A simple seasonal component: for each value the median of its phase over the whole series, less the
/// median of the whole. Unlike that of STL it is the same in every season, and a trend is in it as far as
/// a season reaches. 0 for a phase without finite values; every value is finite.
pub fn phase_medians(values: &[f64], period: usize) -> Vec<f64> {
    assert!(period > 0, "a season without values");
    let Some(whole) = robust::median(values.iter().copied()) else {
        return vec![0.0; values.len()];
    };
    let of_phase = |phase: usize| {
        let values = values.iter().skip(phase).step_by(period);
        let median = robust::median(values.copied()).unwrap_or(whole);
        (median - whole).clamp(f64::MIN, f64::MAX)
    };
    let phases: Vec<f64> = (0..period.min(values.len())).map(of_phase).collect();
    let component = (0..values.len()).map(|it| phases[it % period]);
    component.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_OF_THREE: Season = Season {
        period: 3,
        seasons: 2,
    };

    #[test]
    fn residuals_by_hand() {
        let values = [
            1.0,
            5.0,
            9.0,
            3.0,
            5.0,
            9.0,
            2.0,
            6.0,
            f64::NAN,
            7.0,
            5.0,
            8.0,
        ];
        let want = [
            Some(0.0),
            Some(1.0),
            None,
            Some(4.5),
            Some(-0.5),
            Some(-1.0),
        ];
        assert_eq!(residuals(&values, TWO_OF_THREE)[..6], [None; 6]);
        assert_eq!(residuals(&values, TWO_OF_THREE)[6..], want);
        // 0, 1, 4.5, -0.5, -1: the median is 0, the distances 0, 1, 4.5, 0.5, 1 have the median 1.
        let want = want.map(|it| it.map(|it: f64| robust::NORMAL_QUARTILE * it));
        assert_eq!(scores(&values, TWO_OF_THREE)[6..], want);
    }

    #[test]
    fn what_cannot_be_compared_has_no_residual() {
        assert_eq!(residuals(&[], TWO_OF_THREE), []);
        assert_eq!(residuals(&[1.0; 4], TWO_OF_THREE), [None; 4]);
        let endless = Season {
            period: usize::MAX,
            seasons: 2,
        };
        assert_eq!(residuals(&[1.0; 4], endless), [None; 4]);
        // A series that repeats itself exactly gives no scale.
        assert_eq!(scores(&[2.0; 9], TWO_OF_THREE), [None; 9]);
        let one = Season {
            period: 1,
            seasons: 1,
        };
        let infinite = residuals(&[1.0, f64::INFINITY, 1.0, 2.0], one);
        assert_eq!(infinite, [None, Some(f64::INFINITY), None, Some(1.0)]);
    }

    #[test]
    fn the_median_of_each_phase() {
        let values = [1.0, 5.0, 3.0, 5.0, 2.0, 9.0, f64::NAN];
        // Of 1, 2, 3, 5, 5, 9 the median is 4; the phases are 1, 3, 2 and 5, 5, 9.
        let want = [-2.0, 1.0, -2.0, 1.0, -2.0, 1.0, -2.0];
        assert_eq!(phase_medians(&values, 2), want);
        assert_eq!(phase_medians(&values, 100)[..2], [-3.0, 1.0]);
        assert_eq!(phase_medians(&values, 100)[6], 0.0);
        assert_eq!(phase_medians(&[f64::NAN], 2), [0.0]);
        assert_eq!(phase_medians(&[], 2), []);
        let far = [-f64::MAX, f64::MAX, -f64::MAX];
        assert_eq!(phase_medians(&far, 2), [0.0, f64::MAX, 0.0]);
    }
}
