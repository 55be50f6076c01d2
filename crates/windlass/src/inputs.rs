//! `windlass inputs`: what requests to a model may hold, and how many rows did not.

use clap::Args;
use domain::{ModelName, Version};
use wire::api::inputs::{InputRuleRecord, InputsRecord};

use crate::client::Client;
use crate::context::Context;
use crate::output::{count, moment, share, table};
use crate::range::asked;

#[derive(Debug, Args)]
#[command(
    after_long_help = "A version that has a baseline expects what the baseline has: numbers in its range, no missing
values where it has none, its texts. `monitor: {inputs: ...}` of windlass.yaml says more of a
column, and what becomes of a row that is otherwise: off, count, warn or refuse.

Counts are of the running server, since it loaded the version.

Examples:
  windlass inputs credit
  windlass inputs credit --version 3 --all
  windlass inputs credit --json"
)]
pub(crate) struct InputsArgs {
    /// The model
    model: ModelName,
    /// The version [default: the one with the traffic]
    #[arg(long)]
    version: Option<Version>,
    /// Shows every rule and not only those that rows were against
    #[arg(long)]
    all: bool,
}

/// Runs `windlass inputs`.
pub(crate) async fn run(context: &Context, args: &InputsArgs) -> anyhow::Result<()> {
    let path = asked(
        &format!("/api/v1/models/{}/inputs", args.model),
        &[("version", args.version.map(|it| it.to_string()))],
    );
    let client = Client::connect(context).await?;
    let inputs = client.get::<InputsRecord>(&path).await;
    client.close().await;
    context.output.answer(&inputs?, |it| show(it, args.all))
}

fn show(inputs: &InputsRecord, all: bool) -> String {
    let InputsRecord {
        model,
        version,
        rows,
        baseline_ms,
        stricter_by,
        rules,
    } = inputs;
    let baseline = match baseline_ms {
        Some(ms) => format!("as the baseline of {}", moment(*ms)),
        None => "without a baseline".to_owned(),
    };
    let mut parts = vec![format!(
        "{model}:{version}  {} looked at, {}, {baseline}",
        count(*rows, "row"),
        count(rules.len() as u64, "rule"),
    )];
    if !stricter_by.is_empty() {
        let back = |id: &i64| format!("`windlass actions --reverse {id}`");
        let by: Vec<String> = stricter_by.iter().map(back).collect();
        parts.push(format!(
            "stricter than its owner says, by what alerts made of it: {}",
            by.join(", ")
        ));
    }
    let shown: Vec<&InputRuleRecord> = rules.iter().filter(|it| all || it.rows > 0).collect();
    match (rules.is_empty(), shown.is_empty()) {
        (true, _) => parts.push(format!(
            "nothing is known of its inputs: `windlass baseline {model}:{version} train.parquet` makes a baseline, \
             `monitor: {{inputs: ...}}` of windlass.yaml says it"
        )),
        (false, true) => parts.push("all of them as expected; `--all` shows what that is".to_owned()),
        (false, false) => {
            let head = [
                "COLUMN", "RULE", "ACTION", "ROWS", "SHARE", "REFERENCE", "EXPECTED",
            ];
            parts.push(table(&head, shown.iter().map(|it| line(it, *rows))));
        }
    }
    parts.join("\n\n")
}

fn line(rule: &InputRuleRecord, all: u64) -> Vec<String> {
    let InputRuleRecord {
        column,
        rule,
        action,
        want,
        rows,
        tolerated,
        reference,
    } = rule;
    vec![
        column.clone().unwrap_or_else(|| "(the row)".to_owned()),
        rule.clone(),
        match tolerated {
            true => "count".to_owned(),
            false => action.clone(),
        },
        rows.to_string(),
        share(*rows as f64 / all.max(1) as f64),
        reference.map_or_else(|| "-".to_owned(), share),
        want.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rows_were_against_is_a_line_each() {
        let rule = |column: Option<&str>, rule: &str, rows| InputRuleRecord {
            column: column.map(str::to_owned),
            rule: rule.to_owned(),
            action: "refuse".to_owned(),
            want: "a value".to_owned(),
            rows,
            tolerated: column.is_some(),
            reference: column.map(|_| 0.25),
        };
        let mut inputs = InputsRecord {
            model: "credit".to_owned(),
            version: 3,
            rows: 200,
            baseline_ms: None,
            stricter_by: vec![7, 8],
            rules: vec![
                rule(Some("age"), "missing", 50),
                rule(Some("sex"), "missing", 0),
                rule(None, "duplicate", 2),
            ],
        };
        let text = show(&inputs, false);
        for want in [
            "credit:3  200 rows looked at, 3 rules, without a baseline",
            "`windlass actions --reverse 7`, `windlass actions --reverse 8`",
            "age",
            "(the row)",
        ] {
            assert!(text.contains(want), "{text}");
        }
        assert!(!text.contains("sex"), "{text}");
        assert!(show(&inputs, true).contains("sex"));
        inputs.rules.truncate(0);
        assert!(show(&inputs, false).contains("nothing is known"));
    }
}
