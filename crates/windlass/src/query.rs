//! `windlass query`: questions about predictions, in SQL.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde_json::Value;
use wire::api::ledger::{QueryRecord, RowsRecord};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::predict::{Format, short};
use crate::replacement::{self, Replacement};

const PATH: &str = "/api/v1/query";

#[derive(Debug, Args)]
#[command(
    after_long_help = "Each model is a table of its own name: its predictions with their features, their answers
and the label that holds; `\"NAME~metrics\"` has what was posted of them. `predictions` has what all models
have in common, `labels` every label as it was told. Names keep their case; those that are no plain words need quotes:
`select * from \"my-model\"`.

Examples:
  windlass query \"select version, count(*), avg(total_us) from credit group by version\"
  windlass query \"select * from credit where class <> label\" --rows 20
  windlass query \"select * from credit where time > '2026-11-01'\" --output november.parquet"
)]
pub(crate) struct QueryArgs {
    /// One `select`
    sql: String,
    /// The most rows of the answer [default: the server's limit; of CSV and Parquet all]
    #[arg(long, value_name = "ROWS")]
    rows: Option<u64>,
    /// How they are written [default: as the output's name says, a table on a terminal, or else JSON lines]
    #[arg(long)]
    format: Option<Format>,
    /// Where they go [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs `windlass query`.
pub(crate) async fn run(context: &Context, args: &QueryArgs) -> anyhow::Result<()> {
    let format = format(context.output, args)?;
    let client = Client::connect(context).await?;
    let answered = answer(&client, context.output, args, format).await;
    client.close().await;
    answered
}

/// None for one JSON value, as `--json` asks for everywhere.
fn format(output: Output, args: &QueryArgs) -> Result<Option<Format>, Failure> {
    let terminal = std::io::stdout().is_terminal();
    let format = match (args.format, &args.output) {
        (Some(format), _) => format,
        (None, Some(path)) => Format::of_name(path).ok_or_else(|| {
            let message = format!("the name `{}` does not say how to write it", path.display());
            Failure::usage(
                message,
                "give `--format csv`, `jsonl`, `parquet` or `table`",
            )
        })?,
        (None, None) if output.json => return Ok(None),
        (None, None) if terminal => Format::Table,
        (None, None) => Format::Jsonl,
    };
    if format == Format::Parquet && args.output.is_none() && terminal {
        let message = "Parquet is not for a terminal";
        return Err(Failure::usage(message, "name a file with `--output`"));
    }
    Ok(Some(format))
}

async fn answer(
    client: &Client,
    output: Output,
    args: &QueryArgs,
    format: Option<Format>,
) -> anyhow::Result<()> {
    let record = QueryRecord {
        sql: args.sql.clone(),
        rows_max: args.rows,
    };
    let write = match format {
        Some(Format::Csv) => return download(client, output, args, &record, "text/csv").await,
        Some(Format::Parquet) => {
            let accept = "application/vnd.apache.parquet";
            return download(client, output, args, &record, accept).await;
        }
        Some(Format::Table) => table,
        Some(Format::Jsonl) => lines,
        None => |_: &RowsRecord| String::new(),
    };
    let rows: RowsRecord = client.send(Method::POST, PATH, &record).await?;
    if rows.more {
        let shown = output::count(rows.rows.len() as u64, "row");
        output.note(&format!(
            "cut off after {shown}: `--output FILE.csv` or `.parquet` takes all"
        ));
    }
    match (&args.output, format) {
        (_, None) => output.answer(&rows, write),
        (Some(path), Some(_)) => replacement::write(path, write(&rows).as_bytes()),
        (None, Some(_)) => output.bytes(write(&rows).as_bytes()),
    }
}

async fn download(
    client: &Client,
    output: Output,
    args: &QueryArgs,
    record: &QueryRecord,
    accept: &'static str,
) -> anyhow::Result<()> {
    let Some(path) = &args.output else {
        let mut out = output.writer();
        return client.download(PATH, record, accept, &mut out).await;
    };
    let mut replacement = Replacement::of(path)?;
    let file = replacement.file.as_file_mut();
    client.download(PATH, record, accept, file).await?;
    Ok(replacement.persist()?)
}

fn table(rows: &RowsRecord) -> String {
    let names: Vec<&str> = rows.columns.iter().map(String::as_str).collect();
    let cells = |row: &Vec<Value>| row.iter().map(|it| short(cell(it))).collect();
    output::table(&names, rows.rows.iter().map(cells)) + "\n"
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// An object a row, of its columns in their order. Two columns may well have one name in SQL.
fn lines(rows: &RowsRecord) -> String {
    let mut text = String::new();
    for row in &rows.rows {
        for (index, (name, value)) in rows.columns.iter().zip(row).enumerate() {
            let separator = if index == 0 { '{' } else { ',' };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{}:{value}", Value::from(name.as_str()));
        }
        text.push_str(if rows.columns.is_empty() {
            "{}\n"
        } else {
            "}\n"
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_a_table_or_lines_of_json() {
        let rows = RowsRecord {
            columns: vec!["city".to_owned(), "n".to_owned(), "n".to_owned()],
            rows: vec![
                vec![json!("Z\"urich"), json!(1), json!(null)],
                vec![json!("a\nb"), json!(0.5), json!([1, 2])],
            ],
            more: false,
            took_ms: 1,
        };
        assert_eq!(
            table(&rows),
            "city     n    n\nZ\"urich  1\na...     0.5  [1,2]\n"
        );
        assert_eq!(
            lines(&rows),
            "{\"city\":\"Z\\\"urich\",\"n\":1,\"n\":null}\n{\"city\":\"a\\nb\",\"n\":0.5,\"n\":[1,2]}\n"
        );
    }
}
