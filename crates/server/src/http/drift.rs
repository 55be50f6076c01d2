//! Baselines and drift over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use domain::access::{Change, Read};
use domain::manifest::Span;
use domain::{ModelName, Refusal, Version};
use serde::Deserialize;
use wire::api::drift as api;

use super::Allowed;
use super::api::{WHO, parse, respond};
use crate::app::App;
use crate::body::Sent;
use crate::clock::wall_ms;
use crate::drift::{self, Against, Asking, Multivariate};
use crate::models::change;
use crate::range::range_of;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/models/{model}/drift", get(drift).post(skew))
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
    /// A span of time before the range, such as `7d`.
    against: Option<String>,
    multivariate: Option<bool>,
    /// What rows that are sent are called.
    source: Option<String>,
}

impl DriftQuery {
    async fn asking(self, app: &App, model: &str, against: Against) -> Result<Asking, Refusal> {
        let model: ModelName = model.parse()?;
        app.store.registry.model(&model).await?;
        between("`margin`", self.margin, 0.001, 3.0)?;
        between("`alpha`", self.alpha, 1e-9, 0.5)?;
        let (from, to) = (self.from.as_deref(), self.to.as_deref());
        let range = match (from, to) {
            (None, None) => None,
            (from, to) => Some(range_of(from, to, wall_ms() * 1000)?),
        };
        Ok(Asking {
            model,
            version: self.version.as_deref().map(str::parse).transpose()?,
            range,
            against,
            margin: self.margin,
            alpha: self.alpha,
        })
    }

    /// What a question without a body compares with.
    fn against(&self) -> Result<Against, Refusal> {
        let multivariate = match self.multivariate {
            Some(true) => Multivariate::Asked,
            Some(false) | None => Multivariate::NotAsked,
        };
        let Some(text) = &self.against else {
            return match multivariate {
                Multivariate::NotAsked => Ok(Against::Baseline),
                Multivariate::Asked => Err(no_rows()),
            };
        };
        let wrong = || Refusal::Malformed {
            what: "`against`",
            why: format!(
                "`{}` is not a time such as `7d` or `90m`, of 400 days at most",
                text.chars().take(60).collect::<String>()
            ),
        };
        let span: Span = text.parse().map_err(|_| wrong())?;
        let within = !span.0.is_zero() && span.0 <= AGAINST_MAX;
        let before_us = i64::try_from(span.0.as_micros()).ok();
        let before_us = before_us.filter(|_| within).ok_or_else(wrong)?;
        Ok(Against::Before(before_us, multivariate))
    }
}

/// The longest time that predictions are compared with.
const AGAINST_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

fn no_rows() -> Refusal {
    Refusal::Malformed {
        what: "`multivariate`",
        why: "a baseline is counts and has no rows to compare; say by `against` with what time, such as `7d`".to_owned(),
    }
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
        let against = query.against()?;
        let asking = query.asking(&app, &model, against).await?;
        drift::drift(&app, permission, asking).await
    };
    respond(result.await)
}

/// The same beside rows that were counted elsewhere, as those that a version was trained with.
async fn skew(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<DriftQuery>,
    mut sent: Sent,
) -> Response {
    let result = async {
        if query.against.is_some() || query.multivariate == Some(true) {
            return Err(no_rows());
        }
        let body = sent.read(&app.limits).await?;
        let source = query.source.as_deref().unwrap_or("a reference");
        let source = source.chars().take(SOURCE_CHARS_MAX).collect();
        let against = Against::Sent(source, body.as_ref().to_vec());
        let asking = query.asking(&app, &model, against).await?;
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
