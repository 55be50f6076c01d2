//! Whether a version is wrong more often than it was, and since when, by the labels that have come.

use std::sync::Arc;

use ::ledger::{Group, Loss, Losses};
use domain::Refusal;
use domain::alert::{Evidence, Fact, Finding, Severity, Verdict};
use domain::task::Task;
use domain::time::show_moment;
use stats::Estimate;
use stats::detect::regimes::{Rise, detectable, regimes, rise};

use super::LOOK_MAX;
use super::quality;
use super::windows::{self, Shared};
use crate::app::App;
use crate::quality::{figure, shown};
use crate::running::Running;

/// What is read of the ledger.
const LOSSES: Losses = Losses {
    kept_max: 20_000,
    read_max: 3_000_000,
};
/// Losses that are looked at; of more a sample is, evenly over the time.
const ROWS_MAX: usize = 50_000;
/// Numbers are measured by the error that so many rows of a hundred do not exceed, and larger ones count as it: one
/// that is far off is no more than one that is off.
const USUAL_PERCENT: usize = 95;

/// Asks for the windows with their losses, where somebody tells labels: for this monitor, and for what is measured of
/// quality without being demanded.
pub(super) async fn ask(app: &Arc<App>, running: &Running) -> Shared {
    if kind(running).is_none() && quality::measured_only(running).is_none() {
        return Ok(None);
    }
    match windows::ask_losses(app, running, LOSSES).await {
        // Nobody asked for it: a task that names no classes is no mistake.
        Err(Refusal::InvalidQuery { .. }) => Ok(None),
        asked => Ok(asked?.map(Arc::new)),
    }
}

/// What its errors are; none where its task does not say so or they are not watched.
fn kind(running: &Running) -> Option<Kind> {
    if running.monitor.concept_drift.off {
        return None;
    }
    match &running.signature.task {
        Some(Task::Binary { .. } | Task::Multiclass { .. }) => Some(Kind::Share),
        Some(Task::Regression { .. }) => Some(Kind::Numbers),
        Some(Task::Embedding { .. }) | None => None,
    }
}

/// Looks at the errors of a version, in the windows that were asked for.
pub(super) async fn look(
    app: &Arc<App>,
    running: &Running,
    asked: Shared,
) -> Result<Vec<Finding>, Refusal> {
    let (Some(quality), Some(kind)) = (asked?, kind(running)) else {
        return Ok(Vec::new());
    };
    let (alpha, level) = (running.monitor.alpha(), running.monitor.level(1));
    let telling = move || Ok(told(kind, &quality.groups, alpha, level));
    let told = app.questions.compute(LOOK_MAX, telling).await?;
    Ok(vec![finding(running, kind, &told)])
}

/// What errors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Answers that are wrong.
    Share,
    /// How far numbers are off.
    Numbers,
}

impl Kind {
    fn subject(self) -> &'static str {
        match self {
            Self::Share => "error_rate",
            Self::Numbers => "absolute_error",
        }
    }
}

/// What the errors say.
struct Told {
    rows: usize,
    /// What an error of 1 is.
    scale: f64,
    /// The mean of all.
    mean: f64,
    rise: Option<Rise>,
    /// When the first row after the rise was asked about.
    since_us: i64,
    /// The rise that would be found.
    detectable: f64,
}

/// Looks at the losses of the windows whose labels have come, in the order in which rows were asked about.
fn told(kind: Kind, groups: &[Group], alpha: f64, level: f64) -> Told {
    let mature = groups.iter().filter(|it| !it.provisional);
    let mut losses: Vec<Loss> = mature.flat_map(|it| it.losses.iter().copied()).collect();
    if losses.len() > ROWS_MAX {
        losses.select_nth_unstable_by_key(ROWS_MAX, |it| it.hash);
        losses.truncate(ROWS_MAX);
    }
    losses.sort_by_key(|it| (it.made_us, it.hash));
    let scale = match kind {
        Kind::Share => 1.0,
        Kind::Numbers => usual(&losses),
    };
    let values: Vec<f64> = losses.iter().map(|it| (it.loss / scale).min(1.0)).collect();
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let rise = rise(&regimes(&values, alpha), level);
    Told {
        rows: losses.len(),
        scale,
        mean,
        since_us: rise.map_or(0, |it| losses[it.at].made_us),
        rise,
        detectable: detectable(losses.len(), mean, alpha),
    }
}

/// The error that [`USUAL_PERCENT`] of a hundred rows do not exceed; of errors that are nearly all 0 the greatest.
fn usual(losses: &[Loss]) -> f64 {
    let mut sorted: Vec<f64> = losses.iter().map(|it| it.loss).collect();
    sorted.sort_by(f64::total_cmp);
    let place = sorted.len() * USUAL_PERCENT / 100;
    let found = sorted.get(place).copied().filter(|it| *it > 0.0);
    let greatest = sorted.last().copied().filter(|it| *it > 0.0);
    found.or(greatest).unwrap_or(1.0)
}

fn finding(running: &Running, kind: Kind, told: &Told) -> Finding {
    let setting = &running.monitor.concept_drift;
    let rise = told.rise.map(|it| figure(it.change));
    let verdict = setting.judge(told.rows as u64, rise);
    Finding {
        model: running.model.clone(),
        version: Some(running.version),
        monitor: "concept_drift".to_owned(),
        subject: kind.subject().to_owned(),
        segment: None,
        verdict,
        severity: Severity::Ticket,
        summary: summary(running, kind, told, verdict),
        evidence: evidence(running, told),
    }
}

/// As the model's answers are measured.
fn scaled(estimate: Estimate, scale: f64) -> Estimate {
    Estimate {
        value: estimate.value * scale,
        low: estimate.low.map(|it| it * scale),
        high: estimate.high.map(|it| it * scale),
    }
}

