//! The living process: it listens, loads, answers and keeps watch. Decisions are `domain`'s.
//!
//! The way of a request: `listen` takes the connection, `http` or `grpc` decodes, `app` finds the version,
//! `running` checks and counts, `pool` waits for a run, and back.

mod alerts;
mod app;
mod attributes;
mod body;
mod catalog;
mod clock;
pub mod docs;
pub mod drift;
mod engines;
mod experiments;
mod fairness;
mod grpc;
mod http;
mod infer;
mod inputs;
mod join;
mod labels;
mod ledger;
mod listen;
mod loading;
mod looks;
mod margins;
mod memory;
mod models;
mod monitors;
mod overview;
mod package;
mod pool;
mod prepare;
mod quality;
mod questions;
mod range;
mod recent;
mod replay;
mod rollouts;
mod route;
mod running;
#[cfg(test)]
mod scenarios;
mod shadow;
mod sharing;
mod shm;
mod standing;
mod stats;
mod table;
mod task;
mod why;

use std::future::Future;
use std::sync::Arc;

use domain::access::{self, Caller, Policy};
use domain::{ModelName, Refusal};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use app::{Config, ContainerRoutes, Hostnames};
pub use engines::EngineSource;
pub use http::Front;

use alerts::Errands;
use app::App;
use catalog::Catalog;
use clock::Clock;
use engines::Engines;
use ledger::{Budgets, Keeper};
use loading::StoreLoader;
use models::Served;
use questions::Questions;
use shm::SharedMemory;
use task::Tasks;

/// The names of the files that a model needs beside its own, read from its bytes; what is not a model that
/// can be served is refused. Runs nothing, and needs no library.
pub fn needed_files(bytes: &[u8], file_name: &str) -> Result<Vec<String>, Refusal> {
    match engine::sniff::sniff(bytes, file_name)? {
        engine::sniff::Found::Onnx => Ok(engine::onnx::inspect::inspect(bytes)?
            .external_files
            .into_iter()
            .collect()),
    }
}

/// A server with its data folder open. It answers once it runs, or through its front.
pub struct Server {
    app: Arc<App>,
    front: Front,
    errands: Errands,
}

impl Server {
    /// Opens the data folder and starts what works behind the answers. Nothing is served yet.
    pub async fn open(config: Config) -> Result<Self, Refusal> {
        let Config {
            data_dir,
            engine,
            limits,
            shared_memory,
            hostnames,
            cores,
            container,
            ledger_mode,
            prices,
            alerts: receivers,
        } = config;
        let clock = Clock::start();
        let tasks = Tasks::default();
        let limits = Arc::new(limits);
        let store = Arc::new(Store::open(&data_dir, &limits).await?);
        let opened = {
            let folder = data_dir.join("ledger");
            package::blocking(move || {
                ::ledger::Ledger::open(&folder, ::ledger::Settings::default())
            })
        };
        let keeper = Arc::new(Keeper::new(opened.await?));
        let (alerts, office, errands) = alerts::open(&store, receivers).await?;
        let rollouts = Arc::new(rollouts::Rollouts::open(&store).await?);
        let experiments = Arc::new(experiments::Experiments::open(&store).await?);
        let looks = looks::Looks::open(&store).await?;
        let engines = Arc::new(Engines::new(engine));
        let prices = prices.map(Arc::new);
        let budgets = Arc::new(Budgets::default());
        let loader = StoreLoader {
            store: Arc::clone(&store),
            engines: Arc::clone(&engines),
            limits: Arc::clone(&limits),
            clock,
            tasks: tasks.clone(),
            cores,
            keeper: Arc::clone(&keeper),
            ledger_mode,
            prices: prices.clone(),
            budgets: Arc::clone(&budgets),
        };
        let catalog = Catalog::start(Arc::new(loader), &tasks);
        let listeners = usize::try_from(limits.listeners_max).unwrap_or(usize::MAX);
        let listeners = listeners.min(Semaphore::MAX_PERMITS);
        let app = App {
            store,
            engines,
            catalog,
            served: Served::default(),
            limits,
            policy: Policy::Trusting,
            clock,
            tasks,
            listening: Tasks::default(),
            shared_memory: SharedMemory::new(shared_memory),
            hostnames,
            started_ms: clock::wall_ms(),
            requests: Default::default(),
            container,
            keeper,
            ledger_mode,
            prices,
            budgets,
            questions: Arc::new(Questions::new(cores)),
            alerts,
            rollouts,
            streams: Arc::new(Semaphore::new(listeners)),
            experiments,
            attributes: Default::default(),
            looks,
            recent: Default::default(),
            overview: tokio::sync::watch::Sender::new(Arc::from("")),
        };
        let app = Arc::new(app);
        office.start(&app.tasks);
        let router = http::router(&app, grpc::router(&app)?);
        let front = Front::new(&app, router);
        Ok(Self {
            app,
            front,
            errands,
        })
    }

