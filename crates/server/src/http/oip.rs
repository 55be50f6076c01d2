//! Open Inference Protocol V2 over REST, with Triton's extensions.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use domain::access::{Change, Permission, Predict, Read};
use domain::lifecycle::State as LoadState;
use domain::{ModelName, Refusal, Selector};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use uuid::Uuid;
use wire::oip::{self, Content, OutputRecord, ResponseRecord};

use super::{Allowed, PREDICTION_ID_HEADER, done, json, reference, refuse};
use crate::app::App;
use crate::body::{self, Encoding, Sent};
use crate::catalog::show_state;
use crate::infer::{Output, Told, infer};
use crate::ledger::Asker;
use crate::models;
use crate::running::Running;
use crate::stats::Spent;

/// What runs the models, in the protocol's words.
pub(crate) const PLATFORM: &str = "onnxruntime_onnx";
pub(crate) const BACKEND: &str = "onnxruntime";

const JSON_LENGTH: HeaderName = HeaderName::from_static(oip::JSON_LENGTH_HEADER);

/// Extensions of the protocol that work here.
pub(crate) fn extensions(app: &App) -> Vec<String> {
    let mut all = vec![
        "classification",
        "model_repository",
        "model_configuration",
        "binary_tensor_data",
        "parameters",
        "statistics",
    ];
    if app.shared_memory.is_allowed() {
        all.push("system_shared_memory");
    }
    all.into_iter().map(str::to_owned).collect()
}

pub(super) fn routes() -> Router<Arc<App>> {
    let model = |suffix: &str| format!("/v2/models/{{model}}{suffix}");
    let version = |suffix: &str| format!("/v2/models/{{model}}/versions/{{version}}{suffix}");
    Router::new()
        .route("/v2", get(server_metadata))
        .route("/v2/", get(server_metadata))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models", get(model_names))
        .route("/v2/models/stats", get(all_statistics))
        .route(&model(""), get(metadata))
        .route(&version(""), get(metadata))
        .route(&model("/ready"), get(model_ready))
        .route(&version("/ready"), get(model_ready))
        .route(&model("/infer"), post(answer))
        .route(&version("/infer"), post(answer))
        .route(&model("/config"), get(config))
        .route(&version("/config"), get(config))
        .route(&model("/stats"), get(statistics))
        .route(&version("/stats"), get(statistics))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
        .route("/v2/systemsharedmemory/status", get(shm_status))
        .route(
            "/v2/systemsharedmemory/region/{region}/status",
            get(shm_status),
        )
        .route(
            "/v2/systemsharedmemory/region/{region}/register",
            post(shm_register),
        )
        .route("/v2/systemsharedmemory/unregister", post(shm_unregister))
        .route(
            "/v2/systemsharedmemory/region/{region}/unregister",
            post(shm_unregister),
        )
        // perf_analyzer clears both kinds of memory whichever it uses. There is none of this kind.
        .route(
            "/v2/cudasharedmemory/unregister",
            post(nothing_to_unregister),
        )
        .route("/v2/cudasharedmemory/status", get(no_regions))
        .route(
            "/v2/cudasharedmemory/region/{region}/register",
            post(no_accelerator),
        )
        .route("/v2/trace/setting", get(no_setting).post(no_setting))
        .route(
            "/v2/models/{model}/trace/setting",
            get(no_setting).post(no_setting),
        )
        .route("/v2/logging", get(no_setting).post(no_setting))
}

/// The model and, in paths that have one, the version.
#[derive(Deserialize)]
struct Named {
    model: String,
    version: Option<String>,
}

impl Named {
    fn reference(&self) -> Result<domain::Reference, Refusal> {
        reference(&self.model, self.version.as_deref())
    }
}

fn respond<T: serde::Serialize>(result: Result<T, Refusal>) -> Response {
    match result {
        Ok(body) => json(StatusCode::OK, &body),
        Err(refusal) => refuse(&refusal),
    }
}

async fn server_metadata(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    json(StatusCode::OK, &metadata_of_server(&app))
}

pub(crate) fn metadata_of_server(app: &App) -> oip::ServerMetadata {
    oip::ServerMetadata {
        name: "windlass".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: extensions(app),
    }
}

async fn live(_: Allowed<Read>) -> Response {
    json(StatusCode::OK, &oip::Live { live: true })
}

async fn ready(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    let ready = is_ready(&app);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &oip::Ready { ready })
}

/// Whether every model that should answer does, and the server is not shutting down.
pub(crate) fn is_ready(app: &App) -> bool {
    let loading = |state: &LoadState| matches!(state, LoadState::Loading);
    let models = app.catalog.models();
    !app.listening.is_stopping()
        && models
            .iter()
            .all(|(_, it)| it.traffic.is_some() || !it.states.values().any(loading))
}

