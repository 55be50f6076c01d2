//! Pages of a replay put together, and what they say.

use serde::Serialize;
use wire::api::ledger::{ReplayRecord, ReplaySliceRecord};

use crate::failure::Failure;
use crate::output::{count, decimals, number, share, signed, table};
use crate::threshold::Threshold;

/// The most slices of a table; `--json` has all.
const SLICES_SHOWN: usize = 40;

/// The 97.5% quantile of the normal distribution: an interval at 95% is as wide on either side.
const NORMAL_95: f64 = 1.959_964;

/// Figures that thresholds are set for.
const FIGURES: [&str; 3] = ["changed", "failed", "accuracy_drop"];

/// Adds a page. Of the largest changes so many are kept.
pub(super) fn add(sum: &mut ReplayRecord, page: ReplayRecord, largest_max: usize) {
    // Without `..`: a new figure must say here how it adds up.
    let ReplayRecord {
        total,
        replayed,
        not_recorded,
        failed,
        failure,
        changed,
        difference_sum,
        difference_squares,
        compared,
        numbers,
        right_before,
        right_after,
        labelled,
        squared_error_before,
        squared_error_after,
        largest,
        slices,
        next,
    } = page;
    sum.total = sum.total.or(total);
    sum.replayed += replayed;
    sum.not_recorded += not_recorded;
    sum.failed += failed;
    sum.failure = sum.failure.take().or(failure);
    sum.changed += changed;
    sum.difference_sum += difference_sum;
    sum.difference_squares += difference_squares;
    sum.compared += compared;
    sum.numbers |= numbers;
    sum.right_before += right_before;
    sum.right_after += right_after;
    sum.labelled += labelled;
    sum.squared_error_before += squared_error_before;
    sum.squared_error_after += squared_error_after;
    sum.largest.extend(largest);
    sum.largest
        .sort_by(|a, b| b.difference.abs().total_cmp(&a.difference.abs()));
    sum.largest.truncate(largest_max);
    for slice in slices {
        let ReplaySliceRecord {
            column,
            value,
            rows,
            changed,
            difference_sum,
        } = slice;
        // They are kept in this order: there may be thousands of them.
        let place = sum
            .slices
            .binary_search_by(|it| (&it.column, &it.value).cmp(&(&column, &value)));
        match place {
            Ok(place) => {
                let all = &mut sum.slices[place];
                all.rows += rows;
                all.changed += changed;
                all.difference_sum += difference_sum;
            }
            Err(place) => {
                let slice = ReplaySliceRecord {
                    column,
                    value,
                    rows,
                    changed,
                    difference_sum,
                };
                sum.slices.insert(place, slice);
            }
        }
    }
    sum.next = next;
}

/// Rows that have been gone through.
pub(super) fn done(sum: &ReplayRecord) -> u64 {
    sum.replayed + sum.not_recorded + sum.failed
}

/// Puts the slices in the order in which they are shown, those where most changed first. Nothing is added
/// any more then.
pub(super) fn sort(sum: &mut ReplayRecord) {
    let part = |it: &ReplaySliceRecord| part(it.changed, it.rows).unwrap_or(0.0);
    sum.slices.sort_by(|a, b| {
        let by_share = part(b).total_cmp(&part(a));
        let by_rows = by_share.then(b.rows.cmp(&a.rows));
        by_rows.then_with(|| (&a.column, &a.value).cmp(&(&b.column, &b.value)))
    });
}

fn part(of: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| of as f64 / all as f64)
}

/// The mean difference and the ends of its interval at 95%, by the normal approximation; no interval where a
/// single row was compared.
fn difference(sum: &ReplayRecord) -> Option<(f64, Option<(f64, f64)>)> {
    let mean = (sum.compared > 0).then(|| sum.difference_sum / sum.compared as f64)?;
    if sum.compared < 2 {
        return Some((mean, None));
    }
    let rows = sum.compared as f64;
    // Rounding may bring it below nothing where all differences are the same.
    let variance = ((sum.difference_squares - rows * mean * mean) / (rows - 1.0)).max(0.0);
    let half = NORMAL_95 * (variance / rows).sqrt();
    Some((mean, Some((mean - half, mean + half))))
}

/// How right the answers were and are, by the rows that have a label.
enum Rightness {
    /// The share of right classes.
    Accuracy { before: f64, after: f64 },
    /// The root of the mean squared error.
    Error { before: f64, after: f64 },
}

fn rightness(sum: &ReplayRecord) -> Option<Rightness> {
    let accuracy = |right| part(right, sum.labelled);
    let root = |squares: f64| (squares / sum.labelled as f64).sqrt();
    let (before, after) = (accuracy(sum.right_before)?, accuracy(sum.right_after)?);
    // Only values have errors to be squared, and only classes are right.
    if sum.numbers {
        let before = root(sum.squared_error_before);
        let after = root(sum.squared_error_after);
        return Some(Rightness::Error { before, after });
    }
    Some(Rightness::Accuracy { before, after })
}

