//! The words in which a rollout is told: the command line, the API, the ledger and the console all use these.

use super::command::{Deed, Person};
use super::event::{Event, Why};
use super::evidence::{Figure, Interval, Role, SplitCheck, Tested, Verdict};
use super::plan::{Plan, Rollout};
use super::spec::ShadowSetting;
use super::state::{Hold, Phase, Reason, State};
use super::test::{Demand, Margin, Test};
use crate::manifest::{Off, Span};

impl Rollout {
    /// Where it is, to follow its version: `is at step 2 of 4 (5%), and awaits approval`.
    pub fn status(&self) -> String {
        let state = &self.progress.state;
        let place = match state {
            State::Pending => "waits for its incumbent".to_owned(),
            State::Validating => "is being validated".to_owned(),
            State::Shadow(_) => "is in the shadow".to_owned(),
            State::Step { .. } => format!("is at {}", stage(state, &self.plan)),
            State::Promoting => "is being promoted".to_owned(),
            State::Baking => "has all of the traffic and bakes".to_owned(),
            State::Succeeded => "is rolled out".to_owned(),
            State::RollingBack { reason } => format!("is being rolled back ({})", reason.name()),
            State::RolledBack { reason } => format!("is rolled back ({})", reason.name()),
            State::Superseded { by } => format!("was superseded by {by}"),
            State::Aborted { person } => format!("was aborted by {}", person.who),
        };
        match state.phase() {
            None | Some(Phase::Progressing) => place,
            Some(Phase::AwaitingApproval) => format!("{place}, and awaits approval"),
            Some(Phase::Holding(Hold::Paused { person })) => {
                format!("{place}, paused by {}", person.who)
            }
            Some(Phase::Holding(hold)) => format!("{place}, and holds ({})", hold.name()),
        }
    }
}

impl Tested {
    /// Its numbers in words, as every event tells them.
    pub fn sentence(&self, plan: &Plan) -> String {
        show(self, plan)
    }
}

impl Event {
    /// What happened, in a sentence: the command line, the API, the ledger and the console all say this one.
    pub fn sentence(&self, plan: &Plan) -> String {
        let mut text = match &self.why {
            Why::ClockSetBack { ms } => {
                let by = Span(std::time::Duration::from_millis(ms.unsigned_abs()));
                return format!(
                    "the clock was set back by {by}; what has to last begins no earlier"
                );
            }
            Why::Rules => self.outcome(plan),
            Why::Person { deed, .. } => self.deed(*deed, plan),
        };
        let person = match &self.why {
            Why::Person { person, .. } => Some(person),
            Why::Rules | Why::ClockSetBack { .. } => None,
        };
        if let Some(Person { who, why }) = person {
            text.push_str(&format!(" (by {who}"));
            if !why.is_empty() {
                text.push_str(&format!(": {why}"));
            }
            text.push(')');
        }
        text
    }

