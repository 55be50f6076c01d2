//! `windlass why`: where a model is worst, and what changed around a moment.

use std::collections::BTreeMap;

use clap::Args;
use domain::manifest::Span;
use domain::{ModelName, Version};
use wire::api::why::{MomentRecord, SliceRecord, WorstRecord};

use crate::client::Client;
use crate::context::Context;
use crate::output::{count, interval, moment_us, number, table};
use crate::range::{RangeArgs, asked};

#[derive(Debug, Args)]
#[command(
    after_long_help = "Slices are rows for which one condition holds, or two or three at once: a value of a column, or a
quarter of its numbers, as `windlass quality --by` tells them. Rows that have a label are taken. One half of them,
chosen by the predictions' ids, searches for the slices with the greatest loss; the other confirms, so that what looked
bad by chance is not reported. The rows of a slice are taken out before the next is searched.

With `--at` it is another question: what changed around a moment. The window before the moment and the one behind it
are compared with the hours before both: versions, traffic, inputs, errors, latency, cost, quality, alerts. What surely
changed is listed, the likeliest cause first; what could not be judged is said.

Examples:
  windlass why credit
  windlass why credit --last 30d --depth 1
  windlass why credit --version 3 --support 200 --all
  windlass why credit --at 14:05
  windlass why credit --at 2026-11-24T14:05:00Z --window 15m --before 2h"
)]
pub(crate) struct WhyArgs {
    /// The model
    model: ModelName,
    /// The version [default: the one with the traffic]
    #[arg(long)]
    version: Option<Version>,
    /// The fewest rows of a slice in each half [default: a hundredth of them, and 30 at least]
    #[arg(long, value_name = "ROWS")]
    support: Option<u64>,
    /// The most conditions of a slice, from 1 to 3 [default: 3]
    #[arg(long)]
    depth: Option<u64>,
    /// The probability that anything is reported where nothing is worse [default: 0.05]
    #[arg(long)]
    alpha: Option<f64>,
    /// The level of the intervals [default: 0.95]
    #[arg(long)]
    level: Option<f64>,
    /// Shows every slice that was tested and not only those that are confirmed
    #[arg(long)]
    all: bool,
    /// What changed around this moment, in UTC: `14:05` for today, `2026-11-24T14:05:00Z`, or how long ago it was, `10m`
    #[arg(long, value_name = "MOMENT", value_parser = crate::range::moment,
        conflicts_with_all = ["version", "support", "depth", "alpha", "level", "all", "last", "from", "to"])]
    at: Option<String>,
    /// How long before and behind the moment is looked at [default: 1h]
    #[arg(long, value_name = "SPAN", requires = "at")]
    window: Option<Span>,
    /// How long before that it is compared with [default: 6h]
    #[arg(long, value_name = "SPAN", requires = "at")]
    before: Option<Span>,
    #[command(flatten)]
    range: RangeArgs,
}

/// Runs `windlass why`.
pub(crate) async fn run(context: &Context, args: &WhyArgs) -> anyhow::Result<()> {
    if let Some(at) = &args.at {
        return around(context, args, at).await;
    }
    let path = asked(
        &format!("/api/v1/models/{}/why", args.model),
        &[
            ("version", args.version.map(|it| it.to_string())),
            ("from", args.range.from()),
            ("to", args.range.to()),
            ("support", args.support.map(|it| it.to_string())),
            ("depth", args.depth.map(|it| it.to_string())),
            ("alpha", args.alpha.map(|it| it.to_string())),
            ("level", args.level.map(|it| it.to_string())),
        ],
    );
    let client = Client::connect(context).await?;
    let worst = client.get::<WorstRecord>(&path).await;
    client.close().await;
    context.output.answer(&worst?, |it| show(it, args.all))
}

async fn around(context: &Context, args: &WhyArgs, at: &str) -> anyhow::Result<()> {
    let path = asked(
        &format!("/api/v1/models/{}/why/moment", args.model),
        &[
            ("at", Some(at.to_owned())),
            ("window", args.window.map(|it| it.to_string())),
            ("before", args.before.map(|it| it.to_string())),
        ],
    );
    let client = Client::connect(context).await?;
    let moment = client.get::<MomentRecord>(&path).await;
    client.close().await;
    context.output.answer(&moment?, show_moment)
}

