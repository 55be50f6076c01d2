//! Objectives: which share of rows or requests must be good, and when what is bad uses that up too fast.
//!
//! The rule of several windows and several rates is that of the Site Reliability Workbook, chapter 5: the long window
//! says that it matters, the short one, a twelfth of it, that it still goes on.
//!
//! R1. An objective burns in a pair of windows where the share of bad ones in both is beyond the pair's rate times
//!     what the objective allows.
//! R2. In the long window even the lower bound of that share must be beyond it, so that two failures in a quiet night
//!     wake nobody; and there must be [`EVENTS_MIN`] events.
//! R3. Where too little is known in the long window nothing is said of the pair.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wrong;
use crate::alert::{Severity, Verdict};
use crate::manifest::Span;
use crate::refusal::Refusal;
use crate::task::Task;

/// A share that must be good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Its name among the model's objectives.
    pub name: String,
    /// What is good.
    pub kind: Kind,
    /// The share that must be good, in per cent: over 0 and below 100.
    pub target: f64,
    /// For latency: how long an answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<Span>,
    /// For quality of numbers: how far an answer may be from its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<f64>,
    /// The time over which the target is meant, from 7d to 90d.
    #[serde(default = "month")]
    pub over: Span,
}

fn month() -> Span {
    Span(30 * DAY)
}

/// What is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A row that was answered, among all rows.
    Errors,
    /// A request that was answered within `under`, among those that were answered.
    Latency,
    /// A row whose answer is what its label says, or not farther from it than `within`, among those with a label.
    Quality,
}

/// The most objectives of a model.
pub const OBJECTIVES_MAX: usize = 20;
/// Events in the long window without which nothing is said.
pub const EVENTS_MIN: u64 = 100;
/// The one-sided bound of 99.9 %, in standard deviations.
const BOUND: f64 = 3.090;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Two windows and how fast is too fast in them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The window that says that it matters.
    pub long: Duration,
    /// The window that says that it still goes on.
    pub short: Duration,
    /// The part of what is allowed in all of `over` that is used up in the long window.
    pub part: f64,
    /// How soon somebody should look.
    pub severity: Severity,
}

/// The pairs: in 30 days these are 14.4, 6 and 1 times as fast as is allowed.
pub const PAIRS: [Pair; 3] = [
    Pair {
        long: HOUR,
        short: Duration::from_secs(5 * 60),
        part: 0.02,
        severity: Severity::Page,
    },
    Pair {
        long: Duration::from_secs(6 * 3600),
        short: Duration::from_secs(30 * 60),
        part: 0.05,
        severity: Severity::Page,
    },
    Pair {
        long: Duration::from_secs(3 * 86_400),
        short: Duration::from_secs(6 * 3600),
        part: 0.1,
        severity: Severity::Ticket,
    },
];

/// The windows of all pairs, the shortest first.
pub fn windows() -> Vec<Duration> {
    let mut all: Vec<Duration> = PAIRS.iter().flat_map(|it| [it.short, it.long]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What was counted in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that were bad.
    pub bad: u64,
    /// All.
    pub all: u64,
}

impl Count {
    fn share(self) -> f64 {
        self.bad as f64 / self.all.max(1) as f64
    }

    /// Wilson's lower bound of the share that is bad (J. Am. Stat. Assoc. 22, 1927), one-sided at 99.9 %.
    fn share_least(self) -> f64 {
        let (share, all, z) = (self.share(), self.all.max(1) as f64, BOUND);
        let centre = share + z * z / (2.0 * all);
        let half = z * (share * (1.0 - share) / all + z * z / (4.0 * all * all)).sqrt();
        ((centre - half) / (1.0 + z * z / all)).max(0.0)
    }
}

/// What is said of an objective in a pair of windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    /// Whether it burns.
    pub verdict: Verdict,
    /// How many times as fast as is allowed, in the long window.
    pub long: f64,
    /// The same in the short one.
    pub short: f64,
    /// How many times is too fast.
    pub limit: f64,
}

impl Objective {
    /// The share that may be bad.
    pub fn allowed(&self) -> f64 {
        1.0 - self.target / 100.0
    }

    /// How many times as fast as is allowed is too fast; never less than once.
    pub fn limit(&self, pair: &Pair) -> f64 {
        let times = pair.part * self.over.0.as_secs_f64() / pair.long.as_secs_f64();
        times.max(1.0)
    }

    /// Whether it burns (R1 to R3).
    pub fn burn(&self, pair: &Pair, long: Count, short: Count) -> Burn {
        let (allowed, limit) = (self.allowed(), self.limit(pair));
        let beyond = |share: f64| share > limit * allowed;
        let verdict = if long.all < EVENTS_MIN {
            Verdict::Unknown
        } else if beyond(long.share_least()) && beyond(short.share()) {
            Verdict::Bad
        } else {
            Verdict::Fine
        };
        Burn {
            verdict,
            long: long.share() / allowed,
            short: short.share() / allowed,
            limit,
        }
    }

