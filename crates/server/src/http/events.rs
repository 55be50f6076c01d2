//! What happened, oldest first: by pages, or as it happens.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::access::Read;
use domain::event::EventKind;
use domain::{ModelName, Refusal};
use futures::Stream;
use http::HeaderMap;
use serde::Deserialize;
use store::registry::{Event, EventId, EventsAsked, Order, UnixMillis};
use tokio::sync::OwnedSemaphorePermit;
use wire::api;

use super::Allowed;
use super::api::{limited, page, refuse, respond};
use crate::app::App;
use crate::clock::wall_ms;
use crate::range::range_of;

/// How often it is seen whether something happened.
const LOOK: Duration = Duration::from_millis(250);
/// Events that are read at once.
const EVENTS_MAX: u32 = 100;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/events", get(events))
        .route("/api/v1/events/stream", get(stream))
}

fn id(what: &'static str, text: &str) -> Result<EventId, Refusal> {
    let number = text.parse().map_err(|_| Refusal::Malformed {
        what,
        why: format!("`{text}` is not an event's id"),
    });
    number.map(EventId)
}

fn record(event: Event) -> api::EventRecord {
    api::EventRecord {
        id: event.id.0,
        at_ms: event.at.0,
        model: event.model.to_string(),
        kind: event.kind,
        detail: event.detail,
    }
}

#[derive(Deserialize)]
struct EventsQuery {
    /// Those of one model.
    model: Option<String>,
    /// Those of these kinds, with commas between them.
    kind: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// Whether the newest come first: then those before one follow, else those after one.
    #[serde(default)]
    newest: bool,
    before: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

async fn events(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Query(query): Query<EventsQuery>,
) -> Response {
    let result = async {
        let model: Option<ModelName> = query.model.as_deref().map(str::parse).transpose()?;
        let now_us = wall_ms() * 1000;
        let range = range_of(query.from.as_deref(), query.to.as_deref(), now_us)?;
        let limit = limited(query.limit);
        let order = order(&query)?;
        let kinds = kinds(query.kind.as_deref())?;
        let asked = EventsAsked {
            model: model.as_ref(),
            kinds: &kinds,
            within: (
                UnixMillis(range.from_us / 1000),
                UnixMillis(range.to_us / 1000),
            ),
            order,
            limit,
        };
        let events = app.store.registry.events_asked(&asked).await?;
        let records = events.into_iter().map(record).collect();
        Ok(page(records, limit, |it: &api::EventRecord| {
            it.id.to_string()
        }))
    };
    respond(result.await)
}

fn kinds(list: Option<&str>) -> Result<BTreeSet<EventKind>, Refusal> {
    let names = list.into_iter().flat_map(|it| it.split(',')).map(str::trim);
    let kinds = names.map(|name| {
        EventKind::from_name(name).ok_or_else(|| {
            let known = EventKind::ALL.map(EventKind::name).join(", ");
            Refusal::Malformed {
                what: "query parameter `kind`",
                why: format!("no event is of kind `{name}`; the kinds are {known}"),
            }
        })
    });
    kinds.collect()
}

fn order(query: &EventsQuery) -> Result<Order, Refusal> {
    let (before, after) = (query.before.as_deref(), query.after.as_deref());
    match (query.newest, before, after) {
        (true, before, None) => Ok(Order::Newest {
            before: before.map_or(Ok(EventId::END), |it| id("query parameter `before`", it))?,
        }),
        (false, None, after) => Ok(Order::Oldest {
            after: after.map_or(Ok(EventId::START), |it| id("query parameter `after`", it))?,
        }),
        (true, _, Some(_)) => Err(Refusal::Malformed {
            what: "query parameter `after`",
            why: "with `newest=true` it is `before` that reads on".to_owned(),
        }),
        (false, Some(_), _) => Err(Refusal::Malformed {
            what: "query parameter `before`",
            why: "it needs `newest=true`; oldest first it is `after` that reads on".to_owned(),
        }),
    }
}

#[derive(Deserialize)]
struct StreamQuery {
    /// Those of one model.
    model: Option<String>,
    /// Those after this one; without it those that are to come. A client that comes again says it by itself.
    after: Option<String>,
}

async fn stream(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Response {
    let opened = async {
        let model: Option<ModelName> = query.model.as_deref().map(str::parse).transpose()?;
        let last = headers.get("last-event-id").and_then(|it| it.to_str().ok());
        let after = match (last, query.after.as_deref()) {
            (Some(last), _) => id("header `Last-Event-ID`", last)?,
            (None, Some(after)) => id("query parameter `after`", after)?,
            (None, None) => app.store.registry.newest_event().await?,
        };
        let place = place(&app)?;
        Ok(told(Listener {
            app: Arc::clone(&app),
            model,
            after,
            read: VecDeque::new(),
            _place: place,
        }))
    };
    match opened.await {
        Ok(stream) => Sse::new(stream)
            .keep_alive(KeepAlive::default())
            .into_response(),
        Err(refusal) => refuse(&refusal),
    }
}

/// A place for one who listens, for as long as it is held.
pub(super) fn place(app: &App) -> Result<OwnedSemaphorePermit, Refusal> {
    let place = Arc::clone(&app.streams).try_acquire_owned();
    place.map_err(|_| Refusal::Overloaded {
        what: "places for those who listen",
        limit: app.limits.listeners_max,
    })
}

struct Listener {
    app: Arc<App>,
    model: Option<ModelName>,
    after: EventId,
    read: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
}

/// Events as they happen, until the server ends.
fn told(listener: Listener) -> impl Stream<Item = Result<Sent, Infallible>> {
    futures::stream::unfold(listener, |mut listener| async move {
        let stopping = listener.app.listening.stopping();
        let next = async {
            loop {
                if let Some(event) = listener.next().await {
                    return event;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let event = tokio::select! {
            biased;
            () = stopping => return None,
            event = next => event,
        };
        let (id, kind) = (event.id.0.to_string(), event.kind.clone());
        // Records of strings and numbers cannot fail to serialise.
        let text = serde_json::to_string(&record(event)).unwrap_or_default();
        Some((Ok(Sent::default().id(id).event(kind).data(text)), listener))
    })
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        if self.read.is_empty() {
            let registry = &self.app.store.registry;
            let events = match &self.model {
                None => registry.events(self.after, EVENTS_MAX).await,
                Some(model) => registry.events_of(model, self.after, EVENTS_MAX).await,
            };
            match events {
                Ok(events) => self.read.extend(events),
                Err(refusal) => tracing::warn!(%refusal, "events cannot be read"),
            }
        }
        let event = self.read.pop_front()?;
        self.after = event.id;
        Some(event)
    }
}
