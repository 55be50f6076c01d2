//! What rollouts and experiments have in common: both share a model's traffic among versions that are loaded, and go by one
//! time.

use std::collections::HashMap;
use std::time::Duration;

use domain::alert::Moment;
use domain::experiment::course::Experiment;
use domain::ledger::Source;
use domain::lifecycle::State;
use domain::rollout::Rollout;
use domain::rollout::decide::Loaded;
use domain::rollout::traffic::{Split, Traffic};
use domain::{ModelName, Refusal, Version};
use tokio::time::Instant;

use crate::app::App;
use crate::catalog::Model;
use crate::models;
use crate::route::Sharing;
use crate::running::TIMEOUT;

/// How long after a failure a version is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// The longest that a change of what is routed is waited for.
const ROUTE_MAX: Duration = Duration::from_secs(5);

/// The time by which they go: it never jumps while the process lives.
pub(crate) fn now(app: &App) -> Moment {
    Moment(app.clock.wall_ms(app.clock.now()))
}

/// What a version is doing.
pub(crate) fn loaded(model: &Model, version: Version) -> Loaded {
    match model.states.get(&version) {
        None => Loaded::Absent,
        Some(State::Loading | State::Unloading) => Loaded::Loading,
        Some(State::Ready) => Loaded::Ready,
        Some(State::Failed { why }) => Loaded::Failed { why: why.clone() },
    }
}

/// The longest that a request to one of these versions may take.
pub(crate) fn timeout(app: &App, model: &ModelName, versions: &[Version]) -> Duration {
    let model = app.catalog.model(model).unwrap_or_default();
    let timeouts = versions.iter().map(|version| {
        let running = model.ready.get(version);
        running.map_or(TIMEOUT, |it| it.timeout)
    });
    timeouts.max().unwrap_or(TIMEOUT)
}

/// When versions may be asked for again.
#[derive(Default)]
pub(crate) struct Retries(HashMap<Version, Instant>);

impl Retries {
    /// Has a version loaded, unless it was asked for a moment ago. How that goes is a change of what is loaded.
    pub(crate) async fn load(
        &mut self,
        app: &App,
        model: &ModelName,
        version: Version,
    ) -> Result<(), Refusal> {
        let now = Instant::now();
        if self.0.get(&version).is_none_or(|it| *it <= now) {
            self.0.insert(version, now + RETRY);
            drop(models::refresh(app, model).await?);
        }
        Ok(())
    }
}

/// Has the traffic served that the registry says; whether it is.
pub(crate) async fn route(
    app: &App,
    model: &ModelName,
    traffic: &Traffic,
) -> Result<bool, Refusal> {
    let routed = models::refresh(app, model).await?;
    // Whatever else is being loaded is not waited for.
    let _ = tokio::time::timeout(ROUTE_MAX, routed).await;
    let served = app.catalog.model(model).and_then(|it| it.serving());
    Ok(served.as_ref() == Some(traffic))
}

/// The versions that a model's rollout or experiment needs, and how it has the traffic shared; a model has one of them at
/// most.
pub(crate) async fn wanted(
    app: &App,
    model: &ModelName,
) -> Result<(Vec<Version>, Option<Sharing>), Refusal> {
    let registry = &app.store.registry;
    if let Some(kept) = registry.live_rollouts(Some(model)).await?.pop() {
        let Rollout { plan, progress } = &kept.rollout;
        let (salt, said) = (plan.id().as_str(), plan.spec().key.as_ref());
        let keyed = (plan.incumbent(), said);
        let sharing = shared(app, model, salt, keyed, kept.rollout.traffic());
        return Ok((progress.state.versions(plan), sharing.await?));
    }
    if let Some(kept) = registry.live_experiments(Some(model)).await?.pop() {
        let Experiment { plan, progress } = &kept.experiment;
        let (salt, said) = (plan.id().as_str(), plan.spec().key.as_ref());
        let keyed = (plan.control(), said);
        let sharing = shared(app, model, salt, keyed, kept.experiment.traffic());
        return Ok((progress.state.versions(plan), sharing.await?));
    }
    Ok((Vec::new(), None))
}

/// How traffic is shared; none where one version has all of it. The key is where somebody said, or where the ledger's is
/// by a version.
async fn shared(
    app: &App,
    model: &ModelName,
    salt: &str,
    (version, said): (Version, Option<&Source>),
    traffic: Traffic,
) -> Result<Option<Sharing>, Refusal> {
    if matches!(traffic.split, Split::All(_)) && traffic.shadow.is_none() {
        return Ok(None);
    }
    let key = match said {
        Some(said) => Some(said.clone()),
        None => {
            let record = app.store.registry.version(model, version).await?;
            store::format::parse_manifest(&record.manifest)?.ledger.key
        }
    };
    Ok(Some(Sharing {
        salt: salt.to_owned(),
        key,
        traffic,
    }))
}
