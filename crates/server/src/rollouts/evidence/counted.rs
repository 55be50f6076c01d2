//! What one test counts, window by window, and what can be said of it.

use std::collections::BTreeMap;

use ::ledger::{Answer, ArmsWindow, Did, Side};
use domain::rollout::evidence::{Figure, Interval, Role, Tested, Verdict};
use domain::rollout::test::{Better, Demand, Margin, Measure, Test};
use serde::{Deserialize, Serialize};
use stats::sequential::divergence::Cell;
use stats::sequential::means::{Means, Values};
use stats::sequential::proportion::{self, Tally};
use stats::sequential::rates::Rates;
use stats::sequential::{self, Reading, Risks, Seen, divergence};

/// Units of both arms at which the interval of a mean is narrowest.
const PLANNED: u64 = 5_000;
/// Numbers of the control by which the bins of a distribution are set. They are not counted.
const FIRST: usize = 200;
/// Bins of numbers.
const BINS: usize = 10;
/// Classes that are told apart; the others are one.
const CLASSES_MAX: usize = 32;

/// What a test has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Counted {
    /// Events of both arms.
    Rates { of: Event, rates: Rates },
    /// Events of the candidate alone.
    Share { of: Event, tally: Tally },
    /// Numbers of both arms.
    Means(Compared),
    /// Answers of both arms.
    Answers(Answers),
    /// What cannot be counted.
    Not { why: String },
}

/// What a unit did or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// It failed.
    Failed,
    /// It took longer than the budget with this number.
    Over(u32),
    /// It got another answer than it would have had from the incumbent.
    Differs,
}

/// Two means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Compared {
    means: Means,
    /// Where the margin is a part of what the control has: the same without it, to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plain: Option<Means>,
    /// The margin is so great a part of what the control has.
    part: f64,
}

impl Compared {
    fn new(margin: Margin) -> Self {
        match margin {
            Margin::Absolute(size) => Self {
                means: Means::new(size, PLANNED),
                plain: None,
                part: 0.0,
            },
            Margin::Relative(part) => Self {
                means: Means::new(0.0, PLANNED),
                plain: Some(Means::new(0.0, PLANNED)),
                part,
            },
        }
    }

    /// A number; the less the better.
    fn add(&mut self, side: Side, value: f64) {
        let arm = |means: &mut Means, value: f64| {
            let values: &mut Values = match side {
                Side::Candidate => &mut means.candidate,
                Side::Control => &mut means.control,
                Side::After => return,
            };
            values.add(value);
        };
        let raised = match side {
            Side::Control => value + self.part * value.abs(),
            Side::Candidate | Side::After => value,
        };
        arm(&mut self.means, raised);
        if let Some(plain) = &mut self.plain {
            arm(plain, value);
        }
    }

    fn read(&self, risks: Risks) -> Reading {
        let read = self.means.read(risks);
        let Some(plain) = &self.plain else {
            return read;
        };
        let shown = plain.read(risks);
        Reading {
            control: shown.control,
            difference: shown.difference,
            ..read
        }
    }
}

/// How answers are distributed in both arms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answers {
    /// The control's first numbers, until there are enough for bins; then none.
    first: Vec<f64>,
    /// The ends of the bins, ascending.
    edges: Vec<f64>,
    /// What is in the bins: the candidate's and the control's.
    bins: Vec<(u64, u64)>,
    /// What is of each class, and of the others together.
    classes: BTreeMap<String, (u64, u64)>,
    others: (u64, u64),
}

impl Answers {
    fn add(&mut self, side: Side, answer: &Answer) {
        let cell = match answer {
            Answer::Number(number) if self.edges.is_empty() => {
                if side == Side::Control {
                    self.first.push(*number);
                    if self.first.len() >= FIRST {
                        self.set_bins();
                    }
                }
                return;
            }
            Answer::Number(number) => {
                let place = self.edges.partition_point(|edge| edge <= number);
                &mut self.bins[place]
            }
            Answer::Class(class) => {
                let is_known = self.classes.contains_key(&**class);
                match is_known || self.classes.len() < CLASSES_MAX {
                    true => self.classes.entry(class.to_string()).or_default(),
                    false => &mut self.others,
                }
            }
        };
        match side {
            Side::Candidate => cell.0 += 1,
            Side::Control => cell.1 += 1,
            Side::After => {}
        }
    }

