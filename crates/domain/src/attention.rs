//! How much a model needs a person, and why: what a list of models is sorted by.

use crate::alert::{Alert, Severity, label};
use crate::name::Version;

/// How much, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attention {
    /// Not at all.
    Nothing,
    /// There is something to know.
    Know,
    /// There is something to look after.
    LookAfter,
    /// Now.
    Now,
}

impl Attention {
    /// As a number, from 0.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Whether it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering<'a> {
    /// It does.
    Yes,
    /// It is being loaded.
    NotYet,
    /// It could not be loaded, and why.
    No(&'a str),
    /// Nobody wants it to.
    Unwanted,
}

/// A rollout that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving<'a> {
    /// The version that may get the traffic.
    pub candidate: Version,
    /// Where it is, in words that follow the version.
    pub status: &'a str,
    /// Whether it waits for a person.
    pub awaits_approval: bool,
}

/// What is known of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts<'a> {
    /// Whether it answers.
    pub answering: Answering<'a>,
    /// Its alerts.
    pub alerts: &'a [&'a Alert],
    /// Requests of the last minute, those that failed among them.
    pub requests: u64,
    /// Those that were refused or failed.
    pub failed: u64,
    /// Columns that have drifted.
    pub drifted: &'a [&'a str],
    /// In a sentence how it is not as right as is demanded, where that is so.
    pub wrong: Option<&'a str>,
    /// In a sentence why it is not known how right it is, where something is demanded of that.
    pub unknown: Option<&'a str>,
    /// Its rollout that is not over.
    pub moving: Option<Moving<'a>>,
}

/// A share of requests that fail which somebody should look at now.
const FAILED_MAX: f64 = 0.05;
/// Of fewer requests no share is told.
const REQUESTS_MIN: u64 = 20;

/// How much a model needs a person, and why in a sentence: the first of the weightiest reasons. The sentence is empty
/// where there is none.
pub fn attention(facts: &Facts<'_>) -> (Attention, String) {
    let Facts {
        answering,
        alerts,
        requests,
        failed,
        drifted,
        wrong,
        unknown,
        moving,
    } = facts;
    let mut reasons = Vec::new();
    match answering {
        Answering::No(why) => reasons.push((Attention::Now, format!("it does not answer: {why}"))),
        Answering::NotYet => reasons.push((Attention::Know, "it is being loaded".to_owned())),
        Answering::Yes | Answering::Unwanted => {}
    }
    let active = alerts.iter().filter(|it| it.is_active());
    reasons.extend(active.map(|it| of_alert(it)));
    let share = *failed as f64 / (*requests).max(1) as f64;
    if *requests >= REQUESTS_MIN && share > FAILED_MAX {
        let said = format!(
            "{:.1} % of its requests failed in the last minute",
            share * 100.0
        );
        reasons.push((Attention::Now, said));
    }
    if let Some(moving) = moving {
        let Moving {
            candidate, status, ..
        } = moving;
        reasons.push(match moving.awaits_approval {
            true => {
                let said = format!("version {candidate} waits for approval: it {status}");
                (Attention::LookAfter, said)
            }
            false => (Attention::Know, format!("version {candidate} {status}")),
        });
    }
    reasons.extend(wrong.map(|it| (Attention::LookAfter, it.to_owned())));
    if let [first, others @ ..] = drifted {
        let said = match others.len() {
            0 => format!("`{first}` has drifted"),
            1 => format!("`{first}` and one more column have drifted"),
            more => format!("`{first}` and {more} more columns have drifted"),
        };
        reasons.push((Attention::LookAfter, said));
    }
    reasons.extend(unknown.map(|it| (Attention::Know, it.to_owned())));
    let weightiest = reasons.iter().map(|it| it.0).max();
    let Some(weightiest) = weightiest else {
        return (Attention::Nothing, String::new());
    };
    let mut reasons = reasons.into_iter();
    let first = reasons.find(|it| it.0 == weightiest);
    first.unwrap_or((weightiest, String::new()))
}

