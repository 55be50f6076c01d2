//! What is told to whom, and when. [`decide`] looks at everything and answers with what to send now and when to
//! look again; the caller sends it, writes down what was sent, and asks again.
//!
//! R1. Alerts of one receiver with the same values of the labels `by` are one group, told of together.
//! R2. A group that is new is told of `wait` after its first alert fired, so that what breaks together comes
//!     together; what changes in it later, no sooner than `interval` after it was last told of.
//! R3. What has not changed is told again after `repeat`, unless everything that fires was acknowledged.
//! R4. An end is told to those alone who were told of the beginning.
//! R5. What is silenced, or inhibited by another alert that fires, is not told, neither its beginning nor its end.
//! R6. When in doubt it is told twice rather than not at all.
//!
//! The words and the rules are Alertmanager's, <https://prometheus.io/docs/alerting/latest/alertmanager/>.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::label::{self, all_pick};
use super::{Alert, Book, Fingerprint, Incident, Labels, Matcher, Moment, Severity};

/// Whom to tell, of what, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The receiver's name.
    pub receiver: String,
    /// Which severities it is told of.
    pub severities: BTreeSet<Severity>,
    /// The labels whose values make a group.
    pub by: Vec<String>,
    /// How often.
    pub pace: Pace,
}

/// How often a group is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From its first alert until it is told of.
    pub wait: Duration,
    /// From one telling to the next, when something changed.
    pub interval: Duration,
    /// From one telling to the next, when nothing did.
    pub repeat: Duration,
    /// Whether what was acknowledged is told again all the same: to a receiver that takes silence for an end.
    pub repeats_acknowledged: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(30),
            interval: Duration::from_secs(5 * 60),
            repeat: Duration::from_secs(4 * 3600),
            repeats_acknowledged: false,
        }
    }
}

/// For a while, certain alerts are told to nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Its number.
    pub id: i64,
    /// Which alerts: those that all of these pick.
    pub matchers: Vec<Matcher>,
    /// Since when.
    pub from: Moment,
    /// Until when.
    pub until: Moment,
    /// Who wanted it.
    pub who: String,
    /// What for.
    pub why: String,
}

impl Silence {
    /// Whether it holds now.
    pub fn holds(&self, now: Moment) -> bool {
        self.from <= now && now < self.until
    }
}

/// An alert that fires and that all of `source` pick keeps those quiet that all of `target` pick, where both
/// have the same values of `equal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhibition {
    /// What keeps quiet.
    pub source: Vec<Matcher>,
    /// What is kept quiet.
    pub target: Vec<Matcher>,
    /// The labels that must be the same.
    pub equal: Vec<String>,
}

impl Inhibition {
    /// While a model's data are broken or a version has just been deployed, its drift is no news.
    pub fn standard() -> Vec<Self> {
        let matcher = |text: &str| text.parse().into_iter().collect();
        vec![Self {
            source: matcher("monitor=data_quality|deploy"),
            target: matcher("monitor=drift"),
            equal: vec![label::MODEL.to_owned()],
        }]
    }
}

/// A receiver and one of its groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The receiver.
    pub receiver: String,
    /// The labels that the group's alerts share.
    pub group: Labels,
}

/// What a receiver was last told of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Moment,
    /// What fires, as far as it knows.
    pub firing: BTreeSet<(Fingerprint, Incident)>,
}

/// Everything that the decision rests on.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The alerts.
    pub book: &'a Book,
    /// The receivers.
    pub routes: &'a [Route],
    /// The silences, whether they hold or not.
    pub silences: &'a [Silence],
    /// What keeps what quiet.
    pub inhibitions: &'a [Inhibition],
    /// What was sent.
    pub sent: &'a BTreeMap<Place, Sent>,
    /// Where a delivery is still being tried: nothing is repeated there.
    pub waiting: &'a BTreeSet<Place>,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// What to send.
    pub notifications: Vec<Notification>,
    /// What need not be remembered any longer.
    pub forget: Vec<Place>,
    /// When to ask again; none when only a change can bring something about.
    pub next: Option<Moment>,
}

