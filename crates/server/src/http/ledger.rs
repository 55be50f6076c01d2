//! The ledger over HTTP: labels, questions, the story of an answer, replays, and its own state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ::ledger::Kind;
use arrow::datatypes::Schema;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use domain::access::{Change, Permission, Read};
use domain::{ModelName, PredictionId, Refusal};
use futures::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use wire::api::fairness::WeightsRecord;
use wire::api::ledger as api;
use wire::labels::{Kind as Format, LabelRow, Of};

use super::api::{parse, refuse, respond};
use super::quality::{self, kpi, thresholds, weights};
use super::{Allowed, json};
use crate::app::App;
use crate::body::Sent;
use crate::clock::wall_ms;
use crate::questions::{Sql, limit, sql_limits};
use crate::table::{self, File};
use crate::{fairness, labels, package, replay};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/ledger", get(status))
        .route("/api/v1/ledger/settle", post(settle))
        .route("/api/v1/ledger/verify", post(verify))
        .route("/api/v1/labels", post(add_labels))
        .route("/api/v1/metrics", post(add_metrics))
        .route("/api/v1/query", post(query))
        .route("/api/v1/predictions/{id}", get(prediction))
        .route("/api/v1/models/{model}/quality", get(quality::quality))
        .route("/api/v1/models/{model}/fairness", get(quality::fairness))
        .route(
            "/api/v1/models/{model}/fairness/thresholds",
            get(thresholds),
        )
        .route(
            "/api/v1/models/{model}/fairness/weights",
            get(weights).post(weighed_rows),
        )
        .route("/api/v1/models/{model}/kpi", get(kpi))
        .route("/api/v1/models/{model}/replay", post(replayed))
}

async fn status(State(app): State<Arc<App>>, _: Allowed<Read>) -> Response {
    json(StatusCode::OK, &status_record(&app))
}

fn status_record(app: &App) -> api::LedgerRecord {
    let status = app.keeper.ledger.status();
    let mut models: BTreeMap<&str, api::LedgerModelRecord> = BTreeMap::new();
    for file in &status.files {
        let record = models
            .entry(&file.model)
            .or_insert_with(|| api::LedgerModelRecord {
                model: file.model.clone(),
                predictions: 0,
                labels: 0,
                files: 0,
                bytes: 0,
                bytes_max: status.keep.get(&file.model).and_then(|it| it.bytes),
                first_day: None,
                last_day: None,
            });
        record.files += 1;
        record.bytes += file.bytes;
        if file.kind == Kind::Predictions {
            record.predictions += file.rows;
            let day = Some(::ledger::show_day(file.day));
            if record.first_day.is_none() || day < record.first_day {
                record.first_day.clone_from(&day);
            }
            record.last_day = record.last_day.take().max(day);
        } else {
            record.labels += file.rows;
        }
    }
    let damage = status.damage;
    api::LedgerRecord {
        mode: app.ledger_mode.name().to_owned(),
        recorded: status.recorded,
        labelled: status.labelled,
        lost: status.lost,
        shed: app.keeper.shed.load(Relaxed),
        trouble: status.trouble,
        log_bytes: status.log_bytes,
        segments_waiting: status.segments_waiting as u64,
        segments_max: status.segments_max as u64,
        free_bytes: status.free_bytes,
        models: models.into_values().collect(),
        torn_bytes: damage.torn_bytes,
        damaged_records: damage.records,
        damaged_rows: damage.rows,
        damaged_files: damage.files,
        damaged_file_rows: damage.file_rows,
        expired_rows: status.expired_rows,
    }
}

/// Seals, merges and expires now, and answers when there is nothing left to do.
async fn settle(State(app): State<Arc<App>>, _: Allowed<Change>) -> Response {
    let settled = async {
        let keeper = Arc::clone(&app.keeper);
        package::blocking(move || keeper.start()).await?;
        let late = |_| Refusal::QueryTimeout {
            after_ms: app.limits.query_ms_max,
        };
        tokio::time::timeout(limit(&app), app.keeper.ledger.settle())
            .await
            .map_err(late)?;
        Ok(status_record(&app))
    };
    respond(settled.await)
}

async fn verify(State(app): State<Arc<App>>, _: Allowed<Change>) -> Response {
    let ledger = Arc::clone(&app.keeper.ledger);
    let verified = app
        .questions
        .compute(limit(&app), move || ledger.verify(wall_ms()))
        .await;
    respond(verified.map(|(files, damaged)| api::VerifiedRecord {
        files: files as u64,
        damaged: damaged as u64,
    }))
}

#[derive(Deserialize)]
struct LabelsQuery {
    model: Option<String>,
}

#[derive(Deserialize)]
struct MetricsQuery {
    model: Option<String>,
    /// The name of rows that have none of their own.
    name: Option<String>,
}

