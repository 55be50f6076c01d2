//! `windlass quality`: how right a model was, by the labels that have come.

use clap::Args;
use domain::manifest::Span;
use domain::{ModelName, Version};
use wire::api::ledger::{LabelCountsRecord, MetricRecord, QualityGroupRecord, QualityRecord};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{count, decimals, moment, number, share, table};
use crate::range::{RangeArgs, asked};
use crate::threshold::Threshold;

#[derive(Debug, Args)]
#[command(after_long_help = "Metrics, each with its interval:
  of two classes     accuracy precision recall f1 roc_auc average_precision log_loss brier
                     calibration_error
  of several         accuracy macro_precision macro_recall macro_f1 weighted_f1 roc_auc_ovr
                     log_loss brier calibration_error
  of numbers         mae rmse mape r2 bias

Labels that have not come yet may change them: such figures are marked as provisional.

Examples:
  windlass quality credit --last 30d
  windlass quality credit --by Home,caller --every 7d
  windlass quality credit --last 7d --fail-under accuracy=0.75 --fail-over log_loss=0.6")]
pub(crate) struct QualityArgs {
    /// The model
    model: ModelName,
    /// Columns whose values the figures are told by
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    by: Vec<String>,
    /// Spans of time that the figures are told by: `1d`
    #[arg(long, value_name = "SPAN")]
    every: Option<Span>,
    /// The level of the intervals [default: 0.95]
    #[arg(long)]
    level: Option<f64>,
    /// Only what this version answered
    #[arg(long)]
    version: Option<Version>,
    /// Ends with status 3 where a metric is lower in any group; as often as needed
    #[arg(long, value_name = "METRIC=VALUE")]
    fail_under: Vec<Threshold>,
    /// Ends with status 3 where a metric that counts errors is higher in any group; as often as needed
    #[arg(long, value_name = "METRIC=VALUE")]
    fail_over: Vec<Threshold>,
    #[command(flatten)]
    range: RangeArgs,
}

/// Metrics that are better the lower they are.
const ERRORS: [&str; 6] = [
    "log_loss",
    "brier",
    "calibration_error",
    "mae",
    "rmse",
    "mape",
];

/// The order in which they are shown, the others behind them.
const ORDER: [&str; 17] = [
    "accuracy",
    "precision",
    "recall",
    "f1",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "weighted_f1",
    "roc_auc",
    "roc_auc_ovr",
    "average_precision",
    "log_loss",
    "brier",
    "calibration_error",
    "mae",
    "rmse",
    "mape",
];

/// Runs `windlass quality`.
pub(crate) async fn run(context: &Context, args: &QualityArgs) -> anyhow::Result<()> {
    check_directions(&args.fail_under, &args.fail_over)?;
    let by = (!args.by.is_empty()).then(|| args.by.join(","));
    let path = asked(
        &format!("/api/v1/models/{}/quality", args.model),
        &[
            ("from", args.range.from()),
            ("to", args.range.to()),
            ("by", by),
            ("every", args.every.as_ref().map(Span::to_string)),
            ("level", args.level.map(|it| it.to_string())),
            ("version", args.version.map(|it| it.to_string())),
        ],
    );
    let client = Client::connect(context).await?;
    let quality = client.get::<QualityRecord>(&path).await;
    client.close().await;
    let quality = quality?;
    context.output.answer(&quality, show)?;
    Ok(judge(&quality, &args.fail_under, &args.fail_over)?)
}

fn check_directions(under: &[Threshold], over: &[Threshold]) -> Result<(), Failure> {
    if let Some(it) = under.iter().find(|it| ERRORS.contains(&&*it.name)) {
        let message = format!("`{}` is better the lower it is", it.name);
        let hint = format!("give `--fail-over {}={}`", it.name, it.text);
        return Err(Failure::usage(message, hint));
    }
    // A bias may be too far on either side.
    let error = |it: &str| ERRORS.contains(&it) || it == "bias";
    if let Some(it) = over.iter().find(|it| !error(&it.name)) {
        let message = format!("`{}` is better the higher it is", it.name);
        let hint = format!("give `--fail-under {}={}`", it.name, it.text);
        return Err(Failure::usage(message, hint));
    }
    Ok(())
}

