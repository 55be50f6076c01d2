//! Experiments as they go: what is measured of each is looked at again and again, `domain::experiment` says what is next,
//! and that is written down and then done.
//!
//! R1. What is served is what the registry says: an event is in it before its traffic is asked for.
//! R2. Nothing goes on from look to look but when the next one is: whatever ends the process, what is read next is one state.
//! R3. Looking takes a twentieth of a core at most, holds no decision up, and nothing here is on a request's way.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::access::{Change, Permission, Read};
use domain::experiment::course::{Event, Experiment, Facts, Next, State};
use domain::experiment::plan::{Ask, ExperimentId, Plan};
use domain::experiment::{Look, Spec};
use domain::rollout::command::Person;
use domain::rollout::recorded::Recorded;
use domain::rollout::traffic::Weight;
use domain::{ModelName, Refusal, Version};
use store::Store;
use store::registry::State as Stored;
use store::registry::experiments::Kept;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;
use uuid::Uuid;

use crate::app::App;
use crate::models;
use crate::package::blocking;
use crate::sharing::{Retries, loaded, now, route, timeout};
use crate::task::{Tasks, Ticks};
use measure::{History, Measured, Period, periods};

mod measure;

/// How often what is measured is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
/// A look is followed by a pause of so many times what it took (R3).
const PAUSE: u32 = 20;
/// What ended so long ago is in the ledger, and a request may take so long to be refused.
const LATE: Duration = Duration::from_secs(2);
/// The most events of an experiment: its moves and both of its ends.
const EVENTS_MAX: u32 = 1_000;

/// The experiments that are not over.
pub(crate) struct Experiments {
    live: Mutex<BTreeMap<ModelName, Live>>,
    /// Somebody changed one.
    changed: Notify,
    /// What the last looks know, for `/metrics`: whoever asks waits for no decision.
    known: ArcSwap<Vec<Known>>,
}

/// What is known of a model's experiment that runs.
pub(crate) struct Known {
    pub(crate) model: ModelName,
    /// The control first.
    pub(crate) versions: Vec<Version>,
    pub(crate) look: Look,
}

/// One of them.
struct Live {
    kept: Kept,
    /// Since when shares were what.
    periods: Vec<Period>,
    /// What keys had before, once it was read.
    history: Option<Arc<History>>,
    look: Look,
    /// What a bandit would do after that look.
    shares: Option<Vec<f64>>,
    /// When it is looked at again.
    next_look: Instant,
    retries: Retries,
}

impl Live {
    fn new(kept: Kept, events: &[Event]) -> Self {
        Self {
            periods: periods(events),
            look: events.last().map(|it| it.look.clone()).unwrap_or_default(),
            kept,
            history: None,
            shares: None,
            next_look: Instant::now(),
            retries: Retries::default(),
        }
    }
}

/// What somebody asks for.
pub(crate) struct Start {
    pub(crate) model: ModelName,
    /// The control first.
    pub(crate) versions: Vec<Version>,
    /// Without any all have the same.
    pub(crate) shares: Vec<Weight>,
    pub(crate) spec: Spec,
    pub(crate) person: Person,
}

/// An experiment as it is told.
pub(crate) struct Told {
    pub(crate) kept: Kept,
    pub(crate) look: Look,
}

impl Experiments {
    /// Those that the last process left.
    pub(crate) async fn open(store: &Store) -> Result<Self, Refusal> {
        let mut live = BTreeMap::new();
        for kept in store.registry.live_experiments(None).await? {
            let events = all_events(store, &kept).await?;
            let model = kept.experiment.plan.model().clone();
            live.insert(model, Live::new(kept, &events));
        }
        Ok(Self {
            live: Mutex::new(live),
            changed: Notify::new(),
            known: ArcSwap::default(),
        })
    }

    /// What the last looks know of those that run.
    pub(crate) fn known(&self) -> Arc<Vec<Known>> {
        self.known.load_full()
    }

    async fn lock(&self) -> MutexGuard<'_, BTreeMap<ModelName, Live>> {
        self.live.lock().await
    }
}

async fn all_events(store: &Store, kept: &Kept) -> Result<Vec<Event>, Refusal> {
    let mut events = Vec::new();
    loop {
        let from = events.len() as u64;
        let registry = &store.registry;
        let page = registry
            .experiment_events(kept.number, from, EVENTS_MAX)
            .await?;
        if page.is_empty() {
            return Ok(events);
        }
        events.extend(page);
    }
}

/// Decides until the server ends: each second, and whenever something was loaded, measured or asked for.
pub(crate) async fn watch(app: Weak<App>, tasks: Tasks) {
    let opened = app.upgrade();
    let opened = opened.map(|it| (it.catalog.changes(), Arc::clone(&it.experiments)));
    let Some((mut changes, experiments)) = opened else {
        return;
    };
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stopping = tasks.stopping();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            biased;
            () = &mut stopping => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = experiments.changed.notified() => {}
            _ = tick.tick() => {}
        }
        let Some(held) = app.upgrade() else { return };
        tokio::select! {
            biased;
            () = &mut stopping => return,
            () = settle_all(&held) => {}
        }
    }
}

