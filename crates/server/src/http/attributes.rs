//! Attributes over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use domain::access::{Change, Read};
use http::header::CONTENT_TYPE;
use wire::labels::Kind;

use super::Allowed;
use super::api::{WHO, finished, respond};
use crate::app::App;
use crate::attributes;
use crate::body::Sent;
use crate::models::change;
use crate::package::blocking;

pub(super) fn routes() -> Router<Arc<App>> {
    let path = "/api/v1/models/{model}/attributes";
    Router::new().route(path, get(show).post(add).delete(remove))
}

async fn show(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
) -> Response {
    let result = async { attributes::show(&app, permission, &model.parse()?).await };
    respond(result.await)
}

async fn add(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
    mut sent: Sent,
) -> Response {
    let result = async {
        let model = model.parse()?;
        let kind = sent
            .headers
            .get(CONTENT_TYPE)
            .and_then(|it| it.to_str().ok());
        let kind = kind.unwrap_or("nothing");
        if Kind::of_content_type(kind) != Some(Kind::Csv) {
            return Err(domain::Refusal::UnsupportedMediaType {
                got: kind.chars().take(80).collect(),
                want: "`text/csv`",
            });
        }
        let bytes = sent.read(&app.limits).await?;
        let limits = Arc::clone(&app.limits);
        let table = blocking(move || wire::attributes::decode(&bytes, &limits)).await?;
        attributes::add(&app, permission, &model, table, change(WHO, "")).await
    };
    respond(result.await)
}

async fn remove(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
) -> Response {
    let result =
        async { attributes::remove(&app, permission, &model.parse()?, change(WHO, "")).await };
    finished(result.await)
}
