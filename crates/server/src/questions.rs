//! Questions to the ledger are answered on threads of their own: a question may take seconds, and no request
//! should wait for it.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use ::ledger::{Attributes, SqlLimits};
use domain::{ModelName, Refusal};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::app::App;

/// Threads for questions, however many cores there are.
const THREADS_MAX: usize = 4;
/// Questions answered at a time; some more may wait for a place.
const TOGETHER: usize = 4;
const WAITING_MAX: usize = 16;

/// The threads that answer questions, once there was one.
pub(crate) struct Questions {
    pub(crate) threads: usize,
    places: Semaphore,
    waiting: Semaphore,
    runtime: OnceLock<Option<Runtime>>,
}

impl Questions {
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            threads: cores.clamp(1, THREADS_MAX),
            places: Semaphore::new(TOGETHER),
            waiting: Semaphore::new(TOGETHER + WAITING_MAX),
            runtime: OnceLock::new(),
        }
    }

    fn runtime(&self) -> Result<&Runtime, Refusal> {
        let start = || {
            Builder::new_multi_thread()
                .worker_threads(self.threads)
                .thread_name("ledger question")
                .enable_all()
                .build()
                .ok()
        };
        let runtime = self.runtime.get_or_init(start).as_ref();
        runtime.ok_or_else(|| Refusal::Internal {
            what: "the threads for questions did not start".to_owned(),
        })
    }

    /// Answers a question within `limit`. When the asker goes, or time is up, it is given up.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let overloaded = || Refusal::Overloaded {
            what: "places for questions",
            limit: (TOGETHER + WAITING_MAX) as u64,
        };
        let _waiting = self.waiting.try_acquire().map_err(|_| overloaded())?;
        let answered = async {
            // It fails only when it is closed, and it never is.
            let _place = self.places.acquire().await.map_err(|_| overloaded())?;
            let task = AbortOnDrop(self.runtime()?.spawn(question));
            task.await_it().await
        };
        let late = |_| Refusal::QueryTimeout {
            after_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        };
        tokio::time::timeout(limit, answered).await.map_err(late)?
    }

    /// The same for a question that computes without ever waiting: it runs to its end even when nobody wants
    /// its answer any more, so it must be bounded by itself.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.ask(limit, async move {
            let done = tokio::task::spawn_blocking(question).await;
            done.map_err(|error| broken(&error))?
        })
        .await
    }
}

/// A question in SQL.
pub(crate) struct Sql {
    pub(crate) text: String,
    /// The most rows of its answer.
    pub(crate) rows_max: Option<u64>,
    /// What a model's table has as columns too.
    pub(crate) attributes: Option<(ModelName, Attributes)>,
}

/// How long a question may take.
pub(crate) fn limit(app: &App) -> Duration {
    Duration::from_millis(app.limits.query_ms_max)
}

/// What a question in SQL may use.
pub(crate) fn sql_limits(app: &App) -> SqlLimits {
    SqlLimits {
        memory_bytes: usize::try_from(app.limits.query_memory_bytes_max).unwrap_or(usize::MAX),
        spill_bytes: app.limits.query_spill_bytes_max,
        threads: app.questions.threads,
    }
}

/// The most columns by which rows are told apart.
const BY_MAX: usize = 4;

/// Refuses more columns than rows can be told apart by.
pub(crate) fn check_columns(by: &[String]) -> Result<(), Refusal> {
    if by.len() <= BY_MAX {
        return Ok(());
    }
    Err(Refusal::TooLarge {
        what: "the number of columns in `by`",
        limit: BY_MAX as u64,
        got: Some(by.len() as u64),
    })
}

fn broken(error: &tokio::task::JoinError) -> Refusal {
    Refusal::Internal {
        what: format!("answering a question: {error}"),
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> AbortOnDrop<Result<T, Refusal>> {
    async fn await_it(mut self) -> Result<T, Refusal> {
        (&mut self.0).await.map_err(|error| broken(&error))?
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        // A runtime must not be waited for inside of another.
        if let Some(Some(runtime)) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
