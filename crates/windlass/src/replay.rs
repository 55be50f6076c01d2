//! `windlass replay`: what another version would have answered to what was asked.

mod state;
mod sum;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use domain::{ModelName, Reference, Version};
use wire::api::ledger::{ReplayRecord, ReplayRequest};

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::models;
use crate::output::{Output, Unit, moment_us};
use crate::range::RangeArgs;
use crate::threshold::Threshold;
use state::{Place, Question, State};
use sum::Report;

#[derive(Debug, Args)]
#[command(
    after_long_help = "Nobody gets the new answers, and none of them is recorded. Rows whose inputs were not
recorded whole are counted and left out.

Thresholds of `--fail-over`:
  changed         rows whose class is another, or whose number is farther away than the tolerance
  failed          rows that the other version refuses or fails on
  accuracy_drop   right answers before less those now, of the rows that have a label

Examples:
  windlass replay credit --against credit:8 --last 7d
  windlass replay credit --against credit@next --by Home,Job --fail-over changed=1%
  windlass replay credit --against credit:8 --from 2026-11-01 --state replay.json"
)]
pub(crate) struct ReplayArgs {
    /// The model whose predictions are asked again
    model: ModelName,
    /// The version that answers: `credit:8`, or an alias `credit@next`
    #[arg(long, value_name = "MODEL:VERSION")]
    against: Reference,
    /// Only what this version answered
    #[arg(long)]
    version: Option<Version>,
    /// Columns whose values the changes are told by
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    by: Vec<String>,
    /// How far a number may be from the recorded one without being another, as a share of it and at least
    /// [default: the server's]
    #[arg(long, value_name = "SHARE")]
    tolerance: Option<f64>,
    /// Ends with status 3 where a figure is higher: `changed=1%`; as often as needed
    #[arg(long, value_name = "FIGURE=VALUE")]
    fail_over: Vec<Threshold>,
    /// How many of the largest changes are shown, at most 20
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = clap::value_parser!(u8).range(..=20))]
    largest: u8,
    /// Rows asked at a time
    #[arg(long, value_name = "ROWS", default_value = "2000")]
    rows: NonZeroU64,
    /// Keeps in this file how far it is, and goes on from there when it is there; removed at the end
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    range: RangeArgs,
}

/// Runs `windlass replay`.
pub(crate) async fn run(context: &Context, args: &ReplayArgs) -> anyhow::Result<()> {
    sum::check(&args.fail_over)?;
    let place = Place(args.state.clone());
    let question = Question {
        model: args.model.to_string(),
        against: args.against.to_string(),
        from: args.range.from(),
        to: args.range.to(),
        version: args.version.map(Version::number),
        by: args.by.clone(),
        tolerance: args.tolerance,
    };
    let kept = place.load(&question)?;
    let client = Client::connect(context).await?;
    let replayed = replay(&client, context.output, args, question, kept, &place).await;
    client.close().await;
    let State {
        against, mut sum, ..
    } = replayed?;
    sum::sort(&mut sum);
    let report = Report {
        model: args.model.to_string(),
        against,
        sum,
    };
    context.output.answer(&report, sum::show)?;
    Ok(sum::judge(&report.sum, &args.fail_over)?)
}

async fn replay(
    client: &Client,
    output: Output,
    args: &ReplayArgs,
    question: Question,
    kept: Option<State>,
    place: &Place,
) -> anyhow::Result<State> {
    let mut state = match kept {
        Some(state) => {
            let done = sum::done(&state.sum);
            output.note(&format!("goes on after {done} rows"));
            state
        }
        None => settle(client, args, question).await?,
    };
    if client.address().is_none() {
        // A server of our own has loaded nothing yet.
        models::ready(client, &state.against.parse()?).await?;
    }
    let path = format!("/api/v1/models/{}/replay", args.model);
    let progress = output.progress("replaying", state.sum.total.unwrap_or(0), Unit::Rows);
    loop {
        let after = state.sum.next.clone();
        let request = ReplayRequest {
            from: state.from.clone(),
            to: Some(state.to.clone()),
            against: state.against.clone(),
            version: args.version.map(Version::number),
            by: args.by.clone(),
            tolerance: args.tolerance,
            after: after.clone(),
            rows: Some(args.rows.get()),
        };
        let body = serde_json::to_vec(&request)?;
        let page: ReplayRecord = client
            .deliver(&path, "application/json", body.into())
            .await?;
        anyhow::ensure!(
            page.next.is_none() || page.next != after,
            "the server gives the same page again and again"
        );
        sum::add(&mut state.sum, page, args.largest.into());
        progress.set_length(state.sum.total.unwrap_or(0));
        progress.set_position(sum::done(&state.sum));
        if state.sum.next.is_none() {
            break;
        }
        place.save(&state)?;
    }
    progress.finish_and_clear();
    place.clear()?;
    Ok(state)
}

/// What the question means now. Every page is asked with the same moments and the same version: what is
/// predicted meanwhile would be a replay without an end, and an alias may move.
async fn settle(client: &Client, args: &ReplayArgs, question: Question) -> anyhow::Result<State> {
    let now_us = now_us();
    let settled = |text: &str| {
        let us = domain::time::read_moment(text, now_us).ok_or_else(|| {
            let message = format!("`{text}` is not a moment");
            Failure::usage(
                message,
                "give `2026-11-24T10:00`, `2026-11-24`, `10:00` or `7d`",
            )
        })?;
        Ok::<_, Failure>(text_of(us))
    };
    let from = question.from.as_deref().map(settled).transpose()?;
    let to = match &question.to {
        Some(to) => settled(to)?,
        None => text_of(now_us),
    };
    let version = models::version_of(client, &args.against).await?;
    let against = format!("{}:{version}", args.against.model);
    Ok(State::new(question, against, from, to))
}

/// To the microsecond, as `domain::time::read_moment` reads it.
fn text_of(us: i64) -> String {
    let text = moment_us(us).replacen(' ', "T", 1);
    format!("{text}.{:06}Z", us.rem_euclid(1_000_000))
}

#[expect(
    clippy::disallowed_methods,
    reason = "what `--last 7d` means is settled once, before the first page"
)]
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for us in [0, 1, -1, 1_795_345_503_000_123] {
            assert_eq!(domain::time::read_moment(&text_of(us), 0), Some(us));
        }
        assert_eq!(text_of(1_500_000), "1970-01-01T00:00:01.500000Z");
    }
}
