//! Rollouts as they go: what is measured of each is looked at once a second, `domain::rollout` says what is next, and
//! that is written down and then done.
//!
//! R1. What is served is what the registry says: an event is in it before its traffic is asked for, and whatever asks
//!     for a model's traffic reads it there. Only where an event withdraws a candidate has the incumbent all of it
//!     first: the disk may be slow, or full. What was decided so is appended, whatever is measured later.
//! R2. One decision at a time: looking takes its time and holds nobody up, deciding does not.
//! R3. Nothing here is on a request's way.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use ::ledger::Range;
use arc_swap::ArcSwap;
use domain::access::{Change, Permission, Read};
use domain::alert::Moment;
use domain::rollout::command::{Deed, Person};
use domain::rollout::decide::{Facts, Loaded, Next};
use domain::rollout::evidence::{Evidence, Role};
use domain::rollout::plan::Ask;
use domain::rollout::recorded::Recorded;
use domain::rollout::traffic::Traffic;
use domain::rollout::{Event, Plan, Rollout, RolloutId, Spec, State};
use domain::{ModelName, Refusal, Version};
use store::Store;
use store::registry::rollouts::{Kept, LOOKS_MAX, Looked, RolloutNumber};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;
use uuid::Uuid;

use crate::app::App;
use crate::models;
use crate::questions::sql_limits;
use crate::running::Running;
use crate::sharing::{Retries, loaded, now, route};
use crate::stats::InRollout;
use crate::task::Tasks;
use learned::Learning;

pub(crate) mod evidence;
pub(crate) mod learned;
pub(crate) mod shadow;

/// How often what is measured is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often what goes on from look to look is written down.
const KEEP: Duration = Duration::from_secs(60);
/// How often a look itself is, for people.
const KEEP_LOOK: Duration = Duration::from_secs(5);
/// The longest that one look may take.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// From so many requests on an incumbent's latency is known.
const LATENCY_REQUESTS_MIN: u64 = 100;
/// In so much time.
const LATENCY_SPAN_US: i64 = 86_400_000_000;

/// The rollouts that are not over.
pub(crate) struct Rollouts {
    live: Mutex<BTreeMap<ModelName, Live>>,
    /// The models whose candidates are withdrawn while that is not written down yet.
    withdrawn: std::sync::Mutex<BTreeMap<ModelName, Withdrawn>>,
    /// Somebody changed one.
    changed: Notify,
    /// What `/metrics` tells of them, which is not to wait for a decision.
    known: ArcSwap<Vec<InRollout>>,
    /// Those that ended since the process began, by [`State::OVER`].
    ended: [AtomicU64; State::OVER.len()],
}

/// One of them.
struct Live {
    kept: Kept,
    /// What the last look measured; of what another process left none before the first.
    evidence: Option<Evidence>,
    /// What goes on from look to look, after the last one.
    watch: Option<evidence::Watch>,
    /// How the evidence went, for people.
    history: Vec<Looked>,
    retries: Retries,
}

/// What is to be written down of a candidate that is asked no more.
struct Withdrawn {
    incumbent: Version,
    event: Event,
}

/// What the evidence against a candidate is.
pub(crate) fn looked(at: Moment, evidence: &Evidence) -> Looked {
    let tests = evidence.tests.iter();
    let guardrails = tests.filter(|it| it.role == Role::Guardrail);
    let e_values = guardrails.filter_map(|it| Some((it.name.clone(), it.e_value?.min(f64::MAX))));
    Looked {
        at,
        e_values: e_values.collect(),
    }
}

impl Live {
    fn new(kept: Kept, evidence: Option<Evidence>, history: Vec<Looked>) -> Self {
        Self {
            kept,
            evidence,
            watch: None,
            history,
            retries: Retries::default(),
        }
    }
}

/// What somebody asks for.
pub(crate) struct Start {
    pub(crate) model: ModelName,
    pub(crate) version: Version,
    /// What differs from the `rollout` of the version's manifest.
    pub(crate) spec: Option<serde_json::Value>,
    pub(crate) person: Person,
    /// Whether one that is not over is ended for it.
    pub(crate) supersede: bool,
}