/// Refuses thresholds for figures that there are none of.
pub(super) fn check(thresholds: &[Threshold]) -> Result<(), Failure> {
    let unknown = thresholds.iter().find(|it| !FIGURES.contains(&&*it.name));
    let Some(Threshold { name, .. }) = unknown else {
        return Ok(());
    };
    let message = format!("a replay has no figure `{name}`");
    Err(Failure::usage(
        message,
        format!("there are {}", FIGURES.join(", ")),
    ))
}

/// Refuses a replay that passes a threshold, or about which one of them can say nothing.
pub(super) fn judge(sum: &ReplayRecord, thresholds: &[Threshold]) -> Result<(), Failure> {
    let mut broken = Vec::new();
    for Threshold { name, value, text } in thresholds {
        let got = match &**name {
            "changed" => part(sum.changed, sum.replayed),
            "failed" => part(sum.failed, sum.replayed + sum.failed),
            _ => match rightness(sum) {
                Some(Rightness::Accuracy { before, after }) => Some(before - after),
                Some(Rightness::Error { .. }) | None => None,
            },
        };
        let Some(got) = got else {
            let message = format!("`{name}` cannot be told: no row of the replay has it");
            let hint = match &**name {
                "accuracy_drop" => "it needs classes and labels; `windlass label` tells labels",
                _ => "choose a time with predictions whose inputs were recorded",
            };
            return Err(Failure::refused(message, hint));
        };
        if got > *value {
            broken.push(format!("`{name}` is {}, over {text}", share(got)));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    let hint = "look at the largest changes, and at columns with `--by COLUMN`";
    Err(Failure::refused(broken.join("; "), hint))
}

/// What a replay found, for programs and for people.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) model: String,
    pub(super) against: String,
    #[serde(flatten)]
    pub(super) sum: ReplayRecord,
}

pub(super) fn show(report: &Report) -> String {
    let Report {
        model,
        against,
        sum,
    } = report;
    let rows = |it| count(it, "row");
    let mut lines = vec![format!("{model} against {against}")];
    lines.push(format!("replayed      {}", rows(sum.replayed)));
    if sum.not_recorded > 0 {
        let skipped = rows(sum.not_recorded);
        lines.push(format!(
            "not recorded  {skipped}: their inputs were not kept whole"
        ));
    }
    if sum.failed > 0 {
        let why = sum.failure.as_deref().unwrap_or("no reason was given");
        lines.push(format!(
            "failed        {}, the first: {why}",
            rows(sum.failed)
        ));
    }
    if let Some(part) = part(sum.changed, sum.replayed) {
        let changed = rows(sum.changed);
        lines.push(format!("changed       {changed} ({})", share(part)));
    }
    if let Some((mean, ends)) = difference(sum) {
        let ends = ends.map(|(low, high)| format!(" [{}, {}] at 95%", number(low), number(high)));
        let ends = ends.unwrap_or_default();
        lines.push(format!("difference    {} on average{ends}", signed(mean)));
    }
    if let Some(rightness) = rightness(sum) {
        let (what, before, after) = match rightness {
            Rightness::Accuracy { before, after } => ("accuracy", before, after),
            Rightness::Error { before, after } => ("rmse    ", before, after),
        };
        let (before, after) = (decimals(before, 4.0), decimals(after, 4.0));
        let labelled = rows(sum.labelled);
        lines.push(format!(
            "{what}      {before} before, {after} now, by {labelled} with a label"
        ));
    }
    let mut parts = vec![lines.join("\n")];
    if !sum.largest.is_empty() {
        let changes = sum.largest.iter().map(|it| {
            vec![
                it.prediction_id.clone(),
                it.before.clone(),
                it.after.clone(),
                signed(it.difference),
            ]
        });
        parts.push(table(
            &["LARGEST CHANGES", "BEFORE", "NOW", "DIFFERENCE"],
            changes,
        ));
    }
    if !sum.slices.is_empty() {
        parts.push(slices(&sum.slices));
    }
    parts.join("\n\n")
}

fn slices(slices: &[ReplaySliceRecord]) -> String {
    let rows = slices.iter().take(SLICES_SHOWN).map(|it| {
        let mean = (it.rows > 0).then(|| it.difference_sum / it.rows as f64);
        vec![
            it.column.clone(),
            it.value.clone(),
            it.rows.to_string(),
            it.changed.to_string(),
            share(part(it.changed, it.rows).unwrap_or(0.0)),
            mean.map(signed).unwrap_or_default(),
        ]
    });
    let headers = ["COLUMN", "VALUE", "ROWS", "CHANGED", "SHARE", "DIFFERENCE"];
    let mut text = table(&headers, rows);
    if let Some(more) = slices.len().checked_sub(SLICES_SHOWN + 1) {
        text.push_str(&format!("\nand {} more: `--json` has all", more + 1));
    }
    text
}

#[cfg(test)]
mod tests {
    use wire::api::ledger::ReplayChangeRecord;

    use super::*;

    fn slice(column: &str, value: &str, rows: u64, changed: u64) -> ReplaySliceRecord {
        ReplaySliceRecord {
            column: column.to_owned(),
            value: value.to_owned(),
            rows,
            changed,
            difference_sum: changed as f64 / 10.0,
        }
    }

    fn change(id: &str, difference: f64) -> ReplayChangeRecord {
        ReplayChangeRecord {
            prediction_id: id.to_owned(),
            before: "bad 0.7".to_owned(),
            after: "good 0.4".to_owned(),
            difference,
        }
    }

    /// A replay of two pages.
    fn replayed() -> ReplayRecord {
        let first = ReplayRecord {
            total: Some(110),
            replayed: 60,
            changed: 2,
            difference_sum: 0.6,
            difference_squares: 0.2,
            compared: 60,
            right_before: 30,
            right_after: 28,
            labelled: 40,
            largest: vec![change("a", -0.3), change("b", 0.1)],
            slices: vec![slice("home", "rent", 50, 0), slice("home", "own", 10, 2)],
            next: Some("a".to_owned()),
            ..ReplayRecord::default()
        };
        let second = ReplayRecord {
            replayed: 40,
            not_recorded: 8,
            failed: 2,
            failure: Some("no input `x`".to_owned()),
            compared: 40,
            right_before: 5,
            right_after: 5,
            labelled: 10,
            largest: vec![change("c", 0.2)],
            slices: vec![slice("home", "rent", 40, 10)],
            ..ReplayRecord::default()
        };
        let mut sum = ReplayRecord::default();
        add(&mut sum, first, 2);
        assert_eq!((done(&sum), sum.next.as_deref()), (60, Some("a")));
        add(&mut sum, second, 2);
        sort(&mut sum);
        sum
    }

    #[test]
    fn pages_add_up() {
        let sum = replayed();
        assert_eq!(
            (done(&sum), sum.total, sum.next.clone()),
            (110, Some(110), None)
        );
        let report = Report {
            model: "credit".to_owned(),
            against: "credit:8".to_owned(),
            sum,
        };
        let want = "\
credit against credit:8
replayed      100 rows
not recorded  8 rows: their inputs were not kept whole
failed        2 rows, the first: no input `x`
changed       2 rows (2.00%)
difference    +0.00600 on average [-0.00273, 0.0147] at 95%
accuracy      0.7000 before, 0.6600 now, by 50 rows with a label

LARGEST CHANGES  BEFORE   NOW       DIFFERENCE
a                bad 0.7  good 0.4  -0.300
c                bad 0.7  good 0.4  +0.200

COLUMN  VALUE  ROWS  CHANGED  SHARE  DIFFERENCE
home    own    10    2        20.0%  +0.0200
home    rent   90    10       11.1%  +0.0111";
        assert_eq!(show(&report), want);
    }

    #[test]
    fn an_interval_needs_two_rows_and_bears_rounding() {
        let of = |compared, difference_sum, difference_squares| {
            difference(&ReplayRecord {
                compared,
                difference_sum,
                difference_squares,
                ..ReplayRecord::default()
            })
        };
        assert_eq!(of(0, 0.0, 0.0), None);
        assert_eq!(of(1, 0.5, 0.25), Some((0.5, None)));
        // Two rows of 1 and 3: their standard error is 1.
        assert_eq!(
            of(2, 4.0, 10.0),
            Some((2.0, Some((2.0 - NORMAL_95, 2.0 + NORMAL_95))))
        );
        assert_eq!(of(2, 0.2, 0.02 - 1e-18), Some((0.1, Some((0.1, 0.1)))));
    }

    fn check_thresholds(sum: &ReplayRecord, thresholds: &[&str], want: &str) {
        let thresholds: Vec<Threshold> = thresholds
            .iter()
            .map(|it| it.parse().expect("a threshold"))
            .collect();
        let got = check(&thresholds).and_then(|()| judge(sum, &thresholds));
        assert_eq!(
            got.map_or_else(|it| it.message, |()| "good".to_owned()),
            want
        );
    }

    #[test]
    fn a_threshold_that_is_passed_is_named() {
        let sum = replayed();
        check_thresholds(
            &sum,
            &["changed=2%", "failed=2%", "accuracy_drop=0.05"],
            "good",
        );
        check_thresholds(
            &sum,
            &["changed=1%", "failed=1%", "accuracy_drop=0.03"],
            "`changed` is 2.00%, over 1%; `failed` is 1.96%, over 1%; `accuracy_drop` is 4.00%, over 0.03",
        );
        check_thresholds(&sum, &["speed=1"], "a replay has no figure `speed`");
    }

    #[test]
    fn what_cannot_be_told_passes_no_threshold() {
        let cannot = |name| format!("`{name}` cannot be told: no row of the replay has it");
        let nothing = ReplayRecord::default();
        check_thresholds(&nothing, &["changed=1%"], &cannot("changed"));
        check_thresholds(&nothing, &["failed=1%"], &cannot("failed"));
        let mut numbers = replayed();
        numbers.numbers = true;
        numbers.squared_error_before = 50.0;
        check_thresholds(&numbers, &["accuracy_drop=1"], &cannot("accuracy_drop"));
    }
}
