//! How well a model tells current rows from reference ones: drift of all features together.
//!
//! The domain classifier, as NannyML 0.13.1 has it: in five folds a [booster](crate::boost) learns which rows are
//! current, and says so of the rows left out; the area under the ROC curve of what it says is one half where
//! nothing changed. Two things differ, so that the order of rows does not matter to what is held out, and cost is
//! bounded: folds are by a hash of the row's place rather than blocks of rows, and of many rows as many as
//! [`ROWS_MAX`] of each side take part, chosen by the same hash.
//!
//! Rows should not repeat: of a side's equal rows some are learned by heart and others held out, which looks like
//! drift, and a row on both sides is held out as the other side's, which looks like less than none.

use crate::boost::refusal::{Refusal, check_rows, check_size};
use crate::boost::{self, Booster, Settings, refs};
use crate::drift::effect::{POWER, Terms};
use crate::drift::sample::Sample;
use crate::drift::verdict::Verdict;
use crate::gamma::{normal_above, normal_below};
use crate::interval::{Estimate, normal_quantile};
use crate::quality::curve::Area;
use crate::random::nth;

/// The most rows of each side that take part.
pub const ROWS_MAX: usize = 20_000;
/// So many models are fitted, each without one part of the rows; no side has fewer rows.
pub const FOLDS: usize = 5;

/// The models of the folds learn from mostly the same rows, which DeLong's standard error knows nothing of: times the
/// root of 1 + n (rows held out) / (rows learned from), as Nadeau & Bengio, Machine Learning 52 (2003), 239-281,
/// correct a variance over n folds. Between parts of one data set intervals of 95 % cover one half in 92 and 97 of 100
/// comparisons (`tests/boost_check.py`), without the factor in 85 and 87.
const WIDENING: f64 = 1.5;

/// How far apart reference and current rows are.
#[derive(Clone, Debug, PartialEq)]
pub struct Separation {
    /// The probability that a current row looks more current than a reference one, on rows left out. Its interval is
    /// DeLong's, widened as one model learned from the rows that another is tried on.
    pub auc: Estimate,
    /// How much of the loss the splits by each feature took away, all together 1: which features separate most.
    /// `None` where no split helped.
    pub shares: Option<Vec<f64>>,
    /// The standard error of the area, widened; never less than that of sides that are alike.
    pub error: f64,
    /// Rows of the reference that took part.
    pub reference_rows: usize,
    /// Current rows that took part.
    pub current_rows: usize,
}

/// What is to be thought of a separation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What the [effect](Separation::effect) has to be beyond: what a normal variable that moves by the margin of the
    /// terms makes of it.
    pub margin: f64,
    /// The smallest true effect that would be found with probability [`POWER`].
    pub detectable: f64,
    /// The probability of an effect at least so far beyond the margin, were the true one just at it.
    pub p: f64,
}

impl Separation {
    /// By the rules of [`verdict`](super::verdict), asked by itself: it is drift where the lower bound is beyond the
    /// margin.
    pub fn judge(&self, terms: Terms) -> Judgement {
        let effect = self.effect().value;
        let margin = normal_below(terms.margin / std::f64::consts::SQRT_2) - 0.5;
        let sure = normal_quantile(1.0 - terms.alpha) + normal_quantile(POWER);
        let detectable = sure.mul_add(self.error, margin).min(0.5);
        let p = normal_above((effect - margin) / self.error);
        let verdict = if p <= terms.alpha {
            Verdict::Drift
        } else if detectable <= 2.0 * margin && effect <= margin {
            Verdict::NoMaterialDrift
        } else {
            Verdict::NotEnoughData
        };
        Judgement {
            verdict,
            margin,
            detectable,
            p,
        }
    }

    /// The area above one half: about 0 where nothing changed, then also below, and 0.5 where no row is mistaken.
    pub fn effect(&self) -> Estimate {
        let above = |it: f64| it - 0.5;
        Estimate {
            value: above(self.auc.value),
            low: self.auc.low.map(above),
            high: self.auc.high.map(above),
        }
    }
}

