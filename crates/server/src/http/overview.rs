//! Every model as it is now, once or again and again.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::access::Read;
use domain::{ModelName, Refusal};
use futures::Stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Allowed;
use super::api::{refuse, respond};
use super::events::place;
use crate::app::App;
use crate::overview::{self, Points};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/overview", get(now))
        .route("/api/v1/overview/stream", get(stream))
}

#[derive(Deserialize)]
struct OverviewQuery {
    /// One model alone.
    model: Option<String>,
}

async fn now(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Query(query): Query<OverviewQuery>,
) -> Response {
    let result = async {
        let model: Option<ModelName> = query.model.as_deref().map(str::parse).transpose()?;
        match model {
            Some(model) => overview::one(&app, &model).await,
            None => overview::all(&app, Points::All).await,
        }
    };
    respond(result.await)
}

async fn stream(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    let opened = || -> Result<_, Refusal> {
        let place = place(&app)?;
        Ok(told(Listener {
            told: app.overview.subscribe(),
            app: Arc::clone(&app),
            _place: place,
        }))
    };
    match opened() {
        Ok(stream) => Sse::new(stream)
            .keep_alive(KeepAlive::default())
            .into_response(),
        Err(refusal) => refuse(&refusal),
    }
}

struct Listener {
    app: Arc<App>,
    told: watch::Receiver<Arc<str>>,
    _place: OwnedSemaphorePermit,
}

/// What is told from now on, until the server ends. Who reads too slowly misses some.
fn told(listener: Listener) -> impl Stream<Item = Result<Sent, Infallible>> {
    futures::stream::unfold(listener, |mut listener| async move {
        let stopping = listener.app.listening.stopping();
        tokio::select! {
            biased;
            () = stopping => return None,
            changed = listener.told.changed() => changed.ok()?,
        }
        let text = Arc::clone(&listener.told.borrow_and_update());
        Some((Ok(Sent::default().event("overview").data(text)), listener))
    })
}
