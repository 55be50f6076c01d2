//! `windlass findings`: what the monitors of a model found, look by look.

use clap::Args;
use domain::ModelName;
use domain::alert::Fact;
use wire::api::PageRecord;
use wire::api::overview::{FindingRecord, LookRecord};

use crate::client::Client;
use crate::context::Context;
use crate::output::{moment, number, table};
use crate::range::{RangeArgs, asked};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  windlass findings credit --monitor drift --last 1h\n  \
    windlass findings credit --monitor drift --subject Income --last 7d\n  \
    windlass findings credit --bad"
)]
pub(crate) struct FindingsArgs {
    /// The model
    model: ModelName,
    /// Only those of this monitor: `drift`, `quality`, `estimated_quality`, …
    #[arg(long)]
    monitor: Option<String>,
    /// Only those about this: a column, a metric
    #[arg(long)]
    subject: Option<String>,
    /// Only those that are not as they should be
    #[arg(long)]
    bad: bool,
    /// Looks at most
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    range: RangeArgs,
}

/// Runs `windlass findings`.
pub(crate) async fn run(context: &Context, args: &FindingsArgs) -> anyhow::Result<()> {
    let path = asked(
        &format!("/api/v1/models/{}/findings", args.model),
        &[
            ("monitor", args.monitor.clone()),
            ("subject", args.subject.clone()),
            ("from", args.range.from()),
            ("to", args.range.to()),
            ("limit", Some(args.limit.to_string())),
        ],
    );
    let client = Client::connect(context).await?;
    let looks = client.get::<PageRecord<LookRecord>>(&path).await;
    client.close().await;
    context
        .output
        .answer(&looks?, |it| show(&it.items, args.bad))
}

fn show(looks: &[LookRecord], bad: bool) -> String {
    let found = looks.iter().flat_map(|look| {
        let wanted = look
            .findings
            .iter()
            .filter(move |it| !bad || it.verdict == "bad");
        wanted.map(move |it| line(look, it))
    });
    let rows: Vec<Vec<String>> = found.collect();
    if rows.is_empty() {
        return "the monitors found nothing of that".to_owned();
    }
    let head = [
        "TIME", "VERSION", "MONITOR", "ABOUT", "VERDICT", "VALUE", "FROM", "TO", "BOUND",
    ];
    table(&head, rows)
}

fn line(look: &LookRecord, finding: &FindingRecord) -> Vec<String> {
    let first = |names: &[&str]| {
        let mut facts = names.iter().filter_map(|it| finding.evidence.get(*it));
        match facts.next() {
            Some(Fact::Number(value)) => number(*value),
            Some(Fact::Text(text)) => text.clone(),
            None => "-".to_owned(),
        }
    };
    let about = match &finding.segment {
        Some(segment) => format!("{} where {segment}", finding.subject),
        None => finding.subject.clone(),
    };
    vec![
        moment(look.at_ms),
        look.version.to_string(),
        finding.monitor.clone(),
        about,
        finding.verdict.clone(),
        first(&["effect", "value"]),
        first(&["low"]),
        first(&["high"]),
        first(&["margin", "under", "over"]),
    ]
}
