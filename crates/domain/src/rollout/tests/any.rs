//! Whatever is measured and whatever people do, in whatever order.

use proptest::prelude::*;

use super::*;
use crate::rollout::event::Why;

const HOLD_MIN_MS: i64 = 30 * 60_000;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    Minutes(i64),
    Verdict(usize, usize),
    Counts(u64),
    Split(f64),
    Incumbent(u8),
    Candidate(u8),
    Command(usize),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (-300i64..2000).prop_map(Happening::Minutes),
        4 => (0usize..3, 0usize..8).prop_map(|(test, verdict)| Happening::Verdict(test, verdict)),
        4 => (0u64..2000).prop_map(Happening::Counts),
        1 => prop_oneof![Just(1.0), Just(5000.0), Just(f64::INFINITY), Just(f64::NAN)].prop_map(Happening::Split),
        1 => (0u8..6).prop_map(Happening::Incumbent),
        1 => (0u8..8).prop_map(Happening::Candidate),
        3 => (0usize..6).prop_map(Happening::Command),
        1 => Just(Happening::Restart),
    ]
}

fn spec() -> impl Strategy<Value = String> {
    let shadow = prop_oneof![Just(r#""off""#), Just(r#"{"for":"10m","min_requests":10}"#)];
    let approval = prop_oneof![Just("none"), Just("each-step"), Just("before-promote")];
    let on_timeout = prop_oneof![Just("rollback"), Just("hold")];
    (shadow, approval, on_timeout).prop_map(|(shadow, approval, on_timeout)| {
        format!(
            r#"{{"shadow":{shadow},"approval":"{approval}","on_timeout":"{on_timeout}","steps":["5%","20%"],
            "hold":{{"min":"30m","min_keys":100}},"guardrails":[{{"metric":"error_rate","worse_by":"0.5pp"}},
            {{"metric":"loss","worse_by":"0.1"}}],"promote_when":{{"labels":{{"wait":"1d"}}}}}}"#
        )
    })
}

fn loaded(number: u8) -> Loaded {
    match number {
        0 => Loaded::Absent,
        1 => Loaded::Loading,
        2 => Loaded::Failed {
            why: "out of memory".to_owned(),
        },
        _ => Loaded::Ready,
    }
}

impl World {
    fn happen(&mut self, happening: &Happening) {
        self.bring(happening);
        self.look();
    }

    fn bring(&mut self, happening: &Happening) {
        const TESTS: [(Role, &str); 3] = [
            (Role::Guardrail, "error_rate"),
            (Role::Guardrail, "loss"),
            (Role::Signal, "prediction_drift"),
        ];
        const VERDICTS: [&str; 8] = [
            "pass",
            "pass",
            "pass",
            "inconclusive",
            "nodata",
            "error2",
            "error9",
            "fail",
        ];
        let evidence = &mut self.facts.evidence;
        match happening {
            Happening::Minutes(minutes) => self.now.0 += minutes * 60_000,
            Happening::Verdict(test, verdict) => {
                let (role, name) = TESTS[*test];
                let mut tested = tested(role, name, VERDICTS[*verdict]);
                tested.e_value = Some([1.0, f64::INFINITY, f64::NAN][*verdict % 3]);
                let tests = &mut evidence.tests;
                tests.retain(|it| it.role != role || it.name != name);
                tests.push(tested);
            }
            Happening::Counts(count) => (evidence.keys, evidence.shadowed) = (*count, *count),
            Happening::Split(e_value) => {
                evidence.split = Some(SplitCheck {
                    candidate: 1,
                    control: 2,
                    e_value: *e_value,
                });
            }
            Happening::Incumbent(number) => self.facts.incumbent = loaded(*number),
            Happening::Candidate(number) => self.facts.candidate = loaded(*number),
            Happening::Command(number) => {
                let deed = [
                    Deed::Approve,
                    Deed::Pause,
                    Deed::Resume,
                    Deed::Resume,
                    Deed::Promote,
                    Deed::Abort,
                ][*number];
                let by = person("ann", "so");
                let evidence = &self.facts.evidence;
                if let Ok(event) = self.rollout.command(deed, by, evidence, self.now) {
                    self.follow(event);
                }
            }
            Happening::Restart => {
                self.facts.serving = None;
                self.facts.candidate = Loaded::Absent;
            }
        }
    }

    /// The process ends, and another begins: nothing is served or loaded, and what cannot be loaded still cannot.
    fn restart(&mut self) {
        let read = self.events.iter().map(|it| {
            let text = serde_json::to_string(it).expect("JSON");
            serde_json::from_str::<Event>(&text).expect("an event")
        });
        let events: Vec<Event> = read.collect();
        let plan = self.rollout.plan.clone();
        self.rollout = Rollout::replay(plan, &events).expect("its own events");
        self.facts.serving = None;
        for loaded in [&mut self.facts.incumbent, &mut self.facts.candidate] {
            if *loaded == Loaded::Ready {
                *loaded = Loaded::Absent;
            }
        }
    }