/// A rollout as it is told.
pub(crate) struct Told {
    pub(crate) kept: Kept,
    pub(crate) evidence: Evidence,
    /// How that went.
    pub(crate) history: Vec<Looked>,
}

impl Rollouts {
    /// Those that the last process left.
    pub(crate) async fn open(store: &Store) -> Result<Self, Refusal> {
        let mut live = BTreeMap::new();
        for kept in store.registry.live_rollouts(None).await? {
            let model = kept.rollout.plan.model().clone();
            let history = store.registry.rollout_looks(kept.number).await?;
            live.insert(model, Live::new(kept, None, history));
        }
        Ok(Self {
            live: Mutex::new(live),
            withdrawn: Default::default(),
            changed: Notify::new(),
            known: ArcSwap::default(),
            ended: Default::default(),
        })
    }

    async fn lock(&self) -> MutexGuard<'_, BTreeMap<ModelName, Live>> {
        self.live.lock().await
    }

    /// The version that has a model's traffic, whatever is written down.
    pub(crate) fn goes_back_to(&self, model: &ModelName) -> Option<Version> {
        self.withdrawn().get(model).map(|it| it.incumbent)
    }

    fn withdrawn(&self) -> std::sync::MutexGuard<'_, BTreeMap<ModelName, Withdrawn>> {
        let withdrawn = self.withdrawn.lock();
        withdrawn.unwrap_or_else(PoisonError::into_inner)
    }

    /// How those stand that are not over.
    pub(crate) fn known(&self) -> Arc<Vec<InRollout>> {
        self.known.load_full()
    }

    /// How many ended, by [`State::OVER`].
    pub(crate) fn ended(&self) -> [u64; State::OVER.len()] {
        self.ended.each_ref().map(|it| it.load(Relaxed))
    }
}

/// Looks and decides until the server ends.
pub(crate) async fn watch(app: Weak<App>, tasks: Tasks) {
    let opened = app.upgrade();
    let opened = opened.map(|it| (it.catalog.changes(), Arc::clone(&it.rollouts)));
    let Some((mut changes, rollouts)) = opened else {
        return;
    };
    let mut watches = HashMap::new();
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stopping = tasks.stopping();
    tokio::pin!(stopping);
    loop {
        let look = tokio::select! {
            biased;
            () = &mut stopping => return,
            // Before what changes, which may do so all the time.
            _ = tick.tick() => true,
            changed = changes.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
            () = rollouts.changed.notified() => false,
        };
        let Some(held) = app.upgrade() else { return };
        let work = async {
            if look {
                look_at_all(&held, &mut watches).await;
            }
            settle_all(&held).await;
            // What was decided did not wait for it.
            if look {
                keep_all(&held, &mut watches).await;
            }
        };
        tokio::select! {
            biased;
            () = &mut stopping => return,
            () = work => {}
        }
    }
}

/// What goes on from look to look, and when it was last written down.
struct Watched {
    number: RolloutNumber,
    watch: evidence::Watch,
    kept_at: Instant,
    /// The last look, and when one was last written down.
    looked: Option<Looked>,
    look_kept_at: Option<Instant>,
    /// Where it is being learned what scores mean.
    learning: Option<Learning>,
}

