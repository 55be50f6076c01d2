//! Which versions are loaded and where requests go.
//!
//! One task owns the loading and moves each model towards what is wanted, one action of
//! `domain::lifecycle` at a time; requests read a snapshot and never wait for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use domain::lifecycle::{self, Action, Actual, State, Wanted};
use domain::rollout::traffic::Traffic;
use domain::{Alias, ModelName, Reference, Refusal, Selector, Version};
use tokio::sync::{mpsc, oneshot, watch};

use crate::pool::Ended;
use crate::route::{Routes, Sharing, Target};
use crate::running::Running;
use crate::shadow::{ShadowCounts, Shadows};
use crate::task::Tasks;

/// Loads a version. The sender is dropped or used when all of its memory is free again.
pub(crate) trait Loader: Send + Sync + 'static {
    /// Resolves when the version may serve, or with why it may not.
    fn load(
        &self,
        model: ModelName,
        version: Version,
        ended: Ended,
    ) -> impl Future<Output = Result<Running, Refusal>> + Send;
}

/// What is served of one model, at one moment.
#[derive(Clone, Default)]
pub(crate) struct Model {
    /// What answers the model's name.
    pub(crate) traffic: Option<Arc<Running>>,
    /// Which versions do, while several share its traffic.
    pub(crate) routes: Option<Arc<Routes>>,
    /// Every version that is ready.
    pub(crate) ready: BTreeMap<Version, Arc<Running>>,
    /// What every version is doing.
    pub(crate) states: BTreeMap<Version, State>,
    /// Aliases of versions, ready or not.
    pub(crate) aliases: BTreeMap<Alias, Version>,
}

impl Model {
    /// Whose answers callers get; none while nothing does.
    pub(crate) fn serving(&self) -> Option<Traffic> {
        match &self.routes {
            Some(routes) => Some(routes.sharing.traffic.clone()),
            None => self.traffic.as_ref().map(|it| Traffic::all(it.version)),
        }
    }
}

type Models = HashMap<String, Arc<Model>>;

/// The snapshot that requests read, and the way to ask for another.
pub(crate) struct Catalog {
    models: Arc<ArcSwap<Models>>,
    changes: watch::Receiver<()>,
    commands: mpsc::Sender<Message>,
    shadows: Shadows,
}

/// What a model should be doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Goal {
    pub(crate) wanted: Wanted,
    pub(crate) aliases: BTreeMap<Alias, Version>,
    /// How the traffic is shared, where it is; the versions are wanted, too.
    pub(crate) sharing: Option<Sharing>,
}

enum Message {
    Want {
        model: ModelName,
        goal: Goal,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Loaded {
        model: ModelName,
        version: Version,
        result: Result<Running, Refusal>,
    },
    Ended {
        model: ModelName,
        version: Version,
    },
}

/// Commands that may wait. Loading is rare; whoever asks for more waits for room.
const COMMANDS_MAX: usize = 64;

impl Catalog {
    /// Starts the task that loads.
    pub(crate) fn start(loader: Arc<impl Loader>, tasks: &Tasks) -> Self {
        let (commands, messages) = mpsc::channel(COMMANDS_MAX);
        let models: Arc<ArcSwap<Models>> = Arc::default();
        let (changed, changes) = watch::channel(());
        let shadows = Shadows::start(tasks);
        let controller = Controller {
            loader,
            tasks: tasks.clone(),
            models: Arc::clone(&models),
            changed,
            slots: HashMap::new(),
            shadows: shadows.clone(),
            messages: commands.downgrade(),
        };
        tasks.start("catalog", controller.work(messages));
        Self {
            models,
            changes,
            commands,
            shadows,
        }
    }

    /// What became of requests that were to be answered unheard.
    pub(crate) fn shadowed(&self) -> ShadowCounts {
        self.shadows.counts()
    }

    /// Tells of every change in what is loaded and what answers.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }

    /// Asks for a model to be so. What is to be waited for resolves when it is, or with why it cannot be.
    pub(crate) async fn want(
        &self,
        model: ModelName,
        goal: Goal,
    ) -> Result<impl Future<Output = Result<(), Refusal>> + use<>, Refusal> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Want { model, goal, reply };
        self.commands
            .send(message)
            .await
            .map_err(|_| Refusal::Draining)?;
        Ok(async { answer.await.map_err(|_| Refusal::Draining)? })
    }