/// Refuses a quality that passes a threshold. A metric that no group has is refused too: a gate that is open
/// because nothing was measured is none.
fn judge(quality: &QualityRecord, under: &[Threshold], over: &[Threshold]) -> Result<(), Failure> {
    let mut broken = Vec::new();
    for (thresholds, word) in [(under, "under"), (over, "over")] {
        for Threshold { name, value, text } in thresholds {
            let groups = quality.groups.iter();
            let mut measured = groups
                .filter_map(|group| Some((group, group.metrics.get(name)?.value)))
                .peekable();
            if measured.peek().is_none() {
                return Err(unmeasured(quality, name));
            }
            for (group, got) in measured {
                let wrong = match word {
                    "under" => got < *value,
                    _ => got > *value,
                };
                // What is no number is not good enough.
                if wrong || got.is_nan() {
                    let (of, got) = (named(quality, group), number(got));
                    broken.push(format!("`{name}` of {of} is {got}, {word} {text}"));
                }
            }
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(
        broken.join("; "),
        "compare the versions with `windlass quality`, or the causes with `--by COLUMN`",
    ))
}

fn unmeasured(quality: &QualityRecord, name: &str) -> Failure {
    let known = metrics(&quality.groups);
    let message = format!("`{name}` of {} was not measured", quality.model);
    match known.is_empty() {
        true => Failure::refused(message, "no prediction of that time has a label"),
        false => Failure::refused(message, format!("measured were {}", known.join(", "))),
    }
}

/// A group in a sentence: `credit:3, Home=rent, from 2026-11-22`.
fn named(quality: &QualityRecord, group: &QualityGroupRecord) -> String {
    let mut text = format!("{}:{}", quality.model, group.version);
    for (column, value) in &group.by {
        text.push_str(&format!(", {column}={value}"));
    }
    if let Some(from_us) = group.from_us {
        text.push_str(&format!(", from {}", moment(from_us.div_euclid(1000))));
    }
    text
}

/// The names of the metrics of any group, in the order in which they are shown.
fn metrics(groups: &[QualityGroupRecord]) -> Vec<&str> {
    let mut names: Vec<&str> = groups
        .iter()
        .flat_map(|it| it.metrics.keys().map(String::as_str))
        .collect();
    let place = |name: &str| ORDER.iter().position(|it| *it == name);
    names.sort_by_key(|it| (place(it).unwrap_or(ORDER.len()), *it));
    names.dedup();
    names
}

/// A value and its interval, with no more digits than the interval leaves any sense.
fn metric(it: &MetricRecord) -> String {
    let MetricRecord { value, low, high } = *it;
    let (Some(low), Some(high)) = (low, high) else {
        return number(value);
    };
    let width = high - low;
    if !width.is_finite() || width <= 0.0 {
        return format!("{} [{}, {}]", number(value), number(low), number(high));
    }
    let digits = (-width.log10().floor()).max(0.0);
    let (low, high) = (decimals(low, digits), decimals(high, digits));
    format!("{} [{low}, {high}]", decimals(value, digits + 1.0))
}

fn show(quality: &QualityRecord) -> String {
    let QualityRecord {
        model,
        from_us: _,
        to_us: _,
        task,
        positive,
        level,
        groups,
        labels,
    } = quality;
    if groups.is_empty() {
        return format!("no predictions of {model} in that time");
    }
    let question = match positive {
        Some(positive) => format!("{task}, positive is `{positive}`"),
        None => task.clone(),
    };
    let mut parts = vec![format!(
        "{model}  {question}, intervals at {}",
        share(*level)
    )];
    parts.push(groups_table(groups));
    if let [group] = &groups[..] {
        let rows = metrics(groups).into_iter().filter_map(|name| {
            let shown = metric(group.metrics.get(name)?);
            Some(vec![name.to_owned(), shown])
        });
        if !group.metrics.is_empty() {
            parts.push(table(&["METRIC", "VALUE"], rows));
        }
        if !group.confusion.is_empty() {
            parts.push(confusion(group));
        }
    }
    parts.extend(notes(groups, labels));
    parts.join("\n\n")
}

/// A line a group. Metrics stand in it where there are several groups to compare; those of a single one have
/// lines of their own below, which a terminal is wide enough for.
fn groups_table(groups: &[QualityGroupRecord]) -> String {
    let columns: Vec<&str> = match groups.first() {
        Some(group) => group.by.keys().map(String::as_str).collect(),
        None => Vec::new(),
    };
    let spans = groups.iter().any(|it| it.from_us.is_some());
    let names = match groups {
        [_] => Vec::new(),
        groups => metrics(groups),
    };
    let mut headers: Vec<String> = vec!["VERSION".to_owned()];
    headers.extend(columns.iter().map(|it| (*it).to_owned()));
    headers.extend(spans.then(|| "FROM".to_owned()));
    headers.extend(["PREDICTIONS", "LABELLED"].map(str::to_owned));
    headers.extend(names.iter().map(|it| it.to_uppercase()));
    let rows = groups.iter().map(|group| {
        let mut row = vec![group.version.to_string()];
        row.extend(
            columns
                .iter()
                .map(|it| group.by.get(*it).cloned().unwrap_or_default()),
        );
        if spans {
            let from = group.from_us.map(|it| moment(it.div_euclid(1000)));
            row.push(from.unwrap_or_default());
        }
        row.push(group.predictions.to_string());
        row.push(labelled(group));
        row.extend(names.iter().map(|name| {
            let shown = group.metrics.get(*name).map(metric);
            shown.unwrap_or_else(|| "-".to_owned())
        }));
        row
    });
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    table(&headers, rows)
}

/// `812 (81.2%, provisional)`.
fn labelled(group: &QualityGroupRecord) -> String {
    let mut about: Vec<String> = group.coverage.iter().map(|it| share(*it)).collect();
    if group.provisional {
        about.push("provisional".to_owned());
    }
    match about.is_empty() {
        true => group.labelled.to_string(),
        false => format!("{} ({})", group.labelled, about.join(", ")),
    }
}

fn confusion(group: &QualityGroupRecord) -> String {
    let mut answered: Vec<&str> = group
        .confusion
        .values()
        .flat_map(|it| it.keys().map(String::as_str))
        .collect();
    answered.sort_unstable();
    answered.dedup();
    let mut headers = vec!["TRUE \\ ANSWERED"];
    headers.extend(&answered);
    let rows = group.confusion.iter().map(|(label, row)| {
        let cells = answered
            .iter()
            .map(|it| row.get(*it).unwrap_or(&0).to_string());
        [label.clone()].into_iter().chain(cells).collect()
    });
    table(&headers, rows)
}

/// What the figures do not tell by themselves.
fn notes(groups: &[QualityGroupRecord], labels: &LabelCountsRecord) -> Vec<String> {
    let sum = |of: fn(&QualityGroupRecord) -> u64| groups.iter().map(of).sum::<u64>();
    let (failed, skipped) = (sum(|it| it.failed), sum(|it| it.skipped));
    let mut notes = Vec::new();
    if failed > 0 {
        notes.push(format!(
            "{} refused or failed: in no figure",
            count(failed, "row")
        ));
    }
    if skipped > 0 {
        let rows = count(skipped, "row");
        notes.push(format!(
            "{rows} left out: a score, value or label that is no number"
        ));
    }
    if groups.iter().any(|it| it.approximate) {
        notes.push("curves are told from a histogram: there are too many rows to sort".to_owned());
    }
    let LabelCountsRecord {
        named: _,
        matched: _,
        unknown,
        by_text,
        by_text_matched,
    } = *labels;
    if unknown > 0 {
        let labels = count(unknown, "label");
        notes.push(format!("{labels} for ids that the ledger does not have"));
    }
    if by_text > 0 {
        let labels = count(by_text, "label");
        let found = count(by_text_matched, "prediction");
        notes.push(format!(
            "{labels} by request id or key, which found {found}"
        ));
    }
    match notes.is_empty() {
        true => notes,
        false => vec![notes.join("\n")],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn group(version: u32, metrics: &[(&str, f64)]) -> QualityGroupRecord {
        let metrics = metrics.iter().map(|(name, value)| {
            let metric = MetricRecord {
                value: *value,
                low: Some(value - 0.02),
                high: Some(value + 0.02),
            };
            ((*name).to_owned(), metric)
        });
        QualityGroupRecord {
            version,
            by: BTreeMap::new(),
            from_us: None,
            predictions: 100,
            failed: 0,
            labelled: 80,
            coverage: Some(0.8),
            provisional: true,
            skipped: 0,
            approximate: false,
            metrics: metrics.collect(),
            confusion: BTreeMap::new(),
        }
    }

    fn quality(groups: Vec<QualityGroupRecord>) -> QualityRecord {
        QualityRecord {
            model: "credit".to_owned(),
            from_us: None,
            to_us: None,
            task: "binary".to_owned(),
            positive: Some("bad".to_owned()),
            level: 0.95,
            groups,
            labels: LabelCountsRecord {
                unknown: 1,
                ..LabelCountsRecord::default()
            },
        }
    }

    #[test]
    fn one_group_is_shown_with_its_metrics_below_and_its_confusion() {
        let mut group = group(3, &[("brier", 0.2), ("accuracy", 0.8123)]);
        let row = |good, bad| BTreeMap::from([("bad".to_owned(), bad), ("good".to_owned(), good)]);
        group.confusion = BTreeMap::from([
            ("bad".to_owned(), row(2, 10)),
            ("good".to_owned(), row(65, 3)),
        ]);
        let want = "\
credit  binary, positive is `bad`, intervals at 95.0%

VERSION  PREDICTIONS  LABELLED
3        100          80 (80.0%, provisional)

METRIC    VALUE
accuracy  0.812 [0.79, 0.83]
brier     0.200 [0.18, 0.22]

TRUE \\ ANSWERED  bad  good
bad              10   2
good             3    65

1 label for ids that the ledger does not have";
        assert_eq!(show(&quality(vec![group])), want);
    }

    #[test]
    fn several_groups_are_compared_in_one_table() {
        let mut first = group(3, &[("accuracy", 0.8)]);
        first.by = BTreeMap::from([("Home".to_owned(), "rent".to_owned())]);
        first.from_us = Some(0);
        let mut second = group(4, &[]);
        second.by = BTreeMap::from([("Home".to_owned(), "owner".to_owned())]);
        second.from_us = Some(86_400_000_000);
        second.failed = 2;
        let shown = show(&quality(vec![first, second]));
        let want = "\
VERSION  Home   FROM              PREDICTIONS  LABELLED                 ACCURACY
3        rent   1970-01-01 00:00  100          80 (80.0%, provisional)  0.800 [0.78, 0.82]
4        owner  1970-01-02 00:00  100          80 (80.0%, provisional)  -

2 rows refused or failed: in no figure
1 label for ids that the ledger does not have";
        assert_eq!(shown.split_once("\n\n").map(|it| it.1), Some(want));
    }

    fn check(under: &[&str], over: &[&str], want: &str) {
        let read = |all: &[&str]| -> Vec<Threshold> {
            all.iter().map(|it| it.parse().expect("one")).collect()
        };
        let (under, over) = (read(under), read(over));
        let groups = vec![
            group(3, &[("accuracy", 0.8), ("log_loss", 0.5)]),
            group(4, &[("accuracy", 0.7)]),
        ];
        let got = check_directions(&under, &over).and_then(|()| {
            judge(&quality(groups), &under, &over)?;
            Ok(())
        });
        assert_eq!(
            got.map_or_else(|it| it.message, |()| "good".to_owned()),
            want
        );
    }

    #[test]
    fn thresholds_hold_for_every_group() {
        check(&["accuracy=0.7"], &["log_loss=0.5"], "good");
        check(
            &["accuracy=75%"],
            &["log_loss=0.4"],
            "`accuracy` of credit:4 is 0.700, under 75%; `log_loss` of credit:3 is 0.500, over 0.4",
        );
        check(&["recall=0.1"], &[], "`recall` of credit was not measured");
    }

    #[test]
    fn a_threshold_on_the_wrong_side_is_a_wrong_flag() {
        check(&["brier=0.1"], &[], "`brier` is better the lower it is");
        check(&[], &["f1=0.1"], "`f1` is better the higher it is");
        check(
            &["bias=-1"],
            &["bias=1"],
            "`bias` of credit was not measured",
        );
    }
}
