//! R2 of the module `sequential`: a state that was written down and read back goes on as if nothing had happened.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stats::Estimate;
use stats::random::Random;
use stats::sequential::bounded::Bounded;
use stats::sequential::clustered::{ClusteredRates, ClusteredShare, Waves};
use stats::sequential::cuped::{self, Pairs};
use stats::sequential::gaps::{self, Group};
use stats::sequential::means::Means;
use stats::sequential::proportion::{Tally, over};
use stats::sequential::rates::Rates;
use stats::sequential::{Reading, Risks, Verdict};

const RISKS: Risks = Risks {
    fail: 0.05,
    pass: 0.05,
};

const WAVES: Waves = Waves {
    usual: 3,
    longest: 12,
};

/// Events among `units`.
fn events(random: &mut Random, units: u64, rate: f64) -> Tally {
    let events = (0..units).filter(|_| random.uniform() < rate).count();
    Tally::new(units, events as u64)
}

/// What a state says: verdicts and numbers.
#[derive(Debug, Default)]
struct Said {
    verdicts: Vec<Verdict>,
    numbers: Vec<f64>,
}

impl Said {
    fn with(mut self, reading: Reading) -> Self {
        let Reading {
            verdict,
            candidate,
            control,
            ln_evidence,
            difference,
        } = reading;
        self.verdicts.push(verdict);
        self.numbers.push(ln_evidence);
        for seen in [Some(candidate), control].into_iter().flatten() {
            let events = seen.events.unwrap_or_default() as f64;
            self.numbers.extend([seen.units as f64, events, seen.mean]);
        }
        self.with_estimate(difference)
    }

    fn with_estimate(mut self, estimate: Estimate) -> Self {
        let Estimate { value, low, high } = estimate;
        let none = f64::MAX;
        let ends = [value, low.unwrap_or(none), high.unwrap_or(none)];
        self.numbers.extend(ends);
        self
    }

    /// All numbers of the state itself, also those that only a later reading rests on.
    fn with_state(mut self, state: &impl Debug) -> Self {
        let text = format!("{state:?}");
        let words = text.split(|it: char| it.is_whitespace() || ",:{}[]".contains(it));
        self.numbers.extend(words.flat_map(str::parse::<f64>));
        self
    }

    /// The same verdicts, and the same numbers but for the last bits: JSON as it is read here may round those.
    fn is(&self, other: &Self) -> bool {
        let is_near = |one: f64, other: f64| (one - other).abs() <= 1e-11 * one.abs().max(1.0);
        let mut pairs = self.numbers.iter().zip(&other.numbers);
        self.verdicts == other.verdicts
            && self.numbers.len() == other.numbers.len()
            && pairs.all(|(one, other)| is_near(*one, *other))
    }
}

/// From the middle of a stream on the state is written down and read back after every look; it says what it says unbroken.
fn check<T: Clone + Debug + Serialize + DeserializeOwned>(
    begun: T,
    mut feed: impl FnMut(&mut T, &mut Random),
    read: impl Fn(&T) -> Said,
) {
    let (mut kept, mut restarted) = (begun.clone(), begun);
    let (mut random, mut random_restarted) = (Random::new(51), Random::new(51));
    let mut first = Said::default();
    for look in 0..400 {
        feed(&mut kept, &mut random);
        feed(&mut restarted, &mut random_restarted);
        let said = read(&kept).with_state(&kept);
        let said_restarted = read(&restarted).with_state(&restarted);
        assert!(
            said.is(&said_restarted),
            "at look {look}: {said:?}, not {said_restarted:?}"
        );
        if look < 200 {
            first = said;
        } else {
            // A stream in which nothing changes would show nothing.
            assert!(!said.is(&first), "at look {look}");
            let text = serde_json::to_string(&restarted).expect("JSON");
            restarted = serde_json::from_str(&text).expect("a state");
        }
    }
}

#[test]
fn a_restart_changes_nothing() {
    check(
        Rates::new(0.002),
        |it, random| {
            it.add(events(random, 50, 0.03), events(random, 50, 0.02));
        },
        |it| Said::default().with(it.read(RISKS)),
    );
    check(
        (0, ClusteredRates::new(0.002, WAVES)),
        |(second, it), random| {
            it.add(*second, events(random, 50, 0.03), events(random, 50, 0.02));
            *second += 1;
        },
        |(_, it)| Said::default().with(it.read(RISKS)),
    );
    check(
        (0, ClusteredShare::new(WAVES)),
        |(second, it), random| {
            it.add(*second, events(random, 50, 0.03));
            *second += 1;
        },
        |(_, it)| Said::default().with(it.read(0.02, RISKS)),
    );
    check(
        Tally::default(),
        |it, random| *it = it.plus(events(random, 50, 0.03)),
        |it| Said::default().with(over(*it, 0.02, RISKS)),
    );
    check(
        Means::new(0.1, 5_000),
        |it, random| {
            it.candidate.add(1.3 * random.normal().exp());
            it.control.add(random.normal().exp());
        },
        |it| Said::default().with(it.read(RISKS)),
    );
    check(
        Bounded::new(0.05),
        |it, random| it.add_difference(0.8 * random.uniform() - 0.2),
        |it| {
            let said = Said::default().with(it.read(0.5, RISKS));
            said.with(it.read_difference(0.1, RISKS))
        },
    );
    check(
        [Pairs::default(); 2],
        |arms, random| {
            for (pairs, by) in arms.iter_mut().zip([0.3, 0.0]) {
                let before = random.normal();
                pairs.add(2.0 * before + random.normal() + by, before);
            }
        },
        |[candidate, control]| {
            let difference = cuped::difference(candidate, control, 0.05, 5_000);
            Said::default().with_estimate(difference)
        },
    );
    let empty = Group {
        candidate: Tally::default(),
        control: Tally::default(),
    };
    check(
        [empty; 2],
        |groups, random| {
            for (group, rate) in groups.iter_mut().zip([0.3, 0.5]) {
                group.candidate = group.candidate.plus(events(random, 50, rate));
                group.control = group.control.plus(events(random, 50, 0.4));
            }
        },
        |groups| Said::default().with(gaps::read(groups, 0.02, RISKS)),
    );
}
