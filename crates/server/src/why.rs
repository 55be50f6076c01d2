//! Why a model is as it is: the slices of its predictions in which it is worst, and what changed around a moment.

pub(crate) mod moment;

use std::sync::Arc;

use ::ledger::{LossKind, Range, Worst, WorstAsked, WorstSlice};
use domain::access::{Permission, Read};
use domain::{ModelName, Refusal, Version};
use stats::slices::{Side, Slice};
use wire::api::drift::LeftOutRecord;
use wire::api::why as api;

use crate::app::App;
use crate::clock::wall_ms;
use crate::drift::version_of;
use crate::quality::metric_record;
use crate::questions::limit;
use crate::range::known_ends;

/// What is asked.
pub(crate) struct Asking {
    pub(crate) model: ModelName,
    /// Without it the one that has the traffic.
    pub(crate) version: Option<Version>,
    pub(crate) range: Range,
    pub(crate) support: Option<u64>,
    pub(crate) depth: usize,
    pub(crate) alpha: f64,
    pub(crate) level: f64,
}

/// Slices that are tested.
const SLICES: usize = 10;

/// Searches for the slices in which a version is worst.
pub(crate) async fn worst(
    app: &App,
    _: Permission<Read>,
    asking: Asking,
) -> Result<api::WorstRecord, Refusal> {
    let Asking {
        model,
        version,
        range,
        support,
        depth,
        alpha,
        level,
    } = asking;
    let version = version_of(app, &model, version).await?;
    app.store.registry.version(&model, version).await?;
    let asked = WorstAsked {
        model: model.to_string(),
        version: version.number(),
        range,
        support: support.map(|it| usize::try_from(it).unwrap_or(usize::MAX)),
        depth,
        slices: SLICES,
        alpha,
        level,
    };
    let ledger = Arc::clone(&app.keeper.ledger);
    let searching = move || ledger.snapshot(wall_ms())?.worst(&asked);
    let worst = app.questions.compute(limit(app), searching).await?;
    let Worst {
        loss,
        labelled,
        rows,
        support,
        features,
        left_out,
        considered,
        complete,
        searched,
        held_out,
        slices,
    } = worst;
    let enough = |it: Side| it.rows >= 2 * support as u64;
    let verdict = match (
        slices.iter().any(|it| it.slice.confirmed),
        enough(searched) && enough(held_out),
    ) {
        (true, _) => "found",
        (false, true) => "nothing found",
        (false, false) => "not enough data",
    };
    let (from_us, to_us) = known_ends(range);
    let loss_name = |it| match it {
        LossKind::Misclassification => "misclassification".to_owned(),
        LossKind::AbsoluteError => "absolute_error".to_owned(),
    };
    Ok(api::WorstRecord {
        model: model.to_string(),
        version: version.number(),
        from_us,
        to_us,
        loss: loss.map(loss_name),
        labelled,
        rows,
        support: support as u64,
        depth: depth as u64,
        alpha,
        level,
        verdict: verdict.to_owned(),
        searched: side_record(searched),
        held_out: side_record(held_out),
        slices: slices.into_iter().map(slice_record).collect(),
        considered,
        complete,
        features,
        left_out: left_out
            .into_iter()
            .map(|it| LeftOutRecord {
                name: it.name,
                why: it.why,
            })
            .collect(),
    })
}

pub(crate) fn side_record(side: Side) -> api::SideRecord {
    api::SideRecord {
        rows: side.rows,
        loss: metric_record(side.loss),
    }
}

pub(crate) fn slice_record(WorstSlice { by, slice }: WorstSlice) -> api::SliceRecord {
    let Slice {
        conditions: _,
        searched,
        held_out,
        others,
        difference,
        p,
        adjusted_p,
        confirmed,
    } = slice;
    api::SliceRecord {
        by,
        confirmed,
        searched: side_record(searched),
        held_out: side_record(held_out),
        others: side_record(others),
        difference: metric_record(difference),
        p,
        adjusted_p,
    }
}
