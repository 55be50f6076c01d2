//! Boosted trees: a regressor of a number, and a classifier of two classes.
//!
//! LightGBM's method: features in at most 255 bins, trees that grow leaf by leaf where the loss falls most (Ke et
//! al., NIPS 2017), each leaf a Newton step (Chen & Guestrin, KDD 2016, equations 5 to 7, without penalties).
//! Our own, as perpetual and forust bring thread pools, smartcore tries every value and knows no missing ones, and
//! gbdt computes in single precision and without bins.
//!
//! R1. Equal rows in equal order give equal trees, bit for bit: nothing is drawn and no thread is started.
//! R2. NaN is missing. At each split what is missing goes to the side where the loss falls more; where no row of
//!     the node was missing, to the side that got more rows. Infinities are numbers.
//! R3. A prediction is finite, and a probability is in 0..=1.

mod bins;
pub mod refusal;
mod tree;

use crate::sum::Sum;
use bins::Table;
use refusal::{Refusal, check_rows, check_size};
use tree::{Growth, Slope, Tree};

/// The most rows to fit.
pub const ROWS_MAX: usize = 4_000_000;
/// The most features.
pub const FEATURES_MAX: usize = 1_000;
/// The most rows times features to fit: a byte each.
pub const CELLS_MAX: usize = 64_000_000;
/// The most leaves of a tree: while it grows, each keeps up to 6 kB a feature.
pub const LEAVES_MAX: usize = 64;
/// The most trees.
pub const TREES_MAX: usize = 1_000;
/// A target is not farther from zero, so that sums of squares stay finite.
pub const TARGET_MAX: f64 = 1e100;

/// How a model is fitted. Settings outside their bounds are a mistake of the caller's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// At most so many trees; 1 to [`TREES_MAX`]. Fewer where no split helps any more.
    pub trees: usize,
    /// At most so many leaves of a tree; 2 to [`LEAVES_MAX`].
    pub leaves: usize,
    /// The share of each step that is taken; above 0, at most 1.
    pub rate: f64,
    /// No leaf has fewer rows; at least 1.
    pub rows_in_leaf_min: usize,
}

impl Settings {
    /// LightGBM's.
    pub const USUAL: Self = Self {
        trees: 100,
        leaves: 31,
        rate: 0.1,
        rows_in_leaf_min: 20,
    };

    fn assert_within_bounds(&self) {
        let Self {
            trees,
            leaves,
            rate,
            rows_in_leaf_min,
        } = *self;
        assert!((1..=TREES_MAX).contains(&trees), "trees");
        assert!((2..=LEAVES_MAX).contains(&leaves), "leaves");
        assert!(rate > 0.0 && rate <= 1.0, "a rate above 0, at most 1");
        assert!(rows_in_leaf_min >= 1, "a leaf has a row");
    }
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct Booster {
    loss: Loss,
    base: f64,
    trees: Vec<Tree>,
    gains: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Squared,
    Logistic,
}

impl Booster {
    /// Fits a number by squared loss. Each feature is a column of one value a row; categories come as codes, which
    /// are split by order. A hundred trees take about a microsecond a row and feature: work for a worker thread.
    pub fn regressor(
        features: &[&[f64]],
        targets: &[f64],
        settings: Settings,
    ) -> Result<Self, Refusal> {
        let wrong = |it: &f64| it.is_nan() || it.abs() > TARGET_MAX;
        if let Some(row) = targets.iter().position(wrong) {
            return Err(Refusal::Target(row));
        }
        Self::fit(features, targets, Loss::Squared, settings)
    }

    /// Fits the probability of the positive class by logistic loss. Where one class is alone it is 0 or 1.
    pub fn classifier(
        features: &[&[f64]],
        positive: &[bool],
        settings: Settings,
    ) -> Result<Self, Refusal> {
        let targets = positive.iter().map(|it| f64::from(u8::from(*it)));
        let targets: Vec<f64> = targets.collect();
        Self::fit(features, &targets, Loss::Logistic, settings)
    }

    fn fit(
        features: &[&[f64]],
        targets: &[f64],
        loss: Loss,
        settings: Settings,
    ) -> Result<Self, Refusal> {
        settings.assert_within_bounds();
        let rows = targets.len();
        check_size(features.len(), rows)?;
        check_rows(features, rows)?;
        let mut sum = Sum::default();
        targets.iter().for_each(|it| sum.add(*it));
        let mean = sum.value() / rows as f64;
        let base = match loss {
            Loss::Squared => mean,
            // Infinite where one class is alone: then no gradient is left, and no tree grows.
            Loss::Logistic => (mean / (1.0 - mean)).ln(),
        };
        let mut growth = Growth::new(Table::new(features), settings);
        let mut scores = vec![base; rows];
        let mut slopes = Vec::with_capacity(rows);
        let (mut trees, mut gains) = (Vec::new(), vec![0.0; features.len()]);
        for _ in 0..settings.trees {
            slopes.clear();
            let both = scores.iter().zip(targets);
            slopes.extend(both.map(|(score, target)| loss.slope(*score, *target)));
            let Some(tree) = growth.grow(&slopes, &mut scores) else {
                break;
            };
            tree.add_gains(&mut gains);
            trees.push(tree);
        }
        Ok(Self {
            loss,
            base,
            trees,
            gains,
        })
    }

