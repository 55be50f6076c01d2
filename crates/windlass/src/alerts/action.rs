//! `windlass actions`: what rules did about alerts, and taking it back.

use clap::Args;
use domain::ModelName;
use http::Method;
use wire::api::PageRecord;
use wire::api::alerts::ActionRecord;

use super::ByArgs;
use crate::client::Client;
use crate::context::Context;
use crate::output::{moment, table};
use crate::range::asked;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  windlass actions credit\n  windlass actions --reverse 4 --why \"it was the data\""
)]
pub(crate) struct ActionsArgs {
    /// The model; without it every one
    #[arg(conflicts_with = "reverse")]
    model: Option<ModelName>,
    /// Takes one back: the traffic goes where it was, inputs are as strict and sessions as many as they were
    #[arg(long, value_name = "NUMBER")]
    reverse: Option<i64>,
    #[command(flatten)]
    by: ByArgs,
}

/// Runs `windlass actions`.
pub(crate) async fn run(context: &Context, args: &ActionsArgs) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let done = work(&client, context, args).await;
    client.close().await;
    done
}

async fn work(client: &Client, context: &Context, args: &ActionsArgs) -> anyhow::Result<()> {
    if let Some(id) = args.reverse {
        let path = format!("/api/v1/actions/{id}/reverse");
        let change = args.by.change();
        let action: ActionRecord = client.send(Method::POST, &path, &change).await?;
        return context.output.answer(&action, |it| {
            if !it.inputs.is_empty() {
                return format!(
                    "the inputs of {} are no longer at least {}",
                    it.model,
                    rules(it)
                );
            }
            if let Some(instances) = it.instances {
                return format!("{} no longer has {instances} sessions by it", it.model);
            }
            let from = it.from.map_or_else(String::new, |it| it.to_string());
            format!("{} is answered by {}:{from} again", it.model, it.model)
        });
    }
    let model = args.model.as_ref().map(ToString::to_string);
    let path = asked("/api/v1/actions", &[("model", model)]);
    let page: PageRecord<ActionRecord> = client.get(&path).await?;
    context.output.answer(&page.items, |actions| {
        if actions.is_empty() {
            return "no rule did anything".to_owned();
        }
        let row = |it: &ActionRecord| {
            let way = match (it.from, it.to) {
                (Some(from), Some(to)) => format!("traffic {from} to {to}"),
                _ => match it.instances {
                    Some(instances) => format!("{instances} sessions"),
                    None => rules(it),
                },
            };
            vec![
                it.id.to_string(),
                moment(it.at_ms),
                it.model.clone(),
                it.rule.clone(),
                it.deed.clone(),
                it.outcome.clone(),
                way,
                it.why.clone(),
            ]
        };
        let headers = [
            "NUMBER", "WHEN", "MODEL", "RULE", "ACTION", "OUTCOME", "CHANGE", "WHY",
        ];
        table(&headers, actions.iter().map(row))
    })
}

/// How strict it made the rules about inputs.
fn rules(action: &ActionRecord) -> String {
    let rules = action
        .inputs
        .iter()
        .map(|(rule, it)| format!("{rule} {it}"));
    rules.collect::<Vec<_>>().join(", ")
}
