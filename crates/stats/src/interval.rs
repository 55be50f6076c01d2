//! Two-sided intervals, and the quantiles behind them.
//!
//! R1. `level` is the probability that an interval covers the truth, strictly between 0 and 1.
//! R2. An interval contains its value.
//! R3. Where no interval can be given, the ends are `None`; a guess is never given in its place.

use crate::student;

/// A metric's value and, where one can be given, its two-sided interval at the level asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The metric on the rows seen; finite.
    pub value: f64,
    /// The lower end.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
}

impl Estimate {
    /// A value of which no interval is known.
    pub fn bare(value: f64) -> Self {
        Self {
            value,
            low: None,
            high: None,
        }
    }

    /// The same value with the interval cut to where the metric can lie, but never past the value (R2).
    pub fn within(self, least: f64, most: f64) -> Self {
        Self {
            value: self.value,
            low: self.low.map(|low| low.max(least).min(self.value)),
            high: self.high.map(|high| high.min(most).max(self.value)),
        }
    }

    /// A value and what is so far from it on both sides.
    pub(crate) fn around(value: f64, half: f64) -> Self {
        Self::between(value, value - half, value + half)
    }

    /// A value and these ends; none where one of them is no number.
    pub(crate) fn between(value: f64, low: f64, high: f64) -> Self {
        if !low.is_finite() || !high.is_finite() {
            return Self::bare(value);
        }
        Self {
            value,
            low: Some(low.min(value)),
            high: Some(high.max(value)),
        }
    }
}

/// The share `successes / trials` with Wilson's score interval: Wilson, J. Am. Stat. Assoc. 22 (1927),
/// 209-212; Brown, Cai & DasGupta, Stat. Sci. 16 (2001), section 3.1.1. Without trials the value is 0,
/// without an interval.
pub fn wilson(successes: u64, trials: u64, level: f64) -> Estimate {
    assert!(successes <= trials, "more successes than trials");
    if trials == 0 {
        return Estimate::bare(0.0);
    }
    let (count, z) = (trials as f64, two_sided(level));
    let share = successes as f64 / count;
    let scale = 1.0 + z * z / count;
    let centre = (share + z * z / (2.0 * count)) / scale;
    let variance = share * (1.0 - share) / count + z * z / (4.0 * count * count);
    let half = z * variance.sqrt() / scale;
    Estimate::between(share, centre - half, centre + half).within(0.0, 1.0)
}

/// The normal interval of an estimate with a known standard error. `None` or zero: no interval.
pub fn normal(value: f64, standard_error: Option<f64>, level: f64) -> Estimate {
    match standard_error {
        Some(error) if error > 0.0 => {
            let half = two_sided(level) * error;
            Estimate::around(value, half)
        }
        Some(_) | None => Estimate::bare(value),
    }
}

/// The normal interval on the scale of `ln(v / (1 - v))`, carried back, so that it stays inside 0 and 1.
/// `standard_error` is on that scale: the plain one divided by `v (1 - v)`, by the delta method. A value of
/// exactly 0 or 1 has no place on that scale, and so no interval.
pub fn logit(value: f64, standard_error: Option<f64>, level: f64) -> Estimate {
    if value <= 0.0 || value >= 1.0 {
        return Estimate::bare(value);
    }
    let back = |it: f64| 1.0 / (1.0 + (-it).exp());
    let inner = normal((value / (1.0 - value)).ln(), standard_error, level);
    match (inner.low, inner.high) {
        (Some(low), Some(high)) => Estimate::between(value, back(low), back(high)),
        _ => Estimate::bare(value),
    }
}

/// The fewest groups from which [`jackknife`] gives an interval.
pub const JACKKNIFE_GROUPS_MIN: usize = 10;

/// The delete-a-group jackknife: `replicates` holds the metric without each group in turn, the groups being
/// random and of about one size. Student's t with one degree of freedom less than there are groups: Kott,
/// J. Off. Stat. 17 (2001), 521-526. No interval from fewer than [`JACKKNIFE_GROUPS_MIN`] groups, or where
/// the metric has no value without one of them (not finite).
pub fn jackknife(value: f64, replicates: &[f64], level: f64) -> Estimate {
    if replicates.len() < JACKKNIFE_GROUPS_MIN {
        return Estimate::bare(value);
    }
    let count = replicates.len() as f64;
    let mean = replicates.iter().sum::<f64>() / count;
    let spread: f64 = replicates.iter().map(|it| (it - mean).powi(2)).sum();
    let error_squared = (count - 1.0) / count * spread;
    by_student(value, error_squared, replicates.len() - 1, level)
}

