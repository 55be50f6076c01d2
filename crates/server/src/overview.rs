//! Every model as it is now: what answers, what it did lately, what its monitors found last, its alerts, and how much it
//! needs a person.
//!
//! R1. All of it is in memory or in four questions to the registry, however many models there are: the ledger is not asked.
//! R2. Whoever listens hears the same bytes, made once; they are made only while somebody does.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use domain::alert::{Alert, Fact, Finding, Moment, Verdict};
use domain::attention::{Answering, Attention, Facts, Moving, attention};
use domain::rollout::state::Phase;
use domain::rollout::traffic::Traffic;
use domain::{Alias, ModelName, Refusal, Version};
use store::registry::looks::Kind;
use store::registry::rollouts::Kept;
use store::registry::{EventId, LIST_MAX, ModelSummary};
use tokio::sync::watch;
use wire::api::AliasRecord;
use wire::api::alerts::AlertRecord;
use wire::api::ledger::MetricRecord;
use wire::api::overview::{
    DriftNowRecord, ModelNowRecord, OverviewRecord, QualityNowRecord, RecentRecord,
    RolloutNowRecord,
};
use wire::api::rollouts::ShareRecord;

use crate::alerts::Listed;
use crate::app::App;
use crate::catalog::{Model, told_state};
use crate::clock::wall_ms;
use crate::looks::{Found, Newest};
use crate::recent;
use crate::task::{Tasks, Ticks};

/// What is sent to those who listen.
pub(crate) type Told = watch::Sender<Arc<str>>;

/// Tells those who listen again and again, until the server ends.
pub(crate) async fn watch(app: Weak<App>, tasks: Tasks) {
    let mut ticks = Ticks::new(app, &tasks, recent::LOOK);
    while let Some(app) = ticks.next().await {
        if app.overview.receiver_count() == 0 {
            continue;
        }
        match all(&app, Points::Newest).await {
            // Records of strings and numbers cannot fail to serialise.
            Ok(record) => {
                let text = serde_json::to_string(&record).unwrap_or_default();
                app.overview.send_replace(text.into());
            }
            Err(refusal) => tracing::warn!(%refusal, "what is served cannot be told"),
        }
    }
}

/// How much is told of what a model did lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Points {
    All,
    Newest,
}

/// Every model as it is now, those first that need attention most.
pub(crate) async fn all(app: &App, points: Points) -> Result<OverviewRecord, Refusal> {
    let registry = &app.store.registry;
    let models = registry.models(None, LIST_MAX).await?;
    let kept = registry.live_rollouts(None).await?;
    let aliases = registry.all_aliases().await?;
    told(app, points, (models, kept, aliases)).await
}

/// One model as it is now.
pub(crate) async fn one(app: &App, model: &ModelName) -> Result<OverviewRecord, Refusal> {
    let registry = &app.store.registry;
    let summary = registry.model(model).await?;
    let kept = registry.live_rollouts(Some(model)).await?;
    let aliases = registry.aliases(model, None, LIST_MAX).await?;
    let aliases = BTreeMap::from([(model.clone(), aliases)]);
    told(app, Points::All, (vec![summary], kept, aliases)).await
}

/// Models, rollouts that are not over, and aliases.
type Registered = (
    Vec<ModelSummary>,
    Vec<Kept>,
    BTreeMap<ModelName, Vec<(Alias, Version)>>,
);

