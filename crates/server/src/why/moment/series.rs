//! Versions, codes, latency, traffic and cost by span: what surely changed by more than matters.

use std::collections::{BTreeMap, BTreeSet};

use ::ledger::{CodeRows, Served};
use domain::alert::Fact;
use domain::monitor::anomaly::{Anomaly, Series};
use domain::why::{Clue, Role, onset};
use stats::Estimate;
use stats::interval::{difference, difference_of_means, wilson};

use super::{ALPHA, Found, Frame, SPANS, evidence};
use crate::quality::{figure, rounded, shown};

/// The version with the most rows before, and in each half.
pub(super) struct Versions {
    pub(super) before: Option<u32>,
    pub(super) halves: [Option<u32>; 2],
}

/// Requests of a span without which its latency and its cost say nothing.
const ROWS_MIN: u64 = 10;
/// Spans without which nothing is compared.
const SPANS_MIN: usize = 3;
/// A move of latency that never matters, in microseconds.
const LATENCY_LEAST_US: f64 = 1000.0;
/// The smallest change of a version's share of the rows that matters.
const SHARE: f64 = 0.05;
/// Codes that are looked at: the most frequent.
const CODES_MAX: usize = 20;

pub(super) fn look(
    frame: Frame,
    codes: &[CodeRows],
    served: &[Served],
    setting: &Anomaly,
    found: &mut Found,
) -> Versions {
    let within =
        |(from, to): (i64, i64)| codes.iter().filter(move |it| (from..to).contains(&it.span));
    let most = |range| {
        let mut rows: BTreeMap<u32, u64> = BTreeMap::new();
        for it in within(range).filter(|it| it.code.is_none()) {
            *rows.entry(it.version).or_default() += it.rows;
        }
        rows.into_iter().max_by_key(|it| it.1).map(|it| it.0)
    };
    let versions = Versions {
        before: most(frame.before()),
        halves: frame.halves().map(most),
    };
    if within(frame.before()).next().is_none() {
        found.unjudged(
            "errors, latency, traffic and cost",
            "there were no requests in the hours before, with which to compare",
        );
        return versions;
    }
    shares(frame, codes, setting, found);
    for series in [Series::Latency, Series::Traffic, Series::Cost] {
        if !setting.leave_out.contains(&series) {
            spans(frame, served, series, setting, found);
        }
    }
    versions
}

/// Something that rows have or have not.
enum Which<'a> {
    Code(&'a str),
    Version(u32),
}

impl Which<'_> {
    fn has(&self, it: &CodeRows) -> bool {
        match self {
            Self::Code(code) => it.code.as_deref() == Some(*code),
            Self::Version(version) => it.version == *version,
        }
    }
}

/// The share of rows of each code and version.
fn shares(frame: Frame, codes: &[CodeRows], setting: &Anomaly, found: &mut Found) {
    let mut by_code: BTreeMap<&str, u64> = BTreeMap::new();
    for it in codes {
        if let Some(code) = &it.code {
            *by_code.entry(code).or_default() += it.rows;
        }
    }
    let mut frequent: Vec<(&str, u64)> = by_code.into_iter().collect();
    frequent.sort_by_key(|it| std::cmp::Reverse(it.1));
    if frequent.len() > CODES_MAX {
        found.unjudged(
            "errors",
            format!("only the {CODES_MAX} most frequent codes were looked at"),
        );
        frequent.truncate(CODES_MAX);
    }
    let versions: BTreeSet<u32> = codes.iter().map(|it| it.version).collect();
    let all: Vec<Which<'_>> = frequent
        .iter()
        .map(|it| Which::Code(it.0))
        .chain(versions.into_iter().map(Which::Version))
        .collect();
    let level = 1.0 - ALPHA / 4.0 / (2 * all.len().max(1)) as f64;
    let count = |range: (i64, i64), which: &Which<'_>| {
        let rows = codes
            .iter()
            .filter(|it| (range.0..range.1).contains(&it.span));
        let (mut hits, mut of) = (0, 0);
        for it in rows {
            of += it.rows;
            hits += if which.has(it) { it.rows } else { 0 };
        }
        (hits, of)
    };
    let told = found.clues.iter().any(|it| it.kind == "traffic");
    let mut changed = false;
    for which in &all {
        let before = count(frame.before(), which);
        let known = wilson(before.0, before.1, level);
        for half in frame.halves() {
            let now = count(half, which);
            if now.1 == 0 {
                continue;
            }
            let share = wilson(now.0, now.1, level);
            let change = difference(share, known);
            let margin = match which {
                Which::Code(_) => setting.margins.errors,
                Which::Version(_) => SHARE,
            };
            let Some(low) = change.low.filter(|it| *it > margin) else {
                continue;
            };
            let at = begins(
                frame,
                half,
                |span| {
                    let (hits, of) = count((span, span + 1), which);
                    (of > 0).then(|| hits as f64 / of as f64)
                },
                (known.value, share.value),
            );
            let (role, kind, subject, what) = match which {
                Which::Code(code) => {
                    changed = true;
                    (
                        Role::Symptom,
                        "errors",
                        (*code).to_owned(),
                        format!("rows that failed with `{code}`"),
                    )
                }
                // The registry has told of it.
                Which::Version(_) if told => break,
                Which::Version(it) => (
                    Role::Deed,
                    "version",
                    it.to_string(),
                    format!("rows of version {it}"),
                ),
            };
            found.clues.push(Clue {
                role,
                kind,
                subject,
                at_us: at,
                size: low / margin,
                summary: format!(
                    "{what}: {}% of {} before, {}% of {} since",
                    rounded(known.value * 100.0),
                    before.1,
                    rounded(share.value * 100.0),
                    now.1
                ),
                evidence: evidence(known.value, share.value, change),
            });
            break;
        }
    }
    if !changed {
        found.unchanged.push("errors by code".to_owned());
    }
}

