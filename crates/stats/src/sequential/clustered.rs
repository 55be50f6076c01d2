//! Events that come together: answers that wait in one queue are slow together, and refused together when it is full.
//!
//! [`super::rates`] and [`super::proportion`] take each unit for itself. Where units hang together, a second in which one
//! arm's queue happened to be long is a thousand witnesses of one thing, and sound candidates are failed. So what they say is
//! divided by the design effect (Kish, Survey Sampling, 1965): how much more the difference of rates varies than it would if
//! units were independent. It is estimated from batches of windows (batch means: Schmeiser, Operations Research 30 (1982),
//! 556-568).
//!
//! R1. Nothing is made surer than it is for independent units: the effect is at least 1. So what is exact for those stays
//!     so, and a false failure is as rare as it may be.
//! R2. For units that hang together it holds as far as waves are much shorter than what was seen. That nobody can know in
//!     the beginning: so a window is no more than a coin, whatever it holds, and its e-value at most 2.
//! R3. What is looked at is bounded: when there are `BATCHES`, each two become one, and when those are as long as they may
//!     be, the oldest is forgotten. A candidate that turns bad after hours looks like a wave only until what was before is
//!     forgotten.

use serde::{Deserialize, Serialize};

use super::proportion::{self, Tally};
use super::rates::Rates;
use super::{Reading, Risks};
use crate::interval::Estimate;

/// The most batches.
const BATCHES: usize = 32;
/// The excess of the effect is taken to be so much greater than it looks, as it is estimated from few batches. Chosen by
/// simulation (`queues` of the example `rollouts`).
const CAUTION: f64 = 1.5;

/// How long events come together, in stretches of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waves {
    /// Most are shorter than this: the shortest window.
    pub usual: u64,
    /// None is nearly as long as this, so that batches need not be longer.
    pub longest: u64,
}

/// Two rates of events that come together, and whether the candidate's is greater by more than a margin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusteredRates {
    rates: Rates,
    clusters: Clusters,
    gathering: Gathering,
    /// The greatest that the evidence ever was: a failure is one for good.
    ln_worse_max: f64,
}

impl ClusteredRates {
    /// Nothing seen yet.
    pub fn new(margin: f64, waves: Waves) -> Self {
        Self {
            rates: Rates::new(margin),
            clusters: Clusters::new(waves),
            gathering: Gathering::new(waves),
            ln_worse_max: 0.0,
        }
    }

    /// Counts what came to both arms in the stretch of time with this number, from 0 and ascending. Those in which nothing
    /// came need not be counted.
    pub fn add(&mut self, number: u64, candidate: Tally, control: Tally) {
        let Some([candidate, control]) = self.gathering.add(number, [candidate, control]) else {
            return;
        };
        if let Some(window) = self.rates.add(candidate, control) {
            self.clusters.add(window);
            self.ln_worse_max = self.ln_worse_max.max(self.ln_worse());
        }
    }

    /// The logarithm of what says now that the candidate's rate is greater by more than the margin.
    pub fn ln_worse(&self) -> f64 {
        self.clusters.discounted(self.rates.ln_worse)
    }

    /// What can be said now. Its interval is at the risk of failing.
    pub fn read(&self, risks: Risks) -> Reading {
        let mut rates = self.rates;
        let [candidate, control] = self.gathering.so_far;
        rates.waiting = [
            rates.waiting[0].plus(candidate),
            rates.waiting[1].plus(control),
        ];
        let ln_sound = self.clusters.discounted(rates.ln_sound);
        let read = rates.read_as(risks, self.ln_worse_max, ln_sound);
        Reading {
            difference: self.clusters.widened(read.difference, -1.0),
            ..read
        }
    }
}

/// One share of events that come together, and whether it is over what is allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusteredShare {
    tally: Tally,
    clusters: Clusters,
    gathering: Gathering,
}

impl ClusteredShare {
    /// Nothing seen yet.
    pub fn new(waves: Waves) -> Self {
        Self {
            tally: Tally::default(),
            clusters: Clusters::new(waves),
            gathering: Gathering::new(waves),
        }
    }

    /// Counts what came in the stretch of time with this number, as [`ClusteredRates::add`].
    pub fn add(&mut self, number: u64, tally: Tally) {
        self.tally = self.tally.plus(tally);
        if let Some(window) = self.gathering.add(number, [tally, Tally::default()])
            && window[0].units > 0
        {
            self.clusters.add(window);
        }
    }

    /// Whether the share is over `allowed`, strictly between 0 and 1; as [`proportion::over`].
    pub fn read(&self, allowed: f64, risks: Risks) -> Reading {
        let (ln_worse, ln_sound) = proportion::ln_over(self.tally, allowed);
        let evidence = (
            self.clusters.discounted(ln_worse),
            self.clusters.discounted(ln_sound),
        );
        let read = proportion::read_as(self.tally, risks, evidence);
        Reading {
            difference: self.clusters.widened(read.difference, 0.0),
            ..read
        }
    }
}

/// Stretches of time, until they are long enough to be a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Gathering {
    shortest: u64,
    /// The first stretch that is in no window yet.
    from: u64,
    so_far: [Tally; 2],
}

