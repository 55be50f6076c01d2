//! Whether units come to the arms in the shares that were meant: where they do not, the assignment is broken, and no
//! comparison of the arms means anything. Not a sign that the candidate is worse.
//!
//! The mixture of multinomials by a Dirichlet prior around what was meant: Lindon & Malek, NeurIPS 2022, arXiv 2011.03567.

use super::check_risk;
use crate::gamma::ln_gamma;

/// The risk that is usually taken: an alarm holds a rollout, so it must be rare.
pub const ALPHA_USUAL: f64 = 0.001;

/// The weight of the prior, in units.
const WEIGHT: f64 = 100.0;

/// The logarithm of the e-value against "units come in these shares", which add up to one; 0 where no unit has come. Counts
/// begin anew whenever the shares change. As many counts as shares are the caller's promise.
pub fn ln_mismatch(counts: &[u64], shares: &[f64]) -> f64 {
    assert_eq!(counts.len(), shares.len(), "a count for each share");
    let sum: f64 = shares.iter().sum();
    assert!(
        (sum - 1.0).abs() < 1e-9 && shares.iter().all(|it| *it > 0.0),
        "shares are greater than 0 and add up to 1"
    );
    let units = counts.iter().sum::<u64>() as f64;
    let parts = counts.iter().zip(shares).map(|(count, share)| {
        let (count, prior) = (*count as f64, WEIGHT * share);
        ln_gamma(prior + count) - ln_gamma(prior) - count * share.ln()
    });
    ln_gamma(WEIGHT) - ln_gamma(WEIGHT + units) + parts.sum::<f64>()
}

/// Whether it is: with probability `alpha` at most ever said where the shares are as meant.
pub fn mismatch(counts: &[u64], shares: &[f64], alpha: f64) -> bool {
    check_risk(alpha);
    ln_mismatch(counts, shares) >= -alpha.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// One unit: `(100 θ / 100) / θ = 1`. Two to an arm of one half: `(50 · 51) / (100 · 101) / (1/4)`.
    #[test]
    fn evidence_by_hand() {
        assert!(ln_mismatch(&[0, 0], &[0.3, 0.7]).abs() < 1e-12);
        assert!(ln_mismatch(&[1, 0], &[0.3, 0.7]).abs() < 1e-10);
        let want = (4.0f64 * 50.0 * 51.0 / 10_100.0).ln();
        assert!((ln_mismatch(&[2, 0], &[0.5, 0.5]) - want).abs() < 1e-10);
    }

    /// The reference: 10 % that are 11 % are found in 69 of a hundred cases by 20 000 units, 50 % that are 52 % in 93.
    #[test]
    fn a_broken_assignment_is_found_and_a_sound_one_is_not() {
        let mut random = Random::new(9);
        let mut found = |meant: f64, real: f64| {
            let alarms = (0..200).filter(|_| {
                let mut counts = [0, 0];
                (0..20_000).any(|unit| {
                    counts[usize::from(random.uniform() >= real)] += 1;
                    unit % 20 == 19 && mismatch(&counts, &[meant, 1.0 - meant], ALPHA_USUAL)
                })
            });
            alarms.count()
        };
        assert_eq!(found(0.1, 0.1) + found(0.5, 0.5), 0);
        let (tenth, half) = (found(0.1, 0.11), found(0.5, 0.52));
        assert!(
            (118..=158).contains(&tenth) && (174..=196).contains(&half),
            "{tenth} {half}"
        );
    }
}
