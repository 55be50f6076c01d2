//! The command line: every command and flag, from which `--help`, the man page, the completions and
//! `docs/cli.md` are made.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::alerts::{action, delivery, silence};
use crate::models::change;
use crate::{
    alerts, attributes, demo, docs, drift, experiment, fairness, findings, inputs, kpi, label,
    ledger, metric, models, predict, push, quality, query, replay, rollout, runtime, serve, shadow,
    top, why,
};

#[derive(Debug, Parser)]
#[command(
    name = "windlass",
    version,
    about = "Serves machine-learning models, from a file to answers",
    long_about = "Serves machine-learning models, from a file to answers.\n\n\
        Start with `windlass demo`, or with a model of yours: `windlass serve model.onnx`.",
    after_help = crate::exit::help(),
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where models are kept [env: WINDLASS_DATA_DIR] [default: windlass in your data folder]
    #[arg(long, global = true, value_name = "DIR", help_heading = "General")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Talks to this server in place of the one that uses the data folder [env: WINDLASS_SERVER]
    #[arg(long, global = true, value_name = "URL", help_heading = "General")]
    pub(crate) server: Option<String>,
    /// The ONNX Runtime library to use [env: WINDLASS_ONNXRUNTIME]
    #[arg(long, global = true, value_name = "FILE", help_heading = "General")]
    pub(crate) runtime: Option<PathBuf>,
    /// Answers as JSON, for programs
    #[arg(long, global = true, help_heading = "General")]
    pub(crate) json: bool,
    /// Says nothing but answers and errors
    #[arg(long, short, global = true, help_heading = "General")]
    pub(crate) quiet: bool,
    /// What is logged: error, warn, info, debug, trace, or parts such as `info,server=debug`
    /// [default: info for `serve`, on a terminal without a line a request; warn for the others]
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "General")]
    pub(crate) log_level: Option<String>,
    /// How the log looks; it goes to standard error
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "General"
    )]
    pub(crate) log_format: LogFormat,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the whole loop in two minutes, on a model and data that come with it
    Demo(demo::DemoArgs),
    /// Serves models over HTTP and gRPC
    Serve(serve::ServeArgs),
    /// Asks a model about the rows of a file
    Predict(predict::PredictArgs),
    /// Tells what turned out to be true of a model's predictions
    Label(label::LabelArgs),
    /// Tells what a model's predictions brought, such as a revenue
    Metric(metric::MetricArgs),
    /// Tells what is known of those whom predictions are about
    Attributes(attributes::AttributesArgs),
    /// Shows how right a model was, by the labels that have come
    Quality(quality::QualityArgs),
    /// Shows whether a model of two classes treats groups alike
    Fairness(fairness::FairnessArgs),
    /// Shows whether inputs and predictions are as they were
    Drift(drift::DriftArgs),
    /// Says what a version's predictions are measured against
    Baseline(drift::BaselineArgs),
    /// Shows in which slices a model is worst
    Why(why::WhyArgs),
    /// Shows what the monitors of a model found, look by look
    Findings(findings::FindingsArgs),
    /// Shows what requests may hold, and how many rows did not
    Inputs(inputs::InputsArgs),
    /// Shows how much a model answers, how fast, and what that costs
    Kpi(kpi::KpiArgs),
    /// Asks questions about predictions in SQL
    Query(query::QueryArgs),
    /// Asks another version what was asked before, and shows what changes
    Replay(replay::ReplayArgs),
    /// Shows how the prediction ledger is doing, settles or verifies it
    Ledger(ledger::LedgerArgs),
    /// Shows every model as it is now, those first that need attention most
    Top(top::TopArgs),
    /// Lists alerts, the most urgent first
    Alerts(alerts::AlertsArgs),
    /// Prints rules for Prometheus: series to record and alerts, of what is served
    Rules,
    /// Shows an alert and what happened to it
    Alert(alerts::AlertArgs),
    /// Says that somebody has seen an alert, so that it is not told again
    Ack(alerts::AckArgs),
    /// Says whether an alert was of use
    Feedback(alerts::FeedbackArgs),
    /// Lists silences, or tells nobody of certain alerts for a while
    Silence(silence::SilenceArgs),
    /// Lists what could not be told of alerts, or has it tried again
    Deliveries(delivery::DeliveriesArgs),
    /// Lists what rules did about alerts, or takes it back
    Actions(action::ActionsArgs),
    /// Registers a model's file or folder as a new version
    Push(push::PushArgs),
    /// Lists the models
    List,
    /// Shows a model: what it takes and gives, its versions and aliases; or a prediction
    Show(models::ShowArgs),
    /// Gives a version a name, moves the name, or removes it
    Alias(change::AliasArgs),
    /// Sends a model's traffic to a version
    Traffic(change::TrafficArgs),
    /// Moves a model's traffic to another version, guarded by tests
    Rollout(rollout::RolloutArgs),
    /// Compares versions of a model by one metric while they share its traffic
    Experiment(experiment::ExperimentArgs),
    /// Compares a candidate's unheard answers with what callers get, or begins to ask it
    Shadow(shadow::ShadowArgs),
    /// Has a running server serve a model or a version
    Load(change::LoadArgs),
    /// Has a running server serve a model no more
    Unload(change::UnloadArgs),
    /// Removes a version, or a model with all its versions
    Remove(change::RemoveArgs),
    /// Gets ONNX Runtime, which runs the models, or says which one is used
    Runtime(runtime::RuntimeArgs),
    /// Prints the completions of a shell
    Completions(docs::CompletionsArgs),
    /// Prints the manual page, of all or of one command
    Man(docs::ManArgs),
    /// Prints a reference page in Markdown
    #[command(hide = true)]
    Docs(docs::DocsArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
