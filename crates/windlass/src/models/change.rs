//! The verbs that change something: alias, traffic, load, unload, remove.

use anyhow::Context as _;
use clap::Args;
use domain::{Alias, ModelName, Reference, Selector, Version};
use http::Method;
use serde::Serialize;
use wire::api::{AliasChange, ModelDetailRecord, TrafficChange, TrafficRecord};

use super::{ask_to_load, model_path, number};
use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::push::Pushed;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  windlass alias credit:3 champion --why \"won the trial\"\n  \
    windlass alias credit@champion --remove"
)]
pub(crate) struct AliasArgs {
    /// The version `credit:3` that gets the name; with `--remove`, the alias `credit@champion`
    model: Reference,
    /// The name; one that another version has moves over
    #[arg(
        value_name = "ALIAS",
        required_unless_present = "remove",
        conflicts_with = "remove"
    )]
    alias: Option<Alias>,
    /// Removes the alias; the version stays
    #[arg(long)]
    remove: bool,
    /// What for; kept in the history
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  windlass traffic credit:3")]
pub(crate) struct TrafficArgs {
    /// The version `credit:3`, or the alias `credit@champion`, that shall answer the model's name
    model: Reference,
    /// What for; kept in the history
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  windlass load credit\n  windlass load credit:2")]
pub(crate) struct LoadArgs {
    /// The model, or a version of it beside the one that has the traffic
    model: Reference,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  windlass unload credit")]
pub(crate) struct UnloadArgs {
    /// The model
    model: ModelName,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A version that has the traffic or an alias is not removed; a model is, with \
    all it has.\n\nExamples:\n  windlass remove credit:2\n  windlass remove credit"
)]
pub(crate) struct RemoveArgs {
    /// The version, or the model with all its versions
    model: Reference,
}

/// Runs `windlass alias`.
pub(crate) async fn alias(context: &Context, args: &AliasArgs) -> anyhow::Result<()> {
    let AliasArgs {
        model: reference,
        alias,
        remove: _,
        why,
    } = args;
    let path = |alias: &Alias| format!("{}/aliases/{alias}", model_path(&reference.model));
    change(context, &reference.model, async |client| {
        match (alias, &reference.selector) {
            (Some(alias), _) => {
                let version = one_version(client, reference).await?;
                let change = AliasChange {
                    version: version.number(),
                    why: why.clone(),
                };
                client.tell(Method::PUT, &path(alias), &change).await?;
                Ok(format!(
                    "{}@{alias} is {}:{version}",
                    reference.model, reference.model
                ))
            }
            (None, Selector::Alias(alias)) => {
                client.delete(&path(alias)).await?;
                Ok(format!("{reference} removed"))
            }
            (None, _) => {
                let message = format!("`{reference}` is no alias");
                let hint = "say which alias to remove, such as `credit@champion`";
                Err(Failure::usage(message, hint).into())
            }
        }
    })
    .await
}

/// Runs `windlass traffic`.
pub(crate) async fn traffic(context: &Context, args: &TrafficArgs) -> anyhow::Result<()> {
    let TrafficArgs {
        model: reference,
        why,
    } = args;
    change(context, &reference.model, async |client| {
        let version = one_version(client, reference).await?;
        route(client, &reference.model, version, why).await?;
        Ok(format!(
            "{} is answered by {}:{version}",
            reference.model, reference.model
        ))
    })
    .await
}

/// Sends a model's traffic to a version.
pub(crate) async fn route(
    client: &Client,
    model: &ModelName,
    version: Version,
    why: &str,
) -> anyhow::Result<()> {
    let change = TrafficChange {
        version: version.number(),
        why: why.to_owned(),
    };
    client
        .tell(
            Method::PUT,
            &format!("{}/traffic", model_path(model)),
            &change,
        )
        .await
}

/// Gives the traffic to a version that is served by its path. One that was there before and has it no longer lost it to
/// somebody who moved it, and while a rollout or an experiment shares it, it is theirs: then it stays so, and that is told.
/// A server that begins again with the same command line undoes nothing.
pub(crate) async fn route_served(
    client: &Client,
    output: Output,
    pushed: &Pushed,
) -> anyhow::Result<()> {
    let Pushed {
        model,
        version,
        new,
        ..
    } = pushed;
    let path = format!("{}/traffic", model_path(model));
    let traffic: TrafficRecord = client.get(&path).await?;
    let keeps = |why: &str| {
        output.note(&format!(
            "{model}:{version} does not get the traffic: {why}; `windlass traffic {model}:{version}` moves it"
        ));
    };
    match traffic.version {
        Some(has) if has == version.number() => Ok(()),
        Some(has) if !new => {
            keeps(&format!("{model}:{has} was given it since"));
            Ok(())
        }
        Some(_) | None => match route(client, model, *version, "served").await {
            Err(error) if Failure::of(&error).code == "conflict" => {
                keeps(&Failure::of(&error).message);
                Ok(())
            }
            routed => routed,
        },
    }
}

/// Runs `windlass load`.
pub(crate) async fn load(context: &Context, args: &LoadArgs) -> anyhow::Result<()> {
    let reference = &args.model;
    change(context, &reference.model, async |client| {
        needs_running(client)?;
        let version = match &reference.selector {
            Selector::Traffic => None,
            Selector::Version(_) | Selector::Alias(_) => {
                Some(one_version(client, reference).await?)
            }
        };
        ask_to_load(client, &reference.model, version).await?;
        Ok(format!("{reference} is ready"))
    })
    .await
}

/// Runs `windlass unload`.
pub(crate) async fn unload(context: &Context, args: &UnloadArgs) -> anyhow::Result<()> {
    let model = &args.model;
    change(context, model, async |client| {
        needs_running(client)?;
        let path = format!("{}/unload", model_path(model));
        client
            .tell(Method::POST, &path, &serde_json::json!({}))
            .await?;
        Ok(format!("{model} is unloaded"))
    })
    .await
}

/// What is loaded ends with its process, so only a running server can be told.
fn needs_running(client: &Client) -> Result<(), Failure> {
    if client.address().is_some() {
        return Ok(());
    }
    let message = "no server runs on this data folder";
    Err(Failure::not_now(
        message,
        "start one with `windlass serve`, or name one with `--server`",
    ))
}

/// Runs `windlass remove`.
pub(crate) async fn remove(context: &Context, args: &RemoveArgs) -> anyhow::Result<()> {
    let reference = &args.model;
    let model = model_path(&reference.model);
    change(context, &reference.model, async |client| {
        match &reference.selector {
            Selector::Traffic => client.delete(&model).await?,
            Selector::Version(version) => {
                client
                    .delete(&format!("{model}/versions/{version}"))
                    .await?;
            }
            Selector::Alias(_) => {
                let message = format!("`{reference}` is an alias");
                let hint = format!("`windlass alias {reference} --remove` removes it");
                return Err(Failure::usage(message, hint).into());
            }
        }
        Ok(format!("{reference} removed"))
    })
    .await
}

/// What was done, for programs; people get the sentence.
#[derive(Serialize)]
struct Done {
    model: String,
    done: String,
}

/// Connects, does it, closes, and says the sentence that came of it.
async fn change(
    context: &Context,
    model: &ModelName,
    work: impl AsyncFnOnce(&Client) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let done = work(&client).await;
    client.close().await;
    let done = Done {
        model: model.to_string(),
        done: done?,
    };
    context.output.answer(&done, |it| it.done.clone())
}

/// The version that must be named where one is changed.
pub(crate) async fn one_version(client: &Client, reference: &Reference) -> anyhow::Result<Version> {
    let number = match &reference.selector {
        Selector::Version(version) => version.number(),
        Selector::Traffic => {
            let message = format!("`{reference}` names no version");
            let hint =
                format!("say which: `{reference}:1`; `windlass show {reference}` lists them");
            return Err(Failure::usage(message, hint).into());
        }
        selector @ Selector::Alias(_) => {
            let detail: ModelDetailRecord = client.get(&model_path(&reference.model)).await?;
            number(&detail, reference, selector)?
        }
    };
    Version::new(number).context("the server named a version 0")
}
