//! `windlass fairness`: whether a model of two classes treats groups alike, and what could be done about it.

mod fix;

use std::path::PathBuf;

use clap::Args;
use domain::monitor::fairness::Metric;
use domain::{ModelName, Version};
use wire::api::fairness::{FairnessGroupRecord, FairnessRecord, GapRecord, RateRecord};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{interval, number, share, table};
use crate::range::{RangeArgs, asked};
use crate::threshold::Threshold;

#[derive(Debug, Args)]
#[command(after_long_help = "Rates, each with its interval:
  selection        called positive, of all, labelled or not: demographic parity
  true_positive    called positive, of the positive: equal opportunity
  false_positive   called positive, of the negative
  equalised_odds   the larger gap of these two
  accuracy         called what they are

A gap is over groups with enough rows alone; the others are named. `--fail-over` looks at the lower bound of a gap, so
that a small group that differs by chance fails nothing. `gap` stands for every rate.

`--fix thresholds` finds a threshold for each group that makes one rate alike, from one half of the labelled rows, and
shows what it would do to the other half. `--fix weights` weighs labelled rows so that group and label are independent,
to train the next version with.

Examples:
  windlass fairness credit --by Sex --last 30d
  windlass fairness credit --by Sex,Home --support 200
  windlass fairness credit --by Sex --fail-over gap=0.1
  windlass fairness credit --by Sex --fail-over selection=0.05 --fail-over equalised_odds=0.1
  windlass fairness credit --by Sex --fix thresholds --criterion true_positive --out task.yaml
  windlass fairness credit --by Sex --fix weights --out weights.csv --rows rows.csv")]
pub(crate) struct FairnessArgs {
    /// The model
    model: ModelName,
    /// Columns whose values are the groups
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', required = true)]
    by: Vec<String>,
    /// The fewest rows under a rate with which its group takes part in a gap [default: what the model's manifest says,
    /// else 50]
    #[arg(long, value_name = "ROWS")]
    support: Option<u64>,
    /// The level of the intervals [default: 0.95]
    #[arg(long)]
    level: Option<f64>,
    /// Only what this version answered [default: the one with the traffic]
    #[arg(long)]
    version: Option<Version>,
    /// Ends with status 3 where a gap is over this for certain; as often as needed
    #[arg(long, value_name = "RATE=GAP")]
    fail_over: Vec<Threshold>,
    /// Finds what could be done about it
    #[arg(long, conflicts_with = "fail_over")]
    fix: Option<fix::Fix>,
    /// The rate that thresholds make alike [default: selection]
    #[arg(long, requires = "fix")]
    criterion: Option<fix::Criterion>,
    /// Where that goes: `task:` of a windlass.yaml, or weights of groups as CSV
    #[arg(long, value_name = "FILE", requires = "fix")]
    out: Option<PathBuf>,
    /// Where the weight of each labelled row goes, by its prediction's id: `.csv` or `.parquet`
    #[arg(long, value_name = "FILE", requires = "fix")]
    rows: Option<PathBuf>,
    #[command(flatten)]
    range: RangeArgs,
}

/// Every gap.
const ANY: &str = "gap";

/// Runs `windlass fairness`.
pub(crate) async fn run(context: &Context, args: &FairnessArgs) -> anyhow::Result<()> {
    check_names(&args.fail_over)?;
    if let Some(fix) = args.fix {
        return fix::run(context, args, fix).await;
    }
    let path = path(args, "", None);
    let client = Client::connect(context).await?;
    let fairness = client.get::<FairnessRecord>(&path).await;
    client.close().await;
    let fairness = fairness?;
    context.output.answer(&fairness, show)?;
    Ok(judge(&fairness, &args.fail_over)?)
}

/// What is asked about fairness, or about something below it.
fn path(args: &FairnessArgs, below: &str, criterion: Option<String>) -> String {
    asked(
        &format!("/api/v1/models/{}/fairness{below}", args.model),
        &[
            ("by", Some(args.by.join(","))),
            ("criterion", criterion),
            ("from", args.range.from()),
            ("to", args.range.to()),
            ("level", args.level.map(|it| it.to_string())),
            ("support", args.support.map(|it| it.to_string())),
            ("version", args.version.map(|it| it.to_string())),
        ],
    )
}

fn check_names(over: &[Threshold]) -> Result<(), Failure> {
    let known = |name: &str| name == ANY || Metric::ALL.iter().any(|it| it.name() == name);
    let Some(it) = over.iter().find(|it| !known(&it.name)) else {
        return Ok(());
    };
    let names = Metric::ALL.map(|it| format!("`{}`", it.name())).join(", ");
    let message = format!("`--fail-over {}`: there is no such rate", it.name);
    Err(Failure::usage(
        message,
        format!("give `{ANY}` or one of {names}"),
    ))
}

