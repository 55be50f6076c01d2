//! Rollouts over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use domain::access::{Change, Read};
use domain::rollout::RolloutId;
use domain::rollout::command::Deed;
use domain::{ModelName, Refusal};
use http::StatusCode;
use store::registry::rollouts::Looked;
use wire::api::PageRecord;
use wire::api::alerts::ByChange;
use wire::api::rollouts as api;

use super::Allowed;
use super::api::{RunEventsQuery, RunsQuery, number, parse, person, respond, respond_with};
use crate::app::App;
use crate::body::Sent;
use crate::rollouts::{self, Start, Told, looked};

/// Events that are told with a rollout.
const EVENTS_MAX: u32 = 100;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/models/{model}/rollouts", post(start))
        .route("/api/v1/rollouts", get(list))
        .route("/api/v1/rollouts/{id}", get(show))
        .route("/api/v1/rollouts/{id}/events", get(events))
        .route("/api/v1/rollouts/{id}/shadow", get(shadow))
        .route("/api/v1/rollouts/{id}/{deed}", post(command))
}

async fn start(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
    sent: Sent,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        let api::RolloutStart {
            version,
            spec,
            who,
            why,
            supersede,
        } = parse(&app, sent).await?;
        let start = Start {
            model,
            version: number(version)?,
            spec,
            person: person(who, why),
            supersede,
        };
        let told = rollouts::start(&app, permission, start).await?;
        detail(&app, told).await
    };
    respond_with(StatusCode::CREATED, result.await)
}

async fn list(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Query(query): Query<RunsQuery>,
) -> Response {
    let result = async {
        let model: Option<ModelName> = query.model.as_deref().map(str::parse).transpose()?;
        let registry = &app.store.registry;
        let limit = query.limit();
        if query.live {
            let kept = registry.live_rollouts(model.as_ref()).await?;
            let items = kept.iter().map(|it| api::RolloutRecord::of(&it.rollout));
            let items = items.collect();
            return Ok(PageRecord { items, next: None });
        }
        let before = match query.before {
            None => None,
            Some(id) => Some(registry.rollout(&id.parse()?).await?.number),
        };
        let kept = registry.rollouts(model.as_ref(), before, limit).await?;
        let items: Vec<_> = kept
            .iter()
            .map(|it| api::RolloutRecord::of(&it.rollout))
            .collect();
        Ok(super::api::page(items, limit, |it| it.id.clone()))
    };
    respond(result.await)
}

async fn show(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(id): Path<String>,
) -> Response {
    let result = async {
        let told = rollouts::show(&app, permission, &id.parse()?).await?;
        detail(&app, told).await
    };
    respond(result.await)
}

async fn detail(app: &App, told: Told) -> Result<api::RolloutDetailRecord, Refusal> {
    let Told {
        kept,
        evidence,
        history,
    } = &told;
    let plan = &kept.rollout.plan;
    let from = kept.rollout.progress.events;
    let from = from.saturating_sub(u64::from(EVENTS_MAX));
    let events = app
        .store
        .registry
        .rollout_events(kept.number, from, EVENTS_MAX);
    let events = events.await?;
    // What was decided on, and what was looked at in between.
    let decided = events.iter().map(|it| looked(it.at, &it.evidence));
    let mut history: Vec<Looked> = decided.chain(history.iter().cloned()).collect();
    history.retain(|it| !it.e_values.is_empty());
    history.sort_by_key(|it| it.at);
    Ok(api::RolloutDetailRecord {
        history: history
            .into_iter()
            .map(|it| api::EvidencePointRecord {
                at_ms: it.at.0,
                e_values: it.e_values,
            })
            .collect(),
        rollout: api::RolloutRecord::of(&kept.rollout),
        spec: serde_json::to_value(plan.spec()).unwrap_or_default(),
        keys: evidence.keys,
        shadowed: evidence.shadowed,
        tests: api::TestRecord::all(plan, evidence),
        missing: rollouts::missing(app, &told),
        events: events
            .iter()
            .map(|it| api::RolloutEventRecord::of(it, plan))
            .collect(),
    })
}

async fn events(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(id): Path<String>,
    Query(query): Query<RunEventsQuery>,
) -> Response {
    let result = async {
        let kept = app.store.registry.rollout(&id.parse()?).await?;
        let limit = query.limit();
        let registry = &app.store.registry;
        let events = registry
            .rollout_events(kept.number, query.from, limit)
            .await?;
        let plan = &kept.rollout.plan;
        let items: Vec<_> = events
            .iter()
            .map(|it| api::RolloutEventRecord::of(it, plan))
            .collect();
        let next = |it: &api::RolloutEventRecord| (it.number + 1).to_string();
        Ok(super::api::page(items, limit, next))
    };
    respond(result.await)
}

async fn shadow(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(id): Path<String>,
) -> Response {
    let result = async { rollouts::shadow::report(&app, permission, &id.parse()?).await };
    respond(result.await)
}

async fn command(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path((id, deed)): Path<(String, String)>,
    sent: Sent,
) -> Response {
    let result = async {
        let deed = match deed.as_str() {
            "approve" => Deed::Approve,
            "pause" => Deed::Pause,
            "resume" => Deed::Resume,
            "promote" => Deed::Promote,
            "abort" => Deed::Abort,
            _ => {
                let path = format!("/api/v1/rollouts/{id}/{deed}");
                let path = path.chars().take(200).collect();
                return Err(Refusal::UnknownPath { path });
            }
        };
        let id: RolloutId = id.parse()?;
        let ByChange { who, why } = parse(&app, sent).await?;
        let told = rollouts::command(&app, permission, &id, deed, person(who, why)).await?;
        detail(&app, told).await
    };
    respond(result.await)
}
