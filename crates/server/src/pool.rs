//! The sessions of one version and the requests that wait for them.
//!
//! Compute threads take runs from the batcher and never touch a socket; whoever asks waits for the answer
//! without blocking a thread. A thread that finds nothing waiting sleeps; an arrival wakes one.
//!
//! There may be more or fewer of them at any time: a thread that is too many leaves between two runs, so that no
//! request notices.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use domain::batch::{self, Arrival, Batcher, Next};
use domain::{Refusal, Tensor, Time};
use engine::{Failure, Interrupt, Loaded, Session};
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, thread_cpu};
use crate::join::{self, Grouping};
use crate::task::Tasks;

/// One request, fitted to the version's signature.
#[derive(Debug)]
pub(crate) struct Job {
    /// Shared with whoever asks: the ledger wants them after the run.
    pub(crate) inputs: Arc<Vec<Tensor>>,
    /// Indexes of the outputs wanted, in the caller's order.
    pub(crate) outputs: Vec<usize>,
    pub(crate) rows: usize,
    /// When it was asked.
    pub(crate) asked: Time,
    pub(crate) deadline: Time,
}

/// The answer to a job.
#[derive(Debug)]
pub(crate) struct Done {
    /// The outputs wanted, in the caller's order.
    pub(crate) outputs: Vec<Tensor>,
    pub(crate) timing: Timing,
}

/// Where the time of a job went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// From arrival to the start of its run.
    pub(crate) queue: Duration,
    /// Joining the run's inputs.
    pub(crate) join: Duration,
    /// The run itself.
    pub(crate) compute: Duration,
    /// Cutting the run's outputs apart.
    pub(crate) split: Duration,
    /// What the whole run used of a core.
    pub(crate) cpu: Duration,
    /// Rows of all requests in the run.
    pub(crate) run_rows: usize,
    /// Whether this job stands for its run when runs are counted.
    pub(crate) first_of_run: bool,
}

type Reply = oneshot::Sender<Result<Done, Refusal>>;

/// The answers of one run. They are handed to the runtime together: a thread of the runtime that is woken
/// for each would switch places with the compute thread as often.
type Answers = Vec<(Reply, Result<Done, Refusal>)>;

struct Waiting {
    job: Job,
    arrived: Time,
    reply: Reply,
}

/// What the threads of one version share.
struct Shared {
    model: String,
    clock: Clock,
    rows_max: u32,
    grouping: Grouping,
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// One for each thread.
    places: RwLock<Vec<Arc<Place>>>,
}

/// What a thread is running now.
type Place = Mutex<Option<Running>>;

struct Queue {
    batcher: Batcher<Waiting>,
    /// Threads that sleep and have not been told to wake.
    sleeping: usize,
    /// Threads that there are to be.
    threads: usize,
    /// Threads that are too many and have not left yet.
    leaving: usize,
    closed: bool,
}

/// A run under way: who waits for it, and how to end it early.
struct Running {
    interrupt: Interrupt,
    replies: Vec<Reply>,
}

impl Running {
    fn end_if_unwanted(&self) {
        if self.replies.iter().all(oneshot::Sender::is_closed) {
            self.interrupt.stop();
        }
    }
}

/// The sessions of one version. Dropping it answers what has been taken and ends the threads.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    rows_waiting_max: u32,
    tasks: Tasks,
    last: Arc<Last>,
    /// Held while sessions are made, which takes as long as loading.
    growing: Mutex<()>,
}

/// What a pool is made of.
pub(crate) struct Options {
    /// Shown in refusals: `credit:3`.
    pub(crate) model: String,
    pub(crate) instances: usize,
    pub(crate) limits: batch::Limits,
    pub(crate) grouping: Grouping,
    pub(crate) clock: Clock,
    /// What the task that gives out the answers is started with.
    pub(crate) tasks: Tasks,
}

