//! Whether an estimate of quality, made before labels come, may be believed: told from earlier estimates and what
//! their labels said.

use super::limit::{Figure, Limit};
use crate::alert::Verdict;

/// Predictions whose quality was estimated without their labels, and then measured with them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cohort {
    /// What was estimated.
    pub estimated: f64,
    /// What was measured.
    pub realised: f64,
    /// The standard error that the estimate says it has.
    pub standard_error: f64,
}

/// Cohorts that are needed to tell.
pub const COHORTS_MIN: usize = 3;
/// So many standard errors of the mean error are chance.
const ERRORS_MAX: f64 = 3.0;
/// A mean error up to this does not matter, however many rows it was told from.
const TOLERATED: f64 = 0.01;

/// Whether estimates are believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trust {
    /// They are; the mean error, estimated less realised.
    Kept(f64),
    /// They were wrong by more than chance allows: what a score means has changed.
    Lost {
        /// The mean error, estimated less realised.
        mean_error: f64,
        /// What would have been allowed.
        allowed: f64,
    },
    /// Too few were tested.
    Untested,
}

/// Compares the mean error of the cohorts with what their standard errors allow.
pub fn trust(cohorts: &[Cohort]) -> Trust {
    if cohorts.len() < COHORTS_MIN {
        return Trust::Untested;
    }
    let count = cohorts.len() as f64;
    let mean_error = cohorts
        .iter()
        .map(|it| it.estimated - it.realised)
        .sum::<f64>()
        / count;
    let squares = cohorts.iter().map(|it| it.standard_error.powi(2));
    trust_of(mean_error, squares.sum::<f64>().sqrt() / count)
}

/// The same for a mean error and its standard error.
pub fn trust_of(mean_error: f64, standard_error: f64) -> Trust {
    let allowed = (ERRORS_MAX * standard_error).max(TOLERATED);
    // What is no number is not believed.
    if mean_error.abs() <= allowed {
        return Trust::Kept(mean_error);
    }
    Trust::Lost {
        mean_error,
        allowed,
    }
}

impl Trust {
    /// What is said of an estimate: nothing without trust, and else with an interval that is wider by the mean error.
    pub fn judge(self, limit: Limit, estimate: Figure) -> Verdict {
        let Self::Kept(mean_error) = self else {
            return Verdict::Unknown;
        };
        limit.judge(Figure {
            value: estimate.value,
            low: estimate.low.map(|it| it - mean_error.abs()),
            high: estimate.high.map(|it| it + mean_error.abs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cohorts(errors: &[f64], standard_error: f64) -> Vec<Cohort> {
        let cohort = |error: &f64| Cohort {
            estimated: 0.8 + error,
            realised: 0.8,
            standard_error,
        };
        errors.iter().map(cohort).collect()
    }

    #[test]
    fn errors_that_chance_explains_keep_the_trust() {
        let kept = |errors: &[f64], error| matches!(trust(&cohorts(errors, error)), Trust::Kept(_));
        assert!(kept(&[0.05, -0.06, 0.02, 0.01], 0.02));
        // Three times 0.02 over the root of four.
        assert!(kept(&[0.029; 4], 0.02));
        assert!(!kept(&[0.031; 4], 0.02));
        assert!(!kept(&[-0.031; 4], 0.02));
        // Many rows make a small error certain, but not larger.
        assert!(kept(&[0.009; 4], 1e-6));
        assert!(!kept(&[0.011; 4], 1e-6));
        assert!(!kept(&[f64::NAN; 4], 0.02));
    }

    #[test]
    fn what_was_not_tested_is_not_believed() {
        assert_eq!(trust(&cohorts(&[0.0, 0.0], 0.02)), Trust::Untested);
        assert_eq!(trust(&[]), Trust::Untested);
    }

    #[test]
    fn an_estimate_is_judged_only_where_it_is_believed() {
        let limit = Limit::Under(0.7);
        let estimate = Figure {
            value: 0.6,
            low: Some(0.52),
            high: Some(0.68),
        };
        assert_eq!(Trust::Kept(0.01).judge(limit, estimate), Verdict::Bad);
        assert_eq!(Trust::Kept(-0.03).judge(limit, estimate), Verdict::Unknown);
        let lost = Trust::Lost {
            mean_error: 0.1,
            allowed: 0.02,
        };
        assert_eq!(lost.judge(limit, estimate), Verdict::Unknown);
        assert_eq!(Trust::Untested.judge(limit, estimate), Verdict::Unknown);
        let better = Figure {
            value: 0.9,
            low: Some(0.88),
            high: Some(0.92),
        };
        assert_eq!(Trust::Kept(0.0).judge(limit, better), Verdict::Fine);
    }
}
