//! Protocols that send rows: KServe V1 and TensorFlow Serving, MLflow scoring, and the containers of
//! SageMaker and Vertex AI.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use domain::access::{Permission, Predict, Read};
use domain::request::NamedTensor;
use domain::{Refusal, Tensor};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use wire::rows::{Layout, encode_predictions};

use super::{Allowed, PREDICTION_ID_HEADER, bytes_of, json, reference, refusal_with, refuse};
use crate::app::{App, ContainerRoutes};
use crate::body::Sent;
use crate::ledger::Asker;
use crate::route::Target;

pub(super) fn routes(container: &ContainerRoutes) -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/v1/models", get(model_names))
        .route("/v1/models/{model}", get(model_ready).post(predict))
        .route("/invocations", post(invocations))
        .route("/ping", get(ping))
        .route("/health", get(ping));
    // A platform may name one of the routes that are there already.
    if let Some(health) = &container.health
        && !matches!(health.as_str(), "/" | "/ping" | "/health")
    {
        router = router.route(health, get(ping));
    }
    if let Some(predict) = &container.predict
        && predict != "/invocations"
    {
        router = router.route(predict, post(invocations));
    }
    router
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
}

/// There is somebody: what KServe's V1 protocol has at `/`.
pub(super) fn alive() -> Response {
    json(StatusCode::OK, &Status { status: "alive" })
}

#[derive(Serialize)]
struct ModelNames {
    models: Vec<String>,
}

async fn model_names(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    let models = app
        .catalog
        .models()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    json(StatusCode::OK, &ModelNames { models })
}

async fn model_ready(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
) -> Response {
    let found = async { app.look(permission, &reference(&model, None)?).await };
    match found.await {
        Ok(running) => {
            let name = running.model.to_string();
            json(StatusCode::OK, &wire::oip::ModelReady { name, ready: true })
        }
        Err(refusal) => refuse(&refusal),
    }
}

async fn predict(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Predict>,
    Path(segment): Path<String>,
    mut sent: Sent,
) -> Response {
    let result = async {
        let Some(model) = segment.strip_suffix(":predict") else {
            return Err(Refusal::UnknownPath {
                path: format!("/v1/models/{segment}"),
            });
        };
        let reference = reference(model, None)?;
        let target = app.find(permission, &reference).await?;
        let bytes = sent.read(&app.limits).await?;
        let inputs = wire::rows::decode_v1(&bytes, &target.reads.signature, &app.limits)?;
        answer(&target, inputs, &sent.headers, Layout::Rows).await
    };
    result.await.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn answer(
    target: &Target,
    inputs: Vec<NamedTensor>,
    headers: &HeaderMap,
    layout: Layout,
) -> Result<Response, Refusal> {
    let asker = Asker {
        headers,
        request_id: super::request_id(headers),
        timeout: None,
    };
    let (running, answer) = target.answer(inputs, &[], asker).await?;
    let names = answer
        .outputs
        .iter()
        .map(|it| running.signature.outputs[*it].name.as_str());
    let outputs: Vec<(&str, &Tensor)> = names.zip(&answer.tensors).collect();
    let body = encode_predictions(&outputs, layout)?;
    let mut response = bytes_of(StatusCode::OK, "application/json", body);
    if let Ok(id) = HeaderValue::from_str(&answer.id.to_string()) {
        response.headers_mut().insert(PREDICTION_ID_HEADER, id);
    }
    let said = [&answer.warning, &answer.decision];
    super::tell(response.headers_mut(), said, answer.token);
    Ok(response)
}

/// An error as MLflow's scoring server tells it.
#[derive(Serialize)]
struct MlflowError {
    error_code: &'static str,
    message: String,
}

async fn invocations(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Predict>,
    sent: Sent,
) -> Response {
    match try_invocations(&app, permission, sent).await {
        Ok(response) => response,
        Err(refusal) => {
            // The names of `databricks.proto`, as MLflow's own table gives them to statuses.
            let error_code = match wire::code::code(&refusal).http {
                404 => "RESOURCE_DOES_NOT_EXIST",
                499 => "CANCELLED",
                501 => "NOT_IMPLEMENTED",
                503 => "TEMPORARILY_UNAVAILABLE",
                504 => "DEADLINE_EXCEEDED",
                500.. => "INTERNAL_ERROR",
                _ => "BAD_REQUEST",
            };
            let message = wire::code::message(&refusal);
            refusal_with(
                &refusal,
                &MlflowError {
                    error_code,
                    message,
                },
            )
        }
    }
}

async fn try_invocations(
    app: &App,
    permission: Permission<Predict>,
    mut sent: Sent,
) -> Result<Response, Refusal> {
    let target = app.only(permission)?;
    let signature = &target.reads.signature;
    let bytes = sent.read(&app.limits).await?;
    let kind = sent
        .headers
        .get(CONTENT_TYPE)
        .map_or("application/json", |it| it.to_str().unwrap_or("?"));
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let inputs = match essence.to_ascii_lowercase().as_str() {
        "application/json" => wire::rows::decode_mlflow(&bytes, signature, &app.limits)?,
        "text/csv" => wire::rows::decode_csv(&bytes, signature)?,
        "application/vnd.apache.parquet" => {
            wire::rows::decode_parquet(&bytes, signature, &app.limits)?
        }
        _ => {
            return Err(Refusal::UnsupportedMediaType {
                got: essence.chars().take(80).collect(),
                want: "`application/json`, `text/csv` or `application/vnd.apache.parquet`",
            });
        }
    };
    answer(&target, inputs, &sent.headers, Layout::Columns).await
}

/// Whether the one model that a container serves can answer.
async fn ping(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    let serving = app
        .catalog
        .models()
        .iter()
        .any(|(_, model)| model.traffic.is_some());
    let status = if serving {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    bytes_of(status, "application/json", "\n")
}
