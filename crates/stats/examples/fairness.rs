//! Reads rows from standard input and prints how groups compare, both as JSON; `tests/fairness_check.py` runs
//! it.
//!
//! The first line is `{"groups": 3, "level": 0.95, "support_min": 30, "unprivileged": 0, "privileged": 1}`,
//! each further line a row: `group`, `predicted` and `truth` (0 or 1), and `score` where thresholds are wanted.

#![allow(clippy::print_stdout)]

mod lines;

use std::io::{self, BufRead};

use lines::{Fields, Outcome};
use serde_json::{Value, json};
use stats::Estimate;
use stats::fairness::counts::{Rate, Rates};
use stats::fairness::gap::Gap;
use stats::fairness::optimiser::{self, ScoredRow, Thresholds};
use stats::fairness::signed::{Sides, Signed};
use stats::fairness::{Fairness, Report, Row, Terms};

fn main() -> Outcome<()> {
    let mut lines = io::stdin().lock().lines();
    let head = lines.next().ok_or("no first line")??;
    let head = Fields::read(&head)?;
    let mut fairness = Fairness::new(head.count("groups")?);
    let mut scored = Vec::new();
    for line in lines {
        let line = line?;
        let fields = Fields::read(&line)?;
        let row = Row {
            group: fields.count("group")?,
            predicted_positive: fields.count("predicted")? == 1,
            positive: fields.count("truth")? == 1,
        };
        fairness.add(row);
        if fields.has("score") {
            scored.push(ScoredRow {
                group: row.group,
                score: fields.number("score")?,
                positive: row.positive,
            });
        }
    }
    let report = fairness.report(Terms {
        level: head.number("level")?,
        support_min: head.count("support_min")? as u64,
    });
    let sides = Sides {
        unprivileged: fairness.groups()[head.count("unprivileged")?],
        privileged: fairness.groups()[head.count("privileged")?],
    };
    let overall = fairness.overall();
    let weights = fairness.reweighing();
    let weights = weights.iter().map(|it| json!([it.negative, it.positive]));
    let thresholds = optimiser::demographic_parity(fairness.groups().len(), &scored);
    let all = json!({
        "report": of_report(&report),
        "signed": of_signed(sides.compare()),
        "theil_index": overall.theil_index(),
        "generalised_entropy": overall.generalised_entropy(),
        "reweighing": weights.collect::<Vec<_>>(),
        "thresholds": thresholds.as_ref().map(of_thresholds),
    });
    println!("{all}");
    Ok(())
}

fn of(estimate: Option<Estimate>) -> Value {
    let ends = |it: Estimate| json!({"value": it.value, "low": it.low, "high": it.high});
    estimate.map_or(Value::Null, ends)
}

fn of_report(report: &Report) -> Value {
    let groups = report.groups.iter().map(of_rates);
    json!({
        "groups": groups.collect::<Vec<_>>(),
        "overall": of_rates(&report.overall),
        "selection": of_gap(&report.selection),
        "true_positive": of_gap(&report.true_positive),
        "false_positive": of_gap(&report.false_positive),
        "accuracy": of_gap(&report.accuracy),
        "equalised_odds_difference": report.equalised_odds_difference,
        "equalised_odds_difference_mean": report.equalised_odds_difference_mean,
        "equalised_odds_ratio": report.equalised_odds_ratio,
    })
}

fn of_rates(rates: &Rates) -> Value {
    let of_rate = |it: Rate| json!({"support": it.support, "estimate": of(it.estimate)});
    json!({
        "selection": of_rate(rates.selection),
        "true_positive": of_rate(rates.true_positive),
        "false_positive": of_rate(rates.false_positive),
        "accuracy": of_rate(rates.accuracy),
    })
}

fn of_gap(gap: &Gap) -> Value {
    json!({
        "difference": gap.difference,
        "ratio": gap.ratio,
        "difference_to_overall": gap.difference_to_overall,
        "ratio_to_overall": gap.ratio_to_overall,
        "bound": of(gap.bound.difference),
        "extremes": gap.bound.extremes.map(|it| [it.least, it.most]),
        "left_out": gap.bound.left_out,
    })
}

fn of_signed(signed: Signed) -> Value {
    json!({
        "statistical_parity": signed.statistical_parity,
        "disparate_impact": signed.disparate_impact,
        "equal_opportunity": signed.equal_opportunity,
        "average_odds": signed.average_odds,
        "average_absolute_odds": signed.average_absolute_odds,
    })
}

/// Thresholds as text, because one may be infinite.
fn of_thresholds(thresholds: &Thresholds) -> Value {
    let groups = thresholds.groups.iter().map(|mix| {
        mix.map(|it| {
            json!({
                "upper": it.upper.to_string(),
                "lower": it.lower.to_string(),
                "upper_share": it.upper_share,
            })
        })
    });
    json!({
        "groups": groups.collect::<Vec<_>>(),
        "selection": thresholds.selection,
        "accuracy": thresholds.accuracy,
        "skipped": thresholds.skipped,
    })
}
