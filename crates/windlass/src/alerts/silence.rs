//! `windlass silence`: for a while, nobody is told of certain alerts.

use clap::Args;
use domain::alert::Matcher;
use domain::manifest::Span;
use http::Method;
use wire::api::alerts::{ByChange, SilenceChange, SilenceRecord};

use super::ByArgs;
use crate::client::Client;
use crate::context::Context;
use crate::output::{moment, table};
use crate::range::asked;

#[derive(Debug, Args)]
#[command(
    after_help = "What is silenced is not acted on either.\n\nExamples:\n  windlass silence\n  \
    windlass silence model=credit monitor=drift --for 2h --why \"a planned import\"\n  \
    windlass silence 'subject!=age|income' model=credit --for 1d\n  windlass silence --end 3"
)]
pub(crate) struct SilenceArgs {
    /// Which alerts: those that all of these pick; without any, the silences are listed
    #[arg(value_name = "LABEL=VALUE", requires = "length")]
    matchers: Vec<Matcher>,
    /// For how long: `2h`, `1d`
    #[arg(
        long = "for",
        value_name = "SPAN",
        id = "length",
        requires = "matchers"
    )]
    length: Option<Span>,
    #[command(flatten)]
    by: ByArgs,
    /// Ends a silence
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["matchers", "length"])]
    end: Option<i64>,
    /// Lists those that have ended, too
    #[arg(long, conflicts_with_all = ["matchers", "end"])]
    all: bool,
}

/// Runs `windlass silence`.
pub(crate) async fn run(context: &Context, args: &SilenceArgs) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let done = work(&client, context, args).await;
    client.close().await;
    done
}

async fn work(client: &Client, context: &Context, args: &SilenceArgs) -> anyhow::Result<()> {
    if let Some(id) = args.end {
        client.delete(&format!("/api/v1/silences/{id}")).await?;
        let done = serde_json::json!({ "ended": id });
        return context
            .output
            .answer(&done, |_| format!("silence {id} has ended"));
    }
    if let Some(length) = &args.length {
        let ByChange { who, why } = args.by.change();
        let change = SilenceChange {
            matchers: args.matchers.iter().map(ToString::to_string).collect(),
            length: length.to_string(),
            who,
            why,
        };
        let path = "/api/v1/silences";
        let silence: SilenceRecord = client.send(Method::POST, path, &change).await?;
        return context.output.answer(&silence, |it| {
            format!("silence {} until {}", it.id, moment(it.until_ms))
        });
    }
    let all = args.all.then(|| "true".to_owned());
    let path = asked("/api/v1/silences", &[("all", all)]);
    let silences: Vec<SilenceRecord> = client.get(&path).await?;
    context.output.answer(&silences, |silences| {
        if silences.is_empty() {
            return "no silences".to_owned();
        }
        let row = |it: &SilenceRecord| {
            vec![
                it.id.to_string(),
                it.matchers.join(" "),
                moment(it.from_ms),
                moment(it.until_ms),
                it.who.clone(),
                it.why.clone(),
            ]
        };
        let headers = ["NUMBER", "ALERTS", "FROM", "UNTIL", "WHO", "WHY"];
        table(&headers, silences.iter().map(row))
    })
}
