//! How a version gets a model's traffic, as its owner says it: `rollout:` in `windlass.yaml`.
//!
//! Nothing needs to be said: what is left out is safe. Which tests there are then is in [`super::recorded`].

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::test::Test;
use super::traffic::Step;
use crate::ledger::{Share, Source};
use crate::manifest::{Off, Span, off_or};
use crate::refusal::Refusal;

/// How a version gets a model's traffic. Everything may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Whose requests stay together: `header:x-customer-id` or `input:customer_id`. Without it the ledger's `key`; a
    /// request that has none goes where chance sends it, and its answer has a token that holds it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Source>,
    /// What the candidate answers unheard, before anybody hears it.
    pub shadow: ShadowSetting,
    /// The candidate's shares of the keys, rising. As many keys again are its control.
    pub steps: Vec<Step>,
    /// What a step takes at least.
    pub hold: Hold,
    /// Where a person must agree.
    pub approval: Approval,
    /// For how long the candidate has all of the traffic while the incumbent stays loaded.
    pub bake: Span,
    /// When it is given up, from its start to the candidate's having all of the traffic.
    pub deadline: Span,
    /// How probable it may be that a candidate which is no worse is rolled back: all guardrails together, and however
    /// often they are looked at.
    #[schemars(range(min = 0.000001, max = 0.2))]
    pub alpha: f64,
    /// Tests that roll back when they fail. Without them `error_rate` 0.5pp worse and `latency` 2pp worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guardrails: Option<Vec<Test>>,
    /// Tests that hold when they fail. Without them `prediction_drift` over 0.2, where a `task` says what answers mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signals: Option<Vec<Test>>,
    /// When the candidate gets all of the traffic.
    pub promote_when: PromoteWhen,
    /// What becomes of it at the deadline.
    pub on_timeout: OnTimeout,
}

/// `off`, or how much and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ShadowSetting {
    /// `off`: the candidate's first answers are heard.
    Off(Off),
    /// So much of the requests.
    Sample(ShadowSample),
}

/// What the candidate answers unheard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShadowSample {
    /// The share of the requests.
    pub sample: Share,
    /// For how long at least.
    #[serde(rename = "for")]
    pub lasting: Span,
    /// Requests at least.
    pub min_requests: u64,
}

/// What a step takes at least.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hold {
    /// So long.
    pub min: Span,
    /// Keys that the candidate has answered in it.
    pub min_keys: u64,
}

/// Where a person must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Nowhere.
    #[default]
    None,
    /// After the shadow and after each step.
    EachStep,
    /// Before the candidate gets all of the traffic.
    BeforePromote,
}

/// What becomes of a rollout at its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnTimeout {
    /// The incumbent has all of the traffic again.
    #[default]
    Rollback,
    /// It stays at its step until a person says what to do.
    Hold,
}

/// When the candidate gets all of the traffic: not before every guardrail has shown that it is not worse.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromoteWhen {
    /// How long it waits for labels. Without it until the deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

/// How long it waits for labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// So long after the last step began; then a guardrail that needs labels and has too few stands in the way no
    /// longer, unless it `must_have_data`.
    pub wait: Span,
    /// Labelled keys of the candidate below which there are too few.
    #[serde(default = "labels_min")]
    pub min: u64,
}

fn labels_min() -> u64 {
    500
}

impl<'de> Deserialize<'de> for ShadowSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sample = off_or(deserializer)?;
        Ok(sample.map_or(Self::Off(Off::Off), Self::Sample))
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// The longest that anything here may last.
const LASTING_MAX: Duration = Duration::from_secs(365 * 86_400);
/// The most steps.
const STEPS_MAX: usize = 32;
/// The most tests of a kind.
const TESTS_MAX: usize = 32;

/// A default that is written as an owner would; each is read by a test.
fn share(text: &str) -> Share {
    text.parse().unwrap_or_default()
}

impl Default for ShadowSample {
    fn default() -> Self {
        Self {
            sample: share("10%"),
            lasting: Span(10 * MINUTE),
            min_requests: 100,
        }
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            min: Span(30 * MINUTE),
            min_keys: 200,
        }
    }
}

impl Default for Spec {
    fn default() -> Self {
        let steps = ["1%", "5%", "25%", "50%"];
        Self {
            key: None,
            shadow: ShadowSetting::Sample(ShadowSample::default()),
            steps: steps.iter().flat_map(|it| it.parse()).collect(),
            hold: Hold::default(),
            approval: Approval::None,
            bake: Span(DAY),
            deadline: Span(7 * DAY),
            alpha: 0.01,
            guardrails: None,
            signals: None,
            promote_when: PromoteWhen::default(),
            on_timeout: OnTimeout::Rollback,
        }
    }
}

