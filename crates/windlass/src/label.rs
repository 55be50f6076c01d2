//! `windlass label`: what turned out to be true, from a file to the ledger. Metrics go the same way.

mod names;
mod source;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use domain::ModelName;
use serde::Serialize;
use wire::api::ledger::LabelsRecord;
use wire::labels::Of;

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use crate::range::asked;
use crate::replacement;
use names::Names;
use source::{Row, Source};

/// What is sent, whatever was read.
const LINES: &str = "application/jsonl";

#[derive(Debug, Args)]
#[command(
    after_long_help = "The file may be CSV with a header, JSON lines (an object a line) or Parquet; \
its content tells which.

A label has the columns
  prediction_id     the id that the answer came with
  request_id, row   or the id that the caller gave the request, and its row: 0 unless given
  key, from, to     or the key of predictions, and the time in which they were made: until `at`
                    unless given
  label             what turned out to be true: a class's name, or a number
  at                when that became known: now unless given
Other columns are left out.

Rows that cannot be taken are written to a file of their own, each with its place, the reason
and its text; all others are kept. The exit status is 3 then. A file may be sent again: of several
labels of a prediction the last one holds.

Examples:
  windlass label credit outcomes.csv
  windlass label credit paid.parquet --key customer_id --label defaulted --at paid_on
  zcat outcomes.jsonl.gz | windlass label credit - --rejects odd.jsonl"
)]
pub(crate) struct LabelArgs {
    /// The model whose predictions are labelled
    model: ModelName,
    /// The file with the labels; `-` for standard input
    file: PathBuf,
    /// The column with the labels [default: label]
    #[arg(long, value_name = "COLUMN", help_heading = "Columns")]
    label: Option<String>,
    #[command(flatten)]
    sending: Sending,
}

/// Which columns say what predictions are meant, and how a file is sent.
#[derive(Debug, Args)]
pub(crate) struct Sending {
    /// The column with the ids of predictions [default: prediction_id]
    #[arg(long, value_name = "COLUMN", help_heading = "Columns")]
    id: Option<String>,
    /// The column with the ids that the caller gave requests [default: request_id]
    #[arg(long, value_name = "COLUMN", help_heading = "Columns")]
    request_id: Option<String>,
    /// The column with the keys of predictions [default: key]
    #[arg(long, value_name = "COLUMN", help_heading = "Columns")]
    key: Option<String>,
    /// The column that says when it became known [default: at]
    #[arg(long, value_name = "COLUMN", help_heading = "Columns")]
    at: Option<String>,
    /// Where rows go that cannot be taken [default: the file's name and `.rejects.jsonl`]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Rows sent at a time
    #[arg(long, value_name = "ROWS", default_value = "20000")]
    batch: NonZeroUsize,
}

/// A file on its way to the ledger.
pub(crate) struct Delivery<'a> {
    pub(crate) of: Of,
    pub(crate) model: &'a ModelName,
    pub(crate) file: &'a Path,
    /// Where it is sent.
    pub(crate) path: String,
    /// The column that holds what is told, where a flag names it.
    pub(crate) told: Option<&'a String>,
    pub(crate) sending: &'a Sending,
}

/// What became of the file.
#[derive(Debug, Serialize)]
struct Labelled {
    model: String,
    read: u64,
    accepted: u64,
    rejected: u64,
    /// Where those are, where there are any.
    rejects: Option<String>,
}

/// Runs `windlass label`.
pub(crate) async fn run(context: &Context, args: &LabelArgs) -> anyhow::Result<Exit> {
    let delivery = Delivery {
        of: Of::Labels,
        model: &args.model,
        file: &args.file,
        path: asked("/api/v1/labels", &[("model", Some(args.model.to_string()))]),
        told: args.label.as_ref(),
        sending: &args.sending,
    };
    deliver(context, &delivery).await
}

/// Sends a file and tells what became of it.
pub(crate) async fn deliver(context: &Context, delivery: &Delivery<'_>) -> anyhow::Result<Exit> {
    let output = context.output;
    let Sending {
        id,
        request_id,
        key,
        at,
        batch,
        ..
    } = delivery.sending;
    let names = [
        (id.as_ref(), "prediction_id"),
        (request_id.as_ref(), "request_id"),
        (key.as_ref(), "key"),
        (delivery.told, delivery.of.needed()),
        (at.as_ref(), "at"),
    ];
    let names = names
        .into_iter()
        .filter_map(|(column, part)| Some((column?.clone(), part)));
    let names = Names::new(delivery.of, names.collect())?;
    // The file first: a wrong path should not cost the opening of a server.
    let mut source = Source::open(delivery.file, names, batch.get(), output)?;
    let mut labelled = Labelled {
        model: delivery.model.to_string(),
        read: 0,
        accepted: 0,
        rejected: 0,
        rejects: None,
    };
    let mut rejects = Rejects::new(delivery);
    let client = Client::connect(context).await?;
    let sent = send(&client, delivery, &mut source, &mut labelled, &mut rejects).await;
    client.close().await;
    source.progress.finish_and_clear();
    rejects.finish()?;
    if sent.is_err() && labelled.read > 0 {
        let (read, accepted) = (labelled.read, labelled.accepted);
        return sent.with_context(|| format!("after {read} rows, of which {accepted} are kept"));
    }
    sent?;
    if !source.dropped.is_empty() {
        let dropped: Vec<String> = source.dropped.iter().map(|it| format!("`{it}`")).collect();
        let dropped = dropped.join(", ");
        output.note(&match delivery.of {
            Of::Labels => format!("no part of a label, and left out: {dropped}"),
            Of::Metrics => format!("no part of a metric, and left out: {dropped}"),
        });
    }
    labelled.rejects = rejects.name();
    output.answer(&labelled, |it| show(it, delivery.of))?;
    Ok(match labelled.rejected {
        0 => Exit::Done,
        _ => Exit::Refused,
    })
}

