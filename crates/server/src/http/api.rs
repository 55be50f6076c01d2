//! Our own control API, `/api/v1`: what the command line and the console use.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post, put};
use domain::access::{Change, Permission, Read};
use domain::rollout::command::Person;
use domain::{Alias, DataType, Digest, ModelName, Refusal, Version};
use futures::StreamExt;
use http::StatusCode;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::PackagePath;
use store::format::DeclaredTensor;
use store::registry::{self, File, Pushed, VersionSummary};
use wire::api;

use super::{Allowed, done, json, refusal_with};
use crate::app::App;
use crate::body::Sent;
use crate::catalog::{Model, told, told_state};
use crate::models::{self, Push, change};
use crate::running::Running;
use crate::standing::Standing;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/limits", get(limits))
        .route("/api/v1/openapi.json", get(super::openapi::document))
        .route("/api/v1/manifest-schema.json", get(manifest_schema))
        .route("/api/v1/models", get(list))
        .route("/api/v1/models/{model}", get(show).delete(remove_model))
        .route("/api/v1/models/{model}/sample", get(sample))
        .route(
            "/api/v1/models/{model}/versions",
            get(list_versions).post(push),
        )
        .route(
            "/api/v1/models/{model}/versions/{version}",
            get(version).delete(remove_version),
        )
        .route("/api/v1/models/{model}/aliases", get(aliases))
        .route(
            "/api/v1/models/{model}/aliases/{alias}",
            put(set_alias).delete(remove_alias),
        )
        .route(
            "/api/v1/models/{model}/aliases/{alias}/history",
            get(alias_history),
        )
        .route(
            "/api/v1/models/{model}/traffic",
            get(traffic).put(set_traffic),
        )
        .route("/api/v1/models/{model}/load", post(load))
        .route("/api/v1/models/{model}/unload", post(unload))
        .route("/api/v1/blobs/{digest}", get(has_blob).put(put_blob))
}

/// Who changed something, while nobody says who they are.
pub(super) const WHO: &str = "anonymous";

/// Entries of a page unless the caller says otherwise.
const PAGE: u32 = 100;

/// Versions shown with a model by itself.
const RECENT: u32 = 20;

/// Somebody who does something, and why.
pub(super) fn person(who: Option<String>, why: String) -> Person {
    let who = who.filter(|it| !it.trim().is_empty());
    Person {
        who: who.unwrap_or_else(|| WHO.to_owned()),
        why,
    }
}

/// Which rollouts or experiments are asked for.
#[derive(Deserialize)]
pub(super) struct RunsQuery {
    pub(super) model: Option<String>,
    /// Only those that are not over.
    #[serde(default)]
    pub(super) live: bool,
    pub(super) before: Option<String>,
    limit: Option<u32>,
}

impl RunsQuery {
    pub(super) fn limit(&self) -> u32 {
        limited(self.limit)
    }
}

/// Which of their events.
#[derive(Deserialize)]
pub(super) struct RunEventsQuery {
    /// The number of the first.
    #[serde(default)]
    pub(super) from: u64,
    limit: Option<u32>,
}

impl RunEventsQuery {
    pub(super) fn limit(&self) -> u32 {
        limited(self.limit)
    }
}

pub(super) fn limited(asked: Option<u32>) -> u32 {
    asked.unwrap_or(PAGE).clamp(1, registry::LIST_MAX)
}

pub(super) fn refuse(refusal: &Refusal) -> Response {
    refusal_with(refusal, &api::ErrorRecord::from(refusal))
}

pub(super) fn respond<T: Serialize>(result: Result<T, Refusal>) -> Response {
    respond_with(StatusCode::OK, result)
}

pub(super) fn respond_with<T: Serialize>(
    status: StatusCode,
    result: Result<T, Refusal>,
) -> Response {
    match result {
        Ok(record) => json(status, &record),
        Err(refusal) => refuse(&refusal),
    }
}

pub(super) fn finished(result: Result<(), Refusal>) -> Response {
    result.map_or_else(|refusal| refuse(&refusal), |()| done())
}

pub(super) async fn parse<T: DeserializeOwned>(app: &App, mut sent: Sent) -> Result<T, Refusal> {
    let bytes = sent.read(&app.limits).await?;
    // An empty body is a record in which everything is left out.
    let bytes = if bytes.is_empty() {
        b"{}"
    } else {
        bytes.as_ref()
    };
    serde_json::from_slice(bytes).map_err(|error| Refusal::Malformed {
        what: "the body",
        why: error.to_string(),
    })
}

async fn status(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    let models = app.catalog.models();
    let ready = models.iter().filter(|(_, it)| it.traffic.is_some()).count();
    let record = api::StatusRecord {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: app.started_ms,
        ready: super::oip::is_ready(&app),
        runtime: app.engines.opened_name(),
        models_ready: u32::try_from(ready).unwrap_or(u32::MAX),
        models: u32::try_from(models.len()).unwrap_or(u32::MAX),
    };
    json(StatusCode::OK, &record)
}