async fn look_at_all(app: &Arc<App>, watches: &mut HashMap<RolloutId, Watched>) {
    let live: Vec<(RolloutNumber, Rollout)> = {
        let live = app.rollouts.lock().await;
        watches.retain(|id, _| live.values().any(|it| it.kept.rollout.plan.id() == id));
        for Live { kept, .. } in live.values() {
            let id = kept.rollout.plan.id().clone();
            watches.entry(id).or_insert_with(|| Watched {
                number: kept.number,
                watch: restored(kept),
                kept_at: Instant::now(),
                looked: None,
                look_kept_at: None,
                learning: None,
            });
        }
        let live = live.values().map(|it| &it.kept);
        live.map(|it| (it.number, it.rollout.clone())).collect()
    };
    for (number, rollout) in live {
        let plan = &rollout.plan;
        let Some(watched) = watches.get_mut(plan.id()) else {
            continue;
        };
        if watched.watch.waits_for_scores() {
            learn(app, watched, plan);
        }
        let counted = rollout.progress.counted;
        let measuring = watched.watch.look(app, &rollout, counted, now(app));
        let evidence = measuring.await;
        let looked = looked(now(app), &evidence);
        watched.looked = Some(looked.clone());
        let mut live = app.rollouts.lock().await;
        if let Some(live) = live.get_mut(plan.model())
            && live.kept.number == number
        {
            if live.history.len() >= LOOKS_MAX {
                let mut place = 0_usize;
                live.history.retain(|_| {
                    place += 1;
                    place.is_multiple_of(2)
                });
            }
            live.history.push(looked);
            live.evidence = Some(evidence);
            live.watch = Some(watched.watch.clone());
        }
    }
}

/// Has it learned what scores mean, once the candidate can be asked.
fn learn(app: &Arc<App>, watched: &mut Watched, plan: &Plan) {
    let model = app.catalog.model(plan.model()).unwrap_or_default();
    match &mut watched.learning {
        None if loaded(&model, plan.candidate()) == Loaded::Ready => {
            watched.learning = Some(Learning::begin(app, plan));
        }
        None => {}
        Some(learning) => {
            if let Some(learned) = learning.end() {
                watched.learning = None;
                watched.watch.learn(plan, learned);
            }
        }
    }
}

/// Writes down what goes on from look to look, and looks themselves, where it is time to.
async fn keep_all(app: &App, watches: &mut HashMap<RolloutId, Watched>) {
    let registry = &app.store.registry;
    for watched in watches.values_mut() {
        if watched.kept_at.elapsed() >= KEEP {
            watched.kept_at = Instant::now();
            if let Some(measured) = written(&watched.watch)
                && let Err(refusal) = registry.keep_measured(watched.number, &measured).await
            {
                tracing::error!(%refusal, "what is measured of a rollout is not kept");
            }
        }
        let is_due = |it: Instant| it.elapsed() >= KEEP_LOOK;
        if let Some(looked) = &watched.looked
            && watched.look_kept_at.is_none_or(is_due)
            && !looked.e_values.is_empty()
        {
            watched.look_kept_at = Some(Instant::now());
            if let Err(refusal) = registry.keep_rollout_look(watched.number, looked).await {
                tracing::error!(%refusal, "a look at a rollout is not kept");
            }
        }
    }
}

/// The same as it is stored.
fn written(watch: &evidence::Watch) -> Option<String> {
    let written = serde_json::to_string(watch);
    written
        .inspect_err(|error| tracing::error!(%error, "what is measured of a rollout is not kept"))
        .ok()
}

/// What the last process had measured; nothing where that cannot be read.
fn restored(kept: &Kept) -> evidence::Watch {
    let read = |text: &String| match serde_json::from_str(text) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::error!(%error, "what was measured of a rollout cannot be read; it is measured anew");
            None
        }
    };
    let measured = kept.measured.as_ref().and_then(read);
    measured.unwrap_or_else(|| evidence::Watch::new(&kept.rollout.plan))
}

async fn settle_all(app: &Arc<App>) {
    let mut live = app.rollouts.lock().await;
    let models: Vec<ModelName> = live.keys().cloned().collect();
    // No candidate is asked for longer because what is next of another model's is being written down.
    for (model, live) in live.iter() {
        withdraw(app, live, model).await;
    }
    for model in models {
        if let Err(refusal) = settle(app, &mut live, &model).await {
            tracing::error!(%refusal, %model, "a rollout could not go on");
        }
    }
    let known = live.values().map(|it| {
        let Rollout { plan, progress } = &it.kept.rollout;
        InRollout {
            labels: format!(
                "model=\"{}\",version=\"{}\"",
                plan.model(),
                plan.candidate()
            ),
            state: progress.state.name(),
            held: progress.state.is_held(),
        }
    });
    app.rollouts.known.store(Arc::new(known.collect()));
}

