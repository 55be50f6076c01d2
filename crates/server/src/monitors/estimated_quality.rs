//! How right a version is while labels are still to come: estimated from its scores, or of a model of numbers from its
//! features, and tested where they have come.

mod numbers;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::ledger::{Examples, Group, Scored};
use domain::Refusal;
use domain::alert::{Evidence, Fact, Finding, Severity, Verdict};
use domain::monitor::estimated_quality::{COHORTS_MIN, Cohort, Trust, trust};
use domain::monitor::limit::{Figure, Limit};
use domain::monitor::quality::{Demand, Metric};
use domain::task::Task;
use domain::time::show_moment;
use stats::estimate::calibration::{self, Calibration};
use stats::estimate::error::{self, SamplingError, StandardErrors};
use stats::estimate::{Estimated, Row, estimate};
use stats::interval::normal;
use stats::{Binary, BinaryReport, BinaryRow};

use super::LOOK_MAX;
use super::windows::{self, Shared, is_mature};
use crate::app::App;
use crate::drift::baseline_of;
use crate::quality::{figure, shown};
use crate::running::Running;

/// Scored rows of a window that are looked at one by one; of more a sample is.
const ROWS_MAX: usize = 20_000;
/// The most windows that estimates are tested on.
const TESTED_MAX: usize = 10;

/// Rows of all windows that are read, about, for a model of numbers.
const READ_MAX: u64 = 3_000_000;
/// Values of a window's rows with their features: with more features there are fewer rows.
const VALUES_MAX: usize = 200_000;
/// Rows of a window that are kept, at most.
const EXAMPLES_MAX: usize = 4_000;

/// Scored rows of a window that are needed: none where nothing is estimated from them.
pub(super) fn scored_max(running: &Running) -> usize {
    let (of_scores, of_numbers) = demands(running);
    match !of_scores.is_empty() && of_numbers.is_empty() {
        true => ROWS_MAX,
        false => 0,
    }
}

/// Looks at the metrics of which something is demanded and that scores or features tell; scores are in the windows that
/// were asked for.
pub(super) async fn look(
    app: &Arc<App>,
    running: &Running,
    shared: Shared,
) -> Result<Vec<Finding>, Refusal> {
    let (asked, of_numbers) = demands(running);
    let level = running.monitor.level(asked.len().max(of_numbers.len()));
    if !of_numbers.is_empty() {
        return look_at_numbers(app, running, &of_numbers, level).await;
    }
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let Some(quality) = shared? else {
        return Ok(Vec::new());
    };
    let several = is_of_several(running);
    let questions = asked.iter();
    let questions: Vec<(u64, Places)> = questions
        .filter_map(|it| Some((it.0.support, estimated_of(it.2, several)?)))
        .collect();
    let telling = move || Ok(told(&quality.groups, &questions, level));
    let told = app.questions.compute(LOOK_MAX, telling).await?;
    Ok(findings(running, &asked, &told))
}

/// A demand of a metric, and its limit.
type Asked<'a> = (&'a Demand, Limit, Metric);

/// What is demanded of metrics that scores tell, and of those that only features do.
fn demands(running: &Running) -> (Vec<Asked<'_>>, Vec<Asked<'_>>) {
    let several = is_of_several(running);
    let demands = running.monitor.quality.iter();
    let demands = demands.filter_map(|it| Some((it, it.limit()?, it.metric)));
    let (of_scores, others): (Vec<Asked<'_>>, Vec<Asked<'_>>) =
        demands.partition(|(.., metric)| estimated_of(*metric, several).is_some());
    let of_numbers = others.into_iter();
    let of_numbers = of_numbers.filter(|(.., metric)| numbers::estimated_of(*metric).is_some());
    (of_scores, of_numbers.collect())
}

fn is_of_several(running: &Running) -> bool {
    matches!(running.signature.task, Some(Task::Multiclass { .. }))
}

