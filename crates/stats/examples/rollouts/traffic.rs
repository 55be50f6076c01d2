//! Rollouts under load: a thousand requests a minute, 1, 5 and 25 % for an hour each, then 50 % for three, with a
//! control of the same size.

use std::f64::consts::TAU;

use serde_json::{Value, json};
use stats::random::Random;
use stats::sequential::clustered::ClusteredRates;
use stats::sequential::proportion::Tally;
use stats::sequential::{Risks, Verdict};

use crate::ways::{self, Arm, Minute, PARTS, WAVES, sum};
use crate::{events, share, spread};

const REQUESTS: u64 = 1_000;
const MINUTES: u64 = 360;
/// Of 20 answers one has a label.
const LABELS: u64 = 20;
const SLOW: f64 = 0.003;

fn weight(minute: u64) -> f64 {
    [0.01, 0.05, 0.25, 0.5, 0.5, 0.5][minute as usize / 60]
}

/// Error rates of the candidate and of the incumbent.
type Truth<'a> = dyn Fn(u64) -> (f64, f64) + 'a;

fn minute(random: &mut Random, at: u64, truth: &Truth<'_>) -> Minute {
    let weight = weight(at);
    let (rate, rate_incumbent) = truth(at);
    let (mut candidate, mut control, mut rest) = ([0; PARTS], [0; PARTS], [0; PARTS]);
    for request in 0..REQUESTS as usize {
        let (part, roll) = (request * PARTS / REQUESTS as usize, random.uniform());
        let is_candidate = roll < weight;
        let is_control = roll >= 1.0 - weight;
        candidate[part] += u64::from(is_candidate);
        control[part] += u64::from(is_control);
        rest[part] += u64::from(!is_candidate && !is_control);
    }
    let mut arm = |units: [u64; PARTS], rate: f64| Arm {
        errors: units.map(|it| Tally::new(it, events(random, it, rate))),
        slow: units.map(|it| Tally::new(it, events(random, it, SLOW))),
        // Log-losses are skewed to the right.
        losses: (0..events(random, units.iter().sum(), 1.0 / LABELS as f64))
            .map(|_| 0.3 * random.normal().exp())
            .collect(),
    };
    Minute {
        candidate: arm(candidate, rate),
        control: arm(control, rate_incumbent),
        rest: arm(rest, rate_incumbent),
    }
}

/// When a way rolled back: after how many minutes, and after how many of the candidate's requests.
struct End {
    minutes: f64,
    candidate: f64,
}

/// The ends of each way, of all runs.
fn ends(runs: usize, seed: u64, truth: &Truth<'_>) -> Vec<(&'static str, Vec<End>)> {
    let mut all: Vec<_> = ways::all().iter().map(|it| (it.0, Vec::new())).collect();
    for run in 0..runs {
        let mut random = Random::new(seed * 1_000_003 + run as u64);
        let mut ways = ways::all();
        let mut ended = vec![false; ways.len()];
        let mut candidate = 0.0;
        for at in 0..MINUTES {
            let minute = minute(&mut random, at, truth);
            candidate += sum(minute.candidate.errors).units as f64;
            for (place, (_, way)) in ways.iter_mut().enumerate() {
                if !ended[place] && way(&minute) {
                    ended[place] = true;
                    all[place].1.push(End {
                        minutes: (at + 1) as f64,
                        candidate,
                    });
                }
            }
            if ended.iter().all(|it| *it) {
                break;
            }
        }
    }
    all
}

fn told(runs: usize, seed: u64, name: &str, truth: &Truth<'_>) -> Value {
    let ways = ends(runs, seed, truth).into_iter().map(|(way, ends)| {
        let of = |part: fn(&End) -> f64| spread(ends.iter().map(part).collect(), runs);
        let told = json!({
            "rolled_back": share(ends.len(), runs),
            "minutes": of(|it| it.minutes),
            "candidate": of(|it| it.candidate),
        });
        (way.to_owned(), told)
    });
    let ways: serde_json::Map<_, _> = ways.collect();
    json!({"name": name, "ways": ways})
}

/// Nothing is wrong with the candidate.
pub(crate) fn sound(runs: usize) -> Vec<Value> {
    let same = |rate: f64| (rate, rate);
    vec![
        told(runs, 1, "1 % throughout", &|_| same(0.01)),
        told(runs, 2, "0.01 % throughout", &|_| same(0.000_1)),
        told(runs, 3, "a wave, 0.5 to 2 %", &|at| {
            same(0.0125 - 0.0075 * (TAU * at as f64 / 240.0).cos())
        }),
        told(runs, 4, "rises from 5 to 15 % with the ramp", &|at| {
            same(0.05 + 0.1 * at as f64 / MINUTES as f64)
        }),
        told(runs, 5, "1 %, but 20 % for 5 minutes of each hour", &|at| {
            same(if at % 60 >= 40 && at % 60 < 45 {
                0.2
            } else {
                0.01
            })
        }),
    ]
}

/// The candidate has more errors.
pub(crate) fn harm(runs: usize) -> Vec<Value> {
    vec![
        told(runs, 11, "1 % to 2 %", &|_| (0.02, 0.01)),
        told(runs, 12, "1 % to 5 %", &|_| (0.05, 0.01)),
        told(runs, 13, "1 % to 30 %", &|_| (0.3, 0.01)),
        told(runs, 14, "0.1 % to 0.5 %", &|_| (0.005, 0.001)),
        told(
            runs,
            16,
            "1 % to 5 %, but not before the fourth hour",
            &|at| (if at < 180 { 0.01 } else { 0.05 }, 0.01),
        ),
        told(runs, 15, "5 % to 15 % in both, and 2 points more", &|at| {
            let rate = 0.05 + 0.1 * at as f64 / MINUTES as f64;
            (rate + 0.02, rate)
        }),
    ]
}

/// When a candidate is shown not to be worse by more than a margin, at 1 %.
pub(crate) fn passing(runs: usize) -> Vec<Value> {
    let risks = Risks {
        fail: 0.01,
        pass: 0.01,
    };
    let passed = |seed: u64, margin: f64, rate: f64| {
        let mut requests = Vec::new();
        for run in 0..runs {
            let mut random = Random::new(seed * 1_000_003 + run as u64);
            let mut rates = ClusteredRates::new(margin, WAVES);
            let found = (0..MINUTES).find(|at| {
                for part in 0..PARTS as u64 {
                    let minute = (REQUESTS as f64 * weight(*at)) as u64;
                    let until = |it| minute * it / PARTS as u64;
                    let units = until(part + 1) - until(part);
                    let mut tally = |rate| Tally::new(units, events(&mut random, units, rate));
                    let candidate = tally(rate);
                    rates.add(at * PARTS as u64 + part, candidate, tally(0.01));
                }
                rates.read(risks).verdict == Verdict::Pass
            });
            requests.extend(found.map(|at| ((at + 1) * REQUESTS) as f64));
        }
        (requests.len(), spread(requests, runs))
    };
    let margins = [(21, 0.002), (22, 0.005), (23, 0.01)];
    let told = margins.map(|(seed, margin)| {
        let (same, requests) = passed(seed, margin, 0.01);
        let (worse, _) = passed(seed + 10, margin, 0.01 + margin);
        json!({
            "margin": margin,
            "passed": share(same, runs),
            "requests": requests,
            "wrongly": share(worse, runs),
        })
    });
    told.into()
}
