//! The console: pages for people, made of what `/api/v1` tells.
//!
//! R1. It is a client of the API like any other: it asks the router in the same process, and shows nothing that a
//!     program could not read.
//! R2. Text from outside is never markup: templates escape it, and charts read it from attributes.
//! R3. Nothing changes by looking: what changes something is a form that is posted, and never from another site's page.
//! R4. A page works without scripts, but for what moves: charts, live numbers and the viewer's own time zone.

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::{any, get, post};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, HeaderName};

mod ask;
mod assets;
mod chart;
mod pages;
mod show;

use ask::Ask;

/// What the pages may load and do: nothing of anybody else's, no script or style within the markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the pages are made with.
#[derive(Clone)]
pub(crate) struct Console {
    api: Arc<Router>,
}

/// The pages, and what they load. `api` answers `/api/v1` and the protocols.
pub fn routes(api: Router) -> Router {
    let console = Console { api: Arc::new(api) };
    Router::new()
        .route("/console", get(pages::models::page))
        .route("/console/models", get(pages::models::list))
        .route("/console/models/{model}", get(pages::model::page))
        .route(
            "/console/models/{model}/traffic",
            get(pages::model::charts::traffic),
        )
        .route(
            "/console/models/{model}/quality",
            get(pages::model::charts::quality),
        )
        .route(
            "/console/models/{model}/findings",
            get(pages::model::charts::findings),
        )
        .route("/console/models/{model}/why", get(pages::model::why))
        .route("/console/models/{model}/drift", get(pages::drift::page))
        .route(
            "/console/models/{model}/drift/columns",
            get(pages::drift::columns),
        )
        .route(
            "/console/models/{model}/try",
            get(pages::trial::page).post(pages::trial::answer),
        )
        .route(
            "/console/models/{model}/versions",
            get(pages::versions::list),
        )
        .route(
            "/console/models/{model}/versions/{version}",
            get(pages::versions::page),
        )
        .route("/console/rollouts", get(pages::rollouts::list))
        .route("/console/rollouts/{id}", get(pages::rollouts::page))
        .route("/console/rollouts/{id}/now", get(pages::rollouts::now))
        .route(
            "/console/rollouts/{id}/shadow",
            get(pages::rollouts::shadow),
        )
        .route("/console/rollouts/{id}/{deed}", post(pages::rollouts::act))
        .route("/console/predictions", get(pages::predictions::page))
        .route("/console/predictions/found", get(pages::predictions::found))
        .route("/console/predictions/{id}", get(pages::story::page))
        .route("/console/alerts", get(pages::alerts::list))
        .route("/console/alerts/{id}", get(pages::alerts::page))
        .route("/console/alerts/{id}/ack", post(pages::alerts::acknowledge))
        .route("/console/alerts/{id}/silence", post(pages::alerts::silence))
        .route(
            "/console/alerts/{id}/feedback",
            post(pages::alerts::feedback),
        )
        .route(
            "/console/alerts/{id}/actions/{action}/reverse",
            post(pages::alerts::reverse),
        )
        .route(
            "/console/silences/{id}/end",
            post(pages::alerts::end_silence),
        )
        .route("/console/deliveries/{id}/retry", post(pages::alerts::retry))
        .route("/console/events", get(pages::events::page))
        .route("/console/system", get(pages::system::page))
        .route("/console/system/work", get(pages::system::work))
        .route("/console/assets/{name}", get(assets::asset))
        .route("/console/{*other}", any(pages::unknown))
        .layer(axum::middleware::map_response(guarded))
        .with_state(console)
}

/// Says what a page may do, to the browser that shows it.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let said = [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    for (name, value) in said {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

impl axum::extract::FromRequestParts<Console> for Ask {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        console: &Console,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self::new(
            Arc::clone(&console.api),
            &parts.method,
            &parts.headers,
        ))
    }
}