/// The same of a model of numbers, which has no other metrics.
async fn look_at_numbers(
    app: &Arc<App>,
    running: &Running,
    asked: &[Asked<'_>],
    level: f64,
) -> Result<Vec<Finding>, Refusal> {
    let questions: Vec<(u64, Metric)> = asked.iter().map(|it| (it.0.support, it.2)).collect();
    let nothing = || questions.iter().map(|_| None).collect();
    let told: Vec<Option<Told>> = match baseline_of(app, &running.model, running.version).await? {
        None => nothing(),
        Some((_, baseline)) => {
            let kept_max = VALUES_MAX / baseline.columns.len().max(1);
            let examples = Examples {
                kept_max: kept_max.min(EXAMPLES_MAX),
                read_max: READ_MAX,
                baseline: Arc::new(baseline),
            };
            let quality = windows::ask_examples(app, running, examples, level).await?;
            let questions = questions.clone();
            let telling = move || Ok(numbers::told(&quality.groups, &questions, level));
            app.questions.compute(LOOK_MAX, telling).await?
        }
    };
    Ok(findings(running, asked, &told))
}

fn findings(running: &Running, asked: &[Asked<'_>], told: &[Option<Told>]) -> Vec<Finding> {
    let findings = asked.iter().zip(told);
    findings
        .map(|((_, limit, metric), told)| finding(running, *limit, *metric, told.as_ref()))
        .collect()
}

type Of<T> = fn(&T) -> Option<f64>;

/// Where an estimate, its error and what was measured have a metric.
type Places = (Of<Estimated>, Of<StandardErrors>, Of<BinaryReport>);

/// With several classes the question about a row is whether the class that it was called is right, so that the accuracy
/// is the precision of that; nothing else can be told from one score a row.
fn estimated_of(metric: Metric, several: bool) -> Option<Places> {
    let metric = match (metric, several) {
        (Metric::Accuracy, true) => Metric::Precision,
        (_, true) => return None,
        (metric, false) => metric,
    };
    Some(match metric {
        Metric::Accuracy => (
            |it| it.accuracy,
            |it| it.accuracy,
            |it| Some(it.accuracy?.value),
        ),
        Metric::Precision => (
            |it| it.precision,
            |it| it.precision,
            |it| Some(it.precision?.value),
        ),
        Metric::Recall => (|it| it.recall, |it| it.recall, |it| Some(it.recall?.value)),
        Metric::F1 => (|it| it.f1, |it| it.f1, |it| Some(it.f1?.value)),
        Metric::RocAuc => (
            |it| it.roc_auc,
            |it| it.roc_auc,
            |it| Some(it.roc_auc?.value),
        ),
        _ => return None,
    })
}

/// What is estimated of the newest window.
struct Told {
    trust: Trust,
    tested: usize,
    estimate: Figure,
    rows: u64,
    from_us: Option<i64>,
}

/// One for each metric, with the fewest rows that it needs. None without a window to learn from or to estimate.
fn told(groups: &[Group], asked: &[(u64, Places)], level: f64) -> Vec<Option<Told>> {
    // Demands that need as many rows learn from the same windows.
    let mut learned: BTreeMap<u64, Option<Learned>> = BTreeMap::new();
    let one = |(support, places): &(u64, Places)| {
        let learned = learned
            .entry(*support)
            .or_insert_with(|| Learned::from(groups, *support, level));
        learned.as_ref()?.told(*places, level)
    };
    asked.iter().map(one).collect()
}

/// What older windows tell of the newest.
struct Learned {
    sampling: SamplingError,
    /// What is estimated of the windows that it is tested on, and what was measured there.
    tested: Vec<(Estimated, BinaryReport)>,
    newest: Estimated,
    from_us: Option<i64>,
}

impl Learned {
    /// Learns from the older mature windows what scores mean, applies that to the newer ones, and to the newest window
    /// of all.
    fn from(groups: &[Group], support: u64, level: f64) -> Option<Self> {
        let (reference, tests, newest) = parts(groups, support)?;
        let reference: Vec<(Scored, bool)> = labelled(&reference);
        if reference.is_empty() {
            return None;
        }
        let rows: Vec<calibration::Row> = reference
            .iter()
            .map(|(it, positive)| calibration::Row {
                score: it.score,
                positive: *positive,
            })
            .collect();
        let calibration = Calibration::fit(&rows);
        let row = |it: &Scored| Row {
            calibrated: calibration.probability(it.score),
            score: it.score,
            predicted_positive: it.predicted_positive,
        };
        let scored: Vec<Row> = newest.scored.iter().map(row).collect();
        let estimated = estimate(&scored);
        if estimated.rows < support {
            return None;
        }
        let rows: Vec<error::Row> = reference
            .iter()
            .map(|(it, positive)| error::Row {
                score: it.score,
                predicted_positive: it.predicted_positive,
                positive: *positive,
            })
            .collect();
        let tested = tests.iter().map(|window| {
            let rows = labelled(&[*window]);
            let scored: Vec<Row> = rows.iter().map(|(it, _)| row(it)).collect();
            (estimate(&scored), measured(&rows, level))
        });
        Some(Self {
            sampling: SamplingError::fit(&rows),
            tested: tested.collect(),
            newest: estimated,
            from_us: newest.from_us,
        })
    }

    /// Tests what was learned in one metric, and estimates it.
    fn told(&self, places: Places, level: f64) -> Option<Told> {
        let (of_estimate, of_error, of_report) = places;
        let error = |it: &Estimated| of_error(&self.sampling.of_chunk(it.rows));
        let cohorts: Vec<Cohort> = self
            .tested
            .iter()
            .filter_map(|(estimated, measured)| {
                Some(Cohort {
                    estimated: of_estimate(estimated)?,
                    realised: of_report(measured)?,
                    standard_error: error(estimated)?,
                })
            })
            .collect();
        let value = of_estimate(&self.newest)?;
        Some(Told {
            trust: trust(&cohorts),
            tested: cohorts.len(),
            estimate: figure(normal(value, error(&self.newest), level)),
            rows: self.newest.rows,
            from_us: self.from_us,
        })
    }
}

/// The windows to learn from, those to test on, and the newest, which is estimated.
type Parts<'a> = (Vec<&'a Group>, Vec<&'a Group>, &'a Group);

/// None without any window.
fn parts(groups: &[Group], support: u64) -> Option<Parts<'_>> {
    let newest = groups.iter().max_by_key(|it| it.from_us)?;
    let mut mature: Vec<&Group> = groups
        .iter()
        .filter(|it| is_mature(it, support) && it.from_us < newest.from_us)
        .collect();
    mature.sort_by_key(|it| it.from_us);
    let tested = (mature.len() / 2).clamp(COHORTS_MIN, TESTED_MAX);
    let learned = mature.len().saturating_sub(tested).max(mature.len().min(1));
    let tests = mature.split_off(learned);
    Some((mature, tests, newest))
}

