//! The way of a request through the Open Inference Protocol, the same over REST and gRPC: inputs from the
//! request or from shared memory, the answer, then each output as the caller wants it.

use std::time::Duration;

use domain::access::{Permission, Predict};
use domain::request::NamedTensor;
use domain::rollout::assign::RouteToken;
use domain::{Refusal, Tensor};
use wire::oip::{InferenceRequest, PREDICTION_ID_PARAMETER, Region, RequestedOutput, Source};

use uuid::Uuid;

use crate::app::App;
use crate::ledger::Asker;
use crate::route::Target;
use crate::running::{Answer, Running};

/// One output of an answer.
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) tensor: Tensor,
    /// How the caller asked for it; nothing when it asked for all.
    pub(crate) requested: Option<RequestedOutput>,
    /// Where it was written in place of the answer.
    pub(crate) written: Option<Region>,
}

/// What is told of an answer beside its outputs.
pub(crate) struct Told {
    /// The prediction's id.
    pub(crate) id: Uuid,
    /// What is odd about the request.
    pub(crate) warning: Option<String>,
    /// Which thresholds of groups held.
    pub(crate) decision: Option<String>,
    /// What holds the caller where it went.
    pub(crate) token: Option<RouteToken>,
}

/// The parameter of an answer that carries a warning.
const WARNING_PARAMETER: &str = "warning";
/// The one that says which thresholds of groups held.
const DECISION_PARAMETER: &str = "decision";
/// The one that holds the caller where it went.
const TOKEN_PARAMETER: &str = "route_token";

impl Told {
    /// The parameters of the answer, and how many of them there are.
    pub(crate) fn parameters<'a>(&'a self, id: &'a str) -> ([(&'static str, &'a str); 4], usize) {
        let each = [
            (PREDICTION_ID_PARAMETER, Some(id)),
            (WARNING_PARAMETER, self.warning.as_deref()),
            (DECISION_PARAMETER, self.decision.as_deref()),
            (TOKEN_PARAMETER, self.token.as_ref().map(RouteToken::as_str)),
        ];
        let (mut all, mut count) = ([("", ""); 4], 0);
        for (name, said) in each {
            if let Some(text) = said {
                all[count] = (name, text);
                count += 1;
            }
        }
        (all, count)
    }
}

/// Answers a request, and says which version did. The asker's timeout is what the transport said; the
/// request's own may be shorter.
pub(crate) async fn infer<'a>(
    app: &App,
    _: Permission<Predict>,
    target: &'a Target,
    request: &mut InferenceRequest,
    mut asker: Asker<'_>,
) -> Result<(&'a Running, Told, Vec<Output>), Refusal> {
    let inputs = std::mem::take(&mut request.inputs);
    let inputs: Result<Vec<NamedTensor>, Refusal> = inputs
        .into_iter()
        .map(|input| {
            let tensor = match input.source {
                Source::Tensor(tensor) => tensor,
                Source::SharedMemory {
                    datatype,
                    shape,
                    region,
                } => {
                    let bytes = app.shared_memory.read(&region, app.limits.body_bytes_max)?;
                    wire::oip::decode_binary(&input.name, datatype, shape, &bytes)?
                }
            };
            Ok(NamedTensor {
                name: input.name,
                tensor,
            })
        })
        .collect();
    let wanted: Vec<String> = request.outputs.iter().map(|it| it.name.clone()).collect();
    let own = request
        .parameters
        .timeout_us
        .filter(|it| *it > 0)
        .map(Duration::from_micros);
    asker.timeout = [own, asker.timeout].into_iter().flatten().min();
    let id = request.id.clone();
    asker.request_id = id.as_deref().or(asker.request_id);
    let (running, mut answer) = target.answer(inputs?, &wanted, asker).await?;
    let told = Told {
        id: answer.id,
        warning: answer.warning.take(),
        decision: answer.decision.take(),
        token: answer.token,
    };
    let outputs = finish(app, running, &mut request.outputs, answer)?;
    Ok((running, told, outputs))
}

fn finish(
    app: &App,
    running: &Running,
    requested: &mut Vec<RequestedOutput>,
    answer: Answer,
) -> Result<Vec<Output>, Refusal> {
    let mut requested = std::mem::take(requested).into_iter();
    let signature = &running.signature;
    answer
        .outputs
        .into_iter()
        .zip(answer.tensors)
        .map(|(index, tensor)| {
            let name = signature.outputs[index].name.clone();
            let requested = requested.next();
            let classes = requested.as_ref().and_then(|it| it.classification);
            let tensor = match classes {
                None => tensor,
                Some(count) => {
                    let labels = signature.task.as_ref().map_or(&[][..], |it| it.classes());
                    wire::oip::classify(&name, &tensor, signature.rows, count, labels)?
                }
            };
            let region = requested.as_ref().and_then(|it| it.shared_memory.clone());
            if let Some(region) = &region {
                let mut bytes = Vec::new();
                wire::oip::encode_binary(&tensor, &mut bytes)?;
                app.shared_memory.write(&name, region, &bytes)?;
            }
            Ok(Output {
                name,
                tensor,
                requested,
                written: region,
            })
        })
        .collect()
}
