//! Alerts: one task, `desk`, takes in what monitors find, keeps every alert's state, and decides with
//! `domain::alert` what is told and what is done. Two others carry that out: `courier` delivers, `remedy` acts.
//!
//! R1. What is to be told or done is in the registry before it is tried, so that a crash loses nothing and
//!     repeats no action.
//! R2. A receiver that hangs, or a version that takes long to load, delays no other alert.
//!
//! For monitors there is one way in: [`Alerts::report`].

mod courier;
mod desk;
mod http;
mod mail;
mod remedy;
mod target;
mod tls;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::alert::notify::{Muted, Silence};
use domain::alert::receiver::{Kind, Receiver, Receivers};
use domain::alert::{Alert, Book, Finding, Fingerprint, Matcher, Moment, Severity};
use domain::experiment::course::{self, Experiment};
use domain::rollout::{self, Rollout};
use domain::{ModelName, Refusal};
use store::Store;
use store::registry::outbox::Telling;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::app::App;
use crate::clock::wall_ms;
use crate::stats::AlertCounts;
use crate::task::Tasks;
use desk::Desk;
use remedy::Remedy;

pub(crate) use remedy::reverse;

/// Messages that wait for the task; who sends one more waits.
const MESSAGES_MAX: usize = 64;
/// Actions that wait to be carried out.
const REMEDIES_MAX: usize = 64;
/// After what could not be written it is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest sleep: the wall clock may have been set.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// The longest silence.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(365 * 86_400);

/// What is counted, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Alerts that fire, by severity.
    pub(crate) firing: [AtomicU64; 3],
    /// Deliveries taken.
    pub(crate) delivered: AtomicU64,
    /// Attempts that failed.
    pub(crate) failed: AtomicU64,
    /// Deliveries that wait, and those given up.
    pub(crate) waiting: AtomicU64,
    pub(crate) dead: AtomicU64,
    /// What happened to alerts and silences since the server was started.
    pub(crate) changes: AtomicU64,
}

impl Counts {
    pub(crate) fn read(&self) -> AlertCounts {
        let [info, ticket, page] = &self.firing;
        AlertCounts {
            firing: [info, ticket, page].map(|it| it.load(Relaxed)),
            delivered: self.delivered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            dead: self.dead.load(Relaxed),
        }
    }
}

/// Which alerts are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) model: Option<ModelName>,
    pub(crate) severity: Option<Severity>,
    /// Those that are over, too.
    pub(crate) ended: bool,
}

/// An alert, and why nobody is told of it, where that is so.
pub(crate) type Listed = (Alert, Option<Muted>);

type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

enum Message {
    Report(Vec<Finding>),
    List(Filter, oneshot::Sender<Vec<Listed>>),
    Acknowledge {
        fingerprint: Fingerprint,
        who: String,
        reply: Reply<Alert>,
    },
    Feedback {
        fingerprint: Fingerprint,
        useful: bool,
        by: (String, String),
        reply: Reply<()>,
    },
    AddSilence(Silence, Reply<Silence>),
    EndSilence(i64, Reply<()>),
    Serve,
}

/// The alerts, from outside.
pub(crate) struct Alerts {
    messages: mpsc::Sender<Message>,
    active: Arc<ArcSwap<Vec<Listed>>>,
    pub(crate) counts: Arc<Counts>,
    /// Wakes the courier.
    pub(crate) post: Arc<Notify>,
    /// Who is told of rollouts, too, and how.
    rollouts: Vec<(String, Kind)>,
    /// The same of experiments.
    experiments: Vec<(String, Kind)>,
    external_url: String,
}

impl Alerts {
    /// Takes in what a monitor found at one look. Waits where the task is behind; while the server ends what is
    /// reported is dropped.
    pub(crate) async fn report(&self, findings: Vec<Finding>) {
        // It fails only when the task has ended.
        let _ = self.messages.send(Message::Report(findings)).await;
    }

