//! Experiments over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use domain::access::{Change, Read};
use domain::experiment::Spec;
use domain::rollout::traffic::Weight;
use domain::{ModelName, Refusal, Version};
use http::StatusCode;
use wire::api::PageRecord;
use wire::api::experiments as api;

use super::Allowed;
use super::api::{RunEventsQuery, RunsQuery, number, parse, person, respond, respond_with};
use crate::app::App;
use crate::body::Sent;
use crate::experiments::{self, Start, Told};

/// Events that are told with an experiment.
const EVENTS_MAX: u32 = 100;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/models/{model}/experiments", post(start))
        .route("/api/v1/experiments", get(list))
        .route("/api/v1/experiments/{id}", get(show))
        .route("/api/v1/experiments/{id}/events", get(events))
        .route("/api/v1/experiments/{id}/stop", post(stop))
}

async fn start(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
    sent: Sent,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        let api::ExperimentStart {
            versions,
            shares,
            spec,
            who,
            why,
        } = parse(&app, sent).await?;
        let malformed = |error: serde_json::Error| Refusal::Malformed {
            what: "`spec`",
            why: error.to_string(),
        };
        let wrong = |why: String| Refusal::InvalidManifest {
            field: "experiment.shares".to_owned(),
            why,
        };
        let versions: Result<Vec<Version>, Refusal> = versions.into_iter().map(number).collect();
        let shares: Result<Vec<Weight>, String> = shares.iter().map(|it| it.parse()).collect();
        let start = Start {
            model,
            versions: versions?,
            shares: shares.map_err(wrong)?,
            spec: serde_json::from_value::<Spec>(spec).map_err(malformed)?,
            person: person(who, why),
        };
        let told = experiments::start(&app, permission, start).await?;
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
        let record =
            |it: &store::registry::experiments::Kept| api::ExperimentRecord::of(&it.experiment);
        if query.live {
            let kept = registry.live_experiments(model.as_ref()).await?;
            let items = kept.iter().map(record).collect();
            return Ok(PageRecord { items, next: None });
        }
        let before = match query.before {
            None => None,
            Some(id) => Some(registry.experiment(&id.parse()?).await?.number),
        };
        let kept = registry.experiments(model.as_ref(), before, limit).await?;
        let items: Vec<_> = kept.iter().map(record).collect();
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
        let told = experiments::show(&app, permission, &id.parse()?).await?;
        detail(&app, told).await
    };
    respond(result.await)
}

async fn detail(app: &App, told: Told) -> Result<api::ExperimentDetailRecord, Refusal> {
    let Told { kept, look } = &told;
    let from = kept.experiment.progress.events;
    let from = from.saturating_sub(u64::from(EVENTS_MAX));
    let events = app
        .store
        .registry
        .experiment_events(kept.number, from, EVENTS_MAX);
    let events = events.await?;
    Ok(api::ExperimentDetailRecord::of(
        &kept.experiment,
        look,
        &events,
    ))
}

async fn events(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(id): Path<String>,
    Query(query): Query<RunEventsQuery>,
) -> Response {
    let result = async {
        let kept = app.store.registry.experiment(&id.parse()?).await?;
        let limit = query.limit();
        let registry = &app.store.registry;
        let events = registry
            .experiment_events(kept.number, query.from, limit)
            .await?;
        let plan = &kept.experiment.plan;
        let items: Vec<_> = events
            .iter()
            .map(|it| api::ExperimentEventRecord::of(it, plan))
            .collect();
        let next = |it: &api::ExperimentEventRecord| (it.number + 1).to_string();
        Ok(super::api::page(items, limit, next))
    };
    respond(result.await)
}

async fn stop(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(id): Path<String>,
    sent: Sent,
) -> Response {
    let result = async {
        let id = id.parse()?;
        let api::ExperimentStop { promote, who, why } = parse(&app, sent).await?;
        let promote = promote.map(number).transpose()?;
        let told = experiments::stop(&app, permission, &id, promote, person(who, why)).await?;
        detail(&app, told).await
    };
    respond(result.await)
}