    /// Looks at all pairs. What is said is the most severe pair that burns; where none does, it is fine as soon as
    /// enough is known of one.
    pub fn look(&self, count: impl Fn(Duration) -> Count) -> (Pair, Burn) {
        let burns = PAIRS.map(|it| (it, self.burn(&it, count(it.long), count(it.short))));
        let first = |verdict: Verdict| burns.iter().find(|it| it.1.verdict == verdict);
        let found = first(Verdict::Bad).or_else(|| first(Verdict::Fine));
        *found.unwrap_or(&burns[0])
    }

    fn check(&self) -> Result<(), Refusal> {
        let field = |it: &str| format!("objectives.{it}");
        let name = &self.name;
        let plain = |it: char| it.is_ascii_alphanumeric() || "_-.".contains(it);
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let why = format!("`{name}` is not 1 to 64 letters, digits, `_`, `-` and `.`");
            return wrong(&field("name"), why);
        }
        let target = self.target;
        if !(target > 0.0 && target < 100.0) {
            let why = format!("`{target}` of `{name}` is not over 0 and below 100");
            return wrong(&field("target"), why);
        }
        match (self.kind, self.under) {
            (Kind::Latency, Some(under)) if !under.0.is_zero() && under.0 <= HOUR => {}
            (Kind::Latency, _) => {
                let why = format!("`{name}` is about latency and needs one, of at most 1h");
                return wrong(&field("under"), why);
            }
            (Kind::Errors | Kind::Quality, None) => {}
            (Kind::Errors | Kind::Quality, Some(_)) => {
                let why = format!("`{name}` is not about latency, and nothing else has one");
                return wrong(&field("under"), why);
            }
        }
        match (self.kind, self.within) {
            (_, None) => {}
            (Kind::Quality, Some(within)) if within.is_finite() && within >= 0.0 => {}
            (Kind::Quality, Some(within)) => {
                let why = format!("`{within}` of `{name}` is not a number from 0 on");
                return wrong(&field("within"), why);
            }
            (Kind::Errors | Kind::Latency, Some(_)) => {
                let why = format!("`{name}` is not about quality, and nothing else has one");
                return wrong(&field("within"), why);
            }
        }
        if !(7 * DAY..=90 * DAY).contains(&self.over.0) {
            let why = format!("`{}` of `{name}` is not from 7d to 90d", self.over);
            return wrong(&field("over"), why);
        }
        Ok(())
    }
}

/// Refuses objectives of quality that a model that answers this question cannot have.
pub(super) fn check_task(
    objectives: &[Objective],
    task: Option<&Task>,
) -> Result<(), (String, String)> {
    for objective in objectives.iter().filter(|it| it.kind == Kind::Quality) {
        let name = &objective.name;
        let (field, why) = match (task, objective.within) {
            (Some(Task::Binary { .. } | Task::Multiclass { .. }), None)
            | (Some(Task::Regression { .. }), Some(_)) => continue,
            (Some(Task::Regression { .. }), None) => (
                "within",
                format!("`{name}` is about numbers: say how far an answer may be from its label"),
            ),
            (Some(Task::Binary { .. } | Task::Multiclass { .. }), Some(_)) => (
                "within",
                format!("`{name}` is about classes, which are right or wrong"),
            ),
            (Some(Task::Embedding { .. }) | None, _) => (
                "kind",
                format!("`{name}` is about quality, and no `task` says what answers mean"),
            ),
        };
        return Err((format!("objectives.{field}"), why));
    }
    Ok(())
}

/// Refuses objectives that make no sense.
pub(super) fn check(objectives: &[Objective]) -> Result<(), Refusal> {
    if objectives.len() > OBJECTIVES_MAX {
        let why = format!("{} are more than {OBJECTIVES_MAX}", objectives.len());
        return wrong("objectives", why);
    }
    for (place, objective) in objectives.iter().enumerate() {
        objective.check()?;
        if objectives[..place]
            .iter()
            .any(|it| it.name == objective.name)
        {
            let why = format!("two are called `{}`", objective.name);
            return wrong("objectives.name", why);
        }
    }
    Ok(())
}