/// Something to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// To whom, of which group.
    pub place: Place,
    /// What fires.
    pub firing: Vec<Fingerprint>,
    /// What does not fire any longer.
    pub resolved: Vec<Fingerprint>,
    /// What the receiver knows then.
    pub sent: Sent,
}

/// Why nobody is told of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Muted {
    /// A silence wants it.
    Silenced(i64),
    /// Another alert explains it.
    Inhibited(Fingerprint),
}

/// What is muted now, and why.
pub fn muted(facts: &Facts<'_>, now: Moment) -> BTreeMap<Fingerprint, Muted> {
    let mut muted = inhibited(facts);
    let holding: Vec<&Silence> = facts.silences.iter().filter(|it| it.holds(now)).collect();
    for (fingerprint, alert) in facts.book.iter() {
        let silence = holding
            .iter()
            .find(|it| all_pick(&it.matchers, &alert.labels));
        if let Some(silence) = silence {
            muted.insert(fingerprint, Muted::Silenced(silence.id));
        }
    }
    muted
}

/// An alert that is a source and a target of one rule is not inhibited by another such: they would keep
/// each other quiet.
fn inhibited(facts: &Facts<'_>) -> BTreeMap<Fingerprint, Muted> {
    let mut muted = BTreeMap::new();
    for rule in facts.inhibitions {
        let is_source = |alert: &Alert| all_pick(&rule.source, &alert.labels);
        let is_target = |alert: &Alert| all_pick(&rule.target, &alert.labels);
        let mut sources: BTreeMap<(Labels, bool), Fingerprint> = BTreeMap::new();
        for (fingerprint, alert) in facts.book.iter() {
            if alert.is_firing() && is_source(alert) {
                let key = (alert.labels.only(&rule.equal), is_target(alert));
                sources.entry(key).or_insert(fingerprint);
            }
        }
        for (fingerprint, alert) in facts.book.iter().filter(|(_, it)| is_target(it)) {
            let equal = alert.labels.only(&rule.equal);
            let of_source_alone = sources.get(&(equal.clone(), false));
            let of_both = sources.get(&(equal, true)).filter(|_| !is_source(alert));
            if let Some(source) = of_source_alone.or(of_both) {
                muted.insert(fingerprint, Muted::Inhibited(*source));
            }
        }
    }
    muted
}

/// What to send now, and when to look again.
pub fn decide(facts: &Facts<'_>, now: Moment) -> Decision {
    let muted = muted(facts, now);
    let mut decision = Decision::default();
    for route in facts.routes {
        for (place, group) in groups(facts, route, &muted) {
            let sent = facts.sent.get(&place);
            match due(route, &group, sent, facts.waiting.contains(&place)) {
                Some(due) if due <= now => {
                    let notification = group.notification(place, now);
                    decision.soon(notification_repeat(route, &notification, &group));
                    decision.notifications.push(notification);
                }
                Some(due) => decision.soon(Some(due)),
                None if sent.is_some() && group.is_over(sent, route.pace.interval, now) => {
                    decision.forget.push(place);
                }
                None => {}
            }
        }
    }
    // A silence that ends may let something through.
    let ends = facts.silences.iter().filter(|it| it.holds(now));
    decision.soon(ends.map(|it| it.until).min());
    let begins = facts.silences.iter().map(|it| it.from);
    decision.soon(begins.filter(|it| *it > now).min());
    decision
}

