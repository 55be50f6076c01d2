//! Traffic that moves to what does better while it is measured: shares for the time until the next look, from what was
//! seen before it.
//!
//! R1. No arm gets less than the floor, so all can still be measured and a loser can recover.
//! R2. The share of an arm is the exact propensity with which each unit of that time comes to it. It goes to the ledger
//!     with the row: without it nothing unbiased can be said later.
//! R3. A share changes, so a key changes its arm, and what is known of late outcomes is old. Means of arms
//!     fed this way are biased; for a claim run an experiment with fixed shares.

use super::means::Values;
use super::proportion::Tally;
use crate::random::Random;

/// What was seen of an arm. Greater is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arm {
    /// Events, of which more are better: a Beta posterior from the uniform prior.
    Events(Tally),
    /// Values: a normal posterior of their mean with the variance seen.
    Values(Values),
}

impl Arm {
    fn mean(&self) -> f64 {
        match self {
            Self::Events(tally) => (tally.events as f64 + 1.0) / (tally.units as f64 + 2.0),
            Self::Values(values) => values.mean,
        }
    }

    /// Whether there is nothing to draw from.
    fn unknown(&self) -> bool {
        match self {
            Self::Events(_) => false,
            Self::Values(values) => values.units < 2,
        }
    }

    fn draw(&self, random: &mut Random) -> f64 {
        match self {
            Self::Events(tally) => {
                let others = tally.units - tally.events;
                random.beta(1.0 + tally.events as f64, 1.0 + others as f64)
            }
            Self::Values(values) => {
                let variance = values.variance().unwrap_or(0.0) / values.units as f64;
                values.mean + variance.sqrt() * random.normal()
            }
        }
    }
}

/// Draws from which a share is counted.
const DRAWS: u32 = 2_000;

/// Thompson's sampling: an arm's share is the probability that it is the best (Thompson, Biometrika 25 (1933), 285-294),
/// as counted in 2000 draws, and at least `floor`. Even shares while of some arm too little is known. There are
/// arms, of one kind, and `floor` times their number is at most 1.
pub fn thompson(arms: &[Arm], floor: f64, random: &mut Random) -> Vec<f64> {
    checked(arms.len(), floor);
    if arms.iter().any(Arm::unknown) {
        return even(arms.len());
    }
    let mut wins = vec![0u32; arms.len()];
    for _ in 0..DRAWS {
        let drawn = arms.iter().map(|it| it.draw(random));
        let best = drawn
            .enumerate()
            .max_by(|one, other| one.1.total_cmp(&other.1));
        wins[best.map_or(0, |it| it.0)] += 1;
    }
    let shares = wins.iter().map(|it| f64::from(*it) / f64::from(DRAWS));
    floored(shares, floor)
}

/// The best arm so far gets all but `epsilon`, which is shared out evenly among all: Sutton & Barto, Reinforcement
/// Learning (2018), section 2.2. Arms that are equally good share. Even shares while of some arm too little is known.
pub fn epsilon_greedy(arms: &[Arm], epsilon: f64, floor: f64) -> Vec<f64> {
    checked(arms.len(), floor);
    assert!((0.0..=1.0).contains(&epsilon), "epsilon is from 0 to 1");
    if arms.iter().any(Arm::unknown) {
        return even(arms.len());
    }
    let most = arms.iter().map(Arm::mean).fold(f64::NEG_INFINITY, f64::max);
    let best = arms.iter().filter(|it| it.mean() == most).count() as f64;
    let share = |arm: &Arm| {
        let greedy = if arm.mean() == most {
            (1.0 - epsilon) / best
        } else {
            0.0
        };
        greedy + epsilon / arms.len() as f64
    };
    floored(arms.iter().map(share), floor)
}

/// The arm of a unit, by a roll that is even on `[0, 1)`.
pub fn choose(shares: &[f64], roll: f64) -> usize {
    let mut above = 0.0;
    let chosen = shares.iter().position(|share| {
        above += share;
        roll < above
    });
    // What rounding leaves at the end is the last arm's.
    chosen.unwrap_or(shares.len().saturating_sub(1))
}

