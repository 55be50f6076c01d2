//! How long ten million rows take, by kind, finding their cells, and fitting trees: `cargo run --release -p stats --example speed`.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::time::Instant;

use stats::boost::{Booster, Settings};
use stats::drift::bins::Bins;
use stats::drift::lookup::Lookup;
use stats::random::nth;
use stats::{Binary, BinaryRow, Multiclass, MulticlassRow, Regression, RegressionRow};

const ROWS: u64 = 10_000_000;

fn main() {
    // Random numbers are made before the clock runs: they would be a good part of the time.
    let noise: Vec<u64> = (0..ROWS).map(nth).collect();
    let share = |bits: u64| (bits >> 11) as f64 / (1u64 << 53) as f64;
    let score = |bits: u64| share(bits);
    let narrow = |bits: u64| f64::from(share(bits) as f32);
    for (name, score) in [("f32", &narrow as &dyn Fn(u64) -> f64), ("f64", &score)] {
        let scores: Vec<f64> = noise.iter().map(|bits| score(*bits)).collect();
        let mut binary = Binary::new();
        let add = Instant::now();
        for (bits, score) in noise.iter().zip(&scores) {
            binary.add(BinaryRow {
                score: Some(*score),
                predicted_positive: *score > 0.5,
                positive: share(bits.rotate_left(32)) < *score,
                hash: bits >> 3,
            });
        }
        let add = add.elapsed();
        let report = Instant::now();
        let auc = binary.report(0.95).roc_auc.map(|it| it.value);
        let report = report.elapsed();
        println!("binary, {name} scores: add {add:.2?}, report {report:.2?}, AUC {auc:.6?}");
    }

    let mut multiclass = Multiclass::new(3);
    let add = Instant::now();
    for bits in &noise {
        let first = share(*bits);
        let truth = (bits >> 7) % 3;
        let scores = [first, (1.0 - first) / 4.0, (1.0 - first) * 0.75];
        multiclass.add(MulticlassRow {
            scores: Some(&scores),
            predicted: usize::from(first < 0.5),
            truth: truth as usize,
            hash: bits >> 3,
        });
    }
    let add = add.elapsed();
    let report = Instant::now();
    let loss = multiclass.report(0.95).log_loss.map(|it| it.value);
    let report = report.elapsed();
    println!("multiclass, 3 classes: add {add:.2?}, report {report:.2?}, log loss {loss:.6?}");

    let mut regression = Regression::new();
    let add = Instant::now();
    for bits in &noise {
        regression.add(RegressionRow {
            value: share(*bits),
            truth: share(bits.rotate_left(32)),
            hash: bits >> 3,
        });
    }
    let add = add.elapsed();
    let report = Instant::now();
    let r2 = regression.report(0.95).r2.map(|it| it.value);
    let report = report.elapsed();
    println!("regression: add {add:.2?}, report {report:.2?}, R2 {r2:.6?}");
    cells(&noise);
    boost(&noise);
}

/// The cells of numbers among twenty bins: one by one, and by a search that is made for as many as a batch has.
fn cells(noise: &[u64]) {
    let share = |bits: &u64| (bits >> 11) as f64 / (1u64 << 53) as f64;
    let values: Vec<f64> = noise.iter().map(share).collect();
    let edges: Vec<f64> = (1..20).map(|it| f64::from(it) / 20.0).collect();
    for atoms in [&[][..], &[0.125, 0.5]] {
        let bins = Bins::from_parts(atoms.to_vec(), edges.clone(), Some((0.0, 1.0)));
        let bins = bins.expect("ascending and in the range");
        let mut counts = vec![0_u64; bins.cells()];
        let alone = Instant::now();
        for cell in values.iter().filter_map(|it| bins.cell(*it)) {
            counts[cell] += 1;
        }
        let alone = alone.elapsed();
        let together = Instant::now();
        for batch in values.chunks(8 * 1024) {
            let lookup = Lookup::new(&bins);
            for cell in batch.iter().filter_map(|it| lookup.cell(*it)) {
                counts[cell] += 1;
            }
        }
        let together = together.elapsed();
        let (count, rows) = (atoms.len(), counts.iter().sum::<u64>());
        println!(
            "cells, {count} atoms, {rows} rows: each alone {alone:.2?}, by lookup {together:.2?}"
        );
    }
}

/// A hundred trees on a hundred thousand rows of twenty features.
fn boost(noise: &[u64]) {
    let share = |bits: &u64| (bits >> 11) as f64 / (1u64 << 53) as f64;
    let columns: Vec<Vec<f64>> = noise
        .chunks(100_000)
        .take(20)
        .map(|it| it.iter().map(share).collect())
        .collect();
    let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let sum = |row: usize| columns.iter().map(|it| it[row].sin()).sum();
    let targets: Vec<f64> = (0..100_000).map(sum).collect();
    let fit = Instant::now();
    let fitted = Booster::regressor(&columns, &targets, Settings::USUAL).expect("within bounds");
    let fit = fit.elapsed();
    let predict = Instant::now();
    let values = fitted.predict(&columns).expect("as fitted");
    let predict = predict.elapsed();
    let squares = values.iter().zip(&targets).map(|(a, b)| (a - b).powi(2));
    let error = (squares.sum::<f64>() / values.len() as f64).sqrt();
    println!("boost, 100 000 rows: fit {fit:.2?}, predict {predict:.2?}, error {error:.6}");
}