fn show(labelled: &Labelled, of: Of) -> String {
    let Labelled {
        model,
        read,
        accepted,
        rejected,
        rejects,
    } = labelled;
    let read = output::count(*read, "row");
    let what = of.plural();
    let mut text = format!("{read} read, {accepted} {what} of {model} kept");
    if let Some(rejects) = rejects {
        text.push_str(&format!(", {rejected} not taken: see `{rejects}`"));
    }
    text
}

async fn send(
    client: &Client,
    delivery: &Delivery<'_>,
    source: &mut Source,
    labelled: &mut Labelled,
    rejects: &mut Rejects,
) -> anyhow::Result<Exit> {
    loop {
        let rows = source.next(delivery.sending.batch.get())?;
        if rows.is_empty() {
            return Ok(Exit::Done);
        }
        let record = match body(&rows) {
            body if body.is_empty() => LabelsRecord {
                accepted: 0,
                rejected: Vec::new(),
            },
            body => client.deliver(&delivery.path, LINES, body.into()).await?,
        };
        let read = rows.len() as u64;
        let rejected = rejected(rows, &record)?;
        labelled.read += read;
        labelled.accepted += record.accepted;
        labelled.rejected += rejected.len() as u64;
        for reject in rejected {
            rejects.write(&reject)?;
        }
    }
}

fn body(rows: &[Row]) -> Vec<u8> {
    rows.iter()
        .filter_map(|it| it.label.as_deref().ok())
        .collect::<Vec<_>>()
        .concat()
}

/// A row that was not taken, as it stands in the file of those.
#[derive(Debug, PartialEq, Serialize)]
struct Reject {
    /// Its place in the file, from 1.
    row: u64,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<String>,
}

/// The rows that were not taken, by us or by the server, in their order. That all others were is counted.
fn rejected(rows: Vec<Row>, record: &LabelsRecord) -> anyhow::Result<Vec<Reject>> {
    let mut refused = record.rejected.iter().peekable();
    let mut rejects = Vec::new();
    let mut sent: u64 = 0;
    for Row { place, label, line } in rows {
        let why = match label {
            Err(why) => why,
            Ok(_) => {
                sent += 1;
                match refused.next_if(|it| it.place == sent) {
                    Some(refused) => refused.why.clone(),
                    None => continue,
                }
            }
        };
        let row = place;
        rejects.push(Reject { row, why, line });
    }
    let (accepted, left) = (record.accepted, refused.count());
    let told = record.rejected.len() as u64;
    anyhow::ensure!(
        left == 0 && accepted + told == sent,
        "of {sent} rows the server kept {accepted} and refused {told}: that does not add up"
    );
    Ok(rejects)
}

/// The file of rows that were not taken, made with the first of them.
struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Rejects {
    fn new(delivery: &Delivery<'_>) -> Self {
        let path = delivery.sending.rejects.clone().unwrap_or_else(|| {
            if delivery.file == Path::new("-") {
                return PathBuf::from(format!("{}.rejects.jsonl", delivery.of.plural()));
            }
            let mut name = delivery.file.as_os_str().to_owned();
            name.push(".rejects.jsonl");
            name.into()
        });
        Self { path, file: None }
    }

    fn write(&mut self, reject: &Reject) -> anyhow::Result<()> {
        let failed = |error: std::io::Error| replacement::failed(&self.path, &error);
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = File::create(&self.path).map_err(failed)?;
                self.file.insert(BufWriter::new(file))
            }
        };
        serde_json::to_writer(&mut *file, reject)?;
        file.write_all(b"\n").map_err(failed)?;
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            let flushed = file.flush();
            flushed.map_err(|error| replacement::failed(&self.path, &error))?;
        }
        Ok(())
    }

    fn name(&self) -> Option<String> {
        self.file.as_ref()?;
        Some(self.path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use wire::api::ledger::RejectedRecord;

    use super::*;

    /// Rows by whether they can be sent, the places that the server refuses, and what is to be said.
    fn check(rows: &[bool], accepted: u64, refused: &[u64], want: &str) {
        let rows = rows.iter().zip(1..).map(|(sent, place)| Row {
            place,
            label: match sent {
                true => Ok(b"{}\n".to_vec()),
                false => Err("ours".to_owned()),
            },
            line: None,
        });
        let record = LabelsRecord {
            accepted,
            rejected: refused
                .iter()
                .map(|place| RejectedRecord {
                    place: *place,
                    why: "theirs".to_owned(),
                })
                .collect(),
        };
        let got = match rejected(rows.collect(), &record) {
            Err(error) => error.to_string(),
            Ok(rejects) => {
                let all = rejects.iter().map(|it| format!("{} {}", it.row, it.why));
                all.collect::<Vec<_>>().join(", ")
            }
        };
        assert_eq!(got, want);
    }

    #[test]
    fn a_refused_row_is_named_by_its_place_in_the_file() {
        check(&[true, true], 2, &[], "");
        check(&[true, false, true, true], 2, &[2], "2 ours, 3 theirs");
        check(&[false, false], 0, &[], "1 ours, 2 ours");
        check(
            &[true, false, true],
            0,
            &[1, 2],
            "1 theirs, 2 ours, 3 theirs",
        );
    }

    #[test]
    fn counts_that_do_not_add_up_are_a_failure() {
        let of = |accepted, told| {
            format!("of 2 rows the server kept {accepted} and refused {told}: that does not add up")
        };
        check(&[true, true], 1, &[], &of(1, 0));
        check(&[true, true], 1, &[3], &of(1, 1));
        check(&[true, true], 2, &[1], &of(2, 1));
    }
}