async fn told(
    app: &App,
    points: Points,
    (models, kept, aliases): Registered,
) -> Result<OverviewRecord, Refusal> {
    let EventId(events) = app.store.registry.newest_event().await?;
    let rollouts: HashMap<&str, &Kept> = kept
        .iter()
        .map(|it| (it.rollout.plan.model().as_str(), it))
        .collect();
    let active = app.alerts.active();
    let mut alerts: HashMap<&str, Vec<&Listed>> = HashMap::new();
    for listed in active.iter() {
        let model = listed.0.labels.get(domain::alert::label::MODEL);
        alerts.entry(model).or_default().push(listed);
    }
    let newest = app.looks.newest();
    let nothing = Newest::new();
    let mut told: Vec<(f64, ModelNowRecord)> = Vec::with_capacity(models.len());
    let courses = app.recent.courses();
    for summary in &models {
        let name = summary.name.as_str();
        let served = app.catalog.model(&summary.name);
        let course = courses.get(name);
        let known = Known {
            summary,
            served: served.as_deref(),
            aliases: aliases.get(&summary.name).map_or(&[][..], Vec::as_slice),
            rollout: rollouts.get(name).copied(),
            alerts: alerts.get(name).map_or(&[][..], Vec::as_slice),
            looks: newest.get(&summary.name).unwrap_or(&nothing),
            lately: course.map(|it| it.lately()).unwrap_or_default(),
        };
        let mut record = known.record();
        if let Some(course) = course {
            record.recent = match points {
                Points::All => course.record(),
                Points::Newest => course.newest(),
            };
            record.cost_per_1k = app.prices.as_ref().and_then(|_| course.cost_per_1k());
        }
        let rate = course.map_or(0.0, |it| it.requests_per_s());
        told.push((rate, record));
    }
    drop(courses);
    told.sort_by(|(rate_a, a), (rate_b, b)| {
        let attention = b.attention.cmp(&a.attention);
        let rate = rate_b.total_cmp(rate_a);
        attention.then(rate).then_with(|| a.name.cmp(&b.name))
    });
    // Numbers of what there was since the server was started, after a beginning that no other process has.
    let started = app.started_ms.unsigned_abs();
    let seen = events.unsigned_abs() + app.alerts.changes() + app.looks.count();
    Ok(OverviewRecord {
        at_ms: wall_ms(),
        revision: started + seen,
        currency: app.prices.as_ref().map(|it| it.currency.clone()),
        models: told.into_iter().map(|it| it.1).collect(),
    })
}

/// All that is known of a model.
struct Known<'a> {
    summary: &'a ModelSummary,
    served: Option<&'a Model>,
    aliases: &'a [(Alias, Version)],
    rollout: Option<&'a Kept>,
    alerts: &'a [&'a Listed],
    looks: &'a Newest,
    /// Requests of the last minute, and those that failed.
    lately: (u64, u64),
}

