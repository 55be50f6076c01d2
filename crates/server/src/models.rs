//! The verbs of the registry: push, alias, traffic, load, unload, remove.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use domain::access::{Change, Permission};
use domain::budget::Budget;
use domain::contract::check_columns;
use domain::lifecycle::Wanted;
use domain::manifest::Manifest;
use domain::signature::show_dimensions;
use domain::{Alias, Dimension, ModelName, Refusal, Signature, TensorSpec, Version};
use store::PackagePath;
use store::format::DeclaredTensor;
use store::registry::{self, File, NewVersion, Pushed, State, UnixMillis};

use crate::app::App;
use crate::catalog::Goal;
use crate::clock::wall_ms;
use crate::inputs;
use crate::package::{self, blocking};
use crate::prepare::{Candidate, engine_options, settle_rows, verify};
use crate::sharing;

/// A version that is to be registered. Its files are stored already.
pub(crate) struct Push {
    pub(crate) model: ModelName,
    pub(crate) files: Vec<File>,
    pub(crate) main: PackagePath,
    /// `windlass.yaml`, as text.
    pub(crate) manifest: String,
    /// Where it came from, for people.
    pub(crate) source: String,
    /// What another description of the model says of its tensors, to be checked against the model.
    pub(crate) declared_inputs: Vec<DeclaredTensor>,
    pub(crate) declared_outputs: Vec<DeclaredTensor>,
    /// Names of columns that are not said to belong to an input: the features of a single one.
    pub(crate) columns: Vec<String>,
}

/// Which models are served, beside what the registry says of them. It lives as long as the process.
#[derive(Default)]
pub(crate) struct Served {
    models: Mutex<BTreeMap<ModelName, BTreeSet<Version>>>,
}