/// Refuses a gap whose lower bound is over what is tolerated. A gap that cannot be told is refused too: a gate that is
/// open because nothing was measured is none. Of all gaps one that can be told is enough.
fn judge(fairness: &FairnessRecord, over: &[Threshold]) -> Result<(), Failure> {
    let mut broken = Vec::new();
    for Threshold { name, value, text } in over {
        let asked = |it: &&Metric| name == ANY || it.name() == name;
        let bounds = Metric::ALL.iter().filter(asked).filter_map(|it| {
            let gap = fairness.gaps.get(it.name())?;
            Some((it.name(), gap, gap.gap?.low?))
        });
        let mut bounds = bounds.peekable();
        if bounds.peek().is_none() {
            let message = format!("`{name}` of {} was not measured", fairness.model);
            let hint = "no two groups have enough rows; see `--support`";
            return Err(Failure::refused(message, hint));
        }
        for (rate, gap, low) in bounds {
            if low > *value {
                let (least, most) = between(gap);
                let low = number(low);
                broken.push(format!(
                    "`{rate}` is apart by {low} at least between {least} and {most}, over {text}"
                ));
            }
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(
        broken.join("; "),
        "`windlass fairness` shows the rates of each group",
    ))
}

fn between(gap: &GapRecord) -> (&str, &str) {
    (
        gap.least.as_deref().unwrap_or("?"),
        gap.most.as_deref().unwrap_or("?"),
    )
}

fn show(fairness: &FairnessRecord) -> String {
    let FairnessRecord {
        model,
        version,
        from_us: _,
        to_us: _,
        positive,
        level,
        support,
        by: _,
        provisional,
        groups,
        gaps,
        theil_index,
    } = fairness;
    if groups.is_empty() {
        return format!("no predictions of {model}:{version} in that time");
    }
    let positive = positive.as_deref().unwrap_or("?");
    let mut parts = vec![format!(
        "{model}:{version}  positive is `{positive}`, intervals at {}",
        share(*level)
    )];
    parts.push(groups_table(groups));
    let line = |metric: &Metric| {
        let gap = gaps.get(metric.name())?;
        let (least, most) = between(gap);
        Some(match gap.gap {
            None => [metric.name(), "-", "-", "-", "-"]
                .map(str::to_owned)
                .into(),
            Some(it) => vec![
                metric.name().to_owned(),
                interval(&it),
                gap.ratio.map_or_else(|| "-".to_owned(), number),
                least.to_owned(),
                most.to_owned(),
            ],
        })
    };
    let head = ["RATE", "GAP", "RATIO", "LEAST", "MOST"];
    parts.push(table(&head, Metric::ALL.iter().filter_map(line)));
    let mut notes = Vec::new();
    for metric in Metric::ALL {
        let left_out = gaps.get(metric.name()).map(|it| it.left_out.join("; "));
        if let Some(names) = left_out.filter(|it| !it.is_empty()) {
            let name = metric.name();
            notes.push(format!(
                "under {support} rows, in no gap of `{name}`: {names}"
            ));
        }
    }
    if *provisional {
        notes.push("labels are to come: all but `selection` may change".to_owned());
    }
    if let Some(theil) = theil_index {
        notes.push(format!("Theil's index of the benefits: {}", number(*theil)));
    }
    if !notes.is_empty() {
        parts.push(notes.join("\n"));
    }
    parts.join("\n\n")
}

fn groups_table(groups: &[FairnessGroupRecord]) -> String {
    const RATES: [Metric; 4] = [
        Metric::Selection,
        Metric::TruePositive,
        Metric::FalsePositive,
        Metric::Accuracy,
    ];
    let columns = groups.first().into_iter().flat_map(|it| it.by.keys());
    let mut head: Vec<String> = columns.cloned().collect();
    head.extend(["PREDICTIONS", "LABELLED"].map(str::to_owned));
    head.extend(RATES.map(|it| it.name().to_uppercase()));
    let cell = |rate: Option<&RateRecord>| match rate.and_then(|it| Some((it.support, it.rate?))) {
        Some((support, it)) => format!("{} of {support}", interval(&it)),
        None => "-".to_owned(),
    };
    let rows = groups.iter().map(|group| {
        let mut row: Vec<String> = group.by.values().cloned().collect();
        row.push(group.predictions.to_string());
        row.push(group.labelled.to_string());
        row.extend(RATES.map(|it| cell(group.rates.get(it.name()))));
        row
    });
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    table(&head, rows)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wire::api::ledger::MetricRecord;

    use super::*;

    fn fairness(gaps: &[(&str, Option<(f64, f64)>)]) -> FairnessRecord {
        let gaps = gaps.iter().map(|(name, ends)| {
            let gap = ends.map(|(low, high)| MetricRecord {
                value: f64::midpoint(low, high),
                low: Some(low),
                high: Some(high),
            });
            let record = GapRecord {
                gap,
                ratio: None,
                least: Some("Sex=a".to_owned()),
                most: Some("Sex=b".to_owned()),
                left_out: Vec::new(),
            };
            ((*name).to_owned(), record)
        });
        FairnessRecord {
            model: "credit".to_owned(),
            version: 1,
            from_us: None,
            to_us: None,
            positive: Some("bad".to_owned()),
            level: 0.95,
            support: 50,
            by: vec!["Sex".to_owned()],
            provisional: false,
            groups: Vec::new(),
            gaps: gaps.collect::<BTreeMap<_, _>>(),
            theil_index: None,
        }
    }

    fn check(fairness: &FairnessRecord, over: &str, want: &str) {
        let over: Vec<Threshold> = vec![over.parse().expect("a threshold")];
        let got = check_names(&over).and_then(|()| judge(fairness, &over));
        let got = got.map_or_else(|failure| failure.to_string(), |()| "passed".to_owned());
        assert!(got.contains(want), "{got}");
    }

    #[test]
    fn the_lower_bound_of_a_gap_is_what_fails() {
        let some = fairness(&[
            ("selection", Some((0.05, 0.5))),
            ("true_positive", Some((0.2, 0.3))),
            ("accuracy", None),
        ]);
        check(&some, "selection=0.1", "passed");
        check(
            &some,
            "true_positive=0.1",
            "between Sex=a and Sex=b, over 0.1",
        );
        check(&some, "gap=10%", "`true_positive` is apart by 0.2");
        check(&some, "gap=0.25", "passed");
        check(
            &some,
            "accuracy=0.1",
            "`accuracy` of credit was not measured",
        );
        check(&some, "parity=0.1", "there is no such rate");
        check(&fairness(&[]), "gap=0.1", "was not measured");
    }
}
