//! The monitors: every served model is looked at as often as its manifest says, and what is found is reported to
//! `alerts`. One look at a time, off the way of requests.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::ledger::Range;
use ::ledger::baseline::{Baseline, ColumnDrift, Drift, HOUR_US, Kept, Watched};
use domain::access::{self, Caller, Change};
use domain::alert::{Evidence, Fact, Finding, Severity, Verdict};
use domain::monitor::Setting;
use domain::{ModelName, Refusal, Version};
use stats::drift::effect::{Question, Terms};
use stats::drift::verdict::{Judged, Verdict as DriftVerdict};
use store::registry::UnixMillis;
use tokio::time::Instant;

use crate::app::App;
use crate::clock::wall_ms;
use crate::drift::{self, LEVEL, question_name};
use crate::models::change;
use crate::running::Running;
use crate::task::Tasks;

/// How often it is seen which models are served.
const TICK: Duration = Duration::from_secs(1);
/// The longest that one look may take.
const LOOK_MAX: Duration = Duration::from_secs(600);
/// Memory for what was counted of the ledger's files.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// Who sets a baseline that nobody asked for.
const WHO: &str = "monitors";

/// Looks until the server ends.
pub(crate) async fn watch(app: Weak<App>, tasks: Tasks) {
    let mut watch = Watch {
        kept: Arc::new(Kept::new(KEPT_BYTES_MAX)),
        due: HashMap::new(),
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = tasks.stopping() => return,
            _ = tick.tick() => {}
        }
        let Some(app) = app.upgrade() else { return };
        tokio::select! {
            () = tasks.stopping() => return,
            () = watch.look_at_all(&app) => {}
        }
    }
}

struct Watch {
    kept: Arc<Kept>,
    /// When each version with traffic is looked at next.
    due: HashMap<(ModelName, Version), Instant>,
}

impl Watch {
    async fn look_at_all(&mut self, app: &Arc<App>) {
        let mut served = BTreeSet::new();
        for (_, model) in app.catalog.models() {
            let Some(running) = &model.traffic else {
                continue;
            };
            let setting = &running.monitor;
            let key = (running.model.clone(), running.version);
            served.insert(key.clone());
            let now = Instant::now();
            let every = setting.every.0;
            // The first look is after a whole time: when it was loaded nothing had been answered.
            let due = *self.due.entry(key.clone()).or_insert(now + every);
            if due > now {
                continue;
            }
            self.due.insert(key, now + every);
            match self.look_at(app, running).await {
                Ok(findings) => app.alerts.report(findings).await,
                Err(refusal) => {
                    let reference = format!("{}:{}", running.model, running.version);
                    tracing::warn!(%refusal, model = reference, "a monitor could not look");
                }
            }
        }
        self.due.retain(|key, _| served.contains(key));
    }

    async fn look_at(&self, app: &Arc<App>, running: &Running) -> Result<Vec<Finding>, Refusal> {
        let (model, version) = (&running.model, running.version);
        let setting = &running.monitor;
        let Some((kept, baseline)) = drift::baseline_of(app, model, version).await? else {
            first_baseline(app, running).await?;
            return Ok(Vec::new());
        };
        let drift = self.drift(app, running, kept.made_at, baseline).await?;
        let all = drift.columns.iter();
        Ok(all
            .map(|it| finding(running, &drift, it, setting))
            .collect())
    }

    async fn drift(
        &self,
        app: &Arc<App>,
        running: &Running,
        UnixMillis(made_ms): UnixMillis,
        baseline: Baseline,
    ) -> Result<Drift, Refusal> {
        let setting = running.monitor.clone();
        let (model, version) = (running.model.clone(), running.version.number());
        let (ledger, kept) = (Arc::clone(&app.keeper.ledger), Arc::clone(&self.kept));
        let now_us = wall_ms() * 1000;
        let window = drift::window(&setting, now_us);
        let counting = move || {
            let watched = Watched {
                model: model.as_str(),
                version,
                // Whole hours: the one that the window begins in counts as a whole.
                from: window.from_us.div_euclid(HOUR_US),
                to: window.to_us.div_euclid(HOUR_US),
                baseline: made_ms,
            };
            let snapshot = ledger.snapshot(now_us / 1000)?;
            let counter = snapshot.counted_by_hour(&watched, &baseline, &kept)?;
            let terms = Terms {
                margin: setting.drift.margin,
                alpha: setting.alpha(),
                level: LEVEL,
            };
            Ok(baseline.drift(&counter, terms, |it| drift::weight(&setting, it)))
        };
        app.questions.compute(LOOK_MAX, counting).await
    }
}