    /// The number, or the probability of the positive class, for each row of as many columns as were fitted. A hundred
    /// trees take about ten microseconds a row.
    pub fn predict(&self, features: &[&[f64]]) -> Result<Vec<f64>, Refusal> {
        if features.len() != self.gains.len() {
            return Err(Refusal::UnequalFeatures {
                features: features.len(),
                want: self.gains.len(),
            });
        }
        let rows = features[0].len();
        check_rows(features, rows)?;
        let score = |row: usize| {
            let steps = self.trees.iter().map(|it| it.value(features, row));
            self.loss.answer(self.base + steps.sum::<f64>())
        };
        Ok((0..rows).map(score).collect())
    }

    /// How much the splits by each feature lowered the loss, all together 1. `None` where nothing was split.
    pub fn shares(&self) -> Option<Vec<f64>> {
        shares(&self.gains)
    }

    pub(crate) fn gains(&self) -> &[f64] {
        &self.gains
    }
}

/// Columns, as they are learned from.
pub fn refs(columns: &[Vec<f64>]) -> Vec<&[f64]> {
    columns.iter().map(Vec::as_slice).collect()
}

/// Parts of their sum; `None` of nothing.
pub(crate) fn shares(gains: &[f64]) -> Option<Vec<f64>> {
    // By the greatest first: the sum itself might be past all numbers.
    let most = gains.iter().copied().fold(0.0, f64::max);
    let sum: f64 = gains.iter().map(|it| it / most).sum();
    (most > 0.0).then(|| gains.iter().map(|it| it / most / sum).collect())
}

impl Loss {
    /// The first and the second derivative by the score.
    fn slope(self, score: f64, target: f64) -> Slope {
        match self {
            Self::Squared => Slope {
                gradient: score - target,
                hessian: 1.0,
            },
            Self::Logistic => {
                let probability = logistic(score);
                Slope {
                    gradient: probability - target,
                    hessian: probability * (1.0 - probability),
                }
            }
        }
    }

