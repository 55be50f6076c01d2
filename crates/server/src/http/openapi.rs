//! The OpenAPI document: the routes of the control API and, for every model that is served, its own
//! prediction route with the inputs that its signature takes and a request that works.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::access::Read;
use domain::{DataType, Dimension, TensorSpec};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Allowed;
use crate::app::App;
use crate::running::Running;

/// A route: method, path, what it does, the name of what it answers.
type Route = (&'static str, &'static str, &'static str);

/// Routes that are there whatever is served.
const ROUTES: &[Route] = &[
    (
        "get",
        "/v2",
        "The server, its version and the protocol's extensions that work",
    ),
    ("get", "/v2/health/live", "Whether the process answers"),
    (
        "get",
        "/v2/health/ready",
        "Whether every model that should answer does",
    ),
    ("get", "/v2/models", "The models that are served"),
    ("get", "/v2/models/{model}", "What a model takes and gives"),
    ("get", "/v2/models/{model}/ready", "Whether a model answers"),
    (
        "get",
        "/v2/models/{model}/config",
        "How a model is run, in Triton's words",
    ),
    (
        "get",
        "/v2/models/{model}/stats",
        "What a model has done, in Triton's words",
    ),
    (
        "post",
        "/v2/models/{model}/infer",
        "A prediction by tensors (Open Inference Protocol)",
    ),
    ("post", "/v2/repository/index", "Every model and its state"),
    (
        "post",
        "/v2/repository/models/{model}/load",
        "Serves a model",
    ),
    (
        "post",
        "/v2/repository/models/{model}/unload",
        "Serves a model no more",
    ),
    (
        "get",
        "/v1/models",
        "The models that are served (KServe V1)",
    ),
    (
        "post",
        "/v1/models/{model}:predict",
        "A prediction by rows (KServe V1, TensorFlow Serving)",
    ),
    (
        "post",
        "/invocations",
        "A prediction by rows of the only model (MLflow scoring, SageMaker)",
    ),
    ("get", "/ping", "Whether a model answers (SageMaker)"),
    ("get", "/metrics", "Metrics in Prometheus' text format"),
    ("get", "/api/v1/status", "The server and how it is"),
    ("get", "/api/v1/limits", "The server's bounds"),
    (
        "get",
        "/api/v1/events",
        "What happened, oldest first: model, kind, from, to, after; or the newest first: newest, before",
    ),
    (
        "get",
        "/api/v1/events/stream",
        "What happens, as server-sent events: model, after",
    ),
    (
        "get",
        "/api/v1/overview",
        "Every model as it is now, those first that need attention most: model",
    ),
    (
        "get",
        "/api/v1/overview/stream",
        "The same every two seconds, as server-sent events `overview` with the newest point of each model",
    ),
    (
        "get",
        "/api/v1/manifest-schema.json",
        "The JSON Schema of windlass.yaml",
    ),
    ("get", "/api/v1/models", "Every model of the registry"),
    (
        "get",
        "/api/v1/models/{model}",
        "A model with its aliases, newest versions and a request that works",
    ),
    (
        "delete",
        "/api/v1/models/{model}",
        "Removes a model with all its versions",
    ),
    (
        "get",
        "/api/v1/models/{model}/versions",
        "The versions of a model",
    ),
    (
        "post",
        "/api/v1/models/{model}/versions",
        "Registers a version whose files were sent before",
    ),
    (
        "get",
        "/api/v1/models/{model}/versions/{version}",
        "All that is known of a version",
    ),
    (
        "delete",
        "/api/v1/models/{model}/versions/{version}",
        "Removes a version that nothing points to",
    ),
    (
        "get",
        "/api/v1/models/{model}/aliases",
        "The aliases of a model",
    ),
    (
        "put",
        "/api/v1/models/{model}/aliases/{alias}",
        "Lets an alias name a version",
    ),
    (
        "delete",
        "/api/v1/models/{model}/aliases/{alias}",
        "Removes an alias",
    ),
    (
        "get",
        "/api/v1/models/{model}/aliases/{alias}/history",
        "Where an alias pointed, and why",
    ),
    (
        "get",
        "/api/v1/models/{model}/traffic",
        "Which version answers a model's name",
    ),
    (
        "put",
        "/api/v1/models/{model}/traffic",
        "Sends a model's traffic to a version",
    ),
    (
        "post",
        "/api/v1/models/{model}/load",
        "Serves a model, or one more version of it",
    ),
    (
        "post",
        "/api/v1/models/{model}/unload",
        "Serves a model no more",
    ),
    (
        "get",
        "/api/v1/models/{model}/quality",
        "How right a model was, by the labels that have come: from, to, by, every, level, version",
    ),
    (
        "get",
        "/api/v1/models/{model}/fairness",
        "Whether a model of two classes treats groups alike: by, version, from, to, level, support",
    ),
    (
        "get",
        "/api/v1/models/{model}/fairness/thresholds",
        "Thresholds of groups that make a rate alike: by, criterion, version, from, to, level, support",
    ),
    (
        "get",
        "/api/v1/models/{model}/fairness/weights",
        "Weights for training that make group and label independent: by, version, from, to",
    ),
    (
        "post",
        "/api/v1/models/{model}/fairness/weights",
        "The weight of each labelled row, of such weights; by `accept` as CSV or Parquet",
    ),
    (
        "get",
        "/api/v1/models/{model}/kpi",
        "How much a model answered, how fast, and what that cost: from, to, by, every",
    ),
    (
        "post",
        "/api/v1/models/{model}/replay",
        "A page of recorded inputs through another version, and what changes",
    ),
    (
        "post",
        "/api/v1/labels",
        "What turned out to be true of a model's predictions, as JSON, CSV or Parquet: model",
    ),
    (
        "post",
        "/api/v1/metrics",
        "Numbers that a model's predictions brought, such as a revenue, as JSON, CSV or Parquet: model, name",
    ),
    (
        "post",
        "/api/v1/query",
        "A question in SQL over predictions and labels; as JSON, or by `accept` as CSV or Parquet",
    ),
    (
        "get",
        "/api/v1/predictions/{id}",
        "The whole story of one answer",
    ),
    (
        "get",
        "/api/v1/models/{model}/attributes",
        "What is known of those whom predictions are about",
    ),
    (
        "post",
        "/api/v1/models/{model}/attributes",
        "Adds attributes: CSV with a column `key`",
    ),
    (
        "delete",
        "/api/v1/models/{model}/attributes",
        "Forgets all attributes",
    ),
    (
        "get",
        "/api/v1/models/{model}/drift",
        "How far predictions are from the baseline: version, from, to, margin, alpha, against, multivariate",
    ),
    (
        "post",
        "/api/v1/models/{model}/drift",
        "How far predictions are from a baseline that was made elsewhere: source, version, from, to, margin, alpha",
    ),
    (
        "get",
        "/api/v1/models/{model}/why",
        "In which slices a version is worst, by the labels that have come: version, from, to, support, depth, alpha, level",
    ),
    (
        "get",
        "/api/v1/models/{model}/why/moment",
        "What changed around a moment, the likeliest cause first: at, window, before",
    ),
    (
        "get",
        "/api/v1/models/{model}/inputs",
        "What requests may hold, and how many rows did not: version",
    ),
    (
        "get",
        "/api/v1/models/{model}/findings",
        "What monitors found at each look, the newest first: monitor, subject, from, to, before",
    ),
    (
        "get",
        "/api/v1/models/{model}/versions/{version}/baseline",
        "What a version's predictions are measured against",
    ),
    (
        "put",
        "/api/v1/models/{model}/versions/{version}/baseline",
        "Gives a version a baseline that was made elsewhere: source",
    ),
    (
        "post",
        "/api/v1/models/{model}/versions/{version}/baseline",
        "Makes a version's baseline of what it answered",
    ),
    ("get", "/api/v1/ledger", "How the ledger is doing"),
    (
        "post",
        "/api/v1/ledger/settle",
        "Seals, merges and expires the ledger's rows now",
    ),
    (
        "post",
        "/api/v1/ledger/verify",
        "Checks every file of the ledger against its checksum",
    ),
    (
        "get",
        "/api/v1/alerts",
        "The alerts that are pending or firing, the most urgent first: model, severity, all",
    ),
    (
        "get",
        "/api/v1/alerts/{id}",
        "An alert with what happened to it and what was said of it",
    ),
    (
        "post",
        "/api/v1/alerts/{id}/ack",
        "Says that somebody has seen it: it is not told again",
    ),
    (
        "post",
        "/api/v1/alerts/{id}/feedback",
        "Says whether it was of use",
    ),
    (
        "get",
        "/api/v1/prometheus/rules",
        "Recording and alerting rules of what is served, for Prometheus",
    ),
    ("get", "/api/v1/silences", "The silences that hold: all"),
    (
        "post",
        "/api/v1/silences",
        "For a while, tells nobody of certain alerts",
    ),
    ("delete", "/api/v1/silences/{id}", "Ends a silence"),
    (
        "get",
        "/api/v1/deliveries",
        "What could not be delivered and was given up; or what waits: waiting",
    ),
    (
        "post",
        "/api/v1/deliveries/{id}/retry",
        "Tries again to deliver what was given up",
    ),
    (
        "get",
        "/api/v1/actions",
        "What rules did about alerts, the newest first: model, before",
    ),
    (
        "post",
        "/api/v1/actions/{id}/reverse",
        "Takes back what a rule did: the traffic goes where it was",
    ),
    (
        "post",
        "/api/v1/models/{model}/rollouts",
        "Begins to move a model's traffic to a version, guarded by tests",
    ),
    (
        "get",
        "/api/v1/rollouts",
        "Rollouts, the newest first: model, live, before",
    ),
    (
        "get",
        "/api/v1/rollouts/{id}",
        "A rollout: where it is, what is tested, what happened",
    ),
    (
        "get",
        "/api/v1/rollouts/{id}/events",
        "What happened to a rollout, with what it rests on: from",
    ),
    (
        "get",
        "/api/v1/rollouts/{id}/shadow",
        "How the candidate's unheard answers differ from those that callers got",
    ),
    (
        "post",
        "/api/v1/rollouts/{id}/{deed}",
        "Does what somebody wants: approve, pause, resume, promote, abort",
    ),
    (
        "post",
        "/api/v1/models/{model}/experiments",
        "Begins to compare versions of a model by one metric",
    ),
    (
        "get",
        "/api/v1/experiments",
        "Experiments, the newest first: model, live, before",
    ),
    (
        "get",
        "/api/v1/experiments/{id}",
        "An experiment: what is known of each version, what happened",
    ),
    (
        "get",
        "/api/v1/experiments/{id}/events",
        "What happened to an experiment, with every share and what was measured: from",
    ),
    (
        "post",
        "/api/v1/experiments/{id}/stop",
        "Ends an experiment: the control has the traffic again, or what is promoted",
    ),
    (
        "get",
        "/api/v1/blobs/{digest}",
        "Whether the content with this digest was sent",
    ),
    (
        "put",
        "/api/v1/blobs/{digest}",
        "Sends content by its SHA-256",
    ),
];

pub(super) async fn document(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    let mut paths: Map<String, Value> = Map::new();
    for (method, path, about) in ROUTES {
        let entry = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        entry[*method] = operation(method, path, about);
    }
    for (name, model) in app.catalog.models() {
        if let Some(running) = &model.traffic {
            let path = format!("/v2/models/{name}/infer");
            paths.insert(path, json!({ "post": prediction(&name, running) }));
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Windlass",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "responses": { "Refused": {
            "description": "refused, with the reason",
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
        } }, "schemas": { "Error": {
            "type": "object",
            "required": ["error"],
            "properties": { "error": { "oneOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {
                        "code": { "type": "string" },
                        "message": { "type": "string" },
                        "hint": { "type": "string" },
                    },
                },
            ] } },
        } } },
    });
    super::json(StatusCode::OK, &document)
}