    /// What the rules brought about.
    fn outcome(&self, plan: &Plan) -> String {
        let (model, candidate, incumbent) = (plan.model(), plan.candidate(), plan.incumbent());
        let spec = plan.spec();
        match &self.to {
            State::Pending => format!("`{model}:{candidate}` is to be rolled out"),
            State::Validating => format!(
                "`{model}:{candidate}` is loaded and must reproduce its examples; \
                 `{model}:{incumbent}` answers everything"
            ),
            State::Shadow(Phase::Progressing) if self.from.phase().is_none() => {
                let sample = match &spec.shadow {
                    ShadowSetting::Sample(shadow) => shadow.sample.to_string(),
                    ShadowSetting::Off(Off::Off) => "0%".to_owned(),
                };
                format!(
                    "`{model}:{candidate}` answers {sample} of the requests unheard, beside \
                     `{model}:{incumbent}`"
                )
            }
            State::Step {
                index,
                phase: Phase::Progressing,
            } if !self.to.is_stage_of(&self.from) => format!(
                "{}: `{model}:{candidate}` answers {} of the keys, and as many stay with \
                 `{model}:{incumbent}` to be compared",
                stage(&self.to, plan),
                plan.step(*index)
            ),
            State::Shadow(phase) | State::Step { phase, .. } => {
                let stage = stage(&self.to, plan);
                match phase {
                    Phase::Progressing => format!("{stage} goes on"),
                    Phase::Holding(hold) => format!("{stage} holds: {}", self.hold(hold, plan)),
                    Phase::AwaitingApproval => format!(
                        "{stage} is done and awaits approval{}",
                        self.passed(": ", plan)
                    ),
                }
            }
            State::Promoting => format!(
                "`{model}:{candidate}` gets all of the traffic{}",
                self.passed(", as no guardrail is worse: ", plan)
            ),
            State::Baking => format!(
                "`{model}:{candidate}` has all of the traffic; `{model}:{incumbent}` stays loaded for {}",
                spec.bake
            ),
            State::Succeeded => format!(
                "`{model}:{candidate}` has had all of the traffic for {} and is rolled out",
                spec.bake
            ),
            State::RollingBack { reason } => format!(
                "`{model}:{candidate}` is rolled back from {}: {}",
                stage(&self.from, plan),
                self.reason(reason, plan)
            ),
            State::RolledBack { reason } => {
                let why = match reason {
                    Reason::Guardrail { test } => format!("guardrail `{test}` failed"),
                    Reason::Candidate { why } => format!("the candidate did not answer: {why}"),
                    Reason::Deadline => "its deadline was over".to_owned(),
                    Reason::Superseded { .. } | Reason::Aborted { .. } => "it was ended".to_owned(),
                };
                format!(
                    "`{model}:{incumbent}` has all of the traffic again, and `{model}:{candidate}` is rolled \
                     back: {why}"
                )
            }
            State::Superseded { by } => format!(
                "`{model}:{incumbent}` has all of the traffic; `{model}:{by}` is rolled out in place of \
                 `{model}:{candidate}`"
            ),
            State::Aborted { person } => format!(
                "`{model}:{incumbent}` has all of the traffic; the rollout of `{model}:{candidate}` was ended by {}",
                person.who
            ),
        }
    }

    /// What a person brought about.
    fn deed(&self, deed: Deed, plan: &Plan) -> String {
        let (model, candidate) = (plan.model(), plan.candidate());
        let stage = stage(&self.from, plan);
        match deed {
            Deed::Approve => format!("{stage} is approved; {}", self.outcome(plan)),
            Deed::Pause => format!("{stage} is paused"),
            Deed::Resume => match self.from.phase() {
                Some(Phase::Holding(
                    Hold::Signal { test } | Hold::NoData { test } | Hold::Errors { test },
                )) => format!("{stage} goes on, and `{test}` does not hold it any longer"),
                Some(Phase::Holding(Hold::Mismatch)) => {
                    format!("{stage} goes on, and keys are counted anew")
                }
                Some(Phase::Holding(Hold::Deadline)) => {
                    format!("{stage} goes on, with another {}", plan.spec().deadline)
                }
                _ => format!("{stage} goes on"),
            },
            Deed::Promote if self.to == State::Succeeded => {
                format!("`{model}:{candidate}` is rolled out before it has baked")
            }
            Deed::Promote => {
                let tests = self.tests(plan, |_| true);
                let tests = match tests.is_empty() {
                    true => "nothing was tested yet".to_owned(),
                    false => tests,
                };
                format!(
                    "`{model}:{candidate}` gets all of the traffic from {stage}, whatever tests say: {tests}"
                )
            }
            Deed::Abort if self.to.is_over() => format!(
                "the rollout of `{model}:{candidate}` is ended before `{model}:{}` could be loaded, which has all of the \
                 traffic once it is",
                plan.incumbent()
            ),
            Deed::Abort => format!("`{model}:{candidate}` is rolled back from {stage}"),
            Deed::Supersede { by } => {
                format!("`{model}:{candidate}` is rolled back from {stage}, for `{model}:{by}`")
            }
        }
    }

