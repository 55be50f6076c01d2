//! Reads fits from standard input and prints what they say, both as JSON; `tests/boost_check.py` runs it.
//!
//! Each line has a `kind`. Columns are lists of lists. `regressor` and `classifier` have `features`, `targets` (0 and
//! 1 for a classifier) and `places`, columns to predict at. `dle` has
//! `features`, `values` and `truths` of the reference, and `chunks`, each with `features` and `values`.
//! `domain` has the columns `reference` and `current`.

#![allow(clippy::print_stdout)]

mod lines;

use std::io::{self, BufRead};

use lines::{Fields, Outcome};
use serde_json::{Value, json};
use stats::boost::{Booster, Settings, refs};
use stats::drift::classifier::separation;
use stats::estimate::dle::{Expected, Losses};

fn main() -> Outcome<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let line = Fields::read(&line)?;
        let answer = match line.text("kind")? {
            "regressor" => {
                let features = line.columns("features")?;
                let targets = line.numbers::<f64>("targets")?;
                let fitted = Booster::regressor(&refs(&features), &targets, Settings::USUAL)?;
                predicted(&fitted, &line)?
            }
            "classifier" => {
                let features = line.columns("features")?;
                let targets = line.numbers::<u8>("targets")?;
                let positive: Vec<bool> = targets.iter().map(|it| *it == 1).collect();
                let fitted = Booster::classifier(&refs(&features), &positive, Settings::USUAL)?;
                predicted(&fitted, &line)?
            }
            "dle" => dle(&line)?,
            "domain" => domain(&line)?,
            kind => return Err(format!("no kind `{kind}`").into()),
        };
        println!("{answer}");
    }
    Ok(())
}

fn predicted(fitted: &Booster, line: &Fields<'_>) -> Outcome<Value> {
    let places = line.columns("places")?;
    Ok(json!({"values": fitted.predict(&refs(&places))?, "shares": fitted.shares()}))
}

fn dle(line: &Fields<'_>) -> Outcome<Value> {
    let features = line.columns("features")?;
    let (values, truths) = (line.numbers("values")?, line.numbers("truths")?);
    let losses = Losses::fit(&refs(&features), &values, &truths, Settings::USUAL)?;
    let mut chunks = Vec::new();
    for chunk in line.parts("chunks")? {
        let features = chunk.columns("features")?;
        let got = losses.of_chunk(&refs(&features), &chunk.numbers("values")?)?;
        let expected = |it: Option<Expected>| it.map(|it| json!([it.value, it.standard_error]));
        chunks.push(json!({
            "rows": got.rows,
            "skipped": got.skipped,
            "mae": expected(got.mae),
            "mse": expected(got.mse),
            "rmse": expected(got.rmse),
        }));
    }
    Ok(json!({"rows": losses.rows(), "skipped": losses.skipped(), "chunks": chunks}))
}

fn domain(line: &Fields<'_>) -> Outcome<Value> {
    let (reference, current) = (line.columns("reference")?, line.columns("current")?);
    let got = separation(&refs(&reference), &refs(&current), Settings::USUAL, 0.95)?;
    Ok(json!({
        "auc": got.auc.value,
        "low": got.auc.low,
        "high": got.auc.high,
        "shares": got.shares,
        "rows": [got.reference_rows, got.current_rows],
    }))
}
