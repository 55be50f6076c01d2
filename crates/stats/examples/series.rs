//! Reads questions from standard input, one JSON object a line, and prints the answer to each as a line of
//! JSON; `tests/series_check.py` runs it.
//!
//! `kind` says what is asked, the other fields are the arguments: see `answer`. A number that JSON has no
//! word for is a string, in questions and answers: `"nan"`, `"inf"`.

#![allow(clippy::print_stdout)]

mod lines;

use std::io::{self, BufRead};

use lines::{Fields, Outcome};
use serde_json::{Value, json};
use stats::fdr::online::{Lord, Saffron};
use stats::fdr::{self, Dependence};
use stats::series::ewma::{Ewma, Settings};
use stats::series::robust::{self, Centre};
use stats::series::seasonal::{self, Season};
use stats::series::shesd::{self, Esd, Limits};
use stats::series::{Persistence, PersistenceRule};

fn main() -> Outcome<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let fields = Fields::read(&line)?;
        println!("{}", answer(&fields)?);
    }
    Ok(())
}

fn answer(fields: &Fields<'_>) -> Outcome<Value> {
    Ok(match fields.text("kind")? {
        "centre" => {
            let centre = Centre::of(fields.numbers("values")?);
            json!(centre.map(|it| json!([it.median, it.deviation])))
        }
        "scores" => of_all(&robust::scores(&fields.numbers("values")?)),
        "rolling" => {
            let window = fields.count("window")?;
            of_all(&robust::rolling_scores(&fields.numbers("values")?, window))
        }
        "residuals" => {
            let season = season(fields)?;
            of_all(&seasonal::residuals(&fields.numbers("values")?, season))
        }
        "seasonal" => {
            let season = season(fields)?;
            of_all(&seasonal::scores(&fields.numbers("values")?, season))
        }
        "phases" => {
            let period = fields.count("period")?;
            json!(seasonal::phase_medians(&fields.numbers("values")?, period))
        }
        "ewma" => {
            let chart = Ewma::new(Settings {
                mean: fields.number("mean")?,
                deviation: fields.number("deviation")?,
                weight: fields.number("weight")?,
                limit: fields.number("limit")?,
            });
            of_chart(chart, &fields.numbers("values")?)
        }
        "ewma_of_baseline" => {
            let chart = Ewma::of_baseline(&fields.numbers("baseline")?);
            of_chart(chart, &fields.numbers("values")?)
        }
        "esd" => {
            let limits = limits(fields)?;
            of_esd(&shesd::generalised_esd(&fields.numbers("values")?, limits))
        }
        "shesd" => {
            let (values, season) = (fields.numbers("values")?, fields.numbers("season")?);
            let limits = limits(fields)?;
            of_esd(&shesd::seasonal_hybrid_esd(&values, &season, limits))
        }
        "persistence" => {
            let mut rule = PersistenceRule::new(Persistence {
                needed: fields.text("needed")?.parse()?,
                windows: fields.text("windows")?.parse()?,
            });
            let values = fields.numbers::<f64>("values")?;
            let alarms: Vec<bool> = values.iter().map(|it| rule.add(*it != 0.0)).collect();
            json!(alarms)
        }
        "adjusted" => {
            let dependence = match fields.text("dependence")? {
                "positive" => Dependence::Positive,
                "any" => Dependence::Any,
                other => return Err(format!("no dependence `{other}`").into()),
            };
            let (p_values, alpha) = (fields.numbers("values")?, fields.number("alpha")?);
            json!({
                "adjusted": of_all(&fdr::adjusted(&p_values, dependence)),
                "discoveries": fdr::discoveries(&p_values, dependence, alpha),
            })
        }
        "lord" => {
            let mut lord = Lord::new(fields.number("alpha")?);
            let step = |it: &f64| json!([lord.level(), lord.add(*it)]);
            fields.numbers("values")?.iter().map(step).collect()
        }
        "saffron" => {
            let mut saffron = Saffron::new(fields.number("alpha")?);
            let step = |it: &f64| json!([saffron.level(), saffron.add(*it)]);
            fields.numbers("values")?.iter().map(step).collect()
        }
        kind => return Err(format!("no kind `{kind}`").into()),
    })
}

fn of(number: f64) -> Value {
    if number.is_finite() {
        json!(number)
    } else {
        json!(number.to_string())
    }
}

fn of_all(scores: &[Option<f64>]) -> Value {
    scores.iter().map(|it| it.map_or(Value::Null, of)).collect()
}

fn of_chart(chart: Option<Ewma>, values: &[f64]) -> Value {
    let Some(mut chart) = chart else {
        return Value::Null;
    };
    let points = values.iter().map(|it| chart.add(*it));
    let of_point = |it: stats::series::ewma::Point| json!([it.average, it.low, it.high, it.out]);
    points.map(|it| it.map_or(Value::Null, of_point)).collect()
}

fn of_esd(esd: &Esd) -> Value {
    let steps = esd.steps.iter();
    let steps = steps.map(|it| json!([it.index, of(it.statistic), it.critical]));
    json!({
        "steps": steps.collect::<Value>(),
        "anomalies": esd.positions(),
    })
}

fn season(fields: &Fields<'_>) -> Outcome<Season> {
    Ok(Season {
        period: fields.count("period")?,
        seasons: fields.count("seasons")?,
    })
}

fn limits(fields: &Fields<'_>) -> Outcome<Limits> {
    Ok(Limits {
        anomalies_max: fields.count("anomalies_max")?,
        alpha: fields.number("alpha")?,
    })
}