async fn limits(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    let limits = domain::limits::ALL.iter();
    let records: Vec<api::LimitRecord> = limits
        .map(|it| api::LimitRecord {
            name: it.name.to_owned(),
            value: app.limits.get(it.name).unwrap_or(it.default),
            unit: it.unit.to_owned(),
            about: it.about.to_owned(),
        })
        .collect();
    json(StatusCode::OK, &records)
}

async fn manifest_schema(_: Allowed<Read>) -> Response {
    json(StatusCode::OK, &domain::manifest::schema())
}

#[derive(Deserialize)]
pub(super) struct PageQuery {
    pub(super) after: Option<String>,
    limit: Option<u32>,
}

impl PageQuery {
    pub(super) fn limit(&self) -> u32 {
        limited(self.limit)
    }

    fn after<T: std::str::FromStr<Err = Refusal>>(&self) -> Result<Option<T>, Refusal> {
        self.after.as_deref().map(str::parse).transpose()
    }
}

/// A page, and where the next one begins when this one is full.
pub(super) fn page<T>(
    items: Vec<T>,
    limit: u32,
    last: impl Fn(&T) -> String,
) -> api::PageRecord<T> {
    let full = u32::try_from(items.len()).is_ok_and(|count| count == limit);
    let next = if full { items.last().map(last) } else { None };
    api::PageRecord { items, next }
}

async fn list(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Query(query): Query<PageQuery>,
) -> Response {
    let result = async {
        let after: Option<ModelName> = query.after()?;
        let models = app
            .store
            .registry
            .models(after.as_ref(), query.limit())
            .await?;
        let records = models.iter().map(|it| model_record(&app, it)).collect();
        Ok(page(records, query.limit(), |it: &api::ModelRecord| {
            it.name.clone()
        }))
    };
    respond(result.await)
}

fn model_record(app: &App, summary: &registry::ModelSummary) -> api::ModelRecord {
    let served = app.catalog.model(&summary.name);
    let (state, why) = told_state(served.as_deref(), summary.traffic);
    api::ModelRecord {
        name: summary.name.to_string(),
        created_ms: summary.created_at.0,
        versions: summary.versions,
        latest: summary.latest.map(Version::number),
        traffic: api::TrafficRecord {
            version: summary.traffic.map(Version::number),
        },
        state: state.to_owned(),
        why,
    }
}

fn version_record(served: Option<&Model>, summary: &VersionSummary) -> api::VersionRecord {
    let (state, why) = match served.and_then(|it| it.states.get(&summary.version)) {
        Some(state) => told(state),
        None => (summary.state.name(), None),
    };
    api::VersionRecord {
        version: summary.version.number(),
        digest: summary.digest.to_string(),
        state: state.to_owned(),
        why,
        source: summary.source.clone(),
        created_ms: summary.created_at.0,
    }
}

async fn show(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(model): Path<String>,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        let registry = &app.store.registry;
        let summary = registry.model(&model).await?;
        let aliases = registry.aliases(&model, None, registry::LIST_MAX).await?;
        let newest = summary.latest.map_or(0, Version::number);
        let after = Version::new(newest.saturating_sub(RECENT));
        let mut recent = registry.versions(&model, after, RECENT).await?;
        recent.reverse();
        let served = app.catalog.model(&model);
        let running = served.as_ref().and_then(|it| it.traffic.clone());
        let signature = match (&running, summary.traffic) {
            (Some(running), _) => Some(running.signature.clone()),
            (None, Some(version)) => Some(registry.version(&model, version).await?.signature),
            (None, None) => None,
        };
        Ok(api::ModelDetailRecord {
            model: model_record(&app, &summary),
            aliases: aliases.iter().map(alias_record).collect(),
            recent: recent
                .iter()
                .map(|it| version_record(served.as_deref(), it))
                .collect(),
            signature: signature.as_ref().map(api::SignatureRecord::from),
            sample: running.and_then(|it| it.sample_request()),
        })
    };
    respond(result.await)
}

async fn sample(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
) -> Response {
    let result = async {
        let running = app
            .look(permission, &super::reference(&model, None)?)
            .await?;
        running
            .sample_request()
            .ok_or_else(|| Refusal::UnknownPath {
                path: format!("/api/v1/models/{model}/sample"),
            })
    };
    respond(result.await)
}

fn alias_record((alias, version): &(Alias, Version)) -> api::AliasRecord {
    api::AliasRecord {
        alias: alias.to_string(),
        version: version.number(),
    }
}