/// Told when the last thread of a pool has ended and its memory is free.
pub(crate) type Ended = oneshot::Sender<()>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under these locks would be ours and would leave the state whole: every change is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Starts the threads. `first` is a session that has been made already, to measure with.
    pub(crate) fn start(
        loaded: &dyn Loaded,
        first: Box<dyn Session>,
        options: Options,
        ended: Ended,
    ) -> Result<Self, Refusal> {
        let Options {
            model,
            instances,
            limits,
            grouping,
            clock,
            tasks,
        } = options;
        assert!(instances > 0, "a pool has at least one session");
        let mut sessions = vec![first];
        while sessions.len() < instances {
            sessions.push(loaded.session()?);
        }
        let shared = Arc::new(Shared {
            model,
            clock,
            rows_max: limits.rows_max,
            grouping,
            queue: Mutex::new(Queue {
                batcher: Batcher::new(limits),
                sleeping: 0,
                threads: 0,
                leaving: 0,
                closed: false,
            }),
            arrived: Condvar::new(),
            places: RwLock::default(),
        });
        let pool = Self {
            shared,
            rows_waiting_max: limits.rows_waiting_max,
            tasks,
            last: Arc::new(Last(Some(ended))),
            growing: Mutex::new(()),
        };
        pool.add(sessions)?;
        Ok(pool)
    }

    /// Starts a thread for each session.
    fn add(&self, sessions: Vec<Box<dyn Session>>) -> Result<(), Refusal> {
        let (answers, runs) = mpsc::channel(sessions.len() * 2);
        self.tasks.start("answers", give_out(runs));
        for session in sessions {
            let place = Arc::default();
            let worker = Worker {
                shared: Arc::clone(&self.shared),
                session,
                place: Arc::clone(&place),
                answers: answers.clone(),
                _last: Arc::clone(&self.last),
            };
            self.shared.places_mut().push(Arc::clone(&place));
            lock(&self.shared.queue).threads += 1;
            let name = format!("run {}", self.shared.model);
            let started = std::thread::Builder::new()
                .name(name)
                .spawn(move || worker.work());
            if let Err(error) = started {
                lock(&self.shared.queue).threads -= 1;
                self.shared.leave(&place);
                return Err(Refusal::Internal {
                    what: format!("a compute thread did not start: {error}"),
                });
            }
        }
        Ok(())
    }

    /// Sessions that run at the same time.
    pub(crate) fn instances(&self) -> usize {
        lock(&self.shared.queue).threads
    }

    /// Makes sessions until there are so many. Either all are made or there are no more than before. Blocks for as long
    /// as that takes.
    pub(crate) fn grow(
        &self,
        instances: usize,
        session: impl Fn() -> Result<Box<dyn Session>, Refusal>,
    ) -> Result<(), Refusal> {
        let _growing = lock(&self.growing);
        let before = self.instances();
        if instances <= before {
            return Ok(());
        }
        let sessions: Result<Vec<_>, _> = (before..instances).map(|_| session()).collect();
        let added = self.add(sessions?);
        if added.is_err() {
            self.shrink(before);
        }
        added
    }

    /// Has no more than so many sessions. Those that are too many end when they have answered what they run.
    pub(crate) fn shrink(&self, instances: usize) {
        assert!(instances > 0, "a pool has at least one session");
        let mut queue = lock(&self.shared.queue);
        let surplus = queue.threads.saturating_sub(instances);
        if surplus == 0 {
            return;
        }
        queue.threads -= surplus;
        queue.leaving += surplus;
        queue.sleeping = 0;
        drop(queue);
        self.shared.arrived.notify_all();
    }

    /// Waits for the answer. Dropping the future takes the job back: it is not run any more, and a run
    /// that nobody else waits for is ended.
    pub(crate) async fn run(&self, job: Job) -> Result<Done, Refusal> {
        let (asked, deadline) = (job.asked, job.deadline);
        let mut waiter = self.submit(job)?;
        let after = self.shared.clock.instant(deadline);
        let answer = tokio::select! {
            biased;
            answer = &mut waiter.reply => answer,
            () = tokio::time::sleep_until(after) => {
                return Err(self.shared.late(asked, deadline));
            }
        };
        answer.unwrap_or_else(|_| {
            Err(Refusal::Internal {
                what: format!("`{}` was dropped mid-run", self.shared.model),
            })
        })
    }

    /// Rows that wait now.
    pub(crate) fn rows_waiting(&self) -> u32 {
        lock(&self.shared.queue).batcher.rows_waiting()
    }

    /// What it runs: `credit:3`.
    pub(crate) fn model(&self) -> &str {
        &self.shared.model
    }

    /// Whether requests of similar length are padded to share a run.
    pub(crate) fn is_padded(&self) -> bool {
        self.shared.grouping.padding.is_some()
    }

    fn submit(&self, job: Job) -> Result<Waiter<'_>, Refusal> {
        // Between its being asked and here it was only compared with the signature.
        let now = job.asked;
        let (reply, answer) = oneshot::channel();
        let arrival = Arrival {
            rows: u32::try_from(job.rows).unwrap_or(u32::MAX),
            kind: self.shared.grouping.kind(&job.inputs),
            deadline: job.deadline,
            item: Waiting {
                job,
                arrived: now,
                reply,
            },
        };
        let mut queue = lock(&self.shared.queue);
        queue
            .batcher
            .push(arrival, now)
            .map_err(|_| Refusal::QueueFull {
                model: self.shared.model.clone(),
                limit: u64::from(self.rows_waiting_max),
            })?;
        // A thread that was told to wake counts as awake, so a burst wakes each thread once.
        let wake = queue.sleeping > 0;
        queue.sleeping -= usize::from(wake);
        drop(queue);
        if wake {
            self.shared.arrived.notify_one();
        }
        Ok(Waiter {
            reply: answer,
            shared: &self.shared,
        })
    }
}

