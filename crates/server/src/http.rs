//! HTTP: routes, who asks, and how refusals look in each protocol. Handlers decode, call and encode.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::access::{self, Caller, Deed, Permission, Read};
use domain::rollout::assign::RouteToken;
use domain::{Reference, Refusal, Selector};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use tower::ServiceExt;

use crate::app::App;
use crate::route::ROUTE_TOKEN_HEADER;

mod alerts;
mod api;
mod attributes;
mod drift;
pub(crate) mod events;
mod experiments;
mod inputs;
mod ledger;
mod looks;
mod metrics;
pub(crate) mod oip;
mod openapi;
mod overview;
mod quality;
mod rollouts;
mod rows;
mod trace;
mod why;

pub(crate) use trace::Trace;

/// The header that carries a prediction's id.
pub(crate) const PREDICTION_ID: &str = "windlass-prediction-id";

/// The header that carries a warning.
pub(crate) const WARNING: &str = "windlass-warning";

/// The header that says which thresholds of groups held.
pub(crate) const DECISION: &str = "windlass-decision";

// As values, so that no request pays for reading their names.
const PREDICTION_ID_HEADER: HeaderName = HeaderName::from_static(PREDICTION_ID);
const WARNING_HEADER: HeaderName = HeaderName::from_static(WARNING);
const DECISION_HEADER: HeaderName = HeaderName::from_static(DECISION);
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Everything that is answered: HTTP by its routes, and what says that it is gRPC by `grpc`.
pub(crate) fn router(app: &Arc<App>, grpc: Router) -> Router {
    let other = move |request: Request| {
        let grpc = grpc.clone();
        async move {
            let content_type = request.headers().get(CONTENT_TYPE);
            if content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc")) {
                return grpc.oneshot(request).await.into_response();
            }
            let path: String = request.uri().path().chars().take(200).collect();
            refuse(&Refusal::UnknownPath { path })
        }
    };
    let api = Router::new()
        .merge(oip::routes())
        .merge(rows::routes(&app.container))
        .merge(api::routes())
        .merge(events::routes())
        .merge(ledger::routes())
        .merge(attributes::routes())
        .merge(drift::routes())
        .merge(inputs::routes())
        .merge(looks::routes())
        .merge(overview::routes())
        .merge(why::routes())
        .merge(alerts::routes())
        .merge(rollouts::routes())
        .merge(experiments::routes())
        .merge(metrics::routes())
        .fallback(other)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(app));
    // It asks what is above, like any client, and nothing above asks it.
    let console = console::routes(api.clone());
    let home = {
        let console = console.clone();
        let app = Arc::clone(app);
        move |request: Request| root(app, console, request)
    };
    api.route("/", get(home)).merge(console)
}

/// The console for browsers; whoever else asks for `/` wants to know whether there is somebody.
async fn root(app: Arc<App>, console: Router, mut request: Request) -> Response {
    let accepts = request.headers().get(ACCEPT).map(HeaderValue::as_bytes);
    let is_browser = accepts.is_some_and(|it| it.windows(9).any(|it| it == b"text/html"));
    if !is_browser {
        let allowed = access::check::<Read>(app.policy, caller(&app, request.headers()));
        return allowed.map_or_else(|refusal| refuse(&refusal), |_| rows::alive());
    }
    *request.uri_mut() = Uri::from_static("/console");
    let Ok(response) = console.oneshot(request).await;
    response
}

/// The way in for every request, whatever its protocol: it is counted, refused when there are too many, and
/// logged. A function around the router and not a layer of it, which would cost allocations at each request.
#[derive(Clone)]
pub struct Front {
    app: Arc<App>,
    router: Router,
}

impl Front {
    pub(crate) fn new(app: &Arc<App>, router: Router) -> Self {
        let app = Arc::clone(app);
        Self { app, router }
    }

    /// Answers a request.
    pub async fn answer(self, request: Request) -> Response {
        let Self { app, router } = self;
        let limit = app.limits.requests_max;
        let worked_on = Counted::add(&app.requests);
        if worked_on.before >= limit {
            return refuse(&Refusal::Overloaded {
                what: "places for requests",
                limit,
            });
        }
        let trace = Trace::begin(&request, app.clock);
        let Ok(mut response) = router.oneshot(request).await;
        trace.end(&mut response, app.clock);
        response
    }
}

/// A request being worked on, for as long as it lives.
struct Counted<'a> {
    requests: &'a AtomicU64,
    before: u64,
}

