//! Looking at alerts and doing something about them: alerts, alert, ack, feedback. Silences, deliveries and
//! actions are in files of their own.

pub(crate) mod action;
pub(crate) mod delivery;
pub(crate) mod silence;

use clap::{Args, ValueEnum};
use domain::ModelName;
use domain::alert::prometheus::Rules;
use domain::alert::{Evidence, Fingerprint, Severity};
use http::Method;
use wire::api::PageRecord;
use wire::api::alerts::{AlertDetailRecord, AlertRecord, ByChange, FeedbackChange, FeedbackRecord};

use crate::client::Client;
use crate::context::Context;
use crate::output::{moment, table};
use crate::range::asked;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  windlass alerts\n  windlass alerts credit --all\n  \
    windlass alerts --severity page --json"
)]
pub(crate) struct AlertsArgs {
    /// The model; without it every one
    model: Option<ModelName>,
    /// Those of one severity: page, ticket, info
    #[arg(long)]
    severity: Option<Severity>,
    /// Those that are over, too
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  windlass alert 3f9a41c07be2d815")]
pub(crate) struct AlertArgs {
    /// The alert's id, as `windlass alerts` has it
    id: Fingerprint,
}

/// Who does something, and what for.
#[derive(Debug, Args)]
pub(crate) struct ByArgs {
    /// Who says it; kept in the history
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// What for; kept in the history
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
}

impl ByArgs {
    pub(crate) fn change(&self) -> ByChange {
        ByChange {
            who: self.who.clone(),
            why: self.why.clone(),
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "What was acknowledged is not told again, and its rule does nothing more about it, \
    until it is over.\n\nExample:\n  windlass ack 3f9a41c07be2d815 --who ann"
)]
pub(crate) struct AckArgs {
    /// The alert's id
    id: Fingerprint,
    /// Who has seen it; kept in the history
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  windlass feedback 3f9a41c07be2d815 not-useful --why \"a holiday\""
)]
pub(crate) struct FeedbackArgs {
    /// The alert's id
    id: Fingerprint,
    /// Whether it was of use
    #[arg(value_name = "USE")]
    usefulness: Use,
    #[command(flatten)]
    by: ByArgs,
}

/// Whether an alert was of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Use {
    /// Somebody had to know
    Useful,
    /// Nobody had to
    NotUseful,
}

/// Runs `windlass alerts`.
pub(crate) async fn list(context: &Context, args: &AlertsArgs) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let alerts = all(&client, args).await;
    client.close().await;
    context.output.answer(&alerts?, |alerts| {
        if alerts.is_empty() {
            return match args.all {
                true => "no alerts".to_owned(),
                false => "no alerts; `--all` shows those that are over".to_owned(),
            };
        }
        let headers = [
            "ID", "STATE", "SEVERITY", "MODEL", "ALERT", "ABOUT", "SINCE", "SUMMARY",
        ];
        table(&headers, alerts.iter().map(row))
    })
}

/// Runs `windlass rules`.
pub(crate) async fn rules(context: &Context) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let rules = client.get::<Rules>("/api/v1/prometheus/rules").await;
    client.close().await;
    let rules = rules?;
    let text = store::format::print_yaml(&rules)?;
    context
        .output
        .answer(&rules, |_| text.trim_end().to_owned())
}

async fn all(client: &Client, args: &AlertsArgs) -> anyhow::Result<Vec<AlertRecord>> {
    let mut alerts = Vec::new();
    let mut after = None;
    loop {
        let path = asked(
            "/api/v1/alerts",
            &[
                ("model", args.model.as_ref().map(ToString::to_string)),
                ("severity", args.severity.map(|it| it.name().to_owned())),
                ("all", args.all.then(|| "true".to_owned())),
                ("after", after),
            ],
        );
        let page: PageRecord<AlertRecord> = client.get(&path).await?;
        alerts.extend(page.items);
        let Some(next) = page.next else {
            return Ok(alerts);
        };
        after = Some(next);
    }
}

