//! What is to be done next for a rollout: what is wanted and what is actual go in, one next action comes out, and
//! the caller asks again when it is done. Nothing is remembered but the rollout itself.

use std::fmt;
use std::time::Duration;

use super::event::{Event, Why};
use super::evidence::{Evidence, Role, Tested, Verdict};
use super::plan::Rollout;
use super::spec::{Approval, OnTimeout, ShadowSetting};
use super::state::{Hold, Phase, Reason, State};
use super::test::Test;
use super::traffic::Traffic;
use crate::alert::Moment;
use crate::name::Version;

/// So many looks in a row at which a test could not be told hold.
pub const ERRORS_MAX: u32 = 5;

/// What is so now.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// What the incumbent is doing.
    pub incumbent: Loaded,
    /// What the candidate is doing.
    pub candidate: Loaded,
    /// What is served.
    pub serving: Option<Traffic>,
    /// Whether it was learned what scores mean, or is known that it cannot be; for plans whose tests rest on that.
    pub learned: bool,
    /// What was measured.
    pub evidence: Evidence,
}

/// What a version is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Nothing.
    Absent,
    /// It is being loaded.
    Loading,
    /// It answers, and reproduced its examples.
    Ready,
    /// It could not be loaded, or answers no longer.
    Failed {
        /// The reason.
        why: String,
    },
}

/// What is next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Append this event and follow it. Nothing is done before it is on the disk, unless it
    /// [withdraws](Rollout::withdraws) the candidate.
    Append(Event),
    /// Serve this. It is one change of the routing table.
    Route(Traffic),
    /// Load this version. After a failure the caller takes its time.
    Load(Version),
    /// Nothing until then, or until something is measured or somebody does something.
    Wait {
        /// When to look at the latest, which is to come; none where no time moves it.
        until: Option<Moment>,
    },
    /// Nothing any more.
    Over,
}

/// What must still come before a stage is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Time.
    Time {
        /// Until then.
        until: Moment,
    },
    /// Requests in the shadow.
    Requests {
        /// So many came.
        got: u64,
        /// So many must.
        want: u64,
    },
    /// Keys at the step.
    Keys {
        /// So many came.
        got: u64,
        /// So many must.
        want: u64,
    },
    /// A guardrail's having shown that the candidate is not worse.
    Test {
        /// Which.
        test: String,
    },
    /// What scores mean, to tests that estimate.
    Scores,
    /// Labels for a guardrail, or that they were waited for.
    Labels {
        /// Which.
        test: String,
        /// Until when.
        until: Moment,
    },
    /// That somebody agrees.
    Approval,
    /// That what holds it goes.
    Hold(Hold),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time { until } => write!(f, "until {until}"),
            Self::Requests { got, want } => write!(f, "{got} of {want} requests"),
            Self::Keys { got, want } => write!(f, "{got} of {want} keys"),
            Self::Test { test } => write!(f, "`{test}` has not shown that it is no worse"),
            Self::Scores => f.write_str("what scores mean, which is learned from rows with labels"),
            Self::Labels { test, until } => write!(f, "labels for `{test}`, until {until}"),
            Self::Approval => f.write_str("approval"),
            Self::Hold(hold) => write!(f, "what holds it: {}", hold.name()),
        }
    }
}

