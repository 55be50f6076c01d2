//! The alerts and their states.

use std::collections::{BTreeMap, BTreeSet};

use super::label::SEVERITY;
use super::{
    ALERTS_MAX, Acknowledgement, Alert, ENDED_KEPT, Event, EventKind, Evidence, Finding,
    Fingerprint, Incident, Moment, Rule, Severity, State, Verdict,
};
use crate::refusal::Refusal;

/// Every alert that is known, by its fingerprint.
#[derive(Clone, Debug, Default)]
pub struct Book {
    alerts: BTreeMap<Fingerprint, Alert>,
    /// What gave way to others, until [`Book::forget`] tells of it.
    gone: BTreeSet<Fingerprint>,
}

impl Book {
    /// The alerts as they were left.
    pub fn new(alerts: impl IntoIterator<Item = Alert>) -> Self {
        let alerts = alerts.into_iter().map(|it| (it.fingerprint(), it));
        Self {
            alerts: alerts.collect(),
            gone: BTreeSet::new(),
        }
    }

    /// An alert.
    pub fn get(&self, fingerprint: Fingerprint) -> Option<&Alert> {
        self.alerts.get(&fingerprint)
    }

    /// All of them, by fingerprint.
    pub fn iter(&self) -> impl Iterator<Item = (Fingerprint, &Alert)> {
        self.alerts.iter().map(|(key, alert)| (*key, alert))
    }

    /// Takes in what a monitor says, by a rule that is about it. Where [`ALERTS_MAX`] alerts are active
    /// already, one more is refused.
    pub fn hear(
        &mut self,
        finding: &Finding,
        rule: &Rule,
        now: Moment,
    ) -> Result<Vec<Event>, Refusal> {
        let labels = rule.labels(finding);
        let fingerprint = labels.fingerprint();
        let mut events = Vec::new();
        // The same thing at another severity is another alert. `Fine` ends it at whichever it has, and
        // one that is bad has one severity at a time.
        for severity in Severity::ALL {
            let other = labels.with(SEVERITY, severity.name()).fingerprint();
            let Some(alert) = self.alerts.get_mut(&other) else {
                continue;
            };
            match finding.verdict {
                Verdict::Bad if other == fingerprint => {}
                Verdict::Bad => {
                    let now_is = labels.get(SEVERITY);
                    events.extend(alert.end(&format!("its severity is `{now_is}` now"), now));
                }
                Verdict::Fine => {
                    if alert.is_active() {
                        alert.patience = rule.patience();
                    }
                    events.extend(alert.hear_fine(finding, now));
                }
                Verdict::Unknown => {}
            }
        }
        if finding.verdict == Verdict::Bad {
            if !self.alerts.contains_key(&fingerprint) {
                self.make_room()?;
            }
            let alert = self.alerts.entry(fingerprint).or_insert_with(|| Alert {
                labels,
                state: State::Inactive { since: now },
                incident: Incident(0),
                summary: String::new(),
                evidence: Evidence::new(),
                annotations: BTreeMap::new(),
                patience: rule.patience(),
                known_at: now,
                fired_at: None,
                ended_at: None,
                acknowledged: None,
            });
            alert.annotations.clone_from(&rule.annotations);
            alert.patience = rule.patience();
            events.extend(alert.hear_bad(finding, now));
        }
        Ok(events)
    }

    /// What time alone brings about: what is fine for long enough is resolved, and so is that of which
    /// nothing was known for too long.
    pub fn tick(&mut self, now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        for alert in self.alerts.values_mut() {
            if let State::Firing {
                fine_since: Some(fine),
                ..
            } = alert.state
                && fine.after(alert.patience.before_resolving) <= now
            {
                events.extend(alert.end("it is fine again", now));
            } else if alert.is_active() && alert.knows_until() <= now {
                let span = crate::manifest::Span(alert.patience.without_data);
                events.extend(alert.end(&format!("no data for {span}"), now));
            }
        }
        events
    }

    /// When [`Book::tick`] has something to do next; none when time alone changes nothing.
    pub fn next(&self) -> Option<Moment> {
        let active = self.alerts.values().filter(|it| it.is_active());
        let next = active.map(|alert| match alert.state {
            State::Firing {
                fine_since: Some(fine),
                ..
            } => fine
                .after(alert.patience.before_resolving)
                .min(alert.knows_until()),
            _ => alert.knows_until(),
        });
        next.min()
    }

