//! Open Inference Protocol V2 over gRPC, with Triton's extensions, health and reflection.
//!
//! The same words as over REST: every method decodes, calls what `http::oip` calls, and encodes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use domain::access::{self, Change, Deed, Permission, Predict, Read};
use domain::{Reference, Refusal};
use futures::{Stream, StreamExt};
use http::HeaderMap;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use wire::oip::{Content, OutputRecord, ResponseRecord};
use wire::proto::inference as pb;
use wire::proto::inference::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};

use crate::app::App;
use crate::http::oip;
use crate::http::{DECISION, PREDICTION_ID, WARNING, ascii, caller, reference, request_id};
use crate::infer::{Told, infer};
use crate::ledger::Asker;
use crate::models;
use crate::route::ROUTE_TOKEN;
use crate::running::Running;

/// Everything that is answered over gRPC.
pub(crate) fn router(app: &Arc<App>) -> Result<Router, Refusal> {
    let bytes_max = usize::try_from(app.limits.body_bytes_max).unwrap_or(usize::MAX);
    let service = GrpcInferenceServiceServer::new(Service {
        app: Arc::clone(app),
    })
    .max_decoding_message_size(bytes_max)
    .accept_compressed(CompressionEncoding::Gzip)
    .accept_compressed(CompressionEncoding::Deflate);
    let health = HealthServer::new(HealthService {
        app: Arc::clone(app),
    });
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let broken = |error: tonic_reflection::server::Error| Refusal::Internal {
        what: format!("the descriptors of the protocol: {error}"),
    };
    let v1 = reflection().build_v1().map_err(broken)?;
    let v1alpha = reflection().build_v1alpha().map_err(broken)?;
    let routes = Routes::new(service)
        .add_service(health)
        .add_service(v1)
        .add_service(v1alpha);
    Ok(routes.prepare().into_axum_router())
}

struct Service {
    app: Arc<App>,
}

fn status(refusal: &Refusal) -> Status {
    let code = wire::code::code(refusal);
    if code.grpc == wire::code::Grpc::Internal {
        tracing::error!(code = code.name, %refusal, "failed");
    }
    let mut status = Status::new(Code::from(code.grpc.number()), wire::code::message(refusal));
    if let Ok(value) = code.name.parse() {
        status.metadata_mut().insert("windlass-code", value);
    }
    status
}

fn named(model: &str, version: &str) -> Result<Reference, Refusal> {
    reference(model, Some(version).filter(|it| !it.is_empty()))
}

/// How long the caller waits, as `grpc-timeout` says: a number and a unit.
/// Source: gRPC over HTTP/2, "Requests".
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

impl Service {
    fn allowed<D: Deed>(&self, metadata: &MetadataMap) -> Result<Permission<D>, Status> {
        access::check(self.app.policy, caller(&self.app, metadata.as_ref()))
            .map_err(|refusal| status(&refusal))
    }

    async fn look(&self, metadata: &MetadataMap, model: &str, version: &str) -> Found {
        let permission: Permission<Read> = self.allowed(metadata)?;
        let found = async { self.app.look(permission, &named(model, version)?).await };
        found.await.map_err(|refusal| status(&refusal))
    }
}

type Found = Result<Arc<Running>, Status>;

/// Answers one request.
async fn answer(
    app: &App,
    permission: Permission<Predict>,
    message: pb::ModelInferRequest,
    headers: &HeaderMap,
    timeout: Option<Duration>,
) -> Result<(pb::ModelInferResponse, Told), Refusal> {
    let reference = named(&message.model_name, &message.model_version)?;
    let target = app.find(permission, &reference).await?;
    let mut request = wire::proto::decode_infer(message, &app.limits)?;
    let asker = Asker {
        headers,
        request_id: request_id(headers),
        timeout,
    };
    let (running, told, outputs) = infer(app, permission, &target, &mut request, asker).await?;
    let id = told.id.to_string();
    let (parameters, count) = told.parameters(&id);
    let records: Vec<OutputRecord<'_>> = outputs
        .iter()
        .map(|output| {
            let content = match &output.written {
                None => Content::Binary(&output.tensor),
                Some(_) => Content::SharedMemory {
                    datatype: output.tensor.datatype(),
                    shape: output.tensor.shape(),
                },
            };
            OutputRecord {
                name: &output.name,
                content,
            }
        })
        .collect();
    let response = wire::proto::encode_infer(&ResponseRecord {
        model_name: running.model.as_str(),
        model_version: &running.version_text,
        id: request.id.as_deref(),
        parameters: &parameters[..count],
        outputs: &records,
    })?;
    Ok((response, told))
}