/// Of the same columns on both sides, NaN where a value is missing. Fits five models, which takes a few
/// seconds for as many rows as can take part and twenty features: work for a worker thread.
pub fn separation(
    reference: &[&[f64]],
    current: &[&[f64]],
    settings: Settings,
    level: f64,
) -> Result<Separation, Refusal> {
    if reference.len() != current.len() {
        return Err(Refusal::UnequalFeatures {
            features: current.len(),
            want: reference.len(),
        });
    }
    let sides = [Side::new(reference)?, Side::new(current)?];
    check_size(reference.len(), sides[0].rows.len() + sides[1].rows.len())?;
    let mut gains = vec![0.0; reference.len()];
    let mut scores = [Vec::new(), Vec::new()];
    for fold in 0..FOLDS {
        let [before, now] = sides.each_ref().map(|it| it.other_than(fold));
        let mut positive = vec![false; before.rows.len()];
        positive.resize(before.rows.len() + now.rows.len(), true);
        let columns = columns(&[before, now]);
        let booster = Booster::classifier(&refs(&columns), &positive, settings)?;
        for (sum, gain) in gains.iter_mut().zip(booster.gains()) {
            *sum += gain;
        }
        for (side, scores) in sides.iter().zip(&mut scores) {
            let columns = self::columns(&[side.only(fold)]);
            scores.extend(booster.predict(&refs(&columns))?);
        }
    }
    let [before, now] = scores.map(Sample::new);
    let area = before.area(&now);
    let area = area.expect("a row in each fold of both sides");
    let widened = Area {
        error: area.error.map(|it| it * WIDENING),
        ..area
    };
    let [n, m] = sides.each_ref().map(|it| it.rows.len() as f64);
    let alike = WIDENING * ((1.0 / n + 1.0 / m) / 12.0).sqrt();
    Ok(Separation {
        auc: widened.estimate(level),
        error: widened.error.map_or(alike, |it| it.max(alike)),
        shares: boost::shares(&gains),
        reference_rows: sides[0].rows.len(),
        current_rows: sides[1].rows.len(),
    })
}

/// The rows of one side that take part, by rising hash; the n-th is in fold n modulo [`FOLDS`].
struct Side<'a> {
    features: &'a [&'a [f64]],
    rows: Vec<usize>,
}

impl<'a> Side<'a> {
    fn new(features: &'a [&'a [f64]]) -> Result<Self, Refusal> {
        let count = features.first().ok_or(Refusal::NoFeatures)?.len();
        check_rows(features, count)?;
        if count < FOLDS {
            return Err(Refusal::TooFewRows {
                rows: count,
                least: FOLDS,
            });
        }
        let mut rows: Vec<usize> = (0..count).collect();
        rows.sort_unstable_by_key(|it| nth(*it as u64));
        rows.truncate(ROWS_MAX);
        Ok(Self { features, rows })
    }

    fn only(&self, fold: usize) -> Self {
        self.part(|it| it == fold)
    }

    fn other_than(&self, fold: usize) -> Self {
        self.part(|it| it != fold)
    }

    fn part(&self, takes: impl Fn(usize) -> bool) -> Self {
        let rows = self.rows.iter().enumerate();
        let rows = rows.filter(|(place, _)| takes(place % FOLDS));
        Self {
            features: self.features,
            rows: rows.map(|it| *it.1).collect(),
        }
    }
}

