//! Whether a version is as right as its manifest demands, by the labels that have come; where it demands nothing, how
//! right it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::ledger::{Group, Quality};
use domain::Refusal;
use domain::alert::{Evidence, Fact, Finding, Severity};
use domain::ledger::OTHER_VALUES;
use domain::monitor::limit::Limit;
use domain::monitor::quality::{Demand, Measured, Metric, Ruling};
use domain::monitor::segments;
use domain::time::show_moment;
use stats::Estimate;
use stats::interval::{difference, mean_of};

use super::estimated_quality;
use super::windows::{self, Shared, is_mature};
use crate::app::App;
use crate::quality::{figure, metrics, rounded, shown};
use crate::running::Running;

/// Asks for the windows, with so many scored rows one by one as something is estimated from.
pub(super) async fn ask(app: &Arc<App>, running: &Running) -> Shared {
    if running.monitor.quality.is_empty() {
        return Ok(None);
    }
    let scored_max = estimated_quality::scored_max(running);
    let quality = windows::ask_scored(app, running, level(running), scored_max).await?;
    Ok(Some(Arc::new(quality)))
}

fn level(running: &Running) -> f64 {
    let monitor = &running.monitor;
    let questions: usize = monitor.quality.iter().map(Demand::questions).sum();
    monitor.level(questions * segments::times(&monitor.segments))
}

/// Looks at every metric of which something is demanded, in the windows that were asked for.
pub(super) async fn look(
    app: &Arc<App>,
    running: &Running,
    asked: Shared,
) -> Result<Vec<Finding>, Refusal> {
    let Some(quality) = asked? else {
        return Ok(Vec::new());
    };
    let demands = &running.monitor.quality;
    let (segments, level) = (&running.monitor.segments, level(running));
    let mut findings = Vec::new();
    let mut find = |segment: Option<&str>, groups: &[&Group]| {
        let each = demands
            .iter()
            .map(|it| finding(running, it, segment, newest(it, groups)));
        findings.extend(each);
    };
    find(None, &quality.groups.iter().collect::<Vec<_>>());
    for of in segments {
        let quality = windows::ask_segments(app, running, of, level).await?;
        for (value, groups) in largest(&of.by, of.levels(), &quality.groups) {
            find(Some(&format!("{}={value}", of.by)), &groups);
        }
    }
    Ok(findings)
}

/// What is measured of a version of which nothing is demanded; none where its task has no such metric.
pub(super) fn measured_only(running: &Running) -> Option<Demand> {
    let task = running.signature.task.as_ref();
    let metric = task.and_then(Metric::headline);
    let demanded = !running.monitor.quality.is_empty();
    metric.filter(|_| !demanded).map(Demand::of_nothing)
}

/// Measures that in the newest window that is mature, or without one in the newest that has enough labels. Nothing is
/// found where nobody tells any.
pub(super) fn measured(running: &Running, windows: Option<Arc<Quality>>) -> Option<Finding> {
    let demand = measured_only(running)?;
    let windows = windows?;
    let groups: Vec<&Group> = windows.groups.iter().collect();
    let known = newest(&demand, &groups).or_else(|| so_far(&demand, &groups));
    Some(finding(running, &demand, None, known))
}

/// The windows of each value of a column, of those values with the most labelled rows.
fn largest<'a>(by: &str, most: usize, groups: &'a [Group]) -> Vec<(&'a str, Vec<&'a Group>)> {
    let mut values: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
    for group in groups {
        if let Some(value) = group.by.get(by).filter(|it| *it != OTHER_VALUES) {
            values.entry(value).or_default().push(group);
        }
    }
    let mut values: Vec<(&str, Vec<&Group>)> = values.into_iter().collect();
    let labelled = |of: &[&Group]| of.iter().map(|it| it.labelled).sum::<u64>();
    values.sort_by_key(|(_, of)| std::cmp::Reverse(labelled(of)));
    values.truncate(most);
    values
}

/// What is known of a metric.
struct Known<'a> {
    /// The newest window whose labels have come.
    window: &'a Group,
    measured: Measured,
    /// The metric in the windows before, and how many those are.
    before: Option<(Estimate, usize)>,
}

