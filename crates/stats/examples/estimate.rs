//! Reads rows from standard input and prints estimates, both as JSON; `tests/estimate_check.py` runs it.
//!
//! The first line is `{"kind": "isotonic"}` or `{"kind": "cbpe"}`. After the first, each line is a point to
//! fit, `x` and `y`, or a place to predict at, `x`. After the second, each is a row of the reference, `score`,
//! `predicted` and `truth` (0 or 1), or of a chunk, `score`, `predicted` and `chunk` (from 0).

#![allow(clippy::print_stdout)]

mod lines;

use std::io::{self, BufRead};

use lines::{Fields, Outcome};
use serde_json::{Value, json};
use stats::estimate::calibration::{self, Calibration};
use stats::estimate::error::{self, SamplingError, StandardErrors};
use stats::estimate::isotonic::{Isotonic, Point};
use stats::estimate::{Estimated, Row, estimate};

fn main() -> Outcome<()> {
    let mut lines = io::stdin().lock().lines();
    let head = lines.next().ok_or("no first line")??;
    let rest = lines.collect::<Result<Vec<String>, _>>()?;
    let rows = rest.iter().map(|line| Fields::read(line));
    let rows = rows.collect::<Outcome<Vec<Fields>>>()?;
    let answer = match Fields::read(&head)?.text("kind")? {
        "isotonic" => isotonic(&rows)?,
        "cbpe" => cbpe(&rows)?,
        kind => return Err(format!("no kind `{kind}`").into()),
    };
    println!("{answer}");
    Ok(())
}

fn isotonic(rows: &[Fields]) -> Outcome<Value> {
    let (mut points, mut places) = (Vec::new(), Vec::new());
    for row in rows {
        let x = row.number("x")?;
        if row.has("y") {
            let y = row.number("y")?;
            points.push(Point { x, y });
        } else {
            places.push(x);
        }
    }
    let fitted = Isotonic::fit(points).ok_or("no points")?;
    let values = places.iter().map(|it| fitted.predict(*it));
    Ok(json!(values.collect::<Vec<f64>>()))
}

fn cbpe(rows: &[Fields]) -> Outcome<Value> {
    let (mut reference, mut chunks) = (Vec::new(), Vec::new());
    for row in rows {
        let score = row.number("score")?;
        let predicted_positive = row.text("predicted")? == "1";
        if row.has("truth") {
            let positive = row.text("truth")? == "1";
            reference.push(error::Row {
                score,
                predicted_positive,
                positive,
            });
        } else {
            let chunk: usize = row.text("chunk")?.parse()?;
            if chunks.len() <= chunk {
                chunks.resize_with(chunk + 1, Vec::new);
            }
            chunks[chunk].push((score, predicted_positive));
        }
    }
    let scored = reference.iter().map(|it| calibration::Row {
        score: it.score,
        positive: it.positive,
    });
    let calibration = Calibration::fit(&scored.collect::<Vec<_>>());
    let errors = SamplingError::fit(&reference);
    let chunks = chunks.iter().map(|chunk| {
        let rows = chunk.iter().map(|&(score, predicted_positive)| Row {
            calibrated: calibration.probability(score),
            score,
            predicted_positive,
        });
        let estimated = estimate(&rows.collect::<Vec<Row>>());
        json!({
            "estimated": of_estimated(&estimated),
            "errors": of_errors(&errors.of_chunk(estimated.rows)),
        })
    });
    Ok(json!({
        "calibrated": calibration != Calibration::Unchanged,
        "chunks": chunks.collect::<Vec<Value>>(),
    }))
}

fn of_estimated(estimated: &Estimated) -> Value {
    json!({
        "rows": estimated.rows,
        "skipped": estimated.skipped,
        "true_positive": estimated.true_positive,
        "false_positive": estimated.false_positive,
        "false_negative": estimated.false_negative,
        "true_negative": estimated.true_negative,
        "accuracy": estimated.accuracy,
        "precision": estimated.precision,
        "recall": estimated.recall,
        "specificity": estimated.specificity,
        "f1": estimated.f1,
        "roc_auc": estimated.roc_auc,
        "average_precision": estimated.average_precision,
    })
}

fn of_errors(errors: &StandardErrors) -> Value {
    json!({
        "accuracy": errors.accuracy,
        "precision": errors.precision,
        "recall": errors.recall,
        "specificity": errors.specificity,
        "f1": errors.f1,
        "roc_auc": errors.roc_auc,
    })
}