#[derive(serde::Serialize)]
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

async fn metadata(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(named): Path<Named>,
) -> Response {
    respond(metadata_of(&app, permission, &named.reference()).await)
}

pub(crate) async fn metadata_of(
    app: &App,
    permission: Permission<Read>,
    reference: &Result<domain::Reference, Refusal>,
) -> Result<oip::Metadata, Refusal> {
    let reference = reference.as_ref().map_err(Clone::clone)?;
    let running = app.look(permission, reference).await?;
    let versions = match &reference.selector {
        Selector::Traffic => {
            let model = app.catalog.model(&running.model).unwrap_or_default();
            model.ready.keys().map(ToString::to_string).collect()
        }
        Selector::Version(_) | Selector::Alias(_) => vec![running.version.to_string()],
    };
    Ok(oip::metadata(
        running.model.as_str(),
        versions,
        PLATFORM,
        &running.signature,
    ))
}

async fn model_ready(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(named): Path<Named>,
) -> Response {
    let found = look(&app, permission, &named).await;
    respond(found.map(|running| oip::ModelReady {
        name: running.model.to_string(),
        ready: true,
    }))
}

async fn look(
    app: &App,
    permission: Permission<Read>,
    named: &Named,
) -> Result<Arc<Running>, Refusal> {
    app.look(permission, &named.reference()?).await
}

async fn config(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(named): Path<Named>,
) -> Response {
    let found = look(&app, permission, &named).await;
    respond(found.map(|running| config_of(&app, &running)))
}

pub(crate) fn config_of(app: &App, running: &Running) -> oip::Config {
    // Clients read it as the most rows of a request, and a request may have more rows than a run that
    // is put together of several.
    let limit = u32::try_from(app.limits.rows_waiting_max).unwrap_or(u32::MAX);
    let rows_max = running.request_rows_max.unwrap_or(limit);
    let delay = running.limits.delay_max.as_micros();
    let batching = (running.limits.rows_max > 1).then(|| oip::DynamicBatching {
        max_queue_delay_microseconds: u64::try_from(delay).unwrap_or(u64::MAX),
    });
    let name = running.model.as_str();
    oip::config(
        name,
        PLATFORM,
        BACKEND,
        &running.signature,
        rows_max,
        batching,
    )
}

async fn all_statistics(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    json(StatusCode::OK, &statistics_of_all(&app))
}

pub(crate) fn statistics_of_all(app: &App) -> oip::Statistics {
    let models = app.catalog.models();
    let running = models.iter().flat_map(|(_, model)| model.ready.values());
    oip::Statistics {
        model_stats: running.map(|it| statistics_of(it)).collect(),
    }
}

async fn statistics(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(named): Path<Named>,
) -> Response {
    let found = look(&app, permission, &named).await;
    respond(found.map(|it| oip::Statistics {
        model_stats: vec![statistics_of(&it)],
    }))
}

pub(crate) fn statistics_of(running: &Running) -> oip::ModelStatistics {
    let stats = &running.stats;
    let spent = |it: &Spent| oip::DurationStatistics {
        count: it.count.load(Relaxed),
        ns: it.nanos.load(Relaxed),
    };
    oip::ModelStatistics {
        name: running.model.to_string(),
        version: running.version.to_string(),
        last_inference: stats.last_ms.load(Relaxed),
        inference_count: stats.rows.load(Relaxed),
        execution_count: stats.runs.load(Relaxed),
        inference_stats: oip::InferStatistics {
            success: spent(&stats.success),
            fail: spent(&stats.fail),
            queue: spent(&stats.queue),
            compute_input: spent(&stats.compute_input),
            compute_infer: spent(&stats.compute_infer),
            compute_output: spent(&stats.compute_output),
            ..Default::default()
        },
        batch_stats: stats
            .by_rows()
            .into_iter()
            .map(|(rows, runs)| {
                let spent = |ns| oip::DurationStatistics {
                    count: runs.count,
                    ns,
                };
                oip::BatchStatistics {
                    batch_size: rows as u64,
                    compute_input: spent(runs.join_ns),
                    compute_infer: spent(runs.compute_ns),
                    compute_output: spent(runs.split_ns),
                }
            })
            .collect(),
        ..Default::default()
    }
}

async fn answer(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Predict>,
    Path(named): Path<Named>,
    sent: Sent,
) -> Response {
    let reference = named.reference();
    match try_answer(&app, permission, reference, sent).await {
        Ok(response) => response,
        Err(refusal) => refuse(&refusal),
    }
}