    /// What receivers are told of an event that a rollout has followed. Whoever writes it down wakes the courier by
    /// `post`.
    pub(crate) fn tellings(&self, rollout: &Rollout, event: &rollout::Event) -> Vec<Telling> {
        tellings(&self.rollouts, |kind| {
            wire::rollouts::telling(kind, rollout, event, &self.external_url)
        })
    }

    /// The same of an experiment.
    pub(crate) fn tellings_of(
        &self,
        experiment: &Experiment,
        event: &course::Event,
    ) -> Vec<Telling> {
        tellings(&self.experiments, |kind| {
            wire::experiments::telling(kind, experiment, event, &self.external_url)
        })
    }

    /// Those that are pending or fire, as the task left them last, in the same order as a list: at once, however busy the
    /// task is.
    pub(crate) fn active(&self) -> Arc<Vec<Listed>> {
        self.active.load_full()
    }

    /// Grows with whatever happens to alerts and silences.
    pub(crate) fn changes(&self) -> u64 {
        self.counts.changes.load(Relaxed)
    }

    /// The alerts that are asked for, the most urgent first, then by their beginning.
    pub(crate) async fn list(&self, filter: Filter) -> Result<Vec<Listed>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::List(filter, reply)).await?;
        answer.await.map_err(|_| Refusal::Draining)
    }

    /// One alert.
    pub(crate) async fn get(&self, fingerprint: Fingerprint) -> Result<Listed, Refusal> {
        let filter = Filter {
            fingerprint: Some(fingerprint),
            ended: true,
            ..Filter::default()
        };
        let found = self.list(filter).await?.pop();
        found.ok_or_else(|| Refusal::UnknownAlert {
            id: fingerprint.to_string(),
        })
    }

    /// Notes that somebody has seen an alert.
    pub(crate) async fn acknowledge(
        &self,
        fingerprint: Fingerprint,
        who: String,
    ) -> Result<Alert, Refusal> {
        self.ask(|reply| Message::Acknowledge {
            fingerprint,
            who,
            reply,
        })
        .await
    }

    /// Notes whether an alert was of use, by whom and why.
    pub(crate) async fn feedback(
        &self,
        fingerprint: Fingerprint,
        useful: bool,
        by: (String, String),
    ) -> Result<(), Refusal> {
        self.ask(|reply| Message::Feedback {
            fingerprint,
            useful,
            by,
            reply,
        })
        .await
    }

    /// Silences what all of the matchers pick.
    pub(crate) async fn add_silence(
        &self,
        matchers: Vec<Matcher>,
        length: Duration,
        (who, why): (String, String),
    ) -> Result<Silence, Refusal> {
        let from = Moment(wall_ms());
        let silence = Silence {
            id: 0,
            matchers,
            from,
            until: from.after(length.min(SILENCE_MAX)),
            who,
            why,
        };
        self.ask(|reply| Message::AddSilence(silence, reply)).await
    }

    /// Ends a silence.
    pub(crate) async fn end_silence(&self, id: i64) -> Result<(), Refusal> {
        self.ask(|reply| Message::EndSilence(id, reply)).await
    }

    /// Does what rules permit from now on. A command that works on the data folder by itself only looks.
    pub(crate) async fn serve(&self) {
        // It fails only when the task has ended.
        let _ = self.messages.send(Message::Serve).await;
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply)).await?;
        answer.await.map_err(|_| Refusal::Draining)?
    }

    async fn send(&self, message: Message) -> Result<(), Refusal> {
        let sent = self.messages.send(message).await;
        sent.map_err(|_| Refusal::Draining)
    }
}

/// What each of some receivers is told, in its own form.
fn tellings(receivers: &[(String, Kind)], body: impl Fn(Kind) -> Option<String>) -> Vec<Telling> {
    let told = receivers.iter().filter_map(|(receiver, kind)| {
        Some(Telling {
            receiver: receiver.clone(),
            body: body(*kind)?,
        })
    });
    told.collect()
}

