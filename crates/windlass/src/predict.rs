//! `windlass predict`: rows of a file to a model, and its answers beside them.

pub(crate) mod answers;
pub(crate) mod columns;
mod write;

use std::io::{IsTerminal, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::Bytes;
use clap::Args;
use domain::limits::Limits;
use domain::request::NamedTensor;
use domain::signature::Rows as RowsRule;
use domain::{Dimension, Reference, Signature};
use http::Method;
use wire::oip::Response;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::models;
use crate::output::{Output, Unit};
use crate::replacement;
use crate::rows::{self, Rows, typed};

pub(crate) use answers::beside;
pub(crate) use write::{Format, encode, short};

#[derive(Debug, Args)]
#[command(
    after_long_help = "The file may be CSV with a header, JSON lines (an object a line) or Parquet; \
its content tells which.
Columns are found by their names, in any order. Those that the model does not take stay in the output.
In CSV, an empty field and NA, N/A, NaN, null and None are missing numbers. Whole-number columns must
not have any.

Examples:
  windlass predict credit --data rows.csv
  windlass predict credit:3 --data rows.parquet --output answers.parquet
  windlass predict credit --data rows.csv --ids --output answers.csv
  head -100 rows.jsonl | windlass predict credit@champion --data - --format csv"
)]
pub(crate) struct PredictArgs {
    /// The model: `credit`, one of its versions `credit:3`, or an alias `credit@champion`
    model: Reference,
    /// The file with the rows; `-` for standard input
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Where the rows with their answers go [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How they are written [default: as the output's name says, a table on a terminal, or else as the
    /// data is]
    #[arg(long)]
    format: Option<Format>,
    /// Rows sent at a time
    #[arg(long, value_name = "ROWS", default_value = "512")]
    batch: NonZeroUsize,
    /// Puts each row's id beside its answer, in the column `prediction_id`: what `windlass label` and
    /// `windlass show prediction` take. (With `--ledger off` a server gives ids too, and knows of none)
    #[arg(long)]
    ids: bool,
}

/// How a model is asked about many rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// Rows of a request.
    pub(crate) batch: NonZeroUsize,
    /// Whether the rows' ids are among the answers.
    pub(crate) ids: bool,
}

/// Runs `windlass predict`.
pub(crate) async fn run(context: &Context, args: &PredictArgs) -> anyhow::Result<()> {
    // The data first: a wrong path should not cost the loading of a model.
    let name = args.data.display().to_string();
    let rows = rows::read(load(&args.data)?, &name)?;
    let format = format(context.output, args, &rows)?;
    let client = Client::connect(context).await?;
    let scored = ask(&client, context.output, args, &rows).await;
    client.close().await;
    let mut table = rows.batch;
    if rows.kind == rows::Kind::Csv && format.has_types() {
        table = typed(&table)?;
    }
    let (table, renamed) = beside(&table, &scored?, args.model.model.as_str())?;
    if !renamed.is_empty() {
        let names = columns::list(&renamed);
        context.output.note(&format!(
            "answers are in {names}: the file has columns of their names"
        ));
    }
    let bytes = encode(&table, format)?;
    match &args.output {
        Some(path) => replacement::write(path, &bytes),
        None => context.output.bytes(&bytes),
    }
}

/// Reads rows that are in memory already.
pub(crate) fn read(bytes: Bytes, name: &str) -> anyhow::Result<RecordBatch> {
    Ok(rows::read(bytes, name)?.batch)
}

fn load(path: &Path) -> anyhow::Result<Bytes> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .context("reading standard input")?;
        return Ok(bytes.into());
    }
    let bytes = std::fs::read(path).map_err(|error| {
        let message = format!("`{}` cannot be read: {error}", path.display());
        Failure::not_found(message, "name a file with rows, or `-` for standard input")
    })?;
    Ok(bytes.into())
}