type Answered<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(
        &self,
        request: Request<pb::ServerLiveRequest>,
    ) -> Answered<pb::ServerLiveResponse> {
        let _: Permission<Read> = self.allowed(request.metadata())?;
        Ok(Response::new(pb::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        request: Request<pb::ServerReadyRequest>,
    ) -> Answered<pb::ServerReadyResponse> {
        let _: Permission<Read> = self.allowed(request.metadata())?;
        Ok(Response::new(pb::ServerReadyResponse {
            ready: oip::is_ready(&self.app),
        }))
    }

    async fn model_ready(
        &self,
        request: Request<pb::ModelReadyRequest>,
    ) -> Answered<pb::ModelReadyResponse> {
        let message = request.get_ref();
        let ready = match self
            .look(request.metadata(), &message.name, &message.version)
            .await
        {
            Ok(_) => true,
            Err(status) if status.code() == Code::Unavailable => false,
            Err(status) => return Err(status),
        };
        Ok(Response::new(pb::ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        request: Request<pb::ServerMetadataRequest>,
    ) -> Answered<pb::ServerMetadataResponse> {
        let _: Permission<Read> = self.allowed(request.metadata())?;
        Ok(Response::new(oip::metadata_of_server(&self.app).into()))
    }

    async fn model_metadata(
        &self,
        request: Request<pb::ModelMetadataRequest>,
    ) -> Answered<pb::ModelMetadataResponse> {
        let permission: Permission<Read> = self.allowed(request.metadata())?;
        let message = request.get_ref();
        let reference = named(&message.name, &message.version);
        oip::metadata_of(&self.app, permission, &reference)
            .await
            .map(|it| Response::new(it.into()))
            .map_err(|refusal| status(&refusal))
    }

    async fn model_infer(
        &self,
        request: Request<pb::ModelInferRequest>,
    ) -> Answered<pb::ModelInferResponse> {
        let permission: Permission<Predict> = self.allowed(request.metadata())?;
        let timeout = timeout(request.metadata());
        let (metadata, _, message) = request.into_parts();
        let headers = metadata.into_headers();
        match answer(&self.app, permission, message, &headers, timeout).await {
            Err(refusal) => Err(status(&refusal)),
            Ok((message, told)) => {
                let mut response = Response::new(message);
                let metadata = response.metadata_mut();
                if let Ok(id) = told.id.to_string().parse() {
                    metadata.insert(PREDICTION_ID, id);
                }
                let said = [
                    (WARNING, told.warning),
                    (DECISION, told.decision),
                    (ROUTE_TOKEN, told.token.map(|it| it.as_str().to_owned())),
                ];
                for (name, said) in said {
                    if let Some(said) = said.and_then(|it| ascii(&it).parse().ok()) {
                        metadata.insert(name, said);
                    }
                }
                Ok(response)
            }
        }
    }

    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<pb::ModelStreamInferResponse, Status>> + Send>>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<pb::ModelInferRequest>>,
    ) -> Answered<Self::ModelStreamInferStream> {
        let permission: Permission<Predict> = self.allowed(request.metadata())?;
        let app = Arc::clone(&self.app);
        let together = usize::try_from(app.limits.stream_requests_max).unwrap_or(usize::MAX);
        // Answered side by side, given back in the order asked; reading waits when too many are under way.
        let (metadata, _, messages) = request.into_parts();
        let headers = Arc::new(metadata.into_headers());
        let answers = messages
            .map(move |message| {
                let app = Arc::clone(&app);
                let headers = Arc::clone(&headers);
                async move {
                    let message = message?;
                    let id = message.id.clone();
                    let mark_final = wants_final(&message);
                    Ok(
                        match answer(&app, permission, message, &headers, None).await {
                            Ok((response, _)) => wire::proto::stream_response(response, mark_final),
                            Err(refusal) => wire::proto::stream_error(&refusal, &id),
                        },
                    )
                }
            })
            .buffered(together);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn model_config(
        &self,
        request: Request<pb::ModelConfigRequest>,
    ) -> Answered<pb::ModelConfigResponse> {
        let message = request.get_ref();
        let running = self
            .look(request.metadata(), &message.name, &message.version)
            .await?;
        Ok(Response::new(oip::config_of(&self.app, &running).into()))
    }

    async fn model_statistics(
        &self,
        request: Request<pb::ModelStatisticsRequest>,
    ) -> Answered<pb::ModelStatisticsResponse> {
        let message = request.get_ref();
        if message.name.is_empty() {
            let _: Permission<Read> = self.allowed(request.metadata())?;
            return Ok(Response::new(oip::statistics_of_all(&self.app).into()));
        }
        let running = self
            .look(request.metadata(), &message.name, &message.version)
            .await?;
        let model_stats = vec![oip::statistics_of(&running)];
        Ok(Response::new(wire::oip::Statistics { model_stats }.into()))
    }

    async fn repository_index(
        &self,
        request: Request<pb::RepositoryIndexRequest>,
    ) -> Answered<pb::RepositoryIndexResponse> {
        let _: Permission<Read> = self.allowed(request.metadata())?;
        oip::index_of(&self.app, request.get_ref().ready)
            .await
            .map(|it| Response::new(it.into()))
            .map_err(|refusal| status(&refusal))
    }

    async fn repository_model_load(
        &self,
        request: Request<pb::RepositoryModelLoadRequest>,
    ) -> Answered<pb::RepositoryModelLoadResponse> {
        let permission: Permission<Change> = self.allowed(request.metadata())?;
        let message = request.into_inner();
        oip::load_named(
            &self.app,
            permission,
            &message.model_name,
            message.parameters.keys(),
        )
        .await
        .map(|()| Response::new(pb::RepositoryModelLoadResponse {}))
        .map_err(|refusal| status(&refusal))
    }

    async fn repository_model_unload(
        &self,
        request: Request<pb::RepositoryModelUnloadRequest>,
    ) -> Answered<pb::RepositoryModelUnloadResponse> {
        let permission: Permission<Change> = self.allowed(request.metadata())?;
        let unloaded = async {
            let model = request.get_ref().model_name.parse()?;
            models::unload(&self.app, permission, &model).await
        };
        unloaded
            .await
            .map(|()| Response::new(pb::RepositoryModelUnloadResponse {}))
            .map_err(|refusal| status(&refusal))
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<pb::SystemSharedMemoryStatusRequest>,
    ) -> Answered<pb::SystemSharedMemoryStatusResponse> {
        use pb::system_shared_memory_status_response::RegionStatus;
        let _: Permission<Read> = self.allowed(request.metadata())?;
        let name = Some(request.get_ref().name.as_str()).filter(|it| !it.is_empty());
        let regions = self
            .app
            .shared_memory
            .status(name)
            .map_err(|refusal| status(&refusal))?;
        let regions = regions.into_iter().map(|(name, it)| {
            let (key, offset, byte_size) = (it.key, it.offset, it.byte_size);
            (
                name.clone(),
                RegionStatus {
                    name,
                    key,
                    offset,
                    byte_size,
                },
            )
        });
        let regions = regions.collect();
        Ok(Response::new(pb::SystemSharedMemoryStatusResponse {
            regions,
        }))
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<pb::SystemSharedMemoryRegisterRequest>,
    ) -> Answered<pb::SystemSharedMemoryRegisterResponse> {
        let _: Permission<Change> = self.allowed(request.metadata())?;
        let message = request.get_ref();
        self.app
            .shared_memory
            .register(
                &message.name,
                &message.key,
                message.offset,
                message.byte_size,
            )
            .map(|()| Response::new(pb::SystemSharedMemoryRegisterResponse {}))
            .map_err(|refusal| status(&refusal))
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<pb::SystemSharedMemoryUnregisterRequest>,
    ) -> Answered<pb::SystemSharedMemoryUnregisterResponse> {
        let _: Permission<Change> = self.allowed(request.metadata())?;
        let name = Some(request.get_ref().name.as_str()).filter(|it| !it.is_empty());
        self.app.shared_memory.unregister(name);
        Ok(Response::new(pb::SystemSharedMemoryUnregisterResponse {}))
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<pb::CudaSharedMemoryStatusRequest>,
    ) -> Answered<pb::CudaSharedMemoryStatusResponse> {
        Ok(Response::new(pb::CudaSharedMemoryStatusResponse::default()))
    }

    async fn cuda_shared_memory_register(
        &self,
        _: Request<pb::CudaSharedMemoryRegisterRequest>,
    ) -> Answered<pb::CudaSharedMemoryRegisterResponse> {
        Err(status(&oip::accelerator_refusal()))
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<pb::CudaSharedMemoryUnregisterRequest>,
    ) -> Answered<pb::CudaSharedMemoryUnregisterResponse> {
        Ok(Response::new(pb::CudaSharedMemoryUnregisterResponse {}))
    }

    async fn trace_setting(
        &self,
        _: Request<pb::TraceSettingRequest>,
    ) -> Answered<pb::TraceSettingResponse> {
        Err(status(&oip::setting_refusal()))
    }

    async fn log_settings(
        &self,
        _: Request<pb::LogSettingsRequest>,
    ) -> Answered<pb::LogSettingsResponse> {
        Err(status(&oip::setting_refusal()))
    }
}

/// Whether the request asks that the last answer of the stream be marked.
fn wants_final(message: &pb::ModelInferRequest) -> bool {
    use pb::infer_parameter::ParameterChoice;
    let parameter = message.parameters.get("triton_enable_empty_final_response");
    matches!(
        parameter.and_then(|it| it.parameter_choice.as_ref()),
        Some(ParameterChoice::BoolParam(true))
    )
}

/// `grpc.health.v1.Health`: the whole server by the empty name, a model by its own.
struct HealthService {
    app: Arc<App>,
}

fn health(app: &App, service: &str) -> ServingStatus {
    let ready = match service {
        "" | "inference.GRPCInferenceService" => oip::is_ready(app),
        model => match named(model, "").and_then(|it| app.catalog.find(&it)) {
            Ok(_) => !app.listening.is_stopping(),
            Err(Refusal::NotReady { .. }) => false,
            Err(_) => return ServingStatus::ServiceUnknown,
        },
    };
    if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

/// Somebody who wants to be told of every change of a service's health.
struct Watching {
    app: Arc<App>,
    service: String,
    changes: watch::Receiver<()>,
    told: Option<ServingStatus>,
}

impl Watching {
    /// The next status that is another than the last; none when the server stops.
    async fn next(&mut self) -> Option<ServingStatus> {
        loop {
            let stopping = self.app.listening.is_stopping();
            let status = health(&self.app, &self.service);
            if self.told != Some(status) {
                self.told = Some(status);
                return Some(status);
            }
            if stopping {
                return None;
            }
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = self.app.listening.stopping() => {}
            }
        }
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Answered<HealthCheckResponse> {
        let service = &request.get_ref().service;
        let status = health(&self.app, service);
        if status == ServingStatus::ServiceUnknown {
            return Err(Status::not_found(format!("no service `{service}`")));
        }
        Ok(Response::new(HealthCheckResponse {
            status: status as i32,
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Answered<Self::WatchStream> {
        let watching = Watching {
            app: Arc::clone(&self.app),
            service: request.into_inner().service,
            changes: self.app.catalog.changes(),
            told: None,
        };
        let changes = futures::stream::unfold(watching, |mut watching| async move {
            let status = watching.next().await? as i32;
            Some((Ok(HealthCheckResponse { status }), watching))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_in_every_unit() {
        let check = |text: &'static str, want: Option<Duration>| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().expect("ASCII"));
            assert_eq!(timeout(&metadata), want, "{text}");
        };
        check("5S", Some(Duration::from_secs(5)));
        check("100m", Some(Duration::from_millis(100)));
        check("7u", Some(Duration::from_micros(7)));
        check("2H", Some(Duration::from_secs(7200)));
        check("5", None);
        check("S", None);
        check("5x", None);
    }
}
