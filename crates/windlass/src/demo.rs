//! `windlass demo`: the main thing, in ten seconds, on a model that comes with the program.

use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arrow::array::RecordBatch;
use bytes::Bytes;
use clap::Args;
use domain::limits::Limits;
use domain::{ModelName, Reference, Selector};
use http::Method;
use server::Server;

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;
use crate::predict::{self, Format};
use crate::rows;
use crate::runtime::{self, install};
use crate::serve::{self, Signals, Site, banner};
use crate::{models, push};

/// The model, as it lies in `examples/credit/pipeline`.
const FILES: [(&str, &[u8]); 3] = [
    (
        "model.onnx",
        include_bytes!("../../../examples/credit/pipeline/model.onnx"),
    ),
    (
        "windlass.yaml",
        include_bytes!("../../../examples/credit/pipeline/windlass.yaml"),
    ),
    (
        "examples.json",
        include_bytes!("../../../examples/credit/pipeline/examples.json"),
    ),
];
const ROWS: &[u8] = include_bytes!("../../../examples/credit/pipeline/rows.csv");

/// How many of the rows are shown, and which of their columns: a terminal is 80 wide.
const ROWS_SHOWN: usize = 8;
const COLUMNS_SHOWN: [&str; 7] = [
    "Age",
    "Income",
    "Amount",
    "Job",
    "Records",
    "label",
    "probabilities_bad",
];

/// Requests sent one after another to see how long one takes.
const ASKED: usize = 300;

#[derive(Debug, Args)]
#[command(
    after_help = "The model tells good from bad loan applicants; real ones, from \
    examples/credit. It is served from a folder that is removed at the end, at a free port. ONNX \
    Runtime is installed first where it is missing (24 MB from PyPI, through pip)."
)]
pub(crate) struct DemoArgs {
    /// Ends when it has shown the answers, in place of serving until Ctrl-C; so it does without a
    /// terminal
    #[arg(long)]
    once: bool,
}

/// Runs `windlass demo`.
pub(crate) async fn run(context: &Context, args: &DemoArgs) -> anyhow::Result<Exit> {
    let output = context.output;
    let library = match runtime::find_for(context)? {
        Some(found) => found.library,
        None => {
            // Into the lasting data folder: whoever goes on from here needs it again.
            let installed = install::install(context, &install::InstallArgs::default())?;
            output.note(&installed.to_string());
            installed.library
        }
    };
    let folder = tempfile::Builder::new()
        .prefix("windlass-demo-")
        .tempdir()?;
    let mut own = context.at(folder.path().join("data"));
    own.runtime = Some(library);
    let source = folder.path().join("credit");
    lay_out(&source)?;

    let socket = serve::bind(Ipv4Addr::LOCALHOST.into(), 0)?;
    let server = Server::open(own.config()?).await?;
    let site = Site::new(std::slice::from_ref(&socket))?;
    let client = Client::local(server.front());
    let pushed = push::push(&client, output, &source, None, &Limits::default()).await?;
    let [pushed] = pushed.as_slice() else {
        anyhow::bail!("the demo's model is not one")
    };
    server.want(&pushed.model).await?;
    output.note(&pushed.to_string());
    drop(client);

    let once = args.once || output.json || !std::io::stdout().is_terminal();
    let listener = socket.listen(serve::BACKLOG).context("listening")?;
    server.announce(&site.url)?;
    let mut result = Ok(());
    server
        .run(vec![listener], async {
            result = show(output, &site, &pushed.model, once).await;
        })
        .await;
    result?;
    Ok(Exit::Done)
}

fn lay_out(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(folder)?;
    for (name, bytes) in FILES {
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

/// Asks over HTTP as any client would, shows what came back, and waits where somebody watches.
async fn show(output: Output, site: &Site, model: &ModelName, once: bool) -> anyhow::Result<()> {
    let client = Client::remote(&site.url)?;
    let reference = Reference {
        model: model.clone(),
        selector: Selector::Traffic,
    };
    let signature = models::ready(&client, &reference).await?;
    let rows = predict::read(Bytes::from_static(ROWS), "rows.csv")?;
    let asking = predict::Asking {
        batch: NonZeroUsize::MIN.saturating_add(rows.num_rows()),
        ids: false,
    };
    let answers = predict::score(&client, output, &reference, &signature, &rows, asking).await?;
    let (table, _) = predict::beside(&rows, &answers, model.as_str())?;
    let asked = banner::asked(&client, model).await?;
    let times = measure(&client, &reference, &asked).await?;

    if output.json {
        return output.bytes(&predict::encode(&rows::typed(&table)?, Format::Jsonl)?);
    }
    let shown = chosen(&table.slice(0, ROWS_SHOWN.min(table.num_rows())))?;
    let shown = predict::encode(&shown, Format::Table)?;
    output.line(&format!(
        "\n{} real loan applicants, the first {ROWS_SHOWN}:\n",
        table.num_rows()
    ))?;
    output.bytes(&shown)?;
    let (median, tail) = (shown_time(times.0), shown_time(times.1));
    output.line(&format!(
        "\nOne row at a time over HTTP: median {median}, 99th percentile {tail}\n"
    ))?;
    let url = &site.url;
    output.line(&format!(
        "Ask it yourself\n  {}\n",
        banner::curl(url, &asked)
    ))?;
    output.line(&format!(
        "OpenAPI  {url}/api/v1/openapi.json\nMetrics  {url}/metrics"
    ))?;
    output.line("\nNext: `windlass serve model.onnx` does the same for a model of yours.")?;
    if !once {
        let mut signals = Signals::new()?;
        output.line("Ctrl-C stops it.")?;
        signals.next().await;
    }
    Ok(())
}

fn chosen(table: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let schema = table.schema();
    let indexes: Vec<usize> = COLUMNS_SHOWN
        .iter()
        .filter_map(|name| schema.index_of(name).ok())
        .collect();
    Ok(table.project(&indexes)?)
}

/// The median and the 99th percentile of asking one after another.
#[expect(
    clippy::disallowed_methods,
    reason = "what is shown here is a time as a client sees it"
)]
async fn measure(
    client: &Client,
    reference: &Reference,
    asked: &banner::Asked,
) -> anyhow::Result<(Duration, Duration)> {
    let sample = asked
        .sample
        .as_ref()
        .context("the server has no sample of its own model")?;
    let body = Bytes::from(serde_json::to_vec(sample)?);
    let path = predict::infer_path(reference);
    let mut times = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        let start = Instant::now();
        client.call(Method::POST, &path, body.clone()).await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((times[ASKED / 2], times[ASKED * 99 / 100]))
}

fn shown_time(time: Duration) -> String {
    let micros = time.as_micros();
    if micros < 10_000 {
        format!("{micros} us")
    } else {
        format!("{} ms", micros / 1000)
    }
}
