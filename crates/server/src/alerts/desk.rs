//! The task that knows every alert: what it is told, what it decides, what it writes down.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::alert::act::{self, NotNow, Outcome};
use domain::alert::notify::{
    Decision, Facts, Inhibition, Notification, Place, Route, Sent, Silence, decide, muted,
};
use domain::alert::receiver::{Kind, Receivers};
use domain::alert::{
    Alert, Book, Event, EventKind, Finding, Fingerprint, Moment, Rule, Severity, rule,
};
use domain::{ModelName, Refusal, Version};
use store::Store;
use store::registry::alerts::{AlertEvent, Feedback};
use store::registry::outbox::NewDelivery;
use tokio::sync::{Notify, mpsc};
use wire::alerts::Told;

use super::remedy::{self, Remedy};
use super::{AGAIN, Counts, Filter, Listed, Message, SLEEP_MAX, until};
use crate::clock::wall_ms;
use crate::task::Tasks;

/// Events that wait for the disk; the oldest give way.
const UNSAVED_MAX: usize = 10_000;
/// How often what is too old is removed.
const TRIM_EVERY: Duration = Duration::from_secs(3600);
/// Events of an alert among which one that was written already is looked for.
const RECENT: u32 = 100;

/// Everything that is known of alerts, in the one task that changes it.
pub(super) struct Desk {
    pub(super) store: Arc<Store>,
    pub(super) book: Book,
    pub(super) receivers: Receivers,
    pub(super) routes: Vec<Route>,
    pub(super) inhibitions: Vec<Inhibition>,
    pub(super) silences: Vec<Silence>,
    pub(super) sent: BTreeMap<Place, Sent>,
    pub(super) retry: domain::alert::receiver::Retry,
    /// What fires and was not looked at yet for what its rule may do.
    pub(super) to_act: BTreeSet<Fingerprint>,
    /// Whether anything is done or told.
    pub(super) serves: bool,
    /// The rules of models, by the version that they are of.
    pub(super) rules: HashMap<ModelName, (Version, Arc<Vec<Rule>>)>,
    /// What is not written down yet.
    pub(super) changed: BTreeSet<Fingerprint>,
    pub(super) events: Vec<Event>,
    pub(super) remedy: mpsc::Sender<Remedy>,
    /// Those that are pending or fire, for whoever looks.
    pub(super) active: Arc<ArcSwap<Vec<Listed>>>,
    pub(super) counts: Arc<Counts>,
    /// Wakes the courier.
    pub(super) post: Arc<Notify>,
    /// The courier wakes this task: a delivery was taken or given up.
    pub(super) told: Arc<Notify>,
    pub(super) trim_at: Moment,
}

