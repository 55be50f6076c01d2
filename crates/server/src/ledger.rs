//! Records what was asked and answered, and keeps the ledger tended.
//!
//! The rows are in the ledger before the answer leaves. Where it has no room, a request waits for a moment and
//! then goes as its model's `ledger.when_full` says; it never waits for the disk unless its mode is `commit`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ::ledger::{Full, Layout, Ledger, Place, Range, Rows, Spent, Writer};
use domain::budget::{Budget, Prices, Spent as BudgetSpent, Used, Verdict};
use domain::ledger::{Mode, Share, Source, WhenFull};
use domain::{ModelName, Refusal, Tensor};
use http::HeaderMap;
use uuid::Uuid;

use crate::clock::{Clock, wall_ms};
use crate::package::blocking;
use crate::pool::Timing;
use crate::recent::PARTS;
use crate::stats::LedgerCounts;

/// How long a request waits for room before it goes without.
const PATIENCE: Duration = Duration::from_millis(100);
/// The longest that an answer waits for the disk in `commit` mode, where its own time is longer.
const COMMIT_MAX: Duration = Duration::from_secs(10);
/// How often it is logged that rows are lost.
const SAY_EVERY_MS: i64 = 5_000;
/// Tensors from this size on are summed up on a thread that may take its time.
const LARGE_BYTES: usize = 256 * 1024;

/// The ledger and the two threads that tend it, once they are needed.
pub(crate) struct Keeper {
    pub(crate) ledger: Arc<Ledger>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Requests refused for want of room.
    pub(crate) shed: AtomicU64,
    said_ms: AtomicI64,
    /// The metrics of models, as far as something was posted since the start.
    metrics: Mutex<BTreeMap<ModelName, BTreeSet<String>>>,
}

impl Keeper {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            ledger: Arc::new(ledger),
            threads: Mutex::default(),
            shed: AtomicU64::new(0),
            said_ms: AtomicI64::new(i64::MIN),
            metrics: Mutex::default(),
        }
    }

    pub(crate) fn metrics(&self) -> MutexGuard<'_, BTreeMap<ModelName, BTreeSet<String>>> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the ledger tended from now on. Makes the first room, so it may take a moment.
    pub(crate) fn start(&self) -> Result<(), Refusal> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if !threads.is_empty() {
            return Ok(());
        }
        self.ledger.make_room();
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(|error| Refusal::Internal {
                    what: format!("the thread `{name}` did not start: {error}"),
                })
        };
        let ledger = Arc::clone(&self.ledger);
        threads.push(spawn("ledger log", Box::new(move || ledger.tend_log()))?);
        let ledger = Arc::clone(&self.ledger);
        threads.push(spawn(
            "ledger files",
            Box::new(move || ledger.tend_files(wall_ms)),
        )?);
        Ok(())
    }

    /// Brings everything to the disk and ends the threads.
    pub(crate) async fn close(&self) {
        self.ledger.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A panic there was printed, and what was appended is in the file.
                let _ = thread.join();
            }
        });
        let _ = ended.await;
    }

    /// Its numbers, for `/metrics`.
    pub(crate) fn counts(&self) -> LedgerCounts {
        let (recorded, lost, labels) = self.ledger.counts();
        LedgerCounts {
            recorded,
            lost,
            labels,
            shed: self.shed.load(Relaxed),
            trouble: self.ledger.status_trouble().is_some(),
        }
    }

    /// Says that rows could not be recorded, but not for each of them.
    fn say_full(&self, why: &str) {
        let now = wall_ms();
        let said = self.said_ms.load(Relaxed);
        if now.saturating_sub(said) < SAY_EVERY_MS {
            return;
        }
        if self
            .said_ms
            .compare_exchange(said, now, Relaxed, Relaxed)
            .is_ok()
        {
            let (_, lost, _) = self.ledger.counts();
            let shed = self.shed.load(Relaxed);
            tracing::error!(
                lost_rows = lost,
                shed_requests = shed,
                "the ledger cannot record: {why}"
            );
        }
    }

    fn why_full(&self) -> String {
        let trouble = self.ledger.status_trouble();
        trouble.unwrap_or_else(|| "rows come faster than the disk takes them".to_owned())
    }
}

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// The request's own headers; over gRPC its metadata.
    pub(crate) headers: &'a HeaderMap,
    /// The caller's own id for it.
    pub(crate) request_id: Option<&'a str>,
    /// How long the caller waits, where it says so.
    pub(crate) timeout: Option<Duration>,
}

