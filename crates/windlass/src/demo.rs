//! `windlass demo`: what Windlass is for, in two minutes, on a model and data that come with the program.
//!
//! R1. The server is the one that `serve` runs, and the story is told by a client over HTTP: what is seen here is seen
//!     anywhere.
//! R2. Whatever way it ends, what it wrote is removed, unless somebody wants to keep it.

mod bundle;
mod narrator;
mod story;
mod stream;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use domain::limits::Limits;
use domain::{Reference, Selector};
use server::Server;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::runtime::{self, install};
use crate::serve::{self, Signals, Site};
use crate::{models, push};
use narrator::{Narrator, Place};
use story::Story;
use stream::Stream;

#[derive(Debug, Args)]
#[command(
    after_long_help = "Version 1 of a model of car loans answers; its applicants change; drift and a falling estimate of
its accuracy are seen before any label comes, and labels say the same; a bad candidate is rolled
back by a guardrail, a good one gets the traffic, and the accuracy is back. Every sentence comes
with the command that shows the same, and the console shows it while it happens. Afterwards it goes
on until Ctrl-C.

The model and the rows are those of examples/car_loan. Everything is in a folder of its own that is
removed at the end. ONNX Runtime is installed first where it is missing (24 MB from PyPI, through
pip).

Examples:
  windlass demo
  windlass demo --port 8080 --keep ./demo
  windlass demo --exit --json"
)]
pub(crate) struct DemoArgs {
    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Leaves out the time to read between chapters
    #[arg(long)]
    fast: bool,
    /// Keeps the data in this folder, which must be empty or not there; `windlass serve --data-dir DIR` goes on with it
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Ends with the story, in place of going on until Ctrl-C
    #[arg(long)]
    exit: bool,
}

/// Runs `windlass demo`.
pub(crate) async fn run(context: &Context, args: &DemoArgs) -> anyhow::Result<Exit> {
    if let Some(server) = &context.server {
        let message = format!("`demo` starts a server of its own, and `{server}` is named");
        return Err(Failure::usage(message, "leave out `--server`, unset WINDLASS_SERVER").into());
    }
    // Signals first: from here on there is something to remove.
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let socket = serve::bind(Ipv4Addr::LOCALHOST.into(), args.port)?;
    let library = library(context)?;
    let folder = tempfile::Builder::new()
        .prefix("windlass-demo-")
        .tempdir()?;
    let data = match &args.keep {
        Some(kept) => empty(kept)?.to_owned(),
        None => folder.path().join("data"),
    };
    let mut own = context.at(data.clone());
    own.runtime = Some(library);
    bundle::lay_out(folder.path())?;

    let server = Server::open(own.config()?).await?;
    let site = Site::new(std::slice::from_ref(&socket))?;
    let client = Client::local(server.front());
    let version = folder.path().join("v1");
    let pushed = push::push(&client, context.output, &version, None, &Limits::default()).await?;
    let [pushed] = pushed.as_slice() else {
        anyhow::bail!("the demo's model is not one")
    };
    server.want(&pushed.model).await?;
    drop(client);
    let listener = socket.listen(serve::BACKLOG).context("listening")?;
    server.announce(&site.url)?;
    let model = Reference {
        model: pushed.model.clone(),
        selector: Selector::Traffic,
    };

    let mut result = Ok(Exit::Done);
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let serving = server.run(vec![listener], async {
        let place = Place {
            url: &site.url,
            data_dir: &data.display().to_string(),
        };
        let stopped = async {
            tokio::select! {
                () = signals.next() => {}
                _ = hangup.recv() => {}
            }
        };
        result = play(context, args, &place, &model, folder.path(), stopped).await;
        // The one that waits for it is below.
        let _ = tell.send(());
    });
    let twice = async {
        // Dropped or used, it means the same.
        let _ = told.await;
        match Signals::new() {
            Ok(mut signals) => signals.next().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = serving => {}
        () = twice => return Ok(Exit::Interrupted),
    }
    result
}

/// The library that runs models, installed where there is none.
fn library(context: &Context) -> anyhow::Result<PathBuf> {
    if let Some(found) = runtime::find_for(context)? {
        return Ok(found.library);
    }
    // Into the lasting data folder: whoever goes on from here needs it again.
    let installed = install::install(context, &install::InstallArgs::default())?;
    context.output.note(&installed.to_string());
    Ok(installed.library)
}

/// A folder that has nothing in it.
fn empty(folder: &Path) -> Result<&Path, Failure> {
    let taken = std::fs::read_dir(folder).is_ok_and(|mut it| it.next().is_some());
    if taken || folder.is_file() {
        let message = format!("`{}` is not empty", folder.display());
        return Err(Failure::usage(message, "name a folder that is new"));
    }
    Ok(folder)
}

/// Tells the story while the callers ask, and then lets them ask on.
async fn play(
    context: &Context,
    args: &DemoArgs,
    place: &Place<'_>,
    model: &Reference,
    folder: &Path,
    stopped: impl Future<Output = ()>,
) -> anyhow::Result<Exit> {
    let client = Client::remote(place.url)?;
    let narrator = Narrator::new(context.output);
    narrator.place(place)?;
    let signature = models::ready(&client, model).await?;
    let stream = Stream::new(&client, model, signature)?;
    let story = Story {
        client: &client,
        narrator: &narrator,
        stream: &stream,
        model,
        folder,
        pauses: !args.fast,
    };
    tokio::pin!(stopped);
    let flow = stream.flow();
    tokio::pin!(flow);
    tokio::select! {
        failed = &mut flow => match failed? {},
        told = story.tell() => told?,
        () = &mut stopped => return Ok(Exit::Interrupted),
    }
    let took = narrator.elapsed().as_secs();
    let removed = match &args.keep {
        Some(_) => format!("The data stay in {}.", place.data_dir),
        None => "Everything is removed then.".to_owned(),
    };
    let text = format!(
        "\nThat was the whole loop, in {took} s. Next: `windlass serve model.onnx` does the same for a model of yours.",
    );
    if args.exit {
        narrator.end(&text)?;
        return Ok(Exit::Done);
    }
    narrator.end(&format!(
        "{text}\nIt goes on at {}/ until Ctrl-C. {removed}",
        place.url
    ))?;
    tokio::select! {
        failed = &mut flow => match failed? {},
        () = &mut stopped => Ok(Exit::Done),
    }
}