async fn list_versions(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(model): Path<String>,
    Query(query): Query<PageQuery>,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        let after: Option<Version> = query.after()?;
        let versions = app
            .store
            .registry
            .versions(&model, after, query.limit())
            .await?;
        let served = app.catalog.model(&model);
        let records = versions
            .iter()
            .map(|it| version_record(served.as_deref(), it))
            .collect();
        Ok(page(records, query.limit(), |it: &api::VersionRecord| {
            it.version.to_string()
        }))
    };
    respond(result.await)
}

async fn version(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path((model, version)): Path<(String, String)>,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        let registry = &app.store.registry;
        let record = registry.version(&model, version.parse()?).await?;
        let number = record.summary.version;
        let aliases = registry.aliases(&model, None, registry::LIST_MAX).await?;
        let served = app.catalog.model(&model);
        Ok(api::VersionDetailRecord {
            version: version_record(served.as_deref(), &record.summary),
            model: model.to_string(),
            aliases: aliases
                .iter()
                .filter(|(_, version)| *version == number)
                .map(|(alias, _)| alias.to_string())
                .collect(),
            files: record.files.iter().map(file_record).collect(),
            main: record.main.to_string(),
            manifest: record.manifest,
            signature: api::SignatureRecord::from(&record.signature),
            report: record.report,
            serving: match served.as_ref().and_then(|it| it.ready.get(&number)) {
                None => None,
                Some(running) => {
                    let standing = Standing::of(&app.store, &model).await?;
                    Some(serving_record(running, &standing))
                }
            },
        })
    };
    respond(result.await)
}

fn serving_record(running: &Running, standing: &Standing) -> api::ServingRecord {
    let limits = running.limits;
    api::ServingRecord {
        instances: u32::try_from(running.pool.instances()).unwrap_or(u32::MAX),
        scaled_by: standing.scaled.map(|it| it.by),
        rows_max: limits.rows_max,
        delay_max_us: u64::try_from(limits.delay_max.as_micros()).unwrap_or(u64::MAX),
        padded: running.pool.is_padded(),
    }
}

fn file_record(file: &File) -> api::FileRecord {
    api::FileRecord {
        path: file.path.to_string(),
        digest: file.digest.to_string(),
        size: file.size,
    }
}

async fn push(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
    sent: Sent,
) -> Response {
    match try_push(&app, permission, &model, sent).await {
        Ok(record) => {
            let status = if record.new {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            json(status, &record)
        }
        Err(refusal) => refuse(&refusal),
    }
}

async fn try_push(
    app: &App,
    permission: Permission<Change>,
    model: &str,
    sent: Sent,
) -> Result<api::PushedRecord, Refusal> {
    let model: ModelName = model.parse()?;
    let record: api::PushRecord = parse(app, sent).await?;
    if record.files.len() as u64 > app.limits.files_max {
        return Err(Refusal::TooLarge {
            what: "the number of files",
            limit: app.limits.files_max,
            got: Some(record.files.len() as u64),
        });
    }
    let mut files = Vec::with_capacity(record.files.len());
    for file in record.files {
        let digest: Digest = file.digest.parse()?;
        // Asking also keeps the content from being swept away before the version is registered.
        if !app.store.blobs.has(digest).await? {
            return Err(Refusal::UnknownBlob {
                digest: digest.to_string(),
            });
        }
        files.push(File {
            path: file.path.parse()?,
            digest,
            size: file.size,
        });
    }
    let main: PackagePath = record.main.parse()?;
    let push = Push {
        model: model.clone(),
        files,
        main,
        manifest: record.manifest,
        source: record.source,
        declared_inputs: declared(record.declared_inputs)?,
        declared_outputs: declared(record.declared_outputs)?,
        columns: record.columns,
    };
    let pushed = models::push(app, permission, push, change(WHO, &record.why)).await?;
    Ok(api::PushedRecord {
        model: model.to_string(),
        version: pushed.version().number(),
        new: matches!(pushed, Pushed::New(_)),
    })
}

fn declared(records: Vec<api::DeclaredRecord>) -> Result<Vec<DeclaredTensor>, Refusal> {
    records
        .into_iter()
        .map(|it| {
            let datatype = DataType::from_name(&it.datatype).ok_or_else(|| Refusal::Malformed {
                what: "the body",
                why: format!("`{}` is not a datatype", it.datatype),
            })?;
            let shape = it
                .shape
                .iter()
                .map(|size| usize::try_from(*size).ok())
                .collect();
            Ok(DeclaredTensor {
                name: it.name,
                datatype,
                shape,
            })
        })
        .collect()
}

async fn remove_version(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path((model, version)): Path<(String, String)>,
) -> Response {
    let result = async {
        let (model, version) = (model.parse()?, version.parse()?);
        models::remove_version(&app, permission, &model, version, change(WHO, "")).await
    };
    finished(result.await)
}

async fn remove_model(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
) -> Response {
    let result =
        async { models::remove_model(&app, permission, &model.parse()?, change(WHO, "")).await };
    finished(result.await)
}

async fn aliases(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(model): Path<String>,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        let aliases = app
            .store
            .registry
            .aliases(&model, None, registry::LIST_MAX)
            .await?;
        Ok(aliases.iter().map(alias_record).collect::<Vec<_>>())
    };
    respond(result.await)
}

