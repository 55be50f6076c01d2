//! A model as it lies on its owner's disk: which format it is, which files belong to it, what is said
//! about it beside it. Nothing is written and nothing of it is run.
//!
//! R1. What the owner names may be a link; below it nothing may: links, devices and pipes are refused,
//!     and so are files with a second name where a model's weights are meant. Each file is opened step
//!     by step from the named folder, so that a folder swapped for a link meanwhile is noticed too.
//! R2. Files are counted and measured before they are read.
//! R3. A setting that Windlass does not honour is refused by its name, in every format.
//! R4. Formats are told apart by what lies in the folder. What the bytes of a file are is not looked at
//!     here: that is the engine's.
//!
//! | it has | it is |
//! |---|---|
//! | `windlass.yaml` | what that file says its source is; without one, what else the folder is |
//! | `MLmodel` | an MLflow model |
//! | `config.pbtxt`, or folders named by numbers with a model in them | a model of a Triton repository |
//! | a file `*.onnx` in it | an ONNX model |
//! | folders that are models of a Triton repository | a Triton repository |
//! | anything else | the file that most looks like a model, for the engine to name what it is |

use std::path::Path;

use domain::limits::Limits;
use domain::manifest::Manifest;
use domain::{DataType, ModelName, Refusal, Version};

use crate::PackagePath;

mod folder;
mod manifest;
mod mlflow;
mod onnx;
mod package;
mod pbtxt;
mod triton;

pub use manifest::{
    parse as parse_manifest, parse_prices, parse_receivers, parse_section, print as print_yaml,
};
pub use package::PackageFile;

use folder::{Folder, Kind};

/// What a model is laid out as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One ONNX file.
    OnnxFile,
    /// A folder with one ONNX file and what it needs.
    OnnxFolder,
    /// A model of a Triton model repository.
    Triton,
    /// An MLflow model with the ONNX flavour.
    Mlflow,
    /// None of them: the engine will say what the file is.
    Unknown,
}

impl Layout {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnnxFile => "ONNX file",
            Self::OnnxFolder => "ONNX folder",
            Self::Triton => "Triton model repository",
            Self::Mlflow => "MLflow model",
            Self::Unknown => "unknown",
        }
    }
}

/// An input or an output as the files beside the model describe it; the model's own signature decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredTensor {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// What its elements are.
    pub datatype: DataType,
    /// All its axes, with the one of the rows; none where they differ from request to request.
    pub shape: Vec<Option<usize>>,
}

/// A model that could be pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// The name that its place suggests, or that its manifest gives it.
    pub name: ModelName,
    /// Its number in a Triton repository. Windlass numbers versions itself.
    pub number: Option<Version>,
    /// What it was laid out as.
    pub layout: Layout,
    /// Its files, sorted by path.
    pub files: Vec<PackageFile>,
    /// Which of them is the model.
    pub main: PackagePath,
    /// What is said about it, whatever the format said it in. `model` and `source` are used up, and
    /// `examples.file` is where the examples lie in the package.
    pub manifest: Manifest,
    /// What its inputs should turn out to be; empty when nothing is said.
    pub declared_inputs: Vec<DeclaredTensor>,
    /// What its outputs should turn out to be; empty when nothing is said.
    pub declared_outputs: Vec<DeclaredTensor>,
    /// The names of columns that are not said to belong to an input: when the model has one input, they
    /// are its features. (MLflow.)
    pub columns: Vec<String>,
    /// What its owner should know: advice in the files that changes nothing here.
    pub notes: Vec<String>,
}

/// Reads what lies at this path: one package, or for a Triton repository one for each version of each
/// model that its policy says to serve.
pub fn read(path: &Path, limits: &Limits) -> Result<Vec<Package>, Refusal> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Refusal::UnknownPath {
            path: path.display().to_string(),
        },
        _ => crate::failure::of_io(format!("reading `{}`", path.display()), &error),
    })?;
    if metadata.is_dir() {
        let folder = Folder::open(path, limits)?;
        return read_folder(&folder);
    }
    let (folder, name) = Folder::around(path, limits)?;
    if is_manifest(name.file_name()) {
        return read_manifest(&folder, &name);
    }
    let package = onnx::of_file(Folder::named(path, limits)?);
    if let Some(beside) = manifest::NAMES.iter().find(|it| folder.has_file(it)) {
        let manifest = manifest::read(&folder, &folder.path(beside)?)?;
        if manifest::is_about(&manifest, &folder, &name)? {
            return manifest::apply(&folder, manifest, vec![package]);
        }
    }
    Ok(vec![package])
}

fn is_manifest(name: &str) -> bool {
    manifest::NAMES.contains(&name)
}

fn read_folder(folder: &Folder) -> Result<Vec<Package>, Refusal> {
    match manifest::NAMES.iter().find(|it| folder.has_file(it)) {
        Some(name) => read_manifest(folder, &folder.path(name)?),
        None => read_layout(folder),
    }
}

fn read_manifest(folder: &Folder, path: &PackagePath) -> Result<Vec<Package>, Refusal> {
    let manifest = manifest::read(folder, path)?;
    let packages = match manifest::source(&manifest)? {
        None => read_layout(folder)?,
        Some(source) => match folder.kind(&source)? {
            Kind::File => vec![onnx::read_file(folder, &source)?],
            Kind::Folder => read_layout(&folder.below(&source)?)?,
            Kind::Missing => {
                return Err(Refusal::InvalidManifest {
                    field: "source".to_owned(),
                    why: format!("nothing at `{source}`, looked for beside the manifest"),
                });
            }
        },
    };
    manifest::apply(folder, manifest, packages)
}

/// Reads a folder by what lies in it, its manifest aside.
fn read_layout(folder: &Folder) -> Result<Vec<Package>, Refusal> {
    if folder.has_file(mlflow::NAME) {
        return Ok(vec![mlflow::read(folder)?]);
    }
    if triton::is_model(folder)? {
        return triton::read_model(folder);
    }
    if onnx::has_model(folder)? {
        return Ok(vec![onnx::read_folder(folder)?]);
    }
    let models = triton::models(folder)?;
    if models.is_empty() {
        return Ok(vec![onnx::read_folder(folder)?]);
    }
    let mut packages = Vec::new();
    for model in &models {
        packages.extend(triton::read_model(&folder.below(model)?)?);
    }
    Ok(packages)
}

#[cfg(test)]
mod tests;