fn of_alert(alert: &Alert) -> (Attention, String) {
    let (name, summary) = (alert.labels.get(label::ALERTNAME), &alert.summary);
    let severity = alert.severity();
    if !alert.is_firing() {
        return (
            Attention::Know,
            format!("alert `{name}` is pending: {summary}"),
        );
    }
    let attention = match severity {
        Severity::Page => Attention::Now,
        Severity::Ticket => Attention::LookAfter,
        Severity::Info => Attention::Know,
    };
    (attention, format!("alert `{name}` fires: {summary}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Book, Evidence, Finding, Moment, Rule, Verdict};

    const NOTHING: Facts<'_> = Facts {
        answering: Answering::Yes,
        alerts: &[],
        requests: 1000,
        failed: 50,
        drifted: &[],
        wrong: None,
        unknown: None,
        moving: None,
    };

    fn alert(severity: &str, wait: &str) -> Alert {
        let rule = format!(
            r#"{{"name": "r", "monitor": "drift", "for": "{wait}", "severity": "{severity}"}}"#
        );
        let rule: Rule = serde_json::from_str(&rule).expect("a rule");
        let finding = Finding {
            model: "m".parse().expect("a name"),
            version: None,
            monitor: "drift".to_owned(),
            subject: "age".to_owned(),
            segment: None,
            verdict: Verdict::Bad,
            severity: Severity::Info,
            summary: "`age` drifts".to_owned(),
            evidence: Evidence::new(),
        };
        let mut book = Book::default();
        book.hear(&finding, &rule, Moment(0)).expect("room");
        book.iter().next().expect("an alert").1.clone()
    }

    fn check(facts: &Facts<'_>, number: u8, because: &str) {
        let (attention, said) = attention(facts);
        assert_eq!((attention.number(), said.as_str()), (number, because));
    }

    #[test]
    fn the_weightiest_reason_is_told() {
        check(&NOTHING, 0, "");
        let (page, ticket) = (alert("page", "0s"), alert("ticket", "0s"));
        let (info, pending) = (alert("info", "0s"), alert("page", "1h"));
        let fires = "alert `r` fires: `age` drifts";
        let alerts = |alerts: &[&Alert], number, because| {
            check(&Facts { alerts, ..NOTHING }, number, because);
        };
        alerts(&[&info, &ticket, &page], 3, fires);
        alerts(&[&info, &ticket], 2, fires);
        alerts(&[&info], 1, fires);
        alerts(&[&pending], 1, "alert `r` is pending: `age` drifts");
        let with = |answering| Facts {
            answering,
            ..NOTHING
        };
        check(
            &with(Answering::No("no room")),
            3,
            "it does not answer: no room",
        );
        check(&with(Answering::NotYet), 1, "it is being loaded");
        check(&with(Answering::Unwanted), 0, "");
    }

    #[test]
    fn each_reason_has_its_sentence() {
        let failing = Facts {
            failed: 83,
            ..NOTHING
        };
        check(
            &failing,
            3,
            "8.3 % of its requests failed in the last minute",
        );
        let few = Facts {
            requests: 19,
            failed: 19,
            ..NOTHING
        };
        check(&few, 0, "");
        let drifted = |drifted: &[&str], because| {
            check(&Facts { drifted, ..NOTHING }, 2, because);
        };
        drifted(&["age"], "`age` has drifted");
        drifted(&["age", "sex"], "`age` and one more column have drifted");
        drifted(&["age", "b", "c"], "`age` and 2 more columns have drifted");
        let wrong = Facts {
            wrong: Some("`mae` is 3"),
            drifted: &["age"],
            unknown: Some("no labels"),
            ..NOTHING
        };
        check(&wrong, 2, "`mae` is 3");
        let unknown = Facts {
            wrong: None,
            drifted: &[],
            ..wrong
        };
        check(&unknown, 1, "no labels");
        let moving = Moving {
            candidate: Version::new(3).expect("a version"),
            status: "is at step 2 of 4 (5%)",
            awaits_approval: true,
        };
        let waits = Facts {
            moving: Some(moving),
            ..NOTHING
        };
        check(
            &waits,
            2,
            "version 3 waits for approval: it is at step 2 of 4 (5%)",
        );
        let moves = Facts {
            moving: Some(Moving {
                awaits_approval: false,
                ..moving
            }),
            ..NOTHING
        };
        check(&moves, 1, "version 3 is at step 2 of 4 (5%)");
    }
}