fn operation(method: &str, path: &str, about: &str) -> Value {
    let parameters: Vec<Value> = path
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    let words = path
        .split(['/', '{', '}', ':', '.', '_'])
        .filter(|it| !it.is_empty());
    let id = std::iter::once(method)
        .chain(words)
        .collect::<Vec<_>>()
        .join("_");
    json!({
        "operationId": id,
        "summary": about,
        "parameters": parameters,
        "responses": {
            "200": { "description": "done" },
            "default": { "$ref": "#/components/responses/Refused" },
        },
    })
}

fn prediction(name: &str, running: &Running) -> Value {
    let inputs: Vec<Value> = running.signature.inputs.iter().map(tensor).collect();
    let outputs: Vec<Value> = running.signature.outputs.iter().map(tensor).collect();
    let tensors = |specs: Vec<Value>| {
        let count = specs.len();
        json!({ "type": "array", "maxItems": count, "items": { "oneOf": specs } })
    };
    let request = json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": { "type": "string" },
            "inputs": tensors(inputs),
            "parameters": { "type": "object" },
        },
    });
    json!({
        "operationId": format!("predict_{}", name.replace(['-', '.'], "_")),
        "summary": format!("A prediction of `{name}`, version {}", running.version),
        "requestBody": {
            "required": true,
            "content": { "application/json": {
                "schema": request,
                "example": running.sample_request(),
            } },
        },
        "responses": {
            "200": {
                "description": "the outputs",
                "content": { "application/json": { "schema": {
                    "type": "object",
                    "properties": { "outputs": tensors(outputs) },
                } } },
            },
            "default": { "$ref": "#/components/responses/Refused" },
        },
    })
}

fn tensor(spec: &TensorSpec) -> Value {
    let element = match spec.datatype {
        DataType::Bool => "boolean",
        DataType::Bytes => "string",
        it if it.is_float() => "number",
        _ => "integer",
    };
    let sizes: Vec<Value> = spec
        .shape
        .iter()
        .map(|it| match it {
            Dimension::Fixed(size) => json!({ "const": size }),
            Dimension::Variable(_) => json!({ "type": "integer", "minimum": 0 }),
        })
        .collect();
    let mut about = format!(
        "{} {}",
        spec.datatype,
        domain::signature::show_dimensions(&spec.shape)
    );
    if !spec.features.is_empty() {
        about.push_str(&format!(", columns: {}", spec.features.join(", ")));
    }
    json!({
        "type": "object",
        "title": spec.name,
        "description": about,
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": { "const": spec.name },
            "datatype": { "const": spec.datatype.name() },
            "shape": { "type": "array", "prefixItems": sizes },
            "data": {
                "type": "array",
                "description": "row-major, flat or nested",
                "items": { "anyOf": [{ "type": element }, { "type": "array" }, { "type": "null" }] },
            },
        },
    })
}
