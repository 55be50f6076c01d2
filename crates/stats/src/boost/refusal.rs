//! What is not fitted, and why.

use std::error::Error;
use std::fmt;

use super::{CELLS_MAX, FEATURES_MAX, ROWS_MAX};

/// Why nothing was fitted or predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Fewer rows than needed.
    TooFewRows {
        /// So many came.
        rows: usize,
        /// So many are needed.
        least: usize,
    },
    /// More rows than [`ROWS_MAX`].
    TooManyRows(usize),
    /// There is no feature.
    NoFeatures,
    /// More features than [`FEATURES_MAX`].
    TooManyFeatures(usize),
    /// Rows times features are more than [`CELLS_MAX`].
    TooManyCells(usize),
    /// A column has not as many rows as the targets, or as the first column where there are none.
    UnequalRows {
        /// The column's place.
        column: usize,
        /// So many it has.
        rows: usize,
        /// So many it should have.
        want: usize,
    },
    /// Not as many features as the other side, or the fitted model, has.
    UnequalFeatures {
        /// So many came.
        features: usize,
        /// So many should have.
        want: usize,
    },
    /// A target is not finite, or past [`TARGET_MAX`](super::TARGET_MAX). Its row.
    Target(usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooFewRows { rows, least } => write!(to, "{rows} rows, at least {least} needed"),
            Self::TooManyRows(rows) => write!(to, "{rows} rows, at most {ROWS_MAX} taken"),
            Self::NoFeatures => write!(to, "no features"),
            Self::TooManyFeatures(features) => {
                write!(to, "{features} features, at most {FEATURES_MAX} taken")
            }
            Self::TooManyCells(cells) => {
                write!(to, "{cells} values, at most {CELLS_MAX} taken")
            }
            Self::UnequalRows { column, rows, want } => {
                write!(to, "column {column} has {rows} rows, wanted {want}")
            }
            Self::UnequalFeatures { features, want } => {
                write!(to, "{features} features, wanted {want}")
            }
            Self::Target(row) => write!(to, "the target of row {row} is not a number to fit"),
        }
    }
}

impl Error for Refusal {}

pub(crate) fn check_size(features: usize, rows: usize) -> Result<(), Refusal> {
    if features == 0 {
        return Err(Refusal::NoFeatures);
    }
    if features > FEATURES_MAX {
        return Err(Refusal::TooManyFeatures(features));
    }
    if rows == 0 {
        return Err(Refusal::TooFewRows { rows, least: 1 });
    }
    if rows > ROWS_MAX {
        return Err(Refusal::TooManyRows(rows));
    }
    if rows * features > CELLS_MAX {
        return Err(Refusal::TooManyCells(rows * features));
    }
    Ok(())
}

pub(crate) fn check_rows(features: &[&[f64]], want: usize) -> Result<(), Refusal> {
    match features.iter().position(|it| it.len() != want) {
        None => Ok(()),
        Some(column) => Err(Refusal::UnequalRows {
            column,
            rows: features[column].len(),
            want,
        }),
    }
}