impl Gathering {
    fn new(waves: Waves) -> Self {
        Self {
            shortest: waves.usual,
            from: 0,
            so_far: [Tally::default(); 2],
        }
    }

    fn add(&mut self, number: u64, stretch: [Tally; 2]) -> Option<[Tally; 2]> {
        self.so_far = plus(self.so_far, stretch);
        let end = number.saturating_add(1);
        (end.saturating_sub(self.from) >= self.shortest).then(|| {
            self.from = end;
            std::mem::take(&mut self.so_far)
        })
    }
}

/// Windows in batches, each of as many: the candidate and the control, which has none where there is no control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Clusters {
    windows: u64,
    batches: Vec<[Tally; 2]>,
    /// How many windows a batch has, and how many at most.
    size: u64,
    size_most: u64,
    /// How many windows the last batch still lacks.
    lacks: u64,
}

impl Clusters {
    fn new(waves: Waves) -> Self {
        Self {
            windows: 0,
            batches: Vec::new(),
            size: 1,
            size_most: waves.longest / waves.usual.max(1),
            lacks: 0,
        }
    }

    fn add(&mut self, window: [Tally; 2]) {
        if self.lacks == 0 {
            if self.batches.len() == BATCHES {
                self.make_room();
            }
            self.lacks = self.size;
            self.batches.push([Tally::default(); 2]);
        }
        if let Some(last) = self.batches.last_mut() {
            *last = plus(*last, window);
        }
        self.lacks -= 1;
        self.windows += 1;
    }

    fn make_room(&mut self) {
        if 2 * self.size > self.size_most {
            self.batches.remove(0);
            return;
        }
        let pairs = self.batches.chunks(2);
        let merged = pairs.map(|it| it.iter().fold([Tally::default(); 2], |a, b| plus(a, *b)));
        self.batches = merged.collect();
        self.size *= 2;
    }

    /// The variance of the difference of rates over that of independent units; 1 at least, and where nothing is known of it.
    fn effect(&self) -> f64 {
        let all = self
            .batches
            .iter()
            .fold([Tally::default(); 2], |a, b| plus(a, *b));
        let count = self.batches.len() as f64;
        // An arm without units has no part in the difference.
        let off = |part: Tally, all: Tally| {
            let meant = all.share() * part.units as f64;
            (part.events as f64 - meant) / all.units.max(1) as f64
        };
        let independent = |it: Tally| it.share() * (1.0 - it.share()) / it.units.max(1) as f64;
        let independent = independent(all[0]) + independent(all[1]);
        if self.batches.len() < 2 || independent <= 0.0 {
            return 1.0;
        }
        let residuals: Vec<f64> = self
            .batches
            .iter()
            .map(|it| off(it[0], all[0]) - off(it[1], all[1]))
            .collect();
        let squares: f64 = residuals.iter().map(|it| it * it).sum();
        let variance = squares * count / (count - 1.0);
        1.0 + CAUTION * (variance / independent - 1.0).max(0.0)
    }

    /// The logarithm of an e-value of independent units as one of these.
    fn discounted(&self, ln_evidence: f64) -> f64 {
        let most = self.windows as f64 * std::f64::consts::LN_2;
        (ln_evidence / self.effect()).min(most)
    }

    /// An interval of independent units as one of these, with ends from `least` to 1.
    fn widened(&self, estimate: Estimate, least: f64) -> Estimate {
        let by = self.effect().sqrt();
        let away = |end: f64| estimate.value + (end - estimate.value) * by;
        let widened = Estimate {
            value: estimate.value,
            low: estimate.low.map(away),
            high: estimate.high.map(away),
        };
        widened.within(least, 1.0)
    }
}

