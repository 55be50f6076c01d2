//! What losses are expected to be before labels come, arm against arm.
//!
//! R1. The loss of a row is expected by what its version's scores mean (`stats::estimate::compared`), which labels taught
//!     before the rollout's first step.
//! R2. It is believed as far as other labels bore it out. By how much the difference of two estimates may be off, as those
//!     labels tell, nothing is said: what fails is worse by the margin and that, and what passes is better than the margin
//!     by that. Where a version's own estimate was off by more than chance explains, nothing is said at all. What none of
//!     `n` rows showed may yet be in a share of `-ln(risk) / n` of all: losses from 0 to 1 may be off by no less.
//! R3. Calibrated losses may be all alike, or all but a few: so a mean has a least error, of the order of one by the number
//!     of rows, as the bounds of means from 0 to 1 have it that hold for any number of them (`stats::sequential::bounded`).
//! R4. Half of the risk is that of the labels' sample, and half that of the rows which are counted.

use ::ledger::{Did, Scored, Side};
use domain::monitor::estimated_quality::{Trust, trust_of};
use domain::monitor::quality::Metric;
use domain::rollout::test::{Better, Margin, Test};
use serde::{Deserialize, Serialize};
use stats::estimate::compared::{self, Answer, Loss, Scores, Tested};
use stats::interval::{Estimate, normal_quantile};
use stats::sequential::means::{Means, Values};
use stats::sequential::{Reading, Risks, Verdict};

use super::compared::Compared;
use crate::rollouts::learned::Learned;

/// The loss of which a metric is the mean, or what is left of 1.
pub(super) fn loss_of(metric: Metric) -> Option<Loss> {
    Some(match metric {
        Metric::Accuracy => Loss::Wrong,
        Metric::Precision => Loss::WronglyCalled,
        Metric::LogLoss => Loss::LogLoss,
        Metric::Brier => Loss::Brier,
        _ => return None,
    })
}

/// An answer with its score.
pub(crate) fn answer_of(scored: &Scored) -> Answer {
    Answer {
        score: scored.score,
        called: scored.predicted_positive,
    }
}

/// What losses are expected to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Expected {
    of: Loss,
    means: Compared,
    trust: Basis,
}

/// What it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Basis {
    /// It is not known yet what scores mean.
    Awaited,
    /// By so much may the difference of two estimates be off (R2).
    Kept { slack: f64 },
    /// It is not believed.
    Lost { why: String },
}

impl Expected {
    pub(super) fn new(of: Loss, margin: Margin) -> Self {
        Self {
            of,
            means: Compared::new(margin),
            trust: Basis::Awaited,
        }
    }

    pub(super) fn waits(&self) -> bool {
        self.trust == Basis::Awaited
    }

    pub(super) fn why_not(&self) -> Option<&str> {
        match &self.trust {
            Basis::Lost { why } => Some(why),
            Basis::Awaited | Basis::Kept { .. } => None,
        }
    }

    /// Where it waits: whether it is believed.
    pub(super) fn learn(&mut self, test: &Test, learned: Result<&Learned, &String>, risks: Risks) {
        if !self.waits() {
            return;
        }
        self.trust = match learned {
            Ok(learned) => self.checked(test, learned, risks),
            Err(why) => Basis::Lost {
                why: format!("it is not known what the scores mean: {why}"),
            },
        };
    }

    fn checked(&self, test: &Test, learned: &Learned, risks: Risks) -> Basis {
        let Learned {
            scores,
            taught,
            held,
            versions,
        } = learned;
        let compared = compared::compare(self.of, scores, *taught, held, self.means.part);
        let Some(compared) = compared else {
            return Basis::Lost {
                why: "no row with a label has what it is told of".to_owned(),
            };
        };
        for (version, tested) in versions.iter().zip(&compared.versions) {
            let error = tested.estimated - tested.realised;
            if let Trust::Lost { allowed, .. } = trust_of(error, tested.standard_error) {
                return Basis::Lost {
                    why: refuted(test, *version, tested, allowed),
                };
            }
        }
        let by_chance = normal_quantile(1.0 - risks.fail / 2.0) * compared.standard_error;
        let rows = compared.versions.iter().map(|it| it.rows).min();
        let unseen = match rows {
            Some(rows) if self.of.is_share() => (2.0 / risks.fail).ln() / rows as f64,
            _ => 0.0,
        };
        Basis::Kept {
            slack: compared.bias.abs() + by_chance.max(unseen),
        }
    }

    /// Counts what a unit did.
    pub(super) fn add(&mut self, side: Side, did: &Did, scores: &[Scores; 2]) {
        if let Some(scored) = &did.scored {
            self.add_answer(side, answer_of(scored), scores);
        }
    }

    fn add_answer(&mut self, side: Side, answer: Answer, scores: &[Scores; 2]) {
        let version = match side {
            Side::Control => 0,
            Side::Candidate => 1,
            Side::After => return,
        };
        if let Some(expected) = scores[version].expected(self.of, answer) {
            self.means.add(side, expected);
        }
    }

    pub(super) fn read(&self, risks: Risks) -> Reading {
        // Of two statements at half the risk (R4).
        let half = Risks {
            fail: risks.fail / 2.0,
            pass: risks.pass / 2.0,
        };
        let slack = match self.trust {
            Basis::Kept { slack } => slack,
            Basis::Awaited | Basis::Lost { .. } => 0.0,
        };
        let mut means = self.means.means;
        if self.of.is_share() {
            means.candidate = spread(means.candidate);
            means.control = spread(means.control);
        }
        let beyond = |margin: f64| Means { margin, ..means }.read(half);
        let (worse, sound) = (beyond(means.margin + slack), beyond(means.margin - slack));
        let verdict = match (worse.verdict, sound.verdict) {
            (verdict @ (Verdict::Fail | Verdict::NoData), _) => verdict,
            (_, Verdict::Pass) => Verdict::Pass,
            _ => Verdict::Inconclusive,
        };
        let shown = self.means.shown(worse, half);
        let Estimate { value, low, high } = shown.difference;
        Reading {
            verdict,
            ln_evidence: (worse.ln_evidence - std::f64::consts::LN_2).max(0.0),
            difference: Estimate {
                value,
                low: low.map(|it| it - slack),
                high: high.map(|it| it + slack),
            },
            ..shown
        }
    }
}