impl<'a> Counted<'a> {
    fn add(requests: &'a AtomicU64) -> Self {
        let before = requests.fetch_add(1, Relaxed);
        Self { requests, before }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.requests.fetch_sub(1, Relaxed);
    }
}

async fn wrong_method(request: Request) -> Response {
    let path: String = request.uri().path().chars().take(200).collect();
    refuse(&Refusal::MethodNotAllowed {
        method: request.method().to_string(),
        path,
    })
}

/// A proof that the caller may do `D`, as an argument of a handler.
pub(crate) struct Allowed<D: Deed>(pub(crate) Permission<D>);

impl<D: Deed> FromRequestParts<Arc<App>> for Allowed<D> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        access::check(app.policy, caller(app, &parts.headers))
            .map(Self)
            .map_err(|refusal| refuse(&refusal))
    }
}

/// The caller's own id for a request, as its headers tell it.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(trace::REQUEST_ID)?.to_str().ok()
}

/// Who asks, as far as the headers tell.
pub(crate) fn caller(app: &App, headers: &HeaderMap) -> Caller {
    // Browsers set it and pages cannot: https://www.w3.org/TR/fetch-metadata/
    match headers.get(FETCH_SITE).map(HeaderValue::as_bytes) {
        Some(b"cross-site" | b"same-site") => Caller::CrossSite,
        None if !headers.contains_key(ORIGIN) => Caller::Anonymous,
        // A browser: its page may be under a name that somebody let point here (DNS rebinding).
        _ => match headers.get(HOST).map(HeaderValue::to_str) {
            Some(Ok(host)) if !app.hostnames.know(host) => Caller::OtherName,
            _ => Caller::Anonymous,
        },
    }
}

/// A refusal in the form of the Open Inference Protocol, which is also the form for unknown paths.
pub(crate) fn refuse(refusal: &Refusal) -> Response {
    let body = wire::oip::ErrorBody::from(refusal);
    refusal_with(refusal, &body)
}

/// A refusal with a body of the protocol's own.
pub(crate) fn refusal_with(refusal: &Refusal, body: &impl serde::Serialize) -> Response {
    let code = wire::code::code(refusal);
    let status = StatusCode::from_u16(code.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // What is not now or not at all is the caller's affair, not a fault of ours.
    let foreseen = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::NOT_IMPLEMENTED];
    if status.is_server_error() && !foreseen.contains(&status) {
        tracing::error!(code = code.name, %refusal, "failed");
    }
    let mut response = json(status, body);
    let headers = response.headers_mut();
    headers.insert("windlass-code", HeaderValue::from_static(code.name));
    if let Some(seconds) = code.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(refusal, Refusal::UnsupportedEncoding { .. }) {
        let known = HeaderValue::from_static("gzip, deflate");
        headers.insert(http::header::ACCEPT_ENCODING, known);
    }
    response
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    // Records of strings and numbers cannot fail to serialise.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    bytes_of(status, "application/json", bytes)
}

/// An answer of any type.
pub(crate) fn bytes_of(
    status: StatusCode,
    content_type: &'static str,
    bytes: impl Into<Body>,
) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A sentence as a header's value: what is not ASCII is escaped, as no client reads it the same way.
pub(crate) fn ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            ' '..='~' => ascii.push(char),
            _ => ascii.extend(char.escape_default()),
        }
    }
    ascii
}

/// Puts what is odd about a request, how its rows were decided and what holds the caller where it went into the headers
/// of its answer.
fn tell(headers: &mut HeaderMap, said: [&Option<String>; 2], token: Option<RouteToken>) {
    let names = [WARNING_HEADER, DECISION_HEADER];
    for (name, said) in names.into_iter().zip(said) {
        let value = said
            .as_deref()
            .and_then(|it| HeaderValue::from_str(&ascii(it)).ok());
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    if let Some(token) = token
        && let Ok(value) = HeaderValue::from_bytes(token.as_ref())
    {
        headers.insert(ROUTE_TOKEN_HEADER, value);
    }
}

/// An empty 200.
pub(crate) fn done() -> Response {
    Response::new(Body::empty())
}

/// The model and version that a path names. The model's segment may be a whole reference.
pub(crate) fn reference(model: &str, version: Option<&str>) -> Result<Reference, Refusal> {
    let mut reference: Reference = model.parse()?;
    if let Some(version) = version {
        reference.selector = Selector::Version(version.parse()?);
    }
    Ok(reference)
}