/// What is recorded of a request beside its tensors.
pub(crate) struct Asked<'a> {
    /// Where it comes from.
    pub(crate) asker: Asker<'a>,
    /// How its version was chosen.
    pub(crate) arm: &'a str,
    /// The key by which that was, where there was one.
    pub(crate) key: Option<&'a str>,
}

/// What a model may cost, and has cost.
pub(crate) struct BudgetState {
    pub(crate) budget: Budget,
    pub(crate) spent: Mutex<BudgetSpent>,
    /// What it last said, so that a change can be logged.
    said: Mutex<&'static str>,
}

/// A verdict's name.
pub(crate) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Within => "within",
        Verdict::Warn => "warn",
        Verdict::Throttle(_) => "throttle",
        Verdict::Shed => "shed",
    }
}

impl BudgetState {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            spent: Mutex::new(BudgetSpent::new(budget.per.0)),
            budget,
            said: Mutex::new("within"),
        }
    }

    pub(crate) fn add(&self, now_ms: i64, cost: f64) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.add(now_ms, cost);
    }

    pub(crate) fn total(&self, now_ms: i64) -> f64 {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.total(now_ms)
    }

    /// Refuses a request that the budget has no room for.
    fn admit(&self, model: &str, now_ms: i64) -> Result<(), Refusal> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let (verdict, admitted) = spent.admit(&self.budget, now_ms);
        let total = spent.total(now_ms);
        drop(spent);
        let name = verdict_name(verdict);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != name {
            *said = name;
            tracing::warn!(
                model,
                verdict = name,
                spent = total,
                budget = self.budget.cost,
                "the model's budget"
            );
        }
        if admitted {
            return Ok(());
        }
        Err(Refusal::OverBudget {
            model: model.to_owned(),
            spent: format!("{total:.6} of {} in {}", self.budget.cost, self.budget.per),
        })
    }
}

/// The budgets of models, by name: a new version goes on with what its model has spent.
#[derive(Default)]
pub(crate) struct Budgets {
    models: Mutex<BTreeMap<ModelName, Arc<BudgetState>>>,
}

impl Budgets {
    /// The model's budget, with what the ledger says that it has spent, where it was not known before.
    pub(crate) async fn of(
        &self,
        model: &ModelName,
        budget: &Budget,
        keeper: &Keeper,
    ) -> Result<Arc<BudgetState>, Refusal> {
        if let Some(known) = self.get(model)
            && known.budget == *budget
        {
            return Ok(known);
        }
        let state = Arc::new(BudgetState::new(budget.clone()));
        let now_ms = wall_ms();
        let per_us = i64::try_from(budget.per.0.as_micros()).unwrap_or(i64::MAX);
        let range = Range {
            from_us: (now_ms * 1000).saturating_sub(per_us),
            to_us: i64::MAX,
        };
        let (ledger, name) = (Arc::clone(&keeper.ledger), model.clone());
        let (spent, recorded) = (Arc::clone(&state), range);
        blocking(move || {
            let snapshot = ledger.snapshot(now_ms)?;
            snapshot.costs(name.as_str(), recorded, |time_us, cost| {
                spent.add(time_us / 1000, cost);
            })
        })
        .await?;
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.insert(model.clone(), Arc::clone(&state));
        Ok(state)
    }

    /// The model's budget, where it has one.
    pub(crate) fn get(&self, model: &ModelName) -> Option<Arc<BudgetState>> {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.get(model).cloned()
    }
}