async fn try_answer(
    app: &App,
    permission: Permission<Predict>,
    reference: Result<domain::Reference, Refusal>,
    mut sent: Sent,
) -> Result<Response, Refusal> {
    let reference = reference?;
    let target = app.find(permission, &reference).await?;
    let bytes = sent.read(&app.limits).await?;
    let json_length = json_length(&sent.headers)?;
    let mut request = match oip::decode_request(&bytes, json_length, &app.limits)? {
        oip::Body::Request(request) => request,
        oip::Body::Raw(body) => oip::raw_request(body, &target.reads.signature)?,
    };
    let asker = Asker {
        headers: &sent.headers,
        request_id: super::request_id(&sent.headers),
        timeout: None,
    };
    let (running, told, outputs) = infer(app, permission, &target, &mut request, asker).await?;
    encode(
        &told,
        running,
        &request,
        &outputs,
        Encoding::accepted(&sent.headers),
    )
}

/// How many bytes of the body are JSON, as Triton's own header says or as its SageMaker content type does.
fn json_length(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let malformed = |why: &str| Refusal::Malformed {
        what: "header `Inference-Header-Content-Length`",
        why: why.to_owned(),
    };
    if let Some(value) = headers.get(JSON_LENGTH) {
        return value
            .to_str()
            .map(Some)
            .map_err(|_| malformed("it is not a number"));
    }
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|it| it.to_str().ok())
        .unwrap_or("");
    let prefix = "application/vnd.sagemaker-triton.binary+json;json-header-size=";
    Ok(content_type.strip_prefix(prefix))
}

fn encode(
    told: &Told,
    running: &Running,
    request: &oip::InferenceRequest,
    outputs: &[Output],
    encoding: Option<Encoding>,
) -> Result<Response, Refusal> {
    let records: Vec<OutputRecord<'_>> = outputs
        .iter()
        .map(|output| {
            let content = match &output.written {
                Some(_) => Content::SharedMemory {
                    datatype: output.tensor.datatype(),
                    shape: output.tensor.shape(),
                },
                None if request.is_binary(output.requested.as_ref()) => {
                    Content::Binary(&output.tensor)
                }
                None => Content::Json(&output.tensor),
            };
            OutputRecord {
                name: &output.name,
                content,
            }
        })
        .collect();
    let mut id_text = Uuid::encode_buffer();
    let id_text = told.id.hyphenated().encode_lower(&mut id_text);
    let (parameters, count) = told.parameters(id_text);
    let encoded = oip::encode_response(&ResponseRecord {
        model_name: running.model.as_str(),
        model_version: &running.version_text,
        id: request.id.as_deref(),
        parameters: &parameters[..count],
        outputs: &records,
    })?;
    let content_type = match encoded.json_length {
        Some(_) => "application/octet-stream",
        None => "application/json",
    };
    let bytes = match encoding {
        None => encoded.body,
        Some(encoding) => body::encode(encoding, &encoded.body),
    };
    let mut response = super::bytes_of(StatusCode::OK, content_type, bytes);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id_text) {
        headers.insert(PREDICTION_ID_HEADER, value);
    }
    super::tell(headers, [&told.warning, &told.decision], told.token);
    if let Some(length) = encoded.json_length {
        headers.insert(JSON_LENGTH, HeaderValue::from(length));
    }
    if let Some(encoding) = encoding {
        let name = HeaderValue::from_static(encoding.name());
        headers.insert(http::header::CONTENT_ENCODING, name);
    }
    Ok(response)
}

/// The body of a request of the repository extension: nothing, or JSON whatever its content type says.
async fn parse<T: serde::de::DeserializeOwned + Default>(
    app: &App,
    mut sent: Sent,
) -> Result<T, Refusal> {
    let bytes = sent.read(&app.limits).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| Refusal::Malformed {
        what: "the body",
        why: error.to_string(),
    })
}

#[derive(Default, Deserialize)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

async fn index(State(app): State<Arc<App>>, _: Allowed<Read>, sent: Sent) -> Response {
    let request = parse::<IndexRequest>(&app, sent).await;
    match request {
        Err(refusal) => refuse(&refusal),
        Ok(request) => respond(index_of(&app, request.ready).await),
    }
}