    fn answer(self, score: f64) -> f64 {
        match self {
            Self::Squared => score,
            Self::Logistic => logistic(score),
        }
    }
}

fn logistic(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_TREE: Settings = Settings {
        trees: 1,
        leaves: 4,
        rate: 1.0,
        rows_in_leaf_min: 1,
    };
    const NAN: f64 = f64::NAN;

    fn near(got: &[f64], want: &[f64]) {
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
        assert!(
            got.len() == want.len() && got.iter().zip(want).all(close),
            "{got:?}"
        );
    }

    /// Evenly spread over 0..1, without an order.
    fn spread(count: usize, step: f64) -> Vec<f64> {
        (1..=count).map(|it| (it as f64 * step).fract()).collect()
    }

    #[test]
    fn one_tree_of_four_rows_by_hand() {
        let (x, y) = ([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 3.0, 9.0]);
        let two = Settings {
            leaves: 2,
            rate: 0.5,
            ..ONE_TREE
        };
        let got = Booster::regressor(&[&x], &y, two).unwrap();
        // About the mean 3 the gradients are 3, 3, 0 and -6. The falls of the three cuts are 9 + 3, 18 + 18
        // and 12 + 36: the last one wins, and half of its steps -2 and 6 is taken.
        near(&got.predict(&[&x]).unwrap(), &[2.0, 2.0, 2.0, 6.0]);
        near(
            &got.predict(&[&[3.5, 3.6, -9.0, 99.0]]).unwrap(),
            &[2.0, 6.0, 2.0, 6.0],
        );
        near(&got.gains, &[48.0]);
        let all = Booster::regressor(&[&x], &y, ONE_TREE).unwrap();
        near(&all.predict(&[&x]).unwrap(), &y);
        let wide = Settings {
            rows_in_leaf_min: 2,
            ..ONE_TREE
        };
        let halves = Booster::regressor(&[&x], &y, wide).unwrap();
        near(&halves.predict(&[&x]).unwrap(), &[0.0, 0.0, 6.0, 6.0]);
    }

    #[test]
    fn a_step_of_the_classifier_is_newtons() {
        let x = [1.0, 2.0, 3.0, 4.0];
        let got = Booster::classifier(&[&x], &[false, false, true, true], ONE_TREE).unwrap();
        // From one half: gradients of 1/2 over curvatures of 1/4 are a step of 2.
        let high = 1.0 / (1.0 + (-2f64).exp());
        near(
            &got.predict(&[&x]).unwrap(),
            &[1.0 - high, 1.0 - high, high, high],
        );
        let alone = Booster::classifier(&[&x], &[true; 4], Settings::USUAL).unwrap();
        assert_eq!(alone.predict(&[&x]).unwrap(), [1.0; 4]);
        let none = Booster::classifier(&[&x], &[false; 4], Settings::USUAL).unwrap();
        assert_eq!(none.predict(&[&x]).unwrap(), [0.0; 4]);
        assert_eq!((none.shares(), alone.shares()), (None, None));
    }

    #[test]
    fn missing_values_go_where_the_loss_falls_more() {
        let x = [1.0, 2.0, 3.0, 4.0, NAN, NAN];
        let two = Settings {
            leaves: 2,
            ..ONE_TREE
        };
        for (y, want) in [
            ([0.0, 0.0, 6.0, 6.0, 6.0, 6.0], [0.0, 6.0, 6.0]),
            ([0.0, 0.0, 6.0, 6.0, 0.0, 0.0], [0.0, 6.0, 0.0]),
            // Apart from all others.
            ([0.0, 0.0, 0.0, 0.0, 6.0, 6.0], [0.0, 0.0, 6.0]),
        ] {
            let got = Booster::regressor(&[&x], &y, two).unwrap();
            near(&got.predict(&[&[1.0, f64::INFINITY, NAN]]).unwrap(), &want);
        }
        // Where none was missing, with the greater part.
        let got = Booster::regressor(&[&x[..4]], &[0.0, 6.0, 6.0, 6.0], two).unwrap();
        near(&got.predict(&[&[NAN]]).unwrap(), &[6.0]);
        let got = Booster::regressor(&[&x[..4]], &[0.0, 0.0, 0.0, 6.0], two).unwrap();
        near(&got.predict(&[&[NAN]]).unwrap(), &[0.0]);
    }

    #[test]
    fn where_nothing_helps_no_tree_grows() {
        let (x, y) = (spread(100, 0.618), spread(100, 0.414));
        let (none, one) = ([NAN; 100], [7.0; 100]);
        for (features, targets) in [
            ([&x[..], &y[..]], &[0.1; 100][..]),
            ([&none[..], &one[..]], &y[..]),
        ] {
            let got = Booster::regressor(&features, targets, Settings::USUAL).unwrap();
            assert_eq!((got.trees.len(), got.shares()), (0, None));
            let mean = targets.iter().sum::<f64>() / 100.0;
            near(&got.predict(&[&[1.0], &[NAN]]).unwrap(), &[mean]);
        }
    }

    #[test]
    fn a_curve_is_learned_from_the_feature_that_has_it() {
        let (x, noise) = (
            spread(2_000, 0.618_033_988_75),
            spread(2_000, 0.414_213_562_4),
        );
        let y: Vec<f64> = x.iter().map(|it| (9.0 * it).sin()).collect();
        let got = Booster::regressor(&[&noise, &x], &y, Settings::USUAL).unwrap();
        let worst = got.predict(&[&noise, &x]).unwrap();
        let worst = worst
            .iter()
            .zip(&y)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(worst < 0.1, "{worst}");
        let shares = got.shares().unwrap();
        assert!(shares[1] > 0.99 && (shares[0] + shares[1] - 1.0).abs() < 1e-12);
        assert_eq!(
            Booster::regressor(&[&noise, &x], &y, Settings::USUAL),
            Ok(got)
        );
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let fit = |features: &[&[f64]], targets: &[f64]| {
            Booster::regressor(features, targets, Settings::USUAL).unwrap_err()
        };
        let x = [1.0, 2.0];
        assert_eq!(fit(&[], &x), Refusal::NoFeatures);
        assert_eq!(fit(&[&[]], &[]), Refusal::TooFewRows { rows: 0, least: 1 });
        let unequal = Refusal::UnequalRows {
            column: 1,
            rows: 1,
            want: 2,
        };
        assert_eq!(fit(&[&x, &x[1..]], &x), unequal);
        assert_eq!(fit(&[&x], &[1.0, NAN]), Refusal::Target(1));
        assert_eq!(fit(&[&x], &[-1e101, 1.0]), Refusal::Target(0));
        assert_eq!(fit(&[&x[..]; 1_001], &x), Refusal::TooManyFeatures(1_001));
        let many = vec![0.0; ROWS_MAX + 1];
        assert_eq!(fit(&[&many], &many), Refusal::TooManyRows(ROWS_MAX + 1));
        let cells = Refusal::TooManyCells(17 * ROWS_MAX);
        assert_eq!(fit(&[&many[1..]; 17], &many[1..]), cells);
        let fitted = Booster::regressor(&[&x], &[1e100, -1e100], Settings::USUAL).unwrap();
        assert_eq!(fitted.predict(&[&x]).unwrap(), [0.0, 0.0]);
        let other = Refusal::UnequalFeatures {
            features: 2,
            want: 1,
        };
        assert_eq!(fitted.predict(&[&x, &x]), Err(other));
    }
}
