//! Rollouts on a machine that is as busy as it can be: callers who each ask again as soon as they are answered, two
//! versions with a queue each that share its processor, and half of the requests for each.

use std::collections::VecDeque;

use serde_json::{Value, json};
use stats::random::Random;
use stats::sequential::clustered::{ClusteredRates, Waves};
use stats::sequential::proportion::Tally;
use stats::sequential::rates::Rates;
use stats::sequential::{Risks, Verdict};

use crate::{share, spread};

const SECONDS: u64 = 1_200;
/// When a candidate that turns slower does.
const LATER: u64 = 300;
/// How long the incumbent alone is watched, for the budget: its 99th percentile.
const BEFORE: f64 = 60.0;
/// As by default.
const MARGIN: f64 = 0.02;
/// Two guardrails share 1 %.
const RISKS: Risks = Risks {
    fail: 0.005,
    pass: 0.01,
};
/// As the server has it for latency, in seconds.
const WAVES: Waves = Waves {
    usual: 5,
    longest: 20,
};

/// Callers and runs: one of `n` rows takes `fixed + n * row` seconds of the processor, `rows` at most.
#[derive(Clone, Copy)]
struct Machine {
    callers: usize,
    fixed: f64,
    row: f64,
    rows: usize,
}

/// Callers, and two versions that answer them.
struct World {
    random: Random,
    machine: Machine,
    now: f64,
    /// The candidate takes so many times as long.
    slower: f64,
    /// The share of the candidate, the first.
    weight: f64,
    /// When the requests came that wait.
    queues: [VecDeque<f64>; 2],
    /// What is left of a run, and when its requests came.
    runs: [Option<(f64, Vec<f64>)>; 2],
}

impl World {
    fn new(seed: u64, machine: Machine, weight: f64) -> Self {
        let mut world = Self {
            random: Random::new(seed),
            machine,
            now: 0.0,
            slower: 1.0,
            weight,
            queues: Default::default(),
            runs: [None, None],
        };
        (0..machine.callers).for_each(|_| world.ask());
        world
    }

    fn ask(&mut self) {
        let version = usize::from(self.random.uniform() >= self.weight);
        self.queues[version].push_back(self.now);
    }

    /// Goes on until a run ends: its version, and how long each of its requests took.
    fn step(&mut self) -> (usize, Vec<f64>) {
        for version in 0..2 {
            let waiting = self.queues[version].len().min(self.machine.rows);
            if self.runs[version].is_none() && waiting > 0 {
                let came = self.queues[version].drain(..waiting).collect();
                let takes = self.machine.fixed + self.machine.row * waiting as f64;
                let slower = [self.slower, 1.0][version];
                let varies = 0.9 + 0.2 * self.random.uniform();
                self.runs[version] = Some((takes * slower * varies, came));
            }
        }
        let left = |it: &Option<(f64, Vec<f64>)>| it.as_ref().map_or(f64::INFINITY, |it| it.0);
        let ends = usize::from(left(&self.runs[0]) > left(&self.runs[1]));
        let both = self.runs.iter().all(Option::is_some);
        let Some((takes, came)) = self.runs[ends].take() else {
            return (ends, Vec::new());
        };
        // Two runs have half of the processor each.
        self.now += if both { 2.0 * takes } else { takes };
        if let Some(other) = &mut self.runs[1 - ends] {
            other.0 -= takes;
        }
        came.iter().for_each(|_| self.ask());
        (ends, came.iter().map(|it| self.now - it).collect())
    }

    /// What ends until then, by version, and what of it took longer than the budget.
    fn until(&mut self, end: f64, budget: f64) -> [Tally; 2] {
        let mut tallies = [Tally::default(); 2];
        while self.now < end {
            let (version, took) = self.step();
            let over = took.iter().filter(|it| **it > budget).count();
            let new = Tally::new(took.len() as u64, over as u64);
            tallies[version] = tallies[version].plus(new);
        }
        tallies
    }
}

fn budget(seed: u64, machine: Machine) -> f64 {
    let mut alone = World::new(seed, machine, 0.0);
    let mut took = Vec::new();
    while alone.now < BEFORE {
        took.extend(alone.step().1);
    }
    took.sort_by(f64::total_cmp);
    took[took.len() * 99 / 100]
}

fn told(runs: usize, seed: u64, name: &str, machine: Machine, (slower, from): (f64, u64)) -> Value {
    let mut over = [0.0; 2];
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for run in 0..runs as u64 {
        let seed = (seed * 1_000_003 + run) * 2;
        let budget = budget(seed, machine);
        let mut world = World::new(seed + 1, machine, 0.5);
        let (mut plain, mut clustered) = (Rates::new(MARGIN), ClusteredRates::new(MARGIN, WAVES));
        let (mut failed, mut failed_together) = (None, None);
        for second in 0..SECONDS {
            let end = (second + 1) as f64;
            if second == from {
                world.slower = slower;
            }
            let [candidate, control] = world.until(end, budget);
            plain.add(candidate, control);
            clustered.add(second, candidate, control);
            let is_failed = |verdict| verdict == Verdict::Fail;
            if is_failed(plain.read(RISKS).verdict) {
                failed.get_or_insert(end);
            }
            if is_failed(clustered.read(RISKS).verdict) {
                failed_together.get_or_insert(end);
            }
        }
        over[0] += plain.candidate.share() / runs as f64;
        over[1] += plain.control.share() / runs as f64;
        alone.extend(failed);
        together.extend(failed_together);
    }
    json!({
        "name": name,
        "slower": slower,
        "from": from,
        "over": over,
        "alone": {"rolled_back": share(alone.len(), runs), "seconds": spread(alone, runs)},
        "together": {"rolled_back": share(together.len(), runs), "seconds": spread(together, runs)},
    })
}

/// Nothing is wrong with the candidate, or it is slower.
pub(crate) fn all(runs: usize) -> Vec<Value> {
    let machine = |callers, fixed, row, rows| Machine {
        callers,
        fixed,
        row,
        rows,
    };
    let machines = [
        ("8 callers, 10 ms a request", machine(8, 0.0, 0.01, 1)),
        (
            "32 callers, runs of all that wait, 10 ms and 6 ms a row",
            machine(32, 0.01, 0.006, 64),
        ),
        ("32 callers, runs of 8 at most", machine(32, 0.01, 0.006, 8)),
        ("64 callers, 2 ms a request", machine(64, 0.0, 0.002, 1)),
    ];
    let mut all = Vec::new();
    for (place, (name, machine)) in machines.into_iter().enumerate() {
        for (kind, harm) in [(1.0, 0), (1.5, 0), (1.5, LATER)].into_iter().enumerate() {
            let seed = 61 + (3 * place + kind) as u64;
            all.push(told(runs, seed, name, machine, harm));
        }
    }
    all
}