impl Served {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<ModelName, BTreeSet<Version>>) -> T) -> T {
        f(&mut self.models.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Who changes something, and why.
pub(crate) fn change(who: &str, why: &str) -> registry::Change {
    registry::Change {
        at: UnixMillis(wall_ms()),
        who: who.to_owned(),
        why: why.to_owned(),
    }
}

/// Registers a version: it must load, its signature must fit what was declared, and it must reproduce its
/// examples. The first version of a model takes its traffic.
pub(crate) async fn push(
    app: &App,
    _: Permission<Change>,
    push: Push,
    change: registry::Change,
) -> Result<Pushed, Refusal> {
    let manifest = store::format::parse_manifest(&push.manifest)?;
    if let Some(Err((field, why))) = manifest.budget.as_ref().map(Budget::check) {
        let field = field.to_owned();
        return Err(Refusal::InvalidManifest { field, why });
    }
    manifest.ledger.check()?;
    manifest.monitor.check()?;
    domain::alert::rule::check(&manifest.alerts)
        .map_err(|(field, why)| Refusal::InvalidManifest { field, why })?;
    manifest.rollout.check()?;
    let engines = Arc::clone(&app.engines);
    let engine = blocking(move || engines.get()).await?;
    let opened = package::open(
        &app.store,
        Arc::clone(&engine),
        &push.files,
        &push.main,
        &manifest,
    )
    .await?;
    let limits = Arc::clone(&app.limits);
    let declared = (push.declared_inputs, push.declared_outputs);
    let read = manifest.clone();
    let of = push.model.clone();
    let signature = blocking(move || {
        let options = engine_options(&read);
        let loaded = engine.load(&opened.source, &options)?;
        let mut session = loaded.session()?;
        let signature = settle_rows(session.as_mut(), loaded.signature().clone());
        check_declared("input", &declared.0, &signature.inputs)?;
        check_declared("output", &declared.1, &signature.outputs)?;
        let signature = complete(signature, &read, push.columns)?;
        read.monitor.check_task(signature.task.as_ref())?;
        check_watched(&of, &signature, &read)?;
        let examples = opened.examples(&read, &signature, &limits)?;
        let candidate = Candidate {
            signature: &signature,
            manifest: &read,
            examples: examples.as_ref(),
            rows_waiting_max: u32::MAX,
        };
        verify(session.as_mut(), &candidate)?;
        Ok(signature)
    })
    .await?;
    let model = push.model.clone();
    let new = NewVersion {
        model: push.model,
        files: push.files,
        main: push.main,
        manifest: push.manifest,
        signature,
        source: push.source,
        change: change.clone(),
    };
    let pushed = app.store.registry.create_version(new).await?;
    let version = pushed.version();
    let report = serde_json::json!({ "examples": manifest.examples.is_some() });
    let registry = &app.store.registry;
    if let Pushed::New(_) = pushed {
        registry
            .set_state(&model, version, State::Verified, &report, &change)
            .await?;
    }
    if registry.traffic(&model).await?.is_none() {
        registry.set_traffic(&model, version, &change).await?;
    }
    Ok(pushed)
}

/// Refuses what is to be watched of columns that the model's rows will not have.
fn check_watched(
    model: &ModelName,
    signature: &Signature,
    manifest: &Manifest,
) -> Result<(), Refusal> {
    let monitor = &manifest.monitor;
    let weighed: Vec<String> = monitor.drift.weights.keys().cloned().collect();
    let segments: Vec<String> = monitor.segments.iter().map(|it| it.by.clone()).collect();
    // Groups may be told by what rows do not have.
    let mut groups = monitor.fairness.by.clone();
    groups.retain(|it| !manifest.ledger.attributes.contains(it));
    let settings = [
        ("segments", &segments),
        ("fairness.by", &groups),
        ("drift.weights", &weighed),
        ("drift.leave_out", &monitor.drift.leave_out),
    ];
    let is_about_none = settings.iter().all(|(_, names)| names.is_empty());
    if is_about_none && monitor.inputs.columns.is_empty() {
        return Ok(());
    }
    let layout = ::ledger::Layout::new(&::ledger::Version {
        model: model.as_str(),
        version: 1,
        digest: String::new(),
        signature,
        key: manifest.ledger.key.as_ref(),
        caller: manifest.ledger.caller.as_ref(),
    })?;
    for (field, names) in settings {
        layout
            .check_columns(names)
            .map_err(|refusal| Refusal::InvalidManifest {
                field: format!("monitor.{field}"),
                why: refusal.to_string(),
            })?;
    }
    check_columns(&monitor.inputs, &inputs::of(&layout))
}

/// The signature with what the manifest says about it.
fn complete(
    signature: Signature,
    manifest: &Manifest,
    columns: Vec<String>,
) -> Result<Signature, Refusal> {
    let mut features: Vec<(String, Vec<String>)> = manifest
        .signature
        .features
        .iter()
        .map(|(name, columns)| (name.clone(), columns.clone()))
        .collect();
    if let [input] = &signature.inputs[..]
        && features.is_empty()
        && !columns.is_empty()
    {
        features.push((input.name.clone(), columns));
    }
    signature.completed(&features, manifest.task.clone())
}

/// Compares what was declared with what the model has: by name, or by place where no name is given.
fn check_declared(
    what: &str,
    declared: &[DeclaredTensor],
    actual: &[TensorSpec],
) -> Result<(), Refusal> {
    let known = || domain::signature::names(actual.iter());
    if !declared.is_empty() && declared.len() != actual.len() {
        return Err(Refusal::InvalidManifest {
            field: format!("{what}s"),
            why: format!("{} are declared, the model has {}", declared.len(), known()),
        });
    }
    for (place, want) in declared.iter().enumerate() {
        let name = want.name.as_deref().unwrap_or(&actual[place].name);
        let invalid = |why: String| Refusal::InvalidManifest {
            field: format!("{what} `{name}`"),
            why,
        };
        let Some(got) = actual.iter().find(|it| it.name == name) else {
            return Err(invalid(format!(
                "the model has no such {what}; it has {}",
                known()
            )));
        };
        if got.datatype != want.datatype {
            let (want, got) = (want.datatype, got.datatype);
            return Err(invalid(format!(
                "it is declared as {want}, the model has {got}"
            )));
        }
        let fits = got.shape.len() == want.shape.len()
            && got
                .shape
                .iter()
                .zip(&want.shape)
                .all(|(got, want)| match (got, want) {
                    (Dimension::Fixed(got), Some(want)) => got == want,
                    _ => true,
                });
        if !fits {
            let sizes: Vec<String> = want
                .shape
                .iter()
                .map(|it| it.map_or_else(|| "-1".to_owned(), |size| size.to_string()))
                .collect();
            let got = show_dimensions(&got.shape);
            let why = format!(
                "it is declared with shape [{}], the model has {got}",
                sizes.join(", ")
            );
            return Err(invalid(why));
        }
    }
    Ok(())
}

/// Serves a model, and the version if one is named, until it is unloaded or the server ends.
pub(crate) async fn load(
    app: &App,
    _: Permission<Change>,
    model: &ModelName,
    version: Option<Version>,
) -> Result<(), Refusal> {
    match version {
        // A wrong number is refused before anything changes.
        Some(version) => drop(app.store.registry.version(model, version).await?),
        None => drop(app.store.registry.model(model).await?),
    }
    app.served
        .with(|models| models.entry(model.clone()).or_default().extend(version));
    let result = refreshed(app, model).await;
    if let (Err(_), Some(version)) = (&result, version) {
        app.served
            .with(|models| models.entry(model.clone()).or_default().remove(&version));
    }
    result
}

/// Serves a model no more. Requests that were taken are answered. Of a model that is not served nothing
/// needs to be done.
pub(crate) async fn unload(
    app: &App,
    _: Permission<Change>,
    model: &ModelName,
) -> Result<(), Refusal> {
    app.store.registry.model(model).await?;
    app.served.with(|models| models.remove(model));
    refreshed(app, model).await
}

/// Sends a model's traffic to a version. Where the model is served, the version is loaded first, and
/// what cannot be loaded gets no traffic.
pub(crate) async fn set_traffic(
    app: &App,
    permission: Permission<Change>,
    model: &ModelName,
    version: Version,
    change: registry::Change,
) -> Result<(), Refusal> {
    let served = app.served.with(|models| models.contains_key(model));
    if served {
        load(app, permission, model, Some(version)).await?;
    }
    let set = app
        .store
        .registry
        .set_traffic(model, version, &change)
        .await;
    if served {
        app.served
            .with(|models| models.entry(model.clone()).or_default().remove(&version));
        refreshed(app, model).await?;
    }
    set.map(drop)
}

/// Lets an alias name a version.
pub(crate) async fn set_alias(
    app: &App,
    _: Permission<Change>,
    model: &ModelName,
    alias: &Alias,
    version: Version,
    change: registry::Change,
) -> Result<(), Refusal> {
    app.store
        .registry
        .set_alias(model, alias, version, &change)
        .await?;
    refresh_if_served(app, model).await
}

/// Removes an alias.
pub(crate) async fn remove_alias(
    app: &App,
    _: Permission<Change>,
    model: &ModelName,
    alias: &Alias,
    change: registry::Change,
) -> Result<(), Refusal> {
    app.store
        .registry
        .remove_alias(model, alias, &change)
        .await?;
    refresh_if_served(app, model).await
}

/// Removes a version that has neither traffic nor an alias.
pub(crate) async fn remove_version(
    app: &App,
    _: Permission<Change>,
    model: &ModelName,
    version: Version,
    change: registry::Change,
) -> Result<(), Refusal> {
    app.store
        .registry
        .remove_version(model, version, &change)
        .await?;
    app.served
        .with(|models| models.get_mut(model).map(|it| it.remove(&version)));
    refresh_if_served(app, model).await?;
    sweep(app).await
}

/// Removes a model with all its versions; it is unloaded first.
pub(crate) async fn remove_model(
    app: &App,
    permission: Permission<Change>,
    model: &ModelName,
    change: registry::Change,
) -> Result<(), Refusal> {
    unload(app, permission, model).await?;
    app.store.registry.remove_model(model, &change).await?;
    app.looks.forget(model);
    sweep(app).await
}

/// How long content that nothing refers to is kept: a push may be about to name it.
const UNREFERENCED_KEPT_MS: i64 = 24 * 3600 * 1000;

async fn sweep(app: &App) -> Result<(), Refusal> {
    let referenced = app.store.registry.referenced().await?;
    let before = UnixMillis(wall_ms() - UNREFERENCED_KEPT_MS);
    let removed = app.store.blobs.sweep(&referenced, before).await?;
    for blob in removed {
        tracing::info!(digest = %blob.digest, bytes = blob.size, "removed unreferenced content");
    }
    Ok(())
}

/// Brings what is loaded of a model in line with the registry.
async fn refreshed(app: &App, model: &ModelName) -> Result<(), Refusal> {
    refresh(app, model).await?.await
}

async fn refresh_if_served(app: &App, model: &ModelName) -> Result<(), Refusal> {
    if app.served.with(|models| models.contains_key(model)) {
        return refreshed(app, model).await;
    }
    Ok(())
}

/// Asks for what is loaded of a model to be as the registry says. What comes back resolves when it is.
pub(crate) async fn refresh(
    app: &App,
    model: &ModelName,
) -> Result<impl Future<Output = Result<(), Refusal>> + use<>, Refusal> {
    let goal = match app.served.with(|models| models.get(model).cloned()) {
        None => Goal::default(),
        Some(also) => {
            let registry = &app.store.registry;
            let aliases: BTreeMap<Alias, Version> = registry
                .aliases(model, None, registry::LIST_MAX)
                .await?
                .into_iter()
                .collect();
            let (needed, shared) = sharing::wanted(app, model).await?;
            let (traffic, sharing) = match app.rollouts.goes_back_to(model) {
                Some(incumbent) => (Some(incumbent), None),
                None => (registry.traffic(model).await?, shared),
            };
            let also = also.into_iter().chain(aliases.values().copied());
            Goal {
                wanted: Wanted {
                    traffic,
                    also: also.chain(needed).collect(),
                },
                aliases,
                sharing,
            }
        }
    };
    app.catalog.want(model.clone(), goal).await
}
