//! What requests may hold, over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use domain::access::Read;
use serde::Deserialize;

use super::api::respond;
use super::{Allowed, reference};
use crate::app::App;
use crate::inputs;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/models/{model}/inputs", get(show))
}

#[derive(Deserialize)]
struct InputsQuery {
    version: Option<String>,
}

async fn show(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<InputsQuery>,
) -> Response {
    let result = async {
        let reference = reference(&model, query.version.as_deref())?;
        inputs::show(&app, permission, &reference).await
    };
    respond(result.await)
}