impl Spec {
    /// Whether nothing was said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what makes no sense, whatever is recorded.
    pub fn check(&self) -> Result<(), Refusal> {
        if let ShadowSetting::Sample(ShadowSample {
            sample,
            lasting,
            min_requests: _,
        }) = &self.shadow
        {
            if sample.get() <= 0.0 {
                return wrong("shadow.sample", "`0%` is `shadow: off`".to_owned());
            }
            lasts("shadow.for", *lasting)?;
        }
        self.check_steps()?;
        lasts("hold.min", self.hold.min)?;
        if self.hold.min_keys == 0 {
            return wrong("hold.min_keys", "`0` is less than 1".to_owned());
        }
        lasts("bake", self.bake)?;
        lasts("deadline", self.deadline)?;
        let least = self.least();
        if self.deadline.0 <= least {
            let (deadline, least) = (self.deadline, Span(least));
            let why = format!("`{deadline}` is not longer than shadow and steps take, {least}");
            return wrong("deadline", why);
        }
        check_alpha(self.alpha).or_else(|why| wrong("alpha", why))?;
        for (field, tests) in [("guardrails", &self.guardrails), ("signals", &self.signals)] {
            let tests = tests.as_deref().unwrap_or_default();
            check_tests(field, tests)?;
            let of_shadow = tests.iter().position(Test::is_of_shadow);
            if let Some(place) = of_shadow
                && self.shadow == ShadowSetting::Off(Off::Off)
            {
                let why = "`disagreement` is told from the shadow, and `shadow` is off";
                return wrong(&format!("{field}[{place}].metric"), why.to_owned());
            }
        }
        if matches!(&self.guardrails, Some(tests) if tests.is_empty()) {
            let why = "it names no test, so that nothing would roll back; leave it out for the usual ones";
            return wrong("guardrails", why.to_owned());
        }
        let Some(Labels { wait, min }) = &self.promote_when.labels else {
            return Ok(());
        };
        let mut guardrails = self.guardrails.iter().flatten();
        if !guardrails.any(|it| it.metric.needs_labels()) {
            let why = "no guardrail needs labels, so that there is nothing to wait for";
            return wrong("promote_when.labels", why.to_owned());
        }
        if *min == 0 {
            return wrong("promote_when.labels.min", "`0` is less than 1".to_owned());
        }
        if wait.0 >= self.deadline.0 {
            let why = format!("`{wait}` is not shorter than `deadline`, {}", self.deadline);
            return wrong("promote_when.labels.wait", why);
        }
        Ok(())
    }

    /// The least that it takes until the candidate has all of the traffic.
    fn least(&self) -> Duration {
        let shadow = match &self.shadow {
            ShadowSetting::Off(Off::Off) => Duration::ZERO,
            ShadowSetting::Sample(sample) => sample.lasting.0,
        };
        shadow + self.hold.min.0 * self.steps.len() as u32
    }

    fn check_steps(&self) -> Result<(), Refusal> {
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            let got = self.steps.len();
            let why = format!("there are {got}, want 1 to {STEPS_MAX}");
            return wrong("steps", why);
        }
        if let Some([low, high]) = self.steps.array_windows().find(|[low, high]| low >= high) {
            let why = format!("`{high}` comes after `{low}`; they must rise");
            return wrong("steps", why);
        }
        Ok(())
    }
}

/// Why it may not be so probable to be wrong, where it may not.
pub(crate) fn check_alpha(alpha: f64) -> Result<(), String> {
    match (1e-6..=0.2).contains(&alpha) {
        true => Ok(()),
        false => Err(format!("`{alpha}` is not from 0.000001 to 0.2")),
    }
}

/// Refuses tests that demand nothing, and two of the same.
pub(super) fn check_tests(field: &str, tests: &[Test]) -> Result<(), Refusal> {
    if tests.len() > TESTS_MAX {
        let got = tests.len();
        return wrong(field, format!("there are {got}, at most are {TESTS_MAX}"));
    }
    for (place, test) in tests.iter().enumerate() {
        let at = |part: &str| format!("{field}[{place}].{part}");
        if let Err((part, why)) = test.demand() {
            return wrong(&at(part), why);
        }
        if tests[..place].iter().any(|it| it.name() == test.name()) {
            let why = format!("`{}` is there twice", test.name());
            return wrong(&at("metric"), why);
        }
    }
    Ok(())
}