async fn add_labels(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Query(query): Query<LabelsQuery>,
    sent: Sent,
) -> Response {
    respond(try_labels(&app, permission, query, sent).await)
}

async fn try_labels(
    app: &App,
    permission: Permission<Change>,
    query: LabelsQuery,
    sent: Sent,
) -> Result<api::LabelsRecord, Refusal> {
    let model = model_of(query.model)?;
    let rows = told(app, Of::Labels, sent).await?;
    labels::add(app, permission, &model, rows).await
}

async fn add_metrics(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Change>,
    Query(query): Query<MetricsQuery>,
    sent: Sent,
) -> Response {
    let added = async {
        let model = model_of(query.model)?;
        let name = query.name.map(|it| it.parse()).transpose()?;
        let rows = told(&app, Of::Metrics, sent).await?;
        labels::add_metrics(&app, permission, &model, name, rows).await
    };
    respond(added.await)
}

fn model_of(model: Option<String>) -> Result<ModelName, Refusal> {
    let model = model.ok_or_else(|| Refusal::Malformed {
        what: "query parameter `model`",
        why: "it is missing; say whose predictions are meant".to_owned(),
    })?;
    model.parse()
}

/// The rows of a body.
async fn told(app: &App, of: Of, mut sent: Sent) -> Result<Vec<Result<LabelRow, String>>, Refusal> {
    let kind = sent
        .headers
        .get(CONTENT_TYPE)
        .map_or("application/json", |it| it.to_str().unwrap_or("?"))
        .to_owned();
    let format = Format::of_content_type(&kind).ok_or_else(|| Refusal::UnsupportedMediaType {
        got: kind.chars().take(80).collect(),
        want: "`application/json`, `application/jsonl`, `text/csv` or `application/vnd.apache.parquet`",
    })?;
    let bytes = sent.read(&app.limits).await?;
    let limits = Arc::clone(&app.limits);
    package::blocking(move || wire::labels::decode(of, format, &bytes, &limits)).await
}

async fn query(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    sent: Sent,
) -> Response {
    match try_query(&app, permission, sent).await {
        Ok(response) => response,
        Err(refusal) => refuse(&refusal),
    }
}

async fn try_query(app: &App, _: Permission<Read>, sent: Sent) -> Result<Response, Refusal> {
    let file = File::accepted(&sent.headers);
    let asked: api::QueryRecord = parse(app, sent).await?;
    match file {
        None => answer_json(app, asked).await,
        Some(file) => {
            let asked = Sql {
                text: asked.sql,
                rows_max: asked.rows_max,
                attributes: None,
            };
            answer_file(app, asked, file).await
        }
    }
}

async fn weighed_rows(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
    sent: Sent,
) -> Response {
    let file = File::accepted(&sent.headers).unwrap_or(File::Csv);
    let answered = async {
        let model: ModelName = model.parse()?;
        let weights: WeightsRecord = parse(&app, sent).await?;
        let asked = fairness::rows(&app, permission, &model, &weights).await?;
        answer_file(&app, asked, file).await
    };
    answered.await.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn answer_json(app: &App, asked: api::QueryRecord) -> Result<Response, Refusal> {
    let most = asked
        .rows_max
        .unwrap_or(app.limits.query_rows_max)
        .min(app.limits.query_rows_max);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (ledger, limits, clock) = (Arc::clone(&app.keeper.ledger), sql_limits(app), app.clock);
    let start = clock.now();
    let answer = app.questions.ask(limit(app), async move {
        let snapshot = ledger.snapshot(wall_ms())?;
        let mut stream = snapshot.query(&asked.sql, limits).await?;
        let schema = stream.schema();
        let (mut rows, mut more) = (Vec::new(), false);
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| ::ledger::refused(&error))?;
            let room = most - rows.len();
            more = batch.num_rows() > room;
            rows.extend(table::rows(&batch.slice(0, room.min(batch.num_rows())))?);
            if more {
                break;
            }
        }
        Ok((names(&schema), rows, more))
    });
    let (columns, rows, more) = answer.await?;
    let took = clock.now().since(start).as_millis();
    let record = api::RowsRecord {
        columns,
        rows,
        more,
        took_ms: u64::try_from(took).unwrap_or(u64::MAX),
    };
    Ok(json(StatusCode::OK, &record))
}

fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|it| it.name().clone()).collect()
}

/// Pieces of a file that wait for the reader.
const PIECES: usize = 4;

