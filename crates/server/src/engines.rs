//! Opens the engine when it is first needed, so that a server without ONNX Runtime can still say so.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use domain::Refusal;
use engine::Engine;
use engine::onnx::OnnxRuntime;

/// Where the engine comes from.
#[derive(Clone)]
pub enum EngineSource {
    /// ONNX Runtime's library at the first of these places that has one.
    Library(Vec<PathBuf>),
    /// This one.
    Ready(Arc<dyn Engine>),
}

/// The engine, once it was needed.
pub(crate) struct Engines {
    source: EngineSource,
    opened: Mutex<Option<Arc<dyn Engine>>>,
}

impl Engines {
    pub(crate) fn new(source: EngineSource) -> Self {
        Self {
            source,
            opened: Mutex::new(None),
        }
    }

    /// What runs the models, once it was needed.
    pub(crate) fn opened_name(&self) -> Option<String> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.as_ref().map(|it| it.name().to_owned())
    }

    /// The engine. Where the library is missing it is looked for again the next time, so that it can be
    /// installed under a running server. Blocks while the library is read.
    pub(crate) fn get(&self) -> Result<Arc<dyn Engine>, Refusal> {
        let places = match &self.source {
            EngineSource::Ready(engine) => return Ok(Arc::clone(engine)),
            EngineSource::Library(places) => places,
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*opened {
            return Ok(Arc::clone(engine));
        }
        let Some(library) = places.iter().find(|it| it.is_file()) else {
            let looked: Vec<String> = places
                .iter()
                .map(|it| format!("`{}`", it.display()))
                .collect();
            return Err(Refusal::RuntimeMissing {
                looked: looked.join(", "),
            });
        };
        let engine: Arc<dyn Engine> = Arc::new(OnnxRuntime::open(library)?);
        *opened = Some(Arc::clone(&engine));
        Ok(engine)
    }
}