pub(super) fn wrong<T>(field: &str, why: String) -> Result<T, Refusal> {
    Err(Refusal::InvalidManifest {
        field: format!("rollout.{field}"),
        why,
    })
}

fn lasts(field: &str, span: Span) -> Result<(), Refusal> {
    if span.0 > LASTING_MAX {
        return wrong(field, format!("`{span}` is longer than 365d"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Spec, String> {
        let spec: Spec = serde_json::from_str(text).map_err(|error| error.to_string())?;
        spec.check().map_err(|refusal| refusal.to_string())?;
        Ok(spec)
    }

    #[test]
    fn the_whole_is_read_as_it_is_printed() {
        let text = r#"{"key":"header:x-customer-id","shadow":{"sample":"20%","for":"2h","min_requests":5000},
            "steps":["1%","5%","25%","50%"],"hold":{"min":"30m","min_keys":1000},"approval":"before-promote",
            "bake":"1d","deadline":"7d","alpha":0.01,"guardrails":[{"metric":"error_rate","worse_by":"0.2pp"},
            {"metric":"latency","over":"50ms","allow":"1%"},{"metric":"cost_per_1k","worse_by":"10%"},
            {"metric":"loss","worse_by":"0.01"},{"metric":"fairness.true_positive","worse_by":"2pp","by":"gender"}],
            "signals":[{"metric":"prediction_drift","js_below":0.1},{"metric":"disagreement","below":"8%"}],
            "promote_when":{"labels":{"wait":"3d","min":500}},"on_timeout":"rollback"}"#;
        let spec = read(text).expect("it makes sense");
        let printed = serde_json::to_string(&spec).expect("JSON");
        assert_eq!(read(&printed), Ok(spec));
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_field() {
        let of = |text: &str, want: &str| {
            let got = read(text).expect_err(text);
            assert!(got.contains(want), "{got}");
        };
        of(r#"{"step":["1%"]}"#, "unknown field `step`");
        of(r#"{"steps":[]}"#, "`rollout.steps`: there are 0");
        of(
            r#"{"steps":["5%","5%"]}"#,
            "`rollout.steps`: `5%` comes after `5%`",
        );
        of(
            r#"{"steps":["25%","5%"]}"#,
            "`5%` comes after `25%`; they must rise",
        );
        of(r#"{"steps":["60%"]}"#, "`60%` is over 50%");
        of(r#"{"shadow":"on"}"#, "expected `off` or a mapping");
        of(r#"{"shadow":{"sample":"0%"}}"#, "`rollout.shadow.sample`");
        of(r#"{"hold":{"min_keys":0}}"#, "`rollout.hold.min_keys`");
        of(
            r#"{"hold":{"min":"3d"}}"#,
            "`rollout.deadline`: `7d` is not longer than",
        );
        of(
            r#"{"deadline":"400d"}"#,
            "`rollout.deadline`: `400d` is longer than 365d",
        );
        of(r#"{"alpha":0}"#, "`rollout.alpha`: `0` is not from");
        of(r#"{"alpha":0.5}"#, "`rollout.alpha`: `0.5` is not from");
        of(
            r#"{"guardrails":[]}"#,
            "`rollout.guardrails`: it names no test",
        );
        of(
            r#"{"guardrails":[{"metric":"error_rate"}]}"#,
            "`rollout.guardrails[0].worse_by`",
        );
        of(
            r#"{"signals":[{"metric":"loss","worse_by":"1"},{"metric":"loss","worse_by":"2"}]}"#,
            "`rollout.signals[1].metric`: `loss` is there twice",
        );
        of(
            r#"{"shadow":"off","signals":[{"metric":"disagreement","below":"8%"}]}"#,
            "`disagreement` is told from the shadow",
        );
        of(
            r#"{"promote_when":{"labels":{"wait":"1d"}}}"#,
            "`rollout.promote_when.labels`: no guardrail needs labels",
        );
        of(
            r#"{"guardrails":[{"metric":"loss","worse_by":"1"}],"promote_when":{"labels":{"wait":"7d"}}}"#,
            "`rollout.promote_when.labels.wait`: `7d` is not shorter than",
        );
        of(
            r#"{"promote_when":{"non_inferior":"some"}}"#,
            "unknown field `non_inferior`",
        );
        of(r#"{"on_timeout":"promote"}"#, "unknown variant `promote`");
        of(r#"{"approval":"each_step"}"#, "unknown variant `each_step`");
    }
}
