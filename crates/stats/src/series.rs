//! Which values of a time series are out of the ordinary, and when that is worth an alarm.
//!
//! R1. A value that is not a number is not there: it takes no part in any centre or scale, and has no score.
//! R2. An infinity takes no part in a centre or a scale, and lies beyond every limit: its score is infinite.
//! R3. Where the values give no scale (too few, too many alike, or too far apart for an `f64`) there is no
//! score and no anomaly; a guess is never given in its place.
//! R4. No result is "not a number".
//! R5. Positions are those of the values given, from 0.

pub mod ewma;
pub mod robust;
pub mod seasonal;
pub mod shesd;
pub mod spans;

/// How many windows of the last few must be out of the ordinary before there is an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// At least 1, at most `windows`.
    pub needed: u32,
    /// At least 1, at most [`WINDOWS_MAX`].
    pub windows: u32,
}

/// The most windows a [`PersistenceRule`] looks back on.
pub const WINDOWS_MAX: u32 = 64;

/// The last windows, each out of the ordinary or not; of fixed size.
///
/// A window of which nothing can be said is not to be added: neither does it count, nor does it push
/// another out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersistenceRule {
    persistence: Persistence,
    /// The newest window is the lowest bit.
    history: u64,
}

impl PersistenceRule {
    /// No windows so far.
    pub fn new(persistence: Persistence) -> Self {
        let Persistence { needed, windows } = persistence;
        assert!(
            1 <= needed && needed <= windows && windows <= WINDOWS_MAX,
            "`needed` of `windows`, up to {WINDOWS_MAX}"
        );
        Self {
            persistence,
            history: 0,
        }
    }

    /// Takes the next window in and says whether there is an alarm now. Windows before the first count as
    /// ordinary.
    pub fn add(&mut self, anomalous: bool) -> bool {
        let kept = u64::MAX >> (WINDOWS_MAX - self.persistence.windows);
        self.history = (self.history << 1 | u64::from(anomalous)) & kept;
        self.history.count_ones() >= self.persistence.needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(needed: u32, windows: u32, script: &str) {
        let mut rule = PersistenceRule::new(Persistence { needed, windows });
        for (index, step) in script.split_whitespace().enumerate() {
            let (window, alarm) = step.split_once(':').expect("window:alarm");
            assert_eq!(
                rule.add(window == "x"),
                alarm == "ALARM",
                "{script}: {index}"
            );
        }
    }

    #[test]
    fn an_alarm_needs_k_of_the_last_n_windows() {
        check(
            2,
            3,
            "x:- -:- x:ALARM -:- -:- x:- x:ALARM x:ALARM -:ALARM -:-",
        );
        check(1, 1, "-:- x:ALARM -:- x:ALARM");
        check(3, 3, "x:- x:- x:ALARM x:ALARM -:- x:-");
    }

    #[test]
    fn all_of_the_most_windows_there_can_be() {
        let mut rule = PersistenceRule::new(Persistence {
            needed: WINDOWS_MAX,
            windows: WINDOWS_MAX,
        });
        for _ in 1..WINDOWS_MAX {
            assert!(!rule.add(true));
        }
        assert!(rule.add(true) && rule.add(true) && !rule.add(false));
    }

    #[test]
    #[should_panic(expected = "up to 64")]
    fn more_needed_than_there_are_windows() {
        PersistenceRule::new(Persistence {
            needed: 3,
            windows: 2,
        });
    }
}