/// Gives the answers of runs to whoever waits for them, until the last thread has ended.
async fn give_out(mut runs: mpsc::Receiver<Answers>) {
    while let Some(answers) = runs.recv().await {
        for (reply, answer) in answers {
            // A caller that has gone meanwhile does not need the answer: `send` may fail.
            let _ = reply.send(answer);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.closed = true;
        queue.sleeping = 0;
        drop(queue);
        self.shared.arrived.notify_all();
    }
}

/// Somebody who waits for an answer.
struct Waiter<'a> {
    reply: oneshot::Receiver<Result<Done, Refusal>>,
    shared: &'a Shared,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.reply.is_terminated() {
            return;
        }
        self.reply.close();
        self.shared.end_unwanted_runs();
    }
}

impl Shared {
    fn late(&self, asked: Time, deadline: Time) -> Refusal {
        let after = deadline.since(asked).as_millis();
        Refusal::DeadlinePassed {
            model: self.model.clone(),
            after_ms: u64::try_from(after).unwrap_or(u64::MAX),
        }
    }

    fn places_mut(&self) -> RwLockWriteGuard<'_, Vec<Arc<Place>>> {
        self.places.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing runs at this place any more.
    fn leave(&self, place: &Arc<Place>) {
        self.places_mut().retain(|it| !Arc::ptr_eq(it, place));
    }

    /// Ends every run for whose answer nobody waits any more.
    fn end_unwanted_runs(&self) {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        for place in places.iter() {
            if let Some(running) = &*lock(place) {
                running.end_if_unwanted();
            }
        }
    }

    /// The next run; none when the pool is closed and nothing waits, or the thread is one too many. `crowded` says
    /// that more requests than one may be on their way.
    fn next_run(&self, crowded: bool) -> Option<Vec<Waiting>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.leaving > 0 {
                queue.leaving -= 1;
                // Whoever arrived may have woken us: another thread has to look in our place.
                let wake = queue.sleeping > 0;
                queue.sleeping -= usize::from(wake);
                drop(queue);
                if wake {
                    self.arrived.notify_one();
                }
                return None;
            }
            let now = self.clock.now();
            match queue.batcher.poll(now, |waiting| waiting.reply.is_closed()) {
                Next::Run(run) => return Some(run),
                Next::Late(late) => {
                    drop(queue);
                    for Waiting { job, reply, .. } in late {
                        // The caller may have gone meanwhile; then nobody needs the answer.
                        let _ = reply.send(Err(self.late(job.asked, job.deadline)));
                    }
                    queue = lock(&self.queue);
                }
                Next::Idle if queue.closed => return None,
                Next::Idle => {
                    queue.sleeping += 1;
                    queue = self
                        .arrived
                        .wait(queue)
                        .unwrap_or_else(PoisonError::into_inner);
                    // A spurious wake-up leaves `sleeping` one too high, which costs one wake-up too
                    // many later and no answer.
                    if crowded {
                        queue = self.let_more_come(queue);
                    }
                }
            }
        }
    }
}

impl Shared {
    /// Where the thread that reads requests shares our core, it has more of them at hand, and a run each
    /// would cost more in switches than in computing: it goes on until it brings no more. With a core to
    /// ourselves this returns at once.
    fn let_more_come<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        loop {
            let before = queue.batcher.len();
            if before == 0 || queue.batcher.rows_waiting() >= self.rows_max {
                return queue;
            }
            drop(queue);
            std::thread::yield_now();
            queue = lock(&self.queue);
            if queue.batcher.len() <= before {
                return queue;
            }
        }
    }
}

/// A run shorter than this costs about as much as the two switches between threads around it.
const QUICK_RUN: Duration = Duration::from_micros(50);

/// After so many runs of one request each, they seem to come one at a time: from then on a look for more is
/// taken at every sixteenth run only.
const LONE_RUNS: u32 = 16;

/// Tells, when the last thread lets go of it, that all memory of the version is free.
struct Last(Option<Ended>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            // Nobody listens when the whole server stops.
            let _ = ended.send(());
        }
    }
}

