//! Loads a version that the registry has.

use std::sync::{Arc, OnceLock};

use ::ledger::Layout;
use domain::budget::Prices;
use domain::decision::Decision;
use domain::ledger::Mode;
use domain::limits::Limits;
use domain::manifest::{BatchSetting, Manifest, Off};
use domain::{ModelName, Refusal, Version};
use store::Store;
use store::registry::VersionRecord;

use crate::app::App;
use crate::catalog::Loader;
use crate::clock::{Clock, wall_ms};
use crate::engines::Engines;
use crate::inputs::Inputs;
use crate::ledger::{self, Budgets, Keeper, Recorder};
use crate::memory;
use crate::package::{self, Opened, blocking};
use crate::pool::{self, Ended, Pool};
use crate::prepare::{Candidate, Prepared, engine_options, prepare};
use crate::running::{Running, TIMEOUT};
use crate::standing::Standing;
use crate::stats::Stats;
use crate::task::Tasks;

/// Loads from the store.
pub(crate) struct StoreLoader {
    pub(crate) store: Arc<Store>,
    pub(crate) engines: Arc<Engines>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    /// Cores that the server may use.
    pub(crate) cores: usize,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) ledger_mode: Mode,
    pub(crate) prices: Option<Arc<Prices>>,
    pub(crate) budgets: Arc<Budgets>,
}

/// The most sessions that a version gets without being asked to.
const INSTANCES_MAX: usize = 8;

/// What the sessions of a version together may take without being asked to. A session needs a little
/// more memory than the model has bytes, because it lays the weights out anew.
const SESSIONS_BYTES_MAX: u64 = 2 << 30;

impl StoreLoader {
    fn instances(&self, manifest: &Manifest, bytes: u64) -> usize {
        if let Some(instances) = manifest.serve.instances {
            return usize::from(instances.max(1));
        }
        let fitting = usize::try_from(SESSIONS_BYTES_MAX / bytes.max(1)).unwrap_or(usize::MAX);
        self.cores.min(INSTANCES_MAX).min(fitting).max(1)
    }
}

impl Loader for StoreLoader {
    async fn load(
        &self,
        model: ModelName,
        version: Version,
        ended: Ended,
    ) -> Result<Running, Refusal> {
        let record = self.store.registry.version(&model, version).await?;
        let manifest = store::format::parse_manifest(&record.manifest)?;
        let engines = Arc::clone(&self.engines);
        let engine = blocking(move || engines.get()).await?;
        let opened = package::open(
            &self.store,
            Arc::clone(&engine),
            &record.files,
            &record.main,
            &manifest,
        )
        .await?;
        let standing = Standing::of(&self.store, &model).await?;
        let instances_own = self.instances(&manifest, opened.bytes);
        let instances = standing.instances.unwrap_or(instances_own);
        let mode = manifest.ledger.mode.unwrap_or(self.ledger_mode);
        let keeper = Arc::clone(&self.keeper);
        if mode != Mode::Off {
            let keeper = Arc::clone(&keeper);
            blocking(move || keeper.start()).await?;
        }
        let layout = layout_of(&model, &record, &manifest)?;
        let decision = Decision::of(&record.signature)?;
        let kept = self.store.registry.baseline(&model, version).await?;
        let setting = &manifest.monitor.inputs;
        let inputs = Inputs::new(setting, &layout, kept.as_ref(), standing.strict);
        if mode != Mode::Off {
            let (keeper, layout) = (Arc::clone(&keeper), layout.clone());
            let keep = keep_of(&manifest.ledger);
            let expected = blocking(move || keeper.ledger.expect(&layout, keep, wall_ms())).await;
            if let Err(refusal) = expected {
                tracing::error!(%refusal, %model, "the ledger could not note what it is to expect; it tries again");
            }
        }
        let prices = self.prices.clone();
        let budget = match &manifest.budget {
            None => None,
            Some(_) if prices.is_none() => {
                return Err(Refusal::InvalidManifest {
                    field: "budget".to_owned(),
                    why: "the server has no prices, so nothing costs anything; start it with `--prices FILE`"
                        .to_owned(),
                });
            }
            Some(budget) => Some(self.budgets.of(&model, budget, &keeper).await?),
        };
        let (limits, clock, tasks) = (Arc::clone(&self.limits), self.clock, self.tasks.clone());
        blocking(move || {
            let resident_before = memory::resident_bytes();
            let Opened { source, .. } = &opened;
            let examples = opened.examples(&manifest, &record.signature, &limits)?;
            let rows_waiting_max = u32::try_from(limits.rows_waiting_max).unwrap_or(u32::MAX);
            let candidate = Candidate {
                signature: &record.signature,
                manifest: &manifest,
                examples: examples.as_ref(),
                rows_waiting_max,
            };
            let prepared = prepare(engine.as_ref(), source, &candidate, clock)?;
            let Prepared {
                loaded,
                session,
                grouping,
                limits,
                sample,
            } = prepared;
            let options = pool::Options {
                model: format!("{model}:{version}"),
                instances,
                limits,
                grouping,
                clock,
                tasks,
            };
            let pool = Pool::start(loaded, session, options, ended)?;
            let resident = memory::resident_bytes().zip(resident_before);
            let took = resident.map_or(0, |(after, before)| after.saturating_sub(before));
            let device = manifest.serve.device.as_deref();
            let recorder = Recorder::new(ledger::Options {
                keeper,
                layout,
                setting: &manifest.ledger,
                mode,
                prices,
                budget,
                accelerator: device.is_some_and(|it| it != "cpu"),
                threads: u32::from(manifest.serve.threads.unwrap_or(1)),
                // Its own file at least, where other models came and went meanwhile.
                memory_mib: took.max(opened.bytes) as f64 / f64::from(1 << 20),
                clock,
            });
            Ok(Running {
                model,
                version,
                version_text: version.to_string(),
                signature: record.signature,
                limits,
                instances_own,
                request_rows_max: match &manifest.serve.batch {
                    BatchSetting::Off(Off::Off) => None,
                    BatchSetting::Limits(limits) => limits.request_rows_max,
                },
                timeout: manifest.serve.timeout.map_or(TIMEOUT, |it| it.0),
                stats: Stats::default(),
                monitor: manifest.monitor.clone(),
                inputs,
                decision,
                pool,
                clock,
                sample,
                recorder: Arc::new(recorder),
                unheard: OnceLock::new(),
            })
        })
        .await
    }
}

