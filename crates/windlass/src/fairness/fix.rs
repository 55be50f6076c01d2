//! `windlass fairness --fix`: thresholds for serving, weights for training.

use std::path::Path;

use clap::ValueEnum;
use domain::monitor::fairness::Metric;
use wire::api::fairness::{OutcomeRecord, ThresholdsRecord, WeightRecord, WeightsRecord};

use super::{FairnessArgs, between, path};
use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{interval, number, share, table};
use crate::predict::Format;
use crate::replacement::{self, Replacement};

/// What can be done about groups that are not treated alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Fix {
    /// A threshold for each group, for `task.by_group` of windlass.yaml
    Thresholds,
    /// A weight for each group and label, to train with
    Weights,
}

/// A rate that thresholds can make alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Criterion {
    /// Called positive, of all
    #[value(alias = "demographic_parity")]
    Selection,
    /// Called positive, of the positive
    #[value(alias = "equal_opportunity")]
    TruePositive,
    /// Called positive, of the negative
    FalsePositive,
}

impl Criterion {
    fn name(self) -> &'static str {
        match self {
            Self::Selection => Metric::Selection.name(),
            Self::TruePositive => Metric::TruePositive.name(),
            Self::FalsePositive => Metric::FalsePositive.name(),
        }
    }
}

pub(super) async fn run(context: &Context, args: &FairnessArgs, fix: Fix) -> anyhow::Result<()> {
    check(args, fix)?;
    let client = Client::connect(context).await?;
    let done = match fix {
        Fix::Thresholds => thresholds(&client, context, args).await,
        Fix::Weights => weights(&client, context, args).await,
    };
    client.close().await;
    done
}

/// Refuses what the fix does not look at.
fn check(args: &FairnessArgs, fix: Fix) -> Result<(), Failure> {
    let (message, other) = match fix {
        Fix::Thresholds if args.rows.is_some() => ("`--rows` is of weights", "weights"),
        Fix::Weights if args.criterion.is_some() => {
            ("`--criterion` is of thresholds", "thresholds")
        }
        Fix::Thresholds | Fix::Weights => return Ok(()),
    };
    let hint = format!("give `--fix {other}`, or leave it out");
    Err(Failure::usage(message, hint))
}

async fn thresholds(client: &Client, context: &Context, args: &FairnessArgs) -> anyhow::Result<()> {
    let criterion = args.criterion.unwrap_or(Criterion::Selection);
    let criterion = criterion.name().to_owned();
    let path = path(args, "/thresholds", Some(criterion));
    let found: ThresholdsRecord = client.get(&path).await?;
    if let Some(out) = &args.out {
        replacement::write(out, section(&found).as_bytes())?;
    }
    context.output.answer(&found, show)
}

/// `task:` as it is in windlass.yaml; JSON is YAML in one line.
fn section(found: &ThresholdsRecord) -> String {
    format!("task: {}\n", found.task)
}

fn show(found: &ThresholdsRecord) -> String {
    let ThresholdsRecord {
        model,
        version,
        positive,
        by,
        criterion,
        level,
        support,
        learned,
        held_out,
        skipped,
        otherwise,
        thresholds,
        before,
        after,
        task: _,
    } = found;
    let mut parts = vec![format!(
        "{model}:{version}  `{positive}` from these scores on; learned of {learned} labelled rows, tried on {held_out} \
         others, intervals at {}",
        share(*level)
    )];
    let line = |(group, threshold): (&String, &Option<f64>)| match threshold {
        Some(threshold) => vec![group.clone(), threshold.to_string(), String::new()],
        None => {
            let why = format!("under {support} rows, as all others");
            vec![group.clone(), otherwise.to_string(), why]
        }
    };
    parts.push(table(&[by, "THRESHOLD", ""], thresholds.iter().map(line)));
    let outcome = |name: &str, it: &OutcomeRecord| {
        let (least, most) = between(&it.gap);
        let figure = |it: Option<wire::api::ledger::MetricRecord>| {
            it.map_or_else(|| "-".to_owned(), |it| interval(&it))
        };
        vec![
            name.to_owned(),
            figure(it.gap.gap),
            least.to_owned(),
            most.to_owned(),
            figure(it.accuracy),
        ]
    };
    let gap = format!("GAP OF {}", criterion.to_uppercase());
    let head = ["", &gap, "LEAST", "MOST", "ACCURACY"];
    parts.push(table(
        &head,
        [outcome("before", before), outcome("after", after)],
    ));
    if *skipped > 0 {
        parts.push(format!(
            "{skipped} rows have a score that is not from 0 to 1 and took no part"
        ));
    }
    parts.push(format!(
        "To serve with them, put this into windlass.yaml and push:\n{}",
        section(found).trim_end()
    ));
    parts.join("\n\n")
}

