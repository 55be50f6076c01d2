//! Every task is started here: it has a name, a stop signal, and somebody who waits for its end.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts tasks and ends them all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Starts a task. It should end soon after [`Tasks::stopping`] says so; [`Tasks::end`] waits for it.
    pub(crate) fn start(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        use tracing::Instrument;
        // A span is entered at every poll, which a connection should not pay for when nobody looks.
        if tracing::enabled!(tracing::Level::DEBUG) {
            self.tracker
                .spawn(task.instrument(tracing::debug_span!("task", name)));
        } else {
            self.tracker.spawn(task);
        }
    }

    /// Resolves when tasks should end.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stop.clone().cancelled_owned()
    }

    /// Whether tasks should end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells every task to end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until every task has ended.
    pub(crate) async fn end(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// What a task does again and again, on something that it must not keep alive.
pub(crate) struct Ticks<T> {
    held: Weak<T>,
    interval: Interval,
    stop: CancellationToken,
}

impl<T> Ticks<T> {
    /// The first is at once. One that is missed, as what was done took longer, is not made up for.
    pub(crate) fn new(held: Weak<T>, tasks: &Tasks, every: Duration) -> Self {
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = tasks.stop.clone();
        Self {
            held,
            interval,
            stop,
        }
    }

    /// Waits for the next; none when tasks should end, or nobody holds it any more.
    pub(crate) async fn next(&mut self) -> Option<Arc<T>> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            _ = self.interval.tick() => self.held.upgrade(),
        }
    }

    /// Does it, and gives it up where tasks should end meanwhile.
    pub(crate) async fn meanwhile(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = work => {}
        }
    }
}