/// Takes the newest window that is mature, and those before it that are.
fn newest<'a>(demand: &Demand, groups: &[&'a Group]) -> Option<Known<'a>> {
    let groups = groups.iter().copied();
    let mature = groups.filter(|it| is_mature(it, demand.support));
    let measured: Vec<(&'a Group, Estimate)> = mature
        .filter_map(|it| Some((it, estimate(demand, it)?)))
        .collect();
    let (window, now) = *measured.iter().max_by_key(|(it, _)| it.from_us)?;
    let before: Vec<(f64, Estimate)> = measured
        .iter()
        .filter(|(it, _)| it.from_us < window.from_us)
        .map(|(it, metric)| (it.labelled as f64, *metric))
        .collect();
    let count = before.len();
    let before = mean_of(&before).map(|it| (it, count));
    Some(Known {
        window,
        measured: Measured {
            labelled: window.labelled,
            metric: figure(now),
            change: before.map(|(before, _)| figure(difference(now, before))),
        },
        before,
    })
}

/// Takes the newest window that has enough labels, though more may come.
fn so_far<'a>(demand: &Demand, groups: &[&'a Group]) -> Option<Known<'a>> {
    let enough = groups.iter().filter(|it| it.labelled >= demand.support);
    let measured = enough.filter_map(|it| Some((*it, estimate(demand, it)?)));
    let (window, now) = measured.max_by_key(|(it, _)| it.from_us)?;
    Some(Known {
        window,
        measured: Measured {
            labelled: window.labelled,
            metric: figure(now),
            change: None,
        },
        before: None,
    })
}

fn estimate(demand: &Demand, group: &Group) -> Option<Estimate> {
    let mut all = metrics(&group.report).into_iter();
    all.find(|(name, _)| *name == demand.metric.name())
        .map(|it| it.1)
}

fn finding(
    running: &Running,
    demand: &Demand,
    segment: Option<&str>,
    known: Option<Known<'_>>,
) -> Finding {
    let ruling = demand.judge(known.as_ref().map(|it| &it.measured));
    Finding {
        model: running.model.clone(),
        version: Some(running.version),
        monitor: "quality".to_owned(),
        subject: demand.metric.name().to_owned(),
        segment: segment.map(str::to_owned),
        verdict: ruling.verdict(),
        severity: Severity::Page,
        summary: summary(running, demand, segment, (ruling, known.as_ref())),
        evidence: evidence(demand, known.as_ref()),
    }
}

fn evidence(demand: &Demand, known: Option<&Known<'_>>) -> Evidence {
    let mut evidence = Evidence::new();
    let mut put = |name: &str, number: Option<f64>| {
        if let Some(number) = number {
            evidence.insert(name.to_owned(), Fact::Number(number));
        }
    };
    put("under", demand.under);
    put("over", demand.over);
    put("worse_by", demand.worse_by);
    let Some(known) = known else { return evidence };
    let Measured {
        labelled,
        metric,
        change,
    } = known.measured;
    put("value", Some(metric.value));
    put("low", metric.low);
    put("high", metric.high);
    put("labelled", Some(labelled as f64));
    put("predictions", Some(known.window.predictions as f64));
    if let Some((before, windows)) = known.before {
        put("before", Some(before.value));
        put("windows_before", Some(windows as f64));
    }
    if let Some(change) = change {
        put("change", Some(change.value));
        put("change_low", change.low);
        put("change_high", change.high);
    }
    if let Some(from_us) = known.window.from_us {
        evidence.insert("from".to_owned(), Fact::Text(show_moment(from_us)));
    }
    evidence
}