    fn reason(&self, reason: &Reason, plan: &Plan) -> String {
        match reason {
            Reason::Guardrail { test } => {
                let told = self.evidence.of(Role::Guardrail, test);
                let told = told.map(|it| show(it, plan)).unwrap_or_default();
                format!("guardrail `{test}` fails: {told}")
            }
            Reason::Candidate { why } => format!("it does not answer: {why}"),
            Reason::Deadline => {
                let why = match self.from.phase() {
                    Some(Phase::Holding(hold)) => {
                        format!("while it held: {}", self.hold(hold, plan))
                    }
                    Some(Phase::AwaitingApproval) => "and nobody approved it".to_owned(),
                    Some(Phase::Progressing) | None => {
                        let open = self.tests(plan, |it| it.verdict != Verdict::Pass);
                        match open.is_empty() {
                            true => "before it got further".to_owned(),
                            false => format!("before it was shown to be no worse: {open}"),
                        }
                    }
                };
                format!("its deadline of {} is over, {why}", plan.spec().deadline)
            }
            Reason::Superseded { by, person } => {
                format!("`{}:{by}` came, by {}", plan.model(), person.who)
            }
            Reason::Aborted { person } => format!("{} ended it", person.who),
        }
    }

    fn hold(&self, hold: &Hold, plan: &Plan) -> String {
        let of = |about: &dyn Fn(&Tested) -> bool| {
            let found = self.evidence.tests.iter().find(|it| about(it));
            found.map(|it| show(it, plan)).unwrap_or_default()
        };
        match hold {
            Hold::Signal { test } => {
                let told = of(&|it| it.role == Role::Signal && it.name == *test);
                format!("signal `{test}` fails: {told}")
            }
            Hold::Mismatch => {
                let counts = self.evidence.split.map(|it| {
                    let SplitCheck {
                        candidate,
                        control,
                        e_value,
                    } = it;
                    format!(
                        ", {candidate} of the candidate and {control} of the control, which should be as many \
                         (e-value {})",
                        show_e_value(e_value)
                    )
                });
                let counts = counts.unwrap_or_default();
                format!("keys are not split as intended{counts}, so that no comparison holds")
            }
            Hold::NoData { test } => format!("there is no data for `{test}`"),
            Hold::Errors { test } => {
                let errs = |it: &Tested| matches!(it.verdict, Verdict::Error { .. });
                let told = of(&|it| it.name == *test && errs(it));
                format!("`{test}` cannot be told: {told}")
            }
            Hold::Incumbent => format!(
                "`{}:{}`, to which it would go back, cannot be loaded",
                plan.model(),
                plan.incumbent()
            ),
            Hold::Paused { person } => format!("{} paused it", person.who),
            Hold::Deadline => format!("its deadline of {} is over", plan.spec().deadline),
        }
    }

    /// What the guardrails say, after these words; nothing where nothing is promoted.
    fn passed(&self, words: &str, plan: &Plan) -> String {
        let tests = self.tests(plan, |it| it.role == Role::Guardrail);
        match tests.is_empty() {
            true => String::new(),
            false => format!("{words}{tests}"),
        }
    }

    fn tests(&self, plan: &Plan, about: impl Fn(&Tested) -> bool) -> String {
        let tests = self.evidence.tests.iter().filter(|it| about(it));
        let shown: Vec<String> = tests
            .map(|it| format!("`{}` {}", it.name, show(it, plan)))
            .collect();
        shown.join("; ")
    }
}

/// `step 2 of 4 (5%)`, `the shadow`.
fn stage(state: &State, plan: &Plan) -> String {
    match state {
        State::Step { index, .. } => format!(
            "step {} of {} ({})",
            index + 1,
            plan.spec().steps.len(),
            plan.step(*index)
        ),
        State::Shadow(_) => "the shadow".to_owned(),
        State::Pending => "its beginning".to_owned(),
        State::Validating => "its validation".to_owned(),
        State::Promoting | State::Baking => "all of the traffic".to_owned(),
        State::Succeeded
        | State::RollingBack { .. }
        | State::RolledBack { .. }
        | State::Superseded { .. }
        | State::Aborted { .. } => "its end".to_owned(),
    }
}

