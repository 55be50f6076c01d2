//! `windlass deliveries`: what could not be told to a receiver.

use clap::Args;
use http::Method;
use wire::api::alerts::DeliveryRecord;

use crate::client::Client;
use crate::context::Context;
use crate::output::{moment, table};
use crate::range::asked;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  windlass deliveries\n  windlass deliveries --retry 7")]
pub(crate) struct DeliveriesArgs {
    /// Lists what waits to be delivered, in place of what was given up
    #[arg(long)]
    waiting: bool,
    /// Has one that was given up tried again, by a running server
    #[arg(long, value_name = "NUMBER", conflicts_with = "waiting")]
    retry: Option<i64>,
}

/// Runs `windlass deliveries`.
pub(crate) async fn run(context: &Context, args: &DeliveriesArgs) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let done = work(&client, context, args).await;
    client.close().await;
    done
}

async fn work(client: &Client, context: &Context, args: &DeliveriesArgs) -> anyhow::Result<()> {
    if let Some(id) = args.retry {
        let path = format!("/api/v1/deliveries/{id}/retry");
        let nothing = serde_json::json!({});
        client.tell(Method::POST, &path, &nothing).await?;
        let done = serde_json::json!({ "retried": id });
        return context
            .output
            .answer(&done, |_| format!("delivery {id} is tried again"));
    }
    let waiting = args.waiting.then(|| "true".to_owned());
    let path = asked("/api/v1/deliveries", &[("waiting", waiting)]);
    let deliveries: Vec<DeliveryRecord> = client.get(&path).await?;
    context.output.answer(&deliveries, |deliveries| {
        if deliveries.is_empty() {
            return match args.waiting {
                true => "nothing waits to be delivered".to_owned(),
                false => "everything was delivered, or waits".to_owned(),
            };
        }
        let row = |it: &DeliveryRecord| {
            let group = it.group.iter().map(|(k, v)| format!("{k}={v}"));
            vec![
                it.id.to_string(),
                it.receiver.clone(),
                group.collect::<Vec<_>>().join(" "),
                it.alerts.to_string(),
                moment(it.at_ms),
                it.attempts.to_string(),
                it.why.clone(),
            ]
        };
        let headers = [
            "NUMBER", "RECEIVER", "GROUP", "ALERTS", "WRITTEN", "ATTEMPTS", "WHY",
        ];
        table(&headers, deliveries.iter().map(row))
    })
}