/// Does what is next for a model's rollout until that is to wait.
async fn settle(
    app: &App,
    all: &mut BTreeMap<ModelName, Live>,
    model: &ModelName,
) -> Result<(), Refusal> {
    loop {
        let Some(live) = all.get_mut(model) else {
            return Ok(());
        };
        match withdraw(app, live, model).await {
            Next::Route(traffic) => {
                if !route(app, model, &traffic).await? {
                    return Ok(());
                }
            }
            // Nothing measured yet is not nothing to measure. Who answers does not wait for it: somebody may want to go
            // back at once.
            _ if live.evidence.is_none() => return Ok(()),
            Next::Append(event) => append(app, live, &event).await?,
            Next::Load(version) => return live.retries.load(app, model, version).await,
            Next::Wait { .. } => return Ok(()),
            Next::Over => {
                all.remove(model);
                drop(models::refresh(app, model).await?);
                return Ok(());
            }
        }
    }
}

/// What is next for a rollout. A candidate that this withdraws is asked no more already.
async fn withdraw(app: &App, live: &Live, model: &ModelName) -> Next {
    let facts = facts(app, live);
    let rollout = &live.kept.rollout;
    let decided = app
        .rollouts
        .withdrawn()
        .get(model)
        .map(|it| it.event.clone());
    let next = match decided {
        Some(event) => Next::Append(event),
        None => rollout.next(&facts, now(app)),
    };
    if let Next::Append(event) = &next
        && live.evidence.is_some()
        && rollout.withdraws(event, &facts)
    {
        let incumbent = rollout.plan.incumbent();
        let event = event.clone();
        let withdrawn = Withdrawn { incumbent, event };
        app.rollouts.withdrawn().insert(model.clone(), withdrawn);
        if let Err(refusal) = route(app, model, &Traffic::all(incumbent)).await {
            tracing::error!(%refusal, %model, "a candidate could not be withdrawn before that is written down");
        }
    }
    next
}

async fn append(app: &App, live: &mut Live, event: &Event) -> Result<(), Refusal> {
    let measured = live.watch.as_ref().and_then(written);
    let registry = &app.store.registry;
    let tellings = |after: &Rollout| app.alerts.tellings(after, event);
    registry
        .append_rollout_event(&mut live.kept, event, measured, tellings)
        .await?;
    app.rollouts
        .withdrawn()
        .remove(live.kept.rollout.plan.model());
    app.alerts.post.notify_one();
    let over = State::OVER.iter().zip(&app.rollouts.ended);
    for (_, ended) in over.filter(|it| *it.0 == event.to.name()) {
        ended.fetch_add(1, Relaxed);
    }
    let plan = &live.kept.rollout.plan;
    let said = event.sentence(plan);
    tracing::info!(model = %plan.model(), rollout = %plan.id(), state = event.to.name(), "{said}");
    Ok(())
}

/// Before the first look as if nothing had been measured.
fn facts(app: &App, live: &Live) -> Facts {
    let plan = &live.kept.rollout.plan;
    let model = app.catalog.model(plan.model()).unwrap_or_default();
    Facts {
        incumbent: loaded(&model, plan.incumbent()),
        candidate: loaded(&model, plan.candidate()),
        serving: model.serving(),
        learned: live.watch.as_ref().is_some_and(|it| !it.waits_for_scores()),
        evidence: live.evidence.clone().unwrap_or_default(),
    }
}

