//! `windlass rollout`: moving a model's traffic to another version, guarded.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use domain::{ModelName, Reference};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wire::api::PageRecord;
use wire::api::rollouts::{
    RolloutDetailRecord, RolloutEventRecord, RolloutRecord, RolloutStart, ShareRecord, TestRecord,
};

use crate::alerts::ByArgs;
use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::models::change::one_version;
use crate::output::{Live, Output, happened, moment, table};
use crate::range::asked;
use crate::shadow;

/// The list of rollouts.
pub(crate) const ROLLOUTS: &str = "/api/v1/rollouts";
/// How often what is watched is asked about.
pub(crate) const WATCH: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(
    after_long_help = "A candidate answers a sample of the requests unheard, then a rising share of the keys beside a
control of the same size, and gets all of the traffic when every guardrail has shown that it is no
worse. A guardrail that fails rolls back at once; the incumbent stays loaded until the end. What
`windlass.yaml` says under `rollout:` holds, and flags of `start` go before it. docs/rollouts.md has
the whole story.

Examples:
  windlass rollout start credit:4
  windlass rollout start credit:4 --steps 5%,50% --hold 10m --bake 1h --watch
  windlass rollout show credit
  windlass rollout abort credit --why \"the data were wrong\""
)]
pub(crate) struct RolloutArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begins to move a model's traffic to a version
    Start(StartArgs),
    /// Shows where a rollout is, what is tested and what happened
    Show(NamedArgs),
    /// Shows the same until it is over
    Watch(NamedArgs),
    /// Lists rollouts, the newest first
    List(ListArgs),
    /// Lets it go on from where it awaits approval
    Approve(DeedArgs),
    /// Keeps it where it is; guardrails still roll back
    Pause(DeedArgs),
    /// Lets it go on from where it holds
    Resume(DeedArgs),
    /// Gives the candidate all of the traffic, whatever tests say
    Promote(DeedArgs),
    /// Gives the incumbent all of the traffic again
    Abort(DeedArgs),
}

#[derive(Debug, Args)]
struct StartArgs {
    /// The version, by number or alias: `credit:4`, `credit@next`
    reference: Reference,
    /// The candidate's shares of the keys, rising: `1%,5%,25%,50%`
    #[arg(long, value_name = "SHARES", value_delimiter = ',')]
    steps: Vec<String>,
    /// The least that a step lasts: `30m`
    #[arg(long, value_name = "SPAN")]
    hold: Option<String>,
    /// The keys that the candidate answers in a step, at least
    #[arg(long, value_name = "COUNT")]
    min_keys: Option<u64>,
    /// How much it answers unheard first, `10%`, or `off`
    #[arg(long, value_name = "SHARE")]
    shadow: Option<String>,
    /// For how long the incumbent stays loaded after: `24h`
    #[arg(long, value_name = "SPAN")]
    bake: Option<String>,
    /// When it is given up: `7d`
    #[arg(long, value_name = "SPAN")]
    deadline: Option<String>,
    /// Where somebody must agree: none, each-step, before-promote
    #[arg(long, value_name = "WHERE")]
    approval: Option<String>,
    /// The risk that a sound candidate is rolled back, all guardrails together: `0.01`
    #[arg(long, value_name = "RISK")]
    alpha: Option<f64>,
    /// Whose requests stay together: `header:x-customer-id`, `input:customer_id`
    #[arg(long, value_name = "SOURCE")]
    key: Option<String>,
    /// A file with what `rollout:` of windlass.yaml may say; flags go before it
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Ends a rollout of the model that is not over
    #[arg(long)]
    supersede: bool,
    /// Shows how it goes until it is over
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    by: ByArgs,
}