fn format(output: Output, args: &PredictArgs, rows: &Rows) -> Result<Format, Failure> {
    let terminal = std::io::stdout().is_terminal();
    let format = match (args.format, &args.output) {
        (Some(format), _) => format,
        (None, Some(path)) => Format::of_name(path).unwrap_or(rows.kind.into()),
        (None, None) if output.json => Format::Jsonl,
        (None, None) if terminal => Format::Table,
        (None, None) => rows.kind.into(),
    };
    if format == Format::Parquet && args.output.is_none() && terminal {
        let message = "Parquet is not for a terminal";
        return Err(Failure::usage(message, "name a file with `--output`"));
    }
    Ok(format)
}

async fn ask(
    client: &Client,
    output: Output,
    args: &PredictArgs,
    rows: &Rows,
) -> anyhow::Result<RecordBatch> {
    let signature = models::ready(client, &args.model).await?;
    score(
        client,
        output,
        &args.model,
        &signature,
        &rows.batch,
        Asking {
            batch: args.batch,
            ids: args.ids,
        },
    )
    .await
}

/// The answers of a model about rows, batch by batch.
pub(crate) async fn score(
    client: &Client,
    output: Output,
    model: &Reference,
    signature: &Signature,
    rows: &RecordBatch,
    asking: Asking,
) -> anyhow::Result<RecordBatch> {
    let schema = rows.schema();
    let names: Vec<String> = schema.fields().iter().map(|it| it.name().clone()).collect();
    let chosen = columns::choose(&names, signature)?;
    if !chosen.unused.is_empty() {
        let unused = columns::list(&chosen.unused);
        output.note(&format!("not used by the model, and kept: {unused}"));
    }
    let step = rows_a_request(signature, asking.batch);
    let progress = output.progress("asking", rows.num_rows() as u64, Unit::Rows);
    let mut answers = Vec::new();
    for first in (0..rows.num_rows()).step_by(step) {
        let part = rows.slice(first, step.min(rows.num_rows() - first));
        let inputs = columns::inputs(&part, &chosen, signature, first)?;
        let response = infer(client, model, &inputs).await?;
        let rows = part.num_rows();
        let mut columns = answers::columns(&response.outputs, signature, rows)?;
        if asking.ids {
            let ids = answers::ids(&response, rows)?;
            (columns, _) = beside(&ids, &columns, model.model.as_str())?;
        }
        answers.push(columns);
        progress.inc(part.num_rows() as u64);
    }
    progress.finish_and_clear();
    let Some(first) = answers.first() else {
        anyhow::bail!("there are no rows")
    };
    let schema = first.schema();
    concat_batches(&schema, &answers).context("the answers differ from batch to batch")
}

async fn infer(
    client: &Client,
    model: &Reference,
    inputs: &[NamedTensor],
) -> anyhow::Result<Response> {
    let body = wire::oip::encode_request(None, inputs, &[], &[])?;
    let body = client
        .call(Method::POST, &infer_path(model), body.into())
        .await?;
    Ok(wire::oip::decode_response(&body, None, &Limits::default())?)
}

/// Where a model is asked in the Open Inference Protocol. An alias is part of the model's name there.
pub(crate) fn infer_path(reference: &Reference) -> String {
    match &reference.selector {
        domain::Selector::Version(version) => {
            format!("/v2/models/{}/versions/{version}/infer", reference.model)
        }
        domain::Selector::Traffic | domain::Selector::Alias(_) => {
            format!("/v2/models/{reference}/infer")
        }
    }
}

/// A model whose requests are wholes takes as many rows as its first axis says, be that what it may.
fn rows_a_request(signature: &Signature, wanted: NonZeroUsize) -> usize {
    let first = signature.inputs.first().and_then(|it| it.shape.first());
    match (signature.rows, first) {
        (RowsRule::Whole, Some(Dimension::Fixed(rows))) => (*rows).max(1),
        (RowsRule::Whole, _) => 1,
        (RowsRule::Outermost, _) => wanted.get(),
    }
}