/// The span of time in which events are counted: the windows are so many of them, the running one at their end.
pub const SPAN: Duration = MINUTE;

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(text: &str) -> Result<Objective, String> {
        let read = serde_json::from_str::<Objective>(text).map_err(|it| it.to_string())?;
        check(std::slice::from_ref(&read)).map_err(|it| it.to_string())?;
        Ok(read)
    }

    fn refused(text: &str, want: &str) {
        let got = objective(text).expect_err("a refusal");
        assert!(got.contains(want), "{got}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        assert!(objective(r#"{"name":"a","kind":"errors","target":99.9}"#).is_ok());
        refused(
            r#"{"name":"","kind":"errors","target":99}"#,
            "`monitor.objectives.name`",
        );
        refused(
            r#"{"name":"a","kind":"errors","target":100}"#,
            "`monitor.objectives.target`",
        );
        refused(
            r#"{"name":"a","kind":"latency","target":99}"#,
            "`monitor.objectives.under`",
        );
        refused(
            r#"{"name":"a","kind":"errors","target":99,"under":"1s"}"#,
            "`monitor.objectives.under`",
        );
        refused(
            r#"{"name":"a","kind":"errors","target":99,"over":"1d"}"#,
            "`monitor.objectives.over`",
        );
        assert!(objective(r#"{"name":"a","kind":"quality","target":95,"within":2}"#).is_ok());
        refused(
            r#"{"name":"a","kind":"quality","target":95,"within":-1}"#,
            "`monitor.objectives.within`",
        );
        refused(
            r#"{"name":"a","kind":"errors","target":99,"within":1}"#,
            "`monitor.objectives.within`",
        );
        refused(
            r#"{"name":"a","kind":"quality","target":99,"under":"1s"}"#,
            "`monitor.objectives.under`",
        );
        refused(
            r#"{"name":"a","kind":"speed","target":99}"#,
            "unknown variant",
        );
        let one = objective(r#"{"name":"a","kind":"errors","target":99}"#).expect("one");
        let twice = check(&[one.clone(), one]).expect_err("a refusal");
        assert!(twice.to_string().contains("two are called `a`"), "{twice}");
    }

    #[test]
    fn in_30_days_the_rates_are_those_of_the_workbook() {
        let errors = objective(r#"{"name":"a","kind":"errors","target":99}"#).expect("one");
        let limits = PAIRS.map(|it| (errors.limit(&it) * 10.0).round() / 10.0);
        assert_eq!(limits, [14.4, 6.0, 1.0]);
        for pair in PAIRS {
            assert_eq!(pair.long, pair.short * 12);
        }
    }

    fn burn(pair: usize, long: (u64, u64), short: (u64, u64)) -> Verdict {
        let errors = objective(r#"{"name":"a","kind":"errors","target":99}"#).expect("one");
        let count = |(bad, all)| Count { bad, all };
        errors.burn(&PAIRS[pair], count(long), count(short)).verdict
    }

    #[test]
    fn both_windows_must_burn_and_surely() {
        // 14.4 times one of 100 is 14.4 %.
        assert_eq!(burn(0, (2000, 10_000), (200, 1000)), Verdict::Bad);
        assert_eq!(burn(0, (2000, 10_000), (140, 1000)), Verdict::Fine);
        assert_eq!(burn(0, (1400, 10_000), (900, 1000)), Verdict::Fine);
        // The same share of few may be chance.
        assert_eq!(burn(0, (20, 100), (2, 10)), Verdict::Fine);
        assert_eq!(burn(0, (30, 100), (3, 10)), Verdict::Bad);
        assert_eq!(burn(0, (99, 99), (9, 9)), Verdict::Unknown);
        assert_eq!(burn(0, (2000, 10_000), (0, 0)), Verdict::Fine);
        assert_eq!(burn(2, (1200, 100_000), (120, 10_000)), Verdict::Bad);
        assert_eq!(burn(2, (1000, 100_000), (120, 10_000)), Verdict::Fine);
    }

    #[test]
    fn the_most_severe_pair_that_burns_is_told() {
        let errors = objective(r#"{"name":"a","kind":"errors","target":99}"#).expect("one");
        let look = |bad_per_minute: u64, minutes: u64, all_per_minute: u64| {
            let (pair, burn) = errors.look(|window| Count {
                bad: bad_per_minute * minutes.min(window.as_secs() / 60),
                all: all_per_minute * window.as_secs() / 60,
            });
            (burn.verdict, pair.severity)
        };
        // A fifth has been bad for an hour, a tenth for six hours, a fiftieth for three days.
        assert_eq!(look(200, 60, 1000), (Verdict::Bad, Severity::Page));
        assert_eq!(look(100, 360, 1000), (Verdict::Bad, Severity::Page));
        assert_eq!(look(20, 4320, 1000), (Verdict::Bad, Severity::Ticket));
        assert_eq!(look(5, 4320, 1000).0, Verdict::Fine);
        assert_eq!(look(0, 0, 0).0, Verdict::Unknown);
    }

    #[test]
    fn the_lower_bound_by_hand() {
        // Of 100 of which 20 are bad at 3.09 deviations: (0.2477 - 0.1323) / 1.0955.
        let least = Count { bad: 20, all: 100 }.share_least();
        assert!((least - 0.1053).abs() < 5e-4, "{least}");
        assert_eq!(Count { bad: 0, all: 100 }.share_least(), 0.0);
    }
}
