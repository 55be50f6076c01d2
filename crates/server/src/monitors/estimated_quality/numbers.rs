//! The same for a model of numbers: how far off it is likely to be, by rows like those whose labels have come.

use ::ledger::{Example, Group};
use domain::monitor::estimated_quality::{Cohort, Trust, trust};
use domain::monitor::quality::Metric;
use stats::boost::{Settings, refs};
use stats::estimate::dle::{Estimated, Expected, Losses};

use super::{Told, parts};
use crate::quality::figure;

/// Where an estimate and what was measured have a metric.
type Of = (fn(&Estimated) -> Option<Expected>, fn(&[f64]) -> f64);

/// The metrics that losses tell.
pub(super) fn estimated_of(metric: Metric) -> Option<Of> {
    Some(match metric {
        Metric::Mae => (|it| it.mae, |it| mean_of(it.iter().copied())),
        Metric::Rmse => (
            |it| it.rmse,
            |it| mean_of(it.iter().map(|it| it * it)).sqrt(),
        ),
        _ => return None,
    })
}

fn mean_of(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

/// Learns from the older windows whose labels have come how far off rows are, tests that on the newer ones, and
/// estimates the newest window of all: one for each metric, with the fewest rows that it needs. None without a window
/// to learn from or to estimate.
pub(super) fn told(groups: &[Group], asked: &[(u64, Metric)], level: f64) -> Vec<Option<Told>> {
    let support = asked.iter().map(|it| it.0).min().unwrap_or(0);
    let Some(learned) = Learned::from(groups, support) else {
        return asked.iter().map(|_| None).collect();
    };
    let one = |(support, metric): &(u64, Metric)| learned.told(*support, *metric, level);
    asked.iter().map(one).collect()
}

/// A window's estimate and the errors that its labels say it has.
struct Tested {
    estimated: Estimated,
    errors: Vec<f64>,
}

struct Learned {
    /// The errors that were learned from.
    errors: Vec<f64>,
    tested: Vec<Tested>,
    newest: Estimated,
    from_us: Option<i64>,
}

impl Learned {
    fn from(groups: &[Group], support: u64) -> Option<Self> {
        let (reference, tests, newest) = parts(groups, support)?;
        let errors = |rows: &[(&Example, f64)]| -> Vec<f64> {
            let errors = rows.iter().map(|(it, truth)| (it.value - truth).abs());
            errors.filter(|it| it.is_finite()).collect()
        };
        let rows = labelled(&reference);
        if (rows.len() as u64) < support {
            return None;
        }
        let (features, values) = columns(rows.iter().map(|it| it.0));
        let truths: Vec<f64> = rows.iter().map(|it| it.1).collect();
        let losses = Losses::fit(&refs(&features), &values, &truths, Settings::USUAL).ok()?;
        let estimated = |rows: &mut dyn Iterator<Item = &Example>| {
            let (features, values) = columns(rows);
            losses.of_chunk(&refs(&features), &values).ok()
        };
        let tested = tests.iter().filter_map(|window| {
            let rows = labelled(&[*window]);
            Some(Tested {
                estimated: estimated(&mut rows.iter().map(|it| it.0))?,
                errors: errors(&rows),
            })
        });
        Some(Self {
            errors: errors(&rows),
            tested: tested.collect(),
            newest: estimated(&mut newest.examples.iter())?,
            from_us: newest.from_us,
        })
    }

    fn told(&self, support: u64, metric: Metric, level: f64) -> Option<Told> {
        let (of_estimate, of_errors) = estimated_of(metric)?;
        if self.newest.rows < support || self.errors.is_empty() {
            return None;
        }
        // What is tolerated of a mean error is a part of what is usual, whatever the numbers' unit.
        let usual = of_errors(&self.errors);
        if !(usual > 0.0 && usual.is_finite()) {
            return None;
        }
        let cohorts: Vec<Cohort> = self
            .tested
            .iter()
            .filter(|it| !it.errors.is_empty())
            .filter_map(|it| {
                let estimated = of_estimate(&it.estimated)?;
                Some(Cohort {
                    estimated: estimated.value / usual,
                    realised: of_errors(&it.errors) / usual,
                    standard_error: estimated.standard_error? / usual,
                })
            })
            .collect();
        Some(Told {
            trust: match trust(&cohorts) {
                Trust::Kept(mean_error) => Trust::Kept(mean_error * usual),
                Trust::Lost {
                    mean_error,
                    allowed,
                } => Trust::Lost {
                    mean_error: mean_error * usual,
                    allowed: allowed * usual,
                },
                Trust::Untested => Trust::Untested,
            },
            tested: cohorts.len(),
            estimate: figure(of_estimate(&self.newest)?.interval(level)),
            rows: self.newest.rows,
            from_us: self.from_us,
        })
    }
}

/// The rows whose truth has come, with it.
fn labelled<'a>(windows: &[&'a Group]) -> Vec<(&'a Example, f64)> {
    let rows = windows.iter().flat_map(|it| &it.examples);
    rows.filter_map(|it| Some((it, it.truth?))).collect()
}