fn show_moment(moment: &MomentRecord) -> String {
    let MomentRecord {
        model,
        at_us,
        from_us,
        to_us,
        before_from_us,
        causes,
        unchanged,
        unjudged,
    } = moment;
    let mut parts = vec![format!(
        "{model} around {}: {} to {}, beside {} to {}",
        moment_us(*at_us),
        moment_us(*from_us),
        moment_us(*to_us),
        moment_us(*before_from_us),
        moment_us(*from_us)
    )];
    if causes.is_empty() {
        parts.push("nothing changed for certain that would explain it".to_owned());
    } else {
        let rows = causes.iter().zip(1..).map(|(it, place)| {
            vec![
                place.to_string(),
                moment_us(it.at_us),
                it.role.clone(),
                it.kind.clone(),
                it.summary.clone(),
            ]
        });
        parts.push(table(&["", "SINCE", "ROLE", "WHAT", "EVIDENCE"], rows));
    }
    let mut notes = Vec::new();
    if !unchanged.is_empty() {
        notes.push(format!("not changed for certain: {}", unchanged.join(", ")));
    }
    let lines = unjudged.iter();
    notes.extend(lines.map(|it| format!("not judged: {}: {}", it.name, it.why)));
    if !notes.is_empty() {
        parts.push(notes.join("\n"));
    }
    parts.join("\n\n")
}

fn show(worst: &WorstRecord, all: bool) -> String {
    let WorstRecord {
        model,
        version,
        from_us: _,
        to_us: _,
        loss,
        labelled,
        rows,
        support,
        depth: _,
        alpha,
        level: _,
        verdict,
        searched: _,
        held_out,
        slices,
        considered,
        complete,
        features,
        left_out,
    } = worst;
    let name = format!("{model}:{version}");
    let Some(loss) = loss else {
        return format!("no predictions of {name} in that time");
    };
    if *labelled == 0 {
        return format!(
            "no predictions of {name} have a label, by which one could tell where it is worst"
        );
    }
    let sample = match rows == labelled {
        true => String::new(),
        false => format!(", a sample of {}", count(*labelled, "labelled row")),
    };
    let mut parts = vec![format!(
        "{name}  {verdict}\n{}{sample}; loss: {} {}",
        count(*rows, "row"),
        loss.replace('_', " "),
        interval(&held_out.loss)
    )];
    let shown: Vec<&SliceRecord> = slices.iter().filter(|it| all || it.confirmed).collect();
    if !shown.is_empty() {
        let head = [
            "SLICE",
            "ROWS",
            "LOSS",
            "OTHERS",
            "DIFFERENCE",
            "P",
            "CONFIRMED",
        ];
        let wide = if all { head.len() } else { head.len() - 1 };
        let rows = shown.iter().map(|it| {
            let mut line = line(it);
            line.truncate(wide);
            line
        });
        parts.push(table(&head[..wide], rows));
    }
    let confirmed = slices.iter().filter(|it| it.confirmed).count();
    let mut notes = vec![format!(
        "{} of {} looked at in one half looked worst, {confirmed} of them in the other half too",
        slices.len(),
        count(*considered, "slice")
    )];
    if verdict == "not enough data" {
        notes.push(format!(
            "there are too few labelled rows: a slice has at least {support} in each half, and so have the others"
        ));
    }
    if !complete {
        notes.push(
            "not every slice of three conditions was looked at: there were too many".to_owned(),
        );
    }
    notes.push(format!(
        "{} searched; where nothing is worse, something is reported in {} of 100 such questions at most",
        count(features.len() as u64, "column"),
        number(alpha * 100.0)
    ));
    notes.extend(
        left_out
            .iter()
            .map(|it| format!("`{}` was not searched: {}", it.name, it.why)),
    );
    parts.push(notes.join("\n"));
    parts.join("\n\n")
}

fn line(slice: &SliceRecord) -> Vec<String> {
    vec![
        conditions(&slice.by),
        slice.held_out.rows.to_string(),
        interval(&slice.held_out.loss),
        number(slice.others.loss.value),
        interval(&slice.difference),
        number(slice.adjusted_p),
        if slice.confirmed { "yes" } else { "no" }.to_owned(),
    ]
}

pub(crate) fn conditions(by: &BTreeMap<String, String>) -> String {
    let pairs = by.iter().map(|(column, value)| format!("{column}={value}"));
    pairs.collect::<Vec<_>>().join(", ")
}