    /// What answers the reference now.
    pub(crate) fn target(&self, reference: &Reference) -> Result<Target, Refusal> {
        let models = self.models.load();
        let Some(model) = models.get(reference.model.as_str()) else {
            return Err(Refusal::UnknownModel {
                model: reference.model.to_string(),
            });
        };
        if let Some(target) = Target::named(model, &reference.selector) {
            return Ok(target);
        }
        let state = match &reference.selector {
            Selector::Traffic => model.states.values().next_back(),
            Selector::Version(version) => model.states.get(version),
            Selector::Alias(alias) => match model.aliases.get(alias) {
                Some(version) => model.states.get(version),
                None => {
                    return Err(Refusal::UnknownAlias {
                        reference: reference.to_string(),
                    });
                }
            },
        };
        Err(Refusal::NotReady {
            reference: reference.to_string(),
            state: show_state(state),
        })
    }

    /// The version that the reference means now; of those that share a model's traffic the one that had all of it.
    pub(crate) fn find(&self, reference: &Reference) -> Result<Arc<Running>, Refusal> {
        self.target(reference).map(|it| it.reads)
    }

    /// What is served of a model.
    pub(crate) fn model(&self, name: &ModelName) -> Option<Arc<Model>> {
        self.models.load().get(name.as_str()).map(Arc::clone)
    }

