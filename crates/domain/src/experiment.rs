//! Which of two or more versions is the best by one metric, and when that is known.
//!
//! R1. The versions answer at the same time, each key always by the same one, unless a bandit moves shares.
//! R2. An answer may be looked for at any time: the intervals hold at all times at once, for all versions together.
//! R3. A difference that is too small to matter is none, however surely it is there.
//! R4. Where keys are not split as intended there is no answer.
//!
//! This module says what is asked and what an answer is, [`plan`] which versions are compared, and [`course`] where an
//! experiment is and what is next.

pub mod course;
pub mod plan;

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ledger::{Share, Source};
use crate::manifest::Span;
use crate::name::{ModelName, Version};
use crate::refusal::Refusal;
use crate::rollout::evidence::{Figure, Interval, MISMATCH};
use crate::rollout::spec::check_alpha;
use crate::rollout::test::{Better, Margin, Measure};
use crate::rollout::traffic::{ARMS_MAX, WHOLE};

/// An experiment, as somebody asks for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What it is about: `accuracy`, `error_rate`, `cost_per_1k`, `posted.revenue`.
    pub metric: Measure,
    /// For `posted`: which way is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better: Option<Better>,
    /// For `latency`: the budget of an answer. Counted are those that take longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Span>,
    /// How small a difference does not matter: `0.5pp`, `0.01`, or of means `1%` of the control's.
    pub equivalent_within: Margin,
    /// Whose requests stay together. Without it the ledger's `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Source>,
    /// How probable it may be that any version is ever called better or worse and is not.
    #[serde(default = "Spec::alpha_default")]
    #[schemars(range(min = 0.000001, max = 0.2))]
    pub alpha: f64,
    /// When it ends at the latest.
    #[serde(default = "Spec::deadline_default")]
    pub deadline: Span,
    /// How long a time before it began says what was to be expected of a key (CUPED); `0s` asks nothing of it.
    #[serde(default = "Spec::before_default")]
    pub before: Span,
    /// Who gets how much while it runs.
    #[serde(default)]
    pub allocation: Allocation,
}

/// Who gets how much while an experiment runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// What it had at the beginning: the only way in which a key never changes its version.
    #[default]
    Fixed,
    /// As much as it is probably the best (Thompson sampling), though at least `floor`.
    Thompson {
        /// What each has at least.
        floor: Share,
        /// How long shares stay as they are, at least.
        #[serde(default = "Allocation::every_default")]
        every: Span,
    },
    /// The best so far has all but `epsilon`, of which all have the same; each at least `floor`.
    EpsilonGreedy {
        /// What is tried out.
        epsilon: Share,
        /// What each has at least.
        floor: Share,
        /// How long shares stay as they are, at least.
        #[serde(default = "Allocation::every_default")]
        every: Span,
    },
}

impl Allocation {
    fn every_default() -> Span {
        Span(Duration::from_secs(3600))
    }

    /// How long shares stay as they are; none where they never move.
    pub fn every(&self) -> Option<Duration> {
        match self {
            Self::Fixed => None,
            Self::Thompson { every, .. } | Self::EpsilonGreedy { every, .. } => Some(every.0),
        }
    }
}

/// The most times that shares may move: each time of constant shares is compared by itself.
pub const PERIODS_MAX: u128 = 1_000;

/// The longest that an experiment may last.
const DEADLINE_MAX: Duration = Duration::from_secs(365 * 86_400);

impl Spec {
    fn alpha_default() -> f64 {
        0.05
    }

    fn deadline_default() -> Span {
        Span(Duration::from_secs(30 * 86_400))
    }

    fn before_default() -> Span {
        Span(Duration::from_secs(14 * 86_400))
    }

    /// What the metric is called.
    pub fn name(&self) -> String {
        match self.over {
            Some(over) => format!("{} over {over}", self.metric),
            None => self.metric.to_string(),
        }
    }

    /// Which way the metric is better; none of one that was refused.
    pub fn better(&self) -> Option<Better> {
        self.better.or(self.metric.better())
    }

