//! What one test counts, window by window, and what can be said of it.

use std::collections::BTreeMap;

use ::ledger::{Answer, ArmsWindow, Did, Judged, Labelled, LabelledRow, Posted, Side};
use domain::monitor::{fairness, quality};
use domain::rollout::evidence::{Figure, Interval, Role, Tested, Verdict};
use domain::rollout::test::{Better, Demand, Margin, Measure, Test};
use serde::{Deserialize, Serialize};
use stats::estimate::compared::Scores;
use stats::sequential::clustered::{ClusteredRates, ClusteredShare, Waves};
use stats::sequential::divergence::Cell;
use stats::sequential::gaps::{self, Group};
use stats::sequential::proportion::{self, Tally};
use stats::sequential::rates::Rates;
use stats::sequential::{self, Reading, Risks, Seen, divergence};

use super::compared::Compared;
use super::estimated::{Expected, loss_of};
use crate::rollouts::learned::Learned;

/// Numbers of the control by which the bins of a distribution are set. They are not counted.
const FIRST: usize = 200;
/// Bins of numbers.
const BINS: usize = 10;
/// Classes that are told apart; the others are one.
const CLASSES_MAX: usize = 32;
/// Groups that are compared.
const GROUPS_MAX: usize = 20;

/// What a test has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Counted {
    /// Events of both arms, each by itself.
    Rates { of: Event, rates: Rates },
    /// Events of both arms that may come together.
    Clustered { of: Event, rates: ClusteredRates },
    /// Events of the candidate alone, each by itself.
    Share { of: Event, tally: Tally },
    /// Events of the candidate alone that may come together.
    ClusteredShare { of: Event, share: ClusteredShare },
    /// Numbers of both arms.
    Means { of: Number, means: Compared },
    /// Answers of both arms.
    Answers(Answers),
    /// Rates of groups in both arms.
    Gaps(Gaps),
    /// What losses of both arms are expected to be.
    Estimated(Expected),
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
    /// It was called another class than it is.
    Wrong,
    /// Of what was called positive: it is not.
    WronglyCalled,
    /// Of what is positive: it was not called that.
    Missed,
}

/// What a unit has, the less the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Number {
    Cost,
    Loss,
    LogLoss,
    Brier,
    Off,
    OffPart,
    /// What was posted; turned round where more is better.
    Posted,
}

