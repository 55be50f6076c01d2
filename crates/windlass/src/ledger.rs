//! `windlass ledger`: how the prediction ledger is doing, and what can be done about it by hand.

use clap::{Args, Subcommand};
use http::Method;
use wire::api::ledger::{LedgerModelRecord, LedgerRecord, VerifiedRecord};

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{count, table};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  windlass ledger\n  windlass ledger settle\n  windlass ledger verify --json"
)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    command: Option<LedgerCommand>,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Shows what is recorded, and what could not be (this is what `windlass ledger` alone does)
    Status,
    /// Puts what is in the log into files, merges small files and removes what is too old, now
    Settle,
    /// Compares every file with its checksum; ends with status 1 where one is damaged
    Verify,
}

/// Runs `windlass ledger`.
pub(crate) async fn run(context: &Context, args: &LedgerArgs) -> anyhow::Result<Exit> {
    let client = Client::connect(context).await?;
    let done = work(&client, context, args).await;
    client.close().await;
    done
}

async fn work(client: &Client, context: &Context, args: &LedgerArgs) -> anyhow::Result<Exit> {
    let nothing = serde_json::json!({});
    match &args.command {
        None | Some(LedgerCommand::Status) => {
            let ledger: LedgerRecord = client.get("/api/v1/ledger").await?;
            context.output.answer(&ledger, show)?;
        }
        Some(LedgerCommand::Settle) => {
            let path = "/api/v1/ledger/settle";
            let ledger: LedgerRecord = client.send(Method::POST, path, &nothing).await?;
            context.output.answer(&ledger, show)?;
        }
        Some(LedgerCommand::Verify) => {
            let path = "/api/v1/ledger/verify";
            let verified: VerifiedRecord = client.send(Method::POST, path, &nothing).await?;
            context.output.answer(&verified, show_verified)?;
            if verified.damaged > 0 {
                return Ok(Exit::Failed);
            }
        }
    }
    Ok(Exit::Done)
}

fn show_verified(verified: &VerifiedRecord) -> String {
    let files = count(verified.files, "file");
    match verified.damaged {
        0 => format!("{files} checked, all as they were written"),
        damaged => {
            format!("{files} checked, {damaged} damaged: set aside, and no part of any answer")
        }
    }
}

fn show(ledger: &LedgerRecord) -> String {
    let LedgerRecord {
        mode,
        recorded,
        labelled,
        lost,
        shed,
        trouble,
        log_bytes,
        segments_waiting,
        segments_max: _,
        free_bytes,
        models,
        torn_bytes,
        damaged_records,
        damaged_rows,
        damaged_files,
        damaged_file_rows,
        expired_rows,
    } = ledger;
    let mut lines = vec![
        format!("mode      {mode}"),
        format!(
            "recorded  {} and {} since the server started",
            count(*recorded, "row"),
            count(*labelled, "label")
        ),
        format!(
            "log       {}, {} to be put into files",
            bytes(*log_bytes),
            count(*segments_waiting, "segment")
        ),
    ];
    if let Some(free) = free_bytes {
        lines.push(format!("room      {} free on its volume", bytes(*free)));
    }
    // What is wrong stands there only where something is.
    if let Some(trouble) = trouble {
        lines.push(format!("trouble   {trouble}"));
    }
    if *lost > 0 {
        let rows = count(*lost, "row");
        lines.push(format!(
            "lost      {rows} answered that could not be recorded, since the folder was made"
        ));
    }
    if *shed > 0 {
        let requests = count(*shed, "request");
        lines.push(format!(
            "refused   {requests} whose rows could not be recorded"
        ));
    }
    if *torn_bytes > 0 {
        let torn = bytes(*torn_bytes);
        lines.push(format!(
            "torn      {torn} of records that a process ended in"
        ));
    }
    if *damaged_records > 0 {
        let (records, rows) = (
            count(*damaged_records, "record"),
            count(*damaged_rows, "row"),
        );
        lines.push(format!("damaged   {records} of the log, with {rows}"));
    }
    if *damaged_files > 0 {
        let (files, rows) = (
            count(*damaged_files, "file"),
            count(*damaged_file_rows, "row"),
        );
        lines.push(format!("damaged   {files}, with {rows}"));
    }
    if *expired_rows > 0 {
        let rows = count(*expired_rows, "row");
        lines.push(format!("expired   {rows} that were old or too many"));
    }
    let head = lines.join("\n");
    if models.is_empty() {
        return format!("{head}\n\nnothing in files yet");
    }
    let rows = models.iter().map(|it| {
        let LedgerModelRecord {
            model,
            predictions,
            labels,
            files,
            bytes: size,
            bytes_max,
            first_day,
            last_day,
        } = it;
        let day = |it: &Option<String>| it.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            model.clone(),
            predictions.to_string(),
            labels.to_string(),
            files.to_string(),
            match bytes_max {
                Some(most) => format!("{} of {}", bytes(*size), bytes(*most)),
                None => bytes(*size),
            },
            day(first_day),
            day(last_day),
        ]
    });
    let headers = [
        "MODEL",
        "PREDICTIONS",
        "LABELS",
        "FILES",
        "SIZE",
        "FIRST",
        "LAST",
    ];
    format!("{head}\n\n{}", table(&headers, rows))
}