    /// Bins with as many of the first numbers each, as far as numbers differ.
    fn set_bins(&mut self) {
        let mut first = std::mem::take(&mut self.first);
        first.sort_by(f64::total_cmp);
        self.edges = (1..BINS).map(|it| first[first.len() * it / BINS]).collect();
        self.edges.dedup();
        self.bins = vec![(0, 0); self.edges.len() + 1];
    }

    fn read(&self, most: f64, risks: Risks) -> Reading {
        let cells = self.bins.iter().chain(self.classes.values());
        let cell = |(candidate, control): &(u64, u64)| Cell {
            candidate: *candidate,
            control: *control,
        };
        let mut cells: Vec<Cell> = cells.map(cell).collect();
        if self.others != (0, 0) {
            cells.push(cell(&self.others));
        }
        let mut read = divergence::read(&cells, most, risks);
        read.candidate.mean = read.difference.value;
        if !self.first.is_empty() && read.verdict == sequential::Verdict::NoData {
            // There is something; it is not enough to tell by.
            read.verdict = sequential::Verdict::Inconclusive;
        }
        read
    }
}

impl Counted {
    /// Nothing yet. The test's budget, where it has one, has this number.
    pub(super) fn new(test: &Test, budget: u32) -> Self {
        let demand = match test.demand() {
            Ok(demand) => demand,
            Err((_, why)) => return Self::Not { why },
        };
        let event = match &test.metric {
            Measure::ErrorRate => Event::Failed,
            Measure::Latency => Event::Over(budget),
            Measure::Disagreement => Event::Differs,
            Measure::PredictionDrift => return Self::Answers(Answers::default()),
            Measure::CostPer1k => {
                return match demand {
                    Demand::NoWorse(margin) => Self::Means(Compared::new(margin)),
                    Demand::AtMost(_) => Self::not(test),
                };
            }
            Measure::Loss
            | Measure::Quality(_)
            | Measure::Estimated(_)
            | Measure::Fairness(_)
            | Measure::Posted(_) => return Self::not(test),
        };
        match demand {
            Demand::NoWorse(Margin::Absolute(margin)) => Self::Rates {
                of: event,
                rates: Rates::new(margin),
            },
            Demand::NoWorse(Margin::Relative(_)) => Self::not(test),
            Demand::AtMost(_) => Self::Share {
                of: event,
                tally: Tally::default(),
            },
        }
    }

    fn not(test: &Test) -> Self {
        Self::Not {
            why: format!("`{}` cannot be measured yet", test.metric),
        }
    }

    /// Why it can never be told, where that is so.
    pub(super) fn why_not(&self) -> Option<&str> {
        match self {
            Self::Not { why } => Some(why),
            Self::Rates { .. } | Self::Share { .. } | Self::Means(_) | Self::Answers(_) => None,
        }
    }

