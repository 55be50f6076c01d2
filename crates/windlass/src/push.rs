//! `windlass push`: registers what lies at a path. Content that the server has already is not sent again.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use domain::limits::Limits;
use domain::{Digest, ModelName, Version};
use http::Method;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use store::format::{self, DeclaredTensor, Package, PackageFile};
use wire::api::{DeclaredRecord, FileRecord, PushRecord, PushedRecord};

use crate::client::Client;
use crate::context::Context;
use crate::drift;
use crate::failure::Failure;
use crate::output::{Output, Unit, count};

#[derive(Debug, Args)]
#[command(after_long_help = "What can be pushed:
  an ONNX file, with its weights in it or beside it
  a folder with one
  a Triton model repository, or one model of it
  an MLflow model folder with the onnx flavour
  a `windlass.yaml` beside any of them says what the model itself does not

A version must load, and must reproduce the examples that come with it, before it is registered. The
first version of a model takes its traffic; a later one gets it by `windlass traffic MODEL:VERSION`.

Examples:
  windlass push model.onnx --name credit
  windlass push ./credit
  windlass push ./model_repository")]
pub(crate) struct PushArgs {
    /// The model's file or folder
    path: PathBuf,
    /// The model's name [default: what `windlass.yaml` says, or the folder's or file's name]
    #[arg(long)]
    name: Option<ModelName>,
    /// Rows that it was trained with, which its predictions are measured against: CSV, JSON lines or Parquet.
    /// Counts are made of them here; no row is sent
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
}

/// What became of one version.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pushed {
    #[serde(serialize_with = "text")]
    pub(crate) model: ModelName,
    #[serde(serialize_with = "number")]
    pub(crate) version: Version,
    /// Whether it is new; else the same package was this version already.
    pub(crate) new: bool,
    /// Whether it came with examples, which it reproduced.
    examples: bool,
}

fn text<S: serde::Serializer>(name: &ModelName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name)
}

fn number<S: serde::Serializer>(version: &Version, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(version.number())
}

impl fmt::Display for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            model,
            version,
            new,
            examples,
        } = self;
        let did = if *new {
            "pushed"
        } else {
            "is this package already"
        };
        let examples = if *examples {
            "examples reproduced"
        } else {
            "no examples to check"
        };
        write!(f, "{model}:{version} {did}, {examples}")
    }
}

/// Runs `windlass push`.
pub(crate) async fn run(context: &Context, args: &PushArgs) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let limits = Limits::default();
    let pushed = push(
        &client,
        context.output,
        &args.path,
        args.name.as_ref(),
        &limits,
    )
    .await;
    let pushed = match (pushed, &args.reference) {
        (Ok(pushed), Some(file)) => measured(&client, context.output, pushed, file).await,
        (pushed, _) => pushed,
    };
    client.close().await;
    context.output.answer(&pushed?, |pushed| {
        pushed
            .iter()
            .map(Pushed::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    })
}

/// Gives the one version that was pushed its baseline.
async fn measured(
    client: &Client,
    output: Output,
    pushed: Vec<Pushed>,
    file: &Path,
) -> anyhow::Result<Vec<Pushed>> {
    let [only] = &pushed[..] else {
        let message = format!(
            "`--reference` is for one version, and {} were pushed",
            pushed.len()
        );
        let hint = "give each its own by `windlass baseline MODEL:VERSION FILE`";
        return Err(Failure::refused(message, hint).into());
    };
    let baseline = drift::send(client, &only.model, only.version, file).await?;
    output.note(&format!(
        "measured against {} of {}",
        count(baseline.reference.rows, "row"),
        baseline.reference.source
    ));
    for name in &baseline.absent {
        output.note(&format!("the reference has no column `{name}`"));
    }
    for it in &baseline.unsegmented {
        output.note(&format!("`{}` is not segmented: {}", it.name, it.why));
    }
    Ok(pushed)
}

/// Registers every version that lies at the path.
pub(crate) async fn push(
    client: &Client,
    output: Output,
    path: &Path,
    name: Option<&ModelName>,
    limits: &Limits,
) -> anyhow::Result<Vec<Pushed>> {
    let mut packages = format::read(path, limits)?;
    if let Some(name) = name {
        let [package] = packages.as_mut_slice() else {
            let message = format!("`{}` holds {} versions", path.display(), packages.len());
            return Err(Failure::usage(message, "name one model by `--name`, not many").into());
        };
        package.name = name.clone();
    }
    let mut all = Vec::new();
    for mut package in packages {
        keep_needed(&mut package, limits)?;
        for note in &package.notes {
            output.note(&format!("{}: {note}", package.name));
        }
        all.push(push_one(client, output, &package).await?);
    }
    Ok(all)
}

/// Leaves out of a package what lies beside the model and is not part of it.
fn keep_needed(package: &mut Package, limits: &Limits) -> anyhow::Result<()> {
    let main = package.file(&package.main)?;
    if main.size > limits.blob_bytes_max {
        return Ok(());
    }
    let mut bytes = Vec::new();
    main.open()?.read_to_end(&mut bytes)?;
    let needed = server::needed_files(&bytes, package.main.file_name())?;
    Ok(package.keep_external(&needed, limits)?)
}

async fn push_one(client: &Client, output: Output, package: &Package) -> anyhow::Result<Pushed> {
    let mut files = Vec::with_capacity(package.files.len());
    for file in &package.files {
        let digest = digest(file)?;
        let path = format!("/api/v1/blobs/{digest}");
        if !client.has(&path).await? {
            let what = file.path.file_name();
            let progress = output.progress(what, file.size, Unit::Bytes);
            let uploaded = client.upload(&path, file.open()?, progress.clone()).await;
            progress.finish_and_clear();
            uploaded.with_context(|| format!("sending `{}`", file.path))?;
        }
        files.push(FileRecord {
            path: file.path.to_string(),
            digest: digest.to_string(),
            size: file.size,
        });
    }
    let record = PushRecord {
        files,
        main: package.main.to_string(),
        manifest: format::print_yaml(&package.manifest)?,
        source: package.layout.name().to_owned(),
        declared_inputs: package.declared_inputs.iter().map(declared).collect(),
        declared_outputs: package.declared_outputs.iter().map(declared).collect(),
        columns: package.columns.clone(),
        why: String::new(),
    };
    let path = format!("/api/v1/models/{}/versions", package.name);
    let pushed: PushedRecord = client.send(Method::POST, &path, &record).await?;
    let version = Version::new(pushed.version).context("the server gave a version 0")?;
    let examples = package.manifest.examples.is_some();
    Ok(Pushed {
        model: package.name.clone(),
        version,
        new: pushed.new,
        examples,
    })
}

fn digest(file: &PackageFile) -> anyhow::Result<Digest> {
    let mut content = file.open()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = content.read(&mut buffer)?;
        if count == 0 {
            return Ok(Digest::new(hasher.finalize().into()));
        }
        hasher.update(&buffer[..count]);
    }
}

fn declared(tensor: &DeclaredTensor) -> DeclaredRecord {
    let length = |it: &Option<usize>| it.map_or(-1, |it| i64::try_from(it).unwrap_or(i64::MAX));
    DeclaredRecord {
        name: tensor.name.clone(),
        datatype: tensor.datatype.name().to_owned(),
        shape: tensor.shape.iter().map(length).collect(),
    }
}
