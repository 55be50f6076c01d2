//! The monitors: every served model is looked at as often as its manifest says, and what is found is reported to
//! `alerts` and kept by `looks`. One look at a time, off the way of requests.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::ledger::baseline::Kept;
use domain::alert::Finding;
use domain::{ModelName, Refusal, Version};
use store::registry::looks::Kind;
use tokio::time::Instant;

use crate::app::App;
use crate::clock::wall_ms;
use crate::looks;
use crate::running::Running;
use crate::task::{Tasks, Ticks};

pub(crate) mod anomaly;
mod concept_drift;
mod data_quality;
mod drift;
mod estimated_quality;
mod fairness;
mod quality;
pub(crate) mod slo;
mod windows;

/// How often it is seen which models are served.
const TICK: Duration = Duration::from_secs(1);
/// The longest that one look may take.
const LOOK_MAX: Duration = Duration::from_secs(600);
/// Memory for what was counted of the ledger's files.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Who does what nobody asked for.
const WHO: &str = "monitors";

/// Looks until the server ends.
pub(crate) async fn watch(app: Weak<App>, tasks: Tasks) {
    let kept = Arc::new(Kept::new(KEPT_BYTES_MAX));
    if let Some(app) = app.upgrade() {
        app.keeper.ledger.count_when_sealed(Arc::clone(&kept));
    }
    let mut watch = Watch {
        kept,
        due: HashMap::new(),
        anomaly: anomaly::Watch::new(wall_ms() * 1000),
        slo: slo::Watch::default(),
    };
    let mut ticks = Ticks::new(app, &tasks, TICK);
    while let Some(app) = ticks.next().await {
        ticks.meanwhile(watch.look_at_all(&app)).await;
    }
}

struct Watch {
    kept: Arc<Kept>,
    /// When each version with traffic is looked at next.
    due: HashMap<(ModelName, Version), Instant>,
    anomaly: anomaly::Watch,
    slo: slo::Watch,
}

impl Watch {
    async fn look_at_all(&mut self, app: &Arc<App>) {
        let mut served = BTreeSet::new();
        for (_, model) in app.catalog.models() {
            let Some(running) = &model.traffic else {
                continue;
            };
            let setting = &running.monitor;
            let key = (running.model.clone(), running.version);
            served.insert(key.clone());
            self.look_at_series(app, running).await;
            let now = Instant::now();
            let every = setting.every.0;
            // The first look is after a whole time: when it was loaded nothing had been answered.
            let due = *self.due.entry(key.clone()).or_insert(now + every);
            if due > now {
                continue;
            }
            self.due.insert(key, now + every);
            self.look_at(app, running).await;
        }
        self.due.retain(|key, _| served.contains(key));
        let models: BTreeSet<&ModelName> = served.iter().map(|(model, _)| model).collect();
        self.anomaly.retain(|it| models.contains(it));
        self.slo.retain(|it| models.contains(it));
    }

    /// Those that know themselves when there is something new to look at.
    async fn look_at_series(&mut self, app: &Arc<App>, running: &Running) {
        let now_us = wall_ms() * 1000;
        let looks = [
            ("anomaly", self.anomaly.look(app, running, now_us).await),
            ("slo", self.slo.look(app, running, now_us).await),
        ];
        let found = report(app, running, looks).await;
        looks::keep(app, running, Kind::Series, found).await;
    }

    /// Every monitor by itself: one that cannot look keeps no other from it.
    async fn look_at(&self, app: &Arc<App>, running: &Running) {
        let quality = quality::ask(app, running).await;
        let losses = concept_drift::ask(app, running).await;
        let looks = [
            ("drift", drift::look(app, running, &self.kept).await),
            // After drift, which has it expect what a new baseline has.
            ("data_quality", data_quality::look(app, running).await),
            (
                "quality",
                quality::look(app, running, quality.clone()).await,
            ),
            (
                "estimated_quality",
                estimated_quality::look(app, running, quality).await,
            ),
            (
                "concept_drift",
                concept_drift::look(app, running, losses.clone()).await,
            ),
            ("fairness", fairness::look(app, running).await),
            ("slo", slo::quality::look(app, running).await),
        ];
        let mut found = report(app, running, looks).await;
        // It is no question whose answer could be an alert.
        found.extend(losses.ok().and_then(|it| quality::measured(running, it)));
        looks::keep(app, running, Kind::Windows, found).await;
    }
}

/// Reports what was found, and gives all of it back.
async fn report(
    app: &App,
    running: &Running,
    looks: impl IntoIterator<Item = (&'static str, Result<Vec<Finding>, Refusal>)>,
) -> Vec<Finding> {
    let mut all = Vec::new();
    for (monitor, found) in looks {
        match found {
            Ok(findings) if findings.is_empty() => {}
            Ok(findings) => {
                all.extend_from_slice(&findings);
                app.alerts.report(findings).await;
            }
            Err(refusal) => {
                let model = format!("{}:{}", running.model, running.version);
                tracing::warn!(%refusal, model, monitor, "a monitor could not look");
            }
        }
    }
    all
}