    /// What answers on a port.
    pub fn front(&self) -> Front {
        self.front.clone()
    }

    /// Serves a model. Resolves when it answers, or with why it cannot.
    pub async fn want(&self, model: &ModelName) -> Result<(), Refusal> {
        let permission = access::check(self.app.policy, Caller::Anonymous)?;
        models::load(&self.app, permission, model, None).await
    }

    /// Serves every model that has traffic, and says of each how that went.
    pub async fn want_all(&self) -> Result<Vec<(ModelName, Result<(), Refusal>)>, Refusal> {
        let mut outcomes = Vec::new();
        let mut after: Option<ModelName> = None;
        loop {
            let limit = store::registry::LIST_MAX;
            let page = self
                .app
                .store
                .registry
                .models(after.as_ref(), limit)
                .await?;
            let Some(last) = page.last() else {
                return Ok(outcomes);
            };
            after = Some(last.name.clone());
            for model in page {
                if model.traffic.is_some() {
                    let outcome = self.want(&model.name).await;
                    outcomes.push((model.name, outcome));
                }
            }
        }
    }

    /// Writes down where the server can be reached, for commands that share its data folder.
    pub fn announce(&self, url: &str) -> Result<(), Refusal> {
        self.app.store.announce(url)
    }

    /// Answers on the listeners until `stop` resolves, then takes no more, lets what is under way finish,
    /// and closes the data folder.
    pub async fn run(self, listeners: Vec<TcpListener>, stop: impl Future<Output = ()>) {
        let Self {
            app,
            front,
            errands,
        } = self;
        let tasks = app.tasks.clone();
        let listening = app.listening.clone();
        errands.start(&app, &tasks);
        app.alerts.serve().await;
        // Weak: it ends when the server does.
        let watching = monitors::watch(Arc::downgrade(&app), tasks.clone());
        tasks.start("monitors", watching);
        let counting = recent::watch(Arc::downgrade(&app), tasks.clone());
        tasks.start("recent", counting);
        let telling = overview::watch(Arc::downgrade(&app), tasks.clone());
        tasks.start("overview", telling);
        let watching = rollouts::watch(Arc::downgrade(&app), tasks.clone());
        tasks.start("rollouts", watching);
        let watching = experiments::watch(Arc::downgrade(&app), tasks.clone());
        tasks.start("experiments", watching);
        let looking = experiments::look(Arc::downgrade(&app), tasks.clone());
        tasks.start("looks at experiments", looking);
        for listener in listeners {
            let limits = Arc::clone(&app.limits);
            let accept = listen::serve(listener, front.clone(), limits, listening.clone());
            tasks.start("listen", accept);
        }
        stop.await;
        listening.stop();
        listening.end().await;
        close(&app).await;
    }

    /// Ends what works behind the answers and closes the data folder.
    pub async fn close(self) {
        close(&self.app).await;
    }
}

async fn close(app: &App) {
    app.tasks.stop();
    app.tasks.end().await;
    app.keeper.close().await;
    app.store.close().await;
}