async fn alias_history(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path((model, alias)): Path<(String, String)>,
) -> Response {
    let result = async {
        let (model, alias): (ModelName, Alias) = (model.parse()?, alias.parse()?);
        let registry = &app.store.registry;
        let history = registry
            .alias_history(&model, &alias, None, registry::LIST_MAX)
            .await?;
        let records = history.into_iter().map(|it| api::AliasMoveRecord {
            alias: alias.to_string(),
            from: it.from.map(Version::number),
            to: it.to.map(Version::number),
            at_ms: it.change.at.0,
            who: it.change.who,
            why: it.change.why,
        });
        Ok(records.collect::<Vec<_>>())
    };
    respond(result.await)
}

pub(super) fn number(version: u32) -> Result<Version, Refusal> {
    version.to_string().parse()
}

async fn set_alias(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path((model, alias)): Path<(String, String)>,
    sent: Sent,
) -> Response {
    let result = async {
        let (model, alias) = (model.parse()?, alias.parse()?);
        let record: api::AliasChange = parse(&app, sent).await?;
        let version = number(record.version)?;
        let change = change(WHO, &record.why);
        models::set_alias(&app, permission, &model, &alias, version, change).await
    };
    finished(result.await)
}

async fn remove_alias(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path((model, alias)): Path<(String, String)>,
) -> Response {
    let result = async {
        let (model, alias) = (model.parse()?, alias.parse()?);
        models::remove_alias(&app, permission, &model, &alias, change(WHO, "")).await
    };
    finished(result.await)
}

async fn traffic(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(model): Path<String>,
) -> Response {
    let result = async {
        let version = app.store.registry.traffic(&model.parse()?).await?;
        Ok(api::TrafficRecord {
            version: version.map(Version::number),
        })
    };
    respond(result.await)
}

async fn set_traffic(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
    sent: Sent,
) -> Response {
    let result = async {
        let model = model.parse()?;
        let record: api::TrafficChange = parse(&app, sent).await?;
        let version = number(record.version)?;
        models::set_traffic(&app, permission, &model, version, change(WHO, &record.why)).await
    };
    finished(result.await)
}

async fn load(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
    sent: Sent,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        let record: api::LoadChange = parse(&app, sent).await?;
        let version = record.version.map(number).transpose()?;
        models::load(&app, permission, &model, version).await?;
        Ok(load_record(&app, &model))
    };
    respond(result.await)
}

async fn unload(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Path(model): Path<String>,
) -> Response {
    let result = async {
        let model: ModelName = model.parse()?;
        models::unload(&app, permission, &model).await?;
        Ok(load_record(&app, &model))
    };
    respond(result.await)
}

fn load_record(app: &App, model: &ModelName) -> api::LoadRecord {
    let served = app.catalog.model(model).unwrap_or_default();
    let ready = served.ready.keys().map(|it| it.number()).collect();
    api::LoadRecord {
        model: model.to_string(),
        ready,
    }
}

/// Says whether the content is there; it is not given out.
async fn has_blob(
    State(app): State<Arc<App>>,
    _: Allowed<Change>,
    Path(digest): Path<String>,
) -> Response {
    let result = async {
        let digest: Digest = digest.parse()?;
        if app.store.blobs.has(digest).await? {
            return Ok(());
        }
        Err(Refusal::UnknownBlob {
            digest: digest.to_string(),
        })
    };
    finished(result.await)
}

async fn put_blob(
    State(app): State<Arc<App>>,
    _: Allowed<Change>,
    Path(digest): Path<String>,
    body: Body,
) -> Response {
    let result = async {
        let digest: Digest = digest.parse()?;
        let wait_max = std::time::Duration::from_millis(app.limits.body_ms_max);
        let pieces = futures::stream::unfold(body, move |mut body| async move {
            let frame = match tokio::time::timeout(wait_max, body.frame()).await {
                Err(_) => return Some((Err(Refusal::BodyTimeout), body)),
                Ok(frame) => frame?,
            };
            let piece = frame
                .map(|it| it.into_data().unwrap_or_default())
                .map_err(|error| Refusal::Malformed {
                    what: "the body",
                    why: error.to_string(),
                });
            Some((piece, body))
        });
        app.store.blobs.put(digest, pieces.boxed()).await.map(drop)
    };
    finished(result.await)
}
