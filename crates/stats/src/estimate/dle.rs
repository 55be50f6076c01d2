//! How far a model's numbers lie from the truth while that is not known yet.
//!
//! Direct loss estimation, as NannyML 0.13.1 has it: on a reference with truths a second model learns each row's
//! loss from the features and from what the first model said, and tells it for a chunk without truths. It holds
//! as long as rows of such features and such a prediction have such a loss; it cannot see that this changed
//! (concept drift).
//!
//! R1. A row's loss is not below 0; MAE and MSE are means over the rows of a chunk, RMSE is the root of the MSE.
//! R2. Standard errors are NannyML's on the same rows: what chance alone does to the true metric on so many rows,
//! were they drawn from the reference. How well the losses were learned is not in them.
//! R3. What has no value is `None`; no result is ever NaN.
//! R4. No row is dropped silently: what takes no part is counted.

use crate::boost::refusal::{Refusal, check_rows};
use crate::boost::{Booster, Settings, TARGET_MAX};
use crate::interval::{self, Estimate};
use crate::sum::Moments;

/// What the losses of a reference say.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses {
    absolute: Loss,
    squared: Loss,
    rows: u64,
    skipped: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Loss {
    booster: Booster,
    mean: f64,
    deviation: f64,
}

/// How good the predictions of a chunk are expected to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimated {
    /// Rows that took part.
    pub rows: u64,
    /// Rows whose prediction is not finite.
    pub skipped: u64,
    /// The mean absolute error. `None` without rows.
    pub mae: Option<Expected>,
    /// The mean squared error. `None` without rows.
    pub mse: Option<Expected>,
    /// The root of the mean squared error. `None` without rows.
    pub rmse: Option<Expected>,
}

/// A metric's expected value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Finite, and at least 0.
    pub value: f64,
    /// `None` of the RMSE where the reference has no error.
    pub standard_error: Option<f64>,
}

impl Expected {
    /// Where the true metric is expected at the level, by the central limit theorem, and not below 0. NannyML draws
    /// three standard errors to either side: a level of 0.9973.
    pub fn interval(&self, level: f64) -> Estimate {
        interval::normal(self.value, self.standard_error, level).within(0.0, f64::INFINITY)
    }
}

impl Losses {
    /// Learns from a reference: columns of features, what the model said, and the truth. Rows take part where both
    /// numbers are finite and the squared loss is at most [`TARGET_MAX`]. Fits two models: work for a worker thread.
    pub fn fit(
        features: &[&[f64]],
        values: &[f64],
        truths: &[f64],
        settings: Settings,
    ) -> Result<Self, Refusal> {
        check_rows(features, truths.len())?;
        check_rows(&[values], truths.len())?;
        let off = |row: &usize| (values[*row] - truths[*row]).abs();
        let learned = |row: &usize| off(row).powi(2) <= TARGET_MAX;
        let kept: Vec<usize> = (0..truths.len()).filter(learned).collect();
        let columns = with_values(features, values, &kept);
        let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        let absolute: Vec<f64> = kept.iter().map(off).collect();
        let squared: Vec<f64> = absolute.iter().map(|it| it * it).collect();
        Ok(Self {
            absolute: Loss::fit(&columns, &absolute, settings)?,
            squared: Loss::fit(&columns, &squared, settings)?,
            rows: kept.len() as u64,
            skipped: (truths.len() - kept.len()) as u64,
        })
    }

    /// Rows of the reference that took part.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows of the reference that did not.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Estimates the quality of a chunk: the same columns of features, and what the model said.
    pub fn of_chunk(&self, features: &[&[f64]], values: &[f64]) -> Result<Estimated, Refusal> {
        check_rows(features, values.len())?;
        let finite = |row: &usize| values[*row].is_finite();
        let kept: Vec<usize> = (0..values.len()).filter(finite).collect();
        let columns = with_values(features, values, &kept);
        let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        let mae = self.absolute.mean_of_chunk(&columns)?;
        let mse = self.squared.mean_of_chunk(&columns)?;
        let rmse = mse.map(|mse| Expected {
            value: mse.value.sqrt(),
            // By the delta method at the reference's RMSE.
            standard_error: mse
                .standard_error
                .map(|it| it / (2.0 * self.squared.mean.sqrt()))
                .filter(|it| it.is_finite()),
        });
        Ok(Estimated {
            rows: kept.len() as u64,
            skipped: (values.len() - kept.len()) as u64,
            mae,
            mse,
            rmse,
        })
    }
}

/// The columns of the rows kept, and that of the values last.
fn with_values(features: &[&[f64]], values: &[f64], kept: &[usize]) -> Vec<Vec<f64>> {
    let columns = features.iter().copied().chain([values]);
    columns
        .map(|column| kept.iter().map(|row| column[*row]).collect())
        .collect()
}

impl Loss {
    fn fit(columns: &[&[f64]], losses: &[f64], settings: Settings) -> Result<Self, Refusal> {
        let booster = Booster::regressor(columns, losses, settings)?;
        let mut moments = Moments::default();
        losses.iter().for_each(|it| moments.add(*it));
        Ok(Self {
            booster,
            mean: moments.mean(),
            // Of the reference itself (n in the denominator), as NannyML's.
            deviation: (moments.spread() / moments.count as f64).sqrt(),
        })
    }

