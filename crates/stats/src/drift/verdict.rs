//! Whether columns have drifted, all of them asked at once.
//!
//! R1. It is drift where an effect is beyond its margin, and stays so when one considers how many were asked: by
//!     Benjamini and Yekutieli's procedure, which holds however they depend on each other. Where nothing changed,
//!     the probability of any drift at all is then at most `alpha`.
//! R2. It is no material drift only where one of twice the margin would have been found, and what was found is within
//!     the margin. Else it is not enough data.

use super::effect::Effect;
use crate::fdr::{self, Dependence};

/// What is to be thought of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It has moved by more than the margin.
    Drift,
    /// There are too few rows to tell.
    NotEnoughData,
    /// If it has moved, then by little.
    NoMaterialDrift,
}

impl Verdict {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::NotEnoughData => "not enough data",
            Self::NoMaterialDrift => "no material drift",
        }
    }

    /// The verdict about several together.
    pub fn of_all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().min().unwrap_or(Self::NotEnoughData)
    }
}

/// An effect and what is to be thought of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The effect.
    pub effect: Effect,
    /// The least `alpha` at which it is drift, all others considered.
    pub adjusted_p: f64,
    /// The verdict.
    pub verdict: Verdict,
}

/// Effects of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// How much it matters beside the others; greater than 0. Only the proportion counts: a column of twice the
    /// weight gets twice the share of `alpha`. Genovese, Roeder & Wasserman, Biometrika 93 (2006), 509-524.
    pub weight: f64,
    /// Its effects; a column without any is one of which nothing is known.
    pub effects: Vec<Effect>,
}

/// How sure an effect has to be in the worst case, when `tests` are asked at `alpha`.
pub fn alpha_of_one(alpha: f64, tests: usize) -> f64 {
    let tests = tests.max(1);
    let dependence: f64 = (1..=tests).map(|it| 1.0 / it as f64).sum();
    alpha / (tests as f64 * dependence)
}

/// The verdicts, column by column.
pub fn judge(columns: &[Asked], alpha: f64) -> Vec<Vec<Judged>> {
    let tests: usize = columns.iter().map(|it| it.effects.len()).sum();
    let weights = columns.iter().map(|it| it.weight * it.effects.len() as f64);
    let mean = weights.sum::<f64>() / tests.max(1) as f64;
    let all = columns
        .iter()
        .flat_map(|it| it.effects.iter().map(move |effect| (it.weight, effect)));
    let p_values: Vec<f64> = all
        .map(|(weight, effect)| (effect.p * mean / weight).min(1.0))
        .collect();
    let mut adjusted = fdr::adjusted(&p_values, Dependence::Any).into_iter();
    let judged = columns.iter().map(|column| {
        let effects = column.effects.iter().map(|effect| {
            // Every effect has one, and every p-value counts.
            let adjusted_p = adjusted.next().flatten().map_or(1.0, |it| it.min(1.0));
            Judged {
                effect: *effect,
                adjusted_p,
                verdict: if adjusted_p <= alpha {
                    Verdict::Drift
                } else if effect.is_enough() {
                    Verdict::NoMaterialDrift
                } else {
                    Verdict::NotEnoughData
                },
            }
        });
        effects.collect()
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use super::super::effect::{Pair, Question, Terms};
    use super::*;

    fn asked(reference: u64, current: u64, of: u64) -> Asked {
        let pair = |reference, current| Pair { reference, current };
        let terms = Terms {
            margin: 0.1,
            alpha: alpha_of_one(0.05, 2),
            level: 0.95,
        };
        let effect = Effect::share(
            Question::Missing,
            pair(reference, current),
            pair(of, of),
            terms,
        );
        Asked {
            weight: 1.0,
            effects: effect.into_iter().collect(),
        }
    }

    fn check(columns: &[Asked], want: &[&str]) {
        let judged = judge(columns, 0.05);
        let got = judged
            .iter()
            .map(|it| Verdict::of_all(it.iter().map(|it| it.verdict)).name());
        assert_eq!(got.collect::<Vec<_>>(), want);
    }

    #[test]
    fn a_verdict_says_whether_it_could_have_been_another() {
        let none = "no material drift";
        check(
            &[asked(100, 100, 10_000), asked(100, 1000, 10_000)],
            &[none, "drift"],
        );
        check(
            &[asked(1, 1, 100), asked(1, 5, 100)],
            &["not enough data"; 2],
        );
        check(&[asked(1, 60, 100)], &["drift"]);
        check(&[asked(0, 0, 0)], &["not enough data"]);
        check(&[], &[]);
    }

    #[test]
    fn what_matters_more_is_believed_sooner() {
        let mut columns = [asked(100, 180, 3000), asked(100, 100, 3000)];
        let of_first = |columns: &[Asked]| judge(columns, 0.05)[0][0].adjusted_p;
        let equal = of_first(&columns);
        columns[0].weight = 3.0;
        let heavier = of_first(&columns);
        assert!(
            (heavier / equal - 2.0 / 3.0).abs() < 1e-9,
            "{equal} {heavier}"
        );
    }
}