/// The task that knows, before it is started.
pub(crate) struct Office {
    desk: Desk,
    messages: mpsc::Receiver<Message>,
}

/// The tasks that carry out what it decides. Only a server that listens has them.
pub(crate) struct Errands {
    courier: courier::Courier,
    remedies: mpsc::Receiver<Remedy>,
}

/// Reads what was left. Receivers that cannot be told are refused.
pub(crate) async fn open(
    store: &Arc<Store>,
    receivers: Option<Receivers>,
) -> Result<(Alerts, Office, Errands), Refusal> {
    let configured = receivers.is_some();
    let receivers = receivers.unwrap_or_default();
    receivers
        .check()
        .map_err(|(field, why)| Refusal::InvalidManifest { field, why })?;
    let targets = target::of_all(&receivers)?;
    let told = |of: fn(&Receiver) -> bool| {
        let told = receivers.receivers.iter().filter(|it| of(it));
        told.map(|it| (it.name.clone(), it.kind)).collect()
    };
    let (rollouts, experiments) = (told(|it| it.rollouts), told(|it| it.experiments));
    let external_url = receivers.external_url.clone();
    let registry = &store.registry;
    let (messages, inbox) = mpsc::channel(MESSAGES_MAX);
    let (remedy, remedies) = mpsc::channel(REMEDIES_MAX);
    let counts = Arc::new(Counts::default());
    let active: Arc<ArcSwap<Vec<Listed>>> = Arc::default();
    let (post, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let book = Book::new(registry.alerts().await?);
    let firing = book.iter().filter(|(_, it)| it.is_firing());
    let desk = Desk {
        store: Arc::clone(store),
        routes: receivers.routes(),
        inhibitions: receivers.inhibitions(),
        silences: held(store).await?,
        sent: registry.told().await?,
        to_act: firing.map(|(it, _)| it).collect(),
        serves: false,
        book,
        rules: HashMap::new(),
        changed: BTreeSet::new(),
        events: Vec::new(),
        remedy,
        active: Arc::clone(&active),
        counts: Arc::clone(&counts),
        post: Arc::clone(&post),
        told: Arc::clone(&told),
        trim_at: Moment(wall_ms()).after(SLEEP_MAX),
        retry: receivers.retry.clone(),
        receivers,
    };
    let courier = courier::Courier {
        store: Arc::clone(store),
        targets: configured.then_some(targets),
        retry: desk.retry.clone(),
        counts: Arc::clone(&counts),
        post: Arc::clone(&post),
        told,
    };
    let alerts = Alerts {
        messages,
        active,
        counts,
        post,
        rollouts,
        experiments,
        external_url,
    };
    let office = Office {
        desk,
        messages: inbox,
    };
    Ok((alerts, office, Errands { courier, remedies }))
}

impl Office {
    /// Starts the task.
    pub(crate) fn start(self, tasks: &Tasks) {
        let Self { desk, messages } = self;
        tasks.start("alerts", desk.work(messages, tasks.clone()));
    }
}

impl Errands {
    /// Starts the tasks.
    pub(crate) fn start(self, app: &Arc<App>, tasks: &Tasks) {
        let Self { courier, remedies } = self;
        tasks.start("alerts courier", courier.work(tasks.clone()));
        // Weak: the server's parts hold this task's other end.
        let app: Weak<App> = Arc::downgrade(app);
        tasks.start("alerts remedy", remedy::work(app, remedies, tasks.clone()));
    }
}

async fn held(store: &Store) -> Result<Vec<Silence>, Refusal> {
    let now = Moment(wall_ms());
    let limit = store::registry::LIST_MAX;
    store.registry.silences(now, limit).await
}

/// How long it is from now until a moment.
fn until(moment: Moment) -> Duration {
    let ms = moment.0.saturating_sub(wall_ms());
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
