//! Answers questions of the module `sequential`, as JSON; `tests/sequential_check.py` runs it.
//!
//! Each line of standard input names what is asked: `{"ask": "share", "units": 100, "events": 3, "alpha": 0.05}`. A number
//! that there is none of is `null`.

#![allow(clippy::print_stdout)]

mod lines;

use std::io::{self, BufRead};

use lines::{Fields, Outcome};
use serde_json::{Value, json};
use stats::Estimate;
use stats::sequential::bounded::Bounded;
use stats::sequential::clustered::{ClusteredRates, Waves};
use stats::sequential::cuped::{self, Pairs};
use stats::sequential::means::{self, Means, Values};
use stats::sequential::proportion::{self, Tally};
use stats::sequential::rates::Rates;
use stats::sequential::strata::{self, Row};
use stats::sequential::{Risks, assignment, band};

fn main() -> Outcome<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        println!("{}", answer(&Fields::read(&line)?)?);
    }
    Ok(())
}

/// Windows of the candidate and the control.
fn windows(fields: &Fields) -> Outcome<Vec<[Tally; 2]>> {
    let window = |counts: Vec<f64>| {
        let counts: Vec<u64> = counts.iter().map(|it| *it as u64).collect();
        let [candidate, events, control, events_control] = counts[..] else {
            return Err("a window is four counts".into());
        };
        Ok([
            Tally::new(candidate, events),
            Tally::new(control, events_control),
        ])
    };
    fields.columns("windows")?.into_iter().map(window).collect()
}

fn answer(fields: &Fields) -> Outcome<Value> {
    let risk = fields.or("alpha", 0.05)?;
    let risks = Risks {
        fail: risk,
        pass: risk,
    };
    Ok(match fields.text("ask")? {
        "share" => interval(proportion::share(tally(fields)?, risk)),
        "evidence" => json!(proportion::ln_evidence(
            tally(fields)?,
            fields.number("share")?
        )),
        "rates" => {
            let mut rates = Rates::new(fields.number("margin")?);
            let mut all = Vec::new();
            for [candidate, control] in windows(fields)? {
                rates.add(candidate, control);
                all.push([rates.ln_worse, rates.ln_sound]);
            }
            let read = rates.read(risks);
            json!({"all": all, "difference": interval(read.difference)})
        }
        "clustered" => {
            let waves = Waves {
                usual: 1,
                longest: 20,
            };
            let mut rates = ClusteredRates::new(fields.number("margin")?, waves);
            for (number, [candidate, control]) in (0..).zip(windows(fields)?) {
                rates.add(number, candidate, control);
            }
            json!({"ln_worse": rates.ln_worse()})
        }
        "means" => {
            let mut means = Means::new(fields.number("margin")?, fields.or("planned", 5_000)?);
            means.candidate = values(&fields.numbers("candidate")?);
            means.control = values(&fields.numbers("control")?);
            let read = means.read(risks);
            json!({
                "difference": interval(read.difference),
                "ln_evidence": read.ln_evidence,
                "kurtosis": means.candidate.units as f64 / means.candidate.effective(),
            })
        }
        "half" => json!([
            means::half_width(
                fields.number("error")?,
                fields.or("units", 0)?,
                risk,
                fields.or("planned", 0)?
            ),
            means::half_width_one_sided(
                fields.number("error")?,
                fields.or("units", 0)?,
                risk,
                fields.or("planned", 0)?
            ),
        ]),
        "bounded" => {
            let mut bounded = Bounded::new(risk);
            let seen = fields.numbers::<f64>("values")?.into_iter().map(|it| {
                bounded.add(it);
                interval(bounded.mean())
            });
            seen.collect()
        }
        "band" => json!(band::half_width(
            fields.or("units", 0)?,
            fields.or("from", 0)?,
            risk
        )),
        "assignment" => json!(assignment::ln_mismatch(
            &fields.numbers::<u64>("counts")?,
            &fields.numbers::<f64>("shares")?
        )),
        "cuped" => {
            let arm = |name: &str| -> Outcome<Pairs> {
                let mut pairs = Pairs::default();
                for pair in fields.columns(name)? {
                    pairs.add(pair[0], pair[1]);
                }
                Ok(pairs)
            };
            interval(cuped::difference(
                &arm("candidate")?,
                &arm("control")?,
                risk,
                fields.or("planned", 5_000)?,
            ))
        }
        "strata" => {
            let row = |it: &Vec<f64>| Row {
                period: it[0] as u32,
                is_candidate: it[1] > 0.0,
                unit: it[2] as u64,
                value: it[3],
                before: it[4],
            };
            let rows: Vec<Row> = fields.columns("rows")?.iter().map(row).collect();
            let planned = fields.or("planned", 5_000)?;
            interval(strata::difference(&rows, risk, planned).difference)
        }
        other => return Err(format!("no question `{other}`").into()),
    })
}

fn tally(fields: &Fields) -> Outcome<Tally> {
    Ok(Tally::new(fields.or("units", 0)?, fields.or("events", 0)?))
}

fn values(numbers: &[f64]) -> Values {
    let mut values = Values::default();
    numbers.iter().for_each(|it| values.add(*it));
    values
}

fn interval(estimate: Estimate) -> Value {
    let Estimate { value, low, high } = estimate;
    json!([value, low, high])
}
