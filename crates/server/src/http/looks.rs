//! What monitors found, over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use domain::ModelName;
use domain::access::Read;
use domain::alert::Moment;
use serde::Deserialize;
use store::registry::looks::{Asked, LOOKS_LIST_MAX, Look};
use wire::api::overview::{FindingRecord, LookRecord};

use super::Allowed;
use super::api::{page, respond};
use crate::app::App;
use crate::clock::wall_ms;
use crate::range::range_of;

/// Looks of a page unless the caller says otherwise.
const PAGE: u32 = 100;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/models/{model}/findings", get(findings))
}

#[derive(Deserialize)]
struct FindingsQuery {
    monitor: Option<String>,
    subject: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// Looks before this one.
    before: Option<i64>,
    limit: Option<u32>,
}

async fn findings(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<FindingsQuery>,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        let registry = &app.store.registry;
        registry.model(&model).await?;
        let now_us = wall_ms() * 1000;
        let range = range_of(query.from.as_deref(), query.to.as_deref(), now_us)?;
        let limit = query.limit.unwrap_or(PAGE).clamp(1, LOOKS_LIST_MAX);
        let asked = Asked {
            monitor: query.monitor.as_deref(),
            subject: query.subject.as_deref(),
            within: (Moment(range.from_us / 1000), Moment(range.to_us / 1000)),
            before: query.before,
            limit,
        };
        let looks = registry.looks(&model, &asked).await?;
        let records = looks.iter().map(record).collect();
        Ok(page(records, limit, |it: &LookRecord| it.id.to_string()))
    };
    respond(result.await)
}

fn record(look: &Look) -> LookRecord {
    LookRecord {
        id: look.id,
        at_ms: look.at.0,
        version: look.version.number(),
        findings: look.findings.iter().map(FindingRecord::from).collect(),
    }
}