/// One compute thread.
struct Worker {
    shared: Arc<Shared>,
    session: Box<dyn Session>,
    place: Arc<Place>,
    answers: mpsc::Sender<Answers>,
    // Declared last: fields are dropped in order, and this one tells that the others are gone.
    _last: Arc<Last>,
}

impl Worker {
    fn work(mut self) {
        let (mut took, mut alone) = (Duration::ZERO, 0u32);
        loop {
            let crowded = alone < LONE_RUNS || alone.is_multiple_of(LONE_RUNS);
            let Some(run) = self.shared.next_run(took < QUICK_RUN && crowded) else {
                return self.shared.leave(&self.place);
            };
            alone = if run.len() > 1 {
                0
            } else {
                alone.wrapping_add(1)
            };
            took = self.run(run);
        }
    }

    /// Runs, answers, and says how long the run took.
    fn run(&mut self, run: Vec<Waiting>) -> Duration {
        let started = self.shared.clock.now();
        let interrupt = Interrupt::new();
        let mut jobs = Vec::with_capacity(run.len());
        let mut replies = Vec::with_capacity(run.len());
        for Waiting {
            job,
            arrived,
            reply,
        } in run
        {
            jobs.push((job, arrived));
            replies.push(reply);
        }
        lock(&self.place)
            .insert(Running {
                interrupt: interrupt.clone(),
                replies,
            })
            // Who went after the run was taken, and before it could be seen here, could not end it.
            .end_if_unwanted();
        let result = self.compute(&jobs, &interrupt, started);
        let took = self.shared.clock.now().since(started);
        let running = lock(&self.place).take();
        let replies = running.map(|it| it.replies).unwrap_or_default();
        let answers: Answers = match result {
            Ok(done) => replies.into_iter().zip(done.into_iter().map(Ok)).collect(),
            Err(refusal) => replies
                .into_iter()
                .map(|it| (it, Err(refusal.clone())))
                .collect(),
        };
        // It fails when the runtime is gone, and everybody who waited with it.
        let _ = self.answers.blocking_send(answers);
        took
    }

    fn compute(
        &mut self,
        jobs: &[(Job, Time)],
        interrupt: &Interrupt,
        started: Time,
    ) -> Result<Vec<Done>, Refusal> {
        let cpu_before = thread_cpu();
        let wanted = join::wanted_outputs(jobs.iter().map(|(job, _)| &job.outputs[..]));
        let rows: usize = jobs.iter().map(|(job, _)| job.rows).sum();
        let joined;
        let inputs = match jobs {
            [(job, _)] => &job.inputs,
            _ => {
                let all: Vec<&[Tensor]> = jobs.iter().map(|(job, _)| &job.inputs[..]).collect();
                joined = join::inputs(&all, self.shared.grouping.padding.as_ref())
                    .ok_or_else(|| self.failed("inputs of one run do not fit together"))?;
                &joined
            }
        };
        let before = self.shared.clock.now();
        let outputs = self.session_run(inputs, &wanted, interrupt)?;
        let after = self.shared.clock.now();
        let parts = join::split(outputs, &wanted, jobs, &self.shared.grouping)
            .map_err(|why| self.failed(&why))?;
        let end = self.shared.clock.now();
        let cpu = thread_cpu().saturating_sub(cpu_before);
        let timing = |arrived: Time, first_of_run| Timing {
            queue: started.since(arrived),
            join: before.since(started),
            compute: after.since(before),
            split: end.since(after),
            cpu,
            run_rows: rows,
            first_of_run,
        };
        let done =
            parts
                .into_iter()
                .zip(jobs)
                .enumerate()
                .map(|(index, (outputs, (_, arrived)))| Done {
                    outputs,
                    timing: timing(*arrived, index == 0),
                });
        Ok(done.collect())
    }

    fn session_run(
        &mut self,
        inputs: &[Tensor],
        wanted: &[usize],
        interrupt: &Interrupt,
    ) -> Result<Vec<Tensor>, Refusal> {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        // A session is fit for the next run however the last one ended (R2 of `engine`).
        let run = AssertUnwindSafe(|| self.session.run(&inputs, wanted, interrupt));
        let Ok(result) = catch_unwind(run) else {
            return Err(self.failed("it panicked"));
        };
        result.map_err(|failure| match failure {
            Failure::Interrupted => Refusal::Cancelled,
            Failure::Failed(why) => self.failed(&why),
        })
    }

    fn failed(&self, why: &str) -> Refusal {
        Refusal::ModelFailed {
            model: self.shared.model.clone(),
            why: why.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
