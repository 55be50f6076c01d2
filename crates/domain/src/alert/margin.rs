//! What is said of alerts widens the margin of their monitor, subject by subject.
//!
//! R1. The margin is that of the model's owner times a factor from 1 to [`FACTOR_MAX`]: what is said makes no monitor
//!     more eager than its owner wants, and silences none.
//! R2. The factor is 1.25 to the power of the answers "not useful" less the answers "useful", and so one useful alert
//!     brings back what one useless alert took.
//! R3. An answer counts half as much after every 90 days, so that what nobody repeats is forgotten.
//! R4. Of an incident the last answer counts alone. (The registry keeps no other.)

use super::Moment;

/// The widest, in margins of the owner.
pub const FACTOR_MAX: f64 = 3.0;
/// What one answer makes of it.
const STEP: f64 = 1.25;
/// After so many milliseconds an answer counts half.
const HALF_LIFE_MS: f64 = 90.0 * 86_400_000.0;

/// What was said of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether it was of use.
    pub useful: bool,
    /// When that was said.
    pub at: Moment,
}

/// How many times wider a margin is, after what was said of the alerts of one monitor about one subject.
pub fn factor(said: impl IntoIterator<Item = Said>, now: Moment) -> f64 {
    let one = |it: Said| {
        // Said in the future, as clocks go backwards: it counts whole.
        let age_ms = now.0.saturating_sub(it.at.0).max(0) as f64;
        let counts = 0.5f64.powf(age_ms / HALF_LIFE_MS);
        if it.useful { -counts } else { counts }
    };
    let sum: f64 = said.into_iter().map(one).sum();
    STEP.powf(sum).clamp(1.0, FACTOR_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    /// `-` is not useful, `+` useful; each behind the number of days ago.
    fn check(said: &str, want: f64) {
        let now = Moment(1_000 * DAY);
        let said = said.split_whitespace().map(|it| {
            let (days, sign) = it.split_at(it.len() - 1);
            let days: i64 = days.parse().expect("days");
            Said {
                useful: sign == "+",
                at: Moment(now.0 - days * DAY),
            }
        });
        let got = factor(said, now);
        assert!((got - want).abs() < 1e-9, "{got}, not {want}");
    }

    #[test]
    fn useless_alerts_widen_and_useful_ones_bring_back() {
        check("", 1.0);
        check("0-", 1.25);
        check("0- 0-", 1.5625);
        check("0- 0- 0+", 1.25);
        check("0+ 0-", 1.0);
        // Praise in advance makes nothing more eager.
        check("0+ 0+ 0+", 1.0);
        check("0- 0- 0- 0- 0- 0- 0- 0-", 3.0);
    }

    #[test]
    fn what_was_said_is_forgotten_by_halves() {
        check("90-", 1.25f64.sqrt());
        check("180-", 1.25f64.powf(0.25));
        check("90- 90- 0+", 1.0);
        check("-5-", 1.25);
        let never = Said {
            useful: false,
            at: Moment(i64::MIN),
        };
        assert_eq!(factor([never], Moment(i64::MAX)), 1.0);
    }
}
