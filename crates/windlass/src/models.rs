//! Looking at models and predictions: list, show. What changes them is in `change`.

pub(crate) mod change;
mod prediction;

use clap::Args;
use domain::{ModelName, PredictionId, Reference, Refusal, Selector, Signature, Version};
use http::Method;
use wire::api::{
    LengthRecord, LoadChange, LoadRecord, ModelDetailRecord, ModelRecord, PageRecord,
    SignatureRecord, TensorRecord, VersionDetailRecord,
};

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{moment, table};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  windlass show credit\n  windlass show credit:3\n  \
    windlass show credit@champion --json\n  \
    windlass show prediction 01932f6e-3b0a-7c9e-8f3d-2a1b4c5d6e7f.0"
)]
pub(crate) struct ShowArgs {
    /// A model `credit`, a version `credit:3`, or the version of an alias `credit@champion`; with an ID the
    /// word `prediction`
    model: Reference,
    /// The prediction's id, as its answer and the ledger have it
    id: Option<PredictionId>,
}

/// The word in front of a prediction's id. A model may have this name: an id never stands behind a model's.
const PREDICTION: &str = "prediction";

fn model_path(model: &ModelName) -> String {
    format!("/api/v1/models/{model}")
}

/// Runs `windlass list`.
pub(crate) async fn list(context: &Context) -> anyhow::Result<()> {
    let client = Client::connect(context).await?;
    let models = all_models(&client).await;
    client.close().await;
    context.output.answer(&models?, |models| {
        if models.is_empty() {
            return "no models yet; `windlass push PATH` registers one".to_owned();
        }
        let row = |it: &ModelRecord| {
            let traffic = it
                .traffic
                .version
                .map_or_else(|| "-".to_owned(), |it| it.to_string());
            let state = match &it.why {
                Some(why) => format!("{}: {why}", it.state),
                None => it.state.clone(),
            };
            vec![
                it.name.clone(),
                it.versions.to_string(),
                traffic,
                state,
                moment(it.created_ms),
            ]
        };
        table(
            &["MODEL", "VERSIONS", "TRAFFIC", "STATE", "CREATED"],
            models.iter().map(row),
        )
    })
}

async fn all_models(client: &Client) -> anyhow::Result<Vec<ModelRecord>> {
    let mut models = Vec::new();
    let mut path = "/api/v1/models".to_owned();
    loop {
        let page: PageRecord<ModelRecord> = client.get(&path).await?;
        models.extend(page.items);
        let Some(next) = page.next else {
            return Ok(models);
        };
        path = format!("/api/v1/models?after={next}");
    }
}

/// Runs `windlass show`.
pub(crate) async fn show(context: &Context, args: &ShowArgs) -> anyhow::Result<()> {
    if let Some(id) = &args.id {
        return show_prediction(context, &args.model, id).await;
    }
    let client = Client::connect(context).await?;
    let shown = match &args.model.selector {
        Selector::Traffic => {
            let detail = client
                .get::<ModelDetailRecord>(&model_path(&args.model.model))
                .await;
            detail.and_then(|it| context.output.answer(&it, show_model))
        }
        Selector::Version(_) | Selector::Alias(_) => {
            let detail = version(&client, &args.model).await;
            detail.and_then(|it| context.output.answer(&it, show_version))
        }
    };
    client.close().await;
    shown.map_err(|error| match args.model.to_string() == PREDICTION {
        true => without_id(&error).into(),
        false => error,
    })
}

/// There is no model called `prediction`, most likely: somebody forgot the id.
fn without_id(error: &anyhow::Error) -> Failure {
    let mut failure = Failure::of(error);
    if failure.exit == Exit::NotFound {
        failure.hint = Some("`windlass show prediction ID` shows a prediction".to_owned());
    }
    failure
}

async fn show_prediction(
    context: &Context,
    word: &Reference,
    id: &PredictionId,
) -> anyhow::Result<()> {
    if word.to_string() != PREDICTION {
        let message = format!("an id stands behind `{PREDICTION}`, got `{word} {id}`");
        let hint = format!("give `windlass show {word}`, or `windlass show {PREDICTION} {id}`");
        return Err(Failure::usage(message, hint).into());
    }
    let client = Client::connect(context).await?;
    let story = prediction::story(&client, id).await;
    client.close().await;
    context.output.answer(&story?, prediction::show)
}

fn show_model(detail: &ModelDetailRecord) -> String {
    let ModelDetailRecord {
        model,
        aliases,
        recent,
        signature,
        sample: _,
    } = detail;
    let mut parts = vec![match &model.why {
        Some(why) => format!("{}  {}: {why}", model.name, model.state),
        None => format!("{}  {}", model.name, model.state),
    }];
    let rows = recent.iter().map(|it| {
        let mut names: Vec<String> = aliases
            .iter()
            .filter(|alias| alias.version == it.version)
            .map(|alias| format!("@{}", alias.alias))
            .collect();
        if model.traffic.version == Some(it.version) {
            names.insert(0, "traffic".to_owned());
        }
        vec![
            it.version.to_string(),
            it.state.clone(),
            names.join(" "),
            it.source.clone(),
            moment(it.created_ms),
        ]
    });
    parts.push(table(
        &["VERSION", "STATE", "NAMES", "SOURCE", "CREATED"],
        rows,
    ));
    parts.extend(signature.iter().map(show_signature));
    parts.join("\n\n")
}

