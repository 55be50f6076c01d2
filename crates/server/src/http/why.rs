//! Why a model is as it is, over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use domain::access::Read;
use domain::manifest::Span;
use domain::{ModelName, Refusal};
use serde::Deserialize;
use stats::slices::DEPTH_MAX;

use super::Allowed;
use super::api::respond;
use super::quality::level_of;
use crate::app::App;
use crate::clock::wall_ms;
use crate::range::{moment as read_moment, range_of};
use crate::why::{self, Asking, moment};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/models/{model}/why", get(worst))
        .route("/api/v1/models/{model}/why/moment", get(around))
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

#[derive(Deserialize)]
struct MomentQuery {
    at: Option<String>,
    window: Option<String>,
    before: Option<String>,
}

/// The windows around a moment, and the time before them, where nobody says.
const WINDOW: &str = "1h";
const BEFORE: &str = "6h";
/// The longest of either.
const SPAN_US_MAX: i64 = 31 * 86_400_000_000;
/// The shortest of either.
const SPAN_US_MIN: i64 = 100_000;

fn span_of(name: &'static str, text: &str) -> Result<i64, Refusal> {
    let malformed = |why| Refusal::Malformed { what: name, why };
    let span: Span = text.parse().map_err(malformed)?;
    let us = i64::try_from(span.0.as_micros()).unwrap_or(i64::MAX);
    if (SPAN_US_MIN..=SPAN_US_MAX).contains(&us) {
        return Ok(us);
    }
    Err(malformed(format!("`{span}` is not from 100ms to 31d")))
}

async fn around(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<MomentQuery>,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        app.store.registry.model(&model).await?;
        let now_us = wall_ms() * 1000;
        let at_us = read_moment("`at`", query.at.as_deref(), now_us)?.unwrap_or(now_us);
        if !(0..=now_us).contains(&at_us) {
            return Err(Refusal::Malformed {
                what: "`at`",
                why: "it is before 1970 or still to come".to_owned(),
            });
        }
        let asking = moment::Asking {
            model,
            at_us,
            window_us: span_of("`window`", query.window.as_deref().unwrap_or(WINDOW))?,
            before_us: span_of("`before`", query.before.as_deref().unwrap_or(BEFORE))?,
        };
        moment::moment(&app, permission, asking).await
    };
    respond(result.await)
}
