//! Every task is started here: it has a name, a stop signal, and somebody who waits for its end.

use std::future::Future;

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
