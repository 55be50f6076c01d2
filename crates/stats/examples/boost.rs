//! Reads fits from standard input and prints what they say, both as JSON; `tests/boost_check.py` runs it.
//!
//! Each line has a `kind`. Columns are lists of lists. `regressor` and `classifier` have `features`, `targets` (0 and
//! 1 for a classifier) and `places`, columns to predict at.

#![allow(clippy::print_stdout)]

mod lines;

use std::io::{self, BufRead};

use lines::{Fields, Outcome};
use serde_json::{Value, json};
use stats::boost::{Booster, Settings};

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
            kind => return Err(format!("no kind `{kind}`").into()),
        };
        println!("{answer}");
    }
    Ok(())
}

fn refs(columns: &[Vec<f64>]) -> Vec<&[f64]> {
    columns.iter().map(Vec::as_slice).collect()
}

fn predicted(fitted: &Booster, line: &Fields<'_>) -> Outcome<Value> {
    let places = line.columns("places")?;
    Ok(json!({"values": fitted.predict(&refs(&places))?, "shares": fitted.shares()}))
}