    /// Time passes and nothing else: what loads now is loaded or not, what cannot be loaded never can, and nothing more is
    /// measured.
    fn age(&mut self, loads: bool) {
        for it in [&mut self.facts.incumbent, &mut self.facts.candidate] {
            if *it == Loaded::Loading {
                *it = loaded(if loads { 3 } else { 2 });
            }
        }
        for _ in 0..40 {
            self.look();
            self.now = match self.rollout.next(&self.facts, self.now) {
                Next::Over | Next::Wait { until: None } => return,
                Next::Wait { until: Some(until) } => until,
                // It is tried again in a day.
                _ => self.now.after(std::time::Duration::from_secs(86_400)),
            };
        }
    }

    /// Whether it goes back to what cannot be loaded from what still answers: then who hears that is not cut off.
    fn has_nothing_to_go_back_to(&self) -> bool {
        let shares = self.facts.serving.as_ref().map(|it| it.split.shares());
        matches!(self.rollout.progress.state, State::RollingBack { .. })
            && matches!(self.facts.incumbent, Loaded::Failed { .. })
            && self.facts.candidate == Loaded::Ready
            && shares.is_some_and(|it| it.iter().any(|it| it.1 == version(4)))
    }

    /// Everything is well again, though nothing is measured.
    fn heal(&mut self) {
        self.facts.incumbent = Loaded::Ready;
        self.facts.candidate = Loaded::Ready;
        self.facts.evidence = Evidence::default();
        self.look();
    }

    /// Whatever it waits for, no time before that moves it; and none at all where it waits for none.
    fn check_wait(&self) -> Result<(), TestCaseError> {
        let waits = self.rollout.next(&self.facts, self.now);
        let Next::Wait { until } = waits else {
            return Ok(());
        };
        let year = self.now.0 + 365 * 86_400_000;
        let end = match until {
            Some(until) => {
                prop_assert!(until > self.now);
                until.0 - 1
            }
            None => year,
        };
        for at in [self.now.0 + 1, self.now.0.midpoint(end), end] {
            let at = Moment(at.min(end));
            let next = self.rollout.next(&self.facts, at);
            prop_assert_eq!(&next, &waits, "at {}", at);
        }
        Ok(())
    }

    /// Whether all that is to be served is ready.
    fn can_answer(&self) -> bool {
        let versions = self.rollout.traffic().versions();
        versions.into_iter().all(|it| match it == version(4) {
            true => self.facts.candidate == Loaded::Ready,
            false => self.facts.incumbent == Loaded::Ready,
        })
    }

    fn is_over(&self) -> bool {
        self.rollout.progress.state.is_over()
    }
}