/// The rows of one side after those of the other.
fn columns(sides: &[Side<'_>]) -> Vec<Vec<f64>> {
    let column = |feature: usize| {
        let values = |it: &Side<'_>| -> Vec<f64> {
            let column = it.features[feature];
            it.rows.iter().map(|row| column[*row]).collect()
        };
        sides.iter().flat_map(values).collect()
    };
    (0..sides[0].features.len()).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;

    /// Evenly from 0..1, as if at random.
    fn random(first: usize, count: usize) -> Vec<f64> {
        let places = first..first + count;
        places
            .map(|it| nth(it as u64) as f64 / 2f64.powi(64))
            .collect()
    }

    fn told(reference: &[&[f64]], current: &[&[f64]]) -> Separation {
        separation(reference, current, Settings::USUAL, 0.95).unwrap()
    }

    #[test]
    fn what_moved_is_found_with_the_feature_that_moved() {
        let [x, y, noise, other] = [1, 2, 3, 4].map(|it| random(it * 10_000, 2_000));
        let moved: Vec<f64> = x.iter().map(|it| it + 0.5).collect();
        let got = told(&[&noise, &y], &[&other, &moved]);
        // Half of each side is beyond the other, and the rest cannot be told: at best 1/2 + 1/4 + 1/8.
        assert!((0.84..0.885).contains(&got.auc.value), "{got:?}");
        assert!(got.effect().low.unwrap() > 0.33 && got.effect().high.unwrap() < 0.4);
        assert_eq!((got.reference_rows, got.current_rows), (2_000, 2_000));
        let shares = got.shares.unwrap();
        assert!(shares[1] > 0.8 && (shares[0] + shares[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn missing_values_alone_can_separate() {
        let got = told(&[&[1.0; 100]], &[&[NAN; 100]]);
        assert_eq!((got.auc.value, got.shares), (1.0, Some(vec![1.0])));
        assert_eq!(told(&[&[NAN; 100]], &[&[NAN; 100]]).auc.value, 0.5);
    }

    #[test]
    fn what_did_not_move_is_not_found() {
        let all = [1, 2, 3, 4].map(|it| random(it * 10_000, 2_000));
        let got = told(&[&all[0], &all[1]], &[&all[2], &all[3]]);
        assert!(got.effect().value.abs() < 0.03, "{got:?}");
        let same = told(&[&[1.0; 50]], &[&[1.0; 60]]);
        assert_eq!((same.effect(), same.shares), (Estimate::bare(0.0), None));
    }

    #[test]
    fn a_verdict_is_drift_only_beyond_the_margin() {
        let terms = Terms {
            margin: 0.1,
            alpha: 0.05,
            level: 0.95,
        };
        let of = |area: f64, error: f64| {
            let separation = Separation {
                auc: Estimate::bare(area),
                shares: None,
                error,
                reference_rows: 1,
                current_rows: 1,
            };
            separation.judge(terms)
        };
        let judged = of(0.53, 0.001);
        assert!((judged.margin - 0.0282).abs() < 1e-4, "{judged:?}");
        assert_eq!(judged.verdict, Verdict::Drift);
        assert_eq!(of(0.51, 0.01).verdict, Verdict::NoMaterialDrift);
        assert_eq!(of(0.45, 0.01).verdict, Verdict::NoMaterialDrift);
        assert_eq!(of(0.51, 0.02).verdict, Verdict::NotEnoughData);
        assert_eq!(of(0.03 + 0.5, 0.01).verdict, Verdict::NotEnoughData);
        let all = told(&[&[1.0; 100]], &[&[NAN; 100]]);
        assert_eq!(all.judge(terms).verdict, Verdict::Drift);
        let one = told(&[&[1.0; 100]], &[&[1.0; 100]]);
        assert_eq!(one.judge(terms).verdict, Verdict::NotEnoughData);
    }

    #[test]
    fn of_many_rows_some_take_part_and_of_too_few_none() {
        let many = vec![1.0; ROWS_MAX + 5];
        let got = told(&[&many], &[&many[..9]]);
        assert_eq!((got.reference_rows, got.current_rows), (ROWS_MAX, 9));
        let side = [&many[..]];
        let side = Side::new(&side).unwrap();
        let folds = [0, 1, 2, 3, 4].map(|it| side.only(it).rows.len());
        assert_eq!((folds, side.other_than(4).rows.len()), ([4_000; 5], 16_000));
        let refused = |reference: &[&[f64]], current: &[&[f64]]| {
            separation(reference, current, Settings::USUAL, 0.95).unwrap_err()
        };
        let few = Refusal::TooFewRows {
            rows: 4,
            least: FOLDS,
        };
        assert_eq!(refused(&[&many[..4]], &[&many]), few);
        assert_eq!(refused(&[], &[]), Refusal::NoFeatures);
        let other = Refusal::UnequalFeatures {
            features: 2,
            want: 1,
        };
        assert_eq!(refused(&[&many], &[&many, &many]), other);
    }
}