impl Rollout {
    /// What is next. `now` must not jump while a process lives: it is the wall clock at the process's beginning and
    /// the monotonic time since.
    pub fn next(&self, facts: &Facts, now: Moment) -> Next {
        let Self { plan, progress } = self;
        let state = &progress.state;
        let append = |to, why| Next::Append(self.event(to, why, &facts.evidence, now));
        let wanted = state.traffic(plan);
        if state.is_over() {
            return Next::Over;
        }
        if now < progress.since {
            let ms = progress.since.0.saturating_sub(now.0);
            return append(state.clone(), Why::ClockSetBack { ms });
        }
        if let Some(reason) = self.undoing(facts, now) {
            return append(State::RollingBack { reason }, Why::Rules);
        }
        let hold = self.holding(facts, now);
        let holds = hold.is_some();
        if let Some(phase) = hold.map(Phase::Holding)
            && state.phase() != Some(&phase)
        {
            return append(state.in_phase(phase), Why::Rules);
        }
        let loaded = |version: Version| match version == plan.candidate() {
            true => &facts.candidate,
            false => &facts.incumbent,
        };
        // What answers comes before what is only kept.
        let answers = wanted.versions();
        let routable = answers.iter().all(|it| *loaded(*it) == Loaded::Ready);
        if routable && facts.serving.as_ref() != Some(&wanted) {
            return Next::Route(wanted);
        }
        // What is only kept warm and cannot be loaded must not keep a rollout from its end.
        let missing = state
            .versions(plan)
            .into_iter()
            .find(|it| match loaded(*it) {
                Loaded::Absent => true,
                Loaded::Failed { .. } => answers.contains(it),
                Loaded::Loading | Loaded::Ready => false,
            });
        // Nobody hears the candidate, and what should answer in its place cannot: that is not the rollout's to mend.
        let lives = matches!(facts.candidate, Loaded::Ready | Loaded::Loading);
        let heard = facts.serving.as_ref().is_some_and(|it| {
            let shares = it.split.shares();
            lives && shares.iter().any(|it| it.1 == plan.candidate())
        });
        let gone = matches!(state, State::RollingBack { .. })
            && matches!(facts.incumbent, Loaded::Failed { .. })
            && !heard;
        if let Some(version) = missing.filter(|_| !gone) {
            return Next::Load(version);
        }
        if !(routable || gone) || holds {
            return self.wait(None, &facts.evidence, now);
        }
        match self.moving(facts, now) {
            Ok(to) => append(to, Why::Rules),
            Err(until) => self.wait(until, &facts.evidence, now),
        }
    }

    /// Whether an event sends back a candidate that is asked now, in whose place the incumbent can answer at once.
    pub fn withdraws(&self, event: &Event, facts: &Facts) -> bool {
        let candidate = self.plan.candidate();
        let serving = facts.serving.as_ref();
        matches!(event.to, State::RollingBack { .. })
            && facts.incumbent == Loaded::Ready
            && serving.is_some_and(|it| it.versions().contains(&candidate))
    }

    /// Where it goes when nothing holds it and its stage may be left; else when to look again, where time is what is missing.
    fn moving(&self, facts: &Facts, now: Moment) -> Result<State, Option<Moment>> {
        let spec = self.plan.spec();
        match &self.progress.state {
            State::Pending => Ok(State::Validating),
            State::Validating if facts.candidate != Loaded::Ready => Err(None),
            // The candidate answers for that what others were asked, which must not be in the way of those who ask it.
            State::Validating if self.plan.tests().are_learned() && !facts.learned => Err(None),
            State::Validating => Ok(match spec.shadow {
                ShadowSetting::Off(_) => self.step(0),
                ShadowSetting::Sample(_) => State::Shadow(Phase::Progressing),
            }),
            State::Shadow(phase) | State::Step { phase, .. } => match phase {
                Phase::AwaitingApproval => Err(None),
                // What held it is gone.
                Phase::Holding(_) => Ok(self.progress.state.in_phase(Phase::Progressing)),
                Phase::Progressing => self.leave(facts, now),
            },
            State::Promoting => Ok(State::Baking),
            State::Baking => {
                self.after(self.lasting(), now)?;
                Ok(State::Succeeded)
            }
            State::RollingBack { reason } => Ok(match reason {
                Reason::Superseded { by, .. } => State::Superseded { by: *by },
                Reason::Aborted { person } => State::Aborted {
                    person: person.clone(),
                },
                Reason::Guardrail { .. } | Reason::Candidate { .. } | Reason::Deadline => {
                    State::RolledBack {
                        reason: reason.clone(),
                    }
                }
            }),
            State::Succeeded
            | State::RolledBack { .. }
            | State::Superseded { .. }
            | State::Aborted { .. } => Err(None),
        }
    }

    /// Whether the present stage is so old; else when it will be.
    fn after(&self, duration: Duration, now: Moment) -> Result<(), Option<Moment>> {
        let when = self.progress.since.after(duration);
        match now < when {
            true => Err(Some(when)),
            false => Ok(()),
        }
    }

    /// For how long the present stage lasts at least.
    fn lasting(&self) -> Duration {
        let spec = self.plan.spec();
        match (&self.progress.state, &spec.shadow) {
            (State::Shadow(_), ShadowSetting::Sample(shadow)) => shadow.lasting.0,
            (State::Step { .. }, _) => spec.hold.min.0,
            (State::Baking, _) => spec.bake.0,
            _ => Duration::ZERO,
        }
    }