    /// Every model with its name, sorted by name.
    pub(crate) fn models(&self) -> Vec<(String, Arc<Model>)> {
        let models = self.models.load();
        let mut all: Vec<(String, Arc<Model>)> = models
            .iter()
            .map(|(name, model)| (name.clone(), Arc::clone(model)))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

/// A state in words.
pub(crate) fn show_state(state: Option<&State>) -> String {
    match state {
        None => "it is not loaded".to_owned(),
        Some(State::Loading) => "it is being loaded".to_owned(),
        Some(State::Ready) => "it is ready".to_owned(),
        Some(State::Unloading) => "it is being unloaded".to_owned(),
        Some(State::Failed { why }) => format!("loading it failed: {why}"),
    }
}

/// What a version of a model is doing, in a word, and why it failed where it did.
pub(crate) fn told_state(
    served: Option<&Model>,
    version: Option<Version>,
) -> (&'static str, Option<String>) {
    let state = served
        .zip(version)
        .and_then(|(it, version)| it.states.get(&version));
    state.map_or(("unloaded", None), told)
}

/// A state in a word, and why it failed where it did.
pub(crate) fn told(state: &State) -> (&'static str, Option<String>) {
    match state {
        State::Loading => ("loading", None),
        State::Ready => ("ready", None),
        State::Unloading => ("unloading", None),
        State::Failed { why } => ("failed", Some(why.clone())),
    }
}

/// One model as the task sees it.
#[derive(Default)]
struct Slot {
    goal: Goal,
    actual: Actual,
    running: BTreeMap<Version, Arc<Running>>,
    failures: BTreeMap<Version, Refusal>,
    waiting: Vec<oneshot::Sender<Result<(), Refusal>>>,
}

struct Controller<L> {
    loader: Arc<L>,
    tasks: Tasks,
    models: Arc<ArcSwap<Models>>,
    changed: watch::Sender<()>,
    slots: HashMap<ModelName, Slot>,
    shadows: Shadows,
    /// Weak, so that the task ends when the catalog is dropped.
    messages: mpsc::WeakSender<Message>,
}

impl<L: Loader> Controller<L> {
    async fn work(mut self, mut messages: mpsc::Receiver<Message>) {
        let stopping = self.tasks.stopping();
        tokio::pin!(stopping);
        loop {
            let message = tokio::select! {
                biased;
                () = &mut stopping => break,
                message = messages.recv() => message,
            };
            let Some(message) = message else { break };
            let model = self.take_in(message);
            self.advance(&model);
        }
        // Sessions end with what is under way; nothing is unloaded under a request.
        self.models.store(Arc::default());
    }

    fn take_in(&mut self, message: Message) -> ModelName {
        match message {
            Message::Want { model, goal, reply } => {
                let slot = self.slots.entry(model.clone()).or_default();
                // What failed before is tried again for whoever asks anew.
                let failed = |state: &State| matches!(state, State::Failed { .. });
                slot.actual.versions.retain(|_, state| !failed(state));
                slot.goal = goal;
                slot.waiting.push(reply);
                model
            }
            Message::Loaded {
                model,
                version,
                result,
            } => {
                let slot = self.slots.entry(model.clone()).or_default();
                let state = match result {
                    Ok(running) => {
                        tracing::info!(%model, %version, "loaded");
                        slot.running.insert(version, Arc::new(running));
                        State::Ready
                    }
                    Err(refusal) => {
                        tracing::error!(%model, %version, %refusal, "not loaded");
                        let why = refusal.to_string();
                        slot.failures.insert(version, refusal);
                        State::Failed { why }
                    }
                };
                slot.actual.versions.insert(version, state);
                model
            }
            Message::Ended { model, version } => {
                tracing::info!(%model, %version, "unloaded");
                if let Some(slot) = self.slots.get_mut(&model) {
                    slot.actual.versions.remove(&version);
                }
                model
            }
        }
    }

    /// Does what there is to do for a model, then tells those who wait how it came out.
    fn advance(&mut self, model: &ModelName) {
        let Some(mut slot) = self.slots.remove(model) else {
            return;
        };
        while let Some(action) = lifecycle::next(&slot.goal.wanted, &slot.actual) {
            self.carry_out(model, &mut slot, action);
        }
        self.publish(model, &slot);
        let busy = |state: &State| matches!(state, State::Loading | State::Unloading);
        if !slot.actual.versions.values().any(busy) {
            let failed = slot
                .goal
                .wanted
                .versions()
                .find_map(|it| slot.failures.get(&it).cloned());
            for reply in slot.waiting.drain(..) {
                // Whoever asked may have gone.
                let _ = reply.send(failed.clone().map_or(Ok(()), Err));
            }
        }
        let idle = slot.actual.versions.is_empty() && slot.waiting.is_empty();
        if !idle || slot.goal.wanted.versions().next().is_some() {
            self.slots.insert(model.clone(), slot);
        }
    }

    fn carry_out(&mut self, model: &ModelName, slot: &mut Slot, action: Action) {
        match action {
            Action::Load(version) => {
                slot.failures.remove(&version);
                slot.actual.versions.insert(version, State::Loading);
                self.load(model.clone(), version);
            }
            Action::Route(version) => {
                tracing::info!(%model, %version, "takes the traffic");
                slot.actual.routed = Some(version);
            }
            Action::Unroute => slot.actual.routed = None,
            Action::Unload(version) => {
                slot.actual.versions.insert(version, State::Unloading);
                // Requests that found it still hold it; the last one to let go ends its threads.
                slot.running.remove(&version);
            }
            Action::Forget(version) => {
                slot.actual.versions.remove(&version);
                slot.failures.remove(&version);
            }
        }
    }

    fn load(&self, model: ModelName, version: Version) {
        let (ended, gone) = oneshot::channel();
        let (loader, messages) = (Arc::clone(&self.loader), self.messages.clone());
        self.tasks.start("load", async move {
            let result = loader.load(model.clone(), version, ended).await;
            let loaded = result.is_ok();
            let Some(sender) = messages.upgrade() else {
                return;
            };
            let message = Message::Loaded {
                model: model.clone(),
                version,
                result,
            };
            if sender.send(message).await.is_err() || !loaded {
                return;
            }
            drop(sender);
            // Until the version is unloaded. The sender's being dropped means the same.
            let _ = gone.await;
            if let Some(sender) = messages.upgrade() {
                // Nobody listens when the server stops.
                let _ = sender.send(Message::Ended { model, version }).await;
            }
        });
    }

    fn publish(&self, model: &ModelName, slot: &Slot) {
        let mut models = Models::clone(&self.models.load());
        if slot.actual.versions.is_empty() && slot.goal.wanted.versions().next().is_none() {
            models.remove(model.as_str());
        } else {
            let routed = slot.actual.routed;
            let sharing = slot.goal.sharing.as_ref();
            let shown = Model {
                routes: sharing
                    .and_then(|it| Routes::of(it, &slot.running, &self.shadows))
                    .map(Arc::new),
                traffic: routed.and_then(|it| slot.running.get(&it).cloned()),
                ready: slot.running.clone(),
                states: slot.actual.versions.clone(),
                aliases: slot.goal.aliases.clone(),
            };
            models.insert(model.to_string(), Arc::new(shown));
        }
        self.models.store(Arc::new(models));
        self.changed.send_replace(());
    }
}