/// Looks until the server ends.
pub(crate) async fn look(app: Weak<App>, tasks: Tasks) {
    let mut ticks = Ticks::new(app, &tasks, LOOK);
    while let Some(held) = ticks.next().await {
        let work = async {
            look_at_all(&held).await;
            held.experiments.changed.notify_one();
        };
        ticks.meanwhile(work).await;
    }
}

async fn look_at_all(app: &Arc<App>) {
    let due: Vec<(Kept, Vec<Period>, Option<Arc<History>>)> = {
        let live = app.experiments.lock().await;
        let due = live.values().filter(|it| it.next_look <= Instant::now());
        due.map(|it| (it.kept.clone(), it.periods.clone(), it.history.clone()))
            .collect()
    };
    for (kept, periods, history) in due {
        // Others may have ended while the last was looked at, which may take long.
        tell_metrics(app).await;
        let began = Instant::now();
        let (number, events) = (kept.number, kept.experiment.progress.events);
        let model = kept.experiment.plan.model().clone();
        let looked = look_at(app, kept, periods, history).await;
        let mut live = app.experiments.lock().await;
        let Some(live) = live.get_mut(&model).filter(|it| it.kept.number == number) else {
            continue;
        };
        live.next_look = Instant::now() + LOOK.max(began.elapsed() * PAUSE) - LOOK / 2;
        match looked {
            Ok((measured, history)) => {
                live.history = Some(history);
                live.look = measured.look;
                // Shares that moved meanwhile were not seen.
                let is_new = live.kept.experiment.progress.events == events;
                live.shares = measured.shares.filter(|_| is_new);
            }
            // What was known before is still known.
            Err(refusal) => {
                tracing::error!(%refusal, %model, "an experiment cannot be measured");
                live.look.failed = Some(refusal.to_string());
                live.shares = None;
            }
        }
    }
    tell_metrics(app).await;
}

/// Tells `/metrics` what is known of those that run.
async fn tell_metrics(app: &App) {
    let live = app.experiments.lock().await;
    let running = live.values().filter_map(|it| {
        let Experiment { plan, progress } = &it.kept.experiment;
        matches!(progress.state, State::Running { .. }).then(|| Known {
            model: plan.model().clone(),
            versions: plan.versions(),
            look: it.look.clone(),
        })
    });
    app.experiments.known.store(Arc::new(running.collect()));
}

async fn look_at(
    app: &App,
    kept: Kept,
    periods: Vec<Period>,
    history: Option<Arc<History>>,
) -> Result<(Measured, Arc<History>), Refusal> {
    let plan = &kept.experiment.plan;
    // Only what came so long ago that all of it has ended: a slow version would else look like one that is given fewer.
    let longest = timeout(app, plan.model(), &plan.versions()) + LATE;
    let until_us = now(app).before(longest).0.saturating_mul(1000);
    let ledger = Arc::clone(&app.keeper.ledger);
    blocking(move || {
        let history = match history {
            Some(history) => history,
            None => Arc::new(measure::history(&ledger, &kept.experiment)?),
        };
        let looked = measure::look(&ledger, &kept.experiment, &periods, &history, until_us);
        Ok((looked?, history))
    })
    .await
}

async fn settle_all(app: &Arc<App>) {
    let mut live = app.experiments.lock().await;
    let models: Vec<ModelName> = live.keys().cloned().collect();
    for model in models {
        if let Err(refusal) = settle(app, &mut live, &model).await {
            tracing::error!(%refusal, %model, "an experiment could not go on");
        }
    }
}

/// Does what is next for a model's experiment until that is to wait.
async fn settle(
    app: &App,
    all: &mut BTreeMap<ModelName, Live>,
    model: &ModelName,
) -> Result<(), Refusal> {
    loop {
        let Some(live) = all.get_mut(model) else {
            return Ok(());
        };
        let facts = facts(app, live);
        match live.kept.experiment.next(&facts, now(app)) {
            Next::Append(event) => append(app, live, &event).await?,
            Next::Route(traffic) => {
                if !route(app, model, &traffic).await? {
                    return Ok(());
                }
            }
            Next::Load(version) => return live.retries.load(app, model, version).await,
            Next::Wait => return Ok(()),
            Next::Over => {
                all.remove(model);
                drop(models::refresh(app, model).await?);
                return Ok(());
            }
        }
    }
}

async fn append(app: &App, live: &mut Live, event: &Event) -> Result<(), Refusal> {
    let registry = &app.store.registry;
    let tellings = |after: &Experiment| app.alerts.tellings_of(after, event);
    registry
        .append_experiment_event(&mut live.kept, event, tellings)
        .await?;
    app.alerts.post.notify_one();
    live.periods.extend(periods(std::slice::from_ref(event)));
    live.shares = None;
    let plan = &live.kept.experiment.plan;
    let said = event.sentence(plan);
    tracing::info!(model = %plan.model(), experiment = %plan.id(), state = event.to.name(), "{said}");
    Ok(())
}

