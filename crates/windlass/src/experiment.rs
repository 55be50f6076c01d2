//! `windlass experiment`: two or more versions of a model compared by one metric.

use std::collections::BTreeSet;

use clap::{Args, Subcommand, ValueEnum};
use domain::{ModelName, Reference};
use http::Method;
use serde_json::{Value, json};
use wire::api::PageRecord;
use wire::api::experiments::{
    AnswerRecord, ExperimentDetailRecord, ExperimentEventRecord, ExperimentRecord, ExperimentStart,
    ExperimentStop,
};

use crate::alerts::ByArgs;
use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::models::change::one_version;
use crate::output::{Live, happened, moment, table};
use crate::range::asked;
use crate::rollout::{WATCH, newest, note_no_server, shares};

/// The list of experiments.
const EXPERIMENTS: &str = "/api/v1/experiments";

#[derive(Debug, Args)]
#[command(
    after_long_help = "The versions share the keys, and each key is always answered by the same one. What is known may be
looked at at any time: the intervals hold at all times at once. The first version is the control and must have
the traffic; it has it again at the end, unless another is promoted. docs/experiments.md has the whole story.

Examples:
  windlass experiment start credit:1 credit:2 --metric accuracy --margin 1pp
  windlass experiment start credit:1 credit:2 --metric latency --over 50ms --margin 1pp --shares 80%,20%
  windlass experiment start credit:1 credit:2 --metric posted.revenue --better higher --margin 1%
  windlass experiment start credit:1 credit:2 credit:3 --metric loss --margin 0.01 --bandit thompson --floor 5%
  windlass experiment show credit
  windlass experiment stop credit --promote credit:2 --why \"it is better\""
)]
pub(crate) struct ExperimentArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begins to compare versions of a model
    Start(StartArgs),
    /// Shows what is known and what happened
    Show(NamedArgs),
    /// Shows the same until it is over or every version has an answer
    Watch(NamedArgs),
    /// Lists experiments, the newest first
    List(ListArgs),
    /// Ends it: the control has all of the traffic again, or the version that is promoted
    Stop(StopArgs),
}

/// How shares move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bandit {
    /// As much as a version is probably the best
    Thompson,
    /// The best so far has all but what is tried out
    EpsilonGreedy,
}

#[derive(Debug, Args)]
struct StartArgs {
    /// The versions, by number or alias, the control first: `credit:1 credit:2`
    #[arg(required = true, num_args = 1..)]
    references: Vec<Reference>,
    /// By what they are compared: `accuracy`, `error_rate`, `latency`, `cost_per_1k`, `loss`, `mae`, or
    /// `posted.NAME` for a number that `windlass metric` tells
    #[arg(long, value_name = "METRIC")]
    metric: String,
    /// How small a difference does not matter: `1pp`, `0.01`, or of means `1%`
    #[arg(long, value_name = "MARGIN")]
    margin: String,
    /// For `posted.NAME`: which way is better
    #[arg(long, value_name = "WAY", value_parser = ["higher", "lower"])]
    better: Option<String>,
    /// For `latency`: the budget of an answer, `50ms`
    #[arg(long, value_name = "SPAN")]
    over: Option<String>,
    /// The shares of the keys: `50%,50%`; without it all have the same
    #[arg(long, value_name = "SHARES", value_delimiter = ',')]
    shares: Vec<String>,
    /// Whose requests stay together: `header:x-customer-id`, `input:customer_id`
    #[arg(long, value_name = "SOURCE")]
    key: Option<String>,
    /// When it ends: `14d`
    #[arg(long = "for", value_name = "SPAN")]
    lasting: Option<String>,
    /// How probable it may be that any version is ever called better or worse and is not: `0.05`
    #[arg(long, value_name = "RISK")]
    alpha: Option<f64>,
    /// How long a time before says what is usual of a key: `14d`, or `0s` for none
    #[arg(long, value_name = "SPAN")]
    before: Option<String>,
    /// Moves the shares to what does better
    #[arg(long, value_name = "HOW")]
    bandit: Option<Bandit>,
    /// With `--bandit`: what each version has at least
    #[arg(long, value_name = "SHARE", default_value = "5%", requires = "bandit")]
    floor: String,
    /// With `--bandit epsilon-greedy`: how much is tried out
    #[arg(long, value_name = "SHARE", default_value = "10%", requires = "bandit")]
    epsilon: String,
    /// With `--bandit`: how long shares stay as they are, at least
    #[arg(long, value_name = "SPAN", default_value = "1h", requires = "bandit")]
    every: String,
    /// Shows how it goes until it is over or every version has an answer
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    by: ByArgs,
}

