//! How much worse one version is than another before labels come: what each row's loss is expected to be, and how far
//! off a difference of such losses may be.
//!
//! R1. A score is calibrated among the rows that were called as its own was. So what is expected of the rows that are
//!     called positive is right on average, and of the others too, even where a version has them the wrong way round: one
//!     calibration of all rows cannot show that, for it never falls.
//! R2. A loss with the probability 0 or 1 in place of the calibrated one is the loss that the label shows. So what is
//!     expected and what is real have one formula.
//! R3. Rows with labels that calibrated nothing tell how far off the estimates are. Both versions answered the same ones,
//!     so that what is hard about a row is in both, and the error of the difference is known closer than either's own.

use serde::{Deserialize, Serialize};

use super::calibration::{self, Calibration};
use super::isotonic::{Isotonic, Point};
use crate::sum::Sum;

/// What of an answer is less the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Whether it is wrong.
    Wrong,
    /// Of what is called positive, whether it is wrong.
    WronglyCalled,
    /// The logarithmic loss of its score.
    LogLoss,
    /// The squared distance of its score from the truth.
    Brier,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Its score, as the model gave it.
    pub score: f64,
    /// Whether it was called positive.
    pub called: bool,
}

/// An answer whose truth is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Labelled {
    /// What was answered.
    pub answer: Answer,
    /// What is true.
    pub positive: bool,
}

impl Loss {
    /// What it is expected to be where the row is positive with this probability (R2); none where it is not asked of the
    /// answer, or the score is no probability where it should be one.
    pub fn of(self, answer: Answer, positive: f64) -> Option<f64> {
        let Answer { score, called } = answer;
        let negative = 1.0 - positive;
        let is_share = (0.0..=1.0).contains(&score);
        match self {
            Self::Wrong => Some(if called { negative } else { positive }),
            Self::WronglyCalled => called.then_some(negative),
            Self::LogLoss => is_share.then(|| {
                let loss = |share: f64| -share.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
                positive * loss(score) + negative * loss(1.0 - score)
            }),
            Self::Brier => {
                is_share.then(|| positive * (1.0 - score).powi(2) + negative * score.powi(2))
            }
        }
    }

    /// Whether it is from 0 to 1.
    pub fn is_share(self) -> bool {
        match self {
            Self::Wrong | Self::WronglyCalled | Self::Brier => true,
            Self::LogLoss => false,
        }
    }

    fn real(self, row: &Labelled) -> Option<f64> {
        self.of(row.answer, f64::from(u8::from(row.positive)))
    }
}

/// What a version's scores mean (R1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    called: Calibration,
    uncalled: Calibration,
}

impl Scores {
    /// Learns it. Sorts the rows: work for a worker thread.
    pub fn fit(rows: &[Labelled]) -> Self {
        let fit = |called: bool| {
            let rows = rows.iter().filter(|it| it.answer.called == called);
            let rows: Vec<calibration::Row> = rows
                .map(|it| calibration::Row {
                    score: it.answer.score,
                    positive: it.positive,
                })
                .collect();
            calibrated(&rows)
        };
        Self {
            called: fit(true),
            uncalled: fit(false),
        }
    }

    /// How probable it is that the row is positive; none where the score tells no probability.
    pub fn probability(&self, answer: Answer) -> Option<f64> {
        let calibration = if answer.called {
            &self.called
        } else {
            &self.uncalled
        };
        let score = Some(answer.score).filter(|it| it.is_finite());
        let probability = calibration.probability(score?);
        (0.0..=1.0).contains(&probability).then_some(probability)
    }

    /// What the loss of an answer is expected to be.
    pub fn expected(&self, loss: Loss, answer: Answer) -> Option<f64> {
        loss.of(answer, self.probability(answer)?)
    }
}

