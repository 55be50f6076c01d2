//! `windlass.yaml`: read, with errors that name the key, the line and what could stand there.

use domain::Refusal;
use domain::alert::receiver::Receivers;
use domain::budget::Prices;
use domain::manifest::{BatchSetting, Manifest};
use serde_saphyr::Error;

use super::Package;
use super::folder::{Folder, Kind};
use crate::PackagePath;

/// What the file may be called.
pub(super) const NAMES: [&str; 2] = ["windlass.yaml", "windlass.yml"];
/// Where the examples lie in every package.
const EXAMPLES: &str = "examples.json";

/// Reads the text of a `windlass.yaml`.
pub fn parse(text: &str) -> Result<Manifest, Refusal> {
    if text.trim().is_empty() {
        return Ok(Manifest::default());
    }
    yaml(text, NAMES[0])
}

/// Reads the text of a price file; `file` is what errors call it.
pub fn parse_prices(text: &str, file: &str) -> Result<Prices, Refusal> {
    let prices: Prices = yaml(text, file)?;
    prices.check().map_err(|name| Refusal::InvalidManifest {
        field: name.to_owned(),
        why: "it is not a number from 0 up".to_owned(),
    })?;
    Ok(prices)
}

/// Reads the text of a file of receivers; `file` is what errors call it.
pub fn parse_receivers(text: &str, file: &str) -> Result<Receivers, Refusal> {
    let receivers: Receivers = yaml(text, file)?;
    receivers
        .check()
        .map_err(|(field, why)| Refusal::InvalidManifest { field, why })?;
    Ok(receivers)
}

/// A document as YAML; a manifest so that [`parse`] reads it again.
pub fn print<T: serde::Serialize>(document: &T) -> Result<String, Refusal> {
    serde_saphyr::to_string(document).map_err(|error| Refusal::Internal {
        what: format!("writing YAML: {error}"),
    })
}

/// Reads the text of a file with settings of one section, which whoever knows the section checks.
pub fn parse_section(text: &str, file: &str) -> Result<serde_json::Value, Refusal> {
    yaml(text, file)
}

/// Reads YAML into a type; `file` is what errors call it.
pub(super) fn yaml<T: serde::de::DeserializeOwned>(text: &str, file: &str) -> Result<T, Refusal> {
    // Without strictness `off` is false, as it was in YAML 1.1.
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| explain(&error, text, file))
}

fn explain(error: &Error, text: &str, file: &str) -> Refusal {
    let line = error.location().map_or(0, |it| it.line());
    let line = match error.without_snippet() {
        Error::SerdeUnknownField { field, .. } => line_of(field, line, text),
        _ => line,
    };
    let place = match line {
        0 => file.to_owned(),
        line => format!("{file}:{line}"),
    };
    let known = |expected: &[&'static str]| {
        let quoted: Vec<String> = expected.iter().map(|it| format!("`{it}`")).collect();
        quoted.join(", ")
    };
    let (field, why) = match error.without_snippet() {
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            let known = known(expected);
            (
                field.clone(),
                format!("{place}: not a setting; the settings here are {known}"),
            )
        }
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            let known = known(expected);
            (place, format!("`{variant}` is not one of {known}"))
        }
        error => {
            let mut text = error.to_string();
            if let Some(at) = text.find(" at line ") {
                text.truncate(at);
            }
            (place, text)
        }
    };
    Refusal::InvalidManifest { field, why }
}

/// The line that a key is on: inside an enum with a tag, the error knows only where that begins.
fn line_of(key: &str, from: u64, text: &str) -> u64 {
    let is_key = |line: &str| {
        line.match_indices(key).any(|(at, _)| {
            let after = line[at + key.len()..].trim_start_matches(['"', '\'', ' ']);
            after.starts_with(':')
        })
    };
    let lines = text
        .lines()
        .zip(1..)
        .skip_while(|(_, number)| *number < from);
    let mut found = lines
        .filter(|(line, _)| is_key(line))
        .map(|(_, number)| number);
    found.next().unwrap_or(from)
}

pub(super) fn read(folder: &Folder, path: &PackagePath) -> Result<Manifest, Refusal> {
    parse(&folder.text(path)?)
}

/// Where the manifest says that the model is; none for the folder that the manifest is in.
pub(super) fn source(manifest: &Manifest) -> Result<Option<PackagePath>, Refusal> {
    match manifest.source.as_deref() {
        None | Some("." | "./") => Ok(None),
        Some(source) => within("source", source).map(Some),
    }
}