/// The version, the subject and the segment.
fn about(alert: &AlertRecord) -> String {
    let label = |name: &str| alert.labels.get(name).cloned();
    let version = label("model_version").map(|it| format!(":{it}"));
    let parts = [version, label("subject"), label("segment")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What it is doing, and what keeps it quiet.
fn state(alert: &AlertRecord) -> String {
    let mut state = alert.state.clone();
    if alert.acknowledged.is_some() {
        state.push_str(", seen");
    }
    if let Some(muted) = &alert.muted {
        state.push_str(&format!(", muted by {muted}"));
    }
    state
}

fn row(alert: &AlertRecord) -> Vec<String> {
    vec![
        alert.id.clone(),
        state(alert),
        alert.severity.clone(),
        alert.model.clone(),
        alert.name.clone(),
        about(alert),
        moment(alert.since_ms),
        alert.summary.clone(),
    ]
}

/// Runs `windlass alert`.
pub(crate) async fn show(context: &Context, args: &AlertArgs) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let path = format!("/api/v1/alerts/{}", args.id);
    let detail = client.get::<AlertDetailRecord>(&path).await;
    client.close().await;
    context.output.answer(&detail?, show_detail)
}

fn show_detail(detail: &AlertDetailRecord) -> String {
    let AlertDetailRecord {
        alert,
        history,
        feedback,
    } = detail;
    let mut head = vec![format!(
        "{} {} {}  {} since {}",
        alert.model,
        alert.name,
        about(alert),
        state(alert),
        moment(alert.since_ms)
    )];
    if !alert.summary.is_empty() {
        head.push(alert.summary.clone());
    }
    if let Some(why) = &alert.why {
        head.push(format!("over: {why}"));
    }
    if let Some(seen) = &alert.acknowledged {
        head.push(format!("seen by {}, {}", seen.who, moment(seen.at_ms)));
    }
    let texts = alert.annotations.iter().map(|(k, v)| format!("{k}: {v}"));
    head.extend(texts);
    let mut parts = vec![head.join("\n")];
    if !history.is_empty() {
        let rows = history.iter().map(|it| {
            vec![
                moment(it.at_ms),
                it.kind.clone(),
                it.why.clone(),
                facts(&it.evidence),
            ]
        });
        parts.push(table(&["WHEN", "WHAT", "WHY", "EVIDENCE"], rows));
    }
    if !feedback.is_empty() {
        let rows = feedback.iter().map(|it: &FeedbackRecord| {
            let useful = if it.useful { "useful" } else { "not useful" };
            vec![
                moment(it.by.at_ms),
                useful.to_owned(),
                it.by.who.clone(),
                it.why.clone(),
            ]
        });
        parts.push(table(&["WHEN", "FEEDBACK", "WHO", "WHY"], rows));
    }
    parts.join("\n\n")
}

fn facts(evidence: &Evidence) -> String {
    let facts = evidence.iter().map(|(k, v)| format!("{k}={v}"));
    facts.collect::<Vec<_>>().join(" ")
}

/// Runs `windlass ack`.
pub(crate) async fn acknowledge(context: &Context, args: &AckArgs) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let path = format!("/api/v1/alerts/{}/ack", args.id);
    let change = ByChange {
        who: args.who.clone(),
        why: String::new(),
    };
    let alert = client.send(Method::POST, &path, &change).await;
    client.close().await;
    context.output.answer(&alert?, |alert: &AlertRecord| {
        let who = alert.acknowledged.as_ref().map(|it| it.who.as_str());
        format!("{} was seen by {}", alert.id, who.unwrap_or_default())
    })
}

/// Runs `windlass feedback`.
pub(crate) async fn feedback(context: &Context, args: &FeedbackArgs) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let path = format!("/api/v1/alerts/{}/feedback", args.id);
    let ByChange { who, why } = args.by.change();
    let change = FeedbackChange {
        useful: args.usefulness == Use::Useful,
        who,
        why,
    };
    let told = client.tell(Method::POST, &path, &change).await;
    client.close().await;
    told?;
    context.output.answer(&change, |change| {
        let useful = if change.useful {
            "useful"
        } else {
            "not useful"
        };
        format!("{} was {useful}", args.id)
    })
}
