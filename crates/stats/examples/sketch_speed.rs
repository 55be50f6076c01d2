//! How long sketches of a million rows take, by kind of column: `cargo run --release -p stats --example sketch_speed`.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::time::Instant;

use stats::random::nth;
use stats::sketch::{Numbers, Words};

const ROWS: u64 = 1_000_000;
const ROUNDS: u32 = 5;

/// A column's value, of a random share.
type Kind = fn(f64) -> f64;

fn main() {
    let noise: Vec<u64> = (0..ROWS).map(nth).collect();
    let kinds: [(&str, Kind); 5] = [
        ("all different", |it| it),
        ("six of ten zero", |it| (it - 0.6).max(0.0)),
        ("ten thousand different", |it| (it * 1e4).floor()),
        ("ten different", |it| (it * 10.0).floor()),
        (
            "one in ten missing",
            |it| if it < 0.1 { f64::NAN } else { it },
        ),
    ];
    for (name, value) in kinds {
        let values: Vec<f64> = noise.iter().map(|it| value(share(*it))).collect();
        let (per_row, numbers) = timed(Numbers::new, |numbers| numbers.extend(&values));
        let write = Instant::now();
        let bytes = numbers.to_bytes();
        let write = write.elapsed();
        let read = Instant::now();
        let again = Numbers::from_bytes(&bytes);
        let read = read.elapsed();
        let merge = Instant::now();
        let mut twice = numbers.clone();
        twice.merge(&numbers);
        let merge = merge.elapsed();
        println!(
            "numbers, {name}: {per_row:.1} ns a row, {} bytes, write {write:.0?}, read {read:.0?}, merge {merge:.0?}, same {}",
            bytes.len(),
            again.is_ok_and(|it| it.distinct() == numbers.distinct()),
        );
    }
    for different in [10, 10_000, ROWS] {
        let texts: Vec<String> = noise
            .iter()
            .map(|it| format!("word {}", it % different))
            .collect();
        let (per_row, words) = timed(Words::new, |words| {
            texts.iter().for_each(|it| words.add(it))
        });
        println!(
            "texts, {different} different: {per_row:.1} ns a row, {} bytes",
            words.to_bytes().len()
        );
    }
}

/// The fastest round, in nanoseconds a row.
fn timed<T>(new: impl Fn() -> T, fill: impl Fn(&mut T)) -> (f64, T) {
    let mut fastest = f64::INFINITY;
    let mut last = new();
    for _ in 0..ROUNDS {
        last = new();
        let start = Instant::now();
        fill(&mut last);
        fastest = fastest.min(start.elapsed().as_secs_f64() / ROWS as f64 * 1e9);
    }
    (fastest, last)
}

fn share(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
