//! Baselines of versions: how they come to be, what they are called, and what is told of them.

use std::sync::Arc;

use ::ledger::Range;
use ::ledger::baseline::{Asked, Baseline};
use domain::access::{Change, Permission, Read};
use domain::manifest::Manifest;
use domain::monitor::Setting;
use domain::time::show_moment;
use domain::{ModelName, Refusal, Version};
use store::registry::{self, BaselineRecord, VersionRecord};
use wire::api::drift as api;

use super::segments::{self, declare};
use super::{DRIFT, SKEW, left_out, version_record};
use crate::app::App;
use crate::clock::wall_ms;
use crate::loading::layout_of;
use crate::questions::limit;

/// How the source of a baseline of predictions begins, and of one of the first of them.
const PREDICTIONS: &str = "predictions of ";
const FIRST: &str = "its first ";

/// What it is to compare predictions with a version's baseline, which is called so.
pub(crate) fn question_of(source: &str) -> &'static str {
    match source.starts_with(PREDICTIONS) || source.starts_with(FIRST) {
        true => DRIFT,
        false => SKEW,
    }
}

/// What predictions of some time are called as a reference.
pub(super) fn predictions_of(range: Range) -> String {
    let show = |it: i64, none: i64, word: &str| match it == none {
        true => word.to_owned(),
        false => show_moment(it),
    };
    match range {
        Range::ALL => format!("{PREDICTIONS}all of its time"),
        Range { from_us, to_us } => format!(
            "{PREDICTIONS}{} to {}",
            show(from_us, i64::MIN, "the first"),
            show(to_us, i64::MAX, "the last")
        ),
    }
}

/// The baseline of a version, as it is kept and as it is read.
pub(crate) async fn baseline_of(
    app: &App,
    model: &ModelName,
    version: Version,
) -> Result<Option<(BaselineRecord, Baseline)>, Refusal> {
    let Some(kept) = app.store.registry.baseline(model, version).await? else {
        return Ok(None);
    };
    let baseline = Baseline::from_json(&kept.body)?;
    Ok(Some((kept, baseline)))
}

/// The same with the segments that the version's manifest declares.
pub(crate) async fn declared_baseline(
    app: &App,
    (model, version): (&ModelName, Version),
    setting: &Setting,
) -> Result<Option<(BaselineRecord, Baseline)>, Refusal> {
    let mut found = baseline_of(app, model, version).await?;
    if let Some((_, baseline)) = &mut found {
        declare(baseline, setting, model, version);
    }
    Ok(found)
}

/// The same for somebody who cannot do without.
pub(super) async fn wanted_baseline(
    app: &App,
    of: (&ModelName, Version),
    setting: &Setting,
) -> Result<(BaselineRecord, Baseline), Refusal> {
    let found = declared_baseline(app, of, setting).await?;
    found.ok_or_else(|| Refusal::NoBaseline {
        reference: format!("{}:{}", of.0, of.1),
    })
}

/// What a version's baseline is.
pub(crate) async fn show(
    app: &App,
    _: Permission<Read>,
    model: &ModelName,
    version: Version,
) -> Result<api::BaselineRecord, Refusal> {
    let (record, manifest) = version_record(app, model, version).await?;
    let (kept, baseline) = wanted_baseline(app, (model, version), &manifest.monitor).await?;
    shown(model, &record, &manifest, &kept, &baseline)
}

/// Gives a version a baseline that was made elsewhere.
pub(crate) async fn set(
    app: &App,
    _: Permission<Change>,
    (model, version): (&ModelName, Version),
    (source, body): (String, &[u8]),
    change: registry::Change,
) -> Result<api::BaselineRecord, Refusal> {
    let (record, manifest) = version_record(app, model, version).await?;
    let baseline = received(model, &record, &manifest, body)?;
    keep(app, (model, &record, &manifest), (source, baseline), change).await
}

