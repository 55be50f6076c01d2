//! The command line of Windlass: flags, wiring, exit status.
//!
//! What a command does to models goes through the control API of a server, be it one that runs or one
//! opened in this process (`client`).

mod alerts;
mod attributes;
mod cli;
mod client;
mod context;
mod demo;
mod docs;
mod drift;
mod environment;
mod exit;
mod experiment;
mod failure;
mod fairness;
mod findings;
mod inputs;
mod kpi;
mod label;
mod ledger;
mod metric;
mod models;
mod output;
mod predict;
mod push;
mod quality;
mod query;
mod range;
mod replacement;
mod replay;
mod rollout;
mod rows;
mod runtime;
mod serve;
mod shadow;
mod threshold;
mod top;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use tracing_subscriber::EnvFilter;

use alerts::{action, delivery, silence};
use cli::{Cli, Command, Global, LogFormat};
use context::Context;
use environment::Environment;
use exit::Exit;
use failure::Failure;
use models::change;
use output::Output;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    report_nothing();
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let output = Output {
        json: cli.global.json,
        quiet: cli.global.quiet,
    };
    let exit = match run(cli) {
        Ok(exit) => exit,
        Err(error) => {
            let failure = Failure::of(&error);
            output.fail(&failure);
            failure.exit
        }
    };
    ExitCode::from(exit.number())
}

/// The official library of ONNX Runtime keeps a database of its use in the user's cache folder, to be sent
/// to its makers, unless this is set before it is loaded. Turning its events off later leaves the database.
#[expect(unsafe_code, reason = "the library reads nothing but the environment")]
fn report_nothing() {
    // SAFETY: this is the first thing that the process does; there is no other thread to read or write
    // the environment meanwhile.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    log(&cli)?;
    let Cli { global, command } = cli;
    let context = Context::new(global, Environment::read())?;
    let context = &context;
    match command {
        Command::Completions(args) => docs::completions(context.output, &args)?,
        Command::Man(args) => docs::man(context.output, &args)?,
        Command::Docs(args) => docs::run(context.output, &args)?,
        Command::Runtime(args) => runtime::run(context, args)?,
        command => return block_on(work(context, command)),
    }
    Ok(Exit::Done)
}

/// The commands that talk to a server.
async fn work(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(args) => return demo::run(context, &args).await,
        Command::Serve(args) => return serve::run(context, args).await,
        Command::Predict(args) => predict::run(context, &args).await?,
        Command::Label(args) => return label::run(context, &args).await,
        Command::Metric(args) => return metric::run(context, &args).await,
        Command::Attributes(args) => attributes::run(context, &args).await?,
        Command::Quality(args) => quality::run(context, &args).await?,
        Command::Fairness(args) => fairness::run(context, &args).await?,
        Command::Drift(args) => drift::run(context, &args).await?,
        Command::Baseline(args) => drift::baseline(context, &args).await?,
        Command::Why(args) => why::run(context, &args).await?,
        Command::Findings(args) => findings::run(context, &args).await?,
        Command::Inputs(args) => inputs::run(context, &args).await?,
        Command::Kpi(args) => kpi::run(context, &args).await?,
        Command::Query(args) => query::run(context, &args).await?,
        Command::Replay(args) => replay::run(context, &args).await?,
        Command::Ledger(args) => return ledger::run(context, &args).await,
        Command::Alerts(args) => alerts::list(context, &args).await?,
        Command::Rules => alerts::rules(context).await?,
        Command::Alert(args) => alerts::show(context, &args).await?,
        Command::Ack(args) => alerts::acknowledge(context, &args).await?,
        Command::Feedback(args) => alerts::feedback(context, &args).await?,
        Command::Silence(args) => silence::run(context, &args).await?,
        Command::Deliveries(args) => delivery::run(context, &args).await?,
        Command::Actions(args) => action::run(context, &args).await?,
        Command::Top(args) => top::run(context, &args).await?,
        Command::Push(args) => push::run(context, &args).await?,
        Command::List => models::list(context).await?,
        Command::Show(args) => models::show(context, &args).await?,
        Command::Alias(args) => change::alias(context, &args).await?,
        Command::Traffic(args) => change::traffic(context, &args).await?,
        Command::Rollout(args) => return rollout::run(context, &args).await,
        Command::Experiment(args) => return experiment::run(context, &args).await,
        Command::Shadow(args) => shadow::run(context, &args).await?,
        Command::Load(args) => change::load(context, &args).await?,
        Command::Unload(args) => change::unload(context, &args).await?,
        Command::Remove(args) => change::remove(context, &args).await?,
        Command::Completions(_) | Command::Man(_) | Command::Docs(_) | Command::Runtime(_) => {}
    }
    Ok(Exit::Done)
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(work);
    // What still computes when a second signal came must not keep the process.
    runtime.shutdown_background();
    result
}

/// The log goes to standard error, as text or as JSON objects.
fn log(cli: &Cli) -> Result<(), Failure> {
    let Global {
        log_level,
        log_format,
        quiet,
        ..
    } = &cli.global;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let level = match (log_level, &cli.command) {
        (Some(level), _) => level,
        (None, _) if *quiet => "error",
        // A line a request is for those who collect them, not for who is watching.
        (None, Command::Serve(_)) if terminal => "info,windlass::request=warn",
        (None, Command::Serve(_)) => "info",
        (None, _) => "warn",
    };
    let filter = EnvFilter::builder().parse(level).map_err(|error| {
        let message = format!("`--log-level {level}` cannot be read: {error}");
        Failure::usage(message, "give error, warn, info, debug or trace")
    })?;
    // When nobody reads the log any more it is lost in silence: told of it on standard error, which is
    // what nobody reads, the task that logged would panic.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match log_format {
        LogFormat::Text => {
            builder.with_ansi(terminal).init();
        }
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