impl Number {
    fn of(self, judged: &Judged) -> Option<f64> {
        match self {
            Self::Cost | Self::Posted => None,
            Self::Loss => judged.log_loss.or(judged.off),
            Self::LogLoss => judged.log_loss,
            Self::Brier => judged.brier,
            Self::Off => judged.off,
            Self::OffPart => judged.off_part,
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

/// Rates of groups in both arms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Gaps {
    metric: fairness::Metric,
    /// The number of the column of groups.
    column: u32,
    margin: f64,
    /// By value the candidate's rate and the control's, and the second rate of a metric that has two.
    groups: BTreeMap<String, [(Tally, Tally); 2]>,
    too_many: bool,
}

impl Gaps {
    fn add(&mut self, side: Side, groups: &[Option<String>], judged: &Judged) {
        use fairness::Metric;
        let (called, positive) = (judged.called_positive, judged.positive);
        let of = |wanted: bool| called.filter(|_| positive == Some(wanted));
        let events = match self.metric {
            Metric::Selection => [called, None],
            Metric::TruePositive => [of(true), None],
            Metric::FalsePositive => [of(false), None],
            Metric::EqualisedOdds => [of(true), of(false)],
            Metric::Accuracy => [judged.right, None],
        };
        let group = groups.get(self.column as usize).and_then(Option::as_ref);
        let Some(group) = group.filter(|_| events != [None, None]) else {
            return;
        };
        if !self.groups.contains_key(group) && self.groups.len() >= GROUPS_MAX {
            self.too_many = true;
            return;
        }
        let rates = self.groups.entry(group.clone()).or_default();
        for (rate, event) in rates.iter_mut().zip(events) {
            let Some(event) = event else { continue };
            let tally = match side {
                Side::Candidate => &mut rate.0,
                Side::Control => &mut rate.1,
                Side::After => continue,
            };
            *tally = tally.plus(Tally::new(1, u64::from(event)));
        }
    }

    fn read(&self, risks: Risks) -> Reading {
        let rate = |place: usize, risks| {
            let groups = self.groups.values().map(|it| Group {
                candidate: it[place].0,
                control: it[place].1,
            });
            gaps::read(&groups.collect::<Vec<_>>(), self.margin, risks)
        };
        if self.metric != fairness::Metric::EqualisedOdds {
            return rate(0, risks);
        }
        // Either may fail it, and both must pass.
        let each = Risks {
            fail: risks.fail / 2.0,
            ..risks
        };
        use sequential::Verdict;
        let (one, other) = (rate(0, each), rate(1, each));
        let order = [
            Verdict::Fail,
            Verdict::NoData,
            Verdict::Inconclusive,
            Verdict::Pass,
        ];
        let place = |it: &Reading| order.iter().position(|verdict| *verdict == it.verdict);
        let worse = if place(&other) < place(&one) {
            other
        } else {
            one
        };
        Reading {
            // Of two statements at half the risk.
            ln_evidence: (worse.ln_evidence - std::f64::consts::LN_2).max(0.0),
            ..worse
        }
    }
}

impl Counted {
    /// Nothing yet. The test's budget and its column of groups, where it has them, have these numbers.
    pub(super) fn new(test: &Test, (budget, column): (u32, u32)) -> Self {
        let demand = match test.demand() {
            Ok(demand) => demand,
            Err((_, why)) => return Self::Not { why },
        };
        let of = match &test.metric {
            Measure::ErrorRate => Event::Failed,
            Measure::Latency => Event::Over(budget),
            Measure::Disagreement => Event::Differs,
            Measure::PredictionDrift => return Self::Answers(Answers::default()),
            Measure::CostPer1k => return Self::means(test, demand, Number::Cost),
            Measure::Loss => return Self::means(test, demand, Number::Loss),
            Measure::Quality(metric) => match metric {
                quality::Metric::Accuracy => Event::Wrong,
                quality::Metric::Precision => Event::WronglyCalled,
                quality::Metric::Recall => Event::Missed,
                quality::Metric::LogLoss => return Self::means(test, demand, Number::LogLoss),
                quality::Metric::Brier => return Self::means(test, demand, Number::Brier),
                quality::Metric::Mae => return Self::means(test, demand, Number::Off),
                quality::Metric::Mape => return Self::means(test, demand, Number::OffPart),
                // What is no mean over rows was refused when the test was read.
                _ => return Self::not(test),
            },
            Measure::Fairness(metric) => {
                return match demand {
                    Demand::NoWorse(Margin::Absolute(margin)) => Self::Gaps(Gaps {
                        metric: *metric,
                        column,
                        margin,
                        groups: BTreeMap::new(),
                        too_many: false,
                    }),
                    Demand::NoWorse(Margin::Relative(_)) | Demand::AtMost(_) => Self::not(test),
                };
            }
            Measure::Posted(_) => return Self::means(test, demand, Number::Posted),
            Measure::Estimated(metric) => {
                return match (loss_of(*metric), demand) {
                    (Some(of), Demand::NoWorse(margin)) => {
                        Self::Estimated(Expected::new(of, margin))
                    }
                    _ => Self::not(test),
                };
            }
        };
        match (demand, of.waves()) {
            (Demand::NoWorse(Margin::Absolute(margin)), Some(waves)) => Self::Clustered {
                of,
                rates: ClusteredRates::new(margin, waves),
            },
            (Demand::NoWorse(Margin::Absolute(margin)), None) => Self::Rates {
                of,
                rates: Rates::new(margin),
            },
            (Demand::NoWorse(Margin::Relative(_)), _) => Self::not(test),
            (Demand::AtMost(_), Some(waves)) => Self::ClusteredShare {
                of,
                share: ClusteredShare::new(waves),
            },
            (Demand::AtMost(_), None) => Self::Share {
                of,
                tally: Tally::default(),
            },
        }
    }

    fn means(test: &Test, demand: Demand, of: Number) -> Self {
        match demand {
            Demand::NoWorse(margin) => Self::Means {
                of,
                means: Compared::new(margin),
            },
            Demand::AtMost(_) => Self::not(test),
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
            Self::Gaps(gaps) if gaps.too_many => Some(
                "the column of its groups has more than 20 values, so that it tells no groups apart",
            ),
            Self::Estimated(expected) => expected.why_not(),
            Self::Rates { .. }
            | Self::Clustered { .. }
            | Self::Share { .. }
            | Self::ClusteredShare { .. }
            | Self::Means { .. }
            | Self::Answers(_)
            | Self::Gaps(_) => None,
        }
    }

    /// Whether it waits for what scores mean.
    pub(super) fn waits_for_scores(&self) -> bool {
        matches!(self, Self::Estimated(it) if it.waits())
    }

    /// Where it waited for it: scores mean this, or why that is not known.
    pub(super) fn learn(&mut self, test: &Test, learned: Result<&Learned, &String>, risks: Risks) {
        if let Self::Estimated(expected) = self {
            expected.learn(test, learned, risks);
        }
    }

    /// Counts what the answers of a window are expected to be worth.
    pub(super) fn add_scored(&mut self, window: &ArmsWindow, scores: &[Scores; 2]) {
        if let Self::Estimated(expected) = self {
            for (side, did) in &window.sides {
                expected.add(*side, did, scores);
            }
        }
    }

    /// Counts a window.
    pub(super) fn add(&mut self, window: &ArmsWindow) {
        let number = || u64::try_from(window.number).unwrap_or(0);
        match self {
            Self::Clustered { of, rates } => {
                let side = |side: Side| {
                    let of_side = window.sides.iter().filter(move |it| it.0 == side);
                    tally(of_side.filter_map(|it| of.seen(&it.1)))
                };
                rates.add(number(), side(Side::Candidate), side(Side::Control));
            }
            Self::ClusteredShare { of, share } => {
                let of_candidate = window.sides.iter().filter(|it| it.0 != Side::Control);
                let seen = of_candidate.filter_map(|it| of.seen(&it.1));
                share.add(number(), tally(seen));
            }
            Self::Share {
                of: Event::Differs,
                tally: sum,
            } => *sum = sum.plus(tally(window.differs.iter().map(|it| it.1))),
            Self::Means {
                of: Number::Cost,
                means,
            } => {
                for (side, did) in &window.sides {
                    if let Some(cost) = did.cost {
                        means.add(*side, 1000.0 * cost);
                    }
                }
            }
            Self::Gaps(gaps) if gaps.metric == fairness::Metric::Selection => {
                for (side, did) in &window.sides {
                    let judged = Judged {
                        called_positive: did.called_positive,
                        ..Judged::default()
                    };
                    gaps.add(*side, &did.groups, &judged);
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
            Self::Rates { .. }
            | Self::Share { .. }
            | Self::Means { .. }
            | Self::Gaps(_)
            | Self::Estimated(_)
            | Self::Not { .. } => {}
        }
    }

    /// Counts a window of labels.
    pub(super) fn add_labelled(&mut self, window: &Labelled) {
        match self {
            Self::Rates { of, rates } => {
                let side = |side: Side| {
                    let of_side = window.rows.iter().filter(move |it| it.side == side);
                    tally(of_side.filter_map(|it| of.judged(&it.judged)))
                };
                let (candidate, control) = (side(Side::Candidate), side(Side::Control));
                rates.add(candidate, control);
            }
            Self::Means { of, means } => {
                for LabelledRow { side, judged, .. } in &window.rows {
                    if let Some(value) = of.of(judged) {
                        means.add(*side, value);
                    }
                }
            }
            Self::Gaps(gaps) if gaps.metric != fairness::Metric::Selection => {
                for row in &window.rows {
                    gaps.add(row.side, &row.groups, &row.judged);
                }
            }
            Self::Clustered { .. }
            | Self::Share { .. }
            | Self::ClusteredShare { .. }
            | Self::Answers(_)
            | Self::Gaps(_)
            | Self::Estimated(_)
            | Self::Not { .. } => {}
        }
    }

    /// Counts a window of the test's metric.
    pub(super) fn add_posted(&mut self, test: &Test, window: &Posted) {
        let Self::Means {
            of: Number::Posted,
            means,
        } = self
        else {
            return;
        };
        let is_turned = test.better == Some(Better::Higher);
        for (side, value) in &window.units {
            means.add(*side, if is_turned { -value } else { *value });
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
            Self::Clustered { rates, .. } => Some(rates.read(risks)),
            Self::Share { tally, .. } => Some(proportion::over(*tally, most, risks)),
            Self::ClusteredShare { share, .. } => Some(share.read(most, risks)),
            Self::Means { means, .. } => Some(means.read(risks)),
            Self::Answers(answers) => Some(answers.read(most, risks)),
            Self::Gaps(gaps) => Some(gaps.read(risks)),
            Self::Estimated(expected) => Some(expected.read(risks)),
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
            Self::Differs | Self::Wrong | Self::WronglyCalled | Self::Missed => None,
        }
    }

    /// How many windows, of a second, units have it together, where they may: a full queue refuses whoever comes, and a
    /// long one keeps all waiting until it is short again.
    fn waves(self) -> Option<Waves> {
        let usual = match self {
            Self::Failed => 1,
            Self::Over(_) => 5,
            Self::Differs | Self::Wrong | Self::WronglyCalled | Self::Missed => return None,
        };
        let longest = 20;
        Some(Waves { usual, longest })
    }

    /// Whether a row had it; none where it is not asked of it.
    fn judged(self, judged: &Judged) -> Option<bool> {
        let (called, positive) = (judged.called_positive, judged.positive);
        match self {
            Self::Failed | Self::Over(_) | Self::Differs => None,
            Self::Wrong => judged.right.map(|it| !it),
            Self::WronglyCalled => positive.filter(|_| called == Some(true)).map(|it| !it),
            Self::Missed => called.filter(|_| positive == Some(true)).map(|it| !it),
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