/// A baseline that was made elsewhere, as far as a version has its columns, in its precision.
pub(super) fn received(
    model: &ModelName,
    record: &VersionRecord,
    manifest: &Manifest,
    body: &[u8],
) -> Result<Baseline, Refusal> {
    let version = record.summary.version;
    let mut baseline = Baseline::from_json(body)?;
    let watched = watched(model, record, manifest)?;
    baseline.retain(|it| watched.iter().any(|name| name == it));
    if baseline.columns.is_empty() && baseline.left_out.is_empty() {
        return Err(Refusal::Malformed {
            what: "the baseline",
            why: format!(
                "it has none of the columns of `{model}:{version}`, which are {}",
                watched.join(", ")
            ),
        });
    }
    let layout = layout_of(model, record, manifest)?;
    declare(&mut baseline, &manifest.monitor, model, version);
    baseline.tell_segments_as(&layout)?;
    baseline
        .in_single_precision(|it| layout.is_single(it))
        .ok_or_else(|| Refusal::Malformed {
            what: "the baseline",
            why: "values of a column are closer to each other than single precision tells, in which the model \
                  takes them"
                .to_owned(),
        })
}

/// Gives a version a baseline of what it answered.
pub(crate) async fn of_predictions(
    app: &App,
    _: Permission<Change>,
    (model, version): (&ModelName, Version),
    (range, first): (Range, Option<u64>),
    change: registry::Change,
) -> Result<api::BaselineRecord, Refusal> {
    let (record, manifest) = version_record(app, model, version).await?;
    let (ledger, name) = (Arc::clone(&app.keeper.ledger), model.clone());
    let monitor = manifest.monitor.clone();
    let making = move || {
        let asked = Asked {
            model: name.as_str(),
            version: version.number(),
            range,
            first,
        };
        let snapshot = ledger.snapshot(wall_ms())?;
        snapshot.baseline(&asked, &monitor.drift.leave_out, &monitor.segments)
    };
    let baseline = app.questions.compute(limit(app), making).await?;
    if baseline.rows == 0 {
        return Err(Refusal::Malformed {
            what: "the baseline",
            why: format!("`{model}:{version}` has answered nothing in that time"),
        });
    }
    let source = match first {
        Some(_) => format!("{FIRST}{} predictions", baseline.rows),
        None => predictions_of(range),
    };
    keep(app, (model, &record, &manifest), (source, baseline), change).await
}

/// Keeps a baseline, and shows it.
async fn keep(
    app: &App,
    (model, record, manifest): (&ModelName, &VersionRecord, &Manifest),
    (source, baseline): (String, Baseline),
    change: registry::Change,
) -> Result<api::BaselineRecord, Refusal> {
    let kept = BaselineRecord {
        made_at: change.at,
        source,
        rows: baseline.rows,
        body: baseline.to_json(),
    };
    let version = record.summary.version;
    let registry = &app.store.registry;
    registry
        .set_baseline(model, version, &kept, &change)
        .await?;
    follow(app, model, version, &kept, &baseline);
    shown(model, record, manifest, &kept, &baseline)
}

/// Has a version that is loaded expect what its new baseline has.
fn follow(
    app: &App,
    model: &ModelName,
    version: Version,
    kept: &BaselineRecord,
    baseline: &Baseline,
) {
    let found = app.catalog.model(model);
    if let Some(running) = found.and_then(|it| it.ready.get(&version).cloned()) {
        running.inputs.follow(kept, baseline);
    }
}

/// The columns of a version that are watched.
fn watched(
    model: &ModelName,
    record: &VersionRecord,
    manifest: &Manifest,
) -> Result<Vec<String>, Refusal> {
    let mut columns = layout_of(model, record, manifest)?.watched();
    let left_out = &manifest.monitor.drift.leave_out;
    columns.retain(|it| !left_out.contains(it));
    Ok(columns)
}

fn shown(
    model: &ModelName,
    record: &VersionRecord,
    manifest: &Manifest,
    kept: &BaselineRecord,
    baseline: &Baseline,
) -> Result<api::BaselineRecord, Refusal> {
    let mut absent = watched(model, record, manifest)?;
    absent.retain(|name| {
        baseline.column(name).is_none() && baseline.left_out.iter().all(|it| it.name != *name)
    });
    Ok(api::BaselineRecord {
        model: model.to_string(),
        version: record.summary.version.number(),
        reference: reference_record(kept),
        columns: baseline.columns.iter().map(|it| it.name.clone()).collect(),
        left_out: left_out(&baseline.left_out),
        absent,
        segments: segments::records(baseline),
        unsegmented: left_out(&baseline.unsegmented),
    })
}

pub(super) fn reference_record(kept: &BaselineRecord) -> api::ReferenceRecord {
    api::ReferenceRecord {
        source: kept.source.clone(),
        rows: kept.rows,
        made_ms: Some(kept.made_at.0),
    }
}
