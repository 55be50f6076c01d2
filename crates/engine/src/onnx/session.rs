//! One session: the way of a run.

use std::sync::Arc;

use domain::{Signature, Tensor};
use ort::memory::MemoryInfo;
use ort::session::{RunOptions, Session as OrtSession};

use super::message;
use super::raw::{self, Names, Value};
use crate::interrupt::Stop;
use crate::{Failure, Interrupt, Session};

/// What all sessions of a model share, made once so that a run makes none of it.
pub(super) struct Plan {
    pub(super) signature: Signature,
    input_names: Names,
    output_names: Names,
    memory: MemoryInfo<'static>,
}

impl Plan {
    /// None when a name has a NUL in it.
    pub(super) fn new(signature: Signature) -> Option<Self> {
        let names =
            |specs: &[domain::TensorSpec]| Names::new(specs.iter().map(|it| it.name.as_str())).ok();
        Some(Self {
            input_names: names(&signature.inputs)?,
            output_names: names(&signature.outputs)?,
            memory: MemoryInfo::default(),
            signature,
        })
    }
}

pub(super) struct OnnxSession {
    session: OrtSession,
    plan: Arc<Plan>,
    stopper: Stopper,
}

/// What ends a run. Used for run after run until one was stopped: ONNX Runtime then keeps refusing to run.
struct Stopper {
    options: Arc<RunOptions>,
    stop: Stop,
}

impl Stopper {
    fn new() -> ort::Result<Self> {
        let options = Arc::new(RunOptions::new()?);
        let stopped = Arc::clone(&options);
        let stop: Stop = Arc::new(move || {
            // It sets a flag. Were it to fail, the run would end later, by itself.
            let _ = stopped.terminate();
        });
        Ok(Self { options, stop })
    }
}

impl OnnxSession {
    pub(super) fn new(session: OrtSession, plan: Arc<Plan>) -> ort::Result<Self> {
        Ok(Self {
            session,
            plan,
            stopper: Stopper::new()?,
        })
    }

    /// ONNX Runtime checks types and shapes by itself, and names what is wrong.
    fn check(&self, inputs: &[&Tensor], outputs: &[usize]) -> Result<(), Failure> {
        let signature = &self.plan.signature;
        let (want, got) = (signature.inputs.len(), inputs.len());
        if want != got {
            return Err(failed(format!("the model takes {want} inputs, got {got}")));
        }
        let count = signature.outputs.len();
        match outputs.iter().find(|it| **it >= count) {
            Some(index) => Err(failed(format!(
                "the model has {count} outputs, none is #{index}"
            ))),
            None => Ok(()),
        }
    }
}

impl Session for OnnxSession {
    fn run(
        &mut self,
        inputs: &[&Tensor],
        outputs: &[usize],
        interrupt: &Interrupt,
    ) -> Result<Vec<Tensor>, Failure> {
        self.check(inputs, outputs)?;
        let plan = &*self.plan;
        let values: ort::Result<Vec<Value<'_>>> = inputs
            .iter()
            .map(|it| Value::view(&plan.memory, it))
            .collect();
        let values = values.map_err(|error| explain(&error))?;

        let running = interrupt.begin(&self.stopper.stop)?;
        let ran = raw::run(
            &mut self.session,
            &self.stopper.options,
            (&plan.input_names, &values),
            (&plan.output_names, outputs),
        );
        let stopped = running.end();
        if stopped {
            self.stopper = Stopper::new().map_err(|error| explain(&error))?;
        }
        let values = match ran {
            Ok(values) => values,
            Err(_) if stopped => return Err(Failure::Interrupted),
            Err(error) => return Err(explain(&error)),
        };
        let answers = outputs.iter().zip(values);
        answers
            .map(|(index, value)| read(plan, *index, value))
            .collect()
    }
}

fn read(plan: &Plan, index: usize, value: Option<Value<'_>>) -> Result<Tensor, Failure> {
    let name = &plan.signature.outputs[index].name;
    let value = value.ok_or_else(|| failed(format!("output `{name}` was left out")))?;
    value.read().map_err(|error| {
        failed(format!(
            "output `{name}`: {}",
            message::clean(error.message())
        ))
    })
}

fn explain(error: &ort::Error) -> Failure {
    failed(message::clean(error.message()))
}

fn failed(why: String) -> Failure {
    Failure::Failed(why)
}