impl Decision {
    fn soon(&mut self, moment: Option<Moment>) {
        self.next = match (self.next, moment) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// What there is to tell of a group.
#[derive(Default)]
struct Group {
    /// What fires and is not muted.
    firing: BTreeMap<(Fingerprint, Incident), Firing>,
    /// What fires and is muted, and was told of before.
    quiet: BTreeSet<(Fingerprint, Incident)>,
    /// What was told of and fires no longer, and since when.
    ended: BTreeMap<Fingerprint, Moment>,
}

struct Firing {
    since: Moment,
    acknowledged: bool,
}

/// The groups of a route: those that have something that fires, and those that were told of.
fn groups(
    facts: &Facts<'_>,
    route: &Route,
    muted: &BTreeMap<Fingerprint, Muted>,
) -> BTreeMap<Place, Group> {
    let mut groups: BTreeMap<Place, Group> = BTreeMap::new();
    for (fingerprint, alert) in facts.book.iter() {
        if !alert.is_firing()
            || muted.contains_key(&fingerprint)
            || !route.severities.contains(&alert.severity())
        {
            continue;
        }
        let place = Place {
            receiver: route.receiver.clone(),
            group: alert.labels.only(&route.by),
        };
        let firing = Firing {
            since: alert.state.since(),
            acknowledged: alert.acknowledged.is_some(),
        };
        let group = groups.entry(place).or_default();
        group.firing.insert((fingerprint, alert.incident), firing);
    }
    let told = facts
        .sent
        .iter()
        .filter(|(place, _)| place.receiver == route.receiver);
    for (place, sent) in told {
        let group = groups.entry(place.clone()).or_default();
        for (fingerprint, incident) in &sent.firing {
            // One that was forgotten ended long ago.
            let Some(alert) = facts.book.get(*fingerprint) else {
                continue;
            };
            let quiet = muted.contains_key(fingerprint);
            if alert.is_firing() {
                if quiet {
                    group.quiet.insert((*fingerprint, *incident));
                }
            } else if quiet {
                group.quiet.insert((*fingerprint, *incident));
            } else {
                let at = alert.ended_at.unwrap_or(alert.state.since());
                group.ended.insert(*fingerprint, at);
            }
        }
    }
    groups
}

/// When the group is to be told of next; none while nothing is to be told.
fn due(route: &Route, group: &Group, sent: Option<&Sent>, waiting: bool) -> Option<Moment> {
    let pace = route.pace;
    let fresh = |it: &(Fingerprint, Incident)| !sent.is_some_and(|sent| sent.firing.contains(it));
    let began = group.firing.iter().filter(|(key, _)| fresh(key));
    let began = began.map(|(_, it)| it.since.after(pace.wait)).min();
    let changed = began.into_iter().chain(group.ended.values().copied()).min();
    let Some(sent) = sent else {
        return changed;
    };
    let changed = changed.map(|it| it.max(sent.at.after(pace.interval)));
    let speaks = |it: &Firing| pace.repeats_acknowledged || !it.acknowledged;
    let repeats = !waiting && group.firing.values().any(speaks);
    let again = repeats.then(|| sent.at.after(pace.repeat));
    changed.into_iter().chain(again).min()
}

/// When what is sent now would be repeated.
fn notification_repeat(
    route: &Route,
    notification: &Notification,
    group: &Group,
) -> Option<Moment> {
    let speaks = |it: &Firing| route.pace.repeats_acknowledged || !it.acknowledged;
    let any = group.firing.values().any(speaks);
    any.then(|| notification.sent.at.after(route.pace.repeat))
}

impl Group {
    fn notification(&self, place: Place, now: Moment) -> Notification {
        let firing = self.firing.keys().copied();
        Notification {
            place,
            firing: self.firing.keys().map(|(it, _)| *it).collect(),
            resolved: self.ended.keys().copied().collect(),
            sent: Sent {
                at: now,
                firing: firing.chain(self.quiet.iter().copied()).collect(),
            },
        }
    }

    /// Whether nothing of it is left and the time to the next telling has passed.
    fn is_over(&self, sent: Option<&Sent>, interval: Duration, now: Moment) -> bool {
        let empty = self.firing.is_empty() && self.quiet.is_empty() && self.ended.is_empty();
        empty && sent.is_none_or(|it| it.at.after(interval) <= now)
    }
}