/// When it began: where the values of the windows up to the end of this half turn from what was usual.
fn begins(
    frame: Frame,
    half: (i64, i64),
    value: impl Fn(i64) -> Option<f64>,
    (usual, changed): (f64, f64),
) -> i64 {
    let values: Vec<Option<f64>> = (half.0..half.1).map(value).collect();
    let place = onset(&values, usual, changed);
    frame.time(half.0 + i64::try_from(place).unwrap_or(0))
}

/// A series whose spans are compared.
fn spans(frame: Frame, served: &[Served], series: Series, setting: &Anomaly, found: &mut Found) {
    let by_span: BTreeMap<i64, &Served> = served.iter().map(|it| (it.span, it)).collect();
    // Before the first request there was nothing to be asked.
    let first = by_span.keys().next().copied().unwrap_or(frame.first);
    let value = |span: i64| -> Option<f64> {
        let here = by_span.get(&span);
        match series {
            Series::Traffic => Some(here.map_or(0.0, |it| it.rows as f64)),
            _ => {
                let here =
                    here.filter(|it| it.rows >= ROWS_MIN && it.requests >= ROWS_MIN.min(3))?;
                let value = match series {
                    Series::Latency => here.p99_us,
                    _ => here.cost? / here.rows as f64 * 1000.0,
                };
                (value > 0.0).then_some(value)
            }
        }
    };
    let values =
        |(from, to): (i64, i64)| -> Vec<f64> { (from.max(first)..to).filter_map(value).collect() };
    let before = values(frame.before());
    let name = series.name();
    if before.len() < SPANS_MIN {
        // Where nothing has a price there is no cost to be judged.
        if series != Series::Cost || served.iter().any(|it| it.cost.is_some()) {
            found.unjudged(
                name,
                "there were too few requests in the hours before, with which to compare",
            );
        }
        return;
    }
    let level = 1.0 - ALPHA / 4.0 / 6.0;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let usual = mean(&before);
    let mut judged = false;
    for half in frame.halves() {
        // The last span may be under way.
        let half = (
            half.0,
            if half.1 == frame.end && frame.end < frame.at + SPANS {
                half.1 - 1
            } else {
                half.1
            },
        );
        let now = values(half);
        if now.len() < SPANS_MIN {
            continue;
        }
        judged = true;
        let changed = mean(&now);
        let Some((size, change)) = change(series, (&before, &now), setting, level) else {
            continue;
        };
        let at = begins(frame, half, value, (usual, changed));
        let (unit, scale) = match series {
            Series::Latency => ("ms", 1e-3),
            Series::Traffic => ("rows/s", 1e6 / frame.every_us as f64),
            Series::Errors | Series::Cost | Series::Score => ("for 1000 rows", 1.0),
        };
        let mut evidence = evidence(usual * scale, changed * scale, change);
        evidence.insert("unit".to_owned(), Fact::Text(unit.to_owned()));
        found.clues.push(Clue {
            role: if series == Series::Traffic {
                Role::Load
            } else {
                Role::Symptom
            },
            kind: if series == Series::Traffic {
                "requests"
            } else {
                name
            },
            subject: String::new(),
            at_us: at,
            size,
            summary: format!(
                "{}: {} {unit} before, {} since; {} times as much",
                match series {
                    Series::Latency => "what 99 of 100 requests take no longer than",
                    Series::Traffic => "traffic",
                    Series::Errors | Series::Cost | Series::Score => "cost",
                },
                rounded(usual * scale),
                rounded(changed * scale),
                shown(figure(change))
            ),
            evidence,
        });
        return;
    }
    if judged {
        found.unchanged.push(name.to_owned());
    } else {
        found.unjudged(name, "there were too few requests around the moment");
    }
}