/// Whether the manifest beside a model's file is about that file.
pub(super) fn is_about(
    manifest: &Manifest,
    folder: &Folder,
    model: &PackagePath,
) -> Result<bool, Refusal> {
    if let Some(source) = source(manifest)? {
        return Ok(source == *model);
    }
    let onnx = |(path, kind): &(PackagePath, Kind)| {
        *kind == Kind::File && path.as_str().ends_with(".onnx")
    };
    let models: Vec<_> = folder.entries()?.into_iter().filter(onnx).collect();
    Ok(matches!(models.as_slice(), [(only, _)] if only == model))
}

/// Lets a manifest speak for packages that its source turned out to be.
pub(super) fn apply(
    folder: &Folder,
    manifest: Manifest,
    packages: Vec<Package>,
) -> Result<Vec<Package>, Refusal> {
    if let (Some(name), [first, others @ ..]) = (&manifest.model, packages.as_slice())
        && others.iter().any(|it| it.name != first.name)
    {
        return Err(Refusal::InvalidManifest {
            field: "model".to_owned(),
            why: format!("`{name}` cannot name all the models of a repository"),
        });
    }
    packages
        .into_iter()
        .map(|package| apply_to(folder, &manifest, package))
        .collect()
}

fn apply_to(
    folder: &Folder,
    manifest: &Manifest,
    mut package: Package,
) -> Result<Package, Refusal> {
    // Without `..`: a setting added later must say here how it meets what a format said.
    let Manifest {
        model,
        source: _,
        task,
        signature,
        serve,
        examples,
        ledger,
        budget,
        monitor,
        alerts,
        rollout,
    } = manifest.clone();
    if let Some(name) = model {
        package.name = name
            .parse()
            .map_err(|refusal: Refusal| Refusal::InvalidManifest {
                field: "model".to_owned(),
                why: refusal.to_string(),
            })?;
    }
    let found = std::mem::take(&mut package.manifest);
    let mut serve = serve;
    let twice = |field: &str| Refusal::InvalidManifest {
        field: field.to_owned(),
        why: "the model's own settings say it too; leave one of them out".to_owned(),
    };
    if found.serve.batch != BatchSetting::default() {
        if serve.batch != BatchSetting::default() {
            return Err(twice("serve.batch"));
        }
        serve.batch = found.serve.batch;
    }
    if found.serve.instances.is_some() {
        if serve.instances.is_some() {
            return Err(twice("serve.instances"));
        }
        serve.instances = found.serve.instances;
    }
    package.manifest = Manifest {
        model: None,
        source: None,
        task,
        signature,
        serve,
        examples,
        ledger,
        budget,
        monitor,
        alerts,
        rollout,
    };
    add_examples(folder, &mut package)?;
    package.check_files(folder.limits())?;
    Ok(package)
}

/// Puts the examples into the package under the one name they have there.
fn add_examples(folder: &Folder, package: &mut Package) -> Result<(), Refusal> {
    let Some(examples) = &mut package.manifest.examples else {
        return Ok(());
    };
    let path = within("examples.file", &examples.file)?;
    let mut file = folder.file(&path).map_err(|refusal| match refusal {
        Refusal::UnknownPath { .. } => Refusal::InvalidManifest {
            field: "examples.file".to_owned(),
            why: format!("nothing at `{path}`, looked for beside the manifest"),
        },
        refusal => refusal,
    })?;
    package.files.retain(|it| it.source() != file.source());
    if package.files.iter().any(|it| it.path.as_str() == EXAMPLES) {
        return Err(Refusal::InvalidManifest {
            field: "examples.file".to_owned(),
            why: format!("the package has another `{EXAMPLES}`; give that one another name"),
        });
    }
    file.path = folder.path(EXAMPLES)?;
    examples.file = EXAMPLES.to_owned();
    package.files.push(file);
    package.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}

/// A path in a setting: below the manifest's folder, for a manifest may come from anywhere and must
/// not fetch other files of who reads it.
fn within(field: &str, text: &str) -> Result<PackagePath, Refusal> {
    let plain = text.strip_prefix("./").unwrap_or(text);
    let plain = plain.strip_suffix('/').unwrap_or(plain);
    plain
        .parse()
        .map_err(|refusal: Refusal| Refusal::InvalidManifest {
            field: field.to_owned(),
            why: format!("{refusal}; it must lie below the manifest's folder"),
        })
}