/// The same values, less alike (R3): as if 80 of them were a quarter off their mean, to either side as many. Where the
/// rest are all alike the interval is as wide as some 16 rows that are half off, and were not seen, could move the mean.
fn spread(values: Values) -> Values {
    let (rows, apart) = (80.0, 0.25f64);
    Values {
        second: values.second + rows * apart.powi(2),
        fourth: values.fourth + rows * apart.powi(4),
        ..values
    }
}

/// Why an estimate is not believed, in the metric's own direction.
fn refuted(test: &Test, version: domain::Version, tested: &Tested, allowed: f64) -> String {
    let is_turned = test.metric.better() == Some(Better::Higher);
    let turned = |it: f64| if is_turned { 1.0 - it } else { it };
    let (estimated, realised) = (turned(tested.estimated), turned(tested.realised));
    format!(
        "it is not believed: of version {version} it was {estimated:.4} on {} rows whose labels say {realised:.4}, more \
         than {allowed:.4} off",
        tested.rows
    )
}

#[cfg(test)]
mod tests {
    use stats::estimate::compared::Labelled;
    use stats::random::Random;

    use super::*;

    const RISKS: Risks = Risks {
        fail: 0.05,
        pass: 0.05,
    };

    /// How two versions answer a row, of which each has another tenth the wrong way round: they are as often right, and
    /// differ in 18 of 100 rows.
    fn row(random: &mut Random) -> [Labelled; 2] {
        let score = random.uniform();
        let positive = random.uniform() < score;
        let wrong = [0; 2].map(|_| random.uniform() < 0.1);
        wrong.map(|is_wrong| {
            let score = if is_wrong { 1.0 - score } else { score };
            let answer = Answer {
                score,
                called: score >= 0.5,
            };
            Labelled { answer, positive }
        })
    }

    fn learned(random: &mut Random, each: usize) -> Learned {
        let taught: Vec<[Labelled; 2]> = (0..each).map(|_| row(random)).collect();
        let of =
            |version: usize| -> Vec<Labelled> { taught.iter().map(|it| it[version]).collect() };
        Learned {
            scores: [Scores::fit(&of(0)), Scores::fit(&of(1))],
            taught: each as u64,
            held: (0..each).map(|_| row(random)).collect(),
            versions: [1, 2].map(|it| domain::Version::new(it).expect("not zero")),
        }
    }

    #[test]
    fn losses_that_are_all_alike_are_compared_too() {
        let verdict = |rows: usize, candidate: f64| {
            let mut expected = Expected::new(Loss::Wrong, Margin::Absolute(0.02));
            expected.trust = Basis::Kept { slack: 0.01 };
            for _ in 0..rows {
                expected.means.add(Side::Control, 0.25);
                expected.means.add(Side::Candidate, candidate);
            }
            expected.read(RISKS).verdict
        };
        assert_eq!(verdict(0, 0.25), Verdict::NoData);
        assert_eq!(verdict(39, 0.9), Verdict::Inconclusive);
        assert_eq!(verdict(100, 0.5), Verdict::Fail);
        // The margin and what labels leave open.
        assert_eq!(verdict(5_000, 0.275), Verdict::Inconclusive);
        assert_eq!(verdict(5_000, 0.25), Verdict::Pass);
    }

    /// Looked at again and again, with calibrations that were learned from few rows: as often as they say at most is a
    /// candidate failed that is not worse, and without room for what labels leave open far more often.
    #[test]
    fn a_candidate_that_is_as_good_is_seldom_failed_however_few_rows_taught() {
        let test = r#"{"metric":"estimated.accuracy","worse_by":"0.5pp"}"#;
        let test: Test = serde_json::from_str(test).expect("a test");
        let (runs, mut failed, mut lost, mut failed_without) = (200, 0, 0, 0);
        for seed in 0..runs {
            let mut random = Random::new(seed);
            let learned = learned(&mut random, 200);
            let mut expected = Expected::new(Loss::Wrong, Margin::Absolute(0.005));
            expected.learn(&test, Ok(&learned), RISKS);
            lost += u32::from(expected.why_not().is_some());
            let (mut fails, mut fails_without) = (false, false);
            for look in 0..20 {
                for _ in 0..200 {
                    let [control, _] = row(&mut random);
                    let [_, candidate] = row(&mut random);
                    expected.add_answer(Side::Control, control.answer, &learned.scores);
                    expected.add_answer(Side::Candidate, candidate.answer, &learned.scores);
                }
                fails |= expected.read(RISKS).verdict == Verdict::Fail;
                let without = Expected {
                    trust: Basis::Kept { slack: 0.0 },
                    ..expected.clone()
                };
                fails_without |= without.read(RISKS).verdict == Verdict::Fail;
                assert!(look < 19 || expected.means.means.control.units == 4_000);
            }
            failed += u32::from(fails && expected.why_not().is_none());
            failed_without += u32::from(fails_without);
        }
        assert!(failed <= 10, "{failed}");
        assert!(failed_without > 30, "{failed_without}");
        assert!(lost <= 10, "{lost}");
    }
}
