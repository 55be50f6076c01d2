//! Many tests at once, and the share of false ones among the discoveries: the false discovery rate.
//!
//! R1. What is not a number from 0 to 1 is not a p-value: it is not counted, and never a discovery.
//! R2. `alpha`, the rate not to be exceeded, is strictly between 0 and 1.

pub mod online;

/// What may be assumed of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    /// They are independent, or large values of one go with large values of another: Benjamini & Hochberg, J.
    /// R. Stat. Soc. B 57 (1995), 289-300.
    Positive,
    /// Nothing. The price is a factor of about the logarithm of their number: Benjamini & Yekutieli, Ann.
    /// Stat. 29 (2001), 1165-1188, theorem 1.3.
    Any,
}

/// The adjusted p-value of each: the least `alpha` at which it is a discovery. `None` where it is not a
/// p-value (R1).
pub fn adjusted(p_values: &[f64], dependence: Dependence) -> Vec<Option<f64>> {
    let counted = |it: &usize| is_p_value(p_values[*it]);
    let mut order: Vec<usize> = (0..p_values.len()).filter(counted).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let count = order.len() as f64;
    let factor = match dependence {
        Dependence::Positive => 1.0,
        Dependence::Any => (1..=order.len()).map(|it| 1.0 / it as f64).sum(),
    };
    let mut adjusted = vec![None; p_values.len()];
    let mut least = 1.0f64;
    for (below, index) in order.into_iter().enumerate().rev() {
        let rank = (below + 1) as f64;
        least = least.min(p_values[index] * (count / rank) * factor);
        adjusted[index] = Some(least);
    }
    adjusted
}

/// Which are discoveries: those whose adjusted p-value is at most `alpha`.
pub fn discoveries(p_values: &[f64], dependence: Dependence, alpha: f64) -> Vec<bool> {
    assert!(alpha > 0.0 && alpha < 1.0, "R2");
    let adjusted = adjusted(p_values, dependence);
    let found = adjusted.iter().map(|it| it.is_some_and(|it| it <= alpha));
    found.collect()
}

fn is_p_value(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(p_values: &[f64], dependence: Dependence, want: &[Option<f64>]) {
        let got = adjusted(p_values, dependence);
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            match (got, want) {
                (Some(got), Some(want)) => assert!((got - want).abs() < 1e-15, "{got}, not {want}"),
                (got, want) => assert_eq!(got, want),
            }
        }
    }

    #[test]
    fn adjusted_by_hand() {
        let p_values = [0.04, 0.01, 0.03, 0.9];
        // By rank: 0.01 * 4, 0.03 * 2, 0.04 * 4 / 3, 0.9; the second is not above the third.
        let third = 0.16 / 3.0;
        let want = [Some(third), Some(0.04), Some(third), Some(0.9)];
        check(&p_values, Dependence::Positive, &want);
        // 1 + 1/2 + 1/3 + 1/4.
        let factor = 25.0 / 12.0;
        let want = [
            Some(third * factor),
            Some(0.04 * factor),
            Some(third * factor),
            Some(1.0),
        ];
        check(&p_values, Dependence::Any, &want);
    }

    #[test]
    fn what_is_no_p_value_is_not_counted() {
        let p_values = [f64::NAN, 0.5, -0.1, 1.1, 0.0, f64::INFINITY];
        let want = [None, Some(0.5), None, None, Some(0.0), None];
        check(&p_values, Dependence::Positive, &want);
        check(&[], Dependence::Any, &[]);
        check(&[f64::NAN], Dependence::Any, &[None]);
    }

    #[test]
    fn the_example_of_benjamini_and_hochberg() {
        // Their paper's own: fifteen tests, of which four are discoveries at 5 %, and three by Bonferroni.
        let p_values = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0000,
        ];
        let found = |dependence| {
            let found = discoveries(&p_values, dependence, 0.05);
            found.iter().filter(|it| **it).count()
        };
        assert_eq!(found(Dependence::Positive), 4);
        assert_eq!(found(Dependence::Any), 3);
    }
}