/// Student's interval of an estimate whose standard error has this square. Without one where that is not above 0 and
/// finite, and where there are no degrees of freedom.
pub(crate) fn by_student(value: f64, error_squared: f64, degrees: usize, level: f64) -> Estimate {
    // Not greater than 0 where it is no number either.
    if degrees == 0 || !(error_squared > 0.0 && error_squared.is_finite()) {
        return Estimate::bare(value);
    }
    let half = student::upper_quantile((1.0 - level) / 2.0, degrees) * error_squared.sqrt();
    Estimate::around(value, half)
}

/// The degrees of freedom of a difference of two means, from the squares of their standard errors and the degrees of
/// each: Welch, Biometrika 34 (1947), 28-35, rounded down; at least 1.
pub(crate) fn welch_degrees(
    (one, degrees_one): (f64, f64),
    (other, degrees_other): (f64, f64),
) -> f64 {
    let squared = one + other;
    let degrees = squared * squared / (one * one / degrees_one + other * other / degrees_other);
    degrees.floor().max(1.0)
}

/// The difference `one - other` of two independent estimates, from the intervals of both: the method of variance
/// estimates recovery, Zou & Donner, Stat. Med. 27 (2008), 1693-1702, section 2; of two shares with Wilson's intervals
/// it is Newcombe's method 10. Without an interval where one of them has none.
pub fn difference(one: Estimate, other: Estimate) -> Estimate {
    let value = one.value - other.value;
    let ends = (one.low.zip(one.high)).zip(other.low.zip(other.high));
    let Some(((low, high), (other_low, other_high))) = ends else {
        return Estimate::bare(value);
    };
    let down = (one.value - low).hypot(other_high - other.value);
    let up = (high - one.value).hypot(other.value - other_low);
    Estimate::between(value, value - down, value + up)
}

/// How much greater the mean of `one` is than that of `other`, by Welch (Biometrika 34 (1947), 28-35), with the degrees
/// of freedom rounded down. No interval of fewer than two values on a side, or of values that are all alike.
pub fn difference_of_means(one: &[f64], other: &[f64], level: f64) -> Estimate {
    let of = |values: &[f64]| {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count.max(1.0);
        let spread: f64 = values.iter().map(|it| (it - mean).powi(2)).sum();
        (mean, spread / (count - 1.0) / count, count - 1.0)
    };
    let ((mean, error, degrees), (mean_other, error_other, degrees_other)) = (of(one), of(other));
    let value = mean - mean_other;
    if one.len() < 2 || other.len() < 2 {
        return Estimate::bare(value);
    }
    let freedom = welch_degrees((error, degrees), (error_other, degrees_other));
    by_student(value, error + error_other, freedom as usize, level)
}

/// The weighted mean of independent estimates, with the interval that theirs give by the same method. `None` where
/// nothing has a weight.
pub fn mean_of(parts: &[(f64, Estimate)]) -> Option<Estimate> {
    let all: f64 = parts.iter().map(|it| it.0).sum();
    if all <= 0.0 {
        return None;
    }
    let sum = |of: &dyn Fn(&(f64, Estimate)) -> f64| parts.iter().map(of).sum::<f64>();
    let value = sum(&|(weight, it)| weight / all * it.value);
    if parts
        .iter()
        .any(|(_, it)| it.low.is_none() || it.high.is_none())
    {
        return Some(Estimate::bare(value));
    }
    let square = |weight: f64, distance: f64| (weight / all * distance).powi(2);
    let down = sum(&|(weight, it)| square(*weight, it.value - it.low.unwrap_or(it.value)));
    let up = sum(&|(weight, it)| square(*weight, it.high.unwrap_or(it.value) - it.value));
    Some(Estimate::between(
        value,
        value - down.sqrt(),
        value + up.sqrt(),
    ))
}