fn checked(arms: usize, floor: f64) {
    assert!(arms >= 1, "there are arms");
    assert!(
        floor >= 0.0 && floor * arms as f64 <= 1.0,
        "floors add up to 1 at most"
    );
}

fn even(arms: usize) -> Vec<f64> {
    vec![1.0 / arms as f64; arms]
}

/// What the floors leave is shared out as the shares are.
fn floored(shares: impl ExactSizeIterator<Item = f64>, floor: f64) -> Vec<f64> {
    let rest = 1.0 - floor * shares.len() as f64;
    shares.map(|it| floor + rest * it).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shares: &[f64], floor: f64) {
        assert!(
            (shares.iter().sum::<f64>() - 1.0).abs() < 1e-12,
            "{shares:?}"
        );
        assert!(shares.iter().all(|it| *it >= floor), "{shares:?}");
    }

    /// Of Beta(2, 1) and Beta(1, 2) the first is greater with probability 5/6.
    #[test]
    fn the_share_is_the_probability_to_be_best() {
        let arms = [Arm::Events(Tally::new(1, 1)), Arm::Events(Tally::new(1, 0))];
        let shares = thompson(&arms, 0.0, &mut Random::new(1));
        check(&shares, 0.0);
        assert!((shares[0] - 5.0 / 6.0).abs() < 0.03, "{shares:?}");
        assert_eq!(shares, thompson(&arms, 0.0, &mut Random::new(1)));
        let floored = thompson(&arms, 0.1, &mut Random::new(1));
        check(&floored, 0.1);
        assert!((floored[0] - (0.1 + 0.8 * shares[0])).abs() < 1e-12);
    }

    #[test]
    fn greed_and_its_exceptions() {
        let arm = |units, events| Arm::Events(Tally::new(units, events));
        let shares = epsilon_greedy(&[arm(98, 1), arm(98, 9), arm(98, 9)], 0.3, 0.0);
        let want = [0.1, 0.45, 0.45];
        assert!(
            shares
                .iter()
                .zip(want)
                .all(|(got, want)| (got - want).abs() < 1e-12)
        );
        check(&epsilon_greedy(&[arm(98, 1), arm(98, 9)], 0.0, 0.01), 0.01);
        let unknown = [
            Arm::Values(Values::default()),
            Arm::Values(Values::default()),
        ];
        assert_eq!(epsilon_greedy(&unknown, 0.1, 0.0), [0.5, 0.5]);
        assert_eq!(thompson(&unknown, 0.0, &mut Random::new(1)), [0.5, 0.5]);
    }

    #[test]
    fn every_roll_has_an_arm() {
        let shares = [0.2, 0.5, 0.3];
        let at = |roll| choose(&shares, roll);
        assert_eq!(
            [at(0.0), at(0.1999), at(0.2), at(0.69), at(0.71), at(1.0)],
            [0, 0, 1, 1, 2, 2]
        );
    }

    /// 2 % against 3 % and 4 % of 20 000 units in 200 looks: the best arm gets most, and regret is far less than
    /// even shares have.
    #[test]
    fn traffic_moves_to_the_best() {
        let truth = [0.02, 0.03, 0.04];
        let mut random = Random::new(6);
        let run = |shares_of: &dyn Fn(&[Arm], &mut Random) -> Vec<f64>, random: &mut Random| {
            let mut tallies = [Tally::default(); 3];
            for _ in 0..200 {
                let shares = shares_of(&tallies.map(Arm::Events), random);
                check(&shares, 0.01);
                for _ in 0..100 {
                    let arm = choose(&shares, random.uniform());
                    let event = u64::from(random.uniform() < truth[arm]);
                    tallies[arm] = tallies[arm].plus(Tally::new(1, event));
                }
            }
            tallies[2].units as f64 / 20_000.0
        };
        let by_thompson = run(&|arms, random| thompson(arms, 0.01, random), &mut random);
        let by_greed = run(&|arms, _| epsilon_greedy(arms, 0.1, 0.01), &mut random);
        assert!(
            by_thompson > 0.6 && by_greed > 0.5,
            "{by_thompson} {by_greed}"
        );
    }
}
