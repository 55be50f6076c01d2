//! How far rows are from a baseline.

use stats::drift::column::Distances;
use stats::drift::effect::Terms;
use stats::drift::verdict::{Asked, Judged, Verdict, alpha_of_one, judge};

use super::{Baseline, Counter};

/// Questions about a column, at most.
const QUESTIONS: usize = 4;

/// The verdict about rows, column by column.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Of all columns.
    pub verdict: Verdict,
    /// Rows of the baseline.
    pub reference_rows: u64,
    /// Rows compared with it.
    pub current_rows: u64,
    /// As the baseline's.
    pub columns: Vec<ColumnDrift>,
}

/// The verdict about a column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDrift {
    /// The column.
    pub name: String,
    /// Of all questions.
    pub verdict: Verdict,
    /// Each question that could be asked; the farthest from its margin first.
    pub answers: Vec<Judged>,
    /// Distances of the shares of cells; none where one side has no values.
    pub distances: Option<Distances>,
}

/// How a column is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// How much it matters beside the others.
    pub weight: f64,
    /// Its margin is so many times that of all; at least 1.
    pub widened: f64,
}

impl Attention {
    /// Like all others.
    pub const PLAIN: Self = Self {
        weight: 1.0,
        widened: 1.0,
    };
}

impl Baseline {
    /// Compares rows, counted in these cells, with the baseline. `terms.alpha` is that of all columns together, `of`
    /// tells how each is looked at.
    pub fn drift(&self, current: &Counter, terms: Terms, of: impl Fn(&str) -> Attention) -> Drift {
        let each = Terms {
            alpha: alpha_of_one(terms.alpha, self.columns.len() * QUESTIONS),
            ..terms
        };
        let pairs = || self.columns.iter().zip(&current.columns);
        let asked: Vec<Asked> = pairs()
            .map(|(column, now)| {
                let Attention { weight, widened } = of(&column.name);
                let terms = Terms {
                    margin: each.margin * widened,
                    ..each
                };
                Asked {
                    weight,
                    effects: column.cells.effects(&column.counted, now, terms),
                }
            })
            .collect();
        let judged = judge(&asked, terms.alpha);
        let columns = pairs().zip(judged).map(|((column, now), mut answers)| {
            answers.sort_by(|a, b| b.effect.in_margins().total_cmp(&a.effect.in_margins()));
            ColumnDrift {
                name: column.name.clone(),
                verdict: Verdict::of_all(answers.iter().map(|it| it.verdict)),
                answers,
                distances: column.cells.distances(&column.counted, now),
            }
        });
        let columns: Vec<ColumnDrift> = columns.collect();
        Drift {
            verdict: Verdict::of_all(columns.iter().map(|it| it.verdict)),
            reference_rows: self.rows,
            current_rows: current.rows,
            columns,
        }
    }
}
