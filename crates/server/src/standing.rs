//! What actions of alerts that were done, and not taken back, want of a model: how strict its inputs are, and how many
//! sessions its versions have.
//!
//! R1. The registry says it, and every version asks it when it is loaded: it holds over restarts and for what is pushed.
//! R2. A version that was being loaded when that changed may have asked before: it is seen to when it is ready.

use std::sync::Arc;

use domain::lifecycle::State;
use domain::{ModelName, Refusal};
use store::Store;
use tokio::sync::watch;

use crate::app::App;
use crate::inputs::Strict;
use crate::loading::scale;

/// What is wanted of a model's versions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) strict: Strict,
    /// Without it each has as many sessions as its owner says.
    pub(crate) scaled: Option<Scaled>,
}

/// How many sessions each version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scaled {
    /// The action that says so.
    pub(crate) by: i64,
    pub(crate) instances: usize,
}

impl Standing {
    pub(crate) async fn of(store: &Store, model: &ModelName) -> Result<Self, Refusal> {
        let actions = store.registry.standing_actions(model).await?;
        // The last one holds, until it is taken back; then the one before.
        let scaled = actions.iter().rev().find_map(|it| {
            Some(Scaled {
                by: it.id,
                instances: usize::from(it.instances?),
            })
        });
        Ok(Self {
            strict: Strict::of(&actions),
            scaled,
        })
    }
}

/// Has every version of a model that is loaded be as the registry says. Those that are being loaded follow later.
pub(crate) async fn enforce(app: &Arc<App>, model: &ModelName) -> Result<(), Refusal> {
    let mut changes = app.catalog.changes();
    changes.mark_unchanged();
    if apply(app, model).await? {
        follow(app, model.clone(), changes);
    }
    Ok(())
}

/// Sees to what is being loaded when it is ready.
fn follow(app: &Arc<App>, model: ModelName, mut changes: watch::Receiver<()>) {
    let (tasks, app) = (&app.tasks, Arc::downgrade(app));
    let stopping = tasks.stopping();
    tasks.start("standing actions", async move {
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                biased;
                () = &mut stopping => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            let Some(app) = app.upgrade() else { return };
            match apply(&app, &model).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(refusal) => {
                    tracing::error!(%refusal, %model, "it is as alerts made it only when it is loaded again");
                    return;
                }
            }
        }
    });
}

/// Whether another version is still being loaded.
async fn apply(app: &App, model: &ModelName) -> Result<bool, Refusal> {
    let mut standing = Standing::of(&app.store, model).await?;
    loop {
        let Some(found) = app.catalog.model(model) else {
            return Ok(false);
        };
        // All of them first: sessions may take long to make, or not be made.
        for running in found.ready.values() {
            running.inputs.enforce(&standing.strict);
        }
        let mut scaled = Ok(());
        for running in found.ready.values() {
            let instances = standing
                .scaled
                .map_or(running.instances_own, |it| it.instances);
            scaled = scaled.and(scale(app, running, instances).await);
        }
        // Another action that was done meanwhile may have been overtaken by this one.
        let now = Standing::of(&app.store, model).await?;
        if now == standing {
            let loading = |it: &State| matches!(it, State::Loading);
            return scaled.map(|()| found.states.values().any(loading));
        }
        standing = now;
    }
}
