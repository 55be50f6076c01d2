//! Simulates rollouts with a known truth and prints, as JSON, how often each way of judging them was right and how soon;
//! `bench/rollouts.py` makes the tables of `docs/rollouts.md` of it.
//!
//!     cargo run --release -p stats --example rollouts -- [ROLLOUTS OF A KIND, 1000]
//!
//! All ways see the same streams. Every draw has a seed, so the same numbers come out everywhere.

#![allow(clippy::print_stdout)]

mod figures;
mod late;
mod queues;
mod traffic;
mod ways;

use std::error::Error;

use serde_json::{Value, json};
use stats::interval::wilson;
use stats::random::Random;

fn main() -> Result<(), Box<dyn Error>> {
    let runs = std::env::args().nth(1).map_or(Ok(1_000), |it| it.parse())?;
    println!(
        "{}",
        json!({
            "runs": runs,
            "sound": traffic::sound(runs),
            "harm": traffic::harm(runs),
            "passing": traffic::passing(runs),
            "queues": queues::all(runs),
            "late": late::all(runs),
            "figures": figures::all(runs),
        })
    );
    Ok(())
}

/// How many of `units` had an event, in steps from one event to the next.
fn events(random: &mut Random, units: u64, rate: f64) -> u64 {
    if rate <= 0.0 {
        return 0;
    }
    let (mut place, mut events) = (0.0, 0);
    let scale = (-rate).ln_1p();
    loop {
        place += ((1.0 - random.uniform()).ln() / scale).floor() + 1.0;
        if place > units as f64 {
            return events;
        }
        events += 1;
    }
}

/// A share with its interval.
fn share(count: usize, runs: usize) -> Value {
    let estimate = wilson(count as u64, runs as u64, 0.95);
    json!({"count": count, "of": runs, "share": estimate.value, "low": estimate.low, "high": estimate.high})
}

/// Of the runs that came to an end: the tenth part, the half and nine tenths of all runs; `null` where fewer did.
fn spread(mut ends: Vec<f64>, runs: usize) -> Value {
    ends.sort_by(f64::total_cmp);
    let at = |part: f64| ends.get((runs as f64 * part) as usize).copied();
    json!([at(0.1), at(0.5), at(0.9)])
}
