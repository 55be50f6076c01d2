//! How far each column is from its reference, and how both are distributed.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use serde::Deserialize;
use wire::api::drift::{CellsRecord, ColumnDriftRecord, DriftRecord, EffectRecord};
use wire::api::overview::ModelNowRecord;

use super::model::head;
use super::{Frame, drift, models, part, shown};
use crate::ask::{Address, Ask};
use crate::show;

#[derive(Deserialize)]
pub(crate) struct DriftQuery {
    column: Option<String>,
    version: Option<u32>,
}

#[derive(Template)]
#[template(path = "drift.html")]
struct DriftPage {
    frame: Frame,
    model: ModelNowRecord,
    tab: &'static str,
    /// Where the comparison is, which takes its time.
    columns: String,
}

pub(crate) async fn page(
    ask: Ask,
    Path(name): Path<String>,
    Query(query): Query<DriftQuery>,
) -> Response {
    let columns = Address::of("/console", &["models", &name, "drift", "columns"])
        .with_some("column", query.column)
        .with_some("version", query.version);
    let page = head(&ask, &name).await.map(|model| DriftPage {
        frame: Frame::new("models", format!("{name}: drift")),
        tab: "drift",
        columns: columns.as_str().to_owned(),
        model,
    });
    shown(page)
}

#[derive(Template)]
#[template(path = "drift_columns.html")]
struct Columns {
    drift: DriftRecord,
    chosen: Option<ColumnDriftRecord>,
    command: String,
}

/// All columns, and one of them by itself.
pub(crate) async fn columns(
    ask: Ask,
    Path(name): Path<String>,
    Query(query): Query<DriftQuery>,
) -> Response {
    let address = Address::api(&["models", &name, "drift"]).with_some("version", query.version);
    let drift = ask.get::<DriftRecord>(address).await;
    part(drift.map(|drift| {
        let mut columns = drift.columns.iter();
        let chosen = match &query.column {
            Some(wanted) => columns.find(|it| it.name == *wanted),
            None => columns.next(),
        };
        Columns {
            chosen: chosen.cloned(),
            command: format!("windlass drift {}", show::quoted(&name)),
            drift,
        }
    }))
}

/// The effect that a column is told by: the farthest from its margin.
pub(super) fn worst(column: &ColumnDriftRecord) -> Option<&EffectRecord> {
    column.effects.first()
}

/// What is to be said of a column, in a sentence.
pub(super) fn sentence(column: &ColumnDriftRecord) -> String {
    let Some(effect) = worst(column) else {
        return "There is nothing to compare.".to_owned();
    };
    let value = effect.effect.value;
    let moved = match effect.question.as_str() {
        "location" if value > 0.0 => "its values are greater than in the reference",
        "location" => "its values are less than in the reference",
        "shape" => "its values are distributed otherwise than in the reference",
        "missing" if value > 0.0 => "more of its values are missing than in the reference",
        "missing" => "fewer of its values are missing than in the reference",
        _ => "it has values that the reference has none of",
    };
    let times = show::number(value.abs() / effect.margin);
    match column.verdict.as_str() {
        "drift" => format!("Drift: {moved}, {times} times what matters."),
        "no material drift" => {
            format!("No material drift: if anything, {moved}, but only {times} times what matters.")
        }
        _ => format!(
            "Not enough data: {moved} by {times} times what matters so far, which chance could do; only {} could have \
             been found.",
            show::number(effect.detectable)
        ),
    }
}

/// A cell of a histogram, or a level, with its share on both sides, and how long their bars are: the greatest is 100.
pub(super) struct Cell {
    name: String,
    reference: f64,
    current: f64,
    reference_width: String,
    current_width: String,
}

/// The cells of a column with their shares, where the server tells them.
pub(super) fn cells(column: &ColumnDriftRecord) -> Vec<Cell> {
    let Some(shares) = &column.shares else {
        return Vec::new();
    };
    let most = shares.iter().map(|it| it.reference.max(it.current));
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let width = |share: f64| format!("{:.1}", share / most * 100.0);
    let cells = shares.iter().map(|it| Cell {
        name: it.cell.clone(),
        reference: it.reference,
        current: it.current,
        reference_width: width(it.reference),
        current_width: width(it.current),
    });
    cells.collect()
}

/// Where a value is on a line 100 wide from 0 to three margins.
pub(super) fn at(value: &f64, margin: &f64) -> String {
    format!("{:.1}", (value.abs() / margin / 3.0 * 100.0).min(100.0))
}

/// Of an interval of a signed effect, the least that it may be away from 0, and how much more the most is.
pub(super) fn ends(effect: &EffectRecord) -> Option<(f64, f64)> {
    let (low, high) = (effect.effect.low?, effect.effect.high?);
    let least = if low <= 0.0 && high >= 0.0 {
        0.0
    } else {
        low.abs().min(high.abs())
    };
    Some((least, low.abs().max(high.abs()) - least))
}

pub(super) fn is_numbers(column: &ColumnDriftRecord) -> bool {
    matches!(column.cells, CellsRecord::Numbers { .. })
}

pub(super) fn is_chosen(chosen: &Option<ColumnDriftRecord>, column: &ColumnDriftRecord) -> bool {
    chosen.as_ref().is_some_and(|it| it.name == column.name)
}
