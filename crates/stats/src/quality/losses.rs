//! What probabilities are charged for: log loss, Brier score and calibration error.

use super::{GROUPS, mean};
use crate::interval::{self, Estimate};
use crate::sum::{Moments, Sum};

/// Equal-width bins of the calibration error.
const BINS: usize = 10;

/// The losses of all scored rows so far.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    outside: u64,
    log_loss: Moments,
    brier: Moments,
    bins: Vec<[Bin; BINS]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    rows: u64,
    hits: u64,
    confidence: Sum,
}

/// One row's probabilities, seen three ways.
pub(super) struct Loss {
    /// What was given to the class that came true.
    pub(super) of_truth: f64,
    /// The row's Brier score.
    pub(super) squared: f64,
    /// The probability whose calibration is judged.
    pub(super) confidence: f64,
    /// Whether what that probability speaks of came true.
    pub(super) hit: bool,
}

impl Losses {
    pub(super) fn new() -> Self {
        Self {
            outside: 0,
            log_loss: Moments::default(),
            brier: Moments::default(),
            bins: vec![[Bin::default(); BINS]; GROUPS],
        }
    }

    /// All probabilities of the row are in 0..=1; else it is [`Losses::add_outside`].
    pub(super) fn add(&mut self, loss: Loss, group: usize) {
        let Loss {
            of_truth,
            squared,
            confidence,
            hit,
        } = loss;
        let clipped = of_truth.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        self.log_loss.add(-clipped.ln());
        self.brier.add(squared);
        // The product rounds as numpy's does, so a score on an edge falls to the same side.
        let index = (confidence * BINS as f64) as usize;
        let bin = &mut self.bins[group][index.min(BINS - 1)];
        bin.rows += 1;
        bin.hits += u64::from(hit);
        bin.confidence.add(confidence);
    }

    /// A row with a score that is no probability.
    pub(super) fn add_outside(&mut self) {
        self.outside += 1;
    }

    pub(super) fn outside(&self) -> u64 {
        self.outside
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.outside += other.outside;
        self.log_loss = self.log_loss.plus(other.log_loss);
        self.brier = self.brier.plus(other.brier);
        for (mine, other) in self.bins.iter_mut().zip(&other.bins) {
            for (mine, other) in mine.iter_mut().zip(other) {
                *mine = mine.plus(*other);
            }
        }
    }

    pub(super) fn log_loss(&self, level: f64) -> Option<Estimate> {
        let estimate = mean(self.whole(self.log_loss)?, level)?;
        Some(estimate.within(0.0, f64::INFINITY))
    }

    /// `most`: the worst that a row can score.
    pub(super) fn brier(&self, level: f64, most: f64) -> Option<Estimate> {
        let estimate = mean(self.whole(self.brier)?, level)?;
        Some(estimate.within(0.0, most))
    }

    pub(super) fn calibration_error(&self, level: f64) -> Option<Estimate> {
        self.whole(self.brier)?;
        let mut all = [Bin::default(); BINS];
        for group in &self.bins {
            for (all, bin) in all.iter_mut().zip(group) {
                *all = all.plus(*bin);
            }
        }
        let without = |group: &[Bin; BINS]| {
            let mut rest = all;
            for (rest, bin) in rest.iter_mut().zip(group) {
                *rest = rest.minus(*bin);
            }
            calibration_error(&rest)
        };
        let filled = |group: &&[Bin; BINS]| group.iter().any(|bin| bin.rows > 0);
        let replicates: Vec<f64> = self.bins.iter().filter(filled).map(without).collect();
        let estimate = interval::jackknife(calibration_error(&all), &replicates, level);
        super::finite(estimate.within(0.0, 1.0))
    }

    /// `None` without rows, and where a score was no probability: then the mean over the others would
    /// flatter.
    fn whole(&self, moments: Moments) -> Option<Moments> {
        (self.outside == 0 && moments.count > 0).then_some(moments)
    }
}

impl Bin {
    fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            hits: self.hits + other.hits,
            confidence: self.confidence.plus(other.confidence),
        }
    }

    fn minus(self, part: Self) -> Self {
        Self {
            rows: self.rows - part.rows,
            hits: self.hits - part.hits,
            confidence: self.confidence.minus(part.confidence),
        }
    }
}

/// The sum over bins of (rows of the bin / all rows) * |mean confidence - share of hits|, which is the sum
/// of |confidences - hits| over all rows: Naeini, Cooper & Hauskrecht, AAAI 2015; Guo et al., ICML 2017,
/// equation 3.
fn calibration_error(bins: &[Bin; BINS]) -> f64 {
    let rows: u64 = bins.iter().map(|bin| bin.rows).sum();
    let gap = |bin: &Bin| (bin.confidence.value() - bin.hits as f64).abs();
    bins.iter().map(gap).sum::<f64>() / rows as f64
}