async fn weights(client: &Client, context: &Context, args: &FairnessArgs) -> anyhow::Result<()> {
    let found: WeightsRecord = client.get(&path(args, "/weights", None)).await?;
    if let Some(out) = &args.out {
        replacement::write(out, &lines(&found)?)?;
    }
    if let Some(rows) = &args.rows {
        let accept = match Format::of_name(rows) {
            Some(Format::Csv) => "text/csv",
            Some(Format::Parquet) => "application/vnd.apache.parquet",
            _ => {
                let message = format!("`{}` is neither `.csv` nor `.parquet`", rows.display());
                return Err(Failure::usage(message, "name the file so").into());
            }
        };
        export(client, rows, &found, accept).await?;
    }
    context.output.answer(&found, shown)
}

async fn export(
    client: &Client,
    to: &Path,
    found: &WeightsRecord,
    accept: &'static str,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/models/{}/fairness/weights", found.model);
    let mut replacement = Replacement::of(to)?;
    let file = replacement.file.as_file_mut();
    client.download(&path, found, accept, file).await?;
    Ok(replacement.persist()?)
}

/// CSV: the columns, the label, its rows and their weight.
fn lines(found: &WeightsRecord) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = found.by.iter().map(String::as_str);
    writer.write_record(head.chain(["label", "rows", "weight"]))?;
    for it in &found.weights {
        let (rows, weight) = (it.rows.to_string(), it.weight.to_string());
        let groups = found.by.iter();
        let groups = groups.map(|column| it.by.get(column).map_or("", String::as_str));
        writer.write_record(groups.chain([it.label.as_str(), &rows, &weight]))?;
    }
    writer.flush()?;
    Ok(writer
        .into_inner()
        .map_err(csv::IntoInnerError::into_error)?)
}

fn shown(found: &WeightsRecord) -> String {
    if found.weights.is_empty() {
        return format!(
            "no labelled predictions of {}:{} in that time",
            found.model, found.version
        );
    }
    let mut head: Vec<&str> = found.by.iter().map(String::as_str).collect();
    head.extend(["LABEL", "ROWS", "WEIGHT"]);
    let line = |it: &WeightRecord| {
        let groups = found
            .by
            .iter()
            .map(|column| it.by.get(column).cloned().unwrap_or_default());
        groups
            .chain([it.label.clone(), it.rows.to_string(), number(it.weight)])
            .collect()
    };
    let mut text = table(&head, found.weights.iter().map(line));
    if found.provisional {
        text += "\n\nlabels are to come: the weights may change";
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: FairnessArgs,
    }

    #[test]
    fn what_a_fix_does_not_look_at_is_refused() {
        for (flags, want) in [
            ("thresholds", "fine"),
            ("thresholds --criterion true_positive", "fine"),
            ("thresholds --rows rows.csv", "`--rows` is of weights"),
            ("weights --rows rows.csv", "fine"),
            (
                "weights --criterion selection",
                "`--criterion` is of thresholds",
            ),
        ] {
            let command = format!("it credit --by Sex --fix {flags}");
            let Only { args } = Only::try_parse_from(command.split(' ')).expect(flags);
            let got = check(&args, args.fix.expect("a fix"));
            let got = got.map_or_else(|failure| failure.to_string(), |()| "fine".to_owned());
            assert_eq!(got, want, "{flags}");
        }
    }

    fn weights() -> WeightsRecord {
        let weight = |group: &str, label: &str, weight| WeightRecord {
            by: BTreeMap::from([("Ho\"me".to_owned(), group.to_owned())]),
            label: label.to_owned(),
            rows: 7,
            weight,
        };
        WeightsRecord {
            model: "credit".to_owned(),
            version: 2,
            from_us: Some(5),
            to_us: None,
            by: vec!["Ho\"me".to_owned()],
            provisional: false,
            weights: vec![
                weight("it's, own", "bad", 1.5),
                weight("(none)", "good", 0.5),
            ],
        }
    }

    #[test]
    fn weights_are_lines() {
        assert_eq!(
            String::from_utf8(lines(&weights()).expect("CSV")).expect("text"),
            "\"Ho\"\"me\",label,rows,weight\n\"it's, own\",bad,7,1.5\n(none),good,7,0.5\n"
        );
    }
}