fn facts(app: &App, live: &Live) -> Facts {
    let plan = &live.kept.experiment.plan;
    let model = app.catalog.model(plan.model()).unwrap_or_default();
    let versions = plan.versions().into_iter();
    Facts {
        loaded: versions.map(|it| loaded(&model, it)).collect(),
        serving: model.serving(),
        look: live.look.clone(),
        shares: live.shares.clone(),
    }
}

/// Begins an experiment.
pub(crate) async fn start(
    app: &Arc<App>,
    permission: Permission<Change>,
    start: Start,
) -> Result<Told, Refusal> {
    let Start {
        model,
        versions,
        shares,
        spec,
        person,
    } = start;
    spec.check(versions.len())?;
    let registry = &app.store.registry;
    let mut records = Vec::with_capacity(versions.len());
    let mut retain = None;
    for version in &versions {
        let record = registry.version(&model, *version).await?;
        if record.summary.state != Stored::Verified {
            return Err(Refusal::Conflict {
                why: format!(
                    "`{model}:{version}` cannot take traffic: it has not reproduced its examples"
                ),
            });
        }
        let manifest = store::format::parse_manifest(&record.manifest)?;
        if !app.records(&manifest) {
            return Err(Refusal::Conflict {
                why: format!(
                    "`{model}:{version}` cannot be compared: its `ledger.mode` is `off`, so that nobody records what it \
                     answers; push a version that says `ledger.mode: buffered` in `windlass.yaml`"
                ),
            });
        }
        if records.is_empty() {
            retain = manifest.ledger.retain;
        }
        records.push(record);
    }
    // What is not served cannot be measured.
    models::load(app, permission, &model, None).await?;
    // What takes its time holds no other experiment up.
    let posted = crate::labels::posted(app, &model).await?;
    let mut live = app.experiments.lock().await;
    let signatures = records.iter().map(|it| &it.signature);
    let plan = Plan::new(Ask {
        id: Uuid::now_v7().to_string().parse()?,
        model: model.clone(),
        traffic: registry.traffic(&model).await?,
        versions: versions.into_iter().zip(signatures).collect(),
        shares,
        spec,
        recorded: Recorded {
            ledger: true,
            prices: app.prices.is_some(),
            task: records.first().and_then(|it| it.signature.task.as_ref()),
            columns: None,
            posted: &posted,
            latency: None,
            labelled: 0,
        },
        retain,
        person,
        now: now(app),
    })?;
    let kept = registry.begin_experiment(&plan).await?;
    live.insert(model.clone(), Live::new(kept.clone(), &[]));
    settle(app, &mut live, &model).await?;
    app.experiments.changed.notify_one();
    let kept = live.get(&model).map_or(kept, |it| it.kept.clone());
    Ok(Told {
        kept,
        look: Look::default(),
    })
}

/// Ends an experiment: its control has all of the traffic again, or the version that is promoted.
pub(crate) async fn stop(
    app: &Arc<App>,
    _: Permission<Change>,
    id: &ExperimentId,
    promote: Option<Version>,
    person: Person,
) -> Result<Told, Refusal> {
    let kept = app.store.registry.experiment(id).await?;
    let model = kept.experiment.plan.model().clone();
    let mut all = app.experiments.lock().await;
    let live = all
        .get_mut(&model)
        .filter(|it| it.kept.number == kept.number);
    let Some(live) = live else {
        // It is over, which is said in its own words.
        let event = kept
            .experiment
            .stop(person, promote, &Look::default(), now(app))?;
        let what = format!(
            "event {} of an experiment that nobody follows",
            event.number
        );
        return Err(Refusal::Internal { what });
    };
    let look = live.look.clone();
    let event = live
        .kept
        .experiment
        .stop(person, promote, &look, now(app))?;
    append(app, live, &event).await?;
    settle(app, &mut all, &model).await?;
    app.experiments.changed.notify_one();
    drop(all);
    let kept = app.store.registry.experiment(id).await?;
    Ok(Told { kept, look })
}

/// An experiment with what is measured of it; of one that is over what its last event rests on.
pub(crate) async fn show(
    app: &App,
    _: Permission<Read>,
    id: &ExperimentId,
) -> Result<Told, Refusal> {
    let kept = app.store.registry.experiment(id).await?;
    let measured = {
        let live = app.experiments.lock().await;
        let live = live.get(kept.experiment.plan.model());
        live.filter(|it| it.kept.number == kept.number)
            .map(|it| it.look.clone())
    };
    let look = match measured {
        Some(look) => look,
        None => {
            let last = kept.experiment.progress.events.saturating_sub(1);
            let events = app.store.registry.experiment_events(kept.number, last, 1);
            let event = events.await?.pop();
            event.map(|it| it.look).unwrap_or_default()
        }
    };
    Ok(Told { kept, look })
}