/// Scores stay what they are only where they can be probabilities and rows of both kinds bore that out. Else rows of one
/// kind, or very few, tell a share (Jeffreys' estimate), and all others an order.
fn calibrated(rows: &[calibration::Row]) -> Calibration {
    let fitted = Calibration::fit(rows);
    let finite = || rows.iter().filter(|it| it.score.is_finite());
    let (count, positive) = (finite().count(), finite().filter(|it| it.positive).count());
    if fitted != Calibration::Unchanged || count == 0 {
        return fitted;
    }
    let is_one_kind = count < 4 || positive == 0 || positive == count;
    if !is_one_kind && finite().all(|it| (0.0..=1.0).contains(&it.score)) {
        return fitted;
    }
    let points = if is_one_kind {
        let y = (positive as f64 + 0.5) / (count as f64 + 1.0);
        vec![Point { x: 0.0, y }]
    } else {
        let point = |it: &calibration::Row| Point {
            x: it.score,
            y: f64::from(u8::from(it.positive)),
        };
        finite().map(point).collect()
    };
    Isotonic::fit(points).map_or(fitted, Calibration::Isotonic)
}

/// What labels said of a version's estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tested {
    /// Rows of which the loss is asked.
    pub rows: u64,
    /// What it was estimated to be.
    pub estimated: f64,
    /// What it was.
    pub realised: f64,
    /// How far the two are apart by chance: the rows that taught were a sample as well.
    pub standard_error: f64,
}

/// What labels said of the estimates of both, and of their difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// Of the incumbent and of the candidate.
    pub versions: [Tested; 2],
    /// By how much more the candidate is worse by estimate than it is.
    pub bias: f64,
    /// The standard error of that.
    pub standard_error: f64,
}

/// Compares estimates with labels on rows that both answered, which are not among the `learned` rows that taught. The
/// incumbent's losses count `1 + part` times, as in a comparison whose margin is a part of them. None where the loss is
/// asked of no row of a version.
pub fn compare(
    loss: Loss,
    scores: &[Scores; 2],
    learned: u64,
    rows: &[[Labelled; 2]],
    part: f64,
) -> Option<Compared> {
    let errors = |version: usize| {
        let one = |row: &[Labelled; 2]| {
            let row = &row[version];
            let expected = scores[version].expected(loss, row.answer)?;
            Some((expected, loss.real(row)?))
        };
        rows.iter().map(one).collect::<Vec<_>>()
    };
    let [incumbent, candidate] = [errors(0), errors(1)];
    let (tested, other) = (tested(&incumbent, learned)?, tested(&candidate, learned)?);
    let share = 1.0 + part;
    let bias = other.tested.bias() - share * tested.tested.bias();
    let squares = tested.parts.iter().zip(&other.parts);
    let squares = squares.map(|(incumbent, candidate)| (candidate - share * incumbent).powi(2));
    Some(Compared {
        versions: [tested.tested, other.tested],
        bias,
        standard_error: error_of(squares),
    })
}

impl Tested {
    fn bias(&self) -> f64 {
        self.estimated - self.realised
    }
}

struct Parts {
    tested: Tested,
    /// What each row adds to the error of the mean, times the rows.
    parts: Vec<f64>,
}

fn tested(errors: &[Option<(f64, f64)>], learned: u64) -> Option<Parts> {
    let asked = || errors.iter().flatten();
    let rows = asked().count();
    if rows == 0 || learned == 0 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| sum(asked().map(of)) / rows as f64;
    let (estimated, realised) = (mean(|it| it.0), mean(|it| it.1));
    // A mean over a part of the rows: what is not asked of a row adds nothing to its error.
    let weight = errors.len() as f64 / rows as f64;
    let parts: Vec<f64> = errors
        .iter()
        .map(|it| {
            it.map_or(0.0, |(one, other)| {
                weight * (one - other - (estimated - realised))
            })
        })
        .collect();
    let taught = 1.0 + errors.len() as f64 / learned as f64;
    Some(Parts {
        tested: Tested {
            rows: rows as u64,
            estimated,
            realised,
            standard_error: error_of(parts.iter().map(|it| it * it)) * taught.sqrt(),
        },
        parts,
    })
}

/// The standard error of a mean, from squared distances from it.
fn error_of(squares: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = squares.len() as f64;
    (sum(squares) / (count * (count - 1.0).max(1.0))).sqrt()
}

fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut sum = Sum::default();
    values.for_each(|it| sum.add(it));
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn answer(score: f64) -> Answer {
        Answer {
            score,
            called: score >= 0.5,
        }
    }

    #[test]
    fn rows_of_one_kind_tell_a_share_and_scores_that_are_no_shares_an_order() {
        let rows = |score: fn(u32) -> f64, positive: fn(u32) -> bool| -> Vec<Labelled> {
            let of = |at: u32| Labelled {
                answer: Answer {
                    score: score(at),
                    called: at.is_multiple_of(2),
                },
                positive: positive(at),
            };
            (0..400).map(of).collect()
        };
        let answer = |score: f64, called: bool| Answer { score, called };
        // Whatever is called positive is negative, and the other way round.
        let turned = Scores::fit(&rows(|at| f64::from(1 - at % 2), |at| at % 2 == 1));
        let wrong = |it: Answer| turned.expected(Loss::Wrong, it).expect("a loss");
        assert!((0.99..1.0).contains(&wrong(answer(1.0, true))));
        assert!((0.99..1.0).contains(&wrong(answer(0.0, false))));
        // Of logits, too; and where no positive one is above a negative one, by what they show.
        let logits = Scores::fit(&rows(|at| f64::from(at % 2) * -7.0 + 3.5, |at| at % 2 == 0));
        assert!(
            logits
                .probability(answer(3.2, true))
                .is_some_and(|it| it > 0.99)
        );
        let order = Scores::fit(&rows(f64::from, |at| at >= 200));
        for called in [true, false] {
            assert_eq!(order.probability(answer(20.0, called)), Some(0.0));
            assert_eq!(order.probability(answer(380.0, called)), Some(1.0));
        }
        // Nothing was learned of what nobody was called.
        let none = Scores::fit(&rows(|_| 0.7, |_| true)[..1]);
        assert_eq!(none.probability(answer(0.3, false)), Some(0.3));
    }

    #[test]
    fn losses_by_hand() {
        let (called, uncalled) = (answer(0.8), answer(0.4));
        let near = |got: Option<f64>, want: f64| {
            assert!(
                got.is_some_and(|it| (it - want).abs() < 1e-12),
                "{got:?}, not {want}"
            );
        };
        near(Loss::Wrong.of(called, 0.7), 0.3);
        near(Loss::Wrong.of(uncalled, 0.3), 0.3);
        near(Loss::WronglyCalled.of(called, 0.7), 0.3);
        assert_eq!(Loss::WronglyCalled.of(uncalled, 0.3), None);
        near(Loss::Brier.of(called, 0.7), 0.7 * 0.04 + 0.3 * 0.64);
        near(Loss::LogLoss.of(called, 1.0), -0.8f64.ln());
        near(Loss::LogLoss.of(called, 0.0), -0.2f64.ln());
        // A score that is no probability has no loss of its own, but is right or wrong.
        assert_eq!(Loss::Brier.of(answer(7.0), 0.5), None);
        near(Loss::Wrong.of(answer(7.0), 0.5), 0.5);
        let unsure = Scores::fit(&[]);
        assert_eq!(unsure.probability(answer(0.3)), Some(0.3));
        assert_eq!(unsure.probability(answer(7.0)), None);
        assert_eq!(unsure.expected(Loss::Wrong, answer(f64::NAN)), None);
    }

    /// A row whose truth is as probable as its score says, answered by the incumbent, and by the candidate as `change`
    /// has it.
    fn rows(count: usize, seed: u64, change: impl Fn(f64) -> f64) -> Vec<[Labelled; 2]> {
        let mut random = Random::new(seed);
        let row = |_| {
            let score = random.uniform();
            let positive = random.uniform() < score;
            [score, change(score)].map(|it| Labelled {
                answer: answer(it),
                positive,
            })
        };
        (0..count).map(row).collect()
    }

    fn of(rows: &[[Labelled; 2]], version: usize) -> Vec<Labelled> {
        rows.iter().map(|it| it[version]).collect()
    }

    fn learn(rows: &[[Labelled; 2]]) -> [Scores; 2] {
        [Scores::fit(&of(rows, 0)), Scores::fit(&of(rows, 1))]
    }

    #[test]
    fn a_version_that_is_the_wrong_way_round_is_estimated_to_be_wrong() {
        let scores = learn(&rows(2_000, 1, |it| 1.0 - it));
        let compared = compare(
            Loss::Wrong,
            &scores,
            2_000,
            &rows(2_000, 2, |it| 1.0 - it),
            0.0,
        );
        let compared = compared.expect("rows");
        let [incumbent, candidate] = compared.versions;
        assert!((incumbent.estimated - 0.25).abs() < 0.02, "{incumbent:?}");
        assert!((candidate.estimated - 0.75).abs() < 0.02, "{candidate:?}");
        assert!((candidate.realised - candidate.estimated).abs() < 3.0 * candidate.standard_error);
        // All rows differ, so that the difference is known worse than either.
        assert!(compared.standard_error > 0.01 && compared.standard_error < 0.03);
    }

    #[test]
    fn versions_that_answer_alike_have_no_error_in_their_difference() {
        let scores = learn(&rows(400, 3, |it| it));
        let compared = compare(Loss::Wrong, &scores, 400, &rows(400, 4, |it| it), 0.0);
        let compared = compared.expect("rows");
        assert_eq!((compared.bias, compared.standard_error), (0.0, 0.0));
        assert!(compared.versions[0].standard_error > 0.01);
        // With a margin that is a part of the incumbent's it has a part of its error.
        let raised = compare(Loss::Brier, &scores, 400, &rows(400, 4, |it| it), 0.1);
        let raised = raised.expect("rows");
        let of_part = raised.versions[0].standard_error / 2f64.sqrt() / 10.0;
        assert!((raised.standard_error - of_part).abs() < 1e-9, "{raised:?}");
    }

    #[test]
    fn the_stated_errors_are_those_that_are_seen() {
        // The candidate is coarser: it calls some rows otherwise.
        let change = |it: f64| if it > 0.3 && it < 0.6 { 0.9 - it } else { it };
        for loss in [Loss::Wrong, Loss::WronglyCalled, Loss::LogLoss, Loss::Brier] {
            let mut biases = crate::sequential::means::Values::default();
            let mut stated = crate::sequential::means::Values::default();
            let scores = learn(&rows(50_000, 5, change));
            for seed in 0..300 {
                let held = rows(500, 100 + seed, change);
                let compared = compare(loss, &scores, 50_000, &held, 0.0).expect("rows");
                biases.add(compared.bias);
                stated.add(compared.standard_error);
            }
            let seen = biases.variance().expect("many").sqrt();
            assert!(
                (0.85..1.15).contains(&(seen / stated.mean)),
                "{loss:?}: {seen} {}",
                stated.mean
            );
            assert!(biases.mean.abs() < 0.5 * seen, "{loss:?}: {biases:?}");
        }
    }

    /// The figures of `docs/rollouts.md`: 2500 rows check it, and a quantile of 2.81 is that of a quarter of 1 %.
    #[test]
    fn how_far_off_a_difference_may_be() {
        for (called_otherwise, points) in [(0.01, 0.6), (0.1, 1.8)] {
            let half = called_otherwise / 2.0;
            let change = move |it: f64| {
                if (it - 0.5).abs() < half {
                    1.0 - it
                } else {
                    it
                }
            };
            let scores = learn(&rows(2_500, 9, change));
            let compared = compare(Loss::Wrong, &scores, 2_500, &rows(2_500, 10, change), 0.0);
            let error = compared.expect("rows").standard_error;
            let got = 281.0 * error;
            assert!((got - points).abs() < 0.15, "{got}");
        }
    }

    #[test]
    fn of_nothing_there_is_no_comparison() {
        let scores = learn(&rows(400, 6, |it| it));
        assert_eq!(compare(Loss::Wrong, &scores, 400, &[], 0.0), None);
        let uncalled = rows(400, 7, |_| 0.1);
        assert_eq!(
            compare(Loss::WronglyCalled, &scores, 400, &uncalled, 0.0),
            None
        );
        assert!(compare(Loss::Wrong, &scores, 400, &uncalled, 0.0).is_some());
    }
}
