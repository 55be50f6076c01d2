//! Whether more of what is asked than of the reference is not as the model's inputs are expected to be.

use std::collections::BTreeMap;

use domain::Refusal;
use domain::alert::{Evidence, Fact, Finding, Severity, Verdict};
use domain::contract::{Rule, Term};
use domain::monitor::Setting;
use domain::monitor::limit::Limit;
use stats::interval::{difference, wilson};

use crate::app::App;
use crate::inputs::share;
use crate::margins::Widened;
use crate::quality::figure;
use crate::running::Running;

/// The monitor's name.
const MONITOR: &str = "data_quality";

/// What is found of one rule about a column.
struct Judged {
    term: Term,
    verdict: Verdict,
    rows: u64,
    found: u64,
    /// The share of rows against it, less that of the reference.
    excess: f64,
    /// The least that it may be; none of no rows.
    low: Option<f64>,
    /// What it may be.
    margin: f64,
}

/// Looks at every rule that holds for a version's inputs. A column has one finding: of the rule that is most against.
pub(super) async fn look(app: &App, running: &Running) -> Result<Vec<Finding>, Refusal> {
    let widened = Widened::of(app, &running.model, MONITOR).await?;
    Ok(judged(running, &widened))
}

fn judged(running: &Running, widened: &Widened) -> Vec<Finding> {
    let inputs = &running.inputs;
    let terms = inputs.terms();
    let watched: Vec<(usize, Term)> = terms.into_iter().filter(|(_, it)| it.watched).collect();
    if watched.is_empty() {
        return Vec::new();
    }
    let setting = &running.monitor;
    let since = inputs.since_last_look(setting.inputs.rows_min);
    // Whatever is true of one rule, all of them together are wrong as seldom as was asked for.
    let alpha = (setting.alpha() / watched.len() as f64).min(0.25);
    let mut worst: BTreeMap<String, Judged> = BTreeMap::new();
    for (place, term) in watched {
        let subject = subject(&term);
        let margin = setting.inputs.share_max.get() * widened.factor(&subject);
        let counts = (since.found[place], since.rows);
        let judged = judge(term, counts, alpha, (setting, margin));
        let worse = worst.get(&subject).is_none_or(|it| {
            let order = |it: &Judged| (it.verdict == Verdict::Bad, it.excess);
            order(&judged) > order(it)
        });
        if worse {
            worst.insert(subject, judged);
        }
    }
    let all = worst.into_iter();
    all.map(|(subject, judged)| finding(running, subject, judged))
        .collect()
}

fn subject(term: &Term) -> String {
    match (&term.column, term.rule) {
        (Some(column), _) => column.clone(),
        (None, rule) => format!("{} rows", rule.name()),
    }
}

/// What its owner says is wrong, and not the reference, has no share in the reference.
fn judge(
    term: Term,
    (found, rows): (u64, u64),
    alpha: f64,
    (setting, margin): (&Setting, f64),
) -> Judged {
    // Rows are counted beside each other, not together.
    let found = found.min(rows);
    let level = 1.0 - 2.0 * alpha;
    let now = wilson(found, rows, level);
    let excess = match term.reference {
        None => now,
        Some((part, all)) => difference(now, wilson(part.min(all), all, level)),
    };
    let verdict = match rows < setting.inputs.rows_min {
        true => Verdict::Unknown,
        false => Limit::Over(margin).judge(figure(excess)),
    };
    Judged {
        term,
        verdict,
        rows,
        found,
        excess: excess.value,
        low: excess.low,
        margin,
    }
}

fn finding(running: &Running, subject: String, judged: Judged) -> Finding {
    let Judged {
        term,
        verdict,
        rows,
        found,
        excess: _,
        low,
        margin,
    } = &judged;
    let reference = term.reference.map_or(0.0, share);
    let mut evidence = Evidence::from([
        ("rule".to_owned(), Fact::Text(term.rule.name().to_owned())),
        ("want".to_owned(), Fact::Text(term.want.clone())),
        ("rows".to_owned(), Fact::Number(*rows as f64)),
        ("found".to_owned(), Fact::Number(*found as f64)),
        ("share".to_owned(), Fact::Number(share((*found, *rows)))),
        ("reference_share".to_owned(), Fact::Number(reference)),
        ("margin".to_owned(), Fact::Number(*margin)),
    ]);
    let low = low.map(|it| ("excess_low".to_owned(), Fact::Number(it)));
    evidence.extend(low);
    let what = match (&term.column, term.rule) {
        (Some(column), Rule::Missing) => format!("have no value of `{column}`"),
        (Some(column), _) => format!("have a `{column}` that is not {}", term.want),
        (None, Rule::Duplicate) => "are there before in the same request".to_owned(),
        (None, _) => "have the same number in all their columns".to_owned(),
    };
    let of = format!("{}:{}", running.model, running.version);
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    let summary = match verdict {
        Verdict::Bad => format!(
            "{} of {rows} rows asked of {of} {what}, beside {} of the reference",
            percent(share((*found, *rows))),
            percent(reference)
        ),
        Verdict::Fine => format!("`{subject}` of {of}: as expected in {rows} rows"),
        Verdict::Unknown => format!("`{subject}` of {of}: not enough to tell in {rows} rows"),
    };
    Finding {
        model: running.model.clone(),
        version: Some(running.version),
        monitor: MONITOR.to_owned(),
        subject,
        segment: None,
        verdict: *verdict,
        severity: Severity::Ticket,
        summary,
        evidence,
    }
}

#[cfg(test)]
mod tests {
    use domain::monitor::inputs::Action;

    use super::*;

    /// `FOUND of ROWS`, beside as much of the reference.
    fn check(now: (u64, u64), reference: Option<(u64, u64)>, want: Verdict) {
        let term = Term {
            column: Some("a".to_owned()),
            rule: Rule::Missing,
            action: Action::Count,
            tolerated: false,
            want: "a value".to_owned(),
            reference,
            watched: true,
        };
        let setting = Setting::default();
        let margin = setting.inputs.share_max.get();
        let judged = judge(term, now, 0.001, (&setting, margin));
        assert_eq!(
            judged.verdict, want,
            "{now:?} {reference:?} {:?}",
            judged.low
        );
    }

    #[test]
    fn a_share_is_bad_where_it_is_surely_over_the_margin() {
        check((0, 999), None, Verdict::Unknown);
        check((999, 999), None, Verdict::Unknown);
        check((10, 1000), None, Verdict::Fine);
        check((11, 1000), None, Verdict::Unknown);
        check((40, 1000), None, Verdict::Bad);
        check((39, 1000), Some((30, 1000)), Verdict::Fine);
        // A tenth of a small reference may as well have been a fifth.
        check((200, 1000), Some((10, 100)), Verdict::Unknown);
        check((200, 1000), Some((10_000, 100_000)), Verdict::Bad);
        check((0, 1000), Some((1000, 1000)), Verdict::Fine);
        // Counted beside each other.
        check((1001, 1000), Some((0, 0)), Verdict::Unknown);
    }
}
