//! The one place that reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::Time;

/// A monotonic clock that began when the server did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
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
        }
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
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
