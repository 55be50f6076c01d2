//! Whether the rows of a slice have a greater loss than the others.

use crate::Estimate;
use crate::gamma::ln_gamma;
use crate::interval::{by_student, difference, welch_degrees, wilson};
use crate::student;

/// What is counted of some rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    pub(super) rows: u64,
    sum: f64,
    squares: f64,
}

/// What is left of numbers that are all alike is rounding, up to this share.
const ALIKE: f64 = 1e-12;

/// Two parts beside each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compared {
    pub(super) difference: Estimate,
    /// One-sided: of as great a difference or a greater one, where there is none.
    pub(super) p: f64,
}

impl Part {
    /// Losses are from 0 to 1, so that plain sums are exact enough.
    pub(super) fn add(&mut self, loss: f64) {
        self.rows += 1;
        self.sum += loss;
        self.squares += loss * loss;
    }

    pub(super) fn mean(self) -> f64 {
        if self.rows == 0 {
            return 0.0;
        }
        self.sum / self.rows as f64
    }

    /// The square of the mean's standard error; 0 of fewer than two rows.
    fn error_squared(self) -> f64 {
        if self.rows < 2 {
            return 0.0;
        }
        let count = self.rows as f64;
        let spread = self.squares - self.sum * self.mean();
        if spread <= ALIKE * self.squares {
            return 0.0;
        }
        spread / (count - 1.0) / count
    }

    /// The rows with a loss, where each is 0 or 1.
    fn hits(self) -> u64 {
        self.sum as u64
    }

    pub(super) fn share(self, level: f64) -> Estimate {
        wilson(self.hits(), self.rows, level)
    }

    /// The mean with Student's interval.
    pub(super) fn mean_at(self, level: f64) -> Estimate {
        let degrees = usize::try_from(self.rows.saturating_sub(1)).unwrap_or(usize::MAX);
        by_student(self.mean(), self.error_squared(), degrees, level).within(0.0, f64::MAX)
    }
}

/// Shares: Fisher's exact test (Fisher, Statistical Methods for Research Workers, 5th ed. 1934, section 21.02), which
/// holds for any number of rows, and Newcombe's interval.
pub(super) fn shares(inside: Part, outside: Part, level: f64) -> Compared {
    let all = (inside.rows + outside.rows, inside.hits() + outside.hits());
    Compared {
        difference: difference(inside.share(level), outside.share(level)),
        p: hypergeometric_from(inside.hits(), inside.rows, all),
    }
}

/// Means: Welch's test (Welch, Biometrika 34 (1947), 28-35) with the degrees of freedom rounded down. Losses have their
/// long tail upwards, where the test errs on the side of finding nothing: the mean and its standard error are high
/// together.
pub(super) fn means(inside: Part, outside: Part, level: f64) -> Compared {
    let (one, other) = (inside.error_squared(), outside.error_squared());
    let value = inside.mean() - outside.mean();
    let squared = one + other;
    if squared <= 0.0 {
        // All alike on either side: no noise is known by which to judge.
        return Compared {
            difference: Estimate::bare(value),
            p: 1.0,
        };
    }
    let (ours, theirs) = ((inside.rows - 1) as f64, (outside.rows - 1) as f64);
    let degrees = welch_degrees((one, ours), (other, theirs));
    let above = student::above(value.abs() / squared.sqrt(), degrees);
    Compared {
        difference: by_student(value, squared, degrees as usize, level),
        p: if value > 0.0 { above } else { 1.0 - above },
    }
}

/// The probability of at least `hits` among `draws` rows from `rows`, of which `of_hits` are.
fn hypergeometric_from(hits: u64, draws: u64, (rows, of_hits): (u64, u64)) -> f64 {
    let least = (draws + of_hits).saturating_sub(rows);
    if hits <= least {
        return 1.0;
    }
    let most = draws.min(of_hits);
    let ln_choose = |n: u64, k: u64| {
        let (n, k) = (n as f64, k as f64);
        ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
    };
    let at = |it: u64| {
        (ln_choose(of_hits, it) + ln_choose(rows - of_hits, draws - it) - ln_choose(rows, draws))
            .exp()
    };
    // From each to the next by the ratio of the two; from the first one on they may only rise up to the mode.
    let mut term = at(hits);
    let mut sum = 0.0;
    for it in hits..=most {
        sum += term;
        let (i, n, k, all) = (it as f64, draws as f64, of_hits as f64, rows as f64);
        term *= (k - i) * (n - i) / ((i + 1.0) * (all - k - n + i + 1.0));
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(hits: u64, rows: u64) -> Part {
        let mut part = Part::default();
        (0..rows).for_each(|it| part.add(if it < hits { 1.0 } else { 0.0 }));
        part
    }

    /// By `scipy.stats.fisher_exact(..., alternative="greater")`.
    #[test]
    fn shares_are_compared_exactly() {
        for (one, other, want) in [
            ((8, 10), (1, 6), 0.024_475_524_475_524_48),
            ((3, 4), (1, 4), 0.242_857_142_857_142_83),
            ((10, 10), (10, 10), 1.0),
            ((0, 10), (5, 10), 1.0),
        ] {
            let got = shares(part(one.0, one.1), part(other.0, other.1), 0.95);
            assert!((got.p - want).abs() < 1e-12, "{one:?} {other:?}: {}", got.p);
        }
        let got = shares(part(600, 1000), part(400, 1000), 0.95);
        assert!((got.difference.value - 0.2).abs() < 1e-12);
        assert!(got.p < 1e-15 && got.difference.low > Some(0.15));
    }

    /// By `scipy.stats.ttest_ind(..., equal_var=False, alternative="greater")`, with the degrees rounded down: by
    /// `scipy.stats.t.sf(statistic, 4)`.
    #[test]
    fn means_are_compared_by_welch() {
        let of = |losses: &[f64]| {
            let mut part = Part::default();
            losses.iter().for_each(|it| part.add(*it));
            part
        };
        let (one, other) = (of(&[0.5, 0.7, 0.9]), of(&[0.1, 0.3, 0.2, 0.4]));
        let got = means(one, other, 0.95);
        assert!((got.difference.value - 0.45).abs() < 1e-12);
        // Variances 0.04 / 3 and 0.05 / 3 / 4: t = 0.45 / sqrt(0.0175), with 3.26 degrees; so 3.
        let t = 0.45 / 0.0175f64.sqrt();
        assert!((got.p - student::above(t, 3.0)).abs() < 1e-12, "{}", got.p);
        assert!(got.p > 0.01 && got.p < 0.025, "{}", got.p);
        let turned = means(other, one, 0.95);
        assert!((turned.p + got.p - 1.0).abs() < 1e-12);
        let flat = means(of(&[0.5; 9]), of(&[0.1; 9]), 0.95);
        assert_eq!((flat.p, flat.difference.low), (1.0, None));
    }
}