    /// Leaves the shadow or a step, where nothing is missing.
    fn leave(&self, facts: &Facts, now: Moment) -> Result<State, Option<Moment>> {
        let missing = self.missing(&facts.evidence, now);
        if !missing.is_empty() {
            let times = missing.iter().filter_map(|it| match it {
                Missing::Time { until } | Missing::Labels { until, .. } => Some(*until),
                _ => None,
            });
            return Err(times.min());
        }
        let next = self.after_stage();
        let asks = match self.plan.spec().approval {
            Approval::None => false,
            Approval::EachStep => true,
            Approval::BeforePromote => next == State::Promoting,
        };
        Ok(match asks {
            true => self.progress.state.in_phase(Phase::AwaitingApproval),
            false => next,
        })
    }

    /// What must still come before it leaves the stage where it is, as far as rules tell.
    pub fn missing(&self, evidence: &Evidence, now: Moment) -> Vec<Missing> {
        let spec = self.plan.spec();
        let mut missing = Vec::new();
        if let Err(Some(until)) = self.after(self.lasting(), now) {
            missing.push(Missing::Time { until });
        }
        match (&self.progress.state, &spec.shadow) {
            (State::Validating, _) if self.plan.tests().are_learned() => {
                missing.push(Missing::Scores);
            }
            (State::Shadow(_), ShadowSetting::Sample(shadow)) => {
                let (got, want) = (evidence.shadowed, shadow.min_requests);
                if got < want {
                    missing.push(Missing::Requests { got, want });
                }
            }
            (State::Step { .. }, _) => {
                let (got, want) = (evidence.keys, spec.hold.min_keys);
                if got < want {
                    missing.push(Missing::Keys { got, want });
                }
                if self.after_stage() == State::Promoting {
                    self.non_inferior(evidence, now, &mut missing);
                }
            }
            _ => {}
        }
        match self.progress.state.phase() {
            Some(Phase::Holding(hold)) => missing.insert(0, Missing::Hold(hold.clone())),
            Some(Phase::AwaitingApproval) => missing.insert(0, Missing::Approval),
            Some(Phase::Progressing) | None => {}
        }
        missing
    }

    /// The stage after the shadow or a step.
    pub(super) fn after_stage(&self) -> State {
        match &self.progress.state {
            State::Step { index, .. } if index + 1 < self.plan.spec().steps.len() => {
                self.step(index + 1)
            }
            State::Step { .. } => State::Promoting,
            _ => self.step(0),
        }
    }

    fn step(&self, index: usize) -> State {
        State::Step {
            index,
            phase: Phase::Progressing,
        }
    }

    /// The guardrails that have not shown that the candidate is not worse (R4).
    fn non_inferior(&self, evidence: &Evidence, now: Moment, missing: &mut Vec<Missing>) {
        let labels = self.plan.spec().promote_when.labels.as_ref();
        for test in &self.plan.tests().guardrails {
            let needs_labels = test.metric.needs_labels();
            let name = test.name();
            let tested = evidence.of(Role::Guardrail, &name);
            let told = tested.filter(|it| match it.verdict {
                Verdict::NoData | Verdict::Error { .. } => false,
                Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => {
                    let least = labels.filter(|_| needs_labels).map_or(0, |it| it.min);
                    it.candidate.n >= least
                }
            });
            let open = || Missing::Test { test: name.clone() };
            match told {
                Some(tested) if tested.verdict == Verdict::Pass => {}
                Some(_) => missing.push(open()),
                // Nothing can be told of it, which somebody answers for.
                None if self.is_waived(test) => {}
                None => match labels {
                    Some(labels) if needs_labels && test.must_have_data != Some(true) => {
                        if let Err(Some(until)) = self.after(labels.wait.0, now) {
                            missing.push(Missing::Labels { test: name, until });
                        }
                    }
                    _ => missing.push(open()),
                },
            }
        }
    }

    fn is_waived(&self, test: &Test) -> bool {
        self.progress.waived.contains(&test.name())
    }

    /// Why it must go back, where it must.
    fn undoing(&self, facts: &Facts, now: Moment) -> Option<Reason> {
        let Self { plan, progress } = self;
        let (hears, times_out) = match &progress.state {
            State::Pending | State::Validating => (false, true),
            State::Shadow(_) | State::Step { .. } => {
                (true, plan.spec().on_timeout == OnTimeout::Rollback)
            }
            State::Promoting | State::Baking => (true, false),
            _ => return None,
        };
        if let Loaded::Failed { why } = &facts.candidate
            && progress.state != State::Pending
        {
            let why = super::event::bounded(why);
            return Some(Reason::Candidate { why });
        }
        let void = facts.evidence.is_mismatch();
        let fails = |test: &&Test| {
            let tested = facts.evidence.of(Role::Guardrail, &test.name());
            let fails = tested.is_some_and(|it| it.verdict == Verdict::Fail);
            fails && !(void && test.is_comparison())
        };
        if hears && let Some(test) = plan.tests().guardrails.iter().find(fails) {
            let test = test.name();
            return Some(Reason::Guardrail { test });
        }
        (times_out && now >= progress.until).then_some(Reason::Deadline)
    }