/// Features and answers of rows, column by column.
fn columns<'a>(rows: impl Iterator<Item = &'a Example>) -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut features: Vec<Vec<f64>> = Vec::new();
    let mut values = Vec::new();
    for row in rows {
        features.resize(row.features.len(), Vec::new());
        for (column, value) in features.iter_mut().zip(&row.features) {
            column.push(*value);
        }
        values.push(row.value);
    }
    (features, values)
}

#[cfg(test)]
mod tests {
    use ::ledger::Report;
    use domain::alert::Verdict;
    use domain::monitor::limit::Limit;
    use stats::Regression;

    use super::*;
    use crate::quality::group_of;

    /// A window of 400 rows with one feature; rows of which it is 1 are off by `hard`, others by 1, evenly.
    fn window(at: i64, hard: f64, hard_rows: usize, is_labelled: bool) -> Group {
        let row = |index: usize| {
            let is_hard = index < hard_rows;
            let off = if is_hard { hard } else { 1.0 };
            let sign = if index.is_multiple_of(2) { 1.0 } else { -1.0 };
            let about = 0.5 + (index * 617 % 400) as f64 / 400.0;
            Example {
                hash: index as u64,
                features: vec![f64::from(u8::from(is_hard))],
                value: 100.0,
                truth: is_labelled.then_some(100.0 + sign * off * about),
            }
        };
        Group {
            from_us: Some(at),
            predictions: 400,
            labelled: if is_labelled { 400 } else { 0 },
            provisional: !is_labelled,
            examples: (0..400).map(row).collect(),
            ..group_of(Report::Regression(Regression::default().report(0.95)))
        }
    }

    fn of(hard: impl Fn(i64) -> f64, newest: usize) -> Told {
        let mut groups: Vec<Group> = (0..8).map(|at| window(at, hard(at), 100, true)).collect();
        groups.push(window(8, 5.0, newest, false));
        let mut told = told(&groups, &[(100, Metric::Mae)], 0.99);
        told.pop().flatten().expect("an estimate")
    }

    #[test]
    fn a_window_of_harder_rows_is_estimated_to_be_farther_off() {
        let usual = of(|_| 5.0, 100);
        assert!(matches!(usual.trust, Trust::Kept(_)), "{:?}", usual.trust);
        assert_eq!(usual.tested, 4);
        assert!(
            (usual.estimate.value - 2.0).abs() < 0.1,
            "{:?}",
            usual.estimate
        );
        let harder = of(|_| 5.0, 400);
        assert!(
            (harder.estimate.value - 5.0).abs() < 0.3,
            "{:?}",
            harder.estimate
        );
        let judged = |limit| harder.trust.judge(Limit::Over(limit), harder.estimate);
        assert_eq!(judged(3.0), Verdict::Bad);
        assert_eq!(judged(6.0), Verdict::Fine);
    }

    #[test]
    fn an_estimate_that_labels_refuted_is_not_believed() {
        let lost = of(|at| if at < 4 { 5.0 } else { 15.0 }, 400);
        assert!(matches!(lost.trust, Trust::Lost { .. }), "{:?}", lost.trust);
        let judged = lost.trust.judge(Limit::Over(0.1), lost.estimate);
        assert_eq!(judged, Verdict::Unknown);
    }

    #[test]
    fn without_labels_or_with_no_error_at_all_there_is_no_estimate() {
        let asked = [(100, Metric::Mae), (100, Metric::Rmse)];
        let none = |groups: &[Group]| told(groups, &asked, 0.99).iter().all(Option::is_none);
        assert!(none(&[]));
        assert!(none(&[window(0, 5.0, 100, false)]));
        let mut exact = window(0, 5.0, 100, true);
        exact
            .examples
            .iter_mut()
            .for_each(|it| it.truth = Some(it.value));
        assert!(none(&[exact, window(1, 5.0, 100, false)]));
        let groups = [window(0, 5.0, 100, true), window(1, 5.0, 100, false)];
        let told = told(&groups, &asked, 0.99);
        assert!(told.iter().flatten().all(|it| it.trust == Trust::Untested));
        assert_eq!(told.iter().flatten().count(), 2);
    }
}