    /// Notes that somebody has seen an alert. It must be active.
    pub fn acknowledge(
        &mut self,
        fingerprint: Fingerprint,
        who: &str,
        now: Moment,
    ) -> Result<Event, Refusal> {
        let alert = self
            .alerts
            .get_mut(&fingerprint)
            .ok_or_else(|| unknown(fingerprint))?;
        if !alert.is_active() {
            let state = alert.state.name();
            let why = format!("alert `{fingerprint}` is {state}: there is nothing to acknowledge");
            return Err(Refusal::Conflict { why });
        }
        alert.acknowledged = Some(Acknowledgement {
            who: who.to_owned(),
            at: now,
        });
        Ok(alert.event(EventKind::Acknowledged, format!("by {who}"), now))
    }

    /// Forgets what ended too long ago. Gives back what was forgotten since the last time and is not known
    /// anew.
    pub fn forget(&mut self, now: Moment) -> Vec<Fingerprint> {
        let old =
            |alert: &Alert| !alert.is_active() && alert.state.since().after(ENDED_KEPT) <= now;
        self.gone.extend(
            self.alerts
                .iter()
                .filter(|(_, alert)| old(alert))
                .map(|(key, _)| *key),
        );
        self.alerts.retain(|_, alert| !old(alert));
        let gone = std::mem::take(&mut self.gone).into_iter();
        gone.filter(|it| !self.alerts.contains_key(it)).collect()
    }

    /// Forgets the alert that ended first when there is no room for another.
    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.alerts.len() < ALERTS_MAX {
            return Ok(());
        }
        let ended = self.alerts.iter().filter(|(_, it)| !it.is_active());
        let oldest = ended.min_by_key(|(_, it)| it.state.since());
        let Some(key) = oldest.map(|(key, _)| *key) else {
            return Err(Refusal::Overloaded {
                what: "places for alerts",
                limit: ALERTS_MAX as u64,
            });
        };
        self.alerts.remove(&key);
        self.gone.insert(key);
        Ok(())
    }
}

fn unknown(fingerprint: Fingerprint) -> Refusal {
    Refusal::UnknownAlert {
        id: fingerprint.to_string(),
    }
}

impl Alert {
    fn hear_bad(&mut self, finding: &Finding, now: Moment) -> Vec<Event> {
        self.known_at = now;
        self.summary.clone_from(&finding.summary);
        self.evidence = finding.storable_evidence();
        let mut events = Vec::new();
        if !self.is_active() {
            // Later than the one before, even where the clock was set back.
            self.incident = Incident(now.0.max(self.incident.0.saturating_add(1)));
            self.acknowledged = None;
            self.state = State::Pending { since: now };
            if !self.patience.before_firing.is_zero() {
                events.push(self.event(EventKind::Pending, self.summary.clone(), now));
            }
        }
        match &mut self.state {
            State::Pending { since } if since.after(self.patience.before_firing) <= now => {
                self.state = State::Firing {
                    since: now,
                    fine_since: None,
                };
                self.fired_at = Some(now);
                self.ended_at = None;
                events.push(self.event(EventKind::Firing, self.summary.clone(), now));
            }
            State::Firing { fine_since, .. } => *fine_since = None,
            State::Pending { .. } | State::Inactive { .. } | State::Resolved { .. } => {}
        }
        events
    }

    fn hear_fine(&mut self, finding: &Finding, now: Moment) -> Option<Event> {
        if !self.is_active() {
            return None;
        }
        self.known_at = now;
        let why = match finding.summary.is_empty() {
            true => "it is fine again",
            false => finding.summary.as_str(),
        };
        let fine = match &mut self.state {
            State::Pending { .. } => return self.end(why, now),
            State::Firing { fine_since, .. } => *fine_since.get_or_insert(now),
            State::Inactive { .. } | State::Resolved { .. } => return None,
        };
        if fine.after(self.patience.before_resolving) <= now {
            return self.end(why, now);
        }
        None
    }

    /// Ends it where it is active.
    fn end(&mut self, why: &str, now: Moment) -> Option<Event> {
        let kind = match self.state {
            State::Pending { .. } => {
                self.state = State::Inactive { since: now };
                EventKind::Inactive
            }
            State::Firing { .. } => {
                let why = why.to_owned();
                self.state = State::Resolved { at: now, why };
                self.ended_at = Some(now);
                EventKind::Resolved
            }
            State::Inactive { .. } | State::Resolved { .. } => return None,
        };
        Some(self.event(kind, why.to_owned(), now))
    }

    fn knows_until(&self) -> Moment {
        self.known_at.after(self.patience.without_data)
    }

    /// Something that happened to it, with the evidence that it has now.
    pub fn event(&self, kind: EventKind, why: String, now: Moment) -> Event {
        Event {
            at: now,
            fingerprint: self.fingerprint(),
            incident: self.incident,
            kind,
            why,
            evidence: self.evidence.clone(),
        }
    }
}