    /// Refuses what makes no sense for so many versions.
    pub fn check(&self, versions: usize) -> Result<(), Refusal> {
        let metric = &self.metric;
        if !(2..=ARMS_MAX).contains(&versions) {
            let why = format!("there are {versions}, want 2 to {ARMS_MAX}");
            return wrong("versions", why);
        }
        match (metric, self.better) {
            (Measure::Posted(_), None) => {
                let why = format!("`{metric}` needs `higher` or `lower`");
                return wrong("better", why);
            }
            (Measure::Posted(_), Some(_)) => {}
            (Measure::Fairness(_), _) => {
                let why = format!("`{metric}` is a guardrail's; a rollout tests it");
                return wrong("metric", why);
            }
            (Measure::Estimated(quality), _) => {
                let name = quality.name();
                let why =
                    format!("`{metric}` is a guess; an experiment waits for labels: `{name}`");
                return wrong("metric", why);
            }
            (_, Some(_)) => {
                let why = format!("which way `{metric}` is better is known; leave it out");
                return wrong("better", why);
            }
            (_, None) if metric.better().is_none() => {
                let why = format!("neither more nor less of `{metric}` is better");
                return wrong("metric", why);
            }
            (_, None) => {}
        }
        match (metric, self.over) {
            (Measure::Latency, None) => {
                let why = "`latency` needs the budget of an answer, such as `50ms`".to_owned();
                return wrong("over", why);
            }
            (Measure::Latency, Some(over)) if over.0.is_zero() => {
                return wrong("over", format!("`{over}` is no budget"));
            }
            (Measure::Latency, Some(_)) | (_, None) => {}
            (_, Some(_)) => {
                let why = format!("`{metric}` has no budget of time; leave it out");
                return wrong("over", why);
            }
        }
        let margin = metric.check_margin(self.equivalent_within);
        margin.or_else(|why| wrong("equivalent_within", why))?;
        check_alpha(self.alpha).or_else(|why| wrong("alpha", why))?;
        let deadline = self.deadline;
        if deadline.0.is_zero() || deadline.0 > DEADLINE_MAX {
            return wrong(
                "deadline",
                format!("`{deadline}` is not over 0 and up to 365d"),
            );
        }
        let before = self.before;
        if before.0 > DEADLINE_MAX {
            return wrong("before", format!("`{before}` is longer than 365d"));
        }
        if let Some(every) = self.allocation.every()
            && (every.is_zero() || deadline.0.as_millis() > every.as_millis() * PERIODS_MAX)
        {
            let every = Span(every);
            let why = format!(
                "`{every}` is not over 0 and a {PERIODS_MAX}th of `deadline`, {deadline}, or more"
            );
            return wrong("allocation.every", why);
        }
        let floor = match self.allocation {
            Allocation::Fixed => return Ok(()),
            Allocation::Thompson { floor, .. } => floor,
            Allocation::EpsilonGreedy { epsilon, floor, .. } => {
                if epsilon.get() <= 0.0 || epsilon.get() >= 1.0 {
                    let why = format!("`{epsilon}` is not between 0% and 100%");
                    return wrong("allocation.epsilon", why);
                }
                floor
            }
        };
        // Without a floor what a version that began badly is worth is never found out.
        let (least, most) = (1.0 / f64::from(WHOLE), 1.0 / versions as f64);
        if floor.get() < least || floor.get() >= most {
            let why = format!(
                "`{floor}` is not from 0.01% to less than 100% shared by {versions} versions"
            );
            return wrong("allocation.floor", why);
        }
        Ok(())
    }

    /// What each version's interval may be wrong, so that all together are by `alpha` at most (R2): Bonferroni's
    /// inequality over the comparisons with the control.
    pub fn alpha_each(&self, versions: usize) -> f64 {
        self.alpha / versions.saturating_sub(1).max(1) as f64
    }

    /// What is known of a version. `split` is how much more probable another split of the keys is than the intended one.
    pub fn answer(&self, compared: &Compared, split: f64) -> Answer {
        if split >= MISMATCH {
            return Answer::Void;
        }
        let told = compared.difference.zip(compared.control.value);
        let Some((Interval { low, high }, control)) = told else {
            return Answer::NotYet;
        };
        if low.is_nan() || high.is_nan() {
            return Answer::NotYet;
        }
        let (low, high) = match self.better() {
            Some(Better::Higher) => (low, high),
            Some(Better::Lower) => (-high, -low),
            None => return Answer::NotYet,
        };
        let margin = self.equivalent_within.size(control);
        if low >= -margin && high <= margin {
            Answer::Equivalent
        } else if low > 0.0 {
            Answer::Better
        } else if high < 0.0 {
            Answer::Worse
        } else {
            Answer::NotYet
        }
    }
}

fn wrong<T>(field: &str, why: String) -> Result<T, Refusal> {
    Err(Refusal::InvalidManifest {
        field: format!("experiment.{field}"),
        why,
    })
}

/// A version beside the control.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The version.
    pub version: Version,
    /// The version that it is compared with.
    pub against: Version,
    /// What it has.
    pub figure: Figure,
    /// What the control has.
    pub control: Figure,
    /// By how much the version's figure is greater; with CUPED where a time before is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Interval>,
}

