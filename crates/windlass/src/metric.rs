//! `windlass metric`: numbers that predictions brought, such as a revenue, from a file to the ledger.

use std::path::PathBuf;

use clap::Args;
use domain::ModelName;
use wire::labels::Of;

use crate::context::Context;
use crate::exit::Exit;
use crate::label::{self, Delivery, Sending};
use crate::range::asked;

#[derive(Debug, Args)]
#[command(
    after_long_help = "The file may be CSV with a header, JSON lines (an object a line) or Parquet; \
its content tells which.

A metric has the columns
  prediction_id     the id that the answer came with
  request_id, row   or the id that the caller gave the request, and its row: 0 unless given
  key, from, to     or the key of predictions, and the time in which they were made: until `at`
                    unless given
  name              what is told, `revenue`; else what `--name` says
  value             a number
  at                when that became known: now unless given
Other columns are left out.

A rollout can be made to depend on it, and versions be compared by it in an experiment, as `posted.NAME`. A
prediction without a value counts nowhere: where it brought nothing, send 0. Rows that cannot be taken are
written to a file of their own, each with its place, the reason and its text; all others are kept. The exit
status is 3 then. A file may be sent again: of several values of a prediction and a name the last one holds.

Examples:
  windlass metric credit revenue.csv --name revenue
  windlass metric credit paid.parquet --key customer_id --value amount --name paid --at paid_on
  windlass query 'select name, avg(value) from \"credit~metrics\" group by name'"
)]
pub(crate) struct MetricArgs {
    /// The model whose predictions brought it
    model: ModelName,
    /// The file with the values; `-` for standard input
    file: PathBuf,
    /// The metric of rows that do not name one
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The column with the values [default: value]
    #[arg(long, value_name = "COLUMN", help_heading = "Columns")]
    value: Option<String>,
    #[command(flatten)]
    sending: Sending,
}

/// Runs `windlass metric`.
pub(crate) async fn run(context: &Context, args: &MetricArgs) -> anyhow::Result<Exit> {
    let query = [
        ("model", Some(args.model.to_string())),
        ("name", args.name.clone()),
    ];
    let delivery = Delivery {
        of: Of::Metrics,
        model: &args.model,
        file: &args.file,
        path: asked("/api/v1/metrics", &query),
        told: args.value.as_ref(),
        sending: &args.sending,
    };
    label::deliver(context, &delivery).await
}
