//! `windlass shadow`: how a candidate's unheard answers differ from those that callers get.

use clap::Args;
use domain::{Reference, Selector};
use serde_json::json;
use wire::api::PageRecord;
use wire::api::ledger::MetricRecord;
use wire::api::rollouts::RolloutRecord;
use wire::api::shadow::{ShadowChangeRecord, ShadowLossRecord, ShadowMovedRecord, ShadowRecord};
use wire::api::why::SliceRecord;

use crate::alerts::ByArgs;
use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{count, interval, moment, number, share, signed, table};
use crate::range::asked;
use crate::rollout;
use crate::why::conditions;

#[derive(Debug, Args)]
#[command(
    after_long_help = "With `--sample` it begins a rollout that stays in the shadow until somebody approves: the candidate
answers a share of the requests again, after their callers were answered, and nobody hears it. Without
it the answers of the two are compared. docs/rollouts.md says how to read that.

Examples:
  windlass shadow credit:4 --sample 20%
  windlass shadow credit
  windlass rollout approve credit"
)]
pub(crate) struct ShadowArgs {
    /// The model, for its newest rollout that has a shadow; a candidate, `credit:4`; or a rollout's id
    name: String,
    /// Begins one: the share of the requests that the candidate answers unheard, `20%`
    #[arg(long, value_name = "SHARE")]
    sample: Option<String>,
    /// When it is given up if nobody approves
    #[arg(long, value_name = "SPAN", default_value = "30d", requires = "sample")]
    deadline: String,
    /// Ends a rollout of the model that is not over
    #[arg(long, requires = "sample")]
    supersede: bool,
    #[command(flatten)]
    by: ByArgs,
}

/// Runs `windlass shadow`.
pub(crate) async fn run(context: &Context, args: &ShadowArgs) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let done = work(&client, context, args).await;
    client.close().await;
    done
}

async fn work(client: &Client, context: &Context, args: &ShadowArgs) -> anyhow::Result<()> {
    if let Some(sample) = &args.sample {
        return start(client, context, args, sample).await;
    }
    let id = find(client, &args.name).await?;
    let told: ShadowRecord = client.get(&path(&id)).await?;
    context.output.answer(&told, show)
}

fn path(id: &str) -> String {
    format!("{}/shadow", rollout::path(id))
}

/// The id of the newest rollout with a shadow that the name means; else the name itself.
async fn find(client: &Client, name: &str) -> anyhow::Result<String> {
    let Ok(reference) = name.parse::<Reference>() else {
        return Ok(name.to_owned());
    };
    let candidate = match &reference.selector {
        Selector::Traffic => None,
        Selector::Version(_) | Selector::Alias(_) => {
            Some(crate::models::version_of(client, &reference).await?)
        }
    };
    let model = Some(reference.model.to_string());
    let path = asked(rollout::ROLLOUTS, &[("model", model)]);
    let page: PageRecord<RolloutRecord> = client.get(&path).await?;
    if page.items.is_empty() && candidate.is_none() {
        return Ok(name.to_owned());
    }
    let mut rollouts = page.items.into_iter();
    let found = rollouts.find(|it| {
        it.shadow_percent.is_some() && candidate.is_none_or(|candidate| candidate == it.candidate)
    });
    let found = found.map(|it| it.id);
    found.ok_or_else(|| {
        let message = format!("no rollout of `{name}` has a shadow");
        let hint = format!(
            "`windlass shadow {}:VERSION --sample 20%` begins one",
            reference.model
        );
        Failure::refused(message, hint).into()
    })
}

async fn start(
    client: &Client,
    context: &Context,
    args: &ShadowArgs,
    sample: &str,
) -> anyhow::Result<()> {
    let reference: Reference = args.name.parse()?;
    let spec = json!({
        "shadow": { "sample": sample },
        "approval": "each-step",
        "deadline": args.deadline,
        "on_timeout": "rollback",
    });
    let told = rollout::begin(client, &reference, Some(spec), args.supersede, &args.by).await?;
    context.output.answer(&told, |told| {
        let RolloutRecord {
            model, until_ms, ..
        } = &told.rollout;
        format!(
            "{}\n\n`windlass shadow {model}` shows how its answers differ.\n\
             `windlass rollout approve {model}` lets it go on to its steps once nothing else is waited for,\n\
             `windlass rollout abort {model}` ends it; without either it ends on {}.",
            rollout::show(told),
            moment(*until_ms)
        )
    })?;
    rollout::note_no_server(client, context.output, "the rollout");
    Ok(())
}

/// A line about a rollout that is in the shadow.
pub(crate) async fn line(client: &Client, rollout: &RolloutRecord) -> Option<String> {
    if rollout.state != "shadow" {
        return None;
    }
    let told: Result<ShadowRecord, _> = client.get(&path(&rollout.id)).await;
    let said = match &told {
        Ok(told) => changed(told),
        Err(error) => error.to_string(),
    };
    let model = &rollout.model;
    Some(format!(
        "shadow: {said}; `windlass shadow {model}` has the whole"
    ))
}

