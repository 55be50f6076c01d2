//! Which of two or more versions is the best by one metric, and when that is known.
//!
//! R1. The versions answer at the same time, each key always by the same one, unless a bandit moves shares.
//! R2. An answer may be looked for at any time: the intervals hold at all times at once, for all versions together.
//! R3. A difference that is too small to matter is none, however surely it is there.
//! R4. Where keys are not split as intended there is no answer.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ledger::{Share, Source};
use crate::manifest::Span;
use crate::name::{ModelName, Version};
use crate::refusal::Refusal;
use crate::rollout::evidence::{Evidence, Figure, Interval};
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
    },
    /// The best so far has all but `epsilon`, of which all have the same; each at least `floor`.
    EpsilonGreedy {
        /// What is tried out.
        epsilon: Share,
        /// What each has at least.
        floor: Share,
    },
}

/// The longest that an experiment may last.
const DEADLINE_MAX: Duration = Duration::from_secs(365 * 86_400);

impl Spec {
    fn alpha_default() -> f64 {
        0.05
    }

    fn deadline_default() -> Span {
        Span(Duration::from_secs(30 * 86_400))
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
            (Measure::Latency | Measure::Fairness(_), _) => {
                let why = format!("`{metric}` is a guardrail's; a rollout tests it");
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
        let floor = match self.allocation {
            Allocation::Fixed => return Ok(()),
            Allocation::Thompson { floor } => floor,
            Allocation::EpsilonGreedy { epsilon, floor } => {
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

    /// What is known of a version.
    pub fn answer(&self, compared: &Compared, evidence: &Evidence) -> Answer {
        if evidence.is_mismatch() {
            return Answer::Void;
        }
        let told = compared.difference.zip(compared.control.value);
        let Some((Interval { low, high }, control)) = told else {
            return Answer::NotYet;
        };
        if low.is_nan() || high.is_nan() {
            return Answer::NotYet;
        }
        let (low, high) = match self.better.or(self.metric.better()) {
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

fn wrong(field: &str, why: String) -> Result<(), Refusal> {
    Err(Refusal::InvalidManifest {
        field: format!("experiment.{field}"),
        why,
    })
}

/// A version beside the control.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    pub difference: Option<Interval>,
}

/// What is known of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let (metric, margin) = (&spec.metric, spec.equivalent_within);
        let said = match answer {
            Answer::Better => format!("is better than `{model}:{control}`"),
            Answer::Worse => format!("is worse than `{model}:{control}`"),
            Answer::Equivalent => {
                format!("is as good as `{model}:{control}`, within {margin}")
            }
            Answer::NotYet => {
                let when = match remaining {
                    Some(it) => {
                        format!(", expected in {}", Span(Duration::from_secs(it.as_secs())))
                    }
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
mod tests {
    use super::*;
    use crate::rollout::evidence::SplitCheck;

    fn spec(text: &str) -> Spec {
        serde_json::from_str(text).expect("a spec")
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        let of = |text: &str, want: &str| {
            let got = match spec(text).check(3) {
                Ok(()) => "fine".to_owned(),
                Err(refusal) => refusal.to_string(),
            };
            assert!(got.contains(want), "{got}");
        };
        of(
            r#"{"metric":"accuracy","equivalent_within":"0.5pp"}"#,
            "fine",
        );
        of(
            r#"{"metric":"posted.revenue","better":"higher","equivalent_within":"1%",
            "allocation":{"thompson":{"floor":"1%"}}}"#,
            "fine",
        );
        of(
            r#"{"metric":"posted.revenue","equivalent_within":"1%"}"#,
            "`experiment.better`: `posted.revenue` needs",
        );
        of(
            r#"{"metric":"accuracy","better":"lower","equivalent_within":"1pp"}"#,
            "`experiment.better`: which way",
        );
        of(
            r#"{"metric":"prediction_drift","equivalent_within":"1"}"#,
            "neither more nor less of `prediction_drift`",
        );
        of(
            r#"{"metric":"latency","equivalent_within":"1pp"}"#,
            "`latency` is a guardrail's",
        );
        of(
            r#"{"metric":"accuracy","equivalent_within":"1%"}"#,
            "`experiment.equivalent_within`: `1%` of a share",
        );
        of(
            r#"{"metric":"loss","equivalent_within":"1","alpha":0.9}"#,
            "`experiment.alpha`",
        );
        of(
            r#"{"metric":"loss","equivalent_within":"1","deadline":"0s"}"#,
            "`experiment.deadline`",
        );
        of(
            r#"{"metric":"loss","equivalent_within":"1","allocation":{"thompson":{"floor":"40%"}}}"#,
            "`experiment.allocation.floor`: `40%`",
        );
        of(
            r#"{"metric":"loss","equivalent_within":"1","allocation":{"epsilon_greedy":{"epsilon":"0%","floor":"1%"}}}"#,
            "`experiment.allocation.epsilon`",
        );
        let fine = spec(r#"{"metric":"loss","equivalent_within":"1"}"#);
        assert!(fine.check(1).is_err() && fine.check(17).is_err());
        assert_eq!(fine.alpha_each(2), 0.05);
        assert_eq!(fine.alpha_each(6), 0.01);
    }

    fn compared(low: f64, high: f64) -> Compared {
        let figure = |events| Figure {
            n: 1000,
            events: Some(events),
            value: Some(events as f64 / 1000.0),
        };
        Compared {
            version: Version::new(4).expect("not zero"),
            against: Version::FIRST,
            figure: figure(900),
            control: figure(880),
            difference: Some(Interval { low, high }),
        }
    }

    #[test]
    fn an_answer_is_what_the_whole_interval_says() {
        let accuracy = spec(r#"{"metric":"accuracy","equivalent_within":"0.5pp"}"#);
        let errors = spec(r#"{"metric":"error_rate","equivalent_within":"0.5pp"}"#);
        let revenue = spec(r#"{"metric":"posted.x","better":"higher","equivalent_within":"10%"}"#);
        let fine = Evidence::default();
        for (spec, low, high, want) in [
            (&accuracy, 0.001, 0.03, Answer::Better),
            (&accuracy, -0.03, -0.001, Answer::Worse),
            (&accuracy, -0.03, 0.03, Answer::NotYet),
            (&accuracy, -0.005, 0.004, Answer::Equivalent),
            // Surely better, and too little to matter.
            (&accuracy, 0.001, 0.004, Answer::Equivalent),
            (&errors, 0.001, 0.03, Answer::Worse),
            (&errors, -0.03, -0.001, Answer::Better),
            // A tenth of the control's 0.88.
            (&revenue, -0.08, 0.08, Answer::Equivalent),
            (&revenue, -0.1, 0.08, Answer::NotYet),
            (&accuracy, f64::NAN, 0.0, Answer::NotYet),
        ] {
            let got = spec.answer(&compared(low, high), &fine);
            assert_eq!(got, want, "{low} {high}");
        }
        let wrong = Evidence {
            split: Some(SplitCheck {
                candidate: 1,
                control: 2,
                e_value: 2000.0,
            }),
            ..fine
        };
        let got = accuracy.answer(&compared(0.001, 0.03), &wrong);
        assert_eq!(got, Answer::Void);
    }

    #[test]
    fn an_answer_is_told_in_a_sentence() {
        let spec = spec(r#"{"metric":"accuracy","equivalent_within":"0.5pp"}"#);
        let model = "credit".parse().expect("a name");
        let told = |answer, left| compared(-0.01, 0.05).sentence(&model, &spec, answer, left);
        assert_eq!(
            told(Answer::Better, None),
            "`credit:4` is better than `credit:1`: accuracy 90.00% (900 of 1000) against 88.00% (880 of 1000); \
             difference -1.00 to +5.00pp"
        );
        let left = remaining(3000, 1000, Duration::from_secs(3600));
        let text = told(Answer::NotYet, left);
        assert!(
            text.starts_with("`credit:4` is not yet told from `credit:1`, expected in 2h: "),
            "{text}"
        );
        assert!(told(Answer::Void, None).ends_with("keys are not split as intended"));
    }

    #[test]
    fn the_time_to_an_answer_is_that_of_the_units_to_come() {
        let hour = Duration::from_secs(3600);
        assert_eq!(remaining(100, 100, hour), Some(Duration::ZERO));
        assert_eq!(remaining(150, 100, hour), Some(hour / 2));
        assert_eq!(remaining(100, 0, hour), None);
        assert_eq!(remaining(100, 1, Duration::ZERO), None);
    }
}