impl Known<'_> {
    fn record(&self) -> ModelNowRecord {
        let (state, why) = told_state(self.served, self.summary.traffic);
        let rollout = self.rollout.map(|kept| {
            let rollout = &kept.rollout;
            RolloutNowRecord {
                id: rollout.plan.id().to_string(),
                candidate: rollout.plan.candidate().number(),
                status: rollout.status(),
                awaits_approval: rollout.progress.state.phase() == Some(&Phase::AwaitingApproval),
            }
        });
        let (attention, because) = self.attention(state, why.as_deref(), rollout.as_ref());
        let aliases = self.aliases.iter().map(|(alias, version)| AliasRecord {
            alias: alias.to_string(),
            version: version.number(),
        });
        let alerts = self.alerts.iter();
        let alerts = alerts.map(|(alert, muted)| AlertRecord::new(alert, muted.as_ref()));
        ModelNowRecord {
            name: self.summary.name.to_string(),
            state: state.to_owned(),
            why,
            traffic: self.traffic(),
            aliases: aliases.collect(),
            rollout,
            recent: RecentRecord::default(),
            cost_per_1k: None,
            quality: self.quality(),
            drift: self.drift(),
            alerts: alerts.collect(),
            attention: attention.number(),
            because,
        }
    }

    /// Who answers, or would if it were loaded.
    fn traffic(&self) -> Vec<ShareRecord> {
        let shared = self.served.and_then(|it| it.routes.as_ref());
        match (shared, self.summary.traffic) {
            (Some(routes), _) => ShareRecord::all(&routes.sharing.traffic),
            (None, Some(version)) => ShareRecord::all(&Traffic::all(version)),
            (None, None) => Vec::new(),
        }
    }

    /// What a monitor found last of the version that has the traffic.
    fn found(&self, monitor: &str) -> Option<&Found> {
        let key = (Kind::Windows, monitor.to_owned());
        let found = self.looks.get(&key)?;
        (Some(found.version) == self.summary.traffic).then_some(found)
    }

    /// What monitors of quality found of all rows, by labels first.
    fn judged(&self) -> impl Iterator<Item = (bool, Moment, &Finding)> {
        let monitors = [("quality", false), ("estimated_quality", true)];
        monitors.into_iter().flat_map(|(monitor, estimated)| {
            let found = self.found(monitor).into_iter();
            found.flat_map(move |it| {
                let of_all = it.findings.iter().filter(|it| it.segment.is_none());
                of_all.map(move |finding| (estimated, it.at, finding))
            })
        })
    }

    fn quality(&self) -> Option<QualityNowRecord> {
        let known = || self.judged().filter(|it| number(it.2, "value").is_some());
        let headline = |name: &str| known().find(|it| it.2.subject == name);
        let of = HEADLINES.into_iter().find_map(headline);
        let (estimated, at, finding) = of.or_else(|| known().next())?;
        let labelled = self
            .judged()
            .find(|it| !it.0 && it.2.subject == finding.subject);
        let coverage = labelled.and_then(|it| {
            let predictions = number(it.2, "predictions").filter(|it| *it > 0.0)?;
            Some(number(it.2, "labelled")? / predictions)
        });
        Some(QualityNowRecord {
            metric: finding.subject.clone(),
            value: MetricRecord {
                value: number(finding, "value")?,
                low: number(finding, "low"),
                high: number(finding, "high"),
            },
            estimated,
            coverage,
            verdict: is_demanded(finding).then(|| finding.verdict.name().to_owned()),
            at_ms: at.0,
        })
    }

    fn drifted(&self) -> Vec<&str> {
        let found = self.found(crate::drift::MONITOR);
        let findings = found.iter().flat_map(|it| &it.findings);
        let bad = findings.filter(|it| it.segment.is_none() && it.verdict == Verdict::Bad);
        bad.map(|it| it.subject.as_str()).collect()
    }

    fn drift(&self) -> Option<DriftNowRecord> {
        let found = self.found(crate::drift::MONITOR)?;
        let of_all = || found.findings.iter().filter(|it| it.segment.is_none());
        let drifted = self.drifted();
        let verdict = if !drifted.is_empty() {
            "drift"
        } else if of_all().any(|it| it.verdict == Verdict::Fine) {
            "no material drift"
        } else {
            "not enough data"
        };
        Some(DriftNowRecord {
            verdict: verdict.to_owned(),
            drifted: drifted.into_iter().map(str::to_owned).collect(),
            columns: of_all().count() as u64,
            at_ms: found.at.0,
        })
    }

    fn attention(
        &self,
        state: &str,
        why: Option<&str>,
        rollout: Option<&RolloutNowRecord>,
    ) -> (Attention, String) {
        let alerts: Vec<&Alert> = self.alerts.iter().map(|it| &it.0).collect();
        let all = ["quality", "estimated_quality"];
        let all = all.into_iter().filter_map(|it| self.found(it));
        let mut wrong = all.flat_map(|it| &it.findings);
        let wrong = wrong.find(|it| it.verdict == Verdict::Bad);
        let known = self.judged().any(|it| number(it.2, "value").is_some());
        let mut unknown = self.judged().filter(|it| is_demanded(it.2));
        let unknown = unknown.find(|it| !it.0 && !known);
        let moving = rollout.and_then(|it| {
            Some(Moving {
                candidate: Version::new(it.candidate)?,
                status: &it.status,
                awaits_approval: it.awaits_approval,
            })
        });
        attention(&Facts {
            answering: match state {
                "failed" => Answering::No(why.unwrap_or("it could not be loaded")),
                "loading" => Answering::NotYet,
                "ready" => Answering::Yes,
                _ => Answering::Unwanted,
            },
            alerts: &alerts,
            requests: self.lately.0,
            failed: self.lately.1,
            drifted: &self.drifted(),
            wrong: wrong.map(|it| it.summary.as_str()),
            unknown: unknown.map(|it| it.2.summary.as_str()),
            moving,
        })
    }
}

/// The metrics by which the quality of a model is told, the first that is known; without one of these whatever is.
const HEADLINES: [&str; 3] = ["roc_auc", "accuracy", "mae"];

/// Whether something is demanded of a metric: its evidence has what that is.
fn is_demanded(finding: &Finding) -> bool {
    let limits = ["under", "over", "worse_by"];
    limits.iter().any(|it| finding.evidence.contains_key(*it))
}

fn number(finding: &Finding, name: &str) -> Option<f64> {
    match finding.evidence.get(name) {
        Some(Fact::Number(number)) => Some(*number).filter(|it| it.is_finite()),
        Some(Fact::Text(_)) | None => None,
    }
}
