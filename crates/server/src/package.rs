//! From stored files to what an engine loads, every byte checked against its digest.

use std::path::Path;
use std::sync::Arc;

use domain::manifest::Manifest;
use domain::request::NamedTensor;
use domain::{Refusal, Signature};
use engine::{Engine, ModelSource};
use store::blobs::Scratch;
use store::registry::File;
use store::{PackagePath, Store};
use wire::oip::{Body, Source};

use crate::prepare::Examples;

/// A version's files, ready to be loaded.
pub(crate) struct Opened {
    pub(crate) source: ModelSource,
    /// The size of everything that an engine reads.
    pub(crate) bytes: u64,
    examples: Option<bytes::Bytes>,
    /// Holds the files beside the model for as long as sessions may be made.
    _scratch: Option<Scratch>,
}

/// Reads the model, and puts the files that it needs beside it into a folder of their own.
pub(crate) async fn open(
    store: &Store,
    engine: Arc<dyn Engine>,
    files: &[File],
    main: &PackagePath,
    manifest: &Manifest,
) -> Result<Opened, Refusal> {
    let find = |path: &str| files.iter().find(|it| it.path.as_str() == path);
    let model = find(main.as_str()).ok_or_else(|| Refusal::InvalidModel {
        why: format!("its file `{main}` is not among the files pushed"),
    })?;
    let content = store.blobs.get(model.digest).await?;
    let file_name = Path::new(main.as_str())
        .file_name()
        .map_or_else(|| main.to_string(), |it| it.to_string_lossy().into_owned());
    let bytes: Arc<[u8]> = content.as_ref().into();
    let (name, read) = (file_name.clone(), Arc::clone(&bytes));
    let beside = blocking(move || engine.files(&read, &name)).await?;
    let mut size = model.size;
    let mut scratch = None;
    if !beside.is_empty() {
        let folder = store.blobs.scratch().await?;
        let parent = Path::new(main.as_str()).parent().unwrap_or(Path::new(""));
        for location in &beside {
            let path = parent.join(location);
            let path = path.to_string_lossy();
            let file = find(&path).ok_or_else(|| Refusal::ExternalDataOutside {
                location: location.clone(),
            })?;
            let target = folder.path().join(location);
            if let Some(parent) = target.parent() {
                let made = tokio::fs::create_dir_all(parent).await;
                made.map_err(|error| Refusal::StorageFailed {
                    what: format!("making a folder for `{location}`: {error}"),
                })?;
            }
            store.blobs.copy_into(file.digest, &target).await?;
            size += file.size;
        }
        scratch = Some(folder);
    }
    let examples = match &manifest.examples {
        None => None,
        Some(examples) => {
            let path = examples.file.trim_start_matches("./");
            let file = find(path).ok_or_else(|| Refusal::InvalidManifest {
                field: "examples.file".to_owned(),
                why: format!("`{path}` is not among the files pushed"),
            })?;
            Some(store.blobs.get(file.digest).await?)
        }
    };
    let folder = scratch.as_ref().map(|it| it.path().to_owned());
    let source = ModelSource {
        bytes,
        file_name,
        folder,
    };
    Ok(Opened {
        source,
        bytes: size,
        examples,
        _scratch: scratch,
    })
}

impl Opened {
    /// The examples, read by the signature.
    pub(crate) fn examples(
        &self,
        manifest: &Manifest,
        signature: &Signature,
        limits: &domain::limits::Limits,
    ) -> Result<Option<Examples>, Refusal> {
        let (Some(bytes), Some(setting)) = (&self.examples, &manifest.examples) else {
            return Ok(None);
        };
        let (inputs, outputs) = read_examples(bytes, limits)?;
        let named = |name: &str| signature.output(name).is_some();
        if let Some(unknown) = outputs.iter().find(|it| !named(&it.name)) {
            let known = domain::signature::names(signature.outputs.iter());
            return Err(Refusal::UnknownOutput {
                output: unknown.name.clone(),
                known,
            });
        }
        Ok(Some(Examples {
            inputs,
            outputs,
            tolerance: setting.tolerance,
        }))
    }
}

/// A request and its answer in one JSON document, each as it is on the wire.
fn read_examples(
    bytes: &[u8],
    limits: &domain::limits::Limits,
) -> Result<(Vec<NamedTensor>, Vec<NamedTensor>), Refusal> {
    let malformed = |why: &str| Refusal::InvalidManifest {
        field: "examples.file".to_owned(),
        why: why.to_owned(),
    };
    let Body::Request(request) = wire::oip::decode_request(bytes, None, limits)? else {
        return Err(malformed("it is not JSON"));
    };
    let inputs: Option<Vec<NamedTensor>> = request
        .inputs
        .into_iter()
        .map(|input| match input.source {
            Source::Tensor(tensor) => Some(NamedTensor {
                name: input.name,
                tensor,
            }),
            Source::SharedMemory { .. } => None,
        })
        .collect();
    let inputs = inputs.ok_or_else(|| malformed("an input has no `data`"))?;
    let outputs = wire::oip::decode_response(bytes, None, limits)?.outputs;
    Ok((inputs, outputs))
}

/// Runs what takes long on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Refusal::Internal {
            what: format!("work was cut off: {error}"),
        })?
}