fn changed(told: &ShadowRecord) -> String {
    let ShadowRecord {
        pairs,
        changed,
        share: of_units,
        ..
    } = told;
    let Some(of_units) = of_units else {
        return "no answers to compare yet".to_owned();
    };
    let (pairs, of_units) = (count(*pairs, "answer"), shares(of_units));
    format!("{changed} of {pairs} changed: {of_units}")
}

/// A part of a whole and its interval: `12.3% [10.1%, 14.8%]`.
fn shares(it: &MetricRecord) -> String {
    let ends = it.low.zip(it.high);
    let ends = ends.map(|(low, high)| format!(" [{}, {}]", share(low), share(high)));
    format!("{}{}", share(it.value), ends.unwrap_or_default())
}

fn show(told: &ShadowRecord) -> String {
    let ShadowRecord {
        rollout: _,
        model,
        incumbent,
        candidate,
        percent,
        from_ms,
        to_ms,
        alpha,
        requests,
        rows,
        looked_at,
        failed,
        pairs: _,
        changed: _,
        unanswered,
        units,
        share: _,
        difference,
        largest,
        moved,
        latency,
        cost_per_1k,
        losses,
    } = told;
    let until = to_ms.map(|it| format!(" to {}", moment(it)));
    let mut lines = vec![
        format!(
            "{model}:{candidate} in the shadow of {model}:{incumbent}, {percent}% of the requests, {}{}",
            moment(*from_ms),
            until.unwrap_or_else(|| " until now".to_owned())
        ),
        format!(
            "asked       {}, {}",
            count(*requests, "request"),
            count(*rows, "row")
        ),
    ];
    if looked_at < rows {
        lines.push(format!(
            "looked at   {looked_at} of the {}, a sample",
            count(*rows, "row")
        ));
    }
    if !failed.is_empty() {
        let all: u64 = failed.values().sum();
        let codes = failed.iter().map(|(code, times)| format!("{code} {times}"));
        let codes = codes.collect::<Vec<_>>().join(", ");
        lines.push(format!("failed      {}: {codes}", count(all, "request")));
    }
    let failing = match unanswered {
        0 => String::new(),
        some => format!("; {some} of them it failed"),
    };
    lines.push(format!("changed     {}{failing}", changed(told)));
    if let Some(difference) = difference {
        let why = match difference.mean.low {
            Some(_) => "",
            None => "; without an interval, as these numbers have no known bounds",
        };
        lines.push(format!(
            "{:<11} {} on average{why}",
            difference.of,
            difference_of(&difference.mean)
        ));
    }
    if let Some([one, other]) = latency {
        lines.push(format!(
            "latency     p50 {} ms and {} ms, p99 {} ms and {} ms, for the same requests",
            number(one.p50_ms),
            number(other.p50_ms),
            number(one.p99_ms),
            number(other.p99_ms)
        ));
    }
    if let Some([one, other]) = cost_per_1k {
        let (one, other) = (number(*one), number(*other));
        lines.push(format!("cost        {one} and {other} for 1,000 rows"));
    }
    let heads = std::iter::once("losses").chain(std::iter::repeat(""));
    let of_losses = heads.zip(losses);
    lines.extend(of_losses.map(|(head, loss)| format!("{head:<11} {}", loss_line(loss))));
    if *units > 0 {
        lines.push(format!(
            "intervals   of {} and requests without one, at {}",
            count(*units, "key"),
            share(1.0 - alpha)
        ));
    }
    let mut parts = vec![lines.join("\n")];
    if !largest.is_empty() {
        parts.push(changes(largest));
    }
    if *units > 0 {
        parts.push(slices(moved));
    }
    parts.join("\n\n")
}

fn difference_of(mean: &MetricRecord) -> String {
    let sign = if mean.value > 0.0 { "+" } else { "" };
    format!("{sign}{}", interval(mean))
}

fn loss_line(loss: &ShadowLossRecord) -> String {
    let ShadowLossRecord {
        loss,
        units,
        incumbent,
        candidate,
        difference,
    } = loss;
    format!(
        "{} {} and {}, {}, by {}",
        loss.replace('_', " "),
        number(*incumbent),
        number(*candidate),
        difference_of(difference),
        count(*units, "label")
    )
}

fn changes(changes: &[ShadowChangeRecord]) -> String {
    let rows = changes.iter().map(|it| {
        vec![
            it.prediction_id.clone(),
            it.key.clone().unwrap_or_default(),
            it.incumbent.clone(),
            it.candidate.clone(),
            it.difference.map(signed).unwrap_or_default(),
        ]
    });
    table(
        &[
            "LARGEST CHANGES",
            "KEY",
            "INCUMBENT",
            "CANDIDATE",
            "DIFFERENCE",
        ],
        rows,
    )
}