/// Every model: those in memory with their versions' states, those that are only registered as unavailable.
pub(crate) async fn index_of(app: &App, only_ready: bool) -> Result<Vec<oip::IndexEntry>, Refusal> {
    let mut entries = Vec::new();
    let mut after: Option<ModelName> = None;
    loop {
        let limit = store::registry::LIST_MAX;
        let page = app.store.registry.models(after.as_ref(), limit).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        for model in page {
            let served = app.catalog.model(&model.name).unwrap_or_default();
            for (version, state) in &served.states {
                let name = match state {
                    LoadState::Ready => "READY",
                    LoadState::Loading => "LOADING",
                    LoadState::Unloading => "UNLOADING",
                    LoadState::Failed { .. } => "UNAVAILABLE",
                };
                let reason = match state {
                    LoadState::Ready => String::new(),
                    other => show_state(Some(other)),
                };
                entries.push(oip::IndexEntry {
                    name: model.name.to_string(),
                    version: version.to_string(),
                    state: name.to_owned(),
                    reason,
                });
            }
            if served.states.is_empty() {
                entries.push(oip::IndexEntry {
                    name: model.name.to_string(),
                    version: model.traffic.map_or_else(String::new, |it| it.to_string()),
                    state: "UNAVAILABLE".to_owned(),
                    reason: "unloaded".to_owned(),
                });
            }
        }
    }
    entries.retain(|it| !only_ready || it.state == "READY");
    Ok(entries)
}

#[derive(Default, Deserialize)]
struct LoadRequest {
    #[serde(default)]
    parameters: serde_json::Map<String, serde_json::Value>,
}

async fn load(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
    sent: Sent,
) -> Response {
    let result = async {
        let request = parse::<LoadRequest>(&app, sent).await?;
        load_named(&app, permission, &model, request.parameters.keys()).await
    };
    result
        .await
        .map_or_else(|refusal| refuse(&refusal), |()| done())
}

pub(crate) async fn load_named(
    app: &App,
    permission: Permission<Change>,
    model: &str,
    mut parameters: impl Iterator<Item = &String>,
) -> Result<(), Refusal> {
    if let Some(parameter) = parameters.next() {
        return Err(Refusal::Unsupported {
            what: format!("load parameter `{parameter}`"),
            hint: "push a version with the new settings or files: `windlass push`".to_owned(),
        });
    }
    let reference = reference(model, None)?;
    let version = match &reference.selector {
        Selector::Traffic => None,
        Selector::Version(_) | Selector::Alias(_) => {
            Some(app.store.registry.resolve(&reference).await?)
        }
    };
    models::load(app, permission, &reference.model, version).await
}

async fn unload(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
) -> Response {
    let result = async { models::unload(&app, permission, &model.parse()?).await };
    result
        .await
        .map_or_else(|refusal| refuse(&refusal), |()| done())
}

#[derive(serde::Serialize)]
struct RegionStatus {
    name: String,
    key: String,
    offset: u64,
    byte_size: u64,
}

async fn shm_status(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    region: Option<Path<String>>,
) -> Response {
    let region = region.map(|Path(region)| region);
    respond(app.shared_memory.status(region.as_deref()).map(|regions| {
        regions
            .into_iter()
            .map(|(name, it)| RegionStatus {
                name,
                key: it.key,
                offset: it.offset,
                byte_size: it.byte_size,
            })
            .collect::<Vec<_>>()
    }))
}

#[derive(Default, Deserialize)]
struct RegisterRequest {
    key: String,
    #[serde(default)]
    offset: u64,
    byte_size: u64,
}

async fn shm_register(
    State(app): State<Arc<App>>,
    _: Allowed<Change>,
    Path(region): Path<String>,
    sent: Sent,
) -> Response {
    let result = async {
        let RegisterRequest {
            key,
            offset,
            byte_size,
        } = parse(&app, sent).await?;
        app.shared_memory.register(&region, &key, offset, byte_size)
    };
    result
        .await
        .map_or_else(|refusal| refuse(&refusal), |()| done())
}

async fn shm_unregister(
    State(app): State<Arc<App>>,
    _: Allowed<Change>,
    region: Option<Path<String>>,
) -> Response {
    app.shared_memory
        .unregister(region.as_ref().map(|Path(region)| region.as_str()));
    done()
}

async fn nothing_to_unregister(_: Allowed<Change>) -> Response {
    done()
}

async fn no_regions(_: Allowed<Read>) -> Response {
    json(StatusCode::OK, &Vec::<RegionStatus>::new())
}

/// What is not offered, over REST and over gRPC alike.
pub(crate) fn accelerator_refusal() -> Refusal {
    Refusal::Unsupported {
        what: "shared memory of an accelerator".to_owned(),
        hint: "send tensors in the request".to_owned(),
    }
}

/// Settings of Triton's own process, which have no meaning here.
pub(crate) fn setting_refusal() -> Refusal {
    Refusal::Unsupported {
        what: "a trace or log setting over the network".to_owned(),
        hint: "the server's flags set it: `windlass serve --help`".to_owned(),
    }
}

async fn no_accelerator(_: Allowed<Change>) -> Response {
    refuse(&accelerator_refusal())
}

async fn no_setting(_: Allowed<Read>) -> Response {
    refuse(&setting_refusal())
}
