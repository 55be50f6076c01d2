//! Student's t far out in its tail, to about 12 digits: what tests on many values at once ask for.

use std::f64::consts::FRAC_1_PI;

use crate::interval::normal_quantile;

/// The point above which a variable of Student's t lies with the probability `tail`, above 0 and below one
/// half. `degrees` is at least 1. A point beyond 1e150 is given as that.
pub(crate) fn upper_quantile(tail: f64, degrees: usize) -> f64 {
    assert!(tail > 0.0 && tail < 0.5, "a tail is less than half");
    assert!(degrees > 0, "at least one degree of freedom");
    // Newton's method on the logarithms of point and tail: there the tail is nearly straight far out. A step
    // that leaves the bracket is a bisection instead.
    let (mut least, mut most) = (1e-150f64.ln(), 1e150f64.ln());
    let mut log = (-normal_quantile(tail)).max(1e-150).ln();
    for _ in 0..200 {
        let point = log.exp();
        let (above, density) = upper_tail(point, degrees as f64);
        let distance = (above / tail).ln();
        if distance > 0.0 {
            least = log;
        } else {
            most = log;
        }
        let newton = log + distance * above / (density * point);
        let next = if newton > least && newton < most {
            newton
        } else {
            f64::midpoint(least, most)
        };
        let moved = (next - log).abs();
        log = next;
        if moved < 1e-15 {
            break;
        }
    }
    log.exp()
}

/// The probability above `t`, which is at least 0, with a whole number of degrees of freedom.
pub(crate) fn above(t: f64, degrees: f64) -> f64 {
    upper_tail(t, degrees).0.clamp(0.0, 0.5)
}

/// The probability above `t`, and the density there: the tail is half of the incomplete beta function of
/// `degrees / 2` and 1/2 at `degrees / (degrees + t^2)` (Abramowitz & Stegun 26.5.27), the continued fraction
/// of which (DLMF 8.17.22) is taken on the side where it converges fast.
fn upper_tail(t: f64, degrees: f64) -> (f64, f64) {
    let ratio = t * t / degrees;
    let scale = scale(degrees);
    let power = (-degrees / 2.0 * ratio.ln_1p()).exp();
    let density = scale / degrees.sqrt() * power / (1.0 + ratio).sqrt();
    let (far, near) = (1.0 / (1.0 + ratio), ratio / (1.0 + ratio));
    let (a, b) = (degrees / 2.0, 0.5);
    // x^a (1 - x)^b / B(a, b), the same on either side.
    let front = power * near.sqrt() * scale;
    let tail = if far < (a + 1.0) / (a + b + 2.0) {
        front / a * fraction(far, a, b) / 2.0
    } else {
        0.5 - front / b * fraction(near, b, a) / 2.0
    };
    (tail, density)
}

/// `Γ((v + 1) / 2) / (sqrt(π) Γ(v / 2))`, which is `1 / B(v / 2, 1 / 2)`: by the recurrence of the gamma
/// function, or from 100 on by the expansion of a ratio of two (Tricomi & Erdélyi, Pacific J. Math. 1 (1951)).
fn scale(degrees: f64) -> f64 {
    if degrees >= 100.0 {
        let x = 2.0 / degrees;
        let terms = [
            1.0,
            -1.0 / 8.0,
            1.0 / 128.0,
            5.0 / 1024.0,
            -21.0 / 32768.0,
            -399.0 / 262_144.0,
        ];
        let series = terms.iter().rev().fold(0.0, |sum, it| sum * x + it);
        return (degrees / 2.0 * FRAC_1_PI).sqrt() * series;
    }
    let odd = degrees % 2.0 == 1.0;
    let (mut at, mut scale) = if odd { (1.0, FRAC_1_PI) } else { (2.0, 0.5) };
    while at < degrees {
        scale *= (at + 1.0) / at;
        at += 2.0;
    }
    scale
}

/// The continued fraction of the incomplete beta function, by the method of Lentz, Appl. Opt. 15 (1976),
/// 668-671.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let away = |it: f64| if it.abs() < 1e-300 { 1e-300 } else { it };
    let (mut over, mut under) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut value = under;
    for step in 1..500 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut factor = 1.0;
        for term in [even, odd] {
            under = 1.0 / away(1.0 + term * under);
            over = away(1.0 + term / over);
            factor = under * over;
            value *= factor;
        }
        if (factor - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_incomplete_beta_function() {
        // By mpmath, inverted at 40 digits.
        for (tail, degrees, want) in [
            (0.025, 1, 12.706204736174705),
            (0.05 / 6.0, 1, 38.18845929702561),
            (1e-12, 1, 318309886183.7907),
            (0.4999, 2, 0.00028284271813147343),
            (0.025, 2, 4.302652729749464),
            (2.5e-5, 3, 35.29791944981513),
            (1e-5, 9, 8.102057879394822),
            (0.3, 5, 0.5594296444693607),
            (0.01, 99, 2.364_605_861_786_943),
            (0.01, 100, 2.364_217_366_238_482),
            (2.5e-6, 1_000, 4.589828025727752),
            (1e-8, 98, 6.112303925465244),
            (4.6e-4, 52, 3.5152008887664355),
            (0.45, 50, 0.126301239997659),
            (1e-7, 100_000, 5.199701988365053),
            (1e-100, 7, 387_862_584_049_539.9),
        ] {
            let got = upper_quantile(tail, degrees);
            // Near a half the tail itself has 16 digits, and its distance from a half fewer.
            let right = (got - want).abs() <= 1e-12 * want + 1e-15;
            assert!(right, "{tail}, {degrees}: {got}, not {want}");
        }
    }

    #[test]
    fn the_ends_of_what_can_be_asked() {
        assert!(upper_quantile(1e-300, 1) > 1e149);
        assert!(upper_quantile(0.5 - 1e-16, 3) < 1e-15);
        let far = upper_quantile(1e-300, 1_000_000_000);
        assert!((far / -normal_quantile(1e-300) - 1.0).abs() < 1e-5);
    }
}