fn slices(moved: &ShadowMovedRecord) -> String {
    let ShadowMovedRecord {
        by,
        verdict,
        units: _,
        support,
        held_out: _,
        slices,
        considered,
        features,
        left_out: _,
    } = moved;
    let confirmed: Vec<&SliceRecord> = slices.iter().filter(|it| it.confirmed).collect();
    let searched = format!(
        "{} of {} looked at",
        count(*considered, "slice"),
        count(features.len() as u64, "column")
    );
    if confirmed.is_empty() {
        return match verdict.as_str() {
            "not enough data" => format!(
                "no slices: there are too few answers, as a slice has at least {support} in each half"
            ),
            _ => format!("no slice moved more than the others: {searched}"),
        };
    }
    let of_shares = by == "changed";
    let of = |it: f64| if of_shares { share(it) } else { number(it) };
    let with_ends = |it: &MetricRecord| if of_shares { shares(it) } else { interval(it) };
    let rows = confirmed.iter().map(|it| {
        vec![
            conditions(&it.by),
            it.held_out.rows.to_string(),
            of(it.held_out.loss.value),
            of(it.others.loss.value),
            with_ends(&it.difference),
            number(it.adjusted_p),
        ]
    });
    let moved = if of_shares { "CHANGED" } else { "MOVED BY" };
    let head = [
        "SLICES THAT MOVED",
        "UNITS",
        moved,
        "OTHERS",
        "DIFFERENCE",
        "P",
    ];
    format!("{}\n{searched}", table(&head, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_told_in_lines_and_tables() {
        let told = json!({
            "rollout": "r", "model": "credit", "incumbent": 1, "candidate": 2, "percent": 20.0,
            "from_ms": 0, "alpha": 0.05, "requests": 200, "rows": 210, "looked_at": 105,
            "failed": {"model_failed": 3}, "pairs": 100, "changed": 12, "unanswered": 2, "units": 90,
            "share": {"value": 0.12, "low": 0.06, "high": 0.21},
            "difference": {"of": "score", "units": 88, "mean": {"value": 0.01, "low": -0.02, "high": 0.04}},
            "largest": [{"prediction_id": "p.0", "key": "ann", "incumbent": "good 0.400000",
                "candidate": "bad 0.700000", "changed": true, "difference": 0.3}],
            "moved": {"by": "changed", "verdict": "found", "units": 90, "support": 30,
                "held_out": {"rows": 45, "loss": {"value": 0.12}},
                "slices": [{"by": {"Home": "rent"}, "confirmed": true,
                    "searched": {"rows": 30, "loss": {"value": 0.4}},
                    "held_out": {"rows": 31, "loss": {"value": 0.387}},
                    "others": {"rows": 60, "loss": {"value": 0.0}},
                    "difference": {"value": 0.387, "low": 0.2, "high": 0.5}, "p": 0.001, "adjusted_p": 0.002}],
                "considered": 9, "features": ["Home", "Age"]},
            "latency": [{"p50_ms": 2.0, "p99_ms": 8.0}, {"p50_ms": 3.0, "p99_ms": 9.5}],
            "cost_per_1k": [0.5, 0.25],
            "losses": [{"loss": "squared_error", "units": 40, "incumbent": 0.2, "candidate": 0.18,
                "difference": {"value": -0.02, "low": -0.1, "high": 0.06}}],
        });
        let told: ShadowRecord = serde_json::from_value(told).expect("a record");
        let want = "\
credit:2 in the shadow of credit:1, 20% of the requests, 1970-01-01 00:00 until now
asked       200 requests, 210 rows
looked at   105 of the 210 rows, a sample
failed      3 requests: model_failed 3
changed     12 of 100 answers changed: 12.0% [6.00%, 21.0%]; 2 of them it failed
score       +0.0100 [-0.0200, 0.0400] on average
latency     p50 2.00 ms and 3.00 ms, p99 8.00 ms and 9.50 ms, for the same requests
cost        0.500 and 0.250 for 1,000 rows
losses      squared error 0.200 and 0.180, -0.0200 [-0.100, 0.0600], by 40 labels
intervals   of 90 keys and requests without one, at 95.0%

LARGEST CHANGES  KEY  INCUMBENT      CANDIDATE     DIFFERENCE
p.0              ann  good 0.400000  bad 0.700000  +0.300

SLICES THAT MOVED  UNITS  CHANGED  OTHERS  DIFFERENCE            P
Home=rent          31     38.7%    0%      38.7% [20.0%, 50.0%]  0.00200
9 slices of 2 columns looked at";
        assert_eq!(show(&told), want);
    }
}
