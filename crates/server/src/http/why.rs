//! Why a model is as it is, over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use domain::access::Read;
use domain::{ModelName, Refusal};
use serde::Deserialize;
use stats::slices::DEPTH_MAX;

use super::Allowed;
use super::api::respond;
use super::quality::{level_of, range_of};
use crate::app::App;
use crate::clock::wall_ms;
use crate::why::{self, Asking};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/models/{model}/why", get(worst))
}

#[derive(Deserialize)]
struct WorstQuery {
    version: Option<String>,
    from: Option<String>,
    to: Option<String>,
    support: Option<u64>,
    depth: Option<usize>,
    alpha: Option<f64>,
    level: Option<f64>,
}

/// How often anything may be found where there is nothing, where nobody says.
const ALPHA: f64 = 0.05;
/// The fewest rows of a slice that one may ask for: with fewer a mean says nothing.
const SUPPORT_MIN: u64 = 10;

fn within<T: PartialOrd + std::fmt::Display>(
    name: &'static str,
    value: T,
    (least, most): (T, T),
) -> Result<T, Refusal> {
    if value >= least && value <= most {
        return Ok(value);
    }
    Err(Refusal::Malformed {
        what: name,
        why: format!("`{value}` is not from {least} to {most}"),
    })
}

async fn worst(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<WorstQuery>,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        app.store.registry.model(&model).await?;
        let (from, to) = (query.from.as_deref(), query.to.as_deref());
        let support = query
            .support
            .map(|it| within("`support`", it, (SUPPORT_MIN, 1_000_000)));
        let asking = Asking {
            model,
            version: query.version.as_deref().map(str::parse).transpose()?,
            range: range_of(from, to, wall_ms() * 1000)?,
            support: support.transpose()?,
            depth: within("`depth`", query.depth.unwrap_or(DEPTH_MAX), (1, DEPTH_MAX))?,
            alpha: within("`alpha`", query.alpha.unwrap_or(ALPHA), (1e-9, 0.5))?,
            level: level_of(query.level)?,
        };
        why::worst(&app, permission, asking).await
    };
    respond(result.await)
}