/// Records the rows of one version.
pub(crate) struct Recorder {
    keeper: Arc<Keeper>,
    writer: Writer,
    mode: Mode,
    when_full: WhenFull,
    key: Option<String>,
    caller: Option<String>,
    sample: Share,
    /// Whether tensors are summed up rather than kept in columns.
    sums_up: bool,
    prices: Option<Arc<Prices>>,
    /// Rows that have a cost, and what they cost in parts of a unit of money.
    costs: [AtomicU64; 2],
    pub(crate) budget: Option<Arc<BudgetState>>,
    /// Whether runs are an accelerator's.
    accelerator: bool,
    /// Threads of a run.
    threads: u32,
    /// Memory that the version took when it was loaded.
    memory_mib: f64,
    clock: Clock,
}

/// What a recorder is made of.
pub(crate) struct Options<'a> {
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) layout: Layout,
    pub(crate) setting: &'a domain::ledger::Setting,
    pub(crate) mode: Mode,
    pub(crate) prices: Option<Arc<Prices>>,
    pub(crate) budget: Option<Arc<BudgetState>>,
    pub(crate) accelerator: bool,
    pub(crate) threads: u32,
    pub(crate) memory_mib: f64,
    pub(crate) clock: Clock,
}

/// What is known of a request when it has been answered, or has not.
pub(crate) struct Ended<'a> {
    pub(crate) id: Uuid,
    pub(crate) time_us: i64,
    pub(crate) rows: usize,
    pub(crate) inputs: Option<Arc<Vec<Tensor>>>,
    pub(crate) outputs: &'a [usize],
    pub(crate) tensors: &'a [Tensor],
    pub(crate) timing: Option<&'a Timing>,
    pub(crate) total: Duration,
    pub(crate) code: Option<&'static str>,
}

impl Recorder {
    pub(crate) fn new(options: Options<'_>) -> Self {
        let Options {
            keeper,
            layout,
            setting,
            mode,
            prices,
            budget,
            accelerator,
            threads,
            memory_mib,
            clock,
        } = options;
        let header = |source: &Option<Source>| match source {
            Some(Source::Header(name)) => Some(name.clone()),
            Some(Source::Input(_)) | None => None,
        };
        Self {
            sums_up: layout.has_summaries(),
            writer: keeper.ledger.writer(layout),
            keeper,
            mode,
            when_full: setting.when_full,
            key: header(&setting.key),
            caller: header(&setting.caller),
            sample: setting.sample,
            prices,
            costs: Default::default(),
            budget,
            accelerator,
            threads,
            memory_mib,
            clock,
        }
    }

    /// The same for answers that nobody heard. They are none of the model's budget's affair.
    pub(crate) fn unheard(&self) -> Self {
        let Self {
            keeper,
            writer,
            mode,
            when_full: _,
            key,
            caller,
            sample,
            sums_up,
            prices,
            costs: _,
            budget: _,
            accelerator,
            threads,
            memory_mib,
            clock,
        } = self;
        Self {
            keeper: Arc::clone(keeper),
            writer: keeper.ledger.writer(writer.layout().unheard()),
            mode: match mode {
                // Nobody waits for them.
                Mode::Commit => Mode::Buffered,
                mode => *mode,
            },
            when_full: WhenFull::Lose,
            key: key.clone(),
            caller: caller.clone(),
            sample: *sample,
            sums_up: *sums_up,
            prices: prices.clone(),
            costs: Default::default(),
            budget: None,
            accelerator: *accelerator,
            threads: *threads,
            memory_mib: *memory_mib,
            clock: *clock,
        }
    }

    /// What the rows look like.
    pub(crate) fn layout(&self) -> &Layout {
        self.writer.layout()
    }

    /// Rows that have a cost, and what they cost in [`PARTS`].
    pub(crate) fn costs(&self) -> (u64, u64) {
        let [rows, parts] = &self.costs;
        (rows.load(Relaxed), parts.load(Relaxed))
    }

    /// Refuses a request that the model's budget has no room for.
    pub(crate) fn admit(&self, model: &str, now_ms: i64) -> Result<(), Refusal> {
        match &self.budget {
            None => Ok(()),
            Some(budget) => budget.admit(model, now_ms),
        }
    }