/// What one look at an experiment measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// The keys that each version was given, the control's first.
    pub keys: Vec<u64>,
    /// How much more probable another split makes them than the intended one.
    pub split: f64,
    /// The other versions beside the control.
    pub others: Vec<Told>,
    /// Times of constant shares in which they were compared, each by itself.
    pub periods: u64,
    /// Why it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// A version beside the control, and what that says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The figures.
    pub compared: Compared,
    /// What is known.
    pub answer: Answer,
    /// How long it takes until there is an answer, where keys come as they came and things stay as they look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Span>,
    /// What a time before the experiment was good for, where it was of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

/// What was known of keys before the experiment began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Keys of both versions of which something was known.
    pub keys: u64,
    /// The part of the variance that it took away.
    pub saved: f64,
}

impl Look {
    /// Whether keys are not split as intended.
    pub fn is_void(&self) -> bool {
        self.split >= MISMATCH
    }

    /// The same in numbers that JSON has.
    pub fn storable(mut self) -> Self {
        self.split = if self.split.is_nan() {
            0.0
        } else {
            self.split.clamp(0.0, f64::MAX)
        };
        self
    }
}

impl Told {
    /// What is known, in a sentence.
    pub fn sentence(&self, model: &ModelName, spec: &Spec) -> String {
        let remaining = self.remaining.map(|it| it.0);
        let mut text = self.compared.sentence(model, spec, self.answer, remaining);
        if let Some(Before { keys, saved }) = self.before {
            let saved = saved * 100.0;
            text.push_str(&format!(
                " (what {keys} keys did before took {saved:.0}% of the variance away)"
            ));
        }
        text
    }
}

/// What is known of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is better than the control.
    Better,
    /// It is worse.
    Worse,
    /// They differ by less than matters.
    Equivalent,
    /// It is not known yet.
    NotYet,
    /// It cannot be known, as keys are not split as intended.
    Void,
}

impl Answer {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Better,
        Self::Worse,
        Self::Equivalent,
        Self::NotYet,
        Self::Void,
    ];
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Equivalent => "equivalent",
            Self::NotYet => "not yet",
            Self::Void => "void",
        })
    }
}

/// How long it takes until there are so many units, where they come as they came; none where that is not known.
pub fn remaining(needed: u64, got: u64, elapsed: Duration) -> Option<Duration> {
    if needed <= got {
        return Some(Duration::ZERO);
    }
    let more = (needed - got) as f64 / got as f64;
    let seconds = elapsed.as_secs_f64() * more;
    (got > 0 && !elapsed.is_zero()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

/// A time as people tell it: in days where it is two or more, and so on down to seconds.
fn about(time: Duration) -> Span {
    let seconds = time.as_secs().max(1);
    let units = [86_400, 3_600, 60, 1];
    let unit = units.into_iter().find(|it| seconds >= 2 * it).unwrap_or(1);
    Span(Duration::from_secs(seconds.div_ceil(unit) * unit))
}

impl Compared {
    /// What is known of it, in a sentence.
    pub fn sentence(
        &self,
        model: &ModelName,
        spec: &Spec,
        answer: Answer,
        remaining: Option<Duration>,
    ) -> String {
        let Self {
            version,
            against: control,
            figure,
            control: other,
            difference,
        } = self;
        let is_share = spec.metric.is_share();
        let metric = spec.name();
        let margin = match spec.equivalent_within {
            // As it is asked for: points of a share; without the last bits of the product.
            Margin::Absolute(size) if is_share => format!("{}pp", (size * 1e12).round() / 1e10),
            margin => margin.to_string(),
        };
        let said = match answer {
            Answer::Better => format!("is better than `{model}:{control}`"),
            Answer::Worse => format!("is worse than `{model}:{control}`"),
            Answer::Equivalent => {
                format!("is as good as `{model}:{control}`, within {margin}")
            }
            Answer::NotYet => {
                let when = match remaining {
                    Some(it) => format!(", expected in {}", about(it)),
                    None => String::new(),
                };
                format!("is not yet told from `{model}:{control}`{when}")
            }
            Answer::Void => {
                return format!(
                    "`{model}:{version}` cannot be told from `{model}:{control}`: keys are not split as intended"
                );
            }
        };
        let (shown, other) = (figure.show(is_share), other.show(is_share));
        let mut text = format!("`{model}:{version}` {said}: {metric} {shown} against {other}");
        if let Some(difference) = difference {
            text.push_str(&format!(
                "; difference {}",
                difference.show_difference(is_share)
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests;
