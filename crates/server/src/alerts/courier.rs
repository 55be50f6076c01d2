//! Brings deliveries to receivers: one at a time to each, and again later what was not taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use domain::Refusal;
use domain::alert::Moment;
use domain::alert::receiver::Retry;
use futures::stream::{FuturesUnordered, StreamExt};
use store::Store;
use store::registry::outbox::Delivery;
use tokio::sync::Notify;

use super::target::{Failure, Target};
use super::{AGAIN, Counts, SLEEP_MAX, until};
use crate::clock::wall_ms;
use crate::task::Tasks;

/// The task's parts.
pub(super) struct Courier {
    pub(super) store: Arc<Store>,
    /// The receivers by name; none where the server was given no file of them: it leaves alone what waits for
    /// those of another.
    pub(super) targets: Option<BTreeMap<String, Arc<Target>>>,
    pub(super) retry: Retry,
    pub(super) counts: Arc<Counts>,
    /// Somebody wrote down a delivery.
    pub(super) post: Arc<Notify>,
    /// A delivery was taken or given up.
    pub(super) told: Arc<Notify>,
}

impl Courier {
    /// Delivers until the server ends. What is under way then is tried again by the next server.
    pub(super) async fn work(self, tasks: Tasks) {
        let stopping = tasks.stopping();
        tokio::pin!(stopping);
        let mut under_way = FuturesUnordered::new();
        let mut busy: BTreeSet<String> = BTreeSet::new();
        loop {
            let due = self.due(&busy).await;
            let (due, next) = due.unwrap_or_else(|refusal| {
                tracing::error!(%refusal, "deliveries cannot be read");
                (Vec::new(), Some(Moment(wall_ms()).after(AGAIN)))
            });
            for (delivery, target) in due {
                busy.insert(delivery.place.receiver.clone());
                under_way.push(async move {
                    let result = target.deliver(&delivery).await;
                    (delivery, result)
                });
            }
            let sleep = next.map_or(SLEEP_MAX, until).min(SLEEP_MAX);
            tokio::select! {
                biased;
                () = &mut stopping => break,
                Some((delivery, result)) = under_way.next(), if !under_way.is_empty() => {
                    busy.remove(&delivery.place.receiver);
                    if let Err(refusal) = self.note(&delivery, result).await {
                        tracing::error!(%refusal, "what became of a delivery cannot be written down");
                        // It would be delivered again at once otherwise.
                        tokio::select! {
                            () = &mut stopping => break,
                            () = tokio::time::sleep(AGAIN) => {}
                        }
                    }
                    self.told.notify_one();
                }
                () = self.post.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// What is to be tried now, one for each receiver that is not busy, and when the next is.
    async fn due(
        &self,
        busy: &BTreeSet<String>,
    ) -> Result<(Vec<(Delivery, Arc<Target>)>, Option<Moment>), Refusal> {
        let registry = &self.store.registry;
        let counts = registry.delivery_counts().await?;
        self.counts.waiting.store(counts.waiting, Relaxed);
        self.counts.dead.store(counts.dead, Relaxed);
        let Some(targets) = self.targets.as_ref().filter(|_| counts.waiting > 0) else {
            return Ok((Vec::new(), None));
        };
        let now = Moment(wall_ms());
        let (mut taken, mut late) = (busy.clone(), BTreeSet::new());
        let (mut due, mut next) = (Vec::new(), None::<Moment>);
        for delivery in registry
            .deliveries(false, store::registry::LIST_MAX)
            .await?
        {
            let receiver = &delivery.place.receiver;
            let Some(target) = targets.get(receiver) else {
                let why = "there is no receiver of this name any longer";
                registry.delivery_failed(delivery.id, None, why).await?;
                continue;
            };
            // What comes later of a group must not be told before what is earlier: an end before its beginning.
            if taken.contains(receiver) || late.contains(&delivery.place) {
                continue;
            }
            if delivery.next_at > now {
                late.insert(delivery.place);
                next = Some(next.map_or(delivery.next_at, |it| it.min(delivery.next_at)));
                continue;
            }
            taken.insert(receiver.clone());
            due.push((delivery, Arc::clone(target)));
        }
        Ok((due, next))
    }

    async fn note(&self, delivery: &Delivery, result: Result<(), Failure>) -> Result<(), Refusal> {
        let registry = &self.store.registry;
        let receiver = &delivery.place.receiver;
        let (why, last) = match result {
            Ok(()) => {
                self.counts.delivered.fetch_add(1, Relaxed);
                return registry.delivered(delivery.id).await;
            }
            Err(Failure::Passing(why)) => (why, false),
            Err(Failure::Final(why)) => (why, true),
        };
        self.counts.failed.fetch_add(1, Relaxed);
        let wait = match last {
            true => None,
            false => self.retry.after(delivery.attempts + 1, delivery.id),
        };
        match wait {
            Some(wait) => tracing::warn!(receiver, why, ?wait, "an alert was not delivered"),
            None => tracing::error!(receiver, why, "an alert was not delivered and is given up"),
        }
        let next = wait.map(|it| Moment(wall_ms()).after(it));
        registry.delivery_failed(delivery.id, next, &why).await
    }
}
