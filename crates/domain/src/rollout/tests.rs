use super::command::{Deed, Person};
use super::decide::{Facts, Loaded, Next};
use super::evidence::{Evidence, Figure, Interval, Role, SplitCheck, Tested, Verdict};
use super::plan::{Ask, Plan, Rollout};
use super::recorded::Recorded;
use super::spec::Spec;
use super::state::{Hold, Phase, State};
use super::traffic::Traffic;
use super::*;
use crate::alert::Moment;
use crate::manifest::Span;
use crate::name::Version;
use crate::refusal::Refusal;
use crate::signature::{Dimension, Rows, Signature, TensorSpec};
use crate::task::Task;
use crate::tensor::DataType;

mod any;
mod moves;
mod told;

/// When every rollout here starts.
const START: Moment = Moment(1_800_000_000_000);

fn version(number: u32) -> Version {
    Version::new(number).expect("not zero")
}

fn person(who: &str, why: &str) -> Person {
    Person {
        who: who.to_owned(),
        why: why.to_owned(),
    }
}

fn binary() -> Task {
    serde_json::from_str(r#"{"type":"binary","positive":"bad","scores":"p"}"#).expect("a task")
}

fn signature(inputs: &[(&str, DataType, usize)]) -> Signature {
    let inputs = inputs.iter().map(|(name, datatype, width)| TensorSpec {
        name: (*name).to_owned(),
        datatype: *datatype,
        shape: vec![Dimension::Variable(None), Dimension::Fixed(*width)],
        features: Vec::new(),
    });
    Signature {
        inputs: inputs.collect(),
        outputs: Vec::new(),
        rows: Rows::Outermost,
        task: Some(binary()),
    }
}

/// `credit:4` in place of `credit:3`, of a model whose predictions are recorded.
fn ask(
    signatures: (&Signature, &Signature),
    spec: Spec,
    live: Option<&Rollout>,
    change: impl FnOnce(&mut Ask),
) -> Result<Plan, Refusal> {
    let task = binary();
    let mut ask = Ask {
        id: "r-1".parse().expect("an id"),
        model: "credit".parse().expect("a name"),
        incumbent: Some(version(3)),
        candidate: version(4),
        signatures,
        spec,
        recorded: Recorded {
            ledger: true,
            prices: false,
            task: Some(&task),
            columns: None,
            posted: &[],
            latency: Some(std::time::Duration::from_millis(20)),
            labelled: 400,
        },
        person: person("ann", ""),
        now: START,
    };
    change(&mut ask);
    Plan::new(ask, live)
}

fn ask_alike(
    spec: Spec,
    live: Option<&Rollout>,
    change: impl FnOnce(&mut Ask),
) -> Result<Plan, Refusal> {
    let signature = signature(&[("x", DataType::Fp32, 3)]);
    ask((&signature, &signature), spec, live, change)
}

fn plan(spec: &str) -> Plan {
    let spec = serde_json::from_str(spec).expect("a spec");
    ask_alike(spec, None, |_| ()).expect("it can be done")
}

/// A rollout and the world that it is in, which does what it is told.
#[derive(Clone)]
struct World {
    rollout: Rollout,
    facts: Facts,
    now: Moment,
    events: Vec<Event>,
    /// When it wants to be looked at again; none where no time moves it.
    until: Option<Moment>,
}

impl World {
    fn new(plan: Plan) -> Self {
        Self {
            rollout: Rollout::new(plan),
            facts: Facts {
                incumbent: Loaded::Ready,
                candidate: Loaded::Absent,
                serving: None,
                learned: false,
                evidence: Evidence::default(),
            },
            now: START,
            events: Vec::new(),
            until: None,
        }
    }

    fn follow(&mut self, event: Event) {
        let stage = |it: &State| it.in_phase(Phase::Progressing);
        if stage(&event.to) != stage(&event.from) {
            // What is counted in a stage.
            let evidence = &mut self.facts.evidence;
            (evidence.keys, evidence.shadowed, evidence.split) = (0, 0, None);
        }
        self.rollout.apply(&event).expect("the next event");
        self.events.push(event);
    }

    /// Does what is next until there is nothing but to wait. Tells what was done.
    fn look(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        while self.step(&mut done) {
            assert!(done.len() < 30, "does not come to rest: {done:?}");
        }
        done
    }

    /// Does what is next; whether there was anything that can be done.
    fn step(&mut self, done: &mut Vec<String>) -> bool {
        match self.rollout.next(&self.facts, self.now) {
            Next::Append(event) => {
                done.push(match &event.why {
                    event::Why::ClockSetBack { ms } => format!("clock back {}s", ms / 1000),
                    _ => short(&event.to),
                });
                self.follow(event);
            }
            Next::Route(traffic) => {
                assert_eq!(traffic, self.rollout.traffic());
                done.push(served(&traffic));
                self.facts.serving = Some(traffic);
            }
            Next::Load(it) => {
                let loaded = match it == version(4) {
                    true => &mut self.facts.candidate,
                    false => &mut self.facts.incumbent,
                };
                done.push(format!("load {it}"));
                if matches!(loaded, Loaded::Failed { .. }) {
                    return false;
                }
                *loaded = Loaded::Ready;
            }
            Next::Wait { until } => {
                assert!(until.is_none_or(|it| it > self.now), "{until:?}");
                self.until = until;
                return false;
            }
            Next::Over => return false,
        }
        true
    }

    fn act(&mut self, words: &[&str]) -> String {
        let role = |it: &str| match it {
            "guardrail" => Role::Guardrail,
            _ => Role::Signal,
        };
        let evidence = &mut self.facts.evidence;
        match words {
            ["look"] => {}
            ["keys", count] => evidence.keys = count.parse().expect("a count"),
            ["shadowed", count] => evidence.shadowed = count.parse().expect("a count"),
            ["split", e_value] => {
                evidence.split = Some(SplitCheck {
                    candidate: 1200,
                    control: 900,
                    e_value: e_value.parse().expect("a number"),
                });
            }
            ["counted", "anew"] => evidence.split = None,
            ["learned"] => self.facts.learned = true,
            [kind @ ("guardrail" | "signal"), name @ .., verdict] => {
                let tested = tested(role(kind), &name.join(" "), verdict);
                let tests = &mut evidence.tests;
                tests.retain(|it| it.role != tested.role || it.name != tested.name);
                tests.push(tested);
            }
            [who @ ("incumbent" | "candidate"), state] => {
                let state = match *state {
                    "failed" => Loaded::Failed {
                        why: "out of memory".to_owned(),
                    },
                    "absent" => Loaded::Absent,
                    "loading" => Loaded::Loading,
                    _ => Loaded::Ready,
                };
                match *who {
                    "incumbent" => self.facts.incumbent = state,
                    _ => self.facts.candidate = state,
                }
            }
            ["restart"] => {
                self.facts.serving = None;
                self.facts.candidate = Loaded::Absent;
                let plan = self.rollout.plan.clone();
                let again = Rollout::replay(plan, &self.events).expect("its own events");
                assert_eq!(again, self.rollout);
            }
            [who, deed @ ..] => {
                let deed = match deed {
                    ["approves"] => Deed::Approve,
                    ["pauses"] => Deed::Pause,
                    ["resumes"] => Deed::Resume,
                    ["promotes"] => Deed::Promote,
                    ["aborts"] => Deed::Abort,
                    ["brings", number] => Deed::Supersede {
                        by: number.parse().expect("a version"),
                    },
                    _ => panic!("{words:?}"),
                };
                let by = person(who, "");
                match self
                    .rollout
                    .command(deed, by, &self.facts.evidence, self.now)
                {
                    Err(refusal) => return format!("refused: {refusal}"),
                    Ok(event) => {
                        let first = short(&event.to);
                        self.follow(event);
                        let rest = self.look();
                        let all = std::iter::once(first).chain(rest);
                        return all.collect::<Vec<_>>().join(", ");
                    }
                }
            }
            [] => panic!("no command"),
        }
        self.look().join(", ")
    }
}

fn tested(role: Role, name: &str, verdict: &str) -> Tested {
    let (verdict, events) = match verdict {
        "pass" => (Verdict::Pass, 10),
        "fail" => (Verdict::Fail, 41),
        "inconclusive" => (Verdict::Inconclusive, 15),
        "nodata" => (Verdict::NoData, 0),
        errors => {
            let looks = errors.strip_prefix("error").expect("a verdict");
            let looks = looks.parse().expect("a count");
            let why = "the ledger did not answer".to_owned();
            (Verdict::Error { why, looks }, 0)
        }
    };
    let figure = |events| Figure {
        n: 1000,
        events: Some(events),
        value: None,
    };
    Tested {
        role,
        name: name.to_owned(),
        verdict,
        candidate: figure(events),
        control: Some(figure(10)),
        e_value: Some(4210.4),
        interval: Some(Interval {
            low: 0.012,
            high: 0.049,
        }),
    }
}

fn short(state: &State) -> String {
    let name = match state {
        State::Step { index, .. } => format!("step {}", index + 1),
        other => other.name().to_owned(),
    };
    match state.phase() {
        None | Some(Phase::Progressing) => name,
        Some(Phase::AwaitingApproval) => format!("{name} awaits"),
        Some(Phase::Holding(hold)) => {
            let why = match hold {
                Hold::Signal { test } => format!("signal {test}"),
                Hold::Mismatch => "mismatch".to_owned(),
                Hold::NoData { test } => format!("no data {test}"),
                Hold::Errors { test } => format!("errors {test}"),
                Hold::Incumbent => "incumbent".to_owned(),
                Hold::Paused { person } => format!("paused by {}", person.who),
                Hold::Deadline => "deadline".to_owned(),
            };
            format!("{name} holds: {why}")
        }
    }
}

/// `serve 4 5%, 3 90%, 3 5%` without the commas.
fn served(traffic: &Traffic) -> String {
    let shares = traffic.split.shares();
    let parts: Vec<String> = shares
        .iter()
        .map(|(_, version, share)| format!("{version}:{}%", f64::from(*share) / 100.0))
        .collect();
    let shadow = traffic
        .shadow
        .map(|it| format!(" shadow {} {}", it.version, it.sample))
        .unwrap_or_default();
    format!("serve {}{shadow}", parts.join(" "))
}

/// Lines of `TIME COMMAND => what was done`; the time is that since the start.
fn check(spec: &str, script: &str) -> World {
    let mut world = World::new(plan(spec));
    for line in script.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let (left, want) = line.split_once("=>").expect("an expectation");
        let mut words = left.split_whitespace();
        let time: Span = words.next().expect("a time").parse().expect("a time");
        world.now = START.after(time.0);
        let words: Vec<&str> = words.collect();
        assert_eq!(world.act(&words), want.trim(), "{line}");
        let replayed = Rollout::replay(world.rollout.plan.clone(), &world.events);
        assert_eq!(replayed.as_ref(), Ok(&world.rollout), "{line}");
    }
    world
}

/// One step, no shadow and no signals.
const PLAIN: &str = r#"{"shadow":"off","steps":["10%"],"signals":[],
    "guardrails":[{"metric":"error_rate","worse_by":"0.5pp"}]}"#;

/// To the only step of [`PLAIN`], with data.
const BEGUN: &str = "
    0s  look => serve 3:100%, validating, load 4, step 1, serve 4:10% 3:80% 3:10%
    1m  guardrail error_rate inconclusive =>
";

fn begun(script: &str) -> World {
    check(PLAIN, &format!("{BEGUN}{script}"))
}