/// The point below which a standard normal variable lies with `probability`, to about 16 digits: algorithm
/// AS 241, PPND16; Wichura, Appl. Stat. 37 (1988), 477-484.
pub fn normal_quantile(probability: f64) -> f64 {
    assert!(
        probability > 0.0 && probability < 1.0,
        "a probability is strictly between 0 and 1"
    );
    let from_half = probability - 0.5;
    if from_half.abs() <= 0.425 {
        let r = 0.425 * 0.425 - from_half * from_half;
        return from_half * polynomial(&CENTRE_OVER, r) / polynomial(&CENTRE_UNDER, r);
    }
    let tail = probability.min(1.0 - probability);
    let r = (-tail.ln()).sqrt();
    let distance = if r <= 5.0 {
        polynomial(&NEAR_OVER, r - 1.6) / polynomial(&NEAR_UNDER, r - 1.6)
    } else {
        polynomial(&FAR_OVER, r - 5.0) / polynomial(&FAR_UNDER, r - 5.0)
    };
    distance.copysign(from_half)
}

pub(crate) fn two_sided(level: f64) -> f64 {
    assert!(level > 0.0 && level < 1.0, "R1");
    normal_quantile((1.0 + level) / 2.0)
}

/// Coefficients from the constant upwards.
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, it| sum * x + it)
}