fn plus(one: [Tally; 2], other: [Tally; 2]) -> [Tally; 2] {
    [one[0].plus(other[0]), one[1].plus(other[1])]
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::random::Random;

    const RISKS: Risks = Risks {
        fail: 0.01,
        pass: 0.05,
    };

    const WAVES: Waves = Waves {
        usual: 5,
        longest: 20,
    };

    /// Two batches, of 10 units an arm: the candidate has 6 and 2 events, the control 1 and 1. By hand: the rates are 0.4
    /// and 0.1, so residuals are (6 - 4) / 20 = 0.1 and -0.1, without the control's. Their squares sum to 0.02, so the
    /// variance of the difference is 0.02 * 2 / 1. Independent units have 0.24 / 20 + 0.09 / 20 = 0.0165.
    #[test]
    fn an_effect_by_hand() {
        let mut clusters = Clusters::new(WAVES);
        clusters.add([Tally::new(10, 6), Tally::new(10, 1)]);
        assert_eq!(clusters.effect(), 1.0);
        clusters.add([Tally::new(10, 2), Tally::new(10, 1)]);
        let want = 1.0 + 1.5 * (0.04 / 0.0165 - 1.0);
        assert!((clusters.effect() - want).abs() < 1e-12, "{clusters:?}");
        assert!((clusters.discounted(want) - 1.0).abs() < 1e-12);
        assert!((clusters.discounted(1e9) - 4f64.ln()).abs() < 1e-12);
        let wide = clusters.widened(Estimate::between(0.3, 0.29, 0.9), -1.0);
        assert!((wide.low.unwrap() - (0.3 - 0.01 * want.sqrt())).abs() < 1e-12);
        assert_eq!(wide.high, Some(1.0));
    }

    #[test]
    fn batches_are_alike_and_few() {
        let mut clusters = Clusters::new(Waves {
            usual: 5,
            longest: 45,
        });
        let most = BATCHES as u64 * 8;
        for window in 1..=2_000u64 {
            clusters.add([Tally::new(1, 0), Tally::new(2, 1)]);
            let (last, full) = clusters.batches.split_last().unwrap();
            assert!(full.len() < BATCHES && last[0].units <= clusters.size);
            assert!(full.iter().all(|it| it[0].units == clusters.size));
            let all = clusters.batches.iter().map(|it| it[1].units).sum::<u64>();
            assert!(all == 2 * window || window > most && all > 2 * (most - 8));
        }
        assert_eq!((clusters.windows, clusters.size), (2_000, 8));
        assert_eq!(clusters.effect(), 1.0);
    }

    /// A second in which an arm stands still, once in twenty on average: all that comes to it then is slow.
    fn standing(random: &mut Random, rate: f64) -> Tally {
        let stands = random.uniform() < rate;
        Tally::new(50, if stands { 50 } else { 0 })
    }

    #[test]
    fn waves_do_not_fail_a_sound_candidate() {
        let mut random = Random::new(5);
        let (mut alone, mut together) = (0, 0);
        for _ in 0..200 {
            let (mut plain, mut rates) = (Rates::new(0.0), ClusteredRates::new(0.0, WAVES));
            for second in 0..900 {
                let (one, other) = (standing(&mut random, 0.05), standing(&mut random, 0.05));
                plain.add(one, other);
                rates.add(second, one, other);
            }
            alone += u64::from(plain.read(RISKS).verdict == Verdict::Fail);
            together += u64::from(rates.read(RISKS).verdict == Verdict::Fail);
        }
        assert!(alone > 60 && together <= 2, "{alone} {together}");
    }

    #[test]
    fn a_worse_one_fails_a_sound_one_passes_and_both_take_some_windows() {
        let ends = |rate: f64, margin: f64, waves: bool| {
            let (mut random, mut rates) = (Random::new(6), ClusteredRates::new(margin, WAVES));
            let alone = |random: &mut Random, rate: f64| {
                let events = (0..50).filter(|_| random.uniform() < rate).count();
                Tally::new(50, events as u64)
            };
            (1..=7_200).find_map(|second: u64| {
                let [one, other] = [rate, 0.05].map(|it| match waves {
                    true => standing(&mut random, it),
                    false => alone(&mut random, it),
                });
                rates.add(second - 1, one, other);
                let verdict = rates.read(RISKS).verdict;
                (verdict != Verdict::Inconclusive && verdict != Verdict::NoData)
                    .then_some((verdict, second))
            })
        };
        // Seven windows of five seconds: 2^7 is the first over 1 / 0.01.
        assert_eq!(ends(1.0, 0.0, false), Some((Verdict::Fail, 35)));
        assert_eq!(ends(0.5, 0.0, true).unwrap().0, Verdict::Fail);
        assert_eq!(ends(0.05, 0.2, true).unwrap().0, Verdict::Pass);
        let (verdict, second) = ends(0.05, 0.02, false).unwrap();
        assert!(verdict == Verdict::Pass && second < 900, "{second}");
        assert_eq!(ends(0.05, 0.001, true), None);
    }

    #[test]
    fn little_traffic_is_not_lost() {
        let mut random = Random::new(7);
        let mut rates = ClusteredRates::new(
            0.0,
            Waves {
                usual: 1,
                longest: 20,
            },
        );
        let mut one = |rate: f64| match random.uniform() < 0.2 {
            true => Tally::new(1, u64::from(random.uniform() < rate)),
            false => Tally::default(),
        };
        let failed = (1..1_200).find(|second| {
            rates.add(*second, one(0.5), one(0.01));
            rates.read(RISKS).verdict == Verdict::Fail
        });
        // Two arms that meet in one second of 25 would take 25 times as long.
        assert!(failed.is_some_and(|it| it < 400), "{failed:?}");
        let read = rates.read(RISKS);
        assert!(read.difference.low.unwrap() > -1.0 && read.evidence() >= 100.0);
    }

    #[test]
    fn a_budget_is_held_in_waves_too() {
        let mut random = Random::new(8);
        let mut failed = |rate: f64| {
            let runs = (0..200).filter(|_| {
                let mut share = ClusteredShare::new(WAVES);
                assert_eq!(share.read(0.05, RISKS).verdict, Verdict::NoData);
                (0..900).any(|second| {
                    share.add(second, standing(&mut random, rate));
                    share.read(0.05, RISKS).verdict == Verdict::Fail
                })
            });
            runs.count()
        };
        let (held, broken) = (failed(0.04), failed(0.3));
        assert!(held <= 4 && broken >= 198, "{held} {broken}");
    }
}