#[derive(Debug, Args)]
struct NamedArgs {
    /// The model, for its newest experiment; or an experiment's id
    name: String,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// The model; without it every one
    model: Option<ModelName>,
    /// Only those that are not over
    #[arg(long)]
    live: bool,
}

#[derive(Debug, Args)]
struct StopArgs {
    /// The model, for its newest experiment; or an experiment's id
    name: String,
    /// The version that gets all of the traffic: `credit:2`
    #[arg(long, value_name = "VERSION")]
    promote: Option<Reference>,
    #[command(flatten)]
    by: ByArgs,
}

/// Runs `windlass experiment`.
pub(crate) async fn run(context: &Context, args: &ExperimentArgs) -> anyhow::Result<Exit> {
    let client = Client::connect(context).await?;
    let done = work(&client, context, &args.command).await;
    client.close().await;
    done
}

async fn work(client: &Client, context: &Context, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Start(args) => return start(client, context, args).await,
        Command::Show(args) => {
            let id = newest(client, EXPERIMENTS, &args.name).await?;
            let told: ExperimentDetailRecord = client.get(&path(&id)).await?;
            context.output.answer(&told, show)?;
        }
        Command::Watch(args) => {
            let id = newest(client, EXPERIMENTS, &args.name).await?;
            return watch(client, context, &id).await;
        }
        Command::List(args) => {
            let model = args.model.as_ref().map(ToString::to_string);
            let live = args.live.then(|| "true".to_owned());
            let path = asked(EXPERIMENTS, &[("model", model), ("live", live)]);
            let page: PageRecord<ExperimentRecord> = client.get(&path).await?;
            context.output.answer(&page.items, |it| list(it))?;
        }
        Command::Stop(args) => {
            let id = newest(client, EXPERIMENTS, &args.name).await?;
            let by = args.by.change();
            let promote = match &args.promote {
                None => None,
                Some(reference) => Some(one_version(client, reference).await?.number()),
            };
            let record = ExperimentStop {
                promote,
                who: by.who,
                why: by.why,
            };
            let path = format!("{}/stop", path(&id));
            let told: ExperimentDetailRecord = client.send(Method::POST, &path, &record).await?;
            context.output.answer(&told, |it| {
                let mut lines = vec![headline(&it.experiment)];
                lines.extend(it.answers.iter().map(|it| it.said.clone()));
                lines.join("\n")
            })?;
        }
    }
    Ok(Exit::Done)
}

fn path(id: &str) -> String {
    format!("{EXPERIMENTS}/{id}")
}

async fn start(client: &Client, context: &Context, args: &StartArgs) -> anyhow::Result<Exit> {
    let mut versions = Vec::new();
    for reference in &args.references {
        versions.push(one_version(client, reference).await?.number());
    }
    let model = &args.references[0].model;
    if let Some(other) = args.references.iter().find(|it| it.model != *model) {
        let message = format!("`{}` is another model than `{model}`", other.model);
        let hint = "an experiment compares versions of one model".to_owned();
        return Err(Failure::usage(message, hint).into());
    }
    let by = args.by.change();
    let record = ExperimentStart {
        versions,
        shares: args.shares.clone(),
        spec: spec(args),
        who: by.who,
        why: by.why,
    };
    let path = format!("/api/v1/models/{model}/experiments");
    let told: ExperimentDetailRecord = client.send(Method::POST, &path, &record).await?;
    if args.watch {
        return watch(client, context, &told.experiment.id).await;
    }
    context.output.answer(&told, show)?;
    note_no_server(client, context.output, "the experiment");
    Ok(Exit::Done)
}

/// What flags say.
fn spec(args: &StartArgs) -> Value {
    let mut spec = json!({ "metric": args.metric, "equivalent_within": args.margin });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            spec[name] = value;
        }
    };
    set("better", args.better.as_ref().map(|it| json!(it)));
    set("over", args.over.as_ref().map(|it| json!(it)));
    set("key", args.key.as_ref().map(|it| json!(it)));
    set("deadline", args.lasting.as_ref().map(|it| json!(it)));
    set("alpha", args.alpha.map(|it| json!(it)));
    set("before", args.before.as_ref().map(|it| json!(it)));
    let (floor, every) = (&args.floor, &args.every);
    let allocation = args.bandit.map(|it| match it {
        Bandit::Thompson => json!({ "thompson": { "floor": floor, "every": every } }),
        Bandit::EpsilonGreedy => {
            json!({ "epsilon_greedy": { "epsilon": args.epsilon, "floor": floor, "every": every } })
        }
    });
    set("allocation", allocation);
    spec
}