/// By how many margins a series moved for certain, and by which factor; none where it may be chance, or too little to
/// matter. Nobody asks why it is faster or cheaper.
fn change(
    series: Series,
    (before, now): (&[f64], &[f64]),
    setting: &Anomaly,
    level: f64,
) -> Option<(f64, Estimate)> {
    let margin = match series {
        Series::Latency => setting.margins.latency,
        Series::Traffic => setting.margins.traffic,
        Series::Errors | Series::Cost | Series::Score => setting.margins.cost,
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (usual, changed) = (mean(before), mean(now));
    if usual <= 0.0 {
        return None;
    }
    let moved = difference_of_means(now, before, level);
    let ratio = |it: f64| 1.0 + it / usual;
    let factor = Estimate {
        value: ratio(moved.value),
        low: moved.low.map(|it| ratio(it).max(0.0)),
        high: moved.high.map(|it| ratio(it).max(0.0)),
    };
    let most = 1.0 + margin;
    let up = factor
        .low
        .filter(|it| *it > most)
        .map(|it| (it - 1.0) / margin);
    let down = factor
        .high
        .filter(|it| series.both_ways() && *it < 1.0 / most);
    let down = down.map(|it| ((1.0 / it.max(1e-3)) - 1.0) / margin);
    let size = up.or(down)?;
    if series == Series::Latency && changed - usual < LATENCY_LEAST_US {
        return None;
    }
    Some((size, factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of 12 spans of a second; the moment is at 100 s.
    const FRAME: Frame = Frame {
        every_us: 1_000_000,
        first: 52,
        at: 100,
        end: 112,
    };

    fn served(span: i64, rows: u64, p99_us: f64) -> Served {
        Served {
            span,
            rows,
            requests: rows,
            failed: 0,
            p99_us,
            cost: None,
            level: None,
        }
    }

    fn rows(span: i64, version: u32, code: Option<&str>, rows: u64) -> CodeRows {
        CodeRows {
            span,
            version,
            code: code.map(str::to_owned),
            rows,
        }
    }

    fn looked(codes: &[CodeRows], served: &[Served]) -> Found {
        let mut found = Found::default();
        look(FRAME, codes, served, &Anomaly::default(), &mut found);
        found
    }

    fn kinds(found: &Found) -> Vec<(&str, &str, i64)> {
        let clues = found.clues.iter();
        clues
            .map(|it| (it.kind, &*it.subject, it.at_us / FRAME.every_us))
            .collect()
    }

    /// Values that go up and down a little.
    fn about(span: i64, value: f64) -> f64 {
        value * (1.0 + ((span * 7) % 5 - 2) as f64 / 50.0)
    }

    #[test]
    fn what_surely_changed_is_told_with_its_time() {
        let (mut codes, mut all) = (Vec::new(), Vec::new());
        for span in 52..112 {
            let slow = if span >= 103 { 4.0 } else { 1.0 };
            let version = if span >= 97 { 2 } else { 1 };
            let failed = if span >= 101 { 30 } else { 1 };
            codes.push(rows(span, version, None, 200));
            codes.push(rows(span, version, Some("timeout"), failed));
            all.push(served(span, 200, about(span, 5000.0 * slow)));
        }
        let found = looked(&codes, &all);
        let want = [
            ("errors", "timeout", 101),
            ("version", "2", 97),
            ("latency", "", 103),
        ];
        assert_eq!(kinds(&found), want, "{:?}", found.clues);
        assert_eq!(found.unchanged, ["traffic"]);
        assert!(found.unjudged.is_empty());
        let latency = &found.clues[2];
        assert!(
            latency.size > 1.0 && latency.summary.contains("5.0"),
            "{latency:?}"
        );
    }

    #[test]
    fn what_is_as_it_was_is_not() {
        let codes: Vec<CodeRows> = (52..112)
            .flat_map(|it| {
                [
                    rows(it, 1, None, 100),
                    rows(it, 1, Some("timeout"), (it as u64) % 3),
                ]
            })
            .collect();
        let all: Vec<Served> = (52..112)
            .map(|it| served(it, 100 + (it as u64 * 13) % 40, about(it, 5000.0)))
            .collect();
        let found = looked(&codes, &all);
        assert_eq!(kinds(&found), [], "{:?}", found.clues);
        assert_eq!(found.unchanged, ["errors by code", "latency", "traffic"]);
    }

    #[test]
    fn traffic_that_ceases_or_doubles() {
        let codes = [rows(60, 1, None, 100), rows(105, 1, None, 100)];
        let of = |later: u64| {
            let all: Vec<Served> = (52..112)
                .filter(|it| *it < 100 || later > 0)
                .map(|it| {
                    served(
                        it,
                        if it < 100 { 90 + it as u64 % 20 } else { later },
                        5000.0,
                    )
                })
                .collect();
            kinds(&looked(&codes, &all))
                .iter()
                .map(|it| (it.0.to_owned(), it.2))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(0), [("requests".to_owned(), 100)]);
        assert_eq!(of(400), [("requests".to_owned(), 100)]);
        assert_eq!(of(120), []);
    }

    #[test]
    fn without_hours_before_nothing_is_judged() {
        let found = looked(&[rows(101, 1, None, 100)], &[served(101, 100, 5000.0)]);
        assert!(found.clues.is_empty() && found.unchanged.is_empty());
        assert_eq!(found.unjudged.len(), 1);
        let none = looked(&[], &[]);
        assert_eq!(none.unjudged.len(), 1);
    }
}
