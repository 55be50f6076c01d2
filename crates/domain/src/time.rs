//! Points in time as numbers that a caller hands in.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds since a start that the caller chose: monotonic, comparable only with times from the
/// same start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than any time a caller will see.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long ago `earlier` was; nothing when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}
