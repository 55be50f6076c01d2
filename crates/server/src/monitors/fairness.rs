//! Whether a version treats groups alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::ledger::Group;
use domain::Refusal;
use domain::alert::{Evidence, Fact, Finding, Severity, Verdict};
use domain::monitor::fairness::Metric;
use domain::monitor::limit::Figure;
use stats::fairness::Terms;
use wire::api::fairness::GapRecord;

use super::windows;
use crate::app::App;
use crate::fairness::Compared;
use crate::quality::shown;
use crate::running::Running;

/// Looks at every column and rate that the manifest names.
pub(super) async fn look(app: &Arc<App>, running: &Running) -> Result<Vec<Finding>, Refusal> {
    let setting = &running.monitor.fairness;
    let terms = Terms {
        level: running.monitor.level(setting.questions()),
        support_min: setting.support,
    };
    let mut findings = Vec::new();
    for column in &setting.by {
        let quality = windows::ask(app, running, vec![column.clone()], terms.level).await?;
        for metric in &setting.metrics {
            let window = newest(*metric, &quality.groups, setting.support);
            let gap = Compared::new(window.into_iter()).gap(*metric, terms);
            findings.push(finding(running, column, *metric, &gap));
        }
    }
    Ok(findings)
}

/// The groups of the newest window. Where labels are needed it is the newest in which no group has labels to come,
/// and two have enough.
fn newest(metric: Metric, groups: &[Group], support: u64) -> Vec<&Group> {
    let starts: BTreeSet<Option<i64>> = groups.iter().map(|it| it.from_us).collect();
    let of = |start: &Option<i64>| -> Vec<&Group> {
        groups.iter().filter(|it| it.from_us == *start).collect()
    };
    let will_do = |window: &Vec<&Group>| {
        let rows = |it: &&&Group| match metric {
            Metric::Selection => it.predictions >= support,
            _ => it.labelled >= support,
        };
        let to_come = window
            .iter()
            .any(|it| it.provisional && it.predictions >= support);
        let settled = metric == Metric::Selection || !to_come;
        settled && window.iter().filter(rows).count() >= 2
    };
    let windows = starts.iter().rev().map(of);
    windows.into_iter().find(will_do).unwrap_or_default()
}

fn finding(running: &Running, column: &str, metric: Metric, gap: &GapRecord) -> Finding {
    let setting = &running.monitor.fairness;
    let figure = gap.gap.map(|it| Figure {
        value: it.value,
        low: it.low,
        high: it.high,
    });
    let verdict = setting.judge(figure);
    let mut evidence = Evidence::from([
        ("by".to_owned(), Fact::Text(column.to_owned())),
        ("gap_max".to_owned(), Fact::Number(setting.gap_max)),
        ("support".to_owned(), Fact::Number(setting.support as f64)),
    ]);
    let numbers = [
        ("gap", figure.map(|it| it.value)),
        ("low", figure.and_then(|it| it.low)),
        ("high", figure.and_then(|it| it.high)),
        ("ratio", gap.ratio),
    ];
    let numbers = numbers.map(|(name, it)| (name, it.map(Fact::Number)));
    let left_out = (!gap.left_out.is_empty()).then(|| gap.left_out.join("; "));
    let texts = [
        ("least", gap.least.clone()),
        ("most", gap.most.clone()),
        ("left_out", left_out),
    ];
    let texts = texts.map(|(name, it)| (name, it.map(Fact::Text)));
    let given = numbers.into_iter().chain(texts);
    evidence.extend(given.filter_map(|(name, fact)| Some((name.to_owned(), fact?))));
    Finding {
        model: running.model.clone(),
        version: Some(running.version),
        monitor: "fairness".to_owned(),
        subject: format!("{} by {column}", metric.name()),
        segment: None,
        verdict,
        severity: Severity::Ticket,
        summary: summary(running, column, metric, gap, figure, verdict),
        evidence,
    }
}

fn summary(
    running: &Running,
    column: &str,
    metric: Metric,
    gap: &GapRecord,
    figure: Option<Figure>,
    verdict: Verdict,
) -> String {
    let setting = &running.monitor.fairness;
    let name = metric.name();
    let what = format!("`{name}` of {}:{}", running.model, running.version);
    let (Some(figure), Some(least), Some(most)) = (figure, &gap.least, &gap.most) else {
        return format!(
            "{what}: no two groups by `{column}` have {} rows of a window of {}",
            setting.support, running.monitor.window
        );
    };
    let apart = format!(
        "{what} is apart by {} between {least} and {most}",
        shown(figure)
    );
    match verdict {
        Verdict::Bad => format!("{apart}, over {}", setting.gap_max),
        Verdict::Fine => apart,
        Verdict::Unknown => format!("{apart}, which may be chance"),
    }
}
