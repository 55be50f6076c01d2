//! What was done to a model, what was alerted of it, and what rules did about that.

use std::collections::BTreeSet;

use domain::Refusal;
use domain::alert::{Evidence, Fact, label};
use domain::why::{Clue, Role};
use serde_json::Value;
use store::registry::{EventId, EventsAsked, LIST_MAX, Order, UnixMillis};

use super::{Asking, Found};
use crate::alerts::Filter;
use crate::app::App;

/// What a rule's change is said to be by.
const BY_ALERT: &str = "alert ";

pub(super) async fn look(app: &App, asking: &Asking, found: &mut Found) -> Result<(), Refusal> {
    let from = UnixMillis((asking.at_us - asking.window_us).div_euclid(1000));
    let to = UnixMillis((asking.at_us + asking.window_us).div_euclid(1000));
    let registry = &app.store.registry;
    let asked = EventsAsked {
        model: Some(&asking.model),
        kinds: &BTreeSet::new(),
        within: (from, to),
        order: Order::Newest {
            before: EventId::END,
        },
        limit: LIST_MAX,
    };
    let events = registry.events_asked(&asked).await?;
    if events.len() >= LIST_MAX as usize {
        found.unjudged("events", format!("only the last {LIST_MAX} were looked at"));
    }
    let deeds = events
        .iter()
        .filter_map(|it| deed(asking, &it.kind, it.at, &it.detail));
    let before = found.clues.len();
    found.clues.extend(deeds);
    if found.clues.len() == before {
        found
            .unchanged
            .push("versions, traffic and aliases".to_owned());
    }
    let filter = Filter {
        model: Some(asking.model.clone()),
        ended: true,
        ..Filter::default()
    };
    let within = |ms: i64| (from.0..to.0).contains(&ms);
    let alerts = app.alerts.list(filter).await?;
    let alerts = alerts.iter().map(|it| &it.0);
    for alert in alerts.filter(|it| it.fired_at.is_some() && within(it.incident.0)) {
        let mut evidence = alert.evidence.clone();
        evidence.insert(
            "alert".to_owned(),
            Fact::Text(alert.fingerprint().to_string()),
        );
        found.clues.push(Clue {
            role: Role::Symptom,
            kind: "alert",
            subject: alert.labels.get(label::ALERTNAME).to_owned(),
            at_us: alert.incident.0.saturating_mul(1000),
            size: 1.0,
            summary: format!("an alert began: {}", alert.summary),
            evidence,
        });
    }
    let actions = registry
        .actions(Some(&asking.model), None, LIST_MAX)
        .await?;
    // The list is of all times: what is older than its end may be missing.
    let oldest = actions.last().map(|it| it.tried.at.0);
    if actions.len() >= LIST_MAX as usize && oldest.is_some_and(|it| it >= from.0) {
        found.unjudged(
            "actions",
            format!("only the last {LIST_MAX} were looked at"),
        );
    }
    for action in actions.iter().filter(|it| within(it.tried.at.0)) {
        found.clues.push(Clue {
            role: Role::Reaction,
            kind: "action",
            subject: action.tried.deed.name().to_owned(),
            at_us: action.tried.at.0.saturating_mul(1000),
            size: 1.0,
            summary: format!(
                "a rule's action: {}, {}",
                action.tried.deed.name(),
                action.outcome.name()
            ),
            evidence: action.evidence.clone(),
        });
    }
    Ok(())
}

/// What an event of the registry tells of; none of those that change no answer by themselves.
fn deed(asking: &Asking, kind: &str, at: UnixMillis, detail: &Value) -> Option<Clue> {
    let version = |name: &str| {
        let number = detail[name].as_u64();
        number.map_or_else(|| "none".to_owned(), |it| it.to_string())
    };
    let model = &asking.model;
    let (kind, subject, what) = match kind {
        "traffic" => {
            let (from, to) = (version("from"), version("to"));
            let what = format!("the traffic of {model} went from version {from} to {to}");
            ("traffic", to, what)
        }
        "alias" => {
            let alias = detail["alias"].as_str().unwrap_or_default().to_owned();
            let (from, to) = (version("from"), version("to"));
            let what = format!("`{model}@{alias}` went from version {from} to {to}");
            ("alias", alias, what)
        }
        "version_removed" => {
            let version = version("version");
            let what = format!("{model}:{version} was removed");
            ("removed", version, what)
        }
        _ => return None,
    };
    let text = |name: &str| detail[name].as_str().unwrap_or_default();
    let by_rule = text("who").starts_with(BY_ALERT);
    let mut evidence = Evidence::new();
    for name in ["from", "to"] {
        if let Some(number) = detail[name].as_f64() {
            evidence.insert(name.to_owned(), Fact::Number(number));
        }
    }
    for name in ["who", "why"] {
        if !text(name).is_empty() {
            evidence.insert(name.to_owned(), Fact::Text(text(name).to_owned()));
        }
    }
    let why = match text("why") {
        "" => String::new(),
        why => format!(": {why}"),
    };
    Some(Clue {
        role: if by_rule { Role::Reaction } else { Role::Deed },
        kind,
        subject,
        at_us: at.0.saturating_mul(1000),
        size: f64::INFINITY,
        summary: format!("{what}, by {}{why}", text("who")),
        evidence,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn clue(kind: &str, detail: Value) -> Option<(Role, String)> {
        let asking = Asking {
            model: "credit".parse().expect("a name"),
            at_us: 0,
            window_us: 1,
            before_us: 1,
        };
        let clue = deed(&asking, kind, UnixMillis(0), &detail)?;
        Some((clue.role, clue.summary))
    }

    #[test]
    fn who_did_it_tells_a_deed_from_a_reaction() {
        let by = |who: &str| json!({"from": 1, "to": 2, "who": who, "why": "it is better"});
        let (role, summary) = clue("traffic", by("ann")).expect("a deed");
        assert_eq!(role, Role::Deed);
        let want = "the traffic of credit went from version 1 to 2, by ann: it is better";
        assert_eq!(summary, want);
        let (role, _) = clue("traffic", by("alert moved")).expect("a deed");
        assert_eq!(role, Role::Reaction);
        let (_, summary) =
            clue("alias", json!({"alias": "a", "to": 3, "who": "ann"})).expect("a deed");
        assert_eq!(summary, "`credit@a` went from version none to 3, by ann");
        assert_eq!(clue("baseline_set", json!({})), None);
    }
}
