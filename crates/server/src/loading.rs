//! Loads a version that the registry has.

use std::sync::Arc;

use domain::limits::Limits;
use domain::manifest::{BatchSetting, Manifest, Off};
use domain::{ModelName, Refusal, Version};
use store::Store;

use crate::catalog::Loader;
use crate::clock::Clock;
use crate::engines::Engines;
use crate::package::{self, Opened, blocking};
use crate::pool::{self, Ended, Pool};
use crate::prepare::{Candidate, Prepared, prepare};
use crate::running::{Running, TIMEOUT};
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
        let instances = self.instances(&manifest, opened.bytes);
        let (limits, clock, tasks) = (Arc::clone(&self.limits), self.clock, self.tasks.clone());
        blocking(move || {
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
            Ok(Running {
                model,
                version,
                version_text: version.to_string(),
                signature: record.signature,
                limits,
                instances,
                request_rows_max: match &manifest.serve.batch {
                    BatchSetting::Off(Off::Off) => None,
                    BatchSetting::Limits(limits) => limits.request_rows_max,
                },
                timeout: manifest.serve.timeout.map_or(TIMEOUT, |it| it.0),
                stats: Stats::default(),
                pool,
                clock,
                sample,
            })
        })
        .await
    }
}
