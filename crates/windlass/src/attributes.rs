//! `windlass attributes`: what is known of those whom predictions are about.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use clap::Args;
use domain::ModelName;
use domain::attributes::KEY;
use wire::api::attributes::AttributesRecord;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{count, table};
use crate::predict::{self, Format};
use crate::rows;

/// Rows of a request.
const ROWS_MAX: usize = 50_000;

#[derive(Debug, Args)]
#[command(
    after_long_help = "Attributes tell groups apart that a model must not be told of: a person's sex, say. They are
joined by the key of the rows (`ledger: {key: ...}` of windlass.yaml) and are in no request and
no row of the ledger; `windlass fairness` and `windlass quality` take them in `--by`, and
`monitor: {fairness: {by: [...]}}` once `ledger: {attributes: [...]}` names them.

The file may be CSV with a header, JSON lines or Parquet. One column is the key, the others are
attributes, 16 of a model at most; a file may be sent again, and what it says last holds. An empty
value takes back what was told.

Examples:
  windlass attributes credit people.csv
  windlass attributes credit people.parquet --key customer_id
  windlass attributes credit
  windlass attributes credit --remove"
)]
pub(crate) struct AttributesArgs {
    /// The model
    model: ModelName,
    /// The file with the attributes; without one those that are known are listed
    #[arg(conflicts_with = "remove")]
    file: Option<PathBuf>,
    /// The column with the keys
    #[arg(long, value_name = "COLUMN", default_value = KEY)]
    key: String,
    /// Forgets all attributes of the model
    #[arg(long)]
    remove: bool,
}

/// Runs `windlass attributes`.
pub(crate) async fn run(context: &Context, args: &AttributesArgs) -> anyhow::Result<()> {
    // The file first: a wrong path should not cost the opening of a server.
    let bodies = args
        .file
        .as_deref()
        .map(|it| read(it, &args.key))
        .transpose()?;
    let client = Client::connect(context).await?;
    let told = tell(&client, args, bodies.unwrap_or_default()).await;
    client.close().await;
    context.output.answer(&told?, show)
}

async fn tell(
    client: &Client,
    args: &AttributesArgs,
    bodies: Vec<Vec<u8>>,
) -> anyhow::Result<AttributesRecord> {
    let path = format!("/api/v1/models/{}/attributes", args.model);
    if args.remove {
        client.delete(&path).await?;
    }
    let mut told = None;
    for body in bodies {
        told = Some(client.deliver(&path, "text/csv", body.into()).await?);
    }
    match told {
        // It is what all of them came to.
        Some(told) => Ok(told),
        None => client.get(&path).await,
    }
}

fn show(record: &AttributesRecord) -> String {
    if record.attributes.is_empty() {
        return format!("no attributes of {}", record.model);
    }
    let rows = record.attributes.iter();
    let rows = rows.map(|it| vec![it.name.clone(), count(it.keys, "key")]);
    table(&["ATTRIBUTE", "KNOWN OF"], rows)
}

/// The file as CSV, in parts.
fn read(path: &Path, key: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| format!("reading `{name}`"))?;
    let batch = rows::read(bytes.into(), &name)?.batch;
    if batch.schema().index_of(key).is_err() {
        let message = format!("`{name}` has no column `{key}`");
        return Err(Failure::refused(message, "name the column with the keys by --key").into());
    }
    let starts = (0..batch.num_rows()).step_by(ROWS_MAX);
    let parts = starts.map(|at| batch.slice(at, ROWS_MAX.min(batch.num_rows() - at)));
    parts.map(|part| write(&part, key)).collect()
}

/// As CSV whose column of keys is called so. Nested values are texts too.
fn write(batch: &RecordBatch, key: &str) -> anyhow::Result<Vec<u8>> {
    let schema = batch.schema();
    let names = schema.fields().iter().map(|it| match it.name() {
        name if name == key => KEY,
        name => name,
    });
    let fields: Vec<Field> = names
        .map(|it| Field::new(it, DataType::Utf8, true))
        .collect();
    let texts = batch.columns().iter().map(|it| cast(it, &DataType::Utf8));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let texts = RecordBatch::try_new(Arc::new(Schema::new(fields)), texts)?;
    predict::encode(&texts, Format::Csv)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_file_is_csv_with_the_column_of_keys() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
        let sexes: ArrayRef = Arc::new(StringArray::from(vec![Some("f, \"x\""), None]));
        let batch = RecordBatch::try_from_iter([("customer", ids), ("Sex", sexes)]);
        let written = write(&batch.expect("a batch"), "customer").expect("CSV");
        let written = String::from_utf8(written).expect("text");
        assert_eq!(written, "key,Sex\n7,\"f, \"\"x\"\"\"\n8,\n");
    }
}