/// Shows it until it is over or every version has an answer: events and answers as they come, or on a terminal the whole.
async fn watch(client: &Client, context: &Context, id: &str) -> anyhow::Result<Exit> {
    let mut told_of = 0;
    let mut answers: Vec<String> = Vec::new();
    // What was once known is not taken back, though a later look may be less sure.
    let mut known = BTreeSet::new();
    let live = Live::new(context.output);
    loop {
        let told: ExperimentDetailRecord = client.get(&path(id)).await?;
        let from = told_of;
        for event in told.events.iter().filter(|it| it.number >= from) {
            live.line(event, event_line)?;
            known.extend(event.answers.iter().map(|it| it.version));
            told_of = event.number + 1;
        }
        let new: Vec<String> = told.answers.iter().map(|it| it.answer.clone()).collect();
        for (place, answer) in told.answers.iter().enumerate() {
            if answers.get(place) != Some(&answer.answer) && !known.contains(&answer.version) {
                live.line(answer, |it| it.said.clone())?;
            }
        }
        answers = new;
        let mut all = told.answers.iter();
        let is_known = !answers.is_empty() && all.all(|it| known.contains(&it.version));
        if told.experiment.over || is_known {
            live.end();
            return Ok(Exit::Done);
        }
        live.now(|| now(&told));
        tokio::time::sleep(WATCH).await;
    }
}

fn event_line(event: &ExperimentEventRecord) -> String {
    happened(event.at_ms, &event.said)
}

fn headline(experiment: &ExperimentRecord) -> String {
    let ExperimentRecord {
        model,
        metric,
        status,
        ..
    } = experiment;
    format!("the experiment of {model} by {metric} {status}")
}

/// What is of now.
fn now(told: &ExperimentDetailRecord) -> String {
    let mut lines = vec![headline(&told.experiment), shares(&told.experiment.traffic)];
    if told.void {
        lines.push(format!(
            "void: keys are not split as intended ({} for the versions in turn)",
            told.keys
                .iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    if let Some(why) = &told.failed {
        lines.push(format!("the last look failed: {why}"));
    }
    if !told.answers.is_empty() {
        lines.push(answers(told));
    }
    lines.join("\n")
}

fn answers(told: &ExperimentDetailRecord) -> String {
    let keys = |place: usize| {
        told.keys
            .get(place)
            .map_or_else(String::new, u64::to_string)
    };
    let rows = told.answers.iter().enumerate().map(|(place, it)| {
        let AnswerRecord {
            version,
            answer,
            said,
            ..
        } = it;
        vec![
            version.to_string(),
            keys(place + 1),
            answer.clone(),
            said.clone(),
        ]
    });
    table(&["VERSION", "KEYS", "ANSWER", "SO FAR"], rows)
}

fn show(told: &ExperimentDetailRecord) -> String {
    let ExperimentRecord {
        id,
        started_ms,
        until_ms,
        who,
        why,
        ..
    } = &told.experiment;
    let mut lines = vec![now(told)];
    lines.push(String::new());
    lines.push(format!(
        "id {id}, since {}, until {}",
        moment(*started_ms),
        moment(*until_ms)
    ));
    lines.push(match why.is_empty() {
        true => format!("begun by {who}"),
        false => format!("begun by {who}: {why}"),
    });
    if !told.events.is_empty() {
        lines.push(String::new());
        lines.extend(told.events.iter().map(event_line));
    }
    lines.join("\n")
}

fn list(experiments: &[ExperimentRecord]) -> String {
    if experiments.is_empty() {
        return "no experiments".to_owned();
    }
    let rows = experiments.iter().map(|it| {
        let versions: Vec<String> = it.versions.iter().map(u32::to_string).collect();
        vec![
            moment(it.started_ms),
            it.model.clone(),
            versions.join(", "),
            it.metric.clone(),
            it.status.clone(),
            it.id.clone(),
        ]
    });
    table(
        &["STARTED", "MODEL", "VERSIONS", "METRIC", "STATE", "ID"],
        rows,
    )
}
