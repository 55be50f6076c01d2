//! The gamma function, and the distributions that are made of it.

use std::f64::consts::PI;

/// Terms and steps are given up after so many: far more than any argument here needs.
const STEPS_MAX: usize = 1_000_000;

/// The logarithm of the gamma function of `x > 0`, to about 15 digits: Lanczos, SIAM J. Numer. Anal. B 1 (1964),
/// 86-96, with g = 7 and nine terms.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    const G: f64 = 7.0;
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection.
        return (PI / (PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let base = x + G + 0.5;
    let terms = TERMS.iter().enumerate().skip(1);
    let sum = TERMS[0]
        + terms
            .map(|(index, it)| it / (x + index as f64))
            .sum::<f64>();
    0.5 * (2.0 * PI).ln() + (x + 0.5) * base.ln() - base + sum.ln()
}

/// The regularised incomplete gamma functions P and Q of `shape > 0` and `x >= 0`, which add up to 1; the smaller
/// of the two is computed: the series 6.5.29 of Abramowitz & Stegun, Handbook of Mathematical Functions (1964), or
/// the continued fraction 6.5.31, by Lentz's method.
pub(crate) fn incomplete(shape: f64, x: f64) -> (f64, f64) {
    if x <= 0.0 {
        return (0.0, 1.0);
    }
    if !x.is_finite() {
        return (1.0, 0.0);
    }
    let scale = (shape * x.ln() - x - ln_gamma(shape)).exp();
    if x < shape + 1.0 {
        let (mut term, mut sum) = (1.0 / shape, 1.0 / shape);
        for step in 1..STEPS_MAX {
            term *= x / (shape + step as f64);
            sum += term;
            if term < sum * f64::EPSILON {
                break;
            }
        }
        let p = (scale * sum).min(1.0);
        return (p, 1.0 - p);
    }
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - shape;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for step in 1..STEPS_MAX {
        let step = step as f64;
        let a = step * (shape - step);
        b += 2.0;
        d = a.mul_add(d, b);
        d = 1.0 / if d.abs() < TINY { TINY } else { d };
        c = b + a / c;
        c = if c.abs() < TINY { TINY } else { c };
        let change = d * c;
        fraction *= change;
        if (change - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    let q = (scale * fraction).clamp(0.0, 1.0);
    (1.0 - q, q)
}

/// The probability that a chi-square variable with `degrees` is at least `x`.
pub(crate) fn chi_square_above(x: f64, degrees: f64) -> f64 {
    incomplete(degrees / 2.0, x / 2.0).1
}

/// The probability that a noncentral chi-square variable is at most `x`: the mixture of central ones by Poisson
/// weights, 26.4.25 of Abramowitz & Stegun (1964), from its largest term outwards.
pub(crate) fn noncentral_below(x: f64, degrees: f64, noncentrality: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let (half, mean) = (x / 2.0, noncentrality / 2.0);
    if mean <= 0.0 {
        return incomplete(degrees / 2.0, half).0;
    }
    let middle = mean.floor();
    let weight_of = |count: f64| (count * mean.ln() - mean - ln_gamma(count + 1.0)).exp();
    // P(a + 1, y) = P(a, y) - y^a exp(-y) / gamma(a + 1).
    let step_of = |shape: f64| (shape * half.ln() - half - ln_gamma(shape + 1.0)).exp();
    let start = incomplete(degrees / 2.0 + middle, half).0;
    let mut sum = 0.0;
    let (mut count, mut weight, mut below) = (middle, weight_of(middle), start);
    let mut step = step_of(degrees / 2.0 + middle);
    loop {
        let term = weight * below;
        sum += term;
        if term < sum * 1e-17 || weight < 1e-300 || count > middle + STEPS_MAX as f64 {
            break;
        }
        below = (below - step).max(0.0);
        count += 1.0;
        weight *= mean / count;
        step *= half / (degrees / 2.0 + count);
    }
    (count, weight, below) = (middle, weight_of(middle), start);
    step = step_of(degrees / 2.0 + middle);
    while count > 0.0 {
        step *= (degrees / 2.0 + count) / half;
        weight *= count / mean;
        count -= 1.0;
        below = (below + step).min(1.0);
        let term = weight * below;
        sum += term;
        if weight < 1e-17 * sum.max(1e-280) {
            break;
        }
    }
    sum.min(1.0)
}

/// The noncentrality with which chi-square is at most `x` with this probability; 0 where none is small enough.
pub(crate) fn noncentrality_at(x: f64, degrees: f64, below: f64) -> f64 {
    let is_small = |noncentrality: f64| noncentral_below(x, degrees, noncentrality) > below;
    if !is_small(0.0) {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, x.max(1.0));
    while is_small(high) && high < 1e15 {
        low = high;
        high *= 2.0;
    }
    bisect(low, high, is_small)
}

/// The probability that a noncentral chi-square variable is greater than `x`. Where it is less than about 1e-14, what
/// is left of the difference from 1 is noise, so never less than 0.
pub(crate) fn noncentral_above(x: f64, degrees: f64, noncentrality: f64) -> f64 {
    (1.0 - noncentral_below(x, degrees, noncentrality)).max(0.0)
}

/// The point below which a noncentral chi-square variable lies with this probability.
pub(crate) fn noncentral_quantile(below: f64, degrees: f64, noncentrality: f64) -> f64 {
    let is_short = |x: f64| noncentral_below(x, degrees, noncentrality) < below;
    let mean = degrees + noncentrality;
    let deviation = (2.0 * (degrees + 2.0 * noncentrality)).sqrt();
    let mut high = mean + deviation;
    let mut step = deviation;
    while is_short(high) && high < 1e15 {
        high += step;
        step *= 2.0;
    }
    bisect(0.0, high, is_short)
}

/// The point between the two up to which `is_short` holds.
pub(crate) fn bisect(mut low: f64, mut high: f64, is_short: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if is_short(middle) {
            low = middle;
        } else {
            high = middle;
        }
        if high - low <= 1e-12 * high {
            break;
        }
    }
    low
}

/// The probability that a standard normal variable is greater than `z`.
pub(crate) fn normal_above(z: f64) -> f64 {
    if z.is_nan() {
        return 1.0;
    }
    let (below, above) = incomplete(0.5, z * z / 2.0);
    if z >= 0.0 {
        above / 2.0
    } else {
        (1.0 + below) / 2.0
    }
}

/// The probability that a standard normal variable is less than `z`.
pub(crate) fn normal_below(z: f64) -> f64 {
    normal_above(-z)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!(
            (a - b).abs() <= 1e-12 * b.abs().max(1e-300),
            "{a} is not {b}"
        );
    }

    #[test]
    fn factorials_and_roots() {
        near(ln_gamma(5.0), 24_f64.ln());
        near(ln_gamma(0.5), PI.sqrt().ln());
        near(
            ln_gamma(101.0),
            (1..=100).map(|it| f64::from(it).ln()).sum(),
        );
    }

    #[test]
    fn chi_square_with_two_degrees_is_exponential() {
        for x in [0.0, 0.1, 1.0, 5.0, 50.0, 500.0] {
            near(chi_square_above(x, 2.0), (-x / 2.0).exp());
        }
        assert_eq!(chi_square_above(f64::INFINITY, 3.0), 0.0);
    }

    #[test]
    fn the_noncentral_one_without_noncentrality_is_central() {
        near(noncentral_below(3.0, 4.0, 0.0), incomplete(2.0, 1.5).0);
        // With one degree it is the square of a normal variable around the root of the noncentrality.
        let far = noncentral_below(1e6, 1.0, 1e6);
        assert!((far - 0.5).abs() < 1e-3, "{far}");
        let mut last = 1.0;
        for noncentrality in 0..60 {
            let below = noncentral_below(20.0, 5.0, f64::from(noncentrality));
            assert!(below < last, "it falls with the noncentrality");
            last = below;
        }
    }
}
