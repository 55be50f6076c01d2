//! One ONNX file, or a folder with one; and the file that most looks like a model where there is none.

use domain::Refusal;
use domain::manifest::Manifest;

use super::folder::{Folder, Kind, model_name};
use super::{Layout, Package, PackageFile};
use crate::PackagePath;

/// How files of models end, most telling first: one is chosen so that the engine can say by its
/// content what it is and how it is converted.
const OTHERS: [&str; 17] = [
    "pkl",
    "pickle",
    "joblib",
    "pt",
    "pth",
    "pb",
    "keras",
    "h5",
    "safetensors",
    "gguf",
    "tflite",
    "mar",
    "bst",
    "ubj",
    "cbm",
    "npy",
    "bin",
];

/// A file by itself, below a folder.
pub(super) fn read_file(folder: &Folder, path: &PackagePath) -> Result<Package, Refusal> {
    let mut file = folder.file(path)?;
    file.path = folder.path(path.file_name())?;
    Ok(of_file(file))
}

/// A file by itself. Its external data is not known yet: [`Package::keep_external`] adds it.
pub(super) fn of_file(file: PackageFile) -> Package {
    let name = file.path.file_name();
    let layout = if is_onnx(&file.path) {
        Layout::OnnxFile
    } else {
        Layout::Unknown
    };
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let main = file.path.clone();
    package(model_name(stem), layout, main, vec![file])
}

pub(super) fn has_model(folder: &Folder) -> Result<bool, Refusal> {
    let onnx = |(path, kind): &(PackagePath, Kind)| *kind == Kind::File && is_onnx(path);
    Ok(folder.entries()?.iter().any(onnx))
}

/// A folder: its one ONNX file, and every other plain file as what that may need.
pub(super) fn read_folder(folder: &Folder) -> Result<Package, Refusal> {
    let mut files = folder.files()?;
    files.retain(|it| !super::is_manifest(it.path.as_str()));
    let models: Vec<&PackagePath> = files
        .iter()
        .map(|it| &it.path)
        .filter(|it| is_onnx(it))
        .collect();
    let package = match models.as_slice() {
        [main] => package(
            folder.model_name(),
            Layout::OnnxFolder,
            (*main).clone(),
            files,
        ),
        [] => read_other(folder, files)?,
        [first, ..] => {
            let names: Vec<String> = models.iter().take(8).map(|it| format!("`{it}`")).collect();
            return Err(Refusal::UnsupportedFormat {
                found: format!(
                    "a folder with {} ONNX files ({})",
                    models.len(),
                    names.join(", ")
                ),
                hint: format!(
                    "name the one that is meant: its path, or `source: ./{first}` in `windlass.yaml`"
                ),
            });
        }
    };
    package.check_files(folder.limits())?;
    Ok(package)
}

fn read_other(folder: &Folder, files: Vec<PackageFile>) -> Result<Package, Refusal> {
    let ends = |ending: &str| {
        files.iter().find(|it| {
            let extension = it.path.file_name().rsplit_once('.');
            extension.is_some_and(|(_, extension)| extension.eq_ignore_ascii_case(ending))
        })
    };
    let likely = match files.as_slice() {
        [only] => Some(only),
        _ => OTHERS.iter().find_map(|ending| ends(ending)),
    };
    let Some(main) = likely else {
        let found = if files.is_empty() {
            "an empty folder"
        } else {
            "a folder without a model"
        };
        return Err(Refusal::UnsupportedFormat {
            found: found.to_owned(),
            hint:
                "give the path of an ONNX file, of a folder with one, of a Triton model repository \
                   or of an MLflow model with the ONNX flavour"
                    .to_owned(),
        });
    };
    let main = main.path.clone();
    Ok(package(folder.model_name(), Layout::Unknown, main, files))
}

fn is_onnx(path: &PackagePath) -> bool {
    path.as_str().ends_with(".onnx")
}

pub(super) fn package(
    name: domain::ModelName,
    layout: Layout,
    main: PackagePath,
    files: Vec<PackageFile>,
) -> Package {
    Package {
        name,
        number: None,
        layout,
        files,
        main,
        manifest: Manifest::default(),
        declared_inputs: Vec::new(),
        declared_outputs: Vec::new(),
        columns: Vec::new(),
        notes: Vec::new(),
    }
}
