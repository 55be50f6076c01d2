//! The way of a request through the Open Inference Protocol, the same over REST and gRPC: inputs from the
//! request or from shared memory, the answer, then each output as the caller wants it.

use std::time::Duration;

use domain::access::{Permission, Predict};
use domain::request::NamedTensor;
use domain::{Refusal, Tensor};
use wire::oip::{
    InferenceRequest, PREDICTION_ID_PARAMETER, Parameter, Region, RequestedOutput, Source,
};

use uuid::Uuid;

use crate::app::App;
use crate::ledger::Asked;
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
}

/// The parameter of an answer that carries a warning.
const WARNING_PARAMETER: &str = "warning";
/// The one that says which thresholds of groups held.
const DECISION_PARAMETER: &str = "decision";

impl Told {
    /// The parameters of the answer, and how many of them there are. In one array, so that no answer pays for what it
    /// does not have.
    pub(crate) fn parameters(&self, id: &str) -> ([(&'static str, Parameter); 3], usize) {
        let text = |it: &str| Parameter::Text(it.to_owned());
        let mut all = [
            PREDICTION_ID_PARAMETER,
            WARNING_PARAMETER,
            DECISION_PARAMETER,
        ]
        .map(|name| (name, text("")));
        all[0].1 = text(id);
        let further = [
            (WARNING_PARAMETER, &self.warning),
            (DECISION_PARAMETER, &self.decision),
        ];
        let mut count = 1;
        for (name, said) in further {
            if let Some(said) = said {
                all[count] = (name, text(said));
                count += 1;
            }
        }
        (all, count)
    }
}

/// Answers a request. The timeout in `asked` is what the transport said; the
/// request's own may be shorter.
pub(crate) async fn infer(
    app: &App,
    _: Permission<Predict>,
    running: &Running,
    request: &mut InferenceRequest,
    mut asked: Asked<'_>,
) -> Result<(Told, Vec<Output>), Refusal> {
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
    asked.timeout = [own, asked.timeout].into_iter().flatten().min();
    let id = request.id.clone();
    asked.request_id = id.as_deref().or(asked.request_id);
    let mut answer = running.answer(inputs?, &wanted, &asked).await?;
    let told = Told {
        id: answer.id,
        warning: answer.warning.take(),
        decision: answer.decision.take(),
    };
    let outputs = finish(app, running, &mut request.outputs, answer)?;
    Ok((told, outputs))
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
