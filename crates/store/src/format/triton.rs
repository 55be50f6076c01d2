//! A Triton model repository, read in place: `REPOSITORY/MODEL/config.pbtxt` and
//! `REPOSITORY/MODEL/NUMBER/model.onnx`, or one model's folder of it. (The layout: Triton's
//! "Model Repository" and "Model Configuration" pages; the keys: `model_config.proto`.)

use domain::{Refusal, Version};

use super::folder::{Folder, Kind};
use super::{Layout, Package, onnx};
use crate::PackagePath;

mod config;

use config::{Config, Policy};

const CONFIG: &str = "config.pbtxt";
const MODEL: &str = "model.onnx";

/// Whether the folder is a model of a repository.
pub(super) fn is_model(folder: &Folder) -> Result<bool, Refusal> {
    if folder.has_file(CONFIG) {
        return Ok(true);
    }
    for (_, path) in numbers(folder)? {
        if folder.kind(&format!("{path}/{MODEL}").parse()?)? != Kind::Missing {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folders in this one that are models of a repository.
pub(super) fn models(folder: &Folder) -> Result<Vec<PackagePath>, Refusal> {
    let mut models = Vec::new();
    for (path, kind) in folder.entries()? {
        if kind == Kind::Folder && is_model(&folder.below(&path)?)? {
            models.push(path);
        }
    }
    Ok(models)
}

/// One package for each version that the model's policy says to serve.
pub(super) fn read_model(folder: &Folder) -> Result<Vec<Package>, Refusal> {
    let config = if folder.has_file(CONFIG) {
        config::read(&folder.text(&folder.path(CONFIG)?)?)?
    } else {
        Config::default()
    };
    let name = folder.model_name();
    if let Some((line, declared)) = &config.name
        && declared != name.as_str()
    {
        let why =
            format!("`name` is `{declared}`, the folder is `{name}`; Triton wants them the same");
        return Err(config::invalid(*line, why));
    }
    let there = numbers(folder)?;
    let chosen = choose(&config.policy, there)?;
    if chosen.is_empty() {
        return Err(Refusal::UnsupportedFormat {
            found: format!("Triton model `{name}` without a version"),
            hint: format!("put the model at `{name}/1/{MODEL}`"),
        });
    }
    let file: PackagePath = match &config.file {
        Some(file) => file.clone(),
        None => MODEL.parse()?,
    };
    let mut packages = Vec::new();
    for (number, path) in chosen {
        let mut package = read_version(folder, &path, &file)?;
        package.name = name.clone();
        package.number = Some(number);
        package.layout = Layout::Triton;
        package.manifest.serve = config.serve.clone();
        package.declared_inputs.clone_from(&config.inputs);
        package.declared_outputs.clone_from(&config.outputs);
        package.notes.clone_from(&config.notes);
        package.check_files(folder.limits())?;
        packages.push(package);
    }
    Ok(packages)
}

/// The folder of a version holds the model's file, or a folder of that name with the file in it and
/// its external data beside it.
fn read_version(
    folder: &Folder,
    version: &PackagePath,
    file: &PackagePath,
) -> Result<Package, Refusal> {
    let at: PackagePath = format!("{version}/{file}").parse()?;
    match folder.kind(&at)? {
        Kind::Folder => onnx::read_folder(&folder.below(&at)?),
        Kind::File => {
            let files = folder.below(version)?.files()?;
            let name = folder.model_name();
            Ok(onnx::package(name, Layout::Triton, file.clone(), files))
        }
        Kind::Missing => Err(Refusal::UnsupportedFormat {
            found: format!(
                "version {version} of Triton model `{}`",
                folder.model_name()
            ),
            hint: format!(
                "put the model at `{at}`, or name its file as `default_model_filename` in `{CONFIG}`"
            ),
        }),
    }
}

/// The folders that are named by a number, smallest first. As in Triton, a number that begins with a
/// zero is none.
fn numbers(folder: &Folder) -> Result<Vec<(Version, PackagePath)>, Refusal> {
    let mut numbers: Vec<(Version, PackagePath)> = folder
        .entries()?
        .into_iter()
        .filter(|(path, kind)| *kind == Kind::Folder && !path.as_str().starts_with('0'))
        .filter_map(|(path, _)| Some((path.as_str().parse().ok()?, path)))
        .collect();
    numbers.sort();
    Ok(numbers)
}

fn choose(
    policy: &Policy,
    there: Vec<(Version, PackagePath)>,
) -> Result<Vec<(Version, PackagePath)>, Refusal> {
    match policy {
        Policy::All => Ok(there),
        Policy::Latest(count) => {
            let skipped = there.len().saturating_sub(*count);
            Ok(there.into_iter().skip(skipped).collect())
        }
        Policy::Specific(line, wanted) => {
            let missing = wanted
                .iter()
                .find(|wanted| there.iter().all(|(number, _)| number != *wanted));
            if let Some(missing) = missing {
                let why = format!("`version_policy` names version {missing}, which is not there");
                return Err(config::invalid(*line, why));
            }
            let wanted = |(number, _): &(Version, PackagePath)| wanted.contains(number);
            Ok(there.into_iter().filter(wanted).collect())
        }
    }
}