/// Gives a version that is loaded so many sessions. Those that are too many end with what they run; for those that it
/// lacks, its files are read again.
pub(crate) async fn scale(
    app: &App,
    running: &Arc<Running>,
    instances: usize,
) -> Result<(), Refusal> {
    let present = running.pool.instances();
    if instances <= present {
        running.pool.shrink(instances);
        return Ok(());
    }
    let (model, version) = (&running.model, running.version);
    let record = app.store.registry.version(model, version).await?;
    let manifest = store::format::parse_manifest(&record.manifest)?;
    let engines = Arc::clone(&app.engines);
    let engine = blocking(move || engines.get()).await?;
    let (files, main) = (&record.files, &record.main);
    let opened = package::open(&app.store, Arc::clone(&engine), files, main, &manifest).await?;
    let options = engine_options(&manifest);
    let running = Arc::clone(running);
    blocking(move || {
        if options.device == engine::Options::CPU {
            fits((instances - present) as u64, opened.bytes)?;
        }
        let loaded = engine.load(&opened.source, &options)?;
        running.pool.grow(instances, || loaded.session())
    })
    .await
}

/// Refuses sessions that memory has no room for: each takes about as much as the model has bytes.
fn fits(sessions: u64, bytes: u64) -> Result<(), Refusal> {
    let (need, there) = (sessions.saturating_mul(bytes), memory::available_bytes());
    match there {
        Some(there) if there < need => Err(Refusal::Conflict {
            why: format!(
                "{sessions} more sessions need {} MiB of memory and {} MiB are available",
                need >> 20,
                there >> 20
            ),
        }),
        _ => Ok(()),
    }
}

/// What the rows of a version look like.
pub(crate) fn layout_of(
    model: &ModelName,
    record: &VersionRecord,
    manifest: &Manifest,
) -> Result<Layout, Refusal> {
    Layout::new(&::ledger::Version {
        model: model.as_str(),
        version: record.summary.version.number(),
        digest: record.summary.digest.to_string(),
        signature: &record.signature,
        key: manifest.ledger.key.as_ref(),
        caller: manifest.ledger.caller.as_ref(),
    })
}

fn keep_of(setting: &domain::ledger::Setting) -> ::ledger::Retain {
    ::ledger::Retain {
        age_us: setting
            .retain
            .map(|it| i64::try_from(it.0.as_micros()).unwrap_or(i64::MAX)),
        bytes: setting.retain_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_memory_has_no_room_for_are_refused() {
        assert_eq!(fits(255, 1024), Ok(()));
        let refusal = fits(255, 1 << 60).expect_err("it has no room for them");
        let text = refusal.to_string();
        assert!(text.contains("255 more sessions need"), "{text}");
    }
}