    /// Counts a window.
    pub(super) fn add(&mut self, window: &ArmsWindow) {
        match self {
            Self::Rates { of, rates } => {
                let side = |side: Side| {
                    let of_side = window.sides.iter().filter(move |it| it.0 == side);
                    tally(of_side.filter_map(|it| of.seen(&it.1)))
                };
                let (candidate, control) = (side(Side::Candidate), side(Side::Control));
                rates.add(candidate, control);
            }
            Self::Share {
                of: Event::Differs,
                tally: sum,
            } => *sum = sum.plus(tally(window.differs.iter().map(|it| it.1))),
            Self::Share { of, tally: sum } => {
                let of_candidate = window.sides.iter().filter(|it| it.0 != Side::Control);
                let new = tally(of_candidate.filter_map(|it| of.seen(&it.1)));
                *sum = sum.plus(new);
            }
            Self::Means(compared) => {
                for (side, did) in &window.sides {
                    if let Some(cost) = did.cost {
                        compared.add(*side, 1000.0 * cost);
                    }
                }
            }
            Self::Answers(answers) => {
                // The control's first: it sets the bins.
                for of in [Side::Control, Side::Candidate] {
                    for (side, did) in &window.sides {
                        if *side == of
                            && let Some(answer) = &did.answer
                        {
                            answers.add(of, answer);
                        }
                    }
                }
            }
            Self::Not { .. } => {}
        }
    }

    /// What can be said now. The role is another's to tell.
    pub(super) fn read(&self, test: &Test, risks: Risks) -> Tested {
        let most = match test.demand() {
            Ok(Demand::AtMost(most)) => most,
            Ok(Demand::NoWorse(_)) | Err(_) => 0.0,
        };
        let read = match self {
            Self::Rates { rates, .. } => Some(rates.read(risks)),
            Self::Share { tally, .. } => Some(proportion::over(*tally, most, risks)),
            Self::Means(compared) => Some(compared.read(risks)),
            Self::Answers(answers) => Some(answers.read(most, risks)),
            Self::Not { .. } => None,
        };
        tested(test, read)
    }
}

impl Event {
    /// Whether a unit had it; none where that cannot be told of it.
    fn seen(self, did: &Did) -> Option<bool> {
        match self {
            Self::Failed => did.counts.then_some(did.failed),
            Self::Over(budget) => {
                let is_over = did.over.checked_shr(budget).unwrap_or(0) & 1 == 1;
                (did.counts || is_over).then_some(is_over)
            }
            Self::Differs => None,
        }
    }
}

fn tally(events: impl Iterator<Item = bool>) -> Tally {
    events.fold(Tally::default(), |sum, it| {
        sum.plus(Tally::new(1, u64::from(it)))
    })
}

/// A reading in the words of a rollout, the right way round where more is better.
fn tested(test: &Test, read: Option<Reading>) -> Tested {
    let name = test.name();
    let Some(read) = read else {
        return Tested {
            role: Role::Signal,
            name,
            verdict: Verdict::NoData,
            candidate: Figure::default(),
            control: None,
            e_value: None,
            interval: None,
        };
    };
    let is_turned = test.better.or(test.metric.better()) == Some(Better::Higher);
    let turned = |value: f64| match (is_turned, test.metric.is_share()) {
        (false, _) => value,
        (true, true) => 1.0 - value,
        (true, false) => -value,
    };
    let figure = |seen: Seen| Figure {
        n: seen.units,
        events: seen.events.map(|it| match is_turned {
            true => seen.units - it,
            false => it,
        }),
        value: (seen.units > 0).then(|| turned(seen.mean)),
    };
    let ends = read.difference.low.zip(read.difference.high);
    Tested {
        role: Role::Signal,
        name,
        verdict: match read.verdict {
            sequential::Verdict::Pass => Verdict::Pass,
            sequential::Verdict::Fail => Verdict::Fail,
            sequential::Verdict::Inconclusive => Verdict::Inconclusive,
            sequential::Verdict::NoData => Verdict::NoData,
        },
        candidate: figure(read.candidate),
        // Of a distance there is but one, and it is the candidate's.
        control: read.control.map(|seen| Figure {
            value: figure(seen)
                .value
                .filter(|_| test.metric != Measure::PredictionDrift),
            ..figure(seen)
        }),
        e_value: (read.verdict != sequential::Verdict::NoData).then(|| read.evidence()),
        interval: ends.map(|(low, high)| match (is_turned, read.control) {
            (false, _) => Interval { low, high },
            (true, _) => Interval {
                low: -high,
                high: -low,
            },
        }),
    }
}