/// Begins a rollout.
pub(crate) async fn start(
    app: &Arc<App>,
    permission: Permission<Change>,
    start: Start,
) -> Result<Told, Refusal> {
    let Start {
        model,
        version,
        spec,
        person,
        supersede,
    } = start;
    person.check()?;
    let registry = &app.store.registry;
    let record = registry.version(&model, version).await?;
    let manifest = store::format::parse_manifest(&record.manifest)?;
    let spec = merged(&manifest.rollout, spec)?;
    // What takes its time holds no other rollout up, and what it refuses ends none.
    let labelled = learned::count(app, &model, &spec).await?;
    if supersede {
        let deed = Deed::Supersede { by: version };
        let mut live = app.rollouts.lock().await;
        if live.contains_key(&model) {
            command_locked(app, &mut live, &model, deed, person.clone()).await?;
        }
    }
    // What is not served cannot be measured.
    models::load(app, permission, &model, None).await?;
    let mut live = app.rollouts.lock().await;
    let incumbent = registry.traffic(&model).await?;
    let before = match incumbent {
        Some(incumbent) => registry.version(&model, incumbent).await?,
        None => record.clone(),
    };
    let running = app.catalog.model(&model).and_then(|it| it.traffic.clone());
    let latency = match &running {
        Some(running) => latency_of(app, running).await?,
        None => None,
    };
    let mut columns = running.as_deref().map(columns_of);
    if let Some(columns) = &mut columns {
        // What is told of keys beside the rows, or will be.
        let told = registry.attributes(&model).await?;
        let told = told.into_iter().map(|it| it.name);
        let more = told.chain(manifest.ledger.attributes.iter().cloned());
        columns.extend(more);
        columns.sort_unstable();
        columns.dedup();
    }
    let posted = crate::labels::posted(app, &model).await?;
    // The control's answers are the incumbent's.
    let manifest_before = store::format::parse_manifest(&before.manifest)?;
    let plan = Plan::new(
        Ask {
            id: Uuid::now_v7().to_string().parse()?,
            model: model.clone(),
            incumbent,
            candidate: version,
            signatures: (&before.signature, &record.signature),
            spec,
            recorded: Recorded {
                ledger: app.records(&manifest) && app.records(&manifest_before),
                prices: app.prices.is_some(),
                task: record.signature.task.as_ref(),
                columns: columns.as_deref(),
                posted: &posted,
                latency,
                labelled,
            },
            person,
            now: now(app),
        },
        live.get(&model).map(|it| &it.kept.rollout),
    )?;
    let kept = registry.begin_rollout(&plan).await?;
    live.insert(
        model.clone(),
        Live::new(kept.clone(), Some(Evidence::default()), Vec::new()),
    );
    settle(app, &mut live, &model).await?;
    app.rollouts.changed.notify_one();
    let kept = live.get(&model).map_or(kept, |it| it.kept.clone());
    Ok(Told {
        kept,
        evidence: Evidence::default(),
        history: Vec::new(),
    })
}

/// The columns by which groups can be told.
fn columns_of(running: &Running) -> Vec<String> {
    let layout = running.recorder.layout();
    let columns = layout.input_columns().flat_map(|(_, names)| names.iter());
    columns.cloned().collect()
}

/// What the manifest says with what somebody says in its place (JSON merge patch, RFC 7396).
fn merged(manifest: &Spec, patch: Option<serde_json::Value>) -> Result<Spec, Refusal> {
    let Some(patch) = patch else {
        return Ok(manifest.clone());
    };
    let malformed = |error: serde_json::Error| Refusal::Malformed {
        what: "`spec`",
        why: error.to_string(),
    };
    let mut whole = serde_json::to_value(manifest).map_err(malformed)?;
    merge(&mut whole, patch);
    serde_json::from_value(whole).map_err(malformed)
}

fn merge(whole: &mut serde_json::Value, patch: serde_json::Value) {
    use serde_json::Value::{Null, Object};
    match (whole, patch) {
        (Object(whole), Object(patch)) => {
            for (name, value) in patch {
                match value {
                    Null => drop(whole.remove(&name)),
                    value => merge(whole.entry(name).or_insert(Null), value),
                }
            }
        }
        (whole, patch) => *whole = patch,
    }
}