/// Makes a baseline of a version's first predictions, once there are enough.
async fn first_baseline(app: &Arc<App>, running: &Running) -> Result<(), Refusal> {
    let rows = running.monitor.drift.first_rows;
    let answered = running.stats.rows.load(Relaxed);
    if rows == 0 || answered < rows && !has_rows(app, running, rows).await? {
        return Ok(());
    }
    let permission = access::check::<Change>(app.policy, Caller::Anonymous)?;
    let why = "it had none, and enough predictions to make one of";
    let of = (&running.model, running.version);
    let first = (Range::ALL, Some(rows));
    let made = drift::of_predictions(app, permission, of, first, change(WHO, why)).await?;
    tracing::info!(
        model = %running.model,
        version = %running.version,
        source = made.reference.source,
        "a version is measured against"
    );
    Ok(())
}

/// Whether the ledger has so many of a version's rows from before this process.
async fn has_rows(app: &Arc<App>, running: &Running, rows: u64) -> Result<bool, Refusal> {
    let (ledger, model) = (Arc::clone(&app.keeper.ledger), running.model.clone());
    let version = running.version.number();
    let counting = move || {
        let snapshot = ledger.snapshot(wall_ms())?;
        Ok(snapshot.sealed_rows(model.as_str(), version) >= rows)
    };
    app.questions.compute(LOOK_MAX, counting).await
}

/// What is found of one column.
fn finding(running: &Running, drift: &Drift, column: &ColumnDrift, setting: &Setting) -> Finding {
    let verdict = match column.verdict {
        DriftVerdict::Drift => Verdict::Bad,
        DriftVerdict::NoMaterialDrift => Verdict::Fine,
        DriftVerdict::NotEnoughData => Verdict::Unknown,
    };
    let worst = column
        .answers
        .iter()
        .find(|it| it.verdict == column.verdict);
    let mut evidence = Evidence::from([
        ("rows".to_owned(), Fact::Number(drift.current_rows as f64)),
        (
            "reference_rows".to_owned(),
            Fact::Number(drift.reference_rows as f64),
        ),
        ("window".to_owned(), Fact::Text(setting.window.to_string())),
        ("margin_sd".to_owned(), Fact::Number(setting.drift.margin)),
    ]);
    if let Some(Judged {
        effect, adjusted_p, ..
    }) = worst
    {
        let mut put = |name: &str, fact: Fact| evidence.insert(name.to_owned(), fact);
        put(
            "question",
            Fact::Text(question_name(effect.question).to_owned()),
        );
        put("effect", Fact::Number(effect.estimate.value));
        for (name, end) in [("low", effect.estimate.low), ("high", effect.estimate.high)] {
            if let Some(end) = end {
                put(name, Fact::Number(end));
            }
        }
        put("margin", Fact::Number(effect.margin));
        put("detectable", Fact::Number(effect.detectable));
        put("p", Fact::Number(*adjusted_p));
    }
    Finding {
        model: running.model.clone(),
        version: Some(running.version),
        monitor: "drift".to_owned(),
        subject: column.name.clone(),
        segment: None,
        verdict,
        severity: Severity::Ticket,
        summary: summary(running, drift, column, worst, setting),
        evidence,
    }
}

fn summary(
    running: &Running,
    drift: &Drift,
    column: &ColumnDrift,
    worst: Option<&Judged>,
    setting: &Setting,
) -> String {
    let what = format!("`{}` of {}:{}", column.name, running.model, running.version);
    let rows = format!("{} rows of {}", drift.current_rows, setting.window);
    let Some(Judged { effect, .. }) = worst else {
        return format!("{what}: nothing to compare in {rows}");
    };
    if column.verdict != DriftVerdict::Drift {
        return format!("{what}: {} in {rows}", column.verdict.name());
    }
    let value = effect.estimate.value;
    let moved = match effect.question {
        Question::Location if value > 0.0 => "its values are greater than they were",
        Question::Location => "its values are less than they were",
        Question::Shape => "its values are distributed otherwise than they were",
        Question::Missing if value > 0.0 => "more of its values are missing",
        Question::Missing => "fewer of its values are missing",
        Question::Unseen => "it has values that the reference has none of",
    };
    format!(
        "{what} has drifted: {moved} ({:.1} times what matters, {rows} beside {} of the reference)",
        effect.in_margins(),
        drift.reference_rows
    )
}
