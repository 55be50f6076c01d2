//! What a rollout's candidate answered unheard beside what callers were answered.

use std::sync::Arc;

use ::ledger::{Change, Difference, Latency, Moved, PairedLoss, Range, ShadowAsked, ShadowReport};
use domain::Refusal;
use domain::access::{Permission, Read};
use domain::rollout::RolloutId;
use domain::rollout::spec::ShadowSetting;
use wire::api::drift::LeftOutRecord;
use wire::api::shadow as api;

use super::evidence::WINDOW_US;
use crate::app::App;
use crate::clock::wall_ms;
use crate::quality::metric_record;
use crate::questions::limit;
use crate::why::{side_record, slice_record};

/// The risk of each interval, and of all slices together.
const ALPHA: f64 = 0.05;
/// The most rows of either version that are read: of more a sample is.
const ROWS_MAX: usize = 100_000;

/// Compares the two, as far as they are now.
pub(crate) async fn report(
    app: &App,
    _: Permission<Read>,
    id: &RolloutId,
) -> Result<api::ShadowRecord, Refusal> {
    let kept = app.store.registry.rollout(id).await?;
    let (plan, progress) = (&kept.rollout.plan, &kept.rollout.progress);
    let ShadowSetting::Sample(setting) = &plan.spec().shadow else {
        return Err(Refusal::InvalidQuery {
            why: format!("rollout `{id}` has no shadow: its `shadow` is off"),
        });
    };
    let over = progress.state.is_over().then_some(progress.since.0);
    let us = |ms: i64| ms.saturating_mul(1000);
    let range = Range {
        from_us: us(plan.started().0),
        to_us: us(over.unwrap_or_else(wall_ms)).saturating_add(1),
    };
    let (model, incumbent, candidate) = (
        plan.model().clone(),
        plan.incumbent().number(),
        plan.candidate().number(),
    );
    let ledger = Arc::clone(&app.keeper.ledger);
    let comparing = move || {
        let blameless: Vec<&str> = wire::code::callers_own().collect();
        let asked = ShadowAsked {
            model: model.as_str(),
            incumbent,
            candidate,
            range,
            every_us: WINDOW_US,
            blameless: &blameless,
            rows_max: ROWS_MAX,
            alpha: ALPHA,
        };
        ledger.snapshot(wall_ms())?.shadow(&asked)
    };
    let report = app.questions.compute(limit(app), comparing).await?;
    let ShadowReport {
        requests,
        rows,
        looked_at,
        failed,
        pairs,
        changed,
        unanswered,
        units,
        share,
        difference,
        largest,
        moved,
        latency,
        cost,
        losses,
    } = report;
    Ok(api::ShadowRecord {
        rollout: id.to_string(),
        model: plan.model().to_string(),
        incumbent,
        candidate,
        percent: setting.sample.get() * 100.0,
        from_ms: plan.started().0,
        to_ms: over,
        alpha: ALPHA,
        requests,
        rows,
        looked_at,
        failed,
        pairs,
        changed,
        unanswered,
        units,
        share: (units > 0).then(|| metric_record(share)),
        difference: difference.map(difference_record),
        largest: largest.into_iter().map(change_record).collect(),
        moved: moved_record(moved),
        latency: latency.map(|both| both.map(latency_record)),
        cost_per_1k: cost.map(|both| both.map(|it| it * 1000.0)),
        losses: losses.into_iter().map(loss_record).collect(),
    })
}

fn difference_record(difference: Difference) -> api::ShadowDifferenceRecord {
    let Difference {
        is_score,
        units,
        mean,
    } = difference;
    api::ShadowDifferenceRecord {
        of: if is_score { "score" } else { "value" }.to_owned(),
        units,
        mean: metric_record(mean),
    }
}

fn change_record(change: Change) -> api::ShadowChangeRecord {
    let Change {
        id,
        key,
        incumbent,
        candidate,
        changed,
        difference,
    } = change;
    api::ShadowChangeRecord {
        prediction_id: id.to_string(),
        key,
        incumbent: incumbent.to_string(),
        candidate: candidate.to_string(),
        changed,
        difference,
    }
}

fn moved_record(moved: Moved) -> api::ShadowMovedRecord {
    let Moved {
        by_distance,
        units,
        support,
        considered,
        searched,
        held_out,
        slices,
        features,
        left_out,
    } = moved;
    let enough = [searched, held_out]
        .iter()
        .all(|it| it.rows >= 2 * support as u64);
    let verdict = match (slices.iter().any(|it| it.slice.confirmed), enough) {
        (true, _) => "found",
        (false, true) => "nothing found",
        (false, false) => "not enough data",
    };
    let left_out = left_out.into_iter();
    api::ShadowMovedRecord {
        by: if by_distance { "distance" } else { "changed" }.to_owned(),
        verdict: verdict.to_owned(),
        units,
        support: support as u64,
        held_out: side_record(held_out),
        slices: slices.into_iter().map(slice_record).collect(),
        considered,
        features,
        left_out: left_out
            .map(|it| LeftOutRecord {
                name: it.name,
                why: it.why,
            })
            .collect(),
    }
}

fn latency_record(latency: Latency) -> api::ShadowLatencyRecord {
    let Latency { p50_us, p99_us } = latency;
    api::ShadowLatencyRecord {
        p50_ms: f64::from(p50_us) / 1000.0,
        p99_ms: f64::from(p99_us) / 1000.0,
    }
}

fn loss_record(loss: PairedLoss) -> api::ShadowLossRecord {
    let PairedLoss {
        name,
        units,
        incumbent,
        candidate,
        difference,
    } = loss;
    api::ShadowLossRecord {
        loss: name.to_owned(),
        units,
        incumbent,
        candidate,
        difference: metric_record(difference),
    }
}