/// Answers with a file, piece by piece. What goes wrong after its beginning breaks the answer off.
async fn answer_file(app: &App, asked: Sql, file: File) -> Result<Response, Refusal> {
    let (ledger, limits) = (Arc::clone(&app.keeper.ledger), sql_limits(app));
    let (send, pieces) = tokio::sync::mpsc::channel::<Result<Bytes, Refusal>>(PIECES);
    let (begun, begins) = tokio::sync::oneshot::channel();
    let work = async move {
        let snapshot = ledger.snapshot(wall_ms())?;
        let mut stream = match &asked.attributes {
            None => snapshot.query(&asked.text, limits).await?,
            Some((model, of)) => {
                let of = (model.as_str(), of);
                snapshot.query_with(of, &asked.text, limits).await?
            }
        };
        let mut writer = table::Writer::new(file, &stream.schema())?;
        let mut begun = Some(begun);
        let mut left = asked
            .rows_max
            .map(|it| usize::try_from(it).unwrap_or(usize::MAX));
        loop {
            let next = stream.next().await.transpose();
            let next = next.map_err(|error| ::ledger::refused(&error))?;
            // What fails before its first rows is refused, not broken off.
            if let Some(begun) = begun.take() {
                // Whoever asked may have gone.
                let _ = begun.send(());
            }
            let Some(mut batch) = next else { break };
            if let Some(left) = &mut left {
                batch = batch.slice(0, batch.num_rows().min(*left));
                *left -= batch.num_rows();
            }
            let piece = writer.write(&batch)?;
            if !piece.is_empty() && send.send(Ok(piece)).await.is_err() {
                return Ok(());
            }
            if left == Some(0) {
                break;
            }
        }
        let piece = writer.finish()?;
        let _ = send.send(Ok(piece)).await;
        Ok(())
    };
    let (keeper, limit) = (Arc::clone(&app.keeper), limit(app));
    let questions = app.questions.clone();
    let (tell, mut told) = tokio::sync::oneshot::channel();
    app.tasks.start("query file", async move {
        let result = questions.ask(limit, work).await;
        drop(keeper);
        if let Err(refusal) = result {
            // Either it is told before the answer begins, or the answer breaks off.
            let _ = tell.send(refusal);
        }
    });
    // A question that is given up may go on for a moment: it is not waited for.
    tokio::select! {
        biased;
        refusal = &mut told => {
            if let Ok(refusal) = refusal {
                return Err(refusal);
            }
        }
        _ = begins => {}
    }
    let body = futures::stream::unfold((pieces, Some(told)), |(mut pieces, told)| async move {
        let mut told = told?;
        if told.is_terminated() {
            // It ended well before the answer began: what is left are its pieces.
            let piece = pieces.recv().await?;
            return Some((piece.map_err(std::io::Error::other), (pieces, Some(told))));
        }
        tokio::select! {
            biased;
            piece = pieces.recv() => {
                let piece = piece?.map_err(std::io::Error::other);
                Some((piece, (pieces, Some(told))))
            }
            refusal = &mut told => match refusal {
                Ok(refusal) => Some((Err(std::io::Error::other(refusal)), (pieces, None))),
                Err(_) => {
                    let piece = pieces.recv().await?;
                    Some((piece.map_err(std::io::Error::other), (pieces, Some(told))))
                }
            },
        }
    });
    let mut response = Response::new(Body::from_stream(body));
    let kind = HeaderValue::from_static(file.content_type());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

impl File {
    /// The kind of file that the caller would rather have than JSON.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let accept = headers.get(ACCEPT)?.to_str().ok()?;
        let essence = accept.split([',', ';']).next()?.trim();
        [Self::Csv, Self::Parquet]
            .into_iter()
            .find(|it| it.content_type() == essence)
    }
}

async fn prediction(
    State(app): State<Arc<App>>,
    _: Allowed<Read>,
    Path(id): Path<String>,
) -> Response {
    let found = async {
        let id: PredictionId = id.parse()?;
        let ledger = Arc::clone(&app.keeper.ledger);
        let story = app
            .questions
            .compute(limit(&app), move || ledger.snapshot(wall_ms())?.find(id));
        let story = story
            .await?
            .ok_or_else(|| Refusal::UnknownPrediction { id: id.to_string() })?;
        Ok(api::PredictionRecord {
            prediction_id: id.to_string(),
            row: table::record(&story.row)?,
            rows_of_request: story.rows_of_request as u64,
            labels: story
                .labels
                .into_iter()
                .map(|it| api::StoryLabelRecord {
                    label: it.value,
                    labelled_at_us: it.at_us,
                    by: it.by.to_owned(),
                })
                .collect(),
            sealed: story.sealed,
        })
    };
    respond(found.await)
}

async fn replayed(
    State(app): State<Arc<App>>,
    Allowed(permission): Allowed<Read>,
    Path(model): Path<String>,
    sent: Sent,
) -> Response {
    let page = async {
        let model: ModelName = model.parse()?;
        let request: api::ReplayRequest = parse(&app, sent).await?;
        replay::page(&app, permission, &model, request).await
    };
    respond(page.await)
}
