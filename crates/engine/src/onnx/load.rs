//! From a model's bytes to its signature and its sessions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use domain::signature::Signature;
use domain::{Dimension, Refusal, TensorSpec};
use ort::ep::ExecutionProvider as _;
use ort::session::Session as OrtSession;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, ValueType};

use super::fields::invalid;
use super::inspect::{Facts, Kind, Port};
use super::session::{OnnxSession, Plan};
use super::{CUDA, OnnxRuntime, message, raw};
use crate::{Loaded, ModelSource, Options, Session};

/// Where ONNX Runtime looks for external data of a model that it was given as bytes.
const EXTERNAL_FOLDER: &str = "session.model_external_initializers_file_folder_path";

pub(super) struct Model {
    runtime: OnnxRuntime,
    facts: Facts,
    source: ModelSource,
    options: Options,
    plan: Arc<Plan>,
    /// The session that loading made, until it is asked for.
    first: Mutex<Option<OrtSession>>,
}

impl Model {
    pub(super) fn load(
        runtime: OnnxRuntime,
        facts: Facts,
        source: ModelSource,
        options: Options,
    ) -> Result<Self, Refusal> {
        check_ports(&facts)?;
        check_files(&facts, source.folder.as_deref())?;
        let session = create(&runtime, &facts, &source, &options)?;
        let inputs = specs("input", session.inputs())?;
        let outputs = specs("output", session.outputs())?;
        let rows = Signature::rows_of(&inputs, &outputs);
        let signature = Signature {
            inputs,
            outputs,
            rows,
            task: None,
        };
        let plan = Plan::new(signature).ok_or_else(|| invalid("a name has a NUL in it"))?;
        Ok(Self {
            runtime,
            facts,
            source,
            options,
            plan: Arc::new(plan),
            first: Mutex::new(Some(session)),
        })
    }
}

impl Loaded for Model {
    fn signature(&self) -> &Signature {
        &self.plan.signature
    }

    fn session(&self) -> Result<Box<dyn Session>, Refusal> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let session = match first {
            Some(session) => session,
            None => create(&self.runtime, &self.facts, &self.source, &self.options)?,
        };
        let session = OnnxSession::new(session, Arc::clone(&self.plan));
        let session = session.map_err(|error| internal(&error))?;
        Ok(Box::new(session))
    }
}

/// Refuses what is no tensor before ONNX Runtime sees it: `ort` panics at types that it does not know.
fn check_ports(facts: &Facts) -> Result<(), Refusal> {
    let inputs = facts.inputs.iter().map(|it| ("input", it));
    let outputs = facts.outputs.iter().map(|it| ("output", it));
    for (what, Port { name, kind }) in inputs.chain(outputs) {
        let found = match kind {
            Kind::Tensor | Kind::Unknown => continue,
            // An output's axes may show only when it is computed; an input's are what requests are
            // checked against.
            Kind::TensorOfAnyRank if what == "output" => continue,
            Kind::TensorOfAnyRank => {
                return Err(invalid(format!(
                    "input `{name}` does not say how many axes it has; export the model with the shape \
                     of its inputs, -1 or a name for axes that vary"
                )));
            }
            Kind::Sequence => "a list and not a tensor",
            Kind::Map => {
                "made of maps and not a tensor; export the classifier without them: \
                 `options={'zipmap': False}` of skl2onnx, `zipmap=False` of onnxmltools"
            }
            Kind::Optional => "a value that may be left out and not a tensor",
            Kind::SparseTensor => "a sparse tensor; export the model with dense ones",
        };
        return Err(invalid(format!("{what} `{name}` is {found}")));
    }
    Ok(())
}

fn check_files(facts: &Facts, folder: Option<&Path>) -> Result<(), Refusal> {
    let there = |name: &&String| folder.is_some_and(|folder| folder.join(name).is_file());
    match facts.external_files.iter().find(|it| !there(it)) {
        None => Ok(()),
        Some(name) => Err(invalid(format!(
            "it keeps data in the file `{name}` beside it, which is not there"
        ))),
    }
}

fn create(
    runtime: &OnnxRuntime,
    facts: &Facts,
    source: &ModelSource,
    options: &Options,
) -> Result<OrtSession, Refusal> {
    let mut builder = builder(runtime, source.folder.as_deref(), options)?;
    // `ort` panics where it meets what it does not know, and nothing of ours is shared with it by then.
    let created = catch_unwind(AssertUnwindSafe(|| {
        builder.commit_from_memory(&source.bytes)
    }));
    match created {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err(invalid(message::of_load(error.message(), facts))),
        Err(_) => Err(invalid(
            "an input or an output has a type that is not known",
        )),
    }
}

fn builder(
    runtime: &OnnxRuntime,
    folder: Option<&Path>,
    options: &Options,
) -> Result<SessionBuilder, Refusal> {
    let missing = || Refusal::DeviceMissing {
        device: options.device.clone(),
        known: format!("`{}`", runtime.devices().join("`, `")),
    };
    if !runtime.devices().contains(&options.device.as_str()) {
        return Err(missing());
    }
    let folder = match folder.map(Path::to_str) {
        Some(None) => return Err(invalid("the name of its folder is not UTF-8")),
        Some(Some(folder)) => Some(folder),
        None => None,
    };
    let mut builder = configure(runtime, folder, options).map_err(|error| internal(&error))?;
    if options.device == CUDA {
        let cuda = ort::ep::CUDA::default();
        cuda.register(&mut builder).map_err(|_| missing())?;
    }
    Ok(builder)
}

fn configure(
    runtime: &OnnxRuntime,
    folder: Option<&str>,
    options: &Options,
) -> ort::Result<SessionBuilder> {
    let builder = OrtSession::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(usize::from(options.threads.max(1)))?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_deterministic_compute(true)?
        // `ort` would choose the most economical device that it finds.
        .with_auto_device(AutoDevicePolicy::PreferCPU)?;
    match folder {
        Some(folder) => Ok(builder.with_config_entry(EXTERNAL_FOLDER, folder)?),
        None => Ok(builder),
    }
}

fn specs(what: &str, outlets: &[Outlet]) -> Result<Vec<TensorSpec>, Refusal> {
    outlets.iter().map(|it| spec(what, it)).collect()
}

fn spec(what: &str, outlet: &Outlet) -> Result<TensorSpec, Refusal> {
    let name = outlet.name();
    let ValueType::Tensor {
        ty,
        shape,
        dimension_symbols,
    } = outlet.dtype()
    else {
        return Err(invalid(format!("{what} `{name}` is not a tensor")));
    };
    let datatype = raw::datatype(*ty).ok_or_else(|| {
        invalid(format!(
            "{what} `{name}` has elements of type {ty}, which requests cannot hold"
        ))
    })?;
    let dimension = |(axis, size): (usize, &i64)| match usize::try_from(*size) {
        Ok(size) => Dimension::Fixed(size),
        Err(_) => {
            // Some exporters write `?` for every size they do not know: that is no name.
            let named = |it: &&String| it.chars().any(char::is_alphanumeric);
            let symbol = dimension_symbols.get(axis).filter(named);
            Dimension::Variable(symbol.cloned())
        }
    };
    Ok(TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: shape.iter().enumerate().map(dimension).collect(),
        features: Vec::new(),
    })
}

fn internal(error: &ort::Error) -> Refusal {
    Refusal::Internal {
        what: format!("ONNX Runtime: {}", message::clean(error.message())),
    }
}
