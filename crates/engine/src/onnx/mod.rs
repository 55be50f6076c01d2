//! ONNX models, run by ONNX Runtime.
//!
//! R1  A process loads ONNX Runtime once, from one file: that is how the library is made.
//! R2  A device is used or refused; nothing falls back to another.
//! R3  Threads do not spin while they wait, so a session that has nothing to do uses no processor.

pub(crate) mod fields;
pub mod inspect;
mod load;
mod message;
mod raw;
mod session;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use domain::Refusal;
use ort::environment::Environment;
use ort::ep::ExecutionProvider;

use self::inspect::Facts;
use crate::sniff::{Found, sniff};
use crate::{Engine, Loaded, ModelSource, Options};

/// ONNX Runtime, loaded.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    library: PathBuf,
    version: String,
    environment: Environment,
}

/// R1: `ort` and the library hold their state for the process and cannot be opened a second time, even after
/// everything was dropped. So what was opened is kept.
static OPENED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

impl OnnxRuntime {
    /// Loads the library from its file. A failure leaves the process able to try another file. Once it is
    /// loaded, opening the same file gives the same runtime and any other is refused.
    pub fn open(library: &Path) -> Result<Self, Refusal> {
        let missing = |why: &str| Refusal::RuntimeMissing {
            looked: format!("`{}`{why}", library.display()),
        };
        let path = library.canonicalize().map_err(|_| missing(""))?;
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*opened {
            Some(runtime) if runtime.library == path => return Ok(runtime.clone()),
            Some(runtime) => {
                let (this, other) = (path.display(), runtime.library.display());
                let why = format!(
                    "ONNX Runtime is loaded from `{other}` already, a process cannot load `{this}` as well"
                );
                return Err(Refusal::Conflict { why });
            }
            None => {}
        }
        let builder = ort::init_from(&path).map_err(|error| match error {
            ort::LoadDynamicError::BadVersion { version_str, .. } => {
                let least = ort::MINOR_VERSION;
                missing(&format!(
                    ", which is {version_str}; at least 1.{least}.0 is needed"
                ))
            }
            ort::LoadDynamicError::Dlopen { .. } => {
                missing(", which is no library for this machine")
            }
            ort::LoadDynamicError::MissingApi { .. }
            | ort::LoadDynamicError::InvalidVersionString => missing(", which is not ONNX Runtime"),
        })?;
        let environment = builder
            .with_name("windlass")
            .with_telemetry(false)
            .build()
            .map_err(|error| missing(&format!(", which does not start: {error}")))?;
        // Everything that goes wrong is returned as an error as well.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        let runtime = Self {
            version: raw::version(&path).ok_or_else(|| missing(", which has no version"))?,
            library: path,
            environment,
        };
        Ok(opened.insert(runtime).clone())
    }

    /// The library's version: `1.31.1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The devices that this library was built for and that we know how to use.
    pub fn devices(&self) -> Vec<&'static str> {
        let mut devices = vec![Options::CPU];
        if ort::ep::CUDA::is_available().unwrap_or(false) {
            devices.push(CUDA);
        }
        devices
    }
}

/// The name of NVIDIA's devices.
const CUDA: &str = "cuda";

impl Engine for OnnxRuntime {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn files(&self, bytes: &[u8], file_name: &str) -> Result<Vec<String>, Refusal> {
        let facts = read(bytes, file_name)?;
        Ok(facts.external_files.into_iter().collect())
    }

    fn load(&self, source: &ModelSource, options: &Options) -> Result<Box<dyn Loaded>, Refusal> {
        let facts = read(&source.bytes, &source.file_name)?;
        let model = load::Model::load(self.clone(), facts, source.clone(), options.clone())?;
        Ok(Box::new(model))
    }
}

fn read(bytes: &[u8], file_name: &str) -> Result<Facts, Refusal> {
    match sniff(bytes, file_name)? {
        Found::Onnx => inspect::inspect(bytes),
    }
}
