//! Alerts, silences, deliveries and actions over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{delete, get, post};
use domain::access::{Change, Read};
use domain::alert::{Fingerprint, Matcher, Moment, Severity};
use domain::manifest::Span;
use domain::{ModelName, Refusal, Version};
use serde::Deserialize;
use store::registry::LIST_MAX;
use store::registry::actions::Action;
use store::registry::alerts::{AlertEvent, Feedback};
use store::registry::outbox::Delivery;
use wire::api::PageRecord;
use wire::api::alerts as api;

use super::Allowed;
use super::api::{WHO, finished, page, parse, respond};
use crate::alerts::{self, Filter, SILENCE_MAX};
use crate::app::App;
use crate::clock::wall_ms;
use crate::stats::BUCKETS_S;

/// The longest name and the longest reason that somebody may give, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// The most matchers of a silence.
const MATCHERS_MAX: usize = 20;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/alerts", get(list))
        .route("/api/v1/alerts/{id}", get(show))
        .route("/api/v1/alerts/{id}/ack", post(acknowledge))
        .route("/api/v1/alerts/{id}/feedback", post(feedback))
        .route("/api/v1/silences", get(silences).post(add_silence))
        .route("/api/v1/silences/{id}", delete(end_silence))
        .route("/api/v1/deliveries", get(deliveries))
        .route("/api/v1/deliveries/{id}/retry", post(retry))
        .route("/api/v1/prometheus/rules", get(prometheus))
        .route("/api/v1/actions", get(actions))
        .route("/api/v1/actions/{id}/reverse", post(reverse))
}

#[derive(Deserialize)]
struct ListQuery {
    model: Option<String>,
    severity: Option<String>,
    #[serde(default)]
    all: bool,
    after: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
struct NumberQuery {
    model: Option<String>,
    /// Entries from before this one.
    before: Option<i64>,
    limit: Option<u32>,
    /// Of deliveries: those that wait in place of dead letters. Of silences: those that have ended, too.
    #[serde(default)]
    waiting: bool,
    #[serde(default)]
    all: bool,
}

fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(100).clamp(1, LIST_MAX)
}

fn malformed(what: &'static str) -> impl Fn(String) -> Refusal {
    move |why| Refusal::Malformed { what, why }
}

/// A name and a reason, as somebody gives them.
fn by(who: Option<String>, why: String) -> Result<(String, String), Refusal> {
    let who = who.filter(|it| !it.trim().is_empty());
    let who = who.unwrap_or_else(|| WHO.to_owned());
    for (what, text) in [("`who`", &who), ("`why`", &why)] {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Refusal::TooLarge {
                what,
                limit: TEXT_BYTES_MAX as u64,
                got: Some(text.len() as u64),
            });
        }
    }
    Ok((who, why))
}

fn number(text: &str, unknown: impl FnOnce(String) -> Refusal) -> Result<i64, Refusal> {
    let number = text.parse().ok().filter(|it: &i64| *it > 0);
    number.ok_or_else(|| unknown(text.chars().take(40).collect()))
}

async fn list(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Query(query): Query<ListQuery>,
) -> Response {
    let result = async {
        let severity = query.severity.as_deref().map(str::parse::<Severity>);
        let filter = Filter {
            fingerprint: None,
            model: query.model.as_deref().map(str::parse).transpose()?,
            severity: severity
                .transpose()
                .map_err(malformed("query parameter `severity`"))?,
            ended: query.all,
        };
        let after: Option<Fingerprint> = query.after.as_deref().map(str::parse).transpose()?;
        let listed = app.alerts.list(filter).await?;
        let seen = after.and_then(|after| {
            let place = listed.iter().position(|it| it.0.fingerprint() == after);
            place.map(|it| it + 1)
        });
        let limit = limit(query.limit);
        let items = listed.iter().skip(seen.unwrap_or(0)).take(limit as usize);
        let items = items.map(|(alert, muted)| api::AlertRecord::new(alert, muted.as_ref()));
        let items: Vec<api::AlertRecord> = items.collect();
        Ok(page(items, limit, |it| it.id.clone()))
    };
    respond(result.await)
}