impl Desk {
    /// Takes in what comes and does what there is to do, until the server ends.
    pub(super) async fn work(mut self, mut messages: mpsc::Receiver<Message>, tasks: Tasks) {
        let stopping = tasks.stopping();
        tokio::pin!(stopping);
        loop {
            let next = self.settle().await;
            let sleep = next.map_or(SLEEP_MAX, until).min(SLEEP_MAX);
            tokio::select! {
                biased;
                () = &mut stopping => break,
                message = messages.recv() => {
                    let Some(message) = message else { break };
                    self.take_in(message).await;
                    // Those that came with it are settled together.
                    while let Ok(message) = messages.try_recv() {
                        self.take_in(message).await;
                    }
                }
                () = self.told.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    async fn take_in(&mut self, message: Message) {
        match message {
            Message::Serve => self.serves = true,
            Message::Report(findings) => self.hear(&findings).await,
            Message::List(filter, reply) => {
                // Whoever asked may have gone, here and below.
                let _ = reply.send(self.list(&filter));
            }
            Message::Acknowledge {
                fingerprint,
                who,
                reply,
            } => {
                let now = Moment(wall_ms());
                let event = self.book.acknowledge(fingerprint, &who, now);
                let result = event.map(|event| self.note(event));
                self.save().await;
                let alert = self.book.get(fingerprint).cloned();
                let alert = alert.ok_or_else(|| unknown(fingerprint));
                let _ = reply.send(result.and(alert));
            }
            Message::Feedback {
                fingerprint,
                useful,
                by,
                reply,
            } => {
                let _ = reply.send(self.feedback(fingerprint, useful, by).await);
            }
            Message::AddSilence(silence, reply) => {
                let added = self.store.registry.add_silence(silence).await;
                self.silences.extend(added.clone());
                self.counts.changes.fetch_add(1, Relaxed);
                let _ = reply.send(added);
            }
            Message::EndSilence(id, reply) => {
                let now = Moment(wall_ms());
                let ended = self.store.registry.end_silence(id, now).await;
                if ended.is_ok() {
                    self.silences.retain(|it| it.id != id);
                    self.counts.changes.fetch_add(1, Relaxed);
                }
                let _ = reply.send(ended);
            }
        }
    }

    async fn hear(&mut self, findings: &[Finding]) {
        let now = Moment(wall_ms());
        let mut known: HashMap<(&ModelName, Option<Version>), Arc<Vec<Rule>>> = HashMap::new();
        for finding in findings {
            let of = (&finding.model, finding.version);
            let rules = match known.get(&of) {
                Some(rules) => Arc::clone(rules),
                None => self.rules_of(of.0, of.1).await,
            };
            known.insert(of, Arc::clone(&rules));
            for rule in rule::of(&rules, finding) {
                let before = |book: &Book| -> Vec<Fingerprint> {
                    let labels = rule.labels(finding);
                    let of = |it: Severity| labels.with("severity", it.name()).fingerprint();
                    let all = Severity::ALL.into_iter().map(of);
                    all.filter(|it| book.get(*it).is_some_and(Alert::is_active))
                        .collect()
                };
                // What was active is written anew: when its monitor last knew has changed.
                let active = before(&self.book);
                match self.book.hear(finding, &rule, now) {
                    Err(refusal) => tracing::error!(%refusal, "an alert is lost"),
                    Ok(events) => {
                        self.changed.extend(active);
                        self.changed.extend(before(&self.book));
                        events.into_iter().for_each(|it| self.note(it));
                    }
                }
            }
        }
    }

    /// The rules of the version that has the traffic, else of the one that was looked at.
    async fn rules_of(&mut self, model: &ModelName, version: Option<Version>) -> Arc<Vec<Rule>> {
        let registry = &self.store.registry;
        let traffic = registry.traffic(model).await.ok().flatten();
        let Some(version) = traffic.or(version) else {
            return Arc::default();
        };
        if let Some((known, rules)) = self.rules.get(model)
            && *known == version
        {
            return Arc::clone(rules);
        }
        let record = registry.version(model, version).await;
        let manifest = record.and_then(|it| store::format::parse_manifest(&it.manifest));
        match manifest {
            Ok(manifest) => {
                let rules = Arc::new(manifest.alerts);
                let entry = (version, Arc::clone(&rules));
                self.rules.insert(model.clone(), entry);
                rules
            }
            Err(refusal) => {
                tracing::warn!(%model, %version, %refusal, "its rules cannot be read");
                Arc::default()
            }
        }
    }

    /// Takes note of what happened.
    fn note(&mut self, event: Event) {
        let fingerprint = event.fingerprint;
        if let Some(alert) = self.book.get(fingerprint) {
            tracing::info!(alert = %alert.labels, what = event.kind.name(), why = event.why, "alert");
        }
        if event.kind == EventKind::Firing {
            self.to_act.insert(fingerprint);
        }
        self.changed.insert(fingerprint);
        self.counts.changes.fetch_add(1, Relaxed);
        self.events.push(event);
        if self.events.len() > UNSAVED_MAX {
            self.events.remove(0);
        }
    }

    async fn feedback(
        &mut self,
        fingerprint: Fingerprint,
        useful: bool,
        (who, why): (String, String),
    ) -> Result<(), Refusal> {
        let alert = self.book.get(fingerprint);
        let alert = alert.ok_or_else(|| unknown(fingerprint))?;
        let now = Moment(wall_ms());
        let said = if useful { "useful" } else { "not useful" };
        let sentence = match why.is_empty() {
            true => format!("{said}, says {who}"),
            false => format!("{said}, says {who}: {why}"),
        };
        let event = alert.event(EventKind::Feedback, sentence, now);
        let feedback = Feedback {
            incident: alert.incident,
            useful,
            at: now,
            who,
            why,
        };
        let labels = &alert.labels;
        let registry = &self.store.registry;
        registry.set_feedback(&feedback, labels, &event).await
    }

    fn list(&self, filter: &Filter) -> Vec<Listed> {
        let muted = self.with_facts(&BTreeSet::new(), |facts| muted(facts, Moment(wall_ms())));
        let mut listed: Vec<Listed> = self
            .book
            .iter()
            .filter(|(fingerprint, alert)| {
                let Filter {
                    fingerprint: only,
                    model,
                    severity,
                    ended,
                } = filter;
                only.is_none_or(|it| it == *fingerprint)
                    && (*ended || alert.is_active())
                    && severity.is_none_or(|it| it == alert.severity())
                    && model
                        .as_ref()
                        .is_none_or(|it| it.as_str() == alert.labels.get("model"))
            })
            .map(|(fingerprint, alert)| (alert.clone(), muted.get(&fingerprint).cloned()))
            .collect();
        listed.sort_by_key(|(alert, _)| {
            let urgency = std::cmp::Reverse((alert.is_active(), alert.severity()));
            (urgency, alert.state.since())
        });
        listed
    }

    fn with_facts<T>(&self, waiting: &BTreeSet<Place>, f: impl FnOnce(&Facts<'_>) -> T) -> T {
        f(&Facts {
            book: &self.book,
            routes: &self.routes,
            silences: &self.silences,
            inhibitions: &self.inhibitions,
            sent: &self.sent,
            waiting,
        })
    }

    /// Does what there is to do now; gives back when there is something next.
    async fn settle(&mut self) -> Option<Moment> {
        let now = Moment(wall_ms());
        for event in self.book.tick(now) {
            self.note(event);
        }
        self.trim(now).await;
        let saved = self.save().await;
        self.active.store(Arc::new(self.list(&Filter::default())));
        let acted = self.act(now).await;
        self.count();
        let decided = self.tell(now).await;
        let soon = self.book.next();
        match decided {
            Ok(next) if saved && acted => next.into_iter().chain(soon).min(),
            Ok(_) => Some(now.after(AGAIN)),
            Err(refusal) => {
                tracing::error!(%refusal, "alerts cannot be told");
                Some(now.after(AGAIN))
            }
        }
    }

    /// Writes down what changed; whether that worked.
    async fn save(&mut self) -> bool {
        if self.changed.is_empty() && self.events.is_empty() {
            return true;
        }
        let changed = self.changed.iter().filter_map(|it| self.book.get(*it));
        let changed: Vec<&Alert> = changed.collect();
        let registry = &self.store.registry;
        match registry.write_alerts(&changed, &self.events, &[]).await {
            Ok(()) => {
                self.changed.clear();
                self.events.clear();
                true
            }
            Err(refusal) => {
                tracing::error!(%refusal, "alerts cannot be written down");
                false
            }
        }
    }

    async fn trim(&mut self, now: Moment) {
        if now < self.trim_at {
            return;
        }
        self.trim_at = now.after(TRIM_EVERY);
        self.silences.retain(|it| it.until > now);
        let forgotten = self.book.forget(now);
        let registry = &self.store.registry;
        let written = registry.write_alerts(&[], &[], &forgotten).await;
        if let Err(refusal) = written.and(registry.trim_alerts(now).await) {
            tracing::error!(%refusal, "old alerts cannot be removed");
        }
    }

    /// Has done what the rules of alerts that fire permit; whether that could be written down.
    async fn act(&mut self, now: Moment) -> bool {
        if self.to_act.is_empty() || !self.serves {
            return true;
        }
        let muted = self.with_facts(&BTreeSet::new(), |facts| muted(facts, now));
        let mut written = true;
        for fingerprint in self.to_act.clone() {
            if muted.contains_key(&fingerprint) {
                continue;
            }
            match self.act_on(fingerprint, now).await {
                Ok(()) => drop(self.to_act.remove(&fingerprint)),
                Err(refusal) => {
                    tracing::error!(%refusal, "an alert cannot be acted on");
                    written = false;
                }
            }
        }
        written & self.save().await
    }

    async fn act_on(&mut self, fingerprint: Fingerprint, now: Moment) -> Result<(), Refusal> {
        let Some(alert) = self.book.get(fingerprint).cloned() else {
            return Ok(());
        };
        let Some(model) = alert.labels.model().filter(|_| alert.is_firing()) else {
            return Ok(());
        };
        let name = alert.labels.get("alertname");
        let rules = self.rules_of(&model, alert.labels.version()).await;
        let rule = rules.iter().find(|it| it.made(&alert.labels));
        for deed in rule.map_or(&[][..], |it| &it.act) {
            let since = now.before(deed.at_most.unwrap_or_default().per.0);
            let registry = &self.store.registry;
            let incident = (fingerprint, alert.incident);
            let tried = registry.tried((&model, name), incident, since).await?;
            match act::plan(&alert, deed, &tried, now) {
                Err(why @ NotNow::TooOften { .. }) => {
                    let why = format!("`{}` is not done: {why}", deed.deed.name());
                    // A server that was started anew looks at every alert that fires.
                    let history = registry.alert_events(fingerprint, None, RECENT).await?;
                    let said = |it: &AlertEvent| it.incident == alert.incident && it.why == why;
                    if !history.iter().any(said) {
                        self.note(alert.event(EventKind::Action, why, now));
                    }
                }
                Err(_) => {}
                Ok(plan) => {
                    let id = registry.begin_action(&plan, now).await?;
                    if let Err(full) = self.remedy.try_send(Remedy { id, plan }) {
                        let plan = full.into_inner().plan;
                        let outcome = Outcome::Failed {
                            why: "too many others wait".to_owned(),
                        };
                        let event = remedy::event(&plan, &outcome, None, now);
                        registry.finish_action(id, &outcome, None, &event).await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&self) {
        for (place, severity) in Severity::ALL.into_iter().enumerate() {
            let firing = self.book.iter().filter(|(_, it)| it.is_firing());
            let count = firing.filter(|(_, it)| it.severity() == severity).count();
            self.counts.firing[place].store(count as u64, Relaxed);
        }
    }

    /// Writes down what is to be told, for the courier; gives back when there is something next.
    async fn tell(&mut self, now: Moment) -> Result<Option<Moment>, Refusal> {
        if self.routes.is_empty() || !self.serves {
            return Ok(None);
        }
        let registry = &self.store.registry;
        let waiting = registry.waiting_places().await?;
        let Decision {
            notifications,
            forget,
            next,
        } = self.with_facts(&waiting, |facts| decide(facts, now));
        if notifications.is_empty() && forget.is_empty() {
            return Ok(next);
        }
        let deliveries: Vec<NewDelivery> = notifications
            .into_iter()
            .map(|it| self.delivery(it, now))
            .collect();
        registry.enqueue(&deliveries, &forget, now).await?;
        for place in &forget {
            self.sent.remove(place);
        }
        for delivery in deliveries {
            self.sent.insert(delivery.place, delivery.sent);
        }
        self.post.notify_one();
        Ok(next)
    }

    fn delivery(&self, notification: Notification, now: Moment) -> NewDelivery {
        let Notification {
            place,
            firing,
            resolved,
            sent,
        } = notification;
        let find = |them: &[Fingerprint]| -> Vec<&Alert> {
            them.iter().filter_map(|it| self.book.get(*it)).collect()
        };
        let (firing, resolved) = (find(&firing), find(&resolved));
        let told = Told {
            place: &place,
            firing: &firing,
            resolved: &resolved,
            external_url: &self.receivers.external_url,
            now,
        };
        let receivers = self.receivers.receivers.iter();
        let kind = receivers
            .filter(|it| it.name == place.receiver)
            .map(|it| it.kind)
            .next();
        let body = match kind {
            Some(Kind::Alertmanager) => told.alertmanager(),
            Some(Kind::Slack) => told.slack(),
            Some(Kind::Smtp) => told.mail(),
            Some(Kind::Webhook) | None => told.webhook(),
        };
        let alerts = firing.len() + resolved.len();
        NewDelivery {
            body,
            alerts: u32::try_from(alerts).unwrap_or(u32::MAX),
            place,
            sent,
        }
    }
}

fn unknown(fingerprint: Fingerprint) -> Refusal {
    Refusal::UnknownAlert {
        id: fingerprint.to_string(),
    }
}
