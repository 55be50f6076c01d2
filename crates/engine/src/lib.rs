//! Runs models: `Engine -> Loaded -> Session`.
//!
//! An engine reads a model's file and says what the model takes and gives. A session runs it; each is used
//! by one thread at a time, and as many sessions as wanted run side by side. Nothing here waits for anything
//! but the computation itself, so callers give it threads of its own.
//!
//! R1  What an engine cannot honour is refused when the model is loaded, not when it is asked.
//! R2  A run that fails or is stopped leaves its session fit for the next run.
//! R3  A session outlives the `Loaded` it came from; when all of them are dropped, the memory is free again.

pub mod conformance;
pub mod fake;
mod interrupt;
pub mod onnx;
mod sample;
pub mod sniff;

use std::path::PathBuf;
use std::sync::Arc;

use domain::{Refusal, Signature, Tensor};

pub use interrupt::{Interrupt, Running, Stop};
pub use sample::sample_inputs;

/// A kind of model and the code that runs it.
pub trait Engine: Send + Sync {
    /// The engine's name: `onnxruntime`.
    fn name(&self) -> &'static str;

    /// The names of the files that the model's file needs beside it. Refuses what this engine does not run,
    /// as far as the bytes alone show; cheap against [`Engine::load`].
    fn files(&self, bytes: &[u8], file_name: &str) -> Result<Vec<String>, Refusal>;

    /// Reads the model and prepares a first session.
    fn load(&self, source: &ModelSource, options: &Options) -> Result<Box<dyn Loaded>, Refusal>;
}

/// A model that can be run. It holds the model's bytes for further sessions, so drop it when there are enough.
pub trait Loaded: Send + Sync {
    /// What the model takes and gives; its task is not known here.
    fn signature(&self) -> &Signature;

    /// One more session. The first is there already, every other costs as much time and memory as loading.
    fn session(&self) -> Result<Box<dyn Session>, Refusal>;
}

/// Runs a model, one run at a time.
pub trait Session: Send {
    /// The wanted outputs, given as indexes into the signature's and answered in the order asked. Inputs are
    /// in the signature's order. Outputs that nobody asked for are not computed where that saves work.
    fn run(
        &mut self,
        inputs: &[&Tensor],
        outputs: &[usize],
        interrupt: &Interrupt,
    ) -> Result<Vec<Tensor>, Failure>;
}

/// A model's files.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// The bytes of the model's file.
    pub bytes: Arc<[u8]>,
    /// Its name, which appears in refusals.
    pub file_name: String,
    /// The folder that holds the files it needs beside it. Their digests were verified, and they are plain
    /// files and no links: the caller saw to both.
    pub folder: Option<PathBuf>,
}

/// How a model is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Threads of each session, the caller's own among them.
    pub threads: u16,
    /// Where it runs: [`Options::CPU`], or an accelerator that the engine offers.
    pub device: String,
}

impl Options {
    /// The device that is always there.
    pub const CPU: &str = "cpu";

    /// One thread on the CPU.
    pub fn one_thread() -> Self {
        Self {
            threads: 1,
            device: Self::CPU.to_owned(),
        }
    }
}

/// Why a run gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its [`Interrupt`] was stopped.
    Interrupted,
    /// The model could not compute it; the sentence says why and names no path of this machine.
    Failed(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Interrupted => write!(f, "the run was stopped"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}