fn labelled(windows: &[&Group]) -> Vec<(Scored, bool)> {
    let rows = windows.iter().flat_map(|it| &it.scored);
    rows.filter_map(|it| Some((*it, it.positive?))).collect()
}

fn measured(rows: &[(Scored, bool)], level: f64) -> BinaryReport {
    let mut binary = Binary::new();
    for (it, positive) in rows {
        binary.add(BinaryRow {
            score: Some(it.score),
            predicted_positive: it.predicted_positive,
            positive: *positive,
            hash: it.hash,
        });
    }
    binary.report(level)
}

fn finding(running: &Running, limit: Limit, metric: Metric, told: Option<&Told>) -> Finding {
    let verdict = told.map_or(Verdict::Unknown, |it| it.trust.judge(limit, it.estimate));
    let (side, bound) = match limit {
        Limit::Under(bound) => ("under", bound),
        Limit::Over(bound) => ("over", bound),
    };
    let mut evidence = Evidence::from([(side.to_owned(), Fact::Number(bound))]);
    if let Some(told) = told {
        let mut put = |name: &str, number: Option<f64>| {
            if let Some(number) = number {
                evidence.insert(name.to_owned(), Fact::Number(number));
            }
        };
        put("value", Some(told.estimate.value));
        put("low", told.estimate.low);
        put("high", told.estimate.high);
        put("rows", Some(told.rows as f64));
        put("tested_windows", Some(told.tested as f64));
        match told.trust {
            Trust::Kept(mean_error) => put("mean_error", Some(mean_error)),
            Trust::Lost {
                mean_error,
                allowed,
            } => {
                put("mean_error", Some(mean_error));
                put("mean_error_allowed", Some(allowed));
            }
            Trust::Untested => {}
        }
    }
    Finding {
        model: running.model.clone(),
        version: Some(running.version),
        monitor: "estimated_quality".to_owned(),
        subject: metric.name().to_owned(),
        segment: None,
        verdict,
        severity: Severity::Page,
        summary: summary(running, (side, bound), metric, told, verdict),
        evidence,
    }
}

