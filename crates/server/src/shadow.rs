//! A version's unheard answers: it is asked what callers asked another one, after those were answered.
//!
//! R1. Nobody waits for it: a request is copied only where there is a place for it, and a place is only taken, never
//!     waited for. What finds none is skipped and counted.
//! R2. It answers one request at a time, so that it takes one session's share of the machine at most.
//! R3. Its rows are kept beside the model's and not among them, in a table of their own with the same ids: whatever
//!     counts answers counts those that somebody got.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use domain::Refusal;
use domain::request::NamedTensor;
use domain::rollout::traffic::Arm;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::running::Running;
use crate::task::Tasks;

/// Requests that wait to be answered unheard.
const WAITING_MAX: usize = 64;

/// A request that was answered, for another version.
pub(crate) struct Unheard {
    pub(crate) running: Arc<Running>,
    pub(crate) inputs: Vec<NamedTensor>,
    /// That of the request.
    pub(crate) id: Uuid,
    pub(crate) key: Option<String>,
}

/// Hands requests to whoever answers them unheard.
#[derive(Clone)]
pub(crate) struct Shadows {
    places: mpsc::Sender<Unheard>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Requests that could have been taken.
    seen: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
}

/// What became of requests, for `/metrics`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShadowCounts {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// A place for one request.
pub(crate) struct Place(mpsc::OwnedPermit<Unheard>);

impl Place {
    pub(crate) fn take(self, unheard: Unheard) {
        self.0.send(unheard);
    }
}

impl Shadows {
    pub(crate) fn start(tasks: &Tasks) -> Self {
        let (places, waiting) = mpsc::channel(WAITING_MAX);
        let counts = Arc::new(Counts::default());
        tasks.start("shadow", work(waiting, Arc::clone(&counts), tasks.clone()));
        Self { places, counts }
    }

    /// A place for the next request, where it belongs to a sample of this share and there is one.
    pub(crate) fn place(&self, share: f64) -> Option<Place> {
        // Requests are taken as evenly as can be: of n so many as n times the share.
        let before = self.counts.seen.fetch_add(1, Relaxed) as f64;
        if ((before + 1.0) * share).floor() <= (before * share).floor() {
            return None;
        }
        let place = self.places.clone().try_reserve_owned().ok();
        if place.is_none() {
            self.counts.skipped.fetch_add(1, Relaxed);
        }
        place.map(Place)
    }

    pub(crate) fn counts(&self) -> ShadowCounts {
        let Counts {
            seen: _,
            answered,
            failed,
            skipped,
        } = &*self.counts;
        ShadowCounts {
            answered: answered.load(Relaxed),
            failed: failed.load(Relaxed),
            skipped: skipped.load(Relaxed),
        }
    }
}

async fn work(mut waiting: mpsc::Receiver<Unheard>, counts: Arc<Counts>, tasks: Tasks) {
    let stopping = tasks.stopping();
    tokio::pin!(stopping);
    loop {
        let next = tokio::select! {
            biased;
            () = &mut stopping => return,
            next = waiting.recv() => next,
        };
        let Some(Unheard {
            running,
            inputs,
            id,
            key,
        }) = next
        else {
            return;
        };
        let arm = Arm::Shadow.name();
        let answered = running.answer_unheard(inputs, id, &arm, key.as_deref());
        let answered: Result<(), Refusal> = answered.await;
        let count = match answered {
            Ok(()) => &counts.answered,
            Err(_) => &counts.failed,
        };
        count.fetch_add(1, Relaxed);
    }
}