#[derive(Debug, Args)]
struct NamedArgs {
    /// The model, for its newest rollout; or a rollout's id
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
struct DeedArgs {
    /// The model, for its newest rollout; or a rollout's id
    name: String,
    #[command(flatten)]
    by: ByArgs,
}

/// Runs `windlass rollout`. Watching fails where the candidate does not get the traffic.
pub(crate) async fn run(context: &Context, args: &RolloutArgs) -> anyhow::Result<Exit> {
    let client = Client::connect(context).await?;
    let done = work(&client, context, &args.command).await;
    client.close().await;
    done
}

async fn work(client: &Client, context: &Context, command: &Command) -> anyhow::Result<Exit> {
    let (deed, args) = match command {
        Command::Start(args) => return start(client, context, args).await,
        Command::Show(args) => {
            let id = newest(client, ROLLOUTS, &args.name).await?;
            let told: RolloutDetailRecord = client.get(&path(&id)).await?;
            let line = match context.output.json {
                true => None,
                false => shadow::line(client, &told.rollout).await,
            };
            context.output.answer(&told, |told| match &line {
                Some(line) => format!("{}\n\n{line}", show(told)),
                None => show(told),
            })?;
            return Ok(Exit::Done);
        }
        Command::Watch(args) => {
            let id = newest(client, ROLLOUTS, &args.name).await?;
            return watch(client, context, &id).await;
        }
        Command::List(args) => {
            let model = args.model.as_ref().map(ToString::to_string);
            let live = args.live.then(|| "true".to_owned());
            let path = asked(ROLLOUTS, &[("model", model), ("live", live)]);
            let page: PageRecord<RolloutRecord> = client.get(&path).await?;
            context.output.answer(&page.items, |it| list(it))?;
            return Ok(Exit::Done);
        }
        Command::Approve(args) => ("approve", args),
        Command::Pause(args) => ("pause", args),
        Command::Resume(args) => ("resume", args),
        Command::Promote(args) => ("promote", args),
        Command::Abort(args) => ("abort", args),
    };
    let id = newest(client, ROLLOUTS, &args.name).await?;
    let path = format!("{}/{deed}", path(&id));
    let told: RolloutDetailRecord = client.send(Method::POST, &path, &args.by.change()).await?;
    context.output.answer(&told, |it| headline(&it.rollout))?;
    Ok(Exit::Done)
}

pub(crate) fn path(id: &str) -> String {
    format!("{ROLLOUTS}/{id}")
}

/// The id of a model's newest rollout, or experiment, in the list at a path; or the id itself.
pub(crate) async fn newest(client: &Client, list: &str, name: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Listed {
        id: String,
    }
    let (model, limit) = (Some(name.to_owned()), Some("1".to_owned()));
    let path = asked(list, &[("model", model), ("limit", limit)]);
    let page: PageRecord<Listed> = client.get(&path).await?;
    let newest = page.items.into_iter().next();
    Ok(newest.map_or_else(|| name.to_owned(), |it| it.id))
}

async fn start(client: &Client, context: &Context, args: &StartArgs) -> anyhow::Result<Exit> {
    let (spec, supersede) = (spec(args)?, args.supersede);
    let told = begin(client, &args.reference, spec, supersede, &args.by).await?;
    if args.watch {
        return watch(client, context, &told.rollout.id).await;
    }
    context.output.answer(&told, show)?;
    note_no_server(client, context.output, "the rollout");
    Ok(Exit::Done)
}

/// Begins a rollout, with this in place of what the manifest says.
pub(crate) async fn begin(
    client: &Client,
    reference: &Reference,
    spec: Option<Value>,
    supersede: bool,
    by: &ByArgs,
) -> anyhow::Result<RolloutDetailRecord> {
    let model = &reference.model;
    let record = RolloutStart {
        version: one_version(client, reference).await?.number(),
        spec,
        who: by.change().who,
        why: by.change().why,
        supersede,
    };
    let path = format!("/api/v1/models/{model}/rollouts");
    client.send(Method::POST, &path, &record).await
}

/// Says when what was begun does not begin yet.
pub(crate) fn note_no_server(client: &Client, output: Output, what: &str) {
    if client.address().is_none() {
        output.note(&format!(
            "no server runs on this data folder; {what} begins when `windlass serve` does"
        ));
    }
}

/// What flags and file say in place of the manifest.
fn spec(args: &StartArgs) -> anyhow::Result<Option<Value>> {
    let mut spec = match &args.spec {
        None => Map::new(),
        Some(path) => {
            let name = path.display().to_string();
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading `{name}`"))?;
            match store::format::parse_section(&text, &name)? {
                Value::Object(map) => map,
                _ => {
                    let message = format!("`{name}` is not a section of settings");
                    let hint = "write what may stand under `rollout:`, such as `steps: [5%, 50%]`";
                    return Err(Failure::refused(message, hint).into());
                }
            }
        }
    };
    let mut set = |name: &str, value: Option<Value>| match (spec.get_mut(name), value) {
        (_, None) => {}
        // A flag says one of a section's settings, and the file may say the others.
        (Some(Value::Object(said)), Some(Value::Object(value))) => said.extend(value),
        (_, Some(value)) => drop(spec.insert(name.to_owned(), value)),
    };
    set("steps", (!args.steps.is_empty()).then(|| json!(args.steps)));
    let shadow = |it: &String| match it.as_str() {
        "off" => json!("off"),
        sample => json!({ "sample": sample }),
    };
    set("shadow", args.shadow.as_ref().map(shadow));
    set("bake", args.bake.as_ref().map(|it| json!(it)));
    set("deadline", args.deadline.as_ref().map(|it| json!(it)));
    set("approval", args.approval.as_ref().map(|it| json!(it)));
    set("alpha", args.alpha.map(|it| json!(it)));
    set("key", args.key.as_ref().map(|it| json!(it)));
    let mut hold = Map::new();
    if let Some(min) = &args.hold {
        hold.insert("min".to_owned(), json!(min));
    }
    if let Some(keys) = args.min_keys {
        hold.insert("min_keys".to_owned(), json!(keys));
    }
    set("hold", (!hold.is_empty()).then_some(Value::Object(hold)));
    Ok((!spec.is_empty()).then_some(Value::Object(spec)))
}

/// Shows it until it is over: the events as they come, on a terminal with what is of now below them.
async fn watch(client: &Client, context: &Context, id: &str) -> anyhow::Result<Exit> {
    let mut told_of = 0;
    let live = Live::new(context.output);
    loop {
        let told: RolloutDetailRecord = client.get(&path(id)).await?;
        let from = told_of;
        for event in told.events.iter().filter(|it| it.number >= from) {
            live.line(event, event_line)?;
            told_of = event.number + 1;
        }
        if told.rollout.over {
            live.end();
            return Ok(match told.rollout.state.as_str() {
                "succeeded" => Exit::Done,
                _ => Exit::Failed,
            });
        }
        live.now(|| now(&told));
        tokio::time::sleep(WATCH).await;
    }
}

fn event_line(event: &RolloutEventRecord) -> String {
    happened(event.at_ms, &event.said)
}

fn headline(rollout: &RolloutRecord) -> String {
    let RolloutRecord {
        model,
        candidate,
        status,
        ..
    } = rollout;
    format!("{model}:{candidate} {status}")
}

/// What is of now.
fn now(told: &RolloutDetailRecord) -> String {
    let mut lines = vec![headline(&told.rollout), shares(&told.rollout.traffic)];
    if !told.missing.is_empty() {
        lines.push(format!("waits for {}", told.missing.join("; ")));
    }
    if !told.tests.is_empty() {
        lines.push(tests(&told.tests));
    }
    lines.join("\n")
}

pub(crate) fn shares(traffic: &[ShareRecord]) -> String {
    let shares = traffic.iter().map(|it| {
        let ShareRecord {
            arm,
            version,
            percent,
        } = it;
        format!("{arm} {percent}% by version {version}")
    });
    shares.collect::<Vec<_>>().join(", ")
}

fn tests(tests: &[TestRecord]) -> String {
    let rows = tests.iter().map(|it| {
        let TestRecord {
            role,
            name,
            verdict,
            said,
            ..
        } = it;
        [role, name, verdict, said].map(Clone::clone).into()
    });
    table(&["ROLE", "TEST", "VERDICT", "SO FAR"], rows)
}

pub(crate) fn show(told: &RolloutDetailRecord) -> String {
    let RolloutRecord {
        id,
        model,
        incumbent,
        started_ms,
        who,
        why,
        ..
    } = &told.rollout;
    let mut lines = vec![
        headline(&told.rollout),
        format!(
            "id {id}, from {model}:{incumbent}, since {}",
            moment(*started_ms)
        ),
        format!(
            "begun by {who}{}",
            match why.is_empty() {
                true => String::new(),
                false => format!(": {why}"),
            }
        ),
    ];
    lines.push(shares(&told.rollout.traffic));
    if !told.missing.is_empty() {
        lines.push(format!("waits for {}", told.missing.join("; ")));
    }
    if !told.tests.is_empty() {
        lines.push(String::new());
        lines.push(tests(&told.tests));
    }
    if !told.events.is_empty() {
        lines.push(String::new());
        lines.extend(told.events.iter().map(event_line));
    }
    lines.join("\n")
}

fn list(rollouts: &[RolloutRecord]) -> String {
    if rollouts.is_empty() {
        return "no rollouts".to_owned();
    }
    let rows = rollouts.iter().map(|it| {
        vec![
            moment(it.started_ms),
            it.model.clone(),
            format!("{} to {}", it.incumbent, it.candidate),
            it.status.clone(),
            it.id.clone(),
        ]
    });
    table(&["STARTED", "MODEL", "VERSIONS", "STATE", "ID"], rows)
}