/// A size as people compare it: `1.5 MiB`.
fn bytes(size: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| size >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", size as f64 / unit as f64),
        None => count(size, "byte"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> LedgerRecord {
        LedgerRecord {
            mode: "buffered".to_owned(),
            recorded: 12,
            labelled: 1,
            lost: 0,
            shed: 0,
            trouble: None,
            log_bytes: 1_572_864,
            segments_waiting: 0,
            segments_max: 32,
            free_bytes: Some(3 << 30),
            models: Vec::new(),
            torn_bytes: 0,
            damaged_records: 0,
            damaged_rows: 0,
            damaged_files: 0,
            damaged_file_rows: 0,
            expired_rows: 0,
        }
    }

    #[test]
    fn a_ledger_without_trouble_says_little() {
        let want = "\
mode      buffered
recorded  12 rows and 1 label since the server started
log       1.5 MiB, 0 segments to be put into files
room      3.0 GiB free on its volume

nothing in files yet";
        assert_eq!(show(&ledger()), want);
    }

    #[test]
    fn what_went_wrong_is_said() {
        let mut ledger = ledger();
        ledger.trouble = Some("the disk is full".to_owned());
        (ledger.lost, ledger.shed, ledger.torn_bytes) = (1, 2, 100);
        (ledger.damaged_records, ledger.damaged_rows) = (1, 50);
        (ledger.damaged_files, ledger.damaged_file_rows) = (1, 60);
        ledger.expired_rows = 7;
        ledger.models.push(LedgerModelRecord {
            model: "credit".to_owned(),
            predictions: 1000,
            labels: 10,
            files: 2,
            bytes: 2048,
            bytes_max: Some(1 << 20),
            first_day: Some("2026-11-24".to_owned()),
            last_day: None,
        });
        let want = "\
trouble   the disk is full
lost      1 row answered that could not be recorded, since the folder was made
refused   2 requests whose rows could not be recorded
torn      100 bytes of records that a process ended in
damaged   1 record of the log, with 50 rows
damaged   1 file, with 60 rows
expired   7 rows that were old or too many

MODEL   PREDICTIONS  LABELS  FILES  SIZE                FIRST       LAST
credit  1000         10      2      2.0 KiB of 1.0 MiB  2026-11-24  -";
        assert!(show(&ledger).ends_with(want), "{}", show(&ledger));
    }

    #[test]
    fn a_damaged_file_is_said_to_be_set_aside() {
        let said = |files, damaged| show_verified(&VerifiedRecord { files, damaged });
        assert_eq!(said(2, 0), "2 files checked, all as they were written");
        assert!(said(1, 1).starts_with("1 file checked, 1 damaged"));
    }
}
