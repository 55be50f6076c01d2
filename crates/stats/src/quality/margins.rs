//! What precision, recall and F1 of each class are computed from, and their averages.

use super::f1;
use super::multiclass::ClassReport;
use crate::interval::wilson;

/// One class's sums over the confusion counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Margin {
    /// Rows of this class that were called so.
    pub(super) right: u64,
    /// Rows that were called so.
    pub(super) predicted: u64,
    /// Rows of this class.
    pub(super) support: u64,
}

/// The plain mean over `classes`.
pub(super) fn average(margins: &[Margin], classes: &[usize], of: fn(&Margin) -> f64) -> f64 {
    let sum: f64 = classes.iter().map(|class| of(&margins[*class])).sum();
    sum / classes.len() as f64
}

/// The mean of F1 over `classes`, weighted by support.
pub(super) fn weighted_f1(margins: &[Margin], classes: &[usize]) -> f64 {
    let weight = |margin: &Margin| margin.support as f64;
    let of = |class: &usize| margins[*class].f1() * weight(&margins[*class]);
    classes.iter().map(of).sum::<f64>() / margins.iter().map(weight).sum::<f64>()
}

impl Margin {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            right: self.right + other.right,
            predicted: self.predicted + other.predicted,
            support: self.support + other.support,
        }
    }

    pub(super) fn minus(self, part: Self) -> Self {
        Self {
            right: self.right - part.right,
            predicted: self.predicted - part.predicted,
            support: self.support - part.support,
        }
    }

    pub(super) fn precision(&self) -> f64 {
        share(self.right, self.predicted)
    }

    pub(super) fn recall(&self) -> f64 {
        share(self.right, self.support)
    }

    pub(super) fn f1(&self) -> f64 {
        share(2 * self.right, self.predicted + self.support)
    }

    pub(super) fn report(&self, level: f64) -> ClassReport {
        let (wrong, missed) = (self.predicted - self.right, self.support - self.right);
        ClassReport {
            precision: wilson(self.right, self.predicted, level),
            recall: wilson(self.right, self.support, level),
            f1: f1(self.right, wrong, missed, level),
            support: self.support,
        }
    }
}

/// 0 where there is nothing to share.
fn share(part: u64, all: u64) -> f64 {
    if all == 0 {
        return 0.0;
    }
    part as f64 / all as f64
}