fn evidence(running: &Running, told: &Told) -> Evidence {
    let scale = told.scale;
    let mut evidence = Evidence::new();
    let mut put = |name: &str, number: f64| {
        evidence.insert(name.to_owned(), Fact::Number(number));
    };
    put("rows", told.rows as f64);
    put("mean", told.mean * scale);
    put("margin", running.monitor.concept_drift.margin * scale);
    put("detectable", told.detectable * scale);
    let Some(rise) = told.rise else {
        return evidence;
    };
    let estimates = [
        ("before", rise.before),
        ("after", rise.after),
        ("rise", rise.change),
    ];
    for (name, estimate) in estimates {
        let Estimate { value, low, high } = scaled(estimate, scale);
        put(name, value);
        if let (Some(low), Some(high)) = (low, high) {
            put(&format!("{name}_low"), low);
            put(&format!("{name}_high"), high);
        }
    }
    put("rows_before", rise.before_rows as f64);
    put("rows_after", rise.after_rows as f64);
    let since = Fact::Text(show_moment(told.since_us));
    evidence.insert("since".to_owned(), since);
    evidence
}

fn summary(running: &Running, kind: Kind, told: &Told, verdict: Verdict) -> String {
    let (model, version) = (&running.model, running.version);
    let what = format!("`{}` of {model}:{version}", kind.subject());
    let Told { rows, scale, .. } = *told;
    let support = running.monitor.concept_drift.support;
    if (rows as u64) < support {
        return format!(
            "{what}: the windows whose labels have come have {rows} of them, {support} are needed"
        );
    }
    let of = |it: Estimate| shown(figure(scaled(it, scale)));
    let Some(rise) = told.rise else {
        let mean = of(Estimate::bare(told.mean));
        return format!("{what} is {mean} and has not risen ({rows} labelled rows)");
    };
    let rose = format!(
        "{what} rose from {} to {} at about {}",
        of(rise.before),
        of(rise.after),
        show_moment(told.since_us)
    );
    let counts = format!(
        "({} labelled rows before, {} since its last change)",
        rise.before_rows, rise.after_rows
    );
    match verdict {
        Verdict::Bad => format!("{rose} {counts}"),
        Verdict::Fine => format!("{rose}, which is too little to matter {counts}"),
        Verdict::Unknown => format!("{rose}, which may be too little to matter {counts}"),
    }
}

#[cfg(test)]
mod tests {
    use stats::Binary;

    use super::*;
    use crate::quality::{group_of, report_of};

    const ALPHA: f64 = 1.0 / 720.0;
    const LEVEL: f64 = 0.99;

    /// Windows of 200 rows, one row a second.
    fn windows(count: usize, loss: impl Fn(usize) -> f64, provisional: bool) -> Vec<Group> {
        let window = |at: usize| Group {
            from_us: Some(at as i64 * 200_000_000),
            predictions: 200,
            labelled: 200,
            provisional: provisional && at + 1 == count,
            losses: (at * 200..at * 200 + 200)
                .map(|row| Loss {
                    hash: row as u64,
                    made_us: row as i64 * 1_000_000,
                    loss: loss(row),
                })
                .collect(),
            ..group_of(report_of(Binary::new()))
        };
        (0..count).map(window).collect()
    }

    /// One wrong in ten, and from a row on so many.
    fn wrong(row: usize, from: usize, tenths: usize) -> f64 {
        let of_ten = row * 7 % 10;
        f64::from(u8::from(of_ten < if row < from { 1 } else { tenths }))
    }

    #[test]
    fn a_rise_is_told_with_its_moment() {
        let groups = windows(8, |it| wrong(it, 1_000, 5), false);
        let told = told(Kind::Share, &groups, ALPHA, LEVEL);
        assert_eq!((told.rows, told.scale), (1_600, 1.0));
        let rise = told.rise.expect("a rise");
        assert!(rise.at.abs_diff(1_000) < 10, "{rise:?}");
        assert_eq!(told.since_us, rise.at as i64 * 1_000_000);
        assert!((rise.after.value - 0.5).abs() < 0.02);
    }

    #[test]
    fn what_has_labels_to_come_is_not_looked_at() {
        let groups = windows(8, |it| wrong(it, 1_400, 9), true);
        let told = told(Kind::Share, &groups, ALPHA, LEVEL);
        assert_eq!((told.rows, told.rise), (1_400, None));
        let none = super::told(Kind::Share, &[], ALPHA, LEVEL);
        assert_eq!((none.rows, none.mean, none.rise), (0, 0.0, None));
        assert_eq!(none.detectable, 1.0);
    }

    #[test]
    fn numbers_are_measured_by_their_usual_error() {
        let off = |row: usize| (row * 37 % 100) as f64 * if row < 1_000 { 1.0 } else { 3.0 };
        // One row is off by far more, which is no more than off.
        let groups = windows(8, |it| if it == 5 { 1e12 } else { off(it) }, false);
        let told = told(Kind::Numbers, &groups, ALPHA, LEVEL);
        assert!((200.0..300.0).contains(&told.scale), "{}", told.scale);
        let rise = told.rise.expect("a rise");
        assert!(rise.at.abs_diff(1_000) < 40, "{rise:?}");
        let (before, after) = (
            scaled(rise.before, told.scale),
            scaled(rise.after, told.scale),
        );
        assert!((before.value - 49.5).abs() < 3.0, "{before:?}");
        assert!((after.value - 148.5).abs() < 10.0, "{after:?}");
        let still = super::told(Kind::Numbers, &windows(8, |_| 0.0, false), ALPHA, LEVEL);
        assert_eq!((still.scale, still.mean, still.rise), (1.0, 0.0, None));
    }
}
