//! The one place that reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::Time;

/// A monotonic clock that began when the server did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// Milliseconds from 1970 to the start.
    start_wall_ms: i64,
}

impl Clock {
    /// A clock that begins now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the file that reads clocks"
    )]
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            start_wall_ms: wall_ms(),
        }
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// A time of this clock in milliseconds since 1970, by what the wall clock said at the start.
    pub(crate) fn wall_ms(&self, time: Time) -> i64 {
        let since = i64::try_from(time.0 / 1_000_000).unwrap_or(i64::MAX);
        self.start_wall_ms.saturating_add(since)
    }

    /// A time of this clock in microseconds since 1970, by what the wall clock said at the start.
    pub(crate) fn wall_us(&self, time: Time) -> i64 {
        let since = i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX);
        self.start_wall_ms
            .saturating_mul(1000)
            .saturating_add(since)
    }

    /// The moment at which this clock will read `time`, for timers.
    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        // A deadline of `Time::NEVER` is farther than an `Instant` may be.
        let far = Duration::from_secs(86400 * 365);
        (self.start + Duration::from_nanos(time.0).min(far)).into()
    }
}

/// Milliseconds since 1970 in UTC.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the file that reads clocks"
)]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What this thread has used of a core since it began.
pub(crate) fn thread_cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(spent.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(spent.tv_nsec).unwrap_or(0))
}