fn summary(
    running: &Running,
    (side, bound): (&str, f64),
    metric: Metric,
    told: Option<&Told>,
    verdict: Verdict,
) -> String {
    let name = metric.name();
    let what = format!("`{name}` of {}:{}", running.model, running.version);
    let Some(told) = told else {
        return format!(
            "{what} cannot be estimated: too few rows, none with labels to learn from, or no baseline that tells features"
        );
    };
    let window = running.monitor.window;
    let from = told.from_us.map_or_else(String::new, show_moment);
    let of = format!("{} rows of {window} from {from}", told.rows);
    let estimated = format!("{what} is estimated to be {}", shown(told.estimate));
    match (told.trust, verdict) {
        (Trust::Untested, _) => format!(
            "{estimated}, which was not tested: {} of {COHORTS_MIN} windows have their labels ({of})",
            told.tested
        ),
        (
            Trust::Lost {
                mean_error,
                allowed,
            },
            _,
        ) => format!(
            "{estimated}, which is not believed: in {} windows it was wrong by {mean_error:.3}, over {allowed:.3} ({of})",
            told.tested
        ),
        (Trust::Kept(_), Verdict::Bad) => format!("{estimated}, {side} {bound} ({of})"),
        (Trust::Kept(_), Verdict::Unknown) => format!("{estimated}, which may be chance ({of})"),
        (Trust::Kept(_), Verdict::Fine) => format!("{estimated} ({of})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::{group_of, report_of};

    /// A window of 1000 rows, of which those with a score of 0.9 and of 0.2 are positive by these shares.
    fn window(at: i64, shares: (f64, f64), confident: usize, is_labelled: bool) -> Group {
        let row = |index: usize| {
            let (score, share) = match index < confident {
                true => (0.9, shares.0),
                false => (0.2, shares.1),
            };
            let place = (index * 617 % 1000) as f64 / 1000.0;
            Scored {
                hash: index as u64,
                score,
                predicted_positive: score >= 0.5,
                positive: is_labelled.then_some(place < share),
            }
        };
        Group {
            from_us: Some(at),
            predictions: 1000,
            labelled: if is_labelled { 1000 } else { 0 },
            provisional: !is_labelled,
            scored: (0..1000).map(row).collect(),
            ..group_of(report_of(Binary::new()))
        }
    }

    fn accuracy() -> Places {
        estimated_of(Metric::Accuracy, false).expect("it is estimated")
    }

    /// What is told of one metric.
    fn one(groups: &[Group], places: Places) -> Option<Told> {
        let mut told = told(groups, &[(100, places)], 0.99);
        told.pop().flatten()
    }

    #[test]
    fn of_several_classes_it_is_how_often_the_called_one_is_right() {
        assert!(estimated_of(Metric::RocAuc, true).is_none());
        let places = estimated_of(Metric::Accuracy, true).expect("it is estimated");
        let called = |at, confident, is_labelled| {
            let mut group = window(at, (0.9, 0.5), confident, is_labelled);
            let rows = group.scored.iter_mut();
            rows.for_each(|it| it.predicted_positive = true);
            group
        };
        let mut groups: Vec<Group> = (0..8).map(|at| called(at, 500, true)).collect();
        groups.push(called(8, 250, false));
        let told = one(&groups, places).expect("an estimate");
        assert!(matches!(told.trust, Trust::Kept(_)), "{:?}", told.trust);
        // A quarter is right in 9 of 10, the others in half.
        let (value, low) = (told.estimate.value, told.estimate.low.expect("a bound"));
        assert!(
            (value - 0.6).abs() < 0.02 && (0.5..value).contains(&low),
            "{value} {low}"
        );
    }

    fn of(shares: impl Fn(i64) -> (f64, f64), newest: usize) -> Told {
        let mut groups: Vec<Group> = (0..8).map(|at| window(at, shares(at), 500, true)).collect();
        groups.push(window(8, (0.9, 0.2), newest, false));
        one(&groups, accuracy()).expect("an estimate")
    }

    #[test]
    fn a_window_of_unsure_scores_is_estimated_to_be_less_right() {
        let sure = of(|_| (0.9, 0.2), 1000);
        assert!(matches!(sure.trust, Trust::Kept(_)), "{:?}", sure.trust);
        assert_eq!(sure.tested, 4);
        assert!((sure.estimate.value - 0.9).abs() < 0.02);
        let unsure = of(|_| (0.9, 0.2), 0);
        assert!((unsure.estimate.value - 0.8).abs() < 0.02);
        let judged = |limit| unsure.trust.judge(Limit::Under(limit), unsure.estimate);
        assert_eq!(judged(0.9), Verdict::Bad);
        assert_eq!(judged(0.75), Verdict::Fine);
    }

    #[test]
    fn an_estimate_that_labels_refuted_is_not_believed() {
        let lost = of(|at| if at < 4 { (0.9, 0.2) } else { (0.6, 0.4) }, 0);
        assert!(matches!(lost.trust, Trust::Lost { .. }), "{:?}", lost.trust);
        let judged = lost.trust.judge(Limit::Under(0.99), lost.estimate);
        assert_eq!(judged, Verdict::Unknown);
    }

    #[test]
    fn without_labels_to_learn_from_there_is_no_estimate() {
        let groups = [window(0, (0.9, 0.2), 500, false)];
        assert!(one(&groups, accuracy()).is_none());
        let groups = [
            window(0, (0.9, 0.2), 500, true),
            window(1, (0.9, 0.2), 500, false),
        ];
        let told = one(&groups, accuracy()).expect("an estimate");
        assert_eq!(told.trust, Trust::Untested);
    }

    #[test]
    fn several_are_told_as_each_by_itself() {
        let mut groups: Vec<Group> = (0..8).map(|at| window(at, (0.9, 0.2), 500, true)).collect();
        groups.push(window(8, (0.9, 0.2), 300, false));
        let metrics = [Metric::Accuracy, Metric::Recall, Metric::RocAuc];
        let asked: Vec<(u64, Places)> = [(100, metrics[0]), (2000, metrics[1]), (100, metrics[2])]
            .map(|(support, it)| (support, estimated_of(it, false).expect("it is estimated")))
            .into();
        let got = told(&groups, &asked, 0.99);
        assert!(got[1].is_none(), "no window has so many rows");
        for (told, (support, places)) in got.iter().zip(&asked) {
            let alone = one(&groups, *places).filter(|_| *support == 100);
            let facts =
                |it: &Option<Told>| it.as_ref().map(|it| (it.trust, it.estimate, it.tested));
            assert_eq!(facts(told), facts(&alone));
        }
    }
}