    /// Records a request's rows. Refused where they cannot be, and the model would rather not answer then.
    pub(crate) async fn keep(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        ended: &Ended<'_>,
        deadline: Duration,
    ) -> Result<(), Refusal> {
        let spent = self.spent(ended);
        let cost = f64::from(spent.cost) * ended.rows as f64;
        if self.prices.is_some() && cost.is_finite() {
            let [rows, parts] = &self.costs;
            rows.fetch_add(rows_of(ended), Relaxed);
            parts.fetch_add((cost * PARTS) as u64, Relaxed);
            if let Some(budget) = &self.budget {
                budget.add(ended.time_us / 1000, cost);
            }
        }
        if self.mode == Mode::Off {
            return Ok(());
        }
        let large = self.sums_up
            && ended
                .inputs
                .as_deref()
                .is_some_and(|it| bytes_of(it) > LARGE_BYTES);
        let result = if large {
            self.take_large(asked, ended, spent).await
        } else {
            self.take(asked, ended, spent).await
        };
        let place = match result {
            Ok(place) => place,
            Err(missing) => return self.full(missing, &self.keeper.why_full()),
        };
        if self.mode != Mode::Commit {
            return Ok(());
        }
        let on_disk = self.keeper.ledger.until_on_disk(place);
        match tokio::time::timeout(deadline.min(COMMIT_MAX), on_disk).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => self.full(rows_of(ended), &why),
            Err(_) => self.full(rows_of(ended), "the disk does not answer in time"),
        }
    }

    /// Records a request whose caller has gone: nobody waits for it.
    pub(crate) fn keep_gone(&self, asked: &Asked<'_>, ended: &Ended<'_>) {
        if self.mode == Mode::Off {
            return;
        }
        let rows = self.rows(asked, ended, self.spent(ended), &[], &[]);
        let now_ms = ended.time_us / 1000;
        if let Err(Full { taken }) = self.keeper.ledger.record(&self.writer, &rows, 0, now_ms) {
            let missing = u64::from(rows.rows - taken);
            self.keeper.ledger.count_lost(missing);
        }
    }

    fn full(&self, missing: u64, why: &str) -> Result<(), Refusal> {
        match self.when_full {
            WhenFull::Lose => {
                self.keeper.ledger.count_lost(missing);
                self.keeper.say_full(why);
                Ok(())
            }
            WhenFull::Shed => {
                self.keeper.shed.fetch_add(1, Relaxed);
                self.keeper.say_full(why);
                Err(Refusal::LedgerFull {
                    why: why.to_owned(),
                })
            }
        }
    }

    fn rows<'a>(
        &self,
        asked: &'a Asked<'_>,
        ended: &'a Ended<'_>,
        spent: Spent,
        inputs: &'a [Tensor],
        outputs: &'a [(usize, &'a Tensor)],
    ) -> Rows<'a> {
        let header = |name: &Option<String>| -> Option<&'a str> {
            asked.asker.headers.get(name.as_deref()?)?.to_str().ok()
        };
        Rows {
            id: ended.id.into_bytes(),
            time_us: ended.time_us,
            rows: u32::try_from(ended.rows).unwrap_or(u32::MAX).max(1),
            arm: asked.arm,
            key: asked.key.or_else(|| header(&self.key)),
            caller: header(&self.caller),
            request_id: asked.asker.request_id,
            code: ended.code,
            spent,
            inputs: ended.inputs.is_some().then_some(inputs),
            outputs,
            sample: self.sample,
        }
    }

    /// Hands the rows over; how many are missing where there was no room for all.
    async fn take(&self, asked: &Asked<'_>, ended: &Ended<'_>, spent: Spent) -> Result<Place, u64> {
        let outputs = outputs_of(ended);
        let inputs = ended.inputs.as_deref().map_or(&[][..], |it| &it[..]);
        let rows = self.rows(asked, ended, spent, inputs, &outputs);
        let now_ms = ended.time_us / 1000;
        let ledger = &self.keeper.ledger;
        let mut first = match ledger.record(&self.writer, &rows, 0, now_ms) {
            Ok(place) => return Ok(place),
            Err(Full { taken }) => taken,
        };
        let mut room = ledger.room();
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            // Asked again after listening for room, so that none made in between is missed.
            match ledger.record(&self.writer, &rows, first, now_ms) {
                Ok(place) => return Ok(place),
                Err(Full { taken }) => first = taken,
            }
            let changed = tokio::time::timeout_at(until, room.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(u64::from(rows.rows - first));
            }
        }
    }

    /// The same on a thread of its own: digests of megabytes take longer than a thread of the runtime may.
    async fn take_large(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        ended: &Ended<'_>,
        spent: Spent,
    ) -> Result<Place, u64> {
        let recorder = Arc::clone(self);
        let (headers, arm) = (asked.asker.headers.clone(), asked.arm.to_owned());
        let owned = |it: Option<&str>| it.map(str::to_owned);
        let (request_id, key) = (owned(asked.asker.request_id), owned(asked.key));
        let (outputs, tensors) = (ended.outputs.to_vec(), ended.tensors.to_vec());
        let (inputs, timing) = (ended.inputs.clone(), ended.timing.copied());
        let Ended {
            id,
            time_us,
            rows,
            total,
            code,
            ..
        } = *ended;
        let taken = tokio::task::spawn_blocking(move || {
            let asked = Asked {
                asker: Asker {
                    headers: &headers,
                    request_id: request_id.as_deref(),
                    timeout: None,
                },
                arm: &arm,
                key: key.as_deref(),
            };
            let ended = Ended {
                id,
                time_us,
                rows,
                inputs,
                outputs: &outputs,
                tensors: &tensors,
                timing: timing.as_ref(),
                total,
                code,
            };
            let outputs = outputs_of(&ended);
            let inputs = ended.inputs.as_deref().map_or(&[][..], |it| &it[..]);
            let rows = recorder.rows(&asked, &ended, spent, inputs, &outputs);
            let recorded =
                recorder
                    .keeper
                    .ledger
                    .record(&recorder.writer, &rows, 0, time_us / 1000);
            recorded.map_err(|Full { taken }| u64::from(rows.rows - taken))
        });
        taken.await.unwrap_or(Err(rows as u64))
    }

    fn spent(&self, ended: &Ended<'_>) -> Spent {
        let micros = |it: Duration| u32::try_from(it.as_micros()).unwrap_or(u32::MAX);
        let total_us = micros(ended.total);
        let Some(timing) = ended.timing else {
            return Spent {
                total_us,
                ..Spent::default()
            };
        };
        let share = 1.0 / timing.run_rows.max(1) as f64;
        // The clock of the thread that runs sees the other threads of a run not at all: they are taken to be
        // as busy for as long as the run lasts.
        let others = timing.compute * self.threads.saturating_sub(1);
        let cpu_us = (timing.cpu + others).as_secs_f64() * 1e6 * share;
        let run_s = timing.compute.as_secs_f64();
        let accelerator_us = if self.accelerator {
            run_s * 1e6 * share
        } else {
            0.0
        };
        let memory_mib_s = self.memory_mib * run_s * share;
        let cost = self.prices.as_ref().map_or(f64::NAN, |prices| {
            prices.cost(Used {
                cpu_us,
                accelerator_us,
                memory_mib_s,
            })
        });
        Spent {
            queue_us: micros(timing.queue),
            compute_us: micros(timing.compute),
            total_us,
            batch_rows: u32::try_from(timing.run_rows).unwrap_or(u32::MAX),
            cpu_us: cpu_us as f32,
            accelerator_us: accelerator_us as f32,
            memory_mib_s: memory_mib_s as f32,
            cost: cost as f32,
        }
    }

    /// The time of a request's arrival in microseconds since 1970.
    pub(crate) fn time_us(&self, start: domain::Time) -> i64 {
        self.clock.wall_us(start)
    }
}

fn rows_of(ended: &Ended<'_>) -> u64 {
    ended.rows.max(1) as u64
}

fn outputs_of<'a>(ended: &'a Ended<'_>) -> Vec<(usize, &'a Tensor)> {
    ended.outputs.iter().copied().zip(ended.tensors).collect()
}

fn bytes_of(tensors: &[Tensor]) -> usize {
    let bytes = |tensor: &Tensor| match tensor.elements() {
        domain::Elements::Fixed(fixed) => fixed.as_bytes().len(),
        domain::Elements::Bytes(strings) => strings.iter().map(Vec::len).sum(),
    };
    tensors.iter().map(bytes).sum()
}