fn summary(
    running: &Running,
    demand: &Demand,
    segment: Option<&str>,
    (ruling, known): (Ruling, Option<&Known<'_>>),
) -> String {
    let window = running.monitor.window;
    let name = demand.metric.name();
    let rows = segment.map_or_else(String::new, |it| format!(" where {it}"));
    let what = format!("`{name}` of {}:{}{rows}", running.model, running.version);
    let is_judged = demand.questions() > 0;
    let Some(known) = known else {
        let ripe = if is_judged {
            " and no more to come"
        } else {
            ""
        };
        let support = demand.support;
        return format!("{what}: no window of {window} has {support} labels{ripe}");
    };
    let from = known.window.from_us.map_or_else(String::new, show_moment);
    let of = format!(
        "{} labelled of {window} from {from}",
        known.measured.labelled
    );
    let metric = shown(known.measured.metric);
    if !is_judged {
        let more = match known.window.provisional {
            true => ", more are to come",
            false => "",
        };
        return format!("{what} is {metric}; nothing is demanded of it ({of}{more})");
    }
    let limit = match demand.limit() {
        Some(Limit::Under(limit)) => format!(", under {limit}"),
        Some(Limit::Over(limit)) => format!(", over {limit}"),
        None => String::new(),
    };
    match (ruling, known.before) {
        (Ruling::Beyond, _) => format!("{what} is {metric}{limit} ({of})"),
        (Ruling::Worse, Some((before, windows))) => format!(
            "{what} is {metric}, worse than the {} of {windows} windows before by more than {} ({of})",
            rounded(before.value),
            demand.worse_by.unwrap_or_default()
        ),
        (Ruling::TooFew, _) => format!("{what} is {metric}, with nothing to compare with ({of})"),
        (Ruling::Unsure, _) => format!("{what} is {metric}, which may be chance ({of})"),
        (Ruling::Fine | Ruling::Worse, _) => format!("{what} is {metric} ({of})"),
    }
}

#[cfg(test)]
mod tests {
    use stats::{Binary, BinaryRow};

    use super::*;
    use crate::quality::{group_of, report_of};

    /// A window that begins so many hours ago, with this accuracy.
    fn window(hours_ago: i64, labelled: u64, right: u64, provisional: bool) -> Group {
        let mut binary = Binary::new();
        for index in 0..labelled {
            binary.add(BinaryRow {
                score: None,
                predicted_positive: index < right,
                positive: true,
                hash: index,
            });
        }
        Group {
            from_us: Some(-hours_ago),
            predictions: labelled,
            labelled,
            provisional,
            ..group_of(report_of(binary))
        }
    }

    fn demand(text: &str) -> Demand {
        serde_json::from_str(text).expect("a demand")
    }

    #[test]
    fn the_newest_mature_window_is_compared_with_those_before_it() {
        let demand = demand(r#"{"metric":"accuracy","worse_by":0.05}"#);
        let groups = [
            window(5, 1000, 900, false),
            window(4, 3000, 2700, false),
            // Half of its labels are to come, and another has few.
            window(3, 1000, 100, true),
            window(2, 1000, 700, false),
            window(1, 20, 0, false),
            window(0, 500, 0, true),
        ];
        let known = newest(&demand, &groups.iter().collect::<Vec<_>>()).expect("a window");
        assert_eq!(known.window.from_us, Some(-2));
        let (before, windows) = known.before.expect("windows before");
        assert_eq!(windows, 2);
        assert!((before.value - 0.9).abs() < 1e-12);
        let change = known.measured.change.expect("a change");
        assert!((change.value + 0.2).abs() < 1e-12);
        assert_eq!(demand.judge(Some(&known.measured)), Ruling::Worse);
    }

    #[test]
    fn without_a_mature_window_nothing_is_known() {
        let demand = demand(r#"{"metric":"accuracy","under":0.5}"#);
        let groups = [window(1, 20, 0, false), window(0, 500, 0, true)];
        assert!(newest(&demand, &groups.iter().collect::<Vec<_>>()).is_none());
        let other = Demand {
            metric: domain::monitor::quality::Metric::Mae,
            ..demand
        };
        assert!(newest(&other, &[&window(1, 500, 0, false)]).is_none());
    }

    #[test]
    fn what_is_not_judged_is_measured_before_all_labels_have_come() {
        let demand = Demand::of_nothing(Metric::Accuracy);
        let young = window(0, 100, 80, true);
        let groups = [window(2, 99, 99, true), window(1, 400, 100, true), young];
        let known = so_far(&demand, &groups.iter().collect::<Vec<_>>()).expect("a window");
        assert_eq!(known.window.from_us, Some(0));
        assert_eq!(
            (known.measured.labelled, known.measured.change),
            (100, None)
        );
        assert!(so_far(&demand, &[&window(0, 99, 99, true)]).is_none());
    }

    #[test]
    fn the_largest_segments_are_looked_at() {
        let of = |value: &str, labelled| Group {
            by: BTreeMap::from([("Home".to_owned(), value.to_owned())]),
            ..window(1, labelled, 0, false)
        };
        let groups = [
            of("a", 5),
            of("b", 7),
            of("a", 4),
            of("c", 1),
            of(OTHER_VALUES, 90),
        ];
        let values: Vec<(&str, usize)> = largest("Home", 2, &groups)
            .into_iter()
            .map(|(value, of)| (value, of.len()))
            .collect();
        assert_eq!(values, [("a", 2), ("b", 1)]);
    }
}