    fn mean_of_chunk(&self, columns: &[&[f64]]) -> Result<Option<Expected>, Refusal> {
        let mut moments = Moments::default();
        for loss in self.booster.predict(columns)? {
            moments.add(loss.max(0.0));
        }
        Ok((moments.count > 0).then(|| Expected {
            value: moments.mean(),
            standard_error: Some(self.deviation / (moments.count as f64).sqrt()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;
    const STUMP: Settings = Settings {
        trees: 1,
        leaves: 2,
        rate: 1.0,
        rows_in_leaf_min: 1,
    };

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got}, not {want}");
    }

    /// Two rows that are off by 1 and two that are off by 3.
    fn losses() -> Losses {
        let (x, values) = ([1.0, 1.0, 2.0, 2.0], [5.0; 4]);
        Losses::fit(&[&x], &values, &[4.0, 6.0, 2.0, 8.0], STUMP).unwrap()
    }

    #[test]
    fn four_rows_by_hand() {
        let got = losses()
            .of_chunk(&[&[1.0, 2.0, 2.0, 2.0]], &[5.0; 4])
            .unwrap();
        assert_eq!((got.rows, got.skipped), (4, 0));
        let (mae, mse, rmse) = (got.mae.unwrap(), got.mse.unwrap(), got.rmse.unwrap());
        near(mae.value, 2.5);
        near(mse.value, 7.0);
        near(rmse.value, 7f64.sqrt());
        // The reference's losses are 1, 1, 3, 3 and 1, 1, 9, 9, with a mean square of 5.
        near(mae.standard_error.unwrap(), 0.5);
        near(mse.standard_error.unwrap(), 2.0);
        near(rmse.standard_error.unwrap(), 1.0 / 5f64.sqrt());
        let cut = mse.interval(0.9999);
        assert!(cut.low == Some(0.0) && cut.high.unwrap() > 14.0, "{cut:?}");
    }

    #[test]
    fn what_takes_no_part_is_counted_and_nothing_has_no_value() {
        let x = [1.0, 1.0, 2.0, NAN, 2.0];
        let values = [5.0, NAN, 5.0, 5.0, 1e60];
        let got = Losses::fit(&[&x], &values, &[4.0, 6.0, NAN, 2.0, 0.0], STUMP).unwrap();
        assert_eq!((got.rows(), got.skipped()), (2, 3));
        let one = got.of_chunk(&[&[NAN, 1.0]], &[5.0, f64::INFINITY]).unwrap();
        assert_eq!((one.rows, one.skipped), (1, 1));
        near(one.mae.unwrap().value, 3.0);
        let none = got.of_chunk(&[&[1.0]], &[NAN]).unwrap();
        assert_eq!(
            (none.rows, none.mae, none.mse, none.rmse),
            (0, None, None, None)
        );
        let exact = Losses::fit(&[&x], &[1.0; 5], &[1.0; 5], STUMP).unwrap();
        let exact = exact.of_chunk(&[&x], &[1.0; 5]).unwrap();
        let (mae, rmse) = (exact.mae.unwrap(), exact.rmse.unwrap());
        assert_eq!((mae.value, mae.standard_error), (0.0, Some(0.0)));
        assert_eq!((rmse.value, rmse.standard_error), (0.0, None));
        assert_eq!(mae.interval(0.95), Estimate::bare(0.0));
    }

    #[test]
    fn a_loss_is_not_below_zero() {
        // Trees after trees overshoot a little where the loss is 0.
        let x: Vec<f64> = (0..200).map(f64::from).collect();
        let truths: Vec<f64> = x.iter().map(|it| (it / 9.0).sin().max(0.0)).collect();
        let got = Losses::fit(&[&x], &[0.0; 200], &truths, Settings::USUAL).unwrap();
        let raw = got.absolute.booster.predict(&[&x, &[0.0; 200]]).unwrap();
        let below = raw
            .iter()
            .position(|it| *it < 0.0)
            .expect("a row below zero");
        let got = got.of_chunk(&[&x[below..=below]], &[0.0]).unwrap();
        assert_eq!(got.mae.unwrap().value, 0.0);
    }

    #[test]
    fn without_rows_there_is_a_refusal() {
        let none = Losses::fit(&[&[1.0]], &[NAN], &[1.0], STUMP);
        assert_eq!(none, Err(Refusal::TooFewRows { rows: 0, least: 1 }));
        let unequal = Refusal::UnequalRows {
            column: 0,
            rows: 1,
            want: 2,
        };
        assert_eq!(
            Losses::fit(&[&[1.0; 2]], &[1.0], &[1.0; 2], STUMP),
            Err(unequal)
        );
        let features = Refusal::UnequalFeatures {
            features: 1,
            want: 2,
        };
        assert_eq!(losses().of_chunk(&[], &[1.0]), Err(features));
    }
}