/// 99 of 100 requests of the last day took as long at most; none where there were few.
async fn latency_of(app: &App, running: &Running) -> Result<Option<Duration>, Refusal> {
    let to_us = crate::clock::wall_ms() * 1000;
    let range = Range {
        from_us: to_us - LATENCY_SPAN_US,
        to_us,
    };
    let (ledger, limits) = (Arc::clone(&app.keeper.ledger), sql_limits(app));
    let model = running.model.to_string();
    let question = async move {
        let snapshot = ledger.snapshot(crate::clock::wall_ms())?;
        // One span: no time is as long ago as 2^62 microseconds.
        snapshot
            .served(&model, None, (range, 1 << 62), limits)
            .await
    };
    let served = app.questions.ask(LOOK_MAX, question).await?;
    let known = served
        .first()
        .filter(|it| it.requests - it.failed.min(it.requests) >= LATENCY_REQUESTS_MIN);
    Ok(known.map(|it| Duration::from_secs_f64(it.p99_us.max(0.0) / 1e6)))
}

/// Does what somebody wants with a rollout.
pub(crate) async fn command(
    app: &Arc<App>,
    _: Permission<Change>,
    id: &RolloutId,
    deed: Deed,
    person: Person,
) -> Result<Told, Refusal> {
    let kept = app.store.registry.rollout(id).await?;
    let mut live = app.rollouts.lock().await;
    let model = kept.rollout.plan.model().clone();
    let is_it = |it: &Live| it.kept.number == kept.number;
    if live.get(&model).is_some_and(is_it) {
        return command_locked(app, &mut live, &model, deed, person).await;
    }
    // It is over, which it says in its own words.
    let evidence = Evidence::default();
    let refused = kept.rollout.command(deed, person, &evidence, now(app));
    Err(refused.err().unwrap_or_else(|| Refusal::Internal {
        what: format!("rollout `{id}` is not over, and nobody follows it"),
    }))
}

async fn command_locked(
    app: &App,
    all: &mut BTreeMap<ModelName, Live>,
    model: &ModelName,
    deed: Deed,
    person: Person,
) -> Result<Told, Refusal> {
    let Some(live) = all.get_mut(model) else {
        let id = model.to_string();
        return Err(Refusal::UnknownRollout { id });
    };
    let evidence = live.evidence.clone().unwrap_or_default();
    let rollout = &live.kept.rollout;
    let event = rollout.command(deed, person, &evidence, now(app))?;
    append(app, live, &event).await?;
    let number = live.kept.number;
    let id = live.kept.rollout.plan.id().clone();
    settle(app, all, model).await?;
    app.rollouts.changed.notify_one();
    let kept = match all.get(model) {
        Some(live) if live.kept.number == number => live.kept.clone(),
        // It is over.
        _ => app.store.registry.rollout(&id).await?,
    };
    let history = Vec::new();
    Ok(Told {
        kept,
        evidence,
        history,
    })
}

/// A rollout with what is measured of it; of one that is over what its last event rests on.
pub(crate) async fn show(app: &App, _: Permission<Read>, id: &RolloutId) -> Result<Told, Refusal> {
    let kept = app.store.registry.rollout(id).await?;
    let measured = {
        let live = app.rollouts.lock().await;
        let live = live.get(kept.rollout.plan.model());
        live.filter(|it| it.kept.number == kept.number)
            .map(|it| (it.evidence.clone(), it.history.clone()))
    };
    let (measured, history) = match measured {
        Some(known) => known,
        None => (None, app.store.registry.rollout_looks(kept.number).await?),
    };
    let evidence = match measured {
        Some(evidence) => evidence,
        None => {
            let last = kept.rollout.progress.events.saturating_sub(1);
            let events = app.store.registry.rollout_events(kept.number, last, 1);
            let event = events.await?.pop();
            event.map(|it| it.evidence).unwrap_or_default()
        }
    };
    Ok(Told {
        kept,
        evidence,
        history,
    })
}

/// What must come before it goes on, in words; nothing where it is over.
pub(crate) fn missing(app: &App, told: &Told) -> Vec<String> {
    let rollout = &told.kept.rollout;
    if rollout.progress.state.is_over() {
        return Vec::new();
    }
    let missing = rollout.missing(&told.evidence, now(app));
    missing.iter().map(ToString::to_string).collect()
}