const CENTRE_OVER: [f64; 8] = [
    3.387_132_872_796_366_5,
    1.331_416_678_917_843_8e2,
    1.971_590_950_306_551_3e3,
    1.373_169_376_550_946e4,
    4.592_195_393_154_987e4,
    6.726_577_092_700_87e4,
    3.343_057_558_358_813e4,
    2.509_080_928_730_122_7e3,
];
const CENTRE_UNDER: [f64; 8] = [
    1.0,
    4.231_333_070_160_091e1,
    6.871_870_074_920_579e2,
    5.394_196_021_424_751e3,
    2.121_379_430_158_659_7e4,
    3.930_789_580_009_271e4,
    2.872_908_573_572_194_3e4,
    5.226_495_278_852_854e3,
];
const NEAR_OVER: [f64; 8] = [
    1.423_437_110_749_683_6,
    4.630_337_846_156_545,
    5.769_497_221_460_691,
    3.647_848_324_763_204_5,
    1.270_458_252_452_368_4,
    2.417_807_251_774_506e-1,
    2.272_384_498_926_918_4e-2,
    7.745_450_142_783_414e-4,
];
const NEAR_UNDER: [f64; 8] = [
    1.0,
    2.053_191_626_637_759,
    1.676_384_830_183_803_8,
    6.897_673_349_851e-1,
    1.481_039_764_274_800_8e-1,
    1.519_866_656_361_645_7e-2,
    5.475_938_084_995_345e-4,
    1.050_750_071_644_416_9e-9,
];
const FAR_OVER: [f64; 8] = [
    6.657_904_643_501_103,
    5.463_784_911_164_114,
    1.784_826_539_917_291_3,
    2.965_605_718_285_048_7e-1,
    2.653_218_952_657_612_4e-2,
    1.242_660_947_388_078_4e-3,
    2.711_555_568_743_487_6e-5,
    2.010_334_399_292_288_1e-7,
];
const FAR_UNDER: [f64; 8] = [
    1.0,
    5.998_322_065_558_88e-1,
    1.369_298_809_227_358e-1,
    1.487_536_129_085_061_5e-2,
    7.868_691_311_456_133e-4,
    1.846_318_317_510_054_8e-5,
    1.421_511_758_316_446e-7,
    2.044_263_103_389_939_8e-15,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(estimate: Estimate, value: f64, ends: Option<(f64, f64)>) {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(near(estimate.value, value), "{estimate:?}");
        match (estimate.low, estimate.high, ends) {
            (Some(low), Some(high), Some((least, most))) => {
                assert!(near(low, least) && near(high, most), "{estimate:?}");
            }
            (low, high, ends) => assert_eq!((low, high, ends), (None, None, None)),
        }
    }

    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        for (probability, want) in [
            (0.5, 0.0),
            (0.9, 1.2815515655446004),
            (0.975, 1.959963984540054),
            (0.99999, 4.264890793923841),
            (0.075, -1.4395314709384563),
            (0.02, -2.053748910631823),
            (1e-10, -6.361340902404056),
            (1e-300, -37.0470962993612),
        ] {
            let got = normal_quantile(probability);
            assert!(
                (got - want).abs() <= 1e-14 * want.abs(),
                "{probability}: {got}"
            );
        }
    }

    #[test]
    fn wilson_of_eight_in_ten_of_none_and_of_all() {
        let all = 1.0 - 0.2775327998628892;
        check(
            wilson(8, 10, 0.95),
            0.8,
            Some((0.49016247153664183, 0.9433178485456247)),
        );
        check(wilson(0, 10, 0.95), 0.0, Some((0.0, 1.0 - all)));
        check(wilson(10, 10, 0.95), 1.0, Some((all, 1.0)));
        check(wilson(0, 0, 0.95), 0.0, None);
    }

    #[test]
    fn the_logit_interval_stays_inside_and_the_normal_one_is_symmetric() {
        let third = normal(2.0, Some(1.0), 0.95);
        check(
            third,
            2.0,
            Some((2.0 - 1.959963984540054, 2.0 + 1.959963984540054)),
        );
        // At one half the logit is 0, so the ends are 1 / (1 + exp(±1.96)).
        let low = 1.0 / (1.0 + 1.959963984540054f64.exp());
        check(logit(0.5, Some(1.0), 0.95), 0.5, Some((low, 1.0 - low)));
        check(logit(1.0, Some(1.0), 0.95), 1.0, None);
        check(logit(0.5, None, 0.95), 0.5, None);
        check(normal(2.0, Some(0.0), 0.95), 2.0, None);
        check(normal(2.0, Some(f64::NAN), 0.95), 2.0, None);
    }

    /// By `scipy.stats.t.ppf(0.975, 3)`: variances 0.04 and 0.05 / 3, so 3.26 degrees.
    #[test]
    fn means_differ_by_welch() {
        let (one, other) = ([0.5, 0.7, 0.9], [0.1, 0.3, 0.2, 0.4]);
        let half = 3.182446305284263 * (0.04f64 / 3.0 + 0.05 / 3.0 / 4.0).sqrt();
        let want = Some((0.45 - half, 0.45 + half));
        check(difference_of_means(&one, &other, 0.95), 0.45, want);
        check(difference_of_means(&[2.0; 3], &[1.0; 3], 0.95), 1.0, None);
        check(difference_of_means(&[2.0], &other, 0.95), 1.75, None);
    }

    #[test]
    fn the_jackknife_of_a_mean_is_its_standard_error() {
        // Ten groups of one row each, 0 to 9: the standard error is 3.0276503540974917 / sqrt(10).
        let replicates: Vec<f64> = (0..10).map(|it| (45.0 - f64::from(it)) / 9.0).collect();
        let half = 2.262157162798205 * 3.0276503540974917 / 10f64.sqrt();
        check(
            jackknife(4.5, &replicates, 0.95),
            4.5,
            Some((4.5 - half, 4.5 + half)),
        );
        check(jackknife(4.5, &replicates[1..], 0.95), 4.5, None);
        let mut broken = replicates;
        broken[3] = f64::NAN;
        check(jackknife(4.5, &broken, 0.95), 4.5, None);
    }

    /// Normal intervals combine to the normal intervals of sums.
    #[test]
    fn independent_intervals_combine() {
        let of = |value, error| normal(value, Some(error), 0.95);
        let near = |got: Option<f64>, want: Option<f64>| {
            let (got, want) = (got.expect("an end"), want.expect("an end"));
            assert!((got - want).abs() < 1e-12, "{got}, not {want}");
        };
        let (got, want) = (difference(of(3.0, 0.3), of(1.0, 0.4)), of(2.0, 0.5));
        near(got.low, want.low);
        near(got.high, want.high);
        let got = mean_of(&[(3.0, of(1.0, 0.4)), (1.0, of(5.0, 1.6))]).expect("weights");
        let want = of(2.0, 0.5);
        assert_eq!(got.value, 2.0);
        near(got.low, want.low);
        near(got.high, want.high);
        assert_eq!(mean_of(&[]), None);
        let bare = mean_of(&[(1.0, Estimate::bare(1.0)), (1.0, of(2.0, 1.0))]);
        assert_eq!(bare, Some(Estimate::bare(1.5)));
        assert_eq!(
            difference(of(1.0, 1.0), Estimate::bare(3.0)),
            Estimate::bare(-2.0)
        );
    }
}
