//! Baselines and drift over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use domain::access::{Change, Read};
use domain::{ModelName, Refusal, Version};
use serde::Deserialize;
use wire::api::drift as api;

use super::Allowed;
use super::api::{WHO, parse, respond};
use super::quality::range_of;
use crate::app::App;
use crate::body::Sent;
use crate::clock::wall_ms;
use crate::drift::{self, Asking};
use crate::models::change;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/models/{model}/drift", get(drift))
        .route(
            "/api/v1/models/{model}/versions/{version}/baseline",
            get(show).put(set).post(of_predictions),
        )
}

#[derive(Deserialize)]
struct DriftQuery {
    version: Option<String>,
    from: Option<String>,
    to: Option<String>,
    margin: Option<f64>,
    alpha: Option<f64>,
}

fn between(name: &'static str, value: Option<f64>, least: f64, most: f64) -> Result<(), Refusal> {
    match value {
        Some(value) if !(least..=most).contains(&value) => Err(Refusal::Malformed {
            what: name,
            why: format!("`{value}` is not from {least} to {most}"),
        }),
        _ => Ok(()),
    }
}

async fn drift(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<DriftQuery>,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        app.store.registry.model(&model).await?;
        between("`margin`", query.margin, 0.001, 3.0)?;
        between("`alpha`", query.alpha, 1e-9, 0.5)?;
        let (from, to) = (query.from.as_deref(), query.to.as_deref());
        let range = match (from, to) {
            (None, None) => None,
            (from, to) => Some(range_of(from, to, wall_ms() * 1000)?),
        };
        let asking = Asking {
            model,
            version: query.version.as_deref().map(str::parse).transpose()?,
            range,
            margin: query.margin,
            alpha: query.alpha,
        };
        drift::drift(&app, permission, asking).await
    };
    respond(result.await)
}

fn named((model, version): (String, String)) -> Result<(ModelName, Version), Refusal> {
    Ok((model.parse()?, version.parse()?))
}

async fn show(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(path): Path<(String, String)>,
) -> Response {
    let result = async {
        let (model, version) = named(path)?;
        drift::show(&app, permission, &model, version).await
    };
    respond(result.await)
}

#[derive(Deserialize)]
struct SourceQuery {
    source: Option<String>,
}

/// The most characters of what a baseline is said to be made from.
const SOURCE_CHARS_MAX: usize = 200;

async fn set(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(path): Path<(String, String)>,
    Query(query): Query<SourceQuery>,
    mut sent: Sent,
) -> Response {
    let result = async {
        let (model, version) = named(path)?;
        let body = sent.read(&app.limits).await?;
        let source = query.source.unwrap_or_else(|| "a reference".to_owned());
        let source = source.chars().take(SOURCE_CHARS_MAX).collect();
        let made = (source, body.as_ref());
        drift::set(&app, permission, (&model, version), made, change(WHO, "")).await
    };
    respond(result.await)
}

async fn of_predictions(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(path): Path<(String, String)>,
    sent: Sent,
) -> Response {
    let result = async {
        let (model, version) = named(path)?;
        let api::NewBaselineRecord { from, to, first } = parse(&app, sent).await?;
        let range = range_of(from.as_deref(), to.as_deref(), wall_ms() * 1000)?;
        let rows = (range, first);
        drift::of_predictions(&app, permission, (&model, version), rows, change(WHO, "")).await
    };
    respond(result.await)
}
