//! Listens to the server, and tries again where it is away.

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use wire::api::overview::OverviewRecord;

use super::{News, OVERVIEW};
use crate::client::{Client, read};

const STREAM: &str = "/api/v1/overview/stream";
/// Without an event for so long the server is taken to be away: it sends one every two seconds.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Tells what is heard until nobody wants to know.
pub(super) async fn listen(client: &Client, tell: mpsc::Sender<News>) {
    loop {
        let Err(error) = hear(client, &tell).await else {
            return;
        };
        if tell.send(News::Away(error.to_string())).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Ends well only when nobody wants to know.
async fn hear(client: &Client, tell: &mpsc::Sender<News>) -> anyhow::Result<()> {
    let mut events = client.listen(STREAM, SILENCE_MAX).await?;
    // What was while nobody listened.
    let all = tokio::time::timeout(SILENCE_MAX, client.get::<OverviewRecord>(OVERVIEW)).await;
    let all = all.context("the server does not answer")??;
    if tell.send(News::All(all)).await.is_err() {
        return Ok(());
    }
    loop {
        let event = events.next().await?;
        if event.name != "overview" {
            continue;
        }
        let record = read(event.data.as_bytes(), STREAM)?;
        if tell.send(News::More(record)).await.is_err() {
            return Ok(());
        }
    }
}
