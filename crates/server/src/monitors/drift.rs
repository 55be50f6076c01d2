//! Whether inputs and predictions are as they were.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ::ledger::Range;
use ::ledger::baseline::{Baseline, ColumnDrift, Drift, HOUR_US, Kept, SegmentDrift, Watched};
use domain::Refusal;
use domain::access::{self, Caller, Change};
use domain::alert::{Evidence, Fact, Finding, Severity, Verdict};
use domain::monitor::Setting;
use stats::drift::effect::{Question, Terms};
use stats::drift::verdict::{Judged, Verdict as DriftVerdict};
use store::registry::UnixMillis;

use super::{LOOK_MAX, WHO};
use crate::app::App;
use crate::clock::wall_ms;
use crate::drift::{self, LEVEL, question_name, question_of};
use crate::margins::Widened;
use crate::models::change;
use crate::running::Running;

/// Looks at every column of a version's predictions.
pub(super) async fn look(
    app: &Arc<App>,
    running: &Running,
    counted: &Arc<Kept>,
) -> Result<Vec<Finding>, Refusal> {
    let (model, version) = (&running.model, running.version);
    let setting = &running.monitor;
    let found = drift::declared_baseline(app, (model, version), setting).await?;
    let Some((kept, baseline)) = found else {
        first_baseline(app, running).await?;
        return Ok(Vec::new());
    };
    // It may have been set while the version was being loaded.
    if running.inputs.follows() != Some(kept.made_at) {
        running.inputs.follow(&kept, &baseline);
    }
    let widened = Widened::of(app, model, drift::MONITOR).await?;
    let of = (kept.made_at, baseline, widened.clone());
    let drift = compared(app, running, counted, of).await?;
    let all = drift.columns.iter().map(|it| (Rows::of_all(&drift), it));
    let segments = drift.segments.iter();
    let of_segments = segments.flat_map(|of| of.columns.iter().map(|it| (Rows::of(of), it)));
    let reference = kept.source.as_str();
    let findings = all.chain(of_segments).map(|(rows, it)| {
        let as_all = rows.segment.is_some() && drift.has_drifted(&it.name);
        let mut finding = finding(running, rows, it, (setting, &widened));
        // It neither begins nor ends an alert.
        if as_all {
            finding.verdict = Verdict::Unknown;
        }
        let facts = [("reference", reference), ("asks", question_of(reference))];
        let facts = facts.map(|(name, it)| (name.to_owned(), Fact::Text(it.to_owned())));
        finding.evidence.extend(facts);
        finding
    });
    Ok(findings.collect())
}

/// The rows that something is found of.
struct Rows {
    /// `Home=rent`; none of all.
    segment: Option<String>,
    reference: u64,
    current: u64,
}

impl Rows {
    fn of_all(drift: &Drift) -> Self {
        Self {
            segment: None,
            reference: drift.reference_rows,
            current: drift.current_rows,
        }
    }

    fn of(segment: &SegmentDrift) -> Self {
        Self {
            segment: Some(format!("{}={}", segment.by, segment.value)),
            reference: segment.reference_rows,
            current: segment.current_rows,
        }
    }
}

async fn compared(
    app: &Arc<App>,
    running: &Running,
    counted: &Arc<Kept>,
    (UnixMillis(made_ms), baseline, widened): (UnixMillis, Baseline, Widened),
) -> Result<Drift, Refusal> {
    let setting = running.monitor.clone();
    let (model, version) = (running.model.clone(), running.version.number());
    let (ledger, kept) = (Arc::clone(&app.keeper.ledger), Arc::clone(counted));
    let now_us = wall_ms() * 1000;
    let window = drift::window(&setting, now_us);
    let baseline = Arc::new(baseline);
    let counting = move || {
        let watched = Watched {
            model: model.as_str(),
            version,
            // Whole hours: the one that the window begins in counts as a whole.
            from: window.from_us.div_euclid(HOUR_US),
            to: window.to_us.div_euclid(HOUR_US),
            since_us: window.from_us,
            baseline: made_ms,
        };
        let snapshot = ledger.snapshot(now_us / 1000)?;
        let counter = snapshot.counted_by_hour(&watched, &baseline, &kept)?;
        let terms = Terms {
            margin: setting.drift.margin,
            alpha: setting.alpha(),
            level: LEVEL,
        };
        let attention = |it: &str| drift::attention(&setting, &widened, it);
        Ok(baseline.drift(&counter, terms, attention))
    };
    app.questions.compute(LOOK_MAX, counting).await
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
fn finding(
    running: &Running,
    rows: Rows,
    column: &ColumnDrift,
    (setting, widened): (&Setting, &Widened),
) -> Finding {
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
        ("rows".to_owned(), Fact::Number(rows.current as f64)),
        (
            "reference_rows".to_owned(),
            Fact::Number(rows.reference as f64),
        ),
        ("window".to_owned(), Fact::Text(setting.window.to_string())),
        (
            "margin_sd".to_owned(),
            Fact::Number(setting.drift.margin * widened.factor(&column.name)),
        ),
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
        monitor: drift::MONITOR.to_owned(),
        subject: column.name.clone(),
        verdict,
        severity: Severity::Ticket,
        summary: summary(running, &rows, column, worst, setting),
        segment: rows.segment,
        evidence,
    }
}

fn summary(
    running: &Running,
    rows: &Rows,
    column: &ColumnDrift,
    worst: Option<&Judged>,
    setting: &Setting,
) -> String {
    let part = rows.segment.as_ref();
    let part = part.map_or_else(String::new, |it| format!(" where {it}"));
    let (model, version) = (&running.model, running.version);
    let what = format!("`{}` of {model}:{version}{part}", column.name);
    let reference = rows.reference;
    let rows = format!("{} rows of {}", rows.current, setting.window);
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
        "{what} has drifted: {moved} ({:.1} times what matters, {rows} beside {reference} of the reference)",
        effect.in_margins()
    )
}
