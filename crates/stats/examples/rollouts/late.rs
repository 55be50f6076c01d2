//! Rollouts of a model that is worse at telling apart what it should, while labels come a day late: thirty requests a
//! minute, 1, 5 and 25 % for an hour each, then 50 % until the deadline of seven days.
//!
//! One label of five is positive. The incumbent's score is normal with variance 1 around 0 or 1.19, so its AUC is 0.80;
//! the candidate's is the same with noise, and its AUC 0.78. Both give the true probability of their score, so error
//! codes, latency and the mean of the predictions are what they were.

use serde_json::{Value, json};
use stats::random::Random;
use stats::sequential::bounded::Bounded;
use stats::sequential::means::Means;
use stats::sequential::proportion::Tally;
use stats::sequential::rates::Rates;
use stats::sequential::{Risks, Verdict};

use crate::{share, spread, ways};

const REQUESTS: u64 = 30;
/// A look every ten minutes.
const LOOK: u64 = 10;
const DAY: u64 = 1_440;
const POSITIVE: f64 = 0.2;
/// Three guardrails share 1 %.
const ALPHA: f64 = 0.01 / 3.0;

fn weight(minute: u64) -> f64 {
    [0.01, 0.05, 0.25]
        .get(minute as usize / 60)
        .copied()
        .unwrap_or(0.5)
}

/// A model of an AUC, as noise upon the incumbent's score.
struct Model {
    noise: f64,
    distance: f64,
}

impl Model {
    fn of(auc: f64, incumbent: f64) -> Self {
        let distance = |auc: f64| 2f64.sqrt() * stats::interval::normal_quantile(auc);
        let (own, best) = (distance(auc), distance(incumbent));
        Self {
            noise: (best * best / (own * own) - 1.0).max(0.0).sqrt(),
            distance: own,
        }
    }

    /// The probability that the label is positive, from the incumbent's score. What it is given has a variance of
    /// 1 + noise^2 around 0 or around the incumbent's distance.
    fn probability(&self, score: f64, random: &mut Random) -> f64 {
        let scale = (1.0 + self.noise * self.noise).sqrt();
        let noisy = if self.noise > 0.0 {
            (score + self.noise * random.normal()) / scale
        } else {
            score
        };
        let odds = (POSITIVE / (1.0 - POSITIVE)).ln() + self.distance * noisy
            - self.distance * self.distance / 2.0;
        1.0 / (1.0 + (-odds).exp())
    }
}

/// A row whose label has come.
struct Row {
    positive: bool,
    /// By the arm's own model.
    probability: f64,
    /// By the incumbent's.
    incumbent: f64,
}

impl Row {
    fn drawn(model: &Model, incumbent: &Model, random: &mut Random) -> Self {
        let positive = random.uniform() < POSITIVE;
        let middle = if positive { incumbent.distance } else { 0.0 };
        let score = middle + random.normal();
        Self {
            positive,
            probability: model.probability(score, random),
            incumbent: incumbent.probability(score, random),
        }
    }

    fn log_loss(&self) -> f64 {
        let right = if self.positive {
            self.probability
        } else {
            1.0 - self.probability
        };
        -right.ln()
    }

    /// By how much the squared error of the candidate is greater; from -1 to 1.
    fn difference(&self) -> f64 {
        let truth = f64::from(self.positive);
        (self.probability - truth).powi(2) - (self.incumbent - truth).powi(2)
    }
}

/// Pairs of a positive row with the next negative one: how many, and in how many the negative one scored higher. The
/// share of those is 1 - AUC, so a loss of AUC is a difference of rates.
#[derive(Default)]
struct Ordering {
    waiting: Option<f64>,
    window: Tally,
}

impl Ordering {
    fn add(&mut self, row: &Row) {
        if row.positive {
            self.waiting = Some(row.probability);
        } else if let Some(positive) = self.waiting.take() {
            let wrong = u64::from(positive < row.probability);
            self.window = self.window.plus(Tally::new(1, wrong));
        }
    }
}

const WAYS: [&str; 4] = [
    "log-loss against the control",
    "AUC against the control",
    "paired with the incumbent's shadow answers",
    "peeked z of the log-loss",
];

/// When each way rolled back: minutes and labelled rows of the candidate.
fn run(random: &mut Random, auc: f64, days: u64) -> [Option<(f64, f64)>; 4] {
    let risks = Risks {
        fail: ALPHA,
        pass: 0.01,
    };
    let (incumbent, candidate) = (Model::of(0.8, 0.8), Model::of(auc, 0.8));
    let mut losses = Means::new(0.0, 20_000);
    let mut ordered = Rates::new(0.0);
    let mut paired = Bounded::new(ALPHA);
    let (mut pairs, mut pairs_control) = (Ordering::default(), Ordering::default());
    let z = stats::interval::normal_quantile(1.0 - ALPHA);
    let mut ends = [None; 4];
    let mut rows = 0.0;
    // What was asked at `at` has its label a day later.
    for at in 0..(days - 1) * DAY {
        for _ in 0..REQUESTS {
            let (roll, weight) = (random.uniform(), weight(at));
            if roll < weight {
                let row = Row::drawn(&candidate, &incumbent, random);
                rows += 1.0;
                losses.candidate.add(row.log_loss());
                pairs.add(&row);
                paired.add_difference(row.difference());
            } else if roll >= 1.0 - weight {
                let row = Row::drawn(&incumbent, &incumbent, random);
                losses.control.add(row.log_loss());
                pairs_control.add(&row);
            }
        }
        if at % LOOK != LOOK - 1 {
            continue;
        }
        ordered.add(
            std::mem::take(&mut pairs.window),
            std::mem::take(&mut pairs_control.window),
        );
        let says = [
            losses.read(risks).verdict == Verdict::Fail,
            ordered.read(risks).verdict == Verdict::Fail,
            paired.read_difference(0.0, risks).verdict == Verdict::Fail,
            ways::of_means(&losses.candidate, &losses.control) > z,
        ];
        for (end, says) in ends.iter_mut().zip(says) {
            if says && end.is_none() {
                *end = Some(((at + 1 + DAY) as f64, rows));
            }
        }
        if ends.iter().all(Option::is_some) {
            break;
        }
    }
    ends
}

fn told(runs: usize, seed: u64, name: &str, auc: f64) -> Value {
    let mut all = [const { Vec::new() }; 4];
    for number in 0..runs {
        let mut random = Random::new(seed * 1_000_003 + number as u64);
        for (all, end) in all.iter_mut().zip(run(&mut random, auc, 7)) {
            all.extend(end);
        }
    }
    let ways = WAYS.iter().zip(all).map(|(way, ends)| {
        let of = |part: fn(&(f64, f64)) -> f64| spread(ends.iter().map(part).collect(), runs);
        let told = json!({
            "rolled_back": share(ends.len(), runs),
            "days": of(|it| it.0 / DAY as f64),
            "rows": of(|it| it.1),
        });
        ((*way).to_owned(), told)
    });
    let ways: serde_json::Map<_, _> = ways.collect();
    json!({"name": name, "ways": ways})
}

pub(crate) fn all(runs: usize) -> Vec<Value> {
    vec![
        told(runs, 41, "no difference", 0.8),
        told(runs, 42, "AUC 0.80 to 0.78", 0.78),
        told(runs, 43, "AUC 0.80 to 0.70", 0.7),
    ]
}
