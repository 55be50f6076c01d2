//! Loads a version that the registry has.

use std::sync::{Arc, OnceLock};

use ::ledger::Layout;
use domain::budget::Prices;
use domain::decision::Decision;
use domain::ledger::Mode;
use domain::limits::Limits;
use domain::manifest::{BatchSetting, Manifest, Off};
use domain::{ModelName, Refusal, Version};
use engine::Loaded;
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
use crate::standing::{Scaled, Standing};
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
            let scaled = standing.scaled;
            let Prepared {
                loaded,
                session,
                grouping,
                limits,
                sample,
            } = prepared;
            let options = pool::Options {
                model: format!("{model}:{version}"),
                instances: scaled.map_or(instances_own, |it| it.instances.min(instances_own)),
                limits,
                grouping,
                clock,
                tasks,
            };
            let pool = Pool::start(loaded.as_ref(), session, options, ended)?;
            if let Some(scaled) = scaled {
                let room = room_for(&manifest, opened.bytes);
                grow_as_wanted(&pool, loaded.as_ref(), scaled, room);
            }
            // It holds the model's bytes, which nobody needs until there are to be more sessions.
            drop(loaded);
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
    let running = Arc::clone(running);
    blocking(move || {
        let room = room_for(&manifest, opened.bytes);
        room.fits(instances - present)?;
        let loaded = engine.load(&opened.source, &engine_options(&manifest))?;
        running.pool.grow(instances, || loaded.session())
    })
    .await
}

/// Makes what a version that was just loaded lacks of the sessions that an action wants. It is served with fewer where
/// there cannot be so many: an action of an alert must not be what keeps a model from being loaded.
fn grow_as_wanted(pool: &Pool, loaded: &dyn Loaded, scaled: Scaled, room: Room) {
    let present = pool.instances();
    let fitting = present.saturating_add(room.sessions());
    let grown = pool.grow(scaled.instances.min(fitting), || loaded.session());
    let instances = pool.instances();
    if instances < scaled.instances {
        let why = match grown {
            Err(refusal) => refusal.to_string(),
            Ok(()) => "memory has no room for more".to_owned(),
        };
        tracing::warn!(
            model = pool.model(),
            action = scaled.by,
            wanted = scaled.instances,
            instances,
            why,
            "a version has fewer sessions than an action wants"
        );
    }
}

/// The memory that sessions could take.
#[derive(Clone, Copy)]
struct Room {
    /// None where nobody knows, as of an accelerator's.
    bytes: Option<u64>,
    /// Each takes about as much as the model has bytes.
    of_session: u64,
}

fn room_for(manifest: &Manifest, bytes: u64) -> Room {
    let on_cpu = engine_options(manifest).device == engine::Options::CPU;
    Room {
        bytes: memory::available_bytes().filter(|_| on_cpu),
        of_session: bytes,
    }
}

impl Room {
    /// How many sessions it is enough for.
    fn sessions(self) -> usize {
        let sessions = self.bytes.map(|it| it / self.of_session.max(1));
        sessions.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX))
    }

    /// Refuses sessions that it is not enough for.
    fn fits(self, sessions: usize) -> Result<(), Refusal> {
        match self.bytes {
            Some(there) if self.sessions() < sessions => Err(Refusal::Conflict {
                why: format!(
                    "{sessions} more sessions need {} MiB of memory and {} MiB are available",
                    (sessions as u64).saturating_mul(self.of_session) >> 20,
                    there >> 20
                ),
            }),
            _ => Ok(()),
        }
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
    use std::time::Duration;

    use engine::Engine as _;
    use engine::fake::Fake;

    use super::*;
    use crate::join::Grouping;

    #[test]
    fn sessions_that_memory_has_no_room_for_are_refused() {
        let room = |bytes| Room {
            bytes,
            of_session: 3 << 20,
        };
        assert_eq!(room(None).fits(255), Ok(()));
        let ten = room(Some(32 << 20));
        assert_eq!((ten.sessions(), ten.fits(10)), (10, Ok(())));
        let refusal = ten.fits(11).expect_err("it has no room for them");
        assert_eq!(
            refusal.to_string(),
            "11 more sessions need 33 MiB of memory and 32 MiB are available"
        );
    }

    #[test]
    fn a_version_has_as_many_sessions_of_those_that_are_wanted_as_fit() {
        for (bytes, few, want) in [
            (None, "", 5),
            (Some(3), "", 4),
            (Some(0), "", 1),
            // Of what cannot be made at all there is nothing more.
            (None, "\nsessions: 2", 1),
        ] {
            let fake = Fake::default();
            let model = "input: x FP32 -1,2\noutput: y FP32 -1,2\ndoes: copy";
            let source = Fake::model(&format!("{model}{few}"));
            let options = engine::Options::one_thread();
            let loaded = fake.load(&source, &options).expect("a model");
            let session = loaded.session().expect("a session");
            let options = pool::Options {
                model: "m:1".to_owned(),
                instances: 1,
                limits: domain::batch::Limits {
                    rows_max: 4,
                    delay_max: Duration::ZERO,
                    rows_waiting_max: 8,
                },
                grouping: Grouping::new(loaded.signature(), None),
                clock: Clock::start(),
                tasks: Tasks::default(),
            };
            let (ended, _) = tokio::sync::oneshot::channel();
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.expect("a runtime");
            let _entered = runtime.enter();
            let pool = Pool::start(loaded.as_ref(), session, options, ended).expect("a pool");
            let scaled = Scaled {
                by: 7,
                instances: 5,
            };
            let room = Room {
                bytes,
                of_session: 1,
            };
            grow_as_wanted(&pool, loaded.as_ref(), scaled, room);
            assert_eq!(pool.instances(), want, "{bytes:?} {few}");
        }
    }
}
