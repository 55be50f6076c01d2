//! What every handler has at hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use domain::access::{Permission, Policy, Predict, Read};
use domain::alert::receiver::Receivers;
use domain::budget::Prices;
use domain::ledger::Mode;
use domain::limits::Limits;
use domain::manifest::Manifest;
use domain::{Reference, Refusal, Selector};
use store::Store;
use tokio::sync::Semaphore;

use crate::alerts::Alerts;
use crate::attributes::Known;
use crate::catalog::{Catalog, show_state};
use crate::clock::Clock;
use crate::engines::{EngineSource, Engines};
use crate::experiments::Experiments;
use crate::ledger::{Budgets, Keeper};
use crate::looks::Looks;
use crate::models::Served;
use crate::overview;
use crate::questions::Questions;
use crate::recent::Recent;
use crate::rollouts::Rollouts;
use crate::route::Target;
use crate::running::Running;
use crate::shm::SharedMemory;
use crate::task::Tasks;

/// How a server is set up.
#[derive(Clone)]
pub struct Config {
    /// Where models are kept.
    pub data_dir: PathBuf,
    /// What runs them.
    pub engine: EngineSource,
    /// Every upper bound.
    pub limits: Limits,
    /// Whether callers on this machine may pass tensors in system shared memory.
    pub shared_memory: bool,
    /// How many cores the server may use.
    pub cores: usize,
    /// The names by which browsers may reach it.
    pub hostnames: Hostnames,
    /// Routes that a container platform asks for.
    pub container: ContainerRoutes,
    /// What the ledger keeps of models whose manifest does not say.
    pub ledger_mode: Mode,
    /// What resources cost.
    pub prices: Option<Prices>,
    /// Who is told of alerts; none where nobody is.
    pub alerts: Option<Receivers>,
}

/// By which names browsers may reach a server. Programs use whatever name they like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hostnames {
    /// By any: the network is trusted.
    #[default]
    Any,
    /// By an address, `localhost`, a name below it, and these.
    Only(Vec<String>),
}

impl Hostnames {
    /// Whether a `Host` header, with or without a port, is one of them.
    pub(crate) fn know(&self, host: &str) -> bool {
        let Self::Only(names) = self else { return true };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        address.parse::<std::net::IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || names.iter().any(|it| it.eq_ignore_ascii_case(&name))
    }
}

/// Routes that a container platform names in its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerRoutes {
    /// Answers like `/ping`.
    pub health: Option<String>,
    /// Answers like `/invocations`.
    pub predict: Option<String>,
}

/// The parts of a living server.
pub(crate) struct App {
    pub(crate) store: Arc<Store>,
    pub(crate) engines: Arc<Engines>,
    pub(crate) catalog: Catalog,
    pub(crate) served: Served,
    pub(crate) limits: Arc<Limits>,
    pub(crate) policy: Policy,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    /// The connections. They are told to stop first, and all else when the last of them has ended.
    pub(crate) listening: Tasks,
    pub(crate) shared_memory: SharedMemory,
    /// When it was opened, in milliseconds since 1970.
    pub(crate) started_ms: i64,
    /// Requests being worked on.
    pub(crate) requests: AtomicU64,
    pub(crate) hostnames: Hostnames,
    pub(crate) container: ContainerRoutes,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) ledger_mode: Mode,
    pub(crate) prices: Option<Arc<Prices>>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) questions: Arc<Questions>,
    pub(crate) alerts: Alerts,
    pub(crate) rollouts: Arc<Rollouts>,
    /// Places for those who listen to what happens.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) experiments: Arc<Experiments>,
    /// Those that were read.
    pub(crate) attributes: Known,
    pub(crate) looks: Looks,
    pub(crate) recent: Recent,
    /// What is told again and again to those who listen.
    pub(crate) overview: overview::Told,
}

impl App {
    /// Whether what a version answers is in the ledger.
    pub(crate) fn records(&self, manifest: &Manifest) -> bool {
        manifest.ledger.mode.unwrap_or(self.ledger_mode) != Mode::Off
    }

    /// What answers what the reference names.
    pub(crate) async fn find(
        &self,
        _: Permission<Predict>,
        reference: &Reference,
    ) -> Result<Target, Refusal> {
        self.loaded(reference, self.catalog.target(reference)).await
    }

    /// The version that it names, to look at it.
    pub(crate) async fn look(
        &self,
        _: Permission<Read>,
        reference: &Reference,
    ) -> Result<Arc<Running>, Refusal> {
        self.loaded(reference, self.catalog.find(reference)).await
    }

    /// What was found for the reference. Of a model that is not loaded the registry says whether there is one.
    async fn loaded<T>(
        &self,
        reference: &Reference,
        found: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let refusal = match found {
            Err(refusal @ (Refusal::UnknownModel { .. } | Refusal::NotReady { .. })) => refusal,
            found => return found,
        };
        if let Selector::Version(version) = reference.selector {
            self.store
                .registry
                .version(&reference.model, version)
                .await?;
        }
        if matches!(refusal, Refusal::NotReady { .. }) {
            return Err(refusal);
        }
        match self.store.registry.model(&reference.model).await {
            Ok(_) => Err(Refusal::NotReady {
                reference: reference.to_string(),
                state: show_state(None),
            }),
            Err(_) => Err(refusal),
        }
    }

    /// The only model that answers, for protocols that name none.
    pub(crate) fn only(&self, permission: Permission<Predict>) -> Result<Target, Refusal> {
        let models = self.catalog.models();
        let mut answering = models.iter().filter_map(|(_, model)| Target::of(model));
        match (answering.next(), answering.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Refusal::NotReady {
                reference: "the model".to_owned(),
                state: "none is served".to_owned(),
            }),
            (Some(_), Some(_)) => {
                let _ = permission;
                Err(Refusal::Unsupported {
                    what: "a request that names no model, where several are served,".to_owned(),
                    hint: "serve one model, or use `/v1/models/MODEL:predict` or `/v2/models/MODEL/infer`"
                        .to_owned(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_reaches_a_server_by_its_own_names() {
        let names = Hostnames::Only(vec!["models.example".to_owned()]);
        for known in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "localhost:8080",
            "LOCALHOST",
            "a.localhost:1",
            "models.example",
            "Models.Example:8080",
        ] {
            assert!(names.know(known), "{known}");
        }
        for other in [
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert!(!names.know(other), "{other}");
            assert!(Hostnames::Any.know(other), "{other}");
        }
    }
}