/// What must be so of each event, when it is followed.
fn check_event(before: &Rollout, event: &Event) -> Result<(), TestCaseError> {
    let name = event.to.name();
    prop_assert_eq!(State::OVER.contains(&name), event.to.is_over());
    prop_assert_eq!(State::UNDER_WAY.contains(&name), !event.to.is_over());
    let by_rules = event.why == Why::Rules;
    let waited_ms = event.at.0 - before.progress.since.0;
    match (&event.from, &event.to) {
        (State::Step { index, .. }, State::Step { index: next, .. }) if next > index => {
            prop_assert_eq!(*next, index + 1);
            let approved = matches!(event.from.phase(), Some(Phase::AwaitingApproval));
            prop_assert!(approved || waited_ms >= HOLD_MIN_MS);
        }
        (from, State::Promoting) if by_rules => {
            prop_assert!(waited_ms >= HOLD_MIN_MS);
            let is_last = matches!(from, State::Step { index: 1, .. });
            prop_assert!(is_last);
            let error_rate = event.evidence.of(Role::Guardrail, "error_rate");
            let waived = |it: &str| before.progress.waived.iter().any(|name| name == it);
            let passed = error_rate.is_some_and(|it| it.verdict == Verdict::Pass);
            prop_assert!(passed || waived("error_rate"), "{:?}", event);
            for test in &event.evidence.tests {
                let fails = test.verdict == Verdict::Fail && test.role == Role::Guardrail;
                prop_assert!(!fails, "{:?}", event);
            }
        }
        _ => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_split_is_the_stored_one_and_every_rollout_ends(
        spec in spec(),
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut world = World::new(plan(&spec));
        world.look();
        for happening in &happenings {
            world.happen(happening);
            world.check_wait()?;
            if world.can_answer() && !world.is_over() {
                prop_assert_eq!(world.facts.serving.as_ref(), Some(&world.rollout.traffic()));
            }
        }

        // The events are the rollout, also after they were on a disk.
        let plan = world.rollout.plan.clone();
        let mut replayed = Rollout::new(plan);
        for event in &world.events {
            let text = serde_json::to_string(event).expect("JSON");
            let read: Event = serde_json::from_str(&text).expect("an event");
            prop_assert_eq!(&read, event);
            check_event(&replayed, event)?;
            prop_assert!(replayed.apply(&read).is_ok());
            let sentence = event.sentence(&replayed.plan);
            prop_assert!(!sentence.contains("NaN") && !sentence.contains("inf "), "{}", sentence);
        }
        prop_assert_eq!(&replayed, &world.rollout);

        // A person can end it.
        if !world.is_over() {
            let mut ended = World::new(world.rollout.plan.clone());
            ended.rollout = world.rollout.clone();
            (ended.facts, ended.now) = (world.facts.clone(), world.now);
            let abort = ended.rollout.command(Deed::Abort, person("ann", ""), &Evidence::default(), ended.now);
            let goes_back = ended.rollout.progress.state.name() == "rolling_back";
            ended.follow(abort.expect("every live state obeys"));
            ended.heal();
            prop_assert!(ended.is_over());
            // What is over is routed by whoever loads its incumbent at last.
            if !goes_back {
                prop_assert_eq!(ended.facts.serving, Some(Traffic::all(version(3))));
            }
        }

        // Time ends it, unless it was asked to hold.
        world.heal();
        for _ in 0..4 {
            world.now.0 += 8 * 86_400_000;
            world.look();
        }
        let holds = world.rollout.plan.spec().on_timeout == crate::rollout::spec::OnTimeout::Hold;
        let phase = world.rollout.progress.state.phase();
        let waits = matches!(phase, Some(Phase::Holding(Hold::Deadline | Hold::Paused { .. })));
        prop_assert!(world.is_over() || (holds && waits), "{:?}", world.rollout.progress);
    }

    /// Before an event, between it and its traffic, after that: what was done is done, what was not is, and nothing is served
    /// but what is stored.
    #[test]
    fn wherever_a_process_ends_the_next_one_goes_on_there(
        spec in spec(),
        happenings in prop::collection::vec((happening(), 0usize..6), 0..40),
    ) {
        let mut world = World::new(plan(&spec));
        world.look();
        for (happening, steps) in &happenings {
            let mut killed = world.clone();
            killed.bring(happening);
            let mut done = Vec::new();
            while done.len() < *steps && killed.step(&mut done) {}
            let before = killed.rollout.clone();
            killed.restart();
            prop_assert_eq!(&killed.rollout, &before);
            killed.look();
            world.happen(happening);
            // What cannot be loaded is served for as long as it answers, and then no longer.
            if !matches!(world.facts.incumbent, Loaded::Failed { .. }) {
                prop_assert_eq!(&killed.events, &world.events);
                prop_assert_eq!(&killed.rollout, &world.rollout);
                let serves = killed.facts.serving.is_some() || killed.can_answer();
                if serves && !world.is_over() {
                    prop_assert_eq!(&killed.facts.serving, &world.facts.serving);
                }
            }
        }
    }

    /// Time ends it, or it waits for a person as it was asked to, who ends it.
    #[test]
    fn nothing_that_stays_as_it_is_keeps_a_rollout_for_ever(
        spec in spec(),
        happenings in prop::collection::vec(happening(), 0..40),
        loads in any::<bool>(),
    ) {
        let mut world = World::new(plan(&spec));
        world.look();
        happenings.iter().for_each(|it| world.happen(it));
        world.age(loads);
        let state = &world.rollout.progress.state;
        if matches!(state.phase(), Some(Phase::Holding(Hold::Deadline | Hold::Paused { .. }))) {
            let holds = world.rollout.plan.spec().on_timeout == crate::rollout::spec::OnTimeout::Hold;
            prop_assert!(holds, "{:?}", state);
            let evidence = world.facts.evidence.clone();
            let abort = world.rollout.command(Deed::Abort, person("ann", ""), &evidence, world.now);
            world.follow(abort.expect("a person ends what holds"));
            world.age(loads);
        }
        if world.has_nothing_to_go_back_to() {
            let evidence = world.facts.evidence.clone();
            let abort = world.rollout.command(Deed::Abort, person("ann", ""), &evidence, world.now);
            world.follow(abort.expect("a person ends it"));
        }
        prop_assert!(world.is_over(), "{:?} {:?}", world.rollout.progress, world.facts);
    }
}
