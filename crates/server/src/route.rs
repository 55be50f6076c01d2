//! Which version answers a request for a model's name: its traffic's, or, while several share that, the one that the
//! request's key has by `domain::rollout::traffic`.
//!
//! R1. The versions that share a model's traffic take the same inputs, so that a request is read before it is known who
//!     answers it.
//! R2. A key that says where a request belongs is also the key of its rows in the ledger: what was split is what is
//!     counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use domain::ledger::Source;
use domain::request::{NamedTensor, value_of};
use domain::rollout::assign::{self, RouteToken};
use domain::rollout::traffic::Traffic;
use domain::{Refusal, Selector, Version};
use http::{HeaderMap, HeaderName};
use stats::random::nth;
use uuid::Uuid;

use crate::catalog::Model;
use crate::ledger::{Asked, Asker};
use crate::running::{Answer, Running};
use crate::shadow::{Place, Shadows, Unheard};

/// The header that holds a request without a key where it went: it is in the answer, and in the requests that should
/// go there again.
pub(crate) const ROUTE_TOKEN: &str = "windlass-route-token";
/// The same for a map of headers, which reads no name then.
pub(crate) const ROUTE_TOKEN_HEADER: HeaderName = HeaderName::from_static(ROUTE_TOKEN);

/// How a model's traffic is shared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sharing {
    /// With what keys get their places.
    pub(crate) salt: String,
    /// Where the key is.
    pub(crate) key: Option<Source>,
    /// Who has what.
    pub(crate) traffic: Traffic,
}

/// The same with the versions that answer; all of them are ready.
pub(crate) struct Routes {
    pub(crate) sharing: Sharing,
    versions: BTreeMap<Version, Arc<Running>>,
    shadows: Shadows,
    /// Which token is next.
    tokens: AtomicU64,
}

impl Routes {
    /// None until every version that has a share is ready.
    pub(crate) fn of(
        sharing: &Sharing,
        ready: &BTreeMap<Version, Arc<Running>>,
        shadows: &Shadows,
    ) -> Option<Self> {
        let versions = sharing.traffic.versions().into_iter();
        let versions = versions.map(|it| Some((it, Arc::clone(ready.get(&it)?))));
        Some(Self {
            sharing: sharing.clone(),
            versions: versions.collect::<Option<_>>()?,
            shadows: shadows.clone(),
            tokens: AtomicU64::new(Uuid::now_v7().as_u128() as u64),
        })
    }

    /// A copy of a request for the version that answers unheard, where it is in the sample and there is a place for it.
    fn copy(&self, inputs: &[NamedTensor]) -> Option<(Place, Arc<Running>, Vec<NamedTensor>)> {
        let shadow = self.sharing.traffic.shadow?;
        let place = self.shadows.place(shadow.sample.get())?;
        let running = self.versions.get(&shadow.version)?;
        Some((place, Arc::clone(running), inputs.to_vec()))
    }

    /// Who answers a request, and why.
    fn choose(
        &self,
        reads: &Running,
        headers: &HeaderMap,
        inputs: &[NamedTensor],
    ) -> Result<Chosen<'_>, Refusal> {
        let Sharing { salt, key, traffic } = &self.sharing;
        let key = match key {
            Some(Source::Header(name)) => {
                let value = headers.get(name.as_str()).and_then(|it| it.to_str().ok());
                value.filter(|it| !it.is_empty()).map(str::to_owned)
            }
            Some(Source::Input(name)) => value_of(&reads.signature, inputs, name),
            None => None,
        };
        let (place, token) = match &key {
            Some(key) => (assign::Place::of(salt, key), None),
            None => {
                let token = match headers.get(ROUTE_TOKEN_HEADER) {
                    Some(token) => token.to_str().unwrap_or("?").parse()?,
                    None => RouteToken::new(nth(self.tokens.fetch_add(1, Relaxed))),
                };
                let place = assign::Place::of(salt, token);
                (place, Some(token))
            }
        };
        let (version, arm) = traffic.split.at(place);
        let running = self.versions.get(&version);
        Ok(Chosen {
            // It has every version of its traffic.
            running: running.ok_or(Refusal::Draining)?,
            arm: arm.name(),
            key,
            token,
        })
    }
}

/// Who answers one request.
struct Chosen<'a> {
    running: &'a Arc<Running>,
    arm: Cow<'a, str>,
    key: Option<String>,
    token: Option<RouteToken>,
}

/// What a reference names: one version, or those that share a model's traffic.
pub(crate) struct Target {
    /// The version by which requests are read (R1).
    pub(crate) reads: Arc<Running>,
    /// How it was chosen.
    arm: Cow<'static, str>,
    routes: Option<Arc<Routes>>,
}

impl Target {
    /// What answers a model's name; none where nothing does.
    pub(crate) fn of(model: &Model) -> Option<Self> {
        Some(Self {
            reads: Arc::clone(model.traffic.as_ref()?),
            arm: "traffic".into(),
            routes: model.routes.clone(),
        })
    }

    /// What the selector names of a model.
    pub(crate) fn named(model: &Model, selector: &Selector) -> Option<Self> {
        let (version, arm) = match selector {
            Selector::Traffic => return Self::of(model),
            Selector::Version(version) => (version, "version".into()),
            Selector::Alias(alias) => (model.aliases.get(alias)?, format!("@{alias}").into()),
        };
        Some(Self {
            reads: Arc::clone(model.ready.get(version)?),
            arm,
            routes: None,
        })
    }

    /// The one who answers where nothing is shared.
    fn only(&self) -> Chosen<'_> {
        Chosen {
            running: &self.reads,
            arm: Cow::Borrowed(&self.arm),
            key: None,
            token: None,
        }
    }

    /// Has the request answered, and says by whom.
    pub(crate) async fn answer(
        &self,
        inputs: Vec<NamedTensor>,
        outputs: &[String],
        asker: Asker<'_>,
    ) -> Result<(&Running, Answer), Refusal> {
        let (chosen, copy) = match &self.routes {
            Some(routes) => (
                routes.choose(&self.reads, asker.headers, &inputs)?,
                routes.copy(&inputs),
            ),
            None => (self.only(), None),
        };
        let asked = Asked {
            asker,
            arm: &chosen.arm,
            key: chosen.key.as_deref(),
        };
        let mut answer = chosen.running.answer(inputs, outputs, &asked).await?;
        answer.token = chosen.token;
        if let Some((place, running, inputs)) = copy {
            place.take(Unheard {
                running,
                inputs,
                id: answer.id,
                key: chosen.key,
            });
        }
        Ok((chosen.running, answer))
    }
}
