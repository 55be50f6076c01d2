//! How far rows are from a baseline.
//!
//! R1. All rows and every segment are one family of questions, so that what may be wrong is not more with segments.
//! R2. One half of it is for all rows, the other for all segments together: naming segments makes a move of all rows
//!     hardly harder to find.
//! R3. A column is not compared within segments of its own values; within ranges of it, it is.

use domain::monitor::segments::Segments;
use stats::drift::bins::Counted;
use stats::drift::column::Distances;
use stats::drift::effect::Terms;
use stats::drift::verdict::{Asked, Judged, Verdict, alpha_of_one, judge};

use super::{Baseline, Column, Counter};

/// Questions about a column, at most.
const QUESTIONS: usize = 4;

/// The verdict about rows, column by column.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Of all columns of all rows; `drift` too where one of a segment has drifted.
    pub verdict: Verdict,
    /// Rows of the baseline.
    pub reference_rows: u64,
    /// Rows compared with it.
    pub current_rows: u64,
    /// As the baseline's.
    pub columns: Vec<ColumnDrift>,
    /// As the baseline's.
    pub segments: Vec<SegmentDrift>,
}

impl Drift {
    /// Whether all rows have drifted in a column: then what a segment has of it is no news.
    pub fn has_drifted(&self, column: &str) -> bool {
        let mut columns = self.columns.iter();
        columns.any(|it| it.name == column && it.verdict == Verdict::Drift)
    }
}

/// The verdict about one segment of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentDrift {
    /// The column whose value it is.
    pub by: String,
    /// The value.
    pub value: String,
    /// Of all its columns.
    pub verdict: Verdict,
    /// Rows of the baseline.
    pub reference_rows: u64,
    /// Rows compared with it.
    pub current_rows: u64,
    /// The baseline's, but for the column itself.
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
    /// The reference's rows by cell.
    pub reference: Counted,
    /// The current ones.
    pub current: Counted,
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

/// All rows, or those of one segment.
struct Side<'a> {
    /// R3: the column that is not compared.
    own: Option<&'a str>,
    /// R2: the weight beside other sides.
    weight: f64,
    reference: &'a [Counted],
    current: &'a [Counted],
}

impl Baseline {
    /// Compares rows, counted in these cells, with the baseline. `terms.alpha` is that of all columns together, those of
    /// segments too; `of` tells how each is looked at.
    pub fn drift(&self, current: &Counter, terms: Terms, of: impl Fn(&str) -> Attention) -> Drift {
        let whole: Vec<Counted> = self.columns.iter().map(|it| it.counted.clone()).collect();
        let sides = self.sides(&whole, current);
        let tests = sides.len() * self.columns.len() * QUESTIONS;
        let mean = sides.iter().map(|it| it.weight).sum::<f64>() / sides.len() as f64;
        let asked = |side: &Side<'_>| {
            let alpha = alpha_of_one(terms.alpha, tests) * side.weight / mean;
            let pairs = self
                .columns
                .iter()
                .zip(side.reference.iter().zip(side.current));
            let asked = pairs.map(|(column, (before, now))| {
                let Attention { weight, widened } = of(&column.name);
                let terms = Terms {
                    margin: terms.margin * widened,
                    alpha,
                    ..terms
                };
                let effects = match side.own {
                    Some(own) if own == column.name => Vec::new(),
                    _ => column.cells.effects(before, now, terms),
                };
                Asked {
                    weight: weight * side.weight,
                    effects,
                }
            });
            asked.collect::<Vec<Asked>>()
        };
        // R1.
        let asked: Vec<Asked> = sides.iter().flat_map(asked).collect();
        let mut judged = judge(&asked, terms.alpha).into_iter();
        let mut told = sides.iter().map(|side| {
            let columns = self.columns.iter().enumerate();
            let own: Vec<(usize, &Column, Vec<Judged>)> = columns
                .zip(judged.by_ref())
                .filter(|((_, it), _)| side.own != Some(it.name.as_str()))
                .map(|((at, it), judged)| (at, it, judged))
                .collect();
            let column = |(at, it, mut answers): (usize, &Column, Vec<Judged>)| {
                answers.sort_by(|a, b| b.effect.in_margins().total_cmp(&a.effect.in_margins()));
                ColumnDrift {
                    name: it.name.clone(),
                    verdict: Verdict::of_all(answers.iter().map(|it| it.verdict)),
                    answers,
                    distances: it.cells.distances(&side.reference[at], &side.current[at]),
                    reference: side.reference[at].clone(),
                    current: side.current[at].clone(),
                }
            };
            own.into_iter().map(column).collect::<Vec<ColumnDrift>>()
        });
        let columns = told.next().unwrap_or_default();
        let counted = self.segments.iter().zip(&current.segments);
        let segments = counted
            .zip(told)
            .map(|((segment, now), columns)| SegmentDrift {
                by: segment.by.clone(),
                value: segment.value.clone(),
                verdict: Verdict::of_all(columns.iter().map(|it| it.verdict)),
                reference_rows: segment.rows,
                current_rows: now.rows,
                columns,
            });
        let segments: Vec<SegmentDrift> = segments.collect();
        let drifted = segments.iter().map(|it| it.verdict);
        let drifted = drifted.filter(|it| *it == Verdict::Drift);
        Drift {
            verdict: Verdict::of_all(columns.iter().map(|it| it.verdict).chain(drifted)),
            reference_rows: self.rows,
            current_rows: current.rows,
            columns,
            segments,
        }
    }

    /// All rows first, then each segment.
    fn sides<'a>(&'a self, whole: &'a [Counted], current: &'a Counter) -> Vec<Side<'a>> {
        let own = |by: &str| {
            let of = self.segmented.iter().find(|it| it.by == by);
            of.filter(|it| it.edges.is_empty())
        };
        let segments = self.segments.iter().zip(&current.segments);
        let segments = segments.map(|(segment, now)| Side {
            own: own(&segment.by).map(|it: &Segments| it.by.as_str()),
            weight: 1.0,
            reference: &segment.columns,
            current: &now.columns,
        });
        let all = Side {
            own: None,
            weight: self.segments.len().max(1) as f64,
            reference: whole,
            current: &current.columns,
        };
        std::iter::once(all).chain(segments).collect()
    }
}
