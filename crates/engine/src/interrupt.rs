//! Ending a run early, from another thread.
//!
//! R1  A stop before the run begins keeps it from beginning.
//! R2  A stop while it runs reaches the engine exactly once.
//! R3  A stop after it ended reaches nobody: an engine that was not told to stop can be used again as it is.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Failure;

/// How an engine ends its run. Called from any thread, at most once for each run, and it must not block.
pub type Stop = Arc<dyn Fn() + Send + Sync>;

/// The caller's hand on one run. Clones are the same handle.
#[derive(Clone, Default)]
pub struct Interrupt {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Running(Stop),
    Stopped,
}

impl Interrupt {
    /// A handle for one run that is yet to begin.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run, or keeps it from beginning. Returns at once; the run ends as soon as the engine can.
    pub fn stop(&self) {
        // The engine is told under the lock: were it told afterwards, the run could have ended in between
        // and the stop would hit the next one (R3).
        let mut state = self.lock();
        if let State::Running(stop) = &*state {
            stop();
        }
        *state = State::Stopped;
    }

    /// For engines: the run begins, and `stop` ends it.
    pub fn begin(&self, stop: &Stop) -> Result<Running<'_>, Failure> {
        let mut state = self.lock();
        match &*state {
            State::Stopped => return Err(Failure::Interrupted),
            State::Running(_) => unreachable!("an interrupt belongs to one run"),
            State::Idle => *state = State::Running(Arc::clone(stop)),
        }
        Ok(Running { interrupt: self })
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(*self.lock(), State::Running(_))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole at every moment: a panic of an engine's `stop` leaves it as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.lock() {
            State::Idle => "idle",
            State::Running(_) => "running",
            State::Stopped => "stopped",
        };
        write!(f, "Interrupt({state})")
    }
}

/// A run in progress. Ends when it is dropped.
pub struct Running<'a> {
    interrupt: &'a Interrupt,
}

impl Running<'_> {
    /// The run is over. Whether the engine was told to stop it: if so, what `stop` set must be undone.
    pub fn end(self) -> bool {
        matches!(*self.interrupt.lock(), State::Stopped)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.interrupt.lock();
        if matches!(*state, State::Running(_)) {
            *state = State::Idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_stop_reaches_the_run_in_progress_and_no_other() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let stop: Stop = Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });

        let early = Interrupt::new();
        early.stop();
        assert!(early.begin(&stop).is_err());

        let during = Interrupt::new();
        let running = during.begin(&stop).expect("not stopped");
        during.clone().stop();
        during.stop();
        assert!(running.end());
        assert_eq!(calls.load(Ordering::SeqCst), 1);

        let late = Interrupt::new();
        assert!(!late.begin(&stop).expect("not stopped").end());
        late.stop();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