fn show_version(detail: &VersionDetailRecord) -> String {
    let VersionDetailRecord {
        version,
        model,
        aliases,
        files,
        main,
        manifest,
        signature,
        report: _,
        serving,
    } = detail;
    let mut head = format!("{model}:{}  {}", version.version, version.state);
    for alias in aliases {
        head.push_str(&format!("  @{alias}"));
    }
    let rows = files.iter().map(|it| {
        let role = if it.path == *main { "model" } else { "" };
        vec![
            it.path.clone(),
            it.size.to_string(),
            it.digest.clone(),
            role.to_owned(),
        ]
    });
    let files = table(&["FILE", "BYTES", "SHA256", ""], rows);
    let mut parts = vec![head, show_signature(signature), files];
    if let Some(serving) = serving {
        let padded = if serving.padded {
            ", padded to similar lengths"
        } else {
            ""
        };
        let by = serving.scaled_by.map_or_else(String::new, |id| {
            format!(" by what an alert made of it (`windlass actions --reverse {id}`)")
        });
        parts.push(format!(
            "serving with {} sessions{by}, up to {} rows a run, passed over for at most {} us{padded}",
            serving.instances, serving.rows_max, serving.delay_max_us
        ));
    }
    if !manifest.trim().is_empty() && manifest.trim() != "{}" {
        parts.push(format!("windlass.yaml\n{}", manifest.trim_end()));
    }
    parts.join("\n\n")
}

fn show_signature(signature: &SignatureRecord) -> String {
    let row = |way: &str, it: &TensorRecord| {
        let shape: Vec<String> = it
            .shape
            .iter()
            .map(|it| match it {
                LengthRecord::Number(length) => length.to_string(),
                LengthRecord::Name(name) => name.clone(),
            })
            .collect();
        let shape = format!("[{}]", shape.join(", "));
        vec![
            way.to_owned(),
            it.name.clone(),
            it.datatype.clone(),
            shape,
            it.features.join(", "),
        ]
    };
    let inputs = signature.inputs.iter().map(|it| row("in", it));
    let outputs = signature.outputs.iter().map(|it| row("out", it));
    table(
        &["", "TENSOR", "DATATYPE", "SHAPE", "COLUMNS"],
        inputs.chain(outputs),
    )
}

/// The version that a reference means now.
pub(crate) async fn version(
    client: &Client,
    reference: &Reference,
) -> anyhow::Result<VersionDetailRecord> {
    let number = version_of(client, reference).await?;
    let model = model_path(&reference.model);
    client.get(&format!("{model}/versions/{number}")).await
}

/// Its number; one that is named is not looked for.
pub(crate) async fn version_of(client: &Client, reference: &Reference) -> anyhow::Result<u32> {
    match &reference.selector {
        Selector::Version(version) => Ok(version.number()),
        selector @ (Selector::Traffic | Selector::Alias(_)) => {
            let detail: ModelDetailRecord = client.get(&model_path(&reference.model)).await?;
            Ok(number(&detail, reference, selector)?)
        }
    }
}

fn number(
    detail: &ModelDetailRecord,
    reference: &Reference,
    selector: &Selector,
) -> Result<u32, Refusal> {
    match selector {
        Selector::Version(version) => Ok(version.number()),
        Selector::Traffic => detail
            .model
            .traffic
            .version
            .ok_or_else(|| Refusal::NotReady {
                reference: reference.to_string(),
                state: "no version has its traffic".to_owned(),
            }),
        Selector::Alias(alias) => {
            let found = detail.aliases.iter().find(|it| it.alias == alias.as_str());
            let reference = reference.to_string();
            found
                .map(|it| it.version)
                .ok_or(Refusal::UnknownAlias { reference })
        }
    }
}

/// What the model takes and gives, once it answers: a server of our own loads it, a running one must have
/// it loaded already.
pub(crate) async fn ready(client: &Client, reference: &Reference) -> anyhow::Result<Signature> {
    let detail = version(client, reference).await?;
    if client.address().is_none() {
        let version = Version::new(detail.version.version);
        ask_to_load(client, &reference.model, version).await?;
    } else if detail.serving.is_none() {
        let reference = reference.to_string();
        let state = match detail.version.why {
            Some(why) => format!("{}: {why}", detail.version.state),
            None => "the server has not loaded it".to_owned(),
        };
        return Err(Refusal::NotReady { reference, state }.into());
    }
    Ok(Signature::try_from(detail.signature)?)
}

async fn ask_to_load(
    client: &Client,
    model: &ModelName,
    version: Option<Version>,
) -> anyhow::Result<LoadRecord> {
    let change = LoadChange {
        version: version.map(Version::number),
    };
    client
        .send(
            Method::POST,
            &format!("{}/load", model_path(model)),
            &change,
        )
        .await
}