async fn show(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(id): Path<String>,
    Query(query): Query<NumberQuery>,
) -> Response {
    let result = async {
        let fingerprint: Fingerprint = id.parse()?;
        let (alert, muted) = app.alerts.get(fingerprint).await?;
        let registry = &app.store.registry;
        let limit = limit(query.limit);
        let history = registry
            .alert_events(fingerprint, query.before, limit)
            .await?;
        let feedback = registry.feedback(fingerprint, limit).await?;
        Ok(api::AlertDetailRecord {
            alert: api::AlertRecord::new(&alert, muted.as_ref()),
            history: history.into_iter().map(event_record).collect(),
            feedback: feedback.into_iter().map(feedback_record).collect(),
        })
    };
    respond(result.await)
}

fn event_record(event: AlertEvent) -> api::AlertEventRecord {
    api::AlertEventRecord {
        id: event.id,
        at_ms: event.at.0,
        incident: event.incident.0,
        kind: event.kind,
        why: event.why,
        evidence: event.evidence,
    }
}

fn feedback_record(feedback: Feedback) -> api::FeedbackRecord {
    api::FeedbackRecord {
        incident: feedback.incident.0,
        useful: feedback.useful,
        by: api::ByRecord {
            who: feedback.who,
            at_ms: feedback.at.0,
        },
        why: feedback.why,
    }
}

async fn acknowledge(
    State(app): State<Arc<App>>,
    _: Allowed<Change>,
    Path(id): Path<String>,
    sent: crate::body::Sent,
) -> Response {
    let result = async {
        let fingerprint: Fingerprint = id.parse()?;
        let record: api::ByChange = parse(&app, sent).await?;
        let (who, _) = by(record.who, record.why)?;
        let alert = app.alerts.acknowledge(fingerprint, who).await?;
        Ok(api::AlertRecord::new(&alert, None))
    };
    respond(result.await)
}

async fn feedback(
    State(app): State<Arc<App>>,
    _: Allowed<Change>,
    Path(id): Path<String>,
    sent: crate::body::Sent,
) -> Response {
    let result = async {
        let fingerprint: Fingerprint = id.parse()?;
        let record: api::FeedbackChange = parse(&app, sent).await?;
        let by = by(record.who, record.why)?;
        app.alerts.feedback(fingerprint, record.useful, by).await
    };
    finished(result.await)
}

async fn silences(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Query(query): Query<NumberQuery>,
) -> Response {
    let result = async {
        let after = match query.all {
            true => Moment(i64::MIN),
            false => Moment(wall_ms()),
        };
        let registry = &app.store.registry;
        let silences = registry.silences(after, limit(query.limit)).await?;
        let records = silences.iter().map(api::SilenceRecord::from);
        Ok(records.collect::<Vec<_>>())
    };
    respond(result.await)
}

async fn add_silence(
    State(app): State<Arc<App>>,
    _: Allowed<Change>,
    sent: crate::body::Sent,
) -> Response {
    let result = async {
        let record: api::SilenceChange = parse(&app, sent).await?;
        let matchers: Result<Vec<Matcher>, String> =
            record.matchers.iter().map(|it| it.parse()).collect();
        let matchers = matchers.map_err(malformed("`matchers`"))?;
        if matchers.is_empty() || matchers.len() > MATCHERS_MAX {
            let why = format!("{} are given, want 1 to {MATCHERS_MAX}", matchers.len());
            return Err(malformed("`matchers`")(why));
        }
        let length: Span = record.length.parse().map_err(malformed("`for`"))?;
        if length.0.is_zero() || length.0 > SILENCE_MAX {
            let why = format!("`{length}` is not over 0 and at most {}", Span(SILENCE_MAX));
            return Err(malformed("`for`")(why));
        }
        let by = by(record.who, record.why)?;
        let silence = app.alerts.add_silence(matchers, length.0, by).await?;
        Ok(api::SilenceRecord::from(&silence))
    };
    respond(result.await)
}

