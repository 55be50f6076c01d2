//! Reads samples from standard input and prints how far apart they are, both as JSON; `tests/drift_check.py` runs it.
//!
//! Each line is `{"kind": "table" | "sample" | "bins" | "mmd", "reference": [..], "current": [..]}`. A number that
//! JSON has no word for is a string: `"nan"`.

#![allow(clippy::print_stdout)]

mod lines;

use std::io::{self, BufRead};

use lines::{Fields, Outcome};
use serde_json::{Value, json};
use stats::Estimate;
use stats::drift::bins::Bins;
use stats::drift::embedding::mmd;
use stats::drift::sample::Sample;
use stats::drift::table::{Distance, Smoothing, Table};

const LEVEL: f64 = 0.95;
const PERMUTATIONS: usize = 200;

fn main() -> Outcome<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let line = Fields::read(&line)?;
        let (reference, current) = ("reference", "current");
        let answer = match line.text("kind")? {
            "table" => table(&line.numbers(reference)?, &line.numbers(current)?),
            "sample" => sample(line.numbers(reference)?, line.numbers(current)?),
            "bins" => bins(
                line.numbers(reference)?,
                line.numbers(current)?,
                line.count("parts")?,
            ),
            "mmd" => embedding(
                &line.numbers(reference)?,
                &line.numbers(current)?,
                line.count("dimensions")?,
            ),
            kind => return Err(format!("no kind `{kind}`").into()),
        };
        println!("{answer}");
    }
    Ok(())
}

fn estimate(it: Estimate) -> Value {
    json!({"value": it.value, "low": it.low, "high": it.high})
}

fn distance(it: Distance) -> Value {
    json!({"value": it.value, "expected": it.expected, "corrected": it.corrected()})
}

fn table(reference: &[u64], current: &[u64]) -> Value {
    let Some(table) = Table::new(reference, current) else {
        return Value::Null;
    };
    json!({
        "total_variation": distance(table.total_variation()),
        "l_infinity": table.l_infinity(),
        "hellinger": distance(table.hellinger()),
        "jensen_shannon": distance(table.jensen_shannon()),
        "psi": distance(table.psi(Smoothing::Jeffreys)),
        "psi_floor": distance(table.psi(Smoothing::Floor(1e-4))),
        "chi_square": table.chi_square().map(|it| json!([it.statistic, it.degrees, it.p])),
        "cramers_v": table.cramers_v(LEVEL).map(|it| json!([estimate(it.estimate), it.corrected])),
    })
}

fn sample(reference: Vec<f64>, current: Vec<f64>) -> Value {
    let (reference, current) = (Sample::new(reference), Sample::new(current));
    json!({
        "ks": reference.ks(&current).map(|it| json!([it.statistic, it.p])),
        "wasserstein": reference.wasserstein(&current),
        "deviation": reference.deviation(),
        "auc_effect": reference.auc_effect(&current, LEVEL).map(estimate),
        "missing": [reference.missing(), current.missing()],
    })
}

fn bins(reference: Vec<f64>, current: Vec<f64>, parts: usize) -> Value {
    let bins = Bins::new(&Sample::new(reference.iter().copied()), parts);
    let (before, now) = (bins.count(reference), bins.count(current));
    json!({
        "atoms": bins.atoms(), "edges": bins.edges(), "range": bins.range(), "reference": before.cells, "current": now.cells,
        "missing": [before.missing, now.missing], "table": table(&before.cells, &now.cells),
    })
}

fn embedding(reference: &[f64], current: &[f64], dimensions: usize) -> Value {
    match mmd(reference, current, dimensions, PERMUTATIONS, 7) {
        None => Value::Null,
        Some(it) => json!({"squared": it.squared, "p": it.p, "width": it.width}),
    }
}