    /// What holds it, where something does.
    fn holding(&self, facts: &Facts, now: Moment) -> Option<Hold> {
        let progress = &self.progress;
        let evidence = &facts.evidence;
        let phase = progress.state.phase()?;
        if let Phase::Holding(hold) = phase
            && is_persons(phase)
        {
            return Some(hold.clone());
        }
        if now >= progress.until {
            return Some(Hold::Deadline);
        }
        if evidence.is_mismatch() && matches!(progress.state, State::Step { .. }) {
            return Some(Hold::Mismatch);
        }
        if matches!(facts.incumbent, Loaded::Failed { .. }) {
            return Some(Hold::Incumbent);
        }
        let said: Vec<(&Test, Role, Option<&Tested>)> = self.open(evidence).collect();
        let first = |holds: &dyn Fn(&Test, Role, Option<&Tested>) -> bool| {
            let found = said.iter().find(|it| holds(it.0, it.1, it.2));
            found.map(|it| it.0.name())
        };
        let fails = first(&|_, role, tested| {
            role == Role::Signal && tested.is_some_and(|it| it.verdict == Verdict::Fail)
        });
        if let Some(test) = fails {
            return Some(Hold::Signal { test });
        }
        let errs = first(&|_, _, tested| {
            tested.is_some_and(
                |it| matches!(it.verdict, Verdict::Error { looks, .. } if looks >= ERRORS_MAX),
            )
        });
        if let Some(test) = errs {
            return Some(Hold::Errors { test });
        }
        let lacks = first(&|test, _, tested| self.due(test, tested).is_some_and(|it| it <= now));
        lacks.map(|test| Hold::NoData { test })
    }

    /// The tests that can hold it, and what they say.
    fn open<'a>(
        &'a self,
        evidence: &'a Evidence,
    ) -> impl Iterator<Item = (&'a Test, Role, Option<&'a Tested>)> {
        let tests = self.plan.tests();
        let guardrails = tests.guardrails.iter().map(|it| (Role::Guardrail, it));
        let signals = tests.signals.iter().map(|it| (Role::Signal, it));
        let open = guardrails.chain(signals).filter(|it| !self.is_waived(it.1));
        open.map(|(role, test)| (test, role, evidence.of(role, &test.name())))
    }

    /// From when on it holds as there is nothing to tell this test of; none where it does not.
    fn due(&self, test: &Test, tested: Option<&Tested>) -> Option<Moment> {
        let state = &self.progress.state;
        let is_of_stage = state.phase().is_some_and(|it| !is_persons(it))
            && matches!(state, State::Shadow(_)) == test.is_of_shadow();
        let lacks = tested.is_none_or(|it| it.verdict == Verdict::NoData);
        if !is_of_stage || !lacks || !test.must_have_data() {
            return None;
        }
        // At the beginning of a stage there is nothing yet.
        let lasting = self.lasting();
        let labels = self.plan.spec().promote_when.labels.as_ref();
        let grace = match (test.metric.needs_labels(), labels) {
            (false, _) => lasting,
            (true, Some(labels)) => lasting.max(labels.wait.0),
            // They may come until the deadline.
            (true, None) => return None,
        };
        Some(self.progress.since.after(grace))
    }

    /// Waits for this time, or for what else time brings before: that data is missed, and the deadline.
    fn wait(&self, until: Option<Moment>, evidence: &Evidence, now: Moment) -> Next {
        let Self { plan, progress } = self;
        let ends = match &progress.state {
            State::Pending | State::Validating => true,
            State::Shadow(phase) | State::Step { phase, .. } => {
                plan.spec().on_timeout == OnTimeout::Rollback || !is_persons(phase)
            }
            _ => false,
        };
        let missed = self.open(evidence);
        let missed = missed.filter_map(|(test, _, tested)| self.due(test, tested));
        let times = missed.chain(until).chain(ends.then_some(progress.until));
        Next::Wait {
            until: times.filter(|it| *it > now).min(),
        }
    }
}

/// Whether only a person ends it.
fn is_persons(phase: &Phase) -> bool {
    matches!(phase, Phase::Holding(Hold::Paused { .. } | Hold::Deadline))
}