/// What a test rests on: the candidate's figure, the control's where there is one, what is allowed, the interval and the
/// e-value. `4.10% (41 of 1000) against 1.00% (10 of 1000), 0.50pp worse is allowed; difference +1.20 to +4.90pp; e-value
/// 4210, fails from 100 on`. Of one that has no numbers, why.
fn show(tested: &Tested, plan: &Plan) -> String {
    let tests = plan.tests();
    let all = match tested.role {
        Role::Guardrail => &tests.guardrails,
        Role::Signal => &tests.signals,
    };
    let test = all.iter().find(|it| it.name() == tested.name);
    let is_share = test.is_some_and(|it| it.metric.is_share());
    let mut parts = match &tested.verdict {
        Verdict::Error { why, looks } => return format!("{why} ({looks} looks in a row)"),
        Verdict::NoData => return "has no data".to_owned(),
        Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => {
            vec![tested.candidate.show(is_share)]
        }
    };
    if let Some(control) = tested.control {
        parts.push(format!("against {}", control.show(is_share)));
    }
    let mut text = parts.join(" ");
    if let Some(allowed) = test.and_then(show_demand) {
        text.push_str(&format!(", {allowed}"));
    }
    if let Some(interval) = tested.interval {
        text.push_str(&match tested.control {
            Some(_) => format!("; difference {}", interval.show_difference(is_share)),
            None => format!("; interval {}", interval.show(is_share)),
        });
    }
    if let Some(e_value) = tested.e_value {
        let e_value = show_e_value(e_value);
        text.push_str(&match tested.role {
            Role::Guardrail => {
                let limit = show_e_value(plan.e_value_limit());
                format!("; e-value {e_value}, fails from {limit} on")
            }
            Role::Signal => format!("; e-value {e_value}"),
        });
    }
    text
}

fn show_demand(test: &Test) -> Option<String> {
    let over = match test.over {
        Some(over) => format!(" over {over}"),
        None => String::new(),
    };
    match test.demand().ok()? {
        Demand::NoWorse(Margin::Absolute(size)) if test.metric.is_share() => {
            Some(format!("{:.2}pp worse is allowed", size * 100.0))
        }
        Demand::NoWorse(margin) => Some(format!("{margin} worse is allowed")),
        Demand::AtMost(limit) if test.metric.is_share() => {
            Some(format!("{:.2}%{over} is allowed", limit * 100.0))
        }
        Demand::AtMost(limit) => Some(format!("{limit} is allowed")),
    }
}

impl Figure {
    /// `4.10% (41 of 1000)`, `0.2310 (of 1000)`.
    pub(crate) fn show(self, is_share: bool) -> String {
        let Self { n, events, value } = self;
        let share = |events: u64| events as f64 / n.max(1) as f64;
        match (events, value) {
            (Some(events), value) => {
                let value = value.unwrap_or_else(|| share(events));
                format!("{:.2}% ({events} of {n})", value * 100.0)
            }
            (None, Some(value)) if is_share => format!("{:.2}% (of {n})", value * 100.0),
            (None, Some(value)) => format!("{value:.4} (of {n})"),
            (None, None) => format!("{n}"),
        }
    }
}

impl Interval {
    fn show(self, is_share: bool) -> String {
        let Self { low, high } = self;
        match is_share {
            true => format!("{:.2}% to {:.2}%", low * 100.0, high * 100.0),
            false => format!("{low:.4} to {high:.4}"),
        }
    }

    /// The same of a difference, whose sign matters.
    pub(crate) fn show_difference(self, is_share: bool) -> String {
        let Self { low, high } = self;
        match is_share {
            true => format!("{:+.2} to {:+.2}pp", low * 100.0, high * 100.0),
            false => format!("{low:+.4} to {high:+.4}"),
        }
    }
}

fn show_e_value(e_value: f64) -> String {
    match e_value {
        it if it >= 1e6 => format!("{it:.1e}"),
        it if it >= 10.0 => format!("{it:.0}"),
        it => format!("{it:.2}"),
    }
}