async fn end_silence(
    State(app): State<Arc<App>>,
    _: Allowed<Change>,
    Path(id): Path<String>,
) -> Response {
    let result = async {
        let id = number(&id, |id| Refusal::UnknownSilence { id })?;
        app.alerts.end_silence(id).await
    };
    finished(result.await)
}

/// Rules of what is served, by the versions that have traffic.
async fn prometheus(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    let models = app.catalog.models();
    let models: Vec<_> = models
        .iter()
        .filter_map(|(_, model)| {
            let traffic = model.traffic.as_ref()?;
            Some((traffic.model.clone(), traffic.monitor.objectives.clone()))
        })
        .collect();
    respond(Ok(domain::alert::prometheus::rules(&models, &BUCKETS_S)))
}

async fn deliveries(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Query(query): Query<NumberQuery>,
) -> Response {
    let result = async {
        let registry = &app.store.registry;
        let found = registry
            .deliveries(!query.waiting, limit(query.limit))
            .await?;
        Ok(found.into_iter().map(delivery_record).collect::<Vec<_>>())
    };
    respond(result.await)
}

fn delivery_record(delivery: Delivery) -> api::DeliveryRecord {
    api::DeliveryRecord {
        id: delivery.id,
        group: api::map(&delivery.place.group),
        receiver: delivery.place.receiver,
        at_ms: delivery.at.0,
        alerts: delivery.alerts,
        dead: delivery.dead,
        attempts: delivery.attempts,
        next_ms: (!delivery.dead).then_some(delivery.next_at.0),
        why: delivery.why,
    }
}

async fn retry(
    State(app): State<Arc<App>>,
    _: Allowed<Change>,
    Path(id): Path<String>,
) -> Response {
    let result = async {
        let id = number(&id, |id| Refusal::UnknownDelivery { id })?;
        let now = Moment(wall_ms());
        app.store.registry.retry_delivery(id, now).await?;
        app.alerts.post.notify_one();
        Ok(())
    };
    finished(result.await)
}

async fn actions(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Query(query): Query<NumberQuery>,
) -> Response {
    let result = async {
        let model: Option<ModelName> = query.model.as_deref().map(str::parse).transpose()?;
        let limit = limit(query.limit);
        let registry = &app.store.registry;
        let found = registry
            .actions(model.as_ref(), query.before, limit)
            .await?;
        let records: Vec<api::ActionRecord> = found.into_iter().map(action_record).collect();
        let page: PageRecord<_> = page(records, limit, |it| it.id.to_string());
        Ok(page)
    };
    respond(result.await)
}

fn action_record(action: Action) -> api::ActionRecord {
    let (outcome, why) = api::outcome(&action.outcome);
    api::ActionRecord {
        id: action.id,
        at_ms: action.tried.at.0,
        model: action.tried.model.to_string(),
        rule: action.tried.rule,
        alert: action.tried.fingerprint.to_string(),
        deed: action.tried.deed.name().to_owned(),
        outcome,
        why,
        evidence: action.evidence,
        from: action.from.map(Version::number),
        to: action.to.map(Version::number),
        inputs: action.inputs.map_or_else(Default::default, |it| {
            let said = it.said();
            said.map(|(rule, it)| (rule.to_owned(), it.name().to_owned()))
                .collect()
        }),
        instances: action.instances,
        reversed: action.reversed.map(|it| api::ByRecord {
            who: it.who,
            at_ms: it.at.0,
        }),
    }
}

async fn reverse(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(id): Path<String>,
    sent: crate::body::Sent,
) -> Response {
    let result = async {
        let id = number(&id, |id| Refusal::UnknownAction { id })?;
        let record: api::ByChange = parse(&app, sent).await?;
        let (who, why) = by(record.who, record.why)?;
        let action = alerts::reverse(&app, permission, id, (&who, &why)).await?;
        Ok(action_record(action))
    };
    respond(result.await)
}
