//! Reads rows from standard input and prints the report, both as JSON; `tests/quality_check.py` runs it.
//!
//! The first line is `{"kind": "binary" | "multiclass" | "regression", "classes": 4, "level": 0.95}`, each
//! further line a row: `score`, `predicted`, `truth` (0 or 1), or `scores`, `predicted`, `truth`, or
//! `value`, `truth`. A number that JSON has no word for is a string: `"nan"`.

#![allow(clippy::print_stdout)]

mod lines;

use std::io::{self, BufRead};

use lines::{Fields, Outcome};
use serde_json::{Value, json};
use stats::{
    Binary, BinaryReport, BinaryRow, Estimate, Multiclass, MulticlassReport, MulticlassRow,
    Regression, RegressionReport, RegressionRow,
};

fn class(fields: &Fields<'_>, name: &str) -> Outcome<usize> {
    match fields.text(name)? {
        "false" => Ok(0),
        "true" => Ok(1),
        number => Ok(number.parse()?),
    }
}

fn main() -> Outcome<()> {
    let mut lines = io::stdin().lock().lines();
    let head = lines.next().ok_or("no first line")??;
    let head = Fields::read(&head)?;
    let level = head.number("level")?;
    let rows = lines.enumerate();
    let report = match head.text("kind")? {
        "binary" => {
            let mut binary = Binary::new();
            for (index, line) in rows {
                let line = line?;
                let fields = Fields::read(&line)?;
                let scored = fields.has("score").then(|| fields.number("score"));
                binary.add(BinaryRow {
                    score: scored.transpose()?,
                    predicted_positive: class(&fields, "predicted")? == 1,
                    positive: class(&fields, "truth")? == 1,
                    hash: index as u64,
                });
            }
            of_binary(&binary.report(level))
        }
        "multiclass" => {
            let mut multiclass = Multiclass::new(class(&head, "classes")?);
            for (index, line) in rows {
                let line = line?;
                let fields = Fields::read(&line)?;
                let scored = fields.has("scores").then(|| fields.numbers("scores"));
                multiclass.add(MulticlassRow {
                    scores: scored.transpose()?.as_deref(),
                    predicted: class(&fields, "predicted")?,
                    truth: class(&fields, "truth")?,
                    hash: index as u64,
                });
            }
            of_multiclass(&multiclass.report(level))
        }
        "regression" => {
            let mut regression = Regression::new();
            for (index, line) in rows {
                let line = line?;
                let fields = Fields::read(&line)?;
                regression.add(RegressionRow {
                    value: fields.number("value")?,
                    truth: fields.number("truth")?,
                    hash: index as u64,
                });
            }
            of_regression(&regression.report(level))
        }
        kind => return Err(format!("no kind `{kind}`").into()),
    };
    println!("{report}");
    Ok(())
}

fn of(estimate: Option<Estimate>) -> Value {
    let ends = |it: Estimate| json!({"value": it.value, "low": it.low, "high": it.high});
    estimate.map_or(Value::Null, ends)
}

fn of_binary(report: &BinaryReport) -> Value {
    json!({
        "rows": report.rows,
        "scored_rows": report.scored_rows,
        "skipped": report.skipped,
        "outside": report.outside,
        "true_positive": report.true_positive,
        "false_positive": report.false_positive,
        "false_negative": report.false_negative,
        "true_negative": report.true_negative,
        "accuracy": of(report.accuracy),
        "precision": of(report.precision),
        "recall": of(report.recall),
        "f1": of(report.f1),
        "roc_auc": of(report.roc_auc),
        "average_precision": of(report.average_precision),
        "log_loss": of(report.log_loss),
        "brier": of(report.brier),
        "calibration_error": of(report.calibration_error),
        "approximate": report.approximate,
    })
}

fn of_multiclass(report: &MulticlassReport) -> Value {
    let classes = report.per_class.iter().map(|class| {
        json!({
            "precision": of(Some(class.precision)),
            "recall": of(Some(class.recall)),
            "f1": of(Some(class.f1)),
            "support": class.support,
        })
    });
    json!({
        "rows": report.rows,
        "scored_rows": report.scored_rows,
        "skipped": report.skipped,
        "outside": report.outside,
        "confusion": report.confusion,
        "accuracy": of(report.accuracy),
        "macro_precision": of(report.macro_precision),
        "macro_recall": of(report.macro_recall),
        "macro_f1": of(report.macro_f1),
        "weighted_f1": of(report.weighted_f1),
        "per_class": classes.collect::<Vec<_>>(),
        "roc_auc_ovr": of(report.roc_auc_ovr),
        "log_loss": of(report.log_loss),
        "brier": of(report.brier),
        "calibration_error": of(report.calibration_error),
        "approximate": report.approximate,
    })
}

fn of_regression(report: &RegressionReport) -> Value {
    json!({
        "rows": report.rows,
        "skipped": report.skipped,
        "mae": of(report.mae),
        "rmse": of(report.rmse),
        "mape": of(report.mape),
        "r2": of(report.r2),
        "bias": of(report.bias),
    })
}
